/* SPDX-License-Identifier: Apache-2.0
 *
 * MeshConfig -> cn_mesh_t.  Takes the YAML itself, or the ConfigMap "istio" as
 * kubectl prints it, whose data.mesh is such YAML.
 */
#include "kube/meshconfig.h"

#include "kube/logformat.h"
#include "kube/schema.h"
#include "kube/store.h"
#include "kube/value.h"
#include "kube/yaml.h"

typedef struct {
    cn_mesh_t *mesh;
    cn_pool_t *pool;
    cn_diag_t *diag;
    bool found;
    bool inner; /* reading data.mesh of a ConfigMap */
} mesh_reader_t;

void cn_meshconfig_default(cn_mesh_t *m)
{
    *m = (cn_mesh_t){.trust_domain = CN_STR("cluster.local"),
                     .root_namespace = CN_STR("istio-system"),
                     .cluster_id = CN_STR("Kubernetes"),
                     .path_normalization = "base",
                     .connect_timeout = CN_STR("10s")};
}

static void take_token(mesh_reader_t *r, const cn_node_t *root, const char *key, cn_str_t *out)
{
    const cn_node_t *v = cn_node_get(root, key);
    cn_str_t text = cn_node_str(root, key);

    if (!v || (v->kind == CN_NODE_STR && text.n == 0))
        return;
    if (cn_store_is_label_value(text))
        *out = text;
    else
        cn_diag_error(r->diag, v->pos, "MeshConfig: %s: \"%.*s\" is not usable; the default stays",
                      key, CN_STR_ARG(text));
}

static void take_aliases(mesh_reader_t *r, const cn_node_t *root)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_node_list(root, "trustDomainAliases", &items);

    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *v = items[i].value;

        if (v->kind < CN_NODE_LIST && cn_store_is_label_value(v->text))
            *(cn_str_t *)cn_vec_push(r->pool, &r->mesh->aliases, sizeof(cn_str_t)) = v->text;
        else
            cn_diag_error(r->diag, v->pos,
                          "MeshConfig: trustDomainAliases[%u] is not a trust domain", i);
    }
}

#define MAX_FORMAT 16384

static bool printable(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\n' && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return s.n <= MAX_FORMAT;
}

static void take_access_log(mesh_reader_t *r, const cn_node_t *root)
{
    cn_str_t file = cn_node_str(root, "accessLogFile"),
             format = cn_node_str(root, "accessLogFormat");
    cn_str_t encoding = cn_node_str(root, "accessLogEncoding");

    r->mesh->log_json = cn_str_ieq(encoding, CN_STR("JSON")) || cn_str_eq(encoding, CN_STR("1"));
    if (printable(file))
        r->mesh->log_file = file;
    if (format.n == 0 || file.n == 0)
        return;
    if (r->mesh->log_json || !printable(format))
        cn_diag_warn(
            r->diag, cn_node_get(root, "accessLogFormat")->pos,
            "MeshConfig: accessLogFormat: "
            "has no effect: not supported yet with accessLogEncoding JSON; the default fields "
            "are written");
    else
        r->mesh->log_format =
            cn_logformat_clean(r->pool, r->diag, cn_node_get(root, "accessLogFormat")->pos, format);
}

static void take_normalization(mesh_reader_t *r, const cn_node_t *root)
{
    static const struct {
        const char *istio, *word;
    } map[] = {{"DEFAULT", "base"},
               {"BASE", "base"},
               {"NONE", "none"},
               {"MERGE_SLASHES", "merge_slashes"},
               {"DECODE_AND_MERGE_SLASHES", "decode_and_merge_slashes"}};
    const cn_node_t *pn = cn_node_get(root, "pathNormalization"),
                    *v = cn_node_get(pn, "normalization");
    cn_str_t text = cn_node_str(pn, "normalization");

    if (!v)
        return;
    for (size_t i = 0; i < CN_COUNT(map); i++)
        if (cn_str_eq(text, cn_str_c(map[i].istio))) {
            r->mesh->path_normalization = map[i].word;
            return;
        }
    cn_diag_error(r->diag, v->pos,
                  "MeshConfig: pathNormalization.normalization \"%.*s\" is none of NONE, "
                  "BASE, MERGE_SLASHES, DECODE_AND_MERGE_SLASHES; BASE stays",
                  CN_STR_ARG(text));
}

static void take_timeout(mesh_reader_t *r, const cn_node_t *root)
{
    cn_str_t text = cn_node_str(root, "connectTimeout");
    uint64_t ms = 0;

    if (text.n == 0)
        return;
    if (cn_value_duration(text, &ms) == CN_OK && ms > 0)
        r->mesh->connect_timeout = cn_dir_time(r->pool, ms);
    else
        cn_diag_error(
            r->diag, cn_node_get(root, "connectTimeout")->pos,
            "MeshConfig: connectTimeout \"%.*s\" is no time such as 10s or 500ms; 10s stays",
            CN_STR_ARG(text));
}

