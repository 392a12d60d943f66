/* SPDX-License-Identifier: Apache-2.0
 *
 * The "sandwich": a ztunnel in front of the waypoint accepts HBONE and hands
 * each tunnel over as a plain connection with a PROXY header (Istio annotation
 * ambient.istio.io/waypoint-inbound-binding: PROXY/15088).  parse.c reads
 * headers, accept.c connections.  Here: the module, its settings and numbers.
 */
#include <stdio.h>
#include <stdlib.h>

#include "pproxy_int.h"

static const cn_range_t waiting_range = {1, 1000000};

static cn_rc add_block(cn_conf_t *cf, pproxy_conf_t *c, cn_str_t text)
{
    cn_addr_t block;

    if (cn_inet_parse_block(text, &block) != CN_OK)
        return cn_conf_error(cf, "\"%.*s\" is not an address or block, such as 10.0.0.0/8",
                             CN_STR_ARG(text));
    *(cn_addr_t *)cn_vec_push(cn_conf_pool(cf), &c->from, sizeof(block)) = block;
    return CN_OK;
}

static cn_rc set_from(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                      unsigned argc)
{
    pproxy_conf_t *c = conf;

    (void)d;
    if (cn_conf_first(cf))
        c->from = (cn_vec_t){0};
    for (unsigned i = 1; i < argc; i++)
        if (add_block(cf, c, argv[i]) != CN_OK)
            return CN_ERR;
    return CN_OK;
}

static const cn_directive_t directives[] = {
    {
        .name = "proxy_protocol_from",
        .where = CN_AT_MAIN | CN_D_REPEAT,
        .args = CN_ARGS(1, CN_ARGS_ANY),
        .set = set_from,
        .syntax = "proxy_protocol_from CIDR...",
        .help = "Who may connect to a `listen ADDR proxy_protocol`: whoever does is believed about "
                "the identity of its clients. Others are closed.",
        .deflt = "127.0.0.0/8 ::1/128",
    },
    {
        .name = "proxy_protocol_timeout",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_ms,
        .off = offsetof(pproxy_conf_t, timeout_ms),
        .syntax = "proxy_protocol_timeout TIME",
        .help = "For the whole PROXY header of a connection, from its start.",
        .deflt = "10s",
    },
    {
        .name = "proxy_protocol_max_waiting",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_u32,
        .off = offsetof(pproxy_conf_t, max_waiting),
        .arg = &waiting_range,
        .syntax = "proxy_protocol_max_waiting NUMBER",
        .help = "Connections in one worker whose PROXY header has not come yet; a further one is "
                "closed at once.",
        .deflt = "1000",
    },
    {.name = NULL}};

static cn_rc init_main(cn_conf_t *cf, void *conf, const void *parent)
{
    pproxy_conf_t *c = conf;

    (void)parent;
    *c = (pproxy_conf_t){.timeout_ms = 10000, .max_waiting = 1000};
    if (add_block(cf, c, CN_STR("127.0.0.0/8")) != CN_OK)
        return CN_ERR;
    return add_block(cf, c, CN_STR("::1/128"));
}

static cn_rc check_main(cn_conf_t *cf, void *conf)
{
    const pproxy_conf_t *c = conf;

    if (c->timeout_ms == 0)
        return cn_conf_error(cf, "proxy_protocol_timeout: a limit is needed");
    return CN_OK;
}

/* ---- numbers ---- */

static const cn_metric_def_t connections = {"cairn_proxy_protocol_connections_total",
                                            CN_METRIC_COUNTER,
                                            "Connections to PROXY protocol listeners."};
static const cn_metric_def_t waiting = {
    "cairn_proxy_protocol_waiting", CN_METRIC_GAUGE,
    "Connections whose PROXY header has not come completely yet."};
static const cn_metric_def_t tunnels = {"cairn_proxy_protocol_tunnels_total", CN_METRIC_COUNTER,
                                        "Connections whose PROXY header was accepted."};
static const cn_metric_def_t refused = {
    "cairn_proxy_protocol_refused_total", CN_METRIC_COUNTER,
    "Connections to PROXY protocol listeners that were closed unserved, by reason."};

static const cn_metric_def_t *const metrics[] = {&connections, &waiting, &tunnels, &refused, NULL};

static cn_series_t *series(pproxy_t *pp, const cn_metric_def_t *def, cn_str_t labels)
{
    cn_stats_t *stats = cn_worker_stats(pp->w);

    return stats ? cn_stats_series(stats, cn_worker_metric(pp->w, def), labels) : NULL;
}

void pproxy_count(pproxy_t *pp, pproxy_reason reason)
{
    static const char *const words[PPROXY_REASONS] = {
        [PPROXY_STRANGER] = "stranger",   [PPROXY_OVERLOAD] = "overload",
        [PPROXY_CLOSED] = "closed",       [PPROXY_TIMEOUT] = "timeout",
        [PPROXY_MALFORMED] = "malformed", [PPROXY_NO_DESTINATION] = "no_destination",
        [PPROXY_IDENTITY] = "identity",   [PPROXY_NO_SERVICE] = "no_service",
    };
    char text[64];
    int n = snprintf(text, sizeof(text), "reason=\"%s\"", words[reason]);

    cn_series_add(series(pp, &refused, cn_str_make(text, (size_t)n)), 1);
}

/* ---- life ---- */

static cn_rc worker_init(cn_worker_t *w, void **wctx)
{
    pproxy_t *pp = cn_xzalloc(sizeof(*pp));

    pp->w = w;
    pp->loop = cn_worker_loop(w);
    cn_list_init(&pp->waiting);
    pp->connections = series(pp, &connections, CN_STR_NULL);
    pp->waiting_series = series(pp, &waiting, CN_STR_NULL);
    pp->tunnels = series(pp, &tunnels, CN_STR_NULL);
    /* A respawned worker inherits the number of the one before it. */
    cn_series_set(pp->waiting_series, 0);
    *wctx = pp;
    return CN_OK;
}

static void reconfigured(cn_worker_t *w, void *wctx, const void *conf)
{
    (void)w;
    ((pproxy_t *)wctx)->conf = conf;
}

static void worker_fini(cn_worker_t *w, void *wctx)
{
    (void)w;
    pproxy_accept_fini(wctx);
    free(wctx);
}

static const cn_listener_ops_t *const listeners[] = {&pproxy_listener, NULL};

const cn_module_t cn_module_proxy_protocol = {
    .abi = CN_MODULE_ABI,
    .name = "proxy_protocol",
    .directives = directives,
    .conf[CN_LV_MAIN] = {.size = sizeof(pproxy_conf_t), .init = init_main, .done = check_main},
    .metrics = metrics,
    .worker_init = worker_init,
    .reconfigured = reconfigured,
    .worker_fini = worker_fini,
    .listeners = listeners,
};
