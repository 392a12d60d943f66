# SPDX-License-Identifier: Apache-2.0
"""What the program says about its decisions: /explain of a live worker, as `cairn explain` but by the state it is in."""

import re
import urllib.parse

import pytest

from peers import proxy

SERVICE, VIP = 'reviews.bookinfo:9080', '10.96.0.1:9080'
BODY = """
    authz { policy bookinfo/no-posts deny { rule { to { methods POST; } } } }
    rate_limit bookinfo/few { limit 3 per=1h; }
    fault abort 503 percent=1 header x-tester yes;
    route named { match { path prefix /a; } request_header set x-by cairn; backend reviews.bookinfo:9080 weight=3; backend invalid weight=1; }
    route rest { match { path prefix /rest; } backend reviews.bookinfo:9080; }
"""


@pytest.fixture
def waypoint(cairn, new_origin):
    app = new_origin('reviews-v1')
    return cairn(proxy.cluster(SERVICE, proxy.endpoint(app), breaker='max_requests=10', outlier='') + proxy.service(SERVICE, VIP, BODY))


def ask(waypoint, identity, path='/a', method='GET', to=VIP, headers=(), **more):
    query = [('to', to), ('from', identity.uri), ('method', method), ('path', path), *(('header', h) for h in headers), *more.items()]
    return waypoint.get('/explain?' + urllib.parse.urlencode(query))


def test_a_live_worker_explains_as_the_command_does(waypoint, curl):
    def drawn(account):
        """One in four is drawn for the backend that is none, and goes no further."""
        return next(text for text in iter(account, None) if 'drawn is invalid' not in text)
    live, command = drawn(lambda: ask(waypoint, curl).body.decode()), drawn(lambda: waypoint.explain(curl, VIP, 'GET', '/a'))
    for line in ('route: split of 4: reviews.bookinfo:9080 3, (500) 1; drawn for this one:', 'request_header: set x-by',
                 'fault: abort only of requests with x-tester: yes', 'rate_limit: "bookinfo/few"', 'retry: up to 2 times'):
        assert line in live and line in command, live
    live = ask(waypoint, curl, '/rest').body.decode()
    assert 'cluster: default_priority::max_requests 10' in live and 'cluster: outlier::max_consecutive_5xx 5' in live
    assert 'verdict     allowed: to cluster reviews.bookinfo:9080, host ' in live


def test_the_account_says_what_it_comes_to(waypoint, curl):
    assert 'verdict     denied (403): rbac_access_denied_matched_policy[ns[bookinfo]-policy[no-posts]-rule[0]]' in ask(waypoint, curl, method='POST').body.decode()
    assert 'verdict     no route (404)' in ask(waypoint, curl, '/none').body.decode()
    assert 'service     none: the waypoint does not serve 10.96.0.9:80' in ask(waypoint, curl, to='10.96.0.9:80').body.decode()
    tester = ask(waypoint, curl, '/rest', headers=['X-Tester: yes']).body.decode()
    assert 'fault: abort with 503 for 1.0000 % of such requests' in tester
    assert 'connection  to ' + VIP in waypoint.get('/explain?to=' + VIP).body.decode()


@pytest.mark.parametrize('query,why', [
    ('', 'use ?to='), ('to=x', 'not HOST:PORT or IP:PORT: x'), ('from=me&to=' + VIP, 'not an identity'), ('ip=1.2.3&to=' + VIP, 'not an IP address'),
    ('to=%s&method=GET' % VIP, 'method and path belong together'), ('to=%s&method=GET&path=x' % VIP, 'a path begins with /'),
    ('to=%s&header=x' % VIP, 'not a header'), ('to=%s&what=x' % VIP, 'unknown argument'), ('to=%s%%0Aforged' % VIP, 'control characters')])
def test_a_question_that_is_none_is_told_why(waypoint, query, why):
    answer = waypoint.get('/explain?' + query)
    assert answer.status == 400 and why in answer.body.decode()


def test_asking_costs_nothing(waypoint, curl):
    """No token of a limit, no metric, no line in the access log, no tunnel that stays."""
    def figures():
        text = waypoint.get('/stats/prometheus', 15020).body.decode()
        return {line for line in text.splitlines() if re.match(r'cairn_(authz|rate_limit|fault|tunnels)|istio_', line)}
    before = figures()
    for _ in range(20):
        assert '2 tokens left' in ask(waypoint, curl, '/rest').body.decode()
        ask(waypoint, curl, method='POST')
    assert figures() == before
    assert [waypoint.request(curl, VIP, path='/rest').status for _ in range(4)] == [200, 200, 200, 429]
    assert 'verdict     allowed, but answered by the waypoint itself: 429 local_rate_limited' in ask(waypoint, curl, '/rest').body.decode()
    assert len(waypoint.access(4)) == 4
