# SPDX-License-Identifier: Apache-2.0
"""Clusters whose endpoints have names: strict, logical and dynamic, with a name server that misbehaves."""

import struct

import pytest

from peers import dns, hbone, net, origin, proxy, web

NAME, VIP, HOST = 'api.example.test:80', '240.240.0.1:80', 'api.example.test'


@pytest.fixture
def names(stopping):
    one = dns.NameServer()
    stopping.append(one)
    return one


@pytest.fixture
def pods(stopping):
    """pods('a', 'b') -> origins on port 9080, each with an address of its own."""
    def make(*which):
        made = [origin.Origin(name) for name in which]
        stopping.extend(made)
        return made
    return make


def conf(*lines, service='', protocol='http', cluster_protocol=None):
    """A service whose cluster has these lines."""
    body = ' '.join(('protocol %s;' % (cluster_protocol or protocol), 'host %s;' % HOST) + lines)
    return 'cluster %s { %s }\n' % (NAME, body) + proxy.service(NAME, VIP, service, host=HOST, service=None, protocol=protocol,
                                                               cluster=NAME)


def server(names, more=''):
    return {'main': 'dns_server %s; dns_timeout 300ms; %s' % (names.ip, more)}


def who(waypoint, curl, **options):
    answer = waypoint.request(curl, VIP, **options)
    return answer.json()['pod'] if answer.status == 200 else answer.status


def settled(waypoint, curl, expected, n=12):
    """Until the pods that answer n requests are these."""
    net.wait_for(lambda: {who(waypoint, curl) for _ in range(n)} == expected, what='answers of %s' % expected)


# ---- strict and logical ----

def test_every_address_of_a_name_is_an_endpoint(cairn, names, pods, curl):
    a, b, c = pods('a', 'b', 'c')
    names.zone[HOST] = [a.ip, b.ip]
    one = cairn(conf('dns %s:9080;' % HOST), **server(names))
    settled(one, curl, {'a', 'b'})
    names.zone[HOST] = [b.ip, c.ip]
    settled(one, curl, {'b', 'c'})


def test_logical_uses_one_address_at_a_time(cairn, names, pods, curl):
    a, b = pods('a', 'b')
    names.zone[HOST] = [a.ip, b.ip]
    one = cairn(conf('dns %s:9080;' % HOST, 'dns_mode logical;'), **server(names))
    settled(one, curl, {'a'})
    names.zone[HOST] = [b.ip, a.ip]
    settled(one, curl, {'b'})


def test_several_names_addresses_and_attributes(cairn, names, pods, curl):
    a, b, c = pods('a', 'b', 'c')
    names.zone.update({'one.test': [a.ip], 'two.test': [b.ip]})
    names.aliases['alias.test'] = 'two.test'
    one = cairn(conf('dns one.test:9080 health=unhealthy;', 'dns ALIAS.test:9080;', 'dns %s:9080;' % c.ip), **server(names))
    settled(one, curl, {'b', 'c'})
    assert a.requests == []


def test_last_good_answer_stands_while_the_server_fails(cairn, names, pods, curl):
    a, = pods('a')
    names.zone[HOST] = [a.ip]
    one = cairn(conf('dns %s:9080;' % HOST), **server(names, 'dns_retry 1s;'))
    settled(one, curl, {'a'}, 1)
    for failure in ({'rcode': dns.SERVFAIL}, {'rcode': dns.NXDOMAIN}, {'silent': True}):
        names.rcode, names.silent = failure.get('rcode'), failure.get('silent', False)
        asked = names.count(HOST)
        net.wait_for(lambda: names.count(HOST) >= asked + 4, what='new questions')
        assert who(one, curl) == 'a'
    assert one.count('cairn_dns_failures_total') > 0
    assert 'the last good answer stands' in one.log


def test_name_without_an_answer_is_no_endpoint_until_it_has_one(cairn, names, pods, curl):
    a, = pods('a')
    names.rcode = dns.SERVFAIL
    one = cairn(conf('dns %s:9080;' % HOST), **server(names))
    assert who(one, curl) == 503
    assert one.access()[0]['response_flags'] == 'UH'
    names.zone[HOST], names.rcode = [a.ip], None
    settled(one, curl, {'a'}, 1)


