# SPDX-License-Identifier: Apache-2.0
"""cairn under test, and the conf text it is given."""

import json
import os
import pathlib
import re
import signal
import subprocess

import pytest

from . import hbone, net
from .http import Ended, Http, Plain

MAIN = """\
worker_processes {workers};
daemon off;
error_log stderr {level};
pid {folder}/cairn.pid;
{main}
mesh {{
    trust_domain {trust_domain};
    identity {cert} {key};
    trust_bundle {roots};
    cluster_id Kubernetes;
    {network}
}}
listen {ip}:15008 hbone;
listen {ip}:15020 agent;
listen {ip}:15021 health;
listen {ip}:15090 metrics;
listen {ip}:15000 admin;
"""
# For tests of draws: they are the same in every run while requests come one after the other.
SEED = 'random_seed 1;\n'
# What the log says when a process went wrong; looked for when a test ends.
CRASH = re.compile(r'ERROR: \w+Sanitizer|SUMMARY: \w+Sanitizer|runtime error:|by signal \d|ended with status -?[1-9]|cairn: bug:')


def endpoint(host, **more):
    """The line of an endpoints file for an origin, or for a pod captured by `pod`."""
    words = [host.address]
    pod = more.pop('pod', None)
    if pod:
        words += ['tunnel=hbone', 'identity=%s' % pod.identity.uri]
    return ' '.join(words + ['%s=%s' % pair for pair in more.items()])


def cluster(name, *endpoints, **settings):
    service, _, port = name.rpartition(':')
    app, _, ns = service.partition('.')
    lines = ['host %s.%s.svc.cluster.local;' % (app, ns), 'service %s %s %s;' % (app, ns, port)]
    lines += ['%s %s;' % pair for pair in {'protocol': 'http', **settings}.items()]
    lines += ['endpoint %s;' % e for e in endpoints]
    return 'cluster %s {\n    %s\n}\n' % (name, '\n    '.join(lines))


def service(name, address, body='', **settings):
    """settings replace the defaults; None drops one."""
    service_name, _, port = name.rpartition(':')
    app, _, ns = service_name.partition('.')
    base = {'address': address, 'host': '%s.%s.svc.cluster.local' % (app, ns),
            'service': '%s %s %s' % (app, ns, port), 'protocol': 'http', 'cluster': name}
    lines = ['%s %s;' % (k, v) for k, v in {**base, **settings}.items() if v is not None]
    return 'service %s {\n    %s\n%s\n}\n' % (name, '\n    '.join(lines), body)


