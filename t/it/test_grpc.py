# SPDX-License-Identifier: Apache-2.0
"""gRPC through the waypoint: grpcio on both sides, its streams, trailers, deadlines, cancellation and large messages."""

import queue

import grpc
import pytest

from peers import grpcs, net, proxy, tunnel_cli

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'


def reviews(*endpoints, body='', **settings):
    return (proxy.cluster(REVIEWS, *endpoints, protocol=settings.get('protocol', 'grpc')) +
            proxy.service(REVIEWS, VIP, body, **{'protocol': 'grpc', **settings}))


@pytest.fixture
def app(stopping):
    stopping.append(grpcs.GrpcOrigin('reviews-v1'))
    return stopping[-1]


@pytest.fixture
def waypoint(cairn, app):
    return cairn(reviews(proxy.endpoint(app)))


@pytest.fixture
def dial(builddir, stopping, curl):
    """dial(waypoint) -> a gRPC client whose connection goes through a tunnel of its own."""
    def make(waypoint):
        stopping.append(tunnel_cli.TunnelCli(builddir, waypoint.ip, curl, to=VIP))
        stopping.append(grpcs.Client(stopping[-1].address))
        return stopping[-1]
    return make


@pytest.fixture
def client(waypoint, dial):
    return dial(waypoint)


def failure(call, *words, **options):
    with pytest.raises(grpc.RpcError) as caught:
        answer = call(*words, **options)
        list(answer)
    return caught.value


# ---- the four kinds ----

def test_unary_call_is_answered_with_its_trailers(client, app):
    answer, call = client('Echo').with_call(b'hello', metadata=[('x-mine', 'kept'), ('x-mine-bin', b'\x00\xff')], timeout=10)
    assert answer == b'hello'
    assert dict(call.trailing_metadata())['x-mine'] == 'kept'
    assert dict(call.trailing_metadata())['x-mine-bin'] == b'\x00\xff'
    assert app.metadata[0]['x-mine'] == 'kept'


def test_all_kinds_of_streams_pass(client):
    assert client('Count')(iter([b'a', b'', b'c' * 100000]), timeout=10) == b'3'
    assert list(client('Repeat')(b'50 times', timeout=10)) == [b'50 times'] * 50
    assert list(client('Talk')(iter([b'a', b'b', b'c']), timeout=10)) == [b'a', b'b', b'c']


def test_messages_pass_one_by_one_while_both_sides_wait(client):
    asked = queue.Queue()
    answers = client('Talk')(iter(asked.get, None), timeout=20)
    for i in range(30):
        asked.put(b'%d' % i)
        assert next(answers) == b'%d' % i
    asked.put(None)
    assert list(answers) == []
    assert answers.code() == grpc.StatusCode.OK


@pytest.mark.parametrize('size', [1 << 20, 16 << 20])
def test_large_messages_pass_in_both_directions(client, size):
    message = bytes(range(256)) * (size // 256)
    assert client('Echo')(message, timeout=60) == message


def test_a_hundred_calls_share_connections(client, waypoint):
    calls = [client('Echo').future(b'%d' % i, timeout=30) for i in range(100)]
    assert [call.result() for call in calls] == [b'%d' % i for i in range(100)]
    net.wait_for(lambda: waypoint.count('istio_requests_total', grpc_response_status='0') == 100, what='100 calls counted')


# ---- failures ----

@pytest.mark.parametrize('method', ['Fail', 'FailLate'])
@pytest.mark.parametrize('code, details', [(5, 'not here'), (8, 'gr\u00f6\u00dfer als 100%'), (16, '')])
def test_status_and_details_of_the_service_pass(client, waypoint, method, code, details):
    e = failure(client(method), ('%d %s' % (code, details)).encode(), timeout=10)
    assert (e.code(), e.details()) == (grpcs.CODES[code], details)
    assert dict(e.trailing_metadata())['x-why'] == 'asked'
    net.wait_for(lambda: waypoint.count('istio_requests_total', grpc_response_status=str(code), response_code='200',
                                        request_protocol='grpc') == 1, what='the call counted')


def test_unknown_method_is_the_services_own_answer(client):
    assert failure(client('Missing'), b'', timeout=10).code() == grpc.StatusCode.UNIMPLEMENTED


def test_denied_call_gets_a_status(waypoint, dial, app):
    policy = 'authz { policy bookinfo/deny deny { rule { to { paths /test.Service/Fail; } } } }'
    waypoint.reload(reviews(proxy.endpoint(app), body=policy))
    client = dial(waypoint)
    e = failure(client('Fail'), b'5', timeout=10)
    assert (e.code(), e.details()) == (grpc.StatusCode.PERMISSION_DENIED, 'RBAC: access denied')
    assert client('Echo')(b'other', timeout=10) == b'other'


@pytest.mark.parametrize('body, cluster, status, code', [
    ('route other { match { path prefix /other; } backend %s; }' % REVIEWS, {}, grpc.StatusCode.UNIMPLEMENTED, 404),
    ('route gone { backend nowhere; }', {}, grpc.StatusCode.UNAVAILABLE, 503),
    ('rate_limit all { limit 1 per=1d; }', {}, grpc.StatusCode.UNAVAILABLE, 429),
    ('', {'breaker': 'max_requests=0'}, grpc.StatusCode.UNAVAILABLE, 503),
    ('route all { fault abort 400 percent=100; backend %s; }' % REVIEWS, {}, grpc.StatusCode.INTERNAL, 400),
    ('route all { fault abort grpc=10 percent=100; backend %s; }' % REVIEWS, {}, grpc.StatusCode.ABORTED, 200),
    ('route all { direct_response 401 "who are you"; }', {}, grpc.StatusCode.UNAUTHENTICATED, 401),
], ids=['no route', 'no cluster', 'rate limit', 'breaker', 'fault', 'fault with a status', 'direct response'])
def test_local_replies_are_statuses(cairn, app, dial, body, cluster, status, code):
    waypoint = cairn(reviews(proxy.endpoint(app), body=body).replace('cluster %s {' % REVIEWS, 'cluster %s {%s' % (
        REVIEWS, ''.join('%s %s; ' % pair for pair in cluster.items())), 1))
    client = dial(waypoint)
    if code == 429:
        assert client('Echo')(b'first', timeout=10) == b'first'
    e = failure(client('Echo'), b'x', timeout=10)
    assert e.code() == status
    net.wait_for(lambda: waypoint.count('istio_requests_total', request_protocol='grpc', response_code='200',
                                        grpc_response_status=str(status.value[0])) == 1, what='the call counted')


def test_failure_without_messages_is_one_head(waypoint, dial, app, curl):
    """Trailers-only, the service's as the waypoint's own."""
    policy = 'authz { policy bookinfo/deny deny { rule { to { paths /test.Service/Echo; } } } }'
    waypoint.reload(reviews(proxy.endpoint(app), body=policy))
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        for method, status in (('Missing', '12'), ('Echo', '7')):
            call = http.open('POST', '/test.Service/' + method, [('content-type', 'application/grpc'), ('te', 'trailers')])
            answer = call.wait()
            assert (call.frames, answer.status, answer.header('grpc-status')) == (['HEADERS+END_STREAM'], 200, status)
            assert answer.header('content-type').startswith('application/grpc')


def test_without_a_pod_calls_are_unavailable(cairn, dial):
    e = failure(dial(cairn(reviews()))('Echo'), b'', timeout=10)
    assert (e.code(), e.details()) == (grpc.StatusCode.UNAVAILABLE, 'no healthy upstream')


def test_pod_that_dies_in_the_middle_of_a_stream_fails_it(client, app):
    answers = client('Hang')(iter([]), timeout=20)
    assert app.hanging.wait(10)
    app.server.stop(None)  # its connections end at once
    with pytest.raises(grpc.RpcError) as caught:
        list(answers)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED)


