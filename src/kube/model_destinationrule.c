/* SPDX-License-Identifier: Apache-2.0
 *
 * DestinationRule: host, subsets and where it is seen.  Its policies are read
 * where they are applied (traffic.c): the same rule may serve many ports.
 */
#include "kube/vs_http.h"

static void read_subset(const cn_reader_t *r, cn_destination_t *d, const cn_node_t *node,
                        uint32_t i)
{
    cn_subset_t s = {.name = cn_read_text(r, node, "name"), .obj = r->obj, .node = node};

    if (!cn_store_is_label_value(s.name) || s.name.n > 63 || !cn_value_is_domain(s.name, false)) {
        cn_store_error(r->w->diag, r->obj, node,
                       "spec.subsets[%u]: \"%.*s\" cannot be a subset's name; it is left out", i,
                       CN_STR_ARG(s.name));
        return;
    }
    cn_read_labels(r, cn_node_get(node, "labels"), &s.labels);
    *(cn_subset_t *)cn_vec_push(r->w->pool, &d->subsets, sizeof(s)) = s;
}

/* The key of the index: "*.b.c" and "b.c" are found under "b.c". */
static void index_host(cn_world_t *w, cn_destination_t *d)
{
    cn_str_t key =
        cn_str_starts(d->host, CN_STR("*.")) ? cn_str_make(d->host.p + 2, d->host.n - 2) : d->host;
    cn_vec_t *list = cn_map_get(&w->destination_map, key);

    if (!list) {
        list = cn_pool_zalloc(w->pool, sizeof(*list));
        cn_map_put(&w->destination_map, key, list);
    }
    *(cn_destination_t **)cn_vec_push(w->pool, list, sizeof(d)) = d;
}

void cn_model_destinationrule_read(cn_world_t *w, const cn_object_t *o)
{
    const cn_reader_t r = {w, o};
    cn_destination_t *d = cn_pool_zalloc(w->pool, sizeof(*d));
    const cn_node_t *selector = cn_node_get(o->spec, "workloadSelector");
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&r, o->spec, "subsets", &items);
    cn_str_t host = cn_read_text(&r, o->spec, "host");

    d->obj = o;
    if (!cn_value_is_domain(host, true)) {
        cn_store_error(w->diag, o, cn_node_get(o->spec, "host"),
                       "spec.host \"%.*s\" is no host; the rule has no effect", CN_STR_ARG(host));
        return;
    }
    d->host = cn_vs_http_full_host(w->pool, host, o->ns);
    cn_read_texts(&r, o->spec, "exportTo", &d->exports);
    if (d->exports.n == 0)
        d->exports = w->mesh.destination_exports;
    d->has_selector = selector != NULL;
    cn_read_labels(&r, cn_node_get(selector, "matchLabels"), &d->selector);
    for (uint32_t i = 0; i < n; i++)
        read_subset(&r, d, items[i].value, i);
    *(cn_destination_t **)cn_vec_push(w->pool, &w->destinations, sizeof(d)) = d;
    index_host(w, d);
}
