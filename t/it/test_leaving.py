# SPDX-License-Identifier: Apache-2.0
"""Endpoints that leave: no further request from that moment, and what they have ends in time, when a time is said.

Nothing here waits for a time: what must go on is asked after something else was cut that left at the same moment.
"""

import contextlib
import json
import struct
import threading

import pytest

from peers import envoy as envoys, grpcs, net, origin, proxy
from peers.http import Ended, Http, Plain

from test_websocket import Raw, upgrade

NAME, VIP = 'app.data:9080', '10.96.21.1:9080'
FREE, FREE_VIP = 'free.data:9080', '10.96.21.2:9080'
LIMIT = '300ms'
METRIC, WHY = 'cairn_endpoint_drain_timeouts_total', 'endpoint_drain_timeout'


# ---- what a client may have with an endpoint: goes_on() raises unless it works, cut() unless it was ended ----

class Bytes:
    """A TCP connection."""

    protocol, status = 'tcp', 0

    @staticmethod
    def pod(name):
        return origin.TcpOrigin(name)

    def __init__(self, tunnel):
        self.tunnel = tunnel
        self.goes_on()

    def goes_on(self):
        self.tunnel.send(b'said')
        got = b''
        while len(got) < 4:
            got += self.tunnel.recv()
        assert got == b'said'

    def cut(self):
        with pytest.raises(ConnectionResetError):
            self.tunnel.recv()


class Chat(Bytes):
    """A WebSocket."""

    protocol, status = 'http', 101

    @staticmethod
    def pod(name):
        return Raw(name)

    def __init__(self, tunnel):
        assert upgrade(tunnel.http)[1].status == 101
        super().__init__(tunnel)

    def cut(self):
        with pytest.raises((ConnectionResetError, Ended)):
            self.tunnel.http.take(1, 10)


class Download:
    """A response of HTTP/1.1 that takes its time."""

    protocol, status, length = 'http', 200, 1000000

    @staticmethod
    def pod(name):
        return origin.Origin(name)

    def __init__(self, tunnel):
        self.http, self.got = tunnel.http, 0
        self.http.send('GET', '/drip/%d' % self.length)
        assert self.http.head(10).status == 200
        self.goes_on()

    def goes_on(self):
        assert self.http.take(1, 10) == b'.'

    def cut(self):
        with pytest.raises((ConnectionResetError, Ended)):
            while True:
                self.goes_on()


class Patient(origin.Origin):
    """Answers when it is told to."""

    def __init__(self, name):
        self.go = threading.Event()
        super().__init__(name)

    def handle(self, sock, number):
        try:
            while sock.recv(65536):
                self.requests.append(number)
                self.go.wait(30)
                sock.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n')
        except OSError as e:
            self.errors.append(repr(e))


class Asked:
    """A request of HTTP/1.1 that is not answered yet."""

    protocol, status = 'http', 503

    @staticmethod
    def pod(name):
        return Patient(name)

    def __init__(self, tunnel):
        self.http = tunnel.http
        self.http.send('POST', '/', body=b'x')

    def goes_on(self):
        assert self.http.response().status == 200

    def cut(self):
        answer = self.http.response()
        assert answer.status == 503 and answer.body.endswith(b'reset reason: local reset')


class Talk:
    """A gRPC stream."""

    protocol, status = 'grpc', 200

    @staticmethod
    def pod(name):
        return grpcs.GrpcOrigin(name)

    def __init__(self, tunnel, method='Talk'):
        self.stream = tunnel.http2().open(fields=[
            (':method', 'POST'), (':scheme', 'http'), (':path', '/test.Service/' + method), (':authority', 'app'),
            ('content-type', 'application/grpc'), ('te', 'trailers')], end=False)
        self.seen = 0
        self.begin()

    def begin(self):
        self.goes_on()

    def goes_on(self):
        self.stream.send(b'\0' + struct.pack('>I', 4) + b'said')
        self.seen += 9
        self.stream.http2.until(lambda: len(self.stream.body) == self.seen or self.stream.reset_code is not None, 10, 'echo')
        assert self.stream.reset_code is None

    def cut(self):
        answer = self.stream.wait()
        assert answer.reset_code is not None and not answer.trailers


