/* SPDX-License-Identifier: Apache-2.0
 *
 * Both ends over streams in memory, and ours against a peer made of plain
 * OpenSSL that does what ours never would.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "../fixture/memstream.h"
#include "../fixture/pki.h"
#include "../fixture/talker.h"
#include "core/log.h"
#include "tls/stream.h"
#include "tls/tls_int.h"

#define CURL "spiffe://cluster.local/ns/default/sa/curl"
#define WAYPOINT "spiffe://cluster.local/ns/bookinfo/sa/waypoint"

typedef struct {
    cn_loop_t *loop;
    cn_pool_t *pool;
    cn_pki_t *pki;
    cn_mempair_t pair;
    cn_tls_ctx_t *ctx[2];
    cn_talker_t client, server;
    cn_str_t domains[2];
    unsigned ndomains;
    cn_str_t pin;
    uint64_t handshake_ms;
    /* a peer made of plain OpenSSL */
    SSL_CTX *raw_ctx;
    SSL *raw;
    cn_stream_t *raw_stream;
} world_t;

static int setup(void **state)
{
    world_t *w = cn_xzalloc(sizeof(*w));

    cn_log_set_level(CN_LOG_ERROR);
    w->loop = cn_loop_create();
    w->pool = cn_pool_create(0);
    w->pki = cn_pki_create();
    cn_pki_ca(w->pki, "ca", NULL);
    cn_pki_leaf(w->pki, "curl", "ca", &(cn_pki_leaf_t){.uri = CURL});
    cn_pki_leaf(w->pki, "waypoint", "ca", &(cn_pki_leaf_t){.uri = WAYPOINT});
    w->domains[0] = CN_STR("cluster.local");
    w->ndomains = 1;
    w->handshake_ms = 10000;
    *state = w;
    return 0;
}

/* The connection ends, contexts stay. */
static void part(world_t *w)
{
    if (w->client.s)
        cn_talker_fini(&w->client, false);
    if (w->server.s)
        cn_talker_fini(&w->server, false);
    if (w->raw_stream)
        cn_stream_close(w->raw_stream, false);
    cn_talker_settle(w->loop);
    SSL_free(w->raw);
    SSL_CTX_free(w->raw_ctx);
    w->raw_stream = NULL;
    w->raw = NULL;
    w->raw_ctx = NULL;
}

static int teardown(void **state)
{
    world_t *w = *state;

    part(w);
    cn_tls_ctx_unref(w->ctx[0]);
    cn_tls_ctx_unref(w->ctx[1]);
    cn_loop_destroy(w->loop);
    cn_pki_destroy(w->pki);
    cn_pool_destroy(w->pool);
    free(w);
    return 0;
}

static cn_tls_ctx_t *context(world_t *w, const char *leaf, const char *roots)
{
    cn_tls_conf_t conf = {.cert_file = cn_pki_path(w->pki, leaf, "pem"),
                          .key_file = cn_pki_path(w->pki, leaf, "key"),
                          .bundle_file = cn_pki_path(w->pki, roots, "pem"),
                          .trust_domains = w->domains,
                          .trust_domain_n = w->ndomains};
    cn_tls_ctx_t *ctx;
    cn_str_t why;

    if (cn_tls_ctx_create(&conf, w->pool, &ctx, &why) != CN_OK)
        fail_msg("%.*s", CN_STR_ARG(why));
    return ctx;
}

static void connect_as(world_t *w, const char *client, const char *client_roots, const char *server,
                       const char *server_roots, size_t window)
{
    w->pair = cn_memstream_pair(w->loop, window, window);
    if (!w->ctx[0])
        w->ctx[0] = context(w, client, client_roots);
    if (!w->ctx[1])
        w->ctx[1] = context(w, server, server_roots);
    cn_talker_init(&w->client, w->loop,
                   cn_tls_client(w->loop, w->pair.a, w->ctx[0], w->pin, w->handshake_ms, NULL));
    cn_talker_init(&w->server, w->loop,
                   cn_tls_server(w->loop, w->pair.b, w->ctx[1], w->handshake_ms, NULL));
    w->client.seed = w->server.peer_seed = 7;
    cn_talker_settle(w->loop);
}

static void connect_both(world_t *w)
{
    connect_as(w, "curl", "ca", "waypoint", "ca", SIZE_MAX);
    assert_true(w->client.ready && w->server.ready);
}

static void assert_failed(const cn_talker_t *t, cn_serr err, const char *text)
{
    assert_true(t->failed);
    assert_int_equal(t->s->err, err);
    if (!t->s->err_text || !strstr(t->s->err_text, text))
        fail_msg("\"%s\" should say \"%s\"", t->s->err_text ? t->s->err_text : "(nothing)", text);
}

/* ---- accepted ---- */

