/* SPDX-License-Identifier: Apache-2.0
 *
 * Long work that serves in between: it calls cn_pause() between its pieces, of
 * some microseconds each, and whoever gave the pause decides whether now is the
 * time to do something else first.  What is held across a pause must not be
 * what the other work may change.
 */
#ifndef CN_CORE_PAUSE_H
#define CN_CORE_PAUSE_H

#include "core/base.h"

typedef struct {
    void (*fn)(void *ctx);
    void *ctx;
} cn_pause_t;

/* NULL: the work is done in one go. */
static inline void cn_pause(const cn_pause_t *p)
{
    if (p)
        p->fn(p->ctx);
}

#endif
