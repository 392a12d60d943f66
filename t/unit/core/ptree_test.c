/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/ptree.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/ptree.h"
#include "core/rand.h"

typedef struct {
    cn_pool_t *pool;
    cn_ptree_t *tree;
} fix_t;

static fix_t fix;

static int setup(void **state)
{
    fix.pool = cn_pool_create(0);
    fix.tree = cn_ptree_create(fix.pool);
    *state = &fix;
    return 0;
}

static int teardown(void **state CN_UNUSED)
{
    cn_pool_destroy(fix.pool);
    return 0;
}

static void add(fix_t *f, const char *text)
{
    *cn_ptree_at(f->tree, f->pool, cn_str_c(text)) = (void *)(uintptr_t)text;
}

/* The values on the way along text, one after the other, each in brackets. */
static void expect(fix_t *f, const char *text, bool fold, const char *found)
{
    cn_ptree_walk_t w = cn_ptree_walk(cn_str_c(text), fold);
    cn_str_t all = CN_STR("");
    const char *value;

    while ((value = cn_ptree_next(f->tree, &w)) != NULL)
        all =
            cn_pool_printf(f->pool, "%.*s[%s]%s", CN_STR_ARG(all), value, w.rest.n == 0 ? "." : "");
    assert_true(cn_str_eq(all, cn_str_c(found)));
    assert_null(cn_ptree_next(f->tree, &w));
}

static void test_all_beginnings_are_found_from_the_shortest(void **state)
{
    fix_t *f = *state;

    add(f, "/a/b");
    add(f, "/a");
    add(f, "/a/bc");
    add(f, "/ab");
    add(f, "");
    expect(f, "/a/bcd", false, "[][/a][/a/b][/a/bc]");
    expect(f, "/a/bc", false, "[][/a][/a/b][/a/bc].");
    expect(f, "/a/", false, "[][/a]");
    expect(f, "/", false, "[]");
    expect(f, "", false, "[].");
    expect(f, "x", false, "[]");
}

static void test_an_empty_tree_has_nothing(void **state)
{
    expect(*state, "/a", false, "");
    expect(*state, "", false, "");
}

static void test_a_place_is_the_same_whatever_comes_later(void **state)
{
    fix_t *f = *state;
    void **at = cn_ptree_at(f->tree, f->pool, CN_STR("abcdef"));

    add(f, "abc");
    add(f, "abx");
    add(f, "a");
    assert_ptr_equal(cn_ptree_at(f->tree, f->pool, CN_STR("abcdef")), at);
    assert_null(*at);
}

static void test_case_is_disregarded_on_demand(void **state)
{
    fix_t *f = *state;

    add(f, "/shop");
    add(f, "/shop/cart");
    expect(f, "/Shop/CART", true, "[/shop][/shop/cart].");
    expect(f, "/Shop/CART", false, "");
}

static void test_a_walk_agrees_with_trying_all_texts(void **state)
{
    fix_t *f = *state;
    enum { TEXTS = 300, LONGEST = 6 };
    static char texts[TEXTS][LONGEST + 1];
    cn_rand_t rand;

    cn_rand_init(&rand, 7);
    for (unsigned i = 0; i < TEXTS; i++) {
        for (unsigned k = 0, n = cn_rand_below(&rand, LONGEST + 1); k < n; k++)
            texts[i][k] = (char)('a' + cn_rand_below(&rand, 3));
        add(f, texts[i]);
    }
    for (unsigned i = 0; i < TEXTS; i++) {
        cn_ptree_walk_t w = cn_ptree_walk(cn_str_c(texts[i]), false);
        unsigned walked = 0, tried = 0;

        while (cn_ptree_next(f->tree, &w))
            walked++;
        for (size_t n = 0; n <= strlen(texts[i]); n++)
            for (unsigned k = 0; k < TEXTS; k++)
                if (strlen(texts[k]) == n && memcmp(texts[k], texts[i], n) == 0) {
                    tried++;
                    break;
                }
        assert_int_equal(walked, tried);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_all_beginnings_are_found_from_the_shortest), T(test_an_empty_tree_has_nothing),
        T(test_a_place_is_the_same_whatever_comes_later),   T(test_case_is_disregarded_on_demand),
        T(test_a_walk_agrees_with_trying_all_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
