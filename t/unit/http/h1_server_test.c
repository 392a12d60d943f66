/* SPDX-License-Identifier: Apache-2.0
 *
 * The server side of an HTTP/1 connection over a stream in memory: the test
 * is the client (end a) and answers as the owner of the exchange.
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
    cn_stream_t *client; /* NULL once closed */
    cn_h1_server_t *server;
    cn_h1_server_conf_t conf;
    cn_owner_t owner;
    cn_exch_t *waiting; /* request() was called, nobody took it */
    unsigned requests, closed;
    bool hands_off; /* the owner does not take exchanges */
} fix_t;

static void on_request(void *ctx, cn_exch_t *x)
{
    fix_t *f = ctx;
    f->requests++;
    if (f->hands_off)
        f->waiting = x;
    else
        cn_owner_take(&f->owner, x);
}

static void on_closed(void *ctx)
{
    fix_t *f = ctx;
    f->closed++;
    f->server = NULL;
}

static const cn_h1_server_cbs_t cbs = {on_request, on_closed};

static void start(fix_t *f, size_t window)
{
    cn_mempair_t pair = cn_memstream_pair(f->loop, window, window);
    f->client = pair.a;
    f->server = cn_h1_server_create(f->loop, pair.b, &f->conf, &cbs, f);
}

static int setup(void **state)
{
    fix_t *f = cn_xzalloc(sizeof(*f));
    f->loop = cn_loop_create();
    f->pool = cn_pool_create(0);
    f->conf = cn_h1_server_conf_default;
    cn_owner_init(&f->owner, f->loop, false);
    *state = f;
    return 0;
}

static void client_close(fix_t *f, bool abort)
{
    cn_stream_close(f->client, abort);
    f->client = NULL;
    cn_owner_settle(f->loop);
}

static int teardown(void **state)
{
    fix_t *f = *state;
    if (f->client)
        cn_stream_close(f->client, false);
    if (f->server)
        cn_h1_server_destroy(f->server);
    cn_owner_fini(&f->owner);
    cn_owner_settle(f->loop);
    cn_pool_destroy(f->pool);
    cn_loop_destroy(f->loop);
    free(f);
    return 0;
}

static void send_text(fix_t *f, const char *text)
{
    cn_owner_write(f->client, text);
    cn_owner_settle(f->loop);
}

static void assert_got(fix_t *f, const char *expected)
{
    cn_owner_settle(f->loop);
    assert_string_equal(cn_owner_drain(f->pool, f->client), expected);
}

static void close_exchange(fix_t *f)
{
    cn_owner_close(&f->owner);
    cn_owner_settle(f->loop);
}

static bool sees_end(fix_t *f)
{
    return cn_memstream_peer_shut(f->client) && !cn_memstream_peer_aborted(f->client);
}

#define GET "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
#define OK_HI "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
#define OK_HI_CLOSE "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi"

static void reply_hi(fix_t *f)
{
    assert_int_equal(cn_owner_reply(&f->owner, 200, 2, false), CN_OK);
    assert_int_equal(cn_owner_send(&f->owner, "hi", true), CN_OK);
}

static void test_a_connection_serves_one_request_after_another(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    for (unsigned i = 1; i <= 3; i++) {
        send_text(f, GET);
        assert_int_equal(f->requests, i);
        assert_int_equal(f->owner.head_rc, CN_OK);
        assert_int_equal(f->owner.body_rc, CN_DONE);
        assert_true(cn_str_eq(f->owner.msg.method, CN_STR("GET")));
        reply_hi(f);
        close_exchange(f);
        assert_got(f, OK_HI);
    }
    assert_int_equal(f->closed, 0);
    client_close(f, false);
    assert_int_equal(f->closed, 1);
}

static void test_pipelined_requests_wait_for_their_turn(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(f->requests, 1);
    assert_true(cn_str_eq(f->owner.msg.path, CN_STR("/1")));
    reply_hi(f);
    close_exchange(f);
    assert_int_equal(f->requests, 2);
    assert_true(cn_str_eq(f->owner.msg.path, CN_STR("/2")));
    reply_hi(f);
    close_exchange(f);
    assert_got(f, OK_HI OK_HI);
}

static void test_a_request_is_announced_with_its_first_byte(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, "\r\n");
    assert_int_equal(f->requests, 0);
    send_text(f, "G");
    assert_int_equal(f->requests, 1);
    assert_int_equal(f->owner.head_rc, CN_AGAIN);
    send_text(f, "ET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(f->owner.head_rc, CN_OK);
}

