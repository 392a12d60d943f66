/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies as conf text, requests and connections as facts, and what is
 * decided about them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../authz_int.h"
#include "../../../t/unit/fixture/module_conf.h"
#include "stub.h"

extern const cn_module_t cn_module_authz;

/* ---- configuration from text ---- */

typedef struct {
    cn_pool_t *pool;
    cn_gen_t *gen;
    cn_str_t why; /* an error instead of gen */
    const cn_authz_conf_t *conf;
    cn_section_t *section;
} loaded_t;

static loaded_t try_load(const char *policies)
{
    loaded_t l = {.pool = cn_pool_create(0)};
    cn_str_t text = cn_pool_printf(
        l.pool, "service s.ns:80 {\naddress 10.0.0.1:80;\nauthz {\n%s}\n}\n", policies);

    if (cn_fixture_module_load(&cn_module_authz, l.pool, text, &l.gen, &l.why) == CN_OK) {
        l.section = cn_map_get(&l.gen->services, CN_STR("s.ns:80"));
        l.conf = l.section->confs[CN_UNIT_MODULES];
    }
    return l;
}

static loaded_t load(const char *policies)
{
    loaded_t l = try_load(policies);

    if (!l.gen)
        fail_msg("%s: %.*s", policies, CN_STR_ARG(l.why));
    return l;
}

static void unload(loaded_t *l)
{
    if (l->gen)
        cn_gen_unref(l->gen);
    cn_pool_destroy(l->pool);
}

/* ---- who asks for what ---- */

/* What is NULL is as in usual(). */
typedef struct {
    const char *id, *source, *remote, *dest, *sni, *method, *host, *path;
    const char *h[6]; /* name, value, ... */
    bool l4;
} who_t;

typedef struct {
    cn_req_t req;
    cn_tunnel_t tunnel;
    cn_msg_t msg;
    cn_header_t headers[3];
} made_t;

static const char * or (const char *given, const char *usual)
{
    return given ? given : usual;
}

static void make(made_t *m, const loaded_t *l, const who_t *w)
{
    *m = (made_t){.msg = {.method = cn_str_c(or (w->method, "GET")),
                          .authority = cn_str_c(or (w->host, "reviews:9080")),
                          .target = cn_str_c(or (w->path, "/a/b")),
                          .path = cn_str_c(or (w->path, "/a/b")),
                          .headers = {m->headers, 0, CN_COUNT(m->headers)}}};
    for (uint32_t i = 0; i < CN_COUNT(m->headers) && w->h[2 * i]; i++)
        m->headers[m->msg.headers.n++] =
            (cn_header_t){.name = cn_str_c(w->h[2 * i]), .value = cn_str_c(w->h[2 * i + 1])};
    m->tunnel.identity = cn_str_c(or (w->id, "spiffe://cluster.local/ns/default/sa/curl"));
    assert_int_equal(cn_inet_parse_hostport(cn_str_c(or (w->source, "10.244.0.9:40000")), true,
                                            &m->tunnel.source),
                     CN_OK);
    assert_int_equal(
        cn_inet_parse_hostport(cn_str_c(or (w->dest, "10.96.0.12:9080")), true, &m->tunnel.dest),
        CN_OK);
    if (w->remote)
        assert_int_equal(cn_inet_parse_ip(cn_str_c(w->remote), &m->req.facts.remote), CN_OK);
    m->req.facts.sni = cn_str_c(w->sni);
    m->req.facts.tunnel = &m->tunnel;
    m->req.facts.section = l->section;
    m->req.facts.req = w->l4 ? NULL : &m->msg;
}

static cn_rc ask(made_t *m, const loaded_t *l, const who_t *w)
{
    bool explaining = m->req.explaining;
    cn_stats_t *stats = m->req.worker.stats;

    make(m, l, w);
    m->req.explaining = explaining;
    m->req.worker.stats = stats;
    return cn_module_authz.phase[w->l4 ? CN_PH_TUNNEL : CN_PH_AUTHZ](&m->req, l->conf, NULL);
}

static bool allowed(const char *policies, const who_t *w)
{
    loaded_t l = load(policies);
    made_t m = {0};
    cn_rc rc = ask(&m, &l, w);

    unload(&l);
    assert_true(rc == CN_OK || rc == CN_DONE);
    return rc == CN_OK;
}

/* Does a rule with this body match? Seen through an allow and a deny policy,
 * which must agree. */
static bool rule_matches(const char *body, const who_t *w)
{
    char allow[2048], deny[2048];
    bool a, d;

    snprintf(allow, sizeof(allow), "policy ns/p allow { rule { %s } }", body);
    snprintf(deny, sizeof(deny), "policy ns/p deny { rule { %s } }", body);
    a = allowed(allow, w);
    d = !allowed(deny, w);
    if (a != d)
        fail_msg("%s: allow says %d, deny says %d", body, a, d);
    return a;
}

