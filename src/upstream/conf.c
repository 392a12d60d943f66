/* SPDX-License-Identifier: Apache-2.0
 *
 * CLUSTER-level settings of the core.
 */
#include "upstream/cluster.h"

static const cn_enum_t protocols[] = {{"auto", CN_PROTO_AUTO},   {"http", CN_PROTO_HTTP1},
                                      {"http2", CN_PROTO_HTTP2}, {"grpc", CN_PROTO_GRPC},
                                      {"tcp", CN_PROTO_TCP},     {NULL, 0}};

static cn_rc set_service(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc)
{
    cn_cluster_conf_t *cc = conf;
    uint64_t port = 0;

    cc->service_name = argv[1];
    cc->service_namespace = argv[2];
    if (argc > 3 && cn_str_u64(argv[3], 65535, &port) != CN_OK)
        return cn_conf_error(cf, "\"%.*s\" is not a port number", CN_STR_ARG(argv[3]));
    cc->service_port = (uint32_t)port;
    return CN_OK;
}

/* The arguments as one line of the endpoints format. */
static cn_str_t join(cn_pool_t *pool, const cn_str_t *argv, unsigned argc)
{
    cn_str_t line = argv[1];

    for (unsigned i = 2; i < argc; i++)
        line = cn_pool_printf(pool, "%.*s %.*s", CN_STR_ARG(line), CN_STR_ARG(argv[i]));
    return line;
}

static cn_rc set_endpoint(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                          const cn_str_t *argv, unsigned argc)
{
    cn_cluster_conf_t *cc = conf;
    cn_str_t line = join(cn_conf_pool(cf), argv, argc);
    cn_endpoint_t ep;
    const char *why;

    if (cn_endpoint_parse(line, &ep, &why) != CN_OK)
        return cn_conf_error(cf, "endpoint \"%.*s\": %s", CN_STR_ARG(line), why);
    cc->doubled |= ep.doubled;
    *(cn_str_t *)cn_vec_push(cn_conf_pool(cf), &cc->inline_endpoints, sizeof(cn_str_t)) = line;
    return CN_OK;
}

/* Every line is checked here, so that a bad file is refused with its line
 * before any worker sees it. */
static cn_rc check_endpoints(cn_conf_t *cf, cn_cluster_conf_t *cc, cn_str_t path, cn_str_t text)
{
    cn_str_t line;
    cn_endpoint_t ep;
    const char *why;

    for (unsigned n = 1; cn_str_split(&text, '\n', &line); n++) {
        line = cn_str_trim(line);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        if (cn_endpoint_parse(line, &ep, &why) != CN_OK)
            return cn_conf_error(cf, "%.*s:%u: %s", CN_STR_ARG(path), n, why);
        cc->doubled |= ep.doubled;
    }
    return CN_OK;
}

static cn_rc set_endpoints(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                           const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_cluster_conf_t *cc = conf;
    cn_str_t text;

    cc->endpoints = argv[1];
    if (cn_conf_text(cf, argv[1], &text) != CN_OK)
        return CN_ERR;
    return check_endpoints(cf, cc, argv[1], text);
}

static cn_rc set_original(cn_conf_t *cf CN_UNUSED, const cn_directive_t *d CN_UNUSED, void *conf,
                          const cn_str_t *argv CN_UNUSED, unsigned argc CN_UNUSED)
{
    ((cn_cluster_conf_t *)conf)->original_destination = true;
    return CN_OK;
}

static cn_rc parse_seconds(cn_conf_t *cf, cn_str_t text, uint32_t *s)
{
    uint64_t ms;

    if (cn_conf_parse_ms(text, &ms) != CN_OK || ms < 1000 || ms > 32767ull * 1000)
        return cn_conf_error(cf, "\"%.*s\": expected a time of 1s to 32767s", CN_STR_ARG(text));
    *s = (uint32_t)(ms / 1000);
    return CN_OK;
}

static cn_rc set_keepalive_part(cn_conf_t *cf, cn_sock_watch_t *w, cn_str_t arg)
{
    cn_str_t key, value;
    uint64_t n;

    if (!cn_conf_keyval(arg, &key, &value))
        return cn_conf_error(cf, "\"%.*s\": expected idle=TIME, interval=TIME or probes=NUMBER",
                             CN_STR_ARG(arg));
    if (cn_str_eq(key, CN_STR("idle")))
        return parse_seconds(cf, value, &w->idle_s);
    if (cn_str_eq(key, CN_STR("interval")))
        return parse_seconds(cf, value, &w->interval_s);
    if (!cn_str_eq(key, CN_STR("probes")) || cn_str_u64(value, 127, &n) != CN_OK || n == 0)
        return cn_conf_error(cf, "\"%.*s\": expected idle=TIME, interval=TIME or probes=1 to 127",
                             CN_STR_ARG(arg));
    w->probes = (uint32_t)n;
    return CN_OK;
}

