/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker's context: built once, then given one generation after another.
 * A generation that cannot be put in force leaves the one before untouched.
 */
#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/log.h"
#include "proxy/call.h"
#include "proxy/leave.h"
#include "proxy/req_int.h"
#include "proxy/tally.h"

static const cn_metric_def_t tunnels_open = {"cairn_tunnels_open", CN_METRIC_GAUGE,
                                             "Tunnels now being served."};
static const cn_metric_def_t requests_active = {"cairn_requests_active", CN_METRIC_GAUGE,
                                                "Requests and L4 connections now under way."};
static const cn_metric_def_t mirrors = {"cairn_mirrors_total", CN_METRIC_COUNTER,
                                        "Copies of requests that were sent to a mirror."};
static const cn_metric_def_t mirrors_given_up = {
    "cairn_mirrors_given_up_total", CN_METRIC_COUNTER,
    "Copies of requests that were not sent, or not completely: no such cluster, no healthy "
    "endpoint, too many under way, or a mirror that takes the body too slowly."};
static const cn_metric_def_t *const core_metrics[] = {&tunnels_open, &requests_active, &mirrors,
                                                      &mirrors_given_up, &cn_budget_refused};

static const char *const *balancer_names(void)
{
    const char **v = cn_xzalloc(sizeof(*v));
    unsigned n = 0;

    for (unsigned i = 0; i < cn_nmodules; i++)
        for (unsigned j = 0; cn_modules[i]->lb && cn_modules[i]->lb[j]; j++) {
            v = cn_xrealloc(v, (n + 2) * sizeof(*v));
            v[n++] = cn_modules[i]->lb[j]->name;
            v[n] = NULL;
        }
    return v;
}

const cn_units_t *cn_worker_units_create(const cn_conf_unit_t *main_unit)
{
    cn_units_t *units = cn_xzalloc(sizeof(*units));
    cn_conf_unit_t *v = cn_xzalloc((CN_UNIT_MODULES + cn_nmodules) * sizeof(*v));

    v[CN_UNIT_MAIN] = *main_unit;
    v[CN_UNIT_PROXY] = cn_proxy_unit;
    v[CN_UNIT_TUNNEL] = cn_tunnel_unit;
    v[CN_UNIT_UPSTREAM] = cn_upstream_unit;
    for (unsigned i = 0; i < cn_nmodules; i++) {
        const cn_module_t *m = cn_modules[i];

        CN_BUG_ON(m->abi != CN_MODULE_ABI);
        v[CN_UNIT_MODULES + i] = (cn_conf_unit_t){m->name, m->directives, m->conf};
    }
    units->v = v;
    units->n = CN_UNIT_MODULES + cn_nmodules;
    units->absent = cn_modules_absent;
    units->balancers = balancer_names();
    return units;
}

/* ---- registries, from the modules ---- */

const cn_metric_def_t **cn_worker_metric_defs(unsigned *n)
{
    unsigned total = CN_COUNT(core_metrics) + CN_TALLIES, k = 0;
    const cn_metric_def_t **v;

    for (unsigned i = 0; i < cn_nmodules; i++)
        for (unsigned j = 0; cn_modules[i]->metrics && cn_modules[i]->metrics[j]; j++)
            total++;
    v = cn_xmalloc(total * sizeof(*v));
    for (unsigned i = 0; i < CN_COUNT(core_metrics); i++)
        v[k++] = core_metrics[i];
    for (unsigned i = 0; i < CN_TALLIES; i++)
        v[k++] = &cn_tally_defs[i];
    for (unsigned i = 0; i < cn_nmodules; i++)
        for (unsigned j = 0; cn_modules[i]->metrics && cn_modules[i]->metrics[j]; j++)
            v[k++] = cn_modules[i]->metrics[j];
    *n = total;
    return v;
}

static unsigned collect_balancers(cn_worker_t *w)
{
    unsigned n = 0;

    for (unsigned i = 0; i < cn_nmodules; i++)
        for (unsigned j = 0; cn_modules[i]->lb && cn_modules[i]->lb[j]; j++) {
            w->balancers = cn_xrealloc(w->balancers, (n + 1) * sizeof(*w->balancers));
            w->balancers[n++] = (cn_balancer_t){cn_modules[i]->lb[j], CN_UNIT_MODULES + i};
        }
    return n;
}

