# SPDX-License-Identifier: Apache-2.0
"""What a second worker adds.

Where generator, application and workers share the cores, two workers cannot
show what they could do.  So each worker is held to the same share of a core
(cgroups) that leaves the others enough: what is compared is the rate that one
and two of them reach with it.
"""

import os
import pathlib
import statistics

import scenarios

PERIOD_US, QUOTA_US = 20000, 3000
LOAD = scenarios.spread(128)
ROUNDS = 3  # for each one of the rest
V1, V2 = pathlib.Path('/sys/fs/cgroup/cpu'), pathlib.Path('/sys/fs/cgroup')


class Share:
    """A group with a bounded share of a core; OSError where groups cannot be made."""

    def __init__(self, name):
        top = V1 if (V1 / 'cpu.cfs_quota_us').exists() or (V1 / 'cgroup.procs').exists() else V2
        self.folder = top / name
        if top == V2:
            (V2 / 'cgroup.subtree_control').write_text('+cpu')
        self.folder.mkdir()
        if top == V2:
            (self.folder / 'cpu.max').write_text('%d %d' % (QUOTA_US, PERIOD_US))
        else:
            (self.folder / 'cpu.cfs_period_us').write_text(str(PERIOD_US))
            (self.folder / 'cpu.cfs_quota_us').write_text(str(QUOTA_US))

    def hold(self, pid):
        (self.folder / 'cgroup.procs').write_text(str(pid))

    def end(self):
        """After its processes."""
        self.folder.rmdir()


def hold_all(one):
    shares = []
    for pid in one.workers():
        shares.append(Share('cairn-bench-%d-%d' % (os.getpid(), pid)))
        shares[-1].hold(pid)
    return shares


def of(bench):
    """{workers: rate}, medians of rounds in turn; empty where cgroups cannot be had."""
    ones, shares, rates = {}, [], {1: [], 2: []}
    try:
        for workers in rates:
            ones[workers] = bench.start('cairn', scenarios.Setup(workers=workers))
            shares += hold_all(ones[workers])
        for _ in range(bench.options.rounds * ROUNDS):
            for workers, one in ones.items():
                rates[workers].append(bench.load(one, LOAD)['rate'])
    except OSError as e:
        print('scale: not measured: %s' % e)
        return {}
    finally:
        for one in ones.values():
            bench.stop(one)
        for share in shares:
            share.end()
    return {workers: statistics.median(each) for workers, each in rates.items()}
