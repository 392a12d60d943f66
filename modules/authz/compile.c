/* SPDX-License-Identifier: Apache-2.0
 *
 * The `authz` block: reads policies straight into the flat arrays that match.c
 * walks over.  A block being read is always the last element of its array, so
 * the setters need no state of their own.  Everything lives in the section's
 * pool.
 *
 * The generator writes what Istio's resources say; what has no meaning is an
 * error here, since a policy that is quietly not enforced is worse than one
 * that does not load.
 */
#include "authz_int.h"

/* What a list directive says, as its arg. */
typedef struct {
    cn_authz_field field;
    bool negate;
    const char *name; /* for the account of a decision */
} list_t;

static void *last(const cn_vec_t *v, size_t elem)
{
    return (char *)v->v + (v->n - 1) * elem;
}

/* ---- values ---- */

static cn_rc parse_template(cn_str_t word, const char **why)
{
    bool rest = false;

    for (size_t i = 0; i < word.n; i++) {
        cn_str_t tail = {word.p + i, word.n - i};
        size_t len = cn_str_starts(tail, CN_STR("{**}")) ? 4 : 3;

        if (!strchr("*{}", word.p[i]))
            continue;
        *why = "in a path template only {*} and {**} may have *, { or }";
        if (len == 3 && !cn_str_starts(tail, CN_STR("{*}")))
            return CN_ERR;
        *why = "{*} and {**} must be whole segments of the path";
        if (i == 0 || word.p[i - 1] != '/' || (len < tail.n && tail.p[len] != '/'))
            return CN_ERR;
        *why = "{**} must be the last operator of the template";
        if (rest)
            return CN_ERR;
        rest = len == 4;
        i += len - 1;
    }
    return CN_OK;
}

/* "*", "*suffix", "prefix*"; a star anywhere else is a star. */
static void parse_form(cn_str_t word, cn_authz_value_t *v)
{
    if (cn_str_eq(word, CN_STR("*"))) {
        v->form = CN_AUTHZ_PRESENT;
        v->text = CN_STR_NULL;
    } else if (word.n && word.p[0] == '*') {
        v->form = CN_AUTHZ_SUFFIX;
        v->text = (cn_str_t){word.p + 1, word.n - 1};
    } else if (word.n && word.p[word.n - 1] == '*') {
        v->form = CN_AUTHZ_PREFIX;
        v->text = (cn_str_t){word.p, word.n - 1};
    } else {
        v->form = CN_AUTHZ_EXACT;
        v->text = word;
    }
}

static cn_rc parse_block(cn_str_t word, cn_authz_value_t *v, const char **why)
{
    v->form = CN_AUTHZ_BLOCK;
    *why = "expected an IP address or a block such as 10.0.0.0/8";
    return cn_inet_parse_block(word, &v->block);
}

static cn_rc parse_port(cn_str_t word, cn_authz_value_t *v, const char **why)
{
    uint64_t port;

    v->form = CN_AUTHZ_PORT;
    *why = "expected a port, 0 to 65535";
    if (cn_str_u64(word, 65535, &port) != CN_OK)
        return CN_ERR;
    v->port = (uint32_t)port;
    return CN_OK;
}

static cn_rc parse_account(cn_str_t word, cn_authz_value_t *v, const char **why)
{
    size_t slash = cn_str_find(word, '/');

    v->form = CN_AUTHZ_EXACT;
    v->text = word;
    *why = "expected NAMESPACE/SERVICE-ACCOUNT, without stars";
    if (slash == 0 || slash + 1 >= word.n || cn_str_find(word, '*') < word.n)
        return CN_ERR;
    word = (cn_str_t){word.p + slash + 1, word.n - slash - 1};
    return cn_str_find(word, '/') < word.n ? CN_ERR : CN_OK;
}

cn_rc cn_authz_value_parse(cn_authz_field field, cn_str_t word, cn_authz_value_t *v,
                           const char **why)
{
    v->word = word;
    switch (field) {
    case CN_AUTHZ_SOURCE_IP:
    case CN_AUTHZ_REMOTE_IP:
    case CN_AUTHZ_DEST_IP:
        return parse_block(word, v, why);
    case CN_AUTHZ_DEST_PORT:
        return parse_port(word, v, why);
    case CN_AUTHZ_SERVICE_ACCOUNT:
        return parse_account(word, v, why);
    case CN_AUTHZ_NAMESPACE:
        v->form = CN_AUTHZ_GLOB;
        v->text = word;
        return CN_OK;
    case CN_AUTHZ_PATH:
        if (cn_str_find_str(word, CN_STR("{*}")) < word.n ||
            cn_str_find_str(word, CN_STR("{**}")) < word.n) {
            v->form = CN_AUTHZ_TEMPLATE;
            v->text = word;
            return parse_template(word, why);
        }
        break;
    default:
        break;
    }
    parse_form(word, v);
    return CN_OK;
}

