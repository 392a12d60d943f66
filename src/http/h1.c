/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/1.1 reading, sans I/O.  Responsible for finding message boundaries and
 * for refusing whatever two parsers could read differently (RFC 9112, 11.2);
 * what a head says is read by h1_head.c.  Knows nothing of streams, tasks or
 * routing.  The parser owns no memory: heads go to the pool of the message,
 * body bytes from chain to chain.
 *
 *   HEAD -> LENGTH | UNTIL_EOF | SIZE -> (SIZE_BLANK, EXTENSION) -> SIZE_LF
 *   SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...  -> TRAILERS -> COMPLETE
 *   any -> FAILED, which is final
 */
#include "http/h1.h"

#include "http/h1_int.h"

const cn_h1_limits_t cn_h1_limits_default = {
    .max_line = 60 * 1024, .max_head = 60 * 1024, .max_headers = 100};
const cn_h1_limits_t cn_h1_limits_response = {
    .max_line = 256 * 1024, .max_head = 256 * 1024, .max_headers = 100};

enum {
    METHOD_MAX = 32,
    BLANK_LINES_MAX = 2,
    CHUNK_LINE_MAX = 4096,
    CHUNK_DIGITS_MAX = 15, /* 2^60 */
    SMALL_COPY = 512
};

/* ---- the parser as a whole ---- */

void cn_h1_parser_init(cn_h1_parser_t *p, cn_h1_kind kind, const cn_h1_limits_t *limits)
{
    *p = (cn_h1_parser_t){.kind = kind, .limits = *limits, .state = CN_H1_ST_HEAD};
}

static void rewind_scan(cn_h1_parser_t *p)
{
    p->scan = p->line = 0;
    p->last = '\0';
    p->blank = 0;
}

void cn_h1_parser_next(cn_h1_parser_t *p)
{
    if (p->state == CN_H1_ST_FAILED)
        return;
    p->state = CN_H1_ST_HEAD;
    p->framing = CN_H1_FRAME_NONE;
    p->keep_alive = false;
    p->left = 0;
    p->head_bytes = 0;
    rewind_scan(p);
}

void cn_h1_parser_upgrade(cn_h1_parser_t *p)
{
    p->state = CN_H1_ST_UNTIL_EOF;
    p->framing = CN_H1_FRAME_EOF;
    p->keep_alive = false;
}

/* To a client each fault has its own answer; a faulty server is just that. */
cn_rc cn_h1_fail(cn_h1_parser_t *p, cn_xerr err, const char *text)
{
    p->err = p->kind == CN_H1_RESPONSE ? CN_XERR_PROTOCOL : err;
    p->err_text = text;
    p->state = CN_H1_ST_FAILED;
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
            return cn_h1_fail(p, CN_XERR_TOO_LARGE, "head too large");
        p->scan += (uint32_t)step;
        p->last = s[step - 1];
        if (!lf)
            return CN_AGAIN;
        if (before != '\r')
            return cn_h1_fail(p, CN_XERR_PROTOCOL, "line ends without CR");
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

/* ---- entry points for heads ---- */

static bool is_method_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

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
    cn_h1_head_read_opening(&scratch, msg, block, p->line);
}

cn_rc cn_h1_parse_head(cn_h1_parser_t *p, cn_chain_t *in, cn_msg_t *msg)
{
    size_t len = 0;
    if (p->state == CN_H1_ST_FAILED)
        return CN_ERR;
    CN_BUG_ON(p->state != CN_H1_ST_HEAD);
    if (!cn_h1_parser_begun(p, in))
        return CN_AGAIN;
    if (p->scan <= METHOD_MAX && !opening_ok(p, in))
        return cn_h1_fail(p, CN_XERR_PROTOCOL, "this is not HTTP/1");
    cn_rc rc = scan_block(p, in, &len);
    if (rc == CN_ERR)
        read_opening(p, in, msg);
    if (rc != CN_OK)
        return rc;
    char *block = take_block(in, msg->pool, len);
    p->head_bytes = (uint32_t)len;
    rewind_scan(p);
    return cn_h1_head_read(p, msg, block, len);
}

/* ---- bodies ---- */

