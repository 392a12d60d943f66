/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes: the services that they act on, by parentRef or by host (semantics
 * 3.1, 3.9).  A route of a namespace that is neither the service's nor the
 * waypoint's is one of a consumer: it acts on that namespace's clients only.
 */
#include "kube/attach_int.h"

#define text(...) cn_attach_text(__VA_ARGS__)

static const cn_service_port_t *port_of(const cn_service_t *s, uint16_t port)
{
    const cn_service_port_t *p = s->ports.v;

    for (uint32_t i = 0; i < s->ports.n; i++)
        if (p[i].port == port)
            return &p[i];
    return NULL;
}

static bool is_l4(const cn_http_route_t *r)
{
    return r->obj->kind == CN_KIND_TCP_ROUTE || r->obj->kind == CN_KIND_TLS_ROUTE;
}

/* Whether the port may carry what the route is for; an undeclared one may carry anything. */
static bool carries(const cn_service_t *s, uint16_t port, bool l4)
{
    const cn_service_port_t *p = s->ports.v;

    for (uint32_t i = 0; i < s->ports.n; i++)
        if ((port == 0 || p[i].port == port) &&
            (p[i].protocol == CN_PROTOCOL_AUTO || cn_model_is_http(p[i].protocol) != l4))
            return true;
    return false;
}

static cn_str_t parent_name(const cn_world_t *w, const cn_parent_ref_t *p)
{
    if (p->port)
        return text(w, "%.*s %.*s/%.*s:%u", CN_STR_ARG(p->kind), CN_STR_ARG(p->ns),
                    CN_STR_ARG(p->name), p->port);
    return text(w, "%.*s %.*s/%.*s", CN_STR_ARG(p->kind), CN_STR_ARG(p->ns), CN_STR_ARG(p->name));
}

/* The first reason why a backend of the route cannot be sent to; NULL: there is none. */
static const char *unresolved(const cn_world_t *w, const cn_http_route_t *r, const cn_vec_t *list)
{
    const cn_backend_t *b = list->v;

    for (uint32_t i = 0; i < list->n; i++) {
        const cn_service_t *s =
            b[i].host.n ? cn_model_find_host(w, b[i].host, r->obj->ns)
                        : cn_map_get(&w->service_map, cn_model_key(w, b[i].ns, b[i].name));

        if (b[i].invalid.n)
            return b[i].reason;
        if (!s || (b[i].port && !port_of(s, b[i].port)))
            return "BackendNotFound";
    }
    return NULL;
}

static const char *unresolved_of(const cn_world_t *w, const cn_http_route_t *r)
{
    const cn_http_rule_t *rule = r->rules.v;
    const cn_l4_rule_t *l4 = r->l4_rules.v;
    const char *why = NULL;

    for (uint32_t i = 0; !why && i < r->rules.n; i++)
        why = unresolved(w, r, &rule[i].backends);
    for (uint32_t i = 0; !why && i < r->l4_rules.n; i++)
        why = unresolved(w, r, &l4[i].backends);
    return why;
}

/* "2 rules", and what of the route is not in effect, in the words of its status
 * (conditions PartiallyInvalid and ResolvedRefs). */
static cn_str_t describe(const cn_world_t *w, const cn_http_route_t *r, cn_str_t clients)
{
    uint32_t n = r->rules.n + r->l4_rules.n;
    const char *refs = unresolved_of(w, r);
    cn_str_t s = text(w, "%u rule%s", n, n == 1 ? "" : "s");

    if (clients.n)
        s = text(w, "%.*s, for clients in namespace %.*s only", CN_STR_ARG(s), CN_STR_ARG(clients));
    if (r->reason)
        s = text(w, "%.*s; PartiallyInvalid: %s", CN_STR_ARG(s), r->reason);
    if (refs)
        s = text(w, "%.*s; ResolvedRefs False: %s", CN_STR_ARG(s), refs);
    return s;
}

static void bind_route(cn_world_t *w, cn_service_t *s, const cn_http_route_t *r, uint16_t port,
                       cn_str_t clients, cn_audit_row_t *row)
{
    row->effect = true;
    row->waypoint = s->binding.gateway->obj->id;
    row->text = describe(w, r, clients);
    *(cn_bound_route_t *)cn_vec_push(w->pool, &s->routes, sizeof(cn_bound_route_t)) =
        (cn_bound_route_t){r, port, clients};
}

