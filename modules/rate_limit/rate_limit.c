/* SPDX-License-Identifier: Apache-2.0
 *
 * rate_limit: how many requests pass, of all clients together or of each.
 * After authorization, so that what is denied costs no token, and before
 * faults, as the resource TrafficPolicy promises.
 *
 * This file is the part that knows requests: it asks each limit, answers 429,
 * counts and explains.  Which bucket is key.c, the buckets are table.c.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rate_limit_int.h"

static const cn_metric_def_t decisions = {
    "cairn_rate_limit_requests_total", CN_METRIC_COUNTER,
    "Requests by local limit and decision: allowed, limited, and shadow_limited for a limit that "
    "only watches."};
static const cn_metric_def_t table_events = {
    "cairn_rate_limit_buckets_total", CN_METRIC_COUNTER,
    "Buckets that were forgotten for others before they were full again (event=\"evicted\"), and "
    "requests that passed because no place for theirs was found (event=\"full\")."};
static const cn_metric_def_t *const metrics[] = {&decisions, &table_events, NULL};

static size_t shm_size(const void *main, unsigned slots CN_UNUSED)
{
    return ((const cn_rate_limit_conf_t *)main)->memory;
}

static const cn_shm_def_t shm[] = {{.name = "rate_limit.buckets", .size = shm_size},
                                   {.name = NULL}};

extern const cn_module_t cn_module_rate_limit;

typedef struct {
    cn_rate_limit_table_t table; /* v is NULL before the first generation */
    cn_series_t *evicted, *full;
} worker_t;

/* What a response says of the limits: of the one with the fewest tokens left. */
typedef struct {
    const cn_rate_limit_t *shown; /* NULL: nothing to say */
    cn_rate_limit_result_t result;
} ctx_t;

/* ---- counting ---- */

static cn_series_t *series(cn_req_t *req, const char *decision, const cn_rate_limit_t *l)
{
    cn_worker_t *w = cn_req_worker(req);
    const cn_section_t *section = cn_req_facts(req)->section;
    char labels[1024], name[256], service[512];
    size_t nname = cn_stats_escape(name, sizeof(name), l->name);
    size_t nservice = cn_stats_escape(service, sizeof(service), section->name);
    int n = snprintf(labels, sizeof(labels), "decision=\"%s\",limit=\"%.*s\",service=\"%.*s\"",
                     decision, (int)nname, name, (int)nservice, service);

    return cn_stats_series(cn_worker_stats(w), cn_worker_metric(w, &decisions),
                           cn_str_make(labels, (size_t)n));
}

static void count(cn_req_t *req, const cn_rate_limit_t *l, cn_rate_limit_decision d)
{
    static const char *const names[CN_RATE_LIMIT_DECISIONS] = {"allowed", "limited",
                                                               "shadow_limited"};

    if (cn_req_dry(req))
        return;
    if (!l->count->asked[d]) {
        l->count->asked[d] = true;
        l->count->series[d] = series(req, names[d], l);
    }
    cn_series_add(l->count->series[d], 1);
}

/* ---- explaining ---- */

static void explain_miss(cn_req_t *req, const cn_rate_limit_t *l, cn_rate_limit_view_t *v)
{
    char why[CN_RULE_WHY];

    if (!cn_req_explaining(req))
        return;
    cn_rule_why(&l->match.rules, l->match.run, cn_rate_limit_view(v), why);
    cn_req_explain(req, "rate_limit: \"%.*s\" %s", CN_STR_ARG(l->name), why);
}

static const char *outcome(const cn_rate_limit_t *l, const cn_rate_limit_result_t *r)
{
    if (r->allowed)
        return "allowed";
    return l->shadow ? "would be refused (shadow)" : "refused";
}

static void explain(cn_req_t *req, const cn_rate_limit_t *l, cn_rate_limit_view_t *v,
                    const cn_rate_limit_result_t *r)
{
    char key[CN_RATE_LIMIT_TEXT];

    if (!cn_req_explaining(req))
        return;
    cn_rate_limit_key_text(l, v, key);
    cn_req_explain(
        req, "rate_limit: \"%.*s\" (%llu per %llu ms, burst %llu) by %s: %s, %llu tokens left",
        CN_STR_ARG(l->name), (unsigned long long)l->requests, (unsigned long long)l->per_ms,
        (unsigned long long)l->burst, key, outcome(l, r), (unsigned long long)r->remaining);
}

