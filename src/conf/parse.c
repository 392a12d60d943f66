/* SPDX-License-Identifier: Apache-2.0
 *
 * The directive engine: reads `name argument...;` and `name argument... {`,
 * finds who knows the name on this level, checks shape, place and repetition,
 * and calls the setter.  What a nested block means is gen.c's work.
 *
 * Recursion is bounded by CN_CONF_DEPTH_MAX: a block is read by the setter of
 * the directive that opened it.  Everything here ends with the load; words
 * live in the pool of the section that they belong to.
 */
#include "conf/conf_int.h"

#include <stdio.h>

#include "core/hash.h"
#include "core/log.h"

#define MESSAGE_MAX 1024u /* words in it may be long */

static const char *const level_names[CN_LV_MAX] = {
    "on main level", "in a \"service\" block", "in a \"route\" block", "in a \"cluster\" block"};

/* A directive as read. */
typedef struct {
    cn_str_t few[8];
    cn_str_t *v;
    unsigned n, cap;
    const char *arg_at;
    uint32_t gap; /* last line before the words went on on another one; 0: they did not */
    bool gap_sure;
    uint64_t hash;
    cn_lex_token_t end;
} words_t;

/* ---- errors ---- */

static cn_str_t message(cn_pool_t *pool, const cn_pos_t *pos, const char *fmt, va_list ap)
{
    char *text = cn_pool_bytes(pool, MESSAGE_MAX);
    int head = pos->line
                   ? snprintf(text, MESSAGE_MAX, "%.*s:%u: ", CN_STR_ARG(pos->file), pos->line)
                   : snprintf(text, MESSAGE_MAX, "%.*s: ", CN_STR_ARG(pos->file));
    size_t n = head < 0 ? 0 : (size_t)head;

    if (n < MESSAGE_MAX - 1) {
        int body = vsnprintf(text + n, MESSAGE_MAX - n, fmt, ap);

        n += body < 0 ? 0 : (size_t)body;
    }
    if (n > MESSAGE_MAX - 1)
        n = MESSAGE_MAX - 1;
    /* One line, whatever a word holds. */
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = ' ';
    }
    return cn_str_make(text, n);
}

cn_rc cn_conf_error(cn_conf_t *cf, const char *fmt, ...)
{
    va_list ap;

    if (cf->error.n)
        return CN_ERR;
    va_start(ap, fmt);
    cf->error = message(cf->tmp, &cf->pos, fmt, ap);
    va_end(ap);
    return CN_ERR;
}

void cn_conf_warn(cn_conf_t *cf, const char *fmt, ...)
{
    cn_str_t text;
    va_list ap;

    va_start(ap, fmt);
    text = message(cf->tmp, &cf->pos, fmt, ap);
    va_end(ap);
    cn_log(CN_LOG_WARN, "conf", "%.*s", CN_STR_ARG(text));
}

cn_rc cn_conf_error_token(cn_conf_t *cf, const cn_lex_token_t *tok)
{
    cn_scope_t *sc = cf->scope;

    cf->pos = (cn_pos_t){cf->lex->file, tok->line};
    if (tok->kind == CN_LEX_ERROR)
        return cn_conf_error(cf, "%s", cf->lex->why);
    return cn_conf_error(
        cf, "the file ends inside block \"%.*s%s%.*s\", which began on line %u: \"}\" is missing",
        CN_STR_ARG(sc->keyword), sc->name.n ? " " : "", CN_STR_ARG(sc->name), sc->opened.line);
}

/* ---- what setters may ask ---- */

cn_pool_t *cn_conf_pool(cn_conf_t *cf)
{
    return cf->section->pool;
}

cn_str_t cn_conf_where(cn_conf_t *cf)
{
    return cn_pool_printf(cn_conf_pool(cf), "%.*s:%u", CN_STR_ARG(cf->pos.file), cf->pos.line);
}

bool cn_conf_first(const cn_conf_t *cf)
{
    return cf->first;
}

cn_str_t cn_conf_name(const cn_conf_t *cf)
{
    return cf->block_name;
}

cn_str_t cn_conf_path(cn_conf_t *cf, cn_str_t path)
{
    return cn_bundle_path(cf->load->bundle, cn_conf_pool(cf), path);
}

