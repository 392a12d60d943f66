/* SPDX-License-Identifier: Apache-2.0
 *
 * The document reader: what a tree looks like, where it says things are, and
 * what it refuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hash.h"
#include "kube/yaml.h"

#define MAX_DOCS 8

typedef struct {
    cn_pool_t *pool;
    cn_diag_t diag;
    cn_source_t src;
    const cn_node_t *docs[MAX_DOCS];
    unsigned n;
} world_t;

static void take(void *arg, const cn_node_t *root)
{
    world_t *w = arg;

    assert_true(w->n < MAX_DOCS);
    w->docs[w->n++] = root;
}

static int setup(void **state)
{
    world_t *w = calloc(1, sizeof(*w));

    cn_hash_seed();
    w->pool = cn_pool_create(0);
    w->src.name = CN_STR("x.yaml");
    cn_diag_init(&w->diag, w->pool);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_t *w = *state;

    cn_diag_fini(&w->diag);
    cn_pool_destroy(w->pool);
    free(w);
    return 0;
}

static const cn_node_t *read_bytes(world_t *w, const char *text, size_t n)
{
    char *exact = malloc(n ? n : 1); /* reads behind the end show under ASan */

    memcpy(exact, text, n);
    w->n = 0;
    cn_yaml_read(w->pool, &w->diag, &w->src, cn_str_make(exact, n), take, w);
    free(exact);
    return w->n ? w->docs[0] : NULL;
}

static const cn_node_t *read(world_t *w, const char *text)
{
    return read_bytes(w, text, strlen(text));
}

/* What was printed, in one string. */
static char *printed(world_t *w)
{
    static char text[4096];
    FILE *f = fmemopen(text, sizeof(text), "w");

    cn_diag_print(&w->diag, f);
    fclose(f);
    return text;
}

static cn_node_kind kind_of(world_t *w, const char *scalar)
{
    char text[128];

    snprintf(text, sizeof(text), "a: %s\n", scalar);
    return cn_node_item(read(w, text), "a")->value->kind;
}

static void test_scalars_have_the_types_that_kubernetes_gives_them(void **state)
{
    world_t *w = *state;

    assert_int_equal(kind_of(w, "1"), CN_NODE_INT);
    assert_int_equal(kind_of(w, "-15008"), CN_NODE_INT);
    assert_int_equal(kind_of(w, "'1'"), CN_NODE_STR);
    assert_int_equal(kind_of(w, "!!str 1"), CN_NODE_STR);
    assert_int_equal(kind_of(w, "1.5"), CN_NODE_FLOAT);
    assert_int_equal(kind_of(w, "1e3"), CN_NODE_FLOAT);
    assert_int_equal(kind_of(w, "1.2.3"), CN_NODE_STR);
    assert_int_equal(kind_of(w, "10.0.0.1"), CN_NODE_STR);
    assert_int_equal(kind_of(w, "e3"), CN_NODE_STR);
    assert_int_equal(kind_of(w, "1e"), CN_NODE_STR);
    assert_int_equal(kind_of(w, "true"), CN_NODE_BOOL);
    assert_int_equal(kind_of(w, "no"), CN_NODE_BOOL);
    assert_int_equal(kind_of(w, "\"no\""), CN_NODE_STR);
    assert_int_equal(kind_of(w, "None"), CN_NODE_STR);
    assert_int_equal(kind_of(w, "~"), CN_NODE_NULL);
    assert_int_equal(kind_of(w, ""), CN_NODE_NULL);
    assert_int_equal(kind_of(w, "''"), CN_NODE_STR);
}

static void test_truth_is_only_what_says_true(void **state)
{
    world_t *w = *state;
    const cn_node_t *n =
        read(w, "{a: true, b: Yes, c: ON, d: false, e: no, f: off, g: 'true', h: 1}");

    assert_true(cn_node_true(n, "a") && cn_node_true(n, "b") && cn_node_true(n, "c"));
    assert_false(cn_node_true(n, "d") || cn_node_true(n, "e") || cn_node_true(n, "f"));
    assert_false(cn_node_true(n, "g") || cn_node_true(n, "h") || cn_node_true(n, "z"));
}