static cn_rc set_keepalive(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                           const cn_str_t *argv, unsigned argc)
{
    cn_cluster_conf_t *cc = conf;

    if (argc == 2 && cn_str_eq(argv[1], CN_STR("off"))) {
        cc->watch.probes = 0;
        return CN_OK;
    }
    for (unsigned i = 1; i < argc; i++)
        if (set_keepalive_part(cf, &cc->watch, argv[i]) != CN_OK)
            return CN_ERR;
    return CN_OK;
}

static cn_rc set_http2_keepalive(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                                 const cn_str_t *argv, unsigned argc)
{
    cn_cluster_conf_t *cc = conf;

    for (unsigned i = 1; i < argc; i++) {
        cn_str_t key, value;
        uint64_t *at = NULL;

        if (cn_conf_keyval(argv[i], &key, &value))
            at = cn_str_eq(key, CN_STR("interval"))  ? &cc->ping_ms
                 : cn_str_eq(key, CN_STR("timeout")) ? &cc->ping_timeout_ms
                                                     : NULL;
        if (!at || cn_conf_parse_ms(value, at) != CN_OK || *at == 0)
            return cn_conf_error(cf, "\"%.*s\": expected interval=TIME or timeout=TIME, above 0",
                                 CN_STR_ARG(argv[i]));
    }
    return CN_OK;
}

static cn_rc init_cluster(cn_conf_t *cf CN_UNUSED, void *conf, const void *parent CN_UNUSED)
{
    cn_cluster_conf_t *cc = conf;

    cc->protocol = CN_PROTO_HTTP1;
    cc->lb = CN_STR("least_request");
    cc->connect_timeout_ms = 10000;
    cc->idle_ms = 3600 * 1000;
    cc->tcp_idle_ms = cc->drain_ms = UINT64_MAX;
    cc->ping_timeout_ms = 20 * 1000;
    cc->watch = cn_sock_watch_default;
    cc->watch.dead_ms = UINT64_MAX;
    return CN_OK;
}

/* The gateway of another network is asked for the service by name. */
static cn_rc done_cluster(cn_conf_t *cf, void *conf)
{
    const cn_cluster_conf_t *cc = conf;

    if (cc->doubled && (cc->host.n == 0 || cc->service_port == 0))
        return cn_conf_error(cf, "an endpoint with tunnel=double_hbone needs the cluster's "
                                 "\"host NAME\" and \"service NAME NAMESPACE PORT\": its gateway "
                                 "is asked for NAME:PORT");
    return CN_OK;
}

static cn_rc set_lb(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                    unsigned argc)
{
    const char *const *known = cn_conf_units(cf)->balancers;
    cn_str_t list = CN_STR_NULL;

    for (unsigned i = 0; known && known[i]; i++) {
        if (cn_str_eq(argv[1], cn_str_c(known[i])))
            return cn_set_str(cf, d, conf, argv, argc);
        list =
            cn_pool_printf(cn_conf_pool(cf), "%.*s%s%s", CN_STR_ARG(list), i ? ", " : "", known[i]);
    }
    if (!known)
        return cn_set_str(cf, d, conf, argv, argc);
    if (!known[0] && cn_conf_absent(cf, argv[0]) == CN_ERR)
        return CN_ERR;
    return cn_conf_error(cf, "\"%.*s\" is not a balancer: expected %.*s", CN_STR_ARG(argv[1]),
                         CN_STR_ARG(list));
}

