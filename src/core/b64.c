/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 (RFC 4648).  Decoding is strict where laxness would let two texts
 * mean the same bytes in a signature: no blanks, no bits after the end, no
 * wrong padding.  Results live in the caller's pool.
 */
#include "core/b64.h"

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    if (c == '/' || c == '_')
        return 63;
    return -1;
}

/* Removes correct padding; CN_ERR when there is some but not the right amount. */
static cn_rc strip_padding(cn_str_t *s)
{
    size_t pads = 0;
    while (pads < 2 && s->n > pads && s->p[s->n - 1 - pads] == '=')
        pads++;
    if (pads > 0 && s->n % 4 != 0)
        return CN_ERR;
    s->n -= pads;
    return s->n % 4 == 1 ? CN_ERR : CN_OK;
}

cn_rc cn_b64_decode(cn_pool_t *pool, cn_str_t in, cn_str_t *out)
{
    if (strip_padding(&in) != CN_OK)
        return CN_ERR;
    char *buf = cn_pool_bytes(pool, in.n / 4 * 3 + 3);
    size_t n = 0;
    uint32_t acc = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < in.n; i++) {
        int v = sextet(in.p[i]);
        if (v < 0)
            return CN_ERR;
        acc = (acc << 6) | (uint32_t)v;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf[n++] = (char)(acc >> bits);
        }
        acc &= (1u << bits) - 1;
    }
    if (acc != 0)
        return CN_ERR;
    *out = cn_str_make(buf, n);
    return CN_OK;
}

cn_str_t cn_b64_encode(cn_pool_t *pool, cn_str_t in)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    CN_BUG_ON(in.n > SIZE_MAX / 2);
    char *buf = cn_pool_bytes(pool, (in.n + 2) / 3 * 4);
    size_t n = 0;
    for (size_t i = 0; i < in.n; i += 3) {
        size_t left = in.n - i;
        uint32_t v = (uint32_t)(uint8_t)in.p[i] << 16;
        if (left > 1)
            v |= (uint32_t)(uint8_t)in.p[i + 1] << 8;
        if (left > 2)
            v |= (uint8_t)in.p[i + 2];
        buf[n++] = alphabet[v >> 18];
        buf[n++] = alphabet[v >> 12 & 63];
        buf[n++] = left > 1 ? alphabet[v >> 6 & 63] : '=';
        buf[n++] = left > 2 ? alphabet[v & 63] : '=';
    }
    return cn_str_make(buf, n);
}
