/* SPDX-License-Identifier: Apache-2.0
 *
 * cairn's own policies (RateLimitPolicy, FaultPolicy; conf/k8s/crds.yaml) and
 * what is understood of EnvoyFilters: rate limits and faults of a waypoint, a
 * service or one of its ports, a route or one of its rules, as directives of
 * the conf.
 */
#ifndef CN_KUBE_LIMITS_H
#define CN_KUBE_LIMITS_H

#include "kube/translate.h"

#define CN_LIMITS_GROUP "policy.cairn.internal"

/* What stands in place of the same of an outer level, each for itself. */
typedef enum { CN_LIMITS_LOCAL, CN_LIMITS_GLOBAL, CN_LIMITS_FAULT, CN_LIMITS_KINDS } cn_limits_kind;

/* One limit: a block whose bucket, or the cluster of whose service, is known
 * when it is known where it stands. */
typedef struct {
    cn_str_t name;  /* of the limit alone */
    cn_vec_t inner; /* cn_dir_t *: of its block */
    /* a global limit: where its service is */
    const cn_node_t *service;
    cn_str_t host, ns, service_name; /* by host, or by ns and name */
    uint16_t port;
} cn_limits_entry_t;

typedef struct {
    cn_target_ref_t ref;
    cn_str_t section; /* name of a rule or of a port; empty: all */
} cn_limits_target_t;

struct cn_limits_policy {
    const cn_object_t *obj;
    cn_vec_t targets;          /* cn_limits_target_t */
    bool has[CN_LIMITS_KINDS]; /* it says something of that kind, be it nothing */
    cn_vec_t local, global;    /* cn_limits_entry_t */
    cn_vec_t faults;           /* cn_dir_t * */
    bool actions_only;         /* an EnvoyFilter with rate_limits for another's filter */
    cn_str_t invalid;          /* why it has no effect at all; empty: it has */
};

/* From the outermost to the innermost; of two with the same kind the inner one counts. */
typedef enum {
    CN_LIMITS_CLASS,
    CN_LIMITS_GATEWAY,
    CN_LIMITS_SERVICE,
    CN_LIMITS_PORT,
    CN_LIMITS_ROUTE,
    CN_LIMITS_RULE
} cn_limits_level;

/* A policy at one of its targets. */
typedef struct {
    const cn_limits_policy_t *policy;
    cn_limits_level level;
    const cn_object_t *at; /* Gateway, Service, ServiceEntry or route; NULL: the class */
    uint16_t port;         /* PORT */
    cn_str_t rule;         /* RULE */
    cn_str_t target;       /* in words */
    uint32_t row;          /* of the audit, where it is told */
} cn_limits_bound_t;
static inline bool cn_limits_same_place(const cn_limits_bound_t *a, const cn_limits_bound_t *b)
{
    return a->level == b->level && a->port == b->port && cn_str_eq(a->rule, b->rule);
}

/* ---- model_cairn.c, envoyfilter.c: reading; in cn_model_init's order ---- */

void cn_model_cairn_limits(cn_world_t *, const cn_object_t *);
void cn_model_cairn_faults(cn_world_t *, const cn_object_t *);
/* Takes what it understands out of an EnvoyFilter, and says what it does not. */
void cn_envoyfilter_read(cn_world_t *, const cn_object_t *);
/* After the last of them: route actions find the filters that they are for. */
void cn_envoyfilter_finish(cn_world_t *);

/* ---- limits_attach.c ---- */

/* By cn_attach_all(): what each policy is attached to. */
void cn_limits_attach(cn_world_t *);
/* For people: adds to the audit which policies act together at one target, and where an
 * inner target has its own. */
void cn_limits_attach_notes(cn_world_t *);

/* ---- limits.c ---- */

/* A policy at one of its targets, once. */
void cn_limits_bind(cn_world_t *, const cn_limits_bound_t *);
/* Those at a target (cn_limits_bound_t), in the order of the policies; NULL: the class. */
const cn_vec_t *cn_limits_bounds(const cn_world_t *, const cn_object_t *at);

/* Where directives are wanted: x->svc NULL: the whole waypoint. */
typedef struct {
    const cn_routes_t *x;
    const cn_gateway_t *waypoint;
    const cn_object_t *route; /* and of a rule of it; NULL: the service */
    cn_str_t rule;
} cn_limits_place_t;
/* Appends the directives that belong on this level (cn_dir_t *). */
void cn_limits_put(const cn_limits_place_t *, cn_vec_t *dirs);
/* The same for a pod that is called by its own address: what whole waypoints have. */
void cn_limits_put_workload(const cn_limits_place_t *, cn_vec_t *dirs);

#endif