class Called(Talk):
    """A gRPC call that is not answered yet."""

    status = 200

    def __init__(self, tunnel):
        super().__init__(tunnel, 'Hang')

    def begin(self):
        """Another stream of the connection is answered after it."""
        self.stream.http2.request('POST', '/test.Service/Echo', [('content-type', 'application/grpc'), ('te', 'trailers')],
                                  b'\0' + struct.pack('>I', 4) + b'said')

    def goes_on(self):
        self.stream.http2.request('GET', '/')  # whatever the answer is: what was to come before it has come
        assert self.stream.reset_code is None and not self.stream.ended

    def cut(self):
        answer = self.stream.wait()
        assert dict(answer.headers)['grpc-status'] == '14' and answer.reset_code in (None, 0)


KINDS = [Bytes, Chat, Download, Asked, Talk, Called]


@pytest.fixture(params=['plain', 'hbone'])
def out(request):
    return request.param


@pytest.fixture
def new_pod(stopping, pki, capture, out):
    """new_pod(kind, name) -> the kind's application; .line is its line in an endpoints file."""
    def make(kind, name='old'):
        app = kind.pod(name)
        stopping.append(app)
        app.hbone = capture(app, 'data', name) if out == 'hbone' else None
        app.line = proxy.endpoint(app, pod=app.hbone)
        return app
    return make


class Site:
    """A waypoint before two services that have the same pods; what the first one's have is bounded."""

    def __init__(self, cairn, identity, protocol, *lines, limit=LIMIT):
        self.protocol, self.identity, self.connections = protocol, identity, []
        self.one = cairn('include conf.d/*.conf;\n', files={**self.files(limit), 'endpoints.d/app': '\n'.join(lines)},
                         main='%s 1h; worker_shutdown_timeout 10m;' % WHY)

    def files(self, limit):
        def both(name, vip, limit):
            return (proxy.cluster(name, protocol=self.protocol, endpoints='endpoints.d/app', endpoint_drain_timeout=limit) +
                    proxy.service(name, vip, 'retry off;', protocol=self.protocol))
        return {'conf.d/app.conf': both(NAME, VIP, limit), 'conf.d/free.conf': both(FREE, FREE_VIP, '0')}

    def open(self, kind, vip=VIP):
        self.connections.append(self.one.connection(self.identity))
        return kind(self.connections[-1].connect(vip))

    def endpoints(self, *lines):
        self.one.put('endpoints.d/app', '\n'.join(lines))
        self.one.reload()

    def logged(self):
        def lines():
            return [line for line in self.one.access() if WHY in (line['response_code_details'],
                                                                  line['connection_termination_details'])]
        return net.wait_for(lines, what='the line of what was cut')

    def stop(self):
        for connection in self.connections:
            connection.close()


@pytest.fixture
def site(cairn, curl, stopping):
    def make(kind, *lines, **options):
        stopping.append(Site(cairn, curl, kind.protocol, *lines, **options))
        return stopping[-1]
    return make


@pytest.mark.parametrize('kind', KINDS)
def test_what_an_endpoint_that_left_has_ends_in_time(site, new_pod, kind, out):
    app = new_pod(kind)
    waypoint = site(kind, app.line)
    bounded, free = waypoint.open(kind), waypoint.open(kind, FREE_VIP)
    waypoint.endpoints()
    bounded.cut()
    if kind is Asked:
        app.go.set()
    free.goes_on()  # it left at the same moment and has no limit
    one = waypoint.one
    line, = waypoint.logged()
    assert (line['response_code'], line['response_flags']) == (kind.status, 'LR'), line
    assert line['upstream_host'] == app.address and line['upstream_cluster']
    assert (one.count(METRIC, cluster_name=NAME), one.count(METRIC)) == (1, 1)
    if out == 'hbone' and kind not in (Asked, Called):
        net.wait_for(lambda: app.hbone.streams() == 1, what='the end of its tunnel')


@pytest.mark.module('decisions')
@pytest.mark.parametrize('kind', [Bytes, Talk])
def test_what_was_ended_is_told(site, new_pod, kind):
    app = new_pod(kind)
    waypoint = site(kind, app.line)
    stream = waypoint.open(kind)
    waypoint.endpoints()
    stream.cut()
    told, = net.wait_for(lambda: json.loads(waypoint.one.get('/decisions?format=json').body), what='a decision')
    assert (told['flags'], told['details'], told['host'], told['cluster']) == ('LR', WHY, app.address, NAME)


