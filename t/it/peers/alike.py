# SPDX-License-Identifier: Apache-2.0
"""The same requests to cairn and to Envoy, and one table of what both should do.

A row is a route in both languages and requests that take it.  PATH in a row
stands for a path of its own.  What a request should bring is a dict of which
only the keys that it has are looked at:

    status body flags details       of the answer; flags as the access log has them
    location                        and so on: any header of the answer, None where it must not be
    pod                             the name of the origin that served it, None for nobody
    tries                           how often origins saw it
    path host                       what that origin was asked
    x_a                             and so on, with - for _: what it saw in a header, all lines joined by ' | '

A key that ends in `!` is one of the answer's headers though it begins with x.
"""

import json

from . import chain, net
from .http import Http, Plain


class Ask:
    def __init__(self, expect, path='', method='GET', headers=None, host='svc:9080', body=b'', envoy=None, why=None):
        """envoy: what differs there, with its reason in why."""
        self.expect, self.path, self.method, self.headers, self.host = expect, path, method, headers, host
        self.body, self.envoy, self.why = body, envoy or {}, why
        assert not self.envoy or why, 'a difference needs a reason'


class Row:
    def __init__(self, name, cairn, envoy, *asks):
        """cairn: the inside of a route block.  envoy: a route as Envoy has it, or several."""
        self.name, self.cairn, self.envoy, self.asks = name, cairn, envoy if isinstance(envoy, list) else [envoy], asks


def placed(rows):
    """[(row, its path)]"""
    return [(row, '/r%d' % i) for i, row in enumerate(rows)]


def cairn_routes(rows):
    return ''.join('route "%s" {\n    %s\n}\n' % (row.name, row.cairn.replace('PATH', path)) for row, path in placed(rows))


def envoy_routes(rows):
    text = [json.dumps(route).replace('PATH', path) for row, path in placed(rows) for route in row.envoy]
    return [json.loads(one) for one in text]


def outcome(answer, seen, log):
    """What came of one request, under all the names that expectations may use."""
    got = {'status': answer.status, 'body': answer.body.decode('latin-1'), 'flags': log['flags'], 'details': log['details'],
           'pod': answer.header('x-pod'), 'path': None, 'host': None, 'tries': log['tries']}
    if seen:
        got.update(path=seen.path, host=seen.header('host'))
    return got


def joined(headers, name):
    values = [v for n, v in headers if n.lower() == name]
    return ' | '.join(values) if values else None


def value_of(key, got, answer, seen):
    if key in got:
        return got[key]
    name = key.rstrip('!').replace('_', '-')
    if key.endswith('!') or not key.startswith('x_'):
        return joined(answer.headers, name)
    return joined(seen.headers, name) if seen else None


def differences(name, ask, want, answer, seen, log):
    got = outcome(answer, seen, log)
    for key, value in want.items():
        is_ = value_of(key, got, answer, seen)
        if is_ != value:
            yield '%s: %s %s %s: %s is %r, expected %r (%s)' % (name, ask.method, ask.path, ask.headers or '', key, is_, value, got)


def tried(origins, before, expected):
    """How often origins saw the request; an answer that did not wait for them may be here first."""
    def count():
        return sum(len(app.requests) - n for app, n in before.items())
    try:
        net.wait_for(lambda: count() >= expected, 5.0)
    except TimeoutError:
        pass  # the table says what was expected
    return count()


def run(rows, send, origins, access, want):
    """Sends all; want(ask) -> expectations.  Returns what is not as expected."""
    done = []
    for row, path in placed(rows):
        for ask in row.asks:
            before = {app: len(app.requests) for app in origins}
            answer = send(ask, path + ask.path)
            tries = tried(origins, before, want(ask).get('tries', 0))
            seen = next((app.requests[-1] for app in origins if len(app.requests) > before[app]), None)
            done.append((row, ask, answer, seen, tries))
    logs = access(len(done))
    return [text for (row, ask, answer, seen, tries), log in zip(done, logs)
            for text in differences(row.name, ask, want(ask), answer, seen, {**log, 'tries': tries})]


def against_cairn(rows, waypoint, identity, vip, origins):
    def send(ask, path):
        with waypoint.connection(identity) as connection:
            return connection.connect(vip).request(ask.method, path, ask.headers, ask.body, host=ask.host)

    def access(n):
        return [{'flags': line['response_flags'], 'details': line['response_code_details']} for line in waypoint.access(n)]
    return run(rows, send, origins, access, lambda ask: ask.expect)


def against_envoy(rows, folder, clusters, origins, stopping, **options):
    """clusters: as chain.Chain takes them."""
    one = chain.Chain(folder, envoy_routes(rows), clusters, **options)
    stopping.append(one)

    def send(ask, path):
        stream = Plain(*one.address)
        try:
            return Http(stream).request(ask.method, path, ask.headers, ask.body, host=ask.host)
        finally:
            stream.close()
    return run(rows, send, origins, one.access, lambda ask: {**ask.expect, **ask.envoy})
