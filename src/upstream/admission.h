/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking the admission hooks of all modules (cn_admission_ops_t), and tickets
 * that remember what was granted.
 */
#ifndef CN_UPSTREAM_ADMISSION_H
#define CN_UPSTREAM_ADMISSION_H

#include "upstream/registry.h"

typedef struct {
    const cn_admission_ops_t *ops;
    void *wctx;
    unsigned unit; /* of its settings in a section */
} cn_admission_t;

/* A worker's; in module order. */
typedef struct cn_admissions {
    cn_admission_t *v;
    unsigned n;
    cn_list_t waiting; /* cn_waiter_t, first come first */
} cn_admissions_t;

/* What was granted; zeroed: nothing.  Holds the cluster and its settings. */
typedef struct {
    cn_cluster_t *cluster;
    cn_section_t *section;
    cn_admit_kind kind;
    bool beyond; /* nobody counts it */
} cn_ticket_t;

/* v: heap memory, taken over. */
void cn_admission_init(cn_admissions_t *, cn_admission_t *v, unsigned n);
void cn_admission_fini(cn_admissions_t *);

/* False: the cluster is full.  The ticket must be empty; all may be NULL. */
CN_MUST bool cn_admission_take(cn_admissions_t *, cn_cluster_t *, cn_admit_kind, cn_ticket_t *);
/* The same for a connection that many requests share.  A worker without any to
 * the cluster gets one beyond the limit: those of the others may last for ever,
 * with requests of their own on them at all times. */
CN_MUST bool cn_admission_take_shared(cn_admissions_t *, cn_cluster_t *, cn_ticket_t *);
/* Gives back what the ticket holds, if anything; a connection's wakes who waits. */
void cn_admission_return(cn_admissions_t *, cn_ticket_t *);

/* Somebody who waits for a connection to a cluster; embedded. */
typedef struct {
    cn_list_t link;
    cn_cluster_t *cluster;
    cn_task_t *task;
    uint32_t why;
} cn_waiter_t;
/* Until cn_list_remove(&waiter->link), also after it was woken.  Again each time
 * that it has found nothing: other workers are asked to spare one. */
void cn_admission_wait(cn_admissions_t *, cn_waiter_t *);
/* A connection of the cluster idles, or would now: true when it is to be closed
 * for a worker that waits for one. */
CN_MUST bool cn_admission_spare(const cn_admissions_t *, cn_cluster_t *);
/* A connection of the cluster may be had: wakes the first who waits for one. */
void cn_admission_wake(cn_admissions_t *, const cn_cluster_t *);

/* host NULL: of the cluster. */
void cn_admission_describe(const cn_admissions_t *, cn_cluster_t *, const cn_host_t *,
                           const cn_describe_t *);
void cn_admission_report(const cn_admissions_t *, cn_cluster_t *, cn_host_t *,
                         const cn_outcome_t *);

#endif
