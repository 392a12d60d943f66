/* SPDX-License-Identifier: Apache-2.0
 * How long a request, an attempt and silence may last, and what hosts are told.
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
    "service web { address 10.0.0.1:80; protocol http; cluster web; }"

#define GET "GET /x HTTP/1.1\r\nhost: web\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
/* Times are long and passed in steps that are far from them. */
#define REQUEST 100000
#define TRY 40000

static const cn_retry_policy_t resets = {.attempts = 5, .on = CN_RETRY_RESET};
static const cn_retry_policy_t none;

static cn_rig_t *rig_of(cn_req_t *req)
{
    return cn_container_of(cn_req_worker(req), cn_rig_t, w);
}

static cn_rc limit_request(cn_req_t *req)
{
    cn_req_set_retry(req, rig_of(req)->policy);
    cn_req_set_timeouts(req, REQUEST, 0, 0);
    return CN_OK;
}

static cn_rc limit_try(cn_req_t *req)
{
    cn_req_set_retry(req, rig_of(req)->policy);
    cn_req_set_timeouts(req, 0, TRY, 0);
    return CN_OK;
}

static cn_rc limit_both(cn_req_t *req)
{
    cn_req_set_retry(req, rig_of(req)->policy);
    cn_req_set_timeouts(req, REQUEST, TRY, 0);
    return CN_OK;
}

static cn_rc limit_silence(cn_req_t *req)
{
    cn_req_set_retry(req, &none);
    cn_req_set_timeouts(req, 0, 0, TRY);
    return CN_OK;
}

static int setup(void **state)
{
    cn_rig_t *rig;

    cn_rig_setup(state);
    rig = *state;
    assert_int_equal(cn_rig_load(rig, CONF, NULL), CN_OK);
    rig->policy = &resets;
    return 0;
}

static cn_stream_t *client(cn_rig_t *rig, cn_rig_hook_fn *hook, const char *request)
{
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.1:80", NULL);

    rig->hook[0][CN_PH_POLICY] = hook;
    cn_rig_send(rig, c, request);
    return c;
}

static void expect_504(cn_rig_t *rig, cn_stream_t *c, uint32_t flags, const char *details)
{
    const char *got = cn_rig_recv(rig, c);

    assert_starts(got, "HTTP/1.1 504 ");
    assert_has(got, "\r\n\r\nupstream request timeout");
    assert_int_equal(only_log(rig)->flags, flags);
    assert_string_equal(rig->log[0].details, details);
    for (unsigned k = 0; k < CN_ADMIT_CONNECTION; k++)
        assert_int_equal(rig->granted[k], 0);
    cn_stream_close(c, false);
}

/* ---- the request's time ---- */

static void test_a_request_that_takes_too_long_is_504_ut(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, limit_request, GET);

    cn_rig_pass(rig, REQUEST / 2);
    assert_int_equal(rig->nlog, 0);
    cn_rig_pass(rig, REQUEST);
    expect_504(rig, c, CN_FLAG_UT, "response_timeout");
    assert_true(cn_memstream_peer_closed(rig->host[0]));
    assert_int_equal(rig->outcome[0].how, CN_OUT_TIMEOUT);
}

static void test_it_counts_from_the_complete_request(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c =
        client(rig, limit_request, "POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\nhe");

    cn_rig_pass(rig, REQUEST * 2);
    assert_int_equal(rig->nlog, 0);
    cn_rig_send(rig, c, "llo");
    cn_rig_pass(rig, REQUEST / 2);
    assert_int_equal(rig->nlog, 0);
    cn_rig_pass(rig, REQUEST);
    expect_504(rig, c, CN_FLAG_UT, "response_timeout");
}

static void test_it_covers_attempts_and_back_offs(void **state)
{
    static const cn_retry_policy_t slow = {
        .attempts = 5, .on = CN_RETRY_RESET, .backoff_ms = 100000000, .backoff_max_ms = 100000000};
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->policy = &slow;
    cn_rand_init(&rig->w.rand, 5);
    c = client(rig, limit_request, GET);
    cn_stream_close(rig->host[0], false);
    rig->host[0] = NULL;
    cn_rig_settle(rig);
    assert_int_equal(rig->nhost, 1);
    cn_rig_pass(rig, REQUEST * 2);
    expect_504(rig, c, CN_FLAG_UT, "response_timeout");
}

