/* SPDX-License-Identifier: Apache-2.0
 *
 * The workers, as the master sees them.  One function, cn_crew_reconcile(),
 * compares what is there with what is wanted and takes the next steps: fork,
 * send a configuration, send away.  It is called after every event and does
 * nothing when all is well, so there is no sequence that could get stuck.
 *
 * A worker of an older epoch, or one that could not take the wanted
 * configuration, goes on serving until enough others have it in force.
 *
 * With a large configuration a spare worker stands by, which has loaded it: when
 * a worker dies, opening the listeners is all that is left to do.
 *
 * Knows nothing of signals sent to the master.  Workers handle hostile traffic:
 * what they say is checked.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "main/master_int.h"
#include "os/sig.h"

/* A worker that lived so long started well. */
#define GOOD_LIFE_MS 5000
/* Pauses before the next try after that many quick deaths in a row. */
#define FIRST_PAUSE_MS 100
#define DEATHS_MAX 5
#define LONG_PAUSE_MS 30000
/* Loading may take longer than a turn of the loop. */
#define START_PATIENCE 4
/* After a spare worker died. */
#define SPARE_PAUSE_MS 30000

void cn_crew_create(cn_master_t *m, unsigned places)
{
    m->crew = cn_xzalloc(sizeof(cn_crew_t) * places);
    m->crew_n = places;
    for (unsigned i = 0; i < places; i++)
        m->crew[i].channel = m->crew[i].far = -1;
}

static unsigned place_of(const cn_master_t *m, const cn_crew_t *c)
{
    return (unsigned)(c - m->crew);
}

static bool is_alive(const cn_crew_t *c)
{
    return c->state >= CN_CREW_STARTING;
}

unsigned cn_crew_alive(const cn_master_t *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->crew_n; i++)
        n += is_alive(&m->crew[i]);
    return n;
}

static void close_channel(cn_crew_t *c)
{
    if (c->channel < 0)
        return;
    cn_io_close(&c->io);
    close(c->channel);
    close(c->far);
    c->channel = c->far = -1;
}

void cn_crew_destroy(cn_master_t *m)
{
    for (unsigned i = 0; i < m->crew_n; i++)
        close_channel(&m->crew[i]);
    free(m->crew);
    m->crew = NULL;
    m->crew_n = 0;
}

/* ---- birth ---- */

/* The child does not come back. */
static void run_child(cn_master_t *m, cn_crew_t *c, int channel)
{
    const cn_worker_start_t start = {
        .source = m->args->source,
        .title = m->args->title,
        .sockets = &m->sockets,
        .board = m->board,
        .slots = m->crew_n,
        .stats = m->totals.mem,
        .stats_slot = m->totals.first + place_of(m, c),
        .shared = m->shared,
        .bundle = m->target.bundle,
        .parts = m->target.parts,
        .nparts = m->target.nparts,
        .channel = channel,
        .gen = m->target.id,
        .slot = place_of(m, c),
        .nth = c->nth,
        .spare = c->spare,
        .main = cn_main_conf(m->target.gen),
        .level = m->level,
        .level_set = m->level_set,
    };

    cn_worker_main(&start);
}

/* The lowest number that no other worker of this epoch has. */
static unsigned free_nth(const cn_master_t *m, const cn_crew_t *self)
{
    for (unsigned nth = 0;; nth++) {
        bool taken = false;
        for (unsigned i = 0; i < m->crew_n; i++) {
            const cn_crew_t *c = &m->crew[i];
            taken |= c != self && c->state != CN_CREW_FREE && c->state != CN_CREW_LEAVING &&
                     c->epoch == m->target.epoch && c->nth == nth;
        }
        if (!taken)
            return nth;
    }
}

static cn_rc fork_worker(cn_master_t *m, cn_crew_t *c)
{
    pid_t pid;
    int channel, far;

    if (cn_channel_fork(&pid, &channel, &far) != CN_OK)
        return CN_ERR;
    if (pid == 0)
        run_child(m, c, channel);
    if (cn_io_open(&c->io, m->loop, channel, &m->task) != CN_OK) {
        int err = errno;
        kill(pid, SIGKILL);
        close(channel);
        close(far);
        errno = err;
        return CN_ERR;
    }
    c->pid = pid;
    c->channel = channel;
    c->far = far;
    return CN_OK;
}

