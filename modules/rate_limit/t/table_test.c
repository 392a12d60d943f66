/* SPDX-License-Identifier: Apache-2.0
 *
 * Buckets in shared memory, with a clock of the test's own: what one process
 * takes, what four take at once, and what clients who invent keys can do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../rate_limit_int.h"

#define SECOND 1000000000ull
#define NOW (1000 * SECOND)
#define MEMORY (16u << 20)

typedef struct {
    void *mem;
    size_t size;
    cn_rate_limit_table_t table;
} bed_t;

static void open_bed(bed_t *b, size_t size)
{
    b->size = size;
    b->mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(b->mem != MAP_FAILED);
    cn_rate_limit_table_open(&b->table, b->mem, size);
}

static void close_bed(bed_t *b)
{
    munmap(b->mem, b->size);
}

static cn_rate_limit_key_t one_key = {.part = CN_RATE_LIMIT_PATH};

/* requests per second */
static cn_rate_limit_t limit(uint64_t requests, uint64_t burst, bool keyed, uint32_t max_keys)
{
    cn_rate_limit_t l = {.requests = requests,
                         .burst = burst,
                         .interval_ns = SECOND / requests,
                         .max_keys = max_keys,
                         .id = 77};

    l.window_ns = l.interval_ns * burst;
    if (keyed)
        l.keys = (cn_vec_t){&one_key, 1, 1};
    return l;
}

static cn_rate_limit_slot_t *slot_of(const bed_t *b, const cn_rate_limit_t *l, uint64_t tag,
                                     uint64_t now)
{
    cn_rate_limit_slot_t *s;

    assert_int_not_equal(cn_rate_limit_table_find(&b->table, l, tag, now, &s), CN_RATE_LIMIT_FULL);
    return s;
}

static bool take(const bed_t *b, const cn_rate_limit_t *l, uint64_t tag, uint64_t now)
{
    return cn_rate_limit_take(slot_of(b, l, tag, now), l, now).allowed;
}

static unsigned take_all(const bed_t *b, const cn_rate_limit_t *l, uint64_t tag, uint64_t now)
{
    unsigned n = 0;

    while (take(b, l, tag, now))
        n++;
    return n;
}

/* Tags are hashes: so are those made up here. */
static uint64_t tag_of(uint64_t i)
{
    return cn_hash_xxh(cn_str_make((const char *)&i, sizeof(i)), 1) | 1;
}

/* ---- one bucket ---- */

static void test_burst_then_one_by_one(void **state CN_UNUSED)
{
    cn_rate_limit_t l = limit(10, 5, false, 1);
    bed_t b;

    open_bed(&b, MEMORY);
    assert_int_equal(take_all(&b, &l, 1, NOW), 5);
    assert_false(take(&b, &l, 1, NOW + SECOND / 10 - 1));
    assert_true(take(&b, &l, 1, NOW + SECOND / 10));
    assert_false(take(&b, &l, 1, NOW + SECOND / 10));
    assert_int_equal(take_all(&b, &l, 1, NOW + 100 * SECOND), 5); /* never more than burst */
    close_bed(&b);
}

static void test_tells_what_is_left(void **state CN_UNUSED)
{
    cn_rate_limit_t l = limit(1, 2, false, 1);
    cn_rate_limit_slot_t *s;
    cn_rate_limit_result_t r;
    bed_t b;

    l.interval_ns = 30 * SECOND;
    l.window_ns = 60 * SECOND;
    open_bed(&b, MEMORY);
    s = slot_of(&b, &l, 1, NOW);
    r = cn_rate_limit_take(s, &l, NOW);
    assert_true(r.allowed && r.remaining == 1 && r.wait_ns == 0);
    r = cn_rate_limit_take(s, &l, NOW);
    assert_true(r.allowed && r.remaining == 0 && r.wait_ns == 30 * SECOND);
    r = cn_rate_limit_take(s, &l, NOW + 10 * SECOND);
    assert_true(!r.allowed && r.remaining == 0 && r.wait_ns == 20 * SECOND);
    close_bed(&b);
}

