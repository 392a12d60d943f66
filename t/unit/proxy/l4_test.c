/* SPDX-License-Identifier: Apache-2.0
 * Connections that are not HTTP, and how a tunnel turns out to be one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fixture/owner.h"
#include "expect.h"

#define CONF                                                                                       \
    "tcp_idle_timeout 60s;"                                                                        \
    "cluster db { endpoint 10.1.0.1:0 tunnel=hbone; }"                                             \
    "cluster two { endpoint 10.1.0.2:80 tunnel=hbone; endpoint 10.1.0.3:80 tunnel=hbone; "         \
    "tcp_idle_timeout 5s; max_connection_duration 8s; }"                                           \
    "service two { address 10.0.0.6:80; protocol tcp; cluster two; }"                              \
    "cluster none { endpoint 10.1.0.1:80 tunnel=hbone health=draining; }"                          \
    "service db { address 10.0.0.1:5432; protocol tcp; cluster db; }"                              \
    "service none { address 10.0.0.3:80; protocol tcp; cluster none; }"                            \
    "service lost { address 10.0.0.4:80; protocol tcp; cluster no-such; }"                         \
    "service any { address 10.0.0.5:80; cluster db; sniff_timeout 5s; }"

static int setup(void **state)
{
    cn_rig_setup(state);
    assert_int_equal(cn_rig_load(*state, CONF, NULL), CN_OK);
    return 0;
}

static cn_stream_t *client(cn_rig_t *rig)
{
    return cn_rig_open(rig, "10.0.0.1:5432", NULL);
}

static uint32_t active(cn_rig_t *rig)
{
    return cn_clusters_find(rig->w.clusters, CN_STR("db"))->hosts[0]->active;
}

static void expect_end(cn_rig_t *rig, uint32_t flags)
{
    assert_int_equal(only_log(rig)->flags, flags);
    assert_false(rig->log[0].http);
    assert_int_equal(active(rig), 0);
    assert_int_equal(rig->w.tunnels, 0);
    assert_string_equal(cn_rig_metric(rig, "cairn_requests_active"), "0");
}

/* ---- the relay ---- */

static void test_bytes_pass_both_ways_and_are_counted(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    assert_string_equal(rig->target[0], "10.1.0.1:5432"); /* the port that was asked for */
    assert_int_equal(active(rig), 1);
    cn_rig_send(rig, c, "select");
    assert_string_equal(cn_rig_recv(rig, rig->host[0]), "select");
    cn_rig_send(rig, rig->host[0], "row");
    assert_string_equal(cn_rig_recv(rig, c), "row");
    cn_stream_close(c, false);
    cn_stream_close(rig->host[0], false);
    rig->host[0] = NULL;
    cn_rig_settle(rig);
    assert_int_equal(rig->log[0].body_rx, 6);
    assert_int_equal(rig->log[0].body_tx, 3);
}

static void test_the_client_may_end_first_and_still_gets_the_answer(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_owner_write(c, "question");
    cn_stream_shutdown(c);
    cn_rig_settle(rig);
    assert_string_equal(cn_rig_recv(rig, rig->host[0]), "question");
    assert_true(cn_memstream_peer_shut(rig->host[0]));
    assert_int_equal(rig->nlog, 0);
    cn_rig_send(rig, rig->host[0], "answer");
    assert_string_equal(cn_rig_recv(rig, c), "answer");
    cn_stream_shutdown(rig->host[0]);
    cn_rig_settle(rig);
    expect_end(rig, 0);
    assert_false(cn_memstream_peer_aborted(c));
    cn_stream_close(c, false);
}

static void test_the_server_may_end_first_and_still_hears_the_client(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_owner_write(rig->host[0], "greeting");
    cn_stream_shutdown(rig->host[0]);
    assert_string_equal(cn_rig_recv(rig, c), "greeting");
    assert_true(cn_memstream_peer_shut(c));
    cn_rig_send(rig, c, "late");
    assert_string_equal(cn_rig_recv(rig, rig->host[0]), "late");
    cn_stream_shutdown(c);
    cn_rig_settle(rig);
    expect_end(rig, 0);
    cn_stream_close(c, false);
}

