/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/b64.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/b64.h"

static int setup(void **state)
{
    *state = cn_pool_create(0);
    return 0;
}

static int teardown(void **state)
{
    cn_pool_destroy(*state);
    return 0;
}

/* RFC 4648 section 10 */
static const char *const vectors[][2] = {
    {"", ""},
    {"f", "Zg=="},
    {"fo", "Zm8="},
    {"foo", "Zm9v"},
    {"foob", "Zm9vYg=="},
    {"fooba", "Zm9vYmE="},
    {"foobar", "Zm9vYmFy"},
};

static void test_vectors_of_the_rfc_both_ways(void **state)
{
    for (size_t i = 0; i < CN_COUNT(vectors); i++) {
        cn_str_t plain = cn_str_c(vectors[i][0]), code = cn_str_c(vectors[i][1]), got;
        assert_true(cn_str_eq(cn_b64_encode(*state, plain), code));
        assert_int_equal(cn_b64_decode(*state, code, &got), CN_OK);
        assert_true(cn_str_eq(got, plain));
        code.n = cn_str_find(code, '=');
        assert_int_equal(cn_b64_decode(*state, code, &got), CN_OK);
        assert_true(cn_str_eq(got, plain));
    }
}

static void test_either_alphabet_is_read(void **state)
{
    cn_str_t got;
    assert_int_equal(cn_b64_decode(*state, CN_STR("-_-_"), &got), CN_OK);
    assert_true(cn_str_eq(got, CN_STR("\xfb\xff\xbf")));
    assert_int_equal(cn_b64_decode(*state, CN_STR("+/+/"), &got), CN_OK);
    assert_true(cn_str_eq(got, CN_STR("\xfb\xff\xbf")));
    assert_true(cn_str_eq(cn_b64_encode(*state, got), CN_STR("+/+/")));
}

static void test_lax_forms_are_refused(void **state)
{
    static const char *const bad[] = {
        "Z",   "Zg=",   "Zg===",    "=",     "==",     "Zh==",     "Zm9=", "Zh",
        "Zm9", "Zm9v=", "Zm9v====", "Zm 9v", "Zm9v\n", "Zg==Zg==", "Z=g=", "Zm9v!A=="};
    cn_str_t got;
    for (size_t i = 0; i < CN_COUNT(bad); i++) {
        if (cn_b64_decode(*state, cn_str_c(bad[i]), &got) != CN_ERR)
            fail_msg("accepted %s", bad[i]);
    }
}

static void test_all_bytes_survive(void **state)
{
    char bytes[256];
    cn_str_t got;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)i;
    for (size_t n = 0; n <= sizeof(bytes); n++) {
        cn_str_t in = cn_str_make(bytes, n);
        assert_int_equal(cn_b64_decode(*state, cn_b64_encode(*state, in), &got), CN_OK);
        assert_true(cn_str_eq(got, in));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_of_the_rfc_both_ways),
        cmocka_unit_test(test_either_alphabet_is_read),
        cmocka_unit_test(test_lax_forms_are_refused),
        cmocka_unit_test(test_all_bytes_survive),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
