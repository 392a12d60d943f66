/* SPDX-License-Identifier: Apache-2.0
 *
 * The writing side of the statistics region: finding or appending a series in
 * our slot and changing its numbers.  Only the slot's owner writes; stores are
 * relaxed because readers need no order between numbers, and an entry becomes
 * visible with the release store of the slot's length.
 */
#include "stats/series_int.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/pool.h"

const char *const cn_stats_bucket_le[CN_STATS_BUCKETS] = {
    "0.5",  "1",    "5",     "10",    "25",    "50",     "100",    "250",     "500",     "1000",
    "2500", "5000", "10000", "30000", "60000", "300000", "600000", "1800000", "3600000", "+Inf"};

static const uint64_t bounds[CN_STATS_BUCKETS - 1] = {
    0,    1,    5,     10,    25,    50,     100,    250,     500,    1000,
    2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000};

const char *cn_stats_kind_name(cn_metric_kind kind)
{
    static const char *const names[] = {"counter", "gauge", "histogram", "gauge"};

    return names[kind];
}

size_t cn_stats_region_size(unsigned slots, size_t slot_bytes)
{
    return sizeof(cn_stats_header_t) + slots * (sizeof(cn_stats_slot_t) + slot_bytes);
}

static void init(void *mem, unsigned slots, unsigned sides, size_t slot_bytes)
{
    cn_stats_header_t *h = mem;

    h->layout = CN_STATS_LAYOUT;
    h->slots = slots * sides;
    h->side = slots;
    h->slot_bytes = slot_bytes;
    h->magic = CN_STATS_MAGIC;
}

void cn_stats_region_init(void *mem, unsigned slots, size_t slot_bytes)
{
    init(mem, slots, 1, slot_bytes);
}

void cn_stats_sides_init(void *mem, unsigned slots, size_t slot_bytes)
{
    init(mem, slots, CN_STATS_SIDES, slot_bytes);
}

static cn_stats_slot_t *slot_at(const void *mem, unsigned i, size_t slot_bytes)
{
    char *base = (char *)(uintptr_t)mem + sizeof(cn_stats_header_t);

    return (cn_stats_slot_t *)(base + i * (sizeof(cn_stats_slot_t) + slot_bytes));
}

static bool is_written(const void *mem, unsigned first, unsigned slots, size_t slot_bytes)
{
    for (unsigned i = first; i < first + slots; i++) {
        uint64_t pid = __atomic_load_n(&slot_at(mem, i, slot_bytes)->writer, __ATOMIC_RELAXED);
        if (pid > 0 && pid <= INT32_MAX && (kill((pid_t)pid, 0) == 0 || errno != ESRCH))
            return true;
    }
    return false;
}

int cn_stats_side_find(const void *mem, size_t bytes, unsigned slots, size_t slot_bytes)
{
    const cn_stats_header_t *h = mem;

    if (bytes != cn_stats_region_size(slots * CN_STATS_SIDES, slot_bytes) ||
        h->magic != CN_STATS_MAGIC || h->layout != CN_STATS_LAYOUT || h->side != slots ||
        h->slots != slots * CN_STATS_SIDES || h->slot_bytes != slot_bytes ||
        h->nfamilies > CN_STATS_FAMILIES)
        return -1;
    for (unsigned first = 0; first < h->slots; first += slots) {
        if (!is_written(mem, first, slots, slot_bytes))
            return (int)first;
    }
    return -1;
}

cn_stats_slot_t *cn_stats_slot(const cn_stats_t *st, unsigned i)
{
    return slot_at(st->header, i, st->slot_bytes);
}

/* Another process wrote it, which may have lost its mind. */
static bool is_sound(const cn_stats_t *st, const cn_series_t *s, size_t room)
{
    size_t nvalues;

    if (room < sizeof(*s) || s->size > room || s->size % 8 != 0 ||
        s->family >= st->header->nfamilies)
        return false;
    nvalues = cn_stats_kind(st, s) == CN_METRIC_HISTOGRAM ? CN_STATS_HISTOGRAM_VALUES : 1;
    return s->nvalues == nvalues &&
           s->size >= sizeof(*s) + nvalues * sizeof(uint64_t) + (size_t)s->label_len;
}

cn_series_t *cn_stats_next(const cn_stats_t *st, cn_stats_slot_t *slot, cn_series_t *prev,
                           uint64_t used)
{
    char *base = (char *)(slot + 1);
    char *next = prev ? (char *)prev + prev->size : base;
    size_t n = used < st->slot_bytes ? used : st->slot_bytes;

    if (next >= base + n || !is_sound(st, (cn_series_t *)next, (size_t)(base + n - next)))
        return NULL;
    return (cn_series_t *)next;
}

