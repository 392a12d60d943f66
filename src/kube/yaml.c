/* SPDX-License-Identifier: Apache-2.0
 *
 * libyaml events -> document trees.  A file is cut at its "---" lines first,
 * since libyaml cannot go on after an error.  Trees live in the caller's pool;
 * the stack of open collections is this file's, on the heap, for one document.
 *
 * Subtrees named managedFields are dropped while reading: nothing here looks
 * at them and they are the larger part of what kubectl prints.
 */
#include "kube/yaml.h"

#include <stdlib.h>
#include <yaml.h>

#include "kube/yaml_int.h"

#define SMALL_MAP 32
#define MAX_ANCHORS 10000 /* in one document; they are searched one by one */

typedef struct {
    cn_node_t *node;
    uint32_t first; /* of its items in reader_t.items */
    bool has_key;
    bool drop;  /* contents are not kept */
    bool merge; /* the key is << */
    cn_str_t key;
    uint32_t key_line;
    uint32_t anchor; /* its place in reader_t.anchors + 1; 0: none */
    cn_map_t *index; /* of a large map: key -> place in reader_t.items + 1 */
} frame_t;

typedef struct {
    cn_str_t name;
    const cn_node_t *node;
    bool done;
} anchor_t;

typedef struct {
    cn_pool_t *pool;
    cn_diag_t *diag;
    const cn_source_t *src;
    uint32_t line_base; /* lines of the file before the text given to libyaml */
    uint64_t nodes;     /* of the whole file */
    uint64_t aliased;   /* of the document */
    frame_t stack[CN_YAML_MAX_DEPTH];
    unsigned depth;
    cn_node_item_t *items; /* of the open collections, one behind the other */
    size_t nitems, cap;
    cn_vec_t anchors; /* of the document */
    const cn_node_t *root;
    cn_str_t why; /* of an error found here; empty: libyaml's own */
    uint32_t why_line;
} reader_t;

/* ---- scalars ---- */

static bool is_word(cn_str_t s, const char *const *words)
{
    for (; *words; words++)
        if (cn_str_eq(s, cn_str_c(*words)))
            return true;
    return false;
}

static size_t digits(cn_str_t s, size_t at)
{
    while (at < s.n && s.p[at] >= '0' && s.p[at] <= '9')
        at++;
    return at;
}

static cn_node_kind number_kind(cn_str_t s)
{
    size_t at = s.n && (s.p[0] == '-' || s.p[0] == '+') ? 1 : 0, end = digits(s, at);
    bool whole = end > at;

    if (whole && end == s.n)
        return CN_NODE_INT;
    if (end < s.n && s.p[end] == '.') {
        size_t frac = end + 1;

        end = digits(s, frac);
        whole |= end > frac;
    }
    if (whole && end < s.n && (s.p[end] | 0x20) == 'e') {
        size_t e =
            end + 1 < s.n && (s.p[end + 1] == '-' || s.p[end + 1] == '+') ? end + 2 : end + 1;

        end = digits(s, e);
        whole = end > e;
    }
    return whole && end == s.n ? CN_NODE_FLOAT : CN_NODE_STR;
}

/* YAML 1.1 as Kubernetes' own reader has it: also yes, no, on and off. */
static cn_node_kind plain_kind(cn_str_t s)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const bools[] = {"true", "True", "TRUE", "false", "False", "FALSE", "yes",
                                        "Yes",  "YES",  "no",   "No",    "NO",    "on",    "On",
                                        "ON",   "off",  "Off",  "OFF",   NULL};

    if (is_word(s, nulls))
        return CN_NODE_NULL;
    if (is_word(s, bools))
        return CN_NODE_BOOL;
    return number_kind(s);
}

static cn_node_kind scalar_kind(const yaml_event_t *ev, cn_str_t text)
{
    const char *tag = (const char *)ev->data.scalar.tag;

    if (tag)
        return strcmp(tag, YAML_STR_TAG) == 0 || strcmp(tag, "!") == 0 ? CN_NODE_STR
                                                                       : plain_kind(text);
    return ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_kind(text) : CN_NODE_STR;
}

