/* SPDX-License-Identifier: Apache-2.0
 *
 * CONNECT streams to one peer over shared HTTP/2 sessions.  Sessions are made
 * when needed, through a function of the user that knows how to reach the peer,
 * and shared by as many streams as each has room for.  Several opens during a
 * handshake wait for the one session.
 */
#ifndef CN_HTTP_H2POOL_H
#define CN_HTTP_H2POOL_H

#include "http/h2mux.h"

typedef struct cn_h2pool cn_h2pool_t;

typedef struct {
    /* A stream to the peer, which may still be connecting or in a handshake.
     * NULL: not possible now, which fails the open with CN_SERR_LOCAL. */
    cn_stream_t *(*dial)(void *ctx, uint64_t timeout_ms, cn_task_t *owner);
    /* The rest may be NULL.  None may destroy the pool, but for idle(). */
    void (*connected)(void *ctx);
    void (*failed)(void *ctx, cn_serr, const char *text); /* a dial; text may be NULL */
    void (*closed)(void *ctx);                            /* a session that was connected */
    /* No session is left and nobody waits for one. */
    void (*idle)(void *ctx);
    /* A CONNECT is about to be sent: what else to say in it.  here: of the session. */
    void (*asking)(void *ctx, cn_msg_t *head, const cn_peer_t *here);
} cn_h2pool_cbs_t;

cn_h2pool_t *cn_h2pool_create(cn_loop_t *, const cn_h2_conf_t *, const cn_h2pool_cbs_t *,
                              void *ctx);
/* From now on each session carries one stream and ends with it. */
void cn_h2pool_set_single(cn_h2pool_t *);
/* A stream to `authority` behind the peer; its CONNECT has these headers, which
 * are copied (NULL: none).  It is ready when the CONNECT has
 * been answered with 2xx; its failures are those of cn_h2_stream() and of the
 * dialled stream.  A CONNECT that is lost with a session that had served before,
 * or that the peer says it did not process, is tried once more on a new one: no
 * byte was sent in it.  timeout_ms: for all of that; 0: none.  Never NULL. */
cn_stream_t *cn_h2pool_open(cn_h2pool_t *, cn_str_t authority, const cn_headers_t *headers,
                            uint64_t timeout_ms, cn_task_t *owner);
/* Drains the sessions there are; later opens get new ones. */
void cn_h2pool_retire(cn_h2pool_t *);
/* At once; open streams see RESET and are given back as usual. */
void cn_h2pool_destroy(cn_h2pool_t *);
uint32_t cn_h2pool_sessions(const cn_h2pool_t *);

#endif
