/* SPDX-License-Identifier: Apache-2.0 */
#include "../fixture/conf_units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static cn_gen_t *load_bundle(cn_bundle_t *b, const cn_gen_t *prev)
{
    char why[CN_FIXTURE_WHY];
    cn_gen_t *gen = cn_fixture_load(b, prev, why);

    if (!gen)
        print_error("%s\n", why);
    assert_non_null(gen);
    return gen;
}

static cn_gen_t *load(const char *text, const cn_gen_t *prev)
{
    cn_bundle_t *b = cn_fixture_bundle(text);
    cn_gen_t *gen = load_bundle(b, prev);

    cn_bundle_destroy(b);
    return gen;
}

static cn_section_t *service(const cn_gen_t *gen, const char *name)
{
    return cn_map_get(&gen->services, cn_str_c(name));
}

static cn_section_t *cluster(const cn_gen_t *gen, const char *name)
{
    return cn_map_get(&gen->clusters, cn_str_c(name));
}

static cn_section_t *at(const cn_gen_t *gen, const char *address)
{
    cn_addr_t addr;

    assert_int_equal(cn_inet_parse_hostport(cn_str_c(address), true, &addr), CN_OK);
    return cn_gen_find(gen, &addr);
}

static int teardown(void **state CN_UNUSED)
{
    return cn_fixture_live;
}

static void test_unchanged_sections_are_shared_without_running_setters(void **state CN_UNUSED)
{
    cn_gen_t *one = load("service a { tag x; } service b { tag y; }", NULL);
    int sets = cn_fixture_sets;
    cn_gen_t *two = load("\n\nservice b { tag y; } service a { tag z; }", one);

    assert_int_equal(cn_fixture_sets, sets + 1);
    assert_ptr_equal(service(one, "b"), service(two, "b"));
    assert_ptr_not_equal(service(one, "a"), service(two, "a"));
    assert_int_equal(service(two, "b")->refs, 2);
    assert_int_equal(two->id, one->id + 1);
    cn_gen_unref(one);
    assert_int_equal(service(two, "b")->refs, 1);
    cn_gen_unref(two);
}

static void test_text_of_a_block_counts_from_its_name_to_its_brace(void **state CN_UNUSED)
{
    cn_gen_t *one = load("service a { tag x; } service b { } cluster a { }", NULL);
    cn_gen_t *two =
        load("service   a { tag x; } # new\nservice b { # new\n } cluster a { host h; }", one);

    assert_ptr_equal(service(one, "a"), service(two, "a"));
    assert_ptr_not_equal(service(one, "b"), service(two, "b"));
    assert_ptr_not_equal(cluster(one, "a"), cluster(two, "a"));
    assert_true(service(one, "b")->hash != service(two, "b")->hash);
    cn_gen_unref(one);
    cn_gen_unref(two);
}

static void test_changed_main_settings_renew_every_section(void **state CN_UNUSED)
{
    cn_gen_t *one = load("limit 1; service a { }", NULL);
    cn_gen_t *two = load("limit 2; service a { }", one);
    cn_gen_t *three = load("limit 2;\nrule r { to x; }\nservice a { }", two);
    cn_gen_t *four = load("limit 2; # same\nrule r {\n to x; }\nservice a { }", three);

    assert_ptr_not_equal(service(one, "a"), service(two, "a"));
    assert_int_equal(((mod_conf_t *)service(two, "a")->confs[UNIT_MOD])->limit, 2);
    assert_ptr_not_equal(service(two, "a"), service(three, "a"));
    assert_ptr_equal(service(three, "a"), service(four, "a"));
    cn_gen_unref(one);
    cn_gen_unref(two);
    cn_gen_unref(three);
    cn_gen_unref(four);
}