static int hex_digit(char c)
{
    if (cn_h1_is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static cn_rc size_char(cn_h1_parser_t *p, char c)
{
    int digit = hex_digit(c);
    if (p->state == CN_H1_ST_SIZE && digit >= 0) {
        if (p->blank++ == CHUNK_DIGITS_MAX)
            return cn_h1_fail(p, CN_XERR_PROTOCOL, "chunk size too large");
        p->left = p->left * 16 + (unsigned)digit;
        return CN_OK;
    }
    if (p->state == CN_H1_ST_SIZE && p->blank == 0)
        return cn_h1_fail(p, CN_XERR_PROTOCOL, "no chunk size");
    if (c == '\r')
        p->state = CN_H1_ST_SIZE_LF;
    else if (p->state == CN_H1_ST_EXTENSION && (!cn_h1_is_control((unsigned char)c) || c == '\t'))
        return CN_OK;
    else if (c == ' ' || c == '\t')
        p->state = CN_H1_ST_SIZE_BLANK;
    else if (c == ';')
        p->state = CN_H1_ST_EXTENSION;
    else
        return cn_h1_fail(p, CN_XERR_PROTOCOL, "bad chunk size line");
    return CN_OK;
}

/* One byte of chunk framing. */
static cn_rc framing_char(cn_h1_parser_t *p, char c)
{
    switch (p->state) {
    case CN_H1_ST_SIZE:
    case CN_H1_ST_SIZE_BLANK:
    case CN_H1_ST_EXTENSION:
        if (p->scan++ == CHUNK_LINE_MAX)
            return cn_h1_fail(p, CN_XERR_PROTOCOL, "chunk size line too long");
        return size_char(p, c);
    case CN_H1_ST_SIZE_LF:
        rewind_scan(p);
        p->state = p->left > 0 ? CN_H1_ST_DATA : CN_H1_ST_TRAILERS;
        return c == '\n' ? CN_OK : cn_h1_fail(p, CN_XERR_PROTOCOL, "bare CR in chunk framing");
    case CN_H1_ST_DATA_CR:
        p->state = CN_H1_ST_DATA_LF;
        return c == '\r' ? CN_OK : cn_h1_fail(p, CN_XERR_PROTOCOL, "chunk data without end");
    default:
        p->state = CN_H1_ST_SIZE;
        return c == '\n' ? CN_OK : cn_h1_fail(p, CN_XERR_PROTOCOL, "chunk data without end");
    }
}

static bool in_framing(const cn_h1_parser_t *p)
{
    return p->state >= CN_H1_ST_SIZE && p->state <= CN_H1_ST_DATA_LF && p->state != CN_H1_ST_DATA;
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

static cn_rc take_trailers(cn_h1_parser_t *p, cn_chain_t *in, cn_msg_t *msg)
{
    size_t len = 0;
    cn_rc rc = scan_block(p, in, &len);
    if (rc != CN_OK)
        return rc;
    char *block = take_block(in, msg->pool, len);
    rewind_scan(p);
    p->state = CN_H1_ST_COMPLETE;
    return cn_h1_head_read_trailers(p, msg, block, len);
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
    if (p->state != CN_H1_ST_UNTIL_EOF && n > p->left)
        n = (size_t)p->left;
    if (n == 0)
        return CN_AGAIN;
    move_some(out, in, n);
    if (p->state == CN_H1_ST_UNTIL_EOF)
        return CN_OK;
    p->left -= n;
    if (p->left == 0)
        p->state = p->state == CN_H1_ST_LENGTH ? CN_H1_ST_COMPLETE : CN_H1_ST_DATA_CR;
    return CN_OK;
}

cn_rc cn_h1_parse_body(cn_h1_parser_t *p, cn_chain_t *in, cn_chain_t *out, size_t max,
                       cn_msg_t *msg)
{
    size_t start = out->bytes;
    cn_rc rc = CN_OK;
    CN_BUG_ON(p->state == CN_H1_ST_HEAD);
    while (rc == CN_OK) {
        if (p->state == CN_H1_ST_COMPLETE)
            rc = CN_DONE;
        else if (p->state == CN_H1_ST_FAILED)
            rc = CN_ERR;
        else if (p->state == CN_H1_ST_TRAILERS)
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
    if (p->state == CN_H1_ST_UNTIL_EOF)
        p->state = CN_H1_ST_COMPLETE;
    if (p->state == CN_H1_ST_COMPLETE || (p->state == CN_H1_ST_HEAD && p->scan == 0))
        return CN_DONE;
    if (p->state == CN_H1_ST_FAILED)
        return CN_ERR;
    return cn_h1_fail(p, CN_XERR_PROTOCOL, "ended in the middle of a message");
}

bool cn_h1_parser_complete(const cn_h1_parser_t *p)
{
    return p->state == CN_H1_ST_COMPLETE;
}
