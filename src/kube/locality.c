/* SPDX-License-Identifier: Apache-2.0
 *
 * Which endpoints are preferred by where they are.  A DestinationRule's
 * localityLbSetting goes before the Service's trafficDistribution, which goes
 * before the mesh's setting (semantics 4.4).
 */
#include "kube/traffic.h"

#define MAX_WORDS 60  /* of a line; more than a mesh has regions */
#define MAX_LABELS 16 /* of failoverPriority */

typedef struct {
    cn_traffic_t *t;
    cn_reader_t r;
} locality_t;

#define pool_of(x) ((x)->t->w->pool)

static cn_dir_t *add(locality_t *x, const char *how)
{
    cn_dir_t *d = cn_dir_add(pool_of(x), x->t->dirs, "lb_locality");

    cn_dir_word(pool_of(x), d, cn_str_c(how));
    return d;
}

static void prefer(locality_t *x, const char *words)
{
    cn_str_t rest = cn_str_c(words), word;
    cn_dir_t *d = add(x, "prefer");

    while (cn_str_split(&rest, ' ', &word))
        cn_dir_word(pool_of(x), d, word);
}

/* ---- localityLbSetting ---- */

/* "TO=W" pairs; false: not one of them has a weight. */
static bool read_weights(locality_t *x, const cn_node_t *to, uint32_t index, cn_vec_t *out)
{
    bool some = false;

    for (uint32_t k = 0; k < to->n && k < MAX_WORDS; k++) {
        const cn_node_item_t *it = &to->items[k];
        uint64_t weight;

        if (!cn_value_is_locality(it->key, true) || it->value->kind >= CN_NODE_LIST ||
            cn_str_u64(it->value->text, 100, &weight) != CN_OK) {
            cn_store_error(x->r.w->diag, x->r.obj, to,
                           "localityLbSetting.distribute[%u].to: \"%.*s\" is no place with a "
                           "weight from 0 to 100; it is left out",
                           index, CN_STR_ARG(it->key));
            continue;
        }
        some |= weight > 0;
        *(cn_str_t *)cn_vec_push(pool_of(x), out, sizeof(cn_str_t)) =
            cn_pool_printf(pool_of(x), "%.*s=%u", CN_STR_ARG(it->key), (unsigned)weight);
    }
    return some;
}

/* One line; without a weight that can be read there is none. */
static void put_share(locality_t *x, const cn_node_t *node, uint32_t index)
{
    const cn_node_t *to = cn_node_get(node, "to");
    cn_str_t from = cn_read_text(&x->r, node, "from");
    cn_vec_t words = {0};
    cn_dir_t *d;

    if (!cn_value_is_locality(from, true) || !to || to->kind != CN_NODE_MAP) {
        cn_store_error(x->r.w->diag, x->r.obj, node,
                       "localityLbSetting.distribute[%u]: from is no region/zone/subzone, or to no "
                       "map; it is left out",
                       index);
        return;
    }
    if (!read_weights(x, to, index, &words))
        return;
    d = add(x, "distribute");
    cn_dir_word(pool_of(x), d, from);
    for (uint32_t i = 0; i < words.n; i++)
        cn_dir_word(pool_of(x), d, ((const cn_str_t *)words.v)[i]);
}

static bool put_shares(locality_t *x, const cn_node_t *node)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, node, "distribute", &items);

    for (uint32_t i = 0; i < n; i++)
        put_share(x, items[i].value, i);
    return n > 0;
}

static bool put_failover(locality_t *x, const cn_node_t *node)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, node, "failover", &items);
    cn_dir_t *d = n ? add(x, "failover") : NULL;

    for (uint32_t i = 0; i < n && i < MAX_WORDS / 2; i++) {
        cn_str_t from = cn_value_read_plain(&x->r, items[i].value, "from", "failover"),
                 to = cn_value_read_plain(&x->r, items[i].value, "to", "failover");

        if (cn_store_is_label_value(from) && cn_store_is_label_value(to)) {
            cn_dir_word(pool_of(x), d, from);
            cn_dir_word(pool_of(x), d, to);
        }
    }
    return n > 0;
}

