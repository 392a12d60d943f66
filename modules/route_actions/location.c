/* SPDX-License-Identifier: Apache-2.0
 *
 * The Location of a redirect (facts/semantics 3.4).  Pure, but for the pool.
 */
#include "actions_int.h"

/* Splits "host:port" and "[::1]:port"; port is empty where there is none. */
static void split_authority(cn_str_t authority, cn_str_t *host, cn_str_t *port)
{
    size_t at = authority.n;

    while (at && authority.p[at - 1] >= '0' && authority.p[at - 1] <= '9')
        at--;
    *host = authority;
    *port = CN_STR_NULL;
    if (at < 2 || authority.p[at - 1] != ':')
        return;
    host->n = at - 1;
    *port = cn_str_make(authority.p + at, authority.n - at);
    /* an IPv6 address without brackets has no port */
    if (cn_str_find(*host, ':') < host->n && host->p[host->n - 1] != ']') {
        *host = authority;
        *port = CN_STR_NULL;
    }
}

static cn_str_t default_port(cn_str_t scheme)
{
    if (cn_str_eq(scheme, CN_STR("https")))
        return CN_STR("443");
    return cn_str_eq(scheme, CN_STR("http")) ? CN_STR("80") : CN_STR_NULL;
}

static cn_str_t number(cn_pool_t *pool, uint16_t port)
{
    return port ? cn_pool_printf(pool, "%u", port) : CN_STR_NULL;
}

/* The port to name; empty: none. */
static cn_str_t choose_port(cn_pool_t *pool, const cn_route_actions_redirect_t *r,
                            const cn_facts_t *facts, cn_str_t scheme, cn_str_t asked)
{
    uint16_t service = facts->tunnel ? facts->tunnel->dest.port : 0;
    cn_str_t port = CN_STR_NULL;

    switch (r->port) {
    case CN_ROUTE_ACTIONS_PORT_GIVEN:
        port = number(pool, r->number);
        break;
    case CN_ROUTE_ACTIONS_PORT_SERVICE:
        port = number(pool, service);
        break;
    case CN_ROUTE_ACTIONS_PORT_AUTO:
        port = r->scheme.n ? CN_STR_NULL : number(pool, service);
        break;
    case CN_ROUTE_ACTIONS_PORT_HOST:
        /* the old scheme's own port does not go with a new one */
        if (r->host.n == 0 && (cn_str_eq(scheme, facts->req->scheme) ||
                               !cn_str_eq(asked, default_port(facts->req->scheme))))
            return asked;
        break;
    }
    return cn_str_eq(port, default_port(scheme)) ? CN_STR_NULL : port;
}

static cn_str_t choose_path(cn_pool_t *pool, const cn_route_actions_redirect_t *r,
                            const cn_facts_t *facts)
{
    const cn_msg_t *msg = facts->req;
    cn_str_t path = r->path.n ? r->path : msg->path;

    if (r->has_prefix)
        path = cn_route_actions_prefix(pool, msg->path, facts->matched, facts->matched_segments,
                                       r->prefix);
    /* a path that brings a query of its own replaces the request's */
    if (!msg->has_query || cn_str_find(path, '?') < path.n)
        return path;
    return cn_pool_printf(pool, "%.*s?%.*s", CN_STR_ARG(path), CN_STR_ARG(msg->query));
}

cn_str_t cn_route_actions_location(cn_pool_t *pool, const cn_route_actions_redirect_t *r,
                                   const cn_facts_t *facts)
{
    cn_str_t scheme = r->scheme.n ? r->scheme : facts->req->scheme;
    cn_str_t path = choose_path(pool, r, facts);
    cn_str_t host, asked, port;

    split_authority(facts->req->authority, &host, &asked);
    port = choose_port(pool, r, facts, scheme, asked);
    if (r->host.n)
        host = r->host;
    return cn_pool_printf(pool, "%.*s://%.*s%s%.*s%.*s", CN_STR_ARG(scheme), CN_STR_ARG(host),
                          port.n ? ":" : "", CN_STR_ARG(port), CN_STR_ARG(path));
}
