/* SPDX-License-Identifier: Apache-2.0
 *
 * Which targets cairn's own policies are attached to, with an audit row for each
 * reference; and, for the audit, which of them stand beside or in place of others.
 */
#include "kube/limits.h"

#include "kube/attach_int.h"

#define GATEWAY_GROUP "gateway.networking.k8s.io"

#define text(...) cn_attach_text(__VA_ARGS__)

/* ---- indexes ---- */

typedef struct {
    cn_world_t *w;
    cn_map_t routes;    /* label -> const cn_http_route_t */
    cn_map_t waypoints; /* label of a route -> const cn_gateway_t: of a service that it acts on */
    cn_map_t services;  /* label -> cn_vec_t of const cn_service_t *: the hosts of one object */
} index_t;

static void index_service(index_t *x, const cn_service_t *s)
{
    const cn_bound_route_t *b = s->routes.v;
    cn_vec_t *list = cn_map_get(&x->services, s->obj->label);

    if (!list) {
        list = cn_pool_zalloc(x->w->pool, sizeof(*list));
        cn_map_put(&x->services, s->obj->label, list);
    }
    *(const cn_service_t **)cn_vec_push(x->w->pool, list, sizeof(s)) = s;
    for (uint32_t i = 0; i < s->routes.n; i++)
        if (!cn_map_get(&x->waypoints, b[i].route->obj->label))
            cn_map_put(&x->waypoints, b[i].route->obj->label,
                       (void *)(uintptr_t)s->binding.gateway);
}

static void index_init(index_t *x, cn_world_t *w)
{
    cn_http_route_t *const *routes = w->routes.v;
    cn_service_t *const *services = w->services.v;

    *x = (index_t){.w = w};
    cn_map_init(&x->routes);
    cn_map_init(&x->waypoints);
    cn_map_init(&x->services);
    for (uint32_t i = 0; i < w->routes.n; i++)
        cn_map_put(&x->routes, routes[i]->obj->label, routes[i]);
    for (uint32_t i = 0; i < w->services.n; i++)
        index_service(x, services[i]);
}

static void index_fini(index_t *x)
{
    cn_map_fini(&x->routes);
    cn_map_fini(&x->waypoints);
    cn_map_fini(&x->services);
}

/* ---- attachment ---- */

static const cn_service_port_t *find_port(const cn_service_t *s, cn_str_t name)
{
    const cn_service_port_t *v = s->ports.v;

    for (uint32_t i = 0; i < s->ports.n; i++)
        if (cn_str_eq(v[i].name, name))
            return &v[i];
    return NULL;
}

/* The row is the next one of the audit. */
static void attach_at(index_t *x, const cn_limits_policy_t *p, cn_limits_bound_t b)
{
    b.policy = p;
    b.row = x->w->audit.n;
    cn_limits_bind(x->w, &b);
}

/* False: why is in the row. */
static bool bind_service(index_t *x, const cn_limits_policy_t *p, const cn_limits_target_t *t,
                         const cn_service_t *s, cn_audit_row_t *row)
{
    cn_world_t *w = x->w;
    cn_limits_bound_t b = {.level = CN_LIMITS_SERVICE, .at = s->obj, .target = row->target};
    const cn_service_port_t *port;

    if (s->binding.state != CN_BIND_OK) {
        row->text = text(w, "it uses no waypoint: %.*s", CN_STR_ARG(s->binding.why));
        return false;
    }
    if (t->section.n) {
        port = find_port(s, t->section);
        if (!port) {
            row->text =
                text(w, "sectionName: it has no port named \"%.*s\"", CN_STR_ARG(t->section));
            return false;
        }
        b.level = CN_LIMITS_PORT;
        b.port = port->port;
    }
    attach_at(x, p, b);
    row->effect = true;
    row->waypoint = s->binding.gateway->obj->id;
    return true;
}

