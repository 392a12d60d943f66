# SPDX-License-Identifier: Apache-2.0
"""Measures cairn beside Envoy and nginx in the same run and prints the table.

The proxy has one core to itself, load and application have the others.  Runs
are interleaved, so that a noisy machine is noisy for all; what counts are the
ratios.  CPU is read from /proc, over all processes of the proxy.

    make bench BENCH="--seconds 5 --rounds 3 --tunnels 1 32 128 --json out.json"
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import parties
from parties import TOP
from peers import net, pki

GOAL = {'plain': 0.30, 'hbone': 0.30}


class Bench:
    def __init__(self, options, folder, mesh):
        self.options, self.folder = options, folder
        self.core, self.rest = parties.cores()
        self.waypoint = mesh.identity('bench', 'waypoint')
        self.client = mesh.identity('default', 'curl')
        self.app_ip = net.new_ip()
        self.running = [parties.application(self.rest, folder, self.app_ip)]
        self.running.append(parties.captured_pod(self.rest, folder, self.app_ip, mesh.identity('bench', 'reviews')))

    def start(self, name, captured):
        folder = self.folder / ('hbone' if captured else 'plain')
        (folder / 'tmp').mkdir(parents=True, exist_ok=True)
        if name == 'nginx':
            ip = net.new_ip()
            one = parties.nginx_proxy(self.core, folder, ip, self.app_ip)
            one.at, one.plain = '%s:9083' % ip, True
        elif name == 'envoy':
            ip = net.new_ip()
            one = parties.envoy_waypoint(self.core, folder, ip, self.app_ip, self.waypoint, captured)
            one.at, one.plain = '%s:15008' % ip, False
        else:
            one = parties.cairn(self.core, folder, self.options.builddir, self.app_ip, self.waypoint, captured)
            one.at, one.plain = '%s:15008' % one.ip, False
        self.running.append(one)
        return one

    def stop(self, one):
        self.running.remove(one)
        one.stop()

    def load(self, one, tunnels, rate=0, seconds=None):
        """One run of hbload, as the dict that it prints."""
        each = min(tunnels, 8)
        words = [self.options.builddir / 't/bench/hbload', '-t', one.at, '-d', str(seconds or self.options.seconds),
                 '-a', parties.VIP, '-H', 'reviews:9080', '-p', ','.join(map(str, one.pids))]
        if one.plain:
            words += ['-P', '-c', str(tunnels)]
        else:
            words += ['-c', str(tunnels // each), '-s', str(each), '-E', self.client.cert, '-K', self.client.key,
                      '-A', self.client.roots]
        if rate:
            words += ['-r', str(rate)]
        done = subprocess.run(parties.pinned(self.rest, *words), capture_output=True, text=True, timeout=600)
        if not done.stdout.startswith('{'):
            raise RuntimeError('%s: hbload: %s' % (one.name, done.stderr))
        result = json.loads(done.stdout)
        result['rss'] = parties.resident(one.pids)
        wrong = result['errors'] + result['broken'] + result['refused'] + result['4xx'] + result['5xx']
        if wrong:
            print('  %s, %d tunnels: %d of %d requests went wrong: %s' % (
                one.name, tunnels, wrong, result['requests'], done.stdout.strip()), file=sys.stderr)
        return result

    def scenario(self, kind):
        """{proxy: {tunnels: [results]}}, memory when idle, latency at half of Envoy's rate."""
        names = [n for n in self.options.proxies if not (n == 'nginx' and kind == 'hbone')]
        proxies = [self.start(name, kind == 'hbone') for name in names]
        results = {p.name: {'idle': parties.resident(p.pids)} for p in proxies}
        for _ in range(self.options.rounds):
            for tunnels in self.options.tunnels:
                for one in proxies:
                    results[one.name].setdefault(tunnels, []).append(self.load(one, tunnels))
                    print('.', end='', flush=True, file=sys.stderr)
        middle = 32 if 32 in self.options.tunnels else self.options.tunnels[0]
        if 'envoy' in results:
            rate = statistics.median(r['rate'] for r in results['envoy'][middle]) / 2
            for _ in range(self.options.rounds):
                for one in proxies:
                    results[one.name].setdefault('half', []).append(self.load(one, middle, rate))
                    print('.', end='', flush=True, file=sys.stderr)
        print(file=sys.stderr)
        for one in proxies:
            self.stop(one)
        return results

    def end(self):
        for one in reversed(self.running):
            one.stop()


