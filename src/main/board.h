/* SPDX-License-Identifier: Apache-2.0
 *
 * The board: what master and workers tell each other in shared memory, as
 * single numbers.  Each slot is written by its worker (pid by the master); the
 * rest by the master.  Readers may see a mix of moments, and anything at all
 * when a worker has lost its mind: the number of slots is therefore not here.
 */
#ifndef CN_MAIN_BOARD_H
#define CN_MAIN_BOARD_H

#include "core/base.h"

typedef enum {
    CN_BOARD_NONE,
    CN_BOARD_STARTING,
    CN_BOARD_SERVING,
    CN_BOARD_DRAINING,
    CN_BOARD_SPARE
} cn_board_state;

typedef struct {
    uint64_t pid;     /* 0: free */
    uint64_t state;   /* cn_board_state */
    uint64_t gen;     /* configuration in force */
    uint64_t beat;    /* counts up while the loop turns */
    uint64_t tunnels; /* now open */
    uint64_t conns;   /* connections of the mesh now open */
    uint64_t given;   /* connections meant for it, by others and itself; all write it */
    uint64_t taken;   /* how many of those are in conns, or gone; one cache line each */
} cn_board_slot_t;

typedef struct {
    uint64_t started_ns;   /* monotonic clock */
    uint64_t master;       /* pid */
    uint64_t gen;          /* the newest configuration that was accepted */
    uint64_t gen_in_force; /* the newest that all workers have */
    uint64_t workers;      /* wanted */
    uint64_t reloads, reload_failures;
    uint64_t respawns;
    uint64_t fill[8];
    cn_board_slot_t v[];
} cn_board_t;

static inline size_t cn_board_size(unsigned slots)
{
    return sizeof(cn_board_t) + sizeof(cn_board_slot_t) * slots;
}

static inline uint64_t cn_board_get(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_ACQUIRE);
}

static inline void cn_board_set(uint64_t *cell, uint64_t v)
{
    __atomic_store_n(cell, v, __ATOMIC_RELEASE);
}

static inline void cn_board_add(uint64_t *cell, uint64_t n)
{
    __atomic_fetch_add(cell, n, __ATOMIC_RELEASE);
}

/* Counts one up, unless somebody else has changed it since it was `seen`. */
static inline bool cn_board_claim(uint64_t *cell, uint64_t seen)
{
    return __atomic_compare_exchange_n(cell, &seen, seen + 1, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

#endif
