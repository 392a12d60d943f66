/* SPDX-License-Identifier: Apache-2.0
 *
 * A library context whose only provider hands out some algorithms of OpenSSL's
 * default provider.  Two reasons:
 *
 * - OpenSSL 3 looks through all algorithms and all decoders, some hundreds, for
 *   each certificate that it reads: two fifths of a handshake.  Here it finds
 *   seven kinds of keys and no decoder, so certificates come out without their
 *   keys; seen.c adds those, once for each certificate.
 * - Bytes of strangers reach no algorithm that the mesh does not speak.
 *
 * Random numbers are those of OpenSSL's own context (draw.c).
 *
 * A provider's callbacks get the context of the implementations, which here is
 * the default provider's, and nothing of ours: so the tables are per process.
 */
#include "tls/lib.h"

#include <string.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/provider.h>

#include "core/mem.h"
#include "core/pool.h"
#include "tls/draw.h"

#define NAMES_MAX 6

static const struct {
    int operation;
    const char *names[NAMES_MAX];
    const OSSL_DISPATCH *ours; /* in the place of OpenSSL's */
} needed[] = {
    {.operation = OSSL_OP_DIGEST, .names = {"SHA2-256", "SHA2-384", "SHA2-512"}},
    {.operation = OSSL_OP_CIPHER, .names = {"AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305"}},
    {.operation = OSSL_OP_MAC, .names = {"HMAC"}},
    {.operation = OSSL_OP_KDF, .names = {"HKDF", "TLS13-KDF"}},
    {.operation = OSSL_OP_RAND, .names = {CN_TLS_DRAW_NAME}, .ours = cn_tls_draw},
    {.operation = OSSL_OP_KEYMGMT, .names = {"RSA", "RSA-PSS", "EC", "X25519", "ED25519"}},
    {.operation = OSSL_OP_KEYEXCH, .names = {"ECDH", "X25519"}},
    {.operation = OSSL_OP_SIGNATURE, .names = {"RSA", "ECDSA", "ED25519"}},
};

static struct {
    OSSL_LIB_CTX *ctx;
    OSSL_PROVIDER *all; /* OpenSSL's default provider */
    OSSL_ALGORITHM algorithms[CN_COUNT(needed)][NAMES_MAX + 1];
} lib;

static const OSSL_ALGORITHM *on_query(void *all CN_UNUSED, int operation, int *no_cache)
{
    *no_cache = 0;
    for (size_t i = 0; i < CN_COUNT(needed); i++)
        if (needed[i].operation == operation)
            return lib.algorithms[i];
    return NULL;
}

/* Groups, for libssl; those whose algorithms are missing it leaves out. */
static int on_capabilities(void *all CN_UNUSED, const char *what, OSSL_CALLBACK *cb, void *arg)
{
    return OSSL_PROVIDER_get_capabilities(lib.all, what, cb, arg);
}

static const OSSL_DISPATCH provider[] = {
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))on_query},
    {OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))on_capabilities},
    {0, NULL},
};

static int on_init(const OSSL_CORE_HANDLE *handle CN_UNUSED, const OSSL_DISPATCH *in CN_UNUSED,
                   const OSSL_DISPATCH **out, void **provctx)
{
    *out = provider;
    *provctx = OSSL_PROVIDER_get0_provider_ctx(lib.all);
    return 1;
}

/* names: "FIRST:ALIAS:..." */
static bool is_named(const char *names, const char *first)
{
    size_t n = strlen(first);

    return strncmp(names, first, n) == 0 && (names[n] == '\0' || names[n] == ':');
}

static void choose(size_t row, OSSL_ALGORITHM *out)
{
    const char *const *names = needed[row].names;
    int no_cache;
    const OSSL_ALGORITHM *a =
        OSSL_PROVIDER_query_operation(lib.all, needed[row].operation, &no_cache);

    for (; a && a->algorithm_names; a++)
        for (unsigned i = 0; i < NAMES_MAX && names[i]; i++)
            if (is_named(a->algorithm_names, names[i])) {
                *out = *a;
                if (needed[row].ours)
                    out->implementation = needed[row].ours;
                out++;
            }
}

/* Whether OpenSSL is as it comes.  FIPS counts where it is only preferred, too. */
static bool is_plain(void)
{
    return OSSL_PROVIDER_available(NULL, "default") && !OSSL_PROVIDER_available(NULL, "fips") &&
           !EVP_default_properties_is_fips_enabled(NULL);
}

/* ---- its memory ---- */

static void *on_malloc(size_t n, const char *file CN_UNUSED, int line CN_UNUSED)
{
    return n > 0 ? cn_mem_must(cn_mem_alloc(n)) : NULL;
}

static void *on_realloc(void *p, size_t n, const char *file CN_UNUSED, int line CN_UNUSED)
{
    if (n > 0)
        return cn_mem_must(cn_mem_realloc(p, n));
    cn_mem_free(p);
    return NULL;
}

static void on_free(void *p, const char *file CN_UNUSED, int line CN_UNUSED)
{
    cn_mem_free(p);
}

bool cn_tls_lib_memory(void)
{
    return CRYPTO_set_mem_functions(on_malloc, on_realloc, on_free) == 1;
}

/* ---- the context ---- */

OSSL_LIB_CTX *cn_tls_lib(void)
{
    if (lib.ctx)
        return lib.ctx;
    /* OpenSSL puts the names of its old tables of ciphers into each context, and goes through all
     * names for each key that it uses.  Nothing here asks for ciphers in that way. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ADD_ALL_CIPHERS, NULL);
    if (!is_plain())
        return NULL;
    lib.all = OSSL_PROVIDER_load(NULL, "default");
    if (!lib.all)
        cn_pool_out_of_memory();
    for (size_t i = 0; i < CN_COUNT(needed); i++)
        choose(i, lib.algorithms[i]);
    lib.ctx = OSSL_LIB_CTX_new();
    if (!lib.ctx || OSSL_PROVIDER_add_builtin(lib.ctx, "mesh", on_init) != 1 ||
        !OSSL_PROVIDER_load(lib.ctx, "mesh"))
        cn_pool_out_of_memory();
    return lib.ctx;
}
