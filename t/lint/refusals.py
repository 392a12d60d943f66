# SPDX-License-Identifier: Apache-2.0
"""What cairn says when it refuses: each details text and flag of the sources is in the manual's tables, and
each one in the tables is in the sources."""

import re

import tree

MANUAL = 'html/index.html'
FROM, TO = '<h2 id="trouble">', '<h3 id="symptoms">'
LITERAL = re.compile(r'\b(?:CN_STR|S)\(\s*((?:STARTED )?)"([^"]+)"\s*\)')
# Functions that take details, and names that are given them.
CALL = re.compile(r'\b(?:\w*refuse\w*|cn_req_reply|cn_tunnel_refused|fail|no_backend|expire)\(')
SET = re.compile(r'\b(?:details|termination_details) =[^;]*;')
TABLE = re.compile(r'\bwire_replies\[\] = \{.*?\n\};', re.S)
RESET = re.compile(r'\(upstream_reply_t\)\{\d+, CN_FLAG_\w+, "([^"]+)"')
WORD = re.compile(r'^[a-z0-9]+(?:[._][a-z0-9]+)+$')
FLAG = re.compile(r'\bCN_FLAG_([A-Z]+)\b')
CODE = re.compile(r'<code>([^<]*)</code>')


def call_at(code, at):
    """The text of a call from its opening parenthesis on."""
    depth, end = 0, at
    while end < len(code):
        depth += {'(': 1, ')': -1}.get(code[end], 0)
        end += 1
        if depth == 0:
            break
    return code[at:end]


def words_of(text):
    for _, literal in LITERAL.findall(text):
        word = literal.split('{')[0].split('[')[0]
        if WORD.match(word):
            yield word
        for inner in re.findall(r'\{(\w+)\}', literal):
            yield inner


def details(path):
    code = tree.text(path)
    spans = [call_at(code, m.end() - 1) for m in CALL.finditer(code)]
    spans += [m.group() for m in SET.finditer(code)] + TABLE.findall(code)
    found = {word for span in spans for word in words_of(span)}
    return found | {reason.replace(' ', '_') for reason in RESET.findall(code)}


def main():
    tree.arguments(__doc__)
    text = tree.text(MANUAL)
    tables = text[text.index(FROM):text.index(TO)]
    codes = CODE.findall(tables)
    said = {word for code in codes for word in re.findall(r'[\w.]+', code)}
    sources = [p for p in tree.files('src/proxy/*.c', 'src/tunnel/*.c', 'modules/**/*.c') if 't' not in p.parts]
    problems, known, everything = [], set(), ''
    for path in sources:
        found = details(path)
        known |= found
        everything += tree.text(path)
        problems += ['%s: %s has no details "%s"' % (path, MANUAL, word) for word in sorted(found - said)]
        if path.name != 'reply.c':
            problems += ['%s: %s has no flag %s' % (path, MANUAL, flag)
                         for flag in sorted(set(FLAG.findall(tree.text(path))) - said)]
    for row in re.findall(r'<tr>.*?</tr>', tables, re.S):
        cells = re.findall(r'<td>.*?</td>', row, re.S)
        for code in CODE.findall(cells[1]) if len(cells) == 3 else []:
            stale = [w for w in re.findall(r'\w+(?:[._]\w+)+', code) if w not in known and w not in everything]
            problems += ['%s: no source says "%s"' % (MANUAL, word) for word in stale]
    tree.finish(problems, 'refusals: %d details texts' % len(known))


main()
