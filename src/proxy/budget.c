/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/budget.h"

#include <inttypes.h>

#include "core/log.h"
#include "core/mem.h"
#include "proxy/worker.h"

const cn_metric_def_t cn_budget_refused = {
    "cairn_memory_refused_total", CN_METRIC_COUNTER,
    "Connections, tunnels and requests that were refused because the worker's max_memory was used "
    "up, by what they were."};

void cn_budget_begin(cn_worker_t *w)
{
    static const char *const labels[CN_BUDGET_KINDS] = {[CN_BUDGET_CONNECTION] =
                                                            "what=\"connection\"",
                                                        [CN_BUDGET_TUNNEL] = "what=\"tunnel\"",
                                                        [CN_BUDGET_REQUEST] = "what=\"request\""};
    cn_budget_t *b = &w->budget;

    b->base = cn_mem_total();
    for (unsigned i = 0; w->stats && i < CN_BUDGET_KINDS; i++)
        b->refused[i] =
            cn_stats_series(w->stats, cn_worker_metric(w, &cn_budget_refused), cn_str_c(labels[i]));
}

size_t cn_budget_used(const cn_worker_t *w)
{
    size_t now = cn_mem_total();

    return now > w->budget.base ? now - w->budget.base : 0;
}

static void refuse(cn_worker_t *w, cn_budget_kind kind)
{
    cn_budget_t *b = &w->budget;

    cn_series_add(b->refused[kind], 1);
    if (b->short_of++ == 0)
        cn_log(CN_LOG_WARN, "memory",
               "traffic holds %zu KiB in worker %u, max_memory is %" PRIu64
               " KiB: new connections, tunnels and requests are refused until some of it is free",
               cn_budget_used(w) >> 10, w->id, w->conf->max_memory >> 10);
}

bool cn_budget_admits(cn_worker_t *w, cn_budget_kind kind)
{
    if (CN_LIKELY(cn_budget_used(w) < w->conf->max_memory))
        return true;
    refuse(w, kind);
    return false;
}

void cn_budget_beat(cn_worker_t *w)
{
    cn_budget_t *b = &w->budget;
    uint64_t max = w->conf->max_memory;

    if (b->short_of == 0 || cn_budget_used(w) > max - max / 8)
        return;
    cn_log(CN_LOG_WARN, "memory", "worker %u has room again, after %" PRIu64 " refusals", w->id,
           b->short_of);
    b->short_of = 0;
}
