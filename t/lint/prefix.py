# SPDX-License-Identifier: Apache-2.0
"""Names: what a file exports begins with cn_ and the name of a file of its area."""

import tree

# Nouns of an area beside its own name and those of its files.
NOUNS = {
    'core': ['chunk', 'buf', 'vec', 'xmalloc', 'xzalloc', 'xrealloc', 'addr', 'cidr'],
    'event': ['task', 'timer', 'io'],
    'conf': ['set', 'gen', 'bundle', 'units'],
    'stats': ['series'],
    'http': ['edits', 'exch', 'h2'],
    'tunnel': ['service'],
    'upstream': ['clusters', 'upool', 'host', 'lb', 'workloads', 'endpoint', 'registry'],
    'proxy': ['req', 'worker', 'flags', 'tunnel'],
    'kube': ['object'],
    'main': ['admin'],
}


def exported(obj):
    for line in tree.run('nm', '-g', '--defined-only', str(obj)).splitlines():
        fields = line.split()
        if len(fields) == 3 and not fields[2].startswith(('__odr_asan', '_Z', '__asan', '__gcov')):
            yield fields[2]


def prefixes(area):
    stems = [p.stem for p in tree.files('src/%s/*.[ch]' % area)]
    return ['cn_%s' % noun for noun in [area, *stems, *NOUNS.get(area, [])]]


def fits(name, allowed):
    return any(name == prefix or name.startswith(prefix + '_') for prefix in allowed)


def main():
    args = tree.arguments(__doc__)
    problems, count, words = [], 0, {}
    for path, obj in tree.objects(args.builddir):
        area = tree.area(path)
        module = path.parts[0] == 'modules'
        allowed = ['cn_module_%s' % area, 'cn_%s' % area] if module else prefixes(area)
        for name in exported(obj):
            count += 1
            if name == 'main' and area in ('main', 'kube') or fits(name, allowed):
                continue
            if module and not name.startswith('cn_'):
                words.setdefault(name.split('_')[0], {}).setdefault(area, name)
                continue
            problems.append('%s exports %s, which begins with neither its area nor a file of it' % (path, name))
    # A module of several files has one short word of its own for what they share.
    for word, users in words.items():
        if len(users) > 1:
            problems.append('several modules export %s_...: %s' % (word, ', '.join(sorted(users.values()))))
    for area in sorted({a for users in words.values() for a in users}):
        mine = [word for word, users in words.items() if area in users]
        if len(mine) > 1:
            problems.append('modules/%s exports names with different first words: %s' % (area, ', '.join(mine)))
    tree.finish(problems, 'names: %d exported symbols looked at' % count)


main()
