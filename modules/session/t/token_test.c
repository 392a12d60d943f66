/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens there and back, how long they live, and cookies in their lines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../session_int.h"

static cn_session_token_t token(const char *addr)
{
    cn_session_token_t t = {.cluster = 0xfedcba98, .begun_s = 1000, .used_s = 2000};

    assert_int_equal(cn_inet_parse_hostport(cn_str_c(addr), false, &t.addr), CN_OK);
    return t;
}

static void test_tokens_come_back_as_they_were(void **state CN_UNUSED)
{
    static const char *const v[] = {"10.0.0.1:80", "255.255.255.255:65535", "[fd00::1]:9080"};
    cn_pool_t *pool = cn_pool_create(0);

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_session_token_t t = token(v[i]), back;

        assert_int_equal(cn_session_token_decode(pool, cn_session_token_encode(pool, &t), &back),
                         CN_OK);
        assert_int_equal(back.cluster, t.cluster);
        assert_int_equal(back.begun_s, t.begun_s);
        assert_int_equal(back.used_s, t.used_s);
        assert_int_equal(back.addr.port, t.addr.port);
        assert_true(cn_inet_same_ip(&back.addr, &t.addr));
    }
    cn_pool_destroy(pool);
}

/* Whatever a client sends is either refused or an address like any other. */
static void test_every_damage_is_survived(void **state CN_UNUSED)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_session_token_t t = token("10.0.0.1:9080"), back;
    cn_str_t good = cn_session_token_encode(pool, &t);

    for (size_t n = 0; n < good.n - 2; n++)
        assert_int_equal(cn_session_token_decode(pool, cn_str_make(good.p, n), &back), CN_ERR);
    for (unsigned c = 0; c < 256; c++) {
        cn_str_t bad = cn_pool_dup(pool, good);

        ((char *)(uintptr_t)bad.p)[0] = (char)c;
        if (cn_session_token_decode(pool, bad, &back) == CN_OK)
            assert_int_equal(back.addr.family, AF_INET);
    }
    cn_pool_destroy(pool);
}

static void test_tags_differ_and_stay(void **state CN_UNUSED)
{
    /* other waypoints, and those of next year, must read what this one wrote */
    assert_int_equal(cn_session_tag(CN_STR("reviews-v1.bookinfo:9080")),
                     cn_session_tag(CN_STR("reviews-v1.bookinfo:9080")));
    assert_int_not_equal(cn_session_tag(CN_STR("a")), cn_session_tag(CN_STR("b")));
}

static void test_sessions_end(void **state CN_UNUSED)
{
    static const struct {
        uint64_t ttl_ms, idle_ms, now_s;
        bool alive;
    } v[] = {{0, 0, 1u << 30, true},
             {0, 0, 2000, true},
             {1000000, 0, 2000, true},
             {1000000, 0, 2001, false},
             {0, 100000, 2100, true},
             {0, 100000, 2101, false},
             {9000000, 100000, 2100, true},
             {9000000, 100000, 2101, false},
             {0, 0, 1940, true},
             {0, 0, 1939, true},             /* nothing ends it */
             {9000000, 100000, 1939, false}, /* used in the future */
             {500, 0, 1000, true}};

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_session_conf_t c = {.ttl_ms = v[i].ttl_ms, .idle_ms = v[i].idle_ms};
        cn_session_token_t t = token("10.0.0.1:80");

        if (v[i].now_s == 1000)
            t.used_s = 1000;
        if (cn_session_token_alive(&t, &c, v[i].now_s) != v[i].alive)
            fail_msg("row %zu", i);
    }
}

static void test_cookies_are_found_by_their_whole_name(void **state CN_UNUSED)
{
    static const struct {
        const char *line, *value; /* NULL: not there */
    } v[] = {{"s=1", "1"},        {"a=b; s=1; c=d", "1"}, {"a=b;s=1;c=d", "1"}, {"xs=1", NULL},
             {"sx=1", NULL},      {"S=1", NULL},          {"s", NULL},          {"", NULL},
             {"s=", ""},          {"s=\"1\"", "1"},       {"s=\"", "\""},       {"s=a=b", "a=b"},
             {"a=\"s=1\"", NULL}, {"; ;s=1", "1"},        {"s=1; s=2", "1"}};

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_str_t value = CN_STR("?");
        bool found = cn_session_cookie(cn_str_c(v[i].line), CN_STR("s"), &value);

        if (found != (v[i].value != NULL) || (found && !cn_str_eq(value, cn_str_c(v[i].value))))
            fail_msg("row %zu: %s", i, v[i].line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens_come_back_as_they_were),
        cmocka_unit_test(test_every_damage_is_survived),
        cmocka_unit_test(test_tags_differ_and_stay),
        cmocka_unit_test(test_sessions_end),
        cmocka_unit_test(test_cookies_are_found_by_their_whole_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
