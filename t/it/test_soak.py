# SPDX-License-Identifier: Apache-2.0
"""Load over time: nothing is lost, nothing grows, nothing is reported by sanitizers."""

import json
import os
import subprocess
import threading

import pytest

from peers import net, proxy

VIP = '10.96.0.1:9080'
MIB = 1 << 20


@pytest.fixture
def hbload(builddir, curl):
    """hbload(waypoint, connections, tunnels, seconds) -> what it counted."""
    def run(waypoint, connections, tunnels, seconds, *more):
        words = [builddir / 't/bench/hbload', '-t', waypoint.ip + ':15008', '-a', VIP, '-c', connections, '-s', tunnels,
                 '-d', seconds, '-E', curl.cert, '-K', curl.key, '-A', curl.roots, *more]
        # It keeps everything until it exits; its own leaks are no news.
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=seconds + 120,
                              env={**os.environ, 'ASAN_OPTIONS': 'detect_leaks=0'})
        return json.loads(done.stdout)
    return run


@pytest.fixture
def waypoint(cairn, new_origin, capture):
    plain, captured = new_origin('plain'), new_origin('captured')
    pod = capture(captured, 'bookinfo', 'reviews')
    name = 'reviews.bookinfo:9080'
    return cairn(proxy.cluster(name, proxy.endpoint(plain), proxy.endpoint(captured, pod=pod)) +
                 proxy.service(name, VIP), workers=2)


def run_and_compare(waypoint, hbload, connections, tunnels, seconds, *more):
    counted = hbload(waypoint, connections, tunnels, seconds, *more)
    assert counted['requests'] > 0
    assert {k: counted[k] for k in ('errors', 'broken', 'refused', '4xx', '5xx')} == {
        'errors': 0, 'broken': 0, 'refused': 0, '4xx': 0, '5xx': 0}


def test_many_tunnels_for_a_moment(waypoint, hbload):
    run_and_compare(waypoint, hbload, 8, 8, 1)


def test_512_tunnels_for_five_seconds(waypoint, hbload):
    run_and_compare(waypoint, hbload, 64, 8, 5)
    net.wait_for(lambda: waypoint.count('cairn_tunnels_open') == 0, 20.0, 'the end of all tunnels')


def test_memory_of_a_burst_goes_back_to_the_system(cairn, new_origin, hbload, builddir):
    if 'address' in (builddir / 'cn_flags').read_text():
        pytest.skip('ASan keeps what was freed')
    one = cairn(proxy.cluster('reviews.bookinfo:9080', proxy.endpoint(new_origin('plain'))) +
                proxy.service('reviews.bookinfo:9080', VIP), workers=1)
    before = one.resident()
    burst = threading.Thread(target=hbload, args=(one, 300, 4, 3))
    burst.start()
    busy = before
    while burst.is_alive():
        burst.join(0.02)
        busy = max(busy, one.resident())
    net.wait_for(lambda: one.resident() < before + 7 * MIB, 20.0, 'memory that goes back')
    print('up to 1,200 tunnels in 300 connections: %.1f, %.1f, then %.1f MiB' % tuple(
        n / MIB for n in (before, busy, one.resident())))
    assert busy > before + 10 * MIB, 'not much of a burst'


def test_new_tunnel_for_every_request(waypoint, hbload):
    counted = hbload(waypoint, 4, 8, 1, '-n')
    assert counted['requests'] > 0 and counted['5xx'] == 0


@pytest.mark.slow
def test_512_tunnels_for_a_minute(waypoint, hbload):
    run_and_compare(waypoint, hbload, 64, 8, 60)
    net.wait_for(lambda: all(w['tunnels'] == 0 for w in waypoint.info()['workers']), 20.0, 'the end of all tunnels')


@pytest.mark.slow
def test_memory_does_not_grow_from_round_to_round(waypoint, hbload, builddir):
    if 'address' in (builddir / 'cn_flags').read_text():
        pytest.skip('ASan keeps what was freed')
    hbload(waypoint, 16, 8, 10)
    before = waypoint.resident()
    for _ in range(4):
        hbload(waypoint, 16, 8, 10)
    assert waypoint.resident() < before * 1.2 + MIB
