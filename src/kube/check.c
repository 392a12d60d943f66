/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints the audit rows of the world as tables, in the order of kind,
 * namespace and name.
 */
#include "kube/check.h"

#include <stdlib.h>

#define COLUMNS 4

typedef struct {
    const cn_str_t *cells; /* COLUMNS of them a row */
    uint32_t n;            /* rows */
} table_t;

static void print_table(const table_t *t, FILE *f)
{
    size_t width[COLUMNS] = {0};

    for (uint32_t i = 0; i < t->n; i++)
        for (int c = 0; c < COLUMNS; c++)
            if (t->cells[i * COLUMNS + c].n > width[c])
                width[c] = t->cells[i * COLUMNS + c].n;
    for (uint32_t i = 0; i < t->n; i++) {
        const cn_str_t *row = &t->cells[i * COLUMNS];

        for (int c = 0; c < COLUMNS - 1; c++)
            fprintf(f, "%.*s%*s  ", CN_STR_ARG(row[c]), (int)(width[c] - row[c].n), "");
        fprintf(f, "%.*s\n", CN_STR_ARG(row[COLUMNS - 1]));
    }
}

static void add_row(const cn_world_t *w, cn_vec_t *cells, cn_str_t a, cn_str_t b, cn_str_t c,
                    cn_str_t d)
{
    const cn_str_t row[COLUMNS] = {a, b, c, d};

    for (int i = 0; i < COLUMNS; i++)
        *(cn_str_t *)cn_vec_push(w->pool, cells, sizeof(cn_str_t)) =
            row[i].n ? row[i] : CN_STR("-");
}

static unsigned count_services(const cn_world_t *w, const cn_gateway_t *g)
{
    cn_service_t *const *v = w->services.v;
    unsigned n = 0;

    for (uint32_t i = 0; i < w->services.n; i++)
        n += cn_attach_bound(&v[i]->binding, g);
    return n;
}

static unsigned count_pods(const cn_world_t *w, const cn_gateway_t *g)
{
    cn_pod_t *const *v = w->pods.v;
    unsigned n = 0;

    for (uint32_t i = 0; i < w->pods.n; i++)
        n += cn_attach_bound(&v[i]->binding, g);
    return n;
}

static void print_waypoints(const cn_world_t *w, FILE *f)
{
    cn_gateway_t *const *v = w->gateways.v;
    cn_vec_t cells = {0};

    add_row(w, &cells, CN_STR("WAYPOINT"), CN_STR("FOR"), CN_STR("SERVICES"), CN_STR("PODS"));
    for (uint32_t i = 0; i < w->gateways.n; i++)
        if (v[i]->is_waypoint)
            add_row(w, &cells, v[i]->obj->id, v[i]->waypoint_for,
                    cn_pool_printf(w->pool, "%u", count_services(w, v[i])),
                    cn_pool_printf(w->pool, "%u", count_pods(w, v[i])));
    print_table(&(table_t){cells.v, cells.n / COLUMNS}, f);
}

static int by_object(const void *va, const void *vb)
{
    const cn_audit_row_t *a = *(const cn_audit_row_t *const *)va,
                         *b = *(const cn_audit_row_t *const *)vb;
    int c = (int)a->obj->kind - (int)b->obj->kind;

    if (c == 0)
        c = cn_str_cmp(a->obj->ns, b->obj->ns);
    if (c == 0)
        c = cn_str_cmp(a->obj->name, b->obj->name);
    return c ? c : (a > b) - (a < b); /* as they were added */
}

/* ---- rules ---- */

static cn_str_t match_text(const cn_world_t *w, const cn_http_rule_t *r)
{
    static const char *const kinds[] = {[CN_MATCH_EXACT] = "exact",
                                        [CN_MATCH_PREFIX] = "prefix",
                                        [CN_MATCH_TEXT_PREFIX] = "text prefix",
                                        [CN_MATCH_REGEX] = "regex",
                                        [CN_MATCH_PRESENT] = "any"};
    const cn_http_match_t *m = r->matches.v;
    cn_str_t s, more = CN_STR_NULL;
    uint32_t fields;

    if (r->matches.n == 0)
        return CN_STR_NULL;
    fields = m->headers.n + m->not_headers.n + m->query.n + m->claims.n + (m->method.value.n > 0) +
             (m->authority.value.n > 0) + (m->scheme.value.n > 0);
    s = cn_pool_printf(w->pool, "%s %.*s", kinds[m->path.kind], CN_STR_ARG(m->path.value));
    if (fields)
        more = cn_pool_printf(w->pool, " and %u more", fields);
    return r->matches.n > 1 ? cn_pool_printf(w->pool, "%.*s%.*s, or %u others", CN_STR_ARG(s),
                                             CN_STR_ARG(more), r->matches.n - 1)
                            : cn_pool_printf(w->pool, "%.*s%.*s", CN_STR_ARG(s), CN_STR_ARG(more));
}

