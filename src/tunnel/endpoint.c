/* SPDX-License-Identifier: Apache-2.0
 *
 * From what a tunnel asks for to the service that answers there.  Only
 * addresses and names that a service block claims are served: cairn is no open
 * CONNECT proxy, and its own addresses are claimed by nobody.
 */
#include "http/uri.h"
#include "tunnel/tunnel.h"

/* The address a service is known by, preferred for labels and policy when a
 * tunnel asked by name. */
static void first_address(const cn_section_t *section, uint16_t port, cn_addr_t *dest)
{
    const cn_service_conf_t *sc = cn_tunnel_service(section);

    *dest = (cn_addr_t){0};
    if (sc->addresses.n)
        *dest = ((const cn_addr_t *)sc->addresses.v)[0];
    dest->port = port;
}

cn_rc cn_tunnel_resolve(const cn_gen_t *gen, cn_str_t authority, cn_section_t **section,
                        cn_addr_t *dest)
{
    cn_section_t *found;
    cn_str_t host;
    uint16_t port;

    if (cn_inet_parse_hostport(authority, false, dest) == CN_OK) {
        found = cn_gen_find(gen, dest);
    } else {
        if (cn_uri_authority(authority, &host, &port) != CN_OK || port == 0)
            return CN_ERR;
        found = cn_gen_find_host(gen, host, port);
        if (found)
            first_address(found, port, dest);
    }
    if (!found)
        return CN_DECLINE;
    *section = cn_section_ref(found);
    return CN_OK;
}
