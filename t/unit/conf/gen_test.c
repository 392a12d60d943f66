/* SPDX-License-Identifier: Apache-2.0 */
#include "../fixture/conf_units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct {
    cn_bundle_t *b;
    cn_pool_t *pool;
    cn_conf_load_t load;
    cn_gen_t *gen;
    cn_str_t why;
} fixture_t;

static int setup(void **state)
{
    fixture_t *f = calloc(1, sizeof(*f));

    f->b = cn_bundle_create(CN_STR_NULL);
    f->pool = cn_pool_create(0);
    f->load = (cn_conf_load_t){.units = &cn_fixture_units, .bundle = f->b, .file = CN_STR("main")};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;

    cn_gen_unref(f->gen);
    cn_bundle_destroy(f->b);
    cn_pool_destroy(f->pool);
    free(f);
    return cn_fixture_live;
}

static void put(fixture_t *f, const char *path, const char *text)
{
    cn_bundle_put(f->b, cn_str_c(path), cn_str_c(text));
}

static void expect_ok(fixture_t *f)
{
    cn_rc rc;

    cn_gen_unref(f->gen);
    rc = cn_gen_load(&f->load, f->pool, &f->gen, &f->why);
    if (rc != CN_OK)
        print_error("%.*s\n", CN_STR_ARG(f->why));
    assert_int_equal(rc, CN_OK);
}

static void expect_error(fixture_t *f, const char *line)
{
    cn_gen_unref(f->gen);
    assert_int_equal(cn_gen_load(&f->load, f->pool, &f->gen, &f->why), CN_ERR);
    assert_null(f->gen);
    assert_string_equal(cn_pool_cstr(f->pool, f->why), line);
}

static const main_conf_t *main_conf(const fixture_t *f)
{
    return f->gen->main->confs[UNIT_MAIN];
}

static cn_section_t *service(const fixture_t *f, const char *name)
{
    return cn_map_get(&f->gen->services, cn_str_c(name));
}

static cn_section_t *at(const fixture_t *f, const char *address)
{
    cn_addr_t addr;

    assert_int_equal(cn_inet_parse_hostport(cn_str_c(address), true, &addr), CN_OK);
    return cn_gen_find(f->gen, &addr);
}

/* ---- include ---- */

static void test_include_reads_settings_and_blocks_in_order(void **state)
{
    fixture_t *f = *state;

    put(f, "main", "tag a; include settings; include d/*.conf; include none/*.conf; include last;");
    put(f, "settings", "tag b;");
    put(f, "d/2.conf", "service s2 { route r { } }");
    put(f, "d/1.conf", "service s1 { }");
    put(f, "d/1.txt", "frob;");
    put(f, "last", "cluster c { }");
    expect_ok(f);
    assert_int_equal(((mod_conf_t *)f->gen->main->confs[UNIT_MOD])->tags.n, 2);
    assert_true(cn_str_eq(service(f, "s2")->where, CN_STR("d/2.conf:1")));
    assert_true(cn_str_eq(service(f, "s2")->routes[0].where, CN_STR("d/2.conf:1")));
    assert_non_null(service(f, "s1"));
    assert_non_null(cn_map_get(&f->gen->clusters, CN_STR("c")));
}

static void test_missing_include_is_an_error(void **state)
{
    fixture_t *f = *state;

    put(f, "main", "\ninclude none;");
    expect_error(f, "main:2: cannot read \"none\": No such file or directory");
}

static void test_errors_name_the_included_file(void **state)
{
    fixture_t *f = *state;

    put(f, "main", "include a;");
    put(f, "a", "pid x;\nfrob;");
    expect_error(f, "a:2: unknown directive \"frob\"");
    put(f, "a", "service x {\n host y;\n");
    expect_error(
        f,
        "a:3: the file ends inside block \"service x\", which began on line 1: \"}\" is missing");
    put(f, "a", "pid x");
    expect_error(f, "a:1: directive \"pid\" is not ended by \";\"");
    put(f, "a", "}");
    expect_error(f, "a:1: unexpected \"}\": expected the name of a directive");
}