typedef struct {
    const char *body;
    who_t who;
    bool match;
} row_t;

static void check(const row_t *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (rule_matches(rows[i].body, &rows[i].who) != rows[i].match)
            fail_msg("row %zu: %s", i, rows[i].body);
}

/* ---- every source field ---- */

#define ID(ns, sa) "spiffe://cluster.local/ns/" ns "/sa/" sa

static void test_source_fields_match(void **state CN_UNUSED)
{
    static const row_t rows[] = {
        {"from { principals cluster.local/ns/default/sa/curl; }", {0}, true},
        {"from { principals cluster.local/ns/default/sa/cur; }", {0}, false},
        {"from { principals Cluster.local/ns/default/sa/curl; }", {0}, false},
        {"from { principals spiffe://cluster.local/ns/default/sa/curl; }", {0}, false},
        {"from { principals other cluster.local/ns/default/sa/curl; }", {0}, true},
        {"from { principals cluster.local/ns/def*; }", {0}, true},
        {"from { principals cluster.local/ns/x*; }", {0}, false},
        {"from { principals */sa/curl; }", {0}, true},
        {"from { principals */sa/wget; }", {0}, false},
        {"from { principals *; }", {0}, true},
        {"from { principals *; }", {.id = ""}, false},
        {"from { principals \"\"; }", {.id = ""}, false},
        {"from { principals cluster.local/ns/*/sa/curl; }",
         {0},
         false}, /* a star inside is a star */
        {"from { not_principals cluster.local/ns/default/sa/curl; }", {0}, false},
        {"from { not_principals cluster.local/ns/default/sa/wget; }", {0}, true},
        {"from { not_principals */sa/curl */sa/wget; }", {0}, false},
        {"from { not_principals *; }", {.id = ""}, true},
        {"from { namespaces default; }", {0}, true},
        {"from { namespaces defaul; }", {0}, false},
        {"from { namespaces DEFAULT; }", {0}, false},
        {"from { namespaces def*; }", {0}, true},
        {"from { namespaces *ault; }", {0}, true},
        {"from { namespaces d*f*t; }", {0}, true},
        {"from { namespaces d*x*t; }", {0}, false},
        {"from { namespaces *; }", {0}, true},
        {"from { namespaces *; }", {.id = ""}, false},
        {"from { namespaces curl; }", {0}, false},
        {"from { namespaces *a; }", {0}, false}, /* nothing of /sa/ counts as namespace */
        {"from { namespaces a*b*ab; }", {.id = ID("aababab", "x")}, true},
        {"from { not_namespaces default; }", {0}, false},
        {"from { not_namespaces prod; }", {0}, true},
        {"from { not_namespaces prod; }", {.id = ""}, true},
        {"from { service_accounts default/curl; }", {0}, true},
        {"from { service_accounts default/curl; }",
         {.id = "spiffe://td2/ns/default/sa/curl"},
         true},
        {"from { service_accounts default/cur; }", {0}, false},
        {"from { service_accounts prod/curl; }", {0}, false},
        {"from { service_accounts prod/curl default/curl; }", {0}, true},
        {"from { service_accounts default/curl; }", {.id = ""}, false},
        {"from { not_service_accounts default/curl; }", {0}, false},
        {"from { not_service_accounts default/wget; }", {0}, true},
        {"from { trust_domains cluster.local; }", {0}, true},
        {"from { trust_domains td2; }", {0}, false},
        {"from { trust_domains cluster.*; }", {0}, true},
        {"from { trust_domains *.local; }", {0}, true},
        {"from { trust_domains *; }", {0}, true},
        {"from { trust_domains *; }", {.id = ""}, false},
        {"from { not_trust_domains cluster.local; }", {0}, false},
        {"from { not_trust_domains td2; }", {0}, true},
        {"from { ip_blocks 10.244.0.9; }", {0}, true},
        {"from { ip_blocks 10.244.0.8; }", {0}, false},
        {"from { ip_blocks 10.244.0.0/16; }", {0}, true},
        {"from { ip_blocks 10.245.0.0/16; }", {0}, false},
        {"from { ip_blocks 0.0.0.0/0; }", {0}, true},
        {"from { ip_blocks fd00::/8; }", {0}, false},
        {"from { ip_blocks fd00::/8; }", {.source = "[fd00::9]:1"}, true},
        {"from { ip_blocks 192.0.2.1 10.244.0.0/24; }", {0}, true},
        {"from { not_ip_blocks 10.244.0.0/16; }", {0}, false},
        {"from { not_ip_blocks 10.245.0.0/16; }", {0}, true},
        {"from { ip_blocks 10.244.0.9; }", {.remote = "192.0.2.7"}, true}, /* not X-Forwarded-For */
        {"from { ip_blocks 192.0.2.7; }", {.remote = "192.0.2.7"}, false},
        {"from { remote_ip_blocks 192.0.2.7; }", {.remote = "192.0.2.7"}, true},
        {"from { remote_ip_blocks 192.0.2.0/24; }", {.remote = "192.0.2.7"}, true},
        {"from { remote_ip_blocks 192.0.2.7; }", {0}, false},
        {"from { remote_ip_blocks 10.244.0.9; }", {0}, true}, /* the peer when there is no other */
        {"from { not_remote_ip_blocks 192.0.2.7; }", {.remote = "192.0.2.7"}, false},
        {"from { not_remote_ip_blocks 192.0.2.7; }", {.remote = "192.0.2.8"}, true},
        {"from { request_principals *; }", {0}, false},
        {"from { request_principals issuer/sub; }", {0}, false},
        {"from { not_request_principals *; }", {0}, true},
    };

    check(rows, CN_COUNT(rows));
}

