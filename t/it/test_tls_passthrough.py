# SPDX-License-Identifier: Apache-2.0
"""TLS that passes through: routed and judged by the server name in the client's hello, and otherwise untouched.

Servers are nginx, clients curl and openssl; hostile hellos go by hand.
"""

import socket
import ssl

import pytest

from peers import net, proxy, servers, tunnel_cli, web

VIP, PORT = '10.96.9.1:443', 443
SERVICE = 'web.out:443'
SITES = ('a', 'b', 'wild', 'rest')


@pytest.fixture(scope='module')
def web_pki(tmp_path_factory):
    return web.WebPki(tmp_path_factory.mktemp('web'))


@pytest.fixture(scope='module')
def sites(web_pki):
    """nginx for each of SITES, each with a certificate for every name below example.test."""
    made = {}
    try:
        for name in SITES:
            made[name] = web.Nginx(name, web_pki.cert('DNS:example.test', 'DNS:*.example.test', 'DNS:*.x.example.test'))
        yield made
    finally:
        for one in made.values():
            one.stop()


def conf(sites, *lines, policy='', **settings):
    clusters = ''.join(proxy.cluster('%s.out:443' % name, proxy.endpoint(site), protocol='tcp') for name, site in sites.items())
    return clusters + proxy.service(SERVICE, VIP, '\n'.join(lines) + policy, **{'protocol': 'tls', 'cluster': None, **settings})


ROUTES = ('tls_route a { sni a.example.test; backend a.out:443; }',
          'tls_route b { sni B.example.test other.example.test; backend b.out:443; }',
          'tls_route wild { sni *.x.example.test; backend wild.out:443; }')


@pytest.fixture(scope='module')
def routed(guarded, sites):
    return guarded(conf(sites, *ROUTES))


@pytest.fixture
def through(builddir, curl, stopping):
    def make(waypoint, vip=VIP):
        stopping.append(tunnel_cli.TunnelCli(builddir, waypoint.ip, curl, to=vip))
        return stopping[-1].address
    return make


@pytest.fixture
def get(web_pki, run):
    """get(address, 'a.example.test') -> what curl got: (exit code, text)."""
    def make(address, name, *words):
        ip, port = address
        done = run('curl', '-sS', '--max-time', '10', '--cacert', web_pki.roots, '--connect-to', '::%s:%d' % (ip, port),
                   *words, 'https://%s/' % name)
        return done.returncode, done.stdout or done.stderr
    return make


@pytest.mark.parametrize('name,site', [('a.example.test', 'a'), ('A.Example.TEST', 'a'), ('b.example.test', 'b'),
                                       ('other.example.test', 'b'), ('one.x.example.test', 'wild')])
def test_server_name_chooses_the_backend(routed, through, get, name, site):
    code, text = get(through(routed), name)
    assert code == 0, text
    assert text.startswith('%s sni=%s ' % (site, name.lower()))


def test_alpn_and_versions_are_the_servers_business(routed, through, get):
    address = through(routed)
    assert 'tls=TLSv1.2' in get(address, 'a.example.test', '--tls-max', '1.2')[1]
    assert 'tls=TLSv1.3' in get(address, 'a.example.test')[1]


def closed(waypoint, curl, vip, words, **expected):
    """Sends words into a tunnel, which must be reset; checks the line in the log."""
    before = len(waypoint.access_path.read_text().splitlines()) if waypoint.access_path.exists() else 0
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(vip)
        tunnel.send(words)
        with pytest.raises(ConnectionResetError):
            tunnel.recv()
    # A connection of before may be logged as late.
    net.wait_for(lambda: any(expected.items() <= line.items() for line in waypoint.access(before + 1)[before:]), 10.0,
                 'a line with %r' % expected)


