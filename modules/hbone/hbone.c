/* SPDX-License-Identifier: Apache-2.0
 *
 * HBONE, the mesh's tunnel: HTTP/2 CONNECT over mutual TLS.  in.c accepts
 * tunnels on `listen ADDR hbone` and hands them to the proxy; out.c opens
 * tunnels to captured pods for the connection pools, double.c to those behind the
 * gateway of another network.  Here: the module, its
 * settings and its numbers.
 */
#include <stdio.h>
#include <stdlib.h>

#include "hbone_int.h"

#define WINDOW_MIN 65535u
#define WINDOW_MAX 2147483647u

static const cn_range_t streams_range = {1, 100000}, connections_range = {1, 1000000};

static const cn_directive_t directives[] = {
    {
        .name = "hbone_max_streams",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_u32,
        .off = offsetof(cn_hbone_conf_t, max_streams),
        .arg = &streams_range,
        .syntax = "hbone_max_streams NUMBER",
        .help = "Tunnels on one HBONE connection at a time, accepted and opened. One more is "
                "refused alone; ztunnel and cairn then open another connection.",
        .deflt = "100",
    },
    {
        .name = "hbone_stream_window",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_size,
        .off = offsetof(cn_hbone_conf_t, stream_window),
        .syntax = "hbone_stream_window SIZE",
        .help = "Bytes that a tunnel may receive before they are taken: the most memory that "
                "one slow reader costs.",
        .deflt = "512k",
    },
    {
        .name = "hbone_connection_window",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_size,
        .off = offsetof(cn_hbone_conf_t, connection_window),
        .syntax = "hbone_connection_window SIZE",
        .help = "The same for all tunnels of a connection together. A multiple of the stream "
                "window, so that tunnels that are not read do not stop their neighbours.",
        .deflt = "16m",
    },
    {
        .name = "hbone_ping_interval",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_ms,
        .off = offsetof(cn_hbone_conf_t, ping_interval_ms),
        .syntax = "hbone_ping_interval TIME",
        .help = "How often a PING asks whether the other side is alive, since a pod may vanish "
                "without a word. 0 turns it off.",
        .deflt = "10s",
    },
    {
        .name = "hbone_ping_timeout",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_ms,
        .off = offsetof(cn_hbone_conf_t, ping_timeout_ms),
        .syntax = "hbone_ping_timeout TIME",
        .help = "A connection on which nothing arrives for this long after a PING is closed.",
        .deflt = "20s",
    },
    {
        .name = "hbone_handshake_timeout",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_ms,
        .off = offsetof(cn_hbone_conf_t, handshake_timeout_ms),
        .syntax = "hbone_handshake_timeout TIME",
        .help =
            "For the TLS handshake of HBONE connections, accepted and opened, and for the rest of "
            "a CONNECT's head once it has begun to come.",
        .deflt = "10s",
    },
    {
        .name = "hbone_idle_timeout",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_ms,
        .off = offsetof(cn_hbone_conf_t, idle_timeout_ms),
        .syntax = "hbone_idle_timeout TIME",
        .help = "How long a connection is kept without a tunnel in it, to a pod or of a client. 0: "
                "for ever.",
        .deflt = "1h",
    },
    {
        .name = "hbone_rotation",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_ms,
        .off = offsetof(cn_hbone_conf_t, rotation_ms),
        .syntax = "hbone_rotation TIME",
        .help = "When our certificate, key or trust bundle has changed, handshakes use the new one "
                "at once, and connections made with the old one are asked to end (GOAWAY) within "
                "this time, each at a moment of its own. Tunnels in them go on to their end. 0: "
                "such connections stay.",
        .deflt = "1h",
    },
    {
        .name = "hbone_dead_timeout",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_ms,
        .off = offsetof(cn_hbone_conf_t, dead_timeout_ms),
        .syntax = "hbone_dead_timeout TIME",
        .help = "A pod that acknowledges nothing for so long, while what it was sent is sent "
                "again, is taken for gone: its connection and the tunnels in it fail at once. 0 "
                "leaves it to hbone_ping_timeout. Gateways of other networks may be far away and "
                "have at least 15 s.",
        .deflt = "1500ms",
    },
    {
        .name = "hbone_forwarded",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_flag,
        .off = offsetof(cn_hbone_conf_t, forwarded),
        .syntax = "hbone_forwarded on | off",
        .help = "Tells in a `forwarded` header of the tunnels to pods which service they are for "
                "(host=), and of connections that are not HTTP also which client (for=): ztunnel "
                "counts by it.",
        .deflt = "on",
    },
    {
        .name = "hbone_baggage",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_flag,
        .off = offsetof(cn_hbone_conf_t, baggage),
        .syntax = "hbone_baggage on | off",
        .help = "Describes this waypoint in a `baggage` header of the tunnels to pods, by the line "
                "of the workloads file with the address that they come from.",
        .deflt = "on",
    },
    {
        .name = "hbone_max_connections",
        .where = CN_AT_MAIN,
        .args = CN_ARGS(1, 1),
        .set = cn_set_u32,
        .off = offsetof(cn_hbone_conf_t, max_connections),
        .arg = &connections_range,
        .syntax = "hbone_max_connections NUMBER",
        .help = "Accepted HBONE connections in one worker; a further one is closed at once.",
        .deflt = "10000",
    },
    {.name = NULL}};

