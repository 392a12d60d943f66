/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker process from its first instruction to its last: it loads the
 * configuration that it was given, opens the doors (listeners), obeys the
 * master and leaves in order.  Knows nothing of HTTP, tunnels or policy: that
 * is the proxy's cn_worker_t, which lives inside proc_t.
 *
 *   SPARE     has everything and waits to take a dead worker's place
 *   SERVING   accepts everything
 *   LAME      drains: takes no new traffic, says "not ready", stays
 *   LEAVING   as LAME, and ends when nothing is open or the time is over.  Before that it asks the
 *             master, which may have a connection for it that another accepted
 *   CLOSING   no traffic is left: endpoints answer whoever has connected already
 *   GONE      ends now
 *
 * What wakes the task: the channel, a signal, the heartbeat.  When the master
 * dies, the channel ends and the worker leaves.
 */
#include "main/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/log.h"
#include "core/mem.h"
#include "event/listen.h"
#include "main/admin.h"
#include "main/metrics.h"
#include "main/take.h"
#include "os/channel.h"
#include "os/priv.h"
#include "os/sig.h"
#include "os/trim.h"
#include "proxy/worker.h"

#define BEAT_MS 1000
#define LEAVING_BEAT_MS 20
#define TURN_BEATS 30u
#define KEPT_MAX ((size_t)512 << 10) /* of handshakes for the next ones */
/* A difference of one in so many connections is not worth a hand-over. */
#define HANDOVER_SLACK 16u
/* For who has connected to an endpoint of ours but not asked yet. */
#define FAREWELL_MS 1500

enum { WAKE_DEADLINE = CN_WAKE_USER, WAKE_FAREWELL = CN_WAKE_USER << 1 };

typedef enum { SPARE, SERVING, LAME, LEAVING, CLOSING, GONE } state_t;

/* A listening socket with what serves it. */
typedef struct {
    struct proc *proc;
    cn_listener_t *listener;
    unsigned admin;  /* CN_ADMIN_*, or 0 */
    unsigned server; /* cn_main_server() */
    int fd;          /* the listening socket, ours since the fork */
} door_t;

typedef struct proc {
    cn_worker_t w;
    const cn_worker_start_t *start;
    cn_board_slot_t *slot;
    cn_loop_t *loop;
    cn_task_t task;
    cn_timer_t beat, deadline, farewell;
    cn_trim_t trim;
    cn_take_t *take;
    uint64_t turn_us, turn_before_us; /* longest turns, of now and of half a minute before */
    unsigned turn_beats;
    cn_io_t sig_io, channel_io;
    int sig_fd;
    cn_stats_t *stats;
    cn_metrics_worker_t metrics;
    const cn_metric_def_t **defs;
    cn_admin_server_t *admin;
    door_t *doors;
    unsigned ndoors;
    state_t state;
    bool asked;    /* LEAVING: it said IDLE, and the answer is still to come */
    bool alone;    /* there is no master any more */
    int reserve;   /* a descriptor that makes room for one in a message; -1: there is none now */
    uint32_t owed; /* a CN_FROM_* that could not be sent; 0: none */
    cn_channel_msg_t msg;
} proc_t;

/* ---- to the master ---- */

/* What the master waits for is told again with the next heartbeat when it
 * cannot be told now. */
static void tell(proc_t *p, uint32_t type, uint64_t number, cn_str_t text)
{
    cn_channel_msg_init(&p->msg, type, number);
    cn_channel_msg_text(&p->msg, text);
    if (cn_channel_send(p->start->channel, &p->msg) == CN_OK) {
        p->owed = p->owed == type ? 0 : p->owed;
        return;
    }
    if (p->owed == 0)
        cn_log(CN_LOG_ERROR, "worker", "the master cannot be told (message %u): %s", type,
               strerror(errno));
    if (type != CN_FROM_ASK)
        p->owed = type;
}

static void tell_owed(proc_t *p)
{
    if (p->owed)
        tell(p, p->owed, p->w.gen->id + (p->owed == CN_FROM_NACK), CN_STR_NULL);
}

static void ask(void *ctx, unsigned what, unsigned value)
{
    tell(ctx, CN_FROM_ASK, (uint64_t)value << 8 | what, CN_STR_NULL);
}

/* ---- doors ---- */

static uint64_t count_conns(const proc_t *p)
{
    const cn_listener_ops_t *ops;
    unsigned module;
    uint64_t n = 0;

    for (unsigned i = 0; (ops = cn_main_server(i, &module)) != NULL; i++)
        if (ops->active)
            n += ops->active(p->w.wctx[module]);
    return n;
}

