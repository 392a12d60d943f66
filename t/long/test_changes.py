# SPDX-License-Identifier: Apache-2.0
"""The long forms of t/it/test_lifecycle.py: whatever is changed under load, how often ever, nothing is lost."""

import os
import signal
import statistics
import sys
import time

import pytest

from peers import net, proxy, steady

from conftest import IT

sys.path.insert(0, str(IT.parent))
from test_lifecycle import echo, load, own_identity, pods, replacements, rotate, split  # noqa: E402,F401


def test_100_policy_reloads(cairn, pods, echo, load, curl):
    def conf(i):
        return steady.body(*pods, echo=echo, policy='authz { policy bookinfo/v%d allow { rule { to { paths /*; } } } }' % i)
    one = cairn(conf(0), workers=2)
    under, stream = load(one), steady.Stream(one, curl)
    steady.policy_reloads(under, conf, 100)
    exchanges = stream.finish()
    under.expect_nothing_lost('100 policy reloads, a stream of %d exchanges' % exchanges)


@pytest.mark.parametrize('keeper', ['off', 'on'])
def test_1000_endpoint_changes(cairn, pods, echo, load, curl, keeper):
    one = cairn('include conf.d/*.conf;\n', files=split(pods, echo), workers=2, main='config_keeper %s;' % keeper)
    under, stream = load(one), steady.Stream(one, curl)
    steady.endpoint_changes(under, 'reviews', [pods[0], pods[1], '\n'.join(pods)], 1000)
    under.goes_on()
    exchanges = stream.finish()
    under.expect_nothing_lost('1,000 endpoint changes, keeper %s, a stream of %d exchanges' % (keeper, exchanges))


def test_10_certificate_rotations(cairn, pods, echo, load, curl, pki, tmp_path):
    one = cairn(steady.body(*pods, echo=echo), main='hbone_rotation 500ms;', workers=2,
                identity=own_identity(pki, tmp_path / 'own'))
    under, stream = load(one), steady.Stream(one, curl)
    for days in range(30, 40):
        rotate(one, pki.identity('bookinfo', 'waypoint', days=days))
        one.reload()
        under.goes_on(200)
    exchanges = stream.finish()
    under.expect_nothing_lost('10 rotations, a stream of %d exchanges' % exchanges)


def test_10_binary_upgrades(cairn, pods, load):
    one = cairn(steady.body(*pods), workers=2)
    under = load(one)
    steady.upgrades(under, 10)
    under.expect_nothing_lost('10 binary upgrades')


def test_20_worker_count_changes(cairn, pods, echo, load, curl):
    conf = steady.body(*pods, echo=echo)
    one = cairn(conf, workers=1, main='worker_shutdown_timeout 10m;')
    under, stream = load(one), steady.Stream(one, curl)
    steady.worker_counts(under, conf, 20)
    exchanges = stream.finish()
    under.expect_nothing_lost('20 worker-count changes, a stream of %d exchanges' % exchanges)


@pytest.mark.skipif(os.geteuid() != 0, reason='needs root to make sockets vanish')
def test_100_pods_replaced_half_of_them_without_a_word(replacements, load):
    under = load(replacements.one, methods=replacements.METHODS)
    replacements.run(under, 100)
    again = replacements.expect_losses_only_where_a_byte_may_have_arrived(under, 100)
    assert len(replacements.vanished) == 50 and again


# ---- 5,000 services with 10 endpoints each ----

SERVICES, ENDPOINTS = 5000, 10


@pytest.fixture(scope='module')
def wide_files():
    return steady.wide(SERVICES, ENDPOINTS)


@pytest.fixture
def wide(cairn, pods, wide_files):
    files = {**wide_files, 'conf.d/own.conf': steady.body(*pods)}
    one = cairn('include conf.d/*.conf;\n', files=files, workers=2, start=False)
    took = steady.elapsed(one.start, 60.0)
    kib = [steady.resident_kib(pid) for pid in one.workers()]
    print('%d services, %d endpoints: ready after %.0f ms, workers of %s MiB' % (
        SERVICES, SERVICES * ENDPOINTS, took * 1000, ', '.join('%.1f' % (k / 1024) for k in kib)))
    assert max(kib) <= 60 * 1024
    states = lambda: sorted(w['state'] for w in one.info()['workers'])
    net.wait_for(lambda: states() == ['serving', 'serving', 'spare'], 60.0, 'the spare worker')
    one.reload()  # the keeper is there from now on
    return one


def change(one, i):
    one.put('endpoints.d/svc7.wide:9080', steady.wide_endpoints(7, ENDPOINTS, '10.99.0.%d:9080' % (i % 200 + 1)))
    steady.wait_in_force(one, lambda: one.send_signal(signal.SIGHUP))


def quantile_ms(load, name):
    return load.counted()[name] / 1000


