# SPDX-License-Identifier: Apache-2.0
"""Processes: start, signals, reload, respawn, upgrade, privileges, and cairn's own endpoints."""

import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time

import pytest

from peers import net, proxy

root_only = pytest.mark.skipif(os.geteuid() != 0, reason='needs root')


def workers(one, state='serving'):
    """{place: pid} of the workers in that state."""
    info = one.get('/server_info').json()['cairn']['workers']
    return {w['id']: w['pid'] for w in info if w['state'] == state}


def wait_workers(one, n, other_than=()):
    """Waits until n workers serve of which none is one of those pids."""
    def there():
        try:
            now = workers(one)
        except (OSError, AssertionError, ValueError):
            return None
        return now if len(now) == n and not set(now.values()) & set(other_than) else None
    return net.wait_for(there, 15, '%d workers' % n)


def children(pid):
    text = pathlib.Path('/proc/%d/task/%d/children' % (pid, pid)).read_text()
    return [int(word) for word in text.split()]


def status_of(pid):
    lines = pathlib.Path('/proc/%d/status' % pid).read_text().splitlines()
    return dict(line.split(':\t', 1) for line in lines if ':\t' in line)


def is_alive(pid):
    try:
        return status_of(pid)['State'][0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError):
        return False


def services(one):
    return [s['name'] for s in one.get('/config_dump').json()['services']]


def service(name, ip):
    return proxy.service(name, '%s:9080' % ip) + proxy.cluster(name, '%s:9080' % ip)


# ---- the command line ----

def test_check_names_file_line_and_what_is_wrong(cairn):
    one = cairn('\nno_such_directive on;\n', start=False)
    line = 1 + (one.folder / 'cairn.conf').read_text().split('\n').index('no_such_directive on;')
    code, said = one.check()
    assert code == 1
    assert 'cairn.conf:%d: ' % line in said and 'no_such_directive' in said
    assert 'test failed' in said


@pytest.mark.parametrize('line, expected', [
    ('worker_shutdown_timeout soon;', 'soon'),
    ('listen 127.0.0.1:1 no_such_protocol;', 'hbone, '),
    ('listen 127.0.0.1 agent;', 'IP:PORT'),
    ('listen localhost:80 agent;', 'IP:PORT'),
    ('listen 127.0.0.1:81 agent; listen 127.0.0.1:81 admin;', 'already listened on by'),
    ('listen 127.0.0.1:81 agent backlog=0;', 'from 1 to 65535'),
    ('user no-such-user-here;', 'no such user'),
    ('worker_cpu_affinity 012;', 'mask'),
    ('stats_memory 1k;', '64k'),
])
def test_bad_values_are_refused_with_what_was_expected(cairn, line, expected):
    code, said = cairn(main=line, start=False).check()
    assert code == 1 and expected in said and 'cairn.conf:' in said


def test_check_proves_the_identity_too(cairn, pki):
    one = cairn(start=False, identity=pki.expired('bookinfo', 'waypoint'))
    code, said = one.check()
    assert code == 1 and 'expired' in said.lower()


def test_quiet_check_of_a_good_configuration_says_nothing(cairn):
    assert cairn(start=False).check('-q') == (0, '')


def test_dump_prints_every_file_that_was_read(cairn, run):
    files = {'conf.d/extra.conf': service('reviews.bookinfo:9080', '127.1.1.1')}
    one = cairn('include conf.d/*.conf;\n', files=files, start=False)
    done = run(*one.command('-T'))
    assert done.returncode == 0
    assert 'conf.d/extra.conf' in done.stdout and 'service reviews.bookinfo:9080' in done.stdout


def test_command_line_directives_win(cairn):
    one = cairn(arguments=['-g', 'worker_processes 3;'])
    assert len(wait_workers(one, 3)) == 3


def test_version_names_modules_and_how_it_was_built(builddir, run):
    said = run(builddir / 'cairn', '-V').stdout
    assert re.search(r'^cairn version: \d+\.\d+', said) and 'configure arguments:' in said and 'hbone' in said
    assert re.search(r'^built with OpenSSL 3\.\S+, runs with 3\.\S+ \((static|shared)\)$', said, re.M)


def test_reference_documents_directives_and_metrics(builddir, run):
    page = run(builddir / 'cairn', '-D').stdout
    for word in ('worker_processes', 'worker_shutdown_timeout', 'cairn_config_generation', 'istio_requests_total'):
        assert word in page
    assert page.rstrip().endswith('</html>') and page.count('</html>') == 1


