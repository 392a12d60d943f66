# SPDX-License-Identifier: Apache-2.0
"""Two networks: HBONE in HBONE, through an east-west gateway, out of a waypoint and into one."""

import pytest

from peers import envoy as envoys
from peers import hbone, net, proxy

REVIEWS, VIP = 'reviews.bookinfo:9080', '10.96.5.1:9080'
ECHO, TCP = 'echo.bookinfo:9000', '10.96.5.2:9000'
NAME, ECHO_NAME = 'reviews.bookinfo.svc.cluster.local:9080', 'echo.bookinfo.svc.cluster.local:9000'
BODY = bytes(range(256)) * 2048


@pytest.fixture
def eastwest(pki):
    return pki.identity('istio-system', 'eastwest')


@pytest.fixture
def source_waypoint(pki):
    """The identity of the other network's waypoint."""
    return pki.identity('bookinfo', 'waypoint-west')


def through(address, gateway, behind, **more):
    """The endpoint line of a gateway."""
    line = '%s:%d tunnel=double_hbone gateway_identity=%s identity=%s' % (*address, gateway.uri, behind.uri)
    return ' '.join([line] + ['%s=%s' % pair for pair in more.items()])


def services(web=(), tcp=(), **settings):
    return (proxy.cluster(REVIEWS, *web, **settings) + proxy.service(REVIEWS, VIP) +
            proxy.cluster(ECHO, *tcp, **{**settings, 'protocol': 'tcp'}) + proxy.service(ECHO, TCP, protocol='tcp'))


class Remote:
    """A network with one pod for each service, a gateway before it, and a log of what it was asked for."""

    def __init__(self, app, echo, stopping, pki, gateway_identity, **options):
        self.app, self.echo = app, echo
        self.pods = {one.name: hbone.CapturedPod(one.ip, pki.identity('bookinfo', one.name), names={
            NAME: app.address, ECHO_NAME: echo.address}) for one in (app, echo)}
        self.gateway = hbone.CapturedPod(net.new_ip(), gateway_identity, names={
            NAME: app.ip + ':15008', ECHO_NAME: echo.ip + ':15008'}, **options)
        stopping += [*self.pods.values(), self.gateway]

    def endpoint(self, app, **more):
        return through((self.gateway.ip, 15008), self.gateway.identity, self.pods[app.name].identity, **more)

    def conf(self, **settings):
        return services([self.endpoint(self.app)], [self.endpoint(self.echo)], **settings)


@pytest.fixture
def remote(new_origin, new_tcp_origin, stopping, pki, eastwest):
    def make(**options):
        return Remote(new_origin('reviews'), new_tcp_origin('echo', bye=b'bye'), stopping, pki, eastwest, **options)
    return make


# ---- out ----

def test_request_goes_through_the_gateway_of_its_network(cairn, remote, curl, waypoint_identity):
    west = remote()
    one = cairn(west.conf())
    assert one.request(curl, VIP, 'POST', '/echo', body=BODY).body == BODY
    outer, inner = west.gateway.connects[0], west.pods['reviews'].connects[0]
    assert (outer.authority, inner.authority) == (NAME, NAME)
    assert (outer.header('x-istio-source'), inner.header('x-istio-source')) == ('waypoint', None)
    assert [outer.peer, inner.peer] == [waypoint_identity.uri] * 2
    line, = one.access()
    assert line['upstream_host'] == west.gateway.ip + ':15008'
    assert (line['response_code'], line['response_flags']) == (200, '-')


def test_pod_behind_the_gateway_is_known_by_what_it_says_and_its_certificate(cairn, remote, curl):
    west = remote()
    for pod in west.pods.values():
        pod.answer = [('baggage', 'k8s.cluster.name=far,k8s.namespace.name=lies,k8s.deployment.name=reviews-v7,'
                                  'service.name=reviews,service.version=v7')]
    one = cairn(west.conf())
    for _ in range(2):
        assert one.request(curl, VIP).status == 200
    with one.connection(curl) as connection:
        tunnel = connection.connect(TCP)
        tunnel.send(b'x')
        assert tunnel.recv() == b'x'
    who = {'destination_workload': 'reviews-v7', 'destination_canonical_revision': 'v7', 'destination_cluster': 'far',
           'destination_workload_namespace': 'bookinfo'}
    net.wait_for(lambda: one.count('istio_requests_total', **who,
                                   destination_principal=west.pods['reviews'].identity.uri) == 2, what='the requests')
    net.wait_for(lambda: one.count('istio_tcp_connections_opened_total', **who,
                                   destination_principal=west.pods['echo'].identity.uri) == 1, what='the connection')