static void test_a_file_is_included_once(void **state)
{
    fixture_t *f = *state;

    put(f, "main", "include a;\ninclude *a;");
    put(f, "a", "pid x;");
    expect_error(f, "main:2: \"a\" is included again: it was already read at main:1");
    put(f, "main", "include main;");
    expect_error(f, "main:1: \"main\" is included again: it was already read at main:1");
    put(f, "main", "include a;");
    put(f, "a", "\ninclude b;");
    put(f, "b", "include a;");
    expect_error(f, "b:1: \"a\" is included again: it was already read at main:1");
}

static void test_include_depth_is_bounded(void **state)
{
    fixture_t *f = *state;

    put(f, "main", "include 1;");
    for (int i = 1; i < 9; i++) {
        char name[2] = {(char)('0' + i), 0};
        char text[32];

        snprintf(text, sizeof(text), "include %d;", i + 1);
        put(f, name, i < 8 ? text : "");
    }
    expect_ok(f);
    put(f, "8", "include 9;");
    put(f, "9", "");
    expect_error(f, "8:1: files include each other deeper than 8");
}

static void test_second_use_in_another_file_names_the_first(void **state)
{
    fixture_t *f = *state;

    put(f, "main", "pid x;\ninclude a;");
    put(f, "a", "\npid y;");
    expect_error(f, "a:2: directive \"pid\" is given again: the first one is at main:1");
}

static void test_settings_after_an_included_block_are_refused(void **state)
{
    fixture_t *f = *state;

    put(f, "main", "include a;\npid x;");
    put(f, "a", "\nservice s { }");
    expect_error(f, "main:2: directive \"pid\" stands after a nested block (a:2): settings must "
                    "stand before all "
                    "\"service\" and \"cluster\" blocks of their level");
}

/* ---- sections ---- */

static void test_names_are_unique_among_their_kind(void **state)
{
    fixture_t *f = *state;

    put(f, "main", "service x { }\ncluster x { }\nservice \"x\" { }");
    expect_error(f, "main:3: service \"x\" is given again: the first one is at main:1");
    put(f, "main", "cluster x { }\ncluster x { }");
    expect_error(f, "main:2: cluster \"x\" is given again: the first one is at main:1");
}

static void test_exact_port_wins_over_any_port(void **state)
{
    fixture_t *f = *state;

    put(f, "main",
        "service any { address 10.0.0.1:0; } service one { address 10.0.0.1:80 [fd00::1]:80 "
        "[::]:80; }");
    expect_ok(f);
    assert_ptr_equal(at(f, "10.0.0.1:80"), service(f, "one"));
    assert_ptr_equal(at(f, "10.0.0.1:81"), service(f, "any"));
    assert_ptr_equal(at(f, "[fd00::1]:80"), service(f, "one"));
    assert_ptr_equal(at(f, "[::ffff:10.0.0.1]:80"), service(f, "one"));
    assert_null(at(f, "[fd00::1]:81"));
    assert_null(at(f, "10.0.0.2:80"));
    assert_null(cn_gen_find(f->gen, &(cn_addr_t){.port = 80}));
}

static void test_two_services_cannot_share_an_address(void **state)
{
    fixture_t *f = *state;

    put(f, "main",
        "service a { address 10.0.0.1:80 10.0.0.1:80; }\nservice b { address 10.0.0.1:80; }");
    expect_error(f, "main:2: address 10.0.0.1:80 already belongs to service \"a\" (main:1)");
    put(f, "main", "service a { address 10.0.0.1:0; }\nservice b { address 10.0.0.1:0; }");
    expect_error(
        f, "main:2: address 10.0.0.1 with any port already belongs to service \"a\" (main:1)");
    put(f, "main", "service a { host x.y; }\nservice b { host X.Y; }");
    expect_error(f, "main:2: host X.Y with port 80 already belongs to service \"a\" (main:1)");
}

static void test_hosts_are_found_by_name_in_any_case(void **state)
{
    fixture_t *f = *state;
    char name[300];

    put(f, "main", "service a { host A.ns.svc; }");
    expect_ok(f);
    assert_ptr_equal(cn_gen_find_host(f->gen, CN_STR("a.NS.svc"), 80), service(f, "a"));
    assert_ptr_equal(cn_gen_find_host(f->gen, CN_STR("a.ns.svc."), 80), service(f, "a"));
    assert_null(cn_gen_find_host(f->gen, CN_STR("a.ns.svc"), 81));
    assert_null(cn_gen_find_host(f->gen, CN_STR("a.ns"), 80));
    assert_null(cn_gen_find_host(f->gen, CN_STR(""), 80));
    assert_null(cn_gen_find_host(f->gen, CN_STR("."), 80));
    memset(name, 'x', sizeof(name));
    assert_null(cn_gen_find_host(f->gen, cn_str_make(name, sizeof(name)), 80));
}

