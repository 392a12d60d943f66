# SPDX-License-Identifier: Apache-2.0
"""The HTTP chain of a waypoint in a real Envoy, in the clear: RBAC, fault, CORS, router.

Made to ask the same of it as of cairn.
"""

import json

from . import envoy, net

FAULT = 'envoy.filters.http.fault'
CORS = 'envoy.filters.http.cors'
SESSION = 'envoy.filters.http.stateful_session'
LOG = {'status': '%RESPONSE_CODE%', 'flags': '%RESPONSE_FLAGS%', 'details': '%RESPONSE_CODE_DETAILS%'}


def per_route(name, kind, **fields):
    """A route's own settings of a filter."""
    return {name: {'@type': envoy.TYPE + 'filters.http.' + kind, **fields}}


def fault(**fields):
    return per_route(FAULT, 'fault.v3.HTTPFault', **fields)


def cors(**fields):
    return per_route(CORS, 'cors.v3.CorsPolicy', **fields)


def session(kind, **fields):
    """kind: cookie or header."""
    state = {'name': 'envoy.http.stateful_session.' + kind, 'typed_config': {
        '@type': '%shttp.stateful_session.%s.v3.%sBasedSessionState' % (envoy.TYPE, kind, kind.title()), **fields}}
    return per_route(SESSION, 'stateful_session.v3.StatefulSessionPerRoute', stateful_session={'session_state': state})


def several(name, addresses, **more):
    """A cluster of several endpoints, as Chain takes it."""
    members = [{'endpoint': {'address': envoy.address(*at)}} for at in addresses]
    return '127.0.0.1', 1, {'load_assignment': {'cluster_name': name, 'endpoints': [{'lb_endpoints': members}]}, **more}


def percent(value):
    """Up to four decimals."""
    return {'numerator': round(value * 10000), 'denominator': 'MILLION'}


def http2():
    """Further fields of a cluster whose endpoints speak HTTP/2."""
    options = {'@type': envoy.TYPE + 'upstreams.http.v3.HttpProtocolOptions', 'explicit_http_config': {'http2_protocol_options': {}}}
    return {'typed_extension_protocol_options': {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': options}}


def exact(text):
    return {'exact': text}


def regex(text):
    return {'regex': text}


def put(name, value, add=False):
    """An element of request_headers_to_add and its like."""
    action = 'APPEND_IF_EXISTS_OR_ADD' if add else 'OVERWRITE_IF_EXISTS_OR_ADD'
    return {'header': {'key': name, 'value': value}, 'append_action': action}


def filters(deny=None):
    """deny: requests with this header are refused by RBAC."""
    typed = envoy.typed
    rules = {'action': 'DENY', 'policies': {}}
    if deny:
        rules['policies'] = {'deny': {'permissions': [{'header': {'name': deny, 'present_match': True}}], 'principals': [{'any': True}]}}
    return [typed('envoy.filters.http.rbac', 'filters.http.rbac.v3.RBAC', rules=rules),
            typed(SESSION, 'filters.http.stateful_session.v3.StatefulSession'),
            typed(FAULT, 'filters.http.fault.v3.HTTPFault'), typed(CORS, 'filters.http.cors.v3.Cors'),
            typed('envoy.filters.http.router', 'filters.http.router.v3.Router')]


class Chain(envoy.Envoy):
    """clusters: name -> (ip, port) or (ip, port, more fields), or None for one without endpoints."""

    def __init__(self, folder, routes, clusters, deny=None, **vhost):
        self.address = (net.new_ip(), 8080)
        self.access_path = folder / 'access.log'
        log = envoy.typed('envoy.access_loggers.file', 'access_loggers.file.v3.FileAccessLog',
                          path=str(self.access_path), log_format={'json_format': LOG})
        hcm = {
            '@type': envoy.HCM, 'stat_prefix': 'inbound', 'codec_type': 'AUTO', 'server_name': 'istio-envoy',
            'normalize_path': True, 'stream_idle_timeout': '0s', 'access_log': [log], 'http_filters': filters(deny),
            'route_config': {'validate_clusters': False, 'virtual_hosts': [
                {'name': 'all', 'domains': ['*'], 'routes': routes, **vhost}]},
        }
        listener = {'name': 'chain', 'address': envoy.address(*self.address),
                    'filter_chains': [{'filters': [{'name': 'hcm', 'typed_config': hcm}]}]}
        made = [envoy.cluster(name, *at[:2], **(at[2] if at[2:] else {})) if at else {'name': name, 'connect_timeout': '1s', 'load_assignment': {'cluster_name': name}}
                for name, at in clusters.items()]
        super().__init__(folder, [listener], made)

    def access(self, n, timeout=10.0):
        """The first n lines of the access log."""
        def lines():
            return self.access_path.read_text().splitlines() if self.access_path.exists() else []
        net.wait_for(lambda: len(lines()) >= n, timeout, '%d lines in Envoy\'s access log' % n)
        return [json.loads(line) for line in lines()[:n]]