static void test_bytes_may_come_one_at_a_time(void **state)
{
    fix_t *f = *state;
    cn_mempair_t pair = cn_memstream_pair(f->loop, SIZE_MAX, SIZE_MAX);
    cn_memstream_set_read_max(pair.b, 1);
    f->client = pair.a;
    f->server = cn_h1_server_create(f->loop, pair.b, &f->conf, &cbs, f);
    send_text(f, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: 1\r\n\r\n");
    assert_int_equal(f->owner.body_rc, CN_DONE);
    assert_string_equal(cn_owner_text(f->pool, &f->owner.body), "abcde");
    assert_int_equal(f->owner.msg.trailers.n, 1);
}

#define MIB "1048576"
enum { MIB_BYTES = 1048576, WINDOW = 10000 };

static void fill_chain(cn_chain_t *c)
{
    char block[4096];
    memset(block, 'x', sizeof(block));
    while (c->bytes < MIB_BYTES)
        cn_chain_copy(c, block, sizeof(block));
}

/* Writes until the other side takes no more. */
static void write_what_fits(fix_t *f, cn_chain_t *c)
{
    size_t before;
    do {
        before = c->bytes;
        assert_int_not_equal(cn_stream_write(f->client, c), CN_ERR);
        cn_owner_settle(f->loop);
    } while (c->bytes < before);
}

static void test_an_unread_request_body_is_held_within_bounds(void **state)
{
    fix_t *f = *state;
    cn_chain_t body = {0};
    fill_chain(&body);
    f->owner.paused = true;
    start(f, WINDOW);
    send_text(f, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " MIB "\r\n\r\n");
    write_what_fits(f, &body);
    assert_true(body.bytes >= MIB_BYTES - f->conf.buffer - WINDOW);
    f->owner.paused = false;
    cn_task_wake(&f->owner.task, CN_WAKE_USER);
    cn_owner_settle(f->loop);
    write_what_fits(f, &body);
    assert_int_equal(body.bytes, 0);
    assert_int_equal(f->owner.body_rc, CN_DONE);
    assert_int_equal(f->owner.body.bytes, MIB_BYTES);
    cn_chain_clear(&body);
}

static void test_an_unread_response_is_held_within_bounds(void **state)
{
    fix_t *f = *state;
    cn_chain_t body = {0}, got = {0};
    bool sent = false;
    fill_chain(&body);
    start(f, WINDOW);
    send_text(f, GET);
    assert_int_equal(cn_owner_reply(&f->owner, 200, MIB_BYTES, false), CN_OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(f->owner.x->ops->send_body(f->owner.x, &body, true, NULL), CN_AGAIN);
        cn_owner_settle(f->loop);
    }
    assert_true(body.bytes >= MIB_BYTES - f->conf.buffer - WINDOW);
    /* From here on only a wake makes the owner send again. */
    f->owner.why = 0;
    while (cn_stream_read(f->client, &got, SIZE_MAX) == CN_OK) {
        cn_owner_settle(f->loop);
        if (!sent && (f->owner.why & CN_WAKE_WRITE)) {
            f->owner.why = 0;
            sent = f->owner.x->ops->send_body(f->owner.x, &body, true, NULL) == CN_OK;
            cn_owner_settle(f->loop);
        }
    }
    assert_true(sent);
    assert_int_equal(got.bytes, f->owner.x->wire_tx);
    assert_true(got.bytes > MIB_BYTES);
    cn_chain_clear(&got);
    cn_chain_clear(&body);
}

static void test_a_half_close_behind_a_request_keeps_the_response(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    cn_owner_write(f->client, GET);
    cn_stream_shutdown(f->client);
    cn_owner_settle(f->loop);
    assert_int_equal(f->owner.body_rc, CN_DONE);
    assert_false(f->owner.why & CN_WAKE_CLOSED);
    reply_hi(f);
    close_exchange(f);
    assert_got(f, OK_HI);
    assert_true(sees_end(f));
    assert_int_equal(f->closed, 1);
}

static void test_pipelined_requests_before_a_half_close_are_all_served(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    cn_owner_write(f->client, GET GET);
    cn_stream_shutdown(f->client);
    cn_owner_settle(f->loop);
    reply_hi(f);
    close_exchange(f);
    reply_hi(f);
    close_exchange(f);
    assert_got(f, OK_HI OK_HI);
    assert_int_equal(f->closed, 1);
}

static void test_an_end_inside_a_request_means_gone(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    cn_owner_write(f->client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
    cn_stream_shutdown(f->client);
    cn_owner_settle(f->loop);
    assert_int_equal(f->owner.body_rc, CN_ERR);
    assert_int_equal(f->owner.x->xerr, CN_XERR_GONE);
    assert_int_equal(f->owner.body.bytes, 3);
}

static void test_a_reset_wakes_the_owner_and_fails_all_calls(void **state)
{
    fix_t *f = *state;
    cn_chain_t c = {0};
    start(f, SIZE_MAX);
    send_text(f, GET);
    client_close(f, true);
    assert_true(f->owner.why & CN_WAKE_CLOSED);
    assert_int_equal(f->closed, 0);
    assert_int_equal(f->owner.x->ops->recv_body(f->owner.x, &c, 1), CN_ERR);
    assert_int_equal(f->owner.x->xerr, CN_XERR_GONE);
    assert_int_equal(f->owner.x->stream_err, CN_SERR_RESET);
    assert_int_equal(cn_owner_reply(&f->owner, 200, 0, true), CN_ERR);
    close_exchange(f);
    assert_int_equal(f->closed, 1);
}

static void test_a_slow_head_times_out_and_can_be_answered(void **state)
{
    fix_t *f = *state;
    f->conf.head_ms = 1;
    start(f, SIZE_MAX);
    cn_owner_write(f->client, "GET / HT");
    while (f->owner.head_rc == CN_AGAIN)
        cn_loop_round(f->loop, 1000);
    assert_int_equal(f->owner.head_rc, CN_ERR);
    assert_int_equal(f->owner.x->xerr, CN_XERR_TIMEOUT);
    assert_int_equal(cn_owner_reply(&f->owner, 408, 0, true), CN_OK);
    close_exchange(f);
    assert_got(f, "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"
                  "content-length: 0\r\n\r\n");
    assert_true(sees_end(f));
}

static void test_an_idle_connection_is_closed_in_time(void **state)
{
    fix_t *f = *state;
    f->conf.idle_ms = 1;
    start(f, SIZE_MAX);
    while (!cn_memstream_peer_shut(f->client))
        cn_loop_round(f->loop, 1000);
    assert_true(sees_end(f));
    client_close(f, false);
    assert_int_equal(f->closed, 1);
}

static void test_a_bad_request_gets_an_answer_and_the_connection_ends(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, "GET / HTTP/1.1\r\nHost: h\r\nbad header\r\n\r\n" GET);
    assert_int_equal(f->owner.head_rc, CN_ERR);
    assert_int_equal(f->owner.x->xerr, CN_XERR_PROTOCOL);
    assert_int_equal(cn_owner_reply(&f->owner, 400, 0, true), CN_OK);
    close_exchange(f);
    assert_got(f, "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    assert_true(sees_end(f));
    assert_int_equal(f->requests, 1);
    /* Lingers: what still comes is dropped, and does not reset the answer. */
    assert_false(cn_memstream_peer_closed(f->client));
    send_text(f, "more");
    assert_int_equal(f->closed, 0);
    client_close(f, false);
    assert_int_equal(f->closed, 1);
}

static void test_an_answer_before_the_body_was_read_ends_the_connection(void **state)
{
    fix_t *f = *state;
    f->owner.paused = true;
    start(f, SIZE_MAX);
    send_text(f, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde");
    reply_hi(f);
    close_exchange(f);
    assert_got(f, OK_HI_CLOSE);
    assert_true(sees_end(f));
    assert_int_equal(f->requests, 1);
}

static void test_a_client_that_asks_for_it_is_closed(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    reply_hi(f);
    close_exchange(f);
    assert_got(f, OK_HI_CLOSE);
    assert_true(sees_end(f));
}

static void test_last_makes_it_the_last_response(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, GET);
    f->owner.x->ops->last(f->owner.x);
    reply_hi(f);
    close_exchange(f);
    assert_got(f, OK_HI_CLOSE);
    assert_true(sees_end(f));
}

static void test_drain_ends_an_idle_connection_at_once(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    cn_owner_settle(f->loop);
    cn_h1_server_drain(f->server, 0);
    cn_owner_settle(f->loop);
    assert_true(sees_end(f));
    client_close(f, false);
    assert_int_equal(f->closed, 1);
}

static void test_drain_answers_the_request_that_crosses_it(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    cn_owner_settle(f->loop);
    cn_h1_server_drain(f->server, 60000);
    cn_owner_settle(f->loop);
    assert_false(cn_memstream_peer_shut(f->client));
    send_text(f, GET);
    cn_owner_settle(f->loop);
    reply_hi(f);
    close_exchange(f);
    assert_got(f, OK_HI_CLOSE);
    assert_true(sees_end(f));
}

/* The client was told that the connection stays, so another request may come. */
static void test_drain_behind_an_answer_waits_for_the_next_request(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, GET);
    cn_owner_settle(f->loop);
    reply_hi(f);
    cn_h1_server_drain(f->server, 60000);
    close_exchange(f);
    assert_got(f, OK_HI);
    assert_false(cn_memstream_peer_shut(f->client));
    send_text(f, GET);
    cn_owner_settle(f->loop);
    reply_hi(f);
    close_exchange(f);
    assert_got(f, OK_HI_CLOSE);
    assert_true(sees_end(f));
}

static void test_drain_closes_what_stays_idle(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    cn_owner_settle(f->loop);
    cn_h1_server_drain(f->server, 1);
    while (!sees_end(f))
        cn_loop_round(f->loop, 10);
    client_close(f, false);
    assert_int_equal(f->closed, 1);
}

static void test_drain_finishes_the_current_exchange(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, GET);
    cn_h1_server_drain(f->server, 0);
    cn_owner_settle(f->loop);
    assert_false(cn_memstream_peer_shut(f->client));
    reply_hi(f);
    close_exchange(f);
    assert_got(f, OK_HI_CLOSE);
    assert_true(sees_end(f));
}

static void test_giving_up_before_the_head_resets_the_stream(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, GET);
    close_exchange(f);
    assert_true(cn_memstream_peer_aborted(f->client));
    assert_int_equal(f->closed, 1);
}

