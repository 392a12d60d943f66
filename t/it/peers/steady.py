# SPDX-License-Identifier: Apache-2.0
"""A steady load that counts every loss, and the changes that must not cause one.

The load is hbload with -F: it follows the waypoint as a ztunnel does (GOAWAY
means a new connection) and tells for each method how many requests were done
and how many failed, by cause.  Changes are functions of the waypoint and a
number; tests say how often, and what may be lost (nothing, mostly).
"""

import collections
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

from . import hbone, net, origin, proxy

VIP = '10.96.0.1:9080'
ECHO = '10.96.0.2:9000'
NAME, ECHO_NAME = 'reviews.bookinfo:9080', 'echo.bookinfo:9000'
CAUSES = ('lost', 'cut', 'hung', 'status')


class Load:
    """hbload in the background from now until stop()."""

    def __init__(self, builddir, waypoint, identity, *more, authority=VIP, connections=4, tunnels=4, methods='GET,POST',
                 body=1000, seconds=600):
        words = [builddir / 't/bench/hbload', '-F', '-t', waypoint.ip + ':15008', '-a', authority, '-c', connections,
                 '-s', tunnels, '-d', seconds, '-m', methods, '-b', body, '-E', identity.cert, '-K', identity.key,
                 '-A', identity.roots, *more]
        self._counted = None
        self.process = subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, 'ASAN_OPTIONS': 'detect_leaks=0'})
        self.waypoint, self.identity = waypoint, identity
        self.goes_on()

    def goes_on(self, requests=100):
        """Waits until so many more requests were served."""
        def served():
            return self.waypoint.count('istio_requests_total')
        before = served()
        net.wait_for(lambda: served() >= before + requests, 30.0, '%d more requests' % requests)

    def counted(self):
        """Ends the load and returns what it counted."""
        if self._counted is None:
            self.process.send_signal(signal.SIGTERM)
            out, self.said = self.process.communicate(timeout=60)
            self._counted = json.loads(out)
        return self._counted

    def failures(self, *methods):
        """{'GET lost': 3, ...} of these methods, or of all."""
        each = self.counted()['methods']
        return {'%s %s' % (name, cause): one[cause] for name, one in each.items() for cause in CAUSES
                if one[cause] and (not methods or name in methods)}

    def expect_nothing_lost(self, what):
        counted = self.counted()
        print('%s: %d requests on %d connections, %d GOAWAY, failed: %s; p50 %.1f ms, p99 %.1f ms, longest %.1f ms' % (
            what, counted['requests'], counted['connections'], counted['goaways'], self.failures() or 0,
            counted['p50'] / 1000, counted['p99'] / 1000, counted['max'] / 1000))
        assert counted['requests'] > 0
        assert self.failures() == {}, self.said
        assert {k: counted[k] for k in ('refused', 'unconnected', '4xx', '5xx')} == {
            'refused': 0, 'unconnected': 0, '4xx': 0, '5xx': 0}, self.said

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        return ''


class Stream(threading.Thread):
    """A long-lived TCP stream through the waypoint that is spoken on all the time."""

    def __init__(self, waypoint, identity, authority=ECHO):
        super().__init__(daemon=True)
        self.connection = waypoint.connection(identity)
        self.tunnel = self.connection.connect(authority)
        self.done, self.wrong, self.over = 0, '', threading.Event()
        self.start()

    def run(self):
        try:
            while not self.over.wait(0.01):
                said = b'%8d' % self.done
                self.tunnel.send(said)
                got = b''
                while len(got) < len(said):
                    piece = self.tunnel.recv()
                    if not piece:
                        raise EOFError('ended')
                    got += piece
                if got != said:
                    raise ValueError('said %r, got %r' % (said, got))
                self.done += 1
        except Exception as e:  # whatever it is, the test wants to know
            self.wrong = repr(e)

    def finish(self):
        """How many exchanges there were; what went wrong is raised."""
        self.over.set()
        self.join(30)
        self.connection.close()
        if self.wrong:
            raise AssertionError('a stream broke after %d exchanges: %s' % (self.done, self.wrong))
        return self.done


