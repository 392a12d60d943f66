# SPDX-License-Identifier: Apache-2.0
"""Envoy as the client's and as the pod's HBONE side, for each protocol that goes through it."""

import pytest
import websockets.sync.client

from peers import grpcs, http, http2, origin, proxy, ws

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'
BODY = bytes(range(256)) * 2048


@pytest.fixture
def between(cairn, envoy_client, envoy_pod, stopping, curl):
    """between(app, 'http2') -> the address of an Envoy whose connections end at that pod's Envoy, cairn in the middle."""
    def make(app, protocol):
        stopping.append(app)
        pod = envoy_pod(app, 'bookinfo', 'reviews')
        waypoint = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app, pod=pod), protocol=protocol) +
                         proxy.service(REVIEWS, VIP, protocol=protocol))
        return envoy_client(waypoint.ip, curl, VIP).address, waypoint
    return make


@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
@pytest.mark.parametrize('pod', ['HTTP/1.1', 'HTTP/2'])
def test_both_versions_of_http(between, plain, client, pod):
    app = http2.Http2Origin('reviews-v1') if pod == 'HTTP/2' else origin.Origin('reviews-v1')
    address, waypoint = between(app, 'http2' if pod == 'HTTP/2' else 'http')
    one = plain(*address)
    if client == 'HTTP/2':
        one = http2.Http2(one.stream)
        slow = [one.open(path='/slow/20') for _ in range(30)]
        assert [exchange.wait().status for exchange in slow] == [200] * 30
    assert one.request(path='/n').json()['version'] == pod
    assert one.request('POST', '/echo', body=BODY).body == BODY
    assert len(one.request(path='/bytes/2000000').body) == 2000000
    assert ('x-trailer', 'end') in one.request(path='/trailers').trailers
    assert waypoint.count('istio_requests_total', response_code='200') >= 4


def test_grpc(between, stopping):
    address, waypoint = between(grpcs.GrpcOrigin('reviews-v1'), 'grpc')
    client = grpcs.Client(address)
    stopping.append(client)
    assert client('Echo')(BODY, timeout=20) == BODY
    assert client('Count')(iter([b'a'] * 20), timeout=20) == b'20'
    assert list(client('Repeat')(b'20 x', timeout=20)) == [b'20 x'] * 20
    assert list(client('Talk')(iter([b'a', b'b', b'c']), timeout=20)) == [b'a', b'b', b'c']


def test_websocket(between):
    app = ws.WebsocketOrigin('reviews-v1')
    address, waypoint = between(app, 'http')
    sock = http.Plain(*address).sock
    sock.settimeout(None)
    with websockets.sync.client.connect('ws://reviews:9080/chat', sock=sock, max_size=None) as client:
        for message in ('text', BODY):
            client.send(message)
            assert client.recv(timeout=20) == message
        client.close(4000, 'done')
    assert waypoint.access(1)[0]['response_code'] == 101
    assert app.closes == [(4000, 'done')]
