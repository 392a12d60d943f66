/* SPDX-License-Identifier: Apache-2.0
 *
 * The directives of the program itself.  Knows the modules' listener names,
 * nothing of what they do.  The settings belong to the MAIN section.
 */
#include "main/conf.h"

#include "cairn/module.h"
#include "cairn/transport.h"
#include "os/proc.h"

#define DEFAULT_BACKLOG 1024u
#define DEFAULT_SETTLE_MS 200u
#define SETTLE_MIN_MS 10u
#define SETTLE_MAX_MS 60000u

static const struct {
    const char *word;
    unsigned admin;
} admin_words[] = {
    {"agent", CN_ADMIN_AGENT},
    {"health", CN_ADMIN_HEALTH},
    {"metrics", CN_ADMIN_METRICS},
    {"admin", CN_ADMIN_ADMIN},
};

/* ---- setters ---- */

static cn_rc set_pid(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                     unsigned argc)
{
    cn_main_conf_t *m = conf;

    (void)cf, (void)d, (void)argc;
    m->pid_off = cn_str_eq(argv[1], CN_STR("off"));
    m->pid_given = !m->pid_off;
    m->pid = argv[1];
    return CN_OK;
}

static cn_rc set_user(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                      unsigned argc)
{
    cn_main_conf_t *m = conf;
    const char *user = cn_pool_cstr(cn_conf_pool(cf), argv[1]);
    const char *group = argc > 2 ? cn_pool_cstr(cn_conf_pool(cf), argv[2]) : NULL;
    const char *why = "";

    (void)d;
    if (cn_priv_lookup(user, group, &m->user, &why) != CN_OK)
        return cn_conf_error(cf, "user %s%s%s: %s", user, group ? " " : "", group ? group : "",
                             why);
    m->has_user = true;
    return CN_OK;
}

static cn_rc set_workers(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                         unsigned argc)
{
    cn_main_conf_t *m = conf;
    uint64_t n;

    (void)d, (void)argc;
    m->workers = 0;
    if (cn_str_eq(argv[1], CN_STR("auto")))
        return CN_OK;
    if (cn_str_u64(argv[1], CN_MAIN_WORKERS_MAX, &n) != CN_OK || n == 0)
        return cn_conf_error(cf, "\"%.*s\" is not a number of workers: expected 1 to %u, or auto",
                             CN_STR_ARG(argv[1]), CN_MAIN_WORKERS_MAX);
    m->workers = (uint32_t)n;
    return CN_OK;
}

static cn_rc set_affinity(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                          unsigned argc)
{
    cn_main_conf_t *m = conf;

    (void)d;
    if (argc == 2 && cn_str_eq(argv[1], CN_STR("auto"))) {
        m->affinity_auto = true;
        return CN_OK;
    }
    for (unsigned i = 1; i < argc; i++) {
        cpu_set_t *set = cn_vec_push(cn_conf_pool(cf), &m->affinity, sizeof(*set));
        if (cn_proc_parse_mask(argv[i], set) != CN_OK)
            return cn_conf_error(cf,
                                 "\"%.*s\" is not a processor mask: expected 0s and 1s, as 0101",
                                 CN_STR_ARG(argv[i]));
    }
    return CN_OK;
}

static cn_rc set_error_log(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                           unsigned argc)
{
    cn_main_conf_t *m = conf;

    (void)d;
    m->error_log = cn_str_eq(argv[1], CN_STR("stderr")) ? CN_STR_NULL : argv[1];
    if (argc > 2 && cn_log_parse_level(argv[2], &m->error_level) != CN_OK)
        return cn_conf_error(cf,
                             "\"%.*s\" is not a level: expected emerg, error, warn, notice, info "
                             "or debug",
                             CN_STR_ARG(argv[2]));
    return CN_OK;
}

const struct cn_listener_ops *cn_main_server(unsigned number, unsigned *module)
{
    for (unsigned i = 0; i < cn_nmodules; i++) {
        const struct cn_listener_ops *const *ops = cn_modules[i]->listeners;

        for (; ops && *ops; ops++) {
            if (number-- == 0) {
                *module = i;
                return *ops;
            }
        }
    }
    return NULL;
}

