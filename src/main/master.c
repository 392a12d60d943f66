/* SPDX-License-Identifier: Apache-2.0
 *
 * The master: start, signals, reload, end.  It never touches traffic and never
 * parses more than MAIN-level directives itself; what could go wrong is done by
 * the checker and the workers.
 *
 *   RUNNING      keeps workers, takes configurations
 *   QUITTING     workers drain (QUIT)
 *   TERMINATING  workers end at once (TERM, INT); KILL after a while
 *
 * What wakes its task: signals (SIGCHLD among them), channels of workers and of
 * the checker, and its timers.
 */
#include "main/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "main/build.h"
#include "main/master_int.h"
#include "os/priv.h"
#include "os/sig.h"
#include "proxy/worker.h"

#define TICK_MS 1000
#define PLACES_MIN 8u
#define TERM_PATIENCE_MS 5000
/* Longest time that a checker may take, in ticks. */
#define CHECK_TICKS_MAX 120
/* And a keeper, before a checker of its own does what it was asked for. */
#define KEEPER_TICKS_MAX 5
/* A check that came to nothing is done again so often, after 1, 4 and 16 s; while
 * another binary is there, until that is gone. */
#define RETRIES_MAX 3u
/* From this size on, in bytes, reading a configuration takes noticeable time. */
#define LARGE_CONF (1 << 20)
/* Ticks without a change after which parts are gathered. */
#define QUIET_TICKS 3u

enum { WAKE_DUE = CN_WAKE_USER, WAKE_KILL = CN_WAKE_USER << 1, WAKE_DRAIN = CN_WAKE_USER << 2 };

/* ---- configurations ---- */

/* The log and the pid file follow the configuration. */
static void open_log(cn_master_t *m, cn_pool_t *pool)
{
    const cn_main_conf_t *c = cn_main_conf(m->target.gen);
    const char *path =
        c->error_log.n > 0 ? cn_main_path(pool, m->args->source->prefix, c->error_log) : NULL;

    if (cn_log_open(path, m->level_set ? m->level : c->error_level) != CN_OK)
        cn_log(CN_LOG_ERROR, "master", "%s cannot be opened: %s", path, strerror(errno));
}

static void close_bundles(cn_target_t *t)
{
    close(t->bundle);
    for (unsigned i = 0; i < t->nparts; i++)
        close(t->parts[i]);
    t->nparts = 0;
}

/* A part: MAIN settings are as they were, so only the workers have to know. */
static void adopt_part(cn_master_t *m, const cn_reload_checked_t *checked)
{
    cn_target_t *t = &m->target;

    CN_BUG_ON(t->nparts == CN_PARTS_MAX);
    t->parts[t->nparts++] = checked->bundle;
    t->id = t->gen->id = ++m->last_id;
    t->expires_s = checked->expires_s;
    t->cert_hash = checked->cert_hash;
    t->announced = false;
    m->quiet = 0;
}

/* What the parts came to, in one piece. */
static void adopt_same(cn_master_t *m, const cn_reload_checked_t *checked)
{
    close_bundles(&m->target);
    m->target.bundle = checked->bundle;
}

/* Makes a checked configuration the wanted one; takes the bundle. */
static cn_rc adopt(cn_master_t *m, const cn_reload_checked_t *checked, bool patient,
                   cn_pool_t *pool, cn_str_t *why)
{
    cn_target_t *t = &m->target;
    int bundle = checked->bundle;
    cn_gen_t *gen;

    if (cn_reload_open(m->args->source, bundle, true, NULL, NULL, pool, &gen, why) != CN_OK) {
        close(bundle);
        return CN_ERR;
    }
    if (cn_main_conf(gen)->listens.n == 0) {
        /* An empty or truncated file is a valid one. */
        *why = CN_STR("the configuration has no `listen` directive");
        cn_gen_unref(gen);
        close(bundle);
        return CN_ERR;
    }
    bool structural = !t->gen || t->gen->structural_hash != gen->structural_hash;
    if (structural &&
        cn_sockets_open(&m->sockets, cn_main_conf(gen), patient, pool, why) != CN_OK) {
        cn_gen_unref(gen);
        close(bundle);
        return CN_ERR;
    }
    if (t->gen) {
        cn_gen_unref(t->gen);
        close_bundles(t);
    }
    gen->id = ++m->last_id;
    *t = (cn_target_t){
        .gen = gen,
        .bundle = bundle,
        .expires_s = checked->expires_s,
        .cert_hash = checked->cert_hash,
        .id = gen->id,
        .epoch = t->epoch + structural,
        .workers = cn_main_workers(cn_main_conf(gen)),
    };
    if (structural)
        open_log(m, pool);
    return CN_OK;
}