static void test_token_given_back_is_there_again(void **state CN_UNUSED)
{
    cn_rate_limit_t l = limit(10, 3, false, 1);
    bed_t b;

    open_bed(&b, MEMORY);
    assert_int_equal(take_all(&b, &l, 1, NOW), 3);
    cn_rate_limit_give_back(slot_of(&b, &l, 1, NOW), &l);
    assert_int_equal(take_all(&b, &l, 1, NOW), 1);
    close_bed(&b);
}

static void
test_a_bucket_of_an_hour_counts_as_empty_under_a_limit_of_a_second(void **state CN_UNUSED)
{
    cn_rate_limit_t hour = limit(1, 1, false, 1), second = limit(10, 10, false, 1);
    bed_t b;

    hour.interval_ns = hour.window_ns = 3600 * SECOND;
    open_bed(&b, MEMORY);
    assert_true(take(&b, &hour, 1, NOW));
    assert_false(take(&b, &second, 1, NOW));
    assert_int_equal(take_all(&b, &second, 1, NOW), 0);
    atomic_store(&slot_of(&b, &second, 1, NOW)->full_at, UINT64_MAX); /* whatever it says */
    assert_false(take(&b, &second, 1, NOW));
    close_bed(&b);
}

/* ---- four workers ---- */

#define WORKERS 4
#define ROUNDS 200000

typedef struct {
    _Atomic uint64_t clock;
    _Atomic uint64_t allowed;
} shared_t;

/* Each attempt is 1 us later than the last of all of them: 10 times the rate. */
static void hammer(const bed_t *b, const cn_rate_limit_t *l, shared_t *shared)
{
    uint64_t allowed = 0;

    for (int i = 0; i < ROUNDS; i++)
        allowed += take(b, l, 1, NOW + atomic_fetch_add(&shared->clock, 1000));
    atomic_fetch_add(&shared->allowed, allowed);
}

static void test_four_workers_take_what_one_would(void **state CN_UNUSED)
{
    cn_rate_limit_t l = limit(100000, 100, false, 1);
    uint64_t expected = 100 + (uint64_t)WORKERS * ROUNDS / 10;
    shared_t *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[WORKERS];
    bed_t b;

    open_bed(&b, MEMORY);
    for (int i = 0; i < WORKERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            hammer(&b, &l, shared);
            _exit(0);
        }
    }
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
    printf("allowed %llu, expected %llu\n", (unsigned long long)shared->allowed,
           (unsigned long long)expected);
    assert_in_range(shared->allowed, expected - expected / 1000, expected + expected / 1000);
    munmap(shared, sizeof(*shared));
    close_bed(&b);
}

/* All of them meet each tag for the first time at once. */
static void test_workers_agree_on_new_buckets(void **state CN_UNUSED)
{
    cn_rate_limit_t l = limit(1, 1, true, 100000);
    shared_t *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[WORKERS];
    bed_t b;

    open_bed(&b, MEMORY);
    for (int w = 0; w < WORKERS; w++) {
        pids[w] = fork();
        if (pids[w] == 0) {
            for (uint64_t i = 0; i < 20000; i++)
                atomic_fetch_add(&shared->allowed, take(&b, &l, tag_of(i), NOW));
            _exit(0);
        }
    }
    for (int w = 0; w < WORKERS; w++)
        assert_int_equal(waitpid(pids[w], NULL, 0), pids[w]);
    printf("20000 buckets of one token gave %llu\n", (unsigned long long)shared->allowed);
    assert_in_range(shared->allowed, 20000, 20200);
    munmap(shared, sizeof(*shared));
    close_bed(&b);
}

/* ---- many keys ---- */

static size_t resident(const bed_t *b)
{
    size_t pages = b->size / 4096, n = 0;
    unsigned char *v = calloc(pages, 1);

    assert_int_equal(mincore(b->mem, b->size, v), 0);
    for (size_t i = 0; i < pages; i++)
        n += v[i] & 1;
    free(v);
    return n * 4096;
}

static void test_max_keys_are_all_remembered(void **state CN_UNUSED)
{
    cn_rate_limit_t l = limit(1, 1, true, 10000);
    unsigned forgotten = 0;
    bed_t b;

    open_bed(&b, MEMORY);
    for (uint64_t i = 0; i < 10000; i++)
        assert_true(take(&b, &l, tag_of(i), NOW));
    for (uint64_t i = 0; i < 10000; i++)
        forgotten += take(&b, &l, tag_of(i), NOW);
    printf("10000 keys: %u forgotten, %zu KiB\n", forgotten, resident(&b) / 1024);
    assert_in_range(forgotten, 0, 20);
    close_bed(&b);
}

