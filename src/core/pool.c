/* SPDX-License-Identifier: Apache-2.0
 *
 * Region memory: bump allocation from a list of blocks, all given back at
 * once.  Blocks double up to a bound, those of a small pool follow its size; a
 * request that is large beside a block gets a block of its own and leaves the
 * current one in use.
 *
 * The pool owns every block and every cleanup entry; the caller's objects
 * inside are never looked at.  Built with AddressSanitizer each allocation is
 * a block of its own, so that an overrun is seen.
 */
#include "core/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/mem.h"

#define ALIGNMENT 16u
#define FIRST_DEFAULT 4096u
#define STEP_SMALL 512u
#define BLOCK_MAX 65536u

typedef struct block {
    struct block *next;
    size_t size; /* whole block, this head included */
} __attribute__((aligned(ALIGNMENT))) block_t;

typedef struct cleanup {
    struct cleanup *next;
    cn_pool_cleanup_cb *fn;
    void *data;
} cleanup_t;

struct cn_pool {
    block_t *blocks;  /* the first one holds the pool itself and is freed last */
    char *at, *end;   /* free room of the current block */
    size_t next_size; /* 0: a quarter of total */
    size_t total;
    cleanup_t *cleanups;
    bool exempt; /* not in cn_mem_total() */
} __attribute__((aligned(ALIGNMENT)));

CN_NORETURN void cn_pool_out_of_memory(void)
{
    static const char text[] = "cairn: out of memory\n";
    ssize_t done = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)done;
    abort();
}

void *cn_xmalloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p)
        cn_pool_out_of_memory();
    return p;
}

void *cn_xzalloc(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p)
        cn_pool_out_of_memory();
    return p;
}

void *cn_xrealloc(void *p, size_t n)
{
    p = realloc(p, n ? n : 1);
    if (!p)
        cn_pool_out_of_memory();
    return p;
}

static block_t *block_new(size_t size)
{
    block_t *b = cn_xmalloc(size);
    b->size = size;
    b->next = NULL;
    return b;
}

cn_pool_t *cn_pool_create(size_t first)
{
    const size_t heads = sizeof(block_t) + sizeof(cn_pool_t);
    if (first == 0)
        first = FIRST_DEFAULT;
    if (first < heads || CN_ASAN)
        first = heads;
    block_t *b = block_new(first);
    cn_pool_t *pool = (cn_pool_t *)(b + 1);
    *pool = (cn_pool_t){
        .blocks = b,
        .at = (char *)(pool + 1),
        .end = (char *)b + first,
        .next_size = first < FIRST_DEFAULT ? FIRST_DEFAULT : first,
        .total = first,
    };
    cn_mem_take(first);
    return pool;
}

cn_pool_t *cn_pool_create_small(size_t first)
{
    cn_pool_t *pool = cn_pool_create(first);
    pool->next_size = 0;
    return pool;
}

cn_pool_t *cn_pool_exempt(cn_pool_t *pool)
{
    CN_BUG_ON(pool->exempt);
    cn_mem_give(pool->total);
    pool->exempt = true;
    return pool;
}

void cn_pool_destroy(cn_pool_t *pool)
{
    if (!pool)
        return;
    while (pool->cleanups) {
        cleanup_t *c = pool->cleanups;
        pool->cleanups = c->next;
        c->fn(c->data);
    }
    if (!pool->exempt)
        cn_mem_give(pool->total);
    block_t *next;
    for (block_t *b = pool->blocks; b; b = next) {
        next = b->next;
        free(b);
    }
}

/* The newest block stands first, so the one that holds the pool comes last. */
static char *block_add(cn_pool_t *pool, size_t room)
{
    CN_BUG_ON(room > SIZE_MAX / 2);
    block_t *b = block_new(sizeof(block_t) + room);
    b->next = pool->blocks;
    pool->blocks = b;
    pool->total += b->size;
    if (!pool->exempt)
        cn_mem_take(b->size);
    return (char *)(b + 1);
}

static size_t next_size(const cn_pool_t *pool)
{
    size_t size = pool->total / 4 & ~(size_t)(ALIGNMENT - 1);

    if (pool->next_size)
        return pool->next_size;
    return size < STEP_SMALL ? STEP_SMALL : size > BLOCK_MAX ? BLOCK_MAX : size;
}