/* ---- the watcher ---- */

static void lose_watcher(cn_master_t *m)
{
    if (m->watcher.pid == 0)
        return;
    cn_io_close(&m->watcher_io);
    cn_watcher_end(&m->watcher);
}

/* Another one compares with what is in force. */
static void tell_watcher(cn_master_t *m, int bundle, bool part)
{
    if (m->watcher.pid && bundle >= 0 && cn_watcher_tell(&m->watcher, bundle, part) != CN_OK)
        lose_watcher(m);
}

static void start_watcher(cn_master_t *m, uint64_t settle_ms)
{
    if (cn_watcher_start(&m->watcher, m->args->title, settle_ms) != CN_OK) {
        cn_log(CN_LOG_ERROR, "master", "the watcher cannot be started: %s", strerror(errno));
        return;
    }
    if (cn_io_open(&m->watcher_io, m->loop, m->watcher.channel, &m->task) != CN_OK) {
        cn_log(CN_LOG_ERROR, "master", "the watcher cannot be heard: %s", strerror(errno));
        cn_watcher_end(&m->watcher);
        return;
    }
    tell_watcher(m, m->target.bundle, false);
    for (unsigned i = 0; i < m->target.nparts; i++)
        tell_watcher(m, m->target.parts[i], true);
}

/* While the master takes no configuration nobody watches: the stamps in the
 * bundle tell a watcher that begins later what it missed. */
static void tend_watcher(cn_master_t *m)
{
    uint64_t settle_ms = cn_main_conf(m->target.gen)->watch_ms;

    if (m->state != CN_MASTER_RUNNING || m->paused)
        settle_ms = 0;
    if (m->watcher.pid && m->watcher.settle_ms != settle_ms)
        lose_watcher(m);
    if (settle_ms > 0 && m->watcher.pid == 0)
        start_watcher(m, settle_ms);
}

/* ---- results ---- */

/* For the metrics: what is accepted now is this one. */
static void tell_loaded(cn_master_t *m)
{
    cn_series_set(m->metrics.good, 1);
    cn_series_set(m->metrics.loaded_s, cn_clock_wall_us() / 1000000);
    cn_series_set(m->metrics.expires_s, m->target.expires_s);
}

/* More workers than there are places for them need a new master. */
static void bound_workers(cn_master_t *m)
{
    unsigned most = m->crew_n / 2;

    if (m->target.workers > most) {
        cn_log(CN_LOG_WARN, "master",
               "worker_processes %u: this master has room for %u; restart or upgrade it for more",
               m->target.workers, most);
        m->target.workers = most;
    }
}

static void refuse(cn_master_t *m, cn_str_t why)
{
    cn_board_add(&m->board->reload_failures, 1);
    cn_series_add(m->metrics.refused, 1);
    cn_series_set(m->metrics.good, 0);
    cn_log(CN_LOG_ERROR, "master", "reload refused, configuration %llu stays in force: %.*s",
           (unsigned long long)m->target.id, CN_STR_ARG(why));
    cn_control_checked(&m->control, m->check_nth, 0, why);
}

static void accept_target(cn_master_t *m)
{
    bound_workers(m);
    cn_shared_compare(m->shared, m->target.gen);
    cn_crew_forgive(m);
    cn_board_add(&m->board->reloads, 1);
    cn_series_add(m->metrics.accepted, 1);
    cn_board_set(&m->board->gen, m->target.id);
    cn_board_set(&m->board->workers, m->target.workers);
    tell_loaded(m);
    tend_watcher(m);
    cn_control_checked(&m->control, m->check_nth, m->target.id, CN_STR_NULL);
}

/* Another master serves on the same sockets. */
static bool has_peer(const cn_master_t *m)
{
    return m->new_binary || (m->old_binary && m->old_binary == getppid());
}

