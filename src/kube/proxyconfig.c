/* SPDX-License-Identifier: Apache-2.0
 *
 * ProxyConfig -> directives (facts/observability 5).  Of its many fields those
 * count that say what a waypoint does with requests, its workers and its end;
 * the rest is about Envoy or the injection of sidecars, and is not looked at.
 */
#include "kube/proxyconfig.h"

#include "kube/schema.h"
#include "kube/value.h"
#include "kube/yaml.h"

#define CONFIG "proxy.istio.io/config"
#define XFCC "ambient.istio.io/xfcc-include-client-identity"
#define HEADERS "proxyHeaders"
#define MOST_WORKERS 128
#define LONGEST_END 86400000u /* milliseconds */

/* One place where it is written. */
typedef struct {
    cn_reader_t r;
    const cn_node_t *root; /* NULL: not written there */
} layer_t;

typedef struct {
    cn_pool_t *pool;
    cn_out_t *out;
    layer_t layers[2]; /* the one that counts first */
} config_t;

/* As it is on the waypoint's pods. */
static const cn_node_t *annotation_of(const cn_object_t *gateway, const char *key)
{
    const cn_node_t *own = cn_node_get(cn_node_get(gateway->spec, "infrastructure"), "annotations"),
                    *v = cn_node_get(own, key);

    return v ? v : cn_node_get(cn_node_get(gateway->meta, "annotations"), key);
}

static void take_document(void *arg, const cn_node_t *root)
{
    layer_t *l = arg;
    cn_diag_t *diag = l->r.w->diag;
    cn_str_t label =
        cn_pool_printf(l->r.w->pool, "%.*s: annotation " CONFIG, CN_STR_ARG(l->r.obj->label));

    if (root->kind != CN_NODE_MAP) {
        cn_diag_error(diag, root->pos, "%.*s: expected a map, found %s; it has no effect",
                      CN_STR_ARG(label), cn_node_kind_name(root));
        return;
    }
    l->root = root;
    cn_schema_check(cn_schema_compile(l->r.w->pool, cn_schema_proxyconfig), diag, root, label);
}

/* The annotation's text is YAML of its own; its lines are counted from its first. */
static void read_annotation(layer_t *l, const cn_object_t *gateway)
{
    const cn_node_t *v = annotation_of(gateway, CONFIG);
    cn_source_t *src;

    if (!v || v->kind != CN_NODE_STR)
        return;
    src = cn_pool_zalloc(l->r.w->pool, sizeof(*src));
    src->name = cn_pool_printf(l->r.w->pool, "%.*s(annotation " CONFIG ")",
                               CN_STR_ARG(gateway->pos.src->name));
    src->index = gateway->pos.src->index;
    cn_yaml_read(l->r.w->pool, l->r.w->diag, src, v->text, take_document, l);
}

/* The layer and the map (below proxyHeaders, or the root) where a field is written. */
static const layer_t *find(const config_t *x, const char *group, const char *key,
                           const cn_node_t **map)
{
    for (size_t i = 0; i < CN_COUNT(x->layers); i++) {
        const layer_t *l = &x->layers[i];
        const cn_node_t *headers = cn_node_get(l->root, HEADERS);

        *map = !group ? l->root : *group ? cn_node_get(headers, group) : headers;
        if (cn_node_get(*map, key))
            return l;
    }
    return NULL;
}

static bool is_on(const config_t *x, const char *group, const char *key)
{
    const cn_node_t *map;
    const layer_t *l = find(x, group, key, &map);

    return l && cn_value_read_bool(&l->r, map, key, *group ? group : HEADERS, false);
}

static void say(const config_t *x, const char *group, const char *key, const char *why)
{
    const cn_node_t *map;
    const layer_t *l = find(x, group, key, &map);

    if (l)
        cn_store_warn(l->r.w->diag, l->r.obj, cn_node_get(map, key),
                      HEADERS "%s%s.%s: has no effect: %s", *group ? "." : "", group, key, why);
}

/* ---- headers ---- */

