/* SPDX-License-Identifier: Apache-2.0
 *
 * GatewayClass and Gateway.
 */
#include "kube/model.h"

#define HBONE_PORT 15008

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

static bool read_listeners(const cn_reader_t *r, cn_gateway_t *g, bool complain)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, r->obj->spec, "listeners", &items);
    bool found = false;

    for (uint32_t i = 0; i < n; i++) {
        if (is_hbone(items[i].value) && !found) {
            found = true;
            read_from(r, g, items[i].value);
        } else if (complain) {
            cn_store_warn(r->w->diag, r->obj, items[i].value,
                          "spec.listeners[%u]: has no effect: a "
                          "waypoint has a single listener on port %d with protocol \"HBONE\"",
                          i, HBONE_PORT);
        }
    }
    if (!found && complain)
        cn_store_warn(r->w->diag, r->obj, NULL,
                      "has no listener on port %d with protocol \"HBONE\"; "
                      "only its own namespace may use it",
                      HBONE_PORT);
    return found;
}

void cn_model_gateway_gateway(cn_world_t *w, const cn_object_t *o)
{
    const cn_reader_t r = {w, o};
    cn_gateway_t *g = cn_pool_zalloc(w->pool, sizeof(*g));
    const cn_gateway_class_t *class;
    bool by_class;

    g->obj = o;
    g->class_name = cn_read_text(&r, o->spec, "gatewayClassName");
    class = cn_map_get(&w->classes, g->class_name);
    by_class = cn_str_eq(g->class_name, CN_STR("istio-waypoint")) ||
               (class && cn_str_eq(class->controller, CN_STR("istio.io/mesh-controller")));
    g->is_waypoint = read_listeners(&r, g, by_class) || by_class;
    g->waypoint_for = cn_store_label(o, "istio.io/waypoint-for");
    if (!cn_store_has_label(o, "istio.io/waypoint-for") && class)
        g->waypoint_for = cn_store_label(class->obj, "istio.io/waypoint-for");
    if (g->waypoint_for.n == 0)
        g->waypoint_for = CN_STR("service");
    g->network = cn_store_label(o, "topology.istio.io/network");
    *(cn_gateway_t **)cn_vec_push(w->pool, &w->gateways, sizeof(g)) = g;
    cn_map_put(&w->gateway_map, o->id, g);
}
