# SPDX-License-Identifier: Apache-2.0
"""Each module left out alone: it builds, and the tests of the rest pass."""

import subprocess
import sys


def test_every_module_can_be_left_out(top, builddir):
    done = subprocess.run([sys.executable, str(top / 't/without/run.py'), '--builddir=%s' % builddir, '--each'], cwd=top,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout
