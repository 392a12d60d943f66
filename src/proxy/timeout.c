/* SPDX-License-Identifier: Apache-2.0
 *
 * How long a request may take.
 *
 *   request   from the complete request to the complete response, over all
 *             attempts and back-offs; of a gRPC request from its head on, since
 *             its client counts from there, too
 *   attempt   to the response head of one attempt
 *   idle      without a byte in either direction, on this request alone
 *
 * An expired time is answered 504 as long as there is no other answer, else the
 * response is broken off (facts/verified 1.1).
 */
#include <inttypes.h>

#include "proxy/req_int.h"
#include "proxy/tally.h"

void cn_timeout_init(cn_req_t *req)
{
    cn_timer_init(&req->times.request, &req->task, CN_RQ_WAKE_TIMEOUT);
    cn_timer_init(&req->times.attempt, &req->task, CN_RQ_WAKE_TRY);
    req->times.idle_ms = CN_REQ_IDLE_MS;
}

void cn_timeout_fini(cn_req_t *req)
{
    cn_timer_stop(&req->times.request);
    cn_timer_stop(&req->times.attempt);
}

/* "200m" -> 200; gRPC over HTTP/2, Timeout: at most 8 digits and a unit.  What
 * is shorter than a millisecond counts as one. */
static uint64_t grpc_timeout_ms(cn_str_t v)
{
    static const struct {
        char unit;
        uint64_t mul, div;
    } units[] = {{'H', 3600000, 1}, {'M', 60000, 1}, {'S', 1000, 1},
                 {'m', 1, 1},       {'u', 1, 1000},  {'n', 1, 1000000}};
    uint64_t n;

    if (v.n < 2 || v.n > 9 || cn_str_u64(cn_str_make(v.p, v.n - 1), 99999999, &n) != CN_OK)
        return 0;
    for (size_t i = 0; i < CN_COUNT(units); i++)
        if (units[i].unit == v.p[v.n - 1])
            return (n * units[i].mul + units[i].div - 1) / units[i].div;
    return 0;
}

static void start_request(cn_req_t *req)
{
    cn_req_times_t *t = &req->times;

    if (t->start_ms || !t->request_ms)
        return;
    t->start_ms = cn_loop_ms(req->w->loop);
    cn_timer_set(&t->request, t->request_ms);
}

void cn_timeout_begin(cn_req_t *req)
{
    cn_req_times_t *t = &req->times;
    const cn_header_t *h;

    if (req->f.grpc) {
        h = cn_msg_get(&req->msg.headers, CN_TOK_GRPC_TIMEOUT);
        t->grpc_ms = h ? grpc_timeout_ms(h->value) : 0;
        if (t->grpc_ms && (!t->request_ms || t->grpc_ms < t->request_ms))
            t->request_ms = t->grpc_ms;
    }
    /* no attempt can last longer than all of them */
    if (t->request_ms && t->try_ms >= t->request_ms)
        t->try_ms = 0;
    if (req->req_eos || req->f.grpc)
        start_request(req);
    if (t->idle_ms)
        cn_timer_set(&req->idle, t->idle_ms);
}

static cn_str_t number(cn_req_t *req, uint64_t n)
{
    char *digits = cn_pool_bytes(req->pool, 20);

    return cn_str_make(digits, cn_str_put_u64(digits, n));
}

/* What is left of the request's time, at least 1; 0: it has no limit. */
static uint64_t left_ms(const cn_req_t *req)
{
    const cn_req_times_t *t = &req->times;
    uint64_t gone = t->start_ms ? cn_loop_ms(req->w->loop) - t->start_ms : 0;

    if (!t->request_ms)
        return 0;
    return gone < t->request_ms ? t->request_ms - gone : 1;
}

