# SPDX-License-Identifier: Apache-2.0
"""Session persistence (GEP-1619): a client's requests stay with one endpoint."""

import base64
import collections
import re
import socket
import struct
import time

import pytest

from peers import chain, envoy as envoys, proxy
from peers.http import Http, Plain

VIP = '10.96.0.1:9080'
SERVICE = 'svc.ns:9080'
NAMES = ['a', 'b', 'c', 'd']


@pytest.fixture
def apps(new_origin):
    return {name: new_origin(name) for name in NAMES}


def conf(apps, body, lb='random', **settings):
    endpoints = [proxy.endpoint(app) for app in apps.values()]
    return proxy.cluster(SERVICE, *endpoints, lb=lb, **settings) + proxy.service(SERVICE, VIP, body)


def ask(waypoint, curl, headers=None, path='/'):
    answer = waypoint.request(curl, VIP, path=path, headers=headers)
    assert answer.status == 200
    return answer


def cookie_of(answer, name='sess'):
    """(value, attributes) of the session's cookie, or None."""
    lines = [v for n, v in answer.headers if n.lower() == 'set-cookie' and v.startswith(name + '=')]
    if not lines:
        return None
    value, _, attributes = lines[0].partition(';')
    return value.partition('=')[2].strip('"'), attributes.strip()


def carry(answer, name='sess'):
    return {'Cookie': 'other=1; %s="%s"; last=2' % (name, cookie_of(answer, name)[0])}


def pods(waypoint, curl, n, headers, path='/'):
    return collections.Counter(ask(waypoint, curl, headers, path).header('x-pod') for _ in range(n))


def parts(token):
    raw = base64.b64decode(token)
    assert (raw[0], len(raw)) == (1, 19)
    return list(struct.unpack('>III4sH', raw[1:]))


def token(cluster, begun, used, ip, port):
    return base64.b64encode(b'\x01' + struct.pack('>III4sH', cluster, begun, used, ip, port)).decode()


def test_cookie_keeps_a_client_on_its_endpoint(cairn, apps, curl):
    waypoint = cairn(conf(apps, 'session cookie sess;'))
    first = ask(waypoint, curl)
    value, attributes = cookie_of(first)
    assert attributes == 'HttpOnly', 'a session cookie has no age'
    answers = [ask(waypoint, curl, carry(first)) for _ in range(12)]
    assert {a.header('x-pod') for a in answers} == {first.header('x-pod')}
    assert [cookie_of(a) for a in answers] == [None] * 12, 'nothing new to say'
    assert len(pods(waypoint, curl, 30, None)) > 1, 'without it there is none'


@pytest.mark.parametrize('protocol', ['http', 'http2'])
def test_header_keeps_a_client_on_its_endpoint(cairn, apps, curl, protocol):
    waypoint = cairn(conf(apps, 'session header X-Session;'))
    first = ask(waypoint, curl)
    assert len(pods(waypoint, curl, 12, {'x-session': first.header('x-session')})) == 1


# ---- side by side with Envoy ----

STATES = {
    'aged': ('session cookie sess ttl=100s path=/aged permanent;', chain.session('cookie', cookie={'name': 'sess', 'ttl': '100s', 'path': '/aged'})),
    'brief': ('session cookie sess;', chain.session('cookie', cookie={'name': 'sess'})),
    'named': ('session header x-session;', chain.session('header', name='x-session')),
}


@pytest.fixture(params=['cairn', 'envoy'])
def party(request, cairn, apps, curl, tmp_path, stopping):
    """Asks cairn or Envoy on a route for each of the states."""
    if request.param == 'cairn':
        waypoint = cairn(conf(apps, ''.join('route %s { match { path prefix /%s; } %s backend %s; }\n' % (name, name, ours, SERVICE)
                                            for name, (ours, _) in STATES.items())))
        return lambda path, headers=None: waypoint.request(curl, VIP, path=path, headers=headers)
    if not envoys.binary():
        pytest.skip('no Envoy')
    routes = [{'match': {'path_separated_prefix': '/' + name}, 'route': {'cluster': SERVICE}, 'typed_per_filter_config': theirs}
              for name, (_, theirs) in STATES.items()]
    one = chain.Chain(tmp_path / 'envoy', routes, {SERVICE: chain.several(SERVICE, [(a.ip, a.port) for a in apps.values()], lb_policy='RANDOM')})
    stopping.append(one)
    return lambda path, headers=None: Http(Plain(*one.address)).request(path=path, headers=headers)


