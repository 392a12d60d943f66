/* SPDX-License-Identifier: Apache-2.0
 * The life of a request: its hooks, its one end, and what happens when the
 * client, the configuration or the worker goes in the middle of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fixture/owner.h"
#include "expect.h"

#define CONF                                                                                       \
    "cluster web { endpoint 10.1.0.1:80 tunnel=hbone; }"                                           \
    "service web { address 10.0.0.1:80; protocol http; cluster web; route plain { without_two on; } }"

#define GET "GET /x HTTP/1.1\r\nhost: web\r\n\r\n"
#define POST "POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"

static int setup(void **state)
{
    cn_rig_setup(state);
    assert_int_equal(cn_rig_load(*state, CONF, NULL), CN_OK);
    return 0;
}

static cn_stream_t *client(cn_rig_t *rig)
{
    return cn_rig_open(rig, "10.0.0.1:80", NULL);
}

/* ---- the ordinary way ---- */

static void test_a_request_is_answered_counted_and_logged_once(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    assert_string_equal(cn_rig_metric(rig, "cairn_tunnels_open"), "1");
    cn_rig_send(rig, c, GET);
    assert_string_equal(cn_rig_metric(rig, "cairn_requests_active"), "1");
    assert_starts(cn_rig_recv(rig, rig->host[0]), "GET /x HTTP/1.1\r\nhost: web\r\n");
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 OK\r\n");
    assert_int_equal(only_log(rig)->status, 200);
    assert_string_equal(rig->log[0].details, "via_upstream");
    assert_string_equal(rig->log[0].cluster, "web");
    assert_int_equal(rig->log[0].body_tx, 2);
    assert_int_equal(rig->log[0].flags, 0);
    assert_int_equal(rig->ctx_finis, 1);
    assert_string_equal(cn_rig_metric(rig, "cairn_requests_active"), "0");
    cn_stream_close(c, false);
    cn_rig_settle(rig);
    assert_string_equal(cn_rig_metric(rig, "cairn_tunnels_open"), "0");
    assert_int_equal(rig->nlog, 1);
}

static void test_one_tunnel_carries_one_request_after_another(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET GET);
    cn_rig_send(rig, rig->host[0], OK);
    assert_int_equal(rig->nlog, 1);
    cn_rig_send(rig, rig->host[0], OK);
    assert_int_equal(rig->nlog, 2);
    assert_int_equal(rig->nhost, 1);
    cn_stream_close(c, false);
}

static void test_hooks_run_in_order_and_in_reverse_for_responses(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], OK);
    for (unsigned ph = CN_PH_HEAD; ph < CN_PH_MAX; ph++)
        assert_int_equal(rig->calls[0][ph], ph != CN_PH_REPORT);
    assert_int_equal(rig->calls[0][CN_PH_TUNNEL], 0);
    cn_stream_close(c, false);
}

/* ---- parked hooks ---- */

static bool released;

static cn_rc park(cn_req_t *req CN_UNUSED)
{
    return released ? CN_OK : CN_AGAIN;
}

static void release(cn_rig_t *rig)
{
    released = true;
    cn_req_wake(rig->req);
    cn_rig_settle(rig);
}

static void test_a_parked_hook_runs_again_alone_and_only_when_it_asked(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    released = false;
    rig->hook[1][CN_PH_EXTERNAL] = park;
    cn_rig_send(rig, c, POST);
    cn_rig_send(rig, c, "he");
    cn_rig_send(rig, c, "llo");
    assert_int_equal(rig->calls[1][CN_PH_EXTERNAL], 1);
    assert_int_equal(rig->nhost, 0);
    release(rig);
    assert_int_equal(rig->calls[0][CN_PH_EXTERNAL], 1);
    assert_int_equal(rig->calls[1][CN_PH_EXTERNAL], 2);
    assert_int_equal(rig->calls[0][CN_PH_AUTHN], 1);
    assert_has(cn_rig_recv(rig, rig->host[0]), "\r\n\r\nhello");
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 OK\r\n");
    cn_stream_close(c, false);
}

