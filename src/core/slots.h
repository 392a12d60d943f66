/* SPDX-License-Identifier: Apache-2.0
 *
 * A fixed table of rows in memory that several processes share, found by key:
 * numbers about a cluster or a host that all workers keep together and that
 * survive configurations.  No locks: a row is claimed by a single atomic on its
 * key, and a process that dies at any point leaves nothing that the others
 * would wait for.
 *
 * A row is taken back for another key only when it has not been got for
 * CN_SLOTS_STALE_S seconds and its neighbourhood is full.  Whoever counts in a
 * row must therefore get it now and then, and gets it again for each use: the
 * pointer is good for the moment, the hint makes the next look-up one load.
 */
#ifndef CN_CORE_SLOTS_H
#define CN_CORE_SLOTS_H

#include "core/base.h"

#define CN_SLOTS_STALE_S 300u

/* This process's view; never in the shared memory itself. */
typedef struct {
    char *mem;
    uint32_t rows;
    uint32_t stride; /* bytes of a row with its head */
} cn_slots_t;

/* Where a key was last found; zeroed at first, one for each key and process. */
typedef struct {
    uint32_t row; /* counted from 1; 0: not found yet */
} cn_slots_hint_t;

/* Bytes for that many rows of payload bytes each. */
size_t cn_slots_size(uint32_t rows, size_t payload);
/* mem: zeroed when first opened, 8-byte aligned; size may be more than needed. */
void cn_slots_open(cn_slots_t *, void *mem, size_t size, size_t payload);
/* The payload of key's row, 8-byte aligned and zeroed when the row is new; for
 * atomics only, other processes use it too.  NULL: the neighbourhood is full or
 * another process is just making the row; try again at the next use.  now_s: a
 * monotonic clock that all processes share. */
void *cn_slots_get(const cn_slots_t *, uint64_t key, cn_slots_hint_t *, uint32_t now_s);
/* The same without making one: NULL when there is none. */
void *cn_slots_find(const cn_slots_t *, uint64_t key, cn_slots_hint_t *, uint32_t now_s);
/* Payloads of all rows in use; start with *iter = 0, NULL ends. */
void *cn_slots_next(const cn_slots_t *, uint32_t *iter);

#endif
