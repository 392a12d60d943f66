/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections of the ztunnel in front of us.  It has ended the mesh's TLS
 * already and says in a PROXY header who is calling whom; what it says is
 * believed, so only configured peers may say it.  A connection is ours until
 * its header is whole, the proxy's from then on.
 *
 *   state    entered by   left by
 *   WAITING  accept       the header (served, refused), the end, the time-out
 *
 * There is nothing to tell anybody when the worker drains: a connection that
 * was accepted before is still served.
 */
#include <stdlib.h>
#include <unistd.h>

#include "pproxy_int.h"

#define SHOWN_MAX 256u     /* of a text of the peer, in the log */
#define STRANGERS_MS 1000u /* between two lines about strangers */
#define STATUS_NONE 0u     /* there is no answer in this protocol */

typedef struct {
    pproxy_t *pp;
    cn_list_t link; /* pp->waiting */
    cn_task_t task;
    cn_timer_t timer;
    cn_stream_t *s;
    cn_chain_t head;
    size_t need; /* bytes in head before it is worth a look */
} conn_t;

/* The stream has been given away or closed. */
static void free_conn(conn_t *c)
{
    pproxy_t *pp = c->pp;

    cn_list_remove(&c->link);
    cn_timer_stop(&c->timer);
    cn_task_fini(&c->task);
    cn_chain_clear(&c->head);
    pp->nwaiting--;
    cn_series_sub(pp->waiting_series, 1);
    cn_loop_retire(pp->loop, free, c);
}

static void refuse(conn_t *c, pproxy_reason reason)
{
    pproxy_count(c->pp, reason);
    cn_stream_close(c->s, false);
    free_conn(c);
}

static void refuse_said(conn_t *c, pproxy_reason reason, cn_log_level level, const char *what,
                        cn_str_t detail)
{
    char from[CN_INET_TEXT];

    detail.n = detail.n < SHOWN_MAX ? detail.n : SHOWN_MAX;
    cn_inet_put(from, &cn_stream_peer(c->s)->remote, true);
    cn_log(level, "proxy_protocol", "connection of %s closed: %s%.*s", from, what,
           CN_STR_ARG(detail));
    refuse(c, reason);
}

/* ---- a header is there ---- */

/* A host name chooses among services that share an address; a name that is not
 * served here leaves the choice to the address. */
static cn_section_t *find_service(const cn_gen_t *gen, const pproxy_header_t *h)
{
    cn_section_t *found = NULL;

    if (h->host.n)
        found = cn_gen_find_host(gen, h->host, h->dest.port);
    return found ? found : cn_gen_find(gen, &h->dest);
}

static cn_str_t authority_of(cn_pool_t *pool, const pproxy_header_t *h)
{
    char text[CN_INET_TEXT];
    size_t n;

    if (h->host.n)
        return cn_pool_printf(pool, "%.*s:%u", CN_STR_ARG(h->host), h->dest.port);
    n = cn_inet_put(text, &h->dest, true);
    return cn_pool_dup(pool, cn_str_make(text, n));
}

static void refuse_unserved(conn_t *c, const pproxy_header_t *h)
{
    cn_pool_t *pool = cn_pool_create(512);
    const cn_peer_t peer = {.remote = h->source, .identity = h->identity};

    cn_tunnel_refused(c->pp->w, &peer, authority_of(pool, h), STATUS_NONE,
                      CN_STR("proxy_protocol_no_service"));
    cn_pool_destroy(pool);
    refuse(c, PPROXY_NO_SERVICE);
}

static cn_tunnel_t *describe(cn_worker_t *w, const pproxy_header_t *h)
{
    cn_pool_t *pool = cn_pool_create(1024);
    cn_tunnel_t *t = cn_pool_zalloc(pool, sizeof(*t));
    cn_tls_ctx_t *tls = cn_worker_tls(w);

    t->pool = pool;
    t->source = h->source;
    t->dest = h->dest;
    t->authority = authority_of(pool, h);
    t->identity = cn_pool_dup(pool, h->identity);
    if (tls)
        t->local_identity = cn_pool_dup(pool, cn_tls_ctx_identity(tls)->uri);
    return t;
}

static void hand_over(conn_t *c, const pproxy_header_t *h, cn_section_t *section)
{
    pproxy_t *pp = c->pp;
    cn_tunnel_t *t = describe(pp->w, h);
    cn_stream_t *s = c->s;

    t->section = cn_section_ref(section);
    cn_chain_skip(&c->head, h->size);
    s->rx -= h->size; /* payload begins behind the header */
    s->owner = NULL;
    if (c->head.bytes)
        s = cn_tunnel_prefix(s, &c->head);
    cn_series_add(pp->tunnels, 1);
    free_conn(c);
    cn_tunnel_serve(pp->w, t, s);
}

/* No identity is a client outside the mesh, and policy says what it may do.
 * One that does not hold is refused as the HBONE listener refuses it, and never
 * taken for none: a rule that denies an identity must not be passed so. */
static bool identity_holds(cn_worker_t *w, cn_str_t identity)
{
    cn_spiffe_t id;

    if (identity.n == 0)
        return true;
    return cn_spiffe_parse(identity, &id) == CN_OK && cn_worker_trusts(w, id.trust_domain);
}

