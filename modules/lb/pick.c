/* SPDX-License-Identifier: Apache-2.0
 *
 * Round robin and least request, with weights and warm-up.
 */
#include "lb_int.h"

/* ---- warm-up ---- */

/* The curve is computed with the settings; here are only steps of it. */
uint32_t cn_lb_pick_warmth(const cn_lb_conf_t *c, const cn_host_t *h, uint64_t now_ns)
{
    uint64_t age = now_ns > h->fresh_ns ? now_ns - h->fresh_ns : 0, step, rest, part;

    if (age >= c->warm_ns)
        return CN_LB_ONE;
    step = c->warm_ns / CN_LB_CURVE + 1;
    part = age / step;
    rest = age % step;
    return (uint32_t)(c->curve[part] + (c->curve[part + 1] - c->curve[part]) * rest / step);
}

/* ---- round robin ---- */

/* Workers and restarts begin at different hosts. */
static void start(cn_lb_set_t *s, const cn_pick_t *pick)
{
    if (s->started)
        return;
    s->started = true;
    s->next = cn_rand_below(pick->rand, s->n);
}

static bool skips_turn(const cn_lb_ask_t *ask, const cn_host_t *h)
{
    return ask->now_ns && cn_rand_below(ask->pick->rand, CN_LB_ONE) >=
                              cn_lb_pick_warmth(ask->conf, h, ask->now_ns);
}

static cn_host_t *in_turn(cn_lb_set_t *s, const cn_lb_ask_t *ask)
{
    cn_host_t *cold = NULL;

    start(s, ask->pick);
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t at = (s->next + i) % s->n;
        cn_host_t *h = s->v[at];

        if (!cn_lb_set_usable(ask, h))
            continue;
        if (!skips_turn(ask, h)) {
            s->next = (at + 1) % s->n;
            return h;
        }
        cold = cold ? cold : h;
    }
    return cold;
}

/* Each host earns its weight every time; the richest is chosen and pays what
 * all have earned, so the heavy ones do not come in bursts. */
static cn_host_t *by_credit(cn_lb_set_t *s, const cn_lb_ask_t *ask)
{
    int64_t total = 0;
    uint32_t best = s->n;

    for (uint32_t i = 0; i < s->n; i++) {
        cn_host_t *h = s->v[i];
        int64_t earned = h->weight * (int64_t)CN_LB_ONE;

        if (!cn_lb_set_usable(ask, h))
            continue;
        if (ask->now_ns)
            earned = h->weight * (int64_t)cn_lb_pick_warmth(ask->conf, h, ask->now_ns);
        s->credit[i] += earned;
        total += earned;
        if (best == s->n || s->credit[i] > s->credit[best])
            best = i;
    }
    if (best == s->n)
        return NULL;
    s->credit[best] -= total;
    return s->v[best];
}

cn_host_t *cn_lb_pick_round_robin(cn_lb_set_t *s, const cn_lb_ask_t *ask)
{
    if (s->n == 0)
        return NULL;
    return s->upto ? by_credit(s, ask) : in_turn(s, ask);
}

/* ---- least request ---- */

/* Of two, the one with fewer requests for its weight; a when equal. */
static cn_host_t *less_busy(cn_host_t *a, cn_host_t *b)
{
    uint64_t busy_a = (uint64_t)a->active * b->weight, busy_b = (uint64_t)b->active * a->weight;

    return busy_b < busy_a ? b : a;
}

cn_host_t *cn_lb_pick_least_request(cn_lb_set_t *s, const cn_lb_ask_t *ask)
{
    cn_host_t *a = cn_lb_set_draw(s, ask);

    if (!a || s->n == 1)
        return a;
    /* a second one that is not the first, where there is one */
    for (unsigned i = 0; i < 3; i++) {
        cn_host_t *b = cn_lb_set_draw(s, ask);

        if (b != a)
            return less_busy(a, b);
    }
    return a;
}
