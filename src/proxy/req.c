/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a request: its object, its states and its one end.  States are
 * listed in req_int.h; run() is a loop over them that stops where something
 * has to be waited for.  Only cn_req_finish() frees a request, and only it
 * runs LOG, so each is logged and counted exactly once however it ends.
 */
#include "proxy/req_int.h"

void cn_req_set_state(cn_req_t *req, cn_req_state state)
{
    req->state = state;
}

static void req_run(cn_task_t *task, uint32_t why);

/* Known pods first; what a peer says of itself comes second and is read once
 * per tunnel. */
static const cn_workload_t *find_source(cn_req_t *req)
{
    cn_inner_t *inner = req->inner;
    const cn_tunnel_t *t = &inner->tunnel;
    const cn_workload_t *wl = NULL;

    if (!t->foreign_network)
        wl = cn_workloads_find(req->w->workloads, &t->source);
    if (wl || t->baggage.n == 0)
        return wl;
    if (!inner->peer_read) {
        inner->peer_read = true;
        inner->peer_known =
            cn_workload_from_baggage(t->pool ? t->pool : req->pool, t->baggage, &inner->peer);
    }
    return inner->peer_known ? &inner->peer : NULL;
}

cn_req_t *cn_req_create(cn_worker_t *w, cn_inner_t *inner, cn_section_t *section)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_req_t *req = cn_pool_zalloc(pool, sizeof(*req));
    const cn_tunnel_t *t = &inner->tunnel;

    inner->refs++;
    req->pool = pool;
    req->w = w;
    req->inner = inner;
    req->section = cn_section_ref(section);
    req->main = cn_section_ref(w->gen->main);
    req->hooks = cn_phase_hooks(req->section, req->main, NULL);
    req->phase = CN_PH_MAX; /* none yet: the first run of any phase starts at its first hook */
    req->ctx = cn_pool_zalloc(pool, (cn_nmodules + 1) * sizeof(void *));
    cn_task_init(&req->task, w->loop, req_run);
    cn_list_push(&w->reqs, &req->link);
    cn_series_add(w->requests_active, 1);
    cn_timer_init(&req->report, &req->task, CN_RQ_WAKE_REPORT);
    cn_timer_init(&req->idle, &req->task, CN_RQ_WAKE_IDLE);
    cn_timer_init(&req->life, &req->task, CN_RQ_WAKE_LIFE);
    cn_timer_init(&req->later, &req->task, CN_RQ_WAKE_AGAIN);
    req->waiter = (cn_waiter_t){.task = &req->task, .why = CN_RQ_WAKE_AGAIN};
    cn_list_init(&req->waiter.link);
    cn_retry_init(req);
    cn_timeout_init(req);
    cn_msg_init(&req->msg, pool);
    req->f.section = section;
    req->f.service = cn_tunnel_service(section);
    req->f.cluster_name = req->f.service->cluster.n ? req->f.service->cluster : section->name;
    req->f.tunnel = t;
    req->asked.source = t->source;
    req->asked.dest = t->dest;
    req->f.remote = t->source;
    req->f.source = find_source(req);
    req->f.mutual_tls = t->identity.n && t->local_identity.n;
    req->f.grpc_status = -1;
    req->f.start_us = cn_clock_wall_us();
    req->f.start_ns = cn_clock_mono_ns();
    return req;
}

void cn_req_begin(cn_inner_t *inner, cn_exch_t *x)
{
    cn_req_t *req = cn_req_create(inner->w, inner, inner->tunnel.section);

    req->down = x;
    x->owner = &req->task;
    cn_req_set_state(req, CN_RQ_HEAD);
    cn_task_wake(&req->task, CN_WAKE_READ);
}

/* ---- the end ---- */

static void run_log(cn_req_t *req)
{
    req->f.end_ns = cn_clock_mono_ns();
    if (req->down) {
        req->f.wire_rx = req->down->wire_rx;
        req->f.wire_tx = req->down->wire_tx;
    }
    cn_phase_run_all(req, CN_PH_LOG);
}

