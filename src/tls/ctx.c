/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS contexts: one SSL_CTX for both roles, made from three PEM files.  All
 * that two meshed peers must agree on is fixed here: TLS 1.3, ALPN h2, no
 * resumption, no names.  Who is accepted is decided per connection (stream.c).
 *
 * A context belongs to its references: the worker's and one of each stream.
 */
#include "tls/ctx.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "core/log.h"
#include "core/mem.h"
#include "tls/lib.h"
#include "tls/tls_int.h"

#define FILE_MAX (4u << 20)
#define CIPHERS "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"

/* A creation in progress. */
typedef struct {
    cn_tls_ctx_t *ctx;
    cn_pool_t *pool; /* the caller's */
    cn_str_t *why;
    bool known;
} making_t;

static const char *openssl_reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());

    return text ? text : "unknown reason";
}

static cn_rc refuse(making_t *m, cn_str_t file, const char *text)
{
    *m->why = cn_pool_printf(m->pool, "%.*s: %s", CN_STR_ARG(file), text);
    return CN_ERR;
}

/* ---- files ---- */

static cn_rc read_all(making_t *m, cn_str_t file, FILE *f, BUF_MEM *out)
{
    char part[4096];
    size_t n;

    while ((n = fread(part, 1, sizeof(part), f)) > 0) {
        size_t old = out->length;

        if (old + n > FILE_MAX)
            return refuse(m, file, "larger than 4 MiB");
        if (BUF_MEM_grow_clean(out, old + n) == 0)
            return refuse(m, file, "out of memory");
        memcpy(out->data + old, part, n);
    }
    OPENSSL_cleanse(part, sizeof(part));
    return ferror(f) ? refuse(m, file, strerrordesc_np(errno)) : CN_OK;
}

/* The file as a BIO whose memory is wiped when it is freed, since one of the
 * files is a private key. */
static cn_rc open_pem(making_t *m, cn_str_t file, BIO **out)
{
    FILE *f = fopen(cn_pool_cstr(m->pool, file), "re");
    BUF_MEM *mem;
    cn_rc rc;

    if (!f)
        return refuse(m, file, strerrordesc_np(errno));
    mem = BUF_MEM_new_ex(BUF_MEM_FLAG_SECURE);
    if (!mem)
        cn_pool_out_of_memory();
    rc = read_all(m, file, f, mem);
    fclose(f);
    if (rc != CN_OK) {
        BUF_MEM_free(mem);
        return CN_ERR;
    }
    *out = BIO_new(BIO_s_secmem());
    if (!*out)
        cn_pool_out_of_memory();
    BIO_set_mem_buf(*out, mem, BIO_CLOSE);
    return CN_OK;
}

