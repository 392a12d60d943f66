/* SPDX-License-Identifier: Apache-2.0
 *
 * What the memory of verified peers keeps, for whom and for how long, with
 * certificates made here and presented as libssl presents them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <time.h>

#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "core/pool.h"
#include "tls/lib.h"
#include "tls/seen.h"

#define CURL "spiffe://cluster.local/ns/default/sa/curl"

typedef struct {
    EVP_PKEY *key;
    X509 *cert;
} party_t;

typedef struct {
    cn_tls_seen_t *seen;
    party_t ca, foreign, peer;
    X509_STORE *roots;
    long serial;
    unsigned asked; /* calls of the verify callback for a leaf */
    cn_str_t known; /* what the memory said of the last chain */
} world_t;

typedef struct {
    const char *eku;
    long from_s, to_s;
    bool ca;
} made_t;

static void extend(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    assert_non_null(ext);
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
}

/* by NULL: self-signed. */
static X509 *make(world_t *w, const char *name, EVP_PKEY *key, const party_t *by, const made_t *how)
{
    X509 *cert = X509_new();
    X509_NAME *subject = X509_get_subject_name(cert);

    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ++w->serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), how->from_s ? how->from_s : -1000);
    X509_gmtime_adj(X509_getm_notAfter(cert), how->to_s ? how->to_s : 1000);
    X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, by ? X509_get_subject_name(by->cert) : subject);
    X509_set_pubkey(cert, key);
    extend(cert, NID_basic_constraints, how->ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    extend(cert, NID_key_usage, how->ca ? "critical,keyCertSign" : "critical,digitalSignature");
    if (!how->ca) {
        extend(cert, NID_ext_key_usage, how->eku ? how->eku : "serverAuth,clientAuth");
        extend(cert, NID_subject_alt_name, "URI:" CURL);
    }
    assert_true(X509_sign(cert, by ? by->key : key, EVP_sha256()) > 0);
    return cert;
}

static party_t authority(world_t *w, const char *name, const party_t *by, long to_s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    const made_t how = {.ca = true, .from_s = -100000, .to_s = to_s};

    return (party_t){key, make(w, name, key, by, &how)};
}

static void part(const party_t *p)
{
    EVP_PKEY_free(p->key);
    X509_free(p->cert);
}

static int setup(void **state)
{
    world_t *w = cn_xzalloc(sizeof(*w));

    w->seen = cn_tls_seen_create();
    w->ca = authority(w, "ca", NULL, 100000);
    w->foreign = authority(w, "foreign", NULL, 100000);
    w->peer.key = EVP_EC_gen("P-256");
    w->peer.cert = make(w, "", w->peer.key, &w->ca, &(made_t){0});
    w->roots = X509_STORE_new();
    X509_STORE_add_cert(w->roots, w->ca.cert);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_t *w = *state;

    cn_tls_seen_destroy(w->seen);
    part(&w->ca);
    part(&w->foreign);
    part(&w->peer);
    X509_STORE_free(w->roots);
    free(w);
    return 0;
}

static int on_verify(int ok, X509_STORE_CTX *store)
{
    world_t *w = X509_STORE_CTX_get_app_data(store);

    w->asked += X509_STORE_CTX_get_error_depth(store) == 0;
    return ok;
}

/* As libssl reads it. */
static X509 *received(X509 *cert)
{
    X509 *copy = X509_new_ex(cn_tls_lib(), NULL);
    unsigned char *der = NULL;
    int n = i2d_X509(cert, &der);
    const unsigned char *p = der;

    assert_non_null(d2i_X509(&copy, &p, n));
    OPENSSL_free(der);
    return copy;
}

