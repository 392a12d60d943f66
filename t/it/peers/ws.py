# SPDX-License-Identifier: Apache-2.0
"""WebSocket: a pod's application by the `websockets` package, and handshakes by hand."""

import base64
import hashlib
import os
import threading

import websockets.exceptions
import websockets.sync.server

from . import net

GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'


def new_key():
    return base64.b64encode(os.urandom(16)).decode()


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


class WebsocketOrigin:
    """Echoes messages; `close CODE REASON` makes it close so.  closes: (code, reason) as it saw them end."""

    def __init__(self, name, ip=None, port=9080):
        self.name, self.ip, self.port = name, ip or net.new_ip(), port
        self.requests, self.closes = [], []
        self.server = websockets.sync.server.serve(self.serve, self.ip, self.port, max_size=None,
                                                   select_subprotocol=lambda _, asked: 'chat' if 'chat' in asked else None)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self):
        return '%s:%d' % (self.ip, self.port)

    def serve(self, connection):
        self.requests.append(connection.request)
        try:
            for message in connection:
                if isinstance(message, str) and message.startswith('close '):
                    _, code, reason = message.split(' ', 2)
                    connection.close(int(code), reason)
                    break
                connection.send(message)
        except websockets.exceptions.ConnectionClosed:
            pass
        self.closes.append((connection.close_code, connection.close_reason))

    def stop(self):
        self.server.shutdown()
