/* SPDX-License-Identifier: Apache-2.0
 *
 * Two sessions back to back over streams in memory, and a session against a
 * peer that writes frames by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "../fixture/memstream.h"
#include "../fixture/talker.h"
#include "http/h2mux.h"

#define MIB (1024 * 1024)
#define TALKERS 128

typedef struct {
    cn_loop_t *loop;
    cn_mempair_t pair;
    cn_h2_t *server, *client;
    cn_h2_conf_t conf;
    cn_exch_t *requests[TALKERS];
    unsigned nrequests;
    unsigned status; /* CONNECT is answered with it; 0: not at all */
    bool server_closed, client_closed, server_draining, client_draining;
    unsigned capacity_told;
    cn_talker_t far[TALKERS], near[TALKERS]; /* server's and client's ends of tunnels */
    unsigned nfar, nnear;
    cn_pool_t *pool;
    cn_task_t idle; /* owner of exchanges that are looked at by hand */
    unsigned woken;
} world_t;

static void on_idle(cn_task_t *task, uint32_t why CN_UNUSED)
{
    cn_container_of(task, world_t, idle)->woken++;
}

static void answer(world_t *w, cn_exch_t *x, unsigned status, bool eos)
{
    cn_msg_t head;

    cn_msg_init(&head, w->pool);
    head.status = (uint16_t)status;
    assert_int_equal(x->ops->send_head(x, &head, eos), CN_OK);
}

static void on_request(void *ctx, cn_exch_t *x)
{
    world_t *w = ctx;
    cn_msg_t head;

    cn_msg_init(&head, w->pool);
    if (w->status == 0) {
        x->owner = &w->idle;
        w->requests[w->nrequests++] = x;
        return;
    }
    assert_int_equal(x->ops->recv_head(x, &head), CN_OK);
    assert_string_equal(head.method.p, "CONNECT");
    assert_string_equal(head.authority.p, "10.0.0.1:80");
    answer(w, x, w->status, w->status != 200);
    if (w->status != 200) {
        x->ops->close(x);
        return;
    }
    cn_talker_init(&w->far[w->nfar++], w->loop, cn_h2_stream(x, NULL));
}

static void on_server_closed(void *ctx)
{
    ((world_t *)ctx)->server_closed = true;
}

static void on_client_closed(void *ctx)
{
    ((world_t *)ctx)->client_closed = true;
}

static void on_server_draining(void *ctx)
{
    ((world_t *)ctx)->server_draining = true;
}

static void on_client_draining(void *ctx)
{
    ((world_t *)ctx)->client_draining = true;
}

static void on_capacity(void *ctx)
{
    ((world_t *)ctx)->capacity_told++;
}

static const cn_h2_cbs_t server_cbs = {on_request, on_server_draining, on_server_closed, NULL};
static const cn_h2_cbs_t client_cbs = {NULL, on_client_draining, on_client_closed, on_capacity};

static int setup(void **state)
{
    world_t *w = cn_xzalloc(sizeof(*w));

    w->loop = cn_loop_create();
    w->pool = cn_pool_create(0);
    w->conf = cn_h2_conf_hbone;
    w->status = 200;
    cn_task_init(&w->idle, w->loop, on_idle);
    *state = w;
    return 0;
}

static void start(world_t *w, size_t window)
{
    w->pair = cn_memstream_pair(w->loop, window, window);
    w->client = cn_h2_client_create(w->loop, w->pair.a, &w->conf, &client_cbs, w);
    w->server = cn_h2_server_create(w->loop, w->pair.b, &w->conf, &server_cbs, w);
}

static void settle(world_t *w)
{
    cn_talker_settle(w->loop);
}

static int teardown(void **state)
{
    world_t *w = *state;

    for (unsigned i = 0; i < w->nfar; i++)
        cn_talker_fini(&w->far[i], true);
    for (unsigned i = 0; i < w->nnear; i++)
        cn_talker_fini(&w->near[i], true);
    if (!w->server_closed)
        cn_h2_destroy(w->server);
    if (!w->client_closed)
        cn_h2_destroy(w->client);
    settle(w);
    cn_task_fini(&w->idle);
    cn_pool_destroy(w->pool);
    cn_loop_destroy(w->loop);
    free(w);
    return 0;
}

