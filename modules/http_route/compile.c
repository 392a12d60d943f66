/* SPDX-License-Identifier: Apache-2.0
 *
 * The directives of routes.  Everything that is read lives in the section's
 * pool.  The order of the routes is the file's: whoever writes the file sorts
 * them by the precedence that Gateway API asks for.
 */
#include "route_int.h"

/* ---- tests ---- */

static cn_rc set_regex(cn_conf_t *cf, cn_http_route_test_t *t)
{
    cn_str_t why;

    if (cn_regex_compile(cn_conf_pool(cf), t->text, &t->regex, &why) != CN_OK)
        return cn_conf_error(cf, "regular expression \"%.*s\": %.*s", CN_STR_ARG(t->text),
                             CN_STR_ARG(why));
    return CN_OK;
}

typedef struct {
    const char *word;
    cn_http_route_how how;
} how_t;

static const how_t hows[] = {{"exact", CN_HTTP_ROUTE_EXACT},
                             {"prefix", CN_HTTP_ROUTE_PREFIX},
                             {"regex", CN_HTTP_ROUTE_REGEX},
                             {"present", CN_HTTP_ROUTE_ANY}};

/* "HOW TEXT" or "present"; how many of hows are meant is up to the caller. */
static cn_rc parse_test(cn_conf_t *cf, cn_http_route_test_t *t, const cn_str_t *argv, unsigned argc,
                        const char *expected)
{
    for (size_t i = 0; i < CN_COUNT(hows); i++) {
        if (!cn_str_eq(argv[0], cn_str_c(hows[i].word)))
            continue;
        if ((hows[i].how == CN_HTTP_ROUTE_ANY) != (argc == 1))
            break;
        t->how = hows[i].how;
        t->text = argc > 1 ? argv[1] : CN_STR_NULL;
        return t->how == CN_HTTP_ROUTE_REGEX ? set_regex(cf, t) : CN_OK;
    }
    return cn_conf_error(cf, "\"%.*s\": expected %s", CN_STR_ARG(argv[0]), expected);
}

static cn_rc set_path(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                      const cn_str_t *argv, unsigned argc)
{
    cn_http_route_match_t *m = conf;

    if (parse_test(cf, &m->path, argv + 1, argc - 1, "exact, prefix or regex, and a path") != CN_OK)
        return CN_ERR;
    if (m->path.how == CN_HTTP_ROUTE_REGEX)
        return CN_OK;
    if (m->path.text.n == 0 || m->path.text.p[0] != '/')
        return cn_conf_error(cf, "path \"%.*s\" does not begin with /", CN_STR_ARG(m->path.text));
    if (m->path.how == CN_HTTP_ROUTE_PREFIX && m->path.text.p[m->path.text.n - 1] == '/')
        m->path.text.n--;
    return CN_OK;
}

static cn_rc set_method(cn_conf_t *cf CN_UNUSED, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_http_route_match_t *m = conf;

    m->method = argv[1];
    return CN_OK;
}

static cn_rc set_header(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc)
{
    cn_http_route_match_t *m = conf;
    cn_http_route_field_t *f = cn_vec_push(cn_conf_pool(cf), &m->headers, sizeof(*f));
    char *lower = cn_pool_bytes(cn_conf_pool(cf), argv[1].n);

    if (argv[1].n == 0)
        return cn_conf_error(cf, "a header needs a name");
    cn_str_lower(lower, argv[1].p, argv[1].n);
    f->name = cn_str_make(lower, argv[1].n);
    return parse_test(cf, &f->test, argv + 2, argc - 2,
                      "exact, prefix or regex and a value, or present");
}

static cn_rc set_query(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                       const cn_str_t *argv, unsigned argc)
{
    cn_http_route_match_t *m = conf;
    cn_http_route_field_t *f = cn_vec_push(cn_conf_pool(cf), &m->queries, sizeof(*f));

    f->name = argv[1];
    return parse_test(cf, &f->test, argv + 2, argc - 2,
                      "exact, prefix or regex and a value, or present");
}

