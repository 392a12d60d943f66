/* SPDX-License-Identifier: Apache-2.0
 * The part of the proxy that rate_limit uses, as far as its tests need it.
 */
#ifndef CN_RATE_LIMIT_T_STUB_H
#define CN_RATE_LIMIT_T_STUB_H

#include <cairn/module.h>

struct cn_worker {
    cn_stats_t *stats;
    cn_shm_view_t shm;
    void *wctx;
    unsigned id;
};

struct cn_req {
    cn_facts_t facts;
    cn_worker_t *worker;
    cn_msg_t resp;
    bool explaining;
    /* what was done to it */
    unsigned status, grpc;
    cn_str_t body, details;
    uint32_t flags;
    char lines[8192];   /* of the account, each ended by a newline */
    char headers[1024]; /* of the reply, "name: value\n" */
};

#endif
