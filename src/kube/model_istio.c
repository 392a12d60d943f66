/* SPDX-License-Identifier: Apache-2.0
 *
 * AuthorizationPolicy: rules with their values checked and written the way the
 * proxy compares them (trust-domain aliases spelled out, service accounts with
 * their namespace).
 *
 * What cannot be read never opens access: in ALLOW (and AUDIT) the part of a
 * rule is skipped, so that it allows less; in DENY the condition is ignored, so
 * that the rule denies more.
 */
#include "kube/model.h"

#define MAX_VALUE 4096
#define MAX_VALUES 4096 /* of one list, before aliases are spelled out */

typedef enum { V_TEXT, V_PRINCIPAL, V_ACCOUNT, V_TRUST_DOMAIN, V_BLOCK, V_PORT, V_PATH } value_kind;

typedef struct {
    const char *yaml, *not_yaml, *word, *not_word;
    value_kind kind;
} field_t;

static const field_t source_fields[] = {
    {"principals", "notPrincipals", "principals", "not_principals", V_PRINCIPAL},
    {"requestPrincipals", "notRequestPrincipals", "request_principals", "not_request_principals",
     V_TEXT},
    {"namespaces", "notNamespaces", "namespaces", "not_namespaces", V_TEXT},
    {"serviceAccounts", "notServiceAccounts", "service_accounts", "not_service_accounts",
     V_ACCOUNT},
    {"trustDomains", "notTrustDomains", "trust_domains", "not_trust_domains", V_TRUST_DOMAIN},
    {"ipBlocks", "notIpBlocks", "ip_blocks", "not_ip_blocks", V_BLOCK},
    {"remoteIpBlocks", "notRemoteIpBlocks", "remote_ip_blocks", "not_remote_ip_blocks", V_BLOCK},
    {0}};

static const field_t operation_fields[] = {
    {"hosts", "notHosts", "hosts", "not_hosts", V_TEXT},
    {"ports", "notPorts", "ports", "not_ports", V_PORT},
    {"methods", "notMethods", "methods", "not_methods", V_TEXT},
    {"paths", "notPaths", "paths", "not_paths", V_PATH},
    {0}};

static const struct {
    const char *key;
    value_kind kind;
} when_keys[] = {{"source.principal", V_PRINCIPAL},
                 {"source.namespace", V_TEXT},
                 {"source.serviceAccount", V_ACCOUNT},
                 {"source.trustDomain", V_TRUST_DOMAIN},
                 {"source.ip", V_BLOCK},
                 {"remote.ip", V_BLOCK},
                 {"destination.ip", V_BLOCK},
                 {"destination.port", V_PORT},
                 {"connection.sni", V_TEXT},
                 {"request.auth.principal", V_TEXT},
                 {"request.auth.audiences", V_TEXT},
                 {"request.auth.presenter", V_TEXT}};

typedef struct {
    cn_reader_t r;
    cn_policy_t *p;
    char rule[96]; /* "spec.rules[0]", for messages */
} policy_reader_t;

#define pool_of(x) ((x)->r.w->pool)

/* What a broken part of a rule comes to. */
static const char *consequence(const policy_reader_t *x)
{
    return x->p->action == CN_ACTION_DENY ? "it is ignored, so that the rule denies more"
                                          : "this part of the rule never matches";
}

static void refuse(policy_reader_t *x, const cn_node_t *at, const char *where, const char *fmt, ...)
    CN_PRINTF(4, 5);
static void refuse(policy_reader_t *x, const cn_node_t *at, const char *where, const char *fmt, ...)
{
    cn_str_t text;
    va_list ap;

    va_start(ap, fmt);
    text = cn_pool_vprintf(pool_of(x), fmt, ap);
    va_end(ap);
    cn_store_error(x->r.w->diag, x->r.obj, at, "%s%s: %.*s; %s", x->rule, where, CN_STR_ARG(text),
                   consequence(x));
}

/* ---- values ---- */

static void put(policy_reader_t *x, cn_vec_t *out, cn_str_t value)
{
    const cn_str_t *v = out->v;

    for (uint32_t i = 0; i < out->n; i++)
        if (cn_str_eq(v[i], value))
            return;
    *(cn_str_t *)cn_vec_push(pool_of(x), out, sizeof(value)) = value;
}

/* The mesh's own trust domain first, then its aliases. */
static cn_str_t mesh_domain(const cn_mesh_t *m, uint32_t i)
{
    if (i == 0)
        return m->trust_domain;
    return i <= m->aliases.n ? ((const cn_str_t *)m->aliases.v)[i - 1] : CN_STR_NULL;
}

