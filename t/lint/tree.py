# SPDX-License-Identifier: Apache-2.0
"""What the lint checks share: the tree's files, areas and ranks."""

import argparse
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent

# An area may include its own and lower ranks; os and event are peers.
RANKS = {
    'core': 0,
    'os': 1, 'event': 1,
    'conf': 2, 'tls': 2, 'stats': 2,
    'http': 3,
    'tunnel': 4, 'upstream': 4, 'policy': 4,
    'proxy': 5,
    'main': 6,
}


def arguments(doc):
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument('--builddir', default='objs')
    args = parser.parse_args()
    args.builddir = TOP / args.builddir
    return args


def files(*patterns):
    """Paths relative to the top, sorted."""
    found = set()
    for pattern in patterns:
        found.update(p.relative_to(TOP) for p in TOP.glob(pattern) if p.is_file())
    return sorted(found)


def text(path):
    return (TOP / path).read_text(encoding='utf-8')


def area(path):
    """'src/http/h1.c' -> 'http', 'modules/authz/rule.c' -> 'authz'."""
    return pathlib.PurePath(path).parts[1]


def strip(code, strings=True):
    """Blanks out comments, and the contents of literals, keeping all positions."""
    out = list(code)
    i, n = 0, len(code)
    while i < n:
        two = code[i:i + 2]
        if two == '/*':
            end = code.find('*/', i + 2)
            end = n if end < 0 else end + 2
        elif two == '//':
            end = code.find('\n', i)
            end = n if end < 0 else end
        elif code[i] in '"\'':
            end = i + 1
            while end < n and code[end] != code[i]:
                end += 2 if code[end] == '\\' else 1
            end = min(end + 1, n)
            if not strings:
                i = end
                continue
            for j in range(i + 1, end - 1):
                if code[j] != '\n':
                    out[j] = ' '
            i = end
            continue
        else:
            i += 1
            continue
        for j in range(i, end):
            if code[j] != '\n':
                out[j] = ' '
        i = end
    return ''.join(out)


def line_of(code, position):
    return code.count('\n', 0, position) + 1


def objects(builddir):
    """(source, object) of everything in src and modules that has been built."""
    for path in files('src/*/*.c', 'modules/*/*.c'):
        obj = builddir / path.with_suffix('.o')
        if obj.exists():
            yield path, obj


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=TOP).stdout


def finish(problems, summary):
    """Prints what was found; the exit code tells the runner."""
    for problem in problems:
        print(problem)
    print(summary)
    sys.exit(1 if problems else 0)
