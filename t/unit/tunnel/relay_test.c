/* SPDX-License-Identifier: Apache-2.0
 * The L4 relay: each direction ends on its own, and neither holds much.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "../fixture/memstream.h"
#include "../fixture/talker.h"
#include "tunnel/tunnel.h"

#define BUDGET 65536u

typedef struct {
    cn_loop_t *loop;
    cn_task_t task;
    cn_relay_t relay;
    cn_stream_t *a, *b;
    cn_talker_t one, two; /* the far ends of a and b */
    cn_rc rc;
    unsigned runs, asked_for_more;
    size_t most;
} fix_t;

static void run(cn_task_t *task, uint32_t why CN_UNUSED)
{
    fix_t *f = cn_container_of(task, fix_t, task);
    size_t held;
    bool more;

    if (f->rc != CN_AGAIN)
        return;
    f->runs++;
    f->rc = cn_relay_run(&f->relay, BUDGET, &more);
    held = f->relay.ab.bytes + f->relay.ba.bytes;
    f->most = held > f->most ? held : f->most;
    f->asked_for_more += more;
    if (more)
        cn_task_wake(task, CN_WAKE_SELF);
}

static void begin(fix_t *f, size_t window)
{
    cn_mempair_t p = cn_memstream_pair(f->loop, window, window);
    cn_mempair_t q = cn_memstream_pair(f->loop, window, window);

    f->rc = CN_AGAIN;
    f->a = p.a;
    f->b = q.a;
    cn_task_init(&f->task, f->loop, run);
    cn_relay_init(&f->relay, f->a, f->b);
    cn_talker_init(&f->one, f->loop, p.b);
    cn_talker_init(&f->two, f->loop, q.b);
    f->one.seed = f->two.peer_seed = 3;
    f->two.seed = f->one.peer_seed = 101;
    cn_stream_own(f->a, &f->task);
    cn_stream_own(f->b, &f->task);
}

static int setup(void **state)
{
    fix_t *f = cn_xzalloc(sizeof(*f));

    f->loop = cn_loop_create();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fix_t *f = *state;

    cn_task_fini(&f->task);
    cn_relay_fini(&f->relay);
    cn_stream_close(f->a, false);
    cn_stream_close(f->b, false);
    cn_talker_fini(&f->one, false);
    cn_talker_fini(&f->two, false);
    cn_loop_destroy(f->loop);
    free(f);
    return 0;
}

static void test_much_passes_both_ways_unchanged(void **state)
{
    fix_t *f = *state;

    begin(f, 3001);
    cn_talker_send(&f->one, 1000000, true);
    cn_talker_send(&f->two, 700000, true);
    while (f->rc == CN_AGAIN && f->runs < 100000)
        cn_talker_settle(f->loop);
    assert_int_equal(f->rc, CN_DONE);
    assert_int_equal(f->two.got, 1000000);
    assert_int_equal(f->one.got, 700000);
    assert_false(f->one.garbled || f->two.garbled);
    assert_true(f->one.ended && f->two.ended);
}

static void test_one_direction_ends_and_the_other_goes_on(void **state)
{
    fix_t *f = *state;

    begin(f, SIZE_MAX);
    cn_talker_send(&f->one, 10, true);
    cn_talker_settle(f->loop);
    assert_true(f->two.ended);
    assert_false(f->one.ended);
    assert_int_equal(f->rc, CN_AGAIN);
    cn_talker_send(&f->two, 20, true);
    cn_talker_settle(f->loop);
    assert_int_equal(f->one.got, 20);
    assert_true(f->one.ended);
    assert_int_equal(f->rc, CN_DONE);
}

static void test_the_end_comes_after_everything_held(void **state)
{
    fix_t *f = *state;

    begin(f, 100);
    f->two.deaf = true;
    cn_talker_send(&f->one, 5000, true);
    cn_talker_settle(f->loop);
    assert_false(cn_memstream_peer_shut(f->two.s));
    f->two.deaf = false;
    cn_talker_poke(&f->two);
    cn_talker_settle(f->loop);
    assert_int_equal(f->two.got, 5000);
    assert_true(f->two.ended);
}

static void test_a_side_that_does_not_read_stops_the_other(void **state)
{
    fix_t *f = *state;

    begin(f, 10000);
    f->two.deaf = true;
    cn_talker_send(&f->one, 1000000, false);
    cn_talker_settle(f->loop);
    assert_true(f->one.to_send > 800000);
    assert_true(f->most <= 65536);
    assert_int_equal(f->rc, CN_AGAIN);
    /* and does not hold up the way back */
    cn_talker_send(&f->two, 50, false);
    cn_talker_settle(f->loop);
    assert_int_equal(f->one.got, 50);
}

