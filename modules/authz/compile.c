/* SPDX-License-Identifier: Apache-2.0
 *
 * The `authz` block.  A policy being read is always the last of its array, so
 * the setters need no state of their own.  Everything lives in the section's
 * pool.
 *
 * The generator writes what Istio's resources say; what has no meaning is an
 * error here, since a policy that is quietly not enforced is worse than one
 * that does not load.
 */
#include "authz_int.h"

static cn_authz_policy_t *last_policy(const cn_authz_conf_t *c)
{
    return (cn_authz_policy_t *)c->policies.v + (c->policies.n - 1);
}

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
    cn_authz_policy_t *policy = last_policy(c);
    cn_str_t *details = cn_vec_push(cn_conf_pool(cf), &c->details, sizeof(*details));

    *details = denial(cn_conf_pool(cf), policy->name, policy->run.n++);
    *(uint32_t *)cn_vec_push(cn_conf_pool(cf), &c->owners, sizeof(uint32_t)) = c->policies.n - 1;
    return cn_rule_read(cf, &c->rules);
}

static const cn_directive_t policy_table[] = {
    {.name = "rule",
     .where = CN_AT_PRIVATE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(0, 0),
     .set = set_rule,
     .arg = cn_rule_directives,
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
    p->run.first = c->rules.rules.n;
    p->count = cn_pool_zalloc(cn_conf_pool(cf), sizeof(*p->count));
    if (parse_action(cf, p, argv, argc) != CN_OK)
        return CN_ERR;
    p->run.drop_http = p->action == CN_AUTHZ_ALLOW;
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

static cn_rule_index_t *index_of(cn_pool_t *pool, const cn_authz_conf_t *c, cn_authz_action action,
                                 bool dry_run)
{
    uint32_t *ids = cn_pool_alloc(pool, (c->rules.rules.n + 1) * sizeof(*ids)), n = 0;

    for (uint32_t i = 0; i < c->policies.n; i++) {
        const cn_authz_policy_t *p = cn_authz_policy_at(c, i);

        for (uint32_t k = 0; p->action == action && p->dry_run == dry_run && k < p->run.n; k++)
            ids[n++] = p->run.first + k;
    }
    return n ? cn_rule_index_build(pool, &c->rules, ids, n) : NULL;
}

static cn_rc set_authz(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                       const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    cn_authz_conf_t *c = conf;

    for (unsigned i = 0; i < 4; i++)
        c->none[i / 2][i % 2] = cn_pool_zalloc(cn_conf_pool(cf), sizeof(cn_authz_count_t));
    if (cn_conf_block(cf, authz_table, conf) != CN_OK)
        return CN_ERR;
    for (unsigned dry_run = 0; dry_run < 2; dry_run++) {
        c->index[dry_run][0] = index_of(cn_conf_pool(cf), c, CN_AUTHZ_DENY, dry_run);
        c->index[dry_run][1] = index_of(cn_conf_pool(cf), c, CN_AUTHZ_ALLOW, dry_run);
    }
    return CN_OK;
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
