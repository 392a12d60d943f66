/* SPDX-License-Identifier: Apache-2.0
 *
 * ServiceEntry and WorkloadEntry (semantics 7).  Each host of a ServiceEntry is
 * a service of its own; endpoints that it selects are found when endpoints are
 * built, for pods may come and go without it.
 */
#include "kube/value.h"

#define MAX_ENDPOINTS 100000

typedef struct {
    cn_world_t *w;
    cn_reader_t r;
    cn_service_t base; /* what all hosts have in common */
} entry_reader_t;

#define pool_of(x) ((x)->r.w->pool)

/* ---- endpoints ---- */

static void read_port_map(const cn_reader_t *r, const cn_node_t *node, cn_vec_t *out)
{
    const cn_node_t *map = cn_node_get(node, "ports");

    for (uint32_t i = 0; map && map->kind == CN_NODE_MAP && i < map->n; i++) {
        const cn_node_item_t *it = &map->items[i];
        uint64_t port;

        if (it->value->kind < CN_NODE_LIST && cn_str_u64(it->value->text, 65535, &port) == CN_OK &&
            port > 0)
            *(cn_named_port_t *)cn_vec_push(r->w->pool, out, sizeof(cn_named_port_t)) =
                (cn_named_port_t){it->key, (uint16_t)port};
        else
            cn_store_error(r->w->diag, r->obj, it->value, "ports.%.*s must be a port's number",
                           CN_STR_ARG(it->key));
    }
}

static bool speaks_hbone(const cn_node_t *node)
{
    cn_str_t tunnel = cn_node_str(cn_node_get(node, "labels"), "networking.istio.io/tunnel");

    return cn_str_eq(tunnel, CN_STR("http"));
}

/* Address, ports, locality and weight of an endpoint or WorkloadEntry; false:
 * it has no address that can be dialled (said). */
static bool read_endpoint(const cn_reader_t *r, const cn_node_t *node, const char *what,
                          cn_entry_t *e)
{
    cn_str_t address = cn_read_text(r, node, "address");
    int64_t weight = 1;

    e->obj = r->obj;
    e->node = node;
    e->is_ip = cn_inet_parse_ip(address, &e->addr) == CN_OK;
    e->host = e->is_ip ? CN_STR_NULL : address;
    if (!e->is_ip && !cn_value_is_domain(address, false)) {
        cn_store_error(
            r->w->diag, r->obj, node,
            "%s: address \"%.*s\" is neither an IP address nor a name; it is no endpoint", what,
            CN_STR_ARG(address));
        return false;
    }
    read_port_map(r, node, &e->ports);
    e->locality = cn_read_text(r, node, "locality");
    if (e->locality.n && !cn_value_is_locality(e->locality, false)) {
        cn_store_error(r->w->diag, r->obj, node,
                       "%s: locality \"%.*s\" is not region/zone/subzone; it has no effect", what,
                       CN_STR_ARG(e->locality));
        e->locality.n = 0;
    }
    if (cn_node_get(node, "weight") && !cn_read_number(r, node, "weight", 0, 1000000, &weight))
        weight = 1;
    e->weight = weight ? (uint32_t)weight : 1;
    e->service_account = cn_read_text(r, node, "serviceAccount");
    if (!cn_store_is_dns_subdomain(e->service_account))
        e->service_account = CN_STR("default");
    e->network = cn_read_text(r, node, "network");
    e->captured = e->is_ip && speaks_hbone(node);
    return true;
}

static void read_endpoints(entry_reader_t *x)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, x->r.obj->spec, "endpoints", &items);

    for (uint32_t i = 0; i < n && i < MAX_ENDPOINTS; i++) {
        cn_entry_t *e = cn_pool_zalloc(pool_of(x), sizeof(*e));
        char what[48];

        snprintf(what, sizeof(what), "spec.endpoints[%u]", i);
        if (read_endpoint(&x->r, items[i].value, what, e))
            *(cn_entry_t **)cn_vec_push(pool_of(x), &x->base.entries, sizeof(e)) = e;
    }
}

/* ---- ports and addresses ---- */

static cn_protocol protocol_of(cn_str_t word, uint16_t port, cn_str_t name)
{
    char lower[16];

    if (word.n == 0 || word.n > sizeof(lower))
        return cn_model_core_protocol(port, name, CN_STR_NULL);
    cn_str_lower(lower, word.p, word.n);
    return cn_model_core_protocol(port, name, cn_str_make(lower, word.n));
}

