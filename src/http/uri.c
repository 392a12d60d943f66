/* SPDX-License-Identifier: Apache-2.0
 *
 * Request targets: splitting them and bringing paths into the one form that
 * routing, policy and the upstream all see.  Knows nothing of messages.
 *
 * Normalising is two passes: characters (escapes, backslashes), then segments
 * (dot segments, empty segments).  The result is a fixed point: normalising it
 * again changes nothing, so that no later reader can see another path in it.
 */
#include "http/uri.h"

#include "core/inet.h"

enum { KEEP = 0, LOOK = 1, ENCODE = 2 };

/* Of the characters that can be in a target: which need a closer look, and
 * which are not allowed in a path by RFC 3986 3.3 and get encoded. */
static const unsigned char path_class[256] = {
    ['%'] = LOOK,   ['\\'] = LOOK,  ['/'] = LOOK,   ['"'] = ENCODE, ['<'] = ENCODE, ['>'] = ENCODE,
    ['^'] = ENCODE, ['`'] = ENCODE, ['{'] = ENCODE, ['|'] = ENCODE, ['}'] = ENCODE,
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_unreserved(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* The byte that an escape at p stands for; -1: not an escape. */
static int escape_value(const char *p, const char *end)
{
    if (end - p < 3)
        return -1;
    int high = hex_value(p[1]), low = hex_value(p[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Is there nothing in it that any normalisation could change? */
static bool is_plain(cn_str_t path)
{
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        if (CN_LIKELY(path_class[c] == KEEP))
            continue;
        if (c != '/')
            return false;
        if (i + 1 < path.n && (path.p[i + 1] == '.' || path.p[i + 1] == '/'))
            return false;
    }
    return true;
}

typedef struct {
    char *out;
    size_t n;
    size_t stray; /* position behind the last '%' that begins no escape; 0: none */
} chars_t;

/* A decoded digit behind a stray '%', or behind one and a digit, would complete
 * a new escape. */
static bool completes_stray(const chars_t *w, int value)
{
    if (w->stray == 0 || hex_value((char)value) < 0)
        return false;
    return w->n == w->stray || (w->n == w->stray + 1 && hex_value(w->out[w->stray]) >= 0);
}

/* One '%' with what follows; returns how many input bytes it took, 0: refused. */
static size_t put_percent(chars_t *w, const char *p, const char *end, bool slashes)
{
    int value = escape_value(p, end);
    if (value == 0)
        return 0;
    if (value < 0) {
        w->out[w->n++] = '%';
        w->stray = w->n;
        return 1;
    }
    if (slashes && (value == '/' || value == '\\')) {
        w->out[w->n++] = '/';
        return 3;
    }
    if (is_unreserved(value) && !completes_stray(w, value)) {
        w->out[w->n++] = (char)value;
        return 3;
    }
    memcpy(w->out + w->n, p, 3);
    w->n += 3;
    return 3;
}

static void put_encoded(chars_t *w, unsigned char c)
{
    static const char digits[] = "0123456789ABCDEF";
    w->out[w->n++] = '%';
    w->out[w->n++] = digits[c >> 4];
    w->out[w->n++] = digits[c & 15];
}

/* First pass; w->out has room for three times the path. */
static cn_rc put_chars(chars_t *w, cn_str_t path, bool slashes)
{
    const char *p = path.p, *end = path.p + path.n;
    while (p < end) {
        unsigned char c = (unsigned char)*p;
        if (c == '%') {
            size_t took = put_percent(w, p, end, slashes);
            if (took == 0)
                return CN_ERR;
            p += took;
            continue;
        }
        if (path_class[c] == ENCODE)
            put_encoded(w, c);
        else
            w->out[w->n++] = c == '\\' ? '/' : (char)c;
        p++;
    }
    return CN_OK;
}

/* 1 for ".", 2 for "..", else 0.  Parameters do not hide a dot segment: some
 * servers cut them off first, so "..;x" must not survive (facts 4). */
static int dot_segment(const char *p, size_t n)
{
    const char *cut = memchr(p, ';', n);
    size_t bare = cut ? (size_t)(cut - p) : n;
    if (bare == 1 && p[0] == '.')
        return 1;
    return bare == 2 && p[0] == '.' && p[1] == '.' ? 2 : 0;
}

/* Second pass, in place: RFC 3986 5.2.4.  Returns the new length. */
static size_t drop_dots(char *s, size_t n)
{
    size_t out = 1, at = 1; /* s[0] is '/'; out stands behind a '/' between segments */
    while (at <= n) {
        const char *slash = memchr(s + at, '/', n - at);
        size_t len = slash ? (size_t)(slash - s) - at : n - at;
        int dots = dot_segment(s + at, len);
        if (dots == 2 && out > 1) {
            out--;
            while (s[out - 1] != '/')
                out--;
        }
        if (dots == 0) {
            memmove(s + out, s + at, len);
            out += len;
            if (slash)
                s[out++] = '/';
        }
        at += len + 1;
    }
    return out;
}

static size_t merge_slashes(char *s, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '/' || out == 0 || s[out - 1] != '/')
            s[out++] = s[i];
    }
    return out;
}

cn_rc cn_uri_path_normalize(cn_pool_t *pool, cn_str_t path, cn_uri_normalize how, cn_str_t *out)
{
    *out = path;
    if (path.n == 0 || path.p[0] != '/')
        return CN_ERR;
    if (how == CN_URI_NONE || is_plain(path))
        return CN_OK;
    chars_t w = {.out = cn_pool_bytes(pool, path.n * 3)};
    if (put_chars(&w, path, how == CN_URI_DECODE_AND_MERGE) != CN_OK)
        return CN_ERR;
    w.n = drop_dots(w.out, w.n);
    if (how != CN_URI_BASE)
        w.n = merge_slashes(w.out, w.n);
    *out = cn_str_make(w.out, w.n);
    return CN_OK;
}

void cn_uri_split(cn_str_t target, cn_str_t *path, cn_str_t *query, bool *has_query)
{
    target.n = cn_str_find(target, '#');
    size_t mark = cn_str_find(target, '?');
    *has_query = mark < target.n;
    *path = cn_str_make(target.p, mark);
    *query = *has_query ? cn_str_make(target.p + mark + 1, target.n - mark - 1) : CN_STR_NULL;
}

bool cn_uri_query_get(cn_str_t query, cn_str_t name, cn_str_t *value)
{
    cn_str_t piece;
    while (cn_str_split(&query, '&', &piece)) {
        size_t eq = cn_str_find(piece, '=');
        if (!cn_str_eq(cn_str_make(piece.p, eq), name))
            continue;
        *value = eq < piece.n ? cn_str_make(piece.p + eq + 1, piece.n - eq - 1) : CN_STR("");
        return true;
    }
    return false;
}

/* RFC 3986 3.2.2 reg-name: unreserved, sub-delims and '%'. */
static bool is_reg_name(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!is_unreserved(c) && (c == '\0' || !strchr("%!$&'()*+,;=", c)))
            return false;
    }
    return s.n > 0;
}

