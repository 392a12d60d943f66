/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes as conf text, requests as messages, and where they are sent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants the ones above first */
#include <cmocka.h>

#include "../route_int.h"
#include "../../../t/unit/fixture/module_conf.h"
#include "stub.h"

extern const cn_module_t cn_module_http_route;

typedef struct {
    cn_pool_t *pool;
    cn_gen_t *gen;
    cn_str_t why; /* an error instead of gen */
    cn_section_t *section;
    cn_worker_t worker;
} loaded_t;

static loaded_t try_load(const char *routes)
{
    loaded_t l = {.pool = cn_pool_create(0)};
    cn_str_t text =
        cn_pool_printf(l.pool, "service s.ns:80 {\naddress 10.0.0.1:80;\n%s\n}\n", routes);

    if (cn_fixture_module_load(&cn_module_http_route, l.pool, text, &l.gen, &l.why) == CN_OK)
        l.section = cn_map_get(&l.gen->services, CN_STR("s.ns:80"));
    cn_rand_init(&l.worker.rand, 7);
    return l;
}

static loaded_t load(const char *routes)
{
    loaded_t l = try_load(routes);

    if (!l.gen)
        fail_msg("%s: %.*s", routes, CN_STR_ARG(l.why));
    return l;
}

static void unload(loaded_t *l)
{
    if (l->gen)
        cn_gen_unref(l->gen);
    cn_pool_destroy(l->pool);
}

static const void *conf_of(const loaded_t *l)
{
    return l->section->confs[CN_UNIT_MODULES];
}

/* What is NULL is GET / without a query, from a client of namespace "curl". */
typedef struct {
    const char *method, *path, *query;
    const char *h[6]; /* name, value, ... */
    const char *ns;
    const char *claims[7];
} ask_t;

static cn_msg_t *make_msg(cn_pool_t *pool, const ask_t *a)
{
    cn_msg_t *msg = cn_pool_zalloc(pool, sizeof(*msg));

    cn_msg_init(msg, pool);
    msg->method = cn_str_c(a->method ? a->method : "GET");
    msg->scheme = CN_STR("http");
    msg->authority = CN_STR("reviews:9080");
    msg->path = cn_str_c(a->path ? a->path : "/");
    msg->query = cn_str_c(a->query);
    msg->has_query = a->query != NULL;
    for (uint32_t i = 0; i < 3 && a->h[2 * i]; i++)
        cn_msg_add(msg, &msg->headers, cn_str_c(a->h[2 * i]), cn_str_c(a->h[2 * i + 1]));
    return msg;
}

static cn_tunnel_t *make_tunnel(cn_pool_t *pool, const ask_t *a)
{
    cn_tunnel_t *t = cn_pool_zalloc(pool, sizeof(*t));

    t->dest.port = 9080;
    t->identity = cn_pool_printf(pool, "spiffe://td/ns/%s/sa/x", a->ns ? a->ns : "curl");
    return t;
}

static cn_rc ask(loaded_t *l, const ask_t *a, cn_req_t *req)
{
    req->worker = &l->worker;
    req->pool = l->pool;
    req->claims = a->claims;
    req->ctx = cn_pool_zalloc(l->pool, cn_module_http_route.ctx_size);
    req->edit = make_msg(l->pool, a);
    req->facts.section = l->section;
    req->facts.tunnel = make_tunnel(l->pool, a);
    req->facts.req = req->edit;
    return cn_module_http_route.phase[CN_PH_ROUTE](req, conf_of(l), req->ctx);
}

/* What follows when nobody else answers. */
static cn_rc go_on(cn_req_t *req)
{
    const void *conf = req->route->confs[CN_UNIT_MODULES];

    if (!cn_module_http_route.active(conf, CN_PH_CONTENT))
        return CN_OK;
    return cn_module_http_route.phase[CN_PH_CONTENT](req, conf, req->ctx);
}

static bool takes(const char *match, const ask_t *a)
{
    char text[1024];
    cn_req_t req = {0};
    loaded_t l;
    cn_rc rc;

    snprintf(text, sizeof(text), "route r { match { %s } backend c; }", match);
    l = load(text);
    rc = ask(&l, a, &req);
    assert_true(rc == CN_OK ? cn_str_eq(req.cluster, CN_STR("c")) : req.status == 404);
    unload(&l);
    return rc == CN_OK;
}

