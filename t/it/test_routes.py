# SPDX-License-Identifier: Apache-2.0
"""Which route a request takes: every kind of match, put to cairn and to a real Envoy.

And what Envoy has no word for: consumer routes, and Gateway API's order of routes.
"""

import collections

import pytest

from peers import alike, envoy as envoys, proxy
from peers.alike import Ask, Row

VIP = '10.96.0.1:9080'
SERVICE = 'svc.ns:9080'
HIT, MISS = {'status': 200, 'body': 'hit'}, {'status': 200, 'body': 'miss'}
ANSWER = 'direct_response 200 hit;'


def answer(text):
    return {'direct_response': {'status': 200, 'body': {'inline_string': text}}}


def row(name, conf, match, *asks):
    """Requests that the conditions take are answered `hit`, others on the same path `miss`."""
    return Row(name, 'match { %s } %s' % (conf, ANSWER), {'match': match, **answer('hit')}, *asks)


def header(name, conf, matcher, *asks):
    return row('header ' + name, 'path prefix PATH; ' + conf, {
        'path_separated_prefix': 'PATH', 'headers': [{'name': 'x-a', **matcher}]}, *asks)


def query(name, conf, matcher, *asks):
    return row('query ' + name, 'path prefix PATH; ' + conf, {
        'path_separated_prefix': 'PATH', 'query_parameters': [{'name': 'k', **matcher}]}, *asks)


def hit(path='', **more):
    return Ask(HIT, path, **more)


def miss(path='', **more):
    return Ask(MISS, path, **more)


def lines(*values):
    return [('x-a', v) for v in values]


def matcher(kind, value):
    return {'string_match': {kind: {'regex': value} if kind == 'safe_regex' else value}}


def without(kind, value):
    return {**matcher(kind, value), 'invert_match': True, 'treat_missing_header_as_empty': True}


