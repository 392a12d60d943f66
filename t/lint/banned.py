# SPDX-License-Identifier: Apache-2.0
"""Calls that invite overruns, promises instead of code, and paths of one machine."""

import re

import tree

CALLS = re.compile(r'\b(sprintf|vsprintf|strcpy|strcat|strtok|strtok_r|gets|alloca|atoi|atol|atof|strncpy)\s*\(')
# Split, so that this file does not find itself.
WORDS = re.compile(r'\b(TO' r'DO|FIX' r'ME|XX' r'X|HA' r'CK|for no' r'w)\b')
PATHS = re.compile(r'(?<![\w.])/(?:work|root|home)/\w')
SPDX = 'SPDX-License-Identifier: Apache-2.0'


def main():
    tree.arguments(__doc__)
    problems, count = [], 0
    sources = tree.files('src/*/*.[ch]', 'modules/*/*.[ch]', 'modules/*/t/*.[ch]', 't/*/*.[ch]', 't/unit/*/*.[ch]')
    scripts = tree.files('configure', 'Makefile.in', '.ci/*', 't/*.py', 't/*/*.py', 't/*/*/*.py', 't/*/*.sh')
    texts = tree.files('README.md', 'html/**/*', 'conf/**/*', 'modules/*.md', 'modules/*/config')
    for path in [*sources, *scripts, *texts]:
        if path.suffix in ('.png', '.ico', '.woff2', '.gz'):
            continue
        code = tree.text(path)
        count += 1
        if path in sources or path in scripts:
            if SPDX not in code[:200]:
                problems.append('%s:1: no "%s"' % (path, SPDX))
        if path in sources:
            bare = tree.strip(code)
            problems += ['%s:%d: %s is not used here' % (path, tree.line_of(bare, m.start()), m.group(1))
                         for m in CALLS.finditer(bare)]
        for pattern, what in ((WORDS, 'a promise instead of code'), (PATHS, 'a path of one machine')):
            problems += ['%s:%d: %s: %s' % (path, tree.line_of(code, m.start()), what, m.group(0))
                         for m in pattern.finditer(code)]
    tree.finish(problems, 'banned: %d files looked at' % count)


main()