/* ---- every operation field ---- */

static void test_operation_fields_match(void **state CN_UNUSED)
{
    static const row_t rows[] = {
        {"to { hosts reviews:9080; }", {0}, true},
        {"to { hosts reviews; }", {0}, false}, /* the port belongs to it */
        {"to { hosts REVIEWS:9080; }", {0}, true},
        {"to { hosts reviews:9080; }", {.host = "ReViews:9080"}, true},
        {"to { hosts reviews*; }", {0}, true},
        {"to { hosts Rev*; }", {0}, true},
        {"to { hosts *:9080; }", {0}, true},
        {"to { hosts *:80; }", {0}, false},
        {"to { hosts *.EXAMPLE.com; }", {.host = "a.Example.com"}, true},
        {"to { hosts *; }", {0}, true},
        {"to { hosts *; }", {.host = ""}, false},
        {"to { hosts foo.bar; }", {.host = "foo.bar."}, false},
        {"to { not_hosts reviews:9080; }", {0}, false},
        {"to { not_hosts other; }", {0}, true},
        {"to { ports 9080; }", {0}, true},
        {"to { ports 80 9080; }", {0}, true},
        {"to { ports 908; }", {0}, false},
        {"to { not_ports 9080; }", {0}, false},
        {"to { not_ports 80; }", {0}, true},
        {"to { methods GET; }", {0}, true},
        {"to { methods get; }", {0}, false},
        {"to { methods POST PUT; }", {.method = "PUT"}, true},
        {"to { methods P*; }", {.method = "POST"}, true},
        {"to { methods *T; }", {.method = "POST"}, true},
        {"to { methods *; }", {0}, true},
        {"to { methods GET; }", {.method = "HEAD"}, false},
        {"to { not_methods GET; }", {0}, false},
        {"to { not_methods POST; }", {0}, true},
        {"to { paths /a/b; }", {0}, true},
        {"to { paths /A/b; }", {0}, false},
        {"to { paths /a; }", {0}, false},
        {"to { paths /a/*; }", {0}, true},
        {"to { paths /a*; }", {.path = "/ab"}, true},
        {"to { paths *b; }", {0}, true},
        {"to { paths */b/c; }", {0}, false},
        {"to { paths *; }", {0}, true},
        {"to { paths /x /a/b; }", {0}, true},
        {"to { paths /a/*/c; }", {.path = "/a/b/c"}, false},
        {"to { paths /a/*/c; }", {.path = "/a/*/c"}, true},
        {"to { not_paths /a/b; }", {0}, false},
        {"to { not_paths /x /a/*; }", {0}, false},
        {"to { not_paths /x; }", {0}, true},
    };

    check(rows, CN_COUNT(rows));
}

static void test_path_templates_match(void **state CN_UNUSED)
{
    static const row_t rows[] = {
        {"to { paths \"/a/{*}\"; }", {.path = "/a/b"}, true},
        {"to { paths \"/a/{*}\"; }", {.path = "/a/b/c"}, false},
        {"to { paths \"/a/{*}\"; }", {.path = "/a/"}, false},
        {"to { paths \"/a/{*}\"; }", {.path = "/a"}, false},
        {"to { paths \"/a/{*}/c\"; }", {.path = "/a/b/c"}, true},
        {"to { paths \"/a/{*}/c\"; }", {.path = "/a//c"}, false},
        {"to { paths \"/a/{*}/c\"; }", {.path = "/a/b/d"}, false},
        {"to { paths \"/{*}/{*}\"; }", {.path = "/a/b"}, true},
        {"to { paths \"/{*}\"; }", {.path = "/"}, false},
        {"to { paths \"/a/{**}\"; }", {.path = "/a/"}, true},
        {"to { paths \"/a/{**}\"; }", {.path = "/a/b/c/d"}, true},
        {"to { paths \"/a/{**}\"; }", {.path = "/a"}, false},
        {"to { paths \"/a/{**}\"; }", {.path = "/ab"}, false},
        {"to { paths \"/a/{**}/z\"; }", {.path = "/a/b/c/z"}, true},
        {"to { paths \"/a/{**}/z\"; }", {.path = "/a/z"}, false},
        {"to { paths \"/a/{**}/z\"; }", {.path = "/a//z"}, true},
        {"to { paths \"/a/{**}/\"; }", {.path = "/a/b/"}, true},
        {"to { paths \"/a/{**}/\"; }", {.path = "/a/b"}, false},
        {"to { paths \"/a/{*}/b/{**}\"; }", {.path = "/a/x/b/"}, true},
        {"to { paths \"/a/{*}/b/{**}\"; }", {.path = "/a/x/b/y/z"}, true},
        {"to { paths \"/a/{*}/b/{**}\"; }", {.path = "/a/x/y/b/"}, false},
        {"to { not_paths \"/a/{*}\"; }", {.path = "/a/b"}, false},
        {"to { not_paths \"/a/{*}\"; }", {.path = "/a/b/c"}, true},
    };

    check(rows, CN_COUNT(rows));
}

