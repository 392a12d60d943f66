/* SPDX-License-Identifier: Apache-2.0
 *
 * Istio's standard metrics.  One series set per distinct label set and kind,
 * looked up at the end of each request; numbers live in shared memory
 * (stats/series.h) and are exact over all workers.
 *
 * L4 connections report their bytes as they go (CN_PH_REPORT), so a long one
 * shows before it ends.
 */
#include "cache.h"

#include <stdlib.h>

extern const cn_module_t cn_module_prometheus;

typedef enum {
    M_REQUESTS,
    M_DURATION,
    M_REQUEST_BYTES,
    M_RESPONSE_BYTES,
    M_REQUEST_MESSAGES,
    M_RESPONSE_MESSAGES,
    M_OPENED,
    M_CLOSED,
    M_SENT,
    M_RECEIVED,
    M_MAX
} metric_t;

static const cn_metric_def_t defs[M_MAX] = {
    {"istio_requests_total", CN_METRIC_COUNTER, "HTTP and gRPC requests, counted at their end."},
    {"istio_request_duration_milliseconds", CN_METRIC_HISTOGRAM, "Duration of requests."},
    {"istio_request_bytes", CN_METRIC_HISTOGRAM, "Bytes received of requests, heads included."},
    {"istio_response_bytes", CN_METRIC_HISTOGRAM, "Bytes sent of responses, heads included."},
    {"istio_request_messages_total", CN_METRIC_COUNTER, "gRPC messages from clients."},
    {"istio_response_messages_total", CN_METRIC_COUNTER, "gRPC messages to clients."},
    {"istio_tcp_connections_opened_total", CN_METRIC_COUNTER, "L4 connections begun."},
    {"istio_tcp_connections_closed_total", CN_METRIC_COUNTER, "L4 connections ended."},
    {"istio_tcp_sent_bytes_total", CN_METRIC_COUNTER, "Bytes sent to clients of L4 connections."},
    {"istio_tcp_received_bytes_total", CN_METRIC_COUNTER,
     "Bytes received from clients of L4 connections."},
};
static const cn_metric_def_t *const metrics[] = {&defs[M_REQUESTS],
                                                 &defs[M_DURATION],
                                                 &defs[M_REQUEST_BYTES],
                                                 &defs[M_RESPONSE_BYTES],
                                                 &defs[M_REQUEST_MESSAGES],
                                                 &defs[M_RESPONSE_MESSAGES],
                                                 &defs[M_OPENED],
                                                 &defs[M_CLOSED],
                                                 &defs[M_SENT],
                                                 &defs[M_RECEIVED],
                                                 NULL};

typedef struct {
    bool enabled;
} prom_conf_t;

typedef struct {
    unsigned family[M_MAX];
    prom_cache_t *cache;
} prom_worker_t;

/* Of an L4 connection: what was already reported, and under which labels, which
 * are frozen at the first report.  Of a gRPC stream: messages reported. */
typedef struct {
    cn_series_t *opened, *closed, *sent, *received;
    uint64_t sent_bytes, received_bytes;
    uint64_t req_messages, resp_messages;
    bool begun;
} prom_ctx_t;

/* ---- settings ---- */

static cn_rc init_main(cn_conf_t *cf CN_UNUSED, void *conf, const void *parent CN_UNUSED)
{
    ((prom_conf_t *)conf)->enabled = true;
    return CN_OK;
}

static const cn_directive_t directives[] = {
    {"istio_metrics", CN_AT_MAIN | CN_AT_SERVICE, CN_ARGS(1, 1), cn_set_flag,
     offsetof(prom_conf_t, enabled), NULL, "istio_metrics on | off",
     "Count requests and connections in the istio_* families.", "on"},
    {.name = NULL}};

static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    return ((const prom_conf_t *)conf)->enabled;
}

/* ---- worker ---- */

static cn_rc worker_init(cn_worker_t *w, void **wctx)
{
    prom_worker_t *pw = cn_xzalloc(sizeof(*pw));

    for (unsigned m = 0; m < M_MAX; m++)
        pw->family[m] = cn_worker_metric(w, &defs[m]);
    pw->cache = prom_cache_create();
    *wctx = pw;
    return CN_OK;
}

static void worker_fini(cn_worker_t *w CN_UNUSED, void *wctx)
{
    prom_cache_destroy(((prom_worker_t *)wctx)->cache);
    free(wctx);
}

/* ---- requests ---- */

static void find_messages(cn_stats_t *st, const prom_worker_t *pw, const cn_facts_t *f,
                          prom_http_series_t *out)
{
    char text[PROM_LABELS_MAX];
    cn_str_t labels = cn_str_make(text, prom_labels_put(text, f, PROM_MESSAGES));

    out->request_messages = cn_stats_series(st, pw->family[M_REQUEST_MESSAGES], labels);
    out->response_messages = cn_stats_series(st, pw->family[M_RESPONSE_MESSAGES], labels);
}

static void count_messages(const prom_http_series_t *series, const cn_facts_t *f, prom_ctx_t *ctx)
{
    cn_series_add(series->request_messages, f->req_messages - ctx->req_messages);
    cn_series_add(series->response_messages, f->resp_messages - ctx->resp_messages);
    ctx->req_messages = f->req_messages;
    ctx->resp_messages = f->resp_messages;
}

