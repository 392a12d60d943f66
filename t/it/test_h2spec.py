# SPDX-License-Identifier: Apache-2.0
"""RFC 9113 and RFC 7541 on the outer listener and inside a tunnel, section by section.

Each case breaks (or stretches) one rule on a connection that already carries an
echo (a tunnel outside, a request inside), and says which reactions the RFC leaves: a connection error is a GOAWAY
with its code and the end of the connection; a stream error is a RST_STREAM, and
the echo beside it goes on; `alive` is neither.  The worker must stand them all.

`ours` is our reaction where it is none that the RFC demands; a test asks a real
Envoy 1.40, set as a waypoint, whether it does the same there.  What the h2spec
program itself says of both is in test_h2spec_program.py.
"""

import struct

import pytest

from peers import envoy, http2, net, origin, proxy, wire
from peers.wire import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
                        PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, WITH_PRIORITY, frame, priority, settings,
                        window)

WEB, ECHO, MUTE, INNER = '10.96.0.1:9080', '10.96.0.2:9000', '10.96.0.3:9000', '10.96.0.4:9080'
SERVED = {WEB: 'reviews.bookinfo:9080', ECHO: 'echo.bookinfo:9000', MUTE: 'mute.bookinfo:9000',
          INNER: 'inner.bookinfo:9080'}

ALIVE = ('alive',)


def goaway(code):
    return ('goaway', code)


def reset(code):
    return ('reset', code)


class Mute(origin.Origin):
    """Accepts and never says, reads or ends anything."""

    def handle(self, sock, number):
        self.stopping.wait()


@pytest.fixture(scope='module')
def waypoint(guarded, guarded_origin):
    web, echo = guarded_origin('reviews-v1'), guarded_origin('echo', kind=origin.TcpOrigin)
    mute, inner = guarded_origin('mute', kind=Mute, port=9000), guarded_origin('inner', kind=http2.Http2Origin)
    conf = ''
    for (address, name), app in zip(SERVED.items(), (web, echo, mute, inner)):
        protocol = 'http' if app is web else 'http2' if app is inner else 'tcp'
        conf += proxy.cluster(name, proxy.endpoint(app), protocol=protocol)
        conf += proxy.service(name, address, protocol=protocol)
    one = guarded(conf)
    one.before = one.workers()
    return one


@pytest.fixture(scope='module')
def stock(tmp_path_factory, waypoint_identity, guarded_origin):
    """A real Envoy in the waypoint's place."""
    if not envoy.binary():
        pytest.skip('no Envoy')
    tunnels = {ECHO: guarded_origin('echo', kind=origin.TcpOrigin), MUTE: guarded_origin('mute', kind=Mute, port=9000)}
    one = envoy.waypoint(tmp_path_factory.mktemp('envoy'), waypoint_identity, tunnels,
                         guarded_origin('inner', kind=http2.Http2Origin))
    yield one
    one.stop()


class Outer(wire.Wire):
    """To the listener: requests are tunnels."""
    limit = 100

    def opening(self, authority):
        return [(':method', 'CONNECT'), (':authority', authority)]


class Inner(wire.Wire):
    """In a tunnel: requests are requests, whose bodies come back or are not answered."""
    limit = 1024

    def opening(self, authority):
        path = '/stream-echo' if authority == ECHO else '/mute'
        return [(':method', 'POST'), (':scheme', 'http'), (':path', path), (':authority', INNER)]


def connection(waypoint, curl, made):
    open_before = waypoint.count('cairn_tunnels_open')
    one = made()
    yield one
    one.close()
    assert waypoint.workers() == waypoint.before
    assert waypoint.request(curl, WEB).status == 200
    net.wait_for(lambda: waypoint.count('cairn_hbone_connections') == 0, what='the connection to go')
    net.wait_for(lambda: waypoint.count('cairn_tunnels_open') == open_before, what='the tunnels to go')


@pytest.fixture
def outer(waypoint, curl):
    """A connection on which nothing was sent."""
    yield from connection(waypoint, curl, lambda: Outer(wire.secure(waypoint.ip, curl)))


@pytest.fixture(params=['outer', 'inner'])
def fresh(request, waypoint, curl):
    """The same, or a tunnel."""
    kinds = {'outer': lambda: Outer(wire.secure(waypoint.ip, curl)),
             'inner': lambda: Inner(wire.Inside(waypoint.ip, curl, INNER))}
    yield from connection(waypoint, curl, kinds[request.param])


