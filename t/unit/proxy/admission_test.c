/* SPDX-License-Identifier: Apache-2.0
 * The cluster's limits: what is asked for, what a refusal looks like, who waits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fixture/owner.h"
#include "expect.h"

#define CONF                                                                                       \
    "cluster web { endpoint 10.1.0.1:80 tunnel=hbone; endpoint 10.1.0.2:80 tunnel=hbone; }"        \
    "service web { address 10.0.0.1:80; protocol http; cluster web; }"                             \
    "service raw { address 10.0.0.2:80; protocol tcp; cluster web; }"

#define GET "GET /x HTTP/1.1\r\nhost: web\r\n\r\n"
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

static void expect_overflow(cn_rig_t *rig, cn_stream_t *c)
{
    const char *got = cn_rig_recv(rig, c);

    assert_starts(got, "HTTP/1.1 503 ");
    assert_has(got, "\r\nx-envoy-overloaded: true\r\n");
    assert_has(got, "\r\n\r\nupstream connect error or disconnect/reset before headers. reset "
                    "reason: overflow");
    assert_int_equal(rig->log[rig->nlog - 1].flags, CN_FLAG_UO);
    assert_string_equal(rig->log[rig->nlog - 1].details,
                        "upstream_reset_before_response_started{overflow}");
}

/* ---- what is asked for ---- */

static void test_a_request_holds_what_it_uses_and_gives_it_back(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->connecting = true;
    cn_rig_send(rig, c, GET);
    assert_int_equal(rig->granted[CN_ADMIT_REQUEST], 1);
    assert_int_equal(rig->granted[CN_ADMIT_PENDING], 1);
    assert_int_equal(rig->granted[CN_ADMIT_CONNECTION], 1);
    assert_int_equal(rig->asked[CN_ADMIT_RETRY], 0);
    cn_memstream_connected(rig->near[0], CN_SERR_NONE);
    cn_rig_settle(rig);
    assert_int_equal(rig->granted[CN_ADMIT_PENDING], 0);
    assert_int_equal(rig->granted[CN_ADMIT_REQUEST], 1);
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    assert_int_equal(rig->granted[CN_ADMIT_REQUEST], 0);
    assert_int_equal(rig->granted[CN_ADMIT_CONNECTION], 1); /* it idles */
    cn_rig_send(rig, c, GET);
    assert_int_equal(rig->asked[CN_ADMIT_PENDING], 1); /* it did not have to wait */
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    assert_int_equal(rig->granted[CN_ADMIT_CONNECTION], 0);
    assert_int_equal(rig->granted[CN_ADMIT_REQUEST], 0);
}

static void test_an_l4_connection_is_one(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *a = cn_rig_open(rig, "10.0.0.2:80", NULL), *b;

    assert_int_equal(rig->granted[CN_ADMIT_CONNECTION], 1);
    rig->limit[CN_ADMIT_CONNECTION] = 1;
    b = cn_rig_open(rig, "10.0.0.2:80", NULL);
    assert_int_equal(rig->nhost, 1);
    assert_int_equal(only_log(rig)->flags, CN_FLAG_UO);
    cn_stream_close(a, true);
    cn_rig_settle(rig);
    assert_int_equal(rig->granted[CN_ADMIT_CONNECTION], 0);
    cn_stream_close(b, true);
}

/* ---- refusals ---- */

static void test_too_many_requests_overflow(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *a = client(rig), *b = client(rig);

    rig->limit[CN_ADMIT_REQUEST] = 1;
    cn_rig_send(rig, a, GET);
    cn_rig_send(rig, b, GET);
    expect_overflow(rig, b);
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, a), "HTTP/1.1 200 ");
    cn_rig_send(rig, b, GET);
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, b), "HTTP/1.1 200 ");
    cn_stream_close(a, false);
    cn_stream_close(b, false);
}

static void test_the_second_request_of_a_cold_pool_overflows(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *a = client(rig), *b = client(rig);

    rig->limit[CN_ADMIT_PENDING] = 1;
    rig->connecting = true;
    cn_rig_send(rig, a, GET);
    cn_rig_send(rig, b, GET);
    expect_overflow(rig, b);
    cn_stream_close(a, true);
    cn_stream_close(b, false);
}

/* ---- waiting ---- */

static void test_a_request_waits_for_a_connection(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *a = client(rig), *b = client(rig);

    rig->limit[CN_ADMIT_CONNECTION] = 1;
    cn_rig_send(rig, a, GET);
    cn_rig_send(rig, b, "POST /y HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\nhello");
    assert_int_equal(rig->nhost, 1);
    assert_int_equal(rig->granted[CN_ADMIT_PENDING], 1);
    cn_rig_recv(rig, rig->host[0]);
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, a), "HTTP/1.1 200 ");
    assert_int_equal(rig->nhost, 1);
    assert_has(cn_rig_recv(rig, rig->host[0]), "\r\n\r\nhello");
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, b), "HTTP/1.1 200 ");
    assert_int_equal(rig->granted[CN_ADMIT_PENDING], 0);
    assert_true(cn_list_empty(&rig->w.admissions.waiting));
    cn_stream_close(a, false);
    cn_stream_close(b, false);
}

