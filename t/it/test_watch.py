# SPDX-License-Identifier: Apache-2.0
"""conf_watch: changes on disk are taken without a signal, however they are made, and nothing else is.

That something does not happen is told by what happens next: a change that is taken, after
which the log shows everything that was taken before it.
"""

import os
import pathlib
import re
import shutil
import signal
import threading

import pytest

from peers import net, proxy, steady

from test_fault import fault  # noqa: F401
from test_gen_killed import MARK, render  # noqa: F401
from test_lifecycle import own_identity, rotate, shown  # noqa: F401
from test_process import children, is_alive, service, services, wait_workers

ON = 'conf_watch on;'
INCLUDE = 'include conf.d/*.conf;\n'


@pytest.fixture(params=['off', 'on'])
def main(request):
    """With and without a process that keeps the configuration: the result is the same."""
    return ON + ' config_keeper %s;' % request.param


def told(one):
    """What the log says of each change that was taken."""
    return [line.replace(str(one.folder) + '/', '') for line in re.findall('changed on disk: (.*)', one.log)]


def wait_services(one, *names):
    net.wait_for(lambda: services(one) == sorted(names), 15.0, 'services %r; the log says:\n%s' % (names, one.log))


def add(one, name):
    """A change that is taken: the service is there when this returns."""
    before = services(one)
    one.put('conf.d/%s.conf' % name, service('%s.x:1' % name, '127.1.1.%d' % (1 + len(before))))
    wait_services(one, *before, '%s.x:1' % name)


def processes(pid):
    """The words that say what each child of the master is."""
    titles = []
    for child in children(pid):
        try:
            titles.append(pathlib.Path('/proc/%d/cmdline' % child).read_text().strip('\0'))
        except OSError:
            pass  # it has just ended
    return titles


def watcher(one):
    def there():
        return next((c for c in children(one.process.pid) if is_alive(c) and
                     'watcher' in pathlib.Path('/proc/%d/cmdline' % c).read_text()), None)
    return net.wait_for(there, 10.0, 'the watcher')


# ---- changes of every kind ----

def test_file_that_is_edited_in_place(cairn, main):
    one = cairn(INCLUDE, files={'conf.d/a.conf': service('a.x:1', '127.1.1.1')}, main=main)
    with open(one.folder / 'conf.d/a.conf', 'a') as file:
        file.write(service('b.x:1', '127.1.1.2'))
    wait_services(one, 'a.x:1', 'b.x:1')
    assert told(one) == ['conf.d/a.conf']


def test_file_that_is_open_for_long_is_read_as_it_is(cairn):
    one = cairn(INCLUDE, files={'conf.d/a.conf': service('a.x:1', '127.1.1.1')}, main=ON)
    with open(one.folder / 'conf.d/a.conf', 'a') as file:
        for name, ip in ('b.x:1', '127.1.1.2'), ('c.x:1', '127.1.1.3'):
            file.write(service(name, ip))
            file.flush()
            net.wait_for(lambda: name in services(one), 15.0, name)


def test_without_inotify(cairn, fault):
    """No watch can be had, from the start on: looking finds every change, and one line says why it takes longer."""
    one = cairn(INCLUDE, start=False, main=ON)
    one.env = fault.env
    fault.arm_name('inotify_init1')
    one.start()
    for name in 'a', 'b':
        add(one, name)
    assert fault.count() > 0
    warned = [line for line in one.log.splitlines() if 'has no inotify' in line]
    assert len(warned) == 1 and 'conf_watch has no inotify (Too many open files): changes are found by looking' in warned[0]
    fault.disarm()
    add(one, 'c')  # the next check's files are watched again
    add(one, 'd')


def test_file_that_is_replaced(cairn, main):
    one = cairn(service('a.x:1', '127.1.1.1'), main=main)
    one.write(service('b.x:1', '127.1.1.1'))
    wait_services(one, 'b.x:1')
    assert told(one) == ['cairn.conf']


