# SPDX-License-Identifier: Apache-2.0
"""Clients of every kind that go on while something is changed: TCP, gRPC calls and streams, WebSocket.

Each is a thread that exchanges one thing after the other and stops at the first
that goes wrong.  Those that are one stream must outlive every change.
"""

import socket
import threading

import websockets.sync.client

from . import grpcs, net, proxy, steady, tunnel_cli, ws

GRPC, GRPC_NAME = '10.96.0.3:9080', 'ratings.bookinfo:9080'
CHAT, CHAT_NAME = '10.96.0.4:9080', 'chat.bookinfo:9080'
PAUSE = 0.01


class Client(threading.Thread):
    """exchange(i) does the i-th exchange, and raises when it is not as it must be."""

    kind = ''

    def __init__(self, builddir, waypoint, identity, authority):
        super().__init__(daemon=True)
        self.tunnel = tunnel_cli.TunnelCli(builddir, waypoint.ip, identity, to=authority)
        self.done, self.wrong, self.over, self.stopped = 0, '', threading.Event(), False

    def run(self):
        try:
            while not self.over.wait(PAUSE):
                self.exchange(self.done)
                self.done += 1
        except Exception as e:  # whatever it is, the test wants to know
            self.wrong = repr(e)

    def goes_on(self, n=10):
        before = self.done
        net.wait_for(lambda: self.done >= before + n or self.wrong, 30.0, 'more exchanges of ' + self.kind)
        assert not self.wrong, '%s broke after %d exchanges: %s' % (self.kind, self.done, self.wrong)

    def close(self):
        """What the kind has open."""

    def stop(self):
        if self.stopped:
            return ''
        self.stopped = True
        self.over.set()
        self.join(30)
        self.close()
        return self.tunnel.stop()

    def finish(self):
        self.goes_on(1)
        said = self.stop()
        assert not self.wrong and not said, '%s: %s %s' % (self.kind, self.wrong, said)
        return self.done


class Calls(Client):
    """One gRPC call after the other, by a client that reconnects as gRPC does: HTTP/2 in the tunnel."""

    kind = 'gRPC calls'

    def __init__(self, *words):
        super().__init__(*words, GRPC)
        self.client = grpcs.Client(self.tunnel.address, retries=1)
        self.call = self.client('Echo')
        self.start()

    def exchange(self, i):
        said = b'%d' % i * (1 + i % 1000)
        assert self.call(said, timeout=20) == said

    def close(self):
        self.client.stop()


class Talk(Client):
    """One gRPC stream in both directions."""

    kind = 'a gRPC stream'

    def __init__(self, *words):
        super().__init__(*words, GRPC)
        self.client = grpcs.Client(self.tunnel.address)
        self.said = []
        self.ready = threading.Semaphore(0)
        self.answers = self.client('Talk')(self.messages())
        self.start()

    def messages(self):
        while True:
            self.ready.acquire()
            if not self.said:
                return
            yield self.said.pop()

    def exchange(self, i):
        said = b'message %d' % i
        self.said.append(said)
        self.ready.release()
        assert next(self.answers) == said

    def close(self):
        self.ready.release()
        if not self.wrong:
            assert list(self.answers) == []
        self.client.stop()


class Chat(Client):
    """One WebSocket."""

    kind = 'a WebSocket'

    def __init__(self, *words):
        super().__init__(*words, CHAT)
        self.socket = websockets.sync.client.connect('ws://chat:9080/', sock=self.tunnel.connect(), max_size=None,
                                                     ping_interval=None)
        self.start()

    def exchange(self, i):
        self.socket.send('message %d' % i)
        assert self.socket.recv(20) == 'message %d' % i

    def close(self):
        self.socket.close()


class Bytes(Client):
    """One TCP stream."""

    kind = 'a TCP stream'

    def __init__(self, *words):
        super().__init__(*words, steady.ECHO)
        self.socket = self.tunnel.connect(20.0)
        self.start()

    def exchange(self, i):
        said = b'%8d' % i
        self.socket.sendall(said)
        got = self.socket.recv(len(said), socket.MSG_WAITALL)
        assert got == said, got

    def close(self):
        self.socket.close()


STREAMS = (Talk, Chat, Bytes)


class Peers:
    """The pods that these talk to."""

    def __init__(self, stopping):
        self.grpc, self.chat = grpcs.GrpcOrigin('ratings'), ws.WebsocketOrigin('chat')
        stopping += [self.grpc, self.chat]

    @property
    def body(self):
        return (proxy.cluster(GRPC_NAME, proxy.endpoint(self.grpc), protocol='grpc') +
                proxy.service(GRPC_NAME, GRPC, protocol='grpc') +
                proxy.cluster(CHAT_NAME, proxy.endpoint(self.chat)) + proxy.service(CHAT_NAME, CHAT))


def upgrade_under(load, streams, times):
    """Binary upgrades; streams() makes some that live from before each until the old binary has begun to go."""
    one = load.waypoint
    for _ in range(times):
        alive = streams()
        old = steady.upgrade(one, wait=False)
        load.goes_on(20)
        for stream in alive:
            stream.goes_on()
            stream.finish()
        old.wait(60)

