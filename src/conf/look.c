/* SPDX-License-Identifier: Apache-2.0
 *
 * Each path has a stamp, by which a file that was not touched costs one system
 * call, and two prints of what it says: when it was read, and when it was last
 * looked at.  The table owns its paths; it does not keep the bundles.
 */
#include "conf/look.h"

#include <stdlib.h>
#include <unistd.h>

#include "conf/conf_int.h"
#include "core/hash.h"

/* Prints that no text has. */
enum { ABSENT, UNREADABLE, PRINT_MIN };

typedef struct {
    cn_str_t path;
    bool pattern;
    bool gone; /* nobody wants to know any more */
    cn_disk_stamp_t stamp;
    uint64_t read, seen; /* prints */
} entry_t;

struct cn_look {
    cn_pool_t *pool;
    cn_map_t files, patterns; /* path -> entry_t */
    cn_vec_t entries;         /* entry_t *, the gone ones too */
    const char *mark;         /* the path of CN_CONF_UNFINISHED; NULL: nothing is known yet */
};

static void begin(cn_look_t *l)
{
    l->pool = cn_pool_exempt(cn_pool_create(0));
    cn_map_init(&l->files);
    cn_map_init(&l->patterns);
    l->entries = (cn_vec_t){0};
    l->mark = NULL;
}

static void end(cn_look_t *l)
{
    cn_map_fini(&l->files);
    cn_map_fini(&l->patterns);
    cn_pool_destroy(l->pool);
}

cn_look_t *cn_look_create(void)
{
    cn_look_t *l = cn_xzalloc(sizeof(*l));

    begin(l);
    return l;
}

void cn_look_destroy(cn_look_t *l)
{
    end(l);
    free(l);
}

static entry_t *entry_at(const cn_look_t *l, uint32_t i)
{
    return ((entry_t **)l->entries.v)[i];
}

/* ---- prints ---- */

static uint64_t print_text(cn_str_t text)
{
    uint64_t h = cn_hash_sip(text);

    return h < PRINT_MIN ? PRINT_MIN : h;
}

/* Of what is not read: a file with all its times, so that another try is made
 * when something was done to it; of others only which one it is. */
static uint64_t print_stamp(const cn_disk_stamp_t *stamp)
{
    cn_disk_stamp_t s;

    if (stamp->ino == 0 && stamp->dev == 0)
        return ABSENT;
    memset(&s, 0, sizeof(s));
    s.dev = stamp->dev;
    s.ino = stamp->ino;
    s.mode = stamp->mode;
    if (S_ISREG(stamp->mode)) {
        s.size = stamp->size;
        s.mtime = stamp->mtime;
        s.ctime = stamp->ctime;
    }
    return print_text(cn_str_make((const char *)&s, sizeof(s)));
}

static uint64_t print_file(const char *path, cn_disk_stamp_t *stamp)
{
    size_t len;
    char *buf;
    uint64_t print;

    if (cn_disk_read(path, &buf, &len, stamp) == 0)
        print = print_text(cn_str_make(buf, len));
    else
        print = print_stamp(stamp);
    if (buf)
        explicit_bzero(buf, len); /* it may be a key */
    free(buf);
    return print;
}

static uint64_t print_pattern(cn_pool_t *pool, const char *pattern)
{
    cn_vec_t paths = {0};
    cn_str_t text;
    uint64_t print;

    if (cn_disk_glob(pattern, pool, &paths) != CN_OK)
        return UNREADABLE;
    text = cn_disk_join(&paths);
    print = print_text(text);
    free((void *)(uintptr_t)text.p);
    return print;
}

/* ---- what was read ---- */

static uint64_t print_seen(const cn_seen_t *s)
{
    switch (s->kind) {
    case CN_SEEN_FILE:
        return S_ISREG(s->stamp.mode) ? print_text(s->text) : print_stamp(&s->stamp);
    case CN_SEEN_PATTERN:
        return print_text(s->text);
    case CN_SEEN_FAILED:
        return UNREADABLE;
    default:
        return print_stamp(&s->stamp);
    }
}

