/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking things up in a document tree.  Everything here accepts NULL and the
 * wrong kind of node, since the tree's shape is the input's.
 */
#include "kube/node.h"

const cn_node_item_t *cn_node_item(const cn_node_t *map, const char *key)
{
    cn_str_t k = cn_str_c(key);

    if (!map || map->kind != CN_NODE_MAP)
        return NULL;
    for (uint32_t i = 0; i < map->n; i++)
        if (cn_str_eq(map->items[i].key, k))
            return &map->items[i];
    return NULL;
}

const cn_node_t *cn_node_get(const cn_node_t *map, const char *key)
{
    const cn_node_item_t *item = cn_node_item(map, key);

    return item && item->value->kind != CN_NODE_NULL ? item->value : NULL;
}

cn_str_t cn_node_str(const cn_node_t *map, const char *key)
{
    const cn_node_t *v = cn_node_get(map, key);

    return v && v->kind < CN_NODE_LIST ? v->text : CN_STR_NULL;
}

uint32_t cn_node_list(const cn_node_t *map, const char *key, const cn_node_item_t **items)
{
    const cn_node_t *v = cn_node_get(map, key);

    if (!v || v->kind != CN_NODE_LIST)
        return 0;
    *items = v->items;
    return v->n;
}

bool cn_node_true(const cn_node_t *map, const char *key)
{
    const cn_node_t *v = cn_node_get(map, key);

    return v && v->kind == CN_NODE_BOOL && (v->text.p[0] | 0x20) != 'f' &&
           (v->text.p[0] | 0x20) != 'n' && !cn_str_ieq(v->text, CN_STR("off"));
}

const char *cn_node_kind_name(const cn_node_t *node)
{
    static const char *const names[] = {
        [CN_NODE_NULL] = "null",      [CN_NODE_BOOL] = "true or false", [CN_NODE_INT] = "a number",
        [CN_NODE_FLOAT] = "a number", [CN_NODE_STR] = "text",           [CN_NODE_LIST] = "a list",
        [CN_NODE_MAP] = "a map"};

    return node ? names[node->kind] : "nothing";
}
