# SPDX-License-Identifier: Apache-2.0
"""Each system call fails in turn at the start, at a reload and at an accept (t/fault/fault.c).

Whatever fails: nothing crashes, nothing hangs, and once the fault is over everything
works.  The short form takes every n-th call, `make check-long` all of them.
"""

import collections
import contextlib
import mmap
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

import pytest

from peers import dns, http, net, proxy, steady

from test_process import is_alive

CALLS, MEMORY, KILL, COPIES, NAMED = 1, 2, 3, 4, 5
FAULT = pathlib.Path(__file__).resolve().parent.parent / 'fault/fault.c'
LAYOUT = struct.Struct('IIIIi48sIIIII128s')
NOTICED = re.findall(r'"(\w+)"', re.search(r'noticed\[\] = \{(.*?)\}', FAULT.read_text(), re.S)[1])
KNOWN = ['abort', 'a status', 'refusal', 'the same answer', 'stuck']  # how copies ended, or the call until which they went on
ENDS = struct.Struct('%dI' % (len(KNOWN) + len(NOTICED) + 2))
LATER, SAID = struct.Struct('3072I'), struct.Struct('256s')
SIZE = LAYOUT.size + ENDS.size + LATER.size + SAID.size
STRIDES = [pytest.param(5, id='some'), pytest.param(1, id='all', marks=pytest.mark.slow)]


class Fault:
    def __init__(self, top, builddir, folder):
        if 'address' in (builddir / 'cn_flags').read_text() or not shutil.which('cc'):
            pytest.skip('needs cc, and sanitizers must come first')
        self.library, self.path = folder / 'fault.so', folder / 'fault'
        subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', str(self.library), str(FAULT), '-ldl'],
                       check=True)
        self.path.write_bytes(bytes(SIZE))
        self.file = open(self.path, 'r+b')
        self.map = mmap.mmap(self.file.fileno(), 0)
        self.env = {'LD_PRELOAD': str(self.library), 'FAULT_FILE': str(self.path)}
        self.seen = {}

    def arm(self, nth, what=CALLS, offset=0, place=(0, 0, 0)):
        """what: system calls or allocations; KILL ends the program in place of a system call.

        COPIES: every nth allocation but for the first ones (offset), in a copy of its process each.
        place: only this allocation counts, as copied() tells it.
        """
        count = nth - 1 - offset if what == COPIES else 0
        self.map[:] = LAYOUT.pack(what, nth, count, 0, 0, b'', *place, 0, 0, b'').ljust(len(self.map), b'\0')

    def arm_name(self, name):
        """Each call of this name fails, until disarm()."""
        self.map[:] = LAYOUT.pack(NAMED, 0, 0, 0, 0, name.encode(), 0, 0, 0, 0, 0, b'').ljust(len(self.map), b'\0')

    def count(self):
        return LAYOUT.unpack_from(self.map)[2]

    def hit(self):
        return LAYOUT.unpack_from(self.map)[3]

    def waiting(self):
        """How many processes wait for events now, when it was armed before they began."""
        return LAYOUT.unpack_from(self.map)[10]

    def disarm(self):
        """The name of the call that failed, '' when there were fewer calls."""
        _, _, _, hit, self.pid, name, *_ = LAYOUT.unpack_from(self.map)
        self.map[:LAYOUT.size] = bytes(LAYOUT.size)
        name = name.rstrip(b'\0').decode() if hit else ''
        self.seen[name] = self.seen.get(name, 0) + bool(name)
        return name

    def copied(self):
        """Disarms, and counts how copies ended.  Returns the places that need a whole run."""
        _, _, _, _, status, _, *place = LAYOUT.unpack_from(self.map)
        self.map[:4] = bytes(4)
        *known, otherwise, n_later = ENDS.unpack_from(self.map, LAYOUT.size)
        said = SAID.unpack_from(self.map, SIZE - SAID.size)[0].rstrip(b'\0').decode(errors='replace')
        assert otherwise == 0, '%d copies ended as they must not, the first at %s with status %#x: %s' % (
            otherwise, place[:3], status, said)
        for name, n in zip(KNOWN + NOTICED, known):
            self.seen[name] = self.seen.get(name, 0) + n
        later = LATER.unpack_from(self.map, LAYOUT.size + ENDS.size)
        assert 3 * n_later <= len(later), 'there is no room for %d places' % n_later
        return [later[i:i + 3] for i in range(0, 3 * n_later, 3)]

    def report(self, what):
        print('%s: %d calls failed in turn: %s' % (what, sum(self.seen.values()), ', '.join(
            '%s %d' % pair for pair in sorted(self.seen.items()) if pair[0] and pair[1])))


