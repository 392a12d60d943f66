/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON that is no YAML (kubectl's surrogate pairs, several objects in a row)
 * -> document trees, by jansson.  jansson keeps no positions, so every node
 * carries the line at which its text begins.
 */
#include <jansson.h>

#include "kube/yaml_int.h"

typedef struct {
    cn_node_t *node;
    json_t *json;
    void *iter; /* of an object */
    size_t at;  /* in an array, and items made so far */
} frame_t;

typedef struct {
    cn_pool_t *pool;
    cn_place_t pos;
    frame_t stack[CN_YAML_MAX_DEPTH];
    unsigned depth;
} convert_t;

static cn_node_t *scalar(convert_t *c, json_t *j)
{
    cn_node_t *node = cn_pool_zalloc(c->pool, sizeof(*node));

    node->pos = c->pos;
    node->weight = 1;
    switch (json_typeof(j)) {
    case JSON_STRING:
        node->kind = CN_NODE_STR;
        node->text = cn_pool_dup(c->pool, cn_str_make(json_string_value(j), json_string_length(j)));
        break;
    case JSON_INTEGER:
        node->kind = CN_NODE_INT;
        node->text = cn_pool_printf(c->pool, "%lld", (long long)json_integer_value(j));
        break;
    case JSON_REAL:
        node->kind = CN_NODE_FLOAT;
        node->text = cn_pool_printf(c->pool, "%g", json_real_value(j));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        node->kind = CN_NODE_BOOL;
        node->text = json_is_true(j) ? CN_STR("true") : CN_STR("false");
        break;
    default:
        node->kind = CN_NODE_NULL;
    }
    return node;
}

/* A node for j; a collection is opened on the stack and filled by convert(). */
static cn_node_t *begin(convert_t *c, json_t *j)
{
    size_t n = json_is_object(j) ? json_object_size(j) : json_array_size(j);
    cn_node_t *node;

    if (!json_is_object(j) && !json_is_array(j))
        return scalar(c, j);
    if (c->depth == CN_YAML_MAX_DEPTH)
        return NULL;
    node = cn_pool_zalloc(c->pool, sizeof(*node));
    node->kind = json_is_object(j) ? CN_NODE_MAP : CN_NODE_LIST;
    node->pos = c->pos;
    node->weight = 1;
    node->items = cn_pool_zalloc(c->pool, (n + 1) * sizeof(*node->items));
    c->stack[c->depth++] = (frame_t){node, j, json_is_object(j) ? json_object_iter(j) : NULL, 0};
    return node;
}

static cn_node_t *convert(convert_t *c, json_t *root)
{
    cn_node_t *out = begin(c, root);

    while (out && c->depth) {
        frame_t *f = &c->stack[c->depth - 1];
        cn_node_item_t *item = &f->node->items[f->at];
        json_t *value;

        if (json_is_object(f->json) ? !f->iter : f->at == json_array_size(f->json)) {
            c->depth--;
            continue;
        }
        item->line = c->pos.line;
        if (f->iter) {
            item->key = cn_pool_dup(c->pool, cn_str_c(json_object_iter_key(f->iter)));
            value = json_object_iter_value(f->iter);
            f->iter = json_object_iter_next(f->json, f->iter);
        } else {
            value = json_array_get(f->json, f->at);
        }
        f->node->n = (uint32_t)++f->at;
        item->value = begin(c, value);
        if (!item->value)
            return NULL;
    }
    return out;
}

static uint32_t lines_in(const char *p, size_t n)
{
    uint32_t lines = 0;

    for (size_t i = 0; i < n; i++)
        lines += p[i] == '\n';
    return lines;
}

static size_t skip_blanks(cn_str_t text, size_t at)
{
    while (at < text.n && strchr(" \t\r\n", text.p[at]) && text.p[at])
        at++;
    return at;
}

cn_rc cn_json_in_read(cn_pool_t *pool, const cn_source_t *src, cn_str_t text, uint32_t first_line,
                      cn_vec_t *docs, cn_str_t *why, uint32_t *line)
{
    size_t at = skip_blanks(text, 0);
    cn_rc rc = CN_OK;
    convert_t *c = cn_pool_zalloc(pool, sizeof(*c));

    while (rc == CN_OK && at < text.n) {
        json_error_t error;
        json_t *j = json_loadb(text.p + at, text.n - at, JSON_DISABLE_EOF_CHECK, &error);
        cn_node_t *node = NULL;

        *line = lines_in(text.p, at);
        *c = (convert_t){.pool = pool, .pos = {src, first_line + *line}};
        if (!j) {
            if (json_error_code(&error) == json_error_out_of_memory)
                cn_pool_out_of_memory();
            *line += error.line > 0 ? (uint32_t)error.line - 1 : 0;
            *why = cn_pool_printf(pool, "%s", error.text);
            return CN_ERR;
        }
        node = convert(c, j);
        json_decref(j);
        if (!node) {
            *why = cn_pool_printf(pool, "nested deeper than %d levels", CN_YAML_MAX_DEPTH);
            return CN_ERR;
        }
        *(const cn_node_t **)cn_vec_push(pool, docs, sizeof(node)) = node;
        at = skip_blanks(text, at + (size_t)error.position);
    }
    return rc;
}
