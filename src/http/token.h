/* SPDX-License-Identifier: Apache-2.0
 *
 * Header names that the proxy itself looks at, interned to small numbers.
 */
#ifndef CN_HTTP_TOKEN_H
#define CN_HTTP_TOKEN_H

#include "core/str.h"

/* X(identifier, "wire name") in any order */
#define CN_TOKENS(X)                                                                               \
    X(ACCEPT, "accept")                                                                            \
    X(AUTHORIZATION, "authorization")                                                              \
    X(BAGGAGE, "baggage")                                                                          \
    X(CONNECTION, "connection")                                                                    \
    X(CONTENT_LENGTH, "content-length")                                                            \
    X(CONTENT_TYPE, "content-type")                                                                \
    X(COOKIE, "cookie")                                                                            \
    X(DATE, "date")                                                                                \
    X(EXPECT, "expect")                                                                            \
    X(FORWARDED, "forwarded")                                                                      \
    X(GRPC_MESSAGE, "grpc-message")                                                                \
    X(GRPC_STATUS, "grpc-status")                                                                  \
    X(GRPC_TIMEOUT, "grpc-timeout")                                                                \
    X(HOST, "host")                                                                                \
    X(HTTP2_SETTINGS, "http2-settings")                                                            \
    X(KEEP_ALIVE, "keep-alive")                                                                    \
    X(LOCATION, "location")                                                                        \
    X(PROXY_CONNECTION, "proxy-connection")                                                        \
    X(SERVER, "server")                                                                            \
    X(SET_COOKIE, "set-cookie")                                                                    \
    X(TE, "te")                                                                                    \
    X(TRACEPARENT, "traceparent")                                                                  \
    X(TRAILER, "trailer")                                                                          \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                      \
    X(UPGRADE, "upgrade")                                                                          \
    X(USER_AGENT, "user-agent")                                                                    \
    X(VIA, "via")                                                                                  \
    X(X_ENVOY_ORIGINAL_PATH, "x-envoy-original-path")                                              \
    X(X_ENVOY_UPSTREAM_SERVICE_TIME, "x-envoy-upstream-service-time")                              \
    X(X_FORWARDED_CLIENT_CERT, "x-forwarded-client-cert")                                          \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                          \
    X(X_FORWARDED_NETWORK, "x-forwarded-network")                                                  \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                                                      \
    X(X_REQUEST_ID, "x-request-id")

typedef enum {
    CN_TOK_NONE,
#define CN_TOKEN_ENUM(id, name) CN_TOK_##id,
    CN_TOKENS(CN_TOKEN_ENUM)
#undef CN_TOKEN_ENUM
        CN_TOK_MAX
} cn_token;

/* name in lower case; CN_TOK_NONE when it is not in the table. */
cn_token cn_token_find(cn_str_t name);
cn_str_t cn_token_name(cn_token);

#endif
