/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/multi.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/multi.h"

#define VALUES 4000u
#define KEYS 97u

static int values[VALUES];

/* Many hashes that begin in the same few slots. */
static uint64_t hash_of(size_t key)
{
    return (uint64_t)key << 32 | key % 5;
}

static size_t count(const cn_multi_t *m, uint64_t hash)
{
    size_t n = 0, iter = 0;

    while (cn_multi_next(m, hash, &iter))
        n++;
    return n;
}

static void test_an_empty_one_has_nothing(void **state CN_UNUSED)
{
    cn_multi_t m = {0};

    assert_int_equal(count(&m, 7), 0);
    assert_false(cn_multi_del(&m, 7, &values[0]));
    cn_multi_fini(&m);
}

static void test_a_key_has_all_its_values_and_no_others(void **state CN_UNUSED)
{
    cn_multi_t m = {0};

    for (size_t i = 0; i < VALUES; i++)
        cn_multi_add(&m, hash_of(i % KEYS), &values[i]);
    for (size_t k = 0; k < KEYS; k++) {
        size_t iter = 0, n = 0;
        int *v;

        while ((v = cn_multi_next(&m, hash_of(k), &iter)) != NULL) {
            assert_int_equal((size_t)(v - values) % KEYS, k);
            n++;
        }
        assert_int_equal(n, VALUES / KEYS + (k < VALUES % KEYS));
    }
    cn_multi_fini(&m);
}

static void test_what_was_taken_out_leaves_no_gap(void **state CN_UNUSED)
{
    cn_multi_t m = {0};

    for (size_t i = 0; i < VALUES; i++)
        cn_multi_add(&m, hash_of(i % KEYS), &values[i]);
    for (size_t i = 0; i < VALUES; i += 3)
        assert_true(cn_multi_del(&m, hash_of(i % KEYS), &values[i]));
    assert_false(cn_multi_del(&m, hash_of(0), &values[0]));
    for (size_t i = 0; i < VALUES; i++)
        assert_int_equal(cn_multi_del(&m, hash_of(i % KEYS), &values[i]), i % 3 != 0);
    assert_int_equal(m.used, 0);
    for (size_t k = 0; k < KEYS; k++)
        assert_int_equal(count(&m, hash_of(k)), 0);
    cn_multi_fini(&m);
}

static void test_a_pair_that_was_added_twice_is_there_twice(void **state CN_UNUSED)
{
    cn_multi_t m = {0};

    cn_multi_add(&m, 1, &values[0]);
    cn_multi_add(&m, 1, &values[0]);
    assert_int_equal(count(&m, 1), 2);
    assert_true(cn_multi_del(&m, 1, &values[0]));
    assert_int_equal(count(&m, 1), 1);
    cn_multi_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_one_has_nothing),
        cmocka_unit_test(test_a_key_has_all_its_values_and_no_others),
        cmocka_unit_test(test_what_was_taken_out_leaves_no_gap),
        cmocka_unit_test(test_a_pair_that_was_added_twice_is_there_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