/* ---- the Gateway API's ---- */

/* Why a parent that is no service has no effect here. */
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

/* Why the route cannot act on the service; empty: it can. */
static cn_str_t refusal(const cn_world_t *w, const cn_service_t *s, const cn_http_route_t *r,
                        uint16_t port)
{
    if (port && !port_of(s, port))
        return text(w, "the %s has no TCP port %u", cn_store_kind_name(s->obj->kind), port);
    if (s->binding.state != CN_BIND_OK)
        return text(w, "the %s uses no waypoint: %.*s", cn_store_kind_name(s->obj->kind),
                    CN_STR_ARG(s->binding.why));
    if (r->no_effect.n)
        return r->no_effect;
    if (!carries(s, port, is_l4(r)))
        return is_l4(r)
                   ? CN_STR("the port carries HTTP, as its name or appProtocol says: use HTTPRoute")
                   : CN_STR("the port does not carry HTTP, as its name or appProtocol says");
    return CN_STR_NULL;
}

static bool is_foreign(const cn_service_t *s, const cn_object_t *o)
{
    return !cn_str_eq(o->ns, s->obj->ns) && !cn_str_eq(o->ns, s->binding.gateway->obj->ns);
}

static void attach_to(cn_world_t *w, cn_service_t *s, const cn_http_route_t *r,
                      const cn_parent_ref_t *p, cn_audit_row_t *row)
{
    cn_str_t clients = CN_STR_NULL;

    row->text = refusal(w, s, r, p->port);
    if (row->text.n)
        return;
    if (is_foreign(s, r->obj)) {
        clients = r->obj->ns;
        if (is_l4(r)) {
            row->text = text(w,
                             "a connection's route must be in the Service's namespace (%.*s) or "
                             "the waypoint's (%.*s)",
                             CN_STR_ARG(s->obj->ns), CN_STR_ARG(s->binding.gateway->obj->ns));
            return;
        }
    }
    bind_route(w, s, r, p->port, clients, row);
    if (p->section)
        cn_store_warn(w->diag, r->obj, p->node,
                      "sectionName: has no effect: a Service is chosen by port");
}

/* A ServiceEntry has one service for each of its hosts. */
static void attach_to_entry(cn_world_t *w, const cn_http_route_t *r, const cn_parent_ref_t *p)
{
    cn_service_t *const *v = w->services.v;
    cn_audit_row_t none = {.obj = r->obj, .at = p->node, .target = parent_name(w, p)};
    bool any = false;

    for (uint32_t i = 0; i < w->services.n; i++) {
        cn_audit_row_t row = none;

        if (!v[i]->is_entry || !cn_str_eq(v[i]->obj->ns, p->ns) ||
            !cn_str_eq(v[i]->obj->name, p->name))
            continue;
        any = true;
        row.target = text(w, "%.*s host %.*s", CN_STR_ARG(row.target), CN_STR_ARG(v[i]->host));
        attach_to(w, v[i], r, p, &row);
        cn_attach_row(w, row);
    }
    none.text = CN_STR("no such ServiceEntry in the input");
    if (!any)
        cn_attach_row(w, none);
}

static void attach_parent(cn_world_t *w, const cn_http_route_t *r, const cn_parent_ref_t *p)
{
    cn_audit_row_t row = {.obj = r->obj, .at = p->node, .target = parent_name(w, p)};
    cn_service_t *s = cn_map_get(&w->service_map, cn_model_key(w, p->ns, p->name));

    if (cn_str_eq(p->kind, CN_STR("ServiceEntry")) &&
        cn_str_eq(p->group, CN_STR("networking.istio.io"))) {
        attach_to_entry(w, r, p);
        return;
    }
    if (!cn_str_eq(p->kind, CN_STR("Service")) || !cn_attach_is_core(p->group))
        refuse_parent(w, p, &row);
    else if (!s)
        row.text = CN_STR("no such Service in the input");
    else
        attach_to(w, s, r, p, &row);
    cn_attach_row(w, row);
}

