/* SPDX-License-Identifier: Apache-2.0
 *
 * lb: the balancers round_robin, least_request, random, ring_hash and maglev.
 * All choose among the healthy hosts only, however few are left (unless a
 * minimum is set), in proportion to their weights, near ones first where the
 * settings say so, and prefer hosts that this request has not tried yet.
 *
 * The state of a cluster (cn_lb_t) is its balancer's context: made anew with
 * each change of its hosts or settings, and destroyed by the cluster.
 */
#include "lb_int.h"

#include <stdlib.h>

/* ---- the state of a cluster ---- */

/* The turn goes on: a change must not send everybody to the first host. */
static void take_turn(cn_lb_t *lb, const cn_lb_t *old)
{
    const cn_lb_view_t *v = old->nviews ? old->views[0] : NULL;

    lb->turn = old->turn;
    lb->turned = old->turned;
    if (v && v->nlevels) {
        lb->turn = v->levels[0].groups[0].set.next;
        lb->turned = v->levels[0].groups[0].set.started;
    }
}

static void destroy(void *ctx)
{
    cn_lb_t *lb = ctx;

    if (!lb)
        return;
    for (unsigned i = 0; i < lb->nviews; i++)
        cn_lb_view_destroy(lb->views[i]);
    free(lb->views);
    free(lb);
}

static void find_warm_end(cn_lb_t *lb)
{
    for (uint32_t i = 0; lb->conf->warm_ns && i < lb->cluster->nhosts; i++) {
        uint64_t end = lb->cluster->hosts[i]->fresh_ns + lb->conf->warm_ns;

        lb->warm_until_ns = end > lb->warm_until_ns ? end : lb->warm_until_ns;
    }
}

static cn_lb_kind kind_of(const cn_lb_ops_t *ops);

static void *build(cn_cluster_t *c, void *prev)
{
    cn_lb_t *lb = cn_xzalloc(sizeof(*lb));
    cn_lb_kind kind = kind_of(c->lb);

    lb->cluster = c;
    lb->conf = c->lb_conf ? c->lb_conf : &cn_lb_conf_default;
    lb->kind = lb->conf->affinity && kind != CN_LB_RING_HASH ? CN_LB_MAGLEV : kind;
    if (prev)
        take_turn(lb, prev);
    if (lb->kind == CN_LB_ROUND_ROBIN || lb->kind == CN_LB_LEAST_REQUEST)
        find_warm_end(lb);
    destroy(prev);
    return lb;
}

/* ---- choosing ---- */

static cn_host_t *pick_in_group(const cn_lb_t *lb, cn_lb_group_t *g, const cn_lb_ask_t *ask)
{
    switch (lb->kind) {
    case CN_LB_ROUND_ROBIN:
        return cn_lb_pick_round_robin(&g->set, ask);
    case CN_LB_LEAST_REQUEST:
        return cn_lb_pick_least_request(&g->set, ask);
    case CN_LB_RANDOM:
        return cn_lb_set_draw(&g->set, ask);
    default:
        return cn_lb_table_pick(g->table, ask);
    }
}

/* By weight, from another part of the hash than the tables use. */
static cn_lb_group_t *draw_group(const cn_lb_t *lb, cn_lb_level_t *l, const cn_lb_ask_t *ask)
{
    uint64_t sum = 0, at;

    for (unsigned i = 0; i < l->ngroups; i++)
        sum += l->groups[i].effective;
    if (sum == 0)
        return NULL;
    at = lb->kind >= CN_LB_RING_HASH
             ? cn_hash_xxh(cn_str_make((const char *)&ask->hash, sizeof(ask->hash)), 0)
             : cn_rand_u64(ask->pick->rand);
    at %= sum;
    for (unsigned i = 0;; i++) {
        if (at < l->groups[i].effective)
            return &l->groups[i];
        at -= l->groups[i].effective;
    }
}

static cn_host_t *pick_in_level(const cn_lb_t *lb, cn_lb_level_t *l, cn_lb_ask_t *ask)
{
    cn_lb_group_t *g = l->ngroups == 1 ? &l->groups[0] : draw_group(lb, l, ask);
    cn_host_t *h;

    ask->panic = l->panic;
    h = g ? pick_in_group(lb, g, ask) : NULL;
    for (unsigned i = 0; !h && i < l->ngroups; i++)
        if (&l->groups[i] != g)
            h = pick_in_group(lb, &l->groups[i], ask);
    return h;
}

static unsigned draw_level(const cn_lb_t *lb, const cn_lb_view_t *v, const cn_lb_ask_t *ask)
{
    uint32_t at;
    unsigned i = 0;

    if (v->nlevels == 1)
        return 0;
    at = lb->kind >= CN_LB_RING_HASH ? (uint32_t)(ask->hash % 100)
                                     : cn_rand_below(ask->pick->rand, 100);
    while (i < v->nlevels && at >= v->levels[i].load)
        at -= v->levels[i++].load;
    return i < v->nlevels ? i : 0;
}

static cn_host_t *pick_in_view(const cn_lb_t *lb, cn_lb_view_t *v, cn_lb_ask_t *ask)
{
    unsigned drawn;
    cn_host_t *h;

    if (v->nlevels == 0)
        return NULL;
    drawn = draw_level(lb, v, ask);
    h = pick_in_level(lb, &v->levels[drawn], ask);
    for (unsigned i = 0; !h && i < v->nlevels; i++)
        if (i != drawn)
            h = pick_in_level(lb, &v->levels[i], ask);
    return h;
}