bool cn_conf_keyval(cn_str_t arg, cn_str_t *key, cn_str_t *value)
{
    size_t at = cn_str_find(arg, '=');

    if (at == arg.n)
        return false;
    *key = cn_str_make(arg.p, at);
    *value = cn_str_make(arg.p + at + 1, arg.n - at - 1);
    return true;
}

const cn_units_t *cn_conf_units(const cn_conf_t *cf)
{
    return cf->load->units;
}

cn_rc cn_conf_absent(cn_conf_t *cf, cn_str_t word)
{
    const cn_conf_absent_t *a = cf->load->units->absent;

    for (; a && a->module; a++)
        if (cn_str_eq(word, cn_str_c(a->directive ? a->directive : a->module)))
            return cn_conf_error(
                cf, "\"%.*s\" needs the module \"%s\", which this program was built without",
                CN_STR_ARG(word), a->module);
    return CN_DECLINE;
}

/* ---- the table of directives ---- */

static cn_rc enter(cn_conf_t *cf, const cn_directive_t *d, const char *owner, unsigned unit)
{
    cn_str_t name = cn_str_c(d->name);
    cn_conf_entry_t *same = cn_map_get(&cf->entries, name);
    cn_conf_entry_t *e = cn_pool_zalloc(cf->tmp, sizeof(*e));
    unsigned levels = (1u << CN_LV_MAX) - 1;

    for (cn_conf_entry_t *o = same; o; o = o->next) {
        if (o->directive->where & d->where & levels)
            return cn_conf_error(cf, "directive \"%s\" is defined by both \"%s\" and \"%s\"",
                                 d->name, o->owner, owner);
    }
    CN_BUG_ON(d->where & CN_D_STRUCTURAL && (d->where & levels) != CN_AT_MAIN);
    e->directive = d;
    e->owner = owner;
    e->unit = unit;
    e->next = same;
    (void)cn_map_put(&cf->entries, name, e);
    return CN_OK;
}

cn_rc cn_conf_begin(cn_conf_t *cf, const cn_conf_load_t *load)
{
    *cf = (cn_conf_t){.load = load, .tmp = cn_pool_exempt(cn_pool_create(0))};
    cf->pos.file = load->file;
    for (const cn_directive_t *d = cn_gen_directives; d->name; d++) {
        if (enter(cf, d, "core", 0) != CN_OK)
            return CN_ERR;
    }
    for (unsigned i = 0; i < load->units->n; i++) {
        const cn_conf_unit_t *unit = &load->units->v[i];

        for (const cn_directive_t *d = unit->directives; d && d->name; d++) {
            if (enter(cf, d, unit->name, i) != CN_OK)
                return CN_ERR;
        }
    }
    return CN_OK;
}

void cn_conf_end(cn_conf_t *cf)
{
    cn_map_fini(&cf->entries);
    cn_map_fini(&cf->included);
    cn_pool_destroy(cf->tmp);
}

/* ---- finding a directive ---- */

static cn_conf_entry_t *find_level(cn_conf_t *cf, cn_str_t name, cn_level_t level)
{
    cn_conf_entry_t *e = cn_map_get(&cf->entries, name);

    while (e && !(e->directive->where & 1u << level))
        e = e->next;
    return e;
}

static const cn_directive_t *find_table(const cn_directive_t *table, cn_str_t name)
{
    for (const cn_directive_t *d = table; d->name; d++) {
        if (cn_str_eq(name, cn_str_c(d->name)))
            return d;
    }
    return NULL;
}

/* "on main level or in a "service" block": where else the name is known. */
static cn_str_t places(cn_conf_t *cf, cn_str_t name)
{
    cn_str_t list = CN_STR_NULL;

    for (int lv = 0; lv < CN_LV_MAX; lv++) {
        if (!find_level(cf, name, (cn_level_t)lv))
            continue;
        list = list.n ? cn_pool_printf(cf->tmp, "%.*s or %s", CN_STR_ARG(list), level_names[lv])
                      : cn_str_c(level_names[lv]);
    }
    return list;
}

