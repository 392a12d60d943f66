/* SPDX-License-Identifier: Apache-2.0
 *
 * The module contract: everything that a cairn module may use, and the only
 * header (with cairn/transport.h for listeners and transports) that it may
 * include.  html/modules.html builds the `hello` module step by step.
 *
 * A module is one constant struct named cn_module_NAME.  It has no mutable
 * file-scope data: settings live in conf structs, per-worker state in wctx,
 * per-request state in ctx.
 */
#ifndef CN_MODULE_H
#define CN_MODULE_H

#include "conf/conf.h"
#include "conf/section.h"
#include "core/b64.h"
#include "core/chain.h"
#include "core/clock.h"
#include "core/hash.h"
#include "core/inet.h"
#include "core/json.h"
#include "core/list.h"
#include "core/log.h"
#include "core/map.h"
#include "core/multi.h"
#include "core/pool.h"
#include "core/ptree.h"
#include "core/rand.h"
#include "core/slots.h"
#include "core/str.h"
#include "event/loop.h"
#include "http/edit.h"
#include "http/field.h"
#include "http/grpc.h"
#include "http/msg.h"
#include "http/regex.h"
#include "http/uri.h"
#include "policy/denial.h"
#include "policy/rule.h"
#include "stats/series.h"
#include "tls/spiffe.h"
#include "tunnel/tunnel.h"
#include "upstream/cluster.h"
#include "upstream/locality.h"
#include "upstream/registry.h"
#include "upstream/retry.h"
#include "upstream/workload.h"

#define CN_MODULE_ABI 1

typedef struct cn_req cn_req_t;       /* one HTTP request, or one L4 connection (no message) */
typedef struct cn_worker cn_worker_t; /* this process */

/* Phases in the order they run.  Any module may sit in several.  For an L4
 * connection only TUNNEL, REPORT and LOG run. */
typedef enum {
    CN_PH_TUNNEL,   /* L4: destination and peer known, no HTTP */
    CN_PH_HEAD,     /* request head complete and normalised */
    CN_PH_EXTERNAL, /* CUSTOM external authorization: before JWT, as Istio runs it */
    CN_PH_AUTHN,    /* JWT */
    CN_PH_AUTHZ,    /* audit, deny, allow */
    CN_PH_ROUTE,    /* choose route and cluster */
    CN_PH_LIMIT,    /* rate limits: after authz, so that denied requests cost no token */
    CN_PH_FAULT,
    CN_PH_POLICY,    /* cors, redirect, mirror, header edits, rewrite */
    CN_PH_CONTENT,   /* produce a response; the forwarder when nobody does */
    CN_PH_RESP_HEAD, /* response head, local replies too; reverse module order */
    CN_PH_REPORT,    /* every few seconds of an L4 connection or gRPC stream; cannot fail */
    CN_PH_LOG,       /* exactly once per request or L4 connection; cannot fail or wait */
    CN_PH_MAX
} cn_phase_t;

/* Response flags in Envoy's order; names by cn_flags_put. */
typedef enum {
    CN_FLAG_UH = 1 << 0,
    CN_FLAG_UF = 1 << 1,
    CN_FLAG_UO = 1 << 2,
    CN_FLAG_NR = 1 << 3,
    CN_FLAG_URX = 1 << 4,
    CN_FLAG_NC = 1 << 5,
    CN_FLAG_DC = 1 << 6,
    CN_FLAG_UT = 1 << 7,
    CN_FLAG_LR = 1 << 8,
    CN_FLAG_UR = 1 << 9,
    CN_FLAG_UC = 1 << 10,
    CN_FLAG_DI = 1 << 11,
    CN_FLAG_FI = 1 << 12,
    CN_FLAG_RL = 1 << 13,
    CN_FLAG_UAEX = 1 << 14,
    CN_FLAG_DPE = 1 << 15,
    CN_FLAG_UPE = 1 << 16,
    CN_FLAG_SI = 1 << 17,
    CN_FLAG_OM = 1 << 18,
    CN_FLAG_DR = 1 << 19,
    CN_FLAG_RLSE = 1 << 20,
    CN_FLAG_DT = 1 << 21, /* a connection's longest time was over */
    CN_FLAG_DF = 1 << 22  /* a name could not be resolved */
} cn_flag_t;
/* "UF,URX" or "-" into buf (64 bytes, NUL-terminated); in Envoy's printed order. */
size_t cn_flags_put(char *buf, uint32_t flags, bool l4);

