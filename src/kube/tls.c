/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS towards endpoints: inside the tunnel of one in the mesh, or to an
 * external host (semantics 4.2 tls, 4.3).  Certificates come from Secrets and
 * ConfigMaps of the input and are written beside the conf, or are files that
 * the rule names.
 */
#include "core/b64.h"
#include "kube/pem.h"
#include "kube/traffic.h"

#define MAX_PEM (1u << 20)

typedef struct {
    cn_traffic_t *t;
    cn_reader_t r;
    cn_dir_t *dir; /* upstream_tls */
    bool insecure; /* nothing is verified: authorities have no use */
} tls_t;

#define pool_of(x) ((x)->t->w->pool)

/* ---- files ---- */

static void add_file(tls_t *x, cn_str_t path, cn_str_t text)
{
    const cn_traffic_file_t *v = x->t->files->v;

    for (uint32_t i = 0; i < x->t->files->n; i++)
        if (cn_str_eq(v[i].path, path))
            return;
    *(cn_traffic_file_t *)cn_vec_push(pool_of(x), x->t->files, sizeof(*v)) =
        (cn_traffic_file_t){path, text};
}

/* data is base64, stringData is not; empty: no such key, or no PEM. */
static cn_str_t secret_value(tls_t *x, const cn_object_t *o, const char *const *keys)
{
    for (; *keys; keys++) {
        cn_str_t plain = cn_node_str(cn_node_get(o->root, "stringData"), *keys),
                 coded = cn_node_str(cn_node_get(o->root, "data"), *keys), text = plain;

        if (plain.n == 0 && coded.n && coded.n < MAX_PEM &&
            cn_b64_decode(pool_of(x), coded, &text) != CN_OK)
            continue;
        if (cn_str_find_str(text, CN_STR("-----BEGIN")) < text.n)
            return text;
    }
    return CN_STR_NULL;
}

/* Writes one value of a Secret beside the conf and names it. */
static void put_secret(tls_t *x, const cn_object_t *o, cn_str_t text, const char *word)
{
    cn_str_t path = cn_pool_printf(pool_of(x), "tls.d/%.*s.%.*s.%s", CN_STR_ARG(o->name),
                                   CN_STR_ARG(o->ns), word);

    add_file(x, path, text);
    cn_dir_printf(pool_of(x), x->dir, "%s=%.*s", word, CN_STR_ARG(path));
}

static bool put_pair(tls_t *x, const cn_object_t *o)
{
    static const char *const certs[] = {"tls.crt", "cert", NULL}, *const keys[] = {"tls.key", "key",
                                                                                   NULL};
    cn_str_t cert = secret_value(x, o, certs), key = secret_value(x, o, keys);

    if (!cn_pem_is_certificates(cert) || !cn_pem_is_key(key, cert))
        return false;
    put_secret(x, o, cert, "cert");
    put_secret(x, o, key, "key");
    return true;
}

/* False: there are some, and they cannot be read. */
static bool put_roots(tls_t *x, const cn_object_t *o)
{
    static const char *const roots[] = {"ca.crt", "cacert", NULL}, *const lists[] = {"ca.crl",
                                                                                     NULL};
    cn_str_t text = o ? secret_value(x, o, roots) : CN_STR_NULL,
             crl = o ? secret_value(x, o, lists) : CN_STR_NULL;

    if ((text.n && !cn_pem_is_certificates(text)) || (crl.n && !cn_pem_is_crl(crl)))
        return false;
    if (text.n && !x->insecure)
        put_secret(x, o, text, "ca");
    if (crl.n && !x->insecure)
        put_secret(x, o, crl, "crl");
    return true;
}

static const cn_object_t *find_secret(const tls_t *x, cn_str_t name, const char *suffix)
{
    cn_str_t full = cn_pool_printf(pool_of(x), "%.*s%s", CN_STR_ARG(name), suffix);

    return cn_map_get(&x->t->w->secrets, cn_model_key(x->t->w, x->t->waypoint->obj->ns, full));
}

/* A Secret beside the waypoint, as credentialName has it; its authorities may
 * stand in a second one, NAME-cacert.  False: it is not there (said). */
static bool put_credential(tls_t *x, const cn_node_t *tls, cn_str_t name, bool mutual)
{
    const cn_object_t *o = find_secret(x, name, ""), *ca = find_secret(x, name, "-cacert");
    bool ok = o && (!mutual || put_pair(x, o)) && put_roots(x, ca ? ca : o);

    if (!ok)
        cn_store_warn(x->t->w->diag, x->r.obj, tls,
                      "tls.credentialName: Secret %.*s/%.*s %s; connections fail until it is there",
                      CN_STR_ARG(x->t->waypoint->obj->ns), CN_STR_ARG(name),
                      o ? "has no certificate with its key, or authorities that are none"
                        : "is not in the input");
    return ok;
}

/* ---- DestinationRule ---- */

/* Files of the waypoint's machine.  A rule may be written by anybody, and a file
 * that is not there would keep the whole conf from loading: only on request. */