static cn_exch_t *ask(world_t *w, const char *authority)
{
    cn_exch_t *x = cn_h2_open(w->client, NULL);
    cn_msg_t head;

    assert_non_null(x);
    cn_msg_init(&head, w->pool);
    head.method = CN_STR("CONNECT");
    head.authority = cn_str_c(authority);
    assert_int_equal(x->ops->send_head(x, &head, false), CN_OK);
    return x;
}

static cn_talker_t *tunnel(world_t *w)
{
    cn_talker_t *t = &w->near[w->nnear++];

    cn_talker_init(t, w->loop, cn_h2_stream(ask(w, "10.0.0.1:80"), NULL));
    t->seed = 1;
    return t;
}

/* ---- tunnels ---- */

static void test_a_tunnel_carries_bytes_there_and_back(void **state)
{
    world_t *w = *state;
    cn_talker_t *t;

    start(w, SIZE_MAX);
    t = tunnel(w);
    t->peer_seed = 1;
    settle(w);
    assert_true(t->ready);
    w->far[0].echo = true;
    cn_talker_send(t, 100000, true);
    settle(w);
    assert_int_equal(t->got, 100000);
    assert_true(t->ended && !t->garbled && !t->failed);
    assert_int_equal(t->s->rx, 100000);
    assert_int_equal(w->far[0].s->tx, 100000);
}

static void test_the_answer_does_not_wait_for_the_first_bytes(void **state)
{
    world_t *w = *state;

    start(w, SIZE_MAX);
    tunnel(w);
    settle(w);
    assert_true(w->near[0].ready);
    assert_int_equal(w->near[0].got, 0);
}

static void test_the_client_may_end_first_and_still_reads(void **state)
{
    world_t *w = *state;
    cn_talker_t *t;

    start(w, SIZE_MAX);
    t = tunnel(w);
    cn_talker_send(t, 10, true);
    settle(w);
    assert_true(w->far[0].ended && w->far[0].got == 10 && !t->ended);
    cn_talker_send(&w->far[0], 5000, true);
    settle(w);
    assert_true(t->ended && !t->failed);
    assert_int_equal(t->got, 5000);
}

static void test_the_server_may_end_first_and_still_reads(void **state)
{
    world_t *w = *state;
    cn_talker_t *t;

    start(w, SIZE_MAX);
    t = tunnel(w);
    settle(w);
    cn_talker_send(&w->far[0], 10, true);
    settle(w);
    assert_true(t->ended && t->got == 10 && !w->far[0].ended);
    cn_talker_send(t, 5000, true);
    settle(w);
    assert_true(w->far[0].ended && !w->far[0].failed);
    assert_int_equal(w->far[0].got, 5000);
    assert_int_equal(cn_h2_streams(w->client), 0);
    assert_int_equal(cn_h2_streams(w->server), 0);
}

static void test_an_abort_of_the_server_is_a_reset(void **state)
{
    world_t *w = *state;
    cn_talker_t *t;

    start(w, SIZE_MAX);
    t = tunnel(w);
    settle(w);
    cn_talker_send(&w->far[0], 10, false);
    settle(w);
    cn_talker_fini(&w->far[0], true);
    settle(w);
    assert_true(t->failed && t->got == 10);
    assert_int_equal(t->s->err, CN_SERR_RESET);
}

