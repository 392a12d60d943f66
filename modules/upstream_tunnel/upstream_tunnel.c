/* SPDX-License-Identifier: Apache-2.0
 *
 * upstream_tunnel: connections go through endpoints that are forward proxies
 * (DestinationRule's tunnel): each asks its endpoint for the target by CONNECT
 * (RFC 9110 9.3.6, 9112 3.2.3), and is ready when that is answered with 2xx.
 * It goes into the endpoint's TLS where there is one; what the clients speak
 * goes inside.
 *
 * state    meaning                            leaves to
 * ASKING   the request is being written       WAITING, failed
 * WAITING  for the whole head of the answer   OPEN, failed
 * OPEN     bytes pass as they are
 *
 * Failed is stream.err; the timer runs until OPEN.
 */
#include <stdio.h>
#include <stdlib.h>

#include <cairn/transport.h>

#define MOST_HEAD 8192u

extern const cn_module_t cn_module_upstream_tunnel;

typedef struct {
    cn_str_t target; /* HOST:PORT; empty: none */
} tunnel_conf_t;

typedef struct {
    cn_worker_t *w;
} worker_t;

typedef enum { ASKING, WAITING, OPEN } state_t;

typedef struct {
    cn_stream_t s;
    cn_stream_t *lower;
    cn_loop_t *loop;
    state_t state;
    cn_chain_t ask; /* not yet written */
    cn_chain_t in;  /* the answer; then what came with it */
    cn_task_t task;
    cn_timer_t timer;
    char why[64];
} tunnel_t;

/* ---- settings ---- */

static cn_rc set_tunnel(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_str_t host;
    uint16_t port;

    if (cn_uri_authority(argv[1], &host, &port) != CN_OK || port == 0)
        return cn_conf_error(cf, "\"%.*s\": expected HOST:PORT", CN_STR_ARG(argv[1]));
    ((tunnel_conf_t *)conf)->target = argv[1];
    return CN_OK;
}

static const cn_directive_t directives[] = {
    {.name = "upstream_tunnel",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(1, 1),
     .set = set_tunnel,
     .syntax = "upstream_tunnel HOST:PORT",
     .help = "The endpoints are forward proxies: each connection asks its endpoint for HOST:PORT "
             "by HTTP/1.1 CONNECT, inside upstream_tls where there is one, and carries what it "
             "carries from there on. An answer other than 2xx is a failure to connect."},
    {.name = NULL}};

/* ---- the answer ---- */

/* Bytes of the head with its empty line; 0: it is not all there yet. */
static size_t head_length(const char *p, size_t n)
{
    for (size_t i = 3; i < n; i++)
        if (memcmp(p + i - 3, "\r\n\r\n", 4) == 0)
            return i + 1;
    return 0;
}

static cn_rc refuse(tunnel_t *t, cn_serr err, const char *why)
{
    return cn_stream_fail(&t->s, err, why);
}

/* "HTTP/1.1 200 ..."; other bytes are no proxy's. */
static cn_rc judge(tunnel_t *t, const char *head, size_t n)
{
    bool http = n >= 13 && memcmp(head, "HTTP/1.", 7) == 0 && head[8] == ' ';
    uint64_t status = 0;

    if (!http || cn_str_u64(cn_str_make(head + 9, 3), 999, &status) != CN_OK)
        return refuse(t, CN_SERR_PROTOCOL, "the proxy's answer to CONNECT is no HTTP");
    if (status >= 200 && status < 300)
        return CN_OK;
    (void)snprintf(t->why, sizeof(t->why), "the proxy answered CONNECT with %u", (unsigned)status);
    return refuse(
        t, status == 401 || status == 403 || status == 407 ? CN_SERR_DENIED : CN_SERR_REFUSED,
        t->why);
}

/* CN_AGAIN: more of the head is to come. */
static cn_rc take_answer(tunnel_t *t)
{
    char head[MOST_HEAD];
    size_t n = cn_chain_peek(&t->in, head, sizeof(head)), length = head_length(head, n);
    cn_rc rc;

    if (length == 0 && n == sizeof(head))
        return refuse(t, CN_SERR_PROTOCOL, "the proxy's answer to CONNECT is too large");
    if (length == 0)
        return CN_AGAIN;
    rc = judge(t, head, length);
    if (rc != CN_OK)
        return rc;
    cn_chain_skip(&t->in, length);
    cn_timer_stop(&t->timer);
    t->state = OPEN;
    return CN_OK;
}

/* ---- the stream ---- */

static tunnel_t *self(cn_stream_t *s)
{
    tunnel_t *t = cn_container_of(s, tunnel_t, s);

    t->lower->owner = s->owner;
    return t;
}

static cn_rc of_lower(tunnel_t *t, cn_rc rc)
{
    return rc == CN_ERR ? refuse(t, t->lower->err, t->lower->err_text) : rc;
}

static cn_rc read_answer(tunnel_t *t)
{
    cn_rc rc = take_answer(t);

    while (rc == CN_AGAIN) {
        rc = cn_stream_read(t->lower, &t->in, MOST_HEAD);
        if (rc == CN_DONE)
            return refuse(t, CN_SERR_REFUSED, "the proxy closed without an answer to CONNECT");
        if (rc != CN_OK)
            return of_lower(t, rc);
        rc = take_answer(t);
    }
    return rc;
}

