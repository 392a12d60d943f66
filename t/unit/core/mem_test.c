/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/mem.c and about who counts in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/chain.h"
#include "core/mem.h"
#include "core/pool.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
static const bool with_asan = true;
#else
static const bool with_asan = false;
#endif

static void test_what_a_library_takes_counts_until_it_is_freed(void **state CN_UNUSED)
{
    size_t before = cn_mem_total();
    char *p = cn_mem_alloc(1000);
    char *q = cn_mem_calloc(10, 100);

    assert_in_range(cn_mem_total() - before, 2000, 2100);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(q[i], 0);
    memset(p, 'x', 1000);
    p = cn_mem_realloc(p, 50000);
    assert_int_equal(p[999], 'x');
    assert_in_range(cn_mem_total() - before, 51000, 51100);
    cn_mem_free(p);
    cn_mem_free(q);
    cn_mem_free(NULL);
    assert_int_equal(cn_mem_total(), before);
}

static void test_memory_that_is_not_to_be_had_changes_nothing(void **state CN_UNUSED)
{
    char *p = cn_mem_alloc(1000);
    size_t before = cn_mem_total();
    volatile size_t much = SIZE_MAX / 4;

    if (with_asan) { /* which ends a process that asks for so much */
        cn_mem_free(p);
        skip();
    }
    assert_null(cn_mem_alloc(much));
    assert_null(cn_mem_calloc(much, 2));
    assert_null(cn_mem_realloc(p, much));
    assert_int_equal(cn_mem_total(), before);
    cn_mem_free(p);
}

static void test_realloc_begins_and_ends_an_allocation(void **state CN_UNUSED)
{
    size_t before = cn_mem_total();
    void *p = cn_mem_realloc(NULL, 300);

    assert_true(cn_mem_total() >= before + 300);
    assert_null(cn_mem_realloc(p, 0));
    assert_int_equal(cn_mem_total(), before);
}

static void test_a_pool_counts_with_all_its_blocks(void **state CN_UNUSED)
{
    size_t before = cn_mem_total();
    cn_pool_t *pool = cn_pool_create(512);

    for (unsigned i = 0; i < 1000; i++)
        cn_pool_alloc(pool, 100);
    assert_int_equal(cn_mem_total(), before + cn_pool_size(pool));
    assert_true(cn_pool_size(pool) >= 100000);
    cn_pool_destroy(pool);
    assert_int_equal(cn_mem_total(), before);
}

static void test_a_pool_of_the_configuration_counts_at_no_time(void **state CN_UNUSED)
{
    size_t before = cn_mem_total();
    cn_pool_t *pool = cn_pool_exempt(cn_pool_create(512));

    assert_int_equal(cn_mem_total(), before);
    for (unsigned i = 0; i < 1000; i++)
        cn_pool_alloc(pool, 100);
    assert_int_equal(cn_mem_total(), before);
    cn_pool_destroy(pool);
    assert_int_equal(cn_mem_total(), before);
}

static void test_a_chunk_counts_until_its_last_reference(void **state CN_UNUSED)
{
    size_t before = cn_mem_total();
    cn_chunk_t *c = cn_chunk_new(CN_CHUNK_LARGE);

    cn_chunk_ref(c);
    assert_int_equal(cn_mem_total(), before + CN_CHUNK_LARGE);
    cn_chunk_unref(c);
    assert_int_equal(cn_mem_total(), before + CN_CHUNK_LARGE);
    cn_chunk_unref(c);
    assert_int_equal(cn_mem_total(), before);
}

/* An estimate that is too low by what was given away, and never a huge number. */
static void test_what_is_given_before_it_is_taken_is_none(void **state CN_UNUSED)
{
    size_t before = cn_mem_total();

    cn_mem_give(before + 1000);
    assert_int_equal(cn_mem_total(), 0);
    cn_mem_take(before + 1000);
    assert_int_equal(cn_mem_total(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_a_library_takes_counts_until_it_is_freed),
        cmocka_unit_test(test_memory_that_is_not_to_be_had_changes_nothing),
        cmocka_unit_test(test_realloc_begins_and_ends_an_allocation),
        cmocka_unit_test(test_a_pool_counts_with_all_its_blocks),
        cmocka_unit_test(test_a_pool_of_the_configuration_counts_at_no_time),
        cmocka_unit_test(test_a_chunk_counts_until_its_last_reference),
        cmocka_unit_test(test_what_is_given_before_it_is_taken_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
