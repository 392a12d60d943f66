# SPDX-License-Identifier: Apache-2.0
"""Clusters with limits, ejections and shares: the same requests to cairn and to one Envoy with the same clusters.

Both hash a header over the same ring, so a key leads to the same pod in both.  Each
pod has one point on it: with more, Envoy would give the pods that are left new points.
What comes of every request is compared: status, pod, flags and details.
"""

import collections
import json

import pytest

from peers import chain, envoy as envoys, net, proxy
from peers.http import Http, Plain

VIP = '10.96.0.1:9080'
SERVICE = 'svc.ns:9080'
PODS = 4


class Step:
    """A request whose key leads to a pod; then so many pods are put aside, or so many ejections were refused.

    back: a pod that is asked again although it was put aside.  differs: why it has another outcome behind Envoy."""

    def __init__(self, pod, path='', ejected=None, refused=None, back=None, differs=None):
        self.pod, self.path, self.ejected, self.refused, self.back, self.differs = pod, path, ejected, refused, back, differs


class Case:
    """conf and there: a cluster's settings in both languages; route, retry: of its route."""

    def __init__(self, name, conf, there, steps, pods=tuple(range(PODS)), route='', retry=None, timeout='0s'):
        self.name, self.conf, self.there, self.steps, self.pods = name, conf, there, steps, pods
        self.route, self.retry, self.timeout = route, retry, timeout

    @property
    def cluster(self):
        return self.name.replace(' ', '-') + '.ns:9080'


def fails(pod, n, path='/status/503', **last):
    return [Step(pod, path) for _ in range(n - 1)] + [Step(pod, path, **last)]


def outlier(consecutive_5xx=0, consecutive_gateway=0, consecutive_local=0, most=100, panic=0, split=False):
    """The same rules for both: (conf, fields of Envoy's cluster)"""
    conf = {'outlier': 'consecutive_5xx=%d consecutive_gateway=%d split_local=%s consecutive_local=%d interval=1h base_ejection=1h '
            'max_ejection_percent=%d min_health_percent=%d' % (consecutive_5xx, consecutive_gateway, 'on' if split else 'off',
                                                               consecutive_local, most, panic)}
    never = 1000000
    detection = {'interval': '3600s', 'base_ejection_time': '3600s', 'max_ejection_percent': most, 'max_ejection_time': '7200s',
                 'consecutive_5xx': consecutive_5xx or never, 'enforcing_consecutive_5xx': 100,
                 'consecutive_gateway_failure': consecutive_gateway or never, 'enforcing_consecutive_gateway_failure': 100,
                 'split_external_local_origin_errors': split, 'consecutive_local_origin_failure': consecutive_local or never,
                 'enforcing_consecutive_local_origin_failure': 100, 'enforcing_success_rate': 0,
                 'enforcing_local_origin_success_rate': 0}
    return conf, {'outlier_detection': detection, 'common_lb_config': {
        'healthy_panic_threshold': {'value': panic}, 'update_merge_window': '0s'}}