def left_and_back(site, kind, app, other):
    """(waypoint, stream of `app`, stream of `other`): the first one left and was back in time, then the other one left."""
    for limit in ('300ms', '1s', '3s', '9s'):  # as slow as the machine may be
        waypoint = site(kind, app.line, limit=limit)
        stays = waypoint.open(kind)
        waypoint.endpoints(other.line)
        goes = waypoint.open(kind)
        waypoint.endpoints(app.line)
        if waypoint.one.count(METRIC) == 0:
            return waypoint, stays, goes
    pytest.fail('no reload within %s' % limit)


@pytest.mark.parametrize('kind', [Bytes, Talk])
def test_endpoint_that_is_back_in_time_keeps_what_it_has(site, new_pod, kind):
    app, other = new_pod(kind), new_pod(kind, 'other')
    waypoint, stays, goes = left_and_back(site, kind, app, other)
    goes.cut()
    stays.goes_on()
    waypoint.endpoints(other.line)
    stays.cut()
    assert waypoint.one.count(METRIC) == 2


@pytest.mark.parametrize('out', ['hbone'], indirect=True)
@pytest.mark.parametrize('kind', [Bytes, Talk])
def test_another_identity_at_the_address_ends_what_the_first_one_had(site, new_pod, pki, kind):
    app = new_pod(kind)
    waypoint = site(kind, app.line)
    stream = waypoint.open(kind)
    another = app.line.replace(app.hbone.identity.uri, pki.identity('data', 'another').uri)
    assert another != app.line
    waypoint.endpoints()
    waypoint.endpoints(another)
    stream.cut()
    assert waypoint.logged()[0]['response_flags'] == 'LR'


@pytest.mark.parametrize('kind', [Bytes, Talk])
def test_endpoint_that_is_not_ready_has_left(site, new_pod, kind):
    app, other = new_pod(kind), new_pod(kind, 'other')
    waypoint = site(kind, app.line)
    stays, goes = waypoint.open(kind, FREE_VIP), waypoint.open(kind)
    waypoint.endpoints(app.line + ' health=unhealthy', other.line)
    goes.cut()
    stays.goes_on()
    waypoint.endpoints(app.line)
    waypoint.open(kind).goes_on()


@pytest.mark.parametrize('out', ['hbone'], indirect=True)
def test_endpoint_that_is_not_ready_has_its_pooled_tunnels_retired(site, new_pod):
    app, other = new_pod(Download), new_pod(Download, 'other')
    waypoint = site(Download, app.line)
    with waypoint.one.connection(waypoint.identity) as connection:
        tunnel = connection.connect(VIP)
        assert tunnel.request('POST', '/', body=b'x').status == 200
        assert app.hbone.streams() == 1
        waypoint.endpoints(app.line + ' health=unhealthy', other.line)
        net.wait_for(lambda: app.hbone.streams() == 0, what='the end of the pooled tunnel')
        assert tunnel.request('POST', '/', body=b'x').json()['pod'] == 'other'
    assert len(app.requests) == 1


@pytest.mark.parametrize('kind', [Bytes, Talk])
def test_reloads_meanwhile_do_not_begin_anew(site, new_pod, kind):
    """Each of these alone takes less than the time that is left, all together more."""
    app, other = new_pod(kind), new_pod(kind, 'other')
    waypoint = site(kind, app.line)
    waypoint.open(kind)
    waypoint.endpoints(other.line)
    for i in range(200):
        waypoint.one.put('conf.d/app.conf', waypoint.files('1h')['conf.d/app.conf'] + '# %d\n' % i)
        waypoint.endpoints('%s weight=%d' % (other.line, 1 + i % 2))
        if waypoint.one.count(METRIC):
            break
    assert waypoint.logged()[0]['response_flags'] == 'LR'


@pytest.mark.parametrize('kind', [Bytes, Talk])
def test_service_that_goes_leaves_its_limit(site, new_pod, kind):
    app = new_pod(kind)
    waypoint = site(kind, app.line)
    stream, free = waypoint.open(kind), waypoint.open(kind, FREE_VIP)
    (waypoint.one.folder / 'conf.d/app.conf').unlink()
    waypoint.one.reload()
    stream.cut()
    free.goes_on()


