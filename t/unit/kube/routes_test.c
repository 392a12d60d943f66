/* SPDX-License-Identifier: Apache-2.0
 *
 * The order of routes does not depend on the order of the input: every order in
 * which a set of matches can be written gives the same result.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/hash.h"
#include "kube/translate.h"
#include "kube/yaml.h"

/* From the one that is tried first to the one that is tried last. */
static const char *const ordered[] = {
    "{path: {type: Exact, value: /longer}}",
    "{path: {type: Exact, value: /a}, method: GET}",
    "{path: {type: Exact, value: /a}}",
    "{path: {type: PathPrefix, value: /a/b}}",
    "{path: {type: PathPrefix, value: /a}, method: GET}",
    "{path: {type: PathPrefix, value: /a}, headers: [{name: x, value: y}, {name: z, value: y}]}",
    "{path: {type: PathPrefix, value: /a}, headers: [{name: x, value: y}], queryParams: [{name: q, "
    "value: v}]}",
    "{path: {type: PathPrefix, value: /a}, headers: [{name: x, value: y}]}",
    "{path: {type: PathPrefix, value: /a}, queryParams: [{name: q, value: v}]}",
    "{path: {type: PathPrefix, value: /a}}",
    "{method: GET}",
    "{path: {type: RegularExpression, value: \"/.*long\"}}",
    "{path: {type: RegularExpression, value: \"/.*\"}}",
    "{}",
};
#define N CN_COUNT(ordered)

static bool need(void *arg, const cn_service_t *svc, const cn_service_port_t *port, cn_str_t subset)
{
    (void)arg;
    (void)svc;
    (void)port;
    return subset.n == 0;
}

/* Rule names in the order in which they are tried, "12 0 3 ...". */
static void order_of(cn_world_t *w, char *out, size_t cap)
{
    const cn_service_t *svc = cn_map_get(&w->service_map, CN_STR("a/web"));
    cn_vec_t routes = {0};
    cn_out_route_t *r;
    size_t n = 0;

    cn_routes_build(&(cn_routes_t){w, svc, svc->ports.v, need, NULL}, &routes);
    r = routes.v;
    for (uint32_t i = 0; i < routes.n; i++)
        n += (size_t)snprintf(out + n, cap - n, "%.*s ", CN_STR_ARG(r[i].name));
}

static void read_text(cn_store_t *s, const cn_source_t *src, const char *text)
{
    cn_yaml_read(s->pool, s->diag, src, cn_str_c(text), cn_store_add, s);
}

/* rules: indices of ordered[], as they stand in the route. */
static void check_order(const unsigned *rules)
{
    static const char base[] =
        "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {istio.io/use-waypoint: "
        "w}}}\n"
        "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: w, "
        "namespace: a}, "
        "spec: {gatewayClassName: istio-waypoint, listeners: [{name: m, port: 15008, protocol: "
        "HBONE}]}}\n"
        "---\n{apiVersion: v1, kind: Service, metadata: {name: web, namespace: a}, spec: "
        "{clusterIP: 10.0.0.1, "
        "ports: [{name: http, port: 80}]}}\n"
        "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, "
        "namespace: a}, "
        "spec: {parentRefs: [{group: '', kind: Service, name: web}], rules: [\n";
    cn_pool_t *pool = cn_pool_create(0);
    cn_source_t src = {CN_STR("a"), 0};
    char text[8192], got[1024] = "", expected[1024] = "";
    size_t n = (size_t)snprintf(text, sizeof(text), "%s", base), e = 0;
    cn_diag_t diag;
    cn_store_t store;
    cn_mesh_t mesh;
    cn_world_t world;

    for (unsigned i = 0; i < N; i++) {
        n += (size_t)snprintf(text + n, sizeof(text) - n,
                              "{name: n%u, matches: [%s], backendRefs: [{name: web, port: 80}]},\n",
                              rules[i], ordered[rules[i]]);
        e += (size_t)snprintf(expected + e, sizeof(expected) - e, "n%u ", i);
    }
    snprintf(text + n, sizeof(text) - n, "]}}\n");
    cn_diag_init(&diag, pool);
    cn_store_init(&store, pool, &diag);
    read_text(&store, &src, text);
    cn_store_finish(&store);
    cn_meshconfig_default(&mesh);
    cn_model_init(&world, &store, &mesh);
    cn_attach_all(&world);
    order_of(&world, got, sizeof(got));
    assert_string_equal(got, expected);
    assert_int_equal(diag.errors + diag.warnings, 0);
    cn_model_fini(&world);
    cn_store_fini(&store);
    cn_diag_fini(&diag);
    cn_pool_destroy(pool);
}

static void test_any_order_of_rules_gives_the_same_precedence(void **state)
{
    unsigned rules[N];
    uint64_t seed = 1;

    (void)state;
    cn_hash_seed();
    for (unsigned i = 0; i < N; i++)
        rules[i] = i;
    for (int round = 0; round < 50; round++) {
        check_order(rules);
        for (unsigned i = N - 1; i > 0; i--) {
            unsigned k, swap = rules[i];

            seed = seed * 6364136223846793005u + 1442695040888963407u;
            k = (unsigned)(seed >> 33) % (i + 1);
            rules[i] = rules[k];
            rules[k] = swap;
        }
    }
}

static void test_protocols_follow_istios_rule(void **state)
{
    (void)state;
    assert_int_equal(cn_model_core_protocol(80, CN_STR("http"), CN_STR_NULL), CN_PROTOCOL_HTTP);
    assert_int_equal(cn_model_core_protocol(80, CN_STR("HTTP2-x"), CN_STR_NULL), CN_PROTOCOL_HTTP2);
    assert_int_equal(cn_model_core_protocol(80, CN_STR("grpc-web"), CN_STR_NULL),
                     CN_PROTOCOL_GRPC_WEB);
    assert_int_equal(cn_model_core_protocol(80, CN_STR("httpx"), CN_STR_NULL), CN_PROTOCOL_AUTO);
    assert_int_equal(cn_model_core_protocol(80, CN_STR_NULL, CN_STR_NULL), CN_PROTOCOL_AUTO);
    assert_int_equal(cn_model_core_protocol(3306, CN_STR("db"), CN_STR_NULL), CN_PROTOCOL_TCP);
    assert_int_equal(cn_model_core_protocol(3306, CN_STR("http"), CN_STR_NULL), CN_PROTOCOL_HTTP);
    assert_int_equal(cn_model_core_protocol(80, CN_STR("http"), CN_STR("tls")), CN_PROTOCOL_TLS);
    assert_int_equal(cn_model_core_protocol(80, CN_STR("tcp"), CN_STR("kubernetes.io/h2c")),
                     CN_PROTOCOL_HTTP2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order_of_rules_gives_the_same_precedence),
        cmocka_unit_test(test_protocols_follow_istios_rule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
