/* SPDX-License-Identifier: Apache-2.0
 *
 * Hosts: reading an endpoint line, and the reference-counted object that keeps
 * connections and counts while the endpoint set around it changes.
 */
#include "upstream/host.h"

#include <stdlib.h>

#include "core/clock.h"
#include "core/hash.h"

#define HBONE_PORT 15008

static cn_rc parse_health(cn_str_t v, cn_endpoint_t *ep)
{
    ep->healthy = cn_str_eq(v, CN_STR("ok"));
    ep->draining = cn_str_eq(v, CN_STR("draining"));
    return ep->healthy || ep->draining || cn_str_eq(v, CN_STR("unhealthy")) ? CN_OK : CN_ERR;
}

static cn_rc parse_tunnel(cn_str_t v, cn_endpoint_t *ep)
{
    ep->doubled = cn_str_eq(v, CN_STR("double_hbone"));
    ep->tunnel = ep->doubled || cn_str_eq(v, CN_STR("hbone")) ? CN_TUNNEL_HBONE : CN_TUNNEL_NONE;
    return ep->tunnel == CN_TUNNEL_HBONE || cn_str_eq(v, CN_STR("none")) ? CN_OK : CN_ERR;
}

/* "key=value,key=value", each key with a value that may be empty. */
static cn_rc parse_labels(cn_str_t v, cn_endpoint_t *ep)
{
    cn_str_t rest = v, pair, key, value;

    ep->labels = v;
    if (v.n > CN_ENDPOINT_LABELS)
        return CN_ERR;
    while (cn_str_split(&rest, ',', &pair))
        if (!cn_conf_keyval(pair, &key, &value) || key.n == 0)
            return CN_ERR;
    return CN_OK;
}

/* What tells where an endpoint is and what it is.  CN_DECLINE: another key. */
static cn_rc parse_attribute(cn_str_t key, cn_str_t v, cn_endpoint_t *ep, const char **why)
{
    if (cn_str_eq(key, CN_STR("locality"))) {
        *why = "locality: expected REGION/ZONE/SUBZONE, the last two may be missing";
        return cn_locality_parse(v, &ep->locality);
    }
    if (cn_str_eq(key, CN_STR("labels"))) {
        *why = "labels: expected KEY=VALUE,KEY=VALUE of at most 4096 bytes";
        return parse_labels(v, ep);
    }
    *why = "node and network: expected a name of at most 253 characters";
    if (cn_str_eq(key, CN_STR("node")))
        ep->node = v;
    else if (cn_str_eq(key, CN_STR("network")))
        ep->network = v;
    else
        return CN_DECLINE;
    return v.n > 0 && v.n <= CN_LOCALITY_NAME ? CN_OK : CN_ERR;
}

static const char *parse_pair(cn_str_t key, cn_str_t v, cn_endpoint_t *ep)
{
    const char *why;
    uint64_t n;

    if (cn_str_eq(key, CN_STR("weight"))) {
        if (cn_str_u64(v, 1u << 20, &n) != CN_OK || n == 0)
            return "weight: expected a number from 1 to 1048576";
        ep->weight = (uint32_t)n;
    } else if (cn_str_eq(key, CN_STR("health"))) {
        if (parse_health(v, ep) != CN_OK)
            return "health: expected ok, unhealthy or draining";
    } else if (cn_str_eq(key, CN_STR("tunnel"))) {
        if (parse_tunnel(v, ep) != CN_OK)
            return "tunnel: expected hbone, double_hbone or none";
    } else if (cn_str_eq(key, CN_STR("tunnel_addr"))) {
        if (cn_inet_parse_hostport(v, false, &ep->tunnel_addr) != CN_OK)
            return "tunnel_addr: expected ADDRESS:PORT";
    } else if (cn_str_eq(key, CN_STR("identity"))) {
        if (!cn_str_starts(v, CN_STR("spiffe://")))
            return "identity: expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT";
        ep->identity = v;
    } else if (cn_str_eq(key, CN_STR("gateway_identity"))) {
        if (!cn_str_starts(v, CN_STR("spiffe://")))
            return "gateway_identity: expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT";
        ep->gateway_identity = v;
    } else {
        switch (parse_attribute(key, v, ep, &why)) {
        case CN_OK:
            break;
        case CN_DECLINE:
            return "unknown key: expected weight, health, tunnel, tunnel_addr, identity, "
                   "gateway_identity, locality, node, network or labels";
        default:
            return why;
        }
    }
    return NULL;
}

cn_rc cn_endpoint_parse(cn_str_t line, cn_endpoint_t *ep, const char **why)
{
    cn_str_t word, key = CN_STR_NULL, value = CN_STR_NULL;

    *ep = (cn_endpoint_t){.weight = 1, .healthy = true};
    *why = "expected ADDRESS:PORT first";
    line = cn_str_trim(line);
    if (!cn_str_split(&line, ' ', &word) || cn_inet_parse_hostport(word, true, &ep->addr) != CN_OK)
        return CN_ERR;
    while (cn_str_split(&line, ' ', &word)) {
        if (word.n == 0)
            continue;
        if (!cn_conf_keyval(word, &key, &value)) {
            *why = "expected KEY=VALUE behind the address";
            return CN_ERR;
        }
        *why = parse_pair(key, value, ep);
        if (*why)
            return CN_ERR;
    }
    if (ep->tunnel_addr.family == 0) {
        ep->tunnel_addr = ep->addr;
        if (!ep->doubled || ep->addr.port == 0) /* else it is the gateway's own */
            ep->tunnel_addr.port = HBONE_PORT;
    }
    *why = "gateway_identity: only with tunnel=double_hbone";
    if (ep->gateway_identity.n && !ep->doubled)
        return CN_ERR;
    return CN_OK;
}

