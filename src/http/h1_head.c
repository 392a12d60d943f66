/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading complete heads and trailer sections of HTTP/1.1: start lines, fields,
 * and the framing that they announce.  Refuses folded lines, doubtful framing
 * and doubtful hosts; consumes what is about this connection only.  Knows
 * nothing of how the bytes came.  The block it reads is in the message's pool
 * and for this message alone, so names are made lower case in place and strings
 * point into it.
 */
#include "http/h1_int.h"
#include "http/uri.h"

enum { NOMINATED_MAX = 9 };

/* ---- characters ---- */

/* Lower-case form of the characters of a token (RFC 9110 5.6.2), else 0. */
static const char token_char[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*',
    ['+'] = '+', ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`',   ['|'] = '|',
    ['~'] = '~', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',   ['5'] = '5',
    ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['A'] = 'a', ['B'] = 'b',   ['C'] = 'c',
    ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i',   ['J'] = 'j',
    ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p',   ['Q'] = 'q',
    ['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w',   ['X'] = 'x',
    ['Y'] = 'y', ['Z'] = 'z', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd',   ['e'] = 'e',
    ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j', ['k'] = 'k',   ['l'] = 'l',
    ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r',   ['s'] = 's',
    ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y',   ['z'] = 'z',
};

char cn_h1_token_char(char c)
{
    return token_char[(unsigned char)c];
}

/* Eight bytes at once, each tested in its own lane: below 0x20, or 0x7f.  TAB
 * shows up here too and is left to the bytewise test. */
static bool may_have_control(uint64_t v)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t del = v ^ (ones * 0x7f);

    return (((v - ones * 0x20) & ~v) | ((del - ones) & ~del)) & tops;
}

bool cn_h1_value_ok(cn_str_t value)
{
    size_t i = 0;

    while (i < value.n) {
        uint64_t v;

        if (value.n - i >= sizeof(v)) {
            memcpy(&v, value.p + i, sizeof(v));
            if (CN_LIKELY(!may_have_control(v))) {
                i += sizeof(v);
                continue;
            }
        }
        if (cn_h1_is_control((unsigned char)value.p[i]) && value.p[i] != '\t')
            return false;
        i++;
    }
    return true;
}

/* ---- heads ---- */

/* What is gathered while the lines of one head or trailer section are read. */
typedef struct {
    cn_h1_parser_t *p;
    cn_msg_t *msg;
    char *at, *end;   /* unread lines */
    cn_str_t upgrade; /* value of the upgrade field */
    cn_str_t nominated[NOMINATED_MAX];
    unsigned n_nominated, n_host, n_length, n_coding, n_upgrade, n_te;
    bool chunked, close, keep_alive, asks_upgrade;
} head_t;

/* The next line without its CRLF; every line is known to end in CRLF. */
static bool next_line(head_t *h, cn_str_t *line)
{
    if (h->at >= h->end)
        return false;
    char *lf = memchr(h->at, '\n', (size_t)(h->end - h->at));
    *line = cn_str_make(h->at, (size_t)(lf - h->at) - 1);
    h->at = lf + 1;
    return true;
}

/* Splits a field line in place; the name becomes lower case. */
static cn_rc split_field(head_t *h, char *line, size_t n, cn_str_t *name, cn_str_t *value)
{
    size_t i = 0;
    char lower;
    while (i < n && (lower = token_char[(unsigned char)line[i]]) != '\0')
        line[i++] = lower;
    if (i == n || i == 0 || line[i] != ':') {
        bool control =
            i < n && cn_h1_is_control((unsigned char)line[i]) && line[i] != '\t' && line[i] != '\r';
        return cn_h1_fail(h->p, control ? CN_XERR_BAD_CHARS : CN_XERR_PROTOCOL, "bad header name");
    }
    *name = cn_str_make(line, i);
    *value = cn_str_trim(cn_str_make(line + i + 1, n - i - 1));
    if (CN_LIKELY(cn_h1_value_ok(*value)))
        return CN_OK;
    if (cn_str_find(*value, '\r') < value->n)
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "bare CR in a header");
    return cn_h1_fail(h->p, CN_XERR_BAD_CHARS, "control character in a header");
}

static bool next_element(cn_str_t *list, cn_str_t *element)
{
    while (cn_str_split(list, ',', element)) {
        *element = cn_str_trim(*element);
        if (element->n > 0)
            return true;
    }
    return false;
}

static bool is_token(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (token_char[(unsigned char)s.p[i]] == '\0')
            return false;
    }
    return s.n > 0;
}

static bool ieq_any(cn_str_t s, const cn_str_t *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (cn_str_ieq(s, v[i]))
            return true;
    }
    return false;
}

/* One name in a request's Connection field.  Taking away what an earlier hop
 * vouched for is not the client's right (facts 3). */
static cn_rc nominate(head_t *h, cn_str_t name)
{
    static const cn_str_t refused[] = {CN_STR("x-forwarded-for"), CN_STR("x-forwarded-proto"),
                                       CN_STR("x-forwarded-host")};
    if (h->n_nominated == NOMINATED_MAX)
        return cn_h1_fail(h->p, CN_XERR_BAD_CONNECTION, "too many names in connection");
    if (!is_token(name) || ieq_any(name, refused, CN_COUNT(refused)))
        return cn_h1_fail(h->p, CN_XERR_BAD_CONNECTION, "name not allowed in connection");
    if (cn_str_ieq(name, CN_STR("host")))
        return cn_h1_fail(h->p, CN_XERR_NO_HOST, "host named in connection");
    h->nominated[h->n_nominated++] = name;
    return CN_OK;
}

static cn_rc field_connection(head_t *h, cn_str_t value)
{
    cn_str_t name;
    while (next_element(&value, &name)) {
        if (cn_str_ieq(name, CN_STR("close")))
            h->close = true;
        else if (cn_str_ieq(name, CN_STR("keep-alive")))
            h->keep_alive = true;
        else if (cn_str_ieq(name, CN_STR("upgrade")))
            h->asks_upgrade = true;
        if (h->p->kind == CN_H1_REQUEST && nominate(h, name) != CN_OK)
            return CN_ERR;
    }
    return CN_OK;
}

static cn_rc field_length(head_t *h, cn_str_t value)
{
    if (h->n_length++ > 0)
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "more than one content-length");
    if (cn_str_u64(value, INT64_MAX, &h->msg->content_length) != CN_OK) {
        h->msg->content_length = CN_LENGTH_NONE;
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "bad content-length");
    }
    return CN_OK;
}

static cn_rc field_coding(head_t *h, cn_str_t value)
{
    if (h->n_coding++ > 0 || !cn_str_ieq(value, CN_STR("chunked")))
        return cn_h1_fail(h->p, CN_XERR_BAD_TE, "transfer-encoding other than chunked");
    h->chunked = true;
    return CN_OK;
}

/* `te` describes this connection, except for the promise to read trailers,
 * which gRPC peers look for. */
static void field_te(head_t *h, cn_str_t value)
{
    cn_str_t coding;
    while (next_element(&value, &coding)) {
        if (cn_str_ieq(coding, CN_STR("trailers")) && h->n_te++ == 0)
            cn_msg_add(h->msg, &h->msg->headers, CN_STR("te"), CN_STR("trailers"));
    }
}

static cn_rc field_host(head_t *h, cn_str_t value)
{
    if (h->n_host++ > 0)
        return cn_h1_fail(h->p, CN_XERR_BAD_HOST, "more than one host");
    cn_str_t host;
    uint16_t port;
    if (value.n > 0 && cn_uri_authority(value, &host, &port) != CN_OK)
        return cn_h1_fail(h->p, CN_XERR_BAD_HOST, "bad host");
    if (!h->msg->authority.p)
        h->msg->authority = value;
    return CN_OK;
}

static cn_rc take_field(head_t *h, cn_str_t name, cn_str_t value)
{
    bool request = h->p->kind == CN_H1_REQUEST;
    switch (cn_token_find(name)) {
    case CN_TOK_CONNECTION:
        return field_connection(h, value);
    case CN_TOK_CONTENT_LENGTH:
        return field_length(h, value);
    case CN_TOK_TRANSFER_ENCODING:
        return field_coding(h, value);
    case CN_TOK_KEEP_ALIVE:
    case CN_TOK_PROXY_CONNECTION:
    case CN_TOK_HTTP2_SETTINGS:
        return CN_OK;
    case CN_TOK_UPGRADE:
        h->n_upgrade++;
        h->upgrade = value;
        return CN_OK;
    case CN_TOK_TE:
        if (request)
            field_te(h, value);
        return CN_OK;
    case CN_TOK_HOST:
        if (request)
            return field_host(h, value);
        break;
    case CN_TOK_EXPECT:
        if (cn_str_ieq(value, CN_STR("100-continue")))
            h->msg->expect_continue = request;
        break;
    default:
        break;
    }
    cn_msg_add(h->msg, &h->msg->headers, name, value);
    return CN_OK;
}

static cn_rc read_field(head_t *h, cn_str_t line, cn_str_t *name, cn_str_t *value)
{
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "folded header line");
    /* The line is in the block that the pool holds for this message alone. */
    return split_field(h, h->at - line.n - 2, line.n, name, value);
}

static cn_rc read_fields(head_t *h)
{
    cn_str_t line, name, value;
    for (unsigned lines = 0; next_line(h, &line) && line.n > 0; lines++) {
        if (lines == h->p->limits.max_headers)
            return cn_h1_fail(h->p, CN_XERR_TOO_MANY, "too many headers");
        if (read_field(h, line, &name, &value) != CN_OK || take_field(h, name, value) != CN_OK)
            return CN_ERR;
    }
    return CN_OK;
}

/* ---- request line ---- */

static cn_rc check_target(cn_h1_parser_t *p, cn_str_t target)
{
    for (size_t i = 0; i < target.n; i++) {
        if (target.p[i] <= 0x20 || target.p[i] >= 0x7f)
            return cn_h1_fail(p, CN_XERR_PROTOCOL, "bad character in the target");
    }
    return target.n > 0 ? CN_OK : cn_h1_fail(p, CN_XERR_PROTOCOL, "no target");
}

/* Absolute-form: what it names wins over Host (RFC 9112 3.2.2). */
static cn_rc absolute_target(head_t *h, cn_str_t target)
{
    cn_str_t host, http = CN_STR("http://"), https = CN_STR("https://");
    uint16_t port;
    bool secure = cn_str_istarts(target, https);
    if (!secure && !cn_str_istarts(target, http)) {
        bool scheme = cn_str_find_str(target, CN_STR("://")) < target.n;
        return cn_h1_fail(h->p, scheme ? CN_XERR_BAD_URL : CN_XERR_PROTOCOL, "bad target");
    }
    size_t skip = secure ? https.n : http.n, n = skip;
    while (n < target.n && !memchr("/?#", target.p[n], 3))
        n++;
    h->msg->scheme = secure ? CN_STR("https") : CN_STR("http");
    h->msg->authority = cn_str_make(target.p + skip, n - skip);
    if (cn_uri_authority(h->msg->authority, &host, &port) != CN_OK)
        return cn_h1_fail(h->p, CN_XERR_BAD_HOST, "bad authority in the target");
    cn_str_t rest = cn_str_make(target.p + n, target.n - n);
    if (rest.n == 0 || rest.p[0] != '/')
        rest = cn_pool_printf(h->msg->pool, "/%.*s", CN_STR_ARG(rest));
    h->msg->target = rest;
    return CN_OK;
}

static cn_rc read_target(head_t *h, cn_str_t target)
{
    cn_msg_t *m = h->msg;
    bool connect = cn_str_eq(m->method, CN_STR("CONNECT"));
    m->target = target;
    m->scheme = CN_STR("http");
    if (check_target(h->p, target) != CN_OK)
        return CN_ERR;
    if (connect) {
        cn_str_t host;
        uint16_t port;
        m->authority = target;
        if (cn_uri_authority(target, &host, &port) != CN_OK || port == 0)
            return cn_h1_fail(h->p, CN_XERR_BAD_URL, "bad target of CONNECT");
        return CN_OK;
    }
    if (cn_str_eq(target, CN_STR("*"))) {
        m->path = target;
        if (!cn_str_eq(m->method, CN_STR("OPTIONS")))
            return cn_h1_fail(h->p, CN_XERR_BAD_URL, "* with another method than OPTIONS");
        return CN_OK;
    }
    if (target.p[0] != '/' && absolute_target(h, target) != CN_OK)
        return CN_ERR;
    m->target.n = cn_str_find(m->target, '#');
    cn_uri_split(m->target, &m->path, &m->query, &m->has_query);
    return CN_OK;
}

static cn_rc read_version(head_t *h, cn_str_t s)
{
    if (cn_str_eq(s, CN_STR("HTTP/1.1"))) {
        h->msg->version = CN_HTTP_11;
        return CN_OK;
    }
    if (s.n != 8 || !cn_str_starts(s, CN_STR("HTTP/")) || !cn_h1_is_digit(s.p[5]) ||
        s.p[6] != '.' || !cn_h1_is_digit(s.p[7]))
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "bad version");
    if (s.p[5] == '1' && s.p[7] == '0')
        h->msg->version = CN_HTTP_10;
    return cn_h1_fail(h->p, CN_XERR_VERSION, "version other than 1.1");
}

/* The method was checked by opening_ok(). */
static cn_rc read_request_line(head_t *h)
{
    cn_str_t line, target, version;
    if (!next_line(h, &line) || line.n == 0)
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "no request line");
    size_t n = cn_str_find(line, ' ');
    if (n == line.n)
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "no target");
    h->msg->method = cn_str_make(line.p, n);
    target = cn_str_make(line.p + n + 1, line.n - n - 1);
    n = cn_str_find(target, ' ');
    if (n == target.n && n > 0) {
        h->msg->target = target;
        return cn_h1_fail(h->p, CN_XERR_VERSION, "no version");
    }
    version = cn_str_make(target.p + n + 1, target.n - n - (n < target.n));
    target.n = n;
    if (n == 0)
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "no target");
    if (read_version(h, version) != CN_OK) {
        h->msg->target = target;
        return CN_ERR;
    }
    return read_target(h, target);
}

/* ---- the whole request ---- */

static cn_rc request_framing(head_t *h)
{
    cn_h1_parser_t *p = h->p;
    cn_msg_t *m = h->msg;
    if (h->chunked && h->n_length > 0)
        return cn_h1_fail(p, CN_XERR_CL_TE, "content-length and transfer-encoding");
    p->keep_alive = !h->close;
    p->left = 0;
    p->state = CN_H1_ST_COMPLETE;
    if (h->chunked) {
        p->framing = CN_H1_FRAME_CHUNKED;
        p->state = CN_H1_ST_SIZE;
    } else if (h->n_length > 0 && m->content_length > 0) {
        p->framing = CN_H1_FRAME_LENGTH;
        p->left = m->content_length;
        p->state = CN_H1_ST_LENGTH;
    }
    m->has_body = p->framing != CN_H1_FRAME_NONE;
    return CN_OK;
}

static cn_rc request_upgrade(head_t *h)
{
    if (!h->asks_upgrade || h->n_upgrade == 0)
        return CN_OK;
    if (h->n_upgrade == 1 && cn_str_ieq(h->upgrade, CN_STR("h2c")))
        return CN_OK;
    if (h->n_upgrade > 1 || !cn_str_ieq(h->upgrade, CN_STR("websocket")))
        return cn_h1_fail(h->p, CN_XERR_BAD_UPGRADE, "upgrade to something unknown");
    if (h->msg->has_body || !cn_str_eq(h->msg->method, CN_STR("GET")))
        return cn_h1_fail(h->p, CN_XERR_BAD_UPGRADE, "websocket upgrade that is no plain GET");
    h->msg->upgrade_websocket = h->msg->has_body = true;
    h->msg->content_length = CN_LENGTH_NONE; /* it may have said 0 */
    return CN_OK;
}

static void drop_nominated(head_t *h)
{
    for (unsigned i = 0; i < h->n_nominated; i++) {
        char lower[64];
        cn_str_t name = h->nominated[i];
        if (name.n > sizeof(lower)) {
            char *copy = cn_pool_bytes(h->msg->pool, name.n);
            cn_str_lower(copy, name.p, name.n);
            name.p = copy;
        } else {
            cn_str_lower(lower, name.p, name.n);
            name.p = lower;
        }
        cn_msg_remove(&h->msg->headers, name);
        if (cn_str_eq(name, CN_STR("expect")))
            h->msg->expect_continue = false;
    }
}

/* Lists whose lines count as one value when rules look at them (facts 3). */
static void join_lines(cn_msg_t *m, cn_token token)
{
    cn_str_t name = cn_token_name(token);
    const cn_header_t *first = cn_msg_get(&m->headers, token), *more;
    if (!first || !(more = cn_msg_find(&m->headers, name, first)))
        return;
    size_t total = first->value.n;
    for (; more; more = cn_msg_find(&m->headers, name, more))
        total += 1 + more->value.n;
    char *all = cn_pool_bytes(m->pool, total), *at = all;
    for (more = first; more; more = cn_msg_find(&m->headers, name, more)) {
        if (at > all)
            *at++ = ',';
        if (more->value.n > 0)
            memcpy(at, more->value.p, more->value.n);
        at += more->value.n;
    }
    cn_msg_set(m, &m->headers, name, cn_str_make(all, (size_t)(at - all)));
}

static cn_rc read_request(head_t *h)
{
    if (read_request_line(h) != CN_OK || read_fields(h) != CN_OK || request_framing(h) != CN_OK)
        return CN_ERR;
    if (!h->msg->authority.p)
        return cn_h1_fail(h->p, CN_XERR_NO_HOST, "no host");
    drop_nominated(h);
    join_lines(h->msg, CN_TOK_ACCEPT);
    join_lines(h->msg, CN_TOK_X_FORWARDED_FOR);
    join_lines(h->msg, CN_TOK_X_REQUEST_ID);
    return request_upgrade(h);
}

/* ---- responses ---- */

/* "HTTP/1.1 200 OK"; the reason is dropped, and some servers leave it out. */
static cn_rc read_status_line(head_t *h)
{
    cn_str_t line;
    if (!next_line(h, &line) || line.n < 12 || !cn_str_starts(line, CN_STR("HTTP/1.")) ||
        (line.p[7] != '0' && line.p[7] != '1') || line.p[8] != ' ')
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "bad status line");
    const char *s = line.p + 9;
    if (!cn_h1_is_digit(s[0]) || s[0] == '0' || !cn_h1_is_digit(s[1]) || !cn_h1_is_digit(s[2]) ||
        (line.n > 12 && s[3] != ' '))
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "bad status");
    if (!cn_h1_value_ok(cn_str_make(line.p + 12, line.n - 12)))
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "control character in the reason");
    h->msg->version = line.p[7] == '1' ? CN_HTTP_11 : CN_HTTP_10;
    h->msg->status = (uint16_t)((s[0] - '0') * 100 + (s[1] - '0') * 10 + (s[2] - '0'));
    return CN_OK;
}

/* RFC 9112 6.3, without the cases that it calls an error. */
static void response_framing(head_t *h)
{
    cn_h1_parser_t *p = h->p;
    cn_msg_t *m = h->msg;
    p->state = CN_H1_ST_COMPLETE;
    if (cn_msg_bodyless(p->req_method, m->status)) {
        if (m->status < 200 || m->status == 204)
            m->content_length = CN_LENGTH_NONE;
    } else if (h->chunked) {
        p->framing = CN_H1_FRAME_CHUNKED;
        p->state = CN_H1_ST_SIZE;
    } else if (h->n_length > 0) {
        p->framing = CN_H1_FRAME_LENGTH;
        p->left = m->content_length;
        p->state = p->left > 0 ? CN_H1_ST_LENGTH : CN_H1_ST_COMPLETE;
    } else {
        p->framing = CN_H1_FRAME_EOF;
        p->state = CN_H1_ST_UNTIL_EOF;
        p->keep_alive = false;
    }
    m->has_body = p->state != CN_H1_ST_COMPLETE;
}

static cn_rc read_response(head_t *h)
{
    if (read_status_line(h) != CN_OK || read_fields(h) != CN_OK)
        return CN_ERR;
    bool old = h->msg->version == CN_HTTP_10;
    if (h->chunked && (h->n_length > 0 || old))
        return cn_h1_fail(h->p, CN_XERR_PROTOCOL, "doubtful framing");
    h->p->keep_alive = !h->close && (!old || h->keep_alive);
    response_framing(h);
    h->msg->upgrade_websocket = h->msg->status == 101 && h->asks_upgrade && h->n_upgrade == 1 &&
                                cn_str_ieq(h->upgrade, CN_STR("websocket"));
    return CN_OK;
}

/* ---- trailers ---- */

/* Fields that mean nothing, or something dangerous, behind a body: framing,
 * routing, authentication, and what the proxy itself vouches for (RFC 9110 6.5.1). */
bool cn_h1_trailer_ok(cn_str_t name)
{
    static const cn_str_t refused[] = {
        CN_STR("age"),
        CN_STR("authorization"),
        CN_STR("cache-control"),
        CN_STR("connection"),
        CN_STR("content-encoding"),
        CN_STR("content-length"),
        CN_STR("content-range"),
        CN_STR("content-type"),
        CN_STR("cookie"),
        CN_STR("date"),
        CN_STR("expect"),
        CN_STR("expires"),
        CN_STR("forwarded"),
        CN_STR("host"),
        CN_STR("keep-alive"),
        CN_STR("location"),
        CN_STR("max-forwards"),
        CN_STR("pragma"),
        CN_STR("proxy-authenticate"),
        CN_STR("proxy-authorization"),
        CN_STR("proxy-connection"),
        CN_STR("range"),
        CN_STR("retry-after"),
        CN_STR("set-cookie"),
        CN_STR("te"),
        CN_STR("trailer"),
        CN_STR("transfer-encoding"),
        CN_STR("upgrade"),
        CN_STR("vary"),
        CN_STR("www-authenticate"),
        CN_STR("x-request-id"),
    };
    return !ieq_any(name, refused, CN_COUNT(refused)) &&
           !cn_str_starts(name, CN_STR("x-forwarded-")) && !cn_str_starts(name, CN_STR("x-envoy-"));
}

static cn_rc read_trailers(head_t *h)
{
    cn_str_t line, name, value;
    for (unsigned lines = 0; next_line(h, &line) && line.n > 0; lines++) {
        if (lines == h->p->limits.max_headers)
            return cn_h1_fail(h->p, CN_XERR_TOO_MANY, "too many trailers");
        if (read_field(h, line, &name, &value) != CN_OK)
            return CN_ERR;
        if (cn_h1_trailer_ok(name))
            cn_msg_add(h->msg, &h->msg->trailers, name, value);
    }
    return CN_OK;
}

/* ---- entry points ---- */

static head_t head_of(cn_h1_parser_t *p, cn_msg_t *msg, char *block, size_t n)
{
    return (head_t){.p = p, .msg = msg, .at = block, .end = block + n};
}

cn_rc cn_h1_head_read(cn_h1_parser_t *p, cn_msg_t *msg, char *block, size_t n)
{
    head_t h = head_of(p, msg, block, n);
    return p->kind == CN_H1_REQUEST ? read_request(&h) : read_response(&h);
}

void cn_h1_head_read_opening(cn_h1_parser_t *p, cn_msg_t *msg, char *block, size_t n)
{
    head_t h = head_of(p, msg, block, n);
    (void)read_request_line(&h);
}

cn_rc cn_h1_head_read_trailers(cn_h1_parser_t *p, cn_msg_t *msg, char *block, size_t n)
{
    head_t h = head_of(p, msg, block, n);
    cn_rc rc = read_trailers(&h);
    if (rc != CN_OK)
        msg->trailers.n = 0;
    return rc;
}