static void test_a_response_that_has_begun_is_broken_off(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, limit_request, GET);

    cn_rig_send(rig, rig->host[0], "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
    cn_rig_pass(rig, REQUEST * 2);
    assert_has(cn_rig_recv(rig, c), "\r\n\r\nhalf");
    assert_true(cn_memstream_peer_shut(c));
    assert_int_equal(only_log(rig)->flags, CN_FLAG_UT);
    assert_int_equal(only_log(rig)->status, 200);
    assert_string_equal(only_log(rig)->details, "response_timeout");
    cn_stream_close(c, false);
}

static void test_a_response_in_time_is_not_touched(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, limit_both, GET);

    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    cn_rig_pass(rig, REQUEST * 2);
    assert_int_equal(only_log(rig)->flags, 0);
    cn_stream_close(c, false);
}

/* ---- an attempt's time ---- */

static void test_attempts_that_take_too_long_follow_each_other(void **state)
{
    static const cn_retry_policy_t one = {.attempts = 1, .on = CN_RETRY_RESET};
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->policy = &one;
    c = client(rig, limit_try, GET);
    cn_rig_pass(rig, TRY * 2);
    cn_rig_pass(rig, 1);
    assert_int_equal(rig->nhost, 2);
    cn_rig_pass(rig, TRY * 2);
    expect_504(rig, c, CN_FLAG_UT | CN_FLAG_URX, "upstream_per_try_timeout");
    assert_int_equal(rig->log[0].attempts, 2);
}

static void test_a_response_head_ends_the_attempts_time(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, limit_try, GET);

    cn_rig_send(rig, rig->host[0], "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha");
    cn_rig_pass(rig, TRY * 2);
    cn_rig_send(rig, rig->host[0], "lf");
    assert_has(cn_rig_recv(rig, c), "half");
    assert_int_equal(only_log(rig)->flags, 0);
    cn_stream_close(c, false);
}

/* ---- silence ---- */

static void test_silence_is_504_si(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, limit_silence, GET);

    cn_rig_pass(rig, TRY * 2);
    assert_has(cn_rig_recv(rig, c), "\r\n\r\nstream timeout");
    assert_int_equal(only_log(rig)->flags, CN_FLAG_SI);
    cn_stream_close(c, false);
}

/* No module has set anything. */
static void test_silence_has_a_limit_by_default(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, NULL, GET);

    cn_rig_pass(rig, CN_REQ_IDLE_MS - 1000);
    assert_int_equal(rig->nlog, 0);
    cn_rig_pass(rig, 2000);
    assert_has(cn_rig_recv(rig, c), "\r\n\r\nstream timeout");
    assert_int_equal(only_log(rig)->flags, CN_FLAG_SI);
    cn_stream_close(c, false);
}

static void test_bytes_are_no_silence(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, limit_silence, GET);

    cn_rig_send(rig, rig->host[0], "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
    for (unsigned i = 0; i < 8; i++) {
        cn_rig_send(rig, rig->host[0], "x");
        cn_rig_pass(rig, TRY * 3 / 4);
    }
    assert_int_equal(rig->nlog, 0);
    cn_rig_pass(rig, TRY * 2);
    cn_rig_pass(rig, TRY * 2);
    assert_int_equal(only_log(rig)->flags, CN_FLAG_SI);
    cn_stream_close(c, false);
}

/* ---- what hosts are told ---- */

static const char *told(cn_rig_t *rig, cn_rig_hook_fn *hook, const char *more)
{
    cn_stream_t *c = client(
        rig, hook,
        cn_pool_cstr(rig->pool,
                     cn_pool_printf(rig->pool, "POST /x HTTP/1.1\r\nhost: web\r\n%s\r\n", more)));
    const char *got = cn_rig_recv(rig, rig->host[rig->nhost - 1]);

    cn_stream_close(c, true);
    cn_rig_settle(rig);
    return got;
}

#define GRPC "content-type: application/grpc\r\n"