/* Finds what serves connections under that word; CN_DECLINE: nothing does. */
static cn_rc find_protocol(cn_main_listen_t *l, cn_str_t word)
{
    const struct cn_listener_ops *ops;
    unsigned module;

    l->protocol = word;
    for (size_t i = 0; i < CN_COUNT(admin_words); i++) {
        if (cn_str_eq(word, cn_str_c(admin_words[i].word))) {
            l->admin = admin_words[i].admin;
            return CN_OK;
        }
    }
    for (unsigned i = 0; (ops = cn_main_server(i, &module)) != NULL; i++) {
        if (cn_str_eq(word, cn_str_c(ops->name))) {
            l->server = i;
            return CN_OK;
        }
    }
    return CN_DECLINE;
}

static cn_rc unknown_protocol(cn_conf_t *cf, cn_str_t word)
{
    const struct cn_listener_ops *ops;
    cn_str_t known = CN_STR("");
    unsigned module;

    if (cn_conf_absent(cf, word) == CN_ERR)
        return CN_ERR;
    for (unsigned i = 0; (ops = cn_main_server(i, &module)) != NULL; i++)
        known = cn_pool_printf(cn_conf_pool(cf), "%.*s%s, ", CN_STR_ARG(known), ops->name);
    return cn_conf_error(cf,
                         "\"%.*s\" is not a protocol: expected %.*sagent, health, metrics or admin",
                         CN_STR_ARG(word), CN_STR_ARG(known));
}

static cn_rc listen_option(cn_conf_t *cf, cn_main_listen_t *l, cn_str_t arg)
{
    cn_str_t key, value;
    uint64_t n;

    if (cn_str_eq(arg, CN_STR("optional"))) {
        l->optional = true;
        return CN_OK;
    }
    if (!cn_conf_keyval(arg, &key, &value) || !cn_str_eq(key, CN_STR("backlog")))
        return cn_conf_error(cf, "unknown option \"%.*s\": expected backlog=NUMBER or optional",
                             CN_STR_ARG(arg));
    if (cn_str_u64(value, 65535, &n) != CN_OK || n == 0)
        return cn_conf_error(cf, "backlog \"%.*s\": expected a number from 1 to 65535",
                             CN_STR_ARG(value));
    l->backlog = (uint32_t)n;
    return CN_OK;
}

static cn_rc set_listen(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                        unsigned argc)
{
    cn_main_conf_t *m = conf;
    cn_main_listen_t l = {.backlog = DEFAULT_BACKLOG};

    (void)d;
    if (cn_inet_parse_hostport(argv[1], false, &l.addr) != CN_OK)
        return cn_conf_error(cf,
                             "\"%.*s\" is not an address to listen on: expected IP:PORT, as "
                             "0.0.0.0:15008 or [::]:15008",
                             CN_STR_ARG(argv[1]));
    for (unsigned i = 0; i < m->listens.n; i++) {
        const cn_main_listen_t *other = cn_main_listen(m, i);
        if (other->addr.port == l.addr.port && cn_inet_same_ip(&other->addr, &l.addr))
            return cn_conf_error(cf, "%.*s is already listened on by %.*s", CN_STR_ARG(argv[1]),
                                 CN_STR_ARG(other->where));
    }
    if (find_protocol(&l, argv[2]) != CN_OK)
        return unknown_protocol(cf, argv[2]);
    for (unsigned i = 3; i < argc; i++) {
        if (listen_option(cf, &l, argv[i]) != CN_OK)
            return CN_ERR;
    }
    l.where = cn_conf_where(cf);
    *(cn_main_listen_t *)cn_vec_push(cn_conf_pool(cf), &m->listens, sizeof(l)) = l;
    return CN_OK;
}

static cn_rc set_watch(cn_conf_t *cf, const cn_directive_t *d, void *conf, const cn_str_t *argv,
                       unsigned argc)
{
    cn_main_conf_t *m = conf;
    bool on = cn_str_eq(argv[1], CN_STR("on"));
    cn_str_t key, value;

    (void)d;
    if (!on && (argc > 2 || !cn_str_eq(argv[1], CN_STR("off"))))
        return cn_conf_error(cf, "expected off, or on [settle=TIME]");
    m->watch_ms = on ? DEFAULT_SETTLE_MS : 0;
    if (argc == 2)
        return CN_OK;
    if (!cn_conf_keyval(argv[2], &key, &value) || !cn_str_eq(key, CN_STR("settle")))
        return cn_conf_error(cf, "unknown option \"%.*s\": expected settle=TIME",
                             CN_STR_ARG(argv[2]));
    if (cn_conf_parse_ms(value, &m->watch_ms) != CN_OK || m->watch_ms < SETTLE_MIN_MS ||
        m->watch_ms > SETTLE_MAX_MS)
        return cn_conf_error(cf, "settle \"%.*s\": expected a time from 10ms to 1m",
                             CN_STR_ARG(value));
    return CN_OK;
}

