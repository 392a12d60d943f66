/* SPDX-License-Identifier: Apache-2.0
 *
 * fault: delays and aborts on purpose (facts/semantics 3.9, verified 1.3).
 * After authz and rate limits, before everything that a route does, as in
 * Istio's chain.
 *
 * A request that waits holds its own timer and stands in the worker's list of
 * waiting ones, so that a worker that drains can let it go on at once.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fault_int.h"

static const cn_metric_def_t injected = {
    "cairn_fault_injected_total", CN_METRIC_COUNTER,
    "Requests that were delayed (kind=\"delay\") or answered (kind=\"abort\") on purpose."};
static const cn_metric_def_t waiting = {"cairn_fault_waiting", CN_METRIC_GAUGE,
                                        "Requests that wait because of a fault now."};
static const cn_metric_def_t *const metrics[] = {&injected, &waiting, NULL};

extern const cn_module_t cn_module_fault;

typedef struct {
    cn_list_t waiting; /* ctx_t */
    cn_series_t *gauge;
} worker_t;

typedef enum { NEW, WAITING, DELAYED } state_t;

/* NEW -> WAITING -> DELAYED, or NEW -> DELAYED without a delay. */
typedef struct {
    cn_list_t link; /* while WAITING */
    cn_req_t *req;
    state_t state;
    bool hurry; /* the worker drains */
    uint64_t until_ms;
    cn_timer_t timer;
} ctx_t;

/* ---- which ---- */

static bool holds(const cn_fault_rule_t *r, const cn_msg_t *msg)
{
    const cn_fault_header_t *h = r->headers.v;

    for (uint32_t i = 0; i < r->headers.n; i++) {
        cn_str_t line;
        uint32_t iter = 0;
        bool found = false;

        while (!found && cn_field_next(msg, h[i].name, &iter, &line))
            found = cn_str_eq(line, h[i].value);
        if (!found)
            return false;
    }
    return true;
}

static const cn_fault_rule_t *find(const cn_vec_t *rules, const cn_msg_t *msg)
{
    const cn_fault_rule_t *v = rules->v;

    for (uint32_t i = 0; i < rules->n; i++)
        if (holds(&v[i], msg))
            return &v[i];
    return NULL;
}

/* A made-up request meets only what every request meets. */
static bool strikes(cn_req_t *req, const cn_fault_rule_t *r)
{
    if (cn_req_dry(req))
        return r->parts == CN_PARTS;
    return cn_rand_below(cn_worker_rand(cn_req_worker(req)), CN_PARTS) < r->parts;
}

static void explain(cn_req_t *req, const char *what, const cn_fault_rule_t *r)
{
    unsigned percent = r->parts / 10000, decimals = r->parts % 10000;

    if (r->delay_ms)
        cn_req_explain(req, "fault: %s of %llu ms for %u.%04u %% of such requests", what,
                       (unsigned long long)r->delay_ms, percent, decimals);
    else
        cn_req_explain(req, "fault: %s with %s%d for %u.%04u %% of such requests", what,
                       r->status ? "" : "gRPC status ", r->status ? (int)r->status : r->grpc_status,
                       percent, decimals);
}

/* Rules before the one that counts, or all: whose header is not there. */
static void explain_misses(cn_req_t *req, const cn_vec_t *rules, const char *what)
{
    const cn_fault_rule_t *v = rules->v;

    for (uint32_t i = 0; i < rules->n && !holds(&v[i], cn_req_facts(req)->req); i++) {
        const cn_fault_header_t *h = v[i].headers.v;

        cn_req_explain(req, "fault: %s only of requests with %.*s: %.*s%s", what,
                       CN_STR_ARG(h->name), CN_STR_ARG(h->value),
                       v[i].headers.n > 1 ? " and more" : "");
    }
}

/* The rule that strikes this request, or NULL. */
static const cn_fault_rule_t *draw(cn_req_t *req, const cn_vec_t *rules, const char *what)
{
    const cn_fault_rule_t *r = find(rules, cn_req_facts(req)->req);

    if (cn_req_explaining(req))
        explain_misses(req, rules, what);
    if (!r)
        return NULL;
    if (cn_req_explaining(req))
        explain(req, what, r);
    return strikes(req, r) ? r : NULL;
}

/* ---- doing it ---- */

static worker_t *worker_of(cn_req_t *req)
{
    return cn_worker_module(cn_req_worker(req), &cn_module_fault);
}