/* ---- conditions ---- */

static cn_rc add_values(cn_conf_t *cf, cn_authz_conf_t *c, cn_authz_cond_t *cond,
                        const cn_str_t *words, unsigned n)
{
    cond->values = c->values.n;
    cond->nvalues = n;
    for (unsigned i = 0; i < n; i++) {
        cn_authz_value_t *v = cn_vec_push(cn_conf_pool(cf), &c->values, sizeof(*v));
        const char *why = "";

        if (cn_authz_value_parse(cond->field, words[i], v, &why) != CN_OK)
            return cn_conf_error(cf, "\"%.*s\": %s", CN_STR_ARG(words[i]), why);
    }
    return CN_OK;
}

static cn_rc add_cond(cn_conf_t *cf, cn_authz_conf_t *c, const cn_authz_cond_t *from,
                      const cn_str_t *words, unsigned n)
{
    cn_authz_cond_t *cond = cn_vec_push(cn_conf_pool(cf), &c->conds, sizeof(*cond));
    cn_authz_group_t *group = last(&c->groups, sizeof(*group));
    cn_authz_rule_t *rule = last(&c->rules, sizeof(*rule));

    *cond = *from;
    group->nconds++;
    rule->http |= cond->field >= CN_AUTHZ_HTTP;
    return add_values(cf, c, cond, words, n);
}

static void add_group(cn_conf_t *cf, cn_authz_conf_t *c, cn_authz_kind kind)
{
    cn_authz_group_t *group = cn_vec_push(cn_conf_pool(cf), &c->groups, sizeof(*group));
    cn_authz_rule_t *rule = last(&c->rules, sizeof(*rule));

    group->kind = kind;
    group->conds = c->conds.n;
    rule->ngroups++;
}

static cn_rc set_list(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                      unsigned argc)
{
    const list_t *list = d->arg;
    cn_authz_cond_t cond = {
        .field = list->field, .negate = list->negate, .name = cn_str_c(list->name)};

    return add_cond(cf, conf, &cond, argv + 1, argc - 1);
}

typedef struct {
    const char *key;
    cn_authz_field field;
} when_t;

static const when_t whens[] = {
    {"source.principal", CN_AUTHZ_PRINCIPAL},
    {"source.namespace", CN_AUTHZ_NAMESPACE},
    {"source.serviceAccount", CN_AUTHZ_SERVICE_ACCOUNT},
    {"source.trustDomain", CN_AUTHZ_TRUST_DOMAIN},
    {"source.ip", CN_AUTHZ_SOURCE_IP},
    {"remote.ip", CN_AUTHZ_REMOTE_IP},
    {"destination.ip", CN_AUTHZ_DEST_IP},
    {"destination.port", CN_AUTHZ_DEST_PORT},
    {"connection.sni", CN_AUTHZ_SNI},
    {"request.auth.principal", CN_AUTHZ_TOKEN},
    {"request.auth.audiences", CN_AUTHZ_TOKEN},
    {"request.auth.presenter", CN_AUTHZ_TOKEN},
};

/* "request.headers[Name]": what is between the brackets; empty: not this form. */
static cn_str_t bracketed(cn_str_t key, cn_str_t before)
{
    if (!cn_str_starts(key, before) || key.p[key.n - 1] != ']' || key.n < before.n + 2)
        return CN_STR_NULL;
    return (cn_str_t){key.p + before.n, key.n - before.n - 1};
}

static cn_rc find_when(cn_conf_t *cf, cn_str_t key, cn_authz_cond_t *cond)
{
    cn_str_t inner = bracketed(key, CN_STR("request.headers["));

    if (inner.n) {
        char *lower = cn_pool_bytes(cn_conf_pool(cf), inner.n);

        cn_str_lower(lower, inner.p, inner.n);
        cond->field = CN_AUTHZ_HEADER;
        cond->key = (cn_str_t){lower, inner.n};
        return CN_OK;
    }
    if (bracketed(key, CN_STR("request.auth.claims[")).n) {
        cond->field = CN_AUTHZ_TOKEN;
        return CN_OK;
    }
    for (size_t i = 0; i < CN_COUNT(whens); i++) {
        if (cn_str_eq(key, cn_str_c(whens[i].key))) {
            cond->field = whens[i].field;
            return CN_OK;
        }
    }
    return cn_conf_error(
        cf,
        "unknown key \"%.*s\": expected source.*, remote.ip, destination.ip, "
        "destination.port, connection.sni, request.headers[NAME] or request.auth.*",
        CN_STR_ARG(key));
}

