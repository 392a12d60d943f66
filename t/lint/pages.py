# SPDX-License-Identifier: Apache-2.0
"""Pages: the reference is what the program says, links lead somewhere, and what is opened is closed."""

import difflib
import html.parser
import re

import tree

REFERENCE = 'html/reference.html'
LINK = re.compile(r'\bhref="([^"]+)"')
ANCHOR = re.compile(r'\bid="([^"]+)"')


VOID = {'br', 'circle', 'col', 'hr', 'img', 'line', 'link', 'meta', 'path', 'polygon', 'polyline', 'rect'}


class Nesting(html.parser.HTMLParser):
    """Every element is closed where it was opened."""

    def __init__(self, page):
        super().__init__()
        self.page, self.open, self.problems = page, [], []
        self.feed(tree.text(page))
        self.problems += ['%s:%d: <%s> is not closed' % (page, line, tag) for tag, line in self.open]

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append((tag, self.getpos()[0]))

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        opened, line = self.open.pop() if self.open else ('nothing', 0)
        if opened != tag:
            self.problems.append('%s:%d: </%s> closes <%s> of line %d' % (self.page, self.getpos()[0], tag, opened, line))


def in_tree():
    """The modules of a plain build."""
    for path in tree.files('modules/*/config'):
        if not re.search(r'^cn_default=no$', tree.text(path), re.M):
            yield path.parent.name


def check_reference(binary):
    built = re.search(r'^modules:(.*)$', tree.run(str(binary), '-V'), re.M).group(1).split()
    if sorted(built) != sorted(in_tree()):
        print('pages: other modules than those of a plain build, the reference is not compared')
        return []
    want = tree.run(str(binary), '-D').splitlines()
    have = tree.text(REFERENCE).splitlines()
    diff = list(difflib.unified_diff(have, want, REFERENCE, 'cairn -D', lineterm=''))
    return ['%s is not what the program says: make reference' % REFERENCE, *diff] if diff else []


def check_links(page, anchors):
    for target in LINK.findall(tree.text(page)):
        if re.match(r'\w+:', target):
            continue
        name, _, anchor = target.partition('#')
        other = page.parent / name if name else page
        if not (tree.TOP / other).exists():
            yield '%s: no such file: %s' % (page, target)
        elif anchor and anchor not in anchors.get(other, ()):
            yield '%s: no such place: %s' % (page, target)


def main():
    args = tree.arguments(__doc__)
    pages = tree.files('html/*.html')
    anchors = {page: set(ANCHOR.findall(tree.text(page))) for page in pages}
    problems = [problem for page in pages for problem in check_links(page, anchors)]
    problems += [problem for page in pages for problem in Nesting(page).problems]
    problems += check_reference(args.builddir / 'cairn')
    tree.finish(problems, 'pages: %d looked at' % len(pages))


main()