static void count(cn_req_t *req, const char *kind)
{
    cn_worker_t *w = cn_req_worker(req);
    char labels[640], service[512];
    size_t n = cn_stats_escape(service, sizeof(service), cn_req_facts(req)->section->name);
    int len =
        snprintf(labels, sizeof(labels), "kind=\"%s\",service=\"%.*s\"", kind, (int)n, service);

    if (!cn_req_dry(req))
        cn_series_add(cn_stats_series(cn_worker_stats(w), cn_worker_metric(w, &injected),
                                      cn_str_make(labels, (size_t)len)),
                      1);
}

static void stop_waiting(ctx_t *ctx)
{
    if (ctx->state != WAITING)
        return;
    ctx->state = DELAYED;
    cn_timer_stop(&ctx->timer);
    cn_list_remove(&ctx->link);
    cn_series_sub(worker_of(ctx->req)->gauge, 1);
}

/* CN_AGAIN: it waits. */
static cn_rc start_delay(cn_req_t *req, const cn_fault_rule_t *r, ctx_t *ctx)
{
    cn_worker_t *w = cn_req_worker(req);

    ctx->state = DELAYED;
    if (!r || cn_req_dry(req))
        return CN_OK;
    cn_req_flag(req, CN_FLAG_DI);
    count(req, "delay");
    if (cn_worker_draining(w))
        return CN_OK;
    ctx->req = req;
    ctx->state = WAITING;
    ctx->until_ms = cn_loop_ms(cn_worker_loop(w)) + r->delay_ms;
    cn_timer_init(&ctx->timer, cn_req_task(req), CN_WAKE_USER);
    cn_timer_set(&ctx->timer, r->delay_ms);
    cn_list_push(&worker_of(req)->waiting, &ctx->link);
    cn_series_add(worker_of(req)->gauge, 1);
    return CN_AGAIN;
}

static cn_rc abort_now(cn_req_t *req, const cn_fault_rule_t *r)
{
    if (!r)
        return CN_OK;
    count(req, "abort");
    cn_req_reply(req, r->status ? r->status : 200, CN_STR("fault filter abort"),
                 CN_STR("fault_filter_abort"), CN_FLAG_FI);
    if (!r->status)
        cn_req_reply_grpc(req, (unsigned)r->grpc_status);
    return CN_DONE;
}

static cn_rc on_fault(cn_req_t *req, const void *conf, void *p)
{
    const cn_fault_conf_t *c = conf;
    ctx_t *ctx = p;

    if (ctx->state == NEW && start_delay(req, draw(req, &c->delays, "delay"), ctx) == CN_AGAIN)
        return CN_AGAIN;
    if (ctx->state == WAITING) {
        if (!ctx->hurry && cn_loop_ms(cn_worker_loop(cn_req_worker(req))) < ctx->until_ms)
            return CN_AGAIN;
        stop_waiting(ctx);
    }
    return abort_now(req, draw(req, &c->aborts, "abort"));
}

static void ctx_fini(cn_req_t *req CN_UNUSED, void *ctx)
{
    stop_waiting(ctx);
}

/* ---- the worker ---- */

static cn_rc worker_init(cn_worker_t *w, void **wctx)
{
    worker_t *fw = cn_xzalloc(sizeof(*fw));

    cn_list_init(&fw->waiting);
    if (cn_worker_stats(w))
        fw->gauge = cn_stats_series(cn_worker_stats(w), cn_worker_metric(w, &waiting), CN_STR_NULL);
    *wctx = fw;
    return CN_OK;
}

static void drain(cn_worker_t *w CN_UNUSED, void *wctx)
{
    worker_t *fw = wctx;

    cn_list_each (node, &fw->waiting) {
        ctx_t *ctx = cn_list_entry(node, ctx_t, link);

        ctx->hurry = true;
        cn_req_wake(ctx->req);
    }
}

static void worker_fini(cn_worker_t *w CN_UNUSED, void *wctx)
{
    free(wctx);
}

static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    const cn_fault_conf_t *c = conf;

    return c && (c->delays.n || c->aborts.n);
}

const cn_module_t cn_module_fault = {
    .abi = CN_MODULE_ABI,
    .name = "fault",
    .after = "http_route",
    .directives = cn_fault_directives,
    .conf[CN_LV_SERVICE] = {.size = sizeof(cn_fault_conf_t)},
    .conf[CN_LV_ROUTE] = {.size = sizeof(cn_fault_conf_t)},
    .metrics = metrics,
    .worker_init = worker_init,
    .drain = drain,
    .worker_fini = worker_fini,
    .ctx_size = sizeof(ctx_t),
    .ctx_fini = ctx_fini,
    .phase[CN_PH_FAULT] = on_fault,
    .active = active,
};