SLOW = {'route': 'request_timeout 200ms;', 'timeout': '0.2s'}
CONNECTED = 'a pod that accepts connections and drops them counts as one that is not reached; in Envoy each connect begins the count anew'
ALWAYS_ONE = 'of a few pods one may be away although it is more than the percentage: 10 % are none of less than ten'
DEAD = 9  # a pod whose port is closed
CASES = [
    Case('gateway errors', *outlier(consecutive_gateway=2), [
        *fails(0, 3, '/status/500'), Step(0), Step(0, '/status/502'), Step(0), *fails(0, 2, '/status/504', ejected=1), Step(0), Step(1)]),
    Case('any 5xx', *outlier(consecutive_5xx=3), [
        *fails(1, 2, '/status/500'), Step(1, '/status/404'), *fails(1, 2, '/status/599'), Step(1, '/status/501', ejected=1), Step(1), Step(2)]),
    Case('either count', *outlier(consecutive_5xx=4, consecutive_gateway=2), [
        *fails(0, 3, '/status/500'), Step(0, '/status/503', ejected=1), *fails(2, 2, '/status/502', ejected=2), Step(0), Step(2)]),
    Case('a lost connection', *outlier(consecutive_gateway=2), [Step(0, '/drop'), Step(0, '/drop', ejected=1), Step(0)]),
    Case('no answer in time', *outlier(consecutive_gateway=2), [Step(0, '/hang'), Step(0, '/hang', ejected=1), Step(0)], **SLOW),
    Case('nobody listens', *outlier(consecutive_5xx=2), [Step(DEAD), Step(DEAD, ejected=1), Step(DEAD), Step(0)], pods=(0, DEAD)),
    Case('nobody listens, split', *outlier(consecutive_5xx=1, consecutive_local=3, split=True), [
        *fails(DEAD, 3, '', ejected=1), Step(DEAD), Step(0)], pods=(0, DEAD)),
    Case('lost, split', *outlier(consecutive_5xx=1, consecutive_local=2, split=True), [
        Step(0, '/drop'), Step(0), Step(0, '/drop'), Step(0, '/drop'), Step(0, differs=CONNECTED)]),
    Case('half may be away', *outlier(consecutive_5xx=1, most=50), [
        Step(0, '/status/500', ejected=1), Step(1, '/status/500', ejected=2), Step(2, '/status/500', refused=1), Step(2), Step(0), Step(3)]),
    Case('one may always be away', *outlier(consecutive_5xx=1, most=10), [
        Step(0, '/status/500'), Step(0, differs=ALWAYS_ONE), Step(1, '/status/500'), Step(1)]),
    Case('but not the only one', *outlier(consecutive_5xx=1, most=99), [Step(0, '/status/500', refused=1), Step(0)], pods=(0,)),
    Case('all are away', *outlier(consecutive_5xx=1), [
        *(Step(i, '/status/500', ejected=i + 1) for i in range(PODS)), Step(0), Step(3)]),
    Case('too few are left', *outlier(consecutive_5xx=1, panic=50), [
        Step(0, '/status/500', ejected=1), Step(0), Step(1, '/status/500', ejected=2), Step(0), Step(1), Step(2, '/status/500', ejected=3, back=0),
        Step(0), Step(1), Step(2), Step(3)]),
    Case('no retry at a time', {'breaker': 'max_retries=0'}, {'circuit_breakers': {'thresholds': [{'max_retries': 0}]}}, [
        Step(0, '/status/503'), Step(0)], route='retry { attempts 2; codes 503; }',
        retry={'retry_on': 'retriable-status-codes', 'retriable_status_codes': [503], 'num_retries': 2}),
]


class Share:
    """Shares of pods 0, 1, 2...: cairn's endpoints and Envoy's, each with its pod left out."""

    def __init__(self, name, shares, lb, ours, policy, theirs, there=None, differs=None, why=None, **conf):
        self.name, self.shares, self.conf, self.ours, self.theirs = name, shares, {'lb': lb, **conf}, ours, theirs
        self.there, self.differs, self.why = {'lb_policy': policy, **(there or {})}, differs, why
        assert not differs or why

    @property
    def cluster(self):
        return self.name.replace(' ', '-') + '.ns:9080'


def by_weight(name, lb, policy, **more):
    weights = (6, 3, 1)
    return Share(name, weights, lb, [{'weight': w} for w in weights], policy, [{'lb_endpoints': [{'load_balancing_weight': w}]} for w in weights], **more)


def place(zone, weight):
    return {'locality': {'region': 'eu', 'zone': zone}, 'load_balancing_weight': weight, 'lb_endpoints': [{}]}


UNWEIGHTED = 'weights are of WorkloadEntry and endpoints, for every balancer; Envoy has none in RANDOM'
SHARES = [
    by_weight('round robin', 'round_robin', 'ROUND_ROBIN'),
    by_weight('least request', 'least_request', 'LEAST_REQUEST'),
    by_weight('random', 'random', 'RANDOM', differs=(1, 1, 1), why=UNWEIGHTED),
    Share('places', (60, 30, 10), 'random', [{'locality': 'eu/%s/s' % zone} for zone in 'abc'], 'RANDOM', [place('a', 60), place('b', 30), place('c', 10)],
          {'common_lb_config': {'locality_weighted_lb_config': {}, 'healthy_panic_threshold': {'value': 0}}},
          lb_locality='distribute eu/* eu/a=60 eu/b=30 eu/c=10'),
]


@pytest.fixture
def pods(new_origin):
    return {i: new_origin('pod-%d' % i) for i in [*range(PODS), DEAD]}