def test_wrong_usage_ends_with_status_2(builddir, run):
    for words in (['-x'], ['stray'], ['explain'], ['explain', '--to', 'x']):
        assert run(builddir / 'cairn', *words).returncode == 2


def test_start_with_a_bad_configuration_fails_and_says_why(cairn, run):
    one = cairn('bogus;', start=False)
    done = run(*one.command())
    assert done.returncode == 1 and 'cairn.conf:' in done.stderr and 'bogus' in done.stderr


def test_start_on_a_taken_address_fails_and_names_it(cairn, run):
    one = cairn(start=False)
    with net.listen(one.ip, 15020):
        done = run(*one.command())
    assert done.returncode == 1
    assert '%s:15020' % one.ip in done.stderr and 'in use' in done.stderr


def test_explain_tells_verdict_by_status(cairn, run):
    policy = 'authz { policy "bookinfo/v" allow { rule { from { principals cluster.local/ns/default/sa/curl; } to { methods GET; } } } }'
    name = 'reviews.bookinfo:9080'
    one = cairn(proxy.service(name, '127.1.1.1:9080', policy) + proxy.cluster(name, '127.1.1.2:9080'), start=False)

    def explain(*words):
        return run(one.binary, 'explain', '-c', one.folder / 'cairn.conf', *words)
    me = ['--from', 'spiffe://cluster.local/ns/default/sa/curl']
    allowed = explain(*me, '--to', '127.1.1.1:9080', 'GET', '/x', '-H', 'X-A: b')
    assert allowed.returncode == 0 and name in allowed.stdout and '127.1.1.2:9080' in allowed.stdout
    by_name = explain(*me, '--to', 'reviews.bookinfo.svc.cluster.local:9080', 'GET', '/x')
    assert by_name.returncode == 0
    denied = explain(*me, '--to', '127.1.1.1:9080', 'POST', '/x')
    assert denied.returncode == 3 and 'bookinfo/v' in denied.stdout and 'methods' in denied.stdout
    assert explain(*me, '--to', '127.1.1.1:9080').returncode == 3  # not HTTP
    assert explain(*me, '--to', '127.1.1.9:9080', 'GET', '/').returncode == 4
    assert explain('--from', 'curl', '--to', '127.1.1.1:9080', 'GET', '/').returncode == 2


# ---- life ----

def test_pid_file_appears_and_goes_with_the_master(cairn):
    one = cairn()
    path = one.folder / 'cairn.pid'
    assert int(path.read_text()) == one.process.pid
    assert not one.stop()
    assert not path.exists()


def test_titles_tell_master_from_workers(cairn):
    one = cairn()

    def title(pid):
        return pathlib.Path('/proc/%d/cmdline' % pid).read_bytes().rstrip(b'\0').decode()
    assert title(one.process.pid) == 'cairn: master process'
    assert [title(p) for p in workers(one).values()] == ['cairn: worker process']


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signals_end_it_in_order(cairn, how):
    one = cairn(workers=2)
    pids = list(wait_workers(one, 2).values())
    assert one.stop(how) == ''
    assert not any(is_alive(p) for p in pids)


def test_daemon_leaves_the_terminal_and_s_stop_ends_it(cairn, run):
    one = cairn(start=False, arguments=['-g', 'daemon on; error_log d.log notice;'])
    done = run(*one.command(*one.arguments), timeout=30)
    assert done.returncode == 0, done.stderr
    pid = int((one.folder / 'cairn.pid').read_text())
    net.wait_for(lambda: one.get('/healthz/ready', 15021).status == 200)
    assert os.getsid(pid) == pid != os.getsid(0)
    assert [os.readlink('/proc/%d/fd/%d' % (pid, fd)) for fd in (0, 1)] == ['/dev/null'] * 2
    done = run(*one.command('-s', 'stop'))
    assert done.returncode == 0, done.stderr
    net.wait_for(lambda: not is_alive(pid))
    assert 'exit' in (one.folder / 'd.log').read_text()


def test_daemon_that_cannot_start_fails_in_the_foreground(cairn, run):
    one = cairn(start=False, arguments=['-g', 'daemon on; pid /no/such/folder/pid;'])
    done = run(*one.command(*one.arguments), timeout=30)
    assert done.returncode == 1 and '/no/such/folder/pid' in done.stderr


