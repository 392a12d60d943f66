/* SPDX-License-Identifier: Apache-2.0
 *
 * http_route: chooses a route by what a request says and who its client is,
 * and one of its backends by weight (HTTPRoute, GRPCRoute, VirtualService;
 * facts/semantics 3).  A service without routes is left to its default
 * cluster.
 *
 * What a route without a valid backend answers is answered last (CONTENT), so
 * that redirects and direct responses need none and faults come first.
 *
 * Filters, timeouts and retries of a route are other modules' ROUTE settings;
 * those of a backend are done here, after the route's.
 */
#include "route_int.h"

typedef struct {
    const cn_http_route_t *taken;         /* the route, when it was chosen here */
    const cn_http_route_filter_t *filter; /* that has seen the request */
} ctx_t;

/* ---- the account ---- */

static void explain_hit(cn_req_t *req, const cn_route_t *route, const cn_http_route_t *r,
                        const cn_http_route_entry_t *e)
{
    if (e->match)
        cn_req_explain(req, "route: %.*s (%.*s): match %u of %u takes it", CN_STR_ARG(route->name),
                       CN_STR_ARG(route->where), e->which + 1, r->matches.n);
    else
        cn_req_explain(req, "route: %.*s (%.*s) takes every request", CN_STR_ARG(route->name),
                       CN_STR_ARG(route->where));
}

static const char *how_word(const cn_http_route_test_t *t)
{
    static const char *const words[] = {[CN_HTTP_ROUTE_EXACT] = "",
                                        [CN_HTTP_ROUTE_PREFIX] = "text prefix ",
                                        [CN_HTTP_ROUTE_SUFFIX] = "suffix ",
                                        [CN_HTTP_ROUTE_SEGMENTS] = "prefix ",
                                        [CN_HTTP_ROUTE_REGEX] = "expression "};

    return words[t->how];
}

/* "header x-a is not prefix "on"": what was asked of a field. */
static cn_str_t field_miss(cn_pool_t *pool, const cn_http_route_miss_t *m)
{
    cn_str_t want = m->test->how == CN_HTTP_ROUTE_SEGMENTS && m->test->text.n == 0 ? CN_STR("/")
                                                                                   : m->test->text;

    if (m->test->how == CN_HTTP_ROUTE_ANY)
        return cn_pool_printf(pool, "there is %s %s %.*s", m->negate ? "a" : "no", m->what,
                              CN_STR_ARG(m->name));
    if (m->name.n)
        return cn_pool_printf(pool, "%s %.*s is %s%s\"%.*s\"", m->what, CN_STR_ARG(m->name),
                              m->negate ? "" : "not ", how_word(m->test), CN_STR_ARG(want));
    return cn_pool_printf(pool, "expects %s %s\"%.*s\", got \"%.*s\"", m->what, how_word(m->test),
                          CN_STR_ARG(want), CN_STR_ARG(m->got));
}

static void explain_miss(cn_req_t *req, const cn_route_t *route, const cn_http_route_miss_t *m)
{
    cn_str_t why = m->test ? field_miss(cn_req_pool(req), m)
                           : cn_pool_printf(cn_req_pool(req), "expects %s %u, got %u", m->what,
                                            m->want_port, m->got_port);

    cn_req_explain(req, "route: %.*s (%.*s) is not it: %.*s", CN_STR_ARG(route->name),
                   CN_STR_ARG(route->where), CN_STR_ARG(why));
}

/* The same decision in the order of the file, with the reasons. */
static void explain(cn_req_t *req, const cn_http_route_conf_t *c, const cn_http_route_set_t *set,
                    const cn_http_route_subject_t *s)
{
    const cn_route_t *routes = cn_req_facts(req)->section->routes;
    const cn_http_route_entry_t *e = set->entries.v;

    if (set->ns.n)
        cn_req_explain(req, "route: clients of namespace %.*s have routes of their own",
                       CN_STR_ARG(set->ns));
    for (uint32_t i = 0; i < set->entries.n; i++) {
        bool last = i + 1 == set->entries.n || e[i + 1].route != e[i].route;
        cn_http_route_miss_t miss = {0};
        cn_rc rc = e[i].match ? cn_http_route_match(e[i].match, s, &miss) : CN_OK;

        if (rc == CN_OK)
            explain_hit(req, &routes[e[i].route], ((cn_http_route_t **)c->routes->v)[e[i].route],
                        &e[i]);
        if (rc != CN_DECLINE)
            return;
        if (last)
            explain_miss(req, &routes[e[i].route], &miss);
    }
    cn_req_explain(req, "route: none of %u matches takes it: 404", set->entries.n);
}