static void warn_if_open(cn_pool_t *pool, cn_str_t file)
{
    struct stat st;

    if (stat(cn_pool_cstr(pool, file), &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        cn_log(CN_LOG_WARN, "tls", "key file %.*s can be read or written by others (mode %03o)",
               CN_STR_ARG(file), (unsigned)(st.st_mode & 0777));
}

/* ---- identity ---- */

cn_rc cn_tls_ctx_cert_identity(cn_pool_t *pool, X509 *cert, cn_spiffe_t *id)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    cn_rc rc = CN_ERR;

    for (int i = 0; rc != CN_OK && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        const ASN1_IA5STRING *text;

        if (name->type != GEN_URI)
            continue;
        text = name->d.uniformResourceIdentifier;
        rc = cn_spiffe_parse(cn_str_make((const char *)ASN1_STRING_get0_data(text),
                                         (size_t)ASN1_STRING_length(text)),
                             id);
        if (rc == CN_OK)
            rc = cn_spiffe_parse(cn_pool_dup(pool, id->uri), id);
    }
    GENERAL_NAMES_free(names);
    return rc;
}

int64_t cn_tls_ctx_seconds(const ASN1_TIME *t)
{
    struct tm tm;

    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void warn_of_purpose(X509 *leaf, cn_str_t file)
{
    if (X509_check_purpose(leaf, X509_PURPOSE_SSL_CLIENT, 0) != 1)
        cn_log(CN_LOG_WARN, "tls", "%.*s is not for clients: captured pods will refuse us",
               CN_STR_ARG(file));
    if (X509_check_purpose(leaf, X509_PURPOSE_SSL_SERVER, 0) != 1)
        cn_log(CN_LOG_WARN, "tls", "%.*s is not for servers: ztunnels will refuse us",
               CN_STR_ARG(file));
}

static cn_rc check_leaf(making_t *m, cn_str_t file, X509 *leaf)
{
    cn_tls_ctx_t *ctx = m->ctx;

    if (ctx->web)
        return CN_OK; /* its server's business */
    if (cn_tls_ctx_cert_identity(ctx->pool, leaf, &ctx->identity) != CN_OK)
        return refuse(m, file,
                      "the certificate has no SPIFFE identity: a URI of the form "
                      "spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT");
    if (!m->known && X509_cmp_current_time(X509_get0_notAfter(leaf)) <= 0)
        return refuse(m, file, "the certificate has expired");
    if (!m->known && X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0)
        return refuse(m, file, "the certificate is not valid yet");
    ctx->not_after = cn_tls_ctx_seconds(X509_get0_notAfter(leaf));
    warn_of_purpose(leaf, file);
    return CN_OK;
}

/* ---- loading ---- */

/* The next certificate; NULL at the end, or at something broken: see at_end(). */
static X509 *next_cert(BIO *bio)
{
    ERR_clear_error();
    return PEM_read_bio_X509(bio, NULL, NULL, NULL);
}

static cn_rc at_end(making_t *m, cn_str_t file)
{
    if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
        return CN_OK;
    return refuse(m, file, "a broken certificate in it");
}

static cn_rc use_chain(making_t *m, cn_str_t file, BIO *bio)
{
    X509 *cert = next_cert(bio);
    cn_rc rc = cert ? check_leaf(m, file, cert) : refuse(m, file, "no certificate in it");

    if (rc == CN_OK && SSL_CTX_use_certificate(m->ctx->ssl, cert) != 1)
        rc = refuse(m, file, openssl_reason());
    X509_free(cert);
    while (rc == CN_OK && (cert = next_cert(bio)) != NULL) {
        if (SSL_CTX_add1_chain_cert(m->ctx->ssl, cert) != 1)
            rc = refuse(m, file, openssl_reason());
        X509_free(cert);
    }
    return rc == CN_OK ? at_end(m, file) : rc;
}

/* Without it OpenSSL asks on the terminal. */
static int no_password(char *buf CN_UNUSED, int size CN_UNUSED, int rwflag CN_UNUSED,
                       void *u CN_UNUSED)
{
    return 0;
}

static cn_rc use_key(making_t *m, cn_str_t file, BIO *bio)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    cn_rc rc = CN_OK;

    if (!key)
        return refuse(m, file, "no unencrypted private key in it");
    if (SSL_CTX_use_PrivateKey(m->ctx->ssl, key) != 1)
        rc = refuse(m, file, "the key does not belong to the certificate");
    EVP_PKEY_free(key);
    return rc;
}

static cn_rc use_bundle(making_t *m, cn_str_t file, BIO *bio)
{
    X509_STORE *store = SSL_CTX_get_cert_store(m->ctx->ssl);
    X509 *cert;
    unsigned n = 0;

    while ((cert = next_cert(bio)) != NULL) {
        int ok = X509_STORE_add_cert(store, cert);

        X509_free(cert);
        if (ok != 1)
            return refuse(m, file, openssl_reason());
        n++;
    }
    return n > 0 ? at_end(m, file) : refuse(m, file, "no certificate in the trust bundle");
}

static cn_rc use_crl(making_t *m, cn_str_t file, BIO *bio)
{
    X509_STORE *store = SSL_CTX_get_cert_store(m->ctx->ssl);
    X509_CRL *crl;
    unsigned n = 0;

    while ((crl = PEM_read_bio_X509_CRL(bio, NULL, no_password, NULL)) != NULL) {
        int ok = X509_STORE_add_crl(store, crl);

        X509_CRL_free(crl);
        if (ok != 1)
            return refuse(m, file, openssl_reason());
        n++;
    }
    if (n == 0)
        return refuse(m, file, "no list of revoked certificates in it");
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    return at_end(m, file);
}

typedef cn_rc use_fn(making_t *, cn_str_t file, BIO *);

static cn_rc load(making_t *m, cn_str_t file, cn_str_t text, use_fn *use)
{
    BIO *bio;
    cn_rc rc;

    if (text.p) {
        bio = BIO_new_mem_buf(text.p, (int)text.n);
        if (!bio)
            cn_pool_out_of_memory();
    } else if (open_pem(m, file, &bio) != CN_OK) {
        return CN_ERR;
    }
    rc = use(m, file, bio);
    BIO_free(bio);
    ERR_clear_error(); /* the end of a PEM file is an error to OpenSSL */
    return rc;
}

/* ---- what peers agree on ---- */

static int choose_alpn(SSL *ssl CN_UNUSED, const unsigned char **out, unsigned char *outlen,
                       const unsigned char *in, unsigned inlen, void *arg CN_UNUSED)
{
    static const unsigned char h2[] = {2, 'h', '2'};
    unsigned char *found;

    if (SSL_select_next_proto(&found, outlen, h2, sizeof(h2), in, inlen) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = found;
    return SSL_TLSEXT_ERR_OK;
}

/* choose_alpn is not asked when the client offers nothing at all. */
static int check_hello(SSL *ssl, int *alert, void *arg CN_UNUSED)
{
    const unsigned char *ext;
    size_t n;

    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &ext,
                                  &n) == 1)
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    return SSL_CLIENT_HELLO_ERROR;
}

