# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1.1 client over anything with send() and recv(); plain enough to be wrong on purpose."""

import json
import socket

from . import net


class Plain:
    """A TCP socket as a stream: what tunnels are too."""

    def __init__(self, ip, port, timeout=10.0, source=None):
        self.sock = socket.create_connection((ip, port), timeout, source and (source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.sock.sendall(data)

    def recv(self, timeout=10.0):
        """Some bytes, b'' at the end."""
        self.sock.settimeout(timeout)
        return self.sock.recv(65536)

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        net.reset(self.sock)

    def close(self):
        self.sock.close()


class Response:
    def __init__(self, status, reason, headers):
        self.status, self.reason, self.headers = status, reason, headers
        self.body, self.trailers, self.informational = b'', [], []

    def header(self, name):
        values = [v for n, v in self.headers if n.lower() == name.lower()]
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return '<%d %r %r>' % (self.status, self.headers, self.body[:200])


class Ended(Exception):
    """The stream ended where more was due; .got is what had come of the message."""

    def __init__(self, got):
        super().__init__('the stream ended within a message: %r' % got[-200:])
        self.got = got


class Http:
    def __init__(self, stream):
        self.stream, self.buffer = stream, bytearray()

    def request(self, method='GET', path='/', headers=None, body=b'', host='reviews:9080', timeout=10.0):
        """One request and its response; the connection stays usable."""
        self.send(method, path, headers, body, host)
        return self.response(method, timeout)

    def send(self, method='GET', path='/', headers=None, body=b'', host='reviews:9080'):
        """headers: a dict or a list of pairs; content-length is added for a body."""
        fields = list(headers.items() if isinstance(headers, dict) else headers or [])
        names = {n.lower() for n, _ in fields}
        if host is not None and 'host' not in names:
            fields.insert(0, ('Host', host))
        if body and not names & {'content-length', 'transfer-encoding'}:
            fields.append(('Content-Length', str(len(body))))
        head = ''.join(['%s %s HTTP/1.1\r\n' % (method, path), *('%s: %s\r\n' % f for f in fields), '\r\n'])
        self.stream.send(head.encode('latin-1') + body)

    def more(self, timeout):
        data = self.stream.recv(timeout=timeout)
        if not data:
            raise Ended(bytes(self.buffer))
        self.buffer += data

    def take(self, n, timeout):
        while len(self.buffer) < n:
            self.more(timeout)
        data = bytes(self.buffer[:n])
        del self.buffer[:n]
        return data

    def line(self, timeout):
        while b'\n' not in self.buffer:
            self.more(timeout)
        return self.take(self.buffer.index(b'\n') + 1, timeout).rstrip(b'\r\n').decode('latin-1')

    def fields(self, timeout):
        found = []
        while True:
            line = self.line(timeout)
            if not line:
                return found
            name, _, value = line.partition(':')
            found.append((name, value.strip()))

    def head(self, timeout):
        version, status, *reason = self.line(timeout).split(' ', 2)
        assert version == 'HTTP/1.1', version
        return Response(int(status), reason[0] if reason else '', self.fields(timeout))

    def response(self, method='GET', timeout=10.0):
        informational = []
        response = self.head(timeout)
        while response.status < 200 and response.status != 101:
            informational.append(response)
            response = self.head(timeout)
        response.informational = informational
        if method == 'HEAD' or response.status in (101, 204, 304):
            return response
        if (response.header('transfer-encoding') or '').lower() == 'chunked':
            self.chunks(response, timeout)
        elif response.header('content-length') is not None:
            response.body = self.take(int(response.header('content-length')), timeout)
        else:
            response.body = self.rest(timeout)
        return response

    def chunks(self, response, timeout):
        while True:
            size = int(self.line(timeout).split(';')[0], 16)
            if size == 0:
                response.trailers = self.fields(timeout)
                return
            response.body += self.take(size, timeout)
            assert self.line(timeout) == ''

    def rest(self, timeout=10.0):
        """Everything up to the end of the stream."""
        try:
            while True:
                self.more(timeout)
        except Ended:
            data = bytes(self.buffer)
            self.buffer.clear()
            return data
