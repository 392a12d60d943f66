/* SPDX-License-Identifier: Apache-2.0
 *
 * What a CONNECT of ours says beside its target (hbone.md 1.3, 2.4), in the
 * form that ztunnel writes and reads: `forwarded` names the service that the
 * tunnel is for, so that the receiver counts it there, and the client where the
 * tunnel is its alone; `baggage` describes this waypoint by the record of its
 * own pod.
 */
#include "hbone_int.h"

#define BAGGAGE_MAX 1024u

static bool is_plain(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-' || c == '/' || c == ':';
}

/* ztunnel's form knows no escapes: a value that would need them is left out. */
static bool fits(cn_str_t value)
{
    for (size_t i = 0; i < value.n; i++)
        if (!is_plain(value.p[i]))
            return false;
    return value.n > 0;
}

static void add(cn_headers_t *headers, cn_str_t name, cn_str_t value)
{
    headers->v[headers->n++] = (cn_header_t){name, value, cn_token_find(name)};
}

void cn_hbone_say_forwarded(cn_pool_t *pool, cn_headers_t *headers, const cn_cluster_t *cluster,
                            const cn_uasked_t *asked)
{
    bool alone = asked->spoken == CN_SPOKEN_BYTES && asked->source.family;
    cn_str_t host = fits(cluster->conf->host) ? cluster->conf->host : CN_STR_NULL;
    char from[CN_INET_TEXT];
    cn_str_t text = CN_STR_NULL;

    if (alone) {
        cn_inet_put(from, &asked->source, true);
        text = cn_pool_printf(pool, "for=\"%s\"", from);
    }
    if (host.n)
        text = cn_pool_printf(pool, "%.*s%shost=%.*s", CN_STR_ARG(text), alone ? ";" : "",
                              CN_STR_ARG(host));
    if (text.n)
        add(headers, CN_STR("forwarded"), text);
}

static size_t put_pair(char *buf, size_t n, cn_str_t key, cn_str_t value)
{
    if (!fits(value) || n + key.n + value.n + 2 > BAGGAGE_MAX)
        return n;
    if (n)
        buf[n++] = ',';
    memcpy(buf + n, key.p, key.n);
    n += key.n;
    buf[n++] = '=';
    memcpy(buf + n, value.p, value.n);
    return n + value.n;
}

static size_t put_name(char *buf, size_t n, const cn_workload_t *us, cn_pool_t *pool)
{
    if (!fits(us->type))
        return n;
    return put_pair(buf, n, cn_pool_printf(pool, "k8s.%.*s.name", CN_STR_ARG(us->type)),
                    us->workload);
}

static size_t put_place(char *buf, size_t n, const cn_workload_t *us)
{
    cn_locality_t at;

    if (us->locality.n == 0 || cn_locality_parse(us->locality, &at) != CN_OK)
        return n;
    n = put_pair(buf, n, CN_STR("cloud.region"), at.region);
    return put_pair(buf, n, CN_STR("cloud.availability_zone"), at.zone);
}

void cn_hbone_say_baggage(cn_msg_t *head, const cn_workload_t *us)
{
    char *buf = cn_pool_bytes(head->pool, BAGGAGE_MAX);
    size_t n = put_pair(buf, 0, CN_STR("k8s.cluster.name"), us->cluster);

    n = put_pair(buf, n, CN_STR("k8s.namespace.name"), us->ns);
    n = put_name(buf, n, us, head->pool);
    n = put_pair(buf, n, CN_STR("service.name"), us->canonical_name);
    n = put_pair(buf, n, CN_STR("service.version"), us->canonical_revision);
    n = put_place(buf, n, us);
    if (n)
        cn_msg_add(head, &head->headers, CN_STR("baggage"), cn_str_make(buf, n));
}
