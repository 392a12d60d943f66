/* SPDX-License-Identifier: Apache-2.0
 *
 * Namespace, Service, EndpointSlice and Pod as a waypoint sees them.
 */
#include "kube/value.h"

#define DOMAIN "svc.cluster.local"

static cn_str_t address_key(const cn_world_t *w, const cn_addr_t *a)
{
    char text[CN_INET_TEXT];
    size_t n = cn_inet_put(text, a, false);

    return cn_pool_dup(w->pool, cn_str_make(text, n));
}

void cn_model_core_namespace(cn_world_t *w, const cn_object_t *o)
{
    cn_namespace_t *ns = cn_pool_zalloc(w->pool, sizeof(*ns));

    ns->obj = o;
    cn_map_put(&w->namespaces, o->name, ns);
}

/* Names of the topology labels may be anything that a label may be. */
void cn_model_core_machine(cn_world_t *w, const cn_object_t *o)
{
    static const char *const keys[] = {"topology.kubernetes.io/region",
                                       "topology.kubernetes.io/zone", "topology.istio.io/subzone"};
    cn_machine_t *m = cn_pool_zalloc(w->pool, sizeof(*m));

    for (size_t i = 0; i < CN_COUNT(keys); i++) {
        cn_str_t v = cn_store_label(o, keys[i]);

        if (!cn_store_is_label_value(v)) /* without a region there is no zone, and so on */
            break;
        m->locality =
            i ? cn_pool_printf(w->pool, "%.*s/%.*s", CN_STR_ARG(m->locality), CN_STR_ARG(v)) : v;
    }
    cn_map_put(&w->machines, o->name, m);
}

static void put_object(cn_map_t *map, const cn_object_t *o)
{
    cn_map_put(map, o->id, (void *)(uintptr_t)o);
}

void cn_model_core_secret(cn_world_t *w, const cn_object_t *o)
{
    put_object(&w->secrets, o);
}

void cn_model_core_config_map(cn_world_t *w, const cn_object_t *o)
{
    put_object(&w->config_maps, o);
}

/* ---- Service ---- */

/* Istio's rule: appProtocol, else the port's name up to its first '-'. */
cn_protocol cn_model_core_protocol(uint16_t port, cn_str_t name, cn_str_t app)
{
    static const struct {
        const char *word;
        cn_protocol protocol;
    } words[] = {{"http", CN_PROTOCOL_HTTP},   {"http_proxy", CN_PROTOCOL_HTTP},
                 {"http2", CN_PROTOCOL_HTTP2}, {"grpc", CN_PROTOCOL_GRPC},
                 {"tcp", CN_PROTOCOL_TCP},     {"tls", CN_PROTOCOL_TLS},
                 {"https", CN_PROTOCOL_TLS},   {"mongo", CN_PROTOCOL_TCP},
                 {"redis", CN_PROTOCOL_TCP},   {"mysql", CN_PROTOCOL_TCP}};
    static const uint16_t well_known_tcp[] = {25, 53, 3306, 27017};

    if (app.n) {
        if (cn_str_eq(app, CN_STR("kubernetes.io/h2c")))
            return CN_PROTOCOL_HTTP2;
        if (cn_str_eq(app, CN_STR("kubernetes.io/ws")))
            return CN_PROTOCOL_HTTP;
        if (cn_str_eq(app, CN_STR("kubernetes.io/wss")))
            return CN_PROTOCOL_TLS;
        name = app;
    }
    if (cn_str_istarts(name, CN_STR("grpc-web")))
        return CN_PROTOCOL_GRPC_WEB;
    name.n = cn_str_find(name, '-');
    for (size_t i = 0; i < CN_COUNT(words); i++)
        if (cn_str_ieq(name, cn_str_c(words[i].word)))
            return words[i].protocol;
    for (size_t i = 0; i < CN_COUNT(well_known_tcp); i++)
        if (port == well_known_tcp[i])
            return CN_PROTOCOL_TCP;
    return CN_PROTOCOL_AUTO;
}

