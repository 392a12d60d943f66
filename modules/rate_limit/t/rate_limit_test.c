/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits as conf text, requests as facts, and what becomes of them: which
 * requests share a bucket, what is refused and how, and what is told.
 *
 * Limits here give a token a day, so that no test depends on the time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../rate_limit_int.h"
#include "../../../t/unit/fixture/module_conf.h"
#include "stub.h"

extern const cn_module_t cn_module_rate_limit;

#define MEMORY (1u << 20)

/* ---- configuration from text ---- */

typedef struct {
    cn_pool_t *pool;
    cn_gen_t *gen;
    cn_section_t *section;
    cn_worker_t worker;
    void *stats_mem;
} bed_t;

static void open_stats(bed_t *b)
{
    unsigned n = 0;

    while (cn_module_rate_limit.metrics[n])
        n++;
    b->stats_mem = calloc(1, cn_stats_region_size(1, 65536));
    cn_stats_region_init(b->stats_mem, 1, 65536);
    assert_int_equal(
        cn_stats_open(b->stats_mem, 0, cn_module_rate_limit.metrics, n, &b->worker.stats), CN_OK);
}

/* main: in front of the service; service: inside it. */
static void open_bed(bed_t *b, const char *main, const char *service)
{
    *b = (bed_t){.pool = cn_pool_create(0)};
    b->gen = cn_fixture_module_gen(
        &cn_module_rate_limit, b->pool,
        cn_pool_printf(b->pool, "%s\nservice s.ns:80 {\naddress 10.0.0.1:80;\n%s\n}\n", main,
                       service));
    b->section = cn_map_get(&b->gen->services, CN_STR("s.ns:80"));
    b->worker.shm = (cn_shm_view_t){aligned_alloc(64, MEMORY), MEMORY, 4, 0};
    memset(b->worker.shm.mem, 0, MEMORY);
    open_stats(b);
    assert_int_equal(cn_module_rate_limit.worker_init(&b->worker, &b->worker.wctx), CN_OK);
    cn_module_rate_limit.reconfigured(&b->worker, b->worker.wctx,
                                      b->gen->main->confs[CN_UNIT_MODULES]);
}

static void close_bed(bed_t *b)
{
    cn_module_rate_limit.worker_fini(&b->worker, b->worker.wctx);
    cn_stats_close(b->worker.stats);
    free(b->stats_mem);
    free(b->worker.shm.mem);
    cn_gen_unref(b->gen);
    cn_pool_destroy(b->pool);
}

static const void *conf_of(const bed_t *b, const char *route)
{
    if (!route)
        return b->section->confs[CN_UNIT_MODULES];
    for (uint32_t i = 0; i < b->section->nroutes; i++)
        if (cn_str_eq(b->section->routes[i].name, cn_str_c(route)))
            return b->section->routes[i].confs[CN_UNIT_MODULES];
    fail_msg("no route %s", route);
    return NULL;
}

/* ---- requests ---- */

/* What is NULL is as in `usual`. */
typedef struct {
    const char *id, *ip, *method, *path, *query, *route;
    const char *h[6]; /* name, value, ... */
    bool explain;
} who_t;

static const char * or (const char *given, const char *usual)
{
    return given ? given : usual;
}

typedef struct {
    cn_req_t req;
    cn_tunnel_t tunnel;
    cn_msg_t msg;
    cn_header_t headers[3];
    uint8_t ctx[64];
} made_t;

static cn_rc ask_as(bed_t *b, made_t *m, const who_t *w)
{
    *m = (made_t){.msg = {.method = cn_str_c(or (w->method, "GET")),
                          .path = cn_str_c(or (w->path, "/a")),
                          .query = cn_str_c(w->query),
                          .headers = {m->headers, 0, CN_COUNT(m->headers)}}};
    for (uint32_t i = 0; i < CN_COUNT(m->headers) && w->h[2 * i]; i++)
        m->headers[m->msg.headers.n++] =
            (cn_header_t){.name = cn_str_c(w->h[2 * i]), .value = cn_str_c(w->h[2 * i + 1])};
    m->tunnel.identity = cn_str_c(or (w->id, "spiffe://cluster.local/ns/default/sa/curl"));
    assert_int_equal(cn_inet_parse_ip(cn_str_c(or (w->ip, "10.1.2.3")), &m->tunnel.source), CN_OK);
    m->req = (cn_req_t){.worker = &b->worker, .explaining = w->explain};
    m->req.facts.tunnel = &m->tunnel;
    m->req.facts.remote = m->tunnel.source;
    m->req.facts.section = b->section;
    m->req.facts.req = &m->msg;
    cn_msg_init(&m->req.resp, b->pool);
    assert_in_range(cn_module_rate_limit.ctx_size, 1, sizeof(m->ctx));
    return cn_module_rate_limit.phase[CN_PH_LIMIT](&m->req, conf_of(b, w->route), m->ctx);
}

