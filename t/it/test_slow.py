# SPDX-License-Identifier: Apache-2.0
"""Peers that are slow on purpose, at every stage, and tunnels that idle: bounded in time and in memory."""

import socket
import time

import pytest

from peers import net, proxy, steady, wire

SOON = 5.0  # far beyond the timeouts that the tests set, far below the defaults


@pytest.fixture
def waypoint(cairn, new_origin):
    def make(main=''):
        return cairn(steady.body(proxy.endpoint(new_origin('app')), echo=new_origin('auto', port=9000)), main=main)
    return make


def ends(sock, timeout=SOON):
    """Reads until the other side is gone; what came."""
    sock.settimeout(timeout)
    got = b''
    try:
        while True:
            piece = sock.recv(65536)
            if not piece:
                return got
            got += piece
    except ConnectionResetError:
        return got


@pytest.mark.parametrize('drip', [b'', b'\x16\x03\x01'])
def test_handshake_that_does_not_come_is_cut_off(waypoint, drip):
    one = waypoint('hbone_handshake_timeout 300ms;')
    with socket.create_connection((one.ip, 15008)) as sock:
        sock.sendall(drip)
        ends(sock)
    assert one.count('cairn_hbone_handshake_failures_total', reason='timeout') == 1
    net.wait_for(lambda: one.count('cairn_hbone_connections') == 0)


def test_tunnel_in_which_nothing_is_said_ends(waypoint, curl):
    one = waypoint('keepalive_timeout 300ms;')
    with one.connection(curl) as connection:
        assert connection.connect(steady.VIP).recv_all(SOON) == b''
    net.wait_for(lambda: one.count('cairn_tunnels_open') == 0)


def test_head_that_does_not_end_is_answered_408(waypoint, curl):
    one = waypoint('request_head_timeout 300ms;')
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        tunnel.send(b'GET / HTTP/1.1\r\nhost: reviews\r\nx-slow: ')
        assert b' 408 ' in tunnel.recv_all(SOON)


@pytest.mark.parametrize('flags, cut', [(0, 0), (wire.END_HEADERS, 1)], ids=['CONTINUATION', 'payload'])
def test_head_of_http2_that_does_not_end_ends_its_connection(waypoint, curl, flags, cut):
    """It stands before whatever else its client sends."""
    one = waypoint('request_head_timeout 300ms;')
    w = wire.Wire(wire.Inside(one.ip, curl, steady.VIP))
    fields = [(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')]
    w.start()
    w.send(w.headers(1, fields, wire.END_HEADERS | wire.END_STREAM))
    w.until(lambda: w.status(1))
    begun = w.headers(3, fields, flags | wire.END_STREAM)
    w.send(begun[:len(begun) - cut])
    w.until(lambda: False, SOON)
    assert w.closed and w.find(wire.GOAWAY, 0)[-1].code == wire.CALM
    w.close()
    one.wait_log('closing a session: the rest of a field section does not come')
    net.wait_for(lambda: one.count('cairn_tunnels_open') == 0)


def test_http2_connection_on_which_all_heads_came_stays(waypoint, curl):
    one = waypoint('request_head_timeout 300ms;')
    with one.connection(curl) as connection:
        client = connection.connect(steady.VIP).http2()
        assert client.request(path='/').status == 200
        refused = client.open(fields=[(':method', 'GET'), (':path', '/'), ('X-Bad', 'upper case')])
        assert refused.wait().reset_code == wire.PROTOCOL
        time.sleep(0.6)  # twice the limit
        assert client.request(path='/').status == 200
        assert not client.goaway


def test_body_that_does_not_come_ends_its_request(waypoint, curl):
    one = waypoint('stream_idle_timeout 300ms;')
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        tunnel.send(b'POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 1000\r\n\r\nbegun')
        tunnel.recv_all(SOON)
    net.wait_for(lambda: one.count('cairn_requests_active') == 0)


def test_slow_peers_do_not_hold_up_others(waypoint, curl):
    one = waypoint()
    silent = [socket.create_connection((one.ip, 15008)) for _ in range(20)]
    with one.connection(curl) as connection:
        for i in range(20):
            connection.connect(steady.VIP).send(b'POST / HTTP/1.1\r\nhost: r\r\ncontent-length: 9\r\n\r\n'[:10 + i])
        start = time.monotonic()
        for _ in range(20):
            assert one.request(curl, steady.VIP).status == 200
        print('20 requests beside 40 stalled peers: %.0f ms each' % ((time.monotonic() - start) * 50))
    for sock in silent:
        sock.close()


def idle_tunnels(one, builddir, curl, connections, tunnels):
    """KiB of the worker's memory for each of so many tunnels that do nothing."""
    before = one.resident()
    load = steady.Load(builddir, one, curl, '-r', 20, connections=connections, tunnels=tunnels)
    try:
        wanted = connections * tunnels
        net.wait_for(lambda: one.count('cairn_tunnels_open') == wanted, 120.0, '%d tunnels' % wanted)
        each = (one.resident() - before) / 1024 / wanted
        print('%d idle tunnels on %d connections: %.1f KiB each' % (wanted, connections, each))
        return each
    finally:
        load.stop()


def test_thousand_idle_tunnels_cost_little(waypoint, builddir, curl):
    each = idle_tunnels(waypoint(), builddir, curl, 10, 100)
    if 'address' not in (builddir / 'cn_flags').read_text():
        assert each < 12
