/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the first of hundreds of rules that matches without trying them one by
 * one.  A rule can match only what meets each of its conditions, so each rule
 * hangs at the values of one of them, its guard, in a tree of that field's
 * texts; what is looked for walks down along its own text and tries the rules
 * that hang on the way, never one behind the best found before.
 *
 * A guard is the path, or the client's identity, asked for exactly or by a
 * beginning: of all from or to blocks of a rule together, or of a `when`.  Where
 * a rule has several, the one is taken whose texts the fewest others share.
 * Rules without a guard are tried always.
 */
#include "policy/rule.h"

#include "core/ptree.h"

#define NONE UINT32_MAX
#define FEW 8 /* as fast without */

typedef struct {
    uint32_t head, tail; /* cells, or NONE */
} list_t;

/* What hangs at a text. */
typedef struct {
    uint32_t asked; /* rules that could hang here */
    list_t exact, prefix;
} place_t;

typedef enum { BY_PATH, BY_PRINCIPAL, BY_NAMESPACE, BY_ACCOUNT, FIELDS } guard_t;

typedef struct {
    uint32_t at, next; /* in order; the next cell */
} cell_t;

struct cn_rule_index {
    const cn_rules_t *rules;
    const uint32_t *ids;
    uint32_t n;
    bool linear;
    cn_ptree_t *tree[FIELDS];
    list_t loose;
    cn_vec_t cells;
};

/* ---- the texts of a guard ---- */

static cn_rule_field field_of(guard_t g)
{
    static const cn_rule_field fields[] = {[BY_PATH] = CN_RULE_PATH,
                                           [BY_PRINCIPAL] = CN_RULE_PRINCIPAL,
                                           [BY_NAMESPACE] = CN_RULE_NAMESPACE,
                                           [BY_ACCOUNT] = CN_RULE_SERVICE_ACCOUNT};

    return fields[g];
}

/* The text that everything begins with that the value matches; false: it has
 * none worth the name. */
static bool text_of(cn_pool_t *pool, const cn_rule_cond_t *cond, const cn_rule_value_t *v,
                    cn_str_t *text, bool *exact)
{
    size_t slash;

    *text = v->text;
    *exact = v->form == CN_RULE_EXACT;
    switch (v->form) {
    case CN_RULE_EXACT:
        if (cond->field != CN_RULE_SERVICE_ACCOUNT)
            return true;
        /* as it stands at the end of an identity */
        slash = cn_str_find(v->text, '/');
        *text = cn_pool_printf(pool, "%.*s/sa%.*s", (int)slash, v->text.p, (int)(v->text.n - slash),
                               v->text.p + slash);
        return true;
    case CN_RULE_PREFIX:
        return text->n > 0;
    case CN_RULE_TEMPLATE:
        text->n = cn_str_find(*text, '{');
        return text->n > 0;
    case CN_RULE_GLOB:
        text->n = cn_str_find(*text, '*');
        *exact = text->n == v->text.n;
        return text->n > 0;
    default:
        return false;
    }
}

static bool is_guard(cn_pool_t *pool, const cn_rules_t *c, const cn_rule_cond_t *cond, guard_t g)
{
    cn_str_t text;
    bool exact;

    if (cond->field != field_of(g) || cond->negate || cond->nvalues == 0)
        return false;
    for (uint32_t i = 0; i < cond->nvalues; i++)
        if (!text_of(pool, cond, cn_rule_value_at(c, cond->values + i), &text, &exact))
            return false;
    return true;
}

/* The condition of a group that can guard by that field, or NULL. */
static const cn_rule_cond_t *guard_in(cn_pool_t *pool, const cn_rules_t *c,
                                      const cn_rule_group_t *group, guard_t g)
{
    for (uint32_t i = 0; i < group->nconds; i++) {
        const cn_rule_cond_t *cond = cn_rule_cond_at(c, group->conds + i);

        if (is_guard(pool, c, cond, g))
            return cond;
    }
    return NULL;
}