EMPTY = 'a header that is not there matches nothing; Envoy takes it for an empty one'
ROWS = [
    row('path exact', 'path exact PATH/ex;', {'path': 'PATH/ex'},
        hit('/ex'), hit('/ex?q'), hit('/e%78'), hit('/a/../ex'), miss('/ex/'), miss('/EX'), miss('/exx'), miss('/ex%2f')),
    row('path prefix', 'path prefix PATH/foo;', {'path_separated_prefix': 'PATH/foo'},
        hit('/foo'), hit('/foo/'), hit('/foo/x'), hit('/foo?x'), hit('/fo%6f'), miss('/foobar'), miss('/FOO'), miss('/foo%2fx'), miss('/fo')),
    row('path text_prefix', 'path text_prefix PATH/foo;', {'prefix': 'PATH/foo'},
        hit('/foo'), hit('/foobar'), hit('/foo%2fx'), miss('/fo'), miss('/FOO')),
    row('path regex', 'path regex "PATH/v[0-9]+(/.*)?|PATH/w";', {'safe_regex': {'regex': 'PATH/v[0-9]+(/.*)?|PATH/w'}},
        hit('/v1'), hit('/v12/x?y'), hit('/w'), miss('/v'), miss('/v1x'), miss('/wx')),
    row('path exact, ignored case', 'path exact PATH/Ex; ignore_case on;', {'path': 'PATH/Ex', 'case_sensitive': False},
        hit('/eX'), hit('/Ex?A'), miss('/exx')),
    row('path text_prefix, ignored case', 'path text_prefix PATH/Ex; ignore_case on;', {'prefix': 'PATH/Ex', 'case_sensitive': False},
        hit('/eXample'), miss('/e')),
    row('method', 'path prefix PATH; method POST;', {
        'path_separated_prefix': 'PATH', 'headers': [{'name': ':method', **matcher('exact', 'POST')}]},
        hit(method='POST'), miss(), miss(method='PUT')),
    row('method regex', 'path prefix PATH; method regex "P.*";', {
        'path_separated_prefix': 'PATH', 'headers': [{'name': ':method', **matcher('safe_regex', 'P.*')}]},
        hit(method='POST'), hit(method='PUT'), miss()),
    header('exact', 'header x-a exact one;', matcher('exact', 'one'),
           hit(headers=lines('one')), hit(headers=lines('one', 'two')), hit(headers=lines('two', 'one')), hit(headers=[('X-A', '  one\t')]),
           miss(), miss(headers=lines('One')), miss(headers=lines('one,two')), miss(headers=lines('two'))),
    header('exact with a comma', 'header x-a exact one,two;', matcher('exact', 'one,two'),
           hit(headers=lines('one,two')), miss(headers=lines('one', 'two'))),
    header('exact and empty', 'header x-a exact "";', matcher('exact', ''), hit(headers=lines('')), miss(), miss(headers=lines('a'))),
    header('prefix', 'header x-a prefix on;', matcher('prefix', 'on'),
           hit(headers=lines('one')), hit(headers=lines('x', 'one')), miss(headers=lines('xone')), miss()),
    header('suffix', 'header x-a suffix wo;', matcher('suffix', 'wo'),
           hit(headers=lines('two')), hit(headers=lines('one', 'two')), miss(headers=lines('twos')), miss()),
    header('regex', 'header x-a regex "[a-z]+[0-9]";', matcher('safe_regex', '[a-z]+[0-9]'),
           hit(headers=lines('ab1')), miss(headers=lines('ab12')), miss(headers=lines('AB1')), miss()),
    header('present', 'header x-a present;', {'present_match': True}, hit(headers=lines('')), hit(headers=lines('x')), miss()),
    header('without exact', 'not_header x-a exact one;', without('exact', 'one'),
           hit(), hit(headers=lines('two')), hit(headers=lines('')), miss(headers=lines('one')), miss(headers=lines('two', 'one'))),
    header('without prefix', 'not_header x-a prefix on;', without('prefix', 'on'), hit(), miss(headers=lines('one')), hit(headers=lines('two'))),
    header('without regex', 'not_header x-a regex "o.*";', without('safe_regex', 'o.*'), hit(), miss(headers=lines('one')), hit(headers=lines('two'))),
    header('without regex that takes the empty text', 'not_header x-a regex "o*";', without('safe_regex', 'o*'),
           Ask(HIT, envoy=MISS, why=EMPTY), miss(headers=lines('')), hit(headers=lines('x'))),
    header('without present', 'not_header x-a present;', {'present_match': True, 'invert_match': True},
           hit(), miss(headers=lines('')), miss(headers=lines('x'))),
    row('two headers', 'path prefix PATH; header x-a exact 1; header x-b exact 2;', {
        'path_separated_prefix': 'PATH', 'headers': [{'name': 'x-a', **matcher('exact', '1')}, {'name': 'x-b', **matcher('exact', '2')}]},
        hit(headers={'x-a': '1', 'x-b': '2'}), miss(headers={'x-a': '1'}), miss(headers={'x-b': '2'})),
    query('exact', 'query k exact v;', matcher('exact', 'v'),
          hit('?k=v'), hit('?a&k=v&b'), hit('?k=v&k=w'), miss('?k=w&k=v'), miss('?K=v'), miss('?k=V'), miss('?kk=v'), miss(), miss('?k=v;a')),
    query('exact and empty', 'query k exact "";', matcher('exact', ''), hit('?k'), hit('?k='), miss('?k=a'), miss('?a')),
    query('not decoded', 'query k exact "a b";', matcher('exact', 'a b'), miss('?k=a%20b'), miss('?k=a+b')),
    query('exact and encoded', 'query k exact a%20b;', matcher('exact', 'a%20b'), hit('?k=a%20b'), miss('?k=a+b')),
    query('with =', 'query k exact a=b;', matcher('exact', 'a=b'), hit('?k=a=b'), miss('?k=a')),
    query('prefix', 'query k prefix v;', matcher('prefix', 'v'), hit('?k=vx'), miss('?k=xv')),
    query('regex', 'query k regex "v[0-9]";', matcher('safe_regex', 'v[0-9]'), hit('?k=v1'), miss('?k=v12'), miss('?k=v')),
    query('present', 'query k present;', {'present_match': True}, hit('?k'), hit('?k=1'), miss('?kk'), miss()),
    row('authority', 'path prefix PATH; authority exact svc:9080;', {
        'path_separated_prefix': 'PATH', 'headers': [{'name': ':authority', **matcher('exact', 'svc:9080')}]},
        hit(), miss(host='svc'), miss(host='SVC:9080'), miss(host='svc:80')),
    row('authority prefix', 'path prefix PATH; authority prefix svc;', {
        'path_separated_prefix': 'PATH', 'headers': [{'name': ':authority', **matcher('prefix', 'svc')}]}, hit(), hit(host='svc.ns'), miss(host='s')),
    row('authority regex', 'path prefix PATH; authority regex "[a-z]+:[0-9]+";', {
        'path_separated_prefix': 'PATH', 'headers': [{'name': ':authority', **matcher('safe_regex', '[a-z]+:[0-9]+')}]}, hit(), miss(host='svc')),
    row('scheme', 'path prefix PATH; scheme exact https;', {
        'path_separated_prefix': 'PATH', 'headers': [{'name': ':scheme', **matcher('exact', 'https')}]},
        miss(), hit(headers={'x-forwarded-proto': 'https'})),
]
# Behind all rows: one route that takes what they leave, as both write it.
REST = Row('the rest', 'direct_response 200 miss;', {'match': {'prefix': '/'}, **answer('miss')})
ROWS = ROWS + [REST]
for one, path in alike.placed(ROWS):
    one.cairn = one.cairn.replace('PATH', path)


