/* SPDX-License-Identifier: Apache-2.0
 *
 * Where cairn's own policies act.  Of each kind (local limits, global limits,
 * faults) the innermost level that has any counts: rule, route, service port,
 * service, waypoint, all waypoints.  Policies of the same level all apply.
 * That is how the conf itself inherits, so each level is written as it is.
 */
#include "kube/limits.h"

/* The key of a target's bounds: labels name the kind too. */
static cn_str_t key_of(const cn_object_t *at)
{
    return at ? at->label : CN_STR("GatewayClass");
}

const cn_vec_t *cn_limits_bounds(const cn_world_t *w, const cn_object_t *at)
{
    static const cn_vec_t none;
    const cn_vec_t *list = cn_map_get(&w->limit_bounds, key_of(at));

    return list ? list : &none;
}

void cn_limits_bind(cn_world_t *w, const cn_limits_bound_t *b)
{
    cn_vec_t *list = cn_map_get(&w->limit_bounds, key_of(b->at));
    const cn_limits_bound_t *v;

    if (!list) {
        list = cn_pool_zalloc(w->pool, sizeof(*list));
        cn_map_put(&w->limit_bounds, key_of(b->at), list);
    }
    v = list->v;
    for (uint32_t i = 0; i < list->n; i++) /* two references to the same target */
        if (v[i].policy == b->policy && cn_limits_same_place(&v[i], b))
            return;
    *(cn_limits_bound_t *)cn_vec_push(w->pool, list, sizeof(*b)) = *b;
}

/* ---- directives ---- */

/* Of those at the target: is it for this place, on this level? */
static bool fits(const cn_limits_place_t *at, const cn_limits_bound_t *b, cn_limits_level level)
{
    if (b->level != level)
        return false;
    if (level == CN_LIMITS_CLASS)
        return cn_str_eq(at->waypoint->class_name, CN_STR("istio-waypoint"));
    return (level != CN_LIMITS_PORT || b->port == at->x->port->port) &&
           (level != CN_LIMITS_RULE || cn_str_eq(b->rule, at->rule));
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
    const cn_object_t *target = level == CN_LIMITS_CLASS     ? NULL
                                : level == CN_LIMITS_GATEWAY ? at->waypoint->obj
                                : level <= CN_LIMITS_PORT    ? at->x->svc->obj
                                                             : at->route;
    const cn_vec_t *list = cn_limits_bounds(at->x->w, target);
    const cn_limits_bound_t *v = list->v;
    bool any = false;

    for (uint32_t i = 0; i < list->n; i++) {
        if (!v[i].policy->has[kind] || !fits(at, &v[i], level))
            continue;
        putters[kind](at, &v[i], dirs);
        any = true;
    }
    return any;
}

/* A fault has no place outside services: the outer levels' are written into each. */
static void put_outer_faults(const cn_limits_place_t *at, cn_vec_t *dirs)
{
    if (!put_level(at, CN_LIMITS_FAULT, CN_LIMITS_GATEWAY, dirs))
        (void)put_level(at, CN_LIMITS_FAULT, CN_LIMITS_CLASS, dirs);
}

void cn_limits_put_workload(const cn_limits_place_t *at, cn_vec_t *dirs)
{
    put_outer_faults(at, dirs);
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
            continue;
        if (put_level(at, kind, levels[depth].inner, dirs) ||
            put_level(at, kind, levels[depth].outer, dirs))
            continue;
        if (kind == CN_LIMITS_FAULT && depth == 1)
            put_outer_faults(at, dirs);
    }
}
