/* SPDX-License-Identifier: Apache-2.0
 *
 * Region memory.  A pool belongs to one object (a section, a tunnel, a
 * connection, a request) and everything taken from it ends with it.  Pointers
 * may lead from a shorter-lived pool to a longer-lived one, never back.
 *
 * Allocation does not fail: when memory is gone the process stops and the
 * master starts another (see DESIGN B.5).  Sizes that a peer chooses must be
 * bounded before they get here.
 */
#ifndef CN_CORE_POOL_H
#define CN_CORE_POOL_H

#include <stdarg.h>

#include "core/str.h"

typedef struct cn_pool cn_pool_t;
typedef void cn_pool_cleanup_cb(void *data);

/* first: bytes in the first block, 0 for the default of 4096. */
cn_pool_t *cn_pool_create(size_t first);
/* The same for what there are thousands of and which stays: a further block has a quarter of what
 * the pool holds by then, 512 bytes at least, so that little of it is never used. */
cn_pool_t *cn_pool_create_small(size_t first);
/* Belongs to the configuration: not counted as memory of traffic (core/mem.h), where each pool
 * is at first.  Once, by who creates it; returns the pool. */
cn_pool_t *cn_pool_exempt(cn_pool_t *);
/* Runs the cleanups, newest first, then gives all memory back.  NULL is allowed. */
void cn_pool_destroy(cn_pool_t *);

/* Aligned for any type; not zeroed.  Zero bytes give a valid unique pointer. */
void *cn_pool_alloc(cn_pool_t *, size_t n) __attribute__((malloc, returns_nonnull));
void *cn_pool_zalloc(cn_pool_t *, size_t n) __attribute__((malloc, returns_nonnull));
/* Not aligned: for characters. */
char *cn_pool_bytes(cn_pool_t *, size_t n) __attribute__((malloc, returns_nonnull));

cn_str_t cn_pool_dup(cn_pool_t *, cn_str_t);   /* the copy is also NUL-terminated */
cn_str_t cn_pool_lower(cn_pool_t *, cn_str_t); /* the same, with A-Z as a-z */
char *cn_pool_cstr(cn_pool_t *, cn_str_t); /* a C string; bytes after a NUL are kept but unseen */
cn_str_t cn_pool_printf(cn_pool_t *, const char *fmt, ...) CN_PRINTF(2, 3);
cn_str_t cn_pool_vprintf(cn_pool_t *, const char *fmt, va_list) CN_PRINTF(2, 0);

/* fn(data) runs when the pool is destroyed. */
void cn_pool_cleanup(cn_pool_t *, cn_pool_cleanup_cb *fn, void *data);

/* Bytes held from the system, for accounting. */
size_t cn_pool_size(const cn_pool_t *);

/* Growable array of fixed-size elements in a pool.  It grows where it is when nothing was taken
 * from the pool since; else old copies stay until the pool ends. */
typedef struct {
    void *v;
    uint32_t n, cap;
} cn_vec_t;
/* A zeroed new last element of elem bytes. */
void *cn_vec_push(cn_pool_t *, cn_vec_t *, size_t elem) __attribute__((returns_nonnull));

/* Says so and ends the process: for what a library could not allocate. */
CN_NORETURN void cn_pool_out_of_memory(void);

/* malloc and friends that end the process instead of returning NULL. */
void *cn_xmalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *cn_xzalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *cn_xrealloc(void *p, size_t n) __attribute__((returns_nonnull));

#endif
