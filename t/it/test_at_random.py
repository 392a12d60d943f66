# SPDX-License-Identifier: Apache-2.0
"""Changes of every kind at random, several at once, under a load of every kind: the short form (t/long has the long one).

A failure tells its seed and steps; CHAOS_SEED=N CHAOS_STEPS='name:number:pause ...' does them again.
"""

import fcntl
import os
import signal
import struct
import subprocess
import termios

import pytest

from peers import chaos, net, proxy, steady

from test_lifecycle import echo, keeper_of, load, own_identity, pods, rotate, shown  # noqa: F401
from test_steady import Everything, Scraper

MAIN = 'worker_shutdown_timeout 10m; hbone_rotation 200ms; conf_watch %s; config_keeper %s;'


class PatientScraper(Scraper):
    """Asked while workers are stopped and killed: no answer is none of its business, a smaller number is."""

    def finish(self):
        self.wrong = [said for said in self.wrong if ' went from ' in said]
        return super().finish()


def steps_of(seed, n, without=()):
    said = os.environ.get('CHAOS_STEPS')
    if not said:
        return chaos.plan(seed, n, without)
    return [(name, int(number), float(pause)) for name, number, pause in (word.split(':') for word in said.split())]


@pytest.fixture
def run_chaos(builddir, cairn, pods, echo, load, curl, stopping, pki, tmp_path):  # noqa: F811
    """run_chaos(seed, n) does so many steps and looks at everything afterwards."""
    def run(seed, n, without=(), clock=None, program=None):
        watching, keeper = seed % 2 == 1, ('on', 'off')[seed // 2 % 2]
        leaks = []

        def start(*words, **options):
            one = cairn(*words, **{**options, 'main': MAIN % ('on settle=50ms' if watching else 'off', keeper), 'start': False})
            one.env, one.expect_crash = clock.env if clock else {}, True
            one.binary = program or one.binary
            one.start()
            for _ in range(2):
                one.reload()
            assert {one.request(curl, steady.VIP).status for _ in range(8)} == {200}  # each worker has its log open
            if keeper == 'on':
                net.wait_for(lambda: 'spare' in [w['state'] for w in one.info()['workers']], 20.0, 'the spare worker')
            leaks.append(chaos.Leaks(one))
            return one
        everything = Everything(builddir, start, pods, echo, lambda one: load(one, '-r', 200), curl, stopping,
                                own_identity(pki, tmp_path / 'own'))
        one, scraper = everything.one, PatientScraper(everything.one)
        under = chaos.Chaos(everything, pki, rotate, lambda one: shown(one, curl), watching, clock)
        stopping.append(under)
        steps = steps_of(seed, n, without)
        print("CHAOS_SEED=%d CHAOS_STEPS='%s'" % (seed, ' '.join('%s:%d:%g' % step for step in steps)))
        under.run([('renew', 0, 0)] + steps)
        under.settle()
        under.finish_upgrade()
        under.as_before()
        under.settle()
        said = scraper.finish()
        exchanges = [stream.finish() for stream in under.streams + [under.calls]]
        under.expect_only_what_was_killed_lost()
        print('%s; last streams of %s exchanges' % (said, exchanges))
        sanitized = 'sanitize' in ((program.parent if program else builddir) / 'cn_flags').read_text()
        leaks[0].expect_none(kib=65536 if sanitized else 4096)  # sanitizers keep what was freed for a while
        one.send_signal(signal.SIGQUIT)
        one.process.wait(20)
        assert one.process.returncode == 0
        under.expect_nobody_left()
        under.expect_no_crash()
        under.expect_no_file_left()
    return run


@pytest.mark.parametrize('seed', [int(word) for word in os.environ.get('CHAOS_SEED', '1').split()])
def test_changes_at_random(run_chaos, seed):
    run_chaos(seed, 25)


# ---- what such runs have found, cut down ----

def with_new(one, name):
    """A configuration with one service more, on disk."""
    one.write(one.body + proxy.service(name, '127.1.1.1:1') + proxy.cluster(name, '127.1.1.1:1'))


def in_force(one, name):
    return name in [s['name'] for s in one.get('/config_dump').json()['services']]


def test_pid_file_is_there_when_signals_are_watched(cairn):
    """Who reads it may send one at once, which must not end what has just started."""
    for _ in range(5):
        one = cairn(start=False)
        path = one.folder / 'cairn.pid'
        one.launch()
        while not path.exists() or not path.read_text():
            assert one.process.poll() is None
        one.send_signal(signal.SIGHUP)
        one.wait_log('configuration 2 in force in all workers')
        assert one.stop() == ''


class Slow:
    """A configuration whose reader waits for the writer of a file."""

    def __init__(self, one):
        self.one, path = one, one.folder / 'slow.conf'
        os.mkfifo(path)
        self.writer = os.open(path, os.O_RDWR)
        one.write(one.body + 'include slow.conf;\n')
        if 'conf_watch on' not in one.main:
            one.send_signal(signal.SIGHUP)

    def checker(self):
        children = lambda: [p for p in chaos.children(self.one.process.pid) if 'master' in chaos.title(p)]
        return net.wait_for(children, 10.0, 'the checker')[0]

    def unread(self):
        return struct.unpack('i', fcntl.ioctl(self.writer, termios.FIONREAD, bytes(4)))[0]

    def finish(self):
        """Its end comes once all was read: a checker that opens the pipe later finds nobody who writes."""
        self.checker()
        os.write(self.writer, proxy.service('late.x:1', '127.1.1.1:1', cluster=None, body='route r { backend invalid; }').encode())
        net.wait_for(lambda: self.unread() == 0, 10.0, 'a reader')
        os.close(self.writer)


@pytest.mark.parametrize('main', ['conf_watch off;', 'conf_watch on settle=50ms;'])
def test_death_of_the_checker_loses_no_change(cairn, main):
    one = cairn('', main=main)
    slow = Slow(one)
    os.kill(slow.checker(), signal.SIGKILL)
    one.wait_log('reload refused.*the checker died')
    slow.finish()
    net.wait_for(lambda: in_force(one, 'late.x:1'), 15.0, 'the change')
    assert one.info()['reload_failures'] == 1 and 'read again in 1 s' in one.log


def test_death_of_the_keeper_while_it_reads_loses_no_change(cairn):
    one = cairn('', main='config_keeper on;')
    keeper = keeper_of(one)
    os.kill(keeper, signal.SIGSTOP)
    with_new(one, 'late.x:1')
    one.send_signal(signal.SIGHUP)
    one.wait_log('reading the configuration again')
    os.kill(keeper, signal.SIGKILL)
    one.wait_log('reload refused.*the checker died')
    net.wait_for(lambda: in_force(one, 'late.x:1'), 15.0, 'the change')


def test_checker_that_always_dies_is_not_tried_for_ever(cairn):
    one = cairn()
    slow = Slow(one)
    for seconds in (1, 4):
        os.kill(slow.checker(), signal.SIGKILL)
        one.wait_log('read again in %d s' % seconds)
    assert one.info()['reload_failures'] == 2
    os.close(slow.writer)


def test_listener_that_the_other_binary_has_is_taken_when_that_goes(cairn):
    """Both binaries are told of the same change during an upgrade, and one of them is first."""
    one = cairn()
    old = one.process
    one.send_signal(signal.SIGUSR2)
    net.wait_for(lambda: one.log.count('configuration 1 in force in all workers') == 2)
    new = int((one.folder / 'cairn.pid').read_text())
    one.write('', main='listen %s:15999 metrics;' % one.ip)
    old.send_signal(signal.SIGHUP)
    one.wait_log('configuration 2 in force in all workers')
    os.kill(new, signal.SIGHUP)
    one.wait_log('reload refused.*15999: Address already in use')
    old.send_signal(signal.SIGQUIT)
    old.wait(20)
    one.process = steady.Heir(new)
    net.wait_for(lambda: one.log.count('configuration 2 in force in all workers') == 2, 15.0, 'the change in the new binary')
    assert one.get('/stats/prometheus', 15999).status == 200


def test_workers_of_a_dead_master_keep_their_counters(cairn, pods, echo, curl):  # noqa: F811
    """Statistics have two sides; a third binary would find none that is free."""
    one = cairn(steady.body(*pods, echo=echo), main='worker_shutdown_timeout 10m;')
    one.expect_crash = True
    connection = one.connection(curl)
    tunnel = connection.connect(steady.ECHO)
    tunnel.send(b'begins')
    assert tunnel.recv() == b'begins'
    old = steady.upgrade(one, wait=False)
    os.kill(old.pid, signal.SIGKILL)
    old.wait(10)
    requests = one.count('cairn_hbone_tunnels_total')
    one.send_signal(signal.SIGUSR2)
    one.wait_log('no new binary is started while workers of a master that is gone')
    tunnel.send(b'goes on')
    assert tunnel.recv() == b'goes on'
    connection.close()
    again = one.log.count('no new binary is started')

    def upgraded():
        one.send_signal(signal.SIGUSR2)
        net.wait_for(lambda: one.log.count('new binary') > again, 10.0)
        return one.log.count('new binary started') == 2
    net.wait_for(upgraded, 20.0, 'the upgrade')
    net.wait_for(lambda: one.log.count('configuration 1 in force in all workers') == 3, 20.0, 'the third binary')
    assert one.count('cairn_hbone_tunnels_total') >= requests > 0 and 'counters begin at 0' not in one.log
    third = int((one.folder / 'cairn.pid').read_text())
    one.send_signal(signal.SIGQUIT)
    one.process.wait(20)
    one.process = steady.Heir(third)


def test_end_does_not_wait_for_a_check_nor_take_it(cairn, pods, echo, curl):  # noqa: F811
    one = cairn(steady.body(*pods, echo=echo), main='config_keeper on;')
    os.kill(keeper_of(one), signal.SIGSTOP)
    one.write(one.body, main='config_keeper on; listen %s:15999 metrics;' % one.ip)
    command = subprocess.Popen(one.command('-s', 'reload', '--wait'), stderr=subprocess.PIPE, text=True)
    one.wait_log('reading the configuration again')
    with one.connection(curl) as connection:
        tunnel = connection.connect(steady.ECHO)
        one.send_signal(signal.SIGQUIT)
        assert 'about to end' in command.communicate(timeout=10)[1] and command.returncode == 1
        tunnel.send(b'goes on')
        assert tunnel.recv() == b'goes on'
        with pytest.raises(ConnectionRefusedError):
            one.get('/stats/prometheus', 15999)
    one.process.wait(10)


def test_worker_that_stands_still_opens_log_files_anew_later(cairn, pods, curl):  # noqa: F811
    """Its channel is full when the order comes."""
    one = cairn(steady.body(*pods), workers=2)
    for _ in range(8):
        assert one.request(curl, steady.VIP).status == 200
    still = one.workers()[0]
    os.kill(still, signal.SIGSTOP)
    for _ in range(600):
        assert one.get('/logging?level=info', method='POST').status == 200
    one.wait_log('worker \\d+ does not listen')
    one.access_path.rename(one.folder / 'access.log.1')
    assert any('access.log.1' in link for link in chaos.links(still))
    one.send_signal(signal.SIGUSR1)
    net.wait_for(one.access_path.exists, 10.0, 'the new file')
    os.kill(still, signal.SIGCONT)
    net.wait_for(lambda: not any('access.log.1' in link for link in chaos.links(still)), 10.0, 'the end of the old file')


def test_rotated_error_log_is_held_by_nobody(cairn):
    """Whoever holds a file that was deleted keeps its room on the disk."""
    one = cairn(main='conf_watch on; config_keeper on;', arguments=['-g', 'error_log e.log info;'])
    keeper_of(one)
    (one.folder / 'e.log').rename(one.folder / 'e.log.1')
    one.send_signal(signal.SIGUSR1)
    net.wait_for(lambda: not any('e.log.1' in link for p in chaos.family(one.process.pid) for link in chaos.links(p)), 10.0,
                 'the end of the old file')
