/* SPDX-License-Identifier: Apache-2.0 */
#include "../fixture/conf_units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define S(...) "service a { " __VA_ARGS__ " }"

static cn_gen_t *load(const char *text)
{
    char why[CN_FIXTURE_WHY];
    cn_gen_t *gen = cn_fixture_load_text(text, NULL, why);

    if (!gen)
        print_error("%s\n", why);
    assert_non_null(gen);
    return gen;
}

static void unload(cn_gen_t *gen)
{
    cn_gen_unref(gen);
    assert_int_equal(cn_fixture_live, 0);
}

/* The whole error line; and nothing is left behind. */
static void expect_error(const char *text, const char *line)
{
    char why[CN_FIXTURE_WHY];

    assert_null(cn_fixture_load_text(text, NULL, why));
    assert_string_equal(why, line);
    assert_int_equal(cn_fixture_live, 0);
}

static void expect_error_with(const char *text, const char *part)
{
    char why[CN_FIXTURE_WHY];

    assert_null(cn_fixture_load_text(text, NULL, why));
    if (!strstr(why, part))
        print_error("expected: %s\nfound:    %s\n", part, why);
    assert_non_null(strstr(why, part));
    assert_int_equal(cn_fixture_live, 0);
}

static void append(char *text, size_t cap, const char *more, int times)
{
    size_t n = strlen(text);

    for (int i = 0; i < times; i++)
        n += (size_t)snprintf(text + n, cap - n, "%s", more);
}

static const mod_conf_t *mod_of(void **confs)
{
    return confs[UNIT_MOD];
}

static cn_section_t *service(const cn_gen_t *gen, const char *name)
{
    cn_section_t *s = cn_map_get(&gen->services, cn_str_c(name));

    assert_non_null(s);
    return s;
}

static void expect_words(const cn_vec_t *list, const char *joined)
{
    char buf[256] = "";
    size_t n = 0;

    for (uint32_t i = 0; i < list->n; i++) {
        cn_str_t w = ((cn_str_t *)list->v)[i];

        n += (size_t)snprintf(buf + n, sizeof(buf) - n, "%s%.*s", i ? " " : "", CN_STR_ARG(w));
    }
    assert_string_equal(buf, joined);
}

static void test_unknown_directive_is_named(void **state CN_UNUSED)
{
    expect_error("pid x;\nfrobnicate 1;\n", "main:2: unknown directive \"frobnicate\"");
    expect_error(
        "service a {\n\n frob;\n}\n",
        "main:3: unknown directive \"frob\" in block \"service a\", which began on line 1");
    expect_error("rule r {\n frob;\n}\n",
                 "main:2: unknown directive \"frob\" in block \"rule r\", which began on line 1");
}

static void test_misplaced_directive_says_where_it_belongs(void **state CN_UNUSED)
{
    expect_error("address 1.2.3.4:1;\n", "main:1: directive \"address\" may not stand on main "
                                         "level: it belongs in a \"service\" block");
    expect_error(
        S("pid x;"),
        "main:1: directive \"pid\" may not stand here in block \"service a\", which began on "
        "line 1: it belongs on main level (is a \"}\" missing?)");
    expect_error_with("host x;", "it belongs in a \"service\" block or in a \"cluster\" block");
    expect_error_with(S("route r { service b { } }"),
                      "it belongs on main level (is a \"}\" missing?)");
    expect_error_with("route r { }",
                      "may not stand on main level: it belongs in a \"service\" block");
    expect_error_with(S("include x;"), "it belongs on main level");
}

static void test_wrong_number_of_arguments_shows_the_syntax(void **state CN_UNUSED)
{
    expect_error("pid;",
                 "main:1: directive \"pid\" has too few arguments (0): expected \"pid PATH\"");
    expect_error("pid a b;",
                 "main:1: directive \"pid\" has too many arguments (2): expected \"pid PATH\"");
    expect_error("service { }", "main:1: directive \"service\" has too few arguments (0): expected "
                                "\"service NAME { ... }\"");
}