static uint64_t pause_ms(unsigned deaths)
{
    if (deaths < 2)
        return 0;
    return deaths >= DEATHS_MAX ? LONG_PAUSE_MS : (uint64_t)FIRST_PAUSE_MS << (deaths - 2);
}

static void wait_for_retry(cn_master_t *m, cn_crew_t *c)
{
    c->state = CN_CREW_WAITING;
    c->retry_ms = cn_loop_ms(m->loop) + pause_ms(c->deaths);
    if (c->deaths >= DEATHS_MAX)
        cn_log(CN_LOG_EMERG, "master",
               "worker %u has died %u times in a row soon after its start; the next try is in %u s",
               place_of(m, c), c->deaths, LONG_PAUSE_MS / 1000);
}

static void start_worker(cn_master_t *m, cn_crew_t *c, bool spare)
{
    unsigned deaths = c->state == CN_CREW_WAITING ? c->deaths : 0;
    unsigned place = place_of(m, c);

    *c = (cn_crew_t){
        .channel = -1, .far = -1, .deaths = deaths, .epoch = m->target.epoch, .spare = spare};
    c->nth = free_nth(m, c);
    c->sent = m->target.id;
    c->reopens = m->reopens;
    c->started_ms = cn_loop_ms(m->loop);
    /* From its fork on the worker writes there too. */
    m->board->v[place] = (cn_board_slot_t){.state = CN_BOARD_STARTING};
    if (fork_worker(m, c) != CN_OK) {
        cn_log(CN_LOG_EMERG, "master", "a worker cannot be forked: %s", strerror(errno));
        c->deaths = deaths < 2 ? 2 : deaths + 1;
        wait_for_retry(m, c);
        return;
    }
    c->state = CN_CREW_STARTING;
    cn_board_set(&m->board->v[place].pid, (uint64_t)c->pid);
    cn_log(CN_LOG_INFO, "master", "%s %u is process %ld", spare ? "spare worker" : "worker", place,
           (long)c->pid);
}

/* ---- orders ---- */

/* A worker that cannot be told is signalled: it then leaves as if replaced. */
static void order(cn_master_t *m, cn_crew_t *c, uint32_t type, uint64_t number)
{
    cn_channel_msg_t msg;

    cn_channel_msg_init(&msg, type, number);
    if (c->channel >= 0 && cn_channel_send(c->channel, &msg) == CN_OK)
        return;
    cn_log(CN_LOG_WARN, "master", "worker %u does not listen (order %u)", place_of(m, c), type);
    if (type == CN_TO_RETIRE || type == CN_TO_QUIT)
        kill(c->pid, SIGQUIT);
}

void cn_crew_tell(cn_master_t *m, uint32_t type, uint64_t number)
{
    for (unsigned i = 0; i < m->crew_n; i++) {
        if (m->crew[i].state == CN_CREW_RUNNING || m->crew[i].state == CN_CREW_LEAVING)
            order(m, &m->crew[i], type, number);
    }
}

void cn_crew_signal(cn_master_t *m, int signo)
{
    for (unsigned i = 0; i < m->crew_n; i++) {
        if (is_alive(&m->crew[i]))
            kill(m->crew[i].pid, signo);
    }
}

static void set_leaving(cn_master_t *m, cn_crew_t *c)
{
    c->state = CN_CREW_LEAVING;
    c->left_ms = cn_loop_ms(m->loop);
    cn_board_set(&m->board->v[place_of(m, c)].state, CN_BOARD_DRAINING);
}

static void dismiss(cn_master_t *m, cn_crew_t *c, bool replaced)
{
    switch (c->state) {
    case CN_CREW_FREE:
        break;
    case CN_CREW_WAITING:
        c->state = CN_CREW_FREE;
        break;
    case CN_CREW_STARTING:
        /* It may have accepted a connection: that it is ready is on its way then. */
        /* fall through */
    case CN_CREW_RUNNING:
        order(m, c, replaced ? CN_TO_RETIRE : CN_TO_QUIT, 0);
        set_leaving(m, c);
        break;
    case CN_CREW_LEAVING:
        if (replaced)
            order(m, c, CN_TO_RETIRE, 0);
        break;
    }
}