static bool domain_matches(cn_str_t pattern, cn_str_t domain)
{
    if (pattern.n > 1 && pattern.p[0] == '*')
        return cn_str_ends(domain, cn_str_make(pattern.p + 1, pattern.n - 1));
    if (pattern.n > 1 && pattern.p[pattern.n - 1] == '*')
        return cn_str_starts(domain, cn_str_make(pattern.p, pattern.n - 1));
    return cn_str_eq(pattern, domain);
}

static bool is_mesh_domain(const cn_mesh_t *m, cn_str_t pattern)
{
    if (cn_str_eq(pattern, CN_STR("cluster.local")))
        return true;
    for (uint32_t i = 0; mesh_domain(m, i).n; i++)
        if (domain_matches(pattern, mesh_domain(m, i)))
            return true;
    return false;
}

/* "td/ns/N/sa/S" in the mesh's trust domain, under any of its names or as
 * "cluster.local", stands for all of these names (semantics 5.3). */
static void put_principal(policy_reader_t *x, cn_vec_t *out, cn_str_t value)
{
    const cn_mesh_t *m = &x->r.w->mesh;
    size_t slash = cn_str_find(value, '/'), slashes = 0;
    cn_str_t domain = cn_str_make(value.p, slash),
             rest = cn_str_make(value.p + slash, value.n - slash);

    for (size_t i = 0; i < value.n; i++)
        slashes += value.p[i] == '/';
    if (slashes != 4 || cn_str_eq(domain, CN_STR("*")) || !is_mesh_domain(m, domain)) {
        put(x, out, value);
        return;
    }
    for (uint32_t i = 0; mesh_domain(m, i).n; i++) {
        cn_str_t td = mesh_domain(m, i);

        put(x, out,
            domain.p[0] == '*' && domain_matches(domain, td)
                ? value
                : cn_pool_printf(pool_of(x), "%.*s%.*s", CN_STR_ARG(td), CN_STR_ARG(rest)));
    }
}

static void put_domain(policy_reader_t *x, cn_vec_t *out, cn_str_t value)
{
    const cn_mesh_t *m = &x->r.w->mesh;
    bool ours = false;

    for (uint32_t i = 0; mesh_domain(m, i).n; i++)
        ours |= cn_str_eq(mesh_domain(m, i), value);
    if (!ours)
        put(x, out, value);
    for (uint32_t i = 0; ours && mesh_domain(m, i).n; i++)
        put(x, out, mesh_domain(m, i));
}

static bool put_account(policy_reader_t *x, cn_vec_t *out, cn_str_t value)
{
    size_t slash = cn_str_find(value, '/');
    cn_str_t ns = x->r.obj->ns, sa = value;

    if (slash < value.n) {
        ns = cn_str_make(value.p, slash);
        sa = cn_str_make(value.p + slash + 1, value.n - slash - 1);
    }
    if (!cn_store_is_dns_label(ns) || !cn_store_is_dns_subdomain(sa))
        return false;
    put(x, out, cn_pool_printf(pool_of(x), "%.*s/%.*s", CN_STR_ARG(ns), CN_STR_ARG(sa)));
    return true;
}

/* {*} and {**} are whole segments, {**} is the last of them, and with them no
 * other star or brace stands in a path. */
static bool is_path(cn_str_t path)
{
    bool last = false;

    if (cn_str_find_str(path, CN_STR("{*}")) == path.n &&
        cn_str_find_str(path, CN_STR("{**}")) == path.n)
        return true;
    for (size_t i = 0; i < path.n; i++) {
        cn_str_t rest = {path.p + i, path.n - i};
        size_t n = cn_str_starts(rest, CN_STR("{**}"))  ? 4
                   : cn_str_starts(rest, CN_STR("{*}")) ? 3
                                                        : 0;

        if (!strchr("*{}", path.p[i]))
            continue;
        if (n == 0 || last || i == 0 || path.p[i - 1] != '/' || (n < rest.n && rest.p[n] != '/'))
            return false;
        last = n == 4;
        i += n - 1;
    }
    return true;
}

static bool is_text(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return s.n > 0 && s.n <= MAX_VALUE;
}

