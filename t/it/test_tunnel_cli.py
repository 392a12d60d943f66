# SPDX-License-Identifier: Apache-2.0
"""cairn-tunnel: what it refuses, what it says when it fails, SOCKS 5, and what it survives."""

import contextlib
import os
import signal
import socket
import struct
import threading

import pytest

from peers import hbone, net, origin, proxy, tunnel_cli

VIP, VIP6, NAME = '10.96.0.2:9000', '[fd00:96::2]:9000', 'echo.data.svc.cluster.local:9000'


@pytest.fixture
def waypoint(cairn, new_tcp_origin):
    """Before an echo that says `bye` at the end: .app."""
    app = new_tcp_origin('echo', bye=b'bye')
    one = cairn(proxy.cluster('echo.data:9000', proxy.endpoint(app), protocol='tcp') +
                proxy.service('echo.data:9000', VIP + ' ' + VIP6, protocol='tcp'))
    one.app = app
    return one


@pytest.fixture
def cli(builddir, stopping):
    """cli(via, identity, to=...) -> a running cairn-tunnel."""
    def make(*words, **options):
        stopping.append(tunnel_cli.TunnelCli(builddir, *words, **options))
        return stopping[-1]
    return make


def receive(sock, n):
    """n bytes, or those that came before the end."""
    got = b''
    while len(got) < n:
        data = sock.recv(n - len(got))
        if not data:
            break
        got += data
    return got


def rest(sock):
    return b''.join(iter(lambda: sock.recv(65536), b''))


def is_closed(sock):
    """Did it end without a byte?"""
    try:
        return sock.recv(1) == b''
    except ConnectionResetError:
        return True


def closes(one):
    """Is a new connection ended without a byte?  That may be before we know that it was accepted."""
    try:
        with one.connect() as sock:
            return is_closed(sock)
    except ConnectionResetError:
        return True


def echoes(sock, words=b'words'):
    sock.sendall(words)
    return receive(sock, len(words)) == words


# ---- what it refuses to start with ----

COMPLETE = {'--via': '127.0.0.1:15008', '--cert': None, '--key': None, '--roots': None, '--to': VIP, '--listen': '127.0.0.1:0'}


@pytest.fixture
def start(builddir, run, curl):
    """start({'--to': None}, more...) -> how it ended; None drops an option."""
    def go(changed, *more):
        options = {**COMPLETE, '--cert': curl.cert, '--key': curl.key, '--roots': curl.roots, **changed}
        words = [word for pair in options.items() if pair[1] is not None for word in pair]
        return run(builddir / 'cairn-tunnel', *words, *more, timeout=10)
    return go


@pytest.mark.parametrize('changed, more', [
    *(({name: None}, ()) for name in COMPLETE), ({}, ('--socks5', '127.0.0.1:0')), ({}, ('--unknown',)), ({}, ('word',)),
    ({'--to': None}, ()), ({}, ('--via',))])
def test_incomplete_or_contradicting_arguments_get_the_usage(start, changed, more):
    done = start(changed, *more)
    assert done.returncode == 2 and 'usage: cairn-tunnel --via' in done.stderr and done.stdout == ''


@pytest.mark.parametrize('option, value', [
    ('--via', 'waypoint:15008'), ('--via', '127.0.0.1'), ('--via', '127.0.0.1:0'), ('--via', '127.0.0.1:99999'),
    ('--via', ''), ('--to', 'no-port'), ('--to', '10.96.0.1:0'), ('--to', '10.96.0.1:99999'), ('--to', ''),
    ('--to', 'a b:80'), ('--to', 'x' * 400 + ':80'), ('--listen', 'here'), ('--listen', '127.0.0.1:99999'),
    ('--listen', '127.0.0.1')])
def test_value_that_makes_no_sense_is_named(start, option, value):
    done = start({option: value})
    assert done.returncode == 1 and done.stdout == ''
    assert ('cannot listen on' if option == '--listen' else option) in done.stderr and value in done.stderr


@pytest.mark.parametrize('option', ['--cert', '--key', '--roots'])
@pytest.mark.parametrize('content', [None, 'not PEM\n'], ids=['missing', 'not PEM'])
def test_file_that_cannot_be_used_is_named(start, tmp_path, option, content):
    path = tmp_path / 'file.pem'
    if content:
        path.write_text(content)
    done = start({option: str(path)})
    assert done.returncode == 1 and str(path) in done.stderr and done.stdout == ''


