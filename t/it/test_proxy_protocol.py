# SPDX-License-Identifier: Apache-2.0
"""Sandwich mode: what a ztunnel in front says in a PROXY header is what policy, metrics and logs go by."""

import signal
import subprocess
import time

import pytest

from peers import net, pproxy, proxy
from peers.pproxy import Connection, header

VIP, VIP6, TCP, AUTO = '10.96.0.1:9080', '[fd00::1]:9080', '10.96.0.2:9000', '10.96.0.3:9001'
CURL = 'spiffe://cluster.local/ns/default/sa/curl'
OTHER = 'spiffe://cluster.local/ns/default/sa/other'
ONLY_CURL = '''    authz {
        policy bookinfo/viewer allow {
            rule { from { principals cluster.local/ns/default/sa/curl; } to { methods GET; } }
        }
    }'''


@pytest.fixture
def sandwich(cairn, new_origin, new_tcp_origin):
    """sandwich(main directives, authz of the HTTP service) -> a waypoint behind a ztunnel; .app and .tcp are its pods."""
    def make(main='', authz='', **options):
        app, tcp = new_origin('reviews-v1'), new_tcp_origin('tcp', bye=b'bye')
        greeter = new_tcp_origin('auto', greeting=b'220 hello\r\n', port=9001)
        ip = net.new_ip()
        body = ''.join([
            proxy.cluster('reviews.bookinfo:9080', proxy.endpoint(app)),
            proxy.service('reviews.bookinfo:9080', '%s %s' % (VIP, VIP6), authz),
            proxy.cluster('tcp.bookinfo:9000', proxy.endpoint(tcp), protocol='tcp'),
            proxy.service('tcp.bookinfo:9000', TCP, protocol='tcp'),
            proxy.cluster('auto.bookinfo:9001', proxy.endpoint(greeter), protocol='auto'),
            proxy.service('auto.bookinfo:9001', AUTO, protocol='auto', sniff_timeout='100ms'),
        ])
        one = cairn(body, main='listen %s:15088 proxy_protocol;\n%s' % (ip, main), ip=ip, **options)
        one.app, one.tcp = app, tcp
        return one
    return make


@pytest.fixture
def waypoint(sandwich):
    return sandwich()


def refused(waypoint, reason):
    return waypoint.count('cairn_proxy_protocol_refused_total', reason=reason)


def open_tunnels(waypoint):
    return waypoint.count('cairn_tunnels_open')


# ---- who is served ----

def test_identity_of_the_header_decides_policy(sandwich):
    one = sandwich(authz=ONLY_CURL)
    for head, status in ((header(VIP, CURL), 200), (header(VIP, OTHER), 403), (header(VIP), 403), (pproxy.v1(VIP), 403)):
        with Connection(one.ip, head) as connection:
            assert connection.request().status == status
            assert connection.request('POST').status == 403
    assert len(one.app.requests) == 1


def test_identity_and_source_are_in_metrics_and_log(waypoint):
    with Connection(waypoint.ip, header(VIP, CURL)) as connection:
        assert connection.request().status == 200
    line = waypoint.access()[0]
    assert line['downstream_remote_address'] == pproxy.SOURCE
    assert line['downstream_local_address'] == VIP
    assert waypoint.count('istio_requests_total', source_principal=CURL, connection_security_policy='mutual_tls',
                          destination_service='reviews.bookinfo.svc.cluster.local', response_code='200') == 1
    assert waypoint.count('cairn_proxy_protocol_tunnels_total') == 1
    assert waypoint.count('cairn_proxy_protocol_connections_total') == 1
    assert waypoint.count('cairn_proxy_protocol_waiting') == 0


def test_connections_without_an_identity_are_not_mutual_tls(waypoint):
    for head in (pproxy.v1(VIP), header(VIP)):
        with Connection(waypoint.ip, head) as connection:
            assert connection.request().status == 200
    assert waypoint.count('istio_requests_total', source_principal='unknown', connection_security_policy='none') == 2