static bool put_value(policy_reader_t *x, cn_vec_t *out, value_kind kind, cn_str_t value)
{
    cn_addr_t addr;
    uint64_t port;

    if (!is_text(value))
        return false;
    switch (kind) {
    case V_PRINCIPAL:
        put_principal(x, out, value);
        return true;
    case V_TRUST_DOMAIN:
        put_domain(x, out, value);
        return true;
    case V_ACCOUNT:
        return put_account(x, out, value);
    case V_BLOCK:
        if (cn_inet_parse_block(value, &addr) != CN_OK)
            return false;
        break;
    case V_PORT:
        if (cn_str_u64(value, 65535, &port) != CN_OK)
            return false;
        break;
    case V_PATH:
        if (!is_path(value))
            return false;
        break;
    default:
        break;
    }
    put(x, out, value);
    return true;
}

/* False: at least one value has no meaning. */
static bool read_values(policy_reader_t *x, const cn_node_t *list, const char *where,
                        value_kind kind, cn_vec_t *out)
{
    bool ok = true;

    if (list->kind != CN_NODE_LIST) {
        refuse(x, list, where, "must be a list, not %s", cn_node_kind_name(list));
        return false;
    }
    if (list->n > MAX_VALUES) {
        refuse(x, list, where, "has more than %d values", MAX_VALUES);
        return false;
    }
    for (uint32_t i = 0; i < list->n; i++) {
        const cn_node_t *v = list->items[i].value;
        char at[192];

        if (v->kind < CN_NODE_LIST && v->kind != CN_NODE_STR && v->kind != CN_NODE_NULL)
            cn_store_warn(x->r.w->diag, x->r.obj, v,
                          "%s%s[%u]: %.*s is %s where text is expected; write "
                          "\"%.*s\"",
                          x->rule, where, i, CN_STR_ARG(v->text), cn_node_kind_name(v),
                          CN_STR_ARG(v->text));
        if (v->kind < CN_NODE_LIST && v->kind != CN_NODE_NULL && put_value(x, out, kind, v->text))
            continue;
        snprintf(at, sizeof(at), "%s[%u]", where, i);
        refuse(x, v, at, "\"%.*s\" has no meaning here", CN_STR_ARG(v->text));
        ok = false;
    }
    return ok;
}

/* ---- from and to ---- */

static bool find_field(const field_t *fields, cn_str_t key, const char **word, value_kind *kind)
{
    for (; fields->yaml; fields++) {
        bool negated = cn_str_eq(key, cn_str_c(fields->not_yaml));

        if (!negated && !cn_str_eq(key, cn_str_c(fields->yaml)))
            continue;
        *word = negated ? fields->not_word : fields->word;
        *kind = fields->kind;
        return true;
    }
    return false;
}

/* The field that somebody may have meant. */
static const char *nearest(const field_t *fields, cn_str_t key)
{
    const char *found = "none is like it";
    unsigned best = (unsigned)(key.n / 2) + 1;

    for (; fields->yaml; fields++) {
        const char *const names[] = {fields->yaml, fields->not_yaml};

        for (int i = 0; i < 2; i++) {
            unsigned d = cn_schema_distance(key, cn_str_c(names[i]), best);

            if (d < best) {
                best = d;
                found = names[i];
            }
        }
    }
    return found;
}

/* False: something in it could not be read (said). */
static bool read_clause(policy_reader_t *x, const cn_node_t *entry, const char *inner,
                        const char *where, const field_t *fields, cn_policy_clause_t *out)
{
    const cn_node_t *node = cn_node_get(entry, inner);
    bool ok = true;

    for (uint32_t i = 0; node && node->kind == CN_NODE_MAP && i < node->n; i++) {
        const cn_node_item_t *it = &node->items[i];
        cn_policy_field_t field = {0};
        char path[160];
        value_kind kind;

        if (it->value->kind == CN_NODE_NULL)
            continue;
        snprintf(path, sizeof(path), "%s.%.*s", where, (int)(it->key.n < 64 ? it->key.n : 64),
                 it->key.p);
        if (!find_field(fields, it->key, &field.word, &kind)) {
            refuse(x, it->value, path, "unknown field (nearest: %s)", nearest(fields, it->key));
            ok = false;
        } else if (!read_values(x, it->value, path, kind, &field.values)) {
            ok = false;
        } else if (field.values.n) {
            *(cn_policy_field_t *)cn_vec_push(pool_of(x), &out->fields, sizeof(field)) = field;
        }
    }
    if (ok && out->fields.n == 0) {
        refuse(x, entry, where, "says nothing");
        ok = false;
    }
    return ok;
}

