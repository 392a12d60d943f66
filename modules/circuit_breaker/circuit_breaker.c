/* SPDX-License-Identifier: Apache-2.0
 *
 * circuit_breaker: what a cluster may have at most at once (limits.c, turns.c),
 * and endpoints put aside after failures (outlier.c), counted over all workers.
 *
 * This file has the shared memory, the metrics, and the task that looks after
 * clusters now and then.  What wakes it: its timer, which runs only while there
 * is a cluster to look after.
 */
#include <stdio.h>
#include <stdlib.h>

#include "breaker_int.h"

extern const cn_module_t cn_module_circuit_breaker;

/* Rows of clusters with something in use are got at least so often. */
#define TOUCH_MS 60000u
#define TICK_MIN_MS 10u

/* ---- shared memory ---- */

static size_t cluster_bytes(unsigned slots)
{
    return sizeof(cn_circuit_breaker_cluster_t) +
           (size_t)slots * sizeof(cn_circuit_breaker_column_t);
}

static size_t clusters_size(const void *main, unsigned slots)
{
    return cn_slots_size(((const cn_circuit_breaker_conf_t *)main)->clusters, cluster_bytes(slots));
}

static size_t hosts_size(const void *main, unsigned slots CN_UNUSED)
{
    return cn_slots_size(((const cn_circuit_breaker_conf_t *)main)->hosts,
                         sizeof(cn_circuit_breaker_host_t));
}

static void clear(cn_circuit_breaker_column_t *column)
{
    __atomic_store_n(&column->asked_ms, 0, __ATOMIC_SEQ_CST);
    for (unsigned kind = 0; kind < CN_ADMIT_MAX; kind++)
        __atomic_store_n(&column->used[kind], 0, __ATOMIC_SEQ_CST);
}

/* What the dead worker had in use is free again, and nobody waits for it. */
static void worker_gone(const cn_shm_view_t *v)
{
    cn_circuit_breaker_cluster_t *row;
    cn_slots_t t;
    uint32_t iter = 0;

    cn_slots_open(&t, v->mem, v->size, cluster_bytes(v->slots));
    while ((row = cn_slots_next(&t, &iter)) != NULL)
        clear(&row->column[v->slot]);
}

static const cn_shm_def_t shm[] = {
    {.name = "circuit_breaker.clusters", .size = clusters_size, .worker_gone = worker_gone},
    {.name = "circuit_breaker.hosts", .size = hosts_size},
    {.name = NULL}};

uint64_t cn_circuit_breaker_now_ms(const cn_circuit_breaker_t *b)
{
    return cn_loop_ms(cn_worker_loop(b->w));
}

static uint32_t now_s(const cn_circuit_breaker_t *b)
{
    return (uint32_t)(cn_circuit_breaker_now_ms(b) / 1000);
}

cn_circuit_breaker_cluster_t *cn_circuit_breaker_cluster_row(cn_circuit_breaker_t *b,
                                                             const cn_cluster_t *c)
{
    cn_slots_hint_t hint = {0};
    cn_circuit_breaker_cluster_t *row =
        cn_slots_get(&b->clusters, cn_hash_xxh(c->section->name, 0), &hint, now_s(b));

    if (!row)
        cn_series_add(cn_circuit_breaker_series(b, c, CN_BREAKER_FULL), 1);
    return row;
}

static uint64_t host_key(const cn_cluster_t *c, const cn_host_t *h)
{
    uint64_t key = cn_hash_xxh(c->section->name, 1);

    key =
        cn_hash_xxh(cn_str_make((const char *)h->addr.ip, sizeof(h->addr.ip)), key + h->addr.port);
    return h->identity.n ? cn_hash_xxh(h->identity, key) : key;
}

cn_circuit_breaker_host_t *cn_circuit_breaker_host_row(cn_circuit_breaker_t *b,
                                                       const cn_cluster_t *c, const cn_host_t *h,
                                                       bool make)
{
    cn_slots_hint_t hint = {0};
    cn_circuit_breaker_host_t *row;

    if (!make)
        return cn_slots_find(&b->hosts, host_key(c, h), &hint, now_s(b));
    row = cn_slots_get(&b->hosts, host_key(c, h), &hint, now_s(b));
    if (!row)
        cn_series_add(cn_circuit_breaker_series(b, c, CN_BREAKER_FULL), 1);
    return row;
}

/* ---- metrics ---- */

/* Envoy's names where there is one: whoever let Istio's proxies show these
 * finds them here. */
