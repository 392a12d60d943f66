/* SPDX-License-Identifier: Apache-2.0
 * Known pods and baggage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/hash.h"
#include "upstream/workload.h"

#define assert_str(a, text) assert_true(cn_str_eq((a), cn_str_c(text)))

static cn_addr_t ip(const char *text)
{
    cn_addr_t addr;

    assert_int_equal(cn_inet_parse_ip(cn_str_c(text), &addr), CN_OK);
    return addr;
}

static void test_pods_are_found_by_address_whatever_the_port(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_workloads_t *ws;
    cn_str_t why;
    cn_addr_t addr = ip("10.0.0.5"), six = ip("fd00::5");
    const cn_workload_t *w;

    (void)state;
    assert_int_equal(
        cn_workloads_parse(CN_STR("# pods\n10.0.0.5 name=a-1 namespace=shop workload=a\n\n"
                                  "fd00::5  name=b-1\n"),
                           NULL, pool, &ws, &why),
        CN_OK);
    addr.port = 1234;
    w = cn_workloads_find(ws, &addr);
    assert_non_null(w);
    assert_str(w->name, "a-1");
    assert_str(w->ns, "shop");
    assert_str(w->cluster, "");
    assert_str(cn_workloads_find(ws, &six)->name, "b-1");
    addr = ip("10.0.0.6");
    assert_null(cn_workloads_find(ws, &addr));
    assert_null(cn_workloads_find(NULL, &addr));
    cn_workloads_unref(ws);
    cn_pool_destroy(pool);
}

static void test_records_that_say_the_same_have_the_same_id(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_workloads_t *ws;
    cn_workload_t said;
    cn_str_t why;
    cn_addr_t a = ip("10.0.0.5"), b = ip("10.0.0.6"), c = ip("10.0.0.7");

    (void)state;
    assert_int_equal(cn_workloads_parse(CN_STR("10.0.0.5 namespace=shop workload=a\n"
                                               "10.0.0.6 workload=a namespace=shop\n"
                                               "10.0.0.7 workload=shop namespace=a\n"),
                                        NULL, pool, &ws, &why),
                     CN_OK);
    assert_true(cn_workloads_find(ws, &a)->id != 0);
    assert_true(cn_workloads_find(ws, &a)->id == cn_workloads_find(ws, &b)->id);
    assert_true(cn_workloads_find(ws, &a)->id != cn_workloads_find(ws, &c)->id);
    assert_true(cn_workload_dup(pool, cn_workloads_find(ws, &a))->id ==
                cn_workloads_find(ws, &a)->id);
    assert_true(cn_workload_from_baggage(
        pool, CN_STR("k8s.namespace.name=shop,k8s.deployment.name=a"), &said));
    assert_true(said.id == cn_workloads_find(ws, &a)->id);
    cn_workloads_unref(ws);
    cn_pool_destroy(pool);
}

static void expect_refused(const char *text, const char *message)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_workloads_t *ws;
    cn_str_t why = CN_STR_NULL;

    assert_int_equal(cn_workloads_parse(cn_str_c(text), NULL, pool, &ws, &why), CN_ERR);
    assert_str(why, message);
    cn_pool_destroy(pool);
}

static void test_bad_lines_are_named(void **state)
{
    (void)state;
    expect_refused("10.0.0.1\nnot-an-ip name=x\n", "line 2: expected an IP address first");
    expect_refused("10.0.0.1 color=red\n", "line 1: unknown key");
    expect_refused("10.0.0.1 name\n", "line 1: expected KEY=VALUE behind the address");
}

static void test_baggage_of_ztunnel_is_understood(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_workload_t w;

    (void)state;
    assert_true(cn_workload_from_baggage(
        pool,
        CN_STR("k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.deployment.name=curl,"
               "service.name=curl-svc,service.version=v2,cloud.region=r1"),
        &w));
    assert_str(w.cluster, "c1");
    assert_str(w.ns, "shop");
    assert_str(w.workload, "curl");
    assert_str(w.canonical_name, "curl-svc");
    assert_str(w.canonical_revision, "v2");
    cn_pool_destroy(pool);
}

static void test_baggage_takes_the_last_value_and_ignores_what_is_empty_or_unknown(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_workload_t w;

    (void)state;
    assert_true(cn_workload_from_baggage(
        pool, CN_STR("service.name=a,service.name=b=c,x=y,service.version="), &w));
    assert_str(w.canonical_name, "b");
    assert_str(w.canonical_revision, "");
    assert_false(cn_workload_from_baggage(pool, CN_STR(",,=,x,service.name"), &w));
    cn_pool_destroy(pool);
}

static void test_a_peer_belongs_where_its_certificate_says(void **state)
{
    const cn_str_t said = CN_STR("k8s.namespace.name=lies,k8s.deployment.name=a");
    cn_pool_t *pool = cn_pool_create(0);
    cn_workload_t a, b;

    (void)state;
    assert_true(cn_workload_from_peer(pool, said, CN_STR("spiffe://td/ns/shop/sa/cart"), &a));
    assert_str(a.ns, "shop");
    assert_str(a.service_account, "cart");
    assert_str(a.trust_domain, "td");
    assert_str(a.workload, "a");
    assert_true(cn_workload_from_peer(pool, said, CN_STR("spiffe://td/ns/shop/sa/till"), &b));
    assert_true(a.id != b.id);
    assert_false(cn_workload_from_peer(pool, said, CN_STR_NULL, &b));
    assert_false(cn_workload_from_peer(pool, CN_STR("x"), CN_STR("spiffe://td/ns/a/sa/b"), &b));
    cn_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pods_are_found_by_address_whatever_the_port),
        cmocka_unit_test(test_records_that_say_the_same_have_the_same_id),
        cmocka_unit_test(test_bad_lines_are_named),
        cmocka_unit_test(test_baggage_of_ztunnel_is_understood),
        cmocka_unit_test(test_a_peer_belongs_where_its_certificate_says),
        cmocka_unit_test(test_baggage_takes_the_last_value_and_ignores_what_is_empty_or_unknown),
    };

    cn_hash_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
