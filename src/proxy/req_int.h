/* SPDX-License-Identifier: Apache-2.0
 *
 * The request object, private to src/proxy.  One struct for both kinds of
 * traffic: an HTTP request (down is set) and an L4 connection (client is set).
 *
 * Owner: the request owns itself; it ends in cn_req_finish(), which logs it
 * exactly once.  Its memory is its pool.
 */
#ifndef CN_PROXY_REQ_INT_H
#define CN_PROXY_REQ_INT_H

#include "http/grpc.h"
#include "proxy/phase.h"
#include "proxy/worker.h"

typedef enum {
    CN_RQ_HEAD,    /* request head is arriving                -> PHASES, RESPOND (bad head), END */
    CN_RQ_PHASES,  /* hooks HEAD .. CONTENT                   -> FORWARD, RESPOND (local reply) */
    CN_RQ_FORWARD, /* sent to a host; its response head is due -> RESPOND */
    CN_RQ_RESPOND, /* hooks RESP_HEAD, head to the client     -> BODY */
    CN_RQ_BODY,    /* body to the client                      -> END */
    CN_RQ_L4,      /* hooks TUNNEL                            -> CONNECT, END (refused) */
    CN_RQ_CONNECT, /* L4: connecting to a host                -> RELAY, END */
    CN_RQ_RELAY,   /* L4: bytes both ways                     -> END */
    CN_RQ_EXPLAIN, /* no traffic: cairn explain */
    CN_RQ_END
} cn_req_state;

/* Own wake reasons. */
enum {
    CN_RQ_WAKE_HOOK = CN_WAKE_USER,
    CN_RQ_WAKE_REPORT = CN_WAKE_USER << 1,
    CN_RQ_WAKE_IDLE = CN_WAKE_USER << 2,
    CN_RQ_WAKE_TIMEOUT = CN_WAKE_USER << 3,
    CN_RQ_WAKE_TRY = CN_WAKE_USER << 4,
    CN_RQ_WAKE_AGAIN = CN_WAKE_USER << 5, /* end of a back-off, or a connection may be had */
    CN_RQ_WAKE_LIFE = CN_WAKE_USER << 6,  /* L4: it has lasted long enough */
    CN_RQ_WAKE_CUT = CN_WAKE_USER << 7    /* its host has left, and its time there is over */
};
/* Those that are no business of modules. */
#define CN_RQ_WAKE_OWN                                                                             \
    (CN_RQ_WAKE_IDLE | CN_RQ_WAKE_TIMEOUT | CN_RQ_WAKE_TRY | CN_RQ_WAKE_AGAIN | CN_RQ_WAKE_CUT)

#define CN_RQ_TRIED 8

/* Where the forwarder is (forward.c). */
typedef enum {
    CN_UP_NONE,    /* no attempt                            -> WAIT, SENT */
    CN_UP_WAIT,    /* all the cluster's connections are busy -> SENT, NONE (failed) */
    CN_UP_SENT,    /* a host's exchange has the head        -> BACKOFF, NONE */
    CN_UP_BACKOFF, /* the next attempt is due later         -> WAIT, SENT, NONE */
} cn_up_state;

/* Why an attempt has no response that could be passed on. */
typedef enum {
    CN_FAIL_CONNECT,     /* nothing was sent */
    CN_FAIL_UNPROCESSED, /* the host says that it did nothing */
    CN_FAIL_RESET,       /* lost, or a malformed response */
    CN_FAIL_TIMEOUT,     /* no response head within the time for one attempt */
    CN_FAIL_CUT,         /* nor within the time that a host has when it leaves */
    CN_FAIL_STATUS       /* a response that the policy lists */
} cn_fail;

/* What retry.c keeps. */
typedef struct {
    const cn_retry_policy_t *policy;
    uint32_t done;     /* retries so far, without repeats */
    bool repeated;     /* after a kept connection was lost */
    bool beyond;       /* the body can not be sent again */
    cn_chain_t replay; /* body bytes taken from the client so far, shared */
} cn_retry_t;

/* One copy of the request (mirror.c). */
typedef struct {
    cn_str_t cluster;
    cn_call_t *call; /* NULL: not started, or given up */
} cn_mirror_t;

/* What timeout.c keeps. */
typedef struct {
    uint64_t request_ms, try_ms, idle_ms; /* 0: none */
    uint64_t grpc_ms;                     /* grpc-timeout of the client; 0: none */
    uint64_t start_ms;                    /* loop time that request counts from; 0: not yet */
    uint64_t mark;                        /* bytes when idle was last looked at */
    cn_timer_t request, attempt;
} cn_req_times_t;

#define CN_FILTERS_MAX 8

/* What filter.c keeps: modules whose body hooks are called, in module order. */
typedef struct {
    uint8_t n, module[CN_FILTERS_MAX];
} cn_filters_t;

