# SPDX-License-Identifier: Apache-2.0
"""Hostile peers outside of any tunnel: broken TLS, broken HTTP/2, malformed CONNECTs, floods.

After every test the waypoint must be as before: the same worker, no tunnel or
connection left open, and a normal request works.
"""

import socket
import ssl
import struct

import pytest

from peers import hbone, net, proxy

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
DATA, HEADERS, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9


@pytest.fixture(scope='module')
def shared(guarded, guarded_origin):
    app = guarded_origin('reviews-v1')
    one = guarded(proxy.cluster(REVIEWS, proxy.endpoint(app)) + proxy.service(REVIEWS, VIP))
    one.app = app
    return one


@pytest.fixture
def waypoint(shared, curl, unharmed):
    with unharmed(shared, curl, VIP):
        yield shared


# ---- bytes under TLS, by hand ----

class Wire:
    """TLS over a socket, with the records in our hands."""

    def __init__(self, ip, identity):
        self.sock = socket.create_connection((ip, 15008), 10.0)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = hbone.tls_context(False, identity).wrap_bio(self.incoming, self.outgoing)

    def step(self):
        """One step of the handshake: what we would send; True when it is over."""
        try:
            self.tls.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False

    def receive(self):
        data = self.sock.recv(65536)
        self.incoming.write(data)
        return data

    def handshake(self):
        while not self.step():
            self.sock.sendall(self.outgoing.read())
            assert self.receive(), 'closed in the handshake'
        self.sock.sendall(self.outgoing.read())
        return self

    def records(self, plain):
        self.tls.write(plain)
        return self.outgoing.read()


def end(sock, how):
    net.reset(sock) if how == 'RST' else sock.close()


def until_closed(sock):
    with sock:
        return net.until_ended(sock)


@pytest.mark.parametrize('how', ['FIN', 'RST'])
def test_tls_that_stops_in_the_handshake_costs_nothing(waypoint, curl, how):
    hello = Wire(waypoint.ip, curl)
    hello.step()
    first = hello.outgoing.read()
    hello.sock.close()
    for n in (0, 1, 4, 5, 6, 50, len(first) // 2, len(first) - 1, len(first)):
        sock = socket.create_connection((waypoint.ip, 15008), 10.0)
        sock.sendall(first[:n])
        end(sock, how)


@pytest.mark.parametrize('how', ['FIN', 'RST'])
def test_tls_that_stops_in_the_clients_certificate_costs_nothing(waypoint, curl, how):
    for part in (1, 6, 100, -1):
        wire = Wire(waypoint.ip, curl)
        while not wire.step():
            wire.sock.sendall(wire.outgoing.read())
            wire.receive()
        flight = wire.outgoing.read()
        wire.sock.sendall(flight[:part])
        end(wire.sock, how)


@pytest.mark.parametrize('how', ['FIN', 'RST'])
def test_tls_that_stops_in_a_record_costs_nothing(waypoint, curl, how):
    for part in (1, 4, 5, 6, 20, -1):
        wire = Wire(waypoint.ip, curl).handshake()
        wire.sock.sendall(wire.records(PREFACE + frame(SETTINGS))[:part])
        end(wire.sock, how)


def test_bytes_changed_under_way_end_the_connection(waypoint, curl):
    for at in (5, 20, -1):
        wire = Wire(waypoint.ip, curl).handshake()
        record = bytearray(wire.records(PREFACE + frame(SETTINGS)))
        record[at] ^= 1
        wire.sock.sendall(record)
        until_closed(wire.sock)


@pytest.mark.parametrize('words', [
    b'GET / HTTP/1.1\r\nHost: a\r\n\r\n', PREFACE, b'\0' * 1000, b'\xff' * 1000,
    b'\x16\x03\x01\xff\xff' + b'\x01' * 2000, b'\x16\x03\x01\0\0' * 1000, b'\x15\x03\x03\0\x02\x02\x28',
    b'\x16\x03\x01\0\x05\x01\0\xff\xff\xff', b'PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n'],
    ids=['HTTP/1', 'HTTP/2', 'zeros', 'ones', 'record too long', 'empty records', 'alert', 'hello too long', 'PROXY'])
def test_what_is_not_tls_is_closed(waypoint, words):
    sock = socket.create_connection((waypoint.ip, 15008), 10.0)
    sock.sendall(words)
    sock.shutdown(socket.SHUT_WR)
    assert b'HTTP' not in until_closed(sock)


def test_silent_handshake_ends_in_time(cairn, new_origin, curl, unharmed):
    app = new_origin('reviews-v1')
    one = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app)) + proxy.service(REVIEWS, VIP),
                main='hbone_handshake_timeout 100ms;')
    with unharmed(one, curl, VIP):
        sock = socket.create_connection((one.ip, 15008), 10.0)
        sock.sendall(b'\x16')
        assert until_closed(sock) == b''
        assert one.count('cairn_hbone_handshake_failures_total', reason='timeout') == 1


