/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "http/token.h"

static void test_every_token_is_found_by_its_name(void **state CN_UNUSED)
{
    for (int t = CN_TOK_NONE + 1; t < CN_TOK_MAX; t++) {
        cn_str_t name = cn_token_name((cn_token)t);
        assert_true(name.n > 0);
        assert_int_equal(cn_token_find(name), t);
    }
}

static void test_other_names_are_not_found(void **state CN_UNUSED)
{
    char longest[300];
    memset(longest, 'a', sizeof(longest));
    assert_int_equal(cn_token_find(CN_STR("")), CN_TOK_NONE);
    assert_int_equal(cn_token_find(CN_STR("hosu")), CN_TOK_NONE);
    assert_int_equal(cn_token_find(CN_STR("Host")), CN_TOK_NONE);
    assert_int_equal(cn_token_find(CN_STR("hosts")), CN_TOK_NONE);
    /* 260 is 4, the length of "host" and "date", when cut to a byte. */
    memcpy(longest, "host", 4);
    assert_int_equal(cn_token_find(cn_str_make(longest, 260)), CN_TOK_NONE);
}

static void test_numbers_without_a_name_give_none(void **state CN_UNUSED)
{
    assert_int_equal(cn_token_name(CN_TOK_NONE).n, 0);
    assert_int_equal(cn_token_name(CN_TOK_MAX).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_token_is_found_by_its_name),
        cmocka_unit_test(test_other_names_are_not_found),
        cmocka_unit_test(test_numbers_without_a_name_give_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
