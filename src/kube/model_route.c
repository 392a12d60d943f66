/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTPRoute and GRPCRoute: what each rule matches, does and sends to.  A part
 * that cannot be done costs as little as it can: an impossible match is
 * dropped, a filter that would change the meaning of requests makes its rule
 * answer 500, anything else is left out of an otherwise working rule.
 */
#include "kube/filter.h"
#include "kube/match.h"

#define MAX_WEIGHT 1000000
#define MAX_BACKENDS 1000 /* of a rule; the API server allows 16 */
#define MAX_CONF_NAME 255 /* bytes of a block's name in the conf */

#define pool_of(x) ((x)->r.w->pool)

/* ---- backends ---- */

static bool is_core(cn_str_t group)
{
    return group.n == 0 || cn_str_eq(group, CN_STR("core"));
}

static cn_str_t name_service(cn_action_t *x, cn_backend_t *b)
{
    if (cn_store_is_dns_label(b->name) && cn_store_is_dns_label(b->ns))
        return CN_STR_NULL;
    return cn_pool_printf(pool_of(x), "\"%.*s\" in namespace \"%.*s\" is not a Service's name",
                          CN_STR_ARG(b->name), CN_STR_ARG(b->ns));
}

/* Istio's own kind: any host that the mesh knows. */
static cn_str_t name_host(cn_action_t *x, const cn_node_t *node, cn_backend_t *b)
{
    b->host = b->name;
    if (cn_node_get(node, "namespace"))
        return CN_STR("a Hostname has no namespace");
    if (!cn_value_is_host(b->host))
        return cn_pool_printf(pool_of(x), "\"%.*s\" is no host name", CN_STR_ARG(b->host));
    return CN_STR_NULL;
}

static cn_str_t backend_fault(cn_action_t *x, const cn_node_t *node, cn_backend_t *b)
{
    cn_str_t group = cn_read_text(&x->r, node, "group"), kind = cn_read_text(&x->r, node, "kind"),
             why;
    int64_t port = 0;

    if ((kind.n == 0 || cn_str_eq(kind, CN_STR("Service"))) && is_core(group))
        why = name_service(x, b);
    else if (cn_str_eq(kind, CN_STR("Hostname")) && cn_str_eq(group, CN_STR("networking.istio.io")))
        why = name_host(x, node, b);
    else {
        b->reason = "InvalidKind";
        return cn_pool_printf(pool_of(x), "kind %.*s of group \"%.*s\" is not supported",
                              CN_STR_ARG(kind), CN_STR_ARG(group));
    }
    b->reason = "BackendNotFound";
    if (why.n == 0 && !cn_read_number(&x->r, node, "port", 1, 65535, &port))
        return CN_STR("port is missing");
    b->port = (uint16_t)port;
    return why;
}

void cn_filter_backend_ref(cn_action_t *x, const cn_node_t *node, cn_backend_t *b)
{
    b->node = node;
    b->weight = 1;
    b->name = cn_read_text(&x->r, node, "name");
    b->ns = cn_read_text(&x->r, node, "namespace");
    if (b->ns.n == 0)
        b->ns = x->r.obj->ns;
    b->invalid = backend_fault(x, node, b);
}

static bool read_weight(cn_action_t *x, const cn_node_t *node, uint32_t *weight)
{
    int64_t n = 1;

    if (cn_node_get(node, "weight") && !cn_read_number(&x->r, node, "weight", 0, MAX_WEIGHT, &n))
        n = 0;
    *weight = (uint32_t)n;
    return n > 0;
}

/* One backendRef of any kind of route; false: it has no weight. */
static bool read_backend(cn_action_t *x, const cn_node_t *node, const char *without,
                         cn_backend_t *b)
{
    cn_filter_backend_ref(x, node, b);
    if (b->invalid.n)
        cn_action_warn(x, node, "%s: %.*s, so %s", x->where, CN_STR_ARG(b->invalid), without);
    return read_weight(x, node, &b->weight);
}

