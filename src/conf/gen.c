/* SPDX-License-Identifier: Apache-2.0
 *
 * A generation: the main file and what it includes, read into a MAIN section
 * and one section for each service and cluster block.  A block whose text is
 * that of the previous generation, under the same MAIN settings, is not read
 * again: its section is shared, and what it claims is entered anew.  Texts of
 * other files do not count as the block's; when one has changed, the block is
 * read once more so that its setters judge the new text, and the old section
 * is kept.
 *
 * The generation owns its maps, and a reference to each section and text.
 * During a load cn_conf_t owns the rest; a load that fails leaves nothing.
 */
#include "conf/section.h"

#include <stdlib.h>

#include "conf/conf_int.h"
#include "core/hash.h"

/* ---- texts of other files ---- */

static cn_text_t *text_create(cn_str_t path, cn_str_t text, uint64_t hash)
{
    cn_text_t *t = cn_xmalloc(sizeof(*t) + path.n + text.n);
    char *p = (char *)(t + 1);

    memcpy(p, path.p, path.n);
    if (text.n)
        memcpy(p + path.n, text.p, text.n);
    *t = (cn_text_t){1, cn_str_make(p, path.n), cn_str_make(p + path.n, text.n), hash, false};
    return t;
}

void cn_gen_text_unref(cn_text_t *t)
{
    if (--t->refs > 0)
        return;
    if (t->secret)
        explicit_bzero((char *)(t + 1) + t->path.n, t->text.n);
    free(t);
}

static cn_rc dump(FILE *out, cn_str_t path, cn_str_t text)
{
    if (!out)
        return CN_OK;
    (void)fprintf(out, "# configuration file %.*s:\n", CN_STR_ARG(path));
    (void)fwrite(text.p ? text.p : "", 1, text.n, out);
    (void)fprintf(out, "%s\n", cn_str_ends(text, CN_STR("\n")) ? "" : "\n");
    return ferror(out) ? CN_ERR : CN_OK;
}

static cn_rc read_file(cn_conf_t *cf, cn_str_t path, cn_str_t *text)
{
    const char *why;

    if (cn_bundle_read(cf->load->bundle, path, text, &why) != CN_OK)
        return cn_conf_error(cf, "cannot read \"%.*s\": %s", CN_STR_ARG(path), why);
    return CN_OK;
}

/* Under other MAIN settings all sections are made anew, and the old ones give their memory back:
 * as whole pages only when no texts stay between them. */
static bool is_moving(const cn_conf_t *cf)
{
    return cf->main_done && !cf->load->part && cf->main_hash != cf->load->prev->main_hash;
}

/* The generation's text at an absolute path, taken from the previous one when
 * it says the same. */
cn_rc cn_gen_use_text(cn_conf_t *cf, cn_str_t path, bool secret, cn_text_t **out)
{
    cn_text_t *t = cn_map_get(&cf->gen->texts, path);
    const cn_gen_t *prev = cf->load->prev;
    cn_str_t text;
    uint64_t hash;

    *out = t;
    if (t)
        return CN_OK;
    if (cf->load->part && !cn_bundle_has(cf->load->bundle, path)) {
        t = cn_map_get(&prev->texts, path);
        if (!t)
            return cn_conf_error(cf, "no text of \"%.*s\"", CN_STR_ARG(path));
        t->refs++;
        (void)cn_map_put(&cf->gen->texts, t->path, t);
        *out = t;
        return CN_OK;
    }
    if (read_file(cf, path, &text) != CN_OK)
        return CN_ERR;
    if (!secret && dump(cf->load->dump, path, text) != CN_OK)
        return cn_conf_error(cf, "cannot write the dump");
    hash = cn_hash_xxh(text, 0);
    t = prev ? cn_map_get(&prev->texts, path) : NULL;
    if (t && t->hash == hash && cn_str_eq(t->text, text) && !is_moving(cf))
        t->refs++;
    else
        t = text_create(path, text, hash);
    t->secret |= secret;
    (void)cn_map_put(&cf->gen->texts, t->path, t);
    *out = t;
    return CN_OK;
}

static cn_rc add_text(cn_conf_t *cf, cn_str_t path, bool secret, cn_str_t *text)
{
    cn_str_t full = cn_conf_path(cf, path);
    cn_text_t *t;

    if (cn_gen_use_text(cf, full, secret, &t) != CN_OK)
        return CN_ERR;
    *(cn_str_t *)cn_vec_push(cn_conf_pool(cf), &cf->section->texts, sizeof(full)) = full;
    *text = t->text;
    return CN_OK;
}

