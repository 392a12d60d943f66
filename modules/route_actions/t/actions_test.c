/* SPDX-License-Identifier: Apache-2.0
 *
 * Locations and rewritten paths as tables, and shares of mirrors with a fixed
 * seed.  What clients and hosts see of all this is t/it/test_route_actions.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../actions_int.h"
#include "stub.h"

extern const cn_module_t cn_module_route_actions;

static void assert_str(cn_str_t got, const char *want)
{
    if (!cn_str_eq(got, cn_str_c(want)))
        fail_msg("\"%.*s\" is not \"%s\"", CN_STR_ARG(got), want);
}

/* The table of HTTPPathModifier in Gateway API, and plain text. */
static void test_prefixes_are_replaced(void **state CN_UNUSED)
{
    static const struct {
        const char *path;
        size_t matched;
        bool segments;
        const char *prefix, *result;
    } v[] = {
        {"/foo/bar", 4, true, "/xyz", "/xyz/bar"},
        {"/foo/bar", 4, true, "/xyz/", "/xyz/bar"},
        {"/foo", 4, true, "/xyz", "/xyz"},
        {"/foo/", 4, true, "/xyz", "/xyz/"},
        {"/foo/bar", 4, true, "", "/bar"},
        {"/foo/", 4, true, "", "/"},
        {"/foo", 4, true, "", "/"},
        {"/foo/", 4, true, "/", "/"},
        {"/foo", 4, true, "/", "/"},
        {"/foo", 0, true, "/xyz", "/xyz/foo"},
        {"/", 0, true, "/xyz", "/xyz/"},
        {"/", 0, true, "/", "/"},
        {"/foobar", 4, false, "/xyz", "/xyzbar"},
        {"/foo/bar", 4, false, "/xyz/", "/xyz//bar"},
        {"/foo", 4, false, "/xyz", "/xyz"},
        {"/foo", 4, false, "", "/"},
        {"/foo", 1, false, "/", "/foo"},
    };
    cn_pool_t *pool = cn_pool_create(0);

    for (size_t i = 0; i < CN_COUNT(v); i++)
        assert_str(cn_route_actions_prefix(pool, cn_str_c(v[i].path), v[i].matched, v[i].segments,
                                           cn_str_c(v[i].prefix)),
                   v[i].result);
    cn_pool_destroy(pool);
}

static cn_msg_t request(cn_pool_t *pool, const char *scheme, const char *authority)
{
    cn_msg_t m;

    cn_msg_init(&m, pool);
    m.method = CN_STR("GET");
    m.scheme = cn_str_c(scheme);
    m.authority = cn_str_c(authority);
    m.target = CN_STR("/a/b?q=1");
    m.path = CN_STR("/a/b");
    m.query = CN_STR("q=1");
    m.has_query = true;
    return m;
}

#define SERVICE CN_ROUTE_ACTIONS_PORT_SERVICE
#define HOST CN_ROUTE_ACTIONS_PORT_HOST
#define GIVEN CN_ROUTE_ACTIONS_PORT_GIVEN

/* facts/semantics 3.4: a given port, else that of a given scheme, else the
 * service's; 80 of http and 443 of https are not named. */
