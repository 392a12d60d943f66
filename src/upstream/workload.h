/* SPDX-License-Identifier: Apache-2.0
 *
 * Known pods by IP: who they are, for metrics, logs and policy.  Read from the
 * `workloads FILE` text, one line each:
 *   10.244.0.5 name=reviews-v1-abc namespace=bookinfo service_account=reviews
 *     workload=reviews-v1 type=deployment canonical_name=reviews
 *     canonical_revision=v1 cluster=Kubernetes trust_domain=cluster.local
 *     app=reviews version=v1 locality=region/zone/subzone node=worker-1
 */
#ifndef CN_UPSTREAM_WORKLOAD_H
#define CN_UPSTREAM_WORKLOAD_H

#include "core/inet.h"
#include "core/pause.h"
#include "core/pool.h"

typedef struct {
    cn_str_t name, ns, service_account, workload, type;
    cn_str_t canonical_name, canonical_revision, cluster, trust_domain, app, version;
    cn_str_t locality; /* as written; cn_locality_parse() accepts it */
    cn_str_t node;
    /* Keyed hash of the fields: records that say the same have the same one, which
     * nobody outside can aim at.  0: made by hand, without one. */
    uint64_t id;
} cn_workload_t; /* missing fields are empty */

typedef struct cn_workloads cn_workloads_t;

/* CN_ERR: *why is "line N: ...", in pool. */
CN_MUST cn_rc cn_workloads_parse(cn_str_t text, const cn_pause_t *, cn_pool_t *pool,
                                 cn_workloads_t **out, cn_str_t *why);
cn_workloads_t *cn_workloads_ref(cn_workloads_t *);
void cn_workloads_unref(cn_workloads_t *);
/* By address (port ignored); NULL: unknown, also for w == NULL. */
const cn_workload_t *cn_workloads_find(const cn_workloads_t *w, const cn_addr_t *);
/* A copy with all its strings, to outlive the set. */
cn_workload_t *cn_workload_dup(cn_pool_t *, const cn_workload_t *);
/* From a `baggage` header value (hbone.md 1.3); strings are copied into pool.
 * False when nothing in it is known. */
bool cn_workload_from_baggage(cn_pool_t *, cn_str_t value, cn_workload_t *out);
/* The same of a peer with this SPIFFE identity, which says where it belongs and
 * cannot be made up.  identity must live as long as out. */
bool cn_workload_from_peer(cn_pool_t *, cn_str_t value, cn_str_t identity, cn_workload_t *out);

#endif
