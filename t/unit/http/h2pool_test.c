/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool whose dials end in servers of the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "../fixture/memstream.h"
#include "../fixture/talker.h"
#include "http/h2pool.h"

#define MANY 300
#define DIALS 8

typedef struct {
    cn_loop_t *loop;
    cn_pool_t *mem;
    cn_h2_conf_t conf;
    cn_h2pool_t *pool;
    cn_mempair_t pair[DIALS];
    cn_h2_t *server[DIALS];
    unsigned dials, connected, failed, closed, idle;
    unsigned status; /* of answers; 0: none */
    bool slow;       /* dials stay connecting */
    bool no_server;
    bool says; /* something in each CONNECT */
    char heard[100];
    cn_talker_t near[MANY], far[MANY];
    unsigned nnear, nfar;
} world_t;

static void on_request(void *ctx, cn_exch_t *x)
{
    world_t *w = ctx;
    cn_msg_t head;

    cn_msg_init(&head, w->mem);
    assert_int_equal(x->ops->recv_head(x, &head), CN_OK);
    w->heard[0] = '\0';
    for (uint32_t i = 0; i < head.headers.n; i++)
        snprintf(w->heard + strlen(w->heard), sizeof(w->heard) - strlen(w->heard), "%.*s=%.*s;",
                 CN_STR_ARG(head.headers.v[i].name), CN_STR_ARG(head.headers.v[i].value));
    head.headers.n = 0;
    head.status = (uint16_t)w->status;
    if (w->status == 200) {
        assert_int_equal(x->ops->send_head(x, &head, false), CN_OK);
        cn_talker_init(&w->far[w->nfar], w->loop, cn_h2_stream(x, NULL));
        w->far[w->nfar++].echo = true;
        return;
    }
    if (w->status)
        assert_int_equal(x->ops->send_head(x, &head, true), CN_OK);
    x->ops->close(x);
}

static cn_stream_t *on_dial(void *ctx, uint64_t timeout_ms CN_UNUSED, cn_task_t *owner)
{
    static const cn_h2_cbs_t cbs = {.request = on_request};
    world_t *w = ctx;
    cn_mempair_t *p = &w->pair[w->dials];

    *p = cn_memstream_pair(w->loop, SIZE_MAX, SIZE_MAX);
    if (!w->no_server)
        w->server[w->dials] = cn_h2_server_create(w->loop, p->b, &w->conf, &cbs, w);
    w->dials++;
    if (w->slow)
        cn_memstream_set_connecting(p->a);
    cn_stream_own(p->a, owner);
    return p->a;
}

static void on_connected(void *ctx)
{
    ((world_t *)ctx)->connected++;
}

static void on_failed(void *ctx, cn_serr err, const char *text CN_UNUSED)
{
    assert_int_not_equal(err, CN_SERR_NONE);
    ((world_t *)ctx)->failed++;
}

static void on_closed(void *ctx)
{
    ((world_t *)ctx)->closed++;
}

static void on_pool_idle(void *ctx)
{
    ((world_t *)ctx)->idle++;
}

static void on_asking(void *ctx, cn_msg_t *head, const cn_peer_t *here)
{
    assert_non_null(here);
    if (((world_t *)ctx)->says)
        cn_msg_add(head, &head->headers, CN_STR("x-b"), CN_STR("2"));
}

static const cn_h2pool_cbs_t cbs = {on_dial,   on_connected, on_failed,
                                    on_closed, on_pool_idle, on_asking};

static int setup(void **state)
{
    world_t *w = cn_xzalloc(sizeof(*w));

    w->loop = cn_loop_create();
    w->mem = cn_pool_create(0);
    w->conf = cn_h2_conf_hbone;
    w->status = 200;
    w->pool = cn_h2pool_create(w->loop, &w->conf, &cbs, w);
    *state = w;
    return 0;
}

static void settle(world_t *w)
{
    cn_talker_settle(w->loop);
}

static int teardown(void **state)
{
    world_t *w = *state;

    for (unsigned i = 0; i < w->nnear; i++)
        cn_talker_fini(&w->near[i], true);
    for (unsigned i = 0; i < w->nfar; i++)
        cn_talker_fini(&w->far[i], true);
    if (w->pool)
        cn_h2pool_destroy(w->pool);
    settle(w);
    for (unsigned i = 0; i < w->dials; i++) {
        if (w->no_server)
            cn_stream_close(w->pair[i].b, true);
    }
    settle(w);
    cn_pool_destroy(w->mem);
    cn_loop_destroy(w->loop);
    free(w);
    return 0;
}

