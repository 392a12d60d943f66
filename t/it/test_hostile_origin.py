# SPDX-License-Identifier: Apache-2.0
"""Pods that misbehave: the client gets a clear answer, and nobody else's response.

Each pod here says fixed bytes to whatever it is asked.  After every test the
waypoint must be as before, and a healthy service beside it works.
"""

import itertools
import threading

import pytest

from peers import net, origin, proxy
from peers.http import Ended

VIP, HEALTHY = '10.96.0.1:9080', '10.96.0.2:9080'
ODD, REVIEWS = 'odd.bookinfo:9080', 'reviews.bookinfo:9080'
RESET = object()
NO_ANSWER = b'upstream connect error or disconnect/reset before headers. reset reason: '


class Script(origin.Origin):
    """Says `words` (bytes, or pieces of them, RESET at last for a RST) to each request, then closes unless `keep`."""
    words, keep = b'', False

    def handle(self, sock, number):
        try:
            while True:
                head = b''
                while b'\r\n\r\n' not in head:
                    data = sock.recv(65536)
                    if not data:
                        return
                    head += data
                self.requests.append(head)
                for piece in [self.words] if isinstance(self.words, bytes) else self.words:
                    if piece is RESET:
                        net.reset(sock)
                        return
                    sock.sendall(piece)
                if not self.keep:
                    return
        except OSError:
            pass
        finally:
            sock.close()


@pytest.fixture(scope='module')
def shared(guarded, guarded_origin):
    odd, app = guarded_origin('odd', Script), guarded_origin('reviews-v1')
    body = (proxy.cluster(ODD, proxy.endpoint(odd)) + proxy.service(ODD, VIP) +
            proxy.cluster(REVIEWS, proxy.endpoint(app)) + proxy.service(REVIEWS, HEALTHY))
    one = guarded(body)
    one.odd, one.app, one.usual = odd, app, body
    return one


@pytest.fixture
def waypoint(shared, curl, unharmed):
    shared.odd.words, shared.odd.keep = b'', False
    with unharmed(shared, curl, HEALTHY):
        yield shared


paths = ('/%d' % n for n in itertools.count())


def ok(length, body=b''):
    return b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n' % length + body


BAD_ANSWERS = {
    'garbage': b'SSH-2.0-OpenSSH_9.2\r\n\r\n',
    'zeros': b'\0' * 1000,
    'TLS': b'\x15\x03\x03\0\x02\x02\x28' * 20,
    'HTTP/2': b'\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\x01\0\0\0\x02\0\0\0\0',
    'a status of two digits': b'HTTP/1.1 99 Low\r\n\r\n',
    'a status in words': b'HTTP/1.1 OK\r\n\r\n',
    'another protocol': b'HTTP/3.0 200 OK\r\ncontent-length: 0\r\n\r\n',
    'length and chunked': b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    'two lengths': b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!',
    'one length twice': b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello',
    'negative length': b'HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello',
    'xchunked': b'HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n',
    'folded line': b'HTTP/1.1 200 OK\r\nx: 1\r\n 2\r\ncontent-length: 0\r\n\r\n',
    'NUL in a value': b'HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n',
    'too many headers': b'HTTP/1.1 200 OK\r\n' + b'x: 1\r\n' * 120 + b'content-length: 0\r\n\r\n',
    '300 KiB of headers': b'HTTP/1.1 200 OK\r\nx: ' + b'x' * (300 << 10) + b'\r\ncontent-length: 0\r\n\r\n',
    'the end inside the head': b'HTTP/1.1 200 OK\r\ncontent-le',
    'switching protocols unasked': b'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n',
}