static void test_missing_semicolon_is_reported_with_its_line(void **state CN_UNUSED)
{
    expect_error("pid\n x\nuser y;\n",
                 "main:1: directive \"pid\" has too many arguments (3): expected \"pid PATH\" "
                 "(is \";\" missing at the end of line 2?)");
    expect_error("pid x\nuser y;\n",
                 "main:1: directive \"pid\" has too many arguments (3): expected \"pid PATH\" "
                 "(is \";\" missing at the end of line 1?)");
    expect_error("pid x\n", "main:1: directive \"pid\" is not ended by \";\"");
    expect_error(S("host x"), "main:1: directive \"host\" is not ended by \";\"");
    expect_error("error_log x\n{\n}\n",
                 "main:1: directive \"error_log\" has no block: expected \"error_log PATH "
                 "[LEVEL];\" (is \";\" missing at the end of line 1?)");
    expect_error("listen 1.2.3.4:5 x\nservice a {\n}\n",
                 "main:1: directive \"listen\" has no block: expected \"listen IP:PORT KIND "
                 "[OPTION...];\" (is \";\" "
                 "missing at the end of line 1?)");
}

static void test_missing_brace_is_reported_with_the_line_of_its_block(void **state CN_UNUSED)
{
    expect_error("pid x;\nservice a {\n host x;\n", "main:4: the file ends inside block \"service "
                                                    "a\", which began on line 2: \"}\" is missing");
    expect_error(S("rule r {\n to x;\n"), "main:3: the file ends inside block \"service a\", which "
                                          "began on line 1: \"}\" is missing");
    expect_error("service a {\n rule r {\n to x;\n route b {\n }\n}\n",
                 "main:4: directive \"route\" may not stand here in block \"rule r\", which began "
                 "on line 2: it "
                 "belongs in a \"service\" block (is a \"}\" missing?)");
    expect_error_with("rule r {\n to x;\n",
                      "the file ends inside block \"rule r\", which began on line 1");
}

static void test_stray_signs_are_refused(void **state CN_UNUSED)
{
    expect_error("pid x;\n}\n", "main:2: unexpected \"}\": expected the name of a directive");
    expect_error("pid x;;\n", "main:1: unexpected \";\": expected the name of a directive");
    expect_error("{ }", "main:1: unexpected \"{\": expected the name of a directive");
    expect_error(S("rule r { to x; }; "),
                 "main:1: unexpected \";\": expected the name of a directive");
}

static void test_block_and_semicolon_are_not_mixed_up(void **state CN_UNUSED)
{
    expect_error("service a;",
                 "main:1: directive \"service\" needs a block in { } instead of \";\"");
    expect_error("rule a;", "main:1: directive \"rule\" needs a block in { } instead of \";\"");
    expect_error("pid x { }", "main:1: directive \"pid\" has no block: expected \"pid PATH;\"");
}

static void test_second_use_names_the_first(void **state CN_UNUSED)
{
    expect_error("pid x;\nuser u;\npid y;\n",
                 "main:3: directive \"pid\" is given again: the first one is at main:1");
    expect_error("rule r {\n to a;\n to b;\n}\n",
                 "main:3: directive \"to\" is given again: the first one is at main:2");
    /* Another block, and another level, are another place. */
    unload(load("limit 1; rule r { to x; } rule s { to y; } service b { limit 5; }"
                " service a { limit 2; route r { limit 3; } route s { limit 4; } }"));
}

static void test_lexer_errors_are_reported_with_their_line(void **state CN_UNUSED)
{
    expect_error("pid x;\nuser \"y;\n", "main:2: a quote is opened on this line and not closed");
    expect_error_with("pid a\"b;", "main:1: a quote inside a word");
    expect_error_with(S("host 'x';"), "main:1: single quotes");
}

static void test_setter_errors_are_reported_with_their_line(void **state CN_UNUSED)
{
    expect_error("\nworker_processes 65;\n", "main:2: \"65\" is not a number from 1 to 64");
    expect_error(S("\naddress x;"), "main:2: \"x\" is no address");
    expect_error("refuse;", "main:1: directive \"refuse\" was refused");
}

static void test_error_after_an_inner_block_points_at_its_directive(void **state CN_UNUSED)
{
    expect_error("rule r {\n from {\n }\n}\n", "main:1: rule \"r\" says nothing");
}

static void test_done_errors_point_at_the_block(void **state CN_UNUSED)
{
    expect_error(S("\nroute r {\n limit 13;\n }\n"), "main:2: a limit of 13 brings bad luck");
    expect_error("\nservice a {\n limit 13;\n }\n", "main:2: a limit of 13 brings bad luck");
    expect_error("limit 13;\n", "main: a limit of 13 brings bad luck");
    expect_error("limit 13;\nservice a { }\n", "main: a limit of 13 brings bad luck");
}

