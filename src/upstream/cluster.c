/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters of a worker: made and changed as generations come, found by name
 * when a request is forwarded.  Owns the host sets.  Knows nothing of
 * connections; hosts that leave are marked and told to whoever asked, and are
 * the same again when they come back before what runs on them has ended.
 */
#include <stdlib.h>

#include "core/hash.h"
#include "core/log.h"
#include "upstream/cluster.h"
#include "upstream/host.h"
#include "upstream/leaves.h"
#include "upstream/registry.h"

#define PASSED_MAX 1024u

struct cn_clusters {
    cn_map_t by_name;
    const cn_balancer_t *balancers;
    unsigned nbalancers;
    const cn_gen_t *gen;   /* of the last update; its holder keeps it until the next */
    cn_host_left_cb *left; /* NULL: nobody wants to know */
    void *left_ctx;
    cn_cluster_seen_cb *seen;
    void *seen_ctx;
    cn_leaves_t leaves;
    uint32_t departures; /* so far */
};

cn_clusters_t *cn_clusters_create(const cn_balancer_t *balancers, unsigned n)
{
    cn_clusters_t *cs = cn_xzalloc(sizeof(*cs));

    cn_map_init(&cs->by_name);
    cn_leaves_init(&cs->leaves);
    cs->balancers = balancers;
    cs->nbalancers = n;
    return cs;
}

void cn_clusters_on_left(cn_clusters_t *cs, cn_host_left_cb *fn, void *ctx)
{
    cs->left = fn;
    cs->left_ctx = ctx;
}

void cn_clusters_on_seen(cn_clusters_t *cs, cn_cluster_seen_cb *fn, void *ctx)
{
    cs->seen = fn;
    cs->seen_ctx = ctx;
}

static void tell_seen(const cn_clusters_t *cs, cn_cluster_t *c, const cn_gen_t *gen)
{
    if (cs->seen)
        cs->seen(cs->seen_ctx, c, gen);
}

typedef struct {
    cn_host_t **v;
    uint32_t n, cap;
} host_set_t;

static void mark_gone(const host_set_t *set)
{
    for (uint32_t i = 0; i < set->n; i++)
        set->v[i]->gone = true;
}

static void depart(cn_clusters_t *cs, const cn_cluster_t *c, cn_host_t *h)
{
    uint64_t due;

    h->left = ++cs->departures;
    if (h->left == 0)
        h->left = ++cs->departures;
    due = cs->left ? cs->left(cs->left_ctx, c, h) : 0;
    if (due)
        cn_leaves_add(&cs->leaves, c->section->name, h, due);
}

/* Those of the set that take no requests from now on. */
static void report_left(cn_clusters_t *cs, const cn_cluster_t *c, const host_set_t *set)
{
    for (uint32_t i = 0; i < set->n; i++)
        if (cn_host_is_out(set->v[i]) && !set->v[i]->left)
            depart(cs, c, set->v[i]);
}

static void mark_present(const host_set_t *set)
{
    for (uint32_t i = 0; i < set->n; i++) {
        cn_host_t *h = set->v[i];

        h->gone = false;
        if (cn_host_is_out(h))
            continue;
        h->left = 0;
        h->cut = false;
    }
}

bool cn_clusters_cut(cn_clusters_t *cs, uint64_t now, uint64_t *next)
{
    return cn_leaves_cut(&cs->leaves, now, next);
}

static void drop_hosts(host_set_t *set)
{
    for (uint32_t i = 0; i < set->n; i++)
        cn_host_unref(set->v[i]);
    free(set->v);
}

static host_set_t hosts_of(const cn_cluster_t *c)
{
    return (host_set_t){c->hosts, c->nhosts, c->nhosts};
}

/* The caller frees the array. */
static host_set_t passed_of(const cn_cluster_t *c)
{
    host_set_t set = {.v = cn_xmalloc((c->passed.used + 1) * sizeof(cn_host_t *))};
    const cn_map_slot_t *slot;
    size_t iter = 0;

    while ((slot = cn_map_next(&c->passed, &iter)) != NULL)
        set.v[set.n++] = slot->value;
    return set;
}

cn_cluster_t *cn_cluster_ref(cn_cluster_t *c)
{
    c->refs++;
    return c;
}

void cn_cluster_unref(cn_cluster_t *c)
{
    host_set_t set;

    if (!c || --c->refs)
        return;
    if (c->lb && c->lb->destroy)
        c->lb->destroy(c->lb_ctx);
    set = hosts_of(c); /* gone already, or back in another cluster of this name */
    drop_hosts(&set);
    set = passed_of(c);
    drop_hosts(&set);
    cn_map_fini(&c->passed);
    free((void *)(uintptr_t)c->resolved.p);
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
        host_set_t set = hosts_of(c);

        mark_gone(&set);
        cn_cluster_unref(c);
    }
    cn_map_fini(&cs->by_name);
    cn_leaves_fini(&cs->leaves);
    free(cs);
}

