/* SPDX-License-Identifier: Apache-2.0
 *
 * A row is {key, last use, payload}.  Keys of a row:
 *
 *   0          free                              -> busy, by CAS
 *   K | BUSY   being zeroed by who claimed it    -> K, by that process
 *   K          in use                            -> busy with another key, by CAS, once stale
 *
 * A claimant that dies leaves a busy row; being stale some time later it is
 * claimed like any other.  Two processes may make rows for one key at once, in
 * different places, since rows before it can become free in between; each looks
 * again once its own is published, so at least one of them sees both, and the
 * earlier row wins: later ones are given back, and who used them finds the
 * earlier one at the next use.
 */
#include "core/slots.h"

#include <string.h>

#define BUSY 1ull
#define USED 2ull
/* Rows that a key may be in, from its own place on. */
#define WINDOW 64u
/* The time of use is written at most so often, to leave the cache line alone. */
#define TOUCH_S 4u

typedef struct {
    uint64_t key;
    uint64_t used_s;
} head_t;

static size_t stride_of(size_t payload)
{
    return sizeof(head_t) + (payload + 7) / 8 * 8;
}

size_t cn_slots_size(uint32_t rows, size_t payload)
{
    return stride_of(payload) * rows;
}

void cn_slots_open(cn_slots_t *t, void *mem, size_t size, size_t payload)
{
    size_t stride = stride_of(payload);

    CN_BUG_ON(size / stride > UINT32_MAX || stride > UINT32_MAX);
    *t = (cn_slots_t){.mem = mem, .rows = (uint32_t)(size / stride), .stride = (uint32_t)stride};
}

static head_t *row_at(const cn_slots_t *t, uint32_t i)
{
    return (head_t *)(void *)(t->mem + (size_t)i * t->stride);
}

static uint64_t key_of(const head_t *r)
{
    return __atomic_load_n(&r->key, __ATOMIC_SEQ_CST);
}

static bool swap_key(head_t *r, uint64_t from, uint64_t to)
{
    return __atomic_compare_exchange_n(&r->key, &from, to, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

static void touch(head_t *r, uint32_t now_s)
{
    uint64_t used = __atomic_load_n(&r->used_s, __ATOMIC_RELAXED);

    if (used > now_s || now_s - used >= TOUCH_S)
        __atomic_store_n(&r->used_s, now_s, __ATOMIC_RELAXED);
}

static bool is_stale(const head_t *r, uint32_t now_s)
{
    uint64_t used = __atomic_load_n(&r->used_s, __ATOMIC_RELAXED);

    return now_s > used && now_s - used > CN_SLOTS_STALE_S;
}

static uint32_t window_of(const cn_slots_t *t)
{
    return t->rows < WINDOW ? t->rows : WINDOW;
}

static uint32_t place(const cn_slots_t *t, uint64_t key, uint32_t i)
{
    return (uint32_t)(((key >> 2) % t->rows + i) % t->rows);
}

/* The first row that has the key, made or in the making; its distance, or the
 * window when there is none. */
static uint32_t search(const cn_slots_t *t, uint64_t key)
{
    uint32_t n = window_of(t), i;

    for (i = 0; i < n; i++)
        if ((key_of(row_at(t, place(t, key, i))) & ~BUSY) == key)
            break;
    return i;
}

/* A row to make new: a free one, else one that nobody has used for long. */
static head_t *claim(const cn_slots_t *t, uint64_t key, uint32_t now_s, uint32_t *at)
{
    uint32_t n = window_of(t);

    for (int stale = 0; stale < 2; stale++)
        for (uint32_t i = 0; i < n; i++) {
            head_t *r = row_at(t, place(t, key, i));
            uint64_t old = key_of(r);

            if (stale ? !is_stale(r, now_s) : old != 0)
                continue;
            if (swap_key(r, old, key | BUSY)) {
                *at = i;
                return r;
            }
        }
    return NULL;
}

/* Rows of the same key that others made meanwhile: the earliest stays. */
static bool is_earliest(const cn_slots_t *t, uint64_t key, uint32_t at)
{
    uint32_t n = window_of(t), first = search(t, key);

    if (first < at)
        swap_key(row_at(t, place(t, key, at)), key, 0);
    for (uint32_t i = first + 1; i < n; i++)
        swap_key(row_at(t, place(t, key, i)), key, 0);
    return first == at;
}

static bool make(const cn_slots_t *t, uint64_t key, uint32_t now_s, uint32_t *at)
{
    head_t *r = claim(t, key, now_s, at);

    if (!r)
        return false;
    __atomic_store_n(&r->used_s, now_s, __ATOMIC_RELAXED);
    memset(r + 1, 0, t->stride - sizeof(*r));
    if (!swap_key(r, key | BUSY, key))
        return false; /* we stood still for so long that another took it over */
    return is_earliest(t, key, *at);
}

/* Neither free nor busy, whatever the caller's hash is. */
static uint64_t proper(uint64_t key)
{
    return (key & ~BUSY) | USED;
}

static void *use(const cn_slots_t *t, uint32_t row, uint64_t key, cn_slots_hint_t *hint,
                 uint32_t now_s)
{
    head_t *r = row_at(t, row);

    if (key_of(r) != key)
        return NULL;
    touch(r, now_s);
    hint->row = row + 1;
    return r + 1;
}

void *cn_slots_find(const cn_slots_t *t, uint64_t key, cn_slots_hint_t *hint, uint32_t now_s)
{
    void *payload = NULL;
    uint32_t at;

    key = proper(key);
    if (hint->row && hint->row <= t->rows)
        payload = use(t, hint->row - 1, key, hint, now_s);
    if (payload || t->rows == 0)
        return payload;
    at = search(t, key);
    return at < window_of(t) ? use(t, place(t, key, at), key, hint, now_s) : NULL;
}

void *cn_slots_get(const cn_slots_t *t, uint64_t key, cn_slots_hint_t *hint, uint32_t now_s)
{
    void *payload = cn_slots_find(t, key, hint, now_s);
    uint32_t at;

    if (payload || t->rows == 0)
        return payload;
    key = proper(key);
    at = search(t, key);
    if (at < window_of(t)) {
        head_t *r = row_at(t, place(t, key, at));

        payload = use(t, place(t, key, at), key, hint, now_s);
        /* a row in the making is its maker's, unless that died over it */
        if (payload || !is_stale(r, now_s))
            return payload;
        swap_key(r, key | BUSY, 0);
    }
    return make(t, key, now_s, &at) ? use(t, place(t, key, at), key, hint, now_s) : NULL;
}

void *cn_slots_next(const cn_slots_t *t, uint32_t *iter)
{
    while (*iter < t->rows) {
        head_t *r = row_at(t, (*iter)++);

        if (key_of(r))
            return r + 1;
    }
    return NULL;
}
