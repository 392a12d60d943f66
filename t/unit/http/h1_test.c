/* SPDX-License-Identifier: Apache-2.0
 *
 * The writing half of the HTTP/1 codec, and what of the reading half the wire
 * vectors cannot show.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "http/h1.h"
#include "http/h1_int.h"

typedef struct {
    cn_pool_t *pool;
    cn_chain_t out, body;
    cn_msg_t m;
} fix_t;

static int setup(void **state)
{
    fix_t *f = cn_xzalloc(sizeof(*f));
    f->pool = cn_pool_create(0);
    cn_msg_init(&f->m, f->pool);
    f->m.method = CN_STR("GET");
    f->m.target = CN_STR("/x?y");
    f->m.authority = CN_STR("h:80");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fix_t *f = *state;
    cn_chain_clear(&f->out);
    cn_chain_clear(&f->body);
    cn_pool_destroy(f->pool);
    free(f);
    return 0;
}

static void add(fix_t *f, const char *name, const char *value)
{
    cn_msg_add(&f->m, &f->m.headers, cn_str_c(name), cn_str_c(value));
}

/* Compares and empties the output. */
static void assert_out(fix_t *f, const char *expected)
{
    size_t n = f->out.bytes;
    char *all = cn_pool_bytes(f->pool, n);
    cn_chain_peek(&f->out, all, n);
    if (!cn_str_eq(cn_str_make(all, n), cn_str_c(expected)))
        fail_msg("wrote:\n%.*s\nexpected:\n%s", (int)n, all, expected);
    cn_chain_clear(&f->out);
}

static void test_a_request_begins_with_host_and_keeps_its_order(void **state)
{
    fix_t *f = *state;
    add(f, "x-b", "1");
    add(f, "x-a", "2");
    assert_int_equal(cn_h1_put_request(&f->out, &f->m, true), CN_H1_FRAME_NONE);
    assert_out(f, "GET /x?y HTTP/1.1\r\nhost: h:80\r\nx-b: 1\r\nx-a: 2\r\n\r\n");
}

static void test_a_post_without_body_says_so(void **state)
{
    fix_t *f = *state;
    f->m.method = CN_STR("POST");
    assert_int_equal(cn_h1_put_request(&f->out, &f->m, true), CN_H1_FRAME_NONE);
    assert_out(f, "POST /x?y HTTP/1.1\r\nhost: h:80\r\ncontent-length: 0\r\n\r\n");
    f->m.method = CN_STR("DELETE");
    assert_int_equal(cn_h1_put_request(&f->out, &f->m, true), CN_H1_FRAME_NONE);
    assert_out(f, "DELETE /x?y HTTP/1.1\r\nhost: h:80\r\n\r\n");
}

static void test_request_bodies_are_framed_by_what_is_known(void **state)
{
    fix_t *f = *state;
    f->m.has_body = true;
    assert_int_equal(cn_h1_put_request(&f->out, &f->m, false), CN_H1_FRAME_CHUNKED);
    assert_out(f, "GET /x?y HTTP/1.1\r\nhost: h:80\r\ntransfer-encoding: chunked\r\n\r\n");
    f->m.content_length = 12;
    assert_int_equal(cn_h1_put_request(&f->out, &f->m, false), CN_H1_FRAME_LENGTH);
    assert_out(f, "GET /x?y HTTP/1.1\r\nhost: h:80\r\ncontent-length: 12\r\n\r\n");
}

static void test_connection_fields_in_a_message_are_not_written(void **state)
{
    fix_t *f = *state;
    add(f, "connection", "close");
    add(f, "keep-alive", "5");
    add(f, "proxy-connection", "x");
    add(f, "transfer-encoding", "gzip");
    add(f, "content-length", "99");
    add(f, "upgrade", "x");
    add(f, "host", "evil");
    add(f, "te", "trailers");
    assert_int_equal(cn_h1_put_request(&f->out, &f->m, true), CN_H1_FRAME_NONE);
    assert_out(f, "GET /x?y HTTP/1.1\r\nhost: h:80\r\nte: trailers\r\n\r\n");
}

