# SPDX-License-Identifier: Apache-2.0
"""Faults on purpose: delays and aborts, put to cairn and to a real Envoy, and what only cairn does."""

import time

import pytest

from peers import alike, chain, envoy as envoys, net, proxy
from peers.alike import Ask, Row
from peers.http import Http, Plain

VIP = '10.96.0.1:9080'
SERVICE = 'svc.ns:9080'
TO = 'match { path prefix PATH; } %%s backend %s;' % SERVICE
TEXT = 'fault filter abort'
ALL = chain.percent(100)
GRPC = {'content-type': 'application/grpc'}


def row(name, conf, *asks, **fault):
    return Row(name, TO % conf, {'match': {'path_separated_prefix': 'PATH'}, 'route': {'cluster': SERVICE, 'timeout': '0s'},
                                 'typed_per_filter_config': chain.fault(**fault)}, *asks)


def abort(status):
    return {'http_status': status, 'percentage': ALL}


def delay(percentage=ALL):
    return {'fixed_delay': '0.05s', 'percentage': percentage}


ABORTED = {'status': 503, 'body': TEXT, 'flags': 'FI', 'details': 'fault_filter_abort', 'pod': None}
SERVED = {'status': 200, 'flags': '-', 'details': 'via_upstream', 'pod': 'svc'}
USER = {'headers': [{'name': 'x-user', 'string_match': {'exact': 'jason'}}, {'name': 'x-b', 'string_match': {'exact': '1'}}]}
ROWS = [
    row('abort', 'fault abort 503 percent=100;', Ask(ABORTED), Ask(ABORTED, method='POST', body=b'x'),
        Ask({'status': 200, 'grpc-status': '14', 'grpc-message': TEXT, 'body': '', 'flags': 'FI'}, headers=GRPC), abort=abort(503)),
    row('abort with a gRPC status', 'fault abort grpc=8 percent=100;',
        Ask({'status': 200, 'grpc-status': '8', 'grpc-message': TEXT, 'body': '', 'flags': 'FI'}, headers=GRPC, method='POST'),
        Ask({**ABORTED, 'status': 200, 'content-type': 'text/plain'}), abort={'grpc_status': 8, 'percentage': ALL}),
    row('never', 'fault abort 503 percent=0; fault delay 1h percent=0;', Ask(SERVED),
        abort={'http_status': 503, 'percentage': chain.percent(0)}, delay={'fixed_delay': '3600s', 'percentage': chain.percent(0)}),
    row('delay', 'fault delay 50ms percent=100;', Ask({**SERVED, 'flags': 'DI'}), delay=delay()),
    row('delay, then abort', 'fault abort 418 percent=100; fault delay 50ms percent=100;', Ask({**ABORTED, 'status': 418, 'flags': 'DI,FI'}),
        delay=delay(), abort=abort(418)),
    row('headers', 'fault abort 503 percent=100 header X-User jason header x-b 1;',
        Ask(ABORTED, headers={'x-user': 'jason', 'x-b': '1'}), Ask(ABORTED, headers=[('x-user', 'joe'), ('x-user', 'jason'), ('x-b', '1')]),
        Ask(SERVED), Ask(SERVED, headers={'x-user': 'jason'}), Ask(SERVED, headers={'x-user': 'jason2', 'x-b': '1'}), abort=abort(503), **USER),
    row('authorization comes first', 'fault abort 503 percent=100; fault delay 1h percent=100;',
        Ask({'status': 403, 'flags': '-'}, headers={'x-deny': '1'}), abort=abort(503), delay={'fixed_delay': '3600s', 'percentage': ALL}),
]
DENY = 'authz { policy ns/no deny { rule { when "request.headers[x-deny]" *; } } }\n'


@pytest.fixture
def app(new_origin):
    return new_origin('svc')


def conf(app, body):
    return proxy.cluster(SERVICE, proxy.endpoint(app)) + proxy.service(SERVICE, VIP, body)


def test_faults_are_as_the_table_says(cairn, app, curl):
    waypoint = cairn(conf(app, DENY + alike.cairn_routes(ROWS)))
    wrong = alike.against_cairn(ROWS, waypoint, curl, VIP, [app])
    assert not wrong, '\n'.join(wrong)
    kinds = {kind: waypoint.count('cairn_fault_injected_total', kind=kind, service=SERVICE) for kind in ('delay', 'abort')}
    flags = [flag for row in ROWS for ask in row.asks for flag in ask.expect['flags'].split(',')]
    assert kinds == {'delay': flags.count('DI'), 'abort': flags.count('FI')}
    assert waypoint.count('istio_requests_total', response_flags='FI') > 0


def test_envoys_faults_are_as_the_table_says(tmp_path, stopping, app):
    if not envoys.binary():
        pytest.skip('no Envoy')
    wrong = alike.against_envoy(ROWS, tmp_path / 'envoy', {SERVICE: (app.ip, app.port)}, [app], stopping, deny='x-deny')
    assert not wrong, '\n'.join(wrong)


def statuses(waypoint, curl, n, path='/'):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        return [tunnel.request(path=path).status for _ in range(n)]


