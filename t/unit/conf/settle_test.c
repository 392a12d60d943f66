/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/settle.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define QUIET 100u

static void test_nothing_moved_is_never_over(void **state)
{
    cn_settle_t s;

    (void)state;
    cn_settle_init(&s, QUIET);
    assert_false(cn_settle_is_over(&s, 1u << 30));
    assert_true(cn_settle_at(&s) == UINT64_MAX);
}

static void test_a_burst_is_over_when_it_has_been_quiet(void **state)
{
    cn_settle_t s;

    (void)state;
    cn_settle_init(&s, QUIET);
    cn_settle_moved(&s, 1000);
    cn_settle_moved(&s, 1090);
    assert_false(cn_settle_is_over(&s, 1189));
    assert_int_equal(cn_settle_at(&s), 1190);
    assert_true(cn_settle_is_over(&s, 1190));
    cn_settle_close(&s);
    assert_false(cn_settle_is_over(&s, 5000));
}

static void test_what_never_ends_is_over_after_ten_times_that(void **state)
{
    cn_settle_t s;
    uint64_t now = 1000;

    (void)state;
    cn_settle_init(&s, QUIET);
    for (; now < 1000 + 10 * QUIET; now += 50) {
        cn_settle_moved(&s, now);
        assert_false(cn_settle_is_over(&s, now));
    }
    cn_settle_moved(&s, now);
    assert_true(cn_settle_is_over(&s, now));
    assert_true(cn_settle_tell(&s, 7, now));
    /* The next burst has the same time. */
    cn_settle_moved(&s, now + 10);
    assert_int_equal(cn_settle_at(&s), now + 10 + QUIET);
}

static void test_what_has_to_wait_is_not_over_before(void **state)
{
    cn_settle_t s;

    (void)state;
    cn_settle_init(&s, QUIET);
    cn_settle_moved(&s, 1000);
    cn_settle_wait(&s, 9000);
    assert_false(cn_settle_is_over(&s, 8999));
    assert_true(cn_settle_is_over(&s, 9000));
    assert_true(cn_settle_tell(&s, 7, 9000));
    cn_settle_moved(&s, 9500);
    assert_int_equal(cn_settle_at(&s), 9500 + QUIET);
}

/* Moves and comes to `what` until it may be told; returns when. */
static uint64_t told_at(cn_settle_t *s, uint64_t what, uint64_t now)
{
    cn_settle_moved(s, now);
    for (;;) {
        now = cn_settle_at(s);
        if (cn_settle_tell(s, what, now))
            return now;
    }
}

static void test_the_same_again_is_told_later_and_later(void **state)
{
    cn_settle_t s;
    uint64_t before, now;

    (void)state;
    cn_settle_init(&s, QUIET);
    before = told_at(&s, 7, 1000);
    assert_int_equal(before, 1000 + QUIET);
    for (uint64_t pause = 1000; pause <= 64000; pause *= 2) {
        now = told_at(&s, 7, before);
        assert_int_equal(now - before, pause);
        before = now;
    }
    now = told_at(&s, 7, before);
    assert_int_equal(now - before, 64000);
    /* Something else is told at once, and then the first is new again. */
    before = told_at(&s, 8, now);
    assert_int_equal(before - now, QUIET);
    assert_int_equal(told_at(&s, 7, before) - before, QUIET);
    /* A change long after is one by itself. */
    assert_int_equal(told_at(&s, 7, before + 3600000), before + 3600000 + QUIET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_moved_is_never_over),
        cmocka_unit_test(test_a_burst_is_over_when_it_has_been_quiet),
        cmocka_unit_test(test_what_never_ends_is_over_after_ten_times_that),
        cmocka_unit_test(test_what_has_to_wait_is_not_over_before),
        cmocka_unit_test(test_the_same_again_is_told_later_and_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