static void put_file(tls_t *x, const cn_node_t *tls, const char *key, const char *word)
{
    cn_str_t path = cn_value_read_plain(&x->r, tls, key, "tls");

    if (path.n == 0 || cn_str_eq(path, CN_STR("system")) ||
        cn_str_starts(path, CN_STR("/etc/ssl/certs/ca-")))
        return; /* the system's authorities are the default */
    if (x->t->w->mesh.rules_name_files) {
        cn_dir_printf(pool_of(x), x->dir, "%s=%.*s", word, CN_STR_ARG(path));
        return;
    }
    cn_store_warn(x->t->w->diag, x->r.obj, cn_node_get(tls, key),
                  "tls.%s names a file: give --tls-files when it is one of the waypoint's, or use "
                  "credentialName; connections fail until then",
                  key);
    x->t->blocked = true;
}

static void put_names(tls_t *x, const cn_vec_t *names)
{
    const cn_str_t *v = names->v;
    cn_dir_t *d = NULL;

    for (uint32_t i = 0; i < names->n; i++) {
        if (!cn_value_is_plain(v[i]) || v[i].n == 0)
            continue;
        if (!d)
            d = cn_dir_add(pool_of(x), x->t->dirs, "upstream_tls_san");
        cn_dir_word(pool_of(x), d, v[i]);
    }
}

static void put_rule(tls_t *x, const cn_node_t *tls, bool mutual)
{
    cn_str_t sni = cn_read_text(&x->r, tls, "sni"),
             credential = cn_read_text(&x->r, tls, "credentialName");
    cn_vec_t names = {0};

    x->insecure = cn_value_read_bool(&x->r, tls, "insecureSkipVerify", "tls", false);
    if (sni.n && cn_value_is_domain(sni, false))
        cn_dir_printf(pool_of(x), x->dir, "sni=%.*s", CN_STR_ARG(sni));
    if (x->insecure)
        cn_dir_word(pool_of(x), x->dir, CN_STR("insecure=on"));
    if (credential.n) {
        x->t->blocked |= !put_credential(x, tls, credential, mutual);
    } else {
        if (!x->insecure) {
            put_file(x, tls, "caCertificates", "ca");
            put_file(x, tls, "caCrl", "crl");
        }
        if (mutual) {
            put_file(x, tls, "clientCertificate", "cert");
            put_file(x, tls, "privateKey", "key");
        }
    }
    cn_read_texts(&x->r, tls, "subjectAltNames", &names);
    if (!x->insecure)
        put_names(x, names.n ? &names : &x->t->svc->sans);
}

/* ---- BackendTLSPolicy ---- */

static const cn_tls_policy_t *find_policy(const cn_traffic_t *t)
{
    const cn_tls_policy_t *const *v = t->svc->tls.v, *found = NULL;

    for (uint32_t i = 0; i < t->svc->tls.n; i++)
        if (cn_str_eq(v[i]->section, t->port->name) && v[i]->section.n)
            return v[i];
        else if (v[i]->section.n == 0 && !found)
            found = v[i];
    return found;
}

static bool put_authority(tls_t *x, const cn_tls_policy_t *p)
{
    const cn_object_t *o =
        cn_map_get(&x->t->w->config_maps, cn_model_key(x->t->w, p->obj->ns, p->config_map));
    cn_str_t text = o ? cn_node_str(cn_node_get(o->root, "data"), "ca.crt") : CN_STR_NULL, path;

    if (!cn_pem_is_certificates(text)) {
        cn_store_error(x->t->w->diag, p->obj, p->at,
                       "ConfigMap %.*s/%.*s has no certificate authority under ca.crt; "
                       "connections fail until it is there",
                       CN_STR_ARG(p->obj->ns), CN_STR_ARG(p->config_map));
        return false;
    }
    path = cn_pool_printf(pool_of(x), "tls.d/%.*s.%.*s.configmap.ca", CN_STR_ARG(o->name),
                          CN_STR_ARG(o->ns));
    add_file(x, path, text);
    cn_dir_printf(pool_of(x), x->dir, "ca=%.*s", CN_STR_ARG(path));
    return true;
}

static void put_policy(tls_t *x, const cn_tls_policy_t *p)
{
    if (cn_value_is_domain(p->hostname, false))
        cn_dir_printf(pool_of(x), x->dir, "sni=%.*s", CN_STR_ARG(p->hostname));
    if (p->invalid.n || (!p->system && !put_authority(x, p)))
        x->t->blocked = true;
    put_names(x, &p->sans);
}

/* ---- */

void cn_tls_build(cn_traffic_t *t, const cn_object_t *rule, const cn_node_t *node)
{
    static const char *const modes[] = {"DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL", NULL};
    tls_t x = {.t = t, .r = {t->w, rule}};
    const cn_tls_policy_t *p = find_policy(t);
    uint32_t dirs = t->dirs->n, files = t->files->n;
    int mode = cn_value_read_word(&x.r, node, "mode", "tls", modes);

    if (node && mode < 0) { /* in the clear would be worse than not at all */
        cn_store_error(t->w->diag, rule, node, "tls without a mode: nothing is sent to %.*s",
                       CN_STR_ARG(t->svc->host));
        t->blocked = true;
        return;
    }
    if (node && mode != 1 && mode != 2) /* the tunnel has its own TLS */
        return;
    if (!node && !p)
        return;
    x.dir = cn_dir_add(t->w->pool, t->dirs, "upstream_tls");
    if (node)
        put_rule(&x, node, mode == 2);
    else
        put_policy(&x, p);
    if (t->blocked) { /* it will have no endpoints; half of its settings would not load */
        t->dirs->n = dirs;
        t->files->n = files;
    }
}
