/* SPDX-License-Identifier: Apache-2.0
 *
 * VirtualService: hosts, rules with what they delegate to, connections.  A
 * VirtualService without hosts is a delegate: it is read where a rule names it.
 */
#include "kube/vs_http.h"

#define MAX_BACKENDS 1000

typedef struct {
    cn_world_t *w;
    cn_reader_t r;
    cn_http_route_t *route;
} vs_reader_t;

#define pool_of(x) ((x)->r.w->pool)

/* ---- http ---- */

static cn_str_t rule_name(const vs_reader_t *x, cn_str_t root, cn_str_t own, const cn_object_t *o,
                          uint32_t index)
{
    if (root.n && own.n)
        return cn_pool_printf(pool_of(x), "%.*s-%.*s", CN_STR_ARG(root), CN_STR_ARG(own));
    if (root.n || own.n)
        return root.n ? root : own;
    return cn_pool_printf(pool_of(x), "%.*s.%.*s.%u", CN_STR_ARG(o->ns),
                          (int)(o->name.n < 180 ? o->name.n : 180), o->name.p, index);
}

/* The http rule's own name when it can be one of a block. */
static cn_str_t own_name(const vs_reader_t *x, const cn_node_t *rule)
{
    cn_str_t name = cn_read_text(&x->r, rule, "name");

    return cn_store_is_label_value(name) && name.n <= 100 ? name : CN_STR_NULL;
}

static void add_rule(vs_reader_t *x, const cn_object_t *o, const cn_node_t *node,
                     const cn_node_t *root, uint32_t index)
{
    cn_http_rule_t rule = {.node = node, .obj = o, .index = index};
    cn_vs_http_t v = {.x = {.r = {x->r.w, o}, .rule = &rule}, .root = root, .vs = o};
    bool live;
    cn_str_t outer = root ? own_name(x, root) : CN_STR_NULL;

    snprintf(v.x.where, sizeof(v.x.where), "spec.http[%u]", index);
    rule.name = rule_name(x, outer, own_name(x, node), o, index);
    x->route->given++;
    live = cn_vs_http_read(&v);
    *(cn_http_rule_t *)cn_vec_push(pool_of(x), live ? &x->route->rules : &x->route->dead,
                                   sizeof(rule)) = rule;
    if (rule.dropped && !x->route->reason)
        x->route->reason = "UnsupportedValue";
}

static bool is_for_mesh(const cn_vec_t *gateways)
{
    const cn_str_t *v = gateways->v;

    for (uint32_t i = 0; i < gateways->n; i++)
        if (cn_str_eq(v[i], CN_STR("mesh")))
            return true;
    return gateways->n == 0;
}

static const cn_object_t *find_delegate(vs_reader_t *x, const cn_node_t *node)
{
    cn_str_t name = cn_read_text(&x->r, node, "name"), ns = cn_read_text(&x->r, node, "namespace");
    const cn_object_t *o;
    cn_vec_t exports = {0};

    if (ns.n == 0)
        ns = x->r.obj->ns;
    o = cn_map_get(&x->r.w->virtual_map, cn_model_key(x->r.w, ns, name));
    if (!o || cn_node_get(o->spec, "hosts")) {
        cn_store_error(x->r.w->diag, x->r.obj, node,
                       "delegate %.*s/%.*s %s; the rule has no effect", CN_STR_ARG(ns),
                       CN_STR_ARG(name),
                       o ? "has hosts, so it is no delegate" : "is no VirtualService in the input");
        return NULL;
    }
    cn_read_texts(&(cn_reader_t){x->r.w, o}, o->spec, "exportTo", &exports);
    if (cn_model_exported(&exports, o, x->r.obj->ns))
        return o;
    cn_store_error(x->r.w->diag, x->r.obj, node,
                   "delegate %.*s is not exported to namespace %.*s; the rule has no effect",
                   CN_STR_ARG(o->id), CN_STR_ARG(x->r.obj->ns));
    return NULL;
}

