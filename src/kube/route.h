/* SPDX-License-Identifier: Apache-2.0
 *
 * One model of routes for HTTPRoute, GRPCRoute and VirtualService: what a rule
 * matches, what it does, where it sends.  What a rule does is kept as
 * directives of the conf.  Everything lives in the world's pool; values were
 * checked when they were read.
 */
#ifndef CN_KUBE_ROUTE_H
#define CN_KUBE_ROUTE_H

#include "kube/dir.h"
#include "kube/store.h"

typedef enum {
    CN_MATCH_EXACT,
    CN_MATCH_PREFIX, /* of a path: whole segments */
    CN_MATCH_TEXT_PREFIX,
    CN_MATCH_REGEX,
    CN_MATCH_PRESENT
} cn_match_kind;

typedef struct {
    cn_match_kind kind;
    cn_str_t name; /* of a header (lower case), parameter or claim; else empty */
    cn_str_t value;
} cn_value_match_t;

typedef struct {
    cn_str_t name; /* VirtualService names matches, too; empty: none */
    cn_value_match_t path;
    bool ignore_case;
    cn_value_match_t method, authority, scheme; /* empty value: any */
    cn_vec_t headers, not_headers;              /* cn_value_match_t */
    cn_vec_t query, claims;                     /* cn_value_match_t */
    cn_str_t client_namespace;                  /* empty: any */
    uint16_t port;                              /* of the service; 0: any */
} cn_http_match_t;

typedef struct {
    const cn_node_t *node;
    cn_str_t host; /* of the service; empty: by ns and name */
    cn_str_t ns, name;
    cn_str_t subset;    /* of its DestinationRule; empty: all endpoints */
    uint16_t port;      /* 0: the only port of the service, else the one that was called */
    uint32_t weight;    /* 0 only in a rule with sessions */
    cn_str_t invalid;   /* why it answers 500; empty: valid as far as the route says */
    const char *reason; /* of the status condition ResolvedRefs for that; NULL: none */
    cn_vec_t filter;    /* cn_dir_t *: for this backend only */
} cn_backend_t;

typedef struct {
    cn_backend_t to;
    uint32_t percent; /* CN_VALUE_PERCENT parts */
} cn_mirror_t;

typedef struct {
    cn_str_t name;  /* <ns>.<route>.<index>, or the rule's own */
    uint32_t index; /* in spec.rules or spec.http */
    const cn_node_t *node;
    const cn_object_t *obj; /* whose spec has it: a delegate is not the route itself */
    cn_vec_t matches;       /* cn_http_match_t; never empty */
    cn_vec_t backends;      /* cn_backend_t; empty: 500, unless it answers itself */
    cn_vec_t mirrors;       /* cn_mirror_t */
    cn_vec_t actions;       /* cn_dir_t * */
    bool answers;           /* redirect or direct response: nothing is sent on */
    cn_str_t broken;        /* why the whole rule answers 500; empty: it does not */
    const char *reason;     /* of the status condition for what is broken in it; NULL: nothing */
    uint32_t dropped;       /* matches that never hold */
} cn_http_rule_t;

typedef struct {
    const cn_node_t *node;
    cn_str_t group, kind, ns, name;
    uint16_t port; /* 0: all */
    bool section;  /* has a sectionName */
} cn_parent_ref_t;

/* A TCP or TLS rule: the connection is sent on as it is. */
typedef struct {
    const cn_object_t *obj;
    const cn_node_t *node;
    uint32_t index;
    bool tls;          /* chosen by the server name of the client's hello */
    cn_vec_t snis;     /* cn_str_t; none: any */
    uint16_t port;     /* of the service; 0: any */
    cn_vec_t backends; /* cn_backend_t; none: the connection is closed */
    bool *used;        /* set by the translation: connections reach it on some port */
} cn_l4_rule_t;

typedef struct {
    const cn_object_t *obj;
    cn_vec_t parents;   /* cn_parent_ref_t: of the Gateway API's kinds */
    cn_vec_t hosts;     /* cn_str_t: of a VirtualService, as full names; may begin with "*." */
    cn_vec_t rules;     /* cn_http_rule_t: those that can match anything */
    cn_vec_t dead;      /* cn_http_rule_t: none of their matches can hold */
    cn_vec_t l4_rules;  /* cn_l4_rule_t */
    bool is_virtual;    /* a VirtualService: tried as written, behind all others */
    bool hostnames;     /* of an HTTPRoute or GRPCRoute, which have no effect here */
    uint32_t given;     /* rules that the resource has */
    const char *reason; /* as in the rules: of the first that is broken */
    cn_str_t no_effect; /* why it has none anywhere; empty: it may have one */
    cn_vec_t exports;   /* cn_str_t: namespaces, "." or "*"; none: all */
} cn_http_route_t;

#endif
