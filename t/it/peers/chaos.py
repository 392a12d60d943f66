# SPDX-License-Identifier: Apache-2.0
"""Changes of every kind, drawn by a seed, several of them at once, under a load of every kind.

A run is a list of steps, made before the first of them is done and printed, so that one that
fails can be done again or cut down.  Most steps begin something and do not wait for
its end; settle() does, and looks whether what is in force is what the files say.

What may be lost is known: who was connected to a worker that was killed.
"""

import contextlib
import os
import pathlib
import random
import re
import resource
import signal
import socket
import ssl
import threading
import time

from . import http, kinds, net, proxy, steady

TROUBLE = (OSError, AssertionError, ValueError, http.Ended, TimeoutError)
EXTRA = 15999
# name: how often, compared with the others
STEPS = {
    'endpoints': 6, 'policy': 6, 'others': 2, 'bad': 2, 'half': 2, 'rotate': 2, 'mismatch': 2, 'workers': 2, 'listener': 2,
    'upgrade': 3, 'end_upgrade': 3, 'take_back': 2, 'kill_new': 1, 'kill_old': 1, 'reopen': 2, 'full_disk': 1, 'stop_worker': 2, 'stop_keeper': 2, 'stop_master': 1,
    'kill_helper': 2, 'kill_worker': 1, 'twice': 2, 'descriptors': 1, 'renew': 2, 'settle': 2, 'clock': 1,
}
# those after which workers start
STARTING = ('upgrade', 'take_back', 'kill_new', 'workers', 'listener', 'kill_worker')
HOUR = 3600


def plan(seed, n, without=()):
    """[(step, number to draw by, pause after it)]"""
    rng = random.Random(seed)
    names = [name for name in STEPS if name not in without]
    return [(rng.choices(names, [STEPS[name] for name in names])[0], rng.randrange(1000), rng.choice((0, 0, 0.05, 0.3)))
            for _ in range(n)]


# ---- processes ----

def title(pid):
    try:
        return pathlib.Path('/proc/%d/cmdline' % pid).read_bytes().rstrip(b'\0').decode(errors='replace')
    except OSError:
        return ''  # it has just ended


def exe(pid):
    try:
        return os.readlink('/proc/%d/exe' % pid)
    except OSError:
        return ''


def is_alive(pid):
    try:
        return pathlib.Path('/proc/%d/stat' % pid).read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid):
    try:
        return [int(p) for p in pathlib.Path('/proc/%d/task/%d/children' % (pid, pid)).read_text().split()]
    except OSError:
        return []


def family(pid):
    """It and all below it: a new binary is a child of the old one."""
    return [pid] + [p for child in children(pid) for p in family(child)]


def descriptors(pid):
    """{what: how many} of its open files; connections apart."""
    found = {}
    rows = [line.split() for line in pathlib.Path('/proc/net/tcp').read_text().splitlines()[1:]]
    connections = {'socket:[%s]' % row[9] for row in rows if row[3] != '0A'}
    for link in links(pid):
        if link in connections:
            continue
        what = re.sub(r'[:\[]\[?\d+\]?$', '', link)
        what = 'memory' if 'memfd' in what else what
        found[what] = found.get(what, 0) + 1
    return found


def links(pid):
    out = []
    with contextlib.suppress(OSError):
        for fd in os.listdir('/proc/%d/fd' % pid):
            with contextlib.suppress(OSError):
                out.append(os.readlink('/proc/%d/fd/%s' % (pid, fd)))
    return out


class Connections:
    """Who holds the two ends of each connection to the waypoint's mesh port, as /proc tells."""

    def __init__(self, ip):
        def address(text):
            ip, _, port = text.partition(':')
            return socket.inet_ntoa(bytes.fromhex(ip)[::-1]), int(port, 16)
        rows = [line.split() for line in pathlib.Path('/proc/net/tcp').read_text().splitlines()[1:]]
        self.near = {row[9]: address(row[2]) for row in rows if address(row[1]) == (ip, 15008) and row[9] != '0'}
        self.far = {row[9]: address(row[1]) for row in rows if address(row[2]) == (ip, 15008) and row[9] != '0'}

    @staticmethod
    def _of(pid, table):
        inodes = {link[8:-1] for link in links(pid) if link.startswith('socket:')}
        return [table[inode] for inode in inodes if inode in table]

    def of_client(self, pid):
        return self._of(pid, self.far)

    def of_workers(self, pids):
        return {address for pid in pids for address in self._of(pid, self.near)}


# ---- a run ----

