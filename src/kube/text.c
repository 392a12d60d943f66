/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing the conf's language: words and comments from which no text of the
 * input can break out.
 */
#include "kube/text.h"

#include <stdio.h>
#include <stdlib.h>

void cn_text_fini(cn_kube_text_t *t)
{
    free(t->p);
    *t = (cn_kube_text_t){0};
}

static char *room(cn_kube_text_t *t, size_t n)
{
    if (!t->p || t->cap - t->n < n) {
        t->cap = (t->cap + n + 64) * 2;
        t->p = cn_xrealloc(t->p, t->cap);
    }
    return t->p + t->n;
}

void cn_text_add(cn_kube_text_t *t, cn_str_t s)
{
    char *to = room(t, s.n);

    if (s.n)
        memcpy(to, s.p, s.n);
    t->n += s.n;
}

void cn_text_printf(cn_kube_text_t *t, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    CN_BUG_ON(n < 0);
    va_start(ap, fmt);
    vsnprintf(room(t, (size_t)n + 1), (size_t)n + 1, fmt, ap);
    va_end(ap);
    t->n += (size_t)n;
}

static bool is_bare(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!alnum && (!c || !strchr("-_./:*@%+=,~!", c)))
            return false;
    }
    return s.n > 0;
}

void cn_text_word(cn_kube_text_t *t, cn_str_t s)
{
    if (is_bare(s)) {
        cn_text_add(t, s);
        return;
    }
    cn_text_add(t, CN_STR("\""));
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        CN_BUG_ON(((unsigned char)c < 0x20 && c != '\n' && c != '\t') || c == 0x7f);
        if (c == '\n')
            cn_text_add(t, CN_STR("\\n"));
        else if (c == '\t')
            cn_text_add(t, CN_STR("\\t"));
        else if (c == '"' || c == '\\')
            cn_text_printf(t, "\\%c", c);
        else
            cn_text_add(t, cn_str_make(&c, 1));
    }
    cn_text_add(t, CN_STR("\""));
}

void cn_text_comment(cn_kube_text_t *t, cn_str_t s)
{
    char *to = room(t, s.n);

    for (size_t i = 0; i < s.n; i++)
        to[i] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i];
    t->n += s.n;
}
