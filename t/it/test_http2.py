# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 inside the tunnel and towards pods, and between the two versions."""

import signal

import h2.exceptions
import pytest

from peers import net, proxy
from peers.http import Ended

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'


def reviews(app, declared='http', upstream='http', **more):
    return (proxy.cluster(REVIEWS, proxy.endpoint(app, **more), protocol=upstream) +
            proxy.service(REVIEWS, VIP, protocol=declared))


@pytest.fixture
def site(cairn, new_origin, new_http2_origin):
    """site('http', 'http2') -> a waypoint on a port declared so, before a pod that speaks the second."""
    def make(declared, upstream, capture=None):
        app = (new_origin if upstream == 'http' else new_http2_origin)('reviews-v1')
        more = {'pod': capture(app, 'bookinfo', 'reviews')} if capture else {}
        one = cairn(reviews(app, declared, upstream, **more))
        one.app = app
        return one
    return make


def http_of(tunnel, client):
    return tunnel.http2() if client == 'HTTP/2' else tunnel.http


# ---- which version is spoken where ----

@pytest.mark.parametrize('declared', ['http', 'http2', 'grpc', 'auto'])
@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
@pytest.mark.parametrize('upstream', ['http', 'http2'])
def test_client_and_pod_may_speak_different_versions(site, curl, declared, client, upstream):
    waypoint = site(declared, upstream)
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        http = http_of(tunnel, client)
        answer = http.request('POST', '/a?b=c', {'x-mine': 'kept'}, b'twelve bytes')
    seen = answer.json()
    assert (answer.status, dict(answer.headers)['server']) == (200, 'istio-envoy')
    assert (seen['method'], seen['path'], seen['body']) == ('POST', '/a?b=c', 12)
    assert seen['version'] == ('HTTP/2' if upstream == 'http2' else 'HTTP/1.1')
    names = [n.lower() for n, _ in seen['headers']]
    assert 'x-mine' in names and 'x-request-id' in names
    assert waypoint.access(1)[0]['protocol'] == client


@pytest.mark.parametrize('client, kind', [('HTTP/1.1', 'http'), ('HTTP/2', 'http2')])
def test_undeclared_pod_gets_what_the_client_speaks(cairn, new_origin, new_http2_origin, curl, client, kind):
    app = (new_origin if kind == 'http' else new_http2_origin)('reviews-v1')
    waypoint = cairn(reviews(app, 'auto', 'auto'))
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        http = http_of(tunnel, client)
        assert [http.request().json()['version'] for _ in range(3)] == [client] * 3


def test_client_protocol_wins_over_the_declared_one(cairn, new_http2_origin, curl):
    app = new_http2_origin('reviews-v1')
    waypoint = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app), protocol='http', client_protocol='on') +
                     proxy.service(REVIEWS, VIP))
    with waypoint.connection(curl) as connection:
        assert connection.connect(VIP).http2().request().json()['version'] == 'HTTP/2'


def test_connections_to_pods_are_kept_alive_by_pings(cairn, new_http2_origin, curl):
    app = new_http2_origin('reviews-v1')
    waypoint = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app), protocol='http2', http2_keepalive='interval=50ms timeout=500ms') +
                     proxy.service(REVIEWS, VIP))
    assert waypoint.request(curl, VIP).status == 200
    net.wait_for(lambda: app.pings >= 3, 10.0, 'pings')
    assert app.connections == 1
    app.deaf = True  # what is asked now is not answered, nor are pings
    answer = waypoint.request(curl, VIP, method='POST', body=b'x')
    assert (answer.status, waypoint.access(2)[1]['response_flags']) == (503, 'UC')


def test_captured_pod_speaks_http2_inside_its_tunnel(site, curl, capture):
    waypoint = site('http2', 'http2', capture)
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        slow = [http.open(path='/slow/30') for _ in range(20)]
        assert [one.wait().status for one in slow] == [200] * 20
    assert waypoint.app.connections == 1


# ---- streams are requests of their own ----

def test_each_stream_is_counted_and_logged(site, curl):
    waypoint = site('http2', 'http2')
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        streams = [http.open(path='/status/%d' % (200 if i % 3 else 404)) for i in range(30)]
        assert sorted(one.wait().status for one in streams) == [200] * 20 + [404] * 10
        gone = http.open(path='/hang')
        net.wait_for(lambda: len(waypoint.app.requests) == 31, what='the request at the pod')
        gone.reset()
        net.wait_for(lambda: waypoint.app.requests[-1].reset_code == 8, what='the reset at the pod')
        assert http.request().status == 200
    lines = waypoint.access(32)
    assert len(lines) == 32
    assert waypoint.count('istio_requests_total') == 32
    assert waypoint.count('istio_requests_total', response_code='404') == 10
    assert [(line['response_code'], line['response_flags'], line['response_code_details'])
            for line in lines if line['path'] == '/hang'] == [(0, 'DR', 'http2.remote_reset')]


