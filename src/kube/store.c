/* SPDX-License-Identifier: Apache-2.0
 *
 * Documents -> objects.  Objects live in the store's pool.  A List is opened
 * with a work list of its own, not by recursion, since lists may hold lists.
 */
#include "kube/store.h"

#include <stdlib.h>

#define MAX_NESTED_LISTS 4

typedef enum {
    USE_READ,    /* makes an object */
    USE_QUIET,   /* no business of a waypoint */
    USE_NOT_YET, /* acts on waypoints in Istio, not here */
    USE_NOWHERE  /* acts on no waypoint, in Istio neither; somebody may expect it */
} use_t;

typedef struct {
    const char *name, *group;
    use_t use;
    cn_kind kind;
    bool cluster_wide;
    const char *instead; /* NOT_YET: what the lack means; NOWHERE: why */
} kind_t;

#define CORE ""
#define GATEWAY "gateway.networking.k8s.io"
#define NETWORKING "networking.istio.io"
#define CAIRN "policy.cairn.internal"
#define SECURITY "security.istio.io"

static const kind_t kinds[] = {
    {"Namespace", CORE, USE_READ, CN_KIND_NAMESPACE, true, NULL},
    {"Service", CORE, USE_READ, CN_KIND_SERVICE, false, NULL},
    {"EndpointSlice", "discovery.k8s.io", USE_READ, CN_KIND_ENDPOINT_SLICE, false, NULL},
    {"Pod", CORE, USE_READ, CN_KIND_POD, false, NULL},
    {"GatewayClass", GATEWAY, USE_READ, CN_KIND_GATEWAY_CLASS, true, NULL},
    {"Gateway", GATEWAY, USE_READ, CN_KIND_GATEWAY, false, NULL},
    {"HTTPRoute", GATEWAY, USE_READ, CN_KIND_HTTP_ROUTE, false, NULL},
    {"GRPCRoute", GATEWAY, USE_READ, CN_KIND_GRPC_ROUTE, false, NULL},
    {"TCPRoute", GATEWAY, USE_READ, CN_KIND_TCP_ROUTE, false, NULL},
    {"TLSRoute", GATEWAY, USE_READ, CN_KIND_TLS_ROUTE, false, NULL},
    {"VirtualService", NETWORKING, USE_READ, CN_KIND_VIRTUAL_SERVICE, false, NULL},
    {"DestinationRule", NETWORKING, USE_READ, CN_KIND_DESTINATION_RULE, false, NULL},
    {"ServiceEntry", NETWORKING, USE_READ, CN_KIND_SERVICE_ENTRY, false, NULL},
    {"WorkloadEntry", NETWORKING, USE_READ, CN_KIND_WORKLOAD_ENTRY, false, NULL},
    {"BackendTLSPolicy", GATEWAY, USE_READ, CN_KIND_BACKEND_TLS_POLICY, false, NULL},
    {"XBackendTrafficPolicy", "gateway.networking.x-k8s.io", USE_READ,
     CN_KIND_BACKEND_TRAFFIC_POLICY, false, NULL},
    {"AuthorizationPolicy", SECURITY, USE_READ, CN_KIND_AUTHORIZATION_POLICY, false, NULL},
    {"RateLimitPolicy", CAIRN, USE_READ, CN_KIND_RATE_LIMIT_POLICY, false, NULL},
    {"FaultPolicy", CAIRN, USE_READ, CN_KIND_FAULT_POLICY, false, NULL},
    {"EnvoyFilter", NETWORKING, USE_READ, CN_KIND_ENVOY_FILTER, false, NULL},
    {"Node", CORE, USE_READ, CN_KIND_NODE, true, NULL},
    {"Secret", CORE, USE_READ, CN_KIND_SECRET, false, NULL},
    {"ConfigMap", CORE, USE_READ, CN_KIND_CONFIG_MAP, false, NULL},
    {"Gateway", NETWORKING, USE_QUIET, 0, false, NULL},
    {"ServiceAccount", CORE, USE_QUIET, 0, false, NULL},
    {"Endpoints", CORE, USE_QUIET, 0, false, NULL},
    {"Deployment", "apps", USE_QUIET, 0, false, NULL},
    {"PeerAuthentication", SECURITY, USE_QUIET, 0, false, NULL},
    {"ReferenceGrant", GATEWAY, USE_QUIET, 0, false, NULL},
    {"Sidecar", NETWORKING, USE_QUIET, 0, false, NULL},
    {"UDPRoute", GATEWAY, USE_NOWHERE, 0, false, "a tunnel carries no UDP"},
    {"ListenerSet", GATEWAY, USE_NOWHERE, 0, false, "its listener is that of the Gateway"},
    {"XMesh", "gateway.networking.x-k8s.io", USE_NOWHERE, 0, true, "nothing reads it"},
    {"XBackend", "gateway.networking.x-k8s.io", USE_NOWHERE, 0, false,
     "use a ServiceEntry, and kind Hostname of group networking.istio.io in the route"},
    {"ServiceImport", "multicluster.x-k8s.io", USE_NOWHERE, 0, false,
     "services of other clusters are not known"},
    {"InferencePool", "inference.networking.k8s.io", USE_NOWHERE, 0, false,
     "no endpoint picker is asked"},
    {"RequestAuthentication", SECURITY, USE_NOT_YET, 0, false,
     "JSON web tokens are not checked, so no request has a request principal"},
    {"Telemetry", "telemetry.istio.io", USE_NOT_YET, 0, false,
     "metrics and access logs are those of the mesh"},
    {"ProxyConfig", NETWORKING, USE_NOT_YET, 0, false,
     "say concurrency in MeshConfig's defaultConfig, or in the Gateway's annotation "
     "proxy.istio.io/config"},
    {"WasmPlugin", "extensions.istio.io", USE_NOT_YET, 0, false, "the extension does not run"},
    {"TrafficExtension", "extensions.istio.io", USE_NOT_YET, 0, false,
     "the extension does not run"},
};

