# SPDX-License-Identifier: Apache-2.0
"""What must be as before when somebody misbehaved."""

import contextlib
import os

from . import net


def descriptors(waypoint):
    return sum(len(os.listdir('/proc/%d/fd' % pid)) for pid in waypoint.workers())


@contextlib.contextmanager
def unharmed(waypoint, identity, authority):
    """The same workers, no tunnel or connection left, no descriptor leaked, and it still serves.

    Connections to pods may stay for the next request, so some descriptors may be new."""
    workers, before = waypoint.workers(), descriptors(waypoint)
    yield
    assert waypoint.workers() == workers
    for gauge in ('cairn_tunnels_open', 'cairn_hbone_connections'):
        net.wait_for(lambda: waypoint.count(gauge) == 0, what=gauge + ' back to 0')
    net.wait_for(lambda: descriptors(waypoint) <= before + 8, what='the descriptors of before')
    assert waypoint.request(identity, authority, path='/unharmed').status == 200
    net.wait_for(lambda: waypoint.count('cairn_hbone_connections') == 0, what='the check to leave')
