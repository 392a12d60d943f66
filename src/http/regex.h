/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions of the configuration: RE2's syntax, which is what Istio
 * promises to its users, run by PCRE2 with its JIT compiler.  A match is always
 * of the whole subject.  What RE2 does not have is refused when the expression
 * is compiled, so a policy does not come to depend on the engine.
 *
 * Time is bounded although PCRE2 backtracks: when the limit of steps is hit,
 * the breadth-first matcher tries, whose time does not grow with the number of
 * ways to read the subject; when that reaches its limits too, the match stays
 * undecided.
 */
#ifndef CN_HTTP_REGEX_H
#define CN_HTTP_REGEX_H

#include "core/pool.h"

/* Bytes of an expression. */
#define CN_REGEX_MAX 4096

typedef struct cn_regex cn_regex_t;

/* The result lives as long as the pool.  CN_ERR: *why says what is wrong and at
 * which byte, in the pool. */
CN_MUST cn_rc cn_regex_compile(cn_pool_t *, cn_str_t pattern, cn_regex_t **out, cn_str_t *why);

/* CN_OK: the whole subject matches; CN_DECLINE: it does not, or is not UTF-8;
 * CN_ERR: undecided within the limits, which the caller must not take for a
 * match.  Allocates nothing in the usual case; not for two threads at once. */
CN_MUST cn_rc cn_regex_match(const cn_regex_t *, cn_str_t subject);

#endif
