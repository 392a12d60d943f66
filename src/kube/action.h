/* SPDX-License-Identifier: Apache-2.0
 *
 * What rules do, as directives: the parts that HTTPRoute, GRPCRoute and
 * VirtualService write differently and mean alike.
 */
#ifndef CN_KUBE_ACTION_H
#define CN_KUBE_ACTION_H

#include "kube/value.h"

/* Reading one rule. */
typedef struct {
    cn_reader_t r;
    cn_http_rule_t *rule;
    char where[96]; /* "spec.rules[0]", for messages */
} cn_action_t;

#define cn_action_warn(x, node, ...) cn_store_warn((x)->r.w->diag, (x)->r.obj, node, __VA_ARGS__)
#define cn_action_error(x, node, ...) cn_store_error((x)->r.w->diag, (x)->r.obj, node, __VA_ARGS__)

/* Whether a list has a directive of this name. */
bool cn_action_has(const cn_vec_t *list, const char *name);
/* A change of one header.  what: "set", "add" or "remove".  A host that is set
 * becomes a rewrite of it.  False: refused with an error at the node. */
bool cn_action_header(cn_action_t *, cn_vec_t *list, const cn_node_t *at, bool request,
                      const char *what, cn_str_t name, cn_str_t value);

/* retry { ... }: attempts 0 turns it off.  tokens: words of Envoy's retry_on,
 * codes: numbers as text. */
typedef struct {
    int64_t attempts;
    cn_vec_t tokens, codes; /* cn_str_t */
    uint64_t backoff_ms;    /* 0: the default */
    bool keep_tried;        /* hosts that were tried may be tried again */
    bool other_localities;
} cn_action_retry_t;
void cn_action_retry(cn_pool_t *, cn_vec_t *list, const cn_action_retry_t *);
/* Istio's retryOn: "5xx,reset,503".  Unknown words are complained about and left out. */
void cn_action_retry_on(const cn_reader_t *, const cn_node_t *at, cn_str_t list,
                        cn_action_retry_t *);
void cn_action_retry_default(const cn_reader_t *, cn_action_retry_t *);

/* "request_timeout 10s;" */
void cn_action_time(cn_pool_t *, cn_vec_t *list, const char *directive, uint64_t ms);

#endif
