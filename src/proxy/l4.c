/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection that is not HTTP: the same request object without a message.
 * TUNNEL, connect, relay, LOG; REPORT every few seconds in between so that the
 * bytes of a day-long connection show before it ends.
 */
#include "proxy/req_int.h"

#define BUDGET (256u * 1024)
#define TRIES 3u /* hosts, as many as an HTTP request has */

void cn_req_l4_begin(cn_inner_t *inner, cn_stream_t *client)
{
    cn_req_t *req = cn_req_create(inner->w, inner, inner->tunnel.section);

    req->client = client;
    req->f.sni = req->asked.name = inner->sni;
    cn_stream_own(client, &req->task);
    cn_req_set_state(req, CN_RQ_L4);
    cn_task_wake(&req->task, CN_WAKE_STATE);
}

static void count_bytes(cn_req_t *req)
{
    req->f.body_rx = req->f.wire_rx = req->client->rx;
    req->f.body_tx = req->f.wire_tx = req->client->tx;
}

static void leave_host(cn_req_t *req, bool abort)
{
    cn_host_t *host = req->ntried ? req->tried[req->ntried - 1] : NULL;

    if (!req->server)
        return;
    req->f.upstream_local = cn_stream_peer(req->server)->local;
    cn_stream_close(req->server, abort);
    req->f.host = host;
    host->active--;
    req->server = NULL;
}

/* Gives the streams back; LOG follows in cn_req_finish. */
static cn_rc end(cn_req_t *req, bool abort)
{
    count_bytes(req);
    leave_host(req, abort);
    cn_admission_return(&req->w->admissions, &req->request);
    cn_stream_close(req->client, abort);
    req->client = NULL;
    cn_relay_fini(&req->relay);
    return CN_DONE;
}

static void try_host(cn_req_t *req, cn_host_t *host)
{
    req->f.host = host;
    req->f.destination = cn_workloads_find(req->w->workloads, &host->addr);
    req->f.attempts++;
    req->try_start_ns = cn_clock_mono_ns();
    req->tried[req->ntried++] = cn_host_ref(host);
    host->active++;
    req->server = cn_upool_stream(req->w->upool, req->cluster, host, &req->asked, &req->task);
    cn_req_set_state(req, CN_RQ_CONNECT);
}

static cn_rc connect_host(cn_req_t *req)
{
    cn_cluster_t *c = cn_clusters_find(req->w->clusters, req->f.cluster_name);
    cn_host_t *host;

    if (!c) {
        req->f.flags |= CN_FLAG_NC;
        return end(req, true);
    }
    req->cluster = cn_cluster_ref(c);
    req->f.cluster = c;
    host = cn_req_pick_host(req);
    if (!host) {
        req->f.flags |= CN_FLAG_UH;
        return end(req, true);
    }
    if (!cn_admission_take(&req->w->admissions, c, CN_ADMIT_CONNECTION, &req->request)) {
        req->f.flags |= CN_FLAG_UO;
        return end(req, true);
    }
    try_host(req, host);
    return CN_OK;
}

static cn_rc on_tunnel(cn_req_t *req)
{
    cn_rc rc;

    if (req->inner->bad_hello) {
        req->f.flags |= CN_FLAG_DPE;
        req->f.termination_details = CN_STR("tls_hello_malformed");
        return end(req, true);
    }
    rc = cn_phase_run(req, CN_PH_TUNNEL);
    if (rc == CN_AGAIN)
        return CN_AGAIN;
    if (rc != CN_OK)
        return end(req, true);
    return connect_host(req);
}

static uint64_t idle_ms(const cn_req_t *req)
{
    uint64_t own = req->cluster->conf->tcp_idle_ms;

    return own == UINT64_MAX ? req->w->conf->l4_idle_ms : own;
}

static void report(cn_req_t *req, cn_out_how how)
{
    cn_outcome_t outcome = {
        .how = how, .grpc_status = -1, .latency_ns = cn_clock_mono_ns() - req->try_start_ns};

    cn_admission_report(&req->w->admissions, req->cluster, req->tried[req->ntried - 1], &outcome);
}

static bool was_tried(const cn_req_t *req, const cn_host_t *host)
{
    for (unsigned i = 0; i < req->ntried; i++)
        if (req->tried[i] == host)
            return true;
    return false;
}