static void collect_transports(cn_worker_t *w)
{
    w->transports = cn_xzalloc((cn_nmodules + 1) * sizeof(*w->transports));
    w->layers = cn_xzalloc((cn_nmodules + 1) * sizeof(*w->layers));
    for (unsigned i = 0; i < cn_nmodules; i++) {
        if (cn_modules[i]->transport)
            w->transports[w->ntransports++] =
                (cn_transport_t){cn_modules[i]->transport, w->wctx[i]};
        if (cn_modules[i]->layer)
            w->layers[w->nlayers++] =
                (cn_layer_t){cn_modules[i]->layer, w->wctx[i], CN_UNIT_MODULES + i};
    }
}

static void collect_admissions(cn_worker_t *w)
{
    cn_admission_t *v = cn_xzalloc((cn_nmodules + 1) * sizeof(*v));
    unsigned n = 0;

    for (unsigned i = 0; i < cn_nmodules; i++)
        if (cn_modules[i]->admission)
            v[n++] = (cn_admission_t){cn_modules[i]->admission, w->wctx[i], CN_UNIT_MODULES + i};
    cn_admission_init(&w->admissions, v, n);
}

/* ---- life ---- */

static void open_series(cn_worker_t *w)
{
    if (!w->stats)
        return;
    w->tunnels_open = cn_stats_series(w->stats, cn_worker_metric(w, &tunnels_open), CN_STR_NULL);
    w->requests_active =
        cn_stats_series(w->stats, cn_worker_metric(w, &requests_active), CN_STR_NULL);
    w->mirrors = cn_stats_series(w->stats, cn_worker_metric(w, &mirrors), CN_STR_NULL);
    w->mirrors_given_up =
        cn_stats_series(w->stats, cn_worker_metric(w, &mirrors_given_up), CN_STR_NULL);
    /* a respawned worker inherits the numbers of the one before it */
    cn_series_set(w->tunnels_open, 0);
    cn_series_set(w->requests_active, 0);
}

static void on_cluster_seen(void *ctx, cn_cluster_t *cluster, const cn_gen_t *gen)
{
    cn_worker_t *w = ctx;

    for (unsigned i = 0; i < cn_nmodules; i++)
        if (cn_modules[i]->cluster)
            cn_modules[i]->cluster(w, w->wctx[i], cluster, gen);
}

cn_rc cn_worker_init(cn_worker_t *w, cn_loop_t *loop, unsigned id, cn_stats_t *stats)
{
    unsigned nlb;

    *w = (cn_worker_t){.loop = loop, .id = id, .stats = stats};
    cn_list_init(&w->inner);
    cn_list_init(&w->reqs);
    cn_list_init(&w->calls);
    cn_rand_init(&w->rand, 0);
    w->metric_defs = cn_worker_metric_defs(&w->nmetric_defs);
    open_series(w);
    w->wctx = cn_xzalloc((cn_nmodules + 1) * sizeof(void *));
    nlb = collect_balancers(w);
    w->clusters = cn_clusters_create(w->balancers, nlb);
    for (unsigned i = 0; i < cn_nmodules; i++) {
        const cn_module_t *m = cn_modules[i];

        if (m->worker_init && m->worker_init(w, &w->wctx[i]) != CN_OK) {
            cn_log(CN_LOG_ERROR, "worker", "module %s did not start", m->name);
            return CN_ERR;
        }
    }
    collect_transports(w);
    collect_admissions(w);
    w->upool = cn_upool_create(loop, w->transports, w->ntransports);
    cn_upool_set_admissions(w->upool, &w->admissions);
    cn_upool_set_layers(w->upool, w->layers, w->nlayers);
    cn_clusters_on_seen(w->clusters, on_cluster_seen, w);
    cn_leave_init(w);
    return CN_OK;
}

/* Of all that the context is made from. */
static uint64_t identity_hash(const cn_tls_conf_t *tc)
{
    const cn_str_t parts[] = {tc->cert, tc->key, tc->bundle};
    uint64_t all = tc->trust_domain_n;

    for (size_t i = 0; i < CN_COUNT(parts); i++)
        all = cn_hash_xxh(parts[i], all ^ cn_hash_sip(parts[i]));
    for (unsigned i = 0; i < tc->trust_domain_n; i++)
        all = cn_hash_xxh(tc->trust_domains[i], all);
    return all;
}