static void test_a_hook_of_the_response_can_wait(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    released = false;
    rig->hook[0][CN_PH_RESP_HEAD] = park;
    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], OK);
    assert_string_equal(cn_rig_recv(rig, c), "");
    release(rig);
    assert_int_equal(rig->calls[0][CN_PH_RESP_HEAD], 2);
    assert_int_equal(rig->calls[1][CN_PH_RESP_HEAD], 1);
    assert_has(cn_rig_recv(rig, c), "\r\n\r\nhi");
    cn_stream_close(c, false);
}

static cn_rc take_route(cn_req_t *req)
{
    cn_req_set_route(req, &req->section->routes[0]);
    return CN_OK;
}

static void test_a_route_does_not_change_the_list_that_is_running(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    released = false;
    rig->hook[0][CN_PH_ROUTE] = take_route; /* a route without module two */
    rig->hook[1][CN_PH_ROUTE] = park;
    cn_rig_send(rig, c, GET);
    assert_int_equal(rig->calls[1][CN_PH_ROUTE], 1);
    release(rig);
    assert_int_equal(rig->calls[1][CN_PH_ROUTE], 2);
    assert_int_equal(rig->calls[0][CN_PH_POLICY], 1);
    assert_int_equal(rig->calls[1][CN_PH_POLICY], 0);
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 OK\r\n");
    cn_stream_close(c, false);
}

/* ---- replies ---- */

static cn_rc deny(cn_req_t *req)
{
    cn_req_reply(req, 403, CN_STR("no"), CN_STR("denied_by_test"), 0);
    return CN_DONE;
}

static cn_rc break_down(cn_req_t *req CN_UNUSED)
{
    return CN_ERR;
}

static void test_a_reply_before_routing_still_names_route_and_cluster(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->hook[0][CN_PH_AUTHZ] = deny;
    cn_rig_send(rig, c, GET);
    assert_has(cn_rig_recv(rig, c), "\r\n\r\nno");
    assert_int_equal(only_log(rig)->status, 403);
    assert_string_equal(rig->log[0].details, "denied_by_test");
    assert_string_equal(rig->log[0].cluster, "web");
    assert_int_equal(rig->calls[0][CN_PH_ROUTE], 1);
    assert_int_equal(rig->calls[1][CN_PH_AUTHZ], 0);
    assert_int_equal(rig->calls[1][CN_PH_RESP_HEAD], 1);
    assert_int_equal(rig->nhost, 0);
    cn_stream_close(c, false);
}

static void test_a_module_that_fails_answers_500(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->hook[0][CN_PH_AUTHN] = break_down;
    cn_rig_send(rig, c, GET);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 500 ");
    assert_string_equal(only_log(rig)->details, "module_failed");
    cn_stream_close(c, false);
}

static void test_a_response_can_be_refused(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;

    rig->hook[1][CN_PH_RESP_HEAD] = deny;
    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], OK);
    got = cn_rig_recv(rig, c);
    assert_starts(got, "HTTP/1.1 403 Forbidden\r\n");
    assert_has(got, "content-length: 2\r\n\r\nno");
    assert_lacks(got, "service-time");
    assert_int_equal(only_log(rig)->status, 403);
    assert_int_equal(rig->calls[0][CN_PH_RESP_HEAD], 1);
    cn_stream_close(c, false);
}

static void test_a_failing_response_hook_hides_the_response(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;

    rig->hook[1][CN_PH_RESP_HEAD] = break_down;
    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], OK);
    got = cn_rig_recv(rig, c);
    assert_starts(got, "HTTP/1.1 500 ");
    assert_lacks(got, "\r\n\r\nhi");
    cn_stream_close(c, false);
}

static void test_every_log_hook_runs_whatever_one_says(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->hook[0][CN_PH_LOG] = break_down;
    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], OK);
    assert_int_equal(rig->nlog, 1);
    cn_stream_close(c, false);
}

