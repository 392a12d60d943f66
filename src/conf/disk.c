/* SPDX-License-Identifier: Apache-2.0
 *
 * Files, patterns and the mark of an unfinished folder, as they are on disk
 * now.  Knows nothing of what was read before.  Nothing here waits for ever,
 * whatever stands at a path.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf_int.h"
#include "core/clock.h"

#define PIPE_WAIT_MS 5000   /* for all that the writer of a pipe given as a file says */
#define WRITER_WAIT_MS 2000 /* for cairn-gen, which takes milliseconds */
#define WRITER_SURE_MS 100  /* until one without a lock is taken for dead */
#define SURE_MS 100         /* more than the tick of any file system's clock */

/* ---- stamps ---- */

/* A file that changes twice within a tick of the file system's clock has the
 * same times: one that has just changed, or is from the future, is read again
 * the next time. */
static bool is_sure(const struct stat *st)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age_ms = (int64_t)(now.tv_sec - st->st_ctim.tv_sec) * 1000 +
                     (now.tv_nsec - st->st_ctim.tv_nsec) / 1000000;
    return age_ms > SURE_MS;
}

cn_disk_stamp_t cn_disk_stamp(const struct stat *st)
{
    cn_disk_stamp_t s;

    memset(&s, 0, sizeof(s)); /* it is written as it lies */
    s.dev = st->st_dev;
    s.ino = st->st_ino;
    s.size = st->st_size;
    s.mtime = st->st_mtim;
    s.ctime = st->st_ctim;
    s.mode = st->st_mode;
    s.sure = is_sure(st);
    return s;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool cn_disk_same(const cn_disk_stamp_t *before, const cn_disk_stamp_t *now)
{
    return before->sure && before->dev == now->dev && before->ino == now->ino &&
           before->size == now->size && same_time(&before->mtime, &now->mtime) &&
           same_time(&before->ctime, &now->ctime);
}

bool cn_disk_look(const char *path, cn_disk_stamp_t *stamp)
{
    struct stat st;

    if (stat(path, &st) == 0) {
        *stamp = cn_disk_stamp(&st);
        return true;
    }
    memset(stamp, 0, sizeof(*stamp));
    return false;
}

/* ---- files ---- */

/* Waits for a pipe's writer, but not for ever.  *until_ms: 0 before the first wait. */
static bool wait_pipe(int fd, uint64_t *until_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t now_ms = cn_clock_mono_ns() / 1000000;

    if (*until_ms == 0)
        *until_ms = now_ms + PIPE_WAIT_MS;
    if (now_ms >= *until_ms)
        return false;
    int n = poll(&p, 1, (int)(*until_ms - now_ms));
    return n > 0 || (n < 0 && errno == EINTR);
}

/* Up to the end of the file.  0, or an errno.  *buf is the caller's in either case. */
static int read_all(int fd, size_t first, char **buf, size_t *len)
{
    size_t cap = first + 1;
    uint64_t until_ms = 0;

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
        else if (errno == EAGAIN && !wait_pipe(fd, &until_ms))
            return ETIME;
        else if (errno != EINTR && errno != EAGAIN)
            return errno;
    }
}

static int read_open(int fd, char **buf, size_t *len, cn_disk_stamp_t *stamp)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return errno;
    *stamp = cn_disk_stamp(&st);
    if (S_ISDIR(st.st_mode))
        return EISDIR;
    if (st.st_size > (off_t)CN_CONF_FILE_MAX)
        return EFBIG;
    int err = read_all(fd, S_ISREG(st.st_mode) ? (size_t)st.st_size : 4095, buf, len);
    return !err && S_ISFIFO(st.st_mode) && *len == 0 ? ENODATA : err;
}

/* Opens without waiting, so that a pipe without a writer cannot hold us; one is
 * told from an empty file, or its settings would be lost without a word. */
int cn_disk_read(const char *path, char **buf, size_t *len, cn_disk_stamp_t *stamp)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int err = fd < 0 ? errno : 0;

    *buf = NULL;
    *len = 0;
    memset(stamp, 0, sizeof(*stamp));
    if (fd >= 0) {
        err = read_open(fd, buf, len, stamp);
        close(fd);
    } else if (err != ENOENT) {
        (void)cn_disk_look(path, stamp);
    }
    stamp->sure = stamp->sure && !err;
    return err;
}

/* ---- patterns ---- */

static int compare(const void *a, const void *b)
{
    return cn_str_cmp(*(const cn_str_t *)a, *(const cn_str_t *)b);
}

/* What a part of a pattern, between two slashes, is matched with. */
typedef struct {
    cn_pool_t *pool;
    const char *part;
    bool more;    /* parts follow */
    cn_vec_t now; /* cn_str_t: paths up to this part */
} match_t;

static void add_match(match_t *m, cn_str_t path)
{
    if (m->more)
        path = cn_pool_printf(m->pool, "%.*s/", CN_STR_ARG(path));
    *(cn_str_t *)cn_vec_push(m->pool, &m->now, sizeof(path)) = path;
}

