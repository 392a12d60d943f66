/* SPDX-License-Identifier: Apache-2.0
 *
 * Why would this request be decided so?  Runs the real hooks on a made-up
 * request that is never sent, and keeps the account that they give.
 */
#include "core/log.h"
#include "proxy/req_int.h"

bool cn_req_explaining(const cn_req_t *req)
{
    return req->explain != NULL || cn_log_enabled(CN_LOG_DEBUG);
}

bool cn_req_dry(const cn_req_t *req)
{
    return req->explain != NULL;
}

void cn_req_explain(cn_req_t *req, const char *fmt, ...)
{
    va_list ap;
    cn_str_t line;

    if (!cn_req_explaining(req))
        return;
    va_start(ap, fmt);
    line = cn_pool_vprintf(req->pool, fmt, ap);
    va_end(ap);
    if (req->explain) {
        cn_explain_t *ex = req->explain;

        *(cn_str_t *)cn_vec_push(ex->tunnel.pool, &ex->lines, sizeof(line)) =
            cn_pool_dup(ex->tunnel.pool, line);
    }
    cn_log(CN_LOG_DEBUG, "decide", "%.*s", CN_STR_ARG(line));
}

static void run_http(cn_req_t *req, cn_explain_t *ex)
{
    req->msg = *ex->msg;
    req->msg.pool = req->pool;
    cn_req_head_prepare(req);
    for (cn_phase_t ph = CN_PH_HEAD; ph <= CN_PH_CONTENT && !req->local; ph++)
        if (cn_phase_run(req, ph) == CN_ERR && !req->local)
            cn_req_reply(req, 500, CN_STR_NULL, CN_STR("module_failed"), 0);
    ex->status = req->local ? req->resp.status : 0;
    ex->details = req->f.details;
    if (req->local)
        return;
    cn_timeout_explain(req);
    cn_retry_explain(req);
}

static void run_l4(cn_req_t *req, cn_explain_t *ex)
{
    bool denied = cn_phase_run(req, CN_PH_TUNNEL) != CN_OK;

    ex->status = denied ? 403 : 0;
    ex->details = req->f.termination_details;
}

static void tell_number(void *ctx, const char *name, uint64_t value)
{
    cn_req_explain(ctx, "cluster: %s %llu", name, (unsigned long long)value);
}

static cn_str_t pick_host(cn_req_t *req, cn_pool_t *pool)
{
    cn_cluster_t *c = cn_clusters_find(req->w->clusters, req->f.cluster_name);
    const cn_describe_t out = {tell_number, req};
    char text[CN_INET_TEXT];
    cn_host_t *host;

    if (!c)
        return CN_STR("no such cluster");
    req->cluster = cn_cluster_ref(c);
    cn_admission_describe(&req->w->admissions, req->cluster, NULL, &out);
    host = cn_req_pick_host(req);
    if (!host)
        return CN_STR("no healthy endpoint");
    cn_inet_put(text, &host->addr, true);
    return cn_pool_printf(pool, "%s%s", text,
                          host->tunnel == CN_TUNNEL_HBONE ? " through its HBONE tunnel" : "");
}

void cn_req_explain_run(cn_worker_t *w, cn_explain_t *ex)
{
    cn_inner_t *inner = cn_inner_create(w, &ex->tunnel);
    cn_pool_t *pool = ex->tunnel.pool;
    cn_req_t *req;

    inner->tunnel.pool = NULL; /* stays the caller's */
    req = cn_req_create(w, inner, ex->tunnel.section);
    req->explain = ex;
    cn_req_set_state(req, CN_RQ_EXPLAIN);
    if (ex->msg)
        run_http(req, ex);
    else
        run_l4(req, ex);
    ex->route = req->f.route ? cn_pool_dup(pool, req->f.route->name) : CN_STR_NULL;
    ex->cluster = cn_pool_dup(pool, req->f.cluster_name);
    ex->details = cn_pool_dup(pool, ex->details);
    ex->host = ex->status ? CN_STR_NULL : pick_host(req, pool);
    cn_req_abandon(req);
    cn_inner_unref(inner);
}
