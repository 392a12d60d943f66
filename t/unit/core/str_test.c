/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/str.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/str.h"

static void assert_str(cn_str_t got, const char *want)
{
    if (!cn_str_eq(got, cn_str_c(want)))
        fail_msg("got \"%.*s\", want \"%s\"", CN_STR_ARG(got), want);
}

static void test_order_is_bytewise_and_prefix_comes_first(void **state)
{
    (void)state;
    assert_true(cn_str_cmp(CN_STR("a"), CN_STR("b")) < 0);
    assert_true(cn_str_cmp(CN_STR("ab"), CN_STR("a")) > 0);
    assert_true(cn_str_cmp(CN_STR("a"), CN_STR("ab")) < 0);
    assert_true(cn_str_cmp(CN_STR("\xff"), CN_STR("a")) > 0);
    assert_int_equal(cn_str_cmp(CN_STR("ab"), CN_STR("ab")), 0);
    assert_int_equal(cn_str_cmp(CN_STR_NULL, CN_STR("")), 0);
    assert_true(cn_str_cmp(CN_STR_NULL, CN_STR("a")) < 0);
}

static void test_case_folding_is_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(cn_str_ieq(CN_STR("Content-Length"), CN_STR("content-LENGTH")));
    assert_false(cn_str_ieq(CN_STR("["), CN_STR("{")));
    assert_false(cn_str_ieq(CN_STR("@"), CN_STR("`")));
    assert_false(cn_str_ieq(CN_STR("\xc4"), CN_STR("\xe4")));
    assert_false(cn_str_ieq(CN_STR("a"), CN_STR("ab")));
    assert_true(cn_str_ieq(CN_STR_NULL, CN_STR("")));
}

static void test_prefixes_and_suffixes(void **state)
{
    (void)state;
    assert_true(cn_str_starts(CN_STR("abc"), CN_STR("ab")));
    assert_true(cn_str_starts(CN_STR("abc"), CN_STR("")));
    assert_true(cn_str_starts(CN_STR("abc"), CN_STR("abc")));
    assert_false(cn_str_starts(CN_STR("ab"), CN_STR("abc")));
    assert_false(cn_str_starts(CN_STR("Abc"), CN_STR("ab")));
    assert_true(cn_str_istarts(CN_STR("Abc"), CN_STR("aB")));
    assert_true(cn_str_ends(CN_STR("abc"), CN_STR("bc")));
    assert_false(cn_str_ends(CN_STR("bc"), CN_STR("abc")));
    assert_true(cn_str_iends(CN_STR("aBC"), CN_STR("bc")));
    assert_false(cn_str_iends(CN_STR("aBC"), CN_STR("ab")));
    assert_true(cn_str_ends(CN_STR_NULL, CN_STR_NULL));
}

static void test_find_gives_the_length_when_there_is_none(void **state)
{
    (void)state;
    assert_int_equal(cn_str_find(CN_STR("a=b"), '='), 1);
    assert_int_equal(cn_str_find(CN_STR("ab"), '='), 2);
    assert_int_equal(cn_str_find(CN_STR_NULL, '='), 0);
    assert_int_equal(cn_str_find_str(CN_STR("a\r\n\r\nb"), CN_STR("\r\n\r\n")), 1);
    assert_int_equal(cn_str_find_str(CN_STR("abc"), CN_STR("")), 0);
    assert_int_equal(cn_str_find_str(CN_STR("abc"), CN_STR("abcd")), 3);
    assert_int_equal(cn_str_find_str(CN_STR("aab"), CN_STR("ab")), 1);
    assert_int_equal(cn_str_find_str(CN_STR_NULL, CN_STR("x")), 0);
}

static void test_trim_takes_blanks_and_tabs_only(void **state)
{
    (void)state;
    assert_str(cn_str_trim(CN_STR(" \ta b\t ")), "a b");
    assert_str(cn_str_trim(CN_STR("\ra\n")), "\ra\n");
    assert_str(cn_str_trim(CN_STR(" \t")), "");
    assert_str(cn_str_trim(CN_STR_NULL), "");
}