@pytest.fixture
def w(fresh):
    """A connection with an echo on stream 1."""
    fresh.start()
    tunnel(fresh, 1, ECHO)
    return fresh


def get(*more, without=(), first=()):
    fields = [(':method', 'GET'), (':scheme', 'https'), (':path', '/'), (':authority', WEB)]
    return [*first, *(f for f in fields if f[0] not in without), *more]


def tunnel(w, stream, authority):
    w.send(w.headers(stream, w.opening(authority)))
    w.until(lambda: w.status(stream))
    assert w.status(stream) == '200'


def still_echoes(w):
    had = len(w.data(1))
    w.send(frame(DATA, 0, 1, b'still there'))
    w.until(lambda: len(w.data(1)) == had + 11)
    return not w.closed


def ended(w):
    """Stream 3 is closed: asked for what is not served, and answered."""
    w.send(w.headers(3, get(), END_HEADERS | END_STREAM))
    w.until(lambda: w.status(3))


def half_closed(w):
    """Stream 3 is a tunnel that we have ended and the other side has not."""
    tunnel(w, 3, MUTE)
    w.send(frame(DATA, END_STREAM, 3))


# ---- the cases ----

CASES = {}


def case(section, name, *allowed, ours=None):
    """The function sends what is wrong on w; stream 3 is the one in question.

    A stream error may be treated as a connection error (5.4.1): where `allowed` has both, nghttp2 does."""
    def add(function):
        CASES['%s %s' % (section, name)] = (function, allowed, ours)
        return function
    return add


def simple(section, name, *allowed, send, ours=None):
    case(section, name, *allowed, ours=ours)(lambda w: w.send(send))


PROTOCOL, COMPRESSION = goaway(wire.PROTOCOL), goaway(wire.COMPRESSION)
FRAME_SIZE, FLOW = goaway(wire.FRAME_SIZE), goaway(wire.FLOW_CONTROL)
MALFORMED = reset(wire.PROTOCOL)

# 4 frames
simple('4.1', 'a frame of an unknown type is ignored', ALIVE, send=frame(22, 0, 0, b'\0' * 8))
simple('4.1', 'a frame of an unknown type on a stream is ignored', ALIVE, send=frame(255, 255, 1, b'x'))
simple('4.1', 'undefined flags are ignored', ALIVE, send=frame(PING, 22, 0, b'undefine'))
simple('4.1', 'the reserved bit is ignored', ALIVE, send=frame(PING, 0, 1 << 31, b'reserved'))
simple('4.2', 'DATA beyond the frame size', FRAME_SIZE, send=frame(DATA, 0, 1, b'x' * 16385))
simple('4.2', 'SETTINGS beyond the frame size', FRAME_SIZE, send=frame(SETTINGS, 0, 0, b'\0' * 16386))
simple('4.2', 'HEADERS beyond the frame size', FRAME_SIZE, send=frame(HEADERS, END_HEADERS, 3, b'x' * 16385))
simple('4.2', 'an unknown frame beyond the frame size', FRAME_SIZE, send=frame(99, 0, 0, b'x' * 16385))


@case('4.2', 'the largest DATA is taken', ALIVE)
def largest_data(w):
    w.send(frame(DATA, 0, 1, b'x' * 16384))
    w.until(lambda: len(w.data(1)) == 16384)


@case('4.3', 'a header block cut by another stream', PROTOCOL)
def block_cut_by_headers(w):
    w.send(w.headers(3, w.opening(ECHO), 0), w.headers(5, w.opening(ECHO)))


@case('4.3', 'a header block cut by PRIORITY', PROTOCOL)
def block_cut_by_priority(w):
    w.send(w.headers(3, w.opening(ECHO), 0), frame(PRIORITY, 0, 3, priority(0)))


# 5.1 stream states
simple('5.1', 'DATA on an idle stream', PROTOCOL, send=frame(DATA, 0, 101, b'x'))
simple('5.1', 'RST_STREAM on an idle stream', PROTOCOL, send=frame(RST_STREAM, 0, 101, b'\0\0\0\x08'))
simple('5.1', 'WINDOW_UPDATE on an idle stream', PROTOCOL, send=window(101, 1))
simple('5.1', 'CONTINUATION on an idle stream', PROTOCOL, send=frame(CONTINUATION, END_HEADERS, 101, b'\x88'))
simple('5.1', 'PRIORITY on an idle stream is taken', ALIVE, send=frame(PRIORITY, 0, 101, priority(0)))