static void add_delegated(vs_reader_t *x, const cn_node_t *root, uint32_t index)
{
    const cn_node_t *node = cn_node_get(root, "delegate");
    const cn_object_t *o;
    const cn_node_item_t *items = NULL;
    uint32_t n;

    if (cn_node_get(root, "route") || cn_node_get(root, "redirect")) {
        cn_store_error(x->r.w->diag, x->r.obj, node,
                       "spec.http[%u]: a rule that delegates has no route or redirect of its own; "
                       "the delegate has no effect",
                       index);
        add_rule(x, x->r.obj, root, NULL, index);
        return;
    }
    o = find_delegate(x, node);
    if (!o) {
        x->route->given++;
        x->route->reason = "UnsupportedValue";
        return;
    }
    *(cn_str_t *)cn_vec_push(pool_of(x), &x->w->delegated, sizeof(cn_str_t)) = o->id;
    n = cn_node_list(o->spec, "http", &items);
    for (uint32_t i = 0; i < n; i++) {
        if (cn_node_get(items[i].value, "delegate"))
            cn_store_error(x->r.w->diag, o, items[i].value,
                           "spec.http[%u]: a delegate cannot delegate; the rule has no effect", i);
        else
            add_rule(x, o, items[i].value, root, i);
    }
}

static void read_http(vs_reader_t *x)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, x->r.obj->spec, "http", &items);

    for (uint32_t i = 0; i < n; i++)
        if (cn_node_get(items[i].value, "delegate"))
            add_delegated(x, items[i].value, i);
        else
            add_rule(x, x->r.obj, items[i].value, NULL, i);
}

/* ---- tcp and tls ---- */

static void read_snis(vs_reader_t *x, const cn_node_t *match, cn_l4_rule_t *rule)
{
    cn_vec_t names = {0};
    const cn_str_t *v;

    cn_read_texts(&x->r, match, "sniHosts", &names);
    v = names.v;
    for (uint32_t i = 0; i < names.n; i++)
        if (cn_value_is_domain(v[i], true))
            *(cn_str_t *)cn_vec_push(pool_of(x), &rule->snis, sizeof(*v)) =
                cn_pool_lower(pool_of(x), v[i]);
}

/* False: the match never holds at a waypoint. */
static bool read_l4_match(vs_reader_t *x, const cn_node_t *match, cn_l4_rule_t *rule)
{
    static const char *const unknown[] = {"destinationSubnets", "sourceLabels", "sourceNamespace",
                                          "sourceSubnet"};
    cn_vec_t gateways = {0};
    int64_t port = 0;

    for (size_t i = 0; i < CN_COUNT(unknown); i++)
        if (cn_node_get(match, unknown[i])) {
            cn_store_warn(x->r.w->diag, x->r.obj, match,
                          "%s: cannot be matched at a waypoint, so this match never holds",
                          unknown[i]);
            return false;
        }
    cn_read_texts(&x->r, match, "gateways", &gateways);
    if (!is_for_mesh(&gateways))
        return false;
    if (cn_node_get(match, "port") && !cn_read_number(&x->r, match, "port", 1, 65535, &port))
        return false;
    rule->port = (uint16_t)port;
    if (rule->tls)
        read_snis(x, match, rule);
    return !rule->tls || rule->snis.n > 0;
}

static void read_l4_routes(vs_reader_t *x, const cn_node_t *node, const char *where, cn_vec_t *out)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, node, "route", &items);

    for (uint32_t i = 0; i < n && i < MAX_BACKENDS; i++) {
        cn_backend_t b = {0};
        int64_t weight = 0;

        if (!cn_vs_http_destination(&x->r, cn_node_get(items[i].value, "destination"), where, &b))
            b = (cn_backend_t){.node = items[i].value, .invalid = CN_STR("no usable host")};
        if (cn_node_get(items[i].value, "weight") &&
            !cn_read_number(&x->r, items[i].value, "weight", 0, 1000000, &weight))
            weight = 0;
        b.weight = n > 1 ? (uint32_t)weight : 1;
        if (b.weight)
            *(cn_backend_t *)cn_vec_push(pool_of(x), out, sizeof(b)) = b;
    }
}

