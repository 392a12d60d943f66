/* SPDX-License-Identifier: Apache-2.0
 * The part of the proxy that fault uses, as far as its tests need it.
 */
#ifndef CN_FAULT_T_STUB_H
#define CN_FAULT_T_STUB_H

#include <cairn/module.h>

struct cn_worker {
    cn_rand_t rand;
};

struct cn_req {
    cn_facts_t facts;
    cn_worker_t worker;
    bool dry;
    /* what was done to it */
    unsigned status;
    int grpc_status;
    cn_str_t body;
    uint32_t flags;
};

#endif