static const cn_metric_def_t defs[CN_BREAKER_METRICS] = {
    [CN_BREAKER_RQ_OVERFLOW] = {"envoy_cluster_upstream_rq_pending_overflow", CN_METRIC_COUNTER,
                                "Requests answered 503 because of max_requests or max_pending."},
    [CN_BREAKER_CX_OVERFLOW] = {"envoy_cluster_upstream_cx_overflow", CN_METRIC_COUNTER,
                                "Times that a connection was not made because of max_connections."},
    [CN_BREAKER_ACTIVE] = {"envoy_cluster_outlier_detection_ejections_active", CN_METRIC_GAUGE,
                           "Endpoints that are put aside now."},
    [CN_BREAKER_EJECTED] = {"envoy_cluster_outlier_detection_ejections_enforced_total",
                            CN_METRIC_COUNTER, "Endpoints put aside."},
    [CN_BREAKER_EJECTED_5XX] =
        {"envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx", CN_METRIC_COUNTER,
         "Endpoints put aside after consecutive_5xx."},
    [CN_BREAKER_EJECTED_GATEWAY] =
        {"envoy_cluster_outlier_detection_ejections_enforced_consecutive_gateway_failure",
         CN_METRIC_COUNTER, "Endpoints put aside after consecutive_gateway."},
    [CN_BREAKER_EJECTED_LOCAL] =
        {"envoy_cluster_outlier_detection_ejections_enforced_consecutive_local_origin_failure",
         CN_METRIC_COUNTER, "Endpoints put aside after consecutive_local."},
    [CN_BREAKER_EJECT_OVERFLOW] = {"envoy_cluster_outlier_detection_ejections_overflow",
                                   CN_METRIC_COUNTER,
                                   "Endpoints not put aside because of max_ejection_percent."},
    [CN_BREAKER_FULL] = {"cairn_circuit_breaker_full_total", CN_METRIC_COUNTER,
                         "Times that breaker_memory had no row for a cluster or an endpoint: it "
                         "was not limited, or its failure not counted."},
};
static const cn_metric_def_t *const metrics[] = {&defs[0], &defs[1], &defs[2], &defs[3], &defs[4],
                                                 &defs[5], &defs[6], &defs[7], &defs[8], NULL};

cn_series_t *cn_circuit_breaker_series(cn_circuit_breaker_t *b, const cn_cluster_t *c,
                                       cn_circuit_breaker_metric m)
{
    cn_stats_t *stats = cn_worker_stats(b->w);
    char labels[600], name[512];
    int n;

    if (!stats)
        return NULL;
    n = snprintf(labels, sizeof(labels), "cluster_name=\"%.*s\"",
                 (int)cn_stats_escape(name, sizeof(name), c->section->name), name);
    return cn_stats_series(stats, cn_worker_metric(b->w, &defs[m]), cn_str_make(labels, (size_t)n));
}

/* Those that its settings can make count are there from the start. */
static void open_series(cn_circuit_breaker_t *b, const cn_cluster_t *c,
                        const cn_circuit_breaker_conf_t *cc)
{
    if (cc->limited)
        for (unsigned m = CN_BREAKER_RQ_OVERFLOW; m <= CN_BREAKER_CX_OVERFLOW; m++)
            cn_circuit_breaker_series(b, c, (cn_circuit_breaker_metric)m);
    if (cc->outlier)
        for (unsigned m = CN_BREAKER_ACTIVE; m <= CN_BREAKER_EJECT_OVERFLOW; m++)
            cn_circuit_breaker_series(b, c, (cn_circuit_breaker_metric)m);
}

/* ---- the task ---- */

const cn_circuit_breaker_conf_t *cn_circuit_breaker_conf_of(const cn_circuit_breaker_t *b,
                                                            const cn_cluster_t *c)
{
    return cn_worker_conf(b->w, &cn_module_circuit_breaker, c->section);
}

/* A cluster that something is to be done for at each tick. */
typedef struct {
    cn_cluster_t *cluster;
    const cn_circuit_breaker_conf_t *conf;
} watched_t;

static uint64_t tick_of(const cn_circuit_breaker_conf_t *cc)
{
    uint64_t tick = cc->limited ? TOUCH_MS : UINT64_MAX;

    if (cc->outlier && cc->interval_ms < tick)
        tick = cc->interval_ms;
    return tick < TICK_MIN_MS ? TICK_MIN_MS : tick;
}

static void find_tick(cn_circuit_breaker_t *b)
{
    const cn_map_slot_t *slot;
    size_t iter = 0;

    b->tick_unknown = false;
    b->tick_ms = UINT64_MAX;
    while ((slot = cn_map_next(&b->watched, &iter)) != NULL) {
        uint64_t tick = tick_of(((const watched_t *)slot->value)->conf);

        if (tick < b->tick_ms)
            b->tick_ms = tick;
    }
}

