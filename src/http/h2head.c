/* SPDX-License-Identifier: Apache-2.0
 *
 * Field sections between nghttp2 and cn_msg.  Received fields are held as
 * references to nghttp2's buffers and copied once, into the pool of the message
 * that asks for them.  nghttp2 has already refused what RFC 9113 8.2 and 8.3
 * forbid (upper case, bad characters, misplaced or repeated pseudo-header
 * fields, fields of the connection), so none of that is looked at again.
 */
#include <stdlib.h>

#include "http/h2_int.h"
#include "http/uri.h"

#define FIELD_OVERHEAD 32u /* RFC 9113 10.5.1 */

cn_h2_head_t *cn_h2_head_create(void)
{
    cn_h2_head_t *head = cn_xzalloc(sizeof(*head));

    cn_list_init(&head->link);
    return head;
}

void cn_h2_head_destroy(cn_h2_head_t *head)
{
    if (!head)
        return;
    for (uint32_t i = 0; i < head->n; i++) {
        nghttp2_rcbuf_decref(head->v[i].name);
        nghttp2_rcbuf_decref(head->v[i].value);
    }
    cn_list_remove(&head->link);
    free(head->v);
    free(head);
}

bool cn_h2_head_add(cn_h2_head_t *head, const cn_h2_conf_t *conf, nghttp2_rcbuf *name,
                    nghttp2_rcbuf *value)
{
    head->bytes +=
        nghttp2_rcbuf_get_buf(name).len + nghttp2_rcbuf_get_buf(value).len + FIELD_OVERHEAD;
    if (head->n >= conf->max_headers || head->bytes > conf->max_header_list)
        return false;
    if (head->n == head->cap) {
        head->cap = head->cap ? head->cap * 2 : 8;
        head->v = cn_xrealloc(head->v, head->cap * sizeof(*head->v));
    }
    nghttp2_rcbuf_incref(name);
    nghttp2_rcbuf_incref(value);
    head->v[head->n++] = (cn_h2_field_t){name, value};
    return true;
}

static cn_str_t text_of(nghttp2_rcbuf *buf)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(buf);

    return cn_str_make((const char *)v.base, v.len);
}

cn_str_t cn_h2_head_value(const cn_h2_head_t *head, cn_str_t name)
{
    for (uint32_t i = 0; i < head->n; i++)
        if (cn_str_eq(text_of(head->v[i].name), name))
            return text_of(head->v[i].value);
    return CN_STR_NULL;
}

unsigned cn_h2_head_status(const cn_h2_head_t *head)
{
    uint64_t status = 0;

    if (cn_str_u64(cn_h2_head_value(head, CN_STR(":status")), 999, &status) != CN_OK)
        return 0;
    return (unsigned)status;
}

/* ---- reading ---- */

static void read_pseudo(cn_msg_t *m, cn_str_t name, cn_str_t value)
{
    uint64_t status;

    if (cn_str_eq(name, CN_STR(":method")))
        m->method = value;
    else if (cn_str_eq(name, CN_STR(":scheme")))
        m->scheme = value;
    else if (cn_str_eq(name, CN_STR(":authority")))
        m->authority = value;
    else if (cn_str_eq(name, CN_STR(":path")))
        m->target = value;
    else if (cn_str_eq(name, CN_STR(":status")) && cn_str_u64(value, 999, &status) == CN_OK)
        m->status = (uint16_t)status;
    else if (cn_str_eq(name, CN_STR(":protocol")))
        m->upgrade_websocket = cn_str_ieq(value, CN_STR("websocket"));
}

/* RFC 9113 8.2.3: cookie pairs may come as several lines. */
static void join_cookies(cn_msg_t *m)
{
    const cn_str_t name = CN_STR("cookie");
    const cn_header_t *first = cn_msg_get(&m->headers, CN_TOK_COOKIE), *h;
    size_t total = 0;
    char *all, *at;

    if (!first || !cn_msg_find(&m->headers, name, first))
        return;
    for (h = first; h; h = cn_msg_find(&m->headers, name, h))
        total += h->value.n + 2;
    at = all = cn_pool_bytes(m->pool, total);
    for (h = first; h; h = cn_msg_find(&m->headers, name, h)) {
        memcpy(at, h->value.p, h->value.n);
        memcpy(at + h->value.n, "; ", 2);
        at += h->value.n + 2;
    }
    cn_msg_set(m, &m->headers, name, cn_str_make(all, total - 2));
}

static void read_field(cn_msg_t *m, cn_str_t name, cn_str_t value, cn_str_t *host)
{
    uint64_t length;

    switch (cn_token_find(name)) {
    case CN_TOK_HOST:
        *host = value;
        return;
    case CN_TOK_CONTENT_LENGTH:
        if (cn_str_u64(value, UINT64_MAX - 1, &length) == CN_OK)
            m->content_length = length;
        return;
    case CN_TOK_EXPECT:
        m->expect_continue = cn_str_ieq(value, CN_STR("100-continue"));
        break;
    default:
        break;
    }
    cn_msg_add(m, &m->headers, name, value);
}

static void read_target(cn_msg_t *m)
{
    if (m->target.n == 0)
        return; /* CONNECT */
    m->target.n = cn_str_find(m->target, '#');
    if (cn_str_eq(m->target, CN_STR("*")))
        m->path = m->target;
    else
        cn_uri_split(m->target, &m->path, &m->query, &m->has_query);
}

