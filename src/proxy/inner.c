/* SPDX-License-Identifier: Apache-2.0
 *
 * One accepted tunnel: decides what is spoken on it and hands its stream to an
 * HTTP server mux or to an L4 connection.
 *
 * state     stream held by        leaves when
 * SNIFFING  the inner             bytes decide, time is over, or the client is gone
 * HTTP      the h1 or h2 server   the mux says closed
 * L4        the L4 request        that request finished
 *
 * A port's declaration says whether HTTP or bytes come; which HTTP it is, the
 * client's preface says.
 *
 * The inner lives as long as its stream's holder and its requests; then the
 * tunnel's pool and section go.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "proxy/req_int.h"

static void free_inner(void *p)
{
    cn_inner_t *inner = p;

    cn_pool_destroy(inner->tunnel.pool);
    free(inner);
}

void cn_inner_unref(cn_inner_t *inner)
{
    if (--inner->refs)
        return;
    inner->w->tunnels--;
    cn_series_sub(inner->w->tunnels_open, 1);
    cn_timer_stop(&inner->timer);
    cn_task_fini(&inner->task);
    cn_list_remove(&inner->link);
    cn_chain_clear(&inner->head);
    cn_section_unref(inner->tunnel.section);
    cn_loop_retire(inner->w->loop, free_inner, inner);
}

static void on_request(void *ctx, cn_exch_t *x)
{
    cn_req_begin(ctx, x);
}

static void on_closed(void *ctx)
{
    cn_inner_t *inner = ctx;

    inner->h1 = NULL;
    inner->h2 = NULL;
    cn_inner_unref(inner);
}

static cn_stream_t *take_stream(cn_inner_t *inner)
{
    cn_stream_t *s = inner->stream;

    inner->stream = NULL;
    cn_timer_stop(&inner->timer);
    s->owner = NULL;
    return inner->head.bytes ? cn_tunnel_prefix(s, &inner->head) : s;
}

static void serve_http1(cn_inner_t *inner)
{
    static const cn_h1_server_cbs_t cbs = {on_request, on_closed};
    cn_h1_server_conf_t conf = cn_h1_server_conf_default;

    conf.limits = inner->w->conf->h1_limits;
    conf.idle_ms = inner->w->conf->idle_ms;
    conf.head_ms = inner->w->conf->head_ms;
    inner->h1 = cn_h1_server_create(inner->w->loop, take_stream(inner), &conf, &cbs, inner);
    if (inner->w->draining)
        cn_h1_server_drain(inner->h1, inner->w->conf->drain_idle_ms);
}

/* A client that is slow to take one response holds up no other: the
 * connection's window is many times a stream's. */
#define H2_STREAMS 1024u
#define H2_STREAM_WINDOW (256u * 1024)
#define H2_CONN_WINDOW (16u * 1024 * 1024)
#define H2_LINGER_MS 1000u /* as HTTP/1.1 */

static void serve_http2(cn_inner_t *inner)
{
    static const cn_h2_cbs_t cbs = {.request = on_request, .closed = on_closed};
    const cn_proxy_conf_t *pc = inner->w->conf;
    cn_h2_conf_t conf = {
        .max_streams = H2_STREAMS,
        .stream_window = H2_STREAM_WINDOW,
        .conn_window = H2_CONN_WINDOW,
        .max_frame = 16384,
        .max_header_list = (uint32_t)pc->h1_limits.max_head,
        .max_headers = (uint32_t)pc->h1_limits.max_headers,
        .send_buffer = 64 * 1024,
        .idle_ms = pc->idle_ms,
        .head_ms = pc->head_ms,
        .linger_ms = H2_LINGER_MS,
        .connect_protocol = true,
    };

    inner->h2 = cn_h2_server_create(inner->w->loop, take_stream(inner), &conf, &cbs, inner);
    if (inner->w->draining)
        cn_h2_drain_late(inner->h2, pc->drain_idle_ms);
}

static void serve_l4(cn_inner_t *inner)
{
    cn_req_l4_begin(inner, take_stream(inner));
    cn_inner_unref(inner); /* the request holds it from now on */
}

/* Nothing was served. */
static void give_up(cn_inner_t *inner, bool do_abort)
{
    cn_stream_close(inner->stream, do_abort);
    inner->stream = NULL;
    cn_inner_unref(inner);
}

/* A TLS client's hello: CN_OK once it is known whether there is one, and for
 * whom; CN_AGAIN; CN_ERR: it cannot be read. */
static cn_rc look_at_hello(cn_inner_t *inner)
{
    cn_hello_t hello;
    cn_rc rc = cn_tunnel_hello(&inner->head, &hello);

    if (rc == CN_OK && hello.n)
        inner->sni = cn_pool_dup(inner->tunnel.pool, cn_str_make(hello.name, hello.n));
    return rc == CN_DECLINE ? CN_OK : rc;
}

/* What the bytes so far say; CN_SNIFF_MORE: wait. */
static cn_sniff judge(cn_inner_t *inner, bool http, cn_rc *hello)
{
    cn_sniff what = http ? cn_tunnel_sniff(&inner->head) : CN_SNIFF_TCP;

    *hello = CN_OK;
    if (what == CN_SNIFF_TCP)
        *hello = look_at_hello(inner);
    return *hello == CN_AGAIN ? CN_SNIFF_MORE : what;
}

/* The same as the bytes come.  A client that is silent for too long, or has
 * ended, is taken for one whose server speaks first; one that has begun a TLS
 * hello and not completed it must not get past what is decided by its name. */
