/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON string escaper.  Input is whatever a peer sent: it is checked as
 * UTF-8 here, and what is not becomes U+FFFD, one for each wrong byte, so that
 * the output is always a valid JSON text.
 */
#include "core/json.h"

/* Length of the well-formed UTF-8 sequence at p (Unicode table 3-7), or 0. */
static size_t utf8_len(const uint8_t *p, size_t left)
{
    uint8_t c = p[0], lo = 0x80, hi = 0xbf;
    size_t n;

    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (n > left)
        return 0;
    if (c == 0xe0)
        lo = 0xa0;
    else if (c == 0xed)
        hi = 0x9f;
    else if (c == 0xf0)
        lo = 0x90;
    else if (c == 0xf4)
        hi = 0x8f;
    if (p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

/* Writes the escape of an ASCII byte that needs one; returns its length. */
static size_t put_escape(char out[6], uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = c ? strchr(from, c) : NULL;

    out[0] = '\\';
    if (at) {
        out[1] = to[at - from];
        return 2;
    }
    memcpy(out + 1, "u00", 3);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

size_t cn_json_escape(char *out, size_t cap, cn_str_t s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    size_t need = 0;
    bool full = false;

    for (size_t i = 0; i < s.n;) {
        char esc[6];
        const void *piece = p + i;
        size_t n = 1, took = 1;
        if (p[i] >= 0x80) {
            n = took = utf8_len(p + i, s.n - i);
            if (n == 0) {
                piece = "\xef\xbf\xbd";
                n = 3;
                took = 1;
            }
        } else if (!is_plain(p[i])) {
            n = put_escape(esc, p[i]);
            piece = esc;
        }
        /* Once a piece did not fit, a later shorter one must not follow. */
        full = full || n > cap - need;
        if (!full)
            memcpy(out + need, piece, n);
        need += n;
        i += took;
    }
    return need;
}
