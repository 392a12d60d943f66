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
    fprintf(f, "\n%u in effect, %u without effect\n", w->audit.n - without, without);
}
