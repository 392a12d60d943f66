# SPDX-License-Identifier: Apache-2.0
"""Layers: who may include whom (html/architecture.html, "Layers")."""

import re

import tree

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)
CONTRACT = {'cairn/module.h', 'cairn/transport.h'}
GENERATED = {'cn_config.h'}
# Reads the build's own version strings: the one file of main that others may see.
VERSION = 'main/build.h'


def exists(name):
    return (tree.TOP / 'src' / name).exists()


def check_module(path, kind, name):
    own = (tree.TOP / path).parent
    if name in CONTRACT:
        return None if kind == '<' else 'write <%s>: a module stands outside the tree' % name
    if kind == '"' and name.endswith('.pb-c.h'):
        return None if (own / name.replace('.pb-c.h', '.proto')).exists() else 'there is no such .proto file'
    if kind == '"':
        return None if (own / name).exists() else 'a module includes only <cairn/module.h> and its own files'
    return 'a module may not include %s' % name if exists(name) else None


def check_kube(name):
    if tree.RANKS.get(name.split('/')[0], 9) <= 3:
        return None
    return 'kube may use ranks 0 to 3 only, not %s' % name


def check_src(path, name):
    area, other = tree.area(path), name.split('/')[0]
    if name == VERSION:
        return None if area in ('main', 'kube') else '%s is for programs only' % name
    if area == 'cairn' or name in CONTRACT:
        # The contract shows what modules may use: everything up to rank 4.
        allowed = tree.RANKS.get(other, 9) <= 4 or name in CONTRACT
        user = area in ('cairn', 'proxy', 'main')
        return None if allowed and user else '%s does not belong here' % name
    if area == other:
        return None
    if area == 'kube':
        return check_kube(name)
    if other not in tree.RANKS:
        return 'unknown area %s' % other
    if {area, other} == {'os', 'event'}:
        return 'os and event are peers: neither includes the other'
    if tree.RANKS[other] > tree.RANKS[area]:
        return '%s (rank %d) may not include %s (rank %d)' % (area, tree.RANKS[area], other, tree.RANKS[other])
    return None


def main():
    tree.arguments(__doc__)
    problems, count = [], 0
    for path in tree.files('src/*/*.[ch]', 'modules/*/*.[ch]'):
        code = tree.strip(tree.text(path), strings=False)
        for match in INCLUDE.finditer(code):
            kind, name = match.groups()
            count += 1
            if path.parts[0] == 'modules':
                why = check_module(path, kind, name)
            elif name in GENERATED:
                why = None
            elif kind == '<':
                why = 'use "%s"' % name if exists(name) else None
            elif not exists(name):
                why = 'no such file below src; name it "area/file.h"'
            else:
                why = check_src(path, name)
            if why:
                problems.append('%s:%d: %s' % (path, tree.line_of(code, match.start()), why))
    tree.finish(problems, 'includes: %d looked at' % count)


main()
