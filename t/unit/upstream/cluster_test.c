/* SPDX-License-Identifier: Apache-2.0
 * Endpoint lines, and what of a cluster survives a change of its endpoints.
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
#include "upstream/host.h"
#include "upstream/leaves.h"
#include "upstream/registry.h"

static void test_endpoint_lines_are_read(void **state)
{
    cn_endpoint_t ep;
    const char *why;

    (void)state;
    assert_int_equal(cn_endpoint_parse(CN_STR("10.0.0.5:9080"), &ep, &why), CN_OK);
    assert_int_equal(ep.addr.port, 9080);
    assert_true(ep.healthy);
    assert_int_equal(ep.weight, 1);
    assert_int_equal(ep.tunnel, CN_TUNNEL_NONE);
    assert_int_equal(cn_endpoint_parse(CN_STR("[fd00::1]:80 weight=3 health=unhealthy tunnel=hbone "
                                              "identity=spiffe://td/ns/a/sa/b"),
                                       &ep, &why),
                     CN_OK);
    assert_false(ep.healthy);
    assert_int_equal(ep.weight, 3);
    assert_int_equal(ep.tunnel_addr.port, 15008);
    assert_true(cn_inet_same_ip(&ep.addr, &ep.tunnel_addr));
    assert_int_equal(cn_endpoint_parse(CN_STR("10.0.0.5:0 tunnel=hbone"), &ep, &why), CN_OK);
}

static void expect_bad(const char *line, const char *expected)
{
    cn_endpoint_t ep;
    const char *why = NULL;

    assert_int_equal(cn_endpoint_parse(cn_str_c(line), &ep, &why), CN_ERR);
    assert_string_equal(why, expected);
}

static void test_bad_endpoint_lines_say_what_was_expected(void **state)
{
    (void)state;
    expect_bad("", "expected ADDRESS:PORT first");
    expect_bad("reviews:9080", "expected ADDRESS:PORT first");
    expect_bad("10.0.0.5:9080 fast", "expected KEY=VALUE behind the address");
    expect_bad("10.0.0.5:9080 weight=0", "weight: expected a number from 1 to 1048576");
    expect_bad("10.0.0.5:9080 health=good", "health: expected ok, unhealthy or draining");
    expect_bad("10.0.0.5:9080 identity=bob",
               "identity: expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT");
    expect_bad("10.0.0.5:9080 zone=a",
               "unknown key: expected weight, health, tunnel, tunnel_addr, identity, "
               "gateway_identity, locality, node, network or labels");
    expect_bad("10.0.0.5:9080 tunnel=hbone gateway_identity=spiffe://a/ns/b/sa/c",
               "gateway_identity: only with tunnel=double_hbone");
    expect_bad("10.0.0.5:9080 tunnel=double_hbone gateway_identity=bob",
               "gateway_identity: expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT");
    expect_bad("10.0.0.5:9080 locality=a/b/c/d",
               "locality: expected REGION/ZONE/SUBZONE, the last two may be missing");
    expect_bad("10.0.0.5:9080 locality=a//c",
               "locality: expected REGION/ZONE/SUBZONE, the last two may be missing");
    expect_bad("10.0.0.5:9080 labels=app,b=c",
               "labels: expected KEY=VALUE,KEY=VALUE of at most 4096 bytes");
    expect_bad("10.0.0.5:9080 node=",
               "node and network: expected a name of at most 253 characters");
}

static void test_a_gateway_of_another_network_is_told_by_its_own_address(void **state)
{
    static const char *const lines[][2] = {
        {"172.18.0.1:15009 tunnel=double_hbone", "172.18.0.1:15009"},
        {"172.18.0.1:0 tunnel=double_hbone", "172.18.0.1:15008"},
        {"172.18.0.1:15009 tunnel=double_hbone tunnel_addr=10.0.0.1:1", "10.0.0.1:1"},
        {"10.0.0.5:9080 tunnel=hbone", "10.0.0.5:15008"}};
    const char *why;

    (void)state;
    for (unsigned i = 0; i < CN_COUNT(lines); i++) {
        cn_endpoint_t ep;
        char at[CN_INET_TEXT];
        cn_host_t *h;

        assert_int_equal(cn_endpoint_parse(cn_str_c(lines[i][0]), &ep, &why), CN_OK);
        cn_inet_put(at, &ep.tunnel_addr, true);
        assert_string_equal(at, lines[i][1]);
        h = cn_host_create(&ep, NULL);
        assert_true(cn_str_eq(cn_host_tunnel(h), i < 3 ? CN_STR("double_hbone") : CN_STR("hbone")));
        assert_true(cn_host_is(h, &ep));
        ep.doubled = !ep.doubled;
        assert_false(cn_host_is(h, &ep));
        cn_host_unref(h);
    }
}

static void test_attributes_of_an_endpoint_are_read(void **state)
{
    cn_endpoint_t ep;
    const char *why;

    (void)state;
    assert_int_equal(cn_endpoint_parse(CN_STR("10.0.0.5:80 health=draining locality=eu/eu-1/rack7 "
                                              "node=n1 network=net-a labels=app=x,version=v1,e="),
                                       &ep, &why),
                     CN_OK);
    assert_false(ep.healthy);
    assert_true(ep.draining);
    assert_true(cn_str_eq(ep.locality.region, CN_STR("eu")));
    assert_true(cn_str_eq(ep.locality.zone, CN_STR("eu-1")));
    assert_true(cn_str_eq(ep.locality.subzone, CN_STR("rack7")));
    assert_true(cn_str_eq(ep.node, CN_STR("n1")));
    assert_true(cn_str_eq(ep.network, CN_STR("net-a")));
    assert_true(cn_host_labels_have(ep.labels, CN_STR("version=v1")));
    assert_true(cn_host_labels_have(ep.labels, CN_STR("version")));
    assert_true(cn_host_labels_have(ep.labels, CN_STR("e=")));
    assert_false(cn_host_labels_have(ep.labels, CN_STR("version=v")));
    assert_false(cn_host_labels_have(ep.labels, CN_STR("vers")));
    assert_true(cn_str_eq(cn_host_labels_get(ep.labels, CN_STR("app")), CN_STR("x")));
    assert_int_equal(cn_host_labels_get(ep.labels, CN_STR("none")).n, 0);
}

static void test_long_attributes_are_refused(void **state)
{
    cn_pool_t *pool = cn_pool_create(0);
    char name[CN_ENDPOINT_LABELS + 2];
    cn_endpoint_t ep;
    const char *why;

    (void)state;
    memset(name, 'a', sizeof(name));
    name[1] = '=';
    cn_str_t line = cn_pool_printf(pool, "10.0.0.5:80 labels=%.*s", (int)CN_ENDPOINT_LABELS, name);
    assert_int_equal(cn_endpoint_parse(line, &ep, &why), CN_OK);
    line = cn_pool_printf(pool, "10.0.0.5:80 labels=%.*s", (int)CN_ENDPOINT_LABELS + 1, name);
    assert_int_equal(cn_endpoint_parse(line, &ep, &why), CN_ERR);
    line = cn_pool_printf(pool, "10.0.0.5:80 locality=%.*s", (int)CN_LOCALITY_NAME + 1, name + 2);
    assert_int_equal(cn_endpoint_parse(line, &ep, &why), CN_ERR);
    line = cn_pool_printf(pool, "10.0.0.5:80 node=%.*s", (int)CN_LOCALITY_NAME + 1, name + 2);
    assert_int_equal(cn_endpoint_parse(line, &ep, &why), CN_ERR);
    cn_pool_destroy(pool);
}

static void test_localities_have_as_much_in_common_as_their_first_parts(void **state)
{
    static const struct {
        const char *a, *b;
        unsigned common;
    } table[] = {
        {"r/z/s", "r/z/s", 3}, {"r/z/s", "r/z/t", 2}, {"r/z/s", "r/y/s", 1}, {"r/z/s", "q/z/s", 0},
        {"r/z", "r/z", 3},     {"r/z", "r/z/s", 2},   {"r", "r/z", 1},       {"r", "r", 3},
    };

    (void)state;
    for (size_t i = 0; i < CN_COUNT(table); i++) {
        cn_locality_t a, b, none = {0};
        assert_int_equal(cn_locality_parse(cn_str_c(table[i].a), &a), CN_OK);
        assert_int_equal(cn_locality_parse(cn_str_c(table[i].b), &b), CN_OK);
        assert_int_equal(cn_locality_common(&a, &b), table[i].common);
        assert_int_equal(cn_locality_common(&none, &none), 0);
    }
}

/* ---- generations ---- */

