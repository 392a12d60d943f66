/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits over all workers without a shared total.  A worker raises its own cell
 * first and then adds up all of them: of two that do so at once, at least one
 * sees both, so a limit is never exceeded.  When both see too much, both step
 * back and try again, the one with the higher slot a little later.
 *
 * A table that is full limits nothing: an operator sees it in the metric.
 */
#include "breaker_int.h"

#define TRIES 8u

static uint32_t *cell(const cn_circuit_breaker_t *b, cn_circuit_breaker_cluster_t *row,
                      cn_admit_kind kind)
{
    return &row->column[b->slot].used[kind];
}

uint32_t cn_circuit_breaker_used(const cn_circuit_breaker_t *b,
                                 const cn_circuit_breaker_cluster_t *row, cn_admit_kind kind)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < b->slots; i++)
        sum += __atomic_load_n(&row->column[i].used[kind], __ATOMIC_SEQ_CST);
    return sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}

/* Somebody else's turn, for so long as a cache line travels. */
static void pause_a_little(unsigned rounds)
{
    for (volatile unsigned i = 0; i < rounds * 64; i++)
        continue;
}

static bool raise_cell(const cn_circuit_breaker_t *b, cn_circuit_breaker_cluster_t *row,
                       cn_admit_kind kind, uint32_t limit)
{
    uint32_t *own = cell(b, row, kind), mine = __atomic_load_n(own, __ATOMIC_RELAXED);

    for (unsigned i = 0; i < TRIES; i++) {
        __atomic_store_n(own, mine + 1, __ATOMIC_SEQ_CST);
        if (cn_circuit_breaker_used(b, row, kind) <= limit)
            return true;
        __atomic_store_n(own, mine, __ATOMIC_SEQ_CST);
        if (cn_circuit_breaker_used(b, row, kind) >= limit)
            return false;
        pause_a_little(b->slot);
    }
    return false;
}

static void count_overflow(cn_circuit_breaker_t *b, const cn_cluster_t *c, cn_admit_kind kind)
{
    static const cn_circuit_breaker_metric metric[CN_ADMIT_MAX] = {
        [CN_ADMIT_REQUEST] = CN_BREAKER_RQ_OVERFLOW,
        [CN_ADMIT_PENDING] = CN_BREAKER_RQ_OVERFLOW,
        [CN_ADMIT_CONNECTION] = CN_BREAKER_CX_OVERFLOW,
    };

    if (kind != CN_ADMIT_RETRY) /* counted by who wanted to retry */
        cn_series_add(cn_circuit_breaker_series(b, c, metric[kind]), 1);
}

/* A free connection goes to the worker that has waited the longest for one. */
static bool admit_connection(cn_circuit_breaker_t *b, cn_cluster_t *c,
                             cn_circuit_breaker_cluster_t *row, uint32_t limit)
{
    uint32_t before = cn_circuit_breaker_turns_before(b, row);

    if (before >= limit || !raise_cell(b, row, CN_ADMIT_CONNECTION, limit - before))
        return false;
    cn_circuit_breaker_turns_got(b, row);
    if (*cell(b, row, CN_ADMIT_CONNECTION) == 1)
        cn_circuit_breaker_turns_hold(b, c, true);
    return true;
}

bool cn_circuit_breaker_admit(void *wctx, cn_cluster_t *c, const void *conf, cn_admit_kind kind)
{
    const cn_circuit_breaker_conf_t *cc = conf;
    cn_circuit_breaker_cluster_t *row;

    if (cc->limit[kind] == CN_BREAKER_NONE)
        return true;
    row = cn_circuit_breaker_cluster_row(wctx, c);
    if (!row)
        return true;
    if (kind == CN_ADMIT_CONNECTION ? admit_connection(wctx, c, row, cc->limit[kind])
                                    : raise_cell(wctx, row, kind, cc->limit[kind]))
        return true;
    count_overflow(wctx, c, kind);
    return false;
}

void cn_circuit_breaker_release(void *wctx, cn_cluster_t *c, const void *conf, cn_admit_kind kind)
{
    const cn_circuit_breaker_conf_t *cc = conf;
    cn_circuit_breaker_cluster_t *row;
    uint32_t *own, mine;

    if (cc->limit[kind] == CN_BREAKER_NONE)
        return;
    row = cn_circuit_breaker_cluster_row(wctx, c);
    if (!row)
        return;
    own = cell(wctx, row, kind);
    mine = __atomic_load_n(own, __ATOMIC_RELAXED);
    /* there was no row when it was admitted */
    if (mine == 0)
        return;
    __atomic_store_n(own, mine - 1, __ATOMIC_SEQ_CST);
    if (mine == 1 && kind == CN_ADMIT_CONNECTION)
        cn_circuit_breaker_turns_hold(wctx, c, false);
}