@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
def test_pod_that_resets_a_stream_fails_that_request_alone(site, curl, client):
    waypoint = site('http', 'http2')
    with waypoint.connection(curl) as connection:
        http = http_of(connection.connect(VIP), client)
        answer = http.request(path='/reset/2')
        assert (answer.status, answer.body) == (
            503, b'upstream connect error or disconnect/reset before headers. reset reason: remote reset')
        assert http.request().status == 200
    assert waypoint.access(2)[0]['response_flags'] == 'UR'


# ---- heads and trailers ----

@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
@pytest.mark.parametrize('upstream', ['http', 'http2'])
def test_trailers_pass_in_both_directions(site, curl, client, upstream):
    waypoint = site('http', upstream)
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        http = http_of(tunnel, client)
        if client == 'HTTP/2':
            answer = http.request('POST', '/', {'te': 'trailers'}, b'hello', trailers=[('x-end', 'yes')])
        else:
            http.send('POST', '/', {'Transfer-Encoding': 'chunked'}, b'5\r\nhello\r\n0\r\nx-end: yes\r\n\r\n')
            answer = http.response()
        seen = answer.json()
        assert (seen['body'], seen['trailers']) == (5, [['x-end', 'yes']])
        assert ('x-trailer', 'end') in http.request(path='/trailers').trailers


def test_head_that_ends_the_stream_stays_one(site, curl):
    waypoint = site('grpc', 'grpc')
    with waypoint.connection(curl) as connection:
        exchange = connection.connect(VIP).http2().open('POST', '/trailers-only/7', {'content-type': 'application/grpc'})
        answer = exchange.wait()
    assert (answer.status, answer.header('grpc-status'), answer.trailers, answer.body) == (200, '7', [], b'')
    assert exchange.frames == ['HEADERS+END_STREAM']
    net.wait_for(lambda: waypoint.count('istio_requests_total', grpc_response_status='7', request_protocol='grpc') == 1,
                 what='the request counted')


@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
def test_informational_responses_pass(site, curl, client):
    waypoint = site('http', 'http2')
    with waypoint.connection(curl) as connection:
        http = http_of(connection.connect(VIP), client)
        answer = http.request(path='/hints')
        assert [(one.status, one.header('link')) for one in answer.informational] == [(103, '</style.css>')]
        assert http.request(path='/status/204').status == 204


@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
def test_client_that_expects_100_gets_it_from_the_pod(site, curl, client):
    waypoint = site('http', 'http2')
    with waypoint.connection(curl) as connection:
        http = http_of(connection.connect(VIP), client)
        if client == 'HTTP/2':
            exchange = http.open('POST', '/continue', {'expect': '100-continue', 'content-length': '5'}, end=False)
            http.until(lambda: exchange.informational, what='100')
            exchange.send(b'hello', end=True)
            answer = exchange.wait()
        else:
            http.send('POST', '/continue', {'Expect': '100-continue', 'Content-Length': '5'})
            assert http.head(10.0).status == 100
            http.stream.send(b'hello')
            answer = http.response()
        assert answer.json()['body'] == 5


@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
@pytest.mark.parametrize('upstream', ['http', 'http2'])
def test_heads_larger_than_a_frame_pass(site, curl, client, upstream):
    waypoint = site('http', upstream)
    with waypoint.connection(curl) as connection:
        http = http_of(connection.connect(VIP), client)
        large = {'x-%d' % i: str(i) * 1000 for i in range(10, 35)}
        seen = http.request(headers={**large}).json()
        assert {n.lower(): v for n, v in seen['headers'] if n.lower() in large} == large
        answer = http.request(path='/big-header')
        assert len(answer.header('x-big')) == (70000 if upstream == 'http' else 50000)


@pytest.mark.parametrize('fields, details', [
    ([('x-large', 'l' * 62000)], 'http2.header_list_size_too_large'),
    ([('x-%d' % i, '1') for i in range(120)], 'http2.too_many_headers'),
])
def test_heads_beyond_the_limits_cost_their_stream_alone(site, curl, fields, details):
    waypoint = site('http', 'http')
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        assert http.request(headers=fields).reset_code == 2
        assert http.request().status == 200
    assert [(line['response_code'], line['response_flags'], line['response_code_details'])
            for line in waypoint.access(2)][0] == (0, 'DR', details)


# ---- bodies ----

@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
@pytest.mark.parametrize('upstream', ['http', 'http2'])
def test_large_bodies_arrive_whole_both_ways(site, curl, client, upstream):
    waypoint = site('http', upstream)
    body = bytes(range(256)) * 8192
    with waypoint.connection(curl) as connection:
        http = http_of(connection.connect(VIP), client)
        assert http.request('POST', '/echo', body=body).body == body
        assert len(http.request(path='/bytes/3000000').body) == 3000000


def test_wrong_content_length_resets_the_stream(site, curl):
    waypoint = site('http', 'http')
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        exchange = http.open('POST', '/echo', {'content-length': '10'}, end=False)
        exchange.send(b'hello', end=True)
        assert exchange.wait().reset_code == 1
        assert http.request().status == 200
    assert [(line['response_flags'], line['response_code_details']) for line in waypoint.access(2)][0] == (
        'DPE', 'http2.violation.of.messaging.rule')


