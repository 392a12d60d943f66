/* SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of requests whose host leaves: they have endpoint_drain_timeout.
 */
#ifndef CN_PROXY_LEAVE_H
#define CN_PROXY_LEAVE_H

#include "proxy/worker.h"

/* From now on the worker takes care of hosts that leave its clusters; the pool
 * is there. */
void cn_leave_init(cn_worker_t *);
/* Before the pool and the clusters go. */
void cn_leave_fini(cn_worker_t *);

#endif