typedef struct {
    const char *match;
    ask_t ask;
    bool taken;
} row_t;

static void check(const row_t *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (takes(rows[i].match, &rows[i].ask) != rows[i].taken)
            fail_msg("row %zu: %s", i, rows[i].match);
}

static void test_paths_match(void **state CN_UNUSED)
{
    static const row_t rows[] = {
        {"", {0}, true},
        {"path exact /ex;", {.path = "/ex"}, true},
        {"path exact /ex;", {.path = "/ex/"}, false},
        {"path exact /ex;", {.path = "/EX"}, false},
        {"path exact /ex;", {.path = "/ex", .query = "x"}, true},
        {"path exact /ex/;", {.path = "/ex"}, false},
        {"path exact /;", {0}, true},
        {"path prefix /foo;", {.path = "/foo"}, true},
        {"path prefix /foo;", {.path = "/foo/"}, true},
        {"path prefix /foo;", {.path = "/foo/x"}, true},
        {"path prefix /foo;", {.path = "/foobar"}, false},
        {"path prefix /foo;", {.path = "/FOO"}, false},
        {"path prefix /foo;", {.path = "/foo%2fx"}, false},
        {"path prefix /foo;", {.path = "/fo"}, false},
        {"path prefix /foo/;", {.path = "/foo"}, true},
        {"path prefix /foo/;", {.path = "/foo/x"}, true},
        {"path prefix /foo/;", {.path = "/foobar"}, false},
        {"path prefix /;", {0}, true},
        {"path prefix /;", {.path = "/any/thing"}, true},
        {"path prefix /foo; ignore_case on;", {.path = "/FOO/x"}, true},
        {"path prefix /foo; ignore_case on;", {.path = "/FOObar"}, false},
        {"ignore_case on; path exact /Ex;", {.path = "/eX"}, true},
        {"path exact /Ex; ignore_case off;", {.path = "/eX"}, false},
        {"path text_prefix /foo;", {.path = "/foobar"}, true},
        {"path text_prefix /foo;", {.path = "/fo"}, false},
        {"path text_prefix /foo/;", {.path = "/foo"}, false},
        {"path text_prefix /foo; ignore_case on;", {.path = "/Foobar"}, true},
        {"path regex \"/ra|/rb\";", {.path = "/rb"}, true},
        {"path regex \"/ra|/rb\";", {.path = "/rbx"}, false},
        {"path regex \"/v[0-9]+/.*\";", {.path = "/v12/x", .query = "q"}, true},
        {"path regex \"/v[0-9]+\";", {.path = "/v12/x"}, false},
    };

    check(rows, CN_COUNT(rows));
}