/* ---- the host set ---- */

/* The hosts there were, by address: sets of thousands change all day long. */
typedef struct {
    cn_host_t **slots; /* open addressing, at most half full */
    size_t mask;
} host_index_t;

static host_index_t index_hosts(const host_set_t *set)
{
    host_index_t ix = {NULL, 1};

    while (ix.mask + 1 < 2 * (size_t)set->n)
        ix.mask = ix.mask * 2 + 1;
    ix.slots = cn_xzalloc((ix.mask + 1) * sizeof(cn_host_t *));
    for (uint32_t i = 0; i < set->n; i++) {
        size_t at = cn_host_hash(&set->v[i]->addr) & ix.mask;

        while (ix.slots[at])
            at = (at + 1) & ix.mask;
        ix.slots[at] = set->v[i];
    }
    return ix;
}

static cn_host_t *take_over(const host_index_t *old, const cn_endpoint_t *ep)
{
    size_t at = cn_host_hash(&ep->addr) & old->mask;

    for (; old->slots[at]; at = (at + 1) & old->mask)
        if (cn_host_is(old->slots[at], ep))
            return cn_host_ref(old->slots[at]);
    return NULL;
}

/* The hosts that a line may mean: those there were, and those that left and
 * have not ended yet. */
static host_index_t index_known(const cn_clusters_t *cs, const cn_cluster_t *c,
                                const host_set_t *old)
{
    host_set_t all = *old;
    host_index_t ix;

    if (!cs->leaves.n)
        return index_hosts(old);
    all.v = cn_xmalloc((old->n + cs->leaves.n) * sizeof(cn_host_t *));
    if (old->n)
        memcpy(all.v, old->v, old->n * sizeof(cn_host_t *));
    all.n += cn_leaves_list(&cs->leaves, c->section->name, all.v + old->n);
    ix = index_hosts(&all);
    free(all.v);
    return ix;
}

static void add_line(const host_index_t *old, host_set_t *set, cn_str_t line, bool outside)
{
    const cn_host_t *like = set->n ? set->v[set->n - 1] : NULL;
    cn_endpoint_t ep;
    cn_host_t *h;
    const char *why;

    line = cn_str_trim(line);
    if (line.n == 0 || line.p[0] == '#' || cn_endpoint_parse(line, &ep, &why) != CN_OK)
        return; /* bad lines were refused when the configuration was checked */
    h = take_over(old, &ep);
    if (!h)
        h = cn_host_create(&ep, like);
    h->healthy &= !h->gone; /* one that comes back warms up */
    cn_host_set(h, &ep, like);
    h->outside = outside;
    if (set->n == set->cap) {
        set->cap = set->cap ? set->cap * 2 : 8;
        set->v = cn_xrealloc(set->v, set->cap * sizeof(cn_host_t *));
    }
    set->v[set->n++] = h;
}

static uint64_t endpoints_hash(const cn_cluster_conf_t *conf, const cn_text_t *text)
{
    uint64_t hash = text ? text->hash : 1;

    for (uint32_t i = 0; i < conf->inline_endpoints.n; i++)
        hash = cn_hash_xxh(((const cn_str_t *)conf->inline_endpoints.v)[i], hash);
    return hash;
}

static void read_lines(cn_str_t text, const host_index_t *old, host_set_t *set, bool outside)
{
    cn_str_t line;

    while (cn_str_split(&text, '\n', &line))
        add_line(old, set, line, outside);
}

static void read_endpoints(const cn_cluster_t *c, cn_str_t text, const host_index_t *old,
                           host_set_t *set)
{
    const cn_cluster_conf_t *conf = c->conf;

    read_lines(text, old, set, false);
    read_lines(c->resolved, old, set, true);
    for (uint32_t i = 0; i < conf->inline_endpoints.n; i++)
        add_line(old, set, ((const cn_str_t *)conf->inline_endpoints.v)[i], false);
}

/* The balancer knows the old hosts, so these go only after it was told. */
static void set_hosts(cn_clusters_t *cs, cn_cluster_t *c, cn_str_t text)
{
    host_set_t old = hosts_of(c), set = {0};
    host_index_t ix = index_known(cs, c, &old);

    read_endpoints(c, text, &ix, &set);
    free(ix.slots);
    mark_gone(&old);
    mark_present(&set);
    c->hosts = cn_xrealloc(set.v, set.n * sizeof(cn_host_t *));
    c->nhosts = set.n;
    if (c->lb && c->lb->build)
        c->lb_ctx = c->lb->build(c, c->lb_ctx);
    report_left(cs, c, &old);
    drop_hosts(&old);
}

