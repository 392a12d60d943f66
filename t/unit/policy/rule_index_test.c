/* SPDX-License-Identifier: Apache-2.0
 * The first rule that matches, found by an index: the same one as by trying all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "core/rand.h"
#include "policy/rule.h"

#define RULES 60u
#define VIEWS 400u

typedef struct {
    cn_pool_t *pool;
    cn_rules_t rules;
    uint32_t ids[RULES];
    cn_rand_t rand;
    cn_msg_t msg;
    cn_addr_t addr;
} fix_t;

static int setup(void **state)
{
    fix_t *f = calloc(1, sizeof(*f));

    f->pool = cn_pool_create(0);
    cn_msg_init(&f->msg, f->pool);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fix_t *f = *state;

    cn_pool_destroy(f->pool);
    free(f);
    return 0;
}

static void *last(const cn_vec_t *v, size_t elem)
{
    return (char *)v->v + (v->n - 1) * elem;
}

/* ---- rules by hand ---- */

static void begin_rule(fix_t *f)
{
    cn_rule_t *r = cn_vec_push(f->pool, &f->rules.rules, sizeof(*r));

    r->groups = f->rules.groups.n;
}

static void begin_group(fix_t *f, cn_rule_kind kind)
{
    cn_rule_group_t *g = cn_vec_push(f->pool, &f->rules.groups, sizeof(*g));

    g->kind = kind;
    g->conds = f->rules.conds.n;
    ((cn_rule_t *)last(&f->rules.rules, sizeof(cn_rule_t)))->ngroups++;
}

static void begin_cond(fix_t *f, cn_rule_field field, bool negate)
{
    cn_rule_cond_t *c = cn_vec_push(f->pool, &f->rules.conds, sizeof(*c));

    *c = (cn_rule_cond_t){.field = field, .negate = negate, .values = f->rules.values.n};
    ((cn_rule_group_t *)last(&f->rules.groups, sizeof(cn_rule_group_t)))->nconds++;
    ((cn_rule_t *)last(&f->rules.rules, sizeof(cn_rule_t)))->http |= field >= CN_RULE_HTTP;
}

static void add_value(fix_t *f, const char *word)
{
    cn_rule_cond_t *c = last(&f->rules.conds, sizeof(*c));
    cn_rule_value_t *v = cn_vec_push(f->pool, &f->rules.values, sizeof(*v));
    const char *why = "";

    c->nvalues++;
    if (cn_rule_value_parse(c->field, cn_str_c(word), v, &why) != CN_OK)
        fail_msg("%s: %s", word, why);
}

/* A rule of one `to` block with these paths, ending with NULL. */
static void paths_rule(fix_t *f, const char *const *words)
{
    begin_rule(f);
    begin_group(f, CN_RULE_TO);
    begin_cond(f, CN_RULE_PATH, false);
    for (; *words; words++)
        add_value(f, *words);
}

static const cn_rule_index_t *build(fix_t *f)
{
    for (uint32_t i = 0; i < f->rules.rules.n; i++)
        f->ids[i] = i;
    return cn_rule_index_build(f->pool, &f->rules, f->ids, f->rules.rules.n);
}

static int64_t try_all(fix_t *f, const cn_rule_view_t *view, bool drop_http)
{
    return cn_rule_find(&f->rules, (cn_rule_run_t){0, f->rules.rules.n, drop_http}, view);
}

/* ---- random rules and views, of few different words so that they meet ---- */

static const char *const paths[] = {"/",      "/a",     "/a/b",   "/a/*",       "/a/b*",
                                    "/ab",    "*",      "*/b",    "/a/{*}/c",   "/{**}",
                                    "/x/y/z", "/x/y/*", "/b/{*}", "/b/{**}/end"};
static const char *const principals[] = {"td/ns/one/sa/a", "td/ns/one/*", "td/ns/two/sa/b",   "*",
                                         "*/sa/a",         "td/*",        "other/ns/one/sa/a"};
static const char *const namespaces[] = {"one", "two", "o*", "*", "*e", "three"};
static const char *const accounts[] = {"one/a", "two/b", "one/b", "three/c"};
static const char *const methods[] = {"GET", "POST", "*"};

typedef struct {
    cn_rule_field field;
    cn_rule_kind kind;
    const char *const *words;
    unsigned n;
} source_t;

#define OF(list) list, CN_COUNT(list)
static const source_t sources[] = {
    {CN_RULE_PATH, CN_RULE_TO, OF(paths)},
    {CN_RULE_METHOD, CN_RULE_TO, OF(methods)},
    {CN_RULE_PRINCIPAL, CN_RULE_FROM, OF(principals)},
    {CN_RULE_NAMESPACE, CN_RULE_FROM, OF(namespaces)},
    {CN_RULE_SERVICE_ACCOUNT, CN_RULE_FROM, OF(accounts)},
};

