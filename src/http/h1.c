/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 reading, sans I/O.  Responsible for finding message boundaries and
 * for refusing whatever two parsers could read differently (RFC 9112, 11.2):
 * line ends other than CRLF, folded lines, doubtful framing.  Knows nothing of
 * streams, tasks or routing.  The parser owns no memory: heads go to the pool
 * of the message, body bytes from chain to chain.
 *
 *   HEAD -> LENGTH | UNTIL_EOF | SIZE -> (SIZE_BLANK, EXTENSION) -> SIZE_LF
 *   SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...  -> TRAILERS -> COMPLETE
 *   any -> FAILED, which is final
 */
#include "http/h1.h"

#include "http/h1_int.h"
#include "http/uri.h"

const cn_h1_limits_t cn_h1_limits_default = {
    .max_line = 60 * 1024, .max_head = 60 * 1024, .max_headers = 100};
const cn_h1_limits_t cn_h1_limits_response = {
    .max_line = 256 * 1024, .max_head = 256 * 1024, .max_headers = 100};

enum {
    METHOD_MAX = 32,
    BLANK_LINES_MAX = 2,
    CHUNK_LINE_MAX = 4096,
    CHUNK_DIGITS_MAX = 15, /* 2^60 */
    NOMINATED_MAX = 9,
    SMALL_COPY = 512
};

enum {
    ST_HEAD,
    ST_LENGTH,
    ST_UNTIL_EOF,
    ST_SIZE,
    ST_SIZE_BLANK,
    ST_EXTENSION,
    ST_SIZE_LF,
    ST_DATA,
    ST_DATA_CR,
    ST_DATA_LF,
    ST_TRAILERS,
    ST_COMPLETE,
    ST_FAILED
};

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

bool cn_h1_value_ok(cn_str_t value)
{
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (CN_UNLIKELY((c < 0x20 && c != '\t') || c == 0x7f))
            return false;
    }
    return true;
}

static bool is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

static bool is_method_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* ---- the parser as a whole ---- */

void cn_h1_parser_init(cn_h1_parser_t *p, cn_h1_kind kind, const cn_h1_limits_t *limits)
{
    *p = (cn_h1_parser_t){.kind = kind, .limits = *limits, .state = ST_HEAD};
}

static void rewind_scan(cn_h1_parser_t *p)
{
    p->scan = p->line = 0;
    p->last = '\0';
    p->blank = 0;
}

void cn_h1_parser_next(cn_h1_parser_t *p)
{
    if (p->state == ST_FAILED)
        return;
    p->state = ST_HEAD;
    p->framing = CN_H1_FRAME_NONE;
    p->keep_alive = false;
    p->left = 0;
    p->head_bytes = 0;
    rewind_scan(p);
}

void cn_h1_parser_upgrade(cn_h1_parser_t *p)
{
    p->state = ST_UNTIL_EOF;
    p->framing = CN_H1_FRAME_EOF;
    p->keep_alive = false;
}

/* To a client each fault has its own answer; a faulty server is just that. */
static cn_rc fail(cn_h1_parser_t *p, cn_xerr err, const char *text)
{
    p->err = p->kind == CN_H1_RESPONSE ? CN_XERR_PROTOCOL : err;
    p->err_text = text;
    p->state = ST_FAILED;
    return CN_ERR;
}

bool cn_h1_parser_begun(cn_h1_parser_t *p, cn_chain_t *in)
{
    char two[2];
    while (p->kind == CN_H1_REQUEST && p->scan == 0 && p->blank < BLANK_LINES_MAX) {
        size_t n = cn_chain_peek(in, two, 2);
        if (n == 0 || two[0] != '\r')
            return n > 0;
        if (n == 1)
            return false;
        if (two[1] != '\n')
            return true;
        cn_chain_skip(in, 2);
        p->blank++;
    }
    return in->bytes > 0;
}

/* ---- finding the end of a head or trailer section ---- */

/* Looks at n new bytes.  CN_OK: the empty line ends at *len. */
static cn_rc scan_slice(cn_h1_parser_t *p, const char *s, size_t n, size_t *len)
{
    while (n > 0) {
        const char *lf = memchr(s, '\n', n);
        size_t step = lf ? (size_t)(lf - s) + 1 : n;
        char before = step > 1 ? s[step - 2] : p->last;
        if (p->scan + step > p->limits.max_head || p->scan + step - p->line > p->limits.max_line)
            return fail(p, CN_XERR_TOO_LARGE, "head too large");
        p->scan += (uint32_t)step;
        p->last = s[step - 1];
        if (!lf)
            return CN_AGAIN;
        if (before != '\r')
            return fail(p, CN_XERR_PROTOCOL, "line ends without CR");
        if (p->scan - p->line == 2) {
            *len = p->scan;
            return CN_OK;
        }
        p->line = p->scan;
        s += step;
        n -= step;
    }
    return CN_AGAIN;
}