@pytest.mark.parametrize('said', ['', '=,=,;', 'x=' + 'y' * 5000, 'service.name'])
def test_pod_that_says_nothing_sensible_is_served_and_unknown(cairn, remote, curl, said):
    west = remote()
    west.pods['reviews'].answer = [('baggage', said)]
    one = cairn(west.conf())
    assert one.request(curl, VIP).status == 200
    net.wait_for(lambda: one.count('istio_requests_total', destination_workload='unknown') == 1, what='the request')


def test_our_network_is_said_inside_only(cairn, remote, curl):
    west = remote()
    one = cairn(west.conf(), network='east')
    assert one.request(curl, VIP).status == 200
    assert west.gateway.connects[0].header('x-forwarded-network') is None
    assert west.pods['reviews'].connects[0].header('x-forwarded-network') == 'east'


def test_half_close_and_megabytes_pass_the_gateway(cairn, remote, curl):
    west = remote()
    one = cairn(west.conf())
    with one.connection(curl) as connection:
        tunnel = connection.connect(TCP)
        tunnel.send(BODY * 4)
        tunnel.half_close()
        assert tunnel.recv_all() == BODY * 4 + b'bye'
    assert one.access()[0]['response_flags'] == '-'
    net.wait_for(lambda: west.gateway.streams() == 0 and west.pods['echo'].streams() == 0, what='both tunnels to end')


def test_each_tunnel_is_for_the_gateway_to_place(cairn, remote, curl):
    """One session to the gateway, and a new one through it for each connection."""
    west = remote()
    one = cairn(west.conf())
    with one.connection(curl) as connection:
        tunnels = [connection.connect(TCP) for _ in range(5)]
        for tunnel in tunnels:
            tunnel.send(b'x')
            assert tunnel.recv() == b'x'
        assert west.gateway.accepted == 1
        assert west.pods['echo'].accepted == 5


@pytest.mark.parametrize('wrong', ['gateway', 'pod'])
def test_gateway_and_pod_must_be_who_the_endpoint_says(cairn, remote, pki, curl, wrong):
    west = remote()
    gateway, pod = west.gateway.identity, west.pods['reviews'].identity
    other = pki.identity('bookinfo', 'other')
    line = through((west.gateway.ip, 15008), other if wrong == 'gateway' else gateway, other if wrong == 'pod' else pod)
    one = cairn(services([line]))
    answer = one.request(curl, VIP)
    assert answer.status == 503
    line = one.access()[0]
    assert 'UF' in line['response_flags']
    assert 'identity' in line['upstream_transport_failure_reason'] or 'spiffe' in line['upstream_transport_failure_reason']
    assert west.app.connections == 0


def test_gateway_that_refuses_is_a_connect_failure_and_another_is_tried(cairn, remote, new_origin, curl):
    west, near = remote(verdict=lambda *_: 503), new_origin('near')
    one = cairn(services([west.endpoint(west.app)]))
    assert one.request(curl, VIP).status == 503
    assert one.access()[0]['response_flags'] == 'URX,UF'
    one.reload(services([west.endpoint(west.app), proxy.endpoint(near)]))
    for _ in range(6):
        assert one.request(curl, VIP).header('x-pod') == 'near'


@pytest.mark.parametrize('mute', ['gateway', 'pod'])
def test_who_does_not_answer_the_connect_costs_the_connect_timeout(cairn, remote, curl, mute):
    west = remote(verdict=(lambda *_: 'ignore') if mute == 'gateway' else None)
    if mute == 'pod':
        west.pods['reviews'].verdict = lambda *_: 'ignore'
    one = cairn(services([west.endpoint(west.app)], connect_timeout='300ms'))
    assert one.request(curl, VIP).status == 503
    assert 'UF' in one.access()[0]['response_flags']