static bool is_protocol(cn_str_t word)
{
    static const char *const words[] = {"HTTP",  "HTTPS", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB",
                                        "MONGO", "MYSQL", "REDIS", "TCP",        "TLS"};

    for (size_t i = 0; i < CN_COUNT(words); i++)
        if (cn_str_ieq(word, cn_str_c(words[i])))
            return true;
    return false;
}

static void read_ports(entry_reader_t *x)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, x->r.obj->spec, "ports", &items);

    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *node = items[i].value;
        cn_str_t protocol = cn_read_text(&x->r, node, "protocol");
        cn_service_port_t port = {.name = cn_read_text(&x->r, node, "name")}, *have;
        int64_t number = 0, target = 0;
        bool twice = false;

        if (cn_str_ieq(protocol, CN_STR("UDP")) ||
            !cn_read_number(&x->r, node, "number", 1, 65535, &number))
            continue;
        port.port = (uint16_t)number;
        have = x->base.ports.v;
        for (uint32_t k = 0; k < x->base.ports.n; k++)
            twice |= have[k].port == port.port;
        if (twice)
            continue;
        if (cn_node_get(node, "targetPort") &&
            cn_read_number(&x->r, node, "targetPort", 1, 65535, &target))
            port.target = (uint16_t)target;
        if (protocol.n && !is_protocol(protocol))
            cn_store_error(
                x->r.w->diag, x->r.obj, cn_node_get(node, "protocol"),
                "spec.ports[%u].protocol: \"%.*s\" is no protocol; the traffic is looked "
                "at",
                i, CN_STR_ARG(protocol));
        port.protocol = protocol_of(protocol, port.port, port.name);
        *(cn_service_port_t *)cn_vec_push(pool_of(x), &x->base.ports, sizeof(port)) = port;
    }
}

static void add_address(entry_reader_t *x, cn_vec_t *out, const cn_node_t *at, cn_str_t text)
{
    cn_addr_t addr;
    size_t slash = cn_str_find(text, '/');
    bool whole = cn_str_eq(cn_str_make(text.p + slash, text.n - slash), CN_STR("/32")) ||
                 cn_str_eq(cn_str_make(text.p + slash, text.n - slash), CN_STR("/128"));

    if (whole)
        text.n = slash;
    if (cn_inet_parse_ip(text, &addr) == CN_OK)
        *(cn_addr_t *)cn_vec_push(pool_of(x), out, sizeof(addr)) = addr;
    else
        cn_store_warn(x->r.w->diag, x->r.obj, at,
                      "address \"%.*s\" has no effect: without sidecars the mesh knows single "
                      "addresses only, so a block's traffic is sent to no waypoint",
                      CN_STR_ARG(text));
}

/* spec.addresses, or what istiod has allocated for the host. */
static void read_addresses(entry_reader_t *x, cn_str_t host, cn_vec_t *out)
{
    const cn_node_t *status = cn_node_get(x->r.obj->root, "status");
    const cn_node_item_t *items = NULL;
    uint32_t n;
    cn_vec_t texts = {0};
    const cn_str_t *v;

    cn_read_texts(&x->r, x->r.obj->spec, "addresses", &texts);
    v = texts.v;
    for (uint32_t i = 0; i < texts.n; i++)
        add_address(x, out, cn_node_get(x->r.obj->spec, "addresses"), v[i]);
    n = texts.n ? 0 : cn_node_list(status, "addresses", &items);
    for (uint32_t i = 0; i < n; i++) {
        cn_str_t of = cn_node_str(items[i].value, "host");

        if (of.n == 0 || cn_str_ieq(of, host))
            add_address(x, out, items[i].value, cn_node_str(items[i].value, "value"));
    }
}

/* ---- the object ---- */

static bool read_resolution(entry_reader_t *x)
{
    static const char *const words[] = {"NONE",        "STATIC", "DNS", "DNS_ROUND_ROBIN",
                                        "DYNAMIC_DNS", NULL};
    static const cn_resolution as[] = {CN_RESOLVE_NONE, CN_RESOLVE_STATIC, CN_RESOLVE_DNS,
                                       CN_RESOLVE_DNS_ONE, CN_RESOLVE_DYNAMIC};
    static const char *const places[] = {"MESH_EXTERNAL", "MESH_INTERNAL", NULL};
    const cn_node_t *spec = x->r.obj->spec;
    int i = cn_value_read_word(&x->r, spec, "resolution", "spec", words);
    int place = cn_value_read_word(&x->r, spec, "location", "spec", places);

    if (i < 0 && cn_node_get(spec, "resolution"))
        return false;
    x->base.resolution = i < 0 ? CN_RESOLVE_NONE : as[i];
    x->base.external = place <= 0; /* as the API's default has it */
    return true;
}

