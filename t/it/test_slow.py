# SPDX-License-Identifier: Apache-2.0
"""Peers that are slow on purpose, at every stage, and tunnels that idle: bounded in time and in memory."""

import concurrent.futures
import contextlib
import itertools
import socket
import ssl
import time

import pytest

from peers import hbone, net, origin, proxy, steady, wire
from peers.http import Ended

SOON = 5.0  # far beyond the timeouts that the tests set, far below the defaults


@pytest.fixture
def waypoint(cairn, new_origin):
    def make(main=''):
        return cairn(steady.body(proxy.endpoint(new_origin('app')), echo=new_origin('auto', port=9000)), main=main)
    return make


@pytest.mark.parametrize('drip', [b'', b'\x16\x03\x01'])
def test_handshake_that_does_not_come_is_cut_off(waypoint, drip):
    one = waypoint('hbone_handshake_timeout 300ms;')
    with socket.create_connection((one.ip, 15008)) as sock:
        sock.sendall(drip)
        net.until_ended(sock, SOON)
    assert one.count('cairn_hbone_handshake_failures_total', reason='timeout') == 1
    net.wait_for(lambda: one.count('cairn_hbone_connections') == 0)


def test_tunnel_in_which_nothing_is_said_ends(waypoint, curl):
    one = waypoint('keepalive_timeout 300ms;')
    with one.connection(curl) as connection:
        assert connection.connect(steady.VIP).recv_all(SOON) == b''
    net.wait_for(lambda: one.count('cairn_tunnels_open') == 0)


def test_head_that_does_not_end_is_answered_408(waypoint, curl):
    one = waypoint('request_head_timeout 300ms;')
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        tunnel.send(b'GET / HTTP/1.1\r\nhost: reviews\r\nx-slow: ')
        assert b' 408 ' in tunnel.recv_all(SOON)


@pytest.mark.parametrize('flags, cut', [(0, 0), (wire.END_HEADERS, 1)], ids=['CONTINUATION', 'payload'])
def test_head_of_http2_that_does_not_end_ends_its_connection(waypoint, curl, flags, cut):
    """It stands before whatever else its client sends."""
    one = waypoint('request_head_timeout 300ms;')
    w = wire.Wire(wire.Inside(one.ip, curl, steady.VIP))
    fields = [(':method', 'GET'), (':scheme', 'http'), (':path', '/'), (':authority', 'a')]
    w.start()
    w.send(w.headers(1, fields, wire.END_HEADERS | wire.END_STREAM))
    w.until(lambda: w.status(1))
    begun = w.headers(3, fields, flags | wire.END_STREAM)
    w.send(begun[:len(begun) - cut])
    w.until(lambda: False, SOON)
    assert w.closed and w.find(wire.GOAWAY, 0)[-1].code == wire.CALM
    w.close()
    one.wait_log('closing a session: the rest of a field section does not come')
    net.wait_for(lambda: one.count('cairn_tunnels_open') == 0)


def test_http2_connection_on_which_all_heads_came_stays(waypoint, curl):
    one = waypoint('request_head_timeout 300ms;')
    with one.connection(curl) as connection:
        client = connection.connect(steady.VIP).http2()
        assert client.request(path='/').status == 200
        refused = client.open(fields=[(':method', 'GET'), (':path', '/'), ('X-Bad', 'upper case')])
        assert refused.wait().reset_code == wire.PROTOCOL
        time.sleep(0.6)  # twice the limit
        assert client.request(path='/').status == 200
        assert not client.goaway


def test_body_that_does_not_come_ends_its_request(waypoint, curl):
    one = waypoint('stream_idle_timeout 300ms;')
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        tunnel.send(b'POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 1000\r\n\r\nbegun')
        tunnel.recv_all(SOON)
    net.wait_for(lambda: one.count('cairn_requests_active') == 0)


