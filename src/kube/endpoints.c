/* SPDX-License-Identifier: Apache-2.0
 *
 * Who answers for a service port: its EndpointSlices, or, where the input has
 * none (manifests written by hand), the Pods that its selector picks; the
 * WorkloadEntries that it picks, and the endpoints of a ServiceEntry.
 */
#include "kube/model.h"

#include <stdlib.h>

static const cn_pod_t *pod_at(const cn_map_t *by_ip, const cn_addr_t *addr)
{
    char text[CN_INET_TEXT];
    size_t n = cn_inet_put(text, addr, false);

    return cn_map_get(by_ip, cn_str_make(text, n));
}

static cn_str_t identity_of(const cn_world_t *w, cn_str_t ns, cn_str_t account)
{
    return cn_pool_printf(w->pool, "spiffe://%.*s/ns/%.*s/sa/%.*s",
                          CN_STR_ARG(w->mesh.trust_domain), CN_STR_ARG(ns), CN_STR_ARG(account));
}

cn_str_t cn_endpoints_locality(const cn_world_t *w, cn_str_t node)
{
    const cn_machine_t *m = node.n ? cn_map_get(&w->machines, node) : NULL;

    return m ? m->locality : CN_STR_NULL;
}

static void set_node(const cn_world_t *w, cn_endpoint_out_t *ep, cn_str_t node)
{
    if (!cn_store_is_dns_subdomain(node))
        return;
    ep->node = node;
    ep->locality = cn_endpoints_locality(w, node);
}

cn_endpoint_out_t cn_endpoints_pod(const cn_world_t *w, const cn_pod_t *p)
{
    cn_endpoint_out_t ep = {.addr = ((const cn_addr_t *)p->ips.v)[0],
                            .healthy = p->ready,
                            .pod = p,
                            .owner = p->obj->meta,
                            .weight = 1};

    if (p->captured)
        ep.identity = identity_of(w, p->obj->ns, p->service_account);
    set_node(w, &ep, p->node);
    return ep;
}

cn_endpoint_out_t cn_endpoints_entry(const cn_world_t *w, const cn_entry_t *e)
{
    cn_endpoint_out_t ep = {.addr = e->addr,
                            .healthy = true,
                            .owner = e->node,
                            .weight = e->weight,
                            .locality = e->locality};

    if (e->captured)
        ep.identity = identity_of(w, e->obj->ns, e->service_account);
    return ep;
}

static int by_address(const void *va, const void *vb)
{
    const cn_endpoint_out_t *a = va, *b = vb;
    int c = (a->addr.family > b->addr.family) - (a->addr.family < b->addr.family);

    if (c == 0)
        c = memcmp(a->addr.ip, b->addr.ip, sizeof(a->addr.ip));
    return c ? c : (a->addr.port > b->addr.port) - (a->addr.port < b->addr.port);
}

/* Sorted by address; of two with the same, the healthy one. */
static void finish(cn_vec_t *out)
{
    cn_endpoint_out_t *v = out->v;
    uint32_t n = 0;

    if (out->n == 0)
        return;
    qsort(v, out->n, sizeof(*v), by_address);
    for (uint32_t i = 1; i < out->n; i++) {
        if (by_address(&v[n], &v[i]) != 0)
            v[++n] = v[i];
        else
            v[n].healthy |= v[i].healthy;
    }
    out->n = n + 1;
}

static bool has_ip(const cn_pod_t *p, const cn_addr_t *addr)
{
    const cn_addr_t *ips = p->ips.v;

    for (uint32_t i = 0; i < p->ips.n; i++)
        if (cn_inet_same_ip(&ips[i], addr))
            return true;
    return false;
}

/* False: a pod that we should know is not in the input. */
static bool add_slice_endpoint(const cn_world_t *w, const cn_slice_t *s,
                               const cn_slice_endpoint_t *ep, uint16_t port, cn_vec_t *out)
{
    const cn_pod_t *pod = NULL;
    cn_endpoint_out_t *to;
    cn_addr_t addr = ep->addr;

    if (ep->terminating)
        return true;
    if (ep->pod.n)
        pod = cn_map_get(&w->pod_map, cn_model_key(w, s->obj->ns, ep->pod));
    if (!pod)
        pod = pod_at(&w->pods_by_ip, &ep->addr);
    if (pod ? !pod->running : pod_at(&w->leaving, &ep->addr) != NULL)
        return true;
    to = cn_vec_push(w->pool, out, sizeof(*to));
    *to = (cn_endpoint_out_t){.weight = 1};
    if (pod)
        *to = cn_endpoints_pod(w, pod);
    else
        set_node(w, to, ep->node);
    /* a dual-stack pod is one endpoint, dialled at its first address */
    if (pod && has_ip(pod, &ep->addr))
        addr = ((const cn_addr_t *)pod->ips.v)[0];
    to->addr = addr;
    to->addr.port = port;
    to->healthy = ep->ready;
    return pod || ep->pod.n == 0;
}