static void put_server(const config_t *x)
{
    const cn_node_t *map;
    const layer_t *l = find(x, "server", "value", &map);
    cn_str_t value = l ? cn_read_text(&l->r, map, "value") : CN_STR_NULL;

    if (is_on(x, "server", "disabled"))
        cn_dir_word(x->pool, cn_dir_add(x->pool, &x->out->defaults, "server_header"), CN_STR(""));
    else if (value.n && cn_value_is_header(value))
        cn_dir_word(x->pool, cn_dir_add(x->pool, &x->out->defaults, "server_header"), value);
    else if (value.n)
        cn_store_error(l->r.w->diag, l->r.obj, cn_node_get(map, "value"),
                       HEADERS ".server.value cannot stand in a header; it has no effect");
}

/* What Istio's annotation asks for goes before ProxyConfig: it is about this waypoint. */
static void put_client_cert(const config_t *x, const cn_world_t *w, const cn_gateway_t *g)
{
    static const char *const words[] = {
        "UNDEFINED",           "SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET",
        "ALWAYS_FORWARD_ONLY", NULL};
    static const char *const as[] = {NULL, "remove", "pass", "append", "set", "pass"};
    const cn_gateway_class_t *class = cn_map_get(&w->classes, g->class_name);
    const cn_node_t *v = annotation_of(g->obj, XFCC), *map;
    const layer_t *l = find(x, "", "forwardedClientCert", &map);
    int word = l ? cn_value_read_word(&l->r, map, "forwardedClientCert", HEADERS, words) : -1;
    const char *mode = word < 0 ? NULL : as[word];

    if (!v && class)
        v = cn_node_get(cn_node_get(class->obj->meta, "annotations"), XFCC);
    if (v && cn_str_eq(v->text, CN_STR("true")))
        mode = "set";
    else if (v && !cn_str_eq(v->text, CN_STR("false")))
        cn_store_error(w->diag, g->obj, v,
                       "annotation " XFCC " \"%.*s\" is neither \"true\" nor \"false\"; it has no "
                       "effect",
                       CN_STR_ARG(v->text));
    if (mode)
        cn_dir_flag(x->pool, &x->out->defaults, "forwarded_client_cert", mode);
}

static void put_headers(const config_t *x)
{
    cn_vec_t *dirs = &x->out->defaults;

    put_server(x);
    if (is_on(x, "requestId", "disabled"))
        cn_dir_flag(x->pool, dirs, "request_id", "off");
    if (is_on(x, "envoyDebugHeaders", "disabled"))
        cn_dir_flag(x->pool, dirs, "service_time_header", "off");
    if (is_on(x, "xForwardedPort", "enabled"))
        cn_dir_flag(x->pool, dirs, "forwarded_port", "on");
    if (is_on(x, "xForwardedHost", "enabled"))
        say(x, "xForwardedHost", "enabled",
            "a host that was rewritten is told as x-envoy-original-host");
    if (is_on(x, "", "preserveHttp1HeaderCase"))
        say(x, "", "preserveHttp1HeaderCase", "names of headers are sent in lower case");
    say(x, "", "setCurrentClientCertDetails", "By and URI are told, which is what a tunnel has");
}

/* ---- the process ---- */

static void put_process(const config_t *x)
{
    const cn_node_t *map;
    const layer_t *l = find(x, NULL, "concurrency", &map);
    int64_t n = 0;

    if (l && cn_read_number(&l->r, map, "concurrency", 0, MOST_WORKERS, &n))
        x->out->workers = (uint32_t)n;
    l = find(x, NULL, "terminationDrainDuration", &map);
    if (l &&
        cn_value_read_duration(&l->r, map, "terminationDrainDuration", "defaultConfig",
                               &x->out->shutdown_ms) &&
        (x->out->shutdown_ms == 0 || x->out->shutdown_ms > LONGEST_END))
        x->out->shutdown_ms = 0;
}

void cn_proxyconfig_put(const cn_world_t *w, const cn_gateway_t *g, cn_out_t *out)
{
    config_t x = {.pool = w->pool, .out = out};

    x.layers[0] = (layer_t){.r = {w, g->obj}};
    x.layers[1] = (layer_t){.r = {w, w->mesh.obj}, .root = w->mesh.proxy};
    read_annotation(&x.layers[0], g->obj);
    put_process(&x);
    put_headers(&x);
    put_client_cert(&x, w, g);
}
