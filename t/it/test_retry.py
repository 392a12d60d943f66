# SPDX-License-Identifier: Apache-2.0
"""Time limits and retries: one table put to cairn and to a real Envoy, then what only cairn does."""

import concurrent.futures
import re

import pytest

from peers import alike, chain, envoy as envoys, net, origin, proxy
from peers.alike import Ask, Row
from peers.http import Ended, Http, Plain

VIP = '10.96.0.1:9080'
SERVICE = 'svc.ns:9080'
CLOSED = 'closed.ns:9080'
H2 = 'h2.ns:9080'
ISTIO = 'connect-failure,refused-stream,unavailable,cancelled'
RESET = 'upstream connect error or disconnect/reset before headers. '
AGAIN = RESET + 'retried and the latest reset reason: '
ONCE = RESET + 'reset reason: '
MEBI = 1024 * 1024
GRPC = {'content-type': 'application/grpc'}


class Once(origin.Connection):
    """Every response is its connection's last, so that no row depends on the one before it."""

    def send(self, status, headers, body=b'', head_only=False):
        super().send(status, [*headers, ('connection', 'close')], body, head_only)

    def serve(self, request):
        super().serve(request)
        return False

    def do_grpc(self, request, number):
        self.answer(request, headers=[('grpc-status', number)])

    def do_limited(self, request, number):
        self.answer(request, status=503, headers=[('x-envoy-ratelimited', 'true')])

    def do_marked(self, request, number):
        self.answer(request, headers=[('x-try-again', '1')])

    def do_flaky(self, request, number):
        """503 until it has been asked so often."""
        tries = sum(r.path == request.path for r in self.origin.requests)
        self.answer(request, status=200 if tries > number else 503)


class OnceOrigin(origin.Origin):
    def handle(self, sock, number):
        Once(self, sock, number).run()


def row(name, conf, *asks, cluster=SERVICE, **route):
    """The path behind PATH is what the origin is asked."""
    action = {'cluster': cluster, 'timeout': '0s', **route,
              'regex_rewrite': {'pattern': {'regex': '^PATH(/?)(.*)'}, 'substitution': '/\\2'}}
    return Row(name, 'match { path prefix PATH; } rewrite_prefix /; %s backend %s;' % (conf, cluster),
               {'match': {'path_separated_prefix': 'PATH'}, 'route': action}, *asks)


def policy(on, codes=(), n=2, **more):
    return {'retry_policy': {'retry_on': on, 'num_retries': n, 'retriable_status_codes': list(codes),
                             'retry_back_off': {'base_interval': '0.001s', 'max_interval': '0.002s'}, **more}}


def retry(text, n=2):
    return 'retry { attempts %d; %s backoff 1ms 2ms; }' % (n, text)


def got(status, tries, flags='-', details='via_upstream', **more):
    return {'status': status, 'tries': tries, 'flags': flags, 'details': details, **more}


def lost(tries, text, flags, reason):
    return {'status': 503, 'tries': tries, 'flags': flags, 'body': text + reason.replace('_', ' '),
            'details': 'upstream_reset_before_response_started{%s}' % reason}


TERMINATED = 'connection_termination'
REFUSED = 'remote_connection_failure|delayed_connect_error:_Connection_refused'


def refused(text, flags):
    return {'status': 503, 'flags': flags, 'body': text + 'remote connection failure',
            'details': 'upstream_reset_before_response_started{%s}' % REFUSED, 'tries': 0}


BAD = {'status': 502, 'details': 'upstream_reset_before_response_started{protocol_error}'}
METHODS = [('GET', b''), ('HEAD', b''), ('DELETE', b''), ('PUT', b'x' * 5), ('POST', b'x' * 5), ('POST', b'x' * 100000), ('PATCH', b'x' * MEBI)]


def each_method(expect, path):
    """HEAD has no body to compare."""
    return [Ask({k: v for k, v in expect.items() if (method, k) != ('HEAD', 'body')}, path, method, body=body) for method, body in METHODS]