@pytest.fixture
def fault(top, builddir, tmp_path):
    return Fault(top, builddir, tmp_path)


@pytest.fixture
def waypoint(cairn, new_origin, fault):
    one = cairn(steady.body(proxy.endpoint(new_origin('app'))), start=False, main='config_keeper on;')
    one.env = fault.env
    return one


@pytest.mark.parametrize('stride', STRIDES)
def test_start_serves_or_says_why_not(waypoint, fault, stride):
    for nth in range(1, 10000, stride):
        fault.arm(nth)
        waypoint.launch()
        deadline = time.monotonic() + 40
        while waypoint.process.poll() is None and not waypoint.looks_ready():
            assert time.monotonic() < deadline, 'neither ready nor ended; call %d\n%s' % (nth, waypoint.log)
            time.sleep(0.005)
        name = fault.disarm()
        code = waypoint.process.poll()
        if code is None:
            net.wait_for(waypoint.is_ready, 40.0, 'readiness after %s failed' % name)
            waypoint.expect_crash = True  # a worker may have ended with a status
            waypoint.stop()
            assert 'by signal' not in waypoint.log, (nth, name, waypoint.log)
        else:
            assert code == 1 and 'cairn: ' in waypoint.log, (nth, name, code, waypoint.log)
            waypoint.stop()
        waypoint.error_path.unlink()
        if not name:
            break
    fault.report('start')


def test_reload_takes_effect_or_the_next_one_does(waypoint, fault, curl, run):
    waypoint.expect_crash = True
    waypoint.start()
    body = waypoint.body
    for nth in range(1, 10000):
        waypoint.write(body + proxy.cluster('c%d.x:1' % nth, '127.0.0.1:1'))
        fault.arm(nth)
        run(*waypoint.command('-s', 'reload', '--wait'))
        name = fault.disarm()
        again = run(*waypoint.command('-s', 'reload', '--wait'))
        assert again.returncode == 0, (nth, name, again.stderr, waypoint.log)
        # A worker that is being replaced may be the one that answers first.
        net.wait_for(lambda: b'c%d.x:1' % nth in waypoint.get('/clusters').body, 10.0, 'reload %d (%s)' % (nth, name))
        # An answer that was not read must not become that to another question.
        waypoint.write(body + proxy.cluster('d%d.x:1' % nth, '127.0.0.1:1'))
        assert run(*waypoint.command('-s', 'reload', '--wait')).returncode == 0
        net.wait_for(lambda: b'd%d.x:1' % nth in waypoint.get('/clusters').body, 10.0, 'another reload, %d (%s)' % (nth, name))
        assert waypoint.request(curl, steady.VIP).status == 200, (nth, name)
        assert 'by signal' not in waypoint.log, (nth, name, waypoint.log)
        if not name:
            break
    fault.report('reload')


MISSES = 20  # so many in a row: there are no more calls


@pytest.mark.parametrize('what, keeper, stride', [
    pytest.param(MEMORY, 'on', 23, id='some-on'), pytest.param(MEMORY, 'on', 1, id='all-on', marks=pytest.mark.slow),
    pytest.param(MEMORY, 'off', 997, id='some-off'), pytest.param(MEMORY, 'off', 97, id='more-off', marks=pytest.mark.slow),
    pytest.param(KILL, 'off', 11, id='killed'), pytest.param(KILL, 'off', 1, id='all-killed', marks=pytest.mark.slow)])
