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
#include <glob.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf_int.h"
#include "os/watch.h"

#define MAGIC 0x31646e6275626e63u /* "cnbubnd1" */
#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)
#define PIPE_WAIT_MS 10000  /* for the writer of a pipe given as a file */
#define WRITER_WAIT_MS 2000 /* for cairn-gen, which takes milliseconds */
#define WRITER_SURE_MS 100  /* until one without a lock is taken for dead */
#define SURE_MS 100         /* more than the tick of any file system's clock */

/* TEXT and GONE are in parts only. */
typedef enum { KIND_FILE, KIND_PATTERN, KIND_TEXT, KIND_GONE, KIND_MAX } kind_t;

/* By which a file that was not touched is known. */
typedef struct {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
    bool sure; /* it had not just been written when it was looked at */
} stamp_t;

typedef struct {
    uint64_t magic;
    uint32_t prefix_len;
    uint32_t n;
} head_t;

typedef struct {
    uint32_t kind;
    uint32_t path_len;
    uint64_t text_len;
} record_t;

typedef struct {
    kind_t kind;
    cn_str_t path; /* absolute */
    cn_str_t text; /* of a pattern: matching paths, each with a NUL behind it */
    char *heap;    /* text when it was read; else NULL */
    bool secret;
    stamp_t stamp; /* of the file; of a pattern: of its folder */
    bool watched;  /* touched says whether it must be looked at */
    bool touched;
} entry_t;

struct cn_bundle {
    cn_pool_t *pool;
    cn_str_t prefix;
    bool disk;
    cn_map_t files, patterns; /* path -> entry_t */
    cn_vec_t entries;         /* entry_t *, in the order they came */
    size_t total;             /* bytes of texts */
    const char *unfinished;   /* the path of CN_CONF_UNFINISHED */
    bool waited;              /* for it to go away, in vain */
    cn_watch_t *watch;        /* NULL: every file is looked at */
    void *map;                /* opened from a memfd */
    size_t map_len;
};

static cn_bundle_t *create(cn_str_t prefix, bool disk)
{
    cn_pool_t *pool = cn_pool_create(0);
    cn_bundle_t *b = cn_pool_zalloc(pool, sizeof(*b));

    while (prefix.n > 1 && prefix.p[prefix.n - 1] == '/')
        prefix.n--;
    b->pool = pool;
    b->prefix = cn_pool_dup(pool, prefix);
    b->disk = disk;
    if (disk)
        b->unfinished = cn_pool_printf(pool, "%.*s/" CN_CONF_UNFINISHED, CN_STR_ARG(prefix)).p;
    return b;
}

cn_bundle_t *cn_bundle_create(cn_str_t prefix)
{
    return create(prefix, prefix.p != NULL);
}