def test_who_may_not_come_in_sees_no_http(waypoint, pki):
    strangers = [hbone.Anonymous(pki.roots), pki.expired('default', 'curl'), pki.foreign_ca('default', 'curl'),
                 pki.foreign_domain('default', 'curl')]
    before = waypoint.count('cairn_hbone_handshake_failures_total')
    for who in strangers:
        wire = Wire(waypoint.ip, who).handshake()  # in TLS 1.3 the client is done before it is refused
        try:
            wire.sock.sendall(wire.records(PREFACE + frame(SETTINGS) + connect(1)))
        except OSError:
            pass
        try:
            while wire.receive():
                pass
        except OSError:
            pass
        with pytest.raises(ssl.SSLError):
            wire.tls.read(65536)
        wire.sock.close()
    assert waypoint.count('cairn_hbone_handshake_failures_total') == before + len(strangers)
    assert waypoint.count('cairn_hbone_handshake_failures_total', reason='tls') >= 1


# ---- HTTP/2, by hand ----

def frame(kind, flags=0, stream=0, payload=b''):
    return struct.pack('>I', len(payload))[1:] + struct.pack('>BBI', kind, flags, stream) + payload


def literal(name, value, index=False):
    """A field without Huffman coding; index: also into the dynamic table."""
    def text(s):
        n = len(s)
        if n < 127:
            return bytes([n]) + s
        n, out = n - 127, b'\x7f'
        while n >= 128:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n]) + s
    return (b'\x40' if index else b'\0') + text(name) + text(value)


def connect(stream, *more, authority=VIP.encode(), flags=4):
    block = literal(b':method', b'CONNECT') + literal(b':authority', authority) + b''.join(more)
    return frame(HEADERS, flags, stream, block)


class Raw(hbone.Connection):
    """A connection whose frames are written by hand; what comes back is only counted."""

    def __init__(self, waypoint, identity):
        super().__init__(waypoint.ip, identity)
        self.frames = []
        self.received = bytearray()

    def write(self, data):
        """False when the other side would not hear it any more."""
        try:
            self.sock.settimeout(10.0)
            self.sock.sendall(data)
            return True
        except OSError:
            return False

    def listen(self, done, timeout=10.0):
        """Takes frames in until done(frames), or the connection is over."""
        self.sock.settimeout(timeout)
        while not self.closed and not done(self.frames):
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                data = b''
            self.closed = not data
            self.received += data
            while len(self.received) >= 9 and len(self.received) >= 9 + int.from_bytes(self.received[:3], 'big'):
                n = int.from_bytes(self.received[:3], 'big')
                kind, flags, stream = struct.unpack('>BBI', self.received[3:9])
                self.frames.append((kind, flags, stream, bytes(self.received[9:9 + n])))
                del self.received[:9 + n]
        return self.frames

    def ended(self):
        """Listens to the end: the code of GOAWAY, None without one."""
        self.listen(lambda frames: False)
        codes = [int.from_bytes(f[3][4:8], 'big') for f in self.frames if f[0] == GOAWAY]
        return codes[-1] if codes else None

    def outcome(self, stream):
        """'reset CODE' or 'answered' of one stream."""
        def about(f):
            return f[2] == stream and f[0] in (HEADERS, RST)
        found = [f for f in self.listen(lambda frames: any(map(about, frames))) if about(f)]
        if not found:
            return 'closed'
        return 'answered' if found[0][0] == HEADERS else 'reset %d' % int.from_bytes(found[0][3], 'big')


@pytest.fixture
def raw(waypoint, curl):
    opened = []

    def make():
        opened.append(Raw(waypoint, curl))
        return opened[-1]
    yield make
    for one in opened:
        one.close()


