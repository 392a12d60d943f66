/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of one configuration: each is read once, however often it is asked
 * for, and what a pattern matched is remembered too, so that the checker, the
 * master and every worker see the same bytes in the same order.  The whole
 * travels as a sealed memfd.
 *
 * The bundle owns texts and paths.  An opened one views its mapping, which the
 * seals keep from changing or shrinking under it.
 *
 * Format, in the machine's byte order, since it never leaves the machine:
 * head_t, the prefix, then for each entry record_t, path, text.
 */
#include "conf/section.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf_int.h"
#include "os/watch.h"

#define MAGIC 0x31646e6275626e63u /* "cnbubnd1" */
#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)
/* With more names in a folder touched than this, listing it anew is cheaper. */
#define NAMES_MAX 64u

/* TEXT and GONE are in parts only.  MISSED files and FAILED patterns say nothing
 * but that they were asked for in vain. */
typedef enum {
    KIND_FILE,
    KIND_PATTERN,
    KIND_TEXT,
    KIND_GONE,
    KIND_MISSED,
    KIND_FAILED,
    KIND_MAX
} kind_t;

typedef struct {
    uint64_t magic;
    uint32_t prefix_len;
    uint32_t n;
} head_t;

typedef struct {
    uint32_t kind;
    uint32_t path_len;
    uint64_t text_len;
    cn_disk_stamp_t stamp;
} record_t;

typedef struct {
    kind_t kind;
    cn_str_t path; /* absolute */
    cn_str_t text; /* of a pattern: matching paths, each with a NUL behind it */
    char *heap;    /* text when it was read; else NULL */
    bool secret;
    cn_disk_stamp_t stamp; /* of the file; of a pattern: of its folder */
    uint32_t at;           /* place among the entries */
    bool watched;          /* it need not be looked at before it was touched */
    bool touched;          /* and is in that list */
} entry_t;

struct cn_bundle {
    cn_pool_t *pool;
    cn_str_t prefix;
    bool disk;
    cn_map_t files, patterns; /* path -> entry_t */
    cn_vec_t entries;         /* entry_t *, in the order they came */
    cn_vec_t missed;          /* entry_t *: MISSED and FAILED */
    size_t total;             /* bytes of texts */
    const char *unfinished;   /* the path of CN_CONF_UNFINISHED */
    cn_disk_stamp_t begun; /* of the folder in which that comes and goes, before the first read */
    bool waited;           /* for it to go away, in vain */
    cn_watch_t *watch;     /* NULL: every file is looked at */
    cn_vec_t globs;        /* entry_t *: patterns */
    cn_vec_t loose;        /* entry_t *: files read from disk that are not watched */
    cn_vec_t touched;      /* entry_t *: watched files to look at; those forgotten too */
    void *map;             /* opened from a memfd */
    size_t map_len;
};

static void push_entry(cn_bundle_t *b, cn_vec_t *v, entry_t *e)
{
    *(entry_t **)cn_vec_push(b->pool, v, sizeof(e)) = e;
}

static cn_bundle_t *create(cn_str_t prefix, bool disk)
{
    cn_pool_t *pool = cn_pool_exempt(cn_pool_create(0));
    cn_bundle_t *b = cn_pool_zalloc(pool, sizeof(*b));

    while (prefix.n > 1 && prefix.p[prefix.n - 1] == '/')
        prefix.n--;
    b->pool = pool;
    b->prefix = cn_pool_dup(pool, prefix);
    b->disk = disk;
    if (disk) {
        b->unfinished = cn_pool_printf(pool, "%.*s/" CN_CONF_UNFINISHED, CN_STR_ARG(prefix)).p;
        (void)cn_disk_look(b->prefix.p, &b->begun);
    }
    return b;
}

cn_bundle_t *cn_bundle_create(cn_str_t prefix)
{
    return create(prefix, prefix.p != NULL);
}

static entry_t *nth(const cn_vec_t *v, uint32_t i)
{
    return ((entry_t **)v->v)[i];
}

static entry_t *entry_at(const cn_bundle_t *b, uint32_t i)
{
    return nth(&b->entries, i);
}

static void free_text(entry_t *e)
{
    if (e->secret && e->heap)
        explicit_bzero(e->heap, e->text.n);
    free(e->heap);
    e->heap = NULL;
}