static void test_every_node_knows_its_line(void **state)
{
    world_t *w = *state;
    const cn_node_t *n;

    read(w, "a: 1\n---\n\n# comment\nb:\n- x\n- c: 1\n  d: 2\n");
    assert_int_equal(w->n, 2);
    n = cn_node_get(w->docs[1], "b");
    assert_int_equal(n->pos.line, 6);
    assert_int_equal(n->items[1].value->pos.line, 7);
    assert_int_equal(cn_node_get(n->items[1].value, "d")->pos.line, 8);
    assert_int_equal(cn_node_item(n->items[1].value, "d")->line, 8);
}

static void test_a_broken_document_costs_only_itself(void **state)
{
    world_t *w = *state;

    read(w, "a: 1\n---\nb: [1, 2\n---\nc: 3\n");
    assert_int_equal(w->n, 2);
    assert_string_equal(cn_node_str(w->docs[0], "a").p, "1");
    assert_string_equal(cn_node_str(w->docs[1], "c").p, "3");
    assert_int_equal(w->diag.errors, 1);
    assert_non_null(strstr(printed(w), "x.yaml:4: error: "));
}

static void test_bytes_that_are_not_text_are_refused_with_their_line(void **state)
{
    world_t *w = *state;

    read(w, "a: 1\nb: \xff\xfe\n---\nc: 1\n");
    assert_int_equal(w->n, 1);
    assert_non_null(strstr(printed(w), "x.yaml:2: error: "));
}

static void test_a_marker_inside_of_a_line_or_indented_does_not_split(void **state)
{
    world_t *w = *state;
    const cn_node_t *n = read(w, "a: |\n  ---\n  text\nb: ---x\n--- # next\nc: 1\n");

    assert_int_equal(w->n, 2);
    assert_string_equal(cn_node_str(n, "a").p, "---\ntext\n");
    assert_string_equal(cn_node_str(n, "b").p, "---x");
}

static void test_directives_belong_to_the_document_behind_them(void **state)
{
    world_t *w = *state;

    read(w, "# first\n%YAML 1.1\n---\na: 1\n...\n%YAML 1.1\n# between\n---\nb: 1\n");
    assert_int_equal(w->n, 2);
    assert_int_equal(w->diag.errors, 0);
    assert_int_equal(cn_node_get(w->docs[1], "b")->pos.line, 9);
    read(w, "%YAML 1.1\n---\na: 1\n---\nb: 1\n");
    assert_int_equal(w->n, 2);
    read(w, "%YAML 1.1\n---\n---\n%YAML 1.1\n---\n");
    assert_int_equal(w->n, 0);
}

static void test_carriage_returns_and_byte_order_marks_do_not_matter(void **state)
{
    world_t *w = *state;
    const cn_node_t *n = read(w, "\xef\xbb\xbf"
                                 "a: 1\r\n---\r\nb: 2\r\n");

    assert_int_equal(w->n, 2);
    assert_string_equal(cn_node_str(n, "a").p, "1");
    assert_string_equal(cn_node_str(w->docs[1], "b").p, "2");
}

static void test_aliases_share_their_node(void **state)
{
    world_t *w = *state;
    const cn_node_t *n = read(w, "a: &x {k: 1}\nb: *x\nc: &x 5\nd: *x\n");

    assert_ptr_equal(cn_node_get(n, "a"), cn_node_get(n, "b"));
    assert_string_equal(cn_node_str(n, "d").p, "5");
}

static void test_merge_keys_yield_to_keys_of_their_own_map(void **state)
{
    world_t *w = *state;
    const cn_node_t *n = read(w, "base: &b {x: 1, y: 1}\nmore: &m {y: 2, z: 2}\n"
                                 "one: {y: 9, <<: *b}\ntwo: {<<: [*b, *m], x: 7}\n");
    const cn_node_t *one = cn_node_get(n, "one"), *two = cn_node_get(n, "two");

    assert_string_equal(cn_node_str(one, "x").p, "1");
    assert_string_equal(cn_node_str(one, "y").p, "9");
    assert_string_equal(cn_node_str(two, "x").p, "7");
    assert_string_equal(cn_node_str(two, "y").p, "1");
    assert_string_equal(cn_node_str(two, "z").p, "2");
    assert_int_equal(w->diag.warnings, 0);
}

