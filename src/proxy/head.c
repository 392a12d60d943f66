/* SPDX-License-Identifier: Apache-2.0
 *
 * What the proxy itself does to heads: one form of the path, the client's
 * address, the headers that applications and clients expect from a waypoint
 * (facts/observability 5, facts/verified 3).
 */
#include "http/uri.h"
#include "proxy/req_int.h"

/* Instructions to a proxy that only the mesh's operator may give, and identity
 * claims that only a proxy may make. */
static const char *const stripped[] = {"x-envoy-internal",
                                       "x-envoy-retry-on",
                                       "x-envoy-retry-grpc-on",
                                       "x-envoy-max-retries",
                                       "x-envoy-upstream-rq-timeout-ms",
                                       "x-envoy-upstream-rq-per-try-timeout-ms",
                                       "x-envoy-expected-rq-timeout-ms",
                                       "x-envoy-upstream-alt-stat-name",
                                       "x-envoy-hedge-on-per-try-timeout",
                                       "x-envoy-retriable-status-codes",
                                       "x-envoy-force-trace",
                                       "x-envoy-ip-tags"};

static bool is_instruction(const cn_header_t *h)
{
    if (!cn_str_starts(h->name, CN_STR("x-envoy-")))
        return false;
    for (size_t k = 0; k < CN_COUNT(stripped); k++)
        if (cn_str_eq(h->name, cn_str_c(stripped[k])))
            return true;
    return false;
}

static bool is_stripped(const cn_proxy_conf_t *pc, const cn_header_t *h)
{
    if (h->token == CN_TOK_X_FORWARDED_CLIENT_CERT)
        return pc->client_cert < CN_CLIENT_CERT_APPEND;
    return !pc->envoy_headers && is_instruction(h);
}

/* One pass instead of one per name. */
static void strip(const cn_proxy_conf_t *pc, cn_headers_t *headers)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < headers->n; i++)
        if (!is_stripped(pc, &headers->v[i]))
            headers->v[n++] = headers->v[i];
    headers->n = n;
}

#define XFCC CN_STR("x-forwarded-client-cert")

/* The identities of the tunnel, as Envoy would tell those of its TLS.  What a
 * client without identity says about others is not passed on with ours missing. */
static void set_client_cert(cn_req_t *req)
{
    const cn_tunnel_t *t = &req->inner->tunnel;
    cn_headers_t *headers = &req->msg.headers;
    const cn_header_t *h = NULL, *last = NULL;
    int mode = req->w->conf->client_cert;
    cn_str_t ours;

    if (mode == CN_CLIENT_CERT_APPEND && t->identity.n == 0)
        (void)cn_msg_remove(headers, XFCC);
    if ((mode != CN_CLIENT_CERT_SET && mode != CN_CLIENT_CERT_APPEND) || t->identity.n == 0)
        return;
    ours = cn_pool_printf(req->pool, "By=%.*s;URI=%.*s", CN_STR_ARG(t->local_identity),
                          CN_STR_ARG(t->identity));
    while ((h = cn_msg_find(headers, XFCC, h)) != NULL)
        last = h;
    if (last)
        headers->v[last - headers->v].value =
            cn_pool_printf(req->pool, "%.*s,%.*s", CN_STR_ARG(last->value), CN_STR_ARG(ours));
    else
        cn_msg_add(&req->msg, headers, XFCC, ours);
}

static void append_forwarded_for(cn_req_t *req)
{
    cn_msg_t *msg = &req->msg;
    const cn_header_t *h = NULL, *last = NULL;
    char from[CN_INET_TEXT];

    if (!req->w->conf->append_forwarded_for)
        return;
    cn_inet_put(from, &req->inner->tunnel.source, false);
    while ((h = cn_msg_find(&msg->headers, CN_STR("x-forwarded-for"), h)) != NULL)
        last = h;
    if (last && last->value.n)
        msg->headers.v[last - msg->headers.v].value =
            cn_pool_printf(req->pool, "%.*s,%s", CN_STR_ARG(last->value), from);
    else
        cn_msg_set(msg, &msg->headers, CN_STR("x-forwarded-for"),
                   cn_pool_dup(req->pool, cn_str_c(from)));
}

