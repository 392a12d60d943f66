/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of the hashing balancers, built as Envoy builds them, so that a key
 * goes to the same host behind either: rings of points (xxHash64 of
 * "ADDRESS:PORT_i") and Maglev's permutations (Eisenbud et al., 2016, 3.4).
 * What Envoy computes with fractions is done in whole numbers here; its rounding
 * gives about one of 7,000 Maglev slots of unequal hosts to another.
 *
 * A host that may not be chosen is skipped where the table stands, which moves
 * only the keys that were its own.
 */
#include "lb_int.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    uint64_t hash;
    uint32_t host;
} point_t;

struct cn_lb_table {
    cn_host_t **hosts;
    point_t *ring; /* by hash; NULL: a Maglev table */
    uint32_t *slot;
    uint32_t n; /* points or slots */
};

/* Further tries in a Maglev table before its slots are looked at in turn. */
#define PROBES 16

static cn_lb_table_t *create(const cn_lb_set_t *s)
{
    cn_lb_table_t *t = cn_xzalloc(sizeof(*t));

    t->hosts = cn_xmalloc(s->nall * sizeof(cn_host_t *));
    memcpy(t->hosts, s->all, s->nall * sizeof(cn_host_t *));
    return t;
}

void cn_lb_table_destroy(cn_lb_table_t *t)
{
    if (!t)
        return;
    free(t->slot);
    free(t->ring);
    free(t->hosts);
    free(t);
}

/* ---- ring ---- */

static int by_hash(const void *a, const void *b)
{
    const point_t *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->host < y->host ? -1 : x->host > y->host;
}

/* Points of host number i, as many as take the ring's count past its target.
 * All fits: at most 2^23 points, and weights up to 2^20 each. */
static void add_points(cn_lb_table_t *t, uint32_t i, uint64_t target, uint64_t per)
{
    char key[CN_INET_TEXT + 12];
    size_t n = cn_inet_put(key, &t->hosts[i]->addr, true);

    key[n++] = '_';
    for (uint32_t k = 0; t->n * per < target; k++) {
        int digits = snprintf(key + n, sizeof(key) - n, "%u", k);

        t->ring[t->n++] = (point_t){cn_hash_xxh(cn_str_make(key, n + (size_t)digits), 0), i};
    }
}

/* The lightest host gets a whole number of points, at least its part of min;
 * the others get theirs in proportion: a target of `scale * weight / per`. */
cn_lb_table_t *cn_lb_table_ring(const cn_lb_set_t *s, uint64_t min, uint64_t max)
{
    uint64_t sum = 0, lightest = UINT64_MAX, points, scale, per, done = 0;
    cn_lb_table_t *t;

    if (s->nall == 0)
        return NULL;
    for (uint32_t i = 0; i < s->nall; i++) {
        sum += s->all[i]->weight;
        lightest = s->all[i]->weight < lightest ? s->all[i]->weight : lightest;
    }
    points = (lightest * min + sum - 1) / sum;
    scale = points, per = lightest;
    if (points * sum / lightest >= max)
        scale = max, per = sum;
    t = create(s);
    t->ring = cn_xmalloc((scale * sum / per + s->nall + 1) * sizeof(point_t));
    for (uint32_t i = 0; i < s->nall; i++) {
        done += s->all[i]->weight;
        add_points(t, i, scale * done, per);
    }
    qsort(t->ring, t->n, sizeof(point_t), by_hash);
    return t;
}

/* The first point at or behind the hash. */
static uint32_t find_point(const cn_lb_table_t *t, uint64_t hash)
{
    uint32_t lo = 0, hi = t->n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (t->ring[mid].hash >= hash)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo == t->n ? 0 : lo;
}

