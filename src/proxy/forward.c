/* SPDX-License-Identifier: Apache-2.0
 *
 * The forwarder: gives a request to a host of its cluster and takes the
 * response head back.  Bodies move by slices in both directions at once, each
 * side's pace bounded by the other's.
 *
 * Each attempt takes tickets of the cluster's limits, a host and a connection;
 * where all connections are busy it waits.  What follows a failed attempt is
 * retry.c's to say, and when it has taken too long timeout.c's.  The states are
 * listed in req_int.h (cn_up_state).
 */
#include "proxy/req_int.h"
#include "proxy/tally.h"

#define CHUNK 65536u
/* Another worker's connection may end without anybody here being told. */
#define WAIT_MS 10

/* Steps of the loop below answer CN_DECLINE when it has to go on. */

/* ---- one attempt ---- */

cn_host_t *cn_req_pick_host(cn_req_t *req)
{
    const cn_retry_policy_t *policy = req->retry.policy;
    cn_pick_t pick = {.rand = &req->w->rand,
                      .tried = req->tried,
                      .ntried = policy->keep_tried ? 0 : req->ntried,
                      .other_localities = policy->other_localities && req->ntried,
                      .req = req,
                      .admissions = &req->w->admissions};

    if (req->redirected || req->cluster->conf->original_destination)
        return cn_clusters_pass(req->w->clusters, req->cluster, &req->asked.dest);
    if (req->prefer.family)
        pick.prefer = cn_cluster_host(req->cluster, &req->prefer);
    return cn_cluster_pick(req->cluster, &pick);
}

static void note_host(cn_req_t *req, cn_host_t *host)
{
    req->f.host = host;
    req->f.destination = cn_workloads_find(req->w->workloads, &host->addr);
    req->f.upstream_local = (cn_addr_t){0};
    req->f.attempts++;
    if (req->ntried == CN_RQ_TRIED) {
        cn_host_unref(req->tried[0]);
        memmove(req->tried, req->tried + 1, --req->ntried * sizeof(cn_host_t *));
    }
    req->tried[req->ntried++] = cn_host_ref(host);
}

void cn_req_note_peer(cn_req_t *req, cn_stream_t *s)
{
    const cn_peer_t *peer = s ? cn_stream_peer(s) : NULL;
    cn_workload_t *wl;

    if (req->f.destination || !peer || peer->baggage.n == 0)
        return;
    wl = cn_pool_zalloc(req->pool, sizeof(*wl));
    if (cn_workload_from_peer(req->pool, peer->baggage, cn_pool_dup(req->pool, peer->identity), wl))
        req->f.destination = wl;
}

static void end_attempt(cn_req_t *req)
{
    cn_stream_t *s = req->up ? cn_upool_conn_stream(req->up) : NULL;

    if (s)
        req->f.upstream_local = cn_stream_peer(s)->local;
    if (req->up)
        cn_upool_close(req->up);
    req->up = NULL;
    req->up_state = CN_UP_NONE;
    cn_list_remove(&req->waiter.link);
    cn_timer_stop(&req->later);
    cn_admission_return(&req->w->admissions, &req->pending);
    cn_admission_return(&req->w->admissions, &req->request);
    cn_timeout_answered(req);
    cn_chain_clear(&req->to_host);
}

void cn_req_forward_end(cn_req_t *req)
{
    end_attempt(req);
    cn_admission_return(&req->w->admissions, &req->again);
}

static cn_rc give_up(cn_req_t *req)
{
    cn_req_forward_end(req);
    return CN_DONE;
}

/* Envoy's resource manager also counts the one whose connection is being made. */
static cn_uconn_t *open_connection(cn_req_t *req, cn_host_t *host, bool *overflow)
{
    cn_http_version version = cn_upool_version(req->cluster, req->msg.version);
    cn_uconn_t *up = NULL;

    if (!req->up_fresh || version == CN_HTTP_2)
        up =
            cn_upool_open_kept(req->w->upool, req->cluster, host, &req->asked, version, &req->task);
    if (up)
        return up;
    *overflow = !req->pending.cluster && !cn_admission_take(&req->w->admissions, req->cluster,
                                                            CN_ADMIT_PENDING, &req->pending);
    if (*overflow)
        return NULL;
    return cn_upool_open(req->w->upool, req->cluster, host, &req->asked, version, true, &req->task);
}

static cn_rc wait_for_connection(cn_req_t *req)
{
    req->up_state = CN_UP_WAIT;
    req->waiter.cluster = req->cluster;
    cn_admission_wait(&req->w->admissions, &req->waiter);
    cn_timer_set(&req->later, WAIT_MS);
    return CN_AGAIN;
}

