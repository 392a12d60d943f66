/* SPDX-License-Identifier: Apache-2.0
 * The part of the proxy that route_actions uses, as far as its tests need it.
 */
#ifndef CN_ROUTE_ACTIONS_T_STUB_H
#define CN_ROUTE_ACTIONS_T_STUB_H

#include <cairn/module.h>

struct cn_worker {
    cn_rand_t rand;
};

struct cn_req {
    cn_facts_t facts;
    cn_worker_t worker;
    cn_pool_t *pool;
    cn_msg_t *msg;  /* to edit */
    cn_msg_t reply; /* headers of a local one */
    /* what was done to it */
    unsigned status, mirrored;
    cn_str_t body, details, target, authority;
};

#endif
