/* SPDX-License-Identifier: Apache-2.0
 *
 * Headers of both versions from tables: each is read whole, with every piece
 * of its beginning, and with other bytes behind it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../pproxy_int.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2(command, family, length) SIGNATURE command family length
#define IP4 "\x0a\x00\x00\x05\x0a\x60\x00\x01\x9c\x40\x23\x78" /* 10.0.0.5:40000 10.96.0.1:9080 */
#define IP6_SRC "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05"
#define IP6_DST "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x05"
#define PORTS "\x9c\x40\x23\x78"
#define CURL "spiffe://cluster.local/ns/default/sa/curl" /* 41 bytes */
#define TLV_CURL "\xd0\x00\x29" CURL
#define TLV_HOST                                                                                   \
    "\xd1\x00\x05"                                                                                 \
    "a.b.c"

#define S(literal) CN_STR(literal)

typedef struct {
    cn_str_t bytes;
    unsigned version;
    const char *source, *dest; /* NULL: not addressed */
    const char *identity, *host;
} good_t;

static const good_t good[] = {
    {S("PROXY TCP4 10.0.0.5 10.96.0.1 40000 9080\r\n"), 1, "10.0.0.5:40000", "10.96.0.1:9080", "",
     ""},
    {S("PROXY TCP4 10.0.0.5 10.96.0.1 0 1\r\n"), 1, "10.0.0.5:0", "10.96.0.1:1", "", ""},
    {S("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), 1, "255.255.255.255:65535",
     "255.255.255.255:65535", "", ""},
    {S("PROXY TCP6 fd00::5 fd00::1 40000 9080\r\n"), 1, "[fd00::5]:40000", "[fd00::1]:9080", "",
     ""},
    {S("PROXY TCP6 ::ffff:10.0.0.5 fd00::1 40000 9080\r\n"), 1, "10.0.0.5:40000", "[fd00::1]:9080",
     "", ""},
    {S("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     1, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
     "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "", ""},
    {S("PROXY UNKNOWN\r\n"), 1, NULL, NULL, "", ""},
    {S("PROXY UNKNOWN 10.0.0.5 what ever 1 2 3\r\n"), 1, NULL, NULL, "", ""},
    {S(V2("\x21", "\x11", "\0\x0c") IP4), 2, "10.0.0.5:40000", "10.96.0.1:9080", "", ""},
    {S(V2("\x21", "\x11", "\0\x38") IP4 TLV_CURL), 2, "10.0.0.5:40000", "10.96.0.1:9080", CURL, ""},
    {S(V2("\x21", "\x11", "\0\x40") IP4 TLV_HOST TLV_CURL), 2, "10.0.0.5:40000", "10.96.0.1:9080",
     CURL, "a.b.c"},
    {S(V2("\x21", "\x21", "\0\x24") IP6_SRC IP6_DST PORTS), 2, "[fd00::5]:40000", "[fd00::1]:9080",
     "", ""},
    {S(V2("\x21", "\x21", "\0\x24") MAPPED IP6_DST PORTS), 2, "10.0.0.5:40000", "[fd00::1]:9080",
     "", ""},
    {S(V2("\x21", "\x21", "\0\x24") MAPPED MAPPED PORTS), 2, "10.0.0.5:40000", "10.0.0.5:9080", "",
     ""},
    /* TLVs of others, also twice, also empty */
    {S(V2("\x21", "\x11", "\0\x1b") IP4 "\x04\0\x02\0\0"
                                        "\x04\0\0"
                                        "\xea\0\x04"
                                        "\0\1\2\3"),
     2, "10.0.0.5:40000", "10.96.0.1:9080", "", ""},
    /* nothing is known of these connections, and what stands behind is skipped */
    {S(V2("\x20", "\x00", "\0\0")), 2, NULL, NULL, "", ""},
    {S(V2("\x20", "\x11", "\0\x0c") IP4), 2, NULL, NULL, "", ""},
    {S(V2("\x20", "\xff", "\0\x03") "\xd0\xff\xff"), 2, NULL, NULL, "", ""},
    {S(V2("\x21", "\x00", "\0\x02") "\xff\xff"), 2, NULL, NULL, "", ""},
    {S(V2("\x21", "\x01", "\0\x2c") TLV_CURL), 2, NULL, NULL, "", ""},
};

typedef struct {
    const char *what;
    cn_str_t bytes;
} bad_t;

static const bad_t wrong[] = {
    {"HTTP", S("GET / HTTP/1.1\r\n")},
    {"TLS", S("\x16\x03\x01\x02\x00")},
    {"half a signature", S("\r\n\r\n\0\r\nQUIP\n")},
    {"lower case", S("proxy TCP4 10.0.0.5 10.96.0.1 40000 9080\r\n")},
    {"no blank", S("PROXYTCP4 10.0.0.5 10.96.0.1 40000 9080\r\n")},
    {"two blanks", S("PROXY TCP4  10.0.0.5 10.96.0.1 40000 9080\r\n")},
    {"blank at the end", S("PROXY TCP4 10.0.0.5 10.96.0.1 40000 9080 \r\n")},
    {"fifth word", S("PROXY TCP4 10.0.0.5 10.96.0.1 40000 9080 1\r\n")},
    {"three words", S("PROXY TCP4 10.0.0.5 10.96.0.1 40000\r\n")},
    {"no words", S("PROXY TCP4 \r\n")},
    {"no kind", S("PROXY \r\n")},
    {"UDP", S("PROXY UDP4 10.0.0.5 10.96.0.1 40000 9080\r\n")},
    {"UNKNOWNS", S("PROXY UNKNOWNS\r\n")},
    {"IPv6 as TCP4", S("PROXY TCP4 fd00::5 fd00::1 40000 9080\r\n")},
    {"IPv4 as TCP6", S("PROXY TCP6 10.0.0.5 10.96.0.1 40000 9080\r\n")},
    {"families mixed", S("PROXY TCP6 10.0.0.5 fd00::1 40000 9080\r\n")},
    {"name for an address", S("PROXY TCP4 localhost 10.96.0.1 40000 9080\r\n")},
    {"octet of 256", S("PROXY TCP4 10.0.0.256 10.96.0.1 40000 9080\r\n")},
    {"scope", S("PROXY TCP6 fe80::1%lo fd00::1 40000 9080\r\n")},
    {"port 65536", S("PROXY TCP4 10.0.0.5 10.96.0.1 40000 65536\r\n")},
    {"port 0", S("PROXY TCP4 10.0.0.5 10.96.0.1 40000 0\r\n")},
    {"port with a zero in front", S("PROXY TCP4 10.0.0.5 10.96.0.1 40000 09080\r\n")},
    {"port with a sign", S("PROXY TCP4 10.0.0.5 10.96.0.1 40000 +9080\r\n")},
    {"empty port", S("PROXY TCP4 10.0.0.5 10.96.0.1  9080\r\n")},
    {"tab", S("PROXY TCP4 10.0.0.5\t10.96.0.1 40000 9080\r\n")},
    {"NUL", S("PROXY TCP4 10.0.0.5 10.96.0.1 40000 9080\0\r\n")},
    {"bare LF", S("PROXY TCP4 10.0.0.5 10.96.0.1 40000 9080\n")},
    {"bare CR", S("PROXY TCP4 10.0.0.5 10.96.0.1 40000 9080\r ")},
    {"108 bytes",
     S("PROXY UNKNOWN 1234567890123456789012345678901234567890123456789012345678901234567890123456"
       "7890123456789012\r\n")},
    {"version 1 in binary", S(V2("\x11", "\x11", "\0\x0c") IP4)},
    {"version 3", S(V2("\x31", "\x11", "\0\x0c") IP4)},
    {"command 2", S(V2("\x22", "\x11", "\0\x0c") IP4)},
    {"UDP", S(V2("\x21", "\x12", "\0\x0c") IP4)},
    {"transport unknown", S(V2("\x21", "\x10", "\0\x0c") IP4)},
    {"datagrams of no family", S(V2("\x21", "\x02", "\0\0"))},
    {"UNIX", S(V2("\x21", "\x31", "\0\x0c") IP4)},
    {"family 4", S(V2("\x21", "\x41", "\0\x0c") IP4)},
    {"no room for addresses", S(V2("\x21", "\x11", "\0\x0b") IP4)},
    {"no addresses", S(V2("\x21", "\x11", "\0\0"))},
    {"IPv6 in the room of IPv4", S(V2("\x21", "\x21", "\0\x0c") IP4)},
    {"IPv6 short of a byte", S(V2("\x21", "\x21", "\0\x23") IP6_SRC IP6_DST PORTS)},
    {"port 0", S(V2("\x21", "\x11", "\0\x0c") "\x0a\0\0\x05\x0a\x60\0\x01\x9c\x40\0\0")},
    {"too long", S(V2("\x21", "\x11", "\x0f\xf1"))},
    {"as long as can be", S(V2("\x20", "\x00", "\xff\xff"))},
    {"piece of a TLV", S(V2("\x21", "\x11", "\0\x0e") IP4 "\x04\0")},
    {"TLV over the end", S(V2("\x21", "\x11", "\0\x10") IP4 "\x04\0\x02\0")},
    {"TLV of 65535", S(V2("\x21", "\x11", "\0\x10") IP4 "\xd0\xff\xff"
                                                        "a")},
    {"identity cut off", S(V2("\x21", "\x11", "\0\x37") IP4 TLV_CURL)},
    {"two identities", S(V2("\x21", "\x11", "\0\x64") IP4 TLV_CURL TLV_CURL)},
    {"two hosts", S(V2("\x21", "\x11", "\0\x1c") IP4 TLV_HOST TLV_HOST)},
    {"empty identity", S(V2("\x21", "\x11", "\0\x0f") IP4 "\xd0\0\0")},
    {"empty host", S(V2("\x21", "\x11", "\0\x0f") IP4 "\xd1\0\0")},
    {"NUL in an identity", S(V2("\x21", "\x11", "\0\x39") IP4 "\xd0\0\x2a" CURL "\0")},
    {"line end in an identity", S(V2("\x21", "\x11", "\0\x11") IP4 "\xd0\0\x02"
                                                                   "\r\n")},
    {"no ASCII", S(V2("\x21", "\x11", "\0\x11") IP4 "\xd1\0\x02"
                                                    "\xc3\xa4")},
};

/* In memory of exactly its size, so that a read behind its end is seen. */
static char *exactly(cn_str_t bytes)
{
    char *p = cn_xmalloc(bytes.n ? bytes.n : 1);

    if (bytes.n)
        memcpy(p, bytes.p, bytes.n);
    return p;
}

static cn_rc outcome(cn_str_t bytes)
{
    char *p = exactly(bytes);
    pproxy_header_t h;
    cn_rc rc = pproxy_parse(cn_str_make(p, bytes.n), &h);

    if (rc == CN_AGAIN)
        assert_true(h.size > bytes.n && h.size <= PPROXY_MAX);
    assert_true((rc == CN_ERR) == (h.error != NULL));
    free(p);
    return rc;
}

static void assert_addr(const cn_addr_t *a, const char *text)
{
    char buf[CN_INET_TEXT];

    cn_inet_put(buf, a, true);
    assert_string_equal(buf, text);
}

static void assert_text(cn_str_t s, const char *text)
{
    assert_true(cn_str_eq(s, cn_str_c(text)));
}

/* What the header says, when the bytes are followed by others. */
static void assert_says(const good_t *g, cn_str_t behind)
{
    size_t n = g->bytes.n + behind.n;
    char *p = cn_xmalloc(n);
    pproxy_header_t h;

    memcpy(p, g->bytes.p, g->bytes.n);
    if (behind.n)
        memcpy(p + g->bytes.n, behind.p, behind.n);
    assert_int_equal(pproxy_parse(cn_str_make(p, n), &h), CN_OK);
    assert_int_equal(h.size, g->bytes.n);
    assert_int_equal(h.version, g->version);
    assert_int_equal(h.addressed, g->source != NULL);
    if (h.addressed) {
        assert_addr(&h.source, g->source);
        assert_addr(&h.dest, g->dest);
    }
    assert_text(h.identity, g->identity);
    assert_text(h.host, g->host);
    free(p);
}

static void test_headers_say_who_calls_whom(void **state CN_UNUSED)
{
    for (size_t i = 0; i < CN_COUNT(good); i++)
        assert_says(&good[i], CN_STR_NULL);
}

static void test_bytes_behind_a_header_are_not_its_own(void **state CN_UNUSED)
{
    static const cn_str_t behind[] = {CN_STR("GET / HTTP/1.1\r\n"), CN_STR("\r\n"),
                                      CN_STR("PROXY "), CN_STR("\xd0"), CN_STR("\0")};

    for (size_t i = 0; i < CN_COUNT(good); i++)
        for (size_t k = 0; k < CN_COUNT(behind); k++)
            assert_says(&good[i], behind[k]);
}

static void test_a_piece_of_a_header_waits_for_more(void **state CN_UNUSED)
{
    for (size_t i = 0; i < CN_COUNT(good); i++)
        for (size_t n = 0; n < good[i].bytes.n; n++)
            assert_int_equal(outcome(cn_str_make(good[i].bytes.p, n)), CN_AGAIN);
}

/* Never waits for more bytes than the header has. */
static void test_what_is_waited_for_is_part_of_the_header(void **state CN_UNUSED)
{
    for (size_t i = 0; i < CN_COUNT(good); i++) {
        pproxy_header_t h = {.size = 0};

        while (pproxy_parse(cn_str_make(good[i].bytes.p, h.size), &h) == CN_AGAIN)
            assert_true(h.size <= good[i].bytes.n);
        assert_int_equal(h.size, good[i].bytes.n);
    }
}

static void test_malformed_headers_are_refused(void **state CN_UNUSED)
{
    for (size_t i = 0; i < CN_COUNT(wrong); i++)
        if (outcome(wrong[i].bytes) != CN_ERR)
            fail_msg("%zu, %s: taken", i, wrong[i].what);
}

/* ... and with every piece of them, in which nothing may seem to be a header. */
static void test_no_piece_of_a_malformed_header_is_taken(void **state CN_UNUSED)
{
    for (size_t i = 0; i < CN_COUNT(wrong); i++) {
        bool refused = false;

        for (size_t n = 0; n <= wrong[i].bytes.n; n++) {
            cn_rc rc = outcome(cn_str_make(wrong[i].bytes.p, n));

            assert_int_not_equal(rc, CN_OK);
            assert_true(rc == CN_ERR || !refused);
            refused = rc == CN_ERR;
        }
    }
}

static void test_other_protocols_are_known_by_their_first_byte(void **state CN_UNUSED)
{
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        cn_rc rc = outcome(cn_str_make(&byte, 1));

        assert_int_equal(rc, c == 'P' || c == '\r' ? CN_AGAIN : CN_ERR);
    }
}

static void test_the_longest_header_is_taken(void **state CN_UNUSED)
{
    cn_str_t begin = CN_STR(V2("\x21", "\x11", "\x0f\xf0") IP4 "\x04\x0f\xe1");
    char *p = cn_xzalloc(PPROXY_MAX);

    memcpy(p, begin.p, begin.n);
    assert_int_equal(outcome(cn_str_make(p, PPROXY_MAX)), CN_OK);
    assert_int_equal(outcome(cn_str_make(p, PPROXY_MAX - 1)), CN_AGAIN);
    free(p);
}

static void test_the_longest_line_is_taken(void **state CN_UNUSED)
{
    char line[108];

    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    memcpy(line + 105, "\r\n", 2);
    assert_int_equal(outcome(cn_str_make(line, 107)), CN_OK);
    memcpy(line + 105, "x\r\n", 3);
    assert_int_equal(outcome(cn_str_make(line, 108)), CN_ERR);
    assert_int_equal(outcome(cn_str_make(line, 106)), CN_ERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_say_who_calls_whom),
        cmocka_unit_test(test_bytes_behind_a_header_are_not_its_own),
        cmocka_unit_test(test_a_piece_of_a_header_waits_for_more),
        cmocka_unit_test(test_what_is_waited_for_is_part_of_the_header),
        cmocka_unit_test(test_malformed_headers_are_refused),
        cmocka_unit_test(test_no_piece_of_a_malformed_header_is_taken),
        cmocka_unit_test(test_other_protocols_are_known_by_their_first_byte),
        cmocka_unit_test(test_the_longest_header_is_taken),
        cmocka_unit_test(test_the_longest_line_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
