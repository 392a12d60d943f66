/* SPDX-License-Identifier: Apache-2.0
 *
 * World -> what one waypoint's conf says.  First the services bound to it with
 * their routes, which tell the clusters that are needed beside them; then one
 * unit for each service concerned, in the order of namespace and name.
 */
#include "kube/limits.h"

#include <stdlib.h>

#include "core/hash.h"
#include "kube/action.h"
#include "kube/proxyconfig.h"

#define MAX_CONF_NAME 255

typedef struct {
    const cn_world_t *w;
    const cn_gateway_t *waypoint;
    cn_out_t *out;
    cn_map_t needed;  /* cluster name -> cn_need_t */
    cn_map_t choices; /* block of a service -> cn_traffic_choice_t */
    cn_map_t subsets; /* block of a service -> cn_vec_t of cn_need_t *: those that are needed */
    cn_map_t claimed; /* "address:port" -> what has it (cn_object_t) */
    cn_vec_t labels;  /* cn_str_t: keys that clusters ask for */
} translate_t;

typedef struct {
    const cn_service_port_t *port;
    const cn_subset_t *subset; /* NULL: all endpoints */
} need_t;

/* ---- clusters ---- */

static const cn_traffic_choice_t *choice_of(translate_t *t, const cn_service_t *svc)
{
    cn_traffic_choice_t *c = cn_map_get(&t->choices, svc->block);

    if (!c) {
        c = cn_pool_alloc(t->w->pool, sizeof(*c));
        cn_traffic_choose(t->w, t->waypoint, svc, c);
        cn_map_put(&t->choices, svc->block, c);
    }
    return c;
}

static bool need_cluster(void *arg, const cn_service_t *svc, const cn_service_port_t *port,
                         cn_str_t subset)
{
    translate_t *t = arg;
    cn_str_t name = cn_routes_cluster_name(t->w, svc, port->port, subset);
    cn_vec_t *list = cn_map_get(&t->subsets, svc->block);
    need_t *n;

    if (cn_map_get(&t->needed, name))
        return true;
    n = cn_pool_alloc(t->w->pool, sizeof(*n));
    *n = (need_t){port, subset.n ? cn_traffic_subset(choice_of(t, svc), subset) : NULL};
    if (subset.n && !n->subset)
        return false;
    cn_map_put(&t->needed, name, n);
    if (!list) {
        list = cn_pool_zalloc(t->w->pool, sizeof(*list));
        cn_map_put(&t->subsets, svc->block, list);
    }
    if (n->subset)
        *(need_t **)cn_vec_push(t->w->pool, list, sizeof(n)) = n;
    return true;
}

/* Istio's name of the cluster, for its metrics and logs. */
static cn_str_t alias_of(const translate_t *t, const cn_service_t *svc,
                         const cn_service_port_t *port, cn_str_t subset)
{
    if (!cn_attach_bound(&svc->binding, t->waypoint))
        return cn_pool_printf(t->w->pool, "outbound|%u|%.*s|%.*s", port->port, CN_STR_ARG(subset),
                              CN_STR_ARG(svc->host));
    return cn_pool_printf(t->w->pool, "inbound-vip|%u|%s%s%.*s|%.*s", port->port,
                          cn_model_is_http(port->protocol) ? "http" : "tcp", subset.n ? "/" : "",
                          CN_STR_ARG(subset), CN_STR_ARG(svc->host));
}

static void put_dns(const cn_world_t *w, const cn_service_port_t *port, const cn_entry_t *e,
                    cn_vec_t *dirs)
{
    const cn_named_port_t *p = e->ports.v;
    uint16_t number = port->target ? port->target : port->port;
    cn_dir_t *d = cn_dir_add(w->pool, dirs, "dns");
    char text[CN_INET_TEXT];
    cn_addr_t addr = e->addr;

    for (uint32_t i = 0; i < e->ports.n; i++)
        if (cn_str_eq(p[i].name, port->name))
            number = p[i].port;
    addr.port = number;
    if (e->is_ip)
        cn_dir_word(w->pool, d,
                    cn_pool_dup(w->pool, cn_str_make(text, cn_inet_put(text, &addr, true))));
    else
        cn_dir_printf(w->pool, d, "%.*s:%u", CN_STR_ARG(e->host), number);
    cn_dir_printf(w->pool, d, "weight=%u", e->weight);
    if (e->locality.n)
        cn_dir_printf(w->pool, d, "locality=%.*s", CN_STR_ARG(e->locality));
}

