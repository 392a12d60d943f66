# SPDX-License-Identifier: Apache-2.0
"""A wall clock that jumps, and a process that was stopped: what is limited by time stays limited, and no more.

The wall clock of a whole cairn is off by what a test says (t/fault/clock.c): an hour
forth and back, ten years forth and back.
"""

import contextlib
import datetime
import mmap
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import time

import pytest

from peers import hbone, net, proxy, steady

from test_breaker import hashed, key_of, pair  # noqa: F401
from test_dns import HOST, VIP, conf as dns_conf, names, pods as new_pods, server  # noqa: F401
from test_fault import worker_of
from test_lifecycle import echo, keeper_of, load, own_identity, pods, rotate  # noqa: F401
from test_process import children, is_alive
from test_session import apps, carry, conf as session_conf, cookie_of  # noqa: F401
from test_steady import Everything, Scraper

HOUR, YEAR = 3600, 365 * 86400
LAYOUT = struct.Struct('qQ')


class Clock:
    """The wall clock of whoever has .env."""

    def __init__(self, top, builddir, folder):
        if 'address' in (builddir / 'cn_flags').read_text() or not shutil.which('cc'):
            pytest.skip('needs cc, and sanitizers must come first')
        library, path = folder / 'clock.so', folder / 'clock'
        subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', str(library), str(top / 't/fault/clock.c')], check=True)
        path.write_bytes(bytes(LAYOUT.size))
        with open(path, 'r+b') as file:
            self.map = mmap.mmap(file.fileno(), LAYOUT.size)
        self.env, self.jumps = {'LD_PRELOAD': str(library), 'CLOCK_FILE': str(path)}, 0

    def jump(self, seconds):
        """From now on it is off by so much."""
        struct.pack_into('q', self.map, 0, seconds)
        self.jumps += 1

    @property
    def asked(self):
        return LAYOUT.unpack(self.map[:])[1]


@pytest.fixture
def clock(top, builddir, tmp_path):
    return Clock(top, builddir, tmp_path)


@pytest.fixture
def jumping(cairn, clock):
    """As cairn, under that clock."""
    def make(*words, **options):
        one = cairn(*words, **{**options, 'start': False})
        one.env = clock.env
        return one.start()
    return make


def ticks(one):
    """Processor time of all its processes, in hundredths of a second."""
    pids = [one.process.pid] + one.workers()
    return sum(sum(map(int, pathlib.Path('/proc/%d/stat' % p).read_text().rpartition(')')[2].split()[11:13])) for p in pids)


# ---- the wall clock ----

def test_load_of_every_kind_stands_every_jump(builddir, jumping, clock, pods, echo, load, curl, stopping, pki, tmp_path):  # noqa: F811
    """Policies, endpoints and certificates are changed at each of these times, and nothing is lost."""
    all_ = Everything(builddir, jumping, pods, echo, load, curl, stopping, own_identity(pki, tmp_path / 'own'))
    one, scraper = all_.one, Scraper(all_.one)
    all_.start_streams()
    for i, off in enumerate((HOUR, 0, -HOUR, HOUR, 10 * YEAR, -10 * YEAR, 0)):
        clock.jump(off)
        one.put('conf.d/reviews.conf', all_.reviews(i + 1))
        one.put('endpoints.d/reviews', pods[0] if i % 2 else '\n'.join(pods))
        steady.wait_in_force(one, lambda: one.send_signal(signal.SIGHUP))
        all_.load.goes_on(50)
    rotate(one, pki.identity('bookinfo', 'waypoint', days=30))
    clock.jump(HOUR)
    one.reload()
    all_.load.goes_on(100)
    assert one.info()['reload_failures'] == 0 and one.info()['worker_respawns'] == 0
    all_.finish('%d jumps of the clock, %s' % (clock.jumps, scraper.finish()))
    assert clock.asked > 100, 'nobody asked for the time'


