/* SPDX-License-Identifier: Apache-2.0
 *
 * What a request is hashed by, and cookies for those that have none.
 */
#include "stub.h"

static cn_lb_key_t *add(bed_t *b, cn_lb_key_kind kind, const char *name)
{
    cn_lb_key_t *key = cn_vec_push(b->req.pool, &b->conf.keys, sizeof(*key));

    *key = (cn_lb_key_t){.kind = kind, .name = cn_str_c(name)};
    return key;
}

static void header(bed_t *b, const char *name, const char *value)
{
    cn_msg_add(&b->req.msg, &b->req.msg.headers, cn_str_c(name), cn_str_c(value));
}

static bool hash(bed_t *b, uint64_t *h)
{
    return cn_lb_key_hash(&b->conf, &b->pick, h);
}

static uint64_t xxh(const char *s)
{
    return cn_hash_xxh(cn_str_c(s), 0);
}

static void test_each_kind_of_key_is_the_hash_of_its_value(void **state CN_UNUSED)
{
    bed_t b;
    uint64_t h;

    bed_open(&b, "maglev", 1);
    add(&b, CN_LB_KEY_HEADER, "x-user");
    assert_false(hash(&b, &h));
    header(&b, "x-user", "ann");
    assert_true(hash(&b, &h) && h == xxh("ann"));
    b.conf.keys = (cn_vec_t){0};
    add(&b, CN_LB_KEY_QUERY, "u");
    assert_false(hash(&b, &h));
    b.req.msg.query = CN_STR("a=1&u=bob");
    assert_true(hash(&b, &h) && h == xxh("bob"));
    b.conf.keys = (cn_vec_t){0};
    add(&b, CN_LB_KEY_SOURCE_IP, "");
    assert_true(hash(&b, &h) && h == xxh("10.9.9.9"));
    b.conf.keys = (cn_vec_t){0};
    add(&b, CN_LB_KEY_COOKIE, "sess");
    assert_false(hash(&b, &h));
    header(&b, "cookie", "a=b; sess=\"s1\"; c=d");
    assert_true(hash(&b, &h) && h == xxh("s1"));
    bed_close(&b);
}

static void test_several_keys_are_combined_in_their_order(void **state CN_UNUSED)
{
    bed_t b;
    uint64_t h;

    bed_open(&b, "maglev", 1);
    add(&b, CN_LB_KEY_HEADER, "x-none");
    add(&b, CN_LB_KEY_HEADER, "x-user");
    add(&b, CN_LB_KEY_SOURCE_IP, "");
    header(&b, "x-user", "ann");
    assert_true(hash(&b, &h));
    uint64_t one = xxh("ann"), two = xxh("10.9.9.9");
    assert_true(h == ((one << 1 | one >> 63) ^ two));
    bed_close(&b);
}

static void test_a_connection_that_is_not_http_has_only_its_address(void **state CN_UNUSED)
{
    bed_t b;
    uint64_t h;

    bed_open(&b, "maglev", 1);
    b.req.facts.req = NULL;
    add(&b, CN_LB_KEY_HEADER, "x-user");
    add(&b, CN_LB_KEY_COOKIE, "sess")->generate = true;
    add(&b, CN_LB_KEY_QUERY, "q");
    assert_false(hash(&b, &h));
    add(&b, CN_LB_KEY_SOURCE_IP, "");
    assert_true(hash(&b, &h));
    cn_lb_key_give(&b.req, &b.conf);
    b.pick.req = NULL; /* a call of the waypoint itself */
    assert_false(hash(&b, &h));
    bed_close(&b);
}

static const char *given(bed_t *b)
{
    const cn_header_t *h = cn_msg_find(&b->req.resp.headers, CN_STR("set-cookie"), NULL);

    return h ? cn_pool_cstr(b->req.pool, h->value) : "";
}

static void test_a_new_cookie_decides_already_and_is_given_once(void **state CN_UNUSED)
{
    bed_t b;
    cn_lb_key_t *key;
    uint64_t h;
    cn_str_t value, rest;

    bed_open(&b, "maglev", 1);
    key = add(&b, CN_LB_KEY_COOKIE, "sess");
    key->generate = true;
    key->ttl_s = 100;
    key->path = CN_STR("/ck");
    assert_true(hash(&b, &h));
    cn_lb_key_give(&b.req, &b.conf);
    const char *line = given(&b);
    assert_int_equal(strlen(line),
                     strlen("sess=\"0123456789abcdef\"; Max-Age=100; Path=/ck; HttpOnly"));
    assert_non_null(strstr(line, "\"; Max-Age=100; Path=/ck; HttpOnly"));
    rest = cn_str_c(line + strlen("sess=\""));
    value = cn_str_make(rest.p, 16);
    assert_true(h == cn_hash_xxh(value, 0));
    /* who comes with it gets the same host and no other cookie */
    cn_msg_remove(&b.req.resp.headers, CN_STR("set-cookie"));
    header(&b, "cookie",
           cn_pool_cstr(b.req.pool, cn_pool_printf(b.req.pool, "sess=%.*s", CN_STR_ARG(value))));
    uint64_t again;
    assert_true(hash(&b, &again) && again == h);
    cn_lb_key_give(&b.req, &b.conf);
    assert_string_equal(given(&b), "");
    bed_close(&b);
}

static void test_a_session_cookie_has_no_age_and_no_path(void **state CN_UNUSED)
{
    bed_t b;

    bed_open(&b, "maglev", 1);
    add(&b, CN_LB_KEY_COOKIE, "s")->generate = true;
    cn_lb_key_give(&b.req, &b.conf);
    const char *line = given(&b);
    assert_int_equal(strlen(line), strlen("s=\"0123456789abcdef\"; HttpOnly"));
    assert_string_equal(line + strlen(line) - strlen("\"; HttpOnly"), "\"; HttpOnly");
    bed_close(&b);
}

static void test_requests_without_cookie_get_different_ones(void **state CN_UNUSED)
{
    bed_t b;
    uint64_t one, two;

    bed_open(&b, "maglev", 1);
    add(&b, CN_LB_KEY_COOKIE, "s")->generate = true;
    assert_true(hash(&b, &one));
    b.req.facts.start_ns++;
    assert_true(hash(&b, &two));
    assert_true(one != two);
    bed_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_kind_of_key_is_the_hash_of_its_value),
        cmocka_unit_test(test_several_keys_are_combined_in_their_order),
        cmocka_unit_test(test_a_connection_that_is_not_http_has_only_its_address),
        cmocka_unit_test(test_a_new_cookie_decides_already_and_is_given_once),
        cmocka_unit_test(test_a_session_cookie_has_no_age_and_no_path),
        cmocka_unit_test(test_requests_without_cookie_get_different_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
