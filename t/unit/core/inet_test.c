/* SPDX-License-Identifier: Apache-2.0
 * Claims about core/inet.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/inet.h"

static const char *text_of(const cn_addr_t *a, bool with_port)
{
    static char buf[CN_INET_TEXT];
    size_t n = cn_inet_put(buf, a, with_port);
    assert_int_equal(n, strlen(buf));
    return buf;
}

static void test_addresses_are_read_and_printed_in_canonical_form(void **state)
{
    static const char *const v[][2] = {
        {"10.0.0.1", "10.0.0.1"},
        {"255.255.255.255", "255.255.255.255"},
        {"fd00::1", "fd00::1"},
        {"FD00:0:0:0:0:0:0:1", "fd00::1"},
        {"::", "::"},
        {"::1", "::1"},
        {"::ffff:10.1.2.3", "10.1.2.3"},
        {"::FFFF:0a01:0203", "10.1.2.3"},
        {"::10.1.2.3", "::10.1.2.3"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };
    cn_addr_t a;
    (void)state;
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        assert_int_equal(cn_inet_parse_ip(cn_str_c(v[i][0]), &a), CN_OK);
        assert_string_equal(text_of(&a, false), v[i][1]);
        assert_int_equal(a.port, 0);
    }
}

static void test_bad_addresses_are_refused(void **state)
{
    static const char *const v[] = {"",
                                    " 10.0.0.1",
                                    "10.0.0.1 ",
                                    "10.0.0",
                                    "10.0.0.0.1",
                                    "10.0.0.256",
                                    "010.0.0.1",
                                    "0x0a.0.0.1",
                                    "1",
                                    "localhost",
                                    "[::1]",
                                    "fe80::1%eth0",
                                    ":::",
                                    "1::2::3",
                                    "12345::",
                                    "10.0.0.1:80",
                                    "10.0.0.1/8",
                                    "::ffff:10.0.0.256",
                                    "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255:ffff:ffff"};
    cn_addr_t a;
    (void)state;
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        if (cn_inet_parse_ip(cn_str_c(v[i]), &a) != CN_ERR)
            fail_msg("accepted %s", v[i]);
    }
    assert_int_equal(cn_inet_parse_ip(cn_str_make("10.0.0.1\0", 9), &a), CN_ERR);
}

static void test_host_and_port(void **state)
{
    cn_addr_t a;
    (void)state;
    assert_int_equal(cn_inet_parse_hostport(CN_STR("10.0.0.1:80"), false, &a), CN_OK);
    assert_string_equal(text_of(&a, true), "10.0.0.1:80");
    assert_int_equal(cn_inet_parse_hostport(CN_STR("[fd00::1]:65535"), false, &a), CN_OK);
    assert_string_equal(text_of(&a, true), "[fd00::1]:65535");
    assert_int_equal(cn_inet_parse_hostport(CN_STR("[::ffff:10.0.0.1]:15008"), false, &a), CN_OK);
    assert_string_equal(text_of(&a, true), "10.0.0.1:15008");
    assert_int_equal(cn_inet_parse_hostport(CN_STR("10.0.0.1:0"), true, &a), CN_OK);
    assert_int_equal(a.port, 0);
}

static void test_bad_host_and_port_are_refused(void **state)
{
    static const char *const v[] = {"",
                                    ":",
                                    "10.0.0.1",
                                    "10.0.0.1:",
                                    "10.0.0.1:0",
                                    "10.0.0.1:65536",
                                    "10.0.0.1:-1",
                                    "10.0.0.1: 80",
                                    "10.0.0.1:80 ",
                                    "10.0.0.1:000080",
                                    "fd00::1:80",
                                    "[fd00::1]",
                                    "[fd00::1]80",
                                    "[fd00::1",
                                    "[]:80",
                                    "[10.0.0.1]:80",
                                    "name:80",
                                    "[fd00::1]:",
                                    ":80",
                                    "[fd00::1]x:80"};
    cn_addr_t a;
    (void)state;
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        if (cn_inet_parse_hostport(cn_str_c(v[i]), false, &a) != CN_ERR)
            fail_msg("accepted %s", v[i]);
    }
}

typedef struct {
    const char *block, *text;
    unsigned bits;
} block_case_t;

static void test_blocks_lose_their_host_bits(void **state)
{
    static const block_case_t v[] = {
        {"10.1.2.3/8", "10.0.0.0", 8},
        {"10.1.2.3", "10.1.2.3", 32},
        {"10.1.255.3/17", "10.1.128.0", 17},
        {"1.2.3.4/0", "0.0.0.0", 0},
        {"fd00:1:2::3/32", "fd00:1::", 32},
        {"fd00::1", "fd00::1", 128},
        {"::/0", "::", 0},
        {"::ffff:10.1.2.3/104", "10.0.0.0", 8},
        {"::ffff:10.1.2.3", "10.1.2.3", 32},
        {"::ffff:0:0/96", "0.0.0.0", 0},
    };
    cn_addr_t b;
    (void)state;
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        assert_int_equal(cn_inet_parse_block(cn_str_c(v[i].block), &b), CN_OK);
        assert_string_equal(text_of(&b, false), v[i].text);
        assert_int_equal(b.bits, v[i].bits);
    }
}

static void test_bad_blocks_are_refused(void **state)
{
    static const char *const v[] = {"",
                                    "/",
                                    "/8",
                                    "10.0.0.0/",
                                    "10.0.0.0/33",
                                    "10.0.0.0/-1",
                                    "10.0.0.0/8/8",
                                    "10.0.0.0/ 8",
                                    "10/8",
                                    "fd00::/129",
                                    "fd00::/0128",
                                    "::ffff:10.0.0.0/95"};
    cn_addr_t b;
    (void)state;
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        if (cn_inet_parse_block(cn_str_c(v[i]), &b) != CN_ERR)
            fail_msg("accepted %s", v[i]);
    }
}

static bool has(const char *block, const char *ip)
{
    cn_addr_t b, a;
    assert_int_equal(cn_inet_parse_block(cn_str_c(block), &b), CN_OK);
    assert_int_equal(cn_inet_parse_ip(cn_str_c(ip), &a), CN_OK);
    return cn_inet_block_has(&b, &a);
}

static void test_block_membership(void **state)
{
    cn_addr_t none = {0}, any4;
    (void)state;
    assert_true(has("10.0.0.0/8", "10.255.0.1"));
    assert_false(has("10.0.0.0/8", "11.0.0.1"));
    assert_true(has("10.0.0.0/8", "::ffff:10.0.0.1"));
    assert_true(has("192.168.128.0/17", "192.168.128.1"));
    assert_false(has("192.168.128.0/17", "192.168.127.255"));
    assert_true(has("1.2.3.4", "1.2.3.4"));
    assert_false(has("1.2.3.4", "1.2.3.5"));
    assert_true(has("0.0.0.0/0", "8.8.8.8"));
    assert_false(has("0.0.0.0/0", "::1"));
    assert_false(has("::/0", "8.8.8.8"));
    assert_true(has("fd00::/7", "fc00::1"));
    assert_false(has("fd00::/8", "fc00::1"));
    assert_true(has("fd00::1", "fd00::1"));
    assert_int_equal(cn_inet_parse_block(CN_STR("0.0.0.0/0"), &any4), CN_OK);
    assert_false(cn_inet_block_has(&any4, &none));
}

static void test_sockaddr_both_ways(void **state)
{
    static const char *const v[] = {"10.0.0.1:80", "[fd00::1]:443"};
    struct sockaddr_storage ss;
    cn_addr_t a, b;
    (void)state;
    for (size_t i = 0; i < CN_COUNT(v); i++) {
        assert_int_equal(cn_inet_parse_hostport(cn_str_c(v[i]), false, &a), CN_OK);
        socklen_t len = cn_inet_to_sockaddr(&a, &ss);
        cn_inet_from_sockaddr(&b, (struct sockaddr *)&ss, len);
        assert_string_equal(text_of(&b, true), v[i]);
        assert_true(cn_inet_same_ip(&a, &b));
        cn_inet_from_sockaddr(&b, (struct sockaddr *)&ss, len - 1);
        assert_int_equal(b.family, 0);
        assert_false(cn_inet_same_ip(&a, &b));
        assert_false(cn_inet_same_ip(&b, &b));
        assert_string_equal(text_of(&b, true), "-");
        assert_int_equal(cn_inet_to_sockaddr(&b, &ss), 0);
    }
}

static void test_mapped_sockaddr_becomes_ipv4(void **state)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    static const uint8_t ip[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1};
    cn_addr_t a;
    (void)state;
    memcpy(&in6.sin6_addr, ip, sizeof(ip));
    cn_inet_from_sockaddr(&a, (struct sockaddr *)&in6, sizeof(in6));
    assert_string_equal(text_of(&a, true), "127.0.0.1:80");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_are_read_and_printed_in_canonical_form),
        cmocka_unit_test(test_bad_addresses_are_refused),
        cmocka_unit_test(test_host_and_port),
        cmocka_unit_test(test_bad_host_and_port_are_refused),
        cmocka_unit_test(test_blocks_lose_their_host_bits),
        cmocka_unit_test(test_bad_blocks_are_refused),
        cmocka_unit_test(test_block_membership),
        cmocka_unit_test(test_sockaddr_both_ways),
        cmocka_unit_test(test_mapped_sockaddr_becomes_ipv4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