def median(runs, field):
    return statistics.median(r[field] for r in runs)


def spread(runs, field):
    values = [r[field] for r in runs]
    return '%.1f-%.1f' % (min(values), max(values))


def table(kind, results, tunnels):
    title = {'plain': 'HBONE in -> HTTP/1.1 out', 'hbone': 'HBONE in -> HBONE out'}[kind]
    print('\n%s (nginx: plain HTTP/1.1 in and out)\n' % title if kind == 'plain' else '\n%s\n' % title)
    print('%-7s %8s %10s %13s %8s %8s %8s %9s %9s' % (
        'proxy', 'tunnels', 'CPU us/rq', '(min-max)', 'x Envoy', 'rq/s', 'p50 us', 'p99 us', 'RSS MiB'))
    for n in tunnels:
        for name, by in results.items():
            cpu = median(by[n], 'cpu_us')
            base = median(results['envoy'][n], 'cpu_us') if 'envoy' in results else 0
            print('%-7s %8d %10.1f %13s %8s %8.0f %8.0f %9.0f %9.1f' % (
                name, n, cpu, spread(by[n], 'cpu_us'), '%.2f' % (cpu / base) if base else '-',
                median(by[n], 'rate'), median(by[n], 'p50'), median(by[n], 'p99'), median(by[n], 'rss')))
    print('\nidle: ' + ', '.join('%s %.1f MiB' % (name, by['idle']) for name, by in results.items()))
    if all('half' in by for by in results.values()):
        print('p99 at half of Envoy\'s rate: ' + ', '.join(
            '%s %.0f us' % (name, median(by['half'], 'p99')) for name, by in results.items()))


def goals(kind, results, tunnels):
    """The lines of the design's table that this run can answer."""
    if not {'cairn', 'envoy'} <= results.keys():
        return
    for n in (n for n in tunnels if n >= 32):
        ours, theirs = median(results['cairn'][n], 'cpu_us'), median(results['envoy'][n], 'cpu_us')
        print('goal, CPU per request at %d tunnels: %.2f x Envoy, at most %.2f' % (n, ours / theirs, GOAL[kind]))
        if 'nginx' in results:
            print('goal, the same against nginx: %.2f x, at most 1.30' % (ours / median(results['nginx'][n], 'cpu_us')))
    print('goal, p99 at half rate: %.2f x Envoy, at most 0.50' % (
        median(results['cairn']['half'], 'p99') / median(results['envoy']['half'], 'p99')))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--builddir', default='objs')
    parser.add_argument('--seconds', type=float, default=5)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--tunnels', type=int, nargs='+', default=[1, 32, 128])
    parser.add_argument('--proxies', nargs='+', default=['cairn', 'envoy', 'nginx'])
    parser.add_argument('--scenarios', nargs='+', default=['plain', 'hbone'])
    parser.add_argument('--json', help='write all single results to this file')
    options = parser.parse_args()
    options.builddir = (TOP / options.builddir).resolve()
    if not parties.envoy.binary():
        options.proxies.remove('envoy')
    folder = pathlib.Path(tempfile.mkdtemp(prefix='cairn-bench-'))
    bench = None
    try:
        bench = Bench(options, folder, pki.Pki(folder / 'pki'))
        everything = {}
        for kind in options.scenarios:
            everything[kind] = results = bench.scenario(kind)
            table(kind, results, options.tunnels)
            goals(kind, results, options.tunnels)
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps(everything, indent=1))
    finally:
        if bench:
            bench.end()
        shutil.rmtree(folder, ignore_errors=True)


main()
