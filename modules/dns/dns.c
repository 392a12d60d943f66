/* SPDX-License-Identifier: Apache-2.0
 *
 * dns: clusters whose endpoints have names (ServiceEntry's DNS,
 * DNS_ROUND_ROBIN and DYNAMIC_DNS resolutions).  Answers never make a request
 * wait but for names that it brings along; nothing blocks.  Here: the module,
 * its numbers and its times.
 */
#include <stdlib.h>

#include "dns_int.h"

extern const cn_module_t cn_module_dns;

static const cn_metric_def_t queries = {"cairn_dns_queries_total", CN_METRIC_COUNTER,
                                        "Names that were asked for."};
static const cn_metric_def_t failures = {"cairn_dns_failures_total", CN_METRIC_COUNTER,
                                         "Questions without an address as answer."};
static const cn_metric_def_t *const metrics[] = {&queries, &failures, NULL};

/* ---- times ---- */

uint64_t dns_refresh_ms(const dns_t *d, const dns_answer_t *a)
{
    uint64_t ms = (uint64_t)a->ttl_s * 1000;

    if (ms == 0)
        ms = d->conf.retry_ms;
    if (ms < d->conf.ttl_min_ms)
        ms = d->conf.ttl_min_ms;
    return ms < d->conf.ttl_max_ms ? ms : d->conf.ttl_max_ms;
}

/* A second, two, four, ...; a name that is known not to exist waits at once. */
uint64_t dns_retry_ms(const dns_t *d, unsigned nth, bool denied)
{
    uint64_t ms = nth < 16 ? (uint64_t)500 << nth : UINT64_MAX;

    return denied || ms > d->conf.retry_ms ? d->conf.retry_ms : ms;
}

void dns_count(dns_t *d, const dns_answer_t *a)
{
    cn_series_add(d->queries, 1);
    if (a->n == 0)
        cn_series_add(d->failures, 1);
}

/* ---- life ---- */

static cn_series_t *series(cn_worker_t *w, const cn_metric_def_t *def)
{
    cn_stats_t *stats = cn_worker_stats(w);

    return stats ? cn_stats_series(stats, cn_worker_metric(w, def), CN_STR_NULL) : NULL;
}

static cn_rc worker_init(cn_worker_t *w, void **wctx)
{
    dns_t *d = cn_xzalloc(sizeof(*d));

    d->w = w;
    d->loop = cn_worker_loop(w);
    d->unit = CN_UNIT_MODULES;
    while (cn_modules[d->unit - CN_UNIT_MODULES] != &cn_module_dns)
        d->unit++;
    d->resolver = dns_resolver_create(d->loop);
    cn_map_init(&d->clusters);
    cn_map_init(&d->names);
    cn_map_init(&d->dynamic);
    cn_list_init(&d->recent);
    d->queries = series(w, &queries);
    d->failures = series(w, &failures);
    *wctx = d;
    return CN_OK;
}

static void on_cluster(cn_worker_t *w CN_UNUSED, void *wctx, cn_cluster_t *cluster,
                       const cn_gen_t *gen)
{
    dns_t *d = wctx;
    const dns_cluster_t *c = cluster->section->confs[d->unit];

    if (gen && c && (c->targets.n || c->suffix.n)) {
        (void)cn_map_put(&d->clusters, cluster->section->name, cluster);
        d->changed = true;
    } else if (cn_map_del(&d->clusters, cluster->section->name)) {
        d->changed = true;
    }
    if (gen && cluster->resolved.n && (!c || c->targets.n == 0))
        cn_clusters_set_resolved(cn_worker_clusters(d->w), cluster, CN_STR_NULL);
}

/* Of clusters with dns_dynamic. */
static unsigned count_dynamic(const dns_t *d)
{
    const cn_map_slot_t *slot;
    size_t iter = 0;
    unsigned n = 0;

    while ((slot = cn_map_next(&d->clusters, &iter)) != NULL) {
        const dns_cluster_t *c = ((const cn_cluster_t *)slot->value)->section->confs[d->unit];

        n += c->suffix.n > 0;
    }
    return n;
}

static void reconfigured(cn_worker_t *w, void *wctx, const void *main)
{
    dns_t *d = wctx;

    d->conf = *(const dns_main_t *)main;
    if (!cn_worker_stats(w) || !d->changed)
        return; /* where a configuration is only tried, nobody is asked */
    d->changed = false;
    d->ndynamic = count_dynamic(d);
    if (d->clusters.used > 0)
        dns_resolver_configure(d->resolver, &d->conf);
    dns_names_update(d);
}

static void worker_fini(cn_worker_t *w CN_UNUSED, void *wctx)
{
    dns_t *d = wctx;

    dns_names_fini(d);
    dns_dynamic_fini(d);
    cn_map_fini(&d->clusters);
    dns_resolver_destroy(d->resolver);
    free(d);
}

static bool active(const void *conf CN_UNUSED, cn_phase_t phase)
{
    return phase == CN_PH_TUNNEL || phase == CN_PH_CONTENT;
}

const cn_module_t cn_module_dns = {
    .abi = CN_MODULE_ABI,
    .name = "dns",
    .after = "tcp_route",
    .directives = dns_directives,
    .conf[CN_LV_MAIN] = {.size = sizeof(dns_main_t), .init = dns_init_main, .done = dns_check_main},
    .conf[CN_LV_CLUSTER] = {.size = sizeof(dns_cluster_t), .init = cn_conf_zeros},
    .metrics = metrics,
    .worker_init = worker_init,
    .cluster = on_cluster,
    .reconfigured = reconfigured,
    .worker_fini = worker_fini,
    .ctx_size = sizeof(dns_wait_t),
    .ctx_fini = dns_dynamic_left,
    .phase[CN_PH_TUNNEL] = dns_dynamic_hook,
    .phase[CN_PH_CONTENT] = dns_dynamic_hook,
    .active = active,
};
