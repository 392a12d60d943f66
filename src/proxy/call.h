/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests of our own (cn_call of cairn/module.h): what the worker does to all
 * of them.
 */
#ifndef CN_PROXY_CALL_H
#define CN_PROXY_CALL_H

#include "proxy/worker.h"

/* The worker ends: calls fail with CN_CALL_STOPPED and give their connections
 * back; those without an owner are freed, the others are still their owner's. */
void cn_call_stop_all(cn_worker_t *);
/* Those whose host is cut go to another one where that is safe, or fail with
 * CN_CALL_LOST. */
void cn_call_cut_all(cn_worker_t *);

#endif