/* ---- generations ---- */

static const cn_balancer_t *find_balancer(const cn_clusters_t *cs, cn_str_t name)
{
    for (unsigned i = 0; i < cs->nbalancers; i++)
        if (cn_str_eq(cn_str_c(cs->balancers[i].ops->name), name))
            return &cs->balancers[i];
    return NULL;
}

static void use_section(cn_clusters_t *cs, cn_cluster_t *c, cn_section_t *section)
{
    const cn_balancer_t *balancer;
    const cn_lb_ops_t *lb;

    cn_section_unref(c->section);
    c->section = cn_section_ref(section);
    c->conf = section->confs[CN_UNIT_UPSTREAM];
    balancer = find_balancer(cs, c->conf->lb);
    lb = balancer ? balancer->ops : NULL;
    c->lb_conf = balancer ? section->confs[balancer->unit] : NULL;
    if (lb != c->lb) {
        if (c->lb && c->lb->destroy)
            c->lb->destroy(c->lb_ctx);
        c->lb = lb;
        c->lb_ctx = NULL;
    }
    c->hosts_hash = 0; /* a balancer's settings may be what changed */
}

static void update_cluster(cn_clusters_t *cs, cn_cluster_t *c, cn_section_t *section,
                           const cn_text_t *text)
{
    uint64_t hash;

    if (c->section != section)
        use_section(cs, c, section);
    hash = endpoints_hash(c->conf, text);
    if (hash == c->hosts_hash)
        return;
    c->hosts_hash = hash;
    set_hosts(cs, c, text ? text->text : CN_STR_NULL);
}

static void remove_cluster(cn_clusters_t *cs, cn_cluster_t *c)
{
    host_set_t set = hosts_of(c);

    tell_seen(cs, c, NULL);
    cn_map_del(&cs->by_name, c->section->name);
    mark_gone(&set);
    report_left(cs, c, &set);
    set = passed_of(c);
    mark_gone(&set);
    report_left(cs, c, &set);
    free(set.v);
    cn_cluster_unref(c);
}

void cn_clusters_set_resolved(cn_clusters_t *cs, cn_cluster_t *c, cn_str_t lines)
{
    const cn_text_t *text = NULL;

    if (cn_str_eq(c->resolved, lines))
        return;
    free((void *)(uintptr_t)c->resolved.p);
    c->resolved = CN_STR_NULL;
    if (lines.n)
        c->resolved = cn_str_make(memcpy(cn_xmalloc(lines.n), lines.p, lines.n), lines.n);
    if (c->conf->endpoints.n && cs->gen)
        text = cn_gen_text_find(cs->gen, c->conf->endpoints);
    set_hosts(cs, c, text ? text->text : CN_STR_NULL);
}

/* No other change comes in a pause, so nobody else takes clusters out. */
void cn_clusters_drop_others(cn_clusters_t *cs, const cn_gen_t *gen, const cn_pause_t *pause)
{
    cn_map_slot_t *slot;
    size_t iter = 0;
    cn_cluster_t **gone = NULL;
    size_t n = 0;

    gone = cn_xmalloc((cs->by_name.used + 1) * sizeof(cn_cluster_t *));
    while ((slot = cn_map_next(&cs->by_name, &iter)) != NULL) {
        if (!cn_map_get(&gen->clusters, slot->key))
            gone[n++] = slot->value;
        cn_pause(pause);
    }
    for (size_t i = 0; i < n; i++) {
        remove_cluster(cs, gone[i]);
        cn_pause(pause);
    }
    free(gone);
}

static void put_cluster(cn_clusters_t *cs, const cn_gen_t *gen, cn_section_t *section)
{
    const cn_cluster_conf_t *conf = section->confs[CN_UNIT_UPSTREAM];
    cn_cluster_t *c = cn_map_get(&cs->by_name, section->name);
    cn_section_t *before = NULL; /* its name is the key, here and where it was told */

    if (!c) {
        c = cn_xzalloc(sizeof(*c));
        c->refs = 1;
        cn_map_init(&c->passed);
    } else if (c->section != section) {
        before = cn_section_ref(c->section);
    }
    update_cluster(cs, c, section,
                   conf->endpoints.n ? cn_gen_text_find(gen, conf->endpoints) : NULL);
    cn_map_put(&cs->by_name, section->name, c);
    tell_seen(cs, c, gen);
    cn_section_unref(before);
}