static void test_a_server_that_has_ended_and_takes_no_more_says_so(void **state)
{
    world_t *w = *state;
    cn_chain_t none = {0};

    for (unsigned aborted = 0; aborted < 2; aborted++) {
        cn_talker_t *t;

        start(w, SIZE_MAX);
        t = tunnel(w);
        settle(w);
        cn_talker_send(&w->far[0], 50, !aborted);
        settle(w);
        cn_talker_fini(&w->far[0], aborted);
        settle(w);
        assert_int_equal(t->got, 50);
        assert_int_equal(t->ended, !aborted);
        assert_int_equal(cn_stream_write(t->s, &none), CN_ERR);
        assert_int_equal(t->s->had_enough, !aborted);
        teardown(state);
        setup(state);
        w = *state;
    }
}

static void test_an_abort_of_the_client_reads_as_the_end(void **state)
{
    world_t *w = *state;
    cn_chain_t src;

    start(w, SIZE_MAX);
    cn_talker_send(tunnel(w), 10, false);
    settle(w);
    cn_talker_fini(&w->near[0], true);
    settle(w);
    assert_true(w->far[0].ended && !w->far[0].failed);
    cn_chain_init(&src);
    cn_chain_puts(&src, CN_STR("too late"));
    assert_int_equal(cn_stream_write(w->far[0].s, &src), CN_ERR);
    assert_int_equal(w->far[0].s->err, CN_SERR_RESET);
    cn_chain_clear(&src);
}

static void test_bytes_before_a_reset_can_be_read(void **state)
{
    world_t *w = *state;
    cn_talker_t *t;

    start(w, SIZE_MAX);
    t = tunnel(w);
    t->deaf = true;
    settle(w);
    cn_talker_send(&w->far[0], 30000, false);
    settle(w);
    cn_talker_fini(&w->far[0], true);
    settle(w);
    t->deaf = false;
    cn_talker_poke(t);
    settle(w);
    assert_int_equal(t->got, 30000);
    assert_true(t->failed);
}

static void test_close_without_abort_delivers_what_was_written(void **state)
{
    world_t *w = *state;
    cn_talker_t *t;

    start(w, 1000);
    t = tunnel(w);
    t->deaf = true;
    settle(w);
    cn_talker_send(&w->far[0], 40000, false);
    settle(w);
    assert_int_equal(w->far[0].to_send + w->far[0].out.bytes, 0);
    cn_talker_fini(&w->far[0], false);
    t->deaf = false;
    cn_talker_poke(t);
    settle(w);
    assert_int_equal(t->got, 40000);
    assert_true(t->ended && !t->garbled);
}

static void refused(world_t *w, unsigned status, cn_serr err)
{
    w->status = status;
    start(w, SIZE_MAX);
    tunnel(w);
    settle(w);
    assert_true(w->near[0].failed && !w->near[0].ready);
    assert_int_equal(w->near[0].s->err, err);
}

static void test_503_is_a_refused_connection(void **state)
{
    refused(*state, 503, CN_SERR_REFUSED);
}

static void test_401_is_a_denial(void **state)
{
    refused(*state, 401, CN_SERR_DENIED);
}

static void test_403_is_a_denial(void **state)
{
    refused(*state, 403, CN_SERR_DENIED);
}

/* ---- many streams ---- */

static void test_one_stream_too_many_is_refused_alone(void **state)
{
    world_t *w = *state;
    unsigned refused_n = 0;

    /* The client asks before it can know the limit. */
    w->conf.max_streams = 101;
    w->pair = cn_memstream_pair(w->loop, SIZE_MAX, SIZE_MAX);
    w->client = cn_h2_client_create(w->loop, w->pair.a, &w->conf, &client_cbs, w);
    for (int i = 0; i < 101; i++)
        tunnel(w);
    settle(w);
    w->conf.max_streams = 100;
    w->server = cn_h2_server_create(w->loop, w->pair.b, &w->conf, &server_cbs, w);
    settle(w);
    assert_int_equal(w->nfar, 100);
    for (int i = 0; i < 101; i++) {
        if (!w->near[i].failed)
            continue;
        refused_n++;
        assert_int_equal(w->near[i].s->err, CN_SERR_UNPROCESSED);
    }
    assert_int_equal(refused_n, 1);
    w->far[7].echo = true;
    cn_talker_send(&w->near[7], 1000, true);
    settle(w);
    assert_int_equal(w->near[7].got, 1000);
}

