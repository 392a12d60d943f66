# SPDX-License-Identifier: Apache-2.0
"""Nothing hangs: each directive that is a time limit has a default that limits, is in the manual's table with it,
and a test sets it.  And the table is true: each default in it is the reference's, each word of the log is in the source."""

import re

import tree

REFERENCE, MANUAL = 'html/reference.html', 'html/index.html'
FROM, TO = '<h3 id="limits">', '<h2 id="memory">'
SECTION = re.compile(r'<section id="([\w.]+\.)?(\w+)">(.*?)</section>', re.S)
DEFAULT = re.compile(r'<th>Default</th><td><code>([^<]*)</code>')
# The length of a request is its service's business; that it moves is not: stream_idle_timeout.  How long a pod lives on
# after it has left is Kubernetes' business.
NONE = {'request_timeout', 'try_timeout', 'endpoint_drain_timeout'}
SAID = re.compile(r'<code>(\w+)</code> (\d\w*)')
ROW = re.compile(r'<tr>(.*?)</tr>', re.S)
LOG_COLUMN = 3
TESTS = ('t/it/*.py', 't/unit/*/*.c', 'modules/*/t/*.c')


def main():
    tree.arguments(__doc__)
    text = tree.text(MANUAL)
    table = text[text.index(FROM):text.index(TO)]
    tests = ''.join(tree.text(path) for path in tree.files(*TESTS))
    problems, found, defaults = untrue_words(table), 0, {'timeout': {'20ms'}}
    for where, name, body in SECTION.findall(tree.text(REFERENCE)):
        default = DEFAULT.search(body)
        default = default.group(1) if default else ''
        defaults.setdefault(name, set()).add(default)
        if not name.endswith('timeout'):
            continue
        if default.startswith('the main part'):
            continue  # its limit is that one
        found += 1
        if not re.match(r'[1-9]\d*(ms|s|m|h)$', default) and name not in NONE:
            problems.append('%s%s: its default is %r, which limits nothing' % (where, name, default))
        if not re.search(r'<code>%s</code> %s\b' % (name, re.escape(default)), table):
            problems.append('%s: "Slow peers" has no %s with its default %s' % (MANUAL, name, default))
        if not re.search(r'\b%s\b' % name, tests):
            problems.append('%s%s: no test sets it' % (where, name))
    said = SAID.findall(table)
    problems += ['%s: "Slow peers" says %s %s' % (MANUAL, name, default) for name, default in said
                 if default not in defaults.get(name, ())]
    tree.finish(problems, 'timeouts: %d looked at, %d defaults in the manual' % (found, len(said)))


def untrue_words(table):
    """Flags, details and metrics that the table names and nobody writes."""
    source = ''.join(tree.text(path) for path in tree.files('src/*/*.[ch]', 'modules/*/*.[ch]'))
    words = [word for row in ROW.findall(table) for word in re.findall(
        '<code>(\\w+)</code>', re.split('</?td>', row)[1::2][LOG_COLUMN] if '<td>' in row else '')]
    return ['%s: "Slow peers" names %s, which no source has' % (MANUAL, word) for word in words
            if word not in source and word.replace('_', ' ') not in source]


main()
