/* SPDX-License-Identifier: Apache-2.0
 *
 * Enrolment (which waypoint a service or pod uses; semantics 2.2) and
 * attachment (which service or waypoint a route or policy acts on; 3.1, 5.1).
 * Writes its results into the world: bindings, lists on services and gateways,
 * and an audit row for every reference.
 */
#include "kube/model.h"

#define USE "istio.io/use-waypoint"
#define USE_NAMESPACE "istio.io/use-waypoint-namespace"
#define GATEWAY_NAME "gateway.networking.k8s.io/gateway-name"
#define GATEWAY_GROUP "gateway.networking.k8s.io"
#define METADATA_NAME "kubernetes.io/metadata.name"

#define text(w, ...) cn_pool_printf((w)->pool, __VA_ARGS__)

/* ---- enrolment ---- */

static const cn_object_t *namespace_of(const cn_world_t *w, cn_str_t ns)
{
    const cn_namespace_t *n = cn_map_get(&w->namespaces, ns);

    return n ? n->obj : NULL;
}

static bool allows(const cn_world_t *w, const cn_gateway_t *g, cn_str_t ns)
{
    const cn_object_t *o = namespace_of(w, ns);

    switch (g->from) {
    case CN_FROM_SAME:
        return cn_str_eq(g->obj->ns, ns);
    case CN_FROM_ALL:
        return true;
    case CN_FROM_SELECTOR: /* the API server puts this label on every namespace */
        return cn_read_selects(&g->selector, o ? o->meta : NULL, METADATA_NAME, ns);
    default:
        return false;
    }
}

static bool serves(const cn_gateway_t *g, const char *traffic)
{
    return cn_str_eq(g->waypoint_for, CN_STR("all")) ||
           cn_str_eq(g->waypoint_for, cn_str_c(traffic));
}

static cn_binding_t resolve(cn_world_t *w, const cn_object_t *labelled, cn_str_t ns,
                            const char *traffic)
{
    cn_str_t name = cn_store_label(labelled, USE), gw_ns = cn_store_label(labelled, USE_NAMESPACE);
    const cn_gateway_t *g;

    if (cn_str_eq(name, CN_STR("none")))
        return (cn_binding_t){
            .state = CN_BIND_OPT_OUT,
            .why = text(w, "label " USE ": none on %.*s", CN_STR_ARG(labelled->label))};
    if (gw_ns.n == 0)
        gw_ns = ns;
    g = cn_map_get(&w->gateway_map, cn_model_key(w, gw_ns, name));
    if (!g)
        return (cn_binding_t){
            .state = CN_BIND_MISSING,
            .why = text(w, "label " USE " of %.*s names Gateway %.*s/%.*s, which does not exist",
                        CN_STR_ARG(labelled->label), CN_STR_ARG(gw_ns), CN_STR_ARG(name))};
    if (!allows(w, g, ns))
        return (cn_binding_t){
            .state = CN_BIND_DENIED,
            .gateway = g,
            .why = text(w,
                        "Gateway %.*s does not allow namespace %.*s (allowedRoutes of its "
                        "listener)",
                        CN_STR_ARG(g->obj->id), CN_STR_ARG(ns))};
    if (!serves(g, traffic))
        return (cn_binding_t){
            .state = CN_BIND_TYPE,
            .gateway = g,
            .why = text(w, "Gateway %.*s is a waypoint for \"%.*s\", not for a %s",
                        CN_STR_ARG(g->obj->id), CN_STR_ARG(g->waypoint_for), traffic)};
    return (cn_binding_t){.state = CN_BIND_OK,
                          .gateway = g,
                          .why = text(w, "label on %.*s", CN_STR_ARG(labelled->label))};
}

static cn_binding_t enrol(cn_world_t *w, const cn_object_t *o, const char *traffic)
{
    const cn_object_t *ns = namespace_of(w, o->ns);
    cn_binding_t b;

    if (cn_store_has_label(o, USE))
        return resolve(w, o, o->ns, traffic);
    if (!ns)
        return (cn_binding_t){
            .why = text(w, "no label " USE ", and Namespace %.*s is not in the input",
                        CN_STR_ARG(o->ns))};
    if (!cn_store_has_label(ns, USE))
        return (cn_binding_t){
            .why = text(w, "no label " USE " on it or Namespace %.*s", CN_STR_ARG(o->ns))};
    b = resolve(w, ns, o->ns, traffic);
    b.inherited = true;
    return b;
}