/* `from` or `to`.  False: the rule can never match (ALLOW with nothing left). */
static bool read_clauses(policy_reader_t *x, const cn_node_t *rule, const char *key,
                         const char *inner, const field_t *fields, cn_vec_t *out)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, rule, key, &items);
    bool deny = x->p->action == CN_ACTION_DENY, any = false;

    if (!cn_node_get(rule, key))
        return true;
    if (n == 0)
        refuse(x, cn_node_get(rule, key), "", "%s is empty", key);
    for (uint32_t i = 0; i < n; i++) {
        cn_policy_clause_t clause = {0};
        char where[48];
        bool ok;

        snprintf(where, sizeof(where), ".%s[%u].%s", key, i, inner);
        ok = read_clause(x, items[i].value, inner, where, fields, &clause);
        if (!ok && !deny)
            continue;
        any |= clause.fields.n == 0;
        *(cn_policy_clause_t *)cn_vec_push(pool_of(x), out, sizeof(clause)) = clause;
    }
    if (any) /* one alternative holds for everything, so all of them do */
        out->n = 0;
    return out->n > 0 || deny;
}

/* ---- when ---- */

static bool in_brackets(cn_str_t key, cn_str_t before)
{
    return cn_str_starts(key, before) && key.n > before.n + 1 && key.p[key.n - 1] == ']';
}

static bool find_when(cn_str_t key, value_kind *kind)
{
    *kind = V_TEXT;
    if (!is_text(key))
        return false;
    if (in_brackets(key, CN_STR("request.headers[")) ||
        in_brackets(key, CN_STR("request.auth.claims[")))
        return true;
    for (size_t i = 0; i < CN_COUNT(when_keys); i++)
        if (cn_str_eq(key, cn_str_c(when_keys[i].key))) {
            *kind = when_keys[i].kind;
            return true;
        }
    return false;
}

static bool read_when_values(policy_reader_t *x, const cn_node_t *node, const char *where,
                             cn_policy_when_t when, value_kind kind, cn_policy_rule_t *out,
                             bool *some)
{
    const cn_node_t *list = cn_node_get(node, when.negated ? "notValues" : "values");
    char path[64];

    snprintf(path, sizeof(path), "%s.%s", where, when.negated ? "notValues" : "values");
    if (!list)
        return true;
    *some = true;
    if (!read_values(x, list, path, kind, &when.values))
        return false;
    if (when.values.n)
        *(cn_policy_when_t *)cn_vec_push(pool_of(x), &out->when, sizeof(when)) = when;
    else
        *some = false;
    return true;
}

/* False: the rule is skipped. */
static bool read_when(policy_reader_t *x, const cn_node_t *rule, cn_policy_rule_t *out)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, rule, "when", &items);
    bool deny = x->p->action == CN_ACTION_DENY, ok = true;

    for (uint32_t i = 0; i < n; i++) {
        const cn_node_t *node = items[i].value;
        cn_str_t key = cn_node_str(node, "key");
        cn_policy_when_t yes = {false, key, {0}}, no = {true, key, {0}};
        value_kind kind;
        bool some = false, good;
        char where[32];

        snprintf(where, sizeof(where), ".when[%u]", i);
        if (!find_when(key, &kind)) {
            cn_store_warn(x->r.w->diag, x->r.obj, node,
                          "%s%s: unknown key \"%.*s\"; as in Istio the whole "
                          "rule is skipped",
                          x->rule, where, CN_STR_ARG(key));
            return false;
        }
        good = read_when_values(x, node, where, yes, kind, out, &some) &&
               read_when_values(x, node, where, no, kind, out, &some);
        if (good && !some) {
            refuse(x, node, where, "has neither values nor notValues");
            good = false;
        }
        ok = ok && good;
    }
    return ok || deny;
}

/* ---- rules ---- */

static bool has_unknown_key(policy_reader_t *x, const cn_node_t *rule)
{
    for (uint32_t i = 0; i < rule->n; i++) {
        cn_str_t key = rule->items[i].key;

        if (cn_str_eq(key, CN_STR("from")) || cn_str_eq(key, CN_STR("to")) ||
            cn_str_eq(key, CN_STR("when")))
            continue;
        refuse(x, rule->items[i].value, "", "unknown field \"%.*s\" (there are from, to and when)",
               CN_STR_ARG(key));
        return true;
    }
    return false;
}

