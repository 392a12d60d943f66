# SPDX-License-Identifier: Apache-2.0
"""512 tunnels for minutes: nothing lost, nothing reported by sanitizers, memory bounded."""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from peers import hostile, net, proxy

VIP = '10.96.0.1:9080'
REVIEWS = 'reviews.bookinfo:9080'
MIB = 1 << 20
NGINX = """\
daemon off;
worker_processes 1;
error_log {folder}/nginx.log crit;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    server {{
        listen {ip}:9080;
        location / {{ return 200 "{answer}"; }}
        location /large {{ alias {folder}/large; }}
    }}
}}
"""


class Nginx:
    """A pod that is faster than what is measured."""

    def __init__(self, folder):
        self.name, self.ip, self.port = 'nginx', net.new_ip(), 9080
        self.address = '%s:%d' % (self.ip, self.port)
        folder.chmod(0o755)
        with open(folder / 'large', 'wb') as f:
            f.truncate(64 * MIB)
        conf = folder / 'nginx.conf'
        conf.write_text(NGINX.format(folder=folder, ip=self.ip, answer='x' * 1000))
        self.process = subprocess.Popen(['nginx', '-p', str(folder), '-c', str(conf)], stderr=subprocess.DEVNULL)
        net.wait_port(self.ip, self.port)

    def stop(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def pod(stopping, new_origin, tmp_path):
    if not shutil.which('nginx'):
        return new_origin('python')
    folder = tmp_path / 'nginx'
    folder.mkdir()
    tmp_path.chmod(0o755)
    stopping.append(Nginx(folder))
    return stopping[-1]


@pytest.fixture
def load(builddir, curl):
    """load(waypoint, seconds, ...) -> what 512 tunnels counted."""
    def run(waypoint, seconds, *more):
        words = [builddir / 't/bench/hbload', '-t', waypoint.ip + ':15008', '-a', VIP, '-c', 64, '-s', 8, '-d', seconds,
                 '-E', curl.cert, '-K', curl.key, '-A', curl.roots, *more]
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=seconds + 120,
                              env={**os.environ, 'ASAN_OPTIONS': 'detect_leaks=0'})
        return json.loads(done.stdout)
    return run


def start(binary, folder, identity, pod, stopping, **options):
    one = proxy.Cairn(binary, folder, identity, proxy.cluster(REVIEWS, proxy.endpoint(pod)) +
                      proxy.service(REVIEWS, VIP), **options)
    stopping.append(one)
    return one.start()


def expect_clean(counted):
    wrong = {k: counted[k] for k in ('errors', 'broken', 'refused', '4xx', '5xx') if counted[k]}
    assert counted['requests'] > 0 and wrong == {}


def memory_of(pid):
    """(private, resident) MiB."""
    lines = pathlib.Path('/proc/%d/smaps_rollup' % pid).read_text().splitlines()[1:]
    kib = {name: int(value.split()[0]) for name, value in (line.split(':') for line in lines)}
    return (kib['Private_Clean'] + kib['Private_Dirty']) / 1024, kib['Rss'] / 1024


def most_under(pid, action):
    """The most that the process had while the action ran."""
    doing = concurrent.futures.ThreadPoolExecutor(1).submit(action)
    most = memory_of(pid)
    while not doing.done():
        concurrent.futures.wait([doing], 0.1)
        most = max(most, memory_of(pid))
    doing.result()
    return most


def per_worker(waypoint):
    return waypoint.resident() / len(waypoint.workers()) / MIB


