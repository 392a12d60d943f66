/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing the conf tree in two steps, so that whoever is killed in the middle
 * leaves one configuration or the other.  First all that changes is written
 * beside what is in force, under names that no configuration reads.  Then, while
 * CN_CONF_UNFINISHED tells readers to keep off, it is moved into place.
 */
#include "kube/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf.h"

typedef struct {
    cn_pool_t *pool;
    cn_diag_t *diag;
    const char *dir;
    cn_map_t wanted; /* path below dir -> cn_render_file_t */
    cn_vec_t staged; /* const cn_render_file_t *: their TEMP is to take its place */
    cn_vec_t stale;  /* const char *: to be removed */
} output_t;

#define TEMP ".new"

static const char *path_of(output_t *o, cn_str_t name, const char *suffix)
{
    return cn_pool_printf(o->pool, "%s/%.*s%s", o->dir, CN_STR_ARG(name), suffix).p;
}

static cn_rc fail(output_t *o, const char *what, const char *path)
{
    cn_diag_error(o->diag, (cn_place_t){NULL, 0}, "cannot %s %s: %s", what, path, strerror(errno));
    return CN_ERR;
}

static cn_rc make_dir(output_t *o, const char *name)
{
    char *path = cn_pool_cstr(o->pool, cn_pool_printf(o->pool, "%s%s", o->dir, name));

    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(path, 0777) < 0 && errno != EEXIST)
            return fail(o, "make", path);
        *p = '/';
    }
    return mkdir(path, 0777) < 0 && errno != EEXIST ? fail(o, "make", path) : CN_OK;
}

/* The file's bytes, at most max.  NULL: there is none (errno 0), or it cannot be
 * read (errno). */
static char *slurp(const char *path, size_t max, size_t *n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;
    struct stat st;
    char *buf = NULL;

    *n = 0;
    if (fd < 0) {
        errno = errno == ENOENT ? 0 : errno;
        return NULL;
    }
    if (fstat(fd, &st) != 0) {
        err = errno;
    } else if (S_ISREG(st.st_mode)) {
        ssize_t got = 1;

        buf = cn_xmalloc(max + 1);
        while (*n < max && got > 0 && (got = read(fd, buf + *n, max - *n)) > 0)
            *n += (size_t)got;
        err = got < 0 ? errno : 0;
    }
    close(fd);
    if (err) {
        free(buf);
        buf = NULL;
    }
    errno = err;
    return buf;
}

/* False with errno: that is not known. */
static bool is_ours(const char *path)
{
    size_t n;
    char *head = slurp(path, sizeof(CN_RENDER_MARK) - 1, &n);
    bool ours = head && cn_str_eq(cn_str_make(head, n), CN_STR(CN_RENDER_MARK));

    free(head);
    return ours;
}

static cn_rc check_foreign(output_t *o, const cn_render_file_t *f)
{
    const char *path = path_of(o, f->path, "");

    if (access(path, F_OK) < 0 || is_ours(path))
        return CN_OK;
    if (errno)
        return fail(o, "read", path);
    cn_diag_error(o->diag, (cn_place_t){NULL, 0},
                  "%s was not written by cairn-gen, so nothing is written: move it "
                  "or give another -o",
                  path);
    return CN_ERR;
}

static bool is_same(const char *path, cn_str_t text)
{
    size_t n;
    char *have = slurp(path, text.n + 1, &n);
    bool same = have && cn_str_eq(cn_str_make(have, n), text);

    free(have);
    return same;
}

static cn_rc write_all(int fd, cn_str_t text)
{
    size_t at = 0;

    while (at < text.n) {
        ssize_t n = write(fd, text.p + at, text.n - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return CN_ERR;
        at += (size_t)n;
    }
    return CN_OK;
}

/* Beside its place, unless that has the same text. */
static cn_rc stage_file(output_t *o, const cn_render_file_t *f)
{
    const char *path = path_of(o, f->path, ""), *temp = path_of(o, f->path, TEMP);
    cn_rc rc;
    int fd;

    if (is_same(path, f->text))
        return CN_OK;
    if (f->secret) /* its mode is that of whoever made it first */
        (void)unlink(temp);
    fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, f->secret ? 0600 : 0666);
    if (fd < 0)
        return fail(o, "write", temp);
    *(const cn_render_file_t **)cn_vec_push(o->pool, &o->staged, sizeof(f)) = f;
    rc = write_all(fd, f->text);
    if (close(fd) < 0 || rc != CN_OK)
        return fail(o, "write", temp);
    return CN_OK;
}

static void unstage(output_t *o)
{
    const cn_render_file_t **f = o->staged.v;

    for (uint32_t i = 0; i < o->staged.n; i++)
        (void)unlink(path_of(o, f[i]->path, TEMP));
}

/* What a run left that was killed while it wrote: the beginning of a file of
 * ours, or nothing at all.  False as is_ours(). */
