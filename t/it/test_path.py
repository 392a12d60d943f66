# SPDX-License-Identifier: Apache-2.0
"""The main path: HBONE in, HTTP/1.1 inside, plaintext or HBONE out."""

import collections

import pytest

from peers import net, proxy

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'


def reviews(*endpoints, body='', **settings):
    return proxy.cluster(REVIEWS, *endpoints) + proxy.service(REVIEWS, VIP, body, **settings)


@pytest.fixture
def waypoint(cairn, new_origin):
    """A waypoint before one pod; .app is the pod's application."""
    app = new_origin('reviews-v1')
    one = cairn(reviews(proxy.endpoint(app)))
    one.app = app
    return one


def test_request_reaches_the_pod_and_its_answer_comes_back(waypoint, curl):
    with waypoint.connection(curl) as connection:
        assert connection.peer == waypoint.identity.uri
        answer = connection.connect(VIP).request('POST', '/reviews/1?full=1', {'X-Mine': 'kept'}, b'twelve bytes')
    assert (answer.status, answer.header('server')) == (200, 'istio-envoy')
    seen = answer.json()
    assert (seen['method'], seen['path'], seen['body']) == ('POST', '/reviews/1?full=1', 12)
    assert 'kept' in [v for n, v in seen['headers'] if n.lower() == 'x-mine']


