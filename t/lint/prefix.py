# SPDX-License-Identifier: Apache-2.0
"""Names: what a file exports begins with cn_ and the name of its file or area."""

import tree

# Nouns of an area beside its own name and those of its files.
NOUNS = {
    'core': ['chunk', 'buf', 'vec', 'xmalloc', 'xzalloc', 'xrealloc', 'addr', 'cidr'],
    'event': ['task', 'timer', 'io'],
    'conf': ['set', 'gen', 'bundle', 'units'],
    'stats': ['series'],
    'http': ['exch'],
    'tunnel': ['service'],
    'upstream': ['clusters', 'upool', 'host', 'lb', 'workloads', 'endpoint', 'registry'],
    'proxy': ['req', 'worker', 'flags', 'tunnel'],
    'kube': ['gen', 'yaml'],
    'main': ['admin'],
}


def exported(obj):
    for line in tree.run('nm', '-g', '--defined-only', str(obj)).splitlines():
        fields = line.split()
        if len(fields) == 3 and not fields[2].startswith(('__odr_asan', '_Z', '__asan', '__gcov')):
            yield fields[2]


def prefixes(path):
    area = tree.area(path)
    if path.parts[0] == 'modules':
        return ['cn_module_%s' % area, 'cn_%s_' % area]
    stems = [p.stem for p in tree.files('src/%s/*.[ch]' % area)]
    return sorted({'cn_%s' % noun for noun in [area, *stems, *NOUNS.get(area, [])]})


def fits(name, allowed):
    return any(name == prefix.rstrip('_') or name.startswith(prefix.rstrip('_') + '_') for prefix in allowed)


def main():
    args = tree.arguments(__doc__)
    problems, count = [], 0
    for path, obj in tree.objects(args.builddir):
        allowed = prefixes(path)
        for name in exported(obj):
            count += 1
            if name == 'main' and path.parts[1] in ('main', 'kube'):
                continue
            if not fits(name, allowed):
                problems.append('%s exports %s, which begins with neither its area nor a file of it' % (path, name))
    tree.finish(problems, 'names: %d exported symbols looked at' % count)


main()