/* What is known about a request or L4 connection; filled as it goes on.  Read
 * only for modules.  Pointers may be NULL, strings empty, until known; those to
 * pods may change while a hook waits, so read them again. */
typedef struct {
    const cn_msg_t *req;  /* NULL for L4 */
    const cn_msg_t *resp; /* what the client gets; NULL before there is one */
    const cn_section_t *section;
    const cn_service_conf_t *service;
    const cn_route_t *route;
    const cn_cluster_t *cluster;
    const cn_host_t *host; /* of the last attempt */
    const cn_tunnel_t *tunnel;
    const cn_workload_t *source, *destination; /* the client's and the chosen host's pod */
    cn_addr_t remote; /* client after X-Forwarded-For (port 0 then), else the peer */
    cn_addr_t upstream_local;
    cn_str_t cluster_name;     /* as routed, also when no such cluster exists */
    const cn_str_t *choices;   /* clusters that the route may choose from; empty: an invalid one */
    uint32_t nchoices, choice; /* how many there are, and the one that was chosen */
    cn_str_t original_path;    /* target before a rewrite; empty: not rewritten */
    cn_str_t original_host;    /* authority before a rewrite; empty: not rewritten */
    size_t matched;            /* bytes of the path that the route's condition names ... */
    bool matched_segments;     /* ... as whole segments: the rest is empty or begins with / */
    cn_str_t details;          /* "via_upstream", "route_not_found", ... */
    cn_str_t termination_details; /* L4 denial */
    cn_str_t upstream_failure;    /* transport failure reason */
    cn_str_t sni;              /* L4: server name in the client's TLS hello; empty: none was seen */
    uint64_t start_us;         /* wall clock */
    uint64_t start_ns, end_ns; /* monotonic; end 0 while running */
    uint64_t upstream_ns;      /* until upstream's response head; 0: none */
    uint64_t body_rx, body_tx; /* L4: connection bytes from and to the client */
    uint64_t wire_rx, wire_tx; /* with heads, as on the inner connection */
    uint64_t req_messages, resp_messages; /* of gRPC */
    uint32_t flags;                       /* cn_flag_t */
    uint16_t status;                      /* 0: no response was started */
    uint16_t attempts;
    int16_t grpc_status; /* -1: none */
    bool grpc;           /* by request content-type */
    bool mutual_tls;     /* both identities of the tunnel are known */
} cn_facts_t;

/* What was turned away before there was a request or L4 connection to ask about:
 * a tunnel, or a connection whose handshake failed. */
typedef struct {
    cn_addr_t from;     /* with port; family 0: unknown */
    cn_str_t identity;  /* empty: none was verified */
    cn_str_t authority; /* what the tunnel asked for; empty: it did not get so far */
    cn_str_t details;
    unsigned status; /* of the answer; 0: closed without one */
} cn_refusal_t;

typedef cn_rc cn_phase_fn(cn_req_t *, const void *conf, void *ctx);
/* A part of a body passes: takes all of `in`, appends what goes on to `out`.
 * eos: nothing follows; the trailers (cn_req_trailers) are complete and may be
 * changed.  CN_ERR: it cannot be understood; a request is answered 400, a
 * response broken off. */
typedef cn_rc cn_body_fn(cn_req_t *, void *ctx, cn_chain_t *in, bool eos, cn_chain_t *out);

