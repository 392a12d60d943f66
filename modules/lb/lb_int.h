/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the lb module: the hosts that a balancer chooses from.
 */
#ifndef CN_LB_INT_H
#define CN_LB_INT_H

#include <cairn/module.h>

/* A balancer's state for one host set.  The hosts are the cluster's, which
 * builds the state anew whenever they change. */
typedef struct {
    cn_host_t **v; /* healthy when this was built, with a weight */
    uint32_t n;
    uint64_t *upto;  /* sums of weights up to and with v[i]; NULL: all weigh the same */
    int64_t *credit; /* round robin between hosts of different weight */
    uint32_t next;   /* round robin between hosts of equal weight */
    bool started;
} cn_lb_set_t;

void *cn_lb_set_build(cn_cluster_t *, void *prev);
void cn_lb_set_destroy(void *);

/* May it be chosen now: it can have become unhealthy or left since. */
bool cn_lb_set_usable(const cn_host_t *);
bool cn_lb_set_tried(const cn_pick_t *, const cn_host_t *);
/* One at random, in proportion to the weights; usable or not.  n > 0. */
cn_host_t *cn_lb_set_draw(const cn_lb_set_t *, cn_rand_t *);
/* The same, usable and not tried before; of those tried when there is no
 * other; NULL: none is usable. */
cn_host_t *cn_lb_set_draw_usable(const cn_lb_set_t *, const cn_pick_t *);

#endif
