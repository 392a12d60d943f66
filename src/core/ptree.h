/* SPDX-License-Identifier: Apache-2.0
 *
 * A tree of texts in which common beginnings are shared.  Finds all of its
 * texts that a given one begins with in one walk, whose length is bounded by
 * the longest text of the tree and not by the one that is looked for.
 *
 * Built once, constant then; lives in a pool.
 */
#ifndef CN_CORE_PTREE_H
#define CN_CORE_PTREE_H

#include "core/pool.h"

typedef struct cn_ptree cn_ptree_t;

cn_ptree_t *cn_ptree_create(cn_pool_t *);
/* Where the value of a text is kept, NULL at first; makes the text one of the
 * tree's.  The text is kept by pointer; the place moves with no later call. */
void **cn_ptree_at(cn_ptree_t *, cn_pool_t *, cn_str_t text);

/* A walk along a text; zeroed `at` begins it. */
typedef struct {
    const cn_ptree_t *at;
    cn_str_t rest; /* what is left of the text behind the value just found */
    bool fold;     /* compares without regard to case: the tree's texts are lower case */
} cn_ptree_walk_t;

static inline cn_ptree_walk_t cn_ptree_walk(cn_str_t text, bool fold)
{
    return (cn_ptree_walk_t){NULL, text, fold};
}
/* The value of the next longer text that the walk's begins with; NULL ends. */
void *cn_ptree_next(const cn_ptree_t *, cn_ptree_walk_t *);

#endif
