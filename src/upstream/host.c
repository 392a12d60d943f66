/* SPDX-License-Identifier: Apache-2.0
 *
 * Hosts: reading an endpoint line, and the reference-counted object that keeps
 * connections and counts while the endpoint set around it changes.
 */
#include "core/hash.h"
#include "upstream/cluster.h"
#include "upstream/host.h"

#define HBONE_PORT 15008

static cn_rc parse_health(cn_str_t v, cn_endpoint_t *ep)
{
    ep->healthy = cn_str_eq(v, CN_STR("ok"));
    return ep->healthy || cn_str_eq(v, CN_STR("unhealthy")) || cn_str_eq(v, CN_STR("draining"))
               ? CN_OK
               : CN_ERR;
}

static cn_rc parse_tunnel(cn_str_t v, cn_endpoint_t *ep)
{
    ep->tunnel = cn_str_eq(v, CN_STR("hbone")) ? CN_TUNNEL_HBONE : CN_TUNNEL_NONE;
    return ep->tunnel == CN_TUNNEL_HBONE || cn_str_eq(v, CN_STR("none")) ? CN_OK : CN_ERR;
}

static const char *parse_pair(cn_str_t key, cn_str_t v, cn_endpoint_t *ep)
{
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
            return "tunnel: expected hbone or none";
    } else if (cn_str_eq(key, CN_STR("tunnel_addr"))) {
        if (cn_inet_parse_hostport(v, false, &ep->tunnel_addr) != CN_OK)
            return "tunnel_addr: expected ADDRESS:PORT";
    } else if (cn_str_eq(key, CN_STR("identity"))) {
        if (!cn_str_starts(v, CN_STR("spiffe://")))
            return "identity: expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT";
        ep->identity = v;
    } else {
        return "unknown key: expected weight, health, tunnel, tunnel_addr or identity";
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
        ep->tunnel_addr.port = HBONE_PORT;
    }
    return CN_OK;
}

cn_host_t *cn_host_create(const cn_endpoint_t *ep)
{
    cn_pool_t *pool = cn_pool_create(512);
    cn_host_t *h = cn_pool_zalloc(pool, sizeof(*h));

    h->refs = 1;
    h->pool = pool;
    h->addr = ep->addr;
    h->tunnel = ep->tunnel;
    h->tunnel_addr = ep->tunnel_addr;
    h->identity = cn_pool_dup(pool, ep->identity);
    h->weight = ep->weight;
    h->healthy = ep->healthy;
    cn_list_init(&h->idle);
    cn_list_init(&h->tunnels);
    return h;
}

bool cn_host_is(const cn_host_t *h, const cn_endpoint_t *ep)
{
    return h->addr.port == ep->addr.port && cn_inet_same_ip(&h->addr, &ep->addr) &&
           h->tunnel == ep->tunnel && h->tunnel_addr.port == ep->tunnel_addr.port &&
           cn_inet_same_ip(&h->tunnel_addr, &ep->tunnel_addr) &&
           cn_str_eq(h->identity, ep->identity);
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
    CN_BUG_ON(!cn_list_empty(&h->idle) || !cn_list_empty(&h->tunnels));
    cn_pool_destroy(h->pool);
}