static void test_error_is_one_line_whatever_a_word_holds(void **state CN_UNUSED)
{
    char *text = malloc(9000);
    char why[CN_FIXTURE_WHY];

    expect_error("\"a\\nb\" x;", "main:1: unknown directive \"a\\nb\"");
    expect_error("enabled \"a\\nb\";",
                 "main:1: \"a b\" is neither on nor off: expected \"enabled on | off\"");
    memset(text, 'x', 8000);
    memcpy(text + 8000, " y;", 4);
    assert_null(cn_fixture_load_text(text, NULL, why));
    assert_in_range(strlen(why), 500, CN_FIXTURE_WHY - 1);
    free(text);
}

static void test_levels_start_as_copies_of_their_parents(void **state CN_UNUSED)
{
    cn_gen_t *gen = load("limit 1k; timeout 5s; enabled on; service a { timeout 6s; route r { "
                         "limit 2k; } route s { } }"
                         " service b { }");
    cn_section_t *a = service(gen, "a");
    cn_section_t *b = service(gen, "b");

    assert_int_equal(mod_of(gen->main->confs)->limit, 1024);
    assert_int_equal(mod_of(a->confs)->limit, 1024);
    assert_int_equal(mod_of(a->confs)->timeout, 6000);
    assert_int_equal(mod_of(b->confs)->timeout, 5000);
    assert_int_equal(a->nroutes, 2);
    assert_int_equal(mod_of(a->routes[0].confs)->limit, 2048);
    assert_int_equal(mod_of(a->routes[0].confs)->timeout, 6000);
    assert_int_equal(mod_of(a->routes[1].confs)->limit, 1024);
    assert_true(mod_of(a->routes[1].confs)->on);
    unload(gen);
}

static void test_units_without_settings_on_a_level_have_none(void **state CN_UNUSED)
{
    cn_gen_t *gen = load("service a { route r { } } cluster c { host x; }");
    cn_section_t *a = service(gen, "a");
    cn_section_t *c = cn_map_get(&gen->clusters, CN_STR("c"));

    assert_null(a->confs[UNIT_MAIN]);
    assert_non_null(a->confs[UNIT_NET]);
    assert_null(a->routes[0].confs[UNIT_NET]);
    assert_null(gen->main->confs[UNIT_NET]);
    assert_null(c->confs[UNIT_MOD]);
    assert_int_equal(c->level, CN_LV_CLUSTER);
    assert_true(cn_str_eq(((up_conf_t *)c->confs[UNIT_UP])->host, CN_STR("x")));
    unload(gen);
}

static const note_conf_t *note_of(void **confs)
{
    return confs[UNIT_NOTE];
}

static void test_a_block_that_says_nothing_has_the_outer_settings_themselves(void **state CN_UNUSED)
{
    cn_gen_t *gen = load("cluster c { } cluster d { host x; }"
                         "service s { note here; route same { } route other { note there; } }"
                         "service t { route plain { } route noted { note there; } }");
    cn_section_t *d = cn_map_get(&gen->clusters, CN_STR("d"));
    cn_section_t *c = cn_map_get(&gen->clusters, CN_STR("c"));
    cn_section_t *s = service(gen, "s"), *t = service(gen, "t");
    const up_conf_t *main = gen->main->confs[UNIT_UP];

    assert_ptr_equal(c->confs[UNIT_UP], main);
    assert_ptr_not_equal(d->confs[UNIT_UP], main);
    assert_int_equal(main->host.n, 0);
    assert_ptr_equal(note_of(s->routes[0].confs), note_of(s->confs));
    assert_true(cn_str_eq(note_of(s->confs)->note, CN_STR("here")));
    assert_true(cn_str_eq(note_of(s->routes[1].confs)->note, CN_STR("there")));
    assert_ptr_equal(note_of(t->routes[0].confs), note_of(t->confs));
    assert_int_equal(note_of(t->confs)->note.n, 0);
    assert_true(cn_str_eq(note_of(t->routes[1].confs)->note, CN_STR("there")));
    unload(gen);
}

static void test_inherited_settings_are_checked_too(void **state CN_UNUSED)
{
    expect_error_with("service s { note bad; route r { } }", "this note is bad");
}

static void test_lists_start_anew_on_each_level(void **state CN_UNUSED)
{
    cn_gen_t *gen = load(
        "tag m; tag n o; service a { tag s; tag t; route r { tag u; } route v { } } service b { }");
    cn_section_t *a = service(gen, "a");

    expect_words(&mod_of(gen->main->confs)->tags, "m n o");
    expect_words(&mod_of(a->confs)->tags, "s t");
    expect_words(&mod_of(a->routes[0].confs)->tags, "u");
    expect_words(&mod_of(a->routes[1].confs)->tags, "s t");
    expect_words(&mod_of(service(gen, "b")->confs)->tags, "m n o");
    unload(gen);
}

