/* SPDX-License-Identifier: Apache-2.0
 *
 * MeshConfig's accessLogFormat: Envoy's operators, of which the proxy knows
 * those that people use.  One that it does not know must cost its own value in
 * the log, not the configuration.
 */
#ifndef CN_KUBE_LOGFORMAT_H
#define CN_KUBE_LOGFORMAT_H

#include "kube/diag.h"

/* The format with "-" in place of each operator that the proxy refuses; each is
 * warned of at pos.  The result is in the pool. */
cn_str_t cn_logformat_clean(cn_pool_t *, cn_diag_t *, cn_place_t pos, cn_str_t format);

#endif
