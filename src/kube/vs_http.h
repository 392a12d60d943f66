/* SPDX-License-Identifier: Apache-2.0
 *
 * The http part of a VirtualService: one rule, alone or merged with the rule of
 * a root that delegates to it (semantics 3.9).
 */
#ifndef CN_KUBE_VS_HTTP_H
#define CN_KUBE_VS_HTTP_H

#include "kube/action.h"

typedef struct {
    cn_action_t x;
    const cn_node_t *root; /* the delegating rule; NULL: none */
    const cn_object_t *vs; /* whose spec has x.rule->node, for names of hosts */
} cn_vs_http_t;

/* Fills v->x.rule.  False: it can never match, or it conflicts with its root (said). */
bool cn_vs_http_read(cn_vs_http_t *v);
/* destination {host, subset, port}: a short host is of the namespace of the
 * object.  False: refused with an error. */
bool cn_vs_http_destination(const cn_reader_t *, const cn_node_t *destination, const char *where,
                            cn_backend_t *);
/* "reviews" in namespace bookinfo as a full name. */
cn_str_t cn_vs_http_full_host(cn_pool_t *, cn_str_t host, cn_str_t ns);

/* vs_match.c */
bool cn_vs_match_read(cn_vs_http_t *v);
/* {exact, prefix or regex}; text_prefix: what a prefix becomes.  False: refused (said). */
bool cn_vs_match_text(cn_action_t *, const cn_node_t *node, const char *what, cn_match_kind prefix,
                      cn_value_match_t *);

#endif
