/* SPDX-License-Identifier: Apache-2.0 */
#include "core/mem.h"

#include <malloc.h>
#include <stdlib.h>

/* Per process; a worker is single-threaded.  Signed: what is no traffic's is given away while it
 * is made (tls/ctx.c), and an estimate must not become a huge number. */
static ptrdiff_t held;

void cn_mem_take(size_t n)
{
    held += (ptrdiff_t)n;
}

void cn_mem_give(size_t n)
{
    held -= (ptrdiff_t)n;
}

size_t cn_mem_total(void)
{
    return held > 0 ? (size_t)held : 0;
}

void *cn_mem_alloc(size_t n)
{
    void *p = malloc(n);

    cn_mem_take(malloc_usable_size(p));
    return p;
}

void *cn_mem_calloc(size_t n, size_t size)
{
    void *p = calloc(n, size);

    cn_mem_take(malloc_usable_size(p));
    return p;
}

void *cn_mem_realloc(void *p, size_t n)
{
    size_t before = malloc_usable_size(p);
    void *moved = realloc(p, n);

    if (moved || n == 0) {
        cn_mem_give(before);
        cn_mem_take(malloc_usable_size(moved));
    }
    return moved;
}

void cn_mem_free(void *p)
{
    if (!p)
        return; /* most of what OpenSSL frees is nothing */
    cn_mem_give(malloc_usable_size(p));
    free(p);
}