cn_rc cn_conf_text(cn_conf_t *cf, cn_str_t path, cn_str_t *text)
{
    return add_text(cf, path, false, text);
}

cn_rc cn_conf_secret(cn_conf_t *cf, cn_str_t path, cn_str_t *text)
{
    *text = CN_STR_NULL;
    /* The master has no use for them. */
    if (cf->load->main_only)
        return CN_OK;
    cn_bundle_secret(cf->load->bundle, cn_conf_path(cf, path));
    return add_text(cf, path, true, text);
}

const cn_text_t *cn_gen_text_find(const cn_gen_t *gen, cn_str_t path)
{
    char full[4096];

    if (path.n && path.p[0] != '/' && gen->prefix.n) {
        size_t n = gen->prefix.n;

        if (n + 1 + path.n > sizeof(full))
            return NULL;
        memcpy(full, gen->prefix.p, n);
        if (full[n - 1] != '/')
            full[n++] = '/';
        memcpy(full + n, path.p, path.n);
        path = cn_str_make(full, n + path.n);
    }
    return cn_map_get(&gen->texts, path);
}

cn_str_t cn_gen_text(const cn_gen_t *gen, cn_str_t path)
{
    const cn_text_t *t = cn_gen_text_find(gen, path);

    return t ? t->text : CN_STR_NULL;
}

/* ---- addresses and hosts that services answer at ---- */

#define KEY_MAX (3 + CN_CONF_NAME_MAX)

/* Kind ('4', '6', 'h'), port, then the IP or the name in lower case. */
static cn_str_t key_make(char *key, char kind, uint16_t port, const void *p, size_t n)
{
    key[0] = kind;
    key[1] = (char)(port >> 8);
    key[2] = (char)(port & 0xff);
    if (kind == 'h')
        cn_str_lower(key + 3, p, n);
    else
        memcpy(key + 3, p, n);
    return cn_str_make(key, 3 + n);
}

static cn_str_t address_key(char *key, const cn_addr_t *addr, uint16_t port)
{
    bool v4 = addr->family == AF_INET;

    return key_make(key, v4 ? '4' : '6', port, addr->ip, v4 ? 4 : 16);
}

/* A null string when there can be no such host. */
static cn_str_t host_key(char *key, cn_str_t host, uint16_t port)
{
    if (host.n && host.p[host.n - 1] == '.')
        host.n--;
    if (host.n == 0 || host.n > CN_CONF_NAME_MAX)
        return CN_STR_NULL;
    return key_make(key, 'h', port, host.p, host.n);
}

static cn_rc enter_claim(cn_conf_t *cf, const cn_claim_t *claim, cn_section_t *s)
{
    const cn_section_t *owner = cn_map_get(&cf->gen->addresses, claim->key);

    if (owner && owner != s)
        return cn_conf_error(cf, "%.*s already belongs to service \"%.*s\" (%.*s)",
                             CN_STR_ARG(claim->text), CN_STR_ARG(owner->name),
                             CN_STR_ARG(owner->where));
    (void)cn_map_put(&cf->gen->addresses, claim->key, s);
    return CN_OK;
}

static cn_rc add_claim(cn_conf_t *cf, cn_str_t key, cn_str_t text)
{
    cn_section_t *s = cf->section;
    cn_claim_t *claim;

    CN_BUG_ON(s->level != CN_LV_SERVICE);
    if (cn_map_get(&cf->gen->addresses, key) == s)
        return CN_OK;
    claim = cn_vec_push(s->pool, &s->claims, sizeof(*claim));
    claim->key = cn_pool_dup(s->pool, key);
    claim->text = cn_pool_dup(s->pool, text);
    return enter_claim(cf, claim, s);
}

cn_rc cn_conf_claim(cn_conf_t *cf, const cn_addr_t *addr)
{
    char key[KEY_MAX];
    char text[CN_INET_TEXT];
    size_t n = cn_inet_put(text, addr, addr->port != 0);
    cn_str_t shown =
        cn_pool_printf(cf->tmp, "address %.*s%s", (int)n, text, addr->port ? "" : " with any port");

    return add_claim(cf, address_key(key, addr, addr->port), shown);
}

