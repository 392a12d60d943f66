/* SPDX-License-Identifier: Apache-2.0
 *
 * Hosts by how near they are to where a request comes from, and how much of the
 * load each level takes when hosts are missing (Envoy's priority levels with an
 * overprovisioning factor of 1.4, and its locality weights).
 *
 * A view is made when a place is first seen and lives until the host set
 * changes; there are only so many at once.
 */
#include "lb_int.h"

#include <stdlib.h>

#define LEVELS_MAX 32u
#define VIEWS_MIN 8u
#define VIEWS_MAX 256u
/* Pointers to hosts that all views of a cluster may hold. */
#define POINTERS_MAX (1u << 18)
#define OVERPROVISION 140u /* of a hundred */

/* ---- places ---- */

void cn_lb_view_origin(const cn_lb_conf_t *c, const cn_pick_t *pick, cn_lb_place_t *o)
{
    const cn_workload_t *client;

    *o = c->here;
    if (!pick->req)
        return;
    o->network = cn_worker_network(cn_req_worker(pick->req)); /* clients are on ours */
    if (c->origin_waypoint)
        return;
    client = cn_req_facts(pick->req)->source;
    if (!client || (client->locality.n == 0 && client->node.n == 0))
        return;
    o->locality = (cn_locality_t){0};
    if (client->locality.n && cn_locality_parse(client->locality, &o->locality) != CN_OK)
        o->locality = c->here.locality; /* refused when the pods were read */
    o->node = client->node;
    o->labels = CN_STR_NULL;
    o->app = client->app;
    o->version = client->version;
    o->canonical_name = client->canonical_name;
    o->canonical_revision = client->canonical_revision;
}

static uint64_t place_key(const cn_lb_place_t *o)
{
    const cn_str_t parts[] = {
        o->locality.region, o->locality.zone,  o->locality.subzone,  o->node, o->app,
        o->version,         o->canonical_name, o->canonical_revision};
    uint64_t key = 1;

    for (size_t i = 0; i < CN_COUNT(parts); i++)
        key = cn_hash_xxh(parts[i], key + parts[i].n);
    return key;
}

/* ---- levels ---- */

/* A host of no network is on ours. */
static bool same_network(const cn_lb_place_t *o, const cn_host_t *h)
{
    return h->place->network.n == 0 || cn_str_eq(h->place->network, o->network);
}

static bool same(cn_str_t a, cn_str_t b)
{
    return a.n > 0 && cn_str_eq(a, b);
}

static bool topology_agrees(cn_str_t word, const cn_lb_place_t *o, const cn_host_t *h)
{
    if (cn_str_eq(word, CN_STR("network")))
        return same_network(o, h);
    if (cn_str_eq(word, CN_STR("region")))
        return same(o->locality.region, h->place->locality.region);
    /* an empty zone is a zone, in a region that is known */
    if (cn_str_eq(word, CN_STR("zone")))
        return o->locality.region.n && cn_str_eq(o->locality.zone, h->place->locality.zone);
    if (cn_str_eq(word, CN_STR("subzone")))
        return o->locality.region.n && cn_str_eq(o->locality.subzone, h->place->locality.subzone);
    return same(o->node, h->place->node);
}

/* Labels that are the names of places. */
static cn_str_t topology_word(cn_str_t label)
{
    static const struct {
        const char *label, *word;
    } names[] = {{"topology.kubernetes.io/region", "region"},
                 {"topology.kubernetes.io/zone", "zone"},
                 {"topology.istio.io/subzone", "subzone"},
                 {"topology.istio.io/network", "network"},
                 {"kubernetes.io/hostname", "node"}};

    for (size_t i = 0; i < CN_COUNT(names); i++)
        if (cn_str_eq(label, cn_str_c(names[i].label)))
            return cn_str_c(names[i].word);
    return CN_STR_NULL;
}

static cn_str_t own_label(const cn_lb_place_t *o, cn_str_t key)
{
    if (cn_str_eq(key, CN_STR("app")) && o->app.n)
        return o->app;
    if (cn_str_eq(key, CN_STR("version")) && o->version.n)
        return o->version;
    if (cn_str_eq(key, CN_STR("service.istio.io/canonical-name")) && o->canonical_name.n)
        return o->canonical_name;
    if (cn_str_eq(key, CN_STR("service.istio.io/canonical-revision")) && o->canonical_revision.n)
        return o->canonical_revision;
    return cn_host_labels_get(o->labels, key);
}

