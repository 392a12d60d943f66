/* SPDX-License-Identifier: Apache-2.0
 *
 * The rings.  A worker that dies while it writes leaves an odd number, which
 * readers pass over and its successor repairs.
 */
#include "ring.h"

#include <stdlib.h>

#define HEAD 64u /* a cache line: the count of entries ever put */

typedef struct {
    uint64_t *next;
    cn_decisions_entry_t *v;
    uint32_t n;
} ring_t;

size_t cn_decisions_ring_size(uint32_t entries)
{
    return HEAD + (size_t)entries * sizeof(cn_decisions_entry_t);
}

static ring_t ring_of(const cn_shm_view_t *view, unsigned slot)
{
    size_t each = view->slots ? view->size / view->slots / 8 * 8 : 0;
    char *mem = (char *)view->mem + slot * each;

    if (!view->mem || each < HEAD + sizeof(cn_decisions_entry_t) || slot >= view->slots)
        return (ring_t){0};
    return (ring_t){(uint64_t *)(void *)mem, (cn_decisions_entry_t *)(void *)(mem + HEAD),
                    (uint32_t)((each - HEAD) / sizeof(cn_decisions_entry_t))};
}

/* ---- writing ---- */

static uint64_t key_of(unsigned status, uint32_t flags, const cn_str_t *texts)
{
    const uint64_t numbers[] = {flags, status};
    uint64_t key = cn_hash_xxh(cn_str_make((const char *)numbers, sizeof(numbers)), 0);

    for (unsigned i = 0; i < CN_DECISIONS_TEXTS; i++)
        if (i != CN_DECISIONS_PATH)
            key = cn_hash_xxh(texts[i], key + texts[i].n);
    return key;
}

static void begin(cn_decisions_entry_t *e)
{
    __atomic_store_n(&e->seq, e->seq | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void end(cn_decisions_entry_t *e)
{
    __atomic_store_n(&e->seq, e->seq + 1, __ATOMIC_RELEASE);
}

/* No text takes more than its share, so that none is without room. */
static void fill(cn_decisions_entry_t *e, const cn_str_t *texts)
{
    static const uint16_t most[CN_DECISIONS_TEXTS] = {
        [CN_DECISIONS_FROM] = 72,  [CN_DECISIONS_ADDRESS] = 40,
        [CN_DECISIONS_TO] = 40,    [CN_DECISIONS_METHOD] = 8,
        [CN_DECISIONS_PATH] = 64,  [CN_DECISIONS_SERVICE] = 48,
        [CN_DECISIONS_ROUTE] = 24, [CN_DECISIONS_CLUSTER] = 32,
        [CN_DECISIONS_HOST] = 24,  [CN_DECISIONS_WHY] = CN_DECISIONS_TEXT};
    size_t used = 0;

    for (unsigned i = 0; i < CN_DECISIONS_TEXTS; i++) {
        size_t n = texts[i].n < most[i] ? texts[i].n : most[i];

        if (n > CN_DECISIONS_TEXT - used)
            n = CN_DECISIONS_TEXT - used;
        if (n)
            memcpy(e->text + used, texts[i].p, n);
        e->len[i] = (uint16_t)n;
        used += n;
    }
}

void cn_decisions_ring_put(const cn_shm_view_t *view, unsigned status, uint32_t flags,
                           const cn_str_t *texts)
{
    ring_t r = ring_of(view, view->slot);
    uint64_t key = key_of(status, flags, texts), at;
    cn_decisions_entry_t *e;

    if (r.n == 0)
        return;
    at = __atomic_load_n(r.next, __ATOMIC_RELAXED);
    e = &r.v[(at + r.n - 1) % r.n];
    if (at > 0 && e->key == key && e->times > 0 && e->times < UINT32_MAX) {
        begin(e);
        e->times++;
        e->when_us = cn_clock_wall_us();
        end(e);
        return;
    }
    e = &r.v[at % r.n];
    begin(e);
    e->key = key;
    e->when_us = cn_clock_wall_us();
    e->times = 1;
    e->flags = flags;
    e->status = (uint16_t)status;
    fill(e, texts);
    end(e);
    __atomic_store_n(r.next, at + 1, __ATOMIC_RELAXED);
}

/* ---- reading ---- */

static bool copy(const cn_decisions_entry_t *e, cn_decisions_entry_t *to)
{
    uint64_t seq = __atomic_load_n(&e->seq, __ATOMIC_ACQUIRE);

    memcpy(to, e, sizeof(*to));
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return (seq & 1) == 0 && seq == __atomic_load_n(&e->seq, __ATOMIC_RELAXED) && to->times > 0;
}

static int newest_first(const void *va, const void *vb)
{
    const cn_decisions_entry_t *a = va, *b = vb;

    return (a->when_us < b->when_us) - (a->when_us > b->when_us);
}

const cn_decisions_entry_t *cn_decisions_ring_read(const cn_shm_view_t *view, cn_pool_t *pool,
                                                   uint32_t *n)
{
    ring_t first = ring_of(view, 0);
    cn_vec_t out = {0};
    cn_decisions_entry_t one;

    *n = 0;
    for (unsigned slot = 0; first.n && slot < view->slots; slot++) {
        ring_t r = ring_of(view, slot);

        if (__atomic_load_n(r.next, __ATOMIC_RELAXED) == 0)
            continue; /* nothing was put, and its pages need not be touched */
        for (uint32_t i = 0; i < r.n; i++)
            if (copy(&r.v[i], &one))
                *(cn_decisions_entry_t *)cn_vec_push(pool, &out, sizeof(one)) = one;
    }
    *n = out.n;
    if (out.n)
        qsort(out.v, out.n, sizeof(one), newest_first);
    return out.v;
}

cn_str_t cn_decisions_ring_text(const cn_decisions_entry_t *e, cn_decisions_text which)
{
    size_t at = 0, n = e->len[which];

    for (unsigned i = 0; i < (unsigned)which; i++)
        at += e->len[i];
    return at + n <= CN_DECISIONS_TEXT ? cn_str_make(e->text + at, n) : CN_STR_NULL;
}
