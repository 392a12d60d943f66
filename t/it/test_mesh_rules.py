# SPDX-License-Identifier: Apache-2.0
"""The rules of the Gateway API for a mesh, told again: routes as people write them, rendered by cairn-gen, met by
real requests.  `cairn explain` must say the same of each.

Every test has a Service of its own at one waypoint, so that no route meets another's requests.
"""

import collections
import math
import subprocess
import textwrap

import pytest

from peers import net, origin, proxy

PORT = 9080
WORLD = """
apiVersion: v1
kind: Namespace
metadata: {name: mesh, labels: {istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: mesh}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
"""
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: %(name)s, namespace: %(ns)s}
spec:
  clusterIP: %(ip)s
  selector: {app: %(app)s}
  ports: [{name: http, port: 80, targetPort: 9080}, {name: http-alt, port: 8080, targetPort: 9080}]
"""
POD = """
---
apiVersion: v1
kind: Pod
metadata: {name: %(name)s, namespace: %(ns)s, labels: {app: %(name)s}}
spec: {serviceAccountName: %(name)s}
status: {podIP: %(ip)s}
"""
ROUTE = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %(name)s, namespace: %(ns)s}
spec:
  parentRefs: [{group: "", kind: Service, name: %(parent)s, namespace: mesh%(port)s}]
  rules:
%(rules)s
"""
ADDRESSES = {name: '10.97.0.%d' % i for i, name in enumerate((
    'matching', 'precedence', 'ports', 'query', 'redirects', 'rewrites', 'weights', 'names', 'consumers', 'headers', 'invalid',
    'split', 'methods'), 1)}


def route(name, rules, parent=None, ns='mesh', port=None):
    return ROUTE % {'name': name, 'ns': ns, 'parent': parent or name, 'port': ', port: %d' % port if port else '',
                    'rules': textwrap.indent(textwrap.dedent(rules).strip(), '  ')}


def to(*backends):
    return 'backendRefs: [%s]' % ', '.join('{name: %s, port: 80}' % b for b in backends)


def rules(*pairs):
    """(matches, backend) pairs as rules."""
    return '\n'.join('- matches: [%s]\n  %s' % (matches, to(backend)) for matches, backend in pairs)


MATCHING = rules(('{path: {type: PathPrefix, value: /}}, {headers: [{name: version, value: one}]}', 'v1'),
                 ('{path: {type: PathPrefix, value: /v2}}, {headers: [{name: version, value: two}]}', 'v2'))
# Written from the least to the most specific: the order of the file must not matter.
PRECEDENCE = rules(('{path: {value: /}}', 'v1'), ('{path: {value: /a}, queryParams: [{name: q, value: "1"}]}', 'v2'),
                   ('{path: {value: /a}, headers: [{name: x, value: "1"}]}', 'v3'), ('{path: {value: /a}, method: PUT}', 'v1'),
                   ('{path: {value: /a}, headers: [{name: x, value: "1"}, {name: y, value: "1"}]}', 'v2'),
                   ('{path: {value: /a/longer}}', 'v3'), ('{path: {type: Exact, value: /a/longer/exact}}', 'v2'))
QUERY = rules(('{queryParams: [{name: animal, value: whale}]}', 'v1'), ('{queryParams: [{name: animal, value: dolphin}]}', 'v2'),
              ('{queryParams: [{name: animal, value: dolphin}, {name: colour, value: blue}]}', 'v3'),
              ('{queryParams: [{type: RegularExpression, name: shape, value: "round|flat"}]}', 'v3'))
