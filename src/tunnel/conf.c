/* SPDX-License-Identifier: Apache-2.0
 *
 * SERVICE-level settings of the core: where a service is reached, what it is
 * called in labels, what it speaks and where its traffic goes.
 */
#include "tunnel/tunnel.h"

#include "upstream/cluster.h"

static const cn_enum_t protocols[] = {{"auto", CN_PROTO_AUTO},
                                      {"http", CN_PROTO_HTTP1},
                                      {"http2", CN_PROTO_HTTP2},
                                      {"grpc", CN_PROTO_GRPC},
                                      {"tcp", CN_PROTO_TCP},
                                      {"tls", CN_PROTO_TLS},
                                      {NULL, 0}};

/* "10.0.0.1:80", "[fd00::1]:80", "10.0.0.1:*": the star is port 0, any port. */
static cn_rc parse_address(cn_conf_t *cf, cn_str_t text, cn_addr_t *addr)
{
    if (cn_str_ends(text, CN_STR(":*"))) {
        cn_str_t zero = cn_pool_printf(cn_conf_pool(cf), "%.*s0", (int)text.n - 1, text.p);

        if (cn_inet_parse_hostport(zero, true, addr) == CN_OK)
            return CN_OK;
    } else if (cn_inet_parse_hostport(text, false, addr) == CN_OK) {
        return CN_OK;
    }
    return cn_conf_error(cf, "\"%.*s\" is not an address: expected IP:PORT, [IPV6]:PORT or IP:*",
                         CN_STR_ARG(text));
}

static cn_rc set_address(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc)
{
    cn_service_conf_t *sc = conf;

    for (unsigned i = 1; i < argc; i++) {
        cn_addr_t *addr = cn_vec_push(cn_conf_pool(cf), &sc->addresses, sizeof(*addr));

        if (parse_address(cf, argv[i], addr) != CN_OK || cn_conf_claim(cf, addr) != CN_OK)
            return CN_ERR;
    }
    return CN_OK;
}

static cn_rc set_service(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc)
{
    cn_service_conf_t *sc = conf;
    uint64_t port = 0;

    sc->service_name = argv[1];
    sc->service_namespace = argv[2];
    if (argc > 3 && cn_str_u64(argv[3], 65535, &port) != CN_OK)
        return cn_conf_error(cf, "\"%.*s\" is not a port number", CN_STR_ARG(argv[3]));
    sc->service_port = (uint32_t)port;
    return CN_OK;
}

static cn_rc init_service(cn_conf_t *cf CN_UNUSED, void *conf, const void *parent CN_UNUSED)
{
    cn_service_conf_t *sc = conf;

    sc->protocol = CN_PROTO_AUTO;
    sc->sniff_ms = 5000;
    return CN_OK;
}

static cn_rc done_service(cn_conf_t *cf, void *conf)
{
    cn_service_conf_t *sc = conf;

    if (sc->addresses.n == 0 && sc->host.n == 0)
        return cn_conf_error(cf, "a service needs an \"address\" or a \"host\" to be reached at");
    if (sc->host.n && sc->service_port)
        return cn_conf_claim_host(cf, sc->host, (uint16_t)sc->service_port);
    return CN_OK;
}

static const cn_directive_t directives[] = {
    {"address", CN_AT_SERVICE | CN_D_REPEAT, CN_ARGS(1, CN_ARGS_ANY), set_address, 0, NULL,
     "address IP:PORT | [IPV6]:PORT | IP:* ...",
     "Destinations of this service as clients ask for them: its virtual IPs with the service port. "
     "With * a pod's IP at any port.",
     NULL},
    {"host", CN_AT_SERVICE, CN_ARGS(1, 1), cn_set_str, offsetof(cn_service_conf_t, host), NULL,
     "host NAME",
     "Fully qualified name of the service, for labels and for tunnels that ask by name.", NULL},
    {"service", CN_AT_SERVICE, CN_ARGS(2, 3), set_service, 0, NULL, "service NAME NAMESPACE [PORT]",
     "The Kubernetes Service that this block stands for.", NULL},
    {"protocol", CN_AT_SERVICE, CN_ARGS(1, 1), cn_set_enum, offsetof(cn_service_conf_t, protocol),
     protocols, "protocol auto | http | http2 | grpc | tcp | tls",
     "What clients speak on this port. auto looks at the first bytes. tcp relays bytes untouched and "
     "waits for none; tls does too, but reads the server name in the client's hello first.",
     "auto"},
    {"cluster", CN_AT_SERVICE, CN_ARGS(1, 1), cn_set_str, offsetof(cn_service_conf_t, cluster),
     NULL, "cluster NAME", "Where traffic goes that no route sends elsewhere.",
     "the service block's name"},
    {"sniff_timeout", CN_AT_SERVICE, CN_ARGS(1, 1), cn_set_ms,
     offsetof(cn_service_conf_t, sniff_ms), NULL, "sniff_timeout TIME",
     "How long an auto or tls port waits for the client's first bytes before it treats the "
     "connection as TCP, so that protocols in which the server speaks first work. A TLS hello that "
     "has begun must be complete by then.",
     "5s"},
    {.name = NULL}};

static const cn_conf_ops_t levels[CN_LV_MAX] = {
    [CN_LV_SERVICE] = {sizeof(cn_service_conf_t), init_service, done_service, NULL}};

const cn_conf_unit_t cn_tunnel_unit = {"tunnel", directives, levels};

const cn_service_conf_t *cn_tunnel_service(const cn_section_t *section)
{
    return section->confs[CN_UNIT_TUNNEL];
}
