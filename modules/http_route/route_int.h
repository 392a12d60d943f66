/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the http_route module: routes in the form in which they
 * are matched.
 */
#ifndef CN_HTTP_ROUTE_INT_H
#define CN_HTTP_ROUTE_INT_H

#include <cairn/module.h>

typedef enum {
    CN_HTTP_ROUTE_ANY, /* paths: no condition; header and query: it is there */
    CN_HTTP_ROUTE_EXACT,
    CN_HTTP_ROUTE_PREFIX, /* paths: whole segments; headers: text */
    CN_HTTP_ROUTE_REGEX
} cn_http_route_how;

typedef struct {
    cn_http_route_how how;
    cn_str_t text; /* as written; a path prefix is without its last '/' */
    cn_regex_t *regex;
} cn_http_route_test_t;

/* A header or query parameter. */
typedef struct {
    cn_str_t name;
    cn_http_route_test_t test;
} cn_http_route_field_t;

/* All of it must hold. */
typedef struct {
    cn_http_route_test_t path;
    cn_str_t method;           /* empty: any */
    cn_vec_t headers, queries; /* cn_http_route_field_t */
} cn_http_route_match_t;

typedef struct {
    cn_str_t cluster; /* empty: invalid, answers 500 */
    uint32_t weight;
} cn_http_route_backend_t;

typedef struct cn_http_route cn_http_route_t;
typedef struct cn_http_route_index cn_http_route_index_t;

/* Settings of both levels.  The service keeps a list of its routes, in the
 * order of cn_section_t.routes, which each route joins as it is opened. */
typedef struct {
    cn_vec_t *routes;             /* cn_http_route_t * */
    cn_http_route_index_t *index; /* SERVICE: NULL for few routes */
    cn_http_route_t *route;       /* ROUTE: this one */
} cn_http_route_conf_t;

struct cn_http_route {
    cn_str_t name;
    cn_vec_t matches;  /* any of them; none: matches all */
    cn_vec_t backends; /* those with a weight */
    uint32_t total;    /* of the weights */
};

/* ---- compile.c ---- */
extern const cn_directive_t cn_http_route_directives[];
cn_rc cn_http_route_init_service(cn_conf_t *, void *conf, const void *parent);
cn_rc cn_http_route_done_service(cn_conf_t *, void *conf);
cn_rc cn_http_route_init_route(cn_conf_t *, void *conf, const void *parent);

/* ---- match.c ---- */

/* CN_OK: it matches; CN_DECLINE: it does not; CN_ERR: a regular expression
 * reached its limits. miss, when not NULL, is told what did not hold. */
typedef struct {
    const char *what; /* "path", "method", "header", "query parameter" */
    cn_str_t name, want, got;
} cn_http_route_miss_t;
CN_MUST cn_rc cn_http_route_match(const cn_http_route_match_t *, const cn_msg_t *,
                                  cn_http_route_miss_t *miss);
/* Any match block of the route; *which its number. */
CN_MUST cn_rc cn_http_route_try(const cn_http_route_t *, const cn_msg_t *, uint32_t *which,
                                cn_http_route_miss_t *miss);
/* The first route of the list that takes the request, and by which match block.
 * CN_ERR: undecided at *route. */
CN_MUST cn_rc cn_http_route_find(const cn_vec_t *routes, const cn_msg_t *, uint32_t *route,
                                 uint32_t *which);
/* The backend in whose share a random number below `total` falls. */
const cn_http_route_backend_t *cn_http_route_share(const cn_http_route_t *, uint32_t at);

/* ---- index.c ---- */

/* NULL when going through the routes one by one is as fast. */
cn_http_route_index_t *cn_http_route_index_build(cn_pool_t *, const cn_vec_t *routes);
/* Says the same as cn_http_route_find. */
CN_MUST cn_rc cn_http_route_index_find(const cn_http_route_index_t *, const cn_msg_t *,
                                       uint32_t *route, uint32_t *which);

#endif
