/* SPDX-License-Identifier: Apache-2.0
 * What becomes of requests and connections whose host leaves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fixture/owner.h"
#include "event/loop_int.h"
#include "expect.h"

#define WEB                                                                                        \
    "service web { address 10.0.0.1:80; protocol http; cluster web; }"                             \
    "service db { address 10.0.0.2:80; protocol tcp; cluster web; }"
#define ONE "endpoint 10.1.0.1:80 tunnel=hbone identity=spiffe://t/ns/a/sa/one; "
#define TWO "endpoint 10.1.0.2:80 tunnel=hbone; "
/* Another pod has the first one's address. */
#define OTHER "endpoint 10.1.0.1:80 tunnel=hbone identity=spiffe://t/ns/a/sa/other; "
#define LIMIT "endpoint_drain_timeout 100s; "
#define DRAIN 100000u

#define GET "GET /x HTTP/1.1\r\nhost: web\r\n\r\n"
#define POST "POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\n"
#define UPGRADE                                                                                    \
    "GET /x HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\n"                \
    "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
#define PART "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nsome"

static const cn_retry_policy_t never, resets = {.attempts = 1, .on = CN_RETRY_RESET};

static cn_rig_t *rig_of(cn_req_t *req)
{
    return cn_container_of(cn_req_worker(req), cn_rig_t, w);
}

static cn_rc set_policy(cn_req_t *req)
{
    cn_req_set_retry(req, rig_of(req)->policy);
    return CN_OK;
}

static void load(cn_rig_t *rig, const char *main, const char *cluster)
{
    const char *conf = cn_pool_cstr(
        rig->pool, cn_pool_printf(rig->pool, "%s cluster web { %s } " WEB, main, cluster));

    assert_int_equal(cn_rig_load(rig, conf, NULL), CN_OK);
}

static int setup(void **state)
{
    cn_rig_t *rig;

    cn_rig_setup(state);
    rig = *state;
    load(rig, LIMIT, ONE);
    rig->policy = &never;
    rig->hook[0][CN_PH_POLICY] = set_policy;
    return 0;
}

static cn_stream_t *client(cn_rig_t *rig, const char *request)
{
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.1:80", NULL);

    cn_rig_send(rig, c, request);
    return c;
}

static bool says(cn_rig_t *rig, const char *line)
{
    cn_chain_t out = {0};
    bool found;

    cn_stats_expose(rig->stats, &out);
    found = strstr(cn_owner_text(rig->pool, &out), line) != NULL;
    cn_chain_clear(&out);
    return found;
}

static void expect_counted(cn_rig_t *rig)
{
    assert_true(says(rig, "cairn_endpoint_drain_timeouts_total{cluster_name=\"web\"} 1\n"));
}

/* Nothing happens before the time is over, and then it does. */
static void pass_drain(cn_rig_t *rig, unsigned host)
{
    cn_rig_pass(rig, DRAIN / 2);
    assert_false(cn_memstream_peer_closed(rig->host[host]));
    assert_int_equal(rig->nlog, 0);
    cn_rig_pass(rig, DRAIN * 2);
    assert_true(cn_memstream_peer_closed(rig->host[host]));
}

static void expect_logged(cn_rig_t *rig, unsigned status)
{
    assert_int_equal(only_log(rig)->flags, CN_FLAG_LR);
    assert_int_equal(rig->log[0].status, status);
    assert_string_equal(rig->log[0].http ? rig->log[0].details : rig->log[0].termination,
                        "endpoint_drain_timeout");
    for (unsigned k = 0; k < CN_ADMIT_CONNECTION; k++)
        assert_int_equal(rig->granted[k], 0);
    expect_counted(rig);
}

static void expect_503(cn_rig_t *rig, cn_stream_t *c)
{
    const char *got = cn_rig_recv(rig, c);

    assert_starts(got, "HTTP/1.1 503 ");
    assert_has(got, "\r\n\r\nupstream connect error or disconnect/reset before headers. "
                    "reset reason: local reset");
    expect_logged(rig, 503);
    cn_stream_close(c, false);
}

/* ---- HTTP ---- */

static void test_a_request_that_may_have_been_acted_on_is_503(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, POST "hello");

    load(rig, LIMIT, TWO);
    pass_drain(rig, 0);
    assert_int_equal(rig->nhost, 1);
    assert_int_equal(rig->noutcome, 0); /* the host is not to blame */
    expect_503(rig, c);
}

