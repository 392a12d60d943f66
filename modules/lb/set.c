/* SPDX-License-Identifier: Apache-2.0
 *
 * The hosts that a balancer chooses from, and random draws among them.  Knows
 * nothing of requests but which hosts they have tried.
 */
#include "lb_int.h"

#include <stdlib.h>

#define DRAWS 4 /* at random before all are looked at */

bool cn_lb_set_tried(const cn_pick_t *pick, const cn_host_t *h)
{
    for (unsigned i = 0; i < pick->ntried; i++) {
        const cn_host_t *tried = pick->tried[i];

        if (tried == h)
            return true;
        if (pick->other_localities &&
            cn_locality_common(&tried->place->locality, &h->place->locality) == 3)
            return true;
    }
    return false;
}

bool cn_lb_set_usable(const cn_lb_ask_t *ask, cn_host_t *h)
{
    if (h->gone)
        return false;
    if (!ask->panic && (!h->healthy || !cn_cluster_admits(ask->cluster, ask->pick, h)))
        return false;
    return !ask->fresh_only || !cn_lb_set_tried(ask->pick, h);
}

void cn_lb_set_init(cn_lb_set_t *s, uint32_t cap)
{
    *s = (cn_lb_set_t){.all = cn_xmalloc((cap + 1) * sizeof(cn_host_t *))};
}

void cn_lb_set_add(cn_lb_set_t *s, cn_host_t *h)
{
    s->all[s->nall++] = h;
}

static void weigh(cn_lb_set_t *s)
{
    uint64_t sum = 0;
    bool same = true;

    free(s->upto);
    s->upto = NULL;
    for (uint32_t i = 1; i < s->n; i++)
        same &= s->v[i]->weight == s->v[0]->weight;
    if (same)
        return;
    s->upto = cn_xmalloc(s->n * sizeof(*s->upto));
    for (uint32_t i = 0; i < s->n; i++) {
        sum += s->v[i]->weight;
        s->upto[i] = sum;
    }
    if (!s->credit)
        s->credit = cn_xzalloc(s->nall * sizeof(*s->credit));
}

void cn_lb_set_fill(cn_lb_set_t *s, const cn_lb_ask_t *ask)
{
    if (!s->v)
        s->v = cn_xmalloc((s->nall + 1) * sizeof(cn_host_t *));
    s->n = 0;
    for (uint32_t i = 0; i < s->nall; i++)
        if (cn_lb_set_usable(ask, s->all[i]))
            s->v[s->n++] = s->all[i];
    if (s->n)
        s->next %= s->n;
    weigh(s);
}

void cn_lb_set_fini(cn_lb_set_t *s)
{
    free(s->credit);
    free(s->upto);
    free(s->v);
    free(s->all);
}

/* First i with upto[i] > at. */
static uint32_t find_weight(const cn_lb_set_t *s, uint64_t at)
{
    uint32_t lo = 0, hi = s->n - 1;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (s->upto[mid] > at)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

static cn_host_t *draw(const cn_lb_set_t *s, cn_rand_t *rand)
{
    if (!s->upto)
        return s->v[cn_rand_below(rand, s->n)];
    /* the bias of the remainder is below 2^-32 */
    return s->v[find_weight(s, cn_rand_u64(rand) % s->upto[s->n - 1])];
}

/* A cold host takes only a part of the draws that fall on it. */
static bool is_warm(const cn_lb_ask_t *ask, const cn_host_t *h)
{
    return !ask->now_ns ||
           cn_rand_below(ask->pick->rand, CN_LB_ONE) < cn_lb_pick_warmth(ask->conf, h, ask->now_ns);
}

/* The n-th of those that may be chosen is kept with the chance that its weight
 * has among the first n: an exact draw without a second pass. */
static cn_host_t *draw_slowly(const cn_lb_set_t *s, const cn_lb_ask_t *ask)
{
    cn_host_t *chosen = NULL;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        cn_host_t *h = s->v[i];
        uint64_t w = h->weight;

        if (!cn_lb_set_usable(ask, h))
            continue;
        if (ask->now_ns)
            w = w * cn_lb_pick_warmth(ask->conf, h, ask->now_ns) + 1;
        sum += w;
        if (cn_rand_u64(ask->pick->rand) % sum < w)
            chosen = h;
    }
    return chosen;
}

cn_host_t *cn_lb_set_draw(const cn_lb_set_t *s, const cn_lb_ask_t *ask)
{
    for (unsigned i = 0; i < DRAWS && s->n; i++) {
        cn_host_t *h = draw(s, ask->pick->rand);

        if (cn_lb_set_usable(ask, h) && is_warm(ask, h))
            return h;
    }
    return draw_slowly(s, ask);
}
