/* SPDX-License-Identifier: Apache-2.0
 *
 * A section: the settings of all units for one block, in one pool, counted by
 * reference.  A section holds a reference to the MAIN section that its
 * settings were copied from and may point into; those that it does not change
 * are the outer block's own.
 *
 * The last reference runs, in this order: the proxy's runtime_fini, the units'
 * fini for the routes (newest first), then for the section itself.
 */
#include "conf/section.h"

#include "conf/conf_int.h"

/* First bytes for a service or a cluster: less than a plain one takes, and there are thousands. */
#define BLOCK_POOL 1024

cn_section_t *cn_section_create(const cn_units_t *units, cn_level_t level, cn_str_t name,
                                cn_str_t where, cn_section_t *parent)
{
    cn_pool_t *pool =
        cn_pool_exempt(level == CN_LV_MAIN ? cn_pool_create(0) : cn_pool_create_small(BLOCK_POOL));
    cn_section_t *s = cn_pool_zalloc(pool, sizeof(*s));

    s->refs = 1;
    s->level = level;
    s->name = cn_pool_dup(pool, name);
    s->where = cn_pool_dup(pool, where);
    s->pool = pool;
    s->units = units;
    s->parent = parent ? cn_section_ref(parent) : NULL;
    s->confs = cn_section_confs(s);
    return s;
}

void **cn_section_confs(cn_section_t *s)
{
    return cn_pool_zalloc(s->pool, s->units->n * sizeof(void *));
}

cn_section_t *cn_section_ref(cn_section_t *s)
{
    s->refs++;
    return s;
}

static const cn_conf_ops_t *ops_of(const cn_units_t *units, unsigned unit, cn_level_t level)
{
    static const cn_conf_ops_t none;

    return units->v[unit].levels ? &units->v[unit].levels[level] : &none;
}

static void fini_confs(const cn_units_t *units, cn_level_t level, void **confs)
{
    for (unsigned i = units->n; i-- > 0;) {
        const cn_conf_ops_t *ops = ops_of(units, i, level);

        if (confs[i] && ops->fini)
            ops->fini(confs[i]);
    }
}

void cn_section_unref(cn_section_t *s)
{
    cn_section_t *parent;

    if (!s)
        return;
    CN_BUG_ON(s->refs == 0);
    if (--s->refs > 0)
        return;
    if (s->runtime_fini)
        s->runtime_fini(s->runtime);
    for (uint32_t i = s->nroutes; i-- > 0;)
        fini_confs(s->units, CN_LV_ROUTE, s->routes[i].confs);
    fini_confs(s->units, s->level, s->confs);
    parent = s->parent;
    cn_pool_destroy(s->pool);
    /* MAIN has no parent: this ends after one step. */
    cn_section_unref(parent);
}

/* The nearest enclosing settings of a unit and the size of their struct. */
static const void *nearest(const cn_units_t *units, unsigned unit, cn_level_t level,
                           void **const *outer, size_t *size)
{
    for (; *outer; outer++) {
        level = level == CN_LV_ROUTE ? CN_LV_SERVICE : CN_LV_MAIN;
        if ((*outer)[unit]) {
            *size = ops_of(units, unit, level)->size;
            return (*outer)[unit];
        }
    }
    return NULL;
}

/* Settings that are all zero, for all blocks that say nothing else. */
static const char zeros[512] __attribute__((aligned(16)));

/* What a block of this level begins with when it needs no memory of its own
 * for it: its unit makes nothing, so until a directive is given there the
 * settings are the parent's, or zeros. */
static const void *shareable(const cn_conf_ops_t *ops, cn_level_t level, const void *parent,
                             size_t parent_size)
{
    const void *from = ops->init == cn_conf_zeros ? NULL : parent;

    if (level == CN_LV_MAIN || ops->done || ops->fini || (ops->init && ops->init != cn_conf_zeros))
        return NULL;
    CN_BUG_ON(from && parent_size != ops->size);
    return from ? from : ops->size <= sizeof(zeros) ? zeros : NULL;
}

cn_rc cn_conf_zeros(cn_conf_t *cf CN_UNUSED, void *conf CN_UNUSED, const void *parent CN_UNUSED)
{
    return CN_OK;
}

cn_rc cn_section_level_init(cn_conf_t *cf, cn_section_t *s, cn_level_t level, void **confs,
                            void **const *outer)
{
    for (unsigned i = 0; i < s->units->n; i++) {
        const cn_conf_ops_t *ops = ops_of(s->units, i, level);
        size_t parent_size = 0;
        const void *parent = nearest(s->units, i, level, outer, &parent_size);
        const void *shared;

        if (ops->size == 0)
            continue;
        shared = shareable(ops, level, parent, parent_size);
        confs[i] = shared ? (void *)(uintptr_t)shared : cn_pool_zalloc(s->pool, ops->size);
        if (!shared && ops->init && ops->init(cf, confs[i], parent) != CN_OK) {
            confs[i] = NULL;
            return cn_conf_error(cf, "unit \"%s\" refused to start this block",
                                 s->units->v[i].name);
        }
    }
    return CN_OK;
}

void *cn_section_own(cn_section_t *s, cn_level_t level, void **confs, unsigned unit)
{
    const void *now = confs[unit];
    bool shared = now == zeros || (s->parent && now == s->parent->confs[unit]) ||
                  (level == CN_LV_ROUTE && now == s->confs[unit]);

    if (now && shared) {
        size_t size = ops_of(s->units, unit, level)->size;

        confs[unit] = memcpy(cn_pool_alloc(s->pool, size), now, size);
    }
    return confs[unit];
}

cn_rc cn_section_level_done(cn_conf_t *cf, cn_level_t level, void **confs)
{
    const cn_units_t *units = cf->load->units;

    for (unsigned i = 0; i < units->n; i++) {
        const cn_conf_ops_t *ops = ops_of(units, i, level);

        if (confs[i] && ((ops->done && ops->done(cf, confs[i]) != CN_OK) ||
                         (ops->check && ops->check(cf, confs[i]) != CN_OK)))
            return cn_conf_error(cf, "the settings of \"%s\" were refused", units->v[i].name);
    }
    return CN_OK;
}
