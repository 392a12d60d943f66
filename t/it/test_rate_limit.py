# SPDX-License-Identifier: Apache-2.0
"""Rate limits: local ones, and those that a service keeps for several proxies."""

import datetime
import os
import re
import subprocess

import pytest

from peers import envoy, net, proxy, ratelimit
from peers.http import Http, Plain

pytestmark = [pytest.mark.module('rate_limit'), pytest.mark.module('rate_limit_service')]

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'
# A bucket that is refilled in days: within a test it does not change.
SLOW = 'per=%dd'


def reviews(app, body='', main='', **settings):
    return main + proxy.service(REVIEWS, VIP, body, **settings) + proxy.cluster(REVIEWS, proxy.endpoint(app), protocol=settings.get('protocol', 'http'))


@pytest.fixture
def app(new_origin):
    return new_origin('reviews-v1')


@pytest.fixture
def limited(cairn, app):
    """limited('rate_limit ...') -> a waypoint before one pod, with that in its service."""
    return lambda body, main='', **options: cairn(reviews(app, body, main), **options)


def statuses(waypoint, identity, n, **options):
    with waypoint.connection(identity) as connection:
        tunnel = connection.connect(VIP)
        return [tunnel.request(host='reviews:9080', **options).status for _ in range(n)]


# ---- local limits: what a client sees ----

def test_beyond_the_burst_is_refused_and_logged(limited, curl):
    waypoint = limited('rate_limit clients { limit 2 per=1d; key principal; }')
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        assert [tunnel.request().status for _ in range(2)] == [200, 200]
        answer = tunnel.request()
    assert (answer.status, answer.body) == (429, b'local_rate_limited')
    assert answer.header('content-type') == 'text/plain'
    assert answer.header('x-envoy-ratelimited') is None
    line = waypoint.access(3)[-1]
    assert (line['response_code'], line['response_flags'], line['response_code_details']) == (429, 'RL', 'local_rate_limited')
    count = lambda decision: waypoint.count('cairn_rate_limit_requests_total', limit='clients', decision=decision, service=REVIEWS)
    assert (count('allowed'), count('limited')) == (2, 1)


def test_another_identity_has_its_own_tokens(limited, curl, pki):
    waypoint = limited('rate_limit clients { limit 1 per=1d; key principal; }')
    assert statuses(waypoint, curl, 2) == [200, 429]
    assert statuses(waypoint, pki.identity('default', 'wget'), 2) == [200, 429]


def test_denied_requests_cost_no_token(limited, curl):
    waypoint = limited('authz { policy ns/a deny { rule { to { methods POST; } } } }\nrate_limit a { limit 1 per=1d; }')
    assert statuses(waypoint, curl, 2, method='POST') == [403, 403]
    assert statuses(waypoint, curl, 2) == [200, 429]


def test_a_shadow_counts_and_says_but_lets_pass(limited, curl):
    waypoint = limited('rate_limit watch { limit 1 per=1d; key header x-user; shadow on; }')
    assert statuses(waypoint, curl, 3, headers={'x-user': 'anna'}) == [200, 200, 200]
    assert waypoint.count('cairn_rate_limit_requests_total', limit='watch', decision='shadow_limited') == 2
    waypoint.wait_log(r'"watch" \(shadow\) would refuse GET / by header x-user "anna"')


def test_a_refusal_explains_itself_in_the_log_once_a_second(limited, curl):
    waypoint = limited('rate_limit each { limit 1 per=1d; key header x-user; }')
    assert statuses(waypoint, curl, 50, headers={'x-user': 'anna'}, path='/a') == [200] + [429] * 49
    assert waypoint.count('cairn_rate_limit_requests_total', limit='each', decision='limited') == 49
    waypoint.wait_log(r'"each" refuses GET /a by header x-user "anna"; 0 more')
    assert waypoint.log.count('"each" refuses') < 25  # all of them within a few seconds


def test_route_service_and_waypoint(limited, curl):
    waypoint = limited('rate_limit svc { limit 2 per=1d; }\n'
                       'route a { match { path prefix /a; } rate_limit r { limit 1 per=1d; } backend %s; }\n'
                       'route b { match { path prefix /; } backend %s; }' % (REVIEWS, REVIEWS),
                       main='rate_limit all { limit 1 per=1d; }\n')
    assert statuses(waypoint, curl, 3, path='/a') == [200, 429, 429]
    assert statuses(waypoint, curl, 3, path='/b') == [200, 200, 429]