/* Once a second for each limit: refusals come in floods. */
static void tell(const cn_rate_limit_t *l, cn_rate_limit_view_t *v, uint64_t now)
{
    cn_rate_limit_count_t *c = l->count;
    char key[CN_RATE_LIMIT_TEXT];

    if (!cn_log_enabled(CN_LOG_INFO))
        return;
    if (c->told_ns && now - c->told_ns < 1000000000) {
        c->untold++;
        return;
    }
    cn_rate_limit_key_text(l, v, key);
    cn_log(CN_LOG_INFO, "rate_limit", "\"%.*s\" %s %.*s %.*s by %s; %llu more since the last line",
           CN_STR_ARG(l->name), l->shadow ? "(shadow) would refuse" : "refuses",
           CN_STR_ARG(v->facts->req->method), CN_STR_ARG(v->facts->req->path), key,
           (unsigned long long)c->untold);
    c->told_ns = now;
    c->untold = 0;
}

/* ---- deciding ---- */

/* The bucket of each limit from which a token was taken. */
typedef struct {
    const cn_rate_limit_t *limit[CN_RATE_LIMIT_MAX];
    cn_rate_limit_slot_t *slot[CN_RATE_LIMIT_MAX];
    unsigned n;
} taken_t;

static cn_rate_limit_slot_t *find(cn_req_t *req, const cn_rate_limit_t *l, cn_rate_limit_view_t *v,
                                  uint64_t now)
{
    cn_worker_t *w = cn_req_worker(req);
    const worker_t *rw = cn_worker_module(w, &cn_module_rate_limit);
    cn_rate_limit_slot_t *slot;

    switch (cn_rate_limit_table_find(&rw->table, l, cn_rate_limit_tag(l, v, cn_worker_id(w)), now,
                                     &slot)) {
    case CN_RATE_LIMIT_EVICTED:
        cn_series_add(rw->evicted, 1);
        break;
    case CN_RATE_LIMIT_FULL:
        cn_series_add(rw->full, 1);
        break;
    case CN_RATE_LIMIT_FOUND:
        break;
    }
    return slot;
}

/* A limit that only watches says nothing to the client. */
static void show(ctx_t *ctx, const cn_rate_limit_t *l, const cn_rate_limit_result_t *r)
{
    if (!l->show_headers || l->shadow)
        return;
    if (!ctx->shown || r->remaining < ctx->result.remaining)
        *ctx = (ctx_t){l, *r};
}

/* False: the request is refused by it. */
static bool ask(cn_req_t *req, const cn_rate_limit_t *l, cn_rate_limit_view_t *v, uint64_t now,
                taken_t *taken, ctx_t *ctx)
{
    cn_rate_limit_slot_t *slot = find(req, l, v, now);
    cn_rate_limit_result_t r;

    if (!slot)
        return true;
    r = cn_rate_limit_take(slot, l, now);
    explain(req, l, v, &r);
    if (cn_req_dry(req)) { /* nothing is spent by asking */
        if (r.allowed)
            cn_rate_limit_give_back(slot, l);
        return r.allowed || l->shadow;
    }
    show(ctx, l, &r);
    if (r.allowed) {
        taken->limit[taken->n] = l;
        taken->slot[taken->n++] = slot;
        return true;
    }
    count(req, l, l->shadow ? CN_RATE_LIMIT_SHADOW_LIMITED : CN_RATE_LIMIT_LIMITED);
    tell(l, v, now);
    return l->shadow;
}

static cn_rc refuse(cn_req_t *req, const cn_rate_limit_t *l, taken_t *taken, ctx_t *ctx)
{
    const cn_denial_t *d = &l->denial;
    const cn_denial_header_t *h = d->headers.v;

    while (taken->n--)
        cn_rate_limit_give_back(taken->slot[taken->n], taken->limit[taken->n]);
    if (!l->show_headers)
        ctx->shown = NULL;
    cn_req_reply(req, d->status, d->body, CN_STR("local_rate_limited"), CN_FLAG_RL);
    cn_req_reply_grpc(req, (unsigned)d->grpc_status);
    for (uint32_t i = 0; i < d->headers.n; i++)
        cn_req_reply_header(req, h[i].name, h[i].value);
    return CN_DONE;
}