static cn_rc scan_block(cn_h1_parser_t *p, const cn_chain_t *in, size_t *len)
{
    uint32_t i = in->n;
    size_t at = in->bytes; /* where slice i begins; new slices are at the end */
    while (at > p->scan)
        at -= cn_chain_at(in, --i)->len;
    for (; i < in->n; i++) {
        const cn_buf_t *b = cn_chain_at(in, i);
        size_t seen = p->scan - at;
        cn_rc rc = scan_slice(p, b->chunk->data + b->off + seen, b->len - seen, len);
        if (rc != CN_AGAIN)
            return rc;
        at += b->len;
    }
    return CN_AGAIN;
}

/* Moves the first len bytes into the pool. */
static char *take_block(cn_chain_t *in, cn_pool_t *pool, size_t len)
{
    char *block = cn_pool_bytes(pool, len);
    cn_chain_peek(in, block, len);
    cn_chain_skip(in, len);
    return block;
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
            i < n && is_control((unsigned char)line[i]) && line[i] != '\t' && line[i] != '\r';
        return fail(h->p, control ? CN_XERR_BAD_CHARS : CN_XERR_PROTOCOL, "bad header name");
    }
    *name = cn_str_make(line, i);
    *value = cn_str_trim(cn_str_make(line + i + 1, n - i - 1));
    if (CN_LIKELY(cn_h1_value_ok(*value)))
        return CN_OK;
    if (cn_str_find(*value, '\r') < value->n)
        return fail(h->p, CN_XERR_PROTOCOL, "bare CR in a header");
    return fail(h->p, CN_XERR_BAD_CHARS, "control character in a header");
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
        return fail(h->p, CN_XERR_BAD_CONNECTION, "too many names in connection");
    if (!is_token(name) || ieq_any(name, refused, CN_COUNT(refused)))
        return fail(h->p, CN_XERR_BAD_CONNECTION, "name not allowed in connection");
    if (cn_str_ieq(name, CN_STR("host")))
        return fail(h->p, CN_XERR_NO_HOST, "host named in connection");
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
        return fail(h->p, CN_XERR_PROTOCOL, "more than one content-length");
    if (cn_str_u64(value, INT64_MAX, &h->msg->content_length) != CN_OK) {
        h->msg->content_length = CN_LENGTH_NONE;
        return fail(h->p, CN_XERR_PROTOCOL, "bad content-length");
    }
    return CN_OK;
}

static cn_rc field_coding(head_t *h, cn_str_t value)
{
    if (h->n_coding++ > 0 || !cn_str_ieq(value, CN_STR("chunked")))
        return fail(h->p, CN_XERR_BAD_TE, "transfer-encoding other than chunked");
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
        return fail(h->p, CN_XERR_BAD_HOST, "more than one host");
    cn_str_t host;
    uint16_t port;
    if (value.n > 0 && cn_uri_authority(value, &host, &port) != CN_OK)
        return fail(h->p, CN_XERR_BAD_HOST, "bad host");
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
        return fail(h->p, CN_XERR_PROTOCOL, "folded header line");
    /* The line is in the block that the pool holds for this message alone. */
    return split_field(h, h->at - line.n - 2, line.n, name, value);
}

static cn_rc read_fields(head_t *h)
{
    cn_str_t line, name, value;
    for (unsigned lines = 0; next_line(h, &line) && line.n > 0; lines++) {
        if (lines == h->p->limits.max_headers)
            return fail(h->p, CN_XERR_TOO_MANY, "too many headers");
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
            return fail(p, CN_XERR_PROTOCOL, "bad character in the target");
    }
    return target.n > 0 ? CN_OK : fail(p, CN_XERR_PROTOCOL, "no target");
}

