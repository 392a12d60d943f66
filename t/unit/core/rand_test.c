/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/rand.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/rand.h"

static void test_same_seed_gives_the_same_numbers(void **state)
{
    cn_rand_t a, b, c;
    (void)state;
    cn_rand_init(&a, 5);
    cn_rand_init(&b, 5);
    cn_rand_init(&c, 6);
    uint64_t first = cn_rand_u64(&a);
    assert_true(first == cn_rand_u64(&b));
    assert_true(first != cn_rand_u64(&c));
    assert_true(first != cn_rand_u64(&a));
}

static void test_seed_zero_is_from_the_system(void **state)
{
    cn_rand_t a, b;
    (void)state;
    cn_rand_init(&a, 0);
    cn_rand_init(&b, 0);
    assert_true(cn_rand_u64(&a) != cn_rand_u64(&b));
}

static void test_below_is_in_range_and_even(void **state)
{
    cn_rand_t r;
    unsigned hits[10] = {0};
    (void)state;
    cn_rand_init(&r, 9);
    for (int i = 0; i < 100000; i++) {
        uint32_t v = cn_rand_below(&r, 10);
        assert_true(v < 10);
        hits[v]++;
    }
    for (size_t i = 0; i < CN_COUNT(hits); i++)
        assert_in_range(hits[i], 9500, 10500);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(cn_rand_below(&r, 1), 0);
        assert_true(cn_rand_below(&r, 0xc0000000u) < 0xc0000000u);
    }
}

/* A plain multiplication or remainder would hit every third value twice as often. */
static void test_below_has_no_bias_for_large_bounds(void **state)
{
    cn_rand_t r;
    unsigned thirds = 0;
    (void)state;
    cn_rand_init(&r, 10);
    for (int i = 0; i < 30000; i++)
        thirds += cn_rand_below(&r, 0xc0000000u) % 3 == 0;
    assert_in_range(thirds, 9500, 10500);
}

/* A draw from numbers that are all 0 would never end. */
static void test_what_has_no_seed_ends_the_process(void **state)
{
    int status;
    pid_t pid = fork();
    (void)state;
    if (pid == 0) {
        cn_rand_t r = {{0, 0}};
        close(STDERR_FILENO);
        alarm(10);
        signal(SIGABRT, SIG_DFL);
        cn_rand_below(&r, 3);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_secure_fills_every_byte(void **state)
{
    uint8_t seen[600] = {0}, buf[600];
    (void)state;
    for (int i = 0; i < 20; i++) {
        memset(buf, 0, sizeof(buf));
        cn_rand_secure(buf, sizeof(buf));
        for (size_t k = 0; k < sizeof(buf); k++)
            seen[k] |= buf[k];
    }
    for (size_t k = 0; k < sizeof(seen); k++)
        assert_int_not_equal(seen[k], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_seed_gives_the_same_numbers),
        cmocka_unit_test(test_seed_zero_is_from_the_system),
        cmocka_unit_test(test_below_is_in_range_and_even),
        cmocka_unit_test(test_below_has_no_bias_for_large_bounds),
        cmocka_unit_test(test_what_has_no_seed_ends_the_process),
        cmocka_unit_test(test_secure_fills_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