/* For a refusal that says nothing of the files: whoever changed them may not ask
 * again, and the watcher takes for known what it told. */
static void retry_later(cn_master_t *m)
{
    if (m->state != CN_MASTER_RUNNING || (m->retries >= RETRIES_MAX && !has_peer(m)))
        return;
    m->retry_ticks = 1u << 2 * (m->retries < RETRIES_MAX ? m->retries : RETRIES_MAX - 1);
    m->retries++;
    m->beside = has_peer(m);
    cn_log(CN_LOG_NOTICE, "master", "the configuration is read again in %u s", m->retry_ticks);
}

static void expect_no_retry(cn_master_t *m)
{
    m->retries = m->retry_ticks = 0;
    m->beside = false;
}

/* ---- the keeper ---- */

static void lose_keeper(cn_master_t *m)
{
    if (m->keeper.pid == 0)
        return;
    cn_io_close(&m->keeper_io);
    cn_keeper_end(&m->keeper);
}

static bool is_large(const cn_master_t *m)
{
    struct stat st;
    int wish = cn_main_conf(m->target.gen)->keeper;

    if (wish != CN_KEEPER_AUTO)
        return wish == CN_KEEPER_ON;
    return fstat(m->target.bundle, &st) == 0 && st.st_size >= LARGE_CONF;
}

/* Only with one whole bundle can another keeper begin. */
static void tend_keeper(cn_master_t *m)
{
    const cn_keeper_start_t start = {
        .source = m->args->source,
        .title = m->args->title,
        .main = cn_main_conf(m->target.gen),
        .bundle = m->target.bundle,
    };

    m->spare_wanted = is_large(m);
    if (!m->spare_wanted) {
        if (!m->check.pid)
            lose_keeper(m);
        return;
    }
    if (m->keeper.pid || m->target.nparts > 0 || m->check.pid || m->state != CN_MASTER_RUNNING)
        return;
    if (cn_keeper_start(&m->keeper, &start) != CN_OK) {
        cn_log(CN_LOG_ERROR, "master", "the keeper cannot be started: %s", strerror(errno));
    } else if (cn_io_open(&m->keeper_io, m->loop, m->keeper.channel, &m->task) != CN_OK) {
        cn_log(CN_LOG_ERROR, "master", "the keeper cannot be watched: %s", strerror(errno));
        cn_keeper_end(&m->keeper);
    }
}

/* Many small changes become one configuration again, for workers to come. */
static void gather_parts(cn_master_t *m)
{
    if (m->target.nparts == 0 || m->check.pid || m->keeper.pid == 0)
        return;
    m->check_ticks = 0;
    if (cn_keeper_ask(&m->keeper, true, &m->check) == CN_OK)
        m->gathering = true;
    else
        lose_keeper(m);
}

static cn_rc ask_keeper(cn_master_t *m)
{
    if (m->keeper.pid == 0)
        return CN_DECLINE;
    if (cn_keeper_ask(&m->keeper, false, &m->check) == CN_OK)
        return CN_OK;
    lose_keeper(m);
    return CN_DECLINE;
}

/* ---- checks ---- */

static void not_started(cn_master_t *m)
{
    cn_pool_t *pool = cn_pool_create(0);

    refuse(m, cn_pool_printf(pool, "the checker cannot be started: %s", strerror(errno)));
    retry_later(m);
    cn_pool_destroy(pool);
}

/* Which check will answer: the running one may have read before the change. */
static unsigned start_check(cn_master_t *m)
{
    if (m->target.nparts == CN_PARTS_MAX)
        gather_parts(m);
    if (m->check.pid) {
        m->reload_again = true;
        return m->check_nth + 1;
    }
    m->reload_again = false;
    m->retry_ticks = 0;
    m->check_ticks = 0;
    m->check_nth++;
    if (ask_keeper(m) == CN_OK)
        return m->check_nth;
    if (cn_reload_check_start(&m->check, m->args->source, m->target.cert_hash) != CN_OK) {
        not_started(m);
        return 0;
    }
    if (cn_io_open(&m->check_io, m->loop, m->check.channel, &m->task) != CN_OK) {
        int err = errno;
        cn_reload_check_abort(&m->check);
        errno = err;
        not_started(m);
        return 0;
    }
    return m->check_nth;
}

