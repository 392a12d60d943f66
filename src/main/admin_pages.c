/* SPDX-License-Identifier: Apache-2.0
 *
 * The core's endpoints, by path.  Each fills in an answer from what the worker
 * and the board know; wishes (drain, quit, levels) are passed to the master,
 * since they concern all workers.  Shapes follow Envoy's admin interface where
 * tools read them.
 */
#include <jansson.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/log.h"
#include "main/admin.h"
#include "main/build.h"
#include "main/worker.h"

#define EVERYWHERE (CN_ADMIN_AGENT | CN_ADMIN_HEALTH | CN_ADMIN_METRICS | CN_ADMIN_ADMIN)

/* Numbers of Envoy's server.state gauge. */
typedef enum { LIVE, DRAINING, PRE_INITIALIZING, INITIALIZING } server_state_t;

static server_state_t state_of(cn_admin_server_t *s)
{
    if (cn_admin_draining(s))
        return DRAINING;
    return cn_admin_ready(s) ? LIVE : INITIALIZING;
}

static const char *state_name(server_state_t st)
{
    static const char *const names[] = {"LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"};

    return names[st];
}

static uint64_t uptime_s(cn_admin_server_t *s)
{
    uint64_t now = cn_clock_mono_ns(), then = cn_board_get(&cn_admin_board(s)->started_ns);

    return now > then ? (now - then) / 1000000000 : 0;
}

/* ---- health ---- */

static void healthz_ready(cn_admin_server_t *s, cn_admin_req_t *r)
{
    server_state_t st = state_of(s);

    if (st == LIVE)
        return;
    r->status = 503;
    cn_admin_printf(r, "%s\n",
                    st == DRAINING ? "draining" : "no complete configuration and identity yet");
}

static void ready(cn_admin_server_t *s, cn_admin_req_t *r)
{
    server_state_t st = state_of(s);

    r->status = st == LIVE ? 200 : 503;
    cn_admin_printf(r, "%s\n", state_name(st));
}

/* ---- JSON ---- */

static json_t *workers_json(const cn_admin_server_t *s)
{
    const cn_board_t *b = cn_admin_board(s);
    static const char *const names[] = {"none", "starting", "serving", "draining", "spare"};
    json_t *list = json_array();

    for (unsigned i = 0; i < cn_admin_slots(s); i++) {
        const cn_board_slot_t *v = &b->v[i];
        uint64_t st = cn_board_get(&v->state);
        if (cn_board_get(&v->pid) == 0)
            continue;
        json_t *o = json_object();
        json_object_set_new(o, "id", cn_admin_number(i));
        json_object_set_new(o, "pid", cn_admin_number(cn_board_get(&v->pid)));
        json_object_set_new(o, "state", json_string(st < CN_COUNT(names) ? names[st] : "?"));
        json_object_set_new(o, "configuration", cn_admin_number(cn_board_get(&v->gen)));
        json_object_set_new(o, "tunnels", cn_admin_number(cn_board_get(&v->tunnels)));
        json_array_append_new(list, o);
    }
    return list;
}

static void server_info(cn_admin_server_t *s, cn_admin_req_t *r)
{
    const cn_board_t *b = cn_admin_board(s);
    json_t *o = json_object(), *options = json_object(), *own = json_object();
    cn_str_t up = cn_pool_printf(r->pool, "%llus", (unsigned long long)uptime_s(s));

    json_object_set_new(o, "version",
                        cn_admin_text(cn_pool_printf(r->pool, "cairn/%s", cn_build_version)));
    json_object_set_new(o, "state", json_string(state_name(state_of(s))));
    json_object_set_new(o, "uptime_current_epoch", cn_admin_text(up));
    json_object_set_new(o, "uptime_all_epochs", cn_admin_text(up));
    json_object_set_new(options, "concurrency", cn_admin_number(cn_board_get(&b->workers)));
    json_object_set_new(o, "command_line_options", options);
    json_object_set_new(own, "master", cn_admin_number(cn_board_get(&b->master)));
    json_object_set_new(own, "answered_by", cn_admin_number(cn_worker_id(cn_admin_worker(s))));
    json_object_set_new(own, "configuration", cn_admin_number(cn_board_get(&b->gen)));
    json_object_set_new(own, "configuration_in_force",
                        cn_admin_number(cn_board_get(&b->gen_in_force)));
    json_object_set_new(own, "reloads", cn_admin_number(cn_board_get(&b->reloads)));
    json_object_set_new(own, "reload_failures", cn_admin_number(cn_board_get(&b->reload_failures)));
    json_object_set_new(own, "worker_respawns", cn_admin_number(cn_board_get(&b->respawns)));
    json_object_set_new(own, "workers", workers_json(s));
    json_object_set_new(o, "cairn", own);
    cn_admin_json(r, o);
}

