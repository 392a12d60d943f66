# SPDX-License-Identifier: Apache-2.0
"""The table of what is supported (t/kube/rows): its check against the golden cases, and its page."""

import html
import pathlib
import re
import shlex

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent.parent / 'html/resources.html'
STATES = {
    'works': 'as in Istio',
    'more': 'here, not in Istio',
    'none': 'no effect, as in Istio',
    'warned': 'no effect yet: a warning',
    'control': 'not the generator\'s',
}
HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>cairn: resources</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="style.css">
</head>
<body>
%s
<h1>Resources, field by field</h1>
<p>What <code>cairn-gen</code> takes of the resources that people write for Istio's waypoints. Each line is shown by a
golden case of that name in <code>t/kube</code>; this page is written from <code>t/kube/rows</code>, and
<code>make check</code> looks for every line in its case. The same in short, with the differences from Istio, is in the
<a href="index.html#resources">manual</a>. A line of the last state belongs to what deploys waypoints and writes the
status of resources.</p>
"""


class Row:
    def __init__(self, number, line):
        cells = [cell.strip() for cell in (line + ' ').split(' | ')]
        if len(cells) != 7 or cells[2] not in STATES:
            raise ValueError('rows:%d: expected 7 columns and one of the states: %s' % (number, line))
        self.number = number
        self.resource, self.field, self.state, self.case, self.given, self.out, self.note = cells


def read():
    lines = (HERE / 'rows').read_text().splitlines()
    return [Row(i, line) for i, line in enumerate(lines, 1) if line and not line.startswith('#')]


def inputs(case):
    """The text of what the case's command line reads."""
    words = shlex.split((case / 'args').read_text())
    paths = [case / w for w in words if not w.startswith('-') and (case / w).exists()]
    return '\n'.join(f.read_text() for p in paths for f in (sorted(p.rglob('*.*')) if p.is_dir() else [p]))


def outputs(case):
    return '\n'.join(p.read_text() for p in sorted([*case.glob('out.*'), *case.glob('warnings.txt'), *case.glob('out/**/*')])
                     if p.is_file())


def problem_of(row):
    case = HERE / row.case
    if row.case == '-':
        return '' if row.state == 'control' else 'names no case'
    if not (case / 'args').exists():
        return 'there is no case ' + row.case
    return ''.join('%s of case %s has no "%s"; ' % (what, row.case, expression)
                   for what, expression, text in (('the input', row.given, inputs(case)), ('what comes out', row.out, outputs(case)))
                   if expression != '-' and not re.search(expression, text))


def check():
    """What is wrong with the table, '' if nothing."""
    problems = ['rows:%d: %s, %s: %s' % (r.number, r.resource, r.field, p) for r in read() for p in [problem_of(r)] if p]
    if PAGE.exists() and PAGE.read_text() != page():
        problems.append('%s is not what rows says: run.py --update' % PAGE.name)
    return '\n'.join(problems)


def page():
    nav = re.search('<nav>.*</nav>', (PAGE.parent / 'index.html').read_text()).group(0)
    out, last = [HEAD % nav], None
    for row in read():
        if row.resource != last:
            out.append('</table>\n' if last else '')
            out.append('<h2>%s</h2>\n<table>\n<tr><th>Field</th><th>State</th><th>Note</th><th>Case</th></tr>\n' %
                       html.escape(row.resource))
            last = row.resource
        out.append('<tr><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n' % (
            html.escape(row.field), html.escape(STATES[row.state]), html.escape(row.note),
            '' if row.case == '-' else '<code>%s</code>' % row.case))
    return ''.join([*out, '</table>\n</body>\n</html>\n'])