static void end_check(cn_master_t *m)
{
    if (!m->check.kept)
        cn_io_close(&m->check_io);
    cn_reload_check_end(&m->check);
    m->gathering = false;
}

/* The one that runs is not waited for any more. */
static void drop_check(cn_master_t *m)
{
    bool kept = m->check.kept;

    if (!m->check.pid)
        return;
    kill(m->check.pid, SIGKILL);
    end_check(m);
    if (kept)
        lose_keeper(m);
}

static void take_result(cn_master_t *m, cn_rc rc, const cn_reload_checked_t *checked,
                        cn_pool_t *pool, cn_str_t *why)
{
    if (rc == CN_OK && checked->kind == CN_CHECKED_ALL)
        rc = adopt(m, checked, false, pool, why);
    else if (rc == CN_OK)
        adopt_part(m, checked);
    if (rc == CN_OK || checked->kind == CN_CHECKED_BAD)
        expect_no_retry(m);
    if (rc == CN_OK) {
        accept_target(m);
        return;
    }
    /* A keeper takes what only it has in force for no change the next time; and
     * an answer that was not read would be that to the next question. */
    if (checked->kind != CN_CHECKED_BAD)
        lose_keeper(m);
    else if (checked->bundle >= 0)
        close(checked->bundle);
    refuse(m, *why);
    /* Nobody answered; or the files are good, and the other binary has what they ask for. */
    if (checked->kind == 0 || (checked->kind != CN_CHECKED_BAD && has_peer(m)))
        retry_later(m);
}

static void take_check(cn_master_t *m)
{
    cn_pool_t *pool;
    cn_str_t why = CN_STR_NULL;
    cn_reload_checked_t checked = {.bundle = -1};

    if (!m->check.pid)
        return;
    pool = cn_pool_create(0);
    cn_rc rc = cn_reload_check_result(&m->check, pool, &checked, &why);
    if (rc != CN_AGAIN) {
        bool gathered = m->gathering;
        end_check(m);
        tell_watcher(m, checked.bundle, checked.kind == CN_CHECKED_PART);
        if (!gathered)
            take_result(m, rc, &checked, pool, &why);
        else if (rc == CN_OK)
            adopt_same(m, &checked);
        else
            lose_keeper(m);
        if (m->reload_again)
            (void)start_check(m);
    }
    cn_pool_destroy(pool);
}

static unsigned reload(cn_master_t *m)
{
    if (m->state != CN_MASTER_RUNNING)
        return 0;
    m->paused = false;
    expect_no_retry(m);
    cn_log(CN_LOG_INFO, "master", "reading the configuration again");
    return start_check(m);
}

static void take_news(cn_master_t *m, const cn_watcher_news_t *news, cn_pool_t *pool)
{
    cn_str_t more = news->n > 1 ? cn_pool_printf(pool, " and %u more", news->n - 1) : CN_STR("");

    if (news->kind == CN_WATCHER_CHANGED) {
        cn_log(CN_LOG_NOTICE, "master", "changed on disk: %.*s%.*s", CN_STR_ARG(news->path),
               CN_STR_ARG(more));
        (void)reload(m);
        return;
    }
    if (news->kind == CN_WATCHER_NO_HINTS) {
        cn_log(CN_LOG_WARN, "master",
               "conf_watch has no inotify (%s): changes are found by looking, which takes seconds",
               strerror((int)news->n));
        return;
    }
    cn_log(CN_LOG_WARN, "master",
           "%.*s has changed, and cairn-gen has not finished it: waiting until it has",
           CN_STR_ARG(m->args->source->dir));
}

static void hear_watcher(cn_master_t *m)
{
    cn_watcher_news_t news;
    cn_pool_t *pool;
    cn_rc rc;

    if (m->watcher.pid == 0)
        return;
    pool = cn_pool_create(0);
    while ((rc = cn_watcher_heard(&m->watcher, pool, &news)) == CN_OK)
        take_news(m, &news, pool);
    if (rc == CN_ERR) {
        cn_log(CN_LOG_WARN, "master", "the watcher (process %ld) has ended", (long)m->watcher.pid);
        lose_watcher(m);
    }
    cn_pool_destroy(pool);
}

static unsigned on_call(void *ctx)
{
    return reload(ctx);
}

