/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of circuit_breaker: settings, and what all workers keep
 * together in shared memory.
 *
 * A cluster's row has a column for each worker slot, written by its worker only.  What is in use is
 * the sum of the columns, so a worker that dies takes its part along when the master clears its
 * column.  A host's row belongs to nobody: its numbers change by atomics.
 */
#ifndef CN_CIRCUIT_BREAKER_INT_H
#define CN_CIRCUIT_BREAKER_INT_H

#include <cairn/module.h>

#define CN_BREAKER_NONE UINT32_MAX /* no limit */

typedef struct {
    uint32_t clusters, hosts; /* MAIN: rows */
    uint32_t limit[CN_ADMIT_MAX];
    bool limited; /* any of them is one */
    bool outlier;
    uint32_t consecutive_5xx, consecutive_gateway, consecutive_local; /* 0: off */
    bool split_local;
    uint64_t interval_ms, base_ms;
    uint32_t max_ejected, min_health; /* percent */
} cn_circuit_breaker_conf_t;

extern const cn_directive_t cn_circuit_breaker_directives[];
cn_rc cn_circuit_breaker_conf_init(cn_conf_t *, void *conf, const void *parent); /* of MAIN */

/* ---- shared memory ---- */

typedef struct {
    uint64_t waits_ms; /* since when its requests wait for a connection; 0: they do not */
    uint64_t asked_ms; /* when they last asked for one */
    uint32_t used[CN_ADMIT_MAX];
} cn_circuit_breaker_column_t;

typedef struct {
    uint64_t epoch;                       /* counts up with each ejection and return */
    uint64_t swept_ms;                    /* last look at all hosts, by whichever worker */
    uint32_t ejected;                     /* hosts put aside */
    uint32_t marks;                       /* 0: no host has a number that is not 0 */
    cn_circuit_breaker_column_t column[]; /* by slot */
} cn_circuit_breaker_cluster_t;

typedef struct {
    uint64_t ejected_ms; /* when it was put aside; 0: it is not */
    uint32_t ejections;  /* multiplier of the time */
    uint32_t in_row_5xx, in_row_gateway, in_row_local;
} cn_circuit_breaker_host_t;

/* A worker's context. */
typedef struct {
    cn_worker_t *w;
    cn_slots_t clusters, hosts; /* without rows before the first generation */
    unsigned slots, slot;
    cn_task_t task;
    cn_timer_t timer;
    uint64_t tick_ms;     /* the least of those that are watched; UINT64_MAX: there are none */
    cn_map_t watched;     /* clusters that are limited or watched for outliers, by name */
    bool tick_unknown;    /* the one with the least may have gone */
    uint64_t timer_ms;    /* for which the timer is set */
    cn_cluster_t **holds; /* clusters whose limited connections this worker has (turns.c) */
    uint32_t nholds, holds_room;
    cn_task_t spare_task;
    cn_timer_t spare_timer;
} cn_circuit_breaker_t;

typedef enum {
    CN_BREAKER_RQ_OVERFLOW,
    CN_BREAKER_CX_OVERFLOW,
    CN_BREAKER_ACTIVE, /* gauge: hosts put aside */
    CN_BREAKER_EJECTED,
    CN_BREAKER_EJECTED_5XX,
    CN_BREAKER_EJECTED_GATEWAY,
    CN_BREAKER_EJECTED_LOCAL,
    CN_BREAKER_EJECT_OVERFLOW,
    CN_BREAKER_FULL,
    CN_BREAKER_METRICS
} cn_circuit_breaker_metric;

const cn_circuit_breaker_conf_t *cn_circuit_breaker_conf_of(const cn_circuit_breaker_t *,
                                                            const cn_cluster_t *);
/* The cluster's series; NULL without statistics. */
cn_series_t *cn_circuit_breaker_series(cn_circuit_breaker_t *, const cn_cluster_t *,
                                       cn_circuit_breaker_metric);
/* NULL: there is no room; make: also one that is not there yet. */
cn_circuit_breaker_cluster_t *cn_circuit_breaker_cluster_row(cn_circuit_breaker_t *,
                                                             const cn_cluster_t *);
cn_circuit_breaker_host_t *cn_circuit_breaker_host_row(cn_circuit_breaker_t *, const cn_cluster_t *,
                                                       const cn_host_t *, bool make);
/* Of the loop: a clock that all processes share. */
uint64_t cn_circuit_breaker_now_ms(const cn_circuit_breaker_t *);

/* ---- limits.c ---- */

bool cn_circuit_breaker_admit(void *wctx, cn_cluster_t *, const void *conf, cn_admit_kind);
void cn_circuit_breaker_release(void *wctx, cn_cluster_t *, const void *conf, cn_admit_kind);
/* Of all workers. */
uint32_t cn_circuit_breaker_used(const cn_circuit_breaker_t *, const cn_circuit_breaker_cluster_t *,
                                 cn_admit_kind);

/* ---- turns.c ---- */

void cn_circuit_breaker_turns_init(cn_circuit_breaker_t *);
void cn_circuit_breaker_turns_fini(cn_circuit_breaker_t *);
/* The worker has its first connection of the cluster, or no more any. */
void cn_circuit_breaker_turns_hold(cn_circuit_breaker_t *, cn_cluster_t *, bool);
/* Of so many connections it is another worker's turn. */
uint32_t cn_circuit_breaker_turns_before(const cn_circuit_breaker_t *,
                                         const cn_circuit_breaker_cluster_t *);
/* This worker has got one, and waits no more. */
void cn_circuit_breaker_turns_got(cn_circuit_breaker_t *, cn_circuit_breaker_cluster_t *);
void cn_circuit_breaker_wait(void *wctx, cn_cluster_t *, const void *conf);
bool cn_circuit_breaker_spare(void *wctx, cn_cluster_t *, const void *conf, bool asked);

/* ---- outlier.c ---- */

bool cn_circuit_breaker_usable(void *wctx, cn_cluster_t *, const void *conf, cn_host_t *);
void cn_circuit_breaker_report(void *wctx, cn_cluster_t *, const void *conf, cn_host_t *,
                               const cn_outcome_t *);
/* Looks at all hosts when it is time and no other worker has: returns of those
 * whose time is over. */
void cn_circuit_breaker_sweep(cn_circuit_breaker_t *, cn_cluster_t *,
                              const cn_circuit_breaker_conf_t *, uint64_t now_ms);
/* How long a host with so many ejections stays away. */
uint64_t cn_circuit_breaker_away_ms(const cn_circuit_breaker_conf_t *, uint32_t ejections);

#endif
