/* SPDX-License-Identifier: Apache-2.0
 * Claims about event/timer.c; the clock is set by hand, so no test waits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/rand.h"
#include "event/loop_int.h"

typedef struct {
    cn_task_t task;
    cn_timer_t timer;
    int runs;
    uint64_t ran_ms;
} clocked_t;

static void on_wake(cn_task_t *task, uint32_t why)
{
    clocked_t *c = cn_container_of(task, clocked_t, task);
    assert_true(why & CN_WAKE_TIMER);
    c->runs++;
    c->ran_ms = cn_loop_ms(task->loop);
}

static void clocked_init(clocked_t *c, cn_loop_t *loop)
{
    memset(c, 0, sizeof(*c));
    cn_task_init(&c->task, loop, on_wake);
    cn_timer_init(&c->timer, &c->task, CN_WAKE_TIMER);
}

static int setup(void **state)
{
    cn_loop_t *loop = cn_loop_create();
    loop->now_ns = 0;
    *state = loop;
    return 0;
}

static int teardown(void **state)
{
    cn_loop_destroy(*state);
    return 0;
}

static void advance(cn_loop_t *loop, uint64_t to_ms)
{
    loop->now_ns = to_ms * 1000000;
    cn_timer_expire(loop);
    cn_task_pass(loop);
}

static void test_timer_fires_once_when_due_and_not_before(void **state)
{
    cn_loop_t *loop = *state;
    clocked_t c;
    clocked_init(&c, loop);
    cn_timer_set(&c.timer, 10);
    assert_true(cn_timer_is_set(&c.timer));
    assert_int_equal(cn_timer_wait_ms(loop, -1), 10);
    assert_int_equal(cn_timer_wait_ms(loop, 4), 4);
    advance(loop, 9);
    assert_int_equal(c.runs, 0);
    advance(loop, 10);
    assert_int_equal(c.runs, 1);
    assert_false(cn_timer_is_set(&c.timer));
    advance(loop, 1000);
    assert_int_equal(c.runs, 1);
    assert_int_equal(cn_timer_wait_ms(loop, -1), -1);
}

static void test_push_back_leaves_the_heap_alone_and_fires_late(void **state)
{
    cn_loop_t *loop = *state;
    clocked_t c;
    clocked_init(&c, loop);
    cn_timer_set(&c.timer, 10);
    advance(loop, 5);
    cn_timer_set(&c.timer, 10);
    assert_int_equal(loop->heap[0].key_ms, 10);
    advance(loop, 10);
    assert_int_equal(c.runs, 0);
    assert_int_equal(loop->heap[0].key_ms, 15);
    advance(loop, 14);
    assert_int_equal(c.runs, 0);
    advance(loop, 15);
    assert_int_equal(c.runs, 1);
}

static void test_bringing_forward_fires_early(void **state)
{
    cn_loop_t *loop = *state;
    clocked_t c, other;
    clocked_init(&c, loop);
    clocked_init(&other, loop);
    cn_timer_set(&other.timer, 50);
    cn_timer_set(&c.timer, 100);
    cn_timer_set(&c.timer, 200); /* pushed back, then forward of the old key */
    cn_timer_set(&c.timer, 20);
    assert_int_equal(cn_timer_wait_ms(loop, -1), 20);
    advance(loop, 20);
    assert_int_equal(c.runs, 1);
    assert_int_equal(other.runs, 0);
    cn_timer_stop(&other.timer);
}

static void test_bringing_forward_but_not_before_the_old_key(void **state)
{
    cn_loop_t *loop = *state;
    clocked_t c;
    clocked_init(&c, loop);
    cn_timer_set(&c.timer, 10);
    cn_timer_set(&c.timer, 100);
    cn_timer_set(&c.timer, 30);
    advance(loop, 29);
    assert_int_equal(c.runs, 0);
    advance(loop, 30);
    assert_int_equal(c.runs, 1);
}

static void test_stopped_timer_is_silent(void **state)
{
    cn_loop_t *loop = *state;
    clocked_t c;
    clocked_init(&c, loop);
    cn_timer_stop(&c.timer);
    cn_timer_set(&c.timer, 10);
    cn_timer_stop(&c.timer);
    cn_timer_stop(&c.timer);
    assert_false(cn_timer_is_set(&c.timer));
    advance(loop, 100);
    assert_int_equal(c.runs, 0);
}

