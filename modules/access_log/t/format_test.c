/* SPDX-License-Identifier: Apache-2.0
 * Access log lines against those measured with Envoy (facts of section 10).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "../access_log.h"

typedef struct {
    cn_pool_t *pool;
    cn_msg_t req, resp;
    cn_cluster_conf_t cluster_conf;
    cn_section_t cluster_section;
    cn_cluster_t cluster;
    cn_host_t host;
    cn_route_t route;
    cn_tunnel_t tunnel;
    cn_facts_t f;
} fixture_t;

static cn_addr_t addr(const char *text)
{
    cn_addr_t a;

    assert_int_equal(cn_inet_parse_hostport(cn_str_c(text), true, &a), CN_OK);
    return a;
}

static int setup(void **state)
{
    fixture_t *fx = calloc(1, sizeof(*fx));

    fx->pool = cn_pool_create(0);
    cn_msg_init(&fx->req, fx->pool);
    cn_msg_init(&fx->resp, fx->pool);
    fx->req.method = CN_STR("GET");
    fx->req.target = CN_STR("/x?a=b");
    fx->req.authority = CN_STR("reviews:9080");
    fx->req.version = CN_HTTP_11;
    cn_msg_add(&fx->req, &fx->req.headers, CN_STR("user-agent"), CN_STR("curl/8.0"));
    cn_msg_add(&fx->req, &fx->req.headers, CN_STR("x-request-id"), CN_STR("8bcf350c"));
    cn_msg_add(&fx->resp, &fx->resp.headers, CN_STR("x-envoy-upstream-service-time"), CN_STR("3"));
    fx->cluster_conf.alias = CN_STR("inbound-vip|9080|http|reviews.bookinfo.svc.cluster.local");
    fx->cluster.conf = &fx->cluster_conf;
    fx->cluster.section = &fx->cluster_section;
    fx->host.addr = addr("10.0.1.5:9080");
    fx->route.name = CN_STR("bookinfo.reviews.0");
    fx->tunnel.dest = addr("10.96.0.12:9080");
    fx->tunnel.source = addr("10.0.2.7:41000");
    fx->f = (cn_facts_t){.req = &fx->req,
                         .resp = &fx->resp,
                         .cluster = &fx->cluster,
                         .host = &fx->host,
                         .route = &fx->route,
                         .tunnel = &fx->tunnel,
                         .remote = fx->tunnel.source,
                         .upstream_local = addr("10.0.3.9:50000"),
                         .details = CN_STR("via_upstream"),
                         .status = 200,
                         .body_tx = 190,
                         .start_us = 1795433293067000ull,
                         .start_ns = 1000000,
                         .end_ns = 5999999,
                         .grpc_status = -1};
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    cn_pool_destroy(((fixture_t *)*state)->pool);
    free(*state);
    return 0;
}

static void expect(fixture_t *fx, const char *format, const char *line)
{
    al_format_t compiled;
    al_buf_t b = {0};
    cn_str_t why = CN_STR_NULL;

    if (al_format_parse(fx->pool, cn_str_c(format), &compiled, &why) != CN_OK)
        fail_msg("%.*s", CN_STR_ARG(why));
    al_format_put(&b, &compiled, &fx->f);
    al_put(&b, "", 1);
    assert_string_equal(b.p, line);
    free(b.p);
}

static void test_forwarded_request_is_istios_line(void **state)
{
    expect(
        *state, al_format_istio,
        "[2026-11-23T11:28:13.067Z] \"GET /x?a=b HTTP/1.1\" 200 - via_upstream - \"-\" 0 190 4 3 \"-\" "
        "\"curl/8.0\" \"8bcf350c\" \"reviews:9080\" \"10.0.1.5:9080\" "
        "inbound-vip|9080|http|reviews.bookinfo.svc.cluster.local 10.0.3.9:50000 10.96.0.12:9080 "
        "10.0.2.7:41000 - bookinfo.reviews.0\n");
}

static void test_l4_connection_is_istios_tcp_line(void **state)
{
    fixture_t *fx = *state;

    fx->f.req = fx->f.resp = NULL;
    fx->f.route = NULL;
    fx->f.status = 0;
    fx->f.details = CN_STR_NULL;
    fx->f.body_rx = 5;
    expect(
        fx, al_format_istio,
        "[2026-11-23T11:28:13.067Z] \"- - -\" 0 - - - \"-\" 5 190 4 - \"-\" \"-\" \"-\" \"-\" "
        "\"10.0.1.5:9080\" inbound-vip|9080|http|reviews.bookinfo.svc.cluster.local 10.0.3.9:50000 "
        "10.96.0.12:9080 10.0.2.7:41000 - -\n");
}

static void test_flags_print_in_envoys_order(void **state)
{
    fixture_t *fx = *state;

    fx->f.flags = CN_FLAG_UF | CN_FLAG_URX;
    expect(fx, "%RESPONSE_FLAGS%", "URX,UF\n");
    fx->f.flags = CN_FLAG_DI | CN_FLAG_FI;
    expect(fx, "%RESPONSE_FLAGS%", "DI,FI\n");
    fx->f.req = NULL;
    fx->f.flags = CN_FLAG_UF | CN_FLAG_URX;
    expect(fx, "%RESPONSE_FLAGS%", "UF,URX\n");
}

static void test_clients_cannot_forge_the_logged_path(void **state)
{
    fixture_t *fx = *state;

    cn_msg_add(&fx->req, &fx->req.headers, CN_STR("x-envoy-original-path"), CN_STR("/innocent"));
    expect(fx, "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/x?a=b\n");
    fx->f.original_path = CN_STR("/before-rewrite");
    expect(fx, "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/before-rewrite\n");
}

static void test_operators_take_alternatives_lengths_and_literal_percent(void **state)
{
    fixture_t *fx = *state;

    expect(fx, "%REQ(NOPE?USER-AGENT)% %REQ(USER-AGENT):4% %REQ(NOPE)% 100%%",
           "curl/8.0 curl - 100%\n");
    cn_msg_add(&fx->req, &fx->req.headers, CN_STR("user-agent"), CN_STR("two"));
    expect(fx, "%REQ(user-agent)%", "curl/8.0,two\n");
}

static void refused(fixture_t *fx, const char *format, const char *part)
{
    al_format_t compiled;
    cn_str_t why = CN_STR_NULL;

    assert_int_equal(al_format_parse(fx->pool, cn_str_c(format), &compiled, &why), CN_ERR);
    if (cn_str_find_str(why, cn_str_c(part)) == why.n)
        fail_msg("\"%.*s\" does not say \"%s\"", CN_STR_ARG(why), part);
}

static void test_bad_formats_are_refused_with_the_reason(void **state)
{
    refused(*state, "%BYTES%", "unknown operator %BYTES%");
    refused(*state, "100%", "without its partner");
    refused(*state, "%REQ%", "needs (HEADER)");
    refused(*state, "%PROTOCOL(x)%", "takes no argument");
    refused(*state, "%REQ(a):x%", "expected :LENGTH");
    refused(*state, "%REQ(a%", "needs (HEADER)");
}

static void test_json_has_numbers_nulls_and_escapes(void **state)
{
    fixture_t *fx = *state;
    al_format_t format;
    al_buf_t b = {0};
    cn_str_t why, line;

    fx->req.target = CN_STR("/a\"b");
    assert_int_equal(al_format_json(fx->pool, &format, &why), CN_OK);
    al_format_put(&b, &format, &fx->f);
    line = cn_str_make(b.p, b.n);
    assert_true(cn_str_starts(line, CN_STR("{\"start_time\":\"2026-11-23T11:28:13.067Z\",")));
    assert_true(cn_str_find_str(line, CN_STR("\"response_code\":200,")) < line.n);
    assert_true(cn_str_find_str(line, CN_STR("\"path\":\"/a\\\"b\"")) < line.n);
    assert_true(cn_str_find_str(line, CN_STR("\"x_forwarded_for\":null,")) < line.n);
    assert_true(cn_str_ends(line, CN_STR("}\n")));
    free(b.p);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_forwarded_request_is_istios_line),
        T(test_l4_connection_is_istios_tcp_line),
        T(test_flags_print_in_envoys_order),
        T(test_clients_cannot_forge_the_logged_path),
        T(test_operators_take_alternatives_lengths_and_literal_percent),
        T(test_bad_formats_are_refused_with_the_reason),
        T(test_json_has_numbers_nulls_and_escapes),
    };

    cn_hash_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
