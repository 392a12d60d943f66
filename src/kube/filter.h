/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters of HTTPRoute and GRPCRoute, at a rule and at a backend; the rule's
 * timeouts, retry and session persistence.
 */
#ifndef CN_KUBE_FILTER_H
#define CN_KUBE_FILTER_H

#include "kube/action.h"

/* A filter that cannot be done makes the rule answer 500 (rule->broken): to send
 * its requests on without it would change what they mean. */
void cn_filter_read_rule(cn_action_t *, const cn_node_t *rule, bool grpc);
/* The same for a backend, whose share answers 500 (backend->invalid). */
void cn_filter_read_backend(cn_action_t *, const cn_node_t *ref, cn_backend_t *);
/* timeouts, retry, sessionPersistence (the latter is all that GRPCRoute has). */
void cn_filter_read_times(cn_action_t *, const cn_node_t *rule);
/* Of a route or XBackendTrafficPolicy: "session cookie NAME ..." */
void cn_filter_session(const cn_reader_t *, const cn_node_t *session, const char *what,
                       cn_str_t owner, cn_vec_t *list);

/* model_route.c: a reference to a backend without filters and weight. */
void cn_filter_backend_ref(cn_action_t *, const cn_node_t *ref, cn_backend_t *);

#endif
