/* SPDX-License-Identifier: Apache-2.0
 *
 * Folders under inotify.  Knows names, not what is in the files.  One that is
 * moved, deleted or unmounted makes everything uncertain from then on: the
 * watch says so each time, and its user makes another.
 */
#include "os/watch.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define HINTS                                                                                      \
    (IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE |            \
     IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define MASK (HINTS | IN_MODIFY)

typedef struct {
    int wd;
    cn_str_t path;
} folder_t;

struct cn_watch {
    cn_pool_t *pool;
    int fd;
    cn_vec_t folders; /* folder_t */
    bool blind;       /* a folder is not what it was */
};

cn_watch_t *cn_watch_create(void)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

    if (fd < 0)
        return NULL;
    cn_pool_t *pool = cn_pool_create(0);
    cn_watch_t *w = cn_pool_zalloc(pool, sizeof(*w));
    w->pool = pool;
    w->fd = fd;
    return w;
}

void cn_watch_destroy(cn_watch_t *w)
{
    if (!w)
        return;
    close(w->fd);
    cn_pool_destroy(w->pool);
}

int cn_watch_fd(const cn_watch_t *w)
{
    return w->fd;
}

/* Only this machine writes there, and through this kernel. */
static bool is_local(const char *path)
{
    static const unsigned long known[] = {EXT4_SUPER_MAGIC,     XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
                                          TMPFS_MAGIC,          RAMFS_MAGIC,     F2FS_SUPER_MAGIC,
                                          OVERLAYFS_SUPER_MAGIC};
    struct statfs fs;

    if (statfs(path, &fs) != 0)
        return false;
    for (size_t i = 0; i < CN_COUNT(known); i++) {
        if ((unsigned long)fs.f_type == known[i])
            return true;
    }
    return false;
}

static bool is_direct(const char *path)
{
    char real[PATH_MAX];

    return realpath(path, real) && strcmp(path, real) == 0;
}

static const folder_t *find(const cn_watch_t *w, int wd)
{
    const folder_t *v = w->folders.v;

    for (uint32_t i = 0; i < w->folders.n; i++) {
        if (v[i].wd == wd)
            return &v[i];
    }
    return NULL;
}

static bool is_watched(const cn_watch_t *w, cn_str_t path)
{
    const folder_t *v = w->folders.v;

    for (uint32_t i = 0; i < w->folders.n; i++) {
        if (cn_str_eq(v[i].path, path))
            return true;
    }
    return false;
}

static cn_rc add(cn_watch_t *w, const char *path, uint32_t mask)
{
    int wd = inotify_add_watch(w->fd, path, mask);
    folder_t *f;

    if (wd < 0)
        return CN_DECLINE;
    f = cn_vec_push(w->pool, &w->folders, sizeof(*f));
    *f = (folder_t){wd, cn_str_c(path)};
    return CN_OK;
}

cn_rc cn_watch_folder(cn_watch_t *w, cn_str_t path)
{
    const char *name;

    if (is_watched(w, path))
        return CN_OK;
    name = cn_pool_cstr(w->pool, path);
    return is_direct(name) && is_local(name) ? add(w, name, MASK) : CN_DECLINE;
}

cn_rc cn_watch_hint(cn_watch_t *w, cn_str_t path)
{
    return is_watched(w, path) ? CN_OK : add(w, cn_pool_cstr(w->pool, path), HINTS);
}

static void take_event(cn_watch_t *w, const struct inotify_event *e, cn_watch_cb *fn, void *ctx)
{
    const folder_t *f = find(w, e->wd);

    if (!f || e->len == 0 ||
        (e->mask & (IN_Q_OVERFLOW | IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF)) != 0)
        w->blind |= (e->mask & IN_ATTRIB) == 0;
    else
        fn(ctx, f->path, cn_str_c(e->name));
}

cn_rc cn_watch_take(cn_watch_t *w, cn_watch_cb *fn, void *ctx)
{
    char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n;

    while ((n = read(w->fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR)) {
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *e = (const struct inotify_event *)(const void *)(buf + at);

            take_event(w, e, fn, ctx);
            at += (ssize_t)(sizeof(*e) + e->len);
        }
    }
    return w->blind ? CN_DECLINE : CN_OK;
}