/* A gateway's own pods carry its name as a label, its Service selects them by it. */
static bool is_gateways_own(const cn_world_t *w, cn_str_t ns, cn_str_t name)
{
    const cn_gateway_t *g = name.n ? cn_map_get(&w->gateway_map, cn_model_key(w, ns, name)) : NULL;

    return g && g->is_waypoint;
}

static bool selects_waypoint(const cn_world_t *w, const cn_service_t *s)
{
    const cn_sel_term_t *t = s->selector.terms.v;

    for (uint32_t i = 0; i < s->selector.terms.n; i++)
        if (cn_str_eq(t[i].key, CN_STR(GATEWAY_NAME)))
            return is_gateways_own(w, s->obj->ns, ((const cn_str_t *)t[i].values.v)[0]);
    return false;
}

static const char *service_exemption(const cn_world_t *w, const cn_service_t *s)
{
    cn_str_t managed = cn_store_label(s->obj, "gateway.istio.io/managed");

    if (s->external_name)
        return "an ExternalName Service has no traffic of its own";
    if (s->headless)
        return "a headless Service has no virtual IP; only a workload waypoint sees its pods' "
               "traffic";
    if (cn_str_eq(managed, CN_STR("istio.io-mesh-controller")) ||
        cn_str_eq(managed, CN_STR("istio.io-eastwest-controller")) || selects_waypoint(w, s))
        return "it is the Service of a waypoint";
    return NULL;
}

static const char *pod_exemption(const cn_world_t *w, const cn_pod_t *p)
{
    if (is_gateways_own(w, p->obj->ns, cn_store_label(p->obj, GATEWAY_NAME)))
        return "it is a pod of a waypoint";
    if (p->host_network)
        return "a pod in the host's network cannot be told from its node";
    return p->ips.n ? NULL : "it has no address";
}

static void exempt(cn_world_t *w, cn_binding_t *b, const char *why)
{
    if (!why || b->state == CN_BIND_NONE || b->state == CN_BIND_OPT_OUT)
        return;
    *b = (cn_binding_t){
        .state = CN_BIND_EXEMPT, .inherited = b->inherited, .why = text(w, "%s", why)};
}

static void add_row(cn_world_t *w, cn_audit_row_t row)
{
    *(cn_audit_row_t *)cn_vec_push(w->pool, &w->audit, sizeof(row)) = row;
}

static void audit_binding(cn_world_t *w, const cn_object_t *o, const cn_binding_t *b)
{
    cn_audit_row_t row = {.obj = o, .effect = b->state == CN_BIND_OK, .text = b->why};

    row.expected = b->state == CN_BIND_NONE || b->state == CN_BIND_OPT_OUT ||
                   (b->state == CN_BIND_EXEMPT && b->inherited);
    if (b->state == CN_BIND_OK)
        row.waypoint = b->gateway->obj->id;
    add_row(w, row);
    if (row.effect || row.expected)
        return;
    if (b->inherited) /* said once for the namespace, not for each object in it */
        cn_store_warn(w->diag, namespace_of(w, o->ns), NULL, "its %s have no waypoint: %.*s",
                      o->kind == CN_KIND_POD ? "pods" : "services", CN_STR_ARG(b->why));
    else
        cn_store_warn(w->diag, o, NULL, "has no waypoint: %.*s", CN_STR_ARG(b->why));
}

static void say_canary(cn_world_t *w, const cn_object_t *o)
{
    if (o && cn_store_has_label(o, "istio.io/use-waypoint-canary"))
        cn_store_warn(w->diag, o, NULL,
                      "label istio.io/use-waypoint-canary: not supported yet and has no effect");
}

