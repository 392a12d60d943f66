/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the tcp_route module: what a service says of
 * connections that are not HTTP.
 */
#ifndef CN_TCP_ROUTE_INT_H
#define CN_TCP_ROUTE_INT_H

#include <cairn/module.h>

typedef struct {
    cn_str_t cluster; /* empty: invalid, closes its share */
    uint32_t weight;
} cn_tcp_backend_t;

typedef struct {
    cn_vec_t v;     /* cn_tcp_backend_t: those with a weight */
    uint32_t total; /* of the weights */
    bool any;       /* a backend was named, if of no weight */
} cn_tcp_backends_t;

typedef struct {
    cn_str_t name;
    cn_vec_t names; /* cn_str_t: "a.example", ".example" (from "*.example"), "" (from "*") */
    cn_tcp_backends_t backends;
} cn_tls_route_t;

typedef struct {
    cn_vec_t tls; /* cn_tls_route_t */
    cn_tcp_backends_t tcp;
} cn_tcp_route_conf_t;

/* ---- compile.c ---- */
extern const cn_directive_t cn_tcp_route_directives[];

/* The route of the most specific name that the client's fits: exact, then the
 * longest suffix, then any; of equal ones the first.  NULL: none.  sni is in
 * lower case; empty fits only what takes any. */
const cn_tls_route_t *cn_tcp_route_find(const cn_vec_t *routes, cn_str_t sni);
/* The backend in whose share a number below `total` falls. */
const cn_tcp_backend_t *cn_tcp_route_share(const cn_tcp_backends_t *, uint32_t at);

#endif