static void test_locations_name_the_right_port(void **state CN_UNUSED)
{
    static const struct {
        const char *scheme, *authority; /* of the request */
        cn_route_actions_redirect_t r;
        uint16_t service;
        const char *location; /* before the path */
    } v[] = {
        {"http", "svc:9080", {.port = 0}, 9080, "http://svc:9080"},
        {"http", "svc", {.port = 0}, 80, "http://svc"},
        {"http", "svc:80", {.port = 0}, 80, "http://svc"},
        {"https", "svc", {.port = 0}, 443, "https://svc"},
        {"https", "svc", {.port = 0}, 80, "https://svc:80"},
        {"http", "svc:9080", {.scheme = CN_STR("https")}, 9080, "https://svc"},
        {"http",
         "svc:9080",
         {.scheme = CN_STR("https"), .port = SERVICE},
         9080,
         "https://svc:9080"},
        {"http", "svc:9080", {.port = GIVEN, .number = 8443}, 1, "http://svc:8443"},
        {"http",
         "svc",
         {.scheme = CN_STR("https"), .port = GIVEN, .number = 443},
         1,
         "https://svc"},
        {"http", "svc", {.scheme = CN_STR("ftp"), .port = GIVEN, .number = 80}, 1, "ftp://svc:80"},
        {"http", "svc:9080", {.port = HOST}, 1, "http://svc:9080"},
        {"http", "svc:80", {.port = HOST, .scheme = CN_STR("https")}, 1, "https://svc"},
        {"http", "svc:80", {.port = HOST}, 1, "http://svc:80"},
        {"http", "svc:9080", {.port = HOST, .host = CN_STR("h")}, 1, "http://h"},
        {"http", "svc:9080", {.host = CN_STR("h")}, 9080, "http://h:9080"},
        {"http", "[::1]:9080", {.port = HOST}, 1, "http://[::1]:9080"},
        {"http", "[::1]", {.port = SERVICE}, 9080, "http://[::1]:9080"},
        {"http", "[::1]:1", {.port = SERVICE}, 9080, "http://[::1]:9080"},
        {"http", "::1", {.port = SERVICE}, 9080, "http://::1:9080"},
        {"http", "svc:", {.port = HOST}, 1, "http://svc"},
        {"http", "svc", {.port = 0}, 0, "http://svc"},
    };
    cn_pool_t *pool = cn_pool_create(0);

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_msg_t m = request(pool, v[i].scheme, v[i].authority);
        cn_tunnel_t t = {.dest = {.port = v[i].service}};
        cn_facts_t facts = {.req = &m, .tunnel = &t};
        cn_str_t want = cn_pool_printf(pool, "%s/a/b?q=1", v[i].location);

        assert_str(cn_route_actions_location(pool, &v[i].r, &facts), want.p);
    }
    cn_pool_destroy(pool);
}

static void test_locations_keep_or_replace_path_and_query(void **state CN_UNUSED)
{
    static const struct {
        cn_route_actions_redirect_t r;
        const char *end;
    } v[] = {{{.path = CN_STR("/n")}, "/n?q=1"},
             {{.path = CN_STR("/n?x=y")}, "/n?x=y"},
             {{.prefix = CN_STR("/n"), .has_prefix = true}, "/n/b?q=1"},
             {{.prefix = CN_STR(""), .has_prefix = true}, "/b?q=1"}};
    cn_pool_t *pool = cn_pool_create(0);
    cn_msg_t m = request(pool, "http", "svc");
    cn_tunnel_t t = {.dest = {.port = 80}};
    cn_facts_t facts = {.req = &m, .tunnel = &t, .matched = 2, .matched_segments = true};

    for (size_t i = 0; i < CN_COUNT(v); i++)
        assert_str(cn_route_actions_location(pool, &v[i].r, &facts),
                   cn_pool_printf(pool, "http://svc%s", v[i].end).p);
    cn_pool_destroy(pool);
}

static void test_a_rewritten_target_always_begins_with_a_slash(void **state CN_UNUSED)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_msg_t m = request(pool, "http", "svc");
    cn_facts_t facts = {.req = &m, .matched = 4};
    cn_route_actions_rewrite_t r = {.prefix = CN_STR("x"), .has_prefix = true};
    cn_str_t target;

    assert_int_equal(cn_route_actions_target(pool, &r, &facts, &target), CN_OK);
    assert_str(target, "/x?q=1");
    r = (cn_route_actions_rewrite_t){.path = CN_STR("/all")};
    assert_int_equal(cn_route_actions_target(pool, &r, &facts, &target), CN_OK);
    assert_str(target, "/all?q=1");
    r = (cn_route_actions_rewrite_t){.host = CN_STR("h")};
    assert_int_equal(cn_route_actions_target(pool, &r, &facts, &target), CN_OK);
    assert_str(target, "/a/b?q=1");
    cn_pool_destroy(pool);
}