static void bind_services(cn_world_t *w)
{
    cn_service_t **v = w->services.v;

    for (uint32_t i = 0; i < w->services.n; i++) {
        v[i]->binding = enrol(w, v[i]->obj, "service");
        exempt(w, &v[i]->binding, service_exemption(w, v[i]));
        audit_binding(w, v[i]->obj, &v[i]->binding);
        say_canary(w, v[i]->obj);
        say_canary(w, namespace_of(w, v[i]->obj->ns));
    }
}

/* A namespace enrolled with a service waypoint is the normal case: that its
 * pods have none is no news. */
static void bind_pods(cn_world_t *w)
{
    cn_pod_t **v = w->pods.v;

    for (uint32_t i = 0; i < w->pods.n; i++) {
        cn_binding_t *b = &v[i]->binding;

        *b = enrol(w, v[i]->obj, "workload");
        if (b->inherited && b->state != CN_BIND_OK)
            continue;
        exempt(w, b, pod_exemption(w, v[i]));
        if (b->state != CN_BIND_NONE)
            audit_binding(w, v[i]->obj, b);
    }
}

/* ---- routes ---- */

static const cn_service_port_t *port_of(const cn_service_t *s, uint16_t port)
{
    const cn_service_port_t *p = s->ports.v;

    for (uint32_t i = 0; i < s->ports.n; i++)
        if (p[i].port == port)
            return &p[i];
    return NULL;
}

static bool has_http(const cn_service_t *s, uint16_t port)
{
    const cn_service_port_t *p = s->ports.v;

    for (uint32_t i = 0; i < s->ports.n; i++)
        if ((port == 0 || p[i].port == port) && p[i].protocol != CN_PROTOCOL_TCP)
            return true;
    return false;
}

static bool is_core(cn_str_t group)
{
    return group.n == 0 || cn_str_eq(group, CN_STR("core"));
}

static cn_str_t parent_name(const cn_world_t *w, const cn_parent_ref_t *p)
{
    if (p->port)
        return text(w, "%.*s %.*s/%.*s:%u", CN_STR_ARG(p->kind), CN_STR_ARG(p->ns),
                    CN_STR_ARG(p->name), p->port);
    return text(w, "%.*s %.*s/%.*s", CN_STR_ARG(p->kind), CN_STR_ARG(p->ns), CN_STR_ARG(p->name));
}

/* Why a parent that is not a Service has no effect here. */
static void refuse_parent(cn_world_t *w, const cn_parent_ref_t *p, cn_audit_row_t *row)
{
    const cn_gateway_t *g = cn_map_get(&w->gateway_map, cn_model_key(w, p->ns, p->name));

    if (cn_str_eq(p->kind, CN_STR("Service"))) {
        row->text = text(w, "a Service has the group \"\", not \"%.*s\": write group: \"\"",
                         CN_STR_ARG(p->group));
    } else if (cn_str_eq(p->kind, CN_STR("Gateway"))) {
        row->expected = !g || !g->is_waypoint;
        row->text =
            row->expected
                ? CN_STR("not for a waypoint: routes reach one through a Service")
                : CN_STR("a waypoint takes no routes as a parent: name the Service instead");
    } else {
        row->text = text(w, "kind %.*s of group \"%.*s\" is not supported as a parent",
                         CN_STR_ARG(p->kind), CN_STR_ARG(p->group));
    }
}

static void attach_parent(cn_world_t *w, const cn_http_route_t *r, const cn_parent_ref_t *p)
{
    cn_audit_row_t row = {.obj = r->obj, .at = p->node, .target = parent_name(w, p)};
    cn_service_t *s = cn_map_get(&w->service_map, cn_model_key(w, p->ns, p->name));
    const cn_gateway_t *g = s && s->binding.state == CN_BIND_OK ? s->binding.gateway : NULL;
    cn_bound_route_t *bound;

    if (!cn_str_eq(p->kind, CN_STR("Service")) || !is_core(p->group)) {
        refuse_parent(w, p, &row);
    } else if (!s) {
        row.text = CN_STR("no such Service in the input");
    } else if (p->port && !port_of(s, p->port)) {
        row.text = text(w, "the Service has no TCP port %u", p->port);
    } else if (!g) {
        row.text = text(w, "the Service uses no waypoint: %.*s", CN_STR_ARG(s->binding.why));
    } else if (!cn_str_eq(r->obj->ns, s->obj->ns) && !cn_str_eq(r->obj->ns, g->obj->ns)) {
        row.text = text(
            w,
            "a waypoint takes routes from the Service's namespace (%.*s) and its own (%.*s) only",
            CN_STR_ARG(s->obj->ns), CN_STR_ARG(g->obj->ns));
    } else if (!has_http(s, p->port)) {
        row.text = CN_STR("the port does not carry HTTP, as its name or appProtocol says");
    } else {
        row.effect = true;
        row.waypoint = g->obj->id;
        row.text = text(w, "%u rule%s", r->rules.n, r->rules.n == 1 ? "" : "s");
        bound = cn_vec_push(w->pool, &s->routes, sizeof(*bound));
        *bound = (cn_bound_route_t){r, p->port};
        if (p->section)
            cn_store_warn(w->diag, r->obj, p->node,
                          "sectionName: has no effect: a Service is chosen by port");
    }
    add_row(w, row);
}