static cn_talker_t *open_tunnel(world_t *w, uint64_t timeout_ms)
{
    cn_talker_t *t = &w->near[w->nnear++];

    cn_talker_init(t, w->loop,
                   cn_h2pool_open(w->pool, CN_STR("10.0.0.1:80"), NULL, timeout_ms, NULL));
    return t;
}

static void test_opens_share_one_session(void **state)
{
    world_t *w = *state;

    for (int i = 0; i < 10; i++)
        open_tunnel(w, 0);
    settle(w);
    for (int i = 0; i < 10; i++)
        cn_talker_send(&w->near[i], 1000, true);
    settle(w);
    for (int i = 0; i < 10; i++)
        assert_true(w->near[i].got == 1000 && w->near[i].ended && !w->near[i].garbled);
    assert_int_equal(w->dials, 1);
    assert_int_equal(w->connected, 1);
}

static void test_opens_during_a_handshake_wait_for_it(void **state)
{
    world_t *w = *state;

    w->slow = true;
    open_tunnel(w, 0);
    open_tunnel(w, 0);
    settle(w);
    assert_int_equal(w->dials, 1);
    assert_false(w->near[0].ready || w->near[0].failed);
    cn_memstream_connected(w->pair[0].a, CN_SERR_NONE);
    settle(w);
    assert_true(w->near[0].ready && w->near[1].ready);
}

static void test_another_session_is_made_when_one_is_full(void **state)
{
    world_t *w = *state;

    for (int i = 0; i < 250; i++)
        open_tunnel(w, 0);
    settle(w);
    assert_int_equal(w->dials, 3);
    for (int i = 0; i < 250; i++)
        assert_true(w->near[i].ready);
    assert_int_equal(cn_h2pool_sessions(w->pool), 3);
}

static void test_a_dial_that_fails_fails_who_waits(void **state)
{
    world_t *w = *state;

    w->slow = true;
    open_tunnel(w, 0);
    open_tunnel(w, 0);
    settle(w);
    cn_memstream_connected(w->pair[0].a, CN_SERR_REFUSED);
    settle(w);
    assert_true(w->near[0].failed && w->near[1].failed);
    assert_int_equal(w->near[0].s->err, CN_SERR_REFUSED);
    assert_non_null(w->near[0].s->err_text);
    assert_int_equal(w->failed, 1);
    assert_int_equal(w->idle, 1);
}

static void test_refusals_keep_their_cause(void **state)
{
    world_t *w = *state;

    w->status = 401;
    open_tunnel(w, 0);
    settle(w);
    w->status = 503;
    open_tunnel(w, 0);
    settle(w);
    assert_int_equal(w->near[0].s->err, CN_SERR_DENIED);
    assert_int_equal(w->near[1].s->err, CN_SERR_REFUSED);
    assert_int_equal(w->dials, 1);
}

static void test_a_session_that_died_is_not_used_again(void **state)
{
    world_t *w = *state;

    open_tunnel(w, 0);
    settle(w);
    cn_h2_destroy(w->server[0]);
    settle(w);
    assert_int_equal(w->closed, 1);
    assert_true(w->near[0].ended || w->near[0].failed);
    open_tunnel(w, 0);
    settle(w);
    assert_int_equal(w->dials, 2);
    assert_true(w->near[1].ready);
}

/* The server goes in the moment in which a CONNECT is under way to it. */
static void test_a_connect_lost_with_an_old_session_is_repeated(void **state)
{
    world_t *w = *state;

    open_tunnel(w, 0);
    settle(w);
    open_tunnel(w, 0);
    open_tunnel(w, 0);
    cn_memstream_fail(w->pair[0].a, CN_SERR_RESET);
    settle(w);
    assert_true(w->near[0].failed);
    assert_true(w->near[1].ready && w->near[2].ready);
    assert_int_equal(w->dials, 2);
}

static void test_a_lost_first_session_is_not_tried_for_ever(void **state)
{
    world_t *w = *state;

    w->no_server = true;
    open_tunnel(w, 0);
    settle(w);
    cn_memstream_fail(w->pair[0].a, CN_SERR_RESET);
    settle(w);
    assert_true(w->near[0].failed);
    assert_int_equal(w->near[0].s->err, CN_SERR_RESET);
    assert_int_equal(w->dials, 1);
}

static void test_an_open_has_a_time_limit(void **state)
{
    world_t *w = *state;

    w->no_server = true;
    open_tunnel(w, 1);
    for (int i = 0; i < 1000 && !w->near[0].failed; i++)
        cn_loop_round(w->loop, 10);
    assert_true(w->near[0].failed);
    assert_int_equal(w->near[0].s->err, CN_SERR_TIMEOUT);
}

