# SPDX-License-Identifier: Apache-2.0
"""PROXY headers that the waypoint writes, as nginx and a server that speaks first read them."""

import pytest

from peers import origin, pproxy, proxy, web

NAME, VIP = 'app.data:443', '10.96.12.1:443'


@pytest.fixture(scope='module')
def web_pki(tmp_path_factory):
    return web.WebPki(tmp_path_factory.mktemp('web'))


def conf(endpoint, version, protocol='http', lines='', vip=VIP):
    body = 'protocol %s; host app.test; endpoint %s; upstream_proxy_protocol %s; %s' % (protocol, endpoint, version, lines)
    return 'cluster %s { %s }\n' % (NAME, body) + proxy.service(NAME, vip, host='app.test', service=None, protocol=protocol)


@pytest.mark.parametrize('out', ['plain', 'hbone'])
@pytest.mark.parametrize('version', ['v1', 'v2'])
@pytest.mark.parametrize('tls', [False, True], ids=['clear', 'tls'])
def test_nginx_learns_who_the_client_is(cairn, web_pki, capture, curl, stopping, out, version, tls):
    app = web.Nginx('app', web_pki.cert('DNS:app.test'), how='ssl proxy_protocol' if tls else 'proxy_protocol')
    stopping.append(app)
    pod = {'pod': capture(app, 'data', 'app')} if out == 'hbone' else {}
    one = cairn(conf(proxy.endpoint(app, **pod), version, lines='upstream_tls ca=%s;' % web_pki.roots if tls else ''))
    seen = set()
    for _ in range(2):
        with one.connection(curl) as connection:
            mine = '%s:%d' % connection.sock.getsockname()
            for _ in range(2):
                answer = connection.connect(VIP).request('GET', '/', host='app.test')
                assert answer.status == 200
                assert 'proxy=%s>%s' % (mine, VIP) in answer.body.decode()
            seen.add(mine)
    assert len(seen) == 2


@pytest.mark.parametrize('version', ['v1', 'v2'])
def test_server_that_speaks_first_gets_its_header(cairn, stopping, curl, version):
    class Server(origin.Origin):
        def handle(self, sock, number):
            self.head = sock.recv(4096)  # sent before anything of the client's
            sock.sendall(b'hello')
            self.rest = sock.recv(4096)
            sock.close()
    app = Server('app', port=443)
    stopping.append(app)
    one = cairn(conf(app.address, version, 'tcp'))
    with one.connection(curl) as connection:
        mine = '%s:%d' % connection.sock.getsockname()
        tunnel = connection.connect(VIP)
        assert tunnel.recv() == b'hello'
        tunnel.send(b'words')
        tunnel.recv_all()
    assert app.head == (pproxy.v1(VIP, mine) if version == 'v1' else pproxy.header(VIP, source=mine))
    assert app.rest == b'words'
    assert one.access()[0]['bytes_received'] == 5  # the client's, without the header
