/* SPDX-License-Identifier: Apache-2.0
 *
 * Directive trees.  The nesting is ours (three levels at most), so writing may
 * recurse.
 */
#include "kube/dir.h"

cn_dir_t *cn_dir_add(cn_pool_t *pool, cn_vec_t *list, const char *name)
{
    cn_dir_t *d = cn_pool_zalloc(pool, sizeof(*d));

    *(cn_dir_t **)cn_vec_push(pool, list, sizeof(d)) = d;
    cn_dir_word(pool, d, cn_str_c(name));
    return d;
}

cn_dir_t *cn_dir_block(cn_pool_t *pool, cn_vec_t *list, const char *name)
{
    cn_dir_t *d = cn_dir_add(pool, list, name);

    d->block = true;
    return d;
}

void cn_dir_word(cn_pool_t *pool, cn_dir_t *d, cn_str_t word)
{
    *(cn_str_t *)cn_vec_push(pool, &d->words, sizeof(word)) = word;
}

void cn_dir_printf(cn_pool_t *pool, cn_dir_t *d, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    cn_dir_word(pool, d, cn_pool_vprintf(pool, fmt, ap));
    va_end(ap);
}

void cn_dir_flag(cn_pool_t *pool, cn_vec_t *list, const char *name, const char *word)
{
    cn_dir_word(pool, cn_dir_add(pool, list, name), cn_str_c(word));
}

cn_str_t cn_dir_time(cn_pool_t *pool, uint64_t ms)
{
    if (ms % 1000)
        return cn_pool_printf(pool, "%llums", (unsigned long long)ms);
    return ms ? cn_pool_printf(pool, "%llus", (unsigned long long)ms / 1000) : CN_STR("0");
}

void cn_dir_append(cn_pool_t *pool, cn_vec_t *list, const cn_vec_t *more)
{
    cn_dir_t *const *v = more->v;

    for (uint32_t i = 0; i < more->n; i++)
        *(cn_dir_t **)cn_vec_push(pool, list, sizeof(v[i])) = v[i];
}

static void put_comment(cn_kube_text_t *t, cn_str_t comment)
{
    if (comment.n) {
        cn_text_add(t, CN_STR(" # "));
        cn_text_comment(t, comment);
    }
    cn_text_add(t, CN_STR("\n"));
}

void cn_dir_put(cn_kube_text_t *t, const cn_vec_t *list, unsigned depth)
{
    cn_dir_t *const *v = list->v;

    for (uint32_t i = 0; i < list->n; i++) {
        const cn_str_t *word = v[i]->words.v;

        cn_text_printf(t, "%*s", (int)depth * 4, "");
        for (uint32_t k = 0; k < v[i]->words.n; k++) {
            cn_text_add(t, k ? CN_STR(" ") : CN_STR(""));
            cn_text_word(t, word[k]);
        }
        cn_text_add(t, v[i]->block ? CN_STR(" {") : CN_STR(";"));
        put_comment(t, v[i]->comment);
        if (!v[i]->block)
            continue;
        cn_dir_put(t, &v[i]->inner, depth + 1);
        cn_text_printf(t, "%*s}\n", (int)depth * 4, "");
    }
}
