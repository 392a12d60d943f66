/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the http_route module: routes in the form in which they
 * are matched.
 *
 *   compile.c   the directives of routes and backends
 *   matches.c   the directives of a match block
 *   match.c     one request against one match block
 *   set.c       which routes count for which clients, and the first that takes a request
 *   index.c     the same among thousands
 */
#ifndef CN_HTTP_ROUTE_INT_H
#define CN_HTTP_ROUTE_INT_H

#include <cairn/module.h>

typedef enum {
    CN_HTTP_ROUTE_ANY, /* no condition; of a header, query parameter or claim: it is there */
    CN_HTTP_ROUTE_EXACT,
    CN_HTTP_ROUTE_PREFIX, /* text */
    CN_HTTP_ROUTE_SUFFIX,
    CN_HTTP_ROUTE_SEGMENTS, /* paths: a prefix of whole segments */
    CN_HTTP_ROUTE_REGEX
} cn_http_route_how;

typedef struct {
    cn_http_route_how how;
    bool ignore_case; /* text is lower case then; not for REGEX */
    cn_str_t text;    /* as written; SEGMENTS are without their last '/' */
    cn_regex_t *regex;
} cn_http_route_test_t;

/* A header, query parameter or claim. */
typedef struct {
    cn_str_t name;
    cn_http_route_test_t test;
    bool negate; /* no line may pass the test */
} cn_http_route_field_t;

/* All of it must hold. */
typedef struct {
    cn_http_route_test_t path, method, authority, scheme;
    bool ignore_case;                  /* of the path */
    uint32_t port;                     /* 0: any */
    cn_vec_t headers, queries, claims; /* cn_http_route_field_t */
    cn_vec_t namespaces;               /* cn_str_t: of the clients; none: see set.c */
} cn_http_route_match_t;

/* What a backend's own filters do, after the route's. */
typedef struct {
    cn_str_t tag;
    cn_edits_t request, response;
} cn_http_route_filter_t;

typedef struct {
    cn_str_t cluster; /* empty: invalid, answers 500 */
    uint32_t weight;
    bool strict;  /* no such cluster: 500 instead of 503 */
    cn_str_t tag; /* of its filter, or empty */
    const cn_http_route_filter_t *filter;
} cn_http_route_backend_t;

typedef struct {
    cn_str_t name;
    cn_vec_t matches;     /* any of them; none: matches all */
    cn_vec_t backends;    /* cn_http_route_backend_t; one without weight is only for sessions */
    cn_vec_t clusters;    /* cn_str_t: of the backends */
    uint32_t total;       /* of the weights */
    cn_vec_t filters;     /* cn_http_route_filter_t * */
    cn_str_t unsupported; /* why it answers 500 whatever else it says; empty: it does not */
} cn_http_route_t;

/* One match block, or the whole of a route without any. */
typedef struct {
    uint32_t route, which;              /* numbers of the route and of the block in it */
    const cn_http_route_match_t *match; /* NULL: takes every request */
} cn_http_route_entry_t;

typedef struct cn_http_route_index cn_http_route_index_t;

/* What counts for a client, in the order of the file. */
typedef struct {
    cn_str_t ns;      /* the client's namespace; empty: of all that have no set of their own */
    cn_vec_t entries; /* cn_http_route_entry_t */
    cn_http_route_index_t *index; /* NULL for few */
} cn_http_route_set_t;

typedef struct {
    cn_http_route_set_t producers;
    cn_vec_t consumers; /* cn_http_route_set_t, by ns */
} cn_http_route_sets_t;

/* Settings of both levels.  The service keeps a list of its routes, in the
 * order of cn_section_t.routes, which each route joins as it is opened. */
typedef struct {
    cn_vec_t *routes;           /* cn_http_route_t * */
    cn_http_route_sets_t *sets; /* SERVICE, once all its routes are read */
    cn_http_route_t *route;     /* ROUTE: this one */
} cn_http_route_conf_t;

/* What is asked about a request. */
typedef struct {
    const cn_req_t *req; /* for claims only */
    const cn_msg_t *msg;
    uint16_t port;
    cn_str_t ns; /* of the client; empty: not known */
} cn_http_route_subject_t;

/* ---- compile.c, matches.c ---- */
extern const cn_directive_t cn_http_route_directives[];
extern const cn_directive_t cn_http_route_match_directives[];
cn_rc cn_http_route_init_service(cn_conf_t *, void *conf, const void *parent);
cn_rc cn_http_route_done_service(cn_conf_t *, void *conf);
cn_rc cn_http_route_init_route(cn_conf_t *, void *conf, const void *parent);
cn_rc cn_http_route_done_route(cn_conf_t *, void *conf);
/* After the block was read. */
CN_MUST cn_rc cn_http_route_match_done(cn_conf_t *, cn_http_route_match_t *);

/* ---- match.c ---- */

/* What did not hold: a field (name is set) or a part of the request line. */
typedef struct {
    const char *what; /* "path", "method", "header", "query parameter", ... */
    cn_str_t name;
    const cn_http_route_test_t *test;
    bool negate;
    cn_str_t got;
    uint32_t want_port, got_port; /* instead of test */
} cn_http_route_miss_t;

/* CN_OK: it matches; CN_DECLINE: it does not; CN_ERR: a regular expression
 * reached its limits. miss, when not NULL, is told what did not hold.  Clients'
 * namespaces are not looked at: see set.c. */
CN_MUST cn_rc cn_http_route_match(const cn_http_route_match_t *, const cn_http_route_subject_t *,
                                  cn_http_route_miss_t *miss);
/* How much of the path the block's condition names: what a prefix rewrite
 * replaces.  *segments: whole segments, so the rest is empty or begins with '/'. */
size_t cn_http_route_matched(const cn_http_route_match_t *, cn_str_t path, bool *segments);
/* The number of the backend in whose share a random number below `total` falls. */
uint32_t cn_http_route_share(const cn_http_route_t *, uint32_t at);

/* ---- set.c ---- */
cn_http_route_sets_t *cn_http_route_sets_build(cn_pool_t *, const cn_vec_t *routes);
/* Of a client in that namespace. */
const cn_http_route_set_t *cn_http_route_sets_of(const cn_http_route_sets_t *, cn_str_t ns);
/* The first entry that takes the request.  CN_DECLINE: none; CN_ERR: undecided at *entry. */
CN_MUST cn_rc cn_http_route_find(const cn_http_route_set_t *, const cn_http_route_subject_t *,
                                 const cn_http_route_entry_t **entry);

/* ---- index.c ---- */
cn_http_route_index_t *cn_http_route_index_build(cn_pool_t *, const cn_vec_t *entries);
/* Says the same as trying the entries one by one; *at is the number of one. */
CN_MUST cn_rc cn_http_route_index_find(const cn_http_route_index_t *,
                                       const cn_http_route_subject_t *, uint32_t *at);

#endif