/* Absolute-form: what it names wins over Host (RFC 9112 3.2.2). */
static cn_rc absolute_target(head_t *h, cn_str_t target)
{
    cn_str_t host, http = CN_STR("http://"), https = CN_STR("https://");
    uint16_t port;
    bool secure = cn_str_istarts(target, https);
    if (!secure && !cn_str_istarts(target, http)) {
        bool scheme = cn_str_find_str(target, CN_STR("://")) < target.n;
        return fail(h->p, scheme ? CN_XERR_BAD_URL : CN_XERR_PROTOCOL, "bad target");
    }
    size_t skip = secure ? https.n : http.n, n = skip;
    while (n < target.n && !memchr("/?#", target.p[n], 3))
        n++;
    h->msg->scheme = secure ? CN_STR("https") : CN_STR("http");
    h->msg->authority = cn_str_make(target.p + skip, n - skip);
    if (cn_uri_authority(h->msg->authority, &host, &port) != CN_OK)
        return fail(h->p, CN_XERR_BAD_HOST, "bad authority in the target");
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
            return fail(h->p, CN_XERR_BAD_URL, "bad target of CONNECT");
        return CN_OK;
    }
    if (cn_str_eq(target, CN_STR("*"))) {
        m->path = target;
        if (!cn_str_eq(m->method, CN_STR("OPTIONS")))
            return fail(h->p, CN_XERR_BAD_URL, "* with another method than OPTIONS");
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
    if (s.n != 8 || !cn_str_starts(s, CN_STR("HTTP/")) || !is_digit(s.p[5]) || s.p[6] != '.' ||
        !is_digit(s.p[7]))
        return fail(h->p, CN_XERR_PROTOCOL, "bad version");
    if (s.p[5] == '1' && s.p[7] == '0')
        h->msg->version = CN_HTTP_10;
    return fail(h->p, CN_XERR_VERSION, "version other than 1.1");
}