static const cn_conf_ops_t no_levels[CN_LV_MAX];

typedef struct {
    cn_pool_t *pool;
    cn_units_t units;
    cn_conf_unit_t v[CN_UNIT_MODULES];
    cn_clusters_t *clusters;
    cn_gen_t *gen;
} fixture_t;

static void load(fixture_t *fx, const char *text)
{
    cn_bundle_t *bundle = cn_bundle_create(CN_STR("/"));
    cn_conf_load_t cl = {
        .units = &fx->units, .bundle = bundle, .file = CN_STR("/c.conf"), .prev = fx->gen};
    cn_gen_t *gen;
    cn_str_t why = CN_STR_NULL;

    cn_bundle_put(bundle, CN_STR("/c.conf"), cn_str_c(text));
    if (cn_gen_load(&cl, fx->pool, &gen, &why) != CN_OK)
        fail_msg("%.*s", CN_STR_ARG(why));
    cn_clusters_update(fx->clusters, gen);
    cn_gen_unref(fx->gen);
    fx->gen = gen;
    cn_bundle_destroy(bundle);
}

static int setup(void **state)
{
    fixture_t *fx = calloc(1, sizeof(*fx));

    fx->pool = cn_pool_create(0);
    fx->v[CN_UNIT_MAIN] = (cn_conf_unit_t){"main", NULL, no_levels};
    fx->v[CN_UNIT_PROXY] = (cn_conf_unit_t){"proxy", NULL, no_levels};
    fx->v[CN_UNIT_TUNNEL] = cn_tunnel_unit;
    fx->v[CN_UNIT_UPSTREAM] = cn_upstream_unit;
    fx->units = (cn_units_t){.v = fx->v, .n = CN_UNIT_MODULES};
    fx->clusters = cn_clusters_create(NULL, 0);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *fx = *state;

    cn_clusters_destroy(fx->clusters);
    cn_gen_unref(fx->gen);
    cn_pool_destroy(fx->pool);
    free(fx);
    return 0;
}