static void test_a_client_reset_reaches_the_server(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_stream_close(c, true);
    cn_rig_settle(rig);
    expect_end(rig, CN_FLAG_DC);
    assert_true(cn_memstream_peer_aborted(rig->host[0]));
}

static void test_a_client_reset_after_its_end_reaches_the_server(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_stream_shutdown(c);
    cn_rig_settle(rig);
    assert_int_equal(rig->nlog, 0);
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    expect_end(rig, CN_FLAG_DC);
    assert_true(cn_memstream_peer_aborted(rig->host[0]));
}

static void test_a_server_reset_reaches_the_client(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_stream_close(rig->host[0], true);
    rig->host[0] = NULL;
    cn_rig_settle(rig);
    expect_end(rig, CN_FLAG_UR);
    assert_true(cn_memstream_peer_aborted(c));
    cn_stream_close(c, false);
}

/* ---- before the relay ---- */

static void expect_refused(cn_rig_t *rig, const char *authority, uint32_t flags)
{
    cn_stream_t *c = cn_rig_open(rig, authority, NULL);

    expect_end(rig, flags);
    assert_true(cn_memstream_peer_aborted(c));
    cn_stream_close(c, false);
}

static void test_no_healthy_host_is_uh(void **state)
{
    expect_refused(*state, "10.0.0.3:80", CN_FLAG_UH);
}

static void test_an_unknown_cluster_is_nc(void **state)
{
    expect_refused(*state, "10.0.0.4:80", CN_FLAG_NC);
}

static cn_rc deny(cn_req_t *req)
{
    cn_req_refuse(req, CN_STR("rbac_access_denied_matched_policy[none]"));
    return CN_DONE;
}

static void test_a_refused_connection_opens_none_to_the_host(void **state)
{
    cn_rig_t *rig = *state;

    rig->hook[0][CN_PH_TUNNEL] = deny;
    expect_refused(rig, "10.0.0.1:5432", 0);
    assert_string_equal(rig->log[0].termination, "rbac_access_denied_matched_policy[none]");
    assert_int_equal(rig->calls[1][CN_PH_TUNNEL], 0);
    assert_int_equal(rig->nhost, 0);
}

static bool released;

static cn_rc park(cn_req_t *req CN_UNUSED)
{
    return released ? CN_OK : CN_AGAIN;
}

static void test_a_hook_may_wait_and_bytes_wait_with_it(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    released = false;
    rig->hook[0][CN_PH_TUNNEL] = park;
    c = client(rig);
    cn_rig_send(rig, c, "select");
    assert_int_equal(rig->calls[0][CN_PH_TUNNEL], 1);
    released = true;
    cn_req_wake(rig->req);
    cn_rig_settle(rig);
    assert_int_equal(rig->calls[0][CN_PH_TUNNEL], 2);
    assert_int_equal(rig->calls[1][CN_PH_TUNNEL], 1);
    assert_string_equal(cn_rig_recv(rig, rig->host[0]), "select");
    cn_stream_close(c, true);
}

static void test_a_client_gone_while_a_hook_waits_ends_the_connection(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    released = false;
    rig->hook[0][CN_PH_TUNNEL] = park;
    c = client(rig);
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    expect_end(rig, CN_FLAG_DC);
    assert_int_equal(rig->ctx_finis, 1);
}

static void test_a_connect_failure_is_uf_and_urx(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->connecting = true;
    c = client(rig);
    assert_int_equal(active(rig), 1);
    cn_memstream_connected(rig->req->server, CN_SERR_REFUSED);
    cn_rig_settle(rig);
    expect_end(rig, CN_FLAG_UF | CN_FLAG_URX);
    assert_string_equal(rig->log[0].failure, "delayed_connect_error:_not_connected");
    assert_true(cn_memstream_peer_aborted(c));
    cn_stream_close(c, false);
}

static void test_another_host_is_asked_when_one_cannot_be_reached(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->connecting = true;
    c = cn_rig_open(rig, "10.0.0.6:80", NULL);
    cn_memstream_connected(rig->req->server, CN_SERR_REFUSED);
    cn_rig_settle(rig);
    assert_int_equal(rig->nhost, 2);
    assert_string_not_equal(rig->target[0], rig->target[1]);
    assert_int_equal(rig->nlog, 0);
    cn_owner_write(c, "question");
    cn_memstream_connected(rig->req->server, CN_SERR_NONE);
    assert_string_equal(cn_rig_recv(rig, rig->host[1]), "question");
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    assert_int_equal(rig->log[0].attempts, 2);
    assert_int_equal(rig->log[0].flags, CN_FLAG_DC);
    assert_string_equal(rig->log[0].failure, "");
}

