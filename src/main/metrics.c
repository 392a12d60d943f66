/* SPDX-License-Identifier: Apache-2.0
 *
 * The master's own metrics and the list of everybody's.
 */
#include "main/metrics.h"

#include <stdio.h>
#include <stdlib.h>

#include "proxy/worker.h"

enum {
    GENERATION,
    WORKERS,
    DEATHS,
    RELOADS,
    LAST_GOOD,
    LOADED,
    EXPIRES,
    CONNECTIONS,
    TUNNELS,
    MEMORY,
    HANDED,
    STEP,
    TURN,
    OWN_MAX
};

static const cn_metric_def_t own[OWN_MAX] = {
    [GENERATION] = {"cairn_config_generation", CN_METRIC_GAUGE,
                    "Number of the newest configuration that all workers have in force; begins at "
                    "1 with the master and counts up with each accepted reload."},
    [WORKERS] = {"cairn_workers", CN_METRIC_GAUGE, "Workers that serve."},
    [DEATHS] = {"cairn_worker_deaths_total", CN_METRIC_COUNTER,
                "Workers that ended without having been told to, and were replaced."},
    [RELOADS] = {"cairn_reloads_total", CN_METRIC_COUNTER,
                 "Reloads by result: accepted, or refused with the old configuration kept."},
    [LAST_GOOD] = {"cairn_config_last_reload_successful", CN_METRIC_GAUGE,
                   "1 when the last reload was accepted (and after the start), 0 when it was "
                   "refused."},
    [LOADED] = {"cairn_config_last_reload_success_timestamp_seconds", CN_METRIC_GAUGE,
                "When a configuration was last accepted, in seconds since 1970."},
    [EXPIRES] = {"cairn_identity_expiry_timestamp_seconds", CN_METRIC_GAUGE,
                 "When our certificate expires, in seconds since 1970; 0: there is none."},
    [CONNECTIONS] = {"cairn_worker_connections", CN_METRIC_GAUGE,
                     "Connections of the mesh now open, by worker."},
    [TUNNELS] = {"cairn_worker_tunnels", CN_METRIC_GAUGE, "Tunnels now open, by worker."},
    [MEMORY] = {"cairn_worker_memory_bytes", CN_METRIC_GAUGE,
                "Memory that traffic holds, by worker, in bytes: what max_memory bounds."},
    [HANDED] = {"cairn_worker_handed_over_total", CN_METRIC_COUNTER,
                "Connections that a worker accepted and gave to another one with fewer."},
    [STEP] = {"cairn_worker_config_step_seconds", CN_METRIC_GAUGE_MICROS,
              "The longest time that the worker spent at a stretch on taking its last "
              "configuration, in seconds of processor time: requests waited for no longer "
              "than this. By worker."},
    [TURN] = {"cairn_worker_loop_longest_seconds", CN_METRIC_GAUGE_MICROS,
              "The longest turn of the worker's event loop in the last minute or half of one, in "
              "seconds: what came meanwhile waited. By worker."},
};

const cn_metric_def_t **cn_metrics_all(unsigned *n)
{
    const cn_metric_def_t **all = cn_worker_metric_defs(n);

    all = cn_xrealloc((void *)(uintptr_t)all, sizeof(*all) * (*n + OWN_MAX));
    for (unsigned i = 0; i < OWN_MAX; i++)
        all[(*n)++] = &own[i];
    return all;
}

cn_rc cn_metrics_open(cn_metrics_t *m, void *region, int slot)
{
    unsigned n;

    m->defs = cn_metrics_all(&n);
    m->ndefs = n;
    if (cn_stats_open(region, slot, m->defs, n, &m->stats) != CN_OK)
        return CN_ERR;
    unsigned first = n - OWN_MAX;
    m->generation = cn_stats_series(m->stats, first + GENERATION, CN_STR_NULL);
    m->workers = cn_stats_series(m->stats, first + WORKERS, CN_STR_NULL);
    m->deaths = cn_stats_series(m->stats, first + DEATHS, CN_STR_NULL);
    m->accepted = cn_stats_series(m->stats, first + RELOADS, CN_STR("result=\"accepted\""));
    m->refused = cn_stats_series(m->stats, first + RELOADS, CN_STR("result=\"refused\""));
    m->good = cn_stats_series(m->stats, first + LAST_GOOD, CN_STR_NULL);
    m->loaded_s = cn_stats_series(m->stats, first + LOADED, CN_STR_NULL);
    m->expires_s = cn_stats_series(m->stats, first + EXPIRES, CN_STR_NULL);
    return CN_OK;
}

void cn_metrics_worker(cn_metrics_worker_t *m, cn_stats_t *stats, unsigned n, unsigned slot)
{
    unsigned first = n - OWN_MAX;
    char label[32];
    cn_str_t worker =
        cn_str_make(label, (size_t)snprintf(label, sizeof(label), "worker=\"%u\"", slot));

    m->conns = cn_stats_series(stats, first + CONNECTIONS, worker);
    m->tunnels = cn_stats_series(stats, first + TUNNELS, worker);
    m->memory = cn_stats_series(stats, first + MEMORY, worker);
    m->handed = cn_stats_series(stats, first + HANDED, CN_STR_NULL);
    m->step_us = cn_stats_series(stats, first + STEP, worker);
    m->turn_us = cn_stats_series(stats, first + TURN, worker);
}

void cn_metrics_close(cn_metrics_t *m)
{
    cn_stats_close(m->stats);
    free((void *)(uintptr_t)m->defs);
    *m = (cn_metrics_t){0};
}
