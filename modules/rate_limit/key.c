/* SPDX-License-Identifier: Apache-2.0
 *
 * Which requests a limit is for, and which of its buckets a request belongs
 * to.  Values of clients go through a keyed hash, so nobody outside can choose
 * two that share a bucket or a place in the table.
 */
#include "rate_limit_int.h"

const cn_rule_view_t *cn_rate_limit_view(cn_rate_limit_view_t *v)
{
    if (!v->viewed) {
        cn_rule_view(&v->view, v->facts->tunnel, &v->facts->remote, v->facts->sni, v->facts->req);
        v->viewed = true;
    }
    return &v->view;
}

bool cn_rate_limit_applies(const cn_rate_limit_t *l, cn_rate_limit_view_t *v)
{
    /* no view for a limit of everything */
    return l->match.run.n == 0 || cn_rule_set_match(&l->match, cn_rate_limit_view(v));
}

/* ---- values ---- */

/* The leading bits of an address. */
static cn_addr_t masked(const cn_addr_t *a, const cn_rate_limit_key_t *k)
{
    unsigned bits = a->family == AF_INET ? k->v4 : k->v6;
    cn_addr_t out = {.family = a->family};

    for (unsigned i = 0; i < sizeof(out.ip) && bits; i++) {
        unsigned take = bits < 8 ? bits : 8;

        out.ip[i] = (uint8_t)(a->ip[i] & (0xff << (8 - take)));
        bits -= take;
    }
    return out;
}

static cn_addr_t remote_of(const cn_facts_t *f, const cn_rate_limit_key_t *k)
{
    return masked(f->remote.family ? &f->remote : &f->tunnel->source, k);
}

/* A value that is one text; false: the request has none. */
static bool text_of(const cn_rate_limit_key_t *k, cn_rate_limit_view_t *v, cn_str_t *out)
{
    const cn_facts_t *f = v->facts;

    switch (k->part) {
    case CN_RATE_LIMIT_PRINCIPAL:
        *out = f->tunnel->identity;
        return out->n > 0;
    case CN_RATE_LIMIT_NAMESPACE:
        *out = cn_rate_limit_view(v)->ns;
        return out->n > 0;
    case CN_RATE_LIMIT_SERVICE_ACCOUNT: /* with its namespace: ns/NS/sa/SA */
        *out = cn_rate_limit_view(v)->sa;
        if (out->n)
            *out = cn_str_make(v->view.ns.p, (size_t)(out->p + out->n - v->view.ns.p));
        return out->n > 0;
    case CN_RATE_LIMIT_QUERY:
        return cn_uri_query_get(f->req->query, k->name, out);
    case CN_RATE_LIMIT_METHOD:
        *out = f->req->method;
        return true;
    case CN_RATE_LIMIT_PATH:
        *out = f->req->path;
        return true;
    default:
        return false;
    }
}

/* ---- tags ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
    const uint64_t pair[2] = {a, b};

    return cn_hash_sip(cn_str_make((const char *)pair, sizeof(pair)));
}

static uint64_t hash_headers(const cn_msg_t *msg, cn_str_t name, uint64_t h)
{
    cn_str_t line;
    uint32_t iter = 0;

    while (cn_field_next(msg, name, &iter, &line))
        h = mix(h, cn_hash_sip(line));
    return h;
}

static uint64_t hash_part(const cn_rate_limit_key_t *k, cn_rate_limit_view_t *v, uint64_t h)
{
    cn_addr_t a;
    cn_str_t text;

    if (k->part == CN_RATE_LIMIT_HEADER)
        return mix(hash_headers(v->facts->req, k->name, h), 1);
    if (k->part == CN_RATE_LIMIT_REMOTE_IP) {
        a = remote_of(v->facts, k);
        return mix(h, cn_hash_sip(cn_str_make((const char *)&a, sizeof(a))));
    }
    return text_of(k, v, &text) ? mix(h, cn_hash_sip(text)) : mix(h, 0);
}

uint64_t cn_rate_limit_tag(const cn_rate_limit_t *l, cn_rate_limit_view_t *v, unsigned worker)
{
    const cn_rate_limit_key_t *keys = l->keys.v;
    uint64_t h = mix(l->id, l->scope == CN_RATE_LIMIT_WORKER ? worker + 1 : 0);

    for (uint32_t i = 0; i < l->keys.n; i++)
        h = hash_part(&keys[i], v, h);
    return h ? h : 1;
}

/* ---- in words ---- */