METHODS = rules(('{method: POST}', 'v1'), ('{method: GET}', 'v2'))
REDIRECTS = """
- matches: [{path: {value: /host-and-status}}]
  filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, statusCode: 301}}]
- matches: [{path: {value: /scheme}}]
  filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]
- matches: [{path: {value: /scheme-and-port}}]
  filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: example.org, port: 8443}}]
- matches: [{path: {value: /port-of-scheme}}]
  filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: example.org, port: 443}}]
- matches: [{path: {value: /port}}]
  filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, port: 8083, statusCode: 302}}]
- matches: [{path: {value: /original-prefix}}]
  filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
- matches: [{path: {value: /strip}}]
  filters: [{type: RequestRedirect, requestRedirect: {hostname: example.org, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
- matches: [{path: {value: /full}}]
  filters: [{type: RequestRedirect, requestRedirect: {statusCode: 308, path: {type: ReplaceFullPath, replaceFullPath: /all/new}}}]
"""
REWRITES = """
- matches: [{path: {value: /prefix/one}}]
  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}}}]
  %s
- matches: [{path: {value: /strip-prefix}}]
  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
  %s
- matches: [{path: {value: /full}}]
  filters: [{type: URLRewrite, urlRewrite: {hostname: one.example.org, path: {type: ReplaceFullPath, replaceFullPath: /all}}}]
  %s
- matches: [{path: {value: /host}}]
  filters: [{type: URLRewrite, urlRewrite: {hostname: two.example.org}}]
  %s
""" % ((to('v1'),) * 4)
HEADERS = """
- matches: [{path: {value: /request}}]
  filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Set, value: new}], add: [{name: X-Add, value: more}], remove: [X-Gone]}}]
  %s
- matches: [{path: {value: /response}}]
  filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Pod, value: hidden}], add: [{name: X-Add, value: more}]}}]
  %s
""" % (to('v1'), to('v1'))
WEIGHTS = '- backendRefs: [{name: v1, port: 80, weight: 70}, {name: v2, port: 80, weight: 30}, {name: v3, port: 80, weight: 0}]'
NAMES = """
- name: the-first
  matches: [{path: {value: /first}}]
  %s
- matches: [{path: {value: /unnamed}}]
  %s
""" % (to('v1'), to('v1'))
INVALID = """
- matches: [{path: {value: /missing}}]
  %s
- matches: [{path: {value: /half}}]
  backendRefs: [{name: v1, port: 80, weight: 1}, {name: gone, port: 80, weight: 1}]
- matches: [{path: {value: /none}}]
- matches: [{path: {value: /other-namespace}}]
  backendRefs: [{name: far, namespace: far, port: 80}]
- matches: [{path: {value: /filter}}]
  filters: [{type: ExtensionRef, extensionRef: {group: x.example, kind: Y, name: z}}]
  %s
""" % (to('gone'), to('v1'))


