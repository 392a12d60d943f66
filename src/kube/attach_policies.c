/* SPDX-License-Identifier: Apache-2.0
 *
 * AuthorizationPolicies: the services and waypoints that they name.
 */
#include "kube/attach_int.h"

#define GATEWAY_NAME "gateway.networking.k8s.io/gateway-name"
#define GATEWAY_GROUP "gateway.networking.k8s.io"

#define text(...) cn_attach_text(__VA_ARGS__)

static void push_policy(cn_world_t *w, cn_vec_t *list, const cn_policy_t *p)
{
    const cn_policy_t **v = list->v;

    if (list->n && v[list->n - 1] == p) /* two references to the same target */
        return;
    *(const cn_policy_t **)cn_vec_push(w->pool, list, sizeof(p)) = p;
}

static void attach_to_service(cn_world_t *w, const cn_policy_t *p, const cn_target_ref_t *t,
                              cn_audit_row_t *row)
{
    cn_service_t *s = cn_map_get(&w->service_map, cn_model_key(w, p->obj->ns, t->name));

    if (!s) {
        row->text = CN_STR("no such Service in the input");
    } else if (s->binding.state != CN_BIND_OK) {
        row->text = text(w, "the Service uses no waypoint: %.*s", CN_STR_ARG(s->binding.why));
    } else {
        row->effect = true;
        row->waypoint = s->binding.gateway->obj->id;
        push_policy(w, &s->policies, p);
    }
}

/* All hosts of the ServiceEntry. */
static void attach_to_entry(cn_world_t *w, const cn_policy_t *p, const cn_target_ref_t *t,
                            cn_audit_row_t *row)
{
    cn_service_t *const *v = w->services.v;

    row->text = CN_STR("no such ServiceEntry in the input");
    for (uint32_t i = 0; i < w->services.n; i++) {
        if (!v[i]->is_entry || !cn_str_eq(v[i]->obj->ns, p->obj->ns) ||
            !cn_str_eq(v[i]->obj->name, t->name))
            continue;
        if (v[i]->binding.state != CN_BIND_OK) {
            if (!row->effect)
                row->text = text(w, "the ServiceEntry uses no waypoint: %.*s",
                                 CN_STR_ARG(v[i]->binding.why));
            continue;
        }
        row->effect = true;
        row->waypoint = v[i]->binding.gateway->obj->id;
        push_policy(w, &v[i]->policies, p);
    }
}

static void attach_to_gateway(cn_world_t *w, const cn_policy_t *p, const cn_target_ref_t *t,
                              cn_audit_row_t *row)
{
    cn_gateway_t *g = cn_map_get(&w->gateway_map, cn_model_key(w, p->obj->ns, t->name));

    if (!g) {
        row->text = CN_STR("no such Gateway in the input");
    } else if (!g->is_waypoint) {
        row->text = CN_STR("the Gateway is not a waypoint");
        row->expected = true;
    } else {
        row->effect = true;
        row->waypoint = g->obj->id;
        push_policy(w, &g->policies, p);
    }
}

static void attach_to_class(cn_world_t *w, const cn_policy_t *p, const cn_target_ref_t *t,
                            cn_audit_row_t *row)
{
    row->target = text(w, "GatewayClass %.*s", CN_STR_ARG(t->name));
    if (!cn_str_eq(t->name, CN_STR("istio-waypoint"))) {
        row->text = CN_STR("only the GatewayClass istio-waypoint can be a target");
    } else if (!cn_str_eq(p->obj->ns, w->mesh.root_namespace)) {
        row->text = text(w, "a GatewayClass can be a target only in the root namespace, %.*s",
                         CN_STR_ARG(w->mesh.root_namespace));
    } else {
        row->effect = true;
        row->waypoint = CN_STR("(all)");
        push_policy(w, &w->class_policies, p);
    }
}

static void attach_target(cn_world_t *w, const cn_policy_t *p, const cn_target_ref_t *t)
{
    bool gateway_group = cn_str_eq(t->group, CN_STR(GATEWAY_GROUP));
    cn_str_t ns = t->ns.n ? t->ns : p->obj->ns;
    cn_audit_row_t row = {.obj = p->obj, .at = t->node};

    row.target =
        text(w, "%.*s %.*s/%.*s", CN_STR_ARG(t->kind), CN_STR_ARG(ns), CN_STR_ARG(t->name));
    if (!cn_str_eq(ns, p->obj->ns))
        row.text = CN_STR("a target must be in the policy's namespace");
    else if (cn_str_eq(t->kind, CN_STR("Service")) && cn_attach_is_core(t->group))
        attach_to_service(w, p, t, &row);
    else if (cn_str_eq(t->kind, CN_STR("ServiceEntry")) &&
             cn_str_eq(t->group, CN_STR("networking.istio.io")))
        attach_to_entry(w, p, t, &row);
    else if (cn_str_eq(t->kind, CN_STR("Gateway")) && gateway_group)
        attach_to_gateway(w, p, t, &row);
    else if (cn_str_eq(t->kind, CN_STR("GatewayClass")) && gateway_group)
        attach_to_class(w, p, t, &row);
    else
        row.text = text(w, "kind \"%.*s\" of group \"%.*s\" is not supported as a target",
                        CN_STR_ARG(t->kind), CN_STR_ARG(t->group));
    if (row.effect)
        row.text = p->custom    ? CN_STR("CUSTOM, not supported: what matches is denied")
                   : p->dry_run ? CN_STR("dry run: decides nothing, is only recorded")
                                : CN_STR("");
    cn_attach_row(w, row);
}

/* Whether a selector picks pods of a waypoint, which somebody will have meant. */
static bool selects_waypoint_pods(const cn_world_t *w, const cn_policy_t *p)
{
    const cn_sel_term_t *t = p->selector.terms.v;
    cn_pod_t *const *pods = w->pods.v;

    for (uint32_t i = 0; i < p->selector.terms.n; i++)
        if (cn_str_eq(t[i].key, CN_STR(GATEWAY_NAME)) &&
            cn_attach_is_gateways_own(w, p->obj->ns, ((const cn_str_t *)t[i].values.v)[0]))
            return true;
    for (uint32_t i = 0; p->has_selector && i < w->pods.n; i++)
        if (cn_str_eq(pods[i]->obj->ns, p->obj->ns) &&
            cn_read_selects(&p->selector, pods[i]->obj->meta, NULL, CN_STR_NULL) &&
            cn_attach_is_gateways_own(w, p->obj->ns, cn_store_label(pods[i]->obj, GATEWAY_NAME)))
            return true;
    return false;
}

void cn_attach_policies(cn_world_t *w)
{
    const cn_policy_t **v = w->policies.v;

    for (uint32_t i = 0; i < w->policies.n; i++) {
        const cn_target_ref_t *t = v[i]->targets.v;

        for (uint32_t k = 0; k < v[i]->targets.n; k++)
            attach_target(w, v[i], &t[k]);
        if (v[i]->targets.n)
            continue;
        cn_attach_row(
            w, (cn_audit_row_t){
                   .obj = v[i]->obj,
                   .expected = !selects_waypoint_pods(w, v[i]),
                   .text = CN_STR("without targetRefs it is for ztunnel; a waypoint does not "
                                  "enforce it")});
    }
}