@pytest.mark.parametrize('keeper', ['off', 'on'])
def test_every_change_is_noticed_whatever_the_times_say(jumping, clock, new_origin, curl, run, keeper):
    """Files of the past and of the future, of the same size, in place of one of another time."""
    apps = [new_origin('app%d' % i) for i in range(2)]  # noqa: F811
    one = jumping(proxy.cluster(steady.NAME, endpoints='endpoints.d/reviews') + proxy.service(steady.NAME, steady.VIP),
                  files={'endpoints.d/reviews': proxy.endpoint(apps[1])}, main='config_keeper %s;' % keeper)
    path, n = one.folder / 'endpoints.d/reviews', 0
    with one.connection(curl) as connection:  # made before the certificates expire
        for off in (0, HOUR, -HOUR, 10 * YEAR):
            clock.jump(off)
            for mtime in (0, 10 ** 9, time.time() + off, 2 ** 31 - 1):
                one.put('endpoints.d/reviews', proxy.endpoint(apps[n % 2]).ljust(60))
                os.utime(path, (mtime, mtime))
                done = run(*one.command('-s', 'reload', '--wait'))
                assert done.returncode == 0, done.stderr
                assert connection.connect(steady.VIP).request().json()['pod'] == 'app%d' % (n % 2), (off, mtime)
                n += 1
    print('%d changes under a clock that jumps, keeper %s: all noticed' % (n, keeper))


def test_limits_refill_in_time_and_are_not_forgiven(jumping, clock, new_origin, curl):
    body = 'rate_limit slow { limit 3 per=1h; key path; match { to { paths /slow; } } }\n' \
           'rate_limit quick { limit 3 per=300ms; match { to { paths /quick; } } }'
    one = jumping(steady.body(proxy.endpoint(new_origin('app')), policy=body))
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        status = lambda path: tunnel.request(path=path).status
        assert [status('/slow') for _ in range(4)] == [200, 200, 200, 429]
        for off in (2 * HOUR, 10 * YEAR, 0, -2 * HOUR, 0):
            clock.jump(off)
            assert status('/slow') == 429, 'a jump of the clock gave tokens'
            net.wait_for(lambda: status('/quick') == 429, what='the end of the tokens')
            net.wait_for(lambda: status('/quick') == 200, what='a token at %+d s' % off)


def test_ejected_pod_stays_away_as_long_as_it_was_told(jumping, clock, pair, curl):  # noqa: F811
    one = jumping(hashed(pair, outlier='consecutive_5xx=1 interval=100ms base_ejection=1h'))
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        key = key_of(tunnel, 'pod-0')
        ask = lambda path='/': tunnel.request(path=path, headers=key)
        assert ask('/status/500').status == 500
        net.wait_for(lambda: ask().json()['pod'] == 'pod-1', what='ejection')
        for off in (2 * HOUR, 10 * YEAR, 0):
            clock.jump(off)
            assert {ask().json()['pod'] for _ in range(5)} == {'pod-1'}, off
        one.reload(hashed(pair, outlier='consecutive_5xx=1 interval=100ms base_ejection=300ms'))


def test_ejected_pod_returns_though_the_clock_goes_back(jumping, clock, pair, curl):  # noqa: F811
    one = jumping(hashed(pair, outlier='consecutive_5xx=1 interval=100ms base_ejection=300ms'))
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        key = key_of(tunnel, 'pod-0')
        for off in (-HOUR, -10 * YEAR):
            assert tunnel.request(path='/status/500', headers=key).status == 500
            clock.jump(off)
            net.wait_for(lambda: tunnel.request(headers=key).json()['pod'] == 'pod-0', 10.0, 'its return at %+d s' % off)


