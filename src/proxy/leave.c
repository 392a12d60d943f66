/* SPDX-License-Identifier: Apache-2.0
 *
 * Hosts that leave: their pooled connections are retired at once, and what runs
 * on them is ended when its time is over.
 *
 * The time is that of the moment at which the host left: the cluster may be gone
 * when it is over, and a reload in between does not begin anew.  Nothing is kept
 * for a host, a request or a connection: one timer is set to the first host that
 * is due (upstream/leaves.c has them), and then all requests are looked at.
 */
#include "proxy/leave.h"

#include "proxy/call.h"
#include "proxy/req_int.h"
#include "proxy/tally.h"

static uint64_t drain_ms(const cn_cluster_t *c, const cn_host_t *host)
{
    uint64_t own = c->conf->drain_ms;
    const cn_proxy_conf_t *main = c->section->parent->confs[CN_UNIT_PROXY];

    if (host->outside) /* an answer that leaves out an address says nothing of it */
        return 0;
    /* MAIN of the cluster's own generation, which may not be the worker's yet. */
    return own == UINT64_MAX ? main->endpoint_drain_ms : own;
}

static uint64_t on_left(void *ctx, const cn_cluster_t *c, cn_host_t *host)
{
    cn_worker_t *w = ctx;
    uint64_t ms = drain_ms(c, host), due = cn_loop_ms(w->loop) + ms;

    cn_upool_retire(w->upool, host);
    if (!ms || !host->active)
        return 0;
    if (ms < cn_timer_left_ms(&w->leave_timer))
        cn_timer_set(&w->leave_timer, ms);
    return due;
}

/* Where its present attempt is, if it is anywhere. */
static const cn_host_t *host_of(const cn_req_t *req)
{
    if (req->up)
        return req->up->host;
    return req->server ? req->tried[req->ntried - 1] : NULL;
}

static bool is_cut(const cn_req_t *req)
{
    const cn_host_t *host = host_of(req);

    return host && host->cut;
}

static void on_due(cn_task_t *task, uint32_t why CN_UNUSED)
{
    cn_worker_t *w = cn_container_of(task, cn_worker_t, leave);
    uint64_t now = cn_loop_ms(w->loop), next;
    bool any = cn_clusters_cut(w->clusters, now, &next);

    if (next != UINT64_MAX)
        cn_timer_set(&w->leave_timer, next - now);
    if (!any)
        return;
    cn_list_each (node, &w->reqs) {
        cn_req_t *req = cn_list_entry(node, cn_req_t, link);

        if (is_cut(req))
            cn_task_wake(&req->task, CN_RQ_WAKE_CUT);
    }
    cn_call_cut_all(w);
}

void cn_leave_init(cn_worker_t *w)
{
    cn_task_init(&w->leave, w->loop, on_due);
    cn_timer_init(&w->leave_timer, &w->leave, CN_WAKE_TIMER);
    cn_clusters_on_left(w->clusters, on_left, w);
}

void cn_leave_fini(cn_worker_t *w)
{
    cn_timer_stop(&w->leave_timer);
    cn_task_fini(&w->leave);
}

/* ---- for requests ---- */

bool cn_leave_cuts(cn_req_t *req)
{
    bool due = req->due & CN_RQ_WAKE_CUT;

    req->due &= ~(uint32_t)CN_RQ_WAKE_CUT;
    if (!due || !is_cut(req))
        return false;
    cn_tally_add(req->w, req->cluster, CN_TALLY_CUT);
    return true;
}

bool cn_leave_breaks(cn_req_t *req)
{
    bool needed = req->up && (!req->resp_eos || req->resp.status == 101);

    if (!needed || !cn_leave_cuts(req))
        return false;
    req->broken = true;
    req->f.flags |= CN_FLAG_LR;
    req->f.details = CN_STR("endpoint_drain_timeout");
    return true;
}