/* Changes come faster than ticks, so a tick that is the same goes on. */
static void tend_timer(cn_circuit_breaker_t *b)
{
    uint64_t before = b->timer_ms;

    if (b->tick_unknown)
        find_tick(b);
    b->timer_ms = b->tick_ms;
    if (b->tick_ms == UINT64_MAX)
        cn_timer_stop(&b->timer);
    else if (b->tick_ms != before)
        cn_timer_set(&b->timer, b->tick_ms);
}

static void run(cn_task_t *task, uint32_t why CN_UNUSED)
{
    cn_circuit_breaker_t *b = cn_container_of(task, cn_circuit_breaker_t, task);
    uint64_t now = cn_circuit_breaker_now_ms(b);
    const cn_map_slot_t *slot;
    size_t iter = 0;

    while ((slot = cn_map_next(&b->watched, &iter)) != NULL) {
        const watched_t *x = slot->value;

        if (x->conf->limited)
            cn_circuit_breaker_cluster_row(b, x->cluster);
        if (x->conf->outlier)
            cn_circuit_breaker_sweep(b, x->cluster, x->conf, now);
    }
    b->timer_ms = 0;
    tend_timer(b);
}

/* ---- clusters that come, change and go ---- */

static void watch(cn_circuit_breaker_t *b, cn_cluster_t *c, const cn_circuit_breaker_conf_t *cc)
{
    watched_t *x = cn_map_get(&b->watched, c->section->name);

    if (x && x->cluster == c && x->conf == cc)
        return; /* its endpoints are others, which concerns nothing here */
    if (!x)
        x = cn_xzalloc(sizeof(*x));
    else
        b->tick_unknown |= tick_of(x->conf) == b->tick_ms;
    *x = (watched_t){c, cc};
    (void)cn_map_put(&b->watched, c->section->name, x);
    if (tick_of(cc) < b->tick_ms)
        b->tick_ms = tick_of(cc);
    open_series(b, c, cc);
}

static void unwatch(cn_circuit_breaker_t *b, const cn_cluster_t *c)
{
    watched_t *x = cn_map_del(&b->watched, c->section->name);

    if (!x)
        return;
    b->tick_unknown |= tick_of(x->conf) == b->tick_ms;
    free(x);
}

static void on_cluster(cn_worker_t *w CN_UNUSED, void *wctx, cn_cluster_t *c, const cn_gen_t *gen)
{
    cn_circuit_breaker_t *b = wctx;
    const cn_circuit_breaker_conf_t *cc = cn_circuit_breaker_conf_of(b, c);

    if (gen && (cc->limited || cc->outlier))
        watch(b, c, cc);
    else
        unwatch(b, c);
}

static void open_tables(cn_circuit_breaker_t *b)
{
    cn_shm_view_t v = cn_worker_shm(b->w, &shm[0]);

    if (b->clusters.mem)
        return;
    b->slots = v.slots;
    b->slot = v.slot;
    cn_slots_open(&b->clusters, v.mem, v.size, cluster_bytes(v.slots));
    v = cn_worker_shm(b->w, &shm[1]);
    cn_slots_open(&b->hosts, v.mem, v.size, sizeof(cn_circuit_breaker_host_t));
}

static void reconfigured(cn_worker_t *w CN_UNUSED, void *wctx, const void *main CN_UNUSED)
{
    cn_circuit_breaker_t *b = wctx;

    open_tables(b);
    tend_timer(b);
}

static cn_rc worker_init(cn_worker_t *w, void **wctx)
{
    cn_circuit_breaker_t *b = cn_xzalloc(sizeof(*b));

    b->w = w;
    b->tick_ms = b->timer_ms = UINT64_MAX;
    cn_task_init(&b->task, cn_worker_loop(w), run);
    cn_timer_init(&b->timer, &b->task, CN_WAKE_TIMER);
    cn_circuit_breaker_turns_init(b);
    *wctx = b;
    return CN_OK;
}

static void worker_fini(cn_worker_t *w CN_UNUSED, void *wctx)
{
    cn_circuit_breaker_t *b = wctx;
    const cn_map_slot_t *slot;
    size_t iter = 0;

    cn_timer_stop(&b->timer);
    cn_task_fini(&b->task);
    cn_circuit_breaker_turns_fini(b);
    while ((slot = cn_map_next(&b->watched, &iter)) != NULL)
        free(slot->value);
    cn_map_fini(&b->watched);
    free(b);
}

/* ---- how things are ---- */

