/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the first route in file order among thousands without trying them one
 * by one.  Every match block is an entry, numbered in file order.  Entries with
 * an exact path or a path prefix hang in a hash table under that text, all
 * others in one loose list; each list is in file order.  For a request only the
 * lists of its path, of its path's prefixes and the loose one are gone through,
 * and none further than the best entry found before.
 *
 * The work per request is bounded by the configuration, not by the client: no
 * more prefixes are looked up than the deepest configured one has segments, and
 * no longer ones than the longest.
 *
 * Lives in the section's pool, constant once built.
 */
#include "route_int.h"

#define FEW 12 /* entries that are quicker tried one by one */
#define NONE UINT32_MAX

typedef struct {
    uint32_t route, which;
    const cn_http_route_match_t *match; /* NULL: takes every request */
    uint32_t next;                      /* in its list, or NONE */
} entry_t;

typedef struct {
    uint32_t head, tail;
} list_t;

typedef struct {
    cn_str_t text;
    cn_http_route_how how; /* EXACT or PREFIX; ANY: free */
    list_t list;
} slot_t;

struct cn_http_route_index {
    entry_t *entries;
    slot_t *slots;
    uint32_t mask;
    list_t loose;
    size_t deepest, longest; /* prefix: slashes and bytes */
};

/* ---- building ---- */

static slot_t *find_slot(const cn_http_route_index_t *ix, cn_str_t text, cn_http_route_how how)
{
    uint32_t i = (uint32_t)cn_hash_xxh(text, (uint64_t)how) & ix->mask;

    while (ix->slots[i].how != CN_HTTP_ROUTE_ANY &&
           !(ix->slots[i].how == how && cn_str_eq(ix->slots[i].text, text)))
        i = (i + 1) & ix->mask;
    return &ix->slots[i];
}

static size_t slashes(cn_str_t s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '/';
    return n;
}

static list_t *list_for(cn_http_route_index_t *ix, const cn_http_route_match_t *m)
{
    slot_t *s;

    if (!m || (m->path.how != CN_HTTP_ROUTE_EXACT && m->path.how != CN_HTTP_ROUTE_PREFIX))
        return &ix->loose;
    s = find_slot(ix, m->path.text, m->path.how);
    if (s->how == CN_HTTP_ROUTE_ANY)
        *s = (slot_t){m->path.text, m->path.how, {NONE, NONE}};
    if (m->path.how == CN_HTTP_ROUTE_PREFIX) {
        size_t depth = slashes(m->path.text);

        ix->deepest = depth > ix->deepest ? depth : ix->deepest;
        ix->longest = m->path.text.n > ix->longest ? m->path.text.n : ix->longest;
    }
    return &s->list;
}

static void add(cn_http_route_index_t *ix, uint32_t id, entry_t entry)
{
    list_t *list = list_for(ix, entry.match);

    entry.next = NONE;
    ix->entries[id] = entry;
    if (list->tail == NONE)
        list->head = id;
    else
        ix->entries[list->tail].next = id;
    list->tail = id;
}

static uint32_t count(const cn_vec_t *routes)
{
    cn_http_route_t *const *v = routes->v;
    uint32_t n = 0;

    for (uint32_t i = 0; i < routes->n; i++)
        n += v[i]->matches.n ? v[i]->matches.n : 1;
    return n;
}

cn_http_route_index_t *cn_http_route_index_build(cn_pool_t *pool, const cn_vec_t *routes)
{
    cn_http_route_t *const *v = routes->v;
    uint32_t n = count(routes), cap = 2 * FEW, id = 0;
    cn_http_route_index_t *ix;

    if (n <= FEW)
        return NULL;
    while (cap < 2 * n || cap & (cap - 1))
        cap = (cap | (cap - 1)) + 1;
    ix = cn_pool_zalloc(pool, sizeof(*ix));
    ix->entries = cn_pool_alloc(pool, n * sizeof(entry_t));
    ix->slots = cn_pool_zalloc(pool, cap * sizeof(slot_t));
    ix->mask = cap - 1;
    ix->loose = (list_t){NONE, NONE};
    for (uint32_t i = 0; i < routes->n; i++) {
        const cn_http_route_match_t *m = v[i]->matches.v;

        if (v[i]->matches.n == 0)
            add(ix, id++, (entry_t){.route = i});
        for (uint32_t k = 0; k < v[i]->matches.n; k++)
            add(ix, id++, (entry_t){.route = i, .which = k, .match = &m[k]});
    }
    return ix;
}

/* ---- finding ---- */

typedef struct {
    const cn_http_route_index_t *ix;
    const cn_msg_t *msg;
    uint32_t best; /* entry, or NONE */
    cn_rc rc;      /* what it said */
} search_t;

static void search_list(search_t *s, const list_t *list)
{
    for (uint32_t id = list->head; id < s->best; id = s->ix->entries[id].next) {
        const entry_t *e = &s->ix->entries[id];
        cn_rc rc = e->match ? cn_http_route_match(e->match, s->msg, NULL) : CN_OK;

        if (rc == CN_DECLINE)
            continue;
        s->best = id;
        s->rc = rc;
        return;
    }
}

static void search_text(search_t *s, cn_str_t text, cn_http_route_how how)
{
    const slot_t *slot = find_slot(s->ix, text, how);

    if (slot->how != CN_HTTP_ROUTE_ANY)
        search_list(s, &slot->list);
}

/* What stands before each '/', and the whole path. */
static void search_prefixes(search_t *s)
{
    cn_str_t path = s->msg->path;
    size_t depth = 0;

    for (size_t i = 0; i <= path.n && i <= s->ix->longest; i++) {
        if (i < path.n && path.p[i] != '/')
            continue;
        if (depth > s->ix->deepest)
            return;
        search_text(s, (cn_str_t){path.p, i}, CN_HTTP_ROUTE_PREFIX);
        depth++;
    }
}

cn_rc cn_http_route_index_find(const cn_http_route_index_t *ix, const cn_msg_t *msg,
                               uint32_t *route, uint32_t *which)
{
    search_t s = {.ix = ix, .msg = msg, .best = NONE, .rc = CN_DECLINE};

    search_text(&s, msg->path, CN_HTTP_ROUTE_EXACT);
    search_prefixes(&s);
    search_list(&s, &ix->loose);
    if (s.best == NONE)
        return CN_DECLINE;
    *route = ix->entries[s.best].route;
    *which = ix->entries[s.best].which;
    return s.rc;
}
