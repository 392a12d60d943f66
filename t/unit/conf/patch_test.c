/* SPDX-License-Identifier: Apache-2.0
 *
 * A change travels as the keeper sends it: seen on disk, patched and merged
 * there, saved as a part, opened and merged elsewhere.  Both must then say what
 * a load of the whole says.
 */
#include "../fixture/conf_units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct {
    char dir[64];
    cn_pool_t *pool;
    cn_bundle_t *disk;
    cn_gen_t *keeper, *worker;
    cn_bundle_diff_t diff;
} fixture_t;

static cn_str_t path_of(fixture_t *f, const char *name)
{
    return cn_pool_printf(f->pool, "%s/%s", f->dir, name);
}

/* In one step, as whoever changes a file that is in use does it. */
static void put(fixture_t *f, const char *name, const char *text)
{
    cn_str_t fresh = path_of(f, "fresh");
    FILE *out = fopen(fresh.p, "w");

    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(rename(fresh.p, path_of(f, name).p), 0);
}

static void drop(fixture_t *f, const char *name)
{
    assert_int_equal(unlink(path_of(f, name).p), 0);
}

static cn_gen_t *load(fixture_t *f, cn_bundle_t *b)
{
    const cn_conf_load_t how = {
        .units = &cn_fixture_units, .bundle = b, .file = path_of(f, "main")};
    cn_str_t why;
    cn_gen_t *gen;

    if (cn_gen_load(&how, f->pool, &gen, &why) != CN_OK)
        fail_msg("%.*s", CN_STR_ARG(why));
    return gen;
}

static void start(fixture_t *f)
{
    cn_bundle_t *copy;
    int fd;

    f->disk = cn_bundle_create(cn_str_c(f->dir));
    cn_bundle_watch(f->disk);
    f->keeper = load(f, f->disk);
    assert_int_equal(cn_bundle_save(f->disk, &fd), CN_OK);
    assert_int_equal(cn_bundle_open(fd, &copy), CN_OK);
    assert_true(cn_bundle_same(f->disk, copy));
    f->worker = load(f, copy);
    cn_bundle_destroy(copy);
    close(fd);
}

static int setup(void **state)
{
    fixture_t *f = calloc(1, sizeof(*f));

    snprintf(f->dir, sizeof(f->dir), "/tmp/cn_patchXXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    f->pool = cn_pool_create(0);
    mkdir(path_of(f, "d").p, 0700);
    put(f, "main", "tag outer;\ninclude d/*.conf;\n");
    put(f, "d/1.conf", "service s1 { address 10.0.0.1:80; }\ncluster c1 { endpoints d/e1; }\n");
    put(f, "d/2.conf", "service s2 { address 10.0.0.2:80; }\ncluster c2 { endpoints d/e2; }\n");
    put(f, "d/e1", "one");
    put(f, "d/e2", "two");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"main", "d/1.conf", "d/2.conf", "d/3.conf",
                                        "d/e1", "d/e2",     "d/e3"};
    fixture_t *f = *state;

    for (size_t i = 0; i < CN_COUNT(names); i++)
        unlink(path_of(f, names[i]).p);
    rmdir(path_of(f, "d").p);
    rmdir(f->dir);
    cn_gen_unref(f->keeper);
    cn_gen_unref(f->worker);
    cn_bundle_destroy(f->disk);
    cn_pool_destroy(f->pool);
    free(f);
    return cn_fixture_live;
}

/* What is on disk now, as a patch of what the keeper has. */
static cn_rc look(fixture_t *f, cn_patch_t **patch)
{
    const cn_conf_load_t how = {.units = &cn_fixture_units,
                                .bundle = f->disk,
                                .file = path_of(f, "main"),
                                .prev = f->keeper};
    cn_rc rc = cn_bundle_refresh(f->disk, f->keeper, f->pool, &f->diff);

    return rc == CN_OK ? cn_gen_patch(&how, &f->diff, true, patch) : rc;
}

