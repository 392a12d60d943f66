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

/* ---- texts that hosts share ---- */

/* In front of the characters. */
typedef struct {
    uint32_t refs;
    char p[];
} text_t;

static void text_unref(cn_str_t s)
{
    text_t *t;

    if (s.n == 0)
        return;
    t = (text_t *)(uintptr_t)(s.p - offsetof(text_t, p));
    if (--t->refs == 0)
        free(t);
}

/* One that says the same as s: the other one's own when it does. */
static cn_str_t text_share(cn_str_t s, cn_str_t other)
{
    text_t *t;

    if (s.n == 0)
        return CN_STR_NULL;
    if (cn_str_eq(s, other)) {
        ((text_t *)(uintptr_t)(other.p - offsetof(text_t, p)))->refs++;
        return other;
    }
    t = cn_xmalloc(sizeof(*t) + s.n);
    t->refs = 1;
    return cn_str_make(memcpy(t->p, s.p, s.n), s.n);
}

/* ---- places ---- */

static const cn_place_t nowhere;

#define PLACE_TEXTS 7

static void list_of_endpoint(const cn_endpoint_t *ep, cn_str_t v[PLACE_TEXTS])
{
    v[0] = ep->locality.region, v[1] = ep->locality.zone, v[2] = ep->locality.subzone;
    v[3] = ep->node, v[4] = ep->network, v[5] = ep->labels, v[6] = ep->gateway_identity;
}

static void list_of_place(const cn_place_t *p, cn_str_t v[PLACE_TEXTS])
{
    v[0] = p->locality.region, v[1] = p->locality.zone, v[2] = p->locality.subzone;
    v[3] = p->node, v[4] = p->network, v[5] = p->labels, v[6] = p->gateway_identity;
}

static bool is_at(const cn_endpoint_t *ep, const cn_place_t *place)
{
    cn_str_t a[PLACE_TEXTS], b[PLACE_TEXTS];
    unsigned i = 0;

    list_of_endpoint(ep, a);
    list_of_place(place, b);
    while (i < PLACE_TEXTS && cn_str_eq(a[i], b[i]))
        i++;
    return i == PLACE_TEXTS;
}

static const cn_place_t *place_ref(const cn_place_t *place)
{
    if (place != &nowhere)
        ((cn_place_t *)(uintptr_t)place)->refs++;
    return place;
}

static void place_unref(const cn_place_t *place)
{
    cn_place_t *p = (cn_place_t *)(uintptr_t)place;
    cn_str_t v[PLACE_TEXTS];

    if (place == &nowhere || --p->refs)
        return;
    list_of_place(p, v);
    for (unsigned i = 0; i < PLACE_TEXTS; i++)
        text_unref(v[i]);
    free(p);
}

/* like: a neighbour's, whose texts are shared where they are the same. */
static const cn_place_t *place_of(const cn_endpoint_t *ep, const cn_place_t *like)
{
    cn_str_t want[PLACE_TEXTS], have[PLACE_TEXTS];
    cn_place_t *p;

    if (is_at(ep, &nowhere))
        return &nowhere;
    if (is_at(ep, like))
        return place_ref(like);
    list_of_endpoint(ep, want);
    list_of_place(like, have);
    for (unsigned i = 0; i < PLACE_TEXTS; i++)
        want[i] = text_share(want[i], have[i]);
    p = cn_xmalloc(sizeof(*p));
    *p = (cn_place_t){.refs = 1,
                      .locality = {want[0], want[1], want[2]},
                      .node = want[3],
                      .network = want[4],
                      .labels = want[5],
                      .gateway_identity = want[6]};
    return p;
}

/* ---- hosts ---- */

void cn_host_set(cn_host_t *h, const cn_endpoint_t *ep, const cn_host_t *like)
{
    const cn_place_t *before = h->place;

    if (ep->healthy && !h->healthy)
        h->fresh_ns = cn_clock_mono_ns();
    h->weight = ep->weight;
    h->healthy = ep->healthy;
    h->draining = ep->draining;
    if (is_at(ep, before))
        return;
    h->place = place_of(ep, like ? like->place : before);
    place_unref(before);
}

cn_host_t *cn_host_create(const cn_endpoint_t *ep, const cn_host_t *like)
{
    cn_host_t *h = cn_xzalloc(sizeof(*h));

    h->refs = 1;
    h->addr = ep->addr;
    h->addr.bits = 0;
    h->tunnel = (uint8_t)ep->tunnel;
    h->tunnel_addr = ep->tunnel_addr;
    h->identity = text_share(ep->identity, like ? like->identity : CN_STR_NULL);
    h->doubled = ep->doubled;
    h->place = &nowhere;
    cn_host_set(h, ep, like);
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
           cn_str_eq(h->place->gateway_identity, ep->gateway_identity);
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
    text_unref(h->identity);
    place_unref(h->place);
    free(h);
}
