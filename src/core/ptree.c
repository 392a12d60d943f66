/* SPDX-License-Identifier: Apache-2.0
 *
 * Each node holds the piece of text that leads to it from its parent, which
 * begins with another byte than those of its siblings.
 */
#include "core/ptree.h"

struct cn_ptree {
    cn_str_t label;
    cn_ptree_t *child, *next;
    void *value;
};

cn_ptree_t *cn_ptree_create(cn_pool_t *pool)
{
    return cn_pool_zalloc(pool, sizeof(cn_ptree_t));
}

static cn_ptree_t *new_node(cn_pool_t *pool, cn_str_t label)
{
    cn_ptree_t *n = cn_ptree_create(pool);

    n->label = label;
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
static cn_ptree_t **link_to(cn_ptree_t *parent, char first)
{
    cn_ptree_t **link = &parent->child;

    while (*link && (*link)->label.p[0] != first)
        link = &(*link)->next;
    return link;
}

/* Cuts the label of a node: a new one takes its place and becomes its parent. */
static cn_ptree_t *split(cn_pool_t *pool, cn_ptree_t **link, size_t at)
{
    cn_ptree_t *below = *link;
    cn_ptree_t *above = new_node(pool, cn_str_make(below->label.p, at));

    above->next = below->next;
    above->child = below;
    below->next = NULL;
    below->label = cn_str_make(below->label.p + at, below->label.n - at);
    *link = above;
    return above;
}

void **cn_ptree_at(cn_ptree_t *node, cn_pool_t *pool, cn_str_t text)
{
    while (text.n) {
        cn_ptree_t **link = link_to(node, text.p[0]);
        size_t n;

        if (!*link)
            *link = new_node(pool, text);
        n = common((*link)->label, text);
        node = n < (*link)->label.n ? split(pool, link, n) : *link;
        text = cn_str_make(text.p + n, text.n - n);
    }
    return &node->value;
}

static const cn_ptree_t *step(const cn_ptree_t *node, cn_str_t rest, bool fold)
{
    char first;

    if (rest.n == 0)
        return NULL;
    first = rest.p[0];
    if (fold)
        cn_str_lower(&first, &first, 1);
    for (node = node->child; node; node = node->next)
        if (node->label.p[0] == first)
            break;
    if (!node || rest.n < node->label.n)
        return NULL;
    rest.n = node->label.n;
    return (fold ? cn_str_ieq(rest, node->label) : cn_str_eq(rest, node->label)) ? node : NULL;
}

void *cn_ptree_next(const cn_ptree_t *tree, cn_ptree_walk_t *w)
{
    do {
        w->at = w->at ? step(w->at, w->rest, w->fold) : tree;
        if (!w->at) {
            w->rest.n = 0; /* ended: stays so */
            w->at = tree;
            return NULL;
        }
        w->rest = cn_str_make(w->rest.p + w->at->label.n, w->rest.n - w->at->label.n);
    } while (!w->at->value);
    return w->at->value;
}
