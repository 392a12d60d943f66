/* SPDX-License-Identifier: Apache-2.0
 *
 * The modules' shared memory.  What is kept here (addresses, sizes) is in the
 * process's own memory: workers can write anything into the regions.
 */
#include "proxy/shared.h"

#include <stdlib.h>

#include "core/log.h"

typedef struct {
    const cn_shm_def_t *def;
    const char *module;
    unsigned unit;
    void *mem;
    size_t size;
} region_t;

struct cn_shared {
    cn_shm_t *own; /* NULL: the memory is the creator's */
    unsigned slots;
    unsigned n;
    region_t v[];
};

static size_t size_of(const region_t *r, const cn_gen_t *gen, unsigned slots)
{
    return r->def->size(gen->main->confs[r->unit], slots);
}

static unsigned count_defs(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < cn_nmodules; i++)
        for (const cn_shm_def_t *d = cn_modules[i]->shm; d && d->name; d++)
            n++;
    return n;
}

static cn_shared_t *list_regions(unsigned slots)
{
    cn_shared_t *s = cn_xzalloc(sizeof(*s) + count_defs() * sizeof(region_t));

    s->slots = slots;
    for (unsigned i = 0; i < cn_nmodules; i++)
        for (const cn_shm_def_t *d = cn_modules[i]->shm; d && d->name; d++)
            s->v[s->n++] =
                (region_t){.def = d, .module = cn_modules[i]->name, .unit = CN_UNIT_MODULES + i};
    return s;
}

size_t cn_shared_need(const cn_gen_t *gen, unsigned slots)
{
    cn_shared_t *s = list_regions(slots);
    size_t need = 0;

    for (unsigned i = 0; i < s->n; i++)
        need += cn_shm_need(size_of(&s->v[i], gen, slots));
    free(s);
    return need;
}

cn_rc cn_shared_create(cn_shm_t *shm, const cn_gen_t *gen, unsigned slots, cn_shared_t **out)
{
    cn_shared_t *s = list_regions(slots);

    if (!shm && s->n > 0 && cn_shm_create(cn_shared_need(gen, slots), &s->own) != CN_OK) {
        free(s);
        return CN_ERR;
    }
    for (unsigned i = 0; i < s->n; i++) {
        region_t *r = &s->v[i];

        r->size = size_of(r, gen, slots);
        r->mem = cn_shm_add(shm ? shm : s->own, r->def->name, r->size);
        CN_BUG_ON(!r->mem); /* the room was asked for, names are constants */
    }
    *out = s;
    return CN_OK;
}

void cn_shared_destroy(cn_shared_t *s)
{
    if (!s)
        return;
    cn_shm_destroy(s->own);
    free(s);
}

static cn_shm_view_t view_of(const cn_shared_t *s, const region_t *r, unsigned slot)
{
    return (cn_shm_view_t){.mem = r->mem, .size = r->size, .slots = s->slots, .slot = slot};
}

cn_shm_view_t cn_shared_view(const cn_shared_t *s, const cn_shm_def_t *def, unsigned slot)
{
    CN_BUG_ON(slot >= s->slots);
    for (unsigned i = 0; i < s->n; i++)
        if (s->v[i].def == def)
            return view_of(s, &s->v[i], slot);
    return (cn_shm_view_t){0};
}

void cn_shared_worker_gone(const cn_shared_t *s, unsigned slot)
{
    for (unsigned i = 0; i < s->n; i++) {
        const region_t *r = &s->v[i];
        cn_shm_view_t view = view_of(s, r, slot);

        if (r->def->worker_gone)
            r->def->worker_gone(&view);
    }
}

void cn_shared_compare(const cn_shared_t *s, const cn_gen_t *gen)
{
    for (unsigned i = 0; i < s->n; i++) {
        const region_t *r = &s->v[i];
        size_t want = size_of(r, gen, s->slots);

        if (want != r->size)
            cn_log(CN_LOG_WARN, "master",
                   "shared memory %s (module %s) keeps its %zu bytes, the configuration asks for "
                   "%zu: restart or upgrade the master for the new size",
                   r->def->name, r->module, r->size, want);
    }
}