@pytest.mark.parametrize('kind', ['keep', 'fresh'])
def test_512_tunnels_under_sanitizers(sandir, tmp_path, waypoint_identity, pod, stopping, load, kind,
                                      record_property):
    """A minute of kept tunnels; the same with a new tunnel for every request."""
    one = start(sandir / 'cairn', tmp_path / 'cairn', waypoint_identity, pod, stopping, workers=2)
    counted = load(one, 60, *(['-n'] if kind == 'fresh' else []))
    expect_clean(counted)
    busy = per_worker(one)
    net.wait_for(lambda: one.count('cairn_tunnels_open') == 0, 20.0, 'the end of all tunnels')
    assert one.count('istio_requests_total') >= counted['requests']
    record_property('figures', '%s: %d requests, %d/s, %.0f MiB in each worker' % (
        kind, counted['requests'], counted['requests'] / 60, busy))
    assert busy < 150, 'ASan keeps up to 16 MiB of what was freed'
    stopping.remove(one)
    assert one.stop() == ''


def test_memory_idle_and_busy(builddir, tmp_path, waypoint_identity, pod, stopping, load, record_property):
    if 'sanitize' in (builddir / 'cn_flags').read_text():
        pytest.skip('sanitizers keep what was freed')
    one = start(builddir / 'cairn', tmp_path / 'cairn', waypoint_identity, pod, stopping, workers=1)
    worker, = one.workers()
    idle = max(memory_of(pid) for pid in (worker, one.process.pid))
    first = most_under(worker, lambda: expect_clean(load(one, 10)))
    last = max(most_under(worker, lambda: expect_clean(load(one, 10))) for _ in range(3))
    record_property('figures', 'private (resident) MiB: idle %.1f (%.1f), 512 busy tunnels %.1f (%.1f), in rounds after it %.1f (%.1f)'
                    % (idle + first + last))
    assert idle[0] <= 6
    assert last[0] <= 20
    assert last[0] <= first[0] * 1.2 + 1


def test_slow_readers_cost_a_mebibyte_each_at_most(builddir, tmp_path, waypoint_identity, new_origin, stopping, curl,
                                                   record_property):
    if 'sanitize' in (builddir / 'cn_flags').read_text():
        pytest.skip('sanitizers keep what was freed')
    app = new_origin('fast')
    one = start(builddir / 'cairn', tmp_path / 'cairn', waypoint_identity, app, stopping, workers=1)
    assert one.request(curl, VIP, path='/bytes/1000000').status == 200
    before = one.resident()
    count = 20
    with one.connection(curl, settings={}) as connection:
        tunnels = [connection.open(VIP) for _ in range(count)]
        for tunnel in tunnels:
            tunnel.hold = True
            tunnel.wait_response()
            tunnel.http.send(path='/bytes/64000000')
        connection.until(lambda: all(len(t.buffer) > 10000 for t in tunnels), what='the beginning of every answer')
        pumped = [0]

        def quiet():
            pumped[0] = 0 if connection.pump(0.3) else pumped[0] + 1
            return pumped[0] > 2
        net.wait_for(quiet, 30.0, 'silence')
        each = (one.resident() - before) / count / MIB
        record_property('figures', 'a slow reader costs %.2f MiB' % each)
        assert each <= 1.0
        assert one.request(curl, VIP).status == 200


def test_rounds_of_hostile_requests_leave_no_memory(builddir, tmp_path, waypoint_identity, new_origin, stopping, curl,
                                                    record_property):
    if 'sanitize' in (builddir / 'cn_flags').read_text():
        pytest.skip('sanitizers keep what was freed')
    app = new_origin('app')
    one = start(builddir / 'cairn', tmp_path / 'cairn', waypoint_identity, app, stopping, workers=1)

    def round_():
        for case in hostile.CASES:
            with one.connection(curl) as connection:
                tunnel = connection.connect(VIP)
                try:
                    tunnel.send(case.raw)
                    assert re.match(rb'HTTP/1.1 [45]', tunnel.recv())
                except ConnectionResetError:
                    pass
    for _ in range(5):
        round_()
    before = one.resident()
    for _ in range(30):
        round_()
    grown = (one.resident() - before) / MIB
    record_property('figures', '30 rounds of %d hostile requests: %+.2f MiB' % (len(hostile.CASES), grown))
    assert grown < 1.0
