/* SPDX-License-Identifier: Apache-2.0
 *
 * The program: reads the command line and hands over to what was asked for.
 * Owns the words of the command line and the description of where the
 * configuration is, which live until the end.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/log.h"
#include "main/build.h"
#include "main/conf.h"
#include "main/control.h"
#include "main/explain.h"
#include "main/info.h"
#include "main/master.h"
#include "main/reload.h"
#include "main/sockets.h"
#include "main/totals.h"
#include "os/proc.h"
#include "proxy/worker.h"
#include "tls/lib.h"

typedef struct {
    const char *prefix, *conf, *directives, *signal;
    bool test, dump, quiet, wait, version, phases, reference, help;
} options_t;

static const struct {
    const char *word;
    int signo;
} signals[] = {
    {"stop", SIGTERM},
    {"quit", SIGQUIT},
    {"reload", SIGHUP},
    {"reopen", SIGUSR1},
};

static void usage(FILE *out)
{
    fputs("usage: cairn [-p PREFIX] [-c CONF] [-g 'DIRECTIVES;'] [-q] [-t | -T | -s SIGNAL]\n"
          "       cairn -V | -L | -D | -h\n"
          "       cairn explain ... (see: cairn explain -h)\n"
          "  -p PREFIX  where relative paths begin (logs, and conf/ itself)\n"
          "  -c CONF    configuration file, relative to the prefix (conf/cairn.conf)\n"
          "  -g TEXT    directives that win over those of the file\n"
          "  -t         check the configuration and exit\n"
          "  -T         check it and print all that was read\n"
          "  -q         with -t: say nothing but errors\n"
          "  -s SIGNAL  stop, quit, reload or reopen: to the running master; reload ends with\n"
          "             status 1 and the reason when the configuration is refused\n"
          "  --wait     with -s reload: until all workers serve the new configuration\n"
          "  -V         version, how it was built, modules\n"
          "  -L         the phase table\n"
          "  -D         reference of directives and metrics, as HTML\n",
          out);
}

/* ---- the command line ---- */