static void test_a_body_cut_short_is_delivered_as_far_as_it_goes(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, GET);
    assert_int_equal(cn_owner_reply(&f->owner, 200, 5, false), CN_OK);
    assert_int_equal(cn_owner_send(&f->owner, "ab", false), CN_OK);
    close_exchange(f);
    assert_got(f, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab");
    assert_true(sees_end(f));
}

static void test_a_body_must_have_the_length_that_was_announced(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, GET);
    assert_int_equal(cn_owner_reply(&f->owner, 200, 3, false), CN_OK);
    assert_int_equal(cn_owner_send(&f->owner, "abcd", false), CN_ERR);
    assert_int_equal(cn_owner_send(&f->owner, "ab", true), CN_ERR);
    close_exchange(f);
    assert_true(cn_memstream_peer_aborted(f->client));
}

static void test_destroying_leaves_the_exchange_to_its_owner(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, GET);
    cn_h1_server_destroy(f->server);
    f->server = NULL;
    cn_owner_settle(f->loop);
    assert_true(f->owner.why & CN_WAKE_CLOSED);
    assert_int_equal(cn_owner_reply(&f->owner, 200, 0, true), CN_ERR);
    assert_int_equal(f->owner.x->xerr, CN_XERR_GONE);
    assert_null(f->owner.x->ops->stream(f->owner.x));
    close_exchange(f);
    assert_int_equal(f->closed, 0);
}

