# SPDX-License-Identifier: Apache-2.0
"""One mistake at a time in every field of a full object of each kind.

A misspelt name, a value of another type and an unknown word must each be said in
one line, with file, line and object; and a misspelt field costs only itself: the
conf is the one that comes out without it.
"""

import concurrent.futures
import copy
import json
import subprocess

NS = 'shop'
GATEWAY_API, NETWORKING, SECURITY = 'gateway.networking.k8s.io/v1', 'networking.istio.io/v1', 'security.istio.io/v1'
OWN = 'policy.cairn.internal/v1alpha1'
WEB = {'group': '', 'kind': 'Service', 'name': 'web'}
BACKEND = {'group': '', 'kind': 'Service', 'name': 'next', 'namespace': NS, 'port': 80, 'weight': 2}
TRAFFIC = {
    'loadBalancer': {'consistentHash': {'httpCookie': {'name': 'user', 'ttl': '1h', 'path': '/'},
                                        'ringHash': {'minimumRingSize': 64}},
                     'localityLbSetting': {'enabled': True, 'distribute': [{'from': 'eu/*', 'to': {'eu/*': 100}}]}},
    'connectionPool': {'tcp': {'maxConnections': 100, 'connectTimeout': '1s', 'maxConnectionDuration': '1h', 'idleTimeout': '1m',
                               'tcpKeepalive': {'probes': 3, 'time': '60s', 'interval': '10s'}},
                       'http': {'http1MaxPendingRequests': 10, 'http2MaxRequests': 10, 'maxRequestsPerConnection': 5,
                                'maxRetries': 3, 'idleTimeout': '30s', 'h2UpgradePolicy': 'UPGRADE', 'useClientProtocol': True,
                                'maxConcurrentStreams': 50, 'http2KeepAlive': {'interval': '10s', 'timeout': '5s'}}},
    'outlierDetection': {'consecutive5xxErrors': 7, 'consecutiveGatewayErrors': 3, 'splitExternalLocalOriginErrors': True,
                         'consecutiveLocalOriginFailures': 4, 'interval': '5s', 'baseEjectionTime': '1m',
                         'maxEjectionPercent': 50, 'minHealthPercent': 20},
    'retryBudget': {'percent': 12.5, 'minRetryConcurrency': 5, 'budgetInterval': '5s'},
    'tls': {'mode': 'SIMPLE', 'sni': 'web.example', 'subjectAltNames': ['web.example']},
    'proxyProtocol': {'version': 'V2'},
}


def an_object(api, kind, name, spec, **more):
    return {'apiVersion': api, 'kind': kind, 'metadata': {'name': name, 'namespace': NS}, 'spec': spec, **more}


def service(name, ip, port, **spec):
    one = an_object('v1', 'Service', name, {'clusterIP': ip, 'ports': [port], **spec})
    one['metadata']['labels'] = {'istio.io/use-waypoint': 'waypoint'}
    return one