/* No byte was sent, so another host may be asked where there is one. */
static bool try_next(cn_req_t *req)
{
    cn_host_t *next = req->ntried < TRIES ? cn_req_pick_host(req) : NULL;

    if (!next || was_tried(req, next))
        return false;
    leave_host(req, true);
    try_host(req, next);
    return true;
}

static cn_rc connect_failed(cn_req_t *req)
{
    cn_serr err = req->server->err;
    cn_str_t why = cn_str_c(req->server->err_text);

    req->f.upstream_failure = cn_pool_printf(req->pool, "delayed_connect_error:_%.*s",
                                             CN_STR_ARG(cn_req_underscore(req->pool, why)));
    report(req, err == CN_SERR_TIMEOUT ? CN_OUT_CONNECT_TIMEOUT : CN_OUT_CONNECT);
    if (try_next(req))
        return CN_OK;
    req->f.flags |= CN_FLAG_UF | CN_FLAG_URX; /* no attempt is left (facts/verified 9) */
    return end(req, true);
}

/* Its host has left. */
static cn_rc cut(cn_req_t *req)
{
    req->f.flags |= CN_FLAG_LR;
    req->f.termination_details = CN_STR("endpoint_drain_timeout");
    return end(req, true);
}

static cn_rc on_connect(cn_req_t *req)
{
    cn_rc rc = cn_stream_ready(req->server);

    if (rc == CN_AGAIN && cn_leave_cuts(req))
        return try_next(req) ? CN_OK : cut(req);
    if (rc == CN_AGAIN)
        return CN_AGAIN;
    if (rc == CN_ERR)
        return connect_failed(req);
    req->f.upstream_failure = CN_STR_NULL;
    cn_req_note_peer(req, req->server);
    report(req, CN_OUT_RESPONSE);
    cn_relay_init(&req->relay, req->client, req->server);
    cn_req_report_begin(req);
    if (idle_ms(req))
        cn_timer_set(&req->idle, idle_ms(req));
    if (req->cluster->conf->max_conn_ms)
        cn_timer_set(&req->life, req->cluster->conf->max_conn_ms);
    cn_req_set_state(req, CN_RQ_RELAY);
    return CN_OK;
}

static void run_report(cn_req_t *req)
{
    count_bytes(req);
    cn_req_report(req);
}

/* True when no byte moved since the timer was last set. */
static bool is_idle(cn_req_t *req)
{
    uint64_t mark = req->client->rx + req->client->tx;
    bool idle = mark == req->idle_mark;

    req->idle_mark = mark;
    if (idle_ms(req))
        cn_timer_set(&req->idle, idle_ms(req));
    return idle;
}

static cn_rc on_relay(cn_req_t *req, uint32_t why)
{
    bool more = false;
    cn_rc rc = cn_relay_run(&req->relay, BUDGET, &more);

    if (rc == CN_DONE)
        return end(req, false);
    if (rc == CN_ERR) {
        req->f.flags |= req->client->err ? CN_FLAG_DC : CN_FLAG_UR; /* facts/verified 9 */
        return end(req, true);
    }
    if (why & CN_RQ_WAKE_REPORT)
        run_report(req);
    if (cn_leave_cuts(req))
        return cut(req);
    if ((why & CN_RQ_WAKE_IDLE) && is_idle(req)) {
        req->f.termination_details = CN_STR("idle_timeout");
        return end(req, true);
    }
    if (why & CN_RQ_WAKE_LIFE) {
        req->f.flags |= CN_FLAG_DT;
        req->f.termination_details = CN_STR("max_connection_duration");
        return end(req, true);
    }
    if (more)
        cn_task_wake(&req->task, CN_WAKE_SELF);
    return CN_AGAIN;
}

cn_rc cn_req_l4_step(cn_req_t *req, uint32_t why)
{
    switch (req->state) {
    case CN_RQ_L4:
        return on_tunnel(req);
    case CN_RQ_CONNECT:
        return on_connect(req);
    default:
        return on_relay(req, why);
    }
}

void cn_req_l4_abort(cn_req_t *req)
{
    cn_rc rc;

    rc = end(req, true);
    (void)rc;
}
