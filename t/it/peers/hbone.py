# SPDX-License-Identifier: Apache-2.0
"""HBONE by hand: a client (the source's ztunnel) and a server (a captured pod's).

Both speak mutual TLS 1.3 with ALPN h2 and HTTP/2 CONNECT through the `h2`
package, with its checks on what is sent turned off, so that tests can be rude.
"""

import select
import selectors
import socket
import ssl
import struct
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from . import net
from .http import Http
from .http2 import Http2, PatientH2


def tls_context(server, identity, alpn=('h2',), maximum=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    if maximum:
        context.maximum_version = maximum
    else:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(identity.roots)
    if identity.cert:
        context.load_cert_chain(identity.cert, identity.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def spiffe_of(sock):
    """The URI name in the other side's certificate, or None."""
    names = (sock.getpeercert() or {}).get('subjectAltName', ())
    return next((value for kind, value in names if kind == 'URI'), None)


TCP_REPAIR = 19  # of linux/tcp.h: a socket in this mode is closed without a word


class Anonymous:
    """A party without a certificate, which trusts the mesh all the same."""

    def __init__(self, roots):
        self.cert, self.key, self.roots, self.uri = None, None, str(roots), ''


class Refused(Exception):
    """The CONNECT was not answered with 200."""


class TlsInTunnel:
    """A TLS client inside of a tunnel, with the face of a socket."""

    def __init__(self, tunnel, context):
        self.tunnel, self.patience = tunnel, 10.0
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        self.work(self.tls.do_handshake)

    def __getattr__(self, name):
        return getattr(self.tls, name)

    def send_out(self):
        data = self.outgoing.read()
        if data:
            self.tunnel.send(data)

    def work(self, call, *args):
        while True:
            try:
                done = call(*args)
                self.send_out()
                return done
            except ssl.SSLWantReadError:
                self.send_out()
                data = self.tunnel.recv(self.patience)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def settimeout(self, timeout):
        self.patience = timeout

    def recv(self, n):
        try:
            return self.work(self.tls.read, n)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b''

    def sendall(self, data):
        self.work(self.tls.write, data)

    def close(self):
        pass  # its tunnel's connection is somebody else's


class Connection:
    """A client's HTTP/2 connection to IP:15008, or in a tunnel that leads to one; may carry many tunnels."""

    def __init__(self, ip, identity, port=15008, alpn=('h2',), maximum=None, settings=None, timeout=10.0, source=None):
        context = tls_context(False, identity, alpn, maximum)
        if isinstance(ip, Tunnel):
            self.sock = TlsInTunnel(ip, context)
        else:
            raw = socket.create_connection((ip, port), timeout, source_address=(source, 0) if source else None)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = context.wrap_socket(raw)
        self.peer = spiffe_of(self.sock)
        self.alpn = self.sock.selected_alpn_protocol()
        self.h2 = PatientH2(h2.config.H2Configuration(
            client_side=True, header_encoding='utf-8', validate_outbound_headers=False,
            normalize_outbound_headers=False))
        self.tunnels, self.pongs, self.goaway, self.closed = {}, 0, None, False
        if settings:
            self.h2.local_settings.update(settings)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 24)
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.sock.settimeout(10.0)
            self.sock.sendall(data)

    def raw(self, data):
        """Bytes inside TLS that no HTTP/2 library would send."""
        self.flush()
        self.sock.sendall(data)

    def pump(self, timeout):
        """Takes in what comes within timeout; False when nothing did."""
        if self.closed:
            return False
        self.sock.settimeout(timeout)
        try:
            data = self.sock.recv(65536)
        except (TimeoutError, ssl.SSLWantReadError):
            return False
        except (ConnectionResetError, ssl.SSLError) as e:
            self.error, data = e, b''
        if not data:
            self.closed = True
            return False
        for event in self.h2.receive_data(data):
            self.take(event)
        try:
            self.flush()
        except OSError:
            pass  # the peer's reason is in what it sent before
        return True

    def take(self, event):
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event
            return
        if isinstance(event, h2.events.PingAckReceived):
            self.pongs += 1
        tunnel = self.tunnels.get(getattr(event, 'stream_id', None))
        if tunnel:
            tunnel.take(event)

    def until(self, condition, timeout=10.0, what='event'):
        deadline = time.monotonic() + timeout
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError('%s: not within %g s' % (what, timeout))
            if not self.pump(left) and self.closed and not condition():
                raise ConnectionError('connection closed while waiting for %s (%r, %r)' % (
                    what, self.goaway, getattr(self, 'error', None)))

    def open(self, authority, headers=(), fields=None, end=False):
        """Sends CONNECT without waiting; fields replaces the whole header list."""
        stream = self.h2.get_next_available_stream_id()
        tunnel = self.tunnels[stream] = Tunnel(self, stream)
        self.h2.send_headers(stream, fields or [(':method', 'CONNECT'), (':authority', authority), *headers], end)
        self.flush()
        return tunnel

    def connect(self, authority, headers=(), timeout=10.0):
        """An established tunnel, or Refused."""
        tunnel = self.open(authority, headers)
        tunnel.wait_response(timeout)
        if tunnel.status != 200:
            raise Refused('CONNECT %s: %r' % (authority, tunnel))
        return tunnel

    def ping(self, timeout=10.0):
        before = self.pongs
        self.h2.ping(b'cairn-it')
        self.flush()
        self.until(lambda: self.pongs > before, timeout, 'PING ack')

    def wait_closed(self, timeout=10.0):
        deadline = time.monotonic() + timeout
        while not self.closed:
            self.pump(max(0.01, deadline - time.monotonic()))
            if time.monotonic() > deadline and not self.closed:
                raise TimeoutError('the connection is still open')

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass

    def reset(self):
        net.reset(self.sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Tunnel:
    """One CONNECT stream.  hold: received bytes are not acknowledged (a slow reader)."""

    def __init__(self, connection, stream):
        self.connection, self.stream = connection, stream
        self.status, self.headers, self.buffer = None, [], bytearray()
        self.ended, self.reset_code, self.hold = False, None, False
        self.http = Http(self)

    def __repr__(self):
        return '<stream %d: status %s, ended %s, reset %s>' % (self.stream, self.status, self.ended, self.reset_code)

    def take(self, event):
        if isinstance(event, h2.events.ResponseReceived):
            self.headers = event.headers
            self.status = int(dict(event.headers)[':status'])
        elif isinstance(event, h2.events.DataReceived):
            self.buffer += event.data
            if not self.hold:
                self.connection.h2.acknowledge_received_data(event.flow_controlled_length, self.stream)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.reset_code = int(event.error_code)

    def header(self, name):
        return dict(self.headers).get(name)

    def wait_response(self, timeout=10.0):
        self.connection.until(lambda: self.status is not None or self.reset_code is not None, timeout, 'CONNECT response')

    def send(self, data, timeout=10.0):
        data, h2c = memoryview(data), self.connection.h2
        while data:
            self.connection.until(lambda: self.reset_code is not None or h2c.local_flow_control_window(self.stream) > 0,
                                  timeout, 'send window')
            if self.reset_code is not None:
                raise ConnectionResetError('stream reset with %d' % self.reset_code)
            n = min(len(data), h2c.local_flow_control_window(self.stream), h2c.max_outbound_frame_size)
            h2c.send_data(self.stream, bytes(data[:n]))
            self.connection.flush()
            data = data[n:]

    def recv(self, timeout=10.0):
        """Some bytes, b'' at the orderly end; a reset raises."""
        self.connection.until(lambda: self.buffer or self.ended or self.reset_code is not None, timeout, 'data')
        if self.buffer:
            data = bytes(self.buffer)
            self.buffer.clear()
            return data
        if not self.ended:
            raise ConnectionResetError('stream reset with %d' % self.reset_code)
        return b''

    def recv_all(self, timeout=10.0):
        parts = []
        while True:
            data = self.recv(timeout)
            if not data:
                return b''.join(parts)
            parts.append(data)

    def half_close(self):
        self.connection.h2.end_stream(self.stream)
        self.connection.flush()

    def reset(self, code=h2.errors.ErrorCodes.CANCEL):
        self.connection.h2.reset_stream(self.stream, code)
        self.connection.flush()

    def request(self, *args, **named):
        """One HTTP/1.1 request inside the tunnel; see Http.request."""
        return self.http.request(*args, **named)

    def http2(self, **options):
        """HTTP/2 inside the tunnel."""
        return Http2(self, **options)


class Relay:
    """Server side: one CONNECT stream and the TCP connection behind it."""

    def __init__(self, session, stream, sock):
        self.session, self.stream, self.sock = session, stream, sock
        self.to_app, self.unacked, self.to_peer = bytearray(), 0, bytearray()
        self.peer_ended = self.app_ended = self.shut = self.told = False

    def read_app(self):
        if self.session.pod.holding:
            return
        try:
            data = self.sock.recv(16384)
        except BlockingIOError:
            return
        except OSError:
            self.session.abort(self)
            return
        if data:
            self.to_peer += data
        else:
            self.app_ended = True

    def write_app(self):
        if self.session.pod.holding:
            return
        while self.to_app:
            try:
                n = self.sock.send(self.to_app)
            except BlockingIOError:
                return
            except OSError:
                self.session.abort(self)
                return
            del self.to_app[:n]
            self.session.h2.acknowledge_received_data(n, self.stream)
        if self.peer_ended and not self.shut:
            self.shut = True
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def write_peer(self):
        h2c = self.session.h2
        while self.to_peer:
            n = min(len(self.to_peer), h2c.local_flow_control_window(self.stream), h2c.max_outbound_frame_size)
            if n <= 0:
                return
            h2c.send_data(self.stream, bytes(self.to_peer[:n]))
            del self.to_peer[:n]
        if self.app_ended and not self.told:
            self.told = True
            h2c.end_stream(self.stream)
        if self.told and self.shut:
            self.session.forget(self)


class Session(threading.Thread):
    """Server side of one TLS connection."""

    def __init__(self, pod, raw):
        super().__init__(daemon=True)
        self.pod, self.raw, self.relays = pod, raw, {}

    def run(self):
        try:
            self.raw.settimeout(10.0)
            self.sock = self.pod.context.wrap_socket(self.raw, server_side=True)
            self.peer = spiffe_of(self.sock)
            self.sock.setblocking(False)
            self.h2 = PatientH2(h2.config.H2Configuration(
                client_side=False, header_encoding='utf-8', validate_outbound_headers=False,
                validate_inbound_headers=False))  # it does not know CONNECT
            if self.pod.settings:
                self.h2.local_settings.update(self.pod.settings)
            self.h2.initiate_connection()
            self.flush()
            self.pod.sessions.append(self)
            self.serve()
        except (OSError, ValueError, h2.exceptions.ProtocolError) as e:  # ValueError: vanish() has closed the socket
            self.pod.errors.append(repr(e))
        finally:
            for relay in list(self.relays.values()):
                relay.sock.close()
            self.raw.close()
            if hasattr(self, 'sock'):
                self.sock.close()

    def flush(self):
        data = memoryview(self.h2.data_to_send())
        while data:
            try:
                data = data[self.sock.send(data):]
            except (ssl.SSLWantWriteError, BlockingIOError):
                select.select([], [self.sock], [], 10.0)
            except ssl.SSLWantReadError:
                select.select([self.sock], [], [], 10.0)

    def serve(self):
        while not self.pod.stopping.is_set():
            if self.pod.deaf:
                self.pod.stopping.wait(0.2)
                continue
            with selectors.DefaultSelector() as selector:
                selector.register(self.sock, selectors.EVENT_READ)
                for relay in () if self.pod.holding else self.relays.values():
                    wanted = 0 if len(relay.to_peer) > 65536 or relay.app_ended else selectors.EVENT_READ
                    wanted |= selectors.EVENT_WRITE if relay.to_app or (relay.peer_ended and not relay.shut) else 0
                    if wanted:
                        selector.register(relay.sock, wanted, relay)
                ready = selector.select(0.2)
            for key, mask in ready:
                if key.data is None:
                    if not self.read_peer():
                        return
                elif key.data.stream in self.relays:
                    if mask & selectors.EVENT_READ:
                        key.data.read_app()
                    if mask & selectors.EVENT_WRITE:
                        key.data.write_app()
            for relay in list(self.relays.values()):
                relay.write_peer()
            self.flush()

    def read_peer(self):
        while True:
            try:
                data = self.sock.recv(65536)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                return True
            if not data:
                return False
            for event in self.h2.receive_data(data):
                self.take(event)
            self.flush()

    def take(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.connect(event)
            return
        relay = self.relays.get(getattr(event, 'stream_id', None))
        if relay is None:
            return
        if isinstance(event, h2.events.DataReceived):
            relay.to_app += event.data
            padding = event.flow_controlled_length - len(event.data)
            if padding:
                self.h2.acknowledge_received_data(padding, event.stream_id)
            relay.write_app()
        elif isinstance(event, h2.events.StreamEnded):
            relay.peer_ended = True
            relay.write_app()
        elif isinstance(event, h2.events.StreamReset):
            self.relays.pop(event.stream_id)
            net.reset(relay.sock)

    def connect(self, event):
        headers = dict(event.headers)
        authority = headers.get(':authority', '')
        self.pod.connects.append(Connect(authority, event.headers, self.peer))
        verdict = self.pod.verdict(authority, headers, self.peer) if self.pod.verdict else None
        if verdict == 'reset':
            self.h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        if verdict == 'goaway':
            self.h2.close_connection(h2.errors.ErrorCodes.NO_ERROR, last_stream_id=event.stream_id - 2)
            return
        if verdict == 'graceful':  # GOAWAY for this one, which the library could not outlive
            self.flush()
            self.sock.sendall(struct.pack('!HBBBIII', 0, 8, 7, 0, 0, event.stream_id - 2, 0))
            return
        if verdict == 'ignore':
            return
        if verdict is None:
            ip, _, port = self.pod.names.get(authority, authority).rpartition(':')
            try:
                sock = socket.create_connection((ip.strip('[]'), int(port)), 5.0)
            except (OSError, ValueError):
                verdict = 503
        if verdict is not None:
            self.h2.send_headers(event.stream_id, [(':status', str(verdict))], end_stream=True)
            return
        sock.setblocking(False)
        self.relays[event.stream_id] = Relay(self, event.stream_id, sock)
        self.h2.send_headers(event.stream_id, [(':status', '200'), *self.pod.answer])

    def forget(self, relay):
        self.relays.pop(relay.stream, None)
        relay.sock.close()

    def abort(self, relay):
        self.forget(relay)
        self.h2.reset_stream(relay.stream, h2.errors.ErrorCodes.CONNECT_ERROR)


class Connect:
    """A CONNECT that a captured pod was asked for."""

    def __init__(self, authority, headers, peer):
        self.authority, self.headers, self.peer = authority, headers, peer

    def header(self, name):
        return dict(self.headers).get(name)


class CapturedPod:
    """The HBONE side of a captured pod: terminates on IP:15008 and dials what CONNECT asks for.

    verdict(authority, headers, peer) may return a status to refuse with,
    'reset', 'goaway', 'graceful', 'ignore', or None to connect.  names: {authority: what to dial for it};
    with a waypoint's port 15008 there it is an east-west gateway."""

    def __init__(self, ip, identity, port=15008, verdict=None, settings=None, answer=(), names=()):
        self.ip, self.port, self.identity, self.names = ip, port, identity, dict(names)
        self.verdict, self.settings, self.answer = verdict, settings, list(answer)
        self.connects, self.sessions, self.errors, self.accepted = [], [], [], 0
        self.deaf = False  # reads nothing any more
        self.holding = False  # passes nothing on any more, and says nothing of it
        self.context = tls_context(True, identity)
        self.stopping = threading.Event()
        self.sock = net.listen(ip, port)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                raw, _ = self.sock.accept()
            except OSError:
                return
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.accepted += 1
            Session(self, raw).start()

    def vanish(self):
        """Is gone without a FIN, as a pod whose network is taken away (needs root)."""
        self.stopping.set()
        for session in self.sessions:
            try:
                session.sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            except OSError:  # it has ended by itself
                pass
            session.sock.close()
        self.stop()

    def streams(self):
        """Tunnels now open in it."""
        return sum(len(session.relays) for session in self.sessions)

    def stop(self):
        self.stopping.set()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for session in self.sessions:
            try:
                session.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def is_refused(ip, identity, **options):
    """Does the server end a connection of this client before it answers a PING?"""
    try:
        with Connection(ip, identity, **options) as connection:
            connection.ping()
            return False
    except (OSError, ssl.SSLError, h2.exceptions.ProtocolError):
        return True
