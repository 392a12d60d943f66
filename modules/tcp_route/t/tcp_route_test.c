/* SPDX-License-Identifier: Apache-2.0
 *
 * Services as conf text, connections as facts, and where they go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../tcp_route_int.h"
#include "../../../t/unit/fixture/module_conf.h"
#include "stub.h"

extern const cn_module_t cn_module_tcp_route;

typedef struct {
    cn_pool_t *pool;
    cn_gen_t *gen;
    cn_str_t why; /* an error instead of gen */
    const void *conf;
    cn_worker_t worker;
} loaded_t;

static loaded_t load(const char *body)
{
    loaded_t l = {.pool = cn_pool_create(0)};
    cn_str_t text = cn_pool_printf(l.pool, "service s {\naddress 10.0.0.1:80;\n%s\n}\n", body);

    if (cn_fixture_module_load(&cn_module_tcp_route, l.pool, text, &l.gen, &l.why) == CN_OK)
        l.conf =
            ((cn_section_t *)cn_map_get(&l.gen->services, CN_STR("s")))->confs[CN_UNIT_MODULES];
    cn_rand_init(&l.worker.rand, 7);
    return l;
}

static void unload(loaded_t *l)
{
    if (l->gen)
        cn_gen_unref(l->gen);
    cn_pool_destroy(l->pool);
}

static cn_req_t connect_as(loaded_t *l, const char *sni)
{
    cn_req_t req = {.facts = {.sni = cn_str_c(sni)}, .worker = &l->worker};
    cn_rc rc;

    if (!l->gen)
        fail_msg("%.*s", CN_STR_ARG(l->why));
    assert_true(cn_module_tcp_route.active(l->conf, CN_PH_TUNNEL));
    rc = cn_module_tcp_route.phase[CN_PH_TUNNEL](&req, l->conf, NULL);
    assert_int_equal(rc, req.why.n ? CN_DONE : CN_OK);
    return req;
}

static void expect_cluster(loaded_t *l, const char *sni, const char *cluster)
{
    cn_req_t req = connect_as(l, sni);

    assert_int_equal(req.flags, 0);
    assert_int_equal(req.cluster.n, strlen(cluster));
    assert_memory_equal(req.cluster.p, cluster, req.cluster.n);
}

static void expect_closed(loaded_t *l, const char *sni, uint32_t flags, const char *why)
{
    cn_req_t req = connect_as(l, sni);

    assert_int_equal(req.flags, flags);
    assert_string_equal(req.why.p, why);
    assert_int_equal(req.cluster.n, 0);
}

static void test_a_service_without_routes_is_left_alone(void **state)
{
    loaded_t l = load("");

    (void)state;
    assert_false(cn_module_tcp_route.active(l.conf, CN_PH_TUNNEL));
    unload(&l);
}

static void test_the_most_specific_name_counts(void **state)
{
    loaded_t l = load("tls_route any { backend any; }\n"
                      "tls_route wide { sni *.example; backend wide; }\n"
                      "tls_route narrow { sni *.a.example; backend narrow; }\n"
                      "tls_route exact { sni X.a.example other.test; backend exact; }\n"
                      "tls_route later { sni x.a.example; backend later; }\n");

    (void)state;
    expect_cluster(&l, "x.a.example", "exact");
    expect_cluster(&l, "other.test", "exact");
    expect_cluster(&l, "y.a.example", "narrow");
    expect_cluster(&l, "z.y.a.example", "narrow");
    expect_cluster(&l, "a.example", "wide");
    expect_cluster(&l, "example", "any");
    expect_cluster(&l, "notexample", "any");
    expect_cluster(&l, "", "any");
    unload(&l);
}

static void test_what_no_route_takes_goes_to_the_tcp_backend_or_nowhere(void **state)
{
    loaded_t l = load("tls_route a { sni a.example; backend a; }\n"),
             m = load("tls_route a { sni a.example; backend a; }\ntcp_backend rest;\n");

    (void)state;
    expect_closed(&l, "b.example", CN_FLAG_NR, "tls_route_not_found");
    expect_closed(&l, "", CN_FLAG_NR, "tls_route_not_found");
    expect_cluster(&m, "a.example", "a");
    expect_cluster(&m, "b.example", "rest");
    unload(&l);
    unload(&m);
}

/* The band is five times the standard deviation: sqrt(10000 * 0.9 * 0.1) = 30. */
static void test_weights_are_shares(void **state)
{
    loaded_t l =
        load("tcp_backend a weight=90;\ntcp_backend b weight=10;\ntcp_backend c weight=0;\n");
    unsigned a = 0, b = 0;

    (void)state;
    for (unsigned i = 0; i < 10000; i++) {
        cn_req_t req = connect_as(&l, "");

        a += req.cluster.p[0] == 'a';
        b += req.cluster.p[0] == 'b';
    }
    assert_int_equal(a + b, 10000);
    assert_in_range(b, 850, 1150);
    unload(&l);
}

static void test_an_invalid_share_is_closed(void **state)
{
    loaded_t l = load("tcp_backend invalid;\n"), m = load("tcp_backend a weight=0;\n");

    (void)state;
    expect_closed(&l, "", CN_FLAG_NC, "cluster_not_found");
    expect_closed(&m, "", CN_FLAG_NC, "no_backend_has_weight");
    unload(&l);
    unload(&m);
}

static void expect_error(const char *body, const char *why)
{
    loaded_t l = load(body);

    assert_null(l.gen);
    if (!strstr(cn_pool_cstr(l.pool, l.why), why))
        fail_msg("%s: %.*s", body, CN_STR_ARG(l.why));
    unload(&l);
}

static void test_mistakes_are_named(void **state)
{
    (void)state;
    expect_error("tcp_backend a weight=x;", "\"weight=x\": expected weight=N");
    expect_error("tcp_backend a b;", "\"b\": expected weight=N");
    expect_error("tls_route r { sni *; backend a weight=-1; }", "expected weight=N");
    expect_error("tls_route r { sni a*.example; backend a; }", "\"a*.example\" is not a host name");
    expect_error("tls_route r { sni *.; backend a; }", "\"*.\" is not a host name");
    expect_error("tls_route r { port 1; }", "unknown directive \"port\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_service_without_routes_is_left_alone),
        cmocka_unit_test(test_the_most_specific_name_counts),
        cmocka_unit_test(test_what_no_route_takes_goes_to_the_tcp_backend_or_nowhere),
        cmocka_unit_test(test_weights_are_shares),
        cmocka_unit_test(test_an_invalid_share_is_closed),
        cmocka_unit_test(test_mistakes_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
