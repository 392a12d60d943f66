/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/conf_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static cn_lex_t lexer(const char *text)
{
    cn_lex_t lx;

    cn_lex_init(&lx, CN_STR("f"), cn_str_c(text));
    return lx;
}

static void expect_word(cn_lex_t *lx, const char *value, uint32_t line)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_lex_token_t tok = cn_lex_next(lx);

    assert_int_equal(tok.kind, CN_LEX_WORD);
    assert_string_equal(cn_lex_value(pool, &tok).p, value);
    assert_int_equal(tok.line, line);
    cn_pool_destroy(pool);
}

static void expect_kind(cn_lex_t *lx, cn_lex_kind kind, uint32_t line)
{
    cn_lex_token_t tok = cn_lex_next(lx);

    assert_int_equal(tok.kind, kind);
    assert_int_equal(tok.line, line);
}

static void expect_error(const char *text, const char *why, uint32_t line)
{
    cn_lex_t lx = lexer(text);
    cn_lex_token_t tok;

    do
        tok = cn_lex_next(&lx);
    while (tok.kind != CN_LEX_ERROR && tok.kind != CN_LEX_END);
    assert_int_equal(tok.kind, CN_LEX_ERROR);
    assert_int_equal(tok.line, line);
    assert_non_null(strstr(lx.why, why));
    /* It does not come back with something else. */
    assert_int_equal(cn_lex_next(&lx).kind, CN_LEX_ERROR);
}

static void test_signs_end_words_without_blanks(void **state CN_UNUSED)
{
    cn_lex_t lx = lexer("a b{c;}d");

    expect_word(&lx, "a", 1);
    expect_word(&lx, "b", 1);
    expect_kind(&lx, CN_LEX_OPEN, 1);
    expect_word(&lx, "c", 1);
    expect_kind(&lx, CN_LEX_SEMI, 1);
    expect_kind(&lx, CN_LEX_CLOSE, 1);
    expect_word(&lx, "d", 1);
    expect_kind(&lx, CN_LEX_END, 1);
    expect_kind(&lx, CN_LEX_END, 1);
}

static void test_lines_are_counted_through_comments_and_crlf(void **state CN_UNUSED)
{
    cn_lex_t lx = lexer("a # x \" { ' }\r\n#\n\r\n b;\n# end");

    expect_word(&lx, "a", 1);
    expect_word(&lx, "b", 4);
    expect_kind(&lx, CN_LEX_SEMI, 4);
    expect_kind(&lx, CN_LEX_END, 5);
}

static void test_hash_is_a_comment_only_at_the_start_of_a_word(void **state CN_UNUSED)
{
    cn_lex_t lx = lexer("a#b \"#c\" #d");

    expect_word(&lx, "a#b", 1);
    expect_word(&lx, "#c", 1);
    expect_kind(&lx, CN_LEX_END, 1);
}

static void test_quotes_keep_blanks_signs_and_escapes(void **state CN_UNUSED)
{
    cn_lex_t lx = lexer("\"a b;{}\" \"\" \"q\\\"\\\\\\n\\t\" plain\\n;");

    expect_word(&lx, "a b;{}", 1);
    expect_word(&lx, "", 1);
    expect_word(&lx, "q\"\\\n\t", 1);
    expect_word(&lx, "plain\\n", 1);
    expect_kind(&lx, CN_LEX_SEMI, 1);
}

static void test_byte_order_mark_is_passed_over(void **state CN_UNUSED)
{
    cn_lex_t lx = lexer("\xef\xbb\xbfpid x");

    expect_word(&lx, "pid", 1);
}

static void test_unclosed_quote_is_reported_on_its_own_line(void **state CN_UNUSED)
{
    expect_error("a;\nb \"c;\nd;\n", "not closed", 2);
    expect_error("\"", "not closed", 1);
    expect_error("\"a\\", "not closed", 1);
    expect_error("\"a\\\n\"", "not closed", 1);
    expect_error("\n\"a\\\"", "not closed", 2);
}

static void test_odd_quoting_is_refused(void **state CN_UNUSED)
{
    expect_error("a\"b\"", "inside a word", 1);
    expect_error("\"a\"b", "after the closing quote", 1);
    expect_error("\"a\"\"b\"", "after the closing quote", 1);
    expect_error("x 'a b'", "single quotes", 1);
    expect_error("\"a\\d\"", "unknown escape", 1);
}