@pytest.mark.parametrize('limits, kept', [('', (HOUR, 10 * YEAR, -HOUR, -10 * YEAR)), ('idle=2h ttl=4h', (HOUR, 0, -30))])
def test_sessions_stay_unless_their_time_is_over(jumping, clock, apps, curl, limits, kept):  # noqa: F811
    one = jumping(session_conf(apps, 'session cookie sess %s;' % limits))
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        first = tunnel.request()
        for off in kept:
            clock.jump(off)
            assert {tunnel.request(headers=carry(first)).header('x-pod') for _ in range(10)} == {first.header('x-pod')}, off
        clock.jump(10 * YEAR)
        over = tunnel.request(headers=carry(first))
        assert over.status == 200 and bool(cookie_of(over)) == bool(limits)


def test_certificates_are_judged_by_the_clock_and_connections_are_not(jumping, clock, pods, curl, run):  # noqa: F811
    """A clock that is wrong closes the door to newcomers, and to nobody who is inside; it does not stop changes."""
    one = jumping(steady.body(*pods), workers=2)
    one.expect_crash = True
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        assert tunnel.request().status == 200
        until = one.count('cairn_identity_expiry_timestamp_seconds')
        for off, why in ((10 * YEAR, 'expired'), (-10 * YEAR, 'not_yet')):
            clock.jump(off)
            since = len(one.log)
            with pytest.raises((OSError, ConnectionError, hbone.Refused)):
                one.request(curl, steady.VIP)
            one.wait_log('certificate has expired|certificate is not valid yet', since=since)
            for _ in range(4):
                assert connection.connect(steady.VIP).request().status == 200
            one.write(steady.body(*pods, extra=proxy.cluster('c%s.x:1' % why, '127.0.0.1:1')))
            done = run(*one.command('-s', 'reload', '--wait'))
            assert done.returncode == 0, done.stderr
            assert b'c%s.x:1' % why.encode() in one.get('/clusters').body
            assert one.count('cairn_identity_expiry_timestamp_seconds') == until
        clock.jump(10 * YEAR)
        victim = (set(one.workers()) - {worker_of(connection, one.workers())}).pop()
        os.kill(victim, signal.SIGKILL)
        net.wait_for(lambda: not is_alive(victim))
        net.wait_for(one.all_serve, what='another worker in place of one that died while the clock was wrong')
        assert tunnel.request().status == 200
        clock.jump(0)
        assert one.request(curl, steady.VIP).status == 200
    assert one.info()['reload_failures'] == 0


def test_logs_tell_the_clock_and_durations_do_not(jumping, clock, new_origin, curl):
    app, jumps = new_origin('app'), ((0, HOUR), (HOUR, -HOUR), (-HOUR, 10 * YEAR), (10 * YEAR, 0))
    one = jumping(steady.body(proxy.endpoint(app)))
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        for n, (before, after) in enumerate(jumps):
            clock.jump(before)
            tunnel.http.send(path='/slow/50')
            net.wait_for(lambda: len(app.requests) > n, what='the request at its pod')
            clock.jump(after)
            assert tunnel.http.response().status == 200
            assert int(one.get('/server_info').json()['uptime_current_epoch'].rstrip('s')) < 600
    for line, (before, _) in zip(one.access(len(jumps)), jumps):
        begun = datetime.datetime.fromisoformat(line['start_time'].replace('Z', '+00:00')).timestamp()
        assert abs(begun - time.time() - before) < 600
        assert 50 <= int(line['duration']) < 60000, line


@pytest.mark.module('dns')
def test_names_are_asked_for_again_though_the_clock_jumps(jumping, clock, names, new_pods, curl):  # noqa: F811
    a, b = new_pods('a', 'b')
    names.zone[HOST] = [a.ip]
    one = jumping(dns_conf('dns %s:9080;' % HOST), **server(names, 'dns_ttl 100ms 200ms;'))
    with one.connection(curl) as connection:
        def who():
            answer = connection.connect(VIP).request()
            return answer.status == 200 and answer.json()['pod']
        net.wait_for(lambda: who() == 'a', what='an answer')
        for off, pod in ((-HOUR, b), (HOUR, a), (10 * YEAR, b), (0, a)):
            clock.jump(off)
            names.zone[HOST] = [pod.ip]
            net.wait_for(lambda: who() == pod.name, what='the new address at %+d s' % off)