static void from_slices(const cn_world_t *w, const cn_service_t *svc, const cn_service_port_t *port,
                        cn_vec_t *out)
{
    const cn_slice_t *const *slices = svc->slices.v;
    uint32_t unknown = 0;

    for (uint32_t i = 0; i < svc->slices.n; i++) {
        const cn_named_port_t *p = slices[i]->ports.v;
        const cn_slice_endpoint_t *ep = slices[i]->endpoints.v;
        uint16_t number = 0;

        for (uint32_t k = 0; k < slices[i]->ports.n && !number; k++)
            if (cn_str_eq(p[k].name, port->name))
                number = p[k].port;
        for (uint32_t k = 0; number && k < slices[i]->endpoints.n; k++)
            unknown += !add_slice_endpoint(w, slices[i], &ep[k], number, out);
    }
    if (unknown)
        cn_store_warn(w->diag, svc->obj, NULL,
                      "%u of its endpoints on port %u are Pods that are not in the input: "
                      "they are dialled without HBONE",
                      unknown, port->port);
}

/* ---- without slices ---- */

/* The pods are ordered by namespace: the first of ns. */
static uint32_t first_pod(const cn_world_t *w, cn_str_t ns)
{
    cn_pod_t *const *v = w->pods.v;
    uint32_t low = 0, high = w->pods.n;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (cn_str_cmp(v[mid]->obj->ns, ns) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static uint16_t target_of(const cn_pod_t *pod, const cn_service_port_t *port)
{
    const cn_named_port_t *p = pod->ports.v;

    if (port->target_name.n == 0)
        return port->target ? port->target : port->port;
    for (uint32_t i = 0; i < pod->ports.n; i++)
        if (cn_str_eq(p[i].name, port->target_name))
            return p[i].port;
    return 0;
}

static void from_pods(const cn_world_t *w, const cn_service_t *svc, const cn_service_port_t *port,
                      cn_vec_t *out)
{
    cn_pod_t *const *v = w->pods.v;

    for (uint32_t i = first_pod(w, svc->obj->ns);
         i < w->pods.n && cn_str_eq(v[i]->obj->ns, svc->obj->ns); i++) {
        cn_endpoint_out_t *to;
        uint16_t number;

        if (v[i]->ips.n == 0 ||
            !cn_read_selects(&svc->selector, v[i]->obj->meta, NULL, CN_STR_NULL))
            continue;
        number = target_of(v[i], port);
        if (number == 0) {
            cn_store_warn(w->diag, v[i]->obj, NULL,
                          "is no endpoint of port %u of %.*s: none of its containers "
                          "names a port \"%.*s\"",
                          port->port, CN_STR_ARG(svc->obj->label), CN_STR_ARG(port->target_name));
            continue;
        }
        to = cn_vec_push(w->pool, out, sizeof(*to));
        *to = cn_endpoints_pod(w, v[i]);
        to->healthy = v[i]->ready || svc->publish_not_ready;
        to->addr.port = number;
    }
}

/* ---- WorkloadEntry, ServiceEntry ---- */

static void add_entry(const cn_world_t *w, const cn_entry_t *e, const cn_service_port_t *port,
                      cn_vec_t *out)
{
    const cn_named_port_t *p = e->ports.v;
    cn_endpoint_out_t *to;

    if (!e->is_ip)
        return;
    to = cn_vec_push(w->pool, out, sizeof(*to));
    *to = cn_endpoints_entry(w, e);
    to->addr.port = port->target ? port->target : port->port;
    for (uint32_t i = 0; i < e->ports.n; i++)
        if (cn_str_eq(p[i].name, port->name))
            to->addr.port = p[i].port;
}

/* Labels of a WorkloadEntry are those of its metadata or of its spec. */
static bool selects_entry(const cn_selector_t *sel, const cn_entry_t *e)
{
    return cn_read_selects(sel, e->node, NULL, CN_STR_NULL) ||
           cn_read_selects(sel, e->obj->meta, NULL, CN_STR_NULL);
}

static void from_entries(const cn_world_t *w, const cn_service_t *svc,
                         const cn_service_port_t *port, cn_vec_t *out)
{
    cn_entry_t *const *v = w->entries.v, *const *own = svc->entries.v;

    for (uint32_t i = 0; svc->has_selector && i < w->entries.n; i++)
        if (cn_str_eq(v[i]->obj->ns, svc->obj->ns) && selects_entry(&svc->selector, v[i]))
            add_entry(w, v[i], port, out);
    for (uint32_t i = 0; i < svc->entries.n; i++)
        add_entry(w, own[i], port, out);
}

static void keep_subset(const cn_selector_t *subset, cn_vec_t *out)
{
    cn_endpoint_out_t *v = out->v;
    uint32_t n = 0;

    for (uint32_t i = 0; i < out->n; i++)
        if (cn_read_selects(subset, v[i].owner, NULL, CN_STR_NULL))
            v[n++] = v[i];
    out->n = n;
}

void cn_endpoints_build(const cn_world_t *w, const cn_service_t *svc, const cn_service_port_t *port,
                        const cn_selector_t *subset, cn_vec_t *out)
{
    cn_endpoint_out_t *v;

    if (svc->slices.n)
        from_slices(w, svc, port, out);
    else if (svc->has_selector)
        from_pods(w, svc, port, out);
    from_entries(w, svc, port, out);
    if (subset)
        keep_subset(subset, out);
    finish(out);
    v = out->v;
    for (uint32_t i = 0; svc->external && i < out->n; i++)
        v[i].identity = CN_STR_NULL;
}