#define ask(b, ...) ask_as(b, &(made_t){0}, &(who_t){__VA_ARGS__})
#define assert_passes(b, ...) assert_int_equal(ask(b, __VA_ARGS__), CN_OK)
#define assert_refused(b, ...) assert_int_equal(ask(b, __VA_ARGS__), CN_DONE)

static void assert_metric(bed_t *b, const char *line)
{
    cn_chain_t out = {0};
    char text[16384];
    size_t n;

    cn_stats_expose(b->worker.stats, &out);
    n = cn_chain_peek(&out, text, sizeof(text) - 1);
    text[n] = '\0';
    cn_chain_clear(&out);
    if (!strstr(text, line))
        fail_msg("no %s in\n%s", line, text);
}

/* ---- keys ---- */

static void test_without_a_key_all_share_one_bucket(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "", "rate_limit a { limit 2 per=1d; }");
    assert_passes(&b, .id = "spiffe://td/ns/a/sa/b");
    assert_passes(&b, .path = "/b");
    assert_refused(&b, .method = "POST");
    close_bed(&b);
}

typedef struct {
    const char *key;
    who_t one, same, other;
} key_case_t;

static const key_case_t key_cases[] = {
    {"principal", {0}, {.path = "/x"}, {.id = "spiffe://cluster.local/ns/default/sa/wget"}},
    {"namespace",
     {0},
     {.id = "spiffe://cluster.local/ns/default/sa/wget"},
     {.id = "spiffe://cluster.local/ns/other/sa/curl"}},
    {"service_account",
     {0},
     {.id = "spiffe://other.td/ns/default/sa/curl"},
     {.id = "spiffe://cluster.local/ns/other/sa/curl"}},
    {"remote_ip", {0}, {.method = "PUT"}, {.ip = "10.1.2.4"}},
    {"remote_ip v4=24 v6=48", {0}, {.ip = "10.1.2.255"}, {.ip = "10.1.3.3"}},
    {"remote_ip v4=9", {0}, {.ip = "10.127.0.1"}, {.ip = "10.128.0.1"}},
    {"remote_ip v6=48", {.ip = "fd00:1:2:3::1"}, {.ip = "fd00:1:2:4::1"}, {.ip = "fd00:1:3::1"}},
    {"header X-User",
     {.h = {"x-user", "anna"}},
     {.h = {"x-user", "anna", "x-other", "1"}},
     {.h = {"x-user", "bert"}}},
    {"header x-user", {.h = {"x-user", ""}}, {.h = {"x-user", ""}}, {.path = "/"}},
    {"header x-user",
     {.h = {"x-user", "a", "x-user", "b"}},
     {.h = {"x-user", "a", "x-user", "b"}},
     {.h = {"x-user", "ab"}}},
    {"query plan", {.query = "plan=a&x=1"}, {.query = "x=2&plan=a"}, {.query = "plan=b"}},
    {"method", {0}, {.path = "/x"}, {.method = "POST"}},
    {"path", {0}, {.query = "x=1"}, {.path = "/b"}},
    {"method; key path", {0}, {.query = "y"}, {.method = "POST"}},
    {"method; key path", {0}, {.query = "y"}, {.path = "/b"}},
    /* values of two keys do not run together */
    {"header x-a; key header x-b",
     {.h = {"x-a", "1", "x-b", "23"}},
     {.h = {"x-b", "23", "x-a", "1"}},
     {.h = {"x-a", "12", "x-b", "3"}}},
};

