# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 inside the tunnel and towards pods, and between the two versions."""

import pytest

from peers import net, proxy

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'


def reviews(app, declared='http', upstream='http', **more):
    return (proxy.cluster(REVIEWS, proxy.endpoint(app, **more), protocol=upstream) +
            proxy.service(REVIEWS, VIP, protocol=declared))


@pytest.fixture
def site(cairn, new_origin, new_http2_origin):
    """site('http', 'http2') -> a waypoint whose clients speak anything and whose pod speaks the second."""
    def make(declared, upstream, capture=None):
        app = (new_origin if upstream == 'http' else new_http2_origin)('reviews-v1')
        more = {'pod': capture(app, 'bookinfo', 'reviews')} if capture else {}
        one = cairn(reviews(app, declared, upstream, **more))
        one.app = app
        return one
    return make


# ---- which version is spoken where ----

@pytest.mark.parametrize('declared', ['http', 'http2', 'grpc', 'auto'])
@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
@pytest.mark.parametrize('upstream', ['http', 'http2'])
def test_client_and_pod_may_speak_different_versions(site, curl, declared, client, upstream):
    waypoint = site(declared, upstream)
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        http = tunnel.http2() if client == 'HTTP/2' else tunnel.http
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
        http = tunnel.http2() if client == 'HTTP/2' else tunnel.http
        assert [http.request().json()['version'] for _ in range(3)] == [client] * 3


def test_client_protocol_wins_over_the_declared_one(cairn, new_http2_origin, curl):
    app = new_http2_origin('reviews-v1')
    waypoint = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app), protocol='http', client_protocol='on') +
                     proxy.service(REVIEWS, VIP))
    with waypoint.connection(curl) as connection:
        assert connection.connect(VIP).http2().request().json()['version'] == 'HTTP/2'


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
        tunnel = connection.connect(VIP)
        http = tunnel.http2() if client == 'HTTP/2' else tunnel.http
        answer = http.request(path='/reset/2')
        assert (answer.status, answer.body) == (
            503, b'upstream connect error or disconnect/reset before headers. reset reason: remote reset')
        assert http.request().status == 200
    assert waypoint.access(2)[0]['response_flags'] == 'UR'