static void test_both_ends_learn_who_the_other_is(void **state)
{
    world_t *w = *state;
    const cn_peer_t *c, *s;

    connect_both(w);
    c = cn_stream_peer(w->client.s);
    s = cn_stream_peer(w->server.s);
    assert_true(cn_str_eq(c->identity, CN_STR(WAYPOINT)));
    assert_true(cn_str_eq(c->local_identity, CN_STR(CURL)));
    assert_true(cn_str_eq(s->identity, CN_STR(CURL)));
    assert_true(cn_str_eq(s->local_identity, CN_STR(WAYPOINT)));
    assert_true(cn_str_eq(s->alpn, CN_STR("h2")));
}

static void test_bytes_go_both_ways_at_once(void **state)
{
    world_t *w = *state;

    connect_both(w);
    cn_talker_send(&w->client, 300000, true);
    cn_talker_send(&w->server, 400000, true);
    cn_talker_settle(w->loop);
    assert_int_equal(w->server.got, 300000);
    assert_int_equal(w->client.got, 400000);
    assert_true(w->server.ended && w->client.ended);
    assert_true(!w->server.garbled && !w->client.garbled);
    assert_int_equal(w->client.s->tx, 300000);
    assert_int_equal(w->server.s->rx, 300000);
}

/* OpenSSL keeps one queue of errors for all; a stream that waits for bytes asks it why. */
static void test_an_error_of_somebody_else_ends_no_stream(void **state)
{
    world_t *w = *state;

    connect_both(w);
    for (int i = 1; i <= 3; i++) {
        ERR_raise(ERR_LIB_PEM, PEM_R_NO_START_LINE);
        cn_talker_send(&w->client, 1000, i == 3);
        cn_talker_settle(w->loop);
        assert_int_equal(w->server.got, i * 1000);
    }
    assert_true(w->server.ended && !w->server.garbled);
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_small_windows_and_single_bytes_change_nothing(void **state)
{
    world_t *w = *state;

    connect_as(w, "curl", "ca", "waypoint", "ca", 11);
    cn_memstream_set_read_max(w->pair.a, 1);
    cn_memstream_set_read_max(w->pair.b, 5);
    for (int i = 0; i < 20; i++)
        cn_talker_settle(w->loop);
    assert_true(w->client.ready && w->server.ready);
    cn_talker_send(&w->client, 3000, true);
    cn_talker_send(&w->server, 3000, true);
    for (int i = 0; i < 50; i++)
        cn_talker_settle(w->loop);
    assert_true(w->server.got == 3000 && w->client.got == 3000);
    assert_true(w->server.ended && w->client.ended);
    assert_true(!w->server.garbled && !w->client.garbled);
}

static void test_an_end_of_one_direction_leaves_the_other(void **state)
{
    world_t *w = *state;

    connect_both(w);
    cn_talker_send(&w->client, 10, true);
    cn_talker_settle(w->loop);
    assert_true(w->server.ended && !w->client.ended);
    cn_talker_send(&w->server, 50000, true);
    cn_talker_settle(w->loop);
    assert_int_equal(w->client.got, 50000);
    assert_true(w->client.ended && !w->client.failed);
}

static void test_close_delivers_what_was_written(void **state)
{
    world_t *w = *state;

    connect_as(w, "curl", "ca", "waypoint", "ca", 5000);
    w->server.deaf = true;
    cn_talker_send(&w->client, 60000, false);
    cn_talker_settle(w->loop);
    assert_int_equal(w->client.to_send + w->client.out.bytes, 0);
    cn_talker_fini(&w->client, false);
    w->server.deaf = false;
    cn_talker_poke(&w->server);
    cn_talker_settle(w->loop);
    assert_int_equal(w->server.got, 60000);
    assert_true(w->server.ended && !w->server.garbled);
}

static void test_a_loop_that_goes_ends_what_still_delivers(void **state)
{
    world_t *w = *state;

    connect_as(w, "curl", "ca", "waypoint", "ca", 5000);
    w->server.deaf = true;
    cn_talker_send(&w->client, 60000, false);
    cn_talker_settle(w->loop);
    cn_talker_fini(&w->client, false); /* nothing more is read: teardown must free it */
    assert_false(cn_memstream_peer_closed(w->pair.b));
}

static void test_small_slices_share_a_record(void **state)
{
    world_t *w = *state;
    cn_chain_t out;
    uint64_t before;

    connect_both(w);
    cn_chain_init(&out);
    for (int i = 0; i < 100; i++)
        cn_chain_push(&out, cn_chunk_new(10), 0, 10);
    assert_int_equal(out.n, 100);
    before = w->pair.a->tx;
    assert_int_equal(cn_stream_write(w->client.s, &out), CN_OK);
    assert_int_equal(w->pair.a->tx - before, 1000 + 5 + 1 + 16);
    cn_chain_clear(&out);
}

static void test_the_exact_identity_may_be_asked_for(void **state)
{
    world_t *w = *state;

    w->pin = CN_STR(WAYPOINT);
    connect_both(w);
}

static void test_an_alias_of_the_trust_domain_is_accepted(void **state)
{
    world_t *w = *state;

    w->domains[1] = CN_STR("old.example");
    w->ndomains = 2;
    cn_pki_leaf(w->pki, "alias", "ca", &(cn_pki_leaf_t){.uri = "spiffe://old.example/ns/a/sa/b"});
    connect_as(w, "alias", "ca", "waypoint", "ca", SIZE_MAX);
    assert_true(w->client.ready && w->server.ready);
}

static void test_an_intermediate_may_sign(void **state)
{
    world_t *w = *state;

    cn_pki_ca(w->pki, "mid", "ca");
    cn_pki_leaf(w->pki, "deep", "mid", &(cn_pki_leaf_t){.uri = CURL});
    cn_pki_append(cn_pki_path(w->pki, "deep", "pem"), cn_pki_path(w->pki, "mid", "pem"));
    connect_as(w, "deep", "ca", "waypoint", "ca", SIZE_MAX);
    assert_true(w->client.ready && w->server.ready);
}

static void test_a_leaf_without_key_usage_extension_passes(void **state)
{
    world_t *w = *state;

    cn_pki_leaf(w->pki, "plain", "ca", &(cn_pki_leaf_t){.uri = CURL, .eku = ""});
    connect_as(w, "plain", "ca", "waypoint", "ca", SIZE_MAX);
    assert_true(w->client.ready && w->server.ready);
}

/* ---- refused ---- */

static void client_refused(world_t *w, const char *client, cn_serr err, const char *text)
{
    connect_as(w, client, "ca", "waypoint", "ca", SIZE_MAX);
    assert_failed(&w->server, err, text);
    /* TLS 1.3: the client is told after it thought to be done. */
    assert_failed(&w->client, CN_SERR_TLS, "the peer refused");
}

static void server_refused(world_t *w, const char *server, cn_serr err, const char *text)
{
    connect_as(w, "curl", "ca", server, "ca", SIZE_MAX);
    assert_failed(&w->client, err, text);
    assert_failed(&w->server, CN_SERR_TLS, "the peer refused");
}

static void test_another_ca_is_unknown(void **state)
{
    world_t *w = *state;

    cn_pki_ca(w->pki, "evil", NULL);
    cn_pki_leaf(w->pki, "spy", "evil", &(cn_pki_leaf_t){.uri = CURL});
    client_refused(w, "spy", CN_SERR_TLS, "unknown CA");
}

static void test_another_ca_of_the_server_is_unknown(void **state)
{
    world_t *w = *state;

    cn_pki_ca(w->pki, "evil", NULL);
    cn_pki_leaf(w->pki, "spy", "evil", &(cn_pki_leaf_t){.uri = WAYPOINT});
    server_refused(w, "spy", CN_SERR_TLS, "unknown CA");
}

static void test_a_foreign_trust_domain_is_refused(void **state)
{
    world_t *w = *state;

    cn_pki_leaf(w->pki, "far", "ca", &(cn_pki_leaf_t){.uri = "spiffe://far.example/ns/a/sa/b"});
    client_refused(w, "far", CN_SERR_IDENTITY, "far.example");
}

static void test_a_foreign_trust_domain_of_the_server_is_refused(void **state)
{
    world_t *w = *state;

    cn_pki_leaf(w->pki, "far", "ca", &(cn_pki_leaf_t){.uri = "spiffe://far.example/ns/a/sa/b"});
    server_refused(w, "far", CN_SERR_IDENTITY, "far.example");
}

static void test_another_identity_than_asked_for_is_refused(void **state)
{
    world_t *w = *state;

    w->pin = CN_STR("spiffe://cluster.local/ns/bookinfo/sa/reviews");
    connect_as(w, "curl", "ca", "waypoint", "ca", SIZE_MAX);
    assert_failed(&w->client, CN_SERR_IDENTITY, WAYPOINT);
    assert_failed(&w->client, CN_SERR_IDENTITY, "sa/reviews");
    assert_false(w->server.ready);
}

static void test_a_ca_is_no_workload(void **state)
{
    world_t *w = *state;

    cn_pki_leaf(w->pki, "ca-leaf", "ca", &(cn_pki_leaf_t){.uri = CURL, .ca = true});
    client_refused(w, "ca-leaf", CN_SERR_TLS, "CA");
}

static void test_a_server_certificate_is_none_for_clients(void **state)
{
    world_t *w = *state;

    cn_pki_leaf(w->pki, "srv", "ca", &(cn_pki_leaf_t){.uri = CURL, .eku = "serverAuth"});
    client_refused(w, "srv", CN_SERR_TLS, "not for this use");
}

static void test_a_client_certificate_is_none_for_servers(void **state)
{
    world_t *w = *state;

    cn_pki_leaf(w->pki, "cli", "ca", &(cn_pki_leaf_t){.uri = WAYPOINT, .eku = "clientAuth"});
    server_refused(w, "cli", CN_SERR_TLS, "not for this use");
}

/* ---- against plain OpenSSL ---- */

typedef struct {
    const char *leaf, *alpn; /* NULL: none */
    size_t alpn_n;
    int max_version;
    bool server;
    const char *key;    /* of another leaf, instead of the leaf's own */
    const char *suites; /* NULL: OpenSSL's, AES-256 first */
} raw_conf_t;

static int raw_alpn(SSL *ssl CN_UNUSED, const unsigned char **out, unsigned char *n,
                    const unsigned char *in CN_UNUSED, unsigned inlen CN_UNUSED, void *arg)
{
    if (!arg)
        return SSL_TLSEXT_ERR_NOACK;
    *out = (const unsigned char *)"h2";
    *n = 2;
    return SSL_TLSEXT_ERR_OK;
}

static EVP_PKEY *key_file(world_t *w, const char *name)
{
    BIO *bio = BIO_new_file(cn_pki_path(w->pki, name, "key").p, "r");
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

    BIO_free(bio);
    assert_non_null(key);
    return key;
}

/* Who has the certificate but another key: OpenSSL compares only the public
 * parts, so that of the certificate is put beside the private one. */
static void use_stolen(world_t *w, const char *key)
{
    EVP_PKEY *own = key_file(w, key), *mixed = NULL;
    EVP_PKEY *pub = X509_get_pubkey(SSL_CTX_get0_certificate(w->raw_ctx));
    EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params;
    BIGNUM *secret = NULL;
    unsigned char point[65];
    size_t n;

    assert_int_equal(EVP_PKEY_get_bn_param(own, OSSL_PKEY_PARAM_PRIV_KEY, &secret), 1);
    assert_int_equal(
        EVP_PKEY_get_octet_string_param(pub, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &n), 1);
    OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, secret);
    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, n);
    params = OSSL_PARAM_BLD_to_param(bld);
    assert_int_equal(EVP_PKEY_fromdata_init(make), 1);
    assert_int_equal(EVP_PKEY_fromdata(make, &mixed, EVP_PKEY_KEYPAIR, params), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(w->raw_ctx, mixed), 1);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(make);
    EVP_PKEY_free(mixed);
    EVP_PKEY_free(own);
    EVP_PKEY_free(pub);
    BN_free(secret);
}

