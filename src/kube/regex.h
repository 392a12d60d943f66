/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a route's regular expression is one that the proxy will take: RE2's
 * syntax, compiled by PCRE2.  A bad one must cost its own match, not the whole
 * configuration.
 */
#ifndef CN_KUBE_REGEX_H
#define CN_KUBE_REGEX_H

#include "core/pool.h"

#define CN_REGEX_MAX 4096 /* bytes of a pattern */

/* CN_ERR: *why, in the pool, says what is wrong. */
CN_MUST cn_rc cn_regex_check(cn_pool_t *, cn_str_t pattern, cn_str_t *why);

#endif