static void explain(const cn_lb_t *lb, const cn_pick_t *pick, const cn_lb_place_t *o,
                    const cn_lb_view_t *v, bool keyed)
{
    if (!pick->req || !cn_req_explaining(pick->req))
        return;
    if (lb->kind >= CN_LB_RING_HASH)
        cn_req_explain(pick->req, "lb: %s",
                       keyed ? "by the hash of the request's key"
                             : "none of the keys is there: any host");
    if (lb->conf->locality == CN_LB_ANYWHERE && !lb->conf->local)
        return;
    cn_req_explain(pick->req, "lb: from %.*s/%.*s/%.*s, node %.*s: %u level%s of hosts",
                   CN_STR_ARG(o->locality.region), CN_STR_ARG(o->locality.zone),
                   CN_STR_ARG(o->locality.subzone), CN_STR_ARG(o->node), v->nlevels,
                   v->nlevels == 1 ? "" : "s");
    for (unsigned i = 0; i < v->nlevels; i++)
        cn_req_explain(pick->req, "lb: level %u: %u hosts take %u %%%s", i, v->levels[i].total,
                       v->levels[i].load, v->levels[i].panic ? " (too few are healthy: all)" : "");
}

static cn_host_t *pick(cn_cluster_t *c, void *ctx, const cn_pick_t *p)
{
    cn_lb_t *lb = ctx;
    cn_lb_ask_t ask = {.cluster = c, .pick = p, .conf = lb ? lb->conf : NULL};
    cn_lb_place_t origin = {0};
    bool keyed = false;
    cn_lb_view_t *v;
    cn_host_t *h;

    if (!lb)
        return NULL;
    if (lb->warm_until_ns) {
        uint64_t now = cn_clock_mono_ns();

        ask.now_ns = now < lb->warm_until_ns ? now : 0;
    }
    if (lb->kind >= CN_LB_RING_HASH) {
        keyed = cn_lb_key_hash(lb->conf, p, &ask.hash);
        if (!keyed)
            ask.hash = p->hash ? p->hash : cn_rand_u64(p->rand);
    }
    if (lb->conf->locality != CN_LB_ANYWHERE || lb->conf->local)
        cn_lb_view_origin(lb->conf, p, &origin);
    v = cn_lb_view_get(lb, &origin, &ask);
    explain(lb, p, &origin, v, keyed);
    ask.fresh_only = p->ntried > 0;
    h = pick_in_view(lb, v, &ask);
    if (h || !ask.fresh_only)
        return h;
    ask.fresh_only = false;
    return pick_in_view(lb, v, &ask);
}

/* ---- the balancers ---- */

static const cn_lb_ops_t round_robin = {
    .name = "round_robin",
    .help = "Each healthy endpoint in turn, in proportion to the weights.",
    .build = build,
    .destroy = destroy,
    .pick = pick,
};

static const cn_lb_ops_t least_request = {
    .name = "least_request",
    .help = "Of two endpoints drawn at random by weight, the one with fewer requests under way.",
    .build = build,
    .destroy = destroy,
    .pick = pick,
};

static const cn_lb_ops_t random_pick = {
    .name = "random",
    .help = "A healthy endpoint at random, by weight.",
    .build = build,
    .destroy = destroy,
    .pick = pick,
};

static const cn_lb_ops_t ring_hash = {
    .name = "ring_hash",
    .help =
        "The endpoint that follows the hash of the request's key (lb_hash) on a ring of points, "
        "as many for each as its weight says: a key moves only when its endpoint leaves or a "
        "new one takes its place. Without a key, any endpoint.",
    .build = build,
    .destroy = destroy,
    .pick = pick,
};

static const cn_lb_ops_t maglev = {
    .name = "maglev",
    .help =
        "The endpoint that the hash of the request's key (lb_hash) has in Maglev's table: evener "
        "than a ring, and a few more keys move when endpoints change. Without a key, any "
        "endpoint.",
    .build = build,
    .destroy = destroy,
    .pick = pick,
};

static const cn_lb_ops_t *const balancers[] = {&round_robin, &least_request, &random_pick,
                                               &ring_hash,   &maglev,        NULL};

/* The array is in the order of the kinds. */
static cn_lb_kind kind_of(const cn_lb_ops_t *ops)
{
    unsigned i = 0;

    while (balancers[i] != ops)
        i++;
    return (cn_lb_kind)i;
}

/* ---- cookies ---- */

static cn_rc on_response(cn_req_t *req, const void *conf CN_UNUSED, void *ctx CN_UNUSED)
{
    const cn_facts_t *f = cn_req_facts(req);
    const cn_lb_t *lb =
        f->cluster && f->cluster->lb && f->cluster->lb->pick == pick ? f->cluster->lb_ctx : NULL;

    /* who got no host got no place either */
    if (lb && f->host && lb->kind >= CN_LB_RING_HASH)
        cn_lb_key_give(req, lb->conf);
    return CN_OK;
}

static bool active(const void *conf CN_UNUSED, cn_phase_t phase)
{
    return phase == CN_PH_RESP_HEAD;
}

const cn_module_t cn_module_lb = {
    .abi = CN_MODULE_ABI,
    .name = "lb",
    .after = "route_actions",
    .directives = cn_lb_directives,
    .conf[CN_LV_MAIN] = {.size = sizeof(cn_lb_conf_t), .init = cn_lb_conf_init},
    .conf[CN_LV_CLUSTER] = {.size = sizeof(cn_lb_conf_t)},
    .lb = balancers,
    .phase[CN_PH_RESP_HEAD] = on_response,
    .active = active,
};