/* The six names that Istio's agent reads, then our own. */
static void stats(cn_admin_server_t *s, cn_admin_req_t *r)
{
    const cn_board_t *b = cn_admin_board(s);
    uint64_t tunnels = 0;

    for (unsigned i = 0; i < cn_admin_slots(s); i++) {
        if (cn_board_get(&b->v[i].pid) != 0)
            tunnels += cn_board_get(&b->v[i].tunnels);
    }
    const struct {
        const char *name;
        uint64_t value;
    } lines[] = {
        {"cluster_manager.cds.update_rejected", 0},
        {"cluster_manager.cds.update_success", cn_board_get(&b->gen_in_force)},
        {"listener_manager.lds.update_rejected", 0},
        {"listener_manager.lds.update_success", cn_board_get(&b->gen_in_force)},
        {"listener_manager.workers_started", state_of(s) == INITIALIZING ? 0 : 1},
        {"server.state", state_of(s)},
        {"server.live", state_of(s) == LIVE},
        {"server.uptime", uptime_s(s)},
        {"server.concurrency", cn_board_get(&b->workers)},
        {"cairn.configuration", cn_board_get(&b->gen)},
        {"cairn.configuration_in_force", cn_board_get(&b->gen_in_force)},
        {"cairn.reloads", cn_board_get(&b->reloads)},
        {"cairn.reload_failures", cn_board_get(&b->reload_failures)},
        {"cairn.worker_respawns", cn_board_get(&b->respawns)},
        {"cairn.tunnels", tunnels},
    };
    for (size_t i = 0; i < CN_COUNT(lines); i++)
        cn_admin_printf(r, "%s: %llu\n", lines[i].name, (unsigned long long)lines[i].value);
}

static void certs(cn_admin_server_t *s, cn_admin_req_t *r)
{
    const cn_worker_t *w = cn_admin_worker(s);
    json_t *o = json_object(), *list = json_array();

    if (w->tls) {
        int64_t until = cn_tls_ctx_not_after(w->tls);
        int64_t now = (int64_t)(cn_clock_wall_us() / 1000000);
        char iso[CN_CLOCK_ISO_LEN];
        json_t *one = json_object(), *chain = json_array(), *names = json_array();
        json_t *name = json_object(), *leaf = json_object(), *ca = json_object();

        cn_clock_put_iso(iso, (uint64_t)(until > 0 ? until : 0) * 1000000);
        json_object_set_new(name, "uri", cn_admin_text(cn_tls_ctx_identity(w->tls)->uri));
        json_array_append_new(names, name);
        json_object_set_new(leaf, "path", cn_admin_text(w->conf->cert_file));
        json_object_set_new(leaf, "subject_alt_names", names);
        json_object_set_new(leaf, "days_until_expiration", json_integer((until - now) / 86400));
        json_object_set_new(leaf, "expiration_time", cn_admin_text(cn_str_make(iso, sizeof(iso))));
        json_array_append_new(chain, leaf);
        json_object_set_new(ca, "path", cn_admin_text(w->conf->bundle_file));
        json_object_set_new(one, "cert_chain", chain);
        json_object_set_new(one, "ca_cert", json_pack("[o]", ca));
        json_array_append_new(list, one);
    }
    json_object_set_new(o, "certificates", list);
    cn_admin_json(r, o);
}

