/* SPDX-License-Identifier: Apache-2.0
 * Copies of requests: what they carry, and that nobody waits for them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fixture/owner.h"
#include "expect.h"

#define CONF                                                                                       \
    "cluster web { endpoint 10.1.0.1:80 tunnel=hbone; }"                                           \
    "cluster copy { endpoint 10.2.0.1:80 tunnel=hbone; }"                                          \
    "cluster none { endpoint 10.1.0.1:80 tunnel=hbone health=unhealthy; }"                         \
    "service web { address 10.0.0.1:80; protocol http; cluster web; }"

#define GET "GET /x HTTP/1.1\r\nhost: web\r\n\r\n"
#define POST "POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"

static cn_rc mirror_once(cn_req_t *req)
{
    cn_req_mirror(req, CN_STR("copy"));
    return CN_OK;
}

static cn_rc mirror_twice(cn_req_t *req)
{
    cn_req_mirror(req, CN_STR("copy"));
    cn_req_mirror(req, CN_STR("copy"));
    return CN_OK;
}

static cn_rc mirror_nowhere(cn_req_t *req)
{
    cn_req_mirror(req, CN_STR("none"));
    cn_req_mirror(req, CN_STR("unheard-of"));
    return CN_OK;
}

static cn_rc answer_ourselves(cn_req_t *req)
{
    cn_req_mirror(req, CN_STR("copy"));
    cn_req_reply(req, 404, CN_STR_NULL, CN_STR("test"), 0);
    return CN_DONE;
}

static int setup(void **state)
{
    cn_rig_t *rig;

    cn_rig_setup(state);
    rig = *state;
    assert_int_equal(cn_rig_load(rig, CONF, NULL), CN_OK);
    rig->hook[0][CN_PH_POLICY] = mirror_once;
    return 0;
}

static cn_stream_t *client(cn_rig_t *rig)
{
    return cn_rig_open(rig, "10.0.0.1:80", NULL);
}

/* The copy connects first: it starts before the request. */
enum { COPY, MAIN };

static void expect_counts(cn_rig_t *rig, const char *sent, const char *given_up)
{
    assert_string_equal(cn_rig_metric(rig, "cairn_mirrors_total"), sent);
    assert_string_equal(cn_rig_metric(rig, "cairn_mirrors_given_up_total"), given_up);
}

static void test_a_copy_has_the_same_head_and_its_answer_is_dropped(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    assert_starts(rig->target[COPY], "10.2.0.1:80");
    assert_string_equal(cn_rig_recv(rig, rig->host[COPY]), cn_rig_recv(rig, rig->host[MAIN]));
    cn_rig_send(rig, rig->host[COPY], "HTTP/1.1 500 no\r\ncontent-length: 3\r\n\r\nbad");
    assert_int_equal(rig->nlog, 0);
    cn_rig_send(rig, rig->host[MAIN], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    assert_int_equal(only_log(rig)->status, 200);
    expect_counts(rig, "1", "0");
    assert_true(cn_list_empty(&rig->w.calls));
    cn_stream_close(c, false);
}

static void test_the_request_does_not_wait_for_its_copy(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[MAIN], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    assert_int_equal(only_log(rig)->status, 200);
    assert_false(cn_list_empty(&rig->w.calls));
    assert_int_equal(rig->w.detached, 1);
    cn_rig_send(rig, rig->host[COPY], OK);
    assert_true(cn_list_empty(&rig->w.calls));
    assert_int_equal(rig->w.detached, 0);
    assert_int_equal(cn_upool_idle(rig->w.upool), 2);
    cn_stream_close(c, false);
}

static void test_a_copy_gets_the_body_as_it_comes(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, POST "he");
    assert_has(cn_rig_recv(rig, rig->host[COPY]), "content-length: 5\r\n\r\nhe");
    cn_rig_send(rig, c, "llo");
    assert_string_equal(cn_rig_recv(rig, rig->host[COPY]), "llo");
    assert_has(cn_rig_recv(rig, rig->host[MAIN]), "\r\n\r\nhello");
    cn_rig_send(rig, rig->host[MAIN], OK);
    cn_rig_send(rig, rig->host[COPY], OK);
    assert_true(cn_list_empty(&rig->w.calls));
    cn_stream_close(c, false);
}

