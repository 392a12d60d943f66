/* SPDX-License-Identifier: Apache-2.0
 *
 * The server behind `listen ADDR agent|health|metrics|admin`: connections,
 * requests, and finding who answers.  Knows no endpoint by name.
 *
 * A client_t is a connection and ends with its mux; a call_t is one request on
 * it and owns its exchange, its pool and the answer.
 *
 *   HEAD     the request's head has not been read
 *   BODY     its body is read and dropped: no endpoint takes one
 *   ANSWER   head and body of the response are being sent
 *   OVER     given back; the memory goes at the end of the round
 */
#include "main/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "http/uri.h"
#include "proxy/worker.h"

/* Probes and scrapers are few; more than this at one kind of listener is not them. */
#define CLIENTS_MAX 256
#define KINDS 4
/* Of answers that are not taken; a page is not made beyond. */
#define UNSENT_MAX (64u << 20)
#define BODY_MAX (64u << 10)
#define IDLE_MS 60000
#define HEAD_MS 10000
#define CALL_MS 30000 /* from the first byte of a request to the last of its answer */

struct cn_admin_server {
    cn_worker_t *w;
    const cn_board_t *board;
    unsigned slots;
    cn_admin_ask_cb *ask;
    void *ctx;
    cn_list_t clients, calls;
    unsigned nclients[KINDS]; /* by the bit of their kind (CN_ADMIN_*) */
    bool draining, leaving;
};

typedef struct {
    cn_list_t link;
    cn_admin_server_t *server;
    cn_h1_server_t *h1;
    unsigned kind;
    bool local;
    bool served; /* it has made a request */
} client_t;

typedef enum { HEAD, BODY, ANSWER, OVER } state_t;

typedef struct {
    cn_list_t link;
    cn_task_t task;
    cn_timer_t timer;
    cn_admin_server_t *server;
    unsigned kind; /* of its client, which may end first */
    bool local;
    state_t state;
    cn_exch_t *x;
    cn_pool_t *pool;
    cn_msg_t msg;
    size_t body; /* bytes of it so far */
    cn_admin_req_t req;
    const char *allow; /* for 405 */
} call_t;

/* ---- for the endpoints ---- */

cn_worker_t *cn_admin_worker(cn_admin_server_t *s)
{
    return s->w;
}

const cn_board_t *cn_admin_board(const cn_admin_server_t *s)
{
    return s->board;
}

unsigned cn_admin_slots(const cn_admin_server_t *s)
{
    return s->slots;
}

void cn_admin_ask(cn_admin_server_t *s, unsigned what, unsigned value)
{
    s->ask(s->ctx, what, value);
}

void cn_admin_drain(cn_admin_server_t *s)
{
    s->draining = true;
}

bool cn_admin_draining(const cn_admin_server_t *s)
{
    return s->draining;
}

bool cn_admin_ready(const cn_admin_server_t *s)
{
    const cn_worker_t *w = s->w;

    if (s->draining || !w->gen)
        return false;
    return w->tls != NULL || w->conf->cert_file.n == 0;
}

void cn_admin_printf(cn_admin_req_t *r, const char *fmt, ...)
{
    char text[512];
    va_list args, again;

    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    /* Not in the pool too: pages are large, and wait for who reads them. */
    cn_chain_puts(&r->body, n >= 0 && (size_t)n < sizeof(text)
                                ? cn_str_make(text, (size_t)n)
                                : cn_pool_vprintf(r->pool, fmt, again));
    va_end(again);
    va_end(args);
}

cn_str_t cn_admin_arg(const cn_admin_req_t *r, const char *name)
{
    cn_str_t value = CN_STR_NULL;

    return cn_uri_query_get(r->query, cn_str_c(name), &value) ? value : CN_STR_NULL;
}

/* ---- who answers ---- */

static bool method_fits(call_t *c, const char *methods)
{
    cn_str_t m = c->req.method;

    if (cn_str_eq(m, cn_str_c(methods)) ||
        (cn_str_eq(m, CN_STR("HEAD")) && cn_str_eq(cn_str_c(methods), CN_STR("GET"))))
        return true;
    c->req.status = 405;
    c->allow = methods;
    cn_admin_printf(&c->req, "%s only\n", methods);
    return false;
}

static bool ask_core(call_t *c)
{
    for (const cn_admin_page_t *p = cn_admin_pages; p->path; p++) {
        if (!(p->where & c->kind) || !cn_str_eq(c->req.path, cn_str_c(p->path)))
            continue;
        if (!method_fits(c, p->methods))
            return true;
        if (p->local && !c->local) {
            c->req.status = 403;
            cn_admin_printf(&c->req, "only from this host\n");
            return true;
        }
        p->handle(c->server, &c->req);
        return true;
    }
    return false;
}

