/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections to hosts, kept for reuse.
 *
 * state   list                woken by                     leaves to
 * BUSY    pool->all           - (its user owns the exchange)  IDLE, gone
 * IDLE    pool->all, host->idle  peer closing, idle timer     BUSY, gone
 *
 * A connection holds a reference of its host, so a host that left the set
 * lives until its last request ended; it gets none from then on because
 * nobody picks it, and cn_upool_retire() closes what idles.  How long its last
 * requests may take is not decided here (proxy/leave.c).
 *
 * HTTP/2 sessions are another matter and in h2share.c; a use of one is not a
 * connection but one exchange among others.
 */
#include "upstream/pool.h"

#include <stdlib.h>

#include "core/hash.h"
#include "event/sock.h"
#include "http/h1mux.h"
#include "upstream/h2share.h"

struct cn_upool {
    cn_loop_t *loop;
    const cn_transport_t *transports;
    unsigned ntransports;
    const cn_layer_t *layers;
    unsigned nlayers;
    cn_list_t all;
    uint32_t idle;
    cn_h2shares_t shares;
    cn_admissions_t *admissions; /* or NULL */
};

typedef struct {
    cn_uconn_t u;
    cn_upool_t *pool;
    cn_task_t task;   /* while idle */
    cn_timer_t timer; /* idle time */
    cn_list_t all;    /* pool->all */
    cn_list_t link;   /* host->idle while idle */
    cn_h1_client_t *h1;
    cn_ticket_t ticket;
    uint64_t idle_ms;
    uint64_t end_ms;         /* by the loop's clock, when it is too old; 0: never */
    uint64_t mark;           /* of its layers */
    uint32_t uses, max_uses; /* max_uses 0: no limit */
    uint16_t port;
    bool is_idle;
} conn_t;

cn_upool_t *cn_upool_create(cn_loop_t *loop, const cn_transport_t *transports, unsigned n)
{
    cn_upool_t *pool = cn_xzalloc(sizeof(*pool));

    pool->loop = loop;
    pool->transports = transports;
    pool->ntransports = n;
    cn_list_init(&pool->all);
    cn_h2share_all_init(&pool->shares, loop);
    return pool;
}

/* It idles until then; 0: for as long as it lasts. */
static uint64_t idle_time(const conn_t *c)
{
    uint64_t now = cn_loop_ms(c->pool->loop), left = c->end_ms > now ? c->end_ms - now : 1;

    return c->end_ms && (!c->idle_ms || left < c->idle_ms) ? left : c->idle_ms;
}

static bool is_worn(const conn_t *c)
{
    return (c->max_uses && c->uses >= c->max_uses) ||
           (c->end_ms && cn_loop_ms(c->pool->loop) >= c->end_ms);
}

/* By another worker, more than by this one. */
static bool is_wanted(const conn_t *c)
{
    return c->ticket.cluster && cn_admission_spare(c->pool->admissions, c->ticket.cluster);
}

static void set_idle(conn_t *c, bool idle)
{
    if (c->is_idle == idle)
        return;
    c->is_idle = idle;
    if (idle) {
        c->pool->idle++;
        cn_list_push_front(&c->u.host->idle, &c->link);
        if (idle_time(c))
            cn_timer_set(&c->timer, idle_time(c));
        if (c->ticket.cluster)
            cn_admission_wake(c->pool->admissions, c->ticket.cluster);
    } else {
        c->pool->idle--;
        cn_list_remove(&c->link);
        cn_timer_stop(&c->timer);
    }
}

static void conn_destroy(conn_t *c)
{
    set_idle(c, false);
    cn_list_remove(&c->all);
    cn_task_fini(&c->task);
    cn_h1_client_destroy(c->h1);
    cn_admission_return(c->pool->admissions, &c->ticket);
    cn_host_unref(c->u.host);
    cn_loop_retire(c->pool->loop, free, c);
}

static void conn_run(cn_task_t *task, uint32_t why)
{
    conn_t *c = cn_container_of(task, conn_t, task);

    if (c->is_idle && ((why & CN_WAKE_TIMER) || !cn_h1_client_usable(c->h1)))
        conn_destroy(c);
}

