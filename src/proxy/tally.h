/* SPDX-License-Identifier: Apache-2.0
 *
 * What is counted of attempts and time limits, for each cluster: under Envoy's
 * names, so that who let Istio's proxies show these finds them here.
 */
#ifndef CN_PROXY_TALLY_H
#define CN_PROXY_TALLY_H

#include "proxy/worker.h"

typedef enum {
    CN_TALLY_RETRY,         /* a further attempt by policy, when it is decided */
    CN_TALLY_RETRY_SUCCESS, /* its response was the client's */
    CN_TALLY_RETRY_LIMIT,   /* failed, and the policy allows no further attempt */
    CN_TALLY_RETRY_OVERFLOW,
    CN_TALLY_TIMEOUT,
    CN_TALLY_TRY_TIMEOUT,
    CN_TALLY_CUT, /* its host has left */
    CN_TALLIES
} cn_tally;

extern const cn_metric_def_t cn_tally_defs[CN_TALLIES];

void cn_tally_add(cn_worker_t *, const cn_cluster_t *, cn_tally);

#endif
