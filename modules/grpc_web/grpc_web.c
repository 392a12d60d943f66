/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC-Web (grpc/doc/PROTOCOL-WEB.md) translated to gRPC, so that browsers
 * reach services that know only gRPC: content types, the text form's base64,
 * and trailers, which a browser cannot see, as a last frame of the body.
 *
 * A request is translated after it was authorized and routed as it came (the
 * place of Envoy's filter, facts/semantics 5); from then on it is gRPC for
 * limits, local replies, metrics and logs.  A response that is not gRPC passes
 * as it is.
 */
#include "text.h"

#define TRAILER_FRAME 0x80

extern const cn_module_t cn_module_grpc_web;

typedef struct {
    bool enabled;
} gw_conf_t;

typedef struct {
    bool on;      /* the request came as gRPC-Web */
    bool text_in; /* in base64 */
    bool text_out;
    bool plain; /* the response is not gRPC */
    gw_group_t in, out;
    cn_grpc_count_t frames; /* of the response: where messages end */
} gw_ctx_t;

static const cn_directive_t directives[] = {
    {"grpc_web", CN_AT_MAIN | CN_AT_SERVICE, CN_ARGS(1, 1), cn_set_flag,
     offsetof(gw_conf_t, enabled), NULL, "grpc_web on | off",
     "Translates gRPC-Web requests, binary and text, to gRPC (ports that are named grpc-web).",
     "off"},
    {.name = NULL}};

static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    return ((const gw_conf_t *)conf)->enabled;
}

/* ---- requests ---- */

/* "application/grpc-web-text+proto": what follows the last part that is known. */
static bool is_kind(cn_str_t type, cn_str_t kind, cn_str_t *suffix)
{
    if (!cn_str_starts(type, kind))
        return false;
    *suffix = cn_str_make(type.p + kind.n, type.n - kind.n);
    return suffix->n == 0 || suffix->p[0] == '+';
}

static const cn_str_t web = CN_STR("application/grpc-web");
static const cn_str_t web_text = CN_STR("application/grpc-web-text");

static void translate_head(cn_req_t *req, cn_msg_t *msg, cn_str_t suffix)
{
    cn_pool_t *pool = cn_req_pool(req);

    cn_msg_set(msg, &msg->headers, CN_STR("content-type"),
               cn_pool_printf(pool, "application/grpc%.*s", CN_STR_ARG(suffix)));
    cn_msg_set(msg, &msg->headers, CN_STR("te"), CN_STR("trailers"));
    if (!cn_msg_find(&msg->headers, CN_STR("grpc-accept-encoding"), NULL))
        cn_msg_add(msg, &msg->headers, CN_STR("grpc-accept-encoding"),
                   CN_STR("identity,deflate,gzip"));
}

static cn_rc on_request(cn_req_t *req, const void *conf CN_UNUSED, void *c)
{
    gw_ctx_t *ctx = c;
    cn_msg_t *msg = cn_req_edit(req);
    const cn_header_t *type = cn_msg_get(&msg->headers, CN_TOK_CONTENT_TYPE);
    const cn_header_t *accept = cn_msg_get(&msg->headers, CN_TOK_ACCEPT);
    cn_str_t suffix, unused;

    if (!type)
        return CN_OK;
    ctx->text_in = is_kind(type->value, web_text, &suffix);
    if (!ctx->text_in && !is_kind(type->value, web, &suffix))
        return CN_OK;
    ctx->on = true;
    ctx->text_out = accept && is_kind(accept->value, web_text, &unused);
    if (ctx->text_in)
        msg->content_length = CN_LENGTH_NONE;
    translate_head(req, msg, suffix);
    cn_req_filter(req, &cn_module_grpc_web);
    return CN_OK;
}

static cn_rc on_request_body(cn_req_t *req CN_UNUSED, void *c, cn_chain_t *in, bool eos,
                             cn_chain_t *out)
{
    gw_ctx_t *ctx = c;

    if (!ctx->text_in) {
        cn_chain_move(out, in, in->bytes);
        return CN_OK;
    }
    if (gw_text_decode(&ctx->in, in, out) != CN_OK)
        return CN_ERR;
    return eos && ctx->in.n ? CN_ERR : CN_OK;
}

/* ---- responses ---- */

static cn_rc on_response(cn_req_t *req, const void *conf CN_UNUSED, void *c)
{
    gw_ctx_t *ctx = c;
    cn_msg_t *msg = cn_req_edit(req);
    const cn_header_t *type;
    cn_str_t suffix;

    if (!ctx->on)
        return CN_OK;
    type = cn_msg_get(&msg->headers, CN_TOK_CONTENT_TYPE);
    ctx->plain = !type || !is_kind(type->value, CN_STR("application/grpc"), &suffix);
    if (ctx->plain)
        return CN_OK;
    if (suffix.n == 0)
        suffix = CN_STR("+proto");
    msg->content_length = CN_LENGTH_NONE;
    cn_msg_set(msg, &msg->headers, CN_STR("content-type"),
               cn_pool_printf(cn_req_pool(req), "application/grpc-web%s%.*s",
                              ctx->text_out ? "-text" : "", CN_STR_ARG(suffix)));
    return CN_OK;
}

/* The trailers become a frame. */
static void put_trailers(cn_headers_t *trailers, cn_chain_t *out)
{
    char prefix[CN_GRPC_PREFIX] = {(char)TRAILER_FRAME};
    size_t n = 0;

    for (uint32_t i = 0; i < trailers->n; i++)
        n += trailers->v[i].name.n + trailers->v[i].value.n + 3;
    for (unsigned i = 1; i < CN_GRPC_PREFIX; i++)
        prefix[i] = (char)(n >> (8 * (CN_GRPC_PREFIX - 1 - i)));
    cn_chain_copy(out, prefix, sizeof(prefix));
    for (uint32_t i = 0; i < trailers->n; i++) {
        cn_chain_puts(out, trailers->v[i].name);
        cn_chain_puts(out, CN_STR(":"));
        cn_chain_puts(out, trailers->v[i].value);
        cn_chain_puts(out, CN_STR("\r\n"));
    }
    trailers->n = 0;
}

/* Text is padded where a message ends: who waits for it can decode all of it. */
static cn_rc on_response_body(cn_req_t *req, void *c, cn_chain_t *in, bool eos, cn_chain_t *out)
{
    gw_ctx_t *ctx = c;
    bool whole;

    if (ctx->plain) {
        cn_chain_move(out, in, in->bytes);
        return CN_OK;
    }
    if (eos)
        put_trailers(cn_req_trailers(req, true), in);
    cn_grpc_count(&ctx->frames, in);
    whole = ctx->frames.left == 0 && ctx->frames.have == 0;
    if (ctx->text_out)
        gw_text_encode(&ctx->out, in, eos || whole, out);
    else
        cn_chain_move(out, in, in->bytes);
    return CN_OK;
}

const cn_module_t cn_module_grpc_web = {
    .abi = CN_MODULE_ABI,
    .name = "grpc_web",
    .after = "http_route",
    .before = "rate_limit",
    .directives = directives,
    .conf = {[CN_LV_MAIN] = {sizeof(gw_conf_t), NULL, NULL, NULL},
             [CN_LV_SERVICE] = {sizeof(gw_conf_t), NULL, NULL, NULL}},
    .ctx_size = sizeof(gw_ctx_t),
    .phase = {[CN_PH_LIMIT] = on_request, [CN_PH_RESP_HEAD] = on_response},
    .active = active,
    .req_body = on_request_body,
    .resp_body = on_response_body,
};
