#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden cases of cairn-gen: run.py --builddir=DIR [--update] [CASE...]

A case is a folder:
  in/             manifests
  args            the command line, run in the case's folder; OUT stands for a new folder
                  (default: render -f in -w bookinfo/waypoint); a second line "exit N"
  out.conf        what render prints; or out/, the tree below OUT; out.txt, what check prints
  warnings.txt    what is printed on standard error; absent: nothing
rows lists which case shows which field of which resource.
Every rendered conf is also given to `cairn -t`, where that program is built.
--update writes what came out as the new expectation: read the difference before you commit it.
"""

import argparse
import difflib
import os
import pathlib
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'it'))

import mistakes  # noqa: E402
import rows  # noqa: E402
from peers.pki import Pki  # noqa: E402

failures = []


def report(name, problem):
    if problem:
        failures.append(name)
        print('\n'.join('    ' + line for line in problem.splitlines()))
    print('%s %s' % ('not ok' if problem else 'ok', name))


def run(words, cwd, stdin=None):
    done = subprocess.run([str(w) for w in words], cwd=cwd, input=stdin, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode('utf-8', 'replace'), done.stderr.decode('utf-8', 'replace')


def difference(name, expected, got):
    if expected == got:
        return ''
    return ''.join(difflib.unified_diff(expected.splitlines(True), got.splitlines(True), name + ' (expected)', name + ' (got)'))


def tree(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob('*')) if p.is_file()}


def read(path):
    return path.read_text() if path.exists() else ''


def command_line(case):
    lines = read(case / 'args').splitlines() or ['render -f in -w bookinfo/waypoint']
    code = int(lines[1].split()[1]) if len(lines) > 1 else 0
    return shlex.split(lines[0]), code


def expectation(case, words):
    """Name of the file that holds what the command prints."""
    return 'out.txt' if words[0] == 'check' else 'out.conf'


def put(path, text):
    if text:
        path.write_text(text)
    elif path.exists():
        path.unlink()


def update(case, words, out, got):
    code, stdout, stderr = got
    put(case / expectation(case, words), stdout)
    put(case / 'warnings.txt', stderr)
    shutil.rmtree(case / 'out', ignore_errors=True)
    if 'OUT' in words:
        shutil.copytree(out, case / 'out')


def compare(case, words, code, out, got):
    problem = '' if got[0] == code else 'exit code %d, expected %d\n' % (got[0], code)
    name = expectation(case, words)
    problem += difference(name, read(case / name), got[1])
    problem += difference('warnings.txt', read(case / 'warnings.txt'), got[2])
    expected, made = tree(case / 'out'), tree(out)
    for path in sorted({*expected, *made}):
        problem += difference('out/' + path, expected.get(path, ''), made.get(path, ''))
    return problem


def accepted(tools, out, text):
    """What `cairn -t` says against a rendered conf; nothing when it takes it."""
    if not tools['identity']:
        return ''
    mine = tools['identity']
    with tempfile.TemporaryDirectory() as prefix:
        conf = pathlib.Path(prefix) / 'cairn.conf'
        if text:
            conf.write_text(text)
        else:
            shutil.copytree(out, prefix, dirs_exist_ok=True)
        changed = re.sub(r'identity .*;', 'identity %s %s;' % (mine.cert, mine.key), conf.read_text(), count=1)
        conf.write_text(re.sub(r'trust_bundle .*;', 'trust_bundle %s;' % mine.roots, changed, count=1))
        code, stdout, stderr = run([tools['cairn'], '-t', '-p', prefix, '-c', 'cairn.conf'], prefix)
    # a build may leave out what a generated conf needs; t/without sees to that message
    fine = code == 0 or 'which this program was built without' in stderr
    return '' if fine else 'cairn -t refuses the conf:\n' + stdout + stderr


def golden(case, tools, updating):
    words, code = command_line(case)
    with tempfile.TemporaryDirectory() as top:
        out = pathlib.Path(top) / 'out'
        line = [tools['gen'], *(out if w == 'OUT' else w for w in words)]
        got = run(line, case)
        if updating:
            update(case, words, out, got)
        problem = compare(case, words, code, out, got)
        if got[0] == 0 and words[0] == 'render':
            problem += accepted(tools, out, got[1])
        report(case.name, problem)


# ---- the folder that is written to ----

class Tree:
    """A rendering of manifests into a folder, again and again."""

    def __init__(self, tools, top):
        self.gen, self.top = tools['gen'], pathlib.Path(top)
        self.cairn, self.identity = tools['cairn'], tools['identity']
        self.manifests, self.out = self.top / 'in', self.top / 'out'
        shutil.copytree(HERE / '../../conf/samples/bookinfo', self.manifests)

    def render(self):
        return run([self.gen, 'render', '-f', self.manifests, '-w', 'bookinfo/waypoint', '-o', self.out], self.top)

    def stamps(self):
        return {str(p.relative_to(self.out)): (p.stat().st_mtime_ns, p.stat().st_ino)
                for p in self.out.rglob('*') if p.is_file()}


def unchanged_files_are_not_rewritten(t):
    t.render()
    before = t.stamps()
    (t.manifests / '40-policy.yaml').unlink()
    t.render()
    after = t.stamps()
    changed = sorted(p for p in before if before[p] != after.get(p))
    return '' if changed == ['conf.d/productpage.bookinfo.conf'] else 'rewritten: %s' % changed


def removing_a_resource_takes_its_effect_away(t):
    t.render()
    both = t.out / 'conf.d/reviews.bookinfo.conf', t.out / 'conf.d/productpage.bookinfo.conf'
    if 'route ' not in both[0].read_text() or 'policy ' not in both[1].read_text():
        return 'there is no route or no policy to begin with'
    (t.manifests / '30-route.yaml').unlink()
    (t.manifests / '40-policy.yaml').unlink()
    t.render()
    return ''.join('still in effect: %s\n' % p for p, word in zip(both, ('route ', 'policy ')) if word in p.read_text())


def stale_files_are_removed_and_foreign_ones_kept(t):
    t.render()
    (t.out / 'conf.d/own.conf').write_text('# mine\n')
    (t.out / 'endpoints.d/own').write_text('10.0.0.1:80\n')
    apps = t.manifests / '10-apps.yaml'
    apps.write_text(apps.read_text().replace('name: ratings\n  namespace', 'name: renamed\n  namespace'))
    t.render()
    files = set(t.stamps())
    gone = {'conf.d/ratings.bookinfo.conf', 'endpoints.d/ratings.bookinfo.9080'}
    kept = {'conf.d/own.conf', 'endpoints.d/own', 'conf.d/renamed.bookinfo.conf', 'endpoints.d/renamed.bookinfo.9080'}
    return '' if not files & gone and kept <= files else 'files: %s' % sorted(files)


def a_foreign_conf_is_not_overwritten(t):
    t.out.mkdir()
    (t.out / 'cairn.conf').write_text('daemon off;\n')
    code, _, stderr = t.render()
    left = tree(t.out)
    return '' if code == 1 and 'was not written by cairn-gen' in stderr and left == {'cairn.conf': 'daemon off;\n'} \
        else 'exit code %d, %s, files %s' % (code, stderr, sorted(left))


def nothing_is_written_when_an_input_cannot_be_read(t):
    t.render()
    before = t.stamps()
    code, _, stderr = run([t.gen, 'render', '-f', t.manifests, '-f', t.top / 'missing.yaml', '-w', 'bookinfo/waypoint',
                           '-o', t.out], t.top)
    return '' if code == 1 and 'missing.yaml' in stderr and t.stamps() == before else 'exit code %d, %s' % (code, stderr)


def standard_input_gives_the_same_conf(t):
    text = b'---\n'.join(p.read_bytes() for p in sorted(t.manifests.iterdir()))
    words = [t.gen, 'render', '-w', 'bookinfo/waypoint']
    files, piped = run([*words, '-f', t.manifests], t.top), run([*words, '-f', '-'], t.top, stdin=text)
    return difference('conf', files[1], piped[1])


def the_order_of_the_input_does_not_matter(t):
    words = [t.gen, 'render', '-w', 'bookinfo/waypoint']
    names = sorted(t.manifests.iterdir())
    one = run([*words, *(w for n in names for w in ('-f', n))], t.top)
    other = run([*words, *(w for n in reversed(names) for w in ('-f', n))], t.top)
    return difference('conf', one[1], other[1])


def alias_bombs_are_refused_at_once(t):
    lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x]']
    lines += ['a%d: &a%d [%s]' % (i, i, ', '.join(['*a%d' % (i - 1)] * 9)) for i in range(1, 20)]
    (t.manifests / 'bomb.yaml').write_text('\n'.join(lines) + '\n')
    code, _, stderr = t.render()
    return '' if code == 0 and 'aliases expand to more than' in stderr else 'exit code %d, %s' % (code, stderr)


def deep_nesting_is_refused_at_once(t):
    (t.manifests / 'deep.yaml').write_text('a: ' + '[' * 100000 + '\n')
    (t.manifests / 'deep.json').write_text('{"a":' + '[' * 100000 + '\n')
    code, _, stderr = t.render()
    return '' if code == 0 and stderr.count('nested deeper') >= 1 else 'exit code %d, %s' % (code, stderr)


PARENTS = """apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
"""

ROUTE = """---
apiVersion: v1
kind: Service
metadata: {name: s%(i)d, namespace: shop}
spec: {clusterIP: 10.%(high)d.%(middle)d.%(low)d, ports: [{name: http, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r%(i)d, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: s%(i)d, port: 80}]
  rules:
  - name: canary
    matches: [{path: {type: PathPrefix, value: /api/v%(i)d}, headers: [{name: x-user, value: tester}]}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-a, value: b}]}}]
    timeouts: {request: 10s}
    backendRefs: [{name: s%(i)d, port: 80, weight: 90}, {name: s%(next)d, port: 80, weight: 10}]
  - backendRefs: [{name: s%(i)d, port: 80}]