CAUSES = [
    row('default', '', *each_method(got(503, 1), '/status/503'), *each_method(got(200, 3, 'URX'), '/grpc/14'),
        Ask(got(200, 3, 'URX'), '/grpc/1'), Ask(got(200, 1), '/grpc/8'), Ask(got(200, 1), '/grpc/0'),
        *each_method(lost(1, ONCE, 'UC', TERMINATED), '/drop'), Ask({**BAD, 'tries': 1, 'flags': 'UPE'}, '/garbage'),
        **policy(ISTIO)),
    row('default, nobody listens', '', *each_method(refused(AGAIN, 'URX,UF'), ''), cluster=CLOSED, **policy(ISTIO)),
    row('off', 'retry off;', Ask(got(200, 1), '/grpc/14'), Ask(lost(1, ONCE, 'UC', TERMINATED), '/drop')),
    row('off, nobody listens', 'retry off;', Ask(refused(ONCE, 'UF')), cluster=CLOSED),
    row('5xx', retry('on 5xx;'), *each_method(got(503, 3, 'URX'), '/status/503'), Ask(got(500, 3, 'URX'), '/status/500'),
        Ask(got(429, 1), '/status/429'), *each_method(lost(3, AGAIN, 'URX,UC', TERMINATED), '/drop'),
        Ask({**BAD, 'tries': 3, 'flags': 'URX,UPE', 'body': AGAIN + 'protocol error'}, '/garbage'),
        *(Ask(got(200, 2), '/flaky/1?%s%d' % (m, len(b)), m, body=b) for m, b in METHODS), Ask(got(503, 1), '/limited'), **policy('5xx')),
    row('5xx, nobody listens', retry('on 5xx;'), Ask(refused(AGAIN, 'URX,UF')), cluster=CLOSED, **policy('5xx')),
    row('gateway-error', retry('on gateway-error;'), Ask(got(502, 3, 'URX'), '/status/502'), Ask(got(504, 3, 'URX'), '/status/504'),
        Ask(got(500, 1), '/status/500'), Ask(got(505, 1), '/status/505'), **policy('gateway-error')),
    row('reset', retry('on reset;'), Ask(lost(3, AGAIN, 'URX,UC', TERMINATED), '/drop'), Ask(got(503, 1), '/status/503'), **policy('reset')),
    row('reset-before-request', retry('on reset-before-request;'), *each_method(lost(1, ONCE, 'UC', TERMINATED), '/drop'),
        **policy('reset-before-request')),
    row('reset-before-request, nobody listens', retry('on reset-before-request;'), Ask(refused(AGAIN, 'URX,UF')), cluster=CLOSED,
        **policy('reset-before-request')),
    row('connect-failure', retry('on connect-failure;'), Ask(lost(1, ONCE, 'UC', TERMINATED), '/drop'), **policy('connect-failure')),
    row('connect-failure, nobody listens', retry('on connect-failure;', 1), Ask(refused(AGAIN, 'URX,UF')), cluster=CLOSED,
        **policy('connect-failure', n=1)),
    row('retriable-4xx', retry('on retriable-4xx;'), Ask(got(409, 3, 'URX'), '/status/409'), Ask(got(404, 1), '/status/404'),
        **policy('retriable-4xx')),
    row('codes', retry('on retriable-status-codes; codes 429 503;'), *each_method(got(429, 3, 'URX'), '/status/429'),
        Ask(got(503, 3, 'URX'), '/status/503'), Ask(got(500, 1), '/status/500'), Ask(lost(1, ONCE, 'UC', TERMINATED), '/drop'),
        **policy('retriable-status-codes', [429, 503])),
    row('bare codes', retry('on 429 503;'), Ask(got(429, 3, 'URX'), '/status/429'), Ask(got(500, 1), '/status/500'),
        **policy('retriable-status-codes', [429, 503])),
    row('retriable-headers', retry('on retriable-headers; headers X-Try-Again;'), Ask(got(200, 3, 'URX'), '/marked'), Ask(got(503, 1), '/status/503'),
        **policy('retriable-headers', retriable_headers=[{'name': 'x-try-again', 'present_match': True}])),
    row('envoy-ratelimited', retry('on envoy-ratelimited;'), Ask(got(503, 3, 'URX'), '/limited'), Ask(got(503, 1), '/status/503'),
        **policy('envoy-ratelimited')),
    *(row(word, retry('on %s;' % word), Ask(got(200, 3, 'URX'), '/grpc/%d' % code), Ask(got(200, 1), '/grpc/%d' % other), **policy(word))
      for word, code, other in [('cancelled', 1, 14), ('deadline-exceeded', 4, 1), ('resource-exhausted', 8, 4), ('internal', 13, 8),
                                ('unavailable', 14, 13)]),
    row('http3-post-connect-failure', retry('on http3-post-connect-failure 5xx;'), Ask(got(503, 3, 'URX'), '/status/503'),
        **policy('http3-post-connect-failure,5xx')),
    row('one retry', retry('on 5xx;', 1), Ask(got(503, 2, 'URX'), '/status/503'), Ask(got(200, 2), '/flaky/1?one'), **policy('5xx', n=1)),
    row('body within bounds', retry('on 5xx;'), Ask(got(503, 3, 'URX'), '/status/503', 'POST', body=b'x' * MEBI),
        Ask(got(503, 1), '/status/503', 'POST', body=b'x' * (MEBI + 1)), **policy('5xx')),
]

