/* SPDX-License-Identifier: Apache-2.0
 *
 * MAIN-level settings of the core: who we are in the mesh and how requests are
 * read and decorated.
 */
#include "http/uri.h"
#include "proxy/worker.h"

static const cn_enum_t normalizations[] = {{"none", CN_URI_NONE},
                                           {"base", CN_URI_BASE},
                                           {"merge_slashes", CN_URI_MERGE_SLASHES},
                                           {"decode_and_merge_slashes", CN_URI_DECODE_AND_MERGE},
                                           {NULL, 0}};
static const cn_enum_t client_certs[] = {{"remove", CN_CLIENT_CERT_REMOVE},
                                         {"set", CN_CLIENT_CERT_SET},
                                         {"append", CN_CLIENT_CERT_APPEND},
                                         {"pass", CN_CLIENT_CERT_PASS},
                                         {NULL, 0}};
static const cn_range_t head_lines = {1, 10000};
static const cn_range_t head_bytes = {1024, 1024 * 1024};
static const cn_range_t tunnels = {1, 1000000};

#define F(member) offsetof(cn_proxy_conf_t, member)

static cn_rc set_trust_domain(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                              const cn_str_t *argv, unsigned argc)
{
    cn_proxy_conf_t *pc = conf;

    pc->trust_domain = argv[1];
    for (unsigned i = 2; i < argc; i++)
        *(cn_str_t *)cn_vec_push(cn_conf_pool(cf), &pc->trust_domain_aliases, sizeof(cn_str_t)) =
            argv[i];
    return CN_OK;
}

static cn_rc set_identity(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                          const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_proxy_conf_t *pc = conf;
    cn_str_t text;

    pc->cert_file = cn_conf_path(cf, argv[1]);
    pc->key_file = cn_conf_path(cf, argv[2]);
    if (cn_conf_secret(cf, argv[1], &text) != CN_OK)
        return CN_ERR;
    return cn_conf_secret(cf, argv[2], &text);
}

static cn_rc set_bundle(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_str_t text;

    ((cn_proxy_conf_t *)conf)->bundle_file = cn_conf_path(cf, argv[1]);
    return cn_conf_secret(cf, argv[1], &text);
}

static const cn_directive_t mesh_directives[] = {
    {"trust_domain", CN_AT_PRIVATE, CN_ARGS(1, CN_ARGS_ANY), set_trust_domain, 0, NULL,
     "trust_domain NAME [ALIAS...]",
     "The mesh's trust domain and its aliases: peers must present an identity in one of them.",
     NULL},
    {"identity", CN_AT_PRIVATE, CN_ARGS(2, 2), set_identity, 0, NULL, "identity CERTIFICATE KEY",
     "PEM files of our certificate chain and private key.", NULL},
    {"trust_bundle", CN_AT_PRIVATE, CN_ARGS(1, 1), set_bundle, 0, NULL, "trust_bundle FILE",
     "PEM file of the roots that peers' certificates must lead to.", NULL},
    {"network", CN_AT_PRIVATE, CN_ARGS(1, 1), cn_set_str, F(network), NULL, "network NAME",
     "Our network, to tell tunnels that come from another one.", NULL},
    {"cluster_id", CN_AT_PRIVATE, CN_ARGS(1, 1), cn_set_str, F(cluster_id), NULL, "cluster_id NAME",
     "Our cluster's name in labels.", "Kubernetes"},
    {.name = NULL}};

static cn_rc set_workloads(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                           const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_proxy_conf_t *pc = conf;
    cn_workloads_t *ws;
    cn_str_t text, why = CN_STR_NULL;

    pc->workloads = argv[1];
    if (cn_conf_text(cf, argv[1], &text) != CN_OK)
        return CN_ERR;
    if (cn_workloads_parse(text, NULL, cn_conf_pool(cf), &ws, &why) != CN_OK)
        return cn_conf_error(cf, "%.*s: %.*s", CN_STR_ARG(argv[1]), CN_STR_ARG(why));
    cn_workloads_unref(ws); /* checked here; each worker makes its own */
    return CN_OK;
}

static cn_rc init_main(cn_conf_t *cf CN_UNUSED, void *conf, const void *parent CN_UNUSED)
{
    cn_proxy_conf_t *pc = conf;

    pc->trust_domain = CN_STR("cluster.local");
    pc->cluster_id = CN_STR("Kubernetes");
    pc->path_normalization = CN_URI_BASE;
    pc->server_header = CN_STR("istio-envoy");
    pc->request_id = pc->forwarded_proto = pc->service_time = true;
    pc->h1_limits = cn_h1_limits_default;
    pc->idle_ms = 3600 * 1000;
    pc->head_ms = 60 * 1000;
    pc->drain_idle_ms = 5000;
    pc->l4_idle_ms = 3600 * 1000;
    pc->max_tunnels = 16384;
    pc->max_memory = 256ull << 20;
    return CN_OK;
}

