# SPDX-License-Identifier: Apache-2.0
"""Whatever is changed under load, no request is lost: the short forms (t/long has the long ones)."""

import concurrent.futures
import os
import pathlib
import signal
import socket
import threading
import time

import pytest

from peers import net, proxy, steady


@pytest.fixture
def pods(new_origin, capture):
    """Two pods, one of them captured, as endpoint lines."""
    plain, captured = new_origin('plain'), new_origin('captured')
    return [proxy.endpoint(plain), proxy.endpoint(captured, pod=capture(captured, 'bookinfo', 'reviews'))]


@pytest.fixture
def echo(new_tcp_origin):
    return new_tcp_origin('echo')


@pytest.fixture
def load(builddir, curl, stopping):
    def start(waypoint, *more, **options):
        stopping.append(steady.Load(builddir, waypoint, curl, *more, **options))
        return stopping[-1]
    return start


@pytest.fixture(params=['off', 'on'])
def keeper(request):
    """With and without a process that keeps the configuration: the result is the same."""
    return 'config_keeper %s;' % request.param


def test_policy_reloads_lose_nothing(cairn, pods, echo, load, curl, keeper):
    def conf(i):
        return steady.body(*pods, echo=echo, policy='authz { policy bookinfo/v%d allow { rule { to { paths /*; } } } }' % i)
    one = cairn(conf(0), workers=2, main=keeper)
    under, stream = load(one), steady.Stream(one, curl)
    steady.policy_reloads(under, conf, 10)
    exchanges = stream.finish()
    under.expect_nothing_lost('10 policy reloads, a stream of %d exchanges' % exchanges)


def split(pods, echo, i=0):
    """The conf in files of its own, as cairn-gen writes it."""
    policy = 'authz { policy bookinfo/v%d allow { rule { to { paths /*; } } } }' % i
    return {'conf.d/reviews.conf': proxy.cluster(steady.NAME, endpoints='endpoints.d/reviews') +
            proxy.service(steady.NAME, steady.VIP, policy),
            'conf.d/echo.conf': steady.body(echo=echo).replace(steady.body(), ''),
            'endpoints.d/reviews': '\n'.join(pods)}


def test_endpoint_changes_lose_nothing(cairn, pods, echo, load, curl, keeper):
    one = cairn('include conf.d/*.conf;\n', files=split(pods, echo), workers=2, main=keeper)
    under, stream = load(one), steady.Stream(one, curl)
    steady.endpoint_changes(under, 'reviews', [pods[0], pods[1], '\n'.join(pods)], 60)
    under.goes_on()
    exchanges = stream.finish()
    under.expect_nothing_lost('60 endpoint changes, a stream of %d exchanges' % exchanges)


def keeper_of(one):
    """The pid of the process that keeps the configuration, once it is there."""
    def there():
        pids = pathlib.Path('/proc/%d/task/%d/children' % (one.process.pid, one.process.pid)).read_text().split()
        return next((int(p) for p in pids if 'keeper' in title(p)), None)

    def title(pid):
        try:
            return pathlib.Path('/proc/%s/cmdline' % pid).read_text()
        except OSError:
            return ''  # it has just ended
    return net.wait_for(there, 10.0, 'the keeper')


def test_services_come_and_go_one_by_one(cairn, pods, echo, curl, run):
    one = cairn('include conf.d/*.conf;\n', files=split(pods, echo), workers=2, main='config_keeper on;')
    keeper_of(one)
    names = lambda: sorted(s['name'] for s in one.get('/config_dump').json()['services'])
    for i in range(5):
        for name, text in steady.wide(3, 2).items():
            one.put(name, text)
        assert run(*one.command('-s', 'reload', '--wait')).returncode == 0
        assert names() == [steady.ECHO_NAME, steady.NAME] + ['svc%d.wide:9080' % k for k in range(3)]
        for name in steady.wide(3, 2):
            (one.folder / name).unlink()
        assert run(*one.command('-s', 'reload', '--wait')).returncode == 0
        assert names() == [steady.ECHO_NAME, steady.NAME]
        one.put('conf.d/bad.conf', 'service svc.bad:1 { no_such_directive; }')
        done = run(*one.command('-s', 'reload', '--wait'))
        assert done.returncode == 1 and 'no_such_directive' in done.stderr and 'bad.conf:1' in done.stderr
        (one.folder / 'conf.d/bad.conf').unlink()
        assert one.request(curl, steady.VIP).status == 200