/* The method was checked by opening_ok(). */
static cn_rc read_request_line(head_t *h)
{
    cn_str_t line, target, version;
    if (!next_line(h, &line) || line.n == 0)
        return fail(h->p, CN_XERR_PROTOCOL, "no request line");
    size_t n = cn_str_find(line, ' ');
    if (n == line.n)
        return fail(h->p, CN_XERR_PROTOCOL, "no target");
    h->msg->method = cn_str_make(line.p, n);
    target = cn_str_make(line.p + n + 1, line.n - n - 1);
    n = cn_str_find(target, ' ');
    if (n == target.n && n > 0) {
        h->msg->target = target;
        return fail(h->p, CN_XERR_VERSION, "no version");
    }
    version = cn_str_make(target.p + n + 1, target.n - n - (n < target.n));
    target.n = n;
    if (n == 0)
        return fail(h->p, CN_XERR_PROTOCOL, "no target");
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
        return fail(p, CN_XERR_CL_TE, "content-length and transfer-encoding");
    p->keep_alive = !h->close;
    p->left = 0;
    p->state = ST_COMPLETE;
    if (h->chunked) {
        p->framing = CN_H1_FRAME_CHUNKED;
        p->state = ST_SIZE;
    } else if (h->n_length > 0 && m->content_length > 0) {
        p->framing = CN_H1_FRAME_LENGTH;
        p->left = m->content_length;
        p->state = ST_LENGTH;
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
        return fail(h->p, CN_XERR_BAD_UPGRADE, "upgrade to something unknown");
    if (h->msg->has_body || !cn_str_eq(h->msg->method, CN_STR("GET")))
        return fail(h->p, CN_XERR_BAD_UPGRADE, "websocket upgrade that is no plain GET");
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
        return fail(h->p, CN_XERR_NO_HOST, "no host");
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
        return fail(h->p, CN_XERR_PROTOCOL, "bad status line");
    const char *s = line.p + 9;
    if (!is_digit(s[0]) || s[0] == '0' || !is_digit(s[1]) || !is_digit(s[2]) ||
        (line.n > 12 && s[3] != ' '))
        return fail(h->p, CN_XERR_PROTOCOL, "bad status");
    if (!cn_h1_value_ok(cn_str_make(line.p + 12, line.n - 12)))
        return fail(h->p, CN_XERR_PROTOCOL, "control character in the reason");
    h->msg->version = line.p[7] == '1' ? CN_HTTP_11 : CN_HTTP_10;
    h->msg->status = (uint16_t)((s[0] - '0') * 100 + (s[1] - '0') * 10 + (s[2] - '0'));
    return CN_OK;
}

/* RFC 9112 6.3, without the cases that it calls an error. */
static void response_framing(head_t *h)
{
    cn_h1_parser_t *p = h->p;
    cn_msg_t *m = h->msg;
    p->state = ST_COMPLETE;
    if (cn_msg_bodyless(p->req_method, m->status)) {
        if (m->status < 200 || m->status == 204)
            m->content_length = CN_LENGTH_NONE;
    } else if (h->chunked) {
        p->framing = CN_H1_FRAME_CHUNKED;
        p->state = ST_SIZE;
    } else if (h->n_length > 0) {
        p->framing = CN_H1_FRAME_LENGTH;
        p->left = m->content_length;
        p->state = p->left > 0 ? ST_LENGTH : ST_COMPLETE;
    } else {
        p->framing = CN_H1_FRAME_EOF;
        p->state = ST_UNTIL_EOF;
        p->keep_alive = false;
    }
    m->has_body = p->state != ST_COMPLETE;
}

static cn_rc read_response(head_t *h)
{
    if (read_status_line(h) != CN_OK || read_fields(h) != CN_OK)
        return CN_ERR;
    bool old = h->msg->version == CN_HTTP_10;
    if (h->chunked && (h->n_length > 0 || old))
        return fail(h->p, CN_XERR_PROTOCOL, "doubtful framing");
    h->p->keep_alive = !h->close && (!old || h->keep_alive);
    response_framing(h);
    h->msg->upgrade_websocket = h->msg->status == 101 && h->asks_upgrade && h->n_upgrade == 1 &&
                                cn_str_ieq(h->upgrade, CN_STR("websocket"));
    return CN_OK;
}

/* ---- entry points for heads ---- */

/* Refuses what cannot become a start line at its first wrong byte, so that a
 * peer that speaks something else learns it at once. */
static bool opening_ok(const cn_h1_parser_t *p, const cn_chain_t *in)
{
    char s[METHOD_MAX + 1];
    size_t n = cn_chain_peek(in, s, sizeof(s)), i = 0;
    if (p->kind == CN_H1_RESPONSE)
        return memcmp(s, "HTTP/1.", n < 7 ? n : 7) == 0;
    while (i < n && is_method_char(s[i]))
        i++;
    return i == n ? n <= METHOD_MAX : i > 0 && s[i] == ' ';
}

/* For the log: method and target of a request whose head could not be read. */
static void read_opening(cn_h1_parser_t *p, cn_chain_t *in, cn_msg_t *msg)
{
    cn_h1_parser_t scratch = *p;
    if (p->kind != CN_H1_REQUEST || p->line == 0)
        return;
    char *block = cn_pool_bytes(msg->pool, p->line);
    cn_chain_peek(in, block, p->line);
    head_t h = {.p = &scratch, .msg = msg, .at = block, .end = block + p->line};
    (void)read_request_line(&h);
}

cn_rc cn_h1_parse_head(cn_h1_parser_t *p, cn_chain_t *in, cn_msg_t *msg)
{
    size_t len = 0;
    if (p->state == ST_FAILED)
        return CN_ERR;
    CN_BUG_ON(p->state != ST_HEAD);
    if (!cn_h1_parser_begun(p, in))
        return CN_AGAIN;
    if (p->scan <= METHOD_MAX && !opening_ok(p, in))
        return fail(p, CN_XERR_PROTOCOL, "this is not HTTP/1");
    cn_rc rc = scan_block(p, in, &len);
    if (rc == CN_ERR)
        read_opening(p, in, msg);
    if (rc != CN_OK)
        return rc;
    char *block = take_block(in, msg->pool, len);
    head_t h = {.p = p, .msg = msg, .at = block, .end = block + len};
    p->head_bytes = (uint32_t)len;
    rewind_scan(p);
    return p->kind == CN_H1_REQUEST ? read_request(&h) : read_response(&h);
}

/* ---- bodies ---- */

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static cn_rc size_char(cn_h1_parser_t *p, char c)
{
    int digit = hex_digit(c);
    if (p->state == ST_SIZE && digit >= 0) {
        if (p->blank++ == CHUNK_DIGITS_MAX)
            return fail(p, CN_XERR_PROTOCOL, "chunk size too large");
        p->left = p->left * 16 + (unsigned)digit;
        return CN_OK;
    }
    if (p->state == ST_SIZE && p->blank == 0)
        return fail(p, CN_XERR_PROTOCOL, "no chunk size");
    if (c == '\r')
        p->state = ST_SIZE_LF;
    else if (p->state == ST_EXTENSION && (!is_control((unsigned char)c) || c == '\t'))
        return CN_OK;
    else if (c == ' ' || c == '\t')
        p->state = ST_SIZE_BLANK;
    else if (c == ';')
        p->state = ST_EXTENSION;
    else
        return fail(p, CN_XERR_PROTOCOL, "bad chunk size line");
    return CN_OK;
}

/* One byte of chunk framing. */
static cn_rc framing_char(cn_h1_parser_t *p, char c)
{
    switch (p->state) {
    case ST_SIZE:
    case ST_SIZE_BLANK:
    case ST_EXTENSION:
        if (p->scan++ == CHUNK_LINE_MAX)
            return fail(p, CN_XERR_PROTOCOL, "chunk size line too long");
        return size_char(p, c);
    case ST_SIZE_LF:
        rewind_scan(p);
        p->state = p->left > 0 ? ST_DATA : ST_TRAILERS;
        return c == '\n' ? CN_OK : fail(p, CN_XERR_PROTOCOL, "bare CR in chunk framing");
    case ST_DATA_CR:
        p->state = ST_DATA_LF;
        return c == '\r' ? CN_OK : fail(p, CN_XERR_PROTOCOL, "chunk data without end");
    default:
        p->state = ST_SIZE;
        return c == '\n' ? CN_OK : fail(p, CN_XERR_PROTOCOL, "chunk data without end");
    }
}

static bool in_framing(const cn_h1_parser_t *p)
{
    return p->state >= ST_SIZE && p->state <= ST_DATA_LF && p->state != ST_DATA;
}

static cn_rc take_framing(cn_h1_parser_t *p, cn_chain_t *in)
{
    cn_str_t s = cn_chain_front(in);
    size_t i = 0;
    cn_rc rc = s.n > 0 ? CN_OK : CN_AGAIN;
    while (rc == CN_OK && i < s.n && in_framing(p))
        rc = framing_char(p, s.p[i++]);
    cn_chain_skip(in, i);
    return rc;
}

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
            return fail(h->p, CN_XERR_TOO_MANY, "too many trailers");
        if (read_field(h, line, &name, &value) != CN_OK)
            return CN_ERR;
        if (cn_h1_trailer_ok(name))
            cn_msg_add(h->msg, &h->msg->trailers, name, value);
    }
    return CN_OK;
}

