# SPDX-License-Identifier: Apache-2.0
"""max_memory: what traffic holds is bounded, whatever it holds it with; configuration is not traffic.

When it is used up new connections, tunnels and requests are refused, each in
its own words, what runs goes on, and what was freed can be used again.
"""

import socket
import ssl

import pytest

from peers import hbone, net, proxy, steady

from test_lifecycle import echo, pods  # noqa: F401

KIB, MIB = 1 << 10, 1 << 20
BUDGET = 2 * MIB
HEAD, LINE = 48 * KIB, 8 * KIB


def used(one):
    return one.count('cairn_worker_memory_bytes')


def refused(one, what):
    return one.count('cairn_memory_refused_total', what=what)


class Hogs:
    """Tunnels of one connection, each with a request that its pod does not answer."""

    def __init__(self, one, pod, identity):
        self.one, self.pod, self.connection, self.tunnels = one, pod, one.connection(identity), []

    def fill(self):
        """With large ones first, then with what still fits; the answer to a CONNECT that is refused at last."""
        for lines in (HEAD // LINE, 1, 0):
            while True:
                tunnel = self.connection.open(steady.VIP)
                tunnel.wait_response()
                if tunnel.status != 200:
                    break
                self.tunnels.append(tunnel)
                assert len(self.tunnels) < 10 * BUDGET // HEAD, 'memory of requests is not counted'
                if not self.hang(tunnel, lines) and lines:
                    break
        return tunnel

    def hang(self, tunnel, lines):
        """False: it was answered."""
        before = self.waiting()
        more = b''.join(b'x-%d: %s\r\n' % (i, b'v' * LINE) for i in range(lines))
        tunnel.send(b'GET /hang HTTP/1.1\r\nhost: reviews\r\n' + more + b'\r\n')

        def is_answered():
            self.connection.pump(0.01)
            return tunnel.buffer
        net.wait_for(lambda: is_answered() or self.waiting() > before, 10.0, 'the request at its pod, or an answer')
        return not tunnel.buffer

    def waiting(self):
        return sum(request.path == '/hang' for request in self.pod.requests)

    def close(self):
        self.connection.close()


@pytest.fixture
def full(cairn, new_origin, echo, curl):  # noqa: F811
    """A waypoint whose only worker has nothing left, with a stream and two tunnels from before."""
    pod = new_origin('reviews')
    body = steady.body(proxy.endpoint(pod), echo=echo)
    one = Full(cairn(body, workers=1, main='max_memory %d;' % BUDGET), pod, curl)
    yield one
    one.close()


class Full:
    def __init__(self, one, pod, curl):
        self.one, self.curl = one, curl
        self.connection = one.connection(curl)
        self.stream = self.connection.connect(steady.ECHO)
        self.speak(b'before')
        self.kept = self.connection.connect(steady.VIP)
        assert self.kept.request('GET', '/', host='reviews').status == 200
        self.h2 = self.connection.connect(steady.VIP).http2()
        assert self.h2.request('GET', '/', authority='reviews').status == 200
        self.quiet = one.resident()
        self.hogs = Hogs(one, pod, curl)
        self.answer = self.hogs.fill()

    def close(self):
        self.hogs.close()
        self.connection.close()

    def speak(self, text):
        self.stream.send(text)
        assert self.stream.recv() == text

    def empty(self):
        self.hogs.close()
        net.wait_for(lambda: used(self.one) < BUDGET / 2, 20.0, 'memory that is free again')


def test_a_new_tunnel_is_answered_503(full, builddir):
    assert full.answer.status == 503
    assert refused(full.one, 'tunnel') >= 1
    full.one.wait_log('in worker 0, max_memory is 2048 KiB: new connections, tunnels and requests are refused')
    held = net.wait_for(lambda: used(full.one) > BUDGET * 0.9 and used(full.one), 10.0, 'the metric')  # of each second
    print('%d requests held %d KiB of a budget of %d; the worker grew by %d KiB' % (
        len(full.hogs.tunnels), held // KIB, BUDGET // KIB, (full.one.resident() - full.quiet) // KIB))
    if 'address' not in (builddir / 'cn_flags').read_text():  # ASan keeps what was freed
        assert full.one.resident() - full.quiet < 2 * BUDGET


def test_a_new_request_of_an_old_tunnel_is_answered_503_om(full):
    before = refused(full.one, 'request')
    answer = full.kept.request('GET', '/', host='reviews')
    assert (answer.status, answer.body, answer.header('x-envoy-overloaded')) == (503, b'overloaded', 'true')
    said = net.wait_for(lambda: [line for line in full.one.access() if line['response_code'] == 503], 10.0, 'its line')[-1]
    assert (said['response_flags'], said['response_code_details']) == ('OM', 'overload')
    assert refused(full.one, 'request') == before + 1
    assert full.one.count('istio_requests_total', response_code='503', response_flags='OM') == before + 1


def test_a_grpc_call_is_resource_exhausted(full):
    answer = full.h2.request('POST', '/x.Y/Z', authority='reviews', headers=[('content-type', 'application/grpc')])
    assert (answer.status, answer.header('grpc-status'), answer.header('grpc-message')) == (200, '8', 'overloaded')


def test_a_new_connection_is_closed(full):
    others = []
    with pytest.raises((OSError, ssl.SSLError)):
        while len(others) < 3:  # a request is larger than what a connection begins with
            others.append(full.one.connection(full.curl))
    assert refused(full.one, 'connection') == 1
    for other in others:
        other.close()


def test_what_runs_goes_on_and_what_is_freed_can_be_used_again(full):
    full.speak(b'still')
    full.empty()
    full.one.wait_log('worker 0 has room again, after [0-9]+ refusals')
    assert full.kept.request('GET', '/', host='reviews').status == 200
    assert full.one.request(full.curl, steady.VIP).status == 200
    full.speak(b'after')


def test_a_head_that_goes_on_is_ended_by_a_full_budget(full):
    """Else each of the tunnels that are there could take request_head_size more."""
    full.kept.send(b'GET / HTTP/1.1\r\nhost: reviews\r\n')
    said = full.kept.recv_all()
    assert said.startswith(b'HTTP/1.1 503 ') and said.endswith(b'overloaded')


def test_handshakes_that_do_not_end_are_in_the_budget(cairn, pods, curl):  # noqa: F811
    """OpenSSL's memory is counted, too."""
    one = cairn(steady.body(*pods), workers=1, main='max_memory 1m; hbone_handshake_timeout 1m;')
    hello = client_hello()
    crowd = []
    try:
        while refused(one, 'connection') == 0:
            assert len(crowd) < 200, 'handshakes are not counted'
            crowd.append(socket.create_connection((one.ip, 15008)))
            crowd[-1].sendall(hello)
            crowd[-1].settimeout(10)
            try:
                crowd[-1].recv(1)
            except ConnectionResetError:
                pass
        held = net.wait_for(lambda: used(one), 10.0, 'the metric')
        print('%d handshakes that wait held %d KiB' % (len(crowd) - 1, held // KIB))
        assert held <= MIB + 100 * KIB
    finally:
        for sock in crowd:
            sock.close()
    net.wait_for(lambda: used(one) < MIB / 2, 20.0, 'memory that is free again')
    assert one.request(curl, steady.VIP).status == 200


def client_hello():
    """The first flight of a client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(['h2'])
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


def test_configuration_is_not_in_the_budget(cairn, pods, curl):  # noqa: F811
    """Nor is the reload from 2,000 services to twice that many."""
    def conf(n):
        return steady.body(*pods) + ''.join(
            proxy.cluster('s%d.x:1' % i, '127.1.1.1:1') + proxy.service('s%d.x:1' % i, '127.2.%d.%d:1' % (i >> 8, i & 255))
            for i in range(n))
    one = cairn(conf(2000), workers=1, main='max_memory 256k;')
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        assert tunnel.request('GET', '/', host='reviews').status == 200
        one.write(conf(4000))
        one.reload()
        assert tunnel.request('GET', '/', host='reviews').status == 200
        held = net.wait_for(lambda: used(one), 10.0, 'the metric')
        print('a tunnel and a request among 4,000 services: %d KiB' % (held // KIB))
        assert held < 192 * KIB
    assert [refused(one, what) for what in ('connection', 'tunnel', 'request')] == [0, 0, 0]