def quantiles(v):
    v = sorted(v)
    return 'median %.1f, 90 %% %.1f, most %.1f' % (statistics.median(v), v[len(v) * 9 // 10], v[-1])


def side_by_side(one, load, phases=14, seconds=4):
    """p99 in ms of a steady load, by whether endpoints change: phases in turn, since the machine changes too."""
    p99 = {False: [], True: []}
    for phase in range(phases):
        changing = phase % 2 == 1
        under = load(one, '-r', 300)
        until = time.monotonic() + seconds
        i = 0
        while time.monotonic() < until:
            if changing:
                change(one, phase * 1000 + i)
                i += 1
            time.sleep(0.1)
        p99[changing].append(quantile_ms(under, 'p99'))
        under.expect_nothing_lost('%d changes' % i if changing else 'no changes')
    return p99


def test_one_endpoint_of_50000_is_in_force_soon_and_nobody_notices(wide, load):
    since = len(wide.log)
    p99 = side_by_side(wide, load)
    took = steady.effect_ms(wide.log[since:])
    print('from the signal to all workers: %s ms of %d; p99 without changes: %s ms, with: %s ms' % (
        quantiles(took), len(took), quantiles(p99[False]), quantiles(p99[True])))
    assert statistics.median(took) <= 50
    assert statistics.median(p99[True]) <= 1.25 * statistics.median(p99[False]) + 1


def change_policy(one, files, i):
    text = files['conf.d/svc7.wide:9080.conf'].replace('service svc7', '# change %d\nservice svc7' % i)
    one.put('conf.d/svc7.wide:9080.conf', text.replace('route r0', 'route r%d' % i))
    steady.wait_in_force(one, lambda: one.send_signal(signal.SIGHUP))


def test_a_policy_of_5000_services_is_in_force_soon(wide, load, wide_files):
    under = load(wide, '-r', 300)
    since = len(wide.log)
    for i in range(100):
        change_policy(wide, wide_files, i)
    took = steady.effect_ms(wide.log[since:])
    under.expect_nothing_lost('100 policy changes at %d services: %s ms' % (SERVICES, quantiles(took)))
    assert statistics.median(took) <= 50


def change_main(one, _files, i):
    """MAIN settings, which all sections inherit: each is read anew."""
    one.write(one.body, main='hbone_rotation %ds;' % (100 + i))
    steady.wait_in_force(one, lambda: one.send_signal(signal.SIGHUP))


@pytest.mark.parametrize('what, times, cpu_ms', [
    (lambda one, files, i: change(one, i), 60, 2), (change_policy, 60, 2), (change_main, 6, None),
], ids=['endpoint', 'policy', 'main'])
def test_what_a_change_costs_in_processor_time(wide, load, wide_files, what, times, cpu_ms):
    """What the machine's other work does not blur: no worker is held for long, and only what changed is looked at."""
    what(wide, wide_files, 1000)
    workers = {w['id']: w['pid'] for w in wide.info()['workers'] if w['state'] == 'serving'}
    before, pieces = [steady.cpu_ms(pid) for pid in workers.values()], []
    for i in range(times):
        what(wide, wide_files, i)
        metrics = wide.metrics() if i % 5 == 0 else {}
        pieces += [v * 1000 for k, v in metrics.items() if k.startswith('cairn_worker_config_step') and
                   int(k.split('"')[1]) in workers]
    cost = [(steady.cpu_ms(pid) - was) / times for pid, was in zip(workers.values(), before)]
    print('a worker: %s ms a change (scrapes and all), at most %.2f ms at a stretch' % (
        ', '.join('%.2f' % c for c in cost), max(pieces)))
    assert max(pieces) <= 2
    assert cpu_ms is None or max(cost) <= cpu_ms


def test_killed_worker_is_replaced_within_100_ms(wide):
    wide.expect_crash = True
    took = []
    for _ in range(10):
        info = wide.info()['workers']
        spare = next(w['pid'] for w in info if w['state'] == 'spare')
        os.kill(next(w['pid'] for w in info if w['state'] == 'serving'), signal.SIGKILL)
        start = time.monotonic()
        net.wait_for(lambda: spare in [w['pid'] for w in wide.info()['workers'] if w['state'] == 'serving'])
        took.append((time.monotonic() - start) * 1000)
        net.wait_for(lambda: 'spare' in [w['state'] for w in wide.info()['workers']], 60.0, 'the next spare worker')
        wide.reload()  # which forgives deaths in quick succession
    took.sort()
    print('kill -9 until another one serves, %d services: median %.0f ms, most %.0f ms' % (
        SERVICES, statistics.median(took), took[-1]))
    assert statistics.median(took) <= 100


def test_10000_idle_tunnels(cairn, new_origin, builddir, curl):
    from test_slow import idle_tunnels
    one = cairn(steady.body(proxy.endpoint(new_origin('app'))))
    assert idle_tunnels(one, builddir, curl, 100, 100) <= 8


def test_changes_take_no_memory(cairn, pods, curl, builddir):
    from test_memory import stays_small
    if 'address' in (builddir / 'cn_flags').read_text():
        pytest.skip('ASan has its own memory')
    stays_small(cairn, pods, curl, SERVICES, 100, 1000)
