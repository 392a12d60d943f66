/* SPDX-License-Identifier: Apache-2.0
 * Requests of our own: what they send, how they end, who frees them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fixture/owner.h"
#include "expect.h"
#include "proxy/call.h"

#define CONF                                                                                       \
    "cluster web { endpoint 10.1.0.1:80 tunnel=hbone; endpoint 10.1.0.2:80 tunnel=hbone; }"        \
    "cluster none { endpoint 10.1.0.1:80 tunnel=hbone health=unhealthy; }"

#define OK "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-y: z\r\n\r\nhi"

typedef struct {
    cn_task_t task;
    uint32_t why;
    unsigned runs;
} waiter_t;

static void waiter_run(cn_task_t *task, uint32_t why)
{
    waiter_t *waiter = cn_container_of(task, waiter_t, task);

    waiter->why |= why;
    waiter->runs++;
}

static int setup(void **state)
{
    cn_rig_setup(state);
    assert_int_equal(cn_rig_load(*state, CONF, NULL), CN_OK);
    return 0;
}

static cn_msg_t request(cn_rig_t *rig, const char *method)
{
    cn_msg_t msg;

    cn_msg_init(&msg, rig->pool);
    msg.method = cn_str_c(method);
    msg.authority = CN_STR("limits.example");
    msg.target = CN_STR("/check?a=b");
    cn_msg_add(&msg, &msg.headers, CN_STR("x-who"), CN_STR("me"));
    return msg;
}

/* With whatever the test has set in conf. */
static cn_call_t *start(cn_rig_t *rig, waiter_t *waiter, cn_call_conf_t conf, const char *body)
{
    cn_msg_t msg = request(rig, body ? "POST" : "GET");
    cn_chain_t chain = {0};
    cn_call_t *call;

    if (body)
        cn_chain_puts(&chain, cn_str_c(body));
    if (waiter)
        cn_task_init(&waiter->task, rig->loop, waiter_run);
    if (!conf.cluster.n)
        conf.cluster = CN_STR("web");
    if (!conf.max_body)
        conf.max_body = 1024;
    conf.msg = &msg;
    conf.body = &chain;
    conf.owner = waiter ? &waiter->task : NULL;
    conf.why = CN_WAKE_USER << 4;
    call = cn_call_start(&rig->w, &conf);
    assert_int_equal(chain.bytes, 0);
    cn_chain_clear(&chain);
    cn_rig_settle(rig);
    return call;
}

static cn_host_t *host_of(cn_rig_t *rig, unsigned i)
{
    return cn_clusters_find(rig->w.clusters, CN_STR("web"))->hosts[i];
}

static void expect_failed(cn_rig_t *rig, cn_call_t *call, cn_call_cause cause)
{
    assert_int_equal(cn_call_result(call), CN_ERR);
    assert_int_equal(cn_call_failure(call), cause);
    assert_int_equal(host_of(rig, 0)->active + host_of(rig, 1)->active, 0);
}

static void hang_up(cn_rig_t *rig, unsigned host)
{
    cn_stream_close(rig->host[host], false);
    rig->host[host] = NULL;
    cn_rig_settle(rig);
}

/* ---- what is sent and received ---- */

static void test_a_call_gives_head_body_and_wakes_its_owner(void **state)
{
    cn_rig_t *rig = *state;
    waiter_t waiter = {0};
    cn_call_t *call = start(rig, &waiter, (cn_call_conf_t){0}, NULL);

    assert_int_equal(cn_call_result(call), CN_AGAIN);
    assert_null(cn_call_response(call));
    assert_int_equal(host_of(rig, 0)->active, 1);
    assert_ptr_equal(cn_call_host(call), host_of(rig, 0));
    assert_string_equal(cn_rig_recv(rig, rig->host[0]),
                        "GET /check?a=b HTTP/1.1\r\nhost: limits.example\r\nx-who: me\r\n\r\n");
    cn_rig_send(rig, rig->host[0], OK);
    assert_int_equal(cn_call_result(call), CN_OK);
    assert_int_equal(waiter.why, CN_WAKE_USER << 4);
    assert_int_equal(cn_call_response(call)->status, 200);
    assert_non_null(cn_msg_find(&cn_call_response(call)->headers, CN_STR("x-y"), NULL));
    assert_string_equal(cn_owner_text(rig->pool, cn_call_body(call)), "hi");
    assert_int_equal(host_of(rig, 0)->active, 0);
    assert_int_equal(cn_upool_idle(rig->w.upool), 1);
    cn_call_close(call);
}