static cn_rc tunnel_ready(cn_stream_t *s)
{
    tunnel_t *t = self(s);
    cn_rc rc;

    if (t->s.err)
        return CN_ERR;
    if (t->state == OPEN)
        return of_lower(t, cn_stream_ready(t->lower));
    rc = cn_stream_ready(t->lower);
    if (rc == CN_OK && t->state == ASKING)
        rc = cn_stream_write(t->lower, &t->ask);
    if (rc != CN_OK)
        return of_lower(t, rc);
    t->state = WAITING;
    return read_answer(t);
}

static cn_rc tunnel_read(cn_stream_t *s, cn_chain_t *dst, size_t max)
{
    cn_rc rc = tunnel_ready(s);
    tunnel_t *t = self(s);
    size_t before = dst->bytes;

    if (rc != CN_OK)
        return rc;
    if (t->in.bytes)
        cn_chain_move(dst, &t->in, max < t->in.bytes ? max : t->in.bytes);
    else
        rc = of_lower(t, cn_stream_read(t->lower, dst, max));
    t->s.rx += dst->bytes - before;
    return rc;
}

static cn_rc tunnel_write(cn_stream_t *s, cn_chain_t *src)
{
    cn_rc rc = tunnel_ready(s);
    tunnel_t *t = self(s);
    size_t before = src->bytes;

    if (rc != CN_OK)
        return rc;
    rc = of_lower(t, cn_stream_write(t->lower, src));
    t->s.tx += before - src->bytes;
    return rc;
}

static void tunnel_shutdown(cn_stream_t *s)
{
    if (tunnel_ready(s) == CN_OK)
        cn_stream_shutdown(self(s)->lower);
}

static void tunnel_close(cn_stream_t *s, bool do_abort)
{
    tunnel_t *t = self(s);

    t->lower->owner = NULL;
    cn_stream_close(t->lower, do_abort);
    cn_timer_stop(&t->timer);
    cn_task_fini(&t->task);
    cn_chain_clear(&t->ask);
    cn_chain_clear(&t->in);
    cn_loop_retire(t->loop, free, t);
}

static const cn_peer_t *tunnel_peer(cn_stream_t *s)
{
    return cn_stream_peer(self(s)->lower);
}

static const cn_stream_ops_t ops = {tunnel_ready,    tunnel_read,  tunnel_write,
                                    tunnel_shutdown, tunnel_close, tunnel_peer};

static void on_timeout(cn_task_t *task, uint32_t why CN_UNUSED)
{
    tunnel_t *t = cn_container_of(task, tunnel_t, task);

    if (t->state == OPEN)
        return;
    (void)refuse(t, CN_SERR_TIMEOUT, "the proxy has not answered CONNECT in time");
    cn_stream_wake(&t->s, CN_WAKE_STATE);
}

/* ---- the layer ---- */

static bool applies(const void *conf)
{
    return ((const tunnel_conf_t *)conf)->target.n > 0;
}

static uint64_t mark(void *wctx CN_UNUSED, cn_cluster_t *cluster CN_UNUSED, const void *conf,
                     const cn_uasked_t *asked CN_UNUSED)
{
    return cn_hash_xxh(((const tunnel_conf_t *)conf)->target, 0);
}

static cn_stream_t *wrap(void *wctx, cn_cluster_t *cluster CN_UNUSED, const void *conf,
                         cn_stream_t *lower, const cn_uasked_t *asked CN_UNUSED,
                         uint64_t timeout_ms, cn_task_t *owner)
{
    const tunnel_conf_t *c = conf;
    tunnel_t *t = cn_xzalloc(sizeof(*t));

    t->s.ops = &ops;
    t->s.owner = owner;
    t->lower = lower;
    t->loop = cn_worker_loop(((worker_t *)wctx)->w);
    cn_chain_puts(&t->ask, CN_STR("CONNECT "));
    cn_chain_puts(&t->ask, c->target);
    cn_chain_puts(&t->ask, CN_STR(" HTTP/1.1\r\nhost: "));
    cn_chain_puts(&t->ask, c->target);
    cn_chain_puts(&t->ask, CN_STR("\r\n\r\n"));
    cn_task_init(&t->task, t->loop, on_timeout);
    cn_timer_init(&t->timer, &t->task, CN_WAKE_TIMER);
    if (timeout_ms)
        cn_timer_set(&t->timer, timeout_ms);
    return &t->s;
}

static const cn_layer_ops_t layer = {applies, mark, wrap};

static cn_rc worker_init(cn_worker_t *w, void **wctx)
{
    worker_t *tw = cn_xzalloc(sizeof(*tw));

    tw->w = w;
    *wctx = tw;
    return CN_OK;
}

static void worker_fini(cn_worker_t *w CN_UNUSED, void *wctx)
{
    free(wctx);
}

const cn_module_t cn_module_upstream_tunnel = {
    .abi = CN_MODULE_ABI,
    .name = "upstream_tunnel",
    .after = "upstream_tls",
    .directives = directives,
    .conf[CN_LV_CLUSTER] = {.size = sizeof(tunnel_conf_t)},
    .worker_init = worker_init,
    .worker_fini = worker_fini,
    .layer = &layer,
};
