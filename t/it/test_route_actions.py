# SPDX-License-Identifier: Apache-2.0
"""What routes do beside choosing a backend: header edits, redirects, rewrites, answers, CORS.

One table, put to cairn and to a real Envoy with an equivalent configuration.
"""

import pytest

from peers import alike, chain, envoy as envoys, net, proxy
from peers.alike import Ask, Row
from peers.http import Http, Plain

VIP = '10.96.0.1:9080'
SERVICE = 'svc.ns:9080'
OTHER = 'other.ns:9080'
TO = 'backend %s;' % SERVICE
FORWARD = {'cluster': SERVICE, 'timeout': '0s'}
SEGMENTS = 'match { path prefix PATH; } '
TEXT = 'match { path text_prefix PATH; } '


def segments(**action):
    return {'match': {'path_separated_prefix': 'PATH'}, **action}


def text(**action):
    return {'match': {'prefix': 'PATH'}, **action}


def strip_prefix():
    """How istiod says ReplacePrefixMatch: /."""
    return {**FORWARD, 'regex_rewrite': {'pattern': {'regex': '^PATH(/?)(.*)'}, 'substitution': '/\\2'}}


# ---- header edits ----

ORDER = 'removed first, then set or added in the order of the list'
EDITS = [
    Row('request edits', SEGMENTS + """
        request_header add x-b 2;
        request_header set x-a new;
        request_header remove x-b;
        request_header remove X-C;
        request_header add x-d 2;
        """ + TO,
        segments(route=FORWARD, request_headers_to_remove=['x-b', 'x-c'],
                 request_headers_to_add=[chain.put('x-b', '2', add=True), chain.put('x-a', 'new'), chain.put('x-d', '2', add=True)]),
        Ask({'status': 200, 'x_a': 'new', 'x_b': '2', 'x_c': None, 'x_d': '2'}),
        Ask({'x_a': 'new', 'x_b': '2', 'x_c': None, 'x_d': '1 | 2'},
            headers=[('X-A', '1'), ('x-b', '1'), ('x-c', '1'), ('x-d', '1'), ('x-a', '2'), ('x-c', '3')])),
    Row('Host in set rewrites the host', SEGMENTS + 'request_header set Host new.example; ' + TO,
        segments(route={**FORWARD, 'host_rewrite_literal': 'new.example'}),
        Ask({'status': 200, 'host': 'new.example', 'x_envoy_original_host': 'svc:9080'})),
    Row('response edits', SEGMENTS + """
        response_header set x-pod edited;
        response_header add x-more 1;
        response_header add x-more 2;
        response_header remove content-type;
        """ + TO,
        segments(route=FORWARD, response_headers_to_remove=['content-type'],
                 response_headers_to_add=[chain.put('x-pod', 'edited'), chain.put('x-more', '1', add=True),
                                          chain.put('x-more', '2', add=True)]),
        Ask({'status': 200, 'x-pod!': 'edited', 'x-more!': '1 | 2', 'content-type': None})),
    Row('a removed header that the proxy itself adds', SEGMENTS + 'request_header remove x-request-id; ' + TO,
        segments(route=FORWARD, request_headers_to_remove=['x-request-id']),
        Ask({'status': 200, 'x_request_id': None})),
]

# Replies of the proxy are edited as well, whoever gave them.
MARK = 'response_header set x-edited yes; '
MARKED = {'response_headers_to_add': [chain.put('x-edited', 'yes')]}
EDITED = [
    Row('edited: direct response', SEGMENTS + MARK + 'direct_response 200 hello;',
        segments(direct_response={'status': 200, 'body': {'inline_string': 'hello'}}, **MARKED),
        Ask({'status': 200, 'x-edited!': 'yes', 'body': 'hello'})),
    Row('edited: redirect', SEGMENTS + MARK + 'redirect path=/x;',
        segments(redirect={'path_redirect': '/x'}, **MARKED),
        Ask({'status': 301, 'x-edited!': 'yes'})),
    Row('edited: no endpoint', SEGMENTS + MARK + 'backend empty.ns:9080;',
        segments(route={'cluster': 'empty.ns:9080'}, **MARKED),
        Ask({'status': 503, 'x-edited!': 'yes', 'body': 'no healthy upstream', 'flags': 'UH', 'details': 'no_healthy_upstream'})),
    Row('edited: no cluster', SEGMENTS + MARK + 'backend nowhere.ns:9080;',
        segments(route={'cluster': 'nowhere.ns:9080'}, **MARKED),
        Ask({'status': 503, 'x-edited!': 'yes', 'body': '', 'flags': 'NC', 'details': 'cluster_not_found'})),
    Row('edited: no cluster, 500', SEGMENTS + MARK + 'backend nowhere.ns:9080 missing=500;',
        segments(route={'cluster': 'nowhere.ns:9080', 'cluster_not_found_response_code': 'INTERNAL_SERVER_ERROR'}, **MARKED),
        Ask({'status': 500, 'x-edited!': 'yes', 'body': '', 'flags': 'NC', 'details': 'cluster_not_found'})),
    Row('edited: fault', SEGMENTS + MARK + 'fault abort 418 percent=100; ' + TO,
        segments(route=FORWARD, typed_per_filter_config=chain.fault(
            abort={'http_status': 418, 'percentage': chain.percent(100)}), **MARKED),
        Ask({'status': 418, 'x-edited!': 'yes', 'body': 'fault filter abort', 'flags': 'FI', 'details': 'fault_filter_abort'})),
    Row('edited: denied', SEGMENTS + MARK + TO, segments(route=FORWARD, **MARKED),
        Ask({'status': 403, 'x-edited!': 'yes', 'body': 'RBAC: access denied'}, headers={'x-deny': '1'})),
]