static void send_part(fixture_t *f, int fd)
{
    cn_bundle_diff_t diff;
    cn_bundle_t *part;
    cn_patch_t *patch;

    assert_int_equal(cn_bundle_open(fd, &part), CN_OK);
    cn_bundle_part(part, f->pool, &diff);
    const cn_conf_load_t how = {.units = &cn_fixture_units,
                                .bundle = part,
                                .file = path_of(f, "main"),
                                .prev = f->worker,
                                .part = true};
    assert_int_equal(cn_gen_patch(&how, &diff, false, &patch), CN_OK);
    cn_gen_merge(f->worker, patch);
    cn_patch_destroy(patch);
    cn_bundle_destroy(part);
    close(fd);
}

static void same_maps(const cn_map_t *a, const cn_map_t *b)
{
    cn_map_slot_t *slot;
    size_t iter = 0;

    assert_int_equal(a->used, b->used);
    while ((slot = cn_map_next(a, &iter)))
        assert_non_null(cn_map_get(b, slot->key));
}

static void same_texts(const cn_gen_t *a, const cn_gen_t *b)
{
    cn_map_slot_t *slot;
    size_t iter = 0;

    same_maps(&a->texts, &b->texts);
    while ((slot = cn_map_next(&a->texts, &iter))) {
        const cn_text_t *x = slot->value, *y = cn_map_get(&b->texts, slot->key);
        assert_true(cn_str_eq(x->text, y->text));
    }
}

static void same_as(const cn_gen_t *whole, const cn_gen_t *patched)
{
    cn_map_slot_t *slot;
    size_t iter = 0;

    same_maps(&whole->services, &patched->services);
    same_maps(&whole->clusters, &patched->clusters);
    same_maps(&whole->addresses, &patched->addresses);
    same_texts(whole, patched);
    while ((slot = cn_map_next(&whole->services, &iter))) {
        const cn_section_t *s = slot->value, *o = cn_map_get(&patched->services, slot->key);
        assert_int_equal(s->hash, o->hash);
    }
    iter = 0;
    while ((slot = cn_map_next(&whole->addresses, &iter))) {
        const cn_section_t *s = slot->value, *o = cn_map_get(&patched->addresses, slot->key);
        assert_true(cn_str_eq(s->name, o->name));
    }
}

/* How many clusters are another now. */
static unsigned travel(fixture_t *f)
{
    cn_bundle_t *fresh = cn_bundle_create(cn_str_c(f->dir));
    cn_gen_t *whole;
    cn_patch_t *patch;
    unsigned n;
    int fd;

    assert_int_equal(look(f, &patch), CN_OK);
    cn_gen_merge(f->keeper, patch);
    assert_int_equal(cn_bundle_save_part(f->disk, &f->diff, cn_patch_texts(patch), &fd), CN_OK);
    n = cn_patch_clusters(patch)->n;
    cn_patch_destroy(patch);
    send_part(f, fd);
    whole = load(f, fresh);
    same_as(whole, f->keeper);
    same_as(whole, f->worker);
    cn_gen_unref(whole);
    cn_bundle_destroy(fresh);
    return n;
}

/* ---- */

static void test_nothing_changed_is_an_empty_patch(void **state)
{
    fixture_t *f = *state;

    start(f);
    assert_int_equal(travel(f), 0);
}

static void test_a_text_concerns_its_clusters_only(void **state)
{
    fixture_t *f = *state;

    start(f);
    cn_section_t *c1 = cn_map_get(&f->worker->clusters, CN_STR("c1"));
    put(f, "d/e1", "another");
    assert_int_equal(travel(f), 1);
    assert_ptr_equal(cn_map_get(&f->worker->clusters, CN_STR("c1")), c1);
    assert_true(cn_str_eq(cn_gen_text(f->worker, path_of(f, "d/e1")), CN_STR("another")));
    put(f, "d/e1", "one");
    assert_int_equal(travel(f), 1);
}

static void test_sections_in_a_changed_file_change_alone(void **state)
{
    fixture_t *f = *state;

    start(f);
    cn_section_t *s1 = cn_map_get(&f->worker->services, CN_STR("s1"));
    cn_section_t *c2 = cn_map_get(&f->worker->clusters, CN_STR("c2"));
    put(f, "d/2.conf", "service s2 { address 10.0.0.9:80; }\n\ncluster c2 { endpoints d/e2; }\n");
    assert_int_equal(travel(f), 1);
    assert_ptr_equal(cn_map_get(&f->worker->services, CN_STR("s1")), s1);
    assert_ptr_equal(cn_map_get(&f->worker->clusters, CN_STR("c2")), c2);
}

