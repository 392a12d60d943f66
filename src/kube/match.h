/* SPDX-License-Identifier: Apache-2.0
 *
 * Matches of HTTPRoute and GRPCRoute rules.  A match that can never hold is
 * said and left out: the other ones of its rule stay.
 */
#ifndef CN_KUBE_MATCH_H
#define CN_KUBE_MATCH_H

#include "kube/action.h"

/* Appends to the rule's matches; none in the document: everything. */
void cn_match_read_http(cn_action_t *, const cn_node_t *rule);
void cn_match_read_grpc(cn_action_t *, const cn_node_t *rule);
/* Everything, for rules without matches. */
cn_http_match_t cn_match_all(void);
/* Says why and gives false when http/regex refuses the value. */
bool cn_match_regex_ok(cn_action_t *, const cn_node_t *, const char *what, cn_str_t value);
/* Later ones of a name replace earlier ones, as in Istio. */
void cn_match_put(cn_pool_t *, cn_vec_t *list, cn_value_match_t);

#endif
