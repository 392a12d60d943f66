/* SPDX-License-Identifier: Apache-2.0
 *
 * Intrusive circular doubly linked list.  A node that is in no list points to
 * itself, so removing it again is harmless.
 */
#ifndef CN_CORE_LIST_H
#define CN_CORE_LIST_H

#include "core/base.h"

typedef struct cn_list {
    struct cn_list *next, *prev;
} cn_list_t;

static inline void cn_list_init(cn_list_t *l)
{
    l->next = l->prev = l;
}

static inline bool cn_list_empty(const cn_list_t *l)
{
    return l->next == l;
}

static inline void cn_list_insert_after(cn_list_t *at, cn_list_t *node)
{
    node->prev = at;
    node->next = at->next;
    at->next->prev = node;
    at->next = node;
}

static inline void cn_list_push(cn_list_t *l, cn_list_t *node)
{
    cn_list_insert_after(l->prev, node);
}

static inline void cn_list_push_front(cn_list_t *l, cn_list_t *node)
{
    cn_list_insert_after(l, node);
}

/* Leaves the node pointing to itself. */
static inline void cn_list_remove(cn_list_t *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    cn_list_init(node);
}

/* Moves all nodes of src behind those of dst; src is empty afterwards. */
static inline void cn_list_splice(cn_list_t *dst, cn_list_t *src)
{
    if (cn_list_empty(src))
        return;
    src->next->prev = dst->prev;
    dst->prev->next = src->next;
    src->prev->next = dst;
    dst->prev = src->prev;
    cn_list_init(src);
}

#define cn_list_entry(node, type, member) cn_container_of(node, type, member)
/* The body may remove the current node, no other. */
#define cn_list_each(node, list)                                                                   \
    for (cn_list_t *node = (list)->next, *node##_next = node->next; node != (list);                \
         node = node##_next, node##_next = node->next)

#endif