@pytest.mark.parametrize('state, attributes', [('aged', 'Max-Age=100; Path=/aged; HttpOnly'), ('brief', 'HttpOnly')])
def test_cookies_of_sessions_are_envoys(party, state, attributes):
    first = party('/' + state)
    value, got = cookie_of(first)
    assert got == attributes and value
    answers = [party('/' + state, carry(first)) for _ in range(10)]
    assert {(a.header('x-pod'), cookie_of(a)) for a in answers} == {(first.header('x-pod'), None)}
    for nonsense in ('x', '!!!', base64.b64encode(b'\x0a\x0c10.9.9.9:9999').decode()):  # the last one is of Envoy's form
        answer = party('/' + state, {'Cookie': 'sess=' + nonsense})
        assert answer.status == 200 and cookie_of(answer)[0] not in (nonsense, '')


def test_headers_of_sessions_are_envoys(party):
    first = party('/named')
    answers = [party('/named', {'x-session': first.header('x-session')}) for _ in range(10)]
    assert {(a.header('x-pod'), a.header('x-session')) for a in answers} == {(first.header('x-pod'), None)}


def test_attributes_of_the_cookie(cairn, apps, curl):
    waypoint = cairn(conf(apps, 'route p { session cookie sess ttl=1h path=/shop permanent; backend %s; }' % SERVICE))
    assert cookie_of(ask(waypoint, curl))[1] == 'Max-Age=3600; Path=/shop; HttpOnly'


def test_idle_time_is_renewed_with_each_response(cairn, apps, curl):
    waypoint = cairn(conf(apps, 'session cookie sess idle=1h ttl=2h;'))
    first = ask(waypoint, curl)
    cluster, begun, used, ip, port = parts(cookie_of(first)[0])
    assert begun == used and abs(begun - time.time()) < 60
    old = token(cluster, begun - 1000, used - 500, ip, port)
    again = ask(waypoint, curl, {'Cookie': 'sess=' + old})
    assert again.header('x-pod') == first.header('x-pod')
    renewed = parts(cookie_of(again)[0])
    assert renewed[1] == begun - 1000, 'it began when it began'
    assert renewed[2] >= used


@pytest.mark.parametrize('begun, used', [(-7201, -1), (-3602, -3602), (600, 600)])
def test_ended_idle_and_future_sessions_do_not_count(cairn, apps, curl, begun, used):
    waypoint = cairn(conf(apps, 'session cookie sess idle=1h ttl=2h;'))
    cluster, now, _, ip, port = parts(cookie_of(ask(waypoint, curl))[0])
    dead = {'Cookie': 'sess=' + token(cluster, now + begun, now + used, ip, port)}
    assert len(pods(waypoint, curl, 40, dead)) > 1
    assert parts(cookie_of(ask(waypoint, curl, dead))[0])[1] >= now


@pytest.mark.parametrize('value', ['', 'x', '!!!', 'AA==', 'A' * 300, base64.b64encode(b'\x02' + bytes(18)).decode(), '"', '%00'])
def test_nonsense_is_no_session(cairn, apps, curl, value):
    waypoint = cairn(conf(apps, 'session cookie sess;'))
    assert cookie_of(ask(waypoint, curl, {'Cookie': 'sess=' + value}))


def test_only_endpoints_of_the_cluster_are_honoured(cairn, apps, new_origin, curl):
    """A client that makes up an address gets an endpoint of the service, never that address."""
    outside = new_origin('outside')
    waypoint = cairn(conf(apps, 'session cookie sess;'))
    cluster, now, _, _, port = parts(cookie_of(ask(waypoint, curl))[0])
    for at, number in ((outside.ip, outside.port), ('127.0.0.1', 15000), (apps['a'].ip, 1)):
        made_up = {'Cookie': 'sess=' + token(cluster, now, now, socket.inet_aton(at), number)}
        answer = ask(waypoint, curl, made_up)
        assert answer.header('x-pod') in NAMES and cookie_of(answer), 'and a new session'
    assert not outside.requests


def test_only_backends_of_the_route_are_honoured(cairn, apps, new_origin, curl):
    secret = new_origin('secret')
    body = 'route s { match { path prefix /secret; } session cookie sess; backend secret.ns:9080; }\n' \
           'route r { session cookie sess; backend %s; }' % SERVICE
    waypoint = cairn(proxy.cluster('secret.ns:9080', proxy.endpoint(secret)) + conf(apps, body))
    theirs = carry(ask(waypoint, curl, path='/secret'))
    assert set(pods(waypoint, curl, 10, theirs)) <= set(NAMES)
    assert len(secret.requests) == 1