def test_second_try_that_the_gateway_does_not_answer_is_given_up(cairn, remote, curl):
    west = remote(verdict=lambda *_: 'ignore' if len(west.gateway.connects) > 1 else None)
    west.pods['reviews'].verdict = lambda *_: 'reset'  # unprocessed: asked for once more
    text = proxy.cluster(REVIEWS, west.endpoint(west.app), connect_timeout='1s') + proxy.service(REVIEWS, VIP, 'retry off;')
    one = cairn(text, main='hbone_handshake_timeout 2s;')
    assert one.request(curl, VIP).status == 503
    assert len(west.gateway.connects) == 2
    net.wait_for(lambda: one.count('cairn_hbone_upstream_failures_total', reason='timeout') == 1, what='the end of it')


def test_pod_that_dies_behind_the_gateway_ends_its_connections(cairn, remote, curl):
    west = remote()
    one = cairn(west.conf())
    with one.connection(curl) as connection:
        tunnel = connection.connect(TCP)
        tunnel.send(b'x')
        assert tunnel.recv() == b'x'
        west.pods['echo'].stop()
        with pytest.raises(ConnectionResetError):
            tunnel.recv()
    assert one.access()[0]['response_flags'] == 'UR'
    assert west.gateway.accepted == 1


def test_pod_that_falls_silent_behind_a_live_gateway_is_found_by_ping(cairn, remote, curl):
    west = remote()
    one = cairn(west.conf(), main='hbone_ping_interval 200ms;\nhbone_ping_timeout 300ms;')
    with one.connection(curl) as connection:
        tunnel = connection.connect(TCP)
        tunnel.send(b'x')
        assert tunnel.recv() == b'x'
        west.gateway.holding = True
        with pytest.raises(ConnectionResetError):
            tunnel.recv()


@pytest.mark.parametrize('pod', ['Envoy', 'cairn'])
def test_envoy_as_gateway(cairn, new_origin, envoy_pod, stopping, tmp_path, eastwest, pki, curl, pod):
    app = new_origin('reviews')
    if pod == 'Envoy':
        behind = envoy_pod(app, 'bookinfo', 'reviews')
        behind.ip = app.ip
    else:
        behind = cairn(services([proxy.endpoint(app)]), identity=pki.identity('bookinfo', 'waypoint-2'))
    gateway = envoys.gateway(tmp_path / 'gateway', eastwest, (behind.ip, 15008))
    stopping.append(gateway)
    one = cairn(services([through(gateway.address, eastwest, behind.identity)]))
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        assert tunnel.request('POST', '/echo', body=BODY).body == BODY
        assert tunnel.request(path='/n').header('x-pod') == 'reviews'
    assert [line['response_flags'] for line in one.access(2)] == ['-', '-']


# ---- in ----

DOUBLE = 'listen {}:15009 double_hbone;'


class Twice:
    """A client on the far side of a gateway: the outer connection is the gateway's or the source waypoint's."""

    def __init__(self, waypoint, outer, authority=NAME, **options):
        self.outer = hbone.Connection(waypoint.ip, outer, port=15009, **options)
        self.tunnel = self.outer.connect(authority)

    def connection(self, identity, **options):
        return hbone.Connection(self.tunnel, identity, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.outer.close()


@pytest.fixture
def inbound(cairn, new_origin, new_tcp_origin):
    """A waypoint with a listener for what comes from other networks; .app and .echo are its pods."""
    def make(body='', main='', **options):
        app, echo, ip = new_origin('reviews'), new_tcp_origin('echo', bye=b'bye'), net.new_ip()
        one = cairn(services([proxy.endpoint(app)], [proxy.endpoint(echo)]) + body, ip=ip,
                    main=DOUBLE.format(ip) + '\n' + main, **options)
        one.app, one.echo = app, echo
        return one
    return make


def test_inner_peer_is_the_client(inbound, eastwest, curl):
    one = inbound()
    with Twice(one, eastwest) as twice:
        connection = twice.connection(curl)
        assert connection.peer == one.identity.uri
        assert connection.connect(NAME).request(host='reviews').status == 200
    line, = one.access()
    assert line['downstream_local_address'] == VIP
    net.wait_for(lambda: one.count('istio_requests_total', response_code='200', source_principal=curl.uri) == 1, what='the count')


def test_policy_sees_the_inner_identity(cairn, new_origin, eastwest, curl, pki):
    app, ip = new_origin('reviews'), net.new_ip()
    one = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app)) +
                proxy.service(REVIEWS, VIP, 'authz { policy "bookinfo/curl" allow { rule { from { principals %s; } } } }' %
                              curl.uri.removeprefix('spiffe://')), ip=ip, main=DOUBLE.format(ip))
    for who, status in ((curl, 200), (pki.identity('default', 'other'), 403)):
        with Twice(one, eastwest) as twice:
            assert twice.connection(who).connect(NAME).request(host='reviews').status == status


