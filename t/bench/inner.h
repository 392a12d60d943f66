/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 inside a tunnel, for hbload: one call at a time, plain or gRPC.  Knows
 * nothing of the tunnel: bytes are given and taken.
 */
#ifndef CN_BENCH_INNER_H
#define CN_BENCH_INNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inner;

/* What all calls are; kept by pointer. */
struct inner_call {
    const char *method, *path, *authority;
    size_t message;    /* bytes of each message */
    unsigned messages; /* 0: no body */
};

/* A call has ended; status 0: without an answer; grpc -1: without a grpc-status. */
typedef void inner_done(void *user, unsigned status, int grpc);

struct inner *inner_new(const struct inner_call *, inner_done *, void *user);
void inner_free(struct inner *);
/* NULL is none; false: it cannot be begun. */
bool inner_start(struct inner *);
/* Bytes from the tunnel; false: they are no HTTP/2. */
bool inner_take(struct inner *, const uint8_t *, size_t);
/* Up to len bytes for the tunnel; 0: none now. */
size_t inner_give(struct inner *, uint8_t *buf, size_t len);

#endif
