/* SPDX-License-Identifier: Apache-2.0
 *
 * What a client sees when something went wrong: status, body, response flag
 * and details for each cause.  These tables are the list of Envoy
 * compatibility (facts/verified 1); differences are deliberate and listed in
 * the manual.
 */
#include "proxy/req_int.h"

#define S(text) CN_STR(text)
#define STARTED "upstream_reset_before_response_started"
#define CONNECT_ERROR "upstream connect error or disconnect/reset before headers. "

typedef struct {
    uint16_t status;
    uint32_t flags;
    cn_str_t body, details;
} wire_reply_t;

static const wire_reply_t wire_replies[] = {
    [CN_XERR_PROTOCOL] = {400, CN_FLAG_DPE, S("Bad Request"), S("http1.codec_error")},
    [CN_XERR_VERSION] = {426, CN_FLAG_DPE, S("Upgrade Required"), S("low_version")},
    [CN_XERR_TOO_LARGE] = {431, CN_FLAG_DPE, S("Request Header Fields Too Large"),
                           S("http1.headers_too_large")},
    [CN_XERR_TOO_MANY] = {431, CN_FLAG_DPE, S("Request Header Fields Too Large"),
                          S("http1.too_many_headers")},
    [CN_XERR_BAD_CHARS] = {400, CN_FLAG_DPE, S("Bad Request"), S("http1.invalid_characters")},
    [CN_XERR_BAD_TE] = {501, CN_FLAG_DPE, S("Not Implemented"),
                        S("http1.invalid_transfer_encoding")},
    [CN_XERR_CL_TE] = {400, CN_FLAG_DPE, S("Bad Request"),
                       S("http1.content_length_and_chunked_not_allowed")},
    [CN_XERR_NO_HOST] = {400, 0, S(""), S("missing_host_header")},
    [CN_XERR_BAD_HOST] = {400, CN_FLAG_DPE, S("Bad Request"), S("http.invalid_authority")},
    [CN_XERR_BAD_URL] = {400, CN_FLAG_DPE, S("Bad Request"), S("http1.invalid_url")},
    [CN_XERR_BAD_CONNECTION] = {400, CN_FLAG_DPE, S("Bad Request"),
                                S("http1.connection_header_rejected")},
    [CN_XERR_BAD_UPGRADE] = {403, 0, S(""), S("upgrade_failed")},
    [CN_XERR_TIMEOUT] = {408, 0, S("Request Timeout"), S("request_header_timeout")},
};

void cn_req_reply_wire(cn_req_t *req, cn_xerr err)
{
    const wire_reply_t *r = &wire_replies[CN_XERR_PROTOCOL];

    if ((size_t)err < CN_COUNT(wire_replies) && wire_replies[err].status)
        r = &wire_replies[err];
    cn_req_reply(req, r->status, r->body, r->details, r->flags);
}

cn_str_t cn_req_underscore(cn_pool_t *pool, cn_str_t s)
{
    cn_str_t copy = cn_pool_dup(pool, s);
    char *p = (char *)(uintptr_t)copy.p;

    for (size_t i = 0; i < copy.n; i++)
        if (p[i] == ' ' || p[i] == '\t')
            p[i] = '_';
    return copy;
}

/* ---- a host's exchange that failed before a response ---- */

typedef struct {
    uint16_t status;
    uint32_t flag;
    const char *reason;  /* in the body */
    bool with_transport; /* details carry the transport's own words */
} upstream_reply_t;

static upstream_reply_t stream_failure(cn_serr err)
{
    switch (err) {
    case CN_SERR_TIMEOUT:
        return (upstream_reply_t){503, CN_FLAG_UF, "connection timeout", false};
    case CN_SERR_RESET:
        return (upstream_reply_t){503, CN_FLAG_UC, "connection termination", false};
    case CN_SERR_UNPROCESSED:
        return (upstream_reply_t){503, CN_FLAG_UR, "remote refused stream reset", false};
    default:
        return (upstream_reply_t){503, CN_FLAG_UF, "remote connection failure", true};
    }
}

static upstream_reply_t upstream_failure(const cn_exch_t *up)
{
    /* a pod that is gone behind its tunnel is one that cannot be reached */
    if (up->unsent && !up->reused && up->stream_err == CN_SERR_RESET)
        return stream_failure(CN_SERR_REFUSED);
    switch (up->xerr) {
    case CN_XERR_STREAM:
        /* a connection that was made and fell silent, not one that could not be made */
        if (!up->unsent && up->stream_err == CN_SERR_TIMEOUT)
            return stream_failure(CN_SERR_RESET);
        return stream_failure(up->stream_err);
    case CN_XERR_GONE:
        if (up->stream_err == CN_SERR_TLS) /* TLS 1.3: refused after our side was done */
            return stream_failure(up->stream_err);
        if (up->reset)
            return (upstream_reply_t){503, CN_FLAG_UR, "remote reset", false};
        return (upstream_reply_t){503, CN_FLAG_UC, "connection termination", false};
    case CN_XERR_UNPROCESSED:
        return (upstream_reply_t){503, CN_FLAG_UR, "remote refused stream reset", false};
    default:
        return (upstream_reply_t){502, CN_FLAG_UPE, "protocol error", false};
    }
}

static cn_str_t reset_text(cn_req_t *req, const char *reason)
{
    bool retried = req->retry.done > 0; /* a repeat is none that anybody asked for */

    return cn_pool_printf(req->pool, CONNECT_ERROR "%sreset reason: %s",
                          retried ? "retried and the latest " : "", reason);
}

void cn_req_reply_upstream(cn_req_t *req, const cn_exch_t *up)
{
    upstream_reply_t r = upstream_failure(up);
    cn_str_t reason = cn_req_underscore(req->pool, cn_str_c(r.reason));
    cn_str_t details;

    if (r.with_transport && up->err_text) {
        cn_str_t text = cn_req_underscore(req->pool, cn_str_c(up->err_text));

        req->f.upstream_failure =
            cn_pool_printf(req->pool, "delayed_connect_error:_%.*s", CN_STR_ARG(text));
        details = cn_pool_printf(req->pool, STARTED "{%.*s|%.*s}", CN_STR_ARG(reason),
                                 CN_STR_ARG(req->f.upstream_failure));
    } else {
        details = cn_pool_printf(req->pool, STARTED "{%.*s}", CN_STR_ARG(reason));
    }
    cn_req_reply(req, r.status, reset_text(req, r.reason), details, r.flag);
}

void cn_req_reply_overflow(cn_req_t *req)
{
    cn_req_reply(req, 503, reset_text(req, "overflow"), CN_STR(STARTED "{overflow}"), CN_FLAG_UO);
    cn_req_reply_header(req, CN_STR("x-envoy-overloaded"), CN_STR("true"));
}

/* gRPC's statuses: 8 is for what a server has run out of, where 14 asks to try again. */
void cn_req_reply_overload(cn_req_t *req)
{
    cn_req_reply(req, 503, CN_STR("overloaded"), CN_STR("overload"), CN_FLAG_OM);
    cn_req_reply_grpc(req, 8);
    cn_req_reply_header(req, CN_STR("x-envoy-overloaded"), CN_STR("true"));
}

void cn_req_reply_cut(cn_req_t *req)
{
    cn_req_reply(req, 503, reset_text(req, "local reset"), CN_STR("endpoint_drain_timeout"),
                 CN_FLAG_LR);
}

/* ---- from a reply to a response message ---- */

/* facts/verified 2 */
static unsigned grpc_status_of(unsigned http)
{
    switch (http) {
    case 400:
        return 13;
    case 401:
        return 16;
    case 403:
        return 7;
    case 404:
        return 12;
    case 429:
    case 502:
    case 503:
    case 504:
        return 14;
    default:
        return 2;
    }
}

/* Percent-encoding of grpc-message (gRPC over HTTP/2 protocol, Status-Message). */
static cn_str_t grpc_message(cn_pool_t *pool, cn_str_t text)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = cn_pool_bytes(pool, text.n * 3 + 1);
    size_t n = 0;

    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (c >= 0x20 && c <= 0x7d && c != '%') {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        }
    }
    return cn_str_make(out, n);
}