bool cn_host_labels_have(cn_str_t labels, cn_str_t wanted)
{
    bool whole = cn_str_find(wanted, '=') < wanted.n;
    cn_str_t pair;

    while (cn_str_split(&labels, ',', &pair)) {
        if (!whole)
            pair.n = cn_str_find(pair, '=');
        if (cn_str_eq(pair, wanted))
            return true;
    }
    return false;
}

cn_str_t cn_host_labels_get(cn_str_t labels, cn_str_t wanted)
{
    cn_str_t pair, key, value;

    while (cn_str_split(&labels, ',', &pair))
        if (cn_conf_keyval(pair, &key, &value) && cn_str_eq(key, wanted))
            return value;
    return CN_STR_NULL;
}

/* ---- attributes ---- */

#define ATTRIBUTES 6

/* The same fields of a host and of an endpoint line, in one order. */
static void list_of_endpoint(const cn_endpoint_t *ep, cn_str_t v[ATTRIBUTES])
{
    v[0] = ep->locality.region, v[1] = ep->locality.zone, v[2] = ep->locality.subzone;
    v[3] = ep->node, v[4] = ep->network, v[5] = ep->labels;
}

static void list_of_host(cn_host_t *h, cn_str_t *v[ATTRIBUTES])
{
    v[0] = &h->locality.region, v[1] = &h->locality.zone, v[2] = &h->locality.subzone;
    v[3] = &h->node, v[4] = &h->network, v[5] = &h->labels;
}

static void set_attributes(cn_host_t *h, const cn_endpoint_t *ep)
{
    cn_str_t from[ATTRIBUTES], *to[ATTRIBUTES];
    bool same = true;
    size_t total = 0;
    char *p;

    list_of_endpoint(ep, from);
    list_of_host(h, to);
    for (unsigned i = 0; i < ATTRIBUTES; i++) {
        same = same && cn_str_eq(from[i], *to[i]);
        total += from[i].n;
    }
    if (same)
        return;
    free(h->attributes);
    h->attributes = p = total ? cn_xmalloc(total) : NULL;
    for (unsigned i = 0; i < ATTRIBUTES; i++) {
        *to[i] = cn_str_make(p, from[i].n);
        if (from[i].n)
            memcpy(p, from[i].p, from[i].n);
        p = from[i].n ? p + from[i].n : p;
    }
}

void cn_host_set(cn_host_t *h, const cn_endpoint_t *ep)
{
    if (ep->healthy && !h->healthy)
        h->fresh_ns = cn_clock_mono_ns();
    h->weight = ep->weight;
    h->healthy = ep->healthy;
    h->draining = ep->draining;
    set_attributes(h, ep);
}

/* First bytes for a host, beside its identities: there are tens of thousands.  The pool's heads,
 * the host, and the key of one that was passed through. */
#define HOST_POOL (sizeof(cn_host_t) + 120)

cn_host_t *cn_host_create(const cn_endpoint_t *ep)
{
    cn_pool_t *pool = cn_pool_create(HOST_POOL + ep->identity.n + ep->gateway_identity.n);
    cn_host_t *h = cn_pool_zalloc(pool, sizeof(*h));

    h->refs = 1;
    h->pool = pool;
    h->addr = ep->addr;
    h->tunnel = ep->tunnel;
    h->tunnel_addr = ep->tunnel_addr;
    h->identity = cn_pool_dup(pool, ep->identity);
    h->doubled = ep->doubled;
    h->gateway_identity = cn_pool_dup(pool, ep->gateway_identity);
    cn_host_set(h, ep);
    cn_list_init(&h->idle);
    cn_list_init(&h->sessions);
    cn_list_init(&h->tunnels);
    return h;
}

bool cn_host_is(const cn_host_t *h, const cn_endpoint_t *ep)
{
    return h->addr.port == ep->addr.port && cn_inet_same_ip(&h->addr, &ep->addr) &&
           h->tunnel == ep->tunnel && h->tunnel_addr.port == ep->tunnel_addr.port &&
           cn_inet_same_ip(&h->tunnel_addr, &ep->tunnel_addr) && h->doubled == ep->doubled &&
           cn_str_eq(h->identity, ep->identity) &&
           cn_str_eq(h->gateway_identity, ep->gateway_identity);
}

cn_str_t cn_host_tunnel(const cn_host_t *h)
{
    if (h->tunnel != CN_TUNNEL_HBONE)
        return CN_STR("none");
    return h->doubled ? CN_STR("double_hbone") : CN_STR("hbone");
}

uint64_t cn_host_hash(const cn_addr_t *addr)
{
    char key[sizeof(addr->ip) + sizeof(addr->port)];

    memcpy(key, addr->ip, sizeof(addr->ip));
    memcpy(key + sizeof(addr->ip), &addr->port, sizeof(addr->port));
    return cn_hash_xxh(cn_str_make(key, sizeof(key)), 0);
}

cn_host_t *cn_host_ref(cn_host_t *h)
{
    h->refs++;
    return h;
}

void cn_host_unref(cn_host_t *h)
{
    if (!h || --h->refs)
        return;
    CN_BUG_ON(!cn_list_empty(&h->idle) || !cn_list_empty(&h->tunnels) ||
              !cn_list_empty(&h->sessions));
    free(h->attributes);
    cn_pool_destroy(h->pool);
}
