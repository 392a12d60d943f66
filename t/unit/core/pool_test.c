/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/pool.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/pool.h"

static void test_allocations_are_aligned_and_apart(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    char *p[200];
    (void)state;
    for (size_t i = 0; i < CN_COUNT(p); i++) {
        size_t n = i * 7 % 90 + 1;
        p[i] = cn_pool_alloc(pool, n);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        memset(p[i], (int)i, n);
        cn_pool_bytes(pool, i % 3);
    }
    for (size_t i = 0; i < CN_COUNT(p); i++) {
        for (size_t k = 0; k < i * 7 % 90 + 1; k++)
            assert_int_equal((uint8_t)p[i][k], (uint8_t)i);
    }
    cn_pool_destroy(pool);
}

static void test_large_allocation_leaves_the_current_block_in_use(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    (void)state;
    size_t before = cn_pool_size(pool);
    char *big = cn_pool_zalloc(pool, 1000000);
    assert_int_equal(big[999999], 0);
    size_t with_big = cn_pool_size(pool);
    assert_true(with_big >= before + 1000000);
    assert_true(with_big < before + 1000000 + 4096);
    cn_pool_destroy(pool);
}

static void test_small_pool_grows_in_small_steps(void **state)
{
    cn_pool_t *pool = cn_pool_create_small(1024);
    (void)state;
    for (unsigned i = 0; i < 15; i++)
        (void)cn_pool_alloc(pool, 100);
    assert_true(cn_pool_size(pool) <= 2048);
    for (unsigned i = 15; i < 10000; i++)
        (void)cn_pool_alloc(pool, 100);
    assert_true(cn_pool_size(pool) <= 10000 * 112 * 5 / 4 + 1024);
    cn_pool_destroy(pool);
}

static void test_zero_bytes_give_distinct_pointers(void **state)
{
    cn_pool_t *pool = cn_pool_create(1);
    (void)state;
    assert_ptr_not_equal(cn_pool_alloc(pool, 0), cn_pool_alloc(pool, 0));
    assert_ptr_not_equal(cn_pool_bytes(pool, 0), cn_pool_bytes(pool, 0));
    cn_pool_destroy(pool);
    cn_pool_destroy(NULL);
}

static void test_dup_is_terminated_and_keeps_inner_nul(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    (void)state;
    cn_str_t s = cn_pool_dup(pool, cn_str_make("a\0b", 3));
    assert_int_equal(s.n, 3);
    assert_memory_equal(s.p, "a\0b", 4);
    assert_string_equal(cn_pool_cstr(pool, CN_STR_NULL), "");
    cn_pool_destroy(pool);
}

static void test_lower_is_a_terminated_copy_and_leaves_other_bytes(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    (void)state;
    const char from[] = "X-\xc3\x84Z\0[@`";
    cn_str_t s = cn_pool_lower(pool, cn_str_make(from, 9));
    assert_int_equal(s.n, 9);
    assert_memory_equal(s.p, "x-\xc3\x84z\0[@`", 10);
    assert_memory_equal(from, "X-\xc3\x84Z\0[@`", 10);
    cn_pool_destroy(pool);
}

static void test_printf_gives_the_whole_text(void **state)
{
    cn_pool_t *pool = cn_pool_create(64);
    (void)state;
    cn_str_t s = cn_pool_printf(pool, "%0500d|%.*s", 7, CN_STR_ARG(CN_STR("xyz")));
    assert_int_equal(s.n, 504);
    assert_string_equal(s.p + 498, "07|xyz");
    cn_pool_destroy(pool);
}

typedef struct {
    char *log;
    char name;
} cleanup_t;

static void on_cleanup(void *data)
{
    cleanup_t *c = data;
    size_t n = strlen(c->log);
    c->log[n] = c->name;
    c->log[n + 1] = '\0';
}

static void test_cleanups_run_newest_first_with_memory_intact(void **state)
{
    char log[8] = "";
    cn_pool_t *pool = cn_pool_create(0);
    (void)state;
    for (char name = 'a'; name <= 'c'; name++) {
        cleanup_t *c = cn_pool_alloc(pool, sizeof(*c));
        *c = (cleanup_t){.log = log, .name = name};
        cn_pool_cleanup(pool, on_cleanup, c);
    }
    assert_string_equal(log, "");
    cn_pool_destroy(pool);
    assert_string_equal(log, "cba");
}

static void test_vector_grows_and_new_elements_are_zero(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_vec_t vec = {0};
    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t *e = cn_vec_push(pool, &vec, sizeof(*e));
        assert_int_equal(*e, 0);
        *e = i + 1;
    }
    assert_int_equal(vec.n, 1000);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(((uint32_t *)vec.v)[i], i + 1);
    cn_pool_destroy(pool);
}

/* One of a few large elements waits for none that never comes. */
static void test_vector_grows_in_place_while_it_is_the_last(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_vec_t alone = {0}, disturbed = {0};
    void *first;
    (void)state;
    first = cn_vec_push(pool, &alone, 100);
    assert_int_equal(alone.cap, 1);
    for (unsigned i = 1; i < 8; i++)
        (void)cn_vec_push(pool, &alone, 100);
    if (cn_pool_size(pool) == 4096) /* else it is a build in which all are apart */
        assert_ptr_equal(alone.v, first);
    first = cn_vec_push(pool, &disturbed, 100);
    memset(first, 7, 100);
    (void)cn_pool_alloc(pool, 1);
    (void)cn_vec_push(pool, &disturbed, 100);
    assert_ptr_not_equal(disturbed.v, first);
    assert_int_equal(((char *)disturbed.v)[99], 7);
    cn_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations_are_aligned_and_apart),
        cmocka_unit_test(test_large_allocation_leaves_the_current_block_in_use),
        cmocka_unit_test(test_small_pool_grows_in_small_steps),
        cmocka_unit_test(test_zero_bytes_give_distinct_pointers),
        cmocka_unit_test(test_dup_is_terminated_and_keeps_inner_nul),
        cmocka_unit_test(test_lower_is_a_terminated_copy_and_leaves_other_bytes),
        cmocka_unit_test(test_printf_gives_the_whole_text),
        cmocka_unit_test(test_cleanups_run_newest_first_with_memory_intact),
        cmocka_unit_test(test_vector_grows_and_new_elements_are_zero),
        cmocka_unit_test(test_vector_grows_in_place_while_it_is_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