SELECTS = {'app': 'web'}
# What the others refer to; the kinds that are here stand for themselves too.
BASE = [
    an_object(GATEWAY_API, 'Gateway', 'waypoint', {'gatewayClassName': 'istio-waypoint', 'listeners': [
        {'name': 'mesh', 'port': 15008, 'protocol': 'HBONE', 'allowedRoutes': {'namespaces': {
            'from': 'Selector', 'selector': {'matchLabels': {'a': 'b'}, 'matchExpressions': [
                {'key': 'team', 'operator': 'In', 'values': ['red']}]}}}}]}),
    {'apiVersion': 'v1', 'kind': 'Namespace', 'metadata': {'name': NS, 'labels': {'a': 'b', 'team': 'red'}}},
    service('web', '10.0.0.1', {'name': 'http', 'port': 80, 'protocol': 'TCP', 'targetPort': 8080, 'appProtocol': 'http'},
            selector=SELECTS, type='ClusterIP', sessionAffinity='ClientIP', internalTrafficPolicy='Local',
            sessionAffinityConfig={'clientIP': {'timeoutSeconds': 60}}, publishNotReadyAddresses=True),
    service('next', '10.0.0.2', {'name': 'http', 'port': 80}),
    service('db', '10.0.0.3', {'name': 'tcp', 'port': 5432}),
    service('tls', '10.0.0.4', {'name': 'tls', 'port': 443}),
    {'apiVersion': 'discovery.k8s.io/v1', 'kind': 'EndpointSlice', 'addressType': 'IPv4',
     'metadata': {'name': 'db-1', 'namespace': NS, 'labels': {'kubernetes.io/service-name': 'db'}},
     'ports': [{'name': 'tcp', 'port': 5432, 'protocol': 'TCP'}],
     'endpoints': [{'addresses': ['10.1.0.9'], 'conditions': {'ready': True, 'serving': True, 'terminating': False}}]},
]
FULL = [
    an_object(GATEWAY_API, 'HTTPRoute', 'route', {'parentRefs': [{**WEB, 'namespace': NS, 'port': 80}], 'rules': [{
        'name': 'one',
        'matches': [{'path': {'type': 'Exact', 'value': '/a'}, 'method': 'GET',
                     'headers': [{'type': 'Exact', 'name': 'x', 'value': 'y'}],
                     'queryParams': [{'type': 'RegularExpression', 'name': 'q', 'value': 'v+'}]}],
        'filters': [
            {'type': 'RequestHeaderModifier', 'requestHeaderModifier': {
                'set': [{'name': 'a', 'value': 'b'}], 'add': [{'name': 'c', 'value': 'd'}], 'remove': ['e']}},
            {'type': 'RequestMirror', 'requestMirror': {'backendRef': {k: v for k, v in BACKEND.items() if k != 'weight'}, 'percent': 10}},
            {'type': 'URLRewrite', 'urlRewrite': {'hostname': 'h.example', 'path': {'type': 'ReplaceFullPath', 'replaceFullPath': '/b'}}},
            {'type': 'CORS', 'cors': {'allowOrigins': ['https://a.example'], 'allowMethods': ['GET'], 'allowHeaders': ['x'],
                                      'exposeHeaders': ['y'], 'maxAge': 5, 'allowCredentials': True}}],
        'timeouts': {'request': '10s', 'backendRequest': '2s'},
        'retry': {'attempts': 2, 'codes': [503], 'backoff': '10ms'},
        'sessionPersistence': {'sessionName': 's', 'type': 'Cookie', 'absoluteTimeout': '1h', 'idleTimeout': '1m',
                               'cookieConfig': {'lifetimeType': 'Permanent'}},
        'backendRefs': [BACKEND, {**WEB, 'port': 80, 'filters': [
            {'type': 'ResponseHeaderModifier', 'responseHeaderModifier': {'set': [{'name': 'a', 'value': 'b'}]}}]}],
    }, {'matches': [{'path': {'type': 'PathPrefix', 'value': '/r'}}], 'filters': [{'type': 'RequestRedirect', 'requestRedirect': {
        'scheme': 'https', 'hostname': 'h.example', 'port': 8443, 'statusCode': 301,
        'path': {'type': 'ReplacePrefixMatch', 'replacePrefixMatch': '/s'}}}]}]}),
    an_object(GATEWAY_API, 'GRPCRoute', 'grpc', {'parentRefs': [{**WEB, 'port': 80}], 'rules': [{
        'name': 'one', 'matches': [{'method': {'type': 'Exact', 'service': 'a.B', 'method': 'C'},
                                    'headers': [{'name': 'x', 'value': 'y'}]}],
        'filters': [{'type': 'RequestHeaderModifier', 'requestHeaderModifier': {'set': [{'name': 'a', 'value': 'b'}]}}],
        'backendRefs': [BACKEND]}]}),
    an_object(GATEWAY_API, 'TCPRoute', 'tcp', {'parentRefs': [{**WEB, 'name': 'db', 'port': 5432}], 'rules': [
        {'backendRefs': [{**BACKEND, 'name': 'db', 'port': 5432}]}]}),
    an_object(GATEWAY_API, 'TLSRoute', 'tls', {'parentRefs': [{**WEB, 'name': 'tls', 'port': 443}], 'hostnames': ['a.example'],
                                               'rules': [{'backendRefs': [{**BACKEND, 'name': 'tls', 'port': 443}]}]}),
    an_object(NETWORKING, 'VirtualService', 'vs', {'hosts': ['web'], 'gateways': ['mesh'], 'exportTo': ['*'], 'http': [{
        'name': 'one',
        'match': [{'name': 'm', 'uri': {'exact': '/v'}, 'scheme': {'exact': 'http'}, 'method': {'exact': 'GET'},
                   'authority': {'prefix': 'w'}, 'headers': {'x': {'exact': 'y'}}, 'withoutHeaders': {'z': {'exact': 'y'}},
                   'queryParams': {'q': {'exact': 'v'}}, 'ignoreUriCase': True, 'port': 80, 'gateways': ['mesh']}],
        'route': [{'destination': {'host': 'next', 'port': {'number': 80}}, 'weight': 90,
                   'headers': {'request': {'set': {'a': 'b'}}}},
                  {'destination': {'host': 'web', 'subset': 'v1'}, 'weight': 10}],
        'rewrite': {'uri': '/n', 'authority': 'h.example'}, 'timeout': '5s',
        'retries': {'attempts': 2, 'perTryTimeout': '1s', 'retryOn': '503', 'retryRemoteLocalities': True, 'backoff': '10ms'},
        'fault': {'delay': {'fixedDelay': '1s', 'percentage': {'value': 1}}, 'abort': {'httpStatus': 503, 'percentage': {'value': 1}}},
        'mirrors': [{'destination': {'host': 'next'}, 'percentage': {'value': 5}}],
        'corsPolicy': {'allowOrigins': [{'exact': 'https://a.example'}], 'allowMethods': ['GET'], 'allowHeaders': ['x'],
                       'exposeHeaders': ['y'], 'maxAge': '24h', 'allowCredentials': True, 'unmatchedPreflights': 'IGNORE'},
        'headers': {'request': {'set': {'a': 'b'}, 'add': {'c': 'd'}, 'remove': ['e']}, 'response': {'set': {'a': 'b'}}}},
        {'match': [{'uri': {'prefix': '/r'}}],
         'redirect': {'uri': '/x', 'authority': 'h.example', 'port': 8080, 'scheme': 'https', 'redirectCode': 302}},
        {'match': [{'uri': {'prefix': '/d'}}], 'directResponse': {'status': 503, 'body': {'string': 'no'}}}]}),
    an_object(NETWORKING, 'DestinationRule', 'dr', {
        'host': 'web', 'exportTo': ['*'], 'workloadSelector': {'matchLabels': {'gateway.networking.k8s.io/gateway-name': 'waypoint'}},
        'trafficPolicy': {'portLevelSettings': [
            {'port': {'number': 80}, 'loadBalancer': {'simple': 'ROUND_ROBIN',
                                                      'warmup': {'duration': '1m', 'minimumPercent': 5, 'aggression': 1.5}}}]},
        'subsets': [{'name': 'v1', 'labels': {'version': 'v1'}}]}),
    an_object(NETWORKING, 'DestinationRule', 'next', {'host': 'next', 'trafficPolicy': TRAFFIC}),
    an_object(NETWORKING, 'DestinationRule', 'db', {'host': 'db', 'trafficPolicy': {
        'tunnel': {'protocol': 'CONNECT', 'targetHost': 'a.example', 'targetPort': 5432}}}),
    an_object(NETWORKING, 'ServiceEntry', 'se', {
        'hosts': ['e.example'], 'addresses': ['10.9.0.1'], 'location': 'MESH_EXTERNAL', 'resolution': 'STATIC', 'exportTo': ['*'],
        'ports': [{'number': 80, 'name': 'http', 'protocol': 'HTTP', 'targetPort': 8080}], 'subjectAltNames': ['e.example'],
        'endpoints': [{'address': '192.0.2.1', 'ports': {'http': 8081}, 'labels': {'a': 'b'}, 'locality': 'eu/eu-1', 'weight': 2,
                       'network': 'n', 'serviceAccount': 'sa'}]}),
    an_object(NETWORKING, 'WorkloadEntry', 'we', {'address': '10.3.0.1', 'ports': {'http': 7000}, 'labels': SELECTS, 'weight': 2,
                                                  'locality': 'eu/eu-1', 'network': 'n', 'serviceAccount': 'vm'}),
    an_object(GATEWAY_API, 'BackendTLSPolicy', 'btp', {
        'targetRefs': [{'group': '', 'kind': 'Service', 'name': 'next', 'sectionName': 'http'}],
        'validation': {'hostname': 'next.example', 'wellKnownCACertificates': 'System',
                       'subjectAltNames': [{'type': 'Hostname', 'hostname': 'a.example'}]}}),
    an_object('gateway.networking.x-k8s.io/v1alpha1', 'XBackendTrafficPolicy', 'xb', {
        'targetRefs': [{'group': '', 'kind': 'Service', 'name': 'db'}],
        'retryConstraint': {'budget': {'percent': 25, 'interval': '5s'}, 'minRetryRate': {'count': 30, 'interval': '3s'}}}),
    an_object(SECURITY, 'AuthorizationPolicy', 'ap', {
        'action': 'DENY', 'targetRefs': [WEB],
        'rules': [{'from': [{'source': {'namespaces': ['a'], 'notPrincipals': ['b']}}],
                   'to': [{'operation': {'methods': ['GET'], 'paths': ['/a'], 'ports': ['80'], 'hosts': ['h']}}],
                   'when': [{'key': 'source.ip', 'values': ['10.0.0.0/8']}]}]}),
    an_object(OWN, 'RateLimitPolicy', 'rl', {
        'targetRefs': [{**WEB, 'sectionName': 'http'}],
        'local': [{'name': 'l', 'limit': {'requests': 10, 'interval': '1s', 'burst': 5}, 'maxKeys': 100, 'scope': 'Worker',
                   'key': [{'type': 'RemoteIP', 'prefixV4': 24, 'prefixV6': 64}, {'type': 'Header', 'name': 'x'}],
                   'match': [{'to': [{'operation': {'methods': ['GET']}}]}]}],
        'global': {'domain': 'd', 'service': {'name': 'next', 'namespace': NS, 'port': 80}, 'timeout': '20ms',
                   'failureMode': 'Deny', 'hits': 2, 'descriptors': [
                       {'entries': [{'key': 'k', 'type': 'Header', 'name': 'x', 'optional': True}], 'hits': 2,
                        'limitOverride': {'requests': 5, 'unit': 'Second'}}]},
        'response': {'status': 429, 'body': 'no', 'headers': [{'name': 'a', 'value': 'b'}], 'ratelimitHeaders': 'Draft03',
                     'grpcStatus': 'ResourceExhausted'}, 'mode': 'Shadow'}),
    an_object(OWN, 'FaultPolicy', 'fp', {
        'targetRefs': [WEB], 'faults': [{'delay': {'fixed': '1s', 'percentage': 1}, 'abort': {'httpStatus': 503, 'percentage': 2},
                                         'headers': [{'name': 'x', 'value': 'y'}]}]}),
]

