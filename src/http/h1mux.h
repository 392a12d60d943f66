/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 over a stream: a server side that yields one exchange at a time
 * (pipelined requests wait in the stream) and a client side that carries one
 * exchange at a time.  Each mux owns its stream.
 */
#ifndef CN_HTTP_H1MUX_H
#define CN_HTTP_H1MUX_H

#include "http/exch.h"
#include "http/h1.h"

typedef struct cn_h1_server cn_h1_server_t;
typedef struct cn_h1_client cn_h1_client_t;

typedef struct {
    cn_h1_limits_t limits;
    uint64_t idle_ms; /* between requests; 0: none */
    uint64_t head_ms; /* for a head once begun; 0: none */
    size_t buffer;    /* bytes of body held per direction, default 64 KiB */
} cn_h1_server_conf_t;
extern const cn_h1_server_conf_t cn_h1_server_conf_default;

typedef struct {
    /* A new request has begun to arrive.  The callee sets x->owner to a task
     * and wakes it; nothing may be called on x from here. */
    void (*request)(void *ctx, cn_exch_t *x);
    /* The connection has ended and the mux is gone. */
    void (*closed)(void *ctx);
} cn_h1_server_cbs_t;

/* Takes the stream. */
cn_h1_server_t *cn_h1_server_create(cn_loop_t *, cn_stream_t *, const cn_h1_server_conf_t *,
                                    const cn_h1_server_cbs_t *, void *ctx);
/* Say `connection: close` in the next response and end behind it.  A connection
 * on which no request comes for idle_ms is closed then; 0: at once. */
void cn_h1_server_drain(cn_h1_server_t *, uint64_t idle_ms);
/* At once; the current exchange sees CN_XERR_GONE.  closed() is not called. */
void cn_h1_server_destroy(cn_h1_server_t *);

/* Takes the stream, which may still be connecting. `idle` (may be NULL) is
 * woken with CLOSED when the connection ends while no exchange is open. */
cn_h1_client_t *cn_h1_client_create(cn_loop_t *, cn_stream_t *, cn_task_t *idle);
/* Free and open: an exchange can be started.  False while connecting is not
 * meant: it is true as soon as no exchange is open and nothing has failed. */
bool cn_h1_client_usable(const cn_h1_client_t *);
/* The same for a connection that idled, and looks at what has arrived since:
 * false, and `idle` is woken, when bytes or the end came in this very round. */
bool cn_h1_client_check(cn_h1_client_t *);
/* Starts the next exchange; owner is woken as the contract of cn_exch says.
 * The exchange's close() keeps the connection when the response and the
 * request were complete and the server keeps it alive; else
 * cn_h1_client_usable() is false afterwards and the caller destroys it. */
cn_exch_t *cn_h1_client_open(cn_h1_client_t *, cn_task_t *owner);
cn_stream_t *cn_h1_client_stream(cn_h1_client_t *);
void cn_h1_client_destroy(cn_h1_client_t *);

#endif
