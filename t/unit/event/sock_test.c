/* SPDX-License-Identifier: Apache-2.0
 * Claims about event/sock.c, over real connections on the loopback; "raw" is the
 * far end, driven by the test with plain system calls.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/pool.h"
#include "event/listen.h"
#include "event/loop_int.h"
#include "event/sock.h"

#define ROUNDS 2000

typedef struct {
    cn_task_t task;
    uint32_t why; /* of all runs since it was last cleared */
} owner_t;

typedef struct {
    cn_loop_t *loop;
    int listening;
    cn_addr_t addr;
    owner_t owner;
    cn_chain_t in; /* what was read */
} env_t;

static void on_wake(cn_task_t *task, uint32_t why)
{
    cn_container_of(task, owner_t, task)->why |= why;
}

static cn_addr_t bound_addr(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    cn_addr_t a;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
    cn_inet_from_sockaddr(&a, (struct sockaddr *)&ss, len);
    return a;
}

static int listen_any(cn_addr_t *out, int backlog)
{
    cn_addr_t a;
    int fd = -1;
    assert_int_equal(cn_inet_parse_hostport(CN_STR("127.0.0.1:0"), true, &a), CN_OK);
    assert_int_equal(cn_listen_bind(&a, backlog, &fd), CN_OK);
    *out = bound_addr(fd);
    return fd;
}

static int setup(void **state)
{
    env_t *e = cn_xzalloc(sizeof(*e));
    e->loop = cn_loop_create();
    e->listening = listen_any(&e->addr, 16);
    cn_task_init(&e->owner.task, e->loop, on_wake);
    *state = e;
    return 0;
}

static int teardown(void **state)
{
    env_t *e = *state;
    cn_chain_clear(&e->in);
    cn_task_fini(&e->owner.task);
    cn_loop_destroy(e->loop);
    close(e->listening);
    free(e);
    return cn_mem_total() == 0 ? 0 : -1;
}