static void welcome(proc_t *p, unsigned server, int fd, const cn_addr_t *remote)
{
    unsigned module;
    const cn_listener_ops_t *ops = cn_main_server(server, &module);

    CN_BUG_ON(!ops);
    if (!cn_budget_admits(&p->w, CN_BUDGET_CONNECTION)) {
        close(fd);
        return;
    }
    ops->accept(&p->w, p->w.wctx[module], fd, remote);
    cn_board_set(&p->slot->conns, count_conns(p));
}

/* Connections that a worker has, or will see soon.  A connection that comes is
 * in both for a moment, never in neither. */
static uint64_t load_of(const cn_board_slot_t *v)
{
    uint64_t taken = cn_board_get(&v->taken);

    return cn_board_get(&v->conns) + cn_board_get(&v->given) - taken;
}

/* The serving worker with the fewest connections, by tunnels among equals. */
static cn_board_slot_t *least_loaded(const proc_t *p)
{
    cn_board_slot_t *best = p->slot;

    for (unsigned i = 0; i < p->start->slots; i++) {
        cn_board_slot_t *v = &p->start->board->v[i];
        uint64_t load = load_of(v), least = load_of(best);

        if (cn_board_get(&v->state) != CN_BOARD_SERVING)
            continue;
        if (load < least ||
            (load == least && cn_board_get(&v->tunnels) < cn_board_get(&best->tunnels)))
            best = v;
    }
    return best;
}

/* HBONE connections are few, long and heavy: each goes to the worker that has
 * the fewest, before a byte of it is read.  Who it is meant for is claimed, so
 * that workers who accept at the same moment do not choose the same one. */
static cn_board_slot_t *claim_server(const proc_t *p)
{
    uint64_t given;
    cn_board_slot_t *to;

    do {
        uint64_t own = load_of(p->slot);

        to = cn_main_conf(p->w.gen)->accept_balance && p->state == SERVING ? least_loaded(p)
                                                                           : p->slot;
        given = cn_board_get(&to->given);
        if (load_of(to) + own / HANDOVER_SLACK >= own) {
            to = p->slot;
            given = cn_board_get(&to->given);
        }
    } while (!cn_board_claim(&to->given, given));
    return to;
}

static bool hand_over(proc_t *p, cn_board_slot_t *to, unsigned server, int fd)
{
    cn_channel_msg_init(&p->msg, CN_FROM_CONN, (uint64_t)(to - p->start->board->v) << 16 | server);
    p->msg.fd = fd;
    if (cn_channel_send(p->start->channel, &p->msg) != CN_OK) {
        cn_board_add(&to->taken, 1);
        return false;
    }
    close(fd);
    cn_series_add(p->metrics.handed, 1);
    return true;
}

static void accept_mesh(proc_t *p, unsigned server, int fd, const cn_addr_t *remote)
{
    cn_board_slot_t *to = claim_server(p);

    if (to != p->slot && hand_over(p, to, server, fd))
        return;
    welcome(p, server, fd, remote);
    if (to == p->slot)
        cn_board_add(&to->taken, 1);
}

static void on_accept(void *ctx, int fd, const cn_addr_t *remote)
{
    const door_t *d = ctx;
    proc_t *p = d->proc;

    if (d->admin)
        cn_admin_accept(p->admin, d->admin, fd, remote);
    else
        accept_mesh(p, d->server, fd, remote);
}

/* fd is ours in any case. */
static void take_conn(proc_t *p, unsigned server, int fd)
{
    unsigned module;
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    cn_addr_t remote;

    if (!cn_main_server(server, &module) || p->state > LEAVING ||
        getpeername(fd, (struct sockaddr *)&ss, &len) != 0) {
        close(fd);
    } else {
        cn_inet_from_sockaddr(&remote, (struct sockaddr *)&ss, len);
        welcome(p, server, fd, &remote);
    }
    cn_board_add(&p->slot->taken, 1);
}

static void open_doors(proc_t *p)
{
    const cn_main_conf_t *m = cn_main_conf(p->w.gen);

    p->doors = cn_xzalloc(sizeof(door_t) * (m->listens.n + 1));
    for (unsigned i = 0; i < m->listens.n; i++) {
        const cn_main_listen_t *l = cn_main_listen(m, i);
        int fd = cn_sockets_find(p->start->sockets, &l->addr);
        door_t *d;

        if (fd < 0 && l->optional)
            continue;
        CN_BUG_ON(fd < 0);
        d = &p->doors[p->ndoors++];
        *d = (door_t){.proc = p, .admin = l->admin, .server = l->server, .fd = fd};
        d->listener = cn_listen_start(p->loop, fd, on_accept, d);
    }
}