/* ---- the unit ---- */

static const cn_enum_t sigterms[] = {{"fast", 0}, {"graceful", 1}, {NULL, 0}};
static const cn_enum_t keepers[] = {
    {"auto", CN_KEEPER_AUTO}, {"on", CN_KEEPER_ON}, {"off", CN_KEEPER_OFF}, {NULL, 0}};
static const cn_range_t nofile_range = {64, 16u << 20};

static const cn_directive_t directives[] = {
    {.name = "daemon",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_flag,
     .off = offsetof(cn_main_conf_t, daemon),
     .syntax = "daemon on | off",
     .help = "Whether the master leaves the terminal and runs in the background. Takes effect at "
             "the start only.",
     .deflt = "on"},
    {.name = "pid",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = set_pid,
     .syntax = "pid FILE | off",
     .help = "File that holds the master's process number, relative to the prefix; cairn -s finds "
             "the master by it. When it cannot be written, that is an error if the directive is "
             "given and a warning if it is not.",
     .deflt = CN_MAIN_PID},
    {.name = "user",
     .where = CN_AT_MAIN | CN_D_STRUCTURAL,
     .args = CN_ARGS(1, 2),
     .set = set_user,
     .syntax = "user USER [GROUP]",
     .help = "User and group (names or numbers) that the workers run as when the master was "
             "started by root; otherwise it has no effect. Without it workers run as the master "
             "does."},
    {.name = "worker_processes",
     .where = CN_AT_MAIN | CN_D_STRUCTURAL,
     .args = CN_ARGS(1, 1),
     .set = set_workers,
     .syntax = "worker_processes NUMBER | auto",
     .help = "How many workers serve connections. auto: as many as processors may be used, by "
             "affinity and by the control group's quota.",
     .deflt = "auto"},
    {.name = "worker_cpu_affinity",
     .where = CN_AT_MAIN | CN_D_STRUCTURAL,
     .args = CN_ARGS(1, CN_ARGS_ANY),
     .set = set_affinity,
     .syntax = "worker_cpu_affinity auto | MASK ...",
     .help = "Binds workers to processors: auto gives each worker one of those allowed; else the "
             "i-th worker gets the i-th mask, in which the lowest processor is the last digit."},
    {.name = "worker_rlimit_nofile",
     .where = CN_AT_MAIN | CN_D_STRUCTURAL,
     .args = CN_ARGS(1, 1),
     .set = cn_set_u32,
     .off = offsetof(cn_main_conf_t, nofile),
     .arg = &nofile_range,
     .syntax = "worker_rlimit_nofile NUMBER",
     .help = "How many files and connections a worker may have open; without it the limit is the "
             "one that the master was started with."},
    {.name = "worker_shutdown_timeout",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_ms,
     .off = offsetof(cn_main_conf_t, shutdown_ms),
     .syntax = "worker_shutdown_timeout TIME",
     .help = "How long a worker that drains waits for open connections before it closes them; 0: "
             "as long as they last.",
     .deflt = "30s"},
    {.name = "worker_watchdog",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_ms,
     .off = offsetof(cn_main_conf_t, watchdog_ms),
     .syntax = "worker_watchdog TIME",
     .help = "A worker whose event loop has stood still for so long is killed and replaced; 0: "
             "never.",
     .deflt = "30s"},
    {.name = "accept_balance",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_flag,
     .off = offsetof(cn_main_conf_t, accept_balance),
     .syntax = "accept_balance on | off",
     .help = "Whether a worker that has more connections of the mesh than another gives a further "
             "one to it before reading from it. They are few and heavy, so chance would load some "
             "workers and leave others idle; cairn_worker_connections shows the balance.",
     .deflt = "on"},
    {.name = "drain_delay",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_ms,
     .off = offsetof(cn_main_conf_t, drain_delay_ms),
     .syntax = "drain_delay TIME",
     .help =
         "When the program is to end in order: for how long it says \"not ready\" and serves as "
         "before, so that others learn to go elsewhere, until it drains. In Kubernetes a few "
         "seconds; cairn-gen writes it.",
     .deflt = "0"},
    {.name = "sigterm",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_enum,
     .off = offsetof(cn_main_conf_t, sigterm),
     .arg = sigterms,
     .syntax = "sigterm fast | graceful",
     .help = "What TERM does: end at once, as nginx does, or in order as with QUIT, which is what "
             "Kubernetes means by it; a second TERM then ends at once.",
     .deflt = "fast"},
    {.name = "config_keeper",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_enum,
     .off = offsetof(cn_main_conf_t, keeper),
     .arg = keepers,
     .syntax = "config_keeper auto | on | off",
     .help = "Whether a process keeps the configuration in memory, so that a reload reads, checks "
             "and sends to the workers only what has changed, and whether a spare worker stands "
             "by to take the place of one that dies. auto: when the configuration is larger than "
             "1 MiB. Each of the two needs about the memory of a worker.",
     .deflt = "auto"},
    {.name = "conf_watch",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 2),
     .set = set_watch,
     .syntax = "conf_watch off | on [settle=TIME]",
     .help = "Whether a change of the configuration's files is taken without a signal: of any file "
             "that was read, one that a pattern of include begins or ceases to match, and one that "
             "was missing. It is taken when nothing has changed for the settle time, or after ten "
             "times that; a folder that cairn-gen has not finished waits. What is refused is tried "
             "again when a file changes again.",
     .deflt = "off; settle=200ms"},
    {.name = "error_log",
     .where = CN_AT_MAIN | CN_D_STRUCTURAL,
     .args = CN_ARGS(1, 2),
     .set = set_error_log,
     .syntax = "error_log FILE | stderr [emerg | error | warn | notice | info | debug]",
     .help = "Where to log, relative to the prefix, and from which level on.",
     .deflt = "stderr notice"},
    {.name = "stats_memory",
     .where = CN_AT_MAIN,
     .args = CN_ARGS(1, 1),
     .set = cn_set_size,
     .off = offsetof(cn_main_conf_t, stats_memory),
     .syntax = "stats_memory SIZE",
     .help = "Shared memory for the metric series of one worker; taken from the system as it is "
             "used. Takes effect at the start only.",
     .deflt = "4m"},
    {.name = "listen",
     .where = CN_AT_MAIN | CN_D_REPEAT | CN_D_STRUCTURAL,
     .args = CN_ARGS(2, 4),
     .set = set_listen,
     .syntax = "listen IP:PORT PROTOCOL [backlog=NUMBER] [optional]",
     .help =
         "Accepts connections and serves them by the protocol: that of a module (hbone, "
         "double_hbone, proxy_protocol), or agent, health, metrics, admin for cairn's own endpoints. With "
         "optional, an address that this machine does not have, such as [::1] where IPv6 is "
         "turned off, is left out and named in the log."},
    {0},
};

