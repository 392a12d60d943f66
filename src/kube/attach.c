/* SPDX-License-Identifier: Apache-2.0
 *
 * Enrolment: which waypoint a service or workload uses (semantics 2.2).  Writes
 * the bindings into the world, and an audit row for each.
 */
#include "kube/attach_int.h"
#include "kube/limits.h"

#define USE "istio.io/use-waypoint"
#define USE_NAMESPACE "istio.io/use-waypoint-namespace"
#define GATEWAY_NAME "gateway.networking.k8s.io/gateway-name"
#define METADATA_NAME "kubernetes.io/metadata.name"

#define text(...) cn_attach_text(__VA_ARGS__)

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
bool cn_attach_is_gateways_own(const cn_world_t *w, cn_str_t ns, cn_str_t name)
{
    const cn_gateway_t *g = name.n ? cn_map_get(&w->gateway_map, cn_model_key(w, ns, name)) : NULL;

    return g && g->is_waypoint;
}

static bool selects_waypoint(const cn_world_t *w, const cn_service_t *s)
{
    const cn_sel_term_t *t = s->selector.terms.v;

    for (uint32_t i = 0; i < s->selector.terms.n; i++)
        if (cn_str_eq(t[i].key, CN_STR(GATEWAY_NAME)))
            return cn_attach_is_gateways_own(w, s->obj->ns, ((const cn_str_t *)t[i].values.v)[0]);
    return false;
}

static const char *entry_exemption(const cn_world_t *w, const cn_service_t *s)
{
    if (cn_model_find_host(w, s->host, s->obj->ns) != s)
        return "another object in its namespace has the same host";
    if (s->vips.n == 0 && s->resolution != CN_RESOLVE_DYNAMIC)
        return "it has no address: neither spec.addresses nor what istiod allocates in "
               "status.addresses";
    return NULL;
}

static const char *service_exemption(const cn_world_t *w, const cn_service_t *s)
{
    cn_str_t managed = cn_store_label(s->obj, "gateway.istio.io/managed");

    if (s->is_entry)
        return entry_exemption(w, s);
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
    if (cn_attach_is_gateways_own(w, p->obj->ns, cn_store_label(p->obj, GATEWAY_NAME)))
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

void cn_attach_row(cn_world_t *w, cn_audit_row_t row)
{
    *(cn_audit_row_t *)cn_vec_push(w->pool, &w->audit, sizeof(row)) = row;
}

/* target: the host that is meant of several; empty: the object as a whole. */
static void audit_binding(cn_world_t *w, const cn_object_t *o, cn_str_t target,
                          const cn_binding_t *b)
{
    cn_audit_row_t row = {
        .obj = o, .target = target, .effect = b->state == CN_BIND_OK, .text = b->why, .said = true};

    row.expected = b->state == CN_BIND_NONE || b->state == CN_BIND_OPT_OUT ||
                   (b->state == CN_BIND_EXEMPT && b->inherited);
    if (b->state == CN_BIND_OK)
        row.waypoint = b->gateway->obj->id;
    cn_attach_row(w, row);
    if (row.effect || row.expected)
        return;
    if (b->inherited) /* said once for the namespace, not for each object in it */
        cn_store_warn(w->diag, namespace_of(w, o->ns), NULL, "its %s have no waypoint: %.*s",
                      o->kind == CN_KIND_POD || o->kind == CN_KIND_WORKLOAD_ENTRY ? "workloads"
                                                                                  : "services",
                      CN_STR_ARG(b->why));
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
        audit_binding(w, v[i]->obj,
                      v[i]->is_entry ? text(w, "host %.*s", CN_STR_ARG(v[i]->host)) : CN_STR_NULL,
                      &v[i]->binding);
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
            audit_binding(w, v[i]->obj, CN_STR_NULL, b);
    }
}

static void bind_entries(cn_world_t *w)
{
    cn_entry_t **v = w->entries.v;

    for (uint32_t i = 0; i < w->entries.n; i++) {
        cn_binding_t *b = &v[i]->binding;

        *b = enrol(w, v[i]->obj, "workload");
        if (b->inherited && b->state != CN_BIND_OK)
            continue;
        exempt(w, b, v[i]->is_ip ? NULL : "it has a name instead of an address");
        if (b->state != CN_BIND_NONE)
            audit_binding(w, v[i]->obj, CN_STR_NULL, b);
    }
}

static void warn_about_rows(cn_world_t *w)
{
    const cn_audit_row_t *row = w->audit.v;

    for (uint32_t i = 0; i < w->audit.n; i++) {
        if (row[i].effect || row[i].expected || row[i].said)
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
    bind_entries(w);
    cn_attach_routes(w);
    cn_attach_backends(w);
    cn_attach_policies(w);
    cn_limits_attach(w);
    warn_about_rows(w);
}