# ---- redirects ----

HOST_PORT = 'the port rule of Gateway API: a given scheme brings its own port; Envoy keeps the one in Host'
REDIRECTS = [
    Row('redirect: nothing given', SEGMENTS + 'redirect;', segments(redirect={'port_redirect': 9080}),
        Ask({'status': 301, 'location': 'http://svc:9080PATH/x?y=1', 'body': '', 'flags': '-', 'details': 'direct_response', 'pod': None}, '/x?y=1'),
        Ask({'location': 'http://svc:9080PATH'}, host='svc'),
        Ask({'location': 'http://[::1]:9080PATH'}, host='[::1]'),
        Ask({'location': 'http://[::1]:9080PATH'}, host='[::1]:80')),
    Row('redirect: scheme', SEGMENTS + 'redirect scheme=https;', segments(redirect={'scheme_redirect': 'https'}),
        Ask({'location': 'https://svcPATH/x'}, '/x', envoy={'location': 'https://svc:9080PATH/x'}, why=HOST_PORT),
        Ask({'location': 'https://svcPATH'}, host='svc:80'),
        Ask({'location': 'https://svcPATH'}, host='svc')),
    Row('redirect: scheme, port of the host kept', SEGMENTS + 'redirect scheme=https port=host;',
        segments(redirect={'scheme_redirect': 'https'}),
        Ask({'location': 'https://svc:9080PATH'}),
        Ask({'location': 'https://svcPATH'}, host='svc:80'),
        Ask({'location': 'https://[::1]PATH'}, host='[::1]:80')),
    Row('redirect: host, no port', SEGMENTS + 'redirect host=new.example port=host;',
        segments(redirect={'host_redirect': 'new.example'}),
        Ask({'location': 'http://new.examplePATH/x?y'}, '/x?y')),
    Row('redirect: host', SEGMENTS + 'redirect host=new.example;',
        segments(redirect={'host_redirect': 'new.example', 'port_redirect': 9080}),
        Ask({'location': 'http://new.example:9080PATH'})),
    Row('redirect: port 80 of http is left out', SEGMENTS + 'redirect host=new.example port=80;',
        segments(redirect={'host_redirect': 'new.example'}), Ask({'location': 'http://new.examplePATH'})),
    Row('redirect: port 443 of https is left out', SEGMENTS + 'redirect scheme=https port=443;',
        segments(redirect={'scheme_redirect': 'https', 'host_redirect': 'svc'}), Ask({'location': 'https://svcPATH'})),
    Row('redirect: port 80 of https is not', SEGMENTS + 'redirect scheme=https port=80;',
        segments(redirect={'scheme_redirect': 'https', 'port_redirect': 80}), Ask({'location': 'https://svc:80PATH'})),
    Row('redirect: port', SEGMENTS + 'redirect port=8080 status=302;',
        segments(redirect={'port_redirect': 8080, 'response_code': 'FOUND'}),
        Ask({'status': 302, 'location': 'http://svc:8080PATH'}),
        Ask({'location': 'http://[::1]:8080PATH'}, host='[::1]')),
    Row('redirect: path', SEGMENTS + 'redirect port=service path=/new status=303;',
        segments(redirect={'port_redirect': 9080, 'path_redirect': '/new', 'response_code': 'SEE_OTHER'}),
        Ask({'status': 303, 'location': 'http://svc:9080/new?q=1'}, '/x?q=1'),
        Ask({'location': 'http://svc:9080/new?'}, '/x?')),
    Row('redirect: path with a query of its own', SEGMENTS + 'redirect port=service path=/new?a=b status=307;',
        segments(redirect={'port_redirect': 9080, 'path_redirect': '/new?a=b', 'response_code': 'TEMPORARY_REDIRECT'}),
        Ask({'status': 307, 'location': 'http://svc:9080/new?a=b'}, '/x?q=1')),
    Row('redirect: prefix', SEGMENTS + 'redirect port=service path_prefix=/new status=308;',
        segments(redirect={'port_redirect': 9080, 'prefix_rewrite': '/new', 'response_code': 'PERMANENT_REDIRECT'}),
        Ask({'status': 308, 'location': 'http://svc:9080/new/x/y?q=1'}, '/x/y?q=1'),
        Ask({'location': 'http://svc:9080/new'}),
        Ask({'location': 'http://svc:9080/new/'}, '/')),
    Row('redirect: for POST', SEGMENTS + 'redirect status=308;', segments(redirect={'port_redirect': 9080, 'response_code': 'PERMANENT_REDIRECT'}),
        Ask({'status': 308, 'location': 'http://svc:9080PATH'}, method='POST', body=b'x')),
    Row('redirect: for gRPC', SEGMENTS + 'redirect;', segments(redirect={'port_redirect': 9080}),
        Ask({'status': 200, 'location': 'http://svc:9080PATH', 'grpc-status': '2'}, method='POST',
            headers={'content-type': 'application/grpc'})),
]