static const cn_transport_t *transport_of(const cn_upool_t *pool, const cn_host_t *host)
{
    for (unsigned i = 0; i < pool->ntransports; i++)
        if (pool->transports[i].ops->kind == host->tunnel)
            return &pool->transports[i];
    return NULL;
}

/* ---- layers ---- */

void cn_upool_set_layers(cn_upool_t *pool, const cn_layer_t *layers, unsigned n)
{
    pool->layers = layers;
    pool->nlayers = n;
}

/* The layer's settings in a cluster that uses it, else NULL. */
static const void *layer_conf(const cn_layer_t *l, const cn_cluster_t *cluster)
{
    const void *conf = cluster->section ? cluster->section->confs[l->unit] : NULL;

    return conf && l->ops->applies(conf) ? conf : NULL;
}

static uint64_t mark_of(const cn_upool_t *pool, cn_cluster_t *cluster, const cn_uasked_t *asked)
{
    uint64_t mark = 0;

    for (unsigned i = 0; i < pool->nlayers; i++) {
        const cn_layer_t *l = &pool->layers[i];
        const void *conf = layer_conf(l, cluster);
        uint64_t one;

        if (!conf || !l->ops->mark)
            continue;
        one = l->ops->mark(l->wctx, cluster, conf, asked);
        mark = cn_hash_xxh(cn_str_make((const char *)&one, sizeof(one)), mark + 1);
    }
    return mark;
}

static cn_stream_t *wrap(const cn_upool_t *pool, cn_cluster_t *cluster, const cn_uasked_t *asked,
                         cn_stream_t *s)
{
    for (unsigned i = 0; i < pool->nlayers; i++) {
        const cn_layer_t *l = &pool->layers[i];
        const void *conf = layer_conf(l, cluster);

        if (conf)
            s = l->ops->wrap(l->wctx, cluster, conf, s, asked, cluster->conf->connect_timeout_ms,
                             NULL);
    }
    return s;
}

static cn_stream_t *connect_to(const cn_upool_t *pool, const cn_cluster_t *cluster,
                               const cn_host_t *host, const cn_addr_t *to)
{
    cn_stream_t *s = cn_sock_connect(pool->loop, to, cluster->conf->connect_timeout_ms, NULL);
    cn_sock_watch_t watch = cluster->conf->watch;

    if (watch.dead_ms == UINT64_MAX)
        watch.dead_ms = host->outside ? CN_OUTSIDE_DEAD_MS : cn_sock_watch_default.dead_ms;
    cn_sock_watch(s, &watch);
    return s;
}

static cn_stream_t *open_stream(cn_upool_t *pool, cn_cluster_t *cluster, cn_host_t *host,
                                const cn_uasked_t *asked, cn_spoken spoken, cn_task_t *owner)
{
    cn_uasked_t with = *asked;
    const cn_transport_t *t = transport_of(pool, host);
    uint64_t timeout_ms = cluster->conf->connect_timeout_ms;
    cn_addr_t to = host->addr;
    cn_stream_t *s;

    if (to.port == 0)
        to.port = asked->dest.port;
    with.spoken = spoken;
    if (t)
        s = t->ops->open(t->wctx, cluster, host, &with, timeout_ms, NULL);
    else
        s = connect_to(pool, cluster, host, &to);
    s = wrap(pool, cluster, &with, s);
    if (owner)
        cn_stream_own(s, owner);
    return s;
}

void cn_upool_set_admissions(cn_upool_t *pool, cn_admissions_t *admissions)
{
    pool->admissions = pool->shares.admissions = admissions;
}

/* The one that idles for the longest at some host of the cluster. */
static conn_t *find_evictable(const cn_cluster_t *cluster)
{
    for (uint32_t i = 0; i < cluster->nhosts; i++)
        if (!cn_list_empty(&cluster->hosts[i]->idle))
            return cn_list_entry(cluster->hosts[i]->idle.prev, conn_t, link);
    return NULL;
}

bool cn_upool_evict(cn_upool_t *pool CN_UNUSED, cn_cluster_t *cluster)
{
    conn_t *c = find_evictable(cluster);

    if (c)
        conn_destroy(c);
    return c;
}

static bool take(cn_upool_t *pool, cn_cluster_t *cluster, bool shared, cn_ticket_t *ticket)
{
    if (shared)
        return cn_admission_take_shared(pool->admissions, cluster, ticket);
    return cn_admission_take(pool->admissions, cluster, CN_ADMIT_CONNECTION, ticket);
}

