/* SPDX-License-Identifier: Apache-2.0
 * Claims about os/fiber.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "os/fiber.h"

typedef struct {
    cn_fiber_t *fiber;
    unsigned steps, done;
    uint64_t sum;
} work_t;

/* Deep in calls, with something on the stack of each. */
static void descend(work_t *w, unsigned depth)
{
    volatile char local[512];

    memset((char *)(uintptr_t)local, (int)depth, sizeof(local));
    if (depth > 0)
        descend(w, depth - 1);
    else
        cn_fiber_pause(w->fiber);
    for (size_t i = 0; i < sizeof(local); i++)
        w->sum += (unsigned char)local[i];
}

static void run(void *arg)
{
    work_t *w = arg;

    for (; w->done < w->steps; w->done++)
        descend(w, 100);
}

static void test_it_goes_on_where_it_paused(void **state CN_UNUSED)
{
    work_t w = {.steps = 3};

    w.fiber = cn_fiber_create(run, &w);
    assert_non_null(w.fiber);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(cn_fiber_resume(w.fiber));
        assert_int_equal(w.done, i);
    }
    assert_true(cn_fiber_resume(w.fiber));
    assert_int_equal(w.done, 3);
    assert_int_equal(w.sum, 3ull * 512 * (100 * 101 / 2));
    cn_fiber_destroy(w.fiber);
}

static void test_several_are_apart(void **state CN_UNUSED)
{
    work_t w[4];
    unsigned ended = 0;

    for (unsigned i = 0; i < 4; i++) {
        w[i] = (work_t){.steps = i};
        w[i].fiber = cn_fiber_create(run, &w[i]);
        assert_non_null(w[i].fiber);
    }
    for (unsigned round = 0; round < 4; round++)
        for (unsigned i = round; i < 4; i++)
            ended += cn_fiber_resume(w[i].fiber);
    assert_int_equal(ended, 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(w[i].done, i);
        cn_fiber_destroy(w[i].fiber);
    }
}

static void test_one_that_never_began_may_be_destroyed(void **state CN_UNUSED)
{
    work_t w = {.steps = 1};

    w.fiber = cn_fiber_create(run, &w);
    cn_fiber_destroy(w.fiber);
    cn_fiber_destroy(NULL);
    assert_int_equal(w.done, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_goes_on_where_it_paused),
        cmocka_unit_test(test_several_are_apart),
        cmocka_unit_test(test_one_that_never_began_may_be_destroyed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