/* ---- ROUTE ---- */

static cn_rc refuse(cn_req_t *req, const cn_http_route_t *r)
{
    cn_req_explain(req, "route: it asks for what is not supported (%.*s): 500",
                   CN_STR_ARG(r->unsupported));
    cn_req_reply(req, 500, CN_STR_NULL, CN_STR("unsupported_filter"), 0);
    return CN_DONE;
}

/* Which one a request gets is drawn: the whole split is told, too. */
static void explain_backend(cn_req_t *req, const cn_http_route_t *r, uint32_t choice)
{
    const cn_http_route_backend_t *v = r->backends.v, *b = &v[choice];
    cn_str_t split = CN_STR_NULL;

    for (uint32_t i = 0; r->backends.n > 1 && i < r->backends.n; i++)
        split = cn_pool_printf(cn_req_pool(req), "%.*s%s%.*s %u", CN_STR_ARG(split), i ? ", " : "",
                               CN_STR_ARG(v[i].cluster.n ? v[i].cluster : CN_STR("(500)")),
                               v[i].weight);
    if (split.n)
        cn_req_explain(req, "route: split of %u: %.*s; drawn for this one:", r->total,
                       CN_STR_ARG(split));
    if (b->cluster.n)
        cn_req_explain(req, "route: backend %.*s (%u of %u)%s%.*s", CN_STR_ARG(b->cluster),
                       b->weight, r->total, b->filter ? ", with filter " : "", CN_STR_ARG(b->tag));
}

static cn_rc take(cn_req_t *req, const cn_http_route_conf_t *c, const cn_http_route_entry_t *e,
                  ctx_t *ctx)
{
    const cn_facts_t *facts = cn_req_facts(req);
    const cn_http_route_t *r = ((cn_http_route_t **)c->routes->v)[e->route];
    uint32_t choice;
    bool segments;
    size_t n = cn_http_route_matched(e->match, facts->req->path, &segments);

    cn_req_set_route(req, &facts->section->routes[e->route]);
    cn_req_set_matched(req, n, segments);
    ctx->taken = r;
    if (r->unsupported.n)
        return refuse(req, r);
    if (r->total == 0)
        return CN_OK;
    choice = cn_http_route_share(r, cn_rand_below(cn_worker_rand(cn_req_worker(req)), r->total));
    cn_req_set_choices(req, r->clusters.v, r->clusters.n);
    cn_req_choose(req, choice);
    if (cn_req_explaining(req))
        explain_backend(req, r, choice);
    return CN_OK;
}

/* Neither a match nor a miss: sending it elsewhere could pass a rule by. */
static cn_rc undecided(cn_req_t *req, const cn_route_t *route)
{
    cn_log(CN_LOG_INFO, "route", "%.*s: a regular expression reached its limits",
           CN_STR_ARG(route->where));
    cn_req_reply(req, 500, CN_STR_NULL, CN_STR("route_regex_limit"), 0);
    return CN_DONE;
}

/* Only where it matters: most services have no consumer routes. */
static cn_str_t client_namespace(const cn_http_route_conf_t *c, const cn_tunnel_t *t)
{
    cn_spiffe_t id;

    if (c->sets->consumers.n == 0 || !t || cn_spiffe_parse(t->identity, &id) != CN_OK)
        return CN_STR_NULL;
    return id.ns;
}

