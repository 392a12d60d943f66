/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the module share: the parser's contract, the settings and
 * the worker's state.
 */
#ifndef CN_PPROXY_INT_H
#define CN_PPROXY_INT_H

#include <cairn/transport.h>

/* ---- parse.c: PROXY headers, without any I/O ---- */

/* The longest header that is read: addresses, an identity, a host name, and
 * room for TLVs of others. */
#define PPROXY_MAX 4096u

typedef struct {
    size_t size;      /* CN_OK: of the whole header; CN_AGAIN: bytes to have before asking again */
    unsigned version; /* 1 or 2 */
    bool addressed;   /* source and dest are there; else LOCAL, UNSPEC or UNKNOWN */
    cn_addr_t source, dest; /* dest has a port */
    cn_str_t identity;      /* TLV 0xD0: printable ASCII, into the bytes; empty: none */
    cn_str_t host;          /* TLV 0xD1, the same */
    const char *error;      /* CN_ERR: what is wrong, a constant */
} pproxy_header_t;

/* Reads the header that bytes begin with; more may follow it.  Keeps nothing:
 * call it again with more of the same bytes after CN_AGAIN.  A wrong signature,
 * version or size is an error as soon as its byte is there. */
CN_MUST cn_rc pproxy_parse(cn_str_t bytes, pproxy_header_t *);

/* ---- proxy_protocol.c ---- */

typedef struct {
    cn_vec_t from; /* cn_addr_t: blocks of peers that may connect */
    uint64_t timeout_ms;
    uint32_t max_waiting;
} pproxy_conf_t;

/* Why a connection was not served: values of the metric's label. */
typedef enum {
    PPROXY_STRANGER,
    PPROXY_OVERLOAD,
    PPROXY_CLOSED,
    PPROXY_TIMEOUT,
    PPROXY_MALFORMED,
    PPROXY_NO_DESTINATION,
    PPROXY_IDENTITY,
    PPROXY_NO_SERVICE,
    PPROXY_REASONS
} pproxy_reason;

/* A worker's. */
typedef struct {
    cn_worker_t *w;
    cn_loop_t *loop;
    const pproxy_conf_t *conf; /* of the generation in force */
    cn_list_t waiting;         /* accept.c: connections without a whole header */
    uint32_t nwaiting;
    uint64_t next_log_ms; /* strangers are logged once in a while */
    cn_series_t *connections, *waiting_series, *tunnels;
} pproxy_t;

/* Counts a connection that is not served. */
void pproxy_count(pproxy_t *, pproxy_reason);

/* ---- accept.c ---- */
extern const cn_listener_ops_t pproxy_listener;
void pproxy_accept_fini(pproxy_t *);

#endif