static void send_request(cn_req_t *req)
{
    cn_exch_t *x = req->up->exch;

    cn_list_remove(&req->waiter.link);
    cn_timer_stop(&req->later);
    req->up_state = CN_UP_SENT;
    req->up_fresh = false;
    req->try_start_ns = cn_clock_mono_ns();
    req->up_eos = !req->msg.has_body;
    cn_timeout_attempt(req);
    if (x->ops->send_head(x, &req->msg, req->up_eos) == CN_ERR)
        cn_task_wake(&req->task, CN_WAKE_CLOSED); /* recv_head says why */
}

static cn_rc connect_host(cn_req_t *req)
{
    cn_host_t *host = cn_req_pick_host(req);
    bool overflow = false;

    if (!host) {
        cn_req_reply(req, 503, CN_STR("no healthy upstream"), CN_STR("no_healthy_upstream"),
                     CN_FLAG_UH);
        return give_up(req);
    }
    req->up = open_connection(req, host, &overflow);
    if (overflow) {
        cn_req_reply_overflow(req);
        return give_up(req);
    }
    if (!req->up)
        return wait_for_connection(req);
    note_host(req, host);
    send_request(req);
    return CN_DECLINE;
}

static cn_rc attempt(cn_req_t *req)
{
    if (!cn_admission_take(&req->w->admissions, req->cluster, CN_ADMIT_REQUEST, &req->request)) {
        cn_req_reply_overflow(req);
        return give_up(req);
    }
    return connect_host(req);
}

/* What the client calls the host, for those who know it by name only. */
static void note_name(cn_req_t *req)
{
    uint16_t port;

    if (cn_uri_authority(req->msg.authority, &req->asked.name, &port) != CN_OK)
        req->asked.name = CN_STR_NULL;
}

cn_rc cn_req_forward_start(cn_req_t *req)
{
    cn_cluster_t *c = cn_clusters_find(req->w->clusters, req->f.cluster_name);

    if (!c) {
        cn_req_reply(req, 503, CN_STR_NULL, CN_STR("cluster_not_found"), CN_FLAG_NC);
        return CN_DONE;
    }
    req->cluster = cn_cluster_ref(c);
    req->f.cluster = c;
    note_name(req);
    cn_websocket_begin(req);
    if (req->f.grpc)
        cn_req_report_begin(req);
    req->up_start_ns = cn_clock_mono_ns();
    cn_mirror_begin(req);
    cn_timeout_begin(req);
    return attempt(req) == CN_DONE ? CN_DONE : CN_OK;
}

/* ---- how an attempt ends ---- */

static void report(cn_req_t *req, cn_out_how how)
{
    cn_outcome_t outcome = {
        .how = how, .grpc_status = -1, .latency_ns = cn_clock_mono_ns() - req->try_start_ns};

    if (how == CN_OUT_RESPONSE) {
        const cn_header_t *h = cn_msg_get(&req->resp.headers, CN_TOK_GRPC_STATUS);
        uint64_t n;

        outcome.status = req->resp.status;
        if (h && cn_str_u64(h->value, 9999, &n) == CN_OK)
            outcome.grpc_status = (int16_t)n;
    }
    cn_admission_report(&req->w->admissions, req->cluster, req->up->host, &outcome);
}

/* What of the body was taken is given to the next host again. */
static cn_rc try_again(cn_req_t *req, cn_retry_what what, uint64_t wait_ms)
{
    end_attempt(req);
    cn_chain_share(&req->to_host, &req->retry.replay);
    if (what == CN_RETRY_NOW) {
        req->up_fresh = true;
        return attempt(req);
    }
    req->up_state = CN_UP_BACKOFF;
    cn_timer_set(&req->later, wait_ms);
    return CN_AGAIN;
}

static cn_fail cause_of(const cn_exch_t *x)
{
    if (x->xerr == CN_XERR_UNPROCESSED ||
        (x->xerr == CN_XERR_STREAM && x->stream_err == CN_SERR_UNPROCESSED))
        return CN_FAIL_UNPROCESSED;
    return x->unsent && !x->reused ? CN_FAIL_CONNECT : CN_FAIL_RESET;
}

static cn_out_how outcome_of(const cn_exch_t *x, cn_fail cause)
{
    if (cause == CN_FAIL_TIMEOUT)
        return CN_OUT_TIMEOUT;
    if (cause == CN_FAIL_CONNECT)
        return x->stream_err == CN_SERR_TIMEOUT ? CN_OUT_CONNECT_TIMEOUT : CN_OUT_CONNECT;
    if (x->xerr == CN_XERR_STREAM || x->xerr == CN_XERR_GONE || x->xerr == CN_XERR_UNPROCESSED)
        return CN_OUT_RESET;
    return CN_OUT_PROTOCOL;
}

