# SPDX-License-Identifier: Apache-2.0
"""Both sides of HBONE number by number (limits, windows, PINGs, pools), workload waypoints, and Envoy beside them."""

import socket
import time

import pytest

from peers import envoy as envoys
from peers import hbone, net, proxy

REVIEWS, VIP = 'reviews.bookinfo:9080', '10.96.8.1:9080'
ECHO, TCP = 'echo.bookinfo:9000', '10.96.8.2:9000'
KIB, MIB = 1 << 10, 1 << 20


def web(*endpoints, **settings):
    return proxy.cluster(REVIEWS, *endpoints, **settings) + proxy.service(REVIEWS, VIP)


def tcp(*endpoints, **settings):
    return proxy.cluster(ECHO, *endpoints, protocol='tcp', **settings) + proxy.service(ECHO, TCP, protocol='tcp')


@pytest.fixture
def echo(new_tcp_origin):
    return new_tcp_origin('echo')


@pytest.fixture
def pod(echo, capture):
    return capture(echo, 'bookinfo', 'echo')


def opened(connection, n, authority=TCP):
    """So many tunnels in which bytes were echoed, so that each has its tunnel to the pod."""
    tunnels = [connection.connect(authority) for _ in range(n)]
    for tunnel in tunnels:
        tunnel.send(b'x')
    for tunnel in tunnels:
        assert tunnel.recv() == b'x'
    return tunnels


# ---- in: limits, windows, PINGs ----

def announced(connection):
    connection.ping()  # what came before the answer is there
    theirs = connection.h2.remote_settings
    return theirs.max_concurrent_streams, theirs.enable_connect_protocol, theirs.initial_window_size, \
        connection.h2.outbound_flow_control_window


def test_server_announces_limits_and_windows(cairn, echo, curl):
    one = cairn(tcp(proxy.endpoint(echo)))
    with one.connection(curl) as connection:
        assert announced(connection) == (100, 1, 512 * KIB, 16 * MIB)
    one.reload(one.body, main='hbone_max_streams 7;\nhbone_stream_window 1m;\nhbone_connection_window 3m;')
    with one.connection(curl) as connection:
        assert announced(connection) == (7, 1, 1 * MIB, 3 * MIB)


def test_envoy_announces_the_same_limits_and_larger_windows(echo, new_origin, waypoint_identity, curl, tmp_path, stopping):
    theirs = envoys.waypoint(tmp_path / 'envoy', waypoint_identity, {TCP: echo}, new_origin('app'))
    stopping.append(theirs)
    with hbone.Connection(theirs.outer[0], curl) as connection:
        streams, _, stream, whole = announced(connection)
    assert (streams, stream, whole) == (100, 16 * MIB, 24 * MIB)


def test_tunnel_beyond_the_limit_is_refused_alone(cairn, echo, curl):
    one = cairn(tcp(proxy.endpoint(echo)), main='hbone_max_streams 3;')
    with one.connection(curl) as connection:
        tunnels = opened(connection, 3)
        connection.h2.remote_settings[3] = 100  # it would not send one more
        connection.h2.remote_settings.acknowledge()
        more = connection.open(TCP)
        more.wait_response()
        assert (more.status, more.reset_code) == (None, 7)  # REFUSED_STREAM
        for tunnel in tunnels:
            tunnel.send(b'y')
            assert tunnel.recv() == b'y'
        tunnels[0].half_close()
        assert tunnels[0].recv_all() == b''
        opened(connection, 1)


def test_envoy_with_more_tunnels_than_fit_opens_another_connection(cairn, echo, envoy_client, curl, stopping):
    one = cairn(tcp(proxy.endpoint(echo)))
    envoy = envoy_client(one.ip, curl, TCP)
    with socket.create_connection(envoy.address, 10) as sock:
        sock.sendall(b'the limit is known from now on')
        assert sock.recv(3) == b'the'
    socks = [socket.create_connection(envoy.address, 10) for _ in range(150)]
    for n, sock in enumerate(socks):
        sock.settimeout(20)
        sock.sendall(b'%4d' % n)
    assert [sock.recv(4) for sock in socks] == [b'%4d' % n for n in range(150)]
    assert one.count('cairn_hbone_connections') == 2
    for sock in socks:
        sock.close()