static void as_grpc(cn_req_t *req)
{
    cn_msg_t *resp = &req->resp;
    unsigned status =
        req->reply_grpc ? (unsigned)req->reply_grpc - 1 : grpc_status_of(resp->status);

    req->f.grpc_status = (int16_t)status;
    resp->status = 200;
    cn_msg_set(resp, &resp->headers, CN_STR("content-type"), CN_STR("application/grpc"));
    cn_msg_add(resp, &resp->headers, CN_STR("grpc-status"),
               cn_pool_printf(req->pool, "%u", status));
    if (req->body.n)
        cn_msg_add(resp, &resp->headers, CN_STR("grpc-message"),
                   grpc_message(req->pool, req->body));
    req->body = CN_STR_NULL;
    /* trailers-only is a head without a length; HTTP/1 writes 0 (facts/verified 2) */
    resp->content_length = CN_LENGTH_NONE;
}

/* What the HTTP/1 parser refused is no gRPC request yet (facts/verified 2). */
static bool wants_grpc(const cn_req_t *req)
{
    return req->f.grpc && !(req->f.flags & CN_FLAG_DPE);
}

void cn_req_reply_finish(cn_req_t *req)
{
    cn_msg_t *resp = &req->resp;

    resp->content_length = req->body.n;
    if (wants_grpc(req))
        as_grpc(req);
    else if (req->body.n && !cn_msg_find(&resp->headers, CN_STR("content-type"), NULL))
        cn_msg_add(resp, &resp->headers, CN_STR("content-type"), CN_STR("text/plain"));
    req->f.status = resp->status;
    req->f.resp = resp;
}

void cn_req_reply(cn_req_t *req, unsigned status, cn_str_t body, cn_str_t details, uint32_t flags)
{
    if (req->local)
        return; /* the first reply counts */
    req->local = true;
    cn_msg_init(&req->resp, req->pool);
    req->resp.status = (uint16_t)status;
    req->body = body;
    req->f.details = details;
    req->f.flags |= flags;
}

void cn_req_reply_header(cn_req_t *req, cn_str_t name, cn_str_t value)
{
    cn_msg_add(&req->resp, &req->resp.headers, name, value);
}

void cn_req_reply_grpc(cn_req_t *req, unsigned grpc_status)
{
    req->reply_grpc = (int16_t)(grpc_status + 1);
}

void cn_req_flag(cn_req_t *req, uint32_t flags)
{
    req->f.flags |= flags;
}

void cn_req_refuse(cn_req_t *req, cn_str_t termination_details)
{
    req->local = true;
    req->f.termination_details = termination_details;
}

/* ---- flags ---- */

void cn_req_add_flags(cn_req_t *req, uint32_t flags)
{
    req->f.flags |= flags;
}

typedef struct {
    uint32_t flag;
    const char *name;
} flag_name_t;

/* HTTP prints the retry and delay flags before the cause, TCP after it
 * (facts/verified 10). */
static const flag_name_t http_order[] = {
    {CN_FLAG_URX, "URX"}, {CN_FLAG_DI, "DI"},   {CN_FLAG_UH, "UH"},     {CN_FLAG_UF, "UF"},
    {CN_FLAG_UO, "UO"},   {CN_FLAG_NR, "NR"},   {CN_FLAG_NC, "NC"},     {CN_FLAG_DC, "DC"},
    {CN_FLAG_UT, "UT"},   {CN_FLAG_LR, "LR"},   {CN_FLAG_UR, "UR"},     {CN_FLAG_UC, "UC"},
    {CN_FLAG_FI, "FI"},   {CN_FLAG_RL, "RL"},   {CN_FLAG_UAEX, "UAEX"}, {CN_FLAG_RLSE, "RLSE"},
    {CN_FLAG_DPE, "DPE"}, {CN_FLAG_UPE, "UPE"}, {CN_FLAG_SI, "SI"},     {CN_FLAG_OM, "OM"},
    {CN_FLAG_DR, "DR"},   {CN_FLAG_DT, "DT"},   {CN_FLAG_DF, "DF"}};

static size_t put_flag(char *buf, size_t n, const char *name)
{
    if (n)
        buf[n++] = ',';
    for (; *name; name++)
        buf[n++] = *name;
    return n;
}

size_t cn_flags_put(char *buf, uint32_t flags, bool l4)
{
    size_t n = 0;

    for (size_t i = l4 ? 1 : 0; i < CN_COUNT(http_order); i++)
        if ((flags & http_order[i].flag) && n < 56)
            n = put_flag(buf, n, http_order[i].name);
    if (l4 && (flags & CN_FLAG_URX))
        n = put_flag(buf, n, "URX");
    if (n == 0)
        buf[n++] = '-';
    buf[n] = '\0';
    return n;
}
