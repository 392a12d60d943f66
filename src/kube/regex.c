/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks regular expressions without keeping them.  PCRE2 knows more than RE2:
 * what RE2 refuses (it cannot be matched in linear time) is refused here, too.
 */
#include "kube/regex.h"

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

/* After "(?": flags and named groups only. */
static const char *check_group(cn_str_t rest)
{
    static const char *const good[] = {"P<", ":", "i", "m", "s", "U", "-"};

    if (cn_str_starts(rest, CN_STR("<")) && rest.n > 1 && rest.p[1] != '=' && rest.p[1] != '!')
        return NULL;
    for (size_t i = 0; i < CN_COUNT(good); i++)
        if (cn_str_starts(rest, cn_str_c(good[i])))
            return NULL;
    return "look-around, atomic and conditional groups are not of RE2's syntax";
}

static const char *check_escape(char c)
{
    if (c >= '1' && c <= '9')
        return "back-references are not of RE2's syntax";
    return strchr("gkKGXRHVNce", c) && c ? "this escape is not of RE2's syntax" : NULL;
}

static const char *check_syntax(cn_str_t p)
{
    bool in_class = false;

    for (size_t i = 0; i < p.n; i++) {
        cn_str_t rest = {p.p + i, p.n - i};
        const char *why = NULL;

        if (p.p[i] == '\\') {
            why = rest.n > 1 ? check_escape(rest.p[1]) : "ends in a backslash";
            i++;
        } else if (in_class) {
            if (p.p[i] == ']' && i > 0 && p.p[i - 1] != '[')
                in_class = false;
        } else if (p.p[i] == '[') {
            in_class = true;
        } else if (cn_str_starts(rest, CN_STR("(*"))) {
            why = "(*...) is not of RE2's syntax";
        } else if (cn_str_starts(rest, CN_STR("(?"))) {
            why = check_group(cn_str_make(rest.p + 2, rest.n - 2));
        } else if (i > 0 && p.p[i] == '+' && strchr("*+?}", p.p[i - 1]) &&
                   (i < 2 || p.p[i - 2] != '\\')) {
            why = "possessive quantifiers are not of RE2's syntax";
        }
        if (why)
            return why;
    }
    return NULL;
}

cn_rc cn_regex_check(cn_pool_t *pool, cn_str_t pattern, cn_str_t *why)
{
    const char *syntax = check_syntax(pattern);
    PCRE2_SIZE at = 0;
    PCRE2_UCHAR text[120];
    pcre2_code *code;
    int error = 0;

    if (pattern.n > CN_REGEX_MAX)
        syntax = "is longer than 4096 bytes";
    if (syntax) {
        *why = cn_str_c(syntax);
        return CN_ERR;
    }
    code =
        pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);
    if (code) {
        pcre2_code_free(code);
        return CN_OK;
    }
    pcre2_get_error_message(error, text, sizeof(text));
    *why = cn_pool_printf(pool, "%s (at byte %zu)", (const char *)text, at);
    return CN_ERR;
}