/* ---- log files ---- */

static void reopen(cn_master_t *m)
{
    const cn_main_conf_t *c = cn_main_conf(m->target.gen);
    cn_pool_t *pool = cn_pool_create(0);

    if (cn_log_reopen() != CN_OK)
        cn_log(CN_LOG_ERROR, "master", "the error log cannot be reopened: %s", strerror(errno));
    /* Workers open it by name with fewer rights than ours. */
    if (c->error_log.n > 0 && c->has_user && cn_priv_is_root()) {
        const char *path = cn_main_path(pool, m->args->source->prefix, c->error_log);
        if (chown(path, c->user.uid, (gid_t)-1) != 0)
            cn_log(CN_LOG_ERROR, "master", "%s cannot be given to the user: %s", path,
                   strerror(errno));
    }
    cn_pool_destroy(pool);
    if (m->keeper.pid && cn_keeper_reopen(&m->keeper) != CN_OK)
        lose_keeper(m);
    m->reopens++; /* the crew is told of it when it is reconciled */
}

/* ---- ends ---- */

/* Ours are closed too, so that clients are refused instead of waiting. */
static void dismiss_all(cn_master_t *m)
{
    bool replaced = has_peer(m);

    cn_log(CN_LOG_NOTICE, "master", "quitting: workers finish what they have begun");
    cn_crew_dismiss(m, replaced);
    cn_sockets_close(&m->sockets);
}

/* What is still read will not be taken. */
static void stop_reading(cn_master_t *m)
{
    drop_check(m);
    m->reload_again = false;
    expect_no_retry(m);
    cn_control_checked(&m->control, m->check_nth + 1, 0, CN_STR("the master is about to end"));
    tend_watcher(m);
}

/* First "not ready", then the drain: who is told to go elsewhere must not be
 * sent here again. */
static void quit(cn_master_t *m)
{
    uint64_t delay = cn_main_conf(m->target.gen)->drain_delay_ms;

    if (m->state != CN_MASTER_RUNNING)
        return;
    m->state = CN_MASTER_QUITTING;
    stop_reading(m);
    if (delay == 0 || has_peer(m)) {
        dismiss_all(m);
        return;
    }
    cn_log(CN_LOG_NOTICE, "master", "quitting in %llu ms: not ready any more",
           (unsigned long long)delay);
    cn_crew_tell(m, CN_TO_UNREADY, 0);
    cn_timer_set(&m->drain_due, delay);
}

static void terminate(cn_master_t *m)
{
    if (m->state == CN_MASTER_TERMINATING)
        return;
    cn_log(CN_LOG_NOTICE, "master", "terminating");
    m->state = CN_MASTER_TERMINATING;
    stop_reading(m);
    cn_crew_signal(m, SIGTERM);
    cn_timer_set(&m->kill, TERM_PATIENCE_MS);
}

/* ---- signals and wishes ---- */

static void drain(cn_master_t *m)
{
    m->draining = true;
    cn_crew_tell(m, CN_TO_DRAIN, 0);
}

static void pause_workers(cn_master_t *m)
{
    cn_log(CN_LOG_NOTICE, "master", "workers are sent away; HUP brings them back");
    m->paused = true;
    tend_watcher(m);
    cn_crew_dismiss(m, true);
}

static void on_signal(cn_master_t *m, int signo, pid_t sender)
{
    if (signo != SIGCHLD && !(signo == SIGWINCH && sender == 0))
        cn_log(CN_LOG_NOTICE, "master", "%s from process %ld", cn_sig_name(signo), (long)sender);
    switch (signo) {
    case SIGHUP:
        (void)reload(m);
        break;
    case SIGQUIT:
        quit(m);
        break;
    case SIGTERM:
        if (m->state == CN_MASTER_RUNNING && cn_main_conf(m->target.gen)->sigterm)
            quit(m);
        else
            terminate(m);
        break;
    case SIGINT:
        terminate(m);
        break;
    case SIGUSR1:
        reopen(m);
        break;
    case SIGUSR2:
        if (m->state == CN_MASTER_RUNNING)
            cn_upgrade_start(m);
        break;
    case SIGWINCH:
        /* From the kernel it only means that the terminal was resized. */
        if (sender != 0 && m->state == CN_MASTER_RUNNING)
            pause_workers(m);
        break;
    default:
        break;
    }
}