static void test_a_request_that_is_still_being_sent_is_503(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, POST "he");

    load(rig, LIMIT, TWO);
    pass_drain(rig, 0);
    expect_503(rig, c);
}

static void test_an_idempotent_request_goes_elsewhere(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, GET);

    load(rig, LIMIT, TWO);
    pass_drain(rig, 0);
    assert_string_equal(rig->target[1], "10.1.0.2:80");
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 OK");
    assert_int_equal(only_log(rig)->flags, 0);
    assert_string_equal(rig->log[0].details, "via_upstream");
    assert_int_equal(rig->log[0].attempts, 2);
    expect_counted(rig);
    cn_stream_close(c, false);
}

static void test_an_idempotent_request_that_has_nowhere_to_go_is_503(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, GET);

    load(rig, LIMIT, "");
    pass_drain(rig, 0);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 503 ");
    assert_int_equal(only_log(rig)->flags, CN_FLAG_UH);
    cn_stream_close(c, false);
}

static void test_a_request_that_was_not_sent_goes_elsewhere(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->connecting = true;
    c = client(rig, POST "hello");
    rig->connecting = false;
    load(rig, LIMIT, OTHER);
    pass_drain(rig, 0);
    assert_string_equal(rig->target[1], "10.1.0.1:80");
    assert_has(cn_rig_recv(rig, rig->host[1]), "\r\n\r\nhello");
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 OK");
    cn_stream_close(c, false);
}

static void test_a_policy_that_lists_resets_tries_again(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->policy = &resets;
    c = client(rig, POST "hello");
    load(rig, LIMIT, TWO);
    pass_drain(rig, 0);
    cn_rig_pass(rig, 1000); /* the back-off */
    assert_int_equal(rig->nhost, 2);
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 OK");
    cn_stream_close(c, false);
}

static void test_a_response_that_has_begun_is_broken_off(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, GET);

    cn_rig_send(rig, rig->host[0], PART);
    assert_has(cn_rig_recv(rig, c), "\r\n\r\nsome");
    load(rig, LIMIT, TWO);
    pass_drain(rig, 0);
    assert_string_equal(cn_rig_recv(rig, c), "");
    assert_true(cn_memstream_peer_shut(c));
    expect_logged(rig, 200);
    cn_stream_close(c, false);
}

/* More than the client's connection takes at once, but not more than is held for it. */
#define BODY 100000

static void test_a_response_that_is_complete_is_delivered(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open_narrow(rig, "10.0.0.1:80", 3000);
    char *body = cn_pool_bytes(rig->pool, BODY + 1);
    size_t got = 0;

    memset(body, 'b', BODY);
    body[BODY] = '\0';
    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
    cn_rig_send(rig, rig->host[0], body);
    assert_int_equal(rig->nlog, 0);
    load(rig, LIMIT, TWO);
    cn_rig_pass(rig, DRAIN * 2);
    for (unsigned i = 0; i < 100 && rig->nlog == 0; i++)
        got += strlen(cn_rig_recv(rig, c));
    assert_int_equal(only_log(rig)->flags, 0);
    assert_int_equal(rig->log[0].body_tx, BODY);
    assert_true(got < BODY + 1000);
    cn_stream_close(c, false);
}

static void test_a_websocket_is_broken_off(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, UPGRADE);

    cn_rig_send(rig, rig->host[0],
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
                "upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 101 ");
    load(rig, LIMIT, TWO);
    pass_drain(rig, 0);
    assert_true(cn_memstream_peer_closed(c));
    expect_logged(rig, 101);
    cn_stream_close(c, false);
}

/* ---- which limit, and when it does not count ---- */

static const char *const forever[][3] = {
    {"", ONE, TWO}, {LIMIT, "endpoint_drain_timeout 0; " ONE, "endpoint_drain_timeout 0; " TWO}};

static void test_without_a_limit_it_goes_on(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    for (unsigned i = 0; i < CN_COUNT(forever); i++) {
        load(rig, forever[i][0], forever[i][1]);
        c = client(rig, POST "hello");
        load(rig, forever[i][0], forever[i][2]);
        cn_rig_pass(rig, DRAIN * 10);
        assert_int_equal(rig->nlog, i);
        cn_rig_send(rig, rig->host[i], OK);
        assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 OK");
        cn_stream_close(c, false);
    }
}

static void test_the_clusters_own_limit_is_the_one_that_counts(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    load(rig, "endpoint_drain_timeout 1h;", LIMIT ONE);
    c = client(rig, POST "hello");
    load(rig, "endpoint_drain_timeout 1h;", LIMIT TWO);
    pass_drain(rig, 0);
    expect_503(rig, c);
}