def test_tunnel_carries_many_requests_on_one_upstream_connection(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        used = {tunnel.request().json()['connection'] for _ in range(20)}
    assert len(used) == 1


def test_many_tunnels_share_one_connection(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnels = [connection.connect(VIP) for _ in range(50)]
        for tunnel in tunnels:
            tunnel.http.send(path='/slow/20')
        assert {tunnel.http.response().status for tunnel in tunnels} == {200}


@pytest.mark.parametrize('path, length', [('/bytes/5000000', 5000000), ('/chunked/3000000', 3000000), ('/until-close', 11)])
def test_bodies_of_every_framing_arrive_whole(waypoint, curl, path, length):
    assert len(waypoint.request(curl, VIP, path=path).body) == length


def test_large_request_body_is_streamed(waypoint, curl):
    body = bytes(range(256)) * 16384
    assert waypoint.request(curl, VIP, 'POST', '/echo', body=body).body == body


def test_chunked_request_body_and_trailers_pass(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.http.send('POST', '/', {'Transfer-Encoding': 'chunked', 'Trailer': 'x-end'},
                         b'5\r\nhello\r\n6\r\n world\r\n0\r\nx-end: yes\r\n\r\n')
        seen = tunnel.http.response().json()
        assert seen['body'] == 11
        assert tunnel.request(path='/trailers').trailers == [('x-trailer', 'end')]


def test_pipelined_requests_are_answered_in_order(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for i in range(5):
            tunnel.http.send(path='/n%d' % i)
        assert [tunnel.http.response().json()['path'] for _ in range(5)] == ['/n%d' % i for i in range(5)]


def test_head_and_statuses_without_body_keep_the_connection(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        assert tunnel.request('HEAD', '/bytes/100').header('content-length') == '100'
        assert [tunnel.request(path='/status/%d' % s).status for s in (204, 304, 404, 500)] == [204, 304, 404, 500]


def test_hbone_out_carries_the_waypoints_identity_and_the_pods_address(cairn, new_origin, capture, curl):
    app = new_origin('reviews-v1')
    pod = capture(app, 'bookinfo', 'reviews')
    waypoint = cairn(reviews(proxy.endpoint(app, pod=pod)))
    with waypoint.connection(curl) as connection:
        tunnels = [connection.connect(VIP) for _ in range(4)]
        for tunnel in tunnels:
            tunnel.http.send(path='/slow/50')
        assert [tunnel.http.response().status for tunnel in tunnels] == [200] * 4
    assert {c.peer for c in pod.connects} == {waypoint.identity.uri}
    assert {c.authority for c in pod.connects} == {app.address}
    assert pod.accepted == 1, 'outer connections are shared'


def test_pod_with_another_identity_gets_nothing(cairn, new_origin, capture, pki, curl):
    app = new_origin('reviews-v1')
    pod = capture(app, 'bookinfo', 'reviews', identity=pki.identity('bookinfo', 'impostor'))
    line = proxy.endpoint(app, pod=pod).replace('impostor', 'reviews')
    waypoint = cairn(reviews(line))
    assert waypoint.request(curl, VIP).status == 503
    assert not app.requests


def test_envoy_as_client_and_as_captured_pod(cairn, new_origin, envoy_pod, envoy_client, curl, plain):
    app = new_origin('reviews-v1')
    pod = envoy_pod(app, 'bookinfo', 'reviews')
    waypoint = cairn(reviews(proxy.endpoint(app, pod=pod)))
    client = envoy_client(waypoint.ip, curl, VIP)
    http = plain(*client.address)
    assert [http.request(path='/n').json()['pod'] for _ in range(10)] == ['reviews-v1'] * 10
    assert len(http.request(path='/bytes/2000000').body) == 2000000
    assert http.request('POST', '/echo', body=b'e' * 500000).body == b'e' * 500000


def test_weights_hold_over_two_thousand_requests(cairn, new_origin, curl):
    apps = {version: new_origin('reviews-' + version) for version in ('v1', 'v2')}
    body = ''.join(proxy.cluster('reviews-%s.bookinfo:9080' % v, proxy.endpoint(app)) for v, app in apps.items())
    routes = '''    route bookinfo.reviews.0 {
        backend reviews-v1.bookinfo:9080 weight=90;
        backend reviews-v2.bookinfo:9080 weight=10;
    }'''
    waypoint = cairn(body + reviews(body=routes), main=proxy.SEED)
    hits = collections.Counter()
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for _ in range(2000):
            hits[tunnel.request().header('x-pod')] += 1
    assert abs(hits['reviews-v1'] - 1800) <= 60, hits


def test_every_request_is_counted_and_logged_once(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for i in range(30):
            tunnel.request(path='/status/%d' % (200 if i % 3 else 404))
        gone = connection.connect(VIP)
        gone.http.send(path='/hang')
        net.wait_for(lambda: waypoint.app.requests[-1].path == '/hang', what='the request at the pod')
        gone.reset()
    assert len(waypoint.access(31)) == 31
    assert waypoint.count('istio_requests_total') == 31
    assert waypoint.count('istio_requests_total', response_code='404', reporter='waypoint') == 10
    assert waypoint.count('istio_requests_total', response_flags='DC') == 1


def test_authorization_is_applied_and_follows_a_reload(waypoint, curl, pki):
    policy = '''    authz {
        policy bookinfo/viewer allow {
            rule { from { principals cluster.local/ns/default/sa/curl; } to { methods GET; } }
        }
    }'''
    waypoint.reload(reviews(proxy.endpoint(waypoint.app), body=policy))
    assert waypoint.request(curl, VIP).status == 200
    denied = waypoint.request(curl, VIP, 'POST')
    assert (denied.status, denied.body) == (403, b'RBAC: access denied')
    assert waypoint.request(pki.identity('default', 'other'), VIP).status == 403
    waypoint.reload(reviews(proxy.endpoint(waypoint.app)))
    assert waypoint.request(pki.identity('default', 'other'), VIP, 'POST').status == 200


def test_reload_drops_no_request_of_an_open_tunnel(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for i in range(5):
            tunnel.http.send(path='/slow/30')
            waypoint.reload(reviews(proxy.endpoint(waypoint.app), body='    # change %d' % i))
            assert tunnel.http.response().status == 200


def test_unknown_routes_and_dead_pods_are_told_apart(cairn, new_origin, curl):
    dead = new_origin('dead')
    dead.stop()
    routes = '''    route bookinfo.reviews.0 {
        match { path prefix /known; }
        backend reviews.bookinfo:9080 weight=1;
    }'''
    waypoint = cairn(reviews(proxy.endpoint(dead), body=routes))
    assert waypoint.request(curl, VIP, path='/other').status == 404
    answer = waypoint.request(curl, VIP, path='/known')
    assert answer.status == 503
    assert answer.body.startswith(b'upstream connect error or disconnect/reset before headers.')
    assert [line['response_code'] for line in waypoint.access(2)] == [404, 503]
