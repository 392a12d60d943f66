/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of the statistics, which a binary upgrade hands over: a sealed file
 * in memory that two masters map, each writing to its own side (stats/series.h).
 * The master's.
 */
#ifndef CN_MAIN_TOTALS_H
#define CN_MAIN_TOTALS_H

#include "core/base.h"

/* The descriptor's number, for the new binary. */
#define CN_TOTALS_ENV "CAIRN_STATS_FD"

typedef struct {
    int fd;
    void *mem; /* NULL: not open */
    size_t size;
    unsigned first, slots; /* our side's first slot, and how many a side has */
    size_t slot_bytes;
} cn_totals_t;

/* env: CN_TOTALS_ENV as the older binary left it, or NULL.  What that describes
 * is taken when it is of the same shape; otherwise counters begin at 0, which
 * the log tells.  CN_ERR with errno. */
CN_MUST cn_rc cn_totals_open(cn_totals_t *, const char *env, unsigned slots, size_t slot_bytes);
/* In the child that becomes the new binary. */
CN_MUST cn_rc cn_totals_export(const cn_totals_t *);
/* The other side is nobody's.  It is not while workers of a master that is gone
 * finish what they have. */
bool cn_totals_has_room(const cn_totals_t *);
void cn_totals_close(cn_totals_t *);

#endif
