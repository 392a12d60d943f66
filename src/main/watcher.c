/* SPDX-License-Identifier: Apache-2.0
 *
 * The watcher's process and the master's end of it.  What counts is what it
 * sees when it looks (conf/look.h); inotify only makes it look sooner, so links
 * that are swapped, other machines' writes and lost events cost a moment, not
 * the change.  Looking takes at most a fiftieth of its time, or a twentieth
 * while something happens in the folders.
 *
 * A change is told when it has settled, and then counts as known: it is not
 * told again until the files change again.  While cairn-gen's mark is there
 * nothing is told.
 */
#include "main/watcher.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "conf/look.h"
#include "conf/settle.h"
#include "core/clock.h"
#include "os/channel.h"
#include "os/priv.h"
#include "os/sig.h"
#include "os/watch.h"

#define FOLDERS_MAX 64u
/* From one look to the next, when nothing hints at a change: that many times
 * what a look takes, between these two. */
#define REST_TIMES 50u
#define REST_MIN_MS 1000u
#define REST_MAX_MS 10000u
#define HINT_TIMES 20u
#define HINT_MIN_MS 20u
/* For cairn-gen; longer is worth a line in the log. */
#define UNFINISHED_MS 3000u

enum { TOLD_WHOLE = 1, TOLD_PART };

typedef struct {
    int channel;
    cn_look_t *look;
    cn_watch_t *watch; /* NULL: there is none */
    bool arm;          /* the folders may be others */
    bool hint;         /* something happened in one */
    cn_settle_t settle;
    uint64_t looked_ms, took_ms; /* the last look: its end, and how long it was */
    uint64_t unfinished_ms;      /* the change is held back since; 0: it is not */
    bool complained;
    bool no_hints; /* that has been told */
} watcher_t;

static uint64_t now_ms(void)
{
    return cn_clock_mono_ns() / 1000000;
}

/* ---- hints ---- */

static void arm_folder(void *ctx, cn_str_t folder)
{
    watcher_t *w = ctx;

    /* One that cannot be watched is looked at. */
    if (cn_watch_hint(w->watch, folder) != CN_OK)
        return;
}

static void on_hint(void *ctx, cn_str_t folder CN_UNUSED, cn_str_t name CN_UNUSED)
{
    watcher_t *w = ctx;

    w->hint = true;
}

static void take_hints(watcher_t *w)
{
    if (cn_watch_take(w->watch, on_hint, w) != CN_OK)
        w->hint = w->arm = true;
}

/* ---- telling ---- */

/* CN_AGAIN: the master is busy. */
static cn_rc tell(const watcher_t *w, cn_watcher_kind kind, uint64_t number, cn_str_t text)
{
    cn_channel_msg_t msg;

    cn_channel_msg_init(&msg, (uint32_t)kind, number);
    cn_channel_msg_text(&msg, text);
    cn_rc rc = cn_channel_send(w->channel, &msg);
    if (rc == CN_ERR)
        _exit(0);
    return rc;
}

static void arm(watcher_t *w)
{
    w->arm = false;
    cn_watch_destroy(w->watch);
    w->watch = cn_watch_create();
    if (w->watch)
        cn_look_folders(w->look, FOLDERS_MAX, arm_folder, w);
    else if (!w->no_hints)
        w->no_hints = tell(w, CN_WATCHER_NO_HINTS, (uint64_t)errno, CN_STR_NULL) == CN_OK;
}

/* The folder is between two configurations: it is tried again soon. */
static void hold_back(watcher_t *w, uint64_t now)
{
    cn_settle_wait(&w->settle, now + w->settle.quiet_ms);
    if (w->unfinished_ms == 0)
        w->unfinished_ms = now;
    if (!w->complained && now - w->unfinished_ms >= UNFINISHED_MS)
        w->complained = tell(w, CN_WATCHER_UNFINISHED, 0, CN_STR_NULL) == CN_OK;
}

static void tell_change(watcher_t *w, uint64_t now)
{
    cn_look_news_t news = cn_look_news(w->look);

    if (news.n > 0 && cn_look_unfinished(w->look)) {
        hold_back(w, now);
        return;
    }
    w->unfinished_ms = 0;
    w->complained = false;
    if (news.n == 0)
        cn_settle_close(&w->settle);
    else if (!cn_settle_tell(&w->settle, news.what, now))
        return;
    else if (tell(w, CN_WATCHER_CHANGED, news.n, news.first) == CN_OK)
        cn_look_accept(w->look);
    else
        cn_settle_moved(&w->settle, now);
}

