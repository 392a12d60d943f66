/* SPDX-License-Identifier: Apache-2.0
 *
 * rate_limit_service: limits that several proxies share, kept by a service
 * that speaks Envoy's rate limit protocol (envoy.service.ratelimit.v3, gRPC).
 *
 * A request waits in LIMIT for one service after the other:
 *
 *   ctx             the hook                            then
 *   no call         fills descriptors, starts a call    CN_AGAIN, or the next service
 *   call under way  was woken by it                     CN_AGAIN
 *   call has ended  reads the answer, closes it         the next service, or a refusal
 *
 * The call is closed by ctx_fini when the request ends first.
 */
#include <stdio.h>

#include "rls_int.h"

#define METHOD "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

static const cn_metric_def_t outcomes = {
    "cairn_rate_limit_service_requests_total", CN_METRIC_COUNTER,
    "Requests about which a rate limit service was asked, by outcome: ok, over_limit, "
    "shadow_over_limit for one that only watches, error and timeout."};
static const cn_metric_def_t duration = {"cairn_rate_limit_service_milliseconds",
                                         CN_METRIC_HISTOGRAM,
                                         "How long rate limit services took to answer."};
static const cn_metric_def_t *const metrics[] = {&outcomes, &duration, NULL};

typedef struct {
    uint32_t at; /* service being asked, or the next one */
    cn_call_t *call;
    uint64_t start_ns;
    rls_answer_t shown;        /* for x-ratelimit-*, when limited is set */
    cn_vec_t response_headers; /* rls_header_t: for a response that is not ours */
} ctx_t;

/* ---- counting ---- */

static cn_series_t *series(cn_req_t *req, const rls_t *s, const char *outcome)
{
    cn_worker_t *w = cn_req_worker(req);
    const cn_section_t *section = cn_req_facts(req)->section;
    char labels[1024], name[256], service[512];
    size_t nname = cn_stats_escape(name, sizeof(name), s->name);
    size_t nservice = cn_stats_escape(service, sizeof(service), section->name);
    int n = snprintf(labels, sizeof(labels), "limit=\"%.*s\",outcome=\"%s\",service=\"%.*s\"",
                     (int)nname, name, outcome, (int)nservice, service);

    return cn_stats_series(cn_worker_stats(w), cn_worker_metric(w, &outcomes),
                           cn_str_make(labels, (size_t)n));
}

static void count(cn_req_t *req, const rls_t *s, rls_outcome o)
{
    static const char *const names[RLS_OUTCOMES] = {"ok", "over_limit", "shadow_over_limit",
                                                    "error", "timeout"};

    if (!s->count->asked[o]) {
        s->count->asked[o] = true;
        s->count->series[o] = series(req, s, names[o]);
    }
    cn_series_add(s->count->series[o], 1);
}

static void observe(cn_req_t *req, const ctx_t *x)
{
    cn_worker_t *w = cn_req_worker(req);

    cn_series_observe(
        cn_stats_series(cn_worker_stats(w), cn_worker_metric(w, &duration), CN_STR_NULL),
        (cn_clock_mono_ns() - x->start_ns) / 1000000);
}

/* One line a second for each service: what it tells of comes in floods. */
static bool may_tell(const rls_t *s)
{
    uint64_t now = cn_clock_mono_ns();

    if (s->count->told_ns && now - s->count->told_ns < 1000000000) {
        s->count->untold++;
        return false;
    }
    s->count->told_ns = now;
    return true;
}

static void tell(const rls_t *s, const cn_msg_t *msg, const char *what, const char *then)
{
    if (!cn_log_enabled(CN_LOG_INFO) || !may_tell(s))
        return;
    cn_log(CN_LOG_INFO, "rate_limit",
           "\"%.*s\" at %.*s: %s: %.*s %.*s %s; %llu more since the last line", CN_STR_ARG(s->name),
           CN_STR_ARG(s->cluster), what, CN_STR_ARG(msg->method), CN_STR_ARG(msg->path), then,
           (unsigned long long)s->count->untold);
    s->count->untold = 0;
}

/* ---- asking ---- */

static void explain_question(cn_req_t *req, const rls_t *s, const cn_vec_t *filled)
{
    const rls_filled_t *f = filled->v;

    if (!cn_req_explaining(req))
        return;
    if (filled->n == 0)
        cn_req_explain(req, "rate_limit_service: \"%.*s\" is not asked: no descriptor is complete",
                       CN_STR_ARG(s->name));
    for (uint32_t i = 0; i < filled->n; i++) {
        cn_str_t text = rls_text(&f[i], cn_req_pool(req));

        cn_req_explain(req, "rate_limit_service: \"%.*s\" asks domain %.*s about %.*s",
                       CN_STR_ARG(s->name), CN_STR_ARG(s->domain), CN_STR_ARG(text));
    }
}

