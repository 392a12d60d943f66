/* SPDX-License-Identifier: Apache-2.0
 *
 * A tunnel: one accepted CONNECT (or PROXY-framed connection) of an
 * authenticated peer towards a destination that we serve.  What every tunnel
 * module needs and no wire format of its own.
 */
#ifndef CN_TUNNEL_TUNNEL_H
#define CN_TUNNEL_TUNNEL_H

#include "conf/section.h"
#include "event/stream.h"
#include "upstream/workload.h"

/* Facts about an accepted tunnel; strings in `pool`, which whoever accepted it
 * hands over with the struct and which ends with the tunnel. */
typedef struct {
    cn_pool_t *pool;
    cn_section_t *section; /* pinned: what the destination resolved to */
    cn_addr_t source;      /* the peer's address: the client pod */
    cn_addr_t dest;        /* what was asked for: VIP:port or podIP:port */
    cn_str_t authority;    /* as received */
    cn_str_t identity;     /* of the peer, empty: none */
    cn_str_t local_identity;
    cn_str_t baggage;     /* raw header value, empty: none */
    cn_str_t forwarded;   /* raw */
    bool foreign_network; /* x-forwarded-network differs from ours: IPs mean nothing */
} cn_tunnel_t;

/* SERVICE-level settings of the core (tunnel/conf.c). */
typedef struct {
    cn_vec_t addresses; /* cn_addr_t */
    cn_str_t host;      /* FQDN */
    cn_str_t service_name, service_namespace;
    uint32_t service_port; /* 0: any (workload) */
    int protocol;          /* cn_proto of upstream/cluster.h */
    cn_str_t cluster;      /* default target; empty: the service's own name */
    uint64_t sniff_ms;     /* how long to wait for first bytes on an undeclared port */
} cn_service_conf_t;

extern const cn_conf_unit_t cn_tunnel_unit;
/* The settings of the unit above in a section of level SERVICE. */
const cn_service_conf_t *cn_tunnel_service(const cn_section_t *);

/* Resolves an authority ("10.96.0.12:9080", "[fd00::1]:80", "host:80") to a
 * service, pinned, and the address asked for.  CN_ERR: malformed; CN_DECLINE:
 * not served here. */
CN_MUST cn_rc cn_tunnel_resolve(const cn_gen_t *, cn_str_t authority, cn_section_t **,
                                cn_addr_t *dest);

/* What the first bytes say (facts/verified 9): never waits for more than it must. */
typedef enum { CN_SNIFF_MORE, CN_SNIFF_HTTP1, CN_SNIFF_HTTP2, CN_SNIFF_TCP } cn_sniff;
cn_sniff cn_tunnel_sniff(const cn_chain_t *);
/* The same where HTTP was declared: HTTP2 for its preface (RFC 9113 3.3), MORE
 * for a part of that or nothing, else HTTP1. */
cn_sniff cn_tunnel_sniff_http(const cn_chain_t *);

/* The name that a TLS client asks for, in lower case; n 0: none. */
typedef struct {
    char name[255];
    size_t n;
} cn_hello_t;
/* CN_OK: a whole ClientHello; CN_AGAIN: the beginning of one, or nothing yet;
 * CN_DECLINE: something else; CN_ERR: begins like one and is broken, longer
 * than 16 KiB or cut into more than 16 records. */
CN_MUST cn_rc cn_tunnel_hello(const cn_chain_t *, cn_hello_t *);
/* lower with the bytes of head in front of it (moved out of head). */
cn_stream_t *cn_tunnel_prefix(cn_stream_t *lower, cn_chain_t *head);

/* Copies both ways until both ends have ended; half-close in each direction. */
typedef struct {
    cn_stream_t *a, *b;
    cn_chain_t ab, ba; /* taken from one, not yet taken by the other */
    bool a_eof, b_eof, a_shut, b_shut;
} cn_relay_t;
void cn_relay_init(cn_relay_t *, cn_stream_t *a, cn_stream_t *b);
/* Call on every wake of the owner of both.  CN_AGAIN: goes on; CN_DONE: both
 * directions ended; CN_ERR: one stream failed (its err says why). At most
 * budget bytes per call in each direction; *more tells when to be run again. */
CN_MUST cn_rc cn_relay_run(cn_relay_t *, size_t budget, bool *more);
void cn_relay_fini(cn_relay_t *);

#endif
