# SPDX-License-Identifier: Apache-2.0
"""Whatever is changed under load, no request is lost: the short forms (t/long has the long ones)."""

import pytest

from peers import proxy, steady


@pytest.fixture
def pods(new_origin, capture):
    """Two pods, one of them captured, as endpoint lines."""
    plain, captured = new_origin('plain'), new_origin('captured')
    return [proxy.endpoint(plain), proxy.endpoint(captured, pod=capture(captured, 'bookinfo', 'reviews'))]


@pytest.fixture
def echo(new_tcp_origin):
    return new_tcp_origin('echo')


@pytest.fixture
def load(builddir, curl, stopping):
    def start(waypoint, *more, **options):
        stopping.append(steady.Load(builddir, waypoint, curl, *more, **options))
        return stopping[-1]
    return start


def test_policy_reloads_lose_nothing(cairn, pods, echo, load, curl):
    def conf(i):
        return steady.body(*pods, echo=echo, policy='authz { policy bookinfo/v%d allow { rule { to { paths /*; } } } }' % i)
    one = cairn(conf(0), workers=2)
    under, stream = load(one), steady.Stream(one, curl)
    steady.policy_reloads(under, conf, 10)
    exchanges = stream.finish()
    under.expect_nothing_lost('10 policy reloads, a stream of %d exchanges' % exchanges)


def test_worker_count_changes_lose_nothing(cairn, pods, echo, load, curl):
    conf = steady.body(*pods, echo=echo)
    one = cairn(conf, workers=1)
    under, stream = load(one), steady.Stream(one, curl)
    steady.worker_counts(under, conf, 4)
    exchanges = stream.finish()
    under.expect_nothing_lost('4 worker-count changes, a stream of %d exchanges' % exchanges)


def test_binary_upgrades_lose_nothing(cairn, pods, load):
    one = cairn(steady.body(*pods), workers=2)
    under = load(one)
    steady.upgrades(under, 2)
    under.expect_nothing_lost('2 binary upgrades')
