/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/look.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/conf_int.h"

typedef struct {
    char dir[64];
    cn_pool_t *pool;
    cn_bundle_t *b;
    cn_look_t *l;
} fixture_t;

static const char *path_of(fixture_t *f, const char *name)
{
    return cn_pool_printf(f->pool, "%s/%s", f->dir, name).p;
}

static void write_file(fixture_t *f, const char *name, const char *text)
{
    FILE *out = fopen(path_of(f, name), "w");

    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static int setup(void **state)
{
    fixture_t *f = calloc(1, sizeof(*f));

    snprintf(f->dir, sizeof(f->dir), "/tmp/cn_look[1]XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    f->pool = cn_pool_create(0);
    f->b = cn_bundle_create(cn_str_c(f->dir));
    f->l = cn_look_create();
    mkdir(path_of(f, "d"), 0700);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"a",    "b",       "c",      "d/a",
                                        "d/b",  "d/x.log", "f",      "d1/a",
                                        "d2/a", "d2/b",    "..data", CN_CONF_UNFINISHED,
                                        "e/a",  "late/a",  "l"};
    static const char *const folders[] = {"d", "d1", "d2", "e", "late", "a", "b"};
    fixture_t *f = *state;

    for (size_t i = 0; i < CN_COUNT(names); i++)
        unlink(path_of(f, names[i]));
    for (size_t i = 0; i < CN_COUNT(folders); i++)
        rmdir(path_of(f, folders[i]));
    assert_int_equal(rmdir(f->dir), 0);
    cn_look_destroy(f->l);
    cn_bundle_destroy(f->b);
    cn_pool_destroy(f->pool);
    free(f);
    return 0;
}

/* What a check does: it reads, or tries to. */
static cn_rc read_file(fixture_t *f, const char *name)
{
    cn_str_t text;
    const char *why;

    return cn_bundle_read(f->b, cn_str_c(path_of(f, name)), &text, &why);
}

static cn_rc match(fixture_t *f, const char *pattern)
{
    const char *why;
    cn_vec_t paths;
    cn_str_t text;

    if (cn_bundle_glob(f->b, cn_str_c(pattern), f->pool, &paths, &why) != CN_OK)
        return CN_ERR;
    for (uint32_t i = 0; i < paths.n; i++)
        assert_int_equal(cn_bundle_read(f->b, ((cn_str_t *)paths.v)[i], &text, &why), CN_OK);
    return CN_OK;
}

static void take(fixture_t *f)
{
    int fd;

    assert_int_equal(cn_bundle_save(f->b, &fd), CN_OK);
    assert_int_equal(cn_look_take(f->l, fd, false), CN_OK);
    close(fd);
}

static unsigned news(fixture_t *f)
{
    (void)cn_look_around(f->l);
    return cn_look_news(f->l).n;
}

static void expect_first(fixture_t *f, const char *name)
{
    cn_str_t first = cn_look_news(f->l).first;

    assert_true(cn_str_eq(first, cn_str_c(path_of(f, name))));
}

static void test_only_other_bytes_are_a_change(void **state)
{
    fixture_t *f = *state;

    write_file(f, "a", "one");
    write_file(f, "b", "two");
    assert_int_equal(read_file(f, "a"), CN_OK);
    assert_int_equal(read_file(f, "b"), CN_OK);
    take(f);
    assert_false(cn_look_around(f->l));
    assert_int_equal(news(f), 0);
    write_file(f, "a", "one");
    assert_int_equal(utimensat(AT_FDCWD, path_of(f, "b"), NULL, 0), 0);
    assert_false(cn_look_around(f->l));
    assert_int_equal(news(f), 0);
    write_file(f, "a", "another");
    assert_true(cn_look_around(f->l));
    assert_int_equal(news(f), 1);
    expect_first(f, "a");
    /* It does not move any more, but it is still another one. */
    assert_false(cn_look_around(f->l));
    assert_int_equal(news(f), 1);
    write_file(f, "a", "one");
    assert_true(cn_look_around(f->l));
    assert_int_equal(news(f), 0);
}

/* The same size within a tick of the clock: nothing but the bytes tells. */
static void test_a_change_right_after_the_reading_is_seen(void **state)
{
    fixture_t *f = *state;

    for (int i = 0; i < 200; i++) {
        write_file(f, "a", "one");
        assert_int_equal(read_file(f, "a"), CN_OK);
        write_file(f, "a", "two");
        take(f);
        assert_int_equal(news(f), 1);
        cn_bundle_destroy(f->b);
        f->b = cn_bundle_create(cn_str_c(f->dir));
    }
}

static void test_what_is_accepted_is_no_news(void **state)
{
    fixture_t *f = *state;

    write_file(f, "a", "one");
    assert_int_equal(read_file(f, "a"), CN_OK);
    take(f);
    write_file(f, "a", "two");
    assert_int_equal(news(f), 1);
    uint64_t what = cn_look_news(f->l).what;
    cn_look_accept(f->l);
    assert_int_equal(news(f), 0);
    write_file(f, "a", "six");
    assert_int_equal(news(f), 1);
    assert_true(cn_look_news(f->l).what != what);
    /* As it was read the first time is another one than what was accepted. */
    write_file(f, "a", "one");
    assert_int_equal(news(f), 1);
    write_file(f, "a", "two");
    assert_int_equal(news(f), 0);
}

static void test_files_that_go_and_come(void **state)
{
    fixture_t *f = *state;

    write_file(f, "a", "one");
    assert_int_equal(read_file(f, "a"), CN_OK);
    assert_int_equal(read_file(f, "c"), CN_ERR);
    assert_int_equal(read_file(f, "late/a"), CN_ERR);
    take(f);
    assert_int_equal(news(f), 0);
    unlink(path_of(f, "a"));
    assert_int_equal(news(f), 1);
    expect_first(f, "a");
    write_file(f, "a", "one");
    assert_int_equal(news(f), 0);
    write_file(f, "c", "");
    assert_int_equal(news(f), 1);
    expect_first(f, "c");
    mkdir(path_of(f, "late"), 0700);
    assert_int_equal(news(f), 1);
    write_file(f, "late/a", "");
    assert_int_equal(news(f), 2);
}

static void test_a_folder_in_place_of_a_file_is_no_news_until_it_is_one(void **state)
{
    fixture_t *f = *state;

    mkdir(path_of(f, "a"), 0700);
    assert_int_equal(read_file(f, "a"), CN_ERR);
    take(f);
    assert_int_equal(news(f), 0);
    rmdir(path_of(f, "a"));
    write_file(f, "a", "");
    assert_int_equal(news(f), 1);
}

static void test_patterns(void **state)
{
    fixture_t *f = *state;

    write_file(f, "d/a", "");
    assert_int_equal(match(f, "d/[ab]"), CN_OK);
    take(f);
    assert_int_equal(news(f), 0);
    write_file(f, "d/x.log", "");
    assert_int_equal(news(f), 0);
    write_file(f, "d/b", "");
    assert_int_equal(news(f), 1);
    unlink(path_of(f, "d/b"));
    assert_int_equal(news(f), 0);
    /* The pattern and the file itself. */
    unlink(path_of(f, "d/a"));
    assert_int_equal(news(f), 2);
    expect_first(f, "d/a");
}

static void test_patterns_over_folders(void **state)
{
    fixture_t *f = *state;

    mkdir(path_of(f, "d1"), 0700);
    write_file(f, "d1/a", "");
    assert_int_equal(match(f, "d*/a"), CN_OK);
    take(f);
    assert_int_equal(news(f), 0);
    mkdir(path_of(f, "d2"), 0700);
    write_file(f, "d2/b", "");
    assert_int_equal(news(f), 0);
    write_file(f, "d2/a", "");
    assert_int_equal(news(f), 1);
}

static void test_a_pattern_that_could_not_be_read(void **state)
{
    fixture_t *f = *state;

    assert_int_equal(symlink("e", path_of(f, "e")), 0);
    assert_int_equal(match(f, "e/*"), CN_ERR);
    take(f);
    assert_int_equal(news(f), 0);
    unlink(path_of(f, "e"));
    mkdir(path_of(f, "e"), 0700);
    assert_int_equal(news(f), 1);
}

/* As Kubernetes changes a ConfigMap. */
static void test_links_are_followed(void **state)
{
    fixture_t *f = *state;

    mkdir(path_of(f, "d1"), 0700);
    mkdir(path_of(f, "d2"), 0700);
    write_file(f, "d1/a", "one");
    write_file(f, "d2/a", "two");
    assert_int_equal(symlink("d1", path_of(f, "..data")), 0);
    assert_int_equal(symlink("..data/a", path_of(f, "a")), 0);
    assert_int_equal(read_file(f, "a"), CN_OK);
    take(f);
    assert_int_equal(news(f), 0);
    assert_int_equal(symlink("d2", path_of(f, "l")), 0);
    assert_int_equal(rename(path_of(f, "l"), path_of(f, "..data")), 0);
    assert_int_equal(news(f), 1);
}

static void test_a_pipe_is_not_read(void **state)
{
    fixture_t *f = *state;
    char c = 0;

    write_file(f, "a", "");
    assert_int_equal(read_file(f, "a"), CN_OK);
    take(f);
    assert_int_equal(mkfifo(path_of(f, "f"), 0600), 0);
    int fd = open(path_of(f, "f"), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(rename(path_of(f, "f"), path_of(f, "a")), 0);
    assert_int_equal(news(f), 1);
    assert_int_equal(news(f), 1);
    assert_int_equal(read(fd, &c, 1), 1);
    close(fd);
}

static void test_a_pipe_that_was_read_may_go(void **state)
{
    fixture_t *f = *state;

    assert_int_equal(mkfifo(path_of(f, "f"), 0600), 0);
    int fd = open(path_of(f, "f"), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(write(fd, "x", 1), 1);
    int end = open(path_of(f, "f"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    close(fd);
    assert_int_equal(read_file(f, "f"), CN_OK);
    close(end);
    take(f);
    assert_int_equal(news(f), 0);
    unlink(path_of(f, "f"));
    assert_int_equal(news(f), 0);
    write_file(f, "f", "x");
    assert_int_equal(news(f), 1);
}

static void test_parts_add_replace_and_remove(void **state)
{
    fixture_t *f = *state;
    cn_bundle_diff_t d = {0};
    const cn_vec_t none = {0};
    int fd;

    write_file(f, "a", "one");
    write_file(f, "b", "one");
    assert_int_equal(read_file(f, "a"), CN_OK);
    assert_int_equal(read_file(f, "b"), CN_OK);
    take(f);
    cn_bundle_destroy(f->b);
    f->b = cn_bundle_create(cn_str_c(f->dir));
    write_file(f, "a", "two");
    write_file(f, "c", "one");
    unlink(path_of(f, "b"));
    assert_int_equal(read_file(f, "a"), CN_OK);
    assert_int_equal(read_file(f, "c"), CN_OK);
    *(cn_str_t *)cn_vec_push(f->pool, &d.conf, sizeof(cn_str_t)) = cn_str_c(path_of(f, "a"));
    *(cn_str_t *)cn_vec_push(f->pool, &d.texts, sizeof(cn_str_t)) = cn_str_c(path_of(f, "c"));
    *(cn_str_t *)cn_vec_push(f->pool, &d.removed, sizeof(cn_str_t)) = cn_str_c(path_of(f, "b"));
    assert_int_equal(news(f), 2);
    assert_int_equal(cn_bundle_save_part(f->b, &d, &none, &fd), CN_OK);
    assert_int_equal(cn_look_take(f->l, fd, true), CN_OK);
    close(fd);
    assert_int_equal(news(f), 0);
    write_file(f, "c", "two");
    write_file(f, "b", "nobody wants to know");
    assert_int_equal(news(f), 1);
    expect_first(f, "c");
}

static void test_an_unfinished_folder(void **state)
{
    fixture_t *f = *state;

    write_file(f, "a", "one");
    assert_false(cn_look_unfinished(f->l));
    write_file(f, CN_CONF_UNFINISHED, "");
    assert_int_equal(read_file(f, "a"), CN_ERR);
    take(f);
    assert_true(cn_look_unfinished(f->l));
    assert_int_equal(news(f), 0);
    write_file(f, "a", "two"); /* the mark decides */
    assert_int_equal(news(f), 0);
    unlink(path_of(f, CN_CONF_UNFINISHED));
    assert_int_equal(news(f), 1);
    assert_false(cn_look_unfinished(f->l));
}

static void test_what_is_no_bundle_changes_nothing(void **state)
{
    fixture_t *f = *state;

    write_file(f, "a", "one");
    assert_int_equal(read_file(f, "a"), CN_OK);
    take(f);
    assert_int_equal(cn_look_take(f->l, -1, false), CN_ERR);
    write_file(f, "a", "two");
    assert_int_equal(news(f), 1);
}

typedef struct {
    fixture_t *f;
    cn_str_t list;
} folders_t;

static void note_folder(void *ctx, cn_str_t folder)
{
    folders_t *fs = ctx;
    size_t n = strlen(fs->f->dir);

    assert_true(cn_str_starts(folder, cn_str_c(fs->f->dir)));
    fs->list = cn_pool_printf(fs->f->pool, "%.*s %.*s", CN_STR_ARG(fs->list), (int)(folder.n - n),
                              folder.p + n);
}

static cn_str_t folders(fixture_t *f, unsigned max)
{
    folders_t fs = {f, CN_STR("")};

    cn_look_folders(f->l, max, note_folder, &fs);
    return fs.list;
}

static void test_folders(void **state)
{
    fixture_t *f = *state;

    write_file(f, "a", "");
    write_file(f, "d/a", "");
    assert_int_equal(read_file(f, "a"), CN_OK);
    assert_int_equal(match(f, "d/*"), CN_OK);
    assert_int_equal(match(f, "e*/x/*"), CN_OK);
    assert_int_equal(read_file(f, "late/a"), CN_ERR);
    take(f);
    assert_string_equal(folders(f, 100).p, "  /d /late");
    assert_string_equal(folders(f, 2).p, "  /d");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_only_other_bytes_are_a_change),
        T(test_a_change_right_after_the_reading_is_seen),
        T(test_what_is_accepted_is_no_news),
        T(test_files_that_go_and_come),
        T(test_a_folder_in_place_of_a_file_is_no_news_until_it_is_one),
        T(test_patterns),
        T(test_patterns_over_folders),
        T(test_a_pattern_that_could_not_be_read),
        T(test_links_are_followed),
        T(test_a_pipe_is_not_read),
        T(test_a_pipe_that_was_read_may_go),
        T(test_parts_add_replace_and_remove),
        T(test_an_unfinished_folder),
        T(test_what_is_no_bundle_changes_nothing),
        T(test_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