def test_death_of_the_keeper_changes_nothing(cairn, pods, echo, run):
    one = cairn('include conf.d/*.conf;\n', files=split(pods, echo), main='config_keeper on;')
    one.expect_crash = True
    for i in range(3):
        os.kill(keeper_of(one), signal.SIGKILL)
        one.wait_log('the keeper .* has ended')
        for name, text in split(pods, echo, i).items():
            one.put(name, text)
        assert run(*one.command('-s', 'reload', '--wait')).returncode == 0
    assert one.info()['reload_failures'] == 0 and one.info()['worker_respawns'] == 0


def test_a_stopped_keeper_holds_nothing_up(cairn, pods, echo, run):
    """It is ended after seconds, and its check done without it."""
    one = cairn('include conf.d/*.conf;\n', files=split(pods, echo), main='config_keeper on;')
    keeper = keeper_of(one)
    os.kill(keeper, signal.SIGSTOP)
    one.put('conf.d/reviews.conf', split(pods, echo, 7)['conf.d/reviews.conf'])
    done = run(*one.command('-s', 'reload', '--wait'))
    assert done.returncode == 0, done.stderr
    one.wait_log('the keeper did not answer')
    info = one.info()
    assert (info['configuration_in_force'], info['reload_failures'], info['worker_respawns']) == (2, 0, 0)
    net.wait_for(lambda: keeper_of(one) != keeper, 10.0, 'another keeper')


def test_spare_worker_takes_over_and_loses_only_the_dead_ones_streams(cairn, pods, echo, load, curl):
    one = cairn('include conf.d/*.conf;\n', files=split(pods, echo), workers=4, main='config_keeper on;')
    one.expect_crash = True
    states = lambda: sorted(w['state'] for w in one.info()['workers'])
    net.wait_for(lambda: states() == ['serving'] * 4 + ['spare'], 10.0, 'the spare worker')
    one.put('endpoints.d/reviews', pods[0])
    steady.wait_in_force(one, lambda: one.send_signal(signal.SIGHUP))
    under = load(one, connections=8)
    before = one.count('istio_requests_total')
    def busy():
        found = [w for w in one.info()['workers'] if w['tunnels'] and w['state'] == 'serving']
        return found if sum(w['tunnels'] for w in found) == 32 else None
    victim = net.wait_for(busy, 20.0, 'all tunnels on the board')[0]
    os.kill(victim['pid'], signal.SIGKILL)
    one.wait_log('spare worker .* takes over')
    net.wait_for(lambda: states() == ['serving'] * 4 + ['spare'], 10.0, 'another spare worker')
    under.goes_on()
    assert one.count('istio_requests_total') >= before
    counted = under.counted()
    lost = sum(under.failures().values())
    print('kill -9 of one of 4 workers: %d of %d requests lost, it had %d tunnels of 32' % (
        lost, counted['requests'], victim['tunnels']))
    assert set(key.split()[1] for key in under.failures()) <= {'lost', 'cut'}
    assert lost <= victim['tunnels'] and counted['5xx'] == 0
    assert one.count('cairn_worker_deaths_total') == 1


def test_worker_count_changes_lose_nothing(cairn, pods, echo, load, curl):
    conf = steady.body(*pods, echo=echo)
    one = cairn(conf, workers=1)
    under, stream = load(one), steady.Stream(one, curl)
    steady.worker_counts(under, conf, 4)
    exchanges = stream.finish()
    under.expect_nothing_lost('4 worker-count changes, a stream of %d exchanges' % exchanges)


def rotate(one, fresh):
    """The files of the waypoint's identity say what `fresh` says from now on."""
    steady.replace_files([(one.identity.cert, fresh.cert), (one.identity.key, fresh.key)])


def own_identity(pki, folder):
    """An identity in files of its own, to be replaced."""
    folder.mkdir()
    one = pki.identity('bookinfo', 'waypoint')
    steady.replace_files([(folder / 'cert.pem', one.cert), (folder / 'key.pem', one.key)])
    return type(one)(one.uri, folder / 'cert.pem', folder / 'key.pem', one.roots)


def shown(one, curl):
    """The certificate that a new connection is shown."""
    with one.connection(curl) as connection:
        return connection.sock.getpeercert(binary_form=True)


