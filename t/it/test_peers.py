# SPDX-License-Identifier: Apache-2.0
"""The stand-ins are tested too: a test is worth what its peers are worth."""

import pytest

from peers import hbone
from peers.http import Ended


def test_hbone_client_and_captured_pod_carry_http(new_origin, capture, curl):
    app = new_origin('reviews-v1')
    pod = capture(app, 'bookinfo', 'reviews')
    with hbone.Connection(app.ip, curl) as connection:
        assert connection.peer == 'spiffe://cluster.local/ns/bookinfo/sa/reviews'
        tunnel = connection.connect(app.address, [('baggage', 'k8s.namespace.name=default')])
        assert tunnel.request(path='/chunked/300000').body == b'c' * 300000
        assert tunnel.request('POST', '/echo', body=b'z' * 300000).body == b'z' * 300000
        assert tunnel.request(path='/trailers').trailers == [('x-trailer', 'end')]
        tunnel.half_close()
        assert tunnel.recv_all() == b''
    assert pod.connects[0].peer == curl.uri
    assert pod.connects[0].header('baggage') == 'k8s.namespace.name=default'


def test_captured_pod_refuses_who_is_not_of_the_mesh(new_origin, capture, pki):
    app = new_origin('reviews-v1')
    capture(app, 'bookinfo', 'reviews')
    for stranger in (pki.expired('a', 'b'), pki.foreign_ca('a', 'b'), hbone.Anonymous(pki.roots)):
        assert hbone.is_refused(app.ip, stranger)
    assert not hbone.is_refused(app.ip, pki.identity('a', 'b'))


def test_envoy_as_client_and_as_captured_pod(new_origin, envoy_pod, envoy_client, curl, plain):
    app = new_origin('reviews-v1')
    envoy_pod(app, 'bookinfo', 'reviews')
    client = envoy_client(app.ip, curl, app.address)
    answer = plain(*client.address).request(path='/productpage')
    assert (answer.status, answer.json()['pod']) == (200, 'reviews-v1')


def test_tcp_origin_keeps_its_half_open(new_tcp_origin, plain):
    app = new_tcp_origin('tcp', greeting=b'hello ', bye=b' bye')
    http = plain(app.ip, app.port)
    http.stream.send(b'payload')
    http.stream.half_close()
    assert http.rest() == b'hello payload bye'


@pytest.mark.parametrize('path', ['/drop', '/close-mid-body', '/reset', '/reset-mid-body'])
def test_origin_that_breaks_off_is_seen_as_such(new_origin, plain, path):
    app = new_origin('broken')
    with pytest.raises((Ended, ConnectionResetError)):
        plain(app.ip, app.port).request(path=path)
