/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/slots.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/slots.h"

#define ROWS 128u
#define NOW 1000u
#define LATER (NOW + CN_SLOTS_STALE_S + 1)

typedef struct {
    uint64_t a, b;
} row_t;

static void *shared(size_t n)
{
    void *mem = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(mem != MAP_FAILED);
    return mem;
}

static cn_slots_t open_table(uint32_t rows)
{
    size_t n = cn_slots_size(rows, sizeof(row_t));
    cn_slots_t t;

    cn_slots_open(&t, shared(n), n, sizeof(row_t));
    return t;
}

static void close_table(cn_slots_t *t)
{
    munmap(t->mem, cn_slots_size(t->rows, sizeof(row_t)));
}

static row_t *get(const cn_slots_t *t, uint64_t key, uint32_t now)
{
    cn_slots_hint_t hint = {0};

    return cn_slots_get(t, key, &hint, now);
}

static void test_a_key_keeps_its_row_with_and_without_the_hint(void **state)
{
    cn_slots_t t = open_table(ROWS);
    cn_slots_hint_t hint = {0};
    row_t *r = cn_slots_get(&t, 77, &hint, NOW);

    (void)state;
    assert_non_null(r);
    assert_true(r->a == 0 && r->b == 0);
    r->a = 5;
    assert_ptr_equal(cn_slots_get(&t, 77, &hint, NOW), r);
    assert_ptr_equal(get(&t, 77, NOW), r);
    hint.row = 1 + (hint.row % ROWS); /* of another row */
    assert_ptr_equal(cn_slots_get(&t, 77, &hint, NOW), r);
    hint.row = UINT32_MAX;
    assert_ptr_equal(cn_slots_get(&t, 77, &hint, NOW), r);
    close_table(&t);
}

static void test_find_makes_no_row(void **state)
{
    cn_slots_t t = open_table(ROWS);
    cn_slots_hint_t hint = {0};
    uint32_t iter = 0;

    (void)state;
    assert_null(cn_slots_find(&t, 77, &hint, NOW));
    assert_null(cn_slots_next(&t, &iter));
    row_t *r = get(&t, 77, NOW);
    assert_ptr_equal(cn_slots_find(&t, 77, &hint, NOW), r);
    close_table(&t);
}

static void test_keys_that_collide_get_rows_of_their_own(void **state)
{
    cn_slots_t t = open_table(ROWS);
    row_t *r[40];
    uint32_t iter = 0;
    unsigned n = 0;

    (void)state;
    for (uint64_t i = 0; i < 40; i++) {
        r[i] = get(&t, i * ROWS * 4, NOW);
        assert_non_null(r[i]);
        r[i]->a = i + 1;
    }
    for (uint64_t i = 0; i < 40; i++) {
        assert_ptr_equal(get(&t, i * ROWS * 4, NOW), r[i]);
        assert_true(r[i]->a == i + 1);
    }
    while (cn_slots_next(&t, &iter))
        n++;
    assert_int_equal(n, 40);
    close_table(&t);
}

static void test_a_full_neighbourhood_says_no_until_a_row_is_stale(void **state)
{
    cn_slots_t t = open_table(8);
    row_t *r;

    (void)state;
    for (uint64_t i = 1; i <= 8; i++) {
        r = get(&t, i * 1000, NOW);
        assert_non_null(r);
        r->a = 9;
    }
    assert_null(get(&t, 9000, NOW));
    assert_null(get(&t, 9000, NOW + CN_SLOTS_STALE_S));
    for (uint64_t i = 2; i <= 8; i++)
        assert_non_null(get(&t, i * 1000, NOW + 100)); /* all but the first stay in use */
    r = get(&t, 9000, LATER);
    assert_non_null(r);
    assert_true(r->a == 0); /* nothing is left of the key before it */
    for (uint64_t i = 2; i <= 8; i++)
        assert_true(get(&t, i * 1000, LATER)->a == 9);
    assert_null(get(&t, 1000, LATER));
    close_table(&t);
}