static void test_the_answer_to_head_has_a_length_and_no_body(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;

    rig->hook[0][CN_PH_AUTHZ] = deny;
    cn_rig_send(rig, c, "HEAD /x HTTP/1.1\r\nhost: web\r\n\r\n");
    got = cn_rig_recv(rig, c);
    assert_has(got, "content-length: 2\r\n");
    assert_string_equal(got + strlen(got) - 4, "\r\n\r\n");
    assert_int_equal(only_log(rig)->body_tx, 0);
    cn_stream_close(c, false);
}

static void test_an_answer_before_the_body_ends_the_connection(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->hook[0][CN_PH_AUTHZ] = deny;
    cn_rig_send(rig, c, POST "hello");
    assert_has(cn_rig_recv(rig, c), "connection: close\r\n");
    cn_rig_pass(rig, 1500);
    assert_true(cn_memstream_peer_shut(c));
    cn_stream_close(c, false);
}

static void test_a_malformed_head_is_answered_and_logged(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, "GET / HTTP/1.0\r\n\r\n");
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 426 Upgrade Required\r\n");
    assert_int_equal(only_log(rig)->flags, CN_FLAG_DPE);
    assert_string_equal(rig->log[0].details, "low_version");
    assert_int_equal(rig->calls[0][CN_PH_HEAD], 0);
    cn_stream_close(c, false);
}

static void test_a_malformed_body_is_answered_400_and_the_host_sees_a_reset(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;

    cn_rig_send(rig, c,
                "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    cn_rig_send(rig, c, "zz\r\n");
    got = cn_rig_recv(rig, c);
    assert_starts(got, "HTTP/1.1 400 Bad Request\r\n");
    assert_has(got, "connection: close\r\n");
    assert_int_equal(only_log(rig)->flags, CN_FLAG_DPE);
    assert_string_equal(rig->log[0].details, "http1.codec_error");
    assert_string_equal(rig->log[0].cluster, "web");
    assert_true(cn_memstream_peer_aborted(rig->host[0]));
    cn_stream_close(c, false);
}

/* ---- the client goes ---- */

static void expect_gone(cn_rig_t *rig, unsigned status)
{
    assert_int_equal(only_log(rig)->flags, CN_FLAG_DC);
    assert_int_equal(rig->log[0].status, status);
    assert_string_equal(rig->log[0].details, "downstream_remote_disconnect");
    assert_int_equal(rig->ctx_finis, 1);
    assert_int_equal(rig->w.tunnels, 0);
    assert_string_equal(cn_rig_metric(rig, "cairn_requests_active"), "0");
}

static void reset(cn_rig_t *rig, cn_stream_t *c)
{
    cn_stream_close(c, true);
    cn_rig_settle(rig);
}

static void test_half_a_head_is_no_request(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, "GET / HT");
    reset(rig, c);
    assert_int_equal(rig->nlog, 0);
    assert_int_equal(rig->w.tunnels, 0);
}

static void test_a_client_gone_while_a_hook_waits_ends_the_request(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    released = false;
    rig->hook[0][CN_PH_EXTERNAL] = park;
    cn_rig_send(rig, c, GET);
    reset(rig, c);
    expect_gone(rig, 0);
    assert_int_equal(rig->calls[0][CN_PH_EXTERNAL], 1);
}

static void test_a_client_gone_before_the_response_frees_the_host(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    reset(rig, c);
    expect_gone(rig, 0);
    assert_true(cn_memstream_peer_aborted(rig->host[0]));
    assert_int_equal(cn_clusters_find(rig->w.clusters, CN_STR("web"))->hosts[0]->active, 0);
}

static void test_a_client_gone_in_its_body_frees_the_host(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, POST "he");
    reset(rig, c);
    expect_gone(rig, 0);
    assert_true(cn_memstream_peer_aborted(rig->host[0]));
}

static void test_a_client_gone_while_the_response_waits_in_a_hook(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    released = false;
    rig->hook[0][CN_PH_RESP_HEAD] = park;
    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], OK);
    reset(rig, c);
    expect_gone(rig, 200);
}

