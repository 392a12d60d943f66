# SPDX-License-Identifier: Apache-2.0
"""A steady load of every kind at once, across every kind of change: nothing fails, every stream goes on.

HTTP/1.1 GET and POST with bodies, gRPC calls, a gRPC stream, a WebSocket and a
TCP stream.  The long form changes as often as the project promises.
"""

import re
import signal
import threading

import pytest

from peers import kinds, net, proxy, steady

from test_lifecycle import own_identity, pods, echo, load, rotate  # noqa: F401

OFTEN = [pytest.param(False, id='some'), pytest.param(True, id='all', marks=pytest.mark.slow)]


@pytest.fixture
def everything(builddir, cairn, pods, echo, load, curl, stopping, pki, tmp_path):  # noqa: F811
    """Starts the waypoint and all clients."""
    return Everything(builddir, cairn, pods, echo, load, curl, stopping, own_identity(pki, tmp_path / 'own'))


class Everything:
    def __init__(self, builddir, cairn, pods, echo, load, curl, stopping, identity):  # noqa: F811
        self.builddir, self.curl, self.stopping, self.pods = builddir, curl, stopping, pods
        self.peers = kinds.Peers(stopping)
        files = {'conf.d/reviews.conf': self.reviews(0), 'endpoints.d/reviews': '\n'.join(pods),
                 'conf.d/others.conf': self.peers.body + steady.body(echo=echo).replace(steady.body(), '')}
        self.one = cairn('include conf.d/*.conf;\n', files=files, workers=2, identity=identity,
                         main='worker_shutdown_timeout 10m; config_keeper on; hbone_rotation 200ms;')
        self.load = load(self.one)
        self.calls = self.start(kinds.Calls)
        self.streams = []

    def start(self, kind):
        self.stopping.append(kind(self.builddir, self.one, self.curl))
        return self.stopping[-1]

    def start_streams(self):
        """Those that outlive what comes next."""
        self.streams = [self.start(kind) for kind in kinds.STREAMS]
        return self.streams

    @staticmethod
    def reviews(i):
        policy = 'authz { policy bookinfo/v%d allow { rule { to { paths /*; } } } }' % i
        return (proxy.cluster(steady.NAME, endpoints='endpoints.d/reviews') +
                proxy.service(steady.NAME, steady.VIP, policy))

    def finish(self, what):
        each = {stream.kind: stream.finish() for stream in self.streams}
        each[self.calls.kind] = self.calls.finish()
        self.load.expect_nothing_lost('%s, beside %s' % (what, ', '.join('%d on %s' % (n, kind) for kind, n in each.items())))


@pytest.mark.parametrize('long', OFTEN)
def test_policy_reloads(everything, long):
    times, one = 100 if long else 5, everything.one
    everything.start_streams()
    for i in range(times):
        one.put('conf.d/reviews.conf', everything.reviews(i + 1))
        steady.wait_in_force(one, lambda: one.send_signal(signal.SIGHUP))
        everything.load.goes_on(20)
    everything.finish('%d policy reloads' % times)


@pytest.mark.parametrize('long', OFTEN)
def test_endpoint_changes(everything, long):
    times, pods = 1000 if long else 50, everything.pods  # noqa: F811
    everything.start_streams()
    steady.endpoint_changes(everything.load, 'reviews', [pods[0], pods[1], '\n'.join(pods)], times)
    everything.finish('%d endpoint changes' % times)


@pytest.mark.parametrize('long', OFTEN)
def test_certificate_rotations(everything, pki, long):
    times = 10 if long else 2
    everything.start_streams()
    for days in range(30, 30 + times):
        rotate(everything.one, pki.identity('bookinfo', 'waypoint', days=days))
        everything.one.reload()
        everything.load.goes_on(200)
    everything.finish('%d certificate rotations' % times)


@pytest.mark.parametrize('long', OFTEN)
def test_binary_upgrades(everything, long):
    times = 10 if long else 2
    kinds.upgrade_under(everything.load, everything.start_streams, times)
    everything.streams = []
    everything.finish('%d binary upgrades, each survived by %d streams' % (times, len(kinds.STREAMS)))