static cn_rc set_up(making_t *m)
{
    SSL_CTX *ssl = m->ctx->ssl;

    /* Our order of suites counts, but for a client that has no AES in hardware
     * and says so by its first one. */
    SSL_CTX_set_options(ssl, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_alpn_select_cb(ssl, choose_alpn, NULL);
    SSL_CTX_set_client_hello_cb(ssl, check_hello, NULL);
    SSL_CTX_set_cert_verify_callback(ssl, cn_tls_stream_verify, NULL);
    /* A bundle may hold an intermediate as the anchor, as ztunnel's may. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl), X509_V_FLAG_PARTIAL_CHAIN);
    if (SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ssl, CIPHERS) != 1 || SSL_CTX_set1_groups_list(ssl, GROUPS) != 1)
        return refuse(m, CN_STR("OpenSSL"), openssl_reason());
    return CN_OK;
}

static void copy_domains(cn_tls_ctx_t *ctx, const cn_tls_conf_t *conf)
{
    unsigned n = conf->trust_domain_n ? conf->trust_domain_n : 1;
    cn_str_t *v = cn_pool_alloc(ctx->pool, n * sizeof(*v));

    v[0] = ctx->identity.trust_domain;
    for (unsigned i = 0; i < conf->trust_domain_n; i++)
        v[i] = cn_pool_dup(ctx->pool, conf->trust_domains[i]);
    ctx->domains = v;
    ctx->ndomains = n;
    if (!cn_tls_ctx_trusts(ctx, ctx->identity.trust_domain))
        cn_log(CN_LOG_WARN, "tls", "our own identity %.*s is in no trust domain of the mesh",
               CN_STR_ARG(ctx->identity.uri));
}

/* What OpenSSL has for the context is the configuration's. */
static void give_away(cn_tls_ctx_t *ctx, size_t before)
{
    size_t now = cn_mem_total();

    ctx->held = now > before ? now - before : 0;
    cn_mem_give(ctx->held);
}

cn_rc cn_tls_ctx_create(const cn_tls_conf_t *conf, cn_pool_t *pool, cn_tls_ctx_t **out,
                        cn_str_t *why)
{
    cn_tls_ctx_t *ctx = cn_xzalloc(sizeof(*ctx));
    making_t m = {ctx, pool, why, conf->known};
    size_t before = cn_mem_total();

    ctx->refs = 1;
    ctx->pool = cn_pool_exempt(cn_pool_create(512));
    ctx->seen = cn_tls_seen_create();
    ERR_clear_error();
    ctx->ssl = SSL_CTX_new_ex(cn_tls_lib(), NULL, TLS_method());
    if (!ctx->ssl)
        cn_pool_out_of_memory();
    if (set_up(&m) != CN_OK || load(&m, conf->cert_file, conf->cert, use_chain) != CN_OK ||
        load(&m, conf->key_file, conf->key, use_key) != CN_OK ||
        load(&m, conf->bundle_file, conf->bundle, use_bundle) != CN_OK) {
        cn_tls_ctx_unref(ctx);
        return CN_ERR;
    }
    warn_if_open(pool, conf->key_file);
    copy_domains(ctx, conf);
    give_away(ctx, before);
    *out = ctx;
    return CN_OK;
}

/* ---- for servers outside the mesh ---- */

static cn_rc set_up_web(making_t *m)
{
    SSL_CTX *ssl = m->ctx->ssl;

    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl), X509_V_FLAG_PARTIAL_CHAIN);
    if (SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) != 1)
        return refuse(m, CN_STR("OpenSSL"), openssl_reason());
    return CN_OK;
}