static void test_methods_headers_and_queries_match(void **state CN_UNUSED)
{
    static const row_t rows[] = {
        {"method GET;", {0}, true},
        {"method GET;", {.method = "HEAD"}, false},
        {"method get;", {0}, false},
        {"header X-A exact v;", {.h = {"x-a", "v"}}, true},
        {"header x-a exact v;", {.h = {"x-a", "V"}}, false},
        {"header x-a exact v;", {.h = {"x-a", "vv"}}, false},
        {"header x-a exact v;", {0}, false},
        {"header x-a exact two;", {.h = {"x-a", "one", "x-a", "two"}}, true},
        {"header x-a exact one;", {.h = {"x-a", "one", "x-a", "two"}}, true},
        {"header x-a exact one,two;", {.h = {"x-a", "one", "x-a", "two"}}, false},
        {"header x-a exact \"\";", {.h = {"x-a", ""}}, true},
        {"header x-a exact \"\";", {0}, false},
        {"header x-a prefix on;", {.h = {"x-a", "one"}}, true},
        {"header x-a prefix on;", {.h = {"x-a", "xon"}}, false},
        {"header x-a regex \"o.e|two\";", {.h = {"x-a", "one"}}, true},
        {"header x-a regex \"o.e|two\";", {.h = {"x-a", "twos"}}, false},
        {"header x-a present;", {.h = {"x-a", ""}}, true},
        {"header x-a present;", {.h = {"x-b", ""}}, false},
        {"header x-a exact 1; header x-b exact 2;", {.h = {"x-a", "1", "x-b", "2"}}, true},
        {"header x-a exact 1; header x-b exact 2;", {.h = {"x-a", "1"}}, false},
        {"header x-a suffix ne;", {.h = {"x-a", "one"}}, true},
        {"header x-a suffix ne;", {.h = {"x-a", "ones"}}, false},
        {"header x-a suffix two;", {.h = {"x-a", "one", "x-a", "two"}}, true},
        {"not_header x-a exact v;", {0}, true},
        {"not_header x-a exact v;", {.h = {"x-a", "v"}}, false},
        {"not_header x-a exact v;", {.h = {"x-a", "w"}}, true},
        {"not_header x-a exact v;", {.h = {"x-a", "w", "x-a", "v"}}, false},
        {"not_header x-a regex \".*\";", {0}, true},
        {"not_header x-a present;", {0}, true},
        {"not_header x-a present;", {.h = {"x-a", ""}}, false},
        {"header x-a present; not_header x-a exact v;", {0}, false},
        {"method exact GET;", {0}, true},
        {"method prefix G;", {0}, true},
        {"method regex \"GET|HEAD\";", {.method = "HEAD"}, true},
        {"method regex \"GET|HEAD\";", {.method = "PUT"}, false},
        {"authority exact reviews:9080;", {0}, true},
        {"authority exact reviews;", {0}, false},
        {"authority prefix rev;", {0}, true},
        {"authority regex \"rev.*:[0-9]+\";", {0}, true},
        {"scheme exact http;", {0}, true},
        {"scheme exact https;", {0}, false},
        {"scheme regex \"https?\";", {0}, true},
        {"port 9080;", {0}, true},
        {"port 80;", {0}, false},
        {"claim sub exact joe;", {0}, false},
        {"claim sub present;", {0}, false},
        {"claim sub exact joe;", {.claims = {"sub", "joe"}}, true},
        {"claim sub exact joe;", {.claims = {"sub", "jo"}}, false},
        {"claim groups exact b;", {.claims = {"groups", "a", "groups", "b"}}, true},
        {"claim groups prefix c;", {.claims = {"groups", "a", "groups", "b"}}, false},
        {"header :authority exact reviews:9080;", {0}, true},
        {"header :authority exact Reviews:9080;", {0}, false},
        {"header host exact reviews:9080;", {0}, true},
        {"query k exact v;", {.query = "a=b&k=v"}, true},
        {"query k exact v;", {.query = "k=v2"}, false},
        {"query k exact v;", {.query = "k=x&k=v"}, false}, /* the first one counts */
        {"query k exact v;", {.query = "K=v"}, false},
        {"query k exact v;", {0}, false},
        {"query k exact \"\";", {.query = "k"}, true},
        {"query k exact \"\";", {.query = "k="}, true},
        {"query k exact \"a b\";", {.query = "k=a%20b"}, false}, /* nothing is decoded */
        {"query k exact a=b;", {.query = "k=a=b"}, true},
        {"query k prefix v;", {.query = "k=vx"}, true},
        {"query k regex \"v.\";", {.query = "k=vx"}, true},
        {"query k regex \"v.\";", {.query = "k=vxy"}, false},
        {"query k present;", {.query = "a&k"}, true},
        {"query k present;", {.query = "a&kk"}, false},
        {"path prefix /p; method GET; header x-a exact 1; query k exact v;",
         {.path = "/p", .query = "k=v", .h = {"x-a", "1"}},
         true},
        {"path prefix /p; method GET; header x-a exact 1; query k exact v;",
         {.path = "/p", .query = "k=w", .h = {"x-a", "1"}},
         false},
    };

    check(rows, CN_COUNT(rows));
}

static void assert_str(cn_str_t got, const char *want)
{
    if (!cn_str_eq(got, cn_str_c(want)))
        fail_msg("\"%.*s\" is not \"%s\"", CN_STR_ARG(got), want);
}