static const kind_t *find_kind(cn_str_t name, cn_str_t group)
{
    for (size_t i = 0; i < CN_COUNT(kinds); i++)
        if (cn_str_eq(name, cn_str_c(kinds[i].name)) && cn_str_eq(group, cn_str_c(kinds[i].group)))
            return &kinds[i];
    return NULL;
}

static const kind_t *find_kind_by_name(cn_str_t name)
{
    for (size_t i = 0; i < CN_COUNT(kinds); i++)
        if (cn_str_eq(name, cn_str_c(kinds[i].name)))
            return &kinds[i];
    return NULL;
}

const char *cn_store_kind_name(cn_kind kind)
{
    return kinds[kind].name; /* the table begins in the order of cn_kind */
}

void cn_store_init(cn_store_t *s, cn_pool_t *pool, cn_diag_t *diag)
{
    *s = (cn_store_t){.pool = pool, .diag = diag};
    cn_map_init(&s->by_key);
    for (int k = 0; k < CN_KIND_MAX; k++)
        s->schema[k] = cn_schema_compile(pool, cn_schema_texts[k]);
}

void cn_store_fini(cn_store_t *s)
{
    cn_map_fini(&s->by_key);
}

/* ---- names ---- */

static bool is_dns_part(cn_str_t s)
{
    if (s.n == 0 || s.p[0] == '-' || s.p[s.n - 1] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
              s.p[i] == '-'))
            return false;
    return true;
}

bool cn_store_is_dns_label(cn_str_t s)
{
    return s.n <= 63 && is_dns_part(s);
}

bool cn_store_is_dns_subdomain(cn_str_t s)
{
    cn_str_t part;

    if (s.n == 0 || s.n > 253 || s.p[s.n - 1] == '.')
        return false;
    while (cn_str_split(&s, '.', &part))
        if (!is_dns_part(part))
            return false;
    return true;
}

bool cn_store_is_label_value(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_' || c == '.'))
            return false;
    }
    return s.n > 0 && s.n <= 253;
}

/* ---- objects ---- */

static cn_str_t metadata_value(const cn_object_t *o, const char *map, const char *key)
{
    return cn_node_str(cn_node_get(o->meta, map), key);
}

cn_str_t cn_store_label(const cn_object_t *o, const char *key)
{
    return metadata_value(o, "labels", key);
}

bool cn_store_has_label(const cn_object_t *o, const char *key)
{
    return cn_node_get(cn_node_get(o->meta, "labels"), key) != NULL;
}

cn_str_t cn_store_annotation(const cn_object_t *o, const char *key)
{
    return metadata_value(o, "annotations", key);
}

void cn_store_warn(cn_diag_t *d, const cn_object_t *o, const cn_node_t *at, const char *fmt, ...)
{
    va_list ap;
    cn_str_t text;

    if (cn_diag_marked(d, at))
        return;
    va_start(ap, fmt);
    text = cn_pool_vprintf(d->pool, fmt, ap);
    va_end(ap);
    cn_diag_warn(d, cn_node_pos(at, o->pos), "%.*s: %.*s", CN_STR_ARG(o->label), CN_STR_ARG(text));
}

