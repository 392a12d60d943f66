/* SPDX-License-Identifier: Apache-2.0
 *
 * Accepting tunnels.  A connection is one source pod's; each CONNECT on it is
 * answered 200 at once, before anything is known of where it leads (ztunnel
 * sends no byte before that), unless nothing is served at its authority.
 *
 *   state      entered by       left by
 *   HANDSHAKE  accept           TLS accepted, refused, timed out
 *   OPEN       TLS accepted     the HTTP/2 session's end
 *
 * On `listen ADDR double_hbone` a CONNECT carries HBONE again, as through the
 * east-west gateway of another network: what is in it is a connection of its
 * own, with a TLS handshake of its own, and the client is the inner one's peer.
 *
 * While draining, what is on its way is still served: GOAWAY tells the peer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hbone_int.h"

#define SHOWN_MAX 256u /* of an authority, in an answer */

typedef struct {
    cn_hbone_t *hb;
    cn_list_t link;   /* hb->conns */
    cn_task_t task;   /* during the handshake */
    cn_stream_t *tls; /* during the handshake */
    cn_h2_t *h2;
    bool doubled;                 /* its tunnels carry connections */
    const cn_tls_ctx_t *identity; /* that it was made with; its stream keeps it */
    cn_timer_t rotation;
} conn_t;

/* ---- answering ---- */

static void answer(cn_exch_t *x, cn_pool_t *pool, unsigned status, cn_str_t text)
{
    cn_msg_t head;
    cn_chain_t body;

    cn_msg_init(&head, pool);
    head.status = (uint16_t)status;
    if (text.n) {
        cn_msg_add(&head, &head.headers, CN_STR("content-type"), CN_STR("text/plain"));
        head.content_length = text.n;
    }
    cn_chain_init(&body);
    cn_chain_puts(&body, text);
    /* A failure means that the peer is gone, and close() is all that is left. */
    if (x->ops->send_head(x, &head, text.n == 0) == CN_OK && text.n &&
        x->ops->send_body(x, &body, true, NULL) == CN_ERR)
        cn_log(CN_LOG_DEBUG, "hbone", "the answer %u was not taken", status);
    cn_chain_clear(&body);
}

static void refuse(conn_t *c, cn_exch_t *x, const cn_msg_t *req, unsigned status, cn_str_t text,
                   cn_str_t details)
{
    cn_stream_t *under = x->ops->stream(x);
    char code[8];

    snprintf(code, sizeof(code), "%u", status);
    cn_series_add(cn_hbone_labelled(c->hb, CN_HBONE_REFUSED, "code", code), 1);
    cn_tunnel_refused(c->hb->w, under ? cn_stream_peer(under) : NULL, req->authority, status,
                      details);
    answer(x, req->pool, status, text);
    x->ops->close(x);
    cn_pool_destroy(req->pool);
}

static void refuse_unserved(conn_t *c, cn_exch_t *x, const cn_msg_t *req)
{
    size_t n = req->authority.n < SHOWN_MAX ? req->authority.n : SHOWN_MAX;

    refuse(c, x, req, 503,
           cn_pool_printf(req->pool, "no service at %.*s here\n", (int)n, req->authority.p),
           CN_STR("hbone_no_service"));
}

/* ---- tunnels ---- */

/* Several lines count as one list. */
static cn_str_t baggage_of(const cn_msg_t *req)
{
    const cn_str_t name = CN_STR("baggage");
    const cn_header_t *first = cn_msg_get(&req->headers, CN_TOK_BAGGAGE), *h;
    size_t total = 0;
    char *all, *at;

    if (!first || !cn_msg_find(&req->headers, name, first))
        return first ? first->value : CN_STR_NULL;
    for (h = first; h; h = cn_msg_find(&req->headers, name, h))
        total += h->value.n + 1;
    all = at = cn_pool_bytes(req->pool, total);
    for (h = first; h; h = cn_msg_find(&req->headers, name, h)) {
        memcpy(at, h->value.p, h->value.n);
        at += h->value.n;
        *at++ = ',';
    }
    return cn_str_make(all, total - 1);
}

static cn_str_t value_of(const cn_msg_t *req, cn_token token)
{
    const cn_header_t *h = cn_msg_get(&req->headers, token);

    return h ? h->value : CN_STR_NULL;
}

/* x-forwarded-for is not looked at: who the client is says the connection. */
static cn_tunnel_t *describe(conn_t *c, const cn_msg_t *req, const cn_peer_t *peer)
{
    cn_tunnel_t *t = cn_pool_zalloc(req->pool, sizeof(*t));
    cn_str_t network = value_of(req, CN_TOK_X_FORWARDED_NETWORK);

    t->pool = req->pool;
    t->source = peer->remote;
    t->authority = req->authority;
    t->identity = cn_pool_dup(t->pool, peer->identity);
    t->local_identity = cn_pool_dup(t->pool, peer->local_identity);
    t->baggage = baggage_of(req);
    t->forwarded = value_of(req, CN_TOK_FORWARDED);
    t->foreign_network = network.n && !cn_str_eq(network, cn_worker_network(c->hb->w));
    return t;
}

