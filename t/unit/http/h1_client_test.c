/* SPDX-License-Identifier: Apache-2.0
 *
 * The client side of an HTTP/1 connection over a stream in memory: the test
 * is the server (end b) and the owner of the exchange.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../fixture/memstream.h"
#include "../fixture/owner.h"
#include "http/h1mux.h"

typedef struct {
    cn_loop_t *loop;
    cn_pool_t *pool;
    cn_stream_t *server, *near; /* server: NULL once closed */
    cn_h1_client_t *h1;
    cn_task_t idle;
    uint32_t idle_why;
    cn_owner_t owner;
} fix_t;

static void idle_run(cn_task_t *task, uint32_t why)
{
    cn_container_of(task, fix_t, idle)->idle_why |= why;
}

static void start(fix_t *f, size_t window)
{
    cn_mempair_t pair = cn_memstream_pair(f->loop, window, window);
    f->near = pair.a;
    f->server = pair.b;
    f->h1 = cn_h1_client_create(f->loop, pair.a, &f->idle);
}

static int setup(void **state)
{
    fix_t *f = cn_xzalloc(sizeof(*f));
    f->loop = cn_loop_create();
    f->pool = cn_pool_create(0);
    cn_task_init(&f->idle, f->loop, idle_run);
    cn_owner_init(&f->owner, f->loop, true);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fix_t *f = *state;
    cn_owner_fini(&f->owner);
    if (f->h1)
        cn_h1_client_destroy(f->h1);
    if (f->server)
        cn_stream_close(f->server, false);
    cn_task_fini(&f->idle);
    cn_owner_settle(f->loop);
    cn_pool_destroy(f->pool);
    cn_loop_destroy(f->loop);
    free(f);
    return 0;
}

static void open_exchange(fix_t *f)
{
    cn_owner_take(&f->owner, cn_h1_client_open(f->h1, &f->owner.task));
}

static void begin_get(fix_t *f)
{
    open_exchange(f);
    assert_int_equal(cn_owner_request(&f->owner, "GET", "/", CN_LENGTH_NONE, false), CN_OK);
    cn_owner_settle(f->loop);
}

static void server_sends(fix_t *f, const char *text)
{
    cn_owner_write(f->server, text);
    cn_owner_settle(f->loop);
}

static void server_closes(fix_t *f, bool abort)
{
    cn_stream_close(f->server, abort);
    f->server = NULL;
    cn_owner_settle(f->loop);
}

static void close_exchange(fix_t *f)
{
    cn_owner_close(&f->owner);
    cn_owner_settle(f->loop);
}

static void assert_failed(fix_t *f, cn_xerr err)
{
    assert_int_equal(f->owner.head_rc == CN_ERR || f->owner.body_rc == CN_ERR, true);
    assert_int_equal(f->owner.x->xerr, err);
    close_exchange(f);
    assert_false(cn_h1_client_usable(f->h1));
}

#define GET "GET / HTTP/1.1\r\nhost: h\r\n\r\n"
#define HI "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static void test_a_connection_carries_one_exchange_after_another(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    for (int i = 0; i < 3; i++) {
        assert_true(cn_h1_client_usable(f->h1));
        begin_get(f);
        assert_false(cn_h1_client_usable(f->h1));
        assert_int_equal(f->owner.x->reused, i > 0);
        assert_string_equal(cn_owner_drain(f->pool, f->server), GET);
        server_sends(f, HI);
        assert_int_equal(f->owner.head_rc, CN_OK);
        assert_int_equal(f->owner.msg.status, 200);
        assert_int_equal(f->owner.body_rc, CN_DONE);
        assert_string_equal(cn_owner_text(f->pool, &f->owner.body), "hi");
        assert_int_equal(f->owner.x->wire_tx, strlen(GET));
        assert_int_equal(f->owner.x->wire_rx, strlen(HI));
        close_exchange(f);
        cn_chain_clear(&f->owner.body);
    }
    assert_int_equal(f->idle_why, 0);
}

