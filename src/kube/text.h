/* SPDX-License-Identifier: Apache-2.0
 *
 * Growing text in the conf's language.
 */
#ifndef CN_KUBE_TEXT_H
#define CN_KUBE_TEXT_H

#include "core/pool.h"

typedef struct {
    char *p; /* heap */
    size_t n, cap;
} cn_kube_text_t;

void cn_text_fini(cn_kube_text_t *);
static inline cn_str_t cn_text_str(const cn_kube_text_t *t)
{
    return cn_str_make(t->p, t->n);
}
void cn_text_add(cn_kube_text_t *, cn_str_t);
void cn_text_printf(cn_kube_text_t *, const char *fmt, ...) CN_PRINTF(2, 3);
/* A word of the conf, quoted when it must be.  Control bytes other than \n and
 * \t cannot be written and must not be given. */
void cn_text_word(cn_kube_text_t *, cn_str_t);
/* Text for a comment: whatever could end the line becomes '?'. */
void cn_text_comment(cn_kube_text_t *, cn_str_t);

#endif
