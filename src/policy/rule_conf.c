/* SPDX-License-Identifier: Apache-2.0
 *
 * The block of a rule: read straight into the flat arrays that rule_match.c
 * walks over.  A block being read is always the last element of its array, so
 * the setters need no state of their own.
 *
 * What has no meaning is an error here, since a condition that is quietly not
 * looked at is worse than a configuration that does not load.
 */
#include "policy/rule.h"

/* What a list directive says, as its arg. */
typedef struct {
    cn_rule_field field;
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
static void parse_form(cn_str_t word, cn_rule_value_t *v)
{
    if (cn_str_eq(word, CN_STR("*"))) {
        v->form = CN_RULE_PRESENT;
        v->text = CN_STR_NULL;
    } else if (word.n && word.p[0] == '*') {
        v->form = CN_RULE_SUFFIX;
        v->text = (cn_str_t){word.p + 1, word.n - 1};
    } else if (word.n && word.p[word.n - 1] == '*') {
        v->form = CN_RULE_PREFIX;
        v->text = (cn_str_t){word.p, word.n - 1};
    } else {
        v->form = CN_RULE_EXACT;
        v->text = word;
    }
}

static cn_rc parse_block(cn_str_t word, cn_rule_value_t *v, const char **why)
{
    v->form = CN_RULE_BLOCK;
    *why = "expected an IP address or a block such as 10.0.0.0/8";
    return cn_inet_parse_block(word, &v->block);
}

static cn_rc parse_port(cn_str_t word, cn_rule_value_t *v, const char **why)
{
    uint64_t port;

    v->form = CN_RULE_PORT;
    *why = "expected a port, 0 to 65535";
    if (cn_str_u64(word, 65535, &port) != CN_OK)
        return CN_ERR;
    v->port = (uint32_t)port;
    return CN_OK;
}

static cn_rc parse_account(cn_str_t word, cn_rule_value_t *v, const char **why)
{
    size_t slash = cn_str_find(word, '/');

    v->form = CN_RULE_EXACT;
    v->text = word;
    *why = "expected NAMESPACE/SERVICE-ACCOUNT, without stars";
    if (slash == 0 || slash + 1 >= word.n || cn_str_find(word, '*') < word.n)
        return CN_ERR;
    word = (cn_str_t){word.p + slash + 1, word.n - slash - 1};
    return cn_str_find(word, '/') < word.n ? CN_ERR : CN_OK;
}

cn_rc cn_rule_value_parse(cn_rule_field field, cn_str_t word, cn_rule_value_t *v, const char **why)
{
    v->word = word;
    switch (field) {
    case CN_RULE_SOURCE_IP:
    case CN_RULE_REMOTE_IP:
    case CN_RULE_DEST_IP:
        return parse_block(word, v, why);
    case CN_RULE_DEST_PORT:
        return parse_port(word, v, why);
    case CN_RULE_SERVICE_ACCOUNT:
        return parse_account(word, v, why);
    case CN_RULE_NAMESPACE:
        v->form = CN_RULE_GLOB;
        v->text = word;
        return CN_OK;
    case CN_RULE_PATH:
        if (cn_str_find_str(word, CN_STR("{*}")) < word.n ||
            cn_str_find_str(word, CN_STR("{**}")) < word.n) {
            v->form = CN_RULE_TEMPLATE;
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

static cn_rc add_values(cn_conf_t *cf, cn_rules_t *c, cn_rule_cond_t *cond, const cn_str_t *words,
                        unsigned n)
{
    cond->values = c->values.n;
    cond->nvalues = n;
    for (unsigned i = 0; i < n; i++) {
        cn_rule_value_t *v = cn_vec_push(cn_conf_pool(cf), &c->values, sizeof(*v));
        const char *why = "";

        if (cn_rule_value_parse(cond->field, words[i], v, &why) != CN_OK)
            return cn_conf_error(cf, "\"%.*s\": %s", CN_STR_ARG(words[i]), why);
    }
    return CN_OK;
}

static cn_rc add_cond(cn_conf_t *cf, cn_rules_t *c, const cn_rule_cond_t *from,
                      const cn_str_t *words, unsigned n)
{
    cn_rule_cond_t *cond = cn_vec_push(cn_conf_pool(cf), &c->conds, sizeof(*cond));
    cn_rule_group_t *group = last(&c->groups, sizeof(*group));
    cn_rule_t *rule = last(&c->rules, sizeof(*rule));

    *cond = *from;
    group->nconds++;
    rule->http |= cond->field >= CN_RULE_HTTP;
    return add_values(cf, c, cond, words, n);
}

static void add_group(cn_conf_t *cf, cn_rules_t *c, cn_rule_kind kind)
{
    cn_rule_group_t *group = cn_vec_push(cn_conf_pool(cf), &c->groups, sizeof(*group));
    cn_rule_t *rule = last(&c->rules, sizeof(*rule));

    group->kind = kind;
    group->conds = c->conds.n;
    rule->ngroups++;
}

static cn_rc set_list(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                      unsigned argc)
{
    const list_t *list = d->arg;
    cn_rule_cond_t cond = {
        .field = list->field, .negate = list->negate, .name = cn_str_c(list->name)};

    return add_cond(cf, conf, &cond, argv + 1, argc - 1);
}

typedef struct {
    const char *key;
    cn_rule_field field;
} when_t;

static const when_t whens[] = {
    {"source.principal", CN_RULE_PRINCIPAL},
    {"source.namespace", CN_RULE_NAMESPACE},
    {"source.serviceAccount", CN_RULE_SERVICE_ACCOUNT},
    {"source.trustDomain", CN_RULE_TRUST_DOMAIN},
    {"source.ip", CN_RULE_SOURCE_IP},
    {"remote.ip", CN_RULE_REMOTE_IP},
    {"destination.ip", CN_RULE_DEST_IP},
    {"destination.port", CN_RULE_DEST_PORT},
    {"connection.sni", CN_RULE_SNI},
    {"request.auth.principal", CN_RULE_TOKEN},
    {"request.auth.audiences", CN_RULE_TOKEN},
    {"request.auth.presenter", CN_RULE_TOKEN},
};

/* "request.headers[Name]": what is between the brackets; empty: not this form. */
static cn_str_t bracketed(cn_str_t key, cn_str_t before)
{
    if (!cn_str_starts(key, before) || key.p[key.n - 1] != ']' || key.n < before.n + 2)
        return CN_STR_NULL;
    return (cn_str_t){key.p + before.n, key.n - before.n - 1};
}

static cn_rc find_when(cn_conf_t *cf, cn_str_t key, cn_rule_cond_t *cond)
{
    cn_str_t inner = bracketed(key, CN_STR("request.headers["));

    if (inner.n) {
        cond->field = CN_RULE_HEADER;
        cond->key = cn_pool_lower(cn_conf_pool(cf), inner);
        return CN_OK;
    }
    if (bracketed(key, CN_STR("request.auth.claims[")).n) {
        cond->field = CN_RULE_TOKEN;
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
    cn_rule_cond_t cond = {.negate = d->arg != NULL};

    if (find_when(cf, argv[1], &cond) != CN_OK)
        return CN_ERR;
    cond.name =
        cn_pool_printf(cn_conf_pool(cf), "%.*s %.*s", CN_STR_ARG(argv[0]), CN_STR_ARG(argv[1]));
    add_group(cf, conf, CN_RULE_WHEN);
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
    LIST("principals", "from", CN_RULE_PRINCIPAL,
         "The client's identity, TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT." FORMS),
    LIST(
        "request_principals", "from", CN_RULE_TOKEN,
        "The principal of a validated request token. None is validated by this module, so no value "
        "matches."),
    LIST("namespaces", "from", CN_RULE_NAMESPACE,
         "The namespace of the client's identity; a star stands for any text."),
    LIST("service_accounts", "from", CN_RULE_SERVICE_ACCOUNT,
         "The client's service account, NAMESPACE/NAME, in any trust domain."),
    LIST("trust_domains", "from", CN_RULE_TRUST_DOMAIN,
         "The trust domain of the client's identity." FORMS),
    LIST("ip_blocks", "from", CN_RULE_SOURCE_IP,
         "Address of the client's pod: IP addresses or blocks such as 10.0.0.0/8."),
    LIST("remote_ip_blocks", "from", CN_RULE_REMOTE_IP,
         "Address of the original client: where trust_forwarded_for is on, the last one in "
         "X-Forwarded-For, else that of the client's pod. IP addresses or blocks."),
    {.name = NULL}};

static const cn_directive_t to_table[] = {
    LIST("hosts", "to", CN_RULE_HOST,
         "The request's host with its port, if it has one; case does not count." FORMS),
    LIST("ports", "to", CN_RULE_DEST_PORT, "The destination port that the client asked for."),
    LIST("methods", "to", CN_RULE_METHOD, "The request's method." FORMS),
    LIST("paths", "to", CN_RULE_PATH,
         "The normalised path without its query. Also a template, in which {*} is one segment and "
         "{**} any text." FORMS),
    {.name = NULL}};

static cn_rc set_from(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                      const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    add_group(cf, conf, CN_RULE_FROM);
    return cn_conf_block(cf, from_table, conf);
}

static cn_rc set_to(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                    const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    add_group(cf, conf, CN_RULE_TO);
    return cn_conf_block(cf, to_table, conf);
}

const cn_directive_t cn_rule_directives[] = {
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

cn_rc cn_rule_read(cn_conf_t *cf, cn_rules_t *rules)
{
    cn_rule_t *rule = cn_vec_push(cn_conf_pool(cf), &rules->rules, sizeof(*rule));

    rule->groups = rules->groups.n;
    return cn_conf_block(cf, cn_rule_directives, rules);
}

cn_rc cn_rule_set_block(cn_conf_t *cf, const cn_directive_t *d, void *conf,
                        const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    cn_rule_set_t *set = (cn_rule_set_t *)((char *)conf + d->off);

    set->run.n++;
    return cn_rule_read(cf, &set->rules);
}
