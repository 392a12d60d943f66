/* SPDX-License-Identifier: Apache-2.0
 *
 * Compares a document with the known fields of its kind.  A schema tree lives
 * in the pool of whoever compiled it; the recursion here follows the schema,
 * which is ours, never the document.
 */
#include "kube/schema.h"

#define MAX_NAME 64

typedef enum {
    ANY,   /* its contents are not looked at */
    ONE,   /* text, a number, true or false */
    ONES,  /* a list of those */
    NAMED, /* a map whose keys are the user's own */
    MAP,
    MAPS /* a list of maps */
} shape_t;

struct cn_schema {
    cn_str_t name;
    shape_t shape;
    const cn_schema_t **fields; /* of MAP and MAPS */
    uint32_t n;
};

static shape_t shape_of(char mark, shape_t plain)
{
    switch (mark) {
    case '*':
        return ANY;
    case '+':
        return ONES;
    case '~':
        return NAMED;
    case '{':
        return MAP;
    case '[':
        return MAPS;
    default:
        return plain;
    }
}

static const char *compile_fields(cn_pool_t *pool, const char *p, shape_t plain, cn_schema_t *into)
{
    cn_vec_t fields = {0};

    for (;;) {
        cn_schema_t *field;
        size_t n;

        p += strspn(p, " ");
        n = strcspn(p, " {}[]*+~");
        if (n == 0)
            break;
        field = cn_pool_zalloc(pool, sizeof(*field));
        field->name = cn_str_make(p, n);
        p += n;
        field->shape = shape_of(*p, plain);
        if (field->shape == MAP || field->shape == MAPS)
            p = compile_fields(pool, p + 1, plain, field) + 1;
        else if (*p && strchr("*+~", *p))
            p++;
        *(const cn_schema_t **)cn_vec_push(pool, &fields, sizeof(field)) = field;
    }
    into->fields = fields.v;
    into->n = fields.n;
    return p;
}

const cn_schema_t *cn_schema_compile(cn_pool_t *pool, const char *text)
{
    cn_schema_t *root = cn_pool_zalloc(pool, sizeof(*root));
    bool strict = *text == '=';

    root->shape = MAP;
    CN_BUG_ON(*compile_fields(pool, text + strict, strict ? ONE : ANY, root) != '\0');
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

/* Later messages about the same value would say it again. */
static void say_shape(cn_diag_t *diag, const cn_node_t *v, cn_str_t object, cn_str_t path,
                      const char *expected)
{
    cn_diag_warn(diag, v->pos, "%.*s: %.*s must be %s, not %s; it has no effect",
                 CN_STR_ARG(object), CN_STR_ARG(path), expected, cn_node_kind_name(v));
    cn_diag_mark(diag, v);
}

static void check_list(const cn_schema_t *s, cn_diag_t *diag, const cn_node_t *list,
                       cn_str_t object, cn_str_t path)
{
    for (uint32_t i = 0; i < list->n; i++) {
        const cn_node_t *v = list->items[i].value;
        cn_str_t at = cn_pool_printf(diag->pool, "%.*s[%u]", CN_STR_ARG(path), i);

        if (v->kind == CN_NODE_NULL)
            continue;
        if (s->shape == MAPS && v->kind == CN_NODE_MAP)
            check_map(s, diag, v, object, at);
        else if ((s->shape == MAPS) != (v->kind == CN_NODE_MAP) || v->kind == CN_NODE_LIST)
            say_shape(diag, v, object, at, s->shape == MAPS ? "a map" : "a single value");
    }
}

static void check_value(const cn_schema_t *s, cn_diag_t *diag, const cn_node_t *v, cn_str_t object,
                        cn_str_t path)
{
    static const char *const expected[] = {[ONE] = "a single value",
                                           [ONES] = "a list",
                                           [NAMED] = "a map",
                                           [MAP] = "a map",
                                           [MAPS] = "a list"};
    bool list = s->shape == ONES || s->shape == MAPS, map = s->shape == NAMED || s->shape == MAP;

    if (s->shape == ANY || v->kind == CN_NODE_NULL)
        return;
    if (list != (v->kind == CN_NODE_LIST) || map != (v->kind == CN_NODE_MAP))
        say_shape(diag, v, object, path, expected[s->shape]);
    else if (list)
        check_list(s, diag, v, object, path);
    else if (s->shape == MAP)
        check_map(s, diag, v, object, path);
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
            if (field->shape != ANY)
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
