/* SPDX-License-Identifier: Apache-2.0
 *
 * The reading side: all slots merged by family and label bytes, as Prometheus
 * text 0.0.4 in the shape that Envoy prints (facts/observability 1.4).
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/map.h"
#include "core/pool.h"
#include "stats/series_int.h"

typedef struct {
    unsigned family;
    cn_str_t labels;
    uint64_t values[CN_STATS_HISTOGRAM_VALUES];
} sample_t;

typedef struct {
    const cn_stats_t *st;
    cn_metric_def_t *defs; /* of the region's families */
    cn_pool_t *pool;
    cn_map_t map; /* key: family number and label bytes */
    sample_t **v;
    size_t n, cap;
    uint64_t overflow;
} merge_t;

static sample_t *find(merge_t *m, const cn_series_t *s)
{
    cn_str_t labels = cn_stats_labels(s);
    char *key = cn_pool_bytes(m->pool, labels.n + 2);
    sample_t *sample;

    memcpy(key, &s->family, 2);
    if (labels.n)
        memcpy(key + 2, labels.p, labels.n);
    sample = cn_map_get(&m->map, cn_str_make(key, labels.n + 2));
    if (sample)
        return sample;
    sample = cn_pool_zalloc(m->pool, sizeof(*sample));
    sample->family = s->family;
    sample->labels = cn_str_make(key + 2, labels.n);
    cn_map_put(&m->map, cn_str_make(key, labels.n + 2), sample);
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 256;
        m->v = cn_xrealloc(m->v, m->cap * sizeof(*m->v));
    }
    m->v[m->n++] = sample;
    return sample;
}

/* own: of our own master's side. */
static void merge_slot(merge_t *m, cn_stats_slot_t *slot, bool own)
{
    uint64_t used = __atomic_load_n(&slot->used, __ATOMIC_ACQUIRE);
    cn_series_t *s = NULL;

    while ((s = cn_stats_next(m->st, slot, s, used)) != NULL) {
        if (!own && cn_metric_is_gauge(cn_stats_kind(m->st, s)))
            continue;
        sample_t *sample = find(m, s);

        for (unsigned i = 0; i < s->nvalues; i++)
            sample->values[i] += __atomic_load_n(&s->values[i], __ATOMIC_RELAXED);
    }
    m->overflow += __atomic_load_n(&slot->overflow, __ATOMIC_RELAXED);
}

/* Counters, gauges, histograms; then by name; then by labels. */
static int order(const void *a, const void *b, void *ctx)
{
    const sample_t *x = *(sample_t *const *)a, *y = *(sample_t *const *)b;
    const cn_metric_def_t *defs = ctx;
    const cn_metric_def_t *dx = &defs[x->family], *dy = &defs[y->family];
    int by_name;

    if (dx->kind != dy->kind)
        return dx->kind < dy->kind ? -1 : 1;
    by_name = strcmp(dx->name, dy->name);
    return by_name ? by_name : cn_str_cmp(x->labels, y->labels);
}

static void put_u64(cn_chain_t *out, uint64_t v)
{
    char digits[20];

    cn_chain_copy(out, digits, cn_str_put_u64(digits, v));
}

static void put_millionths(cn_chain_t *out, uint64_t v)
{
    char text[28];
    int n = snprintf(text, sizeof(text), "%llu.%06llu", (unsigned long long)(v / 1000000),
                     (unsigned long long)(v % 1000000));

    cn_chain_copy(out, text, (size_t)n);
}

static void put_value(cn_chain_t *out, const cn_metric_def_t *def, const char *suffix,
                      cn_str_t labels, uint64_t v)
{
    cn_chain_puts(out, cn_str_c(def->name));
    cn_chain_puts(out, cn_str_c(suffix));
    cn_chain_puts(out, CN_STR("{"));
    cn_chain_puts(out, labels);
    cn_chain_puts(out, CN_STR("} "));
    if (def->kind == CN_METRIC_GAUGE_MICROS)
        put_millionths(out, v);
    else
        put_u64(out, v);
    cn_chain_puts(out, CN_STR("\n"));
}