static void test_own_blocks_are_read_with_their_table(void **state CN_UNUSED)
{
    cn_gen_t *gen = load(S("\nrule x { from { names a b; names c; } from { names d; } to /p; }\n "
                           "rule y { to /q /r; } limit 7;"));
    const mod_conf_t *mc = mod_of(service(gen, "a")->confs);
    const rule_t *rules = mc->rules.v;

    assert_int_equal(mc->rules.n, 2);
    assert_true(cn_str_eq(rules[0].where, CN_STR("main:2")));
    expect_words(&rules[0].from, "d");
    expect_words(&rules[0].to, "/p");
    expect_words(&rules[1].to, "/q /r");
    assert_int_equal(mc->limit, 7);
    assert_int_equal(mc->first_rules, 1);
    unload(gen);
}

static void test_settings_stand_before_nested_blocks(void **state CN_UNUSED)
{
    expect_error("service a { }\npid x;\n", "main:2: directive \"pid\" stands after a nested block "
                                            "(main:1): settings must stand before all "
                                            "\"service\" and \"cluster\" blocks of their level");
    expect_error(S("\nroute r { }\nhost x;"), "main:3: directive \"host\" stands after a nested "
                                              "block (main:2): settings must stand before all "
                                              "\"route\" blocks of their level");
    unload(load("cluster c { } service a { host x; } cluster d { host y; }"));
}

static void test_nesting_is_bounded(void **state CN_UNUSED)
{
    char text[2048] = "service a { rule r { to x; ";

    append(text, sizeof(text), "nest { ", 14);
    append(text, sizeof(text), "} ", 16);
    unload(load(text));
    text[0] = '\0';
    append(text, sizeof(text), "service a { rule r { to x; ", 1);
    append(text, sizeof(text), "nest { ", 15);
    expect_error_with(text, "blocks are nested deeper than 16");
    append(text, sizeof(text), "} ", 17);
    expect_error_with(text, "blocks are nested deeper than 16");
    text[0] = '\0';
    append(text, sizeof(text), "rule r { to x; ", 1);
    append(text, sizeof(text), "nest { ", 15);
    append(text, sizeof(text), "} ", 16);
    unload(load(text));
    text[0] = '\0';
    append(text, sizeof(text), "rule r { to x; ", 1);
    append(text, sizeof(text), "nest { ", 16);
    expect_error_with(text, "blocks are nested deeper than 16");
}

static void test_number_of_words_is_bounded(void **state CN_UNUSED)
{
    size_t n = 2 * 65537;
    char *text = malloc(n + 32);
    char why[CN_FIXTURE_WHY];
    cn_gen_t *gen;

    memcpy(text, "tag", 3);
    for (size_t i = 3; i < n; i += 2)
        memcpy(text + i, " x", 2);
    memcpy(text + 3 + 2 * 65535, ";", 2);
    gen = load(text);
    assert_int_equal(mod_of(gen->main->confs)->tags.n, 65535);
    unload(gen);
    memcpy(text + 3 + 2 * 65535, " x;", 4);
    assert_null(cn_fixture_load_text(text, NULL, why));
    assert_non_null(strstr(why, "more than 65536 words"));
    free(text);
}

static void test_names_of_blocks_are_known_to_setters(void **state CN_UNUSED)
{
    cn_gen_t *gen = load("service \"a b\" { route r { } route s { } }");
    cn_section_t *a = service(gen, "a b");

    assert_true(cn_str_eq(((net_conf_t *)a->confs[UNIT_NET])->name, CN_STR("a b")));
    assert_true(cn_str_eq(mod_of(a->confs)->name, CN_STR("a b")));
    assert_true(cn_str_eq(mod_of(a->routes[0].confs)->name, CN_STR("r")));
    assert_true(cn_str_eq(a->routes[1].name, CN_STR("s")));
    assert_true(cn_str_eq(a->routes[1].where, CN_STR("main:1")));
    assert_int_equal(mod_of(gen->main->confs)->name.n, 0);
    unload(gen);
}

static void test_block_names_are_bounded(void **state CN_UNUSED)
{
    char text[600] = "cluster ";

    expect_error("service \"\" { }", "main:1: the name of a service has 1 to 255 bytes");
    expect_error_with(S("route \"\" { }"), "the name of a route");
    memset(text + 8, 'x', 256);
    append(text, sizeof(text), " { }", 1);
    expect_error_with(text, "the name of a cluster has 1 to 255 bytes");
}

