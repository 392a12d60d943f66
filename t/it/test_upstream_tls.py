# SPDX-License-Identifier: Apache-2.0
"""TLS that the waypoint originates: to nginx and openssl, in the clear and inside a pod's tunnel."""

import ssl

import pytest

from peers import net, origin, proxy, servers, web

NAME, VIP = 'api.example.test:443', '240.240.0.1:80'
HOST = 'api.example.test'


@pytest.fixture(scope='module')
def web_pki(tmp_path_factory):
    return web.WebPki(tmp_path_factory.mktemp('web'))


@pytest.fixture(scope='module')
def site(web_pki):
    one = web.Nginx('site', web_pki.cert('DNS:api.example.test', 'DNS:*.wild.test', 'URI:spiffe://other/api'))
    yield one
    one.stop()


def conf(endpoint, tls, protocol='http', host=HOST, lines=(), declared=None):
    """A service that clients call in plaintext, whose endpoint speaks TLS."""
    body = 'protocol %s; host %s; endpoint %s; upstream_tls %s; %s' % (protocol, host, endpoint, tls, ' '.join(lines))
    return 'cluster %s { %s }\n' % (NAME, body) + proxy.service(NAME, VIP, host=HOST, service=None,
                                                               protocol=declared or protocol)


def ca(pki):
    return 'ca=%s' % pki.roots


@pytest.mark.parametrize('out', ['plain', 'hbone'])
@pytest.mark.parametrize('protocol,alpn', [('http', 'http/1.1'), ('http2', 'h2')])
def test_requests_go_over_tls(cairn, site, web_pki, capture, curl, out, protocol, alpn):
    how = 'ssl http2' if protocol == 'http2' else 'ssl'
    app = web.Nginx('app', web_pki.cert('DNS:api.example.test'), how=how)
    try:
        pod = {'pod': capture(app, 'data', 'app')} if out == 'hbone' else {}
        one = cairn(conf(proxy.endpoint(app, **pod), ca(web_pki), protocol, declared='http'))
        answers = []
        with one.connection(curl) as connection:
            for _ in range(3):
                answers.append(connection.connect(VIP).request('GET', '/', host=HOST))
        assert [a.status for a in answers] == [200] * 3
        text = answers[0].body.decode()
        assert 'sni=api.example.test host=api.example.test alpn=%s ' % alpn in text and 'tls=TLSv1.3' in text
        assert {line['upstream_local_address'] for line in one.access(3)} != {None}
    finally:
        app.stop()


def refused(cairn, curl, text, status=503):
    """One request; its answer's flag, and why, from the log."""
    one = cairn(text)
    answer = one.request(curl, VIP)
    line, = one.access()
    assert answer.status == status, answer.body
    assert line['response_flags'] in ('UF', 'URX,UF'), line
    return '%s %s' % (line['upstream_transport_failure_reason'], line['response_code_details'])


def test_wrong_ca_is_refused(cairn, site, pki, curl):
    assert 'unknown_CA' in refused(cairn, curl, conf(site.address, 'ca=%s' % pki.roots))


def test_system_roots_do_not_know_it(cairn, site, curl):
    assert 'unknown_CA' in refused(cairn, curl, conf(site.address, ''))


def test_another_name_is_refused(cairn, site, web_pki, curl):
    why = refused(cairn, curl, conf(site.address, ca(web_pki) + ' sni=other.test'))
    assert "certificate_is_not_for_other.test" in why


def test_expired_certificate_is_refused(cairn, stopping, web_pki, curl):
    stopping.append(web.Nginx('expired', web_pki.cert('DNS:api.example.test', days=-1)))
    assert 'has_expired' in refused(cairn, curl, conf(stopping[-1].address, ca(web_pki)))


def test_revoked_certificate_is_refused(cairn, site, stopping, web_pki, curl):
    gone = web_pki.cert('DNS:api.example.test', 'DNS:gone.test')
    stopping.append(web.Nginx('revoked', gone))
    lists = 'crl=%s' % web_pki.crl(gone)
    assert 'certificate_revoked' in refused(cairn, curl, conf(proxy.endpoint(stopping[-1]), '%s %s' % (ca(web_pki), lists)))
    one = cairn(conf(proxy.endpoint(site), '%s %s' % (ca(web_pki), lists)))
    assert one.request(curl, VIP, headers={'host': HOST}).status == 200  # another one of the same authority


