/* SPDX-License-Identifier: Apache-2.0
 *
 * Series appear with their first event: most clusters never have one.
 */
#include "proxy/tally.h"

#include <stdio.h>

#include "stats/series.h"

const cn_metric_def_t cn_tally_defs[CN_TALLIES] = {
    [CN_TALLY_RETRY] = {"envoy_cluster_upstream_rq_retry", CN_METRIC_COUNTER,
                        "Attempts beyond the first, by a retry policy."},
    [CN_TALLY_RETRY_SUCCESS] = {"envoy_cluster_upstream_rq_retry_success", CN_METRIC_COUNTER,
                                "Requests that a retry has brought a response that the policy does "
                                "not list."},
    [CN_TALLY_RETRY_LIMIT] = {"envoy_cluster_upstream_rq_retry_limit_exceeded", CN_METRIC_COUNTER,
                              "Requests that failed with all retries of their policy made: flag "
                              "URX."},
    [CN_TALLY_RETRY_OVERFLOW] = {"envoy_cluster_upstream_rq_retry_overflow", CN_METRIC_COUNTER,
                                 "Retries that were not made because of max_retries or "
                                 "retry_budget."},
    [CN_TALLY_TIMEOUT] = {"envoy_cluster_upstream_rq_timeout", CN_METRIC_COUNTER,
                          "Requests that took longer than request_timeout or grpc-timeout."},
    [CN_TALLY_TRY_TIMEOUT] = {"envoy_cluster_upstream_rq_per_try_timeout", CN_METRIC_COUNTER,
                              "Attempts that took longer than try_timeout."},
    [CN_TALLY_CUT] =
        {"cairn_endpoint_drain_timeouts_total", CN_METRIC_COUNTER,
         "Requests and connections that were ended at an endpoint which had left, after "
         "endpoint_drain_timeout; also those that another one then answered."},
};

void cn_tally_add(cn_worker_t *w, const cn_cluster_t *c, cn_tally what)
{
    char labels[600], name[512];
    int n;

    if (!w->stats)
        return;
    n = snprintf(labels, sizeof(labels), "cluster_name=\"%.*s\"",
                 (int)cn_stats_escape(name, sizeof(name), c->section->name), name);
    cn_series_add(cn_stats_series(w->stats, cn_worker_metric(w, &cn_tally_defs[what]),
                                  cn_str_make(labels, (size_t)n)),
                  1);
}