static cn_rc set_when(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                      unsigned argc)
{
    cn_authz_cond_t cond = {.negate = d->arg != NULL};

    if (find_when(cf, argv[1], &cond) != CN_OK)
        return CN_ERR;
    cond.name =
        cn_pool_printf(cn_conf_pool(cf), "%.*s %.*s", CN_STR_ARG(argv[0]), CN_STR_ARG(argv[1]));
    add_group(cf, conf, CN_AUTHZ_WHEN);
    return add_cond(cf, conf, &cond, argv + 2, argc - 2);
}

/* ---- blocks ---- */

#define LIST(word, kind, FIELD, text)                                                              \
    {.name = word,                                                                                 \
     .where = CN_AT_PRIVATE,                                                                       \
     .args = CN_ARGS(1, CN_ARGS_ANY),                                                              \
     .set = set_list,                                                                              \
     .arg = &(const list_t){FIELD, false, kind " " word},                                          \
     .syntax = word " VALUE...",                                                                   \
     .help = text},                                                                                \
    {                                                                                              \
        .name = "not_" word, .where = CN_AT_PRIVATE, .args = CN_ARGS(1, CN_ARGS_ANY),              \
        .set = set_list, .arg = &(const list_t){FIELD, true, kind " not_" word},                   \
        .syntax = "not_" word " VALUE...", .help = "None of these values. " text                   \
    }

#define FORMS " A value is exact, prefix*, *suffix, or * for any."

static const cn_directive_t from_table[] = {
    LIST("principals", "from", CN_AUTHZ_PRINCIPAL,
         "The client's identity, TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT." FORMS),
    LIST(
        "request_principals", "from", CN_AUTHZ_TOKEN,
        "The principal of a validated request token. None is validated by this module, so no value "
        "matches."),
    LIST("namespaces", "from", CN_AUTHZ_NAMESPACE,
         "The namespace of the client's identity; a star stands for any text."),
    LIST("service_accounts", "from", CN_AUTHZ_SERVICE_ACCOUNT,
         "The client's service account, NAMESPACE/NAME, in any trust domain."),
    LIST("trust_domains", "from", CN_AUTHZ_TRUST_DOMAIN,
         "The trust domain of the client's identity." FORMS),
    LIST("ip_blocks", "from", CN_AUTHZ_SOURCE_IP,
         "Address of the client's pod: IP addresses or blocks such as 10.0.0.0/8."),
    LIST("remote_ip_blocks", "from", CN_AUTHZ_REMOTE_IP,
         "Address of the original client: where trust_forwarded_for is on, the last one in "
         "X-Forwarded-For, else that of the client's pod. IP addresses or blocks."),
    {.name = NULL}};

static const cn_directive_t to_table[] = {
    LIST("hosts", "to", CN_AUTHZ_HOST,
         "The request's host with its port, if it has one; case does not count." FORMS),
    LIST("ports", "to", CN_AUTHZ_DEST_PORT, "The destination port that the client asked for."),
    LIST("methods", "to", CN_AUTHZ_METHOD, "The request's method." FORMS),
    LIST("paths", "to", CN_AUTHZ_PATH,
         "The normalised path without its query. Also a template, in which {*} is one segment and "
         "{**} any text." FORMS),
    {.name = NULL}};

static cn_rc set_from(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                      const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    add_group(cf, conf, CN_AUTHZ_FROM);
    return cn_conf_block(cf, from_table, conf);
}

static cn_rc set_to(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                    const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    add_group(cf, conf, CN_AUTHZ_TO);
    return cn_conf_block(cf, to_table, conf);
}

static const cn_directive_t rule_table[] = {
    {.name = "from",
     .where = CN_AT_PRIVATE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = set_from,
     .arg = from_table,
     .syntax = "from { ... }",
     .help = "Who asks: all of the lists inside must hold; of several from blocks, one."},
    {.name = "to",
     .where = CN_AT_PRIVATE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = set_to,
     .arg = to_table,
     .syntax = "to { ... }",
     .help = "What is asked for: all of the lists inside must hold; of several to blocks, one."},
    {.name = "when",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(2, CN_ARGS_ANY),
     .set = set_when,
     .syntax = "when KEY VALUE...",
     .help = "A further condition, as in Istio: source.principal, request.headers[NAME], ... One "
             "of the values must match; of several when and when_not, all must hold."},
    {.name = "when_not",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(2, CN_ARGS_ANY),
     .set = set_when,
     .arg = "not",
     .syntax = "when_not KEY VALUE...",
     .help = "None of the values may match; holds when there is nothing to compare."},
    {.name = NULL}};