static void test_head_answers_have_no_body(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    reply_hi(f);
    close_exchange(f);
    assert_got(f, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
    assert_false(cn_memstream_peer_shut(f->client));
}

static void test_informational_responses_come_before_the_final_one(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_true(f->owner.msg.expect_continue);
    assert_int_equal(cn_owner_reply(&f->owner, 100, CN_LENGTH_NONE, false), CN_OK);
    assert_got(f, "HTTP/1.1 100 Continue\r\n\r\n");
    send_text(f, "ab");
    assert_int_equal(f->owner.body_rc, CN_DONE);
    reply_hi(f);
    close_exchange(f);
    assert_got(f, OK_HI);
}

#define WEBSOCKET "GET /w HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

static void test_an_accepted_websocket_is_raw_both_ways(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, WEBSOCKET "early");
    assert_int_equal(f->owner.body_rc, CN_AGAIN);
    assert_int_equal(cn_owner_reply(&f->owner, 101, CN_LENGTH_NONE, false), CN_OK);
    cn_owner_settle(f->loop);
    assert_string_equal(cn_owner_text(f->pool, &f->owner.body), "early");
    assert_int_equal(cn_owner_send(&f->owner, "frame", false), CN_OK);
    assert_got(f, "HTTP/1.1 101 Switching Protocols\r\n"
                  "connection: Upgrade\r\nupgrade: websocket\r\n\r\nframe");
    /* Each direction ends for itself. */
    assert_int_equal(cn_owner_send(&f->owner, "", true), CN_OK);
    cn_owner_settle(f->loop);
    assert_true(cn_memstream_peer_shut(f->client));
    assert_false(cn_memstream_peer_closed(f->client));
    cn_owner_write(f->client, "late");
    cn_stream_shutdown(f->client);
    cn_owner_settle(f->loop);
    assert_string_equal(cn_owner_text(f->pool, &f->owner.body), "earlylate");
    assert_int_equal(f->owner.body_rc, CN_DONE);
    close_exchange(f);
    assert_int_equal(f->closed, 1);
}