/* No response head that could be passed on. */
static cn_rc attempt_failed(cn_req_t *req, cn_fail cause)
{
    uint64_t wait_ms = 0;
    cn_retry_what what;

    report(req, outcome_of(req->up->exch, cause));
    if (cause == CN_FAIL_TIMEOUT)
        cn_tally_add(req->w, req->cluster, CN_TALLY_TRY_TIMEOUT);
    what = cn_retry_decide(req, cause, &wait_ms);
    if (what != CN_RETRY_NOT)
        return try_again(req, what, wait_ms);
    if (cause == CN_FAIL_TIMEOUT)
        cn_req_reply(req, 504, CN_STR("upstream request timeout"),
                     CN_STR("upstream_per_try_timeout"), CN_FLAG_UT);
    else
        cn_req_reply_upstream(req, req->up->exch);
    return give_up(req);
}

/* The host is not to blame: nothing is reported of it. */
static cn_rc attempt_cut(cn_req_t *req)
{
    uint64_t wait_ms = 0;
    cn_retry_what what = cn_retry_decide(req, CN_FAIL_CUT, &wait_ms);

    if (what != CN_RETRY_NOT)
        return try_again(req, what, wait_ms);
    cn_req_reply_cut(req);
    return give_up(req);
}

/* A short rest of a response that nobody gets: its connection can serve again. */
static void drop_response(cn_req_t *req)
{
    cn_exch_t *x = req->up->exch;
    cn_chain_t rest = {0};

    while (rest.bytes < CHUNK && x->ops->recv_body(x, &rest, CHUNK) == CN_OK)
        continue;
    cn_chain_clear(&rest);
}

static void response_arrived(cn_req_t *req)
{
    const cn_header_t *h;
    uint64_t n;

    cn_retry_settled(req);
    cn_timeout_answered(req);
    cn_admission_return(&req->w->admissions, &req->pending);
    cn_req_note_peer(req, cn_upool_conn_stream(req->up));
    req->f.upstream_ns = cn_clock_mono_ns();
    req->f.status = req->resp.status;
    req->f.resp = &req->resp;
    req->f.details = CN_STR("via_upstream");
    h = cn_msg_get(&req->resp.headers, CN_TOK_GRPC_STATUS);
    if (h && cn_str_u64(h->value, 9999, &n) == CN_OK)
        req->f.grpc_status = (int16_t)n;
}

static cn_rc answered(cn_req_t *req)
{
    uint64_t wait_ms = 0;

    report(req, CN_OUT_RESPONSE);
    if (cn_retry_lists(req)) {
        cn_retry_what what = cn_retry_decide(req, CN_FAIL_STATUS, &wait_ms);

        if (what != CN_RETRY_NOT) {
            drop_response(req);
            return try_again(req, what, wait_ms);
        }
    }
    if (req->retry.done && !(req->f.flags & (CN_FLAG_URX | CN_FLAG_UO)))
        cn_tally_add(req->w, req->cluster, CN_TALLY_RETRY_SUCCESS);
    if (cn_websocket_answered(req) != CN_OK)
        return give_up(req);
    response_arrived(req);
    return CN_OK;
}

/* ---- the request's body ---- */

/* CN_OK: something came; CN_AGAIN: nothing came, or there is no room. */
static cn_rc pull(cn_req_t *req)
{
    cn_rc rc;

    if (req->req_eos || req->to_host.bytes >= CHUNK)
        return CN_AGAIN;
    rc = req->down->ops->recv_body(req->down, &req->taken, CHUNK - req->to_host.bytes);
    if (rc == CN_ERR)
        return CN_ERR;
    req->f.body_rx += req->taken.bytes;
    if (cn_filter_wanted(req) && cn_filter_request(req, &req->taken, rc == CN_DONE) != CN_OK) {
        req->bad_body = true;
        return CN_ERR;
    }
    cn_mirror_body(req, &req->taken, rc == CN_DONE);
    if (req->taken.bytes) {
        cn_retry_keep(req, &req->taken);
        cn_chain_move(&req->to_host, &req->taken, req->taken.bytes);
    }
    if (rc == CN_DONE) {
        req->req_eos = true;
        if (!req->msg.upgrade_websocket)
            cn_timeout_complete(req);
    }
    return rc == CN_AGAIN ? CN_AGAIN : CN_OK;
}

/* From the client to the host, as both allow.  A host that fails here is found
 * out by recv_head. */
cn_rc cn_req_pump_request(cn_req_t *req)
{
    cn_rc rc = CN_OK;

    while (!req->up_eos) {
        cn_exch_t *x = req->up ? req->up->exch : NULL;

        rc = pull(req);
        if (rc == CN_ERR)
            return CN_ERR;
        if (!x) {
            if (rc == CN_AGAIN)
                return CN_AGAIN;
            continue;
        }
        if (req->to_host.bytes == 0 && !req->req_eos)
            return CN_AGAIN;
        rc = x->ops->send_body(x, &req->to_host, req->req_eos,
                               req->req_eos && req->msg.trailers.n ? &req->msg.trailers : NULL);
        if (rc != CN_OK)
            return CN_AGAIN;
        req->up_eos = req->req_eos;
    }
    return CN_DONE;
}

