/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the first of thousands of entries that takes a request without trying
 * them one by one.  The texts of their paths form a tree in which common
 * beginnings are shared; an entry hangs where its text ends, with others of
 * its kind in file order.  A request walks down along its path and tries what
 * hangs on the way, never an entry behind the best one found before.
 *
 * Regular expressions hang where the literal text that they begin with ends.
 * Entries without such a text are in one loose list that every request tries.
 * Paths compared without regard to case have a tree of their own.
 *
 * The work per request is bounded by the configuration, not by the client: no
 * deeper than the longest text.  Lives in the section's pool, constant once
 * built.
 */
#include "route_int.h"

#define NONE UINT32_MAX

typedef struct {
    uint32_t head, tail; /* entries, or NONE */
} list_t;

typedef struct node {
    cn_str_t label; /* the text from the parent to here */
    struct node *child, *next;
    list_t exact, segments, text; /* text: prefixes, and what begins so */
} node_t;

struct cn_http_route_index {
    const cn_http_route_entry_t *entries;
    uint32_t *next; /* of each entry: the next in its list, or NONE */
    node_t *root, *lower;
    list_t loose;
};

/* ---- building ---- */

static node_t *new_node(cn_pool_t *pool, cn_str_t label)
{
    node_t *n = cn_pool_zalloc(pool, sizeof(*n));

    n->label = label;
    n->exact = n->segments = n->text = (list_t){NONE, NONE};
    return n;
}

static size_t common(cn_str_t a, cn_str_t b)
{
    size_t n = 0;

    while (n < a.n && n < b.n && a.p[n] == b.p[n])
        n++;
    return n;
}

/* The link that leads to the child with that first byte, or to NULL. */
static node_t **link_to(node_t *parent, char first)
{
    node_t **link = &parent->child;

    while (*link && (*link)->label.p[0] != first)
        link = &(*link)->next;
    return link;
}

/* Cuts the label of a node: a new one takes its place and becomes its parent. */
static node_t *split(cn_pool_t *pool, node_t **link, size_t at)
{
    node_t *below = *link;
    node_t *above = new_node(pool, cn_str_make(below->label.p, at));

    above->next = below->next;
    above->child = below;
    below->next = NULL;
    below->label = cn_str_make(below->label.p + at, below->label.n - at);
    *link = above;
    return above;
}

/* The node at the end of text, which stays as it is. */
static node_t *node_at(cn_pool_t *pool, node_t *node, cn_str_t text)
{
    while (text.n) {
        node_t **link = link_to(node, text.p[0]);
        size_t n;

        if (!*link)
            return *link = new_node(pool, text);
        n = common((*link)->label, text);
        node = n < (*link)->label.n ? split(pool, link, n) : *link;
        text = cn_str_make(text.p + n, text.n - n);
    }
    return node;
}

/* The literal text that everything begins with that the expression matches.
 * Cautious: what is not plainly so is taken for none. */
static cn_str_t literal(cn_str_t regex)
{
    size_t n = 0;

    if (cn_str_find(regex, '|') < regex.n)
        return CN_STR_NULL;
    while (n < regex.n && (signed char)regex.p[n] > 0 && !strchr("\\[](){}.*+?^$", regex.p[n]))
        n++;
    if (n && n < regex.n && strchr("*?{", regex.p[n]))
        n--; /* the last one may be missing */
    return cn_str_make(regex.p, n);
}

static list_t *list_for(cn_pool_t *pool, cn_http_route_index_t *ix, const cn_http_route_match_t *m)
{
    const cn_http_route_test_t *path = m ? &m->path : NULL;
    cn_str_t text = path ? path->text : CN_STR_NULL;
    node_t *node;

    if (path && path->how == CN_HTTP_ROUTE_REGEX)
        text = literal(text);
    if (!path || path->how == CN_HTTP_ROUTE_ANY ||
        (text.n == 0 && path->how == CN_HTTP_ROUTE_REGEX))
        return &ix->loose;
    node = node_at(pool, path->ignore_case ? ix->lower : ix->root, text);
    if (path->how == CN_HTTP_ROUTE_EXACT)
        return &node->exact;
    return path->how == CN_HTTP_ROUTE_SEGMENTS ? &node->segments : &node->text;
}

static void append(cn_http_route_index_t *ix, list_t *list, uint32_t id)
{
    ix->next[id] = NONE;
    if (list->tail == NONE)
        list->head = id;
    else
        ix->next[list->tail] = id;
    list->tail = id;
}

cn_http_route_index_t *cn_http_route_index_build(cn_pool_t *pool, const cn_vec_t *entries)
{
    cn_http_route_index_t *ix = cn_pool_zalloc(pool, sizeof(*ix));

    ix->entries = entries->v;
    ix->next = cn_pool_alloc(pool, entries->n * sizeof(*ix->next));
    ix->root = new_node(pool, CN_STR_NULL);
    ix->lower = new_node(pool, CN_STR_NULL);
    ix->loose = (list_t){NONE, NONE};
    for (uint32_t id = 0; id < entries->n; id++)
        append(ix, list_for(pool, ix, ix->entries[id].match), id);
    return ix;
}

/* ---- finding ---- */

typedef struct {
    const cn_http_route_index_t *ix;
    const cn_http_route_subject_t *subject;
    uint32_t best; /* entry, or NONE */
    cn_rc rc;      /* what it said */
} search_t;

static void search_list(search_t *s, const list_t *list)
{
    for (uint32_t id = list->head; id < s->best; id = s->ix->next[id]) {
        const cn_http_route_entry_t *e = &s->ix->entries[id];
        cn_rc rc = e->match ? cn_http_route_match(e->match, s->subject, NULL) : CN_OK;

        if (rc == CN_DECLINE)
            continue;
        s->best = id;
        s->rc = rc;
        return;
    }
}

static const node_t *step(const node_t *node, cn_str_t rest, bool lower)
{
    char first = rest.p[0];

    if (lower)
        cn_str_lower(&first, &first, 1);
    for (node = node->child; node; node = node->next)
        if (node->label.p[0] == first)
            break;
    if (!node || rest.n < node->label.n)
        return NULL;
    rest.n = node->label.n;
    return (lower ? cn_str_ieq(rest, node->label) : cn_str_eq(rest, node->label)) ? node : NULL;
}

static void search_tree(search_t *s, const node_t *node, bool lower)
{
    cn_str_t rest = s->subject->msg->path;

    for (; node; node = step(node, rest, lower)) {
        rest = cn_str_make(rest.p + node->label.n, rest.n - node->label.n);
        search_list(s, &node->text);
        if (rest.n == 0 || rest.p[0] == '/')
            search_list(s, &node->segments);
        if (rest.n == 0) {
            search_list(s, &node->exact);
            return;
        }
    }
}

cn_rc cn_http_route_index_find(const cn_http_route_index_t *ix, const cn_http_route_subject_t *subj,
                               uint32_t *at)
{
    search_t s = {.ix = ix, .subject = subj, .best = NONE, .rc = CN_DECLINE};

    search_tree(&s, ix->root, false);
    if (ix->lower->child)
        search_tree(&s, ix->lower, true);
    search_list(&s, &ix->loose);
    *at = s.best;
    return s.rc;
}