static entry_t *entry_at(const cn_bundle_t *b, uint32_t i)
{
    return ((entry_t **)b->entries.v)[i];
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
        *(entry_t **)cn_vec_push(b->pool, &b->entries, sizeof(e)) = e;
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

/* Waits for a pipe's writer, but not for ever. */
static bool wait_pipe(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n;

    do
        n = poll(&p, 1, PIPE_WAIT_MS);
    while (n < 0 && errno == EINTR);
    return n > 0;
}

/* Up to the end of the file.  0, or an errno.  *buf is the caller's in either case. */
static int read_all(int fd, size_t first, char **buf, size_t *len)
{
    size_t cap = first + 1;

    *buf = cn_xmalloc(cap);
    *len = 0;
    for (;;) {
        ssize_t n;

        if (*len == cap) {
            if (cap > CN_CONF_FILE_MAX)
                return EFBIG;
            cap *= 2;
            *buf = cn_xrealloc(*buf, cap);
        }
        n = read(fd, *buf + *len, cap - *len);
        if (n == 0)
            return *len > CN_CONF_FILE_MAX ? EFBIG : 0;
        if (n > 0)
            *len += (size_t)n;
        else if (errno == EAGAIN && !wait_pipe(fd))
            return ETIMEDOUT;
        else if (errno != EINTR && errno != EAGAIN)
            return errno;
    }
}

/* A file that changes twice within a tick of the file system's clock has the
 * same times: one that has just changed is read again the next time. */
static stamp_t stamp_of(const struct stat *st)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age_ms = (int64_t)(now.tv_sec - st->st_ctim.tv_sec) * 1000 +
                     (now.tv_nsec - st->st_ctim.tv_nsec) / 1000000;
    return (stamp_t){st->st_dev,  st->st_ino,  st->st_size,
                     st->st_mtim, st->st_ctim, age_ms > SURE_MS || age_ms < 0};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_stamp(const stamp_t *before, const struct stat *st)
{
    return before->sure && before->dev == st->st_dev && before->ino == st->st_ino &&
           before->size == st->st_size && same_time(&before->mtime, &st->st_mtim) &&
           same_time(&before->ctime, &st->st_ctim);
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

/* Opens without waiting, so that a pipe without a writer cannot hold us. */
static int read_path(const char *path, char **buf, size_t *len, stamp_t *stamp)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    int err = 0;

    if (fd < 0)
        return errno;
    if (fstat(fd, &st) != 0)
        err = errno;
    else if (S_ISDIR(st.st_mode))
        err = EISDIR;
    else if (st.st_size > (off_t)CN_CONF_FILE_MAX)
        err = EFBIG;
    else
        err = read_all(fd, S_ISREG(st.st_mode) ? (size_t)st.st_size : 4095, buf, len);
    *stamp = err ? (stamp_t){0} : stamp_of(&st);
    close(fd);
    return err;
}

static cn_rc check_room(const cn_bundle_t *b, size_t n, const char **why)
{
    if (b->entries.n < CN_CONF_FILES_MAX && b->total + n <= CN_CONF_TOTAL_MAX)
        return CN_OK;
    *why = "the configuration is larger than 512 MiB or has more than 262144 files";
    return CN_ERR;
}

/* It locks the file as long as it lives. */
static bool writer_lives(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    bool lives = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;

    if (fd >= 0)
        close(fd);
    return lives;
}

/* A writer that runs is waited for. */
static bool is_unfinished(cn_bundle_t *b)
{
    for (int ms = 0; b->unfinished && access(b->unfinished, F_OK) == 0; ms += 10) {
        int most = writer_lives(b->unfinished) ? WRITER_WAIT_MS : WRITER_SURE_MS;

        if (b->waited || ms >= most) {
            b->waited = true;
            return true;
        }
        (void)poll(NULL, 0, 10);
    }
    return false;
}

cn_rc cn_bundle_read(cn_bundle_t *b, cn_str_t path, cn_str_t *text, const char **why)
{
    entry_t *e = cn_map_get(&b->files, path);
    char *buf = NULL;
    size_t len = 0;
    int err = ENOENT;
    stamp_t stamp = {0};
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
        err = read_path(path.p, &buf, &len, &stamp);
    *why = err == EFBIG ? "the file is larger than 64 MiB" : err ? strerror(err) : NULL;
    if (err || check_room(b, len, why) != CN_OK) {
        free(buf);
        return CN_ERR;
    }
    e = add(b, KIND_FILE, path, cn_str_make(buf, len), buf);
    e->stamp = stamp;
    e->watched = watched;
    *text = e->text;
    return CN_OK;
}

/* ---- patterns ---- */

static int compare(const void *a, const void *b)
{
    return cn_str_cmp(*(const cn_str_t *)a, *(const cn_str_t *)b);
}

static void push(cn_pool_t *pool, cn_vec_t *paths, cn_str_t path)
{
    *(cn_str_t *)cn_vec_push(pool, paths, sizeof(path)) = cn_pool_dup(pool, path);
}

/* A folder that is not there matches nothing; one that cannot be read must not
 * silently take its files out of the configuration. */
static int glob_failed(const char *path CN_UNUSED, int err)
{
    return err != ENOENT;
}

static cn_rc glob_disk(const char *pattern, cn_pool_t *pool, cn_vec_t *paths, const char **why)
{
    glob_t g;
    int rc = glob(pattern, GLOB_NOSORT, glob_failed, &g);

    for (size_t i = 0; rc == 0 && i < g.gl_pathc; i++)
        push(pool, paths, cn_str_c(g.gl_pathv[i]));
    globfree(&g);
    *why = "a folder cannot be read";
    return rc == 0 || rc == GLOB_NOMATCH ? CN_OK : CN_ERR;
}

static void glob_known(const cn_bundle_t *b, const char *pattern, cn_pool_t *pool, cn_vec_t *paths)
{
    for (uint32_t i = 0; i < b->entries.n; i++) {
        const entry_t *e = entry_at(b, i);

        if (e->kind == KIND_FILE && fnmatch(pattern, e->path.p, FNM_PATHNAME | FNM_PERIOD) == 0)
            push(pool, paths, e->path);
    }
}

/* In byte order, whatever the locale, and each once. */
static void sort_unique(cn_vec_t *paths)
{
    cn_str_t *v = paths->v;
    uint32_t n = 0;

    if (paths->n == 0)
        return;
    qsort(v, paths->n, sizeof(*v), compare);
    for (uint32_t i = 1; i < paths->n; i++) {
        if (!cn_str_eq(v[i], v[n]))
            v[++n] = v[i];
    }
    paths->n = n + 1;
}

static stamp_t folder_stamp(cn_pool_t *pool, cn_str_t pattern)
{
    size_t n = pattern.n;
    struct stat st;

    while (n > 1 && pattern.p[n - 1] != '/')
        n--;
    const char *folder = cn_pool_cstr(pool, cn_str_make(pattern.p, n));
    /* Folders under a pattern are too many to look at. */
    if (strpbrk(folder, "*?[\\") || stat(folder, &st) != 0)
        return (stamp_t){0};
    return stamp_of(&st);
}

static void remember(cn_bundle_t *b, cn_str_t pattern, const cn_vec_t *paths, stamp_t stamp)
{
    const cn_str_t *v = paths->v;
    size_t len = 0;
    char *text;
    char *p;

    for (uint32_t i = 0; i < paths->n; i++)
        len += v[i].n + 1;
    text = p = cn_xmalloc(len + 1);
    for (uint32_t i = 0; i < paths->n; i++) {
        memcpy(p, v[i].p, v[i].n + 1);
        p += v[i].n + 1;
    }
    add(b, KIND_PATTERN, pattern, cn_str_make(text, len), text)->stamp = stamp;
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
    stamp_t stamp = {0};

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
    if (b->disk)
        stamp = folder_stamp(pool, pattern);
    if (b->disk && glob_disk(pattern.p, pool, paths, why) != CN_OK)
        return CN_ERR;
    glob_known(b, pattern.p, pool, paths);
    sort_unique(paths);
    if (check_room(b, 0, why) != CN_OK)
        return CN_ERR;
    if (b->disk)
        remember(b, pattern, paths, stamp);
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

static void put_record(out_t *o, kind_t kind, cn_str_t path, cn_str_t text)
{
    record_t r = {(uint32_t)kind, (uint32_t)path.n, text.n};

    put(o, &r, sizeof(r));
    put(o, path.p, path.n);
    put(o, text.p, text.n);
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
    out_t *o = begin(b, b->entries.n);

    for (uint32_t i = 0; i < b->entries.n; i++) {
        const entry_t *e = entry_at(b, i);

        put_record(o, e->kind, e->path, e->text);
    }
    return finish(o, fd);
}

static void put_known(const cn_bundle_t *b, out_t *o, kind_t kind, const cn_vec_t *paths)
{
    const cn_str_t *v = paths->v;

    for (uint32_t i = 0; i < paths->n; i++) {
        const entry_t *e = cn_map_get(&b->files, v[i]);

        put_record(o, e ? kind : KIND_GONE, v[i], e ? e->text : CN_STR_NULL);
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
    struct stat st;
    const char *why;
    stamp_t stamp;

    *changed = false;
    if (stat(e->path.p, &st) == 0 && same_stamp(&e->stamp, &st))
        return CN_OK;
    if (read_path(e->path.p, &buf, &len, &stamp) != 0 || check_room(b, len, &why) != CN_OK) {
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

static void on_touched(void *ctx, cn_str_t folder, cn_str_t name)
{
    cn_bundle_t *b = ctx;
    char path[PATH_MAX];
    entry_t *e;

    if (folder.n + name.n + 1 > sizeof(path))
        return; /* no file of ours has such a name */
    memcpy(path, folder.p, folder.n);
    path[folder.n] = '/';
    memcpy(path + folder.n + 1, name.p, name.n);
    e = cn_map_get(&b->files, cn_str_make(path, folder.n + 1 + name.n));
    if (e)
        e->touched = true;
}

static void look_at_all(cn_bundle_t *b)
{
    cn_watch_destroy(b->watch);
    b->watch = NULL;
    for (uint32_t i = 0; i < b->entries.n; i++)
        entry_at(b, i)->watched = false;
}

static void forget(cn_bundle_t *b, uint32_t i)
{
    entry_t *e = entry_at(b, i);

    (void)cn_map_del(&b->files, e->path);
    b->total -= e->text.n;
    free_text(e);
    ((entry_t **)b->entries.v)[i] = entry_at(b, b->entries.n - 1);
    b->entries.n--;
}

static bool lists(const cn_vec_t *paths, cn_str_t path)
{
    return paths->n && bsearch(&path, paths->v, paths->n, sizeof(path), compare);
}

/* What a pattern matches now, against what it did. */
static cn_rc refresh_pattern(cn_bundle_t *b, entry_t *e, cn_pool_t *pool, cn_bundle_diff_t *d)
{
    stamp_t stamp = folder_stamp(pool, e->path);
    cn_str_t rest = e->text, path, text;
    cn_vec_t now = {0}, before = {0};
    const char *why;

    if (glob_disk(e->path.p, pool, &now, &why) != CN_OK)
        return CN_ERR;
    sort_unique(&now);
    while (cn_str_split(&rest, '\0', &path))
        push(pool, &before, path);
    for (uint32_t i = 0; i < before.n; i++) {
        if (!lists(&now, ((cn_str_t *)before.v)[i]))
            note(pool, &d->removed, ((cn_str_t *)before.v)[i]);
    }
    for (uint32_t i = 0; i < now.n; i++) {
        path = ((cn_str_t *)now.v)[i];
        if (lists(&before, path))
            continue;
        if (cn_bundle_read(b, path, &text, &why) != CN_OK)
            return CN_ERR;
        note(pool, &d->conf, path);
    }
    remember(b, e->path, &now, stamp);
    return CN_OK;
}

static bool pattern_may_differ(cn_pool_t *pool, const entry_t *e)
{
    stamp_t now = folder_stamp(pool, e->path);

    return !e->stamp.sure || now.dev != e->stamp.dev || now.ino != e->stamp.ino ||
           !same_time(&now.mtime, &e->stamp.mtime) || !same_time(&now.ctime, &e->stamp.ctime);
}

cn_rc cn_bundle_refresh(cn_bundle_t *b, const cn_gen_t *gen, cn_pool_t *pool, cn_bundle_diff_t *d)
{
    uint32_t n = b->entries.n;
    bool changed;

    *d = (cn_bundle_diff_t){0};
    if (is_unfinished(b))
        return CN_DECLINE;
    if (b->watch && cn_watch_take(b->watch, on_touched, b) != CN_OK)
        look_at_all(b);
    for (uint32_t i = 0; i < n; i++) {
        entry_t *e = entry_at(b, i);

        if (e->kind == KIND_PATTERN && pattern_may_differ(pool, e) &&
            refresh_pattern(b, e, pool, d) != CN_OK)
            return CN_DECLINE;
    }
    for (uint32_t i = b->entries.n; i-- > 0;) {
        entry_t *e = entry_at(b, i);

        for (uint32_t k = 0; e && k < d->removed.n; k++) {
            if (!cn_str_eq(e->path, ((cn_str_t *)d->removed.v)[k]))
                continue;
            forget(b, i);
            e = NULL;
        }
    }
    for (uint32_t i = b->entries.n; i-- > 0;) {
        entry_t *e = entry_at(b, i);

        if (e->kind != KIND_FILE || !e->heap || (e->watched && !e->touched))
            continue;
        e->touched = false;
        if (refresh_file(b, e, &changed) == CN_OK) {
            if (changed)
                note_change(gen, pool, d, e->path);
        } else if (cn_map_get(&gen->texts, e->path)) {
            note(pool, &d->lost, e->path);
            forget(b, i);
        } else {
            return CN_DECLINE;
        }
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

static cn_rc read_entries(cn_bundle_t *b, cn_str_t rest, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        cn_str_t piece;
        cn_str_t path;
        cn_str_t text;
        record_t r;

        if (!take(&rest, sizeof(r), &piece))
            return CN_ERR;
        memcpy(&r, piece.p, sizeof(r));
        if (!take(&rest, r.path_len, &path) || !take(&rest, r.text_len, &text) ||
            r.kind >= KIND_MAX)
            return CN_ERR;
        (void)add(b, (kind_t)r.kind, path, text, NULL);
    }
    return rest.n == 0 ? CN_OK : CN_ERR;
}

cn_rc cn_bundle_open(int fd, cn_bundle_t **out)
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
    if (read_entries(*out, rest, head.n) == CN_OK)
        return CN_OK;
    cn_bundle_destroy(*out);
    *out = NULL;
    return CN_ERR;
}