static void test_capacity_counts_streams_and_comes_back(void **state)
{
    world_t *w = *state;
    unsigned before;

    w->conf.max_streams = 2;
    start(w, SIZE_MAX);
    settle(w);
    assert_int_equal(cn_h2_capacity(w->client), 2);
    tunnel(w);
    tunnel(w);
    assert_int_equal(cn_h2_capacity(w->client), 0);
    assert_null(cn_h2_open(w->client, NULL));
    settle(w);
    before = w->capacity_told;
    cn_talker_fini(&w->near[0], true);
    settle(w);
    assert_int_equal(cn_h2_capacity(w->client), 1);
    assert_true(w->capacity_told > before);
}

static void test_a_stream_that_is_not_read_does_not_stop_the_others(void **state)
{
    world_t *w = *state;

    start(w, SIZE_MAX);
    for (int i = 0; i < 100; i++)
        tunnel(w);
    settle(w);
    w->far[0].deaf = true;
    for (int i = 0; i < 100; i++) {
        w->far[i].peer_seed = 1;
        cn_talker_send(&w->near[i], 2 * MIB, true);
    }
    settle(w);
    assert_int_equal(w->far[0].got, 0);
    for (int i = 1; i < 100; i++) {
        assert_int_equal(w->far[i].got, 2 * MIB);
        assert_true(w->far[i].ended && !w->far[i].garbled);
    }
    /* What waits for the reader is bounded by its window. */
    assert_in_range(w->near[0].s->tx, 1, w->conf.stream_window + w->conf.send_buffer);
    w->far[0].deaf = false;
    cn_talker_poke(&w->far[0]);
    settle(w);
    assert_int_equal(w->far[0].got, 2 * MIB);
}

static void test_a_mebibyte_both_ways_through_tiny_windows(void **state)
{
    world_t *w = *state;

    w->conf.stream_window = 1000;
    w->conf.conn_window = 70000;
    w->conf.send_buffer = 500;
    start(w, 300);
    for (int i = 0; i < 4; i++)
        tunnel(w);
    settle(w);
    for (int i = 0; i < 4; i++) {
        w->far[i].peer_seed = 1;
        cn_talker_send(&w->near[i], MIB, true);
        cn_talker_send(&w->far[i], MIB, true);
    }
    for (int n = 0; n < 1000 && !(w->near[3].ended && w->far[3].ended); n++)
        settle(w);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(w->near[i].got, MIB);
        assert_int_equal(w->far[i].got, MIB);
        assert_true(!w->near[i].garbled && !w->far[i].garbled);
    }
}

static void test_every_split_of_the_bytes_is_the_same(void **state)
{
    world_t *w = *state;

    start(w, 7);
    cn_memstream_set_read_max(w->pair.a, 1);
    cn_memstream_set_read_max(w->pair.b, 3);
    tunnel(w);
    for (int i = 0; i < 10; i++)
        settle(w);
    w->far[0].echo = true;
    w->near[0].peer_seed = 1;
    cn_talker_send(&w->near[0], 2000, true);
    for (int i = 0; i < 100; i++)
        settle(w);
    assert_int_equal(w->near[0].got, 2000);
    assert_true(w->near[0].ended && !w->near[0].garbled);
}

static void test_frames_leave_in_the_round_they_were_written(void **state)
{
    world_t *w = *state;
    uint64_t before, payload;

    start(w, SIZE_MAX);
    for (int i = 0; i < 10; i++)
        tunnel(w);
    settle(w);
    before = w->pair.a->tx;
    for (int i = 0; i < 10; i++)
        cn_talker_send(&w->near[i], 50, false);
    cn_loop_round(w->loop, 0);
    payload = w->pair.a->tx - before;
    settle(w);
    assert_int_equal(payload, 10 * (9 + 50));
}

/* ---- the session ---- */

