/* SPDX-License-Identifier: Apache-2.0
 * Between the attach*.c files only.
 */
#ifndef CN_KUBE_ATTACH_INT_H
#define CN_KUBE_ATTACH_INT_H

#include "kube/model.h"

#define cn_attach_text(w, ...) cn_pool_printf((w)->pool, __VA_ARGS__)

void cn_attach_row(cn_world_t *, cn_audit_row_t);
/* Whether NS/NAME is a waypoint, so that what carries its label is its own. */
bool cn_attach_is_gateways_own(const cn_world_t *, cn_str_t ns, cn_str_t name);
/* attach_routes.c: which services routes act on (semantics 3.1). */
void cn_attach_routes(cn_world_t *);
/* attach_backends.c: which services DestinationRules and policies of backends act on (4.1, 4.3). */
void cn_attach_backends(cn_world_t *);
/* attach_policies.c: which services and waypoints AuthorizationPolicies act on (5.1). */
void cn_attach_policies(cn_world_t *);

static inline bool cn_attach_is_core(cn_str_t group)
{
    return group.n == 0 || cn_str_eq(group, CN_STR("core"));
}

#endif