def test_session_moves_when_its_endpoint_left(cairn, apps, curl):
    waypoint = cairn(conf(apps, 'session cookie sess;'))
    first = ask(waypoint, curl)
    gone = first.header('x-pod')
    waypoint.reload(conf({n: a for n, a in apps.items() if n != gone}, 'session cookie sess;'))
    second = ask(waypoint, curl, carry(first))
    assert second.header('x-pod') != gone
    assert set(pods(waypoint, curl, 10, carry(second))) == {second.header('x-pod')}


@pytest.mark.parametrize('health, stays', [('unhealthy', False), ('draining', True)])
def test_session_leaves_an_unready_endpoint_and_stays_with_a_draining_one(cairn, apps, curl, health, stays):
    waypoint = cairn(conf(apps, 'session cookie sess;'))
    first = ask(waypoint, curl)
    endpoints = [proxy.endpoint(a, **({'health': health} if n == first.header('x-pod') else {})) for n, a in apps.items()]
    waypoint.reload(proxy.cluster(SERVICE, *endpoints, lb='random') + proxy.service(SERVICE, VIP, 'session cookie sess;'))
    assert (ask(waypoint, curl, carry(first)).header('x-pod') == first.header('x-pod')) == stays


def test_dead_endpoint_is_left_for_another(cairn, apps, curl):
    waypoint = cairn(conf(apps, 'session cookie sess;'))
    first = ask(waypoint, curl, path='/close')  # no connection to it is kept
    apps[first.header('x-pod')].stop()
    second = ask(waypoint, curl, carry(first))
    assert second.header('x-pod') != first.header('x-pod')
    assert parts(cookie_of(second)[0])[3] == socket.inet_aton(apps[second.header('x-pod')].ip)


def test_session_decides_before_weights_do(cairn, new_origin, curl):
    """One backend of two, whatever their weights become; its filter goes with it."""
    v1, v2 = new_origin('v1'), new_origin('v2')
    clusters = proxy.cluster('v1.ns:9080', proxy.endpoint(v1)) + proxy.cluster('v2.ns:9080', proxy.endpoint(v2))

    def text(one, two):
        backends = 'backend v1.ns:9080 weight=%d filter=f; backend v2.ns:9080 weight=%d; backend invalid weight=1;' % (one, two)
        return clusters + proxy.cluster(SERVICE) + proxy.service(SERVICE, VIP, (
            'route r { session cookie sess; %s backend_filter f { response_header set x-version 1; } }' % backends))
    waypoint = cairn(text(1000, 0), main=proxy.SEED)
    first = ask(waypoint, curl)
    assert (first.header('x-pod'), first.header('x-version')) == ('v1', '1')
    waypoint.reload(text(0, 1))
    answers = [ask(waypoint, curl, carry(first)) for _ in range(20)]
    assert {(a.header('x-pod'), a.header('x-version')) for a in answers} == {('v1', '1')}


def test_replies_of_the_proxy_begin_no_session(cairn, apps, curl):
    waypoint = cairn(conf({}, 'session cookie sess;'))
    answer = waypoint.request(curl, VIP)
    assert (answer.status, cookie_of(answer)) == (503, None)


def test_session_of_a_route_takes_the_place_of_the_services(cairn, apps, curl):
    waypoint = cairn(conf(apps, 'session cookie sess;\n'
                          'route off { match { path prefix /off; } session off; backend %s; }\n'
                          'route own { match { path prefix /own; } session cookie mine; backend %s; }\n'
                          'route rest { backend %s; }' % (SERVICE, SERVICE, SERVICE)))
    cookies = {path: [v.partition('=')[0] for n, v in ask(waypoint, curl, path=path).headers if n == 'set-cookie'] for path in ('/off', '/own', '/x')}
    assert cookies == {'/off': [], '/own': ['mine'], '/x': ['sess']}


def test_explain_tells_of_the_session(cairn, apps, curl):
    waypoint = cairn(conf(apps, 'session cookie sess;'))
    first = ask(waypoint, curl)
    text = waypoint.explain(curl, VIP, 'GET', '/', '-H', 'cookie: sess=' + cookie_of(first)[0])
    assert 'session: to cluster %s, to the same endpoint as before' % SERVICE in text
    assert re.search('host ' + re.escape(apps[first.header('x-pod')].address), text)
    assert 'not valid any more' in waypoint.explain(curl, VIP, 'GET', '/', '-H', 'cookie: sess=x')