LATE = {'status': 504, 'body': 'upstream request timeout'}
TRY = {**LATE, 'details': 'upstream_per_try_timeout'}
ALL = {**LATE, 'details': 'response_timeout', 'flags': 'UT'}
TOLD = 'x_envoy_expected_rq_timeout_ms'
IDLE = {'status': 504, 'body': 'stream timeout', 'details': 'stream_idle_timeout', 'flags': 'SI', 'tries': 1}
TIMES = [
    row('request_timeout', 'request_timeout 200ms; retry off;', *each_method({**ALL, 'tries': 1, TOLD: '200'}, '/hang'),
        Ask(got(200, 1), '/slow/1'), timeout='0.2s'),
    row('request_timeout covers retries', 'request_timeout 1200ms; try_timeout 700ms; ' + retry('on 5xx;', 5),
        Ask({**ALL, 'tries': 2}, '/hang'), timeout='1.2s', **policy('5xx', n=5, per_try_timeout='0.7s')),
    row('try_timeout', 'try_timeout 100ms; ' + retry('on 5xx;', 1), Ask({**TRY, 'flags': 'URX,UT', 'tries': 2, TOLD: '100'}, '/hang'),
        **policy('5xx', n=1, per_try_timeout='0.1s')),
    row('try_timeout that nobody retries', 'try_timeout 100ms;', Ask({**TRY, 'flags': 'UT', 'tries': 1}, '/hang'),
        **policy(ISTIO, per_try_timeout='0.1s')),
    row('try_timeout with 504 listed', 'try_timeout 100ms; ' + retry('on 504;', 1),
        Ask({**TRY, 'flags': 'URX,UT', 'tries': 2}, '/hang', envoy={'flags': 'UT', 'tries': 1}, why='it is a 504 to the client, which the user wants to be retried'),
        **policy('retriable-status-codes', [504], n=1, per_try_timeout='0.1s')),
    row('try_timeout not below request_timeout', 'try_timeout 300ms; request_timeout 200ms; ' + retry('on 5xx;', 1),
        Ask({**ALL, 'tries': 1, TOLD: '200'}, '/hang'), timeout='0.2s', **policy('5xx', n=1, per_try_timeout='0.3s')),
    row('grpc-timeout', 'retry off;', Ask({'status': 200, 'grpc-status': '14', 'grpc-message': 'upstream request timeout', 'flags': 'UT', TOLD: '150'}, '/hang',
                                          'POST', {**GRPC, 'grpc-timeout': '150m'}), max_grpc_timeout='0s'),
    row('grpc-timeout of a request that is no gRPC', 'retry off;', Ask(got(200, 1, **{TOLD: None}), '/slow/1', headers={'grpc-timeout': '1n'}),
        max_grpc_timeout='0s'),
    row('stream_idle_timeout', 'stream_idle_timeout 200ms; retry off;', *each_method(IDLE, '/hang'), Ask(got(200, 1), '/drip/20'), idle_timeout='0.2s'),
    row('stream_idle_timeout of a request that is tried again', 'stream_idle_timeout 200ms; ' + retry('on 5xx;', 1), Ask(IDLE, '/hang'),
        idle_timeout='0.2s', **policy('5xx', n=1)),
]
UNPROCESSED = 'remote_refused_stream_reset'
ONCE_MORE = 'what a host says it did not process is sent once more, whatever the policy (RFC 9113 8.7)'
HTTP2 = [
    row('HTTP/2, default', '', *(Ask(lost(3, AGAIN, 'URX,UR', UNPROCESSED), '/reset/7', m, body=b) for m, b in METHODS if m != 'HEAD'),
        Ask(lost(3, AGAIN, 'URX,UR', UNPROCESSED), '/goaway', 'POST', body=b'x'), Ask(lost(1, ONCE, 'UR', 'remote_reset'), '/reset/2'),
        Ask(lost(1, ONCE, 'UR', 'remote_reset'), '/reset/8'), Ask(got(200, 3, 'URX', **{'grpc-status': '14'}), '/trailers-only/14', 'POST', GRPC),
        Ask(got(200, 1, **{'grpc-status': '8'}), '/trailers-only/8', 'POST', GRPC), cluster=H2, **policy(ISTIO)),
    row('HTTP/2, reset', retry('on reset;', 1), Ask(lost(2, AGAIN, 'URX,UR', 'remote_reset'), '/reset/2', 'POST', body=b'x'), cluster=H2,
        **policy('reset', n=1)),
    row('HTTP/2, off', 'retry off;', Ask(lost(2, ONCE, 'UR', UNPROCESSED), '/reset/7', 'POST', body=b'x', envoy={'tries': 1}, why=ONCE_MORE),
        Ask(lost(1, ONCE, 'UR', 'remote_reset'), '/reset/2'), cluster=H2),
]
ROWS = CAUSES + TIMES + HTTP2