# Maps whose keys are the user's own words.
FREE = {'labels', 'matchLabels', 'selector', 'set', 'add', 'headers', 'withoutHeaders', 'queryParams', 'to', 'ports', 'data'}
TYPO = 'zq'  # put in front of a name: no other field has it


def fields(value, path=()):
    """(path, value) of every field that the API names."""
    if isinstance(value, list):
        for i, one in enumerate(value):
            yield from fields(one, (*path, i))
    elif isinstance(value, dict):
        free = path and path[-1] in FREE
        for key, inner in value.items():
            if not free and key not in ('apiVersion', 'kind', 'metadata'):
                yield (*path, key), inner
            yield from fields(inner, (*path, key)) if key != 'metadata' else ()


def changed(one, path, key, value):
    """The object with the field renamed to key and set to value; key None: without it."""
    made = copy.deepcopy(one)
    at = made
    for step in path[:-1]:
        at = at[step]
    items = list(at.items())
    at.clear()
    at.update({(key or k) if k == path[-1] else k: value if k == path[-1] else v
               for k, v in items if k != path[-1] or key is not None})
    return made


class Run:
    """cairn-gen on the base, with one object in another form."""

    def __init__(self, gen):
        self.gen = gen

    def __call__(self, index, made):
        objects = [*BASE, *FULL]
        if index is not None:
            objects[index] = made
        text = json.dumps({'apiVersion': 'v1', 'kind': 'List', 'items': objects}, indent=1)
        done = subprocess.run([str(self.gen), 'render', '-f', '-', '-w', 'shop/waypoint'], input=text, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr.splitlines(), text.splitlines()


# Fields whose text is one of a few words, or has a form of its own.
WORDS = {'type', 'from', 'protocol', 'operator', 'h2UpgradePolicy', 'simple', 'mode', 'version', 'resolution', 'action', 'scope',
         'failureMode', 'unit', 'ratelimitHeaders', 'grpcStatus', 'lifetimeType', 'unmatchedPreflights', 'sessionAffinity',
         'internalTrafficPolicy', 'addressType', 'scheme', 'timeout', 'request', 'backendRequest', 'interval', 'duration', 'kind'}
# "Zq" is right there, or nobody reads it.
RIGHT = {('Service', 'type'), ('Service', 'targetPort'), ('EndpointSlice', 'serving'), ('DestinationRule', 'from')}


def name_of(one):
    return '%s %s' % (one['kind'], one['metadata']['name'] if one['kind'] in ('Namespace',) else
                      '%s/%s' % (NS, one['metadata']['name']))


def is_rule(one, path):
    """Conditions of policies and matches: what is not understood there never holds, which is more than no effect."""
    return (one['kind'] == 'AuthorizationPolicy' and 'rules' in path) or 'match' in path or 'allowOrigins' in path


def misspelt(run, index, one, path, value):
    key = TYPO + path[-1]
    code, conf, said, text = run(index, changed(one, path, key, value))
    without = run(index, changed(one, path, None, None))
    line = next(i for i, t in enumerate(text, 1) if '"%s"' % key in t)
    mine = [s for s in said if '%s: ' % name_of(one) in s]
    if is_rule(one, path):
        return '' if mine and code == 0 else 'is not said'
    if [s.startswith('stdin:%d: warning: %s: ' % (line, name_of(one))) for s in mine if key in s] != [True]:
        return 'is said in another way'
    return '' if (code, conf) == without[:2] else 'costs more than itself'


def misshapen(run, index, one, path, value):
    wrong = {TYPO: 1} if not isinstance(value, dict) else [TYPO]
    code, _, said, text = run(index, changed(one, path, path[-1], wrong))
    line = next(i for i, t in enumerate(text, 1) if '"%s"' % TYPO in t or t.strip() == '"%s"' % TYPO) - 1
    mine = [s for s in said if '%s: ' % name_of(one) in s]
    if is_rule(one, path):
        return '' if mine and code == 0 else 'is not said'
    exact = [s for s in mine if s.startswith('stdin:%d: ' % line) and path[-1] in s]
    return '' if len(exact) == 1 and (code == 0 or path == ('spec',)) else 'is not said in one line'


def of_another_kind(run, index, one, path, value):
    if isinstance(value, (list, dict)) or (one['kind'], path[-1]) in RIGHT:
        return ''
    if isinstance(value, str) and path[-1] not in WORDS:
        return ''
    code, _, said, _ = run(index, changed(one, path, path[-1], 'Zq'))
    mine = [s for s in said if '%s: ' % name_of(one) in s]
    return '' if mine and code == 0 else 'is not said'


def check(gen, every=1):
    """(what is wrong, '' if nothing; how many mistakes were made), of every so many of them"""
    run, problems = Run(gen), []
    silent = run(None, None)
    if silent[0] or silent[2]:
        return 'without a mistake: ' + '\n'.join(silent[2]), 0
    jobs = [(make, i, one, path, value) for i, one in enumerate([*BASE, *FULL]) for path, value in fields(one)
            for make in (misspelt, misshapen, of_another_kind)][::every]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for (make, _, one, path, _), problem in zip(jobs, pool.map(lambda job: job[0](run, *job[1:]), jobs)):
            # nothing can be rendered without the waypoint itself
            if problem and (one['kind'], path) != ('Gateway', ('spec',)):
                problems.append('%s, %s: %s %s' % (name_of(one), '.'.join(map(str, path)), make.__name__, problem))
    return '\n'.join(problems), len(jobs)
