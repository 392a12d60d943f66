/* SPDX-License-Identifier: Apache-2.0
 *
 * The account of a run of rules in words, made only for those who ask (cairn
 * explain, debug log).  For one that does not match it names the nearest
 * miss: the rule of which the most conditions hold, of several those the one
 * that lacks the fewest, and its first condition that fails, with what was
 * expected and what was there.
 *
 * Values of fields that carry credentials are never shown.
 */
#include "policy/rule.h"

#include "http/field.h"

#define SHOWN_VALUES 4

typedef struct {
    char *p;
    size_t n; /* always < CN_RULE_WHY */
} text_t;

static void put(text_t *t, cn_str_t s)
{
    size_t room = CN_RULE_WHY - 1 - t->n;
    size_t n = s.n < room ? s.n : room;

    if (n)
        memcpy(t->p + t->n, s.p, n);
    t->n += n;
    t->p[t->n] = '\0';
}

static void put_u32(text_t *t, uint32_t v)
{
    char digits[20];

    put(t, (cn_str_t){digits, cn_str_put_u64(digits, v)});
}

/* ---- how near a rule is ---- */

typedef struct {
    uint32_t held, failed;
    const cn_rule_cond_t *miss; /* the first that failed */
} score_t;

static score_t score_group(const cn_rules_t *c, const cn_rule_group_t *g,
                           const cn_rule_view_t *view)
{
    score_t s = {0};

    for (uint32_t i = 0; i < g->nconds; i++) {
        const cn_rule_cond_t *cond = cn_rule_cond_at(c, g->conds + i);

        if (cn_rule_cond_match(c, cond, view)) {
            s.held++;
            continue;
        }
        s.failed++;
        if (!s.miss)
            s.miss = cond;
    }
    return s;
}

static bool nearer(const score_t *a, const score_t *b)
{
    return a->held != b->held ? a->held > b->held : a->failed < b->failed;
}

/* A group that holds decides for its kind, whatever the others have. */
static bool better_group(const score_t *a, const score_t *b)
{
    if ((a->failed == 0) != (b->failed == 0))
        return a->failed == 0;
    return nearer(a, b);
}

static void add_score(score_t *sum, const score_t *s)
{
    sum->held += s->held;
    sum->failed += s->failed;
    if (!sum->miss)
        sum->miss = s->miss;
}

/* The best `from`, the best `to` and every `when` together. */
static score_t score_rule(const cn_rules_t *c, const cn_rule_t *r, const cn_rule_view_t *view)
{
    score_t best[CN_RULE_WHEN] = {{0}}, whens = {0}, sum = {0};
    bool seen[CN_RULE_WHEN] = {0};

    for (uint32_t i = 0; i < r->ngroups; i++) {
        const cn_rule_group_t *g = cn_rule_group_at(c, r->groups + i);
        score_t s = score_group(c, g, view);

        if (g->kind == CN_RULE_WHEN) {
            add_score(&whens, &s);
        } else if (!seen[g->kind] || better_group(&s, &best[g->kind])) {
            seen[g->kind] = true;
            best[g->kind] = s;
        }
    }
    add_score(&sum, &best[CN_RULE_FROM]);
    add_score(&sum, &best[CN_RULE_TO]);
    add_score(&sum, &whens);
    return sum;
}

/* ---- in words ---- */

static void put_values(text_t *t, const cn_rules_t *c, const cn_rule_cond_t *cond)
{
    for (uint32_t i = 0; i < cond->nvalues && i < SHOWN_VALUES; i++) {
        if (i)
            put(t, CN_STR(" or "));
        put(t, CN_STR("\""));
        put(t, cn_rule_value_at(c, cond->values + i)->word);
        put(t, CN_STR("\""));
    }
    if (cond->nvalues > SHOWN_VALUES) {
        put(t, CN_STR(" or one of "));
        put_u32(t, cond->nvalues - SHOWN_VALUES);
        put(t, CN_STR(" more"));
    }
}

static void put_text(text_t *t, cn_str_t s, const char *missing)
{
    if (s.n == 0) {
        put(t, cn_str_c(missing));
        return;
    }
    put(t, CN_STR("\""));
    put(t, s);
    put(t, CN_STR("\""));
}

static bool is_secret(cn_str_t name)
{
    return cn_str_eq(name, CN_STR("authorization")) || cn_str_eq(name, CN_STR("cookie")) ||
           cn_str_eq(name, CN_STR("proxy-authorization"));
}