void cn_crew_dismiss(cn_master_t *m, bool replaced)
{
    for (unsigned i = 0; i < m->crew_n; i++)
        dismiss(m, &m->crew[i], replaced);
}

/* Step by step: the whole that the parts begin from, unless it is there. */
static void send_target(cn_master_t *m, cn_crew_t *c)
{
    const cn_target_t *t = &m->target;
    uint64_t base = t->id - t->nparts;
    cn_channel_msg_t msg;

    while (c->sent != t->id) {
        bool whole = c->sent < base;
        cn_channel_msg_init(&msg, whole ? CN_TO_RELOAD : CN_TO_PATCH, whole ? base : c->sent + 1);
        msg.fd = whole ? t->bundle : t->parts[c->sent - base];
        /* A full channel is tried again at the next tick. */
        if (cn_channel_send(c->channel, &msg) != CN_OK)
            return;
        c->sent = msg.number;
    }
}

/* ---- what is wanted ---- */

static bool is_current(const cn_master_t *m, const cn_crew_t *c)
{
    return c->epoch == m->target.epoch && c->refused != m->target.id;
}

static bool has_target(const cn_master_t *m, const cn_crew_t *c)
{
    return c->state == CN_CREW_RUNNING && !c->spare && is_current(m, c) && c->gen == m->target.id;
}

/* Places of an older epoch that never got to serve. */
static void drop_outdated(cn_master_t *m)
{
    for (unsigned i = 0; i < m->crew_n; i++) {
        cn_crew_t *c = &m->crew[i];
        if (c->epoch != m->target.epoch &&
            (c->state == CN_CREW_WAITING || c->state == CN_CREW_STARTING))
            dismiss(m, c, true);
    }
}

/* A free place; when there is none, the worker that has been leaving for
 * longest is ended, and its place is free at its death. */
static cn_crew_t *free_place(cn_master_t *m)
{
    cn_crew_t *oldest = NULL;

    for (unsigned i = 0; i < m->crew_n; i++) {
        cn_crew_t *c = &m->crew[i];
        if (c->state == CN_CREW_FREE)
            return c;
        if (c->state == CN_CREW_LEAVING && (!oldest || c->left_ms < oldest->left_ms))
            oldest = c;
    }
    if (oldest) {
        cn_log(CN_LOG_WARN, "master", "too many workers are leaving: worker %u must end now",
               place_of(m, oldest));
        kill(oldest->pid, SIGTERM);
    }
    return NULL;
}

/* A spare worker that has all that a new one would have to load. */
static cn_crew_t *find_spare(cn_master_t *m, bool ready)
{
    for (unsigned i = 0; i < m->crew_n; i++) {
        cn_crew_t *c = &m->crew[i];
        if (!c->spare || c->state == CN_CREW_FREE || c->state == CN_CREW_LEAVING)
            continue;
        if (!ready || (c->state == CN_CREW_RUNNING && is_current(m, c) && c->sent == m->target.id))
            return c;
    }
    return NULL;
}

/* place: of a worker that died, or NULL. */
static bool promote_spare(cn_master_t *m, cn_crew_t *place)
{
    cn_crew_t *c = find_spare(m, true);

    if (!c)
        return false;
    c->spare = false;
    c->started_ms = cn_loop_ms(m->loop);
    if (place) {
        c->deaths = place->deaths;
        place->state = CN_CREW_FREE;
    }
    c->nth = free_nth(m, c);
    c->state = CN_CREW_STARTING;
    order(m, c, CN_TO_SERVE, c->nth);
    cn_log(CN_LOG_INFO, "master", "spare worker %u (process %ld) takes over", place_of(m, c),
           (long)c->pid);
    return true;
}

/* One, once everything else is in order; none when it is not wanted. */
static void tend_spare(cn_master_t *m)
{
    cn_crew_t *spare = find_spare(m, false), *place = NULL;

    if (spare && (!m->spare_wanted || !is_current(m, spare)))
        dismiss(m, spare, true);
    if (spare || !m->spare_wanted || cn_loop_ms(m->loop) < m->spare_ms)
        return;
    for (unsigned i = 0; i < m->crew_n; i++) {
        cn_crew_t *c = &m->crew[i];
        if (c->state == CN_CREW_FREE)
            place = c;
        else if (c->state != CN_CREW_RUNNING || !has_target(m, c))
            return;
    }
    if (place)
        start_worker(m, place, true);
}

