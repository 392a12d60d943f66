# SPDX-License-Identifier: Apache-2.0
"""What is measured and what stands around it, each pinned to its core.

The three proxies do the same work on the same requests: 90/10 between two
versions of an application, an access log line per request, metrics.  Envoy is
set up as Istio's waypoint is (CONNECT terminated on one listener, HTTP on an
internal one); nginx proxies plain HTTP/1.1 and marks the floor.
"""

import json
import os
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 't/it'))

from peers import envoy, net, proxy  # noqa: E402

# The two versions answer as Bookinfo's reviews do: about 300 bytes of JSON.
VERSIONS = {'v1': 9081, 'v2': 9082}
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


def resident(pids):
    """MiB, shared pages counted once per process, as operators see them."""
    total = 0
    for pid in pids:
        for line in pathlib.Path('/proc/%d/status' % pid).read_text().splitlines():
            if line.startswith('VmRSS:'):
                total += int(line.split()[1])
    return total / 1024


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
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.err;
events {{ worker_connections 16384; }}
http {{
    keepalive_requests 1000000000; keepalive_timeout 600s;
    client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
    access_log {log};
{body}}}
"""


def nginx(name, core, folder, body, log, ip, port):
    conf = folder / (name + '.conf')
    conf.write_text(NGINX.format(folder=folder, name=name, body=body, log=log))
    path = os.environ['PATH'] + ':/usr/sbin:/sbin'
    program = next(p for p in (pathlib.Path(d) / 'nginx' for d in path.split(':')) if p.exists())
    one = Process(name, core, [program, '-c', conf, '-e', folder / (name + '.err')], folder / (name + '.out'))
    net.wait_port(ip, port, alive=one.alive)
    return one


def application(core, folder, ip):
    """Both versions of the application, answered by one nginx."""
    answer = ('{"id":"1","podname":"reviews-%s","clustername":"null","reviews":[{"reviewer":"Reviewer1","text":"'
              + 'x' * 80 + '"},{"reviewer":"Reviewer2","text":"' + 'y' * 32 + '"}]}')
    body = ''.join("    server { listen %s:%d; location / { default_type application/json; return 200 '%s'; } }\n"
                   % (ip, port, answer % version) for version, port in VERSIONS.items())
    return nginx('application', core, folder, body, 'off', ip, VERSIONS['v2'])


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


def http_listener(folder):
    """The waypoint's inner listener: policy, route, access log."""
    rules = {'action': 'ALLOW', 'policies': {'viewer': {'principals': [{'any': True}], 'permissions': [
        {'header': {'name': ':method', 'string_match': {'exact': method}}} for method in ('GET', 'POST')]}}}
    weighted = {'clusters': [{'name': 'v1', 'weight': 90}, {'name': 'v2', 'weight': 10}]}
    retry = {'retry_on': 'connect-failure,refused-stream,unavailable,cancelled', 'num_retries': 2}
    route = {'match': {'prefix': '/'}, 'route': {'timeout': '0s', 'retry_policy': retry, 'weighted_clusters': weighted}}
    hcm = {'@type': envoy.HCM, 'stat_prefix': 'inbound', 'normalize_path': True,
           'access_log': [envoy.typed('file', 'access_loggers.file.v3.FileAccessLog', path=str(folder / 'envoy.access'))],
           'route_config': {'virtual_hosts': [{'name': 'reviews', 'domains': ['*'], 'routes': [route]}]},
           'http_filters': [envoy.typed('rbac', 'filters.http.rbac.v3.RBAC', rules=rules),
                            envoy.typed('envoy.filters.http.router', 'filters.http.router.v3.Router')]}
    inspector = envoy.typed('inspector', 'filters.listener.http_inspector.v3.HttpInspector')
    return {'name': 'inner', 'internal_listener': {}, 'listener_filters': [inspector],
            'filter_chains': [{'filters': [{'name': 'hcm', 'typed_config': hcm}]}]}


def encap_listener(version, authority):
    tcp = envoy.typed('tcp', 'filters.network.tcp_proxy.v3.TcpProxy', stat_prefix='encap', cluster='pod',
                      tunneling_config={'hostname': authority})
    return {'name': 'encap-' + version, 'internal_listener': {}, 'filter_chains': [{'filters': [tcp]}]}


def start_envoy(name, core, folder, listeners, clusters, ip, port, admin):
    conf = {'admin': {'address': envoy.address(admin, 9901)},
            'bootstrap_extensions': [{'name': 'envoy.bootstrap.internal_listener', 'typed_config': {
                '@type': envoy.TYPE + 'bootstrap.internal_listener.v3.InternalListener'}}],
            'static_resources': {'listeners': listeners, 'clusters': clusters}}
    path = folder / (name + '.json')
    path.write_text(json.dumps(conf, indent=1))
    one = Process(name, core, [envoy.binary(), '-c', path, '--concurrency', '1', '-l', 'error', '--use-dynamic-base-id',
                               '--disable-hot-restart'], folder / (name + '.out'))
    net.wait_port(ip, port, 20.0, alive=one.alive)
    return one


def envoy_waypoint(core, folder, ip, app, identity, captured):
    outer = envoy.pod_listener(ip, identity, 'inner')
    outer['filter_chains'][0]['filters'][0]['typed_config']['http2_protocol_options']['max_concurrent_streams'] = 1000
    listeners = [outer, http_listener(folder)]
    clusters = [internal_cluster('inner', 'inner')]
    for version, port in VERSIONS.items():
        if captured:
            listeners.append(encap_listener(version, '%s:%d' % (app, port)))
            clusters.append(internal_cluster(version, 'encap-' + version))
        else:
            clusters.append(envoy.cluster(version, app, port))
    if captured:
        clusters.append(envoy.hbone_cluster('pod', app, identity))
    return start_envoy('envoy', core, folder, listeners, clusters, ip, 15008, ip)


def captured_pod(core, folder, app, identity):
    """Envoy as the application's HBONE side; v1 and v2 answer alike."""
    listeners = [envoy.pod_listener(app, identity, 'app')]
    return start_envoy('pod', core, folder, listeners, [envoy.cluster('app', app, VERSIONS['v1'])], app, 15008,
                       net.new_ip())


# ---- cairn ----

POLICY = """\
    authz { policy "bench/viewer" allow { rule { to { methods GET POST; } } } }
    route bench {
        backend reviews-v1.bench:9080 weight=90;
        backend reviews-v2.bench:9080 weight=10;
    }"""


class CairnProcess(proxy.Cairn):
    def __init__(self, core, *args, **named):
        super().__init__(*args, **named)
        self.core, self.name = core, 'cairn'

    def command(self, *words):
        return pinned(self.core, *super().command(*words))

    @property
    def pids(self):
        return children(self.process.pid)


def cairn(core, folder, builddir, app, identity, captured):
    body = proxy.service('reviews.bench:9080', VIP, POLICY, cluster='reviews-v1.bench:9080')
    for version, port in VERSIONS.items():
        line = '%s:%d' % (app, port) + (' tunnel=hbone' if captured else '')
        body += proxy.cluster('reviews-%s.bench:9080' % version, line)
    one = CairnProcess(core, builddir / 'cairn', folder / 'cairn', identity, body, access_log='text', level='warn')
    return one.start()
