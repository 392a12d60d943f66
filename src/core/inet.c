/* SPDX-License-Identifier: Apache-2.0
 *
 * Internet addresses as text, as sockaddr and as blocks.  Never asks a
 * resolver, never allocates.  IPv4-mapped IPv6 addresses become IPv4 wherever
 * one enters, so that a policy on 10.0.0.0/8 cannot be passed by ::ffff:10.0.0.1.
 */
#include "core/inet.h"

#include <arpa/inet.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void set_ip4(cn_addr_t *a, const void *ip)
{
    a->family = AF_INET;
    memset(a->ip, 0, sizeof(a->ip));
    memcpy(a->ip, ip, 4);
}

static void set_ip6(cn_addr_t *a, const uint8_t *ip)
{
    if (memcmp(ip, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        set_ip4(a, ip + sizeof(mapped_prefix));
        return;
    }
    a->family = AF_INET6;
    memcpy(a->ip, ip, 16);
}

/* Sets *mapped when the text was an IPv4-mapped IPv6 address. */
static cn_rc parse_ip(cn_str_t s, cn_addr_t *out, bool *mapped)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16];

    if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, '\0', s.n))
        return CN_ERR;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    *out = (cn_addr_t){0};
    *mapped = false;
    if (inet_pton(AF_INET, text, ip) == 1) {
        set_ip4(out, ip);
        return CN_OK;
    }
    if (inet_pton(AF_INET6, text, ip) == 1) {
        set_ip6(out, ip);
        *mapped = out->family == AF_INET;
        return CN_OK;
    }
    return CN_ERR;
}

cn_rc cn_inet_parse_ip(cn_str_t s, cn_addr_t *out)
{
    bool mapped;
    return parse_ip(s, out, &mapped);
}

/* Splits "IP:PORT" or "[IP6]:PORT". */
static cn_rc split_hostport(cn_str_t s, cn_str_t *host, cn_str_t *port)
{
    size_t end, colon;
    if (s.n > 0 && s.p[0] == '[') {
        end = cn_str_find(s, ']');
        colon = end + 1;
        *host = cn_str_make(s.p + 1, end == s.n ? 0 : end - 1);
        if (cn_str_find(*host, ':') == host->n)
            return CN_ERR;
    } else {
        end = colon = cn_str_find(s, ':');
        *host = cn_str_make(s.p, end);
    }
    if (colon >= s.n || s.p[colon] != ':')
        return CN_ERR;
    *port = cn_str_make(s.p + colon + 1, s.n - colon - 1);
    return CN_OK;
}

cn_rc cn_inet_parse_hostport(cn_str_t s, bool allow_zero, cn_addr_t *out)
{
    cn_str_t host, port;
    uint64_t v;

    if (split_hostport(s, &host, &port) != CN_OK || port.n > 5 ||
        cn_str_u64(port, UINT16_MAX, &v) != CN_OK || (v == 0 && !allow_zero) ||
        cn_inet_parse_ip(host, out) != CN_OK)
        return CN_ERR;
    out->port = (uint16_t)v;
    return CN_OK;
}

static void clear_host_bits(cn_addr_t *a)
{
    for (size_t i = 0; i < sizeof(a->ip); i++) {
        unsigned before = (unsigned)i * 8;
        if (a->bits <= before)
            a->ip[i] = 0;
        else if (a->bits < before + 8)
            a->ip[i] &= (uint8_t)(0xff00u >> (a->bits - before));
    }
}

cn_rc cn_inet_parse_block(cn_str_t s, cn_addr_t *out)
{
    size_t slash = cn_str_find(s, '/');
    bool mapped;
    if (parse_ip(cn_str_make(s.p, slash), out, &mapped) != CN_OK)
        return CN_ERR;
    uint64_t full = out->family == AF_INET ? 32 : 128;
    uint64_t bits = full;
    if (slash < s.n) {
        uint64_t shift = mapped ? 96 : 0;
        cn_str_t digits = cn_str_make(s.p + slash + 1, s.n - slash - 1);
        if (digits.n > 3 || cn_str_u64(digits, full + shift, &bits) != CN_OK || bits < shift)
            return CN_ERR;
        bits -= shift;
    }
    out->bits = (uint8_t)bits;
    clear_host_bits(out);
    return CN_OK;
}

bool cn_inet_block_has(const cn_addr_t *block, const cn_addr_t *a)
{
    if (a->family == 0 || a->family != block->family)
        return false;
    size_t whole = block->bits / 8;
    unsigned rest = block->bits % 8;
    if (memcmp(block->ip, a->ip, whole) != 0)
        return false;
    return rest == 0 || ((block->ip[whole] ^ a->ip[whole]) >> (8 - rest)) == 0;
}

bool cn_inet_same_ip(const cn_addr_t *a, const cn_addr_t *b)
{
    return a->family != 0 && a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

void cn_inet_from_sockaddr(cn_addr_t *out, const struct sockaddr *sa, socklen_t len)
{
    struct sockaddr_storage ss = {0};

    *out = (cn_addr_t){0};
    memcpy(&ss, sa, len < sizeof(ss) ? len : sizeof(ss));
    if (ss.ss_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&ss;
        set_ip4(out, &in->sin_addr);
        out->port = ntohs(in->sin_port);
    } else if (ss.ss_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&ss;
        set_ip6(out, in6->sin6_addr.s6_addr);
        out->port = ntohs(in6->sin6_port);
    }
}

socklen_t cn_inet_to_sockaddr(const cn_addr_t *a, struct sockaddr_storage *ss)
{
    memset(ss, 0, sizeof(*ss));
    if (a->family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)ss;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip, 4);
        return sizeof(*in);
    }
    if (a->family == AF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(a->port);
        memcpy(&in6->sin6_addr, a->ip, 16);
        return sizeof(*in6);
    }
    return 0;
}

/* inet_ntop() prints IPv4 with sprintf(); access logs need several addresses a
 * request. */
static size_t put_ip4(char *p, const uint8_t ip[4])
{
    size_t n = 0;

    for (unsigned i = 0; i < 4; i++) {
        if (i > 0)
            p[n++] = '.';
        n += cn_str_put_u64(p + n, ip[i]);
    }
    return n;
}

size_t cn_inet_put(char *buf, const cn_addr_t *a, bool with_port)
{
    char *p = buf;
    bool brackets = with_port && a->family == AF_INET6;

    if (a->family == 0) {
        memcpy(buf, "-", 2);
        return 1;
    }
    if (brackets)
        *p++ = '[';
    if (a->family == AF_INET) {
        p += put_ip4(p, a->ip);
    } else {
        CN_BUG_ON(!inet_ntop(a->family, a->ip, p, INET6_ADDRSTRLEN));
        p += strlen(p);
    }
    if (brackets)
        *p++ = ']';
    if (with_port) {
        *p++ = ':';
        p += cn_str_put_u64(p, a->port);
    }
    *p = '\0';
    return (size_t)(p - buf);
}
