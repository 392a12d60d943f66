/* SPDX-License-Identifier: Apache-2.0
 *
 * Where cairn's own policies act.  Of each kind (local limits, global limits,
 * faults) the innermost level that has any counts: rule, route, service port,
 * service, waypoint, all waypoints.  Policies of the same level all apply.
 * That is how the conf itself inherits, so each level is written as it is.
 */
#include "kube/limits.h"

#include "kube/attach_int.h"

#define GATEWAY_GROUP "gateway.networking.k8s.io"

#define text(...) cn_attach_text(__VA_ARGS__)

/* ---- attachment ---- */

static void attach_at(cn_world_t *w, const cn_limits_policy_t *p, cn_limits_bound_t b)
{
    const cn_limits_bound_t *v = w->limit_bounds.v;

    for (uint32_t i = 0; i < w->limit_bounds.n; i++) /* two references to the same target */
        if (v[i].policy == p && v[i].level == b.level && v[i].at == b.at && v[i].port == b.port &&
            cn_str_eq(v[i].rule, b.rule))
            return;
    b.policy = p;
    *(cn_limits_bound_t *)cn_vec_push(w->pool, &w->limit_bounds, sizeof(b)) = b;
}

static const cn_service_port_t *find_port(const cn_service_t *s, cn_str_t name)
{
    const cn_service_port_t *v = s->ports.v;

    for (uint32_t i = 0; i < s->ports.n; i++)
        if (cn_str_eq(v[i].name, name))
            return &v[i];
    return NULL;
}

/* False: why is in the row. */
static bool bind_service(cn_world_t *w, const cn_limits_policy_t *p, const cn_limits_target_t *t,
                         const cn_service_t *s, cn_audit_row_t *row)
{
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
    attach_at(w, p, b);
    row->effect = true;
    row->waypoint = s->binding.gateway->obj->id;
    return true;
}

static void attach_service(cn_world_t *w, const cn_limits_policy_t *p, const cn_limits_target_t *t,
                           bool entry, cn_audit_row_t *row)
{
    cn_service_t *const *v = w->services.v;
    bool found = false;

    for (uint32_t i = 0; i < w->services.n; i++)
        if (v[i]->is_entry == entry && cn_str_eq(v[i]->obj->ns, p->obj->ns) &&
            cn_str_eq(v[i]->obj->name, t->ref.name)) {
            found = true;
            (void)bind_service(w, p, t, v[i], row);
        }
    if (!found)
        row->text = text(w, "no such %s in the input", entry ? "ServiceEntry" : "Service");
}

static bool has_rule(const cn_http_route_t *r, cn_str_t name)
{
    const cn_http_rule_t *v = r->rules.v;

    for (uint32_t i = 0; i < r->rules.n; i++)
        if (cn_str_eq(v[i].name, name))
            return true;
    return false;
}

/* The waypoint of the first service that the route acts on; NULL: of none. */
static const cn_gateway_t *waypoint_of(const cn_world_t *w, const cn_http_route_t *r)
{
    cn_service_t *const *v = w->services.v;

    for (uint32_t i = 0; i < w->services.n; i++) {
        const cn_bound_route_t *b = v[i]->routes.v;

        for (uint32_t k = 0; k < v[i]->routes.n; k++)
            if (b[k].route == r)
                return v[i]->binding.gateway;
    }
    return NULL;
}