static void test_a_host_that_stays_takes_new_attributes(void **state)
{
    fixture_t *fx = *state;
    cn_host_t *h;

    load(fx, "cluster a:80 { endpoint 10.0.0.1:80 locality=r/z node=n1 labels=v=1; }");
    h = cn_clusters_find(fx->clusters, CN_STR("a:80"))->hosts[0];
    uint64_t since = h->fresh_ns;
    assert_true(since > 0);
    assert_true(cn_str_eq(h->place->locality.zone, CN_STR("z")));
    load(fx, "cluster a:80 { endpoint 10.0.0.1:80 health=draining locality=r/y labels=v=2; }");
    assert_ptr_equal(cn_clusters_find(fx->clusters, CN_STR("a:80"))->hosts[0], h);
    assert_true(cn_str_eq(h->place->locality.zone, CN_STR("y")));
    assert_true(cn_str_eq(h->place->labels, CN_STR("v=2")));
    assert_int_equal(h->place->node.n, 0);
    assert_true(h->draining && !h->healthy);
    assert_true(h->fresh_ns == since);
    load(fx, "cluster a:80 { endpoint 10.0.0.1:80; }");
    assert_true(h->healthy && !h->draining);
    assert_true(h->fresh_ns > since); /* it warms up again */
    assert_int_equal(h->place->labels.n, 0);
}

/* Many endpoints of a service have one identity, and much else in common. */
static void test_hosts_keep_what_they_have_in_common_once(void **state)
{
    fixture_t *fx = *state;
    cn_host_t **v, *kept;

    load(fx,
         "cluster a:80 { endpoint 10.0.0.1:80 identity=spiffe://td/ns/a/sa/b node=n1 labels=v=1;"
         " endpoint 10.0.0.2:80 identity=spiffe://td/ns/a/sa/b node=n1 labels=v=1;"
         " endpoint 10.0.0.3:80 identity=spiffe://td/ns/a/sa/b node=n2 labels=v=1;"
         " endpoint 10.0.0.4:80 identity=spiffe://td/ns/a/sa/c; }");
    v = cn_clusters_find(fx->clusters, CN_STR("a:80"))->hosts;
    assert_ptr_equal(v[0]->identity.p, v[2]->identity.p);
    assert_ptr_equal(v[0]->place, v[1]->place);
    assert_ptr_not_equal(v[0]->place, v[2]->place);
    assert_ptr_equal(v[0]->place->labels.p, v[2]->place->labels.p);
    assert_true(cn_str_eq(v[2]->place->node, CN_STR("n2")));
    assert_true(cn_str_eq(v[3]->identity, CN_STR("spiffe://td/ns/a/sa/c")));
    assert_int_equal(v[3]->place->labels.n, 0);
    kept = cn_host_ref(v[2]);
    load(fx, "cluster a:80 { endpoint 10.0.0.9:80; }");
    assert_true(cn_str_eq(kept->identity, CN_STR("spiffe://td/ns/a/sa/b")));
    assert_true(cn_str_eq(kept->place->labels, CN_STR("v=1")));
    cn_host_unref(kept);
    assert_true(sizeof(cn_host_t) <= 152); /* there are tens of thousands */
}

