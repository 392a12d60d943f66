/* SPDX-License-Identifier: Apache-2.0
 *
 * Envoy's command operators (facts/observability 2.3) over cairn's facts.
 */
#include <unistd.h>

#include "access_log.h"

static bool put_str(al_buf_t *b, cn_str_t s)
{
    al_puts(b, s);
    return s.n > 0;
}

static bool put_u64(al_buf_t *b, uint64_t v)
{
    char digits[20];

    al_put(b, digits, cn_str_put_u64(digits, v));
    return true;
}

static bool put_addr(al_buf_t *b, const cn_addr_t *addr, bool port)
{
    char text[CN_INET_TEXT];

    if (addr->family == 0)
        return false;
    al_put(b, text, cn_inet_put(text, addr, port));
    return true;
}

static uint64_t ms(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (to_ns - from_ns) / 1000000 : 0;
}

/* ---- headers ---- */

/* Several lines of a name are shown joined, as one value. */
static bool put_header(al_buf_t *b, const cn_headers_t *headers, cn_str_t name)
{
    const cn_header_t *h = NULL;
    bool any = false;

    if (!headers || name.n == 0)
        return false;
    while ((h = cn_msg_find(headers, name, h)) != NULL) {
        if (any)
            al_put(b, ",", 1);
        al_puts(b, h->value);
        any = true;
    }
    return any;
}

/* The path as the client sent it.  A client's own x-envoy-original-path is not
 * believed: it could hide what was asked for. */
static bool put_request(al_buf_t *b, const cn_facts_t *f, cn_str_t name)
{
    if (!f->req)
        return false;
    if (cn_str_eq(name, CN_STR(":method")))
        return put_str(b, f->req->method);
    if (cn_str_eq(name, CN_STR(":path")))
        return put_str(b, f->req->target);
    if (cn_str_eq(name, CN_STR(":authority")) || cn_str_eq(name, CN_STR("host")))
        return put_str(b, f->req->authority);
    if (cn_str_eq(name, CN_STR(":scheme")))
        return put_str(b, f->req->scheme);
    if (cn_str_eq(name, CN_STR("x-envoy-original-path")))
        return put_str(b, f->original_path);
    return put_header(b, &f->req->headers, name);
}

static bool v_req(al_buf_t *b, const cn_facts_t *f, const al_op_t *op)
{
    return put_request(b, f, op->text) || put_request(b, f, op->other);
}

static bool v_resp(al_buf_t *b, const cn_facts_t *f, const al_op_t *op)
{
    const cn_headers_t *h = f->resp ? &f->resp->headers : NULL;

    return put_header(b, h, op->text) || put_header(b, h, op->other);
}

static bool v_trailer(al_buf_t *b, const cn_facts_t *f, const al_op_t *op)
{
    const cn_headers_t *h = f->resp ? &f->resp->trailers : NULL;

    return put_header(b, h, op->text) || put_header(b, h, op->other);
}

/* ---- the rest ---- */

static bool v_start_time(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    char text[CN_CLOCK_ISO_LEN];

    cn_clock_put_iso(text, f->start_us);
    al_put(b, text, sizeof(text));
    return true;
}

static bool v_protocol(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    if (!f->req)
        return false;
    return put_str(b, f->req->version == CN_HTTP_2    ? CN_STR("HTTP/2")
                      : f->req->version == CN_HTTP_10 ? CN_STR("HTTP/1.0")
                                                      : CN_STR("HTTP/1.1"));
}

static bool v_code(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_u64(b, f->status);
}

static bool v_code_details(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_str(b, f->details);
}

static bool v_flags(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    char text[64];

    al_put(b, text, cn_flags_put(text, f->flags, f->req == NULL));
    return true;
}

static bool v_termination(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_str(b, f->termination_details);
}

static bool v_upstream_failure(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_str(b, f->upstream_failure);
}

static bool v_bytes_received(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_u64(b, f->body_rx);
}

static bool v_bytes_sent(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_u64(b, f->body_tx);
}

static bool v_wire_received(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_u64(b, f->wire_rx);
}

static bool v_wire_sent(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_u64(b, f->wire_tx);
}

static bool v_duration(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_u64(b, ms(f->start_ns, f->end_ns));
}

static bool v_response_duration(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return f->upstream_ns && put_u64(b, ms(f->start_ns, f->upstream_ns));
}

static bool v_attempts(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_u64(b, f->attempts);
}

static bool v_upstream_host(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    cn_addr_t addr;

    if (!f->host)
        return false;
    addr = f->host->addr;
    if (addr.port == 0)
        addr.port = f->tunnel->dest.port;
    return put_addr(b, &addr, true);
}