static void test_there_may_be_several_copies(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->hook[0][CN_PH_POLICY] = mirror_twice;
    cn_rig_send(rig, c, POST "hello");
    assert_int_equal(rig->nhost, 3);
    for (unsigned i = 0; i < 3; i++)
        assert_has(cn_rig_recv(rig, rig->host[i]), "\r\n\r\nhello");
    cn_rig_send(rig, rig->host[2], OK);
    assert_int_equal(rig->w.detached, 2);
    cn_stream_close(c, false);
}

static void test_a_mirror_that_cannot_be_reached_fails_nothing(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->hook[0][CN_PH_POLICY] = mirror_nowhere;
    cn_rig_send(rig, c, POST "hello");
    assert_int_equal(rig->nhost, 1);
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    expect_counts(rig, "0", "2");
    cn_stream_close(c, false);
}

static void test_a_request_that_is_not_forwarded_is_not_copied(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->hook[0][CN_PH_POLICY] = answer_ourselves;
    cn_rig_send(rig, c, GET);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 404 ");
    assert_int_equal(rig->nhost, 0);
    cn_stream_close(c, false);
}

static void test_half_a_request_is_not_left_with_the_mirror(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, POST "he");
    cn_stream_close(c, true);
    cn_rig_settle(rig);
    assert_true(cn_memstream_peer_closed(rig->host[COPY]));
    assert_true(cn_list_empty(&rig->w.calls));
    expect_counts(rig, "1", "1");
}

/* More than PENDING_MAX for a mirror that reads nothing. */
static void test_a_mirror_that_reads_too_slowly_is_given_up(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c;
    char part[50000] = {0};
    cn_chain_t out = {0}, in = {0};
    size_t got = 0;

    rig->window = 10000;
    c = client(rig);
    cn_rig_send(rig, c, "POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: 3000000\r\n\r\n");
    for (unsigned i = 0; i < 60; i++)
        cn_chain_copy(&out, part, sizeof(part));
    assert_int_equal(cn_stream_write(c, &out), CN_OK);
    for (unsigned i = 0; i < 2000 && got < 3000000; i++) {
        cn_rig_settle(rig);
        while (cn_stream_read(rig->host[MAIN], &in, 100000) == CN_OK)
            continue;
        got += in.bytes;
        cn_chain_clear(&in);
    }
    assert_true(got >= 3000000);
    expect_counts(rig, "1", "1");
    assert_true(cn_memstream_peer_closed(rig->host[COPY]));
    cn_chain_clear(&out);
    cn_stream_close(c, true);
}

static void test_a_copy_ends_after_a_minute(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[MAIN], OK);
    cn_rig_pass(rig, 40000);
    assert_int_equal(rig->w.detached, 1);
    cn_rig_pass(rig, 40000);
    assert_int_equal(rig->w.detached, 0);
    cn_stream_close(c, false);
}

static void test_a_draining_worker_makes_no_copies(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    rig->w.draining = true;
    cn_rig_send(rig, c, GET);
    assert_int_equal(rig->nhost, 1);
    assert_starts(rig->target[0], "10.1.0.1:80");
    expect_counts(rig, "0", "1");
    cn_stream_close(c, false);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_copy_has_the_same_head_and_its_answer_is_dropped),
        T(test_the_request_does_not_wait_for_its_copy),
        T(test_a_copy_gets_the_body_as_it_comes),
        T(test_there_may_be_several_copies),
        T(test_a_mirror_that_cannot_be_reached_fails_nothing),
        T(test_a_request_that_is_not_forwarded_is_not_copied),
        T(test_half_a_request_is_not_left_with_the_mirror),
        T(test_a_mirror_that_reads_too_slowly_is_given_up),
        T(test_a_copy_ends_after_a_minute),
        T(test_a_draining_worker_makes_no_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