static void test_a_budget_is_kept_and_more_is_asked_for(void **state)
{
    fix_t *f = *state;

    begin(f, SIZE_MAX);
    cn_talker_send(&f->one, 1000000, false);
    cn_talker_settle(f->loop);
    assert_int_equal(f->two.got, 1000000);
    assert_true(f->asked_for_more > 3);
}

static void test_a_reset_of_either_side_is_told(void **state)
{
    fix_t *f = *state;

    begin(f, SIZE_MAX);
    cn_memstream_fail(f->b, CN_SERR_RESET);
    cn_talker_settle(f->loop);
    assert_int_equal(f->rc, CN_ERR);
    assert_int_equal(f->b->err, CN_SERR_RESET);
    assert_int_equal(f->a->err, CN_SERR_NONE);
}

static void test_a_reset_after_the_end_is_told(void **state)
{
    fix_t *f = *state;

    begin(f, SIZE_MAX);
    cn_talker_send(&f->one, 0, true);
    cn_talker_settle(f->loop);
    assert_true(f->two.ended);
    cn_memstream_fail(f->a, CN_SERR_RESET);
    cn_talker_settle(f->loop);
    assert_int_equal(f->rc, CN_ERR);
}

/* As an HTTP/2 server says END_STREAM and RST_STREAM (NO_ERROR). */
static void test_a_side_that_has_said_all_and_takes_no_more_is_delivered(void **state)
{
    fix_t *f = *state;

    begin(f, SIZE_MAX);
    cn_talker_send(&f->two, 50, true);
    cn_memstream_had_enough(f->b);
    cn_talker_settle(f->loop);
    assert_int_equal(f->one.got, 50);
    assert_true(f->one.ended);
    assert_int_equal(f->rc, CN_DONE);
}

static void test_what_is_said_to_a_side_that_takes_no_more_is_forgotten(void **state)
{
    fix_t *f = *state;

    begin(f, 100);
    f->one.deaf = true;
    cn_talker_send(&f->two, 150, true);
    cn_talker_settle(f->loop);
    cn_talker_send(&f->one, 70, false);
    cn_memstream_had_enough(f->b);
    cn_talker_settle(f->loop);
    assert_int_equal(f->rc, CN_AGAIN);
    f->one.deaf = false;
    cn_talker_poke(&f->one);
    cn_talker_settle(f->loop);
    assert_int_equal(f->one.got, 150);
    assert_true(f->one.ended);
    assert_int_equal(f->rc, CN_DONE);
}

static void test_a_side_that_ended_and_reads_slowly_gets_everything(void **state)
{
    fix_t *f = *state;

    begin(f, 100);
    f->one.deaf = true;
    cn_talker_send(&f->one, 10, true);
    cn_talker_send(&f->two, 5000, true);
    cn_talker_settle(f->loop);
    assert_true(f->two.ended);
    cn_task_wake(&f->task, CN_WAKE_TIMER); /* a wake for another reason than writing */
    cn_talker_settle(f->loop);
    f->one.deaf = false;
    cn_talker_poke(&f->one);
    cn_talker_settle(f->loop);
    assert_int_equal(f->one.got, 5000);
    assert_int_equal(f->rc, CN_DONE);
}

static void test_a_reset_of_a_side_that_was_stopped_is_told(void **state)
{
    fix_t *f = *state;

    begin(f, 1000);
    f->two.deaf = true;
    cn_talker_send(&f->one, 1000000, false);
    cn_talker_settle(f->loop);
    assert_int_equal(f->rc, CN_AGAIN);
    cn_memstream_fail(f->a, CN_SERR_RESET);
    cn_talker_settle(f->loop);
    assert_int_equal(f->rc, CN_ERR);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_much_passes_both_ways_unchanged),
        T(test_one_direction_ends_and_the_other_goes_on),
        T(test_the_end_comes_after_everything_held),
        T(test_a_side_that_does_not_read_stops_the_other),
        T(test_a_budget_is_kept_and_more_is_asked_for),
        T(test_a_reset_of_either_side_is_told),
        T(test_a_reset_after_the_end_is_told),
        T(test_a_side_that_has_said_all_and_takes_no_more_is_delivered),
        T(test_what_is_said_to_a_side_that_takes_no_more_is_forgotten),
        T(test_a_side_that_ended_and_reads_slowly_gets_everything),
        T(test_a_reset_of_a_side_that_was_stopped_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
