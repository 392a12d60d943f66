# SPDX-License-Identifier: Apache-2.0
"""Headers as hosts and clients see them behind a waypoint (facts/verified 3), over both versions of HTTP."""

import re

import pytest

from peers import proxy

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'
UUID = re.compile(r'[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$')


@pytest.fixture(params=['http to http', 'http to http2', 'http2 to http', 'http2 to http2'])
def sides(request):
    return request.param.split(' to ')


@pytest.fixture
def ask(cairn, new_origin, new_http2_origin, curl, sides):
    """ask(fields, main='directives') -> ({name: [values]} at the pod, the response)."""
    client, upstream = sides
    app = (new_origin if upstream == 'http' else new_http2_origin)('reviews-v1')
    made = {}

    def go(fields=(), main='', path='/', method='GET'):
        if main not in made:
            made[main] = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app), protocol=upstream) +
                               proxy.service(REVIEWS, VIP), main=main)
        with made[main].connection(curl) as connection:
            tunnel = connection.connect(VIP)
            http = tunnel.http2() if client == 'http2' else tunnel.http
            answer = http.request(method, path, list(fields))
        seen = {}
        for name, value in answer.json()['headers'] if answer.status == 200 else ():
            seen.setdefault(name.lower(), []).append(value)
        return seen, answer
    return go


# ---- to the host ----

def test_defaults_are_added_where_absent(ask):
    seen, _ = ask()
    assert seen['x-forwarded-proto'] == ['http']
    assert UUID.match(seen['x-request-id'][0])
    assert not {'x-forwarded-for', 'x-forwarded-port', 'x-forwarded-client-cert', 'x-envoy-attempt-count'} & set(seen)


def test_what_clients_said_of_them_is_kept(ask):
    seen, _ = ask([('x-request-id', 'my-id'), ('x-forwarded-proto', 'HTTPS'), ('x-forwarded-for', '1.2.3.4')])
    assert (seen['x-request-id'], seen['x-forwarded-proto'], seen['x-forwarded-for']) == (['my-id'], ['HTTPS'], ['1.2.3.4'])
    assert UUID.match(ask([('x-request-id', '')])[0]['x-request-id'][0])


PASSED = ['x-forwarded-host', 'x-forwarded-port', 'forwarded', 'via', 'x-real-ip', 'traceparent', 'proxy-authorization',
          'x-envoy-external-address', 'x-envoy-decorator-operation', 'x-envoy-attempt-count', 'x-envoy-peer-metadata',
          'x-envoy-peer-metadata-id', 'x-envoy-original-path', 'x-envoy-original-host', 'x-envoy-downstream-service-cluster',
          'x-envoy-something-new', 'tracestate', 'b3', 'x-b3-traceid', 'x-client-trace-id', 'x-ot-span-context', 'cookie', 'authorization', 'x_underscore']
INSTRUCTIONS = ['x-envoy-internal', 'x-envoy-retry-on', 'x-envoy-max-retries', 'x-envoy-upstream-rq-timeout-ms',
                'x-envoy-expected-rq-timeout-ms', 'x-envoy-upstream-alt-stat-name', 'x-envoy-force-trace',
                'x-envoy-ip-tags', 'x-envoy-hedge-on-per-try-timeout', 'x-envoy-retriable-status-codes', 'x-envoy-retry-grpc-on',
                'x-envoy-upstream-rq-per-try-timeout-ms']


def test_everything_else_passes(ask):
    seen, _ = ask([(name, 'kept') for name in PASSED])
    assert [name for name in PASSED if seen.get(name) != ['kept']] == []


def test_instructions_to_the_proxy_are_taken_out_unless_told_otherwise(ask):
    seen, _ = ask([(name, '1') for name in INSTRUCTIONS])
    assert [name for name in INSTRUCTIONS if name in seen] == []
    seen, _ = ask([(name, '1') for name in INSTRUCTIONS], main='envoy_headers on;')
    assert [name for name in INSTRUCTIONS if name not in seen] == []


def test_each_addition_can_be_turned_off(ask):
    seen, answer = ask(main='request_id off; forwarded_proto off; service_time_header off; server_header "";')
    assert not {'x-request-id', 'x-forwarded-proto'} & set(seen)
    assert answer.header('x-envoy-upstream-service-time') is None and answer.header('server') is None


def test_additions_that_are_off_by_default(ask):
    main = 'forwarded_for_append on; forwarded_port on;'
    seen, _ = ask([('x-forwarded-for', '1.2.3.4')], main=main)
    first, _, last = seen['x-forwarded-for'][0].partition(',')
    assert first == '1.2.3.4' and last.startswith('127.')
    assert seen['x-forwarded-port'] == ['9080']
    seen, _ = ask([('x-forwarded-port', '1')], main=main)
    assert seen['x-forwarded-for'][0].startswith('127.') and seen['x-forwarded-port'] == ['1']