class Party:
    """cairn or Envoy: how to ask it, what its clusters and logs say."""

    def __init__(self, http, admin, log):
        self.http, self.admin, self.log, self.asked, self.keys = http, admin, log, 0, {}

    def ask(self, case, key, path=''):
        self.asked += 1
        return self.http.request(path='/' + case.cluster + path, headers={'x-user': key})

    def pod(self, case, key):
        return self.ask(case, key).header('x-pod')

    def ejected(self, case):
        return sum(line.startswith(case.cluster + '::') and line.endswith('/failed_outlier_check') for line in self.admin('/clusters').splitlines())

    def refused(self, case):
        name = case.cluster.replace(':', '_') if self.is_envoy else case.cluster
        lines = self.admin('/stats?filter=ejections_overflow' if self.is_envoy else '/stats/prometheus').splitlines()
        return sum(float(line.split()[-1]) for line in lines if 'ejections_overflow' in line and name in line and line[0] != '#')

    def run(self, case, keys):
        """[((status, pod), place in the log)] of the steps"""
        answers, places = [], []
        for step in case.steps:
            places.append(self.asked)
            answer = self.ask(case, keys[step.pod], step.path)
            answers.append((answer.status, answer.header('x-pod')))
            if step.ejected is not None:
                net.wait_for(lambda: self.ejected(case) == step.ejected, 10, '%s: %d pods put aside' % (case.name, step.ejected))
            if step.refused is not None:
                net.wait_for(lambda: self.refused(case) == step.refused, 10, '%s: %d ejections refused' % (case.name, step.refused))
            if step.back is not None:
                net.wait_for(lambda: self.pod(case, keys[step.back]) == 'pod-%d' % step.back, 10, '%s: use of all' % case.name)
            elif step.ejected is not None:  # Envoy's worker hears of it later than its admin port
                net.wait_for(lambda: self.pod(case, keys[step.pod]) != 'pod-%d' % step.pod, 10, '%s: another pod' % case.name)
        return list(zip(answers, places))

    def logged(self, results):
        """Flags and details in place of the places."""
        log = self.log(self.asked)
        return [[(answer, log[place]) for answer, place in result] for result in results]


def maps(cases):
    """For each set of pods a cluster that is never harmed, to find keys with."""
    return [Case('map %d' % i, {}, {}, [], pods=pods) for i, pods in enumerate(sorted({case.pods for case in cases}))]


def conf(cases, pods):
    clusters = ''.join(proxy.cluster(case.cluster, *[proxy.endpoint(pods[i]) for i in case.pods], lb='ring_hash', lb_ring='min=1', lb_hash='header x-user', **case.conf)
                       for case in cases)
    routes = ''.join('route "%s" { match { path prefix /%s; } rewrite_prefix /; %s backend %s; }\n' % (
        case.name, case.cluster, case.route or 'retry off;', case.cluster) if case.retry or not case.route else
        'route "%s" { match { path prefix /%s; } rewrite_prefix /; retry off; %s backend %s; }\n' % (
            case.name, case.cluster, case.route, case.cluster) for case in cases)
    return clusters + proxy.cluster(SERVICE) + proxy.service(SERVICE, VIP, routes)


def envoy_cluster(case, pods):
    return chain.several(case.cluster, [(pods[i].ip, pods[i].port) for i in case.pods], lb_policy='RING_HASH',
                         ring_hash_lb_config={'minimum_ring_size': 1}, **case.there)


def envoy_route(case):
    action = {'cluster': case.cluster, 'timeout': case.timeout, 'hash_policy': [{'header': {'header_name': 'x-user'}}],
              'regex_rewrite': {'pattern': {'regex': '^/[^/]+(/?)(.*)'}, 'substitution': '/\\2'}}
    return {'match': {'path_separated_prefix': '/' + case.cluster}, 'route': {**action, **({'retry_policy': case.retry} if case.retry else {})}}


@pytest.fixture
def parties(cairn, curl, tmp_path, stopping):
    def make(cases, pods):
        waypoint = cairn(conf(cases, pods))
        connection = waypoint.connection(curl)
        connection.stop = connection.close
        stopping.append(connection)
        here = Party(connection.connect(VIP), lambda path: waypoint.get(path).body.decode(), lambda n: [
            (line['response_flags'], line['response_code_details']) for line in waypoint.access(n)])
        one = chain.Chain(tmp_path / 'envoy', [envoy_route(case) for case in cases], {case.cluster: envoy_cluster(case, pods) for case in cases})
        stopping.append(one)
        there = Party(Http(Plain(*one.address)), lambda path: Http(Plain(one.ip, 9901)).request(path=path).body.decode(), lambda n: [
            (line['flags'], line['details']) for line in one.access(n)])
        here.is_envoy, there.is_envoy = False, True
        return here, there
    return make