/* ---- every key of `when` ---- */

static void test_when_keys_match(void **state CN_UNUSED)
{
    static const row_t rows[] = {
        {"when source.principal */sa/curl;", {0}, true},
        {"when source.principal */sa/wget;", {0}, false},
        {"when_not source.principal */sa/wget;", {0}, true},
        {"when source.namespace default;", {0}, true},
        {"when_not source.namespace default;", {0}, false},
        {"when source.serviceAccount default/curl;", {0}, true},
        {"when_not source.serviceAccount default/curl;", {0}, false},
        {"when source.trustDomain cluster.local;", {0}, true},
        {"when_not source.trustDomain cluster.local;", {0}, false},
        {"when source.ip 10.244.0.0/16;", {0}, true},
        {"when_not source.ip 10.244.0.0/16;", {0}, false},
        {"when remote.ip 192.0.2.7;", {.remote = "192.0.2.7"}, true},
        {"when remote.ip 192.0.2.7;", {0}, false},
        {"when_not remote.ip 192.0.2.7;", {.remote = "192.0.2.7"}, false},
        {"when destination.ip 10.96.0.12;", {0}, true},
        {"when destination.ip 10.97.0.0/16;", {0}, false},
        {"when_not destination.ip 10.96.0.0/16;", {0}, false},
        {"when destination.port 9080;", {0}, true},
        {"when destination.port 80 81;", {0}, false},
        {"when_not destination.port 9080;", {0}, false},
        {"when connection.sni a.example;", {.sni = "a.example"}, true},
        {"when connection.sni *.example;", {.sni = "a.example"}, true},
        {"when connection.sni *;", {.sni = "a.example"}, true},
        {"when connection.sni *;", {0}, false},
        {"when_not connection.sni a.example;", {.sni = "a.example"}, false},
        {"when_not connection.sni a.example;", {0}, true},
        {"when request.auth.principal *;", {0}, false},
        {"when_not request.auth.principal *;", {0}, true},
        {"when request.auth.audiences a;", {0}, false},
        {"when request.auth.presenter a;", {0}, false},
        {"when request.auth.claims[groups] a;", {0}, false},
        {"when request.auth.claims[a][b] a;", {0}, false},
        {"when_not request.auth.claims[groups] a;", {0}, true},
        {"when request.headers[x-a] one;", {.h = {"x-a", "one"}}, true},
        {"when request.headers[X-A] one;", {.h = {"x-a", "one"}}, true},
        {"when request.headers[x-a] One;", {.h = {"x-a", "one"}}, false},
        {"when request.headers[x-a] o*;", {.h = {"x-a", "one"}}, true},
        {"when request.headers[x-a] *ne;", {.h = {"x-a", "one"}}, true},
        {"when request.headers[x-a] two one;", {.h = {"x-a", "one"}}, true},
        {"when request.headers[x-a] one;", {.h = {"x-b", "one"}}, false},
        {"when request.headers[x-a] *;", {.h = {"x-a", ""}}, true},
        {"when request.headers[x-a] *;", {0}, false},
        {"when request.headers[x-a] \"\";", {.h = {"x-a", ""}}, true},
        {"when request.headers[x-a] \"\";", {0}, false},
        /* lines of one name are not joined */
        {"when request.headers[x-a] one;", {.h = {"x-a", "one", "x-a", "two"}}, true},
        {"when request.headers[x-a] two;", {.h = {"x-a", "one", "x-a", "two"}}, true},
        {"when request.headers[x-a] one,two;", {.h = {"x-a", "one", "x-a", "two"}}, false},
        {"when request.headers[x-a] one,two;", {.h = {"x-a", "one,two"}}, true},
        {"when_not request.headers[x-a] one;", {.h = {"x-a", "one", "x-a", "two"}}, false},
        {"when_not request.headers[x-a] one;", {.h = {"x-a", ""}}, true},
        {"when_not request.headers[x-a] one;", {0}, true},
        {"when request.headers[:authority] reviews:9080;", {0}, true},
        {"when request.headers[host] reviews:9080;", {0}, true},
        {"when request.headers[:method] GET;", {0}, true},
        {"when request.headers[:path] /a/b;", {0}, true},
    };

    check(rows, CN_COUNT(rows));
}

