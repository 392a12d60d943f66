/* SPDX-License-Identifier: Apache-2.0
 * The part of the proxy that http_route uses, as far as its tests need it.
 */
#ifndef CN_HTTP_ROUTE_T_STUB_H
#define CN_HTTP_ROUTE_T_STUB_H

#include <cairn/module.h>

struct cn_worker {
    cn_rand_t rand;
    cn_clusters_t *clusters; /* NULL: none exists */
};

struct cn_req {
    cn_facts_t facts;
    cn_worker_t *worker;
    cn_pool_t *pool;
    cn_msg_t *edit;
    const char *const *claims; /* name, value, ..., NULL */
    void *ctx;
    bool explaining;
    /* what was done to it */
    unsigned status;
    cn_str_t body, details, cluster;
    cn_str_t authority; /* rewritten */
    const cn_route_t *route;
    size_t matched;
    bool segments;
    uint32_t flags;
    char lines[4096]; /* of the account, each ended by a newline */
};

#endif
