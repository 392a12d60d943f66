# SPDX-License-Identifier: Apache-2.0
"""Every directive says in its table what it does and how it is written, and a module's where it
may stand in words that configure finds, for the error of a program without the module."""

import re

import tree

TABLE = re.compile(r'\bcn_directive_t\s+(\w+)\s*\[\w*\]\s*=\s*\{')
POSITION = ['name', 'where', 'args', 'set', 'off', 'arg', 'syntax', 'help', 'deflt']


def closing(code, start):
    depth = 0
    for i in range(start, len(code)):
        if code[i] == '{':
            depth += 1
        elif code[i] == '}':
            depth -= 1
            if depth == 0:
                return i
    return len(code)


def split(blank, start, end):
    """Top-level pieces between commas, as (from, to)."""
    depth, begin = 0, start
    for i in range(start, end):
        if blank[i] in '({[':
            depth += 1
        elif blank[i] in ')}]':
            depth -= 1
        elif blank[i] == ',' and depth == 0:
            yield begin, i
            begin = i + 1
    yield begin, end


def entries(code, blank, start):
    """Each entry of a table as a dict from field to its text."""
    end = closing(blank, start)
    for a, b in split(blank, start + 1, end):
        open_at = blank.find('{', a, b)
        if open_at < 0:
            continue
        fields, place = {'line': tree.line_of(code, open_at)}, 0
        for c, d in split(blank, open_at + 1, closing(blank, open_at)):
            piece = code[c:d].strip()
            named = re.match(r'\.(\w+)\s*=\s*(.*)', piece, re.S)
            if named:
                place = POSITION.index(named.group(1))
                piece = named.group(2)
            if piece and place < len(POSITION):
                fields[POSITION[place]] = piece
            place += 1
        yield fields


def all_entries(path):
    code = tree.strip(tree.text(path), strings=False)
    blank = tree.strip(code)
    for table in TABLE.finditer(blank):
        for entry in entries(code, blank, table.end() - 1):
            if entry.get('name', '0') not in ('0', 'NULL'):
                yield entry


def main():
    tree.arguments(__doc__)
    problems, count = [], 0
    for path in tree.files('src/*/*.c', 'modules/*/*.c'):
        for entry in all_entries(path):
            count += 1
            for field in ('syntax', 'help'):
                if entry.get(field, 'NULL') in ('NULL', '0', '""'):
                    problems.append('%s:%d: %s has no %s' % (path, entry['line'], entry['name'], field))
            if path.parts[0] == 'modules' and not entry.get('where', '').startswith('CN_AT_'):
                problems.append('%s:%d: %s: where does not begin with CN_AT_' % (path, entry['line'], entry['name']))
    tree.finish(problems, 'directives: %d looked at' % count)


if __name__ == '__main__':
    main()
