/* SPDX-License-Identifier: Apache-2.0
 *
 * Configurations on their way into a worker.  Traffic goes first: a worker that
 * serves takes them in pieces of half a millisecond, between turns of its loop,
 * and one after the other in the order in which they came.
 */
#ifndef CN_MAIN_TAKE_H
#define CN_MAIN_TAKE_H

#include "main/reload.h"
#include "proxy/worker.h"

typedef struct cn_take cn_take_t;

/* What became of each: rc CN_OK: it is in force; else *why. */
typedef void cn_take_told_cb(void *ctx, uint64_t number, cn_rc rc, cn_str_t why);

cn_take_t *cn_take_create(cn_worker_t *, const cn_reload_source_t *, cn_take_told_cb *, void *ctx);
/* Ends in order what has begun, and forgets the rest. */
void cn_take_destroy(cn_take_t *);
/* whole: else fd is a part, made for the configuration just before it.  fd is
 * taken.  It begins at once when nothing else is under way. */
void cn_take_add(cn_take_t *, bool whole, int fd, uint64_t number);
/* In one go, with nothing under way; told is not called. */
CN_MUST cn_rc cn_take_now(cn_take_t *, bool whole, int fd, uint64_t number, cn_pool_t *pool,
                          cn_str_t *why);
/* Until told otherwise there is no traffic that has to go first; what is under
 * way is finished before this returns. */
void cn_take_hurry(cn_take_t *, bool);
/* The longest piece of the last configuration, in microseconds of processor time. */
uint64_t cn_take_longest_us(const cn_take_t *);
/* True once after a whole configuration has taken another one's place: what that held is free. */
bool cn_take_freed(cn_take_t *);

#endif