/* A connection that idles at another host makes room. */
static bool may_connect(cn_upool_t *pool, cn_cluster_t *cluster, bool shared, cn_ticket_t *ticket)
{
    return take(pool, cluster, shared, ticket) ||
           (cn_upool_evict(pool, cluster) && take(pool, cluster, shared, ticket));
}

static conn_t *conn_create(cn_upool_t *pool, cn_cluster_t *cluster, cn_host_t *host,
                           const cn_uasked_t *asked)
{
    cn_ticket_t ticket = {0};
    conn_t *c;

    if (!may_connect(pool, cluster, false, &ticket))
        return NULL;
    c = cn_xzalloc(sizeof(*c));
    c->pool = pool;
    c->ticket = ticket;
    c->port = asked->dest.port;
    c->mark = mark_of(pool, cluster, asked);
    c->idle_ms = cluster->conf->idle_ms;
    c->max_uses = cluster->conf->max_conn_requests;
    if (cluster->conf->max_conn_ms)
        c->end_ms = cn_loop_ms(pool->loop) + cluster->conf->max_conn_ms;
    c->u.host = cn_host_ref(host);
    cn_task_init(&c->task, pool->loop, conn_run);
    cn_timer_init(&c->timer, &c->task, CN_WAKE_TIMER);
    cn_list_init(&c->link);
    cn_list_push(&pool->all, &c->all);
    c->h1 = cn_h1_client_create(
        pool->loop, open_stream(pool, cluster, host, asked, CN_SPOKEN_HTTP1, NULL), &c->task);
    return c;
}

static conn_t *find_idle(const cn_upool_t *pool, cn_cluster_t *cluster, cn_host_t *host,
                         const cn_uasked_t *asked)
{
    uint64_t mark = mark_of(pool, cluster, asked);

    cn_list_each (node, &host->idle) {
        conn_t *c = cn_list_entry(node, conn_t, link);

        if ((host->addr.port || c->port == asked->dest.port) && c->mark == mark && !is_worn(c) &&
            cn_h1_client_check(c->h1))
            return c;
    }
    return NULL;
}

/* What the port is declared to speak; else what the client speaks (hbone.md 4.3). */
cn_http_version cn_upool_version(const cn_cluster_t *cluster, cn_http_version client)
{
    int declared = cluster->conf->protocol;

    if (declared == CN_PROTO_AUTO || cluster->conf->client_protocol)
        return client == CN_HTTP_2 ? CN_HTTP_2 : CN_HTTP_11;
    return declared == CN_PROTO_HTTP2 || declared == CN_PROTO_GRPC ? CN_HTTP_2 : CN_HTTP_11;
}

static cn_uconn_t *use_conn(conn_t *c, cn_task_t *owner)
{
    c->u.host->active++;
    c->uses++;
    c->u.exch = cn_h1_client_open(c->h1, owner);
    return &c->u;
}

static cn_uconn_t *use_shared(cn_host_t *host, cn_exch_t *x)
{
    cn_uconn_t *u;

    if (!x)
        return NULL;
    u = cn_xzalloc(sizeof(*u));
    u->shared = true;
    u->host = cn_host_ref(host);
    u->exch = x;
    host->active++;
    return u;
}

static cn_h2share_key_t key_of(const cn_upool_t *pool, cn_cluster_t *cluster, const cn_host_t *host,
                               const cn_uasked_t *asked)
{
    return (cn_h2share_key_t){host->addr.port ? 0 : asked->dest.port,
                              mark_of(pool, cluster, asked)};
}

static cn_uconn_t *open_shared(cn_upool_t *pool, cn_cluster_t *cluster, cn_host_t *host,
                               const cn_uasked_t *asked, cn_task_t *owner)
{
    cn_h2share_key_t key = key_of(pool, cluster, host, asked);
    const cn_h2share_limits_t limits = {.idle_ms = cluster->conf->idle_ms,
                                        .age_ms = cluster->conf->max_conn_ms,
                                        .ping_ms = cluster->conf->ping_ms,
                                        .ping_timeout_ms = cluster->conf->ping_timeout_ms,
                                        .requests = cluster->conf->max_conn_requests,
                                        .streams = cluster->conf->max_streams};
    cn_ticket_t ticket = {0};
    cn_exch_t *x;

    if (!may_connect(pool, cluster, true, &ticket))
        return NULL;
    cn_h2share_create(&pool->shares, host, &key,
                      open_stream(pool, cluster, host, asked, CN_SPOKEN_HTTP2, NULL), &ticket,
                      &limits);
    x = cn_h2share_open(host, &key, owner);
    CN_BUG_ON(!x);
    return use_shared(host, x);
}