def test_files_that_a_pattern_begins_and_ceases_to_match(cairn, main):
    one = cairn(INCLUDE, main=main)
    add(one, 'a')  # the folder too is new
    add(one, 'b')
    (one.folder / 'conf.d/a.conf').unlink()
    wait_services(one, 'b.x:1')
    (one.folder / 'conf.d/b.conf').rename(one.folder / 'conf.d/b.off')
    wait_services(one)
    assert len(told(one)) == 4


def test_config_map_whose_link_is_swapped(cairn, main):
    """The kubelet writes a folder beside the old one and renames a link to it."""
    one = cairn('include mounted/*.conf;\n', main=main)
    mount = one.folder / 'mounted'

    def swap(version, **files):
        (mount / version).mkdir(parents=True)
        for name, text in files.items():
            (mount / version / (name + '.conf')).write_text(text)
        (mount / '..data_tmp').symlink_to(version)
        (mount / '..data_tmp').rename(mount / '..data')
        for name in files:
            link = mount / (name + '.conf')
            if not link.is_symlink():
                link.symlink_to('..data/%s.conf' % name)
    swap('..2026_1', a=service('a.x:1', '127.1.1.1'))
    wait_services(one, 'a.x:1')
    swap('..2026_2', a=service('b.x:1', '127.1.1.1'))
    wait_services(one, 'b.x:1')
    shutil.rmtree(mount / '..2026_1')
    swap('..2026_3', a=service('c.x:1', '127.1.1.1'))
    wait_services(one, 'c.x:1')


def test_link_to_a_file_elsewhere(cairn, tmp_path, main):
    """No event comes from its folder: the stamps tell."""
    far = tmp_path / 'far/away/a.conf'
    far.parent.mkdir(parents=True)
    far.write_text(service('a.x:1', '127.1.1.1'))
    one = cairn('include a.conf;\n', start=False, main=main)
    (one.folder / 'a.conf').symlink_to(far)
    one.start()
    far.write_text(service('b.x:1', '127.1.1.1'))
    wait_services(one, 'b.x:1')
    assert told(one) == ['a.conf']


def test_endpoints_file(cairn, new_origin, curl, main):
    first, second = new_origin('first'), new_origin('second')
    one = cairn(proxy.cluster(steady.NAME, endpoints='endpoints.d/reviews') + proxy.service(steady.NAME, steady.VIP),
                files={'endpoints.d/reviews': proxy.endpoint(first)}, main=main, workers=2)
    before = one.workers()
    one.put('endpoints.d/reviews', proxy.endpoint(second))
    one.wait_log('configuration 2 in force in all workers')
    assert b'second' in one.request(curl, steady.VIP).body
    assert told(one) == ['endpoints.d/reviews'] and one.workers() == before


def test_certificate_that_is_rotated(cairn, curl, pki, tmp_path, main):
    one = cairn(identity=own_identity(pki, tmp_path / 'own'), main=main)
    before = shown(one, curl)
    rotate(one, pki.identity('bookinfo', 'waypoint', days=30))
    one.wait_log('configuration 2 in force in all workers')
    assert shown(one, curl) != before and one.info()['reload_failures'] == 0


# ---- what is refused ----

def test_refused_change_is_told_once_and_tried_again_when_it_is_mended(cairn, main):
    one = cairn(INCLUDE, files={'conf.d/a.conf': service('a.x:1', '127.1.1.1')}, main=main)
    one.put('conf.d/bad.conf', 'no_such_directive on;\n')
    one.wait_log('reload refused, configuration 1 stays in force: .*bad.conf:1: .*no_such_directive')
    assert services(one) == ['a.x:1'] and one.count('cairn_config_last_reload_successful') == 0
    one.put('conf.d/bad.conf', 'another_one on;\n')
    one.wait_log('reload refused.*another_one')
    one.put('conf.d/bad.conf', service('b.x:1', '127.1.1.2'))
    wait_services(one, 'a.x:1', 'b.x:1')
    assert one.info()['reload_failures'] == 2 and one.log.count('reload refused') == 2
    assert told(one) == ['conf.d/*.conf', 'conf.d/bad.conf', 'conf.d/bad.conf']
    assert one.count('cairn_config_last_reload_successful') == 1