def test_stream_that_is_not_read_leaves_the_others_their_window(cairn, new_origin, curl):
    """31 that read nothing fill 31 stream windows of 512 KiB of the connection's 16 MiB: the other direction has room."""
    app = new_origin('reviews')
    one = cairn(web(proxy.endpoint(app)))
    with one.connection(curl, settings={}) as connection:
        idle = [connection.open(VIP) for _ in range(31)]
        for tunnel in idle:
            tunnel.hold = True
            tunnel.wait_response()
            tunnel.http.send(path='/bytes/2000000')
        assert connection.connect(VIP).request('POST', '/echo', body=b'z' * MIB).body == b'z' * MIB


def test_silent_client_is_asked_and_let_go(cairn, echo, curl):
    one = cairn(tcp(proxy.endpoint(echo)), main='hbone_ping_interval 200ms;\nhbone_ping_timeout 300ms;')
    with one.connection(curl) as answering, one.connection(curl) as silent:
        silent.sock.settimeout(0.05)

        def is_let_go():
            answering.pump(0.05)
            try:
                return silent.sock.recv(65536) == b''  # reads, and says nothing
            except TimeoutError:
                return False
        net.wait_for(is_let_go, what='the end of the silent one')
        answering.ping()


@pytest.mark.slow
def test_pings_come_every_ten_seconds_and_are_waited_for_twenty(cairn, echo, curl):
    one = cairn(tcp(proxy.endpoint(echo)))
    with one.connection(curl) as connection:
        began, pinged = time.monotonic(), None
        connection.sock.settimeout(60)
        while True:
            data = connection.sock.recv(65536)
            if not data:
                break
            if b'\0\0\x08\x06\0\0\0\0\0' in data and not pinged:  # PING
                pinged = time.monotonic()
        ended = time.monotonic()
    assert 9.5 < pinged - began < 15
    assert 19.5 < ended - pinged < 30


# ---- out: limits, windows, PINGs, the pool ----

def test_client_announces_its_windows_and_no_push(cairn, pod, echo, curl):
    one = cairn(tcp(proxy.endpoint(echo, pod=pod)))
    with one.connection(curl) as connection:
        opened(connection, 1)
        theirs = pod.sessions[0].h2
        assert (theirs.remote_settings.enable_push, theirs.remote_settings.initial_window_size) == (0, 512 * KIB)
        assert 16 * MIB - 10 <= theirs.outbound_flow_control_window <= 16 * MIB  # less what was echoed


@pytest.mark.parametrize('limit,sessions', [(3, 4), (100, 1), (1000, 1)])
def test_pods_limit_of_streams_is_kept_to(cairn, echo, capture, curl, limit, sessions):
    pod = capture(echo, 'bookinfo', 'echo', settings={3: limit})
    one = cairn(tcp(proxy.endpoint(echo, pod=pod)))
    with one.connection(curl) as connection:
        for _ in range(10):
            opened(connection, 1)
        assert pod.accepted == sessions
        assert max(len(session.relays) for session in pod.sessions) <= limit


def test_hundred_tunnels_share_a_session_and_the_next_gets_another(cairn, echo, capture, curl):
    pod = capture(echo, 'bookinfo', 'echo', settings={3: 1000})
    one = cairn(tcp(proxy.endpoint(echo, pod=pod)))
    with one.connection(curl) as first, one.connection(curl) as second:
        opened(first, 100)
        assert pod.accepted == 1
        opened(second, 1)
        assert pod.accepted == 2