static void put_histogram(cn_chain_t *out, const cn_metric_def_t *def, const sample_t *s)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < CN_STATS_BUCKETS; i++) {
        total += s->values[i];
        cn_chain_puts(out, cn_str_c(def->name));
        cn_chain_puts(out, CN_STR("_bucket{"));
        cn_chain_puts(out, s->labels);
        cn_chain_puts(out, s->labels.n ? CN_STR(",le=\"") : CN_STR("le=\""));
        cn_chain_puts(out, cn_str_c(cn_stats_bucket_le[i]));
        cn_chain_puts(out, CN_STR("\"} "));
        put_u64(out, total);
        cn_chain_puts(out, CN_STR("\n"));
    }
    put_value(out, def, "_sum", s->labels, s->values[CN_STATS_SUM]);
    put_value(out, def, "_count", s->labels, total);
}

/* Families that Istio defines look as Envoy prints them, which is without. */
static void put_help(cn_chain_t *out, const char *name, const char *help)
{
    if (!help || cn_str_starts(cn_str_c(name), CN_STR("istio_")))
        return;
    cn_chain_puts(out, CN_STR("# HELP "));
    cn_chain_puts(out, cn_str_c(name));
    cn_chain_puts(out, CN_STR(" "));
    cn_chain_puts(out, cn_str_c(help));
    cn_chain_puts(out, CN_STR("\n"));
}

static void put_type(cn_chain_t *out, const cn_metric_def_t *def)
{
    put_help(out, def->name, def->help);
    cn_chain_puts(out, CN_STR("# TYPE "));
    cn_chain_puts(out, cn_str_c(def->name));
    cn_chain_puts(out, CN_STR(" "));
    cn_chain_puts(out, cn_str_c(cn_stats_kind_name(def->kind)));
    cn_chain_puts(out, CN_STR("\n"));
}

static void put_overflow(cn_chain_t *out, uint64_t n)
{
    static const cn_metric_def_t def = {
        "cairn_stats_overflow_total", CN_METRIC_COUNTER,
        "Series that found no room in shared memory and are not counted."};

    put_type(out, &def);
    put_value(out, &def, "", CN_STR_NULL, n);
}

/* A family that only the other binary has is told without help. */
static void name_families(merge_t *m)
{
    const cn_stats_header_t *h = m->st->header;
    uint32_t n = __atomic_load_n(&h->nfamilies, __ATOMIC_ACQUIRE);

    m->defs = cn_pool_zalloc(m->pool, sizeof(*m->defs) * CN_STATS_FAMILIES);
    for (uint32_t i = 0; i < n && i < CN_STATS_FAMILIES; i++) {
        m->defs[i].name = h->families[i].name;
        m->defs[i].kind = (cn_metric_kind)h->families[i].kind;
    }
    for (unsigned i = 0; i < m->st->ndefs; i++)
        m->defs[m->st->family[i]] = *m->st->defs[i];
}

void cn_stats_expose(const cn_stats_t *st, cn_chain_t *out)
{
    merge_t m = {.st = st, .pool = cn_pool_create(65536)};

    cn_map_init(&m.map);
    name_families(&m);
    for (unsigned i = 0; i < st->slots; i++)
        merge_slot(&m, cn_stats_slot(st, i), i - st->first < st->side);
    if (m.n)
        qsort_r(m.v, m.n, sizeof(*m.v), order, m.defs);
    put_overflow(out, m.overflow);
    for (size_t i = 0; i < m.n; i++) {
        const cn_metric_def_t *def = &m.defs[m.v[i]->family];

        if (i == 0 || m.v[i - 1]->family != m.v[i]->family)
            put_type(out, def);
        if (def->kind == CN_METRIC_HISTOGRAM)
            put_histogram(out, def, m.v[i]);
        else
            put_value(out, def, "", m.v[i]->labels, m.v[i]->values[0]);
    }
    cn_map_fini(&m.map);
    free(m.v);
    cn_pool_destroy(m.pool);
}
