/* SPDX-License-Identifier: Apache-2.0
 *
 * lb: the balancers round_robin, least_request and random.  All choose among
 * the healthy hosts only, however few are left (no panic mode: Istio switches
 * it off), in proportion to their weights, and prefer hosts that this request
 * has not tried yet.
 */
#include "lb_int.h"

/* ---- round robin ---- */

/* Workers and restarts begin at different hosts. */
static void start(cn_lb_set_t *s, const cn_pick_t *pick)
{
    if (s->started)
        return;
    s->started = true;
    s->next = cn_rand_below(pick->rand, s->n);
}

static cn_host_t *in_turn(cn_lb_set_t *s, const cn_pick_t *pick)
{
    cn_host_t *tried = NULL;

    start(s, pick);
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t at = (s->next + i) % s->n;
        cn_host_t *h = s->v[at];

        if (!cn_lb_set_usable(h))
            continue;
        if (!cn_lb_set_tried(pick, h)) {
            s->next = (at + 1) % s->n;
            return h;
        }
        tried = h;
    }
    return tried;
}

/* Each host earns its weight every time; the richest is chosen and pays what
 * all have earned, so the heavy ones do not come in bursts. */
static cn_host_t *by_credit(cn_lb_set_t *s, const cn_pick_t *pick, bool avoid)
{
    int64_t total = 0;
    uint32_t best = s->n;

    for (uint32_t i = 0; i < s->n; i++) {
        const cn_host_t *h = s->v[i];

        if (!cn_lb_set_usable(h) || (avoid && cn_lb_set_tried(pick, h)))
            continue;
        s->credit[i] += h->weight;
        total += h->weight;
        if (best == s->n || s->credit[i] > s->credit[best])
            best = i;
    }
    if (best == s->n)
        return NULL;
    s->credit[best] -= total;
    return s->v[best];
}

static cn_host_t *pick_round_robin(cn_cluster_t *c CN_UNUSED, void *ctx, const cn_pick_t *pick)
{
    cn_lb_set_t *s = ctx;
    cn_host_t *h;

    if (!s || s->n == 0)
        return NULL;
    if (!s->credit)
        return in_turn(s, pick);
    h = by_credit(s, pick, true);
    return h || pick->ntried == 0 ? h : by_credit(s, pick, false);
}

/* ---- least request ---- */

/* Of two, the one with fewer requests for its weight; a when equal. */
static cn_host_t *less_busy(cn_host_t *a, cn_host_t *b)
{
    uint64_t busy_a = (uint64_t)a->active * b->weight, busy_b = (uint64_t)b->active * a->weight;

    return busy_b < busy_a ? b : a;
}

/* A second one that is not the first, where there is one. */
static cn_host_t *draw_other(const cn_lb_set_t *s, const cn_pick_t *pick, const cn_host_t *first)
{
    for (unsigned i = 0; i < 3; i++) {
        cn_host_t *h = cn_lb_set_draw(s, pick->rand);

        if (h != first && cn_lb_set_usable(h) && !cn_lb_set_tried(pick, h))
            return h;
    }
    return NULL;
}

static cn_host_t *pick_least_request(cn_cluster_t *c CN_UNUSED, void *ctx, const cn_pick_t *pick)
{
    const cn_lb_set_t *s = ctx;
    cn_host_t *a, *b;

    if (!s || s->n == 0)
        return NULL;
    a = cn_lb_set_draw_usable(s, pick);
    if (!a || s->n == 1)
        return a;
    b = draw_other(s, pick, a);
    return b ? less_busy(a, b) : a;
}

/* ---- random ---- */

static cn_host_t *pick_random(cn_cluster_t *c CN_UNUSED, void *ctx, const cn_pick_t *pick)
{
    return ctx ? cn_lb_set_draw_usable(ctx, pick) : NULL;
}

static const cn_lb_ops_t round_robin = {
    .name = "round_robin",
    .help = "Each healthy endpoint in turn, in proportion to the weights.",
    .build = cn_lb_set_build,
    .destroy = cn_lb_set_destroy,
    .pick = pick_round_robin,
};

static const cn_lb_ops_t least_request = {
    .name = "least_request",
    .help = "Of two endpoints drawn at random by weight, the one with fewer requests under way.",
    .build = cn_lb_set_build,
    .destroy = cn_lb_set_destroy,
    .pick = pick_least_request,
};

static const cn_lb_ops_t random_pick = {
    .name = "random",
    .help = "A healthy endpoint at random, by weight.",
    .build = cn_lb_set_build,
    .destroy = cn_lb_set_destroy,
    .pick = pick_random,
};

static const cn_lb_ops_t *const balancers[] = {&round_robin, &least_request, &random_pick, NULL};

const cn_module_t cn_module_lb = {
    .abi = CN_MODULE_ABI,
    .name = "lb",
    .lb = balancers,
};