static void attach_route(cn_world_t *w, const cn_limits_policy_t *p, const cn_limits_target_t *t,
                         cn_kind kind, cn_audit_row_t *row)
{
    const cn_http_route_t *const *v = w->routes.v;
    const cn_gateway_t *g;

    row->text = text(w, "no such %.*s in the input", CN_STR_ARG(t->ref.kind));
    for (uint32_t i = 0; i < w->routes.n; i++) {
        const cn_object_t *o = v[i]->obj;

        if (o->kind != kind || !cn_str_eq(o->ns, p->obj->ns) || !cn_str_eq(o->name, t->ref.name))
            continue;
        g = waypoint_of(w, v[i]);
        if (t->section.n && !has_rule(v[i], t->section)) {
            row->text =
                text(w, "sectionName: it has no rule named \"%.*s\"", CN_STR_ARG(t->section));
        } else if (!g) {
            row->text = CN_STR("the route acts on no service of a waypoint");
        } else {
            attach_at(w, p,
                      (cn_limits_bound_t){.level = t->section.n ? CN_LIMITS_RULE : CN_LIMITS_ROUTE,
                                          .at = o,
                                          .rule = t->section,
                                          .target = row->target});
            row->effect = true;
            row->waypoint = g->obj->id;
        }
        return;
    }
}

static void attach_gateway(cn_world_t *w, const cn_limits_policy_t *p, const cn_limits_target_t *t,
                           cn_audit_row_t *row)
{
    cn_gateway_t *g = cn_map_get(&w->gateway_map, cn_model_key(w, p->obj->ns, t->ref.name));

    if (!g) {
        row->text = CN_STR("no such Gateway in the input");
    } else if (!g->is_waypoint) {
        row->text = CN_STR("the Gateway is not a waypoint");
        row->expected = true;
    } else {
        attach_at(
            w, p,
            (cn_limits_bound_t){.level = CN_LIMITS_GATEWAY, .at = g->obj, .target = row->target});
        row->effect = true;
        row->waypoint = g->obj->id;
    }
}