static cn_rc unknown(cn_conf_t *cf, const cn_scope_t *sc, cn_str_t name)
{
    cn_str_t elsewhere = places(cf, name);
    cn_str_t block =
        sc->keyword.n ? cn_pool_printf(cf->tmp, " in block \"%.*s%s%.*s\", which began on line %u",
                                       CN_STR_ARG(sc->keyword), sc->name.n ? " " : "",
                                       CN_STR_ARG(sc->name), sc->opened.line)
                      : CN_STR_NULL;

    if (elsewhere.n == 0 && sc->level != CN_LV_MAX && cn_conf_absent(cf, name) == CN_ERR)
        return CN_ERR;
    if (elsewhere.n == 0)
        return cn_conf_error(cf, "unknown directive \"%.*s\"%.*s", CN_STR_ARG(name),
                             CN_STR_ARG(block));
    return cn_conf_error(cf, "directive \"%.*s\" may not stand %s%.*s: it belongs %.*s%s",
                         CN_STR_ARG(name), sc->keyword.n ? "here" : "on main level",
                         CN_STR_ARG(block), CN_STR_ARG(elsewhere),
                         sc->keyword.n ? " (is a \"}\" missing?)" : "");
}

/* ---- reading one directive ---- */

static void push_word(cn_conf_t *cf, words_t *w, cn_str_t value)
{
    if (w->n == w->cap) {
        cn_str_t *grown = cn_pool_alloc(cf->tmp, w->cap * 2 * sizeof(*grown));

        memcpy(grown, w->v, w->n * sizeof(*grown));
        w->v = grown;
        w->cap *= 2;
    }
    w->v[w->n++] = value;
}

/* Where the words go on on another line: the first such place where a word is
 * one too many is the likeliest for a forgotten `;`. */
static void note_line(words_t *w, unsigned max, uint32_t line, uint32_t next)
{
    if (line == next || w->gap_sure)
        return;
    w->gap_sure = max == CN_ARGS_ANY || w->n > max;
    if (w->gap_sure || !w->gap)
        w->gap = line;
}

/* From the name up to what ends the words. */
static cn_rc read_words(cn_conf_t *cf, cn_pool_t *pool, const cn_directive_t *d,
                        const cn_lex_token_t *name, words_t *w)
{
    cn_lex_token_t tok = *name;
    uint32_t line = name->line;

    w->v = w->few;
    w->cap = CN_COUNT(w->few);
    for (; tok.kind == CN_LEX_WORD; tok = cn_lex_next(cf->lex)) {
        if (w->n == CN_CONF_WORDS_MAX)
            return cn_conf_error(cf, "directive \"%s\" has more than 65536 words", d->name);
        if (w->n == 1)
            w->arg_at = tok.raw.p;
        note_line(w, d->args >> 8 & 0xff, line, tok.line);
        line = tok.line;
        push_word(cf, w, w->n == 0 ? cn_str_c(d->name) : cn_lex_value(pool, &tok));
        w->hash = cn_lex_hash(&tok, w->hash);
    }
    w->end = tok;
    if (tok.kind == CN_LEX_OPEN)
        note_line(w, d->args >> 8 & 0xff, line, tok.line);
    return tok.kind == CN_LEX_ERROR ? cn_conf_error_token(cf, &tok) : CN_OK;
}

static cn_str_t hint(cn_conf_t *cf, const words_t *w)
{
    return w->gap ? cn_pool_printf(cf->tmp, " (is \";\" missing at the end of line %u?)", w->gap)
                  : CN_STR_NULL;
}

static cn_rc wrong_count(cn_conf_t *cf, const cn_directive_t *d, const words_t *w)
{
    cn_str_t h = hint(cf, w);

    return cn_conf_error(cf, "directive \"%s\" has too %s arguments (%u): expected \"%s\"%.*s",
                         d->name, w->n - 1 < (d->args & 0xff) ? "few" : "many", w->n - 1,
                         d->syntax ? d->syntax : d->name, CN_STR_ARG(h));
}

static cn_rc check_shape(cn_conf_t *cf, const cn_directive_t *d, const words_t *w)
{
    unsigned min = d->args & 0xff;
    unsigned max = d->args >> 8 & 0xff;
    bool block = d->where & CN_D_BLOCK;

    if (w->end.kind != CN_LEX_SEMI && w->end.kind != CN_LEX_OPEN)
        return cn_conf_error(cf, "directive \"%s\" is not ended by %s", d->name,
                             block ? "a block in { }" : "\";\"");
    if (w->n - 1 < min || (max != CN_ARGS_ANY && w->n - 1 > max))
        return wrong_count(cf, d, w);
    if (block && w->end.kind == CN_LEX_SEMI && (!(d->where & CN_D_BARE) || w->n == 1))
        return cn_conf_error(cf, "directive \"%s\" needs a block in { } instead of \";\"", d->name);
    if (!block && w->end.kind == CN_LEX_OPEN) {
        cn_str_t h = hint(cf, w);

        return cn_conf_error(cf, "directive \"%s\" has no block: expected \"%s;\"%.*s", d->name,
                             d->syntax ? d->syntax : d->name, CN_STR_ARG(h));
    }
    return CN_OK;
}

