/* SPDX-License-Identifier: Apache-2.0
 *
 * How much memory traffic holds in this process: buffers, the pools of
 * connections, tunnels and requests, and what nghttp2 and OpenSSL keep for them.
 * Configuration, endpoints and statistics are not traffic: a large mesh takes
 * nothing from the budget (max_memory) of its requests.
 *
 * Bytes as they were asked for, or as the C library rounded them; what it needs
 * for itself is not in, nor is what is kept here for the next one.
 */
#ifndef CN_CORE_MEM_H
#define CN_CORE_MEM_H

#include <stddef.h>

/* n bytes are now traffic's, or no longer. */
void cn_mem_take(size_t n);
void cn_mem_give(size_t n);
/* Bytes that are. */
size_t cn_mem_total(void);

/* malloc, calloc, realloc and free that count, for libraries: NULL when there is none. */
void *cn_mem_alloc(size_t n);
void *cn_mem_calloc(size_t n, size_t size);
void *cn_mem_realloc(void *p, size_t n);
void cn_mem_free(void *p);
/* p, or the end of the process: libraries do not always tell that they had no memory, and go on
 * without a frame or an algorithm. */
void *cn_mem_must(void *p);
/* From now on freed blocks are kept for the next of their size, n bytes in all; none to begin with.
 * For who serves: reading a configuration leaves blocks that nobody asks for again. */
void cn_mem_keep(size_t n);
/* Gives the C library all that is kept; the bytes. */
size_t cn_mem_trim(void);

#endif