static const cn_directive_t directives[] = {
    {"mesh", CN_AT_MAIN | CN_D_BLOCK | CN_D_TABLE, CN_ARGS(0, 0), cn_set_block, 0, mesh_directives,
     "mesh { ... }", "Our identity and whom to trust.", NULL},
    {"workloads", CN_AT_MAIN, CN_ARGS(1, 1), set_workloads, 0, NULL, "workloads FILE",
     "File of known pods, one a line: IP KEY=VALUE...; for labels of metrics and logs.", NULL},
    {"path_normalization", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_enum, F(path_normalization),
     normalizations, "path_normalization none | base | merge_slashes | decode_and_merge_slashes",
     "How request paths are brought to one form before policy, routing and forwarding see them "
     "(MeshConfig pathNormalization).",
     "base"},
    {"server_header", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_str, F(server_header), NULL,
     "server_header TEXT",
     "Value of the server header of every response; \"\" leaves the upstream's.", "istio-envoy"},
    {"request_id", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_flag, F(request_id), NULL,
     "request_id on | off", "Give requests without x-request-id one.", "on"},
    {"forwarded_proto", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_flag, F(forwarded_proto), NULL,
     "forwarded_proto on | off",
     "Tell hosts `x-forwarded-proto: http` in requests that do not say it.", "on"},
    {"forwarded_port", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_flag, F(forwarded_port), NULL,
     "forwarded_port on | off",
     "Tell hosts the port that the client asked for as x-forwarded-port in requests that do not "
     "say one.",
     "off"},
    {"forwarded_for_append", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_flag, F(append_forwarded_for), NULL,
     "forwarded_for_append on | off",
     "Append the client pod's address to x-forwarded-for. Off, it passes as it came.", "off"},
    {"forwarded_client_cert", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_enum, F(client_cert), client_certs,
     "forwarded_client_cert remove | set | append | pass",
     "What becomes of x-forwarded-client-cert, which clients could forge: removed; set to "
     "`By=OURS;URI=CLIENT` from the identities of the tunnel; that appended to what came; or "
     "passed as it came.",
     "remove"},
    {"envoy_headers", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_flag, F(envoy_headers), NULL,
     "envoy_headers on | off",
     "Pass on to hosts what clients say to a proxy: x-envoy-retry-on, x-envoy-max-retries, "
     "x-envoy-upstream-rq-timeout-ms and their like. They are never obeyed.",
     "off"},
    {"service_time_header", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_flag, F(service_time), NULL,
     "service_time_header on | off",
     "Tell clients how long the host took, as x-envoy-upstream-service-time.", "on"},
    {"trust_forwarded_for", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_flag, F(trust_forwarded_for), NULL,
     "trust_forwarded_for on | off",
     "Take the last X-Forwarded-For address as the client's in logs and for remoteIpBlocks. Any "
     "workload can send that header, so only turn it on when gateways are the only clients.",
     "off"},
    {"request_head_lines", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_u32, F(h1_limits.max_headers),
     &head_lines, "request_head_lines NUMBER", "Header lines a request may have; more answer 431.",
     "100"},
    {"request_head_size", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_u32, F(h1_limits.max_head), &head_bytes,
     "request_head_size BYTES", "Size of a request's head; more answers 431.", "61440"},
    {"request_line_size", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_u32, F(h1_limits.max_line), &head_bytes,
     "request_line_size BYTES", "Size of any one line of a request's head; more answers 431.",
     "61440"},
    {"request_head_timeout", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_ms, F(head_ms), NULL,
     "request_head_timeout TIME",
     "For a request head once its first byte came. In HTTP/2, where its rest holds up all streams, their "
     "connection ends then.",
     "60s"},
    {"keepalive_timeout", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_ms, F(idle_ms), NULL,
     "keepalive_timeout TIME", "How long a client's inner HTTP connection may idle.", "1h"},
    {"drain_idle_timeout", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_ms, F(drain_idle_ms), NULL,
     "drain_idle_timeout TIME",
     "How long a worker that drains keeps a client's idle HTTP/1.1 connection. A request that comes "
     "within that time is answered, with `connection: close`; so none is lost that was on its way "
     "when the draining began. 0: idle connections are closed at once.",
     "5s"},
    {"tcp_idle_timeout", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_ms, F(l4_idle_ms), NULL,
     "tcp_idle_timeout TIME", "How long an L4 connection may move no byte; 0 for ever.", "1h"},
    {"endpoint_drain_timeout", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_ms, F(endpoint_drain_ms), NULL,
     "endpoint_drain_timeout TIME",
     "How long requests and connections that an endpoint has may go on when it leaves the set, is "
     "not ready any more or is replaced by another identity at its address. It gets no new ones in "
     "any case. What is over then is answered by another endpoint where nothing was sent or the "
     "method is idempotent, else answered 503 or broken off, with the details "
     "endpoint_drain_timeout. An endpoint that comes back before keeps what it has. Endpoints that a "
     "name service or the client names are not meant. 0: for as long as they last, as behind Envoy; "
     "a pod ends them when its terminationGracePeriodSeconds are over.",
     "0"},
    {"max_tunnels", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_u32, F(max_tunnels), &tunnels,
     "max_tunnels NUMBER", "Tunnels that one worker serves at a time; more are refused.", "16384"},
    {"max_memory", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_size, F(max_memory), NULL, "max_memory SIZE",
     "Memory that traffic may hold in one worker: buffers, connections, tunnels and requests, with "
     "what TLS and HTTP/2 need for them; configuration and statistics are not counted. When it is "
     "used up, new connections are closed, new tunnels and requests answered 503 (flag OM; gRPC "
     "calls RESOURCE_EXHAUSTED), and what runs goes on.",
     "256m"},
    {"random_seed", CN_AT_MAIN, CN_ARGS(1, 1), cn_set_u32, F(random_seed), NULL,
     "random_seed NUMBER",
     "For tests: each worker's draws (of backends, endpoints, mirrors, faults, back-offs and request "
     "ids) are the same after each start. 0: nobody can foretell them.",
     "0"},
    {.name = NULL}};

static const cn_conf_ops_t levels[CN_LV_MAX] = {
    [CN_LV_MAIN] = {sizeof(cn_proxy_conf_t), init_main, NULL, NULL}};

const cn_conf_unit_t cn_proxy_unit = {"proxy", directives, levels};