# ---- rewrites ----

ONE_SLASH = 'the table of ReplacePrefixMatch in Gateway API: one / at the joint; a plain prefix_rewrite is text'


def replace_prefix(to, *table):
    """The table in Gateway API's HTTPPathModifier."""
    asks = [Ask({'status': 200, 'path': path}, rest, envoy={'path': there} if there != path else None, why=ONE_SLASH)
            for rest, path, there in table]
    return Row('rewrite: prefix becomes %s' % (to or 'nothing'), SEGMENTS + 'rewrite_prefix "%s"; ' % to + TO,
               segments(route={**FORWARD, 'prefix_rewrite': to} if to.strip('/') else strip_prefix()), *asks)


REWRITES = [
    Row('rewrite: host', SEGMENTS + 'rewrite_host new.example; ' + TO, segments(route={**FORWARD, 'host_rewrite_literal': 'new.example'}),
        Ask({'status': 200, 'host': 'new.example', 'path': 'PATH/x', 'x_envoy_original_host': 'svc:9080', 'x_envoy_original_path': None,
             'x_forwarded_host': None}, '/x')),
    Row('rewrite: path', SEGMENTS + 'rewrite_path /new; ' + TO,
        segments(route={**FORWARD, 'regex_rewrite': {'pattern': {'regex': '^.*$'}, 'substitution': '/new'}}),
        Ask({'status': 200, 'path': '/new?q=1', 'host': 'svc:9080', 'x_envoy_original_path': 'PATH/x?q=1', 'x_envoy_original_host': None}, '/x?q=1'),
        Ask({'path': '/new'})),
    replace_prefix('/new', ('/x?q', '/new/x?q', '/new/x?q'), ('', '/new', '/new'), ('/', '/new/', '/new/')),
    replace_prefix('/new/', ('/x', '/new/x', '/new//x'), ('', '/new', '/new/'), ('/', '/new/', '/new//')),
    replace_prefix('', ('/x', '/x', '/x'), ('', '/', '/'), ('/', '/', '/')),
    replace_prefix('/', ('/x', '/x', '/x'), ('', '/', '/'), ('/', '/', '/')),
    Row('rewrite: text prefix', TEXT + 'rewrite_prefix /new; ' + TO, text(route={**FORWARD, 'prefix_rewrite': '/new'}),
        Ask({'path': '/newx?q=1', 'x_envoy_original_path': 'PATHx?q=1'}, 'x?q=1'), Ask({'path': '/new/x'}, '/x'), Ask({'path': '/new'})),
    Row('rewrite: text prefix becomes /', TEXT + 'rewrite_prefix /; ' + TO, text(route={**FORWARD, 'prefix_rewrite': '/'}),
        Ask({'path': '/x'}, 'x'), Ask({'path': '//x'}, '/x'), Ask({'path': '/'})),
    Row('rewrite: prefix of an exact path', 'match { path exact PATH/e; } rewrite_prefix /new; ' + TO,
        {'match': {'path': 'PATH/e'}, 'route': {**FORWARD, 'prefix_rewrite': '/new'}}, Ask({'path': '/new?q'}, '/e?q')),
    Row('rewrite: prefix of an expression', 'match { path regex "PATH/[a-z]+"; } rewrite_prefix /new; ' + TO,
        {'match': {'safe_regex': {'regex': 'PATH/[a-z]+'}}, 'route': {**FORWARD, 'prefix_rewrite': '/new'}}, Ask({'path': '/new?q'}, '/e?q')),
    Row('rewrite: ignored case', 'match { path text_prefix PATH/Up; ignore_case on; } rewrite_prefix /new; ' + TO,
        {'match': {'prefix': 'PATH/Up', 'case_sensitive': False}, 'route': {**FORWARD, 'prefix_rewrite': '/new'}},
        Ask({'path': '/new/X'}, '/uP/X')),
    Row('rewrite: expression', SEGMENTS + 'rewrite_regex "^PATH/([a-z]+)/(.*)$" "/\\\\2/\\\\1"; ' + TO,
        segments(route={**FORWARD, 'regex_rewrite': {'pattern': {'regex': '^PATH/([a-z]+)/(.*)$'}, 'substitution': '/\\2/\\1'}}),
        Ask({'path': '/1/2/abc?q=/PATH', 'x_envoy_original_path': 'PATH/abc/1/2?q=/PATH'}, '/abc/1/2?q=/PATH'),
        Ask({'path': 'PATH/9/x'}, '/9/x')),
    Row('rewrite: every match of an expression', SEGMENTS + 'rewrite_regex a+ "<\\\\0>"; ' + TO,
        segments(route={**FORWARD, 'regex_rewrite': {'pattern': {'regex': 'a+'}, 'substitution': '<\\0>'}}),
        Ask({'path': 'PATH/<aa>b<a>?aa'}, '/aaba?aa')),
    Row('rewrite: empty matches', SEGMENTS + 'rewrite_regex "a*" -; ' + TO,
        segments(route={**FORWARD, 'regex_rewrite': {'pattern': {'regex': 'a*'}, 'substitution': '-'}}),
        Ask({'status': 200}, '/aab')),
    Row('rewrite: host and path and edits', SEGMENTS + 'rewrite_prefix /new; rewrite_host new.example; request_header set x-a 1; ' + TO,
        segments(route={**FORWARD, 'prefix_rewrite': '/new', 'host_rewrite_literal': 'new.example'},
                 request_headers_to_add=[chain.put('x-a', '1')]),
        Ask({'path': '/new/x', 'host': 'new.example', 'x_a': '1', 'x_envoy_original_path': 'PATH/x', 'x_envoy_original_host': 'svc:9080'}, '/x')),
]

