/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of authorization policies against the plainest matcher there is.
 * Input: one byte for the field, a value as in a policy, a line break, and the
 * text that it is matched against.  Both sides must agree.
 *
 * The plain matcher fills a table: has[i] says whether the pieces read so far
 * can stand for the first i bytes of the text.
 */
#include "policy/rule.h"

#define TEXT_MAX 300

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    bool has[TEXT_MAX + 1];
    cn_str_t s;
} table_t;

static char fold(char c, bool nocase)
{
    return nocase && c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void take_byte(table_t *t, char c, bool nocase)
{
    for (size_t i = t->s.n; i > 0; i--)
        t->has[i] = t->has[i - 1] && fold(t->s.p[i - 1], nocase) == fold(c, nocase);
    t->has[0] = false;
}

static void take_any(table_t *t)
{
    for (size_t i = 1; i <= t->s.n; i++)
        t->has[i] |= t->has[i - 1];
}

/* One byte or more, none of them a slash, and up to the end of the segment. */
static void take_segment(table_t *t)
{
    bool before[TEXT_MAX + 1];

    memcpy(before, t->has, sizeof(before));
    memset(t->has, 0, sizeof(t->has));
    for (size_t i = 0; i < t->s.n; i++) {
        size_t end = i;

        while (end < t->s.n && t->s.p[end] != '/')
            end++;
        if (before[i] && end > i)
            t->has[end] = true;
    }
}

static bool plain_template(cn_str_t word, cn_str_t s)
{
    table_t t = {.has = {true}, .s = s};

    for (size_t i = 0; i < word.n; i++) {
        cn_str_t rest = {word.p + i, word.n - i};

        if (cn_str_starts(rest, CN_STR("{**}"))) {
            take_any(&t);
            i += 3;
        } else if (cn_str_starts(rest, CN_STR("{*}"))) {
            take_segment(&t);
            i += 2;
        } else {
            take_byte(&t, word.p[i], false);
        }
    }
    return t.has[s.n];
}

static bool plain_stars(cn_str_t word, cn_str_t s, size_t first, size_t last, bool nocase)
{
    table_t t = {.has = {true}, .s = s};

    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] == '*' && (i == first || i == last))
            take_any(&t);
        else
            take_byte(&t, word.p[i], nocase);
    }
    return t.has[s.n];
}

static bool plain_namespace(cn_str_t word, cn_str_t s)
{
    table_t t = {.has = {true}, .s = s};

    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] == '*')
            take_any(&t);
        else
            take_byte(&t, word.p[i], false);
    }
    return s.n > 0 && t.has[s.n];
}

static bool plain(cn_rule_field field, cn_str_t word, cn_str_t s)
{
    bool nocase = field == CN_RULE_HOST;

    if (field == CN_RULE_PATH && (cn_str_find_str(word, CN_STR("{*}")) < word.n ||
                                  cn_str_find_str(word, CN_STR("{**}")) < word.n))
        return plain_template(word, s);
    if (field == CN_RULE_NAMESPACE)
        return plain_namespace(word, s);
    if (cn_str_eq(word, CN_STR("*")))
        return s.n > 0 || field == CN_RULE_HEADER;
    if (word.n && word.p[0] == '*')
        return plain_stars(word, s, 0, 0, nocase);
    return plain_stars(word, s, word.n ? word.n - 1 : 0, word.n ? word.n - 1 : 0, nocase);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const cn_rule_field fields[] = {CN_RULE_PRINCIPAL, CN_RULE_NAMESPACE, CN_RULE_HOST,
                                           CN_RULE_PATH, CN_RULE_HEADER};
    cn_rule_value_t v = {0};
    const char *why = NULL;
    cn_str_t rest, word, text;
    cn_rule_field field;

    if (size < 1)
        return 0;
    field = fields[data[0] % CN_COUNT(fields)];
    rest = cn_str_make((const char *)data + 1, size - 1);
    word = cn_str_make(rest.p, cn_str_find(rest, '\n'));
    text = word.n < rest.n ? cn_str_make(rest.p + word.n + 1, rest.n - word.n - 1) : CN_STR_NULL;
    if (text.n > TEXT_MAX)
        return 0;
    if (cn_rule_value_parse(field, word, &v, &why) != CN_OK) {
        CN_BUG_ON(!why);
        return 0;
    }
    CN_BUG_ON(cn_rule_value_match(field, &v, text) != plain(field, word, text));
    return 0;
}
