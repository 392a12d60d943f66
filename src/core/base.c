/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of the line for broken invariants: say which one, then abort so that
 * the core shows the state.  Writes with write(2) only, since the heap and
 * stdio may be what is broken.  Knows nothing of the log.
 */
#include "core/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void cn_base_bug(const char *cond, const char *file, int line)
{
    char text[256];
    int n = snprintf(text, sizeof(text), "cairn: bug: %s (%s:%d)\n", cond, file, line);
    if (n > 0) {
        size_t len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
        ssize_t done = write(STDERR_FILENO, text, len);
        (void)done;
    }
    abort();
}
