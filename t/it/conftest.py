# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the integration tests: the built binaries among real peers.

Whatever a factory made is stopped when its test ends; cairn must end by itself
then, with exit code 0 and no sanitizer report.
"""

import functools
import pathlib
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from peers import envoy as envoys  # noqa: E402
from peers import guard, hbone, http, http2, origin, pki as pkis, proxy  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


def pytest_addoption(parser):
    parser.addoption('--builddir', default='objs', help='where the binaries are')


def pytest_configure(config):
    config.addinivalue_line('markers', 'module(name): needs this module in the build')
    config.addinivalue_line('markers', 'slow: takes more than a few seconds; run by make check-long')


def pytest_runtest_setup(item):
    """A test of a module that this build was configured without is skipped."""
    program = (TOP / item.config.getoption('--builddir')).resolve() / 'cairn'
    for mark in item.iter_markers('module'):
        if not re.search(r'^modules:.*\b%s\b' % mark.args[0], built(str(program)), re.M):
            pytest.skip('built without the module ' + mark.args[0])


@functools.cache
def built(program):
    return subprocess.run([program, '-V'], capture_output=True, text=True).stdout


@pytest.fixture(scope='session')
def top():
    return TOP


@pytest.fixture(scope='session')
def builddir(pytestconfig):
    return (TOP / pytestconfig.getoption('--builddir')).resolve()


@pytest.fixture(scope='session')
def pki(tmp_path_factory):
    """The mesh CA; pki.identity('default', 'curl') and so on."""
    return pkis.Pki(tmp_path_factory.mktemp('pki'))


@pytest.fixture(scope='session')
def curl(pki):
    """The identity that most tests come as."""
    return pki.identity('default', 'curl')


@pytest.fixture(scope='session')
def waypoint_identity(pki):
    return pki.identity('bookinfo', 'waypoint')


@pytest.fixture
def stopping():
    """Things with a stop() that end with the test, the newest first."""
    things, wrong = [], []
    yield things
    for thing in reversed(things):
        said = thing.stop()
        if said:
            wrong.append(said)
    if wrong:
        pytest.fail('at the end: ' + '\n'.join(wrong), pytrace=False)


@pytest.fixture
def new_origin(stopping):
    """new_origin('reviews-v1') -> a pod's HTTP application on its own address, port 9080."""
    def make(name, **options):
        stopping.append(origin.Origin(name, **options))
        return stopping[-1]
    return make


@pytest.fixture
def new_http2_origin(stopping):
    """As new_origin, for HTTP/2 by prior knowledge."""
    def make(name, **options):
        stopping.append(http2.Http2Origin(name, **options))
        return stopping[-1]
    return make


@pytest.fixture
def new_tcp_origin(stopping):
    def make(name, **options):
        stopping.append(origin.TcpOrigin(name, **options))
        return stopping[-1]
    return make


@pytest.fixture
def capture(stopping, pki):
    """capture(origin, 'bookinfo', 'reviews') -> the HBONE side of that origin's pod."""
    def make(app, ns, sa, **options):
        stopping.append(hbone.CapturedPod(app.ip, options.pop('identity', None) or pki.identity(ns, sa), **options))
        return stopping[-1]
    return make


@pytest.fixture
def cairn(builddir, tmp_path, waypoint_identity, stopping):
    """cairn(conf_text, **options) -> a running proxy; start=False leaves it to the test."""
    made = []

    def make(body='', start=True, **options):
        folder = tmp_path / ('cairn%d' % len(made))
        one = proxy.Cairn(builddir / 'cairn', folder, options.pop('identity', waypoint_identity), body, **options)
        made.append(one)
        stopping.append(one)
        return one.start() if start else one
    return make


@pytest.fixture
def envoy_client(tmp_path, stopping):
    """envoy_client(waypoint_ip, identity, '10.0.0.1:80') -> an Http client whose tunnels Envoy makes."""
    if not envoys.binary():
        pytest.skip('no Envoy')

    def make(waypoint, identity, authority, headers=()):
        stopping.append(envoys.client(tmp_path / 'envoy-client', waypoint, identity, authority, headers))
        return stopping[-1]
    return make


@pytest.fixture
def envoy_pod(tmp_path, stopping, pki):
    """envoy_pod(origin, 'bookinfo', 'reviews') -> Envoy as the HBONE side of that origin's pod."""
    if not envoys.binary():
        pytest.skip('no Envoy')

    def make(app, ns, sa):
        stopping.append(envoys.pod(tmp_path / ('envoy-' + app.name), app.ip, pki.identity(ns, sa), app.port))
        return stopping[-1]
    return make


@pytest.fixture(scope='module')
def guarded_origin():
    """An origin for all tests of a file."""
    made = []

    def make(name, kind=origin.Origin, **options):
        made.append(kind(name, **options))
        return made[-1]
    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope='module')
def guarded(builddir, tmp_path_factory, waypoint_identity):
    """A waypoint for all tests of a file, which must have stood them all when it is stopped."""
    made = []

    def make(body, **options):
        folder = tmp_path_factory.mktemp('guarded')
        made.append(proxy.Cairn(builddir / 'cairn', folder, waypoint_identity, body, **options))
        return made[-1].start()
    yield make
    wrong = [said for said in [one.stop() for one in made] if said]
    if wrong:
        pytest.fail('at the end: ' + '\n'.join(wrong), pytrace=False)


@pytest.fixture
def unharmed():
    """with unharmed(waypoint, identity, authority): what happens leaves nothing behind."""
    return guard.unharmed


@pytest.fixture
def envoy_sandwich(tmp_path, stopping):
    """envoy_sandwich(ip, waypoint_ip, identity) -> Envoy that sends PROXY headers to the waypoint's port 15088."""
    if not envoys.binary():
        pytest.skip('no Envoy')

    def make(ip, waypoint, identity):
        stopping.append(envoys.sandwich(tmp_path / ('envoy-sandwich%d' % len(stopping)), ip, waypoint, identity))
        return stopping[-1]
    return make


@pytest.fixture
def plain():
    """plain(ip, port) -> Http over a TCP connection."""
    opened = []

    def make(ip, port):
        opened.append(http.Plain(ip, port))
        return http.Http(opened[-1])
    yield make
    for stream in opened:
        stream.close()


@pytest.fixture
def run():
    """run('cairn-gen', ...) -> CompletedProcess with text; the exit code is the test's business."""
    def go(*words, timeout=60, **options):
        return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=timeout, **options)
    return go