cn_rc cn_conf_claim_host(cn_conf_t *cf, cn_str_t host, uint16_t port)
{
    char buf[KEY_MAX];
    cn_str_t key = host_key(buf, host, port);

    if (key.n == 0)
        return cn_conf_error(cf, "\"%.*s\" is not a host name", CN_STR_ARG(host));
    return add_claim(cf, key,
                     cn_pool_printf(cf->tmp, "host %.*s with port %u", CN_STR_ARG(host), port));
}

cn_section_t *cn_gen_find(const cn_gen_t *gen, const cn_addr_t *addr)
{
    char key[KEY_MAX];
    cn_section_t *s;

    if (addr->family == 0)
        return NULL;
    s = cn_map_get(&gen->addresses, address_key(key, addr, addr->port));
    return s ? s : cn_map_get(&gen->addresses, address_key(key, addr, 0));
}

cn_section_t *cn_gen_find_host(const cn_gen_t *gen, cn_str_t host, uint16_t port)
{
    char buf[KEY_MAX];
    cn_str_t key = host_key(buf, host, port);

    return key.n ? cn_map_get(&gen->addresses, key) : NULL;
}

/* ---- include ---- */

static cn_rc read_lexer(cn_conf_t *cf, cn_lex_t *lx)
{
    cn_lex_t *outer = cf->lex;
    cn_rc rc;

    cf->lex = lx;
    rc = cn_conf_read(cf, &cf->main);
    cf->lex = outer;
    return rc;
}

/* A change of such a file may concern everything. */
static void note_main_file(cn_conf_t *cf, cn_str_t path)
{
    cn_gen_t *gen = cf->gen;

    *(cn_str_t *)cn_vec_push(gen->pool, &gen->main_files, sizeof(path)) =
        cn_pool_dup(gen->pool, path);
}

/* Each file counts once, so that files which include each other end. */
cn_rc cn_gen_include(cn_conf_t *cf, cn_str_t path)
{
    cn_pos_t *from = cn_map_get(&cf->included, path);
    cn_str_t text;
    cn_lex_t lx;

    if (from)
        return cn_conf_error(cf, "\"%.*s\" is included again: it was already read at %.*s:%u",
                             CN_STR_ARG(path), CN_STR_ARG(from->file), from->line);
    if (cf->include_depth == CN_CONF_INCLUDE_DEPTH_MAX)
        return cn_conf_error(cf, "files include each other deeper than 8");
    from = cn_pool_alloc(cf->tmp, sizeof(*from));
    *from = cf->pos;
    (void)cn_map_put(&cf->included, path, from);
    if (read_file(cf, path, &text) != CN_OK)
        return CN_ERR;
    if (dump(cf->load->dump, path, text) != CN_OK)
        return cn_conf_error(cf, "cannot write the dump");
    cn_lex_init(&lx, path, text);
    uint32_t settings = cf->settings;
    cf->include_depth++;
    cn_rc rc = read_lexer(cf, &lx);
    cf->include_depth--;
    if (cf->settings != settings)
        note_main_file(cf, path);
    return rc;
}

static cn_rc set_include(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf CN_UNUSED,
                         const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_vec_t paths = {0};
    const char *why;

    if (cn_bundle_glob(cf->load->bundle, argv[1], cf->tmp, &paths, &why) != CN_OK)
        return cn_conf_error(cf, "cannot include \"%.*s\": %s", CN_STR_ARG(argv[1]), why);
    for (uint32_t i = 0; i < paths.n; i++) {
        if (cn_gen_include(cf, ((cn_str_t *)paths.v)[i]) != CN_OK)
            return CN_ERR;
    }
    return CN_OK;
}

/* ---- service and cluster blocks ---- */

/* Sections start as copies of the finished MAIN settings.  When these are what
 * they were, the previous MAIN section stays: else every reload would leave
 * one behind, held by the sections that were read in it. */