class Cairn:
    """A running proxy on an address of its own."""

    def __init__(self, binary, folder, identity, body='', files=None, main='', workers=1, level='info',
                 trust_domain='cluster.local', ip=None, access_log='json', arguments=(),
                 network=None):
        self.binary, self.folder, self.identity = binary, pathlib.Path(folder), identity
        self.ip, self.process = ip or net.new_ip(), None
        self.access_path = self.folder / 'access.log'
        self.error_path = self.folder / 'error.log'
        self.settings = {'workers': workers, 'level': level, 'trust_domain': trust_domain,
                         'network': 'network %s;' % network if network else ''}
        self.main, self.access_log, self.arguments = main, access_log, list(arguments)
        self.expect_crash, self.env = False, {}
        self.write(body, files)

    def put(self, name, text):
        """A file of the configuration, in one step."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + '.new')
        fresh.write_text(text)
        fresh.rename(path)

    def write(self, body, files=None, main=None):
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in (files or {}).items():
            self.put(name, text)
        main = self.main if main is None else main
        if self.access_log:
            main += '\naccess_log %s %s;' % (self.access_path, self.access_log)
        head = MAIN.format(ip=self.ip, folder=self.folder, cert=self.identity.cert, key=self.identity.key,
                           roots=self.identity.roots, main=main, **self.settings)
        self.body = body
        fresh = self.folder / 'cairn.conf.new'
        fresh.write_text(head + body)
        fresh.rename(self.folder / 'cairn.conf')

    def command(self, *words):
        return [str(self.binary), '-p', str(self.folder), '-c', 'cairn.conf', *words]

    def check(self, *words):
        """`cairn -t` on this conf: (exit code, output)."""
        done = subprocess.run(self.command('-t', *words), capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    def explain(self, identity, to, *words):
        """What `cairn explain` says of a request by this conf."""
        done = subprocess.run([str(self.binary), 'explain', '-p', str(self.folder), '-c', 'cairn.conf', '--from', identity.uri,
                               '--to', to, *words], capture_output=True, text=True, timeout=30)
        return done.stdout + done.stderr

    def launch(self):
        """Starts it without waiting for anything."""
        env = {**os.environ, 'ASAN_OPTIONS': 'detect_leaks=1:exitcode=99:quarantine_size_mb=16',
               'UBSAN_OPTIONS': 'print_stacktrace=1', **self.env}
        self._errors = open(self.error_path, 'ab')
        self.process = subprocess.Popen(self.command(*self.arguments), stdout=self._errors, stderr=self._errors, env=env)

    def start(self, timeout=15.0):
        self.launch()
        net.wait_for(lambda: self.is_ready() and self.all_serve(), timeout, 'readiness; the log says:\n' + self.log)
        return self

    def all_serve(self):
        """Who is asked for readiness is one worker; the others may be a moment later."""
        wanted = self.settings['workers']
        return wanted in (1, 'auto') or sum(w['state'] == 'serving' for w in self.info()['workers']) >= wanted

    def looks_ready(self):
        try:
            return self.get('/healthz/ready', 15021).status == 200
        except (OSError, AssertionError, ValueError, Ended):
            return False

    def is_ready(self):
        if self.process.poll() is not None and 'which this program was built without' in self.log:
            pytest.skip('needs a module that was left out')
        if self.process.poll() is not None:
            raise RuntimeError('cairn ended with %d:\n%s' % (self.process.returncode, self.log))
        return self.looks_ready()

    def send_signal(self, number):
        self.process.send_signal(number)

    def stop(self, how=signal.SIGQUIT, timeout=15.0):
        """Ends it gracefully and says what went wrong in its life, '' if nothing."""
        if self.process is None:
            return ''
        wrong = []
        if self.process.poll() is None:
            self.send_signal(how)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                wrong.append('did not end within %g s' % timeout)
                self.process.kill()
                self.process.wait()
        self._errors.close()
        if self.process.returncode != 0:
            wrong.append('exit code %d' % self.process.returncode)
        if CRASH.search(self.log):
            wrong.append('the log tells of a crash')
        self.process = None
        return '' if self.expect_crash or not wrong else '%s\n%s' % (', '.join(wrong), self.log)

    @property
    def log(self):
        return self.error_path.read_text(errors='replace') if self.error_path.exists() else ''

    def wait_log(self, pattern, timeout=10.0, since=0):
        return net.wait_for(lambda: re.search(pattern, self.log[since:]), timeout, 'log line %r' % pattern)

    def info(self):
        """What /server_info says about processes and configurations."""
        return self.get('/server_info').json()['cairn']

    def reload(self, body=None, files=None, main=None, timeout=15.0):
        """New conf in force in every worker; a refusal is raised."""
        if body is not None:
            self.write(body, files, main)
        # That of the start may not be in force yet, and is not what is waited for.
        before = net.wait_for(lambda: self.info()['configuration_in_force'] and self.info(), timeout, 'the configuration before')
        self.send_signal(signal.SIGHUP)

        def settled():
            now = self.info()
            if now['reload_failures'] > before['reload_failures']:
                raise RuntimeError('reload refused:\n' + self.log)
            return now['configuration_in_force'] > before['configuration_in_force']
        net.wait_for(settled, timeout, 'reload')

    def workers(self):
        return [worker['pid'] for worker in self.info()['workers']]

    def resident(self):
        """Bytes of memory of its workers."""
        kib = 0
        for pid in self.workers():
            kib += int(re.search(r'VmRSS:\s+(\d+) kB', pathlib.Path('/proc/%d/status' % pid).read_text()).group(1))
        return kib * 1024

    # ---- as its users ----

    def connection(self, identity, **options):
        return hbone.Connection(self.ip, identity, **options)

    def request(self, identity, authority, method='GET', path='/', headers=None, body=b'', tunnel_headers=(), **options):
        """One request through a connection and tunnel of its own."""
        with self.connection(identity, **options) as connection:
            return connection.connect(authority, tunnel_headers).request(method, path, headers, body, host=authority)

    def get(self, path, port=15000, method='GET'):
        stream = Plain(self.ip, port, 2.0)
        try:
            return Http(stream).request(method, path, host='%s:%d' % (self.ip, port))
        finally:
            stream.close()

    def metrics(self, port=15020):
        """{'name{labels}': value} of everything exposed."""
        text = self.get('/stats/prometheus', port).body.decode()
        pairs = (line.rsplit(' ', 1) for line in text.splitlines() if line and not line.startswith('#'))
        return {name: float(value) for name, value in pairs}

    def count(self, name, **labels):
        """Sum of the series of this name that have these labels."""
        wanted = ['%s="%s"' % pair for pair in labels.items()]
        total = 0
        for series, value in self.metrics().items():
            if series.split('{')[0] == name and all(re.search('[{,]' + re.escape(w) + '[,}]', series) for w in wanted):
                total += value
        return total

    def access(self, n=1, timeout=10.0):
        """The access log's lines (parsed when JSON) once there are at least n."""
        def lines():
            text = self.access_path.read_text() if self.access_path.exists() else ''
            found = text.splitlines()
            return found if len(found) >= n else None
        found = net.wait_for(lines, timeout, '%d access log lines' % n)
        return [json.loads(line) for line in found] if self.access_log == 'json' else found
