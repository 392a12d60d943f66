/* SPDX-License-Identifier: Apache-2.0
 * The server name in a TLS hello, whole and in pieces, good and bad.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tunnel/tunnel.h"

typedef struct {
    uint8_t v[40000];
    size_t n;
} bytes_t;

static void put(bytes_t *b, const void *p, size_t n)
{
    memcpy(b->v + b->n, p, n);
    b->n += n;
}

static void put_number(bytes_t *b, size_t value, unsigned bytes)
{
    while (bytes-- > 0)
        b->v[b->n++] = (uint8_t)(value >> 8 * bytes);
}

/* An extension server_name whose list is given. */
static bytes_t names(const char *list, size_t n)
{
    bytes_t b = {.n = 0};

    put_number(&b, 0, 2);
    put_number(&b, n + 2, 2);
    put_number(&b, n, 2);
    put(&b, list, n);
    return b;
}

static bytes_t name(const char *host)
{
    char list[400] = {0};
    size_t n = strlen(host);

    list[1] = (char)(n >> 8);
    list[2] = (char)n;
    memcpy(list + 3, host, n);
    return names(list, n + 3);
}

/* The message ClientHello with these extensions behind a padding of size `pad`. */
static bytes_t hello(const bytes_t *extensions, size_t pad)
{
    bytes_t body = {.n = 0}, b = {.n = 0};

    put_number(&body, 0x0303, 2);
    body.n += 32;
    put_number(&body, 0, 1);
    put_number(&body, 2, 2);
    put_number(&body, 0x1301, 2);
    put_number(&body, 1, 1);
    put_number(&body, 0, 1);
    put_number(&body, extensions->n + 4 + pad, 2);
    put_number(&body, 21, 2);
    put_number(&body, pad, 2);
    body.n += pad;
    put(&body, extensions->v, extensions->n);
    put_number(&b, 1, 1);
    put_number(&b, body.n, 3);
    put(&b, body.v, body.n);
    return b;
}

/* Cut into records of `size` bytes. */
static bytes_t records(const bytes_t *message, size_t size)
{
    bytes_t b = {.n = 0};

    for (size_t at = 0; at < message->n; at += size) {
        size_t n = message->n - at < size ? message->n - at : size;

        put_number(&b, 22, 1);
        put_number(&b, 0x0301, 2);
        put_number(&b, n, 2);
        put(&b, message->v + at, n);
    }
    return b;
}

/* As slices of `step` bytes. */
static cn_rc read_bytes(const bytes_t *b, size_t n, size_t step, cn_hello_t *h)
{
    cn_chain_t c;
    cn_rc rc;

    cn_chain_init(&c);
    for (size_t at = 0; at < n; at += step) {
        cn_chunk_t *chunk = cn_chunk_new(step);
        size_t k = n - at < step ? n - at : step;

        memcpy(chunk->data, b->v + at, k);
        chunk->used = (uint32_t)k;
        cn_chain_push(&c, chunk, 0, (uint32_t)k);
    }
    rc = cn_tunnel_hello(&c, h);
    cn_chain_clear(&c);
    return rc;
}

static cn_rc read_message(const bytes_t *message, cn_hello_t *h)
{
    bytes_t b = records(message, 16384);

    return read_bytes(&b, b.n, 1000, h);
}

static cn_rc read_extension(bytes_t ext)
{
    bytes_t m = hello(&ext, 10);
    cn_hello_t h;

    return read_message(&m, &h);
}

static void expect_name(const bytes_t *b, size_t step, const char *expected)
{
    cn_hello_t h;

    assert_int_equal(read_bytes(b, b->n, step, &h), CN_OK);
    assert_int_equal(h.n, strlen(expected));
    assert_memory_equal(h.name, expected, h.n);
}

static void test_the_name_is_found_in_lower_case(void **state)
{
    bytes_t ext = name("Www.Example.COM"), m = hello(&ext, 300), b = records(&m, 16384);

    (void)state;
    expect_name(&b, 40000, "www.example.com");
    expect_name(&b, 7, "www.example.com");
}

static void test_it_is_found_over_several_records(void **state)
{
    bytes_t ext = name("a.example"), m = hello(&ext, 100), b = records(&m, m.n / 16 + 1);

    (void)state;
    expect_name(&b, 1, "a.example");
    b = records(&m, 3);
    assert_int_equal(read_bytes(&b, b.n, 100, &(cn_hello_t){.n = 0}), CN_ERR); /* too many */
}