static void take_exports(mesh_reader_t *r, const cn_node_t *root, const char *key, cn_vec_t *out)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_node_list(root, key, &items);

    *out = (cn_vec_t){0};
    for (uint32_t i = 0; i < n; i++)
        if (items[i].value->kind < CN_NODE_LIST)
            *(cn_str_t *)cn_vec_push(r->pool, out, sizeof(cn_str_t)) = items[i].value->text;
}

/* What clusters and routes start with; it is read where it is applied. */
static void take_traffic(mesh_reader_t *r, const cn_node_t *root)
{
    cn_mesh_t *m = r->mesh;
    cn_object_t *o = cn_pool_zalloc(r->pool, sizeof(*o));
    cn_str_t upgrade = cn_node_str(root, "h2UpgradePolicy");

    o->label = CN_STR("MeshConfig");
    o->pos = root->pos;
    o->root = o->spec = root;
    m->obj = o;
    m->retry = cn_node_get(root, "defaultHttpRetryPolicy");
    m->locality = cn_node_get(root, "localityLbSetting");
    m->keepalive = cn_node_get(root, "tcpKeepalive");
    m->proxy = cn_node_get(root, "defaultConfig");
    m->upgrade_h2 = cn_str_eq(upgrade, CN_STR("UPGRADE")) || cn_str_eq(upgrade, CN_STR("1"));
    take_exports(r, root, "defaultServiceExportTo", &m->service_exports);
    take_exports(r, root, "defaultVirtualServiceExportTo", &m->virtual_exports);
    take_exports(r, root, "defaultDestinationRuleExportTo", &m->destination_exports);
}

static void say_unsupported(mesh_reader_t *r, const cn_node_t *root)
{
    static const char *const fields[] = {"extensionProviders", "defaultProviders",
                                         "hboneIdleTimeout", "enableEnvoyAccessLogService",
                                         "caCertificates"};

    for (size_t i = 0; i < CN_COUNT(fields); i++) {
        const cn_node_item_t *it = cn_node_item(root, fields[i]);

        if (cn_node_get(root, fields[i]) && !(it->value->kind == CN_NODE_BOOL))
            cn_diag_warn(r->diag, (cn_place_t){root->pos.src, it->line},
                         "MeshConfig: %s: not supported yet and has no effect", fields[i]);
    }
}

static void take_document(void *arg, const cn_node_t *root)
{
    mesh_reader_t *r = arg;
    cn_mesh_t *m = r->mesh;

    if (!r->inner && cn_str_eq(cn_node_str(root, "kind"), CN_STR("ConfigMap"))) {
        cn_str_t text = cn_node_str(cn_node_get(root, "data"), "mesh");
        cn_source_t *src = cn_pool_zalloc(r->pool, sizeof(*src));

        src->name = cn_pool_printf(r->pool, "%.*s(data.mesh)", CN_STR_ARG(root->pos.src->name));
        src->index = root->pos.src->index;
        r->inner = true;
        cn_yaml_read(r->pool, r->diag, src, text, take_document, r);
        r->inner = false;
        return;
    }
    if (root->kind != CN_NODE_MAP) {
        cn_diag_error(r->diag, root->pos, "MeshConfig: expected a map, found %s",
                      cn_node_kind_name(root));
        return;
    }
    r->found = true;
    cn_schema_check(cn_schema_compile(r->pool, cn_schema_meshconfig), r->diag, root,
                    CN_STR("MeshConfig"));
    take_token(r, root, "trustDomain", &m->trust_domain);
    take_token(r, root, "rootNamespace", &m->root_namespace);
    take_token(r, root, "clusterName", &m->cluster_id);
    take_token(r, root, "network", &m->network);
    take_aliases(r, root);
    take_access_log(r, root);
    take_normalization(r, root);
    take_timeout(r, root);
    take_traffic(r, root);
    say_unsupported(r, root);
}

cn_rc cn_meshconfig_read(cn_mesh_t *m, cn_pool_t *pool, cn_diag_t *diag, const cn_source_t *src,
                         cn_str_t text)
{
    mesh_reader_t r = {m, pool, diag, false, false};

    cn_yaml_read(pool, diag, src, text, take_document, &r);
    if (!r.found && diag->errors == 0)
        cn_diag_warn(diag, (cn_place_t){src, 0}, "holds no MeshConfig; the defaults stay");
    return r.found || diag->errors == 0 ? CN_OK : CN_ERR;
}
