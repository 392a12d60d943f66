# SPDX-License-Identifier: Apache-2.0
"""cairn-gen is killed in place of each of its system calls in turn while it writes (t/fault/fault.c); it runs in the
middle of a reload.

Whatever the moment: cairn reads what was there before as a whole, or the new configuration
as a whole, or it refuses the folder; and the next run of cairn-gen leaves no trace of it.
"""

import contextlib
import json
import os
import shutil
import signal

import pytest
import yaml

from peers import net, proxy, steady

from test_fault import CALLS, COPIES, Fault, KILL, MEMORY
from test_lifecycle import keeper_of
from test_process import children

MARK = '.cairn-unfinished'
REFUSED = 'cairn-gen was interrupted while it wrote this folder: run it again'


def content(folder):
    """What the configuration is made of; that is what the next run must leave, and nothing else."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}


def in_force(folder):
    return {name: text for name, text in content(folder).items() if not name.endswith('.new')}


@pytest.fixture
def render(top, builddir, tmp_path, waypoint_identity, run):
    mine = waypoint_identity

    def go(out, kind, *more, **options):
        """kind: 'small' has no routes, no policies and a service under another name."""
        manifests = tmp_path / kind
        if not manifests.exists():
            shutil.copytree(top / 'conf/samples/bookinfo', manifests)
            route = manifests / '30-route.yaml'  # another reader's business
            (manifests / '30-route.json').write_text('\n'.join(map(json.dumps, yaml.safe_load_all(route.read_text()))))
            route.unlink()
            if kind == 'small':
                (manifests / '30-route.json').unlink()
                (manifests / '40-policy.yaml').unlink()
                apps = manifests / '10-apps.yaml'
                apps.write_text(apps.read_text().replace('ratings', 'marks'))
        return run(builddir / 'cairn-gen', 'render', '-f', manifests, '-w', 'bookinfo/waypoint', '-o', out,
                   '--cert', mine.cert, '--key', mine.key, '--roots', mine.roots, *more, **options)
    return go


@pytest.mark.parametrize('before, after', [('small', 'large'), ('large', 'small')])
def test_killed_at_any_moment(top, builddir, tmp_path, render, run, before, after):
    fault = Fault(top, builddir, tmp_path)
    env = {**os.environ, **fault.env}
    old, new, out = (tmp_path / name for name in ('old', 'new', 'out'))
    assert render(old, before).returncode == 0 and render(new, after).returncode == 0
    old_text, new_text, seen = content(old), content(new), {'old': 0, 'refused': 0, 'new': 0}
    assert old_text.keys() - new_text.keys() and new_text.keys() - old_text.keys()
    for nth in range(1, 10000):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(old, out)
        fault.arm(nth, KILL)
        done = render(out, after, env=env)
        name = fault.disarm()
        assert done.returncode == (-signal.SIGKILL if name else 0), (nth, name, done.stderr)
        if nth % 10 and content(out) == old_text:  # it had not begun
            seen['old'] += 1
            continue
        text, unfinished = in_force(out), (out / MARK).exists()
        state = 'refused' if unfinished else 'old' if text == old_text else 'new' if text == new_text else 'mixed'
        assert state != 'mixed', (nth, name, sorted(text))
        seen[state] += 1
        checked = run(builddir / 'cairn', '-t', '-p', out, '-c', 'cairn.conf')
        assert checked.returncode == (1 if unfinished else 0), (nth, name, checked.stderr)
        assert (REFUSED in checked.stderr) == unfinished, checked.stderr
        for kind, expected in ((before, old_text), (after, new_text))[nth % 2:]:
            assert render(out, kind).returncode == 0
            assert content(out) == expected, (nth, name)
        if not name:
            break
    print('%s to %s, killed at %d moments: %s' % (before, after, nth - 1, seen))
    assert all(seen.values())


FAILING = [pytest.param(CALLS, 7, id='calls'), pytest.param(CALLS, 1, id='every call', marks=pytest.mark.slow),
           pytest.param(MEMORY, 499, id='memory'), pytest.param(MEMORY, 1, id='all memory', marks=pytest.mark.slow)]


@pytest.mark.parametrize('what, stride', FAILING)
def test_what_fails_is_told_and_leaves_no_mixture(top, builddir, tmp_path, render, run, what, stride):
    """Each system call, or each allocation, in turn: the new configuration, or a reason and the old one."""
    fault = Fault(top, builddir, tmp_path)
    env = {**os.environ, **fault.env}
    old, new, out = (tmp_path / name for name in ('old', 'new', 'out'))
    assert render(old, 'small').returncode == 0 and render(new, 'large').returncode == 0
    old_text, new_text, seen = content(old), content(new), {'old': 0, 'refused': 0, 'new': 0}
    for nth in range(1, 100000, stride):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(old, out)
        fault.arm(nth, what)
        done = render(out, 'large', env=env)
        name = fault.disarm()
        gave_up = done.returncode == -signal.SIGABRT and 'out of memory' in done.stderr
        assert done.returncode == 0 or gave_up or done.returncode == 1 and name and done.stderr, (nth, name, done)
        text, unfinished = in_force(out), (out / MARK).exists()
        state = 'refused' if unfinished else 'old' if text == old_text else 'new' if text == new_text else 'mixed'
        assert state == 'new' if done.returncode == 0 else state != 'mixed', (nth, name, state, done.stderr)
        seen[state] += 1
        if state != 'new':
            assert render(out, 'large').returncode == 0
        assert in_force(out) == new_text, (nth, name)
        if not name:
            break
    fault.report('cairn-gen, it left %s' % seen)


@pytest.mark.parametrize('stride', [pytest.param(199, id='some'), pytest.param(1, id='all', marks=pytest.mark.slow)])
def test_each_allocation_is_needed(top, builddir, tmp_path, render, stride):
    fault = Fault(top, builddir, tmp_path)
    out = tmp_path / 'out'
    fault.arm(stride, COPIES)
    assert render(out, 'large', env={**os.environ, **fault.env}, timeout=300).returncode == 0
    fault.copied()
    fault.report('allocations of cairn-gen')


@pytest.mark.parametrize('keeper', ['off', 'on'])
def test_unfinished_folder_changes_nothing(cairn, new_origin, curl, run, keeper):
    one = cairn(steady.body(proxy.endpoint(new_origin('app'))), main='config_keeper %s;' % keeper)
    (one.folder / MARK).touch()
    one.write(one.body + proxy.cluster('late.x:1', '127.0.0.1:1'))
    done = run(*one.command('-s', 'reload', '--wait'))
    assert done.returncode == 1 and REFUSED in done.stderr, done.stderr
    one.send_signal(signal.SIGHUP)
    net.wait_for(lambda: REFUSED in one.log, 10.0, 'the refusal in the log')
    assert b'late.x:1' not in one.get('/clusters').body and one.request(curl, steady.VIP).status == 200
    (one.folder / MARK).unlink()
    one.reload()
    net.wait_for(lambda: b'late.x:1' in one.get('/clusters').body)


class Gate:
    """A file among those of the configuration at which its reader stands until it is let go."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDWR)

    def reader_of(self, master):
        """Whether a child of that process has it open."""
        for pid in children(master):
            with contextlib.suppress(OSError):
                if any(os.readlink(fd.path) == str(self.path) for fd in os.scandir('/proc/%d/fd' % pid)):
                    return True
        return False

    def open(self):
        os.unlink(self.path)
        os.write(self.fd, b'# passed\n')
        os.close(self.fd)


