# SPDX-License-Identifier: Apache-2.0
"""What a large configuration takes of a worker's memory, and that changing it takes no more.

DESIGN A.7: at most 60 MiB resident with 5,000 routes, in one service or in 5,000 of them.
"""

import signal

import pytest

from peers import net, proxy, steady

from test_lifecycle import keeper_of

MIB = 1 << 20
ROUTES = 5000
VIP = '10.96.9.9:80'


@pytest.fixture(autouse=True)
def real_memory(builddir):
    if 'address' in (builddir / 'cn_flags').read_text():
        pytest.skip('ASan has its own memory')


@pytest.fixture
def pods(new_origin):
    return [proxy.endpoint(new_origin('one')), proxy.endpoint(new_origin('two'))]


def private(pid):
    return steady.private_kib(pid) * 1024


# ---- large configurations ----

def routes(pods):
    """One service with all the routes, each with conditions, backends and actions of its own."""
    clusters = ['v%d.many:80' % i for i in range(50)]
    each = """route r%d {
        match { path exact /p%d/items; header x-version exact v%d; method GET; }
        backend %s weight=9; backend %s weight=1;
        request_timeout 5s; request_header set x-route r%d;
    }"""
    body = '\n'.join(each % (i, i, i, clusters[i % 50], clusters[(i + 1) % 50], i) for i in range(ROUTES))
    return ''.join(proxy.cluster(name, *pods) for name in clusters) + proxy.service('many.many:80', VIP, body, cluster=None), {}


def services(pods, own_identity=False):
    files = steady.wide(ROUTES, 10)
    if own_identity:
        for i in range(ROUTES):
            lines = steady.wide_endpoints(i, 10).splitlines()
            files['endpoints.d/svc%d.wide:9080' % i] = '\n'.join('%s-%d' % pair for pair in zip(lines, range(10))) + '\n'
    files['conf.d/own.conf'] = proxy.cluster('many.many:80', *pods) + proxy.service('many.many:80', VIP)
    return 'include conf.d/*.conf;\n', files


@pytest.mark.parametrize('what, make', [
    ('5,000 routes in one service', routes),
    ('5,000 services, 50,000 endpoints', services),
    ('5,000 services, 50,000 endpoints with an identity each', lambda pods: services(pods, own_identity=True)),
], ids=['routes', 'services', 'identities'])
def test_5000_routes_take_at_most_60_mib(cairn, pods, curl, what, make):
    body, files = make(pods)
    one = cairn(body, files=files, start=False)
    took = steady.elapsed(one.start, 60.0)
    path, version = '/p%d/items' % (ROUTES - 1), 'v%d' % (ROUTES - 1)
    assert one.request(curl, VIP, path=path, headers={'x-version': version}).status == 200
    pid = one.workers()[0]
    print('%s: ready after %.0f ms, worker of %.1f MiB, %.1f of them its own' % (
        what, took * 1000, one.resident() / MIB, private(pid) / MIB))
    assert one.resident() <= 60 * MIB


# ---- changes ----

KEEPER = 'config_keeper on;'


def in_force(one):
    steady.wait_in_force(one, lambda: one.send_signal(signal.SIGHUP))


def whole(one, i):
    """MAIN settings, which all sections inherit: each is read anew."""
    one.write(one.body, main=KEEPER + ' hbone_rotation %ds;' % (100 + i))
    in_force(one)


def part(one, files, n, i):
    """An endpoint that was never there, a policy, a service that comes or goes."""
    k = i * 37 % n
    name, extra = 'svc%d.wide:9080' % k, 'conf.d/extra.conf'
    if i % 4 == 3 and (one.folder / extra).exists():
        (one.folder / extra).unlink()
    elif i % 4 == 3:
        one.put(extra, proxy.cluster('extra%d.wide:80' % i, '10.98.0.1:80') +
                proxy.service('extra%d.wide:80' % i, '10.98.1.%d:80' % (i % 250 + 1)))
    elif i % 4 == 2:
        text = files['conf.d/%s.conf' % name]
        one.put('conf.d/%s.conf' % name, text.replace('route r0', 'route r%d' % i))
    else:
        fresh = '10.99.%d.%d:9080' % (i // 250, i % 250 + 1)
        one.put('endpoints.d/' + name, steady.wide_endpoints(k, 9, fresh))
    in_force(one)


def restore(one, files):
    (one.folder / 'conf.d/extra.conf').unlink(missing_ok=True)
    for name, text in files.items():
        one.put(name, text)
    one.write(one.body, main=KEEPER)
    in_force(one)


def stays_small(cairn, pods, curl, n, reloads, changes):
    files = {**steady.wide(n, 10), 'conf.d/own.conf': steady.body(*pods)}
    one = cairn('include conf.d/*.conf;\n', files=files, main=KEEPER)
    pid = one.workers()[0]
    net.wait_for(lambda: sorted(w['state'] for w in one.info()['workers']) == ['serving', 'spare'], 60.0, 'the spare worker')
    assert one.request(curl, steady.VIP).status == 200
    figures = [private(pid)]
    limit = figures[0] * 1.1 + MIB / 2

    def small(after):
        net.wait_for(lambda: private(pid) <= limit, 15.0, 'at most %.1f MiB of the worker after %s; it has %.1f, and had %.1f' % (
            limit / MIB, after, private(pid) / MIB, figures[0] / MIB))
        figures.append(private(pid))
    for i in range(reloads):
        whole(one, i)
        if i in (0, reloads - 1):
            small('%d reloads' % (i + 1))
    for i in range(changes):
        part(one, files, n, i)
        if i % 10 == 0:
            assert one.request(curl, steady.VIP).status == 200
    small('%d changes' % changes)
    restore(one, files)
    small('the end')
    print('%d services: a worker has %.1f MiB of its own; after one reload %.1f, %d reloads %.1f, %d single changes %.1f, '
          'as it was %.1f' % (n, figures[0] / MIB, figures[1] / MIB, reloads, figures[2] / MIB, changes, figures[3] / MIB,
                              figures[4] / MIB))
    assert one.workers()[0] == pid
    # the manual says so
    print('the keeper has %.1f MiB of its own' % (private(keeper_of(one)) / MIB))
    assert private(keeper_of(one)) <= 2 * figures[0] + MIB
    # none of it is taken for what traffic holds
    net.wait_for(lambda: one.count('cairn_worker_memory_bytes') <= MIB / 4, 5.0, 'max_memory to be free')


def test_changes_take_no_memory(cairn, pods, curl):
    stays_small(cairn, pods, curl, 1000, 10, 100)
