/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of resources.
 */
#include "kube/value.h"

#include "http/regex.h"

#define MAX_MS 315360000000ull /* ten years */
#define NS 1000000000ull

typedef struct {
    const char *word;
    uint64_t ns;
} unit_t;

/* The longer word of two that begin alike comes first. */
static const unit_t units[] = {{"ms", NS / 1000}, {"us", NS / 1000000}, {"\xc2\xb5s", NS / 1000000},
                               {"ns", 1},         {"h", 3600 * NS},     {"m", 60 * NS},
                               {"s", NS}};

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits at *s, with at most nine decimals counted in `part` parts of one. */
static bool take_decimal(cn_str_t *s, uint64_t one, uint64_t max, uint64_t *out)
{
    uint64_t whole = 0, unit = one;
    size_t i = 0;

    for (; i < s->n && digit(s->p[i]); i++) {
        whole = whole * 10 + (uint64_t)(s->p[i] - '0');
        if (whole > max)
            return false;
    }
    if (i == 0 && (s->n < 2 || s->p[0] != '.' || !digit(s->p[1])))
        return false;
    *out = whole * one;
    if (i < s->n && s->p[i] == '.')
        for (i++; i < s->n && digit(s->p[i]); i++) {
            unit /= 10;
            *out += unit * (uint64_t)(s->p[i] - '0');
        }
    *s = cn_str_make(s->p + i, s->n - i);
    return true;
}

static const unit_t *take_unit(cn_str_t *s)
{
    for (size_t i = 0; i < CN_COUNT(units); i++) {
        size_t n = strlen(units[i].word);

        if (!cn_str_starts(*s, cn_str_c(units[i].word)))
            continue;
        *s = cn_str_make(s->p + n, s->n - n);
        return &units[i];
    }
    return NULL;
}

cn_rc cn_value_duration(cn_str_t s, uint64_t *ms)
{
    uint64_t ns = 0;

    if (cn_str_eq(s, CN_STR("0"))) {
        *ms = 0;
        return CN_OK;
    }
    if (s.n == 0)
        return CN_ERR;
    while (s.n) {
        uint64_t billionths;
        const unit_t *u;

        if (!take_decimal(&s, NS, 10 * NS, &billionths) || !(u = take_unit(&s)))
            return CN_ERR;
        if (u->ns > 1 && billionths / NS > MAX_MS * 1000000 / u->ns)
            return CN_ERR;
        ns += billionths / NS * u->ns + billionths % NS * (u->ns / 1000) / 1000000;
        if (ns / 1000000 > MAX_MS)
            return CN_ERR;
    }
    *ms = (ns + 999999) / 1000000;
    return CN_OK;
}

cn_rc cn_value_percent(cn_str_t s, uint32_t *parts)
{
    uint64_t v;

    if (!take_decimal(&s, CN_VALUE_PERCENT, 100, &v) || s.n || v > 100 * CN_VALUE_PERCENT)
        return CN_ERR;
    *parts = (uint32_t)v;
    return CN_OK;
}

cn_str_t cn_value_percent_text(cn_pool_t *pool, uint32_t parts)
{
    cn_str_t s =
        cn_pool_printf(pool, "%u.%04u", parts / CN_VALUE_PERCENT, parts % CN_VALUE_PERCENT);

    while (s.p[s.n - 1] == '0')
        s.n--;
    if (s.p[s.n - 1] == '.')
        s.n--;
    return s;
}

bool cn_value_is_plain(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return s.n <= CN_VALUE_MAX;
}

bool cn_value_is_word(cn_str_t s)
{
    return s.n && cn_str_find(s, ' ') == s.n && cn_value_is_plain(s);
}

bool cn_value_is_header(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
            return false;
    return s.n <= CN_VALUE_MAX;
}

static bool alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || digit(c);
}

bool cn_value_is_token(cn_str_t s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!alnum(s.p[i]) && (!s.p[i] || !strchr("!#$%&'*+-.^_`|~", s.p[i])))
            return false;
    return s.n > 0 && s.n <= 256;
}

bool cn_value_is_host(cn_str_t s)
{
    bool brackets = s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']';
    cn_addr_t addr;

    if (brackets)
        return cn_inet_parse_ip(cn_str_make(s.p + 1, s.n - 2), &addr) == CN_OK;
    for (size_t i = 0; i < s.n; i++)
        if (!alnum(s.p[i]) && (!s.p[i] || !strchr("-._", s.p[i])))
            return false;
    return s.n > 0 && s.n <= 253;
}

