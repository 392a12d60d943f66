/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing with linear probing as in map.c, at most three quarters full;
 * equal hashes stand behind one another.  Owns the slot array.
 */
#include "core/multi.h"

#include <stdlib.h>

#include "core/pool.h"

#define CAP_MIN 8u

void cn_multi_fini(cn_multi_t *m)
{
    free(m->slots);
    *m = (cn_multi_t){0};
}

static void put(cn_multi_t *m, cn_multi_slot_t slot)
{
    size_t i = slot.hash & (m->cap - 1);

    while (m->slots[i].value)
        i = (i + 1) & (m->cap - 1);
    m->slots[i] = slot;
}

static void grow(cn_multi_t *m)
{
    cn_multi_slot_t *old = m->slots;
    size_t old_cap = m->cap;

    m->cap = old_cap ? old_cap * 2 : CAP_MIN;
    CN_BUG_ON(m->cap > SIZE_MAX / sizeof(*m->slots));
    m->slots = cn_xzalloc(m->cap * sizeof(*m->slots));
    for (size_t i = 0; i < old_cap; i++) {
        if (old[i].value)
            put(m, old[i]);
    }
    free(old);
}

void cn_multi_add(cn_multi_t *m, uint64_t hash, void *value)
{
    CN_BUG_ON(value == NULL);
    if (m->used >= m->cap / 4 * 3)
        grow(m);
    put(m, (cn_multi_slot_t){hash, value});
    m->used++;
}

/* A follower may move into the gap unless that would bring it before its home. */
static void close_gap(cn_multi_t *m, size_t hole)
{
    size_t mask = m->cap - 1;

    for (size_t i = (hole + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;

        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (cn_multi_slot_t){0};
}

bool cn_multi_del(cn_multi_t *m, uint64_t hash, const void *value)
{
    if (m->used == 0)
        return false;
    for (size_t i = hash & (m->cap - 1); m->slots[i].value; i = (i + 1) & (m->cap - 1)) {
        if (m->slots[i].hash != hash || m->slots[i].value != value)
            continue;
        close_gap(m, i);
        m->used--;
        return true;
    }
    return false;
}

void *cn_multi_next(const cn_multi_t *m, uint64_t hash, size_t *iter)
{
    size_t mask = m->cap - 1;

    for (; m->used > 0; (*iter)++) {
        const cn_multi_slot_t *s = &m->slots[(hash + *iter) & mask];

        if (!s->value)
            break;
        if (s->hash == hash) {
            (*iter)++;
            return s->value;
        }
    }
    return NULL;
}
