/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 over a stream (nghttp2 does the frames).  A session is server or
 * client; each of its streams is an exchange, and a CONNECT exchange can be
 * turned into a byte stream, which is how HBONE nests.
 *
 * Credit is returned to the peer as the consumer takes bytes (per stream; for
 * the connection too), so one unread stream never stops its neighbours while
 * the connection window is a multiple of the stream window (RFC 9113 5.2,
 * hbone.md 1.2).
 */
#ifndef CN_HTTP_H2MUX_H
#define CN_HTTP_H2MUX_H

#include "http/exch.h"

typedef struct cn_h2 cn_h2_t;

typedef struct {
    uint32_t max_streams;     /* peer-opened, concurrently: a further one is refused alone */
    uint32_t stream_window;   /* bytes */
    uint32_t conn_window;     /* bytes, >= stream_window */
    uint32_t max_frame;       /* accepted DATA frame, 16384..16777215 */
    uint32_t max_header_list; /* bytes, enforced by resetting the stream */
    uint32_t max_headers;     /* lines */
    uint32_t send_buffer;     /* bytes held per stream towards the peer */
    uint64_t ping_ms;         /* 0: none */
    uint64_t ping_timeout_ms;
    uint64_t idle_ms; /* no stream open; 0: none */
    uint64_t head_ms; /* for the rest of a field section, which holds up all streams; 0: none */
    /* Server: after an orderly end of ours, for the client to end too, so that what it still sends
     * does not make a reset that overtakes the last answer; 0: not waited for. */
    uint64_t linger_ms;
    bool connect_protocol; /* announce RFC 8441 */
} cn_h2_conf_t;
/* 100 streams, windows 512 KiB and 16 MiB, ping 10 s / 20 s, heads 60 KiB and
 * 100 lines, extended CONNECT announced. */
extern const cn_h2_conf_t cn_h2_conf_hbone;

typedef struct {
    /* Server: a request head is complete.  The callee must either take x
     * (set x->owner and wake it) or x->ops->close() it.  recv_head() is ready,
     * and CN_ERR for a head beyond the limits, whose stream ends; all of x may be used from here,
     * and the session destroyed. */
    void (*request)(void *ctx, cn_exch_t *x);
    /* The session can take no new streams from now on: GOAWAY received or sent,
     * or it failed.  Open ones go on unless it failed. Called once, may be NULL. */
    void (*draining)(void *ctx);
    /* The session has ended and must not be used any more.  Streams still held
     * see the end (bytes received before can be taken) and are given back as usual. */
    void (*closed)(void *ctx);
    /* Client: SETTINGS of the server arrived or stream capacity became free. May be NULL. */
    void (*capacity)(void *ctx);
} cn_h2_cbs_t;

/* Take the stream, on which the handshake (TLS, ALPN) is complete. */
cn_h2_t *cn_h2_server_create(cn_loop_t *, cn_stream_t *, const cn_h2_conf_t *, const cn_h2_cbs_t *,
                             void *ctx);
cn_h2_t *cn_h2_client_create(cn_loop_t *, cn_stream_t *, const cn_h2_conf_t *, const cn_h2_cbs_t *,
                             void *ctx);

/* Client: how many further streams may be opened now (0 once draining). */
uint32_t cn_h2_capacity(const cn_h2_t *);
uint32_t cn_h2_streams(const cn_h2_t *);
/* Client: a new exchange, owner woken as the contract of cn_exch says.  NULL
 * when there is no capacity. */
cn_exch_t *cn_h2_open(cn_h2_t *, cn_task_t *owner);

/* Two-step graceful GOAWAY (RFC 9113 6.8); closed() follows when all streams ended. */
void cn_h2_drain(cn_h2_t *);
/* Server: the same, once a first request has come or after ms: some clients fail
 * the one that they have made a connection for when GOAWAY is there before it. */
void cn_h2_drain_late(cn_h2_t *, uint64_t ms);
/* At once: open exchanges and streams see GONE / RESET.  closed() is not called. */
void cn_h2_destroy(cn_h2_t *);

/* Turns a CONNECT exchange whose head was received (server: after sending the
 * 2xx head without eos) or is awaited (client: after send_head) into a byte
 * stream.  The exchange is the stream's from now on and must not be used.
 * Client: ready() is CN_AGAIN until the response head; a non-200 answer is
 * CN_ERR with REFUSED (503 and others) or DENIED (401, 403).  close(abort)
 * resets: server CONNECT_ERROR (RFC 9113 8.5), client CANCEL; close() without
 * abort delivers what was accepted and then stops the other side, if that has
 * not ended, with NO_ERROR or CANCEL.  A reset by the peer with NO_ERROR or
 * CANCEL reads as the orderly end once the bytes before it are taken (hbone.md
 * 1.5); writing fails with RESET then. */
cn_stream_t *cn_h2_stream(cn_exch_t *, cn_task_t *owner);

#endif
