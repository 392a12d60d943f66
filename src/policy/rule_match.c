/* SPDX-License-Identifier: Apache-2.0
 *
 * Matching rules.  Pure: reads the compiled rules and a view, changes and
 * allocates nothing.  Knows neither requests nor replies.
 *
 * Rules of Istio's that show here (facts/semantics 5.2, 5.3): a condition with
 * `not` is the negation of "any value matches", so it also holds when the
 * attribute is missing; on a connection that is not HTTP an allow rule that
 * mentions an HTTP attribute is dropped, while for deny and audit only the
 * attribute is, so that neither ever lets more through than it does on HTTP.
 */
#include "policy/rule.h"

#include "http/field.h"
#include "tls/spiffe.h"

static cn_str_t without_scheme(cn_str_t uri)
{
    const cn_str_t scheme = CN_STR("spiffe://");

    if (!cn_str_starts(uri, scheme))
        return uri;
    return (cn_str_t){uri.p + scheme.n, uri.n - scheme.n};
}

void cn_rule_view(cn_rule_view_t *v, const cn_tunnel_t *tunnel, const cn_addr_t *remote,
                  cn_str_t sni, const cn_msg_t *msg)
{
    cn_spiffe_t id;

    *v = (cn_rule_view_t){.msg = msg,
                          .principal = without_scheme(tunnel->identity),
                          .source = &tunnel->source,
                          .remote = remote->family ? remote : &tunnel->source,
                          .dest = &tunnel->dest,
                          .sni = sni};
    if (tunnel->identity.n && cn_spiffe_parse(tunnel->identity, &id) == CN_OK) {
        v->trust_domain = id.trust_domain;
        v->ns = id.ns;
        v->sa = id.sa;
    }
}

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
static bool match_host(const cn_rule_value_t *v, cn_str_t s)
{
    switch (v->form) {
    case CN_RULE_EXACT:
        return cn_str_ieq(s, v->text);
    case CN_RULE_PREFIX:
        return cn_str_istarts(s, v->text);
    case CN_RULE_SUFFIX:
        return cn_str_iends(s, v->text);
    default:
        return s.n > 0;
    }
}

bool cn_rule_value_match(cn_rule_field field, const cn_rule_value_t *v, cn_str_t s)
{
    if (field == CN_RULE_HOST)
        return match_host(v, s);
    switch (v->form) {
    case CN_RULE_EXACT:
        return cn_str_eq(s, v->text);
    case CN_RULE_PREFIX:
        return cn_str_starts(s, v->text);
    case CN_RULE_SUFFIX:
        return cn_str_ends(s, v->text);
    case CN_RULE_PRESENT: /* an empty header is there; an empty identity is none */
        return s.n > 0 || field == CN_RULE_HEADER;
    case CN_RULE_TEMPLATE:
        return match_template(v->text, s);
    case CN_RULE_GLOB:
        return s.n > 0 && match_glob(v->text, s);
    default:
        return false;
    }
}

static bool any_text(const cn_rules_t *c, const cn_rule_cond_t *cond, cn_str_t s)
{
    for (uint32_t i = 0; i < cond->nvalues; i++)
        if (cn_rule_value_match(cond->field, cn_rule_value_at(c, cond->values + i), s))
            return true;
    return false;
}

static bool any_block(const cn_rules_t *c, const cn_rule_cond_t *cond, const cn_addr_t *a)
{
    for (uint32_t i = 0; a && i < cond->nvalues; i++)
        if (cn_inet_block_has(&cn_rule_value_at(c, cond->values + i)->block, a))
            return true;
    return false;
}

static bool any_port(const cn_rules_t *c, const cn_rule_cond_t *cond, const cn_addr_t *a)
{
    for (uint32_t i = 0; a && i < cond->nvalues; i++)
        if (cn_rule_value_at(c, cond->values + i)->port == a->port)
            return true;
    return false;
}

static bool any_account(const cn_rules_t *c, const cn_rule_cond_t *cond, const cn_rule_view_t *view)
{
    for (uint32_t i = 0; view->sa.n && i < cond->nvalues; i++) {
        cn_str_t v = cn_rule_value_at(c, cond->values + i)->text;
        size_t slash = cn_str_find(v, '/');

        if (cn_str_eq((cn_str_t){v.p, slash}, view->ns) &&
            cn_str_eq((cn_str_t){v.p + slash + 1, v.n - slash - 1}, view->sa))
            return true;
    }
    return false;
}

