/* SPDX-License-Identifier: Apache-2.0
 *
 * A proxy that talks back: tunnels handed to it are echoed.
 */
#ifndef CN_HBONE_STUB_H
#define CN_HBONE_STUB_H

#include "../../../t/unit/fixture/talker.h"
#include "cairn/transport.h"

#define TUNNELS_MAX 300

struct cn_worker {
    cn_loop_t *loop;
    cn_gen_t *gen;
    cn_tls_ctx_t *tls;
    cn_str_t network;
    cn_workloads_t *workloads;
    cn_rand_t rand;
    bool full;
    /* what happened */
    cn_tunnel_t served[TUNNELS_MAX];
    cn_talker_t far[TUNNELS_MAX];
    unsigned nserved;
    unsigned refused[8];
    cn_addr_t refused_from;
    unsigned nrefused;
};

#endif