static void read_backends(cn_action_t *x, const cn_node_t *rule)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, rule, "backendRefs", &items);

    if (n > MAX_BACKENDS) {
        cn_action_error(x, rule, "%s has more than %d backends, so it answers 500", x->where,
                        MAX_BACKENDS);
        x->rule->broken = CN_STR("too many backends");
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        cn_action_t y = *x;
        cn_backend_t b = {0};
        bool counts;

        snprintf(y.where, sizeof(y.where), "%.48s.backendRefs[%u]", x->where, i);
        counts = read_backend(&y, items[i].value, "its share answers 500", &b);
        cn_filter_read_backend(&y, items[i].value, &b);
        if (counts ||
            cn_action_has(&x->rule->actions, "session")) /* sessions that are there stay */
            *(cn_backend_t *)cn_vec_push(pool_of(x), &x->rule->backends, sizeof(b)) = b;
    }
}

/* ---- rules ---- */

static cn_str_t rule_name(const cn_reader_t *r, const cn_node_t *rule, uint32_t index)
{
    cn_str_t own = cn_read_text(r, rule, "name"), name = r->obj->name, ns = r->obj->ns;

    if (own.n && cn_store_is_dns_subdomain(own))
        return own;
    if (name.n > MAX_CONF_NAME - 63 - 12)
        name.n = MAX_CONF_NAME - 63 - 12;
    return cn_pool_printf(r->w->pool, "%.*s.%.*s.%u", CN_STR_ARG(ns), CN_STR_ARG(name), index);
}

/* The API's default: one rule that matches everything and has no backend. */
static void read_no_rules(const cn_reader_t *r, cn_http_route_t *route)
{
    cn_http_rule_t *rule = cn_vec_push(r->w->pool, &route->rules, sizeof(*rule));

    rule->obj = r->obj;
    rule->name = rule_name(r, NULL, 0);
    *(cn_http_match_t *)cn_vec_push(r->w->pool, &rule->matches, sizeof(cn_http_match_t)) =
        cn_match_all();
    cn_store_warn(r->w->diag, r->obj, NULL,
                  "has no rules, so requests that no other route matches answer 500");
}

static void read_rule(cn_action_t *x, const cn_node_t *node, bool grpc)
{
    if (grpc)
        cn_match_read_grpc(x, node);
    else
        cn_match_read_http(x, node);
    cn_filter_read_rule(x, node, grpc);
    cn_filter_read_times(x, node);
    read_backends(x, node);
}

static void read_rules(const cn_reader_t *r, cn_http_route_t *route, bool grpc)
{
    const cn_node_item_t *items = NULL;

    route->given = cn_read_list(r, r->obj->spec, "rules", &items);
    for (uint32_t i = 0; i < route->given; i++) {
        cn_http_rule_t rule = {.node = items[i].value, .index = i, .obj = r->obj};
        cn_action_t x = {.r = *r, .rule = &rule};

        snprintf(x.where, sizeof(x.where), "spec.rules[%u]", i);
        rule.name = rule_name(r, rule.node, i);
        read_rule(&x, rule.node, grpc);
        if (rule.reason && !route->reason)
            route->reason = rule.reason;
        *(cn_http_rule_t *)cn_vec_push(r->w->pool, rule.matches.n ? &route->rules : &route->dead,
                                       sizeof(rule)) = rule;
    }
    if (route->given == 0)
        read_no_rules(r, route);
}

/* ---- TCPRoute and TLSRoute ---- */

static void read_snis(const cn_reader_t *r, cn_vec_t *out)
{
    cn_vec_t names = {0};
    const cn_str_t *v;

    cn_read_texts(r, r->obj->spec, "hostnames", &names);
    v = names.v;
    for (uint32_t i = 0; i < names.n; i++)
        if (cn_value_is_domain(v[i], true))
            *(cn_str_t *)cn_vec_push(r->w->pool, out, sizeof(*v)) = cn_pool_lower(r->w->pool, v[i]);
        else
            cn_store_error(r->w->diag, r->obj, cn_node_get(r->obj->spec, "hostnames"),
                           "spec.hostnames: \"%.*s\" is no host name; it is left out",
                           CN_STR_ARG(v[i]));
}

