/* SPDX-License-Identifier: Apache-2.0
 *
 * A cluster of made-up hosts, a request that only remembers, and statistics.
 */
#ifndef CN_LB_STUB_H
#define CN_LB_STUB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../lb_int.h"
#include "upstream/admission.h"

extern const cn_module_t cn_module_lb;

#define BED_HOSTS 32

struct cn_req {
    cn_facts_t facts;
    cn_msg_t msg, resp;
    cn_tunnel_t tunnel;
    cn_workload_t source;
    cn_pool_t *pool;
};

typedef struct {
    cn_host_t hosts[BED_HOSTS]; /* 10.0.0.1:8080 and up, weight 1 */
    cn_place_t places[BED_HOSTS];
    cn_host_t *v[BED_HOSTS];
    cn_cluster_t cluster;
    cn_lb_conf_t conf;
    cn_rand_t rand;
    cn_pick_t pick;
    cn_req_t req;
    const cn_lb_ops_t *ops;
    void *ctx;
    bool ejected[BED_HOSTS];
    cn_admission_t admission;
    cn_admissions_t admissions;
    cn_cluster_look_t look;
    unsigned hits[BED_HOSTS];
} bed_t;

void bed_open(bed_t *, const char *lb, uint32_t nhosts);
void bed_close(bed_t *);
void bed_build(bed_t *);
/* Hosts put aside; the epoch goes on. */
void bed_eject(bed_t *, unsigned host, bool ejected);
void bed_place(bed_t *, unsigned host, const char *locality);
void bed_client(bed_t *, const char *locality, const char *node);
/* The client pod is 10.9.0.n. */
void bed_source(bed_t *, unsigned n);
/* The number of the chosen host; -1: none. */
int bed_pick(bed_t *);
/* n choices, counted in hits. */
void bed_run(bed_t *, unsigned n);
/* Fails unless hits fit these shares of n (chi-square, 1 in 1000). */
void bed_fits(const bed_t *, const double *shares, unsigned nhosts);

#endif