/* One accepted tunnel being served (inner.c). */
typedef struct cn_inner {
    cn_list_t link; /* worker->inner */
    cn_worker_t *w;
    cn_task_t task; /* while sniffing */
    cn_timer_t timer;
    cn_tunnel_t tunnel;
    cn_stream_t *stream; /* until a mux or an L4 request has it */
    cn_chain_t head;     /* bytes looked at */
    cn_str_t sni;        /* server name of the client's TLS hello; empty: none */
    cn_h1_server_t *h1;
    cn_h2_t *h2;
    cn_workload_t peer; /* as the tunnel's baggage describes it */
    bool bad_hello;     /* it began like TLS and cannot be read: refused */
    bool peer_read, peer_known;
    uint32_t refs; /* the stream's holder and each request */
} cn_inner_t;

/* One reference, the caller's; takes what cn_tunnel_serve() is given. */
cn_inner_t *cn_inner_create(cn_worker_t *, const cn_tunnel_t *);
void cn_inner_unref(cn_inner_t *);
/* No further request; what runs goes on. */
void cn_inner_drain(cn_inner_t *);
/* At once.  No request may be running in it any more. */
void cn_inner_end(cn_inner_t *);

struct cn_req {
    cn_task_t task;
    cn_list_t link; /* worker->reqs */
    cn_worker_t *w;
    cn_pool_t *pool;
    cn_inner_t *inner; /* a reference */
    cn_section_t *section;
    cn_section_t *main; /* pinned: hooks' settings point into it */
    cn_req_state state;
    /* phases */
    const cn_hooks_t *hooks;
    void **ctx;                    /* by module */
    const cn_hook_list_t *running; /* of phase */
    unsigned hook;
    cn_phase_t phase;
    bool routed;  /* ROUTE has run */
    bool parked;  /* a hook waits for cn_req_wake() */
    uint32_t due; /* CN_RQ_WAKE_OWN: given and not yet acted on */
    /* messages */
    cn_facts_t f;
    cn_msg_t msg, resp;
    cn_addr_t prefer;   /* endpoint that a session wants; family 0: none */
    cn_claim_fn *claim; /* NULL: none are known */
    const void *claims;
    const cn_workload_t *kept[2]; /* source and destination, once copied to the pool */
    bool local;                   /* the response is ours */
    bool replied;                 /* and is complete in resp */
    cn_str_t body;                /* of a local reply */
    int16_t reply_grpc;           /* 1 + its gRPC status; 0: by its HTTP status */
    /* downstream */
    cn_exch_t *down;
    bool req_eos;  /* request body completely taken from the client */
    bool resp_eos; /* response body completely taken from its source */
    bool broken;   /* its source failed before that */
    bool ws_key;   /* WebSocket: the key of the handshake is ours, the client sent none */
    bool ws_down;  /* WebSocket: all of the host's bytes are with the client */
    bool bad_body; /* a filter refused the request's */
    cn_filters_t filters;
    cn_grpc_count_t asked_count, answer_count;
    cn_chain_t given; /* from the host, before filters */
    cn_chain_t to_client;
    /* upstream (forward.c) */
    cn_uasked_t asked;
    bool redirected;       /* a module chose asked.dest: it goes there */
    cn_cluster_t *cluster; /* a reference */
    cn_up_state up_state;
    cn_uconn_t *up;   /* SENT, and while the response is taken */
    cn_chain_t taken; /* from the client, in one pull */
    cn_chain_t to_host;
    bool up_eos;   /* request completely given to the host's exchange */
    bool up_fresh; /* next attempt: no idle connection */
    uint64_t up_start_ns, try_start_ns;
    cn_host_t *tried[CN_RQ_TRIED]; /* the last ones */
    unsigned ntried;
    cn_ticket_t request, pending, again; /* admission of the attempt */
    cn_waiter_t waiter;
    cn_timer_t later; /* WAIT, BACKOFF */
    cn_retry_t retry;
    cn_req_times_t times;
    cn_vec_t mirrors; /* cn_mirror_t */
    /* L4 (l4.c) */
    cn_stream_t *client, *server;
    cn_relay_t relay;
    cn_timer_t report, idle, life;
    uint64_t idle_mark;
    cn_explain_t *explain;
};

/* req.c */
cn_req_t *cn_req_create(cn_worker_t *, cn_inner_t *, cn_section_t *);
/* LOG, then gives everything back.  The request is gone. */
void cn_req_finish(cn_req_t *);
/* Without LOG: a request that never was one (explain). */
void cn_req_abandon(cn_req_t *);
/* The set of known pods is about to go: what facts point to is copied. */
void cn_req_keep_workloads(cn_req_t *);
void cn_req_set_state(cn_req_t *, cn_req_state);
/* Starts, and does, the periodic REPORT. */
void cn_req_report_begin(cn_req_t *);
void cn_req_report(cn_req_t *);
/* The exchange callback of the inner HTTP server. */
void cn_req_begin(cn_inner_t *, cn_exch_t *);

/* head.c: after the head is complete: paths, remote address, headers. */
void cn_req_head_prepare(cn_req_t *);
/* Response headers every client sees: server, date, service time. */
void cn_req_head_respond(cn_req_t *);

/* forward.c */
CN_MUST cn_rc cn_req_forward_start(cn_req_t *); /* CN_OK: under way; CN_DONE: local reply set */
CN_MUST cn_rc cn_req_forward_run(
    cn_req_t *); /* CN_OK: response head is in resp; CN_AGAIN; CN_DONE: local reply set */
