# SPDX-License-Identifier: Apache-2.0
"""./configure --with-openssl=DIR: an OpenSSL in a place of its own, shared or static."""

import os
import subprocess

import pytest

ARCH = os.uname().machine + '-linux-gnu'
LIBS = '/usr/lib/' + ARCH


@pytest.fixture
def prefix(tmp_path):
    """The system's OpenSSL as if it were installed elsewhere: prefix('so') has shared libraries, prefix('a') static."""
    def make(kind, lib='lib'):
        folder = tmp_path / ('openssl-' + kind)
        (folder / 'include/openssl').mkdir(parents=True)
        for source in ('/usr/include/openssl', '/usr/include/%s/openssl' % ARCH):
            for name in os.listdir(source):
                os.symlink('%s/%s' % (source, name), folder / 'include/openssl' / name)
        (folder / lib).mkdir()
        for name in os.listdir(LIBS):
            if name.startswith(('libssl.' + kind, 'libcrypto.' + kind)):
                os.symlink('%s/%s' % (LIBS, name), folder / lib / name)
        return folder
    return make


@pytest.fixture
def configure(top, tmp_path, run):
    return lambda folder: run(top / 'configure', '--builddir=%s' % (tmp_path / 'build'), '--with-openssl=%s' % folder,
                              timeout=120)


@pytest.fixture
def linked(top, tmp_path, configure, run):
    """What a program built with the OpenSSL in this folder is linked with."""
    def build(folder):
        done = configure(folder)
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