static cn_rc on_route(cn_req_t *req, const void *conf, void *ctx)
{
    const cn_http_route_conf_t *c = conf;
    const cn_facts_t *facts = cn_req_facts(req);
    const cn_tunnel_t *t = facts->tunnel;
    cn_http_route_subject_t s = {.req = req, .msg = facts->req, .port = t ? t->dest.port : 0};
    const cn_http_route_entry_t *e = NULL;
    const cn_http_route_set_t *set;
    cn_rc rc;

    s.ns = client_namespace(c, t);
    set = cn_http_route_sets_of(c->sets, s.ns);
    rc = cn_http_route_find(set, &s, &e);
    if (cn_req_explaining(req))
        explain(req, c, set, &s);
    if (rc == CN_OK)
        return take(req, c, e, ctx);
    if (rc == CN_ERR)
        return undecided(req, &facts->section->routes[e->route]);
    cn_req_reply(req, 404, CN_STR_NULL, CN_STR("route_not_found"), CN_FLAG_NR);
    return CN_DONE;
}

/* ---- CONTENT: nobody has answered, so it goes to the backend ---- */

static cn_rc no_backend(cn_req_t *req, const char *why, cn_str_t details, uint32_t flags)
{
    cn_req_explain(req, "route: %s: 500", why);
    cn_req_reply(req, 500, CN_STR_NULL, details, flags);
    return CN_DONE;
}

/* The choice may be another module's, as of a session. */
static cn_rc on_content(cn_req_t *req, const void *conf CN_UNUSED, void *p)
{
    ctx_t *ctx = p;
    const cn_http_route_backend_t *b;

    if (!ctx->taken)
        return CN_OK;
    if (ctx->taken->total == 0)
        return no_backend(req, "it has no backend", CN_STR("direct_response"), 0);
    b = (const cn_http_route_backend_t *)ctx->taken->backends.v + cn_req_facts(req)->choice;
    if (b->cluster.n == 0)
        return no_backend(req, "the backend drawn is invalid", CN_STR("cluster_not_found"),
                          CN_FLAG_NC);
    if (b->strict && !cn_clusters_find(cn_worker_clusters(cn_req_worker(req)), b->cluster))
        return no_backend(req, "there is no such cluster", CN_STR("cluster_not_found"), CN_FLAG_NC);
    if (!b->filter)
        return CN_OK;
    ctx->filter = b->filter;
    cn_edits_apply(&b->filter->request, cn_req_edit(req), &cn_req_edit(req)->headers);
    if (b->filter->request.host.n)
        cn_req_set_authority(req, b->filter->request.host);
    return CN_OK;
}

static cn_rc on_response(cn_req_t *req, const void *conf CN_UNUSED, void *p)
{
    const ctx_t *ctx = p;

    if (ctx->filter)
        cn_edits_apply(&ctx->filter->response, cn_req_edit(req), &cn_req_edit(req)->headers);
    return CN_OK;
}

/* ---- */

static bool needs_content(const cn_http_route_t *r)
{
    const cn_http_route_backend_t *b = r->backends.v;
    bool needs = r->total == 0;

    for (uint32_t i = 0; i < r->backends.n; i++)
        needs |= b[i].cluster.n == 0 || b[i].strict || b[i].filter;
    return needs;
}

/* A module before this one may have chosen the route: then there is nothing
 * left to do, and the settings are that route's. */
static bool active(const void *conf, cn_phase_t phase)
{
    const cn_http_route_conf_t *c = conf;

    if (phase == CN_PH_ROUTE)
        return c && !c->route && c->routes->n > 0;
    if (phase == CN_PH_CONTENT)
        return c && c->route && needs_content(c->route);
    return c && c->route && c->route->filters.n > 0;
}

const cn_module_t cn_module_http_route = {
    .abi = CN_MODULE_ABI,
    .name = "http_route",
    .after = "authz",
    .directives = cn_http_route_directives,
    .conf[CN_LV_SERVICE] = {.size = sizeof(cn_http_route_conf_t),
                            .init = cn_http_route_init_service,
                            .done = cn_http_route_done_service},
    .conf[CN_LV_ROUTE] = {.size = sizeof(cn_http_route_conf_t),
                          .init = cn_http_route_init_route,
                          .done = cn_http_route_done_route},
    .ctx_size = sizeof(ctx_t),
    .phase[CN_PH_ROUTE] = on_route,
    .phase[CN_PH_CONTENT] = on_content,
    .phase[CN_PH_RESP_HEAD] = on_response,
    .active = active,
};
