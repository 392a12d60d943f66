/* SPDX-License-Identifier: Apache-2.0
 *
 * What a context refuses of its own files, with a reason that names the file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdio.h>
#include <time.h>

#include "../fixture/pki.h"
#include "core/log.h"
#include "tls/ctx.h"

#define ID "spiffe://cluster.local/ns/bookinfo/sa/waypoint"

typedef struct {
    cn_pki_t *pki;
    cn_pool_t *pool;
} world_t;

static int setup(void **state)
{
    world_t *w = cn_xzalloc(sizeof(*w));

    cn_log_set_level(CN_LOG_ERROR);
    w->pki = cn_pki_create();
    w->pool = cn_pool_create(0);
    cn_pki_ca(w->pki, "ca", NULL);
    cn_pki_leaf(w->pki, "good", "ca", &(cn_pki_leaf_t){.uri = ID});
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world_t *w = *state;

    cn_pki_destroy(w->pki);
    cn_pool_destroy(w->pool);
    free(w);
    return 0;
}

static cn_rc make(world_t *w, const char *cert, const char *key, const char *roots,
                  cn_tls_ctx_t **ctx, cn_str_t *why)
{
    cn_tls_conf_t conf = {.cert_file = cn_pki_path(w->pki, cert, "pem"),
                          .key_file = cn_pki_path(w->pki, key, "key"),
                          .bundle_file = cn_pki_path(w->pki, roots, "pem")};

    return cn_tls_ctx_create(&conf, w->pool, ctx, why);
}

static void refused(world_t *w, const char *cert, const char *key, const char *roots,
                    const char *file, const char *reason)
{
    cn_tls_ctx_t *ctx;
    cn_str_t why;

    assert_int_equal(make(w, cert, key, roots, &ctx, &why), CN_ERR);
    if (!strstr(why.p, file) || !strstr(why.p, reason))
        fail_msg("\"%s\" should name %s and say \"%s\"", why.p, file, reason);
}

static void test_a_context_knows_who_we_are(void **state)
{
    world_t *w = *state;
    cn_tls_ctx_t *ctx;
    cn_str_t why;
    int64_t left;

    assert_int_equal(make(w, "good", "good", "ca", &ctx, &why), CN_OK);
    assert_true(cn_str_eq(cn_tls_ctx_identity(ctx)->uri, CN_STR(ID)));
    left = cn_tls_ctx_not_after(ctx) - (int64_t)time(NULL);
    assert_true(left > 1700 && left <= 1800);
    cn_tls_ctx_ref(ctx);
    cn_tls_ctx_unref(ctx);
    assert_true(cn_str_eq(cn_tls_ctx_identity(ctx)->sa, CN_STR("waypoint")));
    cn_tls_ctx_unref(ctx);
}

static void test_missing_files_are_named(void **state)
{
    refused(*state, "none", "good", "ca", "none.pem", "No such file");
    refused(*state, "good", "none", "ca", "none.key", "No such file");
    refused(*state, "good", "good", "none", "none.pem", "No such file");
}

static void test_the_key_must_be_the_certificates(void **state)
{
    world_t *w = *state;

    cn_pki_leaf(w->pki, "other", "ca", &(cn_pki_leaf_t){.uri = ID});
    refused(w, "good", "other", "ca", "other.key", "does not belong");
}

static void test_our_certificate_must_be_in_time(void **state)
{
    world_t *w = *state;

    cn_pki_leaf(w->pki, "old", "ca", &(cn_pki_leaf_t){.uri = ID, .from_s = -100, .to_s = -10});
    cn_pki_leaf(w->pki, "new", "ca", &(cn_pki_leaf_t){.uri = ID, .from_s = 1000, .to_s = 2000});
    refused(w, "old", "old", "ca", "old.pem", "expired");
    refused(w, "new", "new", "ca", "new.pem", "not valid yet");
}

static void test_our_certificate_must_have_an_identity(void **state)
{
    world_t *w = *state;

    cn_pki_leaf(w->pki, "anon", "ca", &(cn_pki_leaf_t){.dns = "x.example"});
    cn_pki_leaf(w->pki, "odd", "ca", &(cn_pki_leaf_t){.uri = "spiffe://td/other"});
    refused(w, "anon", "anon", "ca", "anon.pem", "no SPIFFE identity");
    refused(w, "odd", "odd", "ca", "odd.pem", "no SPIFFE identity");
}

static void test_the_first_identity_that_parses_counts(void **state)
{
    world_t *w = *state;
    cn_tls_ctx_t *ctx;
    cn_str_t why;

    cn_pki_leaf(w->pki, "two", "ca",
                &(cn_pki_leaf_t){.dns = "x", .uri = "https://example.com/", .uri2 = ID});
    assert_int_equal(make(w, "two", "two", "ca", &ctx, &why), CN_OK);
    assert_true(cn_str_eq(cn_tls_ctx_identity(ctx)->uri, CN_STR(ID)));
    cn_tls_ctx_unref(ctx);
}

static void write_file(world_t *w, const char *name, const char *text)
{
    /* The pki removes what it made: write over one of its files. */
    FILE *f;

    cn_pki_ca(w->pki, name, NULL);
    f = fopen(cn_pki_path(w->pki, name, "pem").p, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_an_empty_bundle_trusts_nobody_and_is_refused(void **state)
{
    world_t *w = *state;

    write_file(w, "empty", "");
    write_file(w, "junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    refused(w, "good", "good", "empty", "empty.pem", "no certificate");
    refused(w, "good", "good", "junk", "junk.pem", "no certificate");
    refused(w, "empty", "good", "ca", "empty.pem", "no certificate");
}

/* Roots behind a broken one would be missing without a word. */
static void test_a_broken_certificate_in_the_bundle_is_refused(void **state)
{
    world_t *w = *state;
    cn_str_t roots;

    write_file(w, "junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    cn_pki_ca(w->pki, "roots", NULL);
    roots = cn_pki_path(w->pki, "roots", "pem");
    cn_pki_append(roots, cn_pki_path(w->pki, "junk", "pem"));
    refused(w, "good", "good", "roots", "roots.pem", "broken");
}

static void test_a_certificate_is_no_key(void **state)
{
    world_t *w = *state;
    cn_tls_conf_t conf = {.cert_file = cn_pki_path(w->pki, "good", "pem"),
                          .key_file = cn_pki_path(w->pki, "good", "pem"),
                          .bundle_file = cn_pki_path(w->pki, "ca", "pem")};
    cn_tls_ctx_t *ctx;
    cn_str_t why;

    assert_int_equal(cn_tls_ctx_create(&conf, w->pool, &ctx, &why), CN_ERR);
    assert_non_null(strstr(why.p, "private key"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    static const struct CMUnitTest tests[] = {
        T(test_a_context_knows_who_we_are),
        T(test_missing_files_are_named),
        T(test_the_key_must_be_the_certificates),
        T(test_our_certificate_must_be_in_time),
        T(test_our_certificate_must_have_an_identity),
        T(test_the_first_identity_that_parses_counts),
        T(test_an_empty_bundle_trusts_nobody_and_is_refused),
        T(test_a_broken_certificate_in_the_bundle_is_refused),
        T(test_a_certificate_is_no_key),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
