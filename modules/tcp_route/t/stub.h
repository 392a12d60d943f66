/* SPDX-License-Identifier: Apache-2.0
 * The part of the proxy that tcp_route uses, as far as its tests need it.
 */
#ifndef CN_TCP_ROUTE_T_STUB_H
#define CN_TCP_ROUTE_T_STUB_H

#include <cairn/module.h>

struct cn_worker {
    cn_rand_t rand;
};

struct cn_req {
    cn_facts_t facts;
    cn_worker_t *worker;
    /* what was done to it */
    cn_str_t cluster, why;
    uint32_t flags;
};

#endif
