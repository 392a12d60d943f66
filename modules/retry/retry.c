/* SPDX-License-Identifier: Apache-2.0
 *
 * retry: how long a request may take, and what is done when it fails.  Only the
 * settings are here: the forwarder follows them (cn_req_set_retry,
 * cn_req_set_timeouts), and the budget of a cluster is one of its limits.
 *
 * Without any of these directives the forwarder does what Istio does: no time
 * limit, and two retries of what could not have reached an application.
 */
#include <stdlib.h>

#include "retry_int.h"

/* ---- retry { ... } ---- */

static cn_rc add_code(cn_conf_t *cf, cn_retry_policy_t *p, cn_str_t word)
{
    uint64_t code;

    if (cn_str_u64(word, 599, &code) != CN_OK || code < 100)
        return cn_conf_error(cf, "\"%.*s\" is not a status code", CN_STR_ARG(word));
    *(uint16_t *)cn_vec_push(cn_conf_pool(cf), &p->codes, sizeof(uint16_t)) = (uint16_t)code;
    p->on |= CN_RETRY_STATUS_CODES;
    return CN_OK;
}

static const cn_enum_t *find_word(cn_str_t word)
{
    for (const cn_enum_t *w = cn_retry_words; w->word; w++)
        if (cn_str_eq(cn_str_c(w->word), word))
            return w;
    return NULL;
}

static bool is_number(cn_str_t word)
{
    uint64_t n;

    return cn_str_u64(word, UINT64_MAX, &n) == CN_OK;
}

static cn_rc unknown_cause(cn_conf_t *cf, cn_str_t word)
{
    return cn_conf_error(cf,
                         "retry on \"%.*s\": expected a status code or one of %.*s, "
                         "http3-post-connect-failure",
                         CN_STR_ARG(word), CN_STR_ARG(cn_retry_put(cn_conf_pool(cf), UINT32_MAX)));
}

static cn_rc set_on(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                    const cn_str_t *argv, unsigned argc)
{
    cn_retry_policy_t *p = conf;

    p->on = (p->codes.n ? CN_RETRY_STATUS_CODES : 0) | (p->headers.n ? CN_RETRY_HEADERS : 0);
    for (unsigned i = 1; i < argc; i++) {
        const cn_enum_t *w = find_word(argv[i]);

        if (w)
            p->on |= (uint32_t)w->value;
        else if (!is_number(argv[i]))
            return unknown_cause(cf, argv[i]);
        else if (add_code(cf, p, argv[i]) != CN_OK)
            return CN_ERR;
    }
    return CN_OK;
}

static cn_rc set_codes(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                       const cn_str_t *argv, unsigned argc)
{
    for (unsigned i = 1; i < argc; i++)
        if (add_code(cf, conf, argv[i]) != CN_OK)
            return CN_ERR;
    return CN_OK;
}

static cn_rc set_headers(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc)
{
    cn_retry_policy_t *p = conf;

    for (unsigned i = 1; i < argc; i++)
        *(cn_str_t *)cn_vec_push(cn_conf_pool(cf), &p->headers, sizeof(cn_str_t)) =
            cn_pool_lower(cn_conf_pool(cf), argv[i]);
    p->on |= CN_RETRY_HEADERS;
    return CN_OK;
}

static cn_rc set_backoff(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc)
{
    cn_retry_policy_t *p = conf;

    if (cn_conf_parse_ms(argv[1], &p->backoff_ms) != CN_OK || p->backoff_ms > 3600000)
        return cn_conf_error(cf, "\"%.*s\": expected a time of up to 1h", CN_STR_ARG(argv[1]));
    p->backoff_max_ms = p->backoff_ms * 10;
    if (argc > 2 && (cn_conf_parse_ms(argv[2], &p->backoff_max_ms) != CN_OK ||
                     p->backoff_max_ms < p->backoff_ms || p->backoff_max_ms > 36000000))
        return cn_conf_error(cf, "\"%.*s\": expected a time between the first one and 10h",
                             CN_STR_ARG(argv[2]));
    return CN_OK;
}