static const cn_directive_t directives[] = {
    {"host", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_str, offsetof(cn_cluster_conf_t, host), NULL,
     "host NAME", "Fully qualified name of the service whose endpoints these are, for labels.",
     NULL},
    {"service", CN_AT_CLUSTER, CN_ARGS(2, 3), set_service, 0, NULL, "service NAME NAMESPACE [PORT]",
     "The Kubernetes Service whose endpoints these are.", NULL},
    {"alias", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_str, offsetof(cn_cluster_conf_t, alias), NULL,
     "alias NAME", "Name of the cluster in access logs, in the form that Istio's tools parse.",
     "the cluster block's name"},
    {"protocol", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_enum, offsetof(cn_cluster_conf_t, protocol),
     protocols, "protocol auto | http | http2 | grpc | tcp",
     "What the endpoints speak; auto is what the client speaks.", "http"},
    {"client_protocol", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_flag,
     offsetof(cn_cluster_conf_t, client_protocol), NULL, "client_protocol on | off",
     "Speaks to the endpoints the HTTP version of the client's request, whatever protocol is "
     "declared (useClientProtocol of a DestinationRule).",
     "off"},
    {"lb", CN_AT_CLUSTER, CN_ARGS(1, 1), set_lb, offsetof(cn_cluster_conf_t, lb), NULL, "lb NAME",
     "How an endpoint is chosen: the name of a balancer that a module brings.", "least_request"},
    {"connect_timeout", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_ms,
     offsetof(cn_cluster_conf_t, connect_timeout_ms), NULL, "connect_timeout TIME",
     "For connecting to an endpoint, with TLS and the tunnel where there is one.", "10s"},
    {"keepalive_timeout", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_ms,
     offsetof(cn_cluster_conf_t, idle_ms), NULL, "keepalive_timeout TIME",
     "How long an idle connection to an endpoint is kept.", "1h"},
    {"max_requests_per_connection", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_u32,
     offsetof(cn_cluster_conf_t, max_conn_requests), NULL, "max_requests_per_connection NUMBER",
     "After so many requests a connection to an endpoint is closed and another one made; 0: no "
     "limit.",
     "0"},
    {"max_concurrent_streams", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_u32,
     offsetof(cn_cluster_conf_t, max_streams), NULL, "max_concurrent_streams NUMBER",
     "Requests at once on one HTTP/2 connection to an endpoint, where that allows as many; 0: as "
     "many as it allows.",
     "0"},
    {"http2_keepalive", CN_AT_CLUSTER, CN_ARGS(1, 2), set_http2_keepalive, 0, NULL,
     "http2_keepalive interval=TIME [timeout=TIME]",
     "Send PINGs on HTTP/2 connections to endpoints; one that answers none within the timeout, and "
     "sends nothing else, is taken for gone. The tunnel around it, where there is one, is kept "
     "alive by hbone_ping_interval.",
     "off; timeout=20s"},
    {"original_destination", CN_AT_CLUSTER, CN_ARGS(0, 0), set_original, 0, NULL,
     "original_destination",
     "There is no set of endpoints: each request and connection goes to the address and port that "
     "the client's tunnel asked for, which a service of this waypoint claims.",
     NULL},
    {"tcp_idle_timeout", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_ms,
     offsetof(cn_cluster_conf_t, tcp_idle_ms), NULL, "tcp_idle_timeout TIME",
     "How long a connection that is not HTTP may move no byte; 0 for ever.", "the main part's"},
    {"tcp_dead_timeout", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_ms,
     offsetof(cn_cluster_conf_t, watch.dead_ms), NULL, "tcp_dead_timeout TIME",
     "An endpoint that acknowledges nothing for so long, while what it was sent is sent again, is "
     "taken for gone: its connection fails at once. One that merely does not read is not. 0 "
     "leaves it to the system, which takes minutes. For endpoints in a tunnel it is "
     "hbone_dead_timeout. Endpoints that a name service or the client names (dns, dns_dynamic, "
     "original_destination) may be far away, and a line that loses packets for a second or two is "
     "not dead: they have 15s by default.",
     "1500ms"},
    {"tcp_keepalive", CN_AT_CLUSTER, CN_ARGS(1, 3), set_keepalive, 0, NULL,
     "tcp_keepalive [idle=TIME] [interval=TIME] [probes=NUMBER] | off",
     "How idle connections to endpoints are asked for a sign of life: after which time, how often, "
     "and how many in vain end the connection. Whole seconds.",
     "idle=180s interval=60s probes=5"},
    {"max_connection_duration", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_ms,
     offsetof(cn_cluster_conf_t, max_conn_ms), NULL, "max_connection_duration TIME",
     "The life of a connection to an endpoint. One that is not HTTP is closed then, whatever it "
     "does. One of HTTP gets no further request, and is closed as soon as it has none. 0: for "
     "ever.",
     "0"},
    {"endpoint_drain_timeout", CN_AT_CLUSTER, CN_ARGS(1, 1), cn_set_ms,
     offsetof(cn_cluster_conf_t, drain_ms), NULL, "endpoint_drain_timeout TIME",
     "How long requests and connections that an endpoint has may go on when it leaves the set, is "
     "not ready any more or is replaced by another identity at its address; 0 for ever. See the "
     "directive of the main part.",
     "the main part's"},
    {"endpoints", CN_AT_CLUSTER, CN_ARGS(1, 1), set_endpoints, 0, NULL, "endpoints FILE",
     "File with one endpoint a line: ADDRESS:PORT [weight=N] [health=ok|unhealthy|draining] "
     "[tunnel=hbone|double_hbone|none] [tunnel_addr=ADDRESS:PORT] [identity=SPIFFE-ID] "
     "[gateway_identity=SPIFFE-ID] "
     "[locality=REGION/ZONE/SUBZONE] [node=NAME] [network=NAME] [labels=KEY=VALUE,...]. With "
     "double_hbone the address is that of another network's east-west gateway, which is asked for "
     "the cluster's host and service port; identity is of the pod or waypoint behind it. The file may "
     "change without the cluster changing. An unhealthy endpoint gets no requests; one that drains "
     "gets none but those of sessions that it has.",
     NULL},
    {"endpoint", CN_AT_CLUSTER | CN_D_REPEAT, CN_ARGS(1, 13), set_endpoint, 0, NULL,
     "endpoint ADDRESS:PORT [KEY=VALUE]...", "One endpoint in place, in the format of endpoints.",
     NULL},
    {.name = NULL}};

static const cn_conf_ops_t levels[CN_LV_MAX] = {
    [CN_LV_CLUSTER] = {sizeof(cn_cluster_conf_t), init_cluster, done_cluster, NULL}};

const cn_conf_unit_t cn_upstream_unit = {"upstream", directives, levels};
