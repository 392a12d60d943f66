# SPDX-License-Identifier: Apache-2.0
"""Requests that two parsers could read differently, or that ask for too much.

Each is sent in a tunnel with a second request behind it, which nobody may
ever see.  `envoy` is what a real Envoy with a waypoint's inner settings
answers; where it differs from ours, `why` says why ours is another.
"""


class Case:
    def __init__(self, name, raw, status, details, body=None, envoy=None, why=''):
        self.name, self.raw, self.status, self.details = name, raw, status, details
        self.body = BODIES[status] if body is None else body
        self.envoy, self.why = envoy or status, why

    @property
    def flags(self):
        return '-' if self.details in ('missing_host_header', 'upgrade_failed') else 'DPE'


BODIES = {400: b'Bad Request', 431: b'Request Header Fields Too Large', 501: b'Not Implemented',
          426: b'Upgrade Required', 403: b''}
BEHIND = b'GET /behind HTTP/1.1\r\nHost: a\r\n\r\n'
STRICT = 'RFC 9112: a recipient may refuse it, and two parsers could read it differently'

CODEC, CHARS = 'http1.codec_error', 'http1.invalid_characters'
BOTH, CODING = 'http1.content_length_and_chunked_not_allowed', 'http1.invalid_transfer_encoding'
LARGE, MANY = 'http1.headers_too_large', 'http1.too_many_headers'
AUTHORITY, URL = 'http.invalid_authority', 'http1.invalid_url'


def head(*lines, first=b'POST / HTTP/1.1', host=b'Host: a'):
    return b'\r\n'.join([first, *([host] if host else []), *lines, b'', b''])


def chunked(body):
    return head(b'Transfer-Encoding: chunked') + body