@pytest.mark.parametrize('keeper', ['off', 'on'])
def test_a_whole_run_in_the_middle_of_a_reload_is_read_as_a_whole(builddir, tmp_path, stopping, waypoint_identity, render, keeper):
    """The reader stands between two files while all of them are replaced."""
    out = tmp_path / 'cairn'
    one = proxy.Cairn(builddir / 'cairn', out, waypoint_identity, 'include conf.d/*.conf;\n', main='config_keeper %s;' % keeper)
    head = (out / 'cairn.conf').read_text()
    stopping.append(one)

    def generate(kind):
        """Services of cairn-gen under a head of ours."""
        (out / 'cairn.conf').unlink()
        assert render(out, kind).returncode == 0
        (out / 'cairn.conf').write_text(head)
    generate('small')
    one.start()
    names = lambda: {s['name'].split('.')[0] for s in one.get('/config_dump').json()['services']}
    before = names()
    if keeper == 'on':
        keeper_of(one)
        one.reload()
    assert 'marks' in before and 'ratings' not in before
    path = out / 'conf.d/n.conf'  # between those that come and go
    gate = Gate(path)
    one.send_signal(signal.SIGHUP)
    net.wait_for(lambda: gate.reader_of(one.process.pid), 20.0, 'a reader at the gate')
    generate('large')
    gate.open()
    net.wait_for(lambda: one.info()['reload_failures'] or names() != before, 20.0, 'another configuration')
    assert one.info()['reload_failures'] == 0, one.log
    print('keeper %s: %s, then %s' % (keeper, sorted(before), sorted(names())))
    assert names() == before - {'marks'} | {'ratings'}
    assert one.info()['reloads'] == (2 if keeper == 'on' else 1)
