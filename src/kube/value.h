/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of resources in their own notations: durations, percentages, header
 * names, host names, regular expressions.  What passes here can be written into
 * the conf as a word.
 */
#ifndef CN_KUBE_VALUE_H
#define CN_KUBE_VALUE_H

#include "kube/model.h"

#define CN_VALUE_MAX 4096 /* bytes of a header, parameter or path */
/* Of percentages: VirtualService has six decimals of a fraction. */
#define CN_VALUE_PERCENT 10000u /* parts in one percent */

/* "1h30m", "0.5s", "500ms": what Go, Gateway API and Istio write.  Parts below
 * a millisecond round up.  At most ten years. */
CN_MUST cn_rc cn_value_duration(cn_str_t, uint64_t *ms);
/* "12.5" as parts of a percent; at most 100. */
CN_MUST cn_rc cn_value_percent(cn_str_t, uint32_t *parts);
/* "12.5" from parts. */
cn_str_t cn_value_percent_text(cn_pool_t *, uint32_t parts);

/* No control bytes, not longer than CN_VALUE_MAX. */
bool cn_value_is_plain(cn_str_t);
/* The same without blanks, and not empty: a path or host to write into requests. */
bool cn_value_is_word(cn_str_t);
/* "region/zone/subzone", the last two may be missing; with stars each may be "*". */
bool cn_value_is_locality(cn_str_t, bool stars);
/* RFC 9110 5.6.2: a header's name or a method. */
bool cn_value_is_token(cn_str_t);
/* A host as it stands in a URI, without port: a name, or an address (IPv6 in brackets). */
bool cn_value_is_host(cn_str_t);
/* A name as of a service: dots and letters; with wildcard also "*" and "*.name". */
bool cn_value_is_domain(cn_str_t, bool wildcard);
/* RFC 9110 5.5: what a header may hold; TAB is allowed inside. */
bool cn_value_is_header(cn_str_t);
/* Whether http/regex takes it; else why, in the pool. */
bool cn_value_is_regex(cn_pool_t *, cn_str_t, cn_str_t *why);
/* Whether it is an expression, and with a substitution that fits it; else why. */
bool cn_value_is_subst(cn_pool_t *, cn_str_t regex, cn_str_t with, cn_str_t *why);
/* The text with every character of regular expressions escaped. */
cn_str_t cn_value_quote_regex(cn_pool_t *, cn_str_t);

/* ---- fields of an object, with an error that names `what` (spec.rules[0]...) ---- */

/* False: absent, or refused with an error. */
bool cn_value_read_duration(const cn_reader_t *, const cn_node_t *map, const char *key,
                            const char *what, uint64_t *ms);
/* Text without control bytes; empty: absent or refused. */
cn_str_t cn_value_read_plain(const cn_reader_t *, const cn_node_t *map, const char *key,
                             const char *what);
/* True or false at a key; otherwise when it is absent or of another type (said). */
bool cn_value_read_bool(const cn_reader_t *, const cn_node_t *map, const char *key,
                        const char *what, bool otherwise);
/* Index of the field's text in words (which ends with NULL); -1: absent, or
 * refused with an error that lists the words. */
int cn_value_read_word(const cn_reader_t *, const cn_node_t *map, const char *key, const char *what,
                       const char *const *words);

#endif