/* What the client sent in hope of a 101 must not be read as a request. */
static void test_a_refused_websocket_ends_the_connection(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX);
    send_text(f, WEBSOCKET GET);
    reply_hi(f);
    cn_owner_settle(f->loop);
    assert_int_equal(f->owner.body_rc, CN_DONE);
    close_exchange(f);
    assert_got(f, OK_HI_CLOSE);
    assert_int_equal(f->requests, 1);
}

static void test_wire_bytes_are_counted_for_each_exchange(void **state)
{
    fix_t *f = *state;
    const char *post = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                       "3\r\nabc\r\n0\r\n\r\n";
    start(f, SIZE_MAX);
    for (int i = 0; i < 2; i++) {
        send_text(f, post);
        reply_hi(f);
        assert_int_equal(f->owner.x->wire_rx, strlen(post));
        assert_int_equal(f->owner.x->wire_tx, strlen(OK_HI));
        close_exchange(f);
    }
}

static void test_a_client_that_reads_nothing_gets_no_further_requests_served(void **state)
{
    fix_t *f = *state;
    cn_chain_t flood = {0};
    unsigned before;
    start(f, 1000);
    for (int i = 0; i < 10000; i++)
        cn_chain_puts(&flood, CN_STR(GET));
    do {
        before = f->requests;
        write_what_fits(f, &flood);
        if (f->owner.x)
            assert_int_equal(cn_owner_reply(&f->owner, 204, CN_LENGTH_NONE, true), CN_OK);
        close_exchange(f);
    } while (f->requests > before || f->owner.x);
    assert_true(f->requests < (f->conf.buffer + 1000) / strlen("HTTP/1.1 204 No Content") + 3);
    assert_true(flood.bytes > 0);
    cn_chain_clear(&flood);
}

static void test_destroying_before_the_owner_looked_is_harmless(void **state)
{
    fix_t *f = *state;
    f->hands_off = true;
    start(f, SIZE_MAX);
    send_text(f, GET);
    assert_non_null(f->waiting);
    cn_h1_server_destroy(f->server);
    f->server = NULL;
    f->waiting->ops->close(f->waiting);
    cn_owner_settle(f->loop);
    assert_true(cn_memstream_peer_aborted(f->client));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_connection_serves_one_request_after_another),
        T(test_pipelined_requests_wait_for_their_turn),
        T(test_a_request_is_announced_with_its_first_byte),
        T(test_bytes_may_come_one_at_a_time),
        T(test_an_unread_request_body_is_held_within_bounds),
        T(test_an_unread_response_is_held_within_bounds),
        T(test_a_half_close_behind_a_request_keeps_the_response),
        T(test_pipelined_requests_before_a_half_close_are_all_served),
        T(test_an_end_inside_a_request_means_gone),
        T(test_a_reset_wakes_the_owner_and_fails_all_calls),
        T(test_a_slow_head_times_out_and_can_be_answered),
        T(test_an_idle_connection_is_closed_in_time),
        T(test_a_bad_request_gets_an_answer_and_the_connection_ends),
        T(test_an_answer_before_the_body_was_read_ends_the_connection),
        T(test_a_client_that_asks_for_it_is_closed),
        T(test_last_makes_it_the_last_response),
        T(test_drain_ends_an_idle_connection_at_once),
        T(test_drain_answers_the_request_that_crosses_it),
        T(test_drain_behind_an_answer_waits_for_the_next_request),
        T(test_drain_closes_what_stays_idle),
        T(test_drain_finishes_the_current_exchange),
        T(test_giving_up_before_the_head_resets_the_stream),
        T(test_a_body_cut_short_is_delivered_as_far_as_it_goes),
        T(test_a_body_must_have_the_length_that_was_announced),
        T(test_destroying_leaves_the_exchange_to_its_owner),
        T(test_head_answers_have_no_body),
        T(test_informational_responses_come_before_the_final_one),
        T(test_an_accepted_websocket_is_raw_both_ways),
        T(test_a_refused_websocket_ends_the_connection),
        T(test_wire_bytes_are_counted_for_each_exchange),
        T(test_a_client_that_reads_nothing_gets_no_further_requests_served),
        T(test_destroying_before_the_owner_looked_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
