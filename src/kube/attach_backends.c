/* SPDX-License-Identifier: Apache-2.0
 *
 * DestinationRules, BackendTLSPolicies and XBackendTrafficPolicies: the services
 * that they act on.
 */
#include "kube/attach_int.h"

#include <stdlib.h>

#include "kube/traffic.h"

#define IGNORE "istio.io/ignore-policy-attachment"

#define text(...) cn_attach_text(__VA_ARGS__)

/* ---- DestinationRule ---- */

static bool has_subset_of(const cn_traffic_choice_t *c, const cn_destination_t *d)
{
    const cn_subset_t *const *v = c->subsets.v;

    for (uint32_t i = 0; i < c->subsets.n; i++)
        if (v[i]->obj == d->obj)
            return true;
    return false;
}

static void explain(cn_world_t *w, const cn_destination_t *d, const cn_service_t *s,
                    cn_audit_row_t *row)
{
    cn_traffic_choice_t c;

    if (s->binding.state != CN_BIND_OK) {
        row->effect = true;
        row->text = CN_STR("it uses no waypoint itself: where a route sends to it");
        return;
    }
    row->waypoint = s->binding.gateway->obj->id;
    cn_traffic_choose(w, s->binding.gateway, s, &c);
    row->effect = c.rule == d || has_subset_of(&c, d);
    if (c.rule == d)
        row->text = text(w, "%u subset%s", d->subsets.n, d->subsets.n == 1 ? "" : "s");
    else if (row->effect)
        row->text =
            text(w, "its subsets only: %.*s goes before it", CN_STR_ARG(c.rule->obj->label));
    else if (c.rule)
        row->text = text(w, "%.*s goes before it", CN_STR_ARG(c.rule->obj->label));
    else
        row->text = text(w,
                         "a waypoint takes DestinationRules from its own namespace (%.*s), the "
                         "Service's and the root namespace, as far as they are exported to it and "
                         "select it",
                         CN_STR_ARG(s->binding.gateway->obj->ns));
    row->expected = !row->effect && c.rule && d->host.p[0] == '*';
}

static bool host_matches(cn_str_t pattern, cn_str_t host)
{
    return pattern.p[0] == '*' ? cn_str_ends(host, cn_str_make(pattern.p + 1, pattern.n - 1))
                               : cn_str_eq(pattern, host);
}

static void attach_destination(cn_world_t *w, const cn_destination_t *d)
{
    const cn_vec_t *from = d->host.p[0] == '*' ? &w->services : cn_map_get(&w->hosts, d->host);
    cn_service_t *const *v = from ? from->v : NULL;
    uint32_t before = w->audit.n;

    for (uint32_t i = 0; from && i < from->n; i++) {
        cn_audit_row_t row = {.obj = d->obj,
                              .target = text(w, "host %.*s", CN_STR_ARG(v[i]->host))};

        if (!host_matches(d->host, v[i]->host))
            continue;
        explain(w, d, v[i], &row);
        cn_attach_row(w, row);
    }
    if (w->audit.n == before)
        cn_attach_row(w, (cn_audit_row_t){.obj = d->obj,
                                          .target = text(w, "host %.*s", CN_STR_ARG(d->host)),
                                          .text = CN_STR("no service has this host")});
}

/* ---- policies ---- */

/* The service of a target; a ServiceEntry is meant with its first host. */
static cn_service_t *find_target(const cn_world_t *w, const cn_object_t *o,
                                 const cn_target_ref_t *t)
{
    cn_service_t *const *v = w->services.v;
    bool entry = cn_str_eq(t->kind, CN_STR("ServiceEntry"));

    if (!entry && cn_str_eq(t->kind, CN_STR("Service")) && cn_attach_is_core(t->group))
        return cn_map_get(&w->service_map, cn_model_key(w, o->ns, t->name));
    for (uint32_t i = 0; entry && i < w->services.n; i++)
        if (v[i]->is_entry && cn_str_eq(v[i]->obj->ns, o->ns) &&
            cn_str_eq(v[i]->obj->name, t->name))
            return v[i];
    return NULL;
}

static bool has_port_name(const cn_service_t *s, cn_str_t name)
{
    const cn_service_port_t *p = s->ports.v;

    for (uint32_t i = 0; i < s->ports.n; i++)
        if (cn_str_eq(p[i].name, name))
            return true;
    return name.n == 0;
}

static bool is_ignored(const cn_object_t *o)
{
    return cn_str_eq(cn_store_annotation(o, IGNORE), CN_STR("true"));
}

