/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 (RFC 4648 4) piece by piece.
 */
#include "text.h"

#define PIECE 3072u /* bytes in one go, a multiple of 3 */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* 0..63; 64: padding; 255: neither. */
static uint8_t value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (uint8_t)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (uint8_t)(c - 'a' + 26);
    if (c >= '0' && c <= '9')
        return (uint8_t)(c - '0' + 52);
    if (c == '+' || c == '-')
        return 62;
    if (c == '/' || c == '_')
        return 63;
    return c == '=' ? 64 : 255;
}

/* Bytes of a complete group, 0: it is none. */
static unsigned decode_group(const uint8_t *v, char *out)
{
    unsigned n = v[3] < 64 ? 3 : v[2] < 64 ? 2 : 1;
    uint32_t bits;

    if (v[0] > 63 || v[1] > 63 || v[2] > 64 || v[3] > 64 || (v[2] == 64 && v[3] != 64))
        return 0;
    bits = (uint32_t)v[0] << 18 | (uint32_t)v[1] << 12 | (uint32_t)(v[2] & 63) << 6 | (v[3] & 63);
    out[0] = (char)(bits >> 16);
    out[1] = (char)(bits >> 8);
    out[2] = (char)bits;
    return n;
}

static cn_rc decode_piece(gw_group_t *g, const char *p, size_t n, cn_chain_t *out)
{
    char bytes[PIECE + 3];
    size_t have = 0;

    for (size_t i = 0; i < n; i++) {
        unsigned got;

        g->v[g->n++] = value_of(p[i]);
        if (g->n < 4)
            continue;
        got = decode_group(g->v, bytes + have);
        if (got == 0)
            return CN_ERR;
        have += got;
        g->n = 0;
    }
    cn_chain_copy(out, bytes, have);
    return CN_OK;
}

cn_rc gw_text_decode(gw_group_t *g, cn_chain_t *in, cn_chain_t *out)
{
    cn_rc rc = CN_OK;

    while (in->bytes && rc == CN_OK) {
        cn_str_t front = cn_chain_front(in);
        size_t n = front.n < PIECE ? front.n : PIECE;

        rc = decode_piece(g, front.p, n, out);
        cn_chain_skip(in, n);
    }
    return rc;
}

static void encode_group(const uint8_t *v, unsigned n, char *out)
{
    uint32_t bits = (uint32_t)v[0] << 16 | (uint32_t)(n > 1 ? v[1] : 0) << 8 | (n > 2 ? v[2] : 0);

    out[0] = alphabet[bits >> 18];
    out[1] = alphabet[bits >> 12 & 63];
    out[2] = n > 1 ? alphabet[bits >> 6 & 63] : '=';
    out[3] = n > 2 ? alphabet[bits & 63] : '=';
}

static void encode_piece(gw_group_t *g, const char *p, size_t n, cn_chain_t *out)
{
    char text[PIECE / 3 * 4 + 4];
    size_t have = 0;

    for (size_t i = 0; i < n; i++) {
        g->v[g->n++] = (uint8_t)p[i];
        if (g->n < 3)
            continue;
        encode_group(g->v, 3, text + have);
        have += 4;
        g->n = 0;
    }
    cn_chain_copy(out, text, have);
}

void gw_text_encode(gw_group_t *g, cn_chain_t *in, bool flush, cn_chain_t *out)
{
    char last[4];

    while (in->bytes) {
        cn_str_t front = cn_chain_front(in);
        size_t n = front.n < PIECE ? front.n : PIECE;

        encode_piece(g, front.p, n, out);
        cn_chain_skip(in, n);
    }
    if (!flush || g->n == 0)
        return;
    encode_group(g->v, g->n, last);
    g->n = 0;
    cn_chain_copy(out, last, sizeof(last));
}
