/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/mem.c and about who counts in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/chain.h"
#include "core/mem.h"
#include "core/pool.h"

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
    assert_in_range(cn_mem_total() - before, 51000 - 15, 51100); /* less by a part of a step */
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

    if (CN_ASAN) { /* which ends a process that asks for so much */
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

static void test_nothing_is_kept_that_nobody_asked_to_keep(void **state CN_UNUSED)
{
    cn_mem_free(cn_mem_alloc(100));
    assert_int_equal(cn_mem_trim(), 0);
}

/* The newest one of at least that size and of less than a step more. */
static void test_a_freed_block_is_the_next_of_its_size(void **state CN_UNUSED)
{
    static const size_t v[][2] = {{1, 24}, {0, 17}, {25, 40}, {100, 104}, {16700, 16712}};
    size_t before = cn_mem_total();

    if (CN_ASAN)
        skip();
    cn_mem_keep(65536);
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        void *p = cn_mem_alloc(v[i][0]), *q = cn_mem_alloc(v[i][0]);
        size_t held = cn_mem_total();

        cn_mem_free(p);
        cn_mem_free(q);
        assert_int_equal(cn_mem_total(), before);
        assert_ptr_equal(cn_mem_alloc(v[i][1]), q);
        assert_ptr_equal(cn_mem_calloc(v[i][1], 1), p);
        assert_int_equal(cn_mem_total(), held);
        for (size_t at = 0; at < v[i][1]; at++)
            assert_int_equal(((char *)p)[at], 0);
        cn_mem_free(p);
        cn_mem_free(q);
    }
    assert_true(cn_mem_trim() > 0);
    assert_int_equal(cn_mem_trim(), 0);
    cn_mem_keep(0);
}

static void test_no_block_is_used_for_more_than_it_has_room_for(void **state CN_UNUSED)
{
    cn_mem_keep(1 << 20);
    for (size_t n = 0; n < 20000; n++) {
        char *p = cn_mem_alloc(n), *q;

        memset(p, 'x', n);
        cn_mem_free(p);
        q = cn_mem_alloc(n + 1);
        memset(q, 'y', n + 1);
        cn_mem_free(q);
    }
    (void)cn_mem_trim();
    cn_mem_keep(0);
}

static void test_what_is_kept_is_bounded_and_what_is_large_is_not(void **state CN_UNUSED)
{
    void *v[1000];

    cn_mem_keep(50000);
    for (unsigned i = 0; i < CN_COUNT(v); i++)
        v[i] = cn_mem_alloc(100 + i);
    for (unsigned i = 0; i < CN_COUNT(v); i++) {
        cn_mem_free(v[i]);
        if (i % 300 == 299)
            assert_true(cn_mem_trim() <= 50000);
    }
    (void)cn_mem_trim();
    cn_mem_free(cn_mem_alloc(20000));
    assert_int_equal(cn_mem_trim(), 0);
    cn_mem_keep(0);
}

/* Blocks that were kept, went back and came again, with what is in them left as it was. */
static void test_a_block_that_was_kept_before_may_be_freed(void **state CN_UNUSED)
{
    void *v[500];

    cn_mem_keep(20000);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < CN_COUNT(v); i++)
            v[i] = cn_mem_alloc(40 + i % 5 * 16);
        for (unsigned i = 0; i < CN_COUNT(v); i++)
            cn_mem_free(v[i]);
    }
    (void)cn_mem_trim();
    cn_mem_keep(0);
}

static void test_a_block_that_is_freed_twice_ends_the_process(void **state CN_UNUSED)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        void *p = cn_mem_alloc(100);

        cn_mem_keep(65536);
        (void)close(STDERR_FILENO);
        cn_mem_free(p);
        cn_mem_free(p);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
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
        cmocka_unit_test(test_nothing_is_kept_that_nobody_asked_to_keep),
        cmocka_unit_test(test_a_freed_block_is_the_next_of_its_size),
        cmocka_unit_test(test_no_block_is_used_for_more_than_it_has_room_for),
        cmocka_unit_test(test_what_is_kept_is_bounded_and_what_is_large_is_not),
        cmocka_unit_test(test_a_block_that_was_kept_before_may_be_freed),
        cmocka_unit_test(test_a_block_that_is_freed_twice_ends_the_process),
        cmocka_unit_test(test_a_pool_counts_with_all_its_blocks),
        cmocka_unit_test(test_a_pool_of_the_configuration_counts_at_no_time),
        cmocka_unit_test(test_a_chunk_counts_until_its_last_reference),
        cmocka_unit_test(test_what_is_given_before_it_is_taken_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
