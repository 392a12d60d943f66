/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading fields out of documents, with a complaint where the type is not what
 * the API asks for; and label selectors.
 */
#include "kube/model.h"

#include <stdlib.h>

cn_str_t cn_read_text(const cn_reader_t *r, const cn_node_t *map, const char *key)
{
    const cn_node_t *v = cn_node_get(map, key);

    if (!v)
        return CN_STR_NULL;
    if (v->kind == CN_NODE_LIST || v->kind == CN_NODE_MAP) {
        cn_store_error(r->w->diag, r->obj, v, "%s must be text, not %s", key, cn_node_kind_name(v));
        return CN_STR_NULL;
    }
    if (v->kind != CN_NODE_STR)
        cn_store_warn(r->w->diag, r->obj, v,
                      "%s: %.*s is %s where text is expected; write \"%.*s\"", key,
                      CN_STR_ARG(v->text), cn_node_kind_name(v), CN_STR_ARG(v->text));
    return v->text;
}

bool cn_read_number(const cn_reader_t *r, const cn_node_t *map, const char *key, int64_t min,
                    int64_t max, int64_t *out)
{
    const cn_node_t *v = cn_node_get(map, key);
    cn_str_t digits;
    uint64_t n;
    bool minus;

    if (!v)
        return false;
    digits = v->kind == CN_NODE_INT || v->kind == CN_NODE_STR ? v->text : CN_STR_NULL;
    minus = digits.n && digits.p[0] == '-';
    if (digits.n && (minus || digits.p[0] == '+'))
        digits = cn_str_make(digits.p + 1, digits.n - 1);
    if (cn_str_u64(digits, INT64_MAX, &n) == CN_OK) {
        *out = minus ? -(int64_t)n : (int64_t)n;
        if (*out >= min && *out <= max)
            return true;
    }
    cn_store_error(r->w->diag, r->obj, v, "%s must be a number from %lld to %lld, not \"%.*s\"",
                   key, (long long)min, (long long)max, CN_STR_ARG(v->text));
    return false;
}

uint32_t cn_read_list(const cn_reader_t *r, const cn_node_t *map, const char *key,
                      const cn_node_item_t **items)
{
    const cn_node_t *v = cn_node_get(map, key);

    if (v && v->kind != CN_NODE_LIST)
        cn_store_error(r->w->diag, r->obj, v, "%s must be a list, not %s", key,
                       cn_node_kind_name(v));
    return cn_node_list(map, key, items);
}

void cn_read_texts(const cn_reader_t *r, const cn_node_t *map, const char *key, cn_vec_t *out)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, map, key, &items);

    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *v = items[i].value;

        if (v->kind >= CN_NODE_LIST || v->kind == CN_NODE_NULL)
            cn_store_error(r->w->diag, r->obj, v, "%s[%u] must be text, not %s", key, i,
                           cn_node_kind_name(v));
        else
            *(cn_str_t *)cn_vec_push(r->w->pool, out, sizeof(cn_str_t)) = v->text;
    }
}

void cn_read_labels(const cn_reader_t *r, const cn_node_t *map, cn_selector_t *sel)
{
    for (uint32_t i = 0; map && map->kind == CN_NODE_MAP && i < map->n; i++) {
        const cn_node_item_t *it = &map->items[i];
        cn_sel_term_t *t = cn_vec_push(r->w->pool, &sel->terms, sizeof(*t));

        *t = (cn_sel_term_t){.key = it->key, .op = CN_SEL_IN};
        *(cn_str_t *)cn_vec_push(r->w->pool, &t->values, sizeof(cn_str_t)) =
            it->value->kind < CN_NODE_LIST ? it->value->text : CN_STR_NULL;
    }
}

static bool read_operator(cn_str_t s, cn_sel_op *op)
{
    static const char *const words[] = {[CN_SEL_IN] = "In",
                                        [CN_SEL_NOT_IN] = "NotIn",
                                        [CN_SEL_EXISTS] = "Exists",
                                        [CN_SEL_ABSENT] = "DoesNotExist"};

    for (unsigned i = 0; i < CN_COUNT(words); i++)
        if (cn_str_eq(s, cn_str_c(words[i]))) {
            *op = (cn_sel_op)i;
            return true;
        }
    return false;
}

bool cn_read_selector(const cn_reader_t *r, const cn_node_t *node, cn_selector_t *sel)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(r, node, "matchExpressions", &items);

    cn_read_labels(r, cn_node_get(node, "matchLabels"), sel);
    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *e = items[i].value;
        cn_sel_term_t *t = cn_vec_push(r->w->pool, &sel->terms, sizeof(*t));
        cn_str_t op = cn_read_text(r, e, "operator");

        t->key = cn_read_text(r, e, "key");
        if (!read_operator(op, &t->op)) {
            cn_store_error(r->w->diag, r->obj, e,
                           "matchExpressions[%u].operator \"%.*s\" is none of "
                           "In, NotIn, Exists, DoesNotExist: nothing is selected",
                           i, CN_STR_ARG(op));
            return false;
        }
        cn_read_texts(r, e, "values", &t->values);
    }
    return true;
}

static bool has_value(const cn_vec_t *values, cn_str_t v)
{
    const cn_str_t *s = values->v;

    for (uint32_t i = 0; i < values->n; i++)
        if (cn_str_eq(s[i], v))
            return true;
    return false;
}

static bool term_holds(const cn_sel_term_t *t, bool present, cn_str_t value)
{
    switch (t->op) {
    case CN_SEL_IN:
        return present && has_value(&t->values, value);
    case CN_SEL_NOT_IN:
        return !present || !has_value(&t->values, value);
    case CN_SEL_EXISTS:
        return present;
    default:
        return !present;
    }
}

bool cn_read_selects(const cn_selector_t *sel, const cn_node_t *meta, const char *extra_key,
                     cn_str_t extra_value)
{
    const cn_node_t *labels = cn_node_get(meta, "labels");
    const cn_sel_term_t *t = sel->terms.v;

    for (uint32_t i = 0; i < sel->terms.n; i++) {
        bool present = false;
        cn_str_t value = CN_STR_NULL;

        for (uint32_t k = 0; labels && k < labels->n; k++)
            if (cn_str_eq(labels->items[k].key, t[i].key)) {
                present = true;
                value = labels->items[k].value->kind < CN_NODE_LIST ? labels->items[k].value->text
                                                                    : CN_STR_NULL;
            }
        if (extra_key && cn_str_eq(t[i].key, cn_str_c(extra_key))) {
            present = true;
            value = extra_value;
        }
        if (!term_holds(&t[i], present, value))
            return false;
    }
    return true;
}