def test_tokens_are_kept_over_a_reload(limited, app, curl):
    body = 'rate_limit a { limit 2 per=1d; }'
    waypoint = limited(body, workers=2)
    assert statuses(waypoint, curl, 2) == [200, 200]
    waypoint.reload(reviews(app, body + '\nauthz { policy ns/a deny { rule { to { methods PUT; } } } }'))
    assert statuses(waypoint, curl, 1) == [429]


def test_grpc_clients_get_a_grpc_status(limited, curl):
    waypoint = limited('route a { match { path prefix /a; } rate_limit a { limit 1 per=1d; } backend %s; }\n'
                       'route b { match { path prefix /b; } rate_limit b { limit 1 per=1d; grpc_status resource_exhausted; } backend %s; }'
                       % (REVIEWS, REVIEWS))
    headers = {'content-type': 'application/grpc'}
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for path, status in (('/a', '14'), ('/b', '8')):
            tunnel.request('POST', path, headers)
            answer = tunnel.request('POST', path, headers)
            assert (answer.status, answer.header('grpc-status'), answer.header('grpc-message')) == (200, status, 'local_rate_limited')


def test_explain_tells_which_limit_would_apply_and_its_key(cairn, app, curl):
    waypoint = cairn(reviews(app, 'rate_limit clients { limit 2 per=1d; key principal; key header x-user; }\n'
                                  'rate_limit writers { limit 1 per=1d; match { to { methods POST; } } }\n'
                                  'rate_limit_service shop { domain shop; cluster c; descriptor { entry user header x-user; } }'),
                     start=False)
    text = waypoint.explain(curl, VIP, 'GET', '/', '-H', 'x-user: anna')
    assert 'rate_limit: "clients" (2 per 86400000 ms, burst 2) by principal "%s", header x-user "anna": allowed' % curl.uri in text
    assert 'rate_limit: "writers" does not match; nearest is rule 0: to methods expects "POST", got "GET"' in text
    assert 'rate_limit_service: "shop" asks domain shop about user=anna' in text
    assert 'verdict     allowed: to cluster' in text


def test_invented_keys_cost_bounded_memory(limited, builddir, curl):
    """Each request brings a key of its own; who was refused before still is."""
    keeps_freed = 'address' in (builddir / 'cn_flags').read_text()  # ASan
    waypoint = limited('rate_limit a { limit 1 per=1d burst=2; key header x-user; max_keys 100; }', main='rate_limit_memory 64k;\n')
    user = {'x-user': 'anna'}
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        assert [tunnel.request(headers=user).status for _ in range(3)] == [200, 200, 429]
        before = waypoint.resident()
        assert {tunnel.request(headers={'x-user': 'u%d' % i}).status for i in range(2000)} == {200}
        assert tunnel.request(headers=user).status == 429
        assert keeps_freed or waypoint.resident() < before + (1 << 20)
    assert waypoint.count('cairn_rate_limit_buckets_total', event='evicted') > 1000


# ---- local limits: four workers ----

def test_four_workers_together_let_exactly_the_limit_pass(limited, builddir, curl):
    """Ten times too much for 5 s, over connections to all workers: within 1 %."""
    rate, burst = 200, 200
    waypoint = limited('rate_limit a { limit %d per=1s; }' % rate, workers=4)
    words = [builddir / 't/bench/hbload', '-t', waypoint.ip + ':15008', '-a', VIP, '-c', 16, '-s', 4, '-d', 5, '-r', rate * 10,
             '-E', curl.cert, '-K', curl.key, '-A', curl.roots]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=120,
                          env={**os.environ, 'ASAN_OPTIONS': 'detect_leaks=0'})
    assert done.returncode == 0, done.stderr
    net.wait_for(lambda: waypoint.count('cairn_requests_active') == 0, what='the end of all requests')
    lines = waypoint.access(waypoint.count('cairn_rate_limit_requests_total', limit='a'))
    at = lambda line: datetime.datetime.fromisoformat(line['start_time'].replace('Z', '+00:00')).timestamp()
    limited_at = [at(line) for line in lines if line['response_flags'] == 'RL']
    passed_at = [at(line) for line in lines if line['response_flags'] != 'RL']  # the last ones have no answer, but a token
    first, last = min(limited_at), max(limited_at)  # whenever one is refused, the bucket is empty
    passed = sum(first < t <= last for t in passed_at)
    expected = rate * (last - first)
    print('passed %d, expected %.1f, refused %d in %.2f s' % (passed, expected, len(limited_at), last - first))
    assert len(limited_at) > 3 * expected
    assert abs(passed - expected) <= 0.01 * expected + 1
    assert len(passed_at) <= 1.01 * (burst + rate * (max(passed_at + limited_at) - min(passed_at + limited_at))) + 1
    passed = len(passed_at)
    assert passed == waypoint.count('cairn_rate_limit_requests_total', limit='a', decision='allowed')


