/* SPDX-License-Identifier: Apache-2.0
 *
 * The rings of decisions: what is kept, counted, cut and passed over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../ring.h"

#define ENTRIES 4u
#define SLOTS 2u

typedef struct {
    cn_pool_t *pool;
    cn_shm_view_t view;
    unsigned status;
    uint32_t flags;
    cn_str_t texts[CN_DECISIONS_TEXTS];
    const cn_decisions_entry_t *v;
    uint32_t n;
} fix_t;

static int setup(void **state)
{
    fix_t *f = cn_xzalloc(sizeof(*f));

    cn_hash_seed();
    f->pool = cn_pool_create(0);
    f->view.size = cn_decisions_ring_size(ENTRIES) * SLOTS;
    f->view.slots = SLOTS;
    f->view.mem = cn_xzalloc(f->view.size);
    f->status = 403;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fix_t *f = *state;

    cn_pool_destroy(f->pool);
    free(f->view.mem);
    free(f);
    return 0;
}

static void put(fix_t *f, const char *why, const char *path)
{
    f->texts[CN_DECISIONS_WHY] = cn_str_c(why);
    f->texts[CN_DECISIONS_PATH] = cn_str_c(path);
    cn_decisions_ring_put(&f->view, f->status, f->flags, f->texts);
}

static void read_all(fix_t *f)
{
    f->v = cn_decisions_ring_read(&f->view, f->pool, &f->n);
}

static unsigned times_of(const fix_t *f, const char *why)
{
    unsigned times = 0;

    for (uint32_t i = 0; i < f->n; i++)
        if (cn_str_eq(cn_decisions_ring_text(&f->v[i], CN_DECISIONS_WHY), cn_str_c(why)))
            times += f->v[i].times;
    return times;
}

static void test_alike_ones_in_a_row_are_one(void **state)
{
    fix_t *f = *state;

    put(f, "a", "/1");
    put(f, "a", "/2"); /* the path makes no difference */
    put(f, "b", "/1");
    put(f, "a", "/1");
    f->status = 404; /* the status does */
    put(f, "a", "/1");
    read_all(f);
    assert_int_equal(f->n, 4);
    assert_int_equal(times_of(f, "a"), 4);
    assert_int_equal(times_of(f, "b"), 1);
}

static void test_the_oldest_makes_room(void **state)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    fix_t *f = *state;

    for (size_t i = 0; i < CN_COUNT(names); i++)
        put(f, names[i], "/");
    read_all(f);
    assert_int_equal(f->n, ENTRIES);
    assert_int_equal(times_of(f, "a") + times_of(f, "b"), 0);
    assert_int_equal(times_of(f, "f"), 1);
}

static void test_workers_have_rings_of_their_own(void **state)
{
    fix_t *f = *state;

    put(f, "a", "/");
    f->view.slot = 1;
    put(f, "a", "/");
    f->view.slot = SLOTS; /* none */
    put(f, "a", "/");
    read_all(f);
    assert_int_equal(f->n, 2);
    assert_int_equal(times_of(f, "a"), 2);
}

static void test_an_entry_that_was_left_half_written_is_passed_over_and_repaired(void **state)
{
    fix_t *f = *state;
    cn_decisions_entry_t *e = (void *)((char *)f->view.mem + 64);

    put(f, "a", "/");
    e->seq |= 1; /* its writer died */
    read_all(f);
    assert_int_equal(f->n, 0);
    put(f, "a", "/"); /* its successor counts there */
    read_all(f);
    assert_int_equal(f->n, 1);
    assert_int_equal(f->v[0].times, 2);
}

static void test_texts_are_cut_and_none_is_without_room(void **state)
{
    fix_t *f = *state;
    char *longer = cn_xmalloc(1000);

    memset(longer, 'x', 1000);
    for (unsigned i = 0; i < CN_DECISIONS_TEXTS; i++)
        f->texts[i] = cn_str_make(longer, 1000);
    cn_decisions_ring_put(&f->view, f->status, f->flags, f->texts);
    read_all(f);
    assert_int_equal(f->n, 1);
    for (unsigned i = 0; i < CN_DECISIONS_TEXTS; i++)
        assert_true(cn_decisions_ring_text(&f->v[0], (cn_decisions_text)i).n >= 8);
    free(longer);
}

/* Another worker may have written anything at all. */
static void test_lengths_that_lie_are_not_followed(void **state)
{
    fix_t *f = *state;
    cn_decisions_entry_t *e = (void *)((char *)f->view.mem + 64);

    put(f, "a", "/");
    for (unsigned i = 0; i < CN_DECISIONS_TEXTS; i++)
        e->len[i] = UINT16_MAX;
    read_all(f);
    assert_int_equal(f->n, 1);
    for (unsigned i = 0; i < CN_DECISIONS_TEXTS; i++)
        assert_int_equal(cn_decisions_ring_text(&f->v[0], (cn_decisions_text)i).n, 0);
}

static void test_without_memory_nothing_happens(void **state)
{
    fix_t *f = *state;
    void *mem = f->view.mem;

    f->view.size = 64; /* decisions 0 */
    put(f, "a", "/");
    read_all(f);
    assert_int_equal(f->n, 0);
    f->view = (cn_shm_view_t){0};
    put(f, "a", "/");
    read_all(f);
    assert_int_equal(f->n, 0);
    f->view.mem = mem;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_alike_ones_in_a_row_are_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_oldest_makes_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_workers_have_rings_of_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_an_entry_that_was_left_half_written_is_passed_over_and_repaired, setup, teardown),
        cmocka_unit_test_setup_teardown(test_texts_are_cut_and_none_is_without_room, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_lengths_that_lie_are_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory_nothing_happens, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
