/* SPDX-License-Identifier: Apache-2.0
 *
 * World -> what one waypoint's conf says.  First the services bound to it with
 * their routes, which tell the clusters that are needed beside them; then one
 * unit for each service concerned, in the order of namespace and name.
 */
#include "kube/translate.h"

#include <stdlib.h>

#include "core/hash.h"

#define MAX_CONF_NAME 255

typedef struct {
    const cn_world_t *w;
    const cn_gateway_t *waypoint;
    cn_out_t *out;
    cn_map_t needed;  /* cluster name -> cn_service_port_t */
    cn_map_t claimed; /* "address:port" -> what has it (cn_object_t) */
} translate_t;

/* ---- clusters ---- */

static void need_cluster(void *arg, const cn_service_t *svc, const cn_service_port_t *port)
{
    translate_t *t = arg;

    cn_map_put(&t->needed, cn_routes_cluster_name(t->w, svc, port->port), (void *)(uintptr_t)port);
}

static cn_str_t alias_of(const translate_t *t, const cn_service_t *svc,
                         const cn_service_port_t *port)
{
    if (!cn_attach_bound(&svc->binding, t->waypoint))
        return cn_pool_printf(t->w->pool, "outbound|%u||%.*s", port->port, CN_STR_ARG(svc->host));
    return cn_pool_printf(t->w->pool, "inbound-vip|%u|%s|%.*s", port->port,
                          port->protocol == CN_PROTOCOL_TCP ? "tcp" : "http",
                          CN_STR_ARG(svc->host));
}

static void put_cluster(translate_t *t, const cn_service_t *svc, const cn_service_port_t *port,
                        cn_out_unit_t *unit)
{
    const cn_world_t *w = t->w;
    cn_out_cluster_t *c = cn_vec_push(w->pool, &unit->clusters, sizeof(*c));

    c->name = cn_routes_cluster_name(w, svc, port->port);
    c->comment = cn_pool_printf(w->pool, "%.*s port %u", CN_STR_ARG(svc->obj->label), port->port);
    c->svc = svc;
    c->port = port->port;
    c->alias = alias_of(t, svc, port);
    c->protocol = port->protocol;
    c->file = cn_pool_printf(w->pool, "%.*s.%.*s.%u", CN_STR_ARG(svc->obj->name),
                             CN_STR_ARG(svc->obj->ns), port->port);
    cn_endpoints_build(w, svc, port, &c->endpoints);
}

/* ---- services ---- */

/* False: another service of this conf has the address, which the proxy refuses. */
static bool claim(translate_t *t, const cn_object_t *o, const cn_addr_t *addr)
{
    char text[CN_INET_TEXT];
    size_t n = cn_inet_put(text, addr, true);
    cn_str_t key = cn_pool_dup(t->w->pool, cn_str_make(text, n));
    const cn_object_t *other = cn_map_get(&t->claimed, key);

    if (!other) {
        cn_map_put(&t->claimed, key, (void *)(uintptr_t)o);
        return true;
    }
    cn_store_warn(t->w->diag, o, NULL,
                  "address %.*s belongs to %.*s already, so it is not served for this one",
                  CN_STR_ARG(key), CN_STR_ARG(other->label));
    return false;
}

static void put_policies(translate_t *t, const cn_vec_t *list, cn_out_service_t *s)
{
    const cn_policy_t *const *v = list->v;

    for (uint32_t i = 0; i < list->n; i++) {
        const cn_policy_t *const *have = s->policies.v;
        bool twice = false;

        for (uint32_t k = 0; k < s->policies.n; k++)
            twice |= have[k] == v[i];
        if (!twice)
            *(const cn_policy_t **)cn_vec_push(t->w->pool, &s->policies, sizeof(*v)) = v[i];
        if (v[i]->custom)
            cn_store_warn(t->w->diag, v[i]->obj, NULL,
                          "action CUSTOM: not supported yet: as in Istio without the "
                          "provider, what its rules match is denied");
    }
}