static void test_lists_and_blocks_combine(void **state CN_UNUSED)
{
    static const row_t rows[] = {
        {"", {0}, true},
        {"from { }", {0}, true},
        {"from { namespaces default; principals */sa/curl; }", {0}, true},
        {"from { namespaces default; principals */sa/wget; }", {0}, false},
        {"from { namespaces prod; principals */sa/curl; }", {0}, false},
        {"from { namespaces default; not_principals */sa/curl; }", {0}, false},
        {"from { namespaces default; not_principals */sa/wget; }", {0}, true},
        {"from { namespaces prod; } from { namespaces default; }", {0}, true},
        {"from { namespaces prod; } from { namespaces test; }", {0}, false},
        {"from { namespaces default; } to { methods GET; }", {0}, true},
        {"from { namespaces default; } to { methods POST; }", {0}, false},
        {"from { namespaces prod; } to { methods GET; }", {0}, false},
        {"to { methods POST; } from { namespaces default; } to { methods GET; }", {0}, true},
        {"to { methods POST; } to { methods PUT; }", {0}, false},
        {"to { methods GET; paths /x; } to { methods POST; paths /a/b; }", {0}, false},
        {"to { methods GET; ports 9080; paths /a/*; hosts rev*; }", {0}, true},
        {"when source.namespace default; when destination.port 9080;", {0}, true},
        {"when source.namespace default; when destination.port 80;", {0}, false},
        {"when source.namespace prod; when destination.port 9080;", {0}, false},
        {"when source.namespace default; when_not destination.port 80;", {0}, true},
        {"from { namespaces default; } to { methods GET; } when request.headers[x-a] 1;",
         {.h = {"x-a", "1"}},
         true},
        {"from { namespaces default; } to { methods GET; } when request.headers[x-a] 1;",
         {0},
         false},
    };

    check(rows, CN_COUNT(rows));
}

/* ---- precedence ---- */

#define YES "rule { } "
#define NO "rule { to { methods NONE; } } "

static void test_deny_comes_before_allow(void **state CN_UNUSED)
{
    static const struct {
        const char *policies;
        bool allowed;
    } v[] = {
        {"", true},
        {"policy n/a allow { " YES "}", true},
        {"policy n/a allow { " NO "}", false},
        {"policy n/a allow { }", false},
        {"policy n/a allow { " NO YES "}", true},
        {"policy n/a allow { " NO "} policy n/b allow { " YES "}", true},
        {"policy n/a allow { " NO "} policy n/b allow { " NO "}", false},
        {"policy n/d deny { " YES "}", false},
        {"policy n/d deny { " NO "}", true},
        {"policy n/d deny { }", true},
        {"policy n/a allow { " YES "} policy n/d deny { " YES "}", false},
        {"policy n/a allow { " YES "} policy n/d deny { " NO "}", true},
        {"policy n/a allow { " NO "} policy n/d deny { " NO "}", false},
        {"policy n/u audit { " YES "}", true},
        {"policy n/u audit { " YES "} policy n/a allow { " NO "}", false},
        {"policy n/d deny dry_run { " YES "}", true},
        {"policy n/a allow dry_run { " NO "}", true},
        {"policy n/a allow dry_run { " YES "} policy n/b allow { " NO "}", false},
        {"policy n/d deny dry_run { " YES "} policy n/a allow { " YES "}", true},
    };

    for (size_t i = 0; i < CN_COUNT(v); i++)
        if (allowed(v[i].policies, &(who_t){0}) != v[i].allowed)
            fail_msg("%s", v[i].policies);
}

/* ---- connections that are not HTTP ---- */

static void test_l4_drops_allow_rules_that_need_http(void **state CN_UNUSED)
{
    static const struct {
        const char *policies;
        bool allowed;
    } v[] = {
        {"policy n/a allow { rule { from { namespaces default; } } }", true},
        {"policy n/a allow { rule { from { namespaces prod; } } }", false},
        {"policy n/a allow { rule { from { namespaces default; } to { ports 9080; } } }", true},
        {"policy n/a allow { rule { from { namespaces default; } to { methods GET; } } }", false},
        {"policy n/a allow { rule { to { not_methods POST; } } }", false},
        {"policy n/a allow { rule { to { ports 9080; } to { paths /x; } } }", false},
        {"policy n/a allow { rule { when request.headers[x] 1; } }", false},
        {"policy n/a allow { rule { from { request_principals *; } } }", false},
        {"policy n/a allow { rule { to { hosts *; } } rule { to { ports 9080; } } }", true},
        {"policy n/a allow { rule { when remote.ip 10.244.0.9; } }", true},
        {"policy n/a allow { rule { } }", true},
    };

    for (size_t i = 0; i < CN_COUNT(v); i++)
        if (allowed(v[i].policies, &(who_t){.l4 = true}) != v[i].allowed)
            fail_msg("%s", v[i].policies);
}

