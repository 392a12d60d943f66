/* SPDX-License-Identifier: Apache-2.0
 *
 * The round: wait, set flags, expire timers, run tasks, free what was retired.
 *
 * A round runs passes over the queue until it is empty.  Tasks that keep
 * waking each other or themselves must not shut out timers and descriptors, so
 * a round also ends after PASSES_MAX passes, or after the first pass with which
 * RUNS_MAX task runs are reached; the next one then does not wait.
 *
 * What was retired is freed when the queue is empty.  If it never is, then
 * after two more passes: whatever was queued when the object ended, and
 * whatever that woke in turn, has run by then.
 *
 * A process that was stopped, or had no processor, finds all its timers due at
 * once, and what its peers did meanwhile in the sockets.  Then timers go on from
 * where they were, and not before a round without events: nobody is cut off for
 * time that we have lost.
 *
 * A loop belongs to the process that created it; do not fork with one.
 */
#include "event/loop_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/pool.h"

#define PASSES_MAX 32
#define RUNS_MAX 256
#define RETIRED_MIN 64u
/* No turn of ours takes so long. */
#define LATE_MS 1000u
#define LATE_ROUNDS 256u

/* A process without a loop is of no use, and whoever started it tells on. */
static CN_NORETURN void give_up(void)
{
    fprintf(stderr, "cairn: the system gives no epoll instance: %s\n", strerror(errno));
    _exit(1);
}

cn_loop_t *cn_loop_create(void)
{
    cn_loop_t *loop = cn_xzalloc(sizeof(*loop));
    loop->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epfd < 0)
        give_up();
    cn_list_init(&loop->queue);
    cn_list_init(&loop->leavers);
    loop->now_ns = cn_clock_mono_ns();
    return loop;
}

/* Frees the leading n entries.  A freeing function may retire more. */
static void free_retired(cn_loop_t *loop, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cn_retired_t r = loop->retired[i];
        r.fn(r.p);
    }
    loop->retired_n -= n;
    for (size_t i = 0; i < loop->retired_n; i++)
        loop->retired[i] = loop->retired[n + i];
}

static void free_settled(cn_loop_t *loop)
{
    size_t n = loop->retired_n;
    if (n > 0 && !cn_list_empty(&loop->queue)) {
        for (n = 0; n < loop->retired_n; n++) {
            if (loop->retired[n].pass + 3 > loop->pass)
                break;
        }
    }
    if (n > 0)
        free_retired(loop, n);
}

void cn_loop_destroy(cn_loop_t *loop)
{
    if (!loop)
        return;
    while (!cn_list_empty(&loop->leavers)) {
        cn_leaver_t *l = cn_list_entry(loop->leavers.next, cn_leaver_t, link);
        cn_list_remove(&l->link);
        l->fn(l);
    }
    while (loop->retired_n > 0)
        free_retired(loop, loop->retired_n);
    close(loop->epfd);
    free(loop->heap);
    free(loop->slots);
    free(loop->retired);
    free(loop);
}

static void end_turn(cn_loop_t *loop, uint64_t began_ns)
{
    if (loop->now_ns - began_ns > loop->longest_ns && loop->pass > 0)
        loop->longest_ns = loop->now_ns - began_ns;
}

uint64_t cn_loop_longest_ns(cn_loop_t *loop)
{
    uint64_t ns = loop->longest_ns;

    loop->longest_ns = 0;
    return ns;
}

uint64_t cn_loop_lost_ms(const cn_loop_t *loop)
{
    return loop->lost_ms;
}

/* Returns whether there were any. */
static bool collect_events(cn_loop_t *loop, int max_ms)
{
    uint64_t began_ns = loop->now_ns;
    bool idle = cn_list_empty(&loop->queue);
    int wait = 0;

    if (idle) {
        loop->now_ns = cn_clock_mono_ns();
        end_turn(loop, began_ns);
        wait = cn_timer_wait_ms(loop, max_ms);
    }
    int n = epoll_wait(loop->epfd, loop->events, CN_LOOP_EVENTS, wait);
    CN_BUG_ON(n < 0 && errno != EINTR);
    loop->now_ns = cn_clock_mono_ns();
    if (!idle)
        end_turn(loop, began_ns);
    for (int i = 0; i < n; i++)
        cn_io_event(loop, &loop->events[i]);
    return n > 0;
}

static void make_up_for(cn_loop_t *loop, uint64_t late_ms)
{
    loop->lost_ms += late_ms;
    loop->late_left = LATE_ROUNDS;
    if (loop->pass > 0) /* else we were not asked to run before */
        cn_log(CN_LOG_WARN, "loop", "this process did not run for %llu ms",
               (unsigned long long)late_ms);
}

/* The number of rounds is bounded, since events may come all the time. */
static bool may_expire(cn_loop_t *loop, bool events)
{
    uint64_t late_ms = cn_timer_late_ms(loop);

    if (late_ms > LATE_MS) {
        make_up_for(loop, late_ms);
        return false; /* a wait that was interrupted tells of no events */
    }
    if (loop->late_left > 0 && (events || !cn_list_empty(&loop->queue)))
        return --loop->late_left == 0;
    loop->late_left = 0;
    return true;
}

void cn_loop_round(cn_loop_t *loop, int max_ms)
{
    size_t runs = 0;

    bool events = collect_events(loop, max_ms);
    if (may_expire(loop, events))
        cn_timer_expire(loop);
    for (int i = 0; i < PASSES_MAX && runs < RUNS_MAX; i++) {
        if (cn_list_empty(&loop->queue))
            break;
        runs += cn_task_pass(loop);
        free_settled(loop);
    }
    free_settled(loop);
}

void cn_loop_run(cn_loop_t *loop)
{
    while (!loop->stop)
        cn_loop_round(loop, -1);
    loop->stop = false;
}

void cn_loop_stop(cn_loop_t *loop)
{
    loop->stop = true;
}

uint64_t cn_loop_ms(const cn_loop_t *loop)
{
    return loop->now_ns / 1000000;
}

uint64_t cn_loop_ns(const cn_loop_t *loop)
{
    return loop->now_ns;
}

void cn_loop_retire(cn_loop_t *loop, void (*fn)(void *), void *p)
{
    if (loop->retired_n == loop->retired_cap) {
        loop->retired_cap = loop->retired_cap ? loop->retired_cap * 2 : RETIRED_MIN;
        loop->retired = cn_xrealloc(loop->retired, loop->retired_cap * sizeof(*loop->retired));
    }
    loop->retired[loop->retired_n++] = (cn_retired_t){.fn = fn, .p = p, .pass = loop->pass};
}

void cn_loop_leave(cn_loop_t *loop, cn_leaver_t *l, void (*fn)(cn_leaver_t *))
{
    l->fn = fn;
    cn_list_push(&loop->leavers, &l->link);
}
