/* SPDX-License-Identifier: Apache-2.0
 *
 * Random numbers: xoroshiro128++ (Blackman and Vigna), its state spread from
 * the seed by splitmix64; and getrandom(2) for what must not be guessed.  No
 * state of its own: each user keeps its cn_rand_t.
 */
#include "core/rand.h"

#include <errno.h>
#include <sys/random.h>

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t rotl(uint64_t x, unsigned b)
{
    return (x << b) | (x >> (64 - b));
}

void cn_rand_init(cn_rand_t *r, uint64_t seed)
{
    if (seed == 0)
        cn_rand_secure(&seed, sizeof(seed));
    r->s[0] = splitmix(&seed);
    r->s[1] = splitmix(&seed);
}

uint64_t cn_rand_u64(cn_rand_t *r)
{
    uint64_t s0 = r->s[0], s1 = r->s[1];
    CN_BUG_ON((s0 | s1) == 0); /* all numbers would be 0, and cn_rand_below() never end */
    uint64_t out = rotl(s0 + s1, 17) + s0;
    s1 ^= s0;
    r->s[0] = rotl(s0, 49) ^ s1 ^ (s1 << 21);
    r->s[1] = rotl(s1, 28);
    return out;
}

/* Multiplication instead of division; the low products that would favour some
 * results are drawn again. */
uint32_t cn_rand_below(cn_rand_t *r, uint32_t bound)
{
    CN_BUG_ON(bound == 0);
    uint32_t threshold = -bound % bound;
    uint64_t m;
    do {
        m = (cn_rand_u64(r) >> 32) * bound;
    } while ((uint32_t)m < threshold);
    return (uint32_t)(m >> 32);
}

void cn_rand_secure(void *buf, size_t n)
{
    char *p = buf;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        CN_BUG_ON(got < 0 && errno != EINTR);
        if (got > 0) {
            p += got;
            n -= (size_t)got;
        }
    }
}