@pytest.mark.parametrize('head', [
    header(VIP6, CURL, source='[fd00::9]:40000'), pproxy.v1(VIP6, source='[fd00::9]:40000'),
    pproxy.v1(VIP),
    header(VIP, CURL, host='reviews.bookinfo.svc.cluster.local'),
    header('10.96.0.2:9080', CURL, host='reviews.bookinfo.svc.cluster.local'),
    header(VIP, CURL, host='unknown.example.com'),
    header(VIP, CURL, tlvs=pproxy.tlv(0x04, b'\0' * 2000) + pproxy.tlv(0xea, b'')),
], ids=['IPv6', 'IPv6 v1', 'v1', 'host', 'host before address', 'unknown host', 'TLVs of others'])
def test_every_form_of_header_is_served(waypoint, head):
    with Connection(waypoint.ip, head) as connection:
        assert connection.request().json()['pod'] == 'reviews-v1'


def test_header_and_request_in_one_packet_or_in_many(waypoint):
    request = b'GET /whole HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
    data = header(VIP, CURL) + request
    with Connection(waypoint.ip, data) as connection:
        assert connection.recv_all().startswith(b'HTTP/1.1 200')
    with Connection(waypoint.ip) as connection:
        for i in range(len(data)):
            connection.send(data[i:i + 1])
            if i % 8 == 0:
                time.sleep(0.001)  # so that the kernel does not join them all
        assert connection.recv_all().startswith(b'HTTP/1.1 200')


def test_connections_stay_apart_on_a_kept_upstream(waypoint):
    connections = [Connection(waypoint.ip, header(VIP, 'spiffe://cluster.local/ns/default/sa/c%d' % i)) for i in range(20)]
    for _ in range(2):
        for connection in connections:
            assert connection.request().status == 200
    for i, connection in enumerate(connections):
        connection.close()
        assert waypoint.count('istio_requests_total', source_principal='spiffe://cluster.local/ns/default/sa/c%d' % i) == 2


def test_half_close_reaches_the_pod_and_its_last_words_come_back(waypoint):
    with Connection(waypoint.ip, header(TCP, CURL) + b'payload ') as connection:
        connection.half_close()
        assert connection.recv_all() == b'payload bye'
    net.wait_for(lambda: waypoint.count('istio_tcp_connections_closed_total', source_principal=CURL) == 1)
    assert waypoint.count('istio_tcp_received_bytes_total') == len(b'payload ')
    assert waypoint.count('istio_tcp_sent_bytes_total') == len(b'payload bye')


def test_megabytes_pass_both_ways(waypoint):
    data = bytes(range(256)) * 4096
    with Connection(waypoint.ip, header(TCP, CURL)) as connection:
        for i in range(0, len(data), 65536):
            connection.send(data[i:i + 65536])
        connection.half_close()
        assert connection.recv_all() == data + b'bye'


def test_a_server_that_speaks_first_is_heard(waypoint):
    with Connection(waypoint.ip, header(AUTO, CURL)) as connection:
        assert connection.recv() == b'220 hello\r\n'
        connection.send(b'more')
        assert connection.recv() == b'more'


# ---- who is not ----

def test_strangers_are_refused(sandwich):
    one = sandwich('proxy_protocol_from 127.0.0.2 10.0.0.0/8;')
    for _ in range(3):
        with Connection(one.ip, header(VIP, CURL)) as connection:
            assert connection.is_closed()
    assert refused(one, 'stranger') == 3
    assert not one.app.requests
    assert 'not in proxy_protocol_from' in one.log
    one.reload(main='listen %s:15088 proxy_protocol;\nproxy_protocol_from 127.0.0.0/8;' % one.ip, body=one_body(one))
    with Connection(one.ip, header(VIP, CURL)) as connection:
        assert connection.request().status == 200


def one_body(one):
    """The services of a running waypoint's conf."""
    text = (one.folder / 'cairn.conf').read_text()
    return text[text.index('cluster reviews'):]


