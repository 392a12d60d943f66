/* SPDX-License-Identifier: Apache-2.0
 *
 * Hosts that take no requests any more while some still run on them, with the
 * time by which those end.  Until then a host may come back as it was; one that
 * did is told by the number of its departure (cn_host_t.left), which is another
 * one by now, and is forgotten the next time that anybody looks.
 */
#ifndef CN_UPSTREAM_LEAVES_H
#define CN_UPSTREAM_LEAVES_H

#include "upstream/cluster.h"

typedef struct {
    cn_list_t all;
    uint32_t n;
    uint32_t tidy_at; /* as many of them: look for those that nobody needs */
} cn_leaves_t;

void cn_leaves_init(cn_leaves_t *);
void cn_leaves_fini(cn_leaves_t *);
/* A host of the cluster of that name has left; due in any unit, as in cut(). */
void cn_leaves_add(cn_leaves_t *, cn_str_t cluster, cn_host_t *, uint64_t due);
/* Those of the cluster that are in no set, for v with room for all of them;
 * no references.  How many. */
uint32_t cn_leaves_list(const cn_leaves_t *, cn_str_t cluster, cn_host_t **v);
/* As cn_clusters_cut(). */
bool cn_leaves_cut(cn_leaves_t *, uint64_t now, uint64_t *next);

#endif