static void raw_start(world_t *w, const raw_conf_t *rc)
{
    w->pair = cn_memstream_pair(w->loop, SIZE_MAX, SIZE_MAX);
    w->raw_ctx = SSL_CTX_new(TLS_method());
    if (rc->leaf)
        SSL_CTX_use_certificate_chain_file(w->raw_ctx, cn_pki_path(w->pki, rc->leaf, "pem").p);
    if (rc->leaf && rc->key)
        use_stolen(w, rc->key);
    else if (rc->leaf)
        SSL_CTX_use_PrivateKey_file(w->raw_ctx, cn_pki_path(w->pki, rc->leaf, "key").p,
                                    SSL_FILETYPE_PEM);
    if (rc->suites)
        assert_int_equal(SSL_CTX_set_ciphersuites(w->raw_ctx, rc->suites), 1);
    if (rc->max_version)
        SSL_CTX_set_max_proto_version(w->raw_ctx, rc->max_version);
    SSL_CTX_set_alpn_select_cb(w->raw_ctx, raw_alpn, rc->alpn ? w : NULL);
    if (rc->server)
        SSL_CTX_set_verify(w->raw_ctx, SSL_VERIFY_NONE, NULL);
    w->raw = SSL_new(w->raw_ctx);
    SSL_set_bio(w->raw, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (rc->alpn && !rc->server)
        SSL_set_alpn_protos(w->raw, (const unsigned char *)rc->alpn, (unsigned)rc->alpn_n);
    w->raw_stream = w->pair.a;
    if (!w->ctx[1])
        w->ctx[1] = context(w, "waypoint", "ca");
    if (rc->server) {
        SSL_set_accept_state(w->raw);
        cn_talker_init(&w->client, w->loop,
                       cn_tls_client(w->loop, w->pair.b, w->ctx[1], CN_STR_NULL, 10000, NULL));
    } else {
        SSL_set_connect_state(w->raw);
        cn_talker_init(&w->server, w->loop,
                       cn_tls_server(w->loop, w->pair.b, w->ctx[1], 10000, NULL));
    }
}

/* Carries bytes between the raw peer and the stream. */
static void raw_move(world_t *w)
{
    cn_chain_t c;
    char buf[4096];
    int n;

    cn_chain_init(&c);
    while (cn_stream_read(w->raw_stream, &c, 100000) == CN_OK)
        continue;
    for (uint32_t i = 0; i < c.n; i++) {
        const cn_buf_t *b = cn_chain_at(&c, i);
        BIO_write(SSL_get_rbio(w->raw), b->chunk->data + b->off, (int)b->len);
    }
    cn_chain_clear(&c);
    SSL_do_handshake(w->raw);
    while ((n = BIO_read(SSL_get_wbio(w->raw), buf, sizeof(buf))) > 0)
        cn_chain_copy(&c, buf, (size_t)n);
    if (c.bytes && cn_stream_write(w->raw_stream, &c) == CN_ERR)
        cn_chain_clear(&c);
    cn_chain_clear(&c);
    cn_talker_settle(w->loop);
}

static void raw_connect(world_t *w, const raw_conf_t *rc)
{
    raw_start(w, rc);
    for (int i = 0; i < 6; i++)
        raw_move(w);
}

static void test_a_client_without_a_certificate_is_refused(void **state)
{
    world_t *w = *state;

    raw_connect(w, &(raw_conf_t){.alpn = "\x02h2", .alpn_n = 3});
    assert_failed(&w->server, CN_SERR_TLS, "sent no certificate");
}

static void test_a_client_without_an_identity_is_refused(void **state)
{
    world_t *w = *state;

    cn_pki_leaf(w->pki, "anon", "ca", &(cn_pki_leaf_t){.dns = "curl.example"});
    raw_connect(w, &(raw_conf_t){.leaf = "anon", .alpn = "\x02h2", .alpn_n = 3});
    assert_failed(&w->server, CN_SERR_IDENTITY, "no SPIFFE identity");
}

static void test_an_expired_client_is_refused(void **state)
{
    world_t *w = *state;

    cn_pki_leaf(w->pki, "old", "ca", &(cn_pki_leaf_t){.uri = CURL, .from_s = -100, .to_s = -10});
    raw_connect(w, &(raw_conf_t){.leaf = "old", .alpn = "\x02h2", .alpn_n = 3});
    assert_failed(&w->server, CN_SERR_TLS, "expired");
}

static void test_a_client_that_offers_no_protocol_is_refused(void **state)
{
    world_t *w = *state;

    raw_connect(w, &(raw_conf_t){.leaf = "curl"});
    assert_failed(&w->server, CN_SERR_TLS, "ALPN h2");
}

static void test_a_client_of_another_protocol_is_refused(void **state)
{
    world_t *w = *state;

    raw_connect(w, &(raw_conf_t){.leaf = "curl", .alpn = "\x08http/1.1", .alpn_n = 9});
    assert_failed(&w->server, CN_SERR_TLS, "ALPN h2");
}

/* With X25519 and P-256 beside them 256 bits keep out nobody more. */
static void test_our_order_of_suites_counts_not_the_client_s(void **state)
{
    world_t *w = *state;

    raw_connect(w, &(raw_conf_t){.leaf = "curl", .alpn = "\x02h2", .alpn_n = 3});
    assert_true(w->server.ready);
    assert_string_equal(SSL_get_cipher_name(w->raw), "TLS_AES_128_GCM_SHA256");
}

static void test_a_client_may_insist_on_its_suite(void **state)
{
    static const struct {
        const char *offered, *chosen;
    } cases[] = {
        {"TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"},
        {"TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"},
        {"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"},
        /* no AES in hardware */
        {"TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"},
    };
    world_t *w = *state;

    for (unsigned i = 0; i < CN_COUNT(cases); i++) {
        raw_connect(w,
                    &(raw_conf_t){
                        .leaf = "curl", .alpn = "\x02h2", .alpn_n = 3, .suites = cases[i].offered});
        assert_true(w->server.ready);
        assert_string_equal(SSL_get_cipher_name(w->raw), cases[i].chosen);
        part(w);
    }
}

static void test_a_server_that_chooses_no_protocol_is_refused(void **state)
{
    world_t *w = *state;

    raw_connect(w, &(raw_conf_t){.leaf = "waypoint", .server = true});
    assert_failed(&w->client, CN_SERR_TLS, "ALPN h2");
}

static void test_older_versions_are_refused(void **state)
{
    world_t *w = *state;

    raw_connect(w,
                &(raw_conf_t){
                    .leaf = "curl", .alpn = "\x02h2", .alpn_n = 3, .max_version = TLS1_2_VERSION});
    assert_failed(&w->server, CN_SERR_TLS, "TLS 1.3");
}

static void test_plain_text_is_refused(void **state)
{
    world_t *w = *state;
    cn_chain_t c;

    raw_start(w, &(raw_conf_t){.leaf = "curl"});
    cn_chain_init(&c);
    cn_chain_puts(&c, CN_STR("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_int_equal(cn_stream_write(w->raw_stream, &c), CN_OK);
    cn_chain_clear(&c);
    cn_talker_settle(w->loop);
    assert_failed(&w->server, CN_SERR_TLS, "does not speak TLS");
}

static void raw_write(world_t *w, size_t n)
{
    char buf[1000] = {0};

    assert_int_equal(SSL_write(w->raw, buf, (int)n), n);
    raw_move(w);
}

static void test_an_end_without_close_notify_is_the_end(void **state)
{
    world_t *w = *state;

    raw_connect(w, &(raw_conf_t){.leaf = "curl", .alpn = "\x02h2", .alpn_n = 3});
    assert_true(w->server.ready);
    raw_write(w, 100);
    cn_stream_close(w->raw_stream, false);
    w->raw_stream = NULL;
    cn_talker_settle(w->loop);
    assert_int_equal(w->server.got, 100);
    assert_true(w->server.ended && !w->server.failed);
}

/* What comes from the server when it is closed behind the end of its client. */
static size_t left_at_close(world_t *w, bool with_notify)
{
    cn_chain_t c;
    size_t n;

    raw_connect(w, &(raw_conf_t){.leaf = "curl", .alpn = "\x02h2", .alpn_n = 3});
    if (with_notify)
        SSL_shutdown(w->raw);
    raw_move(w);
    cn_stream_shutdown(w->raw_stream);
    cn_talker_settle(w->loop);
    assert_true(w->server.ended);
    cn_talker_fini(&w->server, false);
    cn_chain_init(&c);
    while (cn_stream_read(w->raw_stream, &c, 100000) == CN_OK)
        continue;
    assert_int_equal(cn_stream_read(w->raw_stream, &c, 1), CN_DONE);
    n = c.bytes;
    cn_chain_clear(&c);
    return n;
}

static void test_a_close_notify_is_answered(void **state)
{
    assert_true(left_at_close(*state, true) > 0);
}

static void test_an_end_without_close_notify_gets_none_either(void **state)
{
    assert_int_equal(left_at_close(*state, false), 0);
}

static void test_an_end_in_the_handshake_is_a_failure(void **state)
{
    world_t *w = *state;

    raw_start(w, &(raw_conf_t){.leaf = "curl", .alpn = "\x02h2", .alpn_n = 3});
    cn_stream_close(w->raw_stream, false);
    w->raw_stream = NULL;
    cn_talker_settle(w->loop);
    assert_failed(&w->server, CN_SERR_RESET, "closed the connection during the handshake");
}

static void test_a_reset_keeps_its_cause(void **state)
{
    world_t *w = *state;

    raw_connect(w, &(raw_conf_t){.leaf = "curl", .alpn = "\x02h2", .alpn_n = 3});
    cn_stream_close(w->raw_stream, true);
    w->raw_stream = NULL;
    cn_talker_settle(w->loop);
    assert_failed(&w->server, CN_SERR_RESET, "reset");
}

static void test_new_keys_change_nothing(void **state)
{
    world_t *w = *state;
    char buf[1000];

    raw_connect(w, &(raw_conf_t){.leaf = "curl", .alpn = "\x02h2", .alpn_n = 3});
    assert_int_equal(SSL_key_update(w->raw, SSL_KEY_UPDATE_REQUESTED), 1);
    raw_write(w, 10);
    assert_int_equal(w->server.got, 10);
    cn_talker_send(&w->server, 500, false);
    cn_talker_settle(w->loop);
    raw_move(w);
    assert_int_equal(SSL_read(w->raw, buf, sizeof(buf)), 500);
}

static void test_garbage_behind_the_handshake_is_a_failure(void **state)
{
    world_t *w = *state;
    cn_chain_t c;

    raw_connect(w, &(raw_conf_t){.leaf = "curl", .alpn = "\x02h2", .alpn_n = 3});
    cn_chain_init(&c);
    cn_chain_puts(&c, CN_STR("\x17\x03\x03\x00\x20"
                             "0123456789abcdef0123456789abcdef"));
    assert_int_equal(cn_stream_write(w->raw_stream, &c), CN_OK);
    cn_chain_clear(&c);
    cn_talker_settle(w->loop);
    assert_true(w->server.failed);
    assert_int_equal(w->server.s->err, CN_SERR_TLS);
}

static void test_a_handshake_has_a_time_limit(void **state)
{
    world_t *w = *state;

    w->pair = cn_memstream_pair(w->loop, SIZE_MAX, SIZE_MAX);
    w->raw_stream = w->pair.a;
    w->ctx[1] = context(w, "waypoint", "ca");
    cn_talker_init(&w->server, w->loop, cn_tls_server(w->loop, w->pair.b, w->ctx[1], 1, NULL));
    for (int i = 0; i < 1000 && !w->server.failed; i++)
        cn_loop_round(w->loop, 10);
    assert_failed(&w->server, CN_SERR_TIMEOUT, "timeout");
}

static void test_a_failed_connect_keeps_its_cause(void **state)
{
    world_t *w = *state;

    w->pair = cn_memstream_pair(w->loop, SIZE_MAX, SIZE_MAX);
    w->raw_stream = w->pair.b;
    cn_memstream_set_connecting(w->pair.a);
    w->ctx[0] = context(w, "curl", "ca");
    cn_talker_init(&w->client, w->loop,
                   cn_tls_client(w->loop, w->pair.a, w->ctx[0], CN_STR_NULL, 1000, NULL));
    cn_talker_settle(w->loop);
    assert_false(w->client.failed);
    cn_memstream_connected(w->pair.a, CN_SERR_REFUSED);
    cn_talker_settle(w->loop);
    assert_failed(&w->client, CN_SERR_REFUSED, "not connected");
}

static void test_tls_runs_inside_tls(void **state)
{
    world_t *w = *state;
    cn_stream_t *in_c, *in_s;

    w->pair = cn_memstream_pair(w->loop, 3000, 3000);
    w->ctx[0] = context(w, "curl", "ca");
    w->ctx[1] = context(w, "waypoint", "ca");
    in_c = cn_tls_client(w->loop, w->pair.a, w->ctx[0], CN_STR_NULL, 0, NULL);
    in_s = cn_tls_server(w->loop, w->pair.b, w->ctx[1], 0, NULL);
    cn_talker_init(&w->client, w->loop,
                   cn_tls_client(w->loop, in_c, w->ctx[1], CN_STR(CURL), 0, NULL));
    cn_talker_init(&w->server, w->loop, cn_tls_server(w->loop, in_s, w->ctx[0], 0, NULL));
    cn_talker_settle(w->loop);
    assert_true(w->client.ready && w->server.ready);
    cn_talker_send(&w->client, 100000, true);
    cn_talker_send(&w->server, 100000, true);
    for (int i = 0; i < 5; i++)
        cn_talker_settle(w->loop);
    assert_true(w->client.got == 100000 && w->server.got == 100000);
    assert_true(w->client.ended && w->server.ended);
}

/* ---- peers that come again ---- */

static const raw_conf_t curl_conf = {.leaf = "curl", .alpn = "\x02h2", .alpn_n = 3};

static void test_a_peer_that_comes_again_is_remembered(void **state)
{
    world_t *w = *state;

    for (int i = 0; i < 3; i++) {
        connect_both(w);
        assert_true(cn_str_eq(cn_stream_peer(w->client.s)->identity, CN_STR(WAYPOINT)));
        assert_true(cn_str_eq(cn_stream_peer(w->server.s)->identity, CN_STR(CURL)));
        cn_talker_send(&w->client, 1000, true);
        cn_talker_settle(w->loop);
        assert_int_equal(w->server.got, 1000);
        part(w);
    }
    assert_int_equal(cn_tls_seen_count(w->ctx[0]->seen), 1);
    assert_int_equal(cn_tls_seen_count(w->ctx[1]->seen), 1);
}

/* Twice: the second time they are remembered. */
static void test_identities_of_every_kind_of_key_are_accepted(void **state)
{
    static const char *const kinds[] = {"RSA", "P-256", "P-384", "ED25519"};
    world_t *w = *state;

    for (unsigned i = 0; i < CN_COUNT(kinds); i++) {
        const char *ca = i % 2 ? "p384-ca" : "rsa-ca";

        cn_pki_ca_of(w->pki, ca, NULL, i % 2 ? "P-384" : "RSA");
        cn_pki_leaf(w->pki, "client", ca, &(cn_pki_leaf_t){.uri = CURL, .key = kinds[i]});
        cn_pki_leaf(w->pki, "server", ca, &(cn_pki_leaf_t){.uri = WAYPOINT, .key = kinds[i]});
        for (int j = 0; j < 2; j++) {
            connect_as(w, "client", ca, "server", ca, SIZE_MAX);
            assert_true(w->client.ready && w->server.ready);
            assert_int_equal(cn_tls_seen_count(w->ctx[1]->seen), 1);
            part(w);
        }
        cn_tls_ctx_unref(w->ctx[0]);
        cn_tls_ctx_unref(w->ctx[1]);
        w->ctx[0] = w->ctx[1] = NULL;
    }
}

static void test_a_remembered_certificate_without_its_key_is_refused(void **state)
{
    world_t *w = *state;
    raw_conf_t thief = curl_conf;

    raw_connect(w, &curl_conf);
    assert_true(w->server.ready && cn_tls_seen_count(w->ctx[1]->seen) == 1);
    part(w);
    thief.key = "waypoint";
    raw_connect(w, &thief);
    assert_failed(&w->server, CN_SERR_TLS, "bad signature");
}

static void test_the_memory_goes_with_the_bundle(void **state)
{
    world_t *w = *state;

    raw_connect(w, &curl_conf);
    assert_true(w->server.ready && cn_tls_seen_count(w->ctx[1]->seen) == 1);
    part(w);
    cn_tls_ctx_unref(w->ctx[1]);
    cn_pki_ca(w->pki, "next", NULL);
    w->ctx[1] = context(w, "waypoint", "next");
    raw_connect(w, &curl_conf);
    assert_failed(&w->server, CN_SERR_TLS, "unknown CA");
}

static void test_the_memory_goes_with_the_trust_domains(void **state)
{
    world_t *w = *state;

    raw_connect(w, &curl_conf);
    assert_true(w->server.ready);
    part(w);
    cn_tls_ctx_unref(w->ctx[1]);
    w->domains[0] = CN_STR("elsewhere.example");
    w->ctx[1] = context(w, "waypoint", "ca");
    raw_connect(w, &curl_conf);
    assert_failed(&w->server, CN_SERR_IDENTITY, "trust domain that is not ours");
}

static void test_a_remembered_server_must_be_the_one_asked_for(void **state)
{
    world_t *w = *state;

    connect_both(w);
    part(w);
    w->pin = CN_STR("spiffe://cluster.local/ns/default/sa/other");
    connect_as(w, "curl", "ca", "waypoint", "ca", SIZE_MAX);
    assert_failed(&w->client, CN_SERR_IDENTITY,
                  "expected spiffe://cluster.local/ns/default/sa/other");
    part(w);
    w->pin = CN_STR(WAYPOINT);
    connect_both(w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_both_ends_learn_who_the_other_is),
        T(test_bytes_go_both_ways_at_once),
        T(test_an_error_of_somebody_else_ends_no_stream),
        T(test_small_windows_and_single_bytes_change_nothing),
        T(test_an_end_of_one_direction_leaves_the_other),
        T(test_close_delivers_what_was_written),
        T(test_a_loop_that_goes_ends_what_still_delivers),
        T(test_small_slices_share_a_record),
        T(test_the_exact_identity_may_be_asked_for),
        T(test_an_alias_of_the_trust_domain_is_accepted),
        T(test_an_intermediate_may_sign),
        T(test_a_leaf_without_key_usage_extension_passes),
        T(test_another_ca_is_unknown),
        T(test_another_ca_of_the_server_is_unknown),
        T(test_a_foreign_trust_domain_is_refused),
        T(test_a_foreign_trust_domain_of_the_server_is_refused),
        T(test_another_identity_than_asked_for_is_refused),
        T(test_a_ca_is_no_workload),
        T(test_a_server_certificate_is_none_for_clients),
        T(test_a_client_certificate_is_none_for_servers),
        T(test_a_client_without_a_certificate_is_refused),
        T(test_a_client_without_an_identity_is_refused),
        T(test_an_expired_client_is_refused),
        T(test_a_client_that_offers_no_protocol_is_refused),
        T(test_a_client_of_another_protocol_is_refused),
        T(test_our_order_of_suites_counts_not_the_client_s),
        T(test_a_client_may_insist_on_its_suite),
        T(test_a_server_that_chooses_no_protocol_is_refused),
        T(test_older_versions_are_refused),
        T(test_plain_text_is_refused),
        T(test_an_end_without_close_notify_is_the_end),
        T(test_a_close_notify_is_answered),
        T(test_an_end_without_close_notify_gets_none_either),
        T(test_an_end_in_the_handshake_is_a_failure),
        T(test_a_reset_keeps_its_cause),
        T(test_new_keys_change_nothing),
        T(test_garbage_behind_the_handshake_is_a_failure),
        T(test_a_handshake_has_a_time_limit),
        T(test_a_failed_connect_keeps_its_cause),
        T(test_tls_runs_inside_tls),
        T(test_a_peer_that_comes_again_is_remembered),
        T(test_identities_of_every_kind_of_key_are_accepted),
        T(test_a_remembered_certificate_without_its_key_is_refused),
        T(test_the_memory_goes_with_the_bundle),
        T(test_the_memory_goes_with_the_trust_domains),
        T(test_a_remembered_server_must_be_the_one_asked_for),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