typedef struct {
    char *p;
    size_t n; /* always < CN_RATE_LIMIT_TEXT */
} text_t;

static void put(text_t *t, cn_str_t s)
{
    size_t room = CN_RATE_LIMIT_TEXT - 1 - t->n;
    size_t n = s.n < room ? s.n : room;

    if (n)
        memcpy(t->p + t->n, s.p, n);
    t->n += n;
    t->p[t->n] = '\0';
}

static void put_value(text_t *t, cn_str_t value)
{
    put(t, CN_STR(" \""));
    put(t, value);
    put(t, CN_STR("\""));
}

/* Values that carry credentials are never shown. */
static bool is_secret(cn_str_t name)
{
    return cn_str_eq(name, CN_STR("authorization")) || cn_str_eq(name, CN_STR("cookie")) ||
           cn_str_eq(name, CN_STR("proxy-authorization"));
}

static void put_headers(text_t *t, const cn_msg_t *msg, cn_str_t name)
{
    cn_str_t line;
    uint32_t iter = 0, n = 0;

    while (cn_field_next(msg, name, &iter, &line) && ++n) {
        if (is_secret(name))
            put(t, CN_STR(" (not shown)"));
        else
            put_value(t, line);
    }
    if (n == 0)
        put(t, CN_STR(" (none)"));
}

static void put_part(text_t *t, const cn_rate_limit_key_t *k, cn_rate_limit_view_t *v)
{
    static const char *const names[] = {[CN_RATE_LIMIT_REMOTE_IP] = "remote_ip",
                                        [CN_RATE_LIMIT_PRINCIPAL] = "principal",
                                        [CN_RATE_LIMIT_NAMESPACE] = "namespace",
                                        [CN_RATE_LIMIT_SERVICE_ACCOUNT] = "service_account",
                                        [CN_RATE_LIMIT_HEADER] = "header ",
                                        [CN_RATE_LIMIT_QUERY] = "query ",
                                        [CN_RATE_LIMIT_METHOD] = "method",
                                        [CN_RATE_LIMIT_PATH] = "path"};
    char buf[CN_INET_TEXT];
    cn_str_t value;
    cn_addr_t a;

    put(t, cn_str_c(names[k->part]));
    put(t, k->name);
    if (k->part == CN_RATE_LIMIT_HEADER) {
        put_headers(t, v->facts->req, k->name);
    } else if (k->part == CN_RATE_LIMIT_REMOTE_IP) {
        a = remote_of(v->facts, k);
        put_value(t, cn_str_make(buf, cn_inet_put(buf, &a, false)));
    } else if (text_of(k, v, &value)) {
        put_value(t, value);
    } else {
        put(t, CN_STR(" (none)"));
    }
}

void cn_rate_limit_key_text(const cn_rate_limit_t *l, cn_rate_limit_view_t *v,
                            char buf[CN_RATE_LIMIT_TEXT])
{
    const cn_rate_limit_key_t *keys = l->keys.v;
    text_t t = {buf, 0};

    buf[0] = '\0';
    if (l->keys.n == 0)
        put(&t, CN_STR("all requests together"));
    for (uint32_t i = 0; i < l->keys.n; i++) {
        put(&t, i ? CN_STR(", ") : CN_STR(""));
        put_part(&t, &keys[i], v);
    }
}