@pytest.fixture
def app(stopping):
    app = OnceOrigin('svc')
    stopping.append(app)
    return app


@pytest.fixture
def app2(new_http2_origin):
    return new_http2_origin('h2')


@pytest.fixture
def closed():
    return net.new_ip(), 9080


def test_retries_and_timeouts_are_as_the_table_says(cairn, app, app2, closed, curl):
    waypoint = cairn(proxy.cluster(SERVICE, proxy.endpoint(app)) + proxy.cluster(CLOSED, '%s:%d' % closed) +
                     proxy.cluster(H2, proxy.endpoint(app2), protocol='http2') + proxy.service(SERVICE, VIP, alike.cairn_routes(ROWS)))
    wrong = alike.against_cairn(ROWS, waypoint, curl, VIP, [app, app2])
    assert not wrong, '\n'.join(wrong)


def test_envoys_retries_and_timeouts_are_as_the_table_says(tmp_path, stopping, app, app2, closed):
    if not envoys.binary():
        pytest.skip('no Envoy')
    clusters = {SERVICE: (app.ip, app.port), CLOSED: closed, H2: (app2.ip, app2.port, chain.http2())}
    wrong = alike.against_envoy(ROWS, tmp_path / 'envoy', clusters, [app, app2], stopping)
    assert not wrong, '\n'.join(wrong)


FEW = 'few.ns:9080'
COUNTED = [
    row('counted', 'try_timeout 100ms; ' + retry('on 5xx;', 1), Ask({'status': 200}, '/flaky/1?counted'), Ask({'status': 503}, '/status/503'),
        Ask({'status': 504}, '/hang'), **policy('5xx', n=1, per_try_timeout='0.1s')),
    row('timed', 'request_timeout 100ms; retry off;', Ask({'status': 504}, '/hang'), timeout='0.1s'),
    row('too many', retry('on 5xx;', 1), Ask({'status': 503}, '/status/503'), cluster=FEW, **policy('5xx', n=1)),
]
COUNTS = {'retry': (3, 0), 'retry_success': (1, 0), 'retry_limit_exceeded': (2, 0), 'retry_overflow': (0, 1), 'timeout': (1, 0), 'per_try_timeout': (2, 0)}