static cn_sniff look(cn_inner_t *inner, bool http, bool timed_out, cn_rc *rc)
{
    cn_rc hello;
    cn_sniff what;

    do {
        *rc = cn_stream_read(inner->stream, &inner->head, 4096);
        what = judge(inner, http, &hello);
    } while (*rc == CN_OK && what == CN_SNIFF_MORE);
    if (what == CN_SNIFF_MORE && (*rc == CN_DONE || timed_out)) {
        what = CN_SNIFF_TCP;
        if (hello == CN_AGAIN && inner->head.bytes)
            hello = CN_ERR;
    }
    if (hello == CN_ERR)
        inner->bad_hello = true;
    return what;
}

static void sniff(cn_inner_t *inner, bool http, bool timed_out)
{
    cn_rc rc;
    cn_sniff what = look(inner, http, timed_out, &rc);

    if (rc == CN_ERR)
        give_up(inner, true);
    else if (what == CN_SNIFF_HTTP1)
        serve_http1(inner);
    else if (what == CN_SNIFF_HTTP2)
        serve_http2(inner);
    else if (what != CN_SNIFF_MORE)
        serve_l4(inner);
}

/* A connection that is slow to begin is HTTP/1.1's to judge. */
static void sniff_version(cn_inner_t *inner, bool timed_out)
{
    cn_sniff what;
    cn_rc rc;

    do {
        rc = cn_stream_read(inner->stream, &inner->head, 4096);
        what = cn_tunnel_sniff_http(&inner->head);
    } while (rc == CN_OK && what == CN_SNIFF_MORE);
    if (rc == CN_ERR)
        give_up(inner, true);
    else if (what == CN_SNIFF_HTTP2)
        serve_http2(inner);
    else if (timed_out && inner->head.bytes == 0)
        give_up(inner, false);
    else if (what == CN_SNIFF_HTTP1 || rc == CN_DONE || timed_out)
        serve_http1(inner);
    else if (inner->head.bytes && inner->w->conf->head_ms)
        cn_timer_set(&inner->timer, inner->w->conf->head_ms);
}

/* The first bytes decide, or the sniff time when there are none. */
static bool is_sniffed(const cn_inner_t *inner)
{
    int protocol = cn_tunnel_service(inner->tunnel.section)->protocol;

    return protocol == CN_PROTO_AUTO || protocol == CN_PROTO_TLS;
}

static uint64_t idle_ms(const cn_worker_t *w)
{
    return w->draining ? w->conf->drain_idle_ms : w->conf->idle_ms;
}

static void inner_run(cn_task_t *task, uint32_t why)
{
    cn_inner_t *inner = cn_container_of(task, cn_inner_t, task);
    const cn_service_conf_t *sc = cn_tunnel_service(inner->tunnel.section);

    if (!inner->stream)
        return;
    if (sc->protocol == CN_PROTO_TCP)
        serve_l4(inner);
    else if (is_sniffed(inner))
        sniff(inner, sc->protocol == CN_PROTO_AUTO, (why & CN_WAKE_TIMER) != 0);
    else
        sniff_version(inner, (why & CN_WAKE_TIMER) != 0);
}

cn_inner_t *cn_inner_create(cn_worker_t *w, const cn_tunnel_t *t)
{
    cn_inner_t *inner = cn_xzalloc(sizeof(*inner));

    inner->w = w;
    inner->tunnel = *t;
    inner->refs = 1;
    w->tunnels++;
    cn_series_add(w->tunnels_open, 1);
    cn_list_push(&w->inner, &inner->link);
    cn_task_init(&inner->task, w->loop, inner_run);
    cn_timer_init(&inner->timer, &inner->task, CN_WAKE_TIMER);
    return inner;
}

void cn_tunnel_serve(cn_worker_t *w, cn_tunnel_t *t, cn_stream_t *s)
{
    cn_inner_t *inner = cn_inner_create(w, t);

    inner->stream = s;
    if (is_sniffed(inner))
        cn_timer_set(&inner->timer, cn_tunnel_service(t->section)->sniff_ms);
    else if (w->draining || idle_ms(w))
        cn_timer_set(&inner->timer, idle_ms(w));
    cn_stream_own(s, &inner->task);
}

void cn_inner_drain(cn_inner_t *inner)
{
    if (inner->h1)
        cn_h1_server_drain(inner->h1, inner->w->conf->drain_idle_ms);
    else if (inner->h2)
        cn_h2_drain_late(inner->h2, inner->w->conf->drain_idle_ms);
    else if (inner->stream && inner->head.bytes == 0 && !is_sniffed(inner))
        cn_timer_set(&inner->timer, inner->w->conf->drain_idle_ms);
}

void cn_inner_end(cn_inner_t *inner)
{
    if (inner->h1)
        cn_h1_server_destroy(inner->h1);
    else if (inner->h2)
        cn_h2_destroy(inner->h2);
    else if (inner->stream)
        cn_stream_close(inner->stream, true);
    inner->h1 = NULL;
    inner->h2 = NULL;
    inner->stream = NULL;
    cn_inner_unref(inner);
}

void cn_tunnel_refused(cn_worker_t *w, const cn_peer_t *peer, cn_str_t authority, unsigned status,
                       cn_str_t details)
{
    cn_refusal_t r = {.authority = authority, .details = details, .status = status};
    char from[CN_INET_TEXT] = "-", with[24] = "";

    if (peer) {
        r.from = peer->remote;
        r.identity = peer->identity;
        cn_inet_put(from, &peer->remote, true);
    }
    if (status)
        snprintf(with, sizeof(with), " with %u", status);
    cn_log(CN_LOG_WARN, "tunnel", "CONNECT %.*s from %s (%.*s) refused%s: %.*s",
           CN_STR_ARG(authority), from, CN_STR_ARG(r.identity), with, CN_STR_ARG(details));
    cn_worker_refused(w, &r);
}
