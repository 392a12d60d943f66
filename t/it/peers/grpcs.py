# SPDX-License-Identifier: Apache-2.0
"""A gRPC service and its clients, by grpcio and without generated code: messages are bytes.

The service `test.Service` on a pod's address:

    Echo     unary       the message back; metadata x-... of the request comes back as trailers
    Count    client str. how many messages came, as text
    Repeat   server str. the message N times, N is the number before its first blank
    Talk     both        each message back as it comes
    Fail     unary       status CODE with details DETAILS: the message is "CODE DETAILS"
    FailLate server str. one message, then the same
    Hang     both        nothing; .cancelled is set when the call ends
"""

import concurrent.futures
import threading

import grpc

from . import net

CODES = {code.value[0]: code for code in grpc.StatusCode}
UNLIMITED = [('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1)]


class Service(grpc.GenericRpcHandler):
    def __init__(self, owner):
        self.owner = owner

    def service(self, details):
        name = details.method.rpartition('/')[2]
        kinds = {'Echo': grpc.unary_unary_rpc_method_handler, 'Fail': grpc.unary_unary_rpc_method_handler,
                 'Count': grpc.stream_unary_rpc_method_handler, 'Repeat': grpc.unary_stream_rpc_method_handler,
                 'FailLate': grpc.unary_stream_rpc_method_handler, 'Talk': grpc.stream_stream_rpc_method_handler,
                 'Hang': grpc.stream_stream_rpc_method_handler}
        return kinds[name](getattr(self, name.lower())) if name in kinds else None

    def echo(self, request, context):
        self.owner.metadata.append(dict(context.invocation_metadata()))
        self.owner.remaining.append(context.time_remaining())
        context.set_trailing_metadata([(k, v) for k, v in context.invocation_metadata() if k.startswith('x-mine')])
        return request

    def count(self, requests, context):
        return b'%d' % sum(1 for _ in requests)

    def repeat(self, request, context):
        for _ in range(int(request.split(b' ')[0])):
            yield request

    def talk(self, requests, context):
        yield from requests

    def fail(self, request, context):
        code, _, details = request.decode().partition(' ')
        context.set_trailing_metadata([('x-why', 'asked')])
        context.abort(CODES[int(code)], details)

    def faillate(self, request, context):
        yield b'one'
        self.fail(request, context)

    def hang(self, requests, context):
        context.add_callback(self.owner.cancelled.set)
        self.owner.hanging.set()
        self.owner.stopping.wait(30)
        return
        yield


class GrpcOrigin:
    def __init__(self, name, ip=None, port=9080):
        self.name, self.ip, self.port = name, ip or net.new_ip(), port
        self.metadata, self.remaining = [], []
        self.cancelled, self.hanging, self.stopping = threading.Event(), threading.Event(), threading.Event()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), options=UNLIMITED + [('grpc.so_reuseport', 0)])
        self.server.add_generic_rpc_handlers([Service(self)])
        if self.server.add_insecure_port(self.address) != self.port:
            raise OSError('cannot listen on ' + self.address)
        self.server.start()

    @property
    def address(self):
        return '%s:%d' % (self.ip, self.port)

    def stop(self):
        self.stopping.set()
        self.server.stop(0.5).wait()


class Client:
    """Calls by name: client('Echo')(b'hello'), client('Talk')(iterator)."""

    KINDS = {'Echo': 'unary_unary', 'Fail': 'unary_unary', 'Missing': 'unary_unary', 'Count': 'stream_unary',
             'Repeat': 'unary_stream', 'FailLate': 'unary_stream', 'Talk': 'stream_stream', 'Hang': 'stream_stream'}

    def __init__(self, address, authority='reviews.bookinfo:9080', retries=0):
        """retries=1: as clients come: a call that has not left them when GOAWAY comes is begun again."""
        self.channel = grpc.insecure_channel('%s:%d' % address, options=UNLIMITED + [
            ('grpc.default_authority', authority), ('grpc.enable_retries', retries), ('grpc.enable_http_proxy', 0)])

    def __call__(self, method):
        return getattr(self.channel, self.KINDS[method])('/test.Service/' + method)

    def stop(self):
        self.channel.close()
