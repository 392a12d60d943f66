/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding misspelt fields, and the edit distance behind it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/hash.h"
#include "kube/schema.h"
#include "kube/store.h"
#include "kube/text.h"
#include "kube/yaml.h"

static unsigned distance(const char *a, const char *b)
{
    return cn_schema_distance(cn_str_c(a), cn_str_c(b), 9);
}

static void test_distance_counts_edits(void **state)
{
    (void)state;
    assert_int_equal(distance("", ""), 0);
    assert_int_equal(distance("abc", "abc"), 0);
    assert_int_equal(distance("abc", "abd"), 1);
    assert_int_equal(distance("abc", "ab"), 1);
    assert_int_equal(distance("abc", "xabc"), 1);
    assert_int_equal(distance("kitten", "sitting"), 3);
    assert_int_equal(distance("", "four"), 4);
    assert_int_equal(distance("parentRef", "parentRefs"), 1);
}

static void test_distance_ignores_case(void **state)
{
    (void)state;
    assert_int_equal(distance("targetport", "targetPort"), 0);
}

static void test_distance_is_bounded(void **state)
{
    char longer[200];

    (void)state;
    memset(longer, 'a', sizeof(longer));
    assert_int_equal(cn_schema_distance(CN_STR("abcdef"), CN_STR("uvwxyz"), 3), 4);
    assert_int_equal(cn_schema_distance(cn_str_make(longer, sizeof(longer)), CN_STR("a"), 3), 4);
    assert_int_equal(cn_schema_distance(cn_str_make(longer, 64), cn_str_make(longer, 64), 3), 0);
}

/* What checking a document against a schema says. */
static void check_doc(void *arg, const cn_node_t *root)
{
    cn_diag_t *d = arg;

    cn_schema_check(cn_schema_compile(d->pool, "kind spec{ports[name port] selector open{}}"), d,
                    root, CN_STR("Thing x"));
}

static void check_by(cn_yaml_doc_cb *by, const char *text, const char *expected)
{
    char out[1024] = "";
    cn_source_t src = {CN_STR("a"), 0};
    cn_pool_t *pool = cn_pool_create(0);
    FILE *f = fmemopen(out, sizeof(out), "w");
    cn_diag_t d;

    cn_hash_seed();
    cn_diag_init(&d, pool);
    cn_yaml_read(pool, &d, &src, cn_str_c(text), by, &d);
    cn_diag_print(&d, f);
    fclose(f);
    assert_string_equal(out, expected);
    cn_diag_fini(&d);
    cn_pool_destroy(pool);
}

static void check(const char *text, const char *expected)
{
    check_by(check_doc, text, expected);
}

static void test_unknown_fields_are_named_with_the_nearest_known_one(void **state)
{
    (void)state;
    check("spec:\n  ports:\n  - nam: x\n", "a:3: warning: Thing x: spec.ports[0].nam: unknown "
                                           "field, has no effect; did you mean \"name\"?\n");
    check("spec: {zzzzzz: 1}",
          "a:1: warning: Thing x: spec.zzzzzz: unknown field, has no effect\n");
    check("Kind: x",
          "a:1: warning: Thing x: Kind: unknown field, has no effect; did you mean \"kind\"?\n");
}

static void test_known_fields_and_open_ones_are_not_looked_into(void **state)
{
    (void)state;
    check("{kind: x, spec: {selector: {anything: goes}, ports: [{name: a, port: 1}]}}", "");
    check("{kind: {nested: y}}", "");
}

static void check_strict(void *arg, const cn_node_t *root)
{
    cn_diag_t *d = arg;

    cn_schema_check(cn_schema_compile(d->pool, "=one any* list+ labels~ maps[x]"), d, root,
                    CN_STR("Thing x"));
}

static void test_values_of_another_shape_are_named_once_and_marked(void **state)
{
    (void)state;
    check_by(check_strict,
             "{one: 1, any: {a: b}, list: [a, 2], labels: {a: {b: c}}, maps: [{x: y}]}", "");
    check_by(check_strict, "one: [a]",
             "a:1: warning: Thing x: one must be a single value, not a list; it has no effect\n");
    check_by(check_strict, "list: a\nlabels: [a]\nmaps: {x: y}",
             "a:1: warning: Thing x: list must be a list, not text; it has no effect\n"
             "a:2: warning: Thing x: labels must be a map, not a list; it has no effect\n"
             "a:3: warning: Thing x: maps must be a list, not a map; it has no effect\n");
    check_by(check_strict, "list: [a, [b], {c: d}]\nmaps: [{x: [y]}, null]",
             "a:1: warning: Thing x: list[1] must be a single value, not a list; it has no effect\n"
             "a:1: warning: Thing x: list[2] must be a single value, not a map; it has no effect\n"
             "a:2: warning: Thing x: maps[0].x must be a single value, not a list; it has no "
             "effect\n");
}