static void test_a_retired_pool_finishes_what_is_open(void **state)
{
    world_t *w = *state;

    open_tunnel(w, 0);
    settle(w);
    cn_h2pool_retire(w->pool);
    cn_talker_send(&w->near[0], 1000, true);
    settle(w);
    assert_int_equal(w->near[0].got, 1000);
    assert_int_equal(w->closed, 1);
    assert_int_equal(w->idle, 1);
    open_tunnel(w, 0);
    settle(w);
    assert_int_equal(w->dials, 2);
}

static void test_destroy_leaves_streams_to_be_given_back(void **state)
{
    world_t *w = *state;

    open_tunnel(w, 0);
    settle(w);
    w->slow = true;
    cn_h2pool_retire(w->pool);
    open_tunnel(w, 0);
    settle(w);
    cn_h2pool_destroy(w->pool);
    w->pool = NULL;
    settle(w);
    assert_true(w->near[0].failed && w->near[1].failed);
}

static void test_an_end_asked_for_early_comes_after_the_answer(void **state)
{
    world_t *w = *state;
    cn_stream_t *s = cn_h2pool_open(w->pool, CN_STR("10.0.0.1:80"), NULL, 0, NULL);

    cn_stream_shutdown(s);
    settle(w);
    assert_int_equal(cn_stream_ready(s), CN_OK);
    assert_true(w->far[0].ended);
    cn_stream_close(s, false);
}

static void test_a_connect_says_what_it_is_told_to(void **state)
{
    world_t *w = *state;
    cn_header_t v[1] = {{CN_STR("x-a"), CN_STR("1"), CN_TOK_NONE}};
    cn_headers_t headers = {.v = v, .n = 1, .cap = 1};
    cn_talker_t *t = &w->near[w->nnear++];

    w->says = true;
    cn_talker_init(t, w->loop, cn_h2pool_open(w->pool, CN_STR("a:1"), &headers, 0, NULL));
    settle(w);
    assert_string_equal(w->heard, "x-a=1;x-b=2;");
    open_tunnel(w, 0);
    settle(w);
    assert_string_equal(w->heard, "x-b=2;");
}

static void test_a_single_session_ends_with_its_stream(void **state)
{
    world_t *w = *state;

    cn_h2pool_set_single(w->pool);
    open_tunnel(w, 0);
    open_tunnel(w, 0);
    settle(w);
    assert_int_equal(w->dials, 2);
    cn_talker_send(&w->near[0], 1000, true);
    settle(w);
    assert_true(w->near[0].got == 1000 && w->near[0].ended && !w->near[0].garbled);
    assert_int_equal(w->closed, 1);
    assert_int_equal(cn_h2pool_sessions(w->pool), 1);
    cn_talker_send(&w->near[1], 10, false);
    settle(w);
    assert_int_equal(w->near[1].got, 10);
}

static void test_a_single_session_that_nobody_waits_for_ends(void **state)
{
    world_t *w = *state;

    cn_h2pool_set_single(w->pool);
    w->slow = true;
    open_tunnel(w, 0);
    settle(w);
    cn_talker_fini(&w->near[--w->nnear], true);
    cn_memstream_connected(w->pair[0].a, CN_SERR_NONE);
    settle(w);
    assert_int_equal(cn_h2pool_sessions(w->pool), 0);
    assert_int_equal(w->idle, 1);
}

static void test_a_single_connect_that_is_refused_leaves_nothing(void **state)
{
    world_t *w = *state;

    cn_h2pool_set_single(w->pool);
    w->status = 503;
    open_tunnel(w, 0);
    settle(w);
    assert_true(w->near[0].failed);
    assert_int_equal(cn_h2pool_sessions(w->pool), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_opens_share_one_session),
        T(test_opens_during_a_handshake_wait_for_it),
        T(test_another_session_is_made_when_one_is_full),
        T(test_a_dial_that_fails_fails_who_waits),
        T(test_refusals_keep_their_cause),
        T(test_a_session_that_died_is_not_used_again),
        T(test_a_connect_lost_with_an_old_session_is_repeated),
        T(test_a_lost_first_session_is_not_tried_for_ever),
        T(test_an_open_has_a_time_limit),
        T(test_a_retired_pool_finishes_what_is_open),
        T(test_destroy_leaves_streams_to_be_given_back),
        T(test_an_end_asked_for_early_comes_after_the_answer),
        T(test_a_connect_says_what_it_is_told_to),
        T(test_a_single_session_ends_with_its_stream),
        T(test_a_single_session_that_nobody_waits_for_ends),
        T(test_a_single_connect_that_is_refused_leaves_nothing),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