static bool put_priority(locality_t *x, const cn_node_t *node)
{
    cn_vec_t labels = {0};
    const cn_str_t *v;
    cn_dir_t *d;

    cn_read_texts(&x->r, node, "failoverPriority", &labels);
    if (labels.n == 0)
        return false;
    d = add(x, "priority");
    v = labels.v;
    for (uint32_t i = 0; i < labels.n && i < MAX_LABELS; i++) {
        cn_str_t key = cn_str_make(v[i].p, cn_str_find(v[i], '='));

        if (!cn_value_is_word(v[i]))
            continue;
        cn_dir_word(pool_of(x), d, v[i]);
        if (!cn_str_starts(key, CN_STR("topology.")))
            *(cn_str_t *)cn_vec_push(pool_of(x), &x->t->labels, sizeof(key)) = key;
    }
    return true;
}

/* Failing over needs to know who fails: without outlierDetection only shares count. */
static void put_setting(locality_t *x, const cn_node_t *node, bool outlier)
{
    bool enabled = cn_value_read_bool(&x->r, node, "enabled", "localityLbSetting", true);

    if (!enabled) {
        (void)add(x, "off");
        return;
    }
    if (put_shares(x, node))
        return;
    if (!outlier) {
        if (cn_node_get(node, "failover") || cn_node_get(node, "failoverPriority"))
            cn_store_warn(x->r.w->diag, x->r.obj, node,
                          "localityLbSetting: failover has no effect without outlierDetection");
        return;
    }
    if (!put_priority(x, node) && !put_failover(x, node))
        (void)add(x, "failover");
}

/* ---- the Service's ---- */

#define ANNOTATION "networking.istio.io/traffic-distribution"

static bool is_near(cn_str_t word)
{
    return cn_str_eq(word, CN_STR("PreferClose")) || cn_str_eq(word, CN_STR("PreferSameZone"));
}

/* trafficDistribution, else the annotation of the Service or its namespace.
 * False: there is none. */
static bool put_distribution(locality_t *x)
{
    const cn_object_t *o = x->t->svc->obj;
    const cn_namespace_t *ns = cn_map_get(&x->t->w->namespaces, o->ns);
    const cn_reader_t r = {x->t->w, o};
    cn_str_t word =
        x->t->svc->is_entry ? CN_STR_NULL : cn_read_text(&r, o->spec, "trafficDistribution");

    if (word.n == 0)
        word = cn_store_annotation(o, ANNOTATION);
    if (word.n == 0 && ns)
        word = cn_store_annotation(ns->obj, ANNOTATION);
    if (word.n == 0 || cn_str_eq(word, CN_STR("Any")))
        return false;
    if (cn_str_eq(word, CN_STR("PreferSameNode"))) {
        prefer(x, "network region zone subzone node");
        x->t->uses_node = true;
    } else if (is_near(word)) {
        prefer(x, "network region zone");
    } else {
        cn_store_error(x->t->w->diag, o, cn_node_get(o->spec, "trafficDistribution"),
                       "trafficDistribution \"%.*s\" is none of PreferClose, PreferSameZone, "
                       "PreferSameNode; it has no effect",
                       CN_STR_ARG(word));
        return false;
    }
    return true;
}

static void put_internal(locality_t *x)
{
    static const char *const words[] = {"Cluster", "Local", NULL};
    const cn_reader_t r = {x->t->w, x->t->svc->obj};

    if (x->t->svc->is_entry ||
        cn_value_read_word(&r, x->t->svc->obj->spec, "internalTrafficPolicy", "spec", words) != 1)
        return;
    cn_dir_flag(pool_of(x), x->t->dirs, "internal_traffic", "local");
    x->t->uses_node = true;
}

void cn_locality_build(cn_traffic_t *t, const cn_object_t *rule, const cn_node_t *lb, bool outlier)
{
    const cn_node_t *own = cn_node_get(lb, "localityLbSetting");
    locality_t x = {t, {t->w, rule}};

    put_internal(&x);
    if (own) {
        put_setting(&x, own, outlier);
        return;
    }
    if (put_distribution(&x))
        return;
    if (t->w->mesh.locality)
        x.r.obj = t->w->mesh.obj;
    if (outlier || cn_node_get(t->w->mesh.locality, "distribute"))
        put_setting(&x, t->w->mesh.locality, outlier);
}
