/* SPDX-License-Identifier: Apache-2.0
 *
 * Internet addresses: parsing and printing without the resolver, and CIDR
 * blocks.  IPv4-mapped IPv6 addresses are turned into IPv4 on the way in.
 */
#ifndef CN_CORE_INET_H
#define CN_CORE_INET_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "core/str.h"

typedef struct {
    uint8_t family; /* AF_INET, AF_INET6, or 0: no address */
    uint8_t bits;   /* for blocks: prefix length; else unused */
    uint16_t port;  /* host order; 0: none */
    uint8_t ip[16]; /* network order; first 4 bytes for IPv4, the rest zero */
} cn_addr_t;

/* "10.0.0.1", "fd00::1"; no port, no brackets, no scope. */
CN_MUST cn_rc cn_inet_parse_ip(cn_str_t, cn_addr_t *);
/* "10.0.0.1:80", "[fd00::1]:80"; the port is required, 1-65535 (0 with allow_zero). */
CN_MUST cn_rc cn_inet_parse_hostport(cn_str_t, bool allow_zero, cn_addr_t *);
/* "10.0.0.0/8", "fd00::/8", or a bare address as a full-length block. Host bits are cleared. */
CN_MUST cn_rc cn_inet_parse_block(cn_str_t, cn_addr_t *);

bool cn_inet_block_has(const cn_addr_t *block, const cn_addr_t *);
bool cn_inet_same_ip(const cn_addr_t *, const cn_addr_t *);

void cn_inet_from_sockaddr(cn_addr_t *, const struct sockaddr *, socklen_t);
socklen_t cn_inet_to_sockaddr(const cn_addr_t *, struct sockaddr_storage *);

/* "10.0.0.1:80" or "[fd00::1]:80" (with_port) or the bare address.  Returns the
 * length; buf has at least CN_INET_TEXT bytes and is NUL-terminated.  No address: "-". */
#define CN_INET_TEXT 56
size_t cn_inet_put(char *buf, const cn_addr_t *, bool with_port);

#endif
