/* SPDX-License-Identifier: Apache-2.0
 *
 * GatewayClass and Gateway.
 */
#include "kube/model.h"

#define HBONE_PORT 15008
#define PROXY_PORT 15088 /* of Istio's example */
#define BINDING "ambient.istio.io/waypoint-inbound-binding"

void cn_model_gateway_class(cn_world_t *w, const cn_object_t *o)
{
    const cn_reader_t r = {w, o};
    cn_gateway_class_t *c = cn_pool_zalloc(w->pool, sizeof(*c));

    c->obj = o;
    c->controller = cn_read_text(&r, o->spec, "controllerName");
    cn_map_put(&w->classes, o->name, c);
}

static void read_from(const cn_reader_t *r, cn_gateway_t *g, const cn_node_t *listener)
{
    const cn_node_t *ns = cn_node_get(cn_node_get(listener, "allowedRoutes"), "namespaces");
    cn_str_t from = cn_read_text(r, ns, "from");

    if (from.n == 0 || cn_str_eq(from, CN_STR("Same")))
        g->from = CN_FROM_SAME;
    else if (cn_str_eq(from, CN_STR("All")))
        g->from = CN_FROM_ALL;
    else if (cn_str_eq(from, CN_STR("Selector")))
        g->from = cn_read_selector(r, cn_node_get(ns, "selector"), &g->selector) &&
                          cn_node_get(ns, "selector")
                      ? CN_FROM_SELECTOR
                      : CN_FROM_NONE;
    else if (cn_str_eq(from, CN_STR("None")))
        g->from = CN_FROM_NONE;
    else
        cn_store_error(r->w->diag, r->obj, ns,
                       "allowedRoutes.namespaces.from \"%.*s\" is none of Same, "
                       "All, Selector; Same is taken",
                       CN_STR_ARG(from));
}

static bool is_hbone(const cn_node_t *listener)
{
    cn_str_t port = cn_node_str(listener, "port");

    return cn_str_eq(cn_node_str(listener, "protocol"), CN_STR("HBONE")) &&
           cn_str_eq(port, CN_STR("15008"));
}

/* ---- inbound binding: a ztunnel in front ("sandwich", semantics 1.6) ---- */

/* What the annotation says. */
typedef struct {
    const cn_object_t *obj; /* the Gateway or its class */
    bool proxy;
    uint16_t port; /* 0: none is given */
} binding_t;

/* Ports in the waypoint's pod that are cairn's own or ztunnel's. */
static bool is_taken(uint64_t port)
{
    static const uint16_t taken[] = {15000, 15001, 15006, 15008, 15020, 15021, 15090};

    for (size_t i = 0; i < CN_COUNT(taken); i++)
        if (port == taken[i])
            return true;
    return false;
}

static void say_binding(const cn_reader_t *r, cn_str_t value, const char *why)
{
    const cn_node_t *annotations = cn_node_get(r->obj->meta, "annotations");

    cn_store_error(r->w->diag, r->obj, cn_node_get(annotations, BINDING),
                   "annotation " BINDING " \"%.*s\" %s; it has no effect", CN_STR_ARG(value), why);
}

static binding_t read_binding(const cn_reader_t *r, cn_str_t value)
{
    size_t slash = cn_str_find(value, '/');
    cn_str_t protocol = cn_str_make(value.p, slash);
    binding_t b = {.obj = r->obj};
    uint64_t port = 0;

    if (slash < value.n && (cn_str_u64(cn_str_make(value.p + slash + 1, value.n - slash - 1),
                                       UINT16_MAX, &port) != CN_OK ||
                            port == 0))
        say_binding(r, value, "has no port behind the \"/\"");
    else if (is_taken(port))
        say_binding(r, value, "names a port that is cairn's own or ztunnel's");
    else if (cn_str_eq(protocol, CN_STR("NONE")))
        say_binding(r, value,
                    "is not supported: without a PROXY header nothing tells which "
                    "service is called");
    else if (!cn_str_eq(protocol, CN_STR("PROXY")))
        say_binding(r, value, "is neither PROXY nor PROXY/PORT");
    else
        b.proxy = true;
    b.port = (uint16_t)port;
    return b;
}

/* The Gateway's own goes before its class's, whatever it says. */
static binding_t find_binding(const cn_reader_t *r, const cn_gateway_class_t *class)
{
    const cn_reader_t of_class = {r->w, class ? class->obj : NULL};
    cn_str_t value = cn_store_annotation(r->obj, BINDING);

    if (value.n)
        return read_binding(r, value);
    value = class ? cn_store_annotation(class->obj, BINDING) : CN_STR_NULL;
    return value.n ? read_binding(&of_class, value) : (binding_t){0};
}