def test_signal_without_a_master_is_an_error(cairn, run):
    one = cairn(start=False)
    done = run(*one.command('-s', 'quit'))
    assert done.returncode == 1 and 'cairn.pid' in done.stderr
    assert run(*one.command('-s', 'dance')).returncode == 1


@pytest.mark.parametrize('damage', [
    lambda text: text + 'bogus directive;\n',
    lambda text: text + 'include nowhere.conf;\n',
    lambda text: text + 'service a.b:1 {\n',
    lambda text: 'error_log "logs\n' + text,
    lambda text: 'worker_processes 1\n' + text,
    lambda text: 'mesh {\n' + text,
    lambda text: 'include parts/*.conf;\n',  # where it is now
], ids=['directive', 'include', 'block', 'quote', 'semicolon', 'brace', 'elsewhere'])
@pytest.mark.parametrize('word', ['quit', 'stop'])
def test_bad_configuration_does_not_keep_the_master_from_being_ended(cairn, run, damage, word):
    one = cairn()
    text = (one.folder / 'cairn.conf').read_text()
    one.put('parts/a.conf', 'bogus on;\n' + text)
    one.put('cairn.conf', damage(text))
    done = run(*one.command('-s', word))
    assert (done.returncode, done.stderr) == (0, '')
    one.process.wait(15)
    assert one.process.returncode == 0


def test_unfinished_folder_does_not_keep_the_master_from_being_told(cairn, run):
    one = cairn()
    (one.folder / '.cairn-unfinished').touch()
    done = run(*one.command('-s', 'reopen'))
    assert (done.returncode, done.stderr) == (0, '')
    one.wait_log('USR1 from process')
    done = run(*one.command('-s', 'reload'))
    assert done.returncode == 1 and 'reload refused' in done.stderr and 'cairn-gen was interrupted' in done.stderr
    assert run(*one.command('-s', 'quit')).returncode == 0
    one.process.wait(15)


def test_pid_file_that_cannot_be_told_from_the_configuration(cairn, run):
    one = cairn()
    text = (one.folder / 'cairn.conf').read_text()
    (one.folder / 'cairn.conf').unlink()
    done = run(*one.command('-s', 'quit'))
    assert done.returncode == 1 and 'cairn.conf: No such file' in done.stderr and "-g 'pid FILE;'" in done.stderr
    # The default is taken when there is none to be seen, and that is said.
    one.put('cairn.conf', re.sub(r'(?m)^pid .*$', '', text) + '"')
    done = run(*one.command('-s', 'quit'))
    assert done.returncode == 1 and 'taking logs/cairn.pid' in done.stderr and 'a quote is opened' in done.stderr
    one.put('cairn.conf', 'pid off;')
    done = run(*one.command('-s', 'quit'))
    assert done.returncode == 1 and 'pid off' in done.stderr
    assert run(*one.command('-s', 'quit', '-g', 'pid %s/cairn.pid;' % one.folder)).returncode == 0
    one.process.wait(15)
    assert one.process.returncode == 0


def test_pid_that_cannot_be_written_is_fatal_only_when_asked_for(cairn, run):
    one = cairn(start=False, arguments=['-g', 'pid /no/such/folder/pid;'])
    done = run(*one.command(*one.arguments))
    assert done.returncode == 1 and '/no/such/folder/pid' in done.stderr
    text = (one.folder / 'cairn.conf').read_text()
    (one.folder / 'cairn.conf').write_text(re.sub(r'(?m)^pid .*$', '', text))
    one.arguments = []
    one.start()  # the default logs/cairn.pid, and there is no logs
    assert 'no pid file' in one.log


def test_limits_and_affinity_reach_the_workers(cairn):
    one = cairn(workers=2, main='worker_rlimit_nofile 777; worker_cpu_affinity 1;')
    for pid in wait_workers(one, 2).values():
        limits = pathlib.Path('/proc/%d/limits' % pid).read_text()
        assert re.search(r'Max open files +777 ', limits)
        assert status_of(pid)['Cpus_allowed_list'] == '0'


def test_log_is_reopened_on_usr1(cairn):
    one = cairn(arguments=['-g', 'error_log e.log info;'])
    path, moved = one.folder / 'e.log', one.folder / 'e.log.1'
    path.rename(moved)
    one.send_signal(signal.SIGUSR1)
    net.wait_for(path.exists)
    one.reload()
    net.wait_for(lambda: 'configuration 2 in force' in path.read_text())
    assert 'configuration 2' not in moved.read_text()