void cn_master_asked(cn_master_t *m, unsigned what, unsigned value)
{
    switch (what) {
    case CN_TO_RELOAD:
        (void)reload(m);
        break;
    case CN_TO_QUIT:
        quit(m);
        break;
    case CN_TO_DRAIN:
        drain(m);
        break;
    case CN_TO_REOPEN:
        reopen(m);
        break;
    case CN_TO_LEVEL:
        if (value > CN_LOG_DEBUG)
            break;
        m->level_set = true;
        m->level = (cn_log_level)value;
        cn_log(CN_LOG_NOTICE, "master", "log level changed at an operator's wish (%u)", value);
        cn_log_set_level(m->level);
        cn_crew_tell(m, CN_TO_LEVEL, value);
        break;
    default:
        cn_log(CN_LOG_ERROR, "master", "a worker asked for something unknown");
    }
}

static void reap(cn_master_t *m)
{
    cn_proc_end_t end;

    while (cn_proc_reap(&end)) {
        /* The checker tells its result itself; its death without one ends its channel. */
        if (end.pid == m->keeper.pid) {
            cn_log(CN_LOG_WARN, "master", "the keeper (process %ld) has ended", (long)end.pid);
            take_check(m); /* what it said before that counts */
            lose_keeper(m);
        } else if (!cn_crew_reaped(m, &end)) {
            (void)cn_upgrade_reaped(m, &end);
        }
    }
}

/* A keeper that is stopped or busy with something else is nobody to wait for: it
 * goes, and comes again once there is a configuration to begin with. */
static void watch_check(cn_master_t *m)
{
    bool kept = m->check.kept, wanted = !m->gathering || m->reload_again;

    if (++m->check_ticks <= (kept ? KEEPER_TICKS_MAX : CHECK_TICKS_MAX))
        return;
    drop_check(m);
    if (kept) {
        cn_log(CN_LOG_WARN, "master", "the keeper did not answer within %d s and is ended",
               KEEPER_TICKS_MAX);
        if (wanted)
            (void)start_check(m);
    } else {
        refuse(m, CN_STR("the checker took too long"));
        retry_later(m);
    }
}

static void tick(cn_master_t *m)
{
    cn_crew_tick(m);
    if (m->check.pid)
        watch_check(m);
    if (m->beside && !has_peer(m))
        m->retry_ticks = 1;
    if (m->retry_ticks > 0 && --m->retry_ticks == 0) {
        m->beside = false;
        (void)start_check(m);
    }
    if (++m->quiet >= QUIET_TICKS || m->target.nparts > CN_PARTS_MAX / 2)
        gather_parts(m);
    tend_keeper(m);
    tend_watcher(m);
    cn_timer_set(&m->tick, TICK_MS);
}

static void run(cn_task_t *task, uint32_t why)
{
    cn_master_t *m = cn_container_of(task, cn_master_t, task);
    pid_t sender;
    int signo;

    while ((signo = cn_sig_next(m->sig_fd, &sender)) != 0)
        on_signal(m, signo, sender);
    /* What a worker said before it died counts. */
    cn_crew_listen(m);
    cn_control_listen(&m->control, &m->task, on_call, m);
    reap(m);
    take_check(m);
    hear_watcher(m);
    if (why & CN_WAKE_TIMER)
        tick(m);
    if (why & WAKE_KILL)
        cn_crew_signal(m, SIGKILL);
    if ((why & WAKE_DRAIN) && m->state == CN_MASTER_QUITTING)
        dismiss_all(m);
    cn_crew_reconcile(m);
    if (m->state != CN_MASTER_RUNNING && cn_crew_alive(m) == 0)
        cn_loop_stop(m->loop);
}

/* ---- start ---- */

static void complain(const cn_master_t *m, const char *what, cn_str_t why)
{
    (void)m;
    fprintf(stderr, "cairn: %s%.*s\n", what, CN_STR_ARG(why));
}