/* KEY=VALUE: the host has it; KEY: the host has the same as the origin. */
static bool label_agrees(cn_str_t label, const cn_lb_place_t *o, const cn_host_t *h)
{
    cn_str_t word = topology_word(label), key, value;

    if (word.n)
        return topology_agrees(word, o, h);
    if (!cn_conf_keyval(label, &key, &value))
        return same(own_label(o, label), cn_host_labels_get(h->place->labels, label));
    word = topology_word(key);
    if (word.n == 0)
        return cn_host_labels_have(h->place->labels, label);
    cn_lb_place_t there = {.locality = {value, value, value}, .node = value, .network = value};
    return topology_agrees(word, &there, h);
}

/* As many levels as there are words that do not agree from the first such one on. */
static unsigned level_by_words(const cn_lb_conf_t *c, const cn_lb_place_t *o, const cn_host_t *h)
{
    const cn_str_t *words = c->words.v;
    uint32_t i = 0;

    while (i < c->words.n && (c->locality == CN_LB_PREFER ? topology_agrees(words[i], o, h)
                                                          : label_agrees(words[i], o, h)))
        i++;
    return c->words.n - i;
}

static unsigned level_by_failover(const cn_lb_conf_t *c, const cn_lb_place_t *o, const cn_host_t *h)
{
    const cn_str_t *words = c->words.v;
    unsigned common = cn_locality_common(&o->locality, &h->place->locality);

    if (common)
        return 3 - common;
    for (uint32_t i = 0; i + 1 < c->words.n; i += 2)
        if (same(o->locality.region, words[i]))
            return cn_str_eq(h->place->locality.region, words[i + 1]) ? 3 : 4;
    return 3;
}

static unsigned level_of(const cn_lb_conf_t *c, const cn_lb_place_t *o, const cn_host_t *h)
{
    switch (c->locality) {
    case CN_LB_PREFER:
    case CN_LB_PRIORITY:
        return level_by_words(c, o, h);
    case CN_LB_FAILOVER:
        return level_by_failover(c, o, h);
    default:
        return 0;
    }
}

/* ---- shares ---- */

static bool part_fits(cn_str_t pattern, cn_str_t part)
{
    return pattern.n == 0 || cn_str_eq(pattern, CN_STR("*")) || cn_str_eq(pattern, part);
}

static bool fits(const cn_locality_t *pattern, const cn_locality_t *l)
{
    return part_fits(pattern->region, l->region) && part_fits(pattern->zone, l->zone) &&
           part_fits(pattern->subzone, l->subzone);
}

static const cn_lb_split_t *split_of(const cn_lb_conf_t *c, const cn_lb_place_t *o)
{
    const cn_lb_split_t *v = c->splits.v;

    for (uint32_t i = 0; i < c->splits.n; i++)
        if (o->locality.region.n && fits(&v[i].from, &o->locality))
            return &v[i];
    return NULL;
}

/* The number of the share that the host belongs to; n: to none. */
static uint32_t share_of(const cn_lb_split_t *split, const cn_host_t *h)
{
    const cn_lb_share_t *v = split->shares.v;
    uint32_t i = 0;

    while (i < split->shares.n && !fits(&v[i].to, &h->place->locality))
        i++;
    return i;
}

/* ---- making a view ---- */

static void init_level(cn_lb_level_t *l, unsigned ngroups, uint32_t cap)
{
    *l = (cn_lb_level_t){.groups = cn_xzalloc(ngroups * sizeof(cn_lb_group_t)), .ngroups = ngroups};
    for (unsigned i = 0; i < ngroups; i++) {
        cn_lb_set_init(&l->groups[i].set, cap);
        l->groups[i].weight = 1;
    }
}

static void add_host(cn_lb_level_t *l, uint32_t group, cn_host_t *h)
{
    cn_lb_group_t *g = &l->groups[group];

    l->total++;
    g->total++;
    cn_lb_set_add(&g->set, h);
}

/* internalTrafficPolicy: Local knows nothing but the node. */
static bool takes_part(const cn_lb_t *lb, const cn_lb_place_t *o, const cn_host_t *h)
{
    return h->weight && (!lb->conf->local || same(o->node, h->place->node));
}

