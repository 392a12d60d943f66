/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns at a cluster's connections, so that max_connections holds over all
 * workers and none starves: what one worker keeps idle, or has in use all the
 * time, another may be waiting for.
 *
 * A worker whose requests wait says so in its column, and says it again for as
 * long as they do.  Others that have connections look there when one of theirs
 * becomes free, and for those that idle every few milliseconds while a cluster
 * is nearly full, less often where there is room and nobody waits; they close
 * one for it.  A free place then goes to the worker that has waited the longest.
 *
 * A worker with waiting requests of its own keeps its connections for one turn
 * first, or with few of them more time would go into connecting than into work.
 */
#include <stdlib.h>

#include "breaker_int.h"

#define LOOK_MS 20u
#define REST_MS 100u /* the same where a cluster has room: how late one that fills is noticed */
#define TURN_MS 25u
#define STALE_MS 100u /* who has not asked for so long does not wait */

static uint64_t get(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

static void set(uint64_t *cell, uint64_t v)
{
    __atomic_store_n(cell, v, __ATOMIC_RELAXED);
}

/* Since when the worker of a column waits; 0: it does not. */
static uint64_t waits_since(const cn_circuit_breaker_column_t *c, uint64_t now)
{
    uint64_t asked = get(&c->asked_ms);

    return asked && now <= asked + STALE_MS ? get(&c->waits_ms) : 0;
}

uint32_t cn_circuit_breaker_turns_before(const cn_circuit_breaker_t *b,
                                         const cn_circuit_breaker_cluster_t *row)
{
    uint64_t now = cn_circuit_breaker_now_ms(b), own = waits_since(&row->column[b->slot], now);
    uint32_t n = 0;

    if (!own)
        own = now;
    for (unsigned i = 0; i < b->slots; i++) {
        uint64_t other = i == b->slot ? 0 : waits_since(&row->column[i], now);

        n += other && (other < own || (other == own && i < b->slot));
    }
    return n;
}

void cn_circuit_breaker_turns_got(cn_circuit_breaker_t *b, cn_circuit_breaker_cluster_t *row)
{
    set(&row->column[b->slot].asked_ms, 0);
}

void cn_circuit_breaker_wait(void *wctx, cn_cluster_t *c, const void *conf)
{
    const cn_circuit_breaker_t *b = wctx;
    cn_circuit_breaker_cluster_t *row;
    cn_circuit_breaker_column_t *own;
    uint64_t now = cn_circuit_breaker_now_ms(b);

    if (((const cn_circuit_breaker_conf_t *)conf)->limit[CN_ADMIT_CONNECTION] == CN_BREAKER_NONE)
        return;
    row = cn_circuit_breaker_cluster_row(wctx, c);
    if (!row)
        return;
    own = &row->column[b->slot];
    if (!waits_since(own, now))
        set(&own->waits_ms, now);
    set(&own->asked_ms, now);
}

bool cn_circuit_breaker_spare(void *wctx, cn_cluster_t *c, const void *conf, bool asked)
{
    const cn_circuit_breaker_t *b = wctx;
    cn_circuit_breaker_cluster_t *row;
    uint64_t now = cn_circuit_breaker_now_ms(b), longest = now + 1;

    if (((const cn_circuit_breaker_conf_t *)conf)->limit[CN_ADMIT_CONNECTION] == CN_BREAKER_NONE)
        return false;
    row = cn_circuit_breaker_cluster_row(wctx, c);
    for (unsigned i = 0; row && i < b->slots; i++) {
        uint64_t since = i == b->slot ? 0 : waits_since(&row->column[i], now);

        if (since && since < longest)
            longest = since;
    }
    if (longest > now || (asked && now < longest + TURN_MS))
        return false;
    /* one's own are behind it now */
    if (asked)
        set(&row->column[b->slot].waits_ms, now);
    return true;
}

/* ---- what idles ---- */

static bool is_nearly_full(cn_circuit_breaker_t *b, const cn_cluster_t *c,
                           const cn_circuit_breaker_conf_t *cc)
{
    uint32_t limit = cc->limit[CN_ADMIT_CONNECTION];
    const cn_circuit_breaker_cluster_t *row =
        limit == CN_BREAKER_NONE ? NULL : cn_circuit_breaker_cluster_row(b, c);

    return row &&
           cn_circuit_breaker_used(b, row, CN_ADMIT_CONNECTION) + limit / 4 + b->slots >= limit;
}

static void run(cn_task_t *task, uint32_t why CN_UNUSED)
{
    cn_circuit_breaker_t *b = cn_container_of(task, cn_circuit_breaker_t, spare_task);
    uint64_t next = REST_MS;

    /* from the end: a cluster whose last connection is closed leaves */
    for (uint32_t i = b->nholds; i-- > 0;) {
        cn_cluster_t *c = b->holds[i];
        const cn_circuit_breaker_conf_t *cc = cn_circuit_breaker_conf_of(b, c);

        if (is_nearly_full(b, c, cc))
            next = LOOK_MS;
        if (cn_circuit_breaker_spare(b, c, cc, false))
            cn_worker_evict(b->w, c);
    }
    if (b->nholds)
        cn_timer_set(&b->spare_timer, next);
}

void cn_circuit_breaker_turns_hold(cn_circuit_breaker_t *b, cn_cluster_t *c, bool holds)
{
    if (!holds) {
        for (uint32_t i = b->nholds; i-- > 0;)
            if (b->holds[i] == c)
                b->holds[i] = b->holds[--b->nholds];
        return;
    }
    if (b->nholds == b->holds_room) {
        b->holds_room = b->holds_room ? 2 * b->holds_room : 8;
        b->holds = cn_xrealloc(b->holds, b->holds_room * sizeof(*b->holds));
    }
    b->holds[b->nholds++] = c;
    if (b->nholds == 1)
        cn_timer_set(&b->spare_timer, LOOK_MS);
}

void cn_circuit_breaker_turns_init(cn_circuit_breaker_t *b)
{
    cn_task_init(&b->spare_task, cn_worker_loop(b->w), run);
    cn_timer_init(&b->spare_timer, &b->spare_task, CN_WAKE_TIMER);
}

void cn_circuit_breaker_turns_fini(cn_circuit_breaker_t *b)
{
    cn_timer_stop(&b->spare_timer);
    cn_task_fini(&b->spare_task);
    free(b->holds);
}
