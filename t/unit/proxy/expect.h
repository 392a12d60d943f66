/* SPDX-License-Identifier: Apache-2.0
 *
 * What tests of the proxy expect of texts and logs.
 */
#ifndef CN_PROXY_EXPECT_H
#define CN_PROXY_EXPECT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../fixture/proxy_rig.h"

static inline void assert_starts(const char *text, const char *start)
{
    if (strncmp(text, start, strlen(start)) != 0)
        fail_msg("expected \"%s\", got \"%s\"", start, text);
}

static inline void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("expected \"%s\" in \"%s\"", part, text);
}

static inline void assert_lacks(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("did not expect \"%s\" in \"%s\"", part, text);
}

static inline const cn_rig_log_t *only_log(const cn_rig_t *rig)
{
    assert_int_equal(rig->nlog, 1);
    return &rig->log[0];
}

#endif
