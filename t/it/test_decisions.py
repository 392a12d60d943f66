# SPDX-License-Identifier: Apache-2.0
"""/decisions: what was refused and what failed lately, with the reason and the question that explains it."""

import json
import os
import signal

import pytest

from peers import hbone, net, proxy

pytestmark = pytest.mark.module('decisions')

SERVICE, VIP = 'reviews.bookinfo:9080', '10.96.0.1:9080'
GONE, GONE_VIP = 'gone.bookinfo:9080', '10.96.0.2:9080'
RAW, RAW_VIP = 'raw.bookinfo:9000', '10.96.0.3:9000'
AUTHZ = 'authz { policy bookinfo/no-posts deny { rule { to { methods POST; } } } }'
ROUTE = 'route named { match { path prefix /a; } backend reviews.bookinfo:9080; }'


def body(app, extra=''):
    return (proxy.cluster(SERVICE, proxy.endpoint(app)) + proxy.service(SERVICE, VIP, AUTHZ + ROUTE) +
            proxy.cluster(GONE, '127.255.255.254:1') + proxy.service(GONE, GONE_VIP, 'retry off;') +
            proxy.cluster(RAW, '127.255.255.254:1', protocol='tcp') +
            proxy.service(RAW, RAW_VIP, 'authz { policy bookinfo/none allow { } }', protocol='tcp') + extra)


def decisions(waypoint):
    answer = waypoint.get('/decisions?format=json')
    assert answer.header('content-type') == 'application/json'
    return json.loads(answer.body)


def wait(waypoint, n):
    return net.wait_for(lambda: (lambda v: v if len(v) >= n else None)(decisions(waypoint)), 10.0, '%d decisions' % n)


@pytest.fixture
def app(new_origin):
    return new_origin('reviews-v1')


def test_nothing_to_tell_at_first(cairn, app, curl):
    waypoint = cairn(body(app))
    assert waypoint.get('/decisions').body == b'nothing was refused and nothing has failed\n'
    assert waypoint.request(curl, VIP, path='/a').status == 200
    assert waypoint.request(curl, VIP, path='/a/status/404').status in (200, 404)  # the pod's own affair
    assert decisions(waypoint) == []


def test_refusals_and_failures_have_their_reasons(cairn, app, curl):
    waypoint = cairn(body(app))
    assert waypoint.request(curl, VIP, method='POST', path='/a?secret=1').status == 403
    assert waypoint.request(curl, VIP, path='/none').status == 404
    assert waypoint.request(curl, GONE_VIP).status == 503
    dead, lost, denied = wait(waypoint, 3)
    assert {k: denied[k] for k in ('status', 'flags', 'details', 'method', 'path', 'to', 'service', 'from', 'times')} == {
        'status': 403, 'flags': '-', 'details': 'rbac_access_denied_matched_policy[ns[bookinfo]-policy[no-posts]-rule[0]]',
        'method': 'POST', 'path': '/a', 'to': VIP, 'service': SERVICE, 'from': curl.uri, 'times': 1}
    assert (lost['status'], lost['flags'], lost['details'], lost['path']) == (404, 'NR', 'route_not_found', '/none')
    assert (dead['status'], dead['flags'], dead['cluster'], dead['host']) == (503, 'UF', GONE, '127.255.255.254:1')
    # the question that is printed with it tells the whole of it
    assert 'policy "bookinfo/no-posts"' in waypoint.get(denied['explain']).body.decode()
    text = waypoint.get('/decisions').body.decode()
    assert '  403 -  rbac_access_denied' in text and 'from %s at 127.' % curl.uri in text and 'secret' not in text


def test_a_connection_that_is_refused_is_told_too(cairn, app, curl):
    waypoint = cairn(body(app))
    with waypoint.connection(curl) as connection:
        connection.connect(RAW_VIP)
        refused, = wait(waypoint, 1)
    assert refused['status'] == 0 and 'rbac_access_denied' in refused['details'] and refused['service'] == RAW


def test_a_tunnel_to_nobody_is_told_too(cairn, app, curl):
    waypoint = cairn(body(app))
    with waypoint.connection(curl) as connection:
        with pytest.raises(hbone.Refused):
            connection.connect('10.96.0.99:80')
    refused, = wait(waypoint, 1)
    assert {k: refused[k] for k in ('status', 'details', 'to', 'from', 'address', 'service', 'times')} == {
        'status': 503, 'details': 'hbone_no_service', 'to': '10.96.0.99:80', 'from': curl.uri, 'address': '127.0.0.1',
        'service': '', 'times': 1}
    assert 'does not serve 10.96.0.99:80' in waypoint.get(refused['explain']).body.decode()


def test_a_client_of_another_mesh_is_told_and_a_probe_is_not(cairn, app, pki):
    waypoint = cairn(body(app))
    net.wait_port(waypoint.ip, 15008)  # only connects, as a TCP probe does
    for stranger in (pki.foreign_ca('default', 'curl'), pki.foreign_domain('default', 'curl')):
        assert hbone.is_refused(waypoint.ip, stranger)
    domain, ca = wait(waypoint, 2)
    assert (ca['status'], ca['to'], ca['explain']) == (0, '', '')
    assert 'hbone_handshake: ' in ca['details'] and 'hbone_handshake: ' in domain['details']
    assert 'foreign' in domain['details'] or 'trust domain' in domain['details']
    text = waypoint.get('/decisions').body.decode()
    assert 'explain' not in text and '1 time\n' in text


def test_what_repeats_is_counted_and_what_is_old_makes_room(cairn, app, curl):
    waypoint = cairn(body(app), main='decisions 4;')
    for i in range(10):
        waypoint.request(curl, VIP, method='POST', path='/a/%d' % i)
    one, = wait(waypoint, 1)
    net.wait_for(lambda: decisions(waypoint)[0]['times'] == 10, 10.0, 'all ten')
    for i in range(6):  # each unlike the one before it
        waypoint.request(curl, VIP, path='/none')
        waypoint.request(curl, GONE_VIP)
    net.wait_for(lambda: [v['flags'] for v in decisions(waypoint)] == ['UF', 'NR', 'UF', 'NR'], 10.0, 'the last four')


def test_all_workers_tell_also_one_that_died(cairn, app, curl):
    waypoint = cairn(body(app), workers=2)
    waypoint.expect_crash = True
    for _ in range(8):
        waypoint.request(curl, VIP, method='POST', path='/a')
    net.wait_for(lambda: sum(v['times'] for v in decisions(waypoint)) == 8, 10.0, 'eight of all workers')
    pids = waypoint.workers()
    os.kill(pids[0], signal.SIGKILL)
    net.wait_for(lambda: waypoint.looks_ready() and len(waypoint.workers()) == 2 and waypoint.workers() != pids, 15.0, 'another worker')
    assert sum(v['times'] for v in decisions(waypoint)) == 8


def test_none_are_kept_when_none_are_wanted(cairn, app, curl):
    waypoint = cairn(body(app), main='decisions 0;')
    assert waypoint.request(curl, VIP, method='POST', path='/a').status == 403
    waypoint.access(1)
    assert decisions(waypoint) == []


def test_hostile_texts_stay_on_their_line_and_within_their_room(cairn, app, curl):
    waypoint = cairn(body(app))
    waypoint.request(curl, VIP, method='POST', path='/' + 'x"<&' * 400)
    one, = wait(waypoint, 1)
    assert one['path'].startswith('/x') and len(one['path']) <= 64 and 'no-posts' in one['details']
    assert len(waypoint.get('/decisions').body.decode().splitlines()) == 4
    assert waypoint.get(one['explain']).status == 200