/* ---- building ---- */

static cn_rc fail(reader_t *r, const yaml_mark_t *mark, const char *fmt, ...) CN_PRINTF(3, 4);
static cn_rc fail(reader_t *r, const yaml_mark_t *mark, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    r->why = cn_pool_vprintf(r->pool, fmt, ap);
    va_end(ap);
    r->why_line = (uint32_t)mark->line;
    return CN_ERR;
}

static cn_node_t *new_node(reader_t *r, cn_node_kind kind, const yaml_mark_t *mark)
{
    cn_node_t *node = cn_pool_zalloc(r->pool, sizeof(*node));

    node->kind = kind;
    node->pos = (cn_place_t){r->src, r->line_base + (uint32_t)mark->line + 1};
    node->weight = 1;
    return node;
}

static frame_t *top(reader_t *r)
{
    return r->depth ? &r->stack[r->depth - 1] : NULL;
}

static void push_item(reader_t *r, frame_t *f, cn_node_item_t item)
{
    if (r->nitems == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 64;
        r->items = cn_xrealloc(r->items, r->cap * sizeof(*r->items));
    }
    r->items[r->nitems++] = item;
    if (f->index)
        cn_map_put(f->index, item.key, (void *)(uintptr_t)r->nitems);
}

/* Most maps are small; one that is not gets a hash table, so that a file of
 * many keys does not take time in the square of their number. */
static cn_node_item_t *find_item(reader_t *r, frame_t *f, cn_str_t key)
{
    uintptr_t place;

    if (!f->index && r->nitems - f->first > SMALL_MAP) {
        f->index = cn_xzalloc(sizeof(*f->index));
        cn_map_init(f->index);
        for (size_t i = f->first; i < r->nitems; i++)
            cn_map_put(f->index, r->items[i].key, (void *)(uintptr_t)(i + 1));
    }
    if (f->index) {
        place = (uintptr_t)cn_map_get(f->index, key);
        return place ? &r->items[place - 1] : NULL;
    }
    for (size_t i = f->first; i < r->nitems; i++)
        if (cn_str_eq(r->items[i].key, key))
            return &r->items[i];
    return NULL;
}

static void pop_frame(reader_t *r)
{
    frame_t *f = &r->stack[--r->depth];

    if (f->index)
        cn_map_fini(f->index);
    free(f->index);
}

/* "<<": the keys of a map, or of each map of a list, that are not there yet.
 * Keys that follow in the text override them (put_item). */
static cn_rc merge(reader_t *r, frame_t *f, const cn_node_t *from, const yaml_mark_t *mark)
{
    const cn_node_item_t one = {CN_STR_NULL, 0, from}, *maps = &one;
    uint32_t n = 1;

    if (from->kind == CN_NODE_LIST) {
        maps = from->items;
        n = from->n;
    }
    for (uint32_t m = 0; m < n; m++) {
        const cn_node_t *map = maps[m].value;

        if (map->kind != CN_NODE_MAP)
            return fail(r, mark, "\"<<\" needs a map or a list of maps");
        r->aliased += map->weight;
        if (r->aliased > CN_YAML_MAX_ALIASED)
            return fail(r, mark, "aliases expand to more than %d nodes", CN_YAML_MAX_ALIASED);
        for (uint32_t i = 0; i < map->n; i++) {
            if (find_item(r, f, map->items[i].key))
                continue;
            push_item(r, f, map->items[i]);
            f->node->weight += map->items[i].value->weight;
        }
    }
    return CN_OK;
}