static void put_service(translate_t *t, const cn_service_t *svc, const cn_service_port_t *port,
                        cn_out_unit_t *unit)
{
    const cn_world_t *w = t->w;
    cn_out_service_t *s = cn_vec_push(w->pool, &unit->services, sizeof(*s));
    const cn_addr_t *vips = svc->vips.v;

    s->name = s->cluster = cn_routes_cluster_name(w, svc, port->port);
    s->comment = cn_pool_printf(w->pool, "%.*s port %u: %.*s", CN_STR_ARG(svc->obj->label),
                                port->port, CN_STR_ARG(svc->binding.why));
    s->svc = svc;
    s->port = port->port;
    s->protocol = port->protocol;
    for (uint32_t i = 0; i < svc->vips.n; i++) {
        cn_addr_t addr = vips[i];

        addr.port = port->port;
        if (claim(t, svc->obj, &addr))
            *(cn_addr_t *)cn_vec_push(w->pool, &s->addresses, sizeof(addr)) = addr;
    }
    put_policies(t, &w->class_policies, s);
    put_policies(t, &t->waypoint->policies, s);
    put_policies(t, &svc->policies, s);
    if (port->protocol != CN_PROTOCOL_TCP)
        cn_routes_build(w, svc, port->port, need_cluster, t, &s->routes);
}

/* ---- units ---- */

static cn_out_unit_t *unit_of(translate_t *t, const cn_service_t *svc)
{
    cn_out_unit_t *u = cn_vec_push(t->w->pool, &t->out->units, sizeof(*u));

    u->name = cn_pool_printf(t->w->pool, "%.*s.%.*s", CN_STR_ARG(svc->obj->name),
                             CN_STR_ARG(svc->obj->ns));
    return u;
}

static void say_unsupported(const translate_t *t, const cn_service_t *svc)
{
    const cn_node_t *spec = svc->obj->spec;
    cn_str_t policy = cn_node_str(spec, "internalTrafficPolicy");

    if (cn_str_eq(policy, CN_STR("Local")))
        cn_store_warn(t->w->diag, svc->obj, cn_node_get(spec, "internalTrafficPolicy"),
                      "spec.internalTrafficPolicy: Local: not supported yet and has no effect: "
                      "endpoints of all nodes are used");
    if (cn_node_get(spec, "trafficDistribution"))
        cn_store_warn(t->w->diag, svc->obj, cn_node_get(spec, "trafficDistribution"),
                      "spec.trafficDistribution: not supported yet and has no effect: near "
                      "endpoints are not preferred");
}

static void put_bound(translate_t *t, cn_service_t *svc)
{
    const cn_service_port_t *p = svc->ports.v;
    cn_out_unit_t *u;

    if (svc->vips.n == 0)
        cn_store_warn(t->w->diag, svc->obj, NULL,
                      "has no clusterIP in the input: tunnels can ask for it by name only");
    if (svc->ports.n == 0) {
        cn_store_warn(t->w->diag, svc->obj, NULL, "has no effect: it has no TCP port");
        return;
    }
    say_unsupported(t, svc);
    u = unit_of(t, svc);
    for (uint32_t i = 0; i < svc->ports.n; i++) {
        put_cluster(t, svc, &p[i], u);
        put_service(t, svc, &p[i], u);
    }
}

static void put_backend_only(translate_t *t, const cn_service_t *svc)
{
    const cn_service_port_t *p = svc->ports.v;
    cn_out_unit_t *u = NULL;

    for (uint32_t i = 0; i < svc->ports.n; i++) {
        if (!cn_map_get(&t->needed, cn_routes_cluster_name(t->w, svc, p[i].port)))
            continue;
        if (!u)
            u = unit_of(t, svc);
        put_cluster(t, svc, &p[i], u);
    }
}

static int by_name(const void *va, const void *vb)
{
    return cn_str_cmp(((const cn_out_unit_t *)va)->name, ((const cn_out_unit_t *)vb)->name);
}

static void put_services(translate_t *t)
{
    cn_service_t **v = t->w->services.v;

    for (uint32_t i = 0; i < t->w->services.n; i++)
        if (cn_attach_bound(&v[i]->binding, t->waypoint))
            put_bound(t, v[i]);
    for (uint32_t i = 0; i < t->w->services.n; i++)
        if (!cn_attach_bound(&v[i]->binding, t->waypoint))
            put_backend_only(t, v[i]);
    if (t->out->units.n)
        qsort(t->out->units.v, t->out->units.n, sizeof(cn_out_unit_t), by_name);
}

/* ---- pods with a workload waypoint ---- */