static void push_l4(vs_reader_t *x, const cn_l4_rule_t *rule)
{
    *(cn_l4_rule_t *)cn_vec_push(pool_of(x), &x->route->l4_rules, sizeof(*rule)) = *rule;
}

static void read_l4(vs_reader_t *x, const char *key, bool tls)
{
    const cn_node_item_t *items = NULL, *matches = NULL;
    uint32_t n = cn_read_list(&x->r, x->r.obj->spec, key, &items);

    for (uint32_t i = 0; i < n; i++) {
        cn_l4_rule_t base = {.obj = x->r.obj,
                             .node = items[i].value,
                             .index = i,
                             .tls = tls,
                             .used = cn_pool_zalloc(pool_of(x), sizeof(bool))};
        uint32_t m = cn_read_list(&x->r, base.node, "match", &matches);
        char where[32];

        snprintf(where, sizeof(where), "spec.%s[%u]", key, i);
        read_l4_routes(x, base.node, where, &base.backends);
        for (uint32_t k = 0; k < m; k++) {
            cn_l4_rule_t rule = base;

            if (read_l4_match(x, matches[k].value, &rule))
                push_l4(x, &rule);
        }
        if (m == 0 && !tls)
            push_l4(x, &base);
        else if (m == 0)
            cn_store_error(x->r.w->diag, x->r.obj, base.node,
                           "%s has no match, so it has no effect: sniHosts is needed", where);
    }
}

/* ---- the object ---- */

static void read_hosts(vs_reader_t *x)
{
    cn_vec_t names = {0};
    const cn_str_t *v;

    cn_read_texts(&x->r, x->r.obj->spec, "hosts", &names);
    v = names.v;
    for (uint32_t i = 0; i < names.n; i++)
        if (cn_value_is_domain(v[i], true))
            *(cn_str_t *)cn_vec_push(pool_of(x), &x->route->hosts, sizeof(*v)) =
                cn_vs_http_full_host(pool_of(x), v[i], x->r.obj->ns);
        else
            cn_store_error(x->r.w->diag, x->r.obj, cn_node_get(x->r.obj->spec, "hosts"),
                           "spec.hosts[%u]: \"%.*s\" is no host; it is left out", i,
                           CN_STR_ARG(v[i]));
}

void cn_model_virtualservice_index(cn_world_t *w, const cn_object_t *o)
{
    cn_map_put(&w->virtual_map, o->id, (void *)(uintptr_t)o);
}

void cn_model_virtualservice_read(cn_world_t *w, const cn_object_t *o)
{
    cn_http_route_t *route = cn_pool_zalloc(w->pool, sizeof(*route));
    vs_reader_t x = {.w = w, .r = {w, o}, .route = route};
    cn_vec_t gateways = {0};

    route->obj = o;
    route->is_virtual = true;
    cn_read_texts(&x.r, o->spec, "exportTo", &route->exports);
    if (route->exports.n == 0)
        route->exports = w->mesh.virtual_exports;
    cn_read_texts(&x.r, o->spec, "gateways", &gateways);
    if (!is_for_mesh(&gateways)) {
        route->no_effect = CN_STR("it is for gateways, not for the mesh: its gateways do not "
                                  "include \"mesh\"");
    } else if (cn_node_get(o->spec, "hosts")) {
        read_hosts(&x);
        read_http(&x);
        read_l4(&x, "tcp", false);
        read_l4(&x, "tls", true);
    }
    *(cn_http_route_t **)cn_vec_push(w->pool, &w->routes, sizeof(route)) = route;
}