def test_key_of_another_certificate_is_refused(start, pki):
    other = pki.identity('default', 'other')
    done = start({'--key': other.key})
    assert done.returncode == 1 and other.key in done.stderr


def test_address_in_use_is_named(start):
    with net.listen(net.new_ip(), 0) as taken:
        where = '%s:%d' % taken.getsockname()
        done = start({'--listen': where})
    assert done.returncode == 1
    assert 'cannot listen on %s: Address already in use' % where in done.stderr


# ---- what it says when there is no tunnel ----

def fails(cli, via, identity, why, to=VIP):
    """A connection is closed without a byte, and the reason is printed."""
    one = cli(via, identity, to=to)
    assert closes(one)
    net.wait_for(lambda: why in one.said, what='%r in %r' % (why, one.said))
    assert 'no tunnel to %s through ' % to in one.said


def test_nobody_at_the_waypoint(cli, curl):
    fails(cli, net.new_ip(), curl, 'Connection refused')


def test_waypoint_that_no_route_leads_to(cli, curl):
    fails(cli, '255.255.255.255', curl, 'unreachable')


def test_service_that_is_not_served(cli, waypoint, curl):
    fails(cli, waypoint.ip, curl, 'CONNECT was refused', to='10.96.9.9:80')


def test_certificate_that_has_expired_is_refused_at_the_start(start, pki):
    mine = pki.expired('default', 'curl')
    done = start({'--cert': mine.cert, '--key': mine.key})
    assert done.returncode == 1 and mine.cert in done.stderr and 'expired' in done.stderr


@pytest.mark.parametrize('who', ['foreign_ca', 'foreign_domain'])
def test_certificate_that_the_waypoint_does_not_take(cli, waypoint, pki, who):
    identity = getattr(pki, who)('default', 'curl')
    one = cli(waypoint.ip, identity, to=VIP)
    assert closes(one)
    net.wait_for(lambda: 'no tunnel to %s through %s:15008: ' % (VIP, waypoint.ip) in one.said, what='the reason')
    assert waypoint.app.connections == 0


@pytest.mark.parametrize('who', ['expired', 'foreign_ca', 'foreign_domain'])
def test_waypoint_that_cannot_prove_itself(cli, stopping, new_tcp_origin, pki, curl, who):
    app = new_tcp_origin('echo')
    stopping.append(hbone.CapturedPod(app.ip, getattr(pki, who)('data', 'echo')))
    one = cli(app.ip, curl, to=app.address)
    assert closes(one)
    net.wait_for(lambda: 'no tunnel to' in one.said, what='the reason')
    assert app.connections == 0 and stopping[1].connects == []


def test_what_answers_without_tls_is_no_waypoint(cli, new_tcp_origin, curl):
    app = new_tcp_origin('mail', greeting=b'220 no TLS here\r\n')
    one = cli(app.address, curl, to=VIP)
    assert closes(one)
    net.wait_for(lambda: 'no tunnel to' in one.said, what='the reason')


# ---- SOCKS 5 ----

V4 = b'\x01' + socket.inet_aton('10.96.0.2') + struct.pack('>H', 9000)
V6 = b'\x04' + socket.inet_pton(socket.AF_INET6, 'fd00:96::2') + struct.pack('>H', 9000)


def domain(authority):
    name, _, port = authority.rpartition(':')
    return b'\x03' + bytes([len(name)]) + name.encode() + struct.pack('>H', int(port))


def socks(sock, target, command=1):
    """The code of the reply; 0: the tunnel is open."""
    sock.sendall(b'\x05\x01\x00')
    assert receive(sock, 2) == b'\x05\x00'
    sock.sendall(b'\x05%c\x00%s' % (command, target))
    reply = receive(sock, 10)
    assert len(reply) == 10 and reply[0] == 5 and reply[2:4] == b'\0\x01'
    return reply[1]


TARGETS = {'IPv4': V4, 'IPv6': V6, 'name': domain(NAME), 'IPv4 as a name': domain(VIP)}