/* A generation as it is, or as a patch will make it. */
typedef struct {
    const cn_gen_t *gen;
    const cn_patch_t *patch; /* NULL: none */
} coming_t;

static const cn_proxy_conf_t *proxy_conf(const coming_t *x)
{
    return x->gen->main->confs[CN_UNIT_PROXY]; /* no patch changes MAIN settings */
}

static const cn_text_t *find_text(const coming_t *x, cn_str_t path)
{
    if (path.n == 0)
        return NULL;
    return x->patch ? cn_patch_text_find(x->patch, x->gen, path) : cn_gen_text_find(x->gen, path);
}

static cn_str_t text_of(const coming_t *x, cn_str_t path)
{
    const cn_text_t *t = find_text(x, path);

    return t ? t->text : CN_STR_NULL;
}

static uint64_t cert_hash(const coming_t *x)
{
    const cn_text_t *cert = find_text(x, proxy_conf(x)->cert_file);

    return cert ? cert->hash : 0;
}

/* The same files make the same context, which stays: handshakes go on with it.
 * A certificate that is in force stays, too, when a clock that was set says that
 * it is not valid: a change of something else is no worse for it. */
static cn_rc load_identity(const cn_worker_t *w, const coming_t *x, cn_pool_t *pool,
                           cn_tls_ctx_t **tls, uint64_t *hash, cn_str_t *why)
{
    uint64_t cert = cert_hash(x);
    const cn_proxy_conf_t *pc = proxy_conf(x);
    cn_tls_conf_t tc = {.cert_file = pc->cert_file,
                        .key_file = pc->key_file,
                        .bundle_file = pc->bundle_file,
                        .cert = text_of(x, pc->cert_file),
                        .key = text_of(x, pc->key_file),
                        .bundle = text_of(x, pc->bundle_file)};
    cn_str_t *domains = cn_pool_alloc(pool, (pc->trust_domain_aliases.n + 1) * sizeof(*domains));

    *tls = NULL;
    *hash = 0;
    if (pc->cert_file.n == 0 && pc->bundle_file.n == 0)
        return CN_OK; /* a proxy without tunnels: tests, explain */
    domains[0] = pc->trust_domain;
    for (uint32_t i = 0; i < pc->trust_domain_aliases.n; i++)
        domains[i + 1] = ((const cn_str_t *)pc->trust_domain_aliases.v)[i];
    tc.trust_domains = domains;
    tc.trust_domain_n = pc->trust_domain_aliases.n + 1;
    tc.known = w->checked || (cert && cert == w->cert_hash);
    *hash = identity_hash(&tc);
    if (w->tls && w->tls_hash == *hash) {
        *tls = cn_tls_ctx_ref(w->tls);
        return CN_OK;
    }
    return cn_tls_ctx_create(&tc, pool, tls, why);
}

/* The same text is the same set: most generations change something else. */
static cn_rc load_workloads(const cn_worker_t *w, const cn_text_t *text, cn_pool_t *pool,
                            cn_workloads_t **ws, cn_str_t *why)
{
    *ws = NULL;
    if (!text)
        return CN_OK;
    if (w->workloads && w->workloads_hash == text->hash) {
        *ws = cn_workloads_ref(w->workloads);
        return CN_OK;
    }
    return cn_workloads_parse(text->text, w->pause, pool, ws, why);
}

/* Requests point into the set that goes, and may last for days. */
static void use_workloads(cn_worker_t *w, cn_workloads_t *ws, uint64_t hash)
{
    if (ws != w->workloads)
        cn_list_each (node, &w->reqs)
            cn_req_keep_workloads(cn_list_entry(node, cn_req_t, link));
    cn_workloads_unref(w->workloads);
    w->workloads = ws;
    w->workloads_hash = hash;
}

static cn_rc have_shared(cn_worker_t *w, const cn_gen_t *gen, cn_pool_t *pool, cn_str_t *why)
{
    if (w->shared)
        return CN_OK;
    if (cn_shared_create(NULL, gen, w->id + 1, &w->shared) != CN_OK) {
        *why = cn_pool_printf(pool, "no shared memory: %s", strerror(errno));
        return CN_ERR;
    }
    w->shared_own = true;
    return CN_OK;
}

