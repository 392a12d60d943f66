/* SPDX-License-Identifier: Apache-2.0
 * A request and its host: attempts, repeats, early and broken answers, bodies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fixture/owner.h"
#include "core/mem.h"
#include "expect.h"

#define CONF                                                                                       \
    "cluster web { endpoint 10.1.0.1:80 tunnel=hbone; }"                                           \
    "cluster two { endpoint 10.1.0.1:80 tunnel=hbone; endpoint 10.1.0.2:80 tunnel=hbone; }"        \
    "cluster none { endpoint 10.1.0.1:80 tunnel=hbone health=unhealthy; }"                         \
    "service web { address 10.0.0.1:80; protocol http; cluster web; }"                             \
    "service two { address 10.0.0.2:80; protocol http; cluster two; }"                             \
    "service none { address 10.0.0.3:80; protocol http; cluster none; }"                           \
    "service lost { address 10.0.0.4:80; protocol http; cluster no-such; }"

#define GET "GET /x HTTP/1.1\r\nhost: web\r\n\r\n"
#define POST "POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"

/* Retries are another matter: retry_test.c. */
static cn_rc no_retry(cn_req_t *req)
{
    static const cn_retry_policy_t none;

    cn_req_set_retry(req, &none);
    return CN_OK;
}

static int setup(void **state)
{
    cn_rig_setup(state);
    assert_int_equal(cn_rig_load(*state, CONF, NULL), CN_OK);
    ((cn_rig_t *)*state)->hook[0][CN_PH_POLICY] = no_retry;
    return 0;
}

static cn_stream_t *client(cn_rig_t *rig)
{
    return cn_rig_open(rig, "10.0.0.1:80", NULL);
}

static cn_host_t *host_of(cn_rig_t *rig, const char *cluster, unsigned i)
{
    return cn_clusters_find(rig->w.clusters, cn_str_c(cluster))->hosts[i];
}

/* The far end says this and ends. */
static void say_and_end(cn_rig_t *rig, unsigned host, const char *text)
{
    if (*text)
        cn_owner_write(rig->host[host], text);
    cn_stream_close(rig->host[host], false);
    rig->host[host] = NULL;
    cn_rig_settle(rig);
}

/* A tunnel whose host has an idle connection. */
static cn_stream_t *warm(cn_rig_t *rig, const char *authority)
{
    cn_stream_t *c = cn_rig_open(rig, authority, NULL);

    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], OK);
    cn_rig_recv(rig, c);
    cn_rig_recv(rig, rig->host[0]);
    assert_int_equal(cn_upool_idle(rig->w.upool), 1);
    rig->nlog = 0;
    return c;
}

/* ---- no host ---- */

static void expect_reply(cn_rig_t *rig, const char *authority, const char *start, uint32_t flags,
                         const char *details)
{
    cn_stream_t *c = cn_rig_open(rig, authority, NULL);

    cn_rig_send(rig, c, GET);
    assert_starts(cn_rig_recv(rig, c), start);
    assert_int_equal(only_log(rig)->flags, flags);
    assert_string_equal(rig->log[0].details, details);
    assert_int_equal(rig->log[0].attempts, 0);
    cn_stream_close(c, false);
}

static void test_no_healthy_host_is_503_uh(void **state)
{
    expect_reply(*state, "10.0.0.3:80", "HTTP/1.1 503 ", CN_FLAG_UH, "no_healthy_upstream");
}

static void test_an_unknown_cluster_is_503_nc(void **state)
{
    expect_reply(*state, "10.0.0.4:80", "HTTP/1.1 503 ", CN_FLAG_NC, "cluster_not_found");
}

/* ---- failures before the answer ---- */

static void expect_failure(cn_rig_t *rig, cn_stream_t *c, const char *start, uint32_t flags,
                           const char *details)
{
    assert_starts(cn_rig_recv(rig, c), start);
    assert_int_equal(only_log(rig)->flags, flags);
    assert_string_equal(rig->log[0].details, details);
    assert_int_equal(host_of(rig, "web", 0)->active, 0);
    assert_int_equal(cn_upool_idle(rig->w.upool), 0);
    cn_stream_close(c, false);
}

