/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a request that failed is sent again.  Two rules, independent of each
 * other:
 *
 *   policy   What the route's policy lists is tried again after a back-off, at
 *            most policy->attempts times, as far as the cluster's limits and
 *            budget allow.  Causes are Envoy's (facts/verified 6), also for
 *            methods that are not idempotent.
 *   repeat   A kept connection that turns out closed says nothing about the
 *            host: once, at once and on a new connection, when the method is
 *            idempotent (RFC 9110 9.2.2) or no byte was sent; also what a host
 *            refused unprocessed when no policy lists it (RFC 9113 8.7).
 *
 * The body is kept while a further attempt is possible, up to REPLAY_MAX bytes;
 * beyond, the request goes on without that possibility.
 */
#include <inttypes.h>

#include "proxy/req_int.h"
#include "proxy/tally.h"

#define REPLAY_MAX (1024u * 1024)

void cn_retry_init(cn_req_t *req)
{
    req->retry.policy = &cn_retry_default;
}

void cn_retry_fini(cn_req_t *req)
{
    cn_chain_clear(&req->retry.replay);
}

void cn_retry_keep(cn_req_t *req, const cn_chain_t *taken)
{
    cn_retry_t *r = &req->retry;

    if (r->beyond)
        return;
    if (r->replay.bytes + taken->bytes > REPLAY_MAX ||
        cn_budget_used(req->w) > req->w->conf->max_memory) {
        cn_retry_settled(req);
        return;
    }
    cn_chain_share(&r->replay, taken);
}

void cn_retry_settled(cn_req_t *req)
{
    req->retry.beyond = true;
    cn_chain_clear(&req->retry.replay);
}

/* ---- what the policy lists ---- */

static bool has_code(const cn_retry_policy_t *p, unsigned status)
{
    const uint16_t *codes = p->codes.v;

    if (!(p->on & CN_RETRY_STATUS_CODES))
        return false;
    for (uint32_t i = 0; i < p->codes.n; i++)
        if (codes[i] == status)
            return true;
    return false;
}

static bool has_header(const cn_retry_policy_t *p, const cn_headers_t *headers)
{
    const cn_str_t *names = p->headers.v;

    if (!(p->on & CN_RETRY_HEADERS))
        return false;
    for (uint32_t i = 0; i < p->headers.n; i++)
        if (cn_msg_find(headers, names[i], NULL))
            return true;
    return false;
}

static bool has_grpc_status(const cn_retry_policy_t *p, const cn_headers_t *headers)
{
    static const uint32_t bits[] = {[1] = CN_RETRY_CANCELLED,
                                    [4] = CN_RETRY_DEADLINE_EXCEEDED,
                                    [8] = CN_RETRY_RESOURCE_EXHAUSTED,
                                    [13] = CN_RETRY_INTERNAL,
                                    [14] = CN_RETRY_UNAVAILABLE};
    const cn_header_t *h = cn_msg_get(headers, CN_TOK_GRPC_STATUS);
    uint64_t n;

    return h && cn_str_u64(h->value, CN_COUNT(bits) - 1, &n) == CN_OK && (p->on & bits[n]);
}

bool cn_retry_lists(const cn_req_t *req)
{
    const cn_retry_policy_t *p = req->retry.policy;
    const cn_msg_t *resp = &req->resp;
    unsigned status = resp->status;

    /* somebody behind us limits: more of the same does not help */
    if (cn_msg_find(&resp->headers, CN_STR("x-envoy-ratelimited"), NULL))
        return (p->on & CN_RETRY_ENVOY_RATELIMITED) != 0;
    return ((p->on & CN_RETRY_5XX) && status >= 500 && status < 600) ||
           ((p->on & CN_RETRY_GATEWAY_ERROR) && status >= 502 && status <= 504) ||
           ((p->on & CN_RETRY_RETRIABLE_4XX) && status == 409) || has_code(p, status) ||
           has_header(p, &resp->headers) || has_grpc_status(p, &resp->headers);
}

static bool policy_lists(const cn_req_t *req, cn_fail cause)
{
    const cn_retry_policy_t *p = req->retry.policy;
    const uint32_t any_reset = CN_RETRY_5XX | CN_RETRY_GATEWAY_ERROR | CN_RETRY_RESET;

    switch (cause) {
    case CN_FAIL_STATUS:
        return true; /* cn_retry_lists() has said so */
    case CN_FAIL_CONNECT:
        return (p->on & (any_reset | CN_RETRY_CONNECT_FAILURE | CN_RETRY_RESET_BEFORE_REQUEST)) !=
               0;
    case CN_FAIL_UNPROCESSED:
        return (p->on & (any_reset | CN_RETRY_REFUSED_STREAM)) ||
               ((p->on & CN_RETRY_CONNECT_FAILURE) && req->up->exch->unsent);
    case CN_FAIL_CUT:
        return (p->on & any_reset) ||
               ((p->on & CN_RETRY_CONNECT_FAILURE) && !cn_upool_connected(req->up));
    case CN_FAIL_TIMEOUT:
        /* the client would get a 504 for it */
        return (p->on & any_reset) || has_code(p, 504);
    default:
        return (p->on & any_reset) ||
               ((p->on & CN_RETRY_RESET_BEFORE_REQUEST) && req->up->exch->unsent);
    }
}

