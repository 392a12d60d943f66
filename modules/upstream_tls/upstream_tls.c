/* SPDX-License-Identifier: Apache-2.0
 *
 * upstream_tls: TLS to the endpoints of a cluster, in the clear or inside their
 * tunnels (DestinationRule's SIMPLE and MUTUAL).  The server is known by its
 * DNS name or by the names that the cluster lists, never by a mesh identity.
 *
 * A worker has one context for clusters that say the same with files that are
 * the same, made when a generation comes; connections keep theirs.
 */
#include <stdlib.h>

#include <cairn/transport.h>

extern const cn_module_t cn_module_upstream_tls;

typedef struct {
    bool on, insecure;
    cn_str_t sni;
    cn_str_t ca, crl, cert, key; /* paths; ca empty: the system's roots */
    cn_vec_t sans;               /* cn_str_t */
} utls_conf_t;

typedef struct {
    uint64_t hash; /* of all that it is made from */
    cn_tls_ctx_t *tls;
    unsigned users; /* clusters */
} utls_context_t;

/* A worker's. */
typedef struct {
    cn_worker_t *w;
    unsigned unit;
    cn_multi_t contexts;  /* by hash */
    cn_map_t clusters;    /* name -> utls_context_t; the names are the sections' */
    cn_tls_ctx_t *nobody; /* for a cluster that has gone while a request held it */
} utls_t;

/* ---- settings ---- */

static cn_rc parse_pair(cn_conf_t *cf, utls_conf_t *c, cn_str_t arg)
{
    cn_str_t key, value;

    if (!cn_conf_keyval(arg, &key, &value) || value.n == 0)
        return cn_conf_error(cf, "\"%.*s\": expected KEY=VALUE", CN_STR_ARG(arg));
    if (cn_str_eq(key, CN_STR("sni")))
        c->sni = value;
    else if (cn_str_eq(key, CN_STR("ca")))
        c->ca = cn_str_eq(value, CN_STR("system")) ? CN_STR_NULL : value;
    else if (cn_str_eq(key, CN_STR("crl")))
        c->crl = value;
    else if (cn_str_eq(key, CN_STR("cert")))
        c->cert = value;
    else if (cn_str_eq(key, CN_STR("key")))
        c->key = value;
    else if (cn_str_eq(key, CN_STR("insecure")) && cn_str_eq(value, CN_STR("on")))
        c->insecure = true;
    else
        return cn_conf_error(
            cf,
            "\"%.*s\": expected sni=HOST, ca=FILE, ca=system, crl=FILE, cert=FILE, "
            "key=FILE or insecure=on",
            CN_STR_ARG(arg));
    return CN_OK;
}

static cn_rc read_file(cn_conf_t *cf, cn_str_t path, cn_str_t *text)
{
    *text = CN_STR_NULL;
    return path.n ? cn_conf_secret(cf, path, text) : CN_OK;
}

/* Without what is in the files. */
static cn_tls_web_conf_t files_of(const utls_conf_t *c)
{
    return (cn_tls_web_conf_t){.ca_file = c->ca,
                               .crl_file = c->crl,
                               .cert_file = c->cert,
                               .key_file = c->key,
                               .insecure = c->insecure,
                               .system = c->ca.n == 0};
}

/* A context that cannot be made is a mistake of the configuration. */
static cn_rc try_context(cn_conf_t *cf, const utls_conf_t *c)
{
    cn_tls_web_conf_t wc = files_of(c);
    cn_tls_ctx_t *tls;
    cn_str_t why;

    if (read_file(cf, c->ca, &wc.ca) != CN_OK || read_file(cf, c->crl, &wc.crl) != CN_OK ||
        read_file(cf, c->cert, &wc.cert) != CN_OK || read_file(cf, c->key, &wc.key) != CN_OK)
        return CN_ERR;
    if (c->crl.n && wc.crl.n == 0)
        return cn_conf_error(cf, "%.*s: no list of revoked certificates in it", CN_STR_ARG(c->crl));
    if (c->ca.n && wc.ca.n == 0)
        return cn_conf_error(cf, "%.*s: no certificate in it", CN_STR_ARG(c->ca));
    if (c->cert.n && wc.cert.n == 0)
        return cn_conf_error(cf, "%.*s: no certificate in it", CN_STR_ARG(c->cert));
    if (cn_tls_ctx_create_web(&wc, cn_conf_pool(cf), &tls, &why) != CN_OK)
        return cn_conf_error(cf, "%.*s", CN_STR_ARG(why));
    cn_tls_ctx_unref(tls);
    return CN_OK;
}