static void test_structural_settings_have_a_hash_of_their_own(void **state CN_UNUSED)
{
    cn_gen_t *one = load("worker_processes 1; limit 1; service a { }", NULL);
    cn_gen_t *two = load("worker_processes 2; limit 1; service a { }", one);
    cn_gen_t *three = load("worker_processes 2; limit 2; service a { }", two);
    cn_gen_t *four = load("worker_processes\n 2 ; limit 2; service b { }", three);

    assert_true(one->structural_hash != two->structural_hash);
    assert_ptr_equal(service(one, "a"), service(two, "a"));
    assert_ptr_not_equal(one->main, two->main);
    assert_int_equal(((main_conf_t *)two->main->confs[UNIT_MAIN])->workers, 2);
    assert_true(two->structural_hash == three->structural_hash);
    assert_true(three->structural_hash == four->structural_hash);
    cn_gen_unref(one);
    cn_gen_unref(two);
    cn_gen_unref(three);
    cn_gen_unref(four);
}

static void test_unchanged_main_section_is_shared(void **state CN_UNUSED)
{
    cn_gen_t *one = load("limit 1; service a { }", NULL);
    cn_gen_t *two = load("limit 1; service b { }", one);

    assert_ptr_equal(one->main, two->main);
    /* Both generations and both sections hold it. */
    assert_int_equal(two->main->refs, 4);
    cn_gen_unref(one);
    assert_int_equal(two->main->refs, 2);
    assert_int_equal(((mod_conf_t *)service(two, "b")->confs[UNIT_MOD])->limit, 1);
    cn_gen_unref(two);
}

static void test_shared_sections_keep_their_addresses(void **state CN_UNUSED)
{
    const char *text = "service a { address 10.0.0.1:80 [fd00::1]:80; host a.ns.svc; }";
    cn_gen_t *one = load(text, NULL);
    cn_gen_t *two = load(text, one);

    cn_gen_unref(one);
    assert_non_null(service(two, "a"));
    assert_ptr_equal(at(two, "10.0.0.1:80"), service(two, "a"));
    assert_ptr_equal(at(two, "[fd00::1]:80"), service(two, "a"));
    assert_ptr_equal(cn_gen_find_host(two, CN_STR("a.ns.svc"), 80), service(two, "a"));
    cn_gen_unref(two);
}

static void test_an_address_may_move_between_services(void **state CN_UNUSED)
{
    cn_gen_t *one =
        load("service a { address 10.0.0.1:80; } service b { address 10.0.0.2:80; }", NULL);
    cn_gen_t *two =
        load("service b { address 10.0.0.2:80 10.0.0.1:80; } service a { host x; }", one);

    assert_ptr_equal(at(one, "10.0.0.1:80"), service(one, "a"));
    assert_ptr_equal(at(two, "10.0.0.1:80"), service(two, "b"));
    cn_gen_unref(one);
    cn_gen_unref(two);
}

static void test_shared_section_cannot_keep_an_address_that_another_took(void **state CN_UNUSED)
{
    char why[CN_FIXTURE_WHY];
    cn_gen_t *one = load("service a { address 10.0.0.1:80; }", NULL);

    assert_null(cn_fixture_load_text(
        "service b { address 10.0.0.1:80; }\nservice a { address 10.0.0.1:80; }", one, why));
    assert_string_equal(why,
                        "main:2: address 10.0.0.1:80 already belongs to service \"b\" (main:1)");
    assert_int_equal(service(one, "a")->refs, 1);
    assert_ptr_equal(at(one, "10.0.0.1:80"), service(one, "a"));
    cn_gen_unref(one);
}

static void test_removed_sections_are_gone_from_the_new_generation_only(void **state CN_UNUSED)
{
    cn_gen_t *one = load("service a { address 10.0.0.1:80; } service b { }", NULL);
    cn_gen_t *two = load("service b { }", one);
    cn_section_t *pinned = cn_section_ref(service(one, "a"));

    assert_null(service(two, "a"));
    assert_null(at(two, "10.0.0.1:80"));
    cn_gen_unref(one);
    cn_gen_unref(two);
    /* What it was copied from is still there. */
    assert_int_equal(pinned->refs, 1);
    assert_int_equal(pinned->parent->refs, 1);
    assert_int_equal(cn_fixture_live, 2);
    cn_section_unref(pinned);
    assert_int_equal(cn_fixture_live, 0);
}