@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
def test_response_that_breaks_off_is_seen_to_break_off(site, curl, client):
    waypoint = site('http', 'http2')
    with waypoint.connection(curl) as connection:
        http = http_of(connection.connect(VIP), client)
        if client == 'HTTP/2':
            answer = http.request(path='/reset-mid-body')
            assert (answer.status, answer.body, answer.reset_code) == (200, b'0123456789', 2)
            assert http.request().status == 200
        else:
            with pytest.raises(Ended):
                http.request(path='/reset-mid-body')
    line = waypoint.access(1)[0]
    assert (line['response_code'], line['response_flags'], line['response_code_details']) == (
        200, 'UR', 'upstream_reset_after_response_started{remote_reset}')


def test_request_refused_by_goaway_goes_to_a_new_connection(site, curl):
    waypoint = site('http', 'http2')
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        assert http.request().status == 200
        refused = http.request(path='/goaway')
        assert (refused.status, refused.body) == (
            503, b'upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote refused stream reset')
        assert http.request().json()['connection'] > 1


# ---- many streams ----

@pytest.mark.parametrize('unread', [1, 10])
def test_streams_that_are_not_read_hold_up_no_other(site, builddir, curl, unread):
    keeps_freed = 'address' in (builddir / 'cn_flags').read_text()  # ASan
    waypoint = site('http', 'http2')
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        warm = [http.open(path='/bytes/100000') for _ in range(99)]
        assert [len(one.wait(30.0).body) for one in warm] == [100000] * 99
        before = waypoint.resident()
        stuck = [http.open(path='/bytes/5000000') for _ in range(unread)]
        for one in stuck:
            one.hold = True
        others = [http.open(path='/bytes/100000') for _ in range(100 - unread)]
        assert [len(one.wait(30.0).body) for one in others] == [100000] * (100 - unread)
        assert keeps_freed or waypoint.resident() - before < (4 + unread) << 20
        for one in stuck:
            one.reset()
        assert http.request().status == 200


def test_both_directions_at_once_through_the_smallest_windows(cairn, new_http2_origin, curl):
    app = new_http2_origin('reviews-v1', settings={4: 1000}, window=0)
    waypoint = cairn(reviews(app, 'http2', 'http2'))
    body = bytes(range(256)) * 4096
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2(settings={4: 1000}, window=0)
        # What is sent before the origin's SETTINGS may exceed its window: h2 then waits for bytes that it never grants.
        assert http.request().status == 200
        exchange = http.open('POST', '/stream-echo', end=False)
        exchange.send(body, end=True)
        answer = exchange.wait(60.0)
    assert answer.body == body
    assert ('x-end', 'yes') in answer.trailers


def test_streams_beyond_the_limit_are_refused_alone(site, curl):
    waypoint = site('http', 'http')
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        http.until(lambda: http.h2.remote_settings.max_concurrent_streams <= 1024, what='SETTINGS')
        http.h2.remote_settings[3] = 2000
        http.h2.remote_settings.acknowledge()
        hung = [http.open(path='/hang') for _ in range(1024)]
        assert http.open(path='/').wait().reset_code == 7
        assert all(one.reset_code is None for one in hung)
        hung[0].reset()
        assert http.request().status == 200


def test_flood_of_resets_ends_the_connection(site, curl):
    waypoint = site('http', 'http')
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        try:
            for _ in range(3000):
                http.open().reset()
            http.until(lambda: False, what='the end')
        except (ConnectionError, OSError, h2.exceptions.ProtocolError):
            pass
        assert http.goaway and int(http.goaway.error_code) == 11
        assert connection.connect(VIP).request().status == 200


# ---- draining ----

def test_worker_that_drains_says_goaway_and_serves_what_runs(site, curl):
    waypoint = site('http', 'http2')
    with waypoint.connection(curl) as connection:
        idle, busy = connection.connect(VIP).http2(), connection.connect(VIP).http2()
        assert idle.request().status == 200
        running = busy.open(path='/slow/1500')
        net.wait_for(lambda: len(waypoint.app.requests) == 2, what='the request at the pod')
        waypoint.send_signal(signal.SIGQUIT)
        busy.until(lambda: busy.goaway, what='GOAWAY')
        assert running.wait().status == 200
        idle.until(lambda: idle.goaway or idle.closed, what='the end of the idle connection')
    waypoint.process.wait(15)


def test_tunnel_of_a_session_that_ended_is_open_for_the_client_to_end(site, curl):
    """A reset, while the client still sends, could overtake the last answer on its way through a ztunnel."""
    def is_open(connection):
        tunnel = connection.connect(VIP)
        tunnel.send(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + b'\0\0\0\x04\0' + bytes(4) + b'\0\0\1\x06\0' + bytes(4) + b'x')
        assert b'\x07\0\0\0\0\0' in tunnel.recv_all()  # GOAWAY: that was no PING
        connection.ping()
        return tunnel.reset_code is None
    with site('http', 'http').connection(curl) as connection:
        assert any(is_open(connection) for _ in range(5))  # a second each: a slow machine may miss it