static void put_item(reader_t *r, frame_t *f, const cn_node_t *value)
{
    cn_node_item_t *old = f->node->kind == CN_NODE_MAP ? find_item(r, f, f->key) : NULL;

    f->node->weight += value->weight;
    if (!old) {
        push_item(r, f, (cn_node_item_t){f->key, f->key_line, value});
        return;
    }
    if (old->line >= f->node->pos.line && old->line <= f->key_line)
        cn_diag_warn(r->diag, (cn_place_t){r->src, f->key_line},
                     "\"%.*s\" is given twice in one map (also on line %u); the last one counts",
                     CN_STR_ARG(f->key), old->line);
    *old = (cn_node_item_t){f->key, f->key_line, value};
}

/* A finished value (or an alias's) takes its place in the collection around it. */
static cn_rc place(reader_t *r, const cn_node_t *value, const yaml_mark_t *mark)
{
    frame_t *f = top(r);
    cn_rc rc = CN_OK;

    if (!f) {
        r->root = value;
        return CN_OK;
    }
    if (f->drop)
        return CN_OK;
    if (f->node->kind == CN_NODE_MAP && f->merge)
        rc = merge(r, f, value, mark);
    else
        put_item(r, f, value);
    f->has_key = f->merge = false;
    f->key = CN_STR_NULL;
    return rc;
}

/* Its place + 1, or 0 when there is no name. */
static uint32_t add_anchor(reader_t *r, const yaml_char_t *name, const cn_node_t *node, bool done)
{
    anchor_t *a;

    if (!name)
        return 0;
    a = cn_vec_push(r->pool, &r->anchors, sizeof(*a));
    *a = (anchor_t){cn_pool_dup(r->pool, cn_str_c((const char *)name)), node, done};
    return r->anchors.n;
}

static anchor_t *find_anchor(reader_t *r, cn_str_t name)
{
    anchor_t *v = r->anchors.v;

    for (uint32_t i = r->anchors.n; i-- > 0;)
        if (cn_str_eq(v[i].name, name))
            return &v[i];
    return NULL;
}

/* ---- events ---- */

static bool wants_key(const frame_t *f)
{
    return f && !f->drop && f->node->kind == CN_NODE_MAP && !f->has_key;
}

static cn_rc on_scalar(reader_t *r, const yaml_event_t *ev)
{
    frame_t *f = top(r);
    cn_str_t text = {(const char *)ev->data.scalar.value, ev->data.scalar.length};
    cn_node_t *node;

    if (f && f->drop)
        return CN_OK;
    text = cn_pool_dup(r->pool, text);
    if (wants_key(f)) {
        f->has_key = true;
        f->key = text;
        f->key_line = r->line_base + (uint32_t)ev->start_mark.line + 1;
        f->merge =
            ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && cn_str_eq(text, CN_STR("<<"));
        return CN_OK;
    }
    node = new_node(r, scalar_kind(ev, text), &ev->start_mark);
    node->text = text;
    (void)add_anchor(r, ev->data.scalar.anchor, node, true);
    return place(r, node, &ev->start_mark);
}

static cn_rc on_open(reader_t *r, const yaml_event_t *ev, cn_node_kind kind,
                     const yaml_char_t *anchor)
{
    frame_t *up = top(r), *f;
    bool drop = up && (up->drop || (up->has_key && cn_str_eq(up->key, CN_STR("managedFields"))));

    if (wants_key(up))
        return fail(r, &ev->start_mark, "a key must be text, not %s",
                    kind == CN_NODE_MAP ? "a map" : "a list");
    if (r->depth == CN_YAML_MAX_DEPTH)
        return fail(r, &ev->start_mark, "nested deeper than %d levels", CN_YAML_MAX_DEPTH);
    f = &r->stack[r->depth++];
    *f = (frame_t){.first = (uint32_t)r->nitems, .drop = drop};
    if (drop)
        return CN_OK;
    f->node = new_node(r, kind, &ev->start_mark);
    f->anchor = add_anchor(r, anchor, f->node, false);
    return CN_OK;
}

