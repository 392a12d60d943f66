/* SPDX-License-Identifier: Apache-2.0
 *
 * The modules' regions of shared memory (cn_shm_def_t), as the master makes
 * them before the first fork.  Sizes are those of the first configuration for
 * as long as the master lives.
 */
#ifndef CN_PROXY_SHARED_H
#define CN_PROXY_SHARED_H

#include "cairn/module.h"
#include "os/shm.h"

typedef struct cn_shared cn_shared_t; /* all regions; in each process's own memory */

/* Room in cn_shm_create() for all of them. */
size_t cn_shared_need(const cn_gen_t *, unsigned slots);
/* shm: keeps the memory; NULL: memory that ends with the object, for a process
 * that is alone (explain, the checker, tests).  CN_ERR: errno. */
CN_MUST cn_rc cn_shared_create(cn_shm_t *shm, const cn_gen_t *, unsigned slots, cn_shared_t **out);
void cn_shared_destroy(cn_shared_t *);
/* NULL mem: the definition is no module's. */
cn_shm_view_t cn_shared_view(const cn_shared_t *, const cn_shm_def_t *, unsigned slot);
/* By the master, after the process that had the slot has ended and before another gets it. */
void cn_shared_worker_gone(const cn_shared_t *, unsigned slot);
/* Warns of each region that this configuration would give another size. */
void cn_shared_compare(const cn_shared_t *, const cn_gen_t *);

#endif