/* The first configuration: nothing else can be done meanwhile. */
static cn_rc first_conf(cn_master_t *m, cn_pool_t *pool)
{
    cn_str_t why = CN_STR_NULL;
    cn_reload_checked_t checked = {.bundle = -1};
    cn_rc rc;

    if (cn_reload_check_start(&m->check, m->args->source, 0) != CN_OK) {
        complain(m, "the checker cannot be started: ", cn_str_c(strerror(errno)));
        return CN_ERR;
    }
    rc = cn_channel_wait(m->check.channel, CHECK_TICKS_MAX * TICK_MS);
    if (rc == CN_OK)
        rc = cn_reload_check_result(&m->check, pool, &checked, &why);
    if (rc == CN_AGAIN) {
        cn_reload_check_abort(&m->check);
        why = CN_STR("the checker took too long");
        rc = CN_ERR;
    } else {
        cn_reload_check_end(&m->check);
    }
    if (rc == CN_ERR && checked.bundle >= 0)
        close(checked.bundle);
    if (rc == CN_OK)
        rc = adopt(m, &checked, true, pool, &why);
    if (rc != CN_OK)
        complain(m, "", why);
    return rc;
}

static cn_rc write_pid(cn_master_t *m, cn_pool_t *pool)
{
    const cn_main_conf_t *c = cn_main_conf(m->target.gen);
    char *path = cn_main_path(pool, m->args->source->prefix, c->pid);

    if (c->pid_off)
        return CN_OK;
    if (cn_proc_pid_write(path, getpid()) == CN_OK) {
        size_t n = strlen(path) + 1;
        m->pid_path = cn_xmalloc(n);
        memcpy(m->pid_path, path, n);
        return CN_OK;
    }
    if (!c->pid_given) {
        cn_log(CN_LOG_WARN, "master", "no pid file: %s: %s", path, strerror(errno));
        return CN_OK;
    }
    cn_log(CN_LOG_EMERG, "master", "pid file %s cannot be written: %s", path, strerror(errno));
    complain(m, "the pid file cannot be written: ", cn_str_c(path));
    return CN_ERR;
}

static cn_rc go_to_background(cn_master_t *m)
{
    if (!cn_main_conf(m->target.gen)->daemon || m->args->inherited)
        return CN_OK;
    if (cn_proc_daemon(&m->parent) != CN_OK) {
        complain(m, "cannot go to the background: ", cn_str_c(strerror(errno)));
        return CN_ERR;
    }
    return CN_OK;
}

/* In the background nobody reads standard error: it goes where the log goes. */
static void leave_starter(cn_master_t *m, cn_pool_t *pool)
{
    const cn_main_conf_t *c = cn_main_conf(m->target.gen);

    if (m->parent < 0)
        return;
    if (c->error_log.n > 0) {
        const char *path = cn_main_path(pool, m->args->source->prefix, c->error_log);
        int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
        if (fd > 2) {
            dup2(fd, 2);
            close(fd);
        }
    }
    cn_proc_daemon_ready(m->parent);
    m->parent = -1;
}

/* Room for twice the workers, since old ones may drain while new ones serve,
 * and for some more of them later. */
static unsigned places_for(unsigned workers)
{
    unsigned cpus = cn_proc_cpus(), n = workers > cpus ? workers : cpus;

    n = n < PLACES_MIN ? PLACES_MIN : n;
    return 2 * (n < CN_MAIN_WORKERS_MAX ? n : CN_MAIN_WORKERS_MAX);
}

static cn_rc share_memory(cn_master_t *m)
{
    unsigned places = places_for(m->target.workers);
    size_t slot = (size_t)cn_main_conf(m->target.gen)->stats_memory;
    size_t board = cn_board_size(places);
    size_t need = cn_shm_need(board) + cn_shared_need(m->target.gen, places);

    if (cn_shm_create(need, &m->shm) != CN_OK ||
        cn_shared_create(m->shm, m->target.gen, places, &m->shared) != CN_OK ||
        cn_totals_open(&m->totals, m->args->totals, places + 1, slot) != CN_OK) {
        complain(m, "no shared memory: ", cn_str_c(strerror(errno)));
        return CN_ERR;
    }
    m->board = cn_shm_add(m->shm, "board", board);
    CN_BUG_ON(!m->board);
    if (cn_metrics_open(&m->metrics, m->totals.mem, (int)(m->totals.first + places)) != CN_OK) {
        complain(m, "the statistics cannot be opened", CN_STR_NULL);
        return CN_ERR;
    }
    m->board->master = (uint64_t)getpid();
    m->board->started_ns = cn_clock_mono_ns();
    m->board->gen = m->target.id;
    m->board->workers = m->target.workers;
    tell_loaded(m);
    cn_crew_create(m, places);
    return CN_OK;
}

