/* SPDX-License-Identifier: Apache-2.0
 *
 * The directives of routes.  Everything that is read lives in the section's
 * pool.  The order of the routes is the file's: whoever writes the file sorts
 * them by the precedence that Gateway API asks for.
 */
#include "route_int.h"

static cn_http_route_t *route_of(void *conf)
{
    return ((cn_http_route_conf_t *)conf)->route;
}

static cn_rc set_match(cn_conf_t *cf, const cn_directive_t *d, void *conf,
                       const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    cn_http_route_match_t *m = cn_vec_push(cn_conf_pool(cf), &route_of(conf)->matches, sizeof(*m));

    if (cn_conf_block(cf, d->arg, m) != CN_OK)
        return CN_ERR;
    return cn_http_route_match_done(cf, m);
}

/* ---- backends ---- */

static cn_rc parse_option(cn_conf_t *cf, cn_http_route_backend_t *b, cn_str_t arg)
{
    cn_str_t key, value;
    uint64_t weight;

    if (!cn_conf_keyval(arg, &key, &value))
        return cn_conf_error(cf, "\"%.*s\": expected weight=N, filter=TAG or missing=500",
                             CN_STR_ARG(arg));
    if (cn_str_eq(key, CN_STR("filter")) && value.n) {
        b->tag = value;
        return CN_OK;
    }
    if (cn_str_eq(key, CN_STR("missing")) &&
        (cn_str_eq(value, CN_STR("500")) || cn_str_eq(value, CN_STR("503")))) {
        b->strict = cn_str_eq(value, CN_STR("500"));
        return CN_OK;
    }
    if (!cn_str_eq(key, CN_STR("weight")) || cn_str_u64(value, 1000000, &weight) != CN_OK)
        return cn_conf_error(cf,
                             "\"%.*s\": expected weight=N (0 to 1000000), filter=TAG, or "
                             "missing=500 or 503",
                             CN_STR_ARG(arg));
    b->weight = (uint32_t)weight;
    return CN_OK;
}

static cn_rc set_backend(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc)
{
    cn_http_route_t *r = route_of(conf);
    cn_http_route_backend_t b = {.weight = 1};

    for (unsigned i = 2; i < argc; i++)
        if (parse_option(cf, &b, argv[i]) != CN_OK)
            return CN_ERR;
    if (r->total > UINT32_MAX - b.weight)
        return cn_conf_error(cf, "the weights of this route's backends are too large together");
    if (!cn_str_eq(argv[1], CN_STR("invalid")))
        b.cluster = argv[1];
    r->total += b.weight;
    *(cn_http_route_backend_t *)cn_vec_push(cn_conf_pool(cf), &r->backends, sizeof(b)) = b;
    *(cn_str_t *)cn_vec_push(cn_conf_pool(cf), &r->clusters, sizeof(cn_str_t)) = b.cluster;
    return CN_OK;
}

static const cn_http_route_filter_t *find_filter(const cn_http_route_t *r, cn_str_t tag)
{
    const cn_http_route_filter_t *const *v = r->filters.v;

    for (uint32_t i = 0; i < r->filters.n; i++)
        if (cn_str_eq(v[i]->tag, tag))
            return v[i];
    return NULL;
}

static cn_rc set_filter(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                        unsigned argc CN_UNUSED)
{
    cn_http_route_t *r = route_of(conf);
    cn_http_route_filter_t *f;

    if (find_filter(r, argv[1]))
        return cn_conf_error(cf, "this route has another backend_filter \"%.*s\"",
                             CN_STR_ARG(argv[1]));
    f = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*f));
    f->tag = argv[1];
    *(cn_http_route_filter_t **)cn_vec_push(cn_conf_pool(cf), &r->filters, sizeof(f)) = f;
    return cn_conf_block(cf, d->arg, f);
}

