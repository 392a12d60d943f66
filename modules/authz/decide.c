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
    bool allow = action == CN_AUTHZ_ALLOW;
    const cn_rule_index_t *index = c->index[dry_run][allow];
    int64_t rule = index ? cn_rule_index_find(index, view, allow) : -1;

    if (rule < 0)
        return false;
    out->policy = cn_authz_policy_at(c, ((const uint32_t *)c->owners.v)[rule]);
    out->details = ((const cn_str_t *)c->details.v)[rule];
    return true;
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
