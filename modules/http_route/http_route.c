/* SPDX-License-Identifier: Apache-2.0
 *
 * http_route: chooses a route by path, method, headers and query, and one of
 * its backends by weight (Gateway API's HTTPRoute and GRPCRoute; facts/semantics
 * 3.2, 3.3, 3.5).  A service without routes is left to its default cluster.
 *
 * Filters, timeouts and retries of a route are other modules' ROUTE settings.
 */
#include "route_int.h"

static void explain_hit(cn_req_t *req, const cn_route_t *route, const cn_http_route_t *r,
                        uint32_t which)
{
    if (r->matches.n)
        cn_req_explain(req, "route: %.*s (%.*s): match %u of %u takes it", CN_STR_ARG(route->name),
                       CN_STR_ARG(route->where), which + 1, r->matches.n);
    else
        cn_req_explain(req, "route: %.*s (%.*s) takes every request", CN_STR_ARG(route->name),
                       CN_STR_ARG(route->where));
}

static void explain_miss(cn_req_t *req, const cn_route_t *route, const cn_http_route_miss_t *m)
{
    if (m->name.n == 0)
        cn_req_explain(req, "route: %.*s (%.*s) is not it: expects %s \"%.*s\", got \"%.*s\"",
                       CN_STR_ARG(route->name), CN_STR_ARG(route->where), m->what,
                       CN_STR_ARG(m->want), CN_STR_ARG(m->got));
    else if (m->want.n)
        cn_req_explain(req, "route: %.*s (%.*s) is not it: %s %.*s is not \"%.*s\"",
                       CN_STR_ARG(route->name), CN_STR_ARG(route->where), m->what,
                       CN_STR_ARG(m->name), CN_STR_ARG(m->want));
    else
        cn_req_explain(req, "route: %.*s (%.*s) is not it: there is no %s %.*s",
                       CN_STR_ARG(route->name), CN_STR_ARG(route->where), m->what,
                       CN_STR_ARG(m->name));
}

/* Answers for a route that has nowhere to send to: all or a share of it. */
static cn_rc no_backend(cn_req_t *req, cn_str_t details, uint32_t flags)
{
    cn_req_explain(req, "route: no valid backend: 500");
    cn_req_reply(req, 500, CN_STR_NULL, details, flags);
    return CN_DONE;
}

static cn_rc take(cn_req_t *req, const cn_route_t *route, const cn_http_route_t *r)
{
    const cn_http_route_backend_t *b;

    cn_req_set_route(req, route);
    if (r->total == 0)
        return no_backend(req, CN_STR("direct_response"), 0);
    b = cn_http_route_share(r, cn_rand_below(cn_worker_rand(cn_req_worker(req)), r->total));
    if (b->cluster.n == 0)
        return no_backend(req, CN_STR("cluster_not_found"), CN_FLAG_NC);
    cn_req_explain(req, "route: backend %.*s (%u of %u)", CN_STR_ARG(b->cluster), b->weight,
                   r->total);
    cn_req_set_cluster(req, b->cluster);
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

static cn_rc find(const cn_http_route_conf_t *c, const cn_msg_t *msg, uint32_t *i, uint32_t *which)
{
    return c->index ? cn_http_route_index_find(c->index, msg, i, which)
                    : cn_http_route_find(c->routes, msg, i, which);
}

/* The same decision in the order of the file, with the reasons. */
static void explain(cn_req_t *req, const cn_http_route_conf_t *c)
{
    const cn_facts_t *facts = cn_req_facts(req);
    cn_http_route_t *const *routes = c->routes->v;

    for (uint32_t i = 0; i < c->routes->n; i++) {
        cn_http_route_miss_t miss = {0};
        uint32_t which;
        cn_rc rc = cn_http_route_try(routes[i], facts->req, &which, &miss);

        if (rc == CN_OK)
            explain_hit(req, &facts->section->routes[i], routes[i], which);
        if (rc != CN_DECLINE)
            return;
        explain_miss(req, &facts->section->routes[i], &miss);
    }
    cn_req_explain(req, "route: none of %u routes takes it: 404", c->routes->n);
}

static cn_rc on_route(cn_req_t *req, const void *conf, void *ctx CN_UNUSED)
{
    const cn_http_route_conf_t *c = conf;
    const cn_facts_t *facts = cn_req_facts(req);
    uint32_t i = 0, which = 0;
    cn_rc rc = find(c, facts->req, &i, &which);

    if (cn_req_explaining(req))
        explain(req, c);
    if (rc == CN_OK)
        return take(req, &facts->section->routes[i], ((cn_http_route_t **)c->routes->v)[i]);
    if (rc == CN_ERR)
        return undecided(req, &facts->section->routes[i]);
    cn_req_reply(req, 404, CN_STR_NULL, CN_STR("route_not_found"), CN_FLAG_NR);
    return CN_DONE;
}

/* A module before this one may have chosen the route: then there is nothing
 * left to do, and the settings are that route's. */
static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    const cn_http_route_conf_t *c = conf;

    return c && !c->route && c->routes->n > 0;
}

const cn_module_t cn_module_http_route = {
    .abi = CN_MODULE_ABI,
    .name = "http_route",
    .after = "authz",
    .directives = cn_http_route_directives,
    .conf[CN_LV_SERVICE] = {.size = sizeof(cn_http_route_conf_t),
                            .init = cn_http_route_init_service,
                            .done = cn_http_route_done_service},
    .conf[CN_LV_ROUTE] = {.size = sizeof(cn_http_route_conf_t), .init = cn_http_route_init_route},
    .phase[CN_PH_ROUTE] = on_route,
    .active = active,
};
