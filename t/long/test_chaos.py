# SPDX-License-Identifier: Apache-2.0
"""The long form of t/it/test_at_random.py, also with sanitizers, and what many connections leave behind."""

import json
import os
import signal
import subprocess
import sys

import pytest

from peers import chaos, net, steady

from conftest import IT

sys.path.insert(0, str(IT.parent))
from test_at_random import run_chaos  # noqa: E402,F401
from test_clock import Clock  # noqa: E402
from test_lifecycle import echo, load, pods  # noqa: E402,F401

SEEDS = [int(word) for word in os.environ.get('CHAOS_SEED', '101 102 103 104 105 106 107 108').split()]


@pytest.mark.parametrize('seed', SEEDS)
def test_changes_at_random(run_chaos, seed):  # noqa: F811
    run_chaos(seed, 150)


@pytest.mark.parametrize('seed', [seed + 100 for seed in SEEDS[:4]])
def test_changes_at_random_with_sanitizers(run_chaos, sandir, seed):  # noqa: F811
    run_chaos(seed, 100, program=sandir / 'cairn')


@pytest.mark.parametrize('seed', [seed + 200 for seed in SEEDS[:2]])
def test_changes_at_random_under_a_clock_that_jumps(run_chaos, top, builddir, tmp_path, seed):  # noqa: F811
    run_chaos(seed, 100, clock=Clock(top, builddir, tmp_path))


# ---- hours in minutes ----

class Many:
    """Connections, or tunnels, that come and go until there were so many; hbload without following."""

    def __init__(self, builddir, one, identity, flag):
        words = [builddir / 't/bench/hbload', '-t', one.ip + ':15008', '-a', steady.VIP, '-c', 8, '-s', 1 if flag == '-N' else 8,
                 '-d', 1200, flag, '-E', identity.cert, '-K', identity.key, '-A', identity.roots]
        self.process = subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def counted(self):
        self.process.send_signal(signal.SIGTERM)
        return json.loads(self.process.communicate(timeout=60)[0])

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        return ''


@pytest.mark.parametrize('flag, name, times', [('-N', 'cairn_hbone_connections_total', 20000), ('-n', 'cairn_hbone_tunnels_total', 100000)],
                         ids=['connections', 'tunnels'])
def test_nothing_is_left_of_many(cairn, pods, builddir, curl, stopping, flag, name, times):  # noqa: F811
    one = cairn(steady.body(*pods), workers=2)

    def run(n):
        until = one.count(name) + n
        many = Many(builddir, one, curl, flag)
        stopping.append(many)
        net.wait_for(lambda: one.count(name) >= until or many.process.poll() is not None, 900.0, '%d of %s' % (n, name))
        counted = many.counted()
        wrong = {k: counted[k] for k in ('errors', 'broken', 'refused', '4xx', '5xx') if counted[k]}
        print('%d more of %s: %d requests, failed: %s' % (n, name, counted['requests'], wrong or 0))
        assert counted['requests'] > 0 and wrong == {}
        net.wait_for(lambda: one.count('cairn_hbone_connections') == one.count('cairn_tunnels_open') == 0, 20.0, 'the end of all')
    run(times // 10)
    leaks = chaos.Leaks(one)
    run(times)
    leaks.expect_none(kib=1024)