static void test_those_that_wait_are_bounded(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *a = client(rig), *b = client(rig), *c = client(rig);

    cn_rig_send(rig, a, GET);
    rig->limit[CN_ADMIT_CONNECTION] = rig->limit[CN_ADMIT_PENDING] = 1;
    cn_rig_send(rig, b, GET);
    cn_rig_send(rig, c, GET);
    expect_overflow(rig, c);
    cn_stream_close(a, true);
    cn_stream_close(b, true);
    cn_stream_close(c, false);
}

static void test_a_client_that_leaves_does_not_wait(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *a = client(rig), *b = client(rig);

    rig->limit[CN_ADMIT_CONNECTION] = 1;
    cn_rig_send(rig, a, GET);
    cn_rig_send(rig, b, GET);
    cn_stream_close(b, true);
    cn_rig_settle(rig);
    assert_int_equal(rig->granted[CN_ADMIT_PENDING], 0);
    assert_true(cn_list_empty(&rig->w.admissions.waiting));
    cn_stream_close(a, true);
}

/* Another worker gave one back; nobody tells us. */
static void test_it_is_asked_again_after_a_while(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *a = client(rig), *b = client(rig);

    rig->limit[CN_ADMIT_CONNECTION] = 1;
    cn_rig_send(rig, a, GET);
    cn_rig_send(rig, b, GET);
    assert_int_equal(rig->nhost, 1);
    rig->limit[CN_ADMIT_CONNECTION] = 2;
    cn_rig_pass(rig, 20);
    cn_rig_settle(rig);
    assert_int_equal(rig->nhost, 2);
    cn_stream_close(a, true);
    cn_stream_close(b, true);
}

static void test_an_idle_connection_to_another_host_makes_room(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], OK);
    cn_rig_recv(rig, c);
    rig->limit[CN_ADMIT_CONNECTION] = 1;
    cn_clusters_find(rig->w.clusters, CN_STR("web"))->hosts[0]->healthy = false;
    cn_rig_send(rig, c, GET);
    assert_int_equal(rig->nhost, 2);
    assert_string_equal(rig->target[1], "10.1.0.2:80");
    assert_true(cn_memstream_peer_closed(rig->host[0]));
    assert_int_equal(rig->granted[CN_ADMIT_CONNECTION], 1);
    cn_stream_close(c, true);
}

static void test_a_connection_that_another_worker_waits_for_is_not_kept(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->spare = true;
    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    assert_true(cn_memstream_peer_closed(rig->host[0]));
    assert_int_equal(rig->granted[CN_ADMIT_CONNECTION], 0);
    cn_stream_close(c, false);
}

static void test_who_waits_asks_other_workers_again_and_again(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->limit[CN_ADMIT_CONNECTION] = 0;
    cn_rig_send(rig, c, GET);
    assert_int_equal(rig->nwait, 1);
    cn_rig_pass(rig, 20);
    cn_rig_settle(rig);
    assert_true(rig->nwait > 1);
    assert_int_equal(rig->nhost, 0);
    cn_stream_close(c, true);
}

/* ---- reports ---- */

static void test_outcomes_are_told(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 503 x\r\ngrpc-status: 7\r\ncontent-length: 0\r\n\r\n");
    assert_int_equal(rig->noutcome, 1);
    assert_int_equal(rig->outcome[0].how, CN_OUT_RESPONSE);
    assert_int_equal(rig->outcome[0].status, 503);
    assert_int_equal(rig->outcome[0].grpc_status, 7);
    cn_rig_recv(rig, rig->host[0]);
    cn_rig_send(rig, c, "POST / HTTP/1.1\r\nhost: web\r\n\r\n");
    cn_stream_close(rig->host[0], false);
    rig->host[0] = NULL;
    cn_rig_settle(rig);
    assert_int_equal(rig->outcome[1].how, CN_OUT_RESET);
    rig->connecting = true;
    cn_rig_send(rig, c, GET);
    cn_memstream_connected(rig->near[1], CN_SERR_TIMEOUT);
    cn_rig_settle(rig);
    assert_int_equal(rig->outcome[2].how, CN_OUT_CONNECT_TIMEOUT);
    cn_stream_close(c, true);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_request_holds_what_it_uses_and_gives_it_back),
        T(test_an_l4_connection_is_one),
        T(test_too_many_requests_overflow),
        T(test_the_second_request_of_a_cold_pool_overflows),
        T(test_a_request_waits_for_a_connection),
        T(test_those_that_wait_are_bounded),
        T(test_a_client_that_leaves_does_not_wait),
        T(test_it_is_asked_again_after_a_while),
        T(test_an_idle_connection_to_another_host_makes_room),
        T(test_a_connection_that_another_worker_waits_for_is_not_kept),
        T(test_who_waits_asks_other_workers_again_and_again),
        T(test_outcomes_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
