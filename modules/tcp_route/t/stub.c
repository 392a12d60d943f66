/* SPDX-License-Identifier: Apache-2.0
 * Connections that only remember what was done to them.
 */
#include "stub.h"

const cn_facts_t *cn_req_facts(const cn_req_t *req)
{
    return &req->facts;
}

cn_worker_t *cn_req_worker(const cn_req_t *req)
{
    return req->worker;
}

cn_rand_t *cn_worker_rand(cn_worker_t *w)
{
    return &w->rand;
}

void cn_req_set_cluster(cn_req_t *req, cn_str_t name)
{
    req->cluster = name;
}

void cn_req_refuse(cn_req_t *req, cn_str_t termination_details)
{
    req->why = termination_details;
}

void cn_req_add_flags(cn_req_t *req, uint32_t flags)
{
    req->flags |= flags;
}

void cn_req_explain(cn_req_t *req CN_UNUSED, const char *fmt CN_UNUSED, ...)
{
}