# ---- local limits: beside Envoy ----

def local_filter(tokens, interval, **more):
    on = {'runtime_key': 'x', 'default_value': {'numerator': 100, 'denominator': 'HUNDRED'}}
    return envoy.typed('envoy.filters.http.local_ratelimit', 'filters.http.local_ratelimit.v3.LocalRateLimit',
                       stat_prefix='x', filter_enabled=on, enable_x_ratelimit_headers='DRAFT_VERSION_03',
                       token_bucket={'max_tokens': tokens, 'tokens_per_fill': tokens, 'fill_interval': interval},
                       **{'filter_enforced': on, **more})


def ask(http, requests):
    out = []
    for method, headers in requests:
        answer = http.request(method, '/', headers)
        ours = [(n, v) for n, v in answer.headers if n.startswith('x-ratelimit') or n.startswith('grpc-') or
                n in ('content-type', 'content-length', 'x-envoy-ratelimited')]
        out.append((answer.status, answer.body if answer.status != 200 else None,
                    ours if answer.status != 200 or any(n.startswith('grpc') for n, _ in ours) else
                    [h for h in ours if h[0].startswith('x-')]))
    return out


SET = [('GET', {}), ('GET', {}), ('GET', {}), ('HEAD', {}), ('DELETE', {}),
       ('GET', {'content-type': 'application/grpc'}), ('GET', {'content-type': 'application/grpc+proto'})]


@pytest.mark.skipif(not envoy.binary(), reason='no Envoy')
def test_a_shadow_answers_as_a_filter_of_envoy_that_enforces_nothing(limited, app, curl, tmp_path, stopping):
    """But without x-ratelimit headers: clients that heed them would change what is being watched."""
    off = {'runtime_key': 'y', 'default_value': {'numerator': 0, 'denominator': 'HUNDRED'}}
    peer = envoy.inner(tmp_path / 'envoy', app, [local_filter(2, '7200s', filter_enforced=off)])
    stopping.append(peer)
    theirs = ask(Http(Plain(*peer.address)), SET)
    waypoint = limited('rate_limit a { limit 2 per=2h; ratelimit_headers on; shadow on; }')
    with waypoint.connection(curl) as connection:
        ours = ask(connection.connect(VIP).http, SET)
    assert ours == [(200, None, [])] * len(SET)
    assert [s for s, *_ in theirs] == [200] * len(SET) and all(headers for _, _, headers in theirs)


@pytest.mark.parametrize('exhausted', [False, True])
@pytest.mark.skipif(not envoy.binary(), reason='no Envoy')
def test_the_same_requests_are_answered_as_by_envoy(limited, app, curl, tmp_path, stopping, exhausted):
    peer = envoy.inner(tmp_path / 'envoy', app, [local_filter(2, '7200s', rate_limited_as_resource_exhausted=exhausted)])
    stopping.append(peer)
    theirs = ask(Http(Plain(*peer.address)), SET)
    waypoint = limited('rate_limit a { limit 2 per=2h; ratelimit_headers on;%s }'
                       % (' grpc_status resource_exhausted;' if exhausted else ''))
    with waypoint.connection(curl) as connection:
        ours = ask(connection.connect(VIP).http, SET)
    assert [s for s, *_ in ours] == [200, 200, 429, 429, 429, 200, 200]
    for mine, his, request in zip(ours, theirs, SET):
        # the seconds until the next token pass between the two
        strip = lambda answer: (answer[0], answer[1], sorted((n, v) for n, v in answer[2] if n != 'x-ratelimit-reset'))
        assert strip(mine) == strip(his), request
        reset = lambda answer: [int(v) for n, v in answer[2] if n == 'x-ratelimit-reset']
        assert len(reset(mine)) == len(reset(his))
        assert all(abs(a - b) <= 30 for a, b in zip(reset(mine), reset(his))), request


def bucket(tokens, *names):
    """A bucket for each combination of values of these headers."""
    return {'entries': [{'key': name} for name in names],
            'token_bucket': {'max_tokens': tokens, 'tokens_per_fill': tokens, 'fill_interval': '86400s'}}