static void attach_parents(cn_world_t *w, const cn_http_route_t *r)
{
    const cn_parent_ref_t *p = r->parents.v;

    for (uint32_t k = 0; k < r->parents.n; k++)
        attach_parent(w, r, &p[k]);
    if (r->parents.n == 0)
        cn_attach_row(w, (cn_audit_row_t){.obj = r->obj, .text = CN_STR("has no parentRefs")});
    if (r->hostnames && r->parents.n && !cn_str_eq(p[0].kind, CN_STR("Gateway")))
        cn_store_warn(w->diag, r->obj, cn_node_get(r->obj->spec, "hostnames"),
                      "spec.hostnames: has no "
                      "effect: the parent Service says which requests are meant");
}

/* ---- VirtualService ---- */

static void attach_virtual(cn_world_t *w, cn_service_t *s, const cn_http_route_t *r, cn_str_t host)
{
    cn_audit_row_t row = {.obj = r->obj, .target = text(w, "host %.*s", CN_STR_ARG(s->host))};
    const cn_gateway_t *g = s->binding.gateway;
    bool wildcard = host.p[0] == '*';

    if (s->binding.state != CN_BIND_OK) {
        row.text = text(w, "it uses no waypoint: %.*s", CN_STR_ARG(s->binding.why));
        row.expected = wildcard || s->binding.state == CN_BIND_NONE;
        if (wildcard)
            return;
    } else if (is_foreign(s, r->obj)) {
        row.text = text(w,
                        "a waypoint takes VirtualServices from the Service's namespace (%.*s) and "
                        "its own (%.*s) only",
                        CN_STR_ARG(s->obj->ns), CN_STR_ARG(g->obj->ns));
        row.expected = wildcard;
    } else if (!cn_model_exported(&r->exports, r->obj, g->obj->ns)) {
        row.text =
            text(w, "it is not exported to the waypoint's namespace, %.*s", CN_STR_ARG(g->obj->ns));
    } else {
        bind_route(w, s, r, 0, CN_STR_NULL, &row);
    }
    cn_attach_row(w, row);
}

/* A host of several that name the same service counts once. */
static bool is_bound(const cn_service_t *s, const cn_http_route_t *r)
{
    const cn_bound_route_t *v = s->routes.v;

    return s->routes.n && v[s->routes.n - 1].route == r;
}

static void attach_host(cn_world_t *w, const cn_http_route_t *r, cn_str_t host)
{
    const cn_vec_t *list = cn_map_get(&w->hosts, host);
    const cn_vec_t *from = host.p[0] == '*' ? &w->services : list;
    cn_str_t suffix = cn_str_make(host.p + 1, host.n - 1);
    cn_service_t *const *v = from ? from->v : NULL;
    uint32_t before = w->audit.n;
    bool again = false;

    for (uint32_t i = 0; from && i < from->n; i++) {
        if (host.p[0] == '*' && !cn_str_ends(v[i]->host, suffix))
            continue;
        if (is_bound(v[i], r))
            again = true;
        else
            attach_virtual(w, v[i], r, host);
    }
    if (w->audit.n == before && !again)
        cn_attach_row(w, (cn_audit_row_t){.obj = r->obj,
                                          .target = text(w, "host %.*s", CN_STR_ARG(host)),
                                          .text = CN_STR("no service that uses a waypoint has "
                                                         "this host")});
}

static bool is_delegated(const cn_world_t *w, const cn_object_t *o)
{
    const cn_str_t *v = w->delegated.v;

    for (uint32_t i = 0; i < w->delegated.n; i++)
        if (cn_str_eq(v[i], o->id))
            return true;
    return false;
}

static void attach_hosts(cn_world_t *w, const cn_http_route_t *r)
{
    const cn_str_t *hosts = r->hosts.v;
    cn_audit_row_t row = {.obj = r->obj, .text = r->no_effect};

    for (uint32_t i = 0; r->no_effect.n == 0 && i < r->hosts.n; i++)
        attach_host(w, r, hosts[i]);
    if (r->hosts.n)
        return;
    row.effect = is_delegated(w, r->obj);
    row.expected = r->no_effect.n > 0; /* another proxy's */
    if (row.effect)
        row.text = CN_STR("where a rule delegates to it");
    else if (row.text.n == 0)
        row.text = CN_STR("it has no hosts, and no rule delegates to it");
    cn_attach_row(w, row);
}

void cn_attach_routes(cn_world_t *w)
{
    const cn_http_route_t **v = w->routes.v;

    for (uint32_t i = 0; i < w->routes.n; i++)
        if (v[i]->is_virtual)
            attach_hosts(w, v[i]);
        else
            attach_parents(w, v[i]);
}