/* Of a host that is resolved by name; without endpoints it is itself the name. */
static void put_names(const cn_traffic_t *x, bool one)
{
    cn_entry_t *const *v = x->svc->entries.v;
    cn_entry_t self = {.host = x->svc->host, .weight = 1};

    for (uint32_t i = 0; i < x->svc->entries.n; i++)
        if (!x->subset || cn_read_selects(&x->subset->labels, v[i]->node, NULL, CN_STR_NULL))
            put_dns(x->w, x->port, v[i], x->dirs);
    if (x->svc->entries.n == 0)
        put_dns(x->w, x->port, &self, x->dirs);
    if (one)
        cn_dir_flag(x->w->pool, x->dirs, "dns_mode", "logical");
}

/* Where it sends; false: to endpoints that are known. */
static bool put_target(const cn_traffic_t *x)
{
    cn_dir_t *d;

    if (x->original || x->svc->resolution == CN_RESOLVE_NONE) {
        (void)cn_dir_add(x->w->pool, x->dirs, "original_destination");
        return true;
    }
    switch (x->svc->resolution) {
    case CN_RESOLVE_DNS:
    case CN_RESOLVE_DNS_ONE:
        put_names(x, x->svc->resolution == CN_RESOLVE_DNS_ONE);
        return true;
    case CN_RESOLVE_DYNAMIC:
        d = cn_dir_add(x->w->pool, x->dirs, "dns_dynamic");
        cn_dir_word(x->w->pool, d, x->svc->host);
        cn_dir_printf(x->w->pool, d, "%u", x->port->target ? x->port->target : x->port->port);
        return true;
    default:
        return false;
    }
}

static void put_cluster(translate_t *t, const cn_service_t *svc, const need_t *need,
                        cn_out_unit_t *unit)
{
    const cn_world_t *w = t->w;
    cn_out_cluster_t *c = cn_vec_push(w->pool, &unit->clusters, sizeof(*c));
    cn_str_t subset = need->subset ? need->subset->name : CN_STR_NULL;
    cn_traffic_t x = {.w = w,
                      .waypoint = t->waypoint,
                      .svc = svc,
                      .port = need->port,
                      .choice = choice_of(t, svc),
                      .subset = need->subset,
                      .files = &t->out->files,
                      .dirs = &c->dirs,
                      .protocol = need->port->protocol};

    c->name = cn_routes_cluster_name(w, svc, need->port->port, subset);
    c->comment = cn_pool_printf(w->pool, "%.*s port %u%s%.*s", CN_STR_ARG(svc->obj->label),
                                need->port->port, subset.n ? " subset " : "", CN_STR_ARG(subset));
    c->svc = svc;
    c->port = need->port->port;
    c->alias = alias_of(t, svc, need->port, subset);
    cn_traffic_build(&x);
    c->resolved = !x.blocked && put_target(&x);
    c->protocol = x.protocol;
    c->with_nodes = x.uses_node;
    c->labels = x.labels;
    for (uint32_t i = 0; i < x.labels.n; i++)
        *(cn_str_t *)cn_vec_push(w->pool, &t->labels, sizeof(cn_str_t)) =
            ((const cn_str_t *)x.labels.v)[i];
    if (!c->resolved)
        c->file = cn_pool_printf(w->pool, "%.*s.%u%s%.*s", CN_STR_ARG(svc->block), need->port->port,
                                 subset.n ? "." : "", CN_STR_ARG(subset));
    if (!c->resolved && !x.blocked)
        cn_endpoints_build(w, svc, need->port, need->subset ? &need->subset->labels : NULL,
                           &c->endpoints);
}

static int by_subset(const void *va, const void *vb)
{
    const need_t *a = *(need_t *const *)va, *b = *(need_t *const *)vb;

    if (a->port->port != b->port->port)
        return a->port->port < b->port->port ? -1 : 1;
    return cn_str_cmp(a->subset->name, b->subset->name);
}

