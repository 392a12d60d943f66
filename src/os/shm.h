/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that the master makes before the first fork and that all its workers
 * share: a directory of named regions.  It holds numbers only; never pointers,
 * locks or anything that has to be parsed.
 */
#ifndef CN_OS_SHM_H
#define CN_OS_SHM_H

#include "core/base.h"

#define CN_SHM_REGIONS 32
#define CN_SHM_NAME 32

typedef struct cn_shm cn_shm_t;

/* Zeroed; pages are taken from the system when they are first written.
 * CN_ERR with errno. */
CN_MUST cn_rc cn_shm_create(size_t bytes, cn_shm_t **out);
/* In this process only. */
void cn_shm_destroy(cn_shm_t *);
/* Room that create() must be given for a region of n bytes. */
size_t cn_shm_need(size_t n);
/* A new region, aligned to a cache line; by the master, before the first fork.
 * Names are unique and shorter than CN_SHM_NAME.  NULL: no room. */
void *cn_shm_add(cn_shm_t *, const char *name, size_t n);
/* NULL: there is none of that name and size. */
void *cn_shm_find(const cn_shm_t *, const char *name, size_t n);

#endif