static cn_rc finish_main(cn_conf_t *cf)
{
    cn_section_t *s = cf->gen->main;
    const cn_gen_t *prev = cf->load->prev;
    cn_pos_t pos = cf->pos;

    if (cf->main_done)
        return CN_OK;
    cf->main_done = true;
    cf->pos = (cn_pos_t){cf->load->file, 0};
    if (cn_section_level_done(cf, CN_LV_MAIN, s->confs) != CN_OK)
        return CN_ERR;
    cf->pos = pos;
    s->hash = cn_hash_xxh(cn_str_make((const char *)&cf->main_hash, sizeof(cf->main_hash)),
                          cf->structural_hash);
    cf->gen->structural_hash = cf->structural_hash;
    cf->gen->main_hash = cf->main_hash;
    if (prev && prev->main->units == s->units && prev->main->hash == s->hash) {
        cf->gen->main = cn_section_ref(prev->main);
        cf->section = cf->gen->main;
        cf->main.confs = cf->gen->main->confs;
        cn_section_unref(s);
    }
    return CN_OK;
}

cn_map_t *cn_gen_sections(cn_gen_t *gen, cn_level_t level)
{
    return level == CN_LV_SERVICE ? &gen->services : &gen->clusters;
}

cn_str_t cn_section_file(const cn_section_t *s)
{
    size_t n = s->where.n;

    while (n > 0 && s->where.p[n - 1] != ':')
        n--;
    return cn_str_make(s->where.p, n ? n - 1 : 0);
}

static void index_section(cn_gen_t *gen, cn_section_t *s)
{
    const cn_str_t *texts = s->texts.v;

    cn_multi_add(&gen->by_file, cn_hash_sip(cn_section_file(s)), s);
    for (uint32_t i = 0; i < s->texts.n; i++)
        cn_multi_add(&gen->by_text, cn_hash_sip(texts[i]), s);
}

void cn_gen_enter(cn_gen_t *gen, cn_section_t *s)
{
    (void)cn_map_put(cn_gen_sections(gen, s->level), s->name, s);
    index_section(gen, s);
}

void cn_gen_remove(cn_gen_t *gen, cn_section_t *s)
{
    const cn_str_t *texts = s->texts.v;

    (void)cn_map_del(cn_gen_sections(gen, s->level), s->name);
    (void)cn_multi_del(&gen->by_file, cn_hash_sip(cn_section_file(s)), s);
    for (uint32_t i = 0; i < s->texts.n; i++)
        (void)cn_multi_del(&gen->by_text, cn_hash_sip(texts[i]), s);
}

cn_section_t *cn_gen_next_of_file(const cn_gen_t *gen, cn_str_t path, size_t *iter)
{
    uint64_t hash = cn_hash_sip(path);
    cn_section_t *s;

    do
        s = cn_multi_next(&gen->by_file, hash, iter);
    while (s && !cn_str_eq(cn_section_file(s), path));
    return s;
}

bool cn_gen_lists(const cn_vec_t *paths, cn_str_t path)
{
    const cn_str_t *v = paths->v;

    for (uint32_t i = 0; i < paths->n; i++) {
        if (cn_str_eq(v[i], path))
            return true;
    }
    return false;
}

cn_section_t *cn_gen_next_of_text(const cn_gen_t *gen, cn_str_t path, size_t *iter)
{
    uint64_t hash = cn_hash_sip(path);
    cn_section_t *s;

    do
        s = cn_multi_next(&gen->by_text, hash, iter);
    while (s && !cn_gen_lists(&s->texts, path));
    return s;
}

/* Reads the block that is open into a new section of the generation. */
static cn_rc read_section(cn_conf_t *cf, cn_level_t level, const cn_str_t *argv, uint64_t hash,
                          uint64_t mac, cn_section_t **out)
{
    cn_section_t *main = cf->gen->main;
    void **const outer[] = {main->confs, NULL};
    cn_str_t where = cn_pool_printf(cf->tmp, "%.*s:%u", CN_STR_ARG(cf->pos.file), cf->pos.line);
    cn_section_t *s = cn_section_create(cf->load->units, level, argv[1], where, main);
    cn_section_t *outer_section = cf->section;
    cn_scope_t sc;
    cn_rc rc;

    s->hash = hash;
    s->text_mac = mac;
    (void)cn_map_put(cn_gen_sections(cf->gen, level), s->name, s);
    cf->section = s;
    cf->routes = (cn_vec_t){0};
    cn_conf_scope(cf, &sc, level, s->confs, argv[0], s->name);
    cf->block_name = s->name;
    rc = cn_section_level_init(cf, s, level, s->confs, outer);
    if (rc == CN_OK)
        rc = cn_conf_read(cf, &sc);
    if (rc == CN_OK)
        rc = cn_section_level_done(cf, level, s->confs);
    if (rc == CN_OK)
        index_section(cf->gen, s);
    cf->block_name = CN_STR_NULL;
    cf->section = outer_section;
    *out = s;
    return rc;
}