typedef struct cn_admin_req {
    cn_str_t method, path, query;
    cn_pool_t *pool;
    bool local; /* the client is on this host's loopback */
    /* the answer */
    unsigned status;       /* 200 unless set */
    cn_str_t content_type; /* text/plain; charset=UTF-8 unless set */
    cn_chain_t body;
} cn_admin_req_t;
/* Listeners on which an endpoint answers: `listen ADDR agent|health|metrics|admin`. */
enum { CN_ADMIN_AGENT = 1, CN_ADMIN_HEALTH = 2, CN_ADMIN_METRICS = 4, CN_ADMIN_ADMIN = 8 };
typedef struct {
    const char *path;
    unsigned where;
    const char *methods; /* "GET" or "POST"; HEAD goes with GET */
    void (*handle)(cn_worker_t *, void *wctx, cn_admin_req_t *);
    const char *help;
} cn_admin_t;

struct cn_listener_ops; /* cairn/transport.h */

/* A region of shared memory, as a process sees it. */
typedef struct {
    void *mem; /* zeroed when the master made it; aligned to a cache line */
    size_t size;
    unsigned slots; /* workers that there can be at once */
    unsigned slot;  /* of this worker, below slots; in worker_gone: of the dead one */
} cn_shm_view_t;
/* Memory that all workers share, made by the master before its first fork.  It
 * holds numbers only: no pointers, no locks, nothing that has to be parsed.
 * Each write is a single atomic, or the cell belongs to one slot: a worker may
 * die between any two of them.  What is read may be anything at all when
 * another worker has lost its mind, so bounds come from the view, not from the
 * memory.  A binary upgrade (USR2) starts with a region of its own.  See
 * core/slots.h for rows found by key. */
typedef struct {
    const char *name; /* unique, below 32 bytes; "circuit_breaker.hosts" */
    /* Bytes, from the module's MAIN settings, for so many workers.  Asked for
     * once, by the master at its start: a reload that would change it goes
     * through with the old size, and the log says that it takes a restart. */
    size_t (*size)(const void *main, unsigned slots);
    /* In the master, when a worker has ended (in order or not), before its slot
     * goes to another: take out what only it could have.  NULL: nothing. */
    void (*worker_gone)(const cn_shm_view_t *);
} cn_shm_def_t;

typedef struct cn_module {
    uint32_t abi; /* CN_MODULE_ABI */
    const char *name;
    const char *after, *before; /* place inside phases: one module name each, or NULL */
    const cn_directive_t *directives;
    cn_conf_ops_t conf[CN_LV_MAX];
    const cn_shm_def_t *shm;               /* ends with a NULL name */
    const cn_metric_def_t *const *metrics; /* ends with NULL */
    const cn_admin_t *admin;               /* ends with a NULL path */
    cn_rc (*worker_init)(cn_worker_t *, void **wctx);
    /* Before reconfigured(), for each cluster that the change concerns: it is
     * new, or has other settings, endpoints or files.  gen: whose it is now;
     * NULL: it goes, and only those who hold it may use it further.  There may
     * be thousands, of which a change concerns one: what is known of all of them
     * is kept from these calls instead of asking for all each time. */
    void (*cluster)(cn_worker_t *, void *wctx, cn_cluster_t *, const cn_gen_t *gen);
    /* A new generation is in force (also the first). main: conf of MAIN level. */
    void (*reconfigured)(cn_worker_t *, void *wctx, const void *main);
    void (*reopen)(cn_worker_t *, void *wctx); /* log files were moved away (USR1) */
    /* The worker begins to drain: what waits on purpose ends its wait. */
    void (*drain)(cn_worker_t *, void *wctx);
    /* Something was turned away; it has been counted and logged. */
    void (*refused)(cn_worker_t *, void *wctx, const cn_refusal_t *);
    void (*worker_fini)(cn_worker_t *, void *wctx);
    size_t ctx_size; /* per request, zeroed before its first hook, in the request's pool */
    void (*ctx_fini)(cn_req_t *, void *ctx); /* the request ends: stop timers, sub-requests */
    /* Hooks.  conf: the module's settings of the most specific level that it
     * has settings on and that is known: route, else service, else main.
     * CN_OK: next module.  CN_AGAIN: parked until cn_req_wake() or a timer of
     * the module, the same hook runs again.  CN_DONE: a reply was set (in
     * RESP_HEAD: in place of the host's response).  CN_DECLINE: not mine, same as OK.
     * CN_ERR: cn_req_fail or reply recorded.  A module without `active`, or
     * for whose conf it says false, is not called for that section. */
    cn_phase_fn *phase[CN_PH_MAX];
    /* Is there anything to do with this conf in this phase?  Asked once per
     * section or route; NULL: always. */
    bool (*active)(const void *conf, cn_phase_t);
    /* For requests on which the module called cn_req_filter(): requests pass in
     * module order, responses in reverse.  Local replies do not pass. */
    cn_body_fn *req_body, *resp_body;
    const struct cn_listener_ops *const *listeners; /* ends with NULL */
    const cn_transport_ops_t *transport;
    const cn_layer_ops_t *layer;
    const cn_admission_ops_t *admission;
    const cn_lb_ops_t *const *lb; /* ends with NULL */
} cn_module_t;