static int raw_connect(const cn_addr_t *to)
{
    struct sockaddr_storage ss;
    socklen_t len = cn_inet_to_sockaddr(to, &ss);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* A stream whose far end is *raw. */
static cn_stream_t *accepted(env_t *e, int *raw)
{
    *raw = raw_connect(&e->addr);
    int fd = -1;
    for (int i = 0; i < ROUNDS && fd < 0; i++) {
        cn_loop_round(e->loop, 1);
        fd = accept4(e->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    assert_true(fd >= 0);
    return cn_sock_accepted(e->loop, fd, NULL, &e->owner.task);
}

/* The result of reading other than CN_AGAIN. */
static cn_rc read_next(env_t *e, cn_stream_t *s, size_t max)
{
    for (int i = 0; i < ROUNDS; i++) {
        cn_rc rc = cn_stream_read(s, &e->in, max);
        if (rc != CN_AGAIN)
            return rc;
        cn_loop_round(e->loop, 10);
    }
    return CN_AGAIN;
}

static void assert_in(env_t *e, const char *want)
{
    char buf[64];
    assert_int_equal(e->in.bytes, strlen(want));
    cn_chain_peek(&e->in, buf, sizeof(buf));
    assert_memory_equal(buf, want, strlen(want));
    cn_chain_clear(&e->in);
}

static cn_rc write_text(cn_stream_t *s, const char *text)
{
    cn_chain_t out;
    cn_chain_init(&out);
    cn_chain_puts(&out, cn_str_c(text));
    cn_rc rc = cn_stream_write(s, &out);
    cn_chain_clear(&out);
    return rc;
}

static void raw_write(int raw, const char *text)
{
    assert_int_equal(send(raw, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* recv(2) on the far end, waiting; -1 with errno. */
static ssize_t raw_read(env_t *e, int raw, char *buf, size_t n)
{
    for (int i = 0; i < ROUNDS; i++) {
        ssize_t got = recv(raw, buf, n, 0);
        if (got >= 0 || errno != EAGAIN)
            return got;
        cn_loop_round(e->loop, 1);
    }
    errno = EAGAIN;
    return -1;
}

static void raw_reset(int raw)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(raw, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(raw);
}

static void wait_owner(env_t *e, uint32_t why)
{
    for (int i = 0; i < ROUNDS && !(e->owner.why & why); i++)
        cn_loop_round(e->loop, 10);
    assert_true(e->owner.why & why);
}

/* ---- data ---- */

static void test_bytes_flow_both_ways_and_are_counted(void **state)
{
    env_t *e = *state;
    int raw;
    char buf[16];
    cn_stream_t *s = accepted(e, &raw);
    assert_int_equal(cn_stream_ready(s), CN_OK);
    raw_write(raw, "ping");
    assert_int_equal(read_next(e, s, 1000), CN_OK);
    assert_in(e, "ping");
    assert_int_equal(write_text(s, "pong!"), CN_OK);
    assert_int_equal(raw_read(e, raw, buf, sizeof(buf)), 5);
    assert_memory_equal(buf, "pong!", 5);
    assert_int_equal(s->rx, 4);
    assert_int_equal(s->tx, 5);
    cn_stream_close(s, true);
    close(raw);
}

static void test_owner_is_woken_for_new_data_after_again(void **state)
{
    env_t *e = *state;
    int raw;
    cn_stream_t *s = accepted(e, &raw);
    assert_int_equal(cn_stream_read(s, &e->in, 100), CN_AGAIN);
    cn_loop_round(e->loop, 0);
    e->owner.why = 0;
    raw_write(raw, "x");
    wait_owner(e, CN_WAKE_READ);
    assert_int_equal(cn_stream_read(s, &e->in, 100), CN_OK);
    assert_int_equal(cn_stream_read(s, &e->in, 100), CN_AGAIN);
    e->owner.why = 0;
    raw_write(raw, "y");
    wait_owner(e, CN_WAKE_READ);
    cn_stream_close(s, true);
    close(raw);
}

static void test_read_takes_no_more_than_max(void **state)
{
    env_t *e = *state;
    int raw;
    cn_stream_t *s = accepted(e, &raw);
    raw_write(raw, "abcdef");
    assert_int_equal(read_next(e, s, 4), CN_OK);
    assert_in(e, "abcd");
    assert_int_equal(cn_stream_read(s, &e->in, 4), CN_OK);
    assert_in(e, "ef");
    cn_stream_close(s, true);
    close(raw);
}

static void test_new_owner_is_woken(void **state)
{
    env_t *e = *state;
    int raw;
    owner_t next = {.why = 0};
    cn_stream_t *s = accepted(e, &raw);
    cn_task_init(&next.task, e->loop, on_wake);
    cn_stream_own(s, &next.task);
    cn_loop_round(e->loop, 0);
    assert_int_equal(next.why & (CN_WAKE_READ | CN_WAKE_WRITE), CN_WAKE_READ | CN_WAKE_WRITE);
    while (cn_stream_read(s, &e->in, 100) != CN_AGAIN)
        cn_loop_round(e->loop, 0);
    e->owner.why = next.why = 0;
    raw_write(raw, "x");
    for (int i = 0; i < ROUNDS && next.why == 0; i++)
        cn_loop_round(e->loop, 10);
    assert_true(next.why & CN_WAKE_READ);
    assert_int_equal(e->owner.why, 0);
    cn_stream_close(s, true);
    cn_task_fini(&next.task);
    close(raw);
}

#define BIG (8u << 20)

static uint8_t big_byte(size_t i)
{
    return (uint8_t)(i * 31 + (i >> 12));
}

static void test_full_socket_gives_again_and_every_byte_arrives_in_order(void **state)
{
    env_t *e = *state;
    int raw;
    size_t seen = 0;
    cn_chain_t out;
    static char buf[65536];
    cn_stream_t *s = accepted(e, &raw);
    cn_chain_init(&out);
    for (size_t at = 0; at < BIG; at += sizeof(buf)) {
        for (size_t i = 0; i < sizeof(buf); i++)
            buf[i] = (char)big_byte(at + i);
        cn_chain_copy(&out, buf, sizeof(buf));
    }
    assert_int_equal(cn_stream_write(s, &out), CN_AGAIN);
    assert_in_range(out.bytes, 1, BIG - 1);
    assert_int_equal(s->tx, BIG - out.bytes);
    cn_loop_round(e->loop, 0);
    e->owner.why = 0;
    for (int idle = 0; seen < BIG && idle < ROUNDS;) {
        ssize_t n = recv(raw, buf, sizeof(buf), 0);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal((uint8_t)buf[i], big_byte(seen++));
        cn_loop_round(e->loop, n > 0 ? 0 : 1);
        idle = n > 0 ? 0 : idle + 1;
        if (e->owner.why & CN_WAKE_WRITE) {
            e->owner.why = 0;
            assert_int_not_equal(cn_stream_write(s, &out), CN_ERR);
        }
    }
    assert_int_equal(seen, BIG);
    assert_int_equal(out.bytes, 0);
    cn_chain_clear(&out);
    cn_stream_close(s, true);
    close(raw);
}

/* Reads are wider once one has filled its room; what was read must not depend on it. */
static void test_every_byte_of_a_fast_peer_is_read_in_order_and_within_max(void **state)
{
    env_t *e = *state;
    int raw;
    size_t sent = 0, seen = 0;
    const size_t total = 1u << 20;
    static char buf[65536];
    cn_stream_t *s = accepted(e, &raw);

    for (int idle = 0; seen < total && idle < ROUNDS; idle++) {
        size_t max = 1 + seen % 70000;

        for (size_t i = 0; i < sizeof(buf); i++)
            buf[i] = (char)big_byte(sent + i);
        ssize_t n = sent < total
                        ? send(raw, buf, sizeof(buf) < total - sent ? sizeof(buf) : total - sent, 0)
                        : 0;
        sent += n > 0 ? (size_t)n : 0;
        cn_loop_round(e->loop, n > 0 ? 0 : 1);
        while (cn_stream_read(s, &e->in, max) == CN_OK) {
            assert_true(e->in.bytes <= max);
            for (; e->in.bytes; cn_chain_skip(&e->in, 1))
                assert_int_equal((uint8_t)cn_chain_front(&e->in).p[0], big_byte(seen++));
            idle = 0;
        }
    }
    assert_int_equal(seen, total);
    assert_int_equal(s->rx, total);
    cn_stream_close(s, true);
    close(raw);
}

/* A chunk for a few bytes is a small one, also behind others. */
static void test_the_tail_of_a_wide_read_does_not_pin_a_large_chunk(void **state)
{
    env_t *e = *state;
    int raw;
    static char buf[2 * CN_CHUNK_LARGE + 10];
    cn_stream_t *s = accepted(e, &raw);

    assert_int_equal(send(raw, buf, CN_CHUNK_LARGE, 0), CN_CHUNK_LARGE);
    while (e->in.bytes < CN_CHUNK_LARGE)
        assert_int_equal(read_next(e, s, CN_CHUNK_LARGE - e->in.bytes), CN_OK);
    cn_chain_clear(&e->in);
    assert_int_equal(send(raw, buf, sizeof(buf), 0), sizeof(buf));
    while (e->in.bytes < sizeof(buf))
        assert_int_equal(read_next(e, s, 4 * CN_CHUNK_LARGE), CN_OK);
    assert_true(cn_mem_total() <= 3 * CN_CHUNK_LARGE);
    cn_stream_close(s, true);
    close(raw);
}

/* ---- the two directions end apart ---- */

static void test_half_close_by_us_keeps_reading_open(void **state)
{
    env_t *e = *state;
    int raw;
    char buf[16];
    cn_stream_t *s = accepted(e, &raw);
    assert_int_equal(write_text(s, "last"), CN_OK);
    cn_stream_shutdown(s);
    cn_stream_shutdown(s);
    assert_int_equal(raw_read(e, raw, buf, sizeof(buf)), 4);
    assert_int_equal(raw_read(e, raw, buf, sizeof(buf)), 0);
    raw_write(raw, "late");
    assert_int_equal(read_next(e, s, 100), CN_OK);
    assert_in(e, "late");
    close(raw);
    assert_int_equal(read_next(e, s, 100), CN_DONE);
    assert_int_equal(s->err, CN_SERR_NONE);
    cn_stream_close(s, false);
}

static void test_half_close_by_the_peer_keeps_writing_open(void **state)
{
    env_t *e = *state;
    int raw;
    char buf[16];
    cn_stream_t *s = accepted(e, &raw);
    raw_write(raw, "end");
    assert_int_equal(shutdown(raw, SHUT_WR), 0);
    assert_int_equal(read_next(e, s, 100), CN_OK);
    assert_in(e, "end");
    assert_int_equal(read_next(e, s, 100), CN_DONE);
    assert_int_equal(cn_stream_read(s, &e->in, 100), CN_DONE);
    assert_int_equal(write_text(s, "reply"), CN_OK);
    assert_int_equal(raw_read(e, raw, buf, sizeof(buf)), 5);
    cn_stream_close(s, false);
    assert_int_equal(raw_read(e, raw, buf, sizeof(buf)), 0);
    close(raw);
}

static void test_end_that_came_with_the_data_is_not_missed(void **state)
{
    env_t *e = *state;
    int raw;
    cn_stream_t *s = accepted(e, &raw);
    assert_int_equal(cn_stream_read(s, &e->in, 100), CN_AGAIN);
    raw_write(raw, "end");
    close(raw);
    wait_owner(e, CN_WAKE_READ);
    cn_loop_round(e->loop, 0);
    assert_int_equal(read_next(e, s, 100), CN_OK);
    assert_in(e, "end");
    assert_int_equal(read_next(e, s, 100), CN_DONE);
    cn_stream_close(s, false);
}

static void test_write_after_shutdown_is_an_error(void **state)
{
    env_t *e = *state;
    int raw;
    cn_stream_t *s = accepted(e, &raw);
    cn_stream_shutdown(s);
    assert_int_equal(write_text(s, ""), CN_OK);
    assert_int_equal(write_text(s, "x"), CN_ERR);
    assert_int_equal(s->err, CN_SERR_LOCAL);
    cn_stream_close(s, false);
    close(raw);
}

/* ---- failures ---- */

static void test_reset_by_the_peer_fails_both_directions(void **state)
{
    env_t *e = *state;
    int raw;
    cn_stream_t *s = accepted(e, &raw);
    assert_int_equal(cn_stream_read(s, &e->in, 100), CN_AGAIN);
    raw_reset(raw);
    wait_owner(e, CN_WAKE_CLOSED);
    assert_int_equal(read_next(e, s, 100), CN_ERR);
    assert_int_equal(s->err, CN_SERR_RESET);
    assert_string_equal(s->err_text, "Connection reset by peer");
    assert_int_equal(write_text(s, "x"), CN_ERR);
    assert_int_equal(cn_stream_read(s, &e->in, 100), CN_ERR);
    assert_int_equal(cn_stream_ready(s), CN_ERR);
    cn_stream_close(s, false);
}

static void test_bytes_before_a_reset_are_still_read(void **state)
{
    env_t *e = *state;
    int raw;
    cn_stream_t *s = accepted(e, &raw);
    raw_write(raw, "final words");
    raw_reset(raw);
    assert_int_equal(read_next(e, s, 100), CN_OK);
    assert_in(e, "final words");
    assert_int_equal(read_next(e, s, 100), CN_ERR);
    assert_int_equal(s->err, CN_SERR_RESET);
    cn_stream_close(s, false);
}

/* A server that answers early and closes: its answer counts, though what we
 * still wanted to send has failed. */
static void test_answer_is_read_after_writing_has_failed(void **state)
{
    env_t *e = *state;
    int raw;
    cn_rc rc = CN_OK;
    cn_stream_t *s = accepted(e, &raw);
    assert_int_equal(write_text(s, "never read"), CN_OK);
    raw_write(raw, "413");
    close(raw); /* unread data: the kernel resets */
    for (int i = 0; i < ROUNDS && rc != CN_ERR; i++) {
        cn_loop_round(e->loop, 1);
        rc = write_text(s, "x");
    }
    assert_int_equal(rc, CN_ERR);
    assert_int_equal(s->err, CN_SERR_RESET);
    assert_int_equal(read_next(e, s, 100), CN_OK);
    assert_in(e, "413");
    assert_int_equal(read_next(e, s, 100), CN_ERR);
    cn_stream_close(s, false);
}

/* ---- closing ---- */

static void test_abort_is_seen_as_a_reset(void **state)
{
    env_t *e = *state;
    int raw;
    char buf[16];
    cn_stream_t *s = accepted(e, &raw);
    cn_stream_close(s, true);
    assert_int_equal(raw_read(e, raw, buf, sizeof(buf)), -1);
    assert_int_equal(errno, ECONNRESET);
    close(raw);
}

static void test_abort_after_both_ends_delivers_what_was_accepted(void **state)
{
    env_t *e = *state;
    int raw;
    static char buf[65536];
    cn_chain_t out;
    uint64_t sent, seen = 0;
    cn_stream_t *s = accepted(e, &raw);
    cn_chain_init(&out);
    for (size_t at = 0; at < BIG; at += sizeof(buf))
        cn_chain_copy(&out, buf, sizeof(buf));
    assert_int_equal(cn_stream_write(s, &out), CN_AGAIN);
    cn_chain_clear(&out);
    sent = s->tx;
    cn_stream_shutdown(s);
    assert_int_equal(shutdown(raw, SHUT_WR), 0);
    assert_int_equal(read_next(e, s, 100), CN_DONE);
    cn_stream_close(s, true);
    for (ssize_t n; (n = raw_read(e, raw, buf, sizeof(buf))) != 0; seen += (uint64_t)n)
        assert_true(n > 0);
    assert_true(seen == sent);
    close(raw);
}

/* The answer must survive a peer that keeps on sending what nobody reads. */
static void test_close_delivers_though_the_peer_still_sends(void **state)
{
    env_t *e = *state;
    int raw;
    char buf[64];
    cn_stream_t *s = accepted(e, &raw);
    raw_write(raw, "a body that nobody reads");
    wait_owner(e, CN_WAKE_READ);
    assert_int_equal(write_text(s, "413 too large"), CN_OK);
    cn_stream_close(s, false);
    for (int i = 0; i < 20; i++) {
        raw_write(raw, "more of it");
        cn_loop_round(e->loop, 0);
    }
    assert_int_equal(raw_read(e, raw, buf, sizeof(buf)), 13);
    assert_int_equal(raw_read(e, raw, buf, sizeof(buf)), 0);
    assert_false(cn_list_empty(&e->loop->leavers));
    close(raw);
    for (int i = 0; i < ROUNDS && !cn_list_empty(&e->loop->leavers); i++)
        cn_loop_round(e->loop, 10);
    assert_true(cn_list_empty(&e->loop->leavers));
}

static void test_lingering_ends_with_its_timer(void **state)
{
    env_t *e = *state;
    int raw;
    cn_stream_t *s = accepted(e, &raw);
    assert_int_equal(write_text(s, "x"), CN_OK);
    cn_stream_close(s, false);
    cn_loop_round(e->loop, 0);
    assert_false(cn_list_empty(&e->loop->leavers));
    e->loop->now_ns += 6000000000u;
    cn_timer_expire(e->loop);
    cn_task_pass(e->loop);
    assert_true(cn_list_empty(&e->loop->leavers));
    close(raw);
}

static void test_lingering_ends_with_the_loop(void **state)
{
    env_t *e = *state;
    int raw;
    cn_stream_t *s = accepted(e, &raw);
    assert_int_equal(write_text(s, "x"), CN_OK);
    cn_stream_close(s, false);
    assert_false(cn_list_empty(&e->loop->leavers));
    close(raw); /* the loop is destroyed by teardown; the leak checker looks on */
}

static void test_closed_stream_wakes_nobody(void **state)
{
    env_t *e = *state;
    int raw;
    cn_stream_t *s = accepted(e, &raw);
    assert_int_equal(write_text(s, "x"), CN_OK);
    cn_loop_round(e->loop, 0);
    cn_stream_close(s, false);
    e->owner.why = 0;
    raw_write(raw, "x");
    close(raw);
    for (int i = 0; i < ROUNDS && !cn_list_empty(&e->loop->leavers); i++)
        cn_loop_round(e->loop, 10);
    assert_int_equal(e->owner.why, 0);
}

/* ---- connecting ---- */

/* The result of ready() other than CN_AGAIN; the owner must have been told. */
static cn_rc ready_next(env_t *e, cn_stream_t *s)
{
    wait_owner(e, CN_WAKE_STATE);
    return cn_stream_ready(s);
}

static void test_connect_becomes_ready_and_knows_its_addresses(void **state)
{
    env_t *e = *state;
    char buf[16];
    cn_stream_t *s = cn_sock_connect(e->loop, &e->addr, 10000, &e->owner.task);
    assert_int_equal(ready_next(e, s), CN_OK);
    int raw = accept4(e->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(raw >= 0);
    const cn_peer_t *peer = cn_stream_peer(s);
    assert_true(cn_inet_same_ip(&peer->remote, &e->addr));
    assert_int_equal(peer->remote.port, e->addr.port);
    assert_int_equal(peer->local.family, AF_INET);
    assert_int_not_equal(peer->local.port, 0);
    assert_int_equal(peer->identity.n, 0);
    assert_int_equal(write_text(s, "hi"), CN_OK);
    assert_int_equal(raw_read(e, raw, buf, sizeof(buf)), 2);
    assert_int_equal(e->loop->heap_n, 0);
    cn_stream_close(s, true);
    close(raw);
}

static void test_accepted_stream_asks_the_kernel_who_is_there(void **state)
{
    env_t *e = *state;
    int raw;
    cn_stream_t *s = accepted(e, &raw);
    cn_addr_t far = bound_addr(raw);
    assert_int_equal(cn_stream_peer(s)->remote.port, far.port);
    assert_int_equal(cn_stream_peer(s)->local.port, e->addr.port);
    cn_stream_close(s, true);
    close(raw);
}

static void test_refused_connect_says_so(void **state)
{
    env_t *e = *state;
    struct sockaddr_storage ss;
    cn_addr_t a = e->addr;
    a.port = 0;
    /* Bound but not listening: nobody else gets the port, and it refuses. */
    int holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = cn_inet_to_sockaddr(&a, &ss);
    assert_int_equal(bind(holder, (struct sockaddr *)&ss, len), 0);
    a = bound_addr(holder);
    cn_stream_t *s = cn_sock_connect(e->loop, &a, 10000, &e->owner.task);
    assert_int_equal(ready_next(e, s), CN_ERR);
    assert_int_equal(s->err, CN_SERR_REFUSED);
    assert_string_equal(s->err_text, "Connection refused");
    assert_int_equal(cn_stream_read(s, &e->in, 10), CN_ERR);
    assert_int_equal(write_text(s, "x"), CN_ERR);
    cn_stream_close(s, false);
    close(holder);
}

static void test_connect_without_answer_times_out(void **state)
{
    env_t *e = *state;
    cn_addr_t a;
    int full = listen_any(&a, 0);
    cn_stream_t *fill[4], *s;
    /* A full accept queue drops further handshakes. */
    for (size_t i = 0; i < CN_COUNT(fill); i++)
        fill[i] = cn_sock_connect(e->loop, &a, 0, NULL);
    s = cn_sock_connect(e->loop, &a, 20, &e->owner.task);
    assert_int_equal(cn_stream_ready(s), CN_AGAIN);
    assert_int_equal(cn_stream_read(s, &e->in, 10), CN_AGAIN);
    assert_int_equal(write_text(s, "x"), CN_AGAIN);
    assert_int_equal(ready_next(e, s), CN_ERR);
    assert_int_equal(s->err, CN_SERR_TIMEOUT);
    cn_stream_close(s, false);
    for (size_t i = 0; i < CN_COUNT(fill); i++)
        cn_stream_close(fill[i], true);
    close(full);
}

static void test_connect_to_no_address_shows_in_ready(void **state)
{
    env_t *e = *state;
    cn_addr_t none = {0};
    cn_stream_t *s = cn_sock_connect(e->loop, &none, 10000, &e->owner.task);
    assert_int_equal(ready_next(e, s), CN_ERR);
    assert_int_equal(s->err, CN_SERR_UNREACHABLE);
    assert_non_null(s->err_text);
    assert_int_equal(cn_stream_peer(s)->local.family, 0);
    cn_stream_close(s, true);
}

static void test_shutdown_while_connecting_takes_effect_later(void **state)
{
    env_t *e = *state;
    char buf[16];
    cn_stream_t *s = cn_sock_connect(e->loop, &e->addr, 0, &e->owner.task);
    cn_stream_shutdown(s);
    assert_int_equal(ready_next(e, s), CN_OK);
    int raw = accept4(e->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_int_equal(raw_read(e, raw, buf, sizeof(buf)), 0);
    raw_write(raw, "still");
    assert_int_equal(read_next(e, s, 100), CN_OK);
    assert_in(e, "still");
    cn_stream_close(s, false);
    close(raw);
}

static void test_what_cannot_be_watched_fails_as_a_stream(void **state)
{
    env_t *e = *state;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    cn_stream_t *s = cn_sock_accepted(e->loop, fd, NULL, &e->owner.task);
    assert_int_equal(ready_next(e, s), CN_ERR);
    assert_int_equal(cn_stream_read(s, &e->in, 10), CN_ERR);
    cn_stream_close(s, false);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_bytes_flow_both_ways_and_are_counted),
        T(test_owner_is_woken_for_new_data_after_again),
        T(test_read_takes_no_more_than_max),
        T(test_new_owner_is_woken),
        T(test_full_socket_gives_again_and_every_byte_arrives_in_order),
        T(test_every_byte_of_a_fast_peer_is_read_in_order_and_within_max),
        T(test_the_tail_of_a_wide_read_does_not_pin_a_large_chunk),
        T(test_half_close_by_us_keeps_reading_open),
        T(test_half_close_by_the_peer_keeps_writing_open),
        T(test_end_that_came_with_the_data_is_not_missed),
        T(test_write_after_shutdown_is_an_error),
        T(test_reset_by_the_peer_fails_both_directions),
        T(test_bytes_before_a_reset_are_still_read),
        T(test_answer_is_read_after_writing_has_failed),
        T(test_abort_is_seen_as_a_reset),
        T(test_abort_after_both_ends_delivers_what_was_accepted),
        T(test_close_delivers_though_the_peer_still_sends),
        T(test_lingering_ends_with_its_timer),
        T(test_lingering_ends_with_the_loop),
        T(test_closed_stream_wakes_nobody),
        T(test_connect_becomes_ready_and_knows_its_addresses),
        T(test_accepted_stream_asks_the_kernel_who_is_there),
        T(test_refused_connect_says_so),
        T(test_connect_without_answer_times_out),
        T(test_connect_to_no_address_shows_in_ready),
        T(test_shutdown_while_connecting_takes_effect_later),
        T(test_what_cannot_be_watched_fails_as_a_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
