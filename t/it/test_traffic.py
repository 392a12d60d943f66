# SPDX-License-Identifier: Apache-2.0
"""The samples of conf/samples/traffic, rendered by cairn-gen and served: requests meet what the manifests say.

Addresses of the manifests are replaced by ones of this run; pods are called in the clear.
"""

import collections
import re
import subprocess
import time

import pytest

from peers import net, proxy

CATALOG = '10.96.1.1:80'
PORT = 8080


class Shop(proxy.Cairn):
    """cairn on what cairn-gen made of some of the samples."""

    def __init__(self, builddir, folder, top, identity, names):
        super().__init__(builddir / 'cairn', folder / 'conf', identity, arguments=['-g', 'daemon off; drain_delay 0; ' + proxy.SEED])
        self.gen, self.manifests, self.addresses = builddir / 'cairn-gen', folder / 'manifests', {}
        self.manifests.mkdir()
        for name in ('00-shop.yaml', *names):
            text = (top / 'conf/samples/traffic' / name).read_text().replace('ambient.istio.io/redirection', 'x')
            text = text.replace('fixedDelay: 2s', 'fixedDelay: 100ms')
            self.add(name, re.sub(r'10\.244\.\d+\.\d+', self.address, text))
        self.render()

    def write(self, *_):
        """Its configuration is rendered."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def address(self, found):
        return self.addresses.setdefault(found.group(0), net.new_ip())

    def add(self, name, text):
        (self.manifests / name).write_text(text)

    def render(self):
        done = subprocess.run([
            str(self.gen), 'render', '-f', self.manifests, '-w', 'shop/waypoint', '-o', self.folder, '--bind', self.ip,
            '--cert', self.identity.cert, '--key', self.identity.key, '--roots', self.identity.roots],
            capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, '')

    def pod(self, number):
        return self.addresses['10.244.1.%d' % number]


@pytest.fixture
def shop(builddir, tmp_path, top, stopping, new_origin, waypoint_identity):
    def make(*names, extra=''):
        one = Shop(builddir, tmp_path, top, waypoint_identity, names)
        if extra:
            one.add('99-extra.yaml', extra)
            one.render()
        one.v1, one.v2 = (new_origin('catalog-v%d' % i, ip=one.pod(i), port=PORT) for i in (1, 2))
        stopping.append(one)
        one.start()
        return one
    return make


def pods(shop, curl, n, headers=None, path='/'):
    return collections.Counter(
        shop.request(curl, CATALOG, path=path, headers=headers).header('x-pod') for _ in range(n))


def test_canary(shop, curl):
    waypoint = shop('10-canary.yaml')
    asked = waypoint.request(curl, CATALOG, headers={'x-version': 'next'})
    assert (asked.header('x-pod'), asked.header('x-served-by')) == ('catalog-v2', 'next')
    assert set(pods(waypoint, curl, 60)) == {'catalog-v1', 'catalog-v2'}


def test_faults_meet_testers_only(shop, curl):
    waypoint = shop('30-fault.yaml')
    assert all(waypoint.request(curl, CATALOG).status == 200 for _ in range(20))
    # of the testers' some wait and some fail; asked until both were seen
    aborted = delayed = False
    for _ in range(300):
        begun = time.monotonic()
        answer = waypoint.request(curl, CATALOG, headers={'x-tester': 'true'})
        aborted |= (answer.status, answer.body) == (503, b'fault filter abort')
        delayed |= time.monotonic() - begun >= 0.1
        if aborted and delayed:
            return
    raise AssertionError('aborted: %s, delayed: %s' % (aborted, delayed))


def test_hashing_keeps_a_user_on_one_pod(shop, curl):
    waypoint = shop('50-breaker.yaml')
    for user in ('ann', 'bob', 'eve'):
        assert len(pods(waypoint, curl, 8, {'x-user': user})) == 1
    assert len(pods(waypoint, curl, 40)) == 2


ROUTES = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: consumer, namespace: default}
spec:
  parentRefs: [{group: "", kind: Service, name: catalog, namespace: shop}]
  rules:
  - matches: [{path: {value: /mine}}]
    backendRefs: [{name: catalog-next, namespace: shop, port: 80}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: catalog, namespace: shop}
spec: {host: catalog, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: catalog, namespace: shop}
spec:
  hosts: [catalog]
  http:
  - match: [{uri: {prefix: /api/}, headers: {x-team: {exact: blue}}}]
    rewrite: {uri: /}
    headers: {request: {set: {x-by: virtual}}}
    route: [{destination: {host: catalog, subset: v2}}]
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, redirectCode: 308}
  - route: [{destination: {host: catalog, subset: v1}}]
"""


def test_a_virtual_service_and_a_consumers_route(shop, curl, pki):
    waypoint = shop(extra=ROUTES)
    other = pki.identity('other', 'client')
    moved = waypoint.request(other, CATALOG, path='/api/list', headers={'x-team': 'blue'})
    assert moved.header('x-pod') == 'catalog-v2'
    assert (waypoint.v2.requests[-1].path, dict(waypoint.v2.requests[-1].headers).get('x-by')) == ('/list', 'virtual')
    assert pods(waypoint, other, 10) == {'catalog-v1': 10}
    old = waypoint.request(other, CATALOG, path='/old/x')
    assert (old.status, old.header('location')) == (308, 'http://%s/new' % CATALOG)

    # clients of namespace default have a route of their own: it alone counts for them
    assert waypoint.request(curl, CATALOG, path='/mine').header('x-pod') == 'catalog-v2'
    assert waypoint.request(curl, CATALOG, path='/api/list').status == 404
    assert waypoint.request(other, CATALOG, path='/mine').header('x-pod') == 'catalog-v1'
