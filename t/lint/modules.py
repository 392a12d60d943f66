# SPDX-License-Identifier: Apache-2.0
"""A module's config fragment (which configure reads) says what its struct says."""

import re

import tree

STRUCT = re.compile(r'^const\s+cn_module_t\s+cn_module_(\w+)\s*=\s*\{(.*?)^\};', re.M | re.S)


def fragment(path):
    """The variables that a config fragment sets, as sh sees them."""
    names = 'cn_module cn_srcs cn_after cn_before'.split()
    script = 'cn_after= cn_before=; . ./%s; printf "%%s\\n" %s' % (path, ' '.join('"$%s"' % n for n in names))
    return dict(zip(names, tree.run('sh', '-c', script).split('\n')))


def field(struct, name):
    match = re.search(r'\.%s\s*=\s*"([^"]*)"' % name, struct)
    return match.group(1) if match else ''


def check(path):
    config = fragment(path)
    folder = path.parent
    if config['cn_module'] != folder.name:
        yield '%s: cn_module is %s, the folder %s' % (path, config['cn_module'], folder.name)
    listed = config['cn_srcs'].split()
    there = [p.name for p in tree.files('%s/*.c' % folder)]
    if sorted(listed) != there:
        yield '%s: cn_srcs has %s, the folder %s' % (path, ' '.join(listed), ' '.join(there))
    code = ''.join(tree.strip(tree.text(folder / src), strings=False) for src in listed if (tree.TOP / folder / src).exists())
    match = STRUCT.search(code)
    if not match:
        yield '%s: no "const cn_module_t cn_module_%s = {" in its sources' % (path, config['cn_module'])
        return
    for name, want in (('name', match.group(1)), ('after', config['cn_after']), ('before', config['cn_before'])):
        have = field(match.group(2), name)
        if have != want:
            yield '%s: .%s is "%s" in the struct, expected "%s"' % (path, name, have, want)


def main():
    tree.arguments(__doc__)
    fragments = tree.files('modules/*/config')
    problems = [problem for path in fragments for problem in check(path)]
    folders = {p.parent for p in tree.files('modules/*/*.c')} - {p.parent for p in fragments}
    problems += ['%s: sources but no config' % folder for folder in sorted(folders)]
    tree.finish(problems, 'modules: %d fragments looked at' % len(fragments))


main()
