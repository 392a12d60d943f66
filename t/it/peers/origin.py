# SPDX-License-Identifier: Apache-2.0
"""A pod's application: a small HTTP/1.1 server that tells what it was asked.

Any path answers 200 with JSON {pod, method, path, version, headers, body,
trailers, connection}; body is the number of bytes received.  These differ:

    /status/N       status N
    /bytes/N        N bytes with content-length
    /chunked/N      N bytes in chunks of at most 4096
    /trailers       chunked, with trailer x-trailer: end
    /until-close    no content-length, ends with the connection
    /echo           the request's body
    /slow/MS        answers after MS milliseconds
    /drip/N         N bytes, one every 20 ms
    /hang           never answers
    /continue       100 Continue before the body is read
    /early          answers before the body is read, then reads it
    /close          answers with connection: close
    /drop           closes without an answer
    /reset          RST without an answer
    /close-mid-body promises 1000 bytes, sends 10, closes
    /reset-mid-body the same with RST
    /garbage        bytes that are not HTTP
    /big-header     a response header of 70,000 bytes
"""

import json
import socket
import threading
import time

from . import net


class BadRequest(Exception):
    pass


class Request:
    def __init__(self, method, path, version, headers):
        self.method, self.path, self.version, self.headers = method, path, version, headers
        self.body, self.trailers, self.at = b'', [], time.time()

    def header(self, name):
        values = [v for n, v in self.headers if n.lower() == name]
        return values[0] if values else None


class Connection:
    """One accepted connection; runs in a thread of its own."""

    def __init__(self, origin, sock, number):
        self.origin, self.sock, self.number = origin, sock, number
        self.file = sock.makefile('rb')

    def read_head(self):
        line = self.file.readline(65537)
        if not line:
            return None
        parts = line.rstrip(b'\r\n').decode('latin-1').split(' ')
        if len(parts) != 3:
            raise BadRequest(line)
        return Request(*parts, self.read_fields())

    def read_fields(self):
        fields = []
        while True:
            line = self.file.readline(65537).rstrip(b'\r\n')
            if not line:
                return fields
            name, _, value = line.decode('latin-1').partition(':')
            fields.append((name, value.strip()))

    def read_body(self, request):
        if (request.header('transfer-encoding') or '').lower() == 'chunked':
            parts = []
            while True:
                size = int(self.file.readline().split(b';')[0], 16)
                if size == 0:
                    break
                parts.append(self.file.read(size))
                self.file.readline()
            request.body = b''.join(parts)
            request.trailers = self.read_fields()
        else:
            request.body = self.file.read(int(request.header('content-length') or 0))

    def send(self, status, headers, body=b'', head_only=False):
        lines = ['HTTP/1.1 %d %s' % (status, 'OK' if status == 200 else 'Status')]
        lines += ['%s: %s' % pair for pair in headers]
        self.sock.sendall('\r\n'.join(lines + ['', '']).encode('latin-1') + (b'' if head_only else body))

    def answer(self, request, body=None, status=200, headers=()):
        if body is None:
            body = json.dumps({
                'pod': self.origin.name, 'method': request.method, 'path': request.path,
                'version': request.version, 'headers': request.headers, 'body': len(request.body),
                'trailers': request.trailers, 'connection': self.number}).encode()
        length = [] if status in (204, 304) else [('content-length', len(body))]
        self.send(status, [('content-type', 'application/json'), ('x-pod', self.origin.name), *length, *headers],
                  body if length else b'', head_only=request.method == 'HEAD')

    def chunked(self, data, trailers=()):
        self.send(200, [('transfer-encoding', 'chunked'), ('x-pod', self.origin.name)])
        for i in range(0, len(data), 4096):
            piece = data[i:i + 4096]
            self.sock.sendall(b'%x\r\n%s\r\n' % (len(piece), piece))
        self.sock.sendall(b'0\r\n' + b''.join(b'%s: %s\r\n' % t for t in trailers) + b'\r\n')

    def serve(self, request):
        """True when the connection may carry another request."""
        path, _, argument = request.path.split('?')[0].lstrip('/').partition('/')
        number = int(argument) if argument.isdigit() else 0
        special = getattr(self, 'do_' + path.replace('-', '_'), None)
        if path == 'continue':
            self.sock.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
        if path == 'early':
            self.answer(request)
        self.read_body(request)
        self.origin.requests.append(request)
        if path == 'early':
            return True
        if special:
            return special(request, number)
        self.answer(request)
        return (request.header('connection') or '').lower() != 'close'

    def do_status(self, request, number):
        self.answer(request, status=number)
        return True

    def do_say(self, request, number):
        """With the fields that x-say names: `name: value|name: value`."""
        fields = [tuple(field.split(': ', 1)) for field in request.header('x-say').split('|')]
        self.answer(request, headers=fields)
        return True

    def do_bytes(self, request, number):
        self.answer(request, b'x' * number)
        return True

    def do_chunked(self, request, number):
        self.chunked(b'c' * number)
        return True

    def do_trailers(self, request, number):
        self.chunked(b'with trailers', [(b'x-trailer', b'end')])
        return True

    def do_until_close(self, request, number):
        self.send(200, [('x-pod', self.origin.name)], b'until close')
        return False

    def do_echo(self, request, number):
        self.answer(request, request.body)
        return True

    def do_slow(self, request, number):
        self.origin.stopping.wait(number / 1000)
        self.answer(request)
        return True

    def do_drip(self, request, number):
        self.send(200, [('content-length', number), ('x-pod', self.origin.name)])
        for _ in range(number):
            if self.origin.stopping.wait(0.02):
                return False
            self.sock.sendall(b'.')
        return True

    def do_hang(self, request, number):
        self.origin.stopping.wait()
        return False

    def do_close(self, request, number):
        self.answer(request, headers=[('connection', 'close')])
        return False

    def do_drop(self, request, number):
        return False

    def do_reset(self, request, number):
        net.reset(self.sock)
        return False

    def do_close_mid_body(self, request, number):
        self.send(200, [('content-length', 1000)], b'0123456789')
        return False

    def do_reset_mid_body(self, request, number):
        self.do_close_mid_body(request, number)
        time.sleep(0.05)  # a RST must not overtake the bytes before it
        return self.do_reset(request, number)

    def do_garbage(self, request, number):
        self.sock.sendall(b'SSH-2.0-this is not HTTP\r\n\r\n')
        return False

    def do_big_header(self, request, number):
        self.answer(request, headers=[('x-big', 'b' * 70000)])
        return True

    def run(self):
        try:
            while True:
                request = self.read_head()
                if request is None or not self.serve(request):
                    break
        except (OSError, ValueError, BadRequest) as e:
            self.origin.errors.append(repr(e))
        finally:
            self.file.close()
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.sock.close()


