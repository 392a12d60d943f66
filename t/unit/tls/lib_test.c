/* SPDX-License-Identifier: Apache-2.0
 *
 * When the mesh has an OpenSSL context of its own, and its random numbers.
 * OpenSSL's settings are a process's, so each case is a process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/core_dispatch.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

#include "../fixture/memstream.h"
#include "../fixture/pki.h"
#include "../fixture/talker.h"
#include "core/log.h"
#include "tls/lib.h"
#include "tls/stream.h"
#include "tls/tls_int.h"

#define CURL "spiffe://cluster.local/ns/default/sa/curl"

/* In a child, fails as assertions do there: by its exit code. */
#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                        \
            ERR_print_errors_fp(stderr);                                                           \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void in_a_process(void (*body)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        cn_log_set_level(CN_LOG_ERROR);
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- a provider of an operator ---- */

#define OPERATIONS 32
#define ALGORITHMS 128

/* OpenSSL's default provider under another name, with algorithms that say so. */
static struct {
    OSSL_LIB_CTX *elsewhere;
    OSSL_PROVIDER *real;
    OSSL_ALGORITHM tables[OPERATIONS][ALGORITHMS];
    char texts[OPERATIONS][ALGORITHMS][96];
} fake;

static void rename_all(int op, const OSSL_ALGORITHM *a)
{
    for (unsigned i = 0; a && a->algorithm_names && i + 1 < ALGORITHMS; i++, a++) {
        const char *rest = strchr(a->property_definition, ',');

        if (rest && strncmp(rest, ",fips=yes", 9) == 0)
            rest = strchr(rest + 1, ',');
        snprintf(fake.texts[op][i], sizeof(fake.texts[op][i]), "provider=fips,fips=yes%s",
                 rest ? rest : "");
        fake.tables[op][i] = *a;
        fake.tables[op][i].property_definition = fake.texts[op][i];
    }
}

static const OSSL_ALGORITHM *on_query(void *ctx CN_UNUSED, int op, int *no_cache)
{
    *no_cache = 0;
    if (op < 0 || op >= OPERATIONS)
        return NULL;
    if (!fake.tables[op][0].algorithm_names)
        rename_all(op, OSSL_PROVIDER_query_operation(fake.real, op, no_cache));
    return fake.tables[op];
}

static int on_capabilities(void *ctx CN_UNUSED, const char *what, OSSL_CALLBACK *cb, void *arg)
{
    return OSSL_PROVIDER_get_capabilities(fake.real, what, cb, arg);
}

static int on_init(const OSSL_CORE_HANDLE *core CN_UNUSED, const OSSL_DISPATCH *in CN_UNUSED,
                   const OSSL_DISPATCH **out, void **provctx)
{
    static const OSSL_DISPATCH calls[] = {
        {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))on_query},
        {OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (void (*)(void))on_capabilities},
        {0, NULL},
    };

    *out = calls;
    *provctx = OSSL_PROVIDER_get0_provider_ctx(fake.real);
    return 1;
}

static int on_nothing(const OSSL_CORE_HANDLE *core CN_UNUSED, const OSSL_DISPATCH *in CN_UNUSED,
                      const OSSL_DISPATCH **out, void **provctx)
{
    static const OSSL_DISPATCH calls[] = {{0, NULL}};

    *out = calls;
    *provctx = (void *)(uintptr_t)calls;
    return 1;
}

/* Once a provider was loaded by its name OpenSSL loads none by itself. */
static void load_fake(const char *name)
{
    fake.elsewhere = OSSL_LIB_CTX_new();
    fake.real = OSSL_PROVIDER_load(fake.elsewhere, "default");
    MUST(fake.real);
    /* A generator looks for the provider that it came from in its own context. */
    MUST(OSSL_PROVIDER_add_builtin(fake.elsewhere, name, on_nothing) == 1);
    MUST(OSSL_PROVIDER_load(fake.elsewhere, name));
    MUST(OSSL_PROVIDER_add_builtin(NULL, name, on_init) == 1);
    MUST(OSSL_PROVIDER_load(NULL, name));
}

/* ---- a handshake ---- */

typedef struct {
    cn_loop_t *loop;
    cn_pool_t *pool;
    cn_pki_t *pki;
    cn_tls_ctx_t *ctx;
} mesh_t;

static void mesh_create(mesh_t *m)
{
    cn_tls_conf_t conf = {0};
    cn_str_t why = CN_STR_NULL;

    m->loop = cn_loop_create();
    m->pool = cn_pool_create(0);
    m->pki = cn_pki_create();
    cn_pki_ca(m->pki, "ca", NULL);
    cn_pki_leaf(m->pki, "curl", "ca", &(cn_pki_leaf_t){.uri = CURL});
    conf.cert_file = cn_pki_path(m->pki, "curl", "pem");
    conf.key_file = cn_pki_path(m->pki, "curl", "key");
    conf.bundle_file = cn_pki_path(m->pki, "ca", "pem");
    MUST(cn_tls_ctx_create(&conf, m->pool, &m->ctx, &why) == CN_OK);
}

static void mesh_destroy(mesh_t *m)
{
    cn_tls_ctx_unref(m->ctx);
    cn_pki_destroy(m->pki);
    cn_loop_destroy(m->loop);
    cn_pool_destroy(m->pool);
}

static void shake(mesh_t *m)
{
    cn_mempair_t pair = cn_memstream_pair(m->loop, SIZE_MAX, SIZE_MAX);
    cn_talker_t client, server;

    cn_talker_init(&client, m->loop, cn_tls_client(m->loop, pair.a, m->ctx, CN_STR_NULL, 0, NULL));
    cn_talker_init(&server, m->loop, cn_tls_server(m->loop, pair.b, m->ctx, 0, NULL));
    cn_talker_send(&client, 50000, true);
    cn_talker_settle(m->loop);
    MUST(client.ready && server.ready && server.got == 50000);
    MUST(cn_str_eq(cn_stream_peer(server.s)->identity, CN_STR(CURL)));
    cn_talker_fini(&client, false);
    cn_talker_fini(&server, false);
    cn_talker_settle(m->loop);
}

