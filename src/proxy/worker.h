/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker's context, passed to everything that runs in a worker.  Made by
 * main/worker.c (and by `cairn explain` and unit tests, with less in it).
 */
#ifndef CN_PROXY_WORKER_H
#define CN_PROXY_WORKER_H

#include "cairn/transport.h"
#include "proxy/budget.h"
#include "proxy/shared.h"
#include "upstream/pool.h"

/* What becomes of x-forwarded-client-cert. */
typedef enum {
    CN_CLIENT_CERT_REMOVE,
    CN_CLIENT_CERT_SET,
    CN_CLIENT_CERT_APPEND,
    CN_CLIENT_CERT_PASS
} cn_client_cert;

/* MAIN-level settings of the core (proxy/conf.c): mesh identity and request handling. */
typedef struct {
    cn_str_t trust_domain;
    cn_vec_t trust_domain_aliases; /* cn_str_t */
    cn_str_t cert_file, key_file, bundle_file;
    cn_str_t network, cluster_id;
    cn_str_t workloads;     /* file of known pods */
    int path_normalization; /* cn_uri_normalize */
    cn_str_t server_header; /* "istio-envoy"; empty: the upstream's is kept */
    bool request_id;        /* make x-request-id when absent */
    bool forwarded_proto;   /* the same for x-forwarded-proto */
    bool forwarded_port;    /* the same for x-forwarded-port */
    bool append_forwarded_for;
    bool envoy_headers;       /* a client's instructions to Envoy go on to hosts */
    bool service_time;        /* tell clients x-envoy-upstream-service-time */
    int client_cert;          /* cn_client_cert: x-forwarded-client-cert */
    bool trust_forwarded_for; /* the last X-Forwarded-For address is the client's */
    cn_h1_limits_t h1_limits;
    uint64_t idle_ms, head_ms; /* inner HTTP/1 connections */
    uint64_t drain_idle_ms;    /* the same while the worker drains */
    uint64_t l4_idle_ms;
    uint64_t endpoint_drain_ms; /* of requests to a host that left; 0: no limit */
    uint32_t max_tunnels;       /* per worker */
    uint64_t max_memory;        /* bytes of traffic, per worker */
    uint32_t random_seed;       /* 0: from the system */
} cn_proxy_conf_t;
extern const cn_conf_unit_t cn_proxy_unit;

struct cn_worker {
    cn_loop_t *loop;
    unsigned id;
    bool draining;
    cn_gen_t *gen;               /* in force */
    const cn_proxy_conf_t *conf; /* of gen->main */
    cn_tls_ctx_t *tls;           /* NULL before the first identity */
    uint64_t tls_hash;           /* of what it was made from */
    uint64_t cert_hash;          /* of its certificate, which is not judged by the clock again */
    bool checked;                /* what it takes was judged by another process */
    const cn_pause_t *pause;     /* a generation is put in force with these; NULL: in one go */
    cn_clusters_t *clusters;
    cn_workloads_t *workloads; /* may be NULL */
    uint64_t workloads_hash;
    cn_upool_t *upool;
    cn_task_t leave; /* leave.c */
    cn_timer_t leave_timer;
    cn_stats_t *stats;
    cn_shared_t *shared; /* the modules' shared memory */
    bool shared_own;     /* made by this worker, which is alone */
    cn_rand_t rand;
    uint32_t seed;    /* that rand was made from, 0: the system's */
    void **wctx;      /* by module index */
    uint32_t tunnels; /* now open */
    cn_budget_t budget;
    cn_series_t *tunnels_open, *requests_active, *mirrors, *mirrors_given_up;
    bool stopping;              /* in cn_worker_fini() */
    cn_list_t inner;            /* tunnels being served */
    cn_list_t reqs;             /* requests and L4 connections now running */
    cn_list_t calls;            /* requests of our own, ended ones too */
    uint32_t detached;          /* those that nobody owns */
    cn_admissions_t admissions; /* of the modules */
    cn_transport_t *transports; /* of the modules */
    unsigned ntransports;
    cn_layer_t *layers; /* of the modules */
    unsigned nlayers;
    cn_balancer_t *balancers; /* of the modules */
    const cn_units_t *units;
    const cn_metric_def_t **metric_defs;
    unsigned nmetric_defs;
    uint64_t date_s; /* second that `date` was made for */
    char date[CN_CLOCK_HTTP_LEN];
};

/* Opens pools, registries and the modules' worker contexts.  stats may be NULL
 * (explain). CN_ERR: logged. */
CN_MUST cn_rc cn_worker_init(cn_worker_t *, cn_loop_t *, unsigned id, cn_stats_t *);
/* The modules' shared memory, before the first generation; without it the first
 * generation makes a private one. */
void cn_worker_share(cn_worker_t *, cn_shared_t *);
/* Puts a generation in force: takes a reference, updates clusters, workloads
 * and identity, tells the modules.  With pauses, requests in between find the
 * services of the old one, or of the new one, and the clusters of both.  One call
 * of this or the next at a time.  CN_ERR (logged, *why in pool): something it names
 * cannot be loaded; the old one stays. */
CN_MUST cn_rc cn_worker_apply(cn_worker_t *, cn_gen_t *, cn_pool_t *pool, cn_str_t *why);
/* Changes the generation in force by a patch of it, whose number is then id: at
 * once, after what may take long.  CN_ERR: as above. */
CN_MUST cn_rc cn_worker_patch(cn_worker_t *, const cn_patch_t *, uint64_t id, cn_pool_t *pool,
                              cn_str_t *why);
/* Log files were moved away: tells the modules. */
void cn_worker_reopen(cn_worker_t *);
/* Listeners go first (main); here: inner connections. */
void cn_worker_drain(cn_worker_t *);
void cn_worker_fini(cn_worker_t *);

/* All metric families of core and modules, for cn_stats_open; the caller frees
 * the array. */
const cn_metric_def_t **cn_worker_metric_defs(unsigned *n);
/* Core units (main_unit is the program's own) followed by the modules; see
 * CN_UNIT_* of conf/section.h.  Lives until the process ends. */
const cn_units_t *cn_worker_units_create(const cn_conf_unit_t *main_unit);

/* `cairn explain`: runs phases up to POLICY on a made-up request, without
 * sending anything.  lines collects the account. */
typedef struct {
    cn_tunnel_t tunnel; /* section pinned by the caller, freed by the call */
    cn_msg_t *msg;
    /* results */
    unsigned status; /* 0: would be forwarded; else the local reply */
    cn_str_t details;
    cn_str_t route, cluster, host;
    cn_vec_t lines; /* cn_str_t in tunnel.pool */
} cn_explain_t;
void cn_req_explain_run(cn_worker_t *, cn_explain_t *);

#endif