def routed(*routes, clusters=''):
    return proxy.cluster(SERVICE) + clusters + proxy.service(SERVICE, VIP, '\n'.join(routes))


def test_matches_are_as_the_table_says(cairn, curl):
    wrong = alike.against_cairn(ROWS, cairn(routed(alike.cairn_routes(ROWS))), curl, VIP, [])
    assert not wrong, '\n'.join(wrong)


def test_envoy_matches_as_the_table_says(tmp_path, stopping):
    if not envoys.binary():
        pytest.skip('no Envoy')
    wrong = alike.against_envoy(ROWS, tmp_path / 'envoy', {}, [], stopping)
    assert not wrong, '\n'.join(wrong)


def body(waypoint, identity, *args, **named):
    return waypoint.request(identity, VIP, *args, **named).body.decode()


def answering(name, match=''):
    return 'route %s { %s direct_response 200 %s; }' % (name, match, name)


def test_port_of_a_match_is_the_services(cairn, curl):
    many = proxy.cluster(SERVICE) + 'service svc.ns:0 {\n    address 10.96.0.1:9080;\n    address 10.96.0.1:9090;\n%s\n%s\n}\n' % (
        answering('first', 'match { port 9080; }'), answering('second', 'match { port 9090; }'))
    waypoint = cairn(many)
    assert [waypoint.request(curl, '10.96.0.1:%d' % p).body for p in (9080, 9090)] == [b'first', b'second']


def test_claims_match_nothing_without_a_module_for_tokens(cairn, curl):
    waypoint = cairn(routed(answering('claimed', 'match { claim sub present; }'), answering('rest')))
    assert body(waypoint, curl, headers={'Authorization': 'Bearer a.b.c'}) == 'rest'


def test_clients_with_routes_of_their_own_see_only_those(cairn, pki, curl):
    waypoint = cairn(routed(
        answering('own', 'match { path prefix /a; client_namespace shop; }'),
        answering('producer', 'match { path prefix /a; }'), answering('all')))
    shop = pki.identity('shop', 'cart')
    assert [body(waypoint, curl, path=p) for p in ('/a', '/b')] == ['producer', 'all']
    assert body(waypoint, shop, path='/a') == 'own'
    assert waypoint.request(shop, VIP, path='/b').status == 404


