/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the authz module: a service's policies in the form in
 * which they are matched.  A policy is a run of rules (policy/rule.h), of which
 * all policies of a service share one set.
 */
#ifndef CN_AUTHZ_INT_H
#define CN_AUTHZ_INT_H

#include <cairn/module.h>

/* In the order of evaluation. */
typedef enum { CN_AUTHZ_AUDIT, CN_AUTHZ_DENY, CN_AUTHZ_ALLOW, CN_AUTHZ_ACTIONS } cn_authz_action;

/* A series found once; changes although the settings are constant, since it
 * is this process's own. */
typedef struct {
    cn_series_t *series;
    bool asked;
} cn_authz_count_t;

typedef struct {
    cn_str_t name; /* NAMESPACE/NAME */
    cn_authz_action action;
    bool dry_run;
    cn_rule_run_t run; /* any of them */
    cn_authz_count_t *count;
} cn_authz_policy_t;

/* SERVICE-level settings. */
typedef struct {
    cn_vec_t policies;
    cn_rules_t rules;             /* of all policies */
    cn_vec_t details;             /* cn_str_t: of a denial by that rule */
    cn_vec_t owners;              /* uint32_t: its policy */
    cn_rule_index_t *index[2][2]; /* [dry run][allow] what decides; NULL: no rules */
    uint32_t nallow[2];           /* allow policies that are in force, and dry runs */
    uint32_t naudit;              /* of either kind */
    uint32_t ndry;                /* dry runs that would decide */
    cn_authz_count_t *none[2][2]; /* [dry run][allowed] by no policy */
} cn_authz_conf_t;

static inline const cn_authz_policy_t *cn_authz_policy_at(const cn_authz_conf_t *c, uint32_t i)
{
    return (const cn_authz_policy_t *)c->policies.v + i;
}

/* ---- compile.c ---- */

extern const cn_directive_t cn_authz_directives[];

/* ---- decide.c ---- */

typedef struct {
    bool allowed;
    const cn_authz_policy_t *policy; /* NULL: no policy decided, the default did */
    cn_str_t details;                /* of a denial by a policy; else empty */
} cn_authz_verdict_t;

bool cn_authz_policy_match(const cn_authz_conf_t *, const cn_authz_policy_t *,
                           const cn_rule_view_t *);
/* Deny before allow; among the policies in force, or among the dry runs. */
cn_authz_verdict_t cn_authz_decide(const cn_authz_conf_t *, const cn_rule_view_t *, bool dry_run);

#endif