static void find_http(cn_stats_t *st, const prom_worker_t *pw, const cn_facts_t *f,
                      prom_http_series_t *out)
{
    char text[PROM_LABELS_MAX];
    cn_str_t labels = cn_str_make(text, prom_labels_put(text, f, PROM_HTTP));

    out->requests = cn_stats_series(st, pw->family[M_REQUESTS], labels);
    out->duration = cn_stats_series(st, pw->family[M_DURATION], labels);
    out->request_bytes = cn_stats_series(st, pw->family[M_REQUEST_BYTES], labels);
    out->response_bytes = cn_stats_series(st, pw->family[M_RESPONSE_BYTES], labels);
    out->request_messages = out->response_messages = NULL;
    if (f->grpc)
        find_messages(st, pw, f, out);
}

static void count_http(cn_stats_t *st, const prom_worker_t *pw, const cn_facts_t *f,
                       prom_ctx_t *ctx)
{
    prom_http_series_t found, *series;

    if (!prom_cache_find(pw->cache, f, &series)) {
        series = series ? series : &found;
        find_http(st, pw, f, series);
    }
    cn_series_add(series->requests, 1);
    cn_series_observe(series->duration, (f->end_ns - f->start_ns) / 1000000);
    cn_series_observe(series->request_bytes, f->wire_rx);
    cn_series_observe(series->response_bytes, f->wire_tx);
    if (f->grpc)
        count_messages(series, f, ctx);
}

/* A stream that goes on: what it will be counted as is not known yet, only its
 * messages can be told. */
static void report_grpc(cn_stats_t *st, const prom_worker_t *pw, const cn_facts_t *f,
                        prom_ctx_t *ctx)
{
    prom_http_series_t series;

    if (!f->grpc)
        return;
    find_messages(st, pw, f, &series);
    count_messages(&series, f, ctx);
}

static void begin_tcp(cn_stats_t *st, const prom_worker_t *pw, const cn_facts_t *f, prom_ctx_t *ctx)
{
    char text[PROM_LABELS_MAX];
    cn_str_t labels = cn_str_make(text, prom_labels_put(text, f, PROM_TCP));

    ctx->begun = true;
    ctx->opened = cn_stats_series(st, pw->family[M_OPENED], labels);
    ctx->closed = cn_stats_series(st, pw->family[M_CLOSED], labels);
    ctx->sent = cn_stats_series(st, pw->family[M_SENT], labels);
    ctx->received = cn_stats_series(st, pw->family[M_RECEIVED], labels);
    cn_series_add(ctx->opened, 1);
}

static void report_tcp(cn_req_t *req, const prom_worker_t *pw, prom_ctx_t *ctx)
{
    const cn_facts_t *f = cn_req_facts(req);

    if (!ctx->begun)
        begin_tcp(cn_worker_stats(cn_req_worker(req)), pw, f, ctx);
    cn_series_add(ctx->sent, f->body_tx - ctx->sent_bytes);
    cn_series_add(ctx->received, f->body_rx - ctx->received_bytes);
    ctx->sent_bytes = f->body_tx;
    ctx->received_bytes = f->body_rx;
}

static const prom_worker_t *worker_of(cn_req_t *req)
{
    return cn_worker_module(cn_req_worker(req), &cn_module_prometheus);
}

static cn_rc on_report(cn_req_t *req, const void *conf CN_UNUSED, void *ctx)
{
    const cn_facts_t *f = cn_req_facts(req);

    if (f->req)
        report_grpc(cn_worker_stats(cn_req_worker(req)), worker_of(req), f, ctx);
    else
        report_tcp(req, worker_of(req), ctx);
    return CN_OK;
}

static cn_rc on_log(cn_req_t *req, const void *conf CN_UNUSED, void *ctx)
{
    const cn_facts_t *f = cn_req_facts(req);

    if (f->req) {
        count_http(cn_worker_stats(cn_req_worker(req)), worker_of(req), f, ctx);
    } else {
        report_tcp(req, worker_of(req), ctx);
        cn_series_add(((prom_ctx_t *)ctx)->closed, 1);
    }
    return CN_OK;
}

/* ---- exposition ---- */

static void expose(cn_worker_t *w, void *wctx CN_UNUSED, cn_admin_req_t *r)
{
    r->content_type = CN_STR("text/plain; version=0.0.4; charset=utf-8");
    cn_stats_expose(cn_worker_stats(w), &r->body);
    cn_chain_puts(&r->body, CN_STR("# TYPE istio_build gauge\n"
                                   "istio_build{component=\"proxy\",tag=\"unknown\"} 1\n"));
}

static const cn_admin_t admin[] = {{"/stats/prometheus",
                                    CN_ADMIN_AGENT | CN_ADMIN_METRICS | CN_ADMIN_ADMIN, "GET",
                                    expose, "All metrics as Prometheus text."},
                                   {"/metrics", CN_ADMIN_AGENT, "GET", expose, "The same."},
                                   {.path = NULL}};

const cn_module_t cn_module_prometheus = {
    .abi = CN_MODULE_ABI,
    .name = "prometheus",
    .directives = directives,
    .conf = {[CN_LV_MAIN] = {sizeof(prom_conf_t), init_main, NULL, NULL},
             [CN_LV_SERVICE] = {sizeof(prom_conf_t), NULL, NULL, NULL}},
    .metrics = metrics,
    .admin = admin,
    .worker_init = worker_init,
    .worker_fini = worker_fini,
    .ctx_size = sizeof(prom_ctx_t),
    .phase = {[CN_PH_REPORT] = on_report, [CN_PH_LOG] = on_log},
    .active = active,
};
