# SPDX-License-Identifier: Apache-2.0
"""Bodies far larger than memory, both ways, between the versions of HTTP: memory stays flat.

The long form (2 GiB) is run by make check-long.
"""

import pathlib
import re
import shutil

import pytest

from peers import envoy, origin, proxy, tunnel_cli

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'
MIB = 1 << 20
ROOM = 8 * MIB
QUARANTINE = 40 << 20  # of freed memory, and what is torn between its pieces


class Bulk(origin.Origin):
    """GET /N: N bytes.  Anything else: takes the body and says how long it was."""

    def handle(self, sock, number):
        file = sock.makefile('rb')
        method, path, _ = file.readline().split(b' ')
        fields = {}
        while (line := file.readline().strip()):
            name, _, value = line.partition(b':')
            fields[name.lower()] = value.strip()
        if method == b'GET':
            left, block = int(path[1:]), bytes(MIB)
            sock.sendall(b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n' % left)
            while left:
                sock.sendall(block[:left])
                left -= min(left, MIB)
        else:
            body = b'%d' % self.take(file, fields)
            sock.sendall(b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s' % (len(body), body))
        sock.close()

    def take(self, file, fields):
        left, buffer = int(fields.get(b'content-length', -1)), bytearray(MIB)
        took = 0
        while left > 0:
            n = file.readinto(memoryview(buffer)[:left])
            took, left = took + n, left - n
        while left < 0:  # chunked
            size = int(file.readline(), 16)
            if size == 0:
                file.readline()
                break
            piece = size
            while piece:
                piece -= file.readinto(memoryview(buffer)[:piece])
            file.readline()
            took += size
        return took


def room(builddir):
    return ROOM + (QUARANTINE if 'address' in (builddir / 'cn_flags').read_text() else 0)


def peak(waypoint):
    """The most memory that its worker ever had."""
    text = pathlib.Path('/proc/%d/status' % waypoint.workers()[0]).read_text()
    return int(re.search(r'VmHWM:\s+(\d+) kB', text).group(1)) * 1024


class Bare:
    """Envoy in the clear, which takes both versions of HTTP and has the application behind it."""

    def __init__(self, one):
        self.address = '%s:%d' % one.address


@pytest.fixture(params=['http', 'http2'])
def site(request, builddir, stopping, cairn, curl, tmp_path):
    """Pods speak HTTP/1.1 or HTTP/2."""
    if not shutil.which('curl'):
        pytest.skip('no curl')
    app = Bulk('reviews-v1')
    stopping.append(app)
    pod = app
    if request.param == 'http2':
        if not envoy.binary():
            pytest.skip('no Envoy')
        stopping.append(envoy.inner(tmp_path / 'envoy', app))
        pod = Bare(stopping[-1])
    waypoint = cairn(proxy.cluster(REVIEWS, proxy.endpoint(pod), protocol=request.param) + proxy.service(REVIEWS, VIP))
    stopping.append(tunnel_cli.TunnelCli(builddir, waypoint.ip, curl, to=VIP))
    return waypoint, 'http://%s:%d' % stopping[-1].address


SIZES = [256 * MIB, pytest.param(2048 * MIB, marks=pytest.mark.slow)]


@pytest.mark.parametrize('version', ['--http1.1', '--http2-prior-knowledge'])
@pytest.mark.parametrize('size', SIZES)
def test_response_passes_with_flat_memory(request, site, run, builddir, version, size, record_property):
    waypoint, url = site
    before = waypoint.resident()
    done = run('curl', '-sS', version, '-o', '/dev/null', '-w', '%{size_download}', '%s/%d' % (url, size), timeout=600)
    assert done.stdout == str(size), done.stderr
    record_property('grew', 'large: %s: %.1f MiB more memory' % (request.node.name, (peak(waypoint) - before) / MIB))
    assert peak(waypoint) - before < room(builddir)


@pytest.mark.parametrize('version', ['--http1.1', '--http2-prior-knowledge'])
@pytest.mark.parametrize('size', SIZES)
def test_upload_passes_with_flat_memory(request, site, run, builddir, tmp_path, version, size, record_property):
    waypoint, url = site
    body = tmp_path / 'body'
    with open(body, 'wb') as f:
        f.truncate(size)  # a hole: takes no room
    before = waypoint.resident()
    done = run('curl', '-sS', version, '-T', body, '%s/up' % url, timeout=600)
    assert done.stdout == str(size), done.stderr
    record_property('grew', 'large: %s: %.1f MiB more memory' % (request.node.name, (peak(waypoint) - before) / MIB))
    assert peak(waypoint) - before < room(builddir)
