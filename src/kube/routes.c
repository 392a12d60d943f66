/* SPDX-License-Identifier: Apache-2.0
 *
 * The routes of one service port.  All matches of all HTTPRoutes and GRPCRoutes
 * that are attached to it are put into one order (Gateway API precedence,
 * semantics 3.2); neighbours of the same rule are then written as one route
 * again.  VirtualServices follow as they are written, the oldest first.
 *
 * Routes of a consumer act on its namespace's clients only, for whom they stand
 * in place of all others (the proxy sees to that, http_route's client_namespace).
 */
#include "kube/limits.h"

#include <stdlib.h>

#include "kube/action.h"

typedef struct {
    const cn_http_route_t *route;
    const cn_http_rule_t *rule;
    const cn_http_match_t *match;
    uint32_t rule_index, match_index; /* in the order of the document */
    cn_str_t clients;
} entry_t;

/* ---- order ---- */

/* Exact before prefix before regex; what matches everything comes last, else a
 * rule for "/" would hide every regex. */
static int rank(const cn_http_match_t *m)
{
    bool all = m->path.kind == CN_MATCH_PREFIX && m->path.value.n == 1 && m->method.value.n == 0 &&
               m->headers.n == 0 && m->query.n == 0;

    if (all)
        return 0;
    return m->path.kind == CN_MATCH_EXACT ? 3 : m->path.kind == CN_MATCH_REGEX ? 1 : 2;
}

static int more_first(size_t a, size_t b)
{
    return (a < b) - (a > b);
}

static int by_match(const cn_http_match_t *a, const cn_http_match_t *b)
{
    int c = rank(b) - rank(a);

    if (c == 0)
        c = more_first(a->path.value.n, b->path.value.n);
    if (c == 0)
        c = more_first(a->method.value.n > 0, b->method.value.n > 0);
    if (c == 0)
        c = more_first(a->headers.n, b->headers.n);
    return c ? c : more_first(a->query.n, b->query.n);
}

static int by_precedence(const void *va, const void *vb)
{
    const entry_t *a = va, *b = vb;
    int c = more_first(a->clients.n > 0, b->clients.n > 0);

    if (c == 0)
        c = cn_str_cmp(a->clients, b->clients);
    if (c == 0)
        c = (int)a->route->is_virtual - (int)b->route->is_virtual;
    if (c == 0 && !a->route->is_virtual)
        c = by_match(a->match, b->match);
    if (c == 0)
        c = cn_model_older(a->route->obj, b->route->obj);
    if (c == 0)
        c = (int)a->route->obj->kind - (int)b->route->obj->kind;
    if (c == 0)
        c = more_first(b->rule_index, a->rule_index);
    return c ? c : more_first(b->match_index, a->match_index);
}

static void collect(const cn_routes_t *x, const cn_bound_route_t *bound, cn_vec_t *entries)
{
    const cn_http_rule_t *rules = bound->route->rules.v;

    for (uint32_t i = 0; i < bound->route->rules.n; i++) {
        const cn_http_match_t *m = rules[i].matches.v;

        for (uint32_t k = 0; k < rules[i].matches.n; k++)
            if (m[k].port == 0 || m[k].port == x->port->port)
                *(entry_t *)cn_vec_push(x->w->pool, entries, sizeof(entry_t)) =
                    (entry_t){bound->route, &rules[i], &m[k], i, k, bound->clients};
    }
}

static void collect_all(const cn_routes_t *x, cn_vec_t *entries)
{
    const cn_bound_route_t *bound = x->svc->routes.v;

    for (uint32_t i = 0; i < x->svc->routes.n; i++) {
        bool before = false;

        if (bound[i].port && bound[i].port != x->port->port)
            continue;
        /* two parentRefs may mean the same port; those of a route are neighbours */
        for (uint32_t k = i; k-- > 0 && bound[k].route == bound[i].route;)
            before |= bound[k].port == 0 || bound[k].port == x->port->port;
        if (!before)
            collect(x, &bound[i], entries);
    }
    if (entries->n)
        qsort(entries->v, entries->n, sizeof(entry_t), by_precedence);
}

/* ---- backends ---- */

cn_str_t cn_routes_cluster_name(const cn_world_t *w, const cn_service_t *s, uint16_t port,
                                cn_str_t subset)
{
    return cn_pool_printf(w->pool, "%.*s:%u%s%.*s", CN_STR_ARG(s->block), port, subset.n ? "/" : "",
                          CN_STR_ARG(subset));
}

static const cn_service_t *find_service(const cn_routes_t *x, const cn_object_t *obj,
                                        const cn_backend_t *b)
{
    if (b->host.n)
        return cn_model_find_host(x->w, b->host, obj->ns);
    return cn_map_get(&x->w->service_map, cn_model_key(x->w, b->ns, b->name));
}

/* What it is called when it does not exist. */
static cn_str_t name_of(const cn_world_t *w, const cn_backend_t *b)
{
    if (b->host.n)
        return cn_pool_printf(w->pool, "host %.*s", CN_STR_ARG(b->host));
    return cn_pool_printf(w->pool, "Service %.*s/%.*s", CN_STR_ARG(b->ns), CN_STR_ARG(b->name));
}

