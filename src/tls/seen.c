/* SPDX-License-Identifier: Apache-2.0
 *
 * See the header.  A memory owns its entries; each has a reference of its leaf,
 * which connections may keep for longer.  Nothing here is written by a peer but
 * the certificates, which were verified before they got in.
 */
#include "tls/seen.h"

#include <stdlib.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/sha.h>

#include "core/clock.h"
#include "core/list.h"
#include "core/map.h"
#include "tls/lib.h"
#include "tls/tls_int.h"

#define CHAIN_MAX 8 /* certificates; longer chains are verified each time */

typedef struct {
    cn_list_t link; /* seen->recent */
    cn_pool_t *pool;
    char key[SHA256_DIGEST_LENGTH];
    X509 *leaf; /* with its key */
    int64_t from_s, until_s;
    cn_spiffe_t id;
} entry_t;

struct cn_tls_seen {
    cn_map_t by_key;
    cn_list_t recent; /* the last used first */
    unsigned n;
    EVP_MD *sha256;
    EVP_MD_CTX *md;
};

cn_tls_seen_t *cn_tls_seen_create(void)
{
    cn_tls_seen_t *seen = cn_xzalloc(sizeof(*seen));

    cn_map_init(&seen->by_key);
    cn_list_init(&seen->recent);
    seen->sha256 = EVP_MD_fetch(cn_tls_lib(), "SHA2-256", NULL);
    seen->md = EVP_MD_CTX_new();
    if (!seen->sha256 || !seen->md)
        cn_pool_out_of_memory();
    return seen;
}

static void forget(cn_tls_seen_t *seen, entry_t *e)
{
    cn_map_del(&seen->by_key, cn_str_make(e->key, sizeof(e->key)));
    cn_list_remove(&e->link);
    X509_free(e->leaf);
    cn_pool_destroy(e->pool);
    seen->n--;
}

void cn_tls_seen_destroy(cn_tls_seen_t *seen)
{
    if (!seen)
        return;
    while (!cn_list_empty(&seen->recent))
        forget(seen, cn_list_entry(seen->recent.next, entry_t, link));
    cn_map_fini(&seen->by_key);
    EVP_MD_CTX_free(seen->md);
    EVP_MD_free(seen->sha256);
    free(seen);
}

unsigned cn_tls_seen_count(const cn_tls_seen_t *seen)
{
    return seen->n;
}

/* ---- what a peer showed ---- */

/* A certificate, and where it ends: none is longer than a handshake message. */
static bool add_to_key(EVP_MD_CTX *md, X509 *cert)
{
    unsigned char *der = NULL;
    int n = i2d_X509(cert, &der);
    bool ok = n > 0 && EVP_DigestUpdate(md, &n, sizeof(n)) == 1 &&
              EVP_DigestUpdate(md, der, (size_t)n) == 1;

    OPENSSL_free(der);
    return ok;
}

/* False: not a chain that is remembered. */
static bool key_of(cn_tls_seen_t *seen, STACK_OF(X509) * chain, bool server,
                   char key[SHA256_DIGEST_LENGTH])
{
    int n = sk_X509_num(chain);
    bool ok = n >= 1 && n <= CHAIN_MAX && EVP_DigestInit_ex2(seen->md, seen->sha256, NULL) == 1 &&
              EVP_DigestUpdate(seen->md, &server, sizeof(server)) == 1;

    for (int i = 0; ok && i < n; i++)
        ok = add_to_key(seen->md, sk_X509_value(chain, i));
    return ok && EVP_DigestFinal_ex(seen->md, (unsigned char *)key, NULL) == 1;
}

static void replace(STACK_OF(X509) * chain, int i, X509 *by)
{
    X509_free(sk_X509_value(chain, i));
    sk_X509_set(chain, i, by);
}

/* Reads the certificate again where there are decoders for its key (lib.c). */
static X509 *with_key(X509 *cert)
{
    unsigned char *der = NULL;
    const unsigned char *p;
    int n = i2d_X509(cert, &der);
    X509 *again;

    if (n < 0)
        return NULL;
    p = der;
    again = d2i_X509(NULL, &p, n);
    OPENSSL_free(der);
    return again;
}

static bool add_keys(STACK_OF(X509) * chain)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *again = with_key(sk_X509_value(chain, i));

        if (!again)
            return false;
        replace(chain, i, again);
    }
    return true;
}

/* ---- entries ---- */

static void limit_to(entry_t *e, const X509 *cert)
{
    int64_t from_s = cn_tls_ctx_seconds(X509_get0_notBefore(cert));
    int64_t until_s = cn_tls_ctx_seconds(X509_get0_notAfter(cert));

    if (e->from_s < from_s)
        e->from_s = from_s;
    if (e->until_s > until_s)
        e->until_s = until_s;
}

static void remember(cn_tls_seen_t *seen, const char *key, X509_STORE_CTX *store)
{
    STACK_OF(X509) *verified = X509_STORE_CTX_get0_chain(store);
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    cn_pool_t *pool = cn_pool_create(256);
    entry_t *e = cn_pool_zalloc(pool, sizeof(*e));

    if (cn_tls_ctx_cert_identity(pool, leaf, &e->id) != CN_OK) {
        cn_pool_destroy(pool);
        return;
    }
    if (seen->n == CN_TLS_SEEN_MAX)
        forget(seen, cn_list_entry(seen->recent.prev, entry_t, link));
    e->pool = pool;
    e->from_s = INT64_MIN;
    e->until_s = INT64_MAX;
    for (int i = 0; i < sk_X509_num(verified); i++)
        limit_to(e, sk_X509_value(verified, i));
    X509_up_ref(leaf);
    e->leaf = leaf;
    memcpy(e->key, key, sizeof(e->key));
    cn_map_put(&seen->by_key, cn_str_make(e->key, sizeof(e->key)), e);
    cn_list_push_front(&seen->recent, &e->link);
    seen->n++;
}

/* An entry that is out of its time is of no use; verifying again says why. */
static entry_t *recall(cn_tls_seen_t *seen, const char *key)
{
    entry_t *e = cn_map_get(&seen->by_key, cn_str_make(key, SHA256_DIGEST_LENGTH));
    int64_t now_s = (int64_t)(cn_clock_wall_us() / 1000000);

    if (!e)
        return NULL;
    if (now_s < e->from_s || now_s >= e->until_s) {
        forget(seen, e);
        return NULL;
    }
    cn_list_remove(&e->link);
    cn_list_push_front(&seen->recent, &e->link);
    return e;
}

/* ---- verification ---- */

static int verify(X509_STORE_CTX *store, STACK_OF(X509) * chain)
{
    if (!add_keys(chain)) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
        return 0;
    }
    X509_STORE_CTX_set_cert(store, sk_X509_value(chain, 0));
    return X509_verify_cert(store);
}

int cn_tls_seen_verify(cn_tls_seen_t *seen, X509_STORE_CTX *store, bool server,
                       const cn_spiffe_t **known)
{
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(store);
    char key[SHA256_DIGEST_LENGTH];
    bool kept = key_of(seen, chain, server, key);
    entry_t *e = kept ? recall(seen, key) : NULL;
    int rc;

    *known = NULL;
    if (e) {
        X509_up_ref(e->leaf);
        replace(chain, 0, e->leaf);
        *known = &e->id;
        return 1;
    }
    rc = verify(store, chain);
    if (rc == 1 && kept)
        remember(seen, key, store);
    return rc;
}
