/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/chain.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sys/uio.h>

#include "core/chain.h"
#include "core/mem.h"
#include "core/pool.h"
#include "core/rand.h"

static char pattern[70000];

static int setup(void **state)
{
    cn_rand_t rnd;
    (void)state;
    cn_rand_init(&rnd, 3);
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (char)cn_rand_u64(&rnd);
    return 0;
}

static void assert_content(const cn_chain_t *c, const char *want, size_t n)
{
    char *got = cn_xmalloc(n + 1);
    size_t sum = 0;
    assert_int_equal(c->bytes, n);
    for (uint32_t i = 0; i < c->n; i++) {
        assert_int_not_equal(cn_chain_at(c, i)->len, 0);
        sum += cn_chain_at(c, i)->len;
    }
    assert_int_equal(sum, n);
    assert_int_equal(cn_chain_peek(c, got, n + 1), n);
    assert_memory_equal(got, want, n);
    free(got);
}

static void read_into(cn_chain_t *c, size_t min, const char *data, size_t n)
{
    char *p;
    size_t room;
    cn_chain_reserve(c, min, &p, &room);
    assert_true(room >= min && room >= n);
    memcpy(p, data, n);
    cn_chain_commit(c, n);
}

static void test_chunk_sizes(void **state)
{
    static const size_t v[][2] = {{0, 1024},      {1, 1024},      {1024, 1024},    {1025, 16384},
                                  {16384, 16384}, {16385, 16385}, {100000, 100000}};
    (void)state;
    size_t before = cn_mem_total();
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_chunk_t *c = cn_chunk_new(v[i][0]);
        assert_int_equal(c->cap, v[i][1]);
        assert_int_equal(cn_mem_total(), before + v[i][1]);
        cn_chunk_ref(c);
        cn_chunk_unref(c);
        assert_int_equal(cn_mem_total(), before + v[i][1]);
        cn_chunk_unref(c);
        assert_int_equal(cn_mem_total(), before);
    }
}

static void test_copies_share_one_chunk_until_it_is_full(void **state)
{
    cn_chain_t c;
    (void)state;
    cn_chain_init(&c);
    for (size_t i = 0; i < 1024; i += 64)
        cn_chain_copy(&c, pattern + i, 64);
    assert_int_equal(c.n, 1);
    cn_chain_copy(&c, pattern + 1024, 1);
    assert_int_equal(c.n, 2);
    assert_content(&c, pattern, 1025);
    cn_chain_clear(&c);
    cn_chain_copy(&c, pattern, 40000);
    assert_content(&c, pattern, 40000);
    cn_chain_clear(&c);
    assert_int_equal(cn_mem_total(), 0);
}

static void test_shared_chunk_is_never_written(void **state)
{
    cn_chain_t a, b;
    (void)state;
    cn_chain_init(&a);
    cn_chain_init(&b);
    cn_chain_puts(&a, CN_STR("0123456789"));
    cn_chain_move(&b, &a, 4);
    cn_chain_puts(&b, CN_STR("xx"));
    cn_chain_puts(&a, CN_STR("yy"));
    assert_content(&b, "0123xx", 6);
    assert_content(&a, "456789yy", 8);
    cn_chain_clear(&b);
    cn_chain_puts(&a, CN_STR("zz"));
    assert_content(&a, "456789yyzz", 10);
    cn_chain_clear(&a);
    assert_int_equal(cn_mem_total(), 0);
}

static void test_bytes_held_by_a_writer_are_not_overwritten(void **state)
{
    cn_chain_t c;
    (void)state;
    cn_chain_init(&c);
    cn_chunk_t *chunk = cn_chunk_new(100);
    memcpy(chunk->data, "abcdef", 6);
    cn_chain_push(&c, cn_chunk_ref(chunk), 0, 3);
    cn_chain_puts(&c, CN_STR("X"));
    assert_memory_equal(chunk->data, "abcdef", 6);
    cn_chain_push(&c, chunk, 3, 3);
    assert_content(&c, "abcXdef", 7);
    cn_chain_clear(&c);
    assert_int_equal(cn_mem_total(), 0);
}

static void test_empty_push_gives_the_reference_back(void **state)
{
    cn_chain_t c;
    (void)state;
    cn_chain_init(&c);
    cn_chain_push(&c, cn_chunk_new(10), 5, 0);
    assert_int_equal(c.n, 0);
    assert_int_equal(cn_mem_total(), 0);
    assert_null(cn_chain_front(&c).p);
    cn_chain_clear(&c);
}