static void test_drain_ends_the_session_behind_its_last_stream(void **state)
{
    world_t *w = *state;

    start(w, SIZE_MAX);
    tunnel(w);
    settle(w);
    w->far[0].echo = true;
    cn_h2_drain(w->server);
    settle(w);
    assert_true(w->server_draining && w->client_draining);
    assert_false(w->server_closed || w->client_closed);
    assert_int_equal(cn_h2_capacity(w->client), 0);
    cn_talker_send(&w->near[0], 100, true);
    settle(w);
    assert_int_equal(w->near[0].got, 100);
    assert_true(w->near[0].ended);
    assert_true(w->server_closed && w->client_closed);
}

static void test_a_stream_on_its_way_when_drain_begins_is_served(void **state)
{
    world_t *w = *state;

    start(w, SIZE_MAX);
    settle(w);
    tunnel(w);
    cn_h2_drain(w->server);
    settle(w);
    assert_true(w->near[0].ready);
    assert_false(w->server_closed);
}

static void test_drain_of_an_idle_session_ends_it(void **state)
{
    world_t *w = *state;

    start(w, SIZE_MAX);
    settle(w);
    cn_h2_drain(w->server);
    settle(w);
    assert_true(w->server_closed && w->client_closed);
}

static void test_drain_of_a_client_ends_both(void **state)
{
    world_t *w = *state;

    start(w, SIZE_MAX);
    tunnel(w);
    settle(w);
    cn_h2_drain(w->client);
    settle(w);
    assert_true(w->client_draining && !w->client_closed);
    cn_talker_fini(&w->near[0], true);
    settle(w);
    assert_true(w->server_closed && w->client_closed);
}

static void test_a_lost_connection_is_a_reset_of_every_stream(void **state)
{
    world_t *w = *state;

    start(w, SIZE_MAX);
    tunnel(w);
    tunnel(w);
    settle(w);
    cn_memstream_fail(w->pair.a, CN_SERR_RESET);
    settle(w);
    assert_true(w->client_closed);
    assert_true(w->near[0].failed && w->near[1].failed);
    assert_int_equal(w->near[0].s->err, CN_SERR_RESET);
}

static void test_destroy_leaves_held_streams_usable_until_given_back(void **state)
{
    world_t *w = *state;
    cn_peer_t peer = {.identity = CN_STR("spiffe://td/ns/a/sa/b")};

    w->pair = cn_memstream_pair(w->loop, SIZE_MAX, SIZE_MAX);
    cn_memstream_set_peer(w->pair.a, &peer);
    w->client = cn_h2_client_create(w->loop, w->pair.a, &w->conf, &client_cbs, w);
    w->server = cn_h2_server_create(w->loop, w->pair.b, &w->conf, &server_cbs, w);
    tunnel(w);
    settle(w);
    cn_h2_destroy(w->client);
    w->client_closed = true;
    settle(w);
    assert_true(w->near[0].failed);
    assert_string_equal(cn_stream_peer(w->near[0].s)->identity.p, "spiffe://td/ns/a/sa/b");
}

static void test_a_silent_peer_is_found_by_ping(void **state)
{
    world_t *w = *state;

    w->conf.ping_ms = 1;
    w->conf.ping_timeout_ms = 2;
    w->pair = cn_memstream_pair(w->loop, SIZE_MAX, SIZE_MAX);
    w->client = cn_h2_client_create(w->loop, w->pair.a, &w->conf, &client_cbs, w);
    w->server_closed = true;
    tunnel(w);
    for (int i = 0; i < 1000 && !w->client_closed; i++)
        cn_loop_round(w->loop, 10);
    assert_true(w->client_closed);
    assert_int_equal(w->near[0].s->err, CN_SERR_TIMEOUT);
    cn_stream_close(w->pair.b, true);
}

static void test_pings_that_are_answered_keep_the_session(void **state)
{
    world_t *w = *state;

    w->conf.ping_ms = 1;
    w->conf.ping_timeout_ms = 1000;
    start(w, SIZE_MAX);
    tunnel(w);
    for (int i = 0; i < 50; i++)
        cn_loop_round(w->loop, 5);
    assert_false(w->client_closed || w->server_closed);
    assert_true(w->pair.a->rx > 10 * 17);
}