static cn_rc set_avoid_tried(cn_conf_t *cf, const cn_directive_t *d, void *conf,
                             const cn_str_t *argv, unsigned argc)
{
    cn_retry_policy_t *p = conf;
    bool avoid = true;

    if (cn_set_flag(cf, d, &avoid, argv, argc) != CN_OK)
        return CN_ERR;
    p->keep_tried = !avoid;
    return CN_OK;
}

static const cn_range_t attempts = {0, 1000};

#define F(member) offsetof(cn_retry_policy_t, member)

static const cn_directive_t retry_table[] = {
    {.name = "attempts",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_u32,
     .off = F(attempts),
     .arg = &attempts,
     .syntax = "attempts NUMBER",
     .help = "Retries at most, after the first attempt.",
     .deflt = "2"},
    {.name = "on",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 64),
     .set = set_on,
     .syntax = "on CAUSE...",
     .help =
         "What is tried again; status codes, and the words of Envoy: 5xx, gateway-error (502, 503, "
         "504), reset (no complete response head came), reset-before-request (and no byte was "
         "sent), connect-failure, refused-stream, envoy-ratelimited, retriable-4xx (409), "
         "retriable-status-codes, retriable-headers, and the gRPC statuses cancelled, "
         "deadline-exceeded, internal, resource-exhausted and unavailable, as they stand in a "
         "response's head. http3-post-connect-failure is accepted and means nothing.",
     .deflt = "connect-failure refused-stream unavailable cancelled"},
    {.name = "codes",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(1, 64),
     .set = set_codes,
     .syntax = "codes STATUS...",
     .help = "Status codes that are tried again, beside what `on` says. With 504 also an attempt "
             "that takes longer than try_timeout is."},
    {.name = "headers",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(1, 16),
     .set = set_headers,
     .syntax = "headers NAME...",
     .help = "A response with any of these headers is tried again, beside what `on` says."},
    {.name = "backoff",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 2),
     .set = set_backoff,
     .syntax = "backoff TIME [MAX]",
     .help = "The wait before a retry is random, up to TIME before the first and up to twice as "
             "long before each further one, at most MAX, which is ten times TIME unless given.",
     .deflt = "25ms 250ms"},
    {.name = "avoid_tried",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = set_avoid_tried,
     .syntax = "avoid_tried on | off",
     .help = "Choose an endpoint that this request has not tried, where there is one.",
     .deflt = "on"},
    {.name = "other_localities",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_flag,
     .off = F(other_localities),
     .syntax = "other_localities on | off",
     .help = "Choose one in another locality, where there is one (retryRemoteLocalities).",
     .deflt = "off"},
    {.name = NULL}};

static cn_rc set_retry(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                       const cn_str_t *argv, unsigned argc)
{
    cn_module_retry_conf_t *c = conf;

    c->given = true;
    c->policy = cn_retry_default;
    if (!cn_conf_bare(cf))
        return argc == 1 ? cn_conf_block(cf, retry_table, &c->policy) : CN_OK;
    if (!cn_str_eq(argv[1], CN_STR("off")))
        return cn_conf_error(cf, "retry \"%.*s\": expected off, or a block", CN_STR_ARG(argv[1]));
    c->policy.attempts = 0;
    return CN_OK;
}

/* ---- levels ---- */

#define M(member) offsetof(cn_module_retry_conf_t, member)

