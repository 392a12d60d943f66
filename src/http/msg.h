/* SPDX-License-Identifier: Apache-2.0
 *
 * The version-neutral HTTP message head.  Above the muxes nobody knows whether
 * bytes came as HTTP/1.1 or HTTP/2.
 *
 * Names are lower case.  Fields that describe the connection (connection,
 * keep-alive, transfer-encoding, upgrade, ...) are consumed by the muxes and
 * never in the list, except that `te: trailers` is kept; framing is described
 * by content_length and by the end flag of send_head.
 */
#ifndef CN_HTTP_MSG_H
#define CN_HTTP_MSG_H

#include "core/pool.h"
#include "http/token.h"

typedef struct {
    cn_str_t name;  /* lower case */
    cn_str_t value; /* without surrounding blanks; no NUL, CR, LF */
    cn_token token; /* CN_TOK_NONE for names that are not in the table */
} cn_header_t;

typedef struct {
    cn_header_t *v;
    uint32_t n, cap;
} cn_headers_t;

typedef enum { CN_HTTP_UNKNOWN, CN_HTTP_10, CN_HTTP_11, CN_HTTP_2 } cn_http_version;

#define CN_LENGTH_NONE UINT64_MAX /* no content-length */

typedef struct {
    cn_pool_t *pool; /* every string below lives here or longer */
    /* requests */
    cn_str_t method, scheme, authority;
    cn_str_t target; /* path and query as received, "/" at least; "*" for OPTIONS * */
    cn_str_t path;   /* normalised path without query: what routing and policy see (http/uri.h) */
    cn_str_t query;  /* without '?', raw */
    bool has_query;
    bool expect_continue;
    bool upgrade_websocket; /* a well-formed websocket upgrade was asked for */
    /* responses */
    uint16_t status;
    /* both */
    cn_http_version version;
    uint64_t content_length; /* or CN_LENGTH_NONE */
    bool has_body;           /* requests: a body follows (possibly of length 0) */
    cn_headers_t headers, trailers;
} cn_msg_t;

void cn_msg_init(cn_msg_t *, cn_pool_t *);

/* A copy of all but the trailers, strings too. */
void cn_msg_copy(cn_msg_t *, cn_pool_t *, const cn_msg_t *);
/* Strings are not copied. */
void cn_msg_add(cn_msg_t *, cn_headers_t *, cn_str_t name, cn_str_t value);
/* The first value of a known header, or NULL. */
const cn_header_t *cn_msg_get(const cn_headers_t *, cn_token);
/* By name (lower case); starts behind *prev, NULL to begin: visits each line. */
const cn_header_t *cn_msg_find(const cn_headers_t *, cn_str_t name, const cn_header_t *prev);
/* Replaces the first line of that name (dropping further ones) or adds one. */
void cn_msg_set(cn_msg_t *, cn_headers_t *, cn_str_t name, cn_str_t value);
/* Removes all lines of that name; returns how many. */
unsigned cn_msg_remove(cn_headers_t *, cn_str_t name);

/* Standard reason phrase, "Unknown" for codes without one. */
cn_str_t cn_msg_reason(unsigned status);
/* RFC 9110 6.4.1: responses that never have a body, whatever their headers say. */
bool cn_msg_bodyless(cn_str_t request_method, unsigned status);
bool cn_msg_is_grpc(const cn_msg_t *request);

#endif
