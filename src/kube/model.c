/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns a store into a world: every object read once, in the order in which
 * later ones need earlier ones (classes before gateways, slices after
 * services).  Owns the world's maps; the objects live in the pool.
 */
#include "kube/limits.h"

typedef void read_fn(cn_world_t *, const cn_object_t *);

static const struct {
    cn_kind kind;
    read_fn *read;
    bool deleted_too;
} readers[] = {{CN_KIND_NAMESPACE, cn_model_core_namespace, false},
               {CN_KIND_NODE, cn_model_core_machine, false},
               {CN_KIND_SECRET, cn_model_core_secret, false},
               {CN_KIND_CONFIG_MAP, cn_model_core_config_map, false},
               {CN_KIND_POD, cn_model_core_pod, true},
               {CN_KIND_SERVICE, cn_model_core_service, false},
               {CN_KIND_ENDPOINT_SLICE, cn_model_core_slice, false},
               {CN_KIND_GATEWAY_CLASS, cn_model_gateway_class, false},
               {CN_KIND_GATEWAY, cn_model_gateway_gateway, false},
               {CN_KIND_SERVICE_ENTRY, cn_model_serviceentry_read, false},
               {CN_KIND_WORKLOAD_ENTRY, cn_model_serviceentry_workload, false},
               {CN_KIND_HTTP_ROUTE, cn_model_route_read, false},
               {CN_KIND_GRPC_ROUTE, cn_model_route_read, false},
               {CN_KIND_TCP_ROUTE, cn_model_route_read, false},
               {CN_KIND_TLS_ROUTE, cn_model_route_read, false},
               {CN_KIND_VIRTUAL_SERVICE, cn_model_virtualservice_index, false},
               {CN_KIND_VIRTUAL_SERVICE, cn_model_virtualservice_read, false},
               {CN_KIND_DESTINATION_RULE, cn_model_destinationrule_read, false},
               {CN_KIND_BACKEND_TLS_POLICY, cn_model_backendpolicy_tls, false},
               {CN_KIND_BACKEND_TRAFFIC_POLICY, cn_model_backendpolicy_traffic, false},
               {CN_KIND_AUTHORIZATION_POLICY, cn_model_istio_policy, false},
               {CN_KIND_RATE_LIMIT_POLICY, cn_model_cairn_limits, false},
               {CN_KIND_FAULT_POLICY, cn_model_cairn_faults, false},
               {CN_KIND_ENVOY_FILTER, cn_envoyfilter_read, false}};

static cn_map_t *map_of(cn_world_t *w, unsigned i)
{
    cn_map_t *maps[] = {&w->namespaces,      &w->classes,     &w->service_map, &w->gateway_map,
                        &w->pod_map,         &w->pods_by_ip,  &w->leaving,     &w->machines,
                        &w->virtual_map,     &w->secrets,     &w->config_maps, &w->hosts,
                        &w->destination_map, &w->limit_bounds};

    return i < CN_COUNT(maps) ? maps[i] : NULL;
}

cn_str_t cn_model_key(const cn_world_t *w, cn_str_t ns, cn_str_t name)
{
    return cn_pool_printf(w->pool, "%.*s/%.*s", CN_STR_ARG(ns), CN_STR_ARG(name));
}

void cn_model_add_service(cn_world_t *w, cn_service_t *s)
{
    cn_vec_t *list = cn_map_get(&w->hosts, s->host);

    if (!list) {
        list = cn_pool_zalloc(w->pool, sizeof(*list));
        cn_map_put(&w->hosts, s->host, list);
    }
    *(cn_service_t **)cn_vec_push(w->pool, list, sizeof(s)) = s;
    *(cn_service_t **)cn_vec_push(w->pool, &w->services, sizeof(s)) = s;
}

/* Whether a goes before b: Kubernetes' own, then the older (semantics 7). */
static bool goes_before(const cn_service_t *a, const cn_service_t *b, cn_str_t ns)
{
    bool a_here = cn_str_eq(a->obj->ns, ns), b_here = cn_str_eq(b->obj->ns, ns);

    if (a_here != b_here)
        return a_here;
    if (a->is_entry != b->is_entry)
        return !a->is_entry;
    return cn_model_older(a->obj, b->obj) < 0;
}

cn_service_t *cn_model_find_host(const cn_world_t *w, cn_str_t host, cn_str_t ns)
{
    const cn_vec_t *list = cn_map_get(&w->hosts, host);
    cn_service_t *const *v = list ? list->v : NULL, *found = NULL;

    for (uint32_t i = 0; list && i < list->n; i++)
        if (cn_model_exported(&v[i]->exports, v[i]->obj, ns) &&
            (!found || goes_before(v[i], found, ns)))
            found = v[i];
    return found;
}

bool cn_model_exported(const cn_vec_t *exports, const cn_object_t *o, cn_str_t ns)
{
    const cn_str_t *v = exports->v;

    for (uint32_t i = 0; i < exports->n; i++)
        if (cn_str_eq(v[i], CN_STR("*")) || cn_str_eq(v[i], ns) ||
            (cn_str_eq(v[i], CN_STR(".")) && cn_str_eq(ns, o->ns)))
            return true;
    return exports->n == 0;
}

int cn_model_older(const cn_object_t *a, const cn_object_t *b)
{
    int c = 0;

    if ((a->created.n == 0) != (b->created.n == 0))
        return a->created.n == 0 ? 1 : -1;
    c = cn_str_cmp(a->created, b->created);
    if (c == 0)
        c = cn_str_cmp(a->ns, b->ns);
    return c ? c : cn_str_cmp(a->name, b->name);
}

void cn_model_init(cn_world_t *w, const cn_store_t *s, const cn_mesh_t *mesh)
{
    *w = (cn_world_t){.pool = s->pool, .diag = s->diag, .mesh = *mesh};
    for (unsigned i = 0; map_of(w, i); i++)
        cn_map_init(map_of(w, i));
    for (size_t r = 0; r < CN_COUNT(readers); r++) {
        cn_object_t *const *v = s->objects[readers[r].kind].v;

        for (uint32_t i = 0; i < s->objects[readers[r].kind].n; i++)
            if (!v[i]->deleted || readers[r].deleted_too)
                readers[r].read(w, v[i]);
    }
    cn_envoyfilter_finish(w);
}

void cn_model_fini(cn_world_t *w)
{
    for (unsigned i = 0; map_of(w, i); i++)
        cn_map_fini(map_of(w, i));
}