static void connect_fails(cn_rig_t *rig, cn_serr err, uint32_t flags, const char *details)
{
    cn_stream_t *c = client(rig);

    rig->connecting = true;
    cn_rig_send(rig, c, GET);
    assert_int_equal(host_of(rig, "web", 0)->active, 1);
    /* the near end is the pool's: the far end's failure is not its own */
    cn_memstream_connected(cn_upool_conn_stream(rig->req->up), err);
    expect_failure(rig, c, "HTTP/1.1 503 ", flags, details);
}

static void test_a_refused_connection_is_503_uf(void **state)
{
    cn_rig_t *rig = *state;

    connect_fails(rig, CN_SERR_REFUSED, CN_FLAG_UF,
                  "upstream_reset_before_response_started{remote_connection_failure|"
                  "delayed_connect_error:_not_connected}");
    assert_string_equal(rig->log[0].failure, "delayed_connect_error:_not_connected");
    assert_int_equal(rig->log[0].attempts, 1);
}

static void test_a_connect_timeout_is_503_uf(void **state)
{
    connect_fails(*state, CN_SERR_TIMEOUT, CN_FLAG_UF,
                  "upstream_reset_before_response_started{connection_timeout}");
}

static void test_a_fresh_connection_that_closes_is_503_uc_and_not_repeated(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    say_and_end(rig, 0, "");
    assert_int_equal(rig->nhost, 1);
    expect_failure(rig, c, "HTTP/1.1 503 ", CN_FLAG_UC,
                   "upstream_reset_before_response_started{connection_termination}");
}

static void test_half_a_response_head_is_502_upe(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    say_and_end(rig, 0, "HTTP/1.1 200 OK\r\ncont");
    expect_failure(rig, c, "HTTP/1.1 502 ", CN_FLAG_UPE,
                   "upstream_reset_before_response_started{protocol_error}");
}

static void test_a_failed_attempt_leaves_the_client_connection_usable(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, GET);
    say_and_end(rig, 0, "");
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 503 ");
    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    cn_stream_close(c, false);
}

/* ---- kept connections ---- */