static const cn_directive_t directives[] = {
    {.name = "request_timeout",
     .where = CN_AT_MAIN | CN_AT_SERVICE | CN_AT_ROUTE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_ms,
     .off = M(request_ms),
     .syntax = "request_timeout TIME",
     .help = "From the complete request to the complete response, retries included; then the "
             "answer is 504, flag UT, or a response that has begun is broken off. A gRPC request's "
             "grpc-timeout counts as well, from its head on: the smaller one holds. 0: none. "
             "Endpoints see what is left in x-envoy-expected-rq-timeout-ms.",
     .deflt = "0"},
    {.name = "try_timeout",
     .where = CN_AT_MAIN | CN_AT_SERVICE | CN_AT_ROUTE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_ms,
     .off = M(try_ms),
     .syntax = "try_timeout TIME",
     .help = "From the complete request to the response head of one attempt; then the attempt has "
             "failed and the next one may follow, else the answer is 504, flag UT. 0: none; one "
             "that is not shorter than request_timeout has no effect.",
     .deflt = "0"},
    {.name = "stream_idle_timeout",
     .where = CN_AT_MAIN | CN_AT_SERVICE | CN_AT_ROUTE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_ms,
     .off = M(idle_ms),
     .syntax = "stream_idle_timeout TIME",
     .help = "How long a request may move no byte in either direction; then the answer is 504, "
             "flag SI, or a response or WebSocket that has begun is broken off. 0: for ever.",
     .deflt = "1h"},
    {.name = "retry",
     .where = CN_AT_MAIN | CN_AT_SERVICE | CN_AT_ROUTE | CN_D_BLOCK | CN_D_TABLE | CN_D_BARE,
     .args = CN_ARGS(0, 1),
     .set = set_retry,
     .arg = retry_table,
     .syntax = "retry { ... } | off",
     .help = "When a request is sent again. What is not said in the block is as without it. A body "
             "can be sent again up to 1 MiB of it. Also without retries a request is sent once "
             "more, at once, when a kept connection turns out closed and the method is idempotent "
             "or no byte was sent.",
     .deflt = "what Istio does: see the block's defaults"},
    {.name = "retry_budget",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(0, 3),
     .set = cn_module_retry_set_budget,
     .syntax = "retry_budget [percent=SHARE] [min=NUMBER] [interval=TIME]",
     .help = "Retries to this cluster may be at most this share of the requests of the last "
             "interval, counted over all workers; min a second are always allowed. What is beyond "
             "is not retried, flag UO. Defaults: percent=20 min=3 interval=10s.",
     .deflt = NULL},
    {.name = NULL}};

static cn_rc init_main(cn_conf_t *cf CN_UNUSED, void *conf, const void *parent CN_UNUSED)
{
    cn_module_retry_conf_t *c = conf;

    c->idle_ms = CN_REQ_IDLE_MS;
    return CN_OK;
}

static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    const cn_module_retry_conf_t *c = conf;

    return c->given || c->request_ms || c->try_ms || c->idle_ms != CN_REQ_IDLE_MS;
}

static cn_rc on_policy(cn_req_t *req, const void *conf, void *ctx CN_UNUSED)
{
    const cn_module_retry_conf_t *c = conf;

    cn_req_set_timeouts(req, c->request_ms, c->try_ms, c->idle_ms);
    if (c->given)
        cn_req_set_retry(req, &c->policy);
    return CN_OK;
}

static cn_rc worker_init(cn_worker_t *w, void **wctx)
{
    cn_module_retry_worker_t *rw = cn_xzalloc(sizeof(*rw));

    rw->w = w;
    *wctx = rw;
    return CN_OK;
}

static void worker_fini(cn_worker_t *w CN_UNUSED, void *wctx)
{
    free(wctx);
}

const cn_module_t cn_module_retry = {
    .abi = CN_MODULE_ABI,
    .name = "retry",
    .after = "route_actions",
    .directives = directives,
    .conf = {[CN_LV_MAIN] = {.size = sizeof(cn_module_retry_conf_t), .init = init_main},
             [CN_LV_SERVICE] = {.size = sizeof(cn_module_retry_conf_t)},
             [CN_LV_ROUTE] = {.size = sizeof(cn_module_retry_conf_t)},
             [CN_LV_CLUSTER] = {.size = sizeof(cn_module_retry_budget_t), .init = cn_conf_zeros}},
    .shm = cn_module_retry_shm,
    .admission = &cn_module_retry_admission,
    .active = active,
    .phase[CN_PH_POLICY] = on_policy,
    .worker_init = worker_init,
    .worker_fini = worker_fini,
};