static void fill(cn_master_t *m)
{
    unsigned have = 0;
    uint64_t now = cn_loop_ms(m->loop), next = UINT64_MAX;

    for (unsigned i = 0; i < m->crew_n; i++) {
        cn_crew_t *c = &m->crew[i];
        if (c->state == CN_CREW_WAITING && c->retry_ms <= now && !promote_spare(m, c))
            start_worker(m, c, false);
        if (c->state != CN_CREW_FREE && c->state != CN_CREW_LEAVING && !c->spare &&
            is_current(m, c))
            have++;
        if (c->state == CN_CREW_WAITING && c->retry_ms < next)
            next = c->retry_ms;
    }
    for (; have < m->target.workers; have++) {
        cn_crew_t *c;
        if (promote_spare(m, NULL))
            continue;
        c = free_place(m);
        if (!c)
            break;
        start_worker(m, c, false);
    }
    if (next != UINT64_MAX)
        cn_timer_set(&m->due, next > now ? next - now : 1);
}

static void distribute(cn_master_t *m)
{
    for (unsigned i = 0; i < m->crew_n; i++) {
        cn_crew_t *c = &m->crew[i];
        if (c->state == CN_CREW_RUNNING && is_current(m, c) && c->sent != m->target.id)
            send_target(m, c);
    }
}

static void announce(cn_master_t *m)
{
    m->target.announced = true;
    cn_board_set(&m->board->gen_in_force, m->target.id);
    cn_series_set(m->metrics.generation, m->target.id);
    cn_control_in_force(&m->control, m->target.id);
    cn_sockets_prune(&m->sockets, cn_main_conf(m->target.gen));
    cn_log(CN_LOG_NOTICE, "master", "configuration %llu in force in all workers",
           (unsigned long long)m->target.id);
}

/* Once enough workers have the configuration, all others go. */
static void settle(cn_master_t *m)
{
    unsigned ready = 0;

    for (unsigned i = 0; i < m->crew_n; i++)
        ready += has_target(m, &m->crew[i]);
    if (ready < m->target.workers)
        return;
    for (unsigned i = 0; i < m->crew_n; i++) {
        cn_crew_t *c = &m->crew[i];
        if (has_target(m, c) && ready > m->target.workers) {
            dismiss(m, c, true);
            ready--;
        } else if (c->state != CN_CREW_LEAVING && !c->spare && !has_target(m, c)) {
            dismiss(m, c, true);
        }
    }
    if (!m->target.announced)
        announce(m);
}

static void count(cn_master_t *m)
{
    unsigned serving = 0;

    for (unsigned i = 0; i < m->crew_n; i++)
        serving += m->crew[i].state == CN_CREW_RUNNING && !m->crew[i].spare;
    cn_series_set(m->metrics.workers, serving);
}

/* Who starts, or does not listen, when log files are to be opened anew, hears of it later. */
static void tell_reopen(cn_master_t *m)
{
    cn_channel_msg_t msg;

    cn_channel_msg_init(&msg, CN_TO_REOPEN, 0);
    for (unsigned i = 0; i < m->crew_n; i++) {
        cn_crew_t *c = &m->crew[i];
        if (c->reopens != m->reopens && c->channel >= 0 && c->state >= CN_CREW_RUNNING &&
            cn_channel_send(c->channel, &msg) == CN_OK)
            c->reopens = m->reopens;
    }
}

void cn_crew_reconcile(cn_master_t *m)
{
    count(m);
    tell_reopen(m);
    if (m->state != CN_MASTER_RUNNING || m->paused)
        return;
    drop_outdated(m);
    fill(m);
    distribute(m);
    settle(m);
    tend_spare(m);
}

void cn_crew_forgive(cn_master_t *m)
{
    for (unsigned i = 0; i < m->crew_n; i++) {
        m->crew[i].deaths = 0;
        m->crew[i].retry_ms = 0;
    }
}

/* ---- what workers say ---- */

static void on_ready(cn_master_t *m, cn_crew_t *c, uint64_t gen)
{
    if (c->state == CN_CREW_STARTING)
        c->state = CN_CREW_RUNNING;
    c->gen = gen;
    if (m->draining)
        order(m, c, CN_TO_DRAIN, 0);
    if (m->level_set)
        order(m, c, CN_TO_LEVEL, m->level);
}