class Scraper(threading.Thread):
    """Reads the metrics all the time and notes each counter that goes backwards or away."""

    def __init__(self, one):
        super().__init__(daemon=True)
        self.one, self.over, self.seen, self.wrong, self.times = one, threading.Event(), {}, [], 0
        self.start()

    def run(self):
        while not self.over.wait(0.02):
            try:
                text = self.one.get('/stats/prometheus', 15020).body.decode()
            except (OSError, AssertionError, ValueError) as e:
                self.wrong.append(repr(e))
                continue
            self.compare(text)
            self.times += 1

    def compare(self, text):
        kinds_of = dict(line.split()[2:4] for line in text.splitlines() if line.startswith('# TYPE '))
        now = {}
        for name, value in (line.rsplit(' ', 1) for line in text.splitlines() if not line.startswith('#')):
            family = re.sub('_(bucket|sum|count)$', '', name.split('{')[0])
            if kinds_of.get(name.split('{')[0], kinds_of.get(family)) != 'gauge':
                now[name] = int(value)
        self.wrong += ['%s went from %d to %s' % (name, value, now.get(name)) for name, value in self.seen.items()
                       if now.get(name, -1) < value]
        self.seen = now

    def finish(self):
        self.over.set()
        self.join(30)
        assert self.wrong == [] and self.times > 10
        return '%d scrapes, %d counter series' % (self.times, len(self.seen))


def take_back(load):
    """An upgrade that its operator regrets: the new binary is ended, the old one goes on."""
    one = load.waypoint
    pid_file, old = one.folder / 'cairn.pid', one.process
    before = one.log.count('in force in all workers')
    old.send_signal(signal.SIGUSR2)
    net.wait_for(lambda: one.log.count('in force in all workers') > before, 30.0, 'the new binary')
    load.goes_on(50)
    new = steady.Heir(int(pid_file.read_text()))
    new.send_signal(signal.SIGQUIT)
    new.wait(60)
    net.wait_for(lambda: pid_file.exists() and int(pid_file.read_text()) == old.pid, 10.0, 'the old pid file')
    load.goes_on(50)


@pytest.mark.parametrize('long', OFTEN)
def test_counters_never_go_backwards_across_upgrades(cairn, pods, load, long):  # noqa: F811
    times = 10 if long else 3
    one = cairn(steady.body(*pods), workers=2)
    under, scraper = load(one), Scraper(one)
    for i in range(times):
        take_back(under) if i % 3 == 1 else steady.upgrades(under, 1)
    said = scraper.finish()
    total = one.count('istio_requests_total')
    counted = under.counted()
    under.expect_nothing_lost('%d upgrades, every third one taken back: %s' % (times, said))
    assert total <= one.count('istio_requests_total') and counted['requests'] <= one.count('istio_requests_total')


def test_no_third_binary_while_the_first_one_runs(cairn, pods, load, builddir, curl, stopping):  # noqa: F811
    peers = kinds.Peers(stopping)
    one = cairn(steady.body(*pods) + peers.body, workers=1)
    under = load(one)
    stopping.append(kinds.Talk(builddir, one, curl))
    old = steady.upgrade(one, wait=False)
    one.send_signal(signal.SIGUSR2)
    one.wait_log('no new binary is started while the older one, process %d, still runs' % old.pid)
    stopping[-1].finish()
    old.wait(60)
    steady.upgrades(under, 1)
    under.expect_nothing_lost('an upgrade after one that had to wait')


@pytest.mark.parametrize('long', OFTEN)
def test_worker_count_changes(everything, long):
    times = 20 if long else 3
    everything.start_streams()
    steady.worker_counts(everything.load, everything.one.body, times)
    everything.finish('%d worker-count changes' % times)


@pytest.mark.parametrize('long', OFTEN)
def test_storm_of_worker_counts(builddir, cairn, curl, stopping, long):
    """Changes come faster than workers start and leave."""
    times, peers = 120 if long else 15, kinds.Peers(stopping)
    one = cairn(peers.body, workers=1)
    calls = [kinds.Calls(builddir, one, curl) for _ in range(6)]
    stopping += calls
    for i in range(times):
        one.settings['workers'] = 1 + (i + 1) % 3
        one.write(one.body)
        one.send_signal(signal.SIGHUP)
        calls[i % 6].goes_on(1)
    done = sum(each.finish() for each in calls)
    print('%d worker-count changes, %d of them in force before the next: %d gRPC calls, 0 failed' % (
        times, one.log.count('in force in all workers') - 1, done))