static void test_nothing_in_a_message_can_end_a_line(void **state)
{
    fix_t *f = *state;
    f->m.target = CN_STR("/a b\r\nx: 1");
    f->m.authority = CN_STR("h\r\nevil: 1");
    add(f, "a", "1\r\nevil: 1");
    add(f, "b", "1\nevil: 1");
    cn_msg_add(&f->m, &f->m.headers, CN_STR("c"), CN_STR("x\0y"));
    add(f, "d: x\r\nevil", "1");
    add(f, ":path", "/");
    add(f, "", "1");
    add(f, "e", "ok");
    assert_int_equal(cn_h1_put_request(&f->out, &f->m, true), CN_H1_FRAME_NONE);
    assert_out(f, "GET /a%20b%0D%0Ax:%201 HTTP/1.1\r\nhost: h%0D%0Aevil:%201\r\ne: ok\r\n\r\n");
}

static void test_a_websocket_request_is_made_for_this_hop(void **state)
{
    fix_t *f = *state;
    f->m.upgrade_websocket = f->m.has_body = true;
    assert_int_equal(cn_h1_put_request(&f->out, &f->m, false), CN_H1_FRAME_NONE);
    assert_out(f, "GET /x?y HTTP/1.1\r\nhost: h:80\r\n"
                  "connection: Upgrade\r\nupgrade: websocket\r\n\r\n");
}

static cn_h1_framing put_response(fix_t *f, unsigned status, const char *method, bool eos,
                                  bool close)
{
    f->m.status = (uint16_t)status;
    return cn_h1_put_response(&f->out, &f->m, cn_str_c(method), eos, close);
}