static cn_str_t backends_text(const cn_world_t *w, const cn_vec_t *list)
{
    const cn_backend_t *b = list->v;
    cn_str_t out = CN_STR_NULL;

    for (uint32_t i = 0; i < list->n; i++) {
        cn_str_t name = b[i].host.n ? b[i].host
                                    : cn_pool_printf(w->pool, "%.*s/%.*s", CN_STR_ARG(b[i].ns),
                                                     CN_STR_ARG(b[i].name)),
                 port = b[i].port ? cn_pool_printf(w->pool, ":%u", b[i].port) : CN_STR_NULL;

        if (b[i].invalid.n)
            name = CN_STR("(500)");
        out = cn_pool_printf(w->pool, "%.*s%s%.*s%.*s%s%.*s %u", CN_STR_ARG(out), i ? ", " : "",
                             CN_STR_ARG(name), CN_STR_ARG(port), b[i].subset.n ? "/" : "",
                             CN_STR_ARG(b[i].subset), b[i].weight);
    }
    return out;
}

static cn_str_t rule_effect(const cn_world_t *w, const cn_http_rule_t *r)
{
    if (r->matches.n == 0)
        return CN_STR("NONE: no match of it can hold");
    if (r->broken.n)
        return cn_pool_printf(w->pool, "answers 500: %.*s", CN_STR_ARG(r->broken));
    if (r->backends.n == 0 && !r->answers)
        return CN_STR("answers 500: no backend has a weight");
    if (r->dropped)
        return cn_pool_printf(w->pool, "in effect, without %u match%s that cannot hold", r->dropped,
                              r->dropped == 1 ? "" : "es");
    return r->answers ? CN_STR("in effect: answers itself") : CN_STR("in effect");
}

static void add_http_rules(const cn_world_t *w, const cn_vec_t *rules, cn_vec_t *cells)
{
    const cn_http_rule_t *r = rules->v;

    for (uint32_t i = 0; i < rules->n; i++)
        add_row(w, cells,
                cn_pool_printf(w->pool, "%.*s rule %u", CN_STR_ARG(r[i].obj->label), r[i].index),
                match_text(w, &r[i]), backends_text(w, &r[i].backends), rule_effect(w, &r[i]));
}

static void add_l4_rules(const cn_world_t *w, const cn_vec_t *rules, cn_vec_t *cells)
{
    const cn_l4_rule_t *r = rules->v;

    for (uint32_t i = 0; i < rules->n; i++)
        add_row(w, cells,
                cn_pool_printf(w->pool, "%.*s %s rule %u", CN_STR_ARG(r[i].obj->label),
                               r[i].tls ? "tls" : "tcp", r[i].index),
                r[i].snis.n ? cn_pool_printf(w->pool, "%u server names", r[i].snis.n)
                            : CN_STR("any connection"),
                backends_text(w, &r[i].backends),
                !*r[i].used       ? CN_STR("NONE: another rule takes every connection before it")
                : r[i].backends.n ? CN_STR("in effect")
                                  : CN_STR("closes connections"));
}

static bool is_in_effect(const cn_world_t *w, const cn_http_route_t *route)
{
    const cn_audit_row_t *row = w->audit.v;

    for (uint32_t i = 0; i < w->audit.n; i++)
        if (row[i].effect && row[i].obj == route->obj)
            return true;
    return false;
}

/* The rules of routes that act on something. */
static void print_rules(const cn_world_t *w, FILE *f)
{
    cn_http_route_t *const *v = w->routes.v;
    cn_vec_t cells = {0};

    add_row(w, &cells, CN_STR("RULE"), CN_STR("MATCHES"), CN_STR("SENDS TO"), CN_STR("EFFECT"));
    for (uint32_t i = 0; i < w->routes.n; i++) {
        if (v[i]->rules.n + v[i]->dead.n + v[i]->l4_rules.n == 0 || !is_in_effect(w, v[i]))
            continue;
        add_http_rules(w, &v[i]->rules, &cells);
        add_http_rules(w, &v[i]->dead, &cells);
        add_l4_rules(w, &v[i]->l4_rules, &cells);
    }
    if (cells.n == COLUMNS)
        return;
    print_table(&(table_t){cells.v, cells.n / COLUMNS}, f);
    fprintf(f, "\n");
}

void cn_check_print(const cn_world_t *w, FILE *f)
{
    const cn_audit_row_t *audit = w->audit.v, **rows;
    cn_vec_t cells = {0};
    uint32_t without = 0;

    print_waypoints(w, f);
    rows = cn_pool_alloc(w->pool, (w->audit.n + 1) * sizeof(*rows));
    for (uint32_t i = 0; i < w->audit.n; i++) {
        rows[i] = &audit[i];
        without += !audit[i].effect;
    }
    qsort(rows, w->audit.n, sizeof(*rows), by_object);
    add_row(w, &cells, CN_STR("OBJECT"), CN_STR("ATTACHED TO"), CN_STR("WAYPOINT"),
            CN_STR("EFFECT"));
    for (uint32_t i = 0; i < w->audit.n; i++) {
        const cn_audit_row_t *r = rows[i];
        cn_str_t effect = cn_pool_printf(w->pool, "%s%s%.*s", r->effect ? "in effect" : "NONE",
                                         r->text.n ? ": " : "", CN_STR_ARG(r->text));

        add_row(w, &cells, r->obj->label, r->target, r->waypoint, effect);
    }
    fprintf(f, "\n");
    print_table(&(table_t){cells.v, cells.n / COLUMNS}, f);
    fprintf(f, "\n");
    print_rules(w, f);
    fprintf(f, "%u in effect, %u without effect\n", w->audit.n - without, without);
}