static void test_resolved_endpoints_stand_beside_the_others_and_stay(void **state)
{
    fixture_t *fx = *state;
    cn_cluster_t *c;
    cn_host_t *resolved;

    load(fx, "cluster a { endpoint 10.0.0.1:80; }");
    c = cn_clusters_find(fx->clusters, CN_STR("a"));
    cn_clusters_set_resolved(fx->clusters, c, CN_STR("10.0.0.2:80 weight=3\nnonsense\n"));
    assert_int_equal(c->nhosts, 2);
    resolved = c->hosts[0];
    assert_int_equal(resolved->weight, 3);
    assert_true(resolved->outside && !c->hosts[1]->outside);
    load(fx, "cluster a { endpoint 10.0.0.9:80; }");
    assert_int_equal(c->nhosts, 2);
    assert_ptr_equal(c->hosts[0], resolved);
    cn_clusters_set_resolved(fx->clusters, c, CN_STR_NULL);
    assert_int_equal(c->nhosts, 1);
    assert_int_equal(c->hosts[0]->addr.ip[3], 9);
}

static cn_addr_t address(unsigned n)
{
    return (cn_addr_t){AF_INET, 0, 80, {10, 1, (uint8_t)(n >> 8), (uint8_t)n}};
}

static uint64_t count_left(void *ctx, const cn_cluster_t *c CN_UNUSED, cn_host_t *h)
{
    assert_true(h->gone);
    ++*(unsigned *)ctx;
    return 0;
}

static void test_hosts_that_clients_choose_are_kept_and_bounded(void **state)
{
    fixture_t *fx = *state;
    cn_addr_t nowhere = {0}, to = address(0);
    unsigned left = 0;
    cn_cluster_t *c;
    cn_host_t *busy;

    load(fx, "cluster a { original_destination; }");
    cn_clusters_on_left(fx->clusters, count_left, &left);
    c = cn_clusters_find(fx->clusters, CN_STR("a"));
    assert_null(cn_clusters_pass(fx->clusters, c, &nowhere));
    busy = cn_clusters_pass(fx->clusters, c, &to);
    assert_ptr_equal(cn_clusters_pass(fx->clusters, c, &to), busy);
    assert_true(busy->outside);
    assert_true(cn_inet_same_ip(&busy->addr, &to) && busy->addr.port == 80);
    busy->active = 1;
    for (unsigned n = 1; n <= 1024; n++) {
        to = address(n);
        assert_non_null(cn_clusters_pass(fx->clusters, c, &to));
    }
    assert_int_equal(left, 1023); /* all but the busy one made room for the last */
    to = address(0);
    assert_ptr_equal(cn_clusters_pass(fx->clusters, c, &to), busy);
    busy->active = 0;
    load(fx, "cluster b { }");
    assert_int_equal(left, 1025);
}

static void test_hosts_that_stay_keep_their_object(void **state)
{
    fixture_t *fx = *state;
    cn_cluster_t *c;
    cn_host_t *one, *two;

    load(fx, "cluster a { endpoint 10.0.0.1:80; endpoint 10.0.0.2:80; }");
    c = cn_clusters_find(fx->clusters, CN_STR("a"));
    one = c->hosts[0];
    two = cn_host_ref(c->hosts[1]);
    load(fx, "cluster a { endpoint 10.0.0.3:80; endpoint 10.0.0.1:80 weight=7; }");
    assert_ptr_equal(cn_clusters_find(fx->clusters, CN_STR("a")), c);
    assert_int_equal(c->nhosts, 2);
    assert_ptr_equal(c->hosts[1], one);
    assert_int_equal(one->weight, 7);
    assert_false(one->gone);
    assert_true(two->gone);
    cn_host_unref(two);
}

static void test_another_identity_at_the_same_address_is_another_host(void **state)
{
    fixture_t *fx = *state;
    cn_host_t *old;

    load(fx, "cluster a { endpoint 10.0.0.1:80 tunnel=hbone identity=spiffe://t/ns/a/sa/one; }");
    old = cn_host_ref(cn_clusters_find(fx->clusters, CN_STR("a"))->hosts[0]);
    load(fx, "cluster a { endpoint 10.0.0.1:80 tunnel=hbone identity=spiffe://t/ns/a/sa/two; }");
    assert_ptr_not_equal(cn_clusters_find(fx->clusters, CN_STR("a"))->hosts[0], old);
    assert_true(old->gone);
    cn_host_unref(old);
}