static void serve(conn_t *c, cn_exch_t *x, const cn_msg_t *req, cn_section_t *section,
                  const cn_addr_t *dest)
{
    cn_stream_t *under = x->ops->stream(x);
    cn_tunnel_t *t;
    cn_msg_t head;

    cn_msg_init(&head, req->pool);
    head.status = 200;
    if (!under || x->ops->send_head(x, &head, false) != CN_OK) {
        cn_section_unref(section);
        x->ops->close(x);
        cn_pool_destroy(req->pool);
        return;
    }
    t = describe(c, req, cn_stream_peer(under));
    t->section = section;
    t->dest = *dest;
    cn_series_add(c->hb->series[CN_HBONE_TUNNELS], 1);
    cn_tunnel_serve(c->hb->w, t, cn_h2_stream(x, NULL));
}

static void conn_create(cn_hbone_t *hb, cn_tls_ctx_t *tls, cn_stream_t *lower, bool doubled);

/* Where the outer CONNECT leads is served here; for whom, the inner one says. */
static void serve_connection(conn_t *c, cn_exch_t *x, const cn_msg_t *req, cn_section_t *section)
{
    cn_hbone_t *hb = c->hb;
    cn_msg_t head;

    cn_section_unref(section);
    cn_msg_init(&head, req->pool);
    head.status = 200;
    if (x->ops->send_head(x, &head, false) != CN_OK)
        x->ops->close(x);
    else
        conn_create(hb, cn_worker_tls(hb->w), cn_h2_stream(x, NULL), false);
    cn_pool_destroy(req->pool);
}

static bool is_full(const cn_hbone_t *hb)
{
    return hb->nconns >= hb->conf.max_connections;
}

static void connect_to(conn_t *c, cn_exch_t *x, const cn_msg_t *req)
{
    cn_worker_t *w = c->hb->w;
    cn_section_t *section;
    cn_addr_t dest;

    if (!cn_worker_admit(w) || (c->doubled && is_full(c->hb))) {
        refuse(c, x, req, 503, CN_STR("overloaded\n"), CN_STR("hbone_overload"));
        return;
    }
    switch (cn_tunnel_resolve(cn_worker_gen(w), req->authority, &section, &dest)) {
    case CN_OK:
        if (c->doubled)
            serve_connection(c, x, req, section);
        else
            serve(c, x, req, section, &dest);
        break;
    case CN_DECLINE:
        refuse_unserved(c, x, req);
        break;
    default:
        refuse(c, x, req, 400, CN_STR("malformed authority\n"), CN_STR("hbone_bad_authority"));
    }
}

static void on_request(void *ctx, cn_exch_t *x)
{
    conn_t *c = ctx;
    cn_msg_t req;

    cn_msg_init(&req, cn_pool_create(2048));
    if (x->ops->recv_head(x, &req) != CN_OK) {
        x->ops->close(x);
        cn_pool_destroy(req.pool);
    } else if (!cn_str_eq(req.method, CN_STR("CONNECT")) || req.scheme.n || req.target.n) {
        refuse(c, x, &req, 404, CN_STR_NULL, CN_STR("hbone_not_connect"));
    } else {
        connect_to(c, x, &req);
    }
}

/* ---- connections ---- */

static void free_conn(conn_t *c)
{
    cn_hbone_t *hb = c->hb;

    cn_list_remove(&c->link);
    cn_timer_stop(&c->rotation);
    cn_task_fini(&c->task);
    hb->nconns--;
    cn_series_sub(hb->series[CN_HBONE_CONNECTIONS], 1);
    cn_loop_retire(hb->loop, free, c);
}

static void on_closed(void *ctx)
{
    free_conn(ctx);
}

static const char *failure_label(cn_serr err)
{
    switch (err) {
    case CN_SERR_TIMEOUT:
        return "timeout";
    case CN_SERR_IDENTITY:
        return "identity";
    case CN_SERR_TLS:
        return "tls";
    default:
        return "connection";
    }
}

/* Who only connects, as probes do, was not refused. */
static void tell_refused(conn_t *c, const char *text)
{
    cn_refusal_t r = {.from = cn_stream_peer(c->tls)->remote};
    char details[256];

    if (c->tls->err != CN_SERR_IDENTITY && c->tls->err != CN_SERR_TLS)
        return;
    snprintf(details, sizeof(details), "hbone_handshake: %s", text);
    r.details = cn_str_c(details);
    cn_worker_refused(c->hb->w, &r);
}

