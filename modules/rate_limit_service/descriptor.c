/* SPDX-License-Identifier: Apache-2.0
 *
 * What is asked about a request: its values for each descriptor of the
 * configuration.  As in Envoy a descriptor for which one value is missing is
 * not sent.
 */
#include "rls_int.h"

static bool matches(const cn_rule_set_t *match, const cn_facts_t *f)
{
    cn_rule_view_t view;

    if (match->run.n == 0)
        return true;
    cn_rule_view(&view, f->tunnel, &f->remote, f->sni, f->req);
    return cn_rule_set_match(match, &view);
}

bool rls_applies(const rls_t *s, const cn_facts_t *f)
{
    return matches(&s->match, f);
}

/* ---- values ---- */

/* All lines, joined by commas as one field (RFC 9110 5.2). */
static cn_str_t header_value(const cn_msg_t *msg, cn_str_t name, cn_pool_t *pool)
{
    cn_str_t line, all = CN_STR_NULL;
    uint32_t iter = 0, n = 0;

    while (cn_field_next(msg, name, &iter, &line))
        all = n++ ? cn_pool_printf(pool, "%.*s,%.*s", CN_STR_ARG(all), CN_STR_ARG(line)) : line;
    return all;
}

static cn_str_t address_value(const rls_entry_t *e, const cn_facts_t *f, cn_pool_t *pool)
{
    cn_addr_t a = f->remote.family ? f->remote : f->tunnel->source;
    unsigned all = a.family == AF_INET ? 32 : 128, bits = a.family == AF_INET ? e->v4 : e->v6;
    char *buf = cn_pool_bytes(pool, CN_INET_TEXT);

    for (unsigned i = 0; i < sizeof(a.ip); i++) {
        unsigned left = bits > i * 8 ? bits - i * 8 : 0;

        if (left < 8)
            a.ip[i] = (uint8_t)(a.ip[i] & (0xff00 >> left));
    }
    cn_str_t text = {buf, cn_inet_put(buf, &a, false)};
    return bits == all ? text : cn_pool_printf(pool, "%.*s/%u", CN_STR_ARG(text), bits);
}

static cn_str_t identity_value(const rls_entry_t *e, const cn_facts_t *f)
{
    cn_spiffe_t id;

    if (e->source == RLS_PRINCIPAL)
        return f->tunnel->identity;
    if (f->tunnel->identity.n == 0 || cn_spiffe_parse(f->tunnel->identity, &id) != CN_OK)
        return CN_STR_NULL;
    return e->source == RLS_NAMESPACE ? id.ns : id.sa;
}

static cn_str_t query_value(const rls_entry_t *e, const cn_facts_t *f)
{
    cn_str_t value;

    return cn_uri_query_get(f->req->query, e->arg, &value) ? value : CN_STR_NULL;
}

static cn_str_t path_value(const cn_facts_t *f, cn_pool_t *pool)
{
    const cn_msg_t *m = f->req;

    if (!m->has_query)
        return m->path;
    return cn_pool_printf(pool, "%.*s?%.*s", CN_STR_ARG(m->path), CN_STR_ARG(m->query));
}

static cn_str_t host_value(const cn_facts_t *f)
{
    uint16_t port;
    cn_str_t host;

    return cn_uri_authority(f->req->authority, &host, &port) == CN_OK ? host : CN_STR_NULL;
}

static cn_str_t value_of(const rls_entry_t *e, const cn_facts_t *f, cn_pool_t *pool)
{
    switch (e->source) {
    case RLS_VALUE:
        return e->arg;
    case RLS_HEADER:
        return header_value(f->req, e->arg, pool);
    case RLS_QUERY:
        return query_value(e, f);
    case RLS_REMOTE_IP:
        return address_value(e, f, pool);
    case RLS_PRINCIPAL:
    case RLS_NAMESPACE:
    case RLS_SERVICE_ACCOUNT:
        return identity_value(e, f);
    case RLS_METHOD:
        return f->req->method;
    case RLS_PATH:
        return path_value(f, pool);
    case RLS_HOST:
        return host_value(f);
    case RLS_SERVICE:
        return f->section->name;
    case RLS_ROUTE:
        return f->route ? f->route->name : CN_STR_NULL;
    case RLS_CLUSTER:
        return f->cluster_name;
    }
    return CN_STR_NULL;
}

/* False: a value is missing. */
static bool fill_one(const rls_descriptor_t *d, const cn_facts_t *f, cn_pool_t *pool,
                     rls_filled_t *out)
{
    const rls_entry_t *e = d->entries.v;

    *out = (rls_filled_t){.from = d};
    for (uint32_t i = 0; i < d->entries.n; i++) {
        cn_str_t value = value_of(&e[i], f, pool);

        if (value.n)
            out->pairs[out->n++] = (rls_pair_t){e[i].key, value};
        else if (!e[i].optional)
            return false;
    }
    return out->n > 0;
}

void rls_fill(const rls_t *s, const cn_facts_t *f, cn_pool_t *pool, cn_vec_t *out)
{
    const rls_descriptor_t *d = s->descriptors.v;
    rls_filled_t one;

    for (uint32_t i = 0; i < s->descriptors.n; i++)
        if (matches(&d[i].match, f) && fill_one(&d[i], f, pool, &one))
            *(rls_filled_t *)cn_vec_push(pool, out, sizeof(one)) = one;
}

/* ---- in words ---- */

/* Values that carry credentials are never shown. */
static bool is_secret(const rls_filled_t *d, cn_str_t key)
{
    const rls_entry_t *e = d->from->entries.v;

    for (uint32_t i = 0; i < d->from->entries.n; i++)
        if (cn_str_eq(e[i].key, key) && e[i].source == RLS_HEADER &&
            (cn_str_eq(e[i].arg, CN_STR("authorization")) ||
             cn_str_eq(e[i].arg, CN_STR("cookie")) ||
             cn_str_eq(e[i].arg, CN_STR("proxy-authorization"))))
            return true;
    return false;
}

cn_str_t rls_text(const rls_filled_t *d, cn_pool_t *pool)
{
    cn_str_t text = CN_STR_NULL;

    for (uint32_t i = 0; i < d->n; i++) {
        cn_str_t value = is_secret(d, d->pairs[i].key) ? CN_STR("(not shown)") : d->pairs[i].value;

        text = cn_pool_printf(pool, "%.*s%s%.*s=%.*s", CN_STR_ARG(text), i ? ", " : "",
                              CN_STR_ARG(d->pairs[i].key), CN_STR_ARG(value));
    }
    return text;
}
