/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/json.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/json.h"

#define FFFD "\xef\xbf\xbd"

static void assert_escaped(cn_str_t in, const char *want)
{
    char out[256];
    size_t n = cn_json_escape(out, sizeof(out), in);
    if (!cn_str_eq(cn_str_make(out, n), cn_str_c(want)))
        fail_msg("got %.*s, want %s", (int)n, out, want);
}

static void test_quotes_and_control_bytes_are_escaped(void **state)
{
    (void)state;
    assert_escaped(CN_STR_NULL, "");
    assert_escaped(CN_STR("plain /text"), "plain /text");
    assert_escaped(CN_STR("a\"b\\c"), "a\\\"b\\\\c");
    assert_escaped(CN_STR("\b\f\n\r\t"), "\\b\\f\\n\\r\\t");
    assert_escaped(cn_str_make("\0\x01\x1f\x7f", 4), "\\u0000\\u0001\\u001f\x7f");
}

static void test_utf8_passes_unchanged(void **state)
{
    (void)state;
    assert_escaped(CN_STR("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
                   "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_escaped(CN_STR("\xf4\x8f\xbf\xbf\xed\x9f\xbf"), "\xf4\x8f\xbf\xbf\xed\x9f\xbf");
}

static void test_bytes_that_are_not_utf8_are_replaced(void **state)
{
    (void)state;
    assert_escaped(CN_STR("a\xff"), "a" FFFD);
    assert_escaped(CN_STR("\xc0\xaf"), FFFD FFFD);                   /* overlong */
    assert_escaped(CN_STR("\xe0\x80\xaf"), FFFD FFFD FFFD);          /* overlong */
    assert_escaped(CN_STR("\xed\xa0\x80"), FFFD FFFD FFFD);          /* surrogate */
    assert_escaped(CN_STR("\xf4\x90\x80\x80"), FFFD FFFD FFFD FFFD); /* above U+10FFFF */
    assert_escaped(CN_STR("\xf0\x9f\x98"), FFFD FFFD FFFD);          /* cut off */
    assert_escaped(CN_STR("\xe2\x82x"), FFFD FFFD "x");
    assert_escaped(CN_STR("\xf0\x80\x80\x80"), FFFD FFFD FFFD FFFD);
}

static void test_truncation_never_splits_and_tells_the_full_length(void **state)
{
    cn_str_t in = CN_STR("a\n\x01\xc3\xa4\"z");
    const char *whole = "a\\n\\u0001\xc3\xa4\\\"z";
    static const size_t ends[] = {0, 1, 3, 9, 11, 13, 14};
    (void)state;
    for (size_t cap = 0; cap <= 14; cap++) {
        char out[16];
        size_t fits = 0;
        memset(out, '#', sizeof(out));
        assert_int_equal(cn_json_escape(out, cap, in), 14);
        for (size_t i = 0; i < CN_COUNT(ends); i++)
            fits = ends[i] <= cap ? ends[i] : fits;
        assert_memory_equal(out, whole, fits);
        for (size_t i = fits; i < sizeof(out); i++)
            assert_int_equal(out[i], '#');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quotes_and_control_bytes_are_escaped),
        cmocka_unit_test(test_utf8_passes_unchanged),
        cmocka_unit_test(test_bytes_that_are_not_utf8_are_replaced),
        cmocka_unit_test(test_truncation_never_splits_and_tells_the_full_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