static cn_rc on_close(reader_t *r, const yaml_event_t *ev)
{
    frame_t *f = top(r), *up;
    cn_node_t *node = f->node;

    if (f->drop) {
        pop_frame(r);
        up = top(r);
        if (up && !up->drop)
            up->has_key = false;
        return CN_OK;
    }
    if (f->anchor)
        ((anchor_t *)r->anchors.v)[f->anchor - 1].done = true;
    node->n = (uint32_t)(r->nitems - f->first);
    if (node->n) {
        node->items = cn_pool_alloc(r->pool, node->n * sizeof(*node->items));
        memcpy(node->items, r->items + f->first, node->n * sizeof(*node->items));
    }
    r->nitems = f->first;
    pop_frame(r);
    return place(r, node, &ev->start_mark);
}

static cn_rc on_alias(reader_t *r, const yaml_event_t *ev)
{
    cn_str_t name = cn_str_c((const char *)ev->data.alias.anchor);
    frame_t *f = top(r);
    anchor_t *a;

    if (f && f->drop)
        return CN_OK;
    if (wants_key(f))
        return fail(r, &ev->start_mark, "a key must be text, not an alias");
    a = find_anchor(r, name);
    if (!a)
        return fail(r, &ev->start_mark, "no anchor \"&%.*s\" before its alias", CN_STR_ARG(name));
    if (!a->done)
        return fail(r, &ev->start_mark, "the alias \"*%.*s\" is inside its own anchor",
                    CN_STR_ARG(name));
    r->aliased += a->node->weight;
    if (r->aliased > CN_YAML_MAX_ALIASED)
        return fail(r, &ev->start_mark, "aliases expand to more than %d nodes",
                    CN_YAML_MAX_ALIASED);
    return place(r, a->node, &ev->start_mark);
}

