/* SPDX-License-Identifier: Apache-2.0
 * Counting gRPC messages, in whatever pieces they come.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "http/grpc.h"

/* Three messages: of 3 bytes, of none, and one of 70,000. */
#define LARGE 70000u
static char body[3 * CN_GRPC_PREFIX + 3 + LARGE];

static size_t make(void)
{
    static const char head[] = {0, 0, 0, 0, 3, 'a', 'b', 'c', 1, 0, 0, 0, 0, 0, 0, 1, 0x11, 0x70};

    memset(body, 0xff, sizeof(body));
    memcpy(body, head, sizeof(head));
    return sizeof(body);
}

static uint64_t count_in_pieces(size_t n, size_t piece)
{
    cn_grpc_count_t c = {0};

    for (size_t at = 0; at < n; at += piece) {
        cn_chain_t part = {0};

        cn_chain_copy(&part, body + at, n - at < piece ? n - at : piece);
        cn_grpc_count(&c, &part);
        cn_chain_clear(&part);
    }
    return c.messages;
}

static void test_every_split_gives_the_same_count(void **state)
{
    size_t n = make();

    (void)state;
    for (size_t piece = 1; piece < 40; piece++)
        assert_int_equal(count_in_pieces(n, piece), 3);
    assert_int_equal(count_in_pieces(n, n), 3);
}

static void test_a_message_counts_once_its_prefix_is_complete(void **state)
{
    (void)state;
    make();
    assert_int_equal(count_in_pieces(4, 1), 0);
    assert_int_equal(count_in_pieces(5, 1), 1);
    assert_int_equal(count_in_pieces(12, 12), 1);
    assert_int_equal(count_in_pieces(13, 1), 2);
}

static void test_the_largest_length_is_waited_for(void **state)
{
    static const char prefix[] = {0, (char)0xff, (char)0xff, (char)0xff, (char)0xff};

    (void)state;
    make();
    memcpy(body, prefix, sizeof(prefix));
    assert_int_equal(count_in_pieces(sizeof(body), 1000), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_split_gives_the_same_count),
        cmocka_unit_test(test_a_message_counts_once_its_prefix_is_complete),
        cmocka_unit_test(test_the_largest_length_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
