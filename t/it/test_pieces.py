# SPDX-License-Identifier: Apache-2.0
"""A large configuration is taken in pieces, between which a worker serves."""

import os
import signal
import time

import pytest

from peers import net, proxy, steady

SERVICES = 1000


@pytest.fixture
def pods(new_origin):
    return [proxy.endpoint(new_origin('one')), proxy.endpoint(new_origin('two'))]


@pytest.fixture
def wide(cairn, pods):
    files = {**steady.wide(SERVICES, 10), 'conf.d/own.conf': steady.body(*pods)}
    one = cairn('include conf.d/*.conf;\n', files=files, workers=2, main='config_keeper on;')
    net.wait_for(lambda: states(one) == ['serving', 'serving', 'spare'], 60.0, 'the spare worker')
    return one


def states(one):
    return sorted(w['state'] for w in one.info()['workers'])


def rewrite(one, i):
    """MAIN settings that all sections inherit: every one of them is read anew."""
    one.write(one.body, main='config_keeper on; hbone_rotation %ds;' % (100 + i))


def steps(one):
    """The longest pieces of the workers that serve, and of the spare one, which is in no hurry, in ms."""
    metrics = one.metrics()
    mine = {w['state']: [] for w in one.info()['workers']}
    for worker in one.info()['workers']:
        mine[worker['state']].append(metrics['cairn_worker_config_step_seconds{worker="%d"}' % worker['id']] * 1000)
    return mine['serving'], mine['spare']


def settled(one, generation):
    return all(w['configuration'] == generation for w in one.info()['workers'])


def test_a_whole_configuration_holds_no_worker_for_long(wide, curl):
    rewrite(wide, 1)
    wide.reload()
    net.wait_for(lambda: settled(wide, wide.info()['configuration']), 60.0, 'the spare worker')
    serving, spare = steps(wide)
    print('%d services read anew: pieces of at most %s ms of processor time, %s ms in one' % (
        SERVICES, ['%.2f' % v for v in serving], ['%.1f' % v for v in spare]))
    assert max(serving) * 4 < min(spare)
    assert wide.request(curl, steady.VIP).status == 200


def test_what_comes_during_a_change_is_in_force_after_it(wide, curl):
    """A whole one and, right behind it, an endpoint, a policy and another whole one."""
    for i in range(3):
        before = wide.info()['configuration_in_force']
        rewrite(wide, 10 + i)
        wide.send_signal(signal.SIGHUP)
        net.wait_for(lambda: wide.info()['configuration'] > before, 60.0, 'the check')
        wide.put('endpoints.d/svc3.wide:9080', '10.77.0.%d:9080\n' % (i + 1))
        steady.wait_in_force(wide, lambda: wide.send_signal(signal.SIGHUP))
        net.wait_for(lambda: settled(wide, wide.info()['configuration']), 60.0, 'all workers')
        assert wide.request(curl, steady.VIP).status == 200
        assert '10.77.0.%d:9080' % (i + 1) in wide.get('/clusters').body.decode()


def test_a_worker_killed_in_the_middle_leaves_nothing_half_done(wide, curl):
    wide.expect_crash = True
    for i in range(6):
        before = wide.info()['configuration']
        pid = next(w['pid'] for w in wide.info()['workers'] if w['state'] == 'serving')
        rewrite(wide, 20 + i)
        wide.send_signal(signal.SIGHUP)
        net.wait_for(lambda: wide.info()['configuration'] > before, 60.0, 'the check')
        time.sleep(i * 0.004)  # another moment each time
        os.kill(pid, signal.SIGKILL)
        net.wait_for(lambda: wide.info()['configuration_in_force'] > before and states(wide).count('serving') == 2 and
                     settled(wide, wide.info()['configuration']), 60.0, 'all workers with the same')
        assert wide.request(curl, steady.VIP).status == 200
        net.wait_for(lambda: 'spare' in states(wide), 60.0, 'the next spare worker')


@pytest.mark.parametrize('how', [signal.SIGQUIT, signal.SIGTERM], ids=['QUIT', 'TERM'])
def test_an_end_in_the_middle_is_one_in_order(wide, how):
    before = wide.info()['configuration']
    rewrite(wide, 40)
    wide.send_signal(signal.SIGHUP)
    net.wait_for(lambda: wide.info()['configuration'] > before, 60.0, 'the check')
    assert wide.stop(how, 60.0) == ''
