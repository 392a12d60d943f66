/* SPDX-License-Identifier: Apache-2.0
 *
 * Metric series in shared memory.  The region, made by the master before the
 * first fork, has one slot per worker; a slot is an append-only table of
 * series {family, label bytes, numbers}, written only by its worker with
 * relaxed stores.  Whoever exposes metrics merges all slots by label bytes.  A
 * respawned worker inherits the slot of the one it replaces and counts on, so
 * counters never go backwards.
 *
 * A region outlives masters: it has two sides of equal size, and a new binary
 * writes to the one that its parent does not use.  Both add up the counters of
 * both sides, so those do not go backwards when either of them ends; gauges are
 * told of the own side only.  Families are found by name, for the other binary
 * may have others.
 *
 * Only numbers, names and opaque label bytes live here: no pointers, no locks.
 */
#ifndef CN_STATS_SERIES_H
#define CN_STATS_SERIES_H

#include "core/chain.h"
#include "core/str.h"

typedef enum {
    CN_METRIC_COUNTER,
    CN_METRIC_GAUGE,
    CN_METRIC_HISTOGRAM,
    CN_METRIC_GAUGE_MICROS /* set in millionths and shown as a fraction: microseconds of _seconds */
} cn_metric_kind;

static inline bool cn_metric_is_gauge(cn_metric_kind kind)
{
    return kind == CN_METRIC_GAUGE || kind == CN_METRIC_GAUGE_MICROS;
}

/* A family; constant, one per metric name, known to all processes by name. */
typedef struct {
    const char *name;
    cn_metric_kind kind;
    const char *help; /* one line: for the generated reference and # HELP */
} cn_metric_def_t;

/* As Prometheus calls it. */
const char *cn_stats_kind_name(cn_metric_kind);

typedef struct cn_stats cn_stats_t;   /* this process's view of the region */
typedef struct cn_series cn_series_t; /* one series in our own slot */

/* Envoy's default bounds; the last bucket is +Inf. */
#define CN_STATS_BUCKETS 20
extern const char *const cn_stats_bucket_le[CN_STATS_BUCKETS];

#define CN_STATS_SIDES 2u

/* Bytes of shared memory for slots of slot_bytes each. */
size_t cn_stats_region_size(unsigned slots, size_t slot_bytes);
/* mem: MAP_SHARED, zeroed, of that size; one side.  By the master, once. */
void cn_stats_region_init(void *mem, unsigned slots, size_t slot_bytes);
/* The same with CN_STATS_SIDES times that many slots. */
void cn_stats_sides_init(void *mem, unsigned slots, size_t slot_bytes);
/* Looks at a region that another master made, perhaps of another build, in a
 * mapping of that many bytes.  The first slot of the side that nobody alive
 * writes to; -1: there is none, or it is not what sides_init() with these
 * numbers makes here. */
int cn_stats_side_find(const void *mem, size_t bytes, unsigned slots, size_t slot_bytes);
/* slot < 0: read only (tests).  The defs are kept by pointer.  The master is the
 * first to open its side and adds families that the region does not know yet.
 * CN_ERR: another layout, or too many families. */
CN_MUST cn_rc cn_stats_open(void *mem, int slot, const cn_metric_def_t *const *defs, unsigned ndefs,
                            cn_stats_t **out);
void cn_stats_close(cn_stats_t *);

/* Finds or makes the series of defs[family] with these labels, given as they
 * are exposed: `k="v",k2="v2"` already escaped, in their final order, or empty.
 * NULL when the slot is full (counted in the overflow counter, which is itself
 * exposed as cairn_stats_overflow_total). The pointer stays valid. */
cn_series_t *cn_stats_series(cn_stats_t *, unsigned family, cn_str_t labels);

void cn_series_add(cn_series_t *,
                   uint64_t n); /* counter or gauge; NULL is ignored, here and below */
void cn_series_sub(cn_series_t *, uint64_t n);     /* gauge */
void cn_series_set(cn_series_t *, uint64_t v);     /* gauge: merged by sum over slots */
void cn_series_observe(cn_series_t *, uint64_t v); /* histogram, integer value */

/* Appends Prometheus text (0.0.4) for all families: counters, gauges,
 * histograms; families sorted by name, samples by label bytes; `# TYPE` only,
 * `name{} v` without labels; unused histograms are left out.  Safe while other
 * processes write. */
void cn_stats_expose(const cn_stats_t *, cn_chain_t *out);

/* Escapes a label value (backslash, quote, newline) into out (cap bytes);
 * returns the length, truncated at a whole escape. */
size_t cn_stats_escape(char *out, size_t cap, cn_str_t value);

#endif
