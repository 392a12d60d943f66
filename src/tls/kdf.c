/* SPDX-License-Identifier: Apache-2.0
 *
 * See the header.  The hash functions are OpenSSL's; HMAC (RFC 2104), HKDF (RFC
 * 5869) and the labels of TLS are here.  What is derived is at most one hash
 * long, as everything in a handshake is.
 */
#include "tls/kdf.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "core/pool.h"

#define BLOCK_MAX 128u /* bytes in a block of a hash function */
#define INFO_MAX 520u  /* of HkdfLabel: two lengths and two vectors of 255 */

typedef struct {
    const char *names[3];
    EVP_MD *md;
    EVP_MD_CTX *ctx; /* in its initial state between two calls */
    size_t n, block;
} hash_t;

static hash_t hashes[] = {
    {.names = {"SHA2-256", "SHA-256", "SHA256"}},
    {.names = {"SHA2-384", "SHA-384", "SHA384"}},
};

typedef struct {
    int mode;
    hash_t *hash;
    cn_str_t key, salt, prefix, label, data;
} asked_t;

/* ---- HMAC ---- */

static bool digest(hash_t *h, const cn_str_t *part, unsigned n, unsigned char *out)
{
    bool ok = true;

    for (unsigned i = 0; ok && i < n; i++)
        ok = EVP_DigestUpdate(h->ctx, part[i].p, part[i].n) == 1;
    ok = ok && EVP_DigestFinal_ex(h->ctx, out, NULL) == 1;
    return EVP_DigestInit_ex2(h->ctx, h->md, NULL) == 1 && ok;
}

static void pad(const hash_t *h, cn_str_t key, unsigned char with, unsigned char *out)
{
    memset(out, with, h->block);
    for (size_t i = 0; i < key.n; i++)
        out[i] ^= (unsigned char)key.p[i];
}

static bool hmac(hash_t *h, cn_str_t key, cn_str_t text, unsigned char *out)
{
    unsigned char block[BLOCK_MAX];
    cn_str_t part[2] = {cn_str_make((char *)block, h->block), text};
    bool ok;

    if (key.n > h->block)
        return false;
    pad(h, key, 0x36, block);
    ok = digest(h, part, 2, out);
    pad(h, key, 0x5c, block);
    part[1] = cn_str_make((char *)out, h->n);
    ok = ok && digest(h, part, 2, out);
    OPENSSL_cleanse(block, sizeof(block));
    return ok;
}

/* ---- RFC 8446 7.1 ---- */

static unsigned char *put_vector(unsigned char *p, cn_str_t a, cn_str_t b)
{
    *p++ = (unsigned char)(a.n + b.n);
    if (a.n)
        memcpy(p, a.p, a.n);
    if (b.n)
        memcpy(p + a.n, b.p, b.n);
    return p + a.n + b.n;
}

/* HKDF-Expand-Label(): prefix and label are "tls13 " and what follows it. */
static bool expand(const asked_t *a, cn_str_t secret, cn_str_t context, unsigned char *out,
                   size_t n)
{
    unsigned char info[INFO_MAX], whole[EVP_MAX_MD_SIZE], *p = info;
    bool ok;

    if (n == 0 || n > a->hash->n || a->prefix.n > UCHAR_MAX || a->label.n > UCHAR_MAX ||
        a->prefix.n + a->label.n > UCHAR_MAX || context.n > UCHAR_MAX)
        return false;
    *p++ = 0;
    *p++ = (unsigned char)n;
    p = put_vector(p, a->prefix, a->label);
    p = put_vector(p, context, CN_STR_NULL);
    *p++ = 1; /* the number of this block, which is the only one */
    ok = hmac(a->hash, secret, cn_str_make((char *)info, (size_t)(p - info)), whole);
    if (ok)
        memcpy(out, whole, n);
    OPENSSL_cleanse(whole, sizeof(whole));
    return ok;
}

/* The next of the three secrets: a step down in the picture there.  The salt is
 * the one before it, from which a "derived" one is made first. */
