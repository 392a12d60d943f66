/* SPDX-License-Identifier: Apache-2.0
 *
 * What requests are hashed by: values are hashed and combined as Envoy does, so
 * that a key goes to the same host behind either.
 *
 * The value of a new cookie is a hash of what tells this request from others.
 * It is computed for the choice and again for the response, so nothing has to
 * be kept in between.
 */
#include "lb_int.h"

#include <stdio.h>

/* The value of a cookie of the request; false: it has none. */
static bool find_cookie(const cn_msg_t *req, cn_str_t name, cn_str_t *value)
{
    const cn_header_t *h = NULL;

    while ((h = cn_msg_find(&req->headers, CN_STR("cookie"), h)) != NULL) {
        cn_str_t rest = h->value, pair, key;

        while (cn_str_split(&rest, ';', &pair)) {
            if (!cn_conf_keyval(cn_str_trim(pair), &key, value) || !cn_str_eq(key, name))
                continue;
            if (value->n >= 2 && value->p[0] == '"' && value->p[value->n - 1] == '"')
                *value = cn_str_make(value->p + 1, value->n - 2);
            return true;
        }
    }
    return false;
}

#define COOKIE_LEN 16

static void make_cookie(const cn_req_t *req, const cn_lb_key_t *key, char out[COOKIE_LEN + 1])
{
    const cn_facts_t *f = cn_req_facts(req);
    const cn_header_t *id = f->req ? cn_msg_get(&f->req->headers, CN_TOK_X_REQUEST_ID) : NULL;
    uint64_t seed = cn_hash_xxh(key->name, f->start_ns);
    char peer[CN_INET_TEXT];
    size_t n = cn_inet_put(peer, &f->tunnel->source, true);

    seed = cn_hash_xxh(cn_str_make(peer, n), seed);
    if (id)
        seed = cn_hash_xxh(id->value, seed);
    snprintf(out, COOKIE_LEN + 1, "%016llx", (unsigned long long)seed);
}

static bool hash_cookie(const cn_req_t *req, const cn_lb_key_t *key, uint64_t *hash)
{
    char made[COOKIE_LEN + 1];
    cn_str_t value;

    if (!find_cookie(cn_req_facts(req)->req, key->name, &value)) {
        if (!key->generate)
            return false;
        make_cookie(req, key, made);
        value = cn_str_make(made, COOKIE_LEN);
    }
    *hash = cn_hash_xxh(value, 0);
    return true;
}

/* Each line of a header counts. */
static bool hash_header(const cn_msg_t *msg, cn_str_t name, uint64_t *hash)
{
    uint32_t iter = 0;
    cn_str_t value;

    if (!cn_field_next(msg, name, &iter, &value))
        return false;
    *hash = cn_hash_xxh(value, 0);
    while (cn_field_next(msg, name, &iter, &value))
        *hash = cn_hash_xxh(value, *hash);
    return true;
}

static bool hash_source(const cn_addr_t *addr, uint64_t *hash)
{
    char ip[CN_INET_TEXT];

    if (addr->family == 0)
        return false;
    *hash = cn_hash_xxh(cn_str_make(ip, cn_inet_put(ip, addr, false)), 0);
    return true;
}

static bool hash_one(const cn_lb_key_t *key, const cn_req_t *req, uint64_t *hash)
{
    const cn_facts_t *f = cn_req_facts(req);
    cn_str_t value;

    if (key->kind == CN_LB_KEY_SOURCE_IP)
        return hash_source(&f->remote, hash);
    if (!f->req) /* a connection that is not HTTP */
        return false;
    if (key->kind == CN_LB_KEY_HEADER)
        return hash_header(f->req, key->name, hash);
    if (key->kind == CN_LB_KEY_COOKIE)
        return hash_cookie(req, key, hash);
    if (!cn_uri_query_get(f->req->query, key->name, &value))
        return false;
    *hash = cn_hash_xxh(value, 0);
    return true;
}

bool cn_lb_key_hash(const cn_lb_conf_t *c, const cn_pick_t *pick, uint64_t *hash)
{
    const cn_lb_key_t *keys = c->keys.v;
    bool any = false;
    uint64_t one;

    *hash = 0;
    if (!pick->req)
        return false;
    if (c->affinity)
        return hash_source(&cn_req_facts(pick->req)->tunnel->source, hash);
    for (uint32_t i = 0; i < c->keys.n; i++) {
        if (!hash_one(&keys[i], pick->req, &one))
            continue;
        *hash = any ? (*hash << 1 | *hash >> 63) ^ one : one;
        any = true;
    }
    return any;
}

static void give(cn_req_t *req, const cn_lb_key_t *key)
{
    cn_msg_t *resp = cn_req_edit(req);
    char made[COOKIE_LEN + 1];
    cn_str_t line;

    make_cookie(req, key, made);
    line = cn_pool_printf(cn_req_pool(req), "%.*s=\"%s\"", CN_STR_ARG(key->name), made);
    if (key->ttl_s)
        line = cn_pool_printf(cn_req_pool(req), "%.*s; Max-Age=%llu", CN_STR_ARG(line),
                              (unsigned long long)key->ttl_s);
    if (key->path.n)
        line = cn_pool_printf(cn_req_pool(req), "%.*s; Path=%.*s", CN_STR_ARG(line),
                              CN_STR_ARG(key->path));
    line = cn_pool_printf(cn_req_pool(req), "%.*s; HttpOnly", CN_STR_ARG(line));
    cn_msg_add(resp, &resp->headers, CN_STR("set-cookie"), line);
}

void cn_lb_key_give(cn_req_t *req, const cn_lb_conf_t *c)
{
    const cn_lb_key_t *keys = c->keys.v;
    const cn_msg_t *msg = cn_req_facts(req)->req;
    cn_str_t value;

    for (uint32_t i = 0; msg && i < c->keys.n; i++)
        if (keys[i].kind == CN_LB_KEY_COOKIE && keys[i].generate &&
            !find_cookie(msg, keys[i].name, &value))
            give(req, &keys[i]);
}
