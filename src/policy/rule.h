/* SPDX-License-Identifier: Apache-2.0
 *
 * Who asks for what: the rules of Istio's AuthorizationPolicy (from, to, when)
 * as a block of the configuration, compiled, matched and explained.  For every
 * module that acts on some requests only: authz, rate_limit.
 *
 * Everything lies in four flat arrays: a rule is a run of groups (a `from`
 * entry, a `to` entry, one `when`), a group a run of conditions, a condition a
 * run of values.  Which rules belong together is up to the module.
 */
#ifndef CN_POLICY_RULE_H
#define CN_POLICY_RULE_H

#include "conf/conf.h"
#include "core/inet.h"
#include "http/msg.h"
#include "tunnel/tunnel.h"

/* What a condition looks at.  From HTTP on: unknown for an L4 connection. */
typedef enum {
    CN_RULE_PRINCIPAL,
    CN_RULE_NAMESPACE,
    CN_RULE_SERVICE_ACCOUNT,
    CN_RULE_TRUST_DOMAIN,
    CN_RULE_SOURCE_IP,
    CN_RULE_REMOTE_IP,
    CN_RULE_DEST_IP,
    CN_RULE_DEST_PORT,
    CN_RULE_SNI,
    CN_RULE_HTTP,
    CN_RULE_HOST = CN_RULE_HTTP,
    CN_RULE_METHOD,
    CN_RULE_PATH,
    CN_RULE_HEADER,
    CN_RULE_TOKEN /* anything of a request token: there is none without a JWT module */
} cn_rule_field;

typedef enum {
    CN_RULE_EXACT,
    CN_RULE_PREFIX,
    CN_RULE_SUFFIX,
    CN_RULE_PRESENT,
    CN_RULE_TEMPLATE, /* paths: {*} and {**} */
    CN_RULE_GLOB,     /* namespaces: a star anywhere */
    CN_RULE_BLOCK,
    CN_RULE_PORT
} cn_rule_form;

typedef struct {
    cn_str_t word; /* as written */
    cn_rule_form form;
    union {
        cn_str_t text; /* without the star of its form */
        cn_addr_t block;
        uint32_t port;
    };
} cn_rule_value_t;

typedef struct {
    cn_rule_field field;
    bool negate;
    uint32_t values, nvalues; /* any of them */
    cn_str_t key;             /* header name, lower case */
    cn_str_t name;            /* as the user calls it: "from principals", "when source.ip" */
} cn_rule_cond_t;

typedef enum { CN_RULE_FROM, CN_RULE_TO, CN_RULE_WHEN, CN_RULE_KINDS } cn_rule_kind;

typedef struct {
    cn_rule_kind kind;
    uint32_t conds, nconds; /* all of them */
} cn_rule_group_t;

typedef struct {
    uint32_t groups, ngroups; /* any FROM (if there is one), any TO (if ...), every WHEN */
    bool http;                /* has a condition that an L4 connection cannot meet */
} cn_rule_t;

typedef struct {
    cn_vec_t rules, groups, conds, values;
} cn_rules_t;

static inline const cn_rule_t *cn_rule_at(const cn_rules_t *c, uint32_t i)
{
    return (const cn_rule_t *)c->rules.v + i;
}

static inline const cn_rule_group_t *cn_rule_group_at(const cn_rules_t *c, uint32_t i)
{
    return (const cn_rule_group_t *)c->groups.v + i;
}

static inline const cn_rule_cond_t *cn_rule_cond_at(const cn_rules_t *c, uint32_t i)
{
    return (const cn_rule_cond_t *)c->conds.v + i;
}

static inline const cn_rule_value_t *cn_rule_value_at(const cn_rules_t *c, uint32_t i)
{
    return (const cn_rule_value_t *)c->values.v + i;
}

/* ---- rule_conf.c ---- */

/* The directives of a rule's block, for the table of the module's own. */
extern const cn_directive_t cn_rule_directives[];
/* Adds a rule and reads its block, in a setter whose directive is CN_D_BLOCK;
 * everything lives in the section's pool. */
CN_MUST cn_rc cn_rule_read(cn_conf_t *, cn_rules_t *);
/* Setter of a repeated CN_D_BLOCK directive, such as `match`, for the
 * cn_rule_set_t at d->off: one more rule that may match. */
CN_MUST cn_rc cn_rule_set_block(cn_conf_t *, const cn_directive_t *, void *conf,
                                const cn_str_t *argv, unsigned argc);
/* One value of a field.  CN_ERR: *why says what was expected. */
CN_MUST cn_rc cn_rule_value_parse(cn_rule_field, cn_str_t word, cn_rule_value_t *,
                                  const char **why);

/* ---- rule_match.c ---- */

/* What is known of who wants what. */
typedef struct {
    cn_str_t principal; /* TD/ns/NS/sa/SA; empty: not authenticated */
    cn_str_t trust_domain, ns, sa;
    const cn_addr_t *source, *remote, *dest;
    cn_str_t sni;
    const cn_msg_t *msg; /* NULL: an L4 connection */
} cn_rule_view_t;

/* The view of a request or connection of a tunnel; everything stays where it
 * is.  remote: the original client, without an address when it is the peer. */
void cn_rule_view(cn_rule_view_t *, const cn_tunnel_t *, const cn_addr_t *remote, cn_str_t sni,
                  const cn_msg_t *msg);

bool cn_rule_value_match(cn_rule_field, const cn_rule_value_t *, cn_str_t);
bool cn_rule_cond_match(const cn_rules_t *, const cn_rule_cond_t *, const cn_rule_view_t *);

/* A run of rules, any of which may match. */
typedef struct {
    uint32_t first, n;
    bool drop_http; /* leave out, for an L4 connection, rules that ask for HTTP */
} cn_rule_run_t;
/* Rules of its own, any of which may match; without any, everything does. */
typedef struct {
    cn_rules_t rules;
    cn_rule_run_t run;
} cn_rule_set_t;
bool cn_rule_set_match(const cn_rule_set_t *, const cn_rule_view_t *);
/* Index within the run of the first rule that matches, or -1. */
int64_t cn_rule_find(const cn_rules_t *, cn_rule_run_t, const cn_rule_view_t *);
/* Is the rule left out of the run for this connection? */
bool cn_rule_dropped(cn_rule_run_t, const cn_rule_t *, const cn_rule_view_t *);

bool cn_rule_matches(const cn_rules_t *, const cn_rule_t *, const cn_rule_view_t *);

/* ---- rule_index.c ---- */

/* An order of rules to look for the first one in, whose cost does not grow with
 * their number where they ask for paths or identities, exactly or by a beginning. */
typedef struct cn_rule_index cn_rule_index_t;
/* ids: the rules in order; kept by pointer, as rules is.  All in pool. */
cn_rule_index_t *cn_rule_index_build(cn_pool_t *, const cn_rules_t *, const uint32_t *ids,
                                     uint32_t n);
/* The first rule that matches, or -1.  drop_http as in cn_rule_run_t. */
int64_t cn_rule_index_find(const cn_rule_index_t *, const cn_rule_view_t *, bool drop_http);

/* ---- rule_why.c ---- */

/* Why the run matches or, if it does not, what its nearest rule lacks; one line
 * into buf, NUL-terminated, cut where it is too long. */
#define CN_RULE_WHY 1024
void cn_rule_why(const cn_rules_t *, cn_rule_run_t, const cn_rule_view_t *, char buf[CN_RULE_WHY]);

#endif