class Mesh(proxy.Cairn):
    def __init__(self, builddir, folder, identity):
        super().__init__(builddir / 'cairn', folder / 'conf', identity, arguments=['-g', 'daemon off; drain_delay 0;'])
        self.pods = {name: origin.Origin(name, port=PORT) for name in ('v1', 'v2', 'v3', 'far')}
        (folder / 'mesh.yaml').write_text('accessLogFile: %s\naccessLogEncoding: JSON\n' % self.access_path)
        done = subprocess.run([
            str(builddir / 'cairn-gen'), 'render', '-f', '-', '-w', 'mesh/waypoint', '-o', self.folder, '--bind', self.ip, '--mesh-config',
            folder / 'mesh.yaml', '--cert', identity.cert, '--key', identity.key, '--roots', identity.roots],
            input=self.manifests(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.said = done.stderr

    def write(self, *_):
        """Its configuration is rendered."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def manifests(self):
        text = WORLD + ''.join(SERVICE % {'name': n, 'ns': 'mesh', 'ip': ip, 'app': 'v1'} for n, ip in ADDRESSES.items())
        for i, (name, pod) in enumerate(self.pods.items()):
            ns = 'far' if name == 'far' else 'mesh'
            text += POD % {'name': name, 'ns': ns, 'ip': pod.ip} + SERVICE % {'name': name, 'ns': ns, 'ip': '10.98.0.%d' % i, 'app': name}
        text += ''.join(route(*both) for both in (
            ('matching', MATCHING), ('precedence', PRECEDENCE), ('query', QUERY), ('methods', METHODS), ('redirects', REDIRECTS),
            ('rewrites', REWRITES), ('headers', HEADERS), ('weights', WEIGHTS), ('names', NAMES), ('invalid', INVALID)))
        text += route('ports-80', '- ' + to('v1'), 'ports', port=80) + route('ports-8080', '- ' + to('v2'), 'ports', port=8080)
        # two routes for one Service are one list
        text += route('split-1', rules(('{path: {value: /}}', 'v1')), 'split') + route('split-2', rules(('{path: {value: /deep}}', 'v2')), 'split')
        text += route('consumers', '- ' + to('v1')) + route('of-clients', rules(('{path: {value: /mine}}', 'v2')).replace(
            'name: v2', 'name: v2, namespace: mesh'), 'consumers', ns='default')
        return text

    def ask(self, identity, service, path='/', port=80, **options):
        return self.request(identity, '%s:%d' % (ADDRESSES[service], port), path=path, **options)

    def stop(self, *args, **options):
        for pod in self.pods.values():
            pod.stop()
        return super().stop(*args, **options)


@pytest.fixture(scope='module')
def mesh(builddir, tmp_path_factory, waypoint_identity):
    one = Mesh(builddir, tmp_path_factory.mktemp('mesh'), waypoint_identity)
    try:
        yield one.start()
    finally:
        said = one.stop()
    assert said == ''


TABLE = [
    ('matching', [('/', {}, 'v1'), ('/example', {}, 'v1'), ('/', {'version': 'one'}, 'v1'), ('/v2', {}, 'v2'), ('/v2/example', {}, 'v2'),
                  ('/', {'version': 'two'}, 'v2'), ('/v2/', {}, 'v2'), ('/v2example', {}, 'v1'), ('/foo/v2/example', {}, 'v1')]),
    ('precedence', [('/', {}, 'v1'), ('/a', {}, 'v1'), ('/a?q=1', {}, 'v2'), ('/a', {'x': '1'}, 'v3'), ('/a?q=1', {'x': '1'}, 'v3'),
                    ('/a', {'x': '1', 'y': '1'}, 'v2'), ('/a/longer', {'x': '1', 'y': '1'}, 'v3'), ('/a/longer/exact', {}, 'v2'),
                    ('/a/longer/exact/not', {}, 'v3'), ('/a/longerer', {}, 'v1')]),
    ('query', [('/?animal=whale', {}, 'v1'), ('/?animal=dolphin', {}, 'v2'), ('/?animal=dolphin&colour=blue', {}, 'v3'),
               ('/?colour=blue&animal=dolphin', {}, 'v3'), ('/?animal=dolphin&colour=red', {}, 'v2'), ('/?ANIMAL=whale', {}, None),
               ('/?animal=shark', {}, None), ('/?shape=flat', {}, 'v3'), ('/?shape=flatter', {}, None), ('/', {}, None)]),
    ('split', [('/', {}, 'v1'), ('/deep/er', {}, 'v2')]),
]


@pytest.mark.parametrize('service,asked', TABLE, ids=[name for name, _ in TABLE])
def test_matches_and_their_precedence(mesh, curl, service, asked):
    for path, headers, pod in asked:
        answer = mesh.ask(curl, service, path, headers=headers)
        assert (answer.status, answer.header('x-pod')) == ((200, pod) if pod else (404, None)), (path, headers)
        lines = [word for name, value in headers.items() for word in ('-H', '%s: %s' % (name, value))]
        told = mesh.explain(curl, '%s:80' % ADDRESSES[service], 'GET', path, *lines)
        expected = 'verdict     allowed: to cluster %s.mesh:80' % pod if pod else 'verdict     no route (404)'
        assert expected in told, told


def test_methods_match_and_go_before_headers(mesh, curl):
    asked = [('methods', 'POST', {}, 'v1'), ('methods', 'GET', {}, 'v2'), ('methods', 'PUT', {}, None),
             ('precedence', 'PUT', {'x': '1', 'y': '1'}, 'v1')]
    for service, method, headers, pod in asked:
        answer = mesh.ask(curl, service, '/a', method=method, headers=headers)
        assert (answer.status, answer.header('x-pod')) == ((200, pod) if pod else (404, None)), (service, method)


def test_a_routes_port_is_the_services(mesh, curl):
    assert mesh.ask(curl, 'ports', port=80).header('x-pod') == 'v1'
    assert mesh.ask(curl, 'ports', port=8080).header('x-pod') == 'v2'
    assert mesh.ask(curl, 'matching', '/v2', port=8080).header('x-pod') == 'v2'  # a route without a port is for all


@pytest.mark.parametrize('path,port,status,location', [
    ('/host-and-status', 80, 301, 'http://example.org/host-and-status'),
    ('/host-and-status/x?q=1', 80, 301, 'http://example.org/host-and-status/x?q=1'),
    ('/host-and-status', 8080, 301, 'http://example.org:8080/host-and-status'),
    ('/scheme', 80, 302, 'https://HOST/scheme'),
    ('/scheme', 8080, 302, 'https://HOST/scheme'),
    ('/scheme-and-port', 80, 302, 'https://example.org:8443/scheme-and-port'),
    ('/port-of-scheme', 8080, 302, 'https://example.org/port-of-scheme'),
    ('/port', 80, 302, 'http://example.org:8083/port'),
    ('/original-prefix', 80, 302, 'http://example.org/new'),
    ('/original-prefix/lemon?a=b', 80, 302, 'http://example.org/new/lemon?a=b'),
    ('/strip/lemon', 80, 302, 'http://example.org/lemon'),
    ('/strip', 80, 302, 'http://example.org/'),
    ('/full/lemon?a=b', 8080, 308, 'http://HOST:8080/all/new?a=b'),
])
def test_redirects_name_the_place(mesh, curl, path, port, status, location):
    answer = mesh.ask(curl, 'redirects', path, port=port)
    location = location.replace('HOST', ADDRESSES['redirects'])
    assert (answer.status, answer.header('location')) == (status, location)
    assert 'redirect: %d to %s' % (status, location) in mesh.explain(curl, '%s:%d' % (ADDRESSES['redirects'], port), 'GET', path)


@pytest.mark.parametrize('path,seen,host', [
    ('/prefix/one', '/one', None), ('/prefix/one/two?q=1', '/one/two?q=1', None), ('/prefix/one/', '/one/', None),
    ('/strip-prefix/three', '/three', None), ('/strip-prefix', '/', None),
    ('/full/x?q=1', '/all?q=1', 'one.example.org'), ('/host/x', '/host/x', 'two.example.org')])
def test_rewrites_change_what_the_pod_sees(mesh, curl, path, seen, host):
    assert mesh.ask(curl, 'rewrites', path).status == 200
    request = mesh.pods['v1'].requests[-1]
    headers = dict(request.headers)
    assert request.path == seen
    assert headers['host'] == (host or '%s:80' % ADDRESSES['rewrites'])
    assert headers.get('x-envoy-original-path') == (path if path != seen else None)


def test_header_filters_set_add_and_remove(mesh, curl):
    mesh.ask(curl, 'headers', '/request', headers={'x-set': 'old', 'x-add': 'first', 'x-gone': 'y', 'x-kept': 'z'})
    lines = collections.defaultdict(list)
    for name, value in mesh.pods['v1'].requests[-1].headers:
        lines[name].append(value)
    assert {k: lines[k] for k in ('x-set', 'x-gone', 'x-kept')} == {'x-set': ['new'], 'x-gone': [], 'x-kept': ['z']}
    assert ','.join(lines['x-add']) == 'first,more'
    answer = mesh.ask(curl, 'headers', '/response')
    assert (answer.header('x-pod'), answer.header('x-add')) == ('hidden', 'more')


def test_weights_are_shares_of_the_requests(mesh, curl):
    n = 600
    with mesh.connection(curl) as connection:
        tunnel = connection.connect('%s:80' % ADDRESSES['weights'])
        seen = collections.Counter(tunnel.request('GET', '/', host='weights').header('x-pod') for _ in range(n))
    print('weights 70, 30, 0 over %d requests: %s' % (n, dict(seen)))
    assert seen['v1'] + seen['v2'] == n
    assert abs(seen['v1'] - 0.7 * n) <= 5 * math.sqrt(n * 0.7 * 0.3)  # one run in two million is further off


def test_rules_have_their_names_in_the_log(mesh, curl):
    for path in ('/first', '/unnamed'):
        assert mesh.ask(curl, 'names', path).status == 200
    mine = {}

    def both():
        mine.update((line['path'], line['route_name']) for line in mesh.access() if line['path'] in ('/first', '/unnamed'))
        return len(mine) == 2
    net.wait_for(both, 10.0, 'their lines in the access log')
    assert mine == {'/first': 'the-first', '/unnamed': 'mesh.names.1'}


def test_a_clients_route_is_for_its_namespace_alone(mesh, curl, pki):
    other = pki.identity('other', 'client')
    assert mesh.ask(curl, 'consumers', '/mine').header('x-pod') == 'v2'
    assert mesh.ask(curl, 'consumers', '/').status == 404  # its own routes stand in place of the Service's
    assert [mesh.ask(other, 'consumers', path).header('x-pod') for path in ('/mine', '/')] == ['v1', 'v1']


def test_what_is_invalid_costs_its_own_share(mesh, curl):
    assert [mesh.ask(curl, 'invalid', path).status for path in ('/missing', '/none', '/filter')] == [500, 500, 500]
    assert mesh.ask(curl, 'invalid', '/other-namespace').header('x-pod') == 'far'
    seen = collections.Counter(mesh.ask(curl, 'invalid', '/half').status for _ in range(60))
    assert set(seen) == {200, 500}
    for said in ('Service mesh/gone does not exist, so its share answers 500', 'has no backend with a weight, so it answers 500',
                 'ExtensionRef: not supported here, so this rule answers 500'):
        assert said in mesh.said