# ---- direct responses ----

DIRECT = [
    Row('direct: body', SEGMENTS + 'direct_response 418 "I am a teapot";',
        segments(direct_response={'status': 418, 'body': {'inline_string': 'I am a teapot'}}),
        Ask({'status': 418, 'body': 'I am a teapot', 'content-type': 'text/plain', 'flags': '-', 'details': 'direct_response', 'pod': None}),
        Ask({'status': 418, 'body': ''}, method='HEAD')),
    Row('direct: empty', SEGMENTS + 'direct_response 200;', segments(direct_response={'status': 200}),
        Ask({'status': 200, 'body': '', 'content-length': '0', 'content-type': None})),
    Row('direct: type of its own', SEGMENTS + 'direct_response 200 "{}"; response_header set content-type application/json;',
        segments(direct_response={'status': 200, 'body': {'inline_string': '{}'}},
                 response_headers_to_add=[chain.put('content-type', 'application/json')]),
        Ask({'status': 200, 'body': '{}', 'content-type': 'application/json'})),
]

# ---- CORS ----

PREFLIGHT = {'Origin': 'https://a.example', 'Access-Control-Request-Method': 'PUT', 'Access-Control-Request-Headers': 'x-z,x-y'}
STRANGER = {**PREFLIGHT, 'Origin': 'https://b.example'}
NO_ACTION = 'Envoy has no CORS on routes that redirect or answer: browsers could not use those'
ALLOWED = {'access-control-allow-origin': 'https://a.example'}
REFUSED_ORIGIN = {'access-control-allow-origin': None, 'access-control-expose-headers': None}


def cors(conf, action=None, envoy_action=None, **policy):
    policy = {'allow_origin_string_match': [{'exact': 'https://a.example'}], 'forward_not_matching_preflights': False, **policy}
    return (SEGMENTS + MARK + 'cors { %s } ' % conf + (action or TO),
            segments(typed_per_filter_config=chain.cors(**policy), **MARKED, **(envoy_action or {'route': FORWARD})))


