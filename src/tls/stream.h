/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS 1.3 over any stream, as a stream: ALPN h2, both sides authenticated,
 * no SNI, no resumption.  OpenSSL works on memory through a BIO of ours, so the
 * lower stream may itself be a tunnel.
 *
 * The peer's certificate must chain to the trust bundle and its SPIFFE trust
 * domain must be one of the context's; on top, a client can pin identities.
 */
#ifndef CN_TLS_STREAM_H
#define CN_TLS_STREAM_H

#include "event/stream.h"
#include "tls/ctx.h"

/* Both take the lower stream (owned and closed by the TLS stream) and make
 * their own reference of ctx.  ready() is CN_OK when the handshake is complete
 * and the peer is accepted.  A missing or other ALPN is an error.  After a
 * refusal close without abort, so that the peer gets the alert.  A client
 * learns of the server's refusal with its first read: that is TLS 1.3. */
cn_stream_t *cn_tls_server(cn_loop_t *, cn_stream_t *lower, cn_tls_ctx_t *, uint64_t handshake_ms,
                           cn_task_t *owner);
/* identity: exact SPIFFE URI that the peer must present; empty: any of the
 * trust domains. */
cn_stream_t *cn_tls_client(cn_loop_t *, cn_stream_t *lower, cn_tls_ctx_t *, cn_str_t identity,
                           uint64_t handshake_ms, cn_task_t *owner);

/* Whom a client outside the mesh's rules expects. */
typedef struct {
    cn_str_t name;        /* sent when it is a DNS name; the certificate must be for it ... */
    const cn_str_t *sans; /* ... unless these are given: for one of them, */
    unsigned nsans;       /* DNS name, IP address or URI */
    cn_str_t alpn;        /* what to offer: "h2", "http/1.1"; empty: nothing */
} cn_tls_expect_t;
/* As cn_tls_client(), to a server that is known by name; ctx: of
 * cn_tls_ctx_create_web().  A server that chooses no ALPN is taken as it is;
 * peer()->identity stays empty.  expect is copied. */
cn_stream_t *cn_tls_client_web(cn_loop_t *, cn_stream_t *lower, cn_tls_ctx_t *,
                               const cn_tls_expect_t *expect, uint64_t handshake_ms,
                               cn_task_t *owner);

#endif
