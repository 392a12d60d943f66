/* SPDX-License-Identifier: Apache-2.0
 *
 * SipHash-1-3 (Aumasson and Bernstein) for tables whose keys a peer chooses,
 * and XXH64 for content.  The key is process-wide and set once at start; it is
 * never printed.
 */
#include "core/hash.h"

#include <xxhash.h>

#include "core/rand.h"

static uint8_t process_key[16];

typedef struct {
    uint64_t v0, v1, v2, v3;
} sip_t;

static inline uint64_t rotl(uint64_t x, unsigned b)
{
    return (x << b) | (x >> (64 - b));
}

/* Little-endian by definition of SipHash; n < 8 leaves the upper bytes zero. */
static inline uint64_t load_le(const void *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline void sip_round(sip_t *s)
{
    s->v0 += s->v1;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v2 = rotl(s->v2, 32);
}

static inline void sip_word(sip_t *s, uint64_t m)
{
    s->v3 ^= m;
    sip_round(s);
    s->v0 ^= m;
}

void cn_hash_seed(void)
{
    cn_rand_secure(process_key, sizeof(process_key));
}

uint64_t cn_hash_sip_keyed(const uint8_t key[16], cn_str_t s)
{
    uint64_t k0 = load_le(key, 8), k1 = load_le(key + 8, 8);
    sip_t st = {
        .v0 = k0 ^ 0x736f6d6570736575u,
        .v1 = k1 ^ 0x646f72616e646f6du,
        .v2 = k0 ^ 0x6c7967656e657261u,
        .v3 = k1 ^ 0x7465646279746573u,
    };
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8)
        sip_word(&st, load_le(s.p + i, 8));
    uint64_t last = (uint64_t)s.n << 56;
    if (i < s.n)
        last |= load_le(s.p + i, s.n - i);
    sip_word(&st, last);
    st.v2 ^= 0xff;
    sip_round(&st);
    sip_round(&st);
    sip_round(&st);
    return st.v0 ^ st.v1 ^ st.v2 ^ st.v3;
}

uint64_t cn_hash_sip(cn_str_t s)
{
    return cn_hash_sip_keyed(process_key, s);
}

uint64_t cn_hash_xxh(cn_str_t s, uint64_t seed)
{
    return XXH64(s.p ? s.p : "", s.n, seed);
}
