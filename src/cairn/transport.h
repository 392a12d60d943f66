/* SPDX-License-Identifier: Apache-2.0
 *
 * What a listener or transport module may use beside cairn/module.h: streams,
 * TLS, HTTP/2 sessions, and the way to hand an accepted tunnel to the proxy.
 */
#ifndef CN_TRANSPORT_H
#define CN_TRANSPORT_H

#include "cairn/module.h"
#include "event/sock.h"
#include "event/stream.h"
#include "http/exch.h"
#include "http/h1mux.h"
#include "http/h2mux.h"
#include "http/h2pool.h"
#include "tls/ctx.h"
#include "tls/stream.h"

/* A protocol for `listen ADDR NAME`. */
typedef struct cn_listener_ops {
    const char *name;
    /* fd is the callee's. */
    void (*accept)(cn_worker_t *, void *wctx, int fd, const cn_addr_t *remote);
    /* Take nothing new, tell the peers, end as soon as what is open has ended. */
    void (*drain)(cn_worker_t *, void *wctx);
    /* Connections now open: the worker exits when all listeners say 0. */
    uint32_t (*active)(void *wctx);
} cn_listener_ops_t;

/* Our identity and trust; NULL before the first one is loaded. */
cn_tls_ctx_t *cn_worker_tls(cn_worker_t *);
/* Is it one of the mesh's trust domains (its own or an alias)?  For identities
 * that somebody else has verified; TLS streams check for themselves. */
bool cn_worker_trusts(cn_worker_t *, cn_str_t trust_domain);
/* May another tunnel be taken?  False when memory or descriptors are short:
 * refuse it (503 or REFUSED_STREAM). */
bool cn_worker_admit(cn_worker_t *);

/* Hands an accepted tunnel over: the proxy owns stream, tunnel->pool and the
 * section reference from now on and serves HTTP or L4 on it as the service
 * says.  The stream may already carry bytes. */
void cn_tunnel_serve(cn_worker_t *, cn_tunnel_t *, cn_stream_t *);
/* Tells the error log and the modules of a tunnel that was refused before it
 * could be served (outer CONNECT answered >= 400, or closed).  peer may be NULL. */
void cn_tunnel_refused(cn_worker_t *, const cn_peer_t *, cn_str_t authority, unsigned status,
                       cn_str_t details);
/* Tells the modules only. */
void cn_worker_refused(cn_worker_t *, const cn_refusal_t *);

#endif
