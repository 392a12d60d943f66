/* SPDX-License-Identifier: Apache-2.0
 *
 * Tunnels to captured pods.  Each host that tunnels lead to has one pool of
 * shared HTTP/2 sessions in its `tunnels` list, made with the first tunnel and
 * ended with the last session; it holds a reference of the host.  The address
 * that is dialled and the one in :authority are the same pod's (ztunnel answers
 * 400 otherwise), and the pod's exact identity is expected where it is known.  For
 * a host that is the gateway of another network see double.c.
 */
#include <stdlib.h>

#include "hbone_int.h"

typedef struct {
    cn_hbone_t *hb;
    cn_list_t link; /* host->tunnels */
    cn_list_t all;  /* hb->peers */
    cn_host_t *host;
    cn_h2pool_t *pool;
} peer_t;

static const char *reason_label(cn_serr err)
{
    switch (err) {
    case CN_SERR_REFUSED:
        return "refused";
    case CN_SERR_TIMEOUT:
        return "timeout";
    case CN_SERR_TLS:
        return "tls";
    case CN_SERR_IDENTITY:
        return "identity";
    default:
        return "other";
    }
}

static void free_peer(peer_t *p)
{
    cn_list_remove(&p->link);
    cn_list_remove(&p->all);
    cn_h2pool_destroy(p->pool);
    cn_host_unref(p->host);
    free(p);
}

/* ---- what the pool of sessions asks and tells ---- */

/* Another network may be far away. */
static uint64_t dead_ms(const cn_hbone_t *hb, const cn_host_t *host)
{
    uint64_t ms = hb->conf.dead_timeout_ms;

    return ms && host->doubled && ms < CN_OUTSIDE_DEAD_MS ? CN_OUTSIDE_DEAD_MS : ms;
}

static cn_stream_t *on_dial(void *ctx, uint64_t timeout_ms, cn_task_t *owner)
{
    peer_t *p = ctx;
    cn_hbone_t *hb = p->hb;
    cn_tls_ctx_t *tls = cn_worker_tls(hb->w);
    cn_sock_watch_t watch = cn_sock_watch_default;
    cn_stream_t *sock;

    if (!tls)
        return NULL;
    sock = cn_sock_connect(hb->loop, &p->host->tunnel_addr, timeout_ms, NULL);
    watch.dead_ms = dead_ms(hb, p->host);
    cn_sock_watch(sock, &watch);
    return cn_tls_client(hb->loop, sock, tls,
                         p->host->doubled ? p->host->place->gateway_identity : p->host->identity,
                         hb->conf.handshake_timeout_ms, owner);
}

void cn_hbone_out_count(cn_hbone_t *hb, bool opened)
{
    if (!opened) {
        cn_series_sub(hb->series[CN_HBONE_UPSTREAM_SESSIONS], 1);
        return;
    }
    cn_series_add(hb->series[CN_HBONE_UPSTREAM_SESSIONS], 1);
    cn_series_add(hb->series[CN_HBONE_UPSTREAM_SESSIONS_TOTAL], 1);
}

void cn_hbone_out_count_failure(cn_hbone_t *hb, cn_serr err)
{
    cn_series_add(cn_hbone_labelled(hb, CN_HBONE_UPSTREAM_FAILURES, "reason", reason_label(err)),
                  1);
}

static void on_connected(void *ctx)
{
    cn_hbone_out_count(((peer_t *)ctx)->hb, true);
}

static void on_failed(void *ctx, cn_serr err, const char *text)
{
    peer_t *p = ctx;
    char to[CN_INET_TEXT];

    cn_inet_put(to, &p->host->tunnel_addr, true);
    cn_log(CN_LOG_INFO, "hbone", "cannot open a tunnel to %s: %s", to, text ? text : "failed");
    cn_hbone_out_count_failure(p->hb, err);
}

static void on_closed(void *ctx)
{
    cn_hbone_out_count(((peer_t *)ctx)->hb, false);
}

static void on_idle(void *ctx)
{
    free_peer(ctx);
}

