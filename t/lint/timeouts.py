# SPDX-License-Identifier: Apache-2.0
"""Nothing hangs: each directive that is a time limit has a default that limits, is in the manual's table with it,
and a test sets it."""

import re

import tree

REFERENCE, MANUAL = 'html/reference.html', 'html/index.html'
FROM, TO = '<h3 id="limits">', '<h2 id="endpoints">'
SECTION = re.compile(r'<section id="([\w.]+\.)?(\w*timeout)">(.*?)</section>', re.S)
DEFAULT = re.compile(r'<th>Default</th><td><code>([^<]*)</code>')
# The length of a request is its service's business; that it moves is not: stream_idle_timeout.  How long a pod lives on
# after it has left is Kubernetes' business.
NONE = {'request_timeout', 'try_timeout', 'endpoint_drain_timeout'}
TESTS = ('t/it/*.py', 't/unit/*/*.c', 'modules/*/t/*.c')


def main():
    tree.arguments(__doc__)
    text = tree.text(MANUAL)
    table = text[text.index(FROM):text.index(TO)]
    tests = ''.join(tree.text(path) for path in tree.files(*TESTS))
    problems, found = [], 0
    for where, name, body in SECTION.findall(tree.text(REFERENCE)):
        default = DEFAULT.search(body)
        default = default.group(1) if default else ''
        if default.startswith('the main part'):
            continue  # its limit is that one
        found += 1
        if not re.match(r'[1-9]\d*(ms|s|m|h)$', default) and name not in NONE:
            problems.append('%s%s: its default is %r, which limits nothing' % (where, name, default))
        if not re.search(r'<code>%s</code> %s\b' % (name, re.escape(default)), table):
            problems.append('%s: "Slow peers" has no %s with its default %s' % (MANUAL, name, default))
        if not re.search(r'\b%s\b' % name, tests):
            problems.append('%s%s: no test sets it' % (where, name))
    tree.finish(problems, 'timeouts: %d looked at' % found)


main()