static void attach_routes(cn_world_t *w)
{
    const cn_http_route_t **v = w->routes.v;

    for (uint32_t i = 0; i < w->routes.n; i++) {
        const cn_parent_ref_t *p = v[i]->parents.v;

        for (uint32_t k = 0; k < v[i]->parents.n; k++)
            attach_parent(w, v[i], &p[k]);
        if (v[i]->parents.n == 0)
            add_row(w, (cn_audit_row_t){.obj = v[i]->obj, .text = CN_STR("has no parentRefs")});
        if (v[i]->hostnames && v[i]->parents.n && cn_str_eq(p[0].kind, CN_STR("Service")))
            cn_store_warn(w->diag, v[i]->obj, cn_node_get(v[i]->obj->spec, "hostnames"),
                          "spec.hostnames: has no "
                          "effect: the parent Service says which requests are meant");
    }
}

/* ---- policies ---- */

static void push_policy(cn_world_t *w, cn_vec_t *list, const cn_policy_t *p)
{
    const cn_policy_t **v = list->v;

    if (list->n && v[list->n - 1] == p) /* two references to the same target */
        return;
    *(const cn_policy_t **)cn_vec_push(w->pool, list, sizeof(p)) = p;
}

static void attach_to_service(cn_world_t *w, const cn_policy_t *p, const cn_target_ref_t *t,
                              cn_audit_row_t *row)
{
    cn_service_t *s = cn_map_get(&w->service_map, cn_model_key(w, p->obj->ns, t->name));

    if (!s) {
        row->text = CN_STR("no such Service in the input");
    } else if (s->binding.state != CN_BIND_OK) {
        row->text = text(w, "the Service uses no waypoint: %.*s", CN_STR_ARG(s->binding.why));
    } else {
        row->effect = true;
        row->waypoint = s->binding.gateway->obj->id;
        push_policy(w, &s->policies, p);
    }
}

static void attach_to_gateway(cn_world_t *w, const cn_policy_t *p, const cn_target_ref_t *t,
                              cn_audit_row_t *row)
{
    cn_gateway_t *g = cn_map_get(&w->gateway_map, cn_model_key(w, p->obj->ns, t->name));

    if (!g) {
        row->text = CN_STR("no such Gateway in the input");
    } else if (!g->is_waypoint) {
        row->text = CN_STR("the Gateway is not a waypoint");
        row->expected = true;
    } else {
        row->effect = true;
        row->waypoint = g->obj->id;
        push_policy(w, &g->policies, p);
    }
}

static void attach_to_class(cn_world_t *w, const cn_policy_t *p, const cn_target_ref_t *t,
                            cn_audit_row_t *row)
{
    row->target = text(w, "GatewayClass %.*s", CN_STR_ARG(t->name));
    if (!cn_str_eq(t->name, CN_STR("istio-waypoint"))) {
        row->text = CN_STR("only the GatewayClass istio-waypoint can be a target");
    } else if (!cn_str_eq(p->obj->ns, w->mesh.root_namespace)) {
        row->text = text(w, "a GatewayClass can be a target only in the root namespace, %.*s",
                         CN_STR_ARG(w->mesh.root_namespace));
    } else {
        row->effect = true;
        row->waypoint = CN_STR("(all)");
        push_policy(w, &w->class_policies, p);
    }
}