CASES = [
    # who says where the body ends
    Case('length then chunked', head(b'Content-Length: 5', b'Transfer-Encoding: chunked') + b'0\r\n\r\n', 400, BOTH),
    Case('chunked then length', head(b'Transfer-Encoding: chunked', b'Content-Length: 5') + b'0\r\n\r\n', 400, BOTH),
    Case('chunked and length 0', head(b'Transfer-Encoding: chunked', b'Content-Length: 0') + b'0\r\n\r\n', 400, BOTH),
    Case('xchunked', head(b'Transfer-Encoding: xchunked') + b'0\r\n\r\n', 501, CODING),
    Case('gzip, chunked', head(b'Transfer-Encoding: gzip, chunked') + b'0\r\n\r\n', 501, CODING),
    Case('chunked, gzip', head(b'Transfer-Encoding: chunked, gzip') + b'0\r\n\r\n', 501, CODING),
    Case('chunked twice', head(b'Transfer-Encoding: chunked', b'Transfer-Encoding: chunked') + b'0\r\n\r\n', 501, CODING),
    Case('identity', head(b'Transfer-Encoding: identity') + b'0\r\n\r\n', 501, CODING),
    Case('quoted chunked', head(b'Transfer-Encoding: "chunked"') + b'0\r\n\r\n', 501, CODING),
    Case('chunked behind a vertical tab', head(b'Transfer-Encoding: \x0bchunked') + b'0\r\n\r\n', 400, CHARS),
    Case('two lengths', head(b'Content-Length: 5', b'Content-Length: 6') + b'hello', 400, CODEC),
    Case('one length twice', head(b'Content-Length: 5', b'Content-Length: 5') + b'hello', 400, CODEC),
    Case('a list of lengths', head(b'Content-Length: 5, 5') + b'hello', 400, CODEC),
    Case('negative length', head(b'Content-Length: -5') + b'hello', 400, CODEC),
    Case('length with a plus', head(b'Content-Length: +5') + b'hello', 400, CODEC),
    Case('hexadecimal length', head(b'Content-Length: 0x5') + b'hello', 400, CODEC),
    Case('empty length', head(b'Content-Length:') + b'hello', 400, CODEC),
    Case('length over 64 bits', head(b'Content-Length: 18446744073709551617') + b'h', 400, CODEC),
    # where a line and a name end
    Case('bare LF in the request line', b'GET / HTTP/1.1\nHost: a\r\n\r\n', 400, CODEC, envoy=200, why=STRICT),
    Case('bare LF in the headers', b'GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n', 400, CODEC, envoy=200, why=STRICT),
    Case('bare LF at the end', b'GET / HTTP/1.1\r\nHost: a\r\n\n', 400, CODEC, envoy=200, why=STRICT),
    Case('bare CR in a value', head(b'X: 1\r2', first=b'GET / HTTP/1.1'), 400, CODEC, envoy=200, why=STRICT),
    Case('folded line', head(b'X: 1', b' 2', first=b'GET / HTTP/1.1'), 400, CODEC, envoy=200, why=STRICT),
    Case('folded coding', head(b'Transfer-Encoding:', b' chunked') + b'0\r\n\r\n', 501, CODING, envoy=200, why=STRICT),
    Case('first line folded', b'GET / HTTP/1.1\r\n Host: a\r\n\r\n', 400, CODEC),
    Case('blank before the colon', head(b'Content-Length : 5') + b'hello', 400, CODEC),
    Case('tab before the colon', head(b'Transfer-Encoding\t: chunked') + b'0\r\n\r\n', 400, CODEC),
    Case('blank in a name', head(b'X Y: 1'), 400, CODEC),
    Case('no colon', head(b'X'), 400, CODEC),
    Case('no name', head(b': 1'), 400, CODEC),
    Case('NUL in a value', head(b'X: a\0b'), 400, CHARS),
    Case('NUL in a name', head(b'X\0Y: a'), 400, CHARS),
    Case('control byte in a value', head(b'X: a\x01b'), 400, CHARS),
    Case('DEL in a value', head(b'X: a\x7fb'), 400, CHARS),
    # who is asked
    Case('no host', b'GET / HTTP/1.1\r\nX: 1\r\n\r\n', 400, 'missing_host_header', body=b''),
    Case('two hosts', head(b'Host: b', first=b'GET / HTTP/1.1'), 400, AUTHORITY, envoy=200,
         why='RFC 9112 3.2 wants 400; Envoy forwards `a,b`, and policy on hosts could be passed'),
    Case('blank in the host', head(first=b'GET / HTTP/1.1', host=b'Host: a b'), 400, AUTHORITY),
    Case('slash in the host', head(first=b'GET / HTTP/1.1', host=b'Host: a/b'), 400, AUTHORITY),
    Case('userinfo in the host', head(first=b'GET / HTTP/1.1', host=b'Host: u@a'), 400, AUTHORITY, envoy=200,
         why='RFC 9110 4.2.4: userinfo in http is an error'),
    Case('userinfo in the target', head(first=b'GET http://u:p@a/ HTTP/1.1'), 400, AUTHORITY, envoy=200,
         why='RFC 9110 4.2.4: userinfo in http is an error'),
    Case('another scheme', head(first=b'GET ftp://a/ HTTP/1.1'), 400, URL, why='the same answer, named http1.invalid_scheme'),
    Case('asterisk with GET', head(first=b'GET * HTTP/1.1'), 400, URL),
    Case('no path', head(first=b'GET ?x HTTP/1.1'), 400, CODEC),
    # what is spoken
    Case('HTTP/1.0', head(first=b'GET / HTTP/1.0'), 426, 'low_version'),
    Case('HTTP/2.0', head(first=b'GET / HTTP/2.0'), 426, 'low_version'),
    Case('HTTP/0.9', b'GET /\r\n\r\n', 426, 'low_version'),
    Case('lower-case method', head(first=b'get / HTTP/1.1'), 400, CODEC),
    Case('method with a separator', head(first=b'G(T / HTTP/1.1'), 400, CODEC),
    Case('bytes of TLS', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + b'\0' * 64 + b'\r\n\r\n', 400, CODEC),
    Case('zeros', b'\0' * 100 + b'\r\n\r\n', 400, CODEC),
    Case('upgrade to something', head(b'Connection: upgrade', b'Upgrade: foo', first=b'GET / HTTP/1.1'), 403,
         'upgrade_failed', body=b''),
    # how much
    Case('a header line too long', head(b'X: ' + b'x' * 70000), 431, LARGE),
    Case('a target too long', head(first=b'GET /' + b'x' * 70000 + b' HTTP/1.1'), 431, LARGE),
    Case('headers too large together', head(*[b'X-%d: ' % i + b'x' * 1000 for i in range(70)]), 431, LARGE),
    Case('too many headers', head(*[b'X-%d: 1' % i for i in range(120)]), 431, MANY),
    # the body
    Case('chunk size over 64 bits', chunked(b'fffffffffffffffff\r\n'), 400, CODEC),
    Case('chunk size not a number', chunked(b'zz\r\n'), 400, CODEC),
    Case('negative chunk size', chunked(b'-5\r\nhello\r\n0\r\n\r\n'), 400, CODEC),
    Case('chunk size with 0x', chunked(b'0x5\r\nhello\r\n0\r\n\r\n'), 400, CODEC),
    Case('chunk size ends in a bare LF', chunked(b'5\nhello\r\n0\r\n\r\n'), 400, CODEC),
    Case('chunk longer than its size', chunked(b'5\r\nhello!\r\n0\r\n\r\n'), 400, CODEC, envoy=200,
         why='Envoy drops what is too much; the next hop may read it as a request'),
    Case('bare LF in a chunk extension', chunked(b'5;a=\n\r\nhello\r\n0\r\n\r\n'), 400, CODEC),
]