static void make_shares(const cn_lb_t *lb, const cn_lb_place_t *o, const cn_lb_split_t *split,
                        cn_lb_view_t *v)
{
    const cn_cluster_t *c = lb->cluster;
    cn_lb_level_t *l = &v->levels[v->nlevels++];

    init_level(l, split->shares.n, c->nhosts);
    for (uint32_t i = 0; i < split->shares.n; i++)
        l->groups[i].weight = ((const cn_lb_share_t *)split->shares.v)[i].weight;
    for (uint32_t i = 0; i < c->nhosts; i++) {
        uint32_t share = share_of(split, c->hosts[i]);

        if (share < split->shares.n && takes_part(lb, o, c->hosts[i]))
            add_host(l, share, c->hosts[i]);
    }
}

/* Levels without hosts are left out: priorities count from the first that has one. */
static void make_levels(const cn_lb_t *lb, const cn_lb_place_t *o, cn_lb_view_t *v)
{
    const cn_cluster_t *c = lb->cluster;
    uint32_t count[LEVELS_MAX + 1] = {0};
    unsigned number[LEVELS_MAX + 1];

    for (uint32_t i = 0; i < c->nhosts; i++)
        if (takes_part(lb, o, c->hosts[i]))
            count[level_of(lb->conf, o, c->hosts[i])]++;
    for (unsigned i = 0; i <= LEVELS_MAX; i++) {
        number[i] = v->nlevels;
        if (count[i])
            init_level(&v->levels[v->nlevels++], 1, count[i]);
    }
    for (uint32_t i = 0; i < c->nhosts; i++)
        if (takes_part(lb, o, c->hosts[i]))
            add_host(&v->levels[number[level_of(lb->conf, o, c->hosts[i])]], 0, c->hosts[i]);
}

static void make_tables(const cn_lb_t *lb, cn_lb_group_t *g)
{
    cn_lb_set_t healthy;

    if (lb->kind != CN_LB_RING_HASH && lb->kind != CN_LB_MAGLEV)
        return;
    cn_lb_set_init(&healthy, g->set.nall);
    for (uint32_t i = 0; i < g->set.nall; i++)
        if (g->set.all[i]->healthy)
            cn_lb_set_add(&healthy, g->set.all[i]);
    g->table = lb->kind == CN_LB_MAGLEV
                   ? cn_lb_table_maglev(&healthy, lb->conf->table)
                   : cn_lb_table_ring(&healthy, lb->conf->ring_min, lb->conf->ring_max);
    cn_lb_set_fini(&healthy);
}

static cn_lb_view_t *make_view(cn_lb_t *lb, uint64_t key, const cn_lb_place_t *o)
{
    const cn_lb_split_t *split =
        lb->conf->locality == CN_LB_DISTRIBUTE ? split_of(lb->conf, o) : NULL;
    cn_lb_view_t *v = cn_xzalloc(sizeof(*v));

    v->key = key;
    v->levels = cn_xzalloc((LEVELS_MAX + 1) * sizeof(cn_lb_level_t));
    if (split)
        make_shares(lb, o, split, v);
    else
        make_levels(lb, o, v);
    for (unsigned i = 0; i < v->nlevels; i++)
        for (unsigned k = 0; k < v->levels[i].ngroups; k++) {
            cn_lb_set_t *s = &v->levels[i].groups[k].set;

            s->next = lb->turn;
            s->started = lb->turned;
            make_tables(lb, &v->levels[i].groups[k]);
        }
    return v;
}

void cn_lb_view_destroy(cn_lb_view_t *v)
{
    if (!v)
        return;
    for (unsigned i = 0; i < v->nlevels; i++) {
        for (unsigned k = 0; k < v->levels[i].ngroups; k++) {
            cn_lb_set_fini(&v->levels[i].groups[k].set);
            cn_lb_table_destroy(v->levels[i].groups[k].table);
        }
        free(v->levels[i].groups);
    }
    free(v->levels);
    free(v);
}

/* ---- loads ---- */

static uint32_t share(uint64_t part, uint64_t whole)
{
    uint64_t n = whole ? part * OVERPROVISION / whole : 0;

    return (uint32_t)(n < 100 ? n : 100);
}

