/* SPDX-License-Identifier: Apache-2.0
 *
 * Message heads: header lists and the rules about statuses that do not depend
 * on the HTTP version.  Knows nothing of wire formats.  A message and all that
 * its lists point to belong to the pool that it was initialised with.
 */
#include "http/msg.h"

void cn_msg_init(cn_msg_t *m, cn_pool_t *pool)
{
    *m = (cn_msg_t){.pool = pool, .content_length = CN_LENGTH_NONE};
}

static void grow(cn_msg_t *m, cn_headers_t *h)
{
    uint32_t cap = h->cap ? h->cap * 2 : 16;
    cn_header_t *v = cn_pool_alloc(m->pool, cap * sizeof(*v));
    if (h->n > 0)
        memcpy(v, h->v, h->n * sizeof(*v));
    h->v = v;
    h->cap = cap;
}

void cn_msg_add(cn_msg_t *m, cn_headers_t *h, cn_str_t name, cn_str_t value)
{
    if (h->n == h->cap)
        grow(m, h);
    h->v[h->n++] = (cn_header_t){name, value, cn_token_find(name)};
}

void cn_msg_copy(cn_msg_t *m, cn_pool_t *pool, const cn_msg_t *from)
{
    *m = *from;
    m->pool = pool;
    m->method = cn_pool_dup(pool, from->method);
    m->scheme = cn_pool_dup(pool, from->scheme);
    m->authority = cn_pool_dup(pool, from->authority);
    m->target = cn_pool_dup(pool, from->target);
    m->path = cn_pool_dup(pool, from->path);
    m->query = cn_pool_dup(pool, from->query);
    m->headers = m->trailers = (cn_headers_t){0};
    for (uint32_t i = 0; i < from->headers.n; i++) {
        const cn_header_t *h = &from->headers.v[i];
        if (m->headers.n == m->headers.cap)
            grow(m, &m->headers);
        m->headers.v[m->headers.n++] =
            (cn_header_t){cn_pool_dup(pool, h->name), cn_pool_dup(pool, h->value), h->token};
    }
}

const cn_header_t *cn_msg_get(const cn_headers_t *h, cn_token token)
{
    for (uint32_t i = 0; i < h->n; i++) {
        if (h->v[i].token == token && token != CN_TOK_NONE)
            return &h->v[i];
    }
    return NULL;
}

const cn_header_t *cn_msg_find(const cn_headers_t *h, cn_str_t name, const cn_header_t *prev)
{
    uint32_t i = prev ? (uint32_t)(prev - h->v) + 1 : 0;
    for (; i < h->n; i++) {
        if (cn_str_eq(h->v[i].name, name))
            return &h->v[i];
    }
    return NULL;
}

/* Removes the lines of that name from position `from` on; keeps the order. */
static unsigned remove_from(cn_headers_t *h, cn_str_t name, uint32_t from)
{
    uint32_t kept = from;
    for (uint32_t i = from; i < h->n; i++) {
        if (!cn_str_eq(h->v[i].name, name))
            h->v[kept++] = h->v[i];
    }
    unsigned removed = h->n - kept;
    h->n = kept;
    return removed;
}

void cn_msg_set(cn_msg_t *m, cn_headers_t *h, cn_str_t name, cn_str_t value)
{
    for (uint32_t i = 0; i < h->n; i++) {
        if (cn_str_eq(h->v[i].name, name)) {
            h->v[i].value = value;
            remove_from(h, name, i + 1);
            return;
        }
    }
    cn_msg_add(m, h, name, value);
}

unsigned cn_msg_remove(cn_headers_t *h, cn_str_t name)
{
    return remove_from(h, name, 0);
}

typedef struct {
    uint16_t status;
    cn_str_t text;
} reason_t;

/* 103 and 418 are left out on purpose: clients see "Unknown" for them behind
 * Envoy (facts 1.1). */
