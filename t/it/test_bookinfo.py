# SPDX-License-Identifier: Apache-2.0
"""The demo's promises with real Envoys around: conf/samples/bookinfo, rendered and served.

Envoy is the HBONE client (the sources' ztunnel) and the HBONE side of the
captured pod.  Addresses of the manifests are replaced by ones of this run.
"""

import collections
import concurrent.futures
import re
import shutil
import subprocess

import pytest

from peers import envoy as envoys
from peers import net, proxy
from peers.http import Http, Plain

CURL, SLEEP = ('default', 'curl'), ('default', 'sleep')
MESH = 'trustDomain: cluster.local\naccessLogFile: %s\naccessLogEncoding: JSON\n'


class Bookinfo(proxy.Cairn):
    """cairn on what cairn-gen made of the samples."""

    def __init__(self, builddir, folder, top, identity):
        super().__init__(builddir / 'cairn', folder / 'conf', identity, arguments=['-g', 'daemon off; drain_delay 0;'])
        self.gen, self.manifests = builddir / 'cairn-gen', folder / 'manifests'
        shutil.copytree(top / 'conf/samples/bookinfo', self.manifests)
        self.addresses = {}
        for path in self.manifests.iterdir():
            path.write_text(re.sub(r'127\.0\.10\.\d+', self._address, path.read_text()))
        (folder / 'mesh.yaml').write_text(MESH % self.access_path)
        self.mesh = folder / 'mesh.yaml'
        self.render()

    def write(self, *_):
        """Its configuration is rendered."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def _address(self, found):
        return self.addresses.setdefault(found.group(0), net.new_ip())

    def render(self):
        done = subprocess.run([
            str(self.gen), 'render', '-f', self.manifests, '-w', 'bookinfo/waypoint', '-o', self.folder, '--bind', self.ip,
            '--mesh-config', self.mesh, '--cert', self.identity.cert, '--key', self.identity.key,
            '--roots', self.identity.roots], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def pods(self):
        """{name: (ip, service account, captured)} of the namespace's pods."""
        captured = {line.split(':')[0] for path in (self.folder / 'endpoints.d').iterdir()
                    for line in path.read_text().splitlines() if 'tunnel=hbone' in line}
        found = {}
        for line in (self.folder / 'endpoints.d/workloads').read_text().splitlines():
            if line and not line.startswith('#'):
                ip, *words = line.split()
                pod = dict(word.split('=', 1) for word in words)
                if pod['namespace'] == 'bookinfo' and '-v' in pod['name']:
                    found[pod['name']] = (ip, pod['service_account'], ip in captured)
        return found

    def vip(self, service):
        text = (self.folder / ('conf.d/%s.bookinfo.conf' % service)).read_text()
        return re.search(r'address\s+([0-9.]+:\d+)', text).group(1)

    def remove(self, name):
        (self.manifests / name).unlink()
        self.render()
        self.reload()


@pytest.fixture
def bookinfo(builddir, top, tmp_path, pki, stopping, new_origin, waypoint_identity):
    if not envoys.binary():
        pytest.skip('no Envoy')
    one = Bookinfo(builddir, tmp_path, top, waypoint_identity)
    one.apps = {}
    for name, (ip, account, captured) in one.pods().items():
        one.apps[name] = new_origin(name, ip=ip)
        if captured:
            stopping.append(envoys.pod(tmp_path / ('envoy-' + name), ip, pki.identity('bookinfo', account), 9080))
    assert any(captured for _, _, captured in one.pods().values())
    assert sorted(one.apps) == ['details-v1', 'productpage-v1', 'ratings-v1', 'reviews-v1', 'reviews-v2', 'reviews-v3']
    stopping.append(one)
    one.start()
    # One Envoy for all clients: a listener for each pair of identity and service.
    one.clients, listeners, clusters = {}, [], []
    for who, service in ((CURL, 'reviews'), (CURL, 'productpage'), (SLEEP, 'productpage')):
        name, ip = '%s-%s' % (who[1], service), net.new_ip()
        listeners.append({**envoys.client_listener(ip, 8080, one.vip(service), name, ()), 'name': name})
        clusters.append(envoys.hbone_cluster(name, one.ip, pki.identity(*who)))
        one.clients[who, service] = (ip, 8080)
    stopping.append(envoys.Envoy(tmp_path / 'clients', listeners, clusters))
    return one


def ask(bookinfo, who, service, method='GET', path='/'):
    stream = Plain(*bookinfo.clients[who, service])
    try:
        return Http(stream).request(method, path, host='%s.bookinfo:9080' % service)
    finally:
        stream.close()


def split(bookinfo, n):
    """Which pods answer n requests over ten connections."""
    def some(_):
        stream = Plain(*bookinfo.clients[CURL, 'reviews'])
        try:
            http = Http(stream)
            return [http.request(path='/reviews/%d' % i, host='reviews.bookinfo:9080').header('x-pod') for i in range(n // 10)]
        finally:
            stream.close()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return collections.Counter(pod for pods in pool.map(some, range(10)) for pod in pods)


def test_bookinfo_holds_its_promises_with_real_envoys(bookinfo):
    seen = split(bookinfo, 2000)
    assert set(seen) == {'reviews-v1', 'reviews-v2'}
    assert abs(seen['reviews-v1'] - 1800) <= 81, seen  # six sigma: the order of the draws is not the same in each run

    assert ask(bookinfo, CURL, 'productpage').header('x-pod') == 'productpage-v1'
    post = ask(bookinfo, CURL, 'productpage', 'POST')
    assert (post.status, post.body) == (403, b'RBAC: access denied')
    other = ask(bookinfo, SLEEP, 'productpage')
    assert (other.status, other.body) == (403, b'RBAC: access denied')
    assert [r.method for r in bookinfo.apps['productpage-v1'].requests] == ['GET']

    assert bookinfo.count('istio_requests_total') == 2003
    assert bookinfo.count('istio_requests_total', response_code='403') == 2
    assert bookinfo.count('istio_requests_total', destination_workload='reviews-v2', source_principal=(
        'spiffe://cluster.local/ns/default/sa/curl')) == seen['reviews-v2']
    lines = bookinfo.access(2003)
    assert len(lines) == 2003
    assert [line['response_code'] for line in lines].count(403) == 2


def test_removed_resources_have_no_effect_and_no_request_is_lost(bookinfo):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = True

        def load():
            answers = []
            while running:
                answers.append(ask(bookinfo, CURL, 'reviews').status)
            return answers
        answers = pool.submit(load)
        bookinfo.remove('40-policy.yaml')
        assert ask(bookinfo, SLEEP, 'productpage').status == 200
        assert ask(bookinfo, CURL, 'productpage', 'POST').status == 200
        bookinfo.remove('30-route.yaml')
        assert set(split(bookinfo, 200)) == {'reviews-v1', 'reviews-v2', 'reviews-v3'}
        running = False
        answers = answers.result()
    assert answers and set(answers) == {200}
