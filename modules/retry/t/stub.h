/* SPDX-License-Identifier: Apache-2.0
 * The part of the proxy that retry uses, as far as its tests need it.
 */
#ifndef CN_RETRY_T_STUB_H
#define CN_RETRY_T_STUB_H

#include <cairn/module.h>

struct cn_worker {
    cn_shm_view_t shm;
};

struct cn_req {
    /* what was set */
    const cn_retry_policy_t *policy;
    uint64_t request_ms, try_ms, idle_ms;
};

#endif
