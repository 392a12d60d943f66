/* SPDX-License-Identifier: Apache-2.0
 *
 * Cross-origin requests (Fetch standard 3.2; facts/verified 1.3): preflights
 * are answered here, responses to other requests are marked.  Whether a method
 * or a header is allowed is for the browser to see; nothing is refused.
 */
#include "actions_int.h"

static cn_str_t field(const cn_msg_t *msg, cn_str_t name)
{
    cn_str_t value = CN_STR_NULL;
    uint32_t iter = 0;

    (void)cn_field_next(msg, name, &iter, &value);
    return value;
}

static cn_rc test_origin(const cn_route_actions_origin_t *o, cn_str_t origin)
{
    bool yes = true;

    switch (o->how) {
    case CN_ROUTE_ACTIONS_ORIGIN_ANY:
        break;
    case CN_ROUTE_ACTIONS_ORIGIN_EXACT:
        yes = cn_str_eq(origin, o->text);
        break;
    case CN_ROUTE_ACTIONS_ORIGIN_PREFIX:
        yes = cn_str_starts(origin, o->text);
        break;
    case CN_ROUTE_ACTIONS_ORIGIN_REGEX:
        return cn_regex_match(o->regex, origin);
    }
    return yes ? CN_OK : CN_DECLINE;
}

/* CN_OK: allowed; CN_DECLINE: not; CN_ERR: undecided. */
static cn_rc allowed(const cn_route_actions_cors_t *c, cn_str_t origin)
{
    const cn_route_actions_origin_t *v = c->origins.v;
    cn_rc rc = CN_DECLINE;

    for (uint32_t i = 0; i < c->origins.n && rc == CN_DECLINE; i++)
        rc = test_origin(&v[i], origin);
    return rc;
}

static void reply_header(cn_req_t *req, const char *name, cn_str_t value)
{
    if (value.n)
        cn_req_reply_header(req, cn_str_c(name), value);
}

/* A star is no wildcard to browsers when credentials are sent (Fetch 3.2.5), so
 * what was asked for is named in its place. */
static cn_str_t spelled(cn_str_t list, cn_str_t asked)
{
    return cn_str_eq(list, CN_STR("*")) ? asked : list;
}

static void answer(cn_req_t *req, const cn_route_actions_cors_t *c, cn_str_t origin)
{
    const cn_msg_t *msg = cn_req_facts(req)->req;

    cn_req_reply(req, 200, CN_STR_NULL, CN_STR("cors_response"), 0);
    reply_header(req, "access-control-allow-origin", origin);
    if (c->credentials)
        reply_header(req, "access-control-allow-credentials", CN_STR("true"));
    reply_header(req, "access-control-allow-methods",
                 spelled(c->methods_list, field(msg, CN_STR("access-control-request-method"))));
    reply_header(req, "access-control-allow-headers",
                 spelled(c->headers_list, field(msg, CN_STR("access-control-request-headers"))));
    reply_header(req, "access-control-max-age", c->max_age);
    if (origin.n)
        reply_header(req, "access-control-expose-headers", c->expose_list);
}

static bool is_preflight(const cn_msg_t *msg)
{
    return cn_str_eq(msg->method, CN_STR("OPTIONS")) &&
           field(msg, CN_STR("access-control-request-method")).n > 0;
}

cn_rc cn_route_actions_cors(cn_req_t *req, const cn_route_actions_cors_t *c,
                            cn_route_actions_ctx_t *ctx)
{
    const cn_msg_t *msg = cn_req_facts(req)->req;
    cn_str_t origin = field(msg, CN_STR("origin"));
    cn_rc rc;

    if (origin.n == 0)
        return CN_OK;
    rc = allowed(c, origin);
    if (rc == CN_ERR)
        return CN_ERR;
    if (rc == CN_DECLINE)
        cn_req_explain(req, "cors: origin %.*s is not allowed", CN_STR_ARG(origin));
    if (is_preflight(msg) && (rc == CN_OK || !c->unmatched)) {
        cn_req_explain(req, "cors: the preflight is answered here");
        answer(req, c, rc == CN_OK ? origin : CN_STR_NULL);
        ctx->preflight = true;
        return CN_DONE;
    }
    if (rc == CN_OK)
        ctx->origin = origin;
    return CN_OK;
}

void cn_route_actions_cors_mark(const cn_route_actions_cors_t *c, cn_str_t origin, cn_msg_t *resp)
{
    cn_headers_t *h = &resp->headers;

    cn_msg_set(resp, h, CN_STR("access-control-allow-origin"), origin);
    if (c->credentials)
        cn_msg_set(resp, h, CN_STR("access-control-allow-credentials"), CN_STR("true"));
    if (c->expose_list.n)
        cn_msg_set(resp, h, CN_STR("access-control-expose-headers"), c->expose_list);
}