M, A, S, P = ':method', ':authority', ':scheme', ':path'
GET = [(M, 'GET'), (S, 'https'), (P, '/'), (A, VIP)]
MALFORMED = {
    'GET': (GET, 404),
    'POST': ([(M, 'POST'), *GET[1:]], 404),
    'OPTIONS *': ([(M, 'OPTIONS'), (S, 'https'), (P, '*'), (A, VIP)], 404),
    'no port': ([(M, 'CONNECT'), (A, '10.96.0.1')], 400),
    'port 0': ([(M, 'CONNECT'), (A, '10.96.0.1:0')], 400),
    'port 99999': ([(M, 'CONNECT'), (A, '10.96.0.1:99999')], 400),
    'port in words': ([(M, 'CONNECT'), (A, '10.96.0.1:http')], 400),
    'signed port': ([(M, 'CONNECT'), (A, '10.96.0.1:+9080')], 400),
    'userinfo': ([(M, 'CONNECT'), (A, 'u:p@10.96.0.1:9080')], 400),
    'two colons': ([(M, 'CONNECT'), (A, '10.96.0.1:9080:9080')], 400),
    'brackets around IPv4': ([(M, 'CONNECT'), (A, '[10.96.0.1]:9080')], 400),
    'open bracket': ([(M, 'CONNECT'), (A, '[fd00::1:80')], 400),
    'slash': ([(M, 'CONNECT'), (A, '10.96.0.1:9080/x')], None),
    'a name nobody has': ([(M, 'CONNECT'), (A, 'nobody.nowhere.svc:80')], 503),
    'an address nobody has': ([(M, 'CONNECT'), (A, '10.96.0.99:9080')], 503),
    'empty authority': ([(M, 'CONNECT'), (A, '')], None),
    'no authority': ([(M, 'CONNECT')], None),
    'two authorities': ([(M, 'CONNECT'), (A, VIP), (A, VIP)], None),
    'authority in host': ([(M, 'CONNECT'), ('host', VIP)], None),
    'scheme and path': ([(M, 'CONNECT'), (S, 'https'), (P, '/'), (A, VIP)], None),
    'extended CONNECT': ([(M, 'CONNECT'), (':protocol', 'websocket'), (S, 'https'), (P, '/'), (A, VIP)], 404),
    'two methods': ([(M, 'CONNECT'), (M, 'GET'), (A, VIP)], None),
    'unknown pseudo header': ([(M, 'CONNECT'), (A, VIP), (':x', '1')], None),
    'pseudo header behind others': ([(M, 'CONNECT'), ('x', '1'), (A, VIP)], None),
    'upper-case name': ([(M, 'CONNECT'), (A, VIP), ('X-A', '1')], None),
    'connection header': ([(M, 'CONNECT'), (A, VIP), ('connection', 'close')], None),
    'transfer-encoding': ([(M, 'CONNECT'), (A, VIP), ('transfer-encoding', 'chunked')], None),
    'blank in the authority': ([(M, 'CONNECT'), (A, '10.96.0.1 :9080')], None),
    'NUL in a value': ([(M, 'CONNECT'), (A, VIP), ('x', 'a\0b')], None),
    'line break in a value': ([(M, 'CONNECT'), (A, VIP), ('baggage', 'a\r\nb')], None),
}


@pytest.mark.parametrize('fields, status', MALFORMED.values(), ids=MALFORMED)
def test_malformed_connect_is_answered_and_costs_only_its_stream(waypoint, curl, fields, status):
    """None: the stream is reset, as RFC 9113 8.1.1 wants of malformed messages."""
    with waypoint.connection(curl) as connection:
        steady = connection.connect(VIP)
        bad = connection.open('', fields=fields)
        connection.until(lambda: bad.ended or bad.reset_code is not None, what='the end of the stream')
        if status is None:
            assert (bad.status, bad.reset_code) == (None, 1)
        else:
            assert bad.status == status
        assert steady.request().status == 200
        assert connection.connect(VIP).request().status == 200
        assert connection.goaway is None


def test_connect_with_a_length_or_an_end_harms_nobody(waypoint, curl):
    with waypoint.connection(curl) as connection:
        steady = connection.connect(VIP)
        declared = connection.open(VIP, [('content-length', '5')])
        declared.wait_response()
        ended = connection.open(VIP, end=True)
        ended.wait_response()
        connection.until(lambda: ended.ended or ended.reset_code is not None, what='the end of the stream')
        assert steady.request().status == 200
        assert connection.goaway is None


def test_header_list_over_the_limit_costs_only_its_stream(waypoint, curl):
    with waypoint.connection(curl) as connection:
        steady = connection.connect(VIP)
        for more in ([('x-%d' % i, 'x' * 1000) for i in range(70)], [('x-%d' % i, '1') for i in range(120)]):
            bad = connection.open(VIP, more)
            connection.until(lambda: bad.ended or bad.reset_code is not None, what='the end of the stream')
            assert bad.reset_code is not None or bad.status >= 400
            assert steady.request().status == 200


