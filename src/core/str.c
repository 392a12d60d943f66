/* SPDX-License-Identifier: Apache-2.0
 *
 * Counted strings: comparison, search, splitting and numbers.  Pure functions
 * over memory that the caller owns; nothing here allocates, consults the
 * locale, or reads beyond n bytes.
 */
#include "core/str.h"

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool same_nocase(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] != b[i] && lower(a[i]) != lower(b[i]))
            return false;
    }
    return true;
}

int cn_str_cmp(cn_str_t a, cn_str_t b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int d = n == 0 ? 0 : memcmp(a.p, b.p, n);
    if (d != 0)
        return d;
    return (a.n > b.n) - (a.n < b.n);
}

bool cn_str_ieq(cn_str_t a, cn_str_t b)
{
    return a.n == b.n && same_nocase(a.p, b.p, a.n);
}

bool cn_str_starts(cn_str_t s, cn_str_t prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool cn_str_ends(cn_str_t s, cn_str_t suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + (s.n - suffix.n), suffix.p, suffix.n) == 0);
}

bool cn_str_istarts(cn_str_t s, cn_str_t prefix)
{
    return s.n >= prefix.n && same_nocase(s.p, prefix.p, prefix.n);
}

bool cn_str_iends(cn_str_t s, cn_str_t suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || same_nocase(s.p + (s.n - suffix.n), suffix.p, suffix.n));
}

size_t cn_str_find(cn_str_t s, char c)
{
    const char *hit = s.n == 0 ? NULL : memchr(s.p, c, s.n);
    return hit ? (size_t)(hit - s.p) : s.n;
}

size_t cn_str_find_str(cn_str_t s, cn_str_t needle)
{
    if (needle.n == 0)
        return 0;
    if (s.n < needle.n)
        return s.n;
    const char *hit = memmem(s.p, s.n, needle.p, needle.n);
    return hit ? (size_t)(hit - s.p) : s.n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

cn_str_t cn_str_trim(cn_str_t s)
{
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    while (s.n > 0 && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    return s;
}

bool cn_str_split(cn_str_t *rest, char sep, cn_str_t *piece)
{
    if (rest->n == 0)
        return false;
    size_t at = cn_str_find(*rest, sep);
    *piece = cn_str_make(rest->p, at);
    size_t cut = at < rest->n ? at + 1 : at;
    rest->p += cut;
    rest->n -= cut;
    return true;
}

/* The value of a digit in any base up to 16, or 16. */
static unsigned digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    c = lower(c);
    if (c >= 'a' && c <= 'f')
        return (unsigned)(c - 'a') + 10;
    return 16;
}

static cn_rc parse_number(cn_str_t s, unsigned base, uint64_t max, uint64_t *out)
{
    if (s.n == 0)
        return CN_ERR;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned d = digit_value(s.p[i]);
        if (d >= base || __builtin_mul_overflow(v, (uint64_t)base, &v) ||
            __builtin_add_overflow(v, (uint64_t)d, &v) || v > max)
            return CN_ERR;
    }
    *out = v;
    return CN_OK;
}

cn_rc cn_str_u64(cn_str_t s, uint64_t max, uint64_t *out)
{
    return parse_number(s, 10, max, out);
}

cn_rc cn_str_hex(cn_str_t s, uint64_t max, uint64_t *out)
{
    return parse_number(s, 16, max, out);
}

void cn_str_lower(char *dst, const char *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = lower(src[i]);
}

static size_t count_digits(uint64_t v)
{
    size_t n = 1;

    for (; v >= 1000; v /= 1000)
        n += 3;
    return n + (v >= 10) + (v >= 100);
}

size_t cn_str_put_u64(char *buf, uint64_t v)
{
    size_t n = count_digits(v);

    for (size_t i = n; i-- > 1; v /= 10)
        buf[i] = (char)('0' + v % 10);
    buf[0] = (char)('0' + v);
    return n;
}
