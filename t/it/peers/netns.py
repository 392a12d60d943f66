# SPDX-License-Identifier: Apache-2.0
"""A pod that can vanish: addresses in a network namespace behind a veth pair."""

import contextlib
import ctypes
import os
import re
import subprocess

from . import net

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def _ip(*words):
    done = subprocess.run(['ip', *words], capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise OSError('ip %s: %s' % (' '.join(words), done.stderr))
    return done.stdout


class Namespace:
    """.ip is inside; with inside(): sockets that are made belong there.  OSError where that is not allowed."""

    def __init__(self, number=1):
        self.name = 'cairn-it-%d-%d' % (os.getpid(), number)
        self.near, self.far = 'cn%da%d' % (os.getpid() % 100000, number), 'cn%db%d' % (os.getpid() % 100000, number)
        subnet = '10.%d.%d' % (net.block(), number)
        self.ip, self.host_ip = subnet + '.2', subnet + '.1'
        _ip('netns', 'add', self.name)
        try:
            _ip('link', 'add', self.near, 'type', 'veth', 'peer', 'name', self.far, 'netns', self.name)
            _ip('addr', 'add', self.host_ip + '/24', 'dev', self.near)
            _ip('link', 'set', self.near, 'up')
            _ip('-n', self.name, 'addr', 'add', self.ip + '/24', 'dev', self.far)
            _ip('-n', self.name, 'link', 'set', self.far, 'up')
            _ip('-n', self.name, 'link', 'set', 'lo', 'up')
            mac = re.search(r'link/ether (\S+)', _ip('-n', self.name, 'link', 'show', self.far)).group(1)
            # So that the kernel never learns that nobody answers.
            _ip('neigh', 'replace', self.ip, 'lladdr', mac, 'dev', self.near, 'nud', 'permanent')
        except OSError:
            self.stop()
            raise

    @contextlib.contextmanager
    def inside(self):
        home = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        there = os.open('/run/netns/' + self.name, os.O_RDONLY)
        try:
            if _libc.setns(there, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), 'setns')
            try:
                yield
            finally:
                _libc.setns(home, CLONE_NEWNET)
        finally:
            os.close(home)
            os.close(there)

    def vanish(self):
        """As a deleted pod's: its address is gone, and nobody says so."""
        _ip('-n', self.name, 'addr', 'flush', 'dev', self.far)

    def stop(self):
        for words in (('link', 'del', self.near), ('netns', 'del', self.name)):
            try:
                _ip(*words)
            except OSError:
                pass
