/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters and their hosts at run time.  A cluster is looked up by name when a
 * request is forwarded, so it may change under a pinned section.  Hosts
 * survive changes of the endpoint set by address, with their pools, counts and
 * health; a host that has left gets no new request.
 */
#ifndef CN_UPSTREAM_CLUSTER_H
#define CN_UPSTREAM_CLUSTER_H

#include "conf/section.h"
#include "core/inet.h"
#include "core/list.h"
#include "core/rand.h"
#include "event/sock.h"
#include "upstream/locality.h"
#include "upstream/workload.h"

typedef struct cn_cluster cn_cluster_t;
typedef struct cn_clusters cn_clusters_t; /* all of a worker's */
typedef struct cn_host cn_host_t;
typedef struct cn_upstream cn_upstream_t; /* connection pools; upstream/pool.h */

typedef enum {
    CN_PROTO_AUTO,
    CN_PROTO_HTTP1,
    CN_PROTO_HTTP2,
    CN_PROTO_GRPC,
    CN_PROTO_TCP,
    CN_PROTO_TLS /* of services: TCP that begins with a TLS hello */
} cn_proto;
typedef enum { CN_TUNNEL_NONE, CN_TUNNEL_HBONE } cn_tunnel_kind;

/* Where a host is and what it is; shared by neighbours that say the same. */
typedef struct {
    uint32_t refs;
    cn_str_t gateway_identity; /* of the gateway to it; empty: any of the mesh */
    cn_locality_t locality;
    cn_str_t node, network;
    cn_str_t labels; /* of the pod: "app=reviews,version=v1" */
} cn_place_t;

/* There are tens of thousands: what few of them need is not in here. */
struct cn_host {
    cn_list_t idle;          /* pool.c: idle connections, newest first */
    cn_list_t sessions;      /* h2share.c: HTTP/2 sessions that take requests, oldest first */
    cn_list_t tunnels;       /* transports: shared outer sessions */
    void *lb;                /* private to the balancer */
    cn_str_t identity;       /* exact SPIFFE URI to expect; empty: any of the mesh */
    const cn_place_t *place; /* never NULL */
    uint64_t fresh_ns;       /* monotonic: since when it is there, or healthy again */
    uint32_t refs;           /* cluster, pools, requests */
    uint32_t weight;
    uint32_t active;       /* requests and relays now on it, in this worker */
    uint32_t left;         /* which departure of all this is; 0: it takes requests */
    cn_addr_t addr;        /* port 0: the port that the client asked for (workload) */
    cn_addr_t tunnel_addr; /* where the tunnel ends: same IP, 15008 unless said */
    uint8_t tunnel;        /* cn_tunnel_kind */
    /* The gateway of another network: tunnel_addr is where it is, who has the
     * identity is in a second tunnel inside of the one to it. */
    bool doubled;
    bool healthy;  /* as configured (readiness) */
    bool draining; /* not healthy: keeps the sessions it has, gets no new ones */
    bool gone;     /* no longer in the set */
    bool outside;  /* a name service or a client named it: who knows how far it is */
    bool cut;      /* what still runs on it has had its time, and is ended */
};

cn_host_t *cn_host_ref(cn_host_t *);
void cn_host_unref(cn_host_t *);
/* It takes no request: not in the set, or not ready. */
static inline bool cn_host_is_out(const cn_host_t *h)
{
    return h->gone || (!h->healthy && !h->draining);
}

/* CLUSTER-level settings of the core (upstream/conf.c). */
typedef struct {
    cn_str_t host; /* FQDN, for labels: reviews-v1.bookinfo.svc.cluster.local */
    cn_str_t service_name, service_namespace;
    uint32_t service_port;
    cn_str_t alias;       /* name in logs: inbound-vip|9080|http|reviews-v1... */
    int protocol;         /* cn_proto */
    bool client_protocol; /* the client's HTTP version, whatever is declared */
    cn_str_t lb;          /* balancer by name */
    uint64_t connect_timeout_ms;
    uint64_t idle_ms;           /* idle pooled connections */
    uint32_t max_conn_requests; /* of one connection, over its life; 0: no limit */
    uint32_t max_streams;       /* at once on an HTTP/2 connection; 0: as the peer allows */
    uint64_t ping_ms;           /* PINGs on HTTP/2 connections; 0: none */
    uint64_t ping_timeout_ms;   /* for the answer to one */
    bool original_destination;  /* no set of endpoints: where the client wanted to go */
    uint64_t tcp_idle_ms;       /* L4 connections; UINT64_MAX: as MAIN says */
    /* Of connections that are not in a tunnel; dead_ms UINT64_MAX: as is fit for the host. */
    cn_sock_watch_t watch;
    uint64_t max_conn_ms; /* life of an L4 connection; 0: no limit */
    uint64_t drain_ms;    /* of requests to a host that left; 0: no limit, UINT64_MAX: as MAIN */
    cn_str_t endpoints;   /* file, or empty */
    cn_vec_t inline_endpoints; /* cn_str_t: `endpoint ADDR k=v...;` lines */
    bool doubled;              /* some are gateways of other networks */
} cn_cluster_conf_t;

