/* SPDX-License-Identifier: Apache-2.0
 * Claims about os/trim.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "os/trim.h"

#define MIB ((size_t)1 << 20)

static void test_memory_goes_back_once_half_of_the_most_is_free(void **state)
{
    cn_trim_t t = {0};
    (void)state;
    assert_false(cn_trim_is_due(&t, 10 * MIB));
    assert_false(cn_trim_is_due(&t, 40 * MIB));
    assert_false(cn_trim_is_due(&t, 21 * MIB));
    assert_true(cn_trim_is_due(&t, 20 * MIB));
    assert_false(cn_trim_is_due(&t, 19 * MIB));
    assert_true(cn_trim_is_due(&t, 0));
    assert_false(cn_trim_is_due(&t, 0));
}

static void test_a_few_mebibytes_are_kept_for_the_next_ones(void **state)
{
    cn_trim_t t = {0};
    (void)state;
    assert_false(cn_trim_is_due(&t, CN_TRIM_MIN - 1));
    assert_false(cn_trim_is_due(&t, 0));
    assert_false(cn_trim_is_due(&t, CN_TRIM_MIN));
    assert_true(cn_trim_is_due(&t, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_goes_back_once_half_of_the_most_is_free),
        cmocka_unit_test(test_a_few_mebibytes_are_kept_for_the_next_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
