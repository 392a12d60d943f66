/* SPDX-License-Identifier: Apache-2.0
 *
 * Directives of the conf as a tree, between the reader of a resource and the
 * file: what HTTPRoute and VirtualService, DestinationRule and policies have in
 * common once they are understood.  Everything lives in the pool that is given.
 */
#ifndef CN_KUBE_DIR_H
#define CN_KUBE_DIR_H

#include "kube/text.h"

typedef struct {
    cn_vec_t words; /* cn_str_t; the name first */
    cn_vec_t inner; /* cn_dir_t *: the block's */
    bool block;
    cn_str_t comment; /* behind it on its line; may be empty */
} cn_dir_t;

/* A list of directives is a cn_vec_t of cn_dir_t *. */
cn_dir_t *cn_dir_add(cn_pool_t *, cn_vec_t *list, const char *name);
/* The same with a block that may stay empty. */
cn_dir_t *cn_dir_block(cn_pool_t *, cn_vec_t *list, const char *name);
/* One word more; it must hold no control bytes but \n and \t. */
void cn_dir_word(cn_pool_t *, cn_dir_t *, cn_str_t);
void cn_dir_printf(cn_pool_t *, cn_dir_t *, const char *fmt, ...) CN_PRINTF(3, 4);
/* "name word;" in one call; word must be a literal or live in the pool. */
void cn_dir_flag(cn_pool_t *, cn_vec_t *list, const char *name, const char *word);
/* "250ms" or "10s". */
cn_str_t cn_dir_time(cn_pool_t *, uint64_t ms);
/* Appends the directives of one list to another; they are shared, not copied. */
void cn_dir_append(cn_pool_t *, cn_vec_t *list, const cn_vec_t *more);

/* Writes the list with depth levels of indentation. */
void cn_dir_put(cn_kube_text_t *, const cn_vec_t *list, unsigned depth);

#endif
