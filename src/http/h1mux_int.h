/* SPDX-License-Identifier: Apache-2.0
 *
 * What both sides of an HTTP/1 connection have in common: the stream with its
 * two buffers, the reading of bodies and the writing of them.  Private to
 * src/http.
 */
#ifndef CN_HTTP_H1MUX_INT_H
#define CN_HTTP_H1MUX_INT_H

#include "http/h1mux.h"

#define CN_H1_BUFFER 65536

typedef struct {
    cn_loop_t *loop;
    cn_stream_t *stream; /* ours; NULL once given back */
    cn_task_t task;      /* owner of the stream */
    cn_exch_t x;
    bool open;   /* x is in use */
    bool zombie; /* destroyed, but x is still in use */
    size_t buffer;
    /* reading */
    cn_h1_parser_t parser;
    cn_chain_t in;
    cn_msg_t *msg; /* where trailers go: the message of recv_head */
    bool in_eof;   /* the peer will send no more */
    bool failed;   /* the stream is dead; in may hold bytes from before */
    /* writing the current message */
    cn_chain_t out;
    cn_h1_framing framing;
    uint64_t left;       /* with LENGTH framing */
    uint64_t tx;         /* bytes that the stream had sent before */
    bool sent;           /* all of it is in out or further */
    bool hold;           /* an upgrade is not answered yet: bytes wait with the owner */
    bool want_write;     /* the owner got CN_AGAIN */
    bool shut_due, shut; /* end our direction once out is empty; done */
} cn_h1_conn_t;

/* Takes the stream. */
void cn_h1_conn_init(cn_h1_conn_t *, cn_loop_t *, cn_stream_t *, cn_h1_kind, const cn_h1_limits_t *,
                     size_t buffer, cn_task_cb *run);
/* Ends everything but the memory of the connection itself. */
void cn_h1_conn_fini(cn_h1_conn_t *, bool abort);
/* Resets what belongs to one exchange. */
void cn_h1_conn_open(cn_h1_conn_t *, const cn_exch_ops_t *, cn_task_t *owner);

/* Reads until the buffer is full or nothing comes; starving: the parser cannot
 * go on with what is there, so read some more in any case.  True when bytes
 * were added. */
bool cn_h1_conn_fill(cn_h1_conn_t *, bool starving);
/* Writes what the stream takes; wakes the owner when it waits and there is room. */
void cn_h1_conn_flush(cn_h1_conn_t *);
/* Records why the exchange fails, the first cause only; returns CN_ERR. */
cn_rc cn_h1_conn_error(cn_h1_conn_t *, cn_xerr, const char *text);
/* As above with what the stream says. */
cn_rc cn_h1_conn_lost(cn_h1_conn_t *, cn_xerr);

/* CN_AGAIN also when the stream has ended or failed: the caller looks. */
cn_rc cn_h1_conn_recv_head(cn_h1_conn_t *, cn_msg_t *);
cn_rc cn_h1_conn_recv_body(cn_h1_conn_t *, cn_chain_t *dst, size_t max);

/* A head has been put into out, which had `before` bytes. */
void cn_h1_conn_head_sent(cn_h1_conn_t *, size_t before, cn_h1_framing, uint64_t length);
cn_rc cn_h1_conn_send_body(cn_h1_conn_t *, cn_chain_t *src, bool eos, const cn_headers_t *trailers);
/* The current message is complete. */
cn_rc cn_h1_conn_send_end(cn_h1_conn_t *, const cn_headers_t *trailers);

#endif