static void test_bytes_wait_until_the_stream_is_ready(void **state)
{
    fix_t *f = *state;
    cn_mempair_t pair = cn_memstream_pair(f->loop, SIZE_MAX, SIZE_MAX);
    cn_memstream_set_connecting(pair.a);
    f->near = pair.a;
    f->server = pair.b;
    f->h1 = cn_h1_client_create(f->loop, pair.a, &f->idle);
    assert_true(cn_h1_client_usable(f->h1));
    begin_get(f);
    assert_int_equal(cn_memstream_pending(f->server), 0);
    cn_memstream_connected(f->near, CN_SERR_NONE);
    cn_owner_settle(f->loop);
    assert_string_equal(cn_owner_drain(f->pool, f->server), GET);
    server_sends(f, HI);
    assert_int_equal(f->owner.body_rc, CN_DONE);
}

static void test_a_stream_that_does_not_connect_is_told_with_its_cause(void **state)
{
    fix_t *f = *state;
    cn_mempair_t pair = cn_memstream_pair(f->loop, SIZE_MAX, SIZE_MAX);
    cn_memstream_set_connecting(pair.a);
    f->near = pair.a;
    f->server = pair.b;
    f->h1 = cn_h1_client_create(f->loop, pair.a, &f->idle);
    begin_get(f);
    cn_memstream_connected(f->near, CN_SERR_REFUSED);
    cn_owner_settle(f->loop);
    assert_int_equal(f->owner.x->stream_err, CN_SERR_REFUSED);
    assert_failed(f, CN_XERR_STREAM);
}