static void test_a_cluster_that_leaves_is_not_found_and_lives_for_who_holds_it(void **state)
{
    fixture_t *fx = *state;
    cn_cluster_t *held;

    load(fx, "cluster a { endpoint 10.0.0.1:80; } cluster b { endpoint 10.0.0.2:80; }");
    held = cn_cluster_ref(cn_clusters_find(fx->clusters, CN_STR("a")));
    load(fx, "cluster b { endpoint 10.0.0.2:80; }");
    assert_null(cn_clusters_find(fx->clusters, CN_STR("a")));
    assert_non_null(cn_clusters_find(fx->clusters, CN_STR("b")));
    assert_true(held->hosts[0]->gone);
    assert_true(cn_str_eq(held->section->name, CN_STR("a")));
    cn_cluster_unref(held);
}

/* ---- many hosts, and who leaves ---- */

typedef struct {
    unsigned n, builds;
    cn_addr_t last;
    uint64_t due; /* of what runs on those that leave */
} left_t;

static uint64_t on_left(void *ctx, const cn_cluster_t *c, cn_host_t *host)
{
    left_t *l = ctx;

    assert_true(cn_host_is_out(host) && c->section);
    l->n++;
    l->last = host->addr;
    return host->active ? l->due : 0;
}

static void test_each_host_that_leaves_is_told_once(void **state)
{
    fixture_t *fx = *state;
    cn_cluster_t *held;
    left_t left = {0};

    cn_clusters_on_left(fx->clusters, on_left, &left);
    load(
        fx,
        "cluster a { endpoint 10.0.0.1:80; endpoint 10.0.0.2:80; } cluster b { endpoint 10.0.0.3:80; }");
    load(fx, "cluster a { endpoint 10.0.0.2:80 weight=3; } cluster b { endpoint 10.0.0.3:80; }");
    assert_int_equal(left.n, 1);
    assert_int_equal(left.last.ip[3], 1);
    held = cn_cluster_ref(cn_clusters_find(fx->clusters, CN_STR("b")));
    load(fx, "cluster a { endpoint 10.0.0.2:80 weight=3; }");
    assert_int_equal(left.n, 2);
    assert_int_equal(left.last.ip[3], 3);
    cn_cluster_unref(held);
    load(fx, "cluster a { endpoint 10.0.0.2:80 identity=spiffe://t/ns/a/sa/b; }");
    assert_int_equal(left.n, 3);
}

static void test_a_host_that_is_not_ready_any_more_is_told_once(void **state)
{
    fixture_t *fx = *state;
    left_t left = {0};

    cn_clusters_on_left(fx->clusters, on_left, &left);
    load(fx, "cluster a { endpoint 10.0.0.1:80; endpoint 10.0.0.2:80 health=unhealthy; }");
    assert_int_equal(left.n, 0);
    load(fx, "cluster a { endpoint 10.0.0.1:80 health=draining; }");
    assert_int_equal(left.n, 1); /* the other one; sessions go on here */
    assert_int_equal(left.last.ip[3], 2);
    load(fx, "cluster a { endpoint 10.0.0.1:80 health=unhealthy; }");
    assert_int_equal(left.n, 2);
    load(fx, "cluster a { endpoint 10.0.0.1:80 health=unhealthy weight=2; }");
    load(fx, "cluster a { endpoint 10.0.0.3:80; }");
    assert_int_equal(left.n, 2); /* it had left before */
    load(fx, "cluster a { endpoint 10.0.0.3:80 health=unhealthy; }");
    load(fx, "cluster a { endpoint 10.0.0.3:80; }");
    load(fx, "cluster a { endpoint 10.0.0.3:80 health=unhealthy; }");
    assert_int_equal(left.n, 4);
}

/* ---- how long those that left may go on ---- */

#define ONE "10.0.0.1:80 tunnel=hbone identity=spiffe://t/ns/a/sa/one"
#define TWO "10.0.0.1:80 tunnel=hbone identity=spiffe://t/ns/a/sa/two"

/* Its one host, with a request on it. */
static cn_host_t *busy(fixture_t *fx, left_t *left, const char *text)
{
    cn_host_t *h;

    left->due = 100;
    cn_clusters_on_left(fx->clusters, on_left, left);
    load(fx, text);
    h = cn_host_ref(cn_clusters_find(fx->clusters, CN_STR("a"))->hosts[0]);
    h->active = 1;
    return h;
}

