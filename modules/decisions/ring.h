/* SPDX-License-Identifier: Apache-2.0
 *
 * What was refused and what failed lately, in memory that all workers share: a
 * ring for each worker, written by it alone and read by any.  An entry is
 * copied out whole or not at all.
 */
#ifndef CN_DECISIONS_RING_H
#define CN_DECISIONS_RING_H

#include <cairn/module.h>

#define CN_DECISIONS_TEXT 424u /* bytes of an entry for all its texts */

typedef enum {
    CN_DECISIONS_FROM, /* the client's identity */
    CN_DECISIONS_ADDRESS,
    CN_DECISIONS_TO, /* what its tunnel asked for */
    CN_DECISIONS_METHOD,
    CN_DECISIONS_PATH, /* without the query, which may hold secrets */
    CN_DECISIONS_SERVICE,
    CN_DECISIONS_ROUTE,
    CN_DECISIONS_CLUSTER,
    CN_DECISIONS_HOST,
    CN_DECISIONS_WHY,
    CN_DECISIONS_TEXTS
} cn_decisions_text;

typedef struct {
    uint64_t seq;     /* odd while it is written */
    uint64_t key;     /* of decisions that are counted as one */
    uint64_t when_us; /* wall clock, of the last of them */
    uint32_t times;   /* 0: free */
    uint32_t flags;
    uint16_t status; /* 0: a connection that is not HTTP */
    uint16_t len[CN_DECISIONS_TEXTS];
    char text[CN_DECISIONS_TEXT]; /* one behind the other */
} cn_decisions_entry_t;

/* Bytes for so many entries of one worker. */
size_t cn_decisions_ring_size(uint32_t entries);
/* What a worker has decided.  texts: CN_DECISIONS_TEXTS of them, cut to fit.  The
 * same as its last entry, but for time and path, counts there. */
void cn_decisions_ring_put(const cn_shm_view_t *, unsigned status, uint32_t flags,
                           const cn_str_t *texts);
/* Entries of all workers, the newest first, in the pool. */
const cn_decisions_entry_t *cn_decisions_ring_read(const cn_shm_view_t *, cn_pool_t *, uint32_t *n);
/* A text of an entry. */
cn_str_t cn_decisions_ring_text(const cn_decisions_entry_t *, cn_decisions_text);

#endif