static void handshake_failed(conn_t *c)
{
    char from[CN_INET_TEXT];
    const char *text = c->tls->err_text ? c->tls->err_text : "closed";

    cn_inet_put(from, &cn_stream_peer(c->tls)->remote, true);
    cn_log(CN_LOG_INFO, "hbone", "handshake with %s failed: %s", from, text);
    tell_refused(c, text);
    cn_series_add(
        cn_hbone_labelled(c->hb, CN_HBONE_HANDSHAKE_FAILURES, "reason", failure_label(c->tls->err)),
        1);
    cn_stream_close(c->tls, false);
    free_conn(c);
}

static void handshake_done(conn_t *c)
{
    static const cn_h2_cbs_t cbs = {.request = on_request, .closed = on_closed};
    cn_h2_conf_t conf = cn_hbone_h2_conf(c->hb);

    conf.head_ms = c->hb->conf.handshake_timeout_ms;
    conf.idle_ms = c->hb->conf.idle_timeout_ms;
    c->h2 = cn_h2_server_create(c->hb->loop, c->tls, &conf, &cbs, c);
    c->tls = NULL;
    if (c->hb->draining)
        cn_h2_drain(c->h2);
}

static void rotate(conn_t *c)
{
    if (c->h2)
        cn_h2_drain(c->h2);
}

static void on_wake(cn_task_t *task, uint32_t why)
{
    conn_t *c = cn_container_of(task, conn_t, task);
    cn_rc rc;

    if (why & CN_WAKE_TIMER)
        rotate(c);
    if (!c->tls)
        return;
    rc = cn_stream_ready(c->tls);
    if (rc == CN_ERR)
        handshake_failed(c);
    else if (rc == CN_OK)
        handshake_done(c);
}

static void conn_create(cn_hbone_t *hb, cn_tls_ctx_t *tls, cn_stream_t *lower, bool doubled)
{
    conn_t *c = cn_xzalloc(sizeof(*c));

    c->hb = hb;
    c->doubled = doubled;
    cn_list_push(&hb->conns, &c->link);
    hb->nconns++;
    cn_series_add(hb->series[CN_HBONE_CONNECTIONS], 1);
    cn_series_add(hb->series[CN_HBONE_CONNECTIONS_TOTAL], 1);
    cn_task_init(&c->task, hb->loop, on_wake);
    cn_timer_init(&c->rotation, &c->task, CN_WAKE_TIMER);
    c->identity = tls;
    c->tls = cn_tls_server(hb->loop, lower, tls, hb->conf.handshake_timeout_ms, &c->task);
}

/* ---- the listeners ---- */

static void accept_one(cn_hbone_t *hb, int fd, const cn_addr_t *remote, bool doubled)
{
    cn_tls_ctx_t *tls = cn_worker_tls(hb->w);

    if (!tls || is_full(hb)) {
        cn_series_add(hb->series[CN_HBONE_CONNECTIONS_REFUSED], 1);
        cn_log(CN_LOG_INFO, "hbone", "connection refused: %s",
               tls ? "hbone_max_connections" : "no identity yet");
        close(fd);
        return;
    }
    conn_create(hb, tls, cn_sock_accepted(hb->loop, fd, remote, NULL), doubled);
}

static void on_accept(cn_worker_t *w, void *wctx, int fd, const cn_addr_t *remote)
{
    (void)w;
    accept_one(wctx, fd, remote, false);
}

static void on_accept_double(cn_worker_t *w, void *wctx, int fd, const cn_addr_t *remote)
{
    (void)w;
    accept_one(wctx, fd, remote, true);
}

static void on_drain(cn_worker_t *w, void *wctx)
{
    cn_hbone_t *hb = wctx;

    (void)w;
    hb->draining = true;
    cn_list_each (node, &hb->conns) {
        conn_t *c = cn_list_entry(node, conn_t, link);

        if (c->h2)
            cn_h2_drain(c->h2);
    }
}

void cn_hbone_in_rotate(cn_hbone_t *hb)
{
    cn_list_each (node, &hb->conns) {
        conn_t *c = cn_list_entry(node, conn_t, link);

        if (c->identity != hb->tls && !cn_timer_is_set(&c->rotation))
            cn_timer_set(&c->rotation, cn_hbone_rotation_pause(hb));
    }
}

static uint32_t active(void *wctx)
{
    return ((cn_hbone_t *)wctx)->nconns;
}

const cn_listener_ops_t cn_hbone_listener = {
    .name = "hbone",
    .accept = on_accept,
    .drain = on_drain,
    .active = active,
};

/* Its connections are among those that the other one counts and drains. */
const cn_listener_ops_t cn_hbone_double_listener = {
    .name = "double_hbone",
    .accept = on_accept_double,
};

void cn_hbone_in_fini(cn_hbone_t *hb)
{
    cn_list_each (node, &hb->conns) {
        conn_t *c = cn_list_entry(node, conn_t, link);

        if (c->h2)
            cn_h2_destroy(c->h2);
        else
            cn_stream_close(c->tls, true);
        free_conn(c);
    }
}