/* The sockets are closed, not only left alone: once nobody has them, clients
 * are refused instead of waiting.  last: nobody else accepts there. */
static void close_doors(proc_t *p, bool admin_too, bool last)
{
    for (unsigned i = 0; i < p->ndoors; i++) {
        door_t *d = &p->doors[i];
        if (!d->listener || (d->admin && !admin_too))
            continue;
        if (last)
            cn_listen_finish(d->listener);
        else
            cn_listen_stop(d->listener);
        d->listener = NULL;
        close(d->fd);
    }
}

static bool is_idle(const proc_t *p)
{
    return p->w.tunnels == 0 && count_conns(p) == 0;
}

/* ---- states ---- */

static void set_state(proc_t *p, state_t to)
{
    static const char *const names[] = {"spare",   "serving", "draining",
                                        "leaving", "closing", "gone"};

    if (p->state == to)
        return;
    cn_log(CN_LOG_DEBUG, "worker", "%s -> %s", names[p->state], names[to]);
    p->state = to;
    cn_board_set(&p->slot->state, to == SERVING ? CN_BOARD_SERVING : CN_BOARD_DRAINING);
    if (to == GONE)
        cn_loop_stop(p->loop);
}

/* Whoever is connected, or still connects, hears that it should go elsewhere. */
static void drain(proc_t *p)
{
    const cn_listener_ops_t *ops;
    unsigned module;

    if (p->state > SERVING)
        return;
    set_state(p, LAME);
    p->w.draining = true;
    for (unsigned i = 0; (ops = cn_main_server(i, &module)) != NULL; i++)
        if (ops->drain)
            ops->drain(&p->w, p->w.wctx[module]);
    cn_worker_drain(&p->w);
}

static void leave(proc_t *p, bool replaced)
{
    uint64_t limit = cn_main_conf(p->w.gen)->shutdown_ms;

    drain(p);
    if (!replaced) {
        cn_admin_drain(p->admin);
        close_doors(p, false, true);
    } else {
        close_doors(p, true, false);
        cn_admin_leave(p->admin);
    }
    if (p->state != LAME)
        return;
    set_state(p, LEAVING);
    if (limit > 0)
        cn_timer_set(&p->deadline, limit);
    cn_timer_set(&p->beat, LEAVING_BEAT_MS);
}

static void close_up(proc_t *p)
{
    set_state(p, CLOSING);
    close_doors(p, true, false);
    cn_admin_leave(p->admin);
    cn_timer_set(&p->farewell, FAREWELL_MS);
}

/* A master that does not answer has none to give. */
static void ask_to_go(proc_t *p)
{
    if (p->alone) {
        close_up(p);
    } else if (!p->asked) {
        p->asked = true;
        tell(p, CN_FROM_IDLE, 0, CN_STR_NULL);
        cn_timer_set(&p->farewell, FAREWELL_MS);
    }
}

/* Unless there is something again. */
static void go(proc_t *p)
{
    p->asked = false;
    if (p->state == LEAVING && is_idle(p))
        close_up(p);
}

/* Behind a burst the memory is the system's again. */
static void trim(proc_t *p)
{
    if (cn_trim_is_due(&p->trim, cn_budget_used(&p->w)))
        cn_trim();
}

/* Whoever asks at least every half minute sees each long turn. */
static void publish_turns(proc_t *p)
{
    uint64_t us = cn_loop_longest_ns(p->loop) / 1000;

    if (++p->turn_beats >= TURN_BEATS) {
        p->turn_before_us = p->turn_us;
        p->turn_us = p->turn_beats = 0;
    }
    if (us > p->turn_us)
        p->turn_us = us;
    cn_series_set(p->metrics.turn_us,
                  p->turn_us > p->turn_before_us ? p->turn_us : p->turn_before_us);
}

static void publish(proc_t *p)
{
    uint64_t conns = count_conns(p);

    cn_board_set(&p->slot->tunnels, p->w.tunnels);
    cn_board_set(&p->slot->conns, conns);
    cn_series_set(p->metrics.conns, conns);
    cn_series_set(p->metrics.tunnels, p->w.tunnels);
    cn_board_set(&p->slot->beat, cn_board_get(&p->slot->beat) + 1);
    cn_series_set(p->metrics.memory, cn_budget_used(&p->w));
    cn_budget_beat(&p->w);
    publish_turns(p);
    trim(p);
    if (cn_take_freed(p->take))
        cn_trim();
}