void cn_store_error(cn_diag_t *d, const cn_object_t *o, const cn_node_t *at, const char *fmt, ...)
{
    va_list ap;
    cn_str_t text;

    if (cn_diag_marked(d, at))
        return;
    va_start(ap, fmt);
    text = cn_pool_vprintf(d->pool, fmt, ap);
    va_end(ap);
    cn_diag_error(d, cn_node_pos(at, o->pos), "%.*s: %.*s", CN_STR_ARG(o->label), CN_STR_ARG(text));
}

static bool names_ok(cn_store_t *s, const kind_t *k, cn_object_t *o)
{
    bool label = k->kind == CN_KIND_NAMESPACE || k->kind == CN_KIND_SERVICE;

    if (o->name.n == 0) {
        cn_diag_error(s->diag, o->pos, "%s without metadata.name is left out", k->name);
        return false;
    }
    if (label ? !cn_store_is_dns_label(o->name) : !cn_store_is_dns_subdomain(o->name)) {
        cn_diag_error(s->diag, o->pos,
                      "%s is left out: \"%.*s\" is not a name (lower-case letters, "
                      "digits, '-'%s)",
                      k->name, CN_STR_ARG(o->name), label ? "" : " and '.'");
        return false;
    }
    if (!k->cluster_wide && !cn_store_is_dns_label(o->ns)) {
        cn_diag_error(s->diag, o->pos, "%s %.*s is left out: \"%.*s\" is not a namespace name",
                      k->name, CN_STR_ARG(o->name), CN_STR_ARG(o->ns));
        return false;
    }
    return true;
}

/* Later objects replace earlier ones in place, as applying the files would. */
static void remember(cn_store_t *s, cn_object_t *o)
{
    cn_str_t key = o->label;
    cn_object_t *old = cn_map_get(&s->by_key, key);

    if (old) {
        cn_store_warn(s->diag, o, NULL, "is also given at %.*s:%u; the last one counts",
                      CN_STR_ARG(old->pos.src->name), old->pos.line);
        *old = *o;
        return;
    }
    cn_map_put(&s->by_key, key, o);
    *(cn_object_t **)cn_vec_push(s->pool, &s->objects[o->kind], sizeof(o)) = o;
}

static void add_object(cn_store_t *s, const kind_t *k, const cn_node_t *root)
{
    cn_object_t *o = cn_pool_zalloc(s->pool, sizeof(*o));

    o->kind = k->kind;
    o->pos = root->pos;
    o->root = root;
    o->meta = cn_node_get(root, "metadata");
    o->spec = cn_node_get(root, "spec");
    o->name = cn_node_str(o->meta, "name");
    if (!k->cluster_wide) {
        o->ns = cn_node_str(o->meta, "namespace");
        if (o->ns.n == 0)
            o->ns = CN_STR("default");
    }
    o->created = cn_node_str(o->meta, "creationTimestamp");
    o->deleted = cn_node_get(o->meta, "deletionTimestamp") != NULL;
    if (!names_ok(s, k, o))
        return;
    o->id = k->cluster_wide
                ? o->name
                : cn_pool_printf(s->pool, "%.*s/%.*s", CN_STR_ARG(o->ns), CN_STR_ARG(o->name));
    o->label = cn_pool_printf(s->pool, "%s %.*s", k->name, CN_STR_ARG(o->id));
    /* what has been through the API server has no misspelt field, perhaps newer ones */
    if (!cn_node_get(o->meta, "uid"))
        cn_schema_check(s->schema[k->kind], s->diag, root, o->label);
    remember(s, o);
}

/* ---- documents ---- */

static void suggest_kind(cn_store_t *s, const cn_node_t *root, cn_str_t kind)
{
    for (size_t i = 0; i < CN_COUNT(kinds); i++)
        if (kinds[i].use == USE_READ && cn_schema_distance(kind, cn_str_c(kinds[i].name), 2) <= 2) {
            cn_diag_warn(s->diag, root->pos,
                         "kind \"%.*s\" is unknown and has no effect; did you mean \"%s\"?",
                         CN_STR_ARG(kind), kinds[i].name);
            return;
        }
}

/* A document without apiVersion is read as the kind that its name says: people
 * paste such fragments from documentation. */
