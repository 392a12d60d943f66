# SPDX-License-Identifier: Apache-2.0
"""Modules stand apart: none calls another, so each can be left out of the build alone."""

import tree


def symbols(obj, *flags):
    lines = tree.run('nm', '-g', *flags, str(obj)).splitlines()
    return {line.split()[-1] for line in lines if line.strip()}


def main():
    args = tree.arguments(__doc__)
    owner, problems, needed = {}, [], []
    for path, obj in tree.objects(args.builddir):
        if path.parts[0] == 'modules':
            owner.update((name, tree.area(path)) for name in symbols(obj, '--defined-only'))
        needed += [(path, name) for name in symbols(obj, '--undefined-only')]
    for path, name in needed:
        module = tree.area(path) if path.parts[0] == 'modules' else None
        if owner.get(name, module) != module:
            problems.append('%s needs %s of module %s' % (path, name, owner[name]))
    tree.finish(problems, 'apart: %d symbols of modules looked at' % len(owner))


main()