def test_nobody_spins_after_a_jump(jumping, clock, pods, curl):  # noqa: F811
    one = jumping(steady.body(*pods), workers=2)
    with one.connection(curl) as connection:
        assert connection.connect(steady.VIP).request().status == 200
        for off in (HOUR, -HOUR, 10 * YEAR, -10 * YEAR):
            clock.jump(off)
            beats, begun = [], ticks(one)
            net.wait_for(lambda: beats.append(0) or len(beats) > 15, what='some time to pass')
            assert ticks(one) - begun < 25, 'it spins at %+d s' % off


# ---- a process that was stopped ----

@pytest.fixture
def stopped():
    """stopped(pids, seconds): they stand still for so long, and go on."""
    def stop(pids, seconds):
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
            time.sleep(seconds)  # it is the passing of time that is tested
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
    return contextlib.contextmanager(stop)


STOP = 3.0  # seconds: longer than all limits below, and than a loop's patience with itself


def test_what_peers_did_while_a_worker_was_stopped_was_in_time(cairn, new_origin, new_tcp_origin, curl, stopped):
    """Heads, bodies, requests, answers and handshakes that came meanwhile are taken, though each limit was over;
    what did not come is not waited for any longer."""
    app, echo = new_origin('app'), new_tcp_origin('echo')  # noqa: F811
    limits = 'request_head_timeout 2s; keepalive_timeout 2s; tcp_idle_timeout 2s; hbone_handshake_timeout 2s; worker_watchdog 0;'
    policy = 'stream_idle_timeout 2s; request_timeout 2s;'
    one = cairn(steady.body(proxy.endpoint(app), echo=echo, policy=policy), main=limits)
    with one.connection(curl) as connection:
        head, body, next_, answer, none = (connection.connect(steady.VIP) for _ in range(5))
        tcp = connection.connect(steady.ECHO)
        assert next_.request().status == 200
        for tunnel in (head, none):
            tunnel.send(b'GET / HTTP/1.1\r\nhost: ')
        body.send(b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhal')
        answer.http.send(path='/slow/1000')
        net.wait_for(lambda: len(app.requests) == 2, what='the request at its pod')
        tcp.send(b'a')
        assert tcp.recv() == b'a'
        with stopped(one.workers(), STOP):
            raw = socket.create_connection((one.ip, 15008))
            head.send(b'a\r\n\r\n')
            body.send(b'f!')
            next_.http.send()
            tcp.send(b'b')
        late = ssl_over(raw, curl)
        for tunnel in (head, body, next_, answer):
            assert tunnel.http.response().status == 200
        assert tcp.recv() == b'b'
        assert none.http.response().status == 408
        late.close()
    one.wait_log('this process did not run for')
    assert one.count('cairn_hbone_handshake_failures_total') == 0 and one.info()['worker_respawns'] == 0


def ssl_over(raw, identity):
    """The TLS handshake on a connection that was accepted by the kernel only."""
    return hbone.tls_context(False, identity).wrap_socket(raw)


@pytest.mark.parametrize('times', [1, pytest.param(5, marks=pytest.mark.slow)])
def test_everything_stopped_and_continued_kills_nobody(cairn, pods, echo, load, curl, stopped, times):  # noqa: F811
    """As when a machine is suspended: the watchdog blames nobody, and streams go on."""
    one = cairn(steady.body(*pods, echo=echo), workers=2, main='worker_watchdog 1s; config_keeper on;')
    under, stream = load(one), steady.Stream(one, curl)
    keeper_of(one)
    everybody = [one.process.pid] + children(one.process.pid)
    for _ in range(times):
        with stopped(everybody, STOP):
            pass
        under.goes_on()
    exchanges = stream.finish()
    under.expect_nothing_lost('all %d processes stopped %d times for %.0f s; a stream of %d exchanges' % (
        len(everybody), times, STOP, exchanges))
    assert one.info()['worker_respawns'] == 0 and 'has stood still' not in one.log
    one.reload()
