/* SPDX-License-Identifier: Apache-2.0
 *
 * Turns a store into a world: every object read once, in the order in which
 * later ones need earlier ones (classes before gateways, slices after
 * services).  Owns the world's maps; the objects live in the pool.
 */
#include "kube/model.h"

typedef void read_fn(cn_world_t *, const cn_object_t *);

static const struct {
    cn_kind kind;
    read_fn *read;
    bool deleted_too;
} readers[] = {{CN_KIND_NAMESPACE, cn_model_core_namespace, false},
               {CN_KIND_POD, cn_model_core_pod, true},
               {CN_KIND_SERVICE, cn_model_core_service, false},
               {CN_KIND_ENDPOINT_SLICE, cn_model_core_slice, false},
               {CN_KIND_GATEWAY_CLASS, cn_model_gateway_class, false},
               {CN_KIND_GATEWAY, cn_model_gateway_gateway, false},
               {CN_KIND_HTTP_ROUTE, cn_model_route_read, false},
               {CN_KIND_AUTHORIZATION_POLICY, cn_model_istio_policy, false}};

static cn_map_t *map_of(cn_world_t *w, unsigned i)
{
    cn_map_t *maps[] = {&w->namespaces, &w->classes,    &w->service_map, &w->gateway_map,
                        &w->pod_map,    &w->pods_by_ip, &w->leaving};

    return i < CN_COUNT(maps) ? maps[i] : NULL;
}

cn_str_t cn_model_key(const cn_world_t *w, cn_str_t ns, cn_str_t name)
{
    return cn_pool_printf(w->pool, "%.*s/%.*s", CN_STR_ARG(ns), CN_STR_ARG(name));
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
}

void cn_model_fini(cn_world_t *w)
{
    for (unsigned i = 0; map_of(w, i); i++)
        cn_map_fini(map_of(w, i));
}