def test_ttl_says_when_a_name_is_asked_for_again(cairn, names, pods, curl):
    a, = pods('a')
    names.zone[HOST], names.ttl = [a.ip], 3600
    one = cairn(conf('dns %s:9080;' % HOST), **server(names))
    settled(one, curl, {'a'}, 1)
    asked = names.count(HOST)
    one.reload(conf('dns %s:9080;' % HOST, 'connect_timeout 3s;'))
    assert who(one, curl) == 'a'
    assert names.count(HOST) == asked


def test_answer_that_is_cut_is_asked_for_over_tcp(cairn, names, pods, curl):
    a, b = pods('a', 'b')
    names.zone[HOST], names.truncate = [a.ip, b.ip], True
    settled(cairn(conf('dns %s:9080;' % HOST), **server(names)), curl, {'a', 'b'})


def test_server_that_comes_up_later_is_found(cairn, names, pods, curl, stopping):
    a, = pods('a')
    names.silent = True
    one = cairn(conf('dns %s:9080;' % HOST), **server(names))
    assert who(one, curl) == 503  # and nothing waited for it
    names.zone[HOST], names.silent = [a.ip], False
    settled(one, curl, {'a'}, 1)


def test_ipv6_where_there_is_no_ipv4(cairn, names, pods, curl):
    a, = pods('a')
    six = origin.Origin('six', ip='::1', port=9080)
    try:
        names.zone[HOST] = ['::1', a.ip]
        one = cairn(conf('dns %s:9080;' % HOST), **server(names))
        settled(one, curl, {'a'}, 4)
        names.zone[HOST] = ['::1']
        settled(one, curl, {'six'}, 2)
    finally:
        six.stop()