/* The port that a backend names, the service's only one, or the one that was called. */
static const cn_service_port_t *find_port(const cn_routes_t *x, const cn_service_t *svc,
                                          uint16_t number)
{
    const cn_service_port_t *p = svc->ports.v;

    if (number == 0 && svc->ports.n == 1)
        return p;
    if (number == 0)
        number = x->port->port;
    for (uint32_t i = 0; i < svc->ports.n; i++)
        if (p[i].port == number)
            return &p[i];
    return NULL;
}

/* The cluster's name, or empty with the reason. */
static cn_str_t find_cluster(const cn_routes_t *x, const cn_object_t *obj, const cn_backend_t *b,
                             cn_str_t *why)
{
    const cn_service_t *svc = find_service(x, obj, b);
    const cn_service_port_t *port;

    if (!svc) {
        cn_str_t name = name_of(x->w, b);

        *why = cn_pool_printf(x->w->pool, "%.*s does not exist", CN_STR_ARG(name));
        return CN_STR_NULL;
    }
    if (svc->external_name) {
        *why =
            cn_pool_printf(x->w->pool, "%.*s is of type ExternalName", CN_STR_ARG(svc->obj->label));
        return CN_STR_NULL;
    }
    port = find_port(x, svc, b->port);
    if (!port) {
        *why = cn_pool_printf(x->w->pool, "%.*s has no TCP port %u", CN_STR_ARG(svc->obj->label),
                              b->port ? b->port : x->port->port);
        return CN_STR_NULL;
    }
    if (!x->need(x->arg, svc, port, b->subset)) {
        *why = cn_pool_printf(x->w->pool, "no DestinationRule has a subset \"%.*s\" of %.*s",
                              CN_STR_ARG(b->subset), CN_STR_ARG(svc->host));
        return CN_STR_NULL;
    }
    return cn_routes_cluster_name(x->w, svc, port->port, b->subset);
}

cn_out_backend_t cn_routes_backend(const cn_routes_t *x, const cn_object_t *obj,
                                   const cn_backend_t *b, cn_routes_missing missing)
{
    static const char *const results[] = {[CN_ROUTES_MISSING_500] = "answers 500",
                                          [CN_ROUTES_MISSING_503] = "answers 503",
                                          [CN_ROUTES_MISSING_CLOSE] = "is closed"};
    cn_out_backend_t out = {.weight = b->weight, .comment = b->invalid};
    cn_str_t why = CN_STR_NULL;

    if (b->invalid.n) /* said when it was read */
        return out;
    out.cluster = find_cluster(x, obj, b, &why);
    if (out.cluster.n)
        return out;
    out.comment = why;
    cn_store_warn(x->w->diag, obj, b->node, "%s: %.*s, so its share %s",
                  b->host.n ? "destination" : "backendRef", CN_STR_ARG(why), results[missing]);
    if (missing == CN_ROUTES_MISSING_503)
        out.cluster = cn_pool_printf(x->w->pool, "missing:%.*s:%u%s%.*s", CN_STR_ARG(b->host),
                                     b->port ? b->port : x->port->port, b->subset.n ? "/" : "",
                                     CN_STR_ARG(b->subset));
    return out;
}

static void put_backend(const cn_routes_t *x, const entry_t *e, const cn_backend_t *b,
                        cn_out_route_t *out)
{
    cn_out_backend_t *to = cn_vec_push(x->w->pool, &out->backends, sizeof(*to));

    *to = cn_routes_backend(x, e->rule->obj, b,
                            e->route->is_virtual ? CN_ROUTES_MISSING_503 : CN_ROUTES_MISSING_500);
    if (b->filter.n && to->cluster.n) {
        cn_dir_t *block = cn_dir_block(x->w->pool, &out->filters, "backend_filter");

        to->filter = cn_pool_printf(x->w->pool, "b%u", out->backends.n - 1);
        cn_dir_word(x->w->pool, block, to->filter);
        cn_dir_append(x->w->pool, &block->inner, &b->filter);
    }
}

/* ---- rules ---- */

static void put_mirrors(const cn_routes_t *x, const entry_t *e, cn_out_route_t *out)
{
    const cn_mirror_t *m = e->rule->mirrors.v;

    for (uint32_t i = 0; i < e->rule->mirrors.n; i++) {
        cn_str_t why = CN_STR_NULL, cluster = find_cluster(x, e->rule->obj, &m[i].to, &why),
                 percent;
        cn_dir_t *d;

        if (cluster.n == 0) {
            cn_store_warn(x->w->diag, e->rule->obj, m[i].to.node,
                          "mirror: %.*s, so nothing is mirrored there; the rest of the rule is in "
                          "effect",
                          CN_STR_ARG(why));
            continue;
        }
        d = cn_dir_add(x->w->pool, &out->dirs, "mirror");
        cn_dir_word(x->w->pool, d, cluster);
        percent = cn_value_percent_text(x->w->pool, m[i].percent);
        cn_dir_printf(x->w->pool, d, "percent=%.*s", CN_STR_ARG(percent));
    }
}