static bool is_tcp(const cn_reader_t *r, const cn_node_t *port)
{
    static const char *const words[] = {"TCP", "UDP", "SCTP", NULL};

    return cn_value_read_word(r, port, "protocol", "ports", words) <= 0;
}

static void read_target(const cn_reader_t *r, const cn_node_t *node, cn_service_port_t *p)
{
    const cn_node_t *v = cn_node_get(node, "targetPort");
    int64_t n;

    if (!v)
        return;
    if (v->kind == CN_NODE_STR)
        p->target_name = v->text;
    else if (cn_read_number(r, node, "targetPort", 1, 65535, &n))
        p->target = (uint16_t)n;
}

static void read_ports(const cn_reader_t *r, cn_service_t *s)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, r->obj->spec, "ports", &items);

    for (uint32_t i = 0; i < n; i++) {
        cn_service_port_t port = {0}, *have = s->ports.v;
        int64_t number;
        bool twice = false;

        if (!is_tcp(r, items[i].value) ||
            !cn_read_number(r, items[i].value, "port", 1, 65535, &number))
            continue;
        port.port = (uint16_t)number;
        for (uint32_t k = 0; k < s->ports.n; k++)
            twice |= have[k].port == port.port;
        if (twice) {
            cn_store_warn(r->w->diag, r->obj, items[i].value,
                          "spec.ports[%u]: port %u is given twice; "
                          "the first one counts",
                          i, port.port);
            continue;
        }
        port.name = cn_read_text(r, items[i].value, "name");
        port.protocol = cn_model_core_protocol(port.port, port.name,
                                               cn_read_text(r, items[i].value, "appProtocol"));
        read_target(r, items[i].value, &port);
        *(cn_service_port_t *)cn_vec_push(r->w->pool, &s->ports, sizeof(port)) = port;
    }
}

static void add_vip(const cn_reader_t *r, cn_service_t *s, const cn_node_t *at, cn_str_t text)
{
    cn_addr_t addr;

    if (text.n == 0)
        return;
    if (cn_str_eq(text, CN_STR("None"))) {
        s->headless = true;
        return;
    }
    if (cn_inet_parse_ip(text, &addr) != CN_OK) {
        cn_store_error(r->w->diag, r->obj, at, "clusterIP \"%.*s\" is not an address",
                       CN_STR_ARG(text));
        return;
    }
    *(cn_addr_t *)cn_vec_push(r->w->pool, &s->vips, sizeof(addr)) = addr;
}

static void read_vips(const cn_reader_t *r, cn_service_t *s)
{
    cn_vec_t texts = {0};
    cn_str_t *v;

    cn_read_texts(r, r->obj->spec, "clusterIPs", &texts);
    if (texts.n == 0)
        *(cn_str_t *)cn_vec_push(r->w->pool, &texts, sizeof(*v)) =
            cn_read_text(r, r->obj->spec, "clusterIP");
    v = texts.v;
    for (uint32_t i = 0; i < texts.n; i++)
        add_vip(r, s, cn_node_get(r->obj->spec, "clusterIPs"), v[i]);
}

void cn_model_core_service(cn_world_t *w, const cn_object_t *o)
{
    const cn_reader_t r = {w, o};
    cn_service_t *s = cn_pool_zalloc(w->pool, sizeof(*s));
    const cn_node_t *selector = cn_node_get(o->spec, "selector");

    s->obj = o;
    s->host = cn_pool_printf(w->pool, "%.*s.%.*s." DOMAIN, CN_STR_ARG(o->name), CN_STR_ARG(o->ns));
    s->external_name = cn_str_eq(cn_read_text(&r, o->spec, "type"), CN_STR("ExternalName"));
    s->has_selector = selector && selector->kind == CN_NODE_MAP && selector->n > 0;
    s->publish_not_ready =
        cn_value_read_bool(&r, o->spec, "publishNotReadyAddresses", "spec", false);
    cn_read_labels(&r, selector, &s->selector);
    read_vips(&r, s);
    read_ports(&r, s);
    s->block = cn_pool_printf(w->pool, "%.*s.%.*s", CN_STR_ARG(o->name), CN_STR_ARG(o->ns));
    cn_model_add_service(w, s);
    cn_map_put(&w->service_map, o->id, s);
}