static void test_a_million_keys_stay_in_their_memory(void **state CN_UNUSED)
{
    cn_rate_limit_t few = limit(1, 1, true, 10000), many = limit(1, 1, true, 1000000);
    unsigned forgotten = 0;
    bed_t b;

    open_bed(&b, MEMORY);
    for (uint64_t i = 0; i < 1000000; i++)
        take(&b, &few, tag_of(i), NOW);
    printf("a million keys with max_keys 10000: %zu KiB\n", resident(&b) / 1024);
    assert_in_range(resident(&b), 0, 600 * 1024);
    close_bed(&b);
    open_bed(&b, 2 * MEMORY);
    for (uint64_t i = 0; i < 1000000; i++)
        assert_true(take(&b, &many, tag_of(i), NOW));
    for (uint64_t i = 0; i < 1000000; i++)
        forgotten += take(&b, &many, tag_of(i), NOW);
    printf("with max_keys 1000000: %zu KiB, %u forgotten\n", resident(&b) / 1024, forgotten);
    assert_in_range(forgotten, 0, 2000);
    close_bed(&b);
}

static void test_invented_keys_do_not_free_who_is_at_the_limit(void **state CN_UNUSED)
{
    cn_rate_limit_t l = limit(10, 10, true, 1000), whole = limit(10, 10, false, 1);
    bed_t b;

    open_bed(&b, CN_RATE_LIMIT_MEMORY_MIN);
    assert_int_equal(take_all(&b, &l, tag_of(1), NOW), 10);
    assert_int_equal(take_all(&b, &whole, 1, NOW), 10);
    for (uint64_t i = 1000; i < 200000; i++)
        take(&b, &l, tag_of(i), NOW);
    assert_false(take(&b, &l, tag_of(1), NOW));
    assert_false(take(&b, &whole, 1, NOW));
    close_bed(&b);
}

static unsigned evictions(const bed_t *b, const cn_rate_limit_t *l, uint64_t from, uint64_t now)
{
    cn_rate_limit_slot_t *s;
    unsigned n = 0;

    for (uint64_t i = from; i < from + 10; i++) {
        n += cn_rate_limit_table_find(&b->table, l, tag_of(i), now, &s) == CN_RATE_LIMIT_EVICTED;
        cn_rate_limit_take(s, l, now);
    }
    return n;
}

static void test_only_buckets_that_are_not_full_count_as_evicted(void **state CN_UNUSED)
{
    cn_rate_limit_t l = limit(10, 10, true, 1);
    bed_t b;

    open_bed(&b, CN_RATE_LIMIT_MEMORY_MIN);
    evictions(&b, &l, 0, NOW);
    assert_int_equal(evictions(&b, &l, 100, NOW), 10);
    assert_int_equal(evictions(&b, &l, 200, NOW + SECOND) > 0, true); /* 8 places for 10 */
    close_bed(&b);
    open_bed(&b, CN_RATE_LIMIT_MEMORY_MIN);
    evictions(&b, &l, 0, NOW);
    for (uint64_t i = 1; i < 10; i++) /* each time all are full again */
        assert_false(take(&b, &l, tag_of(i * 1000), NOW + i * SECOND) == false);
    close_bed(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_then_one_by_one),
        cmocka_unit_test(test_tells_what_is_left),
        cmocka_unit_test(test_token_given_back_is_there_again),
        cmocka_unit_test(test_a_bucket_of_an_hour_counts_as_empty_under_a_limit_of_a_second),
        cmocka_unit_test(test_four_workers_take_what_one_would),
        cmocka_unit_test(test_workers_agree_on_new_buckets),
        cmocka_unit_test(test_max_keys_are_all_remembered),
        cmocka_unit_test(test_a_million_keys_stay_in_their_memory),
        cmocka_unit_test(test_invented_keys_do_not_free_who_is_at_the_limit),
        cmocka_unit_test(test_only_buckets_that_are_not_full_count_as_evicted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
