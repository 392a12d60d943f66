/* SPDX-License-Identifier: Apache-2.0
 *
 * Which match blocks count for which clients.  A block that names clients'
 * namespaces is a consumer route (GEP-1294): clients of those namespaces are
 * routed by such blocks alone, which take the place of those of the service's
 * owner; all other clients never see them.
 *
 * Lives in the section's pool, constant once built.
 */
#include <stdlib.h>

#include "route_int.h"

#define FEW 12 /* entries that are quicker tried one by one */

/* ---- building ---- */

static int by_ns(const void *a, const void *b)
{
    const cn_http_route_set_t *x = a, *y = b;

    return cn_str_cmp(x->ns, y->ns);
}

static void sort(cn_vec_t *sets)
{
    if (sets->n > 1)
        qsort(sets->v, sets->n, sizeof(cn_http_route_set_t), by_ns);
}

static cn_http_route_set_t *find_set(const cn_vec_t *sets, cn_str_t ns)
{
    cn_http_route_set_t key = {.ns = ns};

    return sets->n ? bsearch(&key, sets->v, sets->n, sizeof(key), by_ns) : NULL;
}

/* All namespaces that are named anywhere, once each. */
static void make_consumers(cn_pool_t *pool, cn_vec_t *consumers, const cn_vec_t *all)
{
    const cn_http_route_set_t *v = all->v;

    for (uint32_t i = 0; i < all->n; i++)
        if (i == 0 || !cn_str_eq(v[i].ns, v[i - 1].ns))
            ((cn_http_route_set_t *)cn_vec_push(pool, consumers, sizeof(*v)))->ns = v[i].ns;
}

static void name_namespaces(cn_pool_t *pool, cn_vec_t *all, const cn_http_route_t *r)
{
    const cn_http_route_match_t *m = r->matches.v;

    for (uint32_t k = 0; k < r->matches.n; k++)
        for (uint32_t i = 0; i < m[k].namespaces.n; i++)
            ((cn_http_route_set_t *)cn_vec_push(pool, all, sizeof(cn_http_route_set_t)))->ns =
                ((const cn_str_t *)m[k].namespaces.v)[i];
}

static void add(cn_pool_t *pool, cn_http_route_set_t *set, cn_http_route_entry_t e)
{
    const cn_http_route_entry_t *v = set->entries.v;

    /* a namespace that a block names twice */
    if (set->entries.n && v[set->entries.n - 1].match == e.match && e.match)
        return;
    *(cn_http_route_entry_t *)cn_vec_push(pool, &set->entries, sizeof(e)) = e;
}

static void add_match(cn_pool_t *pool, cn_http_route_sets_t *sets, cn_http_route_entry_t e)
{
    const cn_str_t *ns = e.match->namespaces.v;

    if (e.match->namespaces.n == 0)
        add(pool, &sets->producers, e);
    for (uint32_t i = 0; i < e.match->namespaces.n; i++)
        add(pool, find_set(&sets->consumers, ns[i]), e);
}

static void add_route(cn_pool_t *pool, cn_http_route_sets_t *sets, const cn_http_route_t *r,
                      uint32_t number)
{
    const cn_http_route_match_t *m = r->matches.v;

    if (r->matches.n == 0)
        add(pool, &sets->producers, (cn_http_route_entry_t){.route = number});
    for (uint32_t k = 0; k < r->matches.n; k++)
        add_match(pool, sets, (cn_http_route_entry_t){number, k, &m[k]});
}

static void index_set(cn_pool_t *pool, cn_http_route_set_t *set)
{
    if (set->entries.n > FEW)
        set->index = cn_http_route_index_build(pool, &set->entries);
}

cn_http_route_sets_t *cn_http_route_sets_build(cn_pool_t *pool, const cn_vec_t *routes)
{
    cn_http_route_sets_t *sets = cn_pool_zalloc(pool, sizeof(*sets));
    cn_http_route_t *const *v = routes->v;
    cn_http_route_set_t *consumers;
    cn_vec_t all = {0};

    for (uint32_t i = 0; i < routes->n; i++)
        name_namespaces(pool, &all, v[i]);
    sort(&all);
    make_consumers(pool, &sets->consumers, &all);
    for (uint32_t i = 0; i < routes->n; i++)
        add_route(pool, sets, v[i], i);
    index_set(pool, &sets->producers);
    consumers = sets->consumers.v;
    for (uint32_t i = 0; i < sets->consumers.n; i++)
        index_set(pool, &consumers[i]);
    return sets;
}

/* ---- finding ---- */

const cn_http_route_set_t *cn_http_route_sets_of(const cn_http_route_sets_t *sets, cn_str_t ns)
{
    const cn_http_route_set_t *own = ns.n ? find_set(&sets->consumers, ns) : NULL;

    return own ? own : &sets->producers;
}

cn_rc cn_http_route_find(const cn_http_route_set_t *set, const cn_http_route_subject_t *s,
                         const cn_http_route_entry_t **entry)
{
    const cn_http_route_entry_t *v = set->entries.v;
    cn_rc rc = CN_DECLINE;
    uint32_t at;

    if (set->index) {
        rc = cn_http_route_index_find(set->index, s, &at);
        if (rc != CN_DECLINE)
            *entry = &v[at];
        return rc;
    }
    for (uint32_t i = 0; i < set->entries.n && rc == CN_DECLINE; i++) {
        *entry = &v[i];
        rc = v[i].match ? cn_http_route_match(v[i].match, s, NULL) : CN_OK;
    }
    return rc;
}
