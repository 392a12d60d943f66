/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/conf_int.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct {
    char dir[64];
    cn_pool_t *pool;
    cn_bundle_t *b;
} fixture_t;

static cn_str_t path_of(fixture_t *f, const char *name)
{
    return cn_pool_printf(f->pool, "%s/%s", f->dir, name);
}

static void write_file(fixture_t *f, const char *name, const char *text)
{
    FILE *out = fopen(path_of(f, name).p, "w");

    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static int setup(void **state)
{
    fixture_t *f = calloc(1, sizeof(*f));

    snprintf(f->dir, sizeof(f->dir), "/tmp/cn_bundle[1]XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    f->pool = cn_pool_create(0);
    f->b = cn_bundle_create(cn_str_c(f->dir));
    mkdir(path_of(f, "d").p, 0700);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    static const char *const names[] = {"a",   "big",  "pipe",     "d/b",  "d/a",
                                        "d/c", "d/.h", "d/x.conf", "link", "d/dangling"};

    for (size_t i = 0; i < CN_COUNT(names); i++)
        unlink(path_of(f, names[i]).p);
    rmdir(path_of(f, "d").p);
    rmdir(f->dir);
    cn_bundle_destroy(f->b);
    cn_pool_destroy(f->pool);
    free(f);
    return 0;
}

static void expect_text(cn_bundle_t *b, cn_str_t path, const char *expected)
{
    cn_str_t text;
    const char *why;

    assert_int_equal(cn_bundle_read(b, path, &text, &why), CN_OK);
    assert_int_equal(text.n, strlen(expected));
    assert_memory_equal(text.p ? text.p : "", expected, text.n);
}

static void expect_refusal(cn_bundle_t *b, cn_str_t path, const char *expected)
{
    cn_str_t text;
    const char *why;

    assert_int_equal(cn_bundle_read(b, path, &text, &why), CN_ERR);
    assert_non_null(strstr(why, expected));
}

static cn_str_t globbed(fixture_t *f, cn_bundle_t *b, const char *pattern)
{
    cn_vec_t paths;
    const char *why;
    cn_str_t out = CN_STR("");

    assert_int_equal(cn_bundle_glob(b, cn_str_c(pattern), f->pool, &paths, &why), CN_OK);
    for (uint32_t i = 0; i < paths.n; i++) {
        cn_str_t p = ((cn_str_t *)paths.v)[i];

        assert_true(cn_str_starts(p, cn_str_c(f->dir)));
        out = cn_pool_printf(f->pool, "%.*s %s", CN_STR_ARG(out), p.p + strlen(f->dir));
    }
    return out;
}

static void test_a_file_is_read_once(void **state)
{
    fixture_t *f = *state;

    write_file(f, "a", "one");
    expect_text(f->b, path_of(f, "a"), "one");
    write_file(f, "a", "two");
    expect_text(f->b, path_of(f, "a"), "one");
    cn_bundle_put(f->b, CN_STR("a"), CN_STR("three"));
    expect_text(f->b, path_of(f, "a"), "three");
}

static void test_missing_and_odd_files_are_refused(void **state)
{
    fixture_t *f = *state;

    expect_refusal(f->b, path_of(f, "none"), "No such file");
    expect_refusal(f->b, path_of(f, "d"), "Is a directory");
    expect_refusal(f->b, cn_str_make("a\0b", 3), "Invalid");
}

static void test_a_file_that_is_too_large_is_refused(void **state)
{
    fixture_t *f = *state;

    write_file(f, "big", "");
    assert_int_equal(truncate(path_of(f, "big").p, CN_CONF_FILE_MAX + 1), 0);
    expect_refusal(f->b, path_of(f, "big"), "larger than 64 MiB");
    expect_refusal(f->b, CN_STR("/dev/zero"), "larger than 64 MiB");
}

static void test_a_pipe_without_a_writer_is_refused(void **state)
{
    fixture_t *f = *state;

    assert_int_equal(mkfifo(path_of(f, "pipe").p, 0600), 0);
    expect_refusal(f->b, path_of(f, "pipe"), "it is a pipe to which nobody writes");
}

static void test_a_pipe_is_read_to_its_end(void **state)
{
    fixture_t *f = *state;
    int fds[2];
    cn_str_t path;

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "text", 4), 4);
    close(fds[1]);
    path = cn_pool_printf(f->pool, "/proc/self/fd/%d", fds[0]);
    expect_text(f->b, path, "text");
    close(fds[0]);
}

