/* SPDX-License-Identifier: Apache-2.0
 * The part of the proxy that http_route uses, as far as its tests need it.
 */
#ifndef CN_HTTP_ROUTE_T_STUB_H
#define CN_HTTP_ROUTE_T_STUB_H

#include <cairn/module.h>

struct cn_worker {
    cn_rand_t rand;
};

struct cn_req {
    cn_facts_t facts;
    cn_worker_t *worker;
    bool explaining;
    /* what was done to it */
    unsigned status;
    cn_str_t body, details, cluster;
    const cn_route_t *route;
    uint32_t flags;
    char lines[4096]; /* of the account, each ended by a newline */
};

#endif
