# SPDX-License-Identifier: Apache-2.0
"""What clusters do as time goes by: cairn and one Envoy with the same clusters, at the same time.

Nobody's clock is trusted to be on time: what is expected of a request follows from when it was made.
"""

import json
import os
import time

import pytest

from peers import chain, envoy as envoys, net, proxy
from peers.http import Http, Plain

pytestmark = pytest.mark.skipif(not envoys.binary(), reason='no Envoy')

VIP = '10.96.0.1:9080'
SERVICE = 'svc.ns:9080'


def conf(clusters):
    """clusters: {name: text}.  The first segment of a path names the cluster."""
    routes = ''.join('route "%s" { match { path prefix /%s; } retry off; backend %s; }\n' % (name, name, name) for name in clusters)
    return ''.join(clusters.values()) + proxy.cluster(SERVICE) + proxy.service(SERVICE, VIP, routes)


def envoy_of(folder, clusters, stopping):
    """clusters: as chain.Chain takes them."""
    one = chain.Chain(folder, [{'match': {'path_separated_prefix': '/' + name}, 'route': {'cluster': name}} for name in clusters], clusters)
    stopping.append(one)
    return one


def http_of(waypoint, identity, stopping):
    connection = waypoint.connection(identity)
    connection.stop = connection.close
    stopping.append(connection)
    return connection.connect(VIP)


# ---- warm-up ----

WINDOW = 4.0
OLD = 3  # pods that were there before
LEAST = 0.1


class Warm:
    """A balancer and how its newcomers warm up."""

    def __init__(self, lb, aggression):
        self.lb, self.aggression = lb, aggression
        self.cluster = '%s-%d.ns:9080' % (lb.replace('_', '-'), aggression)

    def ours(self, pods):
        return proxy.cluster(self.cluster, *[proxy.endpoint(p) for p in pods], lb=self.lb,
                             lb_warmup='%ds min=%d aggression=%d' % (WINDOW, LEAST * 100, self.aggression))

    def theirs(self, path):
        start = {'slow_start_window': '%ds' % WINDOW, 'min_weight_percent': {'value': LEAST * 100},
                 'aggression': {'default_value': self.aggression, 'runtime_key': 'none'}}
        return '127.0.0.1', 1, {'type': 'EDS', 'lb_policy': self.lb.upper(), self.lb + '_lb_config': {'slow_start_config': start},
                                'load_assignment': None, 'eds_cluster_config': {'eds_config': {'path_config_source': {'path': str(path)}}}}

    def share(self, age):
        """The newcomer's share at that age."""
        warmth = max(LEAST, min(1.0, max(0.0, age / WINDOW)) ** (1 / self.aggression))
        return warmth / (OLD + warmth)


WARM = [Warm('round_robin', 1), Warm('least_request', 1), Warm('round_robin', 4)]


def put_endpoints(path, cluster, pods):
    """As Envoy watches for it: a new file takes the place of the old one."""
    members = [{'endpoint': {'address': envoys.address(p.ip, p.port)}} for p in pods]
    draft = path.with_suffix('.new')
    draft.write_text(json.dumps({'version_info': str(len(pods)), 'resources': [{
        '@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', 'cluster_name': cluster,
        'endpoints': [{'lb_endpoints': members}]}]}))
    os.rename(draft, path)


class Party:
    """cairn or Envoy: how to let the newcomer in; then its requests, each with the least and the greatest age of the newcomer."""

    def __init__(self, name, join):
        before = time.monotonic()
        self.name, self.http = name, join()
        self.joined, self.asked = (before, time.monotonic()), {warm: [] for warm in WARM}

    def ask(self, warm):
        sent = time.monotonic()
        new = self.http.request(path='/' + warm.cluster).header('x-pod') == 'pod-%d' % OLD
        self.asked[warm].append((sent - self.joined[1], time.monotonic() - self.joined[0], new))

    def is_warm(self):
        return time.monotonic() - self.joined[1] > WINDOW

    def wrong(self, warm, record_property):
        """Thirds of the window, then what is behind it: what is too far from the curve, by a tenth and four standard deviations."""
        told = []
        for part in range(4):
            some = [one for one in self.asked[warm] if min(int(max(one[0], 0) * 3 / WINDOW), 3) == part]
            least, most = (sum(warm.share(one[i]) for one in some) for i in (0, 1))
            got = sum(one[2] for one in some)
            told.append('%d of %d (%.0f to %.0f)' % (got, len(some), least, most))
            wide = 4 * (most * (1 - 1 / (OLD + 1))) ** 0.5
            if not 0.9 * least - wide <= got <= 1.1 * most + wide:
                yield '%s, %s: part %d: %s' % (self.name, warm.cluster, part, told[-1])
        record_property(self.name + warm.cluster, 'warm-up, %s, %s: the newcomer got (expected) %s' % (self.name, warm.cluster, ', '.join(told)))


