/* SPDX-License-Identifier: Apache-2.0
 * Base64 in pieces, both ways.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../text.h"

static cn_rc decode(const char *text, size_t piece, char *out, size_t *n)
{
    gw_group_t g = {0};
    cn_chain_t got = {0};
    cn_rc rc = CN_OK;

    for (size_t at = 0, all = strlen(text); at < all && rc == CN_OK; at += piece) {
        cn_chain_t in = {0};

        cn_chain_copy(&in, text + at, all - at < piece ? all - at : piece);
        rc = gw_text_decode(&g, &in, &got);
        cn_chain_clear(&in);
    }
    *n = cn_chain_peek(&got, out, 16384);
    out[*n] = '\0';
    cn_chain_clear(&got);
    return rc == CN_OK && g.n ? CN_AGAIN : rc;
}

static char bytes[16384 + 1];

static void expect(const char *text, const char *bytes_of)
{
    size_t n;

    for (size_t piece = 1; piece < 20; piece++) {
        assert_int_equal(decode(text, piece, bytes, &n), CN_OK);
        assert_int_equal(n, strlen(bytes_of));
        assert_string_equal(bytes, bytes_of);
    }
}

static void test_text_decodes_whatever_its_pieces_are(void **state)
{
    (void)state;
    expect("", "");
    expect("TQ==", "M");
    expect("TWE=", "Ma");
    expect("TWFu", "Man");
    expect("aGVsbG8gd29ybGQ=", "hello world");
    expect("_-__", "\xff\xef\xff");
}

static void test_texts_that_were_padded_each_decode_one_behind_the_other(void **state)
{
    (void)state;
    expect("TQ==TWE=TWFuTQ==", "MMaManM");
}

static void test_what_is_no_base64_is_refused(void **state)
{
    const char *bad[] = {"TQ=a", "=Q==", "T===", "TW F", "TWF\n", "TWF\xff", "TQ==T==="};
    size_t n;

    (void)state;
    for (size_t i = 0; i < CN_COUNT(bad); i++)
        assert_int_equal(decode(bad[i], 3, bytes, &n), CN_ERR);
    assert_int_equal(decode("TWFuT", 1, bytes, &n), CN_AGAIN);
}

static void test_what_was_encoded_in_pieces_decodes_to_the_same(void **state)
{
    static char in[5000], text[32768];

    (void)state;
    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (char)(i * 7);
    for (size_t piece = 1; piece < 5000; piece = piece * 3 + 1) {
        gw_group_t g = {0};
        cn_chain_t out = {0};
        size_t n;

        for (size_t at = 0; at < sizeof(in); at += piece) {
            cn_chain_t part = {0};

            cn_chain_copy(&part, in + at, sizeof(in) - at < piece ? sizeof(in) - at : piece);
            gw_text_encode(&g, &part, piece % 2 || at + piece >= sizeof(in), &out);
            cn_chain_clear(&part);
        }
        text[cn_chain_peek(&out, text, sizeof(text) - 1)] = '\0';
        cn_chain_clear(&out);
        assert_int_equal(decode(text, 1000, bytes, &n), CN_OK);
        assert_int_equal(n, sizeof(in));
        assert_memory_equal(bytes, in, sizeof(in));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_decodes_whatever_its_pieces_are),
        cmocka_unit_test(test_texts_that_were_padded_each_decode_one_behind_the_other),
        cmocka_unit_test(test_what_is_no_base64_is_refused),
        cmocka_unit_test(test_what_was_encoded_in_pieces_decodes_to_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