@pytest.mark.parametrize('words', BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_answer_that_is_none_becomes_502(waypoint, curl, words):
    path, waypoint.odd.words = next(paths), words
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        answer = tunnel.request(path=path)
        assert (answer.status, answer.body) == (502, NO_ANSWER + b'protocol error')
        waypoint.odd.words, waypoint.odd.keep = ok(2, b'ok'), True
        assert tunnel.request(path=path + '/next').body == b'ok', 'the tunnel is kept'


@pytest.mark.parametrize('words', [b'', [RESET]], ids=['FIN', 'RST'])
def test_no_answer_at_all_becomes_503(waypoint, curl, words):
    waypoint.odd.words = words
    answer = waypoint.request(curl, VIP, path=next(paths))
    assert (answer.status, answer.body) == (503, NO_ANSWER + b'connection termination')


BROKEN_BODIES = {
    'length, FIN': [ok(1000, b'0123456789')],
    'chunked, FIN': [b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n0123456789'],
    'chunked, no last chunk': [b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n'],
    'chunk size too large': [b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n', b'f' * 17 + b'\r\n'],
    'chunk size not a number': [b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n', b'zz\r\n'],
    'endless chunk size line': [b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', b'5;' + b'e' * (1 << 20)],
    'endless trailers': [b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n', b'x: 1\r\n' * 200000],
}


@pytest.mark.parametrize('words', BROKEN_BODIES.values(), ids=BROKEN_BODIES)
def test_body_that_breaks_off_is_not_passed_for_a_whole_one(waypoint, curl, words):
    waypoint.odd.words = words
    with waypoint.connection(curl) as connection:
        with pytest.raises((Ended, ConnectionResetError)):
            connection.connect(VIP).request(path=next(paths))
        assert connection.connect(HEALTHY).request().status == 200


BEFORE, AFTER = 'upstream_reset_before_response_started{%s}', 'upstream_reset_after_response_started{%s}'
LOGGED = [(502, 'UPE', BEFORE % 'protocol_error', [words]) for words in BAD_ANSWERS.values()] + \
    [(503, 'UC', BEFORE % 'connection_termination', words) for words in ([], [RESET])] + \
    [(200, 'UPE', AFTER % 'protocol_error', words) for words in BROKEN_BODIES.values()]


def test_each_failure_is_logged_and_counted_once_with_its_reason(cairn, stopping, curl):
    odd = Script('odd')
    stopping.append(odd)
    one = cairn(proxy.cluster(ODD, proxy.endpoint(odd)) + proxy.service(ODD, VIP))
    with one.connection(curl) as connection:
        for _, _, _, odd.words in LOGGED:
            tunnel = connection.connect(VIP)
            tunnel.http.send()
            try:
                tunnel.http.response()
            except (Ended, ConnectionResetError):
                pass
    lines = one.access(len(LOGGED))
    assert [(line['response_code'], line['response_flags'], line['response_code_details']) for line in lines] == [
        case[:3] for case in LOGGED]
    assert one.count('istio_requests_total') == len(LOGGED)
    assert one.count('istio_requests_total', response_code='502') == len(BAD_ANSWERS)


@pytest.mark.parametrize('words', [
    ok(5, b'hello') + b'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen',
    ok(5, b'hello') + b'stolen',
    b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n' + ok(6, b'stolen'),
], ids=['a second response', 'more than its length', 'behind the last chunk'])
def test_bytes_behind_a_response_go_to_nobody(waypoint, curl, words):
    waypoint.odd.words, waypoint.odd.keep = words, True
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for _ in range(5):
            assert tunnel.request(path=next(paths)).body == b'hello'
        assert connection.connect(VIP).request(path=next(paths)).body == b'hello'


def test_idle_connection_that_speaks_is_closed_and_its_words_go_to_nobody(waypoint, curl):
    go, closed = threading.Event(), threading.Event()

    class Later(Script):
        def handle(self, sock, number):
            sock.recv(65536)
            sock.sendall(ok(5, b'first' if number == 1 else b'fresh'))
            if number == 1:
                go.wait(10.0)
                sock.sendall(ok(6, b'stolen'))
            while sock.recv(65536):
                pass
            closed.set()
            sock.close()

    with_later = Later('later', ip=net.new_ip())
    try:
        waypoint.reload(proxy.cluster(ODD, proxy.endpoint(with_later)) + proxy.service(ODD, VIP) +
                        proxy.cluster(REVIEWS, proxy.endpoint(waypoint.app)) + proxy.service(REVIEWS, HEALTHY))
        with waypoint.connection(curl) as connection:
            tunnel = connection.connect(VIP)
            assert tunnel.request(path=next(paths)).body == b'first'
            go.set()
            assert closed.wait(10.0)
            assert tunnel.request(path=next(paths)).body == b'fresh'
    finally:
        with_later.stop()
        waypoint.reload(waypoint.usual)


@pytest.mark.parametrize('status', [204, 304])
def test_body_where_none_may_be_is_dropped(waypoint, curl, status):
    waypoint.odd.words = b'HTTP/1.1 %d Status\r\ncontent-length: 6\r\n\r\nstolen' % status
    waypoint.odd.keep = True
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for _ in range(3):
            answer = tunnel.request(path=next(paths))
            assert (answer.status, answer.body) == (status, b'')


def test_body_behind_the_answer_to_head_is_dropped(waypoint, curl):
    waypoint.odd.words, waypoint.odd.keep = ok(6, b'stolen'), True
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for _ in range(3):
            answer = tunnel.request('HEAD', next(paths))
            assert (answer.status, answer.header('content-length')) == (200, '6')


def test_header_of_200_KiB_passes(waypoint, curl):
    waypoint.odd.words = b'HTTP/1.1 200 OK\r\nx: ' + b'x' * (200 << 10) + b'\r\ncontent-length: 0\r\n\r\n'
    assert len(waypoint.request(curl, VIP, path=next(paths)).header('x')) == 200 << 10


def endless(head, piece):
    yield head
    while True:
        yield piece


@pytest.mark.parametrize('head, piece', [
    (b'HTTP/1.1 200 OK\r\n', b'x: 1\r\n' * 1000),
    (b'HTTP/1.1 200 OK\r\nx: ', b'x' * 10000),
    (b'', b'H' * 10000),
    (b'', b'HTTP/1.1 100 Continue\r\n\r\n' * 1000),
    (b'', b'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n' * 1000),
], ids=['headers', 'one header', 'status line', '100', '103'])
def test_head_without_end_is_cut_off(waypoint, curl, head, piece):
    before = waypoint.resident()
    waypoint.odd.words = endless(head, piece)
    with waypoint.connection(curl) as connection:
        answer = connection.connect(VIP).request(path=next(paths))
        assert answer.status == 502
        assert len(answer.informational) <= 1000
        assert waypoint.resident() - before < 8 << 20


def test_body_without_end_is_stopped_by_the_reader_and_costs_little(waypoint, curl):
    """The pod could send for ever; a client that does not read holds it, and cannot hold memory."""
    before = waypoint.resident()
    sent = []

    def words():
        yield b'HTTP/1.1 200 OK\r\n\r\n'
        while True:
            sent.append(1)
            yield b'b' * 65536
    waypoint.odd.words = words()
    with waypoint.connection(curl, settings={}) as connection:
        tunnel = connection.open(VIP)
        tunnel.hold = True
        tunnel.wait_response()
        tunnel.http.send(path=next(paths))
        connection.until(lambda: len(tunnel.buffer) >= 65535, what='a window full')
        assert connection.connect(HEALTHY).request().status == 200
        assert waypoint.resident() - before < 2 << 20
        tunnel.reset()


def test_pod_that_answers_early_and_never_reads_stops_nobody(waypoint, curl):
    waypoint.odd.words, waypoint.odd.keep = ok(5, b'early'), False
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n' + b'x' * 1000)
        answer = tunnel.http.response()
        assert (answer.status, answer.body, answer.header('connection')) == (200, b'early', 'close')
        assert connection.connect(HEALTHY).request().status == 200
