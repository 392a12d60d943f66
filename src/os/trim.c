/* SPDX-License-Identifier: Apache-2.0 */
#include "os/trim.h"

#include <malloc.h>

#include "core/mem.h"

bool cn_trim_is_due(cn_trim_t *t, size_t now)
{
    if (now > t->peak)
        t->peak = now;
    if (t->peak - now < CN_TRIM_MIN || now > t->peak / 2)
        return false;
    t->peak = now;
    return true;
}

void cn_trim(void)
{
    (void)cn_mem_trim();
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}