static void test_files_come_and_go(void **state)
{
    fixture_t *f = *state;

    start(f);
    for (int i = 0; i < 3; i++) {
        put(f, "d/e3", "three");
        put(f, "d/3.conf", "service s3 { address 10.0.0.3:80; }\ncluster c3 { endpoints d/e3; }\n");
        assert_int_equal(travel(f), 1);
        drop(f, "d/3.conf");
        drop(f, "d/e3");
        assert_int_equal(travel(f), 1);
        assert_null(cn_map_get(&f->worker->services, CN_STR("s3")));
    }
}

static void test_a_section_may_move_to_another_file(void **state)
{
    fixture_t *f = *state;

    start(f);
    put(f, "d/1.conf", "cluster c1 { endpoints d/e1; }\n");
    put(f, "d/2.conf",
        "service s1 { address 10.0.0.1:80; }\nservice s2 { address 10.0.0.2:80; }\n"
        "cluster c2 { endpoints d/e2; }\n");
    assert_int_equal(travel(f), 2);
    put(f, "d/2.conf", "service s2 { address 10.0.0.1:80; }\ncluster c2 { endpoints d/e2; }\n");
    assert_int_equal(travel(f), 1);
}

static void test_a_request_keeps_the_section_it_pinned(void **state)
{
    fixture_t *f = *state;

    start(f);
    cn_section_t *s1 = cn_section_ref(cn_map_get(&f->worker->services, CN_STR("s1")));
    put(f, "d/1.conf", "cluster c1 { endpoints d/e1; }\n");
    (void)travel(f);
    assert_true(cn_str_eq(s1->name, CN_STR("s1")));
    cn_section_unref(s1);
}

static void expect_declined(fixture_t *f)
{
    cn_patch_t *patch;

    assert_int_equal(look(f, &patch), CN_DECLINE);
}

static void test_main_settings_need_the_whole(void **state)
{
    fixture_t *f = *state;

    start(f);
    put(f, "main", "tag inner;\ninclude d/*.conf;\n");
    expect_declined(f);
}

static void test_main_settings_in_an_included_file_need_the_whole(void **state)
{
    fixture_t *f = *state;

    start(f);
    put(f, "d/1.conf", "limit 1k;\nservice s1 { address 10.0.0.1:80; }\n");
    expect_declined(f);
}

static void test_what_is_wrong_is_declined(void **state)
{
    static const char *const texts[] = {
        "service s1 { no_such; }",
        "service s2 { }",
        "service s1 { address 10.0.0.2:80; }",
        "service s1 {",
        "cluster c1 { endpoints d/none; }",
    };
    fixture_t *f = *state;

    for (size_t i = 0; i < CN_COUNT(texts); i++) {
        start(f);
        put(f, "d/1.conf", texts[i]);
        expect_declined(f);
        put(f, "d/1.conf", "service s1 { address 10.0.0.1:80; }\n");
        cn_gen_unref(f->keeper);
        cn_gen_unref(f->worker);
        cn_bundle_destroy(f->disk);
        f->keeper = f->worker = NULL;
        f->disk = NULL;
    }
}

static void test_a_file_that_cannot_be_read_is_declined(void **state)
{
    fixture_t *f = *state;

    start(f);
    drop(f, "d/e1");
    expect_declined(f);
}

static void test_a_file_written_in_place_is_seen(void **state)
{
    fixture_t *f = *state;

    start(f);
    for (int i = 0; i < 20; i++) {
        FILE *out = fopen(path_of(f, "d/e1").p, "w");

        assert_non_null(out);
        fprintf(out, "%c", 'a' + i);
        assert_int_equal(fclose(out), 0);
        assert_int_equal(travel(f), 1);
    }
}

