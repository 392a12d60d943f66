/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading files and folders whole, with a bound.
 */
#include "kube/input.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kube/yaml.h"

static cn_rc fail(cn_diag_t *d, const cn_source_t *src)
{
    cn_diag_error(d, (cn_place_t){src, 0}, "cannot be read: %s", strerror(errno));
    return CN_ERR;
}

/* One byte more than the limit is kept, so that the reader sees it was passed. */
static cn_rc read_fd(int fd, char **text, size_t *n)
{
    size_t cap = 1u << 16;
    ssize_t got = 1;
    char *p = cn_xmalloc(cap);

    *n = 0;
    while (got != 0 && *n <= CN_YAML_MAX_BYTES) {
        if (*n == cap)
            p = cn_xrealloc(p, cap *= 2);
        got = read(fd, p + *n, cap - *n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(p);
            return CN_ERR;
        }
        *n += (size_t)got;
    }
    *text = p;
    return CN_OK;
}

static cn_rc read_one(cn_pool_t *pool, cn_diag_t *d, const char *path, unsigned *count,
                      cn_input_cb *cb, void *arg)
{
    bool is_stdin = strcmp(path, "-") == 0;
    cn_source_t *src = cn_pool_zalloc(pool, sizeof(*src));
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    char *text;
    size_t n;
    cn_rc rc;

    src->name = is_stdin ? CN_STR("stdin") : cn_pool_dup(pool, cn_str_c(path));
    src->index = (*count)++;
    if (fd < 0)
        return fail(d, src);
    rc = read_fd(fd, &text, &n);
    if (!is_stdin)
        close(fd);
    if (rc != CN_OK)
        return fail(d, src);
    cb(arg, src, cn_str_make(text, n));
    free(text);
    return CN_OK;
}

static int is_manifest(const struct dirent *e)
{
    cn_str_t name = cn_str_c(e->d_name);

    return name.p[0] != '.' &&
           (cn_str_ends(name, CN_STR(".yaml")) || cn_str_ends(name, CN_STR(".yml")) ||
            cn_str_ends(name, CN_STR(".json")));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* alphasort() asks the locale */
}

cn_rc cn_input_read(cn_pool_t *pool, cn_diag_t *d, const char *path, unsigned *count,
                    cn_input_cb *cb, void *arg)
{
    struct dirent **names;
    struct stat st;
    cn_rc rc = CN_OK;
    int n;

    if (strcmp(path, "-") == 0 || stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return read_one(pool, d, path, count, cb, arg);
    n = scandir(path, &names, is_manifest, by_name);
    if (n < 0) {
        cn_diag_error(d, (cn_place_t){NULL, 0}, "cannot read %s: %s", path, strerror(errno));
        return CN_ERR;
    }
    if (n == 0)
        cn_diag_warn(d, (cn_place_t){NULL, 0}, "no .yaml, .yml or .json file in %s", path);
    for (int i = 0; i < n; i++) {
        cn_str_t file =
            cn_pool_printf(pool, "%s%s%s", path,
                           cn_str_ends(cn_str_c(path), CN_STR("/")) ? "" : "/", names[i]->d_name);

        if (rc == CN_OK)
            rc = read_one(pool, d, file.p, count, cb, arg);
        free(names[i]);
    }
    free(names);
    return rc;
}