static void test_l4_drops_only_the_http_part_of_deny_rules(void **state CN_UNUSED)
{
    static const struct {
        const char *policies;
        bool allowed;
    } v[] = {
        {"policy n/d deny { rule { to { paths /admin; } } }", false},
        {"policy n/d deny { rule { from { namespaces prod; } to { methods POST; } } }", true},
        {"policy n/d deny { rule { from { namespaces default; } to { methods POST; } } }", false},
        {"policy n/d deny { rule { to { methods POST; ports 80; } } }", true},
        {"policy n/d deny { rule { to { methods POST; ports 9080; } } }", false},
        {"policy n/d deny { rule { when_not request.headers[x] 1; when source.ip 10.1.1.1; } }",
         true},
        {"policy n/d deny { rule { from { not_request_principals *; } } }", false},
    };

    for (size_t i = 0; i < CN_COUNT(v); i++)
        if (allowed(v[i].policies, &(who_t){.l4 = true}) != v[i].allowed)
            fail_msg("%s", v[i].policies);
}

/* ---- what the client and the log see ---- */

static void assert_str(cn_str_t got, const char *want)
{
    if (!cn_str_eq(got, cn_str_c(want)))
        fail_msg("\"%.*s\" is not \"%s\"", CN_STR_ARG(got), want);
}

static void test_a_denial_is_403_with_its_rule_in_the_details(void **state CN_UNUSED)
{
    loaded_t l = load("policy foo/deny-get deny { " NO "rule { to { methods GET; } } }"
                      "policy foo/see allow { rule { to { methods PUT; } } }");
    made_t m = {0};

    assert_int_equal(ask(&m, &l, &(who_t){0}), CN_DONE);
    assert_int_equal(m.req.status, 403);
    assert_int_equal(m.req.flags, 0);
    assert_str(m.req.body, "RBAC: access denied");
    assert_str(m.req.details,
               "rbac_access_denied_matched_policy[ns[foo]-policy[deny-get]-rule[1]]");

    assert_int_equal(ask(&m, &l, &(who_t){.method = "POST"}), CN_DONE);
    assert_str(m.req.details, "rbac_access_denied_matched_policy[none]");

    assert_int_equal(ask(&m, &l, &(who_t){.method = "PUT"}), CN_OK);
    assert_int_equal(m.req.status, 0);

    assert_int_equal(ask(&m, &l, &(who_t){.l4 = true}), CN_DONE);
    assert_int_equal(m.req.status, 0);
    assert_str(m.req.refused,
               "rbac_access_denied_matched_policy[ns[foo]-policy[deny-get]-rule[0]]");
    unload(&l);
}

static void test_only_services_with_policies_are_asked_about(void **state CN_UNUSED)
{
    loaded_t none = load(""), one = load("policy n/a allow { }");

    assert_false(cn_module_authz.active(NULL, CN_PH_AUTHZ));
    assert_false(cn_module_authz.active(none.conf, CN_PH_AUTHZ));
    assert_true(cn_module_authz.active(one.conf, CN_PH_AUTHZ));
    assert_true(cn_module_authz.active(one.conf, CN_PH_TUNNEL));
    unload(&none);
    unload(&one);
}

static void expect_account(const char *policies, const who_t *w, const char *line)
{
    loaded_t l = load(policies);
    made_t m = {.req.explaining = true};

    (void)ask(&m, &l, w);
    if (!strstr(m.req.lines, line))
        fail_msg("not in the account: %s\n%s", line, m.req.lines);
    unload(&l);
}

