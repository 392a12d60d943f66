# SPDX-License-Identifier: Apache-2.0
"""What is not HTTP: real redis and PostgreSQL, servers that speak first, and how connections end.

Clients come through cairn-tunnel or a tunnel by hand, to undeclared ports
(`protocol auto`) and declared ones (`protocol tcp`); pods are reached in
plaintext and over HBONE.
"""

import os
import smtplib
import socket
import threading
import time

import pytest

from peers import hbone, net, origin, proxy, servers, tunnel_cli

PROTOCOLS, OUT = ('auto', 'tcp'), ('plain', 'hbone')
ECHO = 'echo.data:9000'
VIP = '10.96.7.1:9000'


def paths():
    return pytest.mark.parametrize('path', ['%s-%s' % (p, out) for p in PROTOCOLS for out in OUT])


def echo(*endpoints, body='', settings=(), **more):
    """Conf of one service before endpoints; settings of its cluster, more of the service."""
    declared = {'protocol': 'tcp', **more}
    return proxy.cluster(ECHO, *endpoints, protocol=declared['protocol'], **dict(settings)) + proxy.service(
        ECHO, VIP, body, **declared)


@pytest.fixture(scope='module')
def shared(guarded, guarded_origin, pki, tmp_path_factory):
    """A waypoint before redis and PostgreSQL: shared.vip['redis']['auto-hbone'] and so on."""
    started = []
    try:
        started += [servers.Redis(), servers.Postgres()]
        conf, vips = '', {}
        for n, server in enumerate(list(started)):
            pod = hbone.CapturedPod(server.ip, pki.identity('data', server.name))
            started.append(pod)
            for m, path in enumerate('%s-%s' % (p, out) for p in PROTOCOLS for out in OUT):
                name = '%s-%s.data:%d' % (server.name, path, server.port)
                vip = '10.96.%d.%d:%d' % (n, m + 1, server.port)
                how = {'pod': pod} if path.endswith('hbone') else {}
                protocol = path.split('-')[0]
                conf += proxy.cluster(name, proxy.endpoint(server, **how), protocol=protocol)
                conf += proxy.service(name, vip, protocol=protocol, sniff_timeout='30s')
                vips.setdefault(server.name, {})[path] = vip
        one = guarded(conf)
        one.vip = vips
        yield one
    finally:
        for thing in reversed(started):
            thing.stop()


@pytest.fixture
def through(builddir, curl, stopping):
    """through(waypoint, '10.96.0.1:6379') -> (ip, port) of a cairn-tunnel to there."""
    def make(waypoint, vip):
        stopping.append(tunnel_cli.TunnelCli(builddir, waypoint.ip, curl, to=vip))
        return stopping[-1].address
    return make


# ---- real services ----