void cn_bundle_destroy(cn_bundle_t *b)
{
    if (!b)
        return;
    for (uint32_t i = 0; i < b->entries.n; i++)
        free_text(entry_at(b, i));
    cn_watch_destroy(b->watch);
    cn_map_fini(&b->files);
    cn_map_fini(&b->patterns);
    if (b->map)
        munmap(b->map, b->map_len);
    cn_pool_destroy(b->pool);
}

void cn_bundle_watch(cn_bundle_t *b)
{
    b->watch = cn_watch_create();
}

void cn_bundle_unmark(cn_bundle_t *b)
{
    b->unfinished = NULL;
}

cn_str_t cn_bundle_prefix(const cn_bundle_t *b)
{
    return b->prefix;
}

cn_str_t cn_bundle_path(const cn_bundle_t *b, cn_pool_t *pool, cn_str_t path)
{
    const char *between = b->prefix.n && b->prefix.p[b->prefix.n - 1] != '/' ? "/" : "";

    if (b->prefix.n == 0 || (path.n && path.p[0] == '/'))
        return cn_pool_dup(pool, path);
    return cn_pool_printf(pool, "%.*s%s%.*s", CN_STR_ARG(b->prefix), between, CN_STR_ARG(path));
}

static entry_t *add(cn_bundle_t *b, kind_t kind, cn_str_t path, cn_str_t text, char *heap)
{
    cn_map_t *map = kind == KIND_PATTERN ? &b->patterns : &b->files;
    entry_t *e = cn_map_get(map, path);

    if (!e) {
        e = cn_pool_zalloc(b->pool, sizeof(*e));
        e->kind = kind;
        e->path = cn_pool_dup(b->pool, path);
        e->at = b->entries.n;
        push_entry(b, &b->entries, e);
        (void)cn_map_put(map, e->path, e);
    }
    free_text(e);
    b->total = b->total - e->text.n + text.n;
    e->text = text;
    e->heap = heap;
    return e;
}

void cn_bundle_put(cn_bundle_t *b, cn_str_t path, cn_str_t text)
{
    (void)add(b, KIND_FILE, cn_bundle_path(b, b->pool, path), cn_pool_dup(b->pool, text), NULL);
}

bool cn_bundle_has(const cn_bundle_t *b, cn_str_t path)
{
    return cn_map_get(&b->files, path) != NULL;
}

/* For whoever waits until it may be read. */
static void miss(cn_bundle_t *b, kind_t kind, cn_str_t path, const cn_disk_stamp_t *stamp)
{
    entry_t *e = cn_pool_zalloc(b->pool, sizeof(*e));

    if (cn_str_find(path, '\0') < path.n)
        return;
    e->kind = kind;
    e->path = cn_pool_dup(b->pool, path);
    e->stamp = *stamp;
    push_entry(b, &b->missed, e);
}

/* ---- reading ---- */

void cn_bundle_secret(cn_bundle_t *b, cn_str_t path)
{
    const char *why;
    cn_str_t text;
    entry_t *e;

    if (cn_bundle_read(b, path, &text, &why) != CN_OK)
        return; /* whoever reads it next says why */
    e = cn_map_get(&b->files, path);
    e->secret = true;
}

static bool is_link(const char *path)
{
    struct stat st;

    return lstat(path, &st) != 0 || S_ISLNK(st.st_mode);
}

/* A link may lead elsewhere without its folder telling. */
static bool watch_file(cn_bundle_t *b, cn_str_t path)
{
    size_t n = path.n;

    while (n > 0 && path.p[n - 1] != '/')
        n--;
    return b->watch && n > 1 && cn_watch_folder(b->watch, cn_str_make(path.p, n - 1)) == CN_OK &&
           !is_link(path.p);
}

static cn_rc check_room(const cn_bundle_t *b, size_t n, const char **why)
{
    if (b->entries.n < CN_CONF_FILES_MAX && b->total + n <= CN_CONF_TOTAL_MAX)
        return CN_OK;
    *why = "the configuration is larger than 512 MiB or has more than 262144 files";
    return CN_ERR;
}