def test_reload_without_memory_is_whole_or_nothing(waypoint, fault, curl, run, what, keeper, stride):
    """Who finds no memory ends: a checker leaves the old configuration, a worker is replaced.

    For the others that is as if it had been killed at its next system call; where it ends is in
    test_reload_without_each_allocation_ends_or_is_the_same.
    """
    waypoint.expect_crash = True
    waypoint.main = 'config_keeper %s;' % keeper
    waypoint.write(waypoint.body)
    waypoint.start()
    body, starts, misses = waypoint.body, 1, 0
    for nth in range(1, 100000, stride):
        waypoint.write(body + proxy.cluster('c%d.x:1' % nth, '127.0.0.1:1'))
        fault.arm(nth, what)
        run(*waypoint.command('-s', 'reload', '--wait'))
        name = fault.disarm()
        if name and fault.pid == waypoint.process.pid:  # whoever started it starts it again
            waypoint.process.wait(20)
            since, starts = len(waypoint.log), starts + 1
            waypoint.start()  # the answer may still be that of an old worker
            waypoint.wait_log('in force in all workers', since=since)
        again = run(*waypoint.command('-s', 'reload', '--wait'))
        assert again.returncode == 0, (nth, name, again.stderr, waypoint.log)
        net.wait_for(lambda: b'c%d.x:1' % nth in waypoint.get('/clusters').body, 10.0, 'reload %d' % nth)
        assert waypoint.request(curl, steady.VIP).status == 200, nth
        misses = 0 if name else misses + 1
        if misses * stride >= MISSES:
            break
    fault.report('reload %s, keeper %s, %d starts of the master' % (
        'and kill -9' if what == KILL else 'without memory', keeper, starts))


@pytest.fixture(params=['plain', 'captured'])
def way(request, cairn, new_origin, capture, fault):
    """A waypoint, and a function after which a request takes a new connection to its pod all the way."""
    app = new_origin('app')
    pod = capture(app, 'bookinfo', 'reviews') if request.param == 'captured' else None
    one = cairn(steady.body(proxy.endpoint(app, pod=pod) if pod else proxy.endpoint(app)), start=False)
    one.env, one.kind = fault.env, request.param

    def afresh():
        for session in pod.sessions if pod else []:
            with contextlib.suppress(OSError):
                session.sock.shutdown(socket.SHUT_RDWR)
    return one, afresh


@pytest.mark.parametrize('stride', STRIDES)
def test_accept_fails_alone(way, fault, curl, stride):
    waypoint, afresh = way
    waypoint.start()
    for nth in range(1, 10000, stride):
        afresh()
        fault.arm(nth)
        try:
            waypoint.request(curl, steady.VIP, timeout=2.0)
        except Exception:  # whatever the client sees of it
            pass
        name = fault.disarm()
        assert waypoint.request(curl, steady.VIP).status == 200, (nth, name)
        if not name:
            break
    net.wait_for(lambda: waypoint.count('cairn_hbone_connections') == 0 and waypoint.count('cairn_tunnels_open') == 0)
    assert waypoint.info()['worker_respawns'] == 0, waypoint.log
    fault.report('accept, request and a %s pod' % waypoint.kind)


def test_start_without_memory_serves_or_says_why_not(waypoint, fault):
    """A worker that finds no memory is replaced; without it in the master there is no start, and a reason."""
    for nth in range(1, 100000, 197):
        fault.arm(nth, MEMORY)
        waypoint.launch()
        net.wait_for(lambda: waypoint.process.poll() is not None or waypoint.looks_ready(), 40.0, 'allocation %d' % nth)
        name = fault.disarm()
        code = waypoint.process.poll()
        if code is None:
            net.wait_for(waypoint.is_ready, 40.0, 'readiness after allocation %d' % nth)
        else:
            assert code != 0 and 'cairn: ' in waypoint.log and 'cairn: bug' not in waypoint.log, (nth, code, waypoint.log)
        waypoint.expect_crash = True
        waypoint.stop()
        if waypoint.error_path.exists():
            waypoint.error_path.unlink()
        if not name:
            break
    fault.report('start without memory')


