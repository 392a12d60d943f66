# SPDX-License-Identifier: Apache-2.0
"""The sample configurations say what the manual says of them."""

import shutil

import pytest

REVIEWS = '10.96.0.20:9080'
PRODUCTPAGE = 'spiffe://cluster.local/ns/bookinfo/sa/productpage'


@pytest.fixture
def prefix(top, tmp_path, waypoint_identity):
    """A prefix as `make install` leaves it, with an identity."""
    (tmp_path / 'conf').mkdir()
    for sample in (top / 'conf').glob('*.conf'):
        shutil.copy(sample, tmp_path / 'conf')
    for name, path in (('cert', waypoint_identity.cert), ('key', waypoint_identity.key),
                       ('roots', waypoint_identity.roots)):
        shutil.copy(path, tmp_path / 'conf' / (name + '.pem'))
    return tmp_path


@pytest.mark.parametrize('name', ['cairn.conf', 'minimal.conf'])
def test_sample_passes_the_check(run, builddir, prefix, name):
    done = run(builddir / 'cairn', '-t', '-p', prefix, '-c', 'conf/' + name)
    assert done.returncode == 0, done.stderr
    assert 'test is successful' in done.stderr


def test_sample_without_its_certificate_is_refused_by_name(run, builddir, prefix):
    (prefix / 'conf' / 'cert.pem').unlink()
    done = run(builddir / 'cairn', '-t', '-p', prefix)
    assert done.returncode == 1
    assert str(prefix / 'conf' / 'cert.pem') in done.stderr


@pytest.mark.parametrize('method, path, more, status, said', [
    ('GET', '/reviews/0', [], 0, 'everybody'),
    ('GET', '/reviews/0', ['-H', 'x-beta: 1'], 0, 'beta-testers'),
    ('POST', '/reviews/0', [], 3, 'to methods expects "GET" or "HEAD", got "POST"'),
    ('GET', '/internal/x', [], 3, 'bookinfo/no-internals'),
])
def test_sample_decides_as_its_comments_say(run, builddir, prefix, method, path, more, status, said):
    done = run(builddir / 'cairn', 'explain', '-p', prefix, '--from', PRODUCTPAGE, '--to', REVIEWS, method, path, *more)
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout
