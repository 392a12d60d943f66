/* SPDX-License-Identifier: Apache-2.0
 *
 * Access log: one line for each request and L4 connection when it has ended,
 * in Istio's default text or JSON format or one of the operator's own.
 */
#include <stdlib.h>

#include "access_log.h"

extern const cn_module_t cn_module_access_log;

static const cn_metric_def_t dropped = {"cairn_access_log_dropped_total", CN_METRIC_COUNTER,
                                        "Access log lines dropped because their file took none."};
static const cn_metric_def_t *const metrics[] = {&dropped, NULL};

typedef struct {
    cn_str_t path;
    al_format_t format;
} al_target_t;

typedef struct {
    cn_vec_t targets; /* al_target_t; empty: off */
} al_conf_t;

/* ---- settings ---- */

static cn_rc set_format(cn_conf_t *cf, al_format_t *format, const cn_str_t *argv, unsigned argc)
{
    cn_pool_t *pool = cn_conf_pool(cf);
    cn_str_t kind = argc > 2 ? argv[2] : CN_STR("text"), why = CN_STR_NULL;
    cn_rc rc;

    if (cn_str_eq(kind, CN_STR("text")) && argc < 4)
        rc = al_format_parse(pool, cn_str_c(al_format_istio), format, &why);
    else if (cn_str_eq(kind, CN_STR("json")) && argc < 4)
        rc = al_format_json(pool, format, &why);
    else if (cn_str_eq(kind, CN_STR("format")) && argc == 4)
        rc = al_format_parse(pool, argv[3], format, &why);
    else
        return cn_conf_error(cf, "\"%.*s\" is not a format: expected text, json or format \"...\"",
                             CN_STR_ARG(kind));
    return rc == CN_OK ? CN_OK : cn_conf_error(cf, "%.*s", CN_STR_ARG(why));
}

static cn_rc set_access_log(cn_conf_t *cf, const cn_directive_t *d CN_UNUSED, void *conf,
                            const cn_str_t *argv, unsigned argc)
{
    al_conf_t *ac = conf;
    al_target_t *target;

    ac->targets = (cn_vec_t){0}; /* replaces what the enclosing level says */
    if (cn_str_eq(argv[1], CN_STR("off"))) {
        if (argc > 2)
            return cn_conf_error(cf, "nothing may follow \"access_log off\"");
        return CN_OK;
    }
    target = cn_vec_push(cn_conf_pool(cf), &ac->targets, sizeof(*target));
    target->path = cn_conf_path(cf, argv[1]);
    return set_format(cf, &target->format, argv, argc);
}

static const cn_directive_t directives[] = {
    {"access_log", CN_AT_MAIN | CN_AT_SERVICE, CN_ARGS(1, 3), set_access_log, 0, NULL,
     "access_log off | PATH [text | json | format \"...\"]",
     "Where each request and connection is logged, and how: Istio's text line, Istio's JSON object, "
     "or a line of Envoy's command operators such as %RESPONSE_CODE%. /dev/stdout and /dev/stderr "
     "are the process's own.",
     "off"},
    {.name = NULL}};

static bool active(const void *conf, cn_phase_t phase CN_UNUSED)
{
    return ((const al_conf_t *)conf)->targets.n > 0;
}

/* ---- worker ---- */

static cn_rc worker_init(cn_worker_t *w, void **wctx)
{
    cn_series_t *s = NULL;

    if (cn_worker_stats(w))
        s = cn_stats_series(cn_worker_stats(w), cn_worker_metric(w, &dropped), CN_STR_NULL);
    *wctx = al_sinks_create(cn_worker_loop(w), s);
    return CN_OK;
}

static void worker_fini(cn_worker_t *w CN_UNUSED, void *wctx)
{
    al_sinks_destroy(wctx);
}

static void reopen(cn_worker_t *w CN_UNUSED, void *wctx)
{
    al_sinks_reopen(wctx);
}

static cn_rc on_log(cn_req_t *req, const void *conf, void *ctx CN_UNUSED)
{
    const al_conf_t *ac = conf;
    al_sinks_t *sinks = cn_worker_module(cn_req_worker(req), &cn_module_access_log);

    for (uint32_t i = 0; i < ac->targets.n; i++) {
        const al_target_t *t = (const al_target_t *)ac->targets.v + i;
        al_sink_t *sink = al_sink_get(sinks, t->path);

        al_format_put(al_sink_buf(sink), &t->format, cn_req_facts(req));
        al_sink_line(sinks, sink);
    }
    return CN_OK;
}

const cn_module_t cn_module_access_log = {
    .abi = CN_MODULE_ABI,
    .name = "access_log",
    .after = "prometheus",
    .directives = directives,
    .conf = {[CN_LV_MAIN] = {sizeof(al_conf_t), NULL, NULL, NULL},
             [CN_LV_SERVICE] = {sizeof(al_conf_t), NULL, NULL, NULL}},
    .metrics = metrics,
    .worker_init = worker_init,
    .worker_fini = worker_fini,
    .reopen = reopen,
    .phase = {[CN_PH_LOG] = on_log},
    .active = active,
};