/* A writer that runs is waited for, once. */
static bool is_unfinished(cn_bundle_t *b)
{
    cn_disk_stamp_t stamp;

    if (!b->unfinished || !cn_disk_look(b->unfinished, &stamp))
        return false;
    b->waited = b->waited || !cn_disk_wait(b->unfinished);
    if (b->entries.n == 0)
        (void)cn_disk_look(b->prefix.p, &b->begun);
    stamp.sure = true; /* what it says plays no role */
    if (b->waited)
        miss(b, KIND_MISSED, cn_str_c(b->unfinished), &stamp);
    return b->waited;
}

/* The mark came, and went again perhaps: either changes its folder. */
bool cn_bundle_is_torn(const cn_bundle_t *b)
{
    cn_disk_stamp_t begun = b->begun, now;

    begun.sure = true;
    return b->disk && cn_disk_look(b->prefix.p, &now) && !cn_disk_same(&begun, &now);
}

cn_rc cn_bundle_read(cn_bundle_t *b, cn_str_t path, cn_str_t *text, const char **why)
{
    entry_t *e = cn_map_get(&b->files, path);
    char *buf = NULL;
    size_t len = 0;
    int err = ENOENT;
    cn_disk_stamp_t stamp = {0};
    bool watched;

    if (e) {
        *text = e->text;
        return CN_OK;
    }
    if (is_unfinished(b)) {
        *why = "cairn-gen was interrupted while it wrote this folder: run it again";
        return CN_ERR;
    }
    /* Watched first, read then: what comes in between is seen. */
    watched = b->disk && watch_file(b, path);
    if (cn_str_find(path, '\0') < path.n)
        err = EINVAL;
    else if (b->disk)
        err = cn_disk_read(path.p, &buf, &len, &stamp);
    *why = err == EFBIG     ? "the file is larger than 64 MiB"
           : err == ENODATA ? "it is a pipe to which nobody writes"
           : err == ETIME   ? "it is a pipe whose writer has not ended within 5 s"
           : err            ? strerror(err)
                            : NULL;
    if (err || check_room(b, len, why) != CN_OK) {
        stamp.sure |= !err; /* it is not this file's fault: it counts when it is touched */
        if (b->disk)
            miss(b, KIND_MISSED, path, &stamp);
        free(buf);
        return CN_ERR;
    }
    e = add(b, KIND_FILE, path, cn_str_make(buf, len), buf);
    e->stamp = stamp;
    e->watched = watched;
    if (!watched)
        push_entry(b, &b->loose, e);
    *text = e->text;
    return CN_OK;
}

/* ---- patterns ---- */

static void push(cn_pool_t *pool, cn_vec_t *paths, cn_str_t path)
{
    *(cn_str_t *)cn_vec_push(pool, paths, sizeof(path)) = cn_pool_dup(pool, path);
}

static void glob_known(const cn_bundle_t *b, const char *pattern, cn_pool_t *pool, cn_vec_t *paths)
{
    for (uint32_t i = 0; i < b->entries.n; i++) {
        const entry_t *e = entry_at(b, i);

        if (e->kind == KIND_FILE && fnmatch(pattern, e->path.p, FNM_PATHNAME | FNM_PERIOD) == 0)
            push(pool, paths, e->path);
    }
}

static entry_t *remember(cn_bundle_t *b, cn_str_t pattern, const cn_vec_t *paths,
                         cn_disk_stamp_t stamp)
{
    cn_str_t text = cn_disk_join(paths);
    entry_t *e = add(b, KIND_PATTERN, pattern, text, (char *)(uintptr_t)text.p);

    e->stamp = stamp;
    return e;
}

/* Will the watch tell what comes into the folder and goes? */
static bool watch_glob(cn_bundle_t *b, cn_pool_t *pool, cn_str_t pattern)
{
    bool direct;
    const char *folder = cn_disk_folder(pool, pattern, &direct);

    return b->watch && direct && cn_watch_folder(b->watch, cn_str_c(folder)) == CN_OK;
}

static void remember_new(cn_bundle_t *b, cn_str_t pattern, const cn_vec_t *paths,
                         cn_disk_stamp_t stamp, bool watched)
{
    entry_t *e = remember(b, pattern, paths, stamp);

    e->watched = watched;
    push_entry(b, &b->globs, e);
}