static void test_responses_are_framed_by_what_is_known(void **state)
{
    fix_t *f = *state;
    add(f, "x", "1");
    assert_int_equal(put_response(f, 200, "GET", false, false), CN_H1_FRAME_CHUNKED);
    assert_out(f, "HTTP/1.1 200 OK\r\nx: 1\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_int_equal(put_response(f, 418, "GET", true, true), CN_H1_FRAME_NONE);
    assert_out(f, "HTTP/1.1 418 Unknown\r\nx: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    f->m.content_length = 5;
    assert_int_equal(put_response(f, 200, "GET", false, false), CN_H1_FRAME_LENGTH);
    assert_out(f, "HTTP/1.1 200 OK\r\nx: 1\r\ncontent-length: 5\r\n\r\n");
}

static void test_responses_without_body_have_no_wrong_framing(void **state)
{
    fix_t *f = *state;
    assert_int_equal(put_response(f, 200, "HEAD", true, false), CN_H1_FRAME_NONE);
    assert_out(f, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_int_equal(put_response(f, 304, "GET", true, false), CN_H1_FRAME_NONE);
    assert_out(f, "HTTP/1.1 304 Not Modified\r\n\r\n");
    f->m.content_length = 7;
    assert_int_equal(put_response(f, 200, "HEAD", false, false), CN_H1_FRAME_NONE);
    assert_out(f, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n");
    assert_int_equal(put_response(f, 204, "GET", true, false), CN_H1_FRAME_NONE);
    assert_out(f, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(put_response(f, 100, "GET", false, false), CN_H1_FRAME_NONE);
    assert_out(f, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(put_response(f, 101, "GET", false, false), CN_H1_FRAME_NONE);
    assert_out(f, "HTTP/1.1 101 Switching Protocols\r\n"
                  "connection: Upgrade\r\nupgrade: websocket\r\n\r\n");
}

static void test_bodies_become_chunks_or_pass(void **state)
{
    fix_t *f = *state;
    cn_chain_copy(&f->body, "0123456789abcdefXYZ", 19);
    cn_h1_put_body(&f->out, &f->body, CN_H1_FRAME_CHUNKED);
    cn_h1_put_body(&f->out, &f->body, CN_H1_FRAME_CHUNKED);
    cn_h1_put_end(&f->out, CN_H1_FRAME_CHUNKED, NULL);
    assert_out(f, "13\r\n0123456789abcdefXYZ\r\n0\r\n\r\n");
    cn_chain_copy(&f->body, "abc", 3);
    cn_h1_put_body(&f->out, &f->body, CN_H1_FRAME_LENGTH);
    cn_h1_put_end(&f->out, CN_H1_FRAME_LENGTH, NULL);
    assert_out(f, "abc");
    cn_chain_copy(&f->body, "abc", 3);
    cn_h1_put_body(&f->out, &f->body, CN_H1_FRAME_NONE);
    assert_int_equal(f->body.bytes, 0);
    assert_out(f, "");
}

static void test_only_harmless_trailers_are_written(void **state)
{
    fix_t *f = *state;
    cn_msg_add(&f->m, &f->m.trailers, CN_STR("grpc-status"), CN_STR("0"));
    cn_msg_add(&f->m, &f->m.trailers, CN_STR("content-length"), CN_STR("5"));
    cn_msg_add(&f->m, &f->m.trailers, CN_STR("x"), CN_STR("1\r\ny: 2"));
    cn_h1_put_end(&f->out, CN_H1_FRAME_CHUNKED, &f->m.trailers);
    assert_out(f, "0\r\ngrpc-status: 0\r\n\r\n");
}

static void test_a_parser_that_failed_stays_failed(void **state)
{
    fix_t *f = *state;
    cn_h1_parser_t p;
    cn_h1_parser_init(&p, CN_H1_REQUEST, &cn_h1_limits_default);
    cn_chain_puts(&f->body, CN_STR("nonsense\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_int_equal(cn_h1_parse_head(&p, &f->body, &f->m), CN_ERR);
    cn_h1_parser_next(&p);
    assert_int_equal(cn_h1_parse_head(&p, &f->body, &f->m), CN_ERR);
    assert_int_equal(cn_h1_parse_eof(&p), CN_ERR);
    assert_int_equal(p.err, CN_XERR_PROTOCOL);
}

static void test_path_and_query_are_split_but_not_normalised(void **state)
{
    fix_t *f = *state;
    cn_h1_parser_t p;
    cn_h1_parser_init(&p, CN_H1_REQUEST, &cn_h1_limits_default);
    cn_chain_puts(&f->body, CN_STR("GET /a/../b?c=/../#f HTTP/1.1\r\nHost: a\r\n\r\n"));
    cn_msg_init(&f->m, f->pool);
    assert_int_equal(cn_h1_parse_head(&p, &f->body, &f->m), CN_OK);
    assert_true(cn_str_eq(f->m.path, CN_STR("/a/../b")));
    assert_true(f->m.has_query);
    assert_true(cn_str_eq(f->m.query, CN_STR("c=/../")));
    assert_true(cn_str_eq(f->m.target, CN_STR("/a/../b?c=/../")));
}

/* A slice for each byte would cost more memory than the bytes. */
static void test_tiny_chunks_do_not_become_tiny_slices(void **state)
{
    fix_t *f = *state;
    cn_h1_parser_t p;
    cn_h1_parser_init(&p, CN_H1_REQUEST, &cn_h1_limits_default);
    cn_chain_puts(&f->body,
                  CN_STR("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 5000; i++)
        cn_chain_puts(&f->body, CN_STR("1\r\nx\r\n"));
    cn_msg_init(&f->m, f->pool);
    assert_int_equal(cn_h1_parse_head(&p, &f->body, &f->m), CN_OK);
    assert_int_equal(cn_h1_parse_body(&p, &f->body, &f->out, 65536, &f->m), CN_OK);
    assert_int_equal(f->out.bytes, 5000);
    assert_true(f->out.n <= 8);
}

/* Values are looked at eight bytes at a time where there are as many. */
static void test_a_control_character_is_found_at_every_place_of_a_value(void **state CN_UNUSED)
{
    char value[20];

    for (unsigned c = 0; c < 256; c++) {
        bool ok = c == '\t' || (c >= 0x20 && c != 0x7f);

        for (size_t n = 1; n <= sizeof(value); n++)
            for (size_t at = 0; at < n; at++) {
                memset(value, at % 2 ? '\t' : 0x80 + (int)n, n);
                value[at] = (char)c;
                assert_int_equal(cn_h1_value_ok(cn_str_make(value, n)), ok);
            }
    }
    assert_true(cn_h1_value_ok(CN_STR_NULL));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_request_begins_with_host_and_keeps_its_order),
        T(test_a_post_without_body_says_so),
        T(test_request_bodies_are_framed_by_what_is_known),
        T(test_connection_fields_in_a_message_are_not_written),
        T(test_nothing_in_a_message_can_end_a_line),
        T(test_a_websocket_request_is_made_for_this_hop),
        T(test_responses_are_framed_by_what_is_known),
        T(test_responses_without_body_have_no_wrong_framing),
        T(test_bodies_become_chunks_or_pass),
        T(test_only_harmless_trailers_are_written),
        T(test_a_parser_that_failed_stays_failed),
        T(test_path_and_query_are_split_but_not_normalised),
        T(test_tiny_chunks_do_not_become_tiny_slices),
        T(test_a_control_character_is_found_at_every_place_of_a_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