def test_table_of_headers_cannot_be_made_a_bomb(waypoint, curl, raw):
    """One entry of 4,000 bytes, then 12,000 references to it: 48 MB out of 16 kB."""
    before = waypoint.resident()
    one = raw()
    bomb = literal(b'x', b'b' * 4000, index=True) + b'\xbe' * 12000
    assert one.write(frame(HEADERS, 4, 1, literal(b':method', b'CONNECT') +
                           literal(b':authority', VIP.encode()) + bomb[:16000]))
    assert one.outcome(1) in ('reset 1', 'reset 2', 'reset 11', 'closed')
    assert waypoint.resident() - before < 4 << 20


def test_endless_header_block_is_cut_off(waypoint, raw):
    before = waypoint.resident()
    one = raw()
    one.write(connect(1, flags=0))
    for _ in range(4000):
        if not one.write(frame(CONTINUATION, 0, 1, literal(b'x', b'c' * 4000))):
            break
    one.ended()
    assert waypoint.resident() - before < 4 << 20


def test_empty_continuations_without_end_are_cut_off(waypoint, raw):
    one = raw()
    one.write(connect(1, flags=0))
    for _ in range(100):
        if not one.write(frame(CONTINUATION, 0, 1) * 1000):
            break
    one.ended()


def test_rapid_resets_end_the_connection_and_no_other(waypoint, curl, raw):
    before = waypoint.resident()
    with waypoint.connection(curl) as connection:
        steady = connection.connect(VIP)
        one = raw()
        for i in range(0, 20000, 100):
            burst = b''.join(connect(2 * n + 1) + frame(RST, 0, 2 * n + 1, b'\0\0\0\x08') for n in range(i, i + 100))
            if not one.write(burst):
                break
        one.ended()
        assert one.closed
        assert steady.request().status == 200
    assert waypoint.resident() - before < 16 << 20


@pytest.mark.parametrize('flood', [frame(PING, 0, 0, b'\0' * 8), frame(SETTINGS),
                                   frame(SETTINGS, 0, 0, b'\0\x04\0\0\xff\xff' * 100)],
                         ids=['PING', 'empty SETTINGS', 'SETTINGS'])
def test_floods_that_want_answers_are_not_stored(waypoint, curl, raw, flood):
    """Answers are not read: they may not pile up."""
    before = waypoint.resident()
    with waypoint.connection(curl) as connection:
        steady = connection.connect(VIP)
        one = raw()
        one.sock.settimeout(0.5)
        try:
            for _ in range(100):
                one.sock.sendall(flood * 1000)
        except OSError:
            pass  # not read any more, or closed
        assert steady.request().status == 200
        assert waypoint.resident() - before < 16 << 20


BROKEN = {
    'DATA on stream 0': frame(DATA, 0, 0, b'x'),
    'DATA on an idle stream': frame(DATA, 0, 7, b'x'),
    'HEADERS on an even stream': connect(2),
    'frame too large': b'\xff\xff\xff\0\0\0\0\0\1',
    'PING of 7 bytes': frame(PING, 0, 0, b'1234567'),
    'SETTINGS of 5 bytes': frame(SETTINGS, 0, 0, b'12345'),
    'SETTINGS with an impossible window': frame(SETTINGS, 0, 0, b'\0\x04\xff\xff\xff\xff'),
    'WINDOW_UPDATE of 0': frame(WINDOW, 0, 0, b'\0\0\0\0'),
    'window over 2^31': frame(WINDOW, 0, 0, b'\x7f\xff\xff\xff') * 2,
    'CONTINUATION from nowhere': frame(CONTINUATION, 4, 1, b''),
    'another frame inside a header block': connect(1, flags=0) + frame(PING, 0, 0, b'\0' * 8),
    'PUSH_PROMISE of a client': frame(PUSH, 4, 1, b'\0\0\0\2'),
    'broken compression': frame(HEADERS, 4, 1, b'\xff\xff\xff\xff\xff\xff'),
    'reference to nothing': frame(HEADERS, 4, 1, b'\xff\x7f'),
    'padding longer than the frame': frame(DATA, 8, 1, b'\xff'),
}


@pytest.mark.parametrize('words', BROKEN.values(), ids=BROKEN)
def test_broken_frames_end_their_connection_with_a_reason(waypoint, curl, words):
    wire = Wire(waypoint.ip, curl).handshake()
    wire.sock.sendall(wire.records(PREFACE + frame(SETTINGS) + words))
    said = b''
    wire.sock.settimeout(10.0)
    while True:
        try:
            if not wire.receive():
                break
        except ConnectionResetError:
            break
    try:
        while True:
            data = wire.tls.read(65536)
            if not data:
                break
            said += data
    except ssl.SSLError:
        pass
    kinds = []
    while len(said) >= 9:
        kinds.append(said[3])
        said = said[9 + int.from_bytes(said[:3], 'big'):]
    assert GOAWAY in kinds


