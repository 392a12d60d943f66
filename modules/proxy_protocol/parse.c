/* SPDX-License-Identifier: Apache-2.0
 *
 * The PROXY protocol's two headers, as HAProxy's specification has them and as
 * ztunnel writes the second.  Sans I/O: looks at bytes, keeps nothing, never
 * allocates.  Strict where the specification lets a receiver choose, since the
 * only sender is a proxy that writes them exactly: no other transport than TCP,
 * no header without an end, nothing said twice.
 *
 *   v1  "PROXY TCP4 10.0.0.5 10.96.0.1 40000 9080\r\n", at most 107 bytes
 *   v2  signature, version|command, family|transport, u16 length, addresses, TLVs
 */
#include "pproxy_int.h"

#define V1_MAX 107u
#define V2_FIXED 16u
#define V2_LOCAL 0x20
#define V2_PROXY 0x21
#define V2_UNSPEC 0x00 /* high half of family|transport */
#define V2_INET 0x10
#define V2_INET6 0x20
#define V2_STREAM 0x01 /* low half */
#define TLV_IDENTITY 0xd0
#define TLV_HOST 0xd1
#define TLV_FIXED 3u

static const cn_str_t v1_mark = CN_STR("PROXY ");
static const cn_str_t v2_mark = CN_STR("\r\n\r\n\0\r\nQUIT\n");

static cn_rc bad(pproxy_header_t *h, const char *why)
{
    h->error = why;
    return CN_ERR;
}

static cn_rc more(pproxy_header_t *h, size_t size)
{
    h->size = size;
    return CN_AGAIN;
}

/* ---- version 1 ---- */

/* Zeros in front are not allowed (2.1). */
static bool read_port(cn_str_t s, uint16_t *port)
{
    uint64_t v;

    if (s.n > 5 || (s.n > 1 && s.p[0] == '0') || cn_str_u64(s, UINT16_MAX, &v) != CN_OK)
        return false;
    *port = (uint16_t)v;
    return true;
}

static bool read_ip(cn_str_t s, bool ip6, cn_addr_t *a)
{
    return (cn_str_find(s, ':') < s.n) == ip6 && cn_inet_parse_ip(s, a) == CN_OK;
}

/* rest: behind the protocol's name and its blank. */
static cn_rc v1_addresses(cn_str_t rest, bool ip6, pproxy_header_t *h)
{
    cn_str_t v[4], extra;

    if (cn_str_ends(rest, CN_STR(" ")))
        return bad(h, "something behind the ports");
    for (unsigned i = 0; i < CN_COUNT(v); i++)
        if (!cn_str_split(&rest, ' ', &v[i]))
            return bad(h, "four addresses and ports are expected");
    if (cn_str_split(&rest, ' ', &extra))
        return bad(h, "something behind the ports");
    if (!read_ip(v[0], ip6, &h->source) || !read_ip(v[1], ip6, &h->dest))
        return bad(h, "not an address of that family");
    if (!read_port(v[2], &h->source.port) || !read_port(v[3], &h->dest.port) || h->dest.port == 0)
        return bad(h, "not a port");
    h->addressed = true;
    return CN_OK;
}

/* line: with its CRLF left off. */
static cn_rc v1_line(cn_str_t line, pproxy_header_t *h)
{
    const cn_str_t tcp4 = CN_STR("TCP4 "), tcp6 = CN_STR("TCP6 "), unknown = CN_STR("UNKNOWN");
    cn_str_t rest = cn_str_make(line.p + v1_mark.n, line.n - v1_mark.n);

    if (cn_str_starts(rest, tcp4))
        return v1_addresses(cn_str_make(rest.p + tcp4.n, rest.n - tcp4.n), false, h);
    if (cn_str_starts(rest, tcp6))
        return v1_addresses(cn_str_make(rest.p + tcp6.n, rest.n - tcp6.n), true, h);
    /* Whatever stands behind UNKNOWN is to be ignored (2.1). */
    if (cn_str_starts(rest, unknown) && (rest.n == unknown.n || rest.p[unknown.n] == ' '))
        return CN_OK;
    return bad(h, "neither TCP4, TCP6 nor UNKNOWN");
}

static bool is_printable(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~')
            return false;
    return true;
}

static cn_rc v1(cn_str_t b, pproxy_header_t *h)
{
    size_t seen = b.n < V1_MAX ? b.n : V1_MAX;
    cn_str_t line = cn_str_make(b.p, cn_str_find(cn_str_make(b.p, seen), '\r'));

    h->version = 1;
    h->size = line.n + 2;
    if (!is_printable(line))
        return bad(h, "an unprintable byte");
    if (h->size > V1_MAX)
        return bad(h, "longer than 107 bytes");
    if (h->size > b.n)
        return more(h, b.n + 1);
    if (b.p[line.n + 1] != '\n')
        return bad(h, "no CRLF at the end");
    return v1_line(line, h);
}

/* ---- version 2 ---- */

static unsigned get16(const char *p)
{
    return (unsigned)(uint8_t)p[0] << 8 | (uint8_t)p[1];
}