static const kind_t *kind_of(cn_store_t *s, const cn_node_t *root, cn_str_t kind)
{
    cn_str_t version = cn_node_str(root, "apiVersion"), group;
    size_t slash = cn_str_find(version, '/');
    const kind_t *k;

    if (version.n == 0) {
        k = find_kind_by_name(kind);
        if (k && k->use == USE_READ)
            cn_diag_warn(s->diag, root->pos,
                         "%s without apiVersion is read as one of %s%sv1; "
                         "kubectl would refuse it",
                         k->name, k->group, k->group[0] ? "/" : "");
        return k;
    }
    group = slash < version.n ? cn_str_make(version.p, slash) : CN_STR_NULL;
    k = find_kind(kind, group);
    if (k)
        return k;
    k = find_kind_by_name(kind);
    if (k && k->use == USE_READ && cn_schema_distance(group, cn_str_c(k->group), 4) <= 4)
        cn_diag_warn(s->diag, root->pos,
                     "%.*s of API group \"%.*s\" has no effect; did you mean \"%s\"?",
                     CN_STR_ARG(kind), CN_STR_ARG(group), k->group);
    else if (!k)
        suggest_kind(s, root, kind);
    return NULL;
}

static void say_no_effect(cn_store_t *s, const kind_t *k, const cn_node_t *root)
{
    const cn_node_t *meta = cn_node_get(root, "metadata");
    cn_str_t ns = cn_node_str(meta, "namespace"), name = cn_node_str(meta, "name");

    if (ns.n == 0 && !k->cluster_wide)
        ns = CN_STR("default");
    cn_diag_warn(s->diag, root->pos, "%s %.*s%s%.*s: %s: %s", k->name, CN_STR_ARG(ns),
                 ns.n ? "/" : "", CN_STR_ARG(name),
                 k->use == USE_NOT_YET ? "not supported yet and has no effect"
                                       : "has no effect at a waypoint, as in Istio",
                 k->instead);
}

static void add_one(cn_store_t *s, const cn_node_t *root, const kind_t *list_of)
{
    cn_str_t kind = cn_node_str(root, "kind");
    const kind_t *k = list_of;

    if (root->kind != CN_NODE_MAP) {
        cn_diag_error(s->diag, root->pos,
                      "the document is left out: it is %s, not an object with kind "
                      "and metadata",
                      cn_node_kind_name(root));
        return;
    }
    if (kind.n == 0 && !list_of) {
        cn_diag_error(s->diag, root->pos, "the document is left out: it has no kind");
        return;
    }
    s->documents++;
    if (kind.n)
        k = kind_of(s, root, kind);
    if (!k || k->use == USE_QUIET)
        return;
    if (k->use == USE_NOT_YET || k->use == USE_NOWHERE)
        say_no_effect(s, k, root);
    else
        add_object(s, k, root);
}

/* What the items of a "PodList" are when they do not say it; NULL for a plain List. */
static const kind_t *list_kind(const cn_node_t *root)
{
    cn_str_t kind = cn_node_str(root, "kind");

    return find_kind_by_name(cn_str_make(kind.p, kind.n - 4));
}

static bool is_list(const cn_node_t *root)
{
    const cn_node_t *items = cn_node_get(root, "items");

    return cn_str_ends(cn_node_str(root, "kind"), CN_STR("List")) &&
           (!items || items->kind == CN_NODE_LIST);
}

typedef struct {
    const cn_node_t *list;
    uint32_t at;
} open_list_t;

void cn_store_add(void *store, const cn_node_t *root)
{
    cn_store_t *s = store;
    open_list_t open[MAX_NESTED_LISTS] = {{root, 0}};
    unsigned depth = is_list(root) ? 1 : 0;

    if (!depth)
        add_one(s, root, NULL);
    while (depth) {
        open_list_t *l = &open[depth - 1];
        const cn_node_item_t *items = NULL;
        uint32_t n = cn_node_list(l->list, "items", &items);
        const cn_node_t *item;

        if (l->at == n) {
            s->documents++;
            depth--;
            continue;
        }
        item = items[l->at++].value;
        if (!is_list(item))
            add_one(s, item, list_kind(l->list));
        else if (depth < MAX_NESTED_LISTS)
            open[depth++] = (open_list_t){item, 0};
        else
            cn_diag_error(s->diag, item->pos,
                          "the list is left out: lists in lists, deeper than %d", MAX_NESTED_LISTS);
    }
}

static int by_id(const void *va, const void *vb)
{
    const cn_object_t *a = *(cn_object_t *const *)va, *b = *(cn_object_t *const *)vb;
    int c = cn_str_cmp(a->ns, b->ns);

    return c ? c : cn_str_cmp(a->name, b->name);
}

void cn_store_finish(cn_store_t *s)
{
    for (int k = 0; k < CN_KIND_MAX; k++)
        if (s->objects[k].n)
            qsort(s->objects[k].v, s->objects[k].n, sizeof(cn_object_t *), by_id);
}