def test_authority_without_a_list_of_its_own_is_not_trusted(cairn, site, pki, web_pki, curl, tmp_path):
    other = web.WebPki(tmp_path)
    text = conf(proxy.endpoint(site), '%s crl=%s' % (ca(web_pki), other.crl()))
    assert 'CRL' in refused(cairn, curl, text)


def test_insecure_takes_anybody(cairn, stopping, web_pki, curl):
    stopping.append(web.Nginx('expired', web_pki.cert('DNS:zzz.test', days=-1)))
    one = cairn(conf(stopping[-1].address, 'insecure=on'))
    assert one.request(curl, VIP).status == 200


@pytest.mark.parametrize('san,good', [('api.example.test', True), ('x.test deep.wild.test', True), ('spiffe://other/api', True),
                                      ('spiffe://other/ap', False), ('a.b.wild.test', False), ('127.0.0.1', False)])
def test_listed_names_stand_in_place_of_the_sent_one(cairn, site, web_pki, curl, san, good):
    text = conf(site.address, ca(web_pki) + ' sni=api.example.test', lines=['upstream_tls_san %s;' % san])
    if good:
        assert cairn(text).request(curl, VIP).status == 200
    else:
        assert 'is_not_for_' + san.split()[0] in refused(cairn, curl, text)


def test_wildcard_cluster_uses_the_name_that_is_asked_for(cairn, site, web_pki, curl):
    one = cairn(conf(site.address, ca(web_pki), host='*.wild.test'))
    with one.connection(curl) as connection:
        for name, status in [('a.wild.test', 200), ('b.wild.test:443', 200), ('c.other.test', 503), ('a.wild.test', 200)]:
            answer = connection.connect(VIP).request('GET', '/', host=name)
            assert answer.status == status, answer.body
            if status == 200:
                assert 'sni=%s ' % name.split(':')[0] in answer.body.decode()


# ---- client certificates ----

@pytest.fixture
def strict(stopping, web_pki):
    stopping.append(web.Nginx('strict', web_pki.cert('DNS:api.example.test'), settings=(
        'ssl_client_certificate %s; ssl_verify_client on;' % web_pki.roots)))
    return stopping[-1]


def test_client_certificate_is_shown(cairn, strict, web_pki, curl):
    mine = web_pki.cert('DNS:waypoint.test')
    one = cairn(conf(strict.address, '%s cert=%s key=%s' % (ca(web_pki), mine.cert, mine.key)))
    answer = one.request(curl, VIP)
    assert answer.status == 200 and 'client=CN=waypoint.test' in answer.body.decode()


def test_server_that_wants_a_client_certificate_says_so(cairn, strict, web_pki, curl):
    one = cairn(conf(strict.address, ca(web_pki)))
    answer = one.request(curl, VIP)
    assert answer.status == 400 and b'No required SSL certificate was sent' in answer.body


def test_refused_client_certificate_is_a_connect_failure(cairn, stopping, web_pki, curl, run):
    """openssl aborts the handshake where nginx answers."""
    ip, cert = net.new_ip(), web_pki.cert('DNS:api.example.test')
    server = servers.Server('s_server', 443)
    server.ip = ip
    stopping.append(server)
    server.start(servers.program('openssl'), 's_server', '-accept', '%s:443' % ip, '-cert', cert.cert, '-key', cert.key, '-www',
                 '-Verify', '1', '-verify_return_error', '-CAfile', str(web_pki.roots))
    why = refused(cairn, curl, conf(server.address, ca(web_pki)))
    assert 'the_peer_refused:_certificate_required' in why


# ---- connections that are not HTTP ----

