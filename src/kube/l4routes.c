/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections of one service port that carry no HTTP (semantics 3.7): rules for
 * TLS by server name, and the first rule that takes any connection.  The Gateway
 * API's routes go before VirtualServices, older ones before newer ones.
 */
#include <stdlib.h>

#include "kube/translate.h"

typedef struct {
    const cn_http_route_t *route;
    const cn_l4_rule_t *rule;
} entry_t;

static int by_age(const void *va, const void *vb)
{
    const entry_t *a = va, *b = vb;
    int c = (int)a->route->is_virtual - (int)b->route->is_virtual;

    if (c == 0)
        c = cn_model_older(a->route->obj, b->route->obj);
    if (c == 0)
        c = (int)a->rule->obj->kind - (int)b->rule->obj->kind;
    return c ? c : (a->rule > b->rule) - (a->rule < b->rule); /* of one vec, in its order */
}

static void collect(const cn_routes_t *x, cn_vec_t *entries)
{
    const cn_bound_route_t *bound = x->svc->routes.v;

    for (uint32_t i = 0; i < x->svc->routes.n; i++) {
        const cn_l4_rule_t *rules = bound[i].route->l4_rules.v;

        if (bound[i].port && bound[i].port != x->port->port)
            continue;
        for (uint32_t k = 0; k < bound[i].route->l4_rules.n; k++)
            if (rules[k].port == 0 || rules[k].port == x->port->port)
                *(entry_t *)cn_vec_push(x->w->pool, entries, sizeof(entry_t)) =
                    (entry_t){bound[i].route, &rules[k]};
    }
    if (entries->n)
        qsort(entries->v, entries->n, sizeof(entry_t), by_age);
}

static void put_backends(const cn_routes_t *x, const cn_l4_rule_t *rule, cn_vec_t *out)
{
    const cn_backend_t *b = rule->backends.v;

    *rule->used = true;
    for (uint32_t i = 0; i < rule->backends.n; i++)
        *(cn_out_backend_t *)cn_vec_push(x->w->pool, out, sizeof(cn_out_backend_t)) =
            cn_routes_backend(x, rule->obj, &b[i], CN_ROUTES_MISSING_CLOSE);
    if (rule->backends.n)
        return;
    cn_store_warn(x->w->diag, rule->obj, rule->node,
                  "rule %u has no backend with a weight, so its connections are closed",
                  rule->index);
    *(cn_out_backend_t *)cn_vec_push(x->w->pool, out, sizeof(cn_out_backend_t)) =
        (cn_out_backend_t){.weight = 1, .comment = CN_STR("no backend has a weight")};
}

static cn_str_t comment_of(const cn_routes_t *x, const cn_l4_rule_t *rule)
{
    return cn_pool_printf(x->w->pool, "%.*s rule %u", CN_STR_ARG(rule->obj->label), rule->index);
}

static void put_tls(const cn_routes_t *x, const cn_l4_rule_t *rule, cn_out_service_t *out)
{
    cn_out_tls_route_t *r = cn_vec_push(x->w->pool, &out->tls_routes, sizeof(*r));

    r->name = cn_pool_printf(x->w->pool, "%.*s.%.*s.%u", CN_STR_ARG(rule->obj->ns),
                             (int)(rule->obj->name.n < 150 ? rule->obj->name.n : 150),
                             rule->obj->name.p, out->tls_routes.n);
    r->comment = comment_of(x, rule);
    r->snis = rule->snis;
    put_backends(x, rule, &r->backends);
}

/* The first takes everything: say so of routes that come too late. */
static void put_tcp(const cn_routes_t *x, const entry_t *e, const cn_object_t **taken,
                    cn_out_service_t *out)
{
    if (*taken) {
        if (*taken != e->rule->obj)
            cn_store_warn(x->w->diag, e->rule->obj, e->rule->node,
                          "has no effect on port %u of %.*s: %.*s takes every connection",
                          x->port->port, CN_STR_ARG(x->svc->obj->label),
                          CN_STR_ARG((*taken)->label));
        return;
    }
    *taken = e->rule->obj;
    out->tcp_comment = comment_of(x, e->rule);
    put_backends(x, e->rule, &out->tcp_backends);
}

void cn_l4routes_build(const cn_routes_t *x, cn_out_service_t *out)
{
    cn_vec_t entries = {0};
    const cn_object_t *taken = NULL;
    const entry_t *e;

    collect(x, &entries);
    e = entries.v;
    for (uint32_t i = 0; i < entries.n; i++)
        if (e[i].rule->tls)
            put_tls(x, e[i].rule, out);
        else
            put_tcp(x, &e[i], &taken, out);
    if (out->tls_routes.n && out->protocol == CN_PROTOCOL_TCP)
        out->protocol = CN_PROTOCOL_TLS;
}