def by_headers(*names):
    return {'actions': [{'request_headers': {'header_name': name, 'descriptor_key': name}} for name in names]}


# (user, plan), what cairn answers, and what Envoy does where that differs
REFUSED_COSTS = 'what a second bucket refuses has cost a token of the first in Envoy'
ABSENT = 'a request without the header has a bucket too; in Envoy it has none'
KEYED = [
    ('a', 'gold', 200), ('a', 'gold', 200), ('a', 'gold', 429), ('a', 'silver', 429),
    ('b', 'gold', 200), ('c', 'gold', 429), ('c', 'silver', 200), ('c', 'silver', 200, 429, REFUSED_COSTS), ('c', 'silver', 429),
    ('d', 'lead', 200), ('D', 'lead', 200), ('d', 'Lead', 200), ('d', 'Lead', 429),
    (None, 'tin', 200), (None, 'tin', 200), (None, 'tin', 429, 200, ABSENT), (None, 'tin', 429),
]


@pytest.mark.skipif(not envoy.binary(), reason='no Envoy')
def test_buckets_keyed_by_headers_are_envoys(limited, app, curl, tmp_path, stopping):
    """Two tokens for each user, three for each plan, and both must be had."""
    peer = envoy.inner(tmp_path / 'envoy', app, [local_filter(1000, '86400s', descriptors=[bucket(2, 'x-user'), bucket(3, 'x-plan')])],
                       rate_limits=[by_headers('x-user'), by_headers('x-plan')])
    stopping.append(peer)
    waypoint = limited('rate_limit users { limit 2 per=1d; key header x-user; } rate_limit plans { limit 3 per=1d; key header x-plan; }')

    def run(http):
        return [http.request(headers={name: value for name, value in (('x-user', user), ('x-plan', plan)) if value}).status
                for user, plan, *_ in KEYED]
    with waypoint.connection(curl) as connection:
        ours = run(connection.connect(VIP).http)
    assert ours == [expected for _, _, expected, *_ in KEYED]
    assert run(Http(Plain(*peer.address))) == [differs[0] if differs else expected for _, _, expected, *differs in KEYED]


# ---- from Kubernetes ----

POLICY = """
apiVersion: policy.cairn.internal/v1alpha1
kind: RateLimitPolicy
metadata: {name: clients, namespace: bookinfo}
spec:
  targetRefs: [{group: "", kind: Service, name: productpage}]
  local: [{name: each, limit: {requests: 1, interval: 24h}, key: [{type: Principal}]}]
  response: {status: 503}
"""


def test_a_policy_resource_limits_its_service(builddir, top, tmp_path, cairn, curl):
    """Through cairn-gen into the block that a running proxy takes."""
    (tmp_path / 'policy.yaml').write_text(POLICY)
    text = subprocess.run([str(builddir / 'cairn-gen'), 'render', '-f', str(top / 'conf/samples/bookinfo'), '-f',
                           str(tmp_path / 'policy.yaml'), '-w', 'bookinfo/waypoint'], check=True, capture_output=True, text=True).stdout
    block = re.search(r'^ +rate_limit bookinfo/clients/each \{.*?^ +\}\n', text, re.M | re.S).group()
    waypoint = cairn(proxy.service(REVIEWS, VIP, block + 'route a { match { path prefix /; } direct_response 200 hello; }') +
                     proxy.cluster(REVIEWS, '127.0.0.1:1'))
    assert statuses(waypoint, curl, 2) == [200, 503]


# ---- global limits ----

@pytest.fixture
def service(stopping):
    stopping.append(ratelimit.RateLimitService())
    return stopping[-1]


def asking(service, inside, timeout='10s'):
    return ('rate_limit_service shop { domain shop; cluster limits; timeout %s; %s }' % (timeout, inside),
            'cluster limits { protocol grpc; host limits.infra.svc.cluster.local; endpoint %s; }\n' % service.address)


@pytest.fixture
def asked(cairn, app, service):
    def make(inside, timeout='10s', **options):
        body, cluster = asking(service, inside, timeout)
        return cairn(reviews(app, body) + cluster, **options)
    return make