static uint32_t fill_groups(cn_lb_level_t *l, const cn_lb_ask_t *ask)
{
    cn_lb_ask_t any = *ask;
    uint32_t usable = 0;

    any.panic = l->panic;
    any.fresh_only = false;
    for (unsigned i = 0; i < l->ngroups; i++) {
        cn_lb_group_t *g = &l->groups[i];

        cn_lb_set_fill(&g->set, &any);
        usable += g->set.n;
        g->effective = (uint64_t)g->weight * share(g->set.n, g->total);
    }
    return usable;
}

/* Each level takes what its health allows of what those before it left; what
 * is left over by rounding goes to the first that takes anything. */
static void spread(cn_lb_view_t *v, const uint32_t *health, uint32_t total)
{
    uint32_t left = 100;

    for (unsigned i = 0; i < v->nlevels; i++) {
        uint32_t part = total ? health[i] * 100 / total : 0;

        v->levels[i].load = part < left ? part : left;
        left -= v->levels[i].load;
    }
    for (unsigned i = 0; i < v->nlevels && total; i++)
        if (health[i]) {
            v->levels[i].load += left;
            return;
        }
}

/* All are in panic and none is healthy: by number of hosts. */
static void spread_in_panic(cn_lb_view_t *v)
{
    uint32_t health[LEVELS_MAX + 1], total = 0;

    for (unsigned i = 0; i < v->nlevels; i++)
        total += v->levels[i].total;
    for (unsigned i = 0; i < v->nlevels; i++)
        health[i] = (uint32_t)((uint64_t)v->levels[i].total * 100 / total);
    spread(v, health, 100);
}

static void weigh_levels(cn_lb_view_t *v, const cn_lb_ask_t *ask)
{
    uint32_t health[LEVELS_MAX + 1], usable[LEVELS_MAX + 1], total = 0;
    bool all_panic = v->nlevels > 0;

    for (unsigned i = 0; i < v->nlevels; i++) {
        v->levels[i].panic = false;
        usable[i] = fill_groups(&v->levels[i], ask);
        health[i] = share(usable[i], v->levels[i].total);
        total += health[i];
    }
    total = total < 100 ? total : 100;
    for (unsigned i = 0; i < v->nlevels; i++) {
        cn_lb_level_t *l = &v->levels[i];

        l->panic =
            total < 100 && (uint64_t)usable[i] * 100 < (uint64_t)l->total * v->look.panic_percent;
        if (l->panic)
            fill_groups(l, ask);
        all_panic = all_panic && l->panic;
    }
    if (total == 0 && all_panic)
        spread_in_panic(v);
    else
        spread(v, health, total);
}

/* ---- finding a view ---- */

static cn_lb_view_t *find_view(cn_lb_t *lb, const cn_lb_place_t *o)
{
    bool places = lb->conf->locality != CN_LB_ANYWHERE || lb->conf->local;
    uint64_t key = places ? place_key(o) : 0;
    cn_lb_view_t *v;

    for (unsigned i = 0; i < lb->nviews; i++)
        if (lb->views[i]->key == key)
            return lb->views[i];
    v = make_view(lb, key, o);
    if (!lb->views) {
        uint32_t n = POINTERS_MAX / (lb->cluster->nhosts + 1);

        lb->max_views = n < VIEWS_MIN ? VIEWS_MIN : n > VIEWS_MAX ? VIEWS_MAX : n;
        lb->views = cn_xzalloc(lb->max_views * sizeof(cn_lb_view_t *));
    }
    if (lb->nviews < lb->max_views) {
        lb->views[lb->nviews++] = v;
        return v;
    }
    lb->next_out = (lb->next_out + 1) % lb->nviews;
    cn_lb_view_destroy(lb->views[lb->next_out]);
    lb->views[lb->next_out] = v;
    return v;
}

cn_lb_view_t *cn_lb_view_get(cn_lb_t *lb, const cn_lb_place_t *o, const cn_lb_ask_t *ask)
{
    cn_lb_view_t *v = find_view(lb, o);
    cn_cluster_look_t look = cn_cluster_look(lb->cluster, ask->pick);

    if (v->known && v->look.epoch == look.epoch && v->look.panic_percent == look.panic_percent)
        return v;
    v->known = true;
    v->look = look;
    weigh_levels(v, ask);
    return v;
}
