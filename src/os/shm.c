/* SPDX-License-Identifier: Apache-2.0
 *
 * One anonymous shared mapping with a directory at its start.  Offsets, not
 * pointers, are stored, and find() checks them against the mapping's size: a
 * worker that has lost its mind may write anywhere in here.  The size itself is
 * kept outside of what workers can write, in the process's own handle.
 */
#include "os/shm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/pool.h"

#define LAYOUT 1u
#define LINE 64u

typedef struct {
    char name[CN_SHM_NAME];
    uint64_t off, size;
} region_t;

typedef struct {
    uint32_t layout, n;
    region_t v[CN_SHM_REGIONS];
} dir_t;

struct cn_shm {
    dir_t *dir; /* start of the mapping */
    size_t size;
    size_t used;
};

static size_t round_up(size_t n)
{
    return (n + LINE - 1) / LINE * LINE;
}

size_t cn_shm_need(size_t n)
{
    return round_up(n);
}

cn_rc cn_shm_create(size_t bytes, cn_shm_t **out)
{
    size_t size = round_up(sizeof(dir_t)) + round_up(bytes);
    void *mem =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mem == MAP_FAILED)
        return CN_ERR;
    cn_shm_t *s = cn_xzalloc(sizeof(*s));
    s->dir = mem;
    s->size = size;
    s->used = round_up(sizeof(dir_t));
    s->dir->layout = LAYOUT;
    *out = s;
    return CN_OK;
}

void cn_shm_destroy(cn_shm_t *s)
{
    if (!s)
        return;
    munmap(s->dir, s->size);
    free(s);
}

void *cn_shm_add(cn_shm_t *s, const char *name, size_t n)
{
    size_t need = round_up(n);

    CN_BUG_ON(strlen(name) >= CN_SHM_NAME);
    if (s->dir->n == CN_SHM_REGIONS || need > s->size - s->used)
        return NULL;
    region_t *r = &s->dir->v[s->dir->n++];
    memcpy(r->name, name, strlen(name) + 1);
    r->off = s->used;
    r->size = n;
    s->used += need;
    return (char *)s->dir + r->off;
}

void *cn_shm_find(const cn_shm_t *s, const char *name, size_t n)
{
    if (s->dir->layout != LAYOUT)
        return NULL;
    for (uint32_t i = 0; i < s->dir->n && i < CN_SHM_REGIONS; i++) {
        const region_t *r = &s->dir->v[i];
        if (strncmp(r->name, name, CN_SHM_NAME) != 0)
            continue;
        if (r->size != n || r->off > s->size || n > s->size - r->off)
            return NULL;
        return (char *)s->dir + r->off;
    }
    return NULL;
}
