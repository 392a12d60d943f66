/* SPDX-License-Identifier: Apache-2.0
 *
 * Outlier detection by Envoy's rules for consecutive failures, with all workers
 * counting in one place.
 *
 * Numbers of a host are written before the cluster's mark is raised, and a
 * sweep takes the mark back only when it has not changed while all numbers were
 * found to be 0.  So a mark of 0 says that no host needs to be looked at, which
 * is what nearly every request finds.
 */
#include "breaker_int.h"

/* Envoy's max_ejection_time. */
#define AWAY_MAX_MS 300000u

static uint32_t get(const uint32_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

static void clear(uint32_t *cell)
{
    if (get(cell))
        __atomic_store_n(cell, 0, __ATOMIC_RELAXED);
}

static void mark(cn_circuit_breaker_cluster_t *row)
{
    /* never back to 0 by counting */
    if (__atomic_add_fetch(&row->marks, 1, __ATOMIC_SEQ_CST) == 0)
        __atomic_add_fetch(&row->marks, 1, __ATOMIC_SEQ_CST);
}

static bool is_marked(const cn_circuit_breaker_cluster_t *row)
{
    return __atomic_load_n(&row->marks, __ATOMIC_SEQ_CST) != 0;
}

static uint64_t ejected_ms(const cn_circuit_breaker_host_t *h)
{
    return __atomic_load_n(&h->ejected_ms, __ATOMIC_SEQ_CST);
}

uint64_t cn_circuit_breaker_away_ms(const cn_circuit_breaker_conf_t *cc, uint32_t ejections)
{
    uint64_t max = cc->base_ms > AWAY_MAX_MS ? cc->base_ms : AWAY_MAX_MS;
    uint64_t away = cc->base_ms * ejections;

    return away < max ? away : max;
}

/* ---- ejection ---- */

/* One more may be away: the percentage allows it, or nobody is and there are others. */
static bool take_leave(cn_circuit_breaker_cluster_t *row, const cn_cluster_t *c,
                       const cn_circuit_breaker_conf_t *cc)
{
    uint32_t n = get(&row->ejected);

    do {
        if ((n > 0 || c->nhosts == 1) &&
            (uint64_t)(n + 1) * 100 > (uint64_t)c->nhosts * cc->max_ejected)
            return false;
    } while (!__atomic_compare_exchange_n(&row->ejected, &n, n + 1, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    return true;
}

static void give_leave_back(cn_circuit_breaker_cluster_t *row)
{
    uint32_t n = get(&row->ejected);

    while (n > 0 && !__atomic_compare_exchange_n(&row->ejected, &n, n - 1, false, __ATOMIC_SEQ_CST,
                                                 __ATOMIC_RELAXED))
        continue;
}

typedef struct {
    uint32_t failures;
    const char *what;
    cn_circuit_breaker_metric metric;
} cause_t;

static void tell_ejected(cn_circuit_breaker_t *b, const cn_cluster_t *c, const cn_host_t *host,
                         uint64_t away_ms, const cause_t *why)
{
    char addr[CN_INET_TEXT];

    cn_inet_put(addr, &host->addr, true);
    cn_log(CN_LOG_WARN, "outlier", "cluster %.*s: %s is put aside for %llu ms: %u %s in a row",
           CN_STR_ARG(c->section->name), addr, (unsigned long long)away_ms, why->failures,
           why->what);
    cn_series_add(cn_circuit_breaker_series(b, c, CN_BREAKER_ACTIVE), 1);
    cn_series_add(cn_circuit_breaker_series(b, c, CN_BREAKER_EJECTED), 1);
    cn_series_add(cn_circuit_breaker_series(b, c, why->metric), 1);
}

/* Whoever turns the host's time from 0 has ejected it, and says so. */
static void eject(cn_circuit_breaker_t *b, cn_cluster_t *c, const cn_circuit_breaker_conf_t *cc,
                  cn_circuit_breaker_cluster_t *row, cn_circuit_breaker_host_t *h,
                  const cn_host_t *host, const cause_t *why)
{
    uint64_t none = 0;
    uint32_t times;

    if (ejected_ms(h))
        return;
    if (!take_leave(row, c, cc)) {
        cn_series_add(cn_circuit_breaker_series(b, c, CN_BREAKER_EJECT_OVERFLOW), 1);
        return;
    }
    if (!__atomic_compare_exchange_n(&h->ejected_ms, &none, cn_circuit_breaker_now_ms(b), false,
                                     __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
        give_leave_back(row);
        return;
    }
    times = __atomic_add_fetch(&h->ejections, 1, __ATOMIC_SEQ_CST);
    /* a longer stay than the longest one needs no higher number */
    if (times > AWAY_MAX_MS / cc->base_ms + 1)
        __atomic_store_n(&h->ejections, times - 1, __ATOMIC_RELAXED);
    mark(row);
    __atomic_add_fetch(&row->epoch, 1, __ATOMIC_SEQ_CST);
    tell_ejected(b, c, host, cn_circuit_breaker_away_ms(cc, times), why);
}

/* ---- results ---- */

/* Every one past the threshold asks again: the first may have been refused
 * because too many others were away. */
static bool reaches(uint32_t *cell, uint32_t threshold)
{
    uint32_t n = __atomic_add_fetch(cell, 1, __ATOMIC_RELAXED);

    return threshold > 0 && n >= threshold;
}

/* gRPC says in grpc-status what HTTP says in the status. */
static unsigned status_of(const cn_outcome_t *out)
{
    static const uint16_t by_grpc[] = {200, 499, 500, 400, 504, 404, 409, 403, 429,
                                       400, 409, 400, 501, 500, 503, 500, 401};

    if (out->how == CN_OUT_CONNECT_TIMEOUT || out->how == CN_OUT_TIMEOUT)
        return 504;
    if (out->how != CN_OUT_RESPONSE)
        return 503;
    if (out->grpc_status < 0)
        return out->status;
    return (size_t)out->grpc_status < CN_COUNT(by_grpc) ? by_grpc[out->grpc_status] : 500;
}

static void failed(cn_circuit_breaker_t *b, cn_cluster_t *c, const cn_circuit_breaker_conf_t *cc,
                   cn_host_t *host, unsigned status, bool local)
{
    cn_circuit_breaker_cluster_t *row = cn_circuit_breaker_cluster_row(b, c);
    cn_circuit_breaker_host_t *h = row ? cn_circuit_breaker_host_row(b, c, host, true) : NULL;
    bool gateway = status >= 502 && status <= 504, out = false;
    cause_t why = {0};

    if (!h)
        return;
    if (local) {
        out = reaches(&h->in_row_local, cc->consecutive_local);
        why = (cause_t){get(&h->in_row_local), "failures to reach it", CN_BREAKER_EJECTED_LOCAL};
    } else {
        if (!gateway)
            clear(&h->in_row_gateway);
        else if (reaches(&h->in_row_gateway, cc->consecutive_gateway)) {
            out = true;
            why = (cause_t){get(&h->in_row_gateway), "gateway errors", CN_BREAKER_EJECTED_GATEWAY};
        }
        if (reaches(&h->in_row_5xx, cc->consecutive_5xx) && !out) {
            out = true;
            why = (cause_t){get(&h->in_row_5xx), "errors (5xx)", CN_BREAKER_EJECTED_5XX};
        }
    }
    mark(row);
    if (out)
        eject(b, c, cc, row, h, host, &why);
}

static void succeeded(cn_circuit_breaker_t *b, cn_cluster_t *c, cn_host_t *host, bool answered)
{
    cn_circuit_breaker_cluster_t *row = cn_circuit_breaker_cluster_row(b, c);
    cn_circuit_breaker_host_t *h =
        row && is_marked(row) ? cn_circuit_breaker_host_row(b, c, host, false) : NULL;

    if (!h)
        return;
    clear(&h->in_row_local);
    if (!answered)
        return;
    clear(&h->in_row_5xx);
    clear(&h->in_row_gateway);
}

void cn_circuit_breaker_report(void *wctx, cn_cluster_t *c, const void *conf, cn_host_t *host,
                               const cn_outcome_t *out)
{
    const cn_circuit_breaker_conf_t *cc = conf;
    bool response = out->how == CN_OUT_RESPONSE;
    unsigned status;

    if (!cc->outlier)
        return;
    if (response && out->status == 0 && out->grpc_status < 0) { /* a connection that is not HTTP */
        succeeded(wctx, c, host, !cc->split_local);
        return;
    }
    status = status_of(out);
    if (!response && cc->split_local) {
        failed(wctx, c, cc, host, status, true);
        return;
    }
    if (status < 500) {
        succeeded(wctx, c, host, true);
        return;
    }
    if (response && cc->split_local)
        succeeded(wctx, c, host, false); /* it was reached */
    failed(wctx, c, cc, host, status, false);
}

bool cn_circuit_breaker_usable(void *wctx, cn_cluster_t *c, const void *conf, cn_host_t *host)
{
    const cn_circuit_breaker_conf_t *cc = conf;
    const cn_circuit_breaker_cluster_t *row =
        cc->outlier ? cn_circuit_breaker_cluster_row(wctx, c) : NULL;
    const cn_circuit_breaker_host_t *h;

    if (!row || !is_marked(row))
        return true;
    h = cn_circuit_breaker_host_row(wctx, c, host, false);
    return !h || !ejected_ms(h);
}

/* ---- sweeps ---- */

static void bring_back(cn_circuit_breaker_t *b, const cn_cluster_t *c,
                       cn_circuit_breaker_cluster_t *row, cn_circuit_breaker_host_t *h,
                       const cn_host_t *host, uint64_t since)
{
    char addr[CN_INET_TEXT];

    clear(&h->in_row_5xx);
    clear(&h->in_row_gateway);
    clear(&h->in_row_local);
    if (!__atomic_compare_exchange_n(&h->ejected_ms, &since, 0, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_RELAXED))
        return;
    give_leave_back(row);
    __atomic_add_fetch(&row->epoch, 1, __ATOMIC_SEQ_CST);
    cn_series_sub(cn_circuit_breaker_series(b, c, CN_BREAKER_ACTIVE), 1);
    cn_inet_put(addr, &host->addr, true);
    cn_log(CN_LOG_NOTICE, "outlier", "cluster %.*s: %s is back", CN_STR_ARG(c->section->name),
           addr);
}

/* An interval without ejection takes one from the multiplier. */
static void look_at(cn_circuit_breaker_t *b, const cn_cluster_t *c,
                    const cn_circuit_breaker_conf_t *cc, cn_circuit_breaker_cluster_t *row,
                    cn_circuit_breaker_host_t *h, const cn_host_t *host, uint64_t now_ms)
{
    uint64_t since = ejected_ms(h);
    uint32_t times = get(&h->ejections);

    if (since == 0) {
        if (times > 0)
            __atomic_store_n(&h->ejections, times - 1, __ATOMIC_RELAXED);
    } else if (!cc->outlier || now_ms - since >= cn_circuit_breaker_away_ms(cc, times)) {
        bring_back(b, c, row, h, host, since);
    }
}

static bool is_clean(const cn_circuit_breaker_host_t *h)
{
    return !ejected_ms(h) && !get(&h->ejections) && !get(&h->in_row_5xx) &&
           !get(&h->in_row_gateway) && !get(&h->in_row_local);
}

/* A count that is higher than what is there was left by a worker that died, or
 * by a host that left while it was away. */
static void mend_count(cn_circuit_breaker_t *b, const cn_cluster_t *c,
                       cn_circuit_breaker_cluster_t *row, uint32_t before, uint32_t away)
{
    uint32_t found = before;

    if (before > away && __atomic_compare_exchange_n(&row->ejected, &found, away, false,
                                                     __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        cn_series_sub(cn_circuit_breaker_series(b, c, CN_BREAKER_ACTIVE), before - away);
}

static bool is_due(cn_circuit_breaker_cluster_t *row, uint64_t interval_ms, uint64_t now_ms)
{
    uint64_t last = __atomic_load_n(&row->swept_ms, __ATOMIC_RELAXED);

    /* an eighth early, so that a timer that is late by a moment misses no turn; a
     * time that cannot be was not written by us */
    if (last + interval_ms - interval_ms / 8 > now_ms && last <= now_ms + interval_ms)
        return false;
    return __atomic_compare_exchange_n(&row->swept_ms, &last, now_ms, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

void cn_circuit_breaker_sweep(cn_circuit_breaker_t *b, cn_cluster_t *c,
                              const cn_circuit_breaker_conf_t *cc, uint64_t now_ms)
{
    cn_circuit_breaker_cluster_t *row = cn_circuit_breaker_cluster_row(b, c);
    uint32_t marks, before, away = 0;
    bool clean = true;

    if (!row || !is_marked(row) || !is_due(row, cc->interval_ms, now_ms))
        return;
    marks = __atomic_load_n(&row->marks, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < c->nhosts; i++) {
        cn_circuit_breaker_host_t *h = cn_circuit_breaker_host_row(b, c, c->hosts[i], false);

        if (h)
            look_at(b, c, cc, row, h, c->hosts[i], now_ms);
    }
    before = get(&row->ejected);
    for (uint32_t i = 0; i < c->nhosts; i++) {
        const cn_circuit_breaker_host_t *h = cn_circuit_breaker_host_row(b, c, c->hosts[i], false);

        away += h && ejected_ms(h);
        clean = clean && (!h || is_clean(h));
    }
    mend_count(b, c, row, before, away);
    if (clean)
        __atomic_compare_exchange_n(&row->marks, &marks, 0, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_RELAXED);
}