/* Enters a section of the previous generation. */
static cn_rc share(cn_conf_t *cf, cn_section_t *old)
{
    const cn_claim_t *claims = old->claims.v;

    cn_gen_enter(cf->gen, cn_section_ref(old));
    for (uint32_t i = 0; i < old->claims.n; i++) {
        if (enter_claim(cf, &claims[i], old) != CN_OK)
            return CN_ERR;
    }
    return CN_OK;
}

/* Takes out a section that was read only to judge it. */
static void take_out(cn_conf_t *cf, cn_section_t *made)
{
    const cn_claim_t *claims = made->claims.v;

    for (uint32_t i = 0; i < made->claims.n; i++)
        (void)cn_map_del(&cf->gen->addresses, claims[i].key);
    cn_gen_remove(cf->gen, made);
    cn_section_unref(made);
}

/* Does every other file that a section names say what it said? */
static cn_rc same_texts(cn_conf_t *cf, const cn_section_t *s, bool *same)
{
    const cn_str_t *paths = s->texts.v;

    *same = true;
    for (uint32_t i = 0; i < s->texts.n; i++) {
        const cn_text_t *before = cn_map_get(&cf->load->prev->texts, paths[i]);
        cn_text_t *now;

        if (cn_gen_use_text(cf, paths[i], before && before->secret, &now) != CN_OK)
            return CN_ERR;
        *same &= before == now;
    }
    return CN_OK;
}

/* A patch finds the sections of a file by where they were read. */
static bool in_same_file(const cn_conf_t *cf, const cn_section_t *s)
{
    return s->where.n > cf->pos.file.n && cn_str_starts(s->where, cf->pos.file) &&
           s->where.p[cf->pos.file.n] == ':';
}

static cn_section_t *find_shared(cn_conf_t *cf, cn_level_t level, cn_str_t name, uint64_t hash,
                                 uint64_t mac)
{
    const cn_gen_t *prev = cf->load->prev;
    cn_section_t *s;

    if (!prev)
        return NULL;
    s = cn_map_get(level == CN_LV_SERVICE ? &prev->services : &prev->clusters, name);
    return s && s->units == cf->load->units && s->hash == hash && s->text_mac == mac &&
                   in_same_file(cf, s)
               ? s
               : NULL;
}

static cn_rc use_section(cn_conf_t *cf, cn_level_t level, const cn_str_t *argv,
                         const cn_lex_t *behind, cn_str_t text)
{
    uint64_t hash = cn_hash_xxh(text, cf->main_hash);
    uint64_t mac = cn_hash_sip(text);
    cn_section_t *old = find_shared(cf, level, argv[1], hash, mac);
    cn_section_t *made;
    bool same = false;

    if (old && same_texts(cf, old, &same) != CN_OK)
        return CN_ERR;
    if (old && same) {
        *cf->lex = *behind;
        return share(cf, old);
    }
    if (read_section(cf, level, argv, hash, mac, &made) != CN_OK)
        return CN_ERR;
    if (!old)
        return CN_OK;
    take_out(cf, made);
    return share(cf, old);
}

static cn_rc check_name(cn_conf_t *cf, const cn_str_t *argv)
{
    if (argv[1].n == 0 || argv[1].n > CN_CONF_NAME_MAX)
        return cn_conf_error(cf, "the name of a %.*s has 1 to %u bytes", CN_STR_ARG(argv[0]),
                             CN_CONF_NAME_MAX);
    return CN_OK;
}