static bool v_upstream_cluster(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    if (!f->cluster)
        return false;
    return put_str(b,
                   f->cluster->conf->alias.n ? f->cluster->conf->alias : f->cluster->section->name);
}

static bool v_upstream_local(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_addr(b, &f->upstream_local, true);
}

static bool v_local(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_addr(b, &f->tunnel->dest, true);
}

static bool v_remote(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_addr(b, &f->remote, true);
}

static bool v_remote_ip(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_addr(b, &f->remote, false);
}

static bool v_direct_remote(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_addr(b, &f->tunnel->source, true);
}

static bool v_peer_san(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_str(b, f->tunnel->identity);
}

static bool v_local_san(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_str(b, f->tunnel->local_identity);
}

static bool v_sni(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return put_str(b, f->sni);
}

static bool v_route(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    if (f->route)
        return put_str(b, f->route->name);
    return f->req && f->cluster && put_str(b, CN_STR("default"));
}

static bool v_grpc_status(al_buf_t *b, const cn_facts_t *f, const al_op_t *op CN_UNUSED)
{
    return f->grpc_status >= 0 && put_u64(b, (uint64_t)f->grpc_status);
}

static bool v_hostname(al_buf_t *b, const cn_facts_t *f CN_UNUSED, const al_op_t *op CN_UNUSED)
{
    char name[256];

    if (gethostname(name, sizeof(name)) != 0)
        return false;
    name[sizeof(name) - 1] = '\0';
    return put_str(b, cn_str_c(name));
}

static const al_operator_t operators[] = {
    {"START_TIME", v_start_time, false, false},
    {"REQ", v_req, true, false},
    {"REQUEST_HEADER", v_req, true, false},
    {"RESP", v_resp, true, false},
    {"RESPONSE_HEADER", v_resp, true, false},
    {"TRAILER", v_trailer, true, false},
    {"RESPONSE_TRAILER", v_trailer, true, false},
    {"PROTOCOL", v_protocol, false, false},
    {"RESPONSE_CODE", v_code, false, true},
    {"RESPONSE_CODE_DETAILS", v_code_details, false, false},
    {"RESPONSE_FLAGS", v_flags, false, false},
    {"CONNECTION_TERMINATION_DETAILS", v_termination, false, false},
    {"UPSTREAM_TRANSPORT_FAILURE_REASON", v_upstream_failure, false, false},
    {"BYTES_RECEIVED", v_bytes_received, false, true},
    {"BYTES_SENT", v_bytes_sent, false, true},
    {"DOWNSTREAM_WIRE_BYTES_RECEIVED", v_wire_received, false, true},
    {"DOWNSTREAM_WIRE_BYTES_SENT", v_wire_sent, false, true},
    {"DURATION", v_duration, false, true},
    {"RESPONSE_DURATION", v_response_duration, false, true},
    {"UPSTREAM_REQUEST_ATTEMPT_COUNT", v_attempts, false, true},
    {"UPSTREAM_HOST", v_upstream_host, false, false},
    {"UPSTREAM_REMOTE_ADDRESS", v_upstream_host, false, false},
    {"UPSTREAM_CLUSTER", v_upstream_cluster, false, false},
    {"UPSTREAM_CLUSTER_RAW", v_upstream_cluster, false, false},
    {"UPSTREAM_LOCAL_ADDRESS", v_upstream_local, false, false},
    {"DOWNSTREAM_LOCAL_ADDRESS", v_local, false, false},
    {"DOWNSTREAM_REMOTE_ADDRESS", v_remote, false, false},
    {"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", v_remote_ip, false, false},
    {"DOWNSTREAM_DIRECT_REMOTE_ADDRESS", v_direct_remote, false, false},
    {"DOWNSTREAM_PEER_URI_SAN", v_peer_san, false, false},
    {"DOWNSTREAM_LOCAL_URI_SAN", v_local_san, false, false},
    {"REQUESTED_SERVER_NAME", v_sni, false, false},
    {"ROUTE_NAME", v_route, false, false},
    {"GRPC_STATUS_NUMBER", v_grpc_status, false, true},
    {"HOSTNAME", v_hostname, false, false},
};

const al_operator_t *al_operator_find(cn_str_t name)
{
    for (size_t i = 0; i < CN_COUNT(operators); i++)
        if (cn_str_eq(cn_str_c(operators[i].name), name))
            return &operators[i];
    return NULL;
}

cn_str_t al_operator_names(cn_pool_t *pool)
{
    cn_str_t all = CN_STR_NULL;

    for (size_t i = 0; i < CN_COUNT(operators); i++)
        all = cn_pool_printf(pool, "%.*s%s%s", CN_STR_ARG(all), i ? " " : "", operators[i].name);
    return all;
}