static cn_rc open_loop(cn_master_t *m)
{
    static const int signals[] = {SIGHUP,  SIGINT,   SIGTERM, SIGQUIT, SIGUSR1,
                                  SIGUSR2, SIGWINCH, SIGCHLD, 0};

    cn_sig_ignore_pipe();
    m->loop = cn_loop_create();
    cn_task_init(&m->task, m->loop, run);
    cn_timer_init(&m->tick, &m->task, CN_WAKE_TIMER);
    cn_timer_init(&m->due, &m->task, WAKE_DUE);
    cn_timer_init(&m->kill, &m->task, WAKE_KILL);
    cn_timer_init(&m->drain_due, &m->task, WAKE_DRAIN);
    if (cn_sig_open(signals, &m->sig_fd) != CN_OK ||
        cn_io_open(&m->sig_io, m->loop, m->sig_fd, &m->task) != CN_OK) {
        complain(m, "signals cannot be watched: ", cn_str_c(strerror(errno)));
        return CN_ERR;
    }
    cn_control_open(&m->control, m->loop, &m->task);
    return CN_OK;
}

static void warn_about_user(const cn_master_t *m)
{
    if (cn_main_conf(m->target.gen)->has_user && !cn_priv_is_root())
        cn_log(CN_LOG_WARN, "master", "the user directive has no effect: not started by root");
}

static cn_rc start(cn_master_t *m, cn_pool_t *pool)
{
    if (m->args->inherited) {
        unsigned n = cn_sockets_inherit(&m->sockets, m->args->inherited);
        m->old_binary = getppid();
        cn_log(CN_LOG_NOTICE, "master", "%u listening sockets taken over", n);
    }
    if (first_conf(m, pool) != CN_OK || go_to_background(m) != CN_OK || share_memory(m) != CN_OK ||
        open_loop(m) != CN_OK)
        return CN_ERR;
    /* Whoever reads it may send a signal at once, so those are watched by now. */
    if (write_pid(m, pool) != CN_OK)
        return CN_ERR;
    leave_starter(m, pool);
    warn_about_user(m);
    cn_proc_title_set(m->args->title, "master process");
    cn_log(CN_LOG_NOTICE, "master", "cairn %s, %u workers", cn_build_version, m->target.workers);
    return CN_OK;
}

static void end(cn_master_t *m)
{
    if (m->pid_path)
        unlink(m->pid_path);
    free(m->pid_path);
    if (m->check.pid && !m->check.kept) {
        cn_io_close(&m->check_io);
        cn_reload_check_abort(&m->check);
    }
    lose_keeper(m);
    lose_watcher(m);
    cn_crew_destroy(m);
    cn_control_close(&m->control);
    cn_sockets_close(&m->sockets);
    if (m->target.gen) {
        cn_gen_unref(m->target.gen);
        close_bundles(&m->target);
    }
    if (m->loop) {
        cn_task_fini(&m->task);
        cn_loop_destroy(m->loop);
        close(m->sig_fd);
    }
    cn_metrics_close(&m->metrics);
    cn_totals_close(&m->totals);
    cn_shared_destroy(m->shared);
    cn_shm_destroy(m->shm);
}

int cn_master_run(const cn_master_args_t *args)
{
    cn_master_t m = {.args = args,
                     .sig_fd = -1,
                     .parent = -1,
                     .check = {.channel = -1},
                     .control = {.fd = -1},
                     .keeper = {.channel = -1},
                     .watcher = {.channel = -1}};
    cn_pool_t *pool = cn_pool_create(0);
    cn_rc rc = start(&m, pool);

    cn_pool_destroy(pool);
    if (rc == CN_OK) {
        cn_timer_set(&m.tick, TICK_MS);
        tend_watcher(&m);
        cn_task_wake(&m.task, CN_WAKE_STATE);
        cn_loop_run(m.loop);
        cn_log(CN_LOG_NOTICE, "master", "exit");
    }
    end(&m);
    return rc == CN_OK ? 0 : 1;
}