static cn_rc on_limit(cn_req_t *req, const void *conf, void *ctx)
{
    const cn_rate_limit_conf_t *c = conf;
    cn_rate_limit_view_t v = {.facts = cn_req_facts(req)};
    uint64_t now = cn_clock_mono_ns();
    taken_t taken = {.n = 0};

    for (uint32_t i = 0; i < c->limits.n; i++) {
        const cn_rate_limit_t *l = cn_rate_limit_at(c, i);

        if (l->requests == 0)
            continue;
        if (!cn_rate_limit_applies(l, &v))
            explain_miss(req, l, &v);
        else if (!ask(req, l, &v, now, &taken, ctx))
            return refuse(req, l, &taken, ctx);
    }
    for (unsigned i = 0; i < taken.n; i++)
        count(req, taken.limit[i], CN_RATE_LIMIT_ALLOWED);
    return CN_OK;
}

/* ---- the response ---- */

static void put_number(cn_msg_t *resp, cn_str_t name, uint64_t v)
{
    char *digits = cn_pool_bytes(resp->pool, 20);

    cn_msg_set(resp, &resp->headers, name, cn_str_make(digits, cn_str_put_u64(digits, v)));
}

/* IETF draft-polli-ratelimit-headers-03 under its old names; seconds until the
 * next token, as Envoy says it (facts/verified 1.3). */
static cn_rc on_response(cn_req_t *req, const void *conf CN_UNUSED, void *ctx)
{
    const ctx_t *x = ctx;
    cn_msg_t *resp = cn_req_edit(req);

    if (!x->shown)
        return CN_OK;
    put_number(resp, CN_STR("x-ratelimit-limit"), x->shown->burst);
    put_number(resp, CN_STR("x-ratelimit-remaining"), x->result.remaining);
    put_number(resp, CN_STR("x-ratelimit-reset"), (x->result.wait_ns + 999999999) / 1000000000);
    return CN_OK;
}

static bool active(const void *conf, cn_phase_t phase)
{
    const cn_rate_limit_conf_t *c = conf;
    bool any = false, shown = false;

    for (uint32_t i = 0; c && i < c->limits.n; i++) {
        const cn_rate_limit_t *l = cn_rate_limit_at(c, i);

        any |= l->requests > 0;
        shown |= l->requests > 0 && l->show_headers && !l->shadow;
    }
    return phase == CN_PH_RESP_HEAD ? shown : any;
}

/* ---- the worker ---- */

static cn_rc worker_init(cn_worker_t *w CN_UNUSED, void **wctx)
{
    *wctx = cn_xzalloc(sizeof(worker_t));
    return CN_OK;
}

static cn_series_t *event(cn_worker_t *w, cn_str_t labels)
{
    return cn_stats_series(cn_worker_stats(w), cn_worker_metric(w, &table_events), labels);
}

static void reconfigured(cn_worker_t *w, void *wctx, const void *main CN_UNUSED)
{
    worker_t *rw = wctx;
    cn_shm_view_t view;

    if (rw->table.v)
        return;
    view = cn_worker_shm(w, &shm[0]);
    cn_rate_limit_table_open(&rw->table, view.mem, view.size);
    if (!cn_worker_stats(w))
        return;
    rw->evicted = event(w, CN_STR("event=\"evicted\""));
    rw->full = event(w, CN_STR("event=\"full\""));
}

static void worker_fini(cn_worker_t *w CN_UNUSED, void *wctx)
{
    free(wctx);
}

const cn_module_t cn_module_rate_limit = {
    .abi = CN_MODULE_ABI,
    .name = "rate_limit",
    .after = "http_route",
    .directives = cn_rate_limit_directives,
    .conf[CN_LV_MAIN] = {.size = sizeof(cn_rate_limit_conf_t), .init = cn_rate_limit_init_main},
    .conf[CN_LV_SERVICE] = {.size = sizeof(cn_rate_limit_conf_t),
                            .init = cn_rate_limit_init_service},
    .conf[CN_LV_ROUTE] = {.size = sizeof(cn_rate_limit_conf_t)},
    .shm = shm,
    .metrics = metrics,
    .worker_init = worker_init,
    .reconfigured = reconfigured,
    .worker_fini = worker_fini,
    .ctx_size = sizeof(ctx_t),
    .phase[CN_PH_LIMIT] = on_limit,
    .phase[CN_PH_RESP_HEAD] = on_response,
    .active = active,
};