static void take(conn_t *c, const pproxy_header_t *h)
{
    cn_worker_t *w = c->pp->w;
    cn_section_t *section;

    if (!h->addressed) {
        refuse_said(c, PPROXY_NO_DESTINATION, CN_LOG_INFO,
                    "its header names no addresses (LOCAL or UNSPEC)", CN_STR_NULL);
        return;
    }
    if (!identity_holds(w, h->identity)) {
        refuse_said(c, PPROXY_IDENTITY, CN_LOG_WARN,
                    "not an identity of a trusted domain: ", h->identity);
        return;
    }
    section = find_service(cn_worker_gen(w), h);
    if (!section)
        refuse_unserved(c, h);
    else if (!cn_worker_admit(w))
        refuse_said(c, PPROXY_OVERLOAD, CN_LOG_WARN, "overloaded", CN_STR_NULL);
    else
        hand_over(c, h, section);
}

/* ---- a header arrives ---- */

/* bytes: where the header is put together; h points into it.  CN_DONE: the peer
 * has ended or is gone. */
static cn_rc collect(conn_t *c, char bytes[PPROXY_MAX], pproxy_header_t *h)
{
    cn_rc rc;

    for (;;) {
        if (c->head.bytes >= c->need) {
            size_t n = cn_chain_peek(&c->head, bytes, PPROXY_MAX);

            rc = pproxy_parse(cn_str_make(bytes, n), h);
            if (rc != CN_AGAIN)
                return rc;
            c->need = h->size;
            continue;
        }
        rc = cn_stream_read(c->s, &c->head, PPROXY_MAX);
        if (rc != CN_OK)
            return rc == CN_ERR ? CN_DONE : rc;
    }
}

static void on_wake(cn_task_t *task, uint32_t why)
{
    conn_t *c = cn_container_of(task, conn_t, task);
    char bytes[PPROXY_MAX];
    pproxy_header_t h;

    switch (collect(c, bytes, &h)) {
    case CN_OK:
        take(c, &h);
        break;
    case CN_AGAIN:
        if (why & CN_WAKE_TIMER)
            refuse_said(c, PPROXY_TIMEOUT, CN_LOG_WARN, "its header did not come in time",
                        CN_STR_NULL);
        break;
    case CN_DONE: /* without a byte: somebody looked whether the port is open */
        refuse_said(c, PPROXY_CLOSED, c->head.bytes ? CN_LOG_WARN : CN_LOG_DEBUG,
                    "it ended within its header", CN_STR_NULL);
        break;
    default:
        refuse_said(c, PPROXY_MALFORMED, CN_LOG_WARN,
                    "malformed PROXY header: ", cn_str_c(h.error));
    }
}

/* ---- the listener ---- */

static bool is_expected(const pproxy_conf_t *conf, const cn_addr_t *remote)
{
    const cn_addr_t *block = conf->from.v;

    for (uint32_t i = 0; i < conf->from.n; i++)
        if (cn_inet_block_has(&block[i], remote))
            return true;
    return false;
}

/* Anybody who reaches the port can cause these: the metric counts them all. */
static void turn_away(pproxy_t *pp, int fd, const cn_addr_t *remote, pproxy_reason reason)
{
    uint64_t now = cn_loop_ms(pp->loop);
    char from[CN_INET_TEXT];

    pproxy_count(pp, reason);
    close(fd);
    if (now < pp->next_log_ms)
        return;
    pp->next_log_ms = now + STRANGERS_MS;
    cn_inet_put(from, remote, true);
    cn_log(CN_LOG_WARN, "proxy_protocol", "connection of %s closed: %s", from,
           reason == PPROXY_STRANGER ? "not in proxy_protocol_from" : "proxy_protocol_max_waiting");
}

static void on_accept(cn_worker_t *w, void *wctx, int fd, const cn_addr_t *remote)
{
    pproxy_t *pp = wctx;
    conn_t *c;

    (void)w;
    cn_series_add(pp->connections, 1);
    if (!is_expected(pp->conf, remote)) {
        turn_away(pp, fd, remote, PPROXY_STRANGER);
        return;
    }
    if (pp->nwaiting >= pp->conf->max_waiting) {
        turn_away(pp, fd, remote, PPROXY_OVERLOAD);
        return;
    }
    c = cn_xzalloc(sizeof(*c));
    c->pp = pp;
    c->need = 1;
    cn_list_push(&pp->waiting, &c->link);
    pp->nwaiting++;
    cn_series_add(pp->waiting_series, 1);
    cn_task_init(&c->task, pp->loop, on_wake);
    cn_timer_init(&c->timer, &c->task, CN_WAKE_TIMER);
    cn_timer_set(&c->timer, pp->conf->timeout_ms);
    c->s = cn_sock_accepted(pp->loop, fd, remote, &c->task);
}

static uint32_t active(void *wctx)
{
    return ((pproxy_t *)wctx)->nwaiting;
}

const cn_listener_ops_t pproxy_listener = {
    .name = "proxy_protocol",
    .accept = on_accept,
    .active = active,
};

void pproxy_accept_fini(pproxy_t *pp)
{
    cn_list_each (node, &pp->waiting) {
        conn_t *c = cn_list_entry(node, conn_t, link);

        cn_stream_close(c->s, true);
        free_conn(c);
    }
}
