# SPDX-License-Identifier: Apache-2.0
"""Connections through a forward proxy: upstream_tunnel asks it by CONNECT."""

import socket
import ssl
import threading

import pytest

from peers import net, proxy, web

pytestmark = pytest.mark.module('upstream_tunnel')

SERVICE, VIP, TARGET = 'db.shop:5432', '10.96.0.1:5432', 'db.example:5432'


class Proxy:
    """A forward proxy; answer: what it says to CONNECT, piece by piece; then it sends back what it gets."""

    def __init__(self, answer=(b'HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n',), context=None, silent=False):
        self.ip, self.answer, self.context, self.silent, self.heads = net.new_ip(), answer, context, silent, []
        self.sock = net.listen(self.ip, 3128)
        threading.Thread(target=self.accept, daemon=True).start()

    address = property(lambda self: '%s:3128' % self.ip)

    def accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            sock = self.context.wrap_socket(sock, server_side=True) if self.context else sock
            head = b''
            while not head.endswith(b'\r\n\r\n'):
                data = sock.recv(1)
                if not data:
                    return
                head += data
            self.heads.append(head)
            for piece in self.answer:
                sock.sendall(piece)
            while data := None if self.silent else sock.recv(65536):
                sock.sendall(data)
            if self.silent:
                sock.recv(1)
        except (OSError, ssl.SSLError):
            pass
        finally:
            sock.close()

    def stop(self):
        self.sock.close()


@pytest.fixture
def forward(stopping):
    def make(*args, **options):
        stopping.append(Proxy(*args, **options))
        return stopping[-1]
    return make


def conf(one, more='', protocol='tcp', **settings):
    return (proxy.cluster(SERVICE, proxy.endpoint(one), protocol=protocol, upstream_tunnel=TARGET, **settings) + more +
            proxy.service(SERVICE, VIP, protocol=protocol))


def received(tunnel, n):
    got = b''
    while len(got) < n:
        data = tunnel.recv()
        assert data, 'the end after %d of %d bytes' % (len(got), n)
        got += data
    return got


def test_bytes_go_through_the_proxy_to_the_target(cairn, forward, curl):
    one = forward()
    waypoint = cairn(conf(one))
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for data in (b'hello', b'x' * 300000):
            tunnel.send(data)
            assert received(tunnel, len(data)) == data
    assert one.heads == [b'CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\n\r\n']


@pytest.mark.parametrize('answer', [
    (b'HTTP/1.1 200 OK\r\n\r\ngreeting',), (b'HTTP/1.1 200 OK\r\n\r', b'\ngreet', b'ing'), tuple(bytes([c]) for c in b'HTTP/1.0 204 \r\na: b\r\n\r\ngreeting')],
    ids=['in one piece', 'in three', 'byte by byte'])
def test_what_comes_with_the_answer_is_the_targets(cairn, forward, curl, answer):
    waypoint = cairn(conf(forward(answer)))
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        assert received(tunnel, 8) == b'greeting'
        tunnel.send(b'back')
        assert received(tunnel, 4) == b'back'


def test_the_proxy_may_be_behind_tls(cairn, forward, curl, tmp_path):
    pki = web.WebPki(tmp_path)
    cert = pki.cert('DNS:proxy.example')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert.cert, cert.key)
    one = forward(context=context)
    waypoint = cairn(conf(one, upstream_tls='sni=proxy.example ca=%s' % pki.roots))
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(b'secret')
        assert received(tunnel, 6) == b'secret'
    assert len(one.heads) == 1


@pytest.mark.parametrize('answer,why', [
    ((b'HTTP/1.1 403 Forbidden\r\n\r\n',), 'the_proxy_answered_CONNECT_with_403'),
    ((b'HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nno!',), 'the_proxy_answered_CONNECT_with_502'),
    ((b'SSH-2.0-OpenSSH_9.2\r\n\r\n',), "the_proxy's_answer_to_CONNECT_is_no_HTTP"),
    ((b'HTTP/1.1 200 OK\r\n' + b'x: y\r\n' * 3000,), "the_proxy's_answer_to_CONNECT_is_too_large"),
    ((), 'the_proxy_has_not_answered_CONNECT_in_time')], ids=['403', '502', 'no HTTP', 'too large', 'silence'])
def test_a_proxy_that_does_not_is_one_that_cannot_be_reached(cairn, forward, curl, answer, why):
    waypoint = cairn(conf(forward(answer, silent=True), connect_timeout='500ms'))
    with waypoint.connection(curl) as connection:
        connection.connect(VIP)
        line, = waypoint.access()
    assert line['response_flags'] in ('UF', 'UF,URX', 'URX,UF') and why in str(line['upstream_transport_failure_reason']), line


def test_http_goes_through_it_as_well(cairn, new_origin, forward, curl):
    """The proxy's target speaks HTTP: here the proxy answers by itself, behind its own 200."""
    one = forward((b'HTTP/1.1 200 OK\r\n\r\n', b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi'))
    waypoint = cairn(conf(one, protocol='http'))
    answer = waypoint.request(curl, VIP)
    assert (answer.status, answer.body) == (200, b'hi')