static void add_forwarded_port(cn_req_t *req)
{
    cn_msg_t *msg = &req->msg;

    if (req->w->conf->forwarded_port &&
        !cn_msg_find(&msg->headers, CN_STR("x-forwarded-port"), NULL))
        cn_msg_add(msg, &msg->headers, CN_STR("x-forwarded-port"),
                   cn_pool_printf(req->pool, "%u", req->inner->tunnel.dest.port));
}

/* UUID version 4 (RFC 9562 5.4).  Tracing reads its decision from index 14, so
 * the version digit must be right; secrecy is not needed. */
static cn_str_t new_request_id(cn_req_t *req)
{
    static const char hex[] = "0123456789abcdef";
    char *out = cn_pool_bytes(req->pool, 36);
    uint64_t r[2] = {cn_rand_u64(&req->w->rand), cn_rand_u64(&req->w->rand)};

    for (unsigned i = 0, d = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            out[i] = '-';
            continue;
        }
        out[i] = hex[(r[d / 16] >> (d % 16 * 4)) & 15];
        d++;
    }
    out[14] = '4';
    out[19] = "89ab"[(r[1] >> 60) & 3];
    return cn_str_make(out, 36);
}

static void add_request_id(cn_req_t *req)
{
    const cn_header_t *h = cn_msg_get(&req->msg.headers, CN_TOK_X_REQUEST_ID);

    if (!h)
        cn_msg_add(&req->msg, &req->msg.headers, CN_STR("x-request-id"), new_request_id(req));
    else if (h->value.n == 0)
        cn_msg_set(&req->msg, &req->msg.headers, CN_STR("x-request-id"), new_request_id(req));
}

/* The last address of X-Forwarded-For, when the operator trusts it. */
static void set_remote(cn_req_t *req)
{
    const cn_header_t *h;
    cn_addr_t addr;
    size_t from;

    req->f.remote = req->inner->tunnel.source;
    if (!req->w->conf->trust_forwarded_for)
        return;
    h = cn_msg_get(&req->msg.headers, CN_TOK_X_FORWARDED_FOR);
    if (!h)
        return;
    for (from = h->value.n; from && h->value.p[from - 1] != ','; from--)
        continue;
    if (cn_inet_parse_ip(cn_str_trim(cn_str_make(h->value.p + from, h->value.n - from)), &addr) ==
        CN_OK)
        req->f.remote = addr;
}

/* The normalised path is also what is forwarded, so that nobody decides on one
 * path and serves another. */
static cn_rc normalize(cn_req_t *req)
{
    cn_msg_t *msg = &req->msg;
    cn_str_t path;

    if (cn_str_eq(msg->target, CN_STR("*")))
        return CN_OK;
    if (cn_uri_path_normalize(req->pool, msg->path,
                              (cn_uri_normalize)req->w->conf->path_normalization, &path) != CN_OK)
        return CN_ERR;
    if (path.p == msg->path.p && path.n == msg->path.n && path.p == msg->target.p)
        return CN_OK;
    msg->path = path;
    if (msg->has_query)
        msg->target =
            cn_pool_printf(req->pool, "%.*s?%.*s", CN_STR_ARG(path), CN_STR_ARG(msg->query));
    else
        msg->target = path;
    return CN_OK;
}

/* HTTP/2 frames names and values; what is in :authority and :path is judged
 * here, by the rules of the HTTP/1 parser, since it may become a request line. */
static cn_xerr judge_http2(const cn_msg_t *msg)
{
    cn_str_t host;
    uint16_t port;

    if (cn_uri_authority(msg->authority, &host, &port) != CN_OK)
        return CN_XERR_BAD_HOST;
    if (cn_str_eq(msg->method, CN_STR("CONNECT")) || cn_str_eq(msg->target, CN_STR("*")))
        return CN_XERR_NONE;
    if (msg->target.n == 0 || msg->target.p[0] != '/')
        return CN_XERR_BAD_URL;
    for (size_t i = 0; i < msg->target.n; i++)
        if (msg->target.p[i] <= ' ' || msg->target.p[i] >= 0x7f)
            return CN_XERR_BAD_URL;
    return CN_XERR_NONE;
}