/* The second of which finds both peers in the memory. */
static void shake_twice(void)
{
    mesh_t m;

    mesh_create(&m);
    shake(&m);
    MUST(cn_tls_seen_count(m.ctx->seen) == 2);
    shake(&m);
    MUST(cn_tls_seen_count(m.ctx->seen) == 2);
    mesh_destroy(&m);
}

static const char *provider_of_sha256(OSSL_LIB_CTX *ctx)
{
    EVP_MD *md = EVP_MD_fetch(ctx, "SHA2-256", NULL);
    const char *name;

    MUST(md);
    name = OSSL_PROVIDER_get0_name(EVP_MD_get0_provider(md));
    EVP_MD_free(md); /* the provider stays */
    return name;
}

/* ---- which context ---- */

static void as_openssl_comes(void)
{
    MUST(cn_tls_lib());
    MUST(strcmp(provider_of_sha256(cn_tls_lib()), "mesh") == 0);
    shake_twice();
}

static void test_the_mesh_has_its_own(void **state CN_UNUSED)
{
    in_a_process(as_openssl_comes);
}

/* OpenSSL goes through all names for each key; those of digests verify certificates. */
static void without_names_of_ciphers(void)
{
    MUST(cn_tls_lib());
    MUST(!EVP_get_cipherbyname("CAMELLIA-128-CBC"));
    MUST(EVP_get_digestbyname("SHA384"));
}

static void test_no_old_table_of_ciphers_is_in_the_way(void **state CN_UNUSED)
{
    in_a_process(without_names_of_ciphers);
}

static void fips_in_its_place(void)
{
    load_fake("fips");
    MUST(EVP_set_default_properties(NULL, "fips=yes") == 1);
    MUST(!cn_tls_lib());
    MUST(strcmp(provider_of_sha256(NULL), "fips") == 0);
    shake_twice();
}

static void test_fips_in_the_place_of_the_default_is_used(void **state CN_UNUSED)
{
    in_a_process(fips_in_its_place);
}

static void fips_demanded(void)
{
    MUST(OSSL_PROVIDER_load(NULL, "default"));
    load_fake("fips");
    MUST(EVP_set_default_properties(NULL, "fips=yes") == 1);
    MUST(!cn_tls_lib());
    shake_twice();
}

static void test_fips_that_is_demanded_is_used(void **state CN_UNUSED)
{
    in_a_process(fips_demanded);
}

static void fips_preferred(void)
{
    MUST(OSSL_PROVIDER_load(NULL, "default"));
    load_fake("fips");
    MUST(EVP_set_default_properties(NULL, "?fips=yes") == 1);
    MUST(!cn_tls_lib());
    MUST(strcmp(provider_of_sha256(NULL), "fips") == 0);
    shake_twice();
}

static void test_fips_beside_the_default_is_used(void **state CN_UNUSED)
{
    in_a_process(fips_preferred);
}

static void another_in_its_place(void)
{
    load_fake("vendor");
    MUST(!cn_tls_lib());
    shake_twice();
}

static void test_another_in_the_place_of_the_default_is_used(void **state CN_UNUSED)
{
    in_a_process(another_in_its_place);
}

/* ---- random numbers ---- */

static void draw(unsigned char *out, size_t n)
{
    memset(out, 0, n);
    MUST(RAND_bytes_ex(cn_tls_lib(), out, n, 0) == 1);
}

static void draw_in_parts(void)
{
    static unsigned char all[200000], zeros[32];

    draw(all, sizeof(all));
    for (size_t i = 0; i + 32 <= sizeof(all); i += 32) {
        MUST(memcmp(all + i, zeros, 32) != 0);
        MUST(i == 0 || memcmp(all + i, all, 32) != 0);
    }
    MUST(RAND_priv_bytes_ex(cn_tls_lib(), all, 32, 256) == 1);
    MUST(RAND_bytes_ex(cn_tls_lib(), all, 32, 257) != 1); /* nothing is that strong */
}

static void test_any_number_of_bytes_is_drawn(void **state CN_UNUSED)
{
    in_a_process(draw_in_parts);
}

static void draw_in_both(void)
{
    unsigned char own[32], child[32];
    int ends[2];

    draw(own, sizeof(own)); /* generators exist before the fork */
    MUST(pipe(ends) == 0);
    if (fork() == 0) {
        draw(child, sizeof(child));
        _exit(write(ends[1], child, sizeof(child)) == sizeof(child) ? 0 : 1);
    }
    MUST(read(ends[0], child, sizeof(child)) == sizeof(child));
    draw(own, sizeof(own));
    MUST(memcmp(own, child, sizeof(own)) != 0);
}

static void test_a_child_draws_others_than_its_parent(void **state CN_UNUSED)
{
    in_a_process(draw_in_both);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_mesh_has_its_own),
        cmocka_unit_test(test_no_old_table_of_ciphers_is_in_the_way),
        cmocka_unit_test(test_fips_in_the_place_of_the_default_is_used),
        cmocka_unit_test(test_fips_that_is_demanded_is_used),
        cmocka_unit_test(test_fips_beside_the_default_is_used),
        cmocka_unit_test(test_another_in_the_place_of_the_default_is_used),
        cmocka_unit_test(test_any_number_of_bytes_is_drawn),
        cmocka_unit_test(test_a_child_draws_others_than_its_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
