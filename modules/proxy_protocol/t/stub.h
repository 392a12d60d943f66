/* SPDX-License-Identifier: Apache-2.0
 *
 * A proxy that talks back: tunnels handed to it are echoed.
 */
#ifndef CN_PPROXY_STUB_H
#define CN_PPROXY_STUB_H

#include "../../../t/unit/fixture/talker.h"
#include "../pproxy_int.h"

#define TUNNELS_MAX 8

struct cn_worker {
    cn_loop_t *loop;
    cn_gen_t *gen;
    bool full;
    /* what happened */
    cn_tunnel_t served[TUNNELS_MAX];
    cn_talker_t far[TUNNELS_MAX];
    uint64_t rx[TUNNELS_MAX]; /* when it was handed over */
    unsigned nserved;
    unsigned nrefused;
    cn_addr_t refused_from;
    char refused_authority[256];
    unsigned refused_status;
};

#endif
