# SPDX-License-Identifier: Apache-2.0
"""What is measured and what stands around it, each pinned to its core.

The three proxies do the same work on the same requests: 90/10 between two
versions of an application, an access log line per request, metrics.  Envoy is
set up as Istio's waypoint is (CONNECT terminated on one listener, HTTP on an
internal one); nginx proxies plain HTTP/1.1 and marks the floor.  What differs
between scenarios is in their Setup (scenarios.py).
"""

import json
import os
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 't/it'))

from peers import envoy, net, pki, proxy  # noqa: E402,F401

# The two versions answer as Bookinfo's reviews do: about 300 bytes of JSON.
VERSIONS = {'v1': 9081, 'v2': 9082}
HTTP2_VERSIONS = {'v1': 9091, 'v2': 9092}
VIP = '10.0.0.1:9080'


def cores():
    """(the proxy's, everybody else's): two different ones where there are two."""
    usable = sorted(os.sched_getaffinity(0))
    return str(usable[-1]), ','.join(map(str, usable[:-1] or usable))


def pinned(core, *words):
    return ['taskset', '-c', core, *map(str, words)]


def children(pid):
    found = [pid]
    for task in pathlib.Path('/proc/%d/task' % pid).iterdir():
        for child in (task / 'children').read_text().split():
            found += children(int(child))
    return found


def memory(pids):
    """MiB of all of them together: resident as operators see it, and what is theirs alone."""
    total = {'Rss': 0, 'Private_Clean': 0, 'Private_Dirty': 0}
    for pid in pids:
        for line in pathlib.Path('/proc/%d/smaps_rollup' % pid).read_text().splitlines()[1:]:
            key, value = line.split(':')
            if key in total:
                total[key] += int(value.split()[0])
    return {'rss': total['Rss'] / 1024, 'private': (total['Private_Clean'] + total['Private_Dirty']) / 1024}


class Process:
    """Something started on one core, with the processes it made."""

    def __init__(self, name, core, words, log):
        self.name = name
        with open(log, 'ab') as out:
            self.process = subprocess.Popen(pinned(core, *words), stdout=out, stderr=out)

    def alive(self):
        return self.process.poll() is None

    @property
    def pids(self):
        return children(self.process.pid)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---- nginx ----

NGINX = """\
{user}worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.err;
events {{ worker_connections 16384; }}
http {{
    keepalive_requests 1000000000; keepalive_timeout 600s;
    http2_recv_buffer_size 1m;
    client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
    access_log {log};
{body}}}
"""


def nginx_binary():
    path = os.environ['PATH'] + ':/usr/sbin:/sbin'
    return next(p for p in (pathlib.Path(d) / 'nginx' for d in path.split(':')) if p.exists())


def nginx(name, core, folder, body, log, ip, port):
    conf = folder / (name + '.conf')
    user = 'user root; ' if os.geteuid() == 0 else ''  # the files are in a folder of ours
    conf.write_text(NGINX.format(folder=folder, name=name, body=body, log=log, user=user))
    one = Process(name, core, [nginx_binary(), '-c', conf, '-e', folder / (name + '.err')], folder / (name + '.out'))
    net.wait_port(ip, port, alive=one.alive)
    return one


def grpc_message(n):
    return b'\0' + n.to_bytes(4, 'big') + b'm' * n


def files(folder):
    """What the application serves beside its answer; /1g is a hole."""
    folder.mkdir()
    (folder / '1m').write_bytes(b'x' * (1 << 20))
    with open(folder / '1g', 'wb') as hole:
        hole.truncate(1 << 30)
    (folder / 'unary').write_bytes(grpc_message(64))
    (folder / 'stream').write_bytes(grpc_message(64) * 100)
    return folder


SERVER = """    server {{ listen {ip}:{port}; client_max_body_size 0;
        location = /1m {{ root {files}; }} location = /1g {{ root {files}; }}
        location = /post {{ proxy_pass http://{ip}:{port}/; proxy_pass_request_body off; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Content-Length ""; proxy_method GET; }}
        location / {{ default_type application/json; return 200 '{answer}'; }} }}
"""
# A POST for a file is answered with it.
GRPC_SERVER = """    server {{ listen {ip}:{port} http2; client_max_body_size 0;
        http2_max_concurrent_streams 4096;
        location / {{ root {files}; default_type application/grpc; add_trailer grpc-status 0; error_page 405 =200 $uri; }} }}
"""


