/* SPDX-License-Identifier: Apache-2.0
 *
 * The directives of dns.
 */
#include "dns_int.h"

bool dns_is_name(cn_str_t s)
{
    size_t label = 0;

    if (s.n == 0 || s.n > DNS_NAME_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '.' && (label == 0 || i + 1 == s.n))
            return false;
        label = c == '.' ? 0 : label + 1;
        if (label > 63)
            return false;
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return true;
}

/* "HOST:PORT"; HOST may be an address. */
static cn_rc parse_target(cn_conf_t *cf, cn_str_t arg, dns_target_t *t)
{
    uint16_t port = 0;
    cn_str_t host;
    cn_addr_t addr;

    if (cn_uri_authority(arg, &host, &port) != CN_OK || port == 0)
        return cn_conf_error(cf, "\"%.*s\": expected HOST:PORT", CN_STR_ARG(arg));
    t->host = cn_pool_lower(cn_conf_pool(cf), host);
    t->port = port;
    if (!dns_is_name(t->host) && cn_inet_parse_ip(t->host, &addr) != CN_OK)
        return cn_conf_error(cf, "\"%.*s\" is not a host name", CN_STR_ARG(host));
    return CN_OK;
}

static cn_rc set_dns(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                     const cn_str_t *argv, unsigned argc)
{
    dns_cluster_t *c = conf;
    dns_target_t *t = cn_vec_push(cn_conf_pool(cf), &c->targets, sizeof(*t));
    cn_str_t line = CN_STR("127.0.0.1:1");
    cn_endpoint_t ep;
    const char *why;

    if (parse_target(cf, argv[1], t) != CN_OK)
        return CN_ERR;
    for (unsigned i = 2; i < argc; i++)
        t->attributes = cn_pool_printf(cn_conf_pool(cf), "%.*s %.*s", CN_STR_ARG(t->attributes),
                                       CN_STR_ARG(argv[i]));
    line =
        cn_pool_printf(cn_conf_pool(cf), "%.*s%.*s", CN_STR_ARG(line), CN_STR_ARG(t->attributes));
    if (cn_endpoint_parse(line, &ep, &why) != CN_OK)
        return cn_conf_error(cf, "dns \"%.*s\": %s", CN_STR_ARG(argv[1]), why);
    return CN_OK;
}

static cn_rc set_dynamic(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    dns_cluster_t *c = conf;
    cn_str_t name = cn_pool_lower(cn_conf_pool(cf), argv[1]);
    uint64_t port;

    if (!cn_str_starts(name, CN_STR("*.")) || !dns_is_name(cn_str_make(name.p + 2, name.n - 2)))
        return cn_conf_error(cf, "\"%.*s\": expected *.SUFFIX", CN_STR_ARG(argv[1]));
    if (cn_str_u64(argv[2], 65535, &port) != CN_OK || port == 0)
        return cn_conf_error(cf, "\"%.*s\" is not a port number", CN_STR_ARG(argv[2]));
    c->suffix = cn_str_make(name.p + 1, name.n - 1);
    c->port = (uint32_t)port;
    return CN_OK;
}

static cn_rc set_server(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                        const cn_str_t *argv, unsigned argc)
{
    dns_main_t *c = conf;

    for (unsigned i = 1; i < argc; i++) {
        cn_addr_t *a = cn_vec_push(cn_conf_pool(cf), &c->servers, sizeof(*a));

        if (cn_inet_parse_hostport(argv[i], false, a) == CN_OK)
            continue;
        if (cn_inet_parse_ip(argv[i], a) != CN_OK)
            return cn_conf_error(cf, "\"%.*s\" is not an address: expected IP or IP:PORT",
                                 CN_STR_ARG(argv[i]));
        a->port = 53;
    }
    return CN_OK;
}

static cn_rc set_ttl(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                     const cn_str_t *argv, unsigned argc)
{
    dns_main_t *c = conf;

    if (cn_conf_parse_ms(argv[1], &c->ttl_min_ms) != CN_OK ||
        (argc > 2 && cn_conf_parse_ms(argv[2], &c->ttl_max_ms) != CN_OK))
        return cn_conf_error(cf, "expected a time, or two, such as 1s 1h");
    return CN_OK;
}

