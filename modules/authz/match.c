/* SPDX-License-Identifier: Apache-2.0
 *
 * Matching policies.  Pure: reads the compiled policies and a view, changes
 * and allocates nothing.  Knows neither requests nor replies.
 *
 * Rules of Istio's that show here (facts/semantics 5.2, 5.3): a condition with
 * `not` is the negation of "any value matches", so it also holds when the
 * attribute is missing; on a connection that is not HTTP an allow rule that
 * mentions an HTTP attribute is dropped, while for deny and audit only the
 * attribute is, so that neither ever lets more through than it does on HTTP.
 */
#include "authz_int.h"

/* "{*}" is one segment that is not empty; "{**}", the last operator of its
 * template, is any text. */
static bool match_template(cn_str_t t, cn_str_t s)
{
    while (t.n) {
        if (cn_str_starts(t, CN_STR("{**}")))
            return cn_str_ends(s, (cn_str_t){t.p + 4, t.n - 4});
        if (cn_str_starts(t, CN_STR("{*}"))) {
            size_t segment = cn_str_find(s, '/');

            if (segment == 0)
                return false;
            s = (cn_str_t){s.p + segment, s.n - segment};
            t = (cn_str_t){t.p + 3, t.n - 3};
            continue;
        }
        if (s.n == 0 || *s.p != *t.p)
            return false;
        s = (cn_str_t){s.p + 1, s.n - 1};
        t = (cn_str_t){t.p + 1, t.n - 1};
    }
    return s.n == 0;
}