@pytest.mark.parametrize('target', TARGETS.values(), ids=TARGETS)
def test_socks_reaches_every_form_of_address(cli, waypoint, curl, target):
    with cli(waypoint.ip, curl).connect() as sock:
        assert socks(sock, target) == 0
        assert echoes(sock)


def test_socks_messages_may_come_byte_by_byte_and_with_what_follows(cli, waypoint, curl):
    one = cli(waypoint.ip, curl)
    with one.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b'\x05\x02\x01\x00' + b'\x05\x01\x00' + domain(NAME) + b'words':
            sock.sendall(bytes([byte]))
        assert receive(sock, 17) == b'\x05\x00' + b'\x05\x00\x00\x01' + bytes(6) + b'words'
    with one.connect() as sock:
        sock.sendall(b'\x05\x01\x00' + b'\x05\x01\x00' + V4 + b'words')
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock)[12:] == b'wordsbye'


@pytest.mark.parametrize('target, code', [
    (domain('nobody.nowhere.svc:80'), 5), (b'\x01\x0a\x60\x09\x09\0\x50', 5), (domain('a b:80'), 8), (domain('x:0'), 8),
    (b'\x01\x0a\x60\0\x02\0\0', 8), (b'\x09\x0a\x60\0\x02\x23\x28', 8), (b'\x03\0\x23\x28', 8)],
    ids=['name not served', 'address not served', 'not a name', 'name with port 0', 'port 0', 'unknown kind', 'empty name'])
def test_socks_says_why_there_is_no_tunnel(cli, waypoint, curl, target, code):
    with cli(waypoint.ip, curl).connect() as sock:
        assert socks(sock, target) == code
        assert is_closed(sock)


@pytest.mark.parametrize('command', [2, 3, 0, 255], ids=['BIND', 'UDP ASSOCIATE', '0', '255'])
def test_socks_commands_other_than_connect_are_refused(cli, waypoint, curl, command):
    with cli(waypoint.ip, curl).connect() as sock:
        assert socks(sock, V4, command) == 7
        assert is_closed(sock)


def test_socks_reply_tells_refused_from_unreachable(cli, curl):
    for via, code in ((net.new_ip(), 5), ('255.255.255.255', 4)):
        with cli(via, curl).connect() as sock:
            assert socks(sock, V4) == code


def test_socks_without_a_method_that_we_have_is_refused(cli, waypoint, curl):
    one = cli(waypoint.ip, curl)
    with one.connect() as sock:
        sock.sendall(b'\x05\x02\x01\x02')
        assert receive(sock, 2) == b'\x05\xff' and is_closed(sock)
    with one.connect() as sock:
        sock.sendall(b'\x05\x00')
        assert receive(sock, 2) == b'\x05\xff' and is_closed(sock)


@pytest.mark.parametrize('words', [b'\x04\x01\0\x50\x7f\0\0\x01\0', b'GET / HTTP/1.1\r\n\r\n', b'\0' * 2000])
def test_what_is_not_socks_5_is_closed(cli, waypoint, curl, words):
    one = cli(waypoint.ip, curl)
    with one.connect() as sock:
        sock.sendall(words)
        assert is_closed(sock)
    assert 'does not speak SOCKS 5' in one.said
    with one.connect() as sock:
        assert socks(sock, V4) == 0 and echoes(sock)


@pytest.mark.parametrize('part', [b'', b'\x05', b'\x05\x05\0', b'\x05\x01\0\x05\x01', b'\x05\x01\0\x05\x01\0\x03\xff' + b'x' * 9])
def test_client_that_leaves_within_socks_disturbs_nobody(cli, waypoint, curl, part):
    one = cli(waypoint.ip, curl)
    with one.connect() as sock:
        sock.sendall(part)
    with one.connect() as sock:
        assert socks(sock, V4) == 0 and echoes(sock)


# ---- connections ----

def test_client_may_end_first(cli, waypoint, curl):
    with cli(waypoint.ip, curl, to=VIP).connect() as sock:
        sock.sendall(b'words ')
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b'words bye'