static char *alloc_slow(cn_pool_t *pool, size_t n)
{
    size_t room = next_size(pool) - sizeof(block_t);
    if (CN_ASAN || n > room / 4)
        return block_add(pool, n);
    char *p = block_add(pool, room);
    pool->at = p + n;
    pool->end = p + room;
    if (pool->next_size < BLOCK_MAX)
        pool->next_size *= 2;
    return p;
}

void *cn_pool_alloc(cn_pool_t *pool, size_t n)
{
    if (n == 0)
        n = 1;
    uintptr_t pad = -(uintptr_t)pool->at & (ALIGNMENT - 1);
    size_t left = (size_t)(pool->end - pool->at);
    if (left < pad || left - pad < n)
        return alloc_slow(pool, n);
    char *p = pool->at + pad;
    pool->at = p + n;
    return p;
}

void *cn_pool_zalloc(cn_pool_t *pool, size_t n)
{
    void *p = cn_pool_alloc(pool, n);
    memset(p, 0, n);
    return p;
}

char *cn_pool_bytes(cn_pool_t *pool, size_t n)
{
    if (n == 0)
        n = 1;
    if ((size_t)(pool->end - pool->at) < n)
        return alloc_slow(pool, n);
    char *p = pool->at;
    pool->at += n;
    return p;
}

cn_str_t cn_pool_dup(cn_pool_t *pool, cn_str_t s)
{
    return cn_str_make(cn_pool_cstr(pool, s), s.n);
}

cn_str_t cn_pool_lower(cn_pool_t *pool, cn_str_t s)
{
    char *p = cn_pool_bytes(pool, s.n + 1);

    cn_str_lower(p, s.p, s.n);
    p[s.n] = '\0';
    return cn_str_make(p, s.n);
}

char *cn_pool_cstr(cn_pool_t *pool, cn_str_t s)
{
    CN_BUG_ON(s.n > SIZE_MAX / 2);
    char *p = cn_pool_bytes(pool, s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

cn_str_t cn_pool_vprintf(cn_pool_t *pool, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    CN_BUG_ON(n < 0);
    char *p = cn_pool_bytes(pool, (size_t)n + 1);
    int written = vsnprintf(p, (size_t)n + 1, fmt, again);
    CN_BUG_ON(written != n);
    va_end(again);
    return cn_str_make(p, (size_t)n);
}

cn_str_t cn_pool_printf(cn_pool_t *pool, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    cn_str_t s = cn_pool_vprintf(pool, fmt, args);
    va_end(args);
    return s;
}

void cn_pool_cleanup(cn_pool_t *pool, cn_pool_cleanup_cb *fn, void *data)
{
    cleanup_t *c = cn_pool_alloc(pool, sizeof(*c));
    *c = (cleanup_t){.next = pool->cleanups, .fn = fn, .data = data};
    pool->cleanups = c;
}

size_t cn_pool_size(const cn_pool_t *pool)
{
    return pool->total;
}

/* Most hold one or two, and large elements should not wait for others that never come. */
static uint32_t first_cap(size_t elem)
{
    return elem > 64 ? 1 : elem > 16 ? 2 : 4;
}

static void vec_grow(cn_pool_t *pool, cn_vec_t *vec, size_t elem)
{
    CN_BUG_ON(vec->cap > UINT32_MAX / 2);
    uint32_t cap = vec->cap ? vec->cap * 2 : first_cap(elem);
    size_t bytes, held = vec->cap * elem;
    CN_BUG_ON(__builtin_mul_overflow((size_t)cap, elem, &bytes));
    bool last = held > 0 && (char *)vec->v + held == pool->at;
    if (last && bytes - held <= (size_t)(pool->end - pool->at)) {
        pool->at += bytes - held;
    } else {
        void *grown = cn_pool_alloc(pool, bytes);
        if (vec->n > 0)
            memcpy(grown, vec->v, vec->n * elem);
        vec->v = grown;
    }
    vec->cap = cap;
}

void *cn_vec_push(cn_pool_t *pool, cn_vec_t *vec, size_t elem)
{
    if (vec->n == vec->cap)
        vec_grow(pool, vec, elem);
    void *last = (char *)vec->v + (size_t)vec->n++ * elem;
    memset(last, 0, elem);
    return last;
}