static cn_rc again(cn_conf_t *cf, const cn_directive_t *d, const cn_pos_t *first)
{
    return cn_conf_error(cf, "directive \"%s\" is given again: the first one is at %.*s:%u",
                         d->name, CN_STR_ARG(first->file), first->line);
}

/* ---- calling the setter ---- */

static cn_rc set(cn_conf_t *cf, const cn_directive_t *d, void *conf, const words_t *w)
{
    cn_rc rc;

    cf->unread = w->end.kind == CN_LEX_OPEN;
    cf->bare = !cf->unread;
    cf->argv = w->v;
    cf->argc = w->n;
    cf->arg_at = w->arg_at;
    rc = d->set(cf, d, conf, w->v, w->n);
    if (rc != CN_OK)
        return cn_conf_error(cf, "directive \"%s\" was refused", d->name);
    if (cf->unread && d->where & CN_D_BARE)
        return cn_conf_error(cf, "directive \"%s\" has either arguments or a block", d->name);
    CN_BUG_ON(cf->unread);
    return CN_OK;
}

bool cn_conf_bare(const cn_conf_t *cf)
{
    return cf->bare;
}

/* MAIN settings that sections inherit, and those that need new workers, are
 * told apart by hash.  A block is looked through ahead of its setter. */
static void hash_main(cn_conf_t *cf, const cn_directive_t *d, const words_t *w)
{
    uint64_t *into = d->where & CN_D_STRUCTURAL ? &cf->structural_hash : &cf->main_hash;
    uint64_t h = w->hash;

    if (w->end.kind == CN_LEX_OPEN) {
        cn_lex_t ahead = *cf->lex;

        (void)cn_lex_skip(&ahead, cf->depth + 1, &h);
    }
    *into = cn_hash_xxh(cn_str_make((const char *)&h, sizeof(h)), *into);
}

static cn_rc check_order(cn_conf_t *cf, cn_scope_t *sc, const cn_directive_t *d)
{
    if (d->where & CN_D_NESTED && !sc->nested.line)
        sc->nested = cf->pos;
    if (d->where & (CN_D_NESTED | CN_D_NEUTRAL) || !sc->nested.line)
        return CN_OK;
    return cn_conf_error(
        cf,
        "directive \"%s\" stands after a nested block (%.*s:%u): settings must stand before all "
        "%s blocks of their level",
        d->name, CN_STR_ARG(sc->nested.file), sc->nested.line,
        sc->level == CN_LV_MAIN ? "\"service\" and \"cluster\"" : "\"route\"");
}

/* The files' directive is not read when -g gave it. */
static cn_rc pass_over(cn_conf_t *cf, const words_t *w)
{
    cn_lex_token_t tok;

    if (w->end.kind != CN_LEX_OPEN)
        return CN_OK;
    tok = cn_lex_skip(cf->lex, cf->depth + 1, NULL);
    return tok.kind == CN_LEX_CLOSE ? CN_OK : cn_conf_error_token(cf, &tok);
}

static cn_rc level_directive(cn_conf_t *cf, cn_scope_t *sc, const cn_lex_token_t *name)
{
    cn_conf_entry_t *e = find_level(cf, name->raw, sc->level);
    const cn_directive_t *d = e ? e->directive : NULL;
    words_t w = {0};
    bool engine;

    if (!e || (cf->extra && d->where & CN_D_ENGINE && sc->level == CN_LV_MAIN))
        return e ? cn_conf_error(cf, "directive \"%s\" may not stand here, only settings", d->name)
                 : unknown(cf, sc, name->raw);
    engine = d->where & CN_D_ENGINE;
    if (check_order(cf, sc, d) != CN_OK)
        return CN_ERR;
    if (read_words(cf, engine ? cf->tmp : cn_conf_pool(cf), d, name, &w) != CN_OK ||
        check_shape(cf, d, &w) != CN_OK)
        return CN_ERR;
    if (e->given && !cf->extra && sc->level == CN_LV_MAIN)
        return pass_over(cf, &w);
    e->given |= cf->extra;
    cf->first = e->seen[sc->level].scope != sc->id;
    if (!cf->first && !(d->where & CN_D_REPEAT))
        return again(cf, d, &e->seen[sc->level].first);
    if (cf->first) {
        e->seen[sc->level].scope = sc->id;
        e->seen[sc->level].first = cf->pos;
    }
    if (sc->level == CN_LV_MAIN && !(d->where & CN_D_NESTED))
        cf->settings++;
    if (sc->level == CN_LV_MAIN && !engine)
        hash_main(cf, d, &w);
    return set(cf, d, engine ? NULL : cn_section_own(cf->section, sc->level, sc->confs, e->unit),
               &w);
}