def test_client_certificates_are_told_in_four_ways(ask, curl, waypoint_identity):
    forged = [('x-forwarded-client-cert', 'By=me;URI=spiffe://cluster.local/ns/x/sa/root')]
    assert 'x-forwarded-client-cert' not in ask(forged)[0]
    assert ask(forged, main='forwarded_client_cert pass;')[0]['x-forwarded-client-cert'] == [forged[0][1]]
    ours = 'By=%s;URI=%s' % (waypoint_identity.uri, curl.uri)
    assert ask(forged, main='forwarded_client_cert set;')[0]['x-forwarded-client-cert'] == [ours]
    appended = ask(forged, main='forwarded_client_cert append;')[0]['x-forwarded-client-cert']
    assert appended == ['%s,%s' % (forged[0][1], ours)]
    assert ask([], main='forwarded_client_cert append;')[0]['x-forwarded-client-cert'] == [ours]


def test_te_is_reduced_to_trailers(ask, sides):
    seen, _ = ask([('te', 'trailers')])
    assert seen['te'] == ['trailers']
    if sides[0] == 'http':
        assert ask([('te', 'gzip, trailers')])[0]['te'] == ['trailers']
        assert 'te' not in ask([('te', 'gzip')])[0]


def test_hop_by_hop_headers_stay_here(ask, sides):
    if sides[0] == 'http2':
        pytest.skip('HTTP/2 has none')
    seen, _ = ask([('connection', 'keep-alive, x-mine'), ('keep-alive', 'timeout=5'), ('proxy-connection', 'x'),
                   ('x-mine', '1'), ('x-other', '2'), ('trailer', 'x-end')])
    assert not {'keep-alive', 'proxy-connection', 'x-mine', 'upgrade'} & set(seen)
    assert (seen['x-other'], seen['trailer']) == (['2'], ['x-end'])


def test_lines_of_one_name_stay_lines_and_cookies_of_http2_are_joined(ask, sides):
    seen, _ = ask([('x-mine', 'a'), ('x-mine', 'b'), ('cookie', 'c=1'), ('cookie', 'd=2')])
    assert seen['x-mine'] == ['a', 'b']
    # the pod's HTTP/2 joins them by itself
    assert seen['cookie'] == (['c=1; d=2'] if 'http2' in sides else ['c=1', 'd=2'])


# ---- to the client ----

def test_responses_carry_the_waypoints_headers(ask):
    _, answer = ask()
    assert (answer.header('server'), answer.header('x-pod')) == ('istio-envoy', 'reviews-v1')
    assert answer.header('x-envoy-upstream-service-time').isdigit() and answer.header('date')
    assert answer.header('x-request-id') is None


SAID = [('date', 'Thu, 01 Jan 2026 00:00:00 GMT'), ('via', '1.1 pod'), ('x-request-id', 'of-the-pod'), ('trailer', 'x-end'),
        ('proxy-authenticate', 'Basic'), ('x-envoy-overloaded', 'true'), ('x-envoy-decorator-operation', 'op'), ('x-mine', '1')]


def test_what_the_pod_says_passes_but_for_what_is_the_waypoints(ask, sides):
    if sides[1] == 'http2':
        pytest.skip('an HTTP/1.1 pod says them')
    said = [*SAID, ('server', 'pod/1'), ('x-envoy-upstream-service-time', '123456'), ('keep-alive', 'timeout=5'),
            ('connection', 'keep-alive')]
    _, answer = ask([('x-say', '|'.join('%s: %s' % field for field in said))], path='/say')
    assert [(name, answer.header(name)) for name, _ in SAID] == SAID
    assert answer.header('server') == 'istio-envoy'
    assert int(answer.header('x-envoy-upstream-service-time')) < 123456
    assert (answer.header('keep-alive'), answer.header('connection')) == (None, None)


def test_rewriting_tells_the_pod_what_was_asked(cairn, new_origin, curl):
    app = new_origin('reviews-v1')
    waypoint = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app)) + proxy.service(
        REVIEWS, VIP, 'route all { rewrite_host other.host; rewrite_path /new; request_timeout 10s; backend %s; }' % REVIEWS))
    answer = waypoint.request(curl, VIP, path='/old?q=1').json()
    seen = dict(answer['headers'])
    assert (answer['path'], seen['host']) == ('/new?q=1', 'other.host')
    assert (seen['x-envoy-original-path'], seen['x-envoy-original-host']) == ('/old?q=1', VIP)
    assert 9000 < int(seen['x-envoy-expected-rq-timeout-ms']) <= 10000


def test_local_replies_carry_no_service_time(ask):
    _, answer = ask(path='/%00')
    assert answer.status == 400
    assert answer.header('x-envoy-upstream-service-time') is None and answer.header('server') == 'istio-envoy'
