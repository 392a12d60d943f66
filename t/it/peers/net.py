# SPDX-License-Identifier: Apache-2.0
"""Addresses and waiting.

Every party of a test gets its own address in 127.0.0.0/8, as pods have theirs:
ports can then be the real ones (15008, 9080) and never collide.
"""

import errno
import itertools
import os
import socket
import struct
import time

_counter = itertools.count()
_block = None  # the socket that holds this run's block of addresses


def block():
    """The second byte of this run's addresses; held until the process ends, so that runs side by side never meet."""
    global _block
    n = os.getpid()
    while _block is None:
        n += 1
        _block = socket.socket(socket.AF_UNIX)
        try:
            _block.bind('\0cairn-it-%d' % (64 + n % 180))
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise
            _block.close()
            _block = None
    return int(_block.getsockname().rsplit(b'-')[-1])


def new_ip():
    """A loopback address that nobody else uses."""
    n = next(_counter)
    return '127.%d.%d.%d' % (block(), 1 + n // 250, 1 + n % 250)


def listen(ip, port, backlog=512):
    sock = socket.socket(socket.AF_INET6 if ':' in ip else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((ip, port))
    sock.listen(backlog)
    return sock


def reset(sock):
    """Closes so that the other side sees a RST."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    finally:
        sock.close()


def until_ended(sock, timeout=10.0):
    """What the other side said before it ended or reset the connection."""
    sock.settimeout(timeout)
    said = b''
    try:
        while True:
            data = sock.recv(65536)
            if not data:
                return said
            said += data
    except ConnectionResetError:
        return said


def wait_for(condition, timeout=10.0, what='condition'):
    """The first true value of condition(); polls, since it watches other processes."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError('%s: not within %g s' % (what, timeout))
        time.sleep(0.02)


def wait_port(ip, port, timeout=10.0, alive=lambda: True):
    def connects():
        if not alive():
            raise RuntimeError('%s:%d: its process has ended' % (ip, port))
        try:
            socket.create_connection((ip, port), 1).close()
            return True
        except OSError:
            return False
    wait_for(connects, timeout, '%s:%d' % (ip, port))
