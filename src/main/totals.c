/* SPDX-License-Identifier: Apache-2.0
 *
 * Making, taking over and handing over the statistics' memory.  The file cannot
 * shrink under a process that maps it; anything else of what an environment
 * names is checked, for it may be stale.
 */
#include "main/totals.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/str.h"
#include "stats/series.h"

static void *map(int fd, size_t n)
{
    void *mem = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);

    return mem == MAP_FAILED ? NULL : mem;
}

static cn_rc create(cn_totals_t *t, unsigned slots, size_t slot_bytes)
{
    t->fd = memfd_create("cairn-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (t->fd < 0)
        return CN_ERR;
    if (ftruncate(t->fd, (off_t)t->size) == 0 &&
        fcntl(t->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0)
        t->mem = map(t->fd, t->size);
    if (!t->mem) {
        close(t->fd);
        return CN_ERR;
    }
    cn_stats_sides_init(t->mem, slots, slot_bytes);
    t->first = 0;
    return CN_OK;
}

static bool is_ours(int fd, size_t size)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & F_SEAL_SHRINK) && fstat(fd, &st) == 0 &&
           (size_t)st.st_size == size;
}

static cn_rc inherit(cn_totals_t *t, const char *env, unsigned slots, size_t slot_bytes)
{
    uint64_t fd;
    int first = -1;
    void *mem = NULL;

    if (cn_str_u64(cn_str_c(env), INT32_MAX, &fd) != CN_OK || fd <= 2)
        return CN_DECLINE;
    if (is_ours((int)fd, t->size) && fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0)
        mem = map((int)fd, t->size);
    if (mem)
        first = cn_stats_side_find(mem, t->size, slots, slot_bytes);
    if (first >= 0) {
        t->fd = (int)fd;
        t->mem = mem;
        t->first = (unsigned)first;
        return CN_OK;
    }
    if (mem) {
        munmap(mem, t->size);
        close((int)fd);
    }
    return CN_DECLINE;
}

cn_rc cn_totals_open(cn_totals_t *t, const char *env, unsigned slots, size_t slot_bytes)
{
    t->slots = slots;
    t->slot_bytes = slot_bytes;
    t->size = cn_stats_region_size(slots * CN_STATS_SIDES, slot_bytes);
    if (env && inherit(t, env, slots, slot_bytes) == CN_OK)
        return CN_OK;
    if (env)
        cn_log(CN_LOG_NOTICE, "master",
               "the statistics of the older binary are of another shape: counters begin at 0");
    return create(t, slots, slot_bytes);
}

cn_rc cn_totals_export(const cn_totals_t *t)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", t->fd);
    return fcntl(t->fd, F_SETFD, 0) == 0 && setenv(CN_TOTALS_ENV, text, 1) == 0 ? CN_OK : CN_ERR;
}

bool cn_totals_has_room(const cn_totals_t *t)
{
    return cn_stats_side_find(t->mem, t->size, t->slots, t->slot_bytes) >= 0;
}

void cn_totals_close(cn_totals_t *t)
{
    if (!t->mem)
        return;
    munmap(t->mem, t->size);
    close(t->fd);
    *t = (cn_totals_t){0};
}