static void test_the_account_names_the_rule_or_the_nearest_miss(void **state CN_UNUSED)
{
    const char *viewer =
        "policy n/viewer allow {"
        "rule { from { principals cluster.local/ns/prod/sa/web; } to { methods POST; } }"
        "rule { from { principals cluster.local/ns/default/sa/curl; }"
        "       to { methods GET; paths /a/*; } } }";

    expect_account(viewer, &(who_t){0}, "authz: allow policy \"n/viewer\": rule 1 matches\n");
    expect_account(viewer, &(who_t){0}, "authz: allowed by allow policy \"n/viewer\"\n");
    expect_account(viewer, &(who_t){.method = "PUT"},
                   "authz: allow policy \"n/viewer\": does not match; nearest is rule 1: "
                   "to methods expects \"GET\", got \"PUT\"\n");
    expect_account(
        viewer, &(who_t){.id = ID("default", "wget")},
        "nearest is rule 1: from principals expects "
        "\"cluster.local/ns/default/sa/curl\", got \"cluster.local/ns/default/sa/wget\"\n");
    expect_account(viewer, &(who_t){.id = ""}, "got no authenticated identity\n");
    expect_account(viewer, &(who_t){.method = "PUT"},
                   "authz: denied: none of the 1 allow policies matches\n");
    expect_account(viewer, &(who_t){.l4 = true}, "all of its rules need HTTP");
    expect_account("policy n/a allow { }", &(who_t){0}, "it has no rules\n");
    expect_account("policy n/d deny { rule { when_not request.headers[x-a] 1; } }",
                   &(who_t){.h = {"x-a", "1"}},
                   "when_not request.headers[x-a] expects anything but \"1\", got \"1\"\n");
    expect_account("policy n/d deny { rule { when request.headers[x-a] 1 2 3 4 5 6; } }",
                   &(who_t){0}, "\"4\" or one of 2 more, got no such header\n");
    expect_account("policy n/d deny dry_run { rule { } }", &(who_t){0},
                   "authz: deny policy \"n/d\" (dry run): rule 0 matches\n");
    expect_account("policy n/d deny { rule { } }", &(who_t){0},
                   "authz: denied by deny policy \"n/d\"\n");
    expect_account("policy n/d deny { rule { from { ip_blocks 10.0.0.0/16; } } }", &(who_t){0},
                   "from ip_blocks expects \"10.0.0.0/16\", got 10.244.0.9\n");
    expect_account("policy n/d deny { rule { to { ports 80; } } }", &(who_t){0},
                   "to ports expects \"80\", got 9080\n");
}

static void test_of_several_from_blocks_the_nearest_is_accounted_for(void **state CN_UNUSED)
{
    expect_account("policy n/a allow { rule { from { namespaces x; } from { namespaces default;"
                   "trust_domains cluster.local; principals no; } to { methods PUT; } } }",
                   &(who_t){0}, "nearest is rule 0: from principals expects \"no\"");
    expect_account("policy n/a allow { rule { from { namespaces default; trust_domains x; }"
                   "from { } to { methods PUT; } } }",
                   &(who_t){0}, "nearest is rule 0: to methods expects \"PUT\"");
}

static void test_the_account_shows_no_credentials(void **state CN_UNUSED)
{
    loaded_t l =
        load("policy n/d deny { rule { when request.headers[Authorization] \"Bearer x\"; } }");
    made_t m = {.req.explaining = true};

    (void)ask(&m, &l, &(who_t){.h = {"authorization", "Bearer secret"}});
    assert_null(strstr(m.req.lines, "secret"));
    assert_non_null(strstr(m.req.lines, "got a value that is not shown"));
    unload(&l);
}

static void test_a_long_account_is_cut(void **state CN_UNUSED)
{
    static char path[4000];

    memset(path, 'a', sizeof(path) - 1);
    path[0] = '/';
    expect_account("policy n/d deny { rule { to { paths /x; } } }", &(who_t){.path = path},
                   "to paths expects \"/x\", got \"/aaaa");
}

/* ---- counters ---- */

static void expect_counts(const char *policies, const who_t *w, unsigned times, const char *want)
{
    static const cn_metric_def_t def = {"cairn_authz_decisions_total", CN_METRIC_COUNTER, ""};
    static const cn_metric_def_t *const defs[] = {&def};
    loaded_t l = load(policies);
    made_t m = {0};
    size_t size = cn_stats_region_size(1, 65536);
    void *mem = cn_xzalloc(size);
    cn_chain_t out;
    char text[4096];

    cn_stats_region_init(mem, 1, 65536);
    assert_int_equal(cn_stats_open(mem, 0, defs, 1, &m.req.worker.stats), CN_OK);
    while (times--)
        (void)ask(&m, &l, w);
    cn_chain_init(&out);
    cn_stats_expose(m.req.worker.stats, &out);
    text[cn_chain_peek(&out, text, sizeof(text) - 1)] = '\0';
    if (!strstr(text, want))
        fail_msg("no %s in\n%s", want, text);
    cn_chain_clear(&out);
    cn_stats_close(m.req.worker.stats);
    free(mem);
    unload(&l);
}

#define COUNTED(decision, policy, n)                                                               \
    "cairn_authz_decisions_total{decision=\"" decision "\",policy=\"" policy                       \
    "\",service=\"s.ns:80\"} " n "\n"

static void test_decisions_are_counted_by_policy(void **state CN_UNUSED)
{
    who_t w = {0};

    expect_counts("policy n/a allow { rule { } }", &w, 3, COUNTED("allowed", "n/a", "3"));
    expect_counts("policy n/a allow { }", &w, 2, COUNTED("denied", "none", "2"));
    expect_counts("policy n/d deny { rule { } }", &w, 1, COUNTED("denied", "n/d", "1"));
    expect_counts("policy n/d deny { }", &w, 1, COUNTED("allowed", "none", "1"));
    expect_counts("policy n/u audit { rule { } }", &w, 1, COUNTED("audited", "n/u", "1"));
    expect_counts("policy n/d deny dry_run { rule { } }", &w, 1,
                  COUNTED("shadow_denied", "n/d", "1"));
    expect_counts("policy n/a allow dry_run { rule { } }", &w, 1,
                  COUNTED("shadow_allowed", "n/a", "1"));
    expect_counts("policy n/a allow dry_run { }", &w, 1, COUNTED("shadow_denied", "none", "1"));
    expect_counts("policy n/a allow dry_run { }", &w, 1, COUNTED("allowed", "none", "1"));
}