/* Generated by configure: in phase order, core units first. */
extern const cn_module_t *const cn_modules[];
extern const unsigned cn_nmodules;
extern const cn_conf_absent_t cn_modules_absent[];

/* ---- requests ---- */
const cn_facts_t *cn_req_facts(const cn_req_t *);
cn_worker_t *cn_req_worker(const cn_req_t *);
cn_pool_t *cn_req_pool(cn_req_t *);
/* The message to edit: request before CONTENT, response in RESP_HEAD.  NULL for L4. */
cn_msg_t *cn_req_edit(cn_req_t *);
/* Forward another target (path with query) or authority than the client asked
 * for.  What was there before the first call stays in facts and goes along as
 * x-envoy-original-path or -host.  Strings must live as long as the request. */
void cn_req_set_target(cn_req_t *, cn_str_t target);
void cn_req_set_authority(cn_req_t *, cn_str_t authority);
/* Bodies of this request and its response pass the module's body hooks.  From a
 * hook before CONTENT, in which the module has also made the head fit what the
 * body becomes (no content-length, another content-type). */
void cn_req_filter(cn_req_t *, const cn_module_t *);
/* Trailers of the request or response, once all of its body has come. */
cn_headers_t *cn_req_trailers(cn_req_t *, bool response);
/* Wakes a parked request. */
void cn_req_wake(cn_req_t *);
/* Its task, for the module's own timers. */
cn_task_t *cn_req_task(cn_req_t *);
/* A local reply (gRPC requests get the mapped form); return CN_DONE after it.
 * body may be empty; details is kept by pointer and must outlive the request. */
void cn_req_reply(cn_req_t *, unsigned status, cn_str_t body, cn_str_t details, uint32_t flags);
/* A header for the local reply just set; a content-type takes the place of text/plain. */
void cn_req_reply_header(cn_req_t *, cn_str_t name, cn_str_t value);
/* What a gRPC client gets for it, in place of what its HTTP status maps to. */
void cn_req_reply_grpc(cn_req_t *, unsigned grpc_status);
/* Adds response flags without a reply. */
void cn_req_flag(cn_req_t *, uint32_t flags);
/* L4: end the connection; return CN_DONE after it. */
void cn_req_refuse(cn_req_t *, cn_str_t termination_details);
/* Adds response flags (cn_flag_t). */
void cn_req_add_flags(cn_req_t *, uint32_t flags);
void cn_req_set_route(cn_req_t *, const cn_route_t *);
/* How much of the path the route's condition names: what a prefix rewrite replaces. */
void cn_req_set_matched(cn_req_t *, size_t n, bool segments);
void cn_req_set_cluster(cn_req_t *, cn_str_t name);
/* For the module that routes: what may be chosen from; the array lives as long as the request. */
void cn_req_set_choices(cn_req_t *, const cn_str_t *clusters, uint32_t n);
/* Chooses one of them: its cluster, unless it is an invalid one. */
void cn_req_choose(cn_req_t *, uint32_t choice);
/* The endpoint of its cluster that the request goes to, when that is there and fit to serve. */
void cn_req_prefer(cn_req_t *, const cn_addr_t *);
/* The address of the host, instead of one of the cluster's endpoints; the
 * caller vouches that the client may go there. */
