/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "core/base.h"
#include "http/regex.h"

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

static cn_rc run(cn_pool_t *pool, const char *pattern, cn_str_t subject)
{
    cn_regex_t *re;
    cn_str_t why;

    if (cn_regex_compile(pool, cn_str_c(pattern), &re, &why) != CN_OK)
        fail_msg("%s: %.*s", pattern, CN_STR_ARG(why));
    return cn_regex_match(re, subject);
}

typedef struct {
    const char *pattern, *subject;
    bool hit;
} match_t;

static void test_a_match_is_of_the_whole_subject(void **state)
{
    static const match_t v[] = {
        {"a", "a", true},
        {"a", "ab", false},
        {"a", "ba", false},
        {"a|ab", "ab", true},
        {"/ra|/rb", "/rb", true},
        {"/ra|/rb", "/rbx", false},
        {"", "", true},
        {"", "x", false},
        {".*", "", true},
        {"a.*", "abc", true},
        {"a.*?", "abc", true},
        {"^a$", "a", true},
        {"a$", "ab", false},
        {"(?i)ABC", "abc", true},
        {"ABC", "abc", false},
        {"(?i:a)b", "Ab", true},
        {"(?i:a)b", "AB", false},
        {"(?P<n>x)+", "xx", true},
        {"(?<n>x)", "x", true},
        {"a{2,3}", "aa", true},
        {"a{2,3}", "aaaa", false},
        {"a{x}", "a{x}", true},
        {"[]a]+", "]a]", true},
        {"[^/]+", "a/b", false},
        {"[[:alpha:]]+", "ab", true},
        {"\\x{41}+", "AA", true},
        {"\\x41?", "A", true},
        {"\\p{Greek}+", "\xce\xb1\xce\xb2", true},
        {"\\pL{2}", "ab", true},
        {"\\Qa.b*+\\E", "a.b*+", true},
        {"\\Qa.b", "axb", false},
        {"\\d{4}-\\d\\d", "2026-11", true},
        {"caf.", "caf\xc3\xa9", true},
        {"caf..", "caf\xc3\xa9", false},
        {"(a|b)*c|d", "ababc", true},
        {"[\\w.-]+@x", "a.b-c@x", true},
        {"a\\z", "a", true},
        {"(?:ab)?c", "c", true},
        {"(?U)a+", "aaa", true},
        {"x*y+?z??", "xy", true},
        {"[a\\]b]+", "a]b", true},
    };

    for (size_t i = 0; i < CN_COUNT(v); i++)
        if ((run(*state, v[i].pattern, cn_str_c(v[i].subject)) == CN_OK) != v[i].hit)
            fail_msg("/%s/ on \"%s\"", v[i].pattern, v[i].subject);
}

static void test_what_re2_lacks_is_refused(void **state)
{
    static const char *const v[] = {
        "(?=a)b",
        "(?!a)b",
        "(?<=a)b",
        "(?<!a)b",
        "(?>a)",
        "(a)\\1",
        "(?P<n>a)(?P=n)",
        "(?P<n>a)\\k<n>",
        "(a)\\g1",
        "\\C",
        "(?R)",
        "(?1)",
        "(?-1)(a)",
        "(?+1)(a)",
        "(?&n)",
        "(?P>n)",
        "(?(1)a|b)(c)",
        "(?C1)a",
        "a++",
        "a*+",
        "a?+",
        "a{2}+",
        "a**",
        "a{2}{3}",
        "a+{2}",
        "(*UTF)a",
        "a(*COMMIT)b",
        "(?|(a)|(b))",
        "(?#c)a",
        "(?x)a b",
        "(?J)a",
        "a\\Kb",
        "\\Ga",
        "\\R",
        "\\X",
        "\\h",
        "\\N",
        "\\Z",
        "\\ea",
        "\\cA",
        "\\o{101}",
        "[\\b]",
        "[\\C]",
        "[\\Qa\\E]",
        "a{1001}",
        "a{1,1001}",
        "a{99999999999}",
        /* bad for both */
        "(",
        ")",
        "[a",
        "*a",
        "+",
        "a|*",
        "(*a)",
        "\\",
        "(?P<n",
        "(?",
        "(?i",
        "a{2,1}",
        "[z-a]",
        "\\xZZ{",
        "\\x",
        "\\x4",
        "\\x{",
        "\\x{}",
        "\\p{Nope}",
        "(?P<n>a)(?P<n>b)",
        "\\q",
        "((((((((((a{1000}){1000}){1000}){1000}){1000}){1000}){1000}){1000}){1000}){1000})",
    };
    cn_regex_t *re;
    cn_str_t why;

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        why = CN_STR_NULL;
        if (cn_regex_compile(*state, cn_str_c(v[i]), &re, &why) == CN_OK)
            fail_msg("accepted: %s", v[i]);
        assert_true(why.n > 0);
    }
}