static cn_rc init_main(cn_conf_t *cf, void *conf, const void *parent)
{
    cn_main_conf_t *m = conf;

    (void)cf, (void)parent;
    m->daemon = true;
    m->pid = CN_STR(CN_MAIN_PID);
    m->shutdown_ms = 30000;
    m->watchdog_ms = 30000;
    m->accept_balance = true;
    m->error_level = CN_LOG_NOTICE;
    m->stats_memory = 4u << 20;
    return CN_OK;
}

static cn_rc done_main(cn_conf_t *cf, void *conf)
{
    const cn_main_conf_t *m = conf;

    if (m->stats_memory < 64u << 10 || m->stats_memory > 1u << 30)
        return cn_conf_error(cf, "stats_memory: expected 64k to 1g");
    return CN_OK;
}

static const cn_conf_ops_t levels[CN_LV_MAX] = {
    [CN_LV_MAIN] = {.size = sizeof(cn_main_conf_t), .init = init_main, .done = done_main},
};

const cn_conf_unit_t cn_main_unit = {
    .name = "main",
    .directives = directives,
    .levels = levels,
};

const cn_main_conf_t *cn_main_conf(const cn_gen_t *g)
{
    return g->main->confs[CN_UNIT_MAIN];
}

const cn_main_listen_t *cn_main_listen(const cn_main_conf_t *m, unsigned i)
{
    return (const cn_main_listen_t *)m->listens.v + i;
}

unsigned cn_main_workers(const cn_main_conf_t *m)
{
    unsigned n = m->workers > 0 ? m->workers : cn_proc_cpus();

    return n < CN_MAIN_WORKERS_MAX ? n : CN_MAIN_WORKERS_MAX;
}

char *cn_main_path(cn_pool_t *pool, cn_str_t prefix, cn_str_t path)
{
    if (path.n > 0 && path.p[0] == '/')
        return cn_pool_cstr(pool, path);
    return cn_pool_cstr(pool,
                        cn_pool_printf(pool, "%.*s/%.*s", CN_STR_ARG(prefix), CN_STR_ARG(path)));
}