static cn_rc set_tls(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                     const cn_str_t *argv, unsigned argc)
{
    utls_conf_t *c = conf;

    c->on = true;
    for (unsigned i = 1; i < argc; i++)
        if (parse_pair(cf, c, argv[i]) != CN_OK)
            return CN_ERR;
    if ((c->cert.n == 0) != (c->key.n == 0))
        return cn_conf_error(cf, "cert and key belong together");
    if (c->insecure && (c->ca.n || c->crl.n))
        return cn_conf_error(cf, "with insecure=on nothing is verified: a ca has no use");
    return try_context(cf, c);
}

static cn_rc check_cluster(cn_conf_t *cf, const void *conf)
{
    const utls_conf_t *c = conf;

    if (c->sans.n && (!c->on || c->insecure))
        return cn_conf_error(cf,
                             "upstream_tls_san has no use without an upstream_tls that verifies");
    return CN_OK;
}

static const cn_directive_t directives[] = {
    {.name = "upstream_tls",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(0, 6),
     .set = set_tls,
     .syntax = "upstream_tls [sni=HOST] [ca=FILE | ca=system] [crl=FILE] [cert=FILE key=FILE] "
               "[insecure=on]",
     .help =
         "Speak TLS with the endpoints, inside the tunnel where there is one. The server's "
         "certificate must lead to the ca, by default the system's roots, and be for the name "
         "that is sent: sni, else the cluster's host, else the host that the client asked for. "
         "With crl, lists of revoked certificates (PEM) by each authority of its chain, it must "
         "not be on one. "
         "cert and key are shown to servers that ask. insecure=on takes any server for the "
         "right one."},
    {.name = "upstream_tls_san",
     .where = CN_AT_CLUSTER | CN_D_REPEAT,
     .args = CN_ARGS(1, CN_ARGS_ANY),
     .set = cn_set_strs,
     .off = offsetof(utls_conf_t, sans),
     .syntax = "upstream_tls_san NAME...",
     .help = "Names of which the server's certificate must have one as subjectAltName, instead of "
             "the name that is sent: a DNS name, an IP address or a URI."},
    {.name = NULL}};

/* ---- contexts ---- */

static cn_tls_web_conf_t web_conf(const cn_gen_t *gen, const utls_conf_t *c)
{
    cn_tls_web_conf_t wc = files_of(c);

    if (c->ca.n)
        wc.ca = cn_gen_text(gen, c->ca);
    if (c->crl.n)
        wc.crl = cn_gen_text(gen, c->crl);
    if (c->cert.n)
        wc.cert = cn_gen_text(gen, c->cert);
    if (c->key.n)
        wc.key = cn_gen_text(gen, c->key);
    return wc;
}

static uint64_t hash_of(const cn_tls_web_conf_t *wc)
{
    const cn_str_t parts[] = {wc->ca, wc->crl, wc->cert, wc->key};
    uint64_t hash = wc->insecure | (uint64_t)wc->system << 1;

    for (size_t i = 0; i < CN_COUNT(parts); i++)
        hash = cn_hash_xxh(parts[i], hash ^ cn_hash_sip(parts[i]));
    return hash;
}

static cn_tls_ctx_t *make_context(const cn_tls_web_conf_t *wc)
{
    cn_pool_t *pool = cn_pool_create(512);
    cn_tls_ctx_t *tls;
    cn_str_t why;

    /* the same bytes were tried when the configuration was checked */
    CN_BUG_ON(cn_tls_ctx_create_web(wc, pool, &tls, &why) != CN_OK);
    cn_pool_destroy(pool);
    return tls;
}

static utls_context_t *use_context(utls_t *u, const cn_gen_t *gen, const utls_conf_t *c)
{
    cn_tls_web_conf_t wc = web_conf(gen, c);
    uint64_t hash = hash_of(&wc);
    size_t iter = 0;
    utls_context_t *x = cn_multi_next(&u->contexts, hash, &iter);

    if (!x) {
        x = cn_xzalloc(sizeof(*x));
        x->hash = hash;
        x->tls = make_context(&wc);
        cn_multi_add(&u->contexts, hash, x);
    }
    x->users++;
    return x;
}

