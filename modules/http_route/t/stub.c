/* SPDX-License-Identifier: Apache-2.0
 * Requests that only remember what was done to them.
 */
#include "stub.h"

#include <stdarg.h>
#include <stdio.h>

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

cn_clusters_t *cn_worker_clusters(cn_worker_t *w)
{
    return w->clusters;
}

cn_pool_t *cn_req_pool(cn_req_t *req)
{
    return req->pool;
}

cn_msg_t *cn_req_edit(cn_req_t *req)
{
    return req->edit;
}

void cn_req_set_authority(cn_req_t *req, cn_str_t authority)
{
    req->authority = authority;
}

void cn_req_set_matched(cn_req_t *req, size_t n, bool segments)
{
    req->matched = n;
    req->segments = segments;
}

bool cn_req_claim_next(const cn_req_t *req, cn_str_t path, uint32_t *iter, cn_str_t *value)
{
    for (; req->claims && req->claims[*iter]; *iter += 2)
        if (cn_str_eq(path, cn_str_c(req->claims[*iter]))) {
            *value = cn_str_c(req->claims[*iter + 1]);
            *iter += 2;
            return true;
        }
    return false;
}

void cn_req_set_route(cn_req_t *req, const cn_route_t *route)
{
    req->route = route;
}

void cn_req_set_cluster(cn_req_t *req, cn_str_t name)
{
    req->cluster = name;
}

void cn_req_reply(cn_req_t *req, unsigned status, cn_str_t body, cn_str_t details, uint32_t flags)
{
    req->status = status;
    req->body = body;
    req->details = details;
    req->flags = flags;
}

bool cn_req_explaining(const cn_req_t *req)
{
    return req->explaining;
}

void cn_req_explain(cn_req_t *req, const char *fmt, ...)
{
    size_t n = strlen(req->lines);
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(req->lines + n, sizeof(req->lines) - n, fmt, ap);
    va_end(ap);
    strncat(req->lines, "\n", sizeof(req->lines) - strlen(req->lines) - 1);
}

void cn_req_set_choices(cn_req_t *req, const cn_str_t *clusters, uint32_t n)
{
    req->facts.choices = clusters;
    req->facts.nchoices = n;
}

void cn_req_choose(cn_req_t *req, uint32_t choice)
{
    req->facts.choice = choice;
    req->cluster = req->facts.choices[choice];
}
