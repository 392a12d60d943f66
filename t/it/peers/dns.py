# SPDX-License-Identifier: Apache-2.0
"""A name server: UDP and TCP, with the answers that a test gives it."""

import socket
import struct
import threading

from . import net

A, CNAME, AAAA = 1, 5, 28
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


def encode(name):
    return b''.join(bytes([len(part)]) + part.encode() for part in name.split('.') if part) + b'\0'


class NameServer:
    """zone['a.example'] = ['10.0.0.1', 'fd00::1']; a name that is not there does not exist.

    .ttl is that of all answers; .silent swallows questions, .rcode answers them all with an error;
    .truncate makes clients come again over TCP. .questions are the names asked for."""

    def __init__(self, ip=None, **zone):
        self.ip, self.port = ip or net.new_ip(), 53
        self.zone, self.ttl, self.silent, self.rcode, self.truncate, self.forge = {}, 1, False, None, False, None
        self.aliases, self.questions = {}, []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((self.ip, self.port))
        self.tcp = net.listen(self.ip, self.port)
        for target in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=target, daemon=True).start()

    def count(self, name):
        return self.questions.count(name)

    def answer(self, question, stream):
        """The bytes that answer these, or None."""
        number, = struct.unpack('!H', question[:2])
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind, = struct.unpack('!H', question[at + 1:at + 3])
        name = '.'.join(labels).lower()
        self.questions.append(name)
        if self.silent:
            return None
        if self.forge:
            return self.forge(question)
        asked, records, where = question[12:at + 5], [], name
        while where in self.aliases:
            records.append((where, CNAME, encode(self.aliases[where])))
            where = self.aliases[where]
        addresses = self.zone.get(where)
        for address in addresses or []:
            family = socket.AF_INET6 if ':' in address else socket.AF_INET
            if kind == (AAAA if ':' in address else A):
                records.append((where, kind, socket.inet_pton(family, address)))
        rcode = self.rcode if self.rcode is not None else NOERROR if addresses is not None else NXDOMAIN
        if rcode != NOERROR:
            records = []
        cut = self.truncate and not stream
        flags = 0x8180 | rcode | (0x0200 if cut else 0)
        body = b'' if cut else b''.join(encode(owner) + struct.pack('!HHIH', what, 1, self.ttl, len(data)) + data
                                        for owner, what, data in records)
        return struct.pack('!HHHHHH', number, flags, 1, 0 if cut else len(records), 0, 0) + asked + body

    def _serve_udp(self):
        while True:
            try:
                question, peer = self.udp.recvfrom(4096)
                if not question:
                    return  # shut down
                words = self.answer(question, False)
                if words is not None:
                    self.udp.sendto(words, peer)
            except OSError:
                return

    def _serve_tcp(self):
        while True:
            try:
                sock, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_connection, args=(sock,), daemon=True).start()

    def _serve_connection(self, sock):
        with sock, sock.makefile('rb') as file:
            try:
                while True:
                    head = file.read(2)
                    if len(head) < 2:
                        return
                    words = self.answer(file.read(*struct.unpack('!H', head)), True)
                    if words is not None:
                        sock.sendall(struct.pack('!H', len(words)) + words)
            except OSError:
                pass

    def stop(self):
        for sock in (self.udp, self.tcp):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
