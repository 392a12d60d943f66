# SPDX-License-Identifier: Apache-2.0
"""Circuit breakers and outlier detection: over four workers, after a crash, and side by side with Envoy."""

import collections
import concurrent.futures
import contextlib
import os
import re
import signal
import socket
import time

import pytest

from peers import envoy, net, origin, proxy, steady
from peers.http import Http, Plain

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'
OVERFLOW = b'upstream connect error or disconnect/reset before headers. reset reason: overflow'


def reviews(*endpoints, **settings):
    return proxy.cluster(REVIEWS, *endpoints, **settings) + proxy.service(REVIEWS, VIP, 'retry off;')


@pytest.fixture
def app(new_origin):
    return new_origin('reviews-v1')


class Crowd:
    """Tunnels on connections of their own, spread over at least `least` workers.

    Made several at once: while one worker is busy with a handshake, another accepts.
    """

    def __init__(self, waypoint, identity, least):
        self.waypoint, self.identity, self.connections, self.tunnels = waypoint, identity, [], []
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            while self.spread() < least:
                assert len(self.connections) < 400, 'connections do not reach %d workers' % least
                self.connections += threads.map(lambda _: waypoint.connection(identity), range(16))
        # A few of each worker are enough, so that few tunnels are on all of them.
        self.tunnels = [c.connect(VIP) for c in self.of_each_worker(4)]

    def add(self):
        self.connections.append(self.waypoint.connection(self.identity))
        self.tunnels.append(self.connections[-1].connect(VIP))
        return self.tunnels[-1]

    def of_each_worker(self, n):
        """At most n connections that each worker has; the others are closed."""
        owners = {pid: peers_of(pid, self.waypoint.ip) for pid in self.waypoint.workers()}
        kept, count = [], collections.Counter()
        for connection in self.connections:
            port = connection.sock.getsockname()[1]
            pid = next(p for p, ports in owners.items() if port in ports)
            count[pid] += 1
            if count[pid] <= n:
                kept.append(connection)
            else:
                connection.close()
        self.connections = kept
        return kept

    def spread(self):
        return sum(1 for pid in self.waypoint.workers() if sockets(pid, self.waypoint.ip))

    def close(self):
        for connection in self.connections:
            connection.close()


def peers_of(pid, ip):
    """Ports of the clients whose HBONE connections a process has."""
    mine, ports = set(), set()
    for fd in os.listdir('/proc/%d/fd' % pid):
        with contextlib.suppress(OSError):
            mine.add(os.readlink('/proc/%d/fd/%s' % (pid, fd)))
    at = '%02X%02X%02X%02X:%04X' % (*reversed([int(n) for n in ip.split('.')]), 15008)
    with open('/proc/net/tcp') as table:
        for line in table:
            fields = line.split()
            if fields[1] == at and fields[3] == '01' and 'socket:[%s]' % fields[9] in mine:
                ports.add(int(fields[2].split(':')[1], 16))
    return ports


def sockets(pid, ip):
    return len(peers_of(pid, ip))


@pytest.fixture
def crowd(stopping, curl):
    def make(waypoint, least):
        one = Crowd(waypoint, curl, least)
        one.stop = one.close
        stopping.append(one)
        return one
    return make


def answered(tunnels, n):
    """The responses of those that have one, once there are n of them."""
    got = {}

    def look():
        for tunnel in tunnels:
            if tunnel in got:
                continue
            try:
                got[tunnel] = tunnel.http.response(timeout=0.01)
            except TimeoutError:
                pass
        return len(got) >= n
    net.wait_for(look, 30, '%d answers' % n)
    return got


def in_use(waypoint, what):
    found = re.search(r'^%s::default_priority::%s::(\d+)$' % (re.escape(REVIEWS), what), waypoint.get('/clusters').body.decode(), re.M)
    return int(found.group(1)) if found else None


# ---- limits ----