static void test_split_keeps_empty_pieces_but_no_empty_tail(void **state)
{
    cn_str_t rest = CN_STR("a,,b,"), piece;
    (void)state;
    assert_true(cn_str_split(&rest, ',', &piece));
    assert_str(piece, "a");
    assert_true(cn_str_split(&rest, ',', &piece));
    assert_str(piece, "");
    assert_true(cn_str_split(&rest, ',', &piece));
    assert_str(piece, "b");
    assert_false(cn_str_split(&rest, ',', &piece));
    rest = CN_STR_NULL;
    assert_false(cn_str_split(&rest, ',', &piece));
}

static void test_numbers_are_whole_strings_within_bounds(void **state)
{
    static const char *const bad[] = {
        "", " 1", "1 ", "+1", "-1", "0x1", "1a", "18446744073709551616", "99999999999999999999999"};
    uint64_t v = 7;
    (void)state;
    assert_int_equal(cn_str_u64(CN_STR("0"), 0, &v), CN_OK);
    assert_int_equal(v, 0);
    assert_int_equal(cn_str_u64(CN_STR("18446744073709551615"), UINT64_MAX, &v), CN_OK);
    assert_true(v == UINT64_MAX);
    assert_int_equal(cn_str_u64(CN_STR("65535"), 65535, &v), CN_OK);
    v = 7;
    assert_int_equal(cn_str_u64(CN_STR("65536"), 65535, &v), CN_ERR);
    for (size_t i = 0; i < CN_COUNT(bad); i++)
        assert_int_equal(cn_str_u64(cn_str_c(bad[i]), UINT64_MAX, &v), CN_ERR);
    assert_int_equal(v, 7);
}

static void test_hexadecimal_of_either_case(void **state)
{
    uint64_t v;
    (void)state;
    assert_int_equal(cn_str_hex(CN_STR("dEaDbEeF"), UINT64_MAX, &v), CN_OK);
    assert_int_equal(v, 0xdeadbeef);
    assert_int_equal(cn_str_hex(CN_STR("ffffffffffffffff"), UINT64_MAX, &v), CN_OK);
    assert_true(v == UINT64_MAX);
    assert_int_equal(cn_str_hex(CN_STR("10000000000000000"), UINT64_MAX, &v), CN_ERR);
    assert_int_equal(cn_str_hex(CN_STR("0x1"), UINT64_MAX, &v), CN_ERR);
    assert_int_equal(cn_str_hex(CN_STR("g"), UINT64_MAX, &v), CN_ERR);
    assert_int_equal(cn_str_hex(CN_STR("11"), 16, &v), CN_ERR);
}

static void test_lower_works_in_place(void **state)
{
    char buf[] = "HoST[@`Z";
    (void)state;
    cn_str_lower(buf, buf, sizeof(buf) - 1);
    assert_string_equal(buf, "host[@`z");
}

static void test_put_u64_writes_all_digits(void **state)
{
    char buf[20];
    (void)state;
    assert_str(cn_str_make(buf, cn_str_put_u64(buf, 0)), "0");
    assert_str(cn_str_make(buf, cn_str_put_u64(buf, 1090)), "1090");
    assert_str(cn_str_make(buf, cn_str_put_u64(buf, UINT64_MAX)), "18446744073709551615");
    for (uint64_t v = 1; v <= UINT64_MAX / 10; v *= 10) {
        char around[2][24];

        snprintf(around[0], sizeof(around[0]), "%llu", (unsigned long long)v);
        snprintf(around[1], sizeof(around[1]), "%llu", (unsigned long long)(v * 10 - 1));
        assert_str(cn_str_make(buf, cn_str_put_u64(buf, v)), around[0]);
        assert_str(cn_str_make(buf, cn_str_put_u64(buf, v * 10 - 1)), around[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_bytewise_and_prefix_comes_first),
        cmocka_unit_test(test_case_folding_is_ascii_letters_only),
        cmocka_unit_test(test_prefixes_and_suffixes),
        cmocka_unit_test(test_find_gives_the_length_when_there_is_none),
        cmocka_unit_test(test_trim_takes_blanks_and_tabs_only),
        cmocka_unit_test(test_split_keeps_empty_pieces_but_no_empty_tail),
        cmocka_unit_test(test_numbers_are_whole_strings_within_bounds),
        cmocka_unit_test(test_hexadecimal_of_either_case),
        cmocka_unit_test(test_lower_works_in_place),
        cmocka_unit_test(test_put_u64_writes_all_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