/* ---- configurations ---- */

static void keep_reserve(proc_t *p)
{
    if (p->reserve < 0)
        p->reserve = fcntl(p->start->channel, F_DUPFD_CLOEXEC, 0);
}

static void on_taken(void *ctx, uint64_t number, cn_rc rc, cn_str_t why)
{
    proc_t *p = ctx;

    keep_reserve(p);
    if (rc == CN_OK)
        cn_board_set(&p->slot->gen, number);
    cn_series_set(p->metrics.step_us, cn_take_longest_us(p->take));
    tell(p, rc == CN_OK ? CN_FROM_ACK : CN_FROM_NACK, number, why);
}

/* ---- orders ---- */

static void reopen(proc_t *p)
{
    if (cn_log_reopen() != CN_OK)
        cn_log(CN_LOG_ERROR, "worker", "the error log cannot be reopened: %s", strerror(errno));
    for (unsigned i = 0; i < cn_nmodules; i++) {
        if (cn_modules[i]->reopen)
            cn_modules[i]->reopen(&p->w, p->w.wctx[i]);
    }
}

static void bind_to(const cn_main_conf_t *m, unsigned nth)
{
    cn_rc bound = CN_OK;

    if (m->affinity_auto)
        bound = cn_proc_bind_nth(nth);
    else if (m->affinity.n > 0)
        bound = cn_proc_bind((const cpu_set_t *)m->affinity.v + nth % m->affinity.n);
    if (bound != CN_OK)
        cn_log(CN_LOG_ERROR, "worker", "worker_cpu_affinity cannot be set: %s", strerror(errno));
}

static void serve(proc_t *p, unsigned nth)
{
    cn_take_hurry(p->take, false);
    bind_to(cn_main_conf(p->w.gen), nth);
    open_doors(p);
    set_state(p, SERVING);
    tell(p, CN_FROM_READY, p->w.gen->id, CN_STR_NULL);
}

/* A descriptor that comes with an order other than to take something is nobody's. */
static void obey(proc_t *p, const cn_channel_msg_t *m)
{
    switch (m->type) {
    case CN_TO_RELOAD:
        if (m->fd >= 0)
            cn_take_add(p->take, true, m->fd, m->number);
        break;
    case CN_TO_PATCH:
        if (m->fd >= 0)
            cn_take_add(p->take, false, m->fd, m->number);
        break;
    case CN_TO_RETIRE:
        leave(p, true);
        break;
    case CN_TO_QUIT:
        leave(p, false);
        break;
    case CN_TO_DRAIN:
        cn_admin_drain(p->admin);
        drain(p);
        break;
    case CN_TO_UNREADY:
        cn_admin_drain(p->admin);
        break;
    case CN_TO_SERVE:
        if (p->state == SPARE)
            serve(p, (unsigned)m->number);
        break;
    case CN_TO_GO:
        go(p);
        break;
    case CN_TO_REOPEN:
        reopen(p);
        break;
    case CN_TO_LEVEL:
        cn_log_set_level((cn_log_level)m->number);
        break;
    default:
        cn_log(CN_LOG_ERROR, "worker", "unknown order %u", m->type);
    }
    if (m->fd >= 0 && m->type != CN_TO_RELOAD && m->type != CN_TO_PATCH)
        close(m->fd);
}

/* When clients have taken all descriptors, a message would lose its own: the
 * reserve is given up for it, and nothing is read while there is none.  A read
 * that fails takes no message away, and says nothing of the master. */
static cn_rc next_message(proc_t *p, cn_channel_msg_t *m)
{
    keep_reserve(p);
    if (p->reserve < 0)
        return CN_DECLINE;
    close(p->reserve);
    p->reserve = -1;
    cn_rc rc = cn_channel_recv(p->start->channel, m);
    if (rc == CN_ERR && errno != EPROTO) {
        cn_log(CN_LOG_ERROR, "worker", "the master cannot be heard: %s", strerror(errno));
        rc = CN_DECLINE;
    }
    if (rc != CN_OK || m->fd < 0)
        keep_reserve(p);
    return rc;
}

