# SPDX-License-Identifier: Apache-2.0
"""Clients of the health, metrics and admin listeners that are slow on purpose: bounded, and no others wait for them."""

import socket

import pytest

from peers import net, proxy, steady
from peers.http import Http, Plain

READY, METRICS, ADMIN = 15021, 15020, 15000
MOST = 256  # connections to one kind of listener
MIB = 1 << 20


@pytest.fixture(params=[300])
def waypoint(request, cairn, new_origin):
    """Its list of so many clusters is a page of some size."""
    app = new_origin('app')
    many = ''.join(proxy.cluster('c%d.x:1' % n, *('127.9.%d.%d:1' % (n % 250, k + 1) for k in range(20)))
                   for n in range(request.param))
    return cairn(steady.body(proxy.endpoint(app)) + many)


def ready(one):
    return Http(Plain(one.ip, READY)).request(path='/healthz/ready').status


def stopped(one, port, path):
    """Asks for it and reads nothing, with the least of a buffer."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(10)
    sock.connect((one.ip, port))
    sock.sendall(b'GET %s HTTP/1.1\r\nHost: x\r\n\r\n' % path.encode())
    return sock


def test_requests_that_are_never_whole_are_ended(waypoint):
    begun = [socket.create_connection((waypoint.ip, port), 10) for port in (READY, METRICS, ADMIN)]
    for sock in begun:
        sock.sendall(b'GET /healthz/ready HTTP/1.1\r\nHost: x\r\nx-slow: ')
    assert ready(waypoint) == 200
    for sock in begun:
        assert net.until_ended(sock, 60).startswith(b'HTTP/1.1 408 ')
        sock.close()


def test_clients_that_do_not_read_take_a_bounded_part(waypoint, builddir, curl):
    pid, = waypoint.workers()
    page = len(waypoint.get('/clusters').body)
    before = steady.resident_kib(pid)
    idle = [stopped(waypoint, ADMIN, '/clusters') for _ in range(MOST)]
    # Those beyond are refused: the last one is, once all others have been taken.
    beyond = stopped(waypoint, ADMIN, '/clusters')
    assert net.until_ended(beyond, 30) == b''
    grown = (steady.resident_kib(pid) - before) / 1024
    print('%d clients that do not read %.2f MiB each: %.0f MiB more' % (MOST, page / MIB, grown))
    assert page * MOST > 100 * MIB
    if 'sanitize' not in (builddir / 'cn_flags').read_text():  # which keep what was freed
        assert grown < 100
    assert ready(waypoint) == 200 and Http(Plain(waypoint.ip, METRICS)).request(path='/stats/prometheus').status == 200
    assert waypoint.request(curl, steady.VIP).status == 200
    for sock in [*idle, beyond]:
        net.reset(sock)
    net.wait_for(lambda: waypoint.get('/clusters').status == 200, 20.0, 'the page again')


@pytest.mark.slow
@pytest.mark.parametrize('waypoint', [3000], indirect=True)  # more than the system takes for a socket
def test_answer_that_is_not_taken_is_given_up(waypoint):
    """A client that reads again after half a minute finds the beginning."""
    length = len(waypoint.get('/clusters').body)
    sock, begun = stopped(waypoint, ADMIN, '/clusters'), socket.create_connection((waypoint.ip, ADMIN), 10)
    begun.sendall(b'GET /clusters HTTP/1.1\r\nHost: x\r\ncontent-length: 9\r\n\r\nx')  # and never the rest
    assert net.until_ended(begun, 90) == b''  # both began at the same time
    assert 0 < len(net.until_ended(sock, 30)) < length
