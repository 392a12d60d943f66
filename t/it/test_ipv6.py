# SPDX-License-Identifier: Apache-2.0
"""IPv6 and dual stack: the listener, clients, virtual IPs, pods, authorities, policy and labels.

Pods and the listener share ::1, the one IPv6 address that every machine has;
their ports tell them apart.
"""

import ipaddress
import socket

import pytest

from peers import hbone, net, origin, proxy, tunnel_cli

VIP4, VIP6 = '10.96.6.1:9080', '[fd00:96::1]:9080'
TCP4, TCP6 = '10.96.6.2:9000', '[fd00:96::2]:9000'
POD6 = 'fd00:244::5'
REVIEWS, ECHO = 'reviews.bookinfo:9080', 'echo.data:9000'


@pytest.fixture(scope='module')
def loopback():
    """An IPv6 address for everybody, and fresh ports on it: loopback() -> a port."""
    try:
        net.listen('::1', 0).close()
    except OSError as e:
        pytest.fail('these tests need the IPv6 address ::1 on the loopback interface: %s' % e)

    def port():
        with net.listen('::1', 0) as sock:
            return sock.getsockname()[1]
    return port


class OnIpv6:
    """An origin on ::1, whose address is written with brackets."""

    address = property(lambda self: '[%s]:%d' % (self.ip, self.port))


class Web6(OnIpv6, origin.Origin):
    pass


class Echo6(OnIpv6, origin.TcpOrigin):
    pass


@pytest.fixture
def web(loopback, stopping):
    stopping.append(Web6('reviews-v6', ip='::1', port=loopback()))
    return stopping[-1]


@pytest.fixture
def echo(loopback, stopping):
    stopping.append(Echo6('echo-v6', ip='::1', port=loopback()))
    return stopping[-1]


class Connected:
    """As proxy.Cairn, for clients that come to [::1]."""

    def __init__(self, waypoint, port):
        self.waypoint, self.port = waypoint, port

    def __getattr__(self, name):
        return getattr(self.waypoint, name)

    def connection(self, identity, **options):
        return hbone.Connection('::1', identity, port=self.port, **options)

    def request(self, identity, authority, **options):
        with self.connection(identity) as connection:
            return connection.connect(authority).request(host=authority, **options)


@pytest.fixture
def listening(cairn, loopback):
    """listening(conf) -> a waypoint that listens for HBONE on [::1] too."""
    def make(body, main='', **options):
        port = loopback()
        return Connected(cairn(body, main='%s\nlisten [::1]:%d hbone;' % (main, port), **options), port)
    return make


def reviews(*endpoints, body='', **settings):
    return proxy.cluster(REVIEWS, *endpoints, **settings) + proxy.service(REVIEWS, VIP4 + ' ' + VIP6, body)


def tcp(*endpoints, body=''):
    return proxy.cluster(ECHO, *endpoints, protocol='tcp') + proxy.service(ECHO, TCP4 + ' ' + TCP6, body, protocol='tcp')


def through_hbone(app, pod):
    return '%s tunnel=hbone tunnel_addr=[::1]:%d identity=%s' % (app.address, pod.port, pod.identity.uri)


@pytest.mark.parametrize('vip', [VIP4, VIP6])
def test_request_over_ipv6_alone(listening, web, curl, vip):
    one = listening(reviews(web.address))
    with one.connection(curl) as connection:
        local = connection.sock.getsockname()
        answer = connection.connect(vip).request(host='reviews')
    assert (answer.status, answer.header('x-pod')) == (200, 'reviews-v6')
    line, = one.access()
    assert line['upstream_host'] == web.address
    assert line['downstream_local_address'] == vip
    assert line['downstream_remote_address'] == '[::1]:%d' % local[1]
    assert line['upstream_local_address'].startswith('[::1]:')


def test_tunnel_over_ipv6_alone(listening, echo, curl):
    one = listening(tcp(echo.address))
    with one.connection(curl) as connection:
        tunnel = connection.connect(TCP6)
        tunnel.send(b'bytes')
        tunnel.half_close()
        assert tunnel.recv_all() == b'bytes'
    line, = one.access()
    assert (line['downstream_local_address'], line['upstream_host']) == (TCP6, echo.address)


def test_pods_are_reached_over_hbone_by_the_address_they_have(listening, web, loopback, pki, stopping, curl):
    pod = hbone.CapturedPod('::1', pki.identity('bookinfo', 'reviews'), port=loopback())
    stopping.append(pod)
    one = listening(reviews(through_hbone(web, pod)))
    assert one.request(curl, VIP6).status == 200
    assert [connect.authority for connect in pod.connects] == [web.address]


@pytest.mark.parametrize('vip', [VIP4, VIP6])
def test_service_with_both_families_uses_all_its_pods(listening, web, new_origin, curl, vip):
    app4 = new_origin('reviews-v4')
    one = listening(reviews(proxy.endpoint(app4), web.address, lb='round_robin'))
    with one.connection(curl) as connection:
        tunnel = connection.connect(vip)
        seen = [tunnel.request().header('x-pod') for _ in range(10)]
    assert sorted(seen) == ['reviews-v4'] * 5 + ['reviews-v6'] * 5


def test_pod_that_refuses_on_one_family_is_told_by_its_address(listening, web, curl):
    one = listening(reviews(web.address))
    web.stop()
    answer = one.request(curl, VIP6)
    assert answer.status == 503
    line, = one.access()
    assert 'UF' in line['response_flags'] and line['upstream_host'] == web.address


FORMS = ['[fd00:96::1]:9080', '[FD00:96::1]:9080', '[fd00:0096:0:0:0:0:0:1]:9080', '[fd00:96:0:0::1]:9080',
         'reviews.bookinfo.svc.cluster.local:9080', 'REVIEWS.bookinfo.svc.cluster.local:9080', '[::ffff:10.96.6.1]:9080',
         '[::ffff:a60:601]:9080']