static void read_channel(proc_t *p)
{
    cn_channel_msg_t m;
    cn_rc rc;

    while ((rc = next_message(p, &m)) == CN_OK) {
        if (m.type == CN_TO_CONN && m.fd >= 0)
            take_conn(p, (unsigned)m.number, m.fd);
        else
            obey(p, &m);
    }
    if (rc == CN_DECLINE)
        return; /* tried again with the next heartbeat */
    if (rc == CN_AGAIN) {
        p->channel_io.readable = false;
        return;
    }
    if (p->state <= LAME)
        cn_log(CN_LOG_WARN, "worker", "the master is gone");
    p->alone = true;
    leave(p, true);
}

static void read_signals(proc_t *p)
{
    int signo;

    while ((signo = cn_sig_next(p->sig_fd, NULL)) != 0) {
        if (signo == SIGTERM || signo == SIGINT)
            set_state(p, GONE);
        else if (signo == SIGQUIT)
            leave(p, true);
        else if (signo == SIGUSR1)
            reopen(p);
    }
    p->sig_io.readable = false;
}

static void run(cn_task_t *task, uint32_t why)
{
    proc_t *p = cn_container_of(task, proc_t, task);

    if (why & CN_WAKE_TIMER) {
        publish(p);
        tell_owed(p);
        cn_timer_set(&p->beat, p->state >= LEAVING ? LEAVING_BEAT_MS : BEAT_MS);
    }
    read_signals(p);
    if (p->state != GONE)
        read_channel(p);
    if (p->state == LEAVING && (why & WAKE_DEADLINE)) {
        cn_log(CN_LOG_NOTICE, "worker", "time is over: closing what is still open (%u tunnels)",
               p->w.tunnels);
        close_up(p);
    }
    if (p->state == CLOSING && (why & WAKE_FAREWELL))
        set_state(p, GONE);
    if (p->asked && (why & WAKE_FAREWELL))
        go(p);
    if (p->state == LEAVING && is_idle(p))
        ask_to_go(p);
    if (p->state == CLOSING && cn_admin_active(p->admin) == 0)
        set_state(p, GONE);
}

/* ---- start and end ---- */

/* Descriptors of the master that a worker has no use for: the channels of other
 * workers above all, since those must end with the master, and sockets that an
 * older configuration listened on, which would stay open with nobody accepting. */
static void close_inherited(const cn_worker_start_t *s)
{
    int *keep = cn_xmalloc(sizeof(int) * (s->main->listens.n + s->nparts + 2));
    unsigned n = 0;

    keep[n++] = s->bundle;
    for (unsigned i = 0; i < s->nparts; i++)
        keep[n++] = s->parts[i];
    keep[n++] = s->channel;
    for (unsigned i = 0; i < s->main->listens.n; i++)
        keep[n++] = cn_sockets_find(s->sockets, &cn_main_listen(s->main, i)->addr);
    cn_proc_close_others(keep, n);
    free(keep);
}

static void open_log(const cn_worker_start_t *s, const cn_main_conf_t *m)
{
    cn_pool_t *pool = cn_pool_create(0);

    if (m->error_log.n > 0 &&
        cn_log_open(cn_main_path(pool, s->source->prefix, m->error_log), m->error_level) != CN_OK)
        cn_log(CN_LOG_ERROR, "worker", "the error log cannot be opened: %s", strerror(errno));
    cn_pool_destroy(pool);
    cn_log_set_level(s->level_set ? s->level : m->error_level);
}

static cn_rc limit(const cn_worker_start_t *s, const cn_main_conf_t *m)
{
    if (m->nofile > 0 && cn_priv_nofile(m->nofile) != CN_OK)
        cn_log(CN_LOG_ERROR, "worker", "worker_rlimit_nofile %u cannot be set: %s", m->nofile,
               strerror(errno));
    bind_to(m, s->nth);
    if (m->has_user && cn_priv_is_root() && cn_priv_drop(&m->user) != CN_OK) {
        cn_log(CN_LOG_EMERG, "worker", "cannot become the configured user: %s", strerror(errno));
        return CN_ERR;
    }
    return CN_OK;
}

/* The configuration comes first: certificates and log files may be readable to
 * the user that started us only. */
