# SPDX-License-Identifier: Apache-2.0
"""Envoy as the client's HBONE side, and as the pod: its HBONE side, or itself a server in the clear.

Each protocol goes through each.
"""

import os
import socket
import threading

import pytest
import websockets.sync.client

from peers import envoy, grpcs, http, http2, net, origin, proxy, tunnel_cli, ws

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'
BODY = bytes(range(256)) * 2048


class Bare:
    """What an endpoint is made of: a server at (ip, port)."""

    def __init__(self, ip, port):
        self.address = '%s:%d' % (ip, port)


@pytest.fixture(params=['captured', 'bare'])
def between(request, cairn, envoy_client, envoy_pod, stopping, tmp_path, curl):
    """between(app, 'http2') -> the address of an Envoy whose connections go through cairn to the Envoy before app.

    captured: that one ends HBONE; bare: it takes protocol in the clear."""
    def make(app, protocol):
        stopping.append(app)
        if request.param == 'captured':
            endpoint = proxy.endpoint(app, pod=envoy_pod(app, 'bookinfo', 'reviews'))
        else:
            kind = envoy.relay if protocol == 'tcp' else envoy.inner
            options = {'http2': True} if protocol in ('http2', 'grpc') else {}
            stopping.append(kind(tmp_path / 'envoy-bare', app, **options))
            endpoint = proxy.endpoint(Bare(*stopping[-1].address))
        waypoint = cairn(proxy.cluster(REVIEWS, endpoint, protocol=protocol) +
                         proxy.service(REVIEWS, VIP, protocol=protocol))
        return envoy_client(waypoint.ip, curl, VIP).address, waypoint
    return make


@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
@pytest.mark.parametrize('pod', ['HTTP/1.1', 'HTTP/2'])
def test_both_versions_of_http(request, between, plain, client, pod):
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
    answer = one.request(path='/trailers')
    # Envoy's HTTP/1.1 client drops trailers
    assert answer.status == 200
    assert ('x-trailer', 'end') in answer.trailers or (pod == 'HTTP/1.1' and 'bare' in request.node.name)
    assert waypoint.count('istio_requests_total', response_code='200') >= 4


def test_grpc(between, stopping):
    address, waypoint = between(grpcs.GrpcOrigin('reviews-v1'), 'grpc')
    client = grpcs.Client(address)
    stopping.append(client)
    assert client('Echo')(BODY, timeout=20) == BODY
    assert client('Count')(iter([b'a'] * 20), timeout=20) == b'20'
    assert list(client('Repeat')(b'20 x', timeout=20)) == [b'20 x'] * 20
    assert list(client('Talk')(iter([b'a', b'b', b'c']), timeout=20)) == [b'a', b'b', b'c']
    assert waypoint.count('istio_requests_total', request_protocol='grpc', grpc_response_status='0') == 4


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
    net.wait_for(lambda: app.closes == [(4000, 'done')], what='the close at the pod')


def test_websocket_to_an_envoy_that_speaks_http2(cairn, envoy_client, stopping, tmp_path, curl):
    """By extended CONNECT (RFC 8441), which that Envoy makes an upgrade again."""
    app = ws.WebsocketOrigin('reviews-v1')
    stopping.append(app)
    stopping.append(envoy.inner(tmp_path / 'envoy-bare', app))
    waypoint = cairn(proxy.cluster(REVIEWS, proxy.endpoint(Bare(*stopping[-1].address)), protocol='http2') +
                     proxy.service(REVIEWS, VIP))
    sock = http.Plain(*envoy_client(waypoint.ip, curl, VIP).address).sock
    sock.settimeout(None)
    with websockets.sync.client.connect('ws://reviews:9080/chat', sock=sock, max_size=None) as client:
        for message in ('text', BODY):
            client.send(message)
            assert client.recv(timeout=20) == message
        client.close(4000, 'done')
    net.wait_for(lambda: app.closes == [(4000, 'done')], what='the close at the pod')
    line = waypoint.access(1)[0]
    assert (line['response_code'], line['method'], line['protocol']) == (101, 'GET', 'HTTP/1.1')


def test_websocket_from_an_envoy_that_speaks_http2(builddir, cairn, stopping, tmp_path, curl):
    """It makes an extended CONNECT of its client's upgrade, and needs what the answer to that has."""
    app = ws.WebsocketOrigin('reviews-v1')
    stopping.append(app)
    waypoint = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app)) + proxy.service(REVIEWS, VIP))
    tunnel = tunnel_cli.TunnelCli(builddir, waypoint.ip, curl, to=VIP)
    tunnel.port = tunnel.address[1]
    stopping.append(tunnel)
    stopping.append(envoy.inner(tmp_path / 'envoy-client', tunnel, http2=True))
    sock = http.Plain(*stopping[-1].address).sock
    sock.settimeout(None)
    with websockets.sync.client.connect('ws://reviews:9080/chat', sock=sock, max_size=None) as client:
        for message in ('text', BODY):
            client.send(message)
            assert client.recv(timeout=20) == message
        client.close(4000, 'done')
    net.wait_for(lambda: app.closes == [(4000, 'done')], what='the close at the pod')
    line = waypoint.access(1)[0]
    assert (line['response_code'], line['method'], line['protocol']) == (101, 'GET', 'HTTP/2')


def test_tcp(between):
    address, waypoint = between(origin.TcpOrigin('reviews-v1', port=9080, greeting=b'ready ', bye=b' bye'), 'tcp')
    words = os.urandom(300000)
    with socket.create_connection(address, 10) as sock:
        sock.settimeout(20)
        sender = threading.Thread(target=lambda: (sock.sendall(words), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        got = b''.join(iter(lambda: sock.recv(65536), b''))
        sender.join(20)
    assert got == b'ready ' + words + b' bye'
    # Another line is of the probe whether Envoy listens.
    line = max(waypoint.access(2), key=lambda line: line['bytes_received'])
    assert (line['response_flags'], line['bytes_received'], line['bytes_sent']) == ('-', len(words), len(got))