static void fini_modules(cn_req_t *req)
{
    for (unsigned m = cn_nmodules; m-- > 0;)
        if (req->ctx[m] && cn_modules[m]->ctx_fini)
            cn_modules[m]->ctx_fini(req, req->ctx[m]);
}

static void free_pool(void *pool)
{
    cn_pool_destroy(pool);
}

static void release(cn_req_t *req)
{
    cn_inner_t *inner = req->inner;

    for (unsigned i = 0; i < req->ntried; i++)
        cn_host_unref(req->tried[i]);
    cn_chain_clear(&req->given);
    cn_chain_clear(&req->to_client);
    cn_chain_clear(&req->to_host);
    cn_chain_clear(&req->taken);
    cn_retry_fini(req);
    cn_timeout_fini(req);
    cn_timer_stop(&req->report);
    cn_timer_stop(&req->idle);
    cn_timer_stop(&req->life);
    cn_task_fini(&req->task);
    cn_list_remove(&req->link);
    cn_series_sub(req->w->requests_active, 1);
    cn_cluster_unref(req->cluster);
    cn_section_unref(req->section);
    cn_section_unref(req->main);
    cn_loop_retire(req->w->loop, free_pool, req->pool);
    cn_inner_unref(inner);
}

void cn_req_finish(cn_req_t *req)
{
    cn_req_set_state(req, CN_RQ_END);
    cn_req_forward_end(req);
    cn_mirror_end(req);
    if (req->f.req || !req->down) /* a head that never came is no request */
        run_log(req);
    fini_modules(req);
    if (req->down) {
        req->down->owner = NULL;
        req->down->ops->close(req->down);
    }
    release(req);
}

void cn_req_abandon(cn_req_t *req)
{
    fini_modules(req);
    release(req);
}

static void keep(cn_req_t *req, const cn_workload_t **at, const cn_workload_t **kept)
{
    if (!*at || *at == *kept || *at == &req->inner->peer)
        return;
    *at = *kept = cn_workload_dup(req->pool, *at);
}

void cn_req_keep_workloads(cn_req_t *req)
{
    keep(req, &req->f.source, &req->kept[0]);
    keep(req, &req->f.destination, &req->kept[1]);
}

/* How a client's exchange ended too early. */
static uint32_t gone_flag(const cn_exch_t *x, cn_str_t *details)
{
    switch (x->xerr) {
    case CN_XERR_PROTOCOL:
        *details = CN_STR("http2.violation.of.messaging.rule");
        return CN_FLAG_DPE;
    case CN_XERR_TOO_LARGE:
        *details = CN_STR("http2.header_list_size_too_large");
        return CN_FLAG_DR;
    case CN_XERR_TOO_MANY:
        *details = CN_STR("http2.too_many_headers");
        return CN_FLAG_DR;
    default:
        break;
    }
    *details = x->reset ? CN_STR("http2.remote_reset") : CN_STR("downstream_remote_disconnect");
    return x->reset ? CN_FLAG_DR : CN_FLAG_DC;
}

/* The client is gone before the response was. */
static cn_rc client_gone(cn_req_t *req)
{
    cn_str_t details;

    if (req->client) {
        req->f.flags |= CN_FLAG_DC;
        cn_req_l4_abort(req);
        return CN_DONE;
    }
    req->f.flags |= gone_flag(req->down, &details);
    if (!req->f.status || req->f.details.n == 0 || !req->local)
        req->f.details = details;
    return CN_DONE;
}

/* Nothing can be said to it any more. */
static bool is_gone(const cn_req_t *req)
{
    cn_xerr err = req->down->xerr;

    if (req->msg.version == CN_HTTP_2)
        return err != CN_XERR_NONE;
    return err == CN_XERR_GONE || err == CN_XERR_STREAM;
}

/* The client's side failed while a host has the request: it is gone, or its
 * body is malformed, which is answered as long as there is no other answer. */
