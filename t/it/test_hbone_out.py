# SPDX-License-Identifier: Apache-2.0
"""The outer side towards pods: what our CONNECTs say, and which connections carry them."""

import pytest

from peers import proxy

REVIEWS, VIP = 'reviews.bookinfo:9080', '10.96.4.1:9080'
ECHO, TCP = 'echo.bookinfo:9000', '10.96.4.2:9000'
HOST = 'host=reviews.bookinfo.svc.cluster.local'


def web(*endpoints, **settings):
    return proxy.cluster(REVIEWS, *endpoints, **settings) + proxy.service(REVIEWS, VIP)


def tcp(*endpoints, **settings):
    return proxy.cluster(ECHO, *endpoints, protocol='tcp', **settings) + proxy.service(ECHO, TCP, protocol='tcp')


def test_connect_names_the_service_and_who_we_are(cairn, new_origin, capture, curl):
    app = new_origin('reviews-v1')
    pod = capture(app, 'bookinfo', 'reviews')
    record = '127.0.0.1 name=waypoint-1 namespace=bookinfo workload=waypoint type=deployment cluster=Kubernetes\n'
    one = cairn(web(proxy.endpoint(app, pod=pod)), main='workloads workloads;', files={'workloads': record})
    assert one.request(curl, VIP).status == 200
    connect, = pod.connects
    assert connect.header('forwarded') == HOST
    assert connect.header('baggage') == \
        'k8s.cluster.name=Kubernetes,k8s.namespace.name=bookinfo,k8s.deployment.name=waypoint'
    one.reload(one.body, main='hbone_forwarded off;\nhbone_baggage off;\nworkloads workloads;')
    pod.sessions[0].sock.shutdown(2)
    assert one.request(curl, VIP).status == 200
    assert [pod.connects[-1].header(name) for name in ('forwarded', 'baggage')] == [None, None]


def test_connect_for_bytes_names_the_client(cairn, new_tcp_origin, capture, curl):
    app = new_tcp_origin('echo')
    pod = capture(app, 'bookinfo', 'echo')
    one = cairn(tcp(proxy.endpoint(app, pod=pod)))
    with one.connection(curl) as connection:
        local = connection.sock.getsockname()
        tunnel = connection.connect(TCP)
        tunnel.send(b'bytes')
        assert tunnel.recv() == b'bytes'
    assert pod.connects[0].header('forwarded') == 'for="%s:%d";host=echo.bookinfo.svc.cluster.local' % local


@pytest.mark.parametrize('said', ['on', 'off'])
def test_envoy_pod_takes_what_is_said(cairn, new_origin, envoy_pod, curl, said):
    app = new_origin('reviews-v1')
    pod = envoy_pod(app, 'bookinfo', 'reviews')
    record = '127.0.0.1 name=waypoint-1 namespace=bookinfo workload=waypoint type=deployment\n'
    one = cairn(web(proxy.endpoint(app, pod=pod)), files={'workloads': record},
                main='workloads workloads;\nhbone_forwarded %s;\nhbone_baggage %s;' % (said, said))
    for _ in range(3):
        assert one.request(curl, VIP).header('x-pod') == 'reviews-v1'
