/* SPDX-License-Identifier: Apache-2.0
 *
 * A server session against a client that writes its frames by hand, and so can
 * do what nghttp2 would not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <nghttp2/nghttp2.h>

#include "../fixture/memstream.h"
#include "../fixture/talker.h"
#include "core/log.h"
#include "http/h2mux.h"

#define FRAMES_MAX 4096
#define TALKERS 200

typedef struct {
    uint8_t type, flags;
    uint32_t id, len;
    uint8_t head[64]; /* of the payload */
} frame_t;

typedef struct {
    cn_loop_t *loop;
    cn_pool_t *mem;
    cn_stream_t *wire;
    cn_h2_conf_t conf;
    cn_h2_t *server;
    bool closed;
    unsigned requests;
    cn_xerr failure; /* of the last request's head */
    cn_talker_t far[TALKERS];
    unsigned nfar;
    cn_chain_t out, in;
    frame_t got[FRAMES_MAX];
    unsigned ngot;
    bool ended;
} world_t;

static void on_request(void *ctx, cn_exch_t *x)
{
    world_t *w = ctx;
    cn_msg_t head;

    w->requests++;
    cn_msg_init(&head, w->mem);
    w->failure = CN_XERR_NONE;
    if (x->ops->recv_head(x, &head) != CN_OK) {
        w->failure = x->xerr;
        assert_string_equal(cn_pool_cstr(w->mem, head.authority), "a:80");
        x->ops->close(x);
        return;
    }
    head.headers.n = 0;
    head.content_length = CN_LENGTH_NONE;
    if (!cn_str_eq(head.method, CN_STR("CONNECT"))) {
        head.status = 404;
        assert_int_equal(x->ops->send_head(x, &head, true), CN_OK);
        x->ops->close(x);
        return;
    }
    head.status = 200;
    assert_int_equal(x->ops->send_head(x, &head, false), CN_OK);
    cn_talker_init(&w->far[w->nfar], w->loop, cn_h2_stream(x, NULL));
    w->far[w->nfar++].echo = true;
}

static void on_closed(void *ctx)
{
    ((world_t *)ctx)->closed = true;
}

static const cn_h2_cbs_t cbs = {.request = on_request, .closed = on_closed};

static int setup(void **state)
{
    world_t *w = cn_xzalloc(sizeof(*w));

    cn_log_set_level(CN_LOG_ERROR);
    w->loop = cn_loop_create();
    w->mem = cn_pool_create(0);
    w->conf = cn_h2_conf_hbone;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_t *w = *state;

    for (unsigned i = 0; i < w->nfar; i++)
        cn_talker_fini(&w->far[i], true);
    if (!w->closed)
        cn_h2_destroy(w->server);
    cn_talker_settle(w->loop);
    cn_stream_close(w->wire, true);
    cn_chain_clear(&w->out);
    cn_chain_clear(&w->in);
    cn_pool_destroy(w->mem);
    cn_loop_destroy(w->loop);
    free(w);
    return 0;
}

/* ---- the peer ---- */