def test_slow_peers_do_not_hold_up_others(waypoint, curl):
    one = waypoint()
    silent = [socket.create_connection((one.ip, 15008)) for _ in range(20)]
    with one.connection(curl) as connection:
        for i in range(20):
            connection.connect(steady.VIP).send(b'POST / HTTP/1.1\r\nhost: r\r\ncontent-length: 9\r\n\r\n'[:10 + i])
        start = time.monotonic()
        for _ in range(20):
            assert one.request(curl, steady.VIP).status == 200
        print('20 requests beside 40 stalled peers: %.0f ms each' % ((time.monotonic() - start) * 50))
    for sock in silent:
        sock.close()


def idle_tunnels(one, builddir, curl, connections, tunnels):
    """KiB of the worker's memory for each of so many tunnels that do nothing."""
    before = one.resident()
    load = steady.Load(builddir, one, curl, '-r', 20, connections=connections, tunnels=tunnels)
    try:
        wanted = connections * tunnels
        net.wait_for(lambda: one.count('cairn_tunnels_open') == wanted, 120.0, '%d tunnels' % wanted)
        each = (one.resident() - before) / 1024 / wanted
        print('%d idle tunnels on %d connections: %.1f KiB each' % (wanted, connections, each))
        return each
    finally:
        load.stop()


def test_thousand_idle_tunnels_cost_little(waypoint, builddir, curl):
    each = idle_tunnels(waypoint(), builddir, curl, 10, 100)
    if 'address' not in (builddir / 'cn_flags').read_text():
        assert each < 12


# ---- the tables: every kind at once, each in a tunnel of its own ----

LIMIT = '1s'
PATIENCE = 30.0


class Row:
    """what does not come; limit: who ends that; seen: what the peer sees of it; log: 'FLAG details' of the
    request at .path, None: there is none; act() waits and returns what was seen."""

    def __init__(self, what, limit, seen, act, log=None, path=None):
        self.what, self.limit, self.seen, self.act, self.log, self.path = what, limit, seen, act, log, path
        self.got, self.took = None, 0.0

    def run(self):
        start = time.monotonic()
        try:
            self.got = self.act()
        except Exception as e:  # it is told beside the others
            self.got = repr(e)
        self.took = time.monotonic() - start


def table(title, rows, one):
    with concurrent.futures.ThreadPoolExecutor(len(rows)) as pool:
        list(pool.map(Row.run, rows))
    wanted = {row.path: row.log for row in rows if row.log}

    def said():
        lines = [line for line in one.access(0) if line['path'] in wanted]
        return {line['path']: '%s %s' % (line['response_flags'], line['response_code_details']) for line in lines}
    try:
        net.wait_for(lambda: len(said()) == len(wanted), what='the access log')
    except TimeoutError:
        pass
    logged = said()
    print('%s, limits of %s:' % (title, LIMIT))
    for row in rows:
        print('  %-42s %-24s %-10s %-42s %5.0f ms' % (row.what, row.limit, row.got, logged.get(row.path, '') if row.log else '', row.took * 1000))
    assert [(row.what, row.got) for row in rows] == [(row.what, row.seen) for row in rows]
    assert logged == wanted


def seen(tunnel):
    """How a tunnel's HTTP/1.1 or bytes end."""
    try:
        got = tunnel.recv_all(PATIENCE)
    except ConnectionResetError:
        return 'reset'
    except ConnectionError:
        return 'closed'
    return got.split(b' ', 2)[1].decode() if got.startswith(b'HTTP/1.1') else 'closed'


def is_over(tunnel):
    return tunnel.ended or tunnel.reset_code is not None or tunnel.connection.closed


def drip(tunnel, data):
    """One byte after the other, as long as the other side takes them; then as seen()."""
    with contextlib.suppress(ConnectionError):
        for byte in itertools.islice(itertools.cycle(data), int(PATIENCE * 20)):
            if is_over(tunnel):
                break
            tunnel.send(bytes([byte]))
            tunnel.connection.pump(0.05)
    return seen(tunnel)


def drip_raw(sock, data):
    """The same on a socket."""
    sock.settimeout(0.05)
    for byte in itertools.islice(itertools.cycle(data), int(PATIENCE * 20)):
        with contextlib.suppress(TimeoutError):
            try:
                sock.sendall(bytes([byte]))
                if not sock.recv(65536):
                    return 'closed'
            except ConnectionError:
                return 'closed'
    return 'open'


