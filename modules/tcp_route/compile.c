/* SPDX-License-Identifier: Apache-2.0
 *
 * The directives of tcp_route, and the choice that they describe.
 */
#include "tcp_route_int.h"

#define NAME_MAX 253u

/* ---- backends ---- */

static cn_rc parse_weight(cn_conf_t *cf, cn_str_t arg, uint64_t *weight)
{
    cn_str_t key, value;

    if (!cn_conf_keyval(arg, &key, &value) || !cn_str_eq(key, CN_STR("weight")) ||
        cn_str_u64(value, 1000000, weight) != CN_OK)
        return cn_conf_error(cf, "\"%.*s\": expected weight=N, 0 to 1000000", CN_STR_ARG(arg));
    return CN_OK;
}

static cn_rc add_backend(cn_conf_t *cf, cn_tcp_backends_t *bs, const cn_str_t *argv, unsigned argc)
{
    cn_tcp_backend_t *b;
    uint64_t weight = 1;

    if (argc > 2 && parse_weight(cf, argv[2], &weight) != CN_OK)
        return CN_ERR;
    bs->any = true;
    if (weight == 0)
        return CN_OK;
    if (bs->total > UINT32_MAX - (uint32_t)weight)
        return cn_conf_error(cf, "the weights of these backends are too large together");
    b = cn_vec_push(cn_conf_pool(cf), &bs->v, sizeof(*b));
    if (!cn_str_eq(argv[1], CN_STR("invalid")))
        b->cluster = argv[1];
    b->weight = (uint32_t)weight;
    bs->total += b->weight;
    return CN_OK;
}

static cn_rc set_tcp_backend(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                             const cn_str_t *argv, unsigned argc)
{
    return add_backend(cf, &((cn_tcp_route_conf_t *)conf)->tcp, argv, argc);
}

static cn_rc set_backend(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                         const cn_str_t *argv, unsigned argc)
{
    return add_backend(cf, &((cn_tls_route_t *)conf)->backends, argv, argc);
}

/* ---- names ---- */

static bool is_name(cn_str_t s)
{
    if (s.n == 0 || s.n > NAME_MAX || cn_str_eq(s, CN_STR(".")))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return true;
}

/* A wildcard without its star; what is left of "*" is nothing. */
static cn_rc add_name(cn_conf_t *cf, cn_tls_route_t *r, cn_str_t arg)
{
    cn_str_t name = cn_pool_lower(cn_conf_pool(cf), arg);
    bool any = cn_str_eq(arg, CN_STR("*"));

    if (any || cn_str_starts(name, CN_STR("*.")))
        name = cn_str_make(name.p + 1, name.n - 1);
    if (!any && !is_name(name))
        return cn_conf_error(cf, "\"%.*s\" is not a host name, *.SUFFIX or *", CN_STR_ARG(arg));
    *(cn_str_t *)cn_vec_push(cn_conf_pool(cf), &r->names, sizeof(cn_str_t)) = name;
    return CN_OK;
}

static cn_rc set_sni(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                     const cn_str_t *argv, unsigned argc)
{
    for (unsigned i = 1; i < argc; i++)
        if (add_name(cf, conf, argv[i]) != CN_OK)
            return CN_ERR;
    return CN_OK;
}

static const cn_directive_t tls_table[] = {
    {.name = "sni",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(1, CN_ARGS_ANY),
     .set = set_sni,
     .syntax = "sni HOST | *.SUFFIX | * ...",
     .help = "Server names in the client's TLS hello; *.SUFFIX fits any name below it, * also a "
             "hello without a name.",
     .deflt = "*"},
    {.name = "backend",
     .where = CN_AT_PRIVATE | CN_D_REPEAT,
     .args = CN_ARGS(1, 2),
     .set = set_backend,
     .syntax = "backend CLUSTER | invalid [weight=N]",
     .help = "A cluster that connections of this route go to, drawn for each by weight. The share "
             "of invalid is closed.",
     .deflt = "weight=1"},
    {.name = NULL}};

static cn_rc set_tls_route(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                           const cn_str_t *argv, unsigned argc CN_UNUSED)
{
    cn_tcp_route_conf_t *c = conf;
    cn_tls_route_t *r = cn_vec_push(cn_conf_pool(cf), &c->tls, sizeof(*r));

    r->name = argv[1];
    if (cn_conf_block(cf, tls_table, r) != CN_OK)
        return CN_ERR;
    return r->names.n ? CN_OK : add_name(cf, r, CN_STR("*"));
}

const cn_directive_t cn_tcp_route_directives[] = {
    {.name = "tcp_backend",
     .where = CN_AT_SERVICE | CN_D_REPEAT,
     .args = CN_ARGS(1, 2),
     .set = set_tcp_backend,
     .syntax = "tcp_backend CLUSTER | invalid [weight=N]",
     .help =
         "A cluster for connections that are not HTTP, drawn for each connection by weight. The "
         "share of invalid is closed with flag NC. Without any they go to the service's "
         "cluster.",
     .deflt = "weight=1"},
    {.name = "tls_route",
     .where = CN_AT_SERVICE | CN_D_BLOCK | CN_D_REPEAT | CN_D_TABLE,
     .args = CN_ARGS(1, 1),
     .set = set_tls_route,
     .arg = tls_table,
     .syntax = "tls_route NAME { ... }",
     .help = "Where TLS connections go by the server name they ask for, relayed as they are: the "
             "most specific name counts, and of equal ones the first. A connection that no "
             "tls_route takes goes to the tcp_backend; where there is none it is closed with flag "
             "NR."},
    {.name = NULL}};

/* ---- the choice ---- */

/* How well a route's name fits: 0 not at all, else the longer the better. */
static size_t fit(cn_str_t name, cn_str_t sni)
{
    if (name.n == 0)
        return 1;
    if (name.p[0] == '.')
        return sni.n > name.n && cn_str_ends(sni, name) ? 1 + name.n : 0;
    return cn_str_eq(name, sni) ? 1 + 2 * (size_t)NAME_MAX : 0;
}

const cn_tls_route_t *cn_tcp_route_find(const cn_vec_t *routes, cn_str_t sni)
{
    const cn_tls_route_t *r = routes->v, *best = NULL;
    size_t best_fit = 0;

    for (uint32_t i = 0; i < routes->n; i++) {
        const cn_str_t *names = r[i].names.v;

        for (uint32_t k = 0; k < r[i].names.n; k++) {
            size_t f = fit(names[k], sni);

            if (f > best_fit) {
                best = &r[i];
                best_fit = f;
            }
        }
    }
    return best;
}

const cn_tcp_backend_t *cn_tcp_route_share(const cn_tcp_backends_t *bs, uint32_t at)
{
    const cn_tcp_backend_t *b = bs->v.v;

    while (at >= b->weight)
        at -= b++->weight;
    return b;
}
