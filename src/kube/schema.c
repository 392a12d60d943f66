/* SPDX-License-Identifier: Apache-2.0
 *
 * Compares a document with the known fields of its kind.  A schema tree lives
 * in the pool of whoever compiled it; the recursion here follows the schema,
 * which is ours, never the document.
 */
#include "kube/schema.h"

#define MAX_NAME 64

struct cn_schema {
    cn_str_t name;
    bool open; /* its contents are not looked at */
    bool list;
    const cn_schema_t **fields;
    uint32_t n;
};

static const char *compile_fields(cn_pool_t *pool, const char *p, cn_schema_t *into)
{
    cn_vec_t fields = {0};

    for (;;) {
        cn_schema_t *field;
        size_t n;

        p += strspn(p, " ");
        n = strcspn(p, " {}[]");
        if (n == 0)
            break;
        field = cn_pool_zalloc(pool, sizeof(*field));
        field->name = cn_str_make(p, n);
        field->open = true;
        p += n;
        if (*p == '{' || *p == '[') {
            field->open = false;
            field->list = *p == '[';
            p = compile_fields(pool, p + 1, field) + 1;
        }
        *(const cn_schema_t **)cn_vec_push(pool, &fields, sizeof(field)) = field;
    }
    into->fields = fields.v;
    into->n = fields.n;
    return p;
}

const cn_schema_t *cn_schema_compile(cn_pool_t *pool, const char *text)
{
    cn_schema_t *root = cn_pool_zalloc(pool, sizeof(*root));

    CN_BUG_ON(*compile_fields(pool, text, root) != '\0');
    return root;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

unsigned cn_schema_distance(cn_str_t a, cn_str_t b, unsigned limit)
{
    unsigned row[MAX_NAME + 1];

    if (a.n > MAX_NAME || b.n > MAX_NAME)
        return limit + 1;
    for (unsigned j = 0; j <= b.n; j++)
        row[j] = j;
    for (unsigned i = 0; i < a.n; i++) {
        unsigned diagonal = row[0];

        row[0] = i + 1;
        for (unsigned j = 0; j < b.n; j++) {
            unsigned best = diagonal + (lower(a.p[i]) != lower(b.p[j]));

            diagonal = row[j + 1];
            if (diagonal + 1 < best)
                best = diagonal + 1;
            if (row[j] + 1 < best)
                best = row[j] + 1;
            row[j + 1] = best;
        }
    }
    return row[b.n] <= limit ? row[b.n] : limit + 1;
}

static const cn_schema_t *field_of(const cn_schema_t *s, cn_str_t name)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (cn_str_eq(s->fields[i]->name, name))
            return s->fields[i];
    return NULL;
}

static cn_str_t nearest(const cn_schema_t *s, cn_str_t name)
{
    unsigned best = (unsigned)(name.n / 2) + 1;
    cn_str_t found = CN_STR_NULL;

    for (uint32_t i = 0; i < s->n; i++) {
        unsigned d = cn_schema_distance(name, s->fields[i]->name, best);

        if (d < best) {
            best = d;
            found = s->fields[i]->name;
        }
    }
    return found;
}

static void check_map(const cn_schema_t *s, cn_diag_t *diag, const cn_node_t *map, cn_str_t object,
                      cn_str_t path);

static void check_value(const cn_schema_t *s, cn_diag_t *diag, const cn_node_t *v, cn_str_t object,
                        cn_str_t path)
{
    if (s->open || v->kind == CN_NODE_NULL)
        return;
    if (!s->list) {
        if (v->kind == CN_NODE_MAP)
            check_map(s, diag, v, object, path);
        else
            cn_diag_warn(diag, v->pos, "%.*s: %.*s must be a map, not %s; it has no effect",
                         CN_STR_ARG(object), CN_STR_ARG(path), cn_node_kind_name(v));
        return;
    }
    for (uint32_t i = 0; v->kind == CN_NODE_LIST && i < v->n; i++) {
        cn_schema_t element = *s;

        element.list = false;
        check_value(&element, diag, v->items[i].value, object,
                    cn_pool_printf(diag->pool, "%.*s[%u]", CN_STR_ARG(path), i));
    }
}

static void check_map(const cn_schema_t *s, cn_diag_t *diag, const cn_node_t *map, cn_str_t object,
                      cn_str_t path)
{
    for (uint32_t i = 0; map->kind == CN_NODE_MAP && i < map->n; i++) {
        const cn_node_item_t *it = &map->items[i];
        const cn_schema_t *field = field_of(s, it->key);
        const char *dot = path.n ? "." : "";
        cn_str_t near;

        if (field) {
            if (!field->open)
                check_value(field, diag, it->value, object,
                            cn_pool_printf(diag->pool, "%.*s%s%.*s", CN_STR_ARG(path), dot,
                                           CN_STR_ARG(it->key)));
            continue;
        }
        near = nearest(s, it->key);
        if (near.n)
            cn_diag_warn(diag, (cn_place_t){map->pos.src, it->line},
                         "%.*s: %.*s%s%.*s: unknown field, has no effect; did you mean \"%.*s\"?",
                         CN_STR_ARG(object), CN_STR_ARG(path), dot, CN_STR_ARG(it->key),
                         CN_STR_ARG(near));
        else
            cn_diag_warn(diag, (cn_place_t){map->pos.src, it->line},
                         "%.*s: %.*s%s%.*s: unknown field, has no effect", CN_STR_ARG(object),
                         CN_STR_ARG(path), dot, CN_STR_ARG(it->key));
    }
}

void cn_schema_check(const cn_schema_t *s, cn_diag_t *diag, const cn_node_t *root, cn_str_t object)
{
    check_map(s, diag, root, object, CN_STR_NULL);
}