/* ---- families ---- */

static bool is_family(const cn_stats_family_t *f, const cn_metric_def_t *def)
{
    return f->kind == (uint64_t)def->kind && strncmp(f->name, def->name, CN_STATS_NAME) == 0;
}

/* The number of that family in the region; the first one to ask adds it. */
static cn_rc find_family(cn_stats_header_t *h, const cn_metric_def_t *def, uint16_t *out)
{
    size_t n = strlen(def->name);
    uint32_t i = 0, have = h->nfamilies < CN_STATS_FAMILIES ? h->nfamilies : CN_STATS_FAMILIES;

    CN_BUG_ON(n >= CN_STATS_NAME);
    while (i < have && !is_family(&h->families[i], def))
        i++;
    *out = (uint16_t)i;
    if (i < have)
        return CN_OK;
    if (i == CN_STATS_FAMILIES)
        return CN_ERR;
    memcpy(h->families[i].name, def->name, n + 1);
    h->families[i].kind = def->kind;
    __atomic_store_n(&h->nfamilies, i + 1, __ATOMIC_RELEASE);
    return CN_OK;
}

static cn_rc find_families(cn_stats_t *st)
{
    st->family = cn_xzalloc(sizeof(*st->family) * (st->ndefs + 1));
    for (unsigned i = 0; i < st->ndefs; i++) {
        if (find_family(st->header, st->defs[i], &st->family[i]) != CN_OK)
            return CN_ERR;
    }
    return CN_OK;
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
        if (cn_metric_is_gauge(cn_stats_kind(st, s)))
            cn_series_set(s, 0);
        index_add(st, s);
    }
}

static void take_slot(cn_stats_t *st, unsigned slot)
{
    st->own = cn_stats_slot(st, slot);
    st->first = slot - slot % st->side;
    __atomic_store_n(&st->own->writer, (uint64_t)getpid(), __ATOMIC_RELAXED);
    inherit(st);
}

static void destroy(cn_stats_t *st)
{
    free(st->index);
    free(st->family);
    free(st);
}

cn_rc cn_stats_open(void *mem, int slot, const cn_metric_def_t *const *defs, unsigned ndefs,
                    cn_stats_t **out)
{
    cn_stats_header_t *h = mem;
    cn_stats_t *st;

    if (h->magic != CN_STATS_MAGIC || h->layout != CN_STATS_LAYOUT || slot >= (int)h->slots)
        return CN_ERR;
    st = cn_xzalloc(sizeof(*st));
    st->header = h;
    st->slots = h->slots;
    st->slot_bytes = h->slot_bytes;
    st->side = h->side;
    st->defs = defs;
    st->ndefs = ndefs;
    if (find_families(st) != CN_OK) {
        destroy(st);
        return CN_ERR;
    }
    if (slot >= 0)
        take_slot(st, (unsigned)slot);
    *out = st;
    return CN_OK;
}

void cn_stats_close(cn_stats_t *st)
{
    if (!st)
        return;
    for (size_t i = 0; i < st->cap; i++)
        if (st->index[i] && cn_metric_is_gauge(cn_stats_kind(st, st->index[i])))
            cn_series_set(st->index[i], 0);
    if (st->own)
        __atomic_store_n(&st->own->writer, 0, __ATOMIC_RELAXED);
    destroy(st);
}

static cn_series_t *append(cn_stats_t *st, unsigned family, cn_str_t labels, uint64_t hash)
{
    unsigned nvalues =
        st->defs[family]->kind == CN_METRIC_HISTOGRAM ? CN_STATS_HISTOGRAM_VALUES : 1;
    uint64_t used = st->own->used;
    size_t size = (sizeof(cn_series_t) + nvalues * sizeof(uint64_t) + labels.n + 7) & ~(size_t)7;
    cn_series_t *s = (cn_series_t *)((char *)(st->own + 1) + used);

    if (used + size > st->slot_bytes) {
        __atomic_store_n(&st->own->overflow, st->own->overflow + 1, __ATOMIC_RELAXED);
        return NULL;
    }
    s->size = (uint32_t)size;
    s->family = st->family[family];
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
    uint64_t hash;

    if (!st || !st->own)
        return NULL;
    hash = hash_key(st->family[family], labels);
    for (size_t i = hash & (st->cap - 1); st->cap && st->index[i]; i = (i + 1) & (st->cap - 1)) {
        cn_series_t *s = st->index[i];

        if (s->hash == hash && s->family == st->family[family] &&
            cn_str_eq(cn_stats_labels(s), labels))
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