static void test_no_host_is_asked_twice(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->connecting = true;
    c = cn_rig_open(rig, "10.0.0.6:80", NULL);
    for (unsigned i = 0; i < 2; i++) {
        cn_memstream_connected(rig->req->server, CN_SERR_REFUSED);
        cn_rig_settle(rig);
    }
    assert_int_equal(only_log(rig)->flags, CN_FLAG_UF | CN_FLAG_URX);
    assert_int_equal(rig->log[0].attempts, 2);
    cn_stream_close(c, true);
}

static void test_a_client_gone_while_connecting_gives_it_up(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->connecting = true;
    c = client(rig);
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    expect_end(rig, CN_FLAG_DC);
    assert_true(cn_memstream_peer_aborted(rig->host[0]));
}

static void test_a_client_that_ended_early_still_gets_its_connection(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->connecting = true;
    c = client(rig);
    cn_owner_write(c, "question");
    cn_stream_shutdown(c);
    cn_rig_settle(rig);
    assert_int_equal(rig->nlog, 0);
    cn_memstream_connected(rig->req->server, CN_SERR_NONE);
    assert_string_equal(cn_rig_recv(rig, rig->host[0]), "question");
    cn_stream_close(c, true);
}

/* ---- time ---- */

static void test_an_idle_connection_ends_and_a_busy_one_does_not(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_owner_write(c, "a");
    cn_rig_pass(rig, 60000);
    assert_int_equal(rig->nlog, 0);
    cn_rig_pass(rig, 60000);
    assert_int_equal(rig->nlog, 1);
    assert_string_equal(rig->log[0].termination, "idle_timeout");
    assert_true(cn_memstream_peer_aborted(c));
    cn_stream_close(c, false);
}

static void test_a_cluster_has_its_own_times(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.6:80", NULL), *d;

    cn_rig_pass(rig, 5000);
    assert_string_equal(only_log(rig)->termination, "idle_timeout");
    cn_stream_close(c, false);
    d = cn_rig_open(rig, "10.0.0.6:80", NULL);
    for (unsigned i = 0; i < 2; i++) {
        cn_owner_write(d, "busy");
        cn_rig_pass(rig, 4000);
    }
    assert_int_equal(rig->nlog, 2);
    assert_string_equal(rig->log[1].termination, "max_connection_duration");
    assert_int_equal(rig->log[1].flags, CN_FLAG_DT);
    cn_stream_close(d, false);
}

static cn_rc break_down(cn_req_t *req CN_UNUSED)
{
    return CN_ERR;
}

static void test_long_connections_report_every_five_seconds(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->hook[0][CN_PH_REPORT] = break_down;
    cn_rig_pass(rig, 5000);
    cn_rig_pass(rig, 5000);
    assert_int_equal(rig->calls[0][CN_PH_REPORT], 2);
    assert_int_equal(rig->calls[1][CN_PH_REPORT], 2);
    assert_int_equal(rig->nlog, 0);
    cn_stream_close(c, true);
}

/* ---- the worker and the configuration ---- */

static void test_a_worker_that_stops_logs_and_resets(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_stop(rig);
    assert_int_equal(only_log(rig)->flags, CN_FLAG_LR);
    assert_true(cn_memstream_peer_aborted(c));
    cn_stream_close(c, false);
}

static void test_a_connection_outlives_its_service_and_cluster(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    assert_int_equal(cn_rig_load(rig, "request_id off;", NULL), CN_OK);
    assert_int_equal(rig->retired, 4);
    cn_rig_send(rig, c, "select");
    assert_string_equal(cn_rig_recv(rig, rig->host[0]), "select");
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    assert_string_equal(only_log(rig)->cluster, "db");
}

/* ---- undeclared ports ---- */