static cn_rc client_broke(cn_req_t *req)
{
    cn_xerr err = req->bad_body ? CN_XERR_PROTOCOL : req->down->xerr;

    if (err == CN_XERR_NONE || is_gone(req))
        return client_gone(req);
    cn_req_forward_end(req);
    if (req->f.resp) {
        req->f.flags |= CN_FLAG_DPE;
        req->f.details = CN_STR("http1.codec_error");
        return CN_DONE;
    }
    req->down->ops->last(req->down);
    cn_req_reply_wire(req, err);
    cn_req_set_state(req, CN_RQ_RESPOND);
    return CN_OK;
}

/* ---- states ---- */

/* For want of memory (max_memory). */
static bool is_refused(cn_req_t *req)
{
    if (cn_budget_admits(req->w, CN_BUDGET_REQUEST))
        return false;
    cn_req_reply_overload(req);
    return true;
}

static cn_rc on_head(cn_req_t *req)
{
    cn_rc rc = req->down->ops->recv_head(req->down, &req->msg);

    if (rc == CN_AGAIN) { /* many large heads that do not end are a shortage, too */
        if (!is_refused(req))
            return CN_AGAIN;
        req->f.req = &req->msg;
        req->down->ops->last(req->down);
    } else if (rc == CN_ERR) {
        if (req->down->xerr == CN_XERR_GONE || req->down->xerr == CN_XERR_STREAM)
            return CN_DONE;
        req->f.req = &req->msg;
        if (is_gone(req))
            return client_gone(req);
        req->down->ops->last(req->down);
        cn_req_reply_wire(req, req->down->xerr);
    } else {
        req->req_eos = !req->msg.has_body;
        cn_req_head_prepare(req);
    }
    cn_req_set_state(req, req->local ? CN_RQ_RESPOND : CN_RQ_PHASES);
    return CN_OK;
}

/* ROUTE also runs for a request that was answered before it: metrics and logs
 * name the service and route that it was meant for.  The first reply stands. */
static void route_for_the_record(cn_req_t *req)
{
    cn_cluster_t *c;

    if (!req->routed && cn_phase_run(req, CN_PH_ROUTE) != CN_OK)
        return;
    c = cn_clusters_find(req->w->clusters, req->f.cluster_name);
    if (c && !(req->f.flags & CN_FLAG_NR)) {
        req->cluster = cn_cluster_ref(c);
        req->f.cluster = c;
    }
}

static cn_rc run_phases(cn_req_t *req)
{
    cn_phase_t from = req->phase == CN_PH_MAX ? CN_PH_HEAD : req->phase;

    if (req->phase == CN_PH_MAX && is_refused(req))
        return CN_DONE;
    for (cn_phase_t ph = from; ph <= CN_PH_CONTENT; ph++) {
        cn_rc rc = cn_phase_run(req, ph);

        if (ph == CN_PH_ROUTE)
            req->routed = true;
        if (rc == CN_AGAIN)
            return CN_AGAIN;
        if (rc == CN_ERR && !req->local)
            cn_req_reply(req, 500, CN_STR_NULL, CN_STR("module_failed"), 0);
        if (rc != CN_OK)
            return CN_DONE;
    }
    return CN_OK;
}

static cn_rc on_phases(cn_req_t *req)
{
    cn_rc rc = run_phases(req);

    if (rc == CN_AGAIN)
        return CN_AGAIN;
    if (rc == CN_DONE) {
        route_for_the_record(req);
        cn_req_set_state(req, CN_RQ_RESPOND);
        return CN_OK;
    }
    cn_req_set_state(req, cn_req_forward_start(req) == CN_OK ? CN_RQ_FORWARD : CN_RQ_RESPOND);
    return CN_OK;
}

static cn_rc on_forward(cn_req_t *req)
{
    cn_rc rc = cn_req_forward_run(req);

    if (rc == CN_ERR)
        return client_broke(req);
    if (rc != CN_AGAIN)
        cn_req_set_state(req, CN_RQ_RESPOND);
    return rc == CN_AGAIN ? CN_AGAIN : CN_OK;
}