# ---- workers ----

def test_killed_worker_is_replaced_at_once(cairn):
    one = cairn(workers=2)
    one.expect_crash = True
    before = wait_workers(one, 2)
    os.kill(before[0], signal.SIGKILL)
    started = time.monotonic()
    after = net.wait_for(lambda: (lambda now: now if len(now) == 2 and now[0] != before[0] else None)(workers(one)))
    assert time.monotonic() - started < 1.0
    assert after[1] == before[1]
    assert one.metrics()['cairn_worker_deaths_total{}'] == 1


def test_worker_that_keeps_dying_is_retried_slowly_and_forgiven_on_reload(cairn):
    one = cairn()
    one.expect_crash = True
    for _ in range(5):
        pid = net.wait_for(lambda: children(one.process.pid))[0]
        os.kill(pid, signal.SIGKILL)
        net.wait_for(lambda: pid not in children(one.process.pid))
    one.wait_log('has died 5 times in a row .* next try is in 30 s')
    assert children(one.process.pid) == []
    one.send_signal(signal.SIGHUP)
    net.wait_for(one.is_ready)


def test_worker_that_stands_still_is_killed_and_replaced(cairn):
    one = cairn(workers=2, main='worker_watchdog 1s;')
    one.expect_crash = True
    before = wait_workers(one, 2)
    os.kill(before[0], signal.SIGSTOP)
    one.wait_log(r'process %d\) has stood still' % before[0])
    wait_workers(one, 2, other_than=[before[0]])


def test_workers_leave_when_the_master_dies(cairn):
    one = cairn(workers=2)
    one.expect_crash = True
    pids = list(wait_workers(one, 2).values())
    one.process.kill()
    net.wait_for(lambda: not any(is_alive(p) for p in pids), 15, 'workers to leave')


def test_requests_in_flight_end_well_on_quit(cairn, new_origin, curl):
    app = new_origin('reviews-v1')
    name = 'reviews.bookinfo:9080'
    one = cairn(proxy.service(name, '127.1.1.1:9080') + proxy.cluster(name, app.address))
    with one.connection(curl) as connection:
        http = connection.connect('127.1.1.1:9080')
        answers = []
        asking = threading.Thread(target=lambda: answers.append(http.request(path='/slow/1500')))
        asking.start()
        net.wait_for(lambda: app.requests)
        one.send_signal(signal.SIGQUIT)
        net.wait_for(lambda: one.get('/healthz/ready', 15021).status == 503, 5, 'not ready')
        asking.join(10)
        assert [a.status for a in answers] == [200]
    one.process.wait(10)
    assert one.process.returncode == 0


def test_shutdown_timeout_ends_what_does_not_end(cairn, new_tcp_origin, curl):
    app = new_tcp_origin('tcp')
    name = 'tcp.bookinfo:9000'
    one = cairn(proxy.service(name, '127.1.1.1:9000', protocol='tcp') +
                proxy.cluster(name, app.address, protocol='tcp'), main='worker_shutdown_timeout 1s;')
    with one.connection(curl) as connection:
        tunnel = connection.connect('127.1.1.1:9000')
        tunnel.send(b'hello')
        started = time.monotonic()
        one.send_signal(signal.SIGQUIT)
        one.process.wait(10)
        assert 0.8 < time.monotonic() - started < 5
    assert one.process.returncode == 0


# ---- reload ----

def test_reload_in_place_keeps_workers_and_connections(cairn, new_origin, curl):
    app = new_origin('reviews-v1')
    name = 'reviews.bookinfo:9080'
    body = proxy.service(name, '127.1.1.1:9080') + proxy.cluster(name, app.address)
    one = cairn(body, workers=2)
    before = wait_workers(one, 2)
    with one.connection(curl) as connection:
        http = connection.connect('127.1.1.1:9080')
        assert http.request().status == 200
        one.reload(body + service('ratings.bookinfo:9080', '127.1.1.2'))
        assert http.request().status == 200
    assert workers(one) == before
    assert services(one) == ['ratings.bookinfo:9080', 'reviews.bookinfo:9080']
    assert one.metrics()['cairn_reloads_total{result="accepted"}'] == 1