static cn_bundle_t *cluster_bundle(const char *endpoints)
{
    cn_bundle_t *b = cn_fixture_bundle("cluster c { endpoints e; } cluster d { endpoints f; }");

    cn_bundle_put(b, CN_STR("e"), cn_str_c(endpoints));
    cn_bundle_put(b, CN_STR("f"), CN_STR("same"));
    return b;
}

static void test_texts_of_shared_sections_are_in_the_new_generation(void **state CN_UNUSED)
{
    cn_bundle_t *b = cluster_bundle("1");
    cn_gen_t *one = load_bundle(b, NULL);
    cn_gen_t *two;

    cn_bundle_destroy(b);
    b = cluster_bundle("2");
    two = load_bundle(b, one);
    cn_bundle_destroy(b);
    assert_ptr_equal(cluster(one, "c"), cluster(two, "c"));
    assert_ptr_equal(cluster(one, "d"), cluster(two, "d"));
    assert_true(cn_str_eq(cn_gen_text(one, CN_STR("e")), CN_STR("1")));
    assert_true(cn_str_eq(cn_gen_text(two, CN_STR("e")), CN_STR("2")));
    assert_true(cn_gen_text_find(one, CN_STR("e"))->hash !=
                cn_gen_text_find(two, CN_STR("e"))->hash);
    /* A text that did not change is not held twice. */
    assert_ptr_equal(cn_gen_text_find(one, CN_STR("f")), cn_gen_text_find(two, CN_STR("f")));
    cn_gen_unref(one);
    assert_true(cn_str_eq(cn_gen_text(two, CN_STR("f")), CN_STR("same")));
    assert_null(cn_gen_text(two, CN_STR("g")).p);
    cn_gen_unref(two);
}

static void test_changed_text_is_judged_though_its_section_is_shared(void **state CN_UNUSED)
{
    char why[CN_FIXTURE_WHY];
    cn_bundle_t *b = cluster_bundle("1");
    cn_gen_t *one = load_bundle(b, NULL);

    cn_bundle_destroy(b);
    b = cluster_bundle("broken");
    assert_null(cn_fixture_load(b, one, why));
    assert_string_equal(why, "main:1: e: broken endpoint");
    cn_bundle_destroy(b);
    b = cn_fixture_bundle("cluster c { endpoints e; }");
    assert_null(cn_fixture_load(b, one, why));
    assert_string_equal(why, "main:1: cannot read \"e\": No such file or directory");
    cn_bundle_destroy(b);
    cn_gen_unref(one);
}

static void test_service_with_a_changed_text_keeps_its_addresses(void **state CN_UNUSED)
{
    cn_bundle_t *b = cn_fixture_bundle("service a { address 10.0.0.1:80; host h; endpoints e; }");
    cn_gen_t *one;
    cn_gen_t *two;

    cn_bundle_put(b, CN_STR("e"), CN_STR("1"));
    one = load_bundle(b, NULL);
    cn_bundle_put(b, CN_STR("e"), CN_STR("2"));
    two = load_bundle(b, one);
    cn_bundle_destroy(b);
    assert_ptr_equal(service(one, "a"), service(two, "a"));
    cn_gen_unref(one);
    assert_ptr_equal(at(two, "10.0.0.1:80"), service(two, "a"));
    assert_ptr_equal(cn_gen_find_host(two, CN_STR("h"), 80), service(two, "a"));
    cn_gen_unref(two);
}

