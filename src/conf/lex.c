/* SPDX-License-Identifier: Apache-2.0
 *
 * The lexer: words, `;`, `{` and `}` with their lines.  Words end at blanks,
 * `;`, `{` and `}`; a word that holds one of these, or begins with `#` or a
 * quote, is written in double quotes, where \" \\ \n and \t are known.  `#` at a
 * word's start begins a comment.
 *
 * A quoted word ends on its line, so that a forgotten quote is reported where
 * it is and does not swallow the rest of the file.  Tokens view the text; the
 * lexer owns nothing and allocates nothing.
 */
#include "conf/conf_int.h"
#include "core/hash.h"

void cn_lex_init(cn_lex_t *lx, cn_str_t file, cn_str_t text)
{
    *lx = (cn_lex_t){.file = file, .text = text, .line = 1};
    if (cn_str_starts(text, CN_STR("\xef\xbb\xbf"))) /* editors' byte order mark */
        lx->at = 3;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool ends_word(char c)
{
    return is_blank(c) || c == ';' || c == '{' || c == '}';
}

/* Not among the bytes that a word may hold; blanks are looked at before. */
static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static void skip_blanks(cn_lex_t *lx)
{
    for (; lx->at < lx->text.n; lx->at++) {
        char c = lx->text.p[lx->at];

        if (c == '#') {
            const char *end = memchr(lx->text.p + lx->at, '\n', lx->text.n - lx->at);

            lx->at = end ? (size_t)(end - lx->text.p) : lx->text.n;
            if (!end)
                return;
            c = '\n';
        }
        if (!is_blank(c))
            return;
        if (c == '\n')
            lx->line++;
    }
}

static cn_lex_token_t fail(cn_lex_t *lx, const char *why)
{
    lx->why = why;
    return (cn_lex_token_t){.kind = CN_LEX_ERROR, .line = lx->line};
}

static cn_lex_token_t word(cn_lex_t *lx, size_t start, size_t end, bool escaped)
{
    if (end - start > CN_CONF_WORD_MAX)
        return fail(lx, "this word is longer than 65536 bytes");
    return (cn_lex_token_t){.kind = CN_LEX_WORD,
                            .escaped = escaped,
                            .line = lx->line,
                            .raw = cn_str_make(lx->text.p + start, end - start)};
}

static cn_lex_token_t bare_word(cn_lex_t *lx)
{
    size_t start = lx->at;
    size_t at = start;

    for (; at < lx->text.n && !ends_word(lx->text.p[at]); at++) {
        char c = lx->text.p[at];

        if (c == '"')
            return fail(lx, "a quote inside a word: put the whole word in quotes");
        if (is_control(c))
            return fail(lx, "this line holds a control byte");
    }
    lx->at = at;
    return word(lx, start, at, false);
}

static bool is_escape(char c)
{
    return c == '"' || c == '\\' || c == 'n' || c == 't';
}

static cn_lex_token_t quoted_word(cn_lex_t *lx)
{
    cn_str_t text = lx->text;
    size_t start = lx->at + 1;
    size_t at = start;
    bool escaped = false;
    cn_lex_token_t tok;

    for (; at < text.n && text.p[at] != '"'; at++) {
        if (text.p[at] == '\n')
            break;
        if (is_control(text.p[at]) && text.p[at] != '\t')
            return fail(lx, "this line holds a control byte");
        if (text.p[at] != '\\')
            continue;
        escaped = true;
        if (++at == text.n || text.p[at] == '\n')
            break;
        if (!is_escape(text.p[at]))
            return fail(lx, "unknown escape in quotes: there are \\\", \\\\, \\n and \\t");
    }
    if (at >= text.n || text.p[at] != '"')
        return fail(lx, "a quote is opened on this line and not closed");
    tok = word(lx, start, at, escaped);
    lx->at = at + 1;
    if (lx->at < text.n && !ends_word(text.p[lx->at]))
        return fail(lx, "a blank or \";\" is missing after the closing quote");
    return tok;
}

static cn_lex_token_t sign(cn_lex_t *lx, cn_lex_kind kind)
{
    lx->at++;
    return (cn_lex_token_t){
        .kind = kind, .line = lx->line, .raw = cn_str_make(lx->text.p + lx->at - 1, 1)};
}

cn_lex_token_t cn_lex_next(cn_lex_t *lx)
{
    if (lx->why)
        return fail(lx, lx->why);
    skip_blanks(lx);
    if (lx->at >= lx->text.n)
        return (cn_lex_token_t){.kind = CN_LEX_END, .line = lx->line};
    switch (lx->text.p[lx->at]) {
    case ';':
        return sign(lx, CN_LEX_SEMI);
    case '{':
        return sign(lx, CN_LEX_OPEN);
    case '}':
        return sign(lx, CN_LEX_CLOSE);
    case '"':
        return quoted_word(lx);
    case '\'':
        return fail(lx, "single quotes have no meaning here: use double quotes");
    default:
        return bare_word(lx);
    }
}

cn_str_t cn_lex_value(cn_pool_t *pool, const cn_lex_token_t *tok)
{
    char *out;
    size_t n = 0;

    if (!tok->escaped)
        return cn_pool_dup(pool, tok->raw);
    out = cn_pool_bytes(pool, tok->raw.n + 1);
    for (size_t i = 0; i < tok->raw.n; i++) {
        char c = tok->raw.p[i];

        if (c == '\\') {
            c = tok->raw.p[++i];
            if (c == 'n')
                c = '\n';
            else if (c == 't')
                c = '\t';
        }
        out[n++] = c;
    }
    out[n] = '\0';
    return cn_str_make(out, n);
}

uint64_t cn_lex_hash(const cn_lex_token_t *tok, uint64_t seed)
{
    /* The same bytes say different things in and out of quotes. */
    return cn_hash_xxh(tok->raw, seed * 31 + (uint64_t)tok->kind * 2 + tok->escaped);
}

cn_lex_token_t cn_lex_skip(cn_lex_t *lx, unsigned depth, uint64_t *hash)
{
    unsigned open = depth;

    for (;;) {
        cn_lex_token_t tok = cn_lex_next(lx);

        if (hash)
            *hash = cn_lex_hash(&tok, *hash);
        if (tok.kind == CN_LEX_END || tok.kind == CN_LEX_ERROR)
            return tok;
        if (tok.kind == CN_LEX_OPEN && ++open > CN_CONF_DEPTH_MAX)
            return fail(lx, "blocks are nested deeper than 16");
        if (tok.kind == CN_LEX_CLOSE && open-- == depth)
            return tok;
    }
}
