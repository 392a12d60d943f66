# SPDX-License-Identifier: Apache-2.0
"""Measures cairn beside Envoy and nginx in the same run and prints one table.

The proxy has one core to itself, load and application have the others.  Runs
are interleaved, so that a noisy machine is noisy for all; what counts are the
ratios.  CPU is read from /proc, over all processes of the proxy.  Latency is
taken at fixed rates from when each request was due, so that a proxy that is
late does not get fewer of them.

    make bench BENCH="--seconds 5 --rounds 3 --only h1 hbone --json out.json"
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import counts
import machine
import parties
import scale
import scenarios
from parties import net, pki

RATES = (0.25, 0.5, 0.75)  # of what Envoy can do
RATE_ROUNDS = 3  # for each round of the rest: the slowest hundredth moves more from run to run than the mean


class Bench:
    def __init__(self, options, folder, mesh):
        self.options, self.folder = options, folder
        self.core, self.rest = parties.cores()
        self.waypoint = mesh.identity('bench', 'waypoint')
        self.client = mesh.identity('default', 'curl')
        self.app_ip = net.new_ip()
        self.running = [parties.application(self.rest, folder, self.app_ip)]
        self.running.append(parties.captured_pod(self.rest, folder, self.app_ip, mesh.identity('bench', 'reviews')))

    def start(self, name, setup, wrapper=()):
        folder = pathlib.Path(tempfile.mkdtemp(prefix=name + '-', dir=self.folder))
        core = self.core if setup.workers == 1 else '%s,%s' % (self.rest, self.core)
        if name == 'nginx':
            ip = net.new_ip()
            one = parties.nginx_proxy(core, folder, ip, self.app_ip)
            one.at, one.plain = '%s:9083' % ip, True
        elif name == 'envoy':
            ip = net.new_ip()
            one = parties.envoy_waypoint(core, folder, ip, self.app_ip, self.waypoint, setup)
            one.at, one.plain = '%s:15008' % ip, False
        else:
            one = parties.cairn(core, folder, self.options.builddir, self.app_ip, self.waypoint, setup, wrapper)
            one.at, one.plain = '%s:15008' % one.ip, False
        self.running.append(one)
        return one

    def stop(self, one):
        self.running.remove(one)
        one.stop()

    def words(self, one, load, seconds, rate=0):
        words = [self.options.builddir / 't/bench/hbload', '-t', one.at, '-d', seconds, '-a', parties.VIP,
                 '-H', 'reviews:9080', *load.words]
        if one.plain:
            words += ['-P', '-c', load.total]
        else:
            words += ['-c', load.connections, '-s', load.tunnels, '-E', self.client.cert, '-K', self.client.key,
                      '-A', self.client.roots]
        if rate:
            words += ['-r', rate]
        return parties.pinned(self.rest, *words)

    def load(self, one, load, rate=0, seconds=None):
        """One run of hbload, as the dict that it prints, with the proxy's memory at its end."""
        words = self.words(one, load, seconds or self.options.seconds, rate)
        done = subprocess.run([*words, '-p', ','.join(map(str, one.pids))], capture_output=True, text=True, timeout=600)
        if not done.stdout.startswith('{'):
            raise RuntimeError('%s: hbload: %s' % (one.name, done.stderr))
        result = {**json.loads(done.stdout), **parties.memory(one.pids)}
        if load.per == 'MiB':
            result['cpu_us'] = result['cpu'] * 1e6 / result['mib']
        elif 'cpu_us' in result:
            result['cpu_us'] /= load.unit
        wrong = result['errors'] + result['broken'] + result['refused'] + result['4xx'] + result['5xx']
        if wrong:
            print('  %s, %s: %d of %d requests went wrong: %s' % (
                one.name, load.name, wrong, result['requests'], done.stdout.strip()), file=sys.stderr)
        return result

    def idle_tunnels(self, one, load):
        """Memory while that many tunnels are open and do nothing."""
        before = parties.memory(one.pids)
        child = subprocess.Popen([*self.words(one, load, 60), '-p', '1'], stdout=subprocess.PIPE, text=True)
        line = child.stdout.readline()  # it says when all are open
        result = {**json.loads(line), **parties.memory(one.pids)}
        child.terminate()
        child.communicate()
        result['bytes_each'] = (result['private'] - before['private']) * 2**20 / load.total
        return result

    def measure(self, scenario, proxies):
        """{load: {proxy: [results]}}"""
        results = {}
        take = self.idle_tunnels if scenario.memory else self.load
        for _ in range(1 if scenario.memory else self.options.rounds * scenario.rounds):
            for load in scenario.loads:
                for one in proxies:
                    results.setdefault(load.name, {}).setdefault(one.name, []).append(take(one, load))
                    print('.', end='', flush=True, file=sys.stderr)
        return results

    def latency(self, results, proxies):
        """{share of Envoy's rate: {proxy: [results]}} at 32 tunnels."""
        load, found = scenarios.spread(32), {}
        most = statistics.median(r['rate'] for r in results[load.name]['envoy'])
        for _ in range(self.options.rounds * RATE_ROUNDS):
            for share in RATES:
                for one in proxies:
                    taken = self.load(one, load, rate=int(most * share))
                    found.setdefault(share, {}).setdefault(one.name, []).append(taken)
                    print('.', end='', flush=True, file=sys.stderr)
        return found

    def scenario(self, scenario):
        names = [n for n in self.options.proxies if n != 'nginx' or scenario.floor]
        proxies = [self.start(name, scenario.setup) for name in names]
        try:
            found = {'name': scenario.name, 'title': scenario.title, 'idle': {p.name: parties.memory(p.pids) for p in proxies},
                     'per': scenario.loads[0].per, 'loads': self.measure(scenario, proxies), 'latency': {}}
            if scenario.latency and 'envoy' in names:
                found['latency'] = self.latency(found['loads'], proxies)
        finally:
            for one in proxies:
                self.stop(one)
        print(file=sys.stderr)
        return found

    def end(self):
        for one in reversed(self.running):
            one.stop()