class Heir:
    """The master that a binary upgrade left in charge: no child of ours."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    def poll(self):
        try:
            gone = pathlib.Path('/proc/%d/stat' % self.pid).read_text().rpartition(')')[2].split()[0] in 'ZX'
        except (FileNotFoundError, ProcessLookupError):
            gone = True
        self.returncode = 0 if gone else None
        return self.returncode

    def wait(self, timeout=None):
        net.wait_for(lambda: self.poll() is not None, timeout or 30.0, 'the end of %d' % self.pid)

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


# ---- configurations ----

def body(*endpoints, policy='', echo=None, extra=''):
    """The conf of the service under load, and of the echo service for streams."""
    text = proxy.cluster(NAME, *endpoints) + proxy.service(NAME, VIP, policy)
    if echo:
        text += proxy.cluster(ECHO_NAME, echo.address, protocol='tcp') + proxy.service(ECHO_NAME, ECHO, protocol='tcp')
    return text + extra


def wide(services, endpoints):
    """Files of so many services with so many endpoints each, for `include conf.d/*.conf`."""
    files = {}
    for i in range(services):
        name, vip = 'svc%d.wide:9080' % i, '10.%d.%d.%d:9080' % (100 + i // 62500, i // 250 % 250, i % 250 + 1)
        route = 'route r0 { match { path prefix /; } backend %s; }' % name
        settings = {'endpoints': 'endpoints.d/' + name}
        files['conf.d/%s.conf' % name] = proxy.cluster(name, **settings) + proxy.service(name, vip, route, cluster=None)
        files['endpoints.d/' + name] = wide_endpoints(i, endpoints)
    return files


def wide_endpoints(i, endpoints, extra=''):
    lines = ['10.%d.%d.%d:9080 tunnel=hbone identity=spiffe://cluster.local/ns/wide/sa/svc%d' % (
        1 + k, i // 250 % 250, i % 250 + 1, i) for k in range(endpoints)]
    return '\n'.join(lines + [extra, ''])


# ---- changes ----


def wait_in_force(waypoint, action):
    """Does it, and waits until the log says that a newer configuration is in force."""
    before = waypoint.log.count('in force in all workers')
    action()
    net.wait_for(lambda: waypoint.log.count('in force in all workers') > before, 30.0, 'the configuration in force')


def effect_ms(log):
    """For each reload that the log tells of: milliseconds until it was in force everywhere."""
    stamp = r'\dT(\d+):(\d+):(\d+\.\d+)Z '
    begun, took = None, []
    for line in log.splitlines():
        found = re.search(stamp, line)
        at = found and sum(float(v) * f for v, f in zip(found.groups(), (3600, 60, 1)))
        if 'reading the configuration again' in line:
            begun = at
        elif 'in force in all workers' in line and begun is not None:
            took.append((at - begun) % 86400 * 1000)
            begun = None
    return sorted(took)


def endpoint_changes(load, name, texts, times):
    """The endpoints file of that name says each of the texts in turn."""
    waypoint = load.waypoint
    for i in range(times):
        waypoint.put('endpoints.d/' + name, texts[i % len(texts)])
        wait_in_force(waypoint, lambda: waypoint.send_signal(signal.SIGHUP))

def policy_reloads(load, make, times):
    """make(i) -> the i-th conf."""
    for i in range(times):
        load.waypoint.reload(make(i))
        load.goes_on(20)


def worker_counts(load, conf, times):
    for i in range(times):
        load.waypoint.settings['workers'] = 1 + (i + 1) % 3
        load.waypoint.reload(conf)
        load.goes_on(20)


def upgrade(waypoint, wait=True):
    """USR2, then QUIT for the old master once the new one serves; returns the old one."""
    pid_file, old = waypoint.folder / 'cairn.pid', waypoint.process
    before = waypoint.log.count('in force in all workers')
    old.send_signal(signal.SIGUSR2)

    def there():
        try:
            number = int(pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return number if number != old.pid and waypoint.log.count('in force in all workers') > before else None
    new = net.wait_for(there, 30.0, 'the new binary')
    old.send_signal(signal.SIGQUIT)
    if wait:
        old.wait(60)
    waypoint.process = Heir(new)
    return old


def upgrades(load, times):
    for _ in range(times):
        upgrade(load.waypoint)
        load.goes_on(20)


class Pod:
    """A captured pod: the application and its side of HBONE on one address."""

    def __init__(self, name, identity, ip=None):
        self.app = origin.Origin(name, ip)
        self.ip, self.hbone = self.app.ip, hbone.CapturedPod(self.app.ip, identity)

    @property
    def line(self):
        return proxy.endpoint(self.app, pod=self.hbone)

    def vanish(self):
        self.hbone.vanish()
        self.app.stop()

    def stop(self):
        self.hbone.stop()
        self.app.stop()
        return ''


class Replacements:
    """Pods of a service are replaced under load, one after the other: each second one in the order that Kubernetes keeps,
    the others vanish without a word, and another pod has the address at once.

    Idempotent requests are tried again when they may have reached a pod; the others only when they have not.
    `log` has a line of each of those: what became of it, after how many attempts, and its name at the pods.
    """

    IDEMPOTENT, OTHERS = ('GET', 'PUT'), ('POST', 'PATCH')
    METHODS = ','.join(IDEMPOTENT + OTHERS)
    LINE = '%REQ(:METHOD)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST% ' \
           '%UPSTREAM_REQUEST_ATTEMPT_COUNT% %REQ(X-REQUEST-ID)%'
    Line = collections.namedtuple('Line', 'method status flags details host attempts id')

    def __init__(self, cairn, identity, stopping):
        self.identity, self.stopping, self.pods, self.all, self.vanished = identity, stopping, [], [], []
        for _ in range(3):
            self.add()
        self.one = cairn('include conf.d/*.conf;\n', files={'conf.d/reviews.conf': self.conf(), 'endpoints.d/reviews': self.lines()},
                         workers=2, main='config_keeper on;')

    def conf(self):
        again = ['match { path prefix /; method %s; } ' % method for method in self.IDEMPOTENT]
        return proxy.cluster(NAME, endpoints='endpoints.d/reviews') + proxy.service(NAME, VIP, cluster=None, body="""
            access_log attempts.log format "%s";
            route again { %s backend %s; retry { attempts 5; on connect-failure refused-stream reset; } }
            route once { match { path prefix /; } backend %s; }""" % (self.LINE, ''.join(again), NAME, NAME))

    def add(self, ip=None):
        """Another pod; at an address that was another one's with another identity."""
        pod = Pod('pod%d' % len(self.all), self.identity('bookinfo', 'other%d' % (len(self.all) % 2) if ip else 'reviews'), ip)
        for one in (self.pods, self.all, self.stopping):
            one.append(pod)
        return pod

    def lines(self):
        return '\n'.join(pod.line for pod in self.pods)

    def tell(self):
        self.one.put('endpoints.d/reviews', self.lines())
        wait_in_force(self.one, lambda: self.one.send_signal(signal.SIGHUP))

    def in_order(self, load):
        """The new pod is there, the old one leaves the endpoints, finishes what it has, and ends."""
        old = self.pods.pop(0)
        self.add()
        self.tell()
        net.wait_for(lambda: old.hbone.streams() == 0, 20.0, 'the end of the tunnels to a pod that left')
        old.stop()

    def without_a_word(self, load):
        """The endpoints say so only later."""
        old = self.pods.pop(0)
        old.vanish()
        self.vanished.append(old.app.address)
        self.add(old.ip)
        load.goes_on(20)
        self.tell()

    def run(self, load, times):
        for i in range(times):
            (self.without_a_word if i % 2 else self.in_order)(load)
            load.goes_on(20)

    # ---- afterwards ----

    def log(self):
        """Once the load has ended and all is written: the lines of requests that are not idempotent."""
        path = self.one.folder / 'attempts.log'
        net.wait_for(lambda: path.read_text().count('\n') >= self.one.count('istio_requests_total'), what='the whole log')
        lines = [self.Line(*line.split(' ')) for line in path.read_text().splitlines()]
        return [line for line in lines if line.method in self.OTHERS]

    def arrivals(self):
        """{id: how often a pod has read it whole} of requests that are not idempotent."""
        return collections.Counter(request.header('x-request-id') for pod in self.all for request in pod.app.requests
                                   if request.method in self.OTHERS)

    def expect_losses_only_where_a_byte_may_have_arrived(self, load, times):
        done = {name: count['done'] for name, count in load.counted()['methods'].items()}
        log, arrivals = self.log(), self.arrivals()
        failed = [line for line in log if line.status != '200']
        again = [line for line in log if line.status == '200' and line.attempts != '1']
        print('%d pods replaced, %d of them without a word: %s done; failed: %s idempotent, %d others, %d of these read whole by '
              'a pod; %d others answered by another pod when theirs could not be reached' % (
                  times, len(self.vanished), ', '.join('%s %d' % pair for pair in done.items()),
                  load.failures(*self.IDEMPOTENT) or 0, len(failed), sum(arrivals[line.id] for line in failed), len(again)))
        assert load.failures(*self.IDEMPOTENT) == {}, load.said
        # what cairn says is all that clients saw
        assert load.failures() == {'%s status' % method: n for method, n in
                                   collections.Counter(line.method for line in failed).items()}
        # lost on an established connection to a pod that vanished, and not tried elsewhere afterwards
        for line in failed:
            assert (line.status, line.flags, line.details, line.host in self.vanished) == (
                '503', 'UC', 'upstream_reset_before_response_started{connection_termination}', True), line
        # nothing was done twice, and what was answered was done
        assert max(arrivals.values()) == 1
        assert [line for line in log if line.status == '200' and not arrivals[line.id]] == []
        return again


def replace_files(pairs):
    """Each target becomes a copy of its source, in one step each."""
    for target, source in pairs:
        fresh = pathlib.Path(str(target) + '.new')
        fresh.write_bytes(pathlib.Path(source).read_bytes())
        fresh.chmod(pathlib.Path(source).stat().st_mode & 0o777)
        fresh.rename(target)


def resident_kib(pid, what='VmRSS'):
    text = pathlib.Path('/proc/%d/status' % pid).read_text()
    return int(re.search(what + r':\s+(\d+) kB', text).group(1))


def private_kib(pid):
    """What is this process's alone."""
    text = pathlib.Path('/proc/%d/smaps_rollup' % pid).read_text()
    return sum(int(kib) for kib in re.findall(r'^Private_\w+:\s+(\d+) kB', text, re.M))


def cpu_ms(pid):
    """Processor time that it has used, to the microsecond."""
    return int(pathlib.Path('/proc/%d/schedstat' % pid).read_text().split()[0]) / 1e6


def elapsed(action, *arguments):
    """Seconds that it took."""
    start = time.monotonic()
    action(*arguments)
    return time.monotonic() - start