def test_reload_command_tells_by_its_status_and_waits(cairn, run):
    one = cairn(workers=2)
    for i in range(1, 4):
        name = 'reviews%d.bookinfo:9080' % i
        one.write(service(name, '127.1.1.%d' % i))
        done = run(*one.command('-s', 'reload', '--wait'))
        assert (done.returncode, done.stderr) == (0, '')
        assert services(one) == [name]
        assert one.info()['configuration_in_force'] == 1 + i
    one.settings['workers'] = 3
    one.write('')
    assert run(*one.command('-s', 'reload', '--wait')).returncode == 0
    assert len(workers(one)) == 3
    one.write('service a.b:1 {\n    bogus;\n}\n')
    done = run(*one.command('-s', 'reload', '--wait'))
    assert done.returncode == 1 and 'bogus' in done.stderr and 'cairn.conf:' in done.stderr
    assert one.count('cairn_config_last_reload_successful') == 0
    one.write('')
    assert run(*one.command('-s', 'reload')).returncode == 0
    assert one.count('cairn_config_last_reload_successful') == 1
    assert abs(one.count('cairn_config_last_reload_success_timestamp_seconds') - time.time()) < 60


def test_refused_reload_keeps_the_old_configuration(cairn, run):
    one = cairn(service('reviews.bookinfo:9080', '127.1.1.1'))
    before = workers(one)
    one.write('bogus;')
    one.send_signal(signal.SIGHUP)
    one.wait_log('reload refused, configuration 1 stays in force: .*bogus')
    assert services(one) == ['reviews.bookinfo:9080'] and workers(one) == before
    assert one.metrics()['cairn_reloads_total{result="refused"}'] == 1
    done = run(*one.command('-s', 'reload'))
    assert done.returncode == 1 and 'bogus' in done.stderr
    lines = len(one.log.splitlines())
    one.write(service('ratings.bookinfo:9080', '127.1.1.1'))
    done = run(*one.command('-s', 'reload'))
    assert done.returncode == 0, done.stderr
    one.wait_log('configuration 2 in force in all workers')
    assert len(re.findall('reading the configuration again', '\n'.join(one.log.splitlines()[lines:]))) == 1
    assert services(one) == ['ratings.bookinfo:9080']


def test_reloads_that_come_together_end_with_the_newest(cairn):
    one = cairn(workers=2)
    for i in range(20):
        one.write(service('s%d.bookinfo:9080' % i, '127.1.1.1'))
        one.send_signal(signal.SIGHUP)
    net.wait_for(lambda: services(one) == ['s19.bookinfo:9080'])


def test_structural_reload_moves_listeners_and_brings_other_workers(cairn, plain):
    one = cairn(workers=2)
    before = wait_workers(one, 2)
    kept = plain(one.ip, 15021)
    one.settings['workers'] = 3
    one.write('', main='listen %s:15999 metrics;' % one.ip)
    one.reload()
    after = wait_workers(one, 3, other_than=before.values())
    assert len(after) == 3
    assert one.get('/stats/prometheus', 15999).status == 200
    one.write('')
    one.reload()
    with pytest.raises(OSError):
        one.get('/stats/prometheus', 15999)
    kept.stream.close()


def test_structural_reloads_lose_no_request_to_a_leaving_worker(cairn):
    one = cairn()
    stop, wrong = threading.Event(), []
    asking = [threading.Thread(target=health_all_along, args=(one, stop, wrong)) for _ in range(3)]
    for thread in asking:
        thread.start()
    try:
        for i in range(12):
            one.settings['workers'] = 1 + i % 2
            one.write('')
            one.reload()
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    assert wrong == []


def test_structural_reload_onto_a_taken_address_is_refused(cairn):
    one = cairn()
    before = workers(one)
    with net.listen(one.ip, 15999):
        one.write('', main='listen %s:15998 metrics; listen %s:15999 metrics;' % (one.ip, one.ip))
        one.send_signal(signal.SIGHUP)
        one.wait_log('reload refused.*:15999: Address already in use')
    assert workers(one) == before
    with pytest.raises(OSError):
        one.get('/stats/prometheus', 15998)


def test_reload_of_an_emptied_file_is_refused(cairn):
    one = cairn()
    (one.folder / 'cairn.conf').write_text('')
    one.send_signal(signal.SIGHUP)
    one.wait_log('reload refused.*no `listen`')
    assert one.is_ready()