def test_worker_ends_without_any_allocation_of_its_first_request(way, fault, curl):
    """Connection, handshake, tunnel, request and the way to the pod, in copies of a worker that has served nobody: of
    later ones only few are seen here, since blocks are kept (core/mem.c).  What a worker's end means is tested below."""
    waypoint, _ = way
    waypoint.start()
    fault.arm(1, COPIES)
    assert waypoint.request(curl, steady.VIP, timeout=60.0).status == 200
    fault.copied()
    fault.report('allocations of a first request, %s pod' % waypoint.kind)
    assert fault.seen['abort'] > 100


def test_worker_that_cannot_hear_the_master_listens_again(waypoint, fault, curl):
    waypoint.main = 'config_keeper off;'
    waypoint.write(waypoint.body)
    waypoint.start()
    waypoint.request(curl, steady.VIP)
    waypoint.access()
    waypoint.access_path.rename(waypoint.access_path.with_suffix('.1'))
    fault.arm_name('recvmsg')
    waypoint.send_signal(signal.SIGUSR1)
    waypoint.wait_log('worker: the master cannot be heard')
    fault.disarm()
    net.wait_for(lambda: waypoint.request(curl, steady.VIP).status == 200 and waypoint.access_path.exists(), what='another access log')
    assert waypoint.info()['worker_respawns'] == 0, waypoint.log


MASTER, CHECKER = 1, 2  # in the order of forks
STARTED = 5  # processes of a start that is over: the checker has ended
NOT_YET = (OSError, AssertionError, ValueError, EOFError, http.Ended)


def settle(folder):
    """Until no file is so new that it is not known whether it changes once more: an answer of the checker tells that too."""
    net.wait_for(lambda: all(time.time() - path.stat().st_ctime > 0.5 for path in folder.rglob('*.conf')))


def begin(waypoint, fault, *how, **more):
    """Starts it and waits until it has ended, or the fault has happened, or all its processes wait for events."""
    fault.arm(*how, **more)
    waypoint.launch()
    net.wait_for(lambda: waypoint.process.poll() is not None or fault.hit() or fault.waiting() == STARTED, 300.0, 'an end of the start')


def serves(waypoint, curl, change):
    """By the configuration that is on disk now."""
    with contextlib.suppress(*NOT_YET):
        return waypoint.request(curl, steady.VIP, timeout=2.0).status == 200 and change.encode() in waypoint.get('/clusters').body


def start_without(waypoint, fault, curl, place):
    """One start without this allocation: 'no such', 'no start' or 'serves'; anything else is raised."""
    body, change = waypoint.body, 'c%d-%d-%d.x:1' % place
    begin(waypoint, fault, 1, MEMORY, place=place)
    name = fault.disarm()
    waypoint.write(body + proxy.cluster(change, '127.0.0.1:1'))
    net.wait_for(lambda: waypoint.process.poll() is not None or serves(waypoint, curl, change), 60.0, 'service without %s' % (place,))
    code = waypoint.process.poll()
    assert code is None or place[0] in (MASTER, CHECKER) and code != 0 and 'cairn: ' in waypoint.log, (place, code, waypoint.log)
    waypoint.stop()
    assert 'cairn: bug' not in waypoint.log and 'SIGSEGV' not in waypoint.log, (place, waypoint.log)
    waypoint.error_path.unlink()
    waypoint.write(body)
    return 'no such' if not name else 'serves' if code is None else 'no start'


ROUTES = """
route few { match { path regex "/a[0-9]+"; } rate_limit few { limit 1 per=1d; key header x-user; } backend %s; }
route all { match { path prefix /; } backend %s; }
""" % (steady.NAME, steady.NAME)


