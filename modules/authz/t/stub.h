/* SPDX-License-Identifier: Apache-2.0
 * The part of the proxy that authz uses, as far as its tests need it.
 */
#ifndef CN_AUTHZ_T_STUB_H
#define CN_AUTHZ_T_STUB_H

#include <cairn/module.h>

struct cn_worker {
    cn_stats_t *stats;
};

struct cn_req {
    cn_facts_t facts;
    cn_worker_t worker;
    bool explaining;
    /* what was done to it */
    unsigned status;
    cn_str_t body, details, refused;
    uint32_t flags;
    char lines[8192]; /* of the account, each ended by a newline */
};

#endif
