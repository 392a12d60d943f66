/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS contexts: our identity, the trust bundle and the trust domains, loaded
 * from files into a reference-counted object.  A new one replaces the old for
 * new handshakes; running connections keep theirs.
 */
#ifndef CN_TLS_CTX_H
#define CN_TLS_CTX_H

#include "core/pool.h"
#include "tls/spiffe.h"

typedef struct cn_tls_ctx cn_tls_ctx_t;

typedef struct {
    cn_str_t cert_file, key_file, bundle_file;
    const cn_str_t *trust_domains; /* the mesh's own first, then aliases */
    unsigned trust_domain_n;
    /* What is in the files, when it was read before; NULL strings: read them now. */
    cn_str_t cert, key, bundle;
    bool known; /* the certificate was judged before: what the clock says now does not matter */
} cn_tls_conf_t;

/* Checks that key and certificate belong together and that the certificate has
 * a SPIFFE identity and is within its validity.  On CN_ERR *why is a line
 * naming the file, in pool. */
CN_MUST cn_rc cn_tls_ctx_create(const cn_tls_conf_t *, cn_pool_t *pool, cn_tls_ctx_t **out,
                                cn_str_t *why);
/* For servers outside the mesh, which are known by DNS names.  PEM texts; the
 * files are named in messages only. */
typedef struct {
    cn_str_t ca_file, crl_file, cert_file, key_file;
    cn_str_t ca;        /* empty: nobody is trusted, but for `system` */
    cn_str_t crl;       /* empty: revoked certificates are not known; else each authority of a
                           chain must have a list, as Envoy has it */
    cn_str_t cert, key; /* empty: no client certificate */
    bool system;        /* trust the system's roots */
    bool insecure;      /* whoever answers is taken for the right one */
} cn_tls_web_conf_t;
/* As above, without an identity.  For cn_tls_client_web() only. */
CN_MUST cn_rc cn_tls_ctx_create_web(const cn_tls_web_conf_t *, cn_pool_t *pool, cn_tls_ctx_t **out,
                                    cn_str_t *why);
cn_tls_ctx_t *cn_tls_ctx_ref(cn_tls_ctx_t *);
void cn_tls_ctx_unref(cn_tls_ctx_t *);
const cn_spiffe_t *cn_tls_ctx_identity(const cn_tls_ctx_t *);
/* Seconds since 1970 at which our leaf expires. */
int64_t cn_tls_ctx_not_after(const cn_tls_ctx_t *);

#endif
