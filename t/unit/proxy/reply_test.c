/* SPDX-License-Identifier: Apache-2.0
 * Local replies: flags as they are printed, gRPC's form, headers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fixture/owner.h"
#include "expect.h"

static int setup(void **state)
{
    cn_rig_setup(state);
    assert_int_equal(
        cn_rig_load(*state, "service web { address 10.0.0.1:80; protocol http; }", NULL), CN_OK);
    return 0;
}

/* ---- flags ---- */

static void expect_flags(uint32_t flags, bool l4, const char *text)
{
    char buf[64];

    assert_int_equal(cn_flags_put(buf, flags, l4), strlen(text));
    assert_string_equal(buf, text);
}

static void test_flags_print_in_the_order_of_their_kind(void **state)
{
    (void)state;
    expect_flags(0, false, "-");
    expect_flags(0, true, "-");
    expect_flags(CN_FLAG_UF | CN_FLAG_URX, false, "URX,UF");
    expect_flags(CN_FLAG_UF | CN_FLAG_URX, true, "UF,URX");
    expect_flags(CN_FLAG_FI | CN_FLAG_DI, false, "DI,FI");
    expect_flags(CN_FLAG_DC, false, "DC");
}

static void test_all_flags_at_once_fit_the_buffer(void **state)
{
    char buf[64];

    (void)state;
    assert_true(cn_flags_put(buf, UINT32_MAX, false) < sizeof(buf));
    assert_true(cn_flags_put(buf, UINT32_MAX, true) < sizeof(buf));
}

/* ---- the form of the reply ---- */

static unsigned reply_status;
static const char *reply_body;

static cn_rc reply(cn_req_t *req)
{
    cn_req_reply(req, reply_status, cn_str_c(reply_body), CN_STR("test"), 0);
    cn_req_reply_header(req, CN_STR("x-first"), CN_STR("1"));
    cn_req_reply(req, 200, CN_STR("second"), CN_STR("second"), CN_FLAG_NR);
    return CN_DONE;
}

static const char *ask(cn_rig_t *rig, const char *head, unsigned status, const char *body)
{
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.1:80", NULL);
    const char *got;

    reply_status = status;
    reply_body = body;
    rig->hook[0][CN_PH_AUTHZ] = reply;
    cn_rig_send(rig, c, head);
    got = cn_rig_recv(rig, c);
    cn_stream_close(c, false);
    cn_rig_settle(rig);
    return got;
}

#define GET "GET / HTTP/1.1\r\nhost: web\r\n\r\n"
#define GRPC                                                                                       \
    "POST /a/b HTTP/1.1\r\nhost: web\r\ncontent-type: application/grpc\r\ncontent-length: "        \
    "0\r\n\r\n"

static void test_the_first_reply_counts(void **state)
{
    cn_rig_t *rig = *state;
    const char *got = ask(rig, GET, 429, "slow down");

    assert_starts(got,
                  "HTTP/1.1 429 Too Many Requests\r\nx-first: 1\r\ncontent-type: text/plain\r\n");
    assert_has(got, "server: istio-envoy\r\n");
    assert_has(got, "\r\n\r\nslow down");
    assert_int_equal(only_log(rig)->flags, 0);
    assert_string_equal(rig->log[0].details, "test");
}

static void test_an_empty_reply_has_no_type(void **state)
{
    const char *got = ask(*state, GET, 404, "");

    assert_lacks(got, "content-type");
    assert_has(got, "content-length: 0\r\n");
}

static void test_grpc_gets_its_status_in_the_head(void **state)
{
    cn_rig_t *rig = *state;
    const char *got = ask(rig, GRPC, 403, "a%b \xc3\xa4~\n");

    assert_starts(got, "HTTP/1.1 200 OK\r\nx-first: 1\r\ncontent-type: application/grpc\r\n"
                       "grpc-status: 7\r\ngrpc-message: a%25b %C3%A4%7E%0A\r\n");
    assert_has(got, "content-length: 0\r\n");
    assert_int_equal(only_log(rig)->grpc_status, 7);
    assert_int_equal(rig->log[0].status, 200);
}

static void test_statuses_map_to_those_of_grpc(void **state)
{
    static const struct {
        unsigned http;
        int grpc;
    } pairs[] = {{400, 13}, {401, 16}, {403, 7},  {404, 12}, {429, 14},
                 {502, 14}, {503, 14}, {504, 14}, {500, 2},  {418, 2}};
    cn_rig_t *rig = *state;

    for (size_t i = 0; i < CN_COUNT(pairs); i++) {
        const char *got = ask(rig, GRPC, pairs[i].http, "");

        assert_lacks(got, "grpc-message");
        assert_int_equal(rig->log[i].grpc_status, pairs[i].grpc);
    }
}

/* ---- heads ---- */

static cn_str_t seen;