static void test_informational_responses_come_before_the_final_one(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    server_sends(f, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n");
    assert_int_equal(f->owner.informational, 2);
    server_sends(f, HI);
    assert_int_equal(f->owner.msg.status, 200);
    close_exchange(f);
    assert_true(cn_h1_client_usable(f->h1));
}

static void test_informational_responses_without_end_are_refused(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    for (int i = 0; i < 101; i++)
        cn_owner_write(f->server, "HTTP/1.1 100 Continue\r\n\r\n");
    cn_owner_settle(f->loop);
    assert_failed(f, CN_XERR_PROTOCOL);
}

static void test_an_early_response_is_delivered_but_ends_the_reuse(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    open_exchange(f);
    assert_int_equal(cn_owner_request(&f->owner, "POST", "/", 10, true), CN_OK);
    assert_int_equal(cn_owner_send(&f->owner, "abc", false), CN_OK);
    cn_owner_settle(f->loop);
    server_sends(f, HI);
    assert_int_equal(f->owner.body_rc, CN_DONE);
    assert_int_equal(cn_owner_send(&f->owner, "defghij", true), CN_OK);
    close_exchange(f);
    assert_false(cn_h1_client_usable(f->h1));
}

static void test_the_end_of_the_stream_can_end_a_response(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    server_sends(f, "HTTP/1.1 200 OK\r\n\r\nall of it");
    assert_int_equal(f->owner.body_rc, CN_AGAIN);
    server_closes(f, false);
    assert_int_equal(f->owner.body_rc, CN_DONE);
    assert_string_equal(cn_owner_text(f->pool, &f->owner.body), "all of it");
    close_exchange(f);
    assert_false(cn_h1_client_usable(f->h1));
}

static void test_a_reused_connection_that_closes_says_that_it_was_reused(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    server_sends(f, HI);
    close_exchange(f);
    begin_get(f);
    server_closes(f, false);
    assert_true(f->owner.x->reused);
    assert_failed(f, CN_XERR_GONE);
}

static void test_a_reset_before_any_response_byte_means_gone(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    server_closes(f, true);
    assert_false(f->owner.x->reused);
    assert_int_equal(f->owner.x->stream_err, CN_SERR_RESET);
    assert_failed(f, CN_XERR_GONE);
}

static void test_an_unprocessed_request_is_told_as_such(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    cn_memstream_fail(f->near, CN_SERR_UNPROCESSED);
    cn_owner_settle(f->loop);
    assert_failed(f, CN_XERR_UNPROCESSED);
}

static void test_an_end_inside_the_response_is_a_protocol_error(void **state)
{
    static const char *const cut[] = {
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    };
    for (size_t i = 0; i < 2 * CN_COUNT(cut); i++) {
        fix_t *f = *state;
        start(f, SIZE_MAX);
        begin_get(f);
        server_sends(f, cut[i / 2]);
        server_closes(f, i % 2);
        assert_failed(f, CN_XERR_PROTOCOL);
        cn_h1_client_destroy(f->h1);
        f->h1 = NULL;
    }
}

static void test_what_came_before_a_reset_is_still_read(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    f->owner.paused = true;
    begin_get(f);
    server_sends(f, HI);
    server_closes(f, true);
    f->owner.paused = false;
    cn_task_wake(&f->owner.task, CN_WAKE_USER);
    cn_owner_settle(f->loop);
    assert_int_equal(f->owner.body_rc, CN_DONE);
    assert_string_equal(cn_owner_text(f->pool, &f->owner.body), "hi");
    close_exchange(f);
    assert_false(cn_h1_client_usable(f->h1));
}

static void test_a_malformed_response_is_a_protocol_error(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    server_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi");
    assert_failed(f, CN_XERR_PROTOCOL);
    cn_h1_client_destroy(f->h1);
    f->h1 = NULL;
    assert_true(cn_memstream_peer_aborted(f->server));
}

static void test_a_peer_that_closes_while_idle_is_noticed(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    server_sends(f, HI);
    close_exchange(f);
    assert_true(cn_h1_client_usable(f->h1));
    server_closes(f, false);
    assert_false(cn_h1_client_usable(f->h1));
    assert_true(f->idle_why & CN_WAKE_CLOSED);
}

static void test_bytes_while_idle_make_it_unusable(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    server_sends(f, HI);
    close_exchange(f);
    server_sends(f, HI);
    assert_false(cn_h1_client_usable(f->h1));
    assert_true(f->idle_why & CN_WAKE_CLOSED);
}

static void test_bytes_behind_a_response_make_it_unusable(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    server_sends(f, HI HI);
    assert_int_equal(f->owner.body_rc, CN_DONE);
    close_exchange(f);
    assert_false(cn_h1_client_usable(f->h1));
}

static void test_a_server_that_says_close_is_not_used_again(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    server_sends(f, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
    close_exchange(f);
    assert_false(cn_h1_client_usable(f->h1));
    cn_h1_client_destroy(f->h1);
    f->h1 = NULL;
    assert_false(cn_memstream_peer_aborted(f->server));
    assert_true(cn_memstream_peer_closed(f->server));
}

static void test_an_unread_request_body_is_held_within_bounds(void **state)
{
    fix_t *f = *state;
    cn_chain_t body = {0}, got = {0};
    char block[4096] = {0};
    size_t total = 1 << 20, window = 10000;
    bool sent = false;
    while (body.bytes < total)
        cn_chain_copy(&body, block, sizeof(block));
    start(f, window);
    open_exchange(f);
    assert_int_equal(cn_owner_request(&f->owner, "POST", "/", total, true), CN_OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(f->owner.x->ops->send_body(f->owner.x, &body, true, NULL), CN_AGAIN);
        cn_owner_settle(f->loop);
    }
    assert_true(body.bytes >= total - 65536 - window);
    f->owner.why = 0;
    while (cn_stream_read(f->server, &got, SIZE_MAX) == CN_OK) {
        cn_owner_settle(f->loop);
        if (!sent && (f->owner.why & CN_WAKE_WRITE)) {
            f->owner.why = 0;
            sent = f->owner.x->ops->send_body(f->owner.x, &body, true, NULL) == CN_OK;
            cn_owner_settle(f->loop);
        }
    }
    assert_true(sent);
    assert_int_equal(got.bytes, f->owner.x->wire_tx);
    server_sends(f, HI);
    close_exchange(f);
    assert_true(cn_h1_client_usable(f->h1));
    cn_chain_clear(&body);
    cn_chain_clear(&got);
}

static void test_head_requests_get_no_body(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    open_exchange(f);
    assert_int_equal(cn_owner_request(&f->owner, "HEAD", "/", CN_LENGTH_NONE, false), CN_OK);
    cn_owner_settle(f->loop);
    server_sends(f, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    assert_int_equal(f->owner.body_rc, CN_DONE);
    assert_int_equal(f->owner.msg.content_length, 2);
    close_exchange(f);
    assert_true(cn_h1_client_usable(f->h1));
}

static void test_giving_up_breaks_the_connection(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    close_exchange(f);
    assert_false(cn_h1_client_usable(f->h1));
    cn_h1_client_destroy(f->h1);
    f->h1 = NULL;
    assert_true(cn_memstream_peer_aborted(f->server));
}

static void test_destroying_leaves_the_exchange_to_its_owner(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    cn_h1_client_destroy(f->h1);
    f->h1 = NULL;
    cn_owner_settle(f->loop);
    assert_int_equal(f->owner.head_rc, CN_ERR);
    assert_int_equal(f->owner.x->xerr, CN_XERR_GONE);
    assert_null(f->owner.x->ops->stream(f->owner.x));
    assert_int_equal(cn_owner_send(&f->owner, "x", true), CN_ERR);
    close_exchange(f);
}

static void begin_websocket(fix_t *f)
{
    cn_msg_t m;
    open_exchange(f);
    cn_msg_init(&m, f->pool);
    m.method = CN_STR("GET");
    m.target = CN_STR("/w");
    m.authority = CN_STR("h");
    m.has_body = m.upgrade_websocket = true;
    assert_int_equal(f->owner.x->ops->send_head(f->owner.x, &m, false), CN_OK);
    cn_owner_settle(f->loop);
}

static void test_an_accepted_websocket_is_raw_both_ways(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_websocket(f);
    assert_int_equal(cn_owner_send(&f->owner, "early", false), CN_AGAIN);
    assert_string_equal(cn_owner_drain(f->pool, f->server),
                        "GET /w HTTP/1.1\r\nhost: h\r\n"
                        "connection: Upgrade\r\nupgrade: websocket\r\n\r\n");
    f->owner.why = 0;
    server_sends(f, "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframe");
    assert_true(f->owner.why & CN_WAKE_WRITE);
    assert_int_equal(f->owner.msg.status, 101);
    assert_string_equal(cn_owner_text(f->pool, &f->owner.body), "frame");
    assert_int_equal(cn_owner_send(&f->owner, "late", true), CN_OK);
    cn_owner_settle(f->loop);
    assert_string_equal(cn_owner_drain(f->pool, f->server), "late");
    assert_true(cn_memstream_peer_shut(f->server));
    server_closes(f, false);
    assert_int_equal(f->owner.body_rc, CN_DONE);
    close_exchange(f);
    assert_false(cn_h1_client_usable(f->h1));
}

static void test_a_refused_websocket_is_a_plain_response(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_websocket(f);
    server_sends(f, HI);
    assert_int_equal(f->owner.body_rc, CN_DONE);
    assert_int_equal(cn_owner_send(&f->owner, "never mind", true), CN_OK);
    close_exchange(f);
    assert_false(cn_h1_client_usable(f->h1));
}

static void test_a_101_that_nobody_asked_for_is_a_protocol_error(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    begin_get(f);
    server_sends(f, "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_failed(f, CN_XERR_PROTOCOL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_connection_carries_one_exchange_after_another),
        T(test_bytes_wait_until_the_stream_is_ready),
        T(test_a_stream_that_does_not_connect_is_told_with_its_cause),
        T(test_informational_responses_come_before_the_final_one),
        T(test_informational_responses_without_end_are_refused),
        T(test_an_early_response_is_delivered_but_ends_the_reuse),
        T(test_the_end_of_the_stream_can_end_a_response),
        T(test_a_reused_connection_that_closes_says_that_it_was_reused),
        T(test_a_reset_before_any_response_byte_means_gone),
        T(test_an_unprocessed_request_is_told_as_such),
        T(test_an_end_inside_the_response_is_a_protocol_error),
        T(test_what_came_before_a_reset_is_still_read),
        T(test_a_malformed_response_is_a_protocol_error),
        T(test_a_peer_that_closes_while_idle_is_noticed),
        T(test_bytes_while_idle_make_it_unusable),
        T(test_bytes_behind_a_response_make_it_unusable),
        T(test_a_server_that_says_close_is_not_used_again),
        T(test_an_unread_request_body_is_held_within_bounds),
        T(test_head_requests_get_no_body),
        T(test_giving_up_breaks_the_connection),
        T(test_destroying_leaves_the_exchange_to_its_owner),
        T(test_an_accepted_websocket_is_raw_both_ways),
        T(test_a_refused_websocket_is_a_plain_response),
        T(test_a_101_that_nobody_asked_for_is_a_protocol_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
