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

static cn_rc replace(cn_pool_t *pool, const char *pattern, cn_str_t subject, const char *subst,
                     cn_str_t *out)
{
    cn_regex_t *re;
    cn_str_t why;

    if (cn_regex_compile_find(pool, cn_str_c(pattern), &re, &why) != CN_OK ||
        cn_regex_subst_check(pool, re, cn_str_c(subst), &why) != CN_OK)
        fail_msg("%s: %.*s", pattern, CN_STR_ARG(why));
    return cn_regex_replace(pool, re, subject, cn_str_c(subst), out);
}

/* As RE2's GlobalReplace does it (measured with Envoy's regex_rewrite). */
static void test_every_match_is_replaced(void **state)
{
    static const struct {
        const char *pattern, *subject, *subst, *result; /* NULL: no match */
    } v[] = {
        {"a", "banana", "-", "b-n-n-"},
        {"a", "xyz", "-", NULL},
        {"a", "", "-", NULL},
        {"^/(\\w+)/(.*)$", "/a/b/c", "/\\2/\\1", "/b/c/a"},
        {"a+", "/aaba", "<\\0>", "/<aa>b<a>"},
        {"a*", "/aab", "-", "-/-b-"},
        {"x*", "", "-", "-"},
        {"^", "ab", "-", "-ab"},
        {"$", "ab", "-", "ab-"},
        {"(a)|(b)", "ab", "[\\1\\2]", "[a][b]"},
        {"b", "abc", "\\\\", "a\\c"},
        {"b", "abc", "", "ac"},
        {".", "\xc3\xa4\xc3\xb6", "x", "xx"},
        {"x*", "\xc3\xa4", "-", "-\xc3\xa4-"},
        {"(?i)A", "aA", "b", "bb"},
    };

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_str_t out, want = cn_str_c(v[i].result ? v[i].result : v[i].subject);
        cn_rc rc = replace(*state, v[i].pattern, cn_str_c(v[i].subject), v[i].subst, &out);

        if (rc != (v[i].result ? CN_OK : CN_DECLINE) || !cn_str_eq(out, want))
            fail_msg("row %zu: %.*s", i, CN_STR_ARG(out));
    }
}

static void test_what_is_not_utf8_is_left_as_it_is(void **state)
{
    cn_str_t out;

    assert_int_equal(replace(*state, ".", CN_STR("a\xff"), "x", &out), CN_DECLINE);
    assert_true(cn_str_eq(out, CN_STR("a\xff")));
}

/* Neither a long subject nor a greedy substitution makes much of little. */
static void test_replacing_has_limits(void **state)
{
    cn_pool_t *pool = *state;
    char *many = cn_pool_bytes(pool, 60000), *big = cn_pool_bytes(pool, 4001);
    cn_str_t out;

    memset(many, 'a', 60000);
    memset(big, 'b', 4000);
    big[4000] = '\0';
    assert_int_equal(replace(pool, "a", cn_str_make(many, CN_REGEX_REPLACE_MAX + 1), "b", &out),
                     CN_ERR);
    assert_int_equal(replace(pool, "a", cn_str_make(many, CN_REGEX_REPLACE_MAX - 1), "b", &out),
                     CN_OK);
    assert_int_equal(replace(pool, "a", cn_str_make(many, 17), big, &out), CN_ERR);
    assert_int_equal(replace(pool, "a", cn_str_make(many, 16), big, &out), CN_OK);
    assert_int_equal(out.n, 64000);
    assert_int_equal(replace(pool, "(a+)+[bc]", cn_str_make(many, 60000), "x", &out), CN_ERR);
}

static void test_substitutions_name_groups_that_are_there(void **state)
{
    static const char *const bad[] = {"\\2", "\\", "a\\x", "\\9"};
    cn_regex_t *re;
    cn_str_t why;

    assert_int_equal(cn_regex_compile_find(*state, CN_STR("(a)b"), &re, &why), CN_OK);
    for (size_t i = 0; i < CN_COUNT(bad); i++)
        assert_int_equal(cn_regex_subst_check(*state, re, cn_str_c(bad[i]), &why), CN_ERR);
    assert_int_equal(cn_regex_subst_check(*state, re, CN_STR("\\0\\1\\\\"), &why), CN_OK);
    assert_int_equal(cn_regex_compile_find(*state, CN_STR("(?=a)"), &re, &why), CN_ERR);
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
        cmocka_unit_test_setup_teardown(test_every_match_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_utf8_is_left_as_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(test_replacing_has_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_substitutions_name_groups_that_are_there, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