static void attach_service(index_t *x, const cn_limits_policy_t *p, const cn_limits_target_t *t,
                           const char *kind, cn_audit_row_t *row)
{
    const cn_vec_t *list =
        cn_map_get(&x->services, text(x->w, "%s %.*s/%.*s", kind, CN_STR_ARG(p->obj->ns),
                                      CN_STR_ARG(t->ref.name)));
    const cn_service_t *const *v = list ? list->v : NULL;

    for (uint32_t i = 0; list && i < list->n; i++)
        (void)bind_service(x, p, t, v[i], row);
    if (!list)
        row->text = text(x->w, "no such %s in the input", kind);
}

static bool has_rule(const cn_http_route_t *r, cn_str_t name)
{
    const cn_http_rule_t *v = r->rules.v;

    for (uint32_t i = 0; i < r->rules.n; i++)
        if (cn_str_eq(v[i].name, name))
            return true;
    return false;
}

static void attach_route(index_t *x, const cn_limits_policy_t *p, const cn_limits_target_t *t,
                         cn_audit_row_t *row)
{
    cn_str_t label = text(x->w, "%.*s %.*s/%.*s", CN_STR_ARG(t->ref.kind), CN_STR_ARG(p->obj->ns),
                          CN_STR_ARG(t->ref.name));
    const cn_http_route_t *r = cn_map_get(&x->routes, label);
    const cn_gateway_t *g = cn_map_get(&x->waypoints, label);

    if (!r) {
        row->text = text(x->w, "no such %.*s in the input", CN_STR_ARG(t->ref.kind));
    } else if (t->section.n && !has_rule(r, t->section)) {
        row->text =
            text(x->w, "sectionName: it has no rule named \"%.*s\"", CN_STR_ARG(t->section));
    } else if (!g) {
        row->text = CN_STR("the route acts on no service of a waypoint");
    } else {
        attach_at(x, p,
                  (cn_limits_bound_t){.level = t->section.n ? CN_LIMITS_RULE : CN_LIMITS_ROUTE,
                                      .at = r->obj,
                                      .rule = t->section,
                                      .target = row->target});
        row->effect = true;
        row->waypoint = g->obj->id;
    }
}

static void attach_gateway(index_t *x, const cn_limits_policy_t *p, const cn_limits_target_t *t,
                           cn_audit_row_t *row)
{
    cn_gateway_t *g = cn_map_get(&x->w->gateway_map, cn_model_key(x->w, p->obj->ns, t->ref.name));

    if (!g) {
        row->text = CN_STR("no such Gateway in the input");
    } else if (!g->is_waypoint) {
        row->text = CN_STR("the Gateway is not a waypoint");
        row->expected = true;
    } else {
        attach_at(
            x, p,
            (cn_limits_bound_t){.level = CN_LIMITS_GATEWAY, .at = g->obj, .target = row->target});
        row->effect = true;
        row->waypoint = g->obj->id;
    }
}

static void attach_class(index_t *x, const cn_limits_policy_t *p, const cn_limits_target_t *t,
                         cn_audit_row_t *row)
{
    row->target = text(x->w, "GatewayClass %.*s", CN_STR_ARG(t->ref.name));
    if (!cn_str_eq(t->ref.name, CN_STR("istio-waypoint"))) {
        row->text = CN_STR("only the GatewayClass istio-waypoint can be a target");
    } else if (!cn_str_eq(p->obj->ns, x->w->mesh.root_namespace)) {
        row->text = text(x->w, "a GatewayClass can be a target only in the root namespace, %.*s",
                         CN_STR_ARG(x->w->mesh.root_namespace));
    } else {
        attach_at(x, p, (cn_limits_bound_t){.level = CN_LIMITS_CLASS, .target = row->target});
        row->effect = true;
        row->waypoint = CN_STR("(all)");
    }
}

static bool is_kind(const cn_limits_target_t *t, const char *kind, const char *group)
{
    bool core = group[0] == '\0' && cn_attach_is_core(t->ref.group);

    return cn_str_eq(t->ref.kind, cn_str_c(kind)) &&
           (core || cn_str_eq(t->ref.group, cn_str_c(group)));
}