static void test_a_body_is_sent_with_its_length(void **state)
{
    cn_rig_t *rig = *state;
    waiter_t waiter = {0};
    cn_call_t *call = start(rig, &waiter, (cn_call_conf_t){0}, "hello");

    assert_has(cn_rig_recv(rig, rig->host[0]), "content-length: 5\r\n\r\nhello");
    cn_rig_send(rig, rig->host[0], OK);
    assert_int_equal(cn_call_result(call), CN_OK);
    cn_call_close(call);
}

static void test_a_body_may_come_in_pieces(void **state)
{
    cn_rig_t *rig = *state;
    waiter_t waiter = {0};
    cn_call_t *call = start(rig, &waiter, (cn_call_conf_t){.more = true}, "ab");
    cn_chain_t more = {0};
    unsigned runs = waiter.runs;

    assert_has(cn_rig_recv(rig, rig->host[0]), "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n");
    assert_true(runs > 0); /* all was taken: more may come */
    cn_chain_puts(&more, CN_STR("cde"));
    cn_call_send(call, &more, true);
    assert_int_equal(more.bytes, 0);
    assert_string_equal(cn_rig_recv(rig, rig->host[0]), "3\r\ncde\r\n0\r\n\r\n");
    cn_rig_send(rig, rig->host[0], OK);
    assert_int_equal(cn_call_result(call), CN_OK);
    cn_call_close(call);
    cn_chain_clear(&more);
}

static void test_informational_responses_are_passed_over(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call = start(rig, NULL, (cn_call_conf_t){0}, NULL);

    cn_rig_send(rig, rig->host[0], "HTTP/1.1 103 Early\r\n\r\n" OK);
    assert_int_equal(cn_call_response(call)->status, 200);
    cn_call_close(call);
}

/* ---- bounds ---- */

static void test_a_response_beyond_its_bound_fails(void **state)
{
    cn_rig_t *rig = *state;
    waiter_t waiter = {0};
    cn_call_t *call = start(rig, &waiter, (cn_call_conf_t){.max_body = 4}, NULL);

    cn_rig_send(rig, rig->host[0], "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1234");
    assert_int_equal(cn_call_result(call), CN_AGAIN);
    cn_rig_send(rig, rig->host[0], "5");
    expect_failed(rig, call, CN_CALL_TOO_LARGE);
    cn_call_close(call);
}

static void test_a_discarded_response_may_be_large(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call = start(rig, NULL, (cn_call_conf_t){.max_body = 1, .discard = true}, NULL);

    cn_rig_send(rig, rig->host[0], OK);
    assert_int_equal(cn_call_result(call), CN_OK);
    assert_int_equal(cn_call_body(call)->bytes, 0);
    cn_call_close(call);
}

static void test_a_call_that_lasts_too_long_times_out(void **state)
{
    cn_rig_t *rig = *state;
    waiter_t waiter = {0};
    cn_call_t *call = start(rig, &waiter, (cn_call_conf_t){.timeout_ms = 60000}, NULL);

    cn_rig_pass(rig, 40000);
    assert_int_equal(cn_call_result(call), CN_AGAIN);
    cn_rig_pass(rig, 40000);
    expect_failed(rig, call, CN_CALL_TIMEOUT);
    assert_int_equal(waiter.why, CN_WAKE_USER << 4);
    cn_rig_settle(rig);
    assert_true(cn_memstream_peer_closed(rig->host[0]));
    cn_call_close(call);
}