@case('5.1', 'DATA on a half-closed stream', reset(wire.CLOSED), goaway(wire.CLOSED))
def data_half_closed(w):
    half_closed(w)
    w.send(frame(DATA, 0, 3, b'more'))


@case('5.1', 'HEADERS on a half-closed stream', reset(wire.CLOSED), goaway(wire.CLOSED))
def headers_half_closed(w):
    half_closed(w)
    w.send(w.headers(3, [('x', 'trailer')], END_HEADERS | END_STREAM))


@case('5.1', 'CONTINUATION on a half-closed stream', PROTOCOL, goaway(wire.CLOSED))
def continuation_half_closed(w):
    half_closed(w)
    w.send(frame(CONTINUATION, END_HEADERS, 3, b''))


@case('5.1', 'WINDOW_UPDATE and PRIORITY on a half-closed stream are taken', ALIVE)
def window_half_closed(w):
    half_closed(w)
    w.send(window(3, 100), frame(PRIORITY, 0, 3, priority(0)))


@case('5.1', 'RST_STREAM on a half-closed stream is taken', ALIVE)
def reset_half_closed(w):
    half_closed(w)
    w.send(frame(RST_STREAM, 0, 3, struct.pack('>I', wire.CANCEL)))


# Section 5.1, closed: such frames may be an error; they are ignored.
@case('5.1', 'DATA on a closed stream', ALIVE, goaway(wire.CLOSED), reset(wire.CLOSED))
def data_closed(w):
    ended(w)
    w.send(frame(DATA, 0, 3, b'x'))


@case('5.1', 'HEADERS on a closed stream', ALIVE, goaway(wire.CLOSED), goaway(wire.PROTOCOL), reset(wire.CLOSED))
def headers_closed(w):
    ended(w)
    w.send(w.headers(3, get(), END_HEADERS | END_STREAM))


@case('5.1', 'CONTINUATION on a closed stream', PROTOCOL, goaway(wire.CLOSED))
def continuation_closed(w):
    ended(w)
    w.send(frame(CONTINUATION, END_HEADERS, 3, b''))


@case('5.1', 'WINDOW_UPDATE, RST_STREAM and PRIORITY on a closed stream are taken', ALIVE)
def window_closed(w):
    ended(w)
    w.send(window(3, 1), frame(RST_STREAM, 0, 3, b'\0\0\0\x08'), frame(PRIORITY, 0, 3, priority(0)))


@case('5.1', 'DATA behind our own RST_STREAM', ALIVE, goaway(wire.CLOSED), reset(wire.CLOSED))
def data_behind_reset(w):
    tunnel(w, 3, MUTE)
    w.send(frame(RST_STREAM, 0, 3, struct.pack('>I', wire.CANCEL)), frame(DATA, 0, 3, b'x'))


@case('5.1.1', 'an even stream number', PROTOCOL)
def even_stream(w):
    w.send(w.headers(4, w.opening(ECHO)))


# Without a record of all streams this is the same as HEADERS on a closed stream, which may have crossed our RST_STREAM.
@case('5.1.1', 'a stream number below one that was used', PROTOCOL, ours=ALIVE)
def lower_stream(w):
    w.send(w.headers(5, w.opening(MUTE)), w.headers(3, w.opening(MUTE)))


@case('5.1.2', 'streams beyond the limit are refused one by one', reset(wire.REFUSED))
def beyond_the_limit(w):
    last = 3 + 2 * w.limit  # stream 1 is one of them
    w.send(*[w.headers(n, w.opening(MUTE)) for n in range(5, last + 2, 2)])
    w.until(lambda: w.find(RST_STREAM, last))
    assert [f.stream for f in w.frames if f.kind == RST_STREAM] == [last]
    w.send(w.headers(last + 2, w.opening(MUTE)))
    w.until(lambda: w.find(RST_STREAM, last + 2))
    w.frames.append(wire.Frame(RST_STREAM, 0, 3, w.find(RST_STREAM, last + 2)[0].payload))


# 5.3 priorities; 6.3 says nothing of a stream that depends on itself any more
@case('5.3', 'HEADERS that depend on their own stream', ALIVE, PROTOCOL)
def depends_on_itself(w):
    w.send(w.headers(3, w.opening(ECHO), END_HEADERS | WITH_PRIORITY, before=priority(3)))