void cn_req_set_destination(cn_req_t *, const cn_addr_t *);
/* The next value of a claim of the request's verified token: start with *iter
 * = 0; false when there is none left.  A dotted path leads into nested claims;
 * a list has several values.  Nothing while no module gives claims. */
bool cn_req_claim_next(const cn_req_t *, cn_str_t path, uint32_t *iter, cn_str_t *value);
/* For the module that verifies tokens: how claims are read from now on.
 * claims is handed to fn and must outlive the request. */
typedef bool cn_claim_fn(const void *claims, cn_str_t path, uint32_t *iter, cn_str_t *value);
void cn_req_set_claims(cn_req_t *, cn_claim_fn *fn, const void *claims);
/* Adds a line to the account of how this request was decided; free unless
 * somebody asked (cairn explain, debug log). */
bool cn_req_explaining(const cn_req_t *);
/* The request is made up (cairn explain): nothing is sent, waited for or counted. */
bool cn_req_dry(const cn_req_t *);
void cn_req_explain(cn_req_t *, const char *fmt, ...) CN_PRINTF(2, 3);

/* ---- how it is forwarded: set before CONTENT ---- */

/* The policy must live as long as the request (its section does). */
void cn_req_set_retry(cn_req_t *, const cn_retry_policy_t *);
/* Milliseconds, 0: none.  request: from the complete request (of gRPC: from its
 * head) to the complete response, over all attempts.  try: to the response head
 * of one attempt.  idle: without a byte in either direction.  Where this is not
 * called only idle has a limit: CN_REQ_IDLE_MS. */
#define CN_REQ_IDLE_MS 3600000u
void cn_req_set_timeouts(cn_req_t *, uint64_t request_ms, uint64_t try_ms, uint64_t idle_ms);

/* Sends a copy of the request to another cluster when it is forwarded, head and
 * body, as it is then; its response is dropped.  It never delays or fails the
 * request: a mirror that is too slow, too large or one too many is given up.
 * Several may be asked for.  The name must live as long as the request. */
void cn_req_mirror(cn_req_t *, cn_str_t cluster);

/* ---- calls: requests of our own ---- */

/* A request to a cluster: for a rate limit or authorization service, a mirror, a
 * collector.  The cluster's balancer chooses the host, its transport reaches it;
 * there is no retry and no access log line.  A call may outlive the request that
 * it was made for; who started it closes it, at the latest in ctx_fini or
 * worker_fini. */
typedef struct cn_call cn_call_t;
typedef enum {
    CN_CALL_NONE,       /* has not failed */
    CN_CALL_NO_CLUSTER, /* no cluster of that name */
    CN_CALL_NO_HOST,    /* no healthy endpoint */
    CN_CALL_OVERFLOW,   /* the cluster's limits refuse it */
    CN_CALL_CONNECT,    /* could not connect: nothing was sent */
    CN_CALL_LOST,       /* connection lost or stream reset before the response was complete */
    CN_CALL_PROTOCOL,   /* the response is malformed */
    CN_CALL_TOO_LARGE,  /* its body is larger than max_body */
    CN_CALL_TIMEOUT,
    CN_CALL_STOPPED /* the worker ends */
} cn_call_cause;

