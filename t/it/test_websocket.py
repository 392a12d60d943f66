# SPDX-License-Identifier: Apache-2.0
"""WebSocket: HTTP/1.1's upgrade, HTTP/2's extended CONNECT (RFC 8441), and each towards the other."""

import json
import os
import pathlib
import shutil
import signal

import pytest
import websockets.exceptions
import websockets.sync.client

from peers import net, origin, proxy, tunnel_cli, ws

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'


def reviews(app, upstream='http', body=''):
    return (proxy.cluster(REVIEWS, proxy.endpoint(app), protocol=upstream) + proxy.service(REVIEWS, VIP, body))


@pytest.fixture
def app(stopping):
    stopping.append(ws.WebsocketOrigin('reviews-v1'))
    return stopping[-1]


@pytest.fixture
def waypoint(cairn, app):
    return cairn(reviews(app))


@pytest.fixture
def dial(builddir, stopping, curl):
    """dial(waypoint, options...) -> a connected client of the websockets package."""
    def make(waypoint, **options):
        stopping.append(tunnel_cli.TunnelCli(builddir, waypoint.ip, curl, to=VIP))
        sock = stopping[-1].connect()
        return websockets.sync.client.connect('ws://reviews:9080/chat?room=1', sock=sock, max_size=None, **options)
    return make


class Raw(origin.TcpOrigin):
    """A pod that grants any upgrade by hand, then echoes.

    wrong: with another key's accept; status: answers that instead; dies: resets its connection after the first bytes.
    """

    def __init__(self, name, status=101, wrong=False, dies=False, **options):
        self.status, self.wrong, self.dies, self.heads = status, wrong, dies, []
        super().__init__(name, port=9080, **options)

    def handle(self, sock, number):
        head = b''
        while b'\r\n\r\n' not in head:
            data = sock.recv(65536)
            if not data:
                return
            head += data
        self.heads.append(head.decode('latin-1'))
        key = next(l.split(': ')[1] for l in head.decode().split('\r\n') if l.lower().startswith('sec-websocket-key'))
        if self.status != 101:
            sock.sendall(b'HTTP/1.1 %d Status\r\ncontent-length: 4\r\n\r\nbody' % self.status)
            return
        accept = ws.accept_of(ws.new_key() if self.wrong else key)
        sock.sendall(('HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n'
                      'sec-websocket-accept: %s\r\n\r\n' % accept).encode())
        if self.dies:
            sock.recv(65536)
            net.reset(sock)
        else:
            super().handle(sock, number)


def upgrade(http, path='/chat', **more):
    key = ws.new_key()
    http.send('GET', path, {'Connection': 'keep-alive, Upgrade', 'Upgrade': 'WebSocket', 'Sec-WebSocket-Version': '13',
                            'Sec-WebSocket-Key': key, **more})
    return key, http.response()


def extended(http, path='/chat', protocol='websocket', **more):
    return http.open(fields=[(':method', 'CONNECT'), (':protocol', protocol), (':scheme', 'http'), (':path', path),
                             (':authority', 'reviews:9080'), ('sec-websocket-version', '13'), *more.items()], end=False)


# ---- the websockets package on both sides ----

def test_messages_pass_both_ways_and_the_handshake_is_kept(waypoint, app, dial):
    with dial(waypoint, subprotocols=['chat'], compression=None, additional_headers={'x-mine': 'kept'}) as client:
        assert client.subprotocol == 'chat'
        assert client.response.headers['server'] == 'istio-envoy'
        for message in ('text', b'bytes', 'u' * 300000, bytes(range(256)) * 8192):
            client.send(message)
            assert client.recv(timeout=20) == message
        assert client.ping().wait(10)
    assert app.requests[0].path == '/chat?room=1'
    assert app.requests[0].headers['x-mine'] == 'kept' and app.requests[0].headers['x-request-id']
    line = waypoint.access(1)[0]
    assert (line['response_code'], line['method'], line['upstream_service_time']) == (101, 'GET', None)
    assert line['bytes_received'] > 2 << 20 and line['bytes_sent'] > 2 << 20
    assert waypoint.count('istio_requests_total', response_code='101', request_protocol='http') == 1


@pytest.mark.parametrize('code, reason', [(1000, 'done'), (1001, ''), (4321, 'own code')])
def test_close_codes_pass_in_both_directions(waypoint, app, dial, code, reason):
    with dial(waypoint) as client:
        client.close(code, reason)
    net.wait_for(lambda: app.closes, what='the close at the pod')
    assert app.closes == [(code, reason)]
    with dial(waypoint) as client:
        client.send('close %d %s' % (code, reason))
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            client.recv(timeout=10)
        assert (client.close_code, client.close_reason) == (code, reason)


