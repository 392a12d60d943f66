/* SPDX-License-Identifier: Apache-2.0
 * The label set of the istio_* families: order, values, fallbacks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "../labels.h"

static const cn_workload_t curl = {.workload = {"curl", 4},
                                   .ns = {"default", 7},
                                   .canonical_name = {"curl", 4},
                                   .canonical_revision = {"v9", 2},
                                   .cluster = {"Kubernetes", 10}};
static const cn_workload_t reviews = {.workload = {"reviews-v1", 10},
                                      .ns = {"bookinfo", 8},
                                      .service_account = {"reviews", 7},
                                      .canonical_name = {"reviews", 7},
                                      .canonical_revision = {"v1", 2},
                                      .cluster = {"Kubernetes", 10}};

typedef struct {
    cn_msg_t req;
    cn_cluster_conf_t cc;
    cn_cluster_t cluster;
    cn_service_conf_t service;
    cn_tunnel_t tunnel;
    cn_facts_t f;
} fixture_t;

static int setup(void **state)
{
    fixture_t *fx = calloc(1, sizeof(*fx));

    fx->cc = (cn_cluster_conf_t){.host = CN_STR("reviews-v1.bookinfo.svc.cluster.local"),
                                 .service_name = CN_STR("reviews-v1"),
                                 .service_namespace = CN_STR("bookinfo")};
    fx->cluster.conf = &fx->cc;
    fx->service = (cn_service_conf_t){.host = CN_STR("reviews.bookinfo.svc.cluster.local"),
                                      .service_name = CN_STR("reviews"),
                                      .service_namespace = CN_STR("bookinfo")};
    fx->tunnel.identity = CN_STR("spiffe://cluster.local/ns/default/sa/curl");
    fx->f = (cn_facts_t){.req = &fx->req,
                         .cluster = &fx->cluster,
                         .service = &fx->service,
                         .tunnel = &fx->tunnel,
                         .source = &curl,
                         .destination = &reviews,
                         .status = 200,
                         .grpc_status = -1,
                         .mutual_tls = true};
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static void expect(fixture_t *fx, prom_kind_t kind, const char *labels)
{
    char *out = calloc(1, PROM_LABELS_MAX + 1);

    prom_labels_put(out, &fx->f, kind);
    assert_string_equal(out, labels);
    free(out);
}

static void expect_part(fixture_t *fx, prom_kind_t kind, const char *part)
{
    char *out = calloc(1, PROM_LABELS_MAX + 1);

    prom_labels_put(out, &fx->f, kind);
    if (!strstr(out, part))
        fail_msg("no %s in %s", part, out);
    free(out);
}

static void test_http_has_25_labels_in_istios_order(void **state)
{
    expect(
        *state, PROM_HTTP,
        "reporter=\"waypoint\",source_workload=\"curl\",source_canonical_service=\"curl\","
        "source_canonical_revision=\"v9\",source_workload_namespace=\"default\","
        "source_principal=\"spiffe://cluster.local/ns/default/sa/curl\",source_app=\"curl\","
        "source_version=\"v9\",source_cluster=\"Kubernetes\",destination_workload=\"reviews-v1\","
        "destination_workload_namespace=\"bookinfo\","
        "destination_principal=\"spiffe://cluster.local/ns/bookinfo/sa/reviews\","
        "destination_app=\"reviews\",destination_version=\"v1\","
        "destination_service=\"reviews-v1.bookinfo.svc.cluster.local\","
        "destination_canonical_service=\"reviews\",destination_canonical_revision=\"v1\","
        "destination_service_name=\"reviews-v1\",destination_service_namespace=\"bookinfo\","
        "destination_cluster=\"Kubernetes\",request_protocol=\"http\",response_code=\"200\","
        "grpc_response_status=\"\",response_flags=\"-\",connection_security_policy=\"mutual_tls\"");
}

static void test_tcp_has_neither_code_nor_grpc_status(void **state)
{
    fixture_t *fx = *state;

    fx->f.req = NULL;
    expect_part(fx, PROM_TCP,
                "destination_cluster=\"Kubernetes\",request_protocol=\"tcp\",response_flags=\"-\","
                "connection_security_policy=\"mutual_tls\"");
}

static void test_unknown_peers_fall_back_as_istio_does(void **state)
{
    fixture_t *fx = *state;

    fx->f.source = fx->f.destination = NULL;
    fx->tunnel.identity = CN_STR_NULL;
    fx->f.mutual_tls = false;
    expect_part(fx, PROM_HTTP,
                "source_workload=\"unknown\",source_canonical_service=\"unknown\","
                "source_canonical_revision=\"latest\",source_workload_namespace=\"unknown\","
                "source_principal=\"unknown\",source_app=\"unknown\",source_version=\"unknown\"");
    expect_part(fx, PROM_HTTP, "destination_principal=\"unknown\"");
    expect_part(fx, PROM_HTTP, "destination_canonical_revision=\"unknown\"");
    expect_part(fx, PROM_HTTP, "connection_security_policy=\"none\"");
}

static void test_local_replies_name_the_service_and_routeless_ones_do_not(void **state)
{
    fixture_t *fx = *state;

    fx->f.cluster = NULL;
    fx->f.status = 403;
    expect_part(fx, PROM_HTTP, "destination_service_name=\"reviews\"");
    fx->f.status = 404;
    fx->f.flags = CN_FLAG_NR;
    expect_part(fx, PROM_HTTP, "destination_service_name=\"unknown\"");
    expect_part(fx, PROM_HTTP, "response_flags=\"NR\"");
}

static void test_namespace_comes_from_the_certificate(void **state)
{
    fixture_t *fx = *state;

    fx->tunnel.identity = CN_STR("spiffe://cluster.local/ns/other/sa/x");
    expect_part(fx, PROM_HTTP, "source_workload_namespace=\"other\"");
}

static void test_grpc_requests_carry_their_status(void **state)
{
    fixture_t *fx = *state;

    fx->f.grpc = true;
    fx->f.grpc_status = 7;
    expect_part(fx, PROM_HTTP,
                "request_protocol=\"grpc\",response_code=\"200\",grpc_response_status=\"7\"");
}

static void test_hostile_values_are_escaped_and_bounded(void **state)
{
    fixture_t *fx = *state;
    static char huge[4000];
    cn_workload_t evil = {.workload = CN_STR("a\"b\\c\nd"), .ns = cn_str_make(huge, sizeof(huge))};

    memset(huge, '"', sizeof(huge));
    fx->f.source = &evil;
    expect_part(fx, PROM_HTTP, "source_workload=\"a\\\"b\\\\c\\nd\"");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_http_has_25_labels_in_istios_order),
        T(test_tcp_has_neither_code_nor_grpc_status),
        T(test_unknown_peers_fall_back_as_istio_does),
        T(test_local_replies_name_the_service_and_routeless_ones_do_not),
        T(test_namespace_comes_from_the_certificate),
        T(test_grpc_requests_carry_their_status),
        T(test_hostile_values_are_escaped_and_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