EVERYTHING = {'allow_methods': 'GET,POST', 'allow_headers': 'x-a,x-b', 'expose_headers': 'x-e', 'max_age': '86400', 'allow_credentials': True}
CORS = [
    Row('cors: everything', *cors('allow_origin exact https://a.example; allow_methods GET POST; allow_headers x-a x-b; expose_headers x-e; '
                                  'max_age 86400; allow_credentials on;', **EVERYTHING),
        Ask({'status': 200, 'details': 'cors_response', 'flags': '-', 'pod': None, **ALLOWED, 'access-control-allow-methods': 'GET,POST',
             'access-control-allow-headers': 'x-a,x-b', 'access-control-max-age': '86400', 'access-control-allow-credentials': 'true',
             'access-control-expose-headers': 'x-e', 'x-edited!': None, 'body': ''}, method='OPTIONS', headers=PREFLIGHT),
        Ask({'status': 200, 'details': 'cors_response', 'pod': None, **REFUSED_ORIGIN, 'access-control-allow-methods': 'GET,POST',
             'access-control-allow-headers': 'x-a,x-b', 'access-control-max-age': '86400', 'access-control-allow-credentials': 'true'},
            method='OPTIONS', headers=STRANGER),
        Ask({'pod': 'svc', **ALLOWED, 'access-control-allow-credentials': 'true', 'access-control-expose-headers': 'x-e',
             'access-control-allow-methods': None, 'x-edited!': 'yes'}, headers={'Origin': 'https://a.example'}),
        Ask({'pod': 'svc', **REFUSED_ORIGIN, 'access-control-allow-credentials': None}, headers={'Origin': 'https://b.example'}),
        Ask({'pod': 'svc', **REFUSED_ORIGIN}, headers={'Origin': 'https://A.example'}),
        Ask({'pod': 'svc', **REFUSED_ORIGIN}, headers={'Origin': ''}),
        Ask({'pod': 'svc', **REFUSED_ORIGIN}),
        Ask({'pod': 'svc', **ALLOWED}, method='OPTIONS', headers={'Origin': 'https://a.example'}),
        Ask({'pod': 'svc', **ALLOWED}, method='OPTIONS', headers={'Origin': 'https://a.example', 'Access-Control-Request-Method': ''})),
    Row('cors: origins', *cors('allow_origin prefix https://p.; allow_origin regex "https://[a-z]+[.]r[.]example"; allow_methods GET;',
                               allow_origin_string_match=[{'prefix': 'https://p.'}, {'safe_regex': {'regex': 'https://[a-z]+[.]r[.]example'}}],
                               allow_methods='GET'),
        Ask({'access-control-allow-origin': 'https://p.example', 'access-control-allow-credentials': None}, headers={'Origin': 'https://p.example'}),
        Ask({'access-control-allow-origin': 'https://x.r.example'}, headers={'Origin': 'https://x.r.example'}),
        Ask({'access-control-allow-origin': None}, headers={'Origin': 'https://x.r.example.evil'}),
        Ask({'access-control-allow-origin': None}, headers={'Origin': 'https://9.r.example'})),
    Row('cors: stars, with credentials', *cors('allow_origin any; allow_methods *; allow_headers *; expose_headers *; allow_credentials on;',
                                               allow_origin_string_match=[{'safe_regex': {'regex': '.*'}}], allow_methods='*', allow_headers='*',
                                               expose_headers='*', allow_credentials=True),
        Ask({'details': 'cors_response', **ALLOWED, 'access-control-allow-methods': 'PUT', 'access-control-allow-headers': 'x-z,x-y',
             'access-control-allow-credentials': 'true', 'access-control-expose-headers': '*'}, method='OPTIONS', headers=PREFLIGHT),
        Ask({'pod': 'svc', 'access-control-allow-origin': 'null'}, headers={'Origin': 'null'})),
    Row('cors: stars', *cors('allow_origin any; allow_methods *; allow_headers *;', allow_origin_string_match=[{'safe_regex': {'regex': '.*'}}],
                             allow_methods='*', allow_headers='*'),
        Ask({'details': 'cors_response', **ALLOWED, 'access-control-allow-methods': 'PUT', 'access-control-allow-headers': 'x-z,x-y',
             'access-control-allow-credentials': None}, method='OPTIONS', headers=PREFLIGHT),
        Ask({'access-control-allow-methods': 'PUT', 'access-control-allow-headers': None}, method='OPTIONS',
            headers={k: v for k, v in PREFLIGHT.items() if not k.endswith('Headers')},
            envoy={'access-control-allow-headers': ''}, why='an empty list says no more than none')),
    Row('cors: strangers go on', *cors('allow_origin exact https://a.example; allow_methods GET; unmatched_preflight forward;',
                                       allow_methods='GET', forward_not_matching_preflights=True),
        Ask({'details': 'cors_response', 'pod': None, **ALLOWED}, method='OPTIONS', headers=PREFLIGHT),
        Ask({'details': 'via_upstream', 'pod': 'svc', **REFUSED_ORIGIN}, method='OPTIONS', headers=STRANGER)),
    Row('cors: on replies of the proxy', *cors('allow_origin exact https://a.example;', 'backend empty.ns:9080;', {'route': {'cluster': 'empty.ns:9080'}}),
        Ask({'status': 503, **ALLOWED}, headers={'Origin': 'https://a.example'})),
    Row('cors: the fault comes first', *cors('allow_origin exact https://a.example;', 'fault abort 418 percent=100; ' + TO, {
        'route': FORWARD}), Ask({'status': 418, **REFUSED_ORIGIN, 'x-edited!': 'yes'}, method='OPTIONS', headers=PREFLIGHT)),
    Row('cors: authorization comes first', *cors('allow_origin exact https://a.example;'),
        Ask({'status': 403, **REFUSED_ORIGIN}, method='OPTIONS', headers={**PREFLIGHT, 'x-deny': '1'})),
    Row('cors: with a redirect', *cors('allow_origin exact https://a.example;', 'redirect path=/x;', {'redirect': {'path_redirect': '/x'}}),
        Ask({'details': 'cors_response', **ALLOWED}, method='OPTIONS', headers=PREFLIGHT,
            envoy={'details': 'direct_response', **REFUSED_ORIGIN}, why=NO_ACTION),
        Ask({'status': 301, **ALLOWED}, headers={'Origin': 'https://a.example'}, envoy=REFUSED_ORIGIN, why=NO_ACTION)),
    Row('cors: with a direct response', *cors('allow_origin exact https://a.example;', 'direct_response 200 hi;', {
        'direct_response': {'status': 200, 'body': {'inline_string': 'hi'}}}),
        Ask({'details': 'cors_response', **ALLOWED}, method='OPTIONS', headers=PREFLIGHT,
            envoy={'details': 'direct_response', **REFUSED_ORIGIN}, why=NO_ACTION),
        Ask({'status': 200, 'body': 'hi', **ALLOWED}, headers={'Origin': 'https://a.example'}, envoy=REFUSED_ORIGIN, why=NO_ACTION)),
]
CORS[6].envoy[0]['typed_per_filter_config'].update(chain.fault(abort={'http_status': 418, 'percentage': chain.percent(100)}))

