# SPDX-License-Identifier: Apache-2.0
"""./configure and OpenSSL: one in a place of its own (--with-openssl=DIR), linked in or shared."""

import os
import subprocess

import pytest

ARCH = os.uname().machine + '-linux-gnu'
LIBS = '/usr/lib/' + ARCH


@pytest.fixture
def prefix(tmp_path):
    """The system's OpenSSL as if it were installed elsewhere: prefix('so') has shared libraries, prefix('a') static."""
    def make(*kinds, lib='lib'):
        folder = tmp_path / '-'.join(('openssl',) + kinds)
        (folder / 'include/openssl').mkdir(parents=True)
        for source in ('/usr/include/openssl', '/usr/include/%s/openssl' % ARCH):
            for name in os.listdir(source):
                os.symlink('%s/%s' % (source, name), folder / 'include/openssl' / name)
        (folder / lib).mkdir()
        for name in os.listdir(LIBS):
            if name.startswith(tuple('%s.%s' % (base, kind) for base in ('libssl', 'libcrypto') for kind in kinds)):
                os.symlink('%s/%s' % (LIBS, name), folder / lib / name)
        return folder
    return make


@pytest.fixture
def configure(top, tmp_path, run):
    return lambda folder, *more: run(top / 'configure', '--builddir=%s' % (tmp_path / 'build'),
                                     '--with-openssl=%s' % folder, *more, timeout=120)


@pytest.fixture
def linked(top, tmp_path, configure, run):
    """What a program built with the OpenSSL in this folder is linked with."""
    def build(folder, *more):
        done = configure(folder, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        # The smallest of all that use it.
        program = tmp_path / 'build/t/bench/hbload'
        env = {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS')}
        done = subprocess.run(['make', '-C', tmp_path / 'build', program], env=env, capture_output=True, text=True,
                              timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return run('ldd', program).stdout
    return build


def test_shared_libraries_are_found_there_when_the_program_runs(prefix, linked):
    folder = prefix('so')
    found = linked(folder)
    for name in ('libssl.so.3', 'libcrypto.so.3'):
        assert '%s => %s/lib/%s' % (name, folder, name) in found


def test_static_libraries_are_linked_in(prefix, linked):
    found = linked(prefix('a', lib='lib64'))
    assert 'libssl' not in found and 'libcrypto' not in found and 'libnghttp2' in found


def test_static_libraries_come_first_unless_shared_ones_are_asked_for(prefix, linked):
    folder = prefix('a', 'so')
    assert 'libcrypto' not in linked(folder)
    assert 'libcrypto.so.3 => %s/lib/libcrypto.so.3' % folder in linked(folder, '--with-shared-openssl')


def test_a_folder_without_the_shared_libraries_asked_for_is_named(prefix, configure):
    folder = prefix('a')
    done = configure(folder, '--with-shared-openssl')
    assert done.returncode != 0 and 'no libssl.so and libcrypto.so below %s' % folder in done.stderr


def test_the_program_says_how_it_has_openssl(builddir, run):
    said = run(builddir / 'cairn', '-V').stdout
    shared = 'libcrypto.so' in run('ldd', builddir / 'cairn').stdout
    assert said.count('(shared)' if shared else '(static)') == 1


def test_the_headers_are_those_of_the_folder(prefix, configure):
    folder = prefix('so')
    version = folder / 'include/openssl/opensslv.h'
    text = version.read_text().replace('VERSION_MAJOR  3', 'VERSION_MAJOR  2')
    version.unlink()
    version.write_text(text)
    done = configure(folder)
    assert done.returncode != 0 and 'checking for OpenSSL >= 3 ... not found' in done.stdout


def test_a_folder_that_has_no_openssl_is_named(tmp_path, prefix, configure):
    done = configure(tmp_path / 'nowhere')
    assert done.returncode != 0 and 'nowhere/include/openssl/ssl.h' in done.stderr
    done = configure(prefix('none'))
    assert done.returncode != 0 and 'no libssl and libcrypto' in done.stderr
    done = configure('two words')
    assert done.returncode != 0 and 'the path may only have' in done.stderr