struct cn_cluster {
    uint32_t refs;
    cn_section_t *section; /* pinned; level CLUSTER */
    const cn_cluster_conf_t *conf;
    cn_host_t **hosts; /* all present, in file order */
    uint32_t nhosts;
    uint64_t hosts_hash;
    cn_str_t resolved; /* endpoint lines of cn_clusters_set_resolved(), heap memory */
    cn_map_t passed;   /* bytes of an address -> cn_host_t: see cn_clusters_pass() */
    const struct cn_lb_ops *lb;
    const void *lb_conf;  /* CLUSTER settings of the module that brings it */
    void *lb_ctx;         /* balancer's state for this host set */
    uint32_t connections; /* of this worker; counted where there are admission hooks */
};

/* tcp_dead_timeout of hosts that are outside, unless it is configured: for as
 * long as the internet may lose what is sent. */
#define CN_OUTSIDE_DEAD_MS 15000u

/* One endpoint as text: "10.0.0.5:9080 weight=1 health=ok tunnel=hbone
 * identity=spiffe://... locality=region/zone/subzone node=NAME network=NAME
 * labels=app=reviews,version=v1".  health: ok | unhealthy | draining.
 * tunnel: none | hbone | double_hbone; the last one with gateway_identity=. */
#define CN_ENDPOINT_LABELS 4096u /* bytes of labels at most */
typedef struct {
    cn_addr_t addr;
    uint32_t weight;
    bool healthy;
    bool draining;
    cn_tunnel_kind tunnel;
    cn_addr_t tunnel_addr;
    cn_str_t identity;
    bool doubled;
    cn_str_t gateway_identity;
    cn_locality_t locality;
    cn_str_t node, network, labels;
} cn_endpoint_t;
/* As an endpoint line says it: "none", "hbone", "double_hbone". */
cn_str_t cn_host_tunnel(const cn_host_t *);
/* Is KEY=VALUE (or, without '=', the key with any value) among a host's labels? */
bool cn_host_labels_have(cn_str_t labels, cn_str_t pair);
/* The value of a key; empty: it is not there. */
cn_str_t cn_host_labels_get(cn_str_t labels, cn_str_t key);
/* CN_ERR: *why says what is wrong (constant text). */
CN_MUST cn_rc cn_endpoint_parse(cn_str_t line, cn_endpoint_t *, const char **why);

/* The balancers that clusters may name; the array is kept by pointer. */
struct cn_balancer;
cn_clusters_t *cn_clusters_create(const struct cn_balancer *balancers, unsigned n);
void cn_clusters_destroy(cn_clusters_t *);
/* Makes the set what the generation says; keeps clusters and hosts that stay. */
void cn_clusters_update(cn_clusters_t *, const cn_gen_t *);
/* Its two halves, with pauses (NULL: none): first all that the generation has, so
 * that its routes find their clusters and those of the one before still do; then
 * what it does not have goes. */
void cn_clusters_put_all(cn_clusters_t *, const cn_gen_t *, const cn_pause_t *);
void cn_clusters_drop_others(cn_clusters_t *, const cn_gen_t *, const cn_pause_t *);
/* The same for the clusters of these names (cn_str_t) only. */
void cn_clusters_patch(cn_clusters_t *, const cn_gen_t *, const cn_vec_t *names);
/* fn is told of each host that takes no requests from an update on, once, during
 * that update.  It says until when what runs on the host may last, in a time of
 * its choice; 0: nothing does, or for as long as it likes.  The cluster may be
 * one that goes. */
typedef uint64_t cn_host_left_cb(void *ctx, const cn_cluster_t *, cn_host_t *);
void cn_clusters_on_left(cn_clusters_t *, cn_host_left_cb *fn, void *ctx);
/* fn is told of each cluster that an update looks at, once it is as gen says, and
 * before one goes (gen NULL).  The name that it was told before is still good. */
typedef void cn_cluster_seen_cb(void *ctx, cn_cluster_t *, const cn_gen_t *gen);
void cn_clusters_on_seen(cn_clusters_t *, cn_cluster_seen_cb *fn, void *ctx);
/* Marks hosts as cut whose time is over, unless they came back; true: there are
 * some.  *next: when it is to be called again; UINT64_MAX: nobody waits. */
bool cn_clusters_cut(cn_clusters_t *, uint64_t now, uint64_t *next);
/* NULL: no such cluster.  The pointer is good until the next update; ref to keep. */
cn_cluster_t *cn_clusters_find(cn_clusters_t *, cn_str_t name);
/* The host at an address with its port, or NULL. */
cn_host_t *cn_cluster_host(const cn_cluster_t *, const cn_addr_t *);
cn_cluster_t *cn_cluster_ref(cn_cluster_t *);
void cn_cluster_unref(cn_cluster_t *);
/* More endpoints, as lines of an endpoints file, in place of those of the last
 * call: the answers of a name service.  Bad lines are left out.  They stay when
 * the configuration changes. */
void cn_clusters_set_resolved(cn_clusters_t *, cn_cluster_t *, cn_str_t lines);
/* The host at an address that a client may choose: made when it is new, and
 * forgotten when many others came and nothing runs on it.  NULL: no address, or
 * too many of them are in use. */
cn_host_t *cn_clusters_pass(cn_clusters_t *, cn_cluster_t *, const cn_addr_t *);
/* Visits all; start with *iter = 0, NULL ends. */
cn_cluster_t *cn_clusters_next(cn_clusters_t *, size_t *iter);

extern const cn_conf_unit_t cn_upstream_unit;

#endif