def application(core, folder, ip):
    """Both versions of the application, answered by one nginx; over HTTP/2 as a gRPC service."""
    answer = ('{"id":"1","podname":"reviews-%s","clustername":"null","reviews":[{"reviewer":"Reviewer1","text":"'
              + 'x' * 80 + '"},{"reviewer":"Reviewer2","text":"' + 'y' * 32 + '"}]}')
    served = files(folder / 'files')
    body = ''.join(SERVER.format(ip=ip, port=port, files=served, answer=answer % version)
                   for version, port in VERSIONS.items())
    body += ''.join(GRPC_SERVER.format(ip=ip, port=port, files=served) for port in HTTP2_VERSIONS.values())
    return nginx('application', core, folder, body, 'off', ip, HTTP2_VERSIONS['v2'])


def nginx_proxy(core, folder, ip, app):
    body = ('    upstream app { server %s:9081 weight=9; server %s:9082; keepalive 256; }\n' % (app, app) +
            '    server { listen %s:9083; location / { proxy_pass http://app; proxy_http_version 1.1;'
            ' proxy_set_header Connection ""; proxy_set_header Host $host; } }\n' % ip)
    return nginx('nginx', core, folder, body, folder / 'nginx.access', ip, 9083)


# ---- Envoy ----

def internal_cluster(name, listener):
    raw = envoy.typed('raw', 'transport_sockets.raw_buffer.v3.RawBuffer')
    return {'name': name,
            'load_assignment': {'cluster_name': name, 'endpoints': [{'lb_endpoints': [{'endpoint': {'address': {
                'envoy_internal_address': {'server_listener_name': listener}}}}]}]},
            'transport_socket': envoy.typed('internal', 'transport_sockets.internal_upstream.v3.InternalUpstreamTransport',
                                            transport_socket=raw)}


def exact(name, value):
    return {'header': {'name': name, 'string_match': {'exact': value}}}


def rbac(policies):
    """The last policy allows; those before it ask for a path that nobody asks for."""
    anyone = {'principals': [{'any': True}]}
    rules = {'p%05d' % i: {**anyone, 'permissions': [{'url_path': {'path': {'exact': '/nobody/%d' % i}}}]}
             for i in range(policies - 1)}
    rules['viewer'] = {**anyone, 'permissions': [exact(':method', method) for method in ('GET', 'POST')]}
    return {'action': 'ALLOW', 'policies': rules}


def route_table(routes):
    weighted = {'clusters': [{'name': 'v1', 'weight': 90}, {'name': 'v2', 'weight': 10}]}
    retry = {'retry_on': 'connect-failure,refused-stream,unavailable,cancelled', 'num_retries': 2}
    to = {'timeout': '0s', 'retry_policy': retry, 'weighted_clusters': weighted}
    table = [{'match': {'path': '/service/%d' % i}, 'route': to} for i in range(routes - 1)]
    return [*table, {'match': {'prefix': '/'}, 'route': to}]


def http_listener(folder, setup):
    """The waypoint's inner listener: policy, route, access log."""
    hcm = {'@type': envoy.HCM, 'stat_prefix': 'inbound', 'normalize_path': True,
           'route_config': {'virtual_hosts': [{'name': 'reviews', 'domains': ['*'], 'routes': route_table(setup.routes)}]},
           'http_filters': [envoy.typed('rbac', 'filters.http.rbac.v3.RBAC', rules=rbac(setup.policies)),
                            envoy.typed('envoy.filters.http.router', 'filters.http.router.v3.Router')]}
    if setup.log:
        hcm['access_log'] = [envoy.typed('file', 'access_loggers.file.v3.FileAccessLog',
                                         path=str(folder / 'envoy.access'))]
    inspector = envoy.typed('inspector', 'filters.listener.http_inspector.v3.HttpInspector')
    return {'name': 'inner', 'internal_listener': {}, 'listener_filters': [inspector],
            'filter_chains': [{'filters': [{'name': 'hcm', 'typed_config': hcm}]}]}


def encap_listener(version, authority):
    tcp = envoy.typed('tcp', 'filters.network.tcp_proxy.v3.TcpProxy', stat_prefix='encap', cluster='pod',
                      tunneling_config={'hostname': authority})
    return {'name': 'encap-' + version, 'internal_listener': {}, 'filter_chains': [{'filters': [tcp]}]}


