/* SPDX-License-Identifier: Apache-2.0
 *
 * cn_exch: one request with its response on a connection, as seen by the
 * proxy: from the server side (we receive the request) or the client side (we
 * send it).  Implemented by the muxes; the same shape for HTTP/1.1 and HTTP/2.
 *
 * The pull model of cn_stream applies: the owner's task is woken and calls
 * until CN_AGAIN; nothing is called back.  Backpressure: bytes that the owner
 * does not take stay in the mux within its limit, and credit is given to the
 * peer only as they are taken.
 */
#ifndef CN_HTTP_EXCH_H
#define CN_HTTP_EXCH_H

#include "core/chain.h"
#include "event/stream.h"
#include "http/msg.h"

typedef struct cn_exch cn_exch_t;

/* What went wrong on the wire, for status, flag and details (proxy/reply.c). */
typedef enum {
    CN_XERR_NONE,
    CN_XERR_GONE,           /* the other side closed or reset */
    CN_XERR_UNPROCESSED,    /* it closed without having acted on the request: safe to repeat */
    CN_XERR_STREAM,         /* the stream underneath failed: see stream_err */
    CN_XERR_PROTOCOL,       /* bad framing or syntax: 400 codec_error; upstream: protocol error */
    CN_XERR_VERSION,        /* 426 low_version */
    CN_XERR_TOO_LARGE,      /* 431 headers_too_large */
    CN_XERR_TOO_MANY,       /* 431 too_many_headers */
    CN_XERR_BAD_CHARS,      /* 400 invalid_characters */
    CN_XERR_BAD_TE,         /* 501 invalid_transfer_encoding */
    CN_XERR_CL_TE,          /* 400 content_length_and_chunked_not_allowed */
    CN_XERR_NO_HOST,        /* 400 missing_host_header */
    CN_XERR_BAD_HOST,       /* 400 invalid_authority */
    CN_XERR_BAD_URL,        /* 400 invalid_url, also a path that cannot be normalised */
    CN_XERR_BAD_CONNECTION, /* 400 connection_header_rejected */
    CN_XERR_BAD_UPGRADE,    /* 403 upgrade_failed */
    CN_XERR_TIMEOUT         /* the head did not arrive in time: 408 request_header_timeout */
} cn_xerr;

typedef struct {
    /* Fills msg (initialised, its pool is used).  Server: the request;
     * client: the final response or an informational one (1xx, then call
     * again).  A 101 is final: it accepts the websocket that was asked for, and
     * from then on both bodies are raw bytes until their end.
     * CN_ERR: xerr says why; what could be read is in msg. */
    cn_rc (*recv_head)(cn_exch_t *, cn_msg_t *msg);
    /* CN_OK: got bytes; CN_DONE: the body is complete (trailers, if any, are
     * in the msg of recv_head); CN_AGAIN; CN_ERR. */
    cn_rc (*recv_body)(cn_exch_t *, cn_chain_t *dst, size_t max);
    /* eos: no body and no trailers follow.  Accepted whole or CN_ERR.  Server
     * side: 1xx heads may come before the final one. */
    cn_rc (*send_head)(cn_exch_t *, const cn_msg_t *msg, bool eos);
    /* Takes what fits.  CN_OK: all taken; CN_AGAIN: some left, woken with
     * WRITE.  eos is meant to follow the last byte of src and counts once all
     * of it is taken; it may be given with an empty src.  trailers: NULL or
     * sent at the end. */
    cn_rc (*send_body)(cn_exch_t *, cn_chain_t *src, bool eos, const cn_headers_t *trailers);
    /* Gives the exchange back.  Complete both ways: the connection may go on.
     * Otherwise abort: HTTP/1 closes the connection, HTTP/2 resets the stream. */
    void (*close)(cn_exch_t *);
    /* Server: the response will be the last of this connection (HTTP/1:
     * `connection: close`, lingering close; HTTP/2: nothing). */
    void (*last)(cn_exch_t *);
    cn_stream_t *(*stream)(cn_exch_t *); /* underneath, for peer(); NULL when gone */
} cn_exch_ops_t;

struct cn_exch {
    const cn_exch_ops_t *ops;
    cn_task_t *owner;
    /* Server side: set before the owner is woken with CLOSED.  Over HTTP/2 any
     * cause means that the stream has gone and nothing can be answered. */
    cn_xerr xerr;
    cn_serr stream_err;   /* with CN_XERR_STREAM or GONE */
    const char *err_text; /* for logs, or NULL */
    bool reset;           /* HTTP/2: with xerr, the other side reset this stream alone */
    bool unsent;          /* client: with xerr, no byte of this exchange had left us */
    bool reused; /* client: the connection had served before (a lost race may be repeated) */
    uint64_t wire_rx, wire_tx; /* bytes on the wire for this exchange, heads included */
};

static inline void cn_exch_wake(cn_exch_t *x, uint32_t why)
{
    if (x->owner)
        cn_task_wake(x->owner, why);
}

#endif