static void look(void *wctx, cn_cluster_t *c, const void *conf, cn_cluster_look_t *l)
{
    const cn_circuit_breaker_conf_t *cc = conf;
    const cn_circuit_breaker_cluster_t *row =
        cc->outlier ? cn_circuit_breaker_cluster_row(wctx, c) : NULL;

    if (cc->outlier && cc->min_health > l->panic_percent)
        l->panic_percent = cc->min_health;
    if (row)
        l->epoch += __atomic_load_n(&row->epoch, __ATOMIC_SEQ_CST);
}

static void describe_cluster(cn_circuit_breaker_t *b, const cn_cluster_t *c,
                             const cn_circuit_breaker_conf_t *cc, const cn_describe_t *out)
{
    static const char *const names[CN_ADMIT_MAX][2] = {
        [CN_ADMIT_REQUEST] = {"default_priority::max_requests", "default_priority::rq_in_use"},
        [CN_ADMIT_PENDING] = {"default_priority::max_pending_requests",
                              "default_priority::rq_pending_in_use"},
        [CN_ADMIT_RETRY] = {"default_priority::max_retries", "default_priority::rq_retry_in_use"},
        [CN_ADMIT_CONNECTION] = {"default_priority::max_connections",
                                 "default_priority::cx_in_use"},
    };
    const cn_circuit_breaker_cluster_t *row =
        cc->limited || cc->outlier ? cn_circuit_breaker_cluster_row(b, c) : NULL;

    for (unsigned i = 0; row && i < CN_ADMIT_MAX; i++) {
        if (cc->limit[i] == CN_BREAKER_NONE)
            continue;
        out->put(out->ctx, names[i][0], cc->limit[i]);
        out->put(out->ctx, names[i][1], cn_circuit_breaker_used(b, row, (cn_admit_kind)i));
    }
    if (row && cc->outlier && cc->consecutive_5xx)
        out->put(out->ctx, "outlier::max_consecutive_5xx", cc->consecutive_5xx);
    if (row && cc->outlier && cc->consecutive_gateway)
        out->put(out->ctx, "outlier::max_consecutive_gateway", cc->consecutive_gateway);
    if (row && cc->outlier && cc->split_local)
        out->put(out->ctx, "outlier::max_consecutive_local", cc->consecutive_local);
    if (row && cc->outlier)
        out->put(out->ctx, "outlier::ejected", __atomic_load_n(&row->ejected, __ATOMIC_RELAXED));
}

static void describe(void *wctx, cn_cluster_t *c, const void *conf, const cn_host_t *host,
                     const cn_describe_t *out)
{
    const cn_circuit_breaker_conf_t *cc = conf;
    const cn_circuit_breaker_host_t *h;
    uint64_t since, now = cn_circuit_breaker_now_ms(wctx), away;

    if (!host) {
        describe_cluster(wctx, c, cc, out);
        return;
    }
    h = cc->outlier ? cn_circuit_breaker_host_row(wctx, c, host, false) : NULL;
    if (!h)
        return;
    since = __atomic_load_n(&h->ejected_ms, __ATOMIC_RELAXED);
    away = cn_circuit_breaker_away_ms(cc, h->ejections);
    out->put(out->ctx, "outlier::consecutive_5xx", h->in_row_5xx);
    out->put(out->ctx, "outlier::consecutive_gateway", h->in_row_gateway);
    out->put(out->ctx, "outlier::consecutive_local", h->in_row_local);
    out->put(out->ctx, "outlier::ejections", h->ejections);
    out->put(out->ctx, "outlier::ejected_for_ms",
             since && since + away > now ? since + away - now : 0);
}

static const cn_admission_ops_t admission = {
    .admit = cn_circuit_breaker_admit,
    .release = cn_circuit_breaker_release,
    .wait = cn_circuit_breaker_wait,
    .spare = cn_circuit_breaker_spare,
    .usable = cn_circuit_breaker_usable,
    .look = look,
    .report = cn_circuit_breaker_report,
    .describe = describe,
};

const cn_module_t cn_module_circuit_breaker = {
    .abi = CN_MODULE_ABI,
    .name = "circuit_breaker",
    .directives = cn_circuit_breaker_directives,
    .conf[CN_LV_MAIN] = {.size = sizeof(cn_circuit_breaker_conf_t),
                         .init = cn_circuit_breaker_conf_init},
    .conf[CN_LV_CLUSTER] = {.size = sizeof(cn_circuit_breaker_conf_t)},
    .shm = shm,
    .metrics = metrics,
    .worker_init = worker_init,
    .cluster = on_cluster,
    .reconfigured = reconfigured,
    .worker_fini = worker_fini,
    .admission = &admission,
};
