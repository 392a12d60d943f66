# SPDX-License-Identifier: Apache-2.0
"""Sizes: functions of at most 100 lines, files of at most 1200."""

import statistics

import tree

FUNCTION, FILE = 100, 1200
# path:function -> why it may be longer
LONGER = {}


def functions(lines):
    """(name, first line, number of lines): bodies stand between braces in column 0."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == '{':
            start = number
        elif line == '}' and start is not None:
            head = start - 1
            while head > 1 and lines[head - 1].startswith((' ', '\t')):
                head -= 1
            name = lines[head - 1].split('(')[0].split()[-1].lstrip('*') if '(' in lines[head - 1] else '?'
            yield name, head, number - start + 1
            start = None


def main():
    tree.arguments(__doc__)
    problems, sizes, comments, total = [], [], 0, 0
    for path in tree.files('src/*/*.[ch]', 'modules/*/*.[ch]', 't/unit/*/*.[ch]', 't/fuzz/*.[ch]', 't/bench/*.[ch]'):
        lines = tree.text(path).splitlines()
        if len(lines) > FILE:
            problems.append('%s: %d lines, at most %d' % (path, len(lines), FILE))
        test = path.parts[0] == 't' or path.parts[2:3] == ('t',)
        if not test:
            total += len(lines)
            comments += sum(line.lstrip().startswith(('/*', '*', '//')) for line in lines)
        for name, line, size in functions(lines):
            if not test:
                sizes.append(size)
            if size > FUNCTION and '%s:%s' % (path, name) not in LONGER:
                problems.append('%s:%d: %s has %d lines, at most %d' % (path, line, name, size, FUNCTION))
    sizes.sort()
    summary = 'sizes: nothing there yet'
    if sizes:
        summary = 'sizes: %d lines, %d functions, median %d, p95 %d, largest %d; comment lines %d %%' % (
            total, len(sizes), statistics.median(sizes), sizes[len(sizes) * 95 // 100], sizes[-1], 100 * comments // total)
    tree.finish(problems, summary)


main()
