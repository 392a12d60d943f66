/* SPDX-License-Identifier: Apache-2.0
 *
 * What contexts and TLS streams know of each other; private to src/tls.
 */
#ifndef CN_TLS_INT_H
#define CN_TLS_INT_H

#include <openssl/ssl.h>

#include "tls/ctx.h"
#include "tls/seen.h"

struct cn_tls_ctx {
    uint32_t refs;
    cn_pool_t *pool;
    SSL_CTX *ssl;
    BIO_METHOD *bio;     /* made by the first stream */
    cn_tls_seen_t *seen; /* NULL: of a context for servers outside the mesh */
    const cn_str_t *domains;
    unsigned ndomains;
    size_t held;   /* bytes that OpenSSL has for it */
    bool web;      /* peers are known by DNS names, not by mesh identities */
    bool insecure; /* ... or not at all */
    cn_spiffe_t identity;
    int64_t not_after;
};

/* The identity in a certificate: its first URI SAN that parses, copied into
 * pool.  CN_ERR: it has none. */
CN_MUST cn_rc cn_tls_ctx_cert_identity(cn_pool_t *, X509 *, cn_spiffe_t *);
/* Since 1970; 0 for what is no time. */
int64_t cn_tls_ctx_seconds(const ASN1_TIME *);
bool cn_tls_ctx_trusts(const cn_tls_ctx_t *, cn_str_t trust_domain);

/* Decides on a peer's certificates: OpenSSL's callback, for contexts of the mesh. */
int cn_tls_stream_verify(X509_STORE_CTX *, void *arg);

#endif
