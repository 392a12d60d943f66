/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "http/msg.h"

typedef struct {
    cn_pool_t *pool;
    cn_msg_t m;
} fix_t;

static int setup(void **state)
{
    fix_t *f = cn_xzalloc(sizeof(*f));
    f->pool = cn_pool_create(0);
    cn_msg_init(&f->m, f->pool);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fix_t *f = *state;
    cn_pool_destroy(f->pool);
    free(f);
    return 0;
}

static void add(fix_t *f, const char *name, const char *value)
{
    cn_msg_add(&f->m, &f->m.headers, cn_str_c(name), cn_str_c(value));
}

static void assert_str(cn_str_t s, const char *expected)
{
    if (!cn_str_eq(s, cn_str_c(expected)))
        fail_msg("\"%.*s\" is not \"%s\"", CN_STR_ARG(s), expected);
}

/* Values of the whole list, joined with '|'. */
static void assert_list(fix_t *f, const char *expected)
{
    cn_str_t all = CN_STR("");
    for (uint32_t i = 0; i < f->m.headers.n; i++)
        all =
            cn_pool_printf(f->pool, "%.*s%s%.*s=%.*s", CN_STR_ARG(all), i ? "|" : "",
                           CN_STR_ARG(f->m.headers.v[i].name), CN_STR_ARG(f->m.headers.v[i].value));
    assert_str(all, expected);
}

static void test_a_new_message_has_no_length(void **state)
{
    fix_t *f = *state;
    assert_true(f->m.content_length == CN_LENGTH_NONE);
    assert_int_equal(f->m.headers.n, 0);
}

static void test_lists_grow_and_keep_their_order(void **state)
{
    fix_t *f = *state;
    for (unsigned i = 0; i < 100; i++) {
        cn_str_t v = cn_pool_printf(f->pool, "%u", i);
        cn_msg_add(&f->m, &f->m.headers, CN_STR("x"), v);
    }
    assert_int_equal(f->m.headers.n, 100);
    assert_str(f->m.headers.v[99].value, "99");
    assert_str(f->m.headers.v[0].value, "0");
}

static void test_known_names_get_their_token(void **state)
{
    fix_t *f = *state;
    add(f, "x-other", "1");
    add(f, "cookie", "a");
    add(f, "cookie", "b");
    assert_int_equal(f->m.headers.v[0].token, CN_TOK_NONE);
    assert_str(cn_msg_get(&f->m.headers, CN_TOK_COOKIE)->value, "a");
    assert_null(cn_msg_get(&f->m.headers, CN_TOK_HOST));
    assert_null(cn_msg_get(&f->m.headers, CN_TOK_NONE));
}

static void test_find_visits_each_line_of_a_name(void **state)
{
    fix_t *f = *state;
    add(f, "x", "1");
    add(f, "y", "2");
    add(f, "x", "3");
    const cn_header_t *h = cn_msg_find(&f->m.headers, CN_STR("x"), NULL);
    assert_str(h->value, "1");
    h = cn_msg_find(&f->m.headers, CN_STR("x"), h);
    assert_str(h->value, "3");
    assert_null(cn_msg_find(&f->m.headers, CN_STR("x"), h));
    assert_null(cn_msg_find(&f->m.headers, CN_STR("z"), NULL));
}

static void test_set_replaces_in_place_and_drops_the_rest(void **state)
{
    fix_t *f = *state;
    add(f, "a", "1");
    add(f, "x", "2");
    add(f, "b", "3");
    add(f, "x", "4");
    add(f, "c", "5");
    cn_msg_set(&f->m, &f->m.headers, CN_STR("x"), CN_STR("new"));
    assert_list(f, "a=1|x=new|b=3|c=5");
    cn_msg_set(&f->m, &f->m.headers, CN_STR("y"), CN_STR("6"));
    assert_list(f, "a=1|x=new|b=3|c=5|y=6");
}