class Origin:
    """requests: what came in, in order; connections: how many were accepted."""

    def __init__(self, name, ip=None, port=9080):
        self.name, self.ip, self.port = name, ip or net.new_ip(), port
        self.requests, self.errors, self.connections = [], [], 0
        self.stopping = threading.Event()
        self._open = []
        self.sock = net.listen(self.ip, self.port)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return '%s:%d' % (self.ip, self.port)

    def _accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._open.append(sock)
            threading.Thread(target=self.handle, args=(sock, self.connections), daemon=True).start()

    def handle(self, sock, number):
        Connection(self, sock, number).run()

    def stop(self):
        """Ends it as a dying pod would: port closed, connections reset."""
        self.stopping.set()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for sock in self._open:
            try:
                net.reset(sock)
            except OSError:
                pass


class TcpOrigin(Origin):
    """Says a greeting first (when given), then sends back what it gets, then `bye` after the end."""

    def __init__(self, name, ip=None, port=9000, greeting=b'', bye=b''):
        self.greeting, self.bye, self.received = greeting, bye, []
        super().__init__(name, ip, port)

    def handle(self, sock, number):
        got = bytearray()
        self.received.append(got)
        try:
            sock.sendall(self.greeting)
            while True:
                data = sock.recv(65536)
                if not data:
                    break
                got += data
                sock.sendall(data)
            sock.sendall(self.bye)
            sock.shutdown(socket.SHUT_WR)
        except OSError as e:
            self.errors.append(repr(e))
        finally:
            sock.close()
