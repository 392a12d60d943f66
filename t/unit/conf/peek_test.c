/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/section.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* What `pid` is by these texts; the bundle is the caller's. */
static cn_rc peek(cn_bundle_t *b, cn_pool_t *pool, const char *extra, cn_str_t *value,
                  cn_str_t *why)
{
    const cn_conf_load_t load = {.bundle = b, .file = CN_STR("main"), .extra = cn_str_c(extra)};

    return cn_conf_peek(&load, CN_STR("pid"), pool, value, why);
}

/* doubt: a piece of what is said about what cannot be read; NULL: nothing is. */
static void expect(const char *extra, const char *text, const char *value, const char *doubt)
{
    cn_bundle_t *b = cn_bundle_create(CN_STR_NULL);
    cn_pool_t *pool = cn_pool_create(0);
    cn_str_t found, why;

    cn_bundle_put(b, CN_STR("main"), cn_str_c(text));
    cn_bundle_put(b, CN_STR("d/a"), CN_STR("include main; include d/*; pid of-a;"));
    cn_bundle_put(b, CN_STR("d/b"), CN_STR("} pid of-b;"));
    cn_rc rc = peek(b, pool, extra, &found, &why);
    assert_int_equal(rc, value ? CN_OK : CN_DECLINE);
    if (value)
        assert_true(cn_str_eq(found, cn_str_c(value)));
    assert_int_equal(why.n > 0, doubt != NULL);
    if (doubt)
        assert_true(cn_str_find_str(why, cn_str_c(doubt)) < why.n);
    cn_pool_destroy(pool);
    cn_bundle_destroy(b);
}

static void test_a_good_configuration(void **state)
{
    (void)state;
    expect("", "worker_processes 1; pid \"a b\";", "a b", NULL);
    expect("pid g;", "pid a;", "g", NULL);
    expect("daemon off;", "pid off;", "off", NULL);
    expect("", "a 1;", NULL, NULL);
    expect("", "", NULL, NULL);
}

static void test_includes(void **state)
{
    (void)state;
    expect("", "include d/a;", "of-b", NULL);
    expect("", "include d/*; pid a;", "of-b", NULL);
    expect("", "include d/b;", "of-b", NULL);
    expect("", "include none/*;", NULL, NULL);
    expect("", "include none;", NULL, "main:1: No such file");
    expect("", "include none; pid a;", "a", "main:1: No such file");
}

static void test_what_is_broken_before_it_is_passed_over(void **state)
{
    (void)state;
    expect("", "bogus\npid a;", "a", NULL);
    expect("", "bogus }\npid a;", "a", NULL);
    expect("", "mesh {\npid a;", "a", "main:1: this block is not closed");
    expect("", "x \"y\npid a;", "a", "main:1: a quote");
    expect("", "x \"y\nz\"w\npid a\n", "a", "main:1: a quote");
    expect("", "x \"y", NULL, "main:1: a quote");
    expect("", "pid", NULL, NULL);
    expect("", "pid a", "a", NULL);
    /* In a block it is something else, as long as the braces are right. */
    expect("", "x { pid b; } pid a;", "a", NULL);
    expect("x \"", "pid a;", "a", "-g:1: a quote");
}

static void test_without_a_file(void **state)
{
    cn_bundle_t *b = cn_bundle_create(CN_STR_NULL);
    cn_pool_t *pool = cn_pool_create(0);
    cn_str_t value, why;

    (void)state;
    assert_int_equal(peek(b, pool, "", &value, &why), CN_ERR);
    assert_true(cn_str_eq(why, CN_STR("cannot read main: No such file or directory")));
    assert_int_equal(peek(b, pool, "pid g;", &value, &why), CN_OK);
    assert_true(cn_str_eq(value, CN_STR("g")));
    cn_pool_destroy(pool);
    cn_bundle_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_configuration),
        cmocka_unit_test(test_includes),
        cmocka_unit_test(test_what_is_broken_before_it_is_passed_over),
        cmocka_unit_test(test_without_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
