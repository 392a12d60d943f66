# SPDX-License-Identifier: Apache-2.0
"""A rate limit service: Envoy's published protocol (RLS v3), served by gRPC's own implementation."""

import concurrent.futures
import threading

import grpc
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc

from . import net

OK, OVER = rls_pb2.RateLimitResponse.OK, rls_pb2.RateLimitResponse.OVER_LIMIT


def pairs(descriptor):
    return [(e.key, e.value) for e in descriptor.entries]


class RateLimitService(rls_pb2_grpc.RateLimitServiceServicer):
    """Counts hits by domain and descriptor; .limits says how many of them pass, None: all.

    .answer, when set, is called with the request and the response to fill instead.
    .released blocks answers while it is cleared.
    """

    def __init__(self):
        self.limits, self.counted, self.requests = {}, {}, []
        self.answer, self.lock, self.released = None, threading.Lock(), threading.Event()
        self.released.set()
        self.ip, self.port = net.new_ip(), 8081
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        rls_pb2_grpc.add_RateLimitServiceServicer_to_server(self, self.server)
        self.server.add_insecure_port('%s:%d' % (self.ip, self.port))
        self.server.start()

    @property
    def address(self):
        return '%s:%d' % (self.ip, self.port)

    def count(self, request, response):
        """One status for each descriptor, as the reference service does it."""
        response.overall_code = OK
        for descriptor in request.descriptors:
            key = tuple(pairs(descriptor))
            status = response.statuses.add(code=OK)
            limit = descriptor.limit.requests_per_unit if descriptor.HasField('limit') else self.limits.get(key)
            if limit is None:
                continue
            used = self.counted.get(key, 0) + max(request.hits_addend, 1)
            self.counted[key] = used
            status.current_limit.requests_per_unit = limit
            status.current_limit.unit = descriptor.limit.unit if descriptor.HasField('limit') else 2
            status.limit_remaining = max(0, limit - used)
            status.duration_until_reset.seconds = 30
            if used > limit:
                status.code = response.overall_code = OVER

    def ShouldRateLimit(self, request, context):
        self.released.wait(30)
        with self.lock:
            self.requests.append(request)
            response = rls_pb2.RateLimitResponse()
            if self.answer:
                self.answer(request, response, context)
            else:
                self.count(request, response)
            return response

    def stop(self):
        self.released.set()
        self.server.stop(0).wait()