def test_several_clients_share_the_outer_connection(inbound, eastwest, curl, pki):
    one = inbound()
    other = pki.identity('default', 'other')
    with Twice(one, eastwest) as twice:
        first = twice.connection(curl).connect(NAME)
        second = hbone.Connection(twice.outer.connect(ECHO_NAME), other).connect(ECHO_NAME)
        second.send(BODY)
        second.half_close()
        assert second.recv_all() == BODY + b'bye'
        assert first.request(host='reviews').status == 200
    net.wait_for(lambda: one.count('istio_tcp_connections_opened_total', source_principal=other.uri) == 1, what='the count')


def test_address_of_another_network_says_nothing_about_the_client(inbound, eastwest, curl):
    record = '127.0.0.1 name=wrong namespace=wrong workload=wrong type=deployment\n'
    baggage = 'k8s.namespace.name=default,k8s.deployment.name=far-curl,service.name=curl'
    one = inbound(main='workloads workloads;', files={'workloads': record}, network='east')
    with Twice(one, eastwest) as twice:
        tunnel = twice.connection(curl).connect(NAME, [('x-forwarded-network', 'west'), ('baggage', baggage)])
        assert tunnel.request(host='reviews').status == 200
    net.wait_for(lambda: one.count('istio_requests_total', source_workload='far-curl') == 1, what='the count')


@pytest.mark.parametrize('who', ['nobody', 'foreign', 'plain'])
def test_what_is_in_the_tunnel_must_prove_who_it_is(inbound, eastwest, curl, pki, who):
    one = inbound()
    with Twice(one, eastwest) as twice:
        if who == 'plain':
            twice.tunnel.send(b'GET / HTTP/1.1\r\nHost: reviews\r\n\r\n')
            with pytest.raises((ConnectionResetError, AssertionError)):
                assert twice.tunnel.recv_all().startswith(b'HTTP')
        else:
            stranger = hbone.Anonymous(pki.roots) if who == 'nobody' else pki.foreign_ca('default', 'curl')
            with pytest.raises((OSError, ConnectionError)):
                twice.connection(stranger).ping()
        assert hbone.Connection(twice.outer.connect(NAME), curl).connect(NAME).request(host='reviews').status == 200
    assert one.app.connections == 1


def test_outer_connection_is_the_meshs_too(inbound, pki, curl):
    one = inbound()
    assert hbone.is_refused(one.ip, pki.foreign_ca('istio-system', 'eastwest'), port=15009)
    assert hbone.is_refused(one.ip, hbone.Anonymous(pki.roots), port=15009)
    assert not hbone.is_refused(one.ip, curl, port=15009)


@pytest.mark.parametrize('authority,status', [('other.bookinfo.svc.cluster.local:9080', 503), ('10.9.9.9:80', 503),
                                              ('reviews', 400)])
def test_gateway_is_refused_what_is_not_served(inbound, eastwest, curl, authority, status):
    one = inbound()
    with one.connection(eastwest, port=15009) as outer:
        tunnel = outer.open(authority)
        tunnel.wait_response()
        assert tunnel.status == status
        inner = hbone.Connection(outer.connect(NAME), curl)
        again = inner.open(authority)
        again.wait_response()
        assert again.status == status


def test_client_that_never_begins_its_handshake_is_let_go(inbound, eastwest):
    one = inbound(main='hbone_handshake_timeout 300ms;')
    with Twice(one, eastwest) as twice:
        with pytest.raises((ConnectionResetError, AssertionError)):
            assert twice.tunnel.recv(10.0)
        twice.outer.ping()
    assert one.metrics()['cairn_hbone_handshake_failures_total{reason="timeout"}'] == 1


def test_single_listener_beside_it_stays_single(inbound, curl):
    one = inbound()
    assert one.request(curl, VIP).status == 200
    assert one.request(curl, NAME).status == 200