static void test_paths_begin_at_the_prefix(void **state)
{
    fixture_t *f = *state;
    cn_bundle_t *root = cn_bundle_create(CN_STR("///"));
    cn_bundle_t *none = cn_bundle_create(CN_STR_NULL);

    assert_string_equal(cn_bundle_path(f->b, f->pool, CN_STR("x/y")).p, path_of(f, "x/y").p);
    assert_string_equal(cn_bundle_path(f->b, f->pool, CN_STR("/x")).p, "/x");
    assert_string_equal(cn_bundle_path(root, f->pool, CN_STR("x")).p, "/x");
    assert_string_equal(cn_bundle_path(none, f->pool, CN_STR("x")).p, "x");
    cn_bundle_destroy(root);
    cn_bundle_destroy(none);
}

static void test_patterns_match_in_byte_order_without_hidden_files(void **state)
{
    fixture_t *f = *state;

    write_file(f, "d/b", "");
    write_file(f, "d/a", "");
    write_file(f, "d/.h", "");
    cn_bundle_put(f->b, CN_STR("d/ab"), CN_STR(""));
    cn_bundle_put(f->b, CN_STR("d/a"), CN_STR(""));
    assert_string_equal(globbed(f, f->b, "d/*").p, " /d/a /d/ab /d/b");
    assert_string_equal(globbed(f, f->b, "d/[b]").p, " /d/b");
    assert_string_equal(globbed(f, f->b, "none/*").p, "");
    /* A plain name is itself, there or not. */
    assert_string_equal(globbed(f, f->b, "none").p, " /none");
}

static void expect_as_glob(fixture_t *f, cn_pool_t *pool, const char *pattern)
{
    cn_vec_t paths = {0};
    glob_t g;
    int rc = glob(pattern, 0, NULL, &g);

    assert_true(rc == 0 || rc == GLOB_NOMATCH);
    assert_int_equal(cn_disk_glob(pattern, pool, &paths), CN_OK);
    assert_int_equal(paths.n, g.gl_pathc);
    for (uint32_t i = 0; i < paths.n; i++) {
        const char *path = ((cn_str_t *)paths.v)[i].p;

        assert_true(strncmp(path, f->dir, strlen(f->dir)) == 0);
        assert_string_equal(path, g.gl_pathv[i]);
    }
    globfree(&g);
}

/* In the fixture's folder, whose own name needs quoting. */
static void test_patterns_match_what_glob_matches(void **state)
{
    static const char *const patterns[] = {
        "*",          "d/*",    "d/*.conf",    "*/*",        "*/b",        "*/none", "d/?",
        "d/[a-c]",    "d/[!a]", "d/[a",        "d/.*h",      "*/.h",       "a/*",    "none/*",
        "d/none[a]",  "d//b*",  "./d/*",       "d/../d/*",   "[d]/x.conf", "d*/x*",  "d/\\*",
        "d/\\x.con?", "link/*", "d/dangling*", "*/x\\.conf", "?/[!.]*f",   "l*/b",
    };
    static const char *const files[] = {"a", "d/a", "d/b", "d/.h", "d/x.conf"};
    fixture_t *f = *state;

    for (size_t i = 0; i < CN_COUNT(files); i++)
        write_file(f, files[i], "");
    assert_int_equal(symlink("d", path_of(f, "link").p), 0);
    assert_int_equal(symlink("nothing", path_of(f, "d/dangling").p), 0);
    for (size_t i = 0; i < CN_COUNT(patterns); i++)
        expect_as_glob(f, f->pool,
                       cn_pool_printf(f->pool, "/tmp/cn_bundle\\[1\\]%s/%s",
                                      f->dir + strlen("/tmp/cn_bundle[1]"), patterns[i])
                           .p);
}