@paths()
def test_redis_is_used_as_if_it_were_near(shared, through, run, path):
    ip, port = through(shared, shared.vip['redis'][path])
    value = 'v' * 1000000

    def redis(*words, **options):
        done = run(servers.program('redis-cli'), '-h', ip, '-p', port, *words, timeout=15, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout
    assert redis('PING') == 'PONG\n'
    assert redis('SET', path, 'kept') == 'OK\n'
    assert redis(input='INCR n\nINCR n\nDEL n\n') == '1\n2\n1\n'
    assert redis('-x', 'SET', 'large', input=value) == 'OK\n'
    assert redis('GET', 'large') == value + '\n'
    assert redis('GET', path) == 'kept\n'


@paths()
def test_redis_subscriber_hears_what_is_said_later(shared, curl, path):
    with shared.connection(curl) as connection:
        listener, speaker = (connection.connect(shared.vip['redis'][path]) for _ in range(2))
        listener.send(b'SUBSCRIBE %s\r\n' % path.encode())
        assert listener.recv().startswith(b'*3\r\n$9\r\nsubscribe')
        speaker.send(b'PUBLISH %s news\r\n' % path.encode())
        assert speaker.recv() == b':1\r\n'
        assert listener.recv().endswith(b'$4\r\nnews\r\n')


@paths()
def test_postgresql_is_used_as_if_it_were_near(shared, through, run, path):
    ip, port = through(shared, shared.vip['postgres'][path])
    env = {**os.environ, 'PGPASSWORD': 'secret', 'PGCONNECT_TIMEOUT': '10'}

    def psql(sql, **options):
        return run(servers.program('psql'), '-X', '-At', '-v', 'ON_ERROR_STOP=1', '-h', ip, '-p', port, '-U', 'app', '-d',
                   'postgres', '-c', sql, timeout=15, **{'env': env, **options})
    assert psql('select 6 * 7').stdout == '42\n'
    assert psql("select repeat('x', 1000000)").stdout == 'x' * 1000000 + '\n'
    table = path.replace('-', '_')
    assert psql('create table %s (n int)' % table).returncode == 0
    rows = ''.join('%d\n' % n for n in range(20000))
    assert psql('copy %s from stdin' % table, input=rows).stdout == 'COPY 20000\n'
    assert psql('copy (select n from %s order by n) to stdout' % table).stdout == rows
    wrong = psql('select 1', env={**env, 'PGPASSWORD': 'wrong'})
    assert wrong.returncode == 2 and 'password authentication failed' in wrong.stderr


# ---- servers that speak first ----

class Smtp(origin.Origin):
    """Greets, then takes one mail after another into .mails."""

    def __init__(self, name, **options):
        self.mails = []
        super().__init__(name, port=9000, **options)

    def handle(self, sock, number):
        file = sock.makefile('rb')
        sock.sendall(b'220 mail.example ready\r\n')
        word = b''
        while word != b'QUIT':
            word = file.readline().split()[0].upper()
            if word == b'DATA':
                sock.sendall(b'354 go on\r\n')
                self.mails.append(b''.join(iter(file.readline, b'.\r\n')))
            sock.sendall(b'221 bye\r\n' if word == b'QUIT' else b'250 fine\r\n')
        sock.close()


@pytest.mark.parametrize('settings', [{'protocol': 'auto', 'sniff_timeout': '200ms'},
                                      {'protocol': 'tcp', 'sniff_timeout': '60s'}], ids=PROTOCOLS)
@pytest.mark.parametrize('out', OUT)
def test_mail_goes_out_although_the_server_speaks_first(cairn, stopping, through, capture, settings, out):
    mail = Smtp('mail')
    stopping.append(mail)
    pod = {'pod': capture(mail, 'data', 'mail')} if out == 'hbone' else {}
    one = cairn(echo(proxy.endpoint(mail, **pod), **settings))
    ip, port = through(one, VIP)
    with smtplib.SMTP(ip, port, local_hostname='client', timeout=10) as client:
        client.sendmail('a@example', ['b@example'], 'Subject: x\r\n\r\nover the mesh\r\n')
    assert len(mail.mails) == 1 and mail.mails[0].endswith(b'over the mesh\r\n')


MYSQL = b'\x4a\0\0\0\x0a8.0.36\0' + bytes(range(1, 70))


def test_silent_client_waits_for_the_sniff_timeout_and_no_longer(cairn, new_tcp_origin, curl):
    one = cairn(echo(proxy.endpoint(new_tcp_origin('mysql', greeting=MYSQL)), protocol='auto', sniff_timeout='300ms'))
    with one.connection(curl) as connection:
        began = time.monotonic()
        tunnel = connection.connect(VIP)
        answered = time.monotonic() - began
        assert tunnel.recv() == MYSQL
        took = time.monotonic() - began
    assert answered < 0.3 <= took < 5


def test_declared_port_waits_for_nothing(cairn, new_tcp_origin, curl):
    one = cairn(echo(proxy.endpoint(new_tcp_origin('mysql', greeting=MYSQL)), sniff_timeout='60s'))
    with one.connection(curl) as connection:
        assert connection.connect(VIP).recv() == MYSQL


def test_client_that_ends_without_a_word_gets_the_greeting_at_once(cairn, new_tcp_origin, curl):
    one = cairn(echo(proxy.endpoint(new_tcp_origin('mysql', greeting=MYSQL)), protocol='auto', sniff_timeout='60s'))
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.half_close()
        assert tunnel.recv_all() == MYSQL


# ---- sniffing ----

class Either(origin.Origin):
    """Answers HTTP, and sends back everything else."""

    def handle(self, sock, number):
        if sock.recv(5, socket.MSG_PEEK) == b'GET /':
            origin.Connection(self, sock, number).run()
            return
        try:
            sock.sendall(sock.recv(65536))
            while sock.recv(65536):
                pass
        except ConnectionResetError:
            pass  # how clients leave here
        finally:
            sock.close()


@pytest.fixture
def either(cairn, stopping):
    stopping.append(Either('either', port=9000))
    return cairn(echo(proxy.endpoint(stopping[-1]), protocol='auto', sniff_timeout='60s'))


WORDS = {'word without a line end': b'hello', 'redis': b'*1\r\n', 'SSH': b'SSH-2.0-x\r\n', 'TLS that is no hello': b'\x15\x03\x01\0\2\2\x28',
         'binary': b'\0\0\0\x08\x04\xd2\x16\x2f', 'high bytes': b'\xff\xfe', 'upper-case word': b'HELO\r\n',
         'method and no target': b'GET \r\n', 'word longer than any method': b'A' * 40, 'a blank': b' '}


@pytest.mark.parametrize('words', WORDS.values(), ids=WORDS)
def test_what_cannot_be_http_is_tcp_at_once(either, curl, words):
    with either.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(words)
        assert tunnel.recv() == words


def test_http_on_the_same_port_is_http(either, curl):
    answer = either.request(curl, VIP, path='/x')
    assert (answer.status, answer.header('server')) == (200, 'istio-envoy')
    line, = either.access()
    assert (line['method'], line['path'], line['response_code']) == ('GET', '/x', 200)
    with either.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for piece in (b'G', b'E', b'T', b' ', b'/slow/0 HTTP/1.1\r\n', b'Host: a\r\n\r\n'):
            tunnel.send(piece)
            connection.ping()  # so that each piece is looked at alone
        assert tunnel.http.response().status == 200


def test_beginning_of_a_method_waits_for_the_sniff_timeout(cairn, new_tcp_origin, curl):
    one = cairn(echo(proxy.endpoint(new_tcp_origin('echo')), protocol='auto', sniff_timeout='200ms'))
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(b'GET')
        assert tunnel.recv() == b'GET'


# ---- policy ----

CURL, OTHER = 'cluster.local/ns/default/sa/curl', 'cluster.local/ns/default/sa/other'
DENIED, NONE = 'rbac_access_denied_matched_policy[ns[data]-policy[p]-rule[0]]', 'rbac_access_denied_matched_policy[none]'
POLICIES = {
    'deny: principal': ('deny', 'from { principals %s; }' % CURL, DENIED),
    'deny: another principal': ('deny', 'from { principals %s; }' % OTHER, None),
    'deny: not this principal': ('deny', 'from { not_principals %s; }' % OTHER, DENIED),
    'deny: namespace': ('deny', 'from { namespaces default; }', DENIED),
    'deny: ip': ('deny', 'from { ip_blocks 127.0.0.0/8; }', DENIED),
    'deny: another ip': ('deny', 'from { ip_blocks 10.0.0.0/8; }', None),
    'deny: port': ('deny', 'to { ports 9000; }', DENIED),
    'deny: another port': ('deny', 'to { ports 9001; }', None),
    'deny: destination.ip': ('deny', 'when destination.ip 10.96.8.0/24;', DENIED),
    'allow: principal': ('allow', 'from { principals %s; }' % CURL, None),
    'allow: another principal': ('allow', 'from { principals %s; }' % OTHER, NONE),
    'allow: principal, ip and port': ('allow', 'from { principals %s; ip_blocks 127.0.0.0/8; } to { ports 9000; }' % CURL,
                                      None),
    'allow: principal and another port': ('allow', 'from { principals %s; } to { ports 1; }' % CURL, NONE),
    'allow: nothing': ('allow', None, NONE),
    # attributes that only HTTP has: dropped from deny, and with their rule from allow
    'deny: methods deny all': ('deny', 'to { methods POST; }', DENIED),
    'deny: paths deny all': ('deny', 'to { paths /x; }', DENIED),
    'deny: not_paths deny all': ('deny', 'to { not_paths /x; }', DENIED),
    'deny: hosts deny all': ('deny', 'to { hosts x; }', DENIED),
    'deny: headers deny all': ('deny', 'when request.headers[x-a] b;', DENIED),
    'deny: the rest of the rule stays': ('deny', 'from { principals %s; } to { methods GET; }' % OTHER, None),
    'deny: the rest of the rule matches': ('deny', 'from { principals %s; } to { methods GET; }' % CURL, DENIED),
    'deny: the rest of the operation stays': ('deny', 'to { ports 1; paths /x; }', None),
    'allow: methods allow nothing': ('allow', 'to { methods GET; }', NONE),
    'allow: their rule is dropped whole': ('allow', 'from { principals %s; } to { methods GET; }' % CURL, NONE),
    'allow: another rule stays': ('allow', 'to { methods GET; } } rule { from { principals %s; }' % CURL, None),
    'audit: lets through': ('audit', 'to { methods GET; }', None),
    'deny in a dry run: lets through': ('deny dry_run', 'to { methods GET; }', None),
}


@pytest.fixture(scope='module')
def guard(guarded, guarded_origin):
    """A waypoint with one service for each policy and protocol: guard.vip[policy, protocol]."""
    app = guarded_origin('echo', kind=origin.TcpOrigin)
    conf, vips = '', {}
    for n, (what, (action, rule, _)) in enumerate(POLICIES.items()):
        for m, protocol in enumerate(PROTOCOLS):
            name, vip = 'echo-%d-%s.data:9000' % (n, protocol), '10.96.8.%d:9000' % (2 * n + m + 1)
            rules = 'rule { %s }' % rule if rule else ''
            policy = 'authz { policy "data/p" %s { %s } }' % (action, rules)
            conf += proxy.cluster(name, proxy.endpoint(app), protocol=protocol)
            conf += proxy.service(name, vip, policy, protocol=protocol, sniff_timeout='60s')
            vips[what, protocol] = vip
    one = guarded(conf)
    one.vip, one.app = vips, app
    return one


def greet(connection, vip):
    """What comes of a connection: its echo, or the code of the reset."""
    tunnel = connection.connect(vip)
    tunnel.send(b'hello')
    try:
        assert tunnel.recv() == b'hello'
        tunnel.half_close()
        assert tunnel.recv_all() == b''
        return None
    except ConnectionResetError:
        return tunnel.reset_code


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_policies_decide_on_connections(guard, curl, protocol):
    vips = {guard.vip[what, protocol]: what for what in POLICIES}
    had = guard.app.connections
    with guard.connection(curl) as connection:
        outcome = {what: greet(connection, vip) for vip, what in vips.items()}
    allowed = [what for what, (_, _, details) in POLICIES.items() if details is None]
    assert outcome == {what: None if what in allowed else 10 for what in POLICIES}  # 10: CONNECT_ERROR
    assert guard.app.connections == had + len(allowed)

    def lines():
        found = [line for line in guard.access() if line['downstream_local_address'] in vips]
        return found if len(found) == len(vips) else None
    said = {vips[line['downstream_local_address']]: line for line in net.wait_for(lines, what='all the lines')}
    assert {what: line['connection_termination_details'] for what, line in said.items()} == {
        what: details for what, (_, _, details) in POLICIES.items()}
    assert {(line['response_flags'], line['response_code']) for line in said.values()} == {('-', 0)}


# ---- metrics and log ----

TCP_METRICS = ('connections_opened', 'connections_closed', 'received_bytes', 'sent_bytes')


def tcp_counts(waypoint, **labels):
    return tuple(waypoint.count('istio_tcp_%s_total' % name, **labels) for name in TCP_METRICS)


@pytest.fixture
def waypoint(cairn, new_tcp_origin):
    """Before an echo that says `bye` at the end."""
    app = new_tcp_origin('echo', bye=b'bye')
    one = cairn(echo(proxy.endpoint(app), settings={'alias': '"inbound-vip|9000|tcp|echo.data.svc.cluster.local"'}))
    one.app = app
    return one


def talk(connection, words, vip=VIP):
    tunnel = connection.connect(vip)
    tunnel.send(words)
    tunnel.half_close()
    return tunnel.recv_all()


def test_connections_and_bytes_are_counted_exactly(waypoint, curl):
    with waypoint.connection(curl) as connection:
        assert talk(connection, b'x' * 1000000) == b'x' * 1000000 + b'bye'
        assert talk(connection, b'') == b'bye'
    net.wait_for(lambda: tcp_counts(waypoint)[1] == 2, what='both to be closed')
    assert tcp_counts(waypoint) == (2, 2, 1000000, 1000006)
    assert tcp_counts(waypoint, reporter='waypoint', source_principal=curl.uri, source_workload_namespace='default',
                      destination_service='echo.data.svc.cluster.local', destination_service_name='echo',
                      destination_service_namespace='data', request_protocol='tcp', response_flags='-',
                      connection_security_policy='mutual_tls') == (2, 2, 1000000, 1000006)
    assert waypoint.count('istio_requests_total') == 0


def test_long_connection_is_reported_while_it_lives(waypoint, curl):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(b'first words')
        assert tunnel.recv() == b'first words'
        began = time.monotonic()
        net.wait_for(lambda: tcp_counts(waypoint) == (1, 0, 11, 11), 9, 'the report of a living connection')
        assert time.monotonic() - began < 7
        tunnel.send(b'more')
        tunnel.half_close()
        assert tunnel.recv_all() == b'morebye'
    net.wait_for(lambda: tcp_counts(waypoint) == (1, 1, 15, 18), what='the rest at the end')


def test_connection_has_one_line_in_the_log(waypoint, curl):
    with waypoint.connection(curl) as connection:
        local = '%s:%d' % connection.sock.getsockname()
        assert talk(connection, b'12345') == b'12345bye'
    line, = waypoint.access()
    nothing = ('method', 'path', 'protocol', 'route_name', 'user_agent', 'request_id', 'authority', 'x_forwarded_for',
               'response_code_details', 'connection_termination_details', 'upstream_transport_failure_reason')
    assert [name for name in nothing if line[name] not in (None, '-')] == []
    said = {name: line[name] for name in ('response_code', 'response_flags', 'bytes_received', 'bytes_sent', 'upstream_host',
                                          'upstream_cluster', 'downstream_local_address', 'downstream_remote_address')}
    assert said == {'response_code': 0, 'response_flags': '-', 'bytes_received': 5, 'bytes_sent': 8,
                    'upstream_host': waypoint.app.address,
                    'upstream_cluster': 'inbound-vip|9000|tcp|echo.data.svc.cluster.local',
                    'downstream_local_address': VIP, 'downstream_remote_address': local}
    assert line['upstream_local_address'].startswith('127.')


def test_line_in_text_is_as_istio_writes_it(cairn, new_tcp_origin, curl):
    app = new_tcp_origin('echo')
    one = cairn(echo(proxy.endpoint(app)), access_log='text')
    with one.connection(curl) as connection:
        talk(connection, b'12345')
    line, = one.access()
    start, _, rest = line.partition('] ')
    words = rest.split(' ')
    assert start.startswith('[20') and rest.startswith('"- - -" 0 - - - "-" 5 5 ')
    assert words[10].isdigit() and words[11:17] == ['-', '"-"', '"-"', '"-"', '"-"', '"%s"' % app.address]


# ---- how connections end ----

class FirstToEnd(origin.TcpOrigin):
    """Ends its direction first, and goes on listening into .received."""

    def handle(self, sock, number):
        got = bytearray()
        self.received.append(got)
        sock.sendall(b'all I had')
        sock.shutdown(socket.SHUT_WR)
        while True:
            data = sock.recv(65536)
            if not data:
                break
            got += data
        sock.close()


class Resets(origin.Origin):
    """Resets at the first word."""

    def handle(self, sock, number):
        sock.recv(100)
        net.reset(sock)


class Notes(origin.Origin):
    """Greets, reads to the end and notes in .ends how that was."""

    def __init__(self, name, **options):
        self.ends = []
        super().__init__(name, **options)

    def handle(self, sock, number):
        try:
            sock.sendall(b'greeting')
            while sock.recv(65536):
                pass
            self.ends.append('FIN')
        except ConnectionResetError:
            self.ends.append('RST')
        finally:
            sock.close()


@pytest.fixture
def before(cairn, stopping, capture):
    """before(Kind, out, **more) -> a waypoint before an origin of that kind, which is .app."""
    def make(kind, out='plain', **more):
        app = kind('app', port=9000)
        stopping.append(app)
        pod = {'pod': capture(app, 'data', 'app')} if out == 'hbone' else {}
        one = cairn(echo(proxy.endpoint(app, **pod), **more))
        one.app = app
        return one
    return make


@pytest.mark.parametrize('out', OUT)
def test_client_may_end_first(before, curl, out):
    one = before(lambda name, port: origin.TcpOrigin(name, port=port, bye=b'bye'), out)
    with one.connection(curl) as connection:
        assert talk(connection, b'words ') == b'words bye'
        assert one.access()[0]['response_flags'] == '-'


@pytest.mark.parametrize('out', OUT)
def test_server_may_end_first_and_still_hears_the_client(before, curl, out):
    """A stock waypoint resets the stream instead."""
    one = before(FirstToEnd, out)
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        assert tunnel.recv_all() == b'all I had'
        for _ in range(10):
            tunnel.send(b'x' * 10000)
            connection.ping()
        assert tunnel.reset_code is None
        tunnel.half_close()
        net.wait_for(lambda: one.app.received and len(one.app.received[0]) == 100000, what='the words of the client')
    assert one.access()[0]['response_flags'] == '-'


@pytest.mark.parametrize('out', OUT)
def test_reset_by_the_server_reaches_the_client(before, curl, out):
    one = before(Resets, out)
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(b'a word')
        with pytest.raises(ConnectionResetError):
            tunnel.recv()
        assert tunnel.reset_code == 10
        line, = one.access()
        assert (line['response_flags'], line['bytes_received']) == ('UR', 6)
        assert tcp_counts(one, response_flags='-')[2:] == (0, 0)


@pytest.mark.parametrize('out', OUT)
def test_reset_by_the_client_reaches_the_server(before, curl, out):
    one = before(Notes, out)
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.recv()
        tunnel.reset(2)  # INTERNAL_ERROR
        net.wait_for(lambda: one.app.ends == ['RST'], what='the reset at the server')
    assert one.access()[0]['response_flags'] == 'DC'


def test_cancel_by_the_client_is_an_orderly_end(before, curl):
    """As ztunnel says it when its application is gone."""
    one = before(Notes)
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.recv()
        tunnel.reset()
        net.wait_for(lambda: one.app.ends, what='the end at the server')
    assert one.app.ends == ['FIN']
    one.access()


def test_client_that_vanishes_frees_the_server(before, curl):
    one = before(Notes)
    connection = one.connection(curl)
    tunnels = [connection.connect(VIP) for _ in range(10)]
    for tunnel in tunnels:
        tunnel.recv()
    connection.reset()
    net.wait_for(lambda: len(one.app.ends) == 10, what='all of them to end')
    assert {line['response_flags'] for line in one.access(10)} == {'DC'}


def test_server_that_closes_at_once_is_an_end(before, curl):
    class Closes(origin.Origin):
        def handle(self, sock, number):
            sock.close()
    one = before(Closes)
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        assert tunnel.recv_all() == b''
        tunnel.half_close()
        assert one.access()[0]['response_flags'] == '-'


# ---- when there is nobody ----

def refused(waypoint, curl):
    """The log line of a tunnel that is answered and then reset."""
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        with pytest.raises(ConnectionResetError):
            tunnel.recv()
        assert tunnel.reset_code == 10
    line, = waypoint.access()
    net.wait_for(lambda: waypoint.count('cairn_tunnels_open') == 0, what='the tunnel to go')
    assert tcp_counts(waypoint) == (1, 1, 0, 0)
    return line


def test_refused_connection(before, curl):
    one = before(origin.Origin)
    one.app.stop()
    line = refused(one, curl)
    assert line['response_flags'] == 'UF,URX'
    assert line['upstream_transport_failure_reason'] == 'delayed_connect_error:_Connection_refused'
    assert line['upstream_host'] == one.app.address


def test_pod_whose_proxy_refuses(cairn, new_tcp_origin, capture, curl):
    app = new_tcp_origin('echo')
    pod = capture(app, 'data', 'app', verdict=lambda *_: 503)
    line = refused(cairn(echo(proxy.endpoint(app, pod=pod))), curl)
    assert line['response_flags'] == 'UF,URX'
    assert app.connections == 0 and len(pod.connects) == 1


def test_pod_whose_proxy_does_not_answer(cairn, new_tcp_origin, capture, curl):
    app = new_tcp_origin('echo')
    pod = capture(app, 'data', 'app', verdict=lambda *_: 'ignore')
    line = refused(cairn(echo(proxy.endpoint(app, pod=pod), settings={'connect_timeout': '200ms'})), curl)
    assert line['response_flags'] == 'UF,URX'
    assert line['duration'] >= 190  # of a connect_timeout of 200 ms, on a clock of whole milliseconds


def test_pod_of_another_identity(cairn, new_tcp_origin, pki, stopping, curl):
    app = new_tcp_origin('echo')
    pod = hbone.CapturedPod(app.ip, pki.identity('evil', 'app'))
    stopping.append(pod)
    pod.identity = pki.identity('data', 'app')  # what the endpoints say
    line = refused(cairn(echo(proxy.endpoint(app, pod=pod))), curl)
    assert line['response_flags'] == 'UF,URX'
    assert pod.connects == [] and app.connections == 0


@pytest.mark.parametrize('endpoints', [[], ['127.0.0.1:9 health=unhealthy']], ids=['none', 'unhealthy'])
def test_no_endpoint(cairn, curl, endpoints):
    line = refused(cairn(echo(*endpoints)), curl)
    assert (line['response_flags'], line['upstream_host']) == ('UH', None)


def test_silent_connection_ends_at_the_idle_timeout(cairn, new_tcp_origin, curl):
    app = new_tcp_origin('echo')
    one = cairn(echo(proxy.endpoint(app)), main='tcp_idle_timeout 300ms;')
    with one.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.send(b'one word')
        assert tunnel.recv() == b'one word'
        with pytest.raises(ConnectionResetError):
            tunnel.recv()
    assert one.access()[0]['connection_termination_details'] == 'idle_timeout'


def test_hundred_connections_at_once(waypoint, curl, through):
    address = through(waypoint, VIP)
    results = []

    def one(n):
        with socket.create_connection(address, 10) as sock:
            words = b'%d' % n * 1000
            sock.sendall(words)
            sock.shutdown(socket.SHUT_WR)
            got = b''.join(iter(lambda: sock.recv(65536), b''))
            results.append(got == words + b'bye')
    threads = [threading.Thread(target=one, args=(n,)) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert results == [True] * 100
    net.wait_for(lambda: tcp_counts(waypoint)[:2] == (100, 100), what='all of them counted')
