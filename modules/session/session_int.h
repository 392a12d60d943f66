/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the session module: where a client's requests went
 * before, as it brings it along.
 */
#ifndef CN_SESSION_INT_H
#define CN_SESSION_INT_H

#include <cairn/module.h>

/* Of SERVICE and ROUTE. */
typedef struct {
    cn_str_t cookie;          /* its name; empty: header is meant */
    cn_str_t header;          /* lower case; both empty: no sessions */
    uint64_t ttl_ms, idle_ms; /* 0: none */
    bool permanent;           /* the browser keeps the cookie for ttl */
    cn_str_t path;            /* of the cookie; empty: none is said */
} cn_session_conf_t;

/* What a client carries.  Not secret and not signed: it can only choose among
 * what its route and the cluster have anyway. */
typedef struct {
    uint32_t cluster;         /* tag of its name */
    uint32_t begun_s, used_s; /* wall clock */
    cn_addr_t addr;           /* of the endpoint */
} cn_session_token_t;

/* ---- compile.c ---- */
extern const cn_directive_t cn_session_directives[];

/* ---- token.c ---- */
uint32_t cn_session_tag(cn_str_t cluster);
cn_str_t cn_session_token_encode(cn_pool_t *, const cn_session_token_t *);
/* CN_ERR: nothing that this module has written. */
CN_MUST cn_rc cn_session_token_decode(cn_pool_t *, cn_str_t text, cn_session_token_t *);
/* Has it neither ended nor been idle for too long?  A beginning that lies ahead
 * is not believed, but for a minute between clocks. */
bool cn_session_token_alive(const cn_session_token_t *, const cn_session_conf_t *, uint64_t now_s);
/* The value of a cookie in one Cookie line; false: it is not there. */
bool cn_session_cookie(cn_str_t line, cn_str_t name, cn_str_t *value);

#endif