@pytest.fixture
def rich(top, builddir, tmp_path, cairn, new_origin, stopping, fault, run):
    """A waypoint with the whole shop of conf/samples/traffic beside the service that is asked."""
    names = dns.NameServer()
    stopping.append(names)
    names.zone['rates.example.com'], names.ttl = ['127.0.0.1'], 3600
    main = 'config_keeper on; conf_watch on settle=50ms; worker_watchdog 10m; workloads endpoints.d/workloads; dns_server %s;' % names.ip
    body = steady.body(proxy.endpoint(new_origin('app')), policy=ROUTES, extra='include conf.d/*.conf;\n')
    one = cairn(body, start=False, main=main)
    assert run(builddir / 'cairn-gen', 'render', '-f', top / 'conf/samples/traffic', '-w', 'shop/waypoint', '-o', tmp_path / 'shop',
               '--cert', 'cert.pem', '--key', 'key.pem', '--roots', 'roots.pem').returncode == 0
    for name in ('conf.d', 'endpoints.d'):
        shutil.copytree(tmp_path / 'shop' / name, one.folder / name)
    for path in (one.folder / 'conf.d').iterdir():  # the system's roots are half a million allocations, all alike
        path.write_text(re.sub(r'(upstream_tls .*);', r'\1 ca=%s;' % one.identity.roots, path.read_text()))
    one.start()  # there are all modules for it
    one.stop()
    one.env, one.expect_crash = fault.env, True
    return one


@pytest.mark.parametrize('stride, runs, whole', [
    pytest.param(401, 1, 11, id='some'), pytest.param(4, 4, 1, id='all', marks=pytest.mark.slow)])
def test_start_without_each_allocation_serves_or_says_why_not(rich, fault, curl, stride, runs, whole):
    """Each allocation of a start fails: of the master, the checker, a worker, the spare one, the keeper and the watcher.

    First each in a copy of its process.  The copy ends and says why, or it gives the answer that the checker would
    have given, or it goes on until others would notice it.

    Then in whole starts: one for each allocation whose copy went on; and, since a process that ends was for all others
    killed between two calls that they notice, one for each first allocation behind such a call (what it
    has written to shared memory meanwhile is not told apart).  Either the master ends and the log has a reason,
    which only happens when it or the checker has no memory; or a request is answered, and a change on disk
    takes effect.
    """
    places, ends = set(), collections.Counter()
    for n in range(runs):
        settle(rich.folder)
        begin(rich, fault, stride, COPIES, n)
        assert rich.process.poll() is None, rich.log
        places.update(fault.copied())
        rich.stop()
        rich.error_path.unlink()
    fault.report('allocations of a start')
    for place in sorted(places)[::whole]:
        ends[start_without(rich, fault, curl, place)] += 1
    print('whole starts without an allocation:', dict(ends))
    assert ends['serves'] > 0 and ends['no start'] > 0


# All of them: as many runs as the stride, each begins one further.
COPY_STRIDES = [pytest.param(401, 1, id='some'), pytest.param(10, 10, id='all', marks=pytest.mark.slow)]


@pytest.mark.parametrize('stride, runs', COPY_STRIDES)
def test_reload_without_each_allocation_ends_or_is_the_same(waypoint, fault, run, stride, runs):
    """A process ends, or the checker refuses, or what it answers is what it would have been."""
    waypoint.main = 'config_keeper off;'
    waypoint.write(waypoint.body)
    waypoint.start()
    body, reload = waypoint.body, waypoint.command('-s', 'reload', '--wait')
    for n in range(runs):
        waypoint.write(body)
        assert run(*reload, timeout=60).returncode == 0
        waypoint.write(body + proxy.cluster('more.x:1', '127.0.0.1:1'))
        settle(waypoint.folder)
        fault.arm(stride, COPIES, n)
        done = run(*reload, timeout=300)
        fault.copied()
        assert done.returncode == 0, done.stderr
    fault.report('allocations of a reload')


HANDSHAKE = 25  # so many allocations of the first ones are tried in the short form too