static cn_rc use_roots(making_t *m, const cn_tls_web_conf_t *conf)
{
    if (conf->insecure)
        return CN_OK;
    if (conf->ca.n && load(m, conf->ca_file, conf->ca, use_bundle) != CN_OK)
        return CN_ERR;
    if (conf->system && SSL_CTX_set_default_verify_paths(m->ctx->ssl) != 1)
        return refuse(m, CN_STR("the system's roots"), openssl_reason());
    if (conf->crl.n)
        return load(m, conf->crl_file, conf->crl, use_crl);
    return CN_OK;
}

static cn_rc use_own(making_t *m, const cn_tls_web_conf_t *conf)
{
    if (conf->cert.n == 0)
        return CN_OK;
    if (load(m, conf->cert_file, conf->cert, use_chain) != CN_OK)
        return CN_ERR;
    return load(m, conf->key_file, conf->key, use_key);
}

cn_rc cn_tls_ctx_create_web(const cn_tls_web_conf_t *conf, cn_pool_t *pool, cn_tls_ctx_t **out,
                            cn_str_t *why)
{
    cn_tls_ctx_t *ctx = cn_xzalloc(sizeof(*ctx));
    making_t m = {ctx, pool, why, false};
    size_t before = cn_mem_total();

    ctx->refs = 1;
    ctx->pool = cn_pool_exempt(cn_pool_create(512));
    ctx->web = true;
    ctx->insecure = conf->insecure;
    ERR_clear_error();
    ctx->ssl = SSL_CTX_new(TLS_client_method());
    if (!ctx->ssl)
        cn_pool_out_of_memory();
    if (set_up_web(&m) != CN_OK || use_own(&m, conf) != CN_OK || use_roots(&m, conf) != CN_OK) {
        cn_tls_ctx_unref(ctx);
        return CN_ERR;
    }
    give_away(ctx, before);
    *out = ctx;
    return CN_OK;
}

/* ---- references ---- */

cn_tls_ctx_t *cn_tls_ctx_ref(cn_tls_ctx_t *ctx)
{
    ctx->refs++;
    return ctx;
}

void cn_tls_ctx_unref(cn_tls_ctx_t *ctx)
{
    if (!ctx || --ctx->refs)
        return;
    cn_mem_take(ctx->held);
    SSL_CTX_free(ctx->ssl);
    cn_tls_seen_destroy(ctx->seen);
    BIO_meth_free(ctx->bio);
    cn_pool_destroy(ctx->pool);
    free(ctx);
}

const cn_spiffe_t *cn_tls_ctx_identity(const cn_tls_ctx_t *ctx)
{
    return &ctx->identity;
}

int64_t cn_tls_ctx_not_after(const cn_tls_ctx_t *ctx)
{
    return ctx->not_after;
}

bool cn_tls_ctx_trusts(const cn_tls_ctx_t *ctx, cn_str_t trust_domain)
{
    for (unsigned i = 0; i < ctx->ndomains; i++)
        if (cn_str_eq(ctx->domains[i], trust_domain))
            return true;
    return false;
}