def test_certificate_rotations_lose_nothing(cairn, pods, echo, load, curl, pki, tmp_path):
    conf = steady.body(*pods, echo=echo)
    one = cairn(conf, main='hbone_rotation 200ms;', workers=2, identity=own_identity(pki, tmp_path / 'own'))
    before = one.workers()
    under, stream, seen = load(one), steady.Stream(one, curl), {shown(one, curl)}
    for days in range(30, 33):
        rotate(one, pki.identity('bookinfo', 'waypoint', days=days))
        one.reload()
        seen.add(shown(one, curl))
        under.goes_on(100)
    assert len(seen) == 4 and one.workers() == before
    assert abs(one.count('cairn_identity_expiry_timestamp_seconds') - time.time() - 32 * 86400) < 3600
    exchanges = stream.finish()
    counted = under.counted()
    under.expect_nothing_lost('3 rotations, a stream of %d exchanges' % exchanges)
    assert counted['goaways'] > 0


def test_wrong_identity_files_are_refused_and_the_old_ones_stay(cairn, curl, pki, tmp_path, run):
    one = cairn(identity=own_identity(pki, tmp_path / 'own'))
    before, other = shown(one, curl), pki.identity('bookinfo', 'waypoint', days=30)
    for files, why in [
        ([(one.identity.cert, other.cert)], 'does not belong'),
        ([(one.identity.cert, pki.expired('bookinfo', 'waypoint').cert)], 'expired'),
        ([(one.identity.cert, one.identity.key)], 'no certificate'),
    ]:
        steady.replace_files(files)
        done = run(*one.command('-s', 'reload', '--wait'))
        assert done.returncode == 1 and why in done.stderr
        assert shown(one, curl) == before
    rotate(one, other)
    assert run(*one.command('-s', 'reload', '--wait')).returncode == 0
    assert shown(one, curl) != before


def test_binary_upgrades_lose_nothing(cairn, pods, load):
    one = cairn(steady.body(*pods), workers=2)
    under = load(one)
    steady.upgrades(under, 2)
    under.expect_nothing_lost('2 binary upgrades')


def per_worker(one, what='connections'):
    """Connections, or tunnels, of each worker, as the metrics show them."""
    return sorted(int(v) for name, v in one.metrics().items() if name.startswith('cairn_worker_%s{' % what))


def expect_even(one, connections, tunnels=0):
    """Once all of them are there no worker has two more than another, nor tunnels for more than that."""
    net.wait_for(lambda: sum(per_worker(one)) == connections, 20.0, '%d connections' % connections)
    net.wait_for(lambda: sum(per_worker(one, 'tunnels')) == connections * tunnels, 20.0, 'their tunnels')
    each = per_worker(one)
    print('%d connections on %d workers: %s, tunnels %s, %d handed over so far' % (
        connections, len(each), each, per_worker(one, 'tunnels'), one.count('cairn_worker_handed_over_total')))
    assert each[-1] - each[0] <= 1
    assert per_worker(one, 'tunnels') == [n * tunnels for n in each]


def test_few_heavy_connections_spread_evenly(cairn, pods, load):
    one = cairn(steady.body(*pods), workers=4)
    for connections in (8, 10, 16):
        under = load(one, connections=connections, tunnels=8)
        expect_even(one, connections, 8)
        under.expect_nothing_lost('%d connections at once' % connections)
        net.wait_for(lambda: sum(per_worker(one)) == 0, 20.0, 'the end of all connections')
    assert one.count('cairn_worker_handed_over_total') >= 3


ESTABLISHED = '01'  # in /proc/net/tcp


def whose(one, connection):
    """The pid of the worker that has the other end, as /proc tells."""
    there, here = [socket.inet_aton(ip)[::-1].hex().upper() + ':%04X' % port for ip, port in (
        (one.ip, 15008), connection.sock.getsockname())]
    rows = [line.split() for line in pathlib.Path('/proc/net/tcp').read_text().splitlines()]
    # One that ended may have had the same addresses, and a table that changes may tell a row twice.
    inode, = {row[9] for row in rows if row[1:4] == [there, here, ESTABLISHED]}

    def has(pid):
        links = []
        for fd in os.listdir('/proc/%d/fd' % pid):
            try:
                links.append(os.readlink('/proc/%d/fd/%s' % (pid, fd)))
            except FileNotFoundError:
                pass  # closed in between
        return 'socket:[%s]' % inode in links
    return next(pid for pid in one.workers() if has(pid))