/* "*.example.com" has no address of its own: only DYNAMIC_DNS can serve it. */
static bool can_serve(const entry_reader_t *x, cn_str_t host, const cn_node_t *at)
{
    bool wildcard = host.p[0] == '*';

    if (x->base.resolution == CN_RESOLVE_DYNAMIC && !wildcard) {
        cn_store_error(x->r.w->diag, x->r.obj, at,
                       "host \"%.*s\": resolution DYNAMIC_DNS is for hosts such as *.example.com; "
                       "it is left out",
                       CN_STR_ARG(host));
        return false;
    }
    if (wildcard && x->base.resolution != CN_RESOLVE_DYNAMIC) {
        cn_store_warn(x->r.w->diag, x->r.obj, at,
                      "host \"%.*s\": a waypoint serves a wildcard with resolution DYNAMIC_DNS "
                      "only; it is left out",
                      CN_STR_ARG(host));
        return false;
    }
    return true;
}

static void add_host(entry_reader_t *x, cn_str_t host, const cn_node_t *at)
{
    cn_service_t *s;

    if (!cn_value_is_domain(host, true) || cn_str_eq(host, CN_STR("*"))) {
        cn_store_error(x->r.w->diag, x->r.obj, at, "host \"%.*s\" is no host; it is left out",
                       CN_STR_ARG(host));
        return;
    }
    if (!can_serve(x, host, at))
        return;
    s = cn_pool_alloc(pool_of(x), sizeof(*s));
    *s = x->base;
    s->host = cn_pool_lower(pool_of(x), host);
    s->vips = (cn_vec_t){0};
    read_addresses(x, s->host, &s->vips);
    s->block = cn_pool_printf(pool_of(x), "%s%.*s@%.*s", host.p[0] == '*' ? "_" : "",
                              (int)(s->host.n - (host.p[0] == '*')), s->host.p + (host.p[0] == '*'),
                              CN_STR_ARG(x->r.obj->ns));
    if (s->block.n > 180) {
        cn_store_error(x->r.w->diag, x->r.obj, at, "host \"%.*s\" is too long; it is left out",
                       CN_STR_ARG(host));
        return;
    }
    cn_model_add_service(x->w, s);
}

void cn_model_serviceentry_read(cn_world_t *w, const cn_object_t *o)
{
    entry_reader_t x = {.w = w, .r = {w, o}, .base = {.obj = o, .is_entry = true}};
    const cn_node_t *hosts = cn_node_get(o->spec, "hosts"),
                    *selector = cn_node_get(cn_node_get(o->spec, "workloadSelector"), "labels");
    cn_vec_t names = {0};
    const cn_str_t *v;

    if (!read_resolution(&x)) {
        cn_store_error(w->diag, o, NULL, "is left out: its resolution is unknown");
        return;
    }
    read_ports(&x);
    read_endpoints(&x);
    x.base.has_selector = selector && selector->n;
    cn_read_labels(&x.r, selector, &x.base.selector);
    cn_read_texts(&x.r, o->spec, "subjectAltNames", &x.base.sans);
    cn_read_texts(&x.r, o->spec, "exportTo", &x.base.exports);
    if (x.base.exports.n == 0)
        x.base.exports = w->mesh.service_exports;
    cn_read_texts(&x.r, o->spec, "hosts", &names);
    v = names.v;
    for (uint32_t i = 0; i < names.n; i++)
        add_host(&x, v[i], hosts);
    if (names.n == 0)
        cn_store_error(w->diag, o, NULL, "has no hosts, so it has no effect");
}

void cn_model_serviceentry_workload(cn_world_t *w, const cn_object_t *o)
{
    const cn_reader_t r = {w, o};
    cn_entry_t *e = cn_pool_zalloc(w->pool, sizeof(*e));

    if (!read_endpoint(&r, o->spec, "spec", e))
        return;
    e->captured = e->is_ip && (e->captured ||
                               cn_str_eq(cn_store_annotation(o, "ambient.istio.io/redirection"),
                                         CN_STR("enabled")) ||
                               speaks_hbone(o->meta));
    *(cn_entry_t **)cn_vec_push(w->pool, &w->entries, sizeof(e)) = e;
}