static bool is_leftover(const char *path)
{
    size_t n;
    char *head;
    bool ours;

    errno = 0;
    if (!cn_str_ends(cn_str_c(path), CN_STR(TEMP)))
        return false;
    head = slurp(path, sizeof(CN_RENDER_MARK) - 1, &n);
    ours = head && memcmp(head, CN_RENDER_MARK, n) == 0;
    free(head);
    return ours;
}

static bool is_staged(output_t *o, cn_str_t name)
{
    size_t suffix = sizeof(TEMP) - 1;

    return cn_str_ends(name, CN_STR(TEMP)) &&
           cn_map_get(&o->wanted, cn_str_make(name.p, name.n - suffix));
}

/* A leftover of a file that is as it should be is nobody's. */
static void remove_leftovers(output_t *o, const cn_render_file_t *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const char *path = path_of(o, f[i].path, TEMP);

        if (is_leftover(path))
            (void)unlink(path);
    }
}

/* A file that nobody wants any more, if it is ours. */
static cn_rc judge(output_t *o, const char *path)
{
    bool ours = is_ours(path) || (errno == 0 && is_leftover(path));

    if (!ours && errno)
        return fail(o, "read", path);
    if (ours)
        *(const char **)cn_vec_push(o->pool, &o->stale, sizeof(path)) = path;
    return CN_OK;
}

/* What is not found would stay in force. */
static cn_rc find_stale(output_t *o, const char *folder)
{
    const char *where = path_of(o, cn_str_c(folder), "");
    DIR *d = opendir(where);
    struct dirent *e;
    cn_rc rc = CN_OK;

    if (!d)
        return errno == ENOENT ? CN_OK : fail(o, "read", where);
    while (rc == CN_OK && (errno = 0, e = readdir(d)) != NULL) {
        cn_str_t name = cn_pool_printf(o->pool, "%s/%s", folder, e->d_name);

        if (e->d_name[0] != '.' && !cn_map_get(&o->wanted, name) && !is_staged(o, name))
            rc = judge(o, path_of(o, name, ""));
    }
    if (rc == CN_OK && errno)
        rc = fail(o, "read", where);
    closedir(d);
    return rc;
}

/* The lock tells readers that we live; it ends with the descriptor. */
static cn_rc mark_unfinished(output_t *o, const char *mark, int *fd)
{
    *fd = open(mark, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (*fd < 0)
        return fail(o, "write", mark);
    (void)flock(*fd, LOCK_EX);
    return CN_OK;
}

/* An error leaves the mark: the folder is neither the one nor the other. */
static cn_rc put_in_place(output_t *o, const char *mark)
{
    const cn_render_file_t **f = o->staged.v;
    const char **stale = o->stale.v;

    for (uint32_t i = 0; i < o->staged.n; i++) {
        const char *path = path_of(o, f[i]->path, "");

        if (rename(path_of(o, f[i]->path, TEMP), path) < 0)
            return fail(o, "replace", path);
    }
    for (uint32_t i = 0; i < o->stale.n; i++) {
        if (unlink(stale[i]) < 0)
            return fail(o, "remove", stale[i]);
    }
    return unlink(mark) < 0 ? fail(o, "remove", mark) : CN_OK;
}

static cn_rc prepare(output_t *o, const cn_render_file_t *f, uint32_t n)
{
    cn_rc rc = make_dir(o, "/conf.d") == CN_OK ? make_dir(o, "/endpoints.d") : CN_ERR;

    for (uint32_t i = 0; rc == CN_OK && i < n; i++) {
        if (f[i].secret)
            rc = make_dir(o, "/tls.d");
        cn_map_put(&o->wanted, f[i].path, (void *)(uintptr_t)&f[i]);
        if (rc == CN_OK)
            rc = check_foreign(o, &f[i]);
    }
    if (rc == CN_OK)
        remove_leftovers(o, f, n);
    for (uint32_t i = 0; rc == CN_OK && i < n; i++)
        rc = stage_file(o, &f[i]);
    return rc;
}

cn_rc cn_output_write(cn_pool_t *pool, cn_diag_t *diag, const char *dir, const cn_vec_t *files)
{
    static const char *const folders[] = {"conf.d", "endpoints.d", "tls.d"};
    output_t o = {.pool = pool, .diag = diag, .dir = dir};
    const char *mark = path_of(&o, CN_STR(CN_CONF_UNFINISHED), "");
    int fd = -1;
    cn_rc rc;

    cn_map_init(&o.wanted);
    rc = prepare(&o, files->v, files->n);
    for (size_t i = 0; rc == CN_OK && i < CN_COUNT(folders); i++)
        rc = find_stale(&o, folders[i]);
    if (rc == CN_OK && (o.staged.n || o.stale.n || access(mark, F_OK) == 0))
        rc = mark_unfinished(&o, mark, &fd);
    if (rc != CN_OK)
        unstage(&o);
    else if (fd >= 0)
        rc = put_in_place(&o, mark);
    if (fd >= 0)
        close(fd);
    cn_map_fini(&o.wanted);
    return rc;
}