static void test_a_client_gone_in_the_response_body_frees_the_host(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi");
    reset(rig, c);
    expect_gone(rig, 200);
    assert_true(cn_memstream_peer_aborted(rig->host[0]));
}

static void test_a_client_that_only_ended_its_direction_gets_its_answer(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_owner_write(c, GET);
    cn_stream_shutdown(c);
    cn_rig_settle(rig);
    cn_rig_send(rig, rig->host[0], OK);
    assert_has(cn_rig_recv(rig, c), "\r\n\r\nhi");
    assert_int_equal(only_log(rig)->flags, 0);
    cn_stream_close(c, false);
}

/* ---- the configuration goes ---- */

#define WITH_PODS(rest) "workloads pods;" CONF rest

static void test_what_is_known_of_pods_outlives_a_change_of_the_file(void **state)
{
    static const char *const before[] = {
        "pods", "10.9.0.9 workload=curl\n10.1.0.1 workload=web-v1\n", NULL};
    static const char *const after[] = {"pods", "10.9.0.9 workload=other\n", NULL};
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    assert_int_equal(cn_rig_load(rig, WITH_PODS(""), before), CN_OK);
    c = client(rig);
    cn_rig_send(rig, c, GET);
    assert_int_equal(cn_rig_load(rig, WITH_PODS(""), after), CN_OK);
    assert_int_equal(cn_rig_load(rig, CONF, NULL), CN_OK);
    cn_rig_send(rig, rig->host[0], OK);
    assert_string_equal(only_log(rig)->source, "curl");
    assert_string_equal(rig->log[0].destination, "web-v1");
    cn_stream_close(c, false);
}

static void test_an_unchanged_file_of_pods_is_not_read_again(void **state)
{
    static const char *const pods[] = {"pods", "10.9.0.9 workload=curl\n", NULL};
    cn_rig_t *rig = *state;
    cn_workloads_t *first;

    assert_int_equal(cn_rig_load(rig, WITH_PODS(""), pods), CN_OK);
    first = rig->w.workloads;
    assert_int_equal(cn_rig_load(rig, WITH_PODS("cluster more { }"), pods), CN_OK);
    assert_ptr_equal(rig->w.workloads, first);
}

static void test_a_peer_described_by_its_tunnel_is_known(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.1:80", "k8s.deployment.name=shop,service.name=shop");

    for (unsigned i = 0; i < 2; i++) {
        cn_rig_send(rig, c, GET);
        cn_rig_send(rig, rig->host[0], OK);
        assert_string_equal(rig->log[i].source, "shop");
    }
    cn_stream_close(c, false);
}

static void test_a_request_ends_well_when_its_cluster_and_service_have_left(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(cn_rig_load(rig, i % 2 ? "request_id off;" : "request_id on;", NULL),
                         CN_OK);
    cn_rig_send(rig, rig->host[0], OK);
    assert_has(cn_rig_recv(rig, c), "\r\n\r\nhi");
    assert_string_equal(only_log(rig)->cluster, "web");
    assert_true(cn_memstream_peer_closed(rig->host[0])); /* not kept for a host that left */
    cn_rig_send(rig, c, GET);                            /* the tunnel's service is pinned */
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 503 ");
    assert_int_equal(rig->log[1].flags, CN_FLAG_NC);
    cn_stream_close(c, false);
}

static void test_a_refused_configuration_leaves_everything_as_it_was(void **state)
{
    static const char *const pods[] = {"pods", "10.9.0.9 workload=curl\n", NULL};
    cn_rig_t *rig = *state;
    cn_gen_t *gen;
    cn_workloads_t *ws;
    cn_cluster_t *web;

    assert_int_equal(cn_rig_load(rig, WITH_PODS(""), pods), CN_OK);
    gen = rig->w.gen;
    ws = rig->w.workloads;
    web = cn_clusters_find(rig->w.clusters, CN_STR("web"));
    assert_int_equal(
        cn_rig_load(rig, "workloads pods; mesh { identity a b; trust_bundle c; } cluster d { }",
                    (const char *const[]){"pods", "10.9.0.9 workload=new\n", NULL}),
        CN_ERR);
    assert_ptr_equal(rig->w.gen, gen);
    assert_ptr_equal(rig->w.workloads, ws);
    assert_ptr_equal(cn_clusters_find(rig->w.clusters, CN_STR("web")), web);
    assert_null(cn_clusters_find(rig->w.clusters, CN_STR("d")));
}

