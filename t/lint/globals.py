# SPDX-License-Identifier: Apache-2.0
"""No mutable data at file scope outside src/main: state is passed, not found."""

import sys

import tree

# path -> {name: why}; '*' means any name in that file
ALLOWED = {
    'src/core/log.c': {'*': 'the log sink: one per process, needed before anything else exists'},
    'src/core/chain.c': {'*': 'free lists of chunks: one per process, single-threaded'},
    'src/core/mem.c': {'held': 'a sum over the process, as malloc is per process',
                       'kept': 'free lists of blocks, as those of malloc'},
    'src/core/hash.c': {'*': 'the hash seed: chosen once per process'},
    'src/core/map.c': {'*': 'the hash seed: chosen once per process'},
    'src/tls/lib.c': {'*': 'what a provider of OpenSSL hands out: its callbacks get nothing of ours'},
    'src/os/sig.c': {'*': 'flags set by signal handlers'},
}


def mutable(obj):
    """Names of data objects in writable sections; relocated constants are not."""
    for line in tree.run('objdump', '-t', str(obj)).splitlines():
        fields = line.split()
        if len(fields) < 4 or ' O ' not in line:
            continue
        section, name = fields[-3], fields[-1]
        if section.startswith('.data.rel.ro'):
            continue
        if section.startswith(('.data', '.bss', '.tdata', '.tbss', '*COM*')):
            yield name.split('.')[0]


def main():
    args = tree.arguments(__doc__)
    if '-fsanitize' in (args.builddir / 'cn_flags').read_text() or '--coverage' in (args.builddir / 'cn_flags').read_text():
        print('globals: instrumented build, not looked at')
        sys.exit(0)
    problems, count = [], 0
    for path, obj in tree.objects(args.builddir):
        count += 1
        if path.parts[:2] == ('src', 'main'):
            continue
        allowed = ALLOWED.get(str(path), {})
        for name in mutable(obj):
            if name not in allowed and '*' not in allowed:
                problems.append('%s: %s is mutable and at file scope' % (path, name))
    tree.finish(problems, 'globals: %d objects looked at' % count)


main()