void cn_h2_head_read(const cn_h2_head_t *head, cn_msg_t *m, bool request, bool eos)
{
    cn_str_t host = CN_STR_NULL;

    m->version = CN_HTTP_2;
    m->has_body = !eos;
    for (uint32_t i = 0; i < head->n; i++) {
        cn_str_t name = cn_pool_dup(m->pool, text_of(head->v[i].name));
        cn_str_t value = cn_pool_dup(m->pool, text_of(head->v[i].value));

        if (name.n && name.p[0] == ':')
            read_pseudo(m, name, value);
        else
            read_field(m, name, value, &host);
    }
    if (!request)
        return;
    /* RFC 8441: what HTTP/1.1 says with a GET and Upgrade. */
    if (m->upgrade_websocket) {
        m->method = CN_STR("GET");
        m->has_body = true;
    }
    /* RFC 9113 8.3.1: :authority wins over Host. */
    if (!m->authority.p)
        m->authority = host;
    join_cookies(m);
    read_target(m);
}

void cn_h2_head_read_trailers(const cn_h2_head_t *head, cn_msg_t *m)
{
    for (uint32_t i = 0; i < head->n; i++)
        cn_msg_add(m, &m->trailers, cn_pool_dup(m->pool, text_of(head->v[i].name)),
                   cn_pool_dup(m->pool, text_of(head->v[i].value)));
}

/* ---- writing ---- */

static void put(cn_h2_nva_t *nva, cn_str_t name, cn_str_t value)
{
    nva->v[nva->n++] = (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name.p,
        .namelen = name.n,
        .value = (uint8_t *)(uintptr_t)value.p,
        .valuelen = value.n,
        .flags = NGHTTP2_NV_FLAG_NONE,
    };
}

static void put_number(cn_h2_nva_t *nva, unsigned slot, cn_str_t name, uint64_t value)
{
    size_t n = cn_str_put_u64(nva->digits[slot], value);

    put(nva, name, cn_str_make(nva->digits[slot], n));
}

/* Fields that HTTP/2 says otherwise, or not at all (RFC 9113 8.2.2): whatever
 * modules left in the message, the peer would refuse all of it for one of these. */
static bool is_sent(const cn_header_t *h)
{
    switch (h->token) {
    case CN_TOK_CONNECTION:
    case CN_TOK_CONTENT_LENGTH:
    case CN_TOK_HOST:
    case CN_TOK_HTTP2_SETTINGS:
    case CN_TOK_KEEP_ALIVE:
    case CN_TOK_PROXY_CONNECTION:
    case CN_TOK_TRANSFER_ENCODING:
    case CN_TOK_UPGRADE:
        return false;
    case CN_TOK_TE:
        return cn_str_ieq(h->value, CN_STR("trailers"));
    default:
        return h->name.n && h->name.p[0] != ':';
    }
}

static void put_headers(cn_h2_nva_t *nva, const cn_headers_t *headers)
{
    for (uint32_t i = 0; i < headers->n; i++)
        if (is_sent(&headers->v[i]))
            put(nva, headers->v[i].name, headers->v[i].value);
}

/* Room for the pseudo-header fields and content-length beside the headers. */
static void begin(cn_pool_t *pool, const cn_headers_t *headers, cn_h2_nva_t *nva)
{
    nva->v = cn_pool_alloc(pool, (headers->n + 7) * sizeof(*nva->v));
    nva->n = 0;
}

void cn_h2_head_request(cn_pool_t *pool, const cn_msg_t *m, cn_h2_nva_t *nva)
{
    bool is_connect = cn_str_eq(m->method, CN_STR("CONNECT")), websocket = m->upgrade_websocket;

    begin(pool, &m->headers, nva);
    put(nva, CN_STR(":method"), websocket ? CN_STR("CONNECT") : m->method);
    if (websocket)
        put(nva, CN_STR(":protocol"), CN_STR("websocket"));
    if (!is_connect) {
        put(nva, CN_STR(":scheme"), m->scheme.n ? m->scheme : CN_STR("http"));
        put(nva, CN_STR(":path"), m->target);
    }
    put(nva, CN_STR(":authority"), m->authority);
    put_headers(nva, &m->headers);
    if (m->content_length != CN_LENGTH_NONE && !is_connect && !websocket)
        put_number(nva, 0, CN_STR("content-length"), m->content_length);
}

void cn_h2_head_response(cn_pool_t *pool, const cn_msg_t *m, cn_h2_nva_t *nva)
{
    bool websocket = m->status == 101;

    begin(pool, &m->headers, nva);
    put_number(nva, 0, CN_STR(":status"), websocket ? 200 : m->status);
    put_headers(nva, &m->headers);
    if (m->content_length != CN_LENGTH_NONE && !websocket)
        put_number(nva, 1, CN_STR("content-length"), m->content_length);
}

void cn_h2_head_copy(cn_pool_t *pool, const cn_h2_nva_t *from, cn_h2_nva_t *to)
{
    to->v = cn_pool_alloc(pool, from->n * sizeof(*to->v));
    to->n = 0;
    for (size_t i = 0; i < from->n; i++) {
        const nghttp2_nv *nv = &from->v[i];

        put(to, cn_pool_dup(pool, cn_str_make((const char *)nv->name, nv->namelen)),
            cn_pool_dup(pool, cn_str_make((const char *)nv->value, nv->valuelen)));
    }
}

void cn_h2_head_trailers(cn_pool_t *pool, const cn_headers_t *trailers, cn_h2_nva_t *nva)
{
    begin(pool, trailers, nva);
    for (uint32_t i = 0; i < trailers->n; i++)
        if (is_sent(&trailers->v[i]))
            put(nva, cn_pool_dup(pool, trailers->v[i].name),
                cn_pool_dup(pool, trailers->v[i].value));
}
