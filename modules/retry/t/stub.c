/* SPDX-License-Identifier: Apache-2.0
 * A proxy that only remembers what was set.
 */
#include "stub.h"

cn_shm_view_t cn_worker_shm(const cn_worker_t *w, const cn_shm_def_t *def CN_UNUSED)
{
    return w->shm;
}

void cn_req_set_retry(cn_req_t *req, const cn_retry_policy_t *policy)
{
    req->policy = policy;
}

void cn_req_set_timeouts(cn_req_t *req, uint64_t request_ms, uint64_t try_ms, uint64_t idle_ms)
{
    req->request_ms = request_ms;
    req->try_ms = try_ms;
    req->idle_ms = idle_ms;
}