static void test_texts_are_found_by_either_path(void **state)
{
    fixture_t *f = *state;
    cn_bundle_t *b = cn_bundle_create(CN_STR("/no/such/"));
    cn_section_t *c;

    cn_bundle_put(b, CN_STR("main"), CN_STR("cluster c { endpoints e; }"));
    cn_bundle_put(b, CN_STR("/no/such/e"), CN_STR("text"));
    f->load.bundle = b;
    expect_ok(f);
    cn_bundle_destroy(b);
    c = cn_map_get(&f->gen->clusters, CN_STR("c"));
    assert_string_equal(((up_conf_t *)c->confs[UNIT_UP])->path.p, "/no/such/e");
    assert_true(cn_str_eq(cn_gen_text(f->gen, CN_STR("e")), CN_STR("text")));
    assert_true(cn_str_eq(cn_gen_text(f->gen, CN_STR("/no/such/e")), CN_STR("text")));
}

static void test_texts_are_shared_where_sections_are(void **state)
{
    static const char *const mains[] = {"cluster c { endpoints e; }",
                                        "cluster c { endpoints e; } cluster d { }",
                                        "tag other; cluster c { endpoints e; }"};
    fixture_t *f = *state;
    const cn_text_t *v[CN_COUNT(mains)];
    cn_gen_t *gens[CN_COUNT(mains)];

    for (unsigned i = 0; i < CN_COUNT(mains); i++) {
        f->load.bundle = cn_bundle_create(CN_STR("/no/such/"));
        f->load.prev = i ? gens[0] : NULL;
        cn_bundle_put(f->load.bundle, CN_STR("main"), cn_str_c(mains[i]));
        cn_bundle_put(f->load.bundle, CN_STR("/no/such/e"), CN_STR("text"));
        expect_ok(f);
        cn_bundle_destroy(f->load.bundle);
        gens[i] = f->gen;
        f->gen = NULL;
        v[i] = cn_gen_text_find(gens[i], CN_STR("e"));
    }
    assert_ptr_equal(v[0], v[1]);
    assert_ptr_not_equal(v[0], v[2]); /* all is made anew: nothing of the old one stays */
    for (unsigned i = 0; i < CN_COUNT(mains); i++)
        cn_gen_unref(gens[i]);
}

/* ---- -g ---- */

static void test_extra_wins_over_the_file(void **state)
{
    fixture_t *f = *state;

    put(f, "main", "pid file; rule r { frob { } } tag file; include a; service s { tag inner; }");
    put(f, "a", "worker_processes 65; daemon on;");
    f->load.extra =
        CN_STR("pid \"extra\"; tag one; tag two; worker_processes 3;\nrule x { to y; }");
    expect_ok(f);
    assert_string_equal(main_conf(f)->pid.p, "extra");
    assert_int_equal(main_conf(f)->workers, 3);
    assert_true(main_conf(f)->daemon);
    assert_int_equal(((mod_conf_t *)f->gen->main->confs[UNIT_MOD])->tags.n, 2);
    /* Below the main level nothing is overridden. */
    assert_int_equal(((mod_conf_t *)service(f, "s")->confs[UNIT_MOD])->tags.n, 1);
}

static void test_extra_holds_settings_only(void **state)
{
    fixture_t *f = *state;

    put(f, "main", "");
    f->load.extra = CN_STR("pid x;\nservice s { }");
    expect_error(f, "-g:2: directive \"service\" may not stand here, only settings");
    f->load.extra = CN_STR("include main;");
    expect_error(f, "-g:1: directive \"include\" may not stand here, only settings");
    f->load.extra = CN_STR("pid x");
    expect_error(f, "-g:1: directive \"pid\" is not ended by \";\"");
    f->load.extra = CN_STR("pid x; pid y;");
    expect_error(f, "-g:1: directive \"pid\" is given again: the first one is at -g:1");
}

/* ---- modes ---- */