static void test_endless_timeout_does_not_wrap(void **state)
{
    cn_loop_t *loop = *state;
    clocked_t c;
    clocked_init(&c, loop);
    advance(loop, 1000);
    cn_timer_set(&c.timer, UINT64_MAX);
    advance(loop, 2000);
    assert_int_equal(c.runs, 0);
    assert_int_equal(cn_timer_wait_ms(loop, -1), INT32_MAX);
    cn_timer_stop(&c.timer);
}

/* ---- stop and set again inside run ---- */

typedef struct {
    cn_task_t task;
    cn_timer_t timer;
    clocked_t *victim;
    int left;
} actor_t;

static void on_actor(cn_task_t *task, uint32_t why)
{
    actor_t *a = cn_container_of(task, actor_t, task);
    assert_int_equal(why, CN_WAKE_TIMER);
    if (a->victim)
        cn_timer_stop(&a->victim->timer);
    if (--a->left > 0)
        cn_timer_set(&a->timer, 5);
}

static void test_timer_may_be_set_again_and_others_stopped_inside_run(void **state)
{
    cn_loop_t *loop = *state;
    clocked_t victim;
    actor_t a = {.victim = &victim, .left = 3};
    clocked_init(&victim, loop);
    cn_task_init(&a.task, loop, on_actor);
    cn_timer_init(&a.timer, &a.task, CN_WAKE_TIMER);
    cn_timer_set(&a.timer, 5);
    cn_timer_set(&victim.timer, 6);
    for (uint64_t ms = 1; ms <= 30; ms++)
        advance(loop, ms);
    assert_int_equal(victim.runs, 0);
    assert_int_equal(a.left, 0);
    assert_false(cn_timer_is_set(&a.timer));
}

/* ---- many ---- */

#define MANY 500

static void assert_heap_order(const cn_loop_t *loop)
{
    for (uint32_t i = 0; i < loop->heap_n; i++) {
        assert_int_equal(loop->heap[i].timer->pos, i + 1);
        assert_true(loop->heap[i].key_ms <= loop->heap[i].timer->at_ms);
        if (i > 0)
            assert_true(loop->heap[(i - 1) / 4].key_ms <= loop->heap[i].key_ms);
    }
}

static void test_random_sets_and_stops_fire_each_at_its_time(void **state)
{
    static clocked_t v[MANY];
    uint64_t due[MANY] = {0}; /* 0: not set */
    cn_loop_t *loop = *state;
    cn_rand_t r;
    cn_rand_init(&r, 8);
    for (size_t i = 0; i < MANY; i++)
        clocked_init(&v[i], loop);
    for (uint64_t now = 1; now < 3000; now++) {
        advance(loop, now);
        for (size_t i = 0; i < MANY; i++) {
            if (due[i] != 0 && due[i] <= now) {
                assert_int_equal(v[i].ran_ms, due[i]);
                due[i] = 0;
            }
            assert_int_equal(cn_timer_is_set(&v[i].timer), due[i] != 0);
        }
        for (int k = 0; k < 20; k++) {
            size_t i = cn_rand_below(&r, MANY);
            uint64_t ms = cn_rand_below(&r, 200) + 1;
            if (cn_rand_below(&r, 4) == 0) {
                cn_timer_stop(&v[i].timer);
                due[i] = 0;
            } else {
                cn_timer_set(&v[i].timer, ms);
                due[i] = now + ms;
            }
        }
        assert_heap_order(loop);
    }
    for (size_t i = 0; i < MANY; i++)
        cn_timer_stop(&v[i].timer);
    assert_int_equal(loop->heap_n, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_timer_fires_once_when_due_and_not_before),
        T(test_push_back_leaves_the_heap_alone_and_fires_late),
        T(test_bringing_forward_fires_early),
        T(test_bringing_forward_but_not_before_the_old_key),
        T(test_stopped_timer_is_silent),
        T(test_endless_timeout_does_not_wrap),
        T(test_timer_may_be_set_again_and_others_stopped_inside_run),
        T(test_random_sets_and_stops_fire_each_at_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
