/* SPDX-License-Identifier: Apache-2.0
 *
 * When a burst of changes has ended: after a while in which nothing moved, or,
 * when it does not end, after ten times that since it began.  Times are
 * milliseconds of one monotonic clock, given by the caller.
 */
#ifndef CN_CONF_SETTLE_H
#define CN_CONF_SETTLE_H

#include "core/base.h"

typedef struct {
    uint64_t quiet_ms;
    bool open; /* something moved and was not told yet */
    uint64_t first_ms, last_ms;
    uint64_t not_before_ms;
    /* What was told last, when, and how often in a row. */
    uint64_t what, told_ms;
    unsigned again;
} cn_settle_t;

void cn_settle_init(cn_settle_t *, uint64_t quiet_ms);
void cn_settle_moved(cn_settle_t *, uint64_t now_ms);
/* The burst that is open has ended by now? */
bool cn_settle_is_over(const cn_settle_t *, uint64_t now_ms);
/* When it has, if nothing moves until then; UINT64_MAX: none is open. */
uint64_t cn_settle_at(const cn_settle_t *);
/* It cannot be told now: not over before that time. */
void cn_settle_wait(cn_settle_t *, uint64_t until_ms);
/* It came to nothing. */
void cn_settle_close(cn_settle_t *);
/* It is over and came to `what`.  True: tell it.  False: that was told already;
 * it is told again later and later, since telling it did not help. */
bool cn_settle_tell(cn_settle_t *, uint64_t what, uint64_t now_ms);

#endif