static unsigned below(fix_t *f, unsigned n)
{
    return cn_rand_below(&f->rand, n);
}

static void random_group(fix_t *f, cn_rule_kind kind)
{
    begin_group(f, kind);
    for (unsigned conds = 1 + below(f, 2); conds; conds--) {
        const source_t *s;

        do
            s = &sources[below(f, CN_COUNT(sources))];
        while (kind == CN_RULE_WHEN ? s->kind != CN_RULE_FROM : s->kind != kind);
        begin_cond(f, s->field, below(f, 5) == 0);
        for (unsigned n = 1 + below(f, 3); n; n--)
            add_value(f, s->words[below(f, s->n)]);
    }
}

static void random_rule(fix_t *f)
{
    begin_rule(f);
    for (unsigned n = below(f, 3); n; n--)
        random_group(f, CN_RULE_FROM);
    for (unsigned n = below(f, 3); n; n--)
        random_group(f, CN_RULE_TO);
    for (unsigned n = below(f, 2); n; n--)
        random_group(f, CN_RULE_WHEN);
}

static void random_view(fix_t *f, cn_tunnel_t *t, cn_rule_view_t *v)
{
    static const char *const ids[] = {"spiffe://td/ns/one/sa/a", "spiffe://td/ns/two/sa/b",
                                      "spiffe://other/ns/one/sa/a", "spiffe://td/ns/three/sa/c",
                                      ""};
    static const char *const asked[] = {"/",      "/a",   "/a/b",     "/a/b/c",   "/ab",
                                        "/x/y/z", "/x/y", "/b/c/end", "/unknown", "/a/x/c"};

    *t = (cn_tunnel_t){.identity = cn_str_c(ids[below(f, CN_COUNT(ids))])};
    f->msg.path = cn_str_c(asked[below(f, CN_COUNT(asked))]);
    f->msg.method = cn_str_c(methods[below(f, 2)]);
    cn_rule_view(v, t, &f->addr, CN_STR_NULL, below(f, 8) ? &f->msg : NULL);
}

static void test_the_index_says_what_trying_all_says(void **state)
{
    fix_t *f = *state;
    unsigned hits = 0;

    for (uint64_t seed = 1; seed <= 40; seed++) {
        const cn_rule_index_t *ix;

        f->rules = (cn_rules_t){0};
        cn_rand_init(&f->rand, seed);
        for (unsigned i = 0; i < RULES; i++)
            random_rule(f);
        /* rules without any condition match all: in the first half they would hide the rest */
        for (unsigned i = 0; i < RULES; i++)
            if (cn_rule_at(&f->rules, i)->ngroups == 0)
                ((cn_rule_t *)f->rules.rules.v)[i] = *cn_rule_at(&f->rules, (i + 1) % RULES);
        ix = build(f);
        for (unsigned i = 0; i < VIEWS; i++) {
            cn_rule_view_t view;
            cn_tunnel_t tunnel;
            bool drop = below(f, 2);
            int64_t want;

            random_view(f, &tunnel, &view);
            want = try_all(f, &view, drop);
            assert_int_equal(cn_rule_index_find(ix, &view, drop), want);
            hits += want > 0;
        }
    }
    assert_true(hits > 1000); /* the comparison is not of nothing with nothing */
}

static void test_rules_hang_at_each_of_their_values_and_the_first_wins(void **state)
{
    fix_t *f = *state;
    static const char *const words[][4] = {
        {"/k0"}, {"/k1"}, {"/k2", "/k2", "/k9"}, {"/k3*"}, {"/k3"}, {"/k5"}, {"/k6"}, {"/k7"},
        {"/k8"}, {"/k9"}};
    const cn_rule_index_t *ix;
    cn_tunnel_t t = {0};
    cn_rule_view_t v;

    for (size_t i = 0; i < CN_COUNT(words); i++)
        paths_rule(f, words[i]);
    ix = build(f);
    cn_rule_view(&v, &t, &f->addr, CN_STR_NULL, &f->msg);
    f->msg.path = CN_STR("/k9");
    assert_int_equal(cn_rule_index_find(ix, &v, false), 2);
    f->msg.path = CN_STR("/k3");
    assert_int_equal(cn_rule_index_find(ix, &v, false), 3);
    f->msg.path = CN_STR("/k99");
    assert_int_equal(cn_rule_index_find(ix, &v, false), -1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_the_index_says_what_trying_all_says),
        T(test_rules_hang_at_each_of_their_values_and_the_first_wins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