static bool any_header(const cn_rules_t *c, const cn_rule_cond_t *cond, const cn_msg_t *msg)
{
    cn_str_t line;
    uint32_t iter = 0;

    while (cn_field_next(msg, cond->key, &iter, &line))
        if (any_text(c, cond, line))
            return true;
    return false;
}

static bool any_value(const cn_rules_t *c, const cn_rule_cond_t *cond, const cn_rule_view_t *view)
{
    switch (cond->field) {
    case CN_RULE_PRINCIPAL:
        return view->principal.n && any_text(c, cond, view->principal);
    case CN_RULE_NAMESPACE:
        return view->ns.n && any_text(c, cond, view->ns);
    case CN_RULE_SERVICE_ACCOUNT:
        return any_account(c, cond, view);
    case CN_RULE_TRUST_DOMAIN:
        return view->trust_domain.n && any_text(c, cond, view->trust_domain);
    case CN_RULE_SOURCE_IP:
        return any_block(c, cond, view->source);
    case CN_RULE_REMOTE_IP:
        return any_block(c, cond, view->remote);
    case CN_RULE_DEST_IP:
        return any_block(c, cond, view->dest);
    case CN_RULE_DEST_PORT:
        return any_port(c, cond, view->dest);
    case CN_RULE_SNI:
        return view->sni.n && any_text(c, cond, view->sni);
    case CN_RULE_HOST:
        return any_text(c, cond, view->msg->authority);
    case CN_RULE_METHOD:
        return any_text(c, cond, view->msg->method);
    case CN_RULE_PATH:
        return any_text(c, cond, view->msg->path);
    case CN_RULE_HEADER:
        return any_header(c, cond, view->msg);
    case CN_RULE_TOKEN:
        return false;
    }
    return false;
}

bool cn_rule_cond_match(const cn_rules_t *c, const cn_rule_cond_t *cond, const cn_rule_view_t *view)
{
    if (!view->msg && cond->field >= CN_RULE_HTTP)
        return true; /* left out; see cn_rule_dropped */
    return any_value(c, cond, view) != cond->negate;
}

static bool group_matches(const cn_rules_t *c, const cn_rule_group_t *g, const cn_rule_view_t *view)
{
    for (uint32_t i = 0; i < g->nconds; i++)
        if (!cn_rule_cond_match(c, cn_rule_cond_at(c, g->conds + i), view))
            return false;
    return true;
}

bool cn_rule_matches(const cn_rules_t *c, const cn_rule_t *r, const cn_rule_view_t *view)
{
    bool seen[CN_RULE_KINDS] = {0}, met[CN_RULE_KINDS] = {0};

    for (uint32_t i = 0; i < r->ngroups; i++) {
        const cn_rule_group_t *g = cn_rule_group_at(c, r->groups + i);

        seen[g->kind] = true;
        if (g->kind != CN_RULE_WHEN && met[g->kind])
            continue;
        if (group_matches(c, g, view))
            met[g->kind] = true;
        else if (g->kind == CN_RULE_WHEN)
            return false;
    }
    return met[CN_RULE_FROM] == seen[CN_RULE_FROM] && met[CN_RULE_TO] == seen[CN_RULE_TO];
}

bool cn_rule_dropped(cn_rule_run_t run, const cn_rule_t *r, const cn_rule_view_t *view)
{
    return !view->msg && r->http && run.drop_http;
}

int64_t cn_rule_find(const cn_rules_t *c, cn_rule_run_t run, const cn_rule_view_t *view)
{
    for (uint32_t i = 0; i < run.n; i++) {
        const cn_rule_t *r = cn_rule_at(c, run.first + i);

        if (!cn_rule_dropped(run, r, view) && cn_rule_matches(c, r, view))
            return i;
    }
    return -1;
}

bool cn_rule_set_match(const cn_rule_set_t *set, const cn_rule_view_t *v)
{
    return set->run.n == 0 || cn_rule_find(&set->rules, set->run, v) >= 0;
}
