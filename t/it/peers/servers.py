# SPDX-License-Identifier: Apache-2.0
"""Real servers of other protocols, as pods: redis and PostgreSQL from Debian's packages.

Each has its address, its data in a folder of its own that goes with it, and
nothing on disk or in the network outside of that.
"""

import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile

from . import net

PATH = os.pathsep.join([os.environ.get('PATH', ''), '/usr/sbin', '/usr/lib/postgresql/15/bin'])


def program(name):
    found = shutil.which(name, path=PATH)
    if not found:
        raise RuntimeError('%s is not installed: ./configure --with-deps' % name)
    return found


class Server:
    """One that runs until stop(); as another user where root will not do."""

    def __init__(self, name, port, user=None):
        self.name, self.ip, self.port, self.process = name, net.new_ip(), port, None
        # A test's own folder cannot be entered by another user.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='cairn-it-%s-' % name))
        self.log_path = self.folder / 'log'
        # Nor may it outlive a run that is killed.
        self.prefix = [program('setpriv'), '--pdeathsig=INT']
        if user and os.geteuid() == 0:
            who = pwd.getpwnam(user)
            os.chown(self.folder, who.pw_uid, who.pw_gid)
            self.prefix += ['--reuid=%d' % who.pw_uid, '--regid=%d' % who.pw_gid, '--clear-groups']

    @property
    def address(self):
        return '%s:%d' % (self.ip, self.port)

    @property
    def log(self):
        return self.log_path.read_text(errors='replace')

    def run(self, *words):
        """A program to its end, as the server's user."""
        done = subprocess.run([*self.prefix, *words], cwd=self.folder, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError('%s: %s%s' % (words[0], done.stdout, done.stderr))

    def start(self, *words):
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen([*self.prefix, *words], cwd=self.folder, stdout=log, stderr=log)
        net.wait_port(self.ip, self.port, 20.0, self.is_alive)

    def is_alive(self):
        if self.process.poll() is not None:
            raise RuntimeError('%s ended:\n%s' % (self.name, self.log))
        return True

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Server):
    def __init__(self):
        super().__init__('redis', 6379)
        self.start(program('redis-server'), '--bind', self.ip, '--port', '6379', '--save', '', '--appendonly', 'no',
                   '--dir', str(self.folder), '--protected-mode', 'no')


class Postgres(Server):
    """Database and superuser `app`, with the password `secret`."""

    def __init__(self):
        super().__init__('postgres', 5432, user='postgres')
        data = str(self.folder / 'data')
        secret = self.folder / 'password'
        secret.write_text('secret\n')
        secret.chmod(0o644)
        self.run(program('initdb'), '-D', data, '-U', 'app', '-A', 'scram-sha-256', '--pwfile=%s' % secret,
                 '-E', 'UTF8', '--locale=C', '--no-sync')
        self.start(program('postgres'), '-D', data, '-h', self.ip, '-p', '5432', '-c', 'unix_socket_directories=',
                   '-c', 'fsync=off', '-c', 'shared_buffers=16MB', '-c', 'max_connections=20', '-c', 'autovacuum=off')
