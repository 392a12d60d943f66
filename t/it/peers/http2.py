# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 in the clear by prior knowledge: a client over anything with send() and recv(), and a pod's application.

Both use the `h2` package with its checks on what is sent turned off, so that
tests can be rude.
"""

import json
import socket
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from . import origin
from .http import Response


class PatientH2(h2.connection.H2Connection):
    """Goes on after GOAWAY, as RFC 9113 6.8 wants: streams that are open then are served."""

    def __init__(self, config):
        super().__init__(config)
        states, inputs = h2.connection.ConnectionState, h2.connection.ConnectionInputs
        machine = self.state_machine
        machine._transitions = {**machine._transitions, **{
            (state, inputs.RECV_GOAWAY): (None, state) for state in (states.CLIENT_OPEN, states.SERVER_OPEN)}}


def new_connection(client, settings=None):
    connection = PatientH2(h2.config.H2Configuration(
        client_side=client, header_encoding='utf-8', validate_outbound_headers=False,
        normalize_outbound_headers=False, validate_inbound_headers=False))
    connection.decoder.max_header_list_size = 1 << 20
    settings = dict(settings or {})
    if settings.pop(8, None):  # clients look for it in the first SETTINGS
        connection.local_settings = h2.settings.Settings(client=client, initial_values={8: 1})
    connection.initiate_connection()
    if settings:
        connection.update_settings(settings)  # in force once acknowledged
    return connection


class Exchange:
    """One stream of a client.  hold: received bytes are not acknowledged (a slow reader)."""

    def __init__(self, http2, number):
        self.http2, self.number = http2, number
        self.response, self.informational = None, []
        self.body, self.ended, self.reset_code, self.hold = bytearray(), False, None, False
        self.trailers, self.frames = [], []  # frames: kinds of those that came

    def note(self, kind, event):
        self.frames.append(kind + ('+END_STREAM' if event.stream_ended else ''))

    def take(self, event):
        if isinstance(event, h2.events.InformationalResponseReceived):
            self.informational.append(Response(int(dict(event.headers)[':status']), '', event.headers[1:]))
        elif isinstance(event, h2.events.ResponseReceived):
            self.response = Response(int(dict(event.headers)[':status']), '', event.headers[1:])
            self.note('HEADERS', event)
        elif isinstance(event, h2.events.TrailersReceived):
            self.note('HEADERS', event)
            self.trailers = event.headers
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data
            self.note('DATA', event)
            if not self.hold and event.flow_controlled_length:
                self.http2.h2.acknowledge_received_data(event.flow_controlled_length, self.number)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.reset_code = int(event.error_code)

    def send(self, data, end=False):
        """All of data, as the windows allow."""
        view = memoryview(data)
        while view:
            if self.reset_code is not None:
                raise ConnectionResetError('stream reset with %d' % self.reset_code)
            room = min(self.http2.h2.local_flow_control_window(self.number), self.http2.h2.max_outbound_frame_size)
            if room <= 0:
                self.http2.until(lambda: self.reset_code is not None or
                                 self.http2.h2.local_flow_control_window(self.number), what='window')
                continue
            self.http2.h2.send_data(self.number, bytes(view[:room]), end and room >= len(view))
            self.http2.flush()
            view = view[room:]
        if end and not data:
            self.http2.h2.end_stream(self.number)
            self.http2.flush()

    def send_trailers(self, fields):
        self.http2.h2.send_headers(self.number, fields, end_stream=True)
        self.http2.flush()

    def reset(self, code=8):
        self.http2.h2.reset_stream(self.number, code)
        self.http2.flush()

    def wait_head(self, timeout=10.0):
        self.http2.until(lambda: self.response or self.reset_code is not None, timeout, 'a response head')
        return self.response

    def wait(self, timeout=10.0):
        """The complete response; .reset_code is set when there is none."""
        self.http2.until(lambda: self.ended or self.reset_code is not None, timeout, 'the end of the response')
        response = self.response or Response(0, '', [])
        response.body, response.trailers = bytes(self.body), self.trailers
        response.informational, response.reset_code = self.informational, self.reset_code
        return response


class Http2:
    def __init__(self, stream, settings=None, window=1 << 24):
        self.stream, self.exchanges, self.goaway, self.closed = stream, {}, None, False
        self.h2 = new_connection(True, settings)
        if window:
            self.h2.increment_flow_control_window(window)
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.stream.send(data)

    def pump(self, timeout):
        """Takes in what comes within timeout; False when nothing did."""
        if self.closed:
            return False
        try:
            data = self.stream.recv(timeout=timeout)
        except TimeoutError:
            return False
        except OSError:
            data = b''
        if not data:
            self.closed = True
            return False
        for event in self.h2.receive_data(data):
            exchange = self.exchanges.get(getattr(event, 'stream_id', None))
            if isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = event
            elif exchange:
                exchange.take(event)
        try:
            self.flush()
        except OSError:
            pass  # the peer's reason is in what it sent before
        return True

    def until(self, condition, timeout=10.0, what='event'):
        deadline = time.monotonic() + timeout
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError('%s: not within %g s' % (what, timeout))
            if not self.pump(left) and self.closed and not condition():
                raise ConnectionError('connection closed while waiting for %s (%r)' % (what, self.goaway))

    def open(self, method='GET', path='/', headers=(), end=True, authority='reviews:9080', fields=None):
        """Sends a head without waiting; fields replaces the whole list."""
        number = self.h2.get_next_available_stream_id()
        exchange = self.exchanges[number] = Exchange(self, number)
        headers = list(headers.items() if isinstance(headers, dict) else headers)
        self.h2.send_headers(number, fields or [
            (':method', method), (':scheme', 'http'), (':path', path), (':authority', authority), *headers], end)
        self.flush()
        return exchange

    def request(self, method='GET', path='/', headers=(), body=b'', timeout=10.0, trailers=None, **options):
        exchange = self.open(method, path, headers, end=not body and not trailers, **options)
        if body:
            exchange.send(body, end=not trailers)
        if trailers:
            exchange.send_trailers(trailers)
        return exchange.wait(timeout)


class Served:
    """One request at the origin's side."""

    def __init__(self, connection, number, headers):
        self.connection, self.number = connection, number
        fields = dict(headers)
        self.method, self.path = fields.get(':method'), fields.get(':path', '')
        self.authority, self.protocol = fields.get(':authority'), fields.get(':protocol')
        self.scheme = fields.get(':scheme')
        self.headers = [(n, v) for n, v in headers if not n.startswith(':')]
        self.version, self.body, self.trailers, self.at = 'HTTP/2', bytearray(), [], time.time()
        self.ended, self.reset_code = False, None
        self.out, self.last_fields, self.out_end = bytearray(), None, False

    def header(self, name):
        return next((v for n, v in self.headers if n == name), None)