simple('5.3', 'PRIORITY that depends on its own stream', ALIVE, PROTOCOL, send=frame(PRIORITY, 0, 3, priority(3)))


@case('5.4.1', 'the connection ends behind GOAWAY', FRAME_SIZE)
def ends_behind_goaway(w):
    w.send(frame(PING, 0, 0, b'short'))
    w.until(lambda: False)
    assert w.closed and w.frames[-1].kind == GOAWAY


@case('5.5', 'an unknown frame within a header block', PROTOCOL)
def unknown_within_block(w):
    w.send(w.headers(3, w.opening(ECHO), 0), frame(22, 0, 0, b'x'))


# 6.1 DATA
simple('6.1', 'DATA on stream 0', PROTOCOL, send=frame(DATA, 0, 0, b'x'))
simple('6.1', 'padding longer than DATA', PROTOCOL, send=frame(DATA, PADDED, 1, b'\x05abcd'))
simple('6.1', 'padding as long as DATA', PROTOCOL, send=frame(DATA, PADDED, 1, b'\x01'))
simple('6.1', 'padded DATA without the length', FRAME_SIZE, ours=PROTOCOL, send=frame(DATA, PADDED, 1))


@case('6.1', 'padding is dropped', ALIVE)
def padding_is_dropped(w):
    w.send(frame(DATA, PADDED, 1, b'\x04data' + b'\0' * 4), frame(DATA, PADDED, 1, b'\x03' + b'\0' * 3))
    assert w.ping()
    w.until(lambda: w.data(1))
    assert w.data(1) == b'data'


# 6.2 HEADERS
@case('6.2', 'HEADERS on stream 0', PROTOCOL)
def headers_on_0(w):
    w.send(w.headers(0, w.opening(ECHO)))


@case('6.2', 'padding longer than HEADERS', PROTOCOL)
def headers_padding(w):
    w.send(frame(HEADERS, END_HEADERS | PADDED, 3, b'\xff' + w.block(w.opening(ECHO))))


@case('6.2', 'HEADERS too short for their priority', FRAME_SIZE)
def headers_short(w):
    w.send(frame(HEADERS, END_HEADERS | WITH_PRIORITY, 3, b'\0\0'))


@case('6.2', 'padding and priority in HEADERS are taken', ALIVE)
def headers_with_all(w):
    w.send(w.headers(3, w.opening(ECHO), END_HEADERS | PADDED | WITH_PRIORITY, b'\x03' + priority(0), b'\0\0\0'))
    w.until(lambda: w.status(3))
    assert w.status(3) == '200'


# 6.3 PRIORITY, 6.4 RST_STREAM
simple('6.3', 'PRIORITY on stream 0', PROTOCOL, send=frame(PRIORITY, 0, 0, priority(1)))
simple('6.3', 'PRIORITY of 4 bytes', reset(wire.FRAME_SIZE), FRAME_SIZE, send=frame(PRIORITY, 0, 3, b'\0' * 4))
simple('6.4', 'RST_STREAM on stream 0', PROTOCOL, send=frame(RST_STREAM, 0, 0, b'\0' * 4))
simple('6.4', 'RST_STREAM of 3 bytes', FRAME_SIZE, send=frame(RST_STREAM, 0, 1, b'\0' * 3))
simple('6.4', 'RST_STREAM of 5 bytes', FRAME_SIZE, send=frame(RST_STREAM, 0, 1, b'\0' * 5))

# 6.5 SETTINGS
simple('6.5', 'SETTINGS on a stream', PROTOCOL, send=frame(SETTINGS, 0, 1, struct.pack('>HI', 3, 100)))
simple('6.5', 'SETTINGS ACK with a payload', FRAME_SIZE, send=frame(SETTINGS, ACK, 0, struct.pack('>HI', 3, 100)))
simple('6.5', 'SETTINGS of 5 bytes', FRAME_SIZE, send=frame(SETTINGS, 0, 0, b'\0' * 5))
simple('6.5.2', 'ENABLE_PUSH 2', PROTOCOL, send=settings((wire.ENABLE_PUSH, 2)))
simple('6.5.2', 'INITIAL_WINDOW_SIZE beyond 2^31-1', FLOW, send=settings((wire.INITIAL_WINDOW, 1 << 31)))
simple('6.5.2', 'MAX_FRAME_SIZE below 16384', PROTOCOL, send=settings((wire.MAX_FRAME, 16383)))
simple('6.5.2', 'MAX_FRAME_SIZE beyond 2^24-1', PROTOCOL, send=settings((wire.MAX_FRAME, 1 << 24)))
simple('6.5.2', 'an unknown setting is ignored', ALIVE, send=settings((0xff00, 1), (0, 5)))