def test_other_words_than_http2_are_not_answered(waypoint, curl):
    wire = Wire(waypoint.ip, curl).handshake()
    wire.sock.sendall(wire.records(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n' + b'\0' * 100))
    until_closed(wire.sock)


def test_window_of_one_byte_is_kept_to_and_harms_nobody(waypoint, curl, raw):
    with waypoint.connection(curl) as connection:
        steady = connection.connect(VIP)
        one = raw()
        one.write(frame(SETTINGS, 0, 0, b'\0\x04\0\0\0\x01') + connect(1) +
                  frame(DATA, 0, 1, b'GET /bytes/100 HTTP/1.1\r\nHost: a\r\n\r\n'))
        for n in range(1, 11):
            got = [f for f in one.listen(lambda frames: sum(f[0] == DATA for f in frames) >= n) if f[0] == DATA]
            assert [len(f[3]) for f in got] == [1] * n
            one.write(frame(WINDOW, 0, 1, b'\0\0\0\1'))
        assert steady.request().status == 200


# ---- every state ----

def at_accept(waypoint, _):
    return socket.create_connection((waypoint.ip, 15008), 10.0), None


def in_the_handshake(waypoint, identity):
    wire = Wire(waypoint.ip, identity)
    wire.step()
    wire.sock.sendall(wire.outgoing.read())
    wire.receive()
    return wire.sock, None


def after_the_handshake(waypoint, identity):
    return Wire(waypoint.ip, identity).handshake().sock, None


def opened(raw_request=b'', until=None, response=False):
    """A state of a tunnel: what was sent, and what must have happened before it is cut."""
    def make(waypoint, identity):
        seen = len(waypoint.app.requests)
        connection = waypoint.connection(identity)
        tunnel = connection.connect(VIP)
        if raw_request:
            tunnel.send(raw_request)
        if until:
            net.wait_for(lambda: len(waypoint.app.requests) > seen, what='the request at the pod')
        if response:
            tunnel.http.more(10.0)
        return connection.sock, tunnel
    return make


STATES = {
    'after accept': at_accept,
    'in the handshake': in_the_handshake,
    'after the handshake': after_the_handshake,
    'after CONNECT': opened(),
    'in a head': opened(b'GET / HTTP/1.1\r\nHost:'),
    'in a body': opened(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf'),
    'in a chunk': opened(b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf'),
    'while the pod is silent': opened(b'GET /hang HTTP/1.1\r\nHost: a\r\n\r\n', until=True),
    'while the response streams': opened(b'GET /bytes/5000000 HTTP/1.1\r\nHost: a\r\n\r\n', response=True),
    'while the response drips': opened(b'GET /drip/100 HTTP/1.1\r\nHost: a\r\n\r\n', response=True),
    'between requests': opened(b'GET / HTTP/1.1\r\nHost: a\r\n\r\n', response=True),
}


@pytest.mark.parametrize('how', ['FIN', 'RST'])
@pytest.mark.parametrize('state', STATES.values(), ids=STATES)
def test_connection_cut_at_any_state_leaves_nothing(waypoint, curl, state, how):
    with waypoint.connection(curl) as connection:
        steady = connection.connect(VIP)
        sock, _ = state(waypoint, curl)
        end(sock, how)
        assert steady.request().status == 200
        net.wait_for(lambda: waypoint.count('cairn_tunnels_open') == 1, what='the end of the other tunnel')
        net.wait_for(lambda: waypoint.count('cairn_hbone_connections') == 1, what='the end of the other connection')


@pytest.mark.parametrize('how', ['RST_STREAM', 'END_STREAM'])
@pytest.mark.parametrize('state', [name for name, state in STATES.items() if state.__name__ == 'make'])
def test_tunnel_cut_at_any_state_leaves_nothing(waypoint, curl, state, how):
    _, tunnel = STATES[state](waypoint, curl)
    with tunnel.connection as connection:
        steady = connection.connect(VIP)
        if how == 'RST_STREAM':
            tunnel.reset()
        else:
            tunnel.half_close()
        assert steady.request().status == 200
        if how == 'RST_STREAM' or 'silent' not in state:
            net.wait_for(lambda: connection.pump(0.01) or waypoint.count('cairn_tunnels_open') == 1,
                         what='the end of the tunnel')
