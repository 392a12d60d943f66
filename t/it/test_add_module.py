# SPDX-License-Identifier: Apache-2.0
"""A module in a folder of its own outside the tree: built with --add-module, and run."""

import os
import shutil
import subprocess

import pytest

from peers import proxy


@pytest.fixture(scope='module')
def greeter(top, builddir, tmp_path_factory):
    """cairn with a renamed copy of modules/hello that lives outside the tree."""
    folder = tmp_path_factory.mktemp('third-party') / 'greeter'
    shutil.copytree(top / 'modules/hello', folder)
    source = (folder / 'hello.c').read_text()
    source = source.replace('cn_module_hello', 'cn_module_greeter').replace('"hello"', '"greeter"')
    (folder / 'greeter.c').write_text(source.replace('x-hello', 'x-greeter').replace('/hello', '/greeter'))
    (folder / 'hello.c').unlink()
    (folder / 'config').write_text('cn_module=greeter\ncn_srcs=greeter.c\ncn_after=access_log\n')
    build = builddir / 'greeter'
    env = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS')}
    for words in (['./configure', '--builddir=%s' % build, '--add-module=%s' % folder],
                  ['make', '-j2', '-C', str(build), str(build / 'cairn')]):
        done = subprocess.run(words, cwd=top, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / 'cairn'


def test_version_and_phase_table_name_the_module(greeter, run):
    assert 'greeter' in run(greeter, '-V').stdout + run(greeter, '-V').stderr
    assert 'greeter' in run(greeter, '-L').stdout


def test_its_directive_is_checked_as_any_other(greeter, tmp_path, waypoint_identity):
    conf = proxy.Cairn(greeter, tmp_path, waypoint_identity, main='greeter "good day";')
    assert conf.check()[0] == 0
    conf.write('', main='greeter;')
    rc, said = conf.check()
    assert rc != 0 and 'cairn.conf:' in said and 'greeter' in said


def test_its_header_and_admin_page_are_served(greeter, tmp_path, waypoint_identity, curl, new_origin, stopping):
    app = new_origin('reviews-v1')
    body = (proxy.cluster('reviews.bookinfo:9080', proxy.endpoint(app)) +
            proxy.service('reviews.bookinfo:9080', '10.96.0.1:9080', greeter='"from the service"') +
            proxy.cluster('details.bookinfo:9080', proxy.endpoint(app)) +
            proxy.service('details.bookinfo:9080', '10.96.0.2:9080'))
    cairn = proxy.Cairn(greeter, tmp_path, waypoint_identity, body, main='greeter "from the main part";')
    stopping.append(cairn)
    cairn.start()
    assert cairn.request(curl, '10.96.0.1:9080').header('x-greeter') == 'from the service'
    assert cairn.request(curl, '10.96.0.2:9080').header('x-greeter') == 'from the main part'
    assert cairn.get('/greeter').body == b'hello from the main part\n'


def test_configure_refuses_an_order_that_cannot_be(top, tmp_path, run):
    for name, after in (('one', 'two'), ('two', 'one')):
        folder = tmp_path / name
        folder.mkdir()
        (folder / 'config').write_text('cn_module=%s\ncn_srcs=%s.c\ncn_after=%s\n' % (name, name, after))
        (folder / (name + '.c')).write_text('')
    both = ['--add-module=%s' % (tmp_path / name) for name in ('one', 'two')]
    done = run(top / 'configure', '--builddir=%s' % (tmp_path / 'build'), *both)
    assert done.returncode != 0 and 'cycle' in done.stderr and 'one two' in done.stderr
    done = run(top / 'configure', '--builddir=%s' % (tmp_path / 'build'), both[0])
    assert done.returncode != 0 and 'module one names two' in done.stderr