static void test_the_first_route_in_the_file_wins(void **state CN_UNUSED)
{
    loaded_t l = load("route a { match { path exact /x; } match { method PUT; } backend ca; }"
                      "route b { match { path prefix /x; } backend cb; }"
                      "route c { match { path prefix /x/y; } backend cc; }"
                      "route d { match { path exact /d; } backend cd; }");
    static const struct {
        ask_t ask;
        const char *cluster;
    } v[] = {{{.path = "/x"}, "ca"},
             {{.path = "/x/y"}, "cb"},
             {{.path = "/d"}, "cd"},
             {{.method = "PUT"}, "ca"},
             {{.method = "PUT", .path = "/d"}, "ca"}};

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_req_t req = {0};

        assert_int_equal(ask(&l, &v[i].ask, &req), CN_OK);
        assert_str(req.cluster, v[i].cluster);
        assert_true(req.route->name.p[0] == v[i].cluster[1]);
        assert_int_equal(req.status, 0);
    }
    unload(&l);
}

static void test_no_route_is_404(void **state CN_UNUSED)
{
    loaded_t l = load("route a { match { path exact /x; } backend c; }");
    cn_req_t req = {0};

    assert_int_equal(ask(&l, &(ask_t){.path = "/y"}, &req), CN_DONE);
    assert_int_equal(req.status, 404);
    assert_int_equal(req.body.n, 0);
    assert_str(req.details, "route_not_found");
    assert_int_equal(req.flags, CN_FLAG_NR);
    assert_null(req.route);
    unload(&l);
}

static void test_a_service_without_routes_is_left_alone(void **state CN_UNUSED)
{
    loaded_t none = load(""), one = load("route a { backend c; }");

    assert_false(cn_module_http_route.active(conf_of(&none), CN_PH_ROUTE));
    assert_false(cn_module_http_route.active(NULL, CN_PH_ROUTE));
    assert_true(cn_module_http_route.active(conf_of(&one), CN_PH_ROUTE));
    /* once a route is chosen there is nothing to do */
    assert_false(
        cn_module_http_route.active(one.section->routes[0].confs[CN_UNIT_MODULES], CN_PH_ROUTE));
    unload(&none);
    unload(&one);
}

static void test_backends_share_by_weight(void **state CN_UNUSED)
{
    loaded_t l = load("route a { backend x weight=90; backend y weight=10; backend z weight=0; }");
    unsigned x = 0, y = 0;

    for (int i = 0; i < 10000; i++) {
        cn_req_t req = {0};

        assert_int_equal(ask(&l, &(ask_t){0}, &req), CN_OK);
        x += cn_str_eq(req.cluster, CN_STR("x"));
        y += cn_str_eq(req.cluster, CN_STR("y"));
    }
    assert_int_equal(x + y, 10000);
    assert_true(x > 8850 && x < 9150);
    unload(&l);
}

static void test_the_bounds_of_shares_are_exact(void **state CN_UNUSED)
{
    loaded_t l =
        load("route a { backend x weight=3; backend y; backend z weight=2; backend w weight=0; }");
    const cn_http_route_conf_t *c = l.section->routes[0].confs[CN_UNIT_MODULES];
    static const char want[] = "xxxyzz";

    assert_int_equal(c->route->total, 6);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal("xyz"[cn_http_route_share(c->route, i)], want[i]);
    unload(&l);
}

static void test_no_backend_with_a_weight_is_500(void **state CN_UNUSED)
{
    static const char *const v[] = {"route a { }", "route a { backend x weight=0; }",
                                    "route a { backend invalid weight=0; backend x weight=0; }"};

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        loaded_t l = load(v[i]);
        cn_req_t req = {0};

        assert_int_equal(ask(&l, &(ask_t){0}, &req), CN_OK);
        assert_int_equal(req.status, 0); /* others may answer first */
        assert_int_equal(go_on(&req), CN_DONE);
        assert_int_equal(req.status, 500);
        assert_int_equal(req.body.n, 0);
        assert_int_equal(req.flags, 0);
        assert_str(req.details, "direct_response");
        assert_str(req.route->name, "a");
        unload(&l);
    }
}

static void test_an_invalid_backend_answers_500_for_its_share(void **state CN_UNUSED)
{
    loaded_t l = load("route a { backend x weight=3; backend invalid weight=1; }");
    unsigned bad = 0;

    for (int i = 0; i < 4000; i++) {
        cn_req_t req = {0};

        assert_int_equal(ask(&l, &(ask_t){0}, &req), CN_OK);
        if (go_on(&req) == CN_OK) {
            assert_str(req.cluster, "x");
            continue;
        }
        bad++;
        assert_int_equal(req.status, 500);
        assert_int_equal(req.body.n, 0);
        assert_int_equal(req.flags, CN_FLAG_NC);
        assert_str(req.details, "cluster_not_found");
    }
    assert_true(bad > 850 && bad < 1150);
    unload(&l);
}

