/* SPDX-License-Identifier: Apache-2.0
 * Claims about event/task.c and event/loop.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/pool.h"
#include "event/loop_int.h"

static char trace[64]; /* which tasks ran, in order */

static void note(char c)
{
    size_t n = strlen(trace);
    assert_true(n + 1 < sizeof(trace));
    trace[n] = c;
    trace[n + 1] = '\0';
}

typedef struct player {
    cn_task_t task;
    char name;
    uint32_t why;        /* of the last run */
    int again;           /* times to wake itself */
    struct player *wake; /* to wake once */
    struct player *fini; /* to take out of the queue */
} player_t;

static void on_play(cn_task_t *task, uint32_t why)
{
    player_t *p = cn_container_of(task, player_t, task);
    note(p->name);
    p->why = why;
    if (p->again > 0) {
        p->again--;
        cn_task_wake(task, CN_WAKE_SELF);
    }
    if (p->wake)
        cn_task_wake(&p->wake->task, CN_WAKE_STATE);
    p->wake = NULL;
    if (p->fini)
        cn_task_fini(&p->fini->task);
}

static void player_init(player_t *p, cn_loop_t *loop, char name)
{
    *p = (player_t){.name = name};
    cn_task_init(&p->task, loop, on_play);
}

static int setup(void **state)
{
    trace[0] = '\0';
    *state = cn_loop_create();
    return 0;
}

static int teardown(void **state)
{
    cn_loop_destroy(*state);
    return 0;
}

static void test_tasks_run_once_in_order_with_all_reasons(void **state)
{
    player_t a, b;
    player_init(&a, *state, 'a');
    player_init(&b, *state, 'b');
    cn_task_wake(&b.task, CN_WAKE_READ);
    cn_task_wake(&a.task, CN_WAKE_READ);
    cn_task_wake(&b.task, CN_WAKE_WRITE);
    assert_string_equal(trace, "");
    cn_loop_round(*state, 0);
    assert_string_equal(trace, "ba");
    assert_int_equal(b.why, CN_WAKE_READ | CN_WAKE_WRITE);
    assert_int_equal(a.why, CN_WAKE_READ);
    cn_loop_round(*state, 0);
    assert_string_equal(trace, "ba");
}

static void test_tasks_woken_in_the_round_run_in_the_round(void **state)
{
    player_t a, b, c;
    player_init(&a, *state, 'a');
    player_init(&b, *state, 'b');
    player_init(&c, *state, 'c');
    a.wake = &c;
    cn_task_wake(&a.task, 0);
    cn_task_wake(&b.task, 0);
    cn_loop_round(*state, 0);
    assert_string_equal(trace, "abc");
}

static void test_task_that_wakes_itself_goes_to_the_end(void **state)
{
    player_t a, b;
    player_init(&a, *state, 'a');
    player_init(&b, *state, 'b');
    a.again = 2;
    cn_task_wake(&a.task, CN_WAKE_READ);
    cn_task_wake(&b.task, 0);
    cn_loop_round(*state, 0);
    assert_string_equal(trace, "abaa");
    assert_int_equal(a.why, CN_WAKE_SELF);
}

static void test_fini_takes_a_woken_task_out(void **state)
{
    player_t a, b;
    player_init(&a, *state, 'a');
    player_init(&b, *state, 'b');
    a.fini = &b;
    cn_task_wake(&a.task, 0);
    cn_task_wake(&b.task, CN_WAKE_READ);
    cn_loop_round(*state, 0);
    assert_string_equal(trace, "a");
    cn_task_wake(&b.task, CN_WAKE_WRITE);
    cn_loop_round(*state, 0);
    assert_string_equal(trace, "ab");
    assert_int_equal(b.why, CN_WAKE_WRITE);
}

static void on_free_itself(cn_task_t *task, uint32_t why)
{
    (void)why;
    note('f');
    free(task);
}

static void test_task_may_free_itself_in_run(void **state)
{
    cn_task_t *t = cn_xmalloc(sizeof(*t));
    cn_task_init(t, *state, on_free_itself);
    cn_task_wake(t, 0);
    cn_loop_round(*state, 0);
    assert_string_equal(trace, "f");
}

/* ---- fairness ---- */

typedef struct {
    cn_task_t task;
    cn_timer_t timer;
    uint64_t runs, timer_at;
} spinner_t;

static void on_spin(cn_task_t *task, uint32_t why)
{
    spinner_t *s = cn_container_of(task, spinner_t, task);
    s->runs++;
    if (why & CN_WAKE_TIMER) {
        s->timer_at = s->runs;
        cn_loop_stop(task->loop);
    }
    cn_task_wake(task, CN_WAKE_SELF);
}