static void test_a_cluster_that_goes_leaves_its_limit(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    load(rig, "endpoint_drain_timeout 1h;", LIMIT ONE);
    c = client(rig, POST "hello");
    assert_int_equal(cn_rig_load(rig, "cluster none { }", NULL), CN_OK);
    pass_drain(rig, 0);
    expect_503(rig, c);
}

static void test_another_reload_does_not_begin_anew(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, POST "hello");

    load(rig, LIMIT, TWO);
    cn_rig_pass(rig, DRAIN / 2);
    load(rig, "endpoint_drain_timeout 1h;", TWO "connect_timeout 1s;");
    load(rig, LIMIT, OTHER);
    cn_rig_pass(rig, DRAIN / 2 + 1000);
    expect_503(rig, c);
}

static void test_a_host_that_comes_back_goes_on(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, POST "hello");

    load(rig, LIMIT, TWO);
    load(rig, LIMIT, TWO ONE);
    cn_rig_pass(rig, DRAIN * 2);
    assert_int_equal(rig->nlog, 0);
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 OK");
    assert_int_equal(cn_upool_idle(rig->w.upool), 1); /* and can serve again */
    cn_stream_close(c, false);
}

static void test_another_identity_that_comes_instead_is_another_host(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, POST "hello");

    load(rig, LIMIT, TWO);
    load(rig, LIMIT, TWO OTHER);
    pass_drain(rig, 0);
    expect_503(rig, c);
}

static void test_a_host_that_is_not_ready_has_left(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *idle = client(rig, GET), *c;

    cn_rig_send(rig, rig->host[0], OK);
    cn_rig_recv(rig, idle);
    assert_int_equal(cn_upool_idle(rig->w.upool), 1);
    rig->nlog = 0;
    cn_stream_close(idle, false);
    c = client(rig, POST "hello");
    assert_int_equal(rig->nhost, 1);
    idle = client(rig, GET);
    cn_rig_send(rig, rig->host[1], OK);
    assert_int_equal(cn_upool_idle(rig->w.upool), 1);
    rig->nlog = 0;
    load(rig, LIMIT,
         "endpoint 10.1.0.1:80 tunnel=hbone identity=spiffe://t/ns/a/sa/one "
         "health=unhealthy; " TWO);
    assert_int_equal(cn_upool_idle(rig->w.upool), 0); /* pooled ones are retired at once */
    assert_int_equal(rig->retired, 1);
    assert_true(cn_memstream_peer_closed(rig->host[1]));
    pass_drain(rig, 0);
    expect_503(rig, c);
    cn_stream_close(idle, false);
}

/* An answer that leaves out an address says nothing of it. */
static void test_a_host_that_a_name_service_named_has_no_limit(void **state)
{
    cn_rig_t *rig = *state;
    cn_cluster_t *c;
    cn_stream_t *s;

    load(rig, LIMIT, "");
    rig->retired = 0;
    c = cn_clusters_find(rig->w.clusters, CN_STR("web"));
    cn_clusters_set_resolved(rig->w.clusters, c, CN_STR("10.1.0.7:80 tunnel=hbone"));
    s = client(rig, POST "hello");
    assert_string_equal(rig->target[0], "10.1.0.7:80");
    cn_clusters_set_resolved(rig->w.clusters, c, CN_STR("10.1.0.8:80 tunnel=hbone"));
    assert_int_equal(rig->retired, 1);
    cn_rig_pass(rig, DRAIN * 2);
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, s), "HTTP/1.1 200 OK");
    cn_stream_close(s, false);
}

/* Sessions go on there, and so does what runs. */
static void test_a_host_that_drains_has_not_left(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, POST "hello");

    load(rig, LIMIT,
         "endpoint 10.1.0.1:80 tunnel=hbone identity=spiffe://t/ns/a/sa/one "
         "health=draining; ");
    cn_rig_pass(rig, DRAIN * 2);
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 OK");
    cn_stream_close(c, false);
}

static void test_a_connection_of_a_host_that_left_serves_nobody_else(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, GET);

    load(rig, LIMIT,
         "endpoint 10.1.0.1:80 tunnel=hbone identity=spiffe://t/ns/a/sa/one "
         "health=unhealthy; ");
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 OK");
    assert_int_equal(cn_upool_idle(rig->w.upool), 0);
    assert_true(cn_memstream_peer_closed(rig->host[0]));
    cn_stream_close(c, false);
}

