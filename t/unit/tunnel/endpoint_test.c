/* SPDX-License-Identifier: Apache-2.0
 * What a tunnel asks for and the service that answers there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "core/hash.h"
#include "tunnel/tunnel.h"
#include "upstream/cluster.h"

#define CONF                                                                                       \
    "service vip { address 10.96.0.1:80 [fd00::12]:80; host vip.ns.svc.cluster.local; "            \
    "service vip ns 80; }"                                                                         \
    "service pod { address 10.0.0.5:*; }"                                                          \
    "service other { address 10.0.0.5:9000; }"                                                     \
    "service name { host name.ns.svc.cluster.local; service name ns 80; }"

static cn_gen_t *gen;

static int load(void **state)
{
    static const cn_conf_ops_t no_levels[CN_LV_MAX];
    static cn_conf_unit_t v[CN_UNIT_MODULES];
    static const cn_units_t units = {.v = v, .n = CN_UNIT_MODULES};
    cn_pool_t *pool = cn_pool_create(0);
    cn_bundle_t *bundle = cn_bundle_create(CN_STR("/"));
    cn_conf_load_t cl = {.units = &units, .bundle = bundle, .file = CN_STR("/c.conf")};
    cn_str_t why = CN_STR_NULL;

    (void)state;
    cn_hash_seed();
    v[CN_UNIT_MAIN] = (cn_conf_unit_t){"main", NULL, no_levels};
    v[CN_UNIT_PROXY] = (cn_conf_unit_t){"proxy", NULL, no_levels};
    v[CN_UNIT_TUNNEL] = cn_tunnel_unit;
    v[CN_UNIT_UPSTREAM] = cn_upstream_unit;
    cn_bundle_put(bundle, CN_STR("/c.conf"), CN_STR(CONF));
    assert_int_equal(cn_gen_load(&cl, pool, &gen, &why), CN_OK);
    cn_bundle_destroy(bundle);
    cn_pool_destroy(pool);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    cn_gen_unref(gen);
    return 0;
}

static void expect(const char *authority, const char *service, const char *dest)
{
    cn_section_t *section = NULL;
    cn_addr_t to;
    char text[CN_INET_TEXT];

    assert_int_equal(cn_tunnel_resolve(gen, cn_str_c(authority), &section, &to), CN_OK);
    assert_true(cn_str_eq(section->name, cn_str_c(service)));
    cn_inet_put(text, &to, true);
    assert_string_equal(text, dest);
    cn_section_unref(section);
}

static void expect_none(const char *authority, cn_rc rc)
{
    cn_section_t *section = NULL;
    cn_addr_t to;

    assert_int_equal(cn_tunnel_resolve(gen, cn_str_c(authority), &section, &to), rc);
    assert_null(section);
}

static void test_addresses_lead_to_their_service(void **state)
{
    (void)state;
    expect("10.96.0.1:80", "vip", "10.96.0.1:80");
    expect("[fd00::12]:80", "vip", "[fd00::12]:80");
    expect("[::ffff:10.96.0.1]:80", "vip", "10.96.0.1:80");
}

static void test_any_port_of_a_pod_unless_one_is_claimed(void **state)
{
    (void)state;
    expect("10.0.0.5:1", "pod", "10.0.0.5:1");
    expect("10.0.0.5:9000", "other", "10.0.0.5:9000");
}

static void test_names_lead_to_the_first_address(void **state)
{
    (void)state;
    expect("vip.ns.svc.cluster.local:80", "vip", "10.96.0.1:80");
    expect("name.ns.svc.cluster.local:80", "name", "-");
}

static void test_what_nobody_claims_is_not_served(void **state)
{
    (void)state;
    expect_none("10.96.0.1:81", CN_DECLINE);
    expect_none("127.0.0.1:15000", CN_DECLINE);
    expect_none("vip.ns.svc.cluster.local:81", CN_DECLINE);
    expect_none("example.com:80", CN_DECLINE);
}

static void test_malformed_authorities_are_told_apart(void **state)
{
    (void)state;
    expect_none("", CN_ERR);
    expect_none("10.96.0.1", CN_ERR);
    expect_none("10.96.0.1:0", CN_ERR);
    expect_none("10.96.0.1:99999", CN_ERR);
    expect_none("vip.ns.svc.cluster.local", CN_ERR);
    expect_none("u@vip.ns.svc.cluster.local:80", CN_ERR);
    expect_none("a b:80", CN_ERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_lead_to_their_service),
        cmocka_unit_test(test_any_port_of_a_pod_unless_one_is_claimed),
        cmocka_unit_test(test_names_lead_to_the_first_address),
        cmocka_unit_test(test_what_nobody_claims_is_not_served),
        cmocka_unit_test(test_malformed_authorities_are_told_apart),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