static void test_an_idle_session_ends(void **state)
{
    world_t *w = *state;

    w->conf.idle_ms = 1;
    start(w, SIZE_MAX);
    for (int i = 0; i < 1000 && !w->client_closed; i++)
        cn_loop_round(w->loop, 10);
    assert_true(w->client_draining && w->client_closed);
}

/* ---- exchanges ---- */

static cn_exch_t *request(world_t *w, const char *method, bool eos)
{
    cn_exch_t *x = cn_h2_open(w->client, &w->idle);
    cn_msg_t m;

    cn_msg_init(&m, w->pool);
    m.method = cn_str_c(method);
    m.authority = CN_STR("reviews:9080");
    m.target = CN_STR("/a/b?x=1");
    cn_msg_add(&m, &m.headers, CN_STR("x-one"), CN_STR("1"));
    cn_msg_add(&m, &m.headers, CN_STR("cookie"), CN_STR("a=1"));
    cn_msg_add(&m, &m.headers, CN_STR("cookie"), CN_STR("b=2"));
    assert_int_equal(x->ops->send_head(x, &m, eos), CN_OK);
    return x;
}

static void test_a_request_head_arrives_as_it_was_sent(void **state)
{
    world_t *w = *state;
    cn_exch_t *x;
    cn_msg_t m;

    w->status = 0;
    start(w, SIZE_MAX);
    x = request(w, "GET", true);
    settle(w);
    assert_int_equal(w->nrequests, 1);
    cn_msg_init(&m, w->pool);
    assert_int_equal(w->requests[0]->ops->recv_head(w->requests[0], &m), CN_OK);
    assert_string_equal(m.method.p, "GET");
    assert_string_equal(m.authority.p, "reviews:9080");
    assert_string_equal(m.target.p, "/a/b?x=1");
    assert_true(cn_str_eq(m.path, CN_STR("/a/b")) && cn_str_eq(m.query, CN_STR("x=1")));
    assert_true(cn_str_eq(cn_msg_get(&m.headers, CN_TOK_COOKIE)->value, CN_STR("a=1; b=2")));
    assert_int_equal(m.headers.n, 2);
    assert_false(m.has_body);
    assert_int_equal(m.version, CN_HTTP_2);
    w->requests[0]->ops->close(w->requests[0]);
    x->ops->close(x);
}

static void test_a_response_comes_with_body_and_trailers(void **state)
{
    world_t *w = *state;
    cn_exch_t *x, *y;
    cn_msg_t m, t;
    cn_chain_t body;

    w->status = 0;
    start(w, SIZE_MAX);
    x = request(w, "GET", true);
    settle(w);
    y = w->requests[0];
    answer(w, y, 103, false);
    answer(w, y, 200, false);
    cn_msg_init(&t, w->pool);
    cn_msg_add(&t, &t.trailers, CN_STR("grpc-status"), CN_STR("0"));
    cn_chain_init(&body);
    cn_chain_puts(&body, CN_STR("hello"));
    assert_int_equal(y->ops->send_body(y, &body, true, &t.trailers), CN_OK);
    y->ops->close(y);
    settle(w);

    cn_msg_init(&m, w->pool);
    assert_int_equal(x->ops->recv_head(x, &m), CN_OK);
    assert_int_equal(m.status, 103);
    cn_msg_init(&m, w->pool);
    assert_int_equal(x->ops->recv_head(x, &m), CN_OK);
    assert_int_equal(m.status, 200);
    assert_true(m.has_body);
    assert_int_equal(x->ops->recv_body(x, &body, 100), CN_OK);
    assert_int_equal(body.bytes, 5);
    assert_int_equal(x->ops->recv_body(x, &body, 100), CN_DONE);
    assert_true(cn_str_eq(cn_msg_get(&m.trailers, CN_TOK_GRPC_STATUS)->value, CN_STR("0")));
    x->ops->close(x);
    cn_chain_clear(&body);
    settle(w);
    assert_int_equal(cn_h2_streams(w->client) + cn_h2_streams(w->server), 0);
}