def test_server_may_end_first(cli, cairn, stopping, curl):
    class FirstToEnd(origin.TcpOrigin):
        def handle(self, sock, number):
            sock.sendall(b'all I had')
            sock.shutdown(socket.SHUT_WR)
            self.received.append(rest(sock))
            sock.close()
    app = FirstToEnd('first')
    stopping.append(app)
    one = cairn(proxy.cluster('echo.data:9000', proxy.endpoint(app), protocol='tcp') +
                proxy.service('echo.data:9000', VIP, protocol='tcp'))
    with cli(one.ip, curl, to=VIP).connect() as sock:
        assert rest(sock) == b'all I had'
        sock.sendall(b'still heard')
        sock.shutdown(socket.SHUT_WR)
        net.wait_for(lambda: app.received == [b'still heard'], what='the words of the client')


def test_server_that_ends_both_directions_is_no_reset(cli, cairn, new_origin, curl):
    """A client that writes then must not lose what it has not read yet: gRPC's do, when a write fails."""
    waypoint = cairn(proxy.cluster('app.data:9080', proxy.endpoint(new_origin('app'))) + proxy.service('app.data:9080', '10.96.0.1:9080'))
    one = cli(waypoint.ip, curl, to='10.96.0.1:9080')
    with one.connect() as sock, one.connect() as later:
        for each in sock, later:
            each.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + b'\0\0\0\x04\0' + bytes(4) + b'\0\0\1\x06\0' + bytes(4) + b'x')
            assert b'\x07\0\0\0\0\0' in rest(each)  # GOAWAY: that was no PING
        for _ in range(3):
            sock.sendall(b'more')


def test_listening_on_ipv6(cli, waypoint, curl):
    with cli(waypoint.ip, curl, to=VIP, listen='[::1]:0').connect() as sock:
        assert echoes(sock)


def test_two_hundred_connections_at_once(cli, waypoint, curl):
    """More than one HTTP/2 session has streams for."""
    one = cli(waypoint.ip, curl, to=VIP)
    with contextlib.ExitStack() as stack:
        socks_ = [stack.enter_context(one.connect()) for _ in range(200)]
        for n, sock in enumerate(socks_):
            sock.sendall(b'connection %03d' % n)
        assert [receive(sock, 14) for sock in socks_] == [b'connection %03d' % n for n in range(200)]
        assert waypoint.count('cairn_tunnels_open') == 200
        assert 2 <= waypoint.count('cairn_hbone_connections') <= 4
        for sock in socks_:
            sock.shutdown(socket.SHUT_WR)
        assert {rest(sock) for sock in socks_} == {b'bye'}
    net.wait_for(lambda: waypoint.count('cairn_tunnels_open') == 0, what='all of them to end')


def test_megabytes_both_ways_on_many_connections(cli, waypoint, curl):
    one, data, wrong = cli(waypoint.ip, curl, to=VIP), bytes(range(256)) * 4096, []

    def both_ways():
        with one.connect() as sock:
            def send():
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            sender = threading.Thread(target=send)
            sender.start()
            if rest(sock) != data + b'bye':
                wrong.append('not what was sent')
            sender.join()
    threads = [threading.Thread(target=both_ways) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)


def test_waypoint_that_comes_back_is_used_again(cli, waypoint, curl):
    one = cli(waypoint.ip, curl, to=VIP)
    with one.connect() as before:
        assert echoes(before)
        before.shutdown(socket.SHUT_WR)
        assert rest(before) == b'bye'
    assert waypoint.stop() == ''
    assert closes(one)
    waypoint.start()
    for _ in range(3):
        with one.connect() as after:
            assert echoes(after)


def test_waypoint_that_dies_ends_its_connections(cli, waypoint, curl):
    one = cli(waypoint.ip, curl, to=VIP)
    waypoint.expect_crash = True
    with one.connect() as sock:
        assert echoes(sock)
        for pid in [waypoint.process.pid, *waypoint.workers()]:
            os.kill(pid, signal.SIGKILL)
        assert is_closed(sock)
    waypoint.process.wait(10)


def test_it_ends_in_order_with_connections_open(cli, waypoint, curl):
    one = cli(waypoint.ip, curl, to=VIP)
    with one.connect() as sock:
        assert echoes(sock)
        one.process.terminate()
        assert one.process.wait(10) == 0
        assert is_closed(sock)
    net.wait_for(lambda: waypoint.count('cairn_tunnels_open') == 0, what='the tunnel to go')