def test_retries_and_timeouts_are_counted_by_envoys_names(cairn, app, curl):
    waypoint = cairn(proxy.cluster(SERVICE, proxy.endpoint(app)) + proxy.cluster(FEW, proxy.endpoint(app), breaker='max_retries=0') +
                     proxy.service(SERVICE, VIP, alike.cairn_routes(COUNTED)))
    assert not alike.against_cairn(COUNTED, waypoint, curl, VIP, [app])
    assert {name: tuple(waypoint.count('envoy_cluster_upstream_rq_' + name, cluster_name=c) for c in (SERVICE, FEW)) for name in COUNTS} == COUNTS


def test_envoy_counts_the_same(tmp_path, stopping, app):
    if not envoys.binary():
        pytest.skip('no Envoy')
    clusters = {SERVICE: (app.ip, app.port), FEW: (app.ip, app.port, {'circuit_breakers': {'thresholds': [{'max_retries': 0}]}})}
    assert not alike.against_envoy(COUNTED, tmp_path / 'envoy', clusters, [app], stopping)
    text = Http(Plain(stopping[-1].ip, 9901)).request(path='/stats?filter=upstream_rq_').body.decode()
    stats = dict(line.split(': ', 1) for line in text.splitlines())
    assert {name: tuple(int(stats['cluster.%s.upstream_rq_%s' % (c.replace(':', '_'), name)]) for c in (SERVICE, FEW)) for name in COUNTS} == COUNTS


def budget(percent, at_once):
    return {'circuit_breakers': {'thresholds': [{'retry_budget': {'budget_percent': {'value': percent}, 'min_retry_concurrency': at_once}}]}}


OVER = got(503, 1, 'UO')
RECENT = 'the share is of the requests of the last interval; in Envoy of those that are under way at this moment'
BUDGETS = {'none.ns:9080': ('percent=0 min=0', budget(0, 0)), 'floor.ns:9080': ('percent=0 min=3', budget(0, 3)),
           'all.ns:9080': ('percent=100 min=0', budget(100, 0)), 'fifth.ns:9080': ('percent=20 min=0 interval=1h', budget(20, 0))}
BUDGETED = [
    row('no budget', retry('on 5xx;'), *[Ask(OVER, '/status/503')] * 3, Ask(got(200, 1)), cluster='none.ns:9080', **policy('5xx')),
    row('a floor', retry('on 5xx;'), *[Ask(got(503, 3, 'URX'), '/status/503')] * 3, Ask(got(200, 2), '/flaky/1?floor'), cluster='floor.ns:9080', **policy('5xx')),
    row('as many as requests', retry('on 5xx;', 1), *[Ask(got(503, 2, 'URX'), '/status/503')] * 3, cluster='all.ns:9080', **policy('5xx', n=1)),
    row('a fifth', retry('on 5xx;', 1), *[Ask(OVER, '/status/503')] * 4,
        Ask(got(503, 2, 'URX'), '/status/503', envoy={'tries': 1, 'flags': 'UO'}, why=RECENT), cluster='fifth.ns:9080', **policy('5xx', n=1)),
]


def test_budgets_are_as_the_table_says(cairn, app, curl):
    waypoint = cairn(''.join(proxy.cluster(name, proxy.endpoint(app), retry_budget=ours) for name, (ours, _) in BUDGETS.items()) +
                     proxy.cluster(SERVICE) + proxy.service(SERVICE, VIP, alike.cairn_routes(BUDGETED)))
    wrong = alike.against_cairn(BUDGETED, waypoint, curl, VIP, [app])
    assert not wrong, '\n'.join(wrong)


def test_envoys_budgets_are_as_the_table_says(tmp_path, stopping, app):
    if not envoys.binary():
        pytest.skip('no Envoy')
    clusters = {name: (app.ip, app.port, theirs) for name, (_, theirs) in BUDGETS.items()}
    wrong = alike.against_envoy(BUDGETED, tmp_path / 'envoy', clusters, [app], stopping)
    assert not wrong, '\n'.join(wrong)


OTHER = {'retry_host_predicate': [envoys.typed('envoy.retry_host_predicates.previous_hosts', 'retry.host.previous_hosts.v3.PreviousHostsPredicate')],
         'host_selection_retry_max_attempts': '20'}


