# SPDX-License-Identifier: Apache-2.0
"""cairn-tunnel as a party: what makes a plain client a workload of the mesh."""

import re
import socket
import subprocess
import tempfile

from . import net


class TunnelCli:
    """A running cairn-tunnel; listens on .address = (ip, port).  via: a waypoint's IP."""

    def __init__(self, builddir, via, identity, *words, to=None, listen=None):
        self.ip = net.new_ip()
        where = listen or self.ip + ':0'
        end = ['--to', to, '--listen', where] if to else ['--socks5', where]
        self._errors = tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen(command(builddir, via, identity, *end, *words), text=True,
                                        stdout=subprocess.PIPE, stderr=self._errors)
        line = self.process.stdout.readline()
        found = re.fullmatch(r'listening on (\S+):(\d+)\n', line)
        if not found:
            self.process.wait(10)
            raise RuntimeError('cairn-tunnel said %r and ended with %r: %s' % (
                line, self.process.returncode, self.said))
        self.address = (found.group(1).strip('[]'), int(found.group(2)))

    @property
    def said(self):
        self._errors.seek(0)
        return self._errors.read()

    def connect(self, timeout=10.0):
        return socket.create_connection(self.address, timeout)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        said, code = self.said, self.process.returncode
        self._errors.close()
        return '' if code == 0 else 'cairn-tunnel ended with %d\n%s' % (code, said)


def command(builddir, via, identity, *words):
    at = via if ':' in via else via + ':15008'
    return [str(builddir / 'cairn-tunnel'), '--via', at, '--cert', identity.cert, '--key', identity.key,
            '--roots', identity.roots, *words]