GARBAGE = {
    'nothing': b'', 'HTTP': b'GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'TLS': b'\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03',
    'zeros': b'\0' * 5000, 'signature': pproxy.SIGNATURE + b'\xff' * 4, 'half': header(VIP, CURL)[:40],
    'endless line': b'PROXY TCP4 ' + b'1' * 5000, 'short': pproxy.v2(b'\0' * 11), 'UDP': pproxy.v2(b'\0' * 12, family=0x12),
    'UNIX': pproxy.v2(b'\0' * 216, family=0x31), 'too long': pproxy.v2(b'', length=65535) + b'\0' * 65535,
    'two identities': header(VIP, CURL, tlvs=pproxy.tlv(pproxy.IDENTITY, OTHER.encode())),
    'NUL': header(VIP, CURL + '\0'), 'forged line': header(VIP, CURL + '\n2026 forged'),
    'TLV over the end': header(VIP, tlvs=b'\xd0\xff\xff'),
}


def test_garbage_is_closed_and_disturbs_nobody(waypoint):
    with Connection(waypoint.ip, header(VIP, CURL)) as steady:
        assert steady.request().status == 200
        for name, data in GARBAGE.items():
            with Connection(waypoint.ip) as connection:
                try:
                    connection.send(data)
                    connection.half_close()
                except OSError:
                    pass  # closed already
                assert connection.is_closed(), name
        assert steady.request().status == 200
    assert refused(waypoint, 'malformed') + refused(waypoint, 'closed') == len(GARBAGE)
    assert refused(waypoint, 'closed') == 2
    assert waypoint.count('cairn_proxy_protocol_waiting') == 0
    assert 'forged' not in waypoint.log


@pytest.mark.parametrize('head, reason', [
    (header('10.9.9.9:9080', CURL), 'no_service'), (header('10.96.0.1:9999', CURL), 'no_service'),
    (pproxy.v1('10.9.9.9:9080'), 'no_service'),
    (header(VIP6, CURL), 'no_destination'), (pproxy.v2(b'', pproxy.LOCAL, 0), 'no_destination'),
    (b'PROXY UNKNOWN\r\n', 'no_destination'),
    (header(VIP, 'spiffe://elsewhere.example/ns/default/sa/curl'), 'identity'),
    (header(VIP, 'cluster.local/ns/default/sa/curl'), 'identity'), (header(VIP, CURL + '/more'), 'identity'),
], ids=['address', 'port', 'v1', 'families mixed', 'LOCAL', 'UNKNOWN', 'foreign domain', 'no URI', 'longer'])
def test_what_cannot_be_served_is_closed_for_a_reason(waypoint, head, reason):
    with Connection(waypoint.ip, head + b'GET / HTTP/1.1\r\nHost: a\r\n\r\n') as connection:
        assert connection.is_closed()
    assert refused(waypoint, reason) == 1
    assert not waypoint.app.requests


@pytest.mark.parametrize('port', [15000, 15008, 15020, 15088])
def test_waypoints_own_ports_are_no_destination(waypoint, port):
    with Connection(waypoint.ip, header('%s:%d' % (waypoint.ip, port), CURL)) as connection:
        assert connection.is_closed()


def test_refusals_are_logged_with_who_and_where(waypoint):
    with Connection(waypoint.ip, header('10.9.9.9:9080', CURL)) as connection:
        assert connection.is_closed()
    waypoint.wait_log(r'CONNECT 10\.9\.9\.9:9080 from 10\.244\.0\.9:40000 \(%s\) refused: proxy_protocol_no_service' % CURL)


def test_an_alias_of_the_trust_domain_is_trusted(sandwich):
    one = sandwich(trust_domain='cluster.local old.example')
    with Connection(one.ip, header(VIP, 'spiffe://old.example/ns/default/sa/curl')) as connection:
        assert connection.request().status == 200


def test_a_slow_header_is_not_waited_for(sandwich):
    one = sandwich('proxy_protocol_timeout 300ms;')
    begin = time.monotonic()
    with Connection(one.ip) as silent, Connection(one.ip, header(VIP, CURL)[:-1]) as slow:
        for connection in (silent, slow):
            assert connection.is_closed()
    assert 0.25 < time.monotonic() - begin < 5
    assert refused(one, 'timeout') == 2
    with Connection(one.ip, header(VIP, CURL)) as connection:
        time.sleep(0.5)  # behind its header a connection may be silent for longer
        assert connection.request().status == 200