static bool give(const cn_crew_t *c, cn_crew_state state, const cn_channel_msg_t *conn)
{
    return c->state == state && !c->spare && !c->going &&
           cn_channel_send(c->channel, conn) == CN_OK;
}

/* One that the board does not expect there. */
static bool give_instead(cn_master_t *m, const cn_crew_t *c, cn_crew_state state,
                         const cn_channel_msg_t *conn)
{
    cn_board_add(&m->board->v[place_of(m, c)].given, 1);
    if (give(c, state, conn))
        return true;
    cn_board_add(&m->board->v[place_of(m, c)].taken, 1);
    return false;
}

/* Those who leave are asked last. */
static void give_any(cn_master_t *m, const cn_channel_msg_t *conn)
{
    static const cn_crew_state states[] = {CN_CREW_RUNNING, CN_CREW_LEAVING};

    for (unsigned i = 0; i < CN_COUNT(states) * m->crew_n; i++) {
        if (give_instead(m, &m->crew[i % m->crew_n], states[i / m->crew_n], conn))
            return;
    }
    cn_log(CN_LOG_ERROR, "master", "a connection is lost: no worker listens");
}

/* A connection for another worker.  When that one cannot take it, who accepted
 * it does, unless it leaves meanwhile. */
static void pass_conn(cn_master_t *m, cn_crew_t *from, const cn_channel_msg_t *msg)
{
    uint64_t place = msg->number >> 16;
    cn_channel_msg_t out;

    if (msg->fd < 0 || place >= m->crew_n)
        return;
    cn_channel_msg_init(&out, CN_TO_CONN, msg->number & 0xffff);
    out.fd = msg->fd;
    if (give(&m->crew[place], CN_CREW_RUNNING, &out))
        return;
    cn_board_add(&m->board->v[place].taken, 1);
    if (!give_instead(m, from, CN_CREW_RUNNING, &out))
        give_any(m, &out);
}

/* What a worker that died has not read. */
static void rescue_conns(cn_master_t *m, const cn_crew_t *c)
{
    cn_channel_msg_t msg;

    while (c->channel >= 0 && cn_channel_recv(c->far, &msg) == CN_OK) {
        if (msg.type == CN_TO_CONN && msg.fd >= 0)
            give_any(m, &msg);
        if (msg.fd >= 0)
            close(msg.fd);
    }
}

/* What it was given before comes to it before this. */
static void let_go(cn_master_t *m, cn_crew_t *c)
{
    c->going = true;
    order(m, c, CN_TO_GO, 0);
}

static void hear(cn_master_t *m, cn_crew_t *c, const cn_channel_msg_t *msg)
{
    switch (msg->type) {
    case CN_FROM_READY:
        on_ready(m, c, msg->number);
        break;
    case CN_FROM_ACK:
        c->gen = msg->number;
        break;
    case CN_FROM_NACK:
        c->refused = msg->number;
        cn_log(CN_LOG_ERROR, "master",
               "worker %u could not take configuration %llu and is replaced: %s", place_of(m, c),
               (unsigned long long)msg->number, msg->text);
        break;
    case CN_FROM_CONN:
        pass_conn(m, c, msg);
        break;
    case CN_FROM_IDLE:
        let_go(m, c);
        break;
    case CN_FROM_ASK:
        cn_master_asked(m, (unsigned)(msg->number & 0xff), (unsigned)(msg->number >> 8 & 0xff));
        break;
    default:
        cn_log(CN_LOG_ERROR, "master", "worker %u said something unknown", place_of(m, c));
    }
}

void cn_crew_listen(cn_master_t *m)
{
    cn_channel_msg_t msg;

    for (unsigned i = 0; i < m->crew_n; i++) {
        cn_crew_t *c = &m->crew[i];
        cn_rc rc = CN_AGAIN;
        while (c->channel >= 0 && (rc = cn_channel_recv(c->channel, &msg)) == CN_OK) {
            hear(m, c, &msg);
            if (msg.fd >= 0)
                close(msg.fd);
        }
        /* Its death is told by SIGCHLD too, which brings the cause. */
        if (c->channel >= 0 && rc == CN_DONE)
            close_channel(c);
    }
}

/* ---- death ---- */