static void read_l4_rule(cn_action_t *x, cn_http_route_t *route, const cn_vec_t *snis, bool tls)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, x->rule->node, "backendRefs", &items);
    cn_l4_rule_t out = {.obj = x->r.obj,
                        .node = x->rule->node,
                        .index = x->rule->index,
                        .tls = tls,
                        .snis = *snis,
                        .used = cn_pool_zalloc(pool_of(x), sizeof(bool))};

    for (uint32_t i = 0; i < n && i < MAX_BACKENDS; i++) {
        cn_action_t y = *x;
        cn_backend_t b = {0};

        snprintf(y.where, sizeof(y.where), "%.48s.backendRefs[%u]", x->where, i);
        if (read_backend(&y, items[i].value, "its share of connections is closed", &b))
            *(cn_backend_t *)cn_vec_push(pool_of(x), &out.backends, sizeof(b)) = b;
    }
    *(cn_l4_rule_t *)cn_vec_push(pool_of(x), &route->l4_rules, sizeof(out)) = out;
}

static void read_l4(const cn_reader_t *r, cn_http_route_t *route, bool tls)
{
    const cn_node_item_t *items = NULL;
    cn_vec_t snis = {0};

    if (tls)
        read_snis(r, &snis);
    if (tls && snis.n == 0 && cn_node_get(r->obj->spec, "hostnames")) {
        route->no_effect = CN_STR("none of its hostnames can be one");
        return;
    }
    route->given = cn_read_list(r, r->obj->spec, "rules", &items);
    for (uint32_t i = 0; i < route->given; i++) {
        cn_http_rule_t rule = {.node = items[i].value, .index = i};
        cn_action_t x = {.r = *r, .rule = &rule};

        snprintf(x.where, sizeof(x.where), "spec.rules[%u]", i);
        read_l4_rule(&x, route, &snis, tls);
        if (i == 1)
            cn_store_warn(r->w->diag, r->obj, rule.node,
                          "spec.rules[1] has no effect: the first rule takes every connection");
    }
}

/* ---- routes ---- */

static void read_parents(const cn_reader_t *r, cn_http_route_t *route)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, r->obj->spec, "parentRefs", &items);

    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *node = items[i].value;
        cn_parent_ref_t *p = cn_vec_push(r->w->pool, &route->parents, sizeof(*p));
        int64_t port = 0;

        p->node = node;
        /* an absent group is the Gateway API's own; an empty one is core */
        p->group = cn_node_item(node, "group") ? cn_read_text(r, node, "group")
                                               : CN_STR("gateway.networking.k8s.io");
        p->kind = cn_read_text(r, node, "kind");
        if (p->kind.n == 0)
            p->kind = CN_STR("Gateway");
        p->name = cn_read_text(r, node, "name");
        p->ns = cn_read_text(r, node, "namespace");
        if (p->ns.n == 0)
            p->ns = r->obj->ns;
        if (cn_read_number(r, node, "port", 1, 65535, &port))
            p->port = (uint16_t)port;
        p->section = cn_node_get(node, "sectionName") != NULL;
    }
}

/* Routes of an ingress are somebody else's: nothing is said about their rules. */
static bool has_mesh_parent(const cn_http_route_t *route)
{
    const cn_parent_ref_t *p = route->parents.v;

    for (uint32_t i = 0; i < route->parents.n; i++)
        if (cn_str_eq(p[i].kind, CN_STR("Service")) || cn_str_eq(p[i].kind, CN_STR("ServiceEntry")))
            return true;
    return false;
}

void cn_model_route_read(cn_world_t *w, const cn_object_t *o)
{
    const cn_reader_t r = {w, o};
    cn_http_route_t *route = cn_pool_zalloc(w->pool, sizeof(*route));
    const cn_node_item_t *items = NULL;
    bool l4 = o->kind == CN_KIND_TCP_ROUTE || o->kind == CN_KIND_TLS_ROUTE;

    route->obj = o;
    route->hostnames = !l4 && cn_node_list(o->spec, "hostnames", &items) > 0;
    read_parents(&r, route);
    if (has_mesh_parent(route) && l4)
        read_l4(&r, route, o->kind == CN_KIND_TLS_ROUTE);
    else if (has_mesh_parent(route))
        read_rules(&r, route, o->kind == CN_KIND_GRPC_ROUTE);
    *(cn_http_route_t **)cn_vec_push(w->pool, &w->routes, sizeof(route)) = route;
}