static void leave_context(utls_t *u, utls_context_t *x)
{
    if (!x || --x->users > 0)
        return;
    (void)cn_multi_del(&u->contexts, x->hash, x);
    cn_tls_ctx_unref(x->tls);
    free(x);
}

static void on_cluster(cn_worker_t *w CN_UNUSED, void *wctx, cn_cluster_t *cluster,
                       const cn_gen_t *gen)
{
    utls_t *u = wctx;
    const utls_conf_t *c = cluster->section->confs[u->unit];
    cn_str_t name = cluster->section->name;
    utls_context_t *before;

    if (gen && c && c->on)
        before = cn_map_put(&u->clusters, name, use_context(u, gen, c));
    else
        before = cn_map_del(&u->clusters, name);
    leave_context(u, before);
}

static cn_rc worker_init(cn_worker_t *w, void **wctx)
{
    utls_t *u = cn_xzalloc(sizeof(*u));

    u->w = w;
    u->unit = CN_UNIT_MODULES;
    while (cn_modules[u->unit - CN_UNIT_MODULES] != &cn_module_upstream_tls)
        u->unit++;
    cn_map_init(&u->clusters);
    u->nobody = make_context(&(cn_tls_web_conf_t){.insecure = false});
    *wctx = u;
    return CN_OK;
}

static void worker_fini(cn_worker_t *w CN_UNUSED, void *wctx)
{
    utls_t *u = wctx;
    const cn_map_slot_t *slot;
    size_t iter = 0;

    while ((slot = cn_map_next(&u->clusters, &iter)) != NULL)
        leave_context(u, slot->value);
    cn_map_fini(&u->clusters);
    cn_multi_fini(&u->contexts);
    cn_tls_ctx_unref(u->nobody);
    free(u);
}

/* ---- connections ---- */

static bool applies(const void *conf)
{
    return ((const utls_conf_t *)conf)->on;
}

/* A cluster for many hosts has no name of its own. */
static cn_str_t name_for(const cn_cluster_t *cluster, const utls_conf_t *c,
                         const cn_uasked_t *asked)
{
    if (c->sni.n)
        return c->sni;
    if (cluster->conf->host.n && !cn_str_starts(cluster->conf->host, CN_STR("*")))
        return cluster->conf->host;
    return asked->name;
}

static uint64_t mark(void *wctx, cn_cluster_t *cluster, const void *conf, const cn_uasked_t *asked)
{
    const utls_t *u = wctx;
    const utls_conf_t *c = conf;
    const utls_context_t *x = cn_map_get(&u->clusters, cluster->section->name);
    uint64_t hash = cn_hash_xxh(name_for(cluster, c, asked), x ? x->hash : 0);

    for (uint32_t i = 0; i < c->sans.n; i++)
        hash = cn_hash_xxh(((const cn_str_t *)c->sans.v)[i], hash);
    return hash;
}

static cn_str_t alpn_of(cn_spoken spoken)
{
    switch (spoken) {
    case CN_SPOKEN_HTTP1:
        return CN_STR("http/1.1");
    case CN_SPOKEN_HTTP2:
        return CN_STR("h2");
    default:
        return CN_STR_NULL;
    }
}

static cn_stream_t *wrap(void *wctx, cn_cluster_t *cluster, const void *conf, cn_stream_t *lower,
                         const cn_uasked_t *asked, uint64_t timeout_ms, cn_task_t *owner)
{
    const utls_t *u = wctx;
    const utls_conf_t *c = conf;
    const utls_context_t *x = cn_map_get(&u->clusters, cluster->section->name);
    cn_tls_expect_t expect = {name_for(cluster, c, asked), c->sans.v, c->sans.n,
                              alpn_of(asked->spoken)};

    return cn_tls_client_web(cn_worker_loop(u->w), lower, x ? x->tls : u->nobody, &expect,
                             timeout_ms, owner);
}

static const cn_layer_ops_t layer = {applies, mark, wrap};

const cn_module_t cn_module_upstream_tls = {
    .abi = CN_MODULE_ABI,
    .name = "upstream_tls",
    .after = "upstream_proxy_protocol",
    .directives = directives,
    .conf[CN_LV_CLUSTER] = {.size = sizeof(utls_conf_t), .check = check_cluster},
    .worker_init = worker_init,
    .cluster = on_cluster,
    .worker_fini = worker_fini,
    .layer = &layer,
};
