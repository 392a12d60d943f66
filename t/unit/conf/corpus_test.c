/* SPDX-License-Identifier: Apache-2.0
 *
 * The corpus of t/conf with the made-up units: what is in it holds for any set
 * of directives.  The same files are given to the real program elsewhere.
 */
#include "../fixture/conf_units.h"

#include <glob.h>
#include <libgen.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char *corpus(void)
{
    char here[] = __FILE__;
    char path[4096];

    snprintf(path, sizeof(path), "%s/../../conf", dirname(here));
    return realpath(path, NULL);
}

/* The error line; empty when the file is accepted. */
static cn_str_t try_file(cn_pool_t *pool, const char *path)
{
    char dir[4096];
    const char *name = strrchr(path, '/') + 1;
    cn_conf_load_t load = {.units = &cn_fixture_units, .file = cn_str_c(name)};
    cn_str_t why = CN_STR_NULL;
    cn_gen_t *gen;

    snprintf(dir, sizeof(dir), "%.*s", (int)(name - path), path);
    load.bundle = cn_bundle_create(cn_str_c(dir));
    if (cn_gen_load(&load, pool, &gen, &why) == CN_OK)
        cn_gen_unref(gen);
    else
        assert_true(why.n > 0);
    cn_bundle_destroy(load.bundle);
    assert_int_equal(cn_fixture_live, 0);
    return why;
}

/* What stands behind "# expect: " on the first line. */
static cn_str_t expected(cn_pool_t *pool, const char *path)
{
    static const char head[] = "# expect: ";
    FILE *in = fopen(path, "r");
    char line[4096];

    assert_non_null(in);
    assert_non_null(fgets(line, sizeof(line), in));
    fclose(in);
    assert_memory_equal(line, head, sizeof(head) - 1);
    return cn_pool_dup(
        pool, cn_str_make(line + sizeof(head) - 1, strcspn(line, "\n") - (sizeof(head) - 1)));
}

static void each(const char *kind, void (*check)(cn_pool_t *, const char *path, cn_str_t why))
{
    char *top = corpus();
    char pattern[4200];
    glob_t g;

    assert_non_null(top);
    snprintf(pattern, sizeof(pattern), "%s/%s/*.conf", top, kind);
    assert_int_equal(glob(pattern, 0, NULL, &g), 0);
    for (size_t i = 0; i < g.gl_pathc; i++) {
        cn_pool_t *pool = cn_pool_create(0);

        check(pool, g.gl_pathv[i], try_file(pool, g.gl_pathv[i]));
        cn_pool_destroy(pool);
    }
    globfree(&g);
    free(top);
}

static void check_good(cn_pool_t *pool CN_UNUSED, const char *path, cn_str_t why)
{
    if (why.n)
        fail_msg("%s: %.*s", path, CN_STR_ARG(why));
}

static void check_bad(cn_pool_t *pool, const char *path, cn_str_t why)
{
    cn_str_t part = expected(pool, path);

    if (part.n == 0 || cn_str_find_str(why, part) == why.n)
        fail_msg("%s\nexpected: %.*s\nfound:    %.*s", path, CN_STR_ARG(part), CN_STR_ARG(why));
}

static void test_good_files_are_accepted(void **state CN_UNUSED)
{
    each("ok", check_good);
}

static void test_bad_files_are_refused_with_their_line(void **state CN_UNUSED)
{
    each("bad", check_bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_files_are_accepted),
        cmocka_unit_test(test_bad_files_are_refused_with_their_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