/* The conditions that guard a rule by that field: one of a `when`, or one of
 * each of the blocks of a kind, any of which may be the one that is met.  Empty:
 * the rule has no such guard. */
static void guards_of(cn_pool_t *pool, const cn_rules_t *c, const cn_rule_t *r, guard_t g,
                      cn_vec_t *out)
{
    cn_rule_kind kind = g == BY_PATH ? CN_RULE_TO : CN_RULE_FROM;
    bool whole = true;

    *out = (cn_vec_t){0};
    for (uint32_t i = 0; i < r->ngroups; i++) {
        const cn_rule_group_t *group = cn_rule_group_at(c, r->groups + i);
        const cn_rule_cond_t *cond = guard_in(pool, c, group, g);

        if (cond && group->kind == CN_RULE_WHEN) {
            *out = (cn_vec_t){0};
            *(const cn_rule_cond_t **)cn_vec_push(pool, out, sizeof(cond)) = cond;
            return;
        }
        if (group->kind != kind)
            continue;
        if (cond)
            *(const cn_rule_cond_t **)cn_vec_push(pool, out, sizeof(cond)) = cond;
        whole = whole && cond;
    }
    if (!whole)
        out->n = 0;
}

/* ---- building ---- */

static place_t *place_at(cn_pool_t *pool, cn_rule_index_t *ix, guard_t g, cn_str_t text)
{
    void **at;

    if (!ix->tree[g])
        ix->tree[g] = cn_ptree_create(pool);
    at = cn_ptree_at(ix->tree[g], pool, text);
    if (!*at) {
        place_t *p = cn_pool_zalloc(pool, sizeof(*p));

        p->exact = p->prefix = (list_t){NONE, NONE};
        *at = p;
    }
    return *at;
}

static void append(cn_pool_t *pool, cn_rule_index_t *ix, list_t *list, uint32_t at)
{
    cell_t *cells = ix->cells.v;

    if (list->tail != NONE && cells[list->tail].at == at)
        return; /* a value twice */
    *(cell_t *)cn_vec_push(pool, &ix->cells, sizeof(cell_t)) = (cell_t){at, NONE};
    if (list->tail == NONE)
        list->head = ix->cells.n - 1;
    else
        ((cell_t *)ix->cells.v)[list->tail].next = ix->cells.n - 1;
    list->tail = ix->cells.n - 1;
}

typedef enum { COUNT, LOOK, HANG } visit_t;

/* Goes to each text of the guards; gives the largest number of rules that could
 * hang at one. */
static uint32_t visit(cn_pool_t *pool, cn_rule_index_t *ix, const cn_vec_t *guards, guard_t g,
                      visit_t what, uint32_t at)
{
    const cn_rule_cond_t *const *conds = guards->v;
    uint32_t most = 0;

    for (uint32_t i = 0; i < guards->n; i++) {
        for (uint32_t k = 0; k < conds[i]->nvalues; k++) {
            cn_str_t text;
            bool exact;
            place_t *p;

            (void)text_of(pool, conds[i], cn_rule_value_at(ix->rules, conds[i]->values + k), &text,
                          &exact);
            p = place_at(pool, ix, g, text);
            if (what == COUNT)
                p->asked++;
            else if (what == HANG)
                append(pool, ix, exact ? &p->exact : &p->prefix, at);
            most = p->asked > most ? p->asked : most;
        }
    }
    return most;
}

static const cn_rule_t *rule_of(const cn_rule_index_t *ix, uint32_t at)
{
    return cn_rule_at(ix->rules, ix->ids[at]);
}

static void count_texts(cn_pool_t *pool, cn_rule_index_t *ix, cn_pool_t *tmp)
{
    for (uint32_t at = 0; at < ix->n; at++)
        for (guard_t g = BY_PATH; g < FIELDS; g++) {
            cn_vec_t guards;

            guards_of(tmp, ix->rules, rule_of(ix, at), g, &guards);
            (void)visit(pool, ix, &guards, g, COUNT, at);
        }
}

