# SPDX-License-Identifier: Apache-2.0
"""gRPC-Web, binary and text, before a gRPC service by grpcio."""

import base64
import struct

import pytest

from peers import grpcs, net, proxy

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'


@pytest.fixture
def app(stopping):
    stopping.append(grpcs.GrpcOrigin('reviews-v1'))
    return stopping[-1]


def reviews(*endpoints, body='', protocol='grpc'):
    return (proxy.cluster(REVIEWS, *endpoints, protocol=protocol) +
            proxy.service(REVIEWS, VIP, '    grpc_web on;\n' + body, protocol='grpc'))


@pytest.fixture
def waypoint(cairn, app):
    return cairn(reviews(proxy.endpoint(app)))


def framed(*messages):
    return b''.join(b'\0' + struct.pack('>I', len(m)) + m for m in messages)


def frames(body):
    """[(flags, bytes)] of a binary body."""
    found = []
    while body:
        flags, length = struct.unpack('>BI', body[:5])
        found.append((flags, body[5:5 + length]))
        assert len(found[-1][1]) == length
        body = body[5 + length:]
    return found


def decoded(text):
    """Base64 in groups, each padded by itself perhaps."""
    return b''.join(base64.b64decode(text[i:i + 4]) for i in range(0, len(text), 4))


def call(http, method, body, kind='', **headers):
    return http.request('POST', '/test.Service/' + method, {
        'content-type': 'application/grpc-web%s+proto' % kind, 'accept': 'application/grpc-web%s+proto' % kind,
        'x-grpc-web': '1', **headers}, body)


@pytest.mark.parametrize('client', ['HTTP/1.1', 'HTTP/2'])
@pytest.mark.parametrize('kind', ['', '-text'])
def test_calls_are_translated_both_ways(waypoint, app, curl, client, kind):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        http = tunnel.http2() if client == 'HTTP/2' else tunnel.http
        for size in (0, 1, 2, 3, 70000):
            message = bytes(range(256))[:size] if size < 256 else b'm' * size
            sent = framed(message)
            answer = call(http, 'Echo', base64.b64encode(sent) if kind else sent, kind, **{'x-mine': 'kept'})
            assert (answer.status, answer.header('content-type')) == (200, 'application/grpc-web%s+proto' % kind)
            body = decoded(answer.body) if kind else answer.body
            (flags, echoed), (trailer_flags, trailers) = frames(body)
            assert (flags, echoed, trailer_flags) == (0, message, 0x80)
            assert b'grpc-status:0\r\n' in trailers and b'x-mine:kept\r\n' in trailers
            assert answer.trailers == []
    assert app.metadata[0]['x-mine'] == 'kept'
    net.wait_for(lambda: waypoint.count('istio_requests_total', request_protocol='grpc', grpc_response_status='0') == 5,
                 what='the calls counted')
    assert waypoint.count('istio_request_messages_total') == 5
    assert waypoint.count('istio_response_messages_total') == 5


def test_text_comes_message_by_message_and_may_be_sent_so(waypoint, curl):
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        body = b''.join(base64.b64encode(part) for part in (framed(b'3 m')[:4], framed(b'3 m')[4:]))
        answer = call(http, 'Repeat', body, '-text')
    assert [one for _, one in frames(decoded(answer.body))][:3] == [b'3 m'] * 3


def test_failure_of_the_service_is_in_the_head_or_the_last_frame(waypoint, curl):
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        at_once = call(http, 'Fail', framed(b'5 not here'))
        assert (at_once.header('grpc-status'), at_once.header('grpc-message')) == ('5', 'not here')
        assert at_once.header('content-type') == 'application/grpc-web+proto'
        late = frames(call(http, 'FailLate', framed(b'5 not here')).body)
        assert late[0] == (0, b'one') and b'grpc-status:5\r\n' in late[1][1]


def test_local_replies_are_grpc_and_those_before_the_translation_are_not(cairn, curl):
    waypoint = cairn(reviews(body='authz { policy bookinfo/deny deny { rule { to { paths /test.Service/Fail; } } } }'))
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        answer = call(http, 'Echo', framed(b''))
        assert (answer.status, answer.header('grpc-status'), answer.header('content-type')) == (
            200, '14', 'application/grpc-web+proto')
        assert call(http, 'Fail', framed(b'')).status == 403


def test_broken_base64_is_refused(waypoint, app, curl):
    with waypoint.connection(curl) as connection:
        answer = call(connection.connect(VIP).http, 'Echo', b'!!!!', '-text')
        assert (answer.status, answer.body) == (400, b'Bad Request')
        assert call(connection.connect(VIP).http2(), 'Echo', b'AAAAA', '-text').status == 400
    assert not app.metadata


def test_what_is_not_grpc_passes_as_it_is(cairn, new_http2_origin, curl):
    plain = new_http2_origin('reviews-v1')
    waypoint = cairn(reviews(proxy.endpoint(plain), protocol='http2'))
    with waypoint.connection(curl) as connection:
        http = connection.connect(VIP).http2()
        answer = http.request('POST', '/status/404', {'content-type': 'application/grpc-web'}, framed(b''))
        assert answer.status == 404 and answer.json()['path'] == '/status/404'
        assert dict(answer.json()['headers'])['content-type'] == 'application/grpc'
        assert dict(answer.json()['headers'])['te'] == 'trailers'
        seen = http.request('POST', '/', {'content-type': 'application/grpc-webby'}, b'x').json()
        assert dict(seen['headers'])['content-type'] == 'application/grpc-webby'
