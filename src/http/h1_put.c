/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 writing, sans I/O.  Responsible for framing headers and for never
 * writing a head that reads as something else than it was: whatever modules
 * or another HTTP version left in a message, no control byte gets out.  Knows
 * nothing of connections.
 *
 * A head is measured first and then written into one piece of memory; both
 * passes run the same code over an out_t, the first without memory.  Fields
 * that may not be written are found by the second; until then they have room.
 */
#include "http/h1.h"
#include "http/h1_int.h"

typedef struct {
    char *p; /* NULL while measuring */
    size_t n;
} out_t;

static void put(out_t *o, cn_str_t s)
{
    if (o->p && s.n > 0)
        memcpy(o->p + o->n, s.p, s.n);
    o->n += s.n;
}

static void put_u64(out_t *o, uint64_t v)
{
    char digits[20];
    put(o, cn_str_make(digits, cn_str_put_u64(digits, v)));
}

/* Part of a start line: what would end it early is percent-encoded. */
static void put_word(out_t *o, cn_str_t s)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t clean = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c > 0x20 && c != 0x7f)
            continue;
        char escape[3] = {'%', hex[c >> 4], hex[c & 15]};
        put(o, cn_str_make(s.p + clean, i - clean));
        put(o, cn_str_make(escape, 3));
        clean = i + 1;
    }
    put(o, cn_str_make(s.p + clean, s.n - clean));
}

static void put_field(out_t *o, cn_str_t name, cn_str_t value)
{
    put(o, name);
    put(o, CN_STR(": "));
    put(o, value);
    put(o, CN_STR("\r\n"));
}

static bool name_ok(cn_str_t name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (cn_h1_token_char(name.p[i]) == '\0')
            return false;
    }
    return name.n > 0;
}

static bool field_ok(const cn_header_t *f)
{
    return (f->token != CN_TOK_NONE || name_ok(f->name)) && cn_h1_value_ok(f->value);
}

/* Fields that this connection defines itself. */
static bool is_ours(cn_token token, bool request)
{
    switch (token) {
    case CN_TOK_CONNECTION:
    case CN_TOK_CONTENT_LENGTH:
    case CN_TOK_KEEP_ALIVE:
    case CN_TOK_PROXY_CONNECTION:
    case CN_TOK_TRANSFER_ENCODING:
    case CN_TOK_UPGRADE:
        return true;
    case CN_TOK_HOST:
        return request;
    default:
        return false;
    }
}

static void put_fields(out_t *o, const cn_headers_t *h, bool request)
{
    for (uint32_t i = 0; i < h->n; i++) {
        const cn_header_t *f = &h->v[i];
        if (!o->p)
            o->n += f->name.n + f->value.n + 4;
        else if (!is_ours(f->token, request) && field_ok(f))
            put_field(o, f->name, f->value);
    }
}

static void put_framing(out_t *o, cn_h1_framing framing, uint64_t length)
{
    if (framing == CN_H1_FRAME_CHUNKED) {
        put(o, CN_STR("transfer-encoding: chunked\r\n"));
    } else if (framing == CN_H1_FRAME_LENGTH) {
        put(o, CN_STR("content-length: "));
        put_u64(o, length);
        put(o, CN_STR("\r\n"));
    }
}

static const cn_str_t websocket = CN_STR("connection: Upgrade\r\nupgrade: websocket\r\n");

static cn_h1_framing framing_known(uint64_t length)
{
    return length == CN_LENGTH_NONE ? CN_H1_FRAME_CHUNKED : CN_H1_FRAME_LENGTH;
}

/* ---- requests ---- */

static bool expects_body(cn_str_t method)
{
    return cn_str_eq(method, CN_STR("POST")) || cn_str_eq(method, CN_STR("PUT")) ||
           cn_str_eq(method, CN_STR("PATCH"));
}

static cn_h1_framing put_request_framing(out_t *o, const cn_msg_t *m, bool eos)
{
    if (m->upgrade_websocket) {
        put(o, websocket);
        return CN_H1_FRAME_NONE;
    }
    if (eos || !m->has_body) {
        if (m->content_length == 0 || expects_body(m->method))
            put_framing(o, CN_H1_FRAME_LENGTH, 0);
        return CN_H1_FRAME_NONE;
    }
    put_framing(o, framing_known(m->content_length), m->content_length);
    return framing_known(m->content_length);
}