static void hang(cn_pool_t *pool, cn_rule_index_t *ix, cn_pool_t *tmp, uint32_t at)
{
    guard_t best = FIELDS;
    cn_vec_t guards[FIELDS];
    uint32_t least = 0;

    for (guard_t g = BY_PATH; g < FIELDS; g++) {
        uint32_t shared;

        guards_of(tmp, ix->rules, rule_of(ix, at), g, &guards[g]);
        if (guards[g].n == 0)
            continue;
        shared = visit(pool, ix, &guards[g], g, LOOK, at);
        if (best == FIELDS || shared < least) {
            best = g;
            least = shared;
        }
    }
    if (best == FIELDS)
        append(pool, ix, &ix->loose, at);
    else
        (void)visit(pool, ix, &guards[best], best, HANG, at);
}

cn_rule_index_t *cn_rule_index_build(cn_pool_t *pool, const cn_rules_t *rules, const uint32_t *ids,
                                     uint32_t n)
{
    cn_rule_index_t *ix = cn_pool_zalloc(pool, sizeof(*ix));
    cn_pool_t *tmp;

    ix->rules = rules;
    ix->ids = ids;
    ix->n = n;
    ix->loose = (list_t){NONE, NONE};
    ix->linear = n < FEW;
    if (ix->linear)
        return ix;
    tmp = cn_pool_create(0);
    count_texts(pool, ix, tmp);
    for (uint32_t at = 0; at < n; at++)
        hang(pool, ix, tmp, at);
    cn_pool_destroy(tmp);
    return ix;
}

/* ---- finding ---- */

typedef struct {
    const cn_rule_index_t *ix;
    const cn_rule_view_t *view;
    uint32_t best; /* or n */
} search_t;

static void search_list(search_t *s, const list_t *list)
{
    const cell_t *cells = s->ix->cells.v;

    for (uint32_t i = list->head; i != NONE && cells[i].at < s->best; i = cells[i].next)
        if (cn_rule_matches(s->ix->rules, rule_of(s->ix, cells[i].at), s->view)) {
            s->best = cells[i].at;
            return;
        }
}

static cn_str_t subject(const cn_rule_view_t *v, guard_t g)
{
    switch (g) {
    case BY_PATH:
        return v->msg->path;
    case BY_PRINCIPAL:
        return v->principal;
    case BY_NAMESPACE:
        return v->ns;
    default:
        /* NS/sa/SA: the end of the identity, of which both are parts */
        return v->sa.n ? cn_str_make(v->ns.p, (size_t)(v->sa.p + v->sa.n - v->ns.p)) : CN_STR_NULL;
    }
}

static void search_tree(search_t *s, guard_t g)
{
    cn_ptree_walk_t w = cn_ptree_walk(subject(s->view, g), false);
    const place_t *p;

    if (w.rest.n == 0)
        return;
    while ((p = cn_ptree_next(s->ix->tree[g], &w)) != NULL) {
        search_list(s, &p->prefix);
        if (w.rest.n == 0)
            search_list(s, &p->exact);
    }
}

static int64_t find_linear(const cn_rule_index_t *ix, const cn_rule_view_t *view, bool drop_http)
{
    for (uint32_t at = 0; at < ix->n; at++) {
        const cn_rule_t *r = rule_of(ix, at);

        if (!(drop_http && !view->msg && r->http) && cn_rule_matches(ix->rules, r, view))
            return ix->ids[at];
    }
    return -1;
}

int64_t cn_rule_index_find(const cn_rule_index_t *ix, const cn_rule_view_t *view, bool drop_http)
{
    search_t s = {ix, view, ix->n};

    /* a connection is looked at once in its life, and without its HTTP guards */
    if (ix->linear || !view->msg)
        return find_linear(ix, view, drop_http);
    for (guard_t g = BY_PATH; g < FIELDS; g++)
        if (ix->tree[g])
            search_tree(&s, g);
    search_list(&s, &ix->loose);
    return s.best < ix->n ? (int64_t)ix->ids[s.best] : -1;
}
