/* SPDX-License-Identifier: Apache-2.0
 *
 * A hash table that has several values under one key.  It knows only the hash
 * of a key: whoever looks for a value compares the keys themselves.  16 bytes a
 * slot, so an index over tens of thousands of objects is small.
 */
#ifndef CN_CORE_MULTI_H
#define CN_CORE_MULTI_H

#include "core/base.h"

typedef struct {
    uint64_t hash;
    void *value; /* NULL marks a free slot */
} cn_multi_slot_t;

/* All zeroes is an empty one. */
typedef struct {
    cn_multi_slot_t *slots; /* power of two, heap memory */
    size_t cap, used;
} cn_multi_t;

void cn_multi_fini(cn_multi_t *);
/* value must not be NULL; the same pair may be added again and is there twice. */
void cn_multi_add(cn_multi_t *, uint64_t hash, void *value);
/* Takes the pair out once.  False: it is not there. */
bool cn_multi_del(cn_multi_t *, uint64_t hash, const void *value);
/* The values under a hash, in no particular order; start with *iter = 0, NULL
 * ends.  The table must not change in between. */
void *cn_multi_next(const cn_multi_t *, uint64_t hash, size_t *iter);

#endif
