/* SPDX-License-Identifier: Apache-2.0
 *
 * A section: the settings of all units for one block, in one pool, counted by
 * reference.  A section holds a reference to the MAIN section that its
 * settings were copied from and may point into.
 *
 * The last reference runs, in this order: the proxy's runtime_fini, the units'
 * fini for the routes (newest first), then for the section itself.
 */
#include "conf/section.h"

#include "conf/conf_int.h"

/* First bytes for a service or a cluster: about what a plain one takes, and there are thousands. */
#define BLOCK_POOL 2048

cn_section_t *cn_section_create(const cn_units_t *units, cn_level_t level, cn_str_t name,
                                cn_str_t where, cn_section_t *parent)
{
    cn_pool_t *pool = level == CN_LV_MAIN ? cn_pool_create(0) : cn_pool_create_small(BLOCK_POOL);
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

cn_rc cn_section_level_init(cn_conf_t *cf, cn_section_t *s, cn_level_t level, void **confs,
                            void **const *outer)
{
    for (unsigned i = 0; i < s->units->n; i++) {
        const cn_conf_ops_t *ops = ops_of(s->units, i, level);
        size_t parent_size = 0;
        const void *parent = nearest(s->units, i, level, outer, &parent_size);
        void *conf;

        if (ops->size == 0)
            continue;
        conf = cn_pool_zalloc(s->pool, ops->size);
        if (ops->init) {
            if (ops->init(cf, conf, parent) != CN_OK)
                return cn_conf_error(cf, "unit \"%s\" refused to start this block",
                                     s->units->v[i].name);
        } else if (parent) {
            CN_BUG_ON(parent_size != ops->size);
            memcpy(conf, parent, ops->size);
        }
        confs[i] = conf;
    }
    return CN_OK;
}

cn_rc cn_section_level_done(cn_conf_t *cf, cn_level_t level, void **confs)
{
    const cn_units_t *units = cf->load->units;

    for (unsigned i = 0; i < units->n; i++) {
        const cn_conf_ops_t *ops = ops_of(units, i, level);

        if (confs[i] && ops->done && ops->done(cf, confs[i]) != CN_OK)
            return cn_conf_error(cf, "the settings of \"%s\" were refused", units->v[i].name);
    }
    return CN_OK;
}
