/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two halves of the module share: settings and the worker's state.
 */
#ifndef CN_HBONE_INT_H
#define CN_HBONE_INT_H

#include <cairn/transport.h>

typedef struct {
    uint32_t max_streams;
    uint32_t max_connections;
    uint64_t stream_window, connection_window;
    uint64_t ping_interval_ms, ping_timeout_ms;
    uint64_t handshake_timeout_ms;
    uint64_t idle_timeout_ms;
    uint64_t dead_timeout_ms;
    uint64_t rotation_ms;
    bool forwarded, baggage; /* said in tunnels of ours */
} cn_hbone_conf_t;

/* Numbers of cn_hbone_metrics. */
enum {
    CN_HBONE_CONNECTIONS,
    CN_HBONE_CONNECTIONS_TOTAL,
    CN_HBONE_CONNECTIONS_REFUSED,
    CN_HBONE_HANDSHAKE_FAILURES,
    CN_HBONE_TUNNELS,
    CN_HBONE_REFUSED,
    CN_HBONE_UPSTREAM_SESSIONS,
    CN_HBONE_UPSTREAM_SESSIONS_TOTAL,
    CN_HBONE_UPSTREAM_FAILURES,
    CN_HBONE_METRICS
};
extern const cn_metric_def_t *const cn_hbone_metrics[CN_HBONE_METRICS + 1];

/* A worker's. */
typedef struct {
    cn_worker_t *w;
    cn_loop_t *loop;
    cn_hbone_conf_t conf; /* of the generation in force */
    bool draining;
    const cn_tls_ctx_t *tls; /* of the generation in force; to see that it has changed */
    cn_task_t task;
    cn_timer_t rotation; /* until the sessions to pods are made anew */
    cn_list_t conns;     /* in.c */
    uint32_t nconns;
    cn_list_t peers; /* out.c */
    cn_list_t inner; /* double.c */
    cn_series_t *series[CN_HBONE_METRICS];
} cn_hbone_t;

/* HTTP/2 settings of a session made now. */
cn_h2_conf_t cn_hbone_h2_conf(const cn_hbone_t *);
/* The series of a metric with one label. */
cn_series_t *cn_hbone_labelled(cn_hbone_t *, unsigned metric, const char *label, const char *value);

/* Until a connection of an older identity leaves; rotation_ms is not 0. */
uint64_t cn_hbone_rotation_pause(cn_hbone_t *);

/* ---- in.c ---- */
extern const cn_listener_ops_t cn_hbone_listener, cn_hbone_double_listener;
void cn_hbone_in_fini(cn_hbone_t *);
/* Connections made with another identity than the one in force leave within
 * rotation_ms, each at a moment of its own. */
void cn_hbone_in_rotate(cn_hbone_t *);

/* ---- headers.c ---- */
/* Adds to headers, whose array has room, in the pool. */
void cn_hbone_say_forwarded(cn_pool_t *, cn_headers_t *, const cn_cluster_t *, const cn_uasked_t *);
void cn_hbone_say_baggage(cn_msg_t *head, const cn_workload_t *us);

/* ---- out.c ---- */
extern const cn_transport_ops_t cn_hbone_transport;
void cn_hbone_out_fini(cn_hbone_t *);
/* A tunnel on a session shared with others to the same host. */
cn_stream_t *cn_hbone_out_open(cn_hbone_t *, cn_host_t *, cn_str_t authority, const cn_headers_t *,
                               uint64_t timeout_ms);
/* A session to a pod was opened, or one has ended. */
void cn_hbone_out_count(cn_hbone_t *, bool opened);
void cn_hbone_out_count_failure(cn_hbone_t *, cn_serr);
/* Adds what every CONNECT of ours says. */
void cn_hbone_out_asking(cn_hbone_t *, cn_msg_t *head, const cn_peer_t *here);
/* Further tunnels get new sessions; those there are end with their tunnels. */
void cn_hbone_out_rotate(cn_hbone_t *);

/* ---- double.c ---- */
/* As the transport's open, to a pod behind a gateway. */
cn_stream_t *cn_hbone_double_open(cn_hbone_t *, const cn_cluster_t *, cn_host_t *gateway,
                                  const cn_uasked_t *, const cn_headers_t *, uint64_t timeout_ms,
                                  cn_task_t *owner);
void cn_hbone_double_fini(cn_hbone_t *);

#endif
