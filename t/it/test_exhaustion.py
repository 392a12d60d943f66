# SPDX-License-Identifier: Apache-2.0
"""What crashes and what runs out: processes, descriptors, room for logs and for numbers.

Work is refused at the edges, what was accepted completes, and when the want is
over everything is as before.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess

import pytest

from peers import net, proxy, steady

from test_lifecycle import echo, load, pods  # noqa: F401
from test_process import is_alive, wait_workers


def counters(one):
    text = one.get('/stats/prometheus', 15020).body.decode()
    names = {line.split()[2] for line in text.splitlines() if re.match('# TYPE \\S+ counter', line)}
    return {name: value for name, value in one.metrics().items() if name.split('{')[0] in names}


# ---- processes ----

def test_killed_worker_loses_only_its_own_and_its_numbers_stay(cairn, pods, echo, load, curl):  # noqa: F811
    one = cairn(steady.body(*pods, echo=echo), workers=4)
    one.expect_crash = True
    under = load(one, connections=8)
    busy = lambda: [w for w in one.info()['workers'] if w['tunnels'] and w['state'] == 'serving']
    victim = net.wait_for(lambda: busy() if sum(w['tunnels'] for w in busy()) == 32 else None, 20.0, 'all tunnels')[0]
    before = counters(one)
    os.kill(victim['pid'], signal.SIGKILL)
    net.wait_for(lambda: not is_alive(victim['pid']))
    wait_workers(one, 4, other_than=[victim['pid']])
    after = counters(one)
    assert {name for name, value in before.items() if after.get(name, -1) < value} == set()
    under.goes_on()
    lost = sum(under.failures().values())
    print('kill -9 of one of 4 workers: %d lost, it had %d tunnels of 32; %d counters went on' % (
        lost, victim['tunnels'], len(before)))
    assert lost <= victim['tunnels'] and under.counted()['5xx'] == 0
    # What it had open is not open any more.
    net.wait_for(lambda: one.count('cairn_tunnels_open') == 0 and one.count('cairn_hbone_connections') == 0 and
                 one.count('cairn_requests_active') == 0, 20.0, 'gauges at 0')


def test_killed_master_takes_its_workers_along_and_another_one_starts(cairn, pods, curl):  # noqa: F811
    one = cairn(steady.body(*pods), workers=2)
    one.expect_crash = True
    pids = list(wait_workers(one, 2).values())
    one.process.kill()
    one.process.wait()
    net.wait_for(lambda: not any(is_alive(p) for p in pids), 15.0, 'the end of its workers')
    assert (one.folder / 'cairn.pid').exists()  # of the dead: no obstacle
    one.start()
    assert one.request(curl, steady.VIP).status == 200
    assert int((one.folder / 'cairn.pid').read_text()) == one.process.pid


# ---- descriptors ----

def test_no_descriptor_left_refuses_new_connections_only(cairn, pods, echo, curl):  # noqa: F811
    one = cairn(steady.body(*pods, echo=echo), main='worker_rlimit_nofile 64;')
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.ECHO)
        tunnel.send(b'before')
        assert tunnel.recv() == b'before'
        crowd = [socket.create_connection((one.ip, 15008)) for _ in range(100)]
        try:
            pid = one.process.pid
            worker = [int(p) for p in pathlib.Path('/proc/%d/task/%d/children' % (pid, pid)).read_text().split()][0]
            used = lambda: len(os.listdir('/proc/%d/fd' % worker))
            net.wait_for(lambda: used() >= 60, 10.0, 'all descriptors in use')
            tunnel.send(b'still')
            assert tunnel.recv() == b'still'
            ticks = lambda: sum(int(v) for v in pathlib.Path('/proc/%d/stat' % worker).read_text().rpartition(')')[2].split()[11:13])
            begun = ticks()
            assert not net_waits(lambda: ticks() - begun > 50, 1.0), 'it spins'
        finally:
            for sock in crowd:
                sock.close()
        net.wait_for(lambda: used() < 40, 20.0, 'descriptors free again')
        assert one.request(curl, steady.VIP).status == 200
        tunnel.send(b'after')
        assert tunnel.recv() == b'after'
    assert one.info()['worker_respawns'] == 0


@pytest.mark.parametrize('keeper', ['off', 'on'])
def test_no_descriptor_left_keeps_no_configuration_away(cairn, pods, echo, curl, keeper):  # noqa: F811
    conf = steady.body(*pods, echo=echo)
    one = cairn(conf, main='worker_rlimit_nofile 64; config_keeper %s;' % keeper)
    worker = one.workers()[0]
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.ECHO)
        crowd = [socket.create_connection((one.ip, 15008)) for _ in range(100)]
        try:
            net.wait_for(lambda: len(os.listdir('/proc/%d/fd' % worker)) >= 64, 10.0, 'all descriptors in use')
            for i in range(3):
                one.write(conf + proxy.service('s%d.x:1' % i, '127.1.1.1:1', cluster=steady.NAME))
                steady.wait_in_force(one, lambda: one.send_signal(signal.SIGHUP))
            tunnel.send(b'still')
            assert tunnel.recv() == b'still'
        finally:
            for sock in crowd:
                sock.close()
        net.wait_for(lambda: len(os.listdir('/proc/%d/fd' % worker)) < 40, 20.0, 'descriptors free again')
        assert 's2.x:1' in [s['name'] for s in one.get('/config_dump').json()['services']]
    assert one.workers() == [worker] and one.info()['worker_respawns'] == 0


def net_waits(condition, seconds):
    """True when it came true in that time."""
    try:
        net.wait_for(condition, seconds)
        return True
    except TimeoutError:
        return False


# ---- logs ----

def serves_many(one, curl, n=40):
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        for _ in range(n):
            assert tunnel.request('GET', '/', host='reviews').status == 200


def test_access_log_that_nobody_reads_loses_lines_and_no_request(cairn, pods, load):  # noqa: F811
    one = cairn(steady.body(*pods), start=False)
    os.mkfifo(one.access_path)
    reader = os.open(one.access_path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        one.start()
        under = load(one)
        net.wait_for(lambda: one.count('cairn_access_log_dropped_total') > 0, 60.0, 'dropped lines')
        under.goes_on()
        dropped = one.count('cairn_access_log_dropped_total')
        under.expect_nothing_lost('an access log that nobody reads, %d lines dropped' % dropped)
    finally:
        os.close(reader)
    assert one.info()['worker_respawns'] == 0


def test_error_log_whose_reader_stands_still_holds_nobody_up(cairn, pods, curl):  # noqa: F811
    """Standard error is a pipe in a container."""
    one = cairn(steady.body(*pods), level='debug', start=False)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 65536)
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):  # it is full from the beginning
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    one.write(one.body)
    process = subprocess.Popen(one.command(), stdout=writer, stderr=writer)
    os.close(writer)
    try:
        net.wait_for(one.looks_ready, 20.0, 'readiness')
        serves_many(one, curl, 40)
        assert os.read(reader, 65536) == bytes(65536)
        process.send_signal(signal.SIGHUP)
        said = b''
        while b' lines before this one were lost' not in said:
            assert select.select([reader], [], [], 10.0)[0], said
            said += os.read(reader, 65536)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(reader)


def test_error_log_whose_reader_is_gone_ends_nobody(cairn, pods, curl):  # noqa: F811
    one = cairn(steady.body(*pods), level='debug', start=False)
    reader, writer = os.pipe()
    process = subprocess.Popen(one.command(), stdout=writer, stderr=writer)
    os.close(writer)
    os.close(reader)
    try:
        net.wait_for(one.looks_ready, 20.0, 'readiness')
        serves_many(one, curl)
        assert one.info()['worker_respawns'] == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_access_log_that_cannot_be_opened_for_a_while_gets_its_lines_later(cairn, pods, curl):  # noqa: F811
    one = cairn(steady.body(*pods), start=False)
    one.access_path = one.folder / 'later/access.log'
    one.write(one.body)
    one.start()
    serves_many(one, curl, 5)
    one.wait_log('cannot open .*later/access.log: No such file')
    (one.folder / 'later').mkdir()
    assert len(one.access(5)) == 5
    # The same when it is opened anew.
    one.access_path.unlink()
    (one.folder / 'later').rmdir()
    one.send_signal(signal.SIGUSR1)
    net.wait_for(lambda: len(re.findall('cannot open .*later/access.log', one.log)) == 2, 10.0, 'another word of it')
    serves_many(one, curl, 3)
    (one.folder / 'later').mkdir()
    assert len(one.access(3)) == 3 and one.count('cairn_access_log_dropped_total') == 0


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which('unshare'), reason='needs a mount namespace')
def test_full_disk_under_the_logs_loses_lines_and_no_request(cairn, pods, curl):  # noqa: F811
    one = cairn(steady.body(*pods), start=False, arguments=['-g', 'error_log full/e.log debug;'])
    (one.folder / 'full').mkdir()
    one.access_path = one.folder / 'full/access.log'
    one.write(one.body)
    plain = one.command
    script = 'mount --make-rprivate / && mount -t tmpfs -o size=64k none %s/full && exec "$@"' % one.folder
    if subprocess.run(['unshare', '-m', 'sh', '-c', script, 'sh', 'true']).returncode != 0:
        pytest.skip('no private file system here')
    one.command = lambda *words: ['unshare', '-m', 'sh', '-c', script, 'sh', *plain(*words)]
    one.start()
    seen = pathlib.Path('/proc/%d/root' % one.process.pid) / str(one.folder / 'full').lstrip('/')
    serves_many(one, curl, 400)
    room = os.statvfs(seen)
    assert room.f_bavail == 0, 'the disk is full'
    serves_many(one, curl)
    assert one.info()['worker_respawns'] == 0


# ---- numbers ----

def test_full_table_of_series_is_counted_and_harms_nothing(cairn, pods, curl):  # noqa: F811
    main = 'stats_memory 64k;'
    one = cairn(steady.body(*pods), main=main)
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.VIP)
        for i in range(300):  # a series for each status
            path = '/status/%d' % (200 + i)
            assert tunnel.request('GET', path, host='reviews').status == 200 + i
    before = counters(one)
    serves_many(one, curl, 5)
    after = counters(one)
    assert all(after[name] >= value for name, value in before.items())
    print('64 KiB for numbers: %d series had no room' % after['cairn_stats_overflow_total{}'])
    assert after['cairn_stats_overflow_total{}'] > 0