static void put_header(text_t *t, cn_str_t name, const cn_msg_t *msg)
{
    cn_str_t line;
    uint32_t iter = 0, n = 0;

    while (cn_field_next(msg, name, &iter, &line)) {
        if (n++)
            put(t, CN_STR(" and "));
        if (is_secret(name))
            put(t, CN_STR("a value that is not shown"));
        else
            put_text(t, line, "\"\"");
    }
    if (n == 0)
        put(t, CN_STR("no such header"));
}

static void put_addr(text_t *t, const cn_addr_t *a)
{
    char buf[CN_INET_TEXT];

    if (a)
        put(t, (cn_str_t){buf, cn_inet_put(buf, a, false)});
    else
        put(t, CN_STR("an unknown address"));
}

static const cn_addr_t *addr_of(cn_rule_field field, const cn_rule_view_t *view)
{
    if (field == CN_RULE_SOURCE_IP)
        return view->source;
    return field == CN_RULE_REMOTE_IP ? view->remote : view->dest;
}

static void put_actual(text_t *t, const cn_rule_cond_t *cond, const cn_rule_view_t *view)
{
    switch (cond->field) {
    case CN_RULE_PRINCIPAL:
    case CN_RULE_SERVICE_ACCOUNT:
        put_text(t, view->principal, "no authenticated identity");
        return;
    case CN_RULE_NAMESPACE:
        put_text(t, view->ns, "no authenticated identity");
        return;
    case CN_RULE_TRUST_DOMAIN:
        put_text(t, view->trust_domain, "no authenticated identity");
        return;
    case CN_RULE_SOURCE_IP:
    case CN_RULE_REMOTE_IP:
    case CN_RULE_DEST_IP:
        put_addr(t, addr_of(cond->field, view));
        return;
    case CN_RULE_DEST_PORT:
        put_u32(t, view->dest ? view->dest->port : 0);
        return;
    case CN_RULE_SNI:
        put_text(t, view->sni, "no server name");
        return;
    case CN_RULE_HOST:
        put_text(t, view->msg->authority, "no host");
        return;
    case CN_RULE_METHOD:
        put_text(t, view->msg->method, "no method");
        return;
    case CN_RULE_PATH:
        put_text(t, view->msg->path, "no path");
        return;
    case CN_RULE_HEADER:
        put_header(t, cond->key, view->msg);
        return;
    case CN_RULE_TOKEN:
        put(t, CN_STR("no validated request token"));
        return;
    }
}

static void put_miss(text_t *t, const cn_rules_t *c, const cn_rule_cond_t *cond,
                     const cn_rule_view_t *view)
{
    put(t, cond->name);
    put(t, cond->negate ? CN_STR(" expects anything but ") : CN_STR(" expects "));
    put_values(t, c, cond);
    put(t, CN_STR(", got "));
    put_actual(t, cond, view);
}

/* The rule that is nearest, or NULL when all are dropped. */
static const cn_rule_t *nearest(const cn_rules_t *c, cn_rule_run_t run, const cn_rule_view_t *view,
                                uint32_t *index, score_t *score)
{
    const cn_rule_t *best = NULL;

    for (uint32_t i = 0; i < run.n; i++) {
        const cn_rule_t *r = cn_rule_at(c, run.first + i);
        score_t s;

        if (cn_rule_dropped(run, r, view))
            continue;
        s = score_rule(c, r, view);
        if (best && !nearer(&s, score))
            continue;
        best = r;
        *index = i;
        *score = s;
    }
    return best;
}

void cn_rule_why(const cn_rules_t *c, cn_rule_run_t run, const cn_rule_view_t *view,
                 char buf[CN_RULE_WHY])
{
    text_t t = {buf, 0};
    int64_t hit = cn_rule_find(c, run, view);
    uint32_t index = 0;
    score_t score = {0};

    buf[0] = '\0';
    if (hit >= 0) {
        put(&t, CN_STR("rule "));
        put_u32(&t, (uint32_t)hit);
        put(&t, CN_STR(" matches"));
    } else if (run.n == 0) {
        put(&t, CN_STR("does not match: it has no rules"));
    } else if (!nearest(c, run, view, &index, &score)) {
        put(&t, CN_STR("does not match: all of its rules need HTTP, which this connection is not"));
    } else if (score.miss) {
        put(&t, CN_STR("does not match; nearest is rule "));
        put_u32(&t, index);
        put(&t, CN_STR(": "));
        put_miss(&t, c, score.miss, view);
    }
}