void cn_hbone_out_asking(cn_hbone_t *hb, cn_msg_t *head, const cn_peer_t *here)
{
    const cn_workload_t *us = NULL;

    if (hb->conf.baggage)
        us = cn_workloads_find(cn_worker_workloads(hb->w), &here->local);
    if (us)
        cn_hbone_say_baggage(head, us);
}

static void on_asking(void *ctx, cn_msg_t *head, const cn_peer_t *here)
{
    cn_hbone_out_asking(((peer_t *)ctx)->hb, head, here);
}

static peer_t *peer_of(cn_hbone_t *hb, cn_host_t *host)
{
    static const cn_h2pool_cbs_t cbs = {on_dial,   on_connected, on_failed,
                                        on_closed, on_idle,      on_asking};
    cn_h2_conf_t conf = cn_hbone_h2_conf(hb);
    peer_t *p;

    if (!cn_list_empty(&host->tunnels))
        return cn_list_entry(host->tunnels.next, peer_t, link);
    p = cn_xzalloc(sizeof(*p));
    p->hb = hb;
    p->host = cn_host_ref(host);
    conf.idle_ms = hb->conf.idle_timeout_ms;
    p->pool = cn_h2pool_create(hb->loop, &conf, &cbs, p);
    cn_list_push(&host->tunnels, &p->link);
    cn_list_push(&hb->peers, &p->all);
    return p;
}

/* ---- the transport ---- */

cn_stream_t *cn_hbone_out_open(cn_hbone_t *hb, cn_host_t *host, cn_str_t authority,
                               const cn_headers_t *headers, uint64_t timeout_ms)
{
    return cn_h2pool_open(peer_of(hb, host)->pool, authority, headers, timeout_ms, NULL);
}

/* To the pod's own address: ztunnel takes no other one. */
static cn_stream_t *open_direct(cn_hbone_t *hb, cn_host_t *host, const cn_uasked_t *asked,
                                const cn_headers_t *headers, uint64_t timeout_ms, cn_task_t *owner)
{
    cn_addr_t to = host->addr;
    char authority[CN_INET_TEXT];
    size_t n;

    if (to.port == 0)
        to.port = asked->dest.port;
    n = cn_inet_put(authority, &to, true);
    return cn_h2pool_open(peer_of(hb, host)->pool, cn_str_make(authority, n), headers, timeout_ms,
                          owner);
}

static cn_stream_t *on_open(void *wctx, const cn_cluster_t *cluster, cn_host_t *host,
                            const cn_uasked_t *asked, uint64_t timeout_ms, cn_task_t *owner)
{
    cn_hbone_t *hb = wctx;
    cn_header_t room[1];
    cn_headers_t headers = {.v = room, .cap = CN_COUNT(room)};
    cn_pool_t *pool = cn_pool_create(256);
    cn_stream_t *s;

    if (hb->conf.forwarded)
        cn_hbone_say_forwarded(pool, &headers, cluster, asked);
    if (host->doubled)
        s = cn_hbone_double_open(hb, cluster, host, asked, &headers, timeout_ms, owner);
    else
        s = open_direct(hb, host, asked, &headers, timeout_ms, owner);
    cn_pool_destroy(pool);
    return s;
}

static void on_retire(void *wctx, cn_host_t *host)
{
    (void)wctx;
    if (!cn_list_empty(&host->tunnels))
        cn_h2pool_retire(cn_list_entry(host->tunnels.next, peer_t, link)->pool);
}

const cn_transport_ops_t cn_hbone_transport = {
    .kind = CN_TUNNEL_HBONE,
    .open = on_open,
    .retire = on_retire,
};

void cn_hbone_out_rotate(cn_hbone_t *hb)
{
    cn_list_each (node, &hb->peers)
        cn_h2pool_retire(cn_list_entry(node, peer_t, all)->pool);
}

void cn_hbone_out_fini(cn_hbone_t *hb)
{
    cn_list_each (node, &hb->peers)
        free_peer(cn_list_entry(node, peer_t, all));
}