static cn_rc read_options(options_t *o, int argc, char **argv)
{
    static const struct option words[] = {
        {"wait", no_argument, NULL, 'w'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int opt;

    while ((opt = getopt_long(argc, argv, "p:c:g:s:tTqVLDh", words, NULL)) != -1) {
        switch (opt) {
        case 'w':
            o->wait = true;
            break;
        case 'p':
            o->prefix = optarg;
            break;
        case 'c':
            o->conf = optarg;
            break;
        case 'g':
            o->directives = optarg;
            break;
        case 's':
            o->signal = optarg;
            break;
        case 't':
            o->test = true;
            break;
        case 'T':
            o->test = o->dump = true;
            break;
        case 'q':
            o->quiet = true;
            break;
        case 'V':
            o->version = true;
            break;
        case 'L':
            o->phases = true;
            break;
        case 'D':
            o->reference = true;
            break;
        case 'h':
            o->help = true;
            break;
        default:
            return CN_ERR;
        }
    }
    return optind == argc ? CN_OK : CN_ERR;
}

/* For explain: takes -p and -c, wherever they stand before the request, out of
 * the arguments.  Returns how many are left. */
static int take_paths(options_t *o, int argc, char **argv)
{
    int kept = 0;

    for (int i = 0; i < argc; i++) {
        const char **slot = strcmp(argv[i], "-c") == 0   ? &o->conf
                            : strcmp(argv[i], "-p") == 0 ? &o->prefix
                                                         : NULL;
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
            o->help = true;
        if (slot && i + 1 < argc)
            *slot = argv[++i];
        else
            argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    return kept;
}

/* Absolute, without resolving links: a later change of the link counts. */
static cn_str_t absolute(cn_pool_t *pool, cn_str_t base, const char *path)
{
    cn_str_t s = cn_str_c(path);

    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    if (s.n > 0 && s.p[0] == '/')
        return cn_pool_dup(pool, s);
    return cn_pool_printf(pool, "%.*s/%.*s", CN_STR_ARG(base), CN_STR_ARG(s));
}

static cn_str_t folder_of(cn_str_t path)
{
    while (path.n > 1 && path.p[path.n - 1] != '/')
        path.n--;
    return path.n > 1 ? cn_str_make(path.p, path.n - 1) : path;
}

static void find_source(cn_reload_source_t *s, const options_t *o, cn_pool_t *pool)
{
    char cwd[PATH_MAX];

    if (!getcwd(cwd, sizeof(cwd)))
        memcpy(cwd, "/", 2);
    s->prefix = absolute(pool, cn_str_c(cwd), o->prefix ? o->prefix : cn_build_prefix);
    s->file = absolute(pool, s->prefix, o->conf ? o->conf : "conf/cairn.conf");
    s->dir = folder_of(s->file);
    s->extra = cn_str_c(o->directives);
    s->units = cn_worker_units_create(&cn_main_unit);
}

/* ---- what can be asked for ---- */

static int test(const cn_reload_source_t *s, const options_t *o, cn_pool_t *pool)
{
    cn_gen_t *gen;
    cn_str_t why = CN_STR_NULL;
    cn_reload_checked_t proved;
    cn_rc rc = cn_reload_read(s, o->dump ? stdout : NULL, false, pool, NULL, &gen, &why);

    if (rc == CN_OK) {
        rc = cn_reload_prove(gen, 0, pool, &proved, &why);
        cn_gen_unref(gen);
    }
    if (rc != CN_OK)
        fprintf(stderr, "cairn: %.*s\n", CN_STR_ARG(why));
    if (rc != CN_OK || !o->quiet)
        fprintf(stderr, "cairn: configuration file %.*s: test %s\n", CN_STR_ARG(s->file),
                rc == CN_OK ? "is successful" : "failed");
    return rc == CN_OK ? 0 : 1;
}

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "cairn: %s: %s\n", what, why);
    return 1;
}

/* The master judges and tells.  One that cannot be asked would refuse only in
 * its log, so then the configuration is tested here before it is signalled. */
static int reload(const cn_reload_source_t *s, const options_t *o, pid_t pid, cn_pool_t *pool)
{
    cn_str_t why = CN_STR_NULL;

    switch (cn_control_reload(pid, o->wait, pool, &why)) {
    case CN_OK:
        return 0;
    case CN_DECLINE:
        if (o->wait)
            return complain("--wait: the master cannot be asked", strerror(errno));
        if (test(s, &(options_t){.quiet = true}, pool) != 0)
            return 1;
        return kill(pid, SIGHUP) == 0 ? 0 : complain("-s reload", strerror(errno));
    default:
        fprintf(stderr, "cairn: reload refused, the old configuration stays in force: %.*s\n",
                CN_STR_ARG(why));
        return 1;
    }
}

/* To find the master the configuration need not be good, nor finished.  NULL:
 * it cannot be found, and it was said why. */
static const char *find_pid_file(const cn_reload_source_t *s, cn_pool_t *pool)
{
    const cn_conf_load_t load = {
        .bundle = cn_bundle_create(s->dir), .file = s->file, .extra = s->extra};
    cn_str_t value, why;
    cn_rc rc = cn_conf_peek(&load, CN_STR("pid"), pool, &value, &why);

    cn_bundle_destroy(load.bundle);
    if (rc == CN_ERR) {
        fprintf(stderr, "cairn: %.*s; -g 'pid FILE;' says which master is meant\n",
                CN_STR_ARG(why));
        return NULL;
    }
    if (rc == CN_OK && cn_str_eq(value, CN_STR("off"))) {
        fputs("cairn: -s: the configuration says `pid off`\n", stderr);
        return NULL;
    }
    if (rc == CN_OK)
        return cn_main_path(pool, s->prefix, value);
    if (why.n > 0)
        fprintf(stderr, "cairn: %.*s; there is no pid directive in the rest: taking %s\n",
                CN_STR_ARG(why), CN_MAIN_PID);
    return cn_main_path(pool, s->prefix, CN_STR(CN_MAIN_PID));
}

static int send_signal(const cn_reload_source_t *s, const options_t *o, cn_pool_t *pool)
{
    const char *path;
    pid_t pid;
    int signo = 0;

    for (size_t i = 0; i < CN_COUNT(signals); i++) {
        if (strcmp(o->signal, signals[i].word) == 0)
            signo = signals[i].signo;
    }
    if (signo == 0)
        return complain(o->signal, "expected stop, quit, reload or reopen");
    path = find_pid_file(s, pool);
    if (!path)
        return 1;
    if (cn_proc_pid_read(path, &pid) != CN_OK)
        return complain(path, strerror(errno));
    if (signo == SIGHUP)
        return reload(s, o, pid, pool);
    if (kill(pid, signo) != 0)
        return complain(path, strerror(errno));
    return 0;
}

static int run_master(const cn_reload_source_t *s, const cn_proc_title_t *title, char **argv,
                      cn_pool_t *pool)
{
    const char *inherited = getenv(CN_SOCKETS_ENV);
    const cn_master_args_t args = {.source = s,
                                   .title = title,
                                   .argv = argv,
                                   .inherited = inherited,
                                   .totals = getenv(CN_TOTALS_ENV)};
    char self[PATH_MAX];

    if (inherited)
        unsetenv(CN_SOCKETS_ENV);
    unsetenv(CN_TOTALS_ENV);
    /* An upgrade starts whatever then stands at the path of this program. */
    if (!strchr(argv[0], '/')) {
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self));
        if (n > 0 && (size_t)n < sizeof(self))
            argv[0] = cn_pool_cstr(pool, cn_str_make(self, (size_t)n));
    }
    return cn_master_run(&args);
}

