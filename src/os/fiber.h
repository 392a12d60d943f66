/* SPDX-License-Identifier: Apache-2.0
 *
 * A function that can stop in the middle and go on later: it has a stack of its
 * own.  For long work that is deep in calls when it should let others go first;
 * whatever is short, or a loop, is a task with a state instead.
 *
 * Both sides run in one thread, one at a time.
 */
#ifndef CN_OS_FIBER_H
#define CN_OS_FIBER_H

#include "core/base.h"

typedef struct cn_fiber cn_fiber_t;

/* fn has not begun when this returns.  NULL with errno: no memory for a stack. */
cn_fiber_t *cn_fiber_create(void (*fn)(void *arg), void *arg);
/* Runs fn until it pauses or returns; true: it has returned, and cn_fiber_destroy()
 * is all that may still be called. */
bool cn_fiber_resume(cn_fiber_t *);
/* Inside of fn only: back to whoever resumed it. */
void cn_fiber_pause(cn_fiber_t *);
/* Of one that has not begun or has returned; NULL is allowed. */
void cn_fiber_destroy(cn_fiber_t *);

#endif
