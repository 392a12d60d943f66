/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens: base64 of a version byte, the cluster's tag, two times and the
 * endpoint's address (4 or 16 bytes) and port, numbers with the high byte
 * first.  Every waypoint of a service reads what the others wrote.
 */
#include "session_int.h"

#define VERSION 1
#define FIXED 13 /* bytes before the address */
#define SKEW_S 60

uint32_t cn_session_tag(cn_str_t cluster)
{
    return (uint32_t)cn_hash_xxh(cluster, VERSION);
}

static size_t put(char *out, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (char)(v >> (8 * (bytes - 1 - i)));
    return bytes;
}

static uint64_t get(const char *in, size_t bytes)
{
    uint64_t v = 0;

    for (size_t i = 0; i < bytes; i++)
        v = v << 8 | (unsigned char)in[i];
    return v;
}

cn_str_t cn_session_token_encode(cn_pool_t *pool, const cn_session_token_t *t)
{
    size_t ip = t->addr.family == AF_INET6 ? 16 : 4, n = 1;
    char raw[FIXED + 16 + 2] = {VERSION};

    n += put(raw + n, t->cluster, 4);
    n += put(raw + n, t->begun_s, 4);
    n += put(raw + n, t->used_s, 4);
    memcpy(raw + n, t->addr.ip, ip);
    n += ip;
    n += put(raw + n, t->addr.port, 2);
    return cn_b64_encode(pool, cn_str_make(raw, n));
}

cn_rc cn_session_token_decode(cn_pool_t *pool, cn_str_t text, cn_session_token_t *t)
{
    cn_str_t raw;
    size_t ip;

    if (text.n > 64 || cn_b64_decode(pool, text, &raw) != CN_OK ||
        (raw.n != FIXED + 4 + 2 && raw.n != FIXED + 16 + 2) || raw.p[0] != VERSION)
        return CN_ERR;
    ip = raw.n - FIXED - 2;
    *t = (cn_session_token_t){.cluster = (uint32_t)get(raw.p + 1, 4),
                              .begun_s = (uint32_t)get(raw.p + 5, 4),
                              .used_s = (uint32_t)get(raw.p + 9, 4)};
    t->addr.family = ip == 4 ? AF_INET : AF_INET6;
    memcpy(t->addr.ip, raw.p + FIXED, ip);
    t->addr.port = (uint16_t)get(raw.p + FIXED + ip, 2);
    return CN_OK;
}

static bool within(uint32_t since_s, uint64_t limit_ms, uint64_t now_s)
{
    if (limit_ms == 0)
        return true; /* whatever the clock was, and is now */
    if (since_s > now_s + SKEW_S)
        return false;
    return now_s <= since_s || (now_s - since_s) * 1000 <= limit_ms;
}

bool cn_session_token_alive(const cn_session_token_t *t, const cn_session_conf_t *c, uint64_t now_s)
{
    return within(t->begun_s, c->ttl_ms, now_s) && within(t->used_s, c->idle_ms, now_s);
}

bool cn_session_cookie(cn_str_t line, cn_str_t name, cn_str_t *value)
{
    cn_str_t pair;

    while (cn_str_split(&line, ';', &pair)) {
        size_t eq;

        pair = cn_str_trim(pair);
        eq = cn_str_find(pair, '=');
        if (eq == pair.n || !cn_str_eq(cn_str_make(pair.p, eq), name))
            continue;
        *value = cn_str_make(pair.p + eq + 1, pair.n - eq - 1);
        if (value->n > 1 && value->p[0] == '"' && value->p[value->n - 1] == '"')
            *value = cn_str_make(value->p + 1, value->n - 2);
        return true;
    }
    return false;
}