def test_routes_are_tried_in_the_order_of_the_file_however_many(cairn, curl):
    """Precedence is the generator's work; the proxy keeps it, with an index and without."""
    few = [answering('exact', 'match { path exact /a/b; }'), answering('long', 'match { path prefix /a/b; }'),
           answering('method', 'match { path prefix /a; method PUT; }'), answering('headers', 'match { path prefix /a; header x 1; }'.replace('x 1', 'x exact 1')),
           answering('query', 'match { path prefix /a; query q exact 1; }'), answering('short', 'match { path prefix /a; }'), answering('rest')]
    many = [answering('n%d' % i, 'match { path prefix /n%d; }' % i) for i in range(300)]
    for routes in (few, many[:150] + few[:-1] + many[150:] + few[-1:]):
        waypoint = cairn(routed(*routes))
        asked = [body(waypoint, curl, method, path, headers) for method, path, headers in (
            ('GET', '/a/b', None), ('GET', '/a/b/c', None), ('PUT', '/a/x', {'x': '1'}), ('GET', '/a/x?q=1', {'x': '1'}),
            ('GET', '/a?q=1', None), ('GET', '/a', None), ('GET', '/other', None))]
        assert asked == ['exact', 'long', 'method', 'headers', 'query', 'short', 'rest']


def test_an_unsupported_rule_voids_nothing_else(cairn, curl):
    waypoint = cairn(routed('route bad { match { path prefix /bad; } unsupported "a filter of type ExtensionRef"; }', answering('good')))
    assert waypoint.request(curl, VIP, path='/bad').status == 500
    assert body(waypoint, curl, path='/') == 'good'
    assert waypoint.access(2)[0]['response_code_details'] == 'unsupported_filter'


def spread(waypoint, curl, n):
    with waypoint.connection(curl) as connection:
        tunnel = connection.connect(VIP)
        return collections.Counter(tunnel.request().header('x-pod') or 'invalid' for _ in range(n))


def test_a_seed_repeats_the_draws_and_a_reload_does_not(cairn, new_origin, curl):
    apps = [new_origin('a'), new_origin('b')]
    body = routed('route r { backend a.ns:9080; backend b.ns:9080; }', clusters=''.join(
        proxy.cluster('%s.ns:9080' % app.name, proxy.endpoint(app)) for app in apps))
    draws = lambda waypoint: [waypoint.request(curl, VIP).header('x-pod') for _ in range(40)]
    one, same, other = (cairn(body, main='random_seed %d;' % seed) for seed in (5, 5, 6))
    first = draws(one)
    assert draws(same) == first != draws(other)
    one.reload(body + proxy.cluster('more.ns:9080'))
    assert draws(one) == draws(same) != first


def test_weights_are_independent_draws(cairn, new_origin, curl):
    """Chi-square over three shares, and the order within: no smoothing."""
    apps = {name: new_origin(name) for name in 'abc'}
    clusters = ''.join(proxy.cluster('%s.ns:9080' % name, proxy.endpoint(app)) for name, app in apps.items())
    weights, n = {'a': 70, 'b': 25, 'invalid': 5}, 2000
    backends = 'backend a.ns:9080 weight=70; backend b.ns:9080 weight=25; backend c.ns:9080 weight=0; backend invalid weight=5;'
    waypoint = cairn(routed('route r { %s }' % backends, clusters=clusters), main=proxy.SEED)
    got = spread(waypoint, curl, n)
    assert set(got) == set(weights)
    chi2 = sum((got[name] - n * w / 100) ** 2 / (n * w / 100) for name, w in weights.items())
    assert chi2 < 13.82, got  # two degrees of freedom, one in a thousand
    assert not apps['c'].requests
