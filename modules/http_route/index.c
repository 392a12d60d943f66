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

/* What hangs where a text ends. */
typedef struct {
    list_t exact, segments, text; /* text: prefixes, and what begins so */
} place_t;

struct cn_http_route_index {
    const cn_http_route_entry_t *entries;
    uint32_t *next; /* of each entry: the next in its list, or NONE */
    cn_ptree_t *as_is, *lower;
    list_t loose;
};

/* ---- building ---- */

static place_t *place_at(cn_pool_t *pool, cn_ptree_t *tree, cn_str_t text)
{
    void **at = cn_ptree_at(tree, pool, text);

    if (!*at) {
        place_t *p = cn_pool_alloc(pool, sizeof(*p));

        p->exact = p->segments = p->text = (list_t){NONE, NONE};
        *at = p;
    }
    return *at;
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
    place_t *place;

    if (path && path->how == CN_HTTP_ROUTE_REGEX)
        text = literal(text);
    if (!path || path->how == CN_HTTP_ROUTE_ANY ||
        (text.n == 0 && path->how == CN_HTTP_ROUTE_REGEX))
        return &ix->loose;
    place = place_at(pool, path->ignore_case ? ix->lower : ix->as_is, text);
    if (path->how == CN_HTTP_ROUTE_EXACT)
        return &place->exact;
    return path->how == CN_HTTP_ROUTE_SEGMENTS ? &place->segments : &place->text;
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
    ix->as_is = cn_ptree_create(pool);
    ix->lower = cn_ptree_create(pool);
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

static void search_tree(search_t *s, const cn_ptree_t *tree, bool fold)
{
    cn_ptree_walk_t w = cn_ptree_walk(s->subject->msg->path, fold);
    const place_t *p;

    while ((p = cn_ptree_next(tree, &w)) != NULL) {
        search_list(s, &p->text);
        if (w.rest.n == 0 || w.rest.p[0] == '/')
            search_list(s, &p->segments);
        if (w.rest.n == 0)
            search_list(s, &p->exact);
    }
}

cn_rc cn_http_route_index_find(const cn_http_route_index_t *ix, const cn_http_route_subject_t *subj,
                               uint32_t *at)
{
    search_t s = {.ix = ix, .subject = subj, .best = NONE, .rc = CN_DECLINE};

    search_tree(&s, ix->as_is, false);
    search_tree(&s, ix->lower, true);
    search_list(&s, &ix->loose);
    *at = s.best;
    return s.rc;
}