/* More than are looked at one by one, and fewer. */
static void test_many_files_come_and_go_at_once(void **state)
{
    static const unsigned sizes[] = {3, 200};
    fixture_t *f = *state;

    start(f);
    for (size_t k = 0; k < CN_COUNT(sizes); k++) {
        for (unsigned i = 0; i < sizes[k]; i++)
            put(f, cn_pool_printf(f->pool, "d/n%u.conf", i).p,
                cn_pool_printf(f->pool, "cluster n%u { }\n", i).p);
        assert_int_equal(travel(f), sizes[k]);
        assert_int_equal(f->keeper->clusters.used, 2 + sizes[k]);
        for (unsigned i = 0; i < sizes[k]; i++)
            drop(f, cn_pool_printf(f->pool, "d/n%u.conf", i).p);
        assert_int_equal(travel(f), sizes[k]);
        assert_int_equal(f->keeper->clusters.used, 2);
    }
}

static void test_a_file_that_came_and_went_again_is_nothing(void **state)
{
    fixture_t *f = *state;

    start(f);
    put(f, "d/3.conf", "cluster c3 { }\n");
    drop(f, "d/3.conf");
    assert_int_equal(travel(f), 0);
    drop(f, "d/2.conf");
    put(f, "d/2.conf", "service s2 { address 10.0.0.2:80; }\ncluster c2 { endpoints d/e2; }\n");
    assert_int_equal(travel(f), 0);
    put(f, "d/2.conf.new", "cluster c9 { }\n"); /* the pattern does not match it */
    assert_int_equal(travel(f), 0);
    drop(f, "d/2.conf.new");
}

/* As with a folder that is written anew as a whole. */
static void test_a_folder_in_the_place_of_another_is_seen(void **state)
{
    fixture_t *f = *state;

    start(f);
    mkdir(path_of(f, "other").p, 0700);
    put(f, "other/1.conf", "service s1 { address 10.0.0.7:80; }\n");
    assert_int_equal(rename(path_of(f, "d").p, path_of(f, "old").p), 0);
    assert_int_equal(rename(path_of(f, "other").p, path_of(f, "d").p), 0);
    assert_int_equal(travel(f), 2);
    assert_int_equal(f->keeper->services.used, 1);
    assert_int_equal(f->keeper->texts.used, 0);
    put(f, "d/2.conf", "service s2 { address 10.0.0.2:80; }\n");
    assert_int_equal(travel(f), 0);
    assert_int_equal(f->keeper->services.used, 2);
    for (unsigned i = 1; i < 3; i++) {
        unlink(path_of(f, cn_pool_printf(f->pool, "old/%u.conf", i).p).p);
        unlink(path_of(f, cn_pool_printf(f->pool, "old/e%u", i).p).p);
    }
    rmdir(path_of(f, "old").p);
}

static void test_a_link_may_lead_elsewhere(void **state)
{
    fixture_t *f = *state;

    put(f, "e-of-a-link", "here");
    drop(f, "d/e1");
    assert_int_equal(symlink(path_of(f, "e-of-a-link").p, path_of(f, "d/e1").p), 0);
    start(f);
    put(f, "e-of-a-link", "there");
    assert_int_equal(travel(f), 1);
    assert_true(cn_str_eq(cn_gen_text(f->worker, path_of(f, "d/e1")), CN_STR("there")));
    drop(f, "e-of-a-link");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_nothing_changed_is_an_empty_patch),
        T(test_a_text_concerns_its_clusters_only),
        T(test_sections_in_a_changed_file_change_alone),
        T(test_files_come_and_go),
        T(test_a_section_may_move_to_another_file),
        T(test_a_request_keeps_the_section_it_pinned),
        T(test_main_settings_need_the_whole),
        T(test_main_settings_in_an_included_file_need_the_whole),
        T(test_what_is_wrong_is_declined),
        T(test_a_file_that_cannot_be_read_is_declined),
        T(test_a_file_written_in_place_is_seen),
        T(test_many_files_come_and_go_at_once),
        T(test_a_file_that_came_and_went_again_is_nothing),
        T(test_a_folder_in_the_place_of_another_is_seen),
        T(test_a_link_may_lead_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