class TlsEcho(origin.TcpOrigin):
    """TcpOrigin behind TLS."""

    def __init__(self, name, cert, **options):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert.cert, cert.key)
        super().__init__(name, **options)

    def handle(self, sock, number):
        try:
            sock = self.context.wrap_socket(sock, server_side=True)
        except OSError as e:
            self.errors.append(repr(e))
            return
        got = bytearray()
        self.received.append(got)
        try:
            sock.sendall(self.greeting)
            for data in iter(lambda: sock.recv(65536), b''):
                got += data
                sock.sendall(data)
                if got.endswith(b'.'):
                    break
            sock.sendall(self.bye)
            sock.unwrap()
        except OSError as e:
            self.errors.append(repr(e))
        finally:
            sock.close()


@pytest.mark.parametrize('out', ['plain', 'hbone'])
def test_bytes_go_over_tls(cairn, stopping, web_pki, capture, curl, out):
    app = TlsEcho('app', web_pki.cert('DNS:api.example.test'), greeting=b'ready ', bye=b' bye')
    stopping.append(app)
    pod = {'pod': capture(app, 'data', 'app')} if out == 'hbone' else {}
    one = cairn(conf(proxy.endpoint(app, **pod), ca(web_pki), 'tcp'))
    words = b'x' * 300000 + b'.'
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        assert tunnel.recv() == b'ready '
        tunnel.send(words)
        assert tunnel.recv_all() == words + b' bye'
        tunnel.half_close()
    line, = one.access()
    assert (line['response_flags'], line['bytes_received'], line['bytes_sent']) == ('-', len(words), len(words) + 10)


def test_failed_handshake_of_a_connection_is_logged(cairn, stopping, web_pki, pki, curl):
    app = TlsEcho('app', web_pki.cert('DNS:api.example.test'))
    stopping.append(app)
    one = cairn(conf(app.address, 'ca=%s' % pki.roots, 'tcp'))
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        with pytest.raises(ConnectionResetError):
            tunnel.recv()
    line, = one.access()
    assert line['response_flags'] == 'UF,URX'
    assert "unknown_CA" in line['upstream_transport_failure_reason']


def test_server_that_does_not_answer_the_hello_runs_into_the_timeout(cairn, new_tcp_origin, web_pki, curl):
    class Silent(origin.Origin):
        def handle(self, sock, number):
            self.stopping.wait(10)
    silent = Silent('silent', port=443)
    try:
        why = refused(cairn, curl, conf(silent.address, ca(web_pki), lines=['connect_timeout 300ms;']))
        assert 'timeout' in why
    finally:
        silent.stop()


# ---- configuration ----

def test_changed_ca_file_counts_from_the_next_reload(cairn, site, web_pki, pki, curl, tmp_path):
    file = tmp_path / 'ca.pem'
    file.write_bytes(open(pki.roots, 'rb').read())
    text = conf(site.address, 'ca=%s' % file)
    one = cairn(text)
    assert one.request(curl, VIP).status == 503
    file.write_bytes(open(web_pki.roots, 'rb').read())
    one.reload(text)
    assert one.request(curl, VIP).status == 200
    file.write_bytes(open(pki.roots, 'rb').read())
    one.reload(text)
    assert one.request(curl, VIP).status == 503  # no connection of before is used


@pytest.mark.parametrize('tls,why', [('ca=/nowhere.pem', '"/nowhere.pem": No such file'), ('cert={cert}', 'cert and key belong together'),
                                     ('cert={cert} key={other}', 'the key does not belong to the certificate'),
                                     ('ca={key}', 'no certificate'), ('insecure=off', 'expected sni=HOST'),
                                     ('insecure=on ca={cert}', 'a ca has no use'), ('sni=', 'expected KEY=VALUE'), ('crl={cert}', 'no list of revoked'),
                                     ('insecure=on crl={cert}', 'a ca has no use')])
def test_mistakes_are_named(cairn, web_pki, tls, why):
    mine, other = web_pki.cert('DNS:waypoint.test'), web_pki.cert('DNS:other.test')
    code, said = cairn(conf('127.0.0.1:1', tls.format(cert=mine.cert, key=mine.key, other=other.key)), start=False).check()
    assert code == 1 and why in said, said