static void test_every_beginning_waits(void **state)
{
    bytes_t ext = name("a.example"), m = hello(&ext, 20), b = records(&m, 50);
    cn_hello_t h;

    (void)state;
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(read_bytes(&b, n, 9, &h), CN_AGAIN);
    assert_int_equal(read_bytes(&b, b.n, 9, &h), CN_OK);
}

static void test_a_hello_without_a_name_has_none(void **state)
{
    bytes_t none = {.n = 0}, m = hello(&none, 20), b = records(&m, 16384);

    (void)state;
    expect_name(&b, 100, "");
}

static void test_other_protocols_are_not_taken_for_tls(void **state)
{
    static const char *const words[] = {"GET / HTTP/1.1\r\n", "SSH-2.0-x", "\x16\x02\x01",
                                        "\x16\x03\x05", "\x16\x03\x01\x01\x01\x02"};

    (void)state;
    for (size_t i = 0; i < CN_COUNT(words); i++) {
        bytes_t b = {.n = 0};

        put(&b, words[i], strlen(words[i]));
        assert_int_equal(read_bytes(&b, b.n, 100, &(cn_hello_t){.n = 0}), CN_DECLINE);
    }
}

static void test_a_broken_name_is_refused(void **state)
{
    char longer[300];

    (void)state;
    memset(longer, 'a', sizeof(longer));
    longer[256] = '\0';
    assert_int_equal(read_extension(name("fine.example")), CN_OK);
    assert_int_equal(read_extension(name("")), CN_ERR);
    assert_int_equal(read_extension(name("a b")), CN_ERR);
    assert_int_equal(read_extension(name(longer)), CN_ERR);
    assert_int_equal(read_extension(names("\0\0\3a\0b", 6)), CN_ERR);
    assert_int_equal(read_extension(names("\1\0\1a", 4)), CN_ERR);        /* of another type */
    assert_int_equal(read_extension(names("\0\0\1a\0\0\1b", 8)), CN_ERR); /* two */
    assert_int_equal(read_extension(names("\0\0\5a", 4)), CN_ERR);        /* beyond the end */
}

static void test_the_extension_may_not_come_twice(void **state)
{
    bytes_t ext = name("a.example"), other = name("b.example");

    (void)state;
    put(&ext, other.v, other.n);
    assert_int_equal(read_extension(ext), CN_ERR);
}

static void test_broken_messages_are_refused(void **state)
{
    bytes_t ext = name("a.example"), m = hello(&ext, 20), bad;
    cn_hello_t h;

    (void)state;
    bad = m;
    bad.v[4 + 34] = 33; /* a session id that is too long */
    assert_int_equal(read_message(&bad, &h), CN_ERR);
    bad = m;
    put_number(&bad, 0, 1); /* something behind the extensions */
    bad.v[3]++;
    assert_int_equal(read_message(&bad, &h), CN_ERR);
    bad = m;
    bad.v[1] = 1; /* 64 KiB long */
    assert_int_equal(read_message(&bad, &h), CN_ERR);
    bad = hello(&ext, 16350);
    assert_int_equal(read_message(&bad, &h), CN_ERR);
    bad = hello(&ext, 16300);
    assert_int_equal(read_message(&bad, &h), CN_OK);
}

static void test_another_record_in_between_is_refused(void **state)
{
    bytes_t ext = name("a.example"), m = hello(&ext, 20), b = records(&m, 50);
    cn_hello_t h;

    (void)state;
    b.v[55] = 21;
    assert_int_equal(read_bytes(&b, b.n, 100, &h), CN_ERR);
    b.v[55] = 22;
    b.v[58] = b.v[59] = 0; /* an empty one */
    assert_int_equal(read_bytes(&b, b.n, 100, &h), CN_ERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_name_is_found_in_lower_case),
        cmocka_unit_test(test_it_is_found_over_several_records),
        cmocka_unit_test(test_every_beginning_waits),
        cmocka_unit_test(test_a_hello_without_a_name_has_none),
        cmocka_unit_test(test_other_protocols_are_not_taken_for_tls),
        cmocka_unit_test(test_a_broken_name_is_refused),
        cmocka_unit_test(test_the_extension_may_not_come_twice),
        cmocka_unit_test(test_broken_messages_are_refused),
        cmocka_unit_test(test_another_record_in_between_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