static const cn_directive_t clashing[] = {
    {"pid", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_str, 0, NULL, "pid PATH", "x", NULL}, {.name = NULL}};

static void test_two_units_cannot_have_the_same_directive(void **state CN_UNUSED)
{
    const cn_conf_unit_t both[] = {cn_fixture_units.v[0], {"other", clashing, NULL}};
    const cn_units_t units = {.v = both, .n = 2};
    cn_bundle_t *b = cn_fixture_bundle("");
    cn_conf_load_t load_it = {.units = &units, .bundle = b, .file = CN_STR("main")};
    cn_pool_t *pool = cn_pool_create(0);
    cn_str_t why;
    cn_gen_t *gen;

    assert_int_equal(cn_gen_load(&load_it, pool, &gen, &why), CN_ERR);
    assert_null(gen);
    assert_non_null(
        strstr(cn_pool_cstr(pool, why), "\"pid\" is defined by both \"main\" and \"other\""));
    cn_pool_destroy(pool);
    cn_bundle_destroy(b);
}

static void test_a_directive_of_a_module_left_out_names_it(void **state CN_UNUSED)
{
    static const cn_conf_absent_t absent[] = {{"fault", "fault"}, {NULL, NULL}};
    cn_units_t units = cn_fixture_units;
    cn_bundle_t *b = cn_fixture_bundle("service a { fault delay 1s; }");
    cn_conf_load_t load_it = {.units = &units, .bundle = b, .file = CN_STR("main")};
    cn_pool_t *pool = cn_pool_create(0);
    cn_str_t why;
    cn_gen_t *gen;

    units.absent = absent;
    assert_int_equal(cn_gen_load(&load_it, pool, &gen, &why), CN_ERR);
    assert_string_equal(
        cn_pool_cstr(pool, why),
        "main:1: \"fault\" needs the module \"fault\", which this program was built without");
    cn_pool_destroy(pool);
    cn_bundle_destroy(b);
}

static void test_keyval_is_split_at_the_first_equals_sign(void **state CN_UNUSED)
{
    cn_str_t key;
    cn_str_t value;

    assert_true(cn_conf_keyval(CN_STR("a=b=c"), &key, &value));
    assert_true(cn_str_eq(key, CN_STR("a")));
    assert_true(cn_str_eq(value, CN_STR("b=c")));
    assert_true(cn_conf_keyval(CN_STR("="), &key, &value));
    assert_int_equal(key.n + value.n, 0);
    assert_false(cn_conf_keyval(CN_STR("abc"), &key, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_directive_is_named),
        cmocka_unit_test(test_misplaced_directive_says_where_it_belongs),
        cmocka_unit_test(test_wrong_number_of_arguments_shows_the_syntax),
        cmocka_unit_test(test_missing_semicolon_is_reported_with_its_line),
        cmocka_unit_test(test_missing_brace_is_reported_with_the_line_of_its_block),
        cmocka_unit_test(test_stray_signs_are_refused),
        cmocka_unit_test(test_block_and_semicolon_are_not_mixed_up),
        cmocka_unit_test(test_second_use_names_the_first),
        cmocka_unit_test(test_lexer_errors_are_reported_with_their_line),
        cmocka_unit_test(test_setter_errors_are_reported_with_their_line),
        cmocka_unit_test(test_error_after_an_inner_block_points_at_its_directive),
        cmocka_unit_test(test_done_errors_point_at_the_block),
        cmocka_unit_test(test_error_is_one_line_whatever_a_word_holds),
        cmocka_unit_test(test_levels_start_as_copies_of_their_parents),
        cmocka_unit_test(test_units_without_settings_on_a_level_have_none),
        cmocka_unit_test(test_a_block_that_says_nothing_has_the_outer_settings_themselves),
        cmocka_unit_test(test_inherited_settings_are_checked_too),
        cmocka_unit_test(test_lists_start_anew_on_each_level),
        cmocka_unit_test(test_own_blocks_are_read_with_their_table),
        cmocka_unit_test(test_settings_stand_before_nested_blocks),
        cmocka_unit_test(test_nesting_is_bounded),
        cmocka_unit_test(test_number_of_words_is_bounded),
        cmocka_unit_test(test_names_of_blocks_are_known_to_setters),
        cmocka_unit_test(test_block_names_are_bounded),
        cmocka_unit_test(test_two_units_cannot_have_the_same_directive),
        cmocka_unit_test(test_a_directive_of_a_module_left_out_names_it),
        cmocka_unit_test(test_keyval_is_split_at_the_first_equals_sign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