def test_connections_without_a_header_are_bounded(sandwich):
    one = sandwich('proxy_protocol_max_waiting 5;')
    silent = [Connection(one.ip) for _ in range(5)]
    net.wait_for(lambda: one.count('cairn_proxy_protocol_waiting') == 5)
    with Connection(one.ip, header(VIP, CURL)) as connection:
        assert connection.is_closed()
    assert refused(one, 'overload') == 1
    for connection in silent:
        connection.close()
    net.wait_for(lambda: one.count('cairn_proxy_protocol_waiting') == 0)
    with Connection(one.ip, header(VIP, CURL)) as connection:
        assert connection.request().status == 200


def test_resets_leave_nothing_behind(waypoint):
    for head in (b'', header(VIP, CURL)[:20], header(VIP, CURL), header(TCP, CURL) + b'x' * 1000):
        for _ in range(10):
            Connection(waypoint.ip, head).reset()
    net.wait_for(lambda: waypoint.count('cairn_proxy_protocol_waiting') == 0 and open_tunnels(waypoint) == 0)


# ---- its life ----

def test_draining_finishes_what_runs(waypoint):
    with Connection(waypoint.ip, header(VIP, CURL)) as connection:
        connection.http.send(path='/slow/500')
        net.wait_for(lambda: waypoint.app.connections)
        waypoint.send_signal(signal.SIGQUIT)
        assert connection.http.response().status == 200
        assert connection.is_closed()
    assert waypoint.process.wait(10) == 0


def test_a_silent_connection_does_not_keep_a_worker(sandwich):
    one = sandwich('proxy_protocol_timeout 500ms;')
    with Connection(one.ip):
        net.wait_for(lambda: one.count('cairn_proxy_protocol_waiting') == 1)
        one.send_signal(signal.SIGQUIT)
        assert one.process.wait(10) == 0


# ---- real senders ----

def test_curl_sends_a_header_of_version_1(cairn, new_origin):
    app, ip = new_origin('reviews-v1'), net.new_ip()
    name = 'reviews.bookinfo:15088'
    one = cairn(proxy.cluster(name, proxy.endpoint(app)) + proxy.service(name, '%s:15088' % ip), ip=ip,
                main='listen %s:15088 proxy_protocol;' % ip)
    done = subprocess.run(['curl', '-sS', '--max-time', '10', '--haproxy-protocol', 'http://%s:15088/' % ip],
                          capture_output=True, text=True)
    assert done.returncode == 0 and '"pod": "reviews-v1"' in done.stdout, done.stderr
    assert one.access()[0]['downstream_remote_address'].startswith('127.')


def test_envoy_sends_an_identity_in_version_2(sandwich, envoy_sandwich, plain):
    ip = net.new_ip()
    one = sandwich(authz=ONLY_CURL)
    at = '%s:9080' % ip
    one.reload(one_body(one).replace(VIP, at))
    for identity, status in ((CURL, 200), (OTHER, 403)):
        envoy = envoy_sandwich(ip, one.ip, identity)
        assert plain(*envoy.address).request().status == status
        envoy.stop()
    line = one.access(2)[0]
    assert line['downstream_local_address'] == at


# ---- its address ----

def test_an_address_that_the_machine_lacks_is_left_out_when_optional(sandwich):
    one = sandwich('listen 192.0.2.1:15088 proxy_protocol optional;\nlisten [2001:db8::1]:15088 proxy_protocol backlog=9 optional;')
    assert 'not listening on 192.0.2.1:15088' in one.log and 'not listening on [2001:db8::1]:15088' in one.log
    one.reload()
    with Connection(one.ip, header(VIP, CURL)) as connection:
        assert connection.request().status == 200


def test_an_address_that_the_machine_lacks_is_an_error_else(cairn):
    one = cairn(main='listen 192.0.2.1:15088 proxy_protocol;', start=False)
    with pytest.raises(RuntimeError, match='cannot listen on 192.0.2.1:15088'):
        one.start()
    assert one.process.wait(10) != 0
    one.process = None