# ---- deadlines and cancellation ----

def test_deadline_reaches_the_service_and_is_enforced(client, app, waypoint):
    client('Echo')(b'x', timeout=100)
    assert 90 < app.remaining[-1] <= 100
    e = failure(client('Hang'), iter([]), timeout=0.3)
    # the client's own clock, or the waypoint's answer if that is there first
    assert e.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
    assert app.cancelled.wait(10)


def test_waypoint_ends_calls_whose_deadline_is_over(waypoint, app, curl):
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        answer = http.request('POST', '/test.Service/Hang', timeout=20.0, headers={
            'content-type': 'application/grpc', 'te': 'trailers', 'grpc-timeout': '200m'})
    assert (answer.status, answer.header('grpc-status'), answer.header('grpc-message')) == (
        200, '14', 'upstream request timeout')
    line = waypoint.access(1)[0]
    assert (line['response_flags'], line['response_code_details']) == ('UT', 'response_timeout')


def test_deadline_in_the_middle_of_a_stream_breaks_it_off(waypoint, app, curl):
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        call = http.open('POST', '/test.Service/Talk', [('content-type', 'application/grpc'), ('te', 'trailers'),
                                                        ('grpc-timeout', '500m')], end=False)
        call.send(b'\0\0\0\0\5hello')
        http.until(lambda: bytes(call.body) == b'\0\0\0\0\5hello', what='the echo')
        assert call.wait(20.0).reset_code is not None
    line = waypoint.access(1)[0]
    assert (line['response_flags'], line['response_code'], line['response_code_details']) == ('UT', 200, 'response_timeout')


def test_cancelled_call_is_cancelled_at_the_service(client, app, waypoint):
    answers = client('Hang')(iter([b'x']), timeout=30)
    assert app.hanging.wait(10)
    answers.cancel()
    assert app.cancelled.wait(10)
    line = waypoint.access(1)[0]
    assert (line['response_flags'], line['response_code_details']) == ('DR', 'http2.remote_reset')


# ---- counted ----

def test_messages_are_counted_while_a_stream_runs(client, waypoint):
    asked = queue.Queue()
    answers = client('Talk')(iter(asked.get, None), timeout=60)
    for _ in range(7):
        asked.put(b'm' * 20000)
        next(answers)
    net.wait_for(lambda: waypoint.count('istio_request_messages_total') == 7 and
                 waypoint.count('istio_response_messages_total') == 7, 20, what='a report of the stream')
    assert waypoint.count('istio_requests_total') == 0
    asked.put(b'')
    assert next(answers) == b''
    asked.put(None)
    assert list(answers) == []
    net.wait_for(lambda: waypoint.count('istio_requests_total') == 1, what='the end of the stream')
    assert (waypoint.count('istio_request_messages_total'), waypoint.count('istio_response_messages_total')) == (8, 8)
    labels = next(name for name in waypoint.metrics() if name.startswith('istio_request_messages_total{'))
    assert labels.count('="') == 20 and labels.endswith('destination_cluster="unknown"}')


def test_captured_pod_serves_grpc(cairn, app, capture, dial):
    pod = capture(app, 'bookinfo', 'reviews')
    client = dial(cairn(reviews(proxy.endpoint(app, pod=pod))))
    assert list(client('Talk')(iter([b'a', b'b']), timeout=10)) == [b'a', b'b']