static void tell_host(cn_req_t *req)
{
    cn_req_times_t *t = &req->times;
    cn_msg_t *msg = &req->msg;
    uint64_t ms = left_ms(req);

    if (t->try_ms && (!ms || t->try_ms < ms))
        ms = t->try_ms;
    if (!ms)
        return;
    cn_msg_set(msg, &msg->headers, CN_STR("x-envoy-expected-rq-timeout-ms"), number(req, ms));
    if (req->f.grpc && (!t->grpc_ms || ms < t->grpc_ms))
        cn_msg_set(msg, &msg->headers, CN_STR("grpc-timeout"),
                   cn_pool_printf(req->pool, "%" PRIu64 "m", ms));
}

static void start_attempt(cn_req_t *req)
{
    if (req->times.try_ms && req->up_state == CN_UP_SENT && !cn_timer_is_set(&req->times.attempt))
        cn_timer_set(&req->times.attempt, req->times.try_ms);
}

void cn_timeout_attempt(cn_req_t *req)
{
    cn_timer_stop(&req->times.attempt);
    tell_host(req);
    if (req->req_eos)
        start_attempt(req);
}

void cn_timeout_complete(cn_req_t *req)
{
    start_request(req);
    start_attempt(req);
}

void cn_timeout_answered(cn_req_t *req)
{
    cn_timer_stop(&req->times.attempt);
}

/* ---- when it is over ---- */

/* A timer that was set again after its wake was given is not over. */
static bool is_over(cn_req_t *req, uint32_t reason, const cn_timer_t *timer)
{
    bool due = req->due & reason;

    req->due &= ~reason;
    return due && !cn_timer_is_set(timer);
}

static cn_rc expire(cn_req_t *req, cn_str_t body, cn_str_t details, uint32_t flag)
{
    if (req->state == CN_RQ_FORWARD) {
        cn_req_reply(req, 504, body, details, flag);
        return CN_DONE;
    }
    req->broken = true;
    req->f.flags |= flag;
    req->f.details = details;
    return CN_ERR;
}

/* True when no byte has moved since it was last asked. */
static bool is_idle(cn_req_t *req)
{
    uint64_t mark = req->f.body_rx + req->f.body_tx + req->f.upstream_ns;
    bool idle = mark == req->times.mark;

    req->times.mark = mark;
    if (!idle)
        cn_timer_set(&req->idle, req->times.idle_ms);
    return idle;
}

cn_rc cn_timeout_check(cn_req_t *req)
{
    cn_req_times_t *t = &req->times;

    if (!req->due)
        return CN_OK;
    if (is_over(req, CN_RQ_WAKE_TIMEOUT, &t->request)) {
        if (req->cluster)
            cn_tally_add(req->w, req->cluster, CN_TALLY_TIMEOUT);
        return expire(req, CN_STR("upstream request timeout"), CN_STR("response_timeout"),
                      CN_FLAG_UT);
    }
    if (is_over(req, CN_RQ_WAKE_IDLE, &req->idle) && t->idle_ms && is_idle(req))
        return expire(req, CN_STR("stream timeout"), CN_STR("stream_idle_timeout"), CN_FLAG_SI);
    return CN_OK;
}

static cn_str_t in_words(cn_req_t *req, uint64_t ms)
{
    return ms ? cn_pool_printf(req->pool, "%" PRIu64 "ms", ms) : CN_STR("none");
}

void cn_timeout_explain(cn_req_t *req)
{
    const cn_req_times_t *t = &req->times;

    cn_req_explain(req, "timeouts: request %.*s, one attempt %.*s, silence %.*s",
                   CN_STR_ARG(in_words(req, t->request_ms)), CN_STR_ARG(in_words(req, t->try_ms)),
                   CN_STR_ARG(in_words(req, t->idle_ms)));
}

/* ---- for modules ---- */

void cn_req_set_timeouts(cn_req_t *req, uint64_t request_ms, uint64_t try_ms, uint64_t idle_ms)
{
    req->times.request_ms = request_ms;
    req->times.try_ms = try_ms;
    req->times.idle_ms = idle_ms;
}
