/* SPDX-License-Identifier: Apache-2.0
 *
 * The writing side of the statistics region: finding or appending a series in
 * our slot and changing its numbers.  Only the slot's owner writes; stores are
 * relaxed because readers need no order between numbers, and an entry becomes
 * visible with the release store of the slot's length.
 */
#include "stats/series_int.h"

#include <stdlib.h>

#include "core/hash.h"
#include "core/pool.h"

const char *const cn_stats_bucket_le[CN_STATS_BUCKETS] = {
    "0.5",  "1",    "5",     "10",    "25",    "50",     "100",    "250",     "500",     "1000",
    "2500", "5000", "10000", "30000", "60000", "300000", "600000", "1800000", "3600000", "+Inf"};

static const uint64_t bounds[CN_STATS_BUCKETS - 1] = {
    0,    1,    5,     10,    25,    50,     100,    250,     500,    1000,
    2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000};

size_t cn_stats_region_size(unsigned slots, size_t slot_bytes)
{
    return sizeof(cn_stats_header_t) + slots * (sizeof(cn_stats_slot_t) + slot_bytes);
}

void cn_stats_region_init(void *mem, unsigned slots, size_t slot_bytes)
{
    cn_stats_header_t *h = mem;

    h->magic = CN_STATS_MAGIC;
    h->layout = CN_STATS_LAYOUT;
    h->slots = slots;
    h->slot_bytes = slot_bytes;
    h->defs_hash = 0;
}

cn_stats_slot_t *cn_stats_slot(const cn_stats_t *st, unsigned i)
{
    char *base = (char *)(st->header + 1);

    return (cn_stats_slot_t *)(base + i * (sizeof(cn_stats_slot_t) + st->header->slot_bytes));
}

cn_series_t *cn_stats_next(const cn_stats_t *st CN_UNUSED, cn_stats_slot_t *slot, cn_series_t *prev,
                           uint64_t used)
{
    char *base = (char *)(slot + 1);
    char *next = prev ? (char *)prev + prev->size : base;

    return next < base + used ? (cn_series_t *)next : NULL;
}

static uint64_t hash_defs(const cn_metric_def_t *const *defs, unsigned n)
{
    uint64_t hash = n + 1;

    for (unsigned i = 0; i < n; i++)
        hash = cn_hash_xxh(cn_str_c(defs[i]->name), hash + (unsigned)defs[i]->kind);
    return hash;
}

static uint64_t hash_key(unsigned family, cn_str_t labels)
{
    return cn_hash_xxh(labels, family + 1);
}

/* ---- the index of our own slot ---- */

static void index_put(cn_stats_t *st, cn_series_t *s)
{
    size_t i = s->hash & (st->cap - 1);

    while (st->index[i])
        i = (i + 1) & (st->cap - 1);
    st->index[i] = s;
}

static void index_grow(cn_stats_t *st)
{
    cn_series_t **old = st->index;
    size_t cap = st->cap;

    st->cap = cap ? cap * 2 : 256;
    st->index = cn_xzalloc(st->cap * sizeof(*st->index));
    for (size_t i = 0; i < cap; i++)
        if (old[i])
            index_put(st, old[i]);
    free(old);
}

static void index_add(cn_stats_t *st, cn_series_t *s)
{
    if (st->count * 4 >= st->cap * 3)
        index_grow(st);
    index_put(st, s);
    st->count++;
}

/* A worker that takes a slot over counts on from its counters, but its
 * predecessor's gauges (open tunnels) ended with it. */
static void inherit(cn_stats_t *st)
{
    cn_series_t *s = NULL;

    while ((s = cn_stats_next(st, st->own, s, st->own->used)) != NULL) {
        if (st->defs[s->family]->kind == CN_METRIC_GAUGE)
            cn_series_set(s, 0);
        index_add(st, s);
    }
}

