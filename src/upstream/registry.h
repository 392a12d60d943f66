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

struct cn_req;
struct cn_admissions;

/* What a balancer is told.  All hosts that it gives must be usable. */
typedef struct {
    cn_rand_t *rand;
    uint64_t hash;           /* for hashing balancers; 0: none */
    cn_host_t *const *tried; /* hosts to avoid when others are there */
    unsigned ntried;
    bool other_localities; /* avoid the localities of those, too */
    struct cn_req *req;    /* for modules (cn_req_facts); NULL: a call of our own */
    const struct cn_admissions *admissions; /* NULL: every host may be used */
    /* A host that is wanted, as of a session: it is taken when it is there and
     * healthy or draining, whatever the balancer would say. */
    cn_host_t *prefer;
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

/* A balancer with the place of its module's settings. */
typedef struct cn_balancer {
    const cn_lb_ops_t *ops;
    unsigned unit;
} cn_balancer_t;

/* A host of the cluster, by its balancer; NULL: there is no healthy one. */
cn_host_t *cn_cluster_pick(cn_cluster_t *, const cn_pick_t *);
/* Nobody forbids the host, such as outlier detection; its own health is another matter. */
bool cn_cluster_admits(cn_cluster_t *, const cn_pick_t *, cn_host_t *);
/* How things are with the cluster, apart from its configuration. */
typedef struct {
    uint64_t epoch;         /* another number whenever an answer of cn_cluster_admits() changes */
    uint32_t panic_percent; /* with fewer usable hosts of a hundred, all are chosen from */
} cn_cluster_look_t;
cn_cluster_look_t cn_cluster_look(cn_cluster_t *, const cn_pick_t *);

typedef enum { CN_SPOKEN_BYTES, CN_SPOKEN_HTTP1, CN_SPOKEN_HTTP2 } cn_spoken;
/* What the client asked for, as far as the way to a host depends on it. */
typedef struct {
    cn_addr_t source; /* the client */
    cn_addr_t dest;   /* of its CONNECT, unless a module chose another address */
    cn_str_t name;    /* host of the request or of its TLS hello; empty: not known */
    cn_spoken spoken; /* set by the pool: what goes over the stream */
} cn_uasked_t;

/* A way to reach a host. */
typedef struct {
    cn_tunnel_kind kind;
    /* A stream to a host of the cluster, not ready yet; with asked->dest's port
     * when the host has none.  Bytes are the client's alone, HTTP may be that of
     * others later.  Never NULL: causes show in ready(). */
    cn_stream_t *(*open)(void *wctx, const cn_cluster_t *, cn_host_t *host,
                         const cn_uasked_t *asked, uint64_t timeout_ms, cn_task_t *owner);
    /* The host has left or its identity changed: retire shared sessions. */
    void (*retire)(void *wctx, cn_host_t *host);
} cn_transport_ops_t;

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

/* What a cluster may have at most. */
typedef enum {
    CN_ADMIT_REQUEST,    /* attempts under way, also those that wait for a connection */
    CN_ADMIT_PENDING,    /* attempts that wait for a connection, also for one that is being made */
    CN_ADMIT_RETRY,      /* second and further attempts, from their back-off on */
    CN_ADMIT_CONNECTION, /* connections, idle ones too; HTTP/2 sessions; L4 connections */
    CN_ADMIT_MAX
} cn_admit_kind;

typedef enum {
    CN_OUT_RESPONSE, /* a response head arrived */
    CN_OUT_CONNECT,  /* could not connect, or the tunnel was refused */
    CN_OUT_CONNECT_TIMEOUT,
    CN_OUT_TIMEOUT, /* no response in time */
    CN_OUT_RESET,   /* connection lost or stream reset before a response */
    CN_OUT_PROTOCOL /* the response was malformed */
} cn_out_how;

/* How an attempt ended. */
typedef struct {
    cn_out_how how;
    uint16_t status;     /* RESPONSE; L4: 0 once connected */
    int16_t grpc_status; /* RESPONSE with one in its head; else -1 */
    uint64_t latency_ns; /* since the attempt began */
} cn_outcome_t;

/* Takes numbers with their names, for operators: "default_priority::max_requests". */
typedef struct {
    void (*put)(void *ctx, const char *name, uint64_t value);
    void *ctx;
} cn_describe_t;

/* Whether a request may go to a cluster or host, and how it ended (circuit
 * breakers, outlier detection).  All hooks may be NULL.  conf: the module's
 * settings of the cluster, the same in admit and its release although the
 * cluster may have got others in between; counts belong to the cluster, not to
 * them. */
typedef struct {
    bool (*admit)(void *wctx, cn_cluster_t *, const void *conf, cn_admit_kind); /* false: full */
    void (*release)(void *wctx, cn_cluster_t *, const void *conf, cn_admit_kind);
    /* A request of this worker waits for a connection that was refused; again every
     * few milliseconds for as long as it does. */
    void (*wait)(void *wctx, cn_cluster_t *, const void *conf);
    /* One of its connections can be spared now.  True: close it, another worker
     * waits for one.  asked: requests of this worker wait too. */
    bool (*spare)(void *wctx, cn_cluster_t *, const void *conf, bool asked);
    bool (*usable)(void *wctx, cn_cluster_t *, const void *conf, cn_host_t *); /* false: ejected */
    /* Adds to epoch, and may raise panic_percent. */
    void (*look)(void *wctx, cn_cluster_t *, const void *conf, cn_cluster_look_t *);
    void (*report)(void *wctx, cn_cluster_t *, const void *conf, cn_host_t *, const cn_outcome_t *);
    /* Limits and counts of the cluster (host NULL) or of one of its hosts. */
    void (*describe)(void *wctx, cn_cluster_t *, const void *conf, const cn_host_t *,
                     const cn_describe_t *);
} cn_admission_ops_t;

#endif
