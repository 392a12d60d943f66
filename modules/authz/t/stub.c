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
    return (cn_worker_t *)(uintptr_t)&req->worker;
}

cn_stats_t *cn_worker_stats(cn_worker_t *w)
{
    return w->stats;
}

unsigned cn_worker_metric(cn_worker_t *w CN_UNUSED, const cn_metric_def_t *def CN_UNUSED)
{
    return 0;
}

void cn_req_reply(cn_req_t *req, unsigned status, cn_str_t body, cn_str_t details, uint32_t flags)
{
    req->status = status;
    req->body = body;
    req->details = details;
    req->flags = flags;
}

void cn_req_refuse(cn_req_t *req, cn_str_t termination_details)
{
    req->refused = termination_details;
}

bool cn_req_dry(const cn_req_t *req CN_UNUSED)
{
    return false;
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
