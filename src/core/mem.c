/* SPDX-License-Identifier: Apache-2.0
 *
 * A TLS handshake takes and frees a thousand blocks, and the C library spends as
 * much on them as on agreeing on a key.  So what libraries free is kept by size
 * and given out again, the last one first.  When too much is kept, all of it goes
 * back to the C library: no size that is asked for no more stays for long.
 */
#include "core/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "core/pool.h"

#define STEP 16u
#define STEPS 1100u /* of blocks that are kept: up to OpenSSL's buffers for a record */

typedef struct kept {
    struct kept *next;
    const void *mark; /* &kept while it is; of other blocks, what they hold */
} kept_t;

/* Per process; a worker is single-threaded. */
static struct {
    kept_t *lists[STEPS];
    size_t bytes, most;
} kept;

/* Signed: what is no traffic's is given away while it is made (tls/ctx.c), and an estimate must
 * not become a huge number. */
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

/* ---- sizes: blocks have room for 8 bytes and a number of steps, as glibc makes them ---- */

static size_t room(size_t steps)
{
    return steps * STEP + 8;
}

/* At least one: a kept block has a head. */
static size_t steps_for(size_t n)
{
    return n <= room(1) ? 1 : (n - 9) / STEP + 1;
}

static size_t steps_of(void *p)
{
    return (malloc_usable_size(p) - 8) / STEP;
}

/* What to ask the C library for, so that the block can be kept as one of its size. */
static size_t whole(size_t n)
{
    size_t steps = steps_for(n);

    return steps < STEPS ? room(steps) : n;
}

/* ---- what is kept ---- */

static void *keep_take(size_t steps)
{
    kept_t *k = kept.lists[steps];

    kept.lists[steps] = k->next;
    kept.bytes -= room(steps);
    k->mark = NULL;
    return k;
}

/* Freed twice? */
static bool is_kept(size_t steps, const kept_t *k)
{
    const kept_t *at = k->mark == &kept ? kept.lists[steps] : NULL;

    while (at && at != k)
        at = at->next;
    return at;
}

static void keep_give(size_t steps, kept_t *k)
{
    CN_BUG_ON(is_kept(steps, k));
    k->next = kept.lists[steps];
    k->mark = &kept;
    kept.lists[steps] = k;
    kept.bytes += room(steps);
    if (kept.bytes > kept.most)
        (void)cn_mem_trim();
}

void cn_mem_keep(size_t n)
{
    kept.most = CN_ASAN ? 0 : n;
}

size_t cn_mem_trim(void)
{
    size_t bytes = kept.bytes;

    for (size_t steps = 0; kept.bytes && steps < STEPS; steps++)
        while (kept.lists[steps])
            free(keep_take(steps));
    return bytes;
}

/* ---- for libraries ---- */

void *cn_mem_alloc(size_t n)
{
    size_t steps = steps_for(n);
    void *p;

    if (steps < STEPS && kept.lists[steps]) {
        cn_mem_take(room(steps));
        return keep_take(steps);
    }
    p = malloc(whole(n));
    if (p)
        cn_mem_take(room(steps_of(p)));
    return p;
}

void *cn_mem_must(void *p)
{
    if (!p)
        cn_pool_out_of_memory();
    return p;
}

void *cn_mem_calloc(size_t n, size_t size)
{
    size_t bytes;
    void *p;

    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    p = cn_mem_alloc(bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

void *cn_mem_realloc(void *p, size_t n)
{
    size_t before;
    void *moved;

    if (!p)
        return cn_mem_alloc(n);
    if (n == 0) {
        cn_mem_free(p);
        return NULL;
    }
    before = room(steps_of(p));
    moved = realloc(p, whole(n));
    if (moved) {
        cn_mem_give(before);
        cn_mem_take(room(steps_of(moved)));
    }
    return moved;
}

void cn_mem_free(void *p)
{
    size_t steps;

    if (!p)
        return; /* most of what OpenSSL frees is nothing */
    steps = steps_of(p);
    cn_mem_give(room(steps));
    if (kept.most && steps < STEPS)
        keep_give(steps, p);
    else
        free(p);
}