def test_hundreds_of_addresses_are_bounded(cairn, names, pods, curl):
    a, = pods('a')
    names.zone[HOST], names.truncate = [a.ip] + ['127.0.%d.%d' % (n // 250, 1 + n % 250) for n in range(600)], True
    one = cairn(conf('dns %s:9080;' % HOST, 'dns_mode logical;'), **server(names))
    settled(one, curl, {'a'}, 1)


def forgeries():
    def header(q, flags=0x8180, answers=1):
        return q[:2] + struct.pack('!HHHHH', flags, 1, answers, 0, 0)
    rest = b'\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1'
    return {'nothing': lambda q: b'', 'the question': lambda q: q, 'random': lambda q: q[:2] + b'\xff' * 400,
            'a loop': lambda q: header(q) + q[12:] + b'\xc0\x1d\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1',
            'cut': lambda q: header(q) + q[12:] + rest[:-2], 'another id': lambda q: b'\0\0' + header(q)[2:] + q[12:] + rest,
            'another name': lambda q: header(q) + b'\1x\0\0\1\0\1' + rest, 'many': lambda q: header(q, answers=65535) + q[12:] + rest}


def test_forged_and_broken_answers_are_survived(cairn, names, pods, curl):
    a, = pods('a')
    names.forge = None
    names.zone['fine.test'] = [a.ip]
    one = cairn(conf('dns %s:9080;' % HOST), **server(names))
    for forge in forgeries().values():
        names.forge = forge
        asked = len(names.questions)
        one.reload(conf('dns x%d.test:9080;' % asked))
        net.wait_for(lambda: len(names.questions) >= asked + 2, what='questions')
        assert who(one, curl) == 503
    names.forge = None
    one.reload(conf('dns fine.test:9080;'))
    settled(one, curl, {'a'}, 1)


def test_unix_hosts_file_counts(cairn, pods, curl):
    one = cairn(conf('dns localhost:9080;'), main='dns_server 127.0.0.1:1; dns_timeout 100ms;')
    pod = origin.Origin('local', ip='127.0.0.1', port=9080)
    try:
        settled(one, curl, {'local'}, 1)
    finally:
        pod.stop()


# ---- names that requests bring along ----

def dynamic(*lines, **more):
    return conf('dns_dynamic *.Example.test 9080;', *lines, **more)


def ask(waypoint, curl, host, n=1):
    with waypoint.connection(curl) as connection:
        return connection.connect(VIP).request('GET', '/', host=host)


def test_host_of_the_request_is_resolved(cairn, names, pods, curl):
    a, b = pods('a', 'b')
    names.zone.update({'a.example.test': [a.ip], 'b.c.example.test': [b.ip]})
    # Loopback is refused whatever is said: the tests' pods need another way in.
    one = cairn(dynamic('dns_private allow;'), **server(names))
    answer = ask(one, curl, 'a.example.test')
    assert (answer.status, one.access()[0]['response_code_details']) == (503, 'dns_private_address')


@pytest.mark.parametrize('host,details', [('example.test', 'route_not_found'), ('other.test', 'route_not_found'),
                                          ('xexample.test', 'route_not_found'), ('127.0.0.1', 'route_not_found'),
                                          ('a..example.test', 'route_not_found'), ('a.example.test.evil.test', 'route_not_found')])
def test_host_outside_the_wildcard_is_not_asked_for(cairn, names, curl, host, details):
    one = cairn(dynamic(), **server(names))
    answer = ask(one, curl, host)
    line, = one.access()
    assert (answer.status, line['response_flags'], line['response_code_details']) == (404, 'NR', details)
    assert names.questions == []


@pytest.mark.parametrize('address', ['127.0.0.1', '10.0.0.1', '172.31.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1', '0.0.0.0',
                                     '224.0.0.1', '255.255.255.255', '::1', '::', 'fe80::1', 'fd00::1', '64:ff9b::a00:1',
                                     '::ffff:10.0.0.1'])
def test_names_do_not_lead_inside(cairn, names, curl, address):
    names.zone['a.example.test'] = [address]
    one = cairn(dynamic('connect_timeout 500ms;'), **server(names))
    answer = ask(one, curl, 'a.example.test')
    line, = one.access()
    assert (answer.status, line['response_flags'], line['response_code_details']) == (503, 'DF', 'dns_private_address')
    assert answer.body == b'DNS resolution failure'


def test_name_that_cannot_be_resolved(cairn, names, curl):
    one = cairn(dynamic(), **server(names))
    for _ in range(3):
        assert ask(one, curl, 'none.example.test').status == 503
    assert {(line['response_flags'], line['response_code_details']) for line in one.access(3)} == {('DF', 'dns_resolution_failure')}
    assert names.count('none.example.test') == 2  # A and AAAA, once: failures are remembered
    names.silent = True
    assert ask(one, curl, 'silent.example.test').status == 503


def test_client_that_leaves_while_its_name_is_asked_for(cairn, names, curl):
    names.silent = True
    one = cairn(dynamic(), **server(names))
    connection = one.connection(curl)
    tunnel = connection.connect(VIP)
    tunnel.send(b'GET / HTTP/1.1\r\nHost: a.example.test\r\n\r\n')
    net.wait_for(lambda: names.questions, what='the question')
    connection.reset()
    net.wait_for(lambda: one.count('cairn_requests_active') == 0, what='the request to end')
    assert one.access()[0]['response_flags'] == 'DC'


@pytest.fixture
def outside(run):
    """An address outside of all private blocks, on this machine: 203.0.113.7 (RFC 5737)."""
    if run('ip', 'addr', 'add', '203.0.113.7/32', 'dev', 'lo').returncode not in (0, 2):
        pytest.skip('may not add addresses')
    yield '203.0.113.7'
    run('ip', 'addr', 'del', '203.0.113.7/32', 'dev', 'lo')


def test_names_lead_outside(cairn, names, curl, outside, stopping):
    stopping.append(origin.Origin('far', ip=outside))
    names.zone.update({'a.example.test': ['10.0.0.1', outside], 'B.example.test'.lower(): [outside]})
    one = cairn(dynamic(), **server(names))
    for host in ('a.example.test', 'a.example.test:80', 'B.Example.TEST', 'a.example.test'):
        assert ask(one, curl, host).json()['pod'] == 'far'
    assert one.access(4)[0]['upstream_host'] == outside + ':9080'


def test_tls_leads_where_its_server_name_says(cairn, names, curl, outside, tmp_path, stopping, run, builddir):
    from peers import tunnel_cli
    pki = web.WebPki(tmp_path / 'web')
    stopping.append(web.Nginx('far', pki.cert('DNS:*.example.test'), ip=outside))
    names.zone['a.example.test'] = [outside]
    one = cairn(conf('dns_dynamic *.example.test 443;', protocol='tls', cluster_protocol='tcp'), **server(names))
    stopping.append(tunnel_cli.TunnelCli(builddir, one.ip, curl, to=VIP))
    ip, port = stopping[-1].address

    def get(host):
        return run('curl', '-sS', '--max-time', '10', '--cacert', pki.roots, '--connect-to', '::%s:%d' % (ip, port),
                   'https://%s/' % host)
    assert get('a.example.test').stdout.startswith('far sni=a.example.test')
    assert get('a.other.test').returncode != 0
    assert get('none.example.test').returncode != 0
    lines = one.access(3)
    assert [line['response_flags'] for line in lines] == ['-', 'NR', 'DF']


# ---- where the client wanted to go ----

def test_original_destination_is_the_address_that_was_asked_for(cairn, pods, curl):
    a, b = pods('a', 'b')
    body = 'cluster any { original_destination; }\n'
    for n, pod in enumerate((a, b)):
        body += 'service s%d { address %s:9080; host s%d.test; protocol http; cluster any; }\n' % (n, pod.ip, n)
    one = cairn(body)
    for pod in (a, b, a):
        assert one.request(curl, pod.address).json()['pod'] == pod.name
    assert a.connections == 1  # kept and used again
    stranger = origin.Origin('c')
    try:
        with one.connection(curl) as connection:
            with pytest.raises(hbone.Refused):
                connection.connect(stranger.address)
        assert stranger.connections == 0
    finally:
        stranger.stop()


def test_original_destination_of_bytes(cairn, new_tcp_origin, curl):
    app = new_tcp_origin('echo')
    one = cairn('cluster any { original_destination; protocol tcp; }\n'
                'service s { address %s:*; host s.test; protocol tcp; cluster any; }\n' % app.ip)
    with one.connection(curl) as connection:
        tunnel = connection.connect(app.address)
        tunnel.send(b'words')
        assert tunnel.recv() == b'words'


# ---- what a ServiceEntry with DNS resolution and a DestinationRule with tls come to ----

def test_named_endpoint_is_spoken_to_over_tls(cairn, names, curl, tmp_path, stopping):
    pki = web.WebPki(tmp_path / 'web')
    good, other = web.Nginx('site', pki.cert('DNS:' + HOST)), web.Nginx('site', pki.cert('DNS:other.test'))
    stopping += [good, other]
    names.zone[HOST] = [good.ip]
    one = cairn(conf('dns %s:%d;' % (HOST, good.port), 'upstream_tls ca=%s;' % pki.roots), **server(names))
    net.wait_for(lambda: one.request(curl, VIP).status == 200, what='the name')
    assert 'sni=%s host=' % HOST in one.request(curl, VIP).body.decode()
    names.zone[HOST] = [other.ip]  # the name decides where, the certificate who
    net.wait_for(lambda: one.request(curl, VIP).status == 503, what='the other address')
    net.wait_for(lambda: one.access()[-1]['response_flags'] == 'URX,UF', what='the log line')


def test_dynamic_names_are_spoken_to_over_tls_each_by_its_own(cairn, names, curl, outside, tmp_path, stopping):
    pki = web.WebPki(tmp_path / 'web')
    stopping.append(web.Nginx('far', pki.cert('DNS:a.example.test', 'DNS:b.example.test'), ip=outside))
    names.zone.update({name + '.example.test': [outside] for name in 'abc'})
    text = conf('dns_dynamic *.example.test 443;', 'upstream_tls ca=%s;' % pki.roots).replace('host %s;' % HOST, '', 1)
    one = cairn(text, **server(names))
    for name, status in (('a', 200), ('b', 200), ('a', 200), ('c', 503)):
        answer = ask(one, curl, name + '.example.test')
        assert answer.status == status, name
        assert status != 200 or ('sni=%s.example.test host=' % name) in answer.body.decode()