bool cn_value_is_locality(cn_str_t s, bool stars)
{
    cn_str_t part;
    unsigned n = 0;

    if (s.n == 0 || s.n > 253 || s.p[s.n - 1] == '/')
        return false;
    while (cn_str_split(&s, '/', &part))
        if (++n > 3 || !(cn_store_is_label_value(part) || (stars && cn_str_eq(part, CN_STR("*")))))
            return false;
    return true;
}

bool cn_value_is_domain(cn_str_t s, bool wildcard)
{
    if (wildcard && cn_str_eq(s, CN_STR("*")))
        return true;
    if (wildcard && cn_str_starts(s, CN_STR("*.")))
        s = cn_str_make(s.p + 2, s.n - 2);
    return s.n && s.p[0] != '.' && s.p[s.n - 1] != '.' && cn_value_is_host(s) &&
           cn_str_find_str(s, CN_STR("..")) == s.n;
}

/* with: NULL when it is only matched. */
static bool compiles(cn_pool_t *pool, cn_str_t value, const cn_str_t *with, cn_str_t *why)
{
    cn_pool_t *own = cn_pool_create(0);
    cn_regex_t *regex;
    cn_rc rc = CN_ERR;

    *why = CN_STR("it is too long or holds control characters");
    if (cn_value_is_plain(value))
        rc = (with ? cn_regex_compile_find : cn_regex_compile)(own, value, &regex, why);
    if (rc == CN_OK && with)
        rc = cn_regex_subst_check(own, regex, *with, why);
    *why = cn_pool_dup(pool, *why);
    cn_pool_destroy(own);
    return rc == CN_OK;
}

bool cn_value_is_regex(cn_pool_t *pool, cn_str_t value, cn_str_t *why)
{
    return compiles(pool, value, NULL, why);
}

bool cn_value_is_subst(cn_pool_t *pool, cn_str_t regex, cn_str_t with, cn_str_t *why)
{
    return compiles(pool, regex, &with, why);
}

cn_str_t cn_value_quote_regex(cn_pool_t *pool, cn_str_t s)
{
    char *p = cn_pool_bytes(pool, s.n * 2 + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] && strchr("\\.+*?()|[]{}^$", s.p[i]))
            p[n++] = '\\';
        p[n++] = s.p[i];
    }
    return cn_str_make(p, n);
}

/* ---- fields ---- */

static void refuse(const cn_reader_t *r, const cn_node_t *at, const char *what, const char *key,
                   cn_str_t expected)
{
    cn_store_error(r->w->diag, r->obj, at, "%s.%s: \"%.*s\" is not %.*s; it has no effect", what,
                   key, CN_STR_ARG(at->text), CN_STR_ARG(expected));
}

bool cn_value_read_duration(const cn_reader_t *r, const cn_node_t *map, const char *key,
                            const char *what, uint64_t *ms)
{
    const cn_node_t *v = cn_node_get(map, key);

    if (!v)
        return false;
    if (v->kind < CN_NODE_LIST && cn_value_duration(v->text, ms) == CN_OK)
        return true;
    refuse(r, v, what, key, CN_STR("a duration such as 10s, 500ms or 1h30m"));
    return false;
}

cn_str_t cn_value_read_plain(const cn_reader_t *r, const cn_node_t *map, const char *key,
                             const char *what)
{
    cn_str_t s = cn_read_text(r, map, key);

    if (cn_value_is_plain(s))
        return s;
    cn_store_error(r->w->diag, r->obj, cn_node_get(map, key),
                   "%s.%s: control characters, or more than %d bytes; it has no effect", what, key,
                   CN_VALUE_MAX);
    return CN_STR_NULL;
}

bool cn_value_read_bool(const cn_reader_t *r, const cn_node_t *map, const char *key,
                        const char *what, bool otherwise)
{
    const cn_node_t *v = cn_node_get(map, key);

    if (!v)
        return otherwise;
    if (v->kind == CN_NODE_BOOL)
        return cn_node_true(map, key);
    refuse(r, v, what, key, CN_STR("true or false"));
    return otherwise;
}

int cn_value_read_word(const cn_reader_t *r, const cn_node_t *map, const char *key,
                       const char *what, const char *const *words)
{
    const cn_node_t *v = cn_node_get(map, key);
    cn_str_t expected = CN_STR("one of");

    if (!v)
        return -1;
    for (int i = 0; words[i]; i++) {
        if (v->kind < CN_NODE_LIST && cn_str_eq(v->text, cn_str_c(words[i])))
            return i;
        expected =
            cn_pool_printf(r->w->pool, "%.*s%s %s", CN_STR_ARG(expected), i ? "," : "", words[i]);
    }
    refuse(r, v, what, key, expected);
    return -1;
}