/* Against the prefix, in which no byte is special. */
static cn_str_t absolute_pattern(const cn_bundle_t *b, cn_pool_t *pool, cn_str_t pattern)
{
    cn_bundle_t quoted = {.prefix = {NULL, 0}};
    char *p = cn_pool_bytes(pool, b->prefix.n * 2 + 1);

    quoted.prefix.p = p;
    for (size_t i = 0; i < b->prefix.n; i++) {
        if (strchr("*?[]\\", b->prefix.p[i]))
            p[quoted.prefix.n++] = '\\';
        p[quoted.prefix.n++] = b->prefix.p[i];
    }
    return cn_bundle_path(&quoted, pool, pattern);
}

cn_rc cn_bundle_glob(cn_bundle_t *b, cn_str_t pattern, cn_pool_t *pool, cn_vec_t *paths,
                     const char **why)
{
    const entry_t *e;
    cn_disk_stamp_t stamp = {0};
    bool watched;

    *paths = (cn_vec_t){0};
    if (cn_str_find(pattern, '\0') < pattern.n) {
        *why = strerror(EINVAL);
        return CN_ERR;
    }
    if (!strpbrk(cn_pool_cstr(pool, pattern), "*?[")) {
        push(pool, paths, cn_bundle_path(b, pool, pattern));
        return CN_OK;
    }
    pattern = absolute_pattern(b, pool, pattern);
    e = cn_map_get(&b->patterns, pattern);
    if (e) {
        cn_str_t rest = e->text;
        cn_str_t path;

        while (cn_str_split(&rest, '\0', &path))
            push(pool, paths, path);
        return CN_OK;
    }
    watched = b->disk && watch_glob(b, pool, pattern);
    if (b->disk)
        stamp = cn_disk_pattern(pool, pattern);
    if (b->disk && cn_disk_glob(pattern.p, pool, paths) != CN_OK) {
        miss(b, KIND_FAILED, pattern, &stamp);
        *why = "a folder cannot be read";
        return CN_ERR;
    }
    glob_known(b, pattern.p, pool, paths);
    cn_disk_sort(paths);
    if (check_room(b, 0, why) != CN_OK)
        return CN_ERR;
    if (b->disk)
        remember_new(b, pattern, paths, stamp, watched);
    return CN_OK;
}

/* ---- as a memfd ---- */

static cn_rc write_all(int fd, const void *p, size_t n)
{
    for (const char *at = p; n > 0;) {
        ssize_t done = write(fd, at, n);

        if (done < 0 && errno != EINTR)
            return CN_ERR;
        if (done > 0) {
            at += done;
            n -= (size_t)done;
        }
    }
    return CN_OK;
}

/* Records are small and many: they are written in larger pieces. */
typedef struct {
    int fd;
    cn_rc rc;
    size_t n;
    char buf[65536];
} out_t;

static void flush(out_t *o)
{
    if (o->rc == CN_OK)
        o->rc = write_all(o->fd, o->buf, o->n);
    o->n = 0;
}

static void put(out_t *o, const void *p, size_t n)
{
    if (n > sizeof(o->buf) - o->n)
        flush(o);
    if (n > sizeof(o->buf)) {
        if (o->rc == CN_OK)
            o->rc = write_all(o->fd, p, n);
    } else if (n > 0) {
        memcpy(o->buf + o->n, p, n);
        o->n += n;
    }
}

static void put_record(out_t *o, kind_t kind, const entry_t *e)
{
    record_t r = {(uint32_t)kind, (uint32_t)e->path.n, e->text.n, e->stamp};

    put(o, &r, sizeof(r));
    put(o, e->path.p, e->path.n);
    put(o, e->text.p, e->text.n);
}