static bool extract(const asked_t *a, unsigned char *out, size_t n)
{
    static const char zeros[EVP_MAX_MD_SIZE];
    unsigned char salt[EVP_MAX_MD_SIZE], nothing[EVP_MAX_MD_SIZE];
    cn_str_t before = CN_STR_NULL;
    hash_t *h = a->hash;
    bool ok = n == h->n;

    if (ok && a->salt.p) {
        ok = digest(h, NULL, 0, nothing) &&
             expand(a, a->salt, cn_str_make((char *)nothing, h->n), salt, h->n);
        before = cn_str_make((char *)salt, h->n);
    }
    ok = ok && hmac(h, before, a->key.p ? a->key : cn_str_make(zeros, h->n), out);
    OPENSSL_cleanse(salt, sizeof(salt));
    return ok;
}

/* ---- the provider's side ---- */

static hash_t *hash_of(const OSSL_PARAM *p)
{
    for (unsigned i = 0; i < CN_COUNT(hashes); i++)
        for (unsigned j = 0; j < CN_COUNT(hashes[i].names); j++)
            if (strcasecmp(hashes[i].names[j], p->data) == 0)
                return &hashes[i];
    return NULL;
}

static cn_str_t *octets_of(asked_t *a, const char *name)
{
    static const struct {
        const char *name;
        size_t at;
    } known[] = {
        {OSSL_KDF_PARAM_KEY, offsetof(asked_t, key)},
        {OSSL_KDF_PARAM_SALT, offsetof(asked_t, salt)},
        {OSSL_KDF_PARAM_PREFIX, offsetof(asked_t, prefix)},
        {OSSL_KDF_PARAM_LABEL, offsetof(asked_t, label)},
        {OSSL_KDF_PARAM_DATA, offsetof(asked_t, data)},
    };

    for (unsigned i = 0; i < CN_COUNT(known); i++)
        if (strcmp(name, known[i].name) == 0)
            return (cn_str_t *)((char *)a + known[i].at);
    return NULL;
}

static bool take(asked_t *a, const OSSL_PARAM *p)
{
    cn_str_t *octets;

    if (strcmp(p->key, OSSL_KDF_PARAM_MODE) == 0)
        return OSSL_PARAM_get_int(p, &a->mode) == 1;
    if (strcmp(p->key, OSSL_KDF_PARAM_DIGEST) == 0) {
        a->hash = p->data_type == OSSL_PARAM_UTF8_STRING && p->data ? hash_of(p) : NULL;
        return a->hash != NULL;
    }
    octets = octets_of(a, p->key);
    if (!octets || p->data_type != OSSL_PARAM_OCTET_STRING)
        return false;
    *octets = cn_str_make(p->data, p->data ? p->data_size : 0);
    return true;
}

static int on_derive(void *ctx CN_UNUSED, unsigned char *out, size_t n, const OSSL_PARAM *params)
{
    asked_t a = {.mode = -1};

    for (const OSSL_PARAM *p = params; p && p->key; p++)
        if (!take(&a, p))
            return 0;
    if (!a.hash)
        return 0;
    switch (a.mode) {
    case EVP_KDF_HKDF_MODE_EXTRACT_ONLY:
        return extract(&a, out, n);
    case EVP_KDF_HKDF_MODE_EXPAND_ONLY:
        return a.key.p && expand(&a, a.key, a.data, out, n);
    default:
        return 0;
    }
}

/* There is nothing to keep from call to call. */
static void *on_new(void *provctx)
{
    return provctx;
}

static void on_free(void *ctx CN_UNUSED)
{
}

const OSSL_DISPATCH *cn_tls_kdf(void)
{
    static const OSSL_DISPATCH dispatch[] = {
        {OSSL_FUNC_KDF_NEWCTX, (void (*)(void))on_new},
        {OSSL_FUNC_KDF_FREECTX, (void (*)(void))on_free},
        {OSSL_FUNC_KDF_DERIVE, (void (*)(void))on_derive},
        {0, NULL},
    };

    for (unsigned i = 0; i < CN_COUNT(hashes); i++) {
        hash_t *h = &hashes[i];

        if (h->md)
            continue;
        h->md = EVP_MD_fetch(NULL, h->names[0], NULL);
        h->ctx = EVP_MD_CTX_new();
        if (!h->md || !h->ctx || EVP_DigestInit_ex2(h->ctx, h->md, NULL) != 1)
            cn_pool_out_of_memory();
        h->n = (size_t)EVP_MD_get_size(h->md);
        h->block = (size_t)EVP_MD_get_block_size(h->md);
    }
    return dispatch;
}
