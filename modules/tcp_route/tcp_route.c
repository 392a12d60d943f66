/* SPDX-License-Identifier: Apache-2.0
 *
 * tcp_route: where connections that are not HTTP go: by weight (Gateway API's
 * TCPRoute), and for TLS by the server name first (TLSRoute, passthrough).
 * compile.c has the settings and the matching.
 */
#include "tcp_route_int.h"

static cn_rc refuse(cn_req_t *req, uint32_t flags, cn_str_t why)
{
    cn_req_explain(req, "tcp_route: closed: %.*s", CN_STR_ARG(why));
    cn_req_add_flags(req, flags);
    cn_req_refuse(req, why);
    return CN_DONE;
}

static cn_rc send_to(cn_req_t *req, const cn_tcp_backends_t *bs)
{
    const cn_tcp_backend_t *b;

    if (bs->total == 0)
        return refuse(req, CN_FLAG_NC, CN_STR("no_backend_has_weight"));
    b = cn_tcp_route_share(bs, cn_rand_below(cn_worker_rand(cn_req_worker(req)), bs->total));
    if (b->cluster.n == 0)
        return refuse(req, CN_FLAG_NC, CN_STR("cluster_not_found"));
    cn_req_explain(req, "tcp_route: backend %.*s (%u of %u)", CN_STR_ARG(b->cluster), b->weight,
                   bs->total);
    cn_req_set_cluster(req, b->cluster);
    return CN_OK;
}

static cn_rc on_tunnel(cn_req_t *req, const void *conf, void *ctx CN_UNUSED)
{
    const cn_tcp_route_conf_t *c = conf;
    cn_str_t sni = cn_req_facts(req)->sni;
    const cn_tls_route_t *r = cn_tcp_route_find(&c->tls, sni);

    if (r) {
        cn_req_explain(req, "tcp_route: tls_route %.*s takes \"%.*s\"", CN_STR_ARG(r->name),
                       CN_STR_ARG(sni));
        return send_to(req, &r->backends);
    }
    if (c->tcp.any)
        return send_to(req, &c->tcp);
    return refuse(req, CN_FLAG_NR, CN_STR("tls_route_not_found"));
}

static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    const cn_tcp_route_conf_t *c = conf;

    return c && (c->tls.n || c->tcp.any);
}

const cn_module_t cn_module_tcp_route = {
    .abi = CN_MODULE_ABI,
    .name = "tcp_route",
    .after = "authz",
    .directives = cn_tcp_route_directives,
    .conf[CN_LV_SERVICE] = {.size = sizeof(cn_tcp_route_conf_t)},
    .phase[CN_PH_TUNNEL] = on_tunnel,
    .active = active,
};
