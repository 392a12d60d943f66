/* SPDX-License-Identifier: Apache-2.0
 *
 * Which policy decides.  Pure: reads the policies and a view, changes nothing.
 *
 * Istio's rule for what is not HTTP shows in how the rules are run
 * (facts/semantics 5.3): on such a connection an allow rule that mentions an
 * HTTP attribute is dropped, while for deny and audit only the attribute is,
 * so that neither ever lets more through than it does on HTTP.
 */
#include "authz_int.h"

bool cn_authz_policy_match(const cn_authz_conf_t *c, const cn_authz_policy_t *p,
                           const cn_rule_view_t *view)
{
    return cn_rule_find(&c->rules, p->run, view) >= 0;
}

/* The first policy of this kind that matches. */
static bool find(const cn_authz_conf_t *c, const cn_rule_view_t *view, cn_authz_action action,
                 bool dry_run, cn_authz_verdict_t *out)
{
    for (uint32_t i = 0; i < c->policies.n; i++) {
        const cn_authz_policy_t *p = cn_authz_policy_at(c, i);
        int64_t rule;

        if (p->action != action || p->dry_run != dry_run)
            continue;
        rule = cn_rule_find(&c->rules, p->run, view);
        if (rule < 0)
            continue;
        out->policy = p;
        out->details = ((const cn_str_t *)c->details.v)[p->run.first + (uint32_t)rule];
        return true;
    }
    return false;
}

cn_authz_verdict_t cn_authz_decide(const cn_authz_conf_t *c, const cn_rule_view_t *view,
                                   bool dry_run)
{
    cn_authz_verdict_t v = {.allowed = false};

    if (find(c, view, CN_AUTHZ_DENY, dry_run, &v))
        return v;
    v.allowed = c->nallow[dry_run] == 0 || find(c, view, CN_AUTHZ_ALLOW, dry_run, &v);
    return v;
}