/* The result of verification; at_s: as of then, from now. */
static int present(world_t *w, X509 *leaf, X509 *more, unsigned nmore, bool server, long at_s)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    X509_STORE_CTX *store = X509_STORE_CTX_new_ex(cn_tls_lib(), NULL);
    const cn_spiffe_t *known;
    int rc;

    sk_X509_push(chain, received(leaf));
    for (unsigned i = 0; i < nmore; i++)
        sk_X509_push(chain, received(more));
    X509_STORE_CTX_init(store, w->roots, sk_X509_value(chain, 0), chain);
    X509_STORE_CTX_set_default(store, server ? "ssl_client" : "ssl_server");
    X509_STORE_CTX_set_verify_cb(store, on_verify);
    X509_STORE_CTX_set_app_data(store, w);
    if (at_s)
        X509_STORE_CTX_set_time(store, 0, time(NULL) + at_s);
    ERR_clear_error();
    rc = cn_tls_seen_verify(w->seen, store, server, &known);
    if (rc == 1) {
        assert_non_null(X509_get0_pubkey(sk_X509_value(chain, 0)));
        assert_int_equal(X509_cmp(sk_X509_value(chain, 0), leaf), 0);
        assert_int_equal(ERR_peek_error(), 0); /* libssl would take it for its own */
    }
    w->known = known ? known->uri : CN_STR_NULL;
    X509_STORE_CTX_free(store);
    sk_X509_pop_free(chain, X509_free);
    return rc;
}

static int present_to_server(world_t *w, X509 *leaf)
{
    return present(w, leaf, NULL, 0, true, 0);
}

static void test_a_peer_is_verified_once(void **state)
{
    world_t *w = *state;

    assert_int_equal(present_to_server(w, w->peer.cert), 1);
    assert_int_equal(w->known.n, 0);
    assert_int_equal(w->asked, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(present_to_server(w, w->peer.cert), 1);
        assert_true(cn_str_eq(w->known, CN_STR(CURL)));
    }
    assert_int_equal(w->asked, 1);
    assert_int_equal(cn_tls_seen_count(w->seen), 1);
}

static void test_another_certificate_of_the_same_key_is_verified(void **state)
{
    world_t *w = *state;
    X509 *forged = make(w, "", w->peer.key, &w->foreign, &(made_t){0});
    X509 *renewed = make(w, "", w->peer.key, &w->ca, &(made_t){0});

    assert_int_equal(present_to_server(w, w->peer.cert), 1);
    assert_int_equal(present_to_server(w, forged), 0);
    assert_int_equal(present_to_server(w, renewed), 1);
    assert_int_equal(w->known.n, 0);
    assert_int_equal(cn_tls_seen_count(w->seen), 2);
    X509_free(forged);
    X509_free(renewed);
}

static void test_a_changed_byte_is_another_certificate(void **state)
{
    world_t *w = *state;
    unsigned char *der = NULL;
    const unsigned char *p;
    int n = i2d_X509(w->peer.cert, &der);
    X509 *changed;

    assert_int_equal(present_to_server(w, w->peer.cert), 1);
    der[n - 1] ^= 1; /* in the signature */
    p = der;
    changed = d2i_X509(NULL, &p, n);
    assert_int_equal(present_to_server(w, changed), 0);
    OPENSSL_free(der);
    X509_free(changed);
}

static void test_refused_peers_are_not_kept(void **state)
{
    world_t *w = *state;
    X509 *forged = make(w, "", w->peer.key, &w->foreign, &(made_t){0});

    for (int i = 0; i < 2; i++)
        assert_int_equal(present_to_server(w, forged), 0);
    assert_int_equal(cn_tls_seen_count(w->seen), 0);
    X509_free(forged);
}

static void test_other_certificates_beside_a_leaf_are_verified(void **state)
{
    world_t *w = *state;

    assert_int_equal(present_to_server(w, w->peer.cert), 1);
    assert_int_equal(present(w, w->peer.cert, w->foreign.cert, 1, true, 0), 1);
    assert_int_equal(w->known.n, 0);
    assert_int_equal(cn_tls_seen_count(w->seen), 2);
    /* nor is a chain of any length kept */
    assert_int_equal(present(w, w->peer.cert, w->foreign.cert, 8, true, 0), 1);
    assert_int_equal(cn_tls_seen_count(w->seen), 2);
}

static void test_a_role_is_not_another(void **state)
{
    world_t *w = *state;
    X509 *client = make(w, "", w->peer.key, &w->ca, &(made_t){.eku = "clientAuth"});

    assert_int_equal(present(w, client, NULL, 0, true, 0), 1);
    assert_int_equal(present(w, client, NULL, 0, false, 0), 0);
    X509_free(client);
}

static void test_an_entry_ends_with_its_certificate(void **state)
{
    world_t *w = *state;
    X509 *old = make(w, "", w->peer.key, &w->ca, &(made_t){.from_s = -7200, .to_s = -3600});

    assert_int_equal(present(w, old, NULL, 0, true, -5000), 1);
    assert_int_equal(cn_tls_seen_count(w->seen), 1);
    assert_int_equal(present_to_server(w, old), 0);
    assert_int_equal(cn_tls_seen_count(w->seen), 0);
    X509_free(old);
}