@pytest.mark.parametrize('kind', [Bytes, Talk])
def test_worker_that_is_replaced_keeps_the_limit(site, new_pod, kind):
    app = new_pod(kind)
    waypoint = site(kind, app.line)
    stream, free = waypoint.open(kind), waypoint.open(kind, FREE_VIP)
    waypoint.endpoints()
    waypoint.one.settings['workers'] = 2
    waypoint.one.reload(waypoint.one.body)  # another number of workers: the old one drains
    stream.cut()
    free.goes_on()


def test_idempotent_request_is_answered_by_another_endpoint_then(site, new_pod):
    app, other = new_pod(Asked), new_pod(Download, 'other')
    waypoint = site(Asked, app.line)
    with waypoint.one.connection(waypoint.identity) as connection:
        http = connection.connect(VIP).http
        http.send('PUT', '/', body=b'all of it')
        net.wait_for(lambda: app.requests, what='the request at the pod')
        waypoint.endpoints(other.line)
        answer = http.response().json()
    assert (answer['pod'], answer['method'], answer['body']) == ('other', 'PUT', 9)
    line = waypoint.one.access()[0]
    assert (line['response_code'], line['response_flags'], line['upstream_host']) == (200, '-', other.address)
    assert waypoint.one.count(METRIC) == 1


# ---- beside Envoy ----

class EnvoySite:
    """An Envoy that reads the endpoints of its one cluster from a file."""

    def __init__(self, folder, app):
        self.path, self.sockets = folder / 'app.json', []
        self.write((app, {}))
        self.envoy = envoys.front(folder / 'envoy', [], type='EDS', load_assignment=None, eds_cluster_config={
            'eds_config': {'path_config_source': {'path': str(self.path)}}})
        net.wait_for(lambda: app.address + '::health_flags::healthy' in self.members(), 10.0, 'the endpoint')

    def write(self, *members):
        """members: (application, more fields)."""
        draft = self.path.with_suffix('.new')
        draft.write_text(json.dumps({'resources': [{
            '@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', 'cluster_name': 'app',
            'endpoints': [{'lb_endpoints': [{'endpoint': {'address': envoys.address(o.ip, o.port)}, **more}
                                            for o, more in members]}]}]}))
        draft.rename(self.path)

    def members(self):
        with contextlib.closing(Plain(self.envoy.ip, 9901)) as stream:
            return Http(stream).request(path='/clusters').body.decode()

    def leaves(self, app, other, is_gone):
        self.write((other, {}), *([] if is_gone else [(app, {'health_status': 'UNHEALTHY'})]))
        net.wait_for(lambda: other.address + '::health' in self.members() and (
            app.address not in self.members() if is_gone else 'failed_eds_health' in self.members()), 10.0, 'the other endpoint')

    def open(self, kind):
        self.http = Http(Plain(*self.envoy.address))
        self.sockets.append(self.http.stream)
        return kind(self)

    def request(self, **how):
        with contextlib.closing(Plain(*self.envoy.address)) as stream:
            return Http(stream).request(**how)

    def stop(self):
        for sock in self.sockets:
            sock.close()
        self.envoy.stop()


@pytest.mark.skipif(not envoys.binary(), reason='no Envoy')
@pytest.mark.parametrize('out', ['plain'], indirect=True)
@pytest.mark.parametrize('is_gone', [True, False], ids=['it leaves', 'it is not ready'])
@pytest.mark.parametrize('kind', [Download, Asked])
def test_what_runs_goes_on_as_with_envoy(site, tmp_path, stopping, new_pod, kind, is_gone):
    """The same pods before and after, and why there is no limit by default."""
    app, other = new_pod(kind), new_pod(Download, 'other')
    waypoint, envoy = site(kind, app.line), EnvoySite(tmp_path, app)
    stopping.append(envoy)
    running = [waypoint.open(kind, FREE_VIP), envoy.open(kind)]
    net.wait_for(lambda: len(app.requests) == 2, what='both requests at the pod')
    waypoint.endpoints(other.line, *([] if is_gone else [app.line + ' health=unhealthy']))
    envoy.leaves(app, other, is_gone)
    for _ in range(5):
        assert envoy.request(path='/').header('x-pod') == 'other'
        assert waypoint.one.request(waypoint.identity, FREE_VIP).json()['pod'] == 'other'
    if kind is Asked:
        app.go.set()
    for client in running:
        client.goes_on()
    assert len(app.requests) == 2