static void test_busy_task_ends_the_round_and_does_not_starve_timers(void **state)
{
    spinner_t s = {.runs = 0};
    cn_task_init(&s.task, *state, on_spin);
    cn_timer_init(&s.timer, &s.task, CN_WAKE_TIMER);
    cn_task_wake(&s.task, 0);
    cn_loop_round(*state, -1);
    assert_in_range(s.runs, 2, 10000);
    cn_timer_set(&s.timer, 1);
    cn_loop_run(*state);
    assert_true(s.timer_at > 0);
    cn_task_fini(&s.task);
}

static void test_many_busy_tasks_run_once_between_polls(void **state)
{
    static spinner_t v[300];
    uint64_t runs = 0;
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        v[i].runs = 0;
        cn_task_init(&v[i].task, *state, on_spin);
        cn_task_wake(&v[i].task, 0);
    }
    cn_loop_round(*state, 0);
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        runs += v[i].runs;
        cn_task_fini(&v[i].task);
    }
    assert_int_equal(runs, CN_COUNT(v));
}

/* ---- retiring ---- */

typedef struct {
    cn_loop_t *loop;
    int freed;
} grave_t;

static void bury(void *p)
{
    ((grave_t *)p)->freed++;
    note('F');
}

static void bury_twice(void *p)
{
    grave_t *g = p;
    g->freed++;
    cn_loop_retire(g->loop, bury, g);
}

typedef struct {
    cn_task_t task;
    grave_t *grave;
    player_t *wake;
} ender_t;

static void on_end(cn_task_t *task, uint32_t why)
{
    ender_t *e = cn_container_of(task, ender_t, task);
    (void)why;
    note('e');
    cn_loop_retire(task->loop, bury, e->grave);
    if (e->wake)
        cn_task_wake(&e->wake->task, 0);
}

static void test_retired_is_freed_after_the_tasks_of_the_round(void **state)
{
    player_t a;
    grave_t g = {.loop = *state};
    ender_t e = {.grave = &g, .wake = &a};
    player_init(&a, *state, 'a');
    cn_task_init(&e.task, *state, on_end);
    a.again = 3;
    cn_task_wake(&e.task, 0);
    cn_loop_round(*state, 0);
    assert_int_equal(g.freed, 1);
    assert_int_equal(trace[0], 'e');
    assert_non_null(strchr(trace, 'F'));
    assert_true(strchr(trace, 'F') > strchr(trace, 'a'));
}

static void test_retired_is_freed_though_the_queue_never_empties(void **state)
{
    spinner_t s = {.runs = 0};
    grave_t g = {.loop = *state};
    cn_task_init(&s.task, *state, on_spin);
    cn_task_wake(&s.task, 0);
    cn_loop_retire(*state, bury, &g);
    cn_loop_round(*state, 0);
    assert_int_equal(g.freed, 1);
    cn_task_fini(&s.task);
}

static void test_freeing_may_retire_more_and_destroy_frees_the_rest(void **state)
{
    cn_loop_t *loop = cn_loop_create();
    grave_t g = {.loop = loop};
    (void)state;
    for (int i = 0; i < 20; i++)
        cn_loop_retire(loop, bury_twice, &g);
    cn_loop_round(loop, 0);
    cn_loop_round(loop, 0);
    assert_int_equal(g.freed, 40);
    cn_loop_retire(loop, bury_twice, &g);
    cn_loop_destroy(loop);
    assert_int_equal(g.freed, 42);
}

typedef struct {
    cn_leaver_t leaver;
    int ended;
} leaving_t;

static void end_leaving(cn_leaver_t *l)
{
    cn_container_of(l, leaving_t, leaver)->ended++;
}

static void test_destroy_ends_those_who_still_leave(void **state)
{
    cn_loop_t *loop = cn_loop_create();
    leaving_t stays = {.ended = 0}, gone = {.ended = 0};
    (void)state;
    cn_loop_leave(loop, &stays.leaver, end_leaving);
    cn_loop_leave(loop, &gone.leaver, end_leaving);
    cn_list_remove(&gone.leaver.link);
    cn_loop_round(loop, 0);
    assert_int_equal(stays.ended, 0);
    cn_loop_destroy(loop);
    assert_int_equal(stays.ended, 1);
    assert_int_equal(gone.ended, 0);
    cn_loop_destroy(NULL);
}