def through(one, curl, act, vip=steady.VIP, **options):
    """act(tunnel) in a tunnel of its own."""
    def go():
        with one.connection(curl, **options) as connection:
            return act(connection.connect(vip))
    return go


def says(data, then=seen):
    def go(tunnel):
        tunnel.send(data)
        return then(tunnel)
    return go


def drips(first, data):
    return says(first, lambda tunnel: drip(tunnel, data))


def wait_end(one, path):
    net.wait_for(lambda: any(line['path'] == path for line in one.access(0)), PATIENCE, 'the end of the request')


def holds(one, path):
    """Asks for much, and reads on only after the request is over."""
    def go(tunnel):
        tunnel.hold = True
        tunnel.http.send(path=path)
        tunnel.connection.until(lambda: tunnel.buffer, PATIENCE, 'the beginning')
        wait_end(one, path)
        while tunnel.connection.pump(0.01):
            pass
        tunnel.hold = False
        tunnel.connection.h2.acknowledge_received_data(len(tunnel.buffer), tunnel.stream)
        tunnel.connection.flush()
        return 'cut off' if len(tunnel.recv_all(PATIENCE)) < MUCH else 'whole'
    return go


def holds_http2(one, path):
    def go(tunnel):
        client = tunnel.http2()
        exchange = client.open(path=path)
        exchange.hold = True
        client.until(lambda: len(exchange.body) > 60000, PATIENCE, 'a full window')
        wait_end(one, path)
        exchange.hold = False
        client.h2.acknowledge_received_data(len(exchange.body), exchange.number)
        client.flush()
        return 'cut off' if exchange.wait(PATIENCE).reset_code is not None and len(exchange.body) < MUCH else 'whole'
    return go


def http2_body(path):
    def go(tunnel):
        exchange = tunnel.http2().open('POST', path, end=False)
        exchange.send(b'half')
        return str(exchange.wait(PATIENCE).status)
    return go


def h2_preface(tunnel):
    tunnel.http2()
    return seen(tunnel)


def field_section(one, curl, rest):
    """Of a CONNECT; rest: bytes of its CONTINUATION come one by one."""
    def go():
        w = wire.Wire(wire.secure(one.ip, curl))
        w.send(wire.PREFACE, wire.settings())  # and no word more: nothing may come within a field section
        w.send(w.headers(1, [(':method', 'CONNECT'), (':authority', steady.VIP)], 0))
        if rest:
            w.send(wire.frame(wire.CONTINUATION, 0, 1, b'x' * 10000)[:9])
            drip_raw(w.sock, b'x')
        w.until(lambda: False, PATIENCE)
        w.close()
        return 'closed' if w.closed else 'open'
    return go


MUCH = 4000000


def post(path, head):
    return b'POST %s HTTP/1.1\r\nhost: a\r\n%s\r\n\r\n' % (path.encode(), head)


