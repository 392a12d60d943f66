/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes in motion.  A chunk is a reference-counted block; a buf is a slice of
 * one; a chain is a queue of slices with a byte count.  Bytes move between
 * chains by handing slices over, without copying.
 *
 * Chunks come from per-process free lists (a worker is single-threaded).
 * Writing into a chunk is allowed only to who just made it, up to its
 * capacity; once a slice is in a chain its bytes are constant.
 */
#ifndef CN_CORE_CHAIN_H
#define CN_CORE_CHAIN_H

#include "core/str.h"

#define CN_CHUNK_LARGE 16384
#define CN_CHUNK_SMALL 1024

typedef struct cn_chunk {
    uint32_t refs;
    uint32_t cap;  /* bytes in data */
    uint32_t used; /* bytes of data already given out, from the front */
    struct cn_chunk *next_free;
    char data[];
} cn_chunk_t;

/* A chunk with one reference and at least n bytes of capacity (SMALL, LARGE,
 * or exactly n when larger than LARGE). */
cn_chunk_t *cn_chunk_new(size_t n);
static inline cn_chunk_t *cn_chunk_ref(cn_chunk_t *c)
{
    c->refs++;
    return c;
}
void cn_chunk_unref(cn_chunk_t *);

typedef struct {
    cn_chunk_t *chunk; /* one reference */
    uint32_t off, len;
} cn_buf_t;

typedef struct {
    cn_buf_t *v; /* ring of cap slots, heap memory, NULL until first used */
    uint32_t head, n, cap;
    size_t bytes;
} cn_chain_t;

static inline void cn_chain_init(cn_chain_t *c)
{
    *c = (cn_chain_t){0};
}
/* Drops all slices and the ring; the chain is empty and usable afterwards. */
void cn_chain_clear(cn_chain_t *);

/* Appends a slice; takes the caller's reference of chunk. */
void cn_chain_push(cn_chain_t *, cn_chunk_t *, uint32_t off, uint32_t len);
/* Appends a copy; fills the last chunk's free room when this chain alone may. */
void cn_chain_copy(cn_chain_t *, const void *, size_t n);
static inline void cn_chain_puts(cn_chain_t *c, cn_str_t s)
{
    cn_chain_copy(c, s.p, s.n);
}
/* Appends a slice when it is large enough to be worth a reference, else a copy:
 * a small slice must not pin a large chunk.  Does not take a reference. */
void cn_chain_add(cn_chain_t *, cn_chunk_t *, uint32_t off, uint32_t len);

/* Appends all of src without taking it: both share the bytes, except those of
 * slices that are small for their chunk. */
void cn_chain_share(cn_chain_t *dst, const cn_chain_t *src);

/* Moves the first n (at most src->bytes) bytes from src to the end of dst. */
void cn_chain_move(cn_chain_t *dst, cn_chain_t *src, size_t n);
/* Drops the first n (at most bytes) bytes. */
void cn_chain_skip(cn_chain_t *, size_t n);
/* Copies the first n (at most bytes) bytes out without removing them; returns how many. */
size_t cn_chain_peek(const cn_chain_t *, void *out, size_t n);

/* First slice as memory; {NULL, 0} when empty. */
cn_str_t cn_chain_front(const cn_chain_t *);
/* i-th slice, i < c->n. */
static inline cn_buf_t *cn_chain_at(const cn_chain_t *c, uint32_t i)
{
    return &c->v[(c->head + i) & (c->cap - 1)];
}

/* Room to read into: at least min bytes at the end, in *p and *n; after writing,
 * cn_chain_commit(got) appends what was written, 0 included: each reserve is
 * followed by a commit.  Nothing else may touch the chain between the two.  A chunk that ends up
 * nearly empty is replaced by a small one. */
void cn_chain_reserve(cn_chain_t *, size_t min, char **p, size_t *n);
void cn_chain_commit(cn_chain_t *, size_t got);

struct iovec;
/* Describes up to max leading slices; returns how many. */
int cn_chain_iov(const cn_chain_t *, struct iovec *, int max);

#endif