static void test_time_stands_still_within_a_round(void **state)
{
    cn_loop_t *loop = *state;
    uint64_t before = cn_loop_ns(loop);
    assert_true(before == cn_loop_ns(loop));
    cn_loop_round(loop, 0);
    assert_true(cn_loop_ns(loop) >= before);
    assert_int_equal(cn_loop_ms(loop), cn_loop_ns(loop) / 1000000);
}

/* ---- a process that was stopped ---- */

/* Waits for a byte, but not for ever. */
typedef struct {
    cn_task_t task;
    cn_timer_t limit;
    cn_io_t io;
    int fds[2];
    int got, cut;
    bool restless; /* keeps the queue busy */
} waiter_t;

static void on_waiter(cn_task_t *task, uint32_t why)
{
    waiter_t *w = cn_container_of(task, waiter_t, task);
    char c;

    w->cut += (why & CN_WAKE_TIMER) != 0;
    if (read(w->fds[0], &c, 1) == 1) {
        w->got++;
        cn_timer_stop(&w->limit);
    }
    if (w->restless)
        cn_task_wake(task, CN_WAKE_SELF);
}

/* Its limit of 10 ms was set 5 s ago, and no round was made since. */
static void stopped_waiter(waiter_t *w, cn_loop_t *loop)
{
    *w = (waiter_t){.got = 0};
    assert_int_equal(pipe2(w->fds, O_NONBLOCK | O_CLOEXEC), 0);
    cn_task_init(&w->task, loop, on_waiter);
    cn_timer_init(&w->limit, &w->task, CN_WAKE_TIMER);
    assert_int_equal(cn_io_open(&w->io, loop, w->fds[0], &w->task), CN_OK);
    cn_loop_round(loop, 0);
    loop->now_ns -= 5000000000u;
    cn_timer_set(&w->limit, 10);
}

static void end_waiter(waiter_t *w)
{
    cn_timer_stop(&w->limit);
    cn_io_close(&w->io);
    cn_task_fini(&w->task);
    close(w->fds[0]);
    close(w->fds[1]);
}

static void test_what_came_while_we_were_stopped_came_in_time(void **state)
{
    cn_loop_t *loop = *state;
    waiter_t w;

    stopped_waiter(&w, loop);
    assert_int_equal(write(w.fds[1], "x", 1), 1);
    for (int i = 0; i < 10; i++)
        cn_loop_round(loop, 0);
    assert_int_equal(w.got, 1);
    assert_int_equal(w.cut, 0);
    end_waiter(&w);
}

static void test_what_did_not_come_is_not_waited_for_longer(void **state)
{
    cn_loop_t *loop = *state;
    waiter_t w;
    cn_timer_t other;

    stopped_waiter(&w, loop);
    cn_timer_init(&other, &w.task, CN_WAKE_USER);
    cn_timer_set(&other, 60000);
    cn_loop_round(loop, 0);
    assert_int_equal(w.cut, 0);
    cn_loop_round(loop, -1);
    assert_int_equal(w.cut, 1);
    /* Nobody else's time ran while we were stopped. */
    assert_in_range(cn_timer_wait_ms(loop, -1), 58000, 60000);
    cn_timer_stop(&other);
    end_waiter(&w);
}

static void test_events_without_end_do_not_hold_timers_for_ever(void **state)
{
    cn_loop_t *loop = *state;
    waiter_t w;
    int rounds = 0;

    stopped_waiter(&w, loop);
    w.restless = true;
    cn_task_wake(&w.task, CN_WAKE_SELF);
    for (; !w.cut && rounds < 1000; rounds++)
        cn_loop_round(loop, 0);
    assert_in_range(rounds, 100, 300);
    w.restless = false;
    end_waiter(&w);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_tasks_run_once_in_order_with_all_reasons),
        T(test_tasks_woken_in_the_round_run_in_the_round),
        T(test_task_that_wakes_itself_goes_to_the_end),
        T(test_fini_takes_a_woken_task_out),
        T(test_task_may_free_itself_in_run),
        T(test_busy_task_ends_the_round_and_does_not_starve_timers),
        T(test_many_busy_tasks_run_once_between_polls),
        T(test_retired_is_freed_after_the_tasks_of_the_round),
        T(test_retired_is_freed_though_the_queue_never_empties),
        T(test_freeing_may_retire_more_and_destroy_frees_the_rest),
        T(test_destroy_ends_those_who_still_leave),
        T(test_time_stands_still_within_a_round),
        T(test_what_came_while_we_were_stopped_came_in_time),
        T(test_what_did_not_come_is_not_waited_for_longer),
        T(test_events_without_end_do_not_hold_timers_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
