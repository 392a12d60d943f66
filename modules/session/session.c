/* SPDX-License-Identifier: Apache-2.0
 *
 * session: session persistence by cookie or header (GEP-1619).  A session
 * names a cluster and an endpoint; only clusters of the request's route and
 * endpoints that the cluster has are honoured, so a client that invents one
 * gains nothing.  With several backends the session decides before their
 * weights do.
 */
#include "session_int.h"

typedef struct {
    cn_session_token_t token; /* of the client */
    bool known;               /* it brought one that counts */
} ctx_t;

static uint64_t now_s(void)
{
    return cn_clock_wall_us() / 1000000;
}

/* Of several cookies of that name the first counts. */
static cn_str_t brought(const cn_session_conf_t *c, const cn_msg_t *msg)
{
    cn_str_t name = c->cookie.n ? CN_STR("cookie") : c->header, line, value;
    uint32_t iter = 0;

    while (cn_field_next(msg, name, &iter, &line)) {
        if (!c->cookie.n)
            return line;
        if (cn_session_cookie(line, c->cookie, &value))
            return value;
    }
    return CN_STR_NULL;
}

/* Chooses the cluster with this tag; false: the route has none. */
static bool choose(cn_req_t *req, const cn_facts_t *facts, uint32_t tag)
{
    if (facts->nchoices == 0)
        return cn_session_tag(facts->cluster_name) == tag;
    for (uint32_t i = 0; i < facts->nchoices; i++)
        if (facts->choices[i].n && cn_session_tag(facts->choices[i]) == tag) {
            cn_req_choose(req, i);
            return true;
        }
    return false;
}

static cn_rc on_policy(cn_req_t *req, const void *conf, void *p)
{
    const cn_session_conf_t *c = conf;
    const cn_facts_t *facts = cn_req_facts(req);
    cn_str_t text = brought(c, facts->req);
    ctx_t *ctx = p;

    if (text.n == 0)
        return CN_OK;
    if (cn_session_token_decode(cn_req_pool(req), text, &ctx->token) != CN_OK ||
        !cn_session_token_alive(&ctx->token, c, now_s())) {
        cn_req_explain(req, "session: what the client brings is not valid any more");
        return CN_OK;
    }
    if (!choose(req, facts, ctx->token.cluster)) {
        cn_req_explain(req, "session: its backend is none of this route");
        return CN_OK;
    }
    ctx->known = true;
    cn_req_prefer(req, &ctx->token.addr);
    cn_req_explain(req, "session: to cluster %.*s, to the same endpoint as before if it is there",
                   CN_STR_ARG(facts->cluster_name));
    return CN_OK;
}

/* ---- responses ---- */

static cn_str_t cookie(cn_pool_t *pool, const cn_session_conf_t *c, cn_str_t value)
{
    cn_str_t age = CN_STR_NULL;

    if (c->permanent)
        age = cn_pool_printf(pool, "; Max-Age=%llu", (unsigned long long)(c->ttl_ms / 1000));
    return cn_pool_printf(pool, "%.*s=\"%.*s\"%.*s%s%.*s; HttpOnly", CN_STR_ARG(c->cookie),
                          CN_STR_ARG(value), CN_STR_ARG(age), c->path.n ? "; Path=" : "",
                          CN_STR_ARG(c->path));
}

/* Nothing is new unless idle time is counted. */
static bool stays(const cn_session_conf_t *c, const ctx_t *ctx, const cn_session_token_t *now)
{
    return ctx->known && !c->idle_ms && ctx->token.cluster == now->cluster &&
           ctx->token.addr.port == now->addr.port && cn_inet_same_ip(&ctx->token.addr, &now->addr);
}

static cn_rc on_response(cn_req_t *req, const void *conf, void *p)
{
    const cn_session_conf_t *c = conf;
    const cn_facts_t *facts = cn_req_facts(req);
    cn_pool_t *pool = cn_req_pool(req);
    const ctx_t *ctx = p;
    cn_session_token_t t = {.used_s = (uint32_t)now_s()};
    cn_msg_t *resp = cn_req_edit(req);
    cn_str_t value;

    if (!facts->host || !facts->upstream_ns)
        return CN_OK; /* no endpoint has answered */
    t.begun_s = ctx->known ? ctx->token.begun_s : t.used_s;
    t.cluster = cn_session_tag(facts->cluster_name);
    t.addr = facts->host->addr;
    if (stays(c, ctx, &t))
        return CN_OK;
    value = cn_session_token_encode(pool, &t);
    if (c->cookie.n)
        cn_msg_add(resp, &resp->headers, CN_STR("set-cookie"), cookie(pool, c, value));
    else
        cn_msg_set(resp, &resp->headers, c->header, value);
    return CN_OK;
}

static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    const cn_session_conf_t *c = conf;

    return c && (c->cookie.n || c->header.n);
}

const cn_module_t cn_module_session = {
    .abi = CN_MODULE_ABI,
    .name = "session",
    .after = "http_route",
    .before = "route_actions",
    .directives = cn_session_directives,
    .conf[CN_LV_SERVICE] = {.size = sizeof(cn_session_conf_t)},
    .conf[CN_LV_ROUTE] = {.size = sizeof(cn_session_conf_t)},
    .ctx_size = sizeof(ctx_t),
    .phase[CN_PH_POLICY] = on_policy,
    .phase[CN_PH_RESP_HEAD] = on_response,
    .active = active,
};