static void test_the_timeout_ends_with_the_response(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call = start(rig, NULL, (cn_call_conf_t){.timeout_ms = 60000}, NULL);

    cn_rig_send(rig, rig->host[0], OK);
    cn_rig_pass(rig, 70000);
    assert_int_equal(cn_call_result(call), CN_OK);
    cn_call_close(call);
}

/* ---- failures ---- */

static void fails_at_once(cn_rig_t *rig, cn_str_t cluster, cn_call_cause cause)
{
    waiter_t waiter = {0};
    cn_call_t *call = start(rig, &waiter, (cn_call_conf_t){.cluster = cluster}, "x");

    expect_failed(rig, call, cause);
    assert_int_equal(waiter.runs, 1);
    assert_non_null(cn_call_failure_text(call));
    cn_call_close(call);
}

static void test_there_may_be_no_cluster_or_no_host(void **state)
{
    fails_at_once(*state, CN_STR("nowhere"), CN_CALL_NO_CLUSTER);
    fails_at_once(*state, CN_STR("none"), CN_CALL_NO_HOST);
}

static void test_a_host_that_cannot_be_reached_is_told_apart(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call;

    rig->connecting = true;
    call = start(rig, NULL, (cn_call_conf_t){0}, "x");
    cn_memstream_connected(rig->near[0], CN_SERR_REFUSED);
    cn_rig_settle(rig);
    expect_failed(rig, call, CN_CALL_CONNECT);
    cn_call_close(call);
}

static void test_a_host_that_hangs_up_loses_the_call(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call = start(rig, NULL, (cn_call_conf_t){.repeatable = true}, NULL);

    hang_up(rig, 0);
    expect_failed(rig, call, CN_CALL_LOST);
    assert_int_equal(rig->nhost, 1);
    cn_call_close(call);
}

static void test_garbage_is_a_protocol_error(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call = start(rig, NULL, (cn_call_conf_t){0}, NULL);

    cn_rig_send(rig, rig->host[0], "hello\r\n\r\n");
    expect_failed(rig, call, CN_CALL_PROTOCOL);
    cn_call_close(call);
}

/* ---- kept connections ---- */

static void keep_a_connection(cn_rig_t *rig)
{
    cn_call_t *call = start(rig, NULL, (cn_call_conf_t){0}, NULL);

    cn_rig_send(rig, rig->host[0], OK);
    cn_rig_recv(rig, rig->host[0]);
    cn_call_close(call);
    assert_int_equal(cn_upool_idle(rig->w.upool), 1);
}

static void test_a_repeatable_call_survives_a_kept_connection_that_closes(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call;

    keep_a_connection(rig);
    call = start(rig, NULL, (cn_call_conf_t){.repeatable = true}, "hello");
    hang_up(rig, 0);
    assert_int_equal(cn_call_result(call), CN_AGAIN);
    assert_string_equal(rig->target[1], "10.1.0.2:80");
    assert_has(cn_rig_recv(rig, rig->host[1]), "content-length: 5\r\n\r\nhello");
    cn_rig_send(rig, rig->host[1], OK);
    assert_int_equal(cn_call_result(call), CN_OK);
    cn_call_close(call);
}

static void test_another_call_does_not(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call;

    keep_a_connection(rig);
    call = start(rig, NULL, (cn_call_conf_t){0}, "hello");
    hang_up(rig, 0);
    expect_failed(rig, call, CN_CALL_LOST);
    cn_call_close(call);
}

/* ---- hosts that leave ---- */

#define LEFT                                                                                       \
    "endpoint_drain_timeout 100s; cluster web { endpoint 10.1.0.2:80 tunnel=hbone; }"              \
    "cluster none { endpoint 10.1.0.1:80 tunnel=hbone health=unhealthy; }"