static int dispatch(const options_t *o, cn_reload_source_t *s, const cn_proc_title_t *title,
                    char **argv, cn_pool_t *pool)
{
    find_source(s, o, pool);
    if (o->reference) {
        cn_info_reference(s->units, stdout);
        return 0;
    }
    if (o->signal)
        return send_signal(s, o, pool);
    if (o->test)
        return test(s, o, pool);
    return run_master(s, title, argv, pool);
}

static int explain(options_t *o, cn_reload_source_t *s, int argc, char **argv, cn_pool_t *pool)
{
    /* Behind the word: its own options, without a program name. */
    int n = take_paths(o, argc - 1, argv + 1) + 1;

    if (o->help) {
        cn_explain_usage();
        return 0;
    }
    find_source(s, o, pool);
    cn_log_set_level(CN_LOG_WARN);
    return cn_explain_main(s, n - 1, argv + 1);
}

/* A table in two pieces, made once and shown to everybody. */
static void free_units(const cn_units_t *units)
{
    if (!units)
        return;
    free((void *)(uintptr_t)units->balancers);
    free((void *)(uintptr_t)units->v);
    free((void *)(uintptr_t)units);
}

int main(int argc, char **argv)
{
    cn_proc_title_t title;
    cn_reload_source_t source = {0};
    options_t o = {0};
    cn_pool_t *pool;
    int status;

    if (argc < 1)
        return 2;
    argv = cn_proc_title_init(&title, argc, argv);
    cn_hash_seed();
    if (!cn_tls_lib_memory())
        cn_log(CN_LOG_WARN, "tls",
               "OpenSSL has taken memory before it could be counted: max_memory does not see it");
    pool = cn_pool_create(0);
    if (argc > 1 && strcmp(argv[1], "explain") == 0) {
        status = explain(&o, &source, argc, argv, pool);
    } else if (read_options(&o, argc, argv) != CN_OK) {
        usage(stderr);
        status = 2;
    } else if (o.help || o.version || o.phases) {
        if (o.help)
            usage(stdout);
        if (o.version)
            cn_info_version(stdout);
        if (o.phases)
            cn_info_phases(stdout);
        status = 0;
    } else {
        status = dispatch(&o, &source, &title, argv, pool);
    }
    free_units(source.units);
    cn_pool_destroy(pool);
    cn_proc_title_fini(&title);
    if (fflush(stdout) != 0)
        status = status ? status : 1;
    return status;
}
