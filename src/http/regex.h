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

/* For rewriting: finds matches anywhere in a subject and knows its groups.  Not
 * for cn_regex_match(). */
CN_MUST cn_rc cn_regex_compile_find(cn_pool_t *, cn_str_t pattern, cn_regex_t **out, cn_str_t *why);
/* Bytes that a substitution and a rewritten subject may have, and matches in it. */
#define CN_REGEX_SUBST_MAX 4096
#define CN_REGEX_RESULT_MAX 65536
#define CN_REGEX_REPLACE_MAX 256
/* Whether a substitution fits the expression: \0 stands for the match, \1 to
 * \9 for its groups, \\ for a backslash.  CN_ERR: *why says what is wrong. */
CN_MUST cn_rc cn_regex_subst_check(cn_pool_t *, const cn_regex_t *, cn_str_t subst, cn_str_t *why);
/* Puts subst in the place of every match, from the left.  CN_DECLINE: there is
 * none, *out is the subject; CN_ERR: a limit was reached. */
CN_MUST cn_rc cn_regex_replace(cn_pool_t *, const cn_regex_t *, cn_str_t subject, cn_str_t subst,
                               cn_str_t *out);

#endif