def test_newcomers_warm_up_as_envoys_do(cairn, curl, new_origin, tmp_path, stopping, record_property):
    pods = [new_origin('pod-%d' % i) for i in range(OLD + 1)]
    body = lambda n: conf({warm.cluster: warm.ours(pods[:n]) for warm in WARM})
    paths = {warm: tmp_path / ('%s.json' % warm.cluster) for warm in WARM}
    for warm, path in paths.items():
        put_endpoints(path, warm.cluster, pods[:OLD])
    waypoint = cairn(body(OLD), main=proxy.SEED)
    envoy = envoy_of(tmp_path / 'envoy', {warm.cluster: warm.theirs(path) for warm, path in paths.items()}, stopping)
    count = lambda: Http(Plain(envoy.ip, 9901)).request(path='/clusters').body.decode().count('::health_flags::')
    net.wait_for(lambda: count() == OLD * len(WARM), 10, 'Envoy\'s endpoints')
    time.sleep(WINDOW)  # all that are there are new in both

    def join_envoy():
        for warm, path in paths.items():
            put_endpoints(path, warm.cluster, pods)
        net.wait_for(lambda: count() == (OLD + 1) * len(WARM), 10, 'Envoy\'s newcomer')
        return Http(Plain(*envoy.address))

    def join_cairn():
        waypoint.reload(body(OLD + 1), main=proxy.SEED)
        return http_of(waypoint, curl, stopping)
    parties = [Party('cairn', join_cairn), Party('Envoy', join_envoy)]
    while not all(party.is_warm() for party in parties):
        for party in parties:
            for warm in WARM:
                party.ask(warm)
    for party in parties:
        for _ in range(300):
            for warm in WARM:
                party.ask(warm)
    wrong = [text for party in parties for warm in WARM for text in party.wrong(warm, record_property)]
    assert not wrong, '\n'.join(wrong)


# ---- time of an ejection ----

BASE, INTERVAL = 0.7, 1.0
LONG = 2 * BASE + INTERVAL  # who is away for longer, away for whole intervals, was put aside more than twice


def times_away(asks):
    """{name: ask} -> {name: how long it took each time until a request reached the dead pod again}, until one was long.

    A pod that no request met for an interval after its return, since the machine was busy, is forgiven one time."""
    failed = {name: [] for name in asks}
    gaps = lambda times: [b - a for a, b in zip(times, times[1:])]

    def done():
        for name, ask in asks.items():
            if ask().status == 503 and (not failed[name] or time.monotonic() - failed[name][-1] > BASE / 2):
                failed[name].append(time.monotonic())  # but for those that were on their way with the one before
        return all(any(gap > LONG for gap in gaps(times)) for times in failed.values())
    net.wait_for(done, 60, 'an ejection of more than %.1f s' % LONG)
    return {name: gaps(times) for name, times in failed.items()}


def test_each_ejection_is_longer_as_envoys_are(cairn, curl, new_origin, tmp_path, stopping, record_property):
    """As soon as it is back a request meets it, and it is put aside for one more base_ejection than before."""
    pods = [new_origin('pod-%d' % i) for i in range(2)]
    name = 'away.ns:9080'
    waypoint = cairn(conf({name: proxy.cluster(
        name, *[proxy.endpoint(p) for p in pods], lb='round_robin',
        outlier='consecutive_5xx=1 interval=%dms base_ejection=%dms max_ejection_percent=50' % (INTERVAL * 1000, BASE * 1000))}))
    detection = {'consecutive_5xx': 1, 'enforcing_consecutive_5xx': 100, 'interval': '%.1fs' % INTERVAL, 'base_ejection_time': '%.1fs' % BASE,
                 'max_ejection_percent': 50, 'enforcing_success_rate': 0, 'enforcing_consecutive_gateway_failure': 0}
    common = {'healthy_panic_threshold': {'value': 0}, 'update_merge_window': '0s'}
    envoy = envoy_of(tmp_path / 'envoy', {name: chain.several(
        name, [(p.ip, p.port) for p in pods], outlier_detection=detection, common_lb_config=common)}, stopping)
    pods[0].stop()
    here, there = http_of(waypoint, curl, stopping), Http(Plain(*envoy.address))
    got = times_away({who: lambda http=http: http.request(path='/' + name) for who, http in (('cairn', here), ('Envoy', there))})
    for who, times in got.items():
        record_property(who, 'ejections with base_ejection %.1f s, %s: %s s' % (BASE, who, ', '.join('%.2f' % t for t in times)))
    # A little less is measured when the first answer took longer than the last.
    short = {who: times for who, times in got.items() if min(times) < BASE * 0.9}
    assert not short
