# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frame by frame over mutual TLS: a client that may break every rule.

Header blocks are made by hpack, frames by frame(); nothing is checked or kept
in order on this side.
"""

import select
import socket
import ssl
import struct
import threading

import hpack

from . import hbone, net

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS, PADDED, WITH_PRIORITY = 4, 8, 32

# RFC 9113 7
NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, SETTINGS_TIMEOUT, CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
CALM = 11

# RFC 9113 6.5.2
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADER_LIST = range(1, 7)


def frame(kind, flags=0, stream=0, payload=b''):
    return struct.pack('>I', len(payload))[1:] + struct.pack('>BBI', kind, flags, stream) + payload


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b''.join(struct.pack('>HI', *pair) for pair in pairs))


def window(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack('>I', increment))


def priority(depends_on, exclusive=False, weight=15):
    """The payload of PRIORITY, and what HEADERS may begin with."""
    return struct.pack('>IB', depends_on | (exclusive << 31), weight)


class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload

    @property
    def code(self):
        """Of RST_STREAM and GOAWAY."""
        return int.from_bytes(self.payload[-4:] if self.kind == RST_STREAM else self.payload[4:8], 'big')

    def __repr__(self):
        return '<type %d flags %d stream %d, %d bytes>' % (self.kind, self.flags, self.stream, len(self.payload))


def clear(ip, port):
    raw = socket.create_connection((ip, port), 10.0)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw


def secure(ip, identity, port=15008):
    return hbone.tls_context(False, identity).wrap_socket(clear(ip, port))


class Inside:
    """A tunnel, to be used as a socket."""

    def __init__(self, ip, identity, authority):
        self.connection = hbone.Connection(ip, identity)
        self.tunnel, self.timeout = self.connection.connect(authority), 10.0

    def settimeout(self, timeout):
        self.timeout = timeout

    def sendall(self, data):
        self.tunnel.send(data)

    def recv(self, size):
        return self.tunnel.recv(self.timeout)

    def close(self):
        self.connection.close()


class Relay:
    """Takes connections in the clear on .address and goes on as identity: for clients that cannot do mutual TLS."""

    def __init__(self, to, identity):
        self.to, self.identity = to, identity
        self.ip = net.new_ip()
        self.listener = net.listen(self.ip, 8080)
        self.address = (self.ip, 8080)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.relay, args=(client,), daemon=True).start()

    def relay(self, client):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, secure(self.to[0], self.identity, self.to[1]) as server:
            for sock in (client, server):
                sock.setblocking(False)
            while True:
                if not server.pending():
                    select.select([client, server], [], [])
                if not (self.move(client, server) and self.move(server, client)):
                    return

    @staticmethod
    def move(source, sink):
        """What is there goes over; False at an end.  What can no longer be sent is lost: the answer says why."""
        try:
            data = source.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        sink.setblocking(True)
        try:
            sink.sendall(data)
        except OSError:
            pass
        sink.setblocking(False)
        return data != b''

    def stop(self):
        self.listener.close()


class Wire:
    """frames: what came, in order; closed: the other side ended the connection."""

    def __init__(self, sock):
        self.sock = sock
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.encoder.huffman = False
        self.frames, self.buffer, self.closed = [], bytearray(), False
        self.heads, self.pings, self.started = {}, 0, False

    def send(self, *frames):
        """What can no longer be sent is lost: the answer says why."""
        try:
            self.sock.settimeout(10.0)
            self.sock.sendall(b''.join(frames))
        except OSError:
            pass

    def start(self, *pairs):
        self.started = True
        self.send(PREFACE, settings(*pairs))

    def block(self, fields):
        return self.encoder.encode(fields)

    def headers(self, stream, fields, flags=END_HEADERS, before=b'', after=b''):
        """before and after: what padding and priority put around the block."""
        return frame(HEADERS, flags, stream, before + self.block(fields) + after)

    def take(self, got):
        self.frames.append(got)
        if got.kind == HEADERS:
            self.heads[got.stream] = dict(self.decoder.decode(got.payload))
        elif got.kind == SETTINGS and not got.flags & ACK and self.started:
            self.send(frame(SETTINGS, ACK))

    def until(self, done, timeout=10.0):
        """Takes frames in until done(), or the connection is over."""
        while not self.closed and not done():
            self.sock.settimeout(timeout)
            try:
                data = self.sock.recv(65536)
            except (ConnectionError, ssl.SSLError):
                data = b''
            self.closed = not data
            self.buffer += data
            while len(self.buffer) >= 9 and len(self.buffer) >= 9 + int.from_bytes(self.buffer[:3], 'big'):
                end = 9 + int.from_bytes(self.buffer[:3], 'big')
                self.take(Frame(*struct.unpack('>BBI', self.buffer[3:9]), bytes(self.buffer[9:end])))
                del self.buffer[:end]

    def find(self, kind, stream):
        return [f for f in self.frames if (f.kind, f.stream) == (kind, stream)]

    def ping(self):
        """True when it was answered; all that was sent before has been judged then."""
        self.pings += 1
        mark = b'wire%04d' % self.pings
        self.send(frame(PING, 0, 0, mark))
        self.until(lambda: any(f.payload == mark for f in self.find(PING, 0)))
        return not self.closed

    def data(self, stream):
        return b''.join(f.payload for f in self.find(DATA, stream))

    def status(self, stream):
        return self.heads.get(stream, {}).get(':status')

    def verdict(self, stream):
        """What became of it all: ('goaway', CODE), ('closed',), ('reset', CODE) or ('alive',).

        The second PING is answered after everything that the first one, which
        overtakes, left behind."""
        if self.ping() and self.ping():
            resets = self.find(RST_STREAM, stream)
            return ('reset', resets[0].code) if resets else ('alive',)
        goaways = self.find(GOAWAY, 0)
        return ('goaway', goaways[-1].code) if goaways else ('closed',)

    def close(self):
        self.sock.close()