/* `service NAME {` and `cluster NAME {`. */
static cn_rc set_section(cn_conf_t *cf, const cn_directive_t *d, void *conf CN_UNUSED,
                         const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_level_t level = *(const cn_level_t *)d->arg;
    cn_section_t *other = cn_map_get(cn_gen_sections(cf->gen, level), argv[1]);
    const char *start = cf->arg_at;
    cn_lex_t behind = *cf->lex;
    cn_lex_token_t end;

    if (finish_main(cf) != CN_OK || check_name(cf, argv) != CN_OK)
        return CN_ERR;
    if (other)
        return cn_conf_error(cf, "%s \"%.*s\" is given again: the first one is at %.*s", d->name,
                             CN_STR_ARG(argv[1]), CN_STR_ARG(other->where));
    cn_pause(cf->load->pause);
    end = cn_lex_skip(&behind, cf->depth + 1, NULL);
    cf->unread = false;
    if (end.kind == CN_LEX_CLOSE && !cf->load->main_only)
        return use_section(cf, level, argv, &behind,
                           cn_str_make(start, (size_t)(end.raw.p + 1 - start)));
    /* Not closed: reading it finds the place better than counting braces. */
    if (end.kind == CN_LEX_END && !cf->load->main_only)
        return read_section(cf, level, argv, 0, 0, &other);
    *cf->lex = behind;
    if (end.kind == CN_LEX_END)
        return cn_conf_error(cf, "block \"%s %.*s\" is not closed: \"}\" is missing", d->name,
                             CN_STR_ARG(argv[1]));
    return end.kind == CN_LEX_CLOSE ? CN_OK : cn_conf_error_token(cf, &end);
}

/* `route NAME {` inside a service. */
static cn_rc set_route(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf CN_UNUSED,
                       const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_section_t *s = cf->section;
    void **const outer[] = {s->confs, cf->gen->main->confs, NULL};
    void **confs = cn_section_confs(s);
    cn_route_t *r;
    cn_scope_t sc;
    cn_rc rc;

    if (check_name(cf, argv) != CN_OK)
        return CN_ERR;
    r = cn_vec_push(s->pool, &cf->routes, sizeof(*r));
    *r = (cn_route_t){
        .name = cn_pool_dup(s->pool, argv[1]), .where = cn_conf_where(cf), .confs = confs};
    s->routes = cf->routes.v;
    s->nroutes = cf->routes.n;
    cn_conf_scope(cf, &sc, CN_LV_ROUTE, confs, argv[0], r->name);
    cf->block_name = r->name;
    rc = cn_section_level_init(cf, s, CN_LV_ROUTE, confs, outer);
    if (rc == CN_OK)
        rc = cn_conf_read(cf, &sc);
    if (rc == CN_OK)
        rc = cn_section_level_done(cf, CN_LV_ROUTE, confs);
    cf->block_name = s->name;
    return rc;
}

static const cn_level_t service_level = CN_LV_SERVICE;
static const cn_level_t cluster_level = CN_LV_CLUSTER;

const cn_directive_t cn_gen_directives[] = {
    {"include", CN_AT_MAIN | CN_D_REPEAT | CN_D_NEUTRAL | CN_D_ENGINE, CN_ARGS(1, 1), set_include,
     0, NULL, "include PATTERN",
     "Reads other files here, in the order of their names. A pattern with * ? or [ ] may match "
     "none; a plain name must "
     "exist. Each file may be included once.",
     NULL},
    {"service", CN_AT_MAIN | CN_D_BLOCK | CN_D_REPEAT | CN_D_NESTED | CN_D_ENGINE, CN_ARGS(1, 1),
     set_section, 0, &service_level, "service NAME { ... }",
     "One port of a service that clients reach through this waypoint, with its policies and "
     "routes. It starts with a "
     "copy of the settings of the main level, which therefore stand before it.",
     NULL},
    {"cluster", CN_AT_MAIN | CN_D_BLOCK | CN_D_REPEAT | CN_D_NESTED | CN_D_ENGINE, CN_ARGS(1, 1),
     set_section, 0, &cluster_level, "cluster NAME { ... }",
     "A group of endpoints that requests are sent to. It starts with a copy of the settings of the "
     "main level.",
     NULL},
    {"route", CN_AT_SERVICE | CN_D_BLOCK | CN_D_REPEAT | CN_D_NESTED | CN_D_ENGINE, CN_ARGS(1, 1),
     set_route, 0, NULL, "route NAME { ... }",
     "What to do with requests that match. Routes are tried in the order of the file. A route "
     "starts with a copy of "
     "the settings of its service, which therefore stand before it.",
     NULL},
    {.name = NULL}};

/* ---- the whole ---- */