def find_keys(party, case, pods):
    keys = {}
    for n in range(20000):
        keys.setdefault(party.pod(case, 'k%d' % n), 'k%d' % n)
        if len(keys) == len(case.pods):
            return {i: keys[pods[i].name] for i in case.pods}
    raise AssertionError('no keys for ' + str(set(case.pods) - set(keys)))


@pytest.mark.skipif(not envoys.binary(), reason='no Envoy')
def test_ejections_and_limits_are_envoys(parties, pods):
    plain = maps(CASES)
    here, there = parties(plain + CASES, pods)
    keys = {case.pods: find_keys(here, case, pods) for case in plain}
    assert keys == {case.pods: find_keys(there, case, pods) for case in plain}
    pods[DEAD].stop()
    ours, theirs = (one.logged([one.run(case, keys[case.pods]) for case in CASES]) for one in (here, there))
    wrong = ['%s, request %d: %r, Envoy %r' % (case.name, i, a, b) for case, mine, his in zip(CASES, ours, theirs)
             for i, (step, a, b) in enumerate(zip(case.steps, mine, his)) if (a == b) == bool(step.differs)]
    assert not wrong, '\n'.join(wrong)


def off_by(counts, shares, sigmas):
    """What of {pod: count} is further from its share than so many standard deviations."""
    n, whole = sum(counts.values()), sum(shares)
    for i, share in enumerate(shares):
        p = share / whole
        if abs(counts['pod-%d' % i] - n * p) > sigmas * (n * p * (1 - p)) ** 0.5:
            yield 'pod-%d has %d of %d, expected %.0f' % (i, counts['pod-%d' % i], n, n * p)


def shares_of(http):
    return {share: collections.Counter(http.request(path='/' + share.cluster).header('x-pod') for _ in range(600)) for share in SHARES}


def share_of_envoy(share, pods):
    """Its cluster: the endpoints get their addresses."""
    groups = json.loads(json.dumps(share.theirs))
    for i, group in enumerate(groups):
        group['lb_endpoints'][0]['endpoint'] = {'address': envoys.address(pods[i].ip, pods[i].port)}
    if 'locality' not in groups[0]:
        groups = [{'lb_endpoints': [group['lb_endpoints'][0] for group in groups]}]
    return '127.0.0.1', 1, {'load_assignment': {'cluster_name': share.cluster, 'endpoints': groups}, **share.there}


def test_shares_are_as_the_table_says(cairn, curl, pods):
    """Draws are from a fixed seed: three standard deviations."""
    clusters = ''.join(proxy.cluster(share.cluster, *[proxy.endpoint(pods[i], **words) for i, words in enumerate(share.ours)], **share.conf)
                       for share in SHARES)
    routes = ''.join('route "%s" { match { path prefix /%s; } backend %s; }\n' % (share.name, share.cluster, share.cluster) for share in SHARES)
    waypoint = cairn(clusters + proxy.cluster(SERVICE) + proxy.service(SERVICE, VIP, routes), main=proxy.SEED + 'locality eu/a/s;')
    with waypoint.connection(curl) as connection:
        got = shares_of(connection.connect(VIP))
    wrong = ['%s: %s' % (share.name, text) for share in SHARES for text in off_by(got[share], share.shares, 3)]
    assert not wrong, '\n'.join(wrong)


@pytest.mark.skipif(not envoys.binary(), reason='no Envoy')
def test_envoys_shares_are_as_the_table_says(tmp_path, stopping, pods):
    """Nobody knows its seed: six standard deviations."""
    one = chain.Chain(tmp_path / 'envoy', [{'match': {'path_separated_prefix': '/' + share.cluster}, 'route': {'cluster': share.cluster}} for share in SHARES],
                      {share.cluster: share_of_envoy(share, pods) for share in SHARES})
    stopping.append(one)
    got = shares_of(Http(Plain(*one.address)))
    wrong = ['%s: %s' % (share.name, text) for share in SHARES for text in off_by(got[share], share.differs or share.shares, 6)]
    assert not wrong, '\n'.join(wrong)