static void test_the_smaller_limit_is_told(void **state)
{
    assert_has(told(*state, limit_request, ""), "x-envoy-expected-rq-timeout-ms: 100000\r\n");
    assert_has(told(*state, limit_both, ""), "x-envoy-expected-rq-timeout-ms: 40000\r\n");
    assert_lacks(told(*state, limit_silence, ""), "x-envoy-expected");
    assert_lacks(told(*state, limit_request, "x-envoy-expected-rq-timeout-ms: 7\r\n"), ": 7\r\n");
}

static void test_a_grpc_deadline_is_passed_on_and_never_grows(void **state)
{
    assert_has(told(*state, limit_request, GRPC "grpc-timeout: 50S\r\n"), "grpc-timeout: 50S\r\n");
    assert_has(told(*state, limit_request, GRPC "grpc-timeout: 2M\r\n"),
               "grpc-timeout: 100000m\r\n");
    assert_has(told(*state, limit_request, GRPC), "grpc-timeout: 100000m\r\n");
    assert_lacks(told(*state, NULL, GRPC), "grpc-timeout");
}

static void on_wake(cn_task_t *task CN_UNUSED, uint32_t why CN_UNUSED)
{
}

static uint64_t limit_of(cn_rig_t *rig, const char *grpc_timeout)
{
    cn_req_t req = {.w = &rig->w, .f.grpc = true};

    cn_task_init(&req.task, rig->loop, on_wake);
    cn_timer_init(&req.idle, &req.task, CN_RQ_WAKE_IDLE);
    cn_msg_init(&req.msg, rig->pool);
    cn_msg_add(&req.msg, &req.msg.headers, CN_STR("grpc-timeout"), cn_str_c(grpc_timeout));
    cn_timeout_init(&req);
    cn_timeout_begin(&req);
    cn_timeout_fini(&req);
    cn_timer_stop(&req.idle);
    cn_task_fini(&req.task);
    return req.times.request_ms;
}

static void test_grpc_timeouts_are_read_by_their_unit(void **state)
{
    static const struct {
        const char *sent;
        uint64_t ms; /* 0: not a time, no limit */
    } v[] = {{"1H", 3600000}, {"2M", 120000}, {"3S", 3000}, {"4m", 4},
             {"5u", 1},       {"1001u", 2},   {"1n", 1},    {"99999999H", 359999996400000},
             {"1", 0},        {"S", 0},       {"1x", 0},    {"-1S", 0},
             {"1 S", 0},      {"", 0},        {"0S", 0},    {"999999999S", 0}};

    for (size_t i = 0; i < CN_COUNT(v); i++)
        if (limit_of(*state, v[i].sent) != v[i].ms)
            fail_msg("%s", v[i].sent);
}

static void test_a_grpc_deadline_counts_from_the_head(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig, NULL,
                            "POST /x HTTP/1.1\r\nhost: web\r\n" GRPC "grpc-timeout: 100S\r\n"
                            "content-length: 9\r\n\r\nhe");
    const char *got;

    cn_rig_pass(rig, 200000);
    got = cn_rig_recv(rig, c);
    assert_has(got, "grpc-status: 14\r\n");
    assert_has(got, "grpc-message: upstream request timeout\r\n");
    assert_int_equal(only_log(rig)->flags, CN_FLAG_UT);
    cn_stream_close(c, false);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_request_that_takes_too_long_is_504_ut),
        T(test_it_counts_from_the_complete_request),
        T(test_it_covers_attempts_and_back_offs),
        T(test_a_response_that_has_begun_is_broken_off),
        T(test_a_response_in_time_is_not_touched),
        T(test_attempts_that_take_too_long_follow_each_other),
        T(test_a_response_head_ends_the_attempts_time),
        T(test_silence_is_504_si),
        T(test_silence_has_a_limit_by_default),
        T(test_bytes_are_no_silence),
        T(test_the_smaller_limit_is_told),
        T(test_a_grpc_deadline_is_passed_on_and_never_grows),
        T(test_grpc_timeouts_are_read_by_their_unit),
        T(test_a_grpc_deadline_counts_from_the_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