static void put_subsets(translate_t *t, const cn_service_t *svc, cn_out_unit_t *unit)
{
    cn_vec_t *list = cn_map_get(&t->subsets, svc->block);
    need_t **v = list ? list->v : NULL;

    if (list && list->n)
        qsort(v, list->n, sizeof(need_t *), by_subset);
    for (uint32_t i = 0; list && i < list->n; i++)
        put_cluster(t, svc, v[i], unit);
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
    if (other == o)
        cn_store_warn(t->w->diag, o, NULL,
                      "has several hosts and one set of addresses: connections to an address are "
                      "for the first host");
    else
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
    const cn_routes_t routes = {w, svc, port, need_cluster, t};

    s->name = s->cluster = cn_routes_cluster_name(w, svc, port->port, CN_STR_NULL);
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
    if (svc->backend && cn_model_is_http(port->protocol))
        cn_dir_append(w->pool, &s->dirs, &svc->backend->service);
    if (cn_model_is_http(port->protocol)) {
        cn_limits_put(&(cn_limits_place_t){.x = &routes, .waypoint = t->waypoint}, &s->dirs);
        cn_routes_build(&routes, &s->routes);
    }
    if (!cn_model_is_http(port->protocol) || port->protocol == CN_PROTOCOL_AUTO)
        cn_l4routes_build(&routes, s);
}

/* ---- units ---- */

static cn_out_unit_t *unit_of(translate_t *t, const cn_service_t *svc)
{
    cn_out_unit_t *u = cn_vec_push(t->w->pool, &t->out->units, sizeof(*u));

    u->name = svc->block;
    return u;
}

/* Its services, which tell the clusters that all units need; the clusters follow. */
static void put_bound(translate_t *t, cn_service_t *svc, cn_out_unit_t *u)
{
    const cn_service_port_t *p = svc->ports.v;

    if (svc->vips.n == 0 && svc->resolution != CN_RESOLVE_DYNAMIC)
        cn_store_warn(t->w->diag, svc->obj, NULL,
                      "has no %s in the input: tunnels can ask for it by name only",
                      svc->is_entry ? "address" : "clusterIP");
    if (svc->ports.n == 0)
        cn_store_warn(t->w->diag, svc->obj, NULL, "has no effect: it has no TCP port");
    for (uint32_t i = 0; i < svc->ports.n; i++)
        put_service(t, svc, &p[i], u);
}

static void put_clusters(translate_t *t, const cn_service_t *svc, cn_out_unit_t *u)
{
    const cn_service_port_t *p = svc->ports.v;
    bool bound = cn_attach_bound(&svc->binding, t->waypoint);

    for (uint32_t i = 0; i < svc->ports.n; i++) {
        const need_t need = {&p[i], NULL};

        if (bound ||
            cn_map_get(&t->needed, cn_routes_cluster_name(t->w, svc, p[i].port, CN_STR_NULL)))
            put_cluster(t, svc, &need, u);
    }
    put_subsets(t, svc, u);
}

static int by_name(const void *va, const void *vb)
{
    return cn_str_cmp(((const cn_out_unit_t *)va)->name, ((const cn_out_unit_t *)vb)->name);
}

