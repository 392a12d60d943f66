/* SPDX-License-Identifier: Apache-2.0
 *
 * What a CONNECT asks for, as any bytes, against a small configuration.  What
 * must hold: an address that is taken prints as text that is taken again as the
 * same address; both readers of authorities agree on what they both accept;
 * and nothing is served but what a service block claims.
 */
#include "core/log.h"
#include "http/uri.h"
#include "tunnel/tunnel.h"
#include "upstream/cluster.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char conf[] =
    "service v4 { address 10.96.0.1:9080; host v4.ns.svc; service v4 ns 9080; }\n"
    "service v6 { address [fd00::12]:80; host v6.ns.svc; service v6 ns 80; }\n"
    "service pod { address 10.244.0.5:*; host pod.ns.svc; service pod ns 1; }\n";

static const cn_gen_t *load(void)
{
    static cn_conf_unit_t v[CN_UNIT_MODULES];
    static cn_units_t units = {.v = v, .n = CN_UNIT_MODULES};
    cn_conf_load_t it = {
        .units = &units, .bundle = cn_bundle_create(CN_STR_NULL), .file = CN_STR("main")};
    cn_pool_t *pool = cn_pool_create(0);
    cn_gen_t *gen;
    cn_str_t why;

    cn_log_set_level(CN_LOG_EMERG);
    cn_bundle_put(it.bundle, it.file, CN_STR(conf));
    v[CN_UNIT_MAIN].name = "main";
    v[CN_UNIT_PROXY].name = "proxy";
    v[CN_UNIT_TUNNEL] = cn_tunnel_unit;
    v[CN_UNIT_UPSTREAM] = cn_upstream_unit;
    CN_BUG_ON(cn_gen_load(&it, pool, &gen, &why) != CN_OK);
    cn_bundle_destroy(it.bundle);
    cn_pool_destroy(pool);
    return gen;
}

static void check_text(const cn_addr_t *addr)
{
    char text[CN_INET_TEXT], again_text[CN_INET_TEXT];
    size_t n = cn_inet_put(text, addr, true);
    cn_addr_t again;

    CN_BUG_ON(n >= sizeof(text) || text[n] != '\0');
    CN_BUG_ON(cn_inet_parse_hostport(cn_str_make(text, n), true, &again) != CN_OK);
    CN_BUG_ON(!cn_inet_same_ip(addr, &again) || addr->port != again.port);
    CN_BUG_ON(cn_inet_put(again_text, &again, true) != n || memcmp(text, again_text, n));
}

static void check_readers(cn_str_t s)
{
    cn_addr_t addr, ip;
    cn_str_t host;
    uint16_t port;
    bool is_addr = cn_inet_parse_hostport(s, false, &addr) == CN_OK;
    bool is_authority = cn_uri_authority(s, &host, &port) == CN_OK;

    if (is_addr)
        check_text(&addr);
    CN_BUG_ON(is_addr && !is_authority);
    if (!is_authority)
        return;
    CN_BUG_ON(host.n == 0 || host.p < s.p || host.p + host.n > s.p + s.n);
    if (!is_addr)
        return;
    CN_BUG_ON(port != addr.port);
    CN_BUG_ON(cn_inet_parse_ip(host, &ip) != CN_OK || !cn_inet_same_ip(&ip, &addr));
}

/* The list of what this configuration claims, written out once more. */
static bool is_claimed(cn_str_t name, const cn_addr_t *dest, cn_str_t authority)
{
    static const uint8_t pod[4] = {10, 244, 0, 5};
    cn_str_t host;
    uint16_t port;

    if (cn_uri_authority(authority, &host, &port) != CN_OK || port == 0 || dest->port != port)
        return false;
    if (cn_str_eq(name, CN_STR("pod")))
        return dest->family == AF_INET && memcmp(dest->ip, pod, 4) == 0;
    if (cn_str_eq(name, CN_STR("v4")))
        return port == 9080 && dest->family == AF_INET;
    return cn_str_eq(name, CN_STR("v6")) && port == 80 && dest->family == AF_INET6;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const cn_gen_t *gen;
    cn_str_t authority = cn_str_make((const char *)data, size);
    cn_section_t *section = NULL;
    cn_addr_t dest;
    cn_rc rc;

    if (!gen)
        gen = load();
    check_readers(authority);
    rc = cn_tunnel_resolve(gen, authority, &section, &dest);
    CN_BUG_ON((rc == CN_OK) != (section != NULL));
    CN_BUG_ON(rc != CN_OK && rc != CN_DECLINE && rc != CN_ERR);
    if (rc == CN_OK)
        CN_BUG_ON(!is_claimed(section->name, &dest, authority));
    cn_section_unref(section);
    return 0;
}