# ---- what is printed ----

def median(runs, field):
    values = [r[field] for r in runs if field in r]
    return statistics.median(values) if values else None


def cell(value, form):
    return '-' if value is None else form % value


def print_load(scenario, name, by, goal):
    """Lines of one load, and the ratio of cairn's CPU to Envoy's."""
    base = median(by['envoy'], 'cpu_us') if 'envoy' in by else None
    for proxy, runs in by.items():
        cpu = median(runs, 'cpu_us')
        ratio = cpu / base if cpu and base else None
        mark = ' > %.2f' % goal if proxy == 'cairn' and ratio and ratio > goal else ''
        print('%-15s %-16s %-6s %9s %7s %9s %8s %8s %9s %8s %8s%s' % (
            scenario, name, proxy, cell(cpu, '%.1f'), cell(ratio, '%.2f'), cell(median(runs, 'rate'), '%.0f'),
            cell(median(runs, 'p50'), '%.0f'), cell(median(runs, 'p99'), '%.0f'), cell(median(runs, 'p999'), '%.0f'),
            cell(median(runs, 'rss'), '%.1f'), cell(median(runs, 'private'), '%.1f'), mark))


def print_scenario(found, goal):
    print('\n%s (CPU us a %s)' % (found['title'], found['per']))
    for name, by in found['loads'].items():
        print_load(found['name'], name, by, goal)
        for proxy, runs in ((p, r) for p, r in by.items() if 'bytes_each' in r[0]):
            print('%-15s %-16s %-6s %.0f bytes for each tunnel' % (found['name'], name, proxy, runs[0]['bytes_each']))
    for share, by in found['latency'].items():
        print_load(found['name'], '%d %% of Envoy' % (100 * share), by, 9)
        if {'cairn', 'envoy'} <= by.keys():
            print('%-15s p99 at this rate: %.2f x Envoy' % (found['name'],
                  median(by['cairn'], 'p99') / median(by['envoy'], 'p99')))


def print_table(everything):
    print('%s\n%s' % (', '.join('%s %s' % pair for pair in everything['machine'].items()),
                      ', '.join('%s %s' % pair for pair in everything['versions'].items())))
    print('%-15s %-16s %-6s %9s %7s %9s %8s %8s %9s %8s %8s' % (
        '', '', '', 'CPU us', 'x Envoy', 'a second', 'p50 us', 'p99 us', 'p99.9 us', 'RSS MiB', 'private'))
    for found in everything['scenarios']:
        goal = next(s.goal for s in scenarios.ALL if s.name == found['name'])
        print_scenario(found, goal)
    if everything['counts']:
        print('\ncairn, counted for each request: instructions in the worker, system calls, allocations')
        for name, c in everything['counts'].items():
            print('%-15s %9s %7s %7s' % (name, cell(c['instructions'], '%.0f'), cell(c['syscalls'], '%.2f'),
                                         cell(c['allocations'], '%.2f')))
    if everything.get('scale'):
        print_scale(everything['scale'])


def print_scale(rates):
    print('\nEach worker held to %.0f %% of a core: %.0f requests a second with one, %.0f with two: %.2f x' % (
        100 * scale.QUOTA_US / scale.PERIOD_US, rates[1], rates[2], rates[2] / rates[1]))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--builddir', default='objs')
    parser.add_argument('--seconds', type=float, default=3)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--proxies', nargs='+', default=['cairn', 'envoy', 'nginx'])
    parser.add_argument('--only', nargs='+', choices=[s.name for s in scenarios.ALL], help='these scenarios')
    parser.add_argument('--no-counts', action='store_true', help='no instructions, system calls and allocations')
    parser.add_argument('--json', help='write all single results to this file')
    options = parser.parse_args()
    options.builddir = (parties.TOP / options.builddir).resolve()
    if not parties.envoy.binary():
        options.proxies.remove('envoy')
    return options


def main():
    options = arguments()
    chosen = [s for s in scenarios.ALL if not options.only or s.name in options.only]
    folder = pathlib.Path(tempfile.mkdtemp(prefix='cairn-bench-'))
    bench = None
    try:
        bench = Bench(options, folder, pki.Pki(folder / 'pki'))
        everything = {'machine': machine.describe(), 'versions': machine.versions(options.builddir), 'scenarios': [],
                      'counts': {}}
        for scenario in chosen:
            print('%s ' % scenario.title, end='', flush=True, file=sys.stderr)
            everything['scenarios'].append(bench.scenario(scenario))
        if not options.no_counts:
            everything['counts'] = {s.name: counts.of(bench, s) for s in chosen if s.name in counts.COUNTED}
        if any(s.name == 'workers-2' for s in chosen):
            everything['scale'] = scale.of(bench)
        print_table(everything)
        if options.json:
            pathlib.Path(options.json).write_text(json.dumps(everything, indent=1) + '\n')
    finally:
        if bench:
            bench.end()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main()