/* A pod's name and namespace can be longer together than a block's name may be. */
static cn_str_t pod_block_name(const cn_world_t *w, const cn_object_t *o)
{
    cn_str_t name = cn_pool_printf(w->pool, "%.*s.%.*s", CN_STR_ARG(o->name), CN_STR_ARG(o->ns));

    if (name.n <= MAX_CONF_NAME)
        return name;
    return cn_pool_printf(w->pool, "%.*s-%016llx", MAX_CONF_NAME - 17, name.p,
                          (unsigned long long)cn_hash_xxh(name, 0));
}

static void put_pod(translate_t *t, const cn_pod_t *p, cn_out_unit_t *unit)
{
    const cn_world_t *w = t->w;
    const cn_addr_t *ips = p->ips.v;
    cn_out_cluster_t *c;
    cn_out_service_t *s;
    cn_vec_t addresses = {0};

    for (uint32_t i = 0; i < p->ips.n; i++)
        if (claim(t, p->obj, &ips[i]))
            *(cn_addr_t *)cn_vec_push(w->pool, &addresses, sizeof(*ips)) = ips[i];
    if (addresses.n == 0)
        return;
    c = cn_vec_push(w->pool, &unit->clusters, sizeof(*c));
    c->name = pod_block_name(w, p->obj);
    c->comment = p->obj->label;
    c->alias = CN_STR("encap");
    *(cn_endpoint_out_t *)cn_vec_push(w->pool, &c->endpoints, sizeof(cn_endpoint_out_t)) =
        (cn_endpoint_out_t){ips[0], true, p};
    s = cn_vec_push(w->pool, &unit->services, sizeof(*s));
    s->name = s->cluster = c->name;
    s->comment = cn_pool_printf(w->pool, "%.*s: %.*s", CN_STR_ARG(p->obj->label),
                                CN_STR_ARG(p->binding.why));
    s->addresses = addresses;
    put_policies(t, &w->class_policies, s);
    put_policies(t, &t->waypoint->policies, s);
}

static void put_pods(translate_t *t)
{
    cn_pod_t **v = t->w->pods.v;
    cn_out_unit_t *u = NULL;

    for (uint32_t i = 0; i < t->w->pods.n; i++) {
        if (v[i]->ips.n && !v[i]->host_network)
            *(const cn_pod_t **)cn_vec_push(t->w->pool, &t->out->pods, sizeof(*v)) = v[i];
        if (!cn_attach_bound(&v[i]->binding, t->waypoint))
            continue;
        if (!u) {
            u = cn_vec_push(t->w->pool, &t->out->units, sizeof(*u));
            u->name = CN_STR("workloads"); /* no dot: never a service's file */
        }
        put_pod(t, v[i], u);
    }
}

/* ---- */

static void say_unknown_namespaces(translate_t *t)
{
    cn_service_t **v = t->w->services.v;

    for (uint32_t i = 0; t->out->units.n == 0 && i < t->w->services.n; i++)
        if (!cn_map_get(&t->w->namespaces, v[i]->obj->ns))
            cn_diag_warn(t->w->diag, (cn_place_t){NULL, 0},
                         "Namespace %.*s is not in the input, so its label "
                         "istio.io/use-waypoint cannot be seen",
                         CN_STR_ARG(v[i]->obj->ns));
    if (t->out->units.n == 0)
        cn_store_warn(t->w->diag, t->waypoint->obj, NULL, "no Service or Pod uses this waypoint");
}

static cn_str_t network_of(const cn_world_t *w, const cn_gateway_t *g)
{
    const cn_namespace_t *root = cn_map_get(&w->namespaces, w->mesh.root_namespace);

    cn_str_t label = root ? cn_store_label(root->obj, "topology.istio.io/network") : CN_STR_NULL;

    if (cn_store_is_label_value(g->network))
        return g->network;
    return w->mesh.network.n || !cn_store_is_label_value(label) ? w->mesh.network : label;
}

void cn_translate_run(const cn_world_t *w, const cn_gateway_t *g, cn_out_t *out)
{
    translate_t t = {.w = w, .waypoint = g, .out = out};

    *out = (cn_out_t){.world = w, .waypoint = g, .network = network_of(w, g)};
    cn_map_init(&t.needed);
    cn_map_init(&t.claimed);
    put_services(&t);
    put_pods(&t);
    say_unknown_namespaces(&t);
    cn_map_fini(&t.needed);
    cn_map_fini(&t.claimed);
}