def test_missing_file_that_appears(cairn, main):
    one = cairn(main=main)
    one.write('include later/one.conf;\n' + proxy.cluster('c.x:1', endpoints='endpoints.d/c'))
    one.wait_log('reload refused.*later/one.conf.*No such file')
    one.put('later/one.conf', service('a.x:1', '127.1.1.1'))
    one.wait_log('reload refused.*endpoints.d/c.*No such file')
    one.put('endpoints.d/c', '127.0.0.9:1\n')
    wait_services(one, 'a.x:1')
    assert one.info()['reload_failures'] == 2


def test_bad_certificate_is_refused_and_a_good_one_taken(cairn, curl, pki, tmp_path, main):
    one = cairn(identity=own_identity(pki, tmp_path / 'own'), main=main)
    before, other = shown(one, curl), pki.identity('bookinfo', 'waypoint', days=30)
    steady.replace_files([(one.identity.cert, other.cert)])
    one.wait_log('reload refused.*does not belong')
    assert shown(one, curl) == before
    steady.replace_files([(one.identity.key, other.key)])
    one.wait_log('configuration 2 in force in all workers')
    assert shown(one, curl) != before and one.info()['reload_failures'] == 1


def test_address_that_is_taken_is_refused_until_a_file_changes(cairn):
    """All files are good, so the checker said yes: the master refuses."""
    one = cairn(main=ON)
    with net.listen(one.ip, 15999):
        one.write('', main=ON + 'listen %s:15999 metrics;' % one.ip)
        one.wait_log('reload refused.*:15999: Address already in use')
    one.write('', main=ON + 'listen %s:15998 metrics;' % one.ip)
    one.wait_log('configuration 2 in force in all workers')
    assert one.get('/stats/prometheus', 15998).status == 200
    assert len(told(one)) == 2


def test_reloads_by_hand_work_as_ever_beside_it(cairn, run, main):
    one = cairn(INCLUDE, main=main)
    for i in range(3):
        one.put('conf.d/a.conf', service('a%d.x:1' % i, '127.1.1.1'))
        assert run(*one.command('-s', 'reload', '--wait')).returncode == 0
        assert services(one) == ['a%d.x:1' % i]
    one.put('conf.d/a.conf', 'bogus;\n')
    done = run(*one.command('-s', 'reload', '--wait'))
    assert done.returncode == 1 and 'bogus' in done.stderr
    (one.folder / 'conf.d/a.conf').unlink()
    wait_services(one)
    add(one, 'b')
    # What a reload by hand has taken is no change any more; at most it was told a moment before.
    assert one.log.count('reading the configuration again') <= 10


# ---- when ----