def test_respawned_worker_has_the_newest_configuration(cairn):
    one = cairn()
    one.expect_crash = True
    one.reload(service('reviews.bookinfo:9080', '127.1.1.1'))
    (one.folder / 'cairn.conf').write_text('garbage')  # what is on disk does not matter
    before = workers(one)
    os.kill(before[0], signal.SIGKILL)
    wait_workers(one, 1, other_than=before.values())
    assert services(one) == ['reviews.bookinfo:9080']


# ---- upgrade ----

def health_all_along(one, stop, wrong):
    while not stop.is_set():
        try:
            if one.get('/healthz/ready', 15021).status != 200:
                wrong.append('not ready')
        except (OSError, AssertionError, ValueError) as e:
            wrong.append(repr(e))


def test_binary_upgrade_hands_the_sockets_over_without_a_refusal(cairn):
    one = cairn()
    stop, wrong = threading.Event(), []
    asking = threading.Thread(target=health_all_along, args=(one, stop, wrong))
    asking.start()
    old = one.process.pid
    pid, oldbin = one.folder / 'cairn.pid', one.folder / 'cairn.pid.oldbin'
    try:
        one.send_signal(signal.SIGUSR2)
        net.wait_for(lambda: oldbin.exists() and pid.exists() and pid.read_text().strip())
        new = int(pid.read_text())
        assert int(oldbin.read_text()) == old != new
        net.wait_for(lambda: one.log.count('configuration 1 in force in all workers') == 2)
        one.send_signal(signal.SIGQUIT)
        one.process.wait(15)
        assert one.process.returncode == 0 and not oldbin.exists() and pid.exists()
        assert one.get('/server_info').json()['cairn']['master'] == new
    finally:
        stop.set()
        asking.join()
        if pid.exists():
            new = int(pid.read_text())
            os.kill(new, signal.SIGTERM)
            net.wait_for(lambda: not is_alive(new))
    assert wrong == []


def test_upgrade_can_be_taken_back(cairn):
    one = cairn()
    pid, oldbin = one.folder / 'cairn.pid', one.folder / 'cairn.pid.oldbin'
    one.send_signal(signal.SIGUSR2)
    net.wait_for(lambda: one.log.count('configuration 1 in force in all workers') == 2)
    one.send_signal(signal.SIGWINCH)
    net.wait_for(lambda: one.log.count('has left') == 1)
    new = int(pid.read_text())
    os.kill(new, signal.SIGQUIT)
    one.wait_log('starting workers again')
    net.wait_for(one.is_ready)
    assert int(pid.read_text()) == one.process.pid and not oldbin.exists()


def test_upgrade_to_a_broken_binary_changes_nothing(cairn, tmp_path, builddir):
    binary = tmp_path / 'cairn'
    shutil.copy(builddir / 'cairn', binary)
    one = cairn(start=False)
    one.binary, one.expect_crash = binary, True
    one.start()
    before = workers(one)
    fresh = tmp_path / 'fresh'
    fresh.write_text('#!/bin/false\n')
    fresh.chmod(0o755)
    fresh.rename(binary)
    one.send_signal(signal.SIGUSR2)
    one.wait_log('the new binary ended with status')
    net.wait_for(lambda: int((one.folder / 'cairn.pid').read_text()) == one.process.pid)
    assert workers(one) == before


def test_winch_sends_workers_away_and_hup_brings_them_back(cairn):
    one = cairn(workers=2)
    wait_workers(one, 2)
    one.send_signal(signal.SIGWINCH)
    net.wait_for(lambda: children(one.process.pid) == [])
    one.send_signal(signal.SIGHUP)
    wait_workers(one, 2)


# ---- privileges ----

@root_only
def test_workers_run_as_the_configured_user_and_cannot_go_back(cairn):
    one = cairn(main='user nobody;')
    nobody = pwd.getpwnam('nobody')
    status = status_of(workers(one)[0])
    assert set(status['Uid'].split()) == {str(nobody.pw_uid)}
    assert set(status['Gid'].split()) == {str(nobody.pw_gid)}
    assert status['CapEff'].strip('0') == '' and status['NoNewPrivs'] == '1'
    assert set(status_of(one.process.pid)['Uid'].split()) == {'0'}


@root_only
def test_reload_works_when_only_root_can_read_the_key(cairn):
    one = cairn(main='user nobody;')
    os.chmod(one.identity.key, 0o600)
    before = workers(one)
    one.reload(service('reviews.bookinfo:9080', '127.1.1.1'))
    assert services(one) == ['reviews.bookinfo:9080']
    assert workers(one) == before


