/* SPDX-License-Identifier: Apache-2.0
 *
 * What is tried again: each cause by each word of a policy, each method and size
 * of body; back-off, replay, limits, and what the client sees in the end.
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
#define TEXT "upstream connect error or disconnect/reset before headers. "

static cn_rc use_policy(cn_req_t *req)
{
    cn_req_set_retry(req, ((cn_rig_t *)cn_container_of(cn_req_worker(req), cn_rig_t, w))->policy);
    return CN_OK;
}

static int setup(void **state)
{
    cn_rig_t *rig;

    cn_rig_setup(state);
    rig = *state;
    assert_int_equal(cn_rig_load(rig, CONF, NULL), CN_OK);
    rig->policy = &cn_retry_default;
    rig->hook[0][CN_PH_POLICY] = use_policy;
    return 0;
}

static cn_stream_t *client(cn_rig_t *rig)
{
    return cn_rig_open(rig, "10.0.0.1:80", NULL);
}

/* ---- causes ---- */

typedef enum {
    REFUSED,
    UNPROCESSED,
    CLOSED,
    BROKEN,
    S429,
    S409,
    S500,
    S503,
    LIMITED,
    TRY_AGAIN,
    GRPC_1,
    GRPC_4,
    GRPC_8,
    GRPC_13,
    GRPC_14,
    GRPC_7,
    CAUSES
} cause_t;

static const char *const answers[CAUSES] = {
    [BROKEN] = "HTTP/1.1 200 OK\r\nconte",
    [S429] = "HTTP/1.1 429 x\r\ncontent-length: 0\r\n\r\n",
    [S409] = "HTTP/1.1 409 x\r\ncontent-length: 0\r\n\r\n",
    [S500] = "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
    [S503] = "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n",
    [LIMITED] = "HTTP/1.1 503 x\r\nx-envoy-ratelimited: true\r\ncontent-length: 0\r\n\r\n",
    [TRY_AGAIN] = "HTTP/1.1 200 x\r\nx-try-again: 1\r\ncontent-length: 0\r\n\r\n",
    [GRPC_1] = "HTTP/1.1 200 x\r\ngrpc-status: 1\r\ncontent-length: 0\r\n\r\n",
    [GRPC_4] = "HTTP/1.1 200 x\r\ngrpc-status: 4\r\ncontent-length: 0\r\n\r\n",
    [GRPC_8] = "HTTP/1.1 200 x\r\ngrpc-status: 8\r\ncontent-length: 0\r\n\r\n",
    [GRPC_13] = "HTTP/1.1 200 x\r\ngrpc-status: 13\r\ncontent-length: 0\r\n\r\n",
    [GRPC_14] = "HTTP/1.1 200 x\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n",
    [GRPC_7] = "HTTP/1.1 200 x\r\ngrpc-status: 7\r\ncontent-length: 0\r\n\r\n"};

/* The connection that was opened last fails so. */
static void go_wrong(cn_rig_t *rig, cause_t cause)
{
    unsigned last = rig->nhost - 1;

    if (cause == REFUSED || cause == UNPROCESSED) {
        cn_memstream_connected(rig->near[last],
                               cause == REFUSED ? CN_SERR_REFUSED : CN_SERR_UNPROCESSED);
    } else {
        if (answers[cause])
            cn_owner_write(rig->host[last], answers[cause]);
        if (cause == CLOSED || cause == BROKEN) {
            cn_stream_close(rig->host[last], false);
            rig->host[last] = NULL;
        }
    }
    cn_rig_settle(rig);
}

/* Lets any back-off pass. */
static void wait_out(cn_rig_t *rig)
{
    cn_rig_pass(rig, 1000);
    cn_rig_settle(rig);
}

typedef struct {
    uint32_t on;
    uint32_t causes; /* bits of those that are tried again */
} row_t;

#define C(cause) (1u << (cause))
#define RESETS (C(REFUSED) | C(UNPROCESSED) | C(CLOSED) | C(BROKEN))