static void test_a_connection_that_served_is_used_again(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = warm(rig, "10.0.0.1:80");

    cn_rig_send(rig, c, GET);
    assert_int_equal(rig->nhost, 1);
    cn_rig_send(rig, rig->host[0], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    cn_stream_close(c, false);
}

static void test_get_is_repeated_once_when_a_kept_connection_closes(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = warm(rig, "10.0.0.1:80");

    cn_rig_send(rig, c, GET);
    say_and_end(rig, 0, "");
    assert_int_equal(rig->nhost, 2);
    assert_starts(cn_rig_recv(rig, rig->host[1]), "GET /x ");
    say_and_end(rig, 1, "");
    assert_int_equal(rig->nhost, 2);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 503 ");
    assert_int_equal(only_log(rig)->attempts, 2);
    assert_int_equal(host_of(rig, "web", 0)->active, 0);
    cn_stream_close(c, false);
}

static void test_the_repeat_goes_to_another_host_when_there_is_one(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = warm(rig, "10.0.0.2:80");

    cn_rig_send(rig, c, GET);
    say_and_end(rig, 0, "");
    assert_string_equal(rig->target[1], "10.1.0.2:80");
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    assert_int_equal(host_of(rig, "two", 0)->active + host_of(rig, "two", 1)->active, 0);
    cn_stream_close(c, false);
}

static void test_post_with_a_body_is_not_repeated(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = warm(rig, "10.0.0.1:80");

    cn_rig_send(rig, c, POST "hello");
    say_and_end(rig, 0, "");
    assert_int_equal(rig->nhost, 1);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 503 ");
    assert_int_equal(only_log(rig)->flags, CN_FLAG_UC);
    cn_stream_close(c, false);
}

static void test_a_put_is_repeated_with_what_came_of_its_body(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = warm(rig, "10.0.0.1:80");

    cn_rig_send(rig, c, "PUT /x HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\nhe");
    say_and_end(rig, 0, "");
    assert_has(cn_rig_recv(rig, rig->host[1]), "content-length: 5\r\n\r\nhe");
    cn_rig_send(rig, c, "llo");
    assert_string_equal(cn_rig_recv(rig, rig->host[1]), "llo");
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    cn_stream_close(c, false);
}

static void test_a_bad_answer_on_a_kept_connection_is_not_repeated(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = warm(rig, "10.0.0.1:80");
    cn_chain_t many = {0};

    cn_rig_send(rig, c, GET);
    cn_chain_puts(&many, CN_STR("HTTP/1.1 200 OK\r\n"));
    for (unsigned i = 0; i < 101; i++)
        cn_chain_puts(&many, CN_STR("a: b\r\n"));
    cn_chain_puts(&many, CN_STR("\r\n"));
    assert_int_equal(cn_stream_write(rig->host[0], &many), CN_OK);
    cn_rig_settle(rig);
    assert_int_equal(rig->nhost, 1);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 502 ");
    assert_int_equal(only_log(rig)->flags, CN_FLAG_UPE);
    cn_stream_close(c, false);
}

static void test_a_forbidden_byte_on_a_kept_connection_is_not_repeated(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = warm(rig, "10.0.0.1:80");

    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 200 OK\r\na: \x01\r\n\r\n");
    assert_int_equal(rig->nhost, 1);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 502 ");
    cn_stream_close(c, false);
}

static void test_the_repeat_trusts_no_other_kept_connection(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *a = client(rig), *b = client(rig);

    cn_owner_write(a, GET);
    cn_owner_write(b, GET);
    cn_rig_settle(rig);
    cn_rig_send(rig, rig->host[0], OK);
    cn_rig_send(rig, rig->host[1], OK);
    assert_int_equal(cn_upool_idle(rig->w.upool), 2);
    cn_rig_send(rig, a, GET);
    say_and_end(rig, 1, "");
    assert_int_equal(rig->nhost, 3);
    cn_rig_send(rig, rig->host[2], OK);
    assert_int_equal(rig->log[2].attempts, 2);
    assert_int_equal(rig->log[2].status, 200);
    cn_stream_close(a, false);
    cn_stream_close(b, false);
}

static void test_what_a_host_refused_to_process_goes_to_another(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open(rig, "10.0.0.2:80", NULL);

    rig->connecting = true;
    cn_rig_send(rig, c, "POST /x HTTP/1.1\r\nhost: web\r\n\r\n");
    rig->connecting = false;
    cn_memstream_connected(cn_upool_conn_stream(rig->req->up), CN_SERR_UNPROCESSED);
    cn_rig_settle(rig);
    assert_int_equal(rig->nhost, 2);
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    cn_stream_close(c, false);
}

/* ---- answers ---- */

static void test_informational_answers_pass(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;

    cn_rig_send(
        rig, c,
        "POST / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    assert_has(cn_rig_recv(rig, rig->host[0]), "expect: 100-continue\r\n");
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 100 Continue\r\n\r\n");
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 100 ");
    cn_rig_send(rig, c, "ab");
    assert_string_equal(cn_rig_recv(rig, rig->host[0]), "ab");
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 103 x\r\nlink: a\r\n\r\n" OK);
    got = cn_rig_recv(rig, c);
    assert_starts(got, "HTTP/1.1 103 ");
    assert_has(got, "link: a\r\n\r\nHTTP/1.1 200 OK\r\n");
    assert_int_equal(only_log(rig)->status, 200);
    cn_stream_close(c, false);
}

static void test_an_early_answer_passes_and_closes_both_sides(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;

    cn_rig_send(rig, c, POST "he");
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 413 x\r\ncontent-length: 2\r\n\r\nno");
    got = cn_rig_recv(rig, c);
    assert_starts(got, "HTTP/1.1 413 ");
    assert_has(got, "connection: close\r\n");
    assert_lacks(got, "service-time");
    assert_has(got, "\r\n\r\nno");
    assert_string_equal(only_log(rig)->details, "via_upstream");
    assert_true(cn_memstream_peer_closed(rig->host[0]));
    cn_stream_close(c, false);
}

static void test_an_early_answer_does_not_stop_the_request_body(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c, POST "he");
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 200 x\r\ncontent-length: 4\r\n\r\nab");
    cn_rig_recv(rig, rig->host[0]);
    cn_rig_send(rig, c, "llo");
    assert_string_equal(cn_rig_recv(rig, rig->host[0]), "llo");
    cn_rig_send(rig, rig->host[0], "cd");
    assert_has(cn_rig_recv(rig, c), "\r\n\r\nabcd");
    cn_stream_close(c, false);
}

static void expect_bodyless(cn_rig_t *rig, const char *method, const char *answer)
{
    cn_stream_t *c = client(rig);
    const char *got;

    cn_owner_write(c, method);
    cn_rig_send(rig, c, " /x HTTP/1.1\r\nhost: web\r\n\r\n");
    cn_rig_send(rig, rig->host[0], answer);
    got = cn_rig_recv(rig, c);
    assert_string_equal(got + strlen(got) - 4, "\r\n\r\n");
    assert_int_equal(rig->nlog, 1);
    assert_int_equal(rig->log[0].flags, 0);
    assert_int_equal(rig->log[0].body_tx, 0);
    assert_int_equal(cn_upool_idle(rig->w.upool), 1);
    cn_stream_close(c, false);
}

static void test_head_has_no_body_whatever_it_says(void **state)
{
    expect_bodyless(*state, "HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 700\r\n\r\n");
}

static void test_204_has_no_body(void **state)
{
    expect_bodyless(*state, "GET", "HTTP/1.1 204 No Content\r\n\r\n");
}

static void test_304_has_no_body_whatever_it_says(void **state)
{
    expect_bodyless(*state, "GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 700\r\n\r\n");
}

static void test_a_body_that_ends_with_the_connection_is_chunked(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;

    cn_rig_send(rig, c, GET);
    say_and_end(rig, 0, "HTTP/1.0 200 OK\r\n\r\nhi");
    got = cn_rig_recv(rig, c);
    assert_has(got, "transfer-encoding: chunked\r\n");
    assert_string_equal(got + strlen(got) - 12, "2\r\nhi\r\n0\r\n\r\n");
    assert_int_equal(only_log(rig)->flags, 0);
    cn_stream_close(c, false);
}

static void test_a_body_cut_short_is_upe_and_the_client_sees_the_end(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;

    cn_rig_send(rig, c, GET);
    say_and_end(rig, 0, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi");
    got = cn_rig_recv(rig, c);
    assert_string_equal(got + strlen(got) - 6, "\r\n\r\nhi");
    assert_true(cn_memstream_peer_shut(c));
    assert_int_equal(only_log(rig)->status, 200);
    assert_int_equal(rig->log[0].flags, CN_FLAG_UPE);
    assert_string_equal(rig->log[0].details,
                        "upstream_reset_after_response_started{protocol_error}");
    assert_int_equal(cn_upool_idle(rig->w.upool), 0);
    cn_stream_close(c, false);
}

static void test_a_chunked_body_with_bad_framing_never_looks_complete(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;

    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0],
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n");
    got = cn_rig_recv(rig, c);
    assert_has(got, "2\r\nhi\r\n");
    assert_lacks(got, "0\r\n\r\n");
    assert_true(cn_memstream_peer_shut(c));
    assert_int_equal(only_log(rig)->flags, CN_FLAG_UPE);
    cn_stream_close(c, false);
}

static void test_a_body_larger_than_its_length_keeps_nothing(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);
    const char *got;

    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], OK "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
    got = cn_rig_recv(rig, c);
    assert_lacks(got, "evil");
    assert_int_equal(cn_upool_idle(rig->w.upool), 0);
    cn_rig_send(rig, c, GET);
    assert_int_equal(rig->nhost, 2);
    cn_stream_close(c, false);
}

