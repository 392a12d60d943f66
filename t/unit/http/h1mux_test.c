/* SPDX-License-Identifier: Apache-2.0
 *
 * Client and server connected to each other through a stream in memory, with
 * windows down to one byte: whatever one side writes, the other reads.
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
    cn_h1_client_t *client;
    cn_h1_server_t *server;
    cn_owner_t here, there; /* of the request's and of the response's sender */
    unsigned closed;
} fix_t;

static void on_request(void *ctx, cn_exch_t *x)
{
    cn_owner_take(&((fix_t *)ctx)->there, x);
}

static void on_closed(void *ctx)
{
    fix_t *f = ctx;
    f->closed++;
    f->server = NULL;
}

static const cn_h1_server_cbs_t cbs = {on_request, on_closed};

static void start(fix_t *f, size_t window, size_t read_max)
{
    cn_mempair_t pair = cn_memstream_pair(f->loop, window, window);
    cn_memstream_set_read_max(pair.a, read_max);
    cn_memstream_set_read_max(pair.b, read_max);
    f->client = cn_h1_client_create(f->loop, pair.a, NULL);
    f->server = cn_h1_server_create(f->loop, pair.b, &cn_h1_server_conf_default, &cbs, f);
    cn_owner_init(&f->here, f->loop, true);
    cn_owner_init(&f->there, f->loop, false);
}

static void stop(fix_t *f)
{
    cn_owner_fini(&f->here);
    cn_owner_fini(&f->there);
    if (f->client)
        cn_h1_client_destroy(f->client);
    f->client = NULL;
    cn_owner_settle(f->loop);
    if (f->server)
        cn_h1_server_destroy(f->server);
    f->server = NULL;
    cn_owner_settle(f->loop);
}

static int setup(void **state)
{
    fix_t *f = cn_xzalloc(sizeof(*f));
    f->loop = cn_loop_create();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fix_t *f = *state;
    cn_loop_destroy(f->loop);
    free(f);
    return 0;
}

/* Bytes that tell where they belong. */
static void fill(cn_chain_t *c, size_t n)
{
    char block[4096];
    for (size_t at = 0; at < n; at += sizeof(block)) {
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = (char)((at + i) % 251);
        cn_chain_copy(c, block, n - at < sizeof(block) ? n - at : sizeof(block));
    }
}

static void assert_filled(cn_chain_t *c, size_t n)
{
    assert_int_equal(c->bytes, n);
    for (size_t at = 0; at < n;) {
        cn_str_t s = cn_chain_front(c);
        for (size_t i = 0; i < s.n; i++, at++) {
            if (s.p[i] != (char)(at % 251))
                fail_msg("byte %zu is wrong", at);
        }
        cn_chain_skip(c, s.n);
    }
}

static bool push(cn_owner_t *o, cn_chain_t *src, cn_headers_t *trailers)
{
    cn_rc rc = o->x->ops->send_body(o->x, src, true, trailers);
    assert_int_not_equal(rc, CN_ERR);
    return rc == CN_OK;
}

/* One exchange with a body each way, both at the same time. */
static void exchange(fix_t *f, size_t n, bool known_length)
{
    uint64_t length = known_length ? n : CN_LENGTH_NONE;
    cn_chain_t up = {0}, down = {0};
    cn_msg_t m;
    bool up_done = false, down_done = false;
    fill(&up, n);
    fill(&down, n);
    cn_msg_init(&m, f->here.pool);
    cn_msg_add(&m, &m.trailers, CN_STR("x-sum"), CN_STR("1"));
    cn_owner_take(&f->here, cn_h1_client_open(f->client, &f->here.task));
    assert_int_equal(cn_owner_request(&f->here, "POST", "/", length, true), CN_OK);
    while (f->there.head_rc != CN_OK)
        cn_loop_round(f->loop, 0);
    assert_int_equal(f->there.msg.content_length, length);
    up_done = push(&f->here, &up, &m.trailers);
    while (f->there.body_rc != CN_DONE) {
        cn_loop_round(f->loop, 0);
        up_done = up_done || push(&f->here, &up, &m.trailers);
    }
    assert_int_equal(cn_owner_reply(&f->there, 200, length, false), CN_OK);
    while (f->here.body_rc != CN_DONE) {
        down_done = down_done || push(&f->there, &down, &m.trailers);
        cn_loop_round(f->loop, 0);
    }
    assert_true(up_done && down_done);
    assert_filled(&f->there.body, n);
    assert_filled(&f->here.body, n);
    assert_int_equal(f->there.msg.trailers.n, !known_length);
    assert_int_equal(f->here.msg.trailers.n, !known_length);
    assert_int_equal(f->here.x->wire_tx, f->there.x->wire_rx);
    assert_int_equal(f->here.x->wire_rx, f->there.x->wire_tx);
    cn_owner_close(&f->there);
    cn_owner_close(&f->here);
    f->there.head_rc = CN_AGAIN;
    cn_chain_clear(&up);
    cn_chain_clear(&down);
    cn_owner_settle(f->loop);
    assert_true(cn_h1_client_usable(f->client));
}

static void test_a_mebibyte_each_way_survives_any_window(void **state)
{
    static const size_t windows[] = {777, 4096, 100000, SIZE_MAX};
    for (size_t i = 0; i < CN_COUNT(windows); i++) {
        fix_t *f = *state;
        start(f, windows[i], 0);
        exchange(f, 1 << 20, i % 2);
        exchange(f, 1 << 20, !(i % 2));
        stop(f);
    }
}

static void test_small_bodies_survive_single_bytes(void **state)
{
    for (size_t n = 0; n < 40; n++) {
        fix_t *f = *state;
        start(f, 1, 1);
        exchange(f, n, n % 2);
        exchange(f, n, !(n % 2));
        stop(f);
    }
}

static void test_the_server_goes_when_the_client_does(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX, 0);
    exchange(f, 10, true);
    cn_h1_client_destroy(f->client);
    f->client = NULL;
    cn_owner_settle(f->loop);
    assert_int_equal(f->closed, 1);
    stop(f);
}

static void test_draining_makes_the_client_take_another_connection(void **state)
{
    fix_t *f = *state;
    start(f, SIZE_MAX, 0);
    cn_owner_take(&f->here, cn_h1_client_open(f->client, &f->here.task));
    assert_int_equal(cn_owner_request(&f->here, "GET", "/", CN_LENGTH_NONE, false), CN_OK);
    cn_owner_settle(f->loop);
    cn_h1_server_drain(f->server, 0);
    assert_int_equal(cn_owner_reply(&f->there, 200, 0, true), CN_OK);
    cn_owner_close(&f->there);
    cn_owner_settle(f->loop);
    assert_int_equal(f->here.body_rc, CN_DONE);
    cn_owner_close(&f->here);
    assert_false(cn_h1_client_usable(f->client));
    stop(f);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_mebibyte_each_way_survives_any_window),
        T(test_small_bodies_survive_single_bytes),
        T(test_the_server_goes_when_the_client_does),
        T(test_draining_makes_the_client_take_another_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