static void test_first_bytes_decide_and_are_not_lost(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.5:80", NULL);

    assert_int_equal(rig->nhost, 0);
    cn_rig_send(rig, c, "\x16\x03\x01");
    cn_rig_send(rig, c, "more");
    assert_string_equal(cn_rig_recv(rig, rig->host[0]), "\x16\x03\x01more");
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    assert_int_equal(only_log(rig)->body_rx, 7);
}

static void test_http_on_an_undeclared_port_is_http(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.5:80", NULL);

    cn_rig_send(rig, c, "GE");
    cn_rig_send(rig, c, "T / HTTP/1.1\r\nhost: any\r\n\r\n");
    assert_starts(cn_rig_recv(rig, rig->host[0]), "GET / HTTP/1.1\r\nhost: any\r\n");
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 204 x\r\n\r\n");
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 204 ");
    assert_true(only_log(rig)->http);
    cn_stream_close(c, false);
}

static void test_a_silent_client_reaches_a_server_that_speaks_first(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.5:80", NULL);

    cn_rig_pass(rig, 5000);
    assert_int_equal(rig->nhost, 1);
    cn_rig_send(rig, rig->host[0], "220 hello\r\n");
    assert_string_equal(cn_rig_recv(rig, c), "220 hello\r\n");
    cn_stream_close(c, true);
}

static void test_a_client_gone_before_it_said_anything_leaves_nothing(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.5:80", NULL);

    cn_rig_send(rig, c, "G");
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    assert_int_equal(rig->w.tunnels, 0);
    assert_int_equal(rig->nlog, 0);
    assert_int_equal(rig->nhost, 0);
}

static void test_a_worker_stops_while_a_client_is_silent(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.5:80", NULL);

    cn_worker_drain(&rig->w);
    cn_rig_settle(rig);
    cn_rig_stop(rig);
    assert_int_equal(rig->nlog, 0);
    assert_int_equal(rig->w.tunnels, 0);
    cn_stream_close(c, false);
}

static void test_a_stopping_worker_admits_nothing(void **state)
{
    cn_rig_t *rig = *state;

    assert_true(cn_worker_admit(&rig->w));
    rig->w.stopping = true;
    assert_false(cn_worker_admit(&rig->w));
}

static void test_tunnels_beyond_the_limit_are_not_admitted(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    assert_int_equal(cn_rig_load(rig, "max_tunnels 1;" CONF, NULL), CN_OK);
    assert_true(cn_worker_admit(&rig->w));
    c = client(rig);
    assert_false(cn_worker_admit(&rig->w));
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    assert_true(cn_worker_admit(&rig->w));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_bytes_pass_both_ways_and_are_counted),
        T(test_the_client_may_end_first_and_still_gets_the_answer),
        T(test_the_server_may_end_first_and_still_hears_the_client),
        T(test_a_client_reset_reaches_the_server),
        T(test_a_client_reset_after_its_end_reaches_the_server),
        T(test_a_server_reset_reaches_the_client),
        T(test_no_healthy_host_is_uh),
        T(test_an_unknown_cluster_is_nc),
        T(test_a_refused_connection_opens_none_to_the_host),
        T(test_a_hook_may_wait_and_bytes_wait_with_it),
        T(test_a_client_gone_while_a_hook_waits_ends_the_connection),
        T(test_a_connect_failure_is_uf_and_urx),
        T(test_another_host_is_asked_when_one_cannot_be_reached),
        T(test_no_host_is_asked_twice),
        T(test_a_client_gone_while_connecting_gives_it_up),
        T(test_a_client_that_ended_early_still_gets_its_connection),
        T(test_an_idle_connection_ends_and_a_busy_one_does_not),
        T(test_a_cluster_has_its_own_times),
        T(test_long_connections_report_every_five_seconds),
        T(test_a_worker_that_stops_logs_and_resets),
        T(test_a_connection_outlives_its_service_and_cluster),
        T(test_first_bytes_decide_and_are_not_lost),
        T(test_http_on_an_undeclared_port_is_http),
        T(test_a_silent_client_reaches_a_server_that_speaks_first),
        T(test_a_client_gone_before_it_said_anything_leaves_nothing),
        T(test_a_worker_stops_while_a_client_is_silent),
        T(test_a_stopping_worker_admits_nothing),
        T(test_tunnels_beyond_the_limit_are_not_admitted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
