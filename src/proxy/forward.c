/* SPDX-License-Identifier: Apache-2.0
 *
 * The forwarder: gives a request to a host of its cluster and takes the
 * response head back.  Bodies move by slices in both directions at once, each
 * side's pace bounded by the other's.
 *
 * A request that a host cannot have acted on is given to another: one that
 * met a closing kept-alive connection (idempotent methods, RFC 9110 9.2.2,
 * without a body byte sent) or was refused unprocessed.
 */
#include "proxy/req_int.h"

#define CHUNK 65536u

cn_host_t *cn_req_pick_host(cn_req_t *req)
{
    cn_pick_t pick = {.rand = &req->w->rand, .tried = req->tried, .ntried = req->ntried};

    return cn_cluster_pick(req->cluster, &pick);
}

static void note_host(cn_req_t *req, cn_host_t *host)
{
    req->f.host = host;
    req->f.destination = cn_workloads_find(req->w->workloads, &host->addr);
    req->f.attempts++;
    if (req->ntried < CN_RQ_TRIED)
        req->tried[req->ntried++] = cn_host_ref(host);
}

/* Starts one attempt.  CN_DONE: no host, local reply set. */
static cn_rc attempt(cn_req_t *req)
{
    cn_host_t *host = cn_req_pick_host(req);
    cn_exch_t *x;

    if (!host) {
        cn_req_reply(req, 503, CN_STR("no healthy upstream"), CN_STR("no_healthy_upstream"),
                     CN_FLAG_UH);
        return CN_DONE;
    }
    note_host(req, host);
    req->f.upstream_local = (cn_addr_t){0};
    req->up =
        cn_upool_open(req->w->upool, req->cluster, host, &req->asked,
                      cn_upool_version(req->cluster, req->msg.version), req->up_fresh, &req->task);
    x = req->up->exch;
    req->up_eos = !req->msg.has_body;
    if (x->ops->send_head(x, &req->msg, req->up_eos) == CN_ERR)
        cn_task_wake(&req->task, CN_WAKE_CLOSED); /* recv_head says why */
    return CN_OK;
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
    req->up_start_ns = cn_clock_mono_ns();
    return attempt(req);
}

void cn_req_forward_end(cn_req_t *req)
{
    cn_stream_t *s;

    if (!req->up)
        return;
    s = cn_upool_conn_stream(req->up);
    if (s)
        req->f.upstream_local = cn_stream_peer(s)->local;
    cn_upool_close(req->w->upool, req->up);
    req->up = NULL;
    cn_chain_clear(&req->to_host);
}

static bool is_idempotent(cn_str_t method)
{
    static const char *const safe[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"};

    for (size_t i = 0; i < CN_COUNT(safe); i++)
        if (cn_str_eq(method, cn_str_c(safe[i])))
            return true;
    return false;
}

/* Anything else is an answer, if a bad one. */
static bool is_lost(const cn_exch_t *x)
{
    return x->xerr == CN_XERR_GONE || x->xerr == CN_XERR_STREAM;
}

static bool may_repeat(const cn_req_t *req)
{
    const cn_exch_t *x = req->up->exch;

    if (req->up_sent || req->f.attempts >= CN_RQ_TRIED)
        return false;
    if (x->xerr == CN_XERR_UNPROCESSED ||
        (x->xerr == CN_XERR_STREAM && x->stream_err == CN_SERR_UNPROCESSED))
        return true;
    return x->reused && is_lost(x) && is_idempotent(req->msg.method);
}

/* The host's exchange failed before a response head. */
static cn_rc attempt_failed(cn_req_t *req)
{
    if (may_repeat(req)) {
        cn_req_forward_end(req);
        req->up_fresh = true;
        return attempt(req);
    }
    cn_req_reply_upstream(req, req->up->exch);
    cn_req_forward_end(req);
    return CN_DONE;
}

/* From the client to the host, as both allow.  A host that fails here is found
 * out by recv_head. */
cn_rc cn_req_pump_request(cn_req_t *req)
{
    cn_exch_t *up = req->up ? req->up->exch : NULL;
    cn_rc rc;

    while (up && !req->up_eos) {
        if (!req->req_eos && req->to_host.bytes < CHUNK) {
            size_t before = req->to_host.bytes;

            rc = req->down->ops->recv_body(req->down, &req->to_host, CHUNK - before);
            if (rc == CN_ERR)
                return CN_ERR;
            req->req_eos = rc == CN_DONE;
            req->f.body_rx += req->to_host.bytes - before;
            if (rc == CN_AGAIN && req->to_host.bytes == 0)
                return CN_AGAIN;
        }
        req->up_sent = req->up_sent || req->to_host.bytes;
        rc = up->ops->send_body(up, &req->to_host, req->req_eos,
                                req->req_eos && req->msg.trailers.n ? &req->msg.trailers : NULL);
        if (rc != CN_OK)
            return CN_AGAIN;
        req->up_eos = req->req_eos;
    }
    return CN_DONE;
}

/* An informational response goes through as it is (facts/verified 1.1). */
static cn_rc pass_informational(cn_req_t *req)
{
    if (req->down->ops->send_head(req->down, &req->resp, false) == CN_ERR)
        return CN_ERR;
    return CN_OK;
}

static void response_arrived(cn_req_t *req)
{
    const cn_header_t *h;
    uint64_t n;

    req->f.upstream_ns = cn_clock_mono_ns();
    req->f.status = req->resp.status;
    req->f.resp = &req->resp;
    req->f.details = CN_STR("via_upstream");
    h = cn_msg_get(&req->resp.headers, CN_TOK_GRPC_STATUS);
    if (h && cn_str_u64(h->value, 9999, &n) == CN_OK)
        req->f.grpc_status = (int16_t)n;
}

cn_rc cn_req_forward_run(cn_req_t *req)
{
    for (;;) {
        cn_exch_t *up = req->up->exch;
        cn_rc rc;

        if (cn_req_pump_request(req) == CN_ERR)
            return CN_ERR;
        cn_msg_init(&req->resp, req->pool);
        rc = up->ops->recv_head(up, &req->resp);
        if (rc == CN_AGAIN)
            return CN_AGAIN;
        if (rc == CN_ERR) {
            rc = attempt_failed(req);
            if (rc != CN_OK)
                return rc;
            continue;
        }
        if (req->resp.status >= 200) {
            response_arrived(req);
            return CN_OK;
        }
        if (pass_informational(req) == CN_ERR)
            return CN_ERR;
    }
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

cn_rc cn_req_pump_response(cn_req_t *req)
{
    cn_exch_t *down = req->down;

    for (;;) {
        size_t before = req->to_client.bytes;
        cn_rc rc;

        if (!req->resp_eos && before < CHUNK) {
            cn_exch_t *up = req->up->exch;

            rc = up->ops->recv_body(up, &req->to_client, CHUNK - before);
            if (rc == CN_ERR)
                return response_broken(req);
            req->resp_eos = rc == CN_DONE;
            req->f.body_tx += req->to_client.bytes - before;
            if (req->resp_eos)
                note_trailers(req);
            else if (rc == CN_AGAIN && req->to_client.bytes == 0)
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
