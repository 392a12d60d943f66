/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the route_actions module: what a route does to its
 * requests and responses, ready to be done.
 *
 *   compile.c        the directives
 *   cors.c           cross-origin requests: answers preflights, marks responses
 *   location.c       redirects
 *   rewrite.c        path and host of a request
 *   route_actions.c  the hooks: what is done when
 */
#ifndef CN_ROUTE_ACTIONS_INT_H
#define CN_ROUTE_ACTIONS_INT_H

#include <cairn/module.h>

/* Which port a redirect names. */
typedef enum {
    CN_ROUTE_ACTIONS_PORT_AUTO,    /* of the scheme when that is given, else of the service */
    CN_ROUTE_ACTIONS_PORT_GIVEN,   /* number */
    CN_ROUTE_ACTIONS_PORT_SERVICE, /* that the client's connection is for */
    CN_ROUTE_ACTIONS_PORT_HOST     /* that the request's host names, if the host is not given */
} cn_route_actions_port;

typedef struct {
    uint32_t status;
    cn_str_t scheme, host; /* empty: the request's */
    cn_route_actions_port port;
    uint16_t number;
    cn_str_t path;   /* instead of the whole path; empty: the request's */
    cn_str_t prefix; /* instead of what the route's condition names */
    bool has_prefix;
} cn_route_actions_redirect_t;

typedef struct {
    cn_str_t host; /* empty: unchanged; so are the others */
    cn_str_t path;
    cn_str_t prefix;
    bool has_prefix;
    cn_regex_t *regex; /* or NULL */
    cn_str_t subst;
} cn_route_actions_rewrite_t;

typedef struct {
    cn_str_t cluster;
    uint32_t parts, of; /* the share of requests: parts of `of` */
} cn_route_actions_mirror_t;

typedef enum {
    CN_ROUTE_ACTIONS_ORIGIN_ANY,
    CN_ROUTE_ACTIONS_ORIGIN_EXACT,
    CN_ROUTE_ACTIONS_ORIGIN_PREFIX,
    CN_ROUTE_ACTIONS_ORIGIN_REGEX
} cn_route_actions_origin_how;

typedef struct {
    cn_route_actions_origin_how how;
    cn_str_t text;
    cn_regex_t *regex;
} cn_route_actions_origin_t;

typedef struct {
    cn_vec_t origins;                  /* cn_route_actions_origin_t */
    cn_vec_t methods, headers, expose; /* cn_str_t */
    cn_str_t max_age;                  /* seconds as text; empty: none */
    bool credentials;
    int unmatched; /* 1: a preflight of another origin goes to the backend */
    cn_str_t methods_list, headers_list, expose_list; /* joined by ',' */
} cn_route_actions_cors_t;

/* Settings of SERVICE and ROUTE; a route's begin as a copy of its service's. */
typedef struct {
    cn_edits_t request, response;
    cn_route_actions_cors_t *cors; /* NULL: none */
    /* ROUTE only */
    cn_route_actions_redirect_t *redirect;
    cn_route_actions_rewrite_t rewrite;
    uint32_t direct_status; /* 0: none */
    cn_str_t direct_body;
    cn_vec_t mirrors; /* cn_route_actions_mirror_t */
} cn_route_actions_conf_t;

/* Of one request. */
typedef struct {
    bool preflight;  /* answered here */
    cn_str_t origin; /* that CORS allowed */
} cn_route_actions_ctx_t;

/* ---- compile.c ---- */
extern const cn_directive_t cn_route_actions_directives[];
cn_rc cn_route_actions_check_route(cn_conf_t *, const void *conf);

/* ---- cors.c ---- */

/* CN_DONE: the preflight is answered.  CN_ERR: a regular expression reached its limits. */
CN_MUST cn_rc cn_route_actions_cors(cn_req_t *, const cn_route_actions_cors_t *,
                                    cn_route_actions_ctx_t *);
/* Marks the response to a request whose origin was allowed. */
void cn_route_actions_cors_mark(const cn_route_actions_cors_t *, cn_str_t origin, cn_msg_t *);

/* ---- location.c ---- */
cn_str_t cn_route_actions_location(cn_pool_t *, const cn_route_actions_redirect_t *,
                                   const cn_facts_t *);

/* ---- rewrite.c ---- */

/* path with its first `matched` bytes replaced; segments: as Gateway API asks
 * for, so that exactly one '/' stands at the joint. */
cn_str_t cn_route_actions_prefix(cn_pool_t *, cn_str_t path, size_t matched, bool segments,
                                 cn_str_t prefix);
/* The new target, or the old one.  CN_ERR: a regular expression reached its limits. */
CN_MUST cn_rc cn_route_actions_target(cn_pool_t *, const cn_route_actions_rewrite_t *,
                                      const cn_facts_t *, cn_str_t *target);

#endif