/* A policy of a service acts on routes to it alone, too, unless they have their own. */
static void put_policy(const cn_routes_t *x, const entry_t *e, cn_out_route_t *out)
{
    const cn_backend_t *b = e->rule->backends.v;
    const cn_service_t *svc = e->rule->backends.n == 1 ? find_service(x, e->rule->obj, b) : NULL;

    if (svc && svc != x->svc && svc->backend && !cn_action_has(&out->dirs, "session"))
        cn_dir_append(x->w->pool, &out->dirs, &svc->backend->service);
}

static void fill(const cn_routes_t *x, const entry_t *e, cn_out_route_t *out)
{
    const cn_backend_t *b = e->rule->backends.v;

    out->name = e->rule->name;
    if (e->match->name.n)
        out->name = cn_pool_printf(x->w->pool, "%.*s.%.*s", CN_STR_ARG(out->name),
                                   CN_STR_ARG(e->match->name));
    out->clients = e->clients;
    out->comment =
        cn_pool_printf(x->w->pool, "%.*s rule %u", CN_STR_ARG(e->rule->obj->label), e->rule->index);
    if (e->rule->broken.n) {
        out->answers = true;
        cn_dir_word(x->w->pool, cn_dir_add(x->w->pool, &out->dirs, "unsupported"), e->rule->broken);
        return;
    }
    cn_dir_append(x->w->pool, &out->dirs, &e->rule->actions);
    cn_limits_put(&(cn_limits_place_t){x, x->svc->binding.gateway, e->route->obj, e->rule->name},
                  &out->dirs);
    put_mirrors(x, e, out);
    out->answers = e->rule->answers;
    if (!out->answers)
        put_policy(x, e, out);
    for (uint32_t i = 0; !out->answers && i < e->rule->backends.n; i++)
        put_backend(x, e, &b[i], out);
    if (!out->answers && e->rule->backends.n == 0)
        cn_store_warn(x->w->diag, e->rule->obj, e->rule->node,
                      "%s[%u] has no backend with a weight, so it "
                      "answers 500",
                      e->route->is_virtual ? "spec.http" : "spec.rules", e->rule->index);
}

/* The namespaces of clients that a VirtualService asks for.  The proxy routes
 * clients of a namespace that is named anywhere by those blocks alone, so all
 * other blocks are repeated for them; a consumer's clients are not among them. */
static void find_named(const entry_t *e, uint32_t n, const cn_routes_t *x, cn_vec_t *named)
{
    for (uint32_t i = 0; i < n; i++) {
        cn_str_t ns = e[i].match->client_namespace;
        const cn_str_t *v = named->v;
        bool known = ns.n == 0;

        for (uint32_t k = 0; k < n && !known; k++)
            known = cn_str_eq(e[k].clients, ns);
        for (uint32_t k = 0; k < named->n && !known; k++)
            known = cn_str_eq(v[k], ns);
        if (!known)
            *(cn_str_t *)cn_vec_push(x->w->pool, named, sizeof(ns)) = ns;
    }
}

/* Only consumers have routes: everybody else's requests go to the service itself. */
static void put_default(const cn_routes_t *x, cn_vec_t *out)
{
    cn_out_route_t *route = cn_vec_push(x->w->pool, out, sizeof(*route));
    cn_http_match_t *all = cn_pool_zalloc(x->w->pool, sizeof(*all));

    all->path = (cn_value_match_t){CN_MATCH_PREFIX, CN_STR_NULL, CN_STR("/")};
    route->name = CN_STR("default");
    route->comment = CN_STR("all other clients");
    *(const cn_http_match_t **)cn_vec_push(x->w->pool, &route->matches, sizeof(all)) = all;
    *(cn_out_backend_t *)cn_vec_push(x->w->pool, &route->backends,
                                     sizeof(cn_out_backend_t)) = (cn_out_backend_t){
        .cluster = cn_routes_cluster_name(x->w, x->svc, x->port->port, CN_STR_NULL), .weight = 1};
}

static bool starts_route(const entry_t *e, uint32_t i)
{
    return i == 0 || e[i].rule != e[i - 1].rule || !cn_str_eq(e[i].clients, e[i - 1].clients) ||
           !cn_str_eq(e[i].match->name, e[i - 1].match->name);
}

void cn_routes_build(const cn_routes_t *x, cn_vec_t *out)
{
    cn_vec_t entries = {0}, named = {0};
    cn_out_route_t *route = NULL;
    const entry_t *e;

    collect_all(x, &entries);
    e = entries.v;
    find_named(e, entries.n, x, &named);
    for (uint32_t i = 0; i < entries.n; i++) {
        if (starts_route(e, i)) {
            route = cn_vec_push(x->w->pool, out, sizeof(*route));
            fill(x, &e[i], route);
            if (e[i].clients.n == 0)
                route->named = named;
        }
        *(const cn_http_match_t **)cn_vec_push(x->w->pool, &route->matches, sizeof(e[i].match)) =
            e[i].match;
    }
    if (entries.n && e[entries.n - 1].clients.n) /* consumers' come first */
        put_default(x, out);
}