void cn_clusters_patch(cn_clusters_t *cs, const cn_gen_t *gen, const cn_vec_t *names)
{
    const cn_str_t *v = names->v;

    cs->gen = gen;
    for (uint32_t i = 0; i < names->n; i++) {
        cn_section_t *section = cn_map_get(&gen->clusters, v[i]);
        cn_cluster_t *gone = section ? NULL : cn_map_get(&cs->by_name, v[i]);

        if (section)
            put_cluster(cs, gen, section);
        else if (gone)
            remove_cluster(cs, gone);
    }
}

void cn_clusters_put_all(cn_clusters_t *cs, const cn_gen_t *gen, const cn_pause_t *pause)
{
    cn_map_slot_t *slot;
    size_t iter = 0;

    cs->gen = gen;
    while ((slot = cn_map_next(&gen->clusters, &iter)) != NULL) {
        put_cluster(cs, gen, slot->value);
        cn_pause(pause);
    }
}

void cn_clusters_update(cn_clusters_t *cs, const cn_gen_t *gen)
{
    cn_clusters_put_all(cs, gen, NULL);
    cn_clusters_drop_others(cs, gen, NULL);
}

cn_cluster_t *cn_clusters_find(cn_clusters_t *cs, cn_str_t name)
{
    return cn_map_get(&cs->by_name, name);
}

cn_host_t *cn_cluster_host(const cn_cluster_t *c, const cn_addr_t *addr)
{
    for (uint32_t i = 0; i < c->nhosts; i++)
        if (c->hosts[i]->addr.port == addr->port && cn_inet_same_ip(&c->hosts[i]->addr, addr))
            return c->hosts[i];
    return NULL;
}

/* A session's host keeps its session while it drains. */
static bool is_wanted(cn_cluster_t *c, const cn_pick_t *pick)
{
    cn_host_t *h = pick->prefer;

    if (!h || h->gone || (!h->healthy && !h->draining))
        return false;
    for (unsigned i = 0; i < pick->ntried; i++)
        if (pick->tried[i] == h)
            return false;
    return cn_cluster_admits(c, pick, h);
}

cn_host_t *cn_cluster_pick(cn_cluster_t *c, const cn_pick_t *pick)
{
    if (is_wanted(c, pick))
        return pick->prefer;
    if (c->lb)
        return c->lb->pick(c, c->lb_ctx, pick);
    for (uint32_t i = 0; i < c->nhosts; i++)
        if (c->hosts[i]->healthy && cn_cluster_admits(c, pick, c->hosts[i]))
            return c->hosts[i];
    return NULL;
}

/* ---- hosts that clients choose ---- */

/* Of a passed host's address, or of one like it. */
static cn_str_t passed_key(const cn_addr_t *addr)
{
    _Static_assert(sizeof(*addr) == 20, "a key has no padding");
    return cn_str_make((const char *)addr, sizeof(*addr));
}

/* Makes room by forgetting what nobody uses. */
static void forget_passed(cn_clusters_t *cs, cn_cluster_t *c)
{
    host_set_t set = passed_of(c);

    for (uint32_t i = 0; i < set.n; i++) {
        cn_host_t *h = set.v[i];

        if (h->active)
            continue;
        cn_map_del(&c->passed, passed_key(&h->addr));
        h->gone = true;
        depart(cs, c, h);
        cn_host_unref(h);
    }
    free(set.v);
}

cn_host_t *cn_clusters_pass(cn_clusters_t *cs, cn_cluster_t *c, const cn_addr_t *to)
{
    char text[CN_INET_TEXT];
    size_t n = cn_inet_put(text, to, true);
    cn_endpoint_t ep;
    const char *why;
    cn_host_t *h;

    if (to->family == 0 || to->port == 0 ||
        cn_endpoint_parse(cn_str_make(text, n), &ep, &why) != CN_OK)
        return NULL;
    ep.addr.bits = 0;
    h = cn_map_get(&c->passed, passed_key(&ep.addr));
    if (h)
        return h;
    if (c->passed.used >= PASSED_MAX)
        forget_passed(cs, c);
    if (c->passed.used >= PASSED_MAX)
        return NULL;
    h = cn_host_create(&ep, NULL);
    h->outside = true;
    cn_map_put(&c->passed, passed_key(&h->addr), h);
    return h;
}

cn_cluster_t *cn_clusters_next(cn_clusters_t *cs, size_t *iter)
{
    cn_map_slot_t *slot = cn_map_next(&cs->by_name, iter);

    return slot ? slot->value : NULL;
}
