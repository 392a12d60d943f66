/* SPDX-License-Identifier: Apache-2.0
 *
 * Regular expressions.  A small scanner walks over the expression and refuses
 * what PCRE2 understands and RE2 does not; what is left means the same to both
 * engines for subjects without line breaks, which header values, paths and
 * queries are.  It does not check syntax otherwise: PCRE2 does.
 *
 * An expression owns its compiled code and its match state, both released by a
 * cleanup of the pool that it was compiled in.
 */
#include "http/regex.h"

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

#define STEP_LIMIT 100000  /* PCRE2's match limit: some tenths of a millisecond */
#define HEAP_LIMIT_KIB 256 /* for the interpreter, where there is no JIT */
/* The second matcher compares each of its states with the others at every
 * byte: both numbers bound that. */
#define DFA_WORKSPACE 1024
#define DFA_SUBJECT_MAX 8192
#define REPEAT_MAX 1000 /* RE2's */
#define GROUPS 10       /* that a substitution may name, with the match itself */

struct cn_regex {
    pcre2_code *code;
    pcre2_match_context *limits;
    pcre2_match_data *match;
};

/* ---- what RE2 does not have ---- */

typedef struct {
    cn_str_t s;
    size_t i;
    bool repeatable; /* a quantifier may follow */
    const char *why;
} scan_t;

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static char at(const scan_t *sc, size_t i)
{
    return i < sc->s.n ? sc->s.p[i] : '\0';
}

static cn_rc refuse(scan_t *sc, const char *why)
{
    sc->why = why;
    return CN_ERR;
}

/* \Q...\E: everything inside is literal. */
static void skip_quoted(scan_t *sc)
{
    cn_str_t rest = {sc->s.p + sc->i + 2, sc->s.n - sc->i - 2};
    size_t end = cn_str_find_str(rest, CN_STR("\\E"));

    sc->i += 2 + end + (end < rest.n ? 2 : 0);
    sc->repeatable = true;
}