static void attach_class(cn_world_t *w, const cn_limits_policy_t *p, const cn_limits_target_t *t,
                         cn_audit_row_t *row)
{
    row->target = text(w, "GatewayClass %.*s", CN_STR_ARG(t->ref.name));
    if (!cn_str_eq(t->ref.name, CN_STR("istio-waypoint"))) {
        row->text = CN_STR("only the GatewayClass istio-waypoint can be a target");
    } else if (!cn_str_eq(p->obj->ns, w->mesh.root_namespace)) {
        row->text = text(w, "a GatewayClass can be a target only in the root namespace, %.*s",
                         CN_STR_ARG(w->mesh.root_namespace));
    } else {
        attach_at(w, p, (cn_limits_bound_t){.level = CN_LIMITS_CLASS, .target = row->target});
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

static void attach_target(cn_world_t *w, const cn_limits_policy_t *p, const cn_limits_target_t *t)
{
    cn_audit_row_t row = {.obj = p->obj, .at = t->ref.node, .target = in_words(w, p, t)};
    bool envoy = p->obj->kind == CN_KIND_ENVOY_FILTER;

    if (t->ref.ns.n && !cn_str_eq(t->ref.ns, p->obj->ns))
        row.text = CN_STR("a target must be in the policy's namespace");
    else if (p->invalid.n && (!envoy || cn_str_eq(t->ref.group, CN_STR(GATEWAY_GROUP))))
        row.text = p->invalid;
    else if (is_kind(t, "Gateway", GATEWAY_GROUP))
        attach_gateway(w, p, t, &row);
    else if (is_kind(t, "GatewayClass", GATEWAY_GROUP))
        attach_class(w, p, t, &row);
    else if (is_kind(t, "Service", "") && !envoy)
        attach_service(w, p, t, false, &row);
    else if (is_kind(t, "ServiceEntry", "networking.istio.io") && !envoy)
        attach_service(w, p, t, true, &row);
    else if (is_kind(t, "HTTPRoute", GATEWAY_GROUP) && !envoy)
        attach_route(w, p, t, CN_KIND_HTTP_ROUTE, &row);
    else if (is_kind(t, "GRPCRoute", GATEWAY_GROUP) && !envoy)
        attach_route(w, p, t, CN_KIND_GRPC_ROUTE, &row);
    else
        row.text = text(w, "kind \"%.*s\" of group \"%.*s\" is not supported as a target%s",
                        CN_STR_ARG(t->ref.kind), CN_STR_ARG(t->ref.group),
                        envoy ? ": Istio's waypoints take EnvoyFilters of a Gateway or the "
                                "GatewayClass only"
                              : "");
    if (row.effect)
        row.text = contents(w, p);
    cn_attach_row(w, row);
}

void cn_limits_attach(cn_world_t *w)
{
    cn_limits_policy_t *const *v = w->limits.v;

    for (uint32_t i = 0; i < w->limits.n; i++) {
        const cn_limits_target_t *t = v[i]->targets.v;

        for (uint32_t k = 0; k < v[i]->targets.n; k++)
            attach_target(w, v[i], &t[k]);
        if (v[i]->targets.n == 0)
            cn_attach_row(
                w, (cn_audit_row_t){.obj = v[i]->obj,
                                    .text = CN_STR("it has no targetRefs: a waypoint takes only "
                                                   "what names its target")});
    }
}

/* ---- directives ---- */

/* Is it bound to this place, on this level? */
static bool fits(const cn_limits_place_t *at, const cn_limits_bound_t *b, cn_limits_level level)
{
    const cn_routes_t *x = at->x;

    if (b->level != level)
        return false;
    switch (level) {
    case CN_LIMITS_CLASS:
        return cn_str_eq(at->waypoint->class_name, CN_STR("istio-waypoint"));
    case CN_LIMITS_GATEWAY:
        return b->at == at->waypoint->obj;
    case CN_LIMITS_SERVICE:
        return b->at == x->svc->obj;
    case CN_LIMITS_PORT:
        return b->at == x->svc->obj && b->port == x->port->port;
    case CN_LIMITS_ROUTE:
        return b->at == at->route;
    case CN_LIMITS_RULE:
        return b->at == at->route && cn_str_eq(b->rule, at->rule);
    }
    return false;
}

static cn_dir_t *open_block(const cn_limits_place_t *at, const cn_limits_bound_t *b,
                            const char *directive, const cn_limits_entry_t *e, cn_vec_t *dirs)
{
    cn_pool_t *pool = at->x->w->pool;
    cn_dir_t *d = cn_dir_block(pool, dirs, directive);

    cn_dir_printf(pool, d, "%.*s/%.*s", CN_STR_ARG(b->policy->obj->id), CN_STR_ARG(e->name));
    d->comment = cn_pool_printf(pool, "%.*s", CN_STR_ARG(b->policy->obj->label));
    cn_dir_append(pool, &d->inner, &e->inner);
    return d;
}

/* One bucket for each target, in however many blocks of the conf it stands. */
static void put_local(const cn_limits_place_t *at, const cn_limits_bound_t *b, cn_vec_t *dirs)
{
    const cn_limits_entry_t *e = b->policy->local.v;
    cn_pool_t *pool = at->x->w->pool;

    for (uint32_t i = 0; i < b->policy->local.n; i++) {
        cn_dir_t *d = open_block(at, b, "rate_limit", &e[i], dirs);

        if (b->level >= CN_LIMITS_SERVICE)
            cn_dir_printf(pool, cn_dir_add(pool, &d->inner, "bucket"), "%.*s/%.*s at %.*s",
                          CN_STR_ARG(b->policy->obj->id), CN_STR_ARG(e[i].name),
                          CN_STR_ARG(b->target));
    }
    if (b->policy->local.n == 0) { /* an empty list: nothing of an outer level */
        cn_dir_t *d = cn_dir_block(pool, dirs, "rate_limit");

        cn_dir_printf(pool, d, "%.*s/none", CN_STR_ARG(b->policy->obj->id));
        cn_dir_flag(pool, &d->inner, "limit", "unlimited");
    }
}

/* The cluster of a global limit's service; empty: there is none (said). */
static cn_str_t cluster_of(const cn_limits_place_t *at, const cn_limits_bound_t *b,
                           const cn_limits_entry_t *e)
{
    const cn_world_t *w = at->x->w;
    const cn_object_t *o = b->policy->obj;
    const cn_service_t *s =
        e->host.n ? cn_model_find_host(w, e->host, o->ns)
                  : cn_map_get(&w->service_map, cn_model_key(w, e->ns, e->service_name));
    const cn_service_port_t *p = s ? s->ports.v : NULL;

    for (uint32_t i = 0; s && i < s->ports.n; i++)
        if (p[i].port == e->port && at->x->need(at->x->arg, s, &p[i], CN_STR_NULL))
            return cn_routes_cluster_name(w, s, p[i].port, CN_STR_NULL);
    cn_store_warn(
        w->diag, o, e->service,
        "its rate limit service (%.*s%s%.*s port %u) does not exist: requests are handled "
        "as when it fails",
        CN_STR_ARG(e->host.n ? e->host : e->ns), e->host.n ? "" : "/", CN_STR_ARG(e->service_name),
        e->port);
    return CN_STR("missing");
}

static void put_global(const cn_limits_place_t *at, const cn_limits_bound_t *b, cn_vec_t *dirs)
{
    const cn_limits_entry_t *e = b->policy->global.v;
    cn_pool_t *pool = at->x->w->pool;

    for (uint32_t i = 0; i < b->policy->global.n; i++) {
        cn_dir_t *d = open_block(at, b, "rate_limit_service", &e[i], dirs);

        cn_dir_word(pool, cn_dir_add(pool, &d->inner, "cluster"), cluster_of(at, b, &e[i]));
    }
}

static void put_faults(const cn_limits_place_t *at, const cn_limits_bound_t *b, cn_vec_t *dirs)
{
    if (b->policy->faults.n == 0)
        cn_dir_flag(at->x->w->pool, dirs, "fault", "off");
    cn_dir_append(at->x->w->pool, dirs, &b->policy->faults);
}

typedef void put_fn(const cn_limits_place_t *, const cn_limits_bound_t *, cn_vec_t *dirs);
static put_fn *const putters[CN_LIMITS_KINDS] = {put_local, put_global, put_faults};

/* False: no policy has any of that kind on that level. */
static bool put_level(const cn_limits_place_t *at, cn_limits_kind kind, cn_limits_level level,
                      cn_vec_t *dirs)
{
    const cn_limits_bound_t *v = at->x->w->limit_bounds.v;
    bool any = false;

    for (uint32_t i = 0; i < at->x->w->limit_bounds.n; i++) {
        if (!v[i].policy->has[kind] || !fits(at, &v[i], level))
            continue;
        putters[kind](at, &v[i], dirs);
        any = true;
    }
    return any;
}

void cn_limits_put(const cn_limits_place_t *at, cn_vec_t *dirs)
{
    static const struct {
        cn_limits_level inner, outer;
    } levels[] = {{CN_LIMITS_GATEWAY, CN_LIMITS_CLASS},
                  {CN_LIMITS_PORT, CN_LIMITS_SERVICE},
                  {CN_LIMITS_RULE, CN_LIMITS_ROUTE}};
    unsigned depth = at->route ? 2 : at->x->svc ? 1 : 0;

    for (cn_limits_kind kind = 0; kind < CN_LIMITS_KINDS; kind++) {
        if (kind == CN_LIMITS_FAULT && depth == 0)
            continue; /* a fault stands in services and routes only */
        if (put_level(at, kind, levels[depth].inner, dirs) ||
            put_level(at, kind, levels[depth].outer, dirs))
            continue;
        if (kind == CN_LIMITS_FAULT && depth == 1 && !put_level(at, kind, CN_LIMITS_GATEWAY, dirs))
            (void)put_level(at, kind, CN_LIMITS_CLASS, dirs);
    }
}