@case('6.5.3', 'SETTINGS are acknowledged, each', ALIVE)
def settings_acknowledged(w):
    had = len([f for f in w.find(SETTINGS, 0) if f.flags & ACK])
    w.send(settings(), settings((wire.MAX_STREAMS, 7)))
    w.until(lambda: len([f for f in w.find(SETTINGS, 0) if f.flags & ACK]) == had + 2)


# 6.6 PUSH_PROMISE, 6.7 PING, 6.8 GOAWAY
@case('6.6', 'PUSH_PROMISE from a client', PROTOCOL)
def push_promise(w):
    w.send(frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack('>I', 2) + w.block(get())))


simple('6.7', 'PING on a stream', PROTOCOL, send=frame(PING, 0, 1, b'12345678'))
simple('6.7', 'PING of 6 bytes', FRAME_SIZE, send=frame(PING, 0, 0, b'123456'))
simple('6.7', 'an ACK of no PING is ignored', ALIVE, send=frame(PING, ACK, 0, b'invented'))
simple('6.8', 'GOAWAY on a stream', PROTOCOL, send=frame(GOAWAY, 0, 1, b'\0' * 8))
simple('6.8', 'GOAWAY of 7 bytes', FRAME_SIZE, send=frame(GOAWAY, 0, 0, b'\0' * 7))


@case('7', 'an unknown code in RST_STREAM is taken', ALIVE)
def reset_unknown_code(w):
    tunnel(w, 3, MUTE)
    w.send(frame(RST_STREAM, 0, 3, b'\0\0\0\xff'))


@case('7', 'GOAWAY with an unknown code lets open streams finish', ALIVE)
def goaway_unknown_code(w):
    w.send(frame(GOAWAY, 0, 0, b'\0' * 4 + b'\0\0\0\xff'))


# 6.9 WINDOW_UPDATE
simple('6.9', 'an increment of 0 for the connection', PROTOCOL, send=window(0, 0))
simple('6.9', 'an increment of 0 for a stream', MALFORMED, PROTOCOL, send=window(1, 0))
simple('6.9', 'WINDOW_UPDATE of 3 bytes', FRAME_SIZE, send=frame(WINDOW_UPDATE, 0, 0, b'\0' * 3))
simple('6.9.1', 'the connection window beyond 2^31-1', FLOW, send=window(0, (1 << 31) - 1))


@case('6.9.1', 'the window of a stream beyond 2^31-1', reset(wire.FLOW_CONTROL))
def stream_window_overflow(w):
    tunnel(w, 3, MUTE)
    w.send(window(3, (1 << 31) - 1))


@case('6.9.1', 'DATA beyond the window of a stream', reset(wire.FLOW_CONTROL))
def data_beyond_the_window(w):
    tunnel(w, 3, MUTE)
    for _ in range(100):
        w.send(frame(DATA, 0, 3, b'x' * 16384) * 10)
        assert w.ping()
        if w.find(RST_STREAM, 3):
            break


# The other streams go on.
@case('6.9.2', 'SETTINGS that lift a window beyond 2^31-1', FLOW, ours=reset(wire.FLOW_CONTROL))
def settings_lift_window(w):
    tunnel(w, 3, MUTE)
    w.send(window(3, (1 << 31) - 1 - 65535), settings((wire.INITIAL_WINDOW, 65536)))


