/* SPDX-License-Identifier: Apache-2.0
 *
 * Chunks and chains.  A chain owns its ring and one reference for each slice
 * in it; the last reference gives a chunk back to the free list of its size.
 *
 * Room behind the used part of a chunk may be filled only by a chain that
 * holds the only reference and whose last slice ends where the used part ends;
 * this is checked at each append, so handing slices around needs no flags.
 *
 * Between cn_chain_reserve and cn_chain_commit the slot behind the last slice
 * holds the chunk that is being written, or NULL when that is the last one's.
 */
#include "core/chain.h"

#include <stdlib.h>
#include <sys/uio.h>

#include "core/mem.h"
#include "core/pool.h"

#define RING_MIN 4u
#define SHARE_MIN 2048u /* from here on a slice is worth a reference of any chunk */

/* Bounds of the free lists. */
#define KEEP_LARGE (CN_ASAN ? 0 : 64)
#define KEEP_SMALL (CN_ASAN ? 0 : 256)

typedef struct {
    cn_chunk_t *first;
    uint32_t n;
} free_list_t;

/* Per process; a worker is single-threaded. */
static struct {
    free_list_t large, small;
} chunks;

static cn_chunk_t *free_list_take(free_list_t *list)
{
    cn_chunk_t *c = list->first;
    if (c) {
        list->first = c->next_free;
        list->n--;
    }
    return c;
}

static bool free_list_give(free_list_t *list, uint32_t keep, cn_chunk_t *c)
{
    if (list->n >= keep)
        return false;
    c->next_free = list->first;
    list->first = c;
    list->n++;
    return true;
}

cn_chunk_t *cn_chunk_new(size_t n)
{
    cn_chunk_t *c = NULL;
    CN_BUG_ON(n > UINT32_MAX / 2);
    if (n <= CN_CHUNK_SMALL) {
        n = CN_CHUNK_SMALL;
        c = free_list_take(&chunks.small);
    } else if (n <= CN_CHUNK_LARGE) {
        n = CN_CHUNK_LARGE;
        c = free_list_take(&chunks.large);
    }
    if (!c)
        c = cn_xmalloc(sizeof(*c) + n);
    c->refs = 1;
    c->cap = (uint32_t)n;
    c->used = 0;
    c->next_free = NULL;
    cn_mem_take(n);
    return c;
}

void cn_chunk_unref(cn_chunk_t *c)
{
    CN_BUG_ON(c->refs == 0);
    if (--c->refs > 0)
        return;
    cn_mem_give(c->cap);
    if (c->cap == CN_CHUNK_LARGE && free_list_give(&chunks.large, KEEP_LARGE, c))
        return;
    if (c->cap == CN_CHUNK_SMALL && free_list_give(&chunks.small, KEEP_SMALL, c))
        return;
    free(c);
}

void cn_chain_clear(cn_chain_t *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        cn_chunk_unref(cn_chain_at(c, i)->chunk);
    free(c->v);
    cn_chain_init(c);
}

/* Doubles the ring; the slices start at 0 afterwards. */
static void ring_grow(cn_chain_t *c)
{
    CN_BUG_ON(c->cap > UINT32_MAX / 4);
    uint32_t cap = c->cap ? c->cap * 2 : RING_MIN;
    cn_buf_t *v = cn_xmalloc(cap * sizeof(*v));
    for (uint32_t i = 0; i < c->n; i++)
        v[i] = *cn_chain_at(c, i);
    free(c->v);
    c->v = v;
    c->cap = cap;
    c->head = 0;
}

/* The slot behind the last slice. */
static cn_buf_t *ring_end(cn_chain_t *c)
{
    if (c->n == c->cap)
        ring_grow(c);
    return cn_chain_at(c, c->n);
}

static cn_buf_t *last_slice(const cn_chain_t *c)
{
    return c->n > 0 ? cn_chain_at(c, c->n - 1) : NULL;
}

static void drop_front(cn_chain_t *c)
{
    c->head = (c->head + 1) & (c->cap - 1);
    c->n--;
}

/* True when the slice directly continues the last one. */
static bool extend_last(cn_chain_t *c, const cn_chunk_t *chunk, uint32_t off, uint32_t len)
{
    cn_buf_t *last = last_slice(c);
    if (!last || last->chunk != chunk || last->off + last->len != off)
        return false;
    last->len += len;
    c->bytes += len;
    return true;
}

void cn_chain_push(cn_chain_t *c, cn_chunk_t *chunk, uint32_t off, uint32_t len)
{
    CN_BUG_ON(off > chunk->cap || len > chunk->cap - off);
    if (chunk->used < off + len)
        chunk->used = off + len;
    if (len == 0 || extend_last(c, chunk, off, len)) {
        cn_chunk_unref(chunk);
        return;
    }
    *ring_end(c) = (cn_buf_t){.chunk = chunk, .off = off, .len = len};
    c->n++;
    c->bytes += len;
}

/* Bytes that may be written behind the last slice. */
static size_t last_room(const cn_chain_t *c)
{
    const cn_buf_t *last = last_slice(c);
    if (!last || last->chunk->refs != 1 || last->off + last->len != last->chunk->used)
        return 0;
    return last->chunk->cap - last->chunk->used;
}

static void last_grown(cn_chain_t *c, size_t n)
{
    cn_buf_t *last = last_slice(c);
    last->len += (uint32_t)n;
    last->chunk->used += (uint32_t)n;
    c->bytes += n;
}

