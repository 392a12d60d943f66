/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's budget of memory (max_memory).  When traffic holds as much, what is
 * new is refused at the edges: connections are closed, CONNECT and requests are
 * answered 503, gRPC calls RESOURCE_EXHAUSTED.  What was accepted goes on, so the
 * budget is passed by as much as that still takes.
 */
#ifndef CN_PROXY_BUDGET_H
#define CN_PROXY_BUDGET_H

#include "cairn/module.h"

typedef enum {
    CN_BUDGET_CONNECTION,
    CN_BUDGET_TUNNEL,
    CN_BUDGET_REQUEST,
    CN_BUDGET_KINDS
} cn_budget_kind;

/* In the worker. */
typedef struct {
    size_t base; /* counted before there was traffic */
    cn_series_t *refused[CN_BUDGET_KINDS];
    uint64_t short_of; /* refusals since the shortage began; 0: there is none */
} cn_budget_t;

extern const cn_metric_def_t cn_budget_refused;

/* Once the first configuration is in force: what the process holds by now is
 * not traffic's.  Opens the series. */
void cn_budget_begin(cn_worker_t *);
/* Bytes that traffic holds (core/mem.h). */
size_t cn_budget_used(const cn_worker_t *);
/* May one more of the kind begin?  A refusal is counted, and the first of a
 * shortage logged. */
bool cn_budget_admits(cn_worker_t *, cn_budget_kind);
/* About once a second: the end of a shortage is logged when an eighth of the
 * budget is free again. */
void cn_budget_beat(cn_worker_t *);

#endif