"""


POLICIES = """---
apiVersion: policy.cairn.internal/v1alpha1
kind: RateLimitPolicy
metadata: {name: l%(i)d, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r%(i)d, sectionName: canary}, {group: "", kind: Service, name: s%(i)d}]
  local: [{name: default, limit: {requests: 100, interval: 60s}, key: [{type: Principal}]}]
---
apiVersion: policy.cairn.internal/v1alpha1
kind: FaultPolicy
metadata: {name: f%(i)d, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r%(i)d}]
  faults: [{delay: {fixed: 100ms, percentage: 1}, headers: [{name: x-user, value: tester}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a%(i)d, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: s%(i)d}]
  rules: [{from: [{source: {namespaces: [shop]}}], to: [{operation: {methods: [GET]}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d%(i)d, namespace: shop}
spec: {host: s%(i)d, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 100}}, outlierDetection: {interval: 5s}}}
---
apiVersion: v1
kind: Pod
metadata: {name: p%(i)d, namespace: shop, labels: {app: a%(i)d}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {serviceAccountName: a}
status: {podIP: 10.200.%(middle)d.%(low)d}
"""
MANY = 5000


def many(t, command, document, most):
    """Runs it over 5000 of the document, in at most so many seconds of processor time: (problem, what was printed)."""
    (t.top / 'many.yaml').write_text(PARENTS + ''.join(document % {
        'i': i, 'next': (i + 1) % MANY, 'high': 1 + i // 65536, 'middle': i // 256 % 256, 'low': i % 256} for i in range(MANY)))
    best = 1e9
    for _ in range(3):  # processor time depends little on what else the machine does, but somewhat
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        code, text, stderr = run([t.gen, *command, '-f', t.top / 'many.yaml'], t.top)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if best <= most or is_slow(t.gen):
            break
    print('# %s, 5000 of %s: %.2f s of processor time, at most %d MB, %d lines' % (
        command[0], ', '.join(dict.fromkeys(re.findall('kind: (\\w+)\n', document))), best, after.ru_maxrss // 1024,
        text.count('\n')))
    problem = '' if code == 0 and not stderr else 'exit code %d\n%s' % (code, stderr[:2000])
    # of a build with sanitizers the figures mean nothing
    if not is_slow(t.gen) and (best > most or after.ru_maxrss > 500 * 1024):
        problem += 'too slow or too big'
    return problem, text


def five_thousand_routes_render_in_two_seconds_and_500_megabytes(t):
    problem, text = many(t, ['render', '-w', 'shop/waypoint'], ROUTE, 2)
    return problem or ('' if text.count('    route ') == 2 * MANY else '%d routes' % text.count('    route '))


def five_thousand_with_policies_render_in_four_seconds_and_so_does_their_check(t):
    problem, text = many(t, ['render', '-w', 'shop/waypoint'], ROUTE + POLICIES, 4)
    expected = {'    route ': 2 * MANY, 'rate_limit ': 2 * MANY, 'fault delay': 2 * MANY, 'policy shop/': MANY, 'breaker ': MANY}
    found = {word: text.count(word) for word in expected}
    if problem or found != expected:
        return problem or 'of %s there are %s' % (expected, found)
    return many(t, ['check'], ROUTE + POLICIES, 4)[0]


def samples_are_rendered_without_a_word(t):
    """All of conf/samples/traffic, in the end with every kind of resource."""
    samples = HERE / '../../conf/samples/traffic'
    problem = ''
    for path in [None, *sorted(samples.glob('[1-9]*.yaml'))]:
        inputs = [samples] if path is None else [samples / '00-shop.yaml', path]
        code, text, stderr = run([t.gen, "render", *(w for i in inputs for w in ('-f', i)), '-w', 'shop/waypoint'], t.top)
        if code or stderr:
            problem += '%s: exit code %d\n%s' % (path, code, stderr)
        problem += accepted({'cairn': t.cairn, 'identity': t.identity}, t.out, text)
    return problem


def is_slow(program):
    """A build with sanitizers."""
    with open(program, 'rb') as f:
        return b'__asan_init' in f.read()


def every_mistake_in_every_field_is_said_in_one_line(t):
    problem, n = mistakes.check(t.gen, 7 if is_slow(t.gen) else 1)  # of the three kinds by turns
    print('# %d mistakes' % n)
    return problem


BEHAVIOURS = [every_mistake_in_every_field_is_said_in_one_line, five_thousand_routes_render_in_two_seconds_and_500_megabytes,
              five_thousand_with_policies_render_in_four_seconds_and_so_does_their_check, samples_are_rendered_without_a_word,
              unchanged_files_are_not_rewritten, removing_a_resource_takes_its_effect_away,
              stale_files_are_removed_and_foreign_ones_kept, a_foreign_conf_is_not_overwritten,
              nothing_is_written_when_an_input_cannot_be_read, standard_input_gives_the_same_conf,
              the_order_of_the_input_does_not_matter, alias_bombs_are_refused_at_once, deep_nesting_is_refused_at_once]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--builddir', default='objs')
    parser.add_argument('--update', action='store_true')
    parser.add_argument('case', nargs='*')
    options = parser.parse_args()
    build = pathlib.Path(options.builddir).resolve()
    tools = {'gen': build / 'cairn-gen', 'cairn': build / 'cairn', 'identity': None}
    os.environ['LC_ALL'] = 'C'
    with tempfile.TemporaryDirectory() as pki:
        if tools['cairn'].exists():
            tools['identity'] = Pki(pki).identity('bookinfo', 'waypoint')
        for case in sorted(p for p in HERE.iterdir() if (p / 'args').exists()):
            if not options.case or case.name in options.case:
                golden(case, tools, options.update)
        if options.update and not options.case:
            rows.PAGE.write_text(rows.page())
        if not options.case:
            report('every_supported_field_is_shown_by_a_case', rows.check())
        for behaviour in [b for b in BEHAVIOURS if not options.case or b.__name__ in options.case]:
            with tempfile.TemporaryDirectory() as top:
                report(behaviour.__name__, behaviour(Tree(tools, top)))
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