static void tell_modules(cn_worker_t *w)
{
    for (unsigned i = 0; i < cn_nmodules; i++)
        if (cn_modules[i]->reconfigured)
            cn_modules[i]->reconfigured(w, w->wctx[i], w->gen->main->confs[CN_UNIT_MODULES + i]);
}

/* What the worker makes of MAIN texts. */
typedef struct {
    cn_workloads_t *workloads;
    uint64_t workloads_hash;
    cn_tls_ctx_t *tls;
    uint64_t tls_hash, cert_hash;
} made_t;

static cn_rc make_all(const cn_worker_t *w, const coming_t *x, cn_pool_t *pool, made_t *m,
                      cn_str_t *why)
{
    const cn_text_t *text = find_text(x, proxy_conf(x)->workloads);

    m->workloads_hash = text ? text->hash : 0;
    m->cert_hash = cert_hash(x);
    if (load_workloads(w, text, pool, &m->workloads, why) != CN_OK)
        return CN_ERR;
    if (load_identity(w, x, pool, &m->tls, &m->tls_hash, why) != CN_OK) {
        cn_workloads_unref(m->workloads);
        return CN_ERR;
    }
    return CN_OK;
}

static void use_all(cn_worker_t *w, const made_t *m)
{
    cn_tls_ctx_unref(w->tls);
    w->tls = m->tls;
    w->tls_hash = m->tls_hash;
    w->cert_hash = m->cert_hash;
    use_workloads(w, m->workloads, m->workloads_hash);
}

/* A reload does not begin anew, and no worker repeats what another draws. */
static void use_seed(cn_worker_t *w)
{
    uint32_t seed = w->conf->random_seed;

    if (seed == w->seed)
        return;
    cn_rand_init(&w->rand, seed ? (uint64_t)seed << 32 | w->id : 0);
    w->seed = seed;
}

cn_rc cn_worker_apply(cn_worker_t *w, cn_gen_t *gen, cn_pool_t *pool, cn_str_t *why)
{
    const coming_t coming = {gen, NULL};
    cn_gen_t *before = w->gen;
    made_t made;

    if (have_shared(w, gen, pool, why) != CN_OK || make_all(w, &coming, pool, &made, why) != CN_OK)
        return CN_ERR;
    cn_clusters_put_all(w->clusters, gen, w->pause);
    w->gen = cn_gen_ref(gen);
    w->conf = gen->main->confs[CN_UNIT_PROXY];
    use_seed(w);
    use_all(w, &made);
    cn_clusters_drop_others(w->clusters, gen, w->pause);
    tell_modules(w); /* of all clusters before, and while what they hold is there */
    cn_gen_drop(before, w->pause);
    return CN_OK;
}

cn_rc cn_worker_patch(cn_worker_t *w, const cn_patch_t *patch, uint64_t id, cn_pool_t *pool,
                      cn_str_t *why)
{
    const coming_t coming = {w->gen, patch};
    made_t made;

    if (make_all(w, &coming, pool, &made, why) != CN_OK)
        return CN_ERR;
    cn_gen_merge(w->gen, patch);
    w->gen->id = id;
    use_all(w, &made);
    cn_clusters_patch(w->clusters, w->gen, cn_patch_clusters(patch));
    tell_modules(w);
    return CN_OK;
}

void cn_worker_share(cn_worker_t *w, cn_shared_t *shared)
{
    CN_BUG_ON(w->shared);
    w->shared = shared;
}

void cn_worker_reopen(cn_worker_t *w)
{
    for (unsigned i = 0; i < cn_nmodules; i++)
        if (cn_modules[i]->reopen)
            cn_modules[i]->reopen(w, w->wctx[i]);
}

void cn_worker_refused(cn_worker_t *w, const cn_refusal_t *r)
{
    for (unsigned i = 0; i < cn_nmodules; i++)
        if (cn_modules[i]->refused)
            cn_modules[i]->refused(w, w->wctx[i], r);
}

void cn_worker_drain(cn_worker_t *w)
{
    w->draining = true;
    cn_list_each (node, &w->inner)
        cn_inner_drain(cn_list_entry(node, cn_inner_t, link));
    for (unsigned m = 0; m < cn_nmodules; m++)
        if (cn_modules[m]->drain)
            cn_modules[m]->drain(w, w->wctx[m]);
}