def test_policy_applies_to_the_handshake(cairn, app, dial):
    waypoint = cairn(reviews(app, body='authz { policy bookinfo/deny deny { rule { to { paths /chat; } } } }'))
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        dial(waypoint)
    assert caught.value.response.status_code == 403
    assert not app.requests


def test_worker_that_drains_leaves_websockets_open(waypoint, app, dial):
    with dial(waypoint) as client:
        client.send('before')
        assert client.recv(timeout=10) == 'before'
        waypoint.send_signal(signal.SIGQUIT)
        net.wait_for(lambda: not waypoint.is_ready(), what='the drain to begin')
        client.send('after')
        assert client.recv(timeout=10) == 'after'
    waypoint.process.wait(15)


# ---- the ws package ----

@pytest.fixture
def node(builddir, stopping, curl, run):
    """node(waypoint, code, reason) -> what the client of the ws package says of a session with that pod."""
    script = pathlib.Path(__file__).parent / 'peers/ws_client.js'
    env = {**os.environ, 'NODE_PATH': '/usr/share/nodejs'}  # where Debian keeps packages
    if not shutil.which('node') or run('node', '-e', 'require("ws")', env=env).returncode:
        pytest.skip('no node with ws; Debian packages: nodejs node-ws')

    def make(waypoint, code, reason):
        stopping.append(tunnel_cli.TunnelCli(builddir, waypoint.ip, curl, to=VIP))
        done = run('node', script, 'ws://%s:%d/chat' % stopping[-1].address, code, reason, env=env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    return make


@pytest.mark.parametrize('code, reason', [(1000, 'done'), (4321, 'own code')])
def test_client_of_the_ws_package(waypoint, app, node, code, reason):
    said = node(waypoint, code, reason)
    assert said == {'echoed': 6, 'pongs': 1, 'server': 'istio-envoy', 'protocol': 'chat', 'code': code, 'reason': reason,
                    'extensions': 'permessage-deflate'}
    net.wait_for(lambda: app.closes == [(code, reason)], what='the close at the pod')
    assert app.requests[0].headers['x-mine'] == 'kept'
    assert waypoint.access(1)[0]['response_code'] == 101


def test_client_of_the_ws_package_that_is_denied(cairn, app, node):
    waypoint = cairn(reviews(app, body='authz { policy bookinfo/deny deny { rule { to { paths /chat; } } } }'))
    assert node(waypoint, 1000, '')['status'] == 403
    assert not app.requests


# ---- HTTP/1.1 by hand ----

def test_half_close_leaves_the_other_direction_open(cairn, stopping, curl):
    app = Raw('reviews-v1', bye=b'bye')
    stopping.append(app)
    waypoint = cairn(reviews(app))
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        key, answer = upgrade(tunnel.http)
        assert answer.status == 101
        assert answer.header('sec-websocket-accept') == ws.accept_of(key)
        assert (answer.header('connection'), answer.header('upgrade')) == ('Upgrade', 'websocket')
        tunnel.send(b'bytes')
        tunnel.half_close()
        assert tunnel.http.rest() == b'bytesbye'
    line = waypoint.access(1)[0]
    assert (line['response_code'], line['response_flags'], line['response_code_details']) == (
        101, 'DC', 'downstream_remote_disconnect')
    assert (line['bytes_received'], line['bytes_sent']) == (5, 8)


def test_bytes_behind_the_handshake_wait_for_the_answer(cairn, stopping, curl):
    app = Raw('reviews-v1')
    stopping.append(app)
    waypoint = cairn(reviews(app))
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(b'GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n'
                    b'Sec-WebSocket-Key: %s\r\n\r\nearly' % ws.new_key().encode())
        assert tunnel.http.response().status == 101
        assert tunnel.http.take(5, 10.0) == b'early'


@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
@pytest.mark.parametrize('said, status, body, details', [
    (200, 200, b'', 'websocket_handshake_unsuccessful'),
    (204, 200, b'', 'websocket_handshake_unsuccessful'),
    (403, 403, b'body', 'via_upstream'),
    (503, 503, b'body', 'via_upstream'),
])
def test_pod_that_grants_nothing(cairn, stopping, curl, client, said, status, body, details):
    app = Raw('reviews-v1', status=said)
    stopping.append(app)
    waypoint = cairn(reviews(app))
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        if client == 'HTTP/2':
            answer = extended(tunnel.http2()).wait()
        else:
            _, answer = upgrade(tunnel.http)
            assert answer.header('connection') == 'close'
        assert (answer.status, answer.body) == (status, body)
    assert waypoint.access(1)[0]['response_code_details'] == details


@pytest.mark.parametrize('protocol', ['foo', 'websocket, foo', 'TLS/1.0'])
def test_other_upgrades_are_refused(waypoint, curl, protocol):
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http
        http.send('GET', '/', {'Connection': 'Upgrade', 'Upgrade': protocol})
        answer = http.response()
        assert (answer.status, answer.body, answer.header('connection')) == (403, b'', 'close')
        answer = extended(connection.connect(VIP).http2(), protocol='connect-udp').wait()
        assert (answer.status, answer.body) == (403, b'')
    assert {line['response_code_details'] for line in waypoint.access(2)} == {'upgrade_failed'}


# ---- RFC 8441 ----

def test_server_announces_extended_connect(waypoint, curl):
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        http.until(lambda: http.h2.remote_settings.get(8) == 1, what='SETTINGS_ENABLE_CONNECT_PROTOCOL')


def test_http2_client_reaches_an_http1_pod(cairn, stopping, curl):
    app = Raw('reviews-v1', bye=b'bye')
    stopping.append(app)
    waypoint = cairn(reviews(app))
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        exchange = extended(http, '/chat?room=1')
        answer = exchange.wait_head()
        assert (answer.status, answer.header('sec-websocket-accept'), answer.header('upgrade')) == (200, None, None)
        exchange.send(b'bytes')
        http.until(lambda: bytes(exchange.body) == b'bytes', what='the echo')
        exchange.send(b' more', end=True)
        assert exchange.wait().body == b'bytes morebye'
        assert exchange.reset_code is None
        assert http.request(path='/', timeout=5.0, method='CONNECT', fields=[(':method', 'CONNECT'), (':authority', 'a:1')]).status == 404
    head = app.heads[0].lower()
    assert head.startswith('get /chat?room=1 http/1.1\r\n') and 'upgrade: websocket' in head
    line = [line for line in waypoint.access(2) if line['response_code'] == 101][0]
    assert (line['method'], line['protocol']) == ('GET', 'HTTP/2')


def test_http1_client_reaches_an_http2_pod(cairn, new_http2_origin, curl):
    app = new_http2_origin('reviews-v1', settings={8: 1})
    waypoint = cairn(reviews(app, 'http2'))
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        key, answer = upgrade(tunnel.http, **{'Sec-WebSocket-Protocol': 'chat'})
        assert (answer.status, answer.header('sec-websocket-accept')) == (101, ws.accept_of(key))
        assert answer.header('sec-websocket-protocol') == 'chat'
        tunnel.send(b'bytes')
        tunnel.half_close()
        assert tunnel.http.rest() == b'bytesbye'
    asked = app.begun[0]
    assert (asked.method, asked.protocol, asked.path, asked.header('sec-websocket-key')) == ('CONNECT', 'websocket', '/chat', key)


def test_http2_on_both_sides(cairn, new_http2_origin, curl):
    app = new_http2_origin('reviews-v1', settings={8: 1})
    waypoint = cairn(reviews(app, 'http2'))
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        sockets = [extended(http) for _ in range(20)]
        for number, one in enumerate(sockets):
            one.send(b'%d' % number, end=True)
        assert [one.wait().body for one in sockets] == [b'%dbye' % n for n in range(20)]
        refused = extended(http, '/ws-refuse').wait()
        assert (refused.status, refused.body) == (403, b'not here')


def test_http2_pod_without_extended_connect_is_not_asked(cairn, new_http2_origin, curl):
    app = new_http2_origin('reviews-v1')
    waypoint = cairn(reviews(app, 'http2'))
    with waypoint.connection(curl) as connection:
        _, answer = upgrade(connection.connect(VIP).http)
        assert answer.status == 502
        assert connection.connect(VIP).request().status == 200
    assert [request.protocol for request in app.begun] == [None]


def test_wrong_accept_of_an_http1_pod_is_found_out_for_http2_clients(cairn, stopping, curl):
    app = Raw('reviews-v1', wrong=True)
    stopping.append(app)
    waypoint = cairn(reviews(app))
    with waypoint.connection(curl) as connection:
        assert extended(connection.connect(VIP).http2()).wait().status == 502
    assert waypoint.access(1)[0]['response_flags'] == 'UPE'


def test_pod_that_resets_a_websocket_resets_the_client(cairn, stopping, curl):
    app = Raw('reviews-v1', dies=True)
    stopping.append(app)
    waypoint = cairn(reviews(app))
    with waypoint.connection(curl) as connection:
        exchange = extended(connection.connect(VIP).http2())
        assert exchange.wait_head().status == 200
        exchange.send(b'x')
        assert exchange.wait().reset_code == 2
        tunnel = connection.connect(VIP)
        assert upgrade(tunnel.http)[1].status == 101
        tunnel.send(b'x')
        with pytest.raises(ConnectionError):
            tunnel.http.rest()
    assert {line['response_code'] for line in waypoint.access(2)} == {101}