static cn_rc look(cn_req_t *req)
{
    cn_rig_t *rig = cn_container_of(cn_req_worker(req), cn_rig_t, w);
    const cn_msg_t *m = cn_req_facts(req)->req;
    cn_str_t all = cn_pool_dup(rig->pool, m->target);

    for (uint32_t i = 0; i < m->headers.n; i++)
        all = cn_pool_printf(rig->pool, "%.*s|%.*s=%.*s", CN_STR_ARG(all),
                             CN_STR_ARG(m->headers.v[i].name), CN_STR_ARG(m->headers.v[i].value));
    seen = all;
    return CN_OK;
}

static const char *head_of(cn_rig_t *rig, const char *request)
{
    rig->hook[0][CN_PH_HEAD] = look;
    ask(rig, request, 404, "");
    return seen.p;
}

static void test_paths_are_normalised_and_queries_kept(void **state)
{
    cn_rig_t *rig = *state;

    assert_starts(head_of(rig, "GET /a/b?c=/../d HTTP/1.1\r\nhost: w\r\n\r\n"), "/a/b?c=/../d|");
    assert_starts(head_of(rig, "GET /a/../b?c=%41 HTTP/1.1\r\nhost: w\r\n\r\n"), "/b?c=%41|");
    assert_starts(head_of(rig, "GET /a/../b HTTP/1.1\r\nhost: w\r\n\r\n"), "/b|");
    assert_starts(head_of(rig, "GET /a#frag HTTP/1.1\r\nhost: w\r\n\r\n"), "/a|");
    assert_starts(head_of(rig, "GET http://h?q=1 HTTP/1.1\r\nhost: w\r\n\r\n"), "/?q=1|");
}

static void test_only_the_operator_instructs_the_proxy(void **state)
{
    cn_rig_t *rig = *state;
    const char *got =
        head_of(rig, "GET / HTTP/1.1\r\nhost: w\r\nx-envoy-internal: true\r\n"
                     "x-envoy-max-retries: 9\r\nx-envoy-other: kept\r\n"
                     "x-forwarded-client-cert: By=me\r\nx-forwarded-host: kept\r\n\r\n");

    assert_lacks(got, "x-envoy-internal");
    assert_lacks(got, "max-retries");
    assert_lacks(got, "client-cert");
    assert_has(got,
               "|x-envoy-other=kept|x-forwarded-host=kept|x-forwarded-proto=http|x-request-id=");
}

static void test_a_request_id_is_a_uuid_and_a_given_one_stays(void **state)
{
    cn_rig_t *rig = *state;
    const char *got = head_of(rig, GET), *id = strstr(got, "x-request-id=") + 13;

    assert_int_equal(strlen(id), 36);
    assert_int_equal(id[14], '4');
    assert_non_null(strchr("89ab", id[19]));
    assert_has(head_of(rig, "GET / HTTP/1.1\r\nhost: w\r\nx-request-id: mine\r\n\r\n"),
               "x-request-id=mine");
    got = head_of(rig, "GET / HTTP/1.1\r\nhost: w\r\nx-request-id:\r\n\r\n");
    assert_int_equal(strcspn(strstr(got, "x-request-id=") + 13, "|"), 36);
}

static void expect_answer(cn_rig_t *rig, const char *request, const char *start,
                          const char *details)
{
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.1:80", NULL);

    rig->nlog = 0;
    cn_rig_send(rig, c, request);
    assert_starts(cn_rig_recv(rig, c), start);
    assert_string_equal(only_log(rig)->details, details);
    cn_stream_close(c, false);
    cn_rig_settle(rig);
}

static void test_what_cannot_be_routed_is_answered_at_once(void **state)
{
    cn_rig_t *rig = *state;

    expect_answer(rig, "CONNECT h:80 HTTP/1.1\r\nhost: h:80\r\n\r\n", "HTTP/1.1 404 ",
                  "route_not_found");
    expect_answer(rig, "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 404 ",
                  "absolute_path_rejected");
    expect_answer(rig, "GET /%00 HTTP/1.1\r\nhost: h\r\n\r\n", "HTTP/1.1 400 ",
                  "path_normalization_failed");
    assert_int_equal(rig->calls[0][CN_PH_HEAD], 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_print_in_the_order_of_their_kind),
        cmocka_unit_test(test_all_flags_at_once_fit_the_buffer),
        T(test_the_first_reply_counts),
        T(test_an_empty_reply_has_no_type),
        T(test_grpc_gets_its_status_in_the_head),
        T(test_statuses_map_to_those_of_grpc),
        T(test_paths_are_normalised_and_queries_kept),
        T(test_only_the_operator_instructs_the_proxy),
        T(test_a_request_id_is_a_uuid_and_a_given_one_stays),
        T(test_what_cannot_be_routed_is_answered_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