static cn_rc init_main(cn_conf_t *cf, void *conf, const void *parent)
{
    cn_hbone_conf_t *c = conf;

    (void)cf;
    (void)parent;
    *c = (cn_hbone_conf_t){
        .max_streams = cn_h2_conf_hbone.max_streams,
        .max_connections = 10000,
        .stream_window = cn_h2_conf_hbone.stream_window,
        .connection_window = cn_h2_conf_hbone.conn_window,
        .ping_interval_ms = cn_h2_conf_hbone.ping_ms,
        .ping_timeout_ms = cn_h2_conf_hbone.ping_timeout_ms,
        .handshake_timeout_ms = 10000,
        .idle_timeout_ms = 3600 * 1000,
        .dead_timeout_ms = cn_sock_watch_default.dead_ms,
        .rotation_ms = 3600 * 1000,
        .forwarded = true,
        .baggage = true,
    };
    return CN_OK;
}

static cn_rc check_main(cn_conf_t *cf, void *conf)
{
    const cn_hbone_conf_t *c = conf;

    if (c->stream_window < WINDOW_MIN || c->stream_window > WINDOW_MAX)
        return cn_conf_error(cf, "hbone_stream_window: expected 65535 to 2147483647 bytes");
    if (c->connection_window < c->stream_window || c->connection_window > WINDOW_MAX)
        return cn_conf_error(cf, "hbone_connection_window: expected the stream window to "
                                 "2147483647 bytes");
    if (c->ping_interval_ms && c->ping_timeout_ms == 0)
        return cn_conf_error(cf, "hbone_ping_timeout: 0 closes every connection");
    if (c->handshake_timeout_ms == 0)
        return cn_conf_error(cf, "hbone_handshake_timeout: a limit is needed");
    return CN_OK;
}

/* ---- numbers ---- */

static const cn_metric_def_t connections = {
    "cairn_hbone_connections", CN_METRIC_GAUGE,
    "Accepted HBONE connections now open, those inside of another one too."};
static const cn_metric_def_t connections_total = {"cairn_hbone_connections_total",
                                                  CN_METRIC_COUNTER, "HBONE connections accepted."};
static const cn_metric_def_t connections_refused = {
    "cairn_hbone_connections_refused_total", CN_METRIC_COUNTER,
    "HBONE connections closed unserved: over the limit, or no identity yet."};
static const cn_metric_def_t handshake_failures = {
    "cairn_hbone_handshake_failures_total", CN_METRIC_COUNTER,
    "TLS handshakes of accepted connections that failed, by reason."};
static const cn_metric_def_t tunnels = {"cairn_hbone_tunnels_total", CN_METRIC_COUNTER,
                                        "Tunnels accepted."};
static const cn_metric_def_t refused = {
    "cairn_hbone_refused_total", CN_METRIC_COUNTER,
    "Requests on HBONE connections answered with an error, by code."};
static const cn_metric_def_t upstream_sessions = {"cairn_hbone_upstream_sessions", CN_METRIC_GAUGE,
                                                  "HBONE connections to pods now open."};
static const cn_metric_def_t upstream_sessions_total = {
    "cairn_hbone_upstream_sessions_total", CN_METRIC_COUNTER, "HBONE connections to pods opened."};
static const cn_metric_def_t upstream_failures = {
    "cairn_hbone_upstream_failures_total", CN_METRIC_COUNTER,
    "HBONE connections to pods that could not be opened, by reason."};

const cn_metric_def_t *const cn_hbone_metrics[CN_HBONE_METRICS + 1] = {
    [CN_HBONE_CONNECTIONS] = &connections,
    [CN_HBONE_CONNECTIONS_TOTAL] = &connections_total,
    [CN_HBONE_CONNECTIONS_REFUSED] = &connections_refused,
    [CN_HBONE_HANDSHAKE_FAILURES] = &handshake_failures,
    [CN_HBONE_TUNNELS] = &tunnels,
    [CN_HBONE_REFUSED] = &refused,
    [CN_HBONE_UPSTREAM_SESSIONS] = &upstream_sessions,
    [CN_HBONE_UPSTREAM_SESSIONS_TOTAL] = &upstream_sessions_total,
    [CN_HBONE_UPSTREAM_FAILURES] = &upstream_failures,
};