static cn_rc table_directive(cn_conf_t *cf, cn_scope_t *sc, const cn_lex_token_t *name)
{
    const cn_directive_t *d = find_table(sc->table, name->raw);
    uint32_t *seen;
    words_t w = {0};

    if (!d)
        return unknown(cf, sc, name->raw);
    CN_BUG_ON(d - sc->table >= CN_CONF_TABLE_MAX);
    seen = &sc->seen[d - sc->table];
    if (read_words(cf, cn_conf_pool(cf), d, name, &w) != CN_OK || check_shape(cf, d, &w) != CN_OK)
        return CN_ERR;
    cf->first = *seen == 0;
    if (!cf->first && !(d->where & CN_D_REPEAT)) {
        cn_pos_t first = {cf->lex->file, *seen};

        return again(cf, d, &first);
    }
    if (cf->first)
        *seen = cf->pos.line;
    return set(cf, d, sc->conf, &w);
}

/* ---- blocks ---- */

void cn_conf_scope(cn_conf_t *cf, cn_scope_t *sc, cn_level_t level, void **confs, cn_str_t keyword,
                   cn_str_t name)
{
    *sc = (cn_scope_t){
        .level = level, .confs = confs, .keyword = keyword, .name = name, .id = ++cf->scopes};
    sc->opened = cf->pos;
}

static cn_rc read_directives(cn_conf_t *cf, cn_scope_t *sc)
{
    bool block = sc->keyword.n;

    for (;;) {
        cn_lex_token_t tok = cn_lex_next(cf->lex);
        cn_rc rc = CN_ERR;

        cf->pos = (cn_pos_t){cf->lex->file, tok.line};
        if (tok.kind == CN_LEX_WORD)
            rc = sc->level == CN_LV_MAX ? table_directive(cf, sc, &tok)
                                        : level_directive(cf, sc, &tok);
        else if (tok.kind == CN_LEX_ERROR || (tok.kind == CN_LEX_END && block))
            return cn_conf_error_token(cf, &tok);
        else if (tok.kind == CN_LEX_END || (tok.kind == CN_LEX_CLOSE && block))
            return CN_OK;
        else
            return cn_conf_error(cf, "unexpected \"%.*s\": expected the name of a directive",
                                 CN_STR_ARG(tok.raw));
        if (rc != CN_OK)
            return rc;
    }
}

cn_rc cn_conf_read(cn_conf_t *cf, cn_scope_t *sc)
{
    cn_scope_t *outer = cf->scope;
    cn_pos_t pos = cf->pos;
    bool first = cf->first;
    cn_rc rc;

    if (sc->keyword.n) {
        cf->unread = false;
        if (cf->depth == CN_CONF_DEPTH_MAX)
            return cn_conf_error(cf, "blocks are nested deeper than 16");
        cf->depth++;
    }
    cf->scope = sc;
    rc = read_directives(cf, sc);
    if (sc->keyword.n)
        cf->depth--;
    cf->scope = outer;
    cf->pos = pos;
    cf->first = first;
    return rc;
}

cn_rc cn_conf_block(cn_conf_t *cf, const cn_directive_t *table, void *conf)
{
    cn_scope_t sc;

    CN_BUG_ON(!cf->unread);
    cn_conf_scope(cf, &sc, CN_LV_MAX, NULL, cf->argv[0], cf->argc > 1 ? cf->argv[1] : CN_STR_NULL);
    sc.table = table;
    sc.conf = conf;
    return cn_conf_read(cf, &sc);
}