@pytest.mark.parametrize('authority', FORMS)
def test_every_way_to_write_the_address_is_the_same_service(listening, web, curl, authority):
    one = listening(reviews(web.address))
    assert one.request(curl, authority).status == 200


@pytest.mark.parametrize('authority, status', [
    ('fd00:96::1:9080', 400), ('fd00:96::1', 400), ('[fd00:96::1]', 400), ('[fd00:96::1]9080', 400), ('[fd00:96::1:9080', 400),
    ('[fd00:96::1%25lo]:9080', 400), ('[fd00:96::1%lo]:9080', 400), ('[fd00:96:::1]:9080', 400), ('[fd00::96::1]:9080', 400),
    ('[1:2:3:4:5:6:7:8:9]:9080', 400), ('[]:9080', 400), ('[::1]:0', 400), ('[fd00:96::1]:99999', 400),
    ('[fd00:96::9]:9080', 503), ('[fd00:96::1]:9081', 503), ('[::1]:15008', 503), ('[::]:9080', 503),
    ('[fe80::1]:9080', 503)])
def test_what_is_no_address_or_not_served_is_refused(listening, web, curl, authority, status):
    one = listening(reviews(web.address))
    with one.connection(curl) as connection:
        tunnel = connection.open(authority)
        tunnel.wait_response()
        assert tunnel.status == status
        assert connection.connect(VIP6).request().status == 200


def test_workload_is_reached_at_any_port_of_its_address(listening, web, echo, curl):
    """A workload waypoint: the pod's address with the port that was asked for."""
    one = listening(proxy.cluster('pod.bookinfo:0', '[::1]:0', protocol='auto') +
                    proxy.service('pod.bookinfo:0', '[%s]:*' % POD6, protocol='auto', service=None, host=None))
    with one.connection(curl) as connection:
        assert connection.connect('[%s]:%d' % (POD6, web.port)).request().header('x-pod') == 'reviews-v6'
        tunnel = connection.connect('[%s]:%d' % (POD6, echo.port))
        tunnel.send(b'lower case')
        assert tunnel.recv() == b'lower case'


@pytest.mark.parametrize('rule, allowed', [
    ('from { ip_blocks ::1; }', False), ('from { ip_blocks ::/0; }', False), ('from { ip_blocks ::1/127; }', False),
    ('from { ip_blocks fd00::/8; }', True), ('from { ip_blocks 0.0.0.0/0; }', True), ('from { not_ip_blocks ::1; }', True),
    ('when destination.ip fd00:96::/32;', False), ('when destination.ip fd00:97::/32;', True),
    ('when source.ip ::1 10.0.0.0/8;', False), ('when remote.ip ::1;', False)])
def test_policy_on_addresses(listening, web, echo, curl, rule, allowed):
    policy = 'authz { policy "x/p" deny { rule { %s } } }' % rule
    one = listening(reviews(web.address, body=policy) + tcp(echo.address, body=policy))
    assert one.request(curl, VIP6).status == (200 if allowed else 403)
    with one.connection(curl) as connection:
        tunnel = connection.connect(TCP6)
        tunnel.send(b'x')
        if allowed:
            assert tunnel.recv() == b'x'
        else:
            with pytest.raises(ConnectionResetError):
                tunnel.recv()


def test_client_and_pod_are_known_by_their_ipv6_address(listening, web, curl):
    files = {'workloads': '::1 name=everybody-1 namespace=bookinfo service_account=sa workload=everybody type=deployment '
                          'canonical_name=everybody canonical_revision=v6 cluster=Kubernetes\n'}
    one = listening(reviews(web.address), main='workloads workloads;', files=files)
    assert one.request(curl, VIP6).status == 200
    net.wait_for(lambda: one.count('istio_requests_total', source_workload='everybody', source_canonical_revision='v6',
                                   destination_workload='everybody', destination_canonical_revision='v6') == 1,
                 what='the labels of both')


def test_tunnel_program_goes_over_ipv6(listening, web, builddir, curl, stopping, run):
    one = listening(reviews(web.address))
    stopping.append(tunnel_cli.TunnelCli(builddir, '[::1]:%d' % one.port, curl, to=VIP6, listen='[::1]:0'))
    done = run('curl', '-sS', '-g', '-m', '10', '-o', '/dev/null', '-w', '%{http_code}',
               'http://[::1]:%d/' % stopping[-1].address[1])
    assert done.stdout == '200', done.stderr


def test_other_listeners_on_ipv6(listening, web, loopback, curl):
    ports = {kind: loopback() for kind in ('agent', 'health', 'metrics', 'admin')}
    one = listening(reviews(web.address), main='\n'.join('listen [::1]:%d %s;' % (p, kind) for kind, p in ports.items()))
    pages = {'agent': '/stats/prometheus', 'health': '/healthz/ready', 'metrics': '/stats/prometheus', 'admin': '/server_info'}
    for kind, port in ports.items():
        with socket.create_connection(('::1', port), 10) as sock:
            sock.sendall(b'GET %s HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n' % pages[kind].encode())
            assert sock.recv(100).startswith(b'HTTP/1.1 200 '), kind
    assert one.request(curl, VIP6).status == 200


def test_address_is_logged_in_its_shortest_form(listening, web, curl):
    one = listening(reviews(web.address))
    assert one.request(curl, '[fd00:0096:0:0:0:0:0:1]:9080').status == 200
    line, = one.access()
    assert line['downstream_local_address'] == '[%s]:9080' % ipaddress.ip_address('fd00:96::1').compressed