# ---- backends ----

BOTH = 'the backend, being the more specific, has the last word; in Envoy the route has'
BACKENDS = [
    Row('backend filter', SEGMENTS + 'request_header add x-a route; request_header set x-o route; response_header add x-a route; '
        'backend %s filter=f; backend_filter f { request_header add x-a backend; request_header set x-o backend; '
        'request_header remove x-r; response_header add x-b backend; }' % SERVICE,
        segments(route={**{k: v for k, v in FORWARD.items() if k != 'cluster'}, 'weighted_clusters': {'clusters': [{
            'name': SERVICE, 'weight': 1, 'request_headers_to_remove': ['x-r'],
            'request_headers_to_add': [chain.put('x-a', 'backend', add=True), chain.put('x-o', 'backend')],
            'response_headers_to_add': [chain.put('x-b', 'backend', add=True)]}]}},
            request_headers_to_add=[chain.put('x-a', 'route', add=True), chain.put('x-o', 'route')],
            response_headers_to_add=[chain.put('x-a', 'route', add=True)]),
        Ask({'pod': 'svc', 'x_a': 'route | backend', 'x_o': 'backend', 'x_r': None, 'x-a!': 'route', 'x-b!': 'backend'}, headers={'x-r': '1'},
            envoy={'x_a': 'backend | route', 'x_o': 'route'}, why=BOTH)),
    Row('no backend', SEGMENTS, segments(direct_response={'status': 500}),
        Ask({'status': 500, 'body': '', 'flags': '-', 'details': 'direct_response'})),
    Row('invalid backend', SEGMENTS + 'backend invalid;', segments(route={
        'cluster': 'nowhere.ns:9080', 'cluster_not_found_response_code': 'INTERNAL_SERVER_ERROR'}),
        Ask({'status': 500, 'body': '', 'flags': 'NC', 'details': 'cluster_not_found'})),
    Row('unsupported', SEGMENTS + 'unsupported "a filter of type ExtensionRef"; redirect; ', segments(direct_response={'status': 500}),
        Ask({'status': 500, 'body': '', 'flags': '-', 'details': 'unsupported_filter'}, envoy={'details': 'direct_response'},
            why='the details say what happened')),
]
ROWS = EDITS + EDITED + REDIRECTS + REWRITES + DIRECT + CORS + BACKENDS

# ---- the tests ----


def with_path(rows):
    """PATH in expectations, too."""
    for row, path in alike.placed(rows):
        for ask in row.asks:
            for which in (ask.expect, ask.envoy):
                which.update({k: v.replace('PATH', path) for k, v in which.items() if isinstance(v, str)})
            ask.path = ask.path.replace('PATH', path)
    return rows


ROWS = with_path(ROWS)


@pytest.fixture
def app(new_origin):
    return new_origin('svc')


def conf(app):
    body = 'authz { policy ns/no deny { rule { when "request.headers[x-deny]" *; } } }\n'
    return (proxy.cluster(SERVICE, proxy.endpoint(app)) + proxy.cluster('empty.ns:9080') +
            proxy.service(SERVICE, VIP, body + alike.cairn_routes(ROWS)))


