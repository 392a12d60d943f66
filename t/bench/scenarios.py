# SPDX-License-Identifier: Apache-2.0
"""What is measured: how the proxies are set up, and what load they get.

A setup says what stands in the proxies' configuration, a load what hbload
does.  A scenario is a setup, one or more loads and what can be read from them.
Proxies of one setup are started once for all scenarios that share it.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Setup:
    captured: bool = False  # the pod is behind its own HBONE side
    http2: bool = False     # the application's port is declared grpc
    routes: int = 1         # the request takes the last one
    policies: int = 1       # rules of exact kind; the request takes the last one
    log: bool = True
    workers: int = 1


@dataclasses.dataclass(frozen=True)
class Load:
    name: str
    connections: int
    tunnels: int  # on each
    words: tuple = ()
    unit: float = 1.0  # what cpu_us is divided by: messages of one request
    per: str = 'request'

    @property
    def total(self):
        return self.connections * self.tunnels


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    setup: Setup
    loads: tuple
    floor: bool = False    # nginx as a plain HTTP/1.1 proxy beside it
    latency: bool = False  # also at fixed rates, open loop
    goal: float = 0.60     # CPU, x Envoy
    memory: bool = False   # only memory counts: tunnels that do nothing
    rounds: int = 1        # times as many as of others, where one round says little


def spread(total):
    """That many tunnels, at most 8 on a connection."""
    each = min(total, 8)
    return Load('%d tunnels' % total if total > 1 else '1 tunnel', total // each, each)


def closed(total, *words, **more):
    return dataclasses.replace(spread(total), words=words, **more)


GRPC = ('-m', 'POST', '-b', '64', '-2')

ALL = [
    Scenario('h1', 'HBONE in, HTTP/1.1 out', Setup(), tuple(map(spread, (1, 32, 128, 2000))), floor=True, latency=True,
             goal=0.30),
    Scenario('hbone', 'HBONE in, HBONE out', Setup(captured=True), tuple(map(spread, (1, 32, 128))), latency=True,
             goal=0.30),
    Scenario('one', 'One HBONE connection for all', Setup(), (Load('1 x 128 tunnels', 1, 128),)),
    Scenario('grpc', 'gRPC, unary calls', Setup(http2=True), (closed(32, *GRPC, '-u', '/unary'),)),
    Scenario('grpc-stream', 'gRPC, 100 messages each way in a call', Setup(http2=True),
             (closed(32, *GRPC, '-M', '100', '-u', '/stream', unit=200, per='message'),)),
    Scenario('post', 'POST of 16 KiB', Setup(), (closed(32, '-m', 'POST', '-b', '16384', '-u', '/post'),), floor=True),
    Scenario('download', 'Download of 1 MiB', Setup(), (closed(8, '-u', '/1m', per='MiB'),), floor=True),
    Scenario('download-1g', 'Download of 1 GiB', Setup(), (Load('1 tunnel', 1, 1, ('-u', '/1g'), per='MiB'),), floor=True,
             rounds=4),
    Scenario('new-tunnel', 'A new tunnel for each request', Setup(), (closed(32, '-n'),)),
    Scenario('new-connection', 'A new mTLS connection for each request', Setup(), (Load('8 at once', 8, 1, ('-N',)),),
             rounds=4),
    Scenario('idle', '10,000 tunnels that do nothing', Setup(), (Load('100 x 100 tunnels', 100, 100, ('-I',)),),
             memory=True),
    Scenario('routes-100', '100 routes, the last one taken', Setup(routes=100), (spread(32),)),
    Scenario('routes-5000', '5,000 routes, the last one taken', Setup(routes=5000), (spread(32),)),
    Scenario('policies-50', '50 policies, the last one allows', Setup(policies=50), (spread(32),)),
    Scenario('policies-500', '500 policies, the last one allows', Setup(policies=500), (spread(32),)),
    Scenario('log-off', 'Access log off', Setup(log=False), (spread(32),)),
    Scenario('workers-2', 'Two workers', Setup(workers=2), (spread(128),)),
]