def test_the_service_decides(asked, service, curl):
    waypoint = asked('descriptor { entry user header X-User; }')
    service.limits[(('user', 'anna'),)] = 2
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        answers = [tunnel.request(headers={'x-user': 'anna'}) for _ in range(3)]
        other = tunnel.request(headers={'x-user': 'bert'})
        none = tunnel.request()
    assert [a.status for a in answers] == [200, 200, 429]
    assert (answers[2].body, answers[2].header('x-envoy-ratelimited')) == (b'', 'true')
    assert (other.status, none.status) == (200, 200)
    assert [ratelimit.pairs(r.descriptors[0]) for r in service.requests] == [[('user', 'anna')]] * 3 + [[('user', 'bert')]]
    assert {r.domain for r in service.requests} == {'shop'}
    line = waypoint.access(3)[2]
    assert (line['response_code'], line['response_flags'], line['response_code_details']) == (429, 'RL', 'request_rate_limited')
    count = lambda outcome: waypoint.count('cairn_rate_limit_service_requests_total', limit='shop', outcome=outcome)
    assert (count('ok'), count('over_limit'), count('error')) == (3, 1, 0)


def test_descriptors_carry_what_was_asked_for(asked, service, curl):
    waypoint = asked('hits 3;'
                     'descriptor { entry a value "x y"; entry b header x-many; entry c remote_ip v4=8; entry d principal;'
                     '  entry e namespace; entry f service_account; entry g method; entry h path; entry i host; entry j query q;'
                     '  entry k service; entry l cluster; entry m header x-none optional; hits 7; limit 5 per=hour; }'
                     'descriptor { match { to { methods POST; } } entry post value 1; }'
                     'descriptor { entry none header x-none; }')
    with waypoint.connection(curl, source='127.77.1.2') as connection:
        answer = connection.connect(VIP).request('GET', '/a/../b?q=1&r=2', {'x-many': 'one, two'}, host='Reviews:9080')
    assert answer.status == 200
    request, = service.requests
    assert request.hits_addend == 3
    descriptor, = request.descriptors
    assert dict(ratelimit.pairs(descriptor)) == {
        'a': 'x y', 'b': 'one, two', 'c': '127.0.0.0/8', 'd': curl.uri, 'e': 'default', 'f': 'curl', 'g': 'GET',
        'h': '/b?q=1&r=2', 'i': 'Reviews', 'j': '1', 'k': REVIEWS, 'l': REVIEWS}
    assert (descriptor.limit.requests_per_unit, descriptor.limit.unit) == (5, 3)


def test_bytes_that_are_no_text_cannot_make_the_service_fail(asked, service, curl):
    waypoint = asked('failure deny; descriptor { entry user header x-user; }')
    with waypoint.connection(curl) as connection:
        stream = connection.connect(VIP)
        stream.send(b'GET / HTTP/1.1\r\nhost: reviews:9080\r\nx-user: a\xff\xc3\xa4\xc3\r\n\r\n')
        assert stream.http.response().status == 200
    assert ratelimit.pairs(service.requests[0].descriptors[0]) == [('user', 'a!\u00e4!')]


def test_headers_and_body_of_the_service_reach_both_sides(asked, service, curl):
    def answer(request, response, context):
        over = ratelimit.pairs(request.descriptors[0])[0][1] == 'over'
        response.overall_code = ratelimit.OVER if over else ratelimit.OK
        response.response_headers_to_add.add(key='X-From-Limits', value='yes')
        response.response_headers_to_add.add(key='transfer-encoding', value='chunked')
        response.response_headers_to_add.add(key='bad name', value='x')
        response.request_headers_to_add.add(key='x-quota', value='gold')
        response.request_headers_to_add.add(key=':path', value='/elsewhere')
        response.raw_body = b'{"slow": "down"}' if over else b''
        if over:
            response.response_headers_to_add.add(key='content-type', value='application/json')
    service.answer = answer
    waypoint = asked('descriptor { entry user header x-user; }')
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        passed, over = tunnel.request(headers={'x-user': 'a'}), tunnel.request(headers={'x-user': 'over'})
    assert (passed.status, passed.header('x-from-limits'), passed.json()['path']) == (200, 'yes', '/')
    assert ['x-quota', 'gold'] in [list(h) for h in passed.json()['headers']]
    assert (over.status, over.header('x-from-limits'), over.body) == (429, 'yes', b'{"slow": "down"}')
    assert [v for n, v in over.headers if n == 'content-type'] == ['application/json']