def test_routes_act_as_the_table_says(cairn, app, curl):
    waypoint = cairn(conf(app))
    wrong = alike.against_cairn(ROWS, waypoint, curl, VIP, [app])
    assert not wrong, '\n'.join(wrong)


def test_envoy_acts_as_the_table_says(tmp_path, stopping, app):
    if not envoys.binary():
        pytest.skip('no Envoy')
    clusters = {SERVICE: (app.ip, app.port), 'empty.ns:9080': None}
    wrong = alike.against_envoy(ROWS, tmp_path / 'envoy', clusters, [app], stopping, deny='x-deny')
    assert not wrong, '\n'.join(wrong)


# ---- mirrors ----

def mirrored(cairn, app, body, *others, **options):
    clusters = ''.join(proxy.cluster('%s.ns:9080' % o.name, proxy.endpoint(o)) for o in others)
    return cairn(clusters + proxy.cluster(SERVICE, proxy.endpoint(app)) + proxy.service(SERVICE, VIP, 'route r { %s %s }' % (body, TO)), **options)


def test_mirror_gets_what_the_backend_gets(cairn, app, new_origin, curl):
    other, third = new_origin('other'), new_origin('third')
    waypoint = mirrored(cairn, app, 'mirror other.ns:9080; mirror third.ns:9080 percent=100; mirror nowhere.ns:9080; '
                        'rewrite_prefix /new; rewrite_host new.example; request_header set x-a 1;', other, third)
    answer = waypoint.request(curl, VIP, 'POST', '/x?q', body=b'twelve bytes')
    assert (answer.status, answer.header('x-pod')) == (200, 'svc')
    net.wait_for(lambda: other.requests and third.requests, 10, 'the copies')
    for copy in (other.requests[0], third.requests[0]):
        original = app.requests[0]
        assert (copy.method, copy.path, copy.body) == (original.method, original.path, original.body) == ('POST', '/new/x?q', b'twelve bytes')
        assert [copy.header(n) for n in ('host', 'x-a', 'x-envoy-original-path')] == ['new.example', '1', '/x?q']


def copies(ask, *origins):
    """The copies of two requests: one with a body, one without."""
    assert [ask('POST', '/x?q', {'x-b': '1'}, b'twelve bytes').status, ask('GET', '/plain', {}, b'').status] == [200, 200]
    net.wait_for(lambda: all(len(o.requests) == 2 for o in origins), 10, 'the copies')
    # each connection delivers when it likes
    by_path = [{r.path: r for r in o.requests} for o in origins]
    own = {'x-request-id', 'x-forwarded-proto'}
    return [[(r.method, path, r.body, sorted((n, v) for n, v in r.headers if n not in own)) for path, r in sorted(one.items())] for one in by_path]


@pytest.mark.skipif(not envoys.binary(), reason='no Envoy')
def test_copies_are_what_envoys_are(cairn, app, new_origin, curl, tmp_path, stopping):
    """The pod's own name is no part of a copy's host: Istio turns the suffix -shadow off."""
    names = ['other', 'third']
    here, there = [new_origin(n) for n in names], [new_origin(n) for n in names]
    waypoint = mirrored(cairn, app, 'mirror other.ns:9080; mirror third.ns:9080; rewrite_prefix /new; rewrite_host new.example; '
                        'request_header set x-a 1; request_header remove x-b;', *here)
    policies = [{'cluster': n, 'disable_shadow_host_suffix_append': True} for n in names]
    one = chain.Chain(tmp_path / 'envoy', [{
        'match': {'prefix': '/'}, 'request_headers_to_add': [chain.put('x-a', '1')], 'request_headers_to_remove': ['x-b'],
        'route': {**FORWARD, 'host_rewrite_literal': 'new.example', 'request_mirror_policies': policies,
                  'regex_rewrite': {'pattern': {'regex': '^/'}, 'substitution': '/new/'}}}],
        {SERVICE: (app.ip, app.port), **{o.name: (o.ip, o.port) for o in there}})
    stopping.append(one)
    ours = copies(lambda *words: waypoint.request(curl, VIP, *words), *here)
    theirs = copies(lambda *words: Http(Plain(*one.address)).request(*words, host=VIP), *there)
    # a copy says no more than the original: neither that it came from inside nor from which address
    extra = {'x-envoy-internal', 'x-forwarded-for'}
    assert ours == [[(method, path, body, [h for h in headers if h[0] not in extra]) for method, path, body, headers in one] for one in theirs]
    assert all(extra <= {name for name, _ in headers} for one in theirs for _, _, _, headers in one)


