/* SPDX-License-Identifier: Apache-2.0
 * Requests that only remember what was done to them, in a worker without statistics.
 */
#include "stub.h"

const cn_facts_t *cn_req_facts(const cn_req_t *req)
{
    return &req->facts;
}

cn_worker_t *cn_req_worker(const cn_req_t *req)
{
    return (cn_worker_t *)(uintptr_t)&req->worker;
}

cn_rand_t *cn_worker_rand(cn_worker_t *w)
{
    return &w->rand;
}

cn_loop_t *cn_worker_loop(cn_worker_t *w CN_UNUSED)
{
    return NULL;
}

bool cn_worker_draining(const cn_worker_t *w CN_UNUSED)
{
    return true; /* no delay begins */
}

cn_stats_t *cn_worker_stats(cn_worker_t *w CN_UNUSED)
{
    return NULL;
}

unsigned cn_worker_metric(cn_worker_t *w CN_UNUSED, const cn_metric_def_t *def CN_UNUSED)
{
    return 0;
}

void *cn_worker_module(cn_worker_t *w CN_UNUSED, const cn_module_t *m CN_UNUSED)
{
    return NULL;
}

cn_task_t *cn_req_task(cn_req_t *req CN_UNUSED)
{
    return NULL;
}

void cn_req_wake(cn_req_t *req CN_UNUSED)
{
}

void cn_req_flag(cn_req_t *req, uint32_t flags)
{
    req->flags |= flags;
}

void cn_req_reply(cn_req_t *req, unsigned status, cn_str_t body, cn_str_t details CN_UNUSED,
                  uint32_t flags)
{
    req->status = status;
    req->body = body;
    req->flags |= flags;
}

void cn_req_reply_grpc(cn_req_t *req, unsigned grpc_status)
{
    req->grpc_status = (int)grpc_status;
}

bool cn_req_dry(const cn_req_t *req)
{
    return req->dry;
}

bool cn_req_explaining(const cn_req_t *req CN_UNUSED)
{
    return false;
}

void cn_req_explain(cn_req_t *req CN_UNUSED, const char *fmt CN_UNUSED, ...)
{
}
