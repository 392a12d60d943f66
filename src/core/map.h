/* SPDX-License-Identifier: Apache-2.0
 *
 * String-keyed hash table, safe for keys that a peer chooses: SipHash with a
 * per-process random seed.  Grows by doubling.  Keys and values belong to the
 * caller and must outlive their entry.
 */
#ifndef CN_CORE_MAP_H
#define CN_CORE_MAP_H

#include "core/str.h"

typedef struct {
    cn_str_t key;
    uint64_t hash;
    void *value; /* NULL marks a free slot */
} cn_map_slot_t;

typedef struct {
    cn_map_slot_t *slots; /* power of two, heap memory */
    size_t cap, used;
} cn_map_t;

void cn_map_init(cn_map_t *);
void cn_map_fini(cn_map_t *);
/* The value, or NULL. */
void *cn_map_get(const cn_map_t *, cn_str_t key);
/* value must not be NULL.  Returns the value that the key had before, or NULL;
 * the slot then keeps the new key pointer. */
void *cn_map_put(cn_map_t *, cn_str_t key, void *value);
/* Returns the removed value, or NULL. */
void *cn_map_del(cn_map_t *, cn_str_t key);
/* Visits every entry in no particular order; start with *iter = 0, NULL ends.
 * The table must not change in between. */
cn_map_slot_t *cn_map_next(const cn_map_t *, size_t *iter);

#endif
