# SPDX-License-Identifier: Apache-2.0
"""Writes the figures of a run (run.py --json) into html/performance.html, between its two marks.

    page.py RUN.json
"""

import html
import json
import pathlib
import re
import statistics
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = TOP / 'html/performance.html'
MARKS = re.compile(r'(<!-- figures -->\n).*(<!-- end of figures -->\n)', re.S)
CLASS = {'cairn': 'mod', 'envoy': 'io', 'nginx': 'box'}
LEFT, WIDTH, ROW = 300, 480, 24


def median(runs, field):
    values = [r[field] for r in runs if field in r]
    return statistics.median(values) if values else None


def ratio_rows(run):
    """(what, cairn's CPU over Envoy's) of each load."""
    for scenario in run['scenarios']:
        for name, by in scenario['loads'].items():
            ours, theirs = (median(by.get(p, []), 'cpu_us') for p in ('cairn', 'envoy'))
            if ours and theirs:
                many = len(scenario['loads']) > 1
                yield scenario['title'] + (', ' + name if many else ''), ours / theirs


def text(x, y, words, kind=''):
    return '<text x="%d" y="%d"%s>%s</text>' % (x, y, ' class="%s"' % kind if kind else '', html.escape(words))


def bar(y, width, kind):
    return '<rect class="%s" x="%d" y="%d" width="%.0f" height="%d"/>' % (kind, LEFT, y, max(width, 1), ROW - 8)


def svg(height, label, parts):
    return '<svg viewBox="0 0 920 %d" role="img" aria-label="%s">\n%s\n</svg>\n' % (height, html.escape(label), '\n'.join(parts))


def ratios(run):
    rows = list(ratio_rows(run))
    scale = WIDTH / max(1.0, *(r for _, r in rows))
    parts = []
    for i, (what, ratio) in enumerate(rows):
        y = 10 + i * ROW
        parts += [text(10, y + 13, what, 'small'), bar(y, ratio * scale, 'mod'),
                  text(LEFT + int(ratio * scale) + 6, y + 13, '%.2f' % ratio, 'small')]
    for share in (0.3, 0.6, 1.0):
        x = LEFT + share * scale
        parts.append('<path class="rule" d="M%.0f 4V%d"/>' % (x, 10 + len(rows) * ROW))
        parts.append(text(int(x) - 8, 24 + len(rows) * ROW, '%.1f' % share, 'small'))
    return svg(34 + len(rows) * ROW, 'CPU of cairn over that of Envoy', parts)


def memory(run):
    rows = [(s['title'] + ', ' + name, proxy, median(runs, 'rss'))
            for s in run['scenarios'] for name, by in s['loads'].items() for proxy, runs in by.items()
            if s['name'] in ('h1', 'idle', 'routes-5000') and proxy != 'nginx']
    scale = WIDTH / max(mib for *_, mib in rows)
    parts = []
    for i, (what, proxy, mib) in enumerate(rows):
        y = 10 + i * ROW
        parts += [text(10, y + 13, what + ': ' + proxy, 'small'), bar(y, mib * scale, CLASS[proxy]),
                  text(LEFT + int(mib * scale) + 6, y + 13, '%.0f MiB' % mib, 'small')]
    return svg(20 + len(rows) * ROW, 'Resident memory', parts)


def cells(*values):
    return '<tr>%s</tr>\n' % ''.join('<td>%s</td>' % html.escape(v) for v in values)


def shown(value, form='%.0f'):
    return '-' if value is None else form % value


def load_rows(title, loads):
    for name, by in loads.items():
        for proxy, runs in by.items():
            yield cells(title, name, proxy, shown(median(runs, 'cpu_us'), '%.1f'),
                        *(shown(median(runs, f)) for f in ('rate', 'p50', 'p99', 'p999')),
                        *(shown(median(runs, f), '%.1f') for f in ('rss', 'private')))


def table(run):
    head = ''.join('<th>%s</th>' % h for h in ('Scenario', 'Load', 'Proxy', 'CPU &#181;s', 'A second', 'p50 &#181;s', 'p99 &#181;s',
                                               'p99.9 &#181;s', 'RSS MiB', 'Private MiB'))
    rows = []
    for s in run['scenarios']:
        title = '%s (CPU a %s)' % (s['title'], s['per'])
        rows += load_rows(title, s['loads'])
        rows += load_rows(s['title'], {'%d %% of what Envoy can do' % (float(share) * 100): by
                                       for share, by in s['latency'].items()})
    return '<table>\n<tr>%s</tr>\n%s</table>\n' % (head, ''.join(rows))


def counts(run):
    rows = ''.join(cells(name, shown(c['instructions']), shown(c['syscalls'], '%.2f'), shown(c['allocations'], '%.2f'))
                   for name, c in run['counts'].items())
    head = ''.join('<th>%s</th>' % h for h in ('Scenario', 'Instructions', 'System calls', 'Allocations'))
    return '<table>\n<tr>%s</tr>\n%s</table>\n' % (head, rows)


def scale(run):
    rates = run.get('scale')
    if not rates:
        return ''
    one, two = (rates[n] for n in ('1', '2'))
    return ('<p>Each worker held to the same share of a core, so that generator and application have enough: '
            '%.0f requests a second with one worker, %.0f with two, %.2f times as many.</p>\n' % (one, two, two / one))


def figures(run):
    made = ', '.join('%s %s' % pair for pair in {**run['machine'], **run['versions']}.items())
    return ('<p>Measured on: %s.</p>\n' % html.escape(made) +
            '<h3>CPU, cairn over Envoy</h3>\n' + ratios(run) +
            '<h3>Memory</h3>\n' + memory(run) +
            '<h3>What a request costs a worker, counted</h3>\n' + counts(run) +
            scale(run) +
            '<h3>All medians</h3>\n' + table(run))


def main():
    run = json.loads(pathlib.Path(sys.argv[1]).read_text())
    page = PAGE.read_text()
    if not MARKS.search(page):
        sys.exit('%s has no place for the figures' % PAGE)
    PAGE.write_text(MARKS.sub(lambda m: m.group(1) + figures(run) + m.group(2), page))


main()