static void test_keys_tell_requests_apart(void **state CN_UNUSED)
{
    for (size_t i = 0; i < CN_COUNT(key_cases); i++) {
        const key_case_t *k = &key_cases[i];
        char text[256];
        made_t m;
        bed_t b;

        snprintf(text, sizeof(text), "rate_limit a { limit 1 per=1d; key %s; }", k->key);
        open_bed(&b, "", text);
        if (ask_as(&b, &m, &k->one) != CN_OK || ask_as(&b, &m, &k->same) != CN_DONE ||
            ask_as(&b, &m, &k->other) != CN_OK || ask_as(&b, &m, &k->other) != CN_DONE)
            fail_msg("case %zu: key %s", i, k->key);
        close_bed(&b);
    }
}

static void test_workers_share_a_bucket_unless_told_otherwise(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "", "rate_limit a { limit 1 per=1d; }");
    assert_passes(&b, 0);
    b.worker.id = 1;
    assert_refused(&b, 0);
    close_bed(&b);
    open_bed(&b, "", "rate_limit a { limit 1 per=1d; scope worker; }");
    assert_passes(&b, 0);
    assert_refused(&b, 0);
    b.worker.id = 1;
    assert_passes(&b, 0);
    assert_refused(&b, 0);
    close_bed(&b);
}

/* ---- levels ---- */

static void test_the_nearest_level_counts(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "rate_limit all { limit 1 per=1d; }",
             "rate_limit svc { limit 2 per=1d; }\n"
             "route own { rate_limit r { limit 3 per=1d; } }\n"
             "route free { rate_limit r { limit unlimited; } }\n"
             "route plain { }");
    assert_passes(&b, .route = "plain");
    assert_passes(&b, 0); /* the service and its plain route share the service's bucket */
    assert_refused(&b, 0);
    assert_refused(&b, .route = "plain");
    for (int i = 0; i < 3; i++)
        assert_passes(&b, .route = "own");
    assert_refused(&b, .route = "own");
    assert_false(cn_module_rate_limit.active(conf_of(&b, "free"), CN_PH_LIMIT));
    assert_true(cn_module_rate_limit.active(conf_of(&b, "plain"), CN_PH_LIMIT));
    close_bed(&b);
}

static void test_the_waypoints_limit_holds_where_there_is_no_other(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "rate_limit all { limit 1 per=1d; }", "route r { }");
    assert_passes(&b, 0);
    assert_refused(&b, .route = "r");
    close_bed(&b);
}

static void test_limits_of_one_bucket_share_tokens(void **state CN_UNUSED)
{
    const char *routes = "route r1 { rate_limit a { limit 2 per=1d; %s } }\n"
                         "route r2 { rate_limit a { limit 2 per=1d; %s } }";
    char text[256];
    bed_t b;

    snprintf(text, sizeof(text), routes, "bucket x;", "bucket x;");
    open_bed(&b, "", text);
    assert_passes(&b, .route = "r1");
    assert_passes(&b, .route = "r2");
    assert_refused(&b, .route = "r1");
    close_bed(&b);
    snprintf(text, sizeof(text), routes, "", "");
    open_bed(&b, "", text);
    assert_passes(&b, .route = "r1");
    assert_passes(&b, .route = "r1");
    assert_passes(&b, .route = "r2");
    close_bed(&b);
}

/* ---- several limits ---- */

static void test_all_limits_of_a_level_apply(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "",
             "rate_limit two { limit 2 per=1d; }\n"
             "rate_limit one { limit 1 per=1d; key path; }");
    assert_passes(&b, .path = "/a");
    assert_refused(&b, .path = "/a"); /* by `one`: and `two` has its token back */
    assert_passes(&b, .path = "/b");
    assert_refused(&b, .path = "/c"); /* by `two` */
    assert_metric(&b, "decision=\"limited\",limit=\"one\",service=\"s.ns:80\"} 1");
    assert_metric(&b, "decision=\"limited\",limit=\"two\",service=\"s.ns:80\"} 1");
    assert_metric(&b, "decision=\"allowed\",limit=\"two\",service=\"s.ns:80\"} 2");
    close_bed(&b);
}