def test_drain_reaches_the_inner_connection(inbound, eastwest, curl):
    one = inbound()
    with Twice(one, eastwest) as twice:
        connection = twice.connection(curl)
        tunnel = connection.connect(NAME)
        tunnel.http.send(path='/slow/300', host='reviews')
        net.wait_for(lambda: one.app.connections, what='the request at the pod')
        one.send_signal(3)
        assert tunnel.http.response().status == 200
        connection.until(lambda: connection.goaway is not None or connection.closed, what='GOAWAY inside')
        twice.outer.until(lambda: twice.outer.goaway is not None or twice.outer.closed, what='GOAWAY')


def test_envoy_as_client_of_two_tunnels(inbound, stopping, tmp_path, source_waypoint, plain):
    one = inbound(network='east')
    client = envoys.double_client(tmp_path / 'client', (one.ip, 15009), source_waypoint, NAME, 'west')
    stopping.append(client)
    http = plain(*client.address)
    assert http.request('POST', '/echo', body=BODY, host='reviews').body == BODY
    assert http.request(path='/n', host='reviews').header('x-pod') == 'reviews'
    net.wait_for(lambda: one.count('istio_requests_total', source_principal=source_waypoint.uri) == 2, what='both counts')


# ---- cairn at both ends ----

@pytest.mark.parametrize('gateway', ['none', 'cairn'])
def test_from_waypoint_to_waypoint(cairn, inbound, eastwest, pki, curl, gateway):
    """The second one behind its own double listener, or behind a cairn that is a blind gateway."""
    far = inbound(network='west', identity=pki.identity('bookinfo', 'waypoint-2'))
    if gateway == 'none':
        address, who = (far.ip, 15009), far.identity
    else:
        blind = ''.join(proxy.cluster(name, far.ip + ':15008', protocol='tcp') + proxy.service(name, vip, protocol='tcp')
                        for name, vip in ((REVIEWS, VIP), (ECHO, TCP)))
        address, who = (cairn(blind, identity=eastwest).ip, 15008), eastwest
    line = through(address, who, far.identity)
    near = cairn(services([line], [line]), network='east')
    with near.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for _ in range(3):
            assert tunnel.request('POST', '/echo', body=BODY, host='reviews').body == BODY
        echo = connection.connect(TCP)
        echo.send(BODY)
        echo.half_close()
        assert echo.recv_all() == BODY + b'bye'
    net.wait_for(lambda: far.count('istio_requests_total', source_principal=near.identity.uri, response_code='200') == 3,
                 what='the counts')
    assert [line['response_flags'] for line in near.access(4)] == ['-'] * 4


# ---- over workers, and over pods ----

def test_every_worker_serves_double_tunnels(inbound, eastwest, curl):
    """Connections that a worker hands to another one stay what they are."""
    one = inbound(workers=2)
    both = [Twice(one, eastwest) for _ in range(12)]
    single = [one.connection(curl) for _ in range(12)]
    try:
        for twice, connection in zip(both, single):
            assert twice.connection(curl).connect(NAME).request(host='reviews').status == 200
            assert connection.connect(VIP).request(host='reviews').status == 200
        net.wait_for(lambda: all(worker['tunnels'] for worker in one.info()['workers']), what='tunnels in both workers')
    finally:
        for connection in [twice.outer for twice in both] + single:
            connection.close()


class Alternating(dict):
    """A gateway's names, each of which leads to one address after the other."""

    def get(self, name, default=None):
        where = super().get(name)
        if not where:
            return default
        where.append(where.pop(0))
        return where[-1]


def test_requests_of_one_connection_reach_one_pod_and_those_of_others_any(cairn, new_origin, stopping, pki, eastwest, curl):
    apps = [new_origin(name) for name in ('a', 'b')]
    who = pki.identity('bookinfo', 'reviews')
    pods = [hbone.CapturedPod(app.ip, who, names={NAME: app.address}) for app in apps]
    gateway = hbone.CapturedPod(net.new_ip(), eastwest)
    gateway.names = Alternating({NAME: [app.ip + ':15008' for app in apps]})
    stopping += [*pods, gateway]
    line = through((gateway.ip, 15008), eastwest, who)

    def asked(**settings):
        with cairn(services([line], **settings)).connection(curl) as connection:
            tunnel = connection.connect(VIP)
            return [tunnel.request().header('x-pod') for _ in range(4)]
    assert len(set(asked())) == 1
    assert sorted(asked(max_requests_per_connection=1)) == ['a', 'a', 'b', 'b']