static const cn_enum_t modes[] = {{"strict", 0}, {"logical", 1}, {NULL, 0}};
static const cn_enum_t privates[] = {{"refuse", 0}, {"allow", 1}, {NULL, 0}};
static const cn_enum_t families[] = {{"v4_preferred", DNS_V4_PREFERRED},
                                     {"v4", DNS_V4},
                                     {"v6", DNS_V6},
                                     {"all", DNS_ALL},
                                     {NULL, 0}};

const cn_directive_t dns_directives[] = {
    {.name = "dns",
     .where = CN_AT_CLUSTER | CN_D_REPEAT,
     .args = CN_ARGS(1, 12),
     .set = set_dns,
     .syntax = "dns HOST:PORT [KEY=VALUE]...",
     .help = "Endpoints whose addresses are those of a name, asked for again as its TTL says. The "
             "rest is as in endpoints, for each of them. While a name cannot be resolved its last "
             "good answer stands."},
    {.name = "dns_mode",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(1, 1),
     .set = cn_set_enum,
     .off = offsetof(dns_cluster_t, logical),
     .arg = modes,
     .syntax = "dns_mode strict | logical",
     .help = "strict: every address of a name is an endpoint. logical: the first of the last "
             "answer is, for names whose answers change all the time.",
     .deflt = "strict"},
    {.name = "dns_dynamic",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(2, 2),
     .set = set_dynamic,
     .syntax = "dns_dynamic *.SUFFIX PORT",
     .help = "Requests go to the host that they name, and TLS connections to the server name of "
             "their hello, if that is below SUFFIX: it is resolved when it is asked for. Others "
             "are answered 404, flag NR; names without an address 503, flag DF."},
    {.name = "dns_private",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(1, 1),
     .set = cn_set_enum,
     .off = offsetof(dns_cluster_t, allow_private),
     .arg = privates,
     .syntax = "dns_private refuse | allow",
     .help = "Whether names of dns_dynamic may lead to private addresses (RFC 1918, RFC 4193, RFC "
             "6598), which whoever owns the names decides. Loopback, link-local, multicast and "
             "unspecified addresses are always refused.",
     .deflt = "refuse"},
    {.name = "dns_server",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, CN_ARGS_ANY),
     .set = set_server,
     .syntax = "dns_server ADDRESS[:PORT]...",
     .help = "Name servers, asked in this order.",
     .deflt = "those of /etc/resolv.conf"},
    {.name = "dns_family",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_enum,
     .off = offsetof(dns_main_t, family),
     .arg = families,
     .syntax = "dns_family v4_preferred | v4 | v6 | all",
     .help = "Which addresses of a name count: v4_preferred takes IPv6 ones where there are no "
             "IPv4 ones.",
     .deflt = "v4_preferred"},
    {.name = "dns_ttl",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 2),
     .set = set_ttl,
     .syntax = "dns_ttl MIN [MAX]",
     .help = "Bounds of the time after which a name is asked for again, whatever its TTL says.",
     .deflt = "1s 1h"},
    {.name = "dns_retry",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_ms,
     .off = offsetof(dns_main_t, retry_ms),
     .syntax = "dns_retry TIME",
     .help = "When a name is asked for again that does not exist or whose answer has no TTL; after "
             "other failures it is tried sooner, at first after a second.",
     .deflt = "60s"},
    {.name = "dns_timeout",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_ms,
     .off = offsetof(dns_main_t, timeout_ms),
     .syntax = "dns_timeout TIME",
     .help = "For the answer of one name server; each is asked twice.",
     .deflt = "2s"},
    {.name = NULL}};

cn_rc dns_init_main(cn_conf_t *cf CN_UNUSED, void *conf, const void *parent CN_UNUSED)
{
    *(dns_main_t *)conf = (dns_main_t){
        .ttl_min_ms = 1000, .ttl_max_ms = 3600 * 1000, .retry_ms = 60 * 1000, .timeout_ms = 2000};
    return CN_OK;
}

cn_rc dns_check_main(cn_conf_t *cf, void *conf)
{
    const dns_main_t *c = conf;

    if (c->ttl_min_ms == 0 || c->ttl_min_ms > c->ttl_max_ms)
        return cn_conf_error(cf, "dns_ttl: the least time must not be 0 or above the longest");
    if (c->retry_ms == 0 || c->timeout_ms == 0 || c->timeout_ms > 60 * 1000)
        return cn_conf_error(cf, "dns_retry and dns_timeout: a time is needed, and dns_timeout is "
                                 "at most 60s");
    return CN_OK;
}
