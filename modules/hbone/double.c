/* SPDX-License-Identifier: Apache-2.0
 *
 * Double HBONE: tunnels to pods of another network, through its east-west
 * gateway.  The outer CONNECT asks the gateway for a service by name; inside of
 * it goes a second HBONE connection, to whom the gateway chooses, which asks
 * for the same name (hbone.md 3).
 *
 * The sessions to the gateway are shared, as those to a pod (out.c).  An inner
 * one carries a single tunnel: another tunnel may be meant for another pod, and
 * only the gateway chooses.  It belongs to itself and ends with its tunnel.
 */
#include <stdlib.h>

#include "hbone_int.h"

typedef struct {
    cn_hbone_t *hb;
    cn_list_t link; /* hb->inner */
    cn_host_t *gateway;
    cn_h2pool_t *pool; /* of one session */
    cn_pool_t *mem;
    cn_str_t authority; /* empty: the cluster has no name to ask for */
} inner_t;

static void free_inner(inner_t *in)
{
    cn_list_remove(&in->link);
    cn_h2pool_destroy(in->pool);
    cn_host_unref(in->gateway);
    cn_pool_destroy(in->mem);
    free(in);
}

/* The gateway sends what has been through a waypoint to the pod itself.  A second
 * try comes without a limit: nobody may be there any more to end it. */
static cn_stream_t *on_dial(void *ctx, uint64_t timeout_ms, cn_task_t *owner)
{
    inner_t *in = ctx;
    cn_hbone_t *hb = in->hb;
    cn_header_t source = {CN_STR("x-istio-source"), CN_STR("waypoint"), CN_TOK_NONE};
    cn_headers_t headers = {.v = &source, .n = 1, .cap = 1};
    cn_tls_ctx_t *tls = cn_worker_tls(hb->w);
    cn_stream_t *outer;

    if (!tls || in->authority.n == 0)
        return NULL;
    if (timeout_ms == 0)
        timeout_ms = hb->conf.handshake_timeout_ms;
    outer = cn_hbone_out_open(hb, in->gateway, in->authority, &headers, timeout_ms);
    return cn_tls_client(hb->loop, outer, tls, in->gateway->identity, hb->conf.handshake_timeout_ms,
                         owner);
}

static void on_failed(void *ctx, cn_serr err, const char *text)
{
    inner_t *in = ctx;
    char via[CN_INET_TEXT];

    cn_inet_put(via, &in->gateway->tunnel_addr, true);
    cn_log(CN_LOG_INFO, "hbone", "cannot open a tunnel to %.*s through the gateway %s: %s",
           CN_STR_ARG(in->authority), via, text ? text : "failed");
    cn_hbone_out_count_failure(in->hb, err);
}

static void on_connected(void *ctx)
{
    cn_hbone_out_count(((inner_t *)ctx)->hb, true);
}

static void on_closed(void *ctx)
{
    cn_hbone_out_count(((inner_t *)ctx)->hb, false);
}

static void on_idle(void *ctx)
{
    free_inner(ctx);
}

static void on_asking(void *ctx, cn_msg_t *head, const cn_peer_t *here)
{
    cn_hbone_t *hb = ((inner_t *)ctx)->hb;
    cn_str_t network = cn_worker_network(hb->w);

    cn_hbone_out_asking(hb, head, here);
    if (network.n)
        cn_msg_add(head, &head->headers, CN_STR("x-forwarded-network"), network);
}

static cn_str_t authority_of(cn_pool_t *mem, const cn_cluster_t *cluster, const cn_uasked_t *asked)
{
    const cn_cluster_conf_t *cc = cluster->conf;
    unsigned port = cc->service_port ? cc->service_port : asked->dest.port;

    if (cc->host.n == 0 || port == 0)
        return CN_STR_NULL;
    return cn_pool_printf(mem, "%.*s:%u", CN_STR_ARG(cc->host), port);
}

cn_stream_t *cn_hbone_double_open(cn_hbone_t *hb, const cn_cluster_t *cluster, cn_host_t *gateway,
                                  const cn_uasked_t *asked, const cn_headers_t *headers,
                                  uint64_t timeout_ms, cn_task_t *owner)
{
    static const cn_h2pool_cbs_t cbs = {on_dial,   on_connected, on_failed,
                                        on_closed, on_idle,      on_asking};
    cn_h2_conf_t conf = cn_hbone_h2_conf(hb);
    inner_t *in = cn_xzalloc(sizeof(*in));

    in->hb = hb;
    in->gateway = cn_host_ref(gateway);
    in->mem = cn_pool_create(256);
    in->authority = authority_of(in->mem, cluster, asked);
    in->pool = cn_h2pool_create(hb->loop, &conf, &cbs, in);
    cn_h2pool_set_single(in->pool);
    cn_list_push(&hb->inner, &in->link);
    return cn_h2pool_open(in->pool, in->authority, headers, timeout_ms, owner);
}

void cn_hbone_double_fini(cn_hbone_t *hb)
{
    cn_list_each (node, &hb->inner)
        free_inner(cn_list_entry(node, inner_t, link));
}