static void test_text_of_main_is_in_every_generation(void **state CN_UNUSED)
{
    cn_bundle_t *b = cn_fixture_bundle("endpoints e; cluster c { endpoints e; }");
    cn_gen_t *one;
    cn_gen_t *two;

    cn_bundle_put(b, CN_STR("e"), CN_STR("1"));
    one = load_bundle(b, NULL);
    cn_bundle_put(b, CN_STR("e"), CN_STR("2"));
    two = load_bundle(b, one);
    cn_bundle_destroy(b);
    assert_ptr_equal(one->main, two->main);
    cn_gen_unref(one);
    assert_true(cn_str_eq(cn_gen_text(two, CN_STR("e")), CN_STR("2")));
    cn_gen_unref(two);
}

static void test_failed_load_frees_what_was_started(void **state CN_UNUSED)
{
    static const char *const texts[] = {
        "limit 1; frob;",
        "service a { tag x; route r { tag y; } route s { frob; } }",
        "service a { route r { } } service b { frob; } cluster c { }",
        "service a { refuse; }",
        "service a { route r { limit 13; } }",
        "service a { limit 13; }",
        "service a { address 10.0.0.1:80; } service b { address 10.0.0.1:80; }",
        "cluster c { endpoints none; }",
        "service a { rule r { to x;",
    };
    cn_gen_t *prev = load("service a { tag x; }", NULL);
    int live = cn_fixture_live;

    for (size_t i = 0; i < CN_COUNT(texts); i++) {
        char why[CN_FIXTURE_WHY];

        assert_null(cn_fixture_load_text(texts[i], prev, why));
        assert_true(strstr(why, "main") == why);
        assert_int_equal(cn_fixture_live, live);
    }
    cn_gen_unref(prev);
}

static void count_fini(void *runtime)
{
    ++*(int *)runtime;
}

static void test_runtime_ends_with_the_last_reference(void **state CN_UNUSED)
{
    cn_gen_t *gen = load("service a { }", NULL);
    cn_section_t *a = cn_section_ref(service(gen, "a"));
    int ended = 0;

    a->runtime = &ended;
    a->runtime_fini = count_fini;
    cn_gen_unref(gen);
    assert_int_equal(ended, 0);
    cn_section_unref(a);
    assert_int_equal(ended, 1);
    cn_section_unref(NULL);
    cn_gen_unref(NULL);
}

static void test_many_reloads_leave_one_main_section(void **state CN_UNUSED)
{
    cn_gen_t *gen = load("limit 1; service a { } service b { }", NULL);

    for (int i = 0; i < 100; i++) {
        cn_gen_t *next = load(i % 2 ? "limit 1; service a { tag x; } service b { }"
                                    : "limit 1; service a { tag y; } service b { }",
                              gen);

        cn_gen_unref(gen);
        gen = next;
    }
    assert_int_equal(cn_fixture_live, 3);
    cn_gen_unref(gen);
}

int main(void)
{
#define T(name) cmocka_unit_test_teardown(name, teardown)
    const struct CMUnitTest tests[] = {
        T(test_unchanged_sections_are_shared_without_running_setters),
        T(test_text_of_a_block_counts_from_its_name_to_its_brace),
        T(test_changed_main_settings_renew_every_section),
        T(test_structural_settings_have_a_hash_of_their_own),
        T(test_unchanged_main_section_is_shared),
        T(test_shared_sections_keep_their_addresses),
        T(test_an_address_may_move_between_services),
        T(test_shared_section_cannot_keep_an_address_that_another_took),
        T(test_removed_sections_are_gone_from_the_new_generation_only),
        T(test_texts_of_shared_sections_are_in_the_new_generation),
        T(test_changed_text_is_judged_though_its_section_is_shared),
        T(test_service_with_a_changed_text_keeps_its_addresses),
        T(test_text_of_main_is_in_every_generation),
        T(test_failed_load_frees_what_was_started),
        T(test_runtime_ends_with_the_last_reference),
        T(test_many_reloads_leave_one_main_section),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