static const row_t table[] = {
    {0, 0},
    {CN_RETRY_5XX, RESETS | C(S500) | C(S503)},
    {CN_RETRY_GATEWAY_ERROR, RESETS | C(S503)},
    {CN_RETRY_RESET, RESETS},
    {CN_RETRY_RESET_BEFORE_REQUEST, C(REFUSED)},
    {CN_RETRY_CONNECT_FAILURE, C(REFUSED) | C(UNPROCESSED)},
    {CN_RETRY_REFUSED_STREAM, C(UNPROCESSED)},
    {CN_RETRY_ENVOY_RATELIMITED, C(LIMITED)},
    {CN_RETRY_RETRIABLE_4XX, C(S409)},
    {CN_RETRY_STATUS_CODES, C(S429) | C(S500)},
    {CN_RETRY_HEADERS, C(TRY_AGAIN)},
    {CN_RETRY_CANCELLED, C(GRPC_1)},
    {CN_RETRY_DEADLINE_EXCEEDED, C(GRPC_4)},
    {CN_RETRY_RESOURCE_EXHAUSTED, C(GRPC_8)},
    {CN_RETRY_INTERNAL, C(GRPC_13)},
    {CN_RETRY_UNAVAILABLE, C(GRPC_14)},
    {CN_RETRY_CONNECT_FAILURE | CN_RETRY_REFUSED_STREAM | CN_RETRY_UNAVAILABLE | CN_RETRY_CANCELLED,
     C(REFUSED) | C(UNPROCESSED) | C(GRPC_1) | C(GRPC_14)},
};

