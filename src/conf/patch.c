/* SPDX-License-Identifier: Apache-2.0
 *
 * A generation changed in place: only the files that changed are read, only
 * the sections in them are made anew, and only what these claim is checked
 * against the rest.  So the cost follows the change, not the configuration.
 *
 * A patch owns a small generation with what comes, and views the previous one
 * for what goes; it must be merged or destroyed before that one ends.
 */
#include <stdlib.h>

#include "conf/conf_int.h"
#include "conf/section.h"

struct cn_patch {
    cn_pool_t *pool;
    cn_gen_t *gen;     /* what comes; shared sections are in it too */
    cn_map_t going[2]; /* services, clusters: name -> the section in a changed file */
    cn_vec_t clusters; /* cn_str_t */
    cn_vec_t texts;    /* cn_str_t: paths */
};

static const cn_level_t levels[2] = {CN_LV_SERVICE, CN_LV_CLUSTER};

static void add_path(cn_pool_t *pool, cn_vec_t *v, cn_str_t path)
{
    *(cn_str_t *)cn_vec_push(pool, v, sizeof(path)) = path;
}

static void to_set(cn_map_t *set, const cn_vec_t *paths)
{
    cn_str_t *v = paths->v;

    for (uint32_t i = 0; i < paths->n; i++)
        (void)cn_map_put(set, v[i], &v[i]);
}

/* ---- what goes ---- */

/* Files with sections whose texts changed, so that these are judged. */
static void add_users(cn_patch_t *p, const cn_gen_t *gen, const cn_vec_t *texts, cn_map_t *files,
                      cn_vec_t *conf)
{
    const cn_str_t *v = texts->v;

    for (uint32_t i = 0; i < texts->n; i++) {
        const cn_section_t *s;
        size_t iter = 0;

        while ((s = cn_gen_next_of_text(gen, v[i], &iter))) {
            cn_str_t file = cn_section_file(s);

            if (cn_map_put(files, file, p))
                continue;
            add_path(p->pool, conf, file);
        }
    }
}

static void find_going(cn_patch_t *p, const cn_gen_t *gen, const cn_map_t *files)
{
    cn_map_slot_t *slot;
    size_t iter = 0;

    while ((slot = cn_map_next(files, &iter))) {
        cn_section_t *s;
        size_t k = 0;

        while ((s = cn_gen_next_of_file(gen, slot->key, &k)))
            (void)cn_map_put(&p->going[s->level == CN_LV_CLUSTER], s->name, s);
    }
}

static bool touches_main(const cn_gen_t *gen, const cn_vec_t *paths)
{
    const cn_str_t *v = paths->v;

    for (uint32_t i = 0; i < paths->n; i++) {
        if (cn_gen_lists(&gen->main_files, v[i]))
            return true;
    }
    return false;
}

/* ---- what comes ---- */

static cn_rc read_files(cn_conf_t *cf, const cn_vec_t *conf)
{
    const cn_str_t *v = conf->v;

    for (uint32_t i = 0; i < conf->n; i++) {
        if (cn_gen_include(cf, v[i]) != CN_OK || cf->settings > 0)
            return CN_ERR;
    }
    return CN_OK;
}

static cn_rc read_texts(cn_conf_t *cf, const cn_vec_t *texts)
{
    const cn_str_t *v = texts->v;

    for (uint32_t i = 0; i < texts->n; i++) {
        const cn_text_t *before = cn_map_get(&cf->load->prev->texts, v[i]);
        cn_text_t *now;

        if (cn_gen_use_text(cf, v[i], before && before->secret, &now) != CN_OK)
            return CN_ERR;
    }
    return CN_OK;
}