static bool is_bound(const cn_node_t *listener, const binding_t *b)
{
    uint64_t port;

    if (!b->proxy || cn_str_u64(cn_node_str(listener, "port"), UINT16_MAX, &port) != CN_OK)
        return false;
    return b->port ? port == b->port
                   : cn_str_eq(cn_node_str(listener, "protocol"), CN_STR("istio.io/PROXY")) &&
                         port > 0 && !is_taken(port);
}

/* The annotation's port, else the listener's, else the usual one. */
static uint16_t proxy_port(const cn_reader_t *r, const binding_t *b, const cn_node_t *listener)
{
    uint64_t port;

    if (!b->proxy || b->port)
        return b->port;
    if (listener && cn_str_u64(cn_node_str(listener, "port"), UINT16_MAX, &port) == CN_OK)
        return (uint16_t)port;
    cn_store_warn(r->w->diag, b->obj, NULL,
                  "annotation " BINDING " names no port, and the Gateway has no listener with "
                  "protocol \"istio.io/PROXY\"; %d is taken",
                  PROXY_PORT);
    return PROXY_PORT;
}

/* ---- Gateway ---- */

typedef struct {
    const cn_node_t *hbone, *bound; /* NULL: there is none */
} listeners_t;

static void warn_about_listener(const cn_reader_t *r, const binding_t *b, const cn_node_t *listener,
                                uint32_t i)
{
    cn_store_warn(r->w->diag, r->obj, listener,
                  "spec.listeners[%u]: has no effect: a "
                  "waypoint has a single listener on port %d with protocol \"HBONE\"%s",
                  i, HBONE_PORT, b->proxy ? ", and one that its inbound binding names" : "");
}

static listeners_t find_listeners(const cn_reader_t *r, const binding_t *b, bool complain)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, r->obj->spec, "listeners", &items);
    listeners_t found = {0};

    for (uint32_t i = 0; i < n; i++) {
        if (is_bound(items[i].value, b) && !found.bound)
            found.bound = items[i].value;
        else if (is_hbone(items[i].value) && !found.hbone)
            found.hbone = items[i].value;
        else if (complain)
            warn_about_listener(r, b, items[i].value, i);
    }
    return found;
}

static void read_listeners(const cn_reader_t *r, cn_gateway_t *g, const binding_t *b, bool by_class)
{
    listeners_t l = find_listeners(r, b, by_class);
    const cn_node_t *allows = l.bound ? l.bound : l.hbone;

    g->proxy_port = b->proxy ? proxy_port(r, b, l.bound) : 0;
    g->is_waypoint = by_class || l.hbone || b->proxy;
    if (allows)
        read_from(r, g, allows);
    else if (by_class)
        cn_store_warn(r->w->diag, r->obj, NULL,
                      "has no listener on port %d with protocol \"HBONE\"; "
                      "only its own namespace may use it",
                      HBONE_PORT);
}

void cn_model_gateway_gateway(cn_world_t *w, const cn_object_t *o)
{
    const cn_reader_t r = {w, o};
    cn_gateway_t *g = cn_pool_zalloc(w->pool, sizeof(*g));
    const cn_gateway_class_t *class;
    binding_t binding;
    bool by_class;

    g->obj = o;
    g->class_name = cn_read_text(&r, o->spec, "gatewayClassName");
    class = cn_map_get(&w->classes, g->class_name);
    by_class = cn_str_eq(g->class_name, CN_STR("istio-waypoint")) ||
               (class && cn_str_eq(class->controller, CN_STR("istio.io/mesh-controller")));
    binding = find_binding(&r, class);
    read_listeners(&r, g, &binding, by_class);
    g->waypoint_for = cn_store_label(o, "istio.io/waypoint-for");
    if (!cn_store_has_label(o, "istio.io/waypoint-for") && class)
        g->waypoint_for = cn_store_label(class->obj, "istio.io/waypoint-for");
    if (g->waypoint_for.n == 0)
        g->waypoint_for = CN_STR("service");
    g->network = cn_store_label(o, "topology.istio.io/network");
    *(cn_gateway_t **)cn_vec_push(w->pool, &w->gateways, sizeof(g)) = g;
    cn_map_put(&w->gateway_map, o->id, g);
}
