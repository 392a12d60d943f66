/* SPDX-License-Identifier: Apache-2.0
 *
 * route_actions: what a route does beside choosing a backend (facts/semantics
 * 3.4, 3.9).  In this order: cross-origin rules, redirect or direct response,
 * mirrors, rewrites, header edits; on the way back the response's header.
 *
 * After authz, limits and faults, so that what those refuse is neither marked
 * nor redirected nor copied.
 */
#include "actions_int.h"

static cn_rc redirect(cn_req_t *req, const cn_route_actions_redirect_t *r)
{
    cn_str_t location = cn_route_actions_location(cn_req_pool(req), r, cn_req_facts(req));

    cn_req_explain(req, "redirect: %u to %.*s", r->status, CN_STR_ARG(location));
    cn_req_reply(req, r->status, CN_STR_NULL, CN_STR("direct_response"), 0);
    cn_req_reply_header(req, CN_STR("location"), location);
    return CN_DONE;
}

static cn_rc respond(cn_req_t *req, const cn_route_actions_conf_t *c)
{
    cn_req_explain(req, "direct_response: %u", c->direct_status);
    cn_req_reply(req, c->direct_status, c->direct_body, CN_STR("direct_response"), 0);
    return CN_DONE;
}

/* Sending it on half changed could pass a rule of the host by. */
static cn_rc undecided(cn_req_t *req, const char *what)
{
    cn_log(CN_LOG_INFO, "route", "%s: a regular expression reached its limits", what);
    cn_req_reply(req, 500, CN_STR_NULL, CN_STR("route_regex_limit"), 0);
    return CN_DONE;
}

static void explain_edits(cn_req_t *req, const char *what, const cn_edits_t *e)
{
    const cn_edit_put_t *put = e->puts.v;
    const cn_str_t *gone = e->removes.v;
    cn_str_t s = CN_STR_NULL;

    for (uint32_t i = 0; i < e->removes.n; i++)
        s = cn_pool_printf(cn_req_pool(req), "%.*s remove %.*s", CN_STR_ARG(s),
                           CN_STR_ARG(gone[i]));
    for (uint32_t i = 0; i < e->puts.n; i++)
        s = cn_pool_printf(cn_req_pool(req), "%.*s %s %.*s", CN_STR_ARG(s),
                           put[i].add ? "add" : "set", CN_STR_ARG(put[i].name));
    if (s.n)
        cn_req_explain(req, "%s:%.*s", what, CN_STR_ARG(s));
}

/* Edits see the client's path and host; rewrites come after them. */
static cn_rc edit(cn_req_t *req, const cn_route_actions_conf_t *c)
{
    const cn_facts_t *facts = cn_req_facts(req);
    cn_str_t host = c->rewrite.host.n ? c->rewrite.host : c->request.host;
    cn_str_t target;

    if (cn_route_actions_target(cn_req_pool(req), &c->rewrite, facts, &target) != CN_OK)
        return undecided(req, "rewrite_regex");
    cn_edits_apply(&c->request, cn_req_edit(req), &cn_req_edit(req)->headers);
    if (host.n) {
        cn_req_explain(req, "rewrite: host %.*s", CN_STR_ARG(host));
        cn_req_set_authority(req, host);
    }
    if (!cn_str_eq(target, facts->req->target)) {
        cn_req_explain(req, "rewrite: path %.*s", CN_STR_ARG(target));
        cn_req_set_target(req, target);
    }
    return CN_OK;
}

/* Each mirror draws for itself.  What is copied is what the backend gets. */
static void mirror(cn_req_t *req, const cn_vec_t *mirrors)
{
    const cn_route_actions_mirror_t *m = mirrors->v;
    cn_rand_t *rand = cn_worker_rand(cn_req_worker(req));

    for (uint32_t i = 0; i < mirrors->n; i++) {
        cn_req_explain(req, "mirror: to %.*s for %u of %u requests", CN_STR_ARG(m[i].cluster),
                       m[i].parts, m[i].of);
        if (!cn_req_dry(req) && cn_rand_below(rand, m[i].of) < m[i].parts)
            cn_req_mirror(req, m[i].cluster);
    }
}

static cn_rc on_policy(cn_req_t *req, const void *conf, void *p)
{
    const cn_route_actions_conf_t *c = conf;
    cn_route_actions_ctx_t *ctx = p;
    cn_rc rc = c->cors ? cn_route_actions_cors(req, c->cors, ctx) : CN_OK;

    if (rc == CN_ERR)
        return undecided(req, "cors");
    if (rc == CN_DONE)
        return rc;
    if (cn_req_explaining(req)) {
        explain_edits(req, "request_header", &c->request);
        explain_edits(req, "response_header", &c->response);
    }
    if (c->redirect)
        return redirect(req, c->redirect);
    if (c->direct_status)
        return respond(req, c);
    rc = edit(req, c);
    if (rc == CN_OK)
        mirror(req, &c->mirrors);
    return rc;
}

/* Also of replies that others gave, denials and faults too: Envoy edits all
 * that belong to a route, but not answers to preflights. */
static cn_rc on_response(cn_req_t *req, const void *conf, void *p)
{
    const cn_route_actions_conf_t *c = conf;
    const cn_route_actions_ctx_t *ctx = p;
    cn_msg_t *resp = cn_req_edit(req);

    if (!ctx->preflight)
        cn_edits_apply(&c->response, resp, &resp->headers);
    if (ctx->origin.n)
        cn_route_actions_cors_mark(c->cors, ctx->origin, resp);
    return CN_OK;
}

static bool active(const void *conf, cn_phase_t phase)
{
    const cn_route_actions_conf_t *c = conf;
    const cn_route_actions_rewrite_t *r = c ? &c->rewrite : NULL;
    bool responses = c && (c->cors || !cn_edits_none(&c->response));

    if (!c || phase == CN_PH_RESP_HEAD || responses)
        return responses;
    return c->redirect || c->direct_status || c->mirrors.n || r->host.n || r->path.n ||
           r->has_prefix || r->regex || !cn_edits_none(&c->request);
}

const cn_module_t cn_module_route_actions = {
    .abi = CN_MODULE_ABI,
    .name = "route_actions",
    .after = "fault",
    .directives = cn_route_actions_directives,
    .conf[CN_LV_SERVICE] = {.size = sizeof(cn_route_actions_conf_t)},
    .conf[CN_LV_ROUTE] = {.size = sizeof(cn_route_actions_conf_t),
                          .check = cn_route_actions_check_route},
    .ctx_size = sizeof(cn_route_actions_ctx_t),
    .phase[CN_PH_POLICY] = on_policy,
    .phase[CN_PH_RESP_HEAD] = on_response,
    .active = active,
};
