/* SPDX-License-Identifier: Apache-2.0
 *
 * Layout of the statistics region, private to src/stats.  Everything is
 * fixed-width numbers and label bytes: another process of the same build reads
 * it while its owner writes.
 */
#ifndef CN_STATS_SERIES_INT_H
#define CN_STATS_SERIES_INT_H

#include "stats/series.h"

#define CN_STATS_MAGIC 0x6361697273746174ull
#define CN_STATS_LAYOUT 2u
#define CN_STATS_FAMILIES 256u
#define CN_STATS_NAME 128u

/* Values of a series: one number, or the buckets and the sum. */
#define CN_STATS_SUM CN_STATS_BUCKETS
#define CN_STATS_HISTOGRAM_VALUES (CN_STATS_BUCKETS + 1)

/* A family, named here because another binary may have others. */
typedef struct {
    char name[CN_STATS_NAME];
    uint64_t kind; /* cn_metric_kind */
} cn_stats_family_t;

typedef struct {
    uint64_t magic;
    uint32_t layout, slots;
    uint32_t side; /* slots of one master and its workers; slots is a multiple */
    uint32_t nfamilies;
    uint64_t slot_bytes;
    cn_stats_family_t families[CN_STATS_FAMILIES]; /* appended by masters only */
} cn_stats_header_t;

typedef struct {
    uint64_t used;     /* bytes of entries; stored with release after the entry is complete */
    uint64_t overflow; /* series refused for want of room */
    uint64_t writer;   /* pid of who writes here; 0: nobody */
} cn_stats_slot_t;

struct cn_series {
    uint32_t size;   /* of this entry, a multiple of 8 */
    uint16_t family; /* in the header's table */
    uint16_t nvalues;
    uint32_t label_len;
    uint32_t pad;
    uint64_t hash;
    uint64_t values[]; /* nvalues; the label bytes follow */
};

struct cn_stats {
    cn_stats_header_t *header;
    cn_stats_slot_t *own; /* NULL: read only */
    unsigned slots;       /* kept here, where nobody else can write */
    size_t slot_bytes;
    unsigned first, side; /* slots of our own master's side */
    const cn_metric_def_t *const *defs;
    unsigned ndefs;
    uint16_t *family;    /* of each of defs, in the header's table */
    cn_series_t **index; /* of our own slot, open addressing */
    size_t cap, count;
};

cn_stats_slot_t *cn_stats_slot(const cn_stats_t *, unsigned i);
/* Entries of a slot in order: start with NULL; NULL ends, also before what
 * cannot be an entry. */
cn_series_t *cn_stats_next(const cn_stats_t *, cn_stats_slot_t *, cn_series_t *prev, uint64_t used);
static inline cn_metric_kind cn_stats_kind(const cn_stats_t *st, const cn_series_t *s)
{
    return (cn_metric_kind)st->header->families[s->family].kind;
}
static inline cn_str_t cn_stats_labels(const cn_series_t *s)
{
    return cn_str_make((const char *)&s->values[s->nvalues], s->label_len);
}

#endif