def test_max_requests_is_exact_over_four_workers(cairn, app, crowd):
    waypoint = cairn(reviews(proxy.endpoint(app), breaker='max_requests=10'), workers=4)
    clients = crowd(waypoint, 3)
    while len(clients.tunnels) < 24:
        clients.add()
    for tunnel in clients.tunnels:
        tunnel.http.send(path='/hang')
    refused = answered(clients.tunnels, len(clients.tunnels) - 10)
    net.wait_for(lambda: len(app.requests) == 10, 10, 'ten requests at the pod')
    print('%d tunnels on %d workers: %d refused' % (len(clients.tunnels), clients.spread(), len(refused)))
    assert len(refused) == len(clients.tunnels) - 10
    for answer in refused.values():
        assert (answer.status, answer.body, answer.header('x-envoy-overloaded')) == (503, OVERFLOW, 'true')
    assert (in_use(waypoint, 'max_requests'), in_use(waypoint, 'rq_in_use')) == (10, 10)
    assert waypoint.count('envoy_cluster_upstream_rq_pending_overflow', cluster_name=REVIEWS) == len(refused)
    line = waypoint.access(len(refused))[-1]
    assert (line['response_flags'], line['response_code_details']) == ('UO', 'upstream_reset_before_response_started{overflow}')
    # those that end make room for as many
    going = [t for t in clients.tunnels if t not in refused]
    for tunnel in going[:4]:
        tunnel.reset()
    net.wait_for(lambda: in_use(waypoint, 'rq_in_use') == 6, 10, 'four places')
    free = list(refused)
    for tunnel in free[:6]:
        tunnel.http.send(path='/hang')
    assert len(answered(free[:6], 2)) == 2
    net.wait_for(lambda: len(app.requests) == 14, 10, 'four more requests at the pod')


def test_what_a_killed_worker_had_is_free_again(cairn, app, crowd, curl):
    waypoint = cairn(reviews(proxy.endpoint(app), breaker='max_requests=12'), workers=4)
    waypoint.expect_crash = True
    clients = crowd(waypoint, 3)
    while len(clients.tunnels) < 12:
        clients.add()
    for tunnel in clients.tunnels[-12:]:
        tunnel.http.send(path='/hang')
    net.wait_for(lambda: in_use(waypoint, 'rq_in_use') == len(app.requests) == 12, 10, 'all places taken')
    before = waypoint.workers()
    admin = lambda: set(waypoint.workers())
    victim = max(before, key=lambda pid: sockets(pid, waypoint.ip))
    held = sockets(victim, waypoint.ip)
    assert held > 0
    os.kill(victim, signal.SIGKILL)
    net.wait_for(lambda: victim not in admin() and len(admin()) == 4, 15, 'another worker')
    left = net.wait_for(lambda: in_use(waypoint, 'rq_in_use'), 10, 'the count')
    print('killed a worker with %d connections: %d of 12 in use' % (held, left))
    assert left < 12
    ended = len(app.requests)
    late = [waypoint.connection(curl) for _ in range(12 - left + 3)]
    tunnels = [c.connect(VIP) for c in late]
    for tunnel in tunnels:
        tunnel.http.send(path='/hang')
    assert len(answered(tunnels, 3)) == 3
    net.wait_for(lambda: len(app.requests) == ended + 12 - left, 10, 'exactly the free places')
    for c in late:
        c.close()


def test_requests_beyond_max_connections_wait(cairn, app, curl):
    waypoint = cairn(reviews(proxy.endpoint(app), breaker='max_connections=2'))
    with waypoint.connection(curl) as connection:
        tunnels = [connection.connect(VIP) for _ in range(8)]
        for tunnel in tunnels:
            tunnel.http.send(path='/slow/30')
        assert {t.http.response().status for t in tunnels} == {200}
    assert app.connections <= 2
    assert waypoint.count('envoy_cluster_upstream_cx_overflow', cluster_name=REVIEWS) > 0


class CountingOrigin(origin.Origin):
    """Knows how many connections were open at once: those whose end has come do not count."""

    def __init__(self, *args):
        self.most = 0
        super().__init__(*args)

    def handle(self, sock, number):
        net.wait_for(lambda: self.alive() <= self.limit, 5, 'the end of another connection')
        super().handle(sock, number)

    def alive(self):
        return sum(1 for sock in self._open if is_alive(sock))