def speak(tunnel):
    tunnel.send(b'hello')
    got = b''
    while len(got) < 5:
        piece = tunnel.recv()
        assert piece, 'the stream ended'
        got += piece
    return got


def goes_on(pid, tunnel):
    """A stream, or its worker is dead: nothing else ends one."""
    try:
        return speak(tunnel) == b'hello'
    except (AssertionError, OSError, EOFError):
        net.wait_for(lambda: not is_alive(pid), 10.0, 'the end of the worker whose stream broke')
        return False


def socket_name(address):
    """As /proc/net/tcp writes it."""
    return '%08X:%04X' % (int.from_bytes(socket.inet_aton(address[0]), 'little'), address[1])


def worker_of(connection, pids):
    """The process that has the other end of it."""
    ends = [socket_name(connection.sock.getpeername()), socket_name(connection.sock.getsockname())]
    with open('/proc/net/tcp') as table:
        inode = next(words[9] for words in map(str.split, table) if words[1:3] == ends)
    for pid in pids:
        with contextlib.suppress(OSError):
            for fd in os.scandir('/proc/%d/fd' % pid):
                if os.readlink(fd.path) == 'socket:[%s]' % inode:
                    return pid
    return None


@pytest.fixture(params=['plain', 'captured'])
def two(request, cairn, new_origin, new_tcp_origin, capture, fault, curl):
    """A waypoint of two workers, and a function that gives {pid of a worker: a stream through it} for both."""
    app = new_origin('app')
    pod = {'pod': capture(app, 'bookinfo', 'reviews')} if request.param == 'captured' else {}
    body = steady.body(proxy.endpoint(app, **pod), echo=new_tcp_origin('echo'))
    one = cairn(body, start=False, workers=2)
    one.env, one.expect_crash = fault.env, True
    one.start()
    streams = {}

    def of_each():
        pids = [w['pid'] for w in one.info()['workers'] if w['state'] == 'serving' and is_alive(w['pid'])]
        if len(pids) != 2:
            return None
        for pid in streams.keys() - set(pids):
            streams.pop(pid)[0].close()
        connection = None if len(streams) == 2 else one.connection(curl)
        if connection:
            tunnel = connection.connect(steady.ECHO)
            assert speak(tunnel) == b'hello'
            pid = worker_of(connection, pids)
            if pid and pid not in streams:
                streams[pid] = connection, tunnel
            else:
                connection.close()
        return streams if len(streams) == 2 else None
    yield one, lambda: net.wait_for(of_each, 20.0, 'a stream through each of two workers')
    for connection, _ in streams.values():
        connection.close()


@pytest.mark.parametrize('stride', [pytest.param(59, id='some'), pytest.param(1, id='all', marks=pytest.mark.slow)])
def test_worker_without_memory_at_accept_loses_only_its_own(two, fault, curl, stride):
    """The other worker's stream goes on, and another worker takes the place of the dead one."""
    one, of_each = two
    deaths = 0
    for nth in [*range(1, HANDSHAKE), *range(HANDSHAKE, 10000, stride)]:
        streams = dict(of_each())
        fault.arm(nth, MEMORY)
        try:
            one.request(curl, steady.VIP, timeout=2.0)
        except Exception:  # whatever the client sees of it
            pass
        name = fault.disarm()
        died = [pid for pid, (_, tunnel) in streams.items() if not goes_on(pid, tunnel)]
        deaths += len(died)
        if name and fault.pid == one.process.pid:  # it had its own reasons: whoever started it starts it again
            one.process.wait(20)
            one.start()
            continue
        assert len(died) <= 1 and one.process.poll() is None, (nth, one.log)
        assert 'SIGSEGV' not in one.log, (nth, one.log)
        if died:
            one.send_signal(signal.SIGHUP)  # so that deaths in quick succession are forgiven
        of_each()
        assert one.request(curl, steady.VIP).status == 200, nth
        if not name:
            break
    fault.report('accept without memory, %d workers died' % deaths)
    assert deaths