def test_clients_that_are_slow_are_ended(cairn, new_origin, new_tcp_origin, curl):
    names = ('keepalive_timeout', 'request_head_timeout', 'tcp_idle_timeout', 'hbone_handshake_timeout')
    auto, tls, greeter = '10.96.0.7:9000', '10.96.0.8:9000', new_tcp_origin('greeter', greeting=b'hello')
    body = steady.body(proxy.endpoint(new_origin('app')), echo=new_tcp_origin('echo'),
                       policy='stream_idle_timeout %s;' % LIMIT)
    for name, vip, kind in (('auto.x:9000', auto, 'auto'), ('tls.x:9000', tls, 'tls')):
        body += proxy.cluster(name, greeter.address, protocol='tcp')
        body += proxy.service(name, vip, 'sniff_timeout %s;' % LIMIT, protocol=kind)
    body = body.replace('protocol tls;', 'protocol tls; tls_route r { sni *; backend tls.x:9000; }')
    one = cairn(body, main=' '.join('%s %s;' % (name, LIMIT) for name in names))

    def handshake():
        with socket.create_connection((one.ip, 15008)) as sock:
            return drip_raw(sock, b'\x16\x03\x01\x02\x00\x01' + bytes(2000))
    t = lambda act, **options: through(one, curl, act, **options)
    idle, silence = 'stream_idle_timeout', 'SI stream_idle_timeout'
    head, chunked = b'GET / HTTP/1.1\r\nx: ', b'transfer-encoding: chunked'
    table('clients', [
        Row('TLS, byte by byte', 'hbone_handshake_timeout', 'closed', handshake),
        Row('the rest of a CONNECT', 'hbone_handshake_timeout', 'closed', field_section(one, curl, False)),
        Row('the same, byte by byte', 'hbone_handshake_timeout', 'closed', field_section(one, curl, True)),
        Row('a request', 'keepalive_timeout', 'closed', t(seen)),
        Row('a head', 'request_head_timeout', '408', t(says(head))),
        Row('a head, byte by byte', 'request_head_timeout', '408', t(drips(head, b'x'))),
        Row('a request line, byte by byte', 'request_head_timeout', '408', t(drips(b'GET /', b'x'))),
        Row('a body', idle, '504', t(says(post('/body', b'content-length: 9') + b'half')), silence, '/body'),
        Row('the size of a chunk, byte by byte', idle, '504', t(drips(post('/size', chunked) + b'5;', b'x')), silence, '/size'),
        Row('trailers, byte by byte', idle, '504', t(drips(post('/trail', chunked) + b'0\r\nx: ', b'x')), silence, '/trail'),
        Row('a reader of HTTP/1.1', idle, 'cut off', t(holds(one, '/bytes/%d?1' % MUCH)), silence, '/bytes/%d?1' % MUCH),
        Row('half a preface of HTTP/2', 'request_head_timeout', '408', t(says(wire.PREFACE[:9]))),
        Row('a request of HTTP/2', 'keepalive_timeout', 'closed', t(h2_preface)),
        Row('a body of HTTP/2', idle, '504', t(http2_body('/body2')), silence, '/body2'),
        Row('a reader of HTTP/2', idle, 'cut off', t(holds_http2(one, '/bytes/%d?2' % MUCH)), silence, '/bytes/%d?2' % MUCH),
        Row('bytes of TCP', 'tcp_idle_timeout', 'reset', t(seen, vip=steady.ECHO)),
        Row('first bytes on an undeclared port', 'sniff_timeout', 'greeting', t(
            lambda tunnel: 'greeting' if tunnel.recv(PATIENCE) == b'hello' else 'else', vip=auto)),
        Row('a TLS hello that must name a server', 'sniff_timeout', 'greeting', t(
            lambda tunnel: 'greeting' if tunnel.recv(PATIENCE) == b'hello' else 'else', vip=tls)),
        Row('such a hello, byte by byte', 'sniff_timeout', 'reset', t(drips(b'\x16\x03\x01\x02\x00\x01\x00\x01', b'\0'), vip=tls)),
    ], one)
    net.wait_for(lambda: one.count('cairn_tunnels_open') == 0 and one.count('cairn_hbone_connections') == 0)


def test_connections_that_are_silent_are_ended(cairn, new_origin, curl):
    """After the handshake: nobody there, nobody who reads, and nobody who wants anything."""
    def silent():
        with wire.secure(asking.ip, curl) as sock:
            return ended(sock)

    def deaf():
        """Asks for more than sockets hold, and reads none of it."""
        w = wire.Wire(wire.secure(asking.ip, curl))
        w.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        w.start((wire.INITIAL_WINDOW, 1 << 30))
        w.send(wire.window(0, 1 << 30), w.headers(1, [(':method', 'CONNECT'), (':authority', steady.VIP)]))
        w.until(lambda: w.status(1), PATIENCE)
        w.send(wire.frame(wire.DATA, 0, 1, b'GET /bytes/64000000 HTTP/1.1\r\nhost: a\r\n\r\n'))
        net.wait_for(lambda: asking.count('cairn_hbone_connections') == 0, PATIENCE, 'the end of the connection')
        w.close()
        return 'closed'

    def idle():
        with waiting.connection(curl) as connection:
            connection.wait_closed(PATIENCE)
            return 'GOAWAY' if connection.goaway else 'closed'
    conf = steady.body(proxy.endpoint(new_origin('app')))
    asking = cairn(conf, main='hbone_ping_interval %s; hbone_ping_timeout %s;' % (LIMIT, LIMIT))
    waiting = cairn(conf, main='hbone_idle_timeout %s;' % LIMIT)
    table('connections', [
        Row('anything after the handshake', 'hbone_ping_timeout', 'closed', silent),
        Row('a reader of the connection', 'hbone_ping_timeout', 'closed', deaf),
        Row('a CONNECT, with PINGs answered', 'hbone_idle_timeout', 'GOAWAY', idle),
    ], asking)