static const char *const requests[] = {
    GET, "DELETE /x HTTP/1.1\r\nhost: web\r\n\r\n",
    "POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\nhello",
    "PUT /x HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "PATCH /x HTTP/1.1\r\nhost: web\r\ncontent-length: 0\r\n\r\n"};

/* One request that fails first; true: it was sent again, and the same. */
static bool is_tried_again(cn_rig_t *rig, const char *request, cause_t cause)
{
    unsigned before = rig->nhost;
    cn_stream_t *c = client(rig);
    const char *first;
    bool again;

    rig->connecting = cause == REFUSED || cause == UNPROCESSED;
    cn_rig_send(rig, c, request);
    rig->connecting = false;
    first = cause == REFUSED || cause == UNPROCESSED ? NULL : cn_rig_recv(rig, rig->host[before]);
    go_wrong(rig, cause);
    wait_out(rig);
    again = rig->nhost > before + 1;
    if (again) {
        const char *second = cn_rig_recv(rig, rig->host[before + 1]);

        if (first)
            assert_string_equal(second, first);
        cn_rig_send(rig, rig->host[before + 1], OK);
        assert_has(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    }
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    return again;
}

/* Each with a rig of its own: connections would be reused. */
static void try_row(const row_t *row, cause_t cause, const char *request)
{
    static const uint16_t codes[] = {429, 500};
    static const cn_str_t headers[] = {CN_STR("x-try-again")};
    cn_retry_policy_t policy = {
        .attempts = 1, .on = row->on, .backoff_ms = 25, .backoff_max_ms = 250};
    bool expected = row->causes & C(cause);
    void *state;
    cn_rig_t *rig;

    /* what no policy lists but a host did not process is repeated all the same */
    if (cause == UNPROCESSED)
        expected = true;
    policy.codes = (cn_vec_t){(void *)(uintptr_t)codes, 2, 2};
    policy.headers = (cn_vec_t){(void *)(uintptr_t)headers, 1, 1};
    setup(&state);
    rig = state;
    rig->policy = &policy;
    if (is_tried_again(rig, request, cause) != expected)
        fail_msg("policy %x, cause %d, %.10s: expected %d", row->on, cause, request, expected);
    for (unsigned k = 0; k < CN_ADMIT_CONNECTION; k++)
        assert_int_equal(rig->granted[k], 0);
    cn_rig_teardown(&state);
}

static void test_each_cause_is_tried_again_by_its_words_for_each_method(void **state CN_UNUSED)
{
    for (size_t r = 0; r < CN_COUNT(table); r++)
        for (unsigned c = 0; c < CAUSES; c++)
            for (size_t m = 0; m < CN_COUNT(requests); m++)
                try_row(&table[r], (cause_t)c, requests[m]);
}

/* ---- bodies ---- */

static cn_stream_t *send_head(cn_rig_t *rig, size_t size)
{
    static const char head[] = "POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: %zu\r\n\r\n";
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, cn_pool_printf(rig->pool, head, size).p);
    return c;
}

static cn_stream_t *send_body(cn_rig_t *rig, cn_stream_t *c, size_t size)
{
    cn_chain_t out = {0};
    char part[4096];

    memset(part, 'b', sizeof(part));
    for (size_t left = size; left;) {
        size_t n = left < sizeof(part) ? left : sizeof(part);

        cn_chain_copy(&out, part, n);
        left -= n;
    }
    assert_int_equal(cn_stream_write(c, &out), CN_OK);
    cn_chain_clear(&out);
    cn_rig_settle(rig);
    return c;
}

static void expect_body(cn_rig_t *rig, unsigned host, size_t size)
{
    const char *got = cn_rig_recv(rig, rig->host[host]);
    const char *body = strstr(got, "\r\n\r\n");

    assert_non_null(body);
    assert_int_equal(strlen(body + 4), size);
    assert_int_equal(strspn(body + 4, "b"), size);
}

static const cn_retry_policy_t once = {.attempts = 1, .on = CN_RETRY_5XX};

static void expect_again(cn_rig_t *rig, cn_stream_t *c, size_t size, bool again)
{
    expect_body(rig, 0, size);
    go_wrong(rig, S503);
    wait_out(rig);
    assert_int_equal(rig->nhost, again ? 2 : 1);
    if (again) {
        expect_body(rig, 1, size);
        cn_rig_send(rig, rig->host[1], OK);
        assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
        assert_int_equal(only_log(rig)->body_rx, size);
    } else {
        assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 503 ");
        assert_int_equal(only_log(rig)->flags, 0); /* silently, as behind Envoy */
    }
    cn_stream_close(c, false);
}

static void body_of(cn_rig_t *rig, size_t size, bool again)
{
    rig->policy = &once;
    expect_again(rig, send_body(rig, send_head(rig, size), size), size, again);
}

static void test_a_body_of_a_mebibyte_is_sent_again(void **state)
{
    body_of(*state, 1024 * 1024, true);
}

static void test_one_byte_more_is_not(void **state)
{
    body_of(*state, 1024 * 1024 + 1, false);
}

static void test_nothing_is_kept_when_memory_is_short(void **state)
{
    cn_rig_t *rig = *state;
    cn_proxy_conf_t *pc = (cn_proxy_conf_t *)(uintptr_t)rig->w.conf;

    rig->policy = &once;
    cn_stream_t *c = send_head(rig, 1000);
    pc->max_memory = 1;
    expect_again(rig, send_body(rig, c, 1000), 1000, false);
}

/* A large upload does not lose its retry to a host that cannot be reached. */
static void test_a_large_body_waits_for_a_host(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;

    rig->connecting = true;
    c = send_body(rig, send_head(rig, 3000000), 3000000);
    rig->connecting = false;
    go_wrong(rig, REFUSED);
    wait_out(rig);
    assert_int_equal(rig->nhost, 2);
    expect_body(rig, 1, 3000000);
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    cn_stream_close(c, false);
}

static void test_a_body_that_is_not_complete_goes_on_after_the_retry(void **state)
{
    static const cn_retry_policy_t policy = {.attempts = 1, .on = CN_RETRY_5XX};
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->policy = &policy;
    cn_rig_send(rig, c, "POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: 9\r\n\r\nabc");
    go_wrong(rig, S503);
    cn_rig_send(rig, c, "def"); /* during the back-off, perhaps */
    wait_out(rig);
    assert_has(cn_rig_recv(rig, rig->host[1]), "\r\n\r\nabcdef");
    cn_rig_send(rig, c, "ghi");
    assert_string_equal(cn_rig_recv(rig, rig->host[1]), "ghi");
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    cn_stream_close(c, false);
}

/* ---- hosts ---- */

static void test_a_retry_goes_to_another_host(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->connecting = true;
    cn_rig_send(rig, c, GET);
    go_wrong(rig, REFUSED);
    wait_out(rig);
    assert_string_equal(rig->target[0], "10.1.0.1:80");
    assert_string_equal(rig->target[1], "10.1.0.2:80");
    cn_stream_close(c, true);
}

static void test_unless_it_need_not(void **state)
{
    static const cn_retry_policy_t policy = {
        .attempts = 1, .on = CN_RETRY_CONNECT_FAILURE, .keep_tried = true};
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->policy = &policy;
    rig->connecting = true;
    cn_rig_send(rig, c, GET);
    go_wrong(rig, REFUSED);
    wait_out(rig);
    assert_string_equal(rig->target[1], "10.1.0.1:80");
    cn_stream_close(c, true);
}

static void test_a_short_response_that_is_dropped_leaves_its_connection_usable(void **state)
{
    static const cn_retry_policy_t policy = {.attempts = 1, .on = CN_RETRY_5XX, .keep_tried = true};
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->policy = &policy;
    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 503 x\r\ncontent-length: 4\r\n\r\noops");
    wait_out(rig);
    assert_int_equal(rig->nhost, 1);
    cn_rig_send(rig, rig->host[0], OK);
    assert_has(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    assert_int_equal(only_log(rig)->attempts, 2);
    cn_stream_close(c, false);
}

/* ---- what the client sees ---- */

static void exhaust(cn_rig_t *rig, cn_stream_t *c, cause_t cause)
{
    rig->connecting = cause == REFUSED;
    cn_rig_send(rig, c, GET);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(rig->nhost, i + 1);
        go_wrong(rig, cause);
        wait_out(rig);
    }
    assert_int_equal(rig->nhost, 3);
    assert_int_equal(only_log(rig)->attempts, 3);
}

static void test_refused_three_times_is_503_urx_uf(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;
    char flags[64];

    exhaust(rig, c, REFUSED);
    got = cn_rig_recv(rig, c);
    assert_starts(got, "HTTP/1.1 503 ");
    assert_has(got, TEXT "retried and the latest reset reason: remote connection failure");
    cn_flags_put(flags, only_log(rig)->flags, false);
    assert_string_equal(flags, "URX,UF");
    cn_stream_close(c, false);
}

static void test_the_last_response_is_passed_with_urx(void **state)
{
    static const cn_retry_policy_t policy = {.attempts = 2, .on = CN_RETRY_5XX};
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->policy = &policy;
    cn_rig_send(rig, c, GET);
    for (unsigned i = 0; i < 3; i++) {
        unsigned at = i < 2 ? i : rig->nhost - 1;

        cn_rig_send(
            rig, rig->host[at],
            cn_pool_cstr(
                rig->pool,
                cn_pool_printf(rig->pool, "HTTP/1.1 50%u x\r\ncontent-length: 1\r\n\r\n%u", i, i)));
        wait_out(rig);
    }
    assert_has(cn_rig_recv(rig, c), "\r\n\r\n2");
    assert_int_equal(only_log(rig)->status, 502);
    assert_int_equal(only_log(rig)->flags, CN_FLAG_URX);
    assert_string_equal(only_log(rig)->details, "via_upstream");
    cn_stream_close(c, false);
}

static void test_a_success_after_a_retry_has_no_flag(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->connecting = true;
    cn_rig_send(rig, c, GET);
    rig->connecting = false;
    go_wrong(rig, REFUSED);
    wait_out(rig);
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    assert_int_equal(only_log(rig)->flags, 0);
    assert_int_equal(only_log(rig)->attempts, 2);
    cn_stream_close(c, false);
}

static void test_a_client_that_leaves_during_the_back_off_ends_it(void **state)
{
    static const cn_retry_policy_t policy = {.attempts = 1,
                                             .on = CN_RETRY_CONNECT_FAILURE,
                                             .backoff_ms = 1000000,
                                             .backoff_max_ms = 1000000};
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->policy = &policy;
    rig->connecting = true;
    cn_rig_send(rig, c, GET);
    go_wrong(rig, REFUSED);
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    assert_int_equal(only_log(rig)->flags, CN_FLAG_DC);
    assert_int_equal(rig->nhost, 1);
    assert_int_equal(rig->granted[CN_ADMIT_RETRY], 0);
}

/* ---- back-off ---- */

/* Its bound and that it is spread over all of it: 400 draws of [0, 100). */
static void test_the_back_off_is_uniform_below_its_bound(void **state)
{
    static const cn_retry_policy_t policy = {
        .attempts = 3, .on = CN_RETRY_5XX, .backoff_ms = 100, .backoff_max_ms = 1000};
    cn_rig_t *rig = *state;
    uint64_t sum = 0, most[4] = {0};
    cn_req_t req = {.w = &rig->w, .retry.policy = &policy};

    req.cluster = cn_clusters_find(rig->w.clusters, CN_STR("web"));
    cn_rand_init(&rig->w.rand, 7);
    for (unsigned i = 0; i < 400; i++) {
        req.retry.done = 0;
        for (unsigned n = 1; n <= 3; n++) {
            uint64_t ms = UINT64_MAX;

            assert_int_equal(cn_retry_decide(&req, CN_FAIL_STATUS, &ms), CN_RETRY_LATER);
            assert_true(ms < (100ull << (n - 1)));
            most[n] = ms > most[n] ? ms : most[n];
            sum += n == 1 ? ms : 0;
        }
    }
    cn_admission_return(&rig->w.admissions, &req.again);
    /* 3 sigma of the mean of 400: 100 / sqrt(12) / 20 * 3 = 4.3 */
    assert_in_range(sum / 400, 45, 54);
    assert_true(most[1] > 90 && most[2] > 180 && most[3] > 360);
}

static void test_the_back_off_has_a_maximum(void **state)
{
    static const cn_retry_policy_t policy = {
        .attempts = 100, .on = CN_RETRY_5XX, .backoff_ms = 10, .backoff_max_ms = 35};
    cn_rig_t *rig = *state;
    cn_req_t req = {.w = &rig->w, .retry.policy = &policy};
    uint64_t ms;

    req.cluster = cn_clusters_find(rig->w.clusters, CN_STR("web"));
    for (unsigned n = 0; n < 100; n++) {
        assert_int_equal(cn_retry_decide(&req, CN_FAIL_STATUS, &ms), CN_RETRY_LATER);
        assert_true(ms < 35);
    }
    assert_int_equal(cn_retry_decide(&req, CN_FAIL_STATUS, &ms), CN_RETRY_NOT);
    cn_admission_return(&rig->w.admissions, &req.again);
}

/* ---- limits ---- */

static void test_a_retry_that_the_cluster_refuses_is_flagged_uo(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->limit[CN_ADMIT_RETRY] = 0;
    rig->connecting = true;
    cn_rig_send(rig, c, GET);
    go_wrong(rig, REFUSED);
    wait_out(rig);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 503 ");
    assert_int_equal(only_log(rig)->flags, CN_FLAG_UF | CN_FLAG_UO);
    cn_stream_close(c, false);
}

static void test_a_refused_retry_passes_the_response_as_it_is(void **state)
{
    static const cn_retry_policy_t policy = {.attempts = 1, .on = CN_RETRY_5XX};
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;

    rig->policy = &policy;
    rig->limit[CN_ADMIT_RETRY] = 0;
    cn_rig_send(rig, c, GET);
    go_wrong(rig, S503);
    got = cn_rig_recv(rig, c);
    assert_starts(got, "HTTP/1.1 503 ");
    assert_lacks(got, "x-envoy-overloaded");
    assert_int_equal(only_log(rig)->flags, CN_FLAG_UO);
    assert_string_equal(only_log(rig)->details, "via_upstream");
    cn_stream_close(c, false);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_cause_is_tried_again_by_its_words_for_each_method),
        T(test_a_body_of_a_mebibyte_is_sent_again),
        T(test_one_byte_more_is_not),
        T(test_nothing_is_kept_when_memory_is_short),
        T(test_a_large_body_waits_for_a_host),
        T(test_a_body_that_is_not_complete_goes_on_after_the_retry),
        T(test_a_retry_goes_to_another_host),
        T(test_unless_it_need_not),
        T(test_a_short_response_that_is_dropped_leaves_its_connection_usable),
        T(test_refused_three_times_is_503_urx_uf),
        T(test_the_last_response_is_passed_with_urx),
        T(test_a_success_after_a_retry_has_no_flag),
        T(test_a_client_that_leaves_during_the_back_off_ends_it),
        T(test_the_back_off_is_uniform_below_its_bound),
        T(test_the_back_off_has_a_maximum),
        T(test_a_retry_that_the_cluster_refuses_is_flagged_uo),
        T(test_a_refused_retry_passes_the_response_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