/* Names and claims of what comes, against what stays. */
static bool fits(const cn_patch_t *p, const cn_gen_t *gen)
{
    cn_map_slot_t *slot;
    size_t iter;

    for (unsigned k = 0; k < 2; k++) {
        const cn_map_t *all = k ? &gen->clusters : &gen->services;

        iter = 0;
        while ((slot = cn_map_next(cn_gen_sections(p->gen, levels[k]), &iter))) {
            const cn_section_t *old = cn_map_get(all, slot->key);

            if (old && cn_map_get(&p->going[k], slot->key) != old)
                return false;
        }
    }
    iter = 0;
    while ((slot = cn_map_next(&p->gen->addresses, &iter))) {
        const cn_section_t *owner = cn_map_get(&gen->addresses, slot->key);

        if (owner && cn_map_get(&p->going[0], owner->name) != owner)
            return false;
    }
    return true;
}

static void list_cluster(cn_patch_t *p, cn_map_t *listed, cn_str_t name)
{
    if (cn_map_get(listed, name))
        return;
    name = cn_pool_dup(p->pool, name);
    (void)cn_map_put(listed, name, p);
    add_path(p->pool, &p->clusters, name);
}

/* Those that go, those that come, and those whose texts are others. */
static void list_clusters(cn_patch_t *p, const cn_gen_t *gen, const cn_vec_t *texts)
{
    cn_map_t listed = {0};
    const cn_map_t *sources[] = {&p->going[1], &p->gen->clusters};
    const cn_str_t *v = texts->v;

    for (unsigned i = 0; i < CN_COUNT(sources); i++) {
        cn_map_slot_t *slot;
        size_t iter = 0;

        while ((slot = cn_map_next(sources[i], &iter)))
            list_cluster(p, &listed, slot->key);
    }
    for (uint32_t i = 0; i < texts->n; i++) {
        const cn_section_t *s;
        size_t iter = 0;

        while ((s = cn_gen_next_of_text(gen, v[i], &iter)))
            if (s->level == CN_LV_CLUSTER)
                list_cluster(p, &listed, s->name);
    }
    cn_map_fini(&listed);
}

static void list_texts(cn_patch_t *p)
{
    cn_map_slot_t *slot;
    size_t iter = 0;

    while ((slot = cn_map_next(&p->gen->texts, &iter)))
        add_path(p->pool, &p->texts, slot->key);
}

/* ---- for the owner ---- */

static cn_rc make(cn_patch_t *p, const cn_conf_load_t *load, const cn_bundle_diff_t *d, bool judge)
{
    const cn_gen_t *prev = load->prev;
    cn_vec_t conf = {0};
    cn_map_t files = {0};
    cn_conf_t cf;
    cn_rc rc = cn_conf_begin(&cf, load);

    for (uint32_t i = 0; i < d->conf.n; i++)
        add_path(p->pool, &conf, ((const cn_str_t *)d->conf.v)[i]);
    to_set(&files, &conf);
    to_set(&files, &d->removed);
    if (judge) {
        add_users(p, prev, &d->texts, &files, &conf);
        add_users(p, prev, &d->lost, &files, &conf);
    }
    find_going(p, prev, &files);
    cf.gen = p->gen;
    cf.section = cf.gen->main;
    cf.main_hash = prev->main_hash;
    cf.main_done = true;
    cn_conf_scope(&cf, &cf.main, CN_LV_MAIN, cf.gen->main->confs, CN_STR_NULL, CN_STR_NULL);
    cf.scope = &cf.main;
    if (rc == CN_OK && (touches_main(prev, &conf) || touches_main(prev, &d->removed)))
        rc = CN_ERR;
    if (rc == CN_OK)
        rc = read_files(&cf, &conf);
    if (rc == CN_OK)
        rc = read_texts(&cf, &d->texts);
    cn_conf_end(&cf);
    if (rc == CN_OK && fits(p, prev)) {
        list_clusters(p, prev, &d->texts);
        list_texts(p);
    } else {
        rc = CN_DECLINE;
    }
    cn_map_fini(&files);
    return rc;
}

cn_rc cn_gen_patch(const cn_conf_load_t *load, const cn_bundle_diff_t *d, bool judge,
                   cn_patch_t **out)
{
    cn_pool_t *pool = cn_pool_exempt(cn_pool_create(0));
    cn_patch_t *p = cn_pool_zalloc(pool, sizeof(*p));

    p->pool = pool;
    p->gen = cn_gen_create(load, cn_section_ref(load->prev->main));
    if (make(p, load, d, judge) != CN_OK) {
        cn_patch_destroy(p);
        return CN_DECLINE;
    }
    *out = p;
    return CN_OK;
}

