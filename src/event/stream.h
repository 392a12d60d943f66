/* SPDX-License-Identifier: Apache-2.0
 *
 * cn_stream: a bidirectional byte stream whose two directions end
 * independently.  A TCP socket, TLS over any stream and an HTTP/2 CONNECT
 * stream are all streams, so HBONE is tls(tcp) -> h2 -> stream and double
 * HBONE the same twice.
 *
 * Contract for every implementation:
 *  - The pull model: nothing is delivered; the owner's task is woken
 *    (READ, WRITE, STATE, CLOSED) and calls read() or write() until CN_AGAIN.
 *    A wake is given for each change after a CN_AGAIN; spurious wakes happen.
 *  - No call wakes or runs the owner synchronously.
 *  - One owner at a time (cn_stream_own); a new owner is woken at once with
 *    READ|WRITE so that nothing is missed.
 *  - cn_stream_close() gives the object back; it must not be used afterwards.
 */
#ifndef CN_EVENT_STREAM_H
#define CN_EVENT_STREAM_H

#include "core/chain.h"
#include "core/inet.h"
#include "event/loop.h"

typedef struct cn_stream cn_stream_t;

/* Why a stream failed; recorded before CN_ERR is returned. */
typedef enum {
    CN_SERR_NONE,
    CN_SERR_REFUSED,     /* connect refused, or the tunnel's CONNECT was answered 503 */
    CN_SERR_TIMEOUT,     /* connect or handshake timed out */
    CN_SERR_UNREACHABLE, /* any other connect failure */
    CN_SERR_RESET,       /* reset by the other side */
    CN_SERR_TLS,         /* handshake or record failure */
    CN_SERR_IDENTITY,    /* certificate valid but not the expected identity */
    CN_SERR_DENIED,      /* CONNECT answered 401 or 403 */
    CN_SERR_PROTOCOL,    /* the other side broke the protocol underneath */
    CN_SERR_UNPROCESSED, /* the peer says that it did nothing: REFUSED_STREAM, GOAWAY below the id
                          */
    CN_SERR_LOCAL        /* reset by us */
} cn_serr;

/* Who is at the other end.  Strings live as long as the stream. */
typedef struct {
    cn_addr_t remote, local; /* of the underlying socket */
    cn_str_t identity; /* "spiffe://td/ns/x/sa/y" from the verified certificate; empty: none */
    cn_str_t local_identity; /* of our own certificate; empty without TLS */
    cn_str_t alpn;
    cn_str_t baggage; /* what the end of a tunnel says of itself, unverified; empty: nothing */
} cn_peer_t;

typedef struct {
    /* CN_OK once bytes may flow; CN_AGAIN while connecting or in a handshake
     * (owner woken with STATE); CN_ERR. */
    cn_rc (*ready)(cn_stream_t *);
    /* Appends at least 1 and about max bytes to dst.  CN_AGAIN, CN_DONE at the
     * orderly end of this direction (again and again), CN_ERR. */
    cn_rc (*read)(cn_stream_t *, cn_chain_t *dst, size_t max);
    /* Takes from the front of src what fits.  CN_OK: all; CN_AGAIN: some left,
     * owner woken with WRITE; CN_ERR.  An empty src asks whether anybody is
     * still there to read. */
    cn_rc (*write)(cn_stream_t *, cn_chain_t *src);
    /* No more writes: the other side sees the end after everything written. */
    void (*shutdown)(cn_stream_t *);
    /* Gives the stream back.  When both directions have ended or abort is
     * false, accepted bytes are still delivered; with abort the other side
     * sees a reset. */
    void (*close)(cn_stream_t *, bool abort);
    const cn_peer_t *(*peer)(cn_stream_t *);
} cn_stream_ops_t;

struct cn_stream {
    const cn_stream_ops_t *ops;
    cn_task_t *owner;
    cn_serr err;
    const char *err_text; /* constant or stream-owned; for logs; NULL: none */
    bool had_enough;      /* a write failed only because the other side ended, and takes no more */
    uint64_t rx, tx;      /* payload bytes since the start */
};

static inline CN_MUST cn_rc cn_stream_ready(cn_stream_t *s)
{
    return s->ops->ready(s);
}
static inline CN_MUST cn_rc cn_stream_read(cn_stream_t *s, cn_chain_t *dst, size_t max)
{
    return s->ops->read(s, dst, max);
}
static inline CN_MUST cn_rc cn_stream_write(cn_stream_t *s, cn_chain_t *src)
{
    return s->ops->write(s, src);
}
static inline void cn_stream_shutdown(cn_stream_t *s)
{
    s->ops->shutdown(s);
}
static inline void cn_stream_close(cn_stream_t *s, bool abort)
{
    s->ops->close(s, abort);
}
static inline const cn_peer_t *cn_stream_peer(cn_stream_t *s)
{
    return s->ops->peer(s);
}
static inline void cn_stream_own(cn_stream_t *s, cn_task_t *owner)
{
    s->owner = owner;
    if (owner)
        cn_task_wake(owner, CN_WAKE_READ | CN_WAKE_WRITE);
}
/* For implementations: tells the owner. */
static inline void cn_stream_wake(cn_stream_t *s, uint32_t why)
{
    if (s->owner)
        cn_task_wake(s->owner, why);
}
static inline CN_MUST cn_rc cn_stream_fail(cn_stream_t *s, cn_serr err, const char *text)
{
    if (s->err == CN_SERR_NONE) {
        s->err = err;
        s->err_text = text;
    }
    return CN_ERR;
}

#endif
