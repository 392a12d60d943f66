/* SPDX-License-Identifier: Apache-2.0
 * Claims about proxy/shared.c and what modules see of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fixture/proxy_rig.h"

static const cn_shm_def_t *rig_def(void)
{
    return cn_modules[0]->shm;
}

static void test_a_worker_that_is_alone_has_zeroed_memory_of_its_own(void **state)
{
    cn_rig_t *rig = *state;

    assert_int_equal(cn_rig_load(rig, "", NULL), CN_OK);
    cn_shm_view_t v = cn_worker_shm(&rig->w, rig_def());
    uint64_t *cells = v.mem;
    assert_int_equal(v.slots, 1);
    assert_int_equal(v.slot, 0);
    assert_int_equal(v.size, CN_RIG_SHM_CELLS * sizeof(uint64_t));
    for (unsigned i = 0; i < CN_RIG_SHM_CELLS; i++)
        assert_true(cells[i] == 0);
}

static void test_the_memory_stays_over_configurations(void **state)
{
    cn_rig_t *rig = *state;

    assert_int_equal(cn_rig_load(rig, "", NULL), CN_OK);
    uint64_t *cells = cn_worker_shm(&rig->w, rig_def()).mem;
    cells[3] = 42;
    assert_int_equal(cn_rig_load(rig, "without_two on;", NULL), CN_OK);
    assert_ptr_equal(cn_worker_shm(&rig->w, rig_def()).mem, cells);
    assert_true(cells[3] == 42);
}

static void
test_the_masters_memory_has_a_part_for_each_slot_and_the_dead_ones_is_cleared(void **state)
{
    cn_rig_t *rig = *state;
    cn_shm_t *shm;
    cn_shared_t *s;

    assert_int_equal(cn_rig_load(rig, "", NULL), CN_OK);
    assert_int_equal(cn_shm_create(cn_shared_need(rig->w.gen, 4), &shm), CN_OK);
    assert_int_equal(cn_shared_create(shm, rig->w.gen, 4, &s), CN_OK);
    cn_shm_view_t v = cn_shared_view(s, rig_def(), 2);
    assert_int_equal(v.size, 4 * CN_RIG_SHM_CELLS * sizeof(uint64_t));
    assert_int_equal(v.slot, 2);
    assert_ptr_equal(cn_shared_view(s, rig_def(), 1).mem, v.mem);
    uint64_t *cells = v.mem;
    for (unsigned i = 0; i < 4 * CN_RIG_SHM_CELLS; i++)
        cells[i] = 7;
    cn_shared_worker_gone(s, 2);
    for (unsigned i = 0; i < 4 * CN_RIG_SHM_CELLS; i++)
        assert_true(cells[i] == (i / CN_RIG_SHM_CELLS == 2 ? 0 : 7));
    cn_shared_compare(s, rig->w.gen);
    cn_shared_destroy(s);
    cn_shm_destroy(shm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_worker_that_is_alone_has_zeroed_memory_of_its_own,
                                        cn_rig_setup, cn_rig_teardown),
        cmocka_unit_test_setup_teardown(test_the_memory_stays_over_configurations, cn_rig_setup,
                                        cn_rig_teardown),
        cmocka_unit_test_setup_teardown(
            test_the_masters_memory_has_a_part_for_each_slot_and_the_dead_ones_is_cleared,
            cn_rig_setup, cn_rig_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