/* ---- EndpointSlice ---- */

static void read_slice_ports(const cn_reader_t *r, cn_slice_t *s)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, r->obj->root, "ports", &items);

    for (uint32_t i = 0; i < n; i++) {
        cn_named_port_t *p;
        int64_t number;

        if (!is_tcp(r, items[i].value) ||
            !cn_read_number(r, items[i].value, "port", 1, 65535, &number))
            continue;
        p = cn_vec_push(r->w->pool, &s->ports, sizeof(*p));
        *p = (cn_named_port_t){cn_read_text(r, items[i].value, "name"), (uint16_t)number};
    }
}

static bool condition(const cn_reader_t *r, const cn_node_t *endpoint, const char *name,
                      bool otherwise)
{
    return cn_value_read_bool(r, cn_node_get(endpoint, "conditions"), name, "conditions",
                              otherwise);
}

static void read_slice_endpoint(const cn_reader_t *r, cn_slice_t *s, const cn_node_t *node)
{
    const cn_node_t *ref = cn_node_get(node, "targetRef");
    cn_vec_t texts = {0};
    cn_str_t *v;

    cn_read_texts(r, node, "addresses", &texts);
    v = texts.v;
    for (uint32_t i = 0; i < texts.n; i++) {
        cn_slice_endpoint_t ep = {.ready = condition(r, node, "ready", true)};

        ep.terminating = condition(r, node, "terminating", false) && !ep.ready;
        if (cn_inet_parse_ip(v[i], &ep.addr) != CN_OK) {
            cn_store_error(r->w->diag, r->obj, node, "endpoint \"%.*s\" is not an address",
                           CN_STR_ARG(v[i]));
            continue;
        }
        ep.node = cn_node_str(node, "nodeName");
        if (cn_str_eq(cn_node_str(ref, "kind"), CN_STR("Pod")))
            ep.pod = cn_node_str(ref, "name");
        *(cn_slice_endpoint_t *)cn_vec_push(r->w->pool, &s->endpoints, sizeof(ep)) = ep;
    }
}

void cn_model_core_slice(cn_world_t *w, const cn_object_t *o)
{
    const cn_reader_t r = {w, o};
    cn_slice_t *s = cn_pool_zalloc(w->pool, sizeof(*s));
    static const char *const types[] = {"IPv4", "IPv6", "FQDN", NULL};
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&r, o->root, "endpoints", &items);
    cn_service_t *service;

    s->obj = o;
    s->service = cn_store_label(o, "kubernetes.io/service-name");
    service = cn_map_get(&w->service_map, cn_model_key(w, o->ns, s->service));
    if (cn_value_read_word(&r, o->root, "addressType", "EndpointSlice", types) == 2) {
        cn_store_warn(w->diag, o, NULL,
                      "addressType FQDN: has no effect: only addresses are dialled");
        return;
    }
    if (s->service.n == 0) {
        cn_store_warn(w->diag, o, NULL,
                      "has no effect: no label kubernetes.io/service-name says whose "
                      "endpoints these are");
        return;
    }
    if (!service)
        return;
    read_slice_ports(&r, s);
    for (uint32_t i = 0; i < n; i++)
        read_slice_endpoint(&r, s, items[i].value);
    *(const cn_slice_t **)cn_vec_push(w->pool, &service->slices, sizeof(s)) = s;
}

/* ---- Pod ---- */

static void read_ips(const cn_reader_t *r, cn_pod_t *p)
{
    const cn_node_t *status = cn_node_get(r->obj->root, "status");
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, status, "podIPs", &items);
    cn_addr_t addr;

    for (uint32_t i = 0; i < n; i++)
        if (cn_inet_parse_ip(cn_node_str(items[i].value, "ip"), &addr) == CN_OK)
            *(cn_addr_t *)cn_vec_push(r->w->pool, &p->ips, sizeof(addr)) = addr;
    if (p->ips.n == 0 && cn_inet_parse_ip(cn_node_str(status, "podIP"), &addr) == CN_OK)
        *(cn_addr_t *)cn_vec_push(r->w->pool, &p->ips, sizeof(addr)) = addr;
}

