/* SPDX-License-Identifier: Apache-2.0
 * Claims about os/shm.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/wait.h>
#include <unistd.h>

#include "os/shm.h"

static void test_child_writes_are_seen_by_the_parent(void **state)
{
    cn_shm_t *s;

    (void)state;
    assert_int_equal(cn_shm_create(4096, &s), CN_OK);
    uint64_t *v = cn_shm_add(s, "numbers", sizeof(uint64_t) * 4);
    assert_non_null(v);
    assert_true(v[3] == 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        uint64_t *mine = cn_shm_find(s, "numbers", sizeof(uint64_t) * 4);
        if (mine)
            mine[3] = 42;
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    assert_true(v[3] == 42);
    cn_shm_destroy(s);
}

static void test_region_of_another_name_or_size_is_not_found(void **state)
{
    cn_shm_t *s;

    (void)state;
    assert_int_equal(cn_shm_create(1024, &s), CN_OK);
    void *a = cn_shm_add(s, "a", 100), *b = cn_shm_add(s, "b", 200);
    assert_ptr_equal(cn_shm_find(s, "a", 100), a);
    assert_ptr_equal(cn_shm_find(s, "b", 200), b);
    assert_null(cn_shm_find(s, "b", 201));
    assert_null(cn_shm_find(s, "c", 100));
    cn_shm_destroy(s);
}

static void test_regions_do_not_overlap_and_never_exceed_the_memory(void **state)
{
    cn_shm_t *s;

    (void)state;
    size_t room = cn_shm_need(10) + cn_shm_need(100);
    assert_int_equal(cn_shm_create(room, &s), CN_OK);
    char *a = cn_shm_add(s, "a", 10), *b = cn_shm_add(s, "b", 100);
    assert_non_null(a);
    assert_non_null(b);
    assert_true(b >= a + 10);
    assert_true(((uintptr_t)a & 63) == 0 && ((uintptr_t)b & 63) == 0);
    assert_null(cn_shm_add(s, "c", 64));
    assert_null(cn_shm_add(s, "huge", SIZE_MAX / 2));
    cn_shm_destroy(s);
}

static void test_directory_is_bounded(void **state)
{
    cn_shm_t *s;
    char name[8] = "r?";

    (void)state;
    assert_int_equal(cn_shm_create(cn_shm_need(8) * (CN_SHM_REGIONS + 1), &s), CN_OK);
    for (int i = 0; i < CN_SHM_REGIONS; i++) {
        name[1] = (char)('a' + i);
        assert_non_null(cn_shm_add(s, name, 8));
    }
    assert_null(cn_shm_add(s, "last", 8));
    cn_shm_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child_writes_are_seen_by_the_parent),
        cmocka_unit_test(test_region_of_another_name_or_size_is_not_found),
        cmocka_unit_test(test_regions_do_not_overlap_and_never_exceed_the_memory),
        cmocka_unit_test(test_directory_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
