/* SPDX-License-Identifier: Apache-2.0
 *
 * fault: delays and aborts on purpose (facts/semantics 3.9, verified 1.3).
 * After authz and rate limits, before everything that a route does, as in
 * Istio's chain.
 */
#include "fault_int.h"

static bool holds(const cn_fault_rule_t *r, const cn_msg_t *msg)
{
    const cn_fault_header_t *h = r->headers.v;

    for (uint32_t i = 0; i < r->headers.n; i++) {
        cn_str_t line;
        uint32_t iter = 0;
        bool found = false;

        while (!found && cn_field_next(msg, h[i].name, &iter, &line))
            found = cn_str_eq(line, h[i].value);
        if (!found)
            return false;
    }
    return true;
}

/* The rule that strikes this request, or NULL. */
static const cn_fault_rule_t *draw(cn_req_t *req, const cn_vec_t *rules)
{
    const cn_fault_rule_t *v = rules->v;

    for (uint32_t i = 0; i < rules->n; i++)
        if (holds(&v[i], cn_req_facts(req)->req))
            return cn_rand_below(cn_worker_rand(cn_req_worker(req)), CN_PARTS) < v[i].parts ? &v[i]
                                                                                            : NULL;
    return NULL;
}

static cn_rc on_fault(cn_req_t *req, const void *conf, void *ctx CN_UNUSED)
{
    const cn_fault_conf_t *c = conf;
    const cn_fault_rule_t *r = draw(req, &c->aborts);

    if (!r)
        return CN_OK;
    cn_req_reply(req, r->status ? r->status : 200, CN_STR("fault filter abort"),
                 CN_STR("fault_filter_abort"), CN_FLAG_FI);
    return CN_DONE;
}

static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    const cn_fault_conf_t *c = conf;

    return c && (c->delays.n || c->aborts.n);
}

const cn_module_t cn_module_fault = {
    .abi = CN_MODULE_ABI,
    .name = "fault",
    .after = "http_route",
    .directives = cn_fault_directives,
    .conf[CN_LV_SERVICE] = {.size = sizeof(cn_fault_conf_t)},
    .conf[CN_LV_ROUTE] = {.size = sizeof(cn_fault_conf_t)},
    .phase[CN_PH_FAULT] = on_fault,
    .active = active,
};