/* A request that cannot be decided on must not reach a later, looser route. */
static void test_a_missing_cluster_is_500_where_asked_for(void **state CN_UNUSED)
{
    loaded_t l = load("route a { backend x missing=500; } ");
    loaded_t vs = load("route a { backend x missing=503; } ");
    cn_req_t req = {0};

    l.worker.clusters = cn_clusters_create(NULL, 0);
    assert_int_equal(ask(&l, &(ask_t){0}, &req), CN_OK);
    assert_int_equal(go_on(&req), CN_DONE);
    assert_int_equal(req.status, 500);
    assert_str(req.details, "cluster_not_found");
    assert_int_equal(req.flags, CN_FLAG_NC);
    req = (cn_req_t){0};
    assert_int_equal(ask(&vs, &(ask_t){0}, &req), CN_OK);
    assert_int_equal(go_on(&req), CN_OK); /* the forwarder says 503 */
    cn_clusters_destroy(l.worker.clusters);
    unload(&l);
    unload(&vs);
}

static void test_an_unsupported_route_answers_500_for_itself_only(void **state CN_UNUSED)
{
    loaded_t l = load("route a { match { path exact /x; } unsupported \"a filter\"; backend c; }"
                      "route b { backend d; }");
    cn_req_t req = {.explaining = true};

    assert_int_equal(ask(&l, &(ask_t){.path = "/x"}, &req), CN_DONE);
    assert_int_equal(req.status, 500);
    assert_str(req.details, "unsupported_filter");
    assert_str(req.route->name, "a");
    assert_int_equal(req.cluster.n, 0);
    assert_non_null(strstr(req.lines, "not supported (a filter): 500"));
    req = (cn_req_t){0};
    assert_int_equal(ask(&l, &(ask_t){0}, &req), CN_OK);
    assert_str(req.cluster, "d");
    unload(&l);
}

static cn_str_t header(const cn_msg_t *msg, const char *name)
{
    const cn_header_t *h = cn_msg_find(&msg->headers, cn_str_c(name), NULL);

    return h ? h->value : CN_STR("(none)");
}

static void test_a_backends_filter_is_for_its_share_only(void **state CN_UNUSED)
{
    loaded_t l = load("route a { backend x filter=f; backend y;"
                      "backend_filter f { request_header set x-a 2; request_header remove x-b;"
                      " response_header add x-c 3; rewrite_host h; } }");
    unsigned seen[2] = {0, 0};

    for (int i = 0; i < 100; i++) {
        ask_t a = {.h = {"x-a", "1", "x-b", "1"}};
        cn_req_t req = {0};
        bool x;

        assert_int_equal(ask(&l, &a, &req), CN_OK);
        assert_int_equal(go_on(&req), CN_OK);
        x = cn_str_eq(req.cluster, CN_STR("x"));
        seen[x]++;
        assert_str(header(req.edit, "x-a"), x ? "2" : "1");
        assert_str(header(req.edit, "x-b"), x ? "(none)" : "1");
        assert_str(req.authority, x ? "h" : "");
        (void)cn_module_http_route.phase[CN_PH_RESP_HEAD](&req, NULL, req.ctx);
        assert_str(header(req.edit, "x-c"), x ? "3" : "(none)");
    }
    assert_true(seen[0] > 10 && seen[1] > 10);
    unload(&l);
}

/* A response that the filter's request never led to is not its own. */
static void test_a_reply_from_before_the_backend_is_left_alone(void **state CN_UNUSED)
{
    loaded_t l =
        load("route a { backend x filter=f; backend_filter f { response_header set c 3; } }");
    cn_req_t req = {0};

    assert_int_equal(ask(&l, &(ask_t){0}, &req), CN_OK);
    (void)cn_module_http_route.phase[CN_PH_RESP_HEAD](&req, NULL, req.ctx);
    assert_str(header(req.edit, "c"), "(none)");
    unload(&l);
}