static cn_rc begin(proc_t *p)
{
    const cn_worker_start_t *s = p->start;
    cn_pool_t *pool = cn_pool_create(0);
    cn_str_t why = CN_STR_NULL;
    unsigned n;

    p->defs = cn_metrics_all(&n);
    if (cn_stats_open(s->stats, (int)s->stats_slot, p->defs, n, &p->stats) != CN_OK) {
        cn_log(CN_LOG_EMERG, "worker", "the statistics cannot be opened");
        return CN_ERR;
    }
    cn_metrics_worker(&p->metrics, p->stats, n, s->slot);
    if (cn_worker_init(&p->w, p->loop, s->slot, p->stats) != CN_OK)
        return CN_ERR;
    cn_worker_share(&p->w, s->shared);
    p->w.checked = true;
    p->take = cn_take_create(&p->w, s->source, on_taken, p);
    cn_rc rc = cn_take_now(p->take, true, s->bundle, s->gen - s->nparts, pool, &why);
    for (unsigned i = 0; rc == CN_OK && i < s->nparts; i++)
        rc = cn_take_now(p->take, false, s->parts[i], s->gen - s->nparts + i + 1, pool, &why);
    cn_board_set(&p->slot->gen, s->gen);
    cn_budget_begin(&p->w);
    cn_mem_keep(KEPT_MAX);
    if (rc == CN_OK)
        rc = limit(s, cn_main_conf(p->w.gen));
    else
        cn_log(CN_LOG_EMERG, "worker", "%.*s", CN_STR_ARG(why));
    cn_pool_destroy(pool);
    return rc;
}

static cn_rc watch(proc_t *p)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, 0};

    cn_sig_reset();
    cn_sig_ignore_pipe();
    signal(SIGHUP, SIG_IGN);
    signal(SIGWINCH, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    if (cn_sig_open(signals, &p->sig_fd) != CN_OK)
        return CN_ERR;
    cn_task_init(&p->task, p->loop, run);
    cn_timer_init(&p->beat, &p->task, CN_WAKE_TIMER);
    cn_timer_init(&p->deadline, &p->task, WAKE_DEADLINE);
    cn_timer_init(&p->farewell, &p->task, WAKE_FAREWELL);
    if (cn_io_open(&p->sig_io, p->loop, p->sig_fd, &p->task) != CN_OK ||
        cn_io_open(&p->channel_io, p->loop, p->start->channel, &p->task) != CN_OK)
        return CN_ERR;
    return CN_OK;
}

static void end(proc_t *p)
{
    close_doors(p, true, false);
    cn_admin_destroy(p->admin);
    cn_timer_stop(&p->beat);
    cn_timer_stop(&p->deadline);
    cn_timer_stop(&p->farewell);
    cn_io_close(&p->sig_io);
    cn_io_close(&p->channel_io);
    cn_task_fini(&p->task);
    cn_take_destroy(p->take);
    cn_worker_fini(&p->w);
    cn_loop_destroy(p->loop);
    cn_stats_close(p->stats);
    free((void *)(uintptr_t)p->defs);
    free(p->doors);
    if (p->reserve >= 0)
        close(p->reserve);
    close(p->sig_fd);
}

static CN_NORETURN void fail_to_start(void)
{
    /* Half-made objects end with the process. */
    _exit(CN_WORKER_INIT_FAILED);
}

void cn_worker_main(const cn_worker_start_t *s)
{
    proc_t *p = cn_xzalloc(sizeof(*p));

    p->start = s;
    p->reserve = -1;
    p->slot = &s->board->v[s->slot];
    /* The log's descriptor is about to be closed; it is opened again by name
     * once the configuration tells it. */
    if (cn_log_open(NULL, CN_LOG_NOTICE) != CN_OK)
        fail_to_start();
    close_inherited(s);
    cn_log_set_worker((int)s->slot);
    cn_proc_title_set(s->title, "worker process");
    p->loop = cn_loop_create();
    if (watch(p) != CN_OK) {
        cn_log(CN_LOG_EMERG, "worker", "cannot watch the channel: %s", strerror(errno));
        fail_to_start();
    }
    open_log(s, s->main);
    if (begin(p) != CN_OK)
        fail_to_start();
    close(s->bundle);
    for (unsigned i = 0; i < s->nparts; i++)
        close(s->parts[i]);
    p->admin = cn_admin_create(&p->w, s->board, s->slots, ask, p);
    cn_timer_set(&p->beat, BEAT_MS);
    publish(p);
    if (s->spare) {
        cn_take_hurry(p->take, true);
        cn_board_set(&p->slot->state, CN_BOARD_SPARE);
        tell(p, CN_FROM_READY, s->gen, CN_STR_NULL);
    } else {
        read_channel(p); /* it may be outdated already */
        if (p->state == SPARE)
            serve(p, s->nth);
    }
    cn_loop_run(p->loop);
    end(p);
    free(p);
    exit(0);
}
