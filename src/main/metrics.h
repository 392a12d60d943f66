/* SPDX-License-Identifier: Apache-2.0
 *
 * The metric families of the whole program: those of core and modules, which
 * workers fill, followed by those of the master, which has a slot of its own.
 */
#ifndef CN_MAIN_METRICS_H
#define CN_MAIN_METRICS_H

#include "stats/series.h"

/* All families; heap memory, the caller's.  It begins with those of
 * cn_worker_metric_defs(), so numbers given out by that are right here too. */
const cn_metric_def_t **cn_metrics_all(unsigned *n);

/* The master's series. */
typedef struct {
    cn_stats_t *stats;
    const cn_metric_def_t **defs;
    unsigned ndefs;
    cn_series_t *generation;         /* newest configuration that all workers have */
    cn_series_t *workers;            /* that serve */
    cn_series_t *deaths;             /* of workers that were not told to go */
    cn_series_t *accepted, *refused; /* reloads */
    cn_series_t *good;               /* the last reload was accepted: 1, else 0 */
    cn_series_t *loaded_s;           /* when the last good one was accepted */
    cn_series_t *expires_s;          /* our certificate */
} cn_metrics_t;

/* A worker's, in its own statistics. */
typedef struct {
    cn_series_t *conns, *tunnels;   /* now open */
    cn_series_t *memory;            /* bytes that traffic holds */
    cn_series_t *handed;            /* connections given to other workers */
    cn_series_t *step_us, *turn_us; /* the longest of the last configuration, and of the loop */
} cn_metrics_worker_t;
/* n: of families, as cn_metrics_all() said. */
void cn_metrics_worker(cn_metrics_worker_t *, cn_stats_t *, unsigned n, unsigned slot);

CN_MUST cn_rc cn_metrics_open(cn_metrics_t *, void *region, int slot);
void cn_metrics_close(cn_metrics_t *);

#endif