static void test_main_only_passes_over_sections(void **state)
{
    fixture_t *f = *state;
    uint64_t structural;

    put(f, "main", "worker_processes 2; include a; service s { frob \"}\"; more { } }");
    put(f, "a", "cluster c { endpoints none; }");
    f->load.main_only = true;
    expect_ok(f);
    structural = f->gen->structural_hash;
    assert_int_equal(f->gen->services.used + f->gen->clusters.used + f->gen->texts.used, 0);
    assert_int_equal(main_conf(f)->workers, 2);
    put(f, "main", "worker_processes 2; service s { }");
    f->load.main_only = false;
    expect_ok(f);
    assert_true(structural == f->gen->structural_hash);
    put(f, "main", "\nservice s { a {");
    f->load.main_only = true;
    expect_error(f, "main:2: block \"service s\" is not closed: \"}\" is missing");
}

static void test_dump_shows_every_file_once(void **state)
{
    fixture_t *f = *state;
    char *text = NULL;
    size_t n = 0;

    put(f, "main", "include a;\n");
    put(f, "a", "cluster c { endpoints e; } cluster d { endpoints e; }");
    put(f, "e", "10.0.0.1:80\n");
    f->load.dump = open_memstream(&text, &n);
    expect_ok(f);
    fclose(f->load.dump);
    assert_string_equal(
        text, "# configuration file main:\ninclude a;\n\n"
              "# configuration file a:\ncluster c { endpoints e; } cluster d { endpoints e; }\n\n"
              "# configuration file e:\n10.0.0.1:80\n\n");
    free(text);
}

static void test_missing_main_file_is_an_error(void **state)
{
    expect_error(*state, "main: cannot read the configuration: No such file or directory");
}

static void test_a_saved_bundle_gives_the_same_generation(void **state)
{
    fixture_t *f = *state;
    cn_gen_t *first;
    cn_bundle_t *again;
    int fd;

    put(f, "main", "worker_processes 2; include d/*;");
    put(f, "d/a", "service s { address 10.0.0.1:80; }");
    put(f, "d/b", "cluster c { endpoints e; }");
    put(f, "e", "text");
    expect_ok(f);
    first = cn_gen_ref(f->gen);
    assert_int_equal(cn_bundle_save(f->b, &fd), CN_OK);
    assert_int_equal(cn_bundle_open(fd, &again), CN_OK);
    close(fd);
    f->load.bundle = again;
    expect_ok(f);
    cn_bundle_destroy(again);
    assert_true(f->gen->structural_hash == first->structural_hash);
    assert_true(f->gen->main->hash == first->main->hash);
    assert_true(service(f, "s")->hash ==
                ((cn_section_t *)cn_map_get(&first->services, CN_STR("s")))->hash);
    assert_true(cn_str_eq(cn_gen_text(f->gen, CN_STR("e")), CN_STR("text")));
    cn_gen_unref(first);
}

static void test_reference_shows_every_table(void **state CN_UNUSED)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);

    cn_conf_reference(&cn_fixture_units, out);
    fclose(out);
    assert_non_null(strstr(text, "<section id=\"blocks.route\">"));
    assert_non_null(strstr(text, "<section id=\"main.worker_processes\">"));
    assert_non_null(strstr(text, "<section id=\"mod.rule.from.names\">"));
    assert_non_null(strstr(text, "How many &lt;workers&gt; &quot;run&quot; &amp; serve."));
    assert_non_null(strstr(text, "main, service, route; may be given several times"));
    assert_non_null(strstr(text, "<code>error_log PATH [LEVEL]</code>"));
    free(text);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_include_reads_settings_and_blocks_in_order),
        T(test_missing_include_is_an_error),
        T(test_errors_name_the_included_file),
        T(test_a_file_is_included_once),
        T(test_include_depth_is_bounded),
        T(test_second_use_in_another_file_names_the_first),
        T(test_settings_after_an_included_block_are_refused),
        T(test_names_are_unique_among_their_kind),
        T(test_exact_port_wins_over_any_port),
        T(test_two_services_cannot_share_an_address),
        T(test_hosts_are_found_by_name_in_any_case),
        T(test_texts_are_found_by_either_path),
        T(test_texts_are_shared_where_sections_are),
        T(test_extra_wins_over_the_file),
        T(test_extra_holds_settings_only),
        T(test_main_only_passes_over_sections),
        T(test_dump_shows_every_file_once),
        T(test_missing_main_file_is_an_error),
        T(test_a_saved_bundle_gives_the_same_generation),
        T(test_reference_shows_every_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