static void test_a_shadow_refuses_nothing(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "", "rate_limit a { limit 1 per=1d; shadow on; ratelimit_headers on; }");
    for (int i = 0; i < 3; i++)
        assert_passes(&b, 0);
    assert_metric(&b, "decision=\"allowed\",limit=\"a\",service=\"s.ns:80\"} 1");
    assert_metric(&b, "decision=\"shadow_limited\",limit=\"a\",service=\"s.ns:80\"} 2");
    assert_false(cn_module_rate_limit.active(conf_of(&b, NULL), CN_PH_RESP_HEAD));
    close_bed(&b);
}

/* ---- match ---- */

static void test_only_what_matches_is_counted(void **state CN_UNUSED)
{
    bed_t b;

    open_bed(&b, "",
             "rate_limit a { limit 1 per=1d;\n"
             "match { from { namespaces default; } to { methods POST; } }\n"
             "match { to { paths /x*; } } }");
    for (int i = 0; i < 3; i++)
        assert_passes(&b, 0);
    assert_passes(&b, .method = "POST");
    assert_refused(&b, .method = "POST");
    assert_refused(&b, .path = "/xy");
    assert_passes(&b, .method = "POST", .id = "spiffe://cluster.local/ns/other/sa/curl");
    close_bed(&b);
}

/* ---- what is told ---- */

static void test_a_refusal_is_envoys(void **state CN_UNUSED)
{
    made_t m;
    bed_t b;

    open_bed(&b, "", "rate_limit a { limit 1 per=1d; }");
    assert_passes(&b, 0);
    assert_int_equal(ask_as(&b, &m, &(who_t){0}), CN_DONE);
    assert_int_equal(m.req.status, 429);
    assert_true(cn_str_eq(m.req.body, CN_STR("local_rate_limited")));
    assert_true(cn_str_eq(m.req.details, CN_STR("local_rate_limited")));
    assert_int_equal(m.req.flags, CN_FLAG_RL);
    assert_int_equal(m.req.grpc, 14);
    assert_string_equal(m.req.headers, "");
    close_bed(&b);
}

static void test_a_refusal_is_as_the_limit_says(void **state CN_UNUSED)
{
    made_t m;
    bed_t b;

    open_bed(&b, "",
             "rate_limit a { limit 1 per=1d; status 503; body \"{}\";\n"
             "header Content-Type application/json; header retry-after 9;\n"
             "grpc_status resource_exhausted; }");
    assert_passes(&b, 0);
    assert_int_equal(ask_as(&b, &m, &(who_t){0}), CN_DONE);
    assert_int_equal(m.req.status, 503);
    assert_true(cn_str_eq(m.req.body, CN_STR("{}")));
    assert_int_equal(m.req.grpc, 8);
    assert_string_equal(m.req.headers, "content-type: application/json\nretry-after: 9\n");
    close_bed(&b);
}

static void assert_told(bed_t *b, made_t *m, const char *name, const char *value)
{
    const cn_header_t *h;

    h = cn_msg_find(&m->req.resp.headers, cn_str_c(name), NULL);
    if (!value) {
        assert_null(h);
        return;
    }
    assert_non_null(h);
    if (!cn_str_eq(h->value, cn_str_c(value)))
        fail_msg("%s is %.*s, not %s", name, CN_STR_ARG(h->value), value);
    (void)b;
}

static cn_rc answer(bed_t *b, made_t *m, const who_t *w)
{
    cn_rc rc = ask_as(b, m, w);

    assert_int_equal(
        cn_module_rate_limit.phase[CN_PH_RESP_HEAD](&m->req, conf_of(b, w->route), m->ctx), CN_OK);
    return rc;
}

