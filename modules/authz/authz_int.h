/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the authz module: a service's policies in the form in
 * which they are matched, and the facts that they are matched against.
 *
 * Everything of one service lies in five flat arrays; a policy is a run of
 * rules, a rule a run of groups (a `from` entry, a `to` entry, one `when`), a
 * group a run of conditions, a condition a run of values.
 */
#ifndef CN_AUTHZ_INT_H
#define CN_AUTHZ_INT_H

#include <cairn/module.h>

/* What a condition looks at.  From HTTP on: unknown for an L4 connection. */
typedef enum {
    CN_AUTHZ_PRINCIPAL,
    CN_AUTHZ_NAMESPACE,
    CN_AUTHZ_SERVICE_ACCOUNT,
    CN_AUTHZ_TRUST_DOMAIN,
    CN_AUTHZ_SOURCE_IP,
    CN_AUTHZ_REMOTE_IP,
    CN_AUTHZ_DEST_IP,
    CN_AUTHZ_DEST_PORT,
    CN_AUTHZ_SNI,
    CN_AUTHZ_HTTP,
    CN_AUTHZ_HOST = CN_AUTHZ_HTTP,
    CN_AUTHZ_METHOD,
    CN_AUTHZ_PATH,
    CN_AUTHZ_HEADER,
    CN_AUTHZ_TOKEN /* anything of a request token: there is none without a JWT module */
} cn_authz_field;

typedef enum {
    CN_AUTHZ_EXACT,
    CN_AUTHZ_PREFIX,
    CN_AUTHZ_SUFFIX,
    CN_AUTHZ_PRESENT,
    CN_AUTHZ_TEMPLATE, /* paths: {*} and {**} */
    CN_AUTHZ_GLOB,     /* namespaces: a star anywhere */
    CN_AUTHZ_BLOCK,
    CN_AUTHZ_PORT
} cn_authz_form;

typedef struct {
    cn_str_t word; /* as written */
    cn_authz_form form;
    union {
        cn_str_t text; /* without the star of its form */
        cn_addr_t block;
        uint32_t port;
    };
} cn_authz_value_t;

typedef struct {
    cn_authz_field field;
    bool negate;
    uint32_t values, nvalues; /* any of them */
    cn_str_t key;             /* header name, lower case */
    cn_str_t name;            /* as the user calls it: "from principals", "when source.ip" */
} cn_authz_cond_t;

typedef enum { CN_AUTHZ_FROM, CN_AUTHZ_TO, CN_AUTHZ_WHEN, CN_AUTHZ_KINDS } cn_authz_kind;

typedef struct {
    cn_authz_kind kind;
    uint32_t conds, nconds; /* all of them */
} cn_authz_group_t;

typedef struct {
    uint32_t groups, ngroups; /* any FROM (if there is one), any TO (if ...), every WHEN */
    bool http;                /* has a condition that an L4 connection cannot meet */
    cn_str_t details;         /* of a denial by this rule */
} cn_authz_rule_t;

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
    uint32_t rules, nrules; /* any of them */
    cn_authz_count_t *count;
} cn_authz_policy_t;

/* SERVICE-level settings. */
typedef struct {
    cn_vec_t policies, rules, groups, conds, values;
    uint32_t nallow[2];           /* allow policies that are in force, and dry runs */
    uint32_t naudit;              /* of either kind */
    uint32_t ndry;                /* dry runs that would decide */
    cn_authz_count_t *none[2][2]; /* [dry run][allowed] by no policy */
} cn_authz_conf_t;

static inline const cn_authz_policy_t *cn_authz_policy_at(const cn_authz_conf_t *c, uint32_t i)
{
    return (const cn_authz_policy_t *)c->policies.v + i;
}

static inline const cn_authz_rule_t *cn_authz_rule_at(const cn_authz_conf_t *c, uint32_t i)
{
    return (const cn_authz_rule_t *)c->rules.v + i;
}

static inline const cn_authz_group_t *cn_authz_group_at(const cn_authz_conf_t *c, uint32_t i)
{
    return (const cn_authz_group_t *)c->groups.v + i;
}

static inline const cn_authz_cond_t *cn_authz_cond_at(const cn_authz_conf_t *c, uint32_t i)
{
    return (const cn_authz_cond_t *)c->conds.v + i;
}

static inline const cn_authz_value_t *cn_authz_value_at(const cn_authz_conf_t *c, uint32_t i)
{
    return (const cn_authz_value_t *)c->values.v + i;
}

/* ---- compile.c ---- */

extern const cn_directive_t cn_authz_directives[];
/* One value of a field.  CN_ERR: *why says what was expected. */
CN_MUST cn_rc cn_authz_value_parse(cn_authz_field, cn_str_t word, cn_authz_value_t *,
                                   const char **why);

/* ---- match.c ---- */

/* What is known of who wants what. */
typedef struct {
    cn_str_t principal; /* TD/ns/NS/sa/SA; empty: not authenticated */
    cn_str_t trust_domain, ns, sa;
    const cn_addr_t *source, *remote, *dest;
    cn_str_t sni;
    const cn_msg_t *msg; /* NULL: an L4 connection */
} cn_authz_view_t;

bool cn_authz_value_match(cn_authz_field, const cn_authz_value_t *, cn_str_t);
bool cn_authz_cond_match(const cn_authz_conf_t *, const cn_authz_cond_t *, const cn_authz_view_t *);
/* Index of the policy's first rule that matches, or -1. */
int64_t cn_authz_policy_match(const cn_authz_conf_t *, const cn_authz_policy_t *,
                              const cn_authz_view_t *);
/* The rule is left out for this connection: an allow rule that asks for HTTP. */
bool cn_authz_rule_dropped(const cn_authz_policy_t *, const cn_authz_rule_t *,
                           const cn_authz_view_t *);

typedef struct {
    bool allowed;
    const cn_authz_policy_t *policy; /* NULL: no policy decided, the default did */
    const cn_authz_rule_t *rule;
} cn_authz_verdict_t;

/* Deny before allow; among the policies in force, or among the dry runs. */
cn_authz_verdict_t cn_authz_decide(const cn_authz_conf_t *, const cn_authz_view_t *, bool dry_run);

/* ---- why.c ---- */

/* Why the policy matches or, for one that does not, what its nearest rule
 * lacks; one line into buf, NUL-terminated, cut where it is too long. */
#define CN_AUTHZ_WHY 1024
void cn_authz_why(const cn_authz_conf_t *, const cn_authz_policy_t *, const cn_authz_view_t *,
                  char buf[CN_AUTHZ_WHY]);

#endif
