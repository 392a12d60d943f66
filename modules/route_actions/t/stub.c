/* SPDX-License-Identifier: Apache-2.0
 * Requests that only remember what was done to them.
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

cn_pool_t *cn_req_pool(cn_req_t *req)
{
    return req->pool;
}

cn_msg_t *cn_req_edit(cn_req_t *req)
{
    return req->msg;
}

void cn_req_reply(cn_req_t *req, unsigned status, cn_str_t body, cn_str_t details,
                  uint32_t flags CN_UNUSED)
{
    req->status = status;
    req->body = body;
    req->details = details;
}

void cn_req_reply_header(cn_req_t *req, cn_str_t name, cn_str_t value)
{
    cn_msg_add(&req->reply, &req->reply.headers, name, value);
}

void cn_req_set_target(cn_req_t *req, cn_str_t target)
{
    req->target = target;
}

void cn_req_set_authority(cn_req_t *req, cn_str_t authority)
{
    req->authority = authority;
}

void cn_req_mirror(cn_req_t *req, cn_str_t cluster CN_UNUSED)
{
    req->mirrored++;
}

bool cn_req_dry(const cn_req_t *req CN_UNUSED)
{
    return false;
}

bool cn_req_explaining(const cn_req_t *req CN_UNUSED)
{
    return false;
}

void cn_req_explain(cn_req_t *req CN_UNUSED, const char *fmt CN_UNUSED, ...)
{
}
