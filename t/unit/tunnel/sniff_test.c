/* SPDX-License-Identifier: Apache-2.0
 * Telling HTTP from other protocols by the first bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tunnel/tunnel.h"

static cn_sniff sniff(const char *text)
{
    cn_chain_t c;
    cn_sniff what;

    cn_chain_init(&c);
    cn_chain_puts(&c, cn_str_c(text));
    what = cn_tunnel_sniff(&c);
    cn_chain_clear(&c);
    return what;
}

static void test_requests_are_http1_as_soon_as_the_target_begins(void **state)
{
    (void)state;
    assert_int_equal(sniff("GET /"), CN_SNIFF_HTTP1);
    assert_int_equal(sniff("GET http://a/ HTTP/1.1\r\n"), CN_SNIFF_HTTP1);
    assert_int_equal(sniff("OPTIONS * HTTP/1.1\r\n"), CN_SNIFF_HTTP1);
    assert_int_equal(sniff("M-SEARCH /x"), CN_SNIFF_HTTP1);
}

static void test_beginnings_of_a_request_wait(void **state)
{
    (void)state;
    assert_int_equal(sniff(""), CN_SNIFF_MORE);
    assert_int_equal(sniff("P"), CN_SNIFF_MORE);
    assert_int_equal(sniff("GET"), CN_SNIFF_MORE);
    assert_int_equal(sniff("GET "), CN_SNIFF_MORE);
}

static void test_preface_is_http2_only_when_complete(void **state)
{
    (void)state;
    assert_int_equal(sniff("PRI * HTTP/2.0\r\n"), CN_SNIFF_HTTP2);
    assert_int_equal(sniff("PRI * HT"), CN_SNIFF_MORE);
    assert_int_equal(sniff("PRI * HTTP/1.1\r\n"), CN_SNIFF_HTTP1);
}

static void test_other_protocols_are_tcp_without_waiting_for_a_line(void **state)
{
    (void)state;
    assert_int_equal(sniff("*1\r\n$4\r\nPING\r\n"), CN_SNIFF_TCP);
    assert_int_equal(sniff("SSH-2.0-x\r\n"), CN_SNIFF_TCP);
    assert_int_equal(sniff("hello"), CN_SNIFF_TCP);
    assert_int_equal(sniff("\x16\x03\x01"), CN_SNIFF_TCP);
    assert_int_equal(sniff("GET x"), CN_SNIFF_TCP);
}

static void test_letters_without_end_stop_waiting(void **state)
{
    (void)state;
    assert_int_equal(sniff("AAAAAAAAAAAAAAA"), CN_SNIFF_MORE);
    assert_int_equal(sniff("AAAAAAAAAAAAAAAAA"), CN_SNIFF_TCP);
}

static cn_sniff sniff_http(const char *text)
{
    cn_chain_t c;
    cn_sniff what;

    cn_chain_init(&c);
    cn_chain_puts(&c, cn_str_c(text));
    what = cn_tunnel_sniff_http(&c);
    cn_chain_clear(&c);
    return what;
}

static void test_declared_http_waits_only_for_the_preface(void **state)
{
    (void)state;
    assert_int_equal(sniff_http(""), CN_SNIFF_MORE);
    assert_int_equal(sniff_http("P"), CN_SNIFF_MORE);
    assert_int_equal(sniff_http("PRI * HTTP/2.0\r"), CN_SNIFF_MORE);
    assert_int_equal(sniff_http("PRI * HTTP/2.0\r\n"), CN_SNIFF_HTTP2);
    assert_int_equal(sniff_http("PRI * HTTP/2.0\r\n\r\nSM"), CN_SNIFF_HTTP2);
    assert_int_equal(sniff_http("PO"), CN_SNIFF_HTTP1);
    assert_int_equal(sniff_http("PRI * HTTP/1.1"), CN_SNIFF_HTTP1);
    assert_int_equal(sniff_http("SSH-2.0-x"), CN_SNIFF_HTTP1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_http1_as_soon_as_the_target_begins),
        cmocka_unit_test(test_beginnings_of_a_request_wait),
        cmocka_unit_test(test_preface_is_http2_only_when_complete),
        cmocka_unit_test(test_other_protocols_are_tcp_without_waiting_for_a_line),
        cmocka_unit_test(test_letters_without_end_stop_waiting),
        cmocka_unit_test(test_declared_http_waits_only_for_the_preface),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