static void test_a_key_given_twice_is_said_and_the_last_one_counts(void **state)
{
    world_t *w = *state;
    const cn_node_t *n = read(w, "a: 1\nb: 2\na: 3\n");

    assert_int_equal(n->n, 2);
    assert_string_equal(cn_node_str(n, "a").p, "3");
    assert_non_null(strstr(printed(w), "x.yaml:3: warning: \"a\" is given twice"));
}

static void test_keys_given_twice_are_found_in_large_maps(void **state)
{
    world_t *w = *state;
    char text[4096];
    size_t n = 0;

    for (int i = 0; i < 200; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "key%d: %d\n", i, i);
    snprintf(text + n, sizeof(text) - n, "key7: again\n");
    assert_string_equal(cn_node_str(read(w, text), "key7").p, "again");
    assert_int_equal(w->docs[0]->n, 200);
    assert_int_equal(w->diag.warnings, 1);
}

static void test_managed_fields_are_not_kept(void **state)
{
    world_t *w = *state;
    const cn_node_t *n =
        read(w, "m:\n  managedFields:\n  - {f: {g: [1, {a: *nowhere}]}}\n  name: x\n");

    assert_null(cn_node_get(cn_node_get(n, "m"), "managedFields"));
    assert_string_equal(cn_node_str(cn_node_get(n, "m"), "name").p, "x");
    assert_int_equal(w->diag.errors, 0);
}

static void refuse(world_t *w, const char *text, const char *why)
{
    read(w, text);
    assert_int_equal(w->n, 0);
    assert_non_null(strstr(printed(w), why));
}

static void test_alias_bombs_are_refused(void **state)
{
    char text[2048];
    size_t n = (size_t)snprintf(text, sizeof(text), "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");

    for (int i = 1; i < 12; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n,
                              "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1,
                              i - 1, i - 1, i - 1, i - 1);
    refuse(*state, text, "aliases expand to more than 100000 nodes");
}

static void test_merge_bombs_are_refused(void **state)
{
    char text[4096];
    size_t n = (size_t)snprintf(text, sizeof(text), "a0: &a0 {k: [x,x,x,x,x,x,x,x,x,x]}\n");

    for (int i = 1; i < 14; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n,
                              "a%d: &a%d {<<: *a%d, b%d: *a%d, c%d: *a%d, d%d: *a%d}\n", i, i,
                              i - 1, i, i - 1, i, i - 1, i, i - 1);
    refuse(*state, text, "aliases expand to more than 100000 nodes");
}

static void test_what_has_no_meaning_is_refused(void **state)
{
    refuse(*state, "a: &x [1, *x]", "inside its own anchor");
    refuse(*state, "a: *x", "no anchor \"&x\"");
    refuse(*state, "? [a]\n: b", "a key must be text, not a list");
    refuse(*state, "<<: 5", "\"<<\" needs a map");
}

static void test_nesting_is_bounded(void **state)
{
    char text[2 * CN_YAML_MAX_DEPTH + 16] = "a: ";

    memset(text + 3, '[', CN_YAML_MAX_DEPTH + 1);
    memset(text + 3 + CN_YAML_MAX_DEPTH + 1, ']', CN_YAML_MAX_DEPTH + 1);
    refuse(*state, text, "nested deeper than 256 levels");
}