static void test_the_reason_names_the_byte(void **state)
{
    cn_regex_t *re;
    cn_str_t why;

    assert_int_equal(cn_regex_compile(*state, CN_STR("ab(?=c)"), &re, &why), CN_ERR);
    assert_true(cn_str_eq(why, CN_STR("look-ahead is not in RE2 syntax (byte 3)")));
}

static void test_too_long_an_expression_is_refused(void **state)
{
    char text[CN_REGEX_MAX + 1];
    cn_regex_t *re;
    cn_str_t why;

    memset(text, 'a', sizeof(text));
    assert_int_equal(cn_regex_compile(*state, cn_str_make(text, sizeof(text)), &re, &why), CN_ERR);
    assert_int_equal(cn_regex_compile(*state, cn_str_make(text, sizeof(text) - 1), &re, &why),
                     CN_OK);
}

/* Backtracking alone would take 2^n steps here. */
static void test_nested_repeats_are_decided_all_the_same(void **state)
{
    char text[4097];

    memset(text, 'a', sizeof(text));
    assert_int_equal(run(*state, "(a|aa)+[bc]", cn_str_make(text, 4096)), CN_DECLINE);
    assert_int_equal(run(*state, "(a*)*[bc]", cn_str_make(text, 4096)), CN_DECLINE);
    assert_int_equal(run(*state, "(a+)+[bc]", cn_str_make(text, 64)), CN_DECLINE);
    text[4096] = 'b';
    assert_int_equal(run(*state, "(a|a)*(a|aa)+[bc]", cn_str_make(text, 4097)), CN_OK);
}

static void test_undecided_is_never_a_match(void **state)
{
    static char text[60000];

    memset(text, 'a', sizeof(text));
    assert_int_equal(run(*state, "(a+)+[bc]", cn_str_make(text, sizeof(text))), CN_ERR);
}

static void test_a_long_value_is_matched(void **state)
{
    static char text[60000];

    memset(text, 'a', sizeof(text));
    memcpy(text + 100, "session=", 8);
    assert_int_equal(run(*state, ".*session=.*", cn_str_make(text, sizeof(text))), CN_OK);
    assert_int_equal(run(*state, ".*;session=.*", cn_str_make(text, sizeof(text))), CN_DECLINE);
    assert_int_equal(run(*state, "(.*;)? ?session=[^;]*", cn_str_make(text, sizeof(text))),
                     CN_DECLINE);
}

static void test_bytes_that_are_not_utf8_match_nothing(void **state)
{
    assert_int_equal(run(*state, ".*", CN_STR("a\xff")), CN_DECLINE);
    assert_int_equal(run(*state, "a\\W", CN_STR("a\xc3")), CN_DECLINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_match_is_of_the_whole_subject, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_re2_lacks_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_reason_names_the_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_long_an_expression_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nested_repeats_are_decided_all_the_same, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_undecided_is_never_a_match, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_long_value_is_matched, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_that_are_not_utf8_match_nothing, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
