/* SPDX-License-Identifier: Apache-2.0
 * Settings of retry, and what its files share.
 */
#ifndef CN_RETRY_INT_H
#define CN_RETRY_INT_H

#include <cairn/module.h>

/* MAIN, SERVICE and ROUTE. */
typedef struct {
    uint64_t request_ms, try_ms, idle_ms; /* 0: none */
    cn_retry_policy_t policy;
    bool given; /* a retry block or `retry off` stands here or further out */
} cn_module_retry_conf_t;

/* CLUSTER. */
typedef struct {
    uint32_t percent; /* of CN_PARTS */
    uint32_t min;     /* retries a second that are always allowed */
    uint64_t interval_ms;
    bool on;
    uint64_t key; /* of the cluster's row */
} cn_module_retry_budget_t;

/* A worker's. */
typedef struct {
    cn_slots_t rows;
    bool open;
    cn_worker_t *w;
} cn_module_retry_worker_t;

/* budget.c */
extern const cn_admission_ops_t cn_module_retry_admission;
extern const cn_shm_def_t cn_module_retry_shm[];
cn_rc cn_module_retry_set_budget(cn_conf_t *, const cn_directive_t *, void *conf,
                                 const cn_str_t *argv, unsigned argc);

#endif