def test_connections_that_come_later_take_the_places_of_those_that_ended(cairn, pods, curl):
    one = cairn(steady.body(*pods), workers=4, main='hbone_ping_interval 1h;')  # nobody here would answer
    opened = {pid: [] for pid in one.workers()}
    for ended in ([0], [4, 3], [2, 4, 0, 1]):
        for some, n in zip(opened.values(), ended):
            for connection in some[:n]:
                connection.close()
            del some[:n]
        left = sorted(len(some) for some in opened.values())
        net.wait_for(lambda: per_worker(one) == left, 20.0, 'the end of %s' % ended)
        for _ in range(16 - sum(left)):
            connection = one.connection(curl)
            connection.connect(steady.VIP)
            opened[whose(one, connection)].append(connection)
        print('%d ended, which left %s' % (sum(ended), left))
        expect_even(one, 16, 1)
        assert sorted(len(some) for some in opened.values()) == [4, 4, 4, 4]
    for connection in sum(opened.values(), []):
        connection.close()


def test_what_a_worker_was_given_and_did_not_take_is_served_when_it_dies(cairn, pods, curl):
    one = cairn(steady.body(*pods), workers=3)
    one.expect_crash = True
    victim, answers, over = one.workers()[0], [], threading.Event()
    os.kill(victim, signal.SIGSTOP)

    def ask(_):
        with one.connection(curl, timeout=30.0) as connection:
            answers.append(connection.connect(steady.VIP).request('GET', '/', host='reviews').status)
            over.wait(30)
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        clients = [pool.submit(ask, i) for i in range(9)]
        try:
            net.wait_for(lambda: len(answers) == 6, 20.0, 'two thirds of them to be served')
            os.kill(victim, signal.SIGKILL)
            net.wait_for(lambda: len(answers) == 9 or any(c.done() for c in clients), 20.0, 'the others')
        finally:
            over.set()
        for client in clients:
            client.result()
    assert answers == [200] * 9


@pytest.mark.parametrize('how', [signal.SIGQUIT, signal.SIGTERM])
def test_end_is_announced_first_and_loses_nothing(cairn, pods, load, how):
    """Two waypoints as two replicas: the client goes to the other one when it is told to."""
    one = cairn(steady.body(*pods), main='drain_delay 600ms; sigterm graceful;', workers=2)
    under = load(one)
    one.send_signal(how)
    one.wait_log('not ready any more')
    assert one.get('/healthz/ready', 15021).status == 503
    assert one.get('/ready').body == b'DRAINING\n'
    under.goes_on(20)
    with one.connection(under.identity) as late:  # it is still served
        assert late.connect(steady.VIP).request('GET', '/', host='reviews').status == 200
    one.process.wait(20)
    assert one.process.returncode == 0
    assert under.failures() == {}, under.said
    print('end by %s after %d requests: failed 0' % (how.name, under.counted()['requests']))


def test_after_the_drain_has_begun_clients_are_refused_at_once(cairn, new_origin, curl):
    origin = new_origin('slow')
    one = cairn(steady.body(proxy.endpoint(origin)))
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        tunnel.send(b'GET /slow/1500 HTTP/1.1\r\nhost: reviews\r\n\r\n')
        net.wait_for(lambda: one.count('cairn_requests_active') == 1)
        one.send_signal(signal.SIGQUIT)
        one.wait_log('workers finish what they have begun')

        def refused():
            try:
                one.connection(curl, timeout=1.0).close()
                return False
            except ConnectionRefusedError:
                return True
        net.wait_for(refused, 1.4, 'refusal')
        assert b'200 OK' in tunnel.recv() and one.get('/healthz/ready', 15021).status == 503


def test_drained_but_not_ended_still_serves_who_comes(cairn, pods, curl):
    one = cairn(steady.body(*pods), main='drain_idle_timeout 200ms;', workers=2)
    assert one.get('/drain', 15020, 'POST').body == b'OK\n'
    net.wait_for(lambda: one.get('/healthz/ready', 15021).status == 503)
    for _ in range(4):
        with one.connection(curl) as connection:
            assert connection.connect(steady.VIP).request('GET', '/', host='reviews').status == 200
            connection.wait_closed()


# ---- pods that come and go ----

@pytest.fixture
def replacements(cairn, pki, stopping):
    return steady.Replacements(cairn, pki.identity, stopping)


@pytest.mark.skipif(os.geteuid() != 0, reason='needs root to make sockets vanish')
def test_replaced_pods_cost_only_requests_that_may_have_reached_one_that_vanished(replacements, load):
    under = load(replacements.one, methods=replacements.METHODS)
    replacements.run(under, 8)
    replacements.expect_losses_only_where_a_byte_may_have_arrived(under, 8)