/* A path that cannot be rewritten within the limits reaches no host as it was. */
static void test_an_undecided_rewrite_is_answered(void **state CN_UNUSED)
{
    cn_pool_t *pool = cn_pool_create(0);
    char *path = cn_pool_bytes(pool, 60000);
    cn_route_actions_conf_t c = {.rewrite = {.subst = CN_STR("x")}};
    cn_route_actions_ctx_t ctx = {.preflight = false};
    cn_msg_t m = request(pool, "http", "svc");
    cn_req_t req = {.pool = pool, .msg = &m, .facts = {.req = &m}};
    cn_str_t why;

    memset(path, 'a', 60000);
    m.path = m.target = cn_str_make(path, 60000);
    m.has_query = false;
    cn_log_set_level(CN_LOG_ERROR);
    assert_int_equal(cn_regex_compile_find(pool, CN_STR("(a+)+[bc]"), &c.rewrite.regex, &why),
                     CN_OK);
    assert_int_equal(cn_module_route_actions.phase[CN_PH_POLICY](&req, &c, &ctx), CN_DONE);
    assert_int_equal(req.status, 500);
    assert_int_equal(req.target.n, 0);
    cn_pool_destroy(pool);
}

/* Three sigma of a binomial distribution; the seed is fixed. */
static void test_mirrors_have_their_share(void **state CN_UNUSED)
{
    static const struct {
        uint32_t parts, of;
        unsigned low, high; /* of 100000 */
    } v[] = {{0, CN_PARTS, 0, 0},
             {CN_PARTS, CN_PARTS, 100000, 100000},
             {1000, CN_PARTS, 71, 129},
             {125000, CN_PARTS, 12187, 12813},
             {1, 3, 32887, 33780}};
    cn_pool_t *pool = cn_pool_create(0);
    cn_msg_t m = request(pool, "http", "svc");

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_route_actions_mirror_t mirror = {CN_STR("c"), v[i].parts, v[i].of};
        cn_route_actions_conf_t c = {.mirrors = {&mirror, 1, 1}};
        cn_req_t req = {.pool = pool, .msg = &m, .facts = {.req = &m}};

        cn_rand_init(&req.worker.rand, 5);
        for (int k = 0; k < 100000; k++) {
            cn_route_actions_ctx_t ctx = {.preflight = false};

            assert_int_equal(cn_module_route_actions.phase[CN_PH_POLICY](&req, &c, &ctx), CN_OK);
        }
        if (req.mirrored < v[i].low || req.mirrored > v[i].high)
            fail_msg("row %zu: %u", i, req.mirrored);
    }
    cn_pool_destroy(pool);
}

static void test_a_module_with_nothing_to_do_is_not_called(void **state CN_UNUSED)
{
    cn_route_actions_conf_t none = {.direct_status = 0}, direct = {.direct_status = 200};

    assert_false(cn_module_route_actions.active(NULL, CN_PH_POLICY));
    assert_false(cn_module_route_actions.active(&none, CN_PH_POLICY));
    assert_false(cn_module_route_actions.active(&none, CN_PH_RESP_HEAD));
    assert_true(cn_module_route_actions.active(&direct, CN_PH_POLICY));
    assert_false(cn_module_route_actions.active(&direct, CN_PH_RESP_HEAD));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefixes_are_replaced),
        cmocka_unit_test(test_locations_name_the_right_port),
        cmocka_unit_test(test_locations_keep_or_replace_path_and_query),
        cmocka_unit_test(test_a_rewritten_target_always_begins_with_a_slash),
        cmocka_unit_test(test_an_undecided_rewrite_is_answered),
        cmocka_unit_test(test_mirrors_have_their_share),
        cmocka_unit_test(test_a_module_with_nothing_to_do_is_not_called),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