static cn_str_t in_words(cn_world_t *w, const cn_limits_policy_t *p, const cn_limits_target_t *t)
{
    return text(w, "%.*s %.*s/%.*s%s%.*s", CN_STR_ARG(t->ref.kind), CN_STR_ARG(p->obj->ns),
                CN_STR_ARG(t->ref.name), t->section.n ? "/" : "", CN_STR_ARG(t->section));
}

static cn_str_t contents(cn_world_t *w, const cn_limits_policy_t *p)
{
    if (p->actions_only)
        return CN_STR("descriptors for the ratelimit filter of another EnvoyFilter");
    if (p->has[CN_LIMITS_FAULT])
        return text(w, "%u fault%s", p->faults.n, p->faults.n == 1 ? "" : "s");
    if (p->local.n + p->global.n == 0)
        return CN_STR("no local limits, nor those of an outer level");
    return text(w, "%u local%s%s", p->local.n, p->global.n ? " and 1 global limit" : " limit",
                p->local.n == 1 || p->global.n ? "" : "s");
}

static void attach_target(index_t *x, const cn_limits_policy_t *p, const cn_limits_target_t *t)
{
    cn_audit_row_t row = {.obj = p->obj, .at = t->ref.node, .target = in_words(x->w, p, t)};
    bool envoy = p->obj->kind == CN_KIND_ENVOY_FILTER;

    if (t->ref.ns.n && !cn_str_eq(t->ref.ns, p->obj->ns))
        row.text = CN_STR("a target must be in the policy's namespace");
    else if (p->invalid.n && (!envoy || cn_str_eq(t->ref.group, CN_STR(GATEWAY_GROUP))))
        row.text = p->invalid;
    else if (is_kind(t, "Gateway", GATEWAY_GROUP))
        attach_gateway(x, p, t, &row);
    else if (is_kind(t, "GatewayClass", GATEWAY_GROUP))
        attach_class(x, p, t, &row);
    else if (is_kind(t, "Service", "") && !envoy)
        attach_service(x, p, t, "Service", &row);
    else if (is_kind(t, "ServiceEntry", "networking.istio.io") && !envoy)
        attach_service(x, p, t, "ServiceEntry", &row);
    else if ((is_kind(t, "HTTPRoute", GATEWAY_GROUP) || is_kind(t, "GRPCRoute", GATEWAY_GROUP)) &&
             !envoy)
        attach_route(x, p, t, &row);
    else
        row.text = text(x->w, "kind \"%.*s\" of group \"%.*s\" is not supported as a target%s",
                        CN_STR_ARG(t->ref.kind), CN_STR_ARG(t->ref.group),
                        envoy ? ": Istio's waypoints take EnvoyFilters of a Gateway or the "
                                "GatewayClass only"
                              : "");
    if (row.effect)
        row.text = contents(x->w, p);
    cn_attach_row(x->w, row);
}

void cn_limits_attach(cn_world_t *w)
{
    cn_limits_policy_t *const *v = w->limits.v;
    index_t x;

    index_init(&x, w);
    for (uint32_t i = 0; i < w->limits.n; i++) {
        const cn_limits_target_t *t = v[i]->targets.v;

        for (uint32_t k = 0; k < v[i]->targets.n; k++)
            attach_target(&x, v[i], &t[k]);
        if (v[i]->targets.n == 0)
            cn_attach_row(
                w, (cn_audit_row_t){.obj = v[i]->obj,
                                    .text = CN_STR("it has no targetRefs: a waypoint takes only "
                                                   "what names its target")});
    }
    index_fini(&x);
}

/* ---- beside and in place of others ---- */

static bool shares_kind(const cn_limits_policy_t *a, const cn_limits_policy_t *b)
{
    for (cn_limits_kind k = 0; k < CN_LIMITS_KINDS; k++)
        if (a->has[k] && b->has[k])
            return true;
    return false;
}

/* What is said of one bound: names of others, as many as can be read. */
typedef struct {
    index_t *x;
    const cn_limits_bound_t *of;
    cn_str_t with, at; /* lists */
    unsigned nwith, nat;
} note_t;

#define NAMES 3