static void test_remove_takes_all_lines_and_counts_them(void **state)
{
    fix_t *f = *state;
    add(f, "x", "1");
    add(f, "a", "2");
    add(f, "x", "3");
    assert_int_equal(cn_msg_remove(&f->m.headers, CN_STR("x")), 2);
    assert_int_equal(cn_msg_remove(&f->m.headers, CN_STR("x")), 0);
    assert_list(f, "a=2");
}

static void test_reasons_are_those_that_envoy_gives(void **state CN_UNUSED)
{
    assert_str(cn_msg_reason(100), "Continue");
    assert_str(cn_msg_reason(200), "OK");
    assert_str(cn_msg_reason(503), "Service Unavailable");
    assert_str(cn_msg_reason(511), "Network Authentication Required");
    assert_str(cn_msg_reason(426), "Upgrade Required");
    assert_str(cn_msg_reason(103), "Unknown");
    assert_str(cn_msg_reason(418), "Unknown");
    assert_str(cn_msg_reason(299), "Unknown");
    assert_str(cn_msg_reason(1000), "Unknown");
    assert_str(cn_msg_reason(0), "Unknown");
}

static void test_some_responses_never_have_a_body(void **state CN_UNUSED)
{
    cn_str_t get = CN_STR("GET");
    assert_true(cn_msg_bodyless(get, 100));
    assert_true(cn_msg_bodyless(get, 204));
    assert_true(cn_msg_bodyless(get, 304));
    assert_true(cn_msg_bodyless(CN_STR("HEAD"), 200));
    assert_true(cn_msg_bodyless(CN_STR("CONNECT"), 200));
    assert_false(cn_msg_bodyless(CN_STR("CONNECT"), 404));
    assert_false(cn_msg_bodyless(get, 200));
    assert_false(cn_msg_bodyless(get, 205));
}

static void test_grpc_is_known_by_its_exact_content_type(void **state)
{
    static const struct {
        const char *type;
        bool grpc;
    } v[] = {
        {"application/grpc", true},      {"application/grpc+proto", true},
        {"application/grpcx", false},    {"application/grpc; charset=utf-8", false},
        {"application/grpc-web", false}, {"APPLICATION/GRPC", false},
        {"application/json", false},
    };
    fix_t *f = *state;
    assert_false(cn_msg_is_grpc(&f->m));
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_msg_set(&f->m, &f->m.headers, CN_STR("content-type"), cn_str_c(v[i].type));
        assert_int_equal(cn_msg_is_grpc(&f->m), v[i].grpc);
    }
}

static void test_a_copy_does_not_need_the_original(void **state)
{
    fix_t *f = *state;
    char name[] = "x-a", value[] = "one", target[] = "/t";
    cn_msg_t from, copy;
    cn_msg_init(&from, f->m.pool);
    from.target = cn_str_c(target);
    cn_msg_add(&from, &from.headers, cn_str_c(name), cn_str_c(value));
    cn_msg_add(&from, &from.headers, CN_STR("te"), CN_STR("trailers"));
    cn_msg_add(&from, &from.trailers, CN_STR("x-t"), CN_STR("t"));
    cn_msg_copy(&copy, f->m.pool, &from);
    name[2] = value[0] = target[1] = '!';
    assert_true(cn_str_eq(copy.target, CN_STR("/t")));
    assert_int_equal(copy.headers.n, 2);
    assert_true(cn_str_eq(cn_msg_find(&copy.headers, CN_STR("x-a"), NULL)->value, CN_STR("one")));
    assert_non_null(cn_msg_get(&copy.headers, CN_TOK_TE));
    assert_int_equal(copy.trailers.n, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_new_message_has_no_length),
        T(test_lists_grow_and_keep_their_order),
        T(test_known_names_get_their_token),
        T(test_find_visits_each_line_of_a_name),
        T(test_set_replaces_in_place_and_drops_the_rest),
        T(test_a_copy_does_not_need_the_original),
        T(test_remove_takes_all_lines_and_counts_them),
        cmocka_unit_test(test_reasons_are_those_that_envoy_gives),
        cmocka_unit_test(test_some_responses_never_have_a_body),
        T(test_grpc_is_known_by_its_exact_content_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