def hello(name=None, version=None):
    """A real client's first flight."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version:
        context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize('words', [hello('c.example.test'), hello('x.example.test'), hello(), b'GET / HTTP/1.1\r\n\r\n'],
                         ids=['another name', 'the wildcard itself', 'no name', 'no TLS'])
def test_what_no_route_takes_is_closed(routed, curl, words):
    closed(routed, curl, VIP, words, response_flags='NR', connection_termination_details='tls_route_not_found',
           upstream_host=None)


def test_server_name_is_logged(routed, curl, cairn, sites):
    one = cairn(conf(sites, *ROUTES), access_log='format "%REQUESTED_SERVER_NAME% %RESPONSE_FLAGS%\\n"')
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(hello('A.example.test'))
        assert tunnel.recv().startswith(b'\x16\x03')
    assert one.access()[0].startswith('a.example.test ')


def test_what_no_route_takes_goes_to_the_tcp_backend(cairn, sites, through, get):
    address = through(cairn(conf(sites, *ROUTES, 'tcp_backend rest.out:443;')))
    assert get(address, 'zz.example.test')[1].startswith('rest ')
    assert get(address, 'a.example.test')[1].startswith('a ')


def test_tls_on_an_undeclared_port_is_routed_too(cairn, sites, through, get):
    address = through(cairn(conf(sites, *ROUTES, 'tcp_backend rest.out:443;', protocol='auto', sniff_timeout='60s')))
    assert get(address, 'b.example.test')[1].startswith('b ')
    assert get(address, 'c.example.test')[1].startswith('rest ')


def test_weights_of_a_tls_route_are_shares(cairn, sites, curl):
    one = cairn(conf(sites, 'tls_route w { backend a.out:443 weight=3; backend b.out:443 weight=1; }'), main=proxy.SEED)
    words, n = hello('a.example.test'), 200
    with one.connection(curl) as connection:
        for _ in range(n):
            tunnel = connection.connect(VIP)
            tunnel.send(words)
            tunnel.recv()
            tunnel.reset()
    hosts = [line['upstream_host'] for line in one.access(n)]
    # three times the standard deviation of 50: sqrt(200 * 1/4 * 3/4) = 6.1
    assert 32 <= hosts.count(sites['b'].address) <= 68
    assert hosts.count(sites['a'].address) + hosts.count(sites['b'].address) == n


# ---- policy ----

DENY = 'authz { policy "out/p" deny { rule { when connection.sni *.x.example.test b.example.test; } } }'
ALLOW = 'authz { policy "out/p" allow { rule { when connection.sni a.example.test; } } }'


@pytest.mark.parametrize('policy,allowed', [(DENY, {'a': True, 'b': False, 'one.x': False}),
                                            (ALLOW, {'a': True, 'b': False, 'one.x': False})], ids=['deny', 'allow'])
@pytest.mark.parametrize('protocol', ['tls', 'auto'])
def test_policy_knows_the_server_name(cairn, sites, through, get, policy, allowed, protocol):
    one = cairn(conf(sites, 'tcp_backend rest.out:443;', policy=policy, protocol=protocol))
    address = through(one)
    assert {name: get(address, name + '.example.test')[0] == 0 for name in allowed} == allowed
    denied = [line for line in one.access(3) if (line['connection_termination_details'] or '').startswith('rbac_access_denied')]
    assert len(denied) == 2


# ---- hostile hellos ----

FINE = hello('b.example.test')
BAD = {'name twice': FINE.replace(b'b.example.test', b'b.example\0test'), 'cut off length': FINE[:5] + b'\x01\0\x00\x10' + FINE[9:],
       'a record of nothing': b'\x16\x03\x01\0\0' + FINE, 'tiny records': b''.join(
           b'\x16\x03\x01\0\x01' + FINE[n:n + 1] for n in range(5, 105))}
BAD['a record of nothing'] = FINE[:3] + b'\0\x06' + FINE[5:11] + b'\x16\x03\x01\0\0' + FINE[11:]


AUTO_VIP = '10.96.9.2:443'


@pytest.fixture(scope='module')
def strict(guarded, sites):
    auto = proxy.service('auto.out:443', AUTO_VIP, 'tcp_backend rest.out:443;' + DENY, protocol='auto', cluster=None)
    return guarded(conf(sites, 'tcp_backend rest.out:443;', policy=DENY) + auto)


@pytest.mark.parametrize('vip', [VIP, AUTO_VIP], ids=['tls', 'auto'])
@pytest.mark.parametrize('words', BAD.values(), ids=BAD)
def test_hello_that_cannot_be_read_is_not_passed_on(strict, curl, words, vip):
    """Its server might read the name that a policy forbids."""
    closed(strict, curl, vip, words, response_flags='DPE', connection_termination_details='tls_hello_malformed',
           upstream_host=None)


@pytest.mark.parametrize('end', ['silence', 'half-close'])
def test_hello_that_stays_incomplete_is_not_passed_on(cairn, sites, curl, end):
    one = cairn(conf(sites, 'tcp_backend rest.out:443;', sniff_timeout='300ms' if end == 'silence' else '60s'))
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(FINE[:100])
        if end == 'half-close':
            tunnel.half_close()
        with pytest.raises(ConnectionResetError):
            tunnel.recv()
    assert one.access()[0]['connection_termination_details'] == 'tls_hello_malformed'


def test_hello_byte_by_byte_is_read(cairn, sites, curl):
    one = cairn(conf(sites, *ROUTES, sniff_timeout='60s'))
    words = hello('a.example.test')
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for n in range(len(words)):
            tunnel.send(words[n:n + 1])
        assert tunnel.recv().startswith(b'\x16\x03')


def test_server_that_speaks_first_on_a_tls_port_waits_no_longer_than_the_sniff_timeout(cairn, new_tcp_origin, curl):
    app = new_tcp_origin('smtps', greeting=b'220 starttls ready\r\n')
    one = cairn(proxy.cluster(SERVICE, proxy.endpoint(app), protocol='tcp') +
                proxy.service(SERVICE, VIP, protocol='tls', sniff_timeout='200ms'))
    with one.connection(curl) as connection:
        assert connection.connect(VIP).recv() == b'220 starttls ready\r\n'


def test_openssl_resumes_and_ends_as_if_it_were_near(routed, through, run, web_pki):
    ip, port = through(routed)
    done = run(servers.program('openssl'), 's_client', '-connect', '%s:%d' % (ip, port), '-servername', 'a.example.test',
               '-CAfile', web_pki.roots, '-verify_return_error', '-quiet', input='GET / HTTP/1.0\r\nHost: a\r\n\r\n', timeout=20)
    assert 'a sni=a.example.test' in done.stdout, done.stderr
    with socket.create_connection((ip, port), 10):
        pass  # a client that says nothing and leaves
    net.wait_for(lambda: routed.count('cairn_tunnels_open') == 0, what='all tunnels to end')