void cn_chain_copy(cn_chain_t *c, const void *data, size_t n)
{
    const char *p = data;
    while (n > 0) {
        size_t part = last_room(c);
        if (part == 0) {
            part = n < CN_CHUNK_LARGE ? n : CN_CHUNK_LARGE;
            cn_chunk_t *chunk = cn_chunk_new(part);
            memcpy(chunk->data, p, part);
            cn_chain_push(c, chunk, 0, (uint32_t)part);
        } else {
            part = part < n ? part : n;
            cn_chunk_t *chunk = last_slice(c)->chunk;
            memcpy(chunk->data + chunk->used, p, part);
            last_grown(c, part);
        }
        p += part;
        n -= part;
    }
}

void cn_chain_add(cn_chain_t *c, cn_chunk_t *chunk, uint32_t off, uint32_t len)
{
    CN_BUG_ON(off > chunk->cap || len > chunk->cap - off);
    uint32_t worth = chunk->cap / 8 < SHARE_MIN ? chunk->cap / 8 : SHARE_MIN;
    if (len >= worth)
        cn_chain_push(c, cn_chunk_ref(chunk), off, len);
    else if (!extend_last(c, chunk, off, len))
        cn_chain_copy(c, chunk->data + off, len);
}

void cn_chain_share(cn_chain_t *dst, const cn_chain_t *src)
{
    for (uint32_t i = 0; i < src->n; i++) {
        const cn_buf_t *b = cn_chain_at(src, i);
        if (b->len >= b->chunk->cap / 2)
            cn_chain_push(dst, cn_chunk_ref(b->chunk), b->off, b->len);
        else
            cn_chain_copy(dst, b->chunk->data + b->off, b->len);
    }
}

static void swap_chains(cn_chain_t *a, cn_chain_t *b)
{
    cn_chain_t tmp = *a;
    *a = *b;
    *b = tmp;
}

void cn_chain_move(cn_chain_t *dst, cn_chain_t *src, size_t n)
{
    CN_BUG_ON(n > src->bytes);
    if (n == src->bytes && dst->n == 0) {
        swap_chains(dst, src);
        return;
    }
    while (n > 0) {
        cn_buf_t *b = cn_chain_at(src, 0);
        if (b->len > n) {
            cn_chain_push(dst, cn_chunk_ref(b->chunk), b->off, (uint32_t)n);
            b->off += (uint32_t)n;
            b->len -= (uint32_t)n;
            src->bytes -= n;
            return;
        }
        n -= b->len;
        src->bytes -= b->len;
        cn_chain_push(dst, b->chunk, b->off, b->len);
        drop_front(src);
    }
}

void cn_chain_skip(cn_chain_t *c, size_t n)
{
    CN_BUG_ON(n > c->bytes);
    c->bytes -= n;
    while (n > 0) {
        cn_buf_t *b = cn_chain_at(c, 0);
        if (b->len > n) {
            b->off += (uint32_t)n;
            b->len -= (uint32_t)n;
            return;
        }
        n -= b->len;
        cn_chunk_unref(b->chunk);
        drop_front(c);
    }
}

size_t cn_chain_peek(const cn_chain_t *c, void *out, size_t n)
{
    char *p = out;
    size_t done = 0;
    for (uint32_t i = 0; i < c->n && done < n; i++) {
        const cn_buf_t *b = cn_chain_at(c, i);
        size_t part = b->len < n - done ? b->len : n - done;
        memcpy(p + done, b->chunk->data + b->off, part);
        done += part;
    }
    return done;
}

cn_str_t cn_chain_front(const cn_chain_t *c)
{
    if (c->n == 0)
        return CN_STR_NULL;
    const cn_buf_t *b = cn_chain_at(c, 0);
    return cn_str_make(b->chunk->data + b->off, b->len);
}

void cn_chain_reserve(cn_chain_t *c, size_t min, char **p, size_t *n)
{
    cn_buf_t *slot = ring_end(c);
    size_t room = last_room(c);
    if (room > 0 && room >= min) {
        cn_chunk_t *last = last_slice(c)->chunk;
        *slot = (cn_buf_t){0};
        *p = last->data + last->used;
        *n = room;
        return;
    }
    cn_chunk_t *fresh = cn_chunk_new(min > CN_CHUNK_LARGE ? min : CN_CHUNK_LARGE);
    *slot = (cn_buf_t){.chunk = fresh};
    *p = fresh->data;
    *n = fresh->cap;
}

void cn_chain_commit(cn_chain_t *c, size_t got)
{
    cn_chunk_t *fresh = cn_chain_at(c, c->n)->chunk;
    if (!fresh) {
        CN_BUG_ON(got > last_room(c));
        last_grown(c, got);
    } else if (got > CN_CHUNK_SMALL) {
        cn_chain_push(c, fresh, 0, (uint32_t)got);
    } else {
        /* An idle connection that holds a few bytes must not pin a large chunk. */
        cn_chain_copy(c, fresh->data, got);
        cn_chunk_unref(fresh);
    }
}

int cn_chain_iov(const cn_chain_t *c, struct iovec *iov, int max)
{
    int n = 0;
    for (uint32_t i = 0; i < c->n && n < max; i++) {
        const cn_buf_t *b = cn_chain_at(c, i);
        iov[n++] = (struct iovec){.iov_base = b->chunk->data + b->off, .iov_len = b->len};
    }
    return n;
}