class FailingOnce(Once):
    def serve(self, request):
        self.read_body(request)
        self.origin.requests.append(request)
        self.answer(request, status=503)
        return False


class Failing(origin.Origin):
    """Answers everything with 503."""

    def handle(self, sock, number):
        FailingOnce(self, sock, number).run()


@pytest.fixture
def failing(stopping):
    stopping.append(Failing('failing'))
    return stopping[-1]


def test_second_attempt_goes_to_the_other_host_as_envoys(cairn, curl, tmp_path, stopping, app, failing):
    """With balancers that draw: but for the rule one failing request of two would fail again."""
    if not envoys.binary():
        pytest.skip('no Envoy')
    waypoint = cairn(proxy.cluster(SERVICE, proxy.endpoint(app), proxy.endpoint(failing), lb='random') +
                     proxy.service(SERVICE, VIP, retry('on 5xx;', 1)), main=proxy.SEED)
    action = {'cluster': SERVICE, 'timeout': '0s', **policy('5xx', n=1, **OTHER)}
    one = chain.Chain(tmp_path / 'envoy', [{'match': {'prefix': '/'}, 'route': action}],
                      {SERVICE: chain.several(SERVICE, [(app.ip, app.port), (failing.ip, failing.port)], lb_policy='RANDOM')})
    stopping.append(one)

    def there():
        stream = Plain(*one.address)
        try:
            return Http(stream).request()
        finally:
            stream.close()
    for ask in (lambda: waypoint.request(curl, VIP), there):
        before = len(failing.requests)
        assert [(answer.status, answer.header('x-pod')) for answer in (ask() for _ in range(60))] == [(200, 'svc')] * 60
        assert len(failing.requests) > before, 'nothing was tried again'


# ---- what a table cannot say: the same two parties ----


@pytest.fixture(params=['cairn', 'envoy'])
def either(request, tmp_path, stopping, cairn, curl):
    """either(app, conf of cairn, Envoy's route) -> (a function that gives a stream to it, its access log)"""
    def as_cairn(app, conf, route):
        waypoint = cairn(proxy.cluster(SERVICE, proxy.endpoint(app)) + proxy.service(SERVICE, VIP, conf))

        def connect():
            connection = waypoint.connection(curl)
            connection.stop = connection.close
            stopping.append(connection)
            return connection.connect(VIP)
        return connect, lambda: [(line['response_flags'], line['response_code_details']) for line in waypoint.access(1)]

    def as_envoy(app, conf, route):
        if not envoys.binary():
            pytest.skip('no Envoy')
        one = chain.Chain(tmp_path / 'envoy', [{'match': {'prefix': '/'}, 'route': {'cluster': SERVICE, **route}}],
                          {SERVICE: (app.ip, app.port)})
        stopping.append(one)
        return lambda: Plain(*one.address), lambda: [(line['flags'], line['details']) for line in one.access(1)]
    return as_cairn if request.param == 'cairn' else as_envoy


def test_response_that_takes_too_long_is_broken_off(either, app):
    connect, access = either(app, 'request_timeout 300ms;', {'timeout': '0.3s'})
    http = Http(connect())
    http.send(path='/drip/500')
    with pytest.raises(Ended) as ended:
        http.response()
    assert set(ended.value.got) == {ord('.')}
    assert access() == [('UT', 'response_timeout')]


def test_deadline_that_the_route_shortens_is_told_to_the_host(either, new_origin):
    app = new_origin('svc')
    connect, _ = either(app, 'request_timeout 2500ms;', {'timeout': '2.5s', 'max_grpc_timeout': '2.5s'})
    for sent, seen, told in [('10S', '2500m', '2500'), ('1500m', '1500m', '1500'), (None, '2500m', '2500')]:
        http = Http(connect())
        http.request('POST', '/x', {**GRPC, **({'grpc-timeout': sent} if sent else {})})
        request = app.requests[-1]
        assert (request.header('grpc-timeout'), request.header('x-envoy-expected-rq-timeout-ms')) == (seen, told)


# ---- only cairn ----