/* gRPC over HTTP/2 protocol, Request-Headers. */
static void write_head(cn_worker_t *w, const rls_t *s, cn_pool_t *pool, cn_msg_t *msg)
{
    const cn_cluster_t *c = cn_clusters_find(cn_worker_clusters(w), s->cluster);

    cn_msg_init(msg, pool);
    msg->method = CN_STR("POST");
    msg->scheme = CN_STR("http");
    msg->authority = c && c->conf->host.n ? c->conf->host : s->cluster;
    msg->target = CN_STR(METHOD);
    msg->path = msg->target;
    cn_msg_add(msg, &msg->headers, CN_STR("content-type"), CN_STR("application/grpc"));
    cn_msg_add(msg, &msg->headers, CN_STR("te"), CN_STR("trailers"));
    cn_msg_add(msg, &msg->headers, CN_STR("grpc-timeout"),
               s->timeout_ms < 100000000
                   ? cn_pool_printf(pool, "%llum", (unsigned long long)s->timeout_ms)
                   : CN_STR("99999999S")); /* eight digits at most */
}

static void start(cn_req_t *req, const rls_t *s, const cn_vec_t *filled, ctx_t *x)
{
    cn_worker_t *w = cn_req_worker(req);
    cn_chain_t body = {0};
    cn_msg_t msg;

    write_head(w, s, cn_req_pool(req), &msg);
    rls_write(s, filled, cn_req_pool(req), &body);
    x->start_ns = cn_clock_mono_ns();
    x->call = cn_call_start(w, &(cn_call_conf_t){.cluster = s->cluster,
                                                 .msg = &msg,
                                                 .body = &body,
                                                 .timeout_ms = s->timeout_ms,
                                                 .max_body = RLS_ANSWER_MAX,
                                                 .repeatable = true,
                                                 .version = CN_HTTP_2,
                                                 .owner = cn_req_task(req),
                                                 .why = CN_WAKE_USER});
    cn_chain_clear(&body);
}

/* CN_AGAIN: asked; CN_OK: there is nothing to ask. */
static cn_rc ask(cn_req_t *req, const rls_t *s, ctx_t *x)
{
    const cn_facts_t *f = cn_req_facts(req);
    cn_vec_t filled = {0};

    if (!rls_applies(s, f)) {
        cn_req_explain(req, "rate_limit_service: \"%.*s\" does not match", CN_STR_ARG(s->name));
        return CN_OK;
    }
    rls_fill(s, f, cn_req_pool(req), &filled);
    explain_question(req, s, &filled);
    if (filled.n == 0 || cn_req_dry(req))
        return CN_OK;
    start(req, s, &filled, x);
    return CN_AGAIN;
}

/* ---- the answer ---- */

/* The status is in the trailers, or in the head of a response without a body. */
static bool grpc_ok(const cn_msg_t *resp)
{
    const cn_header_t *h = cn_msg_find(&resp->trailers, CN_STR("grpc-status"), NULL);

    if (!h)
        h = cn_msg_find(&resp->headers, CN_STR("grpc-status"), NULL);
    return resp->status == 200 && h && cn_str_eq(h->value, CN_STR("0"));
}

static cn_rc read_answer(cn_req_t *req, ctx_t *x, rls_answer_t *a, const char **why)
{
    if (cn_call_result(x->call) == CN_ERR) {
        *why = cn_call_failure_text(x->call);
        return CN_ERR;
    }
    *why = "it answers with an error";
    if (!grpc_ok(cn_call_response(x->call)))
        return CN_ERR;
    return rls_read(cn_call_body(x->call), cn_req_pool(req), a, why);
}

static cn_rc failed(cn_req_t *req, const rls_t *s, ctx_t *x, const char *why)
{
    bool late = cn_call_failure(x->call) == CN_CALL_TIMEOUT;

    count(req, s, late ? RLS_TIMEOUT : RLS_ERROR);
    tell(s, cn_req_facts(req)->req, why, s->deny && !s->shadow ? "is refused" : "passes");
    cn_req_explain(req, "rate_limit_service: \"%.*s\" failed: %s", CN_STR_ARG(s->name), why);
    if (!s->deny || s->shadow)
        return CN_OK;
    cn_req_reply(req, 500, CN_STR_NULL, CN_STR("rate_limiter_error"), CN_FLAG_RLSE);
    return CN_DONE;
}

static void keep(cn_req_t *req, ctx_t *x, const rls_header_t *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        *(rls_header_t *)cn_vec_push(cn_req_pool(req), &x->response_headers, sizeof(*v)) = v[i];
}

static void show(ctx_t *x, const rls_t *s, const rls_answer_t *a)
{
    if (!s->show_headers || s->shadow || !a->limited)
        return;
    if (!x->shown.limited || a->remaining < x->shown.remaining)
        x->shown = *a;
}

static cn_rc refuse(cn_req_t *req, const rls_t *s, ctx_t *x, const rls_answer_t *a)
{
    const cn_denial_t *d = &s->denial;
    const cn_denial_header_t *h = d->headers.v;

    cn_req_reply(req, d->status, a->body.n ? a->body : d->body, CN_STR("request_rate_limited"),
                 CN_FLAG_RL);
    cn_req_reply_grpc(req, (unsigned)d->grpc_status);
    cn_req_reply_header(req, CN_STR("x-envoy-ratelimited"), CN_STR("true"));
    for (uint32_t i = 0; i < d->headers.n; i++)
        cn_req_reply_header(req, h[i].name, h[i].value);
    for (uint32_t i = 0; i < a->nto_response; i++)
        cn_req_reply_header(req, a->to_response[i].name, a->to_response[i].value);
    x->response_headers.n = 0;
    if (!s->show_headers)
        x->shown.limited = false;
    return CN_DONE;
}