cn_rc cn_stats_open(void *mem, int slot, const cn_metric_def_t *const *defs, unsigned ndefs,
                    cn_stats_t **out)
{
    cn_stats_header_t *h = mem;
    uint64_t hash = hash_defs(defs, ndefs);
    cn_stats_t *st;

    if (h->magic != CN_STATS_MAGIC || h->layout != CN_STATS_LAYOUT || slot >= (int)h->slots)
        return CN_ERR;
    if (h->defs_hash == 0)
        h->defs_hash = hash;
    if (h->defs_hash != hash)
        return CN_ERR;
    st = cn_xzalloc(sizeof(*st));
    st->header = h;
    st->defs = defs;
    st->ndefs = ndefs;
    if (slot >= 0) {
        st->own = cn_stats_slot(st, (unsigned)slot);
        inherit(st);
    }
    *out = st;
    return CN_OK;
}

void cn_stats_close(cn_stats_t *st)
{
    if (!st)
        return;
    for (size_t i = 0; i < st->cap; i++)
        if (st->index[i] && st->defs[st->index[i]->family]->kind == CN_METRIC_GAUGE)
            cn_series_set(st->index[i], 0);
    free(st->index);
    free(st);
}

static cn_series_t *append(cn_stats_t *st, unsigned family, cn_str_t labels, uint64_t hash)
{
    unsigned nvalues =
        st->defs[family]->kind == CN_METRIC_HISTOGRAM ? CN_STATS_HISTOGRAM_VALUES : 1;
    uint64_t used = st->own->used;
    size_t size = (sizeof(cn_series_t) + nvalues * sizeof(uint64_t) + labels.n + 7) & ~(size_t)7;
    cn_series_t *s = (cn_series_t *)((char *)(st->own + 1) + used);

    if (used + size > st->header->slot_bytes) {
        __atomic_store_n(&st->own->overflow, st->own->overflow + 1, __ATOMIC_RELAXED);
        return NULL;
    }
    s->size = (uint32_t)size;
    s->family = (uint16_t)family;
    s->nvalues = (uint16_t)nvalues;
    s->label_len = (uint32_t)labels.n;
    s->hash = hash;
    memset(s->values, 0, nvalues * sizeof(uint64_t));
    if (labels.n)
        memcpy(&s->values[nvalues], labels.p, labels.n);
    __atomic_store_n(&st->own->used, used + size, __ATOMIC_RELEASE);
    index_add(st, s);
    return s;
}

cn_series_t *cn_stats_series(cn_stats_t *st, unsigned family, cn_str_t labels)
{
    uint64_t hash = hash_key(family, labels);

    if (!st || !st->own)
        return NULL;
    for (size_t i = hash & (st->cap - 1); st->cap && st->index[i]; i = (i + 1) & (st->cap - 1)) {
        cn_series_t *s = st->index[i];

        if (s->hash == hash && s->family == family && cn_str_eq(cn_stats_labels(s), labels))
            return s;
    }
    return append(st, family, labels, hash);
}

/* ---- numbers ---- */

static void add(uint64_t *v, uint64_t n)
{
    __atomic_store_n(v, *v + n, __ATOMIC_RELAXED);
}

void cn_series_add(cn_series_t *s, uint64_t n)
{
    if (s)
        add(&s->values[0], n);
}

void cn_series_sub(cn_series_t *s, uint64_t n)
{
    if (s)
        add(&s->values[0], -n);
}

void cn_series_set(cn_series_t *s, uint64_t v)
{
    if (s)
        __atomic_store_n(&s->values[0], v, __ATOMIC_RELAXED);
}

void cn_series_observe(cn_series_t *s, uint64_t v)
{
    unsigned i = 0;

    if (!s)
        return;
    while (i < CN_STATS_BUCKETS - 1 && v > bounds[i])
        i++;
    add(&s->values[i], 1);
    add(&s->values[CN_STATS_SUM], v);
}

size_t cn_stats_escape(char *out, size_t cap, cn_str_t value)
{
    size_t n = 0;

    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        bool special = c == '\\' || c == '"' || c == '\n';

        if (n + (special ? 2 : 1) > cap)
            break;
        if (special)
            out[n++] = '\\';
        out[n++] = c == '\n' ? 'n' : c;
    }
    return n;
}