static void close_shared(cn_uconn_t *u)
{
    u->host->active--;
    u->exch->ops->close(u->exch);
    cn_host_unref(u->host);
    free(u);
}

cn_uconn_t *cn_upool_open_kept(cn_upool_t *pool, cn_cluster_t *cluster, cn_host_t *host,
                               const cn_uasked_t *asked, cn_http_version version, cn_task_t *owner)
{
    conn_t *c;

    if (version == CN_HTTP_2) {
        cn_h2share_key_t key = key_of(pool, cluster, host, asked);

        return use_shared(host, cn_h2share_open(host, &key, owner));
    }
    c = find_idle(pool, cluster, host, asked);
    if (!c)
        return NULL;
    set_idle(c, false);
    return use_conn(c, owner);
}

cn_uconn_t *cn_upool_open(cn_upool_t *pool, cn_cluster_t *cluster, cn_host_t *host,
                          const cn_uasked_t *asked, cn_http_version version, bool fresh,
                          cn_task_t *owner)
{
    cn_uconn_t *u = NULL;
    conn_t *c;

    if (!fresh || version == CN_HTTP_2)
        u = cn_upool_open_kept(pool, cluster, host, asked, version, owner);
    if (u)
        return u;
    if (version == CN_HTTP_2)
        return open_shared(pool, cluster, host, asked, owner);
    c = conn_create(pool, cluster, host, asked);
    return c ? use_conn(c, owner) : NULL;
}

bool cn_upool_connected(cn_uconn_t *u)
{
    cn_stream_t *s = cn_upool_conn_stream(u);

    return !s || cn_stream_ready(s) != CN_AGAIN;
}

void cn_upool_close(cn_uconn_t *u)
{
    conn_t *c = cn_container_of(u, conn_t, u);

    if (u->shared) {
        close_shared(u);
        return;
    }
    c->u.host->active--;
    c->u.exch->ops->close(c->u.exch);
    c->u.exch = NULL;
    if (cn_h1_client_usable(c->h1) && !cn_host_is_out(c->u.host) && !is_worn(c) && !is_wanted(c))
        set_idle(c, true);
    else
        conn_destroy(c);
}

cn_stream_t *cn_upool_conn_stream(cn_uconn_t *u)
{
    if (u->shared)
        return u->exch->ops->stream(u->exch);
    return cn_h1_client_stream(cn_container_of(u, conn_t, u)->h1);
}

cn_stream_t *cn_upool_stream(cn_upool_t *pool, cn_cluster_t *cluster, cn_host_t *host,
                             const cn_uasked_t *asked, cn_task_t *owner)
{
    return open_stream(pool, cluster, host, asked, CN_SPOKEN_BYTES, owner);
}

uint32_t cn_upool_idle(const cn_upool_t *pool)
{
    return pool->idle;
}

uint32_t cn_upool_sessions(const cn_upool_t *pool)
{
    return pool->shares.n;
}

void cn_upool_retire(cn_upool_t *pool, cn_host_t *host)
{
    const cn_transport_t *t = transport_of(pool, host);

    cn_host_ref(host);
    cn_list_each (node, &host->idle)
        conn_destroy(cn_list_entry(node, conn_t, link));
    cn_h2share_retire(host);
    if (t && t->ops->retire)
        t->ops->retire(t->wctx, host);
    cn_host_unref(host);
}

void cn_upool_destroy(cn_upool_t *pool)
{
    if (!pool)
        return;
    cn_list_each (node, &pool->all) {
        conn_t *c = cn_list_entry(node, conn_t, all);

        CN_BUG_ON(!c->is_idle);
        conn_destroy(c);
    }
    cn_h2share_all_fini(&pool->shares);
    free(pool);
}
