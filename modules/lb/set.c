/* SPDX-License-Identifier: Apache-2.0
 *
 * The hosts that a balancer chooses from, and random draws among them.  Knows
 * nothing of requests.  Owned by the cluster, through the balancer's build and
 * destroy.
 */
#include "lb_int.h"

#include <stdlib.h>

#define DRAWS 4 /* at random before all are looked at in turn */

bool cn_lb_set_usable(const cn_host_t *h)
{
    return h->healthy && !h->gone;
}

bool cn_lb_set_tried(const cn_pick_t *pick, const cn_host_t *h)
{
    for (unsigned i = 0; i < pick->ntried; i++)
        if (pick->tried[i] == h)
            return true;
    return false;
}

static void weigh(cn_lb_set_t *s)
{
    uint64_t sum = 0;
    bool same = true;

    for (uint32_t i = 1; i < s->n; i++)
        same &= s->v[i]->weight == s->v[0]->weight;
    if (same)
        return;
    s->upto = cn_xmalloc(s->n * sizeof(*s->upto));
    s->credit = cn_xzalloc(s->n * sizeof(*s->credit));
    for (uint32_t i = 0; i < s->n; i++) {
        sum += s->v[i]->weight;
        s->upto[i] = sum;
    }
}

void *cn_lb_set_build(cn_cluster_t *c, void *prev)
{
    cn_lb_set_t *old = prev, *s = cn_xzalloc(sizeof(*s));

    s->v = cn_xmalloc((c->nhosts + 1) * sizeof(cn_host_t *));
    for (uint32_t i = 0; i < c->nhosts; i++)
        if (cn_lb_set_usable(c->hosts[i]) && c->hosts[i]->weight)
            s->v[s->n++] = c->hosts[i];
    weigh(s);
    if (old) { /* the turn goes on: a change must not send everybody to the first host */
        s->next = old->next;
        s->started = old->started;
    }
    cn_lb_set_destroy(prev);
    return s;
}

void cn_lb_set_destroy(void *p)
{
    cn_lb_set_t *s = p;

    if (!s)
        return;
    free(s->credit);
    free(s->upto);
    free(s->v);
    free(s);
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

cn_host_t *cn_lb_set_draw(const cn_lb_set_t *s, cn_rand_t *rand)
{
    if (!s->upto)
        return s->v[cn_rand_below(rand, s->n)];
    /* the bias of the remainder is below 2^-32 */
    return s->v[find_weight(s, cn_rand_u64(rand) % s->upto[s->n - 1])];
}

static cn_host_t *first_usable(const cn_lb_set_t *s, const cn_pick_t *pick)
{
    uint32_t start = cn_rand_below(pick->rand, s->n);
    cn_host_t *tried = NULL;

    for (uint32_t i = 0; i < s->n; i++) {
        cn_host_t *h = s->v[(start + i) % s->n];

        if (!cn_lb_set_usable(h))
            continue;
        if (!cn_lb_set_tried(pick, h))
            return h;
        tried = h;
    }
    return tried;
}

cn_host_t *cn_lb_set_draw_usable(const cn_lb_set_t *s, const cn_pick_t *pick)
{
    for (unsigned i = 0; i < DRAWS && s->n; i++) {
        cn_host_t *h = cn_lb_set_draw(s, pick->rand);

        if (cn_lb_set_usable(h) && !cn_lb_set_tried(pick, h))
            return h;
    }
    return s->n ? first_usable(s, pick) : NULL;
}
