# SPDX-License-Identifier: Apache-2.0
"""Whatever is changed under load, no request is lost: the short forms (t/long has the long ones)."""

import time

import pytest

from peers import proxy, steady


@pytest.fixture
def pods(new_origin, capture):
    """Two pods, one of them captured, as endpoint lines."""
    plain, captured = new_origin('plain'), new_origin('captured')
    return [proxy.endpoint(plain), proxy.endpoint(captured, pod=capture(captured, 'bookinfo', 'reviews'))]


@pytest.fixture
def echo(new_tcp_origin):
    return new_tcp_origin('echo')


@pytest.fixture
def load(builddir, curl, stopping):
    def start(waypoint, *more, **options):
        stopping.append(steady.Load(builddir, waypoint, curl, *more, **options))
        return stopping[-1]
    return start


def test_policy_reloads_lose_nothing(cairn, pods, echo, load, curl):
    def conf(i):
        return steady.body(*pods, echo=echo, policy='authz { policy bookinfo/v%d allow { rule { to { paths /*; } } } }' % i)
    one = cairn(conf(0), workers=2)
    under, stream = load(one), steady.Stream(one, curl)
    steady.policy_reloads(under, conf, 10)
    exchanges = stream.finish()
    under.expect_nothing_lost('10 policy reloads, a stream of %d exchanges' % exchanges)


def test_worker_count_changes_lose_nothing(cairn, pods, echo, load, curl):
    conf = steady.body(*pods, echo=echo)
    one = cairn(conf, workers=1)
    under, stream = load(one), steady.Stream(one, curl)
    steady.worker_counts(under, conf, 4)
    exchanges = stream.finish()
    under.expect_nothing_lost('4 worker-count changes, a stream of %d exchanges' % exchanges)


def rotate(one, fresh):
    """The files of the waypoint's identity say what `fresh` says from now on."""
    steady.replace_files([(one.identity.cert, fresh.cert), (one.identity.key, fresh.key)])


def own_identity(pki, folder):
    """An identity in files of its own, to be replaced."""
    folder.mkdir()
    one = pki.identity('bookinfo', 'waypoint')
    steady.replace_files([(folder / 'cert.pem', one.cert), (folder / 'key.pem', one.key)])
    return type(one)(one.uri, folder / 'cert.pem', folder / 'key.pem', one.roots)


def shown(one, curl):
    """The certificate that a new connection is shown."""
    with one.connection(curl) as connection:
        return connection.sock.getpeercert(binary_form=True)


def test_certificate_rotations_lose_nothing(cairn, pods, echo, load, curl, pki, tmp_path):
    conf = steady.body(*pods, echo=echo)
    one = cairn(conf, main='hbone_rotation 200ms;', workers=2, identity=own_identity(pki, tmp_path / 'own'))
    before = one.workers()
    under, stream, seen = load(one), steady.Stream(one, curl), {shown(one, curl)}
    for days in range(30, 33):
        rotate(one, pki.identity('bookinfo', 'waypoint', days=days))
        one.reload()
        seen.add(shown(one, curl))
        under.goes_on(100)
    assert len(seen) == 4 and one.workers() == before
    assert abs(one.count('cairn_identity_expiry_timestamp_seconds') - time.time() - 32 * 86400) < 3600
    exchanges = stream.finish()
    counted = under.counted()
    under.expect_nothing_lost('3 rotations, a stream of %d exchanges' % exchanges)
    assert counted['goaways'] > 0


def test_wrong_identity_files_are_refused_and_the_old_ones_stay(cairn, curl, pki, tmp_path, run):
    one = cairn(identity=own_identity(pki, tmp_path / 'own'))
    before, other = shown(one, curl), pki.identity('bookinfo', 'waypoint', days=30)
    for files, why in [
        ([(one.identity.cert, other.cert)], 'does not belong'),
        ([(one.identity.cert, pki.expired('bookinfo', 'waypoint').cert)], 'expired'),
        ([(one.identity.cert, one.identity.key)], 'no certificate'),
    ]:
        steady.replace_files(files)
        done = run(*one.command('-s', 'reload', '--wait'))
        assert done.returncode == 1 and why in done.stderr
        assert shown(one, curl) == before
    rotate(one, other)
    assert run(*one.command('-s', 'reload', '--wait')).returncode == 0
    assert shown(one, curl) != before


def test_binary_upgrades_lose_nothing(cairn, pods, load):
    one = cairn(steady.body(*pods), workers=2)
    under = load(one)
    steady.upgrades(under, 2)
    under.expect_nothing_lost('2 binary upgrades')