/* ---- wishes ---- */

static void logging(cn_admin_server_t *s, cn_admin_req_t *r)
{
    cn_str_t word = cn_admin_arg(r, "level");
    cn_log_level level;

    if (word.n == 0) {
        cn_admin_printf(r, "use ?level=emerg|error|warn|notice|info|debug\n");
        r->status = 400;
        return;
    }
    if (cn_str_eq(word, CN_STR("warning")))
        word = CN_STR("warn"); /* Envoy's word */
    if (cn_log_parse_level(word, &level) != CN_OK) {
        cn_admin_printf(r, "unknown level\n");
        r->status = 400;
        return;
    }
    cn_admin_ask(s, CN_TO_LEVEL, level);
    cn_admin_printf(r, "OK\n");
}

static void drain(cn_admin_server_t *s, cn_admin_req_t *r)
{
    cn_admin_ask(s, CN_TO_DRAIN, 0);
    cn_admin_printf(r, "OK\n");
}

static void quit(cn_admin_server_t *s, cn_admin_req_t *r)
{
    cn_admin_ask(s, CN_TO_QUIT, 0);
    cn_admin_printf(r, "OK\n");
}

static void reload(cn_admin_server_t *s, cn_admin_req_t *r)
{
    cn_admin_ask(s, CN_TO_RELOAD, 0);
    cn_admin_printf(r, "OK\n");
}

static void reopen_logs(cn_admin_server_t *s, cn_admin_req_t *r)
{
    cn_admin_ask(s, CN_TO_REOPEN, 0);
    cn_admin_printf(r, "OK\n");
}

/* ---- help ---- */

static void help_line(cn_admin_req_t *r, const char *methods, const char *path, const char *what)
{
    cn_admin_printf(r, "%-5s %-22s %s\n", methods, path, what);
}

static void help(cn_admin_server_t *s, cn_admin_req_t *r)
{
    (void)s;
    for (const cn_admin_page_t *p = cn_admin_pages; p->path; p++)
        help_line(r, p->methods, p->path, p->help);
    for (unsigned i = 0; i < cn_nmodules; i++) {
        for (const cn_admin_t *a = cn_modules[i]->admin; a && a->path; a++)
            help_line(r, a->methods, a->path, a->help);
    }
}

#define AGENT CN_ADMIN_AGENT
#define HEALTH CN_ADMIN_HEALTH
#define ADMIN CN_ADMIN_ADMIN

const cn_admin_page_t cn_admin_pages[] = {
    {"/healthz/ready", AGENT | HEALTH | ADMIN, "GET", false, healthz_ready,
     "200 when fit for traffic, else 503"},
    {"/ready", ADMIN, "GET", false, ready, "the same in a word"},
    {"/server_info", ADMIN, "GET", false, server_info, "version, state, workers"},
    {"/stats", ADMIN, "GET", false, stats, "the program's own numbers"},
    {"/config_dump", ADMIN, "GET", false, cn_admin_config_dump, "the configuration in force"},
    {"/clusters", ADMIN, "GET", false, cn_admin_clusters,
     "hosts with health and load, as this worker sees them; ?format=json"},
    {"/explain", ADMIN, "GET", false, cn_admin_explain,
     "?to=...&from=...&method=...&path=...: what would become of a request, and why"},
    {"/certs", ADMIN, "GET", false, certs, "our identity and when it expires"},
    {"/logging", ADMIN, "POST", true, logging, "?level=LEVEL: from which level on to log"},
    {"/reopen_logs", ADMIN, "POST", true, reopen_logs, "open log files again"},
    {"/reload", ADMIN, "POST", true, reload, "read the configuration again"},
    {"/drain", AGENT | ADMIN, "POST", true, drain, "take no new traffic, stay"},
    {"/quitquitquit", AGENT, "POST", true, quit, "drain, then end"},
    {"/help", EVERYWHERE, "GET", false, help, "this list"},
    {0},
};