/* The policy that acts on the same port, if it goes before p. */
static const cn_tls_policy_t *conflict(const cn_service_t *s, cn_str_t section)
{
    const cn_tls_policy_t *const *v = s->tls.v;

    for (uint32_t i = 0; i < s->tls.n; i++)
        if (cn_str_eq(v[i]->section, section))
            return v[i];
    return NULL;
}

static void attach_tls(cn_world_t *w, const cn_tls_policy_t *p, const cn_target_ref_t *t)
{
    cn_service_t *s = find_target(w, p->obj, t);
    cn_audit_row_t row = {.obj = p->obj,
                          .at = t->node,
                          .target = text(w, "%.*s %.*s/%.*s%s%.*s", CN_STR_ARG(t->kind),
                                         CN_STR_ARG(p->obj->ns), CN_STR_ARG(t->name),
                                         t->section.n ? ":" : "", CN_STR_ARG(t->section))};
    const cn_tls_policy_t *before = s ? conflict(s, t->section) : NULL;

    if (is_ignored(p->obj)) {
        row.text = CN_STR("annotation " IGNORE ": true");
        row.expected = true;
    } else if (!s) {
        row.text = CN_STR("no such Service or ServiceEntry in the input (TargetNotFound)");
    } else if (!has_port_name(s, t->section)) {
        row.text = CN_STR("it has no port of this name (TargetNotFound)");
    } else if (before) {
        row.text = text(w, "%.*s is older (Conflicted)", CN_STR_ARG(before->obj->label));
    } else {
        cn_tls_policy_t *own = cn_pool_alloc(w->pool, sizeof(*own));

        *own = *p;
        own->section = t->section;
        *(const cn_tls_policy_t **)cn_vec_push(w->pool, &s->tls, sizeof(own)) = own;
        row.effect = true;
        row.text = p->invalid.n ? text(w, "nothing can be sent: %.*s", CN_STR_ARG(p->invalid))
                                : CN_STR_NULL;
    }
    cn_attach_row(w, row);
    if (row.effect && p->invalid.n)
        cn_store_error(w->diag, p->obj, p->at, "%.*s, so nothing is sent to %.*s",
                       CN_STR_ARG(p->invalid), CN_STR_ARG(row.target));
}

static void attach_backend(cn_world_t *w, const cn_backend_policy_t *p, const cn_target_ref_t *t)
{
    cn_service_t *s = find_target(w, p->obj, t);
    cn_audit_row_t row = {.obj = p->obj,
                          .at = t->node,
                          .target = text(w, "%.*s %.*s/%.*s", CN_STR_ARG(t->kind),
                                         CN_STR_ARG(p->obj->ns), CN_STR_ARG(t->name))};

    if (!s || s->is_entry) {
        row.text = CN_STR("no such Service in the input (TargetNotFound)");
    } else if (s->backend && s->backend != p) {
        row.text = text(w, "%.*s is older (Conflicted)", CN_STR_ARG(s->backend->obj->label));
    } else {
        s->backend = p;
        row.effect = true;
    }
    cn_attach_row(w, row);
}

static int tls_by_age(const void *a, const void *b)
{
    return cn_model_older((*(cn_tls_policy_t *const *)a)->obj, (*(cn_tls_policy_t *const *)b)->obj);
}

static int backend_by_age(const void *a, const void *b)
{
    return cn_model_older((*(cn_backend_policy_t *const *)a)->obj,
                          (*(cn_backend_policy_t *const *)b)->obj);
}

static void sort(cn_vec_t *list, int (*order)(const void *, const void *))
{
    if (list->n)
        qsort(list->v, list->n, sizeof(void *), order);
}

void cn_attach_backends(cn_world_t *w)
{
    cn_destination_t *const *d = w->destinations.v;
    cn_tls_policy_t **tls = w->tls_policies.v;
    cn_backend_policy_t **b = w->backend_policies.v;

    for (uint32_t i = 0; i < w->destinations.n; i++)
        attach_destination(w, d[i]);
    sort(&w->tls_policies, tls_by_age);
    sort(&w->backend_policies, backend_by_age);
    for (uint32_t i = 0; i < w->tls_policies.n; i++)
        for (uint32_t k = 0; k < tls[i]->targets.n; k++)
            attach_tls(w, tls[i], &((const cn_target_ref_t *)tls[i]->targets.v)[k]);
    for (uint32_t i = 0; i < w->backend_policies.n; i++)
        for (uint32_t k = 0; k < b[i]->targets.n; k++)
            attach_backend(w, b[i], &((const cn_target_ref_t *)b[i]->targets.v)[k]);
}