cn_gen_t *cn_gen_create(const cn_conf_load_t *load, cn_section_t *main)
{
    cn_pool_t *pool = cn_pool_exempt(cn_pool_create(0));
    cn_gen_t *gen = cn_pool_zalloc(pool, sizeof(*gen));

    gen->refs = 1;
    gen->pool = pool;
    gen->id = load->prev ? load->prev->id + 1 : 1;
    gen->prefix = cn_pool_dup(pool, cn_bundle_prefix(load->bundle));
    gen->main = main;
    return gen;
}

static void unref_all(cn_map_t *map, const cn_pause_t *pause)
{
    size_t iter = 0;
    cn_map_slot_t *slot;

    while ((slot = cn_map_next(map, &iter))) {
        cn_section_unref(slot->value);
        cn_pause(pause);
    }
    cn_map_fini(map);
}

cn_gen_t *cn_gen_ref(cn_gen_t *gen)
{
    gen->refs++;
    return gen;
}

void cn_gen_unref(cn_gen_t *gen)
{
    cn_gen_drop(gen, NULL);
}

void cn_gen_drop(cn_gen_t *gen, const cn_pause_t *pause)
{
    size_t iter = 0;
    cn_map_slot_t *slot;

    if (!gen)
        return;
    CN_BUG_ON(gen->refs == 0);
    if (--gen->refs > 0)
        return;
    cn_map_fini(&gen->addresses);
    cn_multi_fini(&gen->by_file);
    cn_multi_fini(&gen->by_text);
    unref_all(&gen->services, pause);
    unref_all(&gen->clusters, pause);
    while ((slot = cn_map_next(&gen->texts, &iter))) {
        cn_gen_text_unref(slot->value);
        cn_pause(pause);
    }
    cn_map_fini(&gen->texts);
    cn_section_unref(gen->main);
    cn_pool_destroy(gen->pool);
}

static cn_rc read_extra(cn_conf_t *cf)
{
    cn_lex_t lx;
    cn_rc rc;

    if (cf->load->extra.n == 0)
        return CN_OK;
    cn_lex_init(&lx, CN_STR("-g"), cf->load->extra);
    cf->extra = true;
    rc = read_lexer(cf, &lx);
    cf->extra = false;
    return rc;
}

static cn_rc read_main(cn_conf_t *cf)
{
    cn_str_t path = cn_bundle_path(cf->load->bundle, cf->tmp, cf->load->file);
    cn_pos_t *from = cn_pool_alloc(cf->tmp, sizeof(*from));
    const char *why;
    cn_str_t text;
    cn_lex_t lx;

    if (cn_bundle_read(cf->load->bundle, path, &text, &why) != CN_OK)
        return cn_conf_error(cf, "cannot read the configuration: %s", why);
    if (dump(cf->load->dump, path, text) != CN_OK)
        return cn_conf_error(cf, "cannot write the dump");
    *from = (cn_pos_t){cf->load->file, 1};
    (void)cn_map_put(&cf->included, path, from);
    note_main_file(cf, path);
    cn_lex_init(&lx, cf->load->file, text);
    if (read_lexer(cf, &lx) != CN_OK)
        return CN_ERR;
    return finish_main(cf);
}

static cn_rc load_all(cn_conf_t *cf)
{
    static void **const outer[] = {NULL};
    cn_section_t *main = cf->gen->main;

    cf->section = main;
    cf->main_hash = cn_hash_xxh(cf->gen->prefix, 0);
    cn_conf_scope(cf, &cf->main, CN_LV_MAIN, main->confs, CN_STR_NULL, CN_STR_NULL);
    cf->scope = &cf->main;
    if (cn_section_level_init(cf, main, CN_LV_MAIN, main->confs, outer) != CN_OK ||
        read_extra(cf) != CN_OK)
        return CN_ERR;
    return read_main(cf);
}

cn_rc cn_gen_load(const cn_conf_load_t *load, cn_pool_t *pool, cn_gen_t **out, cn_str_t *why)
{
    cn_conf_t cf;
    cn_rc rc = cn_conf_begin(&cf, load);

    *out = NULL;
    cf.gen = cn_gen_create(
        load, cn_section_create(load->units, CN_LV_MAIN, CN_STR_NULL, load->file, NULL));
    if (rc == CN_OK)
        rc = load_all(&cf);
    if (rc == CN_OK) {
        *out = cf.gen;
    } else {
        *why = cn_pool_dup(pool, cf.error);
        cn_gen_unref(cf.gen);
    }
    cn_conf_end(&cf);
    return rc == CN_OK ? CN_OK : CN_ERR;
}