static void test_a_hint_to_a_row_that_was_taken_over_is_not_believed(void **state)
{
    cn_slots_t t = open_table(1);
    cn_slots_hint_t hint = {0};

    (void)state;
    assert_non_null(cn_slots_get(&t, 1000, &hint, NOW));
    assert_non_null(get(&t, 2000, LATER));
    assert_null(cn_slots_find(&t, 1000, &hint, LATER));
    assert_null(cn_slots_get(&t, 1000, &hint, LATER));
    close_table(&t);
}

/* What a process that dies between claim and publication leaves. */
static void test_a_row_whose_maker_died_is_usable_again(void **state)
{
    cn_slots_t t = open_table(ROWS);
    cn_slots_hint_t hint = {0};

    (void)state;
    row_t *r = cn_slots_get(&t, 1000, &hint, NOW);
    uint64_t *key = (uint64_t *)r - 2;
    *key |= 1;
    r->a = 3;
    assert_null(get(&t, 1000, NOW));
    row_t *again = get(&t, 1000, LATER);
    assert_non_null(again);
    assert_true(again->a == 0);
    close_table(&t);
}

/* Of two rows with one key, as a race can leave them, the earlier one counts. */
static void test_the_earlier_of_two_rows_wins(void **state)
{
    cn_slots_t t = open_table(ROWS);
    cn_slots_hint_t hint = {0};

    (void)state;
    row_t *first = get(&t, 4000, NOW);             /* holds the place */
    row_t *second = get(&t, 4000 + ROWS * 4, NOW); /* and this comes behind it */
    assert_true(second == first + 2 || second > first);
    uint64_t key = ((uint64_t *)second)[-2];
    cn_slots_get(&t, 4000 + ROWS * 4, &hint, NOW);
    ((uint64_t *)first)[-2] = key;
    assert_ptr_equal(get(&t, 4000 + ROWS * 4, NOW), first);
    close_table(&t);
}

static void test_no_rows_is_a_table_that_is_always_full(void **state)
{
    cn_slots_t t = {0};

    (void)state;
    assert_null(get(&t, 1, NOW));
}

/* Each of four processes counts in each row 200 times: all meet in the same rows. */
static void test_processes_that_make_rows_at_once_share_them(void **state)
{
    cn_slots_t t = open_table(4096);
    uint64_t *go = shared(4096);

    (void)state;
    for (int p = 0; p < 4; p++) {
        if (fork() != 0)
            continue;
        cn_slots_hint_t *hints = calloc(500, sizeof(*hints));
        while (!__atomic_load_n(go, __ATOMIC_ACQUIRE))
            continue;
        for (unsigned n = 0; n < 200; n++)
            for (uint64_t k = 0; k < 500; k++) {
                row_t *r;
                while (!(r = cn_slots_get(&t, (k + 1) * 0x9e3779b97f4a7c15ull, &hints[k], NOW)))
                    continue;
                __atomic_fetch_add(&r->a, 1, __ATOMIC_RELAXED);
            }
        _exit(0);
    }
    __atomic_store_n(go, 1, __ATOMIC_RELEASE);
    for (int p = 0; p < 4; p++) {
        int status = -1;
        wait(&status);
        assert_int_equal(status, 0);
    }
    for (uint64_t k = 0; k < 500; k++)
        assert_true(get(&t, (k + 1) * 0x9e3779b97f4a7c15ull, NOW)->a == 800);
    munmap(go, 4096);
    close_table(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_keeps_its_row_with_and_without_the_hint),
        cmocka_unit_test(test_find_makes_no_row),
        cmocka_unit_test(test_keys_that_collide_get_rows_of_their_own),
        cmocka_unit_test(test_a_full_neighbourhood_says_no_until_a_row_is_stale),
        cmocka_unit_test(test_a_hint_to_a_row_that_was_taken_over_is_not_believed),
        cmocka_unit_test(test_a_row_whose_maker_died_is_usable_again),
        cmocka_unit_test(test_the_earlier_of_two_rows_wins),
        cmocka_unit_test(test_no_rows_is_a_table_that_is_always_full),
        cmocka_unit_test(test_processes_that_make_rows_at_once_share_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