@pytest.mark.parametrize('share, expected', [('percent=12.5', 0.125), ('fraction=1/3', 1 / 3), ('percent=0', 0)])
def test_share_of_a_mirror_is_within_three_sigma(cairn, app, new_origin, curl, share, expected):
    other, n = new_origin('other'), 1200
    waypoint = mirrored(cairn, app, 'mirror other.ns:9080 %s; mirror other.ns:9080 percent=0;' % share, other, main=proxy.SEED)
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        for _ in range(n):
            assert tunnel.request().header('x-pod') == 'svc'
    low, high = (n * expected + sign * 3 * (n * expected * (1 - expected)) ** 0.5 for sign in (-1, 1))
    net.wait_for(lambda: len(other.requests) >= low, 10, 'the copies')
    assert len(other.requests) <= high


@pytest.mark.skipif(not envoys.binary(), reason='no Envoy')
def test_shares_of_backends_and_mirrors_are_envoys(cairn, new_origin, curl, tmp_path, stopping):
    """Within six standard deviations of the same shares: both draw, and nobody knows Envoy's seed."""
    n, weights, mirrored_share = 1200, {'a': 70, 'b': 25, 'c': 5}, 0.125
    shares = {**{name: weight / 100 for name, weight in weights.items()}, 'copy': mirrored_share}
    here, there = ({name: new_origin(name) for name in shares} for _ in range(2))
    backends = ''.join('backend %s.ns:9080 weight=%d; ' % one for one in weights.items())
    waypoint = cairn(''.join(proxy.cluster('%s.ns:9080' % name, proxy.endpoint(app)) for name, app in here.items()) + proxy.cluster(SERVICE) +
                     proxy.service(SERVICE, VIP, 'route r { mirror copy.ns:9080 percent=12.5; %s }' % backends), main=proxy.SEED)
    one = chain.Chain(tmp_path / 'envoy', [{'match': {'prefix': '/'}, 'route': {
        'weighted_clusters': {'clusters': [{'name': name, 'weight': weight} for name, weight in weights.items()]},
        'request_mirror_policies': [{'cluster': 'copy', 'runtime_fraction': {'default_value': chain.percent(12.5)}}]}}],
        {name: (app.ip, app.port) for name, app in there.items()})
    stopping.append(one)
    with waypoint.connection(curl) as connection:
        for http, origins in ((connection.connect(VIP).http, here), (Http(Plain(*one.address)), there)):
            assert [http.request().status for _ in range(n)] == [200] * n
            off = {name: (n * p, 6 * (n * p * (1 - p)) ** 0.5) for name, p in shares.items()}
            low = off['copy'][0] - off['copy'][1]
            net.wait_for(lambda: len(origins['copy'].requests) >= low, 10, 'the copies')
            got = {name: len(app.requests) for name, app in origins.items()}
            print(got)
            assert all(abs(got[name] - mean) <= most for name, (mean, most) in off.items()), got


def test_refused_and_redirected_requests_are_not_mirrored(cairn, app, new_origin, curl):
    other = new_origin('other')
    waypoint = mirrored(cairn, app, 'mirror other.ns:9080; fault abort 503 percent=100 header x-f 1; '
                        'cors { allow_origin any; allow_methods GET; }', other)
    assert waypoint.request(curl, VIP, headers={'x-f': '1'}).status == 503
    assert waypoint.request(curl, VIP, 'OPTIONS', headers=PREFLIGHT).status == 200
    assert waypoint.request(curl, VIP, path='/last').status == 200
    net.wait_for(lambda: other.requests, 10, 'the copy')
    assert [r.path for r in other.requests] == ['/last']


def test_explain_tells_what_a_route_does(cairn, app, new_origin, curl):
    other = new_origin('other')
    waypoint = mirrored(cairn, app, 'mirror other.ns:9080 fraction=1/3; rewrite_prefix /new; rewrite_host new.example; '
                        'cors { allow_origin exact https://a.example; } request_header remove x-gone; request_header set x-set 1; '
                        'response_header add x-more 2;', other)
    text = waypoint.explain(curl, VIP, 'GET', '/x', '-H', 'origin: https://b.example')
    for line in ('cors: origin https://b.example is not allowed', 'rewrite: host new.example', 'rewrite: path /new/x',
                 'mirror: to other.ns:9080 for 1 of 3 requests', 'request_header: remove x-gone set x-set',
                 'response_header: add x-more'):
        assert line in text
    assert 'cors: the preflight is answered here' in waypoint.explain(
        curl, VIP, 'OPTIONS', '/x', '-H', 'origin: https://a.example', '-H', 'access-control-request-method: PUT')
    redirecting = cairn(proxy.cluster(SERVICE) + proxy.service(SERVICE, VIP, 'route r { redirect scheme=https; }'))
    assert 'redirect: 301 to https://svc/x' in redirecting.explain(curl, VIP, 'GET', '/x', '-H', 'host: svc:9080')