def is_alive(sock):
    """Established, as the kernel sees it: neither closed here nor ended by the peer."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1
    except OSError:
        return False


@pytest.mark.parametrize('limit', [1, 2])
def test_max_connections_is_exact_over_four_workers_and_none_starves(cairn, stopping, crowd, limit):
    """One connection goes from worker to worker, idle or not."""
    app = CountingOrigin('reviews-v1')
    app.limit = limit
    stopping.append(app)
    waypoint = cairn(reviews(proxy.endpoint(app), breaker='max_connections=%d' % limit), workers=4)
    clients = crowd(waypoint, 4)
    for _ in range(3):  # it idles at one, the next needs it
        for tunnel in clients.tunnels:
            assert tunnel.request().status == 200
    for tunnel in clients.tunnels:  # all at once
        for _ in range(5):
            tunnel.http.send(path='/slow/5')
    assert [t.http.response().status for t in clients.tunnels for _ in range(5)] == [200] * 5 * len(clients.tunnels)
    print('%d workers, %d connections one after the other' % (clients.spread(), app.connections))
    assert app.connections > limit and not app.errors
    assert in_use(waypoint, 'cx_in_use') <= limit


def test_tcp_connections_beyond_max_connections_are_refused(cairn, stopping, crowd):
    app = origin.TcpOrigin('echo')
    stopping.append(app)
    waypoint = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app), protocol='tcp', breaker='max_connections=3') +
                     proxy.service(REVIEWS, VIP, protocol='tcp'), workers=4)
    clients = crowd(waypoint, 4)
    for tunnel in clients.tunnels:
        tunnel.send(b'x')
    net.wait_for(lambda: len(waypoint.access_path.read_text().splitlines()) == len(clients.tunnels) - 3
                 if waypoint.access_path.exists() else False, 10, 'the refusals')
    assert {line['response_flags'] for line in waypoint.access()} == {'UO'}
    assert (app.connections, in_use(waypoint, 'cx_in_use')) == (3, 3)


def test_each_worker_may_have_an_http2_connection(cairn, new_http2_origin, crowd):
    """With fewer, a call that streams for hours would keep all other workers waiting."""
    app = new_http2_origin('reviews-v1')
    waypoint = cairn(reviews(proxy.endpoint(app), protocol='http2', breaker='max_connections=1'), workers=4)
    clients = crowd(waypoint, 3)
    for tunnel in clients.tunnels:
        tunnel.http.send(path='/slow/300')
    assert {t.http.response().status for t in clients.tunnels} == {200}
    assert app.connections <= 4


def test_requests_beyond_max_pending_do_not_wait(cairn, app, curl):
    waypoint = cairn(reviews(proxy.endpoint(app), breaker='max_connections=1 max_pending=1'))
    with waypoint.connection(curl) as connection:
        tunnels = [connection.connect(VIP) for _ in range(5)]
        tunnels[0].http.send(path='/hang')
        net.wait_for(lambda: app.requests, 10, 'the first request')
        for tunnel in tunnels[1:]:
            tunnel.http.send(path='/late')
        refused = answered(tunnels[1:], 3)
        assert [(a.status, a.body) for a in refused.values()] == [(503, OVERFLOW)] * 3


def test_a_full_table_limits_nothing_and_is_counted(cairn, app, curl):
    """One row for two clusters, one for three endpoints: who has none is served without limits."""
    other, vip = 'ratings.bookinfo:9080', '10.96.0.2:9080'
    limits = {'breaker': 'max_requests=1', 'outlier': 'consecutive_5xx=1'}
    one = cairn('breaker_memory clusters=1 hosts=1;\n' + reviews(proxy.endpoint(app), **limits) +
                proxy.cluster(other, proxy.endpoint(app), **limits) + proxy.service(other, vip, 'retry off;'))
    for authority in (VIP, vip) * 10:
        assert one.request(curl, authority).status == 200
    full = one.count('cairn_circuit_breaker_full_total')
    print('one row for two clusters: %d times none, 20 requests served' % full)
    assert full >= 10


def test_retries_beyond_max_retries_are_not_made(cairn, app, curl):
    waypoint = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app), breaker='max_retries=0') + proxy.service(
        REVIEWS, VIP, 'retry { attempts 2; codes 503; }'))
    answer = waypoint.request(curl, VIP, path='/status/503')
    assert (answer.status, answer.header('x-envoy-overloaded')) == (503, None)
    assert len(app.requests) == 1
    line = waypoint.access(1)[0]
    assert (line['response_flags'], line['response_code_details']) == ('UO', 'via_upstream')
    assert waypoint.count('envoy_cluster_upstream_rq_retry_overflow', cluster_name=REVIEWS) == 1


# ---- outlier detection ----

@pytest.fixture
def pair(new_origin):
    return [new_origin('pod-%d' % i) for i in range(2)]


def hashed(pods, **settings):
    """A header decides which pod is asked, so that one can be made to fail."""
    return reviews(*[proxy.endpoint(p) for p in pods], lb='ring_hash', lb_hash='header x-user', **settings)


def key_of(http, pod):
    for i in range(100):
        if http.request(headers={'x-user': 'k%d' % i}).json()['pod'] == pod:
            return {'x-user': 'k%d' % i}
    raise AssertionError('no key leads to ' + pod)


def test_a_failing_pod_is_put_aside_and_returns(cairn, pair, crowd):
    waypoint = cairn(hashed(pair, outlier='consecutive_5xx=5 interval=200ms base_ejection=1s'), workers=4)
    clients = crowd(waypoint, 3)
    key = key_of(clients.tunnels[0], 'pod-0')
    ask = lambda i, path='/': clients.tunnels[i % len(clients.tunnels)].request(path=path, headers=key)
    assert [ask(i, '/status/500').status for i in range(4)] == [500] * 4
    assert ask(5).json()['pod'] == 'pod-0'
    for i in range(5):  # on different workers
        assert ask(i, '/status/500').status == 500
    assert {ask(i).json()['pod'] for i in range(12)} == {'pod-1'}
    lines = waypoint.get('/clusters').body.decode()
    assert '%s::%s::health_flags::/failed_outlier_check' % (REVIEWS, pair[0].address) in lines
    assert '%s::%s::outlier::ejections::1' % (REVIEWS, pair[0].address) in lines
    assert '%s::outlier::ejected::1' % REVIEWS in lines
    assert waypoint.count('envoy_cluster_outlier_detection_ejections_active', cluster_name=REVIEWS) == 1
    net.wait_for(lambda: ask(0).json()['pod'] == 'pod-0', 20, 'the pod to return')
    assert waypoint.count('envoy_cluster_outlier_detection_ejections_active', cluster_name=REVIEWS) == 0
    assert waypoint.count('envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx', cluster_name=REVIEWS) == 1
    assert len(re.findall('is put aside', waypoint.log)) == 1
    assert len(re.findall('%s is back' % pair[0].address, waypoint.log)) == 1


def test_ejection_survives_a_reload_and_a_killed_worker(cairn, pair, crowd, curl):
    waypoint = cairn(hashed(pair, outlier='base_ejection=1h'), workers=2)
    waypoint.expect_crash = True
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        key = key_of(tunnel, 'pod-0')
        for _ in range(5):
            tunnel.request(path='/status/503', headers=key)
        assert tunnel.request(headers=key).json()['pod'] == 'pod-1'
    waypoint.reload(hashed(pair, outlier='base_ejection=2h'))
    assert waypoint.request(curl, VIP, headers=key).json()['pod'] == 'pod-1'
    before = set(waypoint.workers())
    os.kill(min(before), signal.SIGKILL)
    net.wait_for(lambda: len(set(waypoint.workers()) - before) == 1 and len(waypoint.workers()) == 2, 15, 'another worker')
    for _ in range(6):
        assert waypoint.request(curl, VIP, headers=key).json()['pod'] == 'pod-1'


def test_too_few_healthy_pods_are_better_than_none(cairn, pair, curl):
    settings = 'consecutive_5xx=1 base_ejection=1h max_ejection_percent=100'
    waypoint = cairn(hashed(pair, outlier=settings))
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for pod in ('pod-0', 'pod-1'):
            key = key_of(tunnel, pod)
            tunnel.request(path='/status/500', headers=key)
            if pod == 'pod-0':
                assert tunnel.request(headers=key).json()['pod'] == 'pod-1'
        answer = tunnel.request()
        assert (answer.status, answer.body) == (503, b'no healthy upstream')
    waypoint.reload(hashed(pair, outlier=settings + ' min_health_percent=50'))
    assert waypoint.request(curl, VIP).status == 200


def test_a_pod_that_cannot_be_reached_is_put_aside(cairn, app, curl):
    dead = net.new_ip() + ':9080'
    waypoint = cairn(reviews(proxy.endpoint(app), dead, lb='round_robin', outlier='split_local=on consecutive_local=3 base_ejection=1h'))
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        statuses = [tunnel.request().status for _ in range(20)]
    assert statuses.count(503) == 3
    assert statuses[-12:] == [200] * 12
    assert 'failures to reach it' in waypoint.log


# ---- side by side with Envoy ----

def one_by_one(http, requests):
    return [(a.status, a.body, a.header('x-envoy-overloaded')) for a in (http.request(**r) for r in requests)]


class Closing:
    def __init__(self, thing):
        self.stop = thing.close


@pytest.fixture
def both(cairn, new_origin, curl, tmp_path, stopping):
    """both(cairn's settings, Envoy's cluster) -> for each: a way to open a client, and its log's lines."""
    if not envoy.binary():
        pytest.skip('no Envoy')

    def make(here, there, endpoints=None):
        apps = [new_origin('app-here'), new_origin('app-there')]
        waypoint = cairn(reviews(*(endpoints or [proxy.endpoint(apps[0])]), **here))
        front = envoy.front(tmp_path / 'envoy', [((apps[1].ip, apps[1].port), None)] if not endpoints else [
            ((e.split(':')[0], 9080), None) for e in endpoints], **there)
        stopping.append(front)

        def open_here():
            connection = waypoint.connection(curl)
            stopping.append(Closing(connection))
            return connection.connect(VIP)

        def open_there():
            plain = Plain(*front.address)
            stopping.append(Closing(plain))
            return Http(plain)
        log = lambda n: [(str(line['response_code']), line['response_flags'], line['response_code_details'])
                         for line in waypoint.access(n)]
        theirs = lambda n: net.wait_for(lambda: len(front.lines()) >= n and [tuple(x.split(' ', 2)) for x in front.lines()], 20, 'log')
        return [(open_here, apps[0], log), (open_there, apps[1], theirs)]
    return make


