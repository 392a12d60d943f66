# SPDX-License-Identifier: Apache-2.0
"""Hostile HTTP/1.1 inside of a tunnel: each request is refused clearly, and only it.

After every test the waypoint must be as before: the same worker, no tunnel
left open, and a normal request works.
"""

import pytest

from peers import envoy as envoys
from peers import hostile, net, proxy
from peers.http import Ended, Http, Plain

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'


@pytest.fixture(scope='module')
def shared(guarded, guarded_origin):
    """One waypoint for the whole file."""
    app = guarded_origin('reviews-v1')
    one = guarded(proxy.cluster(REVIEWS, proxy.endpoint(app)) + proxy.service(REVIEWS, VIP))
    one.app = app
    return one


@pytest.fixture
def waypoint(shared, curl, unharmed):
    with unharmed(shared, curl, VIP):
        yield shared


def whole_answer(stream, raw):
    """The one response to raw, and what came behind it until the end."""
    http = Http(stream)
    try:
        stream.send(raw)
    except (ConnectionError, OSError):
        pass  # answered and closed before all of it was sent
    response = http.response()
    return response, http.rest()


@pytest.mark.parametrize('case', hostile.CASES, ids=lambda case: case.name)
def test_refused_with_a_clear_answer_and_nothing_behind_it_is_read(waypoint, curl, case):
    seen = len(waypoint.app.requests)
    with waypoint.connection(curl) as connection:
        steady = connection.connect(VIP)
        answer, rest = whole_answer(connection.connect(VIP), case.raw + hostile.BEHIND)
        assert (answer.status, answer.body, rest) == (case.status, case.body, b'')
        assert answer.header('connection') == 'close'
        assert steady.request(path='/steady').json()['path'] == '/steady'
    assert [r.path for r in waypoint.app.requests[seen:]] == ['/steady']


def test_each_refusal_is_logged_and_counted_once_with_its_reason(cairn, new_origin, curl):
    app = new_origin('reviews-v1')
    one = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app)) + proxy.service(REVIEWS, VIP))
    with one.connection(curl) as connection:
        for case in hostile.CASES:
            whole_answer(connection.connect(VIP), case.raw + hostile.BEHIND)
        connection.connect(VIP).request(path='/last')
    lines = one.access(len(hostile.CASES) + 1)
    said = [(line['response_code'], line['response_code_details'], line['response_flags']) for line in lines]
    assert said[:-1] == [(case.status, case.details, case.flags) for case in hostile.CASES]
    assert said[-1] == (200, 'via_upstream', '-')
    assert one.count('istio_requests_total') == len(said)
    assert one.count('istio_requests_total', response_flags='DPE') == sum(c.flags == 'DPE' for c in hostile.CASES)
    assert one.count('cairn_hbone_tunnels_total') == len(said)


def test_differences_from_envoy_are_the_ones_that_are_named(tmp_path, stopping, new_origin):
    """The table's column `envoy` is what a real one does."""
    if not envoys.binary():
        pytest.skip('no Envoy')
    app = new_origin('reviews-v1')
    peer = envoys.inner(tmp_path / 'envoy', app)
    stopping.append(peer)
    wrong = []
    for case in hostile.CASES:
        stream = Plain(*peer.address)
        try:
            stream.send(case.raw)
            status = Http(stream).response(timeout=5.0).status
        except (Ended, OSError) as e:
            status = repr(e)
        finally:
            stream.close()
        if status != case.envoy:
            wrong.append('%s: Envoy says %s, the table %s' % (case.name, status, case.envoy))
        if case.envoy != case.status and not case.why:
            wrong.append('%s: a difference without a reason' % case.name)
    assert wrong == []


def test_heads_just_within_the_limits_pass(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        assert tunnel.request(headers=[('X-%d' % i, '1') for i in range(99)]).status == 200
        assert tunnel.request(headers={'X': 'x' * 60000}).status == 200


def test_bad_path_is_refused_but_its_framing_is_in_no_doubt(waypoint, curl):
    seen = len(waypoint.app.requests)
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        assert tunnel.request(path='/a%00b').status == 400
        assert tunnel.request(path='/next').status == 200
    assert [r.path for r in waypoint.app.requests[seen:]] == ['/next']


def test_head_without_end_is_refused_at_the_limit(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        answer, rest = whole_answer(tunnel, b'GET / HTTP/1.1\r\nHost: a\r\n' + b'X: ' + b'x' * (1 << 20))
        assert (answer.status, rest) == (431, b'')


@pytest.mark.parametrize('raw', [b'', b'GET', b'GET / HTTP/1.1\r\nHost: a\r\n',
                                 b'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf',
                                 b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel'],
                         ids=['nothing', 'a method', 'a head', 'half a body', 'half a chunk'])
def test_client_that_ends_within_a_request_is_gone_without_an_answer(waypoint, curl, raw):
    seen = len(waypoint.app.requests)
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        if raw:
            tunnel.send(raw)
        tunnel.half_close()
        try:
            assert tunnel.recv_all() == b''
        except ConnectionResetError:
            pass
        assert connection.connect(VIP).request(path='/next').status == 200
    assert [r.path for r in waypoint.app.requests[seen:]] == ['/next']


def test_chunk_extensions_and_trailers_are_bounded(waypoint, curl):
    with waypoint.connection(curl) as connection:
        for body in (b'5;' + b'e' * (1 << 20) + b'\r\n', b'0\r\n' + b'X: 1\r\n' * 20000, b'0\r\nX: ' + b't' * (1 << 20)):
            tunnel = connection.connect(VIP)
            answer, rest = whole_answer(tunnel, hostile.chunked(body))
            assert answer.status in (400, 431)
            assert rest == b''


def test_pipelined_flood_is_answered_in_order_with_bounded_memory(waypoint, curl):
    """Answers are not read while requests are sent: the sender must be stopped, not stored."""
    before = waypoint.resident()
    with waypoint.connection(curl) as connection:
        tunnel = connection.open(VIP)
        tunnel.hold = True
        tunnel.wait_response()
        request = b'GET /bytes/10000 HTTP/1.1\r\nHost: a\r\n\r\n'
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 << 20:
                tunnel.send(request * 1000, timeout=1.0)
                sent += 1000 * len(request)
        assert waypoint.resident() - before < 32 << 20
        tunnel.reset()
        assert connection.connect(VIP).request().status == 200