cn_series_t *cn_hbone_labelled(cn_hbone_t *hb, unsigned metric, const char *label,
                               const char *value)
{
    cn_stats_t *stats = cn_worker_stats(hb->w);
    char text[64];
    int n = snprintf(text, sizeof(text), "%s=\"%s\"", label, value);

    if (!stats)
        return NULL;
    return cn_stats_series(stats, cn_worker_metric(hb->w, cn_hbone_metrics[metric]),
                           cn_str_make(text, (size_t)n));
}

/* Those with a label get their series when there is something to count. */
static void open_series(cn_hbone_t *hb)
{
    cn_stats_t *stats = cn_worker_stats(hb->w);

    for (unsigned i = 0; stats && i < CN_HBONE_METRICS; i++) {
        if (i == CN_HBONE_HANDSHAKE_FAILURES || i == CN_HBONE_REFUSED ||
            i == CN_HBONE_UPSTREAM_FAILURES)
            continue;
        hb->series[i] =
            cn_stats_series(stats, cn_worker_metric(hb->w, cn_hbone_metrics[i]), CN_STR_NULL);
    }
    /* A respawned worker inherits the numbers of the one before it. */
    cn_series_set(hb->series[CN_HBONE_CONNECTIONS], 0);
    cn_series_set(hb->series[CN_HBONE_UPSTREAM_SESSIONS], 0);
}

/* ---- life ---- */

uint64_t cn_hbone_rotation_pause(cn_hbone_t *hb)
{
    return 1 + cn_rand_u64(cn_worker_rand(hb->w)) % hb->conf.rotation_ms;
}

cn_h2_conf_t cn_hbone_h2_conf(const cn_hbone_t *hb)
{
    cn_h2_conf_t c = cn_h2_conf_hbone;

    c.max_streams = hb->conf.max_streams;
    c.stream_window = (uint32_t)hb->conf.stream_window;
    c.conn_window = (uint32_t)hb->conf.connection_window;
    c.ping_ms = hb->conf.ping_interval_ms;
    c.ping_timeout_ms = hb->conf.ping_timeout_ms;
    return c;
}

static void on_rotation(cn_task_t *task, uint32_t why)
{
    (void)why;
    cn_hbone_out_rotate(cn_container_of(task, cn_hbone_t, task));
}

static cn_rc worker_init(cn_worker_t *w, void **wctx)
{
    cn_hbone_t *hb = cn_xzalloc(sizeof(*hb));

    hb->w = w;
    hb->loop = cn_worker_loop(w);
    cn_list_init(&hb->conns);
    cn_list_init(&hb->peers);
    cn_list_init(&hb->inner);
    cn_task_init(&hb->task, hb->loop, on_rotation);
    cn_timer_init(&hb->rotation, &hb->task, CN_WAKE_TIMER);
    open_series(hb);
    *wctx = hb;
    return CN_OK;
}

static void reconfigured(cn_worker_t *w, void *wctx, const void *conf)
{
    cn_hbone_t *hb = wctx;
    const cn_tls_ctx_t *tls = cn_worker_tls(w);
    bool rotated = hb->tls && tls != hb->tls;

    hb->conf = *(const cn_hbone_conf_t *)conf;
    hb->tls = tls;
    if (!rotated || hb->conf.rotation_ms == 0)
        return;
    cn_hbone_in_rotate(hb);
    cn_timer_set(&hb->rotation, cn_hbone_rotation_pause(hb));
}

static void worker_fini(cn_worker_t *w, void *wctx)
{
    cn_hbone_t *hb = wctx;

    (void)w;
    cn_timer_stop(&hb->rotation);
    cn_task_fini(&hb->task);
    cn_hbone_in_fini(hb);
    cn_hbone_double_fini(hb);
    cn_hbone_out_fini(hb);
    free(hb);
}

static const cn_listener_ops_t *const listeners[] = {&cn_hbone_listener, &cn_hbone_double_listener,
                                                     NULL};

const cn_module_t cn_module_hbone = {
    .abi = CN_MODULE_ABI,
    .name = "hbone",
    .directives = directives,
    .conf[CN_LV_MAIN] = {.size = sizeof(cn_hbone_conf_t), .init = init_main, .done = check_main},
    .metrics = cn_hbone_metrics,
    .worker_init = worker_init,
    .reconfigured = reconfigured,
    .worker_fini = worker_fini,
    .listeners = listeners,
    .transport = &cn_hbone_transport,
};
