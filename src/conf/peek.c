/* SPDX-License-Identifier: Apache-2.0
 *
 * One directive out of a configuration that need not be good.  Read twice if
 * need be: first as it is meant, blocks passed over, statements ended by `;`;
 * then, when it was not found so, any line that begins with the name counts,
 * since a brace, a quote or a `;` may be missing before it.
 */
#include "conf/conf_int.h"

typedef struct {
    cn_bundle_t *bundle;
    cn_pool_t *pool;
    cn_str_t name, value;
    bool found;
    bool lax;
    unsigned depth;  /* of includes */
    cn_map_t files;  /* looked through in this round */
    cn_str_t *doubt; /* the first thing that could not be read */
} peek_t;

typedef struct {
    cn_str_t v[2]; /* the first ones */
    unsigned n;
    uint32_t line; /* of the last one */
} words_t;

static void doubt(peek_t *p, cn_str_t file, uint32_t line, const char *why)
{
    if (p->doubt->n == 0)
        *p->doubt = cn_pool_printf(p->pool, "%.*s:%u: %s", CN_STR_ARG(file), line, why);
}

static void look_through(peek_t *p, cn_str_t file, cn_str_t text);

static void include(peek_t *p, cn_str_t file, const words_t *w)
{
    cn_vec_t paths = {0};
    const char *why;
    cn_str_t text;

    if (p->depth == CN_CONF_INCLUDE_DEPTH_MAX)
        return;
    if (cn_bundle_glob(p->bundle, w->v[1], p->pool, &paths, &why) != CN_OK)
        doubt(p, file, w->line, why);
    p->depth++;
    for (uint32_t i = 0; i < paths.n && !p->found; i++) {
        cn_str_t *path = (cn_str_t *)paths.v + i;

        if (cn_map_put(&p->files, *path, path))
            continue;
        if (cn_bundle_read(p->bundle, *path, &text, &why) == CN_OK)
            look_through(p, *path, text);
        else
            doubt(p, file, w->line, why);
    }
    p->depth--;
}

static void end_statement(peek_t *p, cn_str_t file, words_t *w)
{
    if (w->n > 1 && !p->found && cn_str_eq(w->v[0], p->name)) {
        p->found = true;
        p->value = w->v[1];
    } else if (w->n > 1 && cn_str_eq(w->v[0], CN_STR("include"))) {
        include(p, file, w);
    }
    w->n = 0;
}

static void add_word(peek_t *p, cn_str_t file, const cn_lex_token_t *tok, words_t *w)
{
    if (p->lax && w->n > 0 && w->line != tok->line)
        end_statement(p, file, w);
    if (w->n < CN_COUNT(w->v))
        w->v[w->n] = cn_lex_value(p->pool, tok);
    w->n++;
    w->line = tok->line;
}

/* Goes on behind the line that cannot be read.  False: there is nothing. */
static bool pass_line(cn_lex_t *lx)
{
    const char *end = memchr(lx->text.p + lx->at, '\n', lx->text.n - lx->at);

    if (!end)
        return false;
    lx->at = (size_t)(end - lx->text.p) + 1;
    lx->line++;
    lx->why = NULL;
    return true;
}

/* Not closed, it may hold everything that follows. */
static void pass_block(peek_t *p, cn_lex_t *lx, uint32_t line)
{
    if (!p->lax && cn_lex_skip(lx, 1, NULL).kind != CN_LEX_CLOSE)
        doubt(p, lx->file, line, lx->why ? lx->why : "this block is not closed: \"}\" is missing");
}

static void look_through(peek_t *p, cn_str_t file, cn_str_t text)
{
    words_t w = {.n = 0};
    cn_lex_t lx;

    cn_lex_init(&lx, file, text);
    while (!p->found) {
        cn_lex_token_t tok = cn_lex_next(&lx);

        if (tok.kind == CN_LEX_WORD) {
            add_word(p, file, &tok, &w);
            continue;
        }
        if (tok.kind == CN_LEX_SEMI || p->lax)
            end_statement(p, file, &w);
        w.n = 0;
        if (tok.kind == CN_LEX_OPEN)
            pass_block(p, &lx, tok.line);
        if (tok.kind == CN_LEX_ERROR)
            doubt(p, file, tok.line, lx.why);
        if (tok.kind == CN_LEX_END || (tok.kind == CN_LEX_ERROR && !(p->lax && pass_line(&lx))))
            return;
    }
}

static void round_of(peek_t *p, bool lax, cn_str_t extra, cn_str_t file, cn_str_t text)
{
    p->lax = lax;
    cn_map_init(&p->files);
    look_through(p, CN_STR("-g"), extra);
    look_through(p, file, text);
    cn_map_fini(&p->files);
}

cn_rc cn_conf_peek(const cn_conf_load_t *load, cn_str_t name, cn_pool_t *pool, cn_str_t *value,
                   cn_str_t *why)
{
    peek_t p = {.bundle = load->bundle, .pool = pool, .name = name, .doubt = why};
    const char *reason;
    cn_str_t text = CN_STR("");

    *why = CN_STR_NULL;
    cn_bundle_unmark(load->bundle);
    cn_rc rc = cn_bundle_read(load->bundle, load->file, &text, &reason);
    if (rc != CN_OK)
        *why = cn_pool_printf(pool, "cannot read %.*s: %s", CN_STR_ARG(load->file), reason);
    round_of(&p, false, load->extra, load->file, text);
    if (!p.found)
        round_of(&p, true, load->extra, load->file, text);
    *value = p.value;
    return p.found ? CN_OK : rc == CN_OK ? CN_DECLINE : CN_ERR;
}