def test_envoy_pod_with_its_limit_of_hundred_loses_no_tunnel(cairn, echo, curl, pki, tmp_path, stopping):
    """Its connection would end with the 101st."""
    identity = pki.identity('bookinfo', 'echo')
    listener = envoys.pod_listener(echo.ip, identity, 'app')
    listener['filter_chains'][0]['filters'][0]['typed_config']['http2_protocol_options']['max_concurrent_streams'] = 100
    envoy = envoys.Envoy(tmp_path / 'envoy', [listener], [envoys.cluster('app', echo.ip, echo.port)])
    envoy.identity = identity
    stopping.append(envoy)
    one = cairn(tcp(proxy.endpoint(echo, pod=envoy)))
    with one.connection(curl) as first, one.connection(curl) as second:
        for tunnel in opened(first, 90) + opened(second, 90):
            tunnel.send(b'y')
            assert tunnel.recv() == b'y'
    assert one.count('cairn_hbone_upstream_sessions_total') == 2


def test_clients_share_the_session_to_a_pod_which_is_ours(cairn, pod, echo, pki, waypoint_identity, curl):
    one = cairn(tcp(proxy.endpoint(echo, pod=pod)))
    with one.connection(curl) as first, one.connection(pki.identity('default', 'other')) as second:
        opened(first, 2)
        opened(second, 2)
    assert pod.accepted == 1
    assert {connect.peer for connect in pod.connects} == {waypoint_identity.uri}


def test_pod_with_another_identity_gets_a_session_of_its_own(cairn, echo, pki, stopping, curl):
    """A pod that took over an address: what leads to the old one is not used for it."""
    old = hbone.CapturedPod(echo.ip, pki.identity('bookinfo', 'echo'))
    stopping.append(old)
    one = cairn(tcp(proxy.endpoint(echo, pod=old)))
    with one.connection(curl) as connection:
        kept = opened(connection, 1)[0]
        new = pki.identity('bookinfo', 'echo-2')
        one.reload(tcp('%s tunnel=hbone identity=%s' % (echo.address, new.uri)))
        refused = connection.connect(TCP)
        refused.send(b'x')
        with pytest.raises(ConnectionResetError):
            refused.recv()
        assert old.accepted > 1  # and it was not who it should be
        kept.send(b'y')
        assert kept.recv() == b'y'


def test_session_without_a_tunnel_ends_after_the_idle_time(cairn, pod, echo, curl):
    one = cairn(tcp(proxy.endpoint(echo, pod=pod)), main='hbone_idle_timeout 300ms;')
    with one.connection(curl) as connection:
        tunnel = opened(connection, 1)[0]
        time.sleep(0.9)  # what must not happen has had its time
        tunnel.send(b'y')
        assert tunnel.recv() == b'y' and pod.accepted == 1
        tunnel.half_close()
        assert tunnel.recv_all() == b''
        net.wait_for(lambda: one.count('cairn_hbone_upstream_sessions') == 0, what='the session to end')
        opened(connection, 1)
        assert pod.accepted == 2


def test_deaf_pod_is_found_by_ping(cairn, pod, echo, curl):
    one = cairn(tcp(proxy.endpoint(echo, pod=pod)), main='hbone_ping_interval 200ms;\nhbone_ping_timeout 300ms;')
    with one.connection(curl) as connection:
        tunnel = opened(connection, 1)[0]
        pod.deaf = True
        began = time.monotonic()
        with pytest.raises(ConnectionResetError):
            tunnel.recv(20)
        print('found out after %.2f s' % (time.monotonic() - began))
    assert one.access()[0]['response_flags'] == 'UR'
    pod.deaf = False


def test_session_that_says_goaway_keeps_its_tunnels_and_gets_no_more(cairn, pod, echo, curl):
    one = cairn(tcp(proxy.endpoint(echo, pod=pod)))
    with one.connection(curl) as connection:
        kept = opened(connection, 1)[0]
        pod.verdict = lambda *_: 'graceful' if pod.accepted == 1 else None
        opened(connection, 1)
        assert pod.accepted == 2
        kept.send(b'y')
        assert kept.recv() == b'y'


# ---- workload waypoints: the client asks for a pod by its own address ----

