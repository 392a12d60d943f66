/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that goes back.  The C library keeps what was freed in the middle of its
 * heap, so a worker would stay as large as its busiest second.  When much less is
 * in use than was, it is asked to give back what is free.
 */
#ifndef CN_OS_TRIM_H
#define CN_OS_TRIM_H

#include "core/base.h"

/* All zero to begin with. */
typedef struct {
    size_t peak; /* most bytes in use since the last time */
} cn_trim_t;

/* To be asked about once a second.  now: bytes that traffic uses, an estimate.
 * True: at least half of the most, and CN_TRIM_MIN, has been freed since; the
 * next answer of that kind needs a peak of its own. */
bool cn_trim_is_due(cn_trim_t *, size_t now);
/* Gives free memory back to the system: some milliseconds for each 100 MiB. */
void cn_trim(void);

#define CN_TRIM_MIN ((size_t)4 << 20)

#endif