def test_burst_of_changes_is_taken_together(cairn):
    one = cairn(INCLUDE, main='conf_watch on settle=1s;')
    for i in range(200):
        one.put('conf.d/s%d.conf' % i, service('s%d.x:1' % i, '127.1.%d.%d' % (1 + i // 200, 1 + i % 200)))
    net.wait_for(lambda: len(services(one)) == 200, 30.0, '200 services')
    add(one, 'last')
    print('201 new files: %d reloads' % (one.info()['configuration'] - 1))
    assert one.info()['reload_failures'] == 0
    assert one.info()['configuration'] <= 1 + 8


def test_writing_without_an_end_does_not_hold_it_back(cairn):
    one = cairn('', files={'endpoints.d/c': '127.0.0.9:1\n'}, main='conf_watch on settle=300ms;')
    one.write(proxy.cluster('c.x:1', endpoints='endpoints.d/c'))
    one.wait_log('configuration 2 in force')
    stop = threading.Event()

    def keep_writing():
        i = 0
        while not stop.wait(0.02):
            i += 1
            one.put('endpoints.d/c', '127.0.0.9:%d\n' % (1 + i % 60000))
    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        one.wait_log('configuration 4 in force', 30.0)
    finally:
        stop.set()
        thread.join()
    last = (one.folder / 'endpoints.d/c').read_text().strip()
    net.wait_for(lambda: last.encode() + b'::' in one.get('/clusters').body, 15.0, 'the last endpoint')


def test_what_is_no_change_is_not_taken(cairn):
    one = cairn(INCLUDE, files={'conf.d/a.conf': service('a.x:1', '127.1.1.1')}, main=ON)
    os.utime(one.folder / 'conf.d/a.conf')
    one.put('conf.d/a.conf', (one.folder / 'conf.d/a.conf').read_text())  # the same again
    one.put('conf.d/notes.txt', 'nobody includes this')
    one.put('conf.d/.hidden.conf', 'bogus;')
    one.put('other.d/b.conf', 'bogus;')
    (one.folder / 'error.log.1').write_text('rotated')
    (one.folder / 'cairn.pid').touch()
    for i in range(50):
        assert one.get('/stats/prometheus', 15020).status == 200  # the access log is beside the configuration
        (one.folder / 'conf.d/busy.log').write_text(str(i))
    add(one, 'b')
    assert told(one) == ['conf.d/*.conf'] and one.info()['configuration'] == 2


def test_off_is_the_default_and_nobody_watches(cairn):
    one = cairn(service('a.x:1', '127.1.1.1'))
    wait_workers(one, 1)
    assert not any('watcher' in title for title in processes(one.process.pid))
    one.write(service('b.x:1', '127.1.1.1'))
    one.reload()
    assert told(one) == [] and one.info()['configuration'] == 2


def test_switched_by_a_reload_and_by_a_change_itself(cairn):
    one = cairn(main='')
    one.reload('', main=ON)
    watcher(one)
    one.write(service('a.x:1', '127.1.1.1'), main='conf_watch on settle=50ms;')
    wait_services(one, 'a.x:1')
    one.write(service('b.x:1', '127.1.1.1'), main='conf_watch off;')
    wait_services(one, 'b.x:1')
    net.wait_for(lambda: not any('watcher' in title for title in processes(one.process.pid)), 10.0, 'the end of the watcher')
    one.write(service('c.x:1', '127.1.1.1'), main='conf_watch off;')
    one.reload()
    assert len(told(one)) == 2 and services(one) == ['c.x:1']


@pytest.mark.parametrize('words, expected', [
    ('maybe', 'expected off, or on'), ('off settle=1s', 'expected off, or on'), ('on settle=1ms', 'from 10ms to 1m'),
    ('on settle=2m', 'from 10ms to 1m'), ('on patience=1s', 'expected settle=TIME')])
def test_bad_values_are_refused(cairn, words, expected):
    status, said = cairn(start=False, main='conf_watch %s;' % words).check()
    assert status == 1 and expected in said, said


# ---- the life of the processes ----

def test_death_of_the_watcher_misses_nothing(cairn):
    one = cairn(INCLUDE, main=ON)
    for name in 'a', 'b':
        pid = watcher(one)
        os.kill(pid, signal.SIGSTOP)
        one.put('conf.d/%s.conf' % name, service('%s.x:1' % name, '127.1.1.%d' % ord(name)))
        os.kill(pid, signal.SIGKILL)
        one.wait_log('the watcher \\(process %d\\) has ended' % pid)
        net.wait_for(lambda: '%s.x:1' % name in services(one), 15.0, 'service ' + name)
        assert watcher(one) != pid


def test_watcher_goes_with_the_master(cairn):
    one = cairn(main=ON)
    one.expect_crash = True
    pid = watcher(one)
    one.process.kill()
    one.process.wait()
    net.wait_for(lambda: not is_alive(pid), 10.0, 'the end of the watcher')


def test_nothing_is_taken_while_the_workers_are_away(cairn):
    one = cairn(main=ON)
    wait_workers(one, 1)
    one.send_signal(signal.SIGWINCH)
    net.wait_for(lambda: children(one.process.pid) == [], 10.0, 'the end of workers and watcher')
    one.write(service('a.x:1', '127.1.1.1'))
    one.send_signal(signal.SIGHUP)
    net.wait_for(lambda: one.looks_ready() and services(one) == ['a.x:1'], 15.0, 'the workers')
    assert told(one) == [] and one.info()['configuration'] == 2
    one.write(service('b.x:1', '127.1.1.1'))
    wait_services(one, 'b.x:1')
    assert told(one) == ['cairn.conf']


def test_upgraded_master_watches_too(cairn):
    one = cairn(main=ON)
    pid = one.folder / 'cairn.pid'
    old = one.process.pid
    one.send_signal(signal.SIGUSR2)
    net.wait_for(lambda: one.log.count('configuration 1 in force in all workers') == 2)
    new = int(pid.read_text())
    try:
        one.write(service('a.x:1', '127.1.1.1'))  # both take it
        net.wait_for(lambda: one.log.count('configuration 2 in force in all workers') == 2)
        one.send_signal(signal.SIGQUIT)
        one.process.wait(15)
        assert one.process.returncode == 0
        one.write(service('b.x:1', '127.1.1.1'))
        wait_services(one, 'b.x:1')
        assert one.info()['master'] == new != old
    finally:
        os.kill(new, signal.SIGTERM)
        net.wait_for(lambda: not is_alive(new))


def test_upgrade_that_is_taken_back_finds_what_changed_meanwhile(cairn):
    one = cairn(main=ON)
    one.send_signal(signal.SIGUSR2)
    net.wait_for(lambda: one.log.count('configuration 1 in force in all workers') == 2)
    new = int((one.folder / 'cairn.pid').read_text())
    one.send_signal(signal.SIGWINCH)
    net.wait_for(lambda: children(one.process.pid) == [new], 15.0, 'the end of workers and watcher')
    one.write(service('a.x:1', '127.1.1.1'))
    wait_services(one, 'a.x:1')  # the new one has it
    os.kill(new, signal.SIGQUIT)
    one.wait_log('starting workers again')
    net.wait_for(lambda: one.looks_ready() and one.info()['master'] == one.process.pid and services(one) == ['a.x:1'], 15.0,
                 'the change in the old master')
    assert told(one) == ['cairn.conf'] * 2


# ---- cairn-gen ----

def test_folder_that_cairn_gen_writes(cairn, render):  # noqa: F811
    """However its writing and the watching meet: nothing is refused, and the last one is in force."""
    one = cairn(start=False, arguments=['-g', 'worker_processes 1; drain_delay 0; conf_watch on settle=20ms;'])
    (one.folder / 'cairn.conf').unlink()

    def write(kind):
        done = render(one.folder, kind, '--bind', one.ip)
        assert done.returncode == 0, done.stderr
    write('large')
    one.start()
    for i in range(6):
        write(('small', 'large')[i % 2])
        wanted = ('marks', 'ratings')[i % 2] + '.bookinfo:9080'
        net.wait_for(lambda: wanted in services(one), 15.0, wanted)
    for i in range(7):  # without waiting
        write(('small', 'large')[i % 2])
    net.wait_for(lambda: 'marks.bookinfo:9080' in services(one), 15.0, 'the last one')
    print('13 runs of cairn-gen: %d reloads' % (one.info()['configuration'] - 1))
    assert one.info()['reload_failures'] == 0


def test_unfinished_folder_waits_without_an_error(cairn, main):
    one = cairn(INCLUDE, main=main)
    (one.folder / MARK).touch()
    one.put('conf.d/a.conf', service('a.x:1', '127.1.1.1'))
    one.wait_log('warn .* has changed, and cairn-gen has not finished it: waiting until it has', 15.0)
    one.put('conf.d/b.conf', service('b.x:1', '127.1.1.2'))
    assert services(one) == [] and told(one) == []
    (one.folder / MARK).unlink()
    wait_services(one, 'a.x:1', 'b.x:1')
    assert one.info()['configuration'] == 2 and one.log.count('has not finished') == 1
    assert one.info()['reload_failures'] == 0


def test_unfinished_folder_that_was_refused_is_tried_when_the_mark_goes(cairn, main):
    one = cairn(main=main)
    (one.folder / MARK).touch()
    one.send_signal(signal.SIGHUP)
    one.wait_log('reload refused.*cairn-gen was interrupted')
    (one.folder / MARK).unlink()
    one.wait_log('configuration 2 in force in all workers')
    assert told(one) == [MARK]