static const cn_directive_t match_table[] = {
    {.name = "path",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(2, 2),
     .set = set_path,
     .syntax = "path exact | prefix | regex PATH",
     .help = "The normalised path without its query. A prefix is one of whole segments: /foo "
             "matches /foo and /foo/bar but not /foobar. A regular expression (RE2 syntax) must "
             "match the whole path."},
    {.name = "method",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = set_method,
     .syntax = "method NAME",
     .help = "The request's method, exactly."},
    {.name = "header",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(2, 3),
     .set = set_header,
     .syntax = "header NAME exact | prefix | regex VALUE, or header NAME present",
     .help = "A header of the request, any one line of it. The host is also called :authority."},
    {.name = "query",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(2, 3),
     .set = set_query,
     .syntax = "query NAME exact | prefix | regex VALUE, or query NAME present",
     .help = "A query parameter, the first of that name, as it was sent: nothing is decoded."},
    {.name = NULL}};

/* ---- routes ---- */

static cn_rc set_match(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                       const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    cn_http_route_t *r = ((cn_http_route_conf_t *)conf)->route;
    cn_http_route_match_t *m = cn_vec_push(cn_conf_pool(cf), &r->matches, sizeof(*m));

    return cn_conf_block(cf, match_table, m);
}

static cn_rc parse_weight(cn_conf_t *cf, cn_str_t arg, uint64_t *weight)
{
    cn_str_t key, value;

    if (!cn_conf_keyval(arg, &key, &value) || !cn_str_eq(key, CN_STR("weight")) ||
        cn_str_u64(value, 1000000, weight) != CN_OK)
        return cn_conf_error(cf, "\"%.*s\": expected weight=N, 0 to 1000000", CN_STR_ARG(arg));
    return CN_OK;
}

static cn_rc set_backend(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc)
{
    cn_http_route_t *r = ((cn_http_route_conf_t *)conf)->route;
    cn_http_route_backend_t *b;
    uint64_t weight = 1;

    if (argc > 2 && parse_weight(cf, argv[2], &weight) != CN_OK)
        return CN_ERR;
    if (weight == 0)
        return CN_OK;
    if (r->total > UINT32_MAX - (uint32_t)weight)
        return cn_conf_error(cf, "the weights of this route's backends are too large together");
    b = cn_vec_push(cn_conf_pool(cf), &r->backends, sizeof(*b));
    if (!cn_str_eq(argv[1], CN_STR("invalid")))
        b->cluster = argv[1];
    b->weight = (uint32_t)weight;
    r->total += b->weight;
    return CN_OK;
}

cn_rc cn_http_route_init_service(cn_conf_t *cf, void *conf, const void *parent CN_UNUSED)
{
    cn_http_route_conf_t *c = conf;

    c->routes = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*c->routes));
    return CN_OK;
}

cn_rc cn_http_route_done_service(cn_conf_t *cf, void *conf)
{
    cn_http_route_conf_t *c = conf;

    c->index = cn_http_route_index_build(cn_conf_pool(cf), c->routes);
    return CN_OK;
}

cn_rc cn_http_route_init_route(cn_conf_t *cf, void *conf, const void *parent)
{
    const cn_http_route_conf_t *service = parent;
    cn_http_route_conf_t *c = conf;
    cn_http_route_t *r = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*r));

    *(cn_http_route_t **)cn_vec_push(cn_conf_pool(cf), service->routes, sizeof(cn_http_route_t *)) =
        r;
    c->routes = service->routes;
    c->route = r;
    return CN_OK;
}

const cn_directive_t cn_http_route_directives[] = {
    {.name = "match",
     .where = CN_AT_ROUTE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = set_match,
     .arg = match_table,
     .syntax = "match { ... }",
     .help =
         "Which requests take this route: all that is said inside must hold; of several match "
         "blocks, one. Without any the route takes every request. Routes are tried in the order "
         "of the file; a request that none takes is answered 404."},
    {.name = "backend",
     .where = CN_AT_ROUTE | CN_D_REPEAT,
     .args = CN_ARGS(1, 2),
     .set = set_backend,
     .syntax = "backend CLUSTER | invalid [weight=N]",
     .help = "A cluster that requests of this route go to, drawn for each request by weight. The "
             "share of invalid, and a route without any backend that has a weight, is answered "
             "500.",
     .deflt = "weight=1"},
    {.name = NULL}};