static void expect_next(fixture_t *fx, uint64_t now, bool cuts, uint64_t next)
{
    uint64_t got;

    assert_true(cn_clusters_cut(fx->clusters, now, &got) == cuts);
    assert_true(got == next);
}

static void test_a_busy_host_is_cut_when_its_time_is_over(void **state)
{
    fixture_t *fx = *state;
    left_t left = {0};
    cn_host_t *h = busy(fx, &left, "cluster a { endpoint " ONE "; }");

    load(fx, "cluster a { endpoint " TWO "; }");
    left.due = 200; /* later changes do not begin anew */
    load(fx, "cluster a { endpoint " TWO " weight=2; }");
    load(fx, "cluster b { endpoint 10.0.0.9:80; }");
    expect_next(fx, 99, false, 100);
    assert_false(h->cut);
    expect_next(fx, 100, true, UINT64_MAX);
    assert_true(h->cut);
    expect_next(fx, 300, false, UINT64_MAX);
    load(fx, "cluster a { endpoint " ONE "; }");
    assert_ptr_not_equal(cn_clusters_find(fx->clusters, CN_STR("a"))->hosts[0], h);
    cn_host_unref(h);
}

static void test_a_host_without_requests_is_not_waited_for(void **state)
{
    fixture_t *fx = *state;
    left_t left = {0};
    cn_host_t *h = busy(fx, &left, "cluster a { endpoint " ONE "; }");

    load(fx, "cluster a { }");
    h->active = 0;
    expect_next(fx, 50, false, UINT64_MAX);
    assert_false(h->cut);
    cn_host_unref(h);
}

static void test_a_host_that_comes_back_in_time_is_the_same(void **state)
{
    static const char *const absences[] = {"cluster a { }", "cluster a { endpoint " TWO "; }",
                                           "cluster b { }",
                                           "cluster a { endpoint " ONE " health=unhealthy; }"};
    fixture_t *fx = *state;

    for (unsigned i = 0; i < CN_COUNT(absences); i++) {
        left_t left = {0};
        cn_host_t *h = busy(fx, &left, "cluster a { endpoint " ONE "; }");
        uint64_t since = h->fresh_ns;

        load(fx, absences[i]);
        assert_true(h->left && cn_host_is_out(h));
        load(fx, "cluster a { endpoint " ONE "; }");
        assert_ptr_equal(cn_clusters_find(fx->clusters, CN_STR("a"))->hosts[0], h);
        assert_true(!h->left && !cn_host_is_out(h));
        assert_true(h->fresh_ns > since); /* it warms up again */
        expect_next(fx, 150, false, UINT64_MAX);
        assert_false(h->cut);
        load(fx, absences[i]); /* and this time it has another while */
        expect_next(fx, 99, false, 100);
        expect_next(fx, 100, true, UINT64_MAX);
        assert_true(h->cut);
        load(fx, "cluster a { endpoint " TWO "; }");
        cn_host_unref(h);
    }
}

static void test_who_leaves_again_has_a_new_time(void **state)
{
    fixture_t *fx = *state;
    left_t left = {0};
    cn_host_t *h = busy(fx, &left, "cluster a { endpoint " ONE "; }");

    for (left.due = 100; left.due <= 300; left.due += 100) {
        load(fx, "cluster a { endpoint " ONE " health=unhealthy; }");
        if (left.due < 300)
            load(fx, "cluster a { endpoint " ONE "; }");
    }
    load(fx, "cluster a { }"); /* it is still the third time */
    expect_next(fx, 299, false, 300);
    assert_false(h->cut);
    expect_next(fx, 300, true, UINT64_MAX);
    assert_true(h->cut);
    cn_host_unref(h);
}

static void test_a_host_that_is_ready_again_is_not_cut_any_more(void **state)
{
    fixture_t *fx = *state;
    left_t left = {0};
    cn_host_t *h = busy(fx, &left, "cluster a { endpoint " ONE "; }");

    load(fx, "cluster a { endpoint " ONE " health=unhealthy; }");
    expect_next(fx, 100, true, UINT64_MAX);
    assert_true(h->cut);
    load(fx, "cluster a { endpoint " ONE "; }");
    assert_ptr_equal(cn_clusters_find(fx->clusters, CN_STR("a"))->hosts[0], h);
    assert_false(h->cut);
    cn_host_unref(h);
}