static void test_bytes_behind_an_answer_never_answer_the_next_request(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = warm(rig, "10.0.0.1:80");

    /* both arrive in the same round */
    cn_owner_write(rig->host[0], "HTTP/1.1 408 x\r\ncontent-length: 0\r\n\r\n");
    cn_owner_write(c, GET);
    cn_rig_settle(rig);
    assert_string_equal(cn_rig_recv(rig, c), "");
    assert_int_equal(rig->nhost, 2);
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    cn_stream_close(c, false);
}

static void test_a_post_is_not_lost_to_a_connection_that_ended_in_the_same_round(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = warm(rig, "10.0.0.1:80");

    cn_owner_write(c, POST "hello");
    cn_stream_close(rig->host[0], false);
    rig->host[0] = NULL;
    cn_rig_settle(rig);
    assert_int_equal(rig->nhost, 2);
    cn_rig_send(rig, rig->host[1], OK);
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    assert_int_equal(cn_upool_idle(rig->w.upool), 1);
    cn_stream_close(c, false);
}

static void test_trailers_tell_the_grpc_status(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = client(rig);

    cn_rig_send(rig, c,
                "POST /a/b HTTP/1.1\r\nhost: web\r\ncontent-type: application/grpc\r\n"
                "content-length: 0\r\n\r\n");
    cn_rig_send(rig, rig->host[0],
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\ngrpc-status: 9\r\n\r\n");
    assert_int_equal(only_log(rig)->grpc_status, 9);
    cn_stream_close(c, false);
}

/* ---- large bodies through narrow streams ---- */

#define LARGE 3000000u

static void feed(cn_rig_t *rig, cn_stream_t *from, cn_stream_t *to, size_t *got)
{
    cn_chain_t out = {0}, in = {0};
    size_t left = LARGE;

    for (unsigned idle = 0; idle < 3;) {
        size_t before = *got + LARGE - left;
        char part[5000] = {0};
        size_t n = left < sizeof(part) ? left : sizeof(part);

        if (out.bytes == 0) {
            cn_chain_copy(&out, part, n);
            left -= n;
        }
        assert_int_not_equal(cn_stream_write(from, &out), CN_ERR);
        cn_rig_settle(rig);
        while (cn_stream_read(to, &in, 20000) == CN_OK)
            continue;
        *got += in.bytes;
        cn_chain_clear(&in);
        idle = *got + LARGE - left == before ? idle + 1 : 0;
        assert_true(cn_mem_total() < 1000000 + 1100000); /* with what is kept for a retry */
    }
    assert_int_equal(left, 0);
    cn_chain_clear(&out);
}

static void test_large_bodies_pass_through_narrow_streams(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open_narrow(rig, "10.0.0.1:80", 3000);
    size_t got = 0;

    rig->window = 5000;
    cn_rig_send(rig, c, "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 3000000\r\n\r\n");
    cn_rig_recv(rig, rig->host[0]);
    feed(rig, c, rig->host[0], &got);
    assert_int_equal(got, LARGE);
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n");
    assert_starts(cn_rig_recv(rig, c), "HTTP/1.1 200 ");
    got = 0;
    feed(rig, rig->host[0], c, &got);
    assert_int_equal(got, LARGE);
    assert_int_equal(only_log(rig)->body_rx, LARGE);
    assert_int_equal(rig->log[0].body_tx, LARGE);
    cn_stream_close(c, false);
}

/* Gives the host's body as far as it is taken; how much that was. */
static size_t push(cn_rig_t *rig, cn_stream_t *host, cn_chain_t *out, size_t *left)
{
    static const char part[20000];
    size_t n = *left < sizeof(part) ? *left : sizeof(part), before;

    if (out->bytes == 0) {
        cn_chain_copy(out, part, n);
        *left -= n;
    }
    before = out->bytes;
    assert_int_not_equal(cn_stream_write(host, out), CN_ERR);
    cn_rig_settle(rig);
    return before - out->bytes;
}

static void test_a_client_that_does_not_read_stops_the_host(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open_narrow(rig, "10.0.0.1:80", 1000);
    cn_chain_t out = {0}, in = {0};
    size_t left = LARGE, taken = 0;

    rig->window = 10000;
    cn_rig_send(rig, c, GET);
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n");
    for (unsigned i = 0; i < 100; i++)
        taken += push(rig, rig->host[0], &out, &left);
    assert_true(taken < 400000);
    /* what was taken arrives although the host is silent now */
    for (unsigned i = 0; i < 1000; i++) {
        while (cn_stream_read(c, &in, 20000) == CN_OK)
            continue;
        cn_rig_settle(rig);
    }
    assert_true(in.bytes > taken);
    /* and it goes on */
    for (unsigned i = 0; i < 10000 && in.bytes <= LARGE; i++) {
        taken += push(rig, rig->host[0], &out, &left);
        while (cn_stream_read(c, &in, 20000) == CN_OK)
            continue;
        cn_rig_settle(rig);
    }
    assert_int_equal(taken, LARGE);
    assert_true(in.bytes > LARGE);
    assert_int_equal(only_log(rig)->body_tx, LARGE);
    cn_chain_clear(&in);
    cn_chain_clear(&out);
    cn_stream_close(c, false);
}

static void test_a_client_that_ended_and_reads_slowly_gets_everything(void **state)
{
    cn_rig_t *rig = *state;
    cn_stream_t *c = cn_rig_open_narrow(rig, "10.0.0.1:80", 100);
    cn_chain_t in = {0};

    cn_owner_write(c, GET);
    cn_rig_settle(rig);
    cn_rig_send(rig, rig->host[0], "HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n");
    for (unsigned i = 0; i < 40; i++)
        cn_rig_send(rig, rig->host[0], "0123456789");
    cn_stream_shutdown(c);
    cn_rig_settle(rig);
    for (unsigned i = 0; i < 20; i++) {
        while (cn_stream_read(c, &in, 20000) == CN_OK)
            continue;
        cn_rig_settle(rig);
    }
    assert_true(in.bytes > 400);
    cn_chain_clear(&in);
    cn_stream_close(c, false);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, cn_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_no_healthy_host_is_503_uh),
        T(test_an_unknown_cluster_is_503_nc),
        T(test_a_refused_connection_is_503_uf),
        T(test_a_connect_timeout_is_503_uf),
        T(test_a_fresh_connection_that_closes_is_503_uc_and_not_repeated),
        T(test_half_a_response_head_is_502_upe),
        T(test_a_failed_attempt_leaves_the_client_connection_usable),
        T(test_a_connection_that_served_is_used_again),
        T(test_get_is_repeated_once_when_a_kept_connection_closes),
        T(test_the_repeat_goes_to_another_host_when_there_is_one),
        T(test_post_with_a_body_is_not_repeated),
        T(test_a_put_is_repeated_with_what_came_of_its_body),
        T(test_a_bad_answer_on_a_kept_connection_is_not_repeated),
        T(test_a_forbidden_byte_on_a_kept_connection_is_not_repeated),
        T(test_the_repeat_trusts_no_other_kept_connection),
        T(test_what_a_host_refused_to_process_goes_to_another),
        T(test_informational_answers_pass),
        T(test_an_early_answer_passes_and_closes_both_sides),
        T(test_an_early_answer_does_not_stop_the_request_body),
        T(test_head_has_no_body_whatever_it_says),
        T(test_204_has_no_body),
        T(test_304_has_no_body_whatever_it_says),
        T(test_a_body_that_ends_with_the_connection_is_chunked),
        T(test_a_body_cut_short_is_upe_and_the_client_sees_the_end),
        T(test_a_chunked_body_with_bad_framing_never_looks_complete),
        T(test_a_body_larger_than_its_length_keeps_nothing),
        T(test_bytes_behind_an_answer_never_answer_the_next_request),
        T(test_a_post_is_not_lost_to_a_connection_that_ended_in_the_same_round),
        T(test_trailers_tell_the_grpc_status),
        T(test_large_bodies_pass_through_narrow_streams),
        T(test_a_client_that_does_not_read_stops_the_host),
        T(test_a_client_that_ended_and_reads_slowly_gets_everything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