static void put(world_t *w, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n)
{
    uint8_t hd[9] = {
        (uint8_t)(n >> 16),  (uint8_t)(n >> 8),   (uint8_t)n,         type,       flags,
        (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

    cn_chain_copy(&w->out, hd, sizeof(hd));
    cn_chain_copy(&w->out, payload, n);
}

static frame_t *take_frame(world_t *w, const uint8_t hd[9], size_t len)
{
    frame_t *f = &w->got[w->ngot++];

    assert_true(w->ngot < FRAMES_MAX);
    *f = (frame_t){.type = hd[3], .flags = hd[4], .len = (uint32_t)len};
    f->id = (uint32_t)hd[5] << 24 | (uint32_t)hd[6] << 16 | (uint32_t)hd[7] << 8 | hd[8];
    cn_chain_skip(&w->in, 9);
    cn_chain_peek(&w->in, f->head, len < sizeof(f->head) ? len : sizeof(f->head));
    cn_chain_skip(&w->in, len);
    return f;
}

/* Sends what was put, lets the server work and reads what it says. */
static void go(world_t *w)
{
    uint8_t hd[9];
    cn_rc rc = CN_OK;

    if (w->out.bytes && cn_stream_write(w->wire, &w->out) == CN_ERR)
        cn_chain_clear(&w->out);
    cn_talker_settle(w->loop);
    while (!w->ended && rc == CN_OK) {
        rc = cn_stream_read(w->wire, &w->in, 1000000);
        w->ended = rc == CN_DONE || rc == CN_ERR;
    }
    while (cn_chain_peek(&w->in, hd, sizeof(hd)) == sizeof(hd)) {
        size_t len = (size_t)hd[0] << 16 | (size_t)hd[1] << 8 | hd[2];

        if (w->in.bytes < 9 + len)
            break;
        take_frame(w, hd, len);
    }
    cn_talker_settle(w->loop);
}

static uint32_t u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The first frame of that type (and stream, unless it is UINT32_MAX). */
static const frame_t *find(const world_t *w, uint8_t type, uint32_t id)
{
    for (unsigned i = 0; i < w->ngot; i++)
        if (w->got[i].type == type && (id == UINT32_MAX || w->got[i].id == id))
            return &w->got[i];
    return NULL;
}

/* The last one. */
static const frame_t *find_last(const world_t *w, uint8_t type)
{
    for (unsigned i = w->ngot; i-- > 0;)
        if (w->got[i].type == type)
            return &w->got[i];
    return NULL;
}

static unsigned count(const world_t *w, uint8_t type)
{
    unsigned n = 0;

    for (unsigned i = 0; i < w->ngot; i++)
        n += w->got[i].type == type;
    return n;
}

static void start(world_t *w)
{
    cn_mempair_t pair = cn_memstream_pair(w->loop, SIZE_MAX, SIZE_MAX);

    w->wire = pair.a;
    w->server = cn_h2_server_create(w->loop, pair.b, &w->conf, &cbs, w);
    cn_chain_puts(&w->out, CN_STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    put(w, NGHTTP2_SETTINGS, 0, 0, "", 0);
    go(w);
    put(w, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, "", 0);
    go(w);
}

/* A literal field without indexing. */
static size_t field(uint8_t *at, const char *name, const char *value)
{
    size_t n = strlen(name), v = strlen(value), k = 0;

    assert_true(n < 127 && v < 16384);
    at[k++] = 0;
    at[k++] = (uint8_t)n;
    memcpy(at + k, name, n);
    k += n;
    if (v < 127) {
        at[k++] = (uint8_t)v;
    } else {
        at[k++] = 127;
        at[k++] = (uint8_t)(((v - 127) & 127) | 128);
        at[k++] = (uint8_t)((v - 127) >> 7);
    }
    memcpy(at + k, value, v);
    return k + v;
}

/* NULL-terminated pairs of name and value. */
static void headers(world_t *w, uint32_t id, uint8_t flags, const char *const *v)
{
    static uint8_t block[16384];
    size_t n = 0;

    for (; *v; v += 2)
        n += field(block + n, v[0], v[1]);
    put(w, NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS, id, block, n);
}

static void connect_to(world_t *w, uint32_t id)
{
    headers(w, id, 0,
            (const char *const[]){":method", "CONNECT", ":authority", "10.0.0.1:80", NULL});
}

static void reset(world_t *w, uint32_t id)
{
    put(w, NGHTTP2_RST_STREAM, 0, id, "\0\0\0\x08", 4);
}

static void assert_alive(world_t *w)
{
    unsigned before = count(w, NGHTTP2_PING);

    put(w, NGHTTP2_PING, 0, 0, "12345678", 8);
    go(w);
    assert_int_equal(count(w, NGHTTP2_PING), before + 1);
    assert_false(w->closed || w->ended);
    assert_null(find(w, NGHTTP2_GOAWAY, 0));
}

static void assert_reset(const world_t *w, uint32_t id, uint32_t code)
{
    const frame_t *f = find(w, NGHTTP2_RST_STREAM, id);

    assert_non_null(f);
    assert_int_equal(u32(f->head), code);
}

/* ---- tests ---- */

static void test_the_limit_of_streams_is_announced_as_configured(void **state)
{
    world_t *w = *state;
    const frame_t *f;
    bool seen = false;

    start(w);
    f = find(w, NGHTTP2_SETTINGS, 0);
    for (uint32_t i = 0; i + 6 <= f->len; i += 6) {
        if (f->head[i + 1] != NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
            continue;
        assert_int_equal(u32(f->head + i + 2), 100);
        seen = true;
    }
    assert_true(seen);
    f = find(w, NGHTTP2_WINDOW_UPDATE, 0);
    assert_int_equal(u32(f->head), 16 * 1024 * 1024 - 65535);
}

static void test_a_connect_is_answered_with_status_alone(void **state)
{
    world_t *w = *state;
    const frame_t *f;

    start(w);
    connect_to(w, 1);
    go(w);
    f = find(w, NGHTTP2_HEADERS, 1);
    assert_non_null(f);
    assert_int_equal(f->flags & NGHTTP2_FLAG_END_STREAM, 0);
    assert_int_equal(f->len, 1); /* :status 200 is one indexed byte */
    assert_int_equal(f->head[0], 0x88);
}

static void test_an_end_with_the_connect_is_an_empty_client_side(void **state)
{
    world_t *w = *state;

    start(w);
    headers(w, 1, NGHTTP2_FLAG_END_STREAM,
            (const char *const[]){":method", "CONNECT", ":authority", "10.0.0.1:80", NULL});
    go(w);
    assert_non_null(find(w, NGHTTP2_HEADERS, 1));
    assert_true(w->far[0].ended && w->far[0].got == 0);
}

static void test_one_stream_too_many_is_refused_alone_by_a_settled_session(void **state)
{
    world_t *w = *state;

    start(w);
    for (uint32_t i = 0; i < 103; i++)
        connect_to(w, 2 * i + 1);
    go(w);
    assert_int_equal(w->requests, 100);
    assert_reset(w, 201, NGHTTP2_REFUSED_STREAM);
    assert_reset(w, 205, NGHTTP2_REFUSED_STREAM);
    assert_int_equal(count(w, NGHTTP2_RST_STREAM), 3);
    put(w, NGHTTP2_DATA, 0, 199, "hello", 5);
    go(w);
    assert_int_equal(find(w, NGHTTP2_DATA, 199)->len, 5);
    assert_alive(w);
    reset(w, 1);
    connect_to(w, 207);
    go(w);
    assert_non_null(find(w, NGHTTP2_HEADERS, 207));
}

static void test_a_malformed_connect_costs_its_stream(void **state)
{
    static const char *const bad[][12] = {
        {":method", "CONNECT", ":scheme", "http", ":path", "/", ":authority", "a:80", NULL},
        {":method", "CONNECT", NULL},
        {":method", "CONNECT", ":authority", "a:80", ":authority", "b:80", NULL},
        {":method", "CONNECT", ":authority", "a b:80", NULL},
        {":method", "CONNECT", ":authority", "a:80", "Upper", "x", NULL},
        {":method", "CONNECT", ":authority", "a:80", "connection", "close", NULL},
        {":method", "CONNECT", ":authority", "a:80", "x", "a\nb", NULL},
        {":method", "CONNECT", "x", "y", ":authority", "a:80", NULL},
        {":authority", "a:80", NULL},
        {":method", "CONNECT", ":authority", "a:80", ":protocol", "websocket", NULL},
    };
    world_t *w = *state;

    start(w);
    connect_to(w, 1);
    for (uint32_t i = 0; i < CN_COUNT(bad); i++)
        headers(w, 3 + 2 * i, 0, bad[i]);
    go(w);
    for (uint32_t i = 0; i < CN_COUNT(bad); i++)
        assert_reset(w, 3 + 2 * i, NGHTTP2_PROTOCOL_ERROR);
    assert_int_equal(w->requests, 1);
    put(w, NGHTTP2_DATA, 0, 1, "hello", 5);
    go(w);
    assert_int_equal(find(w, NGHTTP2_DATA, 1)->len, 5);
    assert_alive(w);
}

static void test_other_methods_reach_the_user(void **state)
{
    world_t *w = *state;

    start(w);
    headers(w, 1, NGHTTP2_FLAG_END_STREAM,
            (const char *const[]){":method", "GET", ":scheme", "http", ":path", "/", ":authority",
                                  "a", NULL});
    go(w);
    assert_int_equal(w->requests, 1);
    assert_true(find(w, NGHTTP2_HEADERS, 1)->flags & NGHTTP2_FLAG_END_STREAM);
    assert_alive(w);
}

static void test_a_head_too_large_costs_its_stream(void **state)
{
    static char value[8000];
    const char *v[] = {":method", "CONNECT", ":authority", "a:80", "a", value, NULL};
    world_t *w = *state;

    memset(value, 'x', sizeof(value) - 1);
    w->conf.max_header_list = 4000;
    start(w);
    headers(w, 1, 0, v);
    go(w);
    assert_int_equal(w->failure, CN_XERR_TOO_LARGE);
    assert_reset(w, 1, NGHTTP2_INTERNAL_ERROR);
    assert_alive(w);
}

static void test_too_many_lines_cost_their_stream(void **state)
{
    const char *v[2 * 120 + 1] = {":method", "CONNECT", ":authority", "a:80"};
    world_t *w = *state;

    for (int i = 4; i < 240; i += 2) {
        v[i] = "x";
        v[i + 1] = "y";
    }
    start(w);
    headers(w, 1, 0, v);
    go(w);
    assert_int_equal(w->failure, CN_XERR_TOO_MANY);
    assert_non_null(find(w, NGHTTP2_RST_STREAM, 1));
    assert_alive(w);
}

static void assert_calmed(world_t *w)
{
    const frame_t *f = find(w, NGHTTP2_GOAWAY, 0);

    assert_non_null(f);
    assert_int_equal(u32(f->head + 4), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_true(w->closed && w->ended);
}

static void test_a_flood_of_resets_ends_the_session(void **state)
{
    world_t *w = *state;

    start(w);
    for (uint32_t i = 0; i < 2000 && !w->closed; i++) {
        connect_to(w, 2 * i + 1);
        reset(w, 2 * i + 1);
        if (i % 50 == 49)
            go(w);
    }
    assert_calmed(w);
    /* None of those that were reset at once was ever handed out. */
    assert_true(w->requests < 60);
}

static void test_a_flood_of_refused_streams_ends_the_session(void **state)
{
    world_t *w = *state;

    start(w);
    for (uint32_t i = 0; i < 2000 && !w->closed; i++) {
        connect_to(w, 2 * i + 1);
        if (i % 50 == 49)
            go(w);
    }
    assert_calmed(w);
}

static void test_resets_of_used_tunnels_are_no_flood(void **state)
{
    world_t *w = *state;

    start(w);
    for (uint32_t i = 0; i < 1000; i++) {
        connect_to(w, 2 * i + 1);
        put(w, NGHTTP2_DATA, 0, 2 * i + 1, "x", 1);
        go(w);
        reset(w, 2 * i + 1);
        cn_talker_fini(&w->far[0], true);
        w->nfar = 0;
        w->ngot = 0;
    }
    assert_alive(w);
    assert_int_equal(w->requests, 1000);
}

static void test_credit_is_given_when_bytes_are_taken(void **state)
{
    static char data[16384];
    world_t *w = *state;
    uint32_t credit = 0;

    start(w);
    connect_to(w, 1);
    go(w);
    w->far[0].echo = false;
    w->far[0].deaf = true;
    w->ngot = 0;
    for (int i = 0; i < 32; i++)
        put(w, NGHTTP2_DATA, 0, 1, data, sizeof(data));
    go(w);
    assert_int_equal(count(w, NGHTTP2_WINDOW_UPDATE), 0);
    w->far[0].deaf = false;
    cn_talker_poke(&w->far[0]);
    go(w);
    for (unsigned i = 0; i < w->ngot; i++)
        if (w->got[i].type == NGHTTP2_WINDOW_UPDATE && w->got[i].id == 1)
            credit += u32(w->got[i].head);
    assert_in_range(credit, 16 * sizeof(data), 32 * sizeof(data));
}

static void test_bytes_that_nobody_takes_return_to_the_connection(void **state)
{
    static char data[16384];
    world_t *w = *state;

    w->conf.conn_window = w->conf.stream_window;
    start(w);
    connect_to(w, 1);
    go(w);
    w->far[0].deaf = true;
    for (int i = 0; i < 32; i++)
        put(w, NGHTTP2_DATA, 0, 1, data, sizeof(data));
    go(w);
    w->ngot = 0;
    cn_talker_fini(&w->far[0], true);
    go(w);
    assert_int_equal(u32(find(w, NGHTTP2_WINDOW_UPDATE, 0)->head), 32 * sizeof(data));
}

static void test_more_than_the_window_is_an_error(void **state)
{
    static char data[16384];
    world_t *w = *state;

    start(w);
    connect_to(w, 1);
    connect_to(w, 3);
    go(w);
    w->far[0].deaf = true;
    for (int i = 0; i < 33; i++)
        put(w, NGHTTP2_DATA, 0, 1, data, sizeof(data));
    go(w);
    assert_true(w->closed || find(w, NGHTTP2_RST_STREAM, 1));
}

static void test_drain_takes_two_steps(void **state)
{
    world_t *w = *state;
    const frame_t *first, *ping;

    start(w);
    connect_to(w, 1);
    go(w);
    cn_h2_drain(w->server);
    go(w);
    first = find(w, NGHTTP2_GOAWAY, 0);
    assert_int_equal(u32(first->head), 0x7fffffff);
    assert_int_equal(count(w, NGHTTP2_GOAWAY), 1);
    ping = find(w, NGHTTP2_PING, 0);
    assert_non_null(ping);
    connect_to(w, 3); /* sent before the GOAWAY was seen */
    put(w, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, ping->head, 8);
    connect_to(w, 5); /* begun by then, and overtaken by the answer */
    go(w);
    assert_int_equal(w->requests, 3);
    assert_int_equal(count(w, NGHTTP2_GOAWAY), 1);
    put(w, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, find_last(w, NGHTTP2_PING)->head, 8);
    go(w);
    assert_int_equal(count(w, NGHTTP2_GOAWAY), 2);
    assert_int_equal(u32(find_last(w, NGHTTP2_GOAWAY)->head), 5);
    connect_to(w, 7); /* too late */
    go(w);
    assert_int_equal(w->requests, 3);
    for (int id = 1; id <= 5; id += 2)
        put(w, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, id, "bye", 3);
    go(w);
    assert_int_equal(find(w, NGHTTP2_DATA, 3)->len, 3);
    assert_true(w->closed);
}

static void test_late_drain_begins_with_the_first_request(void **state)
{
    world_t *w = *state;

    start(w);
    go(w);
    cn_h2_drain_late(w->server, 60000);
    go(w);
    assert_null(find(w, NGHTTP2_GOAWAY, 0));
    connect_to(w, 1);
    go(w);
    assert_int_equal(w->requests, 1);
    assert_int_equal(u32(find(w, NGHTTP2_GOAWAY, 0)->head), 0x7fffffff);
    cn_h2_drain_late(w->server, 60000);
    go(w);
    assert_int_equal(count(w, NGHTTP2_GOAWAY), 1);
}

static void test_late_drain_does_not_wait_for_ever(void **state)
{
    world_t *w = *state;

    start(w);
    go(w);
    cn_h2_drain_late(w->server, 20);
    for (int i = 0; i < 300 && !w->closed; i++)
        cn_loop_round(w->loop, 10);
    assert_true(w->closed);
}

static void test_drain_does_not_wait_for_a_deaf_peer(void **state)
{
    world_t *w = *state;

    start(w);
    go(w);
    cn_h2_drain(w->server);
    for (int i = 0; i < 300 && !w->closed; i++)
        cn_loop_round(w->loop, 10);
    assert_true(w->closed);
}

static void test_something_else_than_http2_ends_the_session(void **state)
{
    world_t *w = *state;
    cn_mempair_t pair = cn_memstream_pair(w->loop, SIZE_MAX, SIZE_MAX);

    w->wire = pair.a;
    w->server = cn_h2_server_create(w->loop, pair.b, &w->conf, &cbs, w);
    cn_chain_puts(&w->out, CN_STR("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    go(w);
    assert_true(w->closed);
}

static void test_a_broken_frame_ends_the_session_with_a_word(void **state)
{
    world_t *w = *state;

    start(w);
    connect_to(w, 1);
    go(w);
    put(w, NGHTTP2_SETTINGS, 0, 0, "12345", 5);
    go(w);
    assert_int_equal(u32(find(w, NGHTTP2_GOAWAY, 0)->head + 4), NGHTTP2_FRAME_SIZE_ERROR);
    assert_true(w->closed && w->far[0].failed);
}

/* Its last words are out, and the way back is open: what comes there is forgotten. */
static void end_of_server(world_t *w, uint64_t linger_ms)
{
    w->conf.linger_ms = linger_ms;
    start(w);
    put(w, NGHTTP2_SETTINGS, 0, 0, "12345", 5);
    put(w, NGHTTP2_PING, 0, 0, "12345678", 8);
    go(w);
    assert_int_equal(u32(find(w, NGHTTP2_GOAWAY, 0)->head + 4), NGHTTP2_FRAME_SIZE_ERROR);
    assert_true(w->ended && !w->closed && !cn_memstream_peer_closed(w->wire));
}

static void test_a_server_that_lingers_ends_behind_its_client(void **state)
{
    world_t *w = *state;

    end_of_server(w, 60000);
    for (unsigned i = 0; i < 3; i++) {
        put(w, NGHTTP2_PING, 0, 0, "12345678", 8);
        go(w);
        assert_false(w->closed);
    }
    assert_int_equal(cn_memstream_pending(w->wire), 0);
    cn_h2_drain(w->server);
    cn_stream_shutdown(w->wire);
    cn_talker_settle(w->loop);
    assert_true(w->closed);
    assert_true(cn_memstream_peer_closed(w->wire) && !cn_memstream_peer_aborted(w->wire));
}

static void test_a_server_does_not_linger_for_ever(void **state)
{
    world_t *w = *state;

    end_of_server(w, 500);
    for (int i = 0; i < 1000 && !w->closed; i++)
        cn_loop_round(w->loop, 10);
    assert_true(w->closed && !cn_memstream_peer_aborted(w->wire));
}

static void test_a_lingering_session_is_destroyed_as_any(void **state)
{
    end_of_server(*state, 60000); /* by teardown */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_the_limit_of_streams_is_announced_as_configured),
        T(test_a_connect_is_answered_with_status_alone),
        T(test_an_end_with_the_connect_is_an_empty_client_side),
        T(test_one_stream_too_many_is_refused_alone_by_a_settled_session),
        T(test_a_malformed_connect_costs_its_stream),
        T(test_other_methods_reach_the_user),
        T(test_a_head_too_large_costs_its_stream),
        T(test_too_many_lines_cost_their_stream),
        T(test_a_flood_of_resets_ends_the_session),
        T(test_a_flood_of_refused_streams_ends_the_session),
        T(test_resets_of_used_tunnels_are_no_flood),
        T(test_credit_is_given_when_bytes_are_taken),
        T(test_bytes_that_nobody_takes_return_to_the_connection),
        T(test_more_than_the_window_is_an_error),
        T(test_drain_takes_two_steps),
        T(test_late_drain_begins_with_the_first_request),
        T(test_late_drain_does_not_wait_for_ever),
        T(test_drain_does_not_wait_for_a_deaf_peer),
        T(test_something_else_than_http2_ends_the_session),
        T(test_a_broken_frame_ends_the_session_with_a_word),
        T(test_a_server_that_lingers_ends_behind_its_client),
        T(test_a_server_does_not_linger_for_ever),
        T(test_a_lingering_session_is_destroyed_as_any),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