static cn_rc parse_port(cn_str_t s, uint16_t *port)
{
    uint64_t value = 0;
    if (s.n > 0 && cn_str_u64(s, UINT16_MAX, &value) != CN_OK)
        return CN_ERR;
    *port = (uint16_t)value;
    return CN_OK;
}

cn_rc cn_uri_authority(cn_str_t s, cn_str_t *host, uint16_t *port)
{
    cn_str_t tail;
    *port = 0;
    if (s.n > 0 && s.p[0] == '[') {
        cn_addr_t ip;
        size_t close = cn_str_find(s, ']');
        if (close == s.n)
            return CN_ERR;
        *host = cn_str_make(s.p + 1, close - 1);
        if (cn_str_find(*host, ':') == host->n || cn_inet_parse_ip(*host, &ip) != CN_OK)
            return CN_ERR;
        tail = cn_str_make(s.p + close + 1, s.n - close - 1);
    } else {
        size_t colon = cn_str_find(s, ':');
        *host = cn_str_make(s.p, colon);
        if (!is_reg_name(*host))
            return CN_ERR;
        tail = cn_str_make(s.p + colon, s.n - colon);
    }
    if (tail.n == 0)
        return CN_OK;
    if (tail.p[0] != ':')
        return CN_ERR;
    return parse_port(cn_str_make(tail.p + 1, tail.n - 1), port);
}
