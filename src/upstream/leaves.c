/* SPDX-License-Identifier: Apache-2.0
 *
 * A list is enough: it has only hosts with requests, and is walked once for
 * each moment at which one is due.
 */
#include "upstream/leaves.h"

#include <stdlib.h>

#include "core/hash.h"

#define TIDY_FIRST 64u

typedef struct {
    cn_list_t link;
    cn_host_t *host;  /* a reference */
    uint64_t cluster; /* hash of its name: the name may go */
    uint64_t due;
    uint32_t left; /* host->left when it left */
} leaving_t;

void cn_leaves_init(cn_leaves_t *l)
{
    *l = (cn_leaves_t){.tidy_at = TIDY_FIRST};
    cn_list_init(&l->all);
}

static void forget(cn_leaves_t *l, leaving_t *e)
{
    cn_list_remove(&e->link);
    l->n--;
    cn_host_unref(e->host);
    free(e);
}

void cn_leaves_fini(cn_leaves_t *l)
{
    cn_list_each (node, &l->all)
        forget(l, cn_list_entry(node, leaving_t, link));
}

/* It has neither come back, nor have its requests ended. */
static bool is_awaited(const leaving_t *e)
{
    return e->host->left == e->left && e->host->active > 0;
}

static void tidy(cn_leaves_t *l)
{
    cn_list_each (node, &l->all) {
        leaving_t *e = cn_list_entry(node, leaving_t, link);

        if (!is_awaited(e))
            forget(l, e);
    }
    l->tidy_at = 2 * l->n > TIDY_FIRST ? 2 * l->n : TIDY_FIRST;
}

void cn_leaves_add(cn_leaves_t *l, cn_str_t cluster, cn_host_t *host, uint64_t due)
{
    leaving_t *e = cn_xzalloc(sizeof(*e));

    if (l->n >= l->tidy_at)
        tidy(l);
    e->host = cn_host_ref(host);
    e->cluster = cn_hash_sip(cluster);
    e->due = due;
    e->left = host->left;
    cn_list_push(&l->all, &e->link);
    l->n++;
}

uint32_t cn_leaves_list(const cn_leaves_t *l, cn_str_t cluster, cn_host_t **v)
{
    uint64_t hash = cn_hash_sip(cluster);
    uint32_t n = 0;

    cn_list_each (node, &l->all) {
        const leaving_t *e = cn_list_entry(node, leaving_t, link);

        if (e->cluster == hash && e->host->gone && e->host->left == e->left)
            v[n++] = e->host;
    }
    return n;
}

bool cn_leaves_cut(cn_leaves_t *l, uint64_t now, uint64_t *next)
{
    bool any = false;

    *next = UINT64_MAX;
    cn_list_each (node, &l->all) {
        leaving_t *e = cn_list_entry(node, leaving_t, link);

        if (is_awaited(e) && e->due > now) {
            *next = e->due < *next ? e->due : *next;
            continue;
        }
        if (is_awaited(e))
            any = e->host->cut = true;
        forget(l, e);
    }
    return any;
}