def start_envoy(name, core, folder, listeners, clusters, ip, port, admin, workers=1):
    conf = {'admin': {'address': envoy.address(admin, 9901)},
            'bootstrap_extensions': [{'name': 'envoy.bootstrap.internal_listener', 'typed_config': {
                '@type': envoy.TYPE + 'bootstrap.internal_listener.v3.InternalListener'}}],
            'static_resources': {'listeners': listeners, 'clusters': clusters}}
    path = folder / (name + '.json')
    path.write_text(json.dumps(conf, indent=1))
    one = Process(name, core, [envoy.binary(), '-c', path, '--concurrency', workers, '-l', 'error', '--use-dynamic-base-id',
                               '--disable-hot-restart'], folder / (name + '.out'))
    net.wait_port(ip, port, 20.0, alive=one.alive)
    return one


def http2_options():
    return {'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
        '@type': envoy.TYPE + 'upstreams.http.v3.HttpProtocolOptions',
        'explicit_http_config': {'http2_protocol_options': {}}}}


def envoy_waypoint(core, folder, ip, app, identity, setup):
    outer = envoy.pod_listener(ip, identity, 'inner')
    outer['filter_chains'][0]['filters'][0]['typed_config']['http2_protocol_options']['max_concurrent_streams'] = 1000
    listeners = [outer, http_listener(folder, setup)]
    clusters = [internal_cluster('inner', 'inner')]
    for version, port in (HTTP2_VERSIONS if setup.http2 else VERSIONS).items():
        if setup.captured:
            listeners.append(encap_listener(version, '%s:%d' % (app, port)))
            clusters.append(internal_cluster(version, 'encap-' + version))
        elif setup.http2:
            clusters.append(envoy.cluster(version, app, port, typed_extension_protocol_options=http2_options()))
        else:
            clusters.append(envoy.cluster(version, app, port))
    if setup.captured:
        clusters.append(envoy.hbone_cluster('pod', app, identity))
    return start_envoy('envoy', core, folder, listeners, clusters, ip, 15008, ip, setup.workers)


def captured_pod(core, folder, app, identity):
    """Envoy as the application's HBONE side; v1 and v2 answer alike."""
    listeners = [envoy.pod_listener(app, identity, 'app')]
    return start_envoy('pod', core, folder, listeners, [envoy.cluster('app', app, VERSIONS['v1'])], app, 15008,
                       net.new_ip())


# ---- cairn ----

BACKENDS = """\
        backend reviews-v1.bench:9080 weight=90;
        backend reviews-v2.bench:9080 weight=10;
"""


def service_body(setup):
    policies = ''.join('        policy "bench/p%05d" allow { rule { to { paths /nobody/%d; } } }\n' % (i, i)
                       for i in range(setup.policies - 1))
    routes = ''.join('    route r%d {\n        match { path exact /service/%d; }\n%s    }\n' % (i, i, BACKENDS)
                     for i in range(setup.routes - 1))
    return ('    authz {\n%s        policy "bench/viewer" allow { rule { to { methods GET POST; } } }\n    }\n'
            '%s    route bench {\n%s    }' % (policies, routes, BACKENDS))


class CairnProcess(proxy.Cairn):
    """wrapper: a program that runs it and counts something."""

    def __init__(self, core, *args, wrapper=(), **named):
        super().__init__(*args, **named)
        self.core, self.name, self.wrapper = core, 'cairn', wrapper

    def command(self, *words):
        return pinned(self.core, *self.wrapper, *super().command(*words))

    @property
    def pids(self):
        return children(self.process.pid)


def cairn(core, folder, builddir, app, identity, setup, wrapper=()):
    protocol = {'protocol': 'grpc'} if setup.http2 else {}
    body = proxy.service('reviews.bench:9080', VIP, service_body(setup), cluster='reviews-v1.bench:9080', **protocol)
    for version, port in (HTTP2_VERSIONS if setup.http2 else VERSIONS).items():
        line = '%s:%d' % (app, port) + (' tunnel=hbone' if setup.captured else '')
        body += proxy.cluster('reviews-%s.bench:9080' % version, line, **protocol)
    one = CairnProcess(core, builddir / 'cairn', folder / 'cairn', identity, body,
                       access_log='text' if setup.log else None, main='' if setup.log else 'access_log off;',
                       level='warn', workers=setup.workers, wrapper=wrapper)
    return one.start()
