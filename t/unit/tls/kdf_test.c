/* SPDX-License-Identifier: Apache-2.0
 *
 * The key schedule by the handshake that RFC 8448 shows, and side by side with
 * OpenSSL's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "core/rand.h"
#include "core/str.h"
#include "tls/kdf.h"
#include "tls/lib.h"

#define EXTRACT EVP_KDF_HKDF_MODE_EXTRACT_ONLY
#define EXPAND EVP_KDF_HKDF_MODE_EXPAND_ONLY

/* p of NULL: not given. */
typedef struct {
    int mode;
    const char *hash;
    cn_str_t key, salt, prefix, label, data;
} ask_t;

static unsigned put(OSSL_PARAM *to, unsigned n, const char *name, cn_str_t s)
{
    if (s.p)
        to[n++] = OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)s.p, s.n);
    return n;
}

static bool derive(OSSL_LIB_CTX *lib, const ask_t *a, unsigned char *out, size_t n)
{
    EVP_KDF *kdf = EVP_KDF_fetch(lib, CN_TLS_KDF_NAME, NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM params[8];
    unsigned i = 0;
    int mode = a->mode;
    bool ok;

    assert_non_null(ctx);
    params[i++] = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
    if (a->hash)
        params[i++] =
            OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)a->hash, 0);
    i = put(params, i, OSSL_KDF_PARAM_KEY, a->key);
    i = put(params, i, OSSL_KDF_PARAM_SALT, a->salt);
    i = put(params, i, OSSL_KDF_PARAM_PREFIX, a->prefix);
    i = put(params, i, OSSL_KDF_PARAM_LABEL, a->label);
    i = put(params, i, OSSL_KDF_PARAM_DATA, a->data);
    params[i] = OSSL_PARAM_construct_end();
    ok = EVP_KDF_derive(ctx, out, n, params) > 0;
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return ok;
}

/* ---- RFC 8448 3 ---- */

static cn_str_t hex(const char *text)
{
    static unsigned char bytes[8][64];
    static unsigned at;
    unsigned char *to = bytes[at++ % 8];
    long n;
    unsigned char *read = OPENSSL_hexstr2buf(text, &n);

    assert_true(read && n <= 64);
    memcpy(to, read, (size_t)n);
    OPENSSL_free(read);
    return cn_str_make((char *)to, (size_t)n);
}

static void assert_derived(const ask_t *ask, const char *expected)
{
    cn_str_t e = hex(expected);
    unsigned char out[64];

    assert_true(derive(cn_tls_lib(), ask, out, e.n));
    assert_memory_equal(out, e.p, e.n);
}

#define EARLY "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a"
#define SHARED "8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d"
#define HANDSHAKE "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac"
#define MASTER "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919"
#define SERVER_TRAFFIC "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38"

static void test_the_secrets_of_rfc_8448(void **state)
{
    ask_t a = {EXTRACT, "SHA2-256", .prefix = CN_STR("tls13 "), .label = CN_STR("derived"),
               .data = CN_STR_NULL};

    (void)state;
    assert_derived(&a, EARLY);
    a.salt = hex(EARLY);
    a.key = hex(SHARED);
    assert_derived(&a, HANDSHAKE);
    a.salt = hex(HANDSHAKE);
    a.key = CN_STR_NULL;
    assert_derived(&a, MASTER);
}

static void test_the_keys_of_rfc_8448(void **state)
{
    ask_t a = {EXPAND,
               "SHA2-256",
               .key = hex(HANDSHAKE),
               .prefix = CN_STR("tls13 "),
               .label = CN_STR("s hs traffic"),
               .data = hex("860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8")};

    (void)state;
    assert_derived(&a, SERVER_TRAFFIC);
    a.key = hex(SERVER_TRAFFIC);
    a.data = CN_STR_NULL;
    a.label = CN_STR("key");
    assert_derived(&a, "3fce516009c21727d0f2e4e86ee403bc");
    a.label = CN_STR("iv");
    assert_derived(&a, "5d313eb2671276ee13000b30");
    a.label = CN_STR("finished");
    assert_derived(&a, "008d3b66f816ea559f96b537e885c31fc068bf492c652f01f288a1d8cdc19fc8");
}

/* ---- beside OpenSSL's ---- */

static cn_str_t some(unsigned char *room, size_t n)
{
    cn_rand_secure(room, n);
    return cn_str_make((char *)room, n);
}

static void test_it_does_what_openssl_s_does(void **state)
{
    static const struct {
        const char *name;
        size_t n;
    } hashes[] = {{"SHA2-256", 32}, {"SHA256", 32}, {"sha2-384", 48}, {"SHA-384", 48}};
    unsigned char key[64], salt[64], data[64], ours[64], theirs[64];
    cn_rand_t rand;
    static const char label[] = "any label of up to forty-four characters ok";

    (void)state;
    cn_rand_init(&rand, 8446);
    for (unsigned i = 0; i < 2000; i++) {
        size_t n = hashes[i % 4].n, out = 1 + cn_rand_below(&rand, (uint32_t)n);
        ask_t a = {i % 3 ? EXPAND : EXTRACT, hashes[i % 4].name, .prefix = CN_STR("tls13 ")};

        a.label = cn_str_make(label, cn_rand_below(&rand, sizeof(label)));
        if (a.mode == EXTRACT) {
            out = n;
            if (cn_rand_below(&rand, 4))
                a.key = some(key, 1 + cn_rand_below(&rand, 64));
            if (cn_rand_below(&rand, 4))
                a.salt = some(salt, n);
        } else {
            a.key = some(key, n);
            if (cn_rand_below(&rand, 4))
                a.data = some(data, 1 + cn_rand_below(&rand, (uint32_t)n));
        }
        assert_true(derive(cn_tls_lib(), &a, ours, out));
        assert_true(derive(NULL, &a, theirs, out));
        assert_memory_equal(ours, theirs, out);
    }
}

static void test_what_it_does_not_know_is_refused(void **state)
{
    const ask_t good = {EXPAND, "SHA2-256", .key = hex(EARLY), .prefix = CN_STR("tls13 "),
                        .label = CN_STR("key")};
    unsigned char out[64], big[300] = {0};
    ask_t a;

    (void)state;
    assert_true(derive(cn_tls_lib(), &good, out, 32));
    assert_false(derive(cn_tls_lib(), &good, out, 33));
    a = good;
    a.hash = "SHA2-512";
    assert_false(derive(cn_tls_lib(), &a, out, 16));
    a.hash = NULL;
    assert_false(derive(cn_tls_lib(), &a, out, 16));
    a = good;
    a.key = CN_STR_NULL;
    assert_false(derive(cn_tls_lib(), &a, out, 16));
    a.key = cn_str_make((char *)big, 65); /* HMAC would take its hash; no secret is so long */
    assert_false(derive(cn_tls_lib(), &a, out, 16));
    a = good;
    a.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
    assert_false(derive(cn_tls_lib(), &a, out, 32));
    a = good;
    a.label = cn_str_make((char *)big, 250);
    assert_false(derive(cn_tls_lib(), &a, out, 16));
    a = good;
    a.data = cn_str_make((char *)big, 256);
    assert_false(derive(cn_tls_lib(), &a, out, 16));
    a = good;
    a.mode = EXTRACT;
    assert_false(derive(cn_tls_lib(), &a, out, 16));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_secrets_of_rfc_8448),
        cmocka_unit_test(test_the_keys_of_rfc_8448),
        cmocka_unit_test(test_it_does_what_openssl_s_does),
        cmocka_unit_test(test_what_it_does_not_know_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