static const char *get_addr(const char *p, uint8_t family, cn_addr_t *a)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (family == AF_INET) {
        memcpy(&in.sin_addr, p, 4);
        cn_inet_from_sockaddr(a, (const struct sockaddr *)&in, sizeof(in));
        return p + 4;
    }
    memcpy(&in6.sin6_addr, p, 16);
    cn_inet_from_sockaddr(a, (const struct sockaddr *)&in6, sizeof(in6));
    return p + 16;
}

/* Behind the addresses; block: everything behind the fixed part. */
static cn_rc v2_addresses(cn_str_t *block, uint8_t family, pproxy_header_t *h)
{
    size_t n = family == AF_INET ? 12 : 36;
    const char *p = block->p;

    if (block->n < n)
        return bad(h, "too short for its addresses");
    p = get_addr(p, family, &h->source);
    p = get_addr(p, family, &h->dest);
    h->source.port = (uint16_t)get16(p);
    h->dest.port = (uint16_t)get16(p + 2);
    if (h->dest.port == 0)
        return bad(h, "not a port");
    *block = cn_str_make(block->p + n, block->n - n);
    h->addressed = true;
    return CN_OK;
}

/* A text that may stand in logs: an identity and a host have no other bytes. */
static cn_rc v2_text(cn_str_t value, cn_str_t *into, pproxy_header_t *h)
{
    if (into->p)
        return bad(h, "an identity or host is given twice");
    if (value.n == 0)
        return bad(h, "an empty identity or host");
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] <= ' ' || value.p[i] > '~')
            return bad(h, "a byte that no identity or host has");
    *into = value;
    return CN_OK;
}

static cn_rc v2_tlvs(cn_str_t rest, pproxy_header_t *h)
{
    while (rest.n) {
        uint8_t type = (uint8_t)rest.p[0];
        cn_str_t value;
        cn_rc rc = CN_OK;

        if (rest.n < TLV_FIXED || get16(rest.p + 1) > rest.n - TLV_FIXED)
            return bad(h, "a TLV that leads over the end");
        value = cn_str_make(rest.p + TLV_FIXED, get16(rest.p + 1));
        if (type == TLV_IDENTITY)
            rc = v2_text(value, &h->identity, h);
        else if (type == TLV_HOST)
            rc = v2_text(value, &h->host, h);
        if (rc != CN_OK)
            return rc;
        rest = cn_str_make(value.p + value.n, rest.n - TLV_FIXED - value.n);
    }
    return CN_OK;
}

/* LOCAL is the sender's own connection, and of UNSPEC it does not know the
 * addresses (ztunnel writes it when they are of two families): the rest is to
 * be skipped, TLVs too, since nothing tells where they begin (2.2). */
static cn_rc v2_block(uint8_t command, uint8_t family, cn_str_t block, pproxy_header_t *h)
{
    cn_rc rc;

    if (command == V2_LOCAL || (family & 0xf0) == V2_UNSPEC)
        return CN_OK;
    rc = v2_addresses(&block, (family & 0xf0) == V2_INET ? AF_INET : AF_INET6, h);
    return rc == CN_OK ? v2_tlvs(block, h) : rc;
}

/* The two bytes behind the signature, as far as they are there. */
static cn_rc v2_kind(cn_str_t b, pproxy_header_t *h)
{
    uint8_t command = b.n > 12 ? (uint8_t)b.p[12] : V2_PROXY;
    uint8_t family = b.n > 13 ? (uint8_t)b.p[13] : V2_INET | V2_STREAM;
    uint8_t high = family & 0xf0, low = family & 0x0f;

    if (command != V2_PROXY && command != V2_LOCAL)
        return bad(h, "not version 2, or an unknown command");
    if (command == V2_LOCAL)
        return CN_OK; /* the family is to be ignored */
    if (high == V2_UNSPEC ? low > V2_STREAM : low != V2_STREAM)
        return bad(h, "not TCP");
    if (high != V2_UNSPEC && high != V2_INET && high != V2_INET6)
        return bad(h, "neither IPv4 nor IPv6");
    return CN_OK;
}

static cn_rc v2(cn_str_t b, pproxy_header_t *h)
{
    size_t size;

    h->version = 2;
    if (v2_kind(b, h) != CN_OK)
        return CN_ERR;
    if (b.n < V2_FIXED)
        return more(h, V2_FIXED);
    size = V2_FIXED + get16(b.p + 14);
    if (size > PPROXY_MAX)
        return bad(h, "longer than is accepted");
    if (b.n < size)
        return more(h, size);
    h->size = size;
    return v2_block((uint8_t)b.p[12], (uint8_t)b.p[13],
                    cn_str_make(b.p + V2_FIXED, size - V2_FIXED), h);
}

/* ---- both ---- */

/* Whether b begins with mark, or is a piece of its beginning. */
static bool may_be(cn_str_t b, cn_str_t mark)
{
    size_t n = b.n < mark.n ? b.n : mark.n;

    return n == 0 || memcmp(b.p, mark.p, n) == 0;
}

cn_rc pproxy_parse(cn_str_t b, pproxy_header_t *h)
{
    *h = (pproxy_header_t){0};
    if (b.n == 0)
        return more(h, 1);
    if (may_be(b, v2_mark))
        return b.n < v2_mark.n ? more(h, b.n + 1) : v2(b, h);
    if (may_be(b, v1_mark))
        return b.n < v1_mark.n ? more(h, b.n + 1) : v1(b, h);
    return bad(h, "not a PROXY header");
}