@root_only
@pytest.mark.skipif(not shutil.which('unshare') or not shutil.which('setpriv'), reason='needs util-linux')
def test_runs_without_root_on_a_read_only_file_system(cairn):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        one = cairn('access_log /dev/stdout json;\n', start=False, access_log=None)
        text = (one.folder / 'cairn.conf').read_text()
        text = re.sub(r'(?m)^pid .*$', '', text)
        for kind in ('cert', 'key', 'roots'):
            path = pathlib.Path(getattr(one.identity, kind))
            shutil.copy(path, folder / path.name)
            (folder / path.name).chmod(0o644)
            text = text.replace(str(path), path.name)
        shutil.copy(one.binary, folder / 'cairn')
        (folder / 'cairn.conf').write_text(text)
        script = ('mount --make-rprivate / && mount -o remount,bind,ro / && '
                  '{ touch %s/x 2>/dev/null && exit 9; true; } && '
                  'exec setpriv --reuid 1337 --regid 1337 --clear-groups --no-new-privs --inh-caps=-all '
                  '%s/cairn -p %s -c cairn.conf' % (folder, folder, folder))
        if subprocess.run(['unshare', '-m', 'sh', '-c', script + ' -t -q']).returncode != 0:
            pytest.skip('no private read-only root here')
        one.command = lambda *words: ['unshare', '-m', 'sh', '-c', script]
        one.start()
        assert {status_of(p)['Uid'].split()[0] for p in workers(one).values()} == {'1337'}
        assert 'no pid file' in one.log
        one.reload()
        assert not (folder / 'logs').exists()


# ---- cairn's own endpoints ----

def test_endpoints_answer_on_their_listeners_only(cairn):
    one = cairn()
    for port, there, missing in ((15020, ['/healthz/ready', '/metrics', '/stats/prometheus', '/help'], ['/config_dump', '/logging']),
                                 (15021, ['/healthz/ready'], ['/metrics', '/config_dump', '/quitquitquit']),
                                 (15090, ['/stats/prometheus'], ['/config_dump', '/drain']),
                                 (15000, ['/ready', '/server_info', '/stats', '/config_dump', '/clusters', '/certs', '/help'], ['/nope'])):
        for path in there:
            assert one.get(path, port).status == 200, path
        for path in missing:
            assert one.get(path, port).status == 404, path


def test_wrong_method_is_405_and_names_the_right_one(cairn):
    one = cairn()
    answer = one.get('/drain', 15020)
    assert (answer.status, answer.header('allow')) == (405, 'POST')
    answer = one.get('/config_dump', method='POST')
    assert (answer.status, answer.header('allow')) == (405, 'GET')
    head = one.get('/server_info', method='HEAD')
    assert head.status == 200 and int(head.header('content-length')) > 0 and head.body == b''


def test_connection_is_kept_and_requests_may_be_pipelined(cairn, plain):
    one = cairn()
    http = plain(one.ip, 15000)
    for _ in range(3):
        assert http.request(path='/ready').body == b'LIVE\n'
    http.send(path='/ready')
    http.send(path='/nope')
    assert http.response().status == 200
    assert http.response().status == 404


def test_garbage_is_answered_400_and_closed(cairn, plain):
    one = cairn()
    http = plain(one.ip, 15000)
    http.stream.send(b'\x16\x03\x01 not http\r\n\r\n')
    assert b' 400 ' in http.rest()


def test_logging_level_changes_everywhere_at_run_time(cairn):
    one = cairn(workers=2)
    wait_workers(one, 2)
    assert one.get('/logging?level=shouting', method='POST').status == 400
    assert one.get('/logging?level=debug', method='POST').body == b'OK\n'
    one.wait_log('log level changed')
    one.send_signal(signal.SIGWINCH)
    net.wait_for(lambda: len(re.findall(r'debug .*worker: serving -> draining', one.log)) == 2)
    one.send_signal(signal.SIGHUP)
    wait_workers(one, 2)


def test_drain_turns_not_ready_and_stays(cairn, curl):
    one = cairn(workers=2)
    wait_workers(one, 2)
    assert one.get('/drain', 15020, 'POST').body == b'OK\n'
    net.wait_for(lambda: len(workers(one, 'draining')) == 2)
    for _ in range(8):
        assert one.get('/healthz/ready', 15021).status == 503
    assert one.get('/ready').body == b'DRAINING\n'
    one.connection(curl).close()
    assert one.process.poll() is None


