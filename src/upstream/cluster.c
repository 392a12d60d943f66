/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters of a worker: made and changed as generations come, found by name
 * when a request is forwarded.  Owns the host sets.  Knows nothing of
 * connections; hosts that leave are marked and swept by the pools.
 */
#include <stdlib.h>

#include "core/hash.h"
#include "core/log.h"
#include "upstream/cluster.h"
#include "upstream/host.h"
#include "upstream/registry.h"

struct cn_clusters {
    cn_map_t by_name;
    const cn_lb_ops_t *const *balancers;
    unsigned nbalancers;
};

cn_clusters_t *cn_clusters_create(const cn_lb_ops_t *const *balancers, unsigned n)
{
    cn_clusters_t *cs = cn_xzalloc(sizeof(*cs));

    cn_map_init(&cs->by_name);
    cs->balancers = balancers;
    cs->nbalancers = n;
    return cs;
}

static void drop_hosts(cn_cluster_t *c)
{
    for (uint32_t i = 0; i < c->nhosts; i++) {
        c->hosts[i]->gone = true;
        cn_host_unref(c->hosts[i]);
    }
    free(c->hosts);
    c->hosts = NULL;
    c->nhosts = 0;
}

cn_cluster_t *cn_cluster_ref(cn_cluster_t *c)
{
    c->refs++;
    return c;
}

void cn_cluster_unref(cn_cluster_t *c)
{
    if (!c || --c->refs)
        return;
    if (c->lb && c->lb->destroy)
        c->lb->destroy(c->lb_ctx);
    drop_hosts(c);
    cn_section_unref(c->section);
    free(c);
}

void cn_clusters_destroy(cn_clusters_t *cs)
{
    size_t iter = 0;
    cn_map_slot_t *slot;

    if (!cs)
        return;
    while ((slot = cn_map_next(&cs->by_name, &iter)) != NULL) {
        cn_cluster_t *c = slot->value;

        for (uint32_t i = 0; i < c->nhosts; i++)
            c->hosts[i]->gone = true;
        cn_cluster_unref(c);
    }
    cn_map_fini(&cs->by_name);
    free(cs);
}

/* ---- the host set ---- */

typedef struct {
    cn_host_t **v;
    uint32_t n, cap;
} host_set_t;

static cn_host_t *take_over(cn_cluster_t *c, const cn_endpoint_t *ep)
{
    for (uint32_t i = 0; i < c->nhosts; i++)
        if (cn_host_is(c->hosts[i], ep))
            return cn_host_ref(c->hosts[i]);
    return NULL;
}

static void add_line(cn_cluster_t *c, host_set_t *set, cn_str_t line)
{
    cn_endpoint_t ep;
    cn_host_t *h;
    const char *why;

    line = cn_str_trim(line);
    if (line.n == 0 || line.p[0] == '#' || cn_endpoint_parse(line, &ep, &why) != CN_OK)
        return; /* bad lines were refused when the configuration was checked */
    h = take_over(c, &ep);
    if (!h)
        h = cn_host_create(&ep);
    h->weight = ep.weight;
    h->healthy = ep.healthy;
    if (set->n == set->cap) {
        set->cap = set->cap ? set->cap * 2 : 8;
        set->v = cn_xrealloc(set->v, set->cap * sizeof(cn_host_t *));
    }
    set->v[set->n++] = h;
}

static uint64_t endpoints_hash(const cn_cluster_conf_t *conf, cn_str_t text)
{
    uint64_t hash = cn_hash_xxh(text, 1);

    for (uint32_t i = 0; i < conf->inline_endpoints.n; i++)
        hash = cn_hash_xxh(((const cn_str_t *)conf->inline_endpoints.v)[i], hash);
    return hash;
}