class Connection:
    """One accepted connection.  The connection's thread reads; whoever holds the lock writes."""

    def __init__(self, origin, sock, number):
        self.origin, self.sock, self.number = origin, sock, number
        self.h2, self.streams, self.lock = new_connection(False, origin.settings), {}, threading.RLock()

    def flush(self):
        data = self.h2.data_to_send()
        if data and not self.origin.deaf:
            self.sock.sendall(data)

    def head(self, request, status=200, headers=(), end=False):
        with self.lock:
            self.h2.send_headers(request.number, [(':status', str(status)), *headers], end)
            self.flush()

    def send(self, request, data=b'', end=False, trailers=None):
        with self.lock:
            request.out += data
            request.out_end, request.last_fields = request.out_end or end or bool(trailers), trailers
            self.push(request)

    def push(self, request):
        """What the windows allow."""
        while request.out:
            room = min(self.h2.local_flow_control_window(request.number), self.h2.max_outbound_frame_size)
            if room <= 0:
                break
            data = bytes(request.out[:room])
            del request.out[:room]
            self.h2.send_data(request.number, data, request.out_end and not request.out and not request.last_fields)
            if request.out_end and not request.out and not request.last_fields:
                request.out_end = False
        if request.out_end and not request.out:
            request.out_end = False
            if request.last_fields:
                self.h2.send_headers(request.number, request.last_fields, end_stream=True)
            else:
                self.h2.end_stream(request.number)
        self.flush()

    def answer(self, request, body=None, status=200, headers=(), trailers=None):
        if body is None:
            body = json.dumps({
                'pod': self.origin.name, 'method': request.method, 'path': request.path, 'version': 'HTTP/2',
                'authority': request.authority, 'scheme': request.scheme, 'headers': request.headers,
                'body': len(request.body), 'trailers': request.trailers, 'connection': self.number}).encode()
        bare = not body and not trailers or request.method == 'HEAD' or status in (204, 304)
        length = [] if status in (204, 304) or trailers else [('content-length', str(len(body)))]
        self.head(request, status, [('x-pod', self.origin.name), *length, *headers], end=bare)
        if not bare:
            self.send(request, body, True, trailers)

    # ---- paths ----

    def do_status(self, request, number):
        self.answer(request, status=number)

    def do_bytes(self, request, number):
        self.answer(request, b'x' * number)

    def do_echo(self, request, number):
        self.answer(request, bytes(request.body))

    def do_big_header(self, request, number):
        self.answer(request, headers=[('x-big', 'b' * 50000)])

    def do_trailers(self, request, number):
        self.answer(request, b'with trailers', trailers=[('x-trailer', 'end'), ('grpc-status', '0')])

    def do_trailers_only(self, request, number):
        self.head(request, 200, [('content-type', 'application/grpc'), ('grpc-status', str(number or 5)),
                                 ('grpc-message', 'not here')], end=True)

    def do_slow(self, request, number):
        def later():
            if not self.origin.stopping.wait(number / 1000):
                self.answer(request)
        threading.Thread(target=later, daemon=True).start()

    def do_hang(self, request, number):
        pass

    do_mute = do_hang  # its head has gone out

    def do_reset(self, request, number):
        with self.lock:
            self.h2.reset_stream(request.number, number)
            self.flush()

    def do_reset_mid_body(self, request, number):
        self.head(request, 200, [('content-length', '1000')])
        self.send(request, b'0123456789')
        self.do_reset(request, number or 2)

    def do_hints(self, request, number):
        self.head(request, 103, [('link', '</style.css>')])
        self.answer(request)

    def do_goaway(self, request, number):
        """Refuses this request and all later ones, and ends."""
        with self.lock:
            self.h2.close_connection(0, None, request.number - 2 if request.number > 1 else 0)
            self.flush()

    # ---- RFC 8441 ----

    def websocket(self, request):
        """Grants a websocket and sends back its bytes; /ws-refuse answers 403, /ws-plain as if it were a GET."""
        if request.path == '/ws-refuse':
            self.answer(request, b'not here', status=403)
        else:
            self.head(request, 200, [('sec-websocket-protocol', request.header('sec-websocket-protocol') or 'none')])

    # ---- events ----

    def begun(self, event):
        request = self.streams[event.stream_id] = Served(self, event.stream_id, event.headers)
        self.origin.begun.append(request)
        self.early(request)

    def early(self, request):
        """Answers that do not wait for the body."""
        path = request.path.split('?')[0]
        if request.protocol == 'websocket':
            self.websocket(request)
        elif path == '/early':
            self.answer(request)
        elif path in ('/stream-echo', '/mute'):
            self.head(request, 200, [('x-pod', self.origin.name)])
        elif path == '/continue':
            self.head(request, 100)

    def ended(self, request):
        request.ended = True
        self.origin.requests.append(request)
        path, _, argument = request.path.split('?')[0].lstrip('/').partition('/')
        number = int(argument) if argument.isdigit() else 0
        if path == 'early':
            return
        if request.protocol:
            self.send(request, b'bye', True)
            return
        if path == 'stream-echo':
            self.send(request, end=True, trailers=[('x-end', 'yes')])
            return
        special = getattr(self, 'do_' + path.replace('-', '_'), None)
        if special:
            special(request, number)
        else:
            self.answer(request)

    def take(self, event):
        request = self.streams.get(getattr(event, 'stream_id', None))
        if isinstance(event, h2.events.RequestReceived):
            self.begun(event)
        elif isinstance(event, h2.events.DataReceived) and request:
            if request.path.startswith('/stream-echo') or request.protocol:
                self.send(request, event.data)
            else:
                request.body += event.data
            if event.flow_controlled_length and not request.path.startswith(('/never-read', '/mute')):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived) and request:
            request.trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded) and request:
            self.ended(request)
        elif isinstance(event, h2.events.StreamReset) and request:
            request.reset_code = int(event.error_code)
            request.out.clear()
            self.streams.pop(event.stream_id)
        elif isinstance(event, h2.events.PingReceived):
            self.origin.pings += 1
        elif isinstance(event, h2.events.WindowUpdated):
            for one in list(self.streams.values()):
                if one.out:
                    self.push(one)

    def run(self):
        try:
            with self.lock:
                if self.origin.window:
                    self.h2.increment_flow_control_window(self.origin.window)
                self.flush()
            while True:
                data = self.sock.recv(65536)
                if not data:
                    break
                with self.lock:
                    for event in self.h2.receive_data(data):
                        self.take(event)
                    self.flush()
        except (OSError, ValueError, h2.exceptions.H2Error) as e:
            self.origin.errors.append(repr(e))
        finally:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.sock.close()


class Http2Origin(origin.Origin):
    """As origin.Origin, for clients that begin with HTTP/2's preface; begun: also requests that have not ended."""

    def __init__(self, name, ip=None, port=9080, settings=None, window=1 << 24):
        self.settings, self.window, self.begun, self.open_connections = settings, window, [], []
        self.pings, self.deaf = 0, False  # deaf: sends nothing any more
        super().__init__(name, ip, port)

    def handle(self, sock, number):
        connection = Connection(self, sock, number)
        self.open_connections.append(connection)
        connection.run()