static cn_h1_framing write_request(out_t *o, const cn_msg_t *m, bool eos)
{
    put_word(o, m->method);
    put(o, CN_STR(" "));
    put_word(o, m->target.n > 0 ? m->target : CN_STR("/"));
    put(o, CN_STR(" HTTP/1.1\r\nhost: "));
    put_word(o, m->authority);
    put(o, CN_STR("\r\n"));
    put_fields(o, &m->headers, true);
    cn_h1_framing framing = put_request_framing(o, m, eos);
    put(o, CN_STR("\r\n"));
    return framing;
}

cn_h1_framing cn_h1_put_request(cn_chain_t *out, const cn_msg_t *m, bool eos)
{
    out_t measure = {0}, o = {0};
    size_t room;
    write_request(&measure, m, eos);
    cn_chain_reserve(out, measure.n, &o.p, &room);
    cn_h1_framing framing = write_request(&o, m, eos);
    cn_chain_commit(out, o.n);
    return framing;
}

/* ---- responses ---- */

static cn_h1_framing put_response_framing(out_t *o, const cn_msg_t *m, cn_str_t method, bool eos)
{
    unsigned status = m->status;
    uint64_t length = m->content_length;
    if (status == 101)
        put(o, websocket);
    if (status < 200 || status == 204)
        return CN_H1_FRAME_NONE;
    if (cn_msg_bodyless(method, status)) {
        /* What a GET would have got (RFC 9110 8.6); chunked says "unknown". */
        if (length != CN_LENGTH_NONE || (status != 304 && cn_str_eq(method, CN_STR("HEAD"))))
            put_framing(o, framing_known(length), length);
        return CN_H1_FRAME_NONE;
    }
    if (eos) {
        put_framing(o, CN_H1_FRAME_LENGTH, 0);
        return CN_H1_FRAME_NONE;
    }
    put_framing(o, framing_known(length), length);
    return framing_known(length);
}

static cn_h1_framing write_response(out_t *o, const cn_msg_t *m, cn_str_t method, bool eos,
                                    bool close)
{
    put(o, CN_STR("HTTP/1.1 "));
    put_u64(o, m->status);
    put(o, CN_STR(" "));
    put(o, cn_msg_reason(m->status));
    put(o, CN_STR("\r\n"));
    put_fields(o, &m->headers, false);
    if (close)
        put(o, CN_STR("connection: close\r\n"));
    cn_h1_framing framing = put_response_framing(o, m, method, eos);
    put(o, CN_STR("\r\n"));
    return framing;
}

cn_h1_framing cn_h1_put_response(cn_chain_t *out, const cn_msg_t *m, cn_str_t req_method, bool eos,
                                 bool close)
{
    out_t measure = {0}, o = {0};
    size_t room;
    write_response(&measure, m, req_method, eos, close);
    cn_chain_reserve(out, measure.n, &o.p, &room);
    cn_h1_framing framing = write_response(&o, m, req_method, eos, close);
    cn_chain_commit(out, o.n);
    return framing;
}

/* ---- bodies ---- */

static size_t put_hex(char *buf, uint64_t v)
{
    char digits[16];
    size_t n = 0;
    do {
        digits[n++] = "0123456789abcdef"[v & 15];
        v >>= 4;
    } while (v > 0);
    for (size_t i = 0; i < n; i++)
        buf[i] = digits[n - 1 - i];
    return n;
}

void cn_h1_put_body(cn_chain_t *out, cn_chain_t *body, cn_h1_framing framing)
{
    char line[18];
    size_t n = body->bytes;
    if (n == 0)
        return;
    if (framing == CN_H1_FRAME_NONE) {
        cn_chain_skip(body, n);
        return;
    }
    if (framing == CN_H1_FRAME_CHUNKED) {
        size_t digits = put_hex(line, n);
        memcpy(line + digits, "\r\n", 2);
        cn_chain_copy(out, line, digits + 2);
    }
    cn_chain_move(out, body, n);
    if (framing == CN_H1_FRAME_CHUNKED)
        cn_chain_puts(out, CN_STR("\r\n"));
}

void cn_h1_put_end(cn_chain_t *out, cn_h1_framing framing, const cn_headers_t *trailers)
{
    if (framing != CN_H1_FRAME_CHUNKED)
        return;
    cn_chain_puts(out, CN_STR("0\r\n"));
    for (uint32_t i = 0; trailers && i < trailers->n; i++) {
        const cn_header_t *f = &trailers->v[i];
        if (!name_ok(f->name) || !cn_h1_trailer_ok(f->name) || !cn_h1_value_ok(f->value))
            continue;
        cn_chain_puts(out, f->name);
        cn_chain_puts(out, CN_STR(": "));
        cn_chain_puts(out, f->value);
        cn_chain_puts(out, CN_STR("\r\n"));
    }
    cn_chain_puts(out, CN_STR("\r\n"));
}
