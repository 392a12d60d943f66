# SPDX-License-Identifier: Apache-2.0
"""The ztunnel of a sandwich: ends HBONE itself and hands on plain connections with a PROXY header."""

import ipaddress
import struct

from .http import Http, Plain

SIGNATURE = b'\r\n\r\n\0\r\nQUIT\n'
PROXY, LOCAL = 0x21, 0x20
IDENTITY, HOST = 0xd0, 0xd1
SOURCE = '10.244.0.9:40000'


def split(address):
    host, _, port = address.rpartition(':')
    return ipaddress.ip_address(host.strip('[]')), int(port)


def tlv(kind, value):
    return struct.pack('>BH', kind, len(value)) + value


def v2(body, command=PROXY, family=0x11, length=None):
    return SIGNATURE + struct.pack('>BBH', command, family, len(body) if length is None else length) + body


def header(dest, identity=None, source=SOURCE, host=None, tlvs=b''):
    """Version 2, written as ztunnel does: without addresses when they are of two families."""
    (src, src_port), (dst, dst_port) = split(source), split(dest)
    for kind, text in ((HOST, host), (IDENTITY, identity)):
        tlvs += tlv(kind, text.encode()) if text is not None else b''
    if src.version != dst.version:
        return v2(tlvs, family=0x01)
    return v2(src.packed + dst.packed + struct.pack('>HH', src_port, dst_port) + tlvs,
              family=0x11 if src.version == 4 else 0x21)


def v1(dest, source=SOURCE):
    (src, src_port), (dst, dst_port) = split(source), split(dest)
    return ('PROXY TCP%d %s %s %d %d\r\n' % (src.version, src, dst, src_port, dst_port)).encode()


class Connection(Plain):
    """A connection behind a header; .request() makes an HTTP request on it."""

    def __init__(self, ip, head=b'', port=15088):
        super().__init__(ip, port)
        self.http = Http(self)
        self.send(head)

    def recv_all(self, timeout=10.0):
        parts = []
        while True:
            part = self.recv(timeout)
            if not part:
                return b''.join(parts)
            parts.append(part)

    def is_closed(self, timeout=10.0):
        """Nothing came but the end."""
        try:
            return self.recv(timeout) == b''
        except ConnectionError:
            return True

    def request(self, *args, **named):
        return self.http.request(*args, **named)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