/* ---- the response's head ---- */

/* An informational response goes through as it is (facts/verified 1.1). */
static cn_rc pass_informational(cn_req_t *req)
{
    if (req->down->ops->send_head(req->down, &req->resp, false) == CN_ERR)
        return CN_ERR;
    return CN_DECLINE;
}

static bool try_is_over(const cn_req_t *req)
{
    return (req->due & CN_RQ_WAKE_TRY) && !cn_timer_is_set(&req->times.attempt);
}

static cn_rc await_head(cn_req_t *req)
{
    cn_exch_t *x = req->up->exch;
    cn_rc rc;

    if (req->pending.cluster && cn_upool_connected(req->up))
        cn_admission_return(&req->w->admissions, &req->pending);
    cn_msg_init(&req->resp, req->pool);
    rc = x->ops->recv_head(x, &req->resp);
    if (rc == CN_ERR)
        return attempt_failed(req, cause_of(x));
    if (rc == CN_AGAIN && cn_leave_cuts(req))
        return attempt_cut(req);
    if (rc == CN_AGAIN)
        return try_is_over(req) ? attempt_failed(req, CN_FAIL_TIMEOUT) : CN_AGAIN;
    return req->resp.status >= 200 || req->resp.status == 101 ? answered(req)
                                                              : pass_informational(req);
}

/* In WAIT and BACKOFF. */
static cn_rc await_turn(cn_req_t *req)
{
    bool due = req->due & CN_RQ_WAKE_AGAIN;

    req->due &= ~(uint32_t)CN_RQ_WAKE_AGAIN;
    if (req->up_state == CN_UP_WAIT)
        return due ? connect_host(req) : CN_AGAIN;
    return due && !cn_timer_is_set(&req->later) ? attempt(req) : CN_AGAIN;
}

cn_rc cn_req_forward_run(cn_req_t *req)
{
    cn_rc rc;

    do {
        if (cn_timeout_check(req) != CN_OK) {
            if (req->up)
                report(req, CN_OUT_TIMEOUT);
            return give_up(req);
        }
        if (cn_req_pump_request(req) == CN_ERR)
            return CN_ERR;
        rc = req->up_state == CN_UP_SENT ? await_head(req) : await_turn(req);
    } while (rc == CN_DECLINE);
    return rc;
}

static void note_trailers(cn_req_t *req)
{
    const cn_header_t *h = cn_msg_get(&req->resp.trailers, CN_TOK_GRPC_STATUS);
    uint64_t n;

    if (h && cn_str_u64(h->value, 9999, &n) == CN_OK)
        req->f.grpc_status = (int16_t)n;
}

/* The host broke off in the middle: the client must see that, too. */
static cn_rc response_broken(cn_req_t *req)
{
    bool reset = req->up->exch->reset;

    req->broken = true;
    req->f.flags |= reset ? CN_FLAG_UR : CN_FLAG_UPE;
    req->f.details = reset ? CN_STR("upstream_reset_after_response_started{remote_reset}")
                           : CN_STR("upstream_reset_after_response_started{protocol_error}");
    return CN_ERR;
}

/* More of the response's body; as recv_body of an exchange. */
static cn_rc take_response(cn_req_t *req)
{
    cn_exch_t *up = req->up->exch;
    size_t before = req->to_client.bytes;
    bool filtered = cn_filter_wanted(req);
    cn_rc rc = up->ops->recv_body(up, filtered ? &req->given : &req->to_client, CHUNK - before);

    if (rc == CN_ERR)
        return CN_ERR;
    req->resp_eos = rc == CN_DONE;
    if (req->resp_eos)
        note_trailers(req);
    if (filtered && cn_filter_response(req, &req->given, req->resp_eos) != CN_OK)
        return CN_ERR;
    cn_chain_move(&req->to_client, &req->given, req->given.bytes);
    req->f.body_tx += req->to_client.bytes - before;
    return rc;
}

cn_rc cn_req_pump_response(cn_req_t *req)
{
    cn_exch_t *down = req->down;

    for (;;) {
        cn_rc rc;

        if (!req->resp_eos && req->to_client.bytes < CHUNK) {
            rc = take_response(req);
            if (rc == CN_ERR)
                return response_broken(req);
            if (rc == CN_AGAIN && req->to_client.bytes == 0)
                return CN_AGAIN;
        }
        rc = down->ops->send_body(down, &req->to_client, req->resp_eos,
                                  req->resp.trailers.n ? &req->resp.trailers : NULL);
        if (rc == CN_OK && req->resp_eos)
            return CN_DONE;
        if (rc != CN_OK)
            return rc;
    }
}
