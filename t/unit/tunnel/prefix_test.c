/* SPDX-License-Identifier: Apache-2.0
 * A stream with bytes in front of it is otherwise the stream itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "../fixture/memstream.h"
#include "../fixture/owner.h"
#include "tunnel/tunnel.h"

typedef struct {
    cn_loop_t *loop;
    cn_pool_t *pool;
    cn_task_t task;
    uint32_t why;
    cn_stream_t *s, *lower, *far;
} fix_t;

static void note(cn_task_t *task, uint32_t why)
{
    cn_container_of(task, fix_t, task)->why |= why;
}

/* The far end has written text; n bytes of it were looked at. */
static int setup(void **state)
{
    fix_t *f = cn_xzalloc(sizeof(*f));
    cn_mempair_t p;
    cn_chain_t head = {0};

    f->loop = cn_loop_create();
    f->pool = cn_pool_create(0);
    cn_task_init(&f->task, f->loop, note);
    p = cn_memstream_pair(f->loop, SIZE_MAX, SIZE_MAX);
    f->lower = p.a;
    f->far = p.b;
    cn_owner_write(f->far, "headtail");
    assert_int_equal(cn_stream_read(f->lower, &head, 4), CN_OK);
    f->s = cn_tunnel_prefix(f->lower, &head);
    assert_int_equal(head.bytes, 0);
    cn_stream_own(f->s, &f->task);
    cn_owner_settle(f->loop);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fix_t *f = *state;

    if (f->s)
        cn_stream_close(f->s, false);
    cn_stream_close(f->far, false);
    cn_task_fini(&f->task);
    cn_loop_destroy(f->loop);
    cn_pool_destroy(f->pool);
    free(f);
    return 0;
}

static void test_the_bytes_come_in_order_and_count_once(void **state)
{
    fix_t *f = *state;
    cn_chain_t got = {0};

    assert_int_equal(f->s->rx, 4);
    assert_int_equal(cn_stream_read(f->s, &got, 3), CN_OK);
    assert_int_equal(got.bytes, 3);
    assert_int_equal(cn_stream_read(f->s, &got, 100), CN_OK);
    assert_int_equal(cn_stream_read(f->s, &got, 100), CN_OK);
    assert_string_equal(cn_owner_text(f->pool, &got), "headtail");
    assert_int_equal(f->s->rx, 8);
    assert_int_equal(cn_stream_read(f->s, &got, 100), CN_AGAIN);
    cn_chain_clear(&got);
}

static void test_the_owner_is_woken_by_the_lower_stream(void **state)
{
    fix_t *f = *state;

    cn_owner_drain(f->pool, f->s);
    f->why = 0;
    cn_owner_write(f->far, "more");
    cn_owner_settle(f->loop);
    assert_true(f->why & CN_WAKE_READ);
    assert_string_equal(cn_owner_drain(f->pool, f->s), "more");
}

static void test_writes_and_both_ends_pass(void **state)
{
    fix_t *f = *state;
    cn_chain_t got = {0};

    cn_owner_write(f->s, "answer");
    assert_int_equal(f->s->tx, 6);
    assert_string_equal(cn_owner_drain(f->pool, f->far), "answer");
    cn_stream_shutdown(f->s);
    assert_true(cn_memstream_peer_shut(f->far));
    cn_owner_drain(f->pool, f->s);
    cn_stream_shutdown(f->far);
    assert_int_equal(cn_stream_read(f->s, &got, 1), CN_DONE);
}

static void test_failures_show_with_their_cause(void **state)
{
    fix_t *f = *state;
    cn_chain_t none = {0};

    assert_int_equal(cn_stream_ready(f->s), CN_OK);
    cn_memstream_fail(f->lower, CN_SERR_RESET);
    assert_int_equal(cn_stream_write(f->s, &none), CN_ERR);
    assert_int_equal(f->s->err, CN_SERR_RESET);
}

static void test_closing_before_the_bytes_were_taken_frees_them(void **state)
{
    fix_t *f = *state;

    cn_stream_close(f->s, true);
    f->s = NULL;
    assert_true(cn_memstream_peer_aborted(f->far));
}

static void test_the_peer_is_the_lower_streams(void **state)
{
    fix_t *f = *state;
    cn_peer_t peer = {.identity = CN_STR("spiffe://t/ns/a/sa/b")};

    cn_memstream_set_peer(f->lower, &peer);
    assert_true(cn_str_eq(cn_stream_peer(f->s)->identity, peer.identity));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_the_bytes_come_in_order_and_count_once),
        T(test_the_owner_is_woken_by_the_lower_stream),
        T(test_writes_and_both_ends_pass),
        T(test_failures_show_with_their_cause),
        T(test_closing_before_the_bytes_were_taken_frees_them),
        T(test_the_peer_is_the_lower_streams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
