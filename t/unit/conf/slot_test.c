/* SPDX-License-Identifier: Apache-2.0 */
#include "../fixture/conf_units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void expect_error(const char *text, const char *line)
{
    char why[CN_FIXTURE_WHY];

    assert_null(cn_fixture_load_text(text, NULL, why));
    assert_string_equal(why, line);
}

static cn_gen_t *load(const char *text)
{
    char why[CN_FIXTURE_WHY];
    cn_gen_t *gen = cn_fixture_load_text(text, NULL, why);

    assert_non_null(gen);
    return gen;
}

static void expect_ms(const char *text, cn_rc rc, uint64_t value)
{
    uint64_t ms = 77;

    assert_int_equal(cn_conf_parse_ms(cn_str_c(text), &ms), rc);
    if (rc == CN_OK)
        assert_true(ms == value);
}

static void test_times_need_a_unit(void **state CN_UNUSED)
{
    expect_ms("0", CN_OK, 0);
    expect_ms("0s", CN_OK, 0);
    expect_ms("500ms", CN_OK, 500);
    expect_ms("10s", CN_OK, 10000);
    expect_ms("5m", CN_OK, 300000);
    expect_ms("1h", CN_OK, 3600000);
    expect_ms("2d", CN_OK, 172800000);
    expect_ms("10", CN_ERR, 0);
    expect_ms("s", CN_ERR, 0);
    expect_ms("", CN_ERR, 0);
    expect_ms("-1s", CN_ERR, 0);
    expect_ms("1.5s", CN_ERR, 0);
    expect_ms("1w", CN_ERR, 0);
    expect_ms("1h30m", CN_ERR, 0);
}

static void test_times_do_not_overflow(void **state CN_UNUSED)
{
    expect_ms("18446744073709551615ms", CN_OK, UINT64_MAX);
    expect_ms("18446744073709551616ms", CN_ERR, 0);
    expect_ms("18446744073709551s", CN_OK, 18446744073709551000u);
    expect_ms("18446744073709552s", CN_ERR, 0);
    expect_ms("213503982335d", CN_ERR, 0);
}

static void expect_size(const char *text, cn_rc rc, uint64_t value)
{
    uint64_t n = 77;

    assert_int_equal(cn_conf_parse_size(cn_str_c(text), &n), rc);
    if (rc == CN_OK)
        assert_true(n == value);
}

static void test_sizes_are_bytes_or_have_a_unit(void **state CN_UNUSED)
{
    expect_size("0", CN_OK, 0);
    expect_size("512", CN_OK, 512);
    expect_size("16k", CN_OK, 16384);
    expect_size("4m", CN_OK, 4194304);
    expect_size("1g", CN_OK, 1073741824);
    expect_size("", CN_ERR, 0);
    expect_size("k", CN_ERR, 0);
    expect_size("1K", CN_ERR, 0);
    expect_size("1kb", CN_ERR, 0);
    expect_size("18446744073709551615", CN_OK, UINT64_MAX);
    expect_size("18014398509481984k", CN_ERR, 0);
    expect_size("17179869184g", CN_ERR, 0);
}

static void test_fields_get_what_was_written(void **state CN_UNUSED)
{
    cn_gen_t *gen = load("worker_processes 64; error_log a b; pid \"p q\"; daemon on;"
                         "limit 2k; timeout 3s; enabled on; service s { protocol tcp; }");
    const main_conf_t *mc = gen->main->confs[UNIT_MAIN];
    const mod_conf_t *mod = gen->main->confs[UNIT_MOD];
    cn_section_t *s = cn_map_get(&gen->services, CN_STR("s"));

    assert_int_equal(mc->workers, 64);
    assert_int_equal(mc->error_log.n, 2);
    assert_string_equal(((cn_str_t *)mc->error_log.v)[1].p, "b");
    assert_string_equal(mc->pid.p, "p q");
    assert_true(mc->daemon);
    assert_int_equal(mod->limit, 2048);
    assert_int_equal(mod->timeout, 3000);
    assert_true(mod->on);
    assert_int_equal(((net_conf_t *)s->confs[UNIT_NET])->protocol, 2);
    cn_gen_unref(gen);
}

static void test_refusals_say_what_was_expected(void **state CN_UNUSED)
{
    expect_error("daemon yes;",
                 "main:1: \"yes\" is neither on nor off: expected \"daemon on | off\"");
    expect_error("worker_processes 0;", "main:1: \"0\" is not a number from 1 to 64");
    expect_error("worker_processes x;", "main:1: \"x\" is not a number from 1 to 64");
    expect_error("limit 1x;",
                 "main:1: \"1x\" is not a size: expected bytes, or a number with k, m or g");
    expect_error("timeout 5;",
                 "main:1: \"5\" is not a time: expected a number with ms, s, m, h or d");
    expect_error("service s { protocol x; }",
                 "main:1: \"x\" is not known here: expected \"protocol auto | http | tcp\"");
}

static void expect_percent(const char *text, cn_rc rc, uint32_t value)
{
    uint32_t parts = 77;

    assert_int_equal(cn_conf_parse_percent(cn_str_c(text), &parts), rc);
    if (rc == CN_OK)
        assert_int_equal(parts, value);
}

static void test_percentages_have_four_decimals(void **state CN_UNUSED)
{
    static const char *const bad[] = {"",     "-1",   "101", "100.0001", "1.00001", "1.",
                                      ".5",   "1,5",  "1e1", "0x1",      "1.2.3",   " 1",
                                      "1.-5", "1.+5", "%",   "50%"};

    expect_percent("0", CN_OK, 0);
    expect_percent("0.0001", CN_OK, 1);
    expect_percent("0.5", CN_OK, 5000);
    expect_percent("33.3333", CN_OK, 333333);
    expect_percent("100", CN_OK, CN_PARTS);
    expect_percent("100.0000", CN_OK, CN_PARTS);
    for (size_t i = 0; i < CN_COUNT(bad); i++)
        expect_percent(bad[i], CN_ERR, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_need_a_unit),
        cmocka_unit_test(test_percentages_have_four_decimals),
        cmocka_unit_test(test_times_do_not_overflow),
        cmocka_unit_test(test_sizes_are_bytes_or_have_a_unit),
        cmocka_unit_test(test_fields_get_what_was_written),
        cmocka_unit_test(test_refusals_say_what_was_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