static void test_clients_with_routes_of_their_own_see_no_others(void **state CN_UNUSED)
{
    loaded_t l = load("route own { match { path prefix /a; client_namespace shop test shop; }"
                      " match { path prefix /b; client_namespace test; } backend o; }"
                      "route all { backend p; }");
    static const struct {
        const char *ns, *path, *cluster; /* NULL: 404 */
    } v[] = {{"curl", "/a", "p"},  {"curl", "/b", "p"},  {"shop", "/a/x", "o"},
             {"shop", "/b", NULL}, {"shop", "/c", NULL}, {"test", "/a", "o"},
             {"test", "/b", "o"},  {"test", "/c", NULL}, {"shopping", "/a", "p"}};

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        cn_req_t req = {.explaining = true};
        cn_rc rc = ask(&l, &(ask_t){.ns = v[i].ns, .path = v[i].path}, &req);

        assert_int_equal(rc, v[i].cluster ? CN_OK : CN_DONE);
        assert_str(req.cluster, v[i].cluster ? v[i].cluster : "");
        assert_int_equal(req.status, v[i].cluster ? 0 : 404);
        assert_true(!strstr(req.lines, "have routes of their own") ==
                    cn_str_eq(req.cluster, CN_STR("p")));
    }
    unload(&l);
}

static void test_how_much_of_the_path_was_named(void **state CN_UNUSED)
{
    static const struct {
        const char *match, *path;
        size_t matched;
        bool segments;
    } v[] = {
        {"path prefix /foo;", "/foo/bar", 4, true},  {"path prefix /foo/;", "/foo/bar", 4, true},
        {"path prefix /;", "/foo", 0, true},         {"method GET;", "/foo", 0, true},
        {"path text_prefix /fo;", "/foo", 3, false}, {"path text_prefix /;", "/foo", 1, false},
        {"path exact /foo;", "/foo", 4, false},      {"path regex \"/f.*\";", "/foo", 4, false}};

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        char text[128];
        cn_req_t req = {0};
        loaded_t l;

        snprintf(text, sizeof(text), "route a { match { %s } backend c; }", v[i].match);
        l = load(text);
        assert_int_equal(ask(&l, &(ask_t){.path = v[i].path}, &req), CN_OK);
        assert_int_equal(req.matched, v[i].matched);
        assert_int_equal(req.segments, v[i].segments);
        unload(&l);
    }
}

static void test_an_undecided_expression_is_refused(void **state CN_UNUSED)
{
    loaded_t l = load("route a { match { header x-a regex \"(a+)+[bc]\"; } backend x; }"
                      "route b { backend y; }");
    char *value = cn_xmalloc(60001);
    cn_req_t req = {0};

    memset(value, 'a', 60000);
    value[60000] = '\0';
    cn_log_set_level(CN_LOG_ERROR);
    assert_int_equal(ask(&l, &(ask_t){.h = {"x-a", value}}, &req), CN_DONE);
    assert_int_equal(req.status, 500);
    assert_str(req.details, "route_regex_limit");
    assert_int_equal(req.cluster.n, 0);
    free(value);
    unload(&l);
}

static void test_the_account_names_what_did_not_hold(void **state CN_UNUSED)
{
    loaded_t l =
        load("route a { match { path prefix /x; } backend c; }\n"
             "route b { match { method PUT; } match { header x-a exact 1; } backend c; }\n"
             "route d { match { query k present; } backend c; }\n"
             "route f { match { port 80; } backend c; }\n"
             "route g { match { not_header x-b present; not_header x-a prefix 2; } backend c; }\n"
             "route e { match { path exact /y; } backend c weight=3; }");
    cn_req_t req = {.explaining = true};

    (void)ask(&l, &(ask_t){.path = "/y", .h = {"x-a", "22"}}, &req);
    assert_string_equal(req.lines,
                        "route: a (/t.conf:3) is not it: expects path prefix \"/x\", got \"/y\"\n"
                        "route: b (/t.conf:4) is not it: header x-a is not \"1\"\n"
                        "route: d (/t.conf:5) is not it: there is no query parameter k\n"
                        "route: f (/t.conf:6) is not it: expects port 80, got 9080\n"
                        "route: g (/t.conf:7) is not it: header x-a is text prefix \"2\"\n"
                        "route: e (/t.conf:8): match 1 of 1 takes it\n"
                        "route: backend c (3 of 3)\n");
    req = (cn_req_t){.explaining = true};
    (void)ask(&l, &(ask_t){.path = "/z", .h = {"x-a", "22"}}, &req);
    assert_non_null(strstr(req.lines, "route: none of 7 matches takes it: 404\n"));
    unload(&l);
}