static void read_state(const cn_reader_t *r, cn_pod_t *p)
{
    const cn_node_t *status = cn_node_get(r->obj->root, "status");
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, status, "conditions", &items);
    cn_str_t phase = cn_node_str(status, "phase");

    p->running = !r->obj->deleted && !cn_str_eq(phase, CN_STR("Succeeded")) &&
                 !cn_str_eq(phase, CN_STR("Failed"));
    /* a manifest written by hand has an address and no conditions */
    p->ready =
        !cn_node_get(status, "conditions") && p->ips.n > 0 && !cn_str_eq(phase, CN_STR("Pending"));
    for (uint32_t i = 0; i < n; i++)
        if (cn_str_eq(cn_node_str(items[i].value, "type"), CN_STR("Ready")))
            p->ready = cn_str_eq(cn_node_str(items[i].value, "status"), CN_STR("True"));
    p->ready = p->ready && p->running;
}

static void read_container_ports(const cn_reader_t *r, cn_pod_t *p, const char *containers)
{
    const cn_node_item_t *c = NULL, *ports = NULL;
    uint32_t n = cn_read_list(r, r->obj->spec, containers, &c);

    for (uint32_t i = 0; i < n; i++) {
        uint32_t m = cn_read_list(r, c[i].value, "ports", &ports);

        for (uint32_t k = 0; k < m; k++) {
            cn_str_t name = cn_node_str(ports[k].value, "name");
            cn_named_port_t *port;
            int64_t number;

            if (name.n == 0 || !is_tcp(r, ports[k].value) ||
                !cn_read_number(r, ports[k].value, "containerPort", 1, 65535, &number))
                continue;
            port = cn_vec_push(r->w->pool, &p->ports, sizeof(*port));
            *port = (cn_named_port_t){name, (uint16_t)number};
        }
    }
}

static bool has_word(cn_str_t list, cn_str_t word)
{
    cn_str_t piece;

    while (cn_str_split(&list, ',', &piece))
        if (cn_str_eq(cn_str_trim(piece), word))
            return true;
    return false;
}

static bool is_captured(const cn_object_t *o)
{
    return cn_str_eq(cn_store_annotation(o, "ambient.istio.io/redirection"), CN_STR("enabled")) ||
           has_word(cn_store_label(o, "networking.istio.io/tunnel"), CN_STR("http")) ||
           cn_str_eq(cn_store_label(o, "gateway.istio.io/managed"),
                     CN_STR("istio.io-mesh-controller"));
}

static cn_str_t first_label(const cn_object_t *o, const char *const keys[3], cn_str_t otherwise)
{
    for (int i = 0; i < 3; i++) {
        cn_str_t v = cn_store_label(o, keys[i]);

        if (cn_store_is_label_value(v)) /* it becomes a word of the workloads file */
            return v;
    }
    return otherwise;
}

/* "web-7d4b9c" with the label pod-template-hash=7d4b9c is of Deployment web;
 * "report-28412340" is what CronJob report calls its jobs. */
static cn_str_t without_suffix(cn_str_t name, cn_str_t hash)
{
    size_t at = name.n;

    if (hash.n) {
        if (name.n > hash.n + 1 && cn_str_ends(name, hash) && name.p[name.n - hash.n - 1] == '-')
            return cn_str_make(name.p, name.n - hash.n - 1);
        return name;
    }
    while (at > 0 && name.p[at - 1] >= '0' && name.p[at - 1] <= '9')
        at--;
    return name.n - at >= 8 && name.n - at <= 11 && at > 1 && name.p[at - 1] == '-'
               ? cn_str_make(name.p, at - 1)
               : name;
}

