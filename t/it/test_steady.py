# SPDX-License-Identifier: Apache-2.0
"""A steady load of every kind at once, across every kind of change: nothing fails, every stream goes on.

HTTP/1.1 GET and POST with bodies, gRPC calls, a gRPC stream, a WebSocket and a
TCP stream.  The long form changes as often as the project promises.
"""

import signal

import pytest

from peers import kinds, proxy, steady

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


@pytest.mark.parametrize('long', OFTEN)
def test_worker_count_changes(everything, long):
    times = 20 if long else 3
    everything.start_streams()
    steady.worker_counts(everything.load, everything.one.body, times)
    everything.finish('%d worker-count changes' % times)