static out_t *begin(const cn_bundle_t *b, uint32_t n)
{
    head_t head = {MAGIC, (uint32_t)b->prefix.n, n};
    out_t *o = cn_xmalloc(sizeof(*o));

    o->fd = memfd_create("cairn-conf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    o->rc = o->fd < 0 ? CN_ERR : CN_OK;
    o->n = 0;
    put(o, &head, sizeof(head));
    put(o, b->prefix.p, b->prefix.n);
    return o;
}

static cn_rc finish(out_t *o, int *fd)
{
    cn_rc rc;

    flush(o);
    rc = o->rc;
    if (rc == CN_OK && fcntl(o->fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) != 0)
        rc = CN_ERR;
    if (rc == CN_OK) {
        *fd = o->fd;
    } else if (o->fd >= 0) {
        int err = errno;

        close(o->fd);
        errno = err;
    }
    explicit_bzero(o->buf, sizeof(o->buf)); /* there are keys among the files */
    free(o);
    return rc;
}

cn_rc cn_bundle_save(const cn_bundle_t *b, int *fd)
{
    out_t *o = begin(b, b->entries.n + b->missed.n);

    for (uint32_t i = 0; i < b->entries.n; i++)
        put_record(o, entry_at(b, i)->kind, entry_at(b, i));
    for (uint32_t i = 0; i < b->missed.n; i++)
        put_record(o, nth(&b->missed, i)->kind, nth(&b->missed, i));
    return finish(o, fd);
}

static void put_known(const cn_bundle_t *b, out_t *o, kind_t kind, const cn_vec_t *paths)
{
    const cn_str_t *v = paths->v;

    for (uint32_t i = 0; i < paths->n; i++) {
        const entry_t gone = {.path = v[i]}, *e = cn_map_get(&b->files, v[i]);

        put_record(o, e ? kind : KIND_GONE, e ? e : &gone);
    }
}

cn_rc cn_bundle_save_part(const cn_bundle_t *b, const cn_bundle_diff_t *d, const cn_vec_t *more,
                          int *fd)
{
    out_t *o = begin(b, d->conf.n + d->texts.n + d->removed.n + more->n);

    put_known(b, o, KIND_FILE, &d->conf);
    put_known(b, o, KIND_TEXT, &d->texts);
    put_known(b, o, KIND_TEXT, more);
    put_known(b, o, KIND_GONE, &d->removed);
    return finish(o, fd);
}

void cn_bundle_part(const cn_bundle_t *b, cn_pool_t *pool, cn_bundle_diff_t *d)
{
    *d = (cn_bundle_diff_t){0};
    for (uint32_t i = 0; i < b->entries.n; i++) {
        const entry_t *e = entry_at(b, i);
        cn_vec_t *into = e->kind == KIND_FILE   ? &d->conf
                         : e->kind == KIND_TEXT ? &d->texts
                                                : &d->removed;

        if (e->kind != KIND_PATTERN)
            *(cn_str_t *)cn_vec_push(pool, into, sizeof(cn_str_t)) = e->path;
    }
}

static void tell(const entry_t *e, cn_seen_cb *fn, void *ctx)
{
    static const cn_seen_kind kinds[KIND_MAX] = {
        [KIND_FILE] = CN_SEEN_FILE,     [KIND_PATTERN] = CN_SEEN_PATTERN,
        [KIND_TEXT] = CN_SEEN_FILE,     [KIND_GONE] = CN_SEEN_GONE,
        [KIND_MISSED] = CN_SEEN_MISSED, [KIND_FAILED] = CN_SEEN_FAILED,
    };
    const cn_seen_t seen = {kinds[e->kind], e->path, e->text, e->stamp};

    fn(ctx, &seen);
}

void cn_bundle_each(const cn_bundle_t *b, cn_seen_cb *fn, void *ctx)
{
    for (uint32_t i = 0; i < b->entries.n; i++)
        tell(entry_at(b, i), fn, ctx);
    for (uint32_t i = 0; i < b->missed.n; i++)
        tell(nth(&b->missed, i), fn, ctx);
}

bool cn_bundle_same(const cn_bundle_t *a, const cn_bundle_t *b)
{
    if (a->entries.n != b->entries.n)
        return false;
    for (uint32_t i = 0; i < a->entries.n; i++) {
        const entry_t *e = entry_at(a, i);
        const entry_t *o = cn_map_get(e->kind == KIND_PATTERN ? &b->patterns : &b->files, e->path);

        if (!o || !cn_str_eq(e->text, o->text))
            return false;
    }
    return true;
}

/* ---- what changed on disk ---- */

static void note(cn_pool_t *pool, cn_vec_t *paths, cn_str_t path)
{
    *(cn_str_t *)cn_vec_push(pool, paths, sizeof(path)) = cn_pool_dup(pool, path);
}

static void note_change(const cn_gen_t *gen, cn_pool_t *pool, cn_bundle_diff_t *d, cn_str_t path)
{
    note(pool, cn_map_get(&gen->texts, path) ? &d->texts : &d->conf, path);
}

/* Reads a file again when it may be another. */
static cn_rc refresh_file(cn_bundle_t *b, entry_t *e, bool *changed)
{
    char *buf = NULL;
    size_t len = 0;
    const char *why;
    cn_disk_stamp_t stamp;

    *changed = false;
    if (cn_disk_look(e->path.p, &stamp) && cn_disk_same(&e->stamp, &stamp))
        return CN_OK;
    if (cn_disk_read(e->path.p, &buf, &len, &stamp) != 0 || check_room(b, len, &why) != CN_OK) {
        free(buf);
        return CN_ERR;
    }
    e->stamp = stamp;
    *changed = !cn_str_eq(e->text, cn_str_make(buf, len));
    if (*changed)
        (void)add(b, KIND_FILE, e->path, cn_str_make(buf, len), buf);
    else
        free(buf);
    return CN_OK;
}

/* What the watch tells of, beside the files that are known. */
typedef struct {
    cn_bundle_t *bundle;
    cn_pool_t *pool;
    cn_vec_t names; /* cn_str_t: paths that a pattern matches */
} news_t;

static bool matches(const entry_t *glob, const char *path)
{
    return fnmatch(glob->path.p, path, FNM_PATHNAME | FNM_PERIOD) == 0;
}

static void on_touched(void *ctx, cn_str_t folder, cn_str_t name)
{
    news_t *news = ctx;
    cn_bundle_t *b = news->bundle;
    char path[PATH_MAX];
    size_t n = folder.n + 1 + name.n;
    entry_t *e;

    if (n >= sizeof(path))
        return; /* no file of ours has such a name */
    memcpy(path, folder.p, folder.n);
    path[folder.n] = '/';
    memcpy(path + folder.n + 1, name.p, name.n);
    path[n] = '\0';
    e = cn_map_get(&b->files, cn_str_make(path, n));
    if (e && e->watched && !e->touched) {
        e->touched = true;
        push_entry(b, &b->touched, e);
    }
    for (uint32_t i = 0; i < b->globs.n; i++) {
        if (nth(&b->globs, i)->watched && matches(nth(&b->globs, i), path)) {
            push(news->pool, &news->names, cn_str_make(path, n));
            break;
        }
    }
}

static void look_at_all(cn_bundle_t *b)
{
    cn_watch_destroy(b->watch);
    b->watch = NULL;
    b->loose.n = 0;
    for (uint32_t i = 0; i < b->entries.n; i++) {
        entry_t *e = entry_at(b, i);

        e->watched = false;
        if (e->kind == KIND_PATTERN)
            e->stamp.sure = false;
        else if (e->heap)
            push_entry(b, &b->loose, e);
    }
}

static void forget(cn_bundle_t *b, entry_t *e)
{
    entry_t **all = b->entries.v, *last = entry_at(b, b->entries.n - 1);

    (void)cn_map_del(&b->files, e->path);
    b->total -= e->text.n;
    free_text(e);
    all[e->at] = last;
    last->at = e->at;
    b->entries.n--;
    for (uint32_t i = 0; !e->watched && i < b->loose.n; i++) {
        if (nth(&b->loose, i) == e)
            ((entry_t **)b->loose.v)[i] = nth(&b->loose, --b->loose.n);
    }
}

/* A file that a pattern has begun to match. */
static cn_rc note_new(cn_bundle_t *b, cn_pool_t *pool, cn_bundle_diff_t *d, cn_str_t path)
{
    const char *why;
    cn_str_t text;

    if (cn_bundle_read(b, path, &text, &why) != CN_OK)
        return CN_ERR;
    note(pool, &d->conf, path);
    return CN_OK;
}

/* What a pattern matches now, against what it did. */
static cn_rc refresh_pattern(cn_bundle_t *b, entry_t *e, cn_pool_t *pool, cn_bundle_diff_t *d)
{
    cn_disk_stamp_t stamp = cn_disk_pattern(pool, e->path);
    cn_str_t rest = e->text, path;
    cn_vec_t now = {0}, before = {0};

    if (cn_disk_glob(e->path.p, pool, &now) != CN_OK)
        return CN_ERR;
    while (cn_str_split(&rest, '\0', &path))
        push(pool, &before, path);
    for (uint32_t i = 0; i < before.n; i++) {
        if (!cn_disk_lists(&now, ((cn_str_t *)before.v)[i]))
            note(pool, &d->removed, ((cn_str_t *)before.v)[i]);
    }
    for (uint32_t i = 0; i < now.n; i++) {
        path = ((cn_str_t *)now.v)[i];
        if (!cn_disk_lists(&before, path) && note_new(b, pool, d, path) != CN_OK)
            return CN_ERR;
    }
    (void)remember(b, e->path, &now, stamp);
    return CN_OK;
}

/* Where a path stands, or would stand, in what a pattern matches. */
static size_t find_listed(const entry_t *e, cn_str_t path, bool *listed)
{
    cn_str_t rest = e->text, one;
    int order = 1;

    while (order > 0 && cn_str_split(&rest, '\0', &one))
        order = cn_str_cmp(path, one);
    *listed = order == 0;
    return order > 0 ? e->text.n : (size_t)(one.p - e->text.p);
}

/* Replaces n bytes of the list at a place by a path, or by nothing. */
static void edit_list(cn_bundle_t *b, entry_t *e, size_t at, size_t n, cn_str_t path)
{
    size_t more = path.n ? path.n + 1 : 0, len = e->text.n - n + more;
    char *text = cn_xmalloc(len + 1);

    memcpy(text, e->text.p, at);
    if (more)
        memcpy(text + at, path.p, more);
    memcpy(text + at + more, e->text.p + at + n, e->text.n - at - n);
    (void)add(b, KIND_PATTERN, e->path, cn_str_make(text, len), text);
}

/* The same as refresh_pattern() when it is known where to look. */
static cn_rc refresh_names(cn_bundle_t *b, entry_t *e, cn_pool_t *pool, const cn_vec_t *names,
                           cn_bundle_diff_t *d)
{
    for (uint32_t i = 0; i < names->n; i++) {
        cn_str_t path = ((const cn_str_t *)names->v)[i];
        struct stat st;
        bool listed;

        if (!matches(e, path.p))
            continue;
        size_t at = find_listed(e, path, &listed);
        bool there = lstat(path.p, &st) == 0;
        if (listed == there)
            continue;
        if (there && note_new(b, pool, d, path) != CN_OK)
            return CN_ERR;
        if (listed)
            note(pool, &d->removed, path);
        edit_list(b, e, at, listed ? path.n + 1 : 0, there ? path : CN_STR_NULL);
    }
    return CN_OK;
}

/* A folder that stands where a watched one did is not watched. */
static bool folders_moved(cn_bundle_t *b, cn_pool_t *pool)
{
    bool moved = false;

    for (uint32_t i = 0; i < b->globs.n; i++) {
        entry_t *e = nth(&b->globs, i);

        if (!e->watched)
            continue;
        cn_disk_stamp_t now = cn_disk_pattern(pool, e->path);
        moved |= now.dev != e->stamp.dev || now.ino != e->stamp.ino;
        e->stamp = now;
    }
    return moved;
}

static cn_rc refresh_globs(cn_bundle_t *b, cn_pool_t *pool, const cn_vec_t *names,
                           cn_bundle_diff_t *d)
{
    cn_rc rc = CN_OK;

    for (uint32_t i = 0; i < b->globs.n && rc == CN_OK; i++) {
        entry_t *e = nth(&b->globs, i);
        cn_disk_stamp_t now;

        if (e->watched && names->n <= NAMES_MAX) {
            rc = refresh_names(b, e, pool, names, d);
            continue;
        }
        now = cn_disk_pattern(pool, e->path);
        if (e->watched || !cn_disk_same(&e->stamp, &now))
            rc = refresh_pattern(b, e, pool, d);
    }
    return rc;
}

static cn_rc look_again(cn_bundle_t *b, entry_t *e, const cn_gen_t *gen, cn_pool_t *pool,
                        cn_bundle_diff_t *d)
{
    bool changed;

    e->touched = false;
    if (!e->heap)
        return CN_OK; /* forgotten */
    if (refresh_file(b, e, &changed) == CN_OK) {
        if (changed)
            note_change(gen, pool, d, e->path);
        return CN_OK;
    }
    if (!cn_map_get(&gen->texts, e->path))
        return CN_ERR;
    note(pool, &d->lost, e->path);
    forget(b, e);
    return CN_OK;
}

cn_rc cn_bundle_refresh(cn_bundle_t *b, const cn_gen_t *gen, cn_pool_t *pool, cn_bundle_diff_t *d)
{
    news_t news = {.bundle = b, .pool = pool};

    *d = (cn_bundle_diff_t){0};
    if (is_unfinished(b))
        return CN_DECLINE;
    (void)cn_disk_look(b->prefix.p, &b->begun);
    if (b->watch && (folders_moved(b, pool) || cn_watch_take(b->watch, on_touched, &news) != CN_OK))
        look_at_all(b);
    if (refresh_globs(b, pool, &news.names, d) != CN_OK)
        return CN_DECLINE;
    for (uint32_t i = 0; i < d->removed.n; i++) {
        entry_t *e = cn_map_get(&b->files, ((cn_str_t *)d->removed.v)[i]);

        if (e)
            forget(b, e);
    }
    for (uint32_t i = 0; i < b->touched.n; i++) {
        if (look_again(b, nth(&b->touched, i), gen, pool, d) != CN_OK)
            return CN_DECLINE;
    }
    b->touched.n = 0;
    for (uint32_t i = b->loose.n; i-- > 0;) {
        if (look_again(b, nth(&b->loose, i), gen, pool, d) != CN_OK)
            return CN_DECLINE;
    }
    return CN_OK;
}

static bool take(cn_str_t *rest, uint64_t n, cn_str_t *piece)
{
    if (n > rest->n)
        return false;
    *piece = cn_str_make(rest->p, (size_t)n);
    rest->p += n;
    rest->n -= (size_t)n;
    return true;
}

static cn_rc read_entries(cn_bundle_t *b, cn_str_t rest, uint32_t n, const cn_pause_t *pause)
{
    for (uint32_t i = 0; i < n; i++) {
        cn_str_t piece;
        cn_str_t path;
        cn_str_t text;
        record_t r;

        cn_pause(pause);
        if (!take(&rest, sizeof(r), &piece))
            return CN_ERR;
        memcpy(&r, piece.p, sizeof(r));
        if (!take(&rest, r.path_len, &path) || !take(&rest, r.text_len, &text) ||
            r.kind >= KIND_MAX)
            return CN_ERR;
        if (r.kind == KIND_MISSED || r.kind == KIND_FAILED)
            miss(b, (kind_t)r.kind, path, &r.stamp);
        else
            add(b, (kind_t)r.kind, path, text, NULL)->stamp = r.stamp;
    }
    return rest.n == 0 ? CN_OK : CN_ERR;
}

cn_rc cn_bundle_open(int fd, cn_bundle_t **out)
{
    return cn_bundle_open_pausing(fd, NULL, out);
}

cn_rc cn_bundle_open_pausing(int fd, const cn_pause_t *pause, cn_bundle_t **out)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;
    cn_str_t rest;
    cn_str_t piece;
    head_t head;
    void *map;

    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) != 0 ||
        (size_t)st.st_size < sizeof(head))
        return CN_ERR;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return CN_ERR;
    rest = cn_str_make(map, (size_t)st.st_size);
    (void)take(&rest, sizeof(head), &piece);
    memcpy(&head, piece.p, sizeof(head));
    if (head.magic != MAGIC || !take(&rest, head.prefix_len, &piece)) {
        munmap(map, (size_t)st.st_size);
        return CN_ERR;
    }
    *out = create(piece, false);
    (*out)->map = map;
    (*out)->map_len = (size_t)st.st_size;
    if (read_entries(*out, rest, head.n, pause) == CN_OK)
        return CN_OK;
    cn_bundle_destroy(*out);
    *out = NULL;
    return CN_ERR;
}