/* ---- many routes ---- */

static const char *one_of(cn_rand_t *r, const char *const *v, uint32_t n)
{
    return v[cn_rand_below(r, n)];
}

static const char *const paths[] = {"/",     "/a",    "/a/",   "/a/b",  "/a/b/c", "/ab",
                                    "/b",    "/b//",  "/b//c", "/c/d/", "/x",     "/x/y/z/a/b",
                                    "/a//b", "/a/b/", "/A/B",  "/aB/c"};

static void put_random_route(cn_rand_t *r, char *text, size_t cap)
{
    static const char *const hows[] = {"exact", "prefix", "prefix", "text_prefix"};
    static const char *const regexes[] = {"/b.*",       "/a/b?",    "/a|/b",
                                          "/a/?b(/c)?", "(?i)/A.*", ".*b"};
    static const char *const others[] = {"", "method PUT;", "header x-a exact 1;",
                                         "query k exact v;", "header x-a regex \"(a+)+[bc]\";"};
    uint32_t matches = cn_rand_below(r, 16) ? 1 + cn_rand_below(r, 3) : 0;

    snprintf(text + strlen(text), cap - strlen(text), "route r { ");
    while (matches--) {
        const char *other = one_of(r, others, CN_COUNT(others));
        size_t n = strlen(text);

        if (cn_rand_below(r, 8))
            snprintf(text + n, cap - n, "match { path %s %s; ignore_case %s; %s } ",
                     one_of(r, hows, CN_COUNT(hows)), one_of(r, paths, CN_COUNT(paths)),
                     cn_rand_below(r, 4) ? "off" : "on", other);
        else
            snprintf(text + n, cap - n, "match { path regex \"%s\"; %s } ",
                     one_of(r, regexes, CN_COUNT(regexes)), *other ? other : "method PUT;");
    }
    snprintf(text + strlen(text), cap - strlen(text), "backend c; }\n");
}

static void put_random_ask(cn_rand_t *r, ask_t *a)
{
    static const char *const values[] = {"1", "aaaaaaaaaaaaaaaaaaaaaaaab", "2"};

    *a = (ask_t){.path = one_of(r, paths, CN_COUNT(paths)),
                 .method = cn_rand_below(r, 4) ? "GET" : "PUT",
                 .query = cn_rand_below(r, 2) ? "k=v" : NULL};
    if (cn_rand_below(r, 2)) {
        a->h[0] = "x-a";
        a->h[1] = one_of(r, values, CN_COUNT(values));
    }
}

static void compare_with_trying_all(loaded_t *l, const ask_t *a)
{
    const cn_http_route_conf_t *c = conf_of(l);
    cn_http_route_set_t plain = c->sets->producers;
    cn_pool_t *pool = cn_pool_create(0);
    cn_http_route_subject_t s = {.msg = make_msg(pool, a)};
    const cn_http_route_entry_t *e[2] = {NULL, NULL};
    cn_rc rc[2];

    assert_non_null(plain.index);
    plain.index = NULL;
    rc[0] = cn_http_route_find(&plain, &s, &e[0]);
    rc[1] = cn_http_route_find(&c->sets->producers, &s, &e[1]);
    assert_int_equal(rc[0], rc[1]);
    if (rc[0] != CN_DECLINE)
        assert_ptr_equal(e[0], e[1]);
    cn_pool_destroy(pool);
}

static void test_the_index_says_what_the_order_of_the_file_says(void **state CN_UNUSED)
{
    cn_rand_t r;
    static char text[65536];

    cn_rand_init(&r, 11);
    for (int round = 0; round < 60; round++) {
        loaded_t l;

        text[0] = '\0';
        for (uint32_t n = 13 + cn_rand_below(&r, 30); n; n--)
            put_random_route(&r, text, sizeof(text));
        l = load(text);
        for (int k = 0; k < 200; k++) {
            ask_t a;

            put_random_ask(&r, &a);
            compare_with_trying_all(&l, &a);
        }
        unload(&l);
    }
}