static void test_what_is_marked_is_not_said_again(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_node_t bad = {.kind = CN_NODE_MAP}, other = bad;
    cn_object_t o = {.label = CN_STR("Thing x")};
    cn_diag_t d;

    (void)state;
    cn_hash_seed();
    cn_diag_init(&d, pool);
    cn_diag_mark(&d, &bad);
    cn_store_error(&d, &o, &bad, "once more");
    cn_store_warn(&d, &o, &bad, "once more");
    assert_int_equal(d.lines.n, 0);
    cn_store_error(&d, &o, &other, "another");
    cn_store_warn(&d, &o, NULL, "of no value");
    assert_int_equal(d.lines.n, 2);
    cn_diag_fini(&d);
    cn_pool_destroy(pool);
}

static void test_what_must_be_a_map_and_is_none_is_named(void **state)
{
    (void)state;
    check("spec: 5", "a:1: warning: Thing x: spec must be a map, not a number; it has no effect\n");
    check("spec: {open: [a], ports: [x]}",
          "a:1: warning: Thing x: spec.open must be a map, not a list; it has no effect\n"
          "a:1: warning: Thing x: spec.ports[0] must be a map, not text; it has no effect\n");
    check("spec: null", "");
}

static void test_names_are_those_of_dns(void **state)
{
    (void)state;
    assert_true(cn_store_is_dns_label(CN_STR("a")));
    assert_true(cn_store_is_dns_label(CN_STR("0-a-9")));
    assert_false(cn_store_is_dns_label(CN_STR("")));
    assert_false(cn_store_is_dns_label(CN_STR("-a")));
    assert_false(cn_store_is_dns_label(CN_STR("a-")));
    assert_false(cn_store_is_dns_label(CN_STR("A")));
    assert_false(cn_store_is_dns_label(CN_STR("a.b")));
    assert_false(cn_store_is_dns_label(CN_STR("a/b")));
    assert_false(cn_store_is_dns_label(CN_STR("a\n")));
    assert_true(cn_store_is_dns_subdomain(CN_STR("a.b-c.d")));
    assert_false(cn_store_is_dns_subdomain(CN_STR("a..b")));
    assert_false(cn_store_is_dns_subdomain(CN_STR(".a")));
    assert_false(cn_store_is_dns_subdomain(CN_STR("a.")));
    assert_false(cn_store_is_dns_subdomain(CN_STR("..")));
    assert_false(cn_store_is_dns_subdomain(CN_STR("a b")));
}

static void expect_word(const char *value, const char *written)
{
    cn_kube_text_t t = {0};

    cn_text_word(&t, cn_str_c(value));
    assert_int_equal(t.n, strlen(written));
    assert_memory_equal(t.p, written, t.n);
    cn_text_fini(&t);
}

static void test_words_are_quoted_when_they_could_break_out(void **state)
{
    (void)state;
    expect_word("reviews.bookinfo:9080", "reviews.bookinfo:9080");
    expect_word("*/ns/a", "*/ns/a");
    expect_word("", "\"\"");
    expect_word("a b", "\"a b\"");
    expect_word("a;b", "\"a;b\"");
    expect_word("{x}", "\"{x}\"");
    expect_word("#x", "\"#x\"");
    expect_word("'x", "\"'x\"");
    expect_word("a\"b\\c\n\t", "\"a\\\"b\\\\c\\n\\t\"");
    expect_word("\xc3\xa4", "\"\xc3\xa4\"");
}

static void test_comments_stay_on_their_line(void **state)
{
    cn_kube_text_t t = {0};

    (void)state;
    cn_text_comment(&t, CN_STR("a\nb\r\0c\x7f"));
    assert_int_equal(t.n, 7);
    assert_memory_equal(t.p, "a?b??c?", 7);
    cn_text_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distance_counts_edits),
        cmocka_unit_test(test_distance_ignores_case),
        cmocka_unit_test(test_distance_is_bounded),
        cmocka_unit_test(test_unknown_fields_are_named_with_the_nearest_known_one),
        cmocka_unit_test(test_known_fields_and_open_ones_are_not_looked_into),
        cmocka_unit_test(test_what_must_be_a_map_and_is_none_is_named),
        cmocka_unit_test(test_values_of_another_shape_are_named_once_and_marked),
        cmocka_unit_test(test_what_is_marked_is_not_said_again),
        cmocka_unit_test(test_names_are_those_of_dns),
        cmocka_unit_test(test_words_are_quoted_when_they_could_break_out),
        cmocka_unit_test(test_comments_stay_on_their_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