/* A local reply may stand in for a host's response that a module refused. */
static void complete_reply(cn_req_t *req)
{
    if (!req->local || req->replied)
        return;
    cn_req_forward_end(req);
    cn_req_reply_finish(req);
    req->replied = req->resp_eos = true;
}

static cn_rc run_response_hooks(cn_req_t *req)
{
    cn_rc rc;

    complete_reply(req);
    while ((rc = cn_phase_run(req, CN_PH_RESP_HEAD)) != CN_OK && rc != CN_AGAIN) {
        if (rc == CN_ERR)
            cn_req_reply(req, 500, CN_STR_NULL, CN_STR("module_failed"), 0);
        complete_reply(req);
        req->hook++;
    }
    return rc;
}

/* Puts the body of a local reply in place.  True: there is none to send. */
static bool local_body(cn_req_t *req)
{
    if (req->body.n == 0 || cn_msg_bodyless(req->msg.method, req->resp.status))
        return true;
    cn_chain_copy(&req->to_client, req->body.p, req->body.n);
    req->f.body_tx = req->body.n;
    return false;
}

static cn_rc on_respond(cn_req_t *req)
{
    bool eos;

    if (run_response_hooks(req) == CN_AGAIN)
        return CN_AGAIN;
    cn_req_head_respond(req);
    if (!req->req_eos)
        req->down->ops->last(req->down);
    /* What ended with its head stays so: gRPC clients look for a status there. */
    eos = req->local ? local_body(req) : !req->resp.has_body && req->resp.status != 101;
    if (req->down->ops->send_head(req->down, &req->resp, eos) == CN_ERR)
        return client_gone(req);
    if (eos)
        return CN_DONE;
    cn_req_set_state(req, CN_RQ_BODY);
    return CN_OK;
}

static cn_rc on_websocket(cn_req_t *req)
{
    cn_rc rc = cn_websocket_run(req);

    if (rc == CN_ERR && !req->broken)
        return client_gone(req);
    return rc == CN_AGAIN && !cn_leave_breaks(req) ? CN_AGAIN : CN_DONE;
}

static cn_rc on_body(cn_req_t *req)
{
    cn_rc rc;

    if (cn_timeout_check(req) != CN_OK)
        return CN_DONE;
    if (!req->local && req->resp.status == 101)
        return on_websocket(req);
    /* an early answer may still want the rest of the request */
    if (req->up && cn_req_pump_request(req) == CN_ERR)
        return client_broke(req);
    rc = cn_req_pump_response(req);
    if (rc == CN_ERR && !req->broken)
        return client_gone(req);
    return rc == CN_AGAIN && !cn_leave_breaks(req) ? CN_AGAIN : CN_DONE;
}

static cn_rc step(cn_req_t *req, uint32_t why)
{
    switch (req->state) {
    case CN_RQ_HEAD:
        return on_head(req);
    case CN_RQ_PHASES:
        return on_phases(req);
    case CN_RQ_FORWARD:
        return on_forward(req);
    case CN_RQ_RESPOND:
        return on_respond(req);
    case CN_RQ_BODY:
        return on_body(req);
    case CN_RQ_L4:
    case CN_RQ_CONNECT:
    case CN_RQ_RELAY:
        return cn_req_l4_step(req, why);
    case CN_RQ_EXPLAIN:
    case CN_RQ_END:
        break;
    }
    return CN_AGAIN;
}

/* The relay finds out by itself; before it, nobody reads from the client. */
static bool l4_client_failed(const cn_req_t *req)
{
    cn_chain_t none = {0};

    return req->state != CN_RQ_RELAY && cn_stream_write(req->client, &none) == CN_ERR;
}

static bool client_failed(const cn_req_t *req)
{
    if (req->client)
        return l4_client_failed(req);
    return req->down && req->state > CN_RQ_HEAD && is_gone(req);
}

/* News of streams is no answer to a hook that waits; what it says is found
 * again when the request goes on. */