/* Blanks in a details text become underscores, as in all details. */
static cn_str_t denial(cn_pool_t *pool, cn_str_t name, uint32_t rule)
{
    size_t slash = cn_str_find(name, '/');
    cn_str_t s =
        cn_pool_printf(pool, "rbac_access_denied_matched_policy[ns[%.*s]-policy[%.*s]-rule[%u]]",
                       (int)slash, name.p, (int)(name.n - slash - 1), name.p + slash + 1, rule);
    char *p = (char *)(uintptr_t)s.p;

    for (size_t i = 0; i < s.n; i++)
        if (p[i] == ' ' || p[i] == '\t')
            p[i] = '_';
    return s;
}

static cn_rc set_rule(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                      const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    cn_authz_conf_t *c = conf;
    cn_authz_policy_t *policy = last(&c->policies, sizeof(*policy));
    cn_authz_rule_t *rule = cn_vec_push(cn_conf_pool(cf), &c->rules, sizeof(*rule));

    rule->groups = c->groups.n;
    rule->details = denial(cn_conf_pool(cf), policy->name, policy->nrules++);
    return cn_conf_block(cf, rule_table, conf);
}

static const cn_directive_t policy_table[] = {
    {.name = "rule",
     .where = CN_AT_PRIVATE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = set_rule,
     .arg = rule_table,
     .syntax = "rule { ... }",
     .help =
         "Matches when a from block, a to block and every when hold; what is left out holds. Of "
         "several rules, one must match."},
    {.name = NULL}};

static cn_rc parse_action(cn_conf_t *cf, cn_authz_policy_t *p, const cn_str_t *argv, unsigned argc)
{
    static const char *const names[] = {"audit", "deny", "allow"};

    for (p->action = CN_AUTHZ_AUDIT; p->action < CN_AUTHZ_ACTIONS; p->action++)
        if (cn_str_eq(argv[2], cn_str_c(names[p->action])))
            break;
    if (p->action == CN_AUTHZ_ACTIONS)
        return cn_conf_error(cf, "\"%.*s\" is not an action: expected allow, deny or audit",
                             CN_STR_ARG(argv[2]));
    if (argc > 3 && !cn_str_eq(argv[3], CN_STR("dry_run")))
        return cn_conf_error(cf, "\"%.*s\": expected dry_run or {", CN_STR_ARG(argv[3]));
    p->dry_run = argc > 3;
    return CN_OK;
}

static cn_rc set_policy(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc)
{
    cn_authz_conf_t *c = conf;
    cn_authz_policy_t *p = cn_vec_push(cn_conf_pool(cf), &c->policies, sizeof(*p));
    size_t slash = cn_str_find(argv[1], '/');

    if (slash == 0 || slash + 1 >= argv[1].n)
        return cn_conf_error(cf, "\"%.*s\" is not a policy's name: expected NAMESPACE/NAME",
                             CN_STR_ARG(argv[1]));
    p->name = argv[1];
    p->rules = c->rules.n;
    p->count = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*p->count));
    if (parse_action(cf, p, argv, argc) != CN_OK)
        return CN_ERR;
    c->ndry += p->dry_run && p->action != CN_AUTHZ_AUDIT;
    c->naudit += p->action == CN_AUTHZ_AUDIT;
    c->nallow[p->dry_run] += p->action == CN_AUTHZ_ALLOW;
    return cn_conf_block(cf, policy_table, conf);
}

static const cn_directive_t authz_table[] = {
    {.name = "policy",
     .where = CN_AT_PRIVATE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(2, 3),
     .set = set_policy,
     .arg = policy_table,
     .syntax = "policy NAMESPACE/NAME allow | deny | audit [dry_run] { ... }",
     .help = "An AuthorizationPolicy. A request that a deny policy matches is refused; where there "
             "are allow policies, so is one that none of them matches. An allow policy without "
             "rules matches nothing. With dry_run the policy is only counted and explained."},
    {.name = NULL}};

static cn_rc set_authz(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                       const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    cn_authz_conf_t *c = conf;

    for (unsigned i = 0; i < 4; i++)
        c->none[i / 2][i % 2] = cn_pool_zalloc(cn_conf_pool(cf), sizeof(cn_authz_count_t));
    return cn_conf_block(cf, authz_table, conf);
}

const cn_directive_t cn_authz_directives[] = {
    {.name = "authz",
     .where = CN_AT_SERVICE | CN_D_BLOCK | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = set_authz,
     .arg = authz_table,
     .syntax = "authz { ... }",
     .help = "Who may ask this service for what. Without it everybody may."},
    {.name = NULL}};