static bool ask_modules(call_t *c)
{
    cn_worker_t *w = c->server->w;

    for (unsigned i = 0; i < cn_nmodules; i++) {
        for (const cn_admin_t *a = cn_modules[i]->admin; a && a->path; a++) {
            if (!(a->where & c->kind) || !cn_str_eq(c->req.path, cn_str_c(a->path)))
                continue;
            if (method_fits(c, a->methods))
                a->handle(w, w->wctx[i], &c->req);
            return true;
        }
    }
    return false;
}

static bool is_choked(const call_t *c)
{
    size_t unsent = 0;

    cn_list_each (node, &c->server->calls)
        unsent += cn_list_entry(node, call_t, link)->req.body.bytes;
    return unsent > UNSENT_MAX && c->kind != CN_ADMIN_HEALTH;
}

static void find_answer(call_t *c)
{
    bool has_query;

    if (is_choked(c)) {
        c->req.status = 503;
        cn_admin_printf(&c->req, "too much of earlier answers has not been taken\n");
        return;
    }
    c->req.method = c->msg.method;
    cn_uri_split(c->msg.target, &c->req.path, &c->req.query, &has_query);
    if (ask_core(c) || ask_modules(c))
        return;
    c->req.status = 404;
    cn_admin_printf(&c->req, "nothing here; /help names what is\n");
}

/* ---- a call ---- */

static void free_call(void *p)
{
    call_t *c = p;

    cn_chain_clear(&c->req.body);
    cn_pool_destroy(c->pool);
    free(c);
}

static void finish(call_t *c)
{
    if (c->state == OVER)
        return;
    c->state = OVER;
    cn_list_remove(&c->link);
    cn_timer_stop(&c->timer);
    cn_task_fini(&c->task);
    c->x->ops->close(c->x);
    cn_loop_retire(c->server->w->loop, free_call, c);
}

static cn_rc send_rest(call_t *c)
{
    cn_rc rc = c->x->ops->send_body(c->x, &c->req.body, true, NULL);

    if (rc != CN_AGAIN)
        finish(c);
    return rc;
}

static void begin_answer(call_t *c)
{
    cn_msg_t head;
    size_t bytes = c->req.body.bytes;
    bool bodyless = bytes == 0 || cn_str_eq(c->msg.method, CN_STR("HEAD"));

    cn_msg_init(&head, c->pool);
    head.status = (uint16_t)c->req.status;
    head.content_length = bytes;
    if (bytes > 0)
        cn_msg_add(&head, &head.headers, CN_STR("content-type"), c->req.content_type);
    cn_msg_add(&head, &head.headers, CN_STR("cache-control"), CN_STR("no-cache, max-age=0"));
    cn_msg_add(&head, &head.headers, CN_STR("x-content-type-options"), CN_STR("nosniff"));
    if (c->allow)
        cn_msg_add(&head, &head.headers, CN_STR("allow"), cn_str_c(c->allow));
    if (c->server->leaving)
        c->x->ops->last(c->x);
    c->state = ANSWER;
    if (c->x->ops->send_head(c->x, &head, bodyless) != CN_OK || bodyless)
        finish(c);
}

static unsigned status_of(cn_xerr e)
{
    switch (e) {
    case CN_XERR_TOO_LARGE:
    case CN_XERR_TOO_MANY:
        return 431;
    case CN_XERR_VERSION:
        return 426;
    case CN_XERR_BAD_TE:
        return 501;
    case CN_XERR_TIMEOUT:
        return 408;
    default:
        return 400;
    }
}

/* What could not be read as a request is answered, and the connection ends. */
static void refuse(call_t *c)
{
    cn_xerr e = c->x->xerr;

    if (e == CN_XERR_GONE || e == CN_XERR_STREAM || e == CN_XERR_UNPROCESSED) {
        finish(c);
        return;
    }
    c->req.status = status_of(e);
    c->x->ops->last(c->x);
    begin_answer(c);
}

static cn_rc read_head(call_t *c)
{
    cn_rc rc = c->x->ops->recv_head(c->x, &c->msg);

    if (rc == CN_AGAIN)
        return CN_AGAIN;
    if (rc != CN_OK) {
        refuse(c);
        return CN_OK;
    }
    c->state = BODY;
    if (c->msg.expect_continue && c->msg.has_body) {
        /* It is waiting for our word and we do not want its body. */
        c->x->ops->last(c->x);
        find_answer(c);
        begin_answer(c);
    }
    return CN_OK;
}

static cn_rc read_body(call_t *c)
{
    cn_chain_t drop;

    cn_chain_init(&drop);
    cn_rc rc = c->x->ops->recv_body(c->x, &drop, BODY_MAX);
    c->body += drop.bytes;
    cn_chain_clear(&drop);
    if (rc == CN_AGAIN)
        return CN_AGAIN;
    if (rc == CN_DONE) {
        find_answer(c);
        begin_answer(c);
    } else if (rc != CN_OK) {
        refuse(c);
    } else if (c->body > BODY_MAX) {
        c->req.status = 413;
        c->x->ops->last(c->x);
        begin_answer(c);
    }
    return CN_OK;
}