static cn_rc set_unsupported(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                             const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    if (argv[1].n == 0)
        return cn_conf_error(cf, "\"unsupported\" wants to know what is not");
    route_of(conf)->unsupported = argv[1];
    return CN_OK;
}

/* ---- levels ---- */

cn_rc cn_http_route_init_service(cn_conf_t *cf, void *conf, const void *parent CN_UNUSED)
{
    cn_http_route_conf_t *c = conf;

    c->routes = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*c->routes));
    return CN_OK;
}

cn_rc cn_http_route_done_service(cn_conf_t *cf, void *conf)
{
    cn_http_route_conf_t *c = conf;

    c->sets = cn_http_route_sets_build(cn_conf_pool(cf), c->routes);
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

cn_rc cn_http_route_done_route(cn_conf_t *cf, void *conf)
{
    cn_http_route_t *r = route_of(conf);
    cn_http_route_backend_t *b = r->backends.v;

    for (uint32_t i = 0; i < r->backends.n; i++) {
        if (b[i].tag.n == 0)
            continue;
        b[i].filter = find_filter(r, b[i].tag);
        if (!b[i].filter)
            return cn_conf_error(cf, "backend %.*s: this route has no backend_filter \"%.*s\"",
                                 CN_STR_ARG(b[i].cluster), CN_STR_ARG(b[i].tag));
    }
    return CN_OK;
}

#define F(member) offsetof(cn_http_route_filter_t, member)

static const cn_directive_t filter_directives[] = {
    {.name = "request_header",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(2, 3),
     .set = cn_edit_set_request,
     .off = F(request),
     .syntax = "request_header set | add NAME VALUE, or request_header remove NAME",
     .help = "Edits the header of requests to the backend."},
    {.name = "response_header",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(2, 3),
     .set = cn_edit_set_response,
     .off = F(response),
     .syntax = "response_header set | add NAME VALUE, or response_header remove NAME",
     .help = "Edits the header of responses from the backend."},
    {.name = "rewrite_host",
     .where = CN_AT_PRIVATE,
     .args = CN_ARGS(1, 1),
     .set = cn_set_str,
     .off = F(request.host),
     .syntax = "rewrite_host HOST",
     .help = "The host that requests to the backend name."},
    {.name = NULL}};

const cn_directive_t cn_http_route_directives[] = {
    {.name = "match",
     .where = CN_AT_ROUTE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = set_match,
     .arg = cn_http_route_match_directives,
     .syntax = "match { ... }",
     .help =
         "Which requests take this route: all that is said inside must hold; of several match "
         "blocks, one. Without any the route takes every request. Routes are tried in the order "
         "of the file; a request that none takes is answered 404."},
    {.name = "backend",
     .where = CN_AT_ROUTE | CN_D_REPEAT,
     .args = CN_ARGS(1, 4),
     .set = set_backend,
     .syntax = "backend CLUSTER | invalid [weight=N] [filter=TAG] [missing=500]",
     .help = "A cluster that requests of this route go to, drawn for each request by weight. The "
             "share of invalid, and a route without any backend that has a weight, is answered "
             "500. A cluster that does not exist is answered 503, or 500 with missing=500. filter "
             "names a backend_filter of this route. A backend with weight 0 serves the sessions "
             "that it has.",
     .deflt = "weight=1"},
    {.name = "backend_filter",
     .where = CN_AT_ROUTE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(1, 1),
     .set = set_filter,
     .arg = filter_directives,
     .syntax = "backend_filter TAG { ... }",
     .help = "What is done to requests and responses of those backends of this route that say "
             "filter=TAG, after what the route itself does."},
    {.name = "unsupported",
     .where = CN_AT_ROUTE,
     .args = CN_ARGS(1, 1),
     .set = set_unsupported,
     .syntax = "unsupported REASON",
     .help = "This route asks for something that cannot be done: requests that take it are "
             "answered 500, since to leave it out could do harm."},
    {.name = NULL}};
