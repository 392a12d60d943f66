# SPDX-License-Identifier: Apache-2.0
"""What a result was measured on and with."""

import os
import pathlib
import platform
import re
import subprocess

import parties


def describe():
    cpus = re.findall(r'model name\s*:\s*(.*)', pathlib.Path('/proc/cpuinfo').read_text())
    memory = re.search(r'MemTotal:\s*(\d+)', pathlib.Path('/proc/meminfo').read_text())
    return {'processor': cpus[0] if cpus else platform.machine(), 'cores': len(os.sched_getaffinity(0)),
            'memory GiB': round(int(memory.group(1)) / 2**20), 'Linux': platform.release()}


def first(pattern, *words):
    """The first match in what a program says of itself."""
    said = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    found = re.search(pattern, said.stdout + said.stderr)
    return found.group(1) if found else 'unknown'


def versions(builddir):
    found = {'cairn': first(r'cairn\S* ?(?:version:?)? ?(?:cairn/)?([0-9.]+)', builddir / 'cairn', '-V'),
             'nginx': first(r'nginx/(\S+)', parties.nginx_binary(), '-v'),
             'OpenSSL': first(r'runs with (\S+)', builddir / 'cairn', '-V')}
    if parties.envoy.binary():
        found['Envoy'] = first(r'/(\d+\.\d+\.\d+)', parties.envoy.binary(), '--version')
    return found
