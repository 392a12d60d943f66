# SPDX-License-Identifier: Apache-2.0
"""Figures without noise: what a worker does for one request, counted.

Instructions come from callgrind, system calls from strace, allocations from a
library that is loaded in front of the C library's (allocs.c).  Each is the
difference between two moments of one run, both under load.
"""

import pathlib
import re
import shutil
import subprocess

from parties import net

COUNTED = ('h1', 'hbone', 'grpc')
SECONDS = 4


def load_of(scenario):
    """The same for all: 32 tunnels."""
    return next(load for load in scenario.loads if load.total == 32)


def answered(one):
    return one.count('istio_requests_total')


def worker(one):
    return one.workers()[0]


def instructions(bench, scenario):
    out = pathlib.Path(bench.folder) / 'callgrind'
    one = bench.start('cairn', scenario.setup,
                      ('valgrind', '--tool=callgrind', '--trace-children=yes', '--callgrind-out-file=%s.%%p' % out))
    pid = worker(one)
    bench.load(one, load_of(scenario), seconds=SECONDS)
    subprocess.run(['callgrind_control', '-z', str(pid)], check=True, capture_output=True)
    before = answered(one)
    bench.load(one, load_of(scenario), seconds=SECONDS)
    requests = answered(one) - before
    subprocess.run(['callgrind_control', '-d', str(pid)], check=True, capture_output=True)
    dumped = pathlib.Path('%s.%d.1' % (out, pid))
    net.wait_for(dumped.exists, what='the dump of callgrind')
    bench.stop(one)
    total = re.search(r'^(?:summary|totals): (\d+)', dumped.read_text(), re.M)
    return int(total.group(1)) / requests


def syscalls(bench, scenario):
    out = pathlib.Path(bench.folder) / 'strace'
    one = bench.start('cairn', scenario.setup)
    bench.load(one, load_of(scenario), seconds=1)
    tracer = subprocess.Popen(['strace', '-c', '-o', str(out), '-p', str(worker(one))], stderr=subprocess.PIPE)
    tracer.stderr.readline()  # "attached"
    before = answered(one)
    bench.load(one, load_of(scenario), seconds=SECONDS)
    requests = answered(one) - before
    tracer.terminate()
    tracer.wait()
    bench.stop(one)
    return int(re.search(r'(\d+)(?:\s+\d+)? total', out.read_text()).group(1)) / requests


def allocations(bench, scenario):
    out = pathlib.Path(bench.folder) / 'allocs'
    out.write_bytes(bytes(8))
    one = bench.start('cairn', scenario.setup,
                      ('env', 'LD_PRELOAD=%s' % (bench.options.builddir / 't/bench/allocs.so'), 'ALLOCS=%s' % out))

    def so_far():
        return int.from_bytes(out.read_bytes(), 'little')
    bench.load(one, load_of(scenario), seconds=1)
    before, allocated = answered(one), so_far()
    bench.load(one, load_of(scenario), seconds=SECONDS)
    allocated, requests = so_far() - allocated, answered(one) - before
    bench.stop(one)
    return allocated / requests


def of(bench, scenario):
    found = {'allocations': allocations(bench, scenario)}
    for tool, count in (('valgrind', instructions), ('strace', syscalls)):
        found[count.__name__] = count(bench, scenario) if shutil.which(tool) else None
    return found