CN_MUST cn_rc cn_req_pump_request(cn_req_t *); /* CN_AGAIN or CN_DONE; CN_ERR: the client failed */
CN_MUST cn_rc
cn_req_pump_response(cn_req_t *); /* CN_AGAIN; CN_DONE: all given to the client; CN_ERR: abort */
void cn_req_forward_end(cn_req_t *);
cn_host_t *cn_req_pick_host(cn_req_t *);
/* A host whose pod is not known may say itself who it is, in its tunnel's answer. */
void cn_req_note_peer(cn_req_t *, cn_stream_t *);

/* filter.c */
/* Does anybody look at the bodies? */
bool cn_filter_wanted(const cn_req_t *);
/* Bytes that came, in place; CN_ERR: a filter cannot go on. */
CN_MUST cn_rc cn_filter_request(cn_req_t *, cn_chain_t *, bool eos);
CN_MUST cn_rc cn_filter_response(cn_req_t *, cn_chain_t *, bool eos);

/* websocket.c */
/* The request goes to a host. */
void cn_websocket_begin(cn_req_t *);
/* A final response head is in resp.  CN_DONE: it grants nothing although it
 * says so, local reply set. */
CN_MUST cn_rc cn_websocket_answered(cn_req_t *);
/* Moves bytes after a 101: CN_AGAIN; CN_DONE: both directions ended; CN_ERR: one failed. */
CN_MUST cn_rc cn_websocket_run(cn_req_t *);

/* retry.c */
void cn_retry_init(cn_req_t *);
void cn_retry_fini(cn_req_t *);
/* Bytes came from the client: keeps them for a further attempt, within bounds. */
void cn_retry_keep(cn_req_t *, const cn_chain_t *taken);
/* No further attempt from now on: the response goes to the client. */
void cn_retry_settled(cn_req_t *);
typedef enum { CN_RETRY_NOT, CN_RETRY_LATER, CN_RETRY_NOW } cn_retry_what;
/* After an attempt that failed; notes the flags of a refusal.  LATER: *wait_ms,
 * and the ticket of the retry is in req->again. */
cn_retry_what cn_retry_decide(cn_req_t *, cn_fail, uint64_t *wait_ms);
/* Is the response in resp one that the policy lists? */
bool cn_retry_lists(const cn_req_t *);
void cn_retry_explain(cn_req_t *);

/* mirror.c */
/* The request is about to be forwarded. */
void cn_mirror_begin(cn_req_t *);
/* Bytes came from the client, the last ones with eos. */
void cn_mirror_body(cn_req_t *, const cn_chain_t *taken, bool eos);
/* The request ends: copies that are complete go on alone. */
void cn_mirror_end(cn_req_t *);

/* timeout.c */
void cn_timeout_init(cn_req_t *);
void cn_timeout_fini(cn_req_t *);
/* The forwarder begins: the client's deadline is known. */
void cn_timeout_begin(cn_req_t *);
/* Before each attempt's head: tells the host how much time it has. */
void cn_timeout_attempt(cn_req_t *);
/* The client's request has been taken completely. */
void cn_timeout_complete(cn_req_t *);
/* The time for one attempt does not matter any more. */
void cn_timeout_answered(cn_req_t *);
/* Acts on what is due.  CN_OK: nothing is over; CN_DONE: local reply set;
 * CN_ERR: the response must be broken off. */
CN_MUST cn_rc cn_timeout_check(cn_req_t *);
void cn_timeout_explain(cn_req_t *);

/* leave.c */
/* The host of the present attempt has left and the attempt's time is over.
 * Asked once: it is up to the caller to end the attempt. */
CN_MUST bool cn_leave_cuts(cn_req_t *);
/* The same of a response that has begun.  True: noted, it must be broken off. */
CN_MUST bool cn_leave_breaks(cn_req_t *);

/* l4.c */
void cn_req_l4_begin(cn_inner_t *, cn_stream_t *);
CN_MUST cn_rc cn_req_l4_step(cn_req_t *,
                             uint32_t why); /* CN_OK: next state; CN_AGAIN; CN_DONE: finish */
/* Resets and gives back the streams; cn_req_finish() follows. */
void cn_req_l4_abort(cn_req_t *);

/* reply.c: the table of what clients see for what went wrong. */
void cn_req_reply_wire(cn_req_t *, cn_xerr); /* a bad request head */
void cn_req_reply_upstream(cn_req_t *,
                           const cn_exch_t *up); /* the host's exchange failed before a response */
void cn_req_reply_overload(cn_req_t *);          /* we may not have one more: max_memory */
void cn_req_reply_overflow(cn_req_t *);          /* the cluster may not have one more */
void cn_req_reply_cut(cn_req_t *);               /* the host has left */
void cn_req_reply_finish(cn_req_t *); /* turns the local reply into resp (gRPC mapping) */
/* "Connection refused" -> "Connection_refused", for details strings. */
cn_str_t cn_req_underscore(cn_pool_t *, cn_str_t);

#endif