/* A clock that was set back. */
static void test_an_entry_begins_with_its_certificate(void **state)
{
    world_t *w = *state;
    X509 *new = make(w, "", w->peer.key, &w->ca, &(made_t){.from_s = 3600, .to_s = 7200});

    assert_int_equal(present(w, new, NULL, 0, true, 5000), 1);
    assert_int_equal(cn_tls_seen_count(w->seen), 1);
    assert_int_equal(present_to_server(w, new), 0);
    X509_free(new);
}

static void test_an_entry_ends_with_the_first_of_its_chain(void **state)
{
    world_t *w = *state;
    party_t between = authority(w, "between", &w->ca, -3600);
    X509 *leaf = make(w, "", w->peer.key, &between, &(made_t){.from_s = -7200, .to_s = 7200});

    assert_int_equal(present(w, leaf, between.cert, 1, true, -5000), 1);
    assert_int_equal(cn_tls_seen_count(w->seen), 1);
    assert_int_equal(present(w, leaf, between.cert, 1, true, 0), 0);
    X509_free(leaf);
    part(&between);
}

static void test_the_longest_unused_gives_way(void **state)
{
    world_t *w = *state;

    assert_int_equal(present_to_server(w, w->peer.cert), 1);
    for (unsigned i = 0; i < CN_TLS_SEEN_MAX; i++) {
        X509 *leaf = make(w, "", w->peer.key, &w->ca, &(made_t){0});

        assert_int_equal(present_to_server(w, leaf), 1);
        if (i < CN_TLS_SEEN_MAX - 1) /* used, so another one goes */
            assert_int_equal(present_to_server(w, w->peer.cert), 1);
        X509_free(leaf);
    }
    assert_int_equal(cn_tls_seen_count(w->seen), CN_TLS_SEEN_MAX);
    assert_int_equal(present_to_server(w, w->peer.cert), 1);
    assert_int_equal(w->known.n, strlen(CURL));
}

static void test_a_memory_that_is_full_forgets(void **state)
{
    world_t *w = *state;

    assert_int_equal(present_to_server(w, w->peer.cert), 1);
    for (unsigned i = 0; i < CN_TLS_SEEN_MAX; i++) {
        X509 *leaf = make(w, "", w->peer.key, &w->ca, &(made_t){0});

        assert_int_equal(present_to_server(w, leaf), 1);
        X509_free(leaf);
    }
    assert_int_equal(cn_tls_seen_count(w->seen), CN_TLS_SEEN_MAX);
    assert_int_equal(present_to_server(w, w->peer.cert), 1);
    assert_int_equal(w->known.n, 0);
}

static void test_handshakes_reach_what_the_mesh_speaks_only(void **state CN_UNUSED)
{
    static const char *const refused[] = {"AES-128-CBC", "AES-256-CCM", "DES-EDE3-CBC", "RC4"};
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(cn_tls_lib(), "AES-256-GCM", NULL);

    assert_non_null(cn_tls_lib());
    assert_non_null(cipher);
    EVP_CIPHER_free(cipher);
    for (unsigned i = 0; i < CN_COUNT(refused); i++)
        assert_null(EVP_CIPHER_fetch(cn_tls_lib(), refused[i], NULL));
    assert_null(EVP_MD_fetch(cn_tls_lib(), "MD5", NULL));
    assert_null(EVP_KEYMGMT_fetch(cn_tls_lib(), "DSA", NULL));
    assert_null(OSSL_DECODER_fetch(cn_tls_lib(), "EC", NULL));
    ERR_clear_error();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_a_peer_is_verified_once),
        T(test_another_certificate_of_the_same_key_is_verified),
        T(test_a_changed_byte_is_another_certificate),
        T(test_refused_peers_are_not_kept),
        T(test_other_certificates_beside_a_leaf_are_verified),
        T(test_a_role_is_not_another),
        T(test_an_entry_ends_with_its_certificate),
        T(test_an_entry_begins_with_its_certificate),
        T(test_an_entry_ends_with_the_first_of_its_chain),
        T(test_the_longest_unused_gives_way),
        T(test_a_memory_that_is_full_forgets),
        T(test_handshakes_reach_what_the_mesh_speaks_only),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