static bool stays_parked(const cn_req_t *req, uint32_t why)
{
    const uint32_t streams =
        CN_WAKE_READ | CN_WAKE_WRITE | CN_WAKE_STATE | CN_WAKE_CLOSED | CN_WAKE_SELF;

    return req->parked && !(why & ~(streams | CN_RQ_WAKE_OWN));
}

#define REPORT_MS 5000 /* Istio's tcp_reporting_duration */

void cn_req_report_begin(cn_req_t *req)
{
    cn_timer_set(&req->report, REPORT_MS);
}

void cn_req_report(cn_req_t *req)
{
    cn_phase_run_all(req, CN_PH_REPORT);
    cn_req_report_begin(req);
}

/* A hook that waits keeps its place in its phase. */
static void report_stream(cn_req_t *req)
{
    if (req->state == CN_RQ_FORWARD || req->state == CN_RQ_BODY)
        cn_req_report(req);
    else
        cn_req_report_begin(req);
}

static void req_run(cn_task_t *task, uint32_t why)
{
    cn_req_t *req = cn_container_of(task, cn_req_t, task);
    cn_rc rc = CN_OK;

    if (req->down && (why & CN_RQ_WAKE_REPORT)) {
        why &= ~(uint32_t)CN_RQ_WAKE_REPORT;
        report_stream(req);
    }

    req->due |= why & CN_RQ_WAKE_OWN;
    if (client_failed(req))
        rc = client_gone(req);
    else if (stays_parked(req, why))
        return;
    while (rc == CN_OK)
        rc = req->down && client_failed(req) ? client_gone(req) : step(req, why);
    if (rc != CN_AGAIN)
        cn_req_finish(req);
}

/* ---- for modules ---- */

const cn_facts_t *cn_req_facts(const cn_req_t *req)
{
    return &req->f;
}

cn_worker_t *cn_req_worker(const cn_req_t *req)
{
    return req->w;
}

cn_pool_t *cn_req_pool(cn_req_t *req)
{
    return req->pool;
}

cn_msg_t *cn_req_edit(cn_req_t *req)
{
    if (!req->f.req)
        return NULL;
    return req->phase == CN_PH_RESP_HEAD ? &req->resp : &req->msg;
}

void cn_req_wake(cn_req_t *req)
{
    cn_task_wake(&req->task, CN_RQ_WAKE_HOOK);
}

cn_task_t *cn_req_task(cn_req_t *req)
{
    return &req->task;
}

void cn_req_set_route(cn_req_t *req, const cn_route_t *route)
{
    req->f.route = route;
    req->hooks = cn_phase_hooks(req->section, req->main, route);
}

void cn_req_set_cluster(cn_req_t *req, cn_str_t name)
{
    req->f.cluster_name = name;
}

void cn_req_set_destination(cn_req_t *req, const cn_addr_t *to)
{
    req->asked.dest = *to;
    req->redirected = true;
}

void cn_req_set_matched(cn_req_t *req, size_t n, bool segments)
{
    req->f.matched = n;
    req->f.matched_segments = segments;
}

void cn_req_set_claims(cn_req_t *req, cn_claim_fn *fn, const void *claims)
{
    req->claim = fn;
    req->claims = claims;
}

bool cn_req_claim_next(const cn_req_t *req, cn_str_t path, uint32_t *iter, cn_str_t *value)
{
    return req->claim && req->claim(req->claims, path, iter, value);
}

void cn_req_set_choices(cn_req_t *req, const cn_str_t *clusters, uint32_t n)
{
    req->f.choices = clusters;
    req->f.nchoices = n;
}

void cn_req_choose(cn_req_t *req, uint32_t choice)
{
    CN_BUG_ON(choice >= req->f.nchoices);
    req->f.choice = choice;
    if (req->f.choices[choice].n)
        cn_req_set_cluster(req, req->f.choices[choice]);
}

void cn_req_prefer(cn_req_t *req, const cn_addr_t *addr)
{
    req->prefer = *addr;
}