@pytest.mark.parametrize('failure, status', [('allow', 200), ('deny', 500)])
def test_a_service_that_is_late_has_failed(asked, service, curl, failure, status):
    service.released.clear()
    waypoint = asked('failure %s; descriptor { entry a value b; }' % failure, timeout='20ms')
    answer = waypoint.request(curl, VIP)
    service.released.set()
    assert answer.status == status
    assert waypoint.count('cairn_rate_limit_service_requests_total', outcome='timeout') == 1
    waypoint.wait_log('"shop" at limits: timed out: GET / ' + ('is refused' if status == 500 else 'passes'))
    if status == 500:
        line = waypoint.access()[0]
        assert (line['response_flags'], line['response_code_details']) == ('RLSE', 'rate_limiter_error')


@pytest.mark.parametrize('how', ['gone', 'grpc error', 'unknown code', 'no such cluster'])
@pytest.mark.parametrize('failure, status', [('allow', 200), ('deny', 500)])
def test_a_service_that_fails(cairn, app, service, curl, how, failure, status):
    def answer(request, response, context):
        if how == 'grpc error':
            context.abort(13, 'broken')
    service.answer = answer
    body, cluster = asking(service, 'failure %s; descriptor { entry a value b; }' % failure)
    if how == 'gone':
        service.stop()
    waypoint = cairn(reviews(app, body) + ('' if how == 'no such cluster' else cluster))
    assert statuses(waypoint, curl, 2) == [status, status]
    assert waypoint.count('cairn_rate_limit_service_requests_total', outcome='error') == 2


def test_a_client_that_leaves_cancels_the_question(asked, service, curl):
    waypoint = asked('descriptor { entry a value b; }')
    service.released.clear()
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.http.send()
        net.wait_for(lambda: waypoint.count('cairn_requests_active') == 1, what='the request')
        tunnel.reset()
        net.wait_for(lambda: waypoint.count('cairn_requests_active') == 0, what='its end')
        service.released.set()
        assert connection.connect(VIP).request().status == 200


def test_a_global_shadow_asks_and_lets_pass(asked, service, curl):
    service.limits[(('a', 'b'),)] = 1
    waypoint = asked('shadow on; failure deny; descriptor { entry a value b; }')
    assert statuses(waypoint, curl, 3) == [200, 200, 200]
    assert waypoint.count('cairn_rate_limit_service_requests_total', outcome='shadow_over_limit') == 2


def test_what_a_local_limit_refuses_is_not_asked_about(cairn, app, service, curl):
    body, cluster = asking(service, 'descriptor { entry a value b; }')
    waypoint = cairn(reviews(app, 'rate_limit a { limit 1 per=1d; }\n' + body) + cluster)
    assert statuses(waypoint, curl, 3) == [200, 429, 429]
    assert len(service.requests) == 1


def global_filter():
    return envoy.typed('envoy.filters.http.ratelimit', 'filters.http.ratelimit.v3.RateLimit', domain='shop', timeout='10s',
                       enable_x_ratelimit_headers='DRAFT_VERSION_03', failure_mode_deny=True,
                       rate_limit_service={'transport_api_version': 'V3', 'grpc_service': {'envoy_grpc': {'cluster_name': 'limits'}}})


@pytest.mark.skipif(not envoy.binary(), reason='no Envoy')
def test_global_answers_are_envoys(asked, app, service, curl, tmp_path, stopping):
    service.limits[(('generic_key', 'all'),)] = 2
    limits = envoy.cluster('limits', service.ip, service.port, typed_extension_protocol_options={
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': envoy.TYPE + 'upstreams.http.v3.HttpProtocolOptions', 'explicit_http_config': {'http2_protocol_options': {}}}})
    peer = envoy.inner(tmp_path / 'envoy', app, [global_filter()], [limits],
                       [{'actions': [{'generic_key': {'descriptor_value': 'all'}}]}])
    stopping.append(peer)
    theirs = ask(Http(Plain(*peer.address)), SET)
    service.counted.clear()
    waypoint = asked('failure deny; ratelimit_headers on; descriptor { entry generic_key value all; }')
    with waypoint.connection(curl) as connection:
        ours = ask(connection.connect(VIP).http, SET)
    assert [s for s, *_ in ours] == [200, 200, 429, 429, 429, 200, 200]
    for mine, his, request in zip(ours, theirs, SET):
        # an empty answer to HEAD has no content-length there (facts/verified)
        fields = lambda answer: sorted((n, v) for n, v in answer[2] if request[0] != 'HEAD' or n != 'content-length')
        assert fields(mine) == fields(his) and mine[:2] == his[:2], request
    his, mine = service.requests[0], service.requests[-1]
    assert (mine.domain, [ratelimit.pairs(d) for d in mine.descriptors]) == (his.domain, [ratelimit.pairs(d) for d in his.descriptors])