def ended(sock):
    sock.settimeout(PATIENCE)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while sock.recv(65536):
            pass
    return 'closed'


class SlowPod(origin.Origin):
    """How: accept (is never accepted), answer (never comes), head, body (come byte by byte), half (of the body), request
    (is not read), tls, http2, connect (of HBONE: never come), connect head (does not end)."""

    def __init__(self, how, identity):
        self.how, self.identity = how, identity
        super().__init__(how, port=15008 if self.hbone else 9080)

    @property
    def hbone(self):
        return self.how.startswith(('tls', 'http2', 'connect'))

    @property
    def line(self):
        return '%s:9080%s' % (self.ip, ' tunnel=hbone identity=%s' % self.identity.uri if self.hbone else '')

    def _accept(self):
        if self.how != 'accept':
            super()._accept()

    def handle(self, sock, number):
        with contextlib.suppress(OSError):
            if self.how in ('http2', 'connect', 'connect head'):
                sock = hbone.tls_context(True, self.identity).wrap_socket(sock, server_side=True)
            getattr(self, 'do_' + self.how.replace(' ', '_'), self.wait)(sock)

    def wait(self, sock):
        self.stopping.wait()

    def do_connect(self, sock):
        sock.sendall(wire.settings() + wire.frame(wire.SETTINGS, wire.ACK))
        while sock.recv(65536):
            pass

    def do_connect_head(self, sock):
        sock.sendall(wire.settings())
        w = wire.Wire(sock)
        w.until(lambda: w.find(wire.HEADERS, 1), PATIENCE)
        sock.sendall(wire.frame(wire.SETTINGS, wire.ACK) + w.headers(1, [(':status', '200')], 0))
        self.stopping.wait()

    def do_answer(self, sock):
        while sock.recv(65536):
            pass

    def drip(self, sock, first):
        sock.recv(65536)
        sock.sendall(first)
        while not self.stopping.wait(0.05):
            sock.sendall(b'x')

    def do_head(self, sock):
        self.drip(sock, b'HTTP/1.1 200 OK\r\nx: ')

    def do_body(self, sock):
        self.drip(sock, b'HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n')

    def do_half(self, sock):
        sock.recv(65536)
        sock.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf')
        self.stopping.wait()