static cn_rc over_limit(cn_req_t *req, const rls_t *s, ctx_t *x, const rls_answer_t *a)
{
    count(req, s, s->shadow ? RLS_SHADOW_OVER_LIMIT : RLS_OVER_LIMIT);
    cn_req_explain(req, "rate_limit_service: \"%.*s\" says over the limit%s", CN_STR_ARG(s->name),
                   s->shadow ? " (shadow)" : "");
    tell(s, cn_req_facts(req)->req, "over the limit",
         s->shadow ? "would be refused (shadow)" : "is refused");
    if (!s->shadow)
        return refuse(req, s, x, a);
    return CN_OK;
}

static void pass(cn_req_t *req, const rls_t *s, ctx_t *x, const rls_answer_t *a)
{
    cn_msg_t *msg = cn_req_edit(req);

    count(req, s, RLS_OK);
    cn_req_explain(req, "rate_limit_service: \"%.*s\" lets it pass", CN_STR_ARG(s->name));
    for (uint32_t i = 0; i < a->nto_request; i++)
        cn_msg_add(msg, &msg->headers, a->to_request[i].name, a->to_request[i].value);
    keep(req, x, a->to_response, a->nto_response);
}

/* The call has ended.  CN_OK: on to the next service; CN_DONE: refused. */
static cn_rc answered(cn_req_t *req, const rls_t *s, ctx_t *x)
{
    rls_answer_t a;
    const char *why;
    cn_rc rc;

    observe(req, x);
    if (read_answer(req, x, &a, &why) != CN_OK) {
        rc = failed(req, s, x, why);
    } else {
        show(x, s, &a);
        rc = a.over_limit ? over_limit(req, s, x, &a) : CN_OK;
        if (!a.over_limit)
            pass(req, s, x, &a);
    }
    cn_call_close(x->call);
    x->call = NULL;
    return rc;
}

static cn_rc on_limit(cn_req_t *req, const void *conf, void *ctx)
{
    const rls_conf_t *c = conf;
    ctx_t *x = ctx;
    cn_rc rc;

    for (; x->at < c->services.n; x->at++) {
        const rls_t *s = rls_at(c, x->at);

        if (!x->call && ask(req, s, x) == CN_OK)
            continue;
        if (cn_call_result(x->call) == CN_AGAIN)
            return CN_AGAIN;
        rc = answered(req, s, x);
        if (rc != CN_OK)
            return rc;
    }
    return CN_OK;
}

static void ctx_fini(cn_req_t *req CN_UNUSED, void *ctx)
{
    ctx_t *x = ctx;

    if (x->call)
        cn_call_close(x->call);
}

/* ---- the response ---- */

static void put_number(cn_msg_t *resp, cn_str_t name, uint64_t v)
{
    char *digits = cn_pool_bytes(resp->pool, 20);

    cn_msg_set(resp, &resp->headers, name, cn_str_make(digits, cn_str_put_u64(digits, v)));
}

/* IETF draft-polli-ratelimit-headers-03, under Envoy's names. */
static cn_rc on_response(cn_req_t *req, const void *conf CN_UNUSED, void *ctx)
{
    const ctx_t *x = ctx;
    const rls_header_t *h = x->response_headers.v;
    cn_msg_t *resp = cn_req_edit(req);

    for (uint32_t i = 0; i < x->response_headers.n; i++)
        cn_msg_add(resp, &resp->headers, h[i].name, h[i].value);
    if (!x->shown.limited)
        return CN_OK;
    cn_msg_set(resp, &resp->headers, CN_STR("x-ratelimit-limit"),
               cn_pool_printf(resp->pool, "%u%.*s", x->shown.limit, CN_STR_ARG(x->shown.policy)));
    put_number(resp, CN_STR("x-ratelimit-remaining"), x->shown.remaining);
    put_number(resp, CN_STR("x-ratelimit-reset"), x->shown.reset_s);
    return CN_OK;
}

static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    const rls_conf_t *c = conf;

    return c && c->services.n > 0;
}

const cn_module_t cn_module_rate_limit_service = {
    .abi = CN_MODULE_ABI,
    .name = "rate_limit_service",
    .after = "rate_limit",
    .directives = rls_directives,
    .conf[CN_LV_MAIN] = {.size = sizeof(rls_conf_t)},
    .conf[CN_LV_SERVICE] = {.size = sizeof(rls_conf_t)},
    .conf[CN_LV_ROUTE] = {.size = sizeof(rls_conf_t)},
    .metrics = metrics,
    .ctx_size = sizeof(ctx_t),
    .ctx_fini = ctx_fini,
    .phase[CN_PH_LIMIT] = on_limit,
    .phase[CN_PH_RESP_HEAD] = on_response,
    .active = active,
};