/* A bucket that is refilled in 2 days: within the test it does not change. */
static void test_headers_tell_what_is_left(void **state CN_UNUSED)
{
    made_t m;
    bed_t b;

    open_bed(&b, "",
             "rate_limit many { limit 100 per=1d; ratelimit_headers on; }\n"
             "rate_limit few { limit 2 per=2d; key path; ratelimit_headers on; }\n"
             "rate_limit silent { limit 1 per=1d; key path; match { to { paths /s; } } }");
    assert_int_equal(answer(&b, &m, &(who_t){0}), CN_OK);
    assert_told(&b, &m, "x-ratelimit-limit", "2");
    assert_told(&b, &m, "x-ratelimit-remaining", "1");
    assert_told(&b, &m, "x-ratelimit-reset", "0");
    assert_int_equal(answer(&b, &m, &(who_t){0}), CN_OK);
    assert_told(&b, &m, "x-ratelimit-remaining", "0");
    assert_told(&b, &m, "x-ratelimit-reset", "86400");
    assert_int_equal(answer(&b, &m, &(who_t){0}), CN_DONE);
    assert_told(&b, &m, "x-ratelimit-limit", "2");
    assert_told(&b, &m, "x-ratelimit-remaining", "0");
    /* who is refused by a limit that says nothing learns nothing */
    assert_int_equal(answer(&b, &m, &(who_t){.path = "/s"}), CN_OK);
    assert_int_equal(answer(&b, &m, &(who_t){.path = "/s"}), CN_DONE);
    assert_told(&b, &m, "x-ratelimit-limit", NULL);
    close_bed(&b);
}

static void test_the_account_names_limit_and_key(void **state CN_UNUSED)
{
    made_t m;
    bed_t b;

    open_bed(&b, "",
             "rate_limit a { limit 1 per=1d; key header x-user; key header authorization; "
             "key remote_ip v4=16; }\n"
             "rate_limit post { limit 1 per=1s; match { to { methods POST; } } }");
    ask_as(&b, &m,
           &(who_t){.explain = true, .h = {"x-user", "anna", "authorization", "Bearer secret"}});
    assert_string_equal(
        m.req.lines,
        "rate_limit: \"a\" (1 per 86400000 ms, burst 1) by header x-user \"anna\", header "
        "authorization (not shown), remote_ip \"10.1.0.0\": allowed, 0 tokens left\n"
        "rate_limit: \"post\" does not match; nearest is rule 0: to methods expects \"POST\", got \"GET\"\n");
    ask_as(&b, &m,
           &(who_t){.explain = true, .h = {"x-user", "anna", "authorization", "Bearer secret"}});
    assert_non_null(strstr(m.req.lines, ": refused, 0 tokens left\n"));
    close_bed(&b);
}

/* ---- the price ---- */

#define DECISIONS 200000

/* CPU time, so that a busy machine does not count; eight times below the bound
 * on the machine it was written on. */
static void test_a_decision_costs_less_than_two_microseconds(void **state CN_UNUSED)
{
    const who_t who = {.h = {"x-user", "anna", "x-a", "b"}};
    struct timespec from, to;
    double us;
    made_t m;
    bed_t b;

    open_bed(&b, "",
             "rate_limit all { limit 10000000 per=1s; }\n"
             "rate_limit each { limit 1000 per=1s; key principal; key header x-user; key remote_ip "
             "v4=24;\nmatch { to { methods GET POST; } } }");
    (void)ask_as(&b, &m, &who);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (int i = 0; i < DECISIONS; i++)
        (void)cn_module_rate_limit.phase[CN_PH_LIMIT](&m.req, conf_of(&b, NULL), m.ctx);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    us = ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / 1e3 /
         DECISIONS;
    printf("two limits, one of them by three keys: %.3f CPU us\n", us);
#if !defined(CN_POOL_DEBUG) && !defined(CN_DEBUG)
    assert_true(us < 2.0);
#endif
    close_bed(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_a_key_all_share_one_bucket),
        cmocka_unit_test(test_keys_tell_requests_apart),
        cmocka_unit_test(test_workers_share_a_bucket_unless_told_otherwise),
        cmocka_unit_test(test_the_nearest_level_counts),
        cmocka_unit_test(test_the_waypoints_limit_holds_where_there_is_no_other),
        cmocka_unit_test(test_limits_of_one_bucket_share_tokens),
        cmocka_unit_test(test_all_limits_of_a_level_apply),
        cmocka_unit_test(test_a_shadow_refuses_nothing),
        cmocka_unit_test(test_only_what_matches_is_counted),
        cmocka_unit_test(test_a_refusal_is_envoys),
        cmocka_unit_test(test_a_refusal_is_as_the_limit_says),
        cmocka_unit_test(test_headers_tell_what_is_left),
        cmocka_unit_test(test_the_account_names_limit_and_key),
        cmocka_unit_test(test_a_decision_costs_less_than_two_microseconds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