def test_pods_that_are_slow_are_given_up(cairn, curl, pki, stopping):
    identity, made, text = pki.identity('bookinfo', 'reviews'), [], ''
    idle, whole, attempt = 'stream_idle_timeout', 'request_timeout', 'try_timeout'

    def row(what, how, limit, expected, log, act=None):
        """A service of its own, with one pod that is slow in this way."""
        nonlocal text
        n, vip, path = len(made), '10.96.1.%d:9080' % len(made), '/row/%d' % len(made)
        stopping.append(SlowPod(how, identity))
        if how == 'accept':  # its queue is full
            full = [socket.socket() for _ in range(2)]
            stopping[-1].sock.listen(0)
            for sock in full:
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    sock.connect((stopping[-1].ip, 9080))
            stopping[-1]._open += full
        name = 's%d.x:9080' % n
        settings = {'connect_timeout': LIMIT} if limit == 'connect_timeout' else {}
        text += proxy.cluster(name, stopping[-1].line, **settings)
        text += proxy.service(name, vip, 'retry off; ' + ('%s %s;' % (limit, LIMIT) if not settings else ''))
        act = act or (lambda path: lambda tunnel: outcome(tunnel, path))
        made.append(Row(what, limit, expected, lambda: through(one, curl, act(path), vip)(), log, path))

    def outcome(tunnel, path):
        tunnel.http.send(path=path)
        try:
            return str(tunnel.http.response(timeout=PATIENCE).status)
        except Ended:
            return 'cut off'

    def upload(path):
        def go(tunnel):
            tunnel.send(post(path, b'content-length: 100000000'))
            with contextlib.suppress(ConnectionError, TimeoutError):
                while not is_over(tunnel) and not tunnel.buffer:
                    tunnel.send(bytes(16384), timeout=0.1)
            return seen(tunnel)
        return go
    silence, late, connect = 'SI stream_idle_timeout', 'UT response_timeout', 'connect_timeout'
    failed = 'UF upstream_reset_before_response_started{connection_timeout}'
    row('accepting', 'accept', connect, '503', failed)
    row('TLS of HBONE', 'tls', connect, '503', failed)
    row('HTTP/2 of HBONE', 'http2', connect, '503', failed)
    row('the answer to CONNECT', 'connect', connect, '503', failed)
    row('the rest of that', 'connect head', connect, '503', failed)
    row('an answer', 'answer', idle, '504', silence)
    row('an answer to one attempt', 'answer', attempt, '504', 'UT upstream_per_try_timeout')
    row('an answer in time', 'answer', whole, '504', late)
    row('a head, byte by byte', 'head', idle, '504', silence)
    row('the rest of a body', 'half', idle, 'cut off', silence)
    row('a body in time, byte by byte', 'body', whole, 'cut off', late)
    row('a reader of a request', 'request', idle, '504', silence, upload)
    one = cairn(text)
    table('pods', made, one)
    assert one.count('cairn_requests_active') == 0


# ---- what they cost ----

KINDS = ('handshakes', 'connections', 'heads', 'uploads', 'readers', 'readers of HTTP/2')


def many(one, curl, kind, n):
    """So many slow peers of this kind, and what holds them."""
    if kind == 'handshakes':
        return [socket.create_connection((one.ip, 15008)) for _ in range(n)]
    if kind == 'connections':
        return [one.connection(curl) for _ in range(n)]
    connection = one.connection(curl, settings={})
    for _ in range(n):
        tunnel = connection.connect(steady.VIP)
        tunnel.hold = True
        if kind == 'heads':
            tunnel.send(b'GET / HTTP/1.1\r\nx: ' + b'x' * 10000)
        elif kind == 'uploads':
            tunnel.send(post('/', b'content-length: 1000000') + bytes(60000))
        elif kind == 'readers':
            tunnel.http.send(path='/bytes/8000000')
        elif kind == 'readers of HTTP/2':
            tunnel.http2().open(path='/bytes/8000000').hold = True
    return [connection]


class Silence(origin.Origin):
    """Reads nothing, so that uploads wait, unless it is asked for bytes."""

    def handle(self, sock, number):
        if sock.recv(4, socket.MSG_PEEK) == b'GET ':
            origin.Connection(self, sock, number).run()
        else:
            self.stopping.wait()


@pytest.mark.parametrize('n', [20, pytest.param(80, marks=pytest.mark.slow)])
def test_each_slow_peer_costs_little(cairn, builddir, curl, stopping, n):
    pod, costs = Silence('silence'), {}
    stopping.append(pod)
    for kind in KINDS if n > 20 else KINDS[-3:]:
        one = cairn(steady.body(proxy.endpoint(pod)))
        assert one.request(curl, steady.VIP, path='/bytes/8000000').status == 200
        before = one.resident()
        held, last = many(one, curl, kind, n), [0, 0]

        def settled():
            """It grows no more."""
            for connection in held:
                if isinstance(connection, hbone.Connection):
                    connection.pump(0.01)
            now = one.resident()
            last[:] = [now, last[1] + 1 if now == last[0] else 0]
            return last[1] > 3
        net.wait_for(settled, 30.0, 'an end of growth')
        costs[kind] = (one.resident() - before) / 1024 / n
        for thing in held:
            thing.close()
    print('%d slow peers at once, each: %s' % (n, ', '.join('%s %.0f KiB' % pair for pair in costs.items())))
    if 'address' not in (builddir / 'cn_flags').read_text():
        assert all(kib <= 1024 for kib in costs.values())