static void test_add_shares_large_slices_and_copies_small_ones(void **state)
{
    cn_chain_t c;
    (void)state;
    cn_chain_init(&c);
    cn_chunk_t *chunk = cn_chunk_new(CN_CHUNK_LARGE);
    memcpy(chunk->data, pattern, CN_CHUNK_LARGE);
    cn_chain_add(&c, chunk, 0, 20);
    assert_int_equal(chunk->refs, 1);
    cn_chain_add(&c, chunk, 20, 8000);
    assert_int_equal(chunk->refs, 2);
    cn_chain_add(&c, chunk, 8020, 5); /* continues: costs nothing */
    assert_int_equal(chunk->refs, 2);
    assert_int_equal(c.n, 2);
    assert_content(&c, pattern, 8025);
    cn_chunk_unref(chunk);
    cn_chain_clear(&c);
    assert_int_equal(cn_mem_total(), 0);
}

static void test_small_read_does_not_pin_a_large_chunk(void **state)
{
    cn_chain_t c;
    (void)state;
    cn_chain_init(&c);
    read_into(&c, 2048, pattern, 300);
    assert_int_equal(cn_mem_total(), CN_CHUNK_SMALL);
    read_into(&c, 100, pattern + 300, 100); /* fits behind it */
    assert_int_equal(cn_mem_total(), CN_CHUNK_SMALL);
    assert_int_equal(c.n, 1);
    assert_content(&c, pattern, 400);
    cn_chain_clear(&c);
}

static void test_large_reads_fill_one_chunk(void **state)
{
    cn_chain_t c;
    (void)state;
    cn_chain_init(&c);
    read_into(&c, 2048, pattern, 8000);
    read_into(&c, 2048, pattern + 8000, 8000);
    assert_int_equal(c.n, 1);
    assert_int_equal(cn_mem_total(), CN_CHUNK_LARGE);
    read_into(&c, 40000, pattern + 16000, 40000);
    assert_content(&c, pattern, 56000);
    cn_chain_clear(&c);
    assert_int_equal(cn_mem_total(), 0);
}

static void test_commit_of_nothing_leaves_nothing(void **state)
{
    cn_chain_t c;
    (void)state;
    cn_chain_init(&c);
    read_into(&c, 1, pattern, 0);
    assert_int_equal(c.n, 0);
    assert_int_equal(cn_mem_total(), 0);
    read_into(&c, 1, pattern, 10);
    read_into(&c, 1, pattern, 0);
    assert_content(&c, pattern, 10);
    cn_chain_clear(&c);
    assert_int_equal(cn_mem_total(), 0);
}

static void test_iov_describes_the_leading_slices(void **state)
{
    cn_chain_t c;
    struct iovec iov[3];
    (void)state;
    cn_chain_init(&c);
    for (size_t i = 0; i < 5; i++)
        cn_chain_push(&c, cn_chunk_new(1), 0, 100);
    cn_chain_skip(&c, 30);
    assert_int_equal(cn_chain_iov(&c, iov, 3), 3);
    assert_int_equal(iov[0].iov_len, 70);
    assert_ptr_equal(iov[0].iov_base, cn_chain_front(&c).p);
    assert_int_equal(iov[2].iov_len, 100);
    cn_chain_clear(&c);
}

/* ---- random operations on two chains against plain byte arrays ---- */

#define MODEL_MAX 60000

typedef struct {
    cn_chain_t chain;
    char bytes[MODEL_MAX];
    size_t n;
} model_t;

static void model_append(model_t *m, const char *p, size_t n)
{
    memcpy(m->bytes + m->n, p, n);
    m->n += n;
}

static void model_skip(model_t *m, size_t n)
{
    m->n -= n;
    memmove(m->bytes, m->bytes + n, m->n);
}

static size_t random_size(cn_rand_t *r)
{
    static const uint32_t bounds[] = {2, 50, 1100, 5000, 17000};
    return cn_rand_below(r, bounds[cn_rand_below(r, CN_COUNT(bounds))]);
}