@pytest.fixture
def workloads(cairn, new_origin, new_tcp_origin, capture):
    """A waypoint for two pods, each with an HTTP and a TCP port; .pods are (app, echo, hbone)."""
    def make(out, body=''):
        pods, text = [], ''
        for name in ('a', 'b'):
            app = new_origin(name)
            raw = new_tcp_origin(name + '-raw', ip=app.ip)
            side = capture(app, 'bookinfo', name) if out == 'hbone' else None
            more = ' tunnel=hbone identity=%s' % side.identity.uri if side else ''
            block = 'pod-%s.bookinfo:0' % name
            text += proxy.cluster(block, '%s:0%s' % (app.ip, more), protocol='auto')
            text += proxy.service(block, app.ip + ':*', body, protocol='auto', service=None, host=None)
            pods.append((app, raw, side))
        one = cairn(text)
        one.pods = pods
        return one
    return make


@pytest.mark.parametrize('out', ['plain', 'hbone'])
def test_workload_waypoint_goes_to_the_pod_and_port_that_was_asked_for(workloads, curl, out):
    one = workloads(out)
    with one.connection(curl) as connection:
        for app, raw, side in one.pods:
            for _ in range(3):
                answer = connection.connect(app.address).request(host='whatever')
                assert (answer.status, answer.header('x-pod')) == (200, app.name)
            tunnel = connection.connect(raw.address)
            tunnel.send(b'some bytes\n')
            assert tunnel.recv() == b'some bytes\n'
            if side:
                assert [c.authority for c in side.connects][-1] == raw.address
                assert {c.authority for c in side.connects} == {app.address, raw.address}
    assert {line['downstream_local_address'] for line in one.access(8)} == {o.address for pod in one.pods for o in pod[:2]}


def test_workload_waypoint_applies_its_policies(workloads, curl, pki):
    policy = 'authz { policy "bookinfo/only-curl" allow { rule { from { principals %s; } to { methods GET; } } } }'
    one = workloads('hbone', policy % curl.uri.removeprefix('spiffe://'))
    app = one.pods[0][0]
    assert one.request(curl, app.address).status == 200
    assert one.request(curl, app.address, 'POST').status == 403
    assert one.request(pki.identity('default', 'other'), app.address).status == 403


def test_workload_waypoint_serves_nobody_elses_pod(workloads, curl):
    one = workloads('plain')
    with one.connection(curl) as connection:
        tunnel = connection.open(net.new_ip() + ':9080')
        tunnel.wait_response()
        assert tunnel.status == 503


def test_envoy_reaches_a_pod_through_its_workload_waypoint(workloads, envoy_client, curl, plain):
    one = workloads('hbone')
    app = one.pods[1][0]
    envoy = envoy_client(one.ip, curl, app.address)
    assert plain(*envoy.address).request(path='/n').header('x-pod') == 'b'


# ---- dual stack ----

def test_pod_with_two_families_is_asked_for_by_the_address_that_is_dialled(cairn, new_origin, capture, curl, pki, stopping):
    """ztunnel answers 400 when the address of the CONNECT is not the one that it came to."""
    def strict(ip):
        return lambda authority, *_: None if authority.rpartition(':')[0].strip('[]') == ip else 400
    app = new_origin('reviews')
    four = capture(app, 'bookinfo', 'reviews', verdict=strict(app.ip))
    with net.listen('::1', 0) as probe:
        port = probe.getsockname()[1]
    six = hbone.CapturedPod('::1', pki.identity('bookinfo', 'reviews'), port=port, verdict=strict('::1'),
                            names={'[::1]:9080': app.address})
    stopping.append(six)
    one = cairn(web(proxy.endpoint(app, pod=four),
                    '[::1]:9080 tunnel=hbone tunnel_addr=[::1]:%d identity=%s' % (port, six.identity.uri)))
    with one.connection(curl) as connection:
        tunnels = [connection.connect(VIP) for _ in range(12)]
        assert {tunnel.request().status for tunnel in tunnels} == {200}
    assert four.connects and six.connects