class Chaos:
    """everything: a test_steady.Everything; rotate(one, identity), shown(one) as in test_lifecycle."""

    def __init__(self, everything, pki, rotate, shown, watching, clock=None):
        self.all, self.one, self.pki, self.rotate, self.shown = everything, everything.one, pki, rotate, shown
        self.watching, self.clock = watching, clock
        self.version, self.lines, self.count, self.extra = 0, list(everything.pods), 2, False
        self.days, self.cert = 30, shown(self.one)
        self.old = None  # the master that is to go, or to stay, while an upgrade goes on
        self.older = []  # masters that were told to go
        self.killed, self.stopped, self.timers = set(), set(), []
        self.excused, self.allowed, self.wrong, self.done = [], 0, [], []
        self.streams, self.calls = [], everything.calls
        self.turned, self.seen, self.refusable, self.short_until = 0, set(), False, 0
        self.oldbin = False  # the pid file of a master that was killed while another one took over
        self.over = threading.Event()
        self.sampler = threading.Thread(target=self._sample, daemon=True)
        self.sampler.start()

    # ---- what there is ----

    def masters(self):
        return [p.pid for p in (self.old, self.one.process) if p and p.poll() is None]

    def _sample(self):
        """Every process that there was, for the look at who stays behind."""
        while not self.over.wait(0.05):
            for master in self.masters() + [p.pid for p in self.older]:
                self.seen.update([master], children(master))

    def workers(self):
        return [pid for master in self.masters() + [p.pid for p in self.older if p.poll() is None]
                for pid in children(master) if 'worker' in title(pid)]

    def helpers(self, *names):
        return [pid for master in self.masters() for pid in children(master) if any(n in title(pid) for n in names)]

    def ask(self, question, timeout=20.0):
        """The answer of whoever serves; a worker that stands still or dies answers nothing."""
        got = []

        def asked():
            try:
                got.append(question())
                return True
            except TROUBLE:
                return False
        net.wait_for(asked, timeout, 'an answer')
        return got[-1]

    def goes_on(self, n=20):
        before = self.ask(lambda: self.one.count('istio_requests_total'))
        net.wait_for(lambda: self.ask(lambda: self.one.count('istio_requests_total')) >= before + n, 30.0, 'more requests')

    def signal(self, number):
        for pid in self.masters():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def hup(self):
        if not self.watching:
            self.signal(signal.SIGHUP)

    def later(self, seconds, action):
        timer = threading.Timer(seconds, action)
        timer.start()
        self.timers.append(timer)

    # ---- steps ----

    def run(self, steps):
        for name, number, pause in steps:
            self.done.append(name)
            try:
                if name in STARTING:
                    time.sleep(max(0, self.short_until - time.monotonic()))
                getattr(self, 'do_' + name)(random.Random(number))
                time.sleep(pause)
                self.look()
            except Exception as e:
                raise AssertionError('step %d, %s: %s\nthe log says:\n%s' % (len(self.done), name, e, self.one.log[-9000:])) from e

    def look(self):
        for stream in self.streams + [self.calls]:
            if stream.wrong and stream not in self.excused:
                raise AssertionError('%s broke after %d exchanges: %s' % (stream.kind, stream.done, stream.wrong))

    def do_endpoints(self, rng):
        pods = self.all.pods
        self.lines = rng.choice([[pods[0]], [pods[1]], list(pods)])
        self.one.put('endpoints.d/reviews', '\n'.join(self.lines))
        self.hup()

    def do_policy(self, _rng):
        self.version += 1
        self.one.put('conf.d/reviews.conf', self.reviews())
        self.hup()

    def reviews(self):
        route = '\nroute v%d { match { path prefix /; } backend %s; }\n}\n' % (self.version, steady.NAME)
        return self.all.reviews(self.version).rstrip().removesuffix('}') + route

    def do_others(self, rng):
        """The services with the streams, each section anew."""
        text = (self.one.folder / 'conf.d/others.conf').read_text()
        self.one.put('conf.d/others.conf', re.sub(r'(?m)^# \d+\n', '', text).replace('service ', '# %d\nservice ' % rng.randrange(10**6)))
        self.hup()

    def do_bad(self, _rng):
        self.one.put('conf.d/bad.conf', 'no_such_directive;')
        self.hup()
        self.later(0.5, self.mend)

    def mend(self):
        with contextlib.suppress(FileNotFoundError):
            (self.one.folder / 'conf.d/bad.conf').unlink()
        self.hup()

    def do_half(self, rng):
        """A file that is written where it is, slowly."""
        text = proxy.service('half.x:1', '127.1.1.1:1') + proxy.cluster('half.x:1', '127.1.1.1:%d' % rng.randrange(1, 60000))
        cut = rng.randrange(len(text))
        with open(self.one.folder / 'conf.d/half.conf', 'w') as file:
            file.write(text[:cut])
            file.flush()
            self.hup()
            time.sleep(0.1)
            file.write(text[cut:])
        self.hup()

    def fresh(self):
        self.days += 1
        return self.pki.identity('bookinfo', 'waypoint', days=self.days)

    def do_rotate(self, _rng):
        self.rotate(self.one, self.fresh())
        self.hup()

    def do_mismatch(self, _rng):
        """The certificate first, the key a while later."""
        fresh = self.fresh()
        steady.replace_files([(self.one.identity.cert, fresh.cert)])
        self.hup()
        time.sleep(0.3)
        steady.replace_files([(self.one.identity.key, fresh.key)])
        self.hup()

    def write(self):
        self.one.settings['workers'] = self.count
        self.one.write(self.one.body, main=self.one.main + ('\nlisten %s:%d metrics;' % (self.one.ip, EXTRA) if self.extra else ''))
        self.hup()

    def do_workers(self, rng):
        self.count = rng.choice([n for n in (1, 2, 3) if n != self.count])
        self.write()

    def do_listener(self, _rng):
        self.extra = not self.extra
        self.moved = True
        self.write()

    def do_twice(self, rng):
        self.do_policy(rng)
        self.hup()
        self.do_endpoints(rng)

    def do_upgrade(self, _rng):
        self.older = [p for p in self.older if p.poll() is None]
        if self.old or self.older:
            return
        pid_file, old = self.one.folder / 'cairn.pid', self.one.process
        none = r'the new binary ended with status 1|no new binary is started'
        ended = len(re.findall(none, self.one.log))
        old.send_signal(signal.SIGUSR2)
        gone = lambda: len(re.findall(none, self.one.log)) > ended

        def there():
            try:
                return int(pid_file.read_text())
            except (FileNotFoundError, ValueError):
                return old.pid
        net.wait_for(lambda: there() != old.pid or gone(), 30.0, 'the new binary')
        if gone():  # it found a configuration that it could not start with, or workers of a dead master are there
            net.wait_for(lambda: there() == old.pid, 10.0, 'the old pid file')
            assert is_alive(old.pid)
            return
        self.old, self.one.process, self.moved = old, steady.Heir(there()), False

    def new_serves(self):
        """The operator looks before he ends the old binary."""
        net.wait_for(lambda: any('worker' in title(p) for p in children(self.one.process.pid)) and
                     re.search(r'configuration \d+ in force in all workers', self.since_upgrade()), 30.0, 'the new binary')

    def since_upgrade(self):
        return self.one.log.rpartition('listening sockets taken over')[2]

    def do_end_upgrade(self, _rng):
        if not self.old:
            return
        self.new_serves()
        self.old.send_signal(signal.SIGQUIT)
        self.older.append(self.old)
        self.old = None

    def do_take_back(self, _rng):
        if not self.old:
            return
        self.new_serves()
        new, self.one.process, self.old = self.one.process, self.old, None
        new.send_signal(signal.SIGQUIT)
        self.older.append(new)
        self.hup()

    def do_kill_new(self, _rng):
        """The new master dies: its workers finish what they have, and the old one is the only one again."""
        if not self.old:
            return
        self.new_serves()
        new, self.one.process, self.old = self.one.process, self.old, None
        self.kill(new.pid)
        self.older.append(new)
        self.hup()

    def do_kill_old(self, _rng):
        if not self.old:
            return
        self.new_serves()
        self.kill(self.old.pid)
        self.older.append(self.old)
        self.old, self.oldbin = None, True

    def do_reopen(self, _rng):
        self.turned += 1
        with contextlib.suppress(FileNotFoundError):
            self.one.access_path.rename(self.one.folder / ('access.log.%d' % self.turned))
        self.signal(signal.SIGUSR1)

    def do_full_disk(self, _rng):
        self.do_reopen(None)
        fresh = self.one.access_path.with_suffix('.full')
        fresh.symlink_to('/dev/full')
        fresh.rename(self.one.access_path)
        self.signal(signal.SIGUSR1)
        self.later(0.5, self.empty_disk)

    def empty_disk(self):
        if self.one.access_path.is_symlink():
            self.one.access_path.unlink()
        self.signal(signal.SIGUSR1)

    def hold(self, pids, seconds):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self.stopped.add(pid)
                self.later(seconds, lambda pid=pid: self.cont(pid))

    def cont(self, pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def do_stop_worker(self, rng):
        some = self.workers()
        self.hold(rng.sample(some, min(1, len(some))), rng.choice((0.1, 0.5, 1.5)))

    def do_stop_keeper(self, rng):
        self.hold(self.helpers('keeper', 'watcher'), rng.choice((0.1, 0.5)))

    def do_stop_master(self, rng):
        self.hold([rng.choice(self.masters())], rng.choice((0.1, 0.5)))

    def do_kill_helper(self, rng):
        """The keeper, the watcher, or whoever checks."""
        self.do_policy(rng)
        busy = [pid for master in self.masters() for pid in children(master)
                if 'worker' not in title(pid) and pid not in self.masters()]
        if busy:
            self.kill(rng.choice(busy))

    def kill(self, pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.killed.add(pid)

    def do_kill_worker(self, rng):
        """First it is stopped, so that who is connected to it can be told."""
        some = self.workers()
        if len(some) < 2 or len(self.killed) > 40:
            return
        victim = rng.choice(some)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGSTOP)
        time.sleep(0.02)
        now = Connections(self.one.ip)
        safe = now.of_workers(p for p in self.workers() if p != victim)
        hit = lambda process: [a for a in now.of_client(process.pid) if a not in safe]
        self.allowed += 4 * len(hit(self.all.load.process))
        for stream in self.streams + [self.calls]:
            if hit(stream.tunnel.process):
                self.excused.append(stream)
        self.kill(victim)
        if self.calls in self.excused:
            self.calls = self.all.start(kinds.Calls)

    def do_descriptors(self, rng):
        """The masters are short of them for a while, in which no worker starts: it would have none for its clients."""
        self.settle()
        self.short_until = time.monotonic() + 0.5
        for pid in self.masters():
            used = len(os.listdir('/proc/%d/fd' % pid))
            with contextlib.suppress(ProcessLookupError):
                before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + rng.randrange(3), before[1]))
                self.later(0.4, lambda pid=pid, before=before: self.enough(pid, before))
        self.refusable = True
        self.do_policy(rng)

    def enough(self, master, before):
        for pid in family(master):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    def do_clock(self, rng):
        if self.clock:
            self.clock.jump(rng.choice((0, HOUR, -HOUR)))

    def do_renew(self, _rng):
        for stream in self.streams:
            if stream in self.excused:
                stream.stop()
            else:
                stream.finish()
        self.streams = [self.ask(lambda kind=kind: self.all.start(kind)) for kind in kinds.STREAMS]

    # ---- peace ----

    def do_settle(self, _rng):
        self.settle()

    def settle(self):
        for timer in self.timers:
            timer.join()
        self.timers = []
        if self.old and self.moved:  # one of the two listens there, and the other one gets it when that is gone
            self.do_end_upgrade(None)
        if self.refusable:  # a reload that could not be done is for the operator to do again
            self.signal(signal.SIGHUP)
            self.refusable = False
        try:
            net.wait_for(lambda: not self.differs(), 30.0)
        except TimeoutError:
            raise AssertionError('in force is not what the files say: %r' % self.differs()) from None
        self.logs_are_followed()

    def differs(self):
        """What is in force and is not in the files."""
        wrong = []
        try:
            for _ in range(2 * self.count):
                wrong += self.differs_once()
            info = self.one.info()
            serving = [w for w in info['workers'] if w['state'] == 'serving']
            if info['master'] == self.one.process.pid and len(serving) != self.count:
                wrong.append('%d workers' % len(serving))
        except TROUBLE as e:
            wrong.append(repr(e))
        return wrong

    def differs_once(self):
        wrong = []
        dump = self.one.get('/config_dump').json()
        routes = [r['name'] for s in dump['services'] if s['name'] == steady.NAME for r in s['routes']]
        if self.version and routes != ['v%d' % self.version]:
            wrong.append('routes %r' % routes)
        hosts = re.findall('%s::([^:]+:\\d+)::health_flags' % re.escape(steady.NAME), self.one.get('/clusters').body.decode())
        if sorted(hosts) != sorted(line.split()[0] for line in self.lines):
            wrong.append('hosts %r' % hosts)
        if ('%s:%d' % (self.one.ip, EXTRA) in [x['address'] for x in dump['listeners']]) != self.extra:
            wrong.append('the listener')
        if self.extra and self.one.get('/stats/prometheus', EXTRA).status != 200:
            wrong.append('the listener is silent')
        if self.days > 30 and self.shown(self.one) != self.expected_cert():
            wrong.append('the certificate')
        return wrong

    def expected_cert(self):
        text = pathlib.Path(self.one.identity.cert).read_text()
        return ssl.PEM_cert_to_DER_cert(text[:text.index('-----END CERTIFICATE-----') + 26])

    def logs_are_followed(self):
        """Nobody writes to files that were renamed."""
        old = lambda: {p.name: p.stat().st_size for p in self.one.folder.glob('access.log.*')}
        if not self.turned:
            return
        net.wait_for(lambda: (lambda before: self.goes_on() or old() == before)(old()), 10.0, 'the end of writing to %r' % old())
        size = lambda: self.one.access_path.exists() and self.one.access_path.stat().st_size
        before = size()
        net.wait_for(lambda: size() > before, 10.0, 'lines in the new log')

    def finish_upgrade(self):
        if self.old:
            self.do_end_upgrade(None)
        self.do_renew(None)
        for master in self.older:
            master.wait(30)
        self.older = []

    def as_before(self):
        self.count, self.extra = 2, False
        self.write()

    # ---- afterwards ----

    def expect_only_what_was_killed_lost(self):
        failures = self.all.load.failures()
        counted = self.all.load.counted()
        lost = sum(failures.values())
        print('%d steps (%s): %d requests, %d lost, %d allowed; %d streams excused; killed %d, stopped %d' % (
            len(self.done), ' '.join(self.done), counted['requests'], lost, self.allowed, len(self.excused),
            len(self.killed), len(self.stopped)))
        assert lost <= self.allowed and {key.split()[1] for key in failures} <= {'lost', 'cut'}, (failures, self.all.load.said)
        # The streams of the load that are not lost by a kill get a 503 from nobody.
        assert counted['4xx'] == counted['5xx'] == counted['refused'] == 0, self.all.load.said
        assert counted['unconnected'] <= self.allowed, self.all.load.said

    def expect_no_crash(self):
        log = self.one.log
        for pid in map(int, re.findall(r'process (\d+)\) was killed by signal', log)):
            assert pid in self.killed, 'process %d was killed by nobody:\n%s' % (pid, log)
        for line in log.splitlines():
            assert not re.search(r'ERROR: \w+Sanitizer|runtime error:|cairn: bug:|\) ended with status -?[1-9]|stood still', line), log

    def stop(self):
        """A run that failed leaves no processes."""
        for timer in self.timers:
            timer.cancel()
        self.over.set()
        self.sampler.join()
        for pid in self.seen:
            if is_alive(pid) and str(self.one.binary) in exe(pid):
                os.kill(pid, signal.SIGKILL)
        return ''

    def expect_nobody_left(self):
        net.wait_for(lambda: not [p for p in self.seen if is_alive(p) and 'cairn' in title(p)], 10.0, 'the end of all processes')
        self.over.set()
        self.sampler.join()

    def expect_no_file_left(self):
        known = {'cairn.conf', 'access.log', 'error.log', 'conf.d', 'endpoints.d'} | {
            'access.log.%d' % i for i in range(1, self.turned + 1)} | ({'cairn.pid.oldbin'} if self.oldbin else set())
        assert {p.name for p in self.one.folder.iterdir()} <= known
        assert {p.name for p in (self.one.folder / 'conf.d').iterdir()} <= {'reviews.conf', 'others.conf', 'half.conf'}


class Leaks:
    """What the processes hold when nothing goes on: before and after."""

    def __init__(self, one):
        self.one = one
        self.before = self.held()

    def held(self):
        master = self.one.process.pid
        workers = [w['pid'] for w in self.one.info()['workers'] if w['state'] == 'serving']
        return {'master': (descriptors(master), steady.private_kib(master)),
                'worker': (descriptors(workers[0]), max(steady.private_kib(p) for p in workers))}

    def expect_none(self, kib=4096):
        def left():
            try:
                return more()
            except OSError as e:  # of a worker that has just ended
                return [repr(e)]

        def more():
            return ['%s: %r, %r before' % (who, now, self.before[who]) for who, now in self.held().items()
                    for what in now[0] if now[0][what] > self.before[who][0].get(what, 0)
                    or now[1] > self.before[who][1] + kib]
        try:
            net.wait_for(lambda: not left(), 20.0, 'an end')
        except TimeoutError:
            raise AssertionError('left open: %s' % left()[0]) from None
        print('; '.join('%s: %d descriptors and %d KiB private, was %d and %d' % (
            who, sum(now[0].values()), now[1], sum(self.before[who][0].values()), self.before[who][1])
            for who, now in self.held().items()))