@pytest.mark.parametrize('percent', [1.5, 33.3333])
def test_percentage_is_within_three_sigma(cairn, app, curl, percent):
    n, share = 2000, percent / 100
    got = statuses(cairn(conf(app, 'fault abort 500 percent=%s;' % percent), main=proxy.SEED), curl, n).count(500)
    assert abs(got - n * share) <= 3 * (n * share * (1 - share)) ** 0.5


@pytest.mark.skipif(not envoys.binary(), reason='no Envoy')
def test_percentages_are_within_six_sigma_as_envoys(cairn, app, curl, tmp_path, stopping):
    n, shares = 1500, {'/third': 33.3333, '/few': 1.5, '/most': 90}
    waypoint = cairn(conf(app, ''.join('route r%d { match { path prefix %s; } fault abort 500 percent=%s; backend %s; }\n' % (i, path, percent, SERVICE)
                                       for i, (path, percent) in enumerate(shares.items()))), main=proxy.SEED)
    one = chain.Chain(tmp_path / 'envoy', [
        {'match': {'path_separated_prefix': path}, 'route': {'cluster': SERVICE},
         'typed_per_filter_config': chain.fault(abort={'http_status': 500, 'percentage': chain.percent(percent)})}
        for path, percent in shares.items()], {SERVICE: (app.ip, app.port)})
    stopping.append(one)
    http = Http(Plain(*one.address))
    for path, percent in shares.items():
        share = percent / 100
        ours = statuses(waypoint, curl, n, path).count(500)
        theirs = [http.request(path=path).status for _ in range(n)].count(500)
        for got in (ours, theirs):
            assert abs(got - n * share) <= 6 * (n * share * (1 - share)) ** 0.5, (path, ours, theirs)


def test_faults_of_the_service_are_its_routes_unless_they_have_own(cairn, app, curl):
    waypoint = cairn(conf(app, 'fault abort 500 percent=100;\n'
                          'route own { match { path prefix /own; } fault abort 501 percent=100; backend %s; }\n'
                          'route off { match { path prefix /off; } fault off; backend %s; }\n'
                          'route inherits { backend %s; }\n' % (SERVICE, SERVICE, SERVICE)))
    assert [statuses(waypoint, curl, 1, path)[0] for path in ('/own', '/off', '/x')] == [501, 200, 500]
    plain = cairn(conf(app, 'fault abort 500 percent=100;'))
    assert statuses(plain, curl, 1) == [500], 'also without any route'


def test_the_first_rule_whose_headers_hold_counts(cairn, app, curl):
    waypoint = cairn(conf(app, 'fault abort 500 percent=0.0001 header x-a 1; fault abort 501 percent=100;'))
    assert waypoint.request(curl, VIP, headers={'x-a': '2'}).status == 501
    assert waypoint.request(curl, VIP, headers={'x-a': '1'}).status == 200


def test_delay_lasts_as_long_as_it_says_and_holds_up_nobody_else(cairn, app, curl):
    waypoint = cairn(conf(app, 'route slow { match { path prefix /slow; } fault delay 700ms percent=100; backend %s; }\n'
                          'route rest { backend %s; }\n' % (SERVICE, SERVICE)))
    with waypoint.connection(curl) as connection:
        slow, fast = connection.connect(VIP), connection.connect(VIP)
        start = time.monotonic()
        slow.http.send(path='/slow')
        net.wait_for(lambda: waypoint.count('cairn_fault_waiting') == 1, 5, 'the delayed request')
        assert fast.request().status == 200
        assert [r.path for r in app.requests] == ['/']
        assert slow.http.response().status == 200
        assert time.monotonic() - start >= 0.7
    assert waypoint.count('cairn_fault_waiting') == 0


def test_client_that_leaves_ends_its_delay(cairn, app, curl):
    waypoint = cairn(conf(app, 'fault delay 1h percent=100;'))
    with waypoint.connection(curl) as connection:
        connection.connect(VIP).http.send()
        net.wait_for(lambda: waypoint.count('cairn_fault_waiting') == 1, 5, 'the delayed request')
    net.wait_for(lambda: waypoint.count('cairn_fault_waiting') == 0, 5, 'the end of the delay')
    assert waypoint.access(1)[0]['response_flags'] == 'DI,DC'
    assert not app.requests


def test_long_delay_does_not_block_the_drain(cairn, app, curl):
    """The delayed request goes on at once, is answered, and the worker ends."""
    waypoint = cairn(conf(app, 'fault delay 1h percent=100;'), main='worker_shutdown_timeout 1h;')
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        tunnel.http.send()
        net.wait_for(lambda: waypoint.count('cairn_fault_waiting') == 1, 5, 'the delayed request')
        stopping = waypoint.process
        waypoint.send_signal(3)
        assert tunnel.http.response().status == 200
    assert stopping.wait(15) == 0


def test_explain_tells_of_faults_without_waiting(cairn, app, curl):
    waypoint = cairn(conf(app, 'fault delay 1h percent=100; fault abort 503 percent=12.5 header x-a 1;'), start=False)
    text = waypoint.explain(curl, VIP, 'GET', '/', '-H', 'x-a: 1')
    assert 'fault: delay of 3600000 ms for 100.0000 % of such requests' in text
    assert 'fault: abort with 503 for 12.5000 % of such requests' in text
    assert 'verdict     allowed: to cluster' in text