def test_dead_pod_behind_its_tunnel_is_a_failed_connect(cairn, new_origin, curl, capture):
    """Envoy answers 503 for these; the request went nowhere, so another pod gets it."""
    dead, alive = new_origin('dead', ip=net.new_ip()), new_origin('alive', ip=net.new_ip())
    capture(alive, 'ns', 'alive')
    pod = capture(dead, 'ns', 'dead', verdict=lambda *_: 503)
    waypoint = cairn(proxy.cluster(SERVICE, proxy.endpoint(dead, tunnel='hbone'), proxy.endpoint(alive, tunnel='hbone'), lb='round_robin') +
                     proxy.service(SERVICE, VIP))
    for step in ('refuses CONNECT', 'resets it', 'is gone'):
        if step == 'resets it':
            pod.verdict = lambda *_: 'reset'
        elif step == 'is gone':
            pod.stop()
        for _ in range(10):
            answer = waypoint.request(curl, VIP, 'POST', '/', body=b'x' * 1000)
            assert (answer.status, answer.header('x-pod')) == (200, 'alive'), step
    assert len(alive.requests) == 30 and not dead.requests


def test_budget_holds_when_everything_fails(cairn, app, curl):
    """Two workers, every request could be retried three times: 20 % may be."""
    n = 400
    waypoint = cairn(proxy.cluster(SERVICE, proxy.endpoint(app), retry_budget='percent=20 min=0 interval=60s') +
                     proxy.service(SERVICE, VIP, retry('on 5xx;', 3)), workers=2)

    def client(_):
        with waypoint.connection(curl) as connection:
            tunnel = connection.connect(VIP)
            return [tunnel.request(path='/status/503').status for _ in range(n // 8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = sum(pool.map(client, range(8)), [])
    assert statuses == [503] * n
    tries = len(app.requests)
    print('%d requests, %d attempts' % (n, tries))
    assert n * 1.1 < tries <= n * 1.2 * 1.1
    flags = [line['response_flags'] for line in waypoint.access(n)]
    assert flags.count('UO') > n / 2 and set(flags) <= {'UO', 'URX'}


def test_without_a_budget_all_are_retried(cairn, app, curl):
    waypoint = cairn(proxy.cluster(SERVICE, proxy.endpoint(app)) + proxy.service(SERVICE, VIP, retry('on 5xx;', 3)))
    for _ in range(20):
        waypoint.request(curl, VIP, path='/status/503')
    assert len(app.requests) == 80


def test_idle_request_ends(cairn, app, curl):
    waypoint = cairn(proxy.cluster(SERVICE, proxy.endpoint(app)) + proxy.service(SERVICE, VIP, 'stream_idle_timeout 200ms;'))
    answer = waypoint.request(curl, VIP, path='/hang')
    assert (answer.status, answer.body) == (504, b'stream timeout')
    with waypoint.connection(curl) as connection:
        assert connection.connect(VIP).request(path='/drip/40').body == b'.' * 40, 'longer than the limit, but never idle'
    line = waypoint.access(2)[0]
    assert (line['response_flags'], line['response_code_details']) == ('SI', 'stream_idle_timeout')


def test_explain_tells_the_policy(cairn, app, curl):
    waypoint = cairn(proxy.cluster(SERVICE, proxy.endpoint(app)) +
                     proxy.service(SERVICE, VIP, 'route own { match { path prefix /own; } request_timeout 2s; try_timeout 1s; '
                                   'retry { attempts 5; on 5xx 429; backoff 10ms 50ms; } backend %s; }\n'
                                   'route off { match { path prefix /off; } retry off; backend %s; }\n'
                                   'route rest { backend %s; }' % (SERVICE, SERVICE, SERVICE)), start=False)
    own, off, rest = (waypoint.explain(curl, VIP, 'GET', path) for path in ('/own', '/off', '/x'))
    assert 'timeouts: request 2000ms, one attempt 1000ms, silence 3600000ms' in own
    assert 'retry: up to 5 times on 5xx, retriable-status-codes 429, back-off up to 10ms doubling to 50ms' in own
    assert 'retry: off' in off
    assert re.search(r"retry: up to 2 times on connect-failure, refused-stream, cancelled, unavailable, .*Istio's default", rest)