/* Every request still running is logged and counted before it is dropped. */
static void end_requests(cn_worker_t *w)
{
    cn_list_each (node, &w->reqs) {
        cn_req_t *req = cn_list_entry(node, cn_req_t, link);

        req->f.flags |= CN_FLAG_LR;
        if (req->client)
            cn_req_l4_abort(req);
        cn_req_finish(req);
    }
    cn_list_each (node, &w->inner)
        cn_inner_end(cn_list_entry(node, cn_inner_t, link));
}

void cn_worker_fini(cn_worker_t *w)
{
    w->stopping = true;
    end_requests(w);
    cn_call_stop_all(w);
    cn_loop_round(w->loop, 0); /* writes what their ends say to the peers */
    cn_leave_fini(w);
    cn_upool_destroy(w->upool);
    for (unsigned i = cn_nmodules; i-- > 0;)
        if (cn_modules[i]->worker_fini)
            cn_modules[i]->worker_fini(w, w->wctx[i]);
    cn_clusters_destroy(w->clusters);
    cn_workloads_unref(w->workloads);
    cn_tls_ctx_unref(w->tls);
    cn_gen_unref(w->gen);
    if (w->shared_own)
        cn_shared_destroy(w->shared);
    cn_admission_fini(&w->admissions);
    free(w->transports);
    free(w->layers);
    free(w->balancers);
    free((void *)(uintptr_t)w->metric_defs);
    free(w->wctx);
}

/* ---- for modules ---- */

cn_loop_t *cn_worker_loop(cn_worker_t *w)
{
    return w->loop;
}

cn_rand_t *cn_worker_rand(cn_worker_t *w)
{
    return &w->rand;
}

const cn_gen_t *cn_worker_gen(cn_worker_t *w)
{
    return w->gen;
}

unsigned cn_worker_id(const cn_worker_t *w)
{
    return w->id;
}

cn_shm_view_t cn_worker_shm(const cn_worker_t *w, const cn_shm_def_t *def)
{
    cn_shm_view_t view = cn_shared_view(w->shared, def, w->id);

    CN_BUG_ON(!view.mem); /* a region must be in its module's list */
    return view;
}

bool cn_worker_evict(cn_worker_t *w, cn_cluster_t *c)
{
    return cn_upool_evict(w->upool, c);
}

bool cn_worker_draining(const cn_worker_t *w)
{
    return w->draining;
}

cn_clusters_t *cn_worker_clusters(cn_worker_t *w)
{
    return w->clusters;
}

const cn_workloads_t *cn_worker_workloads(cn_worker_t *w)
{
    return w->workloads;
}

cn_stats_t *cn_worker_stats(cn_worker_t *w)
{
    return w->stats;
}

void *cn_worker_module(cn_worker_t *w, const cn_module_t *module)
{
    for (unsigned i = 0; i < cn_nmodules; i++)
        if (cn_modules[i] == module)
            return w->wctx[i];
    return NULL;
}

const void *cn_worker_conf(const cn_worker_t *w CN_UNUSED, const cn_module_t *module,
                           const cn_section_t *section)
{
    for (unsigned i = 0; i < cn_nmodules; i++)
        if (cn_modules[i] == module)
            return section->confs[CN_UNIT_MODULES + i];
    return NULL;
}

unsigned cn_worker_metric(cn_worker_t *w, const cn_metric_def_t *def)
{
    for (unsigned i = 0; i < w->nmetric_defs; i++)
        if (w->metric_defs[i] == def)
            return i;
    CN_BUG_ON(true); /* a metric must be in its module's list */
    return 0;
}

cn_tls_ctx_t *cn_worker_tls(cn_worker_t *w)
{
    return w->tls;
}

bool cn_worker_trusts(cn_worker_t *w, cn_str_t trust_domain)
{
    const cn_str_t *alias = w->conf->trust_domain_aliases.v;

    if (cn_str_eq(trust_domain, w->conf->trust_domain))
        return true;
    for (uint32_t i = 0; i < w->conf->trust_domain_aliases.n; i++)
        if (cn_str_eq(trust_domain, alias[i]))
            return true;
    return false;
}

cn_str_t cn_worker_network(cn_worker_t *w)
{
    return w->conf->network;
}

bool cn_worker_admit(cn_worker_t *w)
{
    return !w->stopping && w->tunnels < w->conf->max_tunnels &&
           cn_budget_admits(w, CN_BUDGET_TUNNEL);
}