LIMITS = {'max_requests': {'max_requests': 1}, 'max_pending': {'max_connections': 1, 'max_pending_requests': 1}}


@pytest.mark.parametrize('name, breaker, expected', [
    ('max_requests', 'max_requests=1', 3),
    ('max_pending', 'max_connections=1 max_pending=1', 2),
])
def test_overflow_answers_as_envoy_does(both, name, breaker, expected):
    outcomes = []
    for client, app, log in both({'breaker': breaker}, {'circuit_breakers': {'thresholds': [LIMITS[name]]}}):
        first = client()
        send(first, '/hang')
        net.wait_for(lambda: app.requests, 10, 'the first request')
        rest = [client() for _ in range(3)]
        for http in rest:
            send(http, '/')
        got = answered_by(rest, expected)
        outcomes.append(([(a.status, a.body, a.header('x-envoy-overloaded')) for a in got], log(expected)[:expected]))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0][0]) == expected


def send(http, path):
    getattr(http, 'http', http).send(path=path)


def answered_by(https, n):
    return list(answered([h if hasattr(h, 'http') else Wrapped(h) for h in https], n).values())


class Wrapped:
    def __init__(self, http):
        self.http = http


UH = ('UH', 'no_healthy_upstream')


def test_outlier_ejects_after_as_many_failures_as_envoy(both):
    outcomes = []
    outlier = {'consecutive_5xx': 3, 'interval': '3600s', 'base_ejection_time': '3600s', 'max_ejection_percent': 100,
               'enforcing_consecutive_5xx': 100, 'consecutive_gateway_failure': 0, 'enforcing_success_rate': 0}
    requests = [{'path': '/status/%d' % s} for s in (500, 500, 404, 500, 500, 200, 503, 501, 500)]
    for client, app, log in both({'outlier': 'consecutive_5xx=3 interval=1h base_ejection=1h max_ejection_percent=100'},
                                 {'outlier_detection': outlier}):
        http = client()
        got = [status for status, _, _ in one_by_one(http, requests)]
        # Envoy's workers hear of it from its main thread, when that gets its turn.
        net.wait_for(lambda: http.request(path='/').status == 503, 10, 'the ejection')
        outcomes.append((got, log(len(requests) + 1)[:len(requests)], net.wait_for(lambda: log(len(requests) + 1)[-1][1:] == UH, 10)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == [500, 500, 404, 500, 500, 200, 503, 501, 500]


# ---- what an operator is told ----

def test_explain_names_the_limits_of_the_cluster(cairn, app, curl):
    waypoint = cairn(reviews(proxy.endpoint(app), breaker='max_requests=10 max_retries=3', outlier=''), start=False)
    said = waypoint.explain(curl, VIP, 'GET', '/')
    assert 'cluster: default_priority::max_requests 10' in said
    assert 'cluster: default_priority::max_retries 3' in said
    assert 'cluster: outlier::max_consecutive_5xx 5' in said
    assert 'cluster: outlier::ejected 0' in said


def test_another_size_of_the_tables_takes_a_restart(cairn, app, curl):
    waypoint = cairn(reviews(proxy.endpoint(app), breaker='max_requests=1'))
    waypoint.reload('breaker_memory clusters=10 hosts=65536;\n' + reviews(proxy.endpoint(app), breaker='max_requests=1'))
    waypoint.wait_log(r'shared memory circuit_breaker.clusters \(module circuit_breaker\) keeps its \d+ bytes, '
                      r'the configuration asks for \d+: restart or upgrade the master')
    assert 'circuit_breaker.hosts' not in waypoint.log
    assert waypoint.request(curl, VIP).status == 200


def test_a_connection_serves_as_many_requests_as_it_may(cairn, app, curl):
    waypoint = cairn(reviews(proxy.endpoint(app), max_requests_per_connection='3'))
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        used = [tunnel.request().json()['connection'] for _ in range(9)]
    assert [used.count(number) for number in sorted(set(used))] == [3, 3, 3]


@pytest.mark.skipif(not envoy.binary(), reason='no Envoy')
@pytest.mark.parametrize('protocol', ['http', 'http2'])
@pytest.mark.parametrize('most', [1, 3])
def test_connections_carry_as_many_requests_as_envoys(cairn, new_origin, new_http2_origin, curl, tmp_path, stopping, protocol, most):
    app = (new_http2_origin if protocol == 'http2' else new_origin)('reviews-v1')
    options = {'@type': envoy.TYPE + 'upstreams.http.v3.HttpProtocolOptions', 'common_http_protocol_options': {'max_requests_per_connection': most},
               'explicit_http_config': {'http2_protocol_options' if protocol == 'http2' else 'http_protocol_options': {}}}
    peer = envoy.front(tmp_path / 'envoy', [((app.ip, app.port), None)], typed_extension_protocol_options={
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': options})
    stopping.append(peer)
    waypoint = cairn(reviews(proxy.endpoint(app), protocol=protocol, max_requests_per_connection=str(most)))

    def carried(http):
        return list(collections.Counter(http.request().json()['connection'] for _ in range(9)).values())
    with waypoint.connection(curl) as connection:
        assert carried(connection.connect(VIP).http) == carried(Http(Plain(*peer.address))) == [most] * (9 // most)


@pytest.mark.parametrize('out', ['plain', 'hbone'])
@pytest.mark.parametrize('protocol', ['http', 'http2'])
def test_connections_that_are_too_old_are_left_without_a_lost_request(
        cairn, new_origin, new_http2_origin, capture, builddir, stopping, curl, protocol, out):
    app = (new_http2_origin if protocol == 'http2' else new_origin)('reviews-v1')
    pod = {'pod': capture(app, 'bookinfo', 'reviews')} if out == 'hbone' else {}
    waypoint = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app, **pod), protocol=protocol, max_connection_duration='50ms') +
                     proxy.service(REVIEWS, VIP, 'retry off;'))
    load = steady.Load(builddir, waypoint, curl, connections=2, tunnels=4)
    stopping.append(load)
    net.wait_for(lambda: app.connections >= 30, 60.0, 'connections to take the place of older ones')
    load.expect_nothing_lost('%s %s, %d connections' % (protocol, out, app.connections))


def test_connection_with_a_slow_request_outlives_its_time_for_that_alone(cairn, new_http2_origin, curl):
    app = new_http2_origin('reviews-v1')
    waypoint = cairn(reviews(proxy.endpoint(app), protocol='http2', max_connection_duration='100ms'))
    with waypoint.connection(curl) as connection:
        slow, quick = connection.connect(VIP), connection.connect(VIP)
        slow.http.send(path='/slow/1500')
        net.wait_for(lambda: app.begun, what='the slow request')
        net.wait_for(lambda: quick.request().json()['connection'] >= 2, what='a second connection')
        assert slow.http.response().status == 200
    net.wait_for(lambda: all(one.sock.fileno() < 0 for one in app.open_connections), what='every connection to end')


def switches(pid):
    """How often a process has waited."""
    return int(re.search(r'^voluntary_ctxt_switches:\s+(\d+)', open('/proc/%d/status' % pid).read(), re.M)[1])


def test_worker_whose_cluster_has_room_sleeps(cairn, app, curl):
    """A connection that idles is looked after while somebody may wait for its place, and nobody may where there is room."""
    one = cairn(reviews(proxy.endpoint(app), breaker='max_connections=1000'))
    pid, = one.workers()
    with one.connection(curl) as connection:
        assert connection.connect(VIP).request().status == 200
        one.access(1)
        before = switches(pid)
        time.sleep(2)
        woken = switches(pid) - before
    print('woken %d times in 2 s' % woken)
    assert woken < 60