static void note_with(note_t *n, const cn_limits_bound_t *b)
{
    if (n->nwith++ < NAMES)
        n->with = text(n->x->w, "%.*s%s%.*s", CN_STR_ARG(n->with), n->with.n ? ", " : "",
                       CN_STR_ARG(b->policy->obj->label));
}

static void note_at(note_t *n, const cn_limits_bound_t *b)
{
    if (n->nat++ < NAMES)
        n->at = text(n->x->w, "%.*s%sat %.*s by %.*s", CN_STR_ARG(n->at), n->at.n ? ", " : "",
                     CN_STR_ARG(b->target), CN_STR_ARG(b->policy->obj->label));
}

/* Those of a list that stand beside it, or further in. */
static void note_list(note_t *n, const cn_vec_t *list)
{
    const cn_limits_bound_t *v = list->v;

    for (uint32_t i = 0; i < list->n; i++) {
        if (v[i].policy == n->of->policy || !shares_kind(v[i].policy, n->of->policy))
            continue;
        if (v[i].at == n->of->at && cn_limits_same_place(&v[i], n->of))
            note_with(n, &v[i]);
        else if (v[i].level > n->of->level)
            note_at(n, &v[i]);
    }
}

static void note_service(note_t *n, const cn_service_t *s)
{
    const cn_bound_route_t *b = s->routes.v;

    if (s->obj != n->of->at)
        note_list(n, cn_limits_bounds(n->x->w, s->obj));
    for (uint32_t i = 0; i < s->routes.n; i++)
        if (n->of->level != CN_LIMITS_PORT || b[i].port == 0 || b[i].port == n->of->port)
            note_list(n, cn_limits_bounds(n->x->w, b[i].route->obj));
}

/* Whether the service's requests pass the bound's target. */
static bool is_below(const cn_limits_bound_t *b, const cn_service_t *s)
{
    if (s->binding.state != CN_BIND_OK)
        return false;
    return b->level == CN_LIMITS_CLASS || b->at == s->binding.gateway->obj;
}

static void note_waypoint(note_t *n)
{
    cn_service_t *const *v = n->x->w->services.v;
    cn_gateway_t *const *g = n->x->w->gateways.v;

    for (uint32_t i = 0; n->of->level == CN_LIMITS_CLASS && i < n->x->w->gateways.n; i++)
        note_list(n, cn_limits_bounds(n->x->w, g[i]->obj));
    for (uint32_t i = 0; i < n->x->w->services.n && n->nat < NAMES + 1; i++)
        if (is_below(n->of, v[i]))
            note_service(n, v[i]);
}

static void note(index_t *x, const cn_limits_bound_t *b)
{
    cn_audit_row_t *row = (cn_audit_row_t *)x->w->audit.v + b->row;
    const cn_vec_t *hosts = b->at ? cn_map_get(&x->services, b->at->label) : NULL;
    note_t n = {.x = x, .of = b};

    note_list(&n, cn_limits_bounds(x->w, b->at));
    if (b->level <= CN_LIMITS_GATEWAY)
        note_waypoint(&n);
    for (uint32_t i = 0; hosts && i < hosts->n; i++)
        note_service(&n, ((const cn_service_t *const *)hosts->v)[i]);
    if (n.nwith)
        row->text = text(x->w, "%.*s; together with %.*s%s", CN_STR_ARG(row->text),
                         CN_STR_ARG(n.with), n.nwith > NAMES ? " and others" : "");
    if (n.nat)
        row->text = text(x->w, "%.*s; replaced %.*s%s", CN_STR_ARG(row->text), CN_STR_ARG(n.at),
                         n.nat > NAMES ? " and others" : "");
}

void cn_limits_attach_notes(cn_world_t *w)
{
    const cn_map_slot_t *slot;
    size_t iter = 0;
    index_t x;

    index_init(&x, w);
    while ((slot = cn_map_next(&w->limit_bounds, &iter)) != NULL) {
        const cn_vec_t *list = slot->value;

        for (uint32_t i = 0; i < list->n; i++)
            note(&x, &((const cn_limits_bound_t *)list->v)[i]);
    }
    index_fini(&x);
}