static cn_call_t *start_and_leave(cn_rig_t *rig, cn_call_conf_t conf)
{
    cn_call_t *call = start(rig, NULL, conf, "hello");

    assert_string_equal(rig->target[0], "10.1.0.1:80");
    assert_int_equal(cn_rig_load(rig, LEFT, NULL), CN_OK);
    return call;
}

static void test_a_call_to_a_host_that_left_ends_when_its_time_is_over(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call = start_and_leave(rig, (cn_call_conf_t){0});

    cn_rig_pass(rig, 50000);
    assert_int_equal(cn_call_result(call), CN_AGAIN);
    cn_rig_pass(rig, 200000);
    assert_int_equal(cn_call_failure(call), CN_CALL_LOST);
    assert_true(cn_memstream_peer_closed(rig->host[0]));
    cn_call_close(call);
}

static void test_a_repeatable_call_goes_elsewhere_then(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call = start_and_leave(rig, (cn_call_conf_t){.repeatable = true});

    cn_rig_pass(rig, 200000);
    assert_int_equal(cn_call_result(call), CN_AGAIN);
    assert_string_equal(rig->target[1], "10.1.0.2:80");
    assert_has(cn_rig_recv(rig, rig->host[1]), "content-length: 5\r\n\r\nhello");
    cn_rig_send(rig, rig->host[1], OK);
    assert_int_equal(cn_call_result(call), CN_OK);
    cn_call_close(call);
}

/* ---- ends ---- */

static void test_a_call_can_be_cancelled(void **state)
{
    cn_rig_t *rig = *state;
    waiter_t waiter = {0};
    cn_call_t *call = start(rig, &waiter, (cn_call_conf_t){0}, "hello");

    cn_call_close(call);
    cn_rig_settle(rig);
    assert_true(cn_memstream_peer_closed(rig->host[0]));
    assert_int_equal(host_of(rig, 0)->active, 0);
    assert_true(cn_list_empty(&rig->w.calls));
}

static void test_a_detached_call_frees_itself(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call = start(rig, NULL, (cn_call_conf_t){.discard = true}, "hello");

    cn_call_detach(call);
    assert_false(cn_list_empty(&rig->w.calls));
    cn_rig_send(rig, rig->host[0], OK);
    assert_true(cn_list_empty(&rig->w.calls));
    assert_int_equal(cn_upool_idle(rig->w.upool), 1);
}

static void test_calls_end_with_the_worker(void **state)
{
    cn_rig_t *rig = *state;
    cn_call_t *call = start(rig, NULL, (cn_call_conf_t){0}, NULL);

    cn_call_detach(start(rig, NULL, (cn_call_conf_t){0}, NULL));
    cn_call_stop_all(&rig->w);
    expect_failed(rig, call, CN_CALL_STOPPED);
    cn_call_close(call);
    assert_true(cn_list_empty(&rig->w.calls));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_call_gives_head_body_and_wakes_its_owner),
        T(test_a_body_is_sent_with_its_length),
        T(test_a_body_may_come_in_pieces),
        T(test_informational_responses_are_passed_over),
        T(test_a_response_beyond_its_bound_fails),
        T(test_a_discarded_response_may_be_large),
        T(test_a_call_that_lasts_too_long_times_out),
        T(test_the_timeout_ends_with_the_response),
        T(test_there_may_be_no_cluster_or_no_host),
        T(test_a_host_that_cannot_be_reached_is_told_apart),
        T(test_a_host_that_hangs_up_loses_the_call),
        T(test_garbage_is_a_protocol_error),
        T(test_a_repeatable_call_survives_a_kept_connection_that_closes),
        T(test_another_call_does_not),
        T(test_a_call_to_a_host_that_left_ends_when_its_time_is_over),
        T(test_a_repeatable_call_goes_elsewhere_then),
        T(test_a_call_can_be_cancelled),
        T(test_a_detached_call_frees_itself),
        T(test_calls_end_with_the_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