static void log_death(const cn_master_t *m, const cn_crew_t *c, const cn_proc_end_t *end)
{
    const char *when = c->state == CN_CREW_STARTING ? " before it was ready" : "";
    /* A worker dismissed while it starts may get SIGTERM before it watches for
     * signals, and ends by it. */
    bool left =
        c->state == CN_CREW_LEAVING && (end->signo ? end->signo == SIGTERM : end->status == 0);

    if (left)
        cn_log(CN_LOG_INFO, "master", "worker %u (process %ld) has left", place_of(m, c),
               (long)end->pid);
    else if (end->signo)
        cn_log(CN_LOG_ERROR, "master", "worker %u (process %ld) was killed by signal %d (%s)%s%s",
               place_of(m, c), (long)end->pid, end->signo, cn_sig_name(end->signo),
               end->core ? ", core dumped" : "", when);
    else
        cn_log(CN_LOG_ERROR, "master", "worker %u (process %ld) ended with status %d%s",
               place_of(m, c), (long)end->pid, end->status, when);
}

/* What a dead worker had open is not open any more. */
static void end_gauges(const cn_master_t *m, unsigned place)
{
    cn_stats_t *theirs;

    if (cn_stats_open(m->totals.mem, (int)(m->totals.first + place), m->metrics.defs,
                      m->metrics.ndefs, &theirs) == CN_OK)
        cn_stats_close(theirs);
}

bool cn_crew_reaped(cn_master_t *m, const cn_proc_end_t *end)
{
    cn_crew_t *c = NULL;

    for (unsigned i = 0; i < m->crew_n && !c; i++) {
        if (is_alive(&m->crew[i]) && m->crew[i].pid == end->pid)
            c = &m->crew[i];
    }
    if (!c)
        return false;
    log_death(m, c, end);
    c->going = true;
    rescue_conns(m, c);
    close_channel(c);
    cn_board_slot_t *slot = &m->board->v[place_of(m, c)];
    cn_board_set(&slot->pid, 0);
    cn_board_set(&slot->state, CN_BOARD_NONE);
    cn_board_set(&slot->tunnels, 0);
    cn_shared_worker_gone(m->shared, place_of(m, c));
    end_gauges(m, place_of(m, c));
    c->pid = 0;
    if (c->state == CN_CREW_LEAVING || m->state != CN_MASTER_RUNNING || m->paused) {
        c->state = CN_CREW_FREE;
        return true;
    }
    bool good = c->state == CN_CREW_RUNNING && cn_loop_ms(m->loop) - c->started_ms >= GOOD_LIFE_MS;
    c->deaths = good ? 1 : c->deaths + 1;
    cn_board_add(&m->board->respawns, 1);
    cn_series_add(m->metrics.deaths, 1);
    if (c->spare) {
        c->state = CN_CREW_FREE;
        c->spare = false;
        m->spare_ms = cn_loop_ms(m->loop) + SPARE_PAUSE_MS;
    } else {
        wait_for_retry(m, c);
    }
    return true;
}

/* ---- the watchdog ---- */

static void watch(cn_master_t *m, cn_crew_t *c)
{
    uint64_t limit_s = cn_main_conf(m->target.gen)->watchdog_ms / 1000;
    uint64_t beat = cn_board_get(&m->board->v[place_of(m, c)].beat);

    if (beat != c->beat) {
        c->beat = beat;
        c->still = 0;
        return;
    }
    c->still++;
    if (limit_s == 0)
        return;
    if (c->still <= (c->state == CN_CREW_STARTING ? limit_s * START_PATIENCE : limit_s))
        return;
    cn_log(CN_LOG_EMERG, "master", "worker %u (process %ld) has stood still for %u s and is killed",
           place_of(m, c), (long)c->pid, c->still);
    kill(c->pid, SIGKILL);
}

/* Counts our own ticks, not the clock, and only those of a whole second: when all
 * of us were stopped, nobody is to blame. */
void cn_crew_tick(cn_master_t *m)
{
    uint64_t lost_ms = cn_loop_lost_ms(m->loop);
    bool stopped = lost_ms != m->lost_ms;

    m->lost_ms = lost_ms;
    if (stopped)
        return;
    for (unsigned i = 0; i < m->crew_n; i++) {
        if (is_alive(&m->crew[i]))
            watch(m, &m->crew[i]);
    }
}
