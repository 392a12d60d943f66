/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/map.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/map.h"
#include "core/pool.h"
#include "core/rand.h"

#define KEYS 3000

static char names[KEYS][12];
static int values[KEYS];

static cn_str_t name(size_t i)
{
    return cn_str_c(names[i]);
}

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEYS; i++) {
        size_t n = cn_str_put_u64(names[i], i * 7919);
        names[i][n] = '\0';
    }
    return 0;
}

static void test_empty_map_has_nothing(void **state)
{
    cn_map_t map;
    size_t iter = 0;
    (void)state;
    cn_map_init(&map);
    assert_null(cn_map_get(&map, CN_STR("a")));
    assert_null(cn_map_del(&map, CN_STR("a")));
    assert_null(cn_map_next(&map, &iter));
    cn_map_fini(&map);
}

static void test_put_returns_the_old_value_and_keeps_the_new_key(void **state)
{
    cn_map_t map;
    int a, b;
    char first[] = "key", second[] = "key";
    size_t iter = 0;
    (void)state;
    cn_map_init(&map);
    assert_null(cn_map_put(&map, cn_str_c(first), &a));
    assert_ptr_equal(cn_map_put(&map, cn_str_c(second), &b), &a);
    first[0] = 'x';
    assert_ptr_equal(cn_map_get(&map, CN_STR("key")), &b);
    assert_int_equal(map.used, 1);
    assert_ptr_equal(cn_map_next(&map, &iter)->key.p, second);
    assert_null(cn_map_next(&map, &iter));
    cn_map_fini(&map);
}

static void test_all_keys_survive_growth(void **state)
{
    cn_map_t map;
    size_t iter = 0, seen = 0;
    (void)state;
    cn_map_init(&map);
    for (size_t i = 0; i < KEYS; i++)
        assert_null(cn_map_put(&map, name(i), &values[i]));
    assert_int_equal(map.used, KEYS);
    for (size_t i = 0; i < KEYS; i++)
        assert_ptr_equal(cn_map_get(&map, name(i)), &values[i]);
    while (cn_map_next(&map, &iter))
        seen++;
    assert_int_equal(seen, KEYS);
    cn_map_fini(&map);
}

/* Random puts and deletions against a plain array of flags; deletion has to
 * keep every probe sequence whole. */
static void test_random_deletions_lose_no_other_key(void **state)
{
    cn_map_t map;
    cn_rand_t rnd;
    bool in[KEYS] = {false};
    size_t used = 0;
    (void)state;
    cn_map_init(&map);
    cn_rand_init(&rnd, 42);
    for (int step = 0; step < 50000; step++) {
        size_t i = cn_rand_below(&rnd, KEYS);
        if (cn_rand_below(&rnd, 2)) {
            assert_ptr_equal(cn_map_put(&map, name(i), &values[i]), in[i] ? &values[i] : NULL);
            used += !in[i];
            in[i] = true;
        } else {
            assert_ptr_equal(cn_map_del(&map, name(i)), in[i] ? &values[i] : NULL);
            used -= in[i];
            in[i] = false;
        }
        assert_int_equal(map.used, used);
    }
    for (size_t i = 0; i < KEYS; i++)
        assert_ptr_equal(cn_map_get(&map, name(i)), in[i] ? &values[i] : NULL);
    cn_map_fini(&map);
}

static void test_deletion_leaves_no_marks_behind(void **state)
{
    cn_map_t map;
    (void)state;
    cn_map_init(&map);
    for (size_t round = 0; round < 20; round++) {
        for (size_t i = 0; i < 6; i++)
            cn_map_put(&map, name(round * 6 + i), &values[i]);
        for (size_t i = 0; i < 6; i++)
            assert_non_null(cn_map_del(&map, name(round * 6 + i)));
    }
    assert_int_equal(map.cap, 8);
    cn_map_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_map_has_nothing),
        cmocka_unit_test(test_put_returns_the_old_value_and_keeps_the_new_key),
        cmocka_unit_test(test_all_keys_survive_growth),
        cmocka_unit_test(test_random_deletions_lose_no_other_key),
        cmocka_unit_test(test_deletion_leaves_no_marks_behind),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
