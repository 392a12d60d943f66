/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers in a 4-ary heap of (key, timer): the keys of four children share a
 * cache line, and comparing never touches the timers themselves.
 *
 * Idle timeouts are pushed back with every piece of data and hardly ever
 * expire.  So a push back leaves the heap alone: when the old key is due, the
 * slot gets the timer's present time and sinks.  The heap holds pointers into
 * the owners' objects; an owner stops its timers before it goes.
 *
 * Times are of the timers' own clock, which stands while the process cannot run.
 */
#include "event/loop_int.h"

#include "core/pool.h"

#define HEAP_MIN 64u
#define ARITY 4u

static uint64_t clock_ms(const cn_loop_t *loop)
{
    return cn_loop_ms(loop) - loop->lost_ms;
}

static void place(cn_loop_t *loop, uint32_t i, cn_timer_slot_t slot)
{
    loop->heap[i] = slot;
    slot.timer->pos = i + 1;
}

static void rise(cn_loop_t *loop, uint32_t i, cn_timer_slot_t slot)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / ARITY;
        if (loop->heap[parent].key_ms <= slot.key_ms)
            break;
        place(loop, i, loop->heap[parent]);
        i = parent;
    }
    place(loop, i, slot);
}

static uint32_t least_child(const cn_loop_t *loop, uint32_t first)
{
    uint32_t least = first;
    for (uint32_t c = first + 1; c < first + ARITY && c < loop->heap_n; c++) {
        if (loop->heap[c].key_ms < loop->heap[least].key_ms)
            least = c;
    }
    return least;
}

static void sink(cn_loop_t *loop, uint32_t i, cn_timer_slot_t slot)
{
    uint32_t first = i * ARITY + 1;
    while (first < loop->heap_n) {
        uint32_t least = least_child(loop, first);
        if (loop->heap[least].key_ms >= slot.key_ms)
            break;
        place(loop, i, loop->heap[least]);
        i = least;
        first = i * ARITY + 1;
    }
    place(loop, i, slot);
}

static void take_out(cn_loop_t *loop, cn_timer_t *t)
{
    uint32_t i = t->pos - 1;
    CN_BUG_ON(i >= loop->heap_n || loop->heap[i].timer != t);
    t->pos = 0;
    cn_timer_slot_t last = loop->heap[--loop->heap_n];
    if (i == loop->heap_n)
        return;
    if (i > 0 && last.key_ms < loop->heap[(i - 1) / ARITY].key_ms)
        rise(loop, i, last);
    else
        sink(loop, i, last);
}

void cn_timer_init(cn_timer_t *t, cn_task_t *task, uint32_t why)
{
    *t = (cn_timer_t){.task = task, .why = why};
}

void cn_timer_set(cn_timer_t *t, uint64_t ms)
{
    cn_loop_t *loop = t->task->loop;
    uint64_t now = clock_ms(loop);
    t->at_ms = ms > UINT64_MAX - now ? UINT64_MAX : now + ms;
    cn_timer_slot_t slot = {.key_ms = t->at_ms, .timer = t};

    if (t->pos != 0) {
        if (slot.key_ms < loop->heap[t->pos - 1].key_ms)
            rise(loop, t->pos - 1, slot);
        return;
    }
    if (loop->heap_n == loop->heap_cap) {
        CN_BUG_ON(loop->heap_cap > UINT32_MAX / (2 * ARITY));
        loop->heap_cap = loop->heap_cap ? loop->heap_cap * 2 : HEAP_MIN;
        loop->heap = cn_xrealloc(loop->heap, loop->heap_cap * sizeof(*loop->heap));
    }
    rise(loop, loop->heap_n++, slot);
}

void cn_timer_stop(cn_timer_t *t)
{
    if (t->pos != 0)
        take_out(t->task->loop, t);
}

uint64_t cn_timer_left_ms(const cn_timer_t *t)
{
    uint64_t now = clock_ms(t->task->loop);

    if (!cn_timer_is_set(t))
        return UINT64_MAX;
    return t->at_ms > now ? t->at_ms - now : 0;
}

int cn_timer_wait_ms(const cn_loop_t *loop, int max)
{
    if (loop->heap_n == 0)
        return max;
    uint64_t now = clock_ms(loop), key = loop->heap[0].key_ms;
    uint64_t wait = key > now ? key - now : 0;
    uint64_t bound = max < 0 ? INT32_MAX : (uint64_t)max;
    return (int)(wait < bound ? wait : bound);
}

uint64_t cn_timer_late_ms(const cn_loop_t *loop)
{
    uint64_t now = clock_ms(loop);
    return loop->heap_n > 0 && loop->heap[0].key_ms < now ? now - loop->heap[0].key_ms : 0;
}

void cn_timer_expire(cn_loop_t *loop)
{
    uint64_t now = clock_ms(loop);
    while (loop->heap_n > 0 && loop->heap[0].key_ms <= now) {
        cn_timer_t *t = loop->heap[0].timer;
        if (t->at_ms > now) {
            sink(loop, 0, (cn_timer_slot_t){.key_ms = t->at_ms, .timer = t});
        } else {
            take_out(loop, t);
            cn_task_wake(t->task, t->why);
        }
    }
}
