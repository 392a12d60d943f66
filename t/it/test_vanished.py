# SPDX-License-Identifier: Apache-2.0
"""Endpoints that are gone without a word: no FIN, no RST, no answer to anything."""

import time

import pytest

from peers import hbone, net, netns, origin, proxy

NAME, VIP = 'app.data:9080', '10.96.11.1:9080'


@pytest.fixture
def pod_net(stopping):
    try:
        one = netns.Namespace()
    except OSError as e:
        pytest.skip('no network namespaces: %s' % e)
    stopping.append(one)
    return one


@pytest.fixture
def vanishing(pod_net, stopping, pki):
    """vanishing('plain' or 'hbone') -> endpoint line of an application in a namespace, which is .app there."""
    def make(out, kind=origin.Origin, **options):
        with pod_net.inside():
            app = kind('gone', ip=pod_net.ip, **options)
            stopping.append(app)
            pod_net.app = app
            if out == 'plain':
                return proxy.endpoint(app)
            pod = hbone.CapturedPod(app.ip, pki.identity('data', 'gone'))
            stopping.append(pod)
            return proxy.endpoint(app, pod=pod)
    return make


def conf(*endpoints, protocol='http', **settings):
    return proxy.cluster(NAME, *endpoints, protocol=protocol, **settings) + proxy.service(NAME, VIP, protocol=protocol)


@pytest.mark.parametrize('out', ['plain', 'hbone'])
def test_request_to_a_vanished_pod_fails_within_two_seconds(cairn, pod_net, vanishing, curl, out):
    one = cairn(conf(vanishing(out), connect_timeout='500ms'))
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        assert tunnel.request('GET', '/', host='a').status == 200
        pod_net.vanish()
        began = time.monotonic()
        answer = tunnel.request('POST', '/', body=b'x', host='a')
        took = time.monotonic() - began
    print('%s: found out after %.2f s' % (out, took))
    assert answer.status == 503
    assert 0.5 < took < 4  # 1.5 s and the time of a resend; the system itself would take minutes
    line = one.access(2)[-1]
    assert line['response_flags'] in ('UC', 'UF', 'URX,UF'), line


@pytest.mark.parametrize('out', ['plain', 'hbone'])
def test_other_pods_answer_what_the_vanished_one_cannot_have_acted_on(cairn, pod_net, vanishing, new_origin, curl, out):
    """Connections to it are found dead once; then each request that would connect anew goes elsewhere."""
    other = new_origin('other')
    one = cairn(conf(vanishing(out), proxy.endpoint(other), connect_timeout='300ms'))
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        net.wait_for(lambda: {tunnel.request('GET', '/', host='a').json()['pod'] for _ in range(4)} == {'gone', 'other'},
                     what='both to answer')
        pod_net.vanish()
        began, lost = time.monotonic(), 0
        answers = []
        for _ in range(30):
            at = time.monotonic()
            answer = tunnel.request('GET', '/', host='a')
            answers.append(time.monotonic() - at)
            lost += answer.status != 200
        print('%s: %d of 30 lost, the slowest took %.2f s' % (out, lost, max(answers)))
    assert lost <= 1  # the one that was on the wire
    assert max(answers) < 4
    assert time.monotonic() - began < 20


@pytest.mark.parametrize('out', ['plain', 'hbone'])
def test_relay_to_a_vanished_pod_is_cut(cairn, pod_net, vanishing, curl, out):
    one = cairn(conf(vanishing(out, origin.TcpOrigin), protocol='tcp'))
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(b'hello')
        assert tunnel.recv() == b'hello'
        pod_net.vanish()
        began = time.monotonic()
        tunnel.send(b'anybody there?')
        with pytest.raises(ConnectionResetError):
            tunnel.recv()
        assert 0.5 < time.monotonic() - began < 4
    assert one.access()[0]['response_flags'] == 'UR'


class Sleeper(origin.Origin):
    """Reads nothing for three seconds, then everything."""

    def handle(self, sock, number):
        self.stopping.wait(3)
        while sock.recv(65536):
            pass
        sock.sendall(b'read it all')
        sock.close()


@pytest.mark.parametrize('out', ['plain', 'hbone'])
def test_pod_that_only_reads_slowly_is_not_taken_for_gone(cairn, vanishing, curl, out):
    one = cairn(conf(vanishing(out, Sleeper), protocol='tcp'))
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(b'x' * 8000000)
        tunnel.half_close()
        assert tunnel.recv_all() == b'read it all'
    assert one.access()[0]['response_flags'] == '-'


@pytest.mark.parametrize('out', ['plain', 'hbone'])
def test_without_the_watch_nobody_notices(cairn, pod_net, vanishing, curl, out):
    one = cairn(conf(vanishing(out, origin.TcpOrigin), protocol='tcp', tcp_dead_timeout='0', tcp_idle_timeout='4s'),
                main='hbone_dead_timeout 0;')
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(b'hello')
        assert tunnel.recv() == b'hello'
        pod_net.vanish()
        tunnel.send(b'anybody there?')
        with pytest.raises(ConnectionResetError):
            tunnel.recv()
    assert one.access()[0]['connection_termination_details'] == 'idle_timeout'