/* HTTP/1 has no word for the scheme, so it is what a proxy in front says it was
 * (facts/verified 5); what no scheme of HTTP is says nothing. */
static void set_scheme(const cn_proxy_conf_t *pc, cn_msg_t *msg)
{
    const cn_header_t *h = cn_msg_get(&msg->headers, CN_TOK_X_FORWARDED_PROTO);

    if (!h && pc->forwarded_proto)
        cn_msg_add(msg, &msg->headers, CN_STR("x-forwarded-proto"), CN_STR("http"));
    if (!h)
        return;
    if (msg->version != CN_HTTP_2 && cn_str_ieq(h->value, CN_STR("https")))
        msg->scheme = CN_STR("https");
    else if (msg->version != CN_HTTP_2 && cn_str_ieq(h->value, CN_STR("http")))
        msg->scheme = CN_STR("http");
}

/* What hosts and policies see of the request, in the order of facts/verified 3. */
static void dress(cn_req_t *req)
{
    const cn_proxy_conf_t *pc = req->w->conf;

    strip(pc, &req->msg.headers);
    append_forwarded_for(req);
    set_client_cert(req);
    set_scheme(pc, &req->msg);
    add_forwarded_port(req);
    if (pc->request_id)
        add_request_id(req);
}

void cn_req_head_prepare(cn_req_t *req)
{
    cn_msg_t *msg = &req->msg;
    cn_xerr bad = msg->version == CN_HTTP_2 ? judge_http2(msg) : CN_XERR_NONE;

    req->f.req = msg;
    req->f.grpc = cn_msg_is_grpc(msg);
    set_remote(req);
    if (bad != CN_XERR_NONE) {
        cn_req_reply_wire(req, bad);
        return;
    }
    if (cn_str_eq(msg->method, CN_STR("CONNECT")) && msg->target.n && msg->version == CN_HTTP_2) {
        /* RFC 8441, to something else than a websocket */
        cn_req_reply_wire(req, CN_XERR_BAD_UPGRADE);
        return;
    }
    if (cn_str_eq(msg->method, CN_STR("CONNECT"))) {
        cn_req_reply(req, 404, CN_STR_NULL, CN_STR("route_not_found"), CN_FLAG_NR);
        return;
    }
    if (cn_str_eq(msg->target, CN_STR("*"))) {
        cn_req_reply(req, 404, CN_STR_NULL, CN_STR("absolute_path_rejected"), 0);
        return;
    }
    if (normalize(req) != CN_OK) {
        cn_req_reply(req, 400, CN_STR_NULL, CN_STR("path_normalization_failed"), 0);
        return;
    }
    dress(req);
}

static cn_str_t date_now(cn_worker_t *w)
{
    uint64_t wall_us = cn_clock_wall_us();

    if (wall_us / 1000000 != w->date_s) {
        w->date_s = wall_us / 1000000;
        cn_clock_put_http(w->date, wall_us);
    }
    return cn_str_make(w->date, CN_CLOCK_HTTP_LEN);
}

void cn_req_head_respond(cn_req_t *req)
{
    cn_msg_t *resp = &req->resp;
    cn_str_t server = req->w->conf->server_header;

    /* an early answer has no meaningful service time (facts/verified 3) */
    if (!req->local && req->up_eos && req->w->conf->service_time) {
        uint64_t ms = (req->f.upstream_ns - req->up_start_ns) / 1000000;
        char *digits = cn_pool_bytes(req->pool, 20);

        cn_msg_set(resp, &resp->headers, CN_STR("x-envoy-upstream-service-time"),
                   cn_str_make(digits, cn_str_put_u64(digits, ms)));
    }
    if (!cn_msg_get(&resp->headers, CN_TOK_DATE))
        cn_msg_add(resp, &resp->headers, CN_STR("date"), cn_pool_dup(req->pool, date_now(req->w)));
    if (server.n)
        cn_msg_set(resp, &resp->headers, CN_STR("server"), server);
}