static cn_host_t *pick_point(const cn_lb_table_t *t, const cn_lb_ask_t *ask)
{
    uint32_t at = find_point(t, ask->hash);

    for (uint32_t i = 0; i < t->n; i++) {
        cn_host_t *h = t->hosts[t->ring[(at + i) % t->n].host];

        if (cn_lb_set_usable(ask, h))
            return h;
    }
    return NULL;
}

/* ---- maglev ---- */

typedef struct {
    char name[CN_INET_TEXT];
    cn_host_t *host;
    uint64_t at, skip; /* its permutation of the slots: where it stands, and the step */
    uint64_t turns;    /* taken so far */
} bidder_t;

/* Who bids first matters: in order of their names the same hosts make the same
 * table, whatever order they come in. */
static int by_name(const void *a, const void *b)
{
    return strcmp(((const bidder_t *)a)->name, ((const bidder_t *)b)->name);
}

static bidder_t *bidders(cn_lb_table_t *t, const cn_lb_set_t *s)
{
    bidder_t *b = cn_xzalloc(s->nall * sizeof(*b));

    for (uint32_t i = 0; i < s->nall; i++) {
        cn_str_t name = cn_str_make(b[i].name, cn_inet_put(b[i].name, &s->all[i]->addr, true));

        b[i].host = s->all[i];
        b[i].at = cn_hash_xxh(name, 0) % t->n;
        b[i].skip = cn_hash_xxh(name, 1) % (t->n - 1) + 1;
    }
    qsort(b, s->nall, sizeof(*b), by_name);
    for (uint32_t i = 0; i < s->nall; i++)
        t->hosts[i] = b[i].host;
    return b;
}

static void take_slot(cn_lb_table_t *t, bidder_t *b, uint32_t host)
{
    while (t->slot[b->at] != UINT32_MAX)
        b->at = (b->at + b->skip) % t->n;
    t->slot[b->at] = host;
    b->turns++;
}

static void fill_slots(cn_lb_table_t *t, bidder_t *b, uint32_t nhosts, uint64_t heaviest)
{
    uint32_t filled = 0;

    for (uint64_t round = 1;; round++)
        for (uint32_t i = 0; i < nhosts; i++) {
            /* a host of half the weight bids every other round */
            if (round * t->hosts[i]->weight < b[i].turns * heaviest)
                continue;
            take_slot(t, &b[i], i);
            if (++filled == t->n)
                return;
        }
}

cn_lb_table_t *cn_lb_table_maglev(const cn_lb_set_t *s, uint32_t size)
{
    uint64_t heaviest = 0;
    cn_lb_table_t *t;
    bidder_t *b;

    if (s->nall == 0)
        return NULL;
    t = create(s);
    t->n = size;
    t->slot = cn_xmalloc(size * sizeof(*t->slot));
    memset(t->slot, 0xff, size * sizeof(*t->slot));
    for (uint32_t i = 0; i < s->nall; i++)
        heaviest = s->all[i]->weight > heaviest ? s->all[i]->weight : heaviest;
    b = bidders(t, s);
    fill_slots(t, b, s->nall, heaviest);
    free(b);
    return t;
}

static cn_host_t *pick_slot(const cn_lb_table_t *t, const cn_lb_ask_t *ask)
{
    for (uint64_t i = 0; i < PROBES; i++) {
        uint64_t hash = i ? ask->hash ^ (UINT64_MAX - i + 1) : ask->hash;
        cn_host_t *h = t->hosts[t->slot[hash % t->n]];

        if (cn_lb_set_usable(ask, h))
            return h;
    }
    for (uint32_t i = 0; i < t->n; i++) {
        cn_host_t *h = t->hosts[t->slot[(ask->hash + i) % t->n]];

        if (cn_lb_set_usable(ask, h))
            return h;
    }
    return NULL;
}

cn_host_t *cn_lb_table_pick(const cn_lb_table_t *t, const cn_lb_ask_t *ask)
{
    if (!t)
        return NULL;
    return t->ring ? pick_point(t, ask) : pick_slot(t, ask);
}