static void read_rule(policy_reader_t *x, const cn_node_t *node)
{
    bool deny = x->p->action == CN_ACTION_DENY;
    cn_policy_rule_t rule = {0};

    if (node->kind != CN_NODE_MAP) {
        refuse(x, node, "", "must be a map, not %s", cn_node_kind_name(node));
        if (!deny)
            return;
    } else if (has_unknown_key(x, node) && !deny) {
        return;
    }
    if (!read_clauses(x, node, "from", "source", source_fields, &rule.from) ||
        !read_clauses(x, node, "to", "operation", operation_fields, &rule.to) ||
        !read_when(x, node, &rule))
        return;
    *(cn_policy_rule_t *)cn_vec_push(pool_of(x), &x->p->rules, sizeof(rule)) = rule;
}

static void read_rules(policy_reader_t *x)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, x->r.obj->spec, "rules", &items);

    for (uint32_t i = 0; i < n; i++) {
        snprintf(x->rule, sizeof(x->rule), "spec.rules[%u]", i);
        read_rule(x, items[i].value);
    }
    if (n == 0 && x->p->action != CN_ACTION_ALLOW)
        cn_store_warn(x->r.w->diag, x->r.obj, NULL,
                      "has no rules, so it matches nothing and has no effect");
}

void cn_model_istio_rules(const cn_world_t *w, const cn_object_t *o, const cn_node_t *map,
                          const char *key, const char *where, cn_vec_t *rules)
{
    cn_policy_t policy = {.obj = o, .action = CN_ACTION_ALLOW};
    policy_reader_t x = {.r = {w, o}, .p = &policy};
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x.r, map, key, &items);

    for (uint32_t i = 0; i < n; i++) {
        snprintf(x.rule, sizeof(x.rule), "%s.%s[%u]", where, key, i);
        read_rule(&x, items[i].value);
    }
    *rules = policy.rules;
}

/* ---- the policy ---- */

static void add_target(policy_reader_t *x, const cn_node_t *node)
{
    if (node)
        cn_model_read_target(&x->r, node,
                             cn_vec_push(pool_of(x), &x->p->targets, sizeof(cn_target_ref_t)));
}

static void read_targets(policy_reader_t *x)
{
    const cn_node_item_t *items = NULL;
    uint32_t n = cn_read_list(&x->r, x->r.obj->spec, "targetRefs", &items);

    for (uint32_t i = 0; i < n; i++)
        add_target(x, items[i].value);
    if (n == 0)
        add_target(x, cn_node_get(x->r.obj->spec, "targetRef"));
}

static bool read_action(policy_reader_t *x)
{
    static const struct {
        const char *word;
        cn_action action;
    } actions[] = {{"", CN_ACTION_ALLOW},
                   {"ALLOW", CN_ACTION_ALLOW},
                   {"DENY", CN_ACTION_DENY},
                   {"AUDIT", CN_ACTION_AUDIT},
                   {"CUSTOM", CN_ACTION_DENY}};
    cn_str_t word = cn_read_text(&x->r, x->r.obj->spec, "action");

    for (size_t i = 0; i < CN_COUNT(actions); i++)
        if (cn_str_eq(word, cn_str_c(actions[i].word))) {
            x->p->action = actions[i].action;
            x->p->custom = cn_str_eq(word, CN_STR("CUSTOM"));
            return true;
        }
    cn_store_error(x->r.w->diag, x->r.obj, cn_node_get(x->r.obj->spec, "action"),
                   "is left out: spec.action "
                   "\"%.*s\" is none of ALLOW, DENY, AUDIT, CUSTOM",
                   CN_STR_ARG(word));
    return false;
}

void cn_model_istio_policy(cn_world_t *w, const cn_object_t *o)
{
    cn_policy_t *p = cn_pool_zalloc(w->pool, sizeof(*p));
    policy_reader_t x = {.r = {w, o}, .p = p};
    const cn_node_t *selector = cn_node_get(o->spec, "selector");

    p->obj = o;
    if (!read_action(&x))
        return;
    p->dry_run = cn_str_eq(cn_store_annotation(o, "istio.io/dry-run"), CN_STR("true"));
    p->has_selector = selector != NULL;
    cn_read_labels(&x.r, cn_node_get(selector, "matchLabels"), &p->selector);
    read_targets(&x);
    if (p->targets.n) /* the rules of other policies are not for a waypoint, nor are complaints */
        read_rules(&x);
    *(cn_policy_t **)cn_vec_push(w->pool, &w->policies, sizeof(p)) = p;
}
