/* SPDX-License-Identifier: Apache-2.0
 *
 * The kinds of plug-in that an upstream needs: balancers, transports and
 * admission hooks.  Modules bring them (cairn/module.h); here is what they are
 * and how the pool finds them.
 */
#ifndef CN_UPSTREAM_REGISTRY_H
#define CN_UPSTREAM_REGISTRY_H

#include "event/stream.h"
#include "upstream/cluster.h"

typedef struct {
    cn_rand_t *rand;
    uint64_t hash;           /* for hashing balancers; 0: none */
    cn_host_t *const *tried; /* hosts to avoid when others are there */
    unsigned ntried;
} cn_pick_t;

typedef struct cn_lb_ops {
    const char *name; /* `lb NAME;` */
    const char *help;
    /* State for a host set, or NULL when none is needed; called on each change.
     * prev: the state before, given back to nobody else: take over or free. */
    void *(*build)(cn_cluster_t *, void *prev);
    void (*destroy)(void *ctx);
    /* A healthy host, or NULL when there is none. */
    cn_host_t *(*pick)(cn_cluster_t *, void *ctx, const cn_pick_t *);
} cn_lb_ops_t;

/* A host of the cluster, by its balancer; NULL: there is no healthy one. */
cn_host_t *cn_cluster_pick(cn_cluster_t *, const cn_pick_t *);

/* A way to reach a host. */
typedef struct {
    cn_tunnel_kind kind;
    /* A stream to host, target port `port`; not ready yet.  Never NULL: causes
     * show in ready(). */
    cn_stream_t *(*open)(void *wctx, cn_host_t *host, uint16_t port, uint64_t timeout_ms,
                         cn_task_t *owner);
    /* The host has left or its identity changed: retire shared sessions. */
    void (*retire)(void *wctx, cn_host_t *host);
} cn_transport_ops_t;

/* What the client asked for, as far as the way to a host depends on it. */
typedef struct {
    cn_addr_t source; /* the client */
    cn_addr_t dest;   /* of its CONNECT, unless a module chose another address */
    cn_str_t name;    /* host of the request or of its TLS hello; empty: not known */
} cn_uasked_t;

/* Something spoken over a stream to a host before its payload: TLS, a PROXY
 * header.  Applied in module order, the first one lowest. */
typedef struct {
    /* conf: the module's CLUSTER settings.  False: this cluster does without. */
    bool (*applies)(const void *conf);
    /* Connections that look the same to the host have the same mark, and only
     * those are reused for one another.  NULL: all look the same. */
    uint64_t (*mark)(void *wctx, cn_cluster_t *, const void *conf, const cn_uasked_t *);
    /* A stream over lower, which it owns; never NULL: causes show in ready(). */
    cn_stream_t *(*wrap)(void *wctx, cn_cluster_t *, const void *conf, cn_stream_t *lower,
                         const cn_uasked_t *, uint64_t timeout_ms, cn_task_t *owner);
} cn_layer_ops_t;

/* Whether a request may go to a cluster or host, and how it ended (circuit
 * breakers, outlier detection).  All hooks may be NULL. */
typedef struct {
    bool (*admit)(void *wctx, cn_cluster_t *, const void *conf); /* false: overflow */
    void (*release)(void *wctx, cn_cluster_t *, const void *conf);
    bool (*usable)(void *wctx, cn_cluster_t *, const void *conf, cn_host_t *); /* false: ejected */
    void (*report)(void *wctx, cn_cluster_t *, const void *conf, cn_host_t *,
                   unsigned status); /* 0: connection failure */
} cn_admission_ops_t;

#endif