typedef struct {
    cn_str_t cluster;
    const cn_msg_t *msg;     /* head to send, has_body ignored; copied whole */
    cn_chain_t *body;        /* taken over; NULL or empty: none */
    bool more;               /* cn_call_send() will bring more of the body */
    uint64_t timeout_ms;     /* until the response is complete; 0: none */
    size_t max_body;         /* of the response; a larger one fails the call */
    bool discard;            /* drop the response's body, however large */
    bool repeatable;         /* may be sent again when a kept connection was lost under it */
    cn_http_version version; /* CN_HTTP_2 for gRPC; CN_HTTP_UNKNOWN: as the cluster declares */
    uint16_t port;           /* for endpoints without a port of their own */
    cn_task_t *owner;        /* woken with `why` on each progress of note; NULL: nobody */
    uint32_t why;            /* for cn_req_task(): CN_WAKE_USER, the hook runs again */
} cn_call_conf_t;

/* Never NULL; a failure shows in cn_call_result(), and wakes the owner. */
cn_call_t *cn_call_start(cn_worker_t *, const cn_call_conf_t *);
/* CN_AGAIN: under way; CN_OK: the response is complete; CN_ERR: see cause. */
CN_MUST cn_rc cn_call_result(const cn_call_t *);
cn_call_cause cn_call_failure(const cn_call_t *);
/* For logs: of the cause, never NULL. */
const char *cn_call_failure_text(const cn_call_t *);
/* Head, and trailers once complete; NULL before.  Lives as long as the call. */
const cn_msg_t *cn_call_response(const cn_call_t *);
/* What has arrived of its body; the caller may take from it. */
cn_chain_t *cn_call_body(cn_call_t *);
/* More of a body that was started with `more`; takes all of src.  eos: this is
 * the end of it. */
void cn_call_send(cn_call_t *, cn_chain_t *src, bool eos);
/* Bytes of the body that the host has not taken yet. */
size_t cn_call_pending(const cn_call_t *);
/* The host of the call, or NULL. */
const cn_host_t *cn_call_host(const cn_call_t *);
/* At any time, in any state: cancels what is under way and frees the call. */
void cn_call_close(cn_call_t *);
/* Fire and forget: it goes on without an owner and frees itself. */
void cn_call_detach(cn_call_t *);

/* ---- worker ---- */
cn_loop_t *cn_worker_loop(cn_worker_t *);
cn_rand_t *cn_worker_rand(cn_worker_t *);
const cn_gen_t *cn_worker_gen(cn_worker_t *);
unsigned cn_worker_id(const cn_worker_t *);
/* One of the module's regions; from the first reconfigured() on, and the same
 * for as long as the worker lives. */
cn_shm_view_t cn_worker_shm(const cn_worker_t *, const cn_shm_def_t *);
bool cn_worker_draining(const cn_worker_t *);
/* `network` of the mesh block; empty: none was given. */
cn_str_t cn_worker_network(cn_worker_t *);
cn_clusters_t *cn_worker_clusters(cn_worker_t *);
/* Closes the worker's connection to the cluster that idles for the longest; false: none idles. */
bool cn_worker_evict(cn_worker_t *, cn_cluster_t *);
const cn_workloads_t *cn_worker_workloads(cn_worker_t *);
cn_stats_t *cn_worker_stats(cn_worker_t *);
/* The module's own worker context (what worker_init stored). */
void *cn_worker_module(cn_worker_t *, const cn_module_t *);
/* Its settings in a section: of a cluster (c->section), a service or MAIN. */
const void *cn_worker_conf(const cn_worker_t *, const cn_module_t *, const cn_section_t *);
/* Family number of one of the module's metrics, for cn_stats_series(). */
unsigned cn_worker_metric(cn_worker_t *, const cn_metric_def_t *);

#endif