/* ---- errors ---- */

static void test_what_has_no_meaning_is_refused(void **state CN_UNUSED)
{
    static const struct {
        const char *policies, *why;
    } v[] = {
        {"policy noslash allow { }", "expected NAMESPACE/NAME"},
        {"policy /x allow { }", "expected NAMESPACE/NAME"},
        {"policy x/ allow { }", "expected NAMESPACE/NAME"},
        {"policy n/p permit { }", "expected allow, deny or audit"},
        {"policy n/p allow dryrun { }", "expected dry_run"},
        {"policy n/p allow;", ""},
        {"policy n/p allow { rule { when source.name x; } }", "unknown key \"source.name\""},
        {"policy n/p allow { rule { when request.headers[] x; } }", "unknown key"},
        {"policy n/p allow { rule { when request.headers[x x; } }", "unknown key"},
        {"policy n/p allow { rule { when request.auth.claims[] x; } }", "unknown key"},
        {"policy n/p allow { rule { when experimental.envoy.filters.a.b x; } }", "unknown key"},
        {"policy n/p allow { rule { when \"\" x; } }", "unknown key"},
        {"policy n/p allow { rule { when source.ip; } }", ""},
        {"policy n/p allow { rule { from { ip_blocks 10.0.0.0/33; } } }", "expected an IP address"},
        {"policy n/p allow { rule { from { ip_blocks example; } } }", "expected an IP address"},
        {"policy n/p allow { rule { when destination.ip x; } }", "expected an IP address"},
        {"policy n/p allow { rule { to { ports 65536; } } }", "expected a port"},
        {"policy n/p allow { rule { to { ports http; } } }", "expected a port"},
        {"policy n/p allow { rule { from { service_accounts curl; } } }",
         "NAMESPACE/SERVICE-ACCOUNT"},
        {"policy n/p allow { rule { from { service_accounts a/b/c; } } }",
         "NAMESPACE/SERVICE-ACCOUNT"},
        {"policy n/p allow { rule { from { service_accounts a/*; } } }", "without stars"},
        {"policy n/p allow { rule { to { paths \"/a/{**}/{*}\"; } } }",
         "must be the last operator"},
        {"policy n/p allow { rule { to { paths \"/a/x{*}\"; } } }", "whole segments"},
        {"policy n/p allow { rule { to { paths \"/a/{*}x\"; } } }", "whole segments"},
        {"policy n/p allow { rule { to { paths \"{*}\"; } } }", "whole segments"},
        {"policy n/p allow { rule { to { paths \"/{*}/*\"; } } }", "only {*} and {**}"},
        {"policy n/p allow { rule { to { paths \"/{*}/{x}\"; } } }", "only {*} and {**}"},
        {"policy n/p allow { rule { to { principals x; } } }", ""},
        {"policy n/p allow { rule { from { principals a; principals b; } } }", ""},
        {"policy n/p allow { rule { from { principals; } } }", ""},
    };

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        loaded_t l = try_load(v[i].policies);
        char why[512];

        if (l.gen)
            fail_msg("accepted: %s", v[i].policies);
        snprintf(why, sizeof(why), "%.*s", CN_STR_ARG(l.why));
        if (!strstr(why, v[i].why))
            fail_msg("%s: no \"%s\" in %s", v[i].policies, v[i].why, why);
        assert_non_null(strstr(why, "/t.conf:4: "));
        unload(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source_fields_match),
        cmocka_unit_test(test_operation_fields_match),
        cmocka_unit_test(test_path_templates_match),
        cmocka_unit_test(test_when_keys_match),
        cmocka_unit_test(test_lists_and_blocks_combine),
        cmocka_unit_test(test_deny_comes_before_allow),
        cmocka_unit_test(test_l4_drops_allow_rules_that_need_http),
        cmocka_unit_test(test_l4_drops_only_the_http_part_of_deny_rules),
        cmocka_unit_test(test_a_denial_is_403_with_its_rule_in_the_details),
        cmocka_unit_test(test_only_services_with_policies_are_asked_about),
        cmocka_unit_test(test_the_account_names_the_rule_or_the_nearest_miss),
        cmocka_unit_test(test_of_several_from_blocks_the_nearest_is_accounted_for),
        cmocka_unit_test(test_the_account_shows_no_credentials),
        cmocka_unit_test(test_a_long_account_is_cut),
        cmocka_unit_test(test_decisions_are_counted_by_policy),
        cmocka_unit_test(test_what_has_no_meaning_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