static const reason_t reasons[] = {
    {100, CN_STR("Continue")},
    {101, CN_STR("Switching Protocols")},
    {102, CN_STR("Processing")},
    {200, CN_STR("OK")},
    {201, CN_STR("Created")},
    {202, CN_STR("Accepted")},
    {203, CN_STR("Non-Authoritative Information")},
    {204, CN_STR("No Content")},
    {205, CN_STR("Reset Content")},
    {206, CN_STR("Partial Content")},
    {207, CN_STR("Multi-Status")},
    {208, CN_STR("Already Reported")},
    {226, CN_STR("IM Used")},
    {300, CN_STR("Multiple Choices")},
    {301, CN_STR("Moved Permanently")},
    {302, CN_STR("Found")},
    {303, CN_STR("See Other")},
    {304, CN_STR("Not Modified")},
    {305, CN_STR("Use Proxy")},
    {307, CN_STR("Temporary Redirect")},
    {308, CN_STR("Permanent Redirect")},
    {400, CN_STR("Bad Request")},
    {401, CN_STR("Unauthorized")},
    {402, CN_STR("Payment Required")},
    {403, CN_STR("Forbidden")},
    {404, CN_STR("Not Found")},
    {405, CN_STR("Method Not Allowed")},
    {406, CN_STR("Not Acceptable")},
    {407, CN_STR("Proxy Authentication Required")},
    {408, CN_STR("Request Timeout")},
    {409, CN_STR("Conflict")},
    {410, CN_STR("Gone")},
    {411, CN_STR("Length Required")},
    {412, CN_STR("Precondition Failed")},
    {413, CN_STR("Payload Too Large")},
    {414, CN_STR("URI Too Long")},
    {415, CN_STR("Unsupported Media Type")},
    {416, CN_STR("Range Not Satisfiable")},
    {417, CN_STR("Expectation Failed")},
    {421, CN_STR("Misdirected Request")},
    {422, CN_STR("Unprocessable Entity")},
    {423, CN_STR("Locked")},
    {424, CN_STR("Failed Dependency")},
    {425, CN_STR("Too Early")},
    {426, CN_STR("Upgrade Required")},
    {428, CN_STR("Precondition Required")},
    {429, CN_STR("Too Many Requests")},
    {431, CN_STR("Request Header Fields Too Large")},
    {451, CN_STR("Unavailable For Legal Reasons")},
    {500, CN_STR("Internal Server Error")},
    {501, CN_STR("Not Implemented")},
    {502, CN_STR("Bad Gateway")},
    {503, CN_STR("Service Unavailable")},
    {504, CN_STR("Gateway Timeout")},
    {505, CN_STR("HTTP Version Not Supported")},
    {506, CN_STR("Variant Also Negotiates")},
    {507, CN_STR("Insufficient Storage")},
    {508, CN_STR("Loop Detected")},
    {510, CN_STR("Not Extended")},
    {511, CN_STR("Network Authentication Required")},
};

cn_str_t cn_msg_reason(unsigned status)
{
    size_t low = 0, high = CN_COUNT(reasons);
    if (status == 200)
        return CN_STR("OK");
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (reasons[mid].status == status)
            return reasons[mid].text;
        if (reasons[mid].status < status)
            low = mid + 1;
        else
            high = mid;
    }
    return CN_STR("Unknown");
}

bool cn_msg_bodyless(cn_str_t request_method, unsigned status)
{
    if (status < 200 || status == 204 || status == 304)
        return true;
    if (cn_str_eq(request_method, CN_STR("HEAD")))
        return true;
    return status < 300 && cn_str_eq(request_method, CN_STR("CONNECT"));
}

bool cn_msg_is_grpc(const cn_msg_t *request)
{
    const cn_header_t *h = cn_msg_get(&request->headers, CN_TOK_CONTENT_TYPE);
    cn_str_t grpc = CN_STR("application/grpc");
    if (!h || !cn_str_starts(h->value, grpc))
        return false;
    return h->value.n == grpc.n || h->value.p[grpc.n] == '+';
}