static const cn_node_t *owner_of(const cn_reader_t *r)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, r->obj->meta, "ownerReferences", &items);

    for (uint32_t i = 0; i < n; i++)
        if (cn_node_true(items[i].value, "controller"))
            return items[i].value;
    return n ? items[0].value : NULL;
}

static void name_workload(const cn_reader_t *r, cn_pod_t *p)
{
    static const char *const types[][2] = {
        {"ReplicaSet", "deployment"}, {"Deployment", "deployment"},   {"Job", "job"},
        {"CronJob", "cronjob"},       {"StatefulSet", "statefulset"}, {"DaemonSet", "daemonset"}};
    const cn_node_t *owner = owner_of(r);
    cn_str_t kind = cn_node_str(owner, "kind"), name = cn_node_str(owner, "name"), cut;

    p->workload = r->obj->name;
    p->workload_type = "pod";
    if (!cn_store_is_dns_subdomain(name))
        return;
    for (size_t i = 0; i < CN_COUNT(types); i++)
        if (cn_str_eq(kind, cn_str_c(types[i][0]))) {
            p->workload = name;
            p->workload_type = types[i][1];
        }
    if (cn_str_eq(kind, CN_STR("ReplicaSet"))) {
        cn_str_t hash = cn_store_label(r->obj, "pod-template-hash");

        if (hash.n)
            p->workload = without_suffix(name, hash);
    } else if (cn_str_eq(kind, CN_STR("Job"))) {
        cut = without_suffix(name, CN_STR_NULL);
        if (cut.n < name.n) {
            p->workload = cut;
            p->workload_type = "cronjob";
        }
    }
}

static void name_canonically(cn_pod_t *p)
{
    static const char *const names[] = {"service.istio.io/canonical-name", "app.kubernetes.io/name",
                                        "app"};
    static const char *const revisions[] = {"service.istio.io/canonical-revision",
                                            "app.kubernetes.io/version", "version"};

    p->canonical_name = first_label(p->obj, names, p->workload);
    p->canonical_revision = first_label(p->obj, revisions, CN_STR("latest"));
}

static void index_pod(cn_world_t *w, cn_pod_t *p)
{
    const cn_addr_t *ips = p->ips.v;

    cn_map_put(&w->pod_map, p->obj->id, p);
    if (p->host_network)
        return;
    for (uint32_t i = 0; i < p->ips.n; i++) {
        cn_map_t *map = p->running ? &w->pods_by_ip : &w->leaving;
        cn_str_t key = address_key(w, &ips[i]);
        const cn_pod_t *other = cn_map_get(map, key);

        if (!other)
            cn_map_put(map, key, p);
        else if (p->running && other != p)
            cn_store_warn(w->diag, p->obj, NULL, "has the address %.*s of %.*s, which counts",
                          CN_STR_ARG(key), CN_STR_ARG(other->obj->label));
    }
}

void cn_model_core_pod(cn_world_t *w, const cn_object_t *o)
{
    const cn_reader_t r = {w, o};
    cn_pod_t *p = cn_pool_zalloc(w->pool, sizeof(*p));

    p->obj = o;
    p->host_network = cn_node_true(o->spec, "hostNetwork");
    p->node = cn_read_text(&r, o->spec, "nodeName");
    read_ips(&r, p);
    read_state(&r, p);
    read_container_ports(&r, p, "containers");
    read_container_ports(&r, p, "initContainers");
    p->captured = !p->host_network && is_captured(o);
    p->service_account = cn_read_text(&r, o->spec, "serviceAccountName");
    if (p->service_account.n == 0)
        p->service_account = CN_STR("default");
    if (!cn_store_is_dns_subdomain(p->service_account)) {
        cn_store_error(w->diag, o, NULL, "is left out: serviceAccountName \"%.*s\" is not a name",
                       CN_STR_ARG(p->service_account));
        return;
    }
    name_workload(&r, p);
    name_canonically(p);
    if (p->running)
        *(cn_pod_t **)cn_vec_push(w->pool, &w->pods, sizeof(p)) = p;
    index_pod(w, p);
}