static void attach_target(cn_world_t *w, const cn_policy_t *p, const cn_target_ref_t *t)
{
    bool gateway_group = cn_str_eq(t->group, CN_STR(GATEWAY_GROUP));
    cn_str_t ns = t->ns.n ? t->ns : p->obj->ns;
    cn_audit_row_t row = {.obj = p->obj, .at = t->node};

    row.target =
        text(w, "%.*s %.*s/%.*s", CN_STR_ARG(t->kind), CN_STR_ARG(ns), CN_STR_ARG(t->name));
    if (!cn_str_eq(ns, p->obj->ns))
        row.text = CN_STR("a target must be in the policy's namespace");
    else if (cn_str_eq(t->kind, CN_STR("Service")) && is_core(t->group))
        attach_to_service(w, p, t, &row);
    else if (cn_str_eq(t->kind, CN_STR("Gateway")) && gateway_group)
        attach_to_gateway(w, p, t, &row);
    else if (cn_str_eq(t->kind, CN_STR("GatewayClass")) && gateway_group)
        attach_to_class(w, p, t, &row);
    else
        row.text = text(w, "kind \"%.*s\" of group \"%.*s\" is not supported as a target",
                        CN_STR_ARG(t->kind), CN_STR_ARG(t->group));
    if (row.effect)
        row.text = p->custom    ? CN_STR("CUSTOM, not supported: what matches is denied")
                   : p->dry_run ? CN_STR("dry run: decides nothing, is only recorded")
                                : CN_STR("");
    add_row(w, row);
}

/* Whether a selector picks pods of a waypoint, which somebody will have meant. */
static bool selects_waypoint_pods(const cn_world_t *w, const cn_policy_t *p)
{
    const cn_sel_term_t *t = p->selector.terms.v;
    cn_pod_t *const *pods = w->pods.v;

    for (uint32_t i = 0; i < p->selector.terms.n; i++)
        if (cn_str_eq(t[i].key, CN_STR(GATEWAY_NAME)) &&
            is_gateways_own(w, p->obj->ns, ((const cn_str_t *)t[i].values.v)[0]))
            return true;
    for (uint32_t i = 0; p->has_selector && i < w->pods.n; i++)
        if (cn_str_eq(pods[i]->obj->ns, p->obj->ns) &&
            cn_read_selects(&p->selector, pods[i]->obj->meta, NULL, CN_STR_NULL) &&
            is_gateways_own(w, p->obj->ns, cn_store_label(pods[i]->obj, GATEWAY_NAME)))
            return true;
    return false;
}

static void attach_policies(cn_world_t *w)
{
    const cn_policy_t **v = w->policies.v;

    for (uint32_t i = 0; i < w->policies.n; i++) {
        const cn_target_ref_t *t = v[i]->targets.v;

        for (uint32_t k = 0; k < v[i]->targets.n; k++)
            attach_target(w, v[i], &t[k]);
        if (v[i]->targets.n)
            continue;
        add_row(w, (cn_audit_row_t){
                       .obj = v[i]->obj,
                       .expected = !selects_waypoint_pods(w, v[i]),
                       .text = CN_STR("without targetRefs it is for ztunnel; a waypoint does not "
                                      "enforce it")});
    }
}

static void warn_about_rows(cn_world_t *w)
{
    const cn_audit_row_t *row = w->audit.v;

    for (uint32_t i = 0; i < w->audit.n; i++) {
        if (row[i].effect || row[i].expected || row[i].obj->kind == CN_KIND_SERVICE ||
            row[i].obj->kind == CN_KIND_POD)
            continue;
        cn_store_warn(w->diag, row[i].obj, row[i].at, "%.*s%shas no effect: %.*s",
                      CN_STR_ARG(row[i].target), row[i].target.n ? ": " : "",
                      CN_STR_ARG(row[i].text));
    }
}

void cn_attach_all(cn_world_t *w)
{
    bind_services(w);
    bind_pods(w);
    attach_routes(w);
    attach_policies(w);
    warn_about_rows(w);
}