/* ---- repeats ---- */

static bool is_idempotent(cn_str_t method)
{
    static const char *const safe[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"};

    for (size_t i = 0; i < CN_COUNT(safe); i++)
        if (cn_str_eq(method, cn_str_c(safe[i])))
            return true;
    return false;
}

static bool may_repeat(const cn_req_t *req, cn_fail cause)
{
    const cn_exch_t *x = req->up ? req->up->exch : NULL;

    if (!x || req->retry.repeated)
        return false;
    if (cause == CN_FAIL_UNPROCESSED)
        return !req->retry.policy->attempts || !policy_lists(req, cause);
    if (cause == CN_FAIL_CUT)
        return is_idempotent(req->msg.method) || !cn_upool_connected(req->up);
    /* what it said before it closed is an answer, if a bad one */
    return cause == CN_FAIL_RESET && x->reused && x->xerr == CN_XERR_GONE && !x->reset &&
           (is_idempotent(req->msg.method) || req->up->exch->unsent);
}

/* ---- the decision ---- */

/* Full jitter: uniform in [0, backoff * 2^(n-1)) (facts/verified 6). */
static uint64_t wait_before(cn_req_t *req, uint32_t nth)
{
    const cn_retry_policy_t *p = req->retry.policy;
    uint64_t most = p->backoff_ms;

    for (uint32_t i = 1; i < nth && most < p->backoff_max_ms; i++)
        most *= 2;
    if (most > p->backoff_max_ms)
        most = p->backoff_max_ms;
    return most ? cn_rand_u64(&req->w->rand) % most : 0;
}

cn_retry_what cn_retry_decide(cn_req_t *req, cn_fail cause, uint64_t *wait_ms)
{
    cn_retry_t *r = &req->retry;

    if (r->beyond)
        return CN_RETRY_NOT;
    if (may_repeat(req, cause)) {
        r->repeated = true;
        return CN_RETRY_NOW;
    }
    if (!r->policy->attempts || !policy_lists(req, cause))
        return CN_RETRY_NOT;
    if (r->done >= r->policy->attempts) {
        req->f.flags |= CN_FLAG_URX;
        cn_tally_add(req->w, req->cluster, CN_TALLY_RETRY_LIMIT);
        return CN_RETRY_NOT;
    }
    cn_admission_return(&req->w->admissions, &req->again);
    if (!cn_admission_take(&req->w->admissions, req->cluster, CN_ADMIT_RETRY, &req->again)) {
        req->f.flags |= CN_FLAG_UO;
        cn_tally_add(req->w, req->cluster, CN_TALLY_RETRY_OVERFLOW);
        return CN_RETRY_NOT;
    }
    r->done++;
    cn_tally_add(req->w, req->cluster, CN_TALLY_RETRY);
    *wait_ms = wait_before(req, r->done);
    return CN_RETRY_LATER;
}

static cn_str_t codes_of(cn_req_t *req)
{
    const cn_retry_policy_t *p = req->retry.policy;
    cn_str_t out = CN_STR_NULL;

    for (uint32_t i = 0; i < p->codes.n; i++)
        out = cn_pool_printf(req->pool, "%.*s %u", CN_STR_ARG(out),
                             ((const uint16_t *)p->codes.v)[i]);
    return out;
}

void cn_retry_explain(cn_req_t *req)
{
    const cn_retry_policy_t *p = req->retry.policy;

    if (!p->attempts) {
        cn_req_explain(req, "retry: off");
        return;
    }
    cn_req_explain(req,
                   "retry: up to %u times on %.*s%.*s, back-off up to %" PRIu64 "ms doubling to "
                   "%" PRIu64 "ms%s%s",
                   p->attempts, CN_STR_ARG(cn_retry_put(req->pool, p->on)),
                   CN_STR_ARG(codes_of(req)), p->backoff_ms, p->backoff_max_ms,
                   p->keep_tried ? "" : ", another endpoint where there is one",
                   p == &cn_retry_default ? " (Istio's default)" : "");
}

/* ---- for modules ---- */

void cn_req_set_retry(cn_req_t *req, const cn_retry_policy_t *policy)
{
    req->retry.policy = policy;
}