static void set_hosts(cn_cluster_t *c, cn_str_t text)
{
    host_set_t set = {0};
    cn_str_t line;

    while (cn_str_split(&text, '\n', &line))
        add_line(c, &set, line);
    for (uint32_t i = 0; i < c->conf->inline_endpoints.n; i++)
        add_line(c, &set, ((const cn_str_t *)c->conf->inline_endpoints.v)[i]);
    drop_hosts(c);
    c->hosts = set.v;
    c->nhosts = set.n;
    for (uint32_t i = 0; i < set.n; i++)
        set.v[i]->gone = false;
}

/* ---- generations ---- */

static const cn_lb_ops_t *find_balancer(const cn_clusters_t *cs, cn_str_t name)
{
    for (unsigned i = 0; i < cs->nbalancers; i++)
        if (cn_str_eq(cn_str_c(cs->balancers[i]->name), name))
            return cs->balancers[i];
    return NULL;
}

static void use_section(cn_clusters_t *cs, cn_cluster_t *c, cn_section_t *section)
{
    const cn_lb_ops_t *lb;

    cn_section_unref(c->section);
    c->section = cn_section_ref(section);
    c->conf = section->confs[CN_UNIT_UPSTREAM];
    lb = find_balancer(cs, c->conf->lb);
    if (lb != c->lb) {
        if (c->lb && c->lb->destroy)
            c->lb->destroy(c->lb_ctx);
        c->lb = lb;
        c->lb_ctx = NULL;
        c->hosts_hash = 0;
    }
}

static void update_cluster(cn_clusters_t *cs, cn_cluster_t *c, cn_section_t *section, cn_str_t text)
{
    uint64_t hash;

    if (c->section != section)
        use_section(cs, c, section);
    hash = endpoints_hash(c->conf, text);
    if (hash == c->hosts_hash)
        return;
    c->hosts_hash = hash;
    set_hosts(c, text);
    if (c->lb && c->lb->build)
        c->lb_ctx = c->lb->build(c, c->lb_ctx);
}

/* Clusters that the generation does not know any more. */
static void remove_others(cn_clusters_t *cs, const cn_gen_t *gen)
{
    cn_map_slot_t *slot;
    size_t iter = 0;
    cn_cluster_t **gone = NULL;
    size_t n = 0;

    gone = cn_xmalloc((cs->by_name.used + 1) * sizeof(cn_cluster_t *));
    while ((slot = cn_map_next(&cs->by_name, &iter)) != NULL)
        if (!cn_map_get(&gen->clusters, slot->key))
            gone[n++] = slot->value;
    for (size_t i = 0; i < n; i++) {
        cn_map_del(&cs->by_name, gone[i]->section->name);
        for (uint32_t k = 0; k < gone[i]->nhosts; k++)
            gone[i]->hosts[k]->gone = true;
        cn_cluster_unref(gone[i]);
    }
    free(gone);
}

void cn_clusters_update(cn_clusters_t *cs, const cn_gen_t *gen)
{
    cn_map_slot_t *slot;
    size_t iter = 0;

    remove_others(cs, gen);
    while ((slot = cn_map_next(&gen->clusters, &iter)) != NULL) {
        cn_section_t *section = slot->value;
        const cn_cluster_conf_t *conf = section->confs[CN_UNIT_UPSTREAM];
        cn_cluster_t *c = cn_map_get(&cs->by_name, section->name);

        if (!c) {
            c = cn_xzalloc(sizeof(*c));
            c->refs = 1;
        } else {
            cn_map_del(&cs->by_name, c->section->name); /* the key is the old section's */
        }
        update_cluster(cs, c, section,
                       conf->endpoints.n ? cn_gen_text(gen, conf->endpoints) : CN_STR_NULL);
        cn_map_put(&cs->by_name, section->name, c);
    }
}

cn_cluster_t *cn_clusters_find(cn_clusters_t *cs, cn_str_t name)
{
    return cn_map_get(&cs->by_name, name);
}

cn_cluster_t *cn_clusters_next(cn_clusters_t *cs, size_t *iter)
{
    cn_map_slot_t *slot = cn_map_next(&cs->by_name, iter);

    return slot ? slot->value : NULL;
}