static void match_literal(match_t *m, cn_str_t folder)
{
    cn_str_t path = cn_pool_printf(m->pool, "%.*s%s", CN_STR_ARG(folder), m->part);
    char *out = (char *)(uintptr_t)path.p + folder.n;
    struct stat st;

    for (const char *p = m->part; *p; *out++ = *p++)
        p += *p == '\\' && p[1];
    *out = '\0';
    path.n = (size_t)(out - path.p);
    if (m->more || lstat(path.p, &st) == 0 || errno != ENOENT)
        add_match(m, path);
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? S_ISDIR(st.st_mode) : errno != ENOENT;
}

/* A folder that is not there matches nothing; one that cannot be read must not
 * silently take its files out of the configuration. */
static cn_rc match_names(match_t *m, cn_str_t folder)
{
    DIR *d = opendir(folder.n ? folder.p : ".");
    const struct dirent *e;
    int err;

    if (!d && errno == ENOMEM)
        cn_pool_out_of_memory();
    if (!d)
        return errno == ENOENT || errno == ENOTDIR ? CN_OK : CN_ERR;
    while ((errno = 0, e = readdir(d)) != NULL) {
        if (fnmatch(m->part, e->d_name, FNM_PERIOD) != 0)
            continue;
        cn_str_t path = cn_pool_printf(m->pool, "%.*s%s", CN_STR_ARG(folder), e->d_name);
        if (!m->more || is_folder(path.p))
            add_match(m, path);
    }
    err = errno;
    closedir(d);
    return err == 0 ? CN_OK : CN_ERR;
}

static cn_rc match_part(match_t *m)
{
    const cn_vec_t before = m->now;
    cn_rc rc = CN_OK;

    m->now = (cn_vec_t){0};
    for (uint32_t i = 0; i < before.n && rc == CN_OK; i++) {
        cn_str_t folder = ((cn_str_t *)before.v)[i];

        if (strpbrk(m->part, "*?["))
            rc = match_names(m, folder);
        else
            match_literal(m, folder);
    }
    return rc;
}

/* Not glob(3): that of glibc frees the names of a folder twice when there is no
 * memory for one of them. */
cn_rc cn_disk_glob(const char *pattern, cn_pool_t *pool, cn_vec_t *paths)
{
    match_t m = {.pool = pool};
    cn_str_t rest = cn_str_c(pattern), part;
    cn_rc rc = CN_OK;

    *(cn_str_t *)cn_vec_push(pool, &m.now, sizeof(part)) = CN_STR("");
    while (rc == CN_OK && cn_str_split(&rest, '/', &part)) {
        m.part = cn_pool_cstr(pool, part);
        m.more = part.p[part.n] == '/';
        rc = match_part(&m);
    }
    for (uint32_t i = 0; rc == CN_OK && i < m.now.n; i++)
        *(cn_str_t *)cn_vec_push(pool, paths, sizeof(part)) = ((cn_str_t *)m.now.v)[i];
    cn_disk_sort(paths);
    return rc;
}

void cn_disk_sort(cn_vec_t *paths)
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

bool cn_disk_lists(const cn_vec_t *sorted, cn_str_t path)
{
    return sorted->n && bsearch(&path, sorted->v, sorted->n, sizeof(path), compare);
}

const char *cn_disk_folder(cn_pool_t *pool, cn_str_t pattern, bool *direct)
{
    char *folder = cn_pool_bytes(pool, pattern.n + 1);
    size_t n = 0, end = 0, rest = 0;

    for (size_t i = 0; i < pattern.n && !strchr("*?[", pattern.p[i]); i++) {
        if (pattern.p[i] == '\\' && i + 1 < pattern.n)
            i++;
        if (pattern.p[i] == '/') {
            end = n;
            rest = i + 1;
        }
        folder[n++] = pattern.p[i];
    }
    folder[end] = '\0';
    pattern = cn_str_make(pattern.p + rest, pattern.n - rest);
    *direct = cn_str_find(pattern, '/') == pattern.n;
    return end > 0 ? folder : "/";
}

cn_disk_stamp_t cn_disk_pattern(cn_pool_t *pool, cn_str_t pattern)
{
    cn_disk_stamp_t stamp = {0};
    bool direct;
    const char *folder = cn_disk_folder(pool, pattern, &direct);

    if (direct)
        (void)cn_disk_look(folder, &stamp);
    return stamp;
}

cn_str_t cn_disk_join(const cn_vec_t *paths)
{
    const cn_str_t *v = paths->v;
    size_t len = 0;
    char *text, *p;

    for (uint32_t i = 0; i < paths->n; i++)
        len += v[i].n + 1;
    text = p = cn_xmalloc(len + 1);
    for (uint32_t i = 0; i < paths->n; i++) {
        memcpy(p, v[i].p, v[i].n + 1);
        p += v[i].n + 1;
    }
    return cn_str_make(text, len);
}

/* ---- the mark ---- */

/* It locks the file as long as it lives. */
static bool writer_lives(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    bool lives = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;

    if (fd >= 0)
        close(fd);
    return lives;
}

bool cn_disk_wait(const char *mark)
{
    for (int ms = 0; access(mark, F_OK) == 0; ms += 10) {
        if (ms >= (writer_lives(mark) ? WRITER_WAIT_MS : WRITER_SURE_MS))
            return false;
        (void)poll(NULL, 0, 10);
    }
    return true;
}