/* A star is any text: goes back to the last star only, which is enough. */
static bool match_glob(cn_str_t pattern, cn_str_t s)
{
    size_t p = 0, i = 0, star = SIZE_MAX, resume = 0;

    while (i < s.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            resume = i;
        } else if (p < pattern.n && pattern.p[p] == s.p[i]) {
            p++;
            i++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            i = ++resume;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

/* Hosts are compared without regard to case (RFC 9110 4.2.3). */
static bool match_host(const cn_authz_value_t *v, cn_str_t s)
{
    switch (v->form) {
    case CN_AUTHZ_EXACT:
        return cn_str_ieq(s, v->text);
    case CN_AUTHZ_PREFIX:
        return cn_str_istarts(s, v->text);
    case CN_AUTHZ_SUFFIX:
        return cn_str_iends(s, v->text);
    default:
        return s.n > 0;
    }
}

bool cn_authz_value_match(cn_authz_field field, const cn_authz_value_t *v, cn_str_t s)
{
    if (field == CN_AUTHZ_HOST)
        return match_host(v, s);
    switch (v->form) {
    case CN_AUTHZ_EXACT:
        return cn_str_eq(s, v->text);
    case CN_AUTHZ_PREFIX:
        return cn_str_starts(s, v->text);
    case CN_AUTHZ_SUFFIX:
        return cn_str_ends(s, v->text);
    case CN_AUTHZ_PRESENT: /* an empty header is there; an empty identity is none */
        return s.n > 0 || field == CN_AUTHZ_HEADER;
    case CN_AUTHZ_TEMPLATE:
        return match_template(v->text, s);
    case CN_AUTHZ_GLOB:
        return s.n > 0 && match_glob(v->text, s);
    default:
        return false;
    }
}

static bool any_text(const cn_authz_conf_t *c, const cn_authz_cond_t *cond, cn_str_t s)
{
    for (uint32_t i = 0; i < cond->nvalues; i++)
        if (cn_authz_value_match(cond->field, cn_authz_value_at(c, cond->values + i), s))
            return true;
    return false;
}

static bool any_block(const cn_authz_conf_t *c, const cn_authz_cond_t *cond, const cn_addr_t *a)
{
    for (uint32_t i = 0; a && i < cond->nvalues; i++)
        if (cn_inet_block_has(&cn_authz_value_at(c, cond->values + i)->block, a))
            return true;
    return false;
}

static bool any_port(const cn_authz_conf_t *c, const cn_authz_cond_t *cond, const cn_addr_t *a)
{
    for (uint32_t i = 0; a && i < cond->nvalues; i++)
        if (cn_authz_value_at(c, cond->values + i)->port == a->port)
            return true;
    return false;
}

static bool any_account(const cn_authz_conf_t *c, const cn_authz_cond_t *cond,
                        const cn_authz_view_t *view)
{
    for (uint32_t i = 0; view->sa.n && i < cond->nvalues; i++) {
        cn_str_t v = cn_authz_value_at(c, cond->values + i)->text;
        size_t slash = cn_str_find(v, '/');

        if (cn_str_eq((cn_str_t){v.p, slash}, view->ns) &&
            cn_str_eq((cn_str_t){v.p + slash + 1, v.n - slash - 1}, view->sa))
            return true;
    }
    return false;
}

static bool any_header(const cn_authz_conf_t *c, const cn_authz_cond_t *cond, const cn_msg_t *msg)
{
    cn_str_t line;
    uint32_t iter = 0;

    while (cn_field_next(msg, cond->key, &iter, &line))
        if (any_text(c, cond, line))
            return true;
    return false;
}

static bool any_value(const cn_authz_conf_t *c, const cn_authz_cond_t *cond,
                      const cn_authz_view_t *view)
{
    switch (cond->field) {
    case CN_AUTHZ_PRINCIPAL:
        return view->principal.n && any_text(c, cond, view->principal);
    case CN_AUTHZ_NAMESPACE:
        return view->ns.n && any_text(c, cond, view->ns);
    case CN_AUTHZ_SERVICE_ACCOUNT:
        return any_account(c, cond, view);
    case CN_AUTHZ_TRUST_DOMAIN:
        return view->trust_domain.n && any_text(c, cond, view->trust_domain);
    case CN_AUTHZ_SOURCE_IP:
        return any_block(c, cond, view->source);
    case CN_AUTHZ_REMOTE_IP:
        return any_block(c, cond, view->remote);
    case CN_AUTHZ_DEST_IP:
        return any_block(c, cond, view->dest);
    case CN_AUTHZ_DEST_PORT:
        return any_port(c, cond, view->dest);
    case CN_AUTHZ_SNI:
        return view->sni.n && any_text(c, cond, view->sni);
    case CN_AUTHZ_HOST:
        return any_text(c, cond, view->msg->authority);
    case CN_AUTHZ_METHOD:
        return any_text(c, cond, view->msg->method);
    case CN_AUTHZ_PATH:
        return any_text(c, cond, view->msg->path);
    case CN_AUTHZ_HEADER:
        return any_header(c, cond, view->msg);
    case CN_AUTHZ_TOKEN:
        return false;
    }
    return false;
}

bool cn_authz_cond_match(const cn_authz_conf_t *c, const cn_authz_cond_t *cond,
                         const cn_authz_view_t *view)
{
    if (!view->msg && cond->field >= CN_AUTHZ_HTTP)
        return true; /* left out; see cn_authz_rule_dropped for allow rules */
    return any_value(c, cond, view) != cond->negate;
}

static bool group_matches(const cn_authz_conf_t *c, const cn_authz_group_t *g,
                          const cn_authz_view_t *view)
{
    for (uint32_t i = 0; i < g->nconds; i++)
        if (!cn_authz_cond_match(c, cn_authz_cond_at(c, g->conds + i), view))
            return false;
    return true;
}

static bool rule_matches(const cn_authz_conf_t *c, const cn_authz_rule_t *r,
                         const cn_authz_view_t *view)
{
    bool seen[CN_AUTHZ_KINDS] = {0}, met[CN_AUTHZ_KINDS] = {0};

    for (uint32_t i = 0; i < r->ngroups; i++) {
        const cn_authz_group_t *g = cn_authz_group_at(c, r->groups + i);

        seen[g->kind] = true;
        if (g->kind != CN_AUTHZ_WHEN && met[g->kind])
            continue;
        if (group_matches(c, g, view))
            met[g->kind] = true;
        else if (g->kind == CN_AUTHZ_WHEN)
            return false;
    }
    return met[CN_AUTHZ_FROM] == seen[CN_AUTHZ_FROM] && met[CN_AUTHZ_TO] == seen[CN_AUTHZ_TO];
}

bool cn_authz_rule_dropped(const cn_authz_policy_t *p, const cn_authz_rule_t *r,
                           const cn_authz_view_t *view)
{
    return !view->msg && r->http && p->action == CN_AUTHZ_ALLOW;
}

int64_t cn_authz_policy_match(const cn_authz_conf_t *c, const cn_authz_policy_t *p,
                              const cn_authz_view_t *view)
{
    for (uint32_t i = 0; i < p->nrules; i++) {
        const cn_authz_rule_t *r = cn_authz_rule_at(c, p->rules + i);

        if (!cn_authz_rule_dropped(p, r, view) && rule_matches(c, r, view))
            return i;
    }
    return -1;
}

/* The first policy of this kind that matches. */
static bool find(const cn_authz_conf_t *c, const cn_authz_view_t *view, cn_authz_action action,
                 bool dry_run, cn_authz_verdict_t *out)
{
    for (uint32_t i = 0; i < c->policies.n; i++) {
        const cn_authz_policy_t *p = cn_authz_policy_at(c, i);
        int64_t rule;

        if (p->action != action || p->dry_run != dry_run)
            continue;
        rule = cn_authz_policy_match(c, p, view);
        if (rule < 0)
            continue;
        out->policy = p;
        out->rule = cn_authz_rule_at(c, p->rules + (uint32_t)rule);
        return true;
    }
    return false;
}

cn_authz_verdict_t cn_authz_decide(const cn_authz_conf_t *c, const cn_authz_view_t *view,
                                   bool dry_run)
{
    cn_authz_verdict_t v = {.allowed = false};

    if (find(c, view, CN_AUTHZ_DENY, dry_run, &v))
        return v;
    v.allowed = c->nallow[dry_run] == 0 || find(c, view, CN_AUTHZ_ALLOW, dry_run, &v);
    return v;
}