/* ---- the worker goes ---- */

static void test_a_worker_that_stops_logs_what_was_running(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *a = client(rig), *b = client(rig), *idle = client(rig);

    cn_rig_send(rig, a, GET);
    released = false;
    rig->hook[0][CN_PH_EXTERNAL] = park;
    cn_rig_send(rig, b, GET);
    cn_rig_stop(rig);
    assert_int_equal(rig->nlog, 2);
    assert_int_equal(rig->log[0].flags, CN_FLAG_LR);
    assert_int_equal(rig->log[1].flags, CN_FLAG_LR);
    assert_int_equal(rig->w.tunnels, 0);
    assert_true(cn_memstream_peer_aborted(a));
    cn_stream_close(a, false);
    cn_stream_close(b, false);
    cn_stream_close(idle, false);
}

static void test_a_draining_worker_says_so_with_the_answer(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig), *idle = client(rig), *late;

    cn_rig_send(rig, c, GET);
    cn_worker_drain(&rig->w);
    cn_rig_settle(rig);
    assert_false(cn_memstream_peer_shut(idle));
    cn_rig_send(rig, rig->host[0], OK);
    assert_has(cn_rig_recv(rig, c), "connection: close\r\n");
    cn_rig_send(rig, idle, GET);
    cn_rig_send(rig, rig->host[0], OK);
    assert_has(cn_rig_recv(rig, idle), "connection: close\r\n");
    late = client(rig);
    cn_rig_send(rig, late, GET);
    cn_rig_send(rig, rig->host[0], OK);
    assert_has(cn_rig_recv(rig, late), "connection: close\r\n");
    cn_stream_close(c, false);
    cn_stream_close(idle, false);
    cn_stream_close(late, false);
    cn_rig_settle(rig);
    assert_int_equal(rig->w.tunnels, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_request_is_answered_counted_and_logged_once),
        T(test_one_tunnel_carries_one_request_after_another),
        T(test_hooks_run_in_order_and_in_reverse_for_responses),
        T(test_a_parked_hook_runs_again_alone_and_only_when_it_asked),
        T(test_a_hook_of_the_response_can_wait),
        T(test_a_route_does_not_change_the_list_that_is_running),
        T(test_a_reply_before_routing_still_names_route_and_cluster),
        T(test_a_module_that_fails_answers_500),
        T(test_a_response_can_be_refused),
        T(test_a_failing_response_hook_hides_the_response),
        T(test_every_log_hook_runs_whatever_one_says),
        T(test_the_answer_to_head_has_a_length_and_no_body),
        T(test_an_answer_before_the_body_ends_the_connection),
        T(test_a_malformed_head_is_answered_and_logged),
        T(test_a_malformed_body_is_answered_400_and_the_host_sees_a_reset),
        T(test_half_a_head_is_no_request),
        T(test_a_client_gone_while_a_hook_waits_ends_the_request),
        T(test_a_client_gone_before_the_response_frees_the_host),
        T(test_a_client_gone_in_its_body_frees_the_host),
        T(test_a_client_gone_while_the_response_waits_in_a_hook),
        T(test_a_client_gone_in_the_response_body_frees_the_host),
        T(test_a_client_that_only_ended_its_direction_gets_its_answer),
        T(test_what_is_known_of_pods_outlives_a_change_of_the_file),
        T(test_an_unchanged_file_of_pods_is_not_read_again),
        T(test_a_peer_described_by_its_tunnel_is_known),
        T(test_a_request_ends_well_when_its_cluster_and_service_have_left),
        T(test_a_refused_configuration_leaves_everything_as_it_was),
        T(test_a_worker_that_stops_logs_what_was_running),
        T(test_a_draining_worker_says_so_with_the_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
