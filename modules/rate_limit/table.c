/* SPDX-License-Identifier: Apache-2.0
 *
 * Buckets in shared memory: an open-addressing table of numbers that all
 * workers read and write without locks.
 *
 * Places come in lines of four, one cache line.  A tag may be in two lines, so
 * eight places.  Limits with a key spread over as many lines as their max_keys
 * asks for, beginning at a place of their own: clients who invent keys crowd
 * out one another and not the whole table.  Limits without a key have the first
 * part of the table to themselves, so that no client can crowd out those.
 *
 * A bucket that is full again says nothing and goes first.  Otherwise the one
 * goes that will be full soonest: it knows least, and clients who invent keys
 * cannot be rid of a bucket that is further ahead than theirs.
 */
#include "rate_limit_int.h"

#define LINE 4u /* slots in 64 bytes */
#define PLACES (2 * LINE)
#define TRIES 8

void cn_rate_limit_table_open(cn_rate_limit_table_t *t, void *mem, size_t size)
{
    uint64_t lines = size / (LINE * sizeof(cn_rate_limit_slot_t));

    t->v = mem;
    t->single = lines / 8;
    t->keyed = lines - t->single;
}

/* Lines for max_keys, with room so that hardly any two are full. */
static uint64_t lines_for(uint32_t max_keys, uint64_t limit)
{
    uint64_t want = ((uint64_t)max_keys + max_keys / 2) / LINE + 2;

    return want < limit ? want : limit;
}

/* h of 32 random bits to a number below n, without a division. */
static uint64_t below(uint64_t h, uint64_t n)
{
    return ((h & 0xffffffff) * n) >> 32;
}

/* The eight places of a tag, in the order that all workers look at them. */
static void places(const cn_rate_limit_table_t *t, const cn_rate_limit_t *l, uint64_t tag,
                   cn_rate_limit_slot_t *out[PLACES])
{
    uint64_t base = 0, lines = t->single, line[2];

    if (l->keys.n) {
        base = below(l->id, t->keyed);
        lines = lines_for(l->max_keys, t->keyed);
    }
    line[0] = base + below(tag, lines);
    line[1] = base + below(tag >> 32, lines);
    for (unsigned i = 0; i < PLACES; i++) {
        uint64_t at = line[i / LINE];

        if (l->keys.n)
            at = t->single + (at < t->keyed ? at : at - t->keyed);
        out[i] = &t->v[at * LINE + i % LINE];
    }
}

static cn_rate_limit_slot_t *holder(cn_rate_limit_slot_t *const at[PLACES], uint64_t tag)
{
    for (unsigned i = 0; i < PLACES; i++)
        if (atomic_load_explicit(&at[i]->tag, memory_order_acquire) == tag)
            return at[i];
    return NULL;
}

typedef struct {
    cn_rate_limit_slot_t *slot;
    uint64_t tag, full_at; /* as they were seen */
    unsigned spare;        /* places of its line that say nothing */
} victim_t;

/* The place of a line that is missed least. */
static victim_t choose_in(cn_rate_limit_slot_t *const at[LINE], uint64_t now)
{
    victim_t best = {.slot = NULL};
    unsigned spare = 0;

    for (unsigned i = 0; i < LINE; i++) {
        victim_t v = {at[i], atomic_load(&at[i]->tag), atomic_load(&at[i]->full_at), 0};

        if (v.tag == 0)
            v.full_at = 0;
        spare += v.full_at <= now;
        if (!best.slot || v.full_at < best.full_at)
            best = v;
    }
    best.spare = spare;
    return best;
}

/* From the line that has more room, so that both fill evenly. */
static victim_t choose(cn_rate_limit_slot_t *const at[PLACES], uint64_t now)
{
    victim_t a = choose_in(at, now), b = choose_in(at + LINE, now);

    if (a.spare != b.spare)
        return a.spare > b.spare ? a : b;
    return a.spare || a.full_at <= b.full_at ? a : b;
}

/* Two workers may have claimed different places for the same tag at once: both
 * look again and go on with the one that tokens were taken from, or the first. */
static cn_rate_limit_slot_t *settle(cn_rate_limit_slot_t *const at[PLACES],
                                    cn_rate_limit_slot_t *mine, uint64_t tag, uint64_t now)
{
    cn_rate_limit_slot_t *best = NULL;
    uint64_t most = 0;

    for (unsigned i = 0; i < PLACES; i++) {
        uint64_t full_at = atomic_load(&at[i]->full_at);

        if (atomic_load(&at[i]->tag) != tag)
            continue;
        if (full_at <= now)
            full_at = 0;
        if (!best || full_at > most) {
            best = at[i];
            most = full_at;
        }
    }
    if (!best || best == mine)
        return mine;
    atomic_compare_exchange_strong(&mine->tag, &tag, 0);
    return best;
}

cn_rate_limit_find cn_rate_limit_table_find(const cn_rate_limit_table_t *t,
                                            const cn_rate_limit_t *l, uint64_t tag, uint64_t now,
                                            cn_rate_limit_slot_t **slot)
{
    cn_rate_limit_slot_t *at[PLACES];

    places(t, l, tag, at);
    for (int i = 0; i < TRIES; i++) {
        victim_t v;

        *slot = holder(at, tag);
        if (*slot)
            return CN_RATE_LIMIT_FOUND;
        v = choose(at, now);
        if (!atomic_compare_exchange_strong(&v.slot->tag, &v.tag, tag))
            continue;
        /* one that says nothing may stay; it fails when somebody found our tag and took
         * a token already: then it is set */
        if (v.full_at > now)
            atomic_compare_exchange_strong(&v.slot->full_at, &(uint64_t){v.full_at}, 0);
        *slot = settle(at, v.slot, tag, now);
        return v.tag && v.full_at > now ? CN_RATE_LIMIT_EVICTED : CN_RATE_LIMIT_FOUND;
    }
    *slot = NULL;
    return CN_RATE_LIMIT_FULL;
}

/* A time ahead of an empty bucket's is that of another limit: one whose
 * settings were changed, or whose bucket this was. */
static uint64_t begin(uint64_t full_at, uint64_t now, uint64_t window_ns)
{
    if (full_at <= now)
        return now;
    return full_at - now > window_ns ? now + window_ns : full_at;
}

cn_rate_limit_result_t cn_rate_limit_take(cn_rate_limit_slot_t *s, const cn_rate_limit_t *l,
                                          uint64_t now)
{
    uint64_t seen = atomic_load_explicit(&s->full_at, memory_order_relaxed);
    uint64_t used, left;

    do {
        used = begin(seen, now, l->window_ns) + l->interval_ns - now;
        if (used > l->window_ns)
            return (cn_rate_limit_result_t){.wait_ns = used - l->window_ns};
    } while (!atomic_compare_exchange_weak(&s->full_at, &seen, now + used));
    left = l->window_ns - used;
    return (cn_rate_limit_result_t){.allowed = true,
                                    .remaining = left / l->interval_ns,
                                    .wait_ns = left < l->interval_ns ? l->interval_ns - left : 0};
}

void cn_rate_limit_give_back(cn_rate_limit_slot_t *s, const cn_rate_limit_t *l)
{
    uint64_t seen = atomic_load_explicit(&s->full_at, memory_order_relaxed);

    while (seen >= l->interval_ns &&
           !atomic_compare_exchange_weak(&s->full_at, &seen, seen - l->interval_ns))
        ;
}