static void test_json_that_is_no_yaml_is_read_as_json(void **state)
{
    world_t *w = *state;

    read(w, "\n{\"a\": \"\\ud83d\\ude00\", \"b\": [1, 2.5, true, null, {}]}\n{\"c\": \"d\"}\n");
    assert_int_equal(w->diag.errors, 0);
    assert_int_equal(w->n, 2);
    assert_string_equal(cn_node_str(w->docs[0], "a").p, "\xf0\x9f\x98\x80");
    assert_int_equal(cn_node_get(w->docs[0], "b")->n, 5);
    assert_int_equal(cn_node_get(w->docs[0], "b")->items[0].value->kind, CN_NODE_INT);
    assert_int_equal(w->docs[0]->pos.line, 2);
    assert_int_equal(w->docs[1]->pos.line, 3);
}

static void test_broken_json_in_a_json_file_is_reported_as_json(void **state)
{
    world_t *w = *state;

    w->src.name = CN_STR("x.json");
    refuse(w, "{\"a\": 1,\n \"b\" 2}\n", "x.json:2: error: the document is left out: ':' expected");
}

static void test_empty_documents_are_nothing(void **state)
{
    world_t *w = *state;

    assert_null(read(w, ""));
    assert_null(read(w, "---\n---\n# only a comment\n---\n~\n"));
    assert_int_equal(w->diag.errors, 0);
}

static void test_lookups_accept_every_kind_of_node(void **state)
{
    world_t *w = *state;
    const cn_node_t *n = read(w, "{a: text, b: [x], c: {d: e}, f: null}");
    const cn_node_item_t *items = NULL;

    assert_null(cn_node_get(NULL, "a"));
    assert_null(cn_node_get(cn_node_get(n, "a"), "x"));
    assert_null(cn_node_get(n, "f"));
    assert_int_equal(cn_node_str(n, "b").n, 0);
    assert_int_equal(cn_node_list(n, "c", &items), 0);
    assert_int_equal(cn_node_list(n, "b", &items), 1);
    assert_string_equal(cn_node_kind_name(NULL), "nothing");
    assert_string_equal(cn_node_kind_name(n), "a map");
}

static void test_lines_are_sorted_cleaned_and_said_once(void **state)
{
    world_t *w = *state;
    cn_source_t later = {CN_STR("y.yaml"), 1};

    cn_diag_warn(&w->diag, (cn_place_t){&later, 1}, "c");
    cn_diag_warn(&w->diag, (cn_place_t){&w->src, 2}, "b\nx.yaml:9: error: forged\x7f");
    cn_diag_error(&w->diag, (cn_place_t){&w->src, 1}, "a");
    cn_diag_error(&w->diag, (cn_place_t){&w->src, 1}, "a");
    cn_diag_error(&w->diag, (cn_place_t){NULL, 0}, "first");
    assert_int_equal(w->diag.errors, 2);
    assert_string_equal(printed(w), "cairn-gen: error: first\n"
                                    "x.yaml:1: error: a\n"
                                    "x.yaml:2: warning: b\\x0ax.yaml:9: error: forged\\x7f\n"
                                    "y.yaml:1: warning: c\n");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_scalars_have_the_types_that_kubernetes_gives_them),
        T(test_truth_is_only_what_says_true),
        T(test_every_node_knows_its_line),
        T(test_a_broken_document_costs_only_itself),
        T(test_bytes_that_are_not_text_are_refused_with_their_line),
        T(test_a_marker_inside_of_a_line_or_indented_does_not_split),
        T(test_directives_belong_to_the_document_behind_them),
        T(test_carriage_returns_and_byte_order_marks_do_not_matter),
        T(test_aliases_share_their_node),
        T(test_merge_keys_yield_to_keys_of_their_own_map),
        T(test_a_key_given_twice_is_said_and_the_last_one_counts),
        T(test_keys_given_twice_are_found_in_large_maps),
        T(test_managed_fields_are_not_kept),
        T(test_alias_bombs_are_refused),
        T(test_merge_bombs_are_refused),
        T(test_what_has_no_meaning_is_refused),
        T(test_nesting_is_bounded),
        T(test_json_that_is_no_yaml_is_read_as_json),
        T(test_broken_json_in_a_json_file_is_reported_as_json),
        T(test_empty_documents_are_nothing),
        T(test_lookups_accept_every_kind_of_node),
        T(test_lines_are_sorted_cleaned_and_said_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