def test_quitquitquit_ends_it(cairn):
    one = cairn()
    assert one.get('/quitquitquit', 15020, 'POST').body == b'OK\n'
    assert one.process.wait(15) == 0


def test_config_dump_shows_no_secret(cairn):
    one = cairn(service('reviews.bookinfo:9080', '127.1.1.1'))
    key = pathlib.Path(one.identity.key).read_text()
    dump = one.get('/config_dump').body.decode()
    assert 'PRIVATE' not in dump and not any(line in dump for line in key.splitlines()[1:-1])
    assert str(one.identity.key) not in dump
    assert json.loads(dump)['services'][0]['addresses'] == ['127.1.1.1:9080']


def test_certs_tell_identity_and_expiry(cairn):
    one = cairn()
    leaf = one.get('/certs').json()['certificates'][0]['cert_chain'][0]
    assert leaf['subject_alt_names'] == [{'uri': one.identity.uri}]
    assert re.match(r'\d{4}-\d\d-\d\dT', leaf['expiration_time'])


def test_clusters_list_hosts_with_health(cairn):
    name = 'reviews.bookinfo:9080'
    one = cairn(proxy.cluster(name, '127.1.1.1:9080', '127.1.1.2:9080 health=unhealthy'))
    text = one.get('/clusters').body.decode()
    assert '%s::127.1.1.1:9080::health_flags::healthy' % name in text
    assert '%s::127.1.1.2:9080::health_flags::/failed_eds_health' % name in text
    hosts = one.get('/clusters?format=json').json()['cluster_statuses'][0]['host_statuses']
    assert [h['health_status']['eds_health_status'] for h in hosts] == ['HEALTHY', 'UNHEALTHY']


@root_only
def test_strangers_may_look_but_not_touch(cairn, plain):
    """A client of another host, played by a network namespace of its own."""
    if subprocess.run(['ip', 'link', 'show'], capture_output=True).returncode != 0:
        pytest.skip('no ip(8)')
    space, near, far = 'cn%d' % os.getpid(), '198.18.213.1', '198.18.213.2'
    steps = ['ip netns add %s' % space,
             'ip link add v%s type veth peer name w%s' % (space, space),
             'ip link set w%s netns %s' % (space, space),
             'ip addr add %s/30 dev v%s' % (near, space),
             'ip link set v%s up' % space,
             'ip netns exec %s ip addr add %s/30 dev w%s' % (space, far, space),
             'ip netns exec %s ip link set w%s up' % (space, space)]
    try:
        if any(subprocess.run(s.split(), capture_output=True).returncode for s in steps):
            pytest.skip('no network namespaces here')
        one = cairn(main='listen %s:15020 agent;' % near)

        def curl(method, path):
            done = subprocess.run(['ip', 'netns', 'exec', space, 'curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', '-X', method,
                                   'http://%s:15020%s' % (near, path)], capture_output=True, text=True, timeout=20)
            return done.stdout
        assert curl('GET', '/healthz/ready') == '200'
        assert curl('POST', '/quitquitquit') == '403'
        assert curl('POST', '/drain') == '403'
        assert one.get('/healthz/ready', 15021).status == 200
    finally:
        subprocess.run(['ip', 'netns', 'del', space], capture_output=True)
        subprocess.run(['ip', 'link', 'del', 'v%s' % space], capture_output=True)


def test_pid_files_are_not_world_writable(cairn):
    mode = (cairn().folder / 'cairn.pid').stat().st_mode
    assert not mode & (stat.S_IWGRP | stat.S_IWOTH)


def test_pipe_that_is_never_at_its_end_is_refused(builddir, tmp_path, run):
    """Its writer says something again and again: the limit is one of all of it."""
    path, told = tmp_path / 'cairn.conf', threading.Event()
    os.mkfifo(path)
    with open(os.open(path, os.O_RDWR), 'wb', buffering=0) as writer:
        def drip():
            while not told.wait(0.1):
                writer.write(b'#\n')
        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            done = run(builddir / 'cairn', '-t', '-c', path, timeout=60)
        finally:
            told.set()
            dripping.join()
    assert done.returncode == 1 and 'it is a pipe whose writer has not ended within 5 s' in done.stderr, done.stderr
