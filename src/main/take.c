/* SPDX-License-Identifier: Apache-2.0
 *
 * Each configuration is taken by a fiber, because reading one is deep in calls
 * when half a millisecond is over.  The worker's generation changes within one
 * piece of it, so requests between two pieces see the one or the other.
 *
 *   IDLE     nothing to do
 *   TAKING   a fiber has begun; its task runs once in each turn of the loop
 *
 * When the worker is to end, what has begun is finished first: half a
 * configuration has no owner.  When it dies, the one that comes after it loads
 * all of it anew.
 */
#include "main/take.h"

#include <stdlib.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "event/loop.h"
#include "os/fiber.h"

#define PIECE_NS 500000u

typedef struct {
    cn_list_t link;
    bool whole;
    int fd;
    uint64_t number;
} order_t;

struct cn_take {
    cn_worker_t *w;
    const cn_reload_source_t *source;
    cn_take_told_cb *told;
    void *ctx;
    cn_task_t task;
    cn_timer_t next;   /* 0 ms: in the next turn of the loop, after its events */
    cn_list_t waiting; /* order_t */
    order_t *order;    /* being taken */
    cn_fiber_t *fiber; /* NULL: IDLE */
    cn_pause_t pause;
    bool hurry;
    bool freed;        /* nobody has asked since a whole one was taken */
    uint64_t piece_ns; /* when this piece began */
    uint64_t longest_ns;
    cn_rc rc;
    cn_pool_t *pool;
    cn_str_t why;
};

/* ---- what is done ---- */

static cn_rc take_whole(cn_take_t *t, int fd, uint64_t number, cn_pool_t *pool, cn_str_t *why)
{
    cn_worker_t *w = t->w;
    cn_gen_t *gen;

    if (cn_reload_open(t->source, fd, false, w->gen, w->pause, pool, &gen, why) != CN_OK)
        return CN_ERR;
    gen->id = number;
    cn_rc rc = cn_worker_apply(w, gen, pool, why);
    cn_gen_drop(gen, w->pause);
    return rc;
}

static cn_rc take_part(cn_take_t *t, int fd, uint64_t number, cn_pool_t *pool, cn_str_t *why)
{
    cn_patch_t *patch;

    *why = CN_STR("the change does not fit the configuration in force");
    if (t->w->gen->id + 1 != number ||
        cn_reload_open_part(t->source, fd, t->w->gen, &patch) != CN_OK)
        return CN_ERR;
    cn_rc rc = cn_worker_patch(t->w, patch, number, pool, why);
    cn_patch_destroy(patch);
    return rc;
}

cn_rc cn_take_now(cn_take_t *t, bool whole, int fd, uint64_t number, cn_pool_t *pool, cn_str_t *why)
{
    CN_BUG_ON(t->fiber);
    return whole ? take_whole(t, fd, number, pool, why) : take_part(t, fd, number, pool, why);
}

/* ---- piece by piece ---- */

static void on_pause(void *ctx)
{
    cn_take_t *t = ctx;

    if (!t->hurry && cn_clock_mono_ns() - t->piece_ns >= PIECE_NS)
        cn_fiber_pause(t->fiber);
}

static void run_fiber(void *arg)
{
    cn_take_t *t = arg;
    const order_t *o = t->order;

    t->rc = o->whole ? take_whole(t, o->fd, o->number, t->pool, &t->why)
                     : take_part(t, o->fd, o->number, t->pool, &t->why);
}

/* Without memory for a stack it is done in one go. */
static bool run_piece(cn_take_t *t)
{
    uint64_t began = cn_clock_cpu_ns(), took;
    bool ended = true;

    t->piece_ns = cn_clock_mono_ns();
    if (t->fiber)
        ended = cn_fiber_resume(t->fiber);
    else
        run_fiber(t);
    took = cn_clock_cpu_ns() - began;
    if (took > t->longest_ns)
        t->longest_ns = took;
    return ended;
}

static void begin(cn_take_t *t)
{
    t->order = cn_list_entry(t->waiting.next, order_t, link);
    cn_list_remove(&t->order->link);
    t->pool = cn_pool_exempt(cn_pool_create(0));
    t->why = CN_STR_NULL;
    t->longest_ns = 0;
    t->fiber = cn_fiber_create(run_fiber, t);
    t->w->pause = t->fiber ? &t->pause : NULL;
}

static void free_order(order_t *o)
{
    close(o->fd);
    free(o);
}

static void finish(cn_take_t *t)
{
    order_t *o = t->order;

    t->order = NULL;
    t->w->pause = NULL;
    cn_fiber_destroy(t->fiber);
    t->fiber = NULL;
    uint64_t number = o->number;
    t->freed |= o->whole;
    free_order(o);
    t->told(t->ctx, number, t->rc, t->why);
    cn_pool_destroy(t->pool);
}

static void step(cn_take_t *t)
{
    if (!t->order) {
        if (cn_list_empty(&t->waiting))
            return;
        begin(t);
    }
    if (run_piece(t))
        finish(t);
    if (t->order || !cn_list_empty(&t->waiting))
        cn_timer_set(&t->next, 0);
}

static void run(cn_task_t *task, uint32_t why CN_UNUSED)
{
    step(cn_container_of(task, cn_take_t, task));
}

/* ---- for the worker ---- */

cn_take_t *cn_take_create(cn_worker_t *w, const cn_reload_source_t *source, cn_take_told_cb *told,
                          void *ctx)
{
    cn_take_t *t = cn_xzalloc(sizeof(*t));

    t->w = w;
    t->source = source;
    t->told = told;
    t->ctx = ctx;
    t->pause = (cn_pause_t){on_pause, t};
    cn_list_init(&t->waiting);
    cn_task_init(&t->task, w->loop, run);
    cn_timer_init(&t->next, &t->task, CN_WAKE_TIMER);
    return t;
}

static void drop_waiting(cn_take_t *t)
{
    while (!cn_list_empty(&t->waiting)) {
        order_t *o = cn_list_entry(t->waiting.next, order_t, link);

        cn_list_remove(&o->link);
        free_order(o);
    }
}

static void complete(cn_take_t *t)
{
    while (t->order)
        step(t);
}

void cn_take_destroy(cn_take_t *t)
{
    if (!t)
        return;
    drop_waiting(t);
    t->hurry = true;
    complete(t);
    cn_timer_stop(&t->next);
    cn_task_fini(&t->task);
    free(t);
}

void cn_take_add(cn_take_t *t, bool whole, int fd, uint64_t number)
{
    order_t *o = cn_xmalloc(sizeof(*o));

    *o = (order_t){.whole = whole, .fd = fd, .number = number};
    cn_list_init(&o->link);
    if (whole)
        drop_waiting(t); /* it says all that they would have */
    cn_list_push(&t->waiting, &o->link);
    if (!t->order)
        step(t);
}

void cn_take_hurry(cn_take_t *t, bool hurry)
{
    t->hurry = hurry;
    while (hurry && (t->order || !cn_list_empty(&t->waiting)))
        step(t);
}

uint64_t cn_take_longest_us(const cn_take_t *t)
{
    return t->longest_ns / 1000;
}

bool cn_take_freed(cn_take_t *t)
{
    bool freed = t->freed && !t->order;

    t->freed &= !freed;
    return freed;
}
