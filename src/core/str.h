/* SPDX-License-Identifier: Apache-2.0
 *
 * Counted strings: a view of bytes that somebody else owns, not terminated.
 */
#ifndef CN_CORE_STR_H
#define CN_CORE_STR_H

#include <string.h>

#include "core/base.h"

typedef struct {
    const char *p; /* may be NULL only when n == 0 */
    size_t n;
} cn_str_t;

#define CN_STR(literal) ((cn_str_t){(literal), sizeof(literal) - 1})
#define CN_STR_NULL ((cn_str_t){NULL, 0})
/* For printf: "%.*s", CN_STR_ARG(s) */
#define CN_STR_ARG(s) ((int)(s).n), ((s).p ? (s).p : "")

static inline cn_str_t cn_str_make(const char *p, size_t n)
{
    return (cn_str_t){p, n};
}

static inline cn_str_t cn_str_c(const char *z)
{
    return (cn_str_t){z, z ? strlen(z) : 0};
}

static inline bool cn_str_eq(cn_str_t a, cn_str_t b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Order as memcmp, the shorter first when one is a prefix of the other. */
int cn_str_cmp(cn_str_t a, cn_str_t b);

/* ASCII case only; never consults the locale. */
bool cn_str_ieq(cn_str_t a, cn_str_t b);
bool cn_str_starts(cn_str_t s, cn_str_t prefix);
bool cn_str_ends(cn_str_t s, cn_str_t suffix);
bool cn_str_istarts(cn_str_t s, cn_str_t prefix);
bool cn_str_iends(cn_str_t s, cn_str_t suffix);

/* First position of c, or s.n when there is none. */
size_t cn_str_find(cn_str_t s, char c);
/* First position of needle, or s.n when there is none; an empty needle is at 0. */
size_t cn_str_find_str(cn_str_t s, cn_str_t needle);

/* Without leading and trailing SP and HTAB. */
cn_str_t cn_str_trim(cn_str_t s);

/* Cuts the piece before the next sep off *rest (which moves behind it) and
 * stores it in *piece.  False when nothing is left.  "a,,b" gives "a", "", "b";
 * "a," gives "a" only, "" gives nothing. */
bool cn_str_split(cn_str_t *rest, char sep, cn_str_t *piece);

/* Whole string as an unsigned decimal, at most max.  CN_ERR on anything else
 * (empty, sign, blank, overflow). */
CN_MUST cn_rc cn_str_u64(cn_str_t s, uint64_t max, uint64_t *out);
/* The same for hexadecimal digits of either case. */
CN_MUST cn_rc cn_str_hex(cn_str_t s, uint64_t max, uint64_t *out);

/* Lower-cases ASCII letters from src into dst (n bytes, may be the same memory). */
void cn_str_lower(char *dst, const char *src, size_t n);

/* Decimal digits of v into buf (at least 20 bytes); returns how many. */
size_t cn_str_put_u64(char *buf, uint64_t v);

#endif
