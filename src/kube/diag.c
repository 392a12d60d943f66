/* SPDX-License-Identifier: Apache-2.0
 *
 * Collects what is wrong with the input and prints it sorted by place.  The
 * lines live in the pool that was given; knows nothing of Kubernetes.
 */
#include "kube/diag.h"

#include <stdlib.h>

typedef struct {
    cn_place_t pos;
    uint32_t seq;
    cn_str_t text;
} diag_line_t;

void cn_diag_init(cn_diag_t *d, cn_pool_t *pool)
{
    *d = (cn_diag_t){.pool = pool};
    cn_map_init(&d->seen);
    cn_map_init(&d->marked);
}

void cn_diag_fini(cn_diag_t *d)
{
    cn_map_fini(&d->seen);
    cn_map_fini(&d->marked);
}

static cn_str_t one_line(cn_pool_t *pool, cn_str_t s)
{
    static const char hex[] = "0123456789abcdef";
    char *out = cn_pool_bytes(pool, s.n * 4 + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c >= 0x20 && c != 0x7f) {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    return cn_str_make(out, n);
}

static bool add(cn_diag_t *d, cn_place_t pos, const char *word, const char *fmt, va_list ap)
{
    cn_str_t text = cn_pool_vprintf(d->pool, fmt, ap);
    diag_line_t *l;

    if (!pos.src)
        text = cn_pool_printf(d->pool, "cairn-gen: %s: %.*s", word, CN_STR_ARG(text));
    else if (pos.line == 0)
        text = cn_pool_printf(d->pool, "%.*s: %s: %.*s", CN_STR_ARG(pos.src->name), word,
                              CN_STR_ARG(text));
    else
        text = cn_pool_printf(d->pool, "%.*s:%u: %s: %.*s", CN_STR_ARG(pos.src->name), pos.line,
                              word, CN_STR_ARG(text));
    text = one_line(d->pool, text);
    if (cn_map_get(&d->seen, text))
        return false;
    cn_map_put(&d->seen, text, d);
    l = cn_vec_push(d->pool, &d->lines, sizeof(*l));
    *l = (diag_line_t){pos, d->lines.n, text};
    return true;
}

void cn_diag_error(cn_diag_t *d, cn_place_t pos, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    d->errors += add(d, pos, "error", fmt, ap);
    va_end(ap);
}

void cn_diag_warn(cn_diag_t *d, cn_place_t pos, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    d->warnings += add(d, pos, "warning", fmt, ap);
    va_end(ap);
}

void cn_diag_mark(cn_diag_t *d, const void *value)
{
    cn_str_t key = cn_pool_dup(d->pool, cn_str_make((const char *)&value, sizeof(value)));

    cn_map_put(&d->marked, key, d);
}

bool cn_diag_marked(const cn_diag_t *d, const void *value)
{
    return value && cn_map_get(&d->marked, cn_str_make((const char *)&value, sizeof(value)));
}

static int by_place(const void *va, const void *vb)
{
    const diag_line_t *a = va, *b = vb;
    unsigned ia = a->pos.src ? a->pos.src->index + 1 : 0,
             ib = b->pos.src ? b->pos.src->index + 1 : 0;

    if (ia != ib)
        return ia < ib ? -1 : 1;
    if (a->pos.line != b->pos.line)
        return a->pos.line < b->pos.line ? -1 : 1;
    return a->seq < b->seq ? -1 : 1;
}

void cn_diag_print(cn_diag_t *d, FILE *to)
{
    diag_line_t *v = d->lines.v;

    if (d->lines.n)
        qsort(v, d->lines.n, sizeof(*v), by_place);
    for (uint32_t i = 0; i < d->lines.n; i++)
        fprintf(to, "%.*s\n", CN_STR_ARG(v[i].text));
}