/* Takes what goes out of the maps; the references are kept in *held. */
static void take_out(cn_gen_t *gen, const cn_patch_t *p, cn_vec_t *held)
{
    for (unsigned k = 0; k < 2; k++) {
        cn_map_slot_t *slot;
        size_t iter = 0;

        while ((slot = cn_map_next(&p->going[k], &iter))) {
            cn_section_t *s = slot->value;
            const cn_claim_t *claims = s->claims.v;

            for (uint32_t i = 0; i < s->claims.n; i++)
                (void)cn_map_del(&gen->addresses, claims[i].key);
            cn_gen_remove(gen, s);
            *(cn_section_t **)cn_vec_push(p->pool, held, sizeof(s)) = s;
        }
    }
}

static void put_in(cn_gen_t *gen, const cn_patch_t *p)
{
    cn_map_slot_t *slot;
    size_t iter;

    for (unsigned k = 0; k < 2; k++) {
        iter = 0;
        while ((slot = cn_map_next(cn_gen_sections(p->gen, levels[k]), &iter)))
            cn_gen_enter(gen, cn_section_ref(slot->value));
    }
    iter = 0;
    while ((slot = cn_map_next(&p->gen->addresses, &iter)))
        (void)cn_map_put(&gen->addresses, slot->key, slot->value);
}

static void put_texts(cn_gen_t *gen, const cn_patch_t *p)
{
    cn_map_slot_t *slot;
    size_t iter = 0;

    while ((slot = cn_map_next(&p->gen->texts, &iter))) {
        cn_text_t *now = slot->value, *before = cn_map_del(&gen->texts, slot->key);

        now->refs++;
        (void)cn_map_put(&gen->texts, now->path, now);
        if (before)
            cn_gen_text_unref(before);
    }
}

static bool is_used(const cn_gen_t *gen, cn_str_t path)
{
    size_t iter = 0;

    return cn_gen_lists(&gen->main->texts, path) || cn_gen_next_of_text(gen, path, &iter);
}

/* Texts that nobody names any more. */
static void drop_texts(cn_gen_t *gen, const cn_patch_t *p, const cn_vec_t *held)
{
    cn_section_t *const *v = held->v;

    for (uint32_t i = 0; i < held->n; i++) {
        const cn_str_t *paths = v[i]->texts.v;

        for (uint32_t k = 0; k < v[i]->texts.n; k++) {
            cn_text_t *t =
                cn_map_get(&p->gen->texts, paths[k]) ? NULL : cn_map_get(&gen->texts, paths[k]);

            if (!t || is_used(gen, paths[k]))
                continue;
            (void)cn_map_del(&gen->texts, paths[k]);
            cn_gen_text_unref(t);
        }
    }
}

void cn_gen_merge(cn_gen_t *gen, const cn_patch_t *p)
{
    cn_vec_t held = {0};

    take_out(gen, p, &held);
    put_in(gen, p);
    put_texts(gen, p);
    drop_texts(gen, p, &held);
    for (uint32_t i = 0; i < held.n; i++)
        cn_section_unref(((cn_section_t **)held.v)[i]);
}

const cn_vec_t *cn_patch_clusters(const cn_patch_t *p)
{
    return &p->clusters;
}

const cn_text_t *cn_patch_text_find(const cn_patch_t *p, const cn_gen_t *gen, cn_str_t path)
{
    const cn_text_t *t = cn_gen_text_find(p->gen, path);

    return t ? t : cn_gen_text_find(gen, path);
}

const cn_vec_t *cn_patch_texts(const cn_patch_t *p)
{
    return &p->texts;
}

void cn_patch_destroy(cn_patch_t *p)
{
    if (!p)
        return;
    cn_map_fini(&p->going[0]);
    cn_map_fini(&p->going[1]);
    cn_gen_unref(p->gen);
    cn_pool_destroy(p->pool);
}