static void run_call(cn_task_t *task, uint32_t why)
{
    call_t *c = cn_container_of(task, call_t, task);
    cn_rc rc = CN_OK;

    if (why & CN_WAKE_TIMER)
        finish(c);
    while (rc == CN_OK && c->state != OVER) {
        switch (c->state) {
        case HEAD:
            rc = read_head(c);
            break;
        case BODY:
            rc = read_body(c);
            break;
        case ANSWER:
            rc = send_rest(c);
            break;
        case OVER:
            break;
        }
    }
}

static void on_request(void *ctx, cn_exch_t *x)
{
    client_t *cl = ctx;
    cn_admin_server_t *s = cl->server;
    call_t *c = cn_xzalloc(sizeof(*c));

    cl->served = true;
    c->server = s;
    c->kind = cl->kind;
    c->local = cl->local;
    c->x = x;
    c->pool = cn_pool_create(0);
    cn_msg_init(&c->msg, c->pool);
    c->req = (cn_admin_req_t){.pool = c->pool,
                              .local = cl->local,
                              .status = 200,
                              .content_type = CN_STR("text/plain; charset=UTF-8")};
    cn_chain_init(&c->req.body);
    cn_list_push(&s->calls, &c->link);
    cn_task_init(&c->task, s->w->loop, run_call);
    cn_timer_init(&c->timer, &c->task, CN_WAKE_TIMER);
    cn_timer_set(&c->timer, CALL_MS);
    x->owner = &c->task;
    cn_task_wake(&c->task, CN_WAKE_READ);
}

/* ---- connections ---- */

static unsigned *count_of(cn_admin_server_t *s, unsigned kind)
{
    return &s->nclients[__builtin_ctz(kind)];
}

static void forget_client(client_t *cl)
{
    cn_list_remove(&cl->link);
    --*count_of(cl->server, cl->kind);
    free(cl);
}

static void on_closed(void *ctx)
{
    forget_client(ctx);
}

static bool is_loopback(const cn_addr_t *a)
{
    static const uint8_t one[16] = {[15] = 1};

    return a->family == AF_INET    ? a->ip[0] == 127
           : a->family == AF_INET6 ? memcmp(a->ip, one, sizeof(one)) == 0
                                   : false;
}

void cn_admin_accept(cn_admin_server_t *s, unsigned kind, int fd, const cn_addr_t *remote)
{
    static const cn_h1_server_cbs_t cbs = {.request = on_request, .closed = on_closed};
    cn_h1_server_conf_t conf = cn_h1_server_conf_default;

    if (*count_of(s, kind) >= CLIENTS_MAX) {
        cn_log(CN_LOG_WARN, "admin", "too many connections; one is refused");
        close(fd);
        return;
    }
    cn_stream_t *stream = cn_sock_accepted(s->w->loop, fd, remote, NULL);
    if (!stream)
        return;
    client_t *cl = cn_xzalloc(sizeof(*cl));
    cl->server = s;
    cl->kind = kind;
    cl->local = is_loopback(remote);
    conf.idle_ms = IDLE_MS;
    conf.head_ms = HEAD_MS;
    cn_list_push(&s->clients, &cl->link);
    ++*count_of(s, kind);
    cl->h1 = cn_h1_server_create(s->w->loop, stream, &conf, &cbs, cl);
}

cn_admin_server_t *cn_admin_create(cn_worker_t *w, const cn_board_t *board, unsigned slots,
                                   cn_admin_ask_cb *ask, void *ctx)
{
    cn_admin_server_t *s = cn_xzalloc(sizeof(*s));

    s->w = w;
    s->board = board;
    s->slots = slots;
    s->ask = ask;
    s->ctx = ctx;
    cn_list_init(&s->clients);
    cn_list_init(&s->calls);
    return s;
}

/* Who has just connected gets the answer to the request that is on its way. */
void cn_admin_leave(cn_admin_server_t *s)
{
    s->leaving = true;
    cn_list_each (node, &s->clients) {
        client_t *cl = cn_list_entry(node, client_t, link);
        if (cl->served)
            cn_h1_server_drain(cl->h1, 0);
    }
}

unsigned cn_admin_active(const cn_admin_server_t *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < KINDS; i++)
        n += s->nclients[i];
    return n;
}

void cn_admin_destroy(cn_admin_server_t *s)
{
    if (!s)
        return;
    cn_list_each (node, &s->clients) {
        client_t *cl = cn_list_entry(node, client_t, link);
        cn_h1_server_destroy(cl->h1);
        forget_client(cl);
    }
    cn_list_each (node, &s->calls)
        finish(cn_list_entry(node, call_t, link));
    free(s);
}