static void test_control_bytes_are_refused(void **state CN_UNUSED)
{
    cn_lex_t lx;

    expect_error("a\x01", "control byte", 1);
    expect_error("a\n\x7f", "control byte", 2);
    expect_error("\"a\x1b\"", "control byte", 1);
    cn_lex_init(&lx, CN_STR("f"), cn_str_make("a\0b", 3));
    expect_kind(&lx, CN_LEX_ERROR, 1);
    cn_lex_init(&lx, CN_STR("f"), cn_str_make("\"a\0b\"", 5));
    expect_kind(&lx, CN_LEX_ERROR, 1);
}

static void test_word_length_is_bounded(void **state CN_UNUSED)
{
    char *text = malloc(CN_CONF_WORD_MAX + 2);
    cn_lex_t lx;

    memset(text, 'x', CN_CONF_WORD_MAX + 2);
    cn_lex_init(&lx, CN_STR("f"), cn_str_make(text, CN_CONF_WORD_MAX));
    assert_int_equal(cn_lex_next(&lx).kind, CN_LEX_WORD);
    cn_lex_init(&lx, CN_STR("f"), cn_str_make(text, CN_CONF_WORD_MAX + 1));
    assert_int_equal(cn_lex_next(&lx).kind, CN_LEX_ERROR);
    text[0] = '"';
    cn_lex_init(&lx, CN_STR("f"), cn_str_make(text, CN_CONF_WORD_MAX + 2));
    assert_int_equal(cn_lex_next(&lx).kind, CN_LEX_ERROR);
    free(text);
}

static void test_skip_ends_behind_the_matching_brace(void **state CN_UNUSED)
{
    cn_lex_t lx = lexer("{ a { b \"}\"; } # }\n c; } d");

    expect_kind(&lx, CN_LEX_OPEN, 1);
    assert_int_equal(cn_lex_skip(&lx, 1, NULL).kind, CN_LEX_CLOSE);
    expect_word(&lx, "d", 2);
    lx = lexer("a { b; }");
    assert_int_equal(cn_lex_skip(&lx, 1, NULL).kind, CN_LEX_END);
}

static void test_skip_bounds_the_depth(void **state CN_UNUSED)
{
    cn_lex_t lx = lexer("{{{{{{{{{{{{{{{ }}}}}}}}}}}}}}} }");

    assert_int_equal(cn_lex_skip(&lx, 1, NULL).kind, CN_LEX_CLOSE);
    lx = lexer("{{{{{{{{{{{{{{{{ }}}}}}}}}}}}}}}} }");
    assert_int_equal(cn_lex_skip(&lx, 1, NULL).kind, CN_LEX_ERROR);
}

static uint64_t hash_of(const char *text)
{
    cn_lex_t lx = lexer(text);
    uint64_t h = 0;

    assert_int_equal(cn_lex_skip(&lx, 1, &h).kind, CN_LEX_CLOSE);
    return h;
}

static void test_hash_sees_meaning_and_not_layout(void **state CN_UNUSED)
{
    assert_true(hash_of("a  b ;}") == hash_of("# x\n\"a\" b;\n}"));
    assert_true(hash_of("a\\n;}") != hash_of("\"a\\n\";}"));
    assert_true(hash_of("ab;}") != hash_of("a b;}"));
    assert_true(hash_of("a; b;}") != hash_of("a b;}"));
    assert_true(hash_of("a \"{\" ;}") != hash_of("a \"}\" ;}"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signs_end_words_without_blanks),
        cmocka_unit_test(test_lines_are_counted_through_comments_and_crlf),
        cmocka_unit_test(test_hash_is_a_comment_only_at_the_start_of_a_word),
        cmocka_unit_test(test_quotes_keep_blanks_signs_and_escapes),
        cmocka_unit_test(test_byte_order_mark_is_passed_over),
        cmocka_unit_test(test_unclosed_quote_is_reported_on_its_own_line),
        cmocka_unit_test(test_odd_quoting_is_refused),
        cmocka_unit_test(test_control_bytes_are_refused),
        cmocka_unit_test(test_word_length_is_bounded),
        cmocka_unit_test(test_skip_ends_behind_the_matching_brace),
        cmocka_unit_test(test_skip_bounds_the_depth),
        cmocka_unit_test(test_hash_sees_meaning_and_not_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