# 6.10 CONTINUATION
def parts(w, n):
    """A CONNECT for the echo on stream 3 in n frames."""
    block = w.block([*w.opening(ECHO), ('x-long', 'y' * 500)])
    size = -(-len(block) // n)
    pieces = [block[i:i + size] for i in range(0, len(block), size)]
    last = len(pieces) - 1
    return [frame(CONTINUATION if i else HEADERS, END_HEADERS if i == last else 0, 3, piece)
            for i, piece in enumerate(pieces)]


@case('6.10', 'a block in several frames is put together', ALIVE)
def continuations(w):
    w.send(*parts(w, 6))
    w.until(lambda: w.status(3))
    assert w.status(3) == '200'


@case('6.10', 'DATA instead of CONTINUATION', PROTOCOL)
def data_for_continuation(w):
    w.send(*parts(w, 4)[:2], frame(DATA, 0, 1, b'x'))


@case('6.10', 'CONTINUATION of another stream', PROTOCOL)
def continuation_elsewhere(w):
    w.send(parts(w, 2)[0], frame(CONTINUATION, END_HEADERS, 5, b''))


@case('6.10', 'CONTINUATION on stream 0', PROTOCOL)
def continuation_on_0(w):
    w.send(parts(w, 2)[0], frame(CONTINUATION, END_HEADERS, 0, b''))


@case('6.10', 'CONTINUATION behind a complete block', PROTOCOL)
def continuation_behind_headers(w):
    w.send(w.headers(3, w.opening(MUTE)), frame(CONTINUATION, END_HEADERS, 3, w.block([('x', 'y')])))


@case('6.10', 'CONTINUATION behind a complete CONTINUATION', PROTOCOL)
def continuation_behind_continuation(w):
    w.send(*parts(w, 2), frame(CONTINUATION, END_HEADERS, 3, w.block([('x', 'y')])))


simple('6.10', 'CONTINUATION behind DATA', PROTOCOL,
       send=frame(DATA, 0, 1, b'x') + frame(CONTINUATION, END_HEADERS, 1, b''))


# 8 messages: those that are no CONNECT, which get 404 when they are well-formed
def message(section, name, *fields, flags=END_HEADERS | END_STREAM):
    case(section, name, MALFORMED)(lambda w: w.send(w.headers(3, list(fields), flags)))


def request(section, name, *more, **options):
    message(section, name, *get(*more, **options))


request('8.2.1', 'an upper-case name', ('X-Test', 'ok'))
request('8.2.1', 'a blank in a name', ('x test', 'ok'))
request('8.2.1', 'a colon in a name', ('x:test', 'ok'))
request('8.2.1', 'a NUL in a value', ('x-test', 'a\0b'))
request('8.2.1', 'a line break in a value', ('x-test', 'a\r\nb: c'))
request('8.2.2', 'a field of the connection', ('connection', 'keep-alive'))
request('8.2.2', 'transfer-encoding', ('transfer-encoding', 'chunked'))
request('8.2.2', 'TE other than trailers', ('te', 'trailers, deflate'))
request('8.3', 'an unknown pseudo-header', first=[(':test', 'ok')])
request('8.3', 'a pseudo-header of responses', first=[(':status', '200')])
request('8.3', 'a pseudo-header behind others', (':path', '/'), without=[':path'], first=[('x-test', 'ok')])
request('8.3', 'a pseudo-header behind fields', ('x-test', 'ok'), (':authority', WEB), without=[':authority'])
request('8.3.1', 'an asterisk with GET', without=[':path'], first=[(':path', '*')])
request('8.3.1', 'an empty path', without=[':path'], first=[(':path', '')])
request('8.3.1', 'no method', without=[':method'])
request('8.3.1', 'no scheme', without=[':scheme'])
request('8.3.1', 'no path', without=[':path'])
request('8.3.1', 'two methods', first=[(':method', 'GET')])
request('8.3.1', 'two schemes', first=[(':scheme', 'https')])
request('8.3.1', 'two paths', first=[(':path', '/')])
message('8.5', 'CONNECT with a scheme and a path', (':method', 'CONNECT'), (':authority', WEB), (':scheme', 'https'), (':path', '/'))
message('8.5', 'CONNECT without an authority', (':method', 'CONNECT'))
request('8.1.1', 'a length where there is no body', ('content-length', '1'))


@case('8.1', 'a second head without the end of the stream', MALFORMED)
def second_head(w):
    w.send(w.headers(3, get(without=[':method'], first=[(':method', 'POST')])), w.headers(3, [('x-test', 'ok')]))


@case('8.1', 'a pseudo-header in trailers', MALFORMED)
def pseudo_in_trailers(w):
    w.send(w.headers(3, get(without=[':method'], first=[(':method', 'POST')])),
           w.headers(3, [(':method', 'POST')], END_HEADERS | END_STREAM))


@case('8.1.1', 'more DATA than the length says', MALFORMED)
def longer_than_said(w):
    w.send(w.headers(3, get(('content-length', '1'))), frame(DATA, END_STREAM, 3, b'test'))


@case('8.1.1', 'more DATA than the length says, in several frames', MALFORMED)
def longer_than_said_in_parts(w):
    w.send(w.headers(3, get(('content-length', '1'))), frame(DATA, 0, 3, b'te'), frame(DATA, END_STREAM, 3, b'st'))


@case('8.1.1', 'less DATA than the length says', MALFORMED)
def shorter_than_said(w):
    w.send(w.headers(3, get(('content-length', '9'))), frame(DATA, END_STREAM, 3, b'test'))


# RFC 7541
def hpack(section, name, block):
    """block behind a good CONNECT in one header block."""
    case('HPACK ' + section, name, COMPRESSION)(
        lambda w: w.send(frame(HEADERS, END_HEADERS, 3, w.block(w.opening(ECHO)) + block)))


HUFFMAN_A = b'\x1f'  # 00011 and three bits of padding

hpack('2.3.3', 'an index beyond the tables', b'\xff\x7f')
hpack('2.3.3', 'a name beyond the tables', b'\x7f\x7f\x01a')
hpack('4.2', 'a change of the table size at the end', b'\x20')
hpack('5.1', 'an integer that never ends', b'\xff' + b'\xff' * 12)
hpack('5.2', 'padding longer than 7 bits', b'\0\x01x\x82' + HUFFMAN_A + b'\xff')
hpack('5.2', 'padding that is not all ones', b'\0\x01x\x81\x18')
hpack('5.2', 'the end-of-string symbol', b'\0\x01x\x84\xff\xff\xff\xff')
hpack('5.2', 'a string longer than the block', b'\0\x01x\x7f\x10short')
hpack('6.1', 'index 0', b'\x80')
case('HPACK 6.3', 'a table size beyond SETTINGS', COMPRESSION)(
    lambda w: w.send(frame(HEADERS, END_HEADERS, 3, b'\x3f\xe1\x7f' + w.block(w.opening(ECHO)))))


@case('HPACK 5.2', 'strings in Huffman code are read', ALIVE)
def huffman(w):
    w.encoder.huffman = True
    tunnel(w, 3, ECHO)


@case('HPACK 6.2.3', 'fields that must not be indexed are read', ALIVE)
def never_indexed(w):
    def literal(name, value):
        return b'\x10' + bytes([len(name)]) + name + bytes([len(value)]) + value
    block = b''.join(literal(n.encode(), v.encode()) for n, v in w.opening(ECHO))
    w.send(frame(HEADERS, END_HEADERS, 3, block))
    w.until(lambda: w.status(3))
    assert w.status(3) == '200'


@case('HPACK 6.3', 'changes of the table size at the beginning are taken', ALIVE)
def table_size(w):
    w.encoder.header_table.maxsize = 0  # the first change drops what both sides know
    w.encoder.header_table.maxsize = 4096
    w.send(frame(HEADERS, END_HEADERS, 3, b'\x20\x3f\xe1\x1f' + w.encoder.encode(w.opening(ECHO))))
    w.until(lambda: w.status(3))
    assert w.status(3) == '200'


@pytest.mark.parametrize('send, allowed, ours', CASES.values(), ids=CASES)
def test_the_reaction_is_what_the_rfc_demands(w, send, allowed, ours):
    send(w)
    verdict = w.verdict(3)
    assert verdict in ((ours,) if ours else allowed)
    if verdict[0] != 'goaway':
        assert still_echoes(w)


def echo_of(made):
    """A connection with an echo on stream 1; what was sent before may just be ending Envoy's own to the application."""
    for _ in range(3):
        w = made()
        w.start()
        w.send(w.headers(1, w.opening(ECHO)))
        w.until(lambda: w.status(1))
        if w.status(1) == '200':
            return w
        w.close()
    pytest.fail('no tunnel: %s' % w.status(1))


@pytest.mark.parametrize('name', [name for name, (_, _, ours) in CASES.items() if ours])
@pytest.mark.parametrize('side', ['outer', 'inner'])
def test_where_we_differ_envoy_does_the_same(stock, curl, name, side):
    send, allowed, ours = CASES[name]
    w = echo_of(lambda: Outer(wire.secure(stock.outer[0], curl)) if side == 'outer' else Inner(wire.clear(*stock.inner)))
    send(w)
    verdict = w.verdict(3)
    w.close()
    assert verdict == ours and verdict not in allowed


# ---- what a table cannot say ----

# Inside, a port that is declared HTTP/2 takes HTTP/1.1, too, and waits for the client to say which.

@pytest.mark.parametrize('preface', [b'INVALID CONNECTION PREFACE\r\n\r\n', wire.PREFACE[:-1] + b'X',
                                     b'GET / HTTP/1.1\r\nHost: a\r\n\r\n'])
def test_3_4_an_invalid_preface_ends_the_connection(outer, preface):
    outer.send(preface, settings())
    outer.until(lambda: False)
    assert outer.closed


def test_3_4_a_preface_without_settings_ends_the_connection(fresh):
    fresh.send(wire.PREFACE, frame(PING, 0, 0, b'too soon'))
    fresh.until(lambda: False)
    assert fresh.find(GOAWAY, 0)[-1].code == wire.PROTOCOL


def test_3_4_settings_are_the_first_frame(outer):
    outer.until(lambda: outer.frames)
    assert outer.frames[0].kind == SETTINGS and not outer.frames[0].flags & ACK
    outer.start()
    assert outer.ping()


def test_6_5_2_what_is_announced_is_what_a_stock_waypoint_announces(outer):
    outer.start()
    assert outer.ping()
    payload = next(f.payload for f in outer.find(SETTINGS, 0) if not f.flags & ACK)
    said = dict(struct.unpack('>HI', payload[i:i + 6]) for i in range(0, len(payload), 6))
    assert (said[wire.MAX_STREAMS], said[8]) == (100, 1)  # 8: ENABLE_CONNECT_PROTOCOL
    assert wire.ENABLE_PUSH not in said


def test_6_9_1_no_more_is_sent_than_the_window_of_the_stream(fresh):
    fresh.start((wire.INITIAL_WINDOW, 1))
    tunnel(fresh, 1, ECHO)
    fresh.send(frame(DATA, 0, 1, b'hello'))
    fresh.until(lambda: fresh.data(1))
    assert fresh.ping() and fresh.data(1) == b'h'
    fresh.send(window(1, 2))
    fresh.until(lambda: len(fresh.data(1)) > 1)
    assert fresh.ping() and fresh.data(1) == b'hel'
    fresh.send(window(1, 100))
    fresh.until(lambda: len(fresh.data(1)) == 5)
    assert fresh.data(1) == b'hello'


def test_6_9_2_a_window_may_become_negative(fresh):
    fresh.start((wire.INITIAL_WINDOW, 3))
    tunnel(fresh, 1, ECHO)
    fresh.send(frame(DATA, 0, 1, b'hello!'))
    fresh.until(lambda: len(fresh.data(1)) == 3)
    fresh.send(settings((wire.INITIAL_WINDOW, 2)), window(1, 1))
    assert fresh.ping() and fresh.ping()
    assert fresh.data(1) == b'hel'
    fresh.send(window(1, 1))
    fresh.until(lambda: len(fresh.data(1)) > 3)
    assert fresh.ping() and fresh.data(1) == b'hell'
    fresh.send(settings((wire.INITIAL_WINDOW, 1000)))
    fresh.until(lambda: len(fresh.data(1)) == 6)
    assert fresh.data(1) == b'hello!'


def test_6_9_2_the_last_value_in_one_frame_counts(fresh):
    fresh.start((wire.INITIAL_WINDOW, 100), (wire.INITIAL_WINDOW, 1))
    tunnel(fresh, 1, ECHO)
    fresh.send(frame(DATA, 0, 1, b'hello'))
    fresh.until(lambda: fresh.data(1))
    assert fresh.ping() and fresh.data(1) == b'h'


@pytest.mark.parametrize('fields', [
    get(), get(without=[':method'], first=[(':method', 'POST')]), get(without=[':method'], first=[(':method', 'HEAD')]),
    [(':method', 'OPTIONS'), (':scheme', 'https'), (':path', '*'), (':authority', WEB)],
    [(':method', 'CONNECT'), (':protocol', 'websocket'), (':scheme', 'https'), (':path', '/'), (':authority', WEB)],
    [(':method', 'CONNECT'), (':protocol', 'anything'), (':scheme', 'https'), (':path', '/x'), (':authority', WEB)],
], ids=['GET', 'POST', 'HEAD', 'OPTIONS *', 'websocket', 'unknown protocol'])
def test_what_is_no_plain_connect_is_not_found_without_a_body(outer, fields):
    w = outer
    w.start()
    tunnel(w, 1, ECHO)
    w.send(w.headers(3, fields))
    w.until(lambda: w.status(3))
    assert w.status(3) == '404'
    assert w.find(HEADERS, 3)[0].flags & END_STREAM
    assert w.verdict(3) in (ALIVE, reset(wire.NO_ERROR))
    assert w.data(3) == b'' and still_echoes(w)