static void put_services(translate_t *t)
{
    cn_service_t **v = t->w->services.v;
    cn_out_unit_t **units = cn_pool_zalloc(t->w->pool, (t->w->services.n + 1) * sizeof(*units));
    cn_out_unit_t *all;

    /* one unit for each service at first; they must not move while others are added */
    t->out->units.v = cn_pool_zalloc(t->w->pool, (t->w->services.n + 2) * sizeof(cn_out_unit_t));
    t->out->units.cap = t->w->services.n + 2;
    for (uint32_t i = 0; i < t->w->services.n; i++)
        if (cn_attach_bound(&v[i]->binding, t->waypoint)) {
            units[i] = v[i]->ports.n ? unit_of(t, v[i]) : NULL;
            put_bound(t, v[i], units[i]);
        }
    for (uint32_t i = 0; i < t->w->services.n; i++) {
        bool needed = units[i] || cn_map_get(&t->subsets, v[i]->block);

        if (needed && !units[i])
            units[i] = unit_of(t, v[i]);
        if (needed)
            put_clusters(t, v[i], units[i]);
    }
    all = t->out->units.v;
    if (t->out->units.n)
        qsort(all, t->out->units.n, sizeof(cn_out_unit_t), by_name);
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

/* A workload at its own addresses; its cluster's only endpoint is ep. */
static void put_workload(translate_t *t, const cn_object_t *o, const cn_addr_t *ips, uint32_t n,
                         const cn_endpoint_out_t *ep, cn_out_unit_t *unit)
{
    const cn_world_t *w = t->w;
    cn_out_cluster_t *c;
    cn_out_service_t *s;
    cn_vec_t addresses = {0};

    for (uint32_t i = 0; i < n; i++)
        if (claim(t, o, &ips[i]))
            *(cn_addr_t *)cn_vec_push(w->pool, &addresses, sizeof(*ips)) = ips[i];
    if (addresses.n == 0)
        return;
    c = cn_vec_push(w->pool, &unit->clusters, sizeof(*c));
    c->name = pod_block_name(w, o);
    c->comment = o->label;
    c->alias = CN_STR("encap");
    cn_dir_flag(w->pool, &c->dirs, "lb", "least_request");
    cn_dir_word(w->pool, cn_dir_add(w->pool, &c->dirs, "connect_timeout"), w->mesh.connect_timeout);
    *(cn_endpoint_out_t *)cn_vec_push(w->pool, &c->endpoints, sizeof(*ep)) = *ep;
    s = cn_vec_push(w->pool, &unit->services, sizeof(*s));
    s->name = s->cluster = c->name;
    s->addresses = addresses;
    put_policies(t, &w->class_policies, s);
    put_policies(t, &t->waypoint->policies, s);
    cn_limits_put_workload(
        &(cn_limits_place_t){.x = &(cn_routes_t){.w = w, .need = need_cluster, .arg = t},
                             .waypoint = t->waypoint},
        &s->dirs);
}

/* The last service of the unit says why it is there. */
static void put_why(translate_t *t, cn_out_unit_t *unit, const cn_object_t *o,
                    const cn_binding_t *binding)
{
    cn_out_service_t *s = unit->services.v;

    if (unit->services.n && s[unit->services.n - 1].comment.n == 0)
        s[unit->services.n - 1].comment = cn_pool_printf(
            t->w->pool, "%.*s: %.*s", CN_STR_ARG(o->label), CN_STR_ARG(binding->why));
}

static void put_pods(translate_t *t, cn_out_unit_t *unit)
{
    cn_pod_t **v = t->w->pods.v;

    for (uint32_t i = 0; i < t->w->pods.n; i++) {
        cn_endpoint_out_t ep;

        if (v[i]->ips.n && !v[i]->host_network)
            *(const cn_pod_t **)cn_vec_push(t->w->pool, &t->out->pods, sizeof(*v)) = v[i];
        if (!cn_attach_bound(&v[i]->binding, t->waypoint))
            continue;
        ep = cn_endpoints_pod(t->w, v[i]);
        ep.healthy = true;
        put_workload(t, v[i]->obj, v[i]->ips.v, v[i]->ips.n, &ep, unit);
        put_why(t, unit, v[i]->obj, &v[i]->binding);
    }
}

static void put_entries(translate_t *t, cn_out_unit_t *unit)
{
    cn_entry_t **v = t->w->entries.v;

    for (uint32_t i = 0; i < t->w->entries.n; i++) {
        cn_endpoint_out_t ep;

        if (!cn_attach_bound(&v[i]->binding, t->waypoint))
            continue;
        ep = cn_endpoints_entry(t->w, v[i]);
        put_workload(t, v[i]->obj, &v[i]->addr, 1, &ep, unit);
        put_why(t, unit, v[i]->obj, &v[i]->binding);
    }
}

static void put_workloads(translate_t *t)
{
    cn_out_unit_t unit = {.name = CN_STR("workloads")}; /* no dot: never a service's file */

    put_pods(t, &unit);
    put_entries(t, &unit);
    if (unit.services.n)
        *(cn_out_unit_t *)cn_vec_push(t->w->pool, &t->out->units, sizeof(unit)) = unit;
}

/* ---- where the waypoint is ---- */

static bool has_word(const cn_vec_t *words, cn_str_t word)
{
    const cn_str_t *v = words->v;

    for (uint32_t i = 0; i < words->n; i++)
        if (cn_str_eq(v[i], word))
            return true;
    return false;
}

cn_str_t cn_translate_labels(cn_pool_t *pool, const cn_node_t *owner, const cn_vec_t *keys)
{
    const cn_node_t *labels = keys->n ? cn_node_get(owner, "labels") : NULL;
    cn_str_t out = CN_STR_NULL;

    for (uint32_t i = 0; labels && labels->kind == CN_NODE_MAP && i < labels->n; i++) {
        const cn_node_item_t *it = &labels->items[i];

        if (it->value->kind < CN_NODE_LIST && cn_store_is_label_value(it->value->text) &&
            has_word(keys, it->key) && out.n < CN_VALUE_MAX / 2)
            out = cn_pool_printf(pool, "%.*s%s%.*s=%.*s", CN_STR_ARG(out), out.n ? "," : "",
                                 CN_STR_ARG(it->key), CN_STR_ARG(it->value->text));
    }
    return out;
}

#define GATEWAY_NAME "gateway.networking.k8s.io/gateway-name"

/* All its pods may run the same conf: only what they have in common is said. */
static void find_place(cn_out_t *out, const cn_vec_t *labels)
{
    cn_pod_t *const *v = out->world->pods.v;
    bool any = false;

    for (uint32_t i = 0; i < out->world->pods.n; i++) {
        cn_str_t locality;

        if (!cn_str_eq(v[i]->obj->ns, out->waypoint->obj->ns) ||
            !cn_str_eq(cn_store_label(v[i]->obj, GATEWAY_NAME), out->waypoint->obj->name) ||
            !cn_store_is_dns_subdomain(v[i]->node))
            continue;
        locality = cn_endpoints_locality(out->world, v[i]->node);
        if (!any) {
            out->labels = cn_translate_labels(out->world->pool, v[i]->obj->meta, labels);
            out->node = v[i]->node;
            out->locality = locality;
        }
        any = true;
        if (!cn_str_eq(out->node, v[i]->node))
            out->node = CN_STR_NULL;
        if (!cn_str_eq(out->locality, locality))
            out->locality = CN_STR_NULL;
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

static void put_waypoint_limits(translate_t *t)
{
    const cn_routes_t x = {.w = t->w, .need = need_cluster, .arg = t};

    cn_limits_put(&(cn_limits_place_t){.x = &x, .waypoint = t->waypoint}, &t->out->defaults);
}

/* MeshConfig's default for requests without retries of their own. */
static void put_defaults(const cn_world_t *w, cn_out_t *out)
{
    const cn_reader_t r = {w, w->mesh.obj};
    cn_action_retry_t retry = {0};
    cn_str_t on;
    uint64_t ms = 0;

    if (!w->mesh.retry)
        return;
    on = cn_read_text(&r, w->mesh.retry, "retryOn");
    if (cn_node_get(w->mesh.retry, "attempts"))
        (void)cn_read_number(&r, w->mesh.retry, "attempts", 0, 1000, &retry.attempts);
    if (on.n)
        cn_action_retry_on(&r, cn_node_get(w->mesh.retry, "retryOn"), on, &retry);
    else
        cn_action_retry_default(&r, &retry);
    (void)cn_value_read_duration(&r, w->mesh.retry, "backoff", "defaultHttpRetryPolicy",
                                 &retry.backoff_ms);
    retry.other_localities = cn_value_read_bool(&r, w->mesh.retry, "retryRemoteLocalities",
                                                "defaultHttpRetryPolicy", false);
    cn_action_retry(w->pool, &out->defaults, &retry);
    if (cn_value_read_duration(&r, w->mesh.retry, "perTryTimeout", "defaultHttpRetryPolicy", &ms))
        cn_action_time(w->pool, &out->defaults, "try_timeout", ms);
}

void cn_translate_run(const cn_world_t *w, const cn_gateway_t *g, cn_out_t *out)
{
    translate_t t = {.w = w, .waypoint = g, .out = out};

    *out = (cn_out_t){.world = w, .waypoint = g, .network = network_of(w, g)};
    cn_map_init(&t.needed);
    cn_map_init(&t.choices);
    cn_map_init(&t.subsets);
    cn_map_init(&t.claimed);
    put_waypoint_limits(&t);
    put_services(&t);
    put_workloads(&t);
    find_place(out, &t.labels);
    put_defaults(w, out);
    cn_proxyconfig_put(w, g, out);
    say_unknown_namespaces(&t);
    cn_map_fini(&t.needed);
    cn_map_fini(&t.choices);
    cn_map_fini(&t.subsets);
    cn_map_fini(&t.claimed);
}