static void test_thousands_of_routes_are_told_apart(void **state CN_UNUSED)
{
    enum { N = 5000 };
    char *text = cn_xzalloc(N * 64), *end = text;
    loaded_t l;
    cn_req_t req = {0};

    for (int i = 0; i < N; i++)
        end += snprintf(end, 64, "route r { match { path prefix /p%d; } backend c%d; }\n", i, i);
    l = load(text);
    for (int i = 0; i < N; i += 7) {
        char path[32], cluster[32];

        snprintf(path, sizeof(path), "/p%d/x", i);
        snprintf(cluster, sizeof(cluster), "c%d", i);
        assert_int_equal(ask(&l, &(ask_t){.path = path}, &req), CN_OK);
        assert_str(req.cluster, cluster);
    }
    assert_int_equal(ask(&l, &(ask_t){.path = "/q"}, &req), CN_DONE);
    assert_int_equal(req.status, 404);
    unload(&l);
    free(text);
}

static void test_what_has_no_meaning_is_refused(void **state CN_UNUSED)
{
    static const struct {
        const char *routes, *why;
    } v[] = {
        {"route a { match { path exact x; } }", "does not begin with /"},
        {"route a { match { path prefix \"\"; } }", "does not begin with /"},
        {"route a { match { path suffix /x; } }", "expected exact, prefix, text_prefix or regex"},
        {"route a { match { path /x; } }", ""},
        {"route a { match { path present /x; } }", "expected exact, prefix, text_prefix or regex"},
        {"route a { match { path regex \"(?=x)\"; } }", "look-ahead is not in RE2 syntax"},
        {"route a { match { header x-a regex \"(a)\\\\1\"; } }", "back-references"},
        {"route a { match { header x-a exact; } }",
         "expected exact, prefix, suffix or regex and a value"},
        {"route a { match { header x-a v; } }",
         "expected exact, prefix, suffix or regex and a value"},
        {"route a { match { header x-a present v; } }", "or present"},
        {"route a { match { header \"\" exact v; } }", "a header needs a name"},
        {"route a { match { query k is v; } }", "or present"},
        {"route a { match { path exact /x; path exact /y; } }", ""},
        {"route a { match { method GET; method PUT; } }", ""},
        {"route a { backend x weight=-1; }", "expected weight=N"},
        {"route a { backend x weight=1000001; }", "expected weight=N"},
        {"route a { backend x 5; }", "expected weight=N"},
        {"route a { backend x w=5; }", "expected weight=N"},
        {"route a { backend; }", ""},
        {"match { }", ""},
    };

    for (size_t i = 0; i < CN_COUNT(v); i++) {
        loaded_t l = try_load(v[i].routes);
        char why[512];

        if (l.gen)
            fail_msg("accepted: %s", v[i].routes);
        snprintf(why, sizeof(why), "%.*s", CN_STR_ARG(l.why));
        if (!strstr(why, v[i].why))
            fail_msg("%s: no \"%s\" in %s", v[i].routes, v[i].why, why);
        assert_non_null(strstr(why, "/t.conf:3: "));
        unload(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_match),
        cmocka_unit_test(test_methods_headers_and_queries_match),
        cmocka_unit_test(test_the_first_route_in_the_file_wins),
        cmocka_unit_test(test_no_route_is_404),
        cmocka_unit_test(test_a_service_without_routes_is_left_alone),
        cmocka_unit_test(test_backends_share_by_weight),
        cmocka_unit_test(test_the_bounds_of_shares_are_exact),
        cmocka_unit_test(test_no_backend_with_a_weight_is_500),
        cmocka_unit_test(test_an_invalid_backend_answers_500_for_its_share),
        cmocka_unit_test(test_a_missing_cluster_is_500_where_asked_for),
        cmocka_unit_test(test_an_unsupported_route_answers_500_for_itself_only),
        cmocka_unit_test(test_a_backends_filter_is_for_its_share_only),
        cmocka_unit_test(test_a_reply_from_before_the_backend_is_left_alone),
        cmocka_unit_test(test_clients_with_routes_of_their_own_see_no_others),
        cmocka_unit_test(test_how_much_of_the_path_was_named),
        cmocka_unit_test(test_an_undecided_expression_is_refused),
        cmocka_unit_test(test_the_account_names_what_did_not_hold),
        cmocka_unit_test(test_the_index_says_what_the_order_of_the_file_says),
        cmocka_unit_test(test_thousands_of_routes_are_told_apart),
        cmocka_unit_test(test_what_has_no_meaning_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