static cn_rc take_trailers(cn_h1_parser_t *p, cn_chain_t *in, cn_msg_t *msg)
{
    size_t len = 0;
    cn_rc rc = scan_block(p, in, &len);
    if (rc != CN_OK)
        return rc;
    char *block = take_block(in, msg->pool, len);
    head_t h = {.p = p, .msg = msg, .at = block, .end = block + len};
    rewind_scan(p);
    p->state = ST_COMPLETE;
    rc = read_trailers(&h);
    if (rc != CN_OK)
        msg->trailers.n = 0;
    return rc;
}

/* Moves n bytes; small pieces are copied so that chunks of a few bytes do not
 * cost a slice each. */
static void move_some(cn_chain_t *out, cn_chain_t *in, size_t n)
{
    char small[SMALL_COPY];
    if (n > sizeof(small)) {
        cn_chain_move(out, in, n);
        return;
    }
    cn_chain_peek(in, small, n);
    cn_chain_copy(out, small, n);
    cn_chain_skip(in, n);
}

static cn_rc take_data(cn_h1_parser_t *p, cn_chain_t *in, cn_chain_t *out, size_t room)
{
    size_t n = in->bytes < room ? in->bytes : room;
    if (p->state != ST_UNTIL_EOF && n > p->left)
        n = (size_t)p->left;
    if (n == 0)
        return CN_AGAIN;
    move_some(out, in, n);
    if (p->state == ST_UNTIL_EOF)
        return CN_OK;
    p->left -= n;
    if (p->left == 0)
        p->state = p->state == ST_LENGTH ? ST_COMPLETE : ST_DATA_CR;
    return CN_OK;
}

cn_rc cn_h1_parse_body(cn_h1_parser_t *p, cn_chain_t *in, cn_chain_t *out, size_t max,
                       cn_msg_t *msg)
{
    size_t start = out->bytes;
    cn_rc rc = CN_OK;
    CN_BUG_ON(p->state == ST_HEAD);
    while (rc == CN_OK) {
        if (p->state == ST_COMPLETE)
            rc = CN_DONE;
        else if (p->state == ST_FAILED)
            rc = CN_ERR;
        else if (p->state == ST_TRAILERS)
            rc = take_trailers(p, in, msg);
        else if (in_framing(p))
            rc = take_framing(p, in);
        else
            rc = take_data(p, in, out, max - (out->bytes - start));
    }
    /* What was moved is good; why it ended is told by the next call. */
    return out->bytes > start ? CN_OK : rc;
}

cn_rc cn_h1_parse_eof(cn_h1_parser_t *p)
{
    if (p->state == ST_UNTIL_EOF)
        p->state = ST_COMPLETE;
    if (p->state == ST_COMPLETE || (p->state == ST_HEAD && p->scan == 0))
        return CN_DONE;
    if (p->state == ST_FAILED)
        return CN_ERR;
    return fail(p, CN_XERR_PROTOCOL, "ended in the middle of a message");
}

bool cn_h1_parser_complete(const cn_h1_parser_t *p)
{
    return p->state == ST_COMPLETE;
}
