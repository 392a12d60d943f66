/* SPDX-License-Identifier: Apache-2.0
 *
 * Notations of values: durations, percentages, hosts; and directive trees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "kube/value.h"

static long long duration(const char *s)
{
    uint64_t ms = 0;

    return cn_value_duration(cn_str_c(s), &ms) == CN_OK ? (long long)ms : -1;
}

static void test_durations_are_those_of_go(void **state)
{
    (void)state;
    assert_int_equal(duration("0"), 0);
    assert_int_equal(duration("0s"), 0);
    assert_int_equal(duration("10s"), 10000);
    assert_int_equal(duration("500ms"), 500);
    assert_int_equal(duration("1h30m"), 5400000);
    assert_int_equal(duration("1m0.5s"), 60500);
    assert_int_equal(duration(".25s"), 250);
    assert_int_equal(duration("1.5h"), 5400000);
    assert_int_equal(duration("3.000000001s"), 3001); /* rounds up */
    assert_int_equal(duration("1ns"), 1);
    assert_int_equal(duration("1500us"), 2);
    assert_int_equal(duration("1500\xc2\xb5s"), 2);
}

static void test_what_is_no_duration_is_refused(void **state)
{
    static const char *const bad[] = {"",     "10",    "s",        "10 s",
                                      "-1s",  "1s-",   "10d",      "soon",
                                      "1.s.", "1..5s", "1e3s",     "99999999999999999999s",
                                      "5ss",  "s5",    "1000000h", "9999999999h9999999999h"};

    (void)state;
    for (size_t i = 0; i < CN_COUNT(bad); i++)
        assert_int_equal(duration(bad[i]), -1);
}

static int percent(const char *s)
{
    uint32_t parts = 0;

    return cn_value_percent(cn_str_c(s), &parts) == CN_OK ? (int)parts : -1;
}

static void test_percentages_have_four_decimals(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);

    (void)state;
    assert_int_equal(percent("100"), 1000000);
    assert_int_equal(percent("0.0001"), 1);
    assert_int_equal(percent("0.00009"), 0);
    assert_int_equal(percent("12.5"), 125000);
    assert_int_equal(percent("100.0001"), -1);
    assert_int_equal(percent("101"), -1);
    assert_int_equal(percent("-1"), -1);
    assert_int_equal(percent("1e1"), -1);
    assert_int_equal(percent(""), -1);
    assert_true(cn_str_eq(cn_value_percent_text(pool, 125000), CN_STR("12.5")));
    assert_true(cn_str_eq(cn_value_percent_text(pool, 1), CN_STR("0.0001")));
    assert_true(cn_str_eq(cn_value_percent_text(pool, 1000000), CN_STR("100")));
    assert_true(cn_str_eq(cn_value_percent_text(pool, 0), CN_STR("0")));
    cn_pool_destroy(pool);
}

static void test_hosts_and_domains(void **state)
{
    (void)state;
    assert_true(cn_value_is_host(CN_STR("a.example")));
    assert_true(cn_value_is_host(CN_STR("[2001:db8::1]")));
    assert_false(cn_value_is_host(CN_STR("[x]")));
    assert_false(cn_value_is_host(CN_STR("a b")));
    assert_false(cn_value_is_host(CN_STR("")));
    assert_true(cn_value_is_domain(CN_STR("*.a"), true));
    assert_true(cn_value_is_domain(CN_STR("*"), true));
    assert_false(cn_value_is_domain(CN_STR("*.a"), false));
    assert_false(cn_value_is_domain(CN_STR("a.*"), true));
    assert_false(cn_value_is_domain(CN_STR(".a"), true));
    assert_false(cn_value_is_domain(CN_STR("a\n"), true));
}

static void test_quoted_text_matches_itself(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_str_t why;

    (void)state;
    assert_true(
        cn_str_eq(cn_value_quote_regex(pool, CN_STR("a.b*(c)")), CN_STR("a\\.b\\*\\(c\\)")));
    assert_true(cn_value_is_regex(pool, CN_STR("a+"), &why));
    assert_false(cn_value_is_regex(pool, CN_STR("("), &why));
    assert_true(cn_value_is_subst(pool, CN_STR("(a)"), CN_STR("\\1"), &why));
    assert_false(cn_value_is_subst(pool, CN_STR("(a)"), CN_STR("\\2"), &why));
    cn_pool_destroy(pool);
}

static void test_directives_are_written_with_their_blocks(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_kube_text_t t = {0};
    cn_vec_t list = {0};
    cn_dir_t *d;

    (void)state;
    cn_dir_flag(pool, &list, "retry", "off");
    d = cn_dir_block(pool, &list, "cors");
    cn_dir_word(pool, cn_dir_add(pool, &d->inner, "allow_origin"), CN_STR("a; b"));
    d->comment = CN_STR("why\nnot");
    cn_dir_put(&t, &list, 1);
    assert_true(cn_str_eq(cn_text_str(&t), CN_STR("    retry off;\n"
                                                  "    cors { # why?not\n"
                                                  "        allow_origin \"a; b\";\n"
                                                  "    }\n")));
    cn_text_fini(&t);
    assert_true(cn_str_eq(cn_dir_time(pool, 1500), CN_STR("1500ms")));
    assert_true(cn_str_eq(cn_dir_time(pool, 2000), CN_STR("2s")));
    assert_true(cn_str_eq(cn_dir_time(pool, 0), CN_STR("0")));
    cn_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations_are_those_of_go),
        cmocka_unit_test(test_what_is_no_duration_is_refused),
        cmocka_unit_test(test_percentages_have_four_decimals),
        cmocka_unit_test(test_hosts_and_domains),
        cmocka_unit_test(test_quoted_text_matches_itself),
        cmocka_unit_test(test_directives_are_written_with_their_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