static void grow_model(model_t *m, cn_rand_t *r)
{
    size_t n = random_size(r);
    const char *p = pattern + cn_rand_below(r, 40000);
    if (m->n + n > MODEL_MAX)
        return;
    model_append(m, p, n);
    switch (cn_rand_below(r, 3)) {
    case 0:
        cn_chain_copy(&m->chain, p, n);
        break;
    case 1:
        read_into(&m->chain, n, p, n);
        break;
    default: {
        cn_chunk_t *chunk = cn_chunk_new(n + 10);
        memcpy(chunk->data + 10, p, n);
        cn_chain_add(&m->chain, chunk, 10, (uint32_t)n);
        cn_chunk_unref(chunk);
    }
    }
}

static void step(model_t *a, model_t *b, cn_rand_t *r)
{
    size_t n = random_size(r);
    n = n < a->n ? n : a->n;
    switch (cn_rand_below(r, 4)) {
    case 0:
    case 1:
        grow_model(a, r);
        break;
    case 2:
        if (b->n + n > MODEL_MAX)
            break;
        if (cn_rand_below(r, 10) == 0 && b->n + a->n <= MODEL_MAX)
            n = a->n;
        cn_chain_move(&b->chain, &a->chain, n);
        model_append(b, a->bytes, n);
        model_skip(a, n);
        break;
    default:
        cn_chain_skip(&a->chain, n);
        model_skip(a, n);
    }
}

static void test_random_operations_agree_with_a_byte_array(void **state)
{
    model_t *m = cn_xzalloc(2 * sizeof(*m));
    cn_rand_t r;
    (void)state;
    cn_rand_init(&r, 11);
    for (int i = 0; i < 20000; i++) {
        uint32_t which = cn_rand_below(&r, 2);
        step(&m[which], &m[1 - which], &r);
        if (i % 10 == 0) {
            assert_content(&m[0].chain, m[0].bytes, m[0].n);
            assert_content(&m[1].chain, m[1].bytes, m[1].n);
        }
    }
    cn_chain_clear(&m[0].chain);
    cn_chain_clear(&m[1].chain);
    free(m);
    assert_int_equal(cn_mem_total(), 0);
}

static void test_a_share_leaves_both_chains_whole(void **state)
{
    (void)state;
    cn_chain_t a = {0}, b = {0};
    char got[32] = {0};
    cn_chain_puts(&a, CN_STR("hello "));
    cn_chain_share(&b, &a);
    cn_chain_puts(&a, CN_STR("you"));
    cn_chain_puts(&b, CN_STR("all"));
    assert_int_equal(cn_chain_peek(&a, got, sizeof(got)), 9);
    assert_memory_equal(got, "hello you", 9);
    assert_int_equal(cn_chain_peek(&b, got, sizeof(got)), 9);
    assert_memory_equal(got, "hello all", 9);
    cn_chain_clear(&a);
    cn_chain_clear(&b);
    assert_int_equal(cn_mem_total(), 0);
}

static void test_a_share_of_small_slices_does_not_pin_their_chunks(void **state)
{
    (void)state;
    cn_chain_t a = {0}, b = {0};
    for (unsigned i = 0; i < 100; i++) {
        cn_chunk_t *c = cn_chunk_new(CN_CHUNK_LARGE);
        c->used = 10;
        memcpy(c->data, "0123456789", 10);
        cn_chain_push(&a, c, 0, 10);
    }
    cn_chain_share(&b, &a);
    cn_chain_clear(&a);
    assert_int_equal(b.bytes, 1000);
    assert_true(cn_mem_total() <= 4096);
    cn_chain_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunk_sizes),
        cmocka_unit_test(test_copies_share_one_chunk_until_it_is_full),
        cmocka_unit_test(test_shared_chunk_is_never_written),
        cmocka_unit_test(test_bytes_held_by_a_writer_are_not_overwritten),
        cmocka_unit_test(test_empty_push_gives_the_reference_back),
        cmocka_unit_test(test_add_shares_large_slices_and_copies_small_ones),
        cmocka_unit_test(test_small_read_does_not_pin_a_large_chunk),
        cmocka_unit_test(test_large_reads_fill_one_chunk),
        cmocka_unit_test(test_commit_of_nothing_leaves_nothing),
        cmocka_unit_test(test_iov_describes_the_leading_slices),
        cmocka_unit_test(test_a_share_leaves_both_chains_whole),
        cmocka_unit_test(test_a_share_of_small_slices_does_not_pin_their_chunks),
        cmocka_unit_test(test_random_operations_agree_with_a_byte_array),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