static void test_an_answer_before_the_body_stops_the_client(void **state)
{
    world_t *w = *state;
    cn_exch_t *x, *y;
    cn_msg_t m;
    cn_chain_t body;

    w->status = 0;
    start(w, SIZE_MAX);
    x = request(w, "POST", false);
    settle(w);
    y = w->requests[0];
    answer(w, y, 413, true);
    y->ops->close(y);
    settle(w);
    cn_msg_init(&m, w->pool);
    assert_int_equal(x->ops->recv_head(x, &m), CN_OK);
    assert_int_equal(m.status, 413);
    cn_chain_init(&body);
    cn_chain_puts(&body, CN_STR("unwanted"));
    assert_int_equal(x->ops->send_body(x, &body, false, NULL), CN_OK);
    assert_int_equal(body.bytes, 0);
    assert_int_equal(x->ops->recv_body(x, &body, 10), CN_DONE);
    x->ops->close(x);
    cn_chain_clear(&body);
}

static void test_an_answer_cut_short_is_an_error(void **state)
{
    world_t *w = *state;
    cn_exch_t *x;
    cn_msg_t m;
    cn_chain_t body;

    w->status = 0;
    start(w, SIZE_MAX);
    x = request(w, "GET", true);
    settle(w);
    answer(w, w->requests[0], 200, false);
    w->requests[0]->ops->close(w->requests[0]);
    settle(w);
    cn_chain_init(&body);
    cn_msg_init(&m, w->pool);
    /* The head may be overtaken by the reset, but never becomes a whole answer. */
    if (x->ops->recv_head(x, &m) == CN_OK)
        assert_int_equal(x->ops->recv_body(x, &body, 10), CN_ERR);
    assert_int_equal(x->xerr, CN_XERR_GONE);
    x->ops->close(x);
    cn_chain_clear(&body);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_a_tunnel_carries_bytes_there_and_back),
        T(test_the_answer_does_not_wait_for_the_first_bytes),
        T(test_the_client_may_end_first_and_still_reads),
        T(test_the_server_may_end_first_and_still_reads),
        T(test_an_abort_of_the_server_is_a_reset),
        T(test_a_server_that_has_ended_and_takes_no_more_says_so),
        T(test_an_abort_of_the_client_reads_as_the_end),
        T(test_bytes_before_a_reset_can_be_read),
        T(test_close_without_abort_delivers_what_was_written),
        T(test_503_is_a_refused_connection),
        T(test_401_is_a_denial),
        T(test_403_is_a_denial),
        T(test_one_stream_too_many_is_refused_alone),
        T(test_capacity_counts_streams_and_comes_back),
        T(test_a_stream_that_is_not_read_does_not_stop_the_others),
        T(test_a_mebibyte_both_ways_through_tiny_windows),
        T(test_every_split_of_the_bytes_is_the_same),
        T(test_frames_leave_in_the_round_they_were_written),
        T(test_drain_ends_the_session_behind_its_last_stream),
        T(test_a_stream_on_its_way_when_drain_begins_is_served),
        T(test_drain_of_an_idle_session_ends_it),
        T(test_drain_of_a_client_ends_both),
        T(test_a_lost_connection_is_a_reset_of_every_stream),
        T(test_destroy_leaves_held_streams_usable_until_given_back),
        T(test_a_silent_peer_is_found_by_ping),
        T(test_pings_that_are_answered_keep_the_session),
        T(test_an_idle_session_ends),
        T(test_a_request_head_arrives_as_it_was_sent),
        T(test_a_response_comes_with_body_and_trailers),
        T(test_an_answer_before_the_body_stops_the_client),
        T(test_an_answer_cut_short_is_an_error),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