static void test_many_that_leave_have_each_their_time(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *first = client(rig, POST "hello"), *second;

    load(rig, LIMIT, TWO);
    second = client(rig, POST "hello");
    assert_string_equal(rig->target[1], "10.1.0.2:80");
    cn_rig_pass(rig, DRAIN / 2);
    load(rig, LIMIT, OTHER);
    cn_rig_pass(rig, DRAIN / 2 + 1000);
    assert_true(cn_memstream_peer_closed(rig->host[0]));
    assert_false(cn_memstream_peer_closed(rig->host[1]));
    assert_int_equal(rig->nlog, 1);
    cn_rig_pass(rig, DRAIN);
    assert_true(cn_memstream_peer_closed(rig->host[1]));
    assert_int_equal(rig->nlog, 2);
    cn_stream_close(first, false);
    cn_stream_close(second, false);
}

/* A timer counts only the time in which the process could run. */
static void test_who_is_due_first_is_first_although_the_process_was_stopped(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *first = client(rig, POST "hello"), *second;

    rig->loop->lost_ms = 10000;
    load(rig, "endpoint_drain_timeout 4s; ", TWO);
    second = client(rig, POST "hello");
    load(rig, "endpoint_drain_timeout 1s; ", OTHER);
    cn_rig_pass(rig, 1500);
    assert_true(cn_memstream_peer_closed(rig->host[1]));
    assert_false(cn_memstream_peer_closed(rig->host[0]));
    cn_rig_pass(rig, 3000);
    assert_true(cn_memstream_peer_closed(rig->host[0]));
    cn_stream_close(first, false);
    cn_stream_close(second, false);
}

/* ---- connections that are not HTTP ---- */

static void test_a_relay_is_cut(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.2:80", NULL);

    cn_rig_send(rig, c, "select");
    load(rig, LIMIT, TWO);
    pass_drain(rig, 0);
    assert_true(cn_memstream_peer_closed(c));
    expect_logged(rig, 0);
    cn_stream_close(c, true);
}

static void test_a_connection_that_is_not_made_goes_elsewhere(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->connecting = true;
    c = cn_rig_open(rig, "10.0.0.2:80", NULL);
    rig->connecting = false;
    load(rig, LIMIT, TWO);
    pass_drain(rig, 0);
    assert_string_equal(rig->target[1], "10.1.0.2:80");
    cn_rig_send(rig, c, "select");
    assert_string_equal(cn_rig_recv(rig, rig->host[1]), "select");
    expect_counted(rig);
    cn_stream_close(c, false);
}

static void test_a_connection_that_is_not_made_and_has_nowhere_to_go_is_cut(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->connecting = true;
    c = cn_rig_open(rig, "10.0.0.2:80", NULL);
    load(rig, LIMIT, "");
    pass_drain(rig, 0);
    assert_true(cn_memstream_peer_closed(c));
    expect_logged(rig, 0);
    cn_stream_close(c, true);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_request_that_may_have_been_acted_on_is_503),
        T(test_a_request_that_is_still_being_sent_is_503),
        T(test_an_idempotent_request_goes_elsewhere),
        T(test_an_idempotent_request_that_has_nowhere_to_go_is_503),
        T(test_a_request_that_was_not_sent_goes_elsewhere),
        T(test_a_policy_that_lists_resets_tries_again),
        T(test_a_response_that_has_begun_is_broken_off),
        T(test_a_response_that_is_complete_is_delivered),
        T(test_a_websocket_is_broken_off),
        T(test_without_a_limit_it_goes_on),
        T(test_the_clusters_own_limit_is_the_one_that_counts),
        T(test_a_cluster_that_goes_leaves_its_limit),
        T(test_another_reload_does_not_begin_anew),
        T(test_a_host_that_comes_back_goes_on),
        T(test_another_identity_that_comes_instead_is_another_host),
        T(test_a_host_that_is_not_ready_has_left),
        T(test_a_host_that_a_name_service_named_has_no_limit),
        T(test_a_host_that_drains_has_not_left),
        T(test_a_connection_of_a_host_that_left_serves_nobody_else),
        T(test_many_that_leave_have_each_their_time),
        T(test_who_is_due_first_is_first_although_the_process_was_stopped),
        T(test_a_relay_is_cut),
        T(test_a_connection_that_is_not_made_goes_elsewhere),
        T(test_a_connection_that_is_not_made_and_has_nowhere_to_go_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
