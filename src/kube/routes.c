/* SPDX-License-Identifier: Apache-2.0
 *
 * The routes of one service port.  All matches of all HTTPRoutes that are
 * attached to it are put into one order (Gateway API precedence, semantics
 * 3.2); neighbours of the same rule are then written as one route again.
 */
#include "kube/translate.h"

#include <stdlib.h>

typedef struct {
    const cn_http_route_t *route;
    const cn_http_rule_t *rule;
    const cn_http_match_t *match;
    uint32_t match_index;
} entry_t;

/* Exact before prefix before regex; what matches everything comes last, else a
 * rule for "/" would hide every regex. */
static int rank(const cn_http_match_t *m)
{
    bool all = m->path.kind == CN_MATCH_PREFIX && m->path.value.n == 1 && m->method.n == 0 &&
               m->headers.n == 0 && m->query.n == 0;

    return all ? 0 : m->path.kind == CN_MATCH_EXACT ? 3 : m->path.kind == CN_MATCH_PREFIX ? 2 : 1;
}

static int more_first(size_t a, size_t b)
{
    return (a < b) - (a > b);
}

/* Older first; written by hand, that is without a time, last. */
static int older_first(const cn_object_t *a, const cn_object_t *b)
{
    int c = 0;

    if ((a->created.n == 0) != (b->created.n == 0))
        return a->created.n == 0 ? 1 : -1;
    if (c == 0)
        c = cn_str_cmp(a->created, b->created);
    if (c == 0)
        c = cn_str_cmp(a->ns, b->ns);
    return c ? c : cn_str_cmp(a->name, b->name);
}

static int by_precedence(const void *va, const void *vb)
{
    const entry_t *a = va, *b = vb;
    int c = rank(b->match) - rank(a->match);

    if (c == 0)
        c = more_first(a->match->path.value.n, b->match->path.value.n);
    if (c == 0)
        c = more_first(a->match->method.n > 0, b->match->method.n > 0);
    if (c == 0)
        c = more_first(a->match->headers.n, b->match->headers.n);
    if (c == 0)
        c = more_first(a->match->query.n, b->match->query.n);
    if (c == 0)
        c = older_first(a->route->obj, b->route->obj);
    if (c == 0)
        c = more_first(b->rule->index, a->rule->index);
    return c ? c : more_first(b->match_index, a->match_index);
}

static void collect(const cn_world_t *w, const cn_http_route_t *route, cn_vec_t *entries)
{
    const cn_http_rule_t *rules = route->rules.v;

    for (uint32_t i = 0; i < route->rules.n; i++)
        for (uint32_t k = 0; k < rules[i].matches.n; k++)
            *(entry_t *)cn_vec_push(w->pool, entries, sizeof(entry_t)) =
                (entry_t){route, &rules[i], &((const cn_http_match_t *)rules[i].matches.v)[k], k};
}

cn_str_t cn_routes_cluster_name(const cn_world_t *w, const cn_service_t *s, uint16_t port)
{
    return cn_pool_printf(w->pool, "%.*s.%.*s:%u", CN_STR_ARG(s->obj->name), CN_STR_ARG(s->obj->ns),
                          port);
}

/* The port of the service that a backend names; NULL with a reason. */
static const cn_service_port_t *find_backend(const cn_world_t *w, const cn_backend_t *b,
                                             const cn_service_t **svc, cn_str_t *why)
{
    const cn_service_port_t *p;

    *svc = cn_map_get(&w->service_map, cn_model_key(w, b->ns, b->name));
    *why = cn_pool_printf(w->pool, "Service %.*s/%.*s does not exist", CN_STR_ARG(b->ns),
                          CN_STR_ARG(b->name));
    if (!*svc)
        return NULL;
    *why = cn_pool_printf(w->pool, "%.*s is of type ExternalName", CN_STR_ARG((*svc)->obj->label));
    if ((*svc)->external_name)
        return NULL;
    *why =
        cn_pool_printf(w->pool, "%.*s has no TCP port %u", CN_STR_ARG((*svc)->obj->label), b->port);
    p = (*svc)->ports.v;
    for (uint32_t i = 0; i < (*svc)->ports.n; i++)
        if (p[i].port == b->port)
            return &p[i];
    return NULL;
}

static void put_invalid(const cn_world_t *w, cn_out_route_t *out, uint32_t weight, cn_str_t why)
{
    *(cn_out_backend_t *)cn_vec_push(w->pool, &out->backends, sizeof(cn_out_backend_t)) =
        (cn_out_backend_t){CN_STR_NULL, weight, why};
}

static void put_backend(const cn_world_t *w, const entry_t *e, const cn_backend_t *b,
                        cn_routes_need_cb *need, void *arg, cn_out_route_t *out)
{
    const cn_service_t *svc;
    const cn_service_port_t *port;
    cn_str_t why;

    if (b->invalid.n) { /* said when it was read */
        put_invalid(w, out, b->weight, b->invalid);
        return;
    }
    port = find_backend(w, b, &svc, &why);
    if (!port) {
        cn_store_warn(w->diag, e->route->obj, b->node, "backendRef: %.*s, so its share answers 500",
                      CN_STR_ARG(why));
        put_invalid(w, out, b->weight, why);
        return;
    }
    need(arg, svc, port);
    *(cn_out_backend_t *)cn_vec_push(w->pool, &out->backends, sizeof(cn_out_backend_t)) =
        (cn_out_backend_t){cn_routes_cluster_name(w, svc, port->port), b->weight, CN_STR_NULL};
}

static void fill(const cn_world_t *w, const entry_t *e, cn_routes_need_cb *need, void *arg,
                 cn_out_route_t *out)
{
    const cn_backend_t *b = e->rule->backends.v;

    out->name = e->rule->name;
    out->comment =
        cn_pool_printf(w->pool, "%.*s rule %u", CN_STR_ARG(e->route->obj->label), e->rule->index);
    if (e->rule->broken.n) {
        put_invalid(w, out, 1, e->rule->broken);
        return;
    }
    for (uint32_t i = 0; i < e->rule->backends.n; i++)
        put_backend(w, e, &b[i], need, arg, out);
    if (e->rule->backends.n == 0)
        cn_store_warn(w->diag, e->route->obj, e->rule->node,
                      "spec.rules[%u] has no backend with a weight, so it "
                      "answers 500",
                      e->rule->index);
}

void cn_routes_build(const cn_world_t *w, const cn_service_t *svc, uint16_t port,
                     cn_routes_need_cb *need, void *arg, cn_vec_t *out)
{
    const cn_bound_route_t *bound = svc->routes.v;
    cn_vec_t entries = {0};
    cn_out_route_t *route = NULL;
    entry_t *e;

    for (uint32_t i = 0; i < svc->routes.n; i++) {
        bool before = false;

        for (uint32_t k = 0; k < i; k++) /* two parentRefs may mean the same port */
            before |=
                bound[k].route == bound[i].route && (bound[k].port == 0 || bound[k].port == port);
        if (!before && (bound[i].port == 0 || bound[i].port == port))
            collect(w, bound[i].route, &entries);
    }
    e = entries.v;
    if (entries.n)
        qsort(e, entries.n, sizeof(*e), by_precedence);
    for (uint32_t i = 0; i < entries.n; i++) {
        if (!route || e[i].rule != e[i - 1].rule) {
            route = cn_vec_push(w->pool, out, sizeof(*route));
            fill(w, &e[i], need, arg, route);
        }
        *(const cn_http_match_t **)cn_vec_push(w->pool, &route->matches, sizeof(e[i].match)) =
            e[i].match;
    }
}
