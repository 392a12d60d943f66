/* SPDX-License-Identifier: Apache-2.0
 *
 * authz: Istio's AuthorizationPolicy with the actions ALLOW, DENY and AUDIT,
 * for requests and, with the attributes that are known there, for connections
 * that are not HTTP.  CUSTOM belongs to the module that asks the provider.
 *
 * This file is the part that knows requests: it gathers the facts, lets
 * decide.c decide, answers 403 or ends the connection, counts, and explains.
 * It owns nothing beyond the settings, which live as long as their section.
 */
#include <stdio.h>

#include "authz_int.h"

static const cn_metric_def_t decisions = {
    "cairn_authz_decisions_total", CN_METRIC_COUNTER,
    "Authorization decisions by policy: allowed, denied, audited; shadow_allowed and "
    "shadow_denied for policies in a dry run."};
static const cn_metric_def_t *const metrics[] = {&decisions, NULL};

static const char *const action_names[] = {"audit", "deny", "allow"};

static cn_rule_view_t view_of(const cn_facts_t *facts)
{
    cn_rule_view_t v;

    cn_rule_view(&v, facts->tunnel, &facts->remote, facts->sni, facts->req);
    return v;
}

/* ---- counting ---- */

static cn_series_t *series(cn_req_t *req, const char *decision, cn_str_t policy)
{
    cn_worker_t *w = cn_req_worker(req);
    const cn_section_t *section = cn_req_facts(req)->section;
    char labels[1024], name[256], service[512];
    size_t nname = cn_stats_escape(name, sizeof(name), policy);
    size_t nservice = cn_stats_escape(service, sizeof(service), section->name);
    int n = snprintf(labels, sizeof(labels), "decision=\"%s\",policy=\"%.*s\",service=\"%.*s\"",
                     decision, (int)nname, name, (int)nservice, service);

    return cn_stats_series(cn_worker_stats(w), cn_worker_metric(w, &decisions),
                           cn_str_make(labels, (size_t)n));
}

static void count(cn_req_t *req, cn_authz_count_t *slot, const char *decision, cn_str_t policy)
{
    if (cn_req_dry(req))
        return;
    if (!slot->asked) {
        slot->asked = true;
        slot->series = series(req, decision, policy);
    }
    cn_series_add(slot->series, 1);
}

static void count_verdict(cn_req_t *req, const cn_authz_conf_t *c, const cn_authz_verdict_t *v,
                          bool dry_run)
{
    static const char *const names[2][2] = {{"denied", "allowed"},
                                            {"shadow_denied", "shadow_allowed"}};
    const char *decision = names[dry_run][v->allowed];

    if (v->policy)
        count(req, v->policy->count, decision, v->policy->name);
    else
        count(req, c->none[dry_run][v->allowed], decision, CN_STR("none"));
}

static void audit(cn_req_t *req, const cn_authz_conf_t *c, const cn_rule_view_t *view)
{
    for (uint32_t i = 0; i < c->policies.n; i++) {
        const cn_authz_policy_t *p = cn_authz_policy_at(c, i);

        if (p->action == CN_AUTHZ_AUDIT && cn_authz_policy_match(c, p, view))
            count(req, p->count, p->dry_run ? "shadow_audited" : "audited", p->name);
    }
}

/* ---- explaining ---- */

static void explain_verdict(cn_req_t *req, const cn_authz_conf_t *c, const cn_authz_verdict_t *v)
{
    if (v->policy)
        cn_req_explain(req, "authz: %s by %s policy \"%.*s\"", v->allowed ? "allowed" : "denied",
                       action_names[v->policy->action], CN_STR_ARG(v->policy->name));
    else if (v->allowed)
        cn_req_explain(req, "authz: allowed: no deny policy matches and there is no allow policy");
    else
        cn_req_explain(req, "authz: denied: none of the %u allow policies matches", c->nallow[0]);
}

static void explain(cn_req_t *req, const cn_authz_conf_t *c, const cn_rule_view_t *view,
                    const cn_authz_verdict_t *v)
{
    char why[CN_RULE_WHY];

    for (int action = CN_AUTHZ_AUDIT; action < CN_AUTHZ_ACTIONS; action++) {
        for (uint32_t i = 0; i < c->policies.n; i++) {
            const cn_authz_policy_t *p = cn_authz_policy_at(c, i);

            if ((int)p->action != action)
                continue;
            cn_rule_why(&c->rules, p->run, view, why);
            cn_req_explain(req, "authz: %s policy \"%.*s\"%s: %s", action_names[action],
                           CN_STR_ARG(p->name), p->dry_run ? " (dry run)" : "", why);
        }
    }
    explain_verdict(req, c, v);
}

/* ---- phases ---- */

static cn_authz_verdict_t decide(cn_req_t *req, const cn_authz_conf_t *c)
{
    cn_rule_view_t view = view_of(cn_req_facts(req));
    cn_authz_verdict_t v, shadow;

    if (c->naudit)
        audit(req, c, &view);
    if (c->ndry) {
        shadow = cn_authz_decide(c, &view, true);
        count_verdict(req, c, &shadow, true);
    }
    v = cn_authz_decide(c, &view, false);
    count_verdict(req, c, &v, false);
    if (cn_req_explaining(req))
        explain(req, c, &view, &v);
    return v;
}

static cn_str_t details_of(const cn_authz_verdict_t *v)
{
    return v->details.n ? v->details : CN_STR("rbac_access_denied_matched_policy[none]");
}

static cn_rc on_request(cn_req_t *req, const void *conf, void *ctx CN_UNUSED)
{
    cn_authz_verdict_t v = decide(req, conf);

    if (v.allowed)
        return CN_OK;
    cn_req_reply(req, 403, CN_STR("RBAC: access denied"), details_of(&v), 0);
    return CN_DONE;
}

static cn_rc on_connection(cn_req_t *req, const void *conf, void *ctx CN_UNUSED)
{
    cn_authz_verdict_t v = decide(req, conf);

    if (v.allowed)
        return CN_OK;
    cn_req_refuse(req, details_of(&v));
    return CN_DONE;
}

static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    const cn_authz_conf_t *c = conf;

    return c && c->policies.n > 0;
}

const cn_module_t cn_module_authz = {
    .abi = CN_MODULE_ABI,
    .name = "authz",
    .before = "http_route",
    .directives = cn_authz_directives,
    .conf[CN_LV_SERVICE] = {.size = sizeof(cn_authz_conf_t)},
    .metrics = metrics,
    .phase[CN_PH_TUNNEL] = on_connection,
    .phase[CN_PH_AUTHZ] = on_request,
    .active = active,
};