static void test_what_a_pattern_matched_does_not_change(void **state)
{
    fixture_t *f = *state;

    write_file(f, "d/b", "");
    assert_string_equal(globbed(f, f->b, "d/*").p, " /d/b");
    write_file(f, "d/c", "");
    assert_string_equal(globbed(f, f->b, "d/*").p, " /d/b");
}

static cn_bundle_t *reopen(cn_bundle_t *b)
{
    cn_bundle_t *again = NULL;
    int fd;

    assert_int_equal(cn_bundle_save(b, &fd), CN_OK);
    assert_int_equal(cn_bundle_open(fd, &again), CN_OK);
    close(fd);
    return again;
}

static void test_a_saved_bundle_says_the_same_without_the_disk(void **state)
{
    fixture_t *f = *state;
    cn_bundle_t *again;
    cn_bundle_t *third;

    write_file(f, "a", "text");
    write_file(f, "d/b", "");
    expect_text(f->b, path_of(f, "a"), "text");
    expect_text(f->b, path_of(f, "d/b"), "");
    assert_string_equal(globbed(f, f->b, "d/*").p, " /d/b");
    again = reopen(f->b);
    write_file(f, "a", "changed");
    write_file(f, "d/c", "");
    expect_text(again, cn_bundle_path(again, f->pool, CN_STR("a")), "text");
    expect_text(again, path_of(f, "d/b"), "");
    expect_refusal(again, path_of(f, "d/c"), "No such file");
    assert_string_equal(globbed(f, again, "d/*").p, " /d/b");
    third = reopen(again);
    expect_text(third, path_of(f, "a"), "text");
    cn_bundle_destroy(again);
    cn_bundle_destroy(third);
}

static void test_a_saved_bundle_cannot_be_changed(void **state)
{
    fixture_t *f = *state;
    int fd;

    assert_int_equal(cn_bundle_save(f->b, &fd), CN_OK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    close(fd);
}

/* A memfd with these bytes of a good one. */
static int forged(const char *p, size_t n, bool seal)
{
    int fd = memfd_create("t", MFD_ALLOW_SEALING);

    assert_int_equal(write(fd, p, n), (ssize_t)n);
    if (seal)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    return fd;
}

static void expect_no_bundle(const char *p, size_t n, bool seal)
{
    int fd = forged(p, n, seal);
    cn_bundle_t *b;

    assert_int_equal(cn_bundle_open(fd, &b), CN_ERR);
    close(fd);
}

static void test_what_is_not_a_whole_sealed_bundle_is_refused(void **state)
{
    fixture_t *f = *state;
    cn_bundle_t *b = NULL;
    char *bytes;
    size_t n;
    int fd;

    cn_bundle_put(f->b, CN_STR("a"), CN_STR("text"));
    assert_int_equal(cn_bundle_save(f->b, &fd), CN_OK);
    n = (size_t)lseek(fd, 0, SEEK_END);
    bytes = malloc(n + 1);
    assert_int_equal(pread(fd, bytes, n, 0), (ssize_t)n);
    close(fd);
    fd = forged(bytes, n, true);
    assert_int_equal(cn_bundle_open(fd, &b), CN_OK);
    cn_bundle_destroy(b);
    close(fd);
    expect_no_bundle(bytes, n, false);
    for (size_t i = 0; i < n; i++)
        expect_no_bundle(bytes, i, true);
    bytes[n] = 0;
    expect_no_bundle(bytes, n + 1, true);
    bytes[0] ^= 1;
    expect_no_bundle(bytes, n, true);
    free(bytes);
    assert_int_equal(cn_bundle_open(-1, &b), CN_ERR);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_a_file_is_read_once),
        T(test_missing_and_odd_files_are_refused),
        T(test_a_file_that_is_too_large_is_refused),
        T(test_a_pipe_without_a_writer_is_refused),
        T(test_a_pipe_is_read_to_its_end),
        T(test_paths_begin_at_the_prefix),
        T(test_patterns_match_in_byte_order_without_hidden_files),
        T(test_patterns_match_what_glob_matches),
        T(test_what_a_pattern_matched_does_not_change),
        T(test_a_saved_bundle_says_the_same_without_the_disk),
        T(test_a_saved_bundle_cannot_be_changed),
        T(test_what_is_not_a_whole_sealed_bundle_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