/* A request may hold the cluster that went. */
static void test_the_end_of_an_old_cluster_leaves_hosts_alone_that_came_back(void **state)
{
    fixture_t *fx = *state;
    left_t left = {0};
    cn_host_t *h = busy(fx, &left, "cluster a { endpoint " ONE "; }");
    cn_cluster_t *held = cn_cluster_ref(cn_clusters_find(fx->clusters, CN_STR("a")));

    load(fx, "cluster b { }");
    load(fx, "cluster a { endpoint " ONE "; }");
    assert_ptr_not_equal(cn_clusters_find(fx->clusters, CN_STR("a")), held);
    cn_cluster_unref(held);
    assert_false(h->gone);
    cn_host_unref(h);
}

static void test_those_whose_requests_ended_are_forgotten_in_time(void **state)
{
    fixture_t *fx = *state;
    left_t left = {.due = 100};
    cn_leaves_t leaves;
    uint64_t next;

    cn_leaves_init(&leaves);
    for (unsigned i = 0; i < 1000; i++) {
        cn_host_t *h = busy(fx, &left, "cluster a { endpoint " ONE "; }");

        h->left = i + 1;
        cn_leaves_add(&leaves, CN_STR("a"), h, 100 + i);
        h->active = i % 100 == 0;
        load(fx, "cluster b { }");
        cn_host_unref(h);
    }
    assert_in_range(leaves.n, 10, 100);
    assert_true(cn_leaves_cut(&leaves, 600, &next));
    assert_true(next == 700);
    assert_in_range(leaves.n, 4, 5);
    cn_leaves_fini(&leaves);
}

#define MANY 20000u

static cn_gen_t *many(fixture_t *fx, bool reversed)
{
    cn_bundle_t *bundle = cn_bundle_create(CN_STR("/"));
    cn_conf_load_t cl = {
        .units = &fx->units, .bundle = bundle, .file = CN_STR("/c.conf"), .prev = fx->gen};
    cn_chain_t text = {0};
    cn_gen_t *gen;
    cn_str_t why = CN_STR_NULL;
    char *all;

    for (unsigned i = 0; i < MANY; i++) {
        unsigned k = reversed ? MANY - 1 - i : i;

        cn_chain_puts(&text,
                      cn_pool_printf(fx->pool, "10.%u.%u.%u:80\n", k >> 16, k >> 8 & 255, k & 255));
    }
    all = cn_pool_bytes(fx->pool, text.bytes);
    cn_bundle_put(bundle, CN_STR("/c.conf"), CN_STR("cluster a { endpoints e; }"));
    cn_bundle_put(bundle, CN_STR("/e"), cn_str_make(all, cn_chain_peek(&text, all, text.bytes)));
    cn_chain_clear(&text);
    assert_int_equal(cn_gen_load(&cl, fx->pool, &gen, &why), CN_OK);
    cn_bundle_destroy(bundle);
    return gen;
}

/* Quadratic work would be seconds here. */
static void test_thousands_of_hosts_stay_when_their_order_changes(void **state)
{
    fixture_t *fx = *state;
    cn_cluster_t *c;
    cn_host_t *first;
    left_t left = {0};

    fx->gen = many(fx, false);
    cn_clusters_update(fx->clusters, fx->gen);
    cn_clusters_on_left(fx->clusters, on_left, &left);
    c = cn_clusters_find(fx->clusters, CN_STR("a"));
    first = c->hosts[0];
    cn_gen_unref(fx->gen);
    fx->gen = NULL;
    fx->gen = many(fx, true);
    cn_clusters_update(fx->clusters, fx->gen);
    assert_int_equal(c->nhosts, MANY);
    assert_ptr_equal(c->hosts[MANY - 1], first);
    assert_int_equal(left.n, 0);
}

static void *count_build(cn_cluster_t *c, void *prev)
{
    left_t *l = prev ? prev : calloc(1, sizeof(*l));

    l->builds++;
    l->n = c->nhosts;
    return l;
}

static cn_host_t *pick_none(cn_cluster_t *c CN_UNUSED, void *ctx CN_UNUSED,
                            const cn_pick_t *p CN_UNUSED)
{
    return NULL;
}