static cn_rc on_event(reader_t *r, const yaml_event_t *ev, cn_vec_t *docs)
{
    if (r->anchors.n > MAX_ANCHORS)
        return fail(r, &ev->start_mark, "more than %d anchors in one document", MAX_ANCHORS);
    if (++r->nodes > CN_YAML_MAX_NODES)
        return fail(r, &ev->start_mark, "more than %u nodes in one file", CN_YAML_MAX_NODES);
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT:
        r->nitems = 0;
        r->aliased = 0;
        r->anchors = (cn_vec_t){0};
        r->root = NULL;
        return CN_OK;
    case YAML_DOCUMENT_END_EVENT:
        if (r->root && r->root->kind != CN_NODE_NULL)
            *(const cn_node_t **)cn_vec_push(r->pool, docs, sizeof(r->root)) = r->root;
        return CN_OK;
    case YAML_SCALAR_EVENT:
        return on_scalar(r, ev);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(r, ev, CN_NODE_LIST, ev->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
        return on_open(r, ev, CN_NODE_MAP, ev->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_close(r, ev);
    case YAML_ALIAS_EVENT:
        return on_alias(r, ev);
    default:
        return CN_OK;
    }
}

/* ---- one piece of a file ---- */

static void parser_error(reader_t *r, const yaml_parser_t *p, cn_str_t text)
{
    uint32_t line = (uint32_t)p->problem_mark.line;

    if (r->why.n)
        return;
    if (p->error == YAML_MEMORY_ERROR)
        cn_pool_out_of_memory();
    if (p->error == YAML_READER_ERROR) { /* has an offset instead of a mark */
        line = 0;
        for (size_t i = 0; i < p->problem_offset && i < text.n; i++)
            line += text.p[i] == '\n';
    }
    r->why = cn_pool_printf(r->pool, "%s%s%s", p->problem ? p->problem : "cannot be read",
                            p->context ? ", " : "", p->context ? p->context : "");
    r->why_line = line;
}

static cn_rc read_yaml(reader_t *r, cn_str_t text, cn_vec_t *docs)
{
    yaml_parser_t parser;
    yaml_event_t ev;
    yaml_event_type_t type = YAML_NO_EVENT;
    cn_rc rc = CN_OK;

    r->why = CN_STR_NULL;
    if (!yaml_parser_initialize(&parser))
        cn_pool_out_of_memory();
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    while (rc == CN_OK && type != YAML_STREAM_END_EVENT) {
        if (!yaml_parser_parse(&parser, &ev)) {
            rc = CN_ERR;
            break;
        }
        type = ev.type;
        rc = on_event(r, &ev, docs);
        yaml_event_delete(&ev);
    }
    while (r->depth)
        pop_frame(r);
    if (rc != CN_OK)
        parser_error(r, &parser, text);
    yaml_parser_delete(&parser);
    return rc;
}

static bool looks_like_json(cn_str_t text)
{
    size_t i = 0;

    while (i < text.n && strchr(" \t\r\n", text.p[i]))
        i++;
    return i < text.n && (text.p[i] == '{' || text.p[i] == '[');
}

static void read_piece(reader_t *r, cn_str_t text, cn_yaml_doc_cb *cb, void *arg)
{
    cn_vec_t docs = {0}, json = {0};
    uint32_t line = 0;
    cn_str_t why = CN_STR_NULL;

    if (read_yaml(r, text, &docs) != CN_OK) {
        bool try_json = looks_like_json(text);
        cn_rc rc = CN_ERR;

        if (try_json)
            rc = cn_json_in_read(r->pool, r->src, text, r->line_base + 1, &json, &why, &line);
        if (rc == CN_OK || json.n > docs.n)
            docs = json;
        if (rc != CN_OK && try_json && cn_str_iends(r->src->name, CN_STR(".json"))) {
            r->why = why;
            r->why_line = line;
        }
        if (rc != CN_OK)
            cn_diag_error(r->diag, (cn_place_t){r->src, r->line_base + r->why_line + 1},
                          "the document is left out: %.*s", CN_STR_ARG(r->why));
    }
    for (uint32_t i = 0; i < docs.n; i++)
        cb(arg, ((const cn_node_t **)docs.v)[i]);
}

/* ---- a file ---- */

static bool is_marker(cn_str_t line)
{
    return cn_str_starts(line, CN_STR("---")) && (line.n == 3 || strchr(" \t\r", line.p[3]));
}

/* Where the next document begins: at its "---" line, or at the directives in
 * front of it.  text.n when there is none. */
static size_t next_document(cn_str_t text, size_t from)
{
    size_t at = from, directives = text.n;
    bool begun = false; /* more than directives, comments and blank lines was seen */

    while (at < text.n) {
        cn_str_t rest = cn_str_make(text.p + at, text.n - at);
        cn_str_t line = cn_str_make(rest.p, cn_str_find(rest, '\n'));
        cn_str_t seen = cn_str_trim(line);

        if (is_marker(line)) {
            if (begun)
                return directives < at ? directives : at;
            begun = true;
            directives = text.n; /* those in front of it were its own */
        } else if (line.n && line.p[0] == '%') {
            directives = directives < at ? directives : at;
        } else if (seen.n && seen.p[0] != '#' && seen.p[0] != '\r') {
            directives = text.n;
            begun = true;
        }
        at += line.n + 1;
    }
    return text.n;
}

void cn_yaml_read(cn_pool_t *pool, cn_diag_t *diag, const cn_source_t *src, cn_str_t text,
                  cn_yaml_doc_cb *cb, void *arg)
{
    reader_t *r = cn_xzalloc(sizeof(*r));
    size_t at = 0, end;

    r->pool = pool;
    r->diag = diag;
    r->src = src;
    if (cn_str_starts(text, CN_STR("\xef\xbb\xbf")))
        text = cn_str_make(text.p + 3, text.n - 3);
    if (text.n > CN_YAML_MAX_BYTES) {
        cn_diag_error(diag, (cn_place_t){src, 0}, "larger than %u bytes", CN_YAML_MAX_BYTES);
        text.n = 0;
    }
    while (at < text.n) {
        end = next_document(text, at);
        CN_BUG_ON(end <= at);
        read_piece(r, cn_str_make(text.p + at, end - at), cb, arg);
        for (; at < end; at++)
            r->line_base += text.p[at] == '\n';
    }
    free(r->items);
    free(r);
}