static void take_one(void *ctx, const cn_seen_t *s)
{
    cn_look_t *l = ctx;
    bool pattern = s->kind == CN_SEEN_PATTERN || s->kind == CN_SEEN_FAILED;
    cn_map_t *map = pattern ? &l->patterns : &l->files;
    entry_t *e = cn_map_get(map, s->path);

    if (!e && s->kind == CN_SEEN_GONE)
        return;
    if (!e) {
        e = cn_pool_zalloc(l->pool, sizeof(*e));
        e->path = cn_pool_dup(l->pool, s->path);
        e->pattern = pattern;
        *(entry_t **)cn_vec_push(l->pool, &l->entries, sizeof(e)) = e;
        (void)cn_map_put(map, e->path, e);
    }
    e->gone = s->kind == CN_SEEN_GONE;
    e->stamp = s->stamp;
    e->read = e->seen = print_seen(s);
}

cn_rc cn_look_take(cn_look_t *l, int fd, bool part)
{
    cn_bundle_t *b;

    if (cn_bundle_open(fd, &b) != CN_OK)
        return CN_ERR;
    if (!part) {
        end(l);
        begin(l);
        l->mark =
            cn_pool_printf(l->pool, "%.*s/" CN_CONF_UNFINISHED, CN_STR_ARG(cn_bundle_prefix(b))).p;
    }
    cn_bundle_each(b, take_one, l);
    cn_bundle_destroy(b);
    return CN_OK;
}

/* ---- looking ---- */

/* A pipe that was read is often gone. */
static bool was_pipe(const entry_t *e)
{
    return e->stamp.mode != 0 && !S_ISREG(e->stamp.mode);
}

static bool look_at_file(entry_t *e)
{
    cn_disk_stamp_t now;
    uint64_t print = ABSENT;

    if (cn_disk_look(e->path.p, &now)) {
        if (cn_disk_same(&e->stamp, &now))
            return false;
        print = S_ISREG(now.mode) ? print_file(e->path.p, &now) : print_stamp(&now);
    } else if (was_pipe(e)) {
        return false;
    }
    bool moved = print != e->seen;
    e->stamp = now;
    e->seen = print;
    return moved;
}

static bool look_at_pattern(entry_t *e)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_disk_stamp_t now = cn_disk_pattern(pool, e->path);
    bool moved = false;

    if (!cn_disk_same(&e->stamp, &now)) {
        uint64_t print = print_pattern(pool, e->path.p);

        moved = print != e->seen;
        e->stamp = now;
        e->seen = print;
    }
    cn_pool_destroy(pool);
    return moved;
}

bool cn_look_around(cn_look_t *l)
{
    bool moved = false;

    for (uint32_t i = 0; i < l->entries.n; i++) {
        entry_t *e = entry_at(l, i);

        if (!e->gone)
            moved |= e->pattern ? look_at_pattern(e) : look_at_file(e);
    }
    return moved;
}

static uint64_t mix(const entry_t *e)
{
    const uint64_t v[] = {cn_hash_sip(e->path), e->seen};

    return cn_hash_xxh(cn_str_make((const char *)v, sizeof(v)), 0);
}

cn_look_news_t cn_look_news(const cn_look_t *l)
{
    cn_look_news_t news = {0};

    for (uint32_t i = 0; i < l->entries.n; i++) {
        const entry_t *e = entry_at(l, i);

        if (e->gone || e->seen == e->read)
            continue;
        /* A file says more than the pattern that it matches. */
        if (news.n++ == 0 || !e->pattern)
            news.first = e->path;
        news.what += mix(e);
    }
    return news;
}

void cn_look_accept(cn_look_t *l)
{
    for (uint32_t i = 0; i < l->entries.n; i++)
        entry_at(l, i)->read = entry_at(l, i)->seen;
}

bool cn_look_unfinished(const cn_look_t *l)
{
    return l->mark && access(l->mark, F_OK) == 0;
}

/* ---- folders ---- */

static cn_str_t folder_of(cn_pool_t *pool, const entry_t *e)
{
    size_t n = e->path.n;
    bool direct;

    if (e->pattern)
        return cn_str_c(cn_disk_folder(pool, e->path, &direct));
    while (n > 1 && e->path.p[n - 1] != '/')
        n--;
    return cn_str_make(e->path.p, n > 1 ? n - 1 : n);
}

void cn_look_folders(const cn_look_t *l, unsigned max, cn_look_folder_cb *fn, void *ctx)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_map_t known;
    unsigned n = 0;

    cn_map_init(&known);
    for (uint32_t i = 0; i < l->entries.n && n < max; i++) {
        cn_str_t folder = folder_of(pool, entry_at(l, i));

        if (entry_at(l, i)->gone || cn_map_put(&known, folder, entry_at(l, i)))
            continue;
        fn(ctx, folder);
        n++;
    }
    cn_map_fini(&known);
    cn_pool_destroy(pool);
}