static void test_a_balancer_is_told_of_hosts_and_of_settings(void **state)
{
    static const cn_lb_ops_t ops = {
        .name = "least_request", .build = count_build, .destroy = free, .pick = pick_none};
    static const cn_balancer_t balancers[] = {{&ops, CN_UNIT_MAIN}};
    fixture_t *fx = *state;
    cn_cluster_t *c;

    cn_clusters_destroy(fx->clusters);
    fx->clusters = cn_clusters_create(balancers, 1);
    load(fx, "cluster a { endpoint 10.0.0.1:80; }");
    c = cn_clusters_find(fx->clusters, CN_STR("a"));
    assert_int_equal(((left_t *)c->lb_ctx)->builds, 1);
    load(fx, "cluster a { endpoint 10.0.0.1:80; }");
    assert_int_equal(((left_t *)c->lb_ctx)->builds, 1);
    load(fx, "cluster a { connect_timeout 1s; endpoint 10.0.0.1:80; }");
    assert_int_equal(((left_t *)c->lb_ctx)->builds, 2);
    load(fx, "cluster a { connect_timeout 1s; endpoint 10.0.0.1:80; endpoint 10.0.0.2:80; }");
    assert_int_equal(((left_t *)c->lb_ctx)->builds, 3);
    assert_int_equal(((left_t *)c->lb_ctx)->n, 2);
    load(fx, "cluster a { lb other; endpoint 10.0.0.1:80; }");
    assert_null(c->lb_ctx);
}

typedef struct {
    char names[64]; /* of those told of, one letter each; one that goes in upper case */
    size_t n;
    const cn_gen_t *gen;
    cn_map_t known; /* by the name as it was told */
} seen_t;

static void on_seen(void *ctx, cn_cluster_t *c, const cn_gen_t *gen)
{
    seen_t *s = ctx;
    char letter = c->section->name.p[0];

    assert_true(s->n < sizeof(s->names) - 1);
    s->names[s->n++] = gen ? letter : (char)(letter - 'a' + 'A');
    s->gen = gen ? gen : s->gen;
    /* The key of before is compared with: it must still be there. */
    if (gen)
        (void)cn_map_put(&s->known, c->section->name, c);
    else
        assert_ptr_equal(cn_map_del(&s->known, c->section->name), c);
}

static void patch(fixture_t *fx, const char *name)
{
    cn_str_t one = cn_str_c(name);
    const cn_vec_t names = {.v = &one, .n = 1};

    cn_clusters_patch(fx->clusters, fx->gen, &names);
}

static void test_who_wants_to_know_is_told_of_the_clusters_that_change(void **state)
{
    fixture_t *fx = *state;
    seen_t seen = {.n = 0};

    cn_clusters_on_seen(fx->clusters, on_seen, &seen);
    load(fx, "cluster a { endpoint 10.0.0.1:80; } cluster b { }");
    assert_int_equal(seen.n, 2);
    assert_ptr_equal(seen.gen, fx->gen);
    seen.n = 0;
    load(fx, "cluster a { connect_timeout 1s; endpoint 10.0.0.1:80; } cluster c { }");
    assert_int_equal(seen.n, 3);
    assert_int_equal(seen.names[2], 'B'); /* goes when all others are there */
    assert_int_equal(seen.known.used, 2);
    seen.n = 0;
    patch(fx, "a");
    patch(fx, "nobody");
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.names[0], 'a');
    assert_ptr_equal(seen.gen, fx->gen);
    cn_clusters_on_seen(fx->clusters, NULL, NULL);
    cn_map_fini(&seen.known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_hosts_keep_what_they_have_in_common_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_each_host_that_leaves_is_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_host_that_is_not_ready_any_more_is_told_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_busy_host_is_cut_when_its_time_is_over, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_host_without_requests_is_not_waited_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_host_that_comes_back_in_time_is_the_same, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_who_leaves_again_has_a_new_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_host_that_is_ready_again_is_not_cut_any_more, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_the_end_of_an_old_cluster_leaves_hosts_alone_that_came_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_those_whose_requests_ended_are_forgotten_in_time,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_thousands_of_hosts_stay_when_their_order_changes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_balancer_is_told_of_hosts_and_of_settings, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_who_wants_to_know_is_told_of_the_clusters_that_change,
                                        setup, teardown),
        cmocka_unit_test(test_endpoint_lines_are_read),
        cmocka_unit_test(test_bad_endpoint_lines_say_what_was_expected),
        cmocka_unit_test(test_a_gateway_of_another_network_is_told_by_its_own_address),
        cmocka_unit_test(test_attributes_of_an_endpoint_are_read),
        cmocka_unit_test(test_long_attributes_are_refused),
        cmocka_unit_test(test_localities_have_as_much_in_common_as_their_first_parts),
        cmocka_unit_test_setup_teardown(test_a_host_that_stays_takes_new_attributes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_resolved_endpoints_stand_beside_the_others_and_stay,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_hosts_that_clients_choose_are_kept_and_bounded, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_hosts_that_stay_keep_their_object, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_identity_at_the_same_address_is_another_host,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_cluster_that_leaves_is_not_found_and_lives_for_who_holds_it, setup, teardown),
    };

    cn_hash_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
