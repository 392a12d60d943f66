/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing with linear probing, at most three quarters full.  Deletion
 * shifts the followers back instead of leaving marks, so a table that lives
 * for weeks does not slow down.  Owns the slot array; keys and values are the
 * caller's.
 */
#include "core/map.h"

#include <stdlib.h>

#include "core/hash.h"
#include "core/pool.h"

#define CAP_MIN 8u

void cn_map_init(cn_map_t *map)
{
    *map = (cn_map_t){0};
}

void cn_map_fini(cn_map_t *map)
{
    free(map->slots);
    *map = (cn_map_t){0};
}

/* The slot of key, or the free slot where it would go.  There always is a free one. */
static cn_map_slot_t *slot_find(const cn_map_t *map, cn_str_t key, uint64_t hash)
{
    size_t i = hash & (map->cap - 1);
    while (map->slots[i].value) {
        cn_map_slot_t *s = &map->slots[i];
        if (s->hash == hash && cn_str_eq(s->key, key))
            return s;
        i = (i + 1) & (map->cap - 1);
    }
    return &map->slots[i];
}

static void grow(cn_map_t *map)
{
    cn_map_slot_t *old = map->slots;
    size_t old_cap = map->cap;

    map->cap = old_cap ? old_cap * 2 : CAP_MIN;
    CN_BUG_ON(map->cap > SIZE_MAX / sizeof(*map->slots));
    map->slots = cn_xzalloc(map->cap * sizeof(*map->slots));
    for (size_t i = 0; i < old_cap; i++) {
        if (old[i].value)
            *slot_find(map, old[i].key, old[i].hash) = old[i];
    }
    free(old);
}

void *cn_map_get(const cn_map_t *map, cn_str_t key)
{
    return map->used ? slot_find(map, key, cn_hash_sip(key))->value : NULL;
}

void *cn_map_put(cn_map_t *map, cn_str_t key, void *value)
{
    CN_BUG_ON(value == NULL);
    if (map->used >= map->cap / 4 * 3)
        grow(map);
    uint64_t hash = cn_hash_sip(key);
    cn_map_slot_t *s = slot_find(map, key, hash);
    void *old = s->value;
    *s = (cn_map_slot_t){.key = key, .hash = hash, .value = value};
    if (!old)
        map->used++;
    return old;
}

/* Closes the gap at index hole: a follower may move into it unless that would
 * bring it before its home slot. */
static void shift_back(cn_map_t *map, size_t hole)
{
    size_t mask = map->cap - 1;
    for (size_t i = (hole + 1) & mask; map->slots[i].value; i = (i + 1) & mask) {
        size_t home = map->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole] = (cn_map_slot_t){0};
}

void *cn_map_del(cn_map_t *map, cn_str_t key)
{
    if (map->used == 0)
        return NULL;
    cn_map_slot_t *s = slot_find(map, key, cn_hash_sip(key));
    void *old = s->value;
    if (old) {
        shift_back(map, (size_t)(s - map->slots));
        map->used--;
    }
    return old;
}

cn_map_slot_t *cn_map_next(const cn_map_t *map, size_t *iter)
{
    while (*iter < map->cap) {
        cn_map_slot_t *s = &map->slots[(*iter)++];
        if (s->value)
            return s;
    }
    return NULL;
}