/* Escapes that mean the same to both; letters not listed here are refused. */
static cn_rc scan_escape(scan_t *sc, bool in_class)
{
    char c = at(sc, sc->i + 1);

    if (c == 'Q' && !in_class) {
        skip_quoted(sc);
        return CN_OK;
    }
    if (c == 'C')
        return refuse(sc, "\\C (a single byte) is not supported");
    if (c >= '1' && c <= '9')
        return refuse(sc, "back-references are not in RE2 syntax");
    if (c == 'k' || c == 'g')
        return refuse(sc, "back-references and subroutine calls are not in RE2 syntax");
    if (((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) &&
        !strchr(in_class ? "dDsSwWpPaftnrx" : "dDsSwWpPaftnrxAbBz", c))
        return refuse(sc, "this escape is not in RE2 syntax");
    if (c == 'x' && at(sc, sc->i + 2) != '{' &&
        !(is_hex(at(sc, sc->i + 2)) && is_hex(at(sc, sc->i + 3))))
        return refuse(sc, "\\x takes two hexadecimal digits or {...}");
    sc->i += 2;
    if ((c == 'x' || c == 'p' || c == 'P') && at(sc, sc->i) == '{')
        sc->i += cn_str_find((cn_str_t){sc->s.p + sc->i, sc->s.n - sc->i}, '}') + 1;
    sc->repeatable = true;
    return CN_OK;
}

static cn_rc scan_class(scan_t *sc)
{
    sc->i++;
    if (at(sc, sc->i) == '^')
        sc->i++;
    if (at(sc, sc->i) == ']') /* the first one is a member */
        sc->i++;
    while (sc->i < sc->s.n && sc->s.p[sc->i] != ']') {
        if (sc->s.p[sc->i] == '\\') {
            if (scan_escape(sc, true) != CN_OK)
                return CN_ERR;
        } else if (sc->s.p[sc->i] == '[' && at(sc, sc->i + 1) == ':') {
            cn_str_t rest = {sc->s.p + sc->i + 2, sc->s.n - sc->i - 2};
            size_t end = cn_str_find_str(rest, CN_STR(":]"));

            sc->i += end < rest.n ? end + 4 : 1;
        } else {
            sc->i++;
        }
    }
    sc->i++;
    sc->repeatable = true;
    return CN_OK;
}

/* "(?" and what may follow in RE2: ":", flags of imsU with "-", "P<name>", "<name>". */
static cn_rc scan_group(scan_t *sc)
{
    size_t i = sc->i + 2;

    if (at(sc, sc->i + 1) == '*')
        return refuse(sc, "verbs (*...) are not in RE2 syntax");
    sc->repeatable = false;
    if (at(sc, sc->i + 1) != '?') {
        sc->i++;
        return CN_OK;
    }
    if (at(sc, i) == 'P' && at(sc, i + 1) != '<')
        return refuse(sc, "back-references and recursion are not in RE2 syntax");
    if (at(sc, i) == 'P')
        i++;
    if (at(sc, i) == '<') {
        if (at(sc, i + 1) == '=' || at(sc, i + 1) == '!')
            return refuse(sc, "look-behind is not in RE2 syntax");
        sc->i = i + 1; /* the name is made of word bytes: scanned as literals */
        return CN_OK;
    }
    if (at(sc, i) == '=' || at(sc, i) == '!')
        return refuse(sc, "look-ahead is not in RE2 syntax");
    if (at(sc, i) == '>')
        return refuse(sc, "atomic groups are not in RE2 syntax");
    if (at(sc, i) == '(')
        return refuse(sc, "conditions are not in RE2 syntax");
    if (at(sc, i) == 'C')
        return refuse(sc, "callouts are not in RE2 syntax");
    if (at(sc, i) == 'R' || at(sc, i) == '&' || at(sc, i) == '+' || is_digit(at(sc, i)) ||
        (at(sc, i) == '-' && is_digit(at(sc, i + 1))))
        return refuse(sc, "recursion is not in RE2 syntax");
    while (at(sc, i) && strchr("imsU-", at(sc, i)))
        i++;
    if (at(sc, i) != ':' && at(sc, i) != ')')
        return refuse(sc, "this kind of group is not in RE2 syntax");
    sc->i = i + 1;
    return CN_OK;
}

/* Length of "{n}", "{n,}" or "{n,m}" at i; 0: a literal brace. */
static size_t repeat_length(const scan_t *sc, size_t i, uint32_t *max)
{
    size_t start = i++;
    uint32_t n = 0;

    if (!is_digit(at(sc, i)))
        return 0;
    for (*max = 0; is_digit(at(sc, i)) || at(sc, i) == ','; i++) {
        n = at(sc, i) == ',' ? 0 : n * 10 + (uint32_t)(at(sc, i) - '0');
        if (n > REPEAT_MAX)
            n = REPEAT_MAX + 1;
        *max = n > *max ? n : *max;
    }
    return at(sc, i) == '}' ? i + 1 - start : 0;
}

/* A quantifier at i, with its "?" if it is a lazy one. */
static cn_rc scan_repeat(scan_t *sc, size_t len)
{
    uint32_t unused;
    char next;

    if (!sc->repeatable)
        return refuse(sc, "nothing to repeat");
    sc->repeatable = false;
    sc->i += len;
    next = at(sc, sc->i);
    if (next == '+')
        return refuse(sc, "possessive quantifiers are not in RE2 syntax");
    if (next == '*' || (next == '{' && repeat_length(sc, sc->i, &unused)))
        return refuse(sc, "a quantifier may not follow a quantifier");
    if (next == '?')
        sc->i++;
    return CN_OK;
}

static cn_rc scan_one(scan_t *sc)
{
    char c = sc->s.p[sc->i];
    uint32_t max;
    size_t len;

    if (c == '\\')
        return scan_escape(sc, false);
    if (c == '[')
        return scan_class(sc);
    if (c == '(')
        return scan_group(sc);
    if (c == '*' || c == '+' || c == '?')
        return scan_repeat(sc, 1);
    if (c == '{' && (len = repeat_length(sc, sc->i, &max)) != 0) {
        if (max > REPEAT_MAX)
            return refuse(sc, "a repeat count may be 1000 at most");
        return scan_repeat(sc, len);
    }
    sc->repeatable = c != '|' && c != '^';
    sc->i++;
    return CN_OK;
}

static cn_rc check_re2(cn_pool_t *pool, cn_str_t pattern, cn_str_t *why)
{
    scan_t sc = {.s = pattern};

    while (sc.i < sc.s.n) {
        if (scan_one(&sc) != CN_OK) {
            *why = cn_pool_printf(pool, "%s (byte %zu)", sc.why, sc.i + 1);
            return CN_ERR;
        }
    }
    return CN_OK;
}

/* ---- compile ---- */

static void release(void *p)
{
    cn_regex_t *re = p;

    pcre2_match_data_free(re->match);
    pcre2_match_context_free(re->limits);
    pcre2_code_free(re->code);
}

static void alloc_check(bool has_memory)
{
    if (!has_memory)
        cn_pool_out_of_memory();
}

static pcre2_code *compile(cn_pool_t *pool, cn_str_t pattern, uint32_t options, cn_str_t *why)
{
    pcre2_code *code;
    PCRE2_SIZE where;
    int err;

    code = pcre2_compile((PCRE2_SPTR)(pattern.n ? pattern.p : ""), pattern.n,
                         options | PCRE2_DOLLAR_ENDONLY | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &err,
                         &where, NULL);
    alloc_check(code || err != PCRE2_ERROR_HEAP_FAILED);
    if (!code) {
        char text[128];

        pcre2_get_error_message(err, (PCRE2_UCHAR *)text, sizeof(text));
        *why = cn_pool_printf(pool, "%s (byte %zu)", text, (size_t)where + 1);
    }
    return code;
}

static cn_rc make(cn_pool_t *pool, cn_str_t pattern, uint32_t options, uint32_t groups,
                  cn_regex_t **out, cn_str_t *why)
{
    cn_regex_t *re;
    pcre2_code *code;

    if (pattern.n > CN_REGEX_MAX) {
        *why = cn_pool_printf(pool, "longer than %d bytes", CN_REGEX_MAX);
        return CN_ERR;
    }
    if (check_re2(pool, pattern, why) != CN_OK)
        return CN_ERR;
    code = compile(pool, pattern, options, why);
    if (!code)
        return CN_ERR;
    re = cn_pool_zalloc(pool, sizeof(*re));
    re->code = code;
    /* Without executable memory (hardened kernels) the interpreter does it. */
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    re->limits = pcre2_match_context_create(NULL);
    alloc_check(re->limits != NULL);
    pcre2_set_match_limit(re->limits, STEP_LIMIT);
    pcre2_set_heap_limit(re->limits, HEAP_LIMIT_KIB);
    re->match = pcre2_match_data_create(groups, NULL);
    alloc_check(re->match != NULL);
    cn_pool_cleanup(pool, release, re);
    *out = re;
    return CN_OK;
}

cn_rc cn_regex_compile(cn_pool_t *pool, cn_str_t pattern, cn_regex_t **out, cn_str_t *why)
{
    return make(pool, pattern, PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NO_AUTO_CAPTURE, 1, out,
                why);
}

cn_rc cn_regex_compile_find(cn_pool_t *pool, cn_str_t pattern, cn_regex_t **out, cn_str_t *why)
{
    return make(pool, pattern, 0, GROUPS, out, why);
}

/* ---- match ---- */

static bool hit_limit(int rc)
{
    return rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT ||
           rc == PCRE2_ERROR_DEPTHLIMIT || rc == PCRE2_ERROR_JIT_STACKLIMIT;
}

cn_rc cn_regex_match(const cn_regex_t *re, cn_str_t subject)
{
    PCRE2_SPTR s = (PCRE2_SPTR)(subject.n ? subject.p : "");
    int workspace[DFA_WORKSPACE];
    int rc = pcre2_match(re->code, s, subject.n, 0, 0, re->match, re->limits);

    if (hit_limit(rc) && subject.n <= DFA_SUBJECT_MAX)
        rc = pcre2_dfa_match(re->code, s, subject.n, 0, 0, re->match, re->limits, workspace,
                             DFA_WORKSPACE);
    if (rc >= 0)
        return CN_OK;
    /* Bytes that are not UTF-8 match nothing in RE2, not even a dot. */
    if (rc == PCRE2_ERROR_NOMATCH || (rc <= PCRE2_ERROR_UTF8_ERR1 && rc >= PCRE2_ERROR_UTF8_ERR21))
        return CN_DECLINE;
    return CN_ERR;
}

/* ---- replace ---- */

cn_rc cn_regex_subst_check(cn_pool_t *pool, const cn_regex_t *re, cn_str_t subst, cn_str_t *why)
{
    uint32_t groups = 0;

    (void)pcre2_pattern_info(re->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    *why = cn_pool_printf(pool, "longer than %d bytes", CN_REGEX_SUBST_MAX);
    if (subst.n > CN_REGEX_SUBST_MAX)
        return CN_ERR;
    for (size_t i = 0; i < subst.n; i++) {
        char c;

        if (subst.p[i] != '\\')
            continue;
        c = ++i < subst.n ? subst.p[i] : '\0';
        if (c == '\\' || (is_digit(c) && (uint32_t)(c - '0') <= groups))
            continue;
        *why = is_digit(c) ? cn_pool_printf(pool, "there is no group %c in the expression", c)
                           : CN_STR("a backslash stands before a digit or another backslash");
        return CN_ERR;
    }
    return CN_OK;
}

/* The result, cut at its limit. */
typedef struct {
    cn_pool_t *pool;
    char *p;
    size_t n, cap;
    bool over;
} result_t;

static void append(result_t *r, cn_str_t s)
{
    r->over |= s.n > CN_REGEX_RESULT_MAX - r->n;
    if (r->over || s.n == 0)
        return;
    if (r->n + s.n > r->cap) {
        char *old = r->p;

        r->cap = 2 * (r->n + s.n);
        r->p = cn_pool_bytes(r->pool, r->cap);
        if (r->n)
            memcpy(r->p, old, r->n);
    }
    memcpy(r->p + r->n, s.p, s.n);
    r->n += s.n;
}

static void append_subst(result_t *r, const cn_regex_t *re, cn_str_t subject, cn_str_t subst)
{
    const PCRE2_SIZE *group = pcre2_get_ovector_pointer(re->match);

    for (size_t i = 0; i < subst.n && !r->over; i++) {
        size_t g = 0;

        if (subst.p[i] == '\\' && i + 1 < subst.n && is_digit(subst.p[++i]))
            g = 2 * (size_t)(subst.p[i] - '0');
        else {
            append(r, cn_str_make(subst.p + i, 1));
            continue;
        }
        if (group[g] != PCRE2_UNSET)
            append(r, cn_str_make(subject.p + group[g], group[g + 1] - group[g]));
    }
}

/* Bytes of the character at the beginning. */
static size_t one_char(cn_str_t s)
{
    size_t n = s.n > 0;

    while (n < s.n && ((unsigned char)s.p[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static cn_str_t from(cn_str_t s, size_t at)
{
    return cn_str_make(s.p + at, s.n - at);
}

/* One match at or behind *at: copies what is before it, and what takes its
 * place.  Of two matches that touch, the second is not empty. */
static cn_rc replace_one(const cn_regex_t *re, cn_str_t subject, cn_str_t subst, size_t *at,
                         size_t *last, result_t *r)
{
    const PCRE2_SIZE *group = pcre2_get_ovector_pointer(re->match);
    /* whether it is UTF-8 is looked at once */
    uint32_t options = *at ? PCRE2_NO_UTF_CHECK : 0;
    int rc = pcre2_match(re->code, (PCRE2_SPTR)(subject.n ? subject.p : ""), subject.n, *at,
                         options, re->match, re->limits);

    if (rc < 0)
        return hit_limit(rc) ? CN_ERR : CN_DECLINE;
    append(r, cn_str_make(subject.p + *at, group[0] - *at));
    if (group[1] == group[0] && group[0] == *last) {
        size_t n = one_char(from(subject, group[0]));

        append(r, cn_str_make(subject.p + group[0], n));
        *at = group[0] + (n ? n : 1);
        return CN_AGAIN;
    }
    append_subst(r, re, subject, subst);
    *at = *last = group[1];
    return CN_OK;
}

cn_rc cn_regex_replace(cn_pool_t *pool, const cn_regex_t *re, cn_str_t subject, cn_str_t subst,
                       cn_str_t *out)
{
    result_t r = {.pool = pool};
    size_t at = 0, last = SIZE_MAX;
    unsigned tries = 0;
    bool any = false;
    cn_rc rc = CN_OK;

    while (at <= subject.n && !r.over && (rc == CN_OK || rc == CN_AGAIN)) {
        rc = replace_one(re, subject, subst, &at, &last, &r);
        any |= rc == CN_OK;
        r.over |= ++tries > CN_REGEX_REPLACE_MAX;
    }
    if (at < subject.n)
        append(&r, from(subject, at));
    if (rc == CN_ERR || r.over)
        return CN_ERR;
    *out = any ? cn_str_make(r.p, r.n) : subject;
    return any ? CN_OK : CN_DECLINE;
}
