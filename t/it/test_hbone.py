# SPDX-License-Identifier: Apache-2.0
"""The outer side: who may come in, which CONNECTs are served, and how tunnels end."""

import ssl
import time

import pytest

from peers import hbone, net, proxy

VIP = '10.96.0.1:9080'
TCP = '10.96.0.2:9000'


@pytest.fixture
def waypoint(cairn, new_origin, new_tcp_origin):
    """One HTTP and one TCP service; .app and .tcp are their pods."""
    app, tcp = new_origin('reviews-v1'), new_tcp_origin('tcp', bye=b'bye')
    one = cairn(proxy.cluster('reviews.bookinfo:9080', proxy.endpoint(app)) +
                proxy.service('reviews.bookinfo:9080', VIP) +
                proxy.cluster('tcp.bookinfo:9000', proxy.endpoint(tcp), protocol='tcp') +
                proxy.service('tcp.bookinfo:9000', TCP, protocol='tcp'))
    one.app, one.tcp = app, tcp
    return one


def test_only_identities_of_the_mesh_get_in(waypoint, pki, curl):
    strangers = {
        'no certificate': hbone.Anonymous(pki.roots),
        'expired': pki.expired('default', 'curl'),
        'foreign CA': pki.foreign_ca('default', 'curl'),
        'foreign trust domain': pki.foreign_domain('default', 'curl'),
        'no SPIFFE name': pki.identity('default', 'none', uris=[]),
    }
    assert [name for name, who in strangers.items() if not hbone.is_refused(waypoint.ip, who)] == []
    assert waypoint.request(curl, VIP).status == 200


@pytest.mark.parametrize('options', [{'alpn': ('http/1.1',)}, {'alpn': ()}, {'maximum': ssl.TLSVersion.TLSv1_2}],
                         ids=['http/1.1', 'no ALPN', 'TLS 1.2'])
def test_other_protocols_are_refused(waypoint, curl, options):
    assert hbone.is_refused(waypoint.ip, curl, **options)
    assert waypoint.request(curl, VIP).status == 200


@pytest.mark.parametrize('authority', ['10.96.9.9:9080', '10.96.0.1:9999', '127.0.0.1:22', '1.1.1.1:443'])
def test_unknown_destinations_are_refused(waypoint, curl, authority):
    with waypoint.connection(curl) as connection:
        tunnel = connection.open(authority)
        tunnel.wait_response()
        assert tunnel.status is None or tunnel.status >= 400
        assert connection.connect(VIP).request().status == 200


def test_waypoints_own_ports_are_no_destination(waypoint, curl):
    with waypoint.connection(curl) as connection:
        for port in (15000, 15008, 15020, 15021):
            tunnel = connection.open('%s:%d' % (waypoint.ip, port))
            tunnel.wait_response()
            assert tunnel.status is None or tunnel.status >= 400


@pytest.mark.parametrize('fields', [
    [(':method', 'GET'), (':scheme', 'https'), (':path', '/'), (':authority', VIP)],
    [(':method', 'CONNECT'), (':authority', '')],
    [(':method', 'CONNECT'), (':authority', 'no port')],
    [(':method', 'CONNECT'), (':authority', '10.96.0.1:99999')],
    [(':method', 'CONNECT'), (':authority', VIP), (':path', '/'), (':scheme', 'https')],
    [(':method', 'CONNECT')],
], ids=['GET', 'empty', 'no port', 'port too large', 'with path', 'no authority'])
def test_malformed_connect_costs_only_its_stream(waypoint, curl, fields):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        bad = connection.open('', fields=fields)
        bad.wait_response()
        assert bad.status is None or bad.status >= 400
        assert tunnel.request().status == 200


def test_half_close_reaches_the_pod_and_its_last_words_come_back(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(TCP)
        tunnel.send(b'payload ')
        tunnel.half_close()
        assert tunnel.recv_all() == b'payload bye'


def test_megabytes_pass_both_ways_at_once(waypoint, curl):
    data = bytes(range(256)) * 8192
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(TCP)
        tunnel.send(data)
        tunnel.half_close()
        assert tunnel.recv_all() == data + b'bye'


def test_connect_is_answered_before_a_pod_is_chosen(waypoint, curl):
    waypoint.app.stop()
    waypoint.tcp.stop()
    with waypoint.connection(curl) as connection:
        assert connection.connect(VIP).status == 200


def test_ping_is_answered(waypoint, curl):
    with waypoint.connection(curl) as connection:
        connection.ping()


def test_slow_reader_stops_the_sender_but_not_the_others(waypoint, curl):
    with waypoint.connection(curl, settings={}) as connection:
        slow = connection.open(VIP)
        slow.hold = True
        slow.wait_response()
        slow.http.send(path='/bytes/50000000')
        other = connection.connect(VIP)
        for _ in range(20):
            assert other.request().status == 200
        assert len(slow.buffer) < 1 << 20
        slow.reset()
        assert other.request().status == 200


def test_one_tunnel_that_is_not_read_beside_99_that_are(waypoint, builddir, curl):
    with waypoint.connection(curl, settings={}) as connection:
        others = [connection.connect(VIP) for _ in range(99)]
        assert [len(one.request(path='/bytes/100000').body) for one in others] == [100000] * 99
        before = waypoint.resident()
        slow = connection.open(VIP)
        slow.hold = True
        slow.wait_response()
        slow.http.send(path='/bytes/50000000')
        assert [len(one.request(path='/bytes/100000').body) for one in others] == [100000] * 99
        grew = waypoint.resident() - before
        assert len(slow.buffer) < 1 << 20
        slow.reset()
        assert {one.request().status for one in others} == {200}
    assert 'address' in (builddir / 'cn_flags').read_text() or grew < 2 << 20


def test_resets_at_every_state_disturb_nobody(waypoint, curl):
    with waypoint.connection(curl) as connection:
        steady = connection.connect(VIP)
        for path, wait in (('/hang', 0), ('/drip/100', 0.05), ('/bytes/10000000', 0.02)):
            tunnel = connection.connect(VIP)
            tunnel.http.send(path=path)
            time.sleep(wait)  # for the other side to be in the middle of it
            tunnel.reset()
        connection.open(VIP).reset()
        partial = connection.connect(VIP)
        partial.send(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf')
        partial.reset()
        assert steady.request().status == 200


def test_broken_connections_disturb_nobody(waypoint, curl):
    with waypoint.connection(curl) as steady:
        tunnel = steady.connect(VIP)
        for garbage in (b'', b'\0' * 9, b'\xff' * 100):
            other = waypoint.connection(curl)
            other.connect(VIP).http.send(path='/hang')
            if garbage:
                other.raw(garbage)
            other.reset()
        assert tunnel.request().status == 200


def test_draining_tells_the_client_and_finishes_what_runs(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.http.send(path='/slow/300')
        net.wait_for(lambda: waypoint.app.connections, what='the request at the pod')
        waypoint.send_signal(3)
        assert tunnel.http.response().status == 200
        connection.until(lambda: connection.goaway is not None or connection.closed, what='GOAWAY')