/* ---- the loop ---- */

static uint64_t between(uint64_t v, uint64_t min, uint64_t max)
{
    return v < min ? min : v > max ? max : v;
}

static uint64_t next_look(const watcher_t *w)
{
    uint64_t rest = between(w->took_ms * REST_TIMES, REST_MIN_MS, REST_MAX_MS);
    uint64_t sooner = between(w->took_ms * HINT_TIMES, HINT_MIN_MS, REST_MIN_MS);
    uint64_t at = w->looked_ms + (w->hint ? sooner : rest), settled = cn_settle_at(&w->settle);

    return at < settled ? at : settled;
}

static void look(watcher_t *w)
{
    uint64_t begun = now_ms();

    if (w->arm)
        arm(w);
    w->hint = false;
    bool moved = cn_look_around(w->look);
    w->looked_ms = now_ms();
    w->took_ms = w->looked_ms - begun;
    /* As of before: what came later is seen by the next look. */
    if (moved)
        cn_settle_moved(&w->settle, begun);
    if (cn_settle_is_over(&w->settle, begun))
        tell_change(w, w->looked_ms);
}

static void hear(watcher_t *w, cn_channel_msg_t *msg)
{
    cn_rc rc;

    while ((rc = cn_channel_recv(w->channel, msg)) == CN_OK) {
        if (cn_look_take(w->look, msg->fd, msg->type == TOLD_PART) != CN_OK)
            _exit(1);
        close(msg->fd);
        /* What moved until now is in it, or is seen to differ. */
        w->arm = w->hint = true;
    }
    if (rc != CN_AGAIN)
        _exit(0);
}

/* Hints are not taken while there are some already. */
static void wait(const watcher_t *w)
{
    struct pollfd p[] = {
        {.fd = w->channel, .events = POLLIN},
        {.fd = w->watch && !w->hint ? cn_watch_fd(w->watch) : -1, .events = POLLIN}};
    uint64_t now = now_ms(), at = next_look(w);

    (void)poll(p, CN_COUNT(p), at > now ? (int)(at - now) : 0);
}

static CN_NORETURN void run(const cn_proc_title_t *title, int channel, uint64_t settle_ms)
{
    watcher_t *w = cn_xzalloc(sizeof(*w));
    cn_channel_msg_t *msg = cn_xmalloc(sizeof(*msg));

    cn_sig_reset();
    cn_sig_ignore_pipe();
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    cn_proc_close_others(&channel, 1);
    cn_proc_title_set(title, "watcher process");
    if (cn_priv_confine(0, 0) != CN_OK)
        _exit(1);
    w->channel = channel;
    w->look = cn_look_create();
    cn_settle_init(&w->settle, settle_ms);
    for (;;) {
        hear(w, msg);
        if (w->watch && !w->hint)
            take_hints(w);
        if (now_ms() >= next_look(w))
            look(w);
        wait(w);
    }
}

/* ---- in the master ---- */

cn_rc cn_watcher_start(cn_watcher_t *w, const cn_proc_title_t *title, uint64_t settle_ms)
{
    if (cn_channel_fork(&w->pid, &w->channel, NULL) != CN_OK)
        return CN_ERR;
    if (w->pid == 0)
        run(title, w->channel, settle_ms);
    w->settle_ms = settle_ms;
    return CN_OK;
}

cn_rc cn_watcher_tell(const cn_watcher_t *w, int bundle, bool part)
{
    cn_channel_msg_t msg;

    cn_channel_msg_init(&msg, part ? TOLD_PART : TOLD_WHOLE, 0);
    msg.fd = bundle;
    return cn_channel_send(w->channel, &msg) == CN_OK ? CN_OK : CN_ERR;
}

cn_rc cn_watcher_heard(const cn_watcher_t *w, cn_pool_t *pool, cn_watcher_news_t *news)
{
    cn_channel_msg_t *m = cn_pool_alloc(pool, sizeof(*m));
    cn_rc rc = cn_channel_recv(w->channel, m);

    if (rc != CN_OK)
        return rc == CN_AGAIN ? CN_AGAIN : CN_ERR;
    *news = (cn_watcher_news_t){(cn_watcher_kind)m->type, (unsigned)m->number,
                                cn_pool_dup(pool, cn_str_make(m->text, m->len))};
    return CN_OK;
}

void cn_watcher_end(cn_watcher_t *w)
{
    if (w->pid == 0)
        return;
    kill(w->pid, SIGKILL);
    close(w->channel);
    *w = (cn_watcher_t){.channel = -1};
}
