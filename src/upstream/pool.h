/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections to hosts: idle HTTP/1.1 connections are kept per host and
 * reused, HTTP/2 sessions are shared by the requests to their host; tunnels to
 * captured pods share outer sessions inside their transport, below the streams
 * seen here.
 */
#ifndef CN_UPSTREAM_POOL_H
#define CN_UPSTREAM_POOL_H

#include "http/exch.h"
#include "upstream/admission.h"
#include "upstream/cluster.h"
#include "upstream/registry.h"

typedef struct cn_upool cn_upool_t; /* a worker's */

typedef struct {
    const cn_transport_ops_t *ops;
    void *wctx;
} cn_transport_t;

typedef struct {
    const cn_layer_ops_t *ops;
    void *wctx;
    unsigned unit; /* of its settings in a section */
} cn_layer_t;

/* One use of a connection; the exchange on it is `exch`. */
typedef struct cn_uconn {
    cn_exch_t *exch;
    cn_host_t *host; /* a reference while open */
    bool shared;     /* the connection is an HTTP/2 session */
} cn_uconn_t;

cn_upool_t *cn_upool_create(cn_loop_t *, const cn_transport_t *transports, unsigned n);
/* The layers there are, lowest first; the array is kept by pointer. */
void cn_upool_set_layers(cn_upool_t *, const cn_layer_t *, unsigned n);
/* Who limits connections; kept by pointer. */
void cn_upool_set_admissions(cn_upool_t *, cn_admissions_t *);
/* No connection may be open any more. */
void cn_upool_destroy(cn_upool_t *);
/* What to speak to the hosts of a cluster for a client that speaks this. */
cn_http_version cn_upool_version(const cn_cluster_t *, cn_http_version client);
/* An exchange on an idle connection or a new one; owner as in cn_exch.  The
 * port of asked->dest is used when the host has none; asked is not kept.
 * version: CN_HTTP_2 for one on a session with room; anything else is HTTP/1.1.
 * fresh: do not use an idle connection (a session tells when it has ended, and
 * is used).  Causes of failure show in recv_head().  NULL: the cluster has as
 * many connections as it may, and none of them is idle. */
cn_uconn_t *cn_upool_open(cn_upool_t *, cn_cluster_t *, cn_host_t *, const cn_uasked_t *asked,
                          cn_http_version version, bool fresh, cn_task_t *owner);
/* The same on what is there only; NULL: a connection would have to be made. */
cn_uconn_t *cn_upool_open_kept(cn_upool_t *, cn_cluster_t *, cn_host_t *, const cn_uasked_t *asked,
                               cn_http_version version, cn_task_t *owner);
/* Its connection is made, or has failed.  The owner is woken when that happens. */
bool cn_upool_connected(cn_uconn_t *);
/* Closes the exchange; keeps the connection when it can serve again. */
void cn_upool_close(cn_uconn_t *);
/* The stream under it, for addresses; NULL when gone. */
cn_stream_t *cn_upool_conn_stream(cn_uconn_t *);
/* A raw stream to the host for L4 traffic; the caller closes it. */
cn_stream_t *cn_upool_stream(cn_upool_t *, cn_cluster_t *, cn_host_t *, const cn_uasked_t *asked,
                             cn_task_t *owner);
/* Closes the connection to the cluster that idles for the longest; false: none idles. */
bool cn_upool_evict(cn_upool_t *, cn_cluster_t *);
/* Idle HTTP/1.1 connections now kept. */
uint32_t cn_upool_idle(const cn_upool_t *);
/* HTTP/2 sessions to hosts, also those that are leaving. */
uint32_t cn_upool_sessions(const cn_upool_t *);
/* The host has left or is not ready: closes its idle connections, drains its sessions, and its
 * transport retires what is shared below them. */
void cn_upool_retire(cn_upool_t *, cn_host_t *);

#endif
