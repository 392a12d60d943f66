/* SPDX-License-Identifier: Apache-2.0
 *
 * A document as a typed tree, whatever it was written in (YAML or JSON).
 * Nodes are immutable after the reader made them, live in the reader's pool
 * and may be shared through YAML aliases, so a tree has no cycle but may have
 * a node in several places.
 */
#ifndef CN_KUBE_NODE_H
#define CN_KUBE_NODE_H

#include "kube/diag.h"

typedef enum {
    CN_NODE_NULL,
    CN_NODE_BOOL,
    CN_NODE_INT, /* text is a decimal number */
    CN_NODE_FLOAT,
    CN_NODE_STR,
    CN_NODE_LIST,
    CN_NODE_MAP
} cn_node_kind;

typedef struct cn_node cn_node_t;

typedef struct {
    cn_str_t key; /* empty in a list */
    uint32_t line;
    const cn_node_t *value;
} cn_node_item_t;

struct cn_node {
    cn_node_kind kind;
    uint32_t n; /* of items */
    cn_place_t pos;
    cn_str_t text;         /* scalars: as written */
    cn_node_item_t *items; /* LIST and MAP */
    uint64_t weight;       /* nodes below and with it, aliases written out */
};

/* The value of a key; NULL when it is absent or null, or when map is NULL or no map. */
const cn_node_t *cn_node_get(const cn_node_t *map, const char *key);
/* The same with the key's own line. */
const cn_node_item_t *cn_node_item(const cn_node_t *map, const char *key);
/* Text of a string at a key; empty when it is absent or not a scalar. */
cn_str_t cn_node_str(const cn_node_t *map, const char *key);
/* Elements of a list at a key: 0 when absent or not a list. */
uint32_t cn_node_list(const cn_node_t *map, const char *key, const cn_node_item_t **items);
/* True only for the boolean true. */
bool cn_node_true(const cn_node_t *map, const char *key);
/* "a list", "a number", ... for messages. */
const char *cn_node_kind_name(const cn_node_t *);
static inline cn_place_t cn_node_pos(const cn_node_t *node, cn_place_t otherwise)
{
    return node ? node->pos : otherwise;
}

#endif
