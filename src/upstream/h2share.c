/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 sessions to hosts, shared by the requests to them.
 *
 *   state    lists                         leaves to
 *   IN USE   shares->all, host->sessions   LEAVING (GOAWAY, idle for too long, host left, has
 *                                          served enough or for long enough), gone
 *   LEAVING  shares->all                   gone, with its last stream
 *
 * A session holds a reference of its host and belongs to itself: it goes when
 * HTTP/2 says closed.  Whoever has an exchange on it holds that, not the
 * session.
 */
#include "upstream/h2share.h"

#include <stdlib.h>

typedef struct {
    cn_h2shares_t *shares;
    cn_list_t all;  /* shares->all */
    cn_list_t link; /* host->sessions while it takes exchanges */
    cn_host_t *host;
    cn_h2_t *h2;
    cn_h2share_key_t key;
    cn_ticket_t ticket;
    cn_task_t task;
    cn_timer_t age;
    uint64_t end_ms; /* by the loop's clock, when it is too old; 0: never */
    uint32_t uses, max_uses;
    bool worn; /* takes none any more; leaves with the last that it has */
} session_t;

/* The connection's window is that of all its streams together: they belong to
 * different clients, and none that reads slowly may hold up another's response. */
#define STREAMS 100u
#define STREAM_WINDOW (256u * 1024)

static const cn_h2_conf_t session_conf = {
    .max_streams = STREAMS,
    .stream_window = STREAM_WINDOW,
    .conn_window = STREAMS * STREAM_WINDOW,
    .max_frame = 16384,
    .max_header_list = 60 * 1024,
    .max_headers = 100,
    .send_buffer = 64 * 1024,
};

static void session_free(session_t *s)
{
    s->shares->n--;
    cn_list_remove(&s->all);
    cn_list_remove(&s->link);
    cn_admission_return(s->shares->admissions, &s->ticket);
    cn_host_unref(s->host);
    cn_timer_stop(&s->age);
    cn_task_fini(&s->task);
    cn_loop_retire(s->shares->loop, free, s);
}

/* GOAWAY must not overtake a request: it is sent behind the last answer. */
static void end_if_unused(session_t *s)
{
    if (s->worn && cn_h2_streams(s->h2) == 0)
        cn_h2_drain(s->h2);
}

/* No further exchange: it ends with its last one. */
static void leave(session_t *s)
{
    s->worn = true;
    cn_list_remove(&s->link);
    end_if_unused(s);
}

static void on_age(cn_task_t *task, uint32_t why CN_UNUSED)
{
    leave(cn_container_of(task, session_t, task));
}

/* Each free place may serve one who waits. */
static void offer(session_t *s)
{
    cn_admissions_t *all = s->shares->admissions;
    uint32_t room = cn_list_empty(&s->link) ? 0 : cn_h2_capacity(s->h2);

    if (!all || !s->ticket.cluster || cn_list_empty(&all->waiting))
        return;
    while (room--)
        cn_admission_wake(all, s->ticket.cluster);
}

static void on_capacity(void *ctx)
{
    session_t *s = ctx;

    end_if_unused(s);
    offer(s);
}

static void on_draining(void *ctx)
{
    session_t *s = ctx;

    cn_list_remove(&s->link);
}

static void on_closed(void *ctx)
{
    session_free(ctx);
}

void cn_h2share_all_init(cn_h2shares_t *shares, cn_loop_t *loop)
{
    shares->loop = loop;
    shares->n = 0;
    shares->admissions = NULL;
    cn_list_init(&shares->all);
}

void cn_h2share_all_fini(cn_h2shares_t *shares)
{
    cn_list_each (node, &shares->all) {
        session_t *s = cn_list_entry(node, session_t, all);

        cn_h2_destroy(s->h2);
        session_free(s);
    }
}

void cn_h2share_create(cn_h2shares_t *shares, cn_host_t *host, const cn_h2share_key_t *key,
                       cn_stream_t *stream, cn_ticket_t *ticket, const cn_h2share_limits_t *limits)
{
    static const cn_h2_cbs_t cbs = {
        .draining = on_draining, .closed = on_closed, .capacity = on_capacity};
    cn_h2_conf_t conf = session_conf;
    session_t *s = cn_xzalloc(sizeof(*s));

    conf.idle_ms = limits->idle_ms;
    conf.ping_ms = limits->ping_ms;
    conf.ping_timeout_ms = limits->ping_timeout_ms;
    if (limits->streams && limits->streams < conf.max_streams)
        conf.max_streams = limits->streams;
    s->max_uses = limits->requests;
    cn_task_init(&s->task, shares->loop, on_age);
    cn_timer_init(&s->age, &s->task, CN_WAKE_TIMER);
    if (limits->age_ms) {
        s->end_ms = cn_loop_ms(shares->loop) + limits->age_ms;
        cn_timer_set(&s->age, limits->age_ms);
    }
    s->shares = shares;
    s->key = *key;
    s->ticket = *ticket;
    *ticket = (cn_ticket_t){0};
    s->host = cn_host_ref(host);
    shares->n++;
    cn_list_push(&shares->all, &s->all);
    cn_list_push(&host->sessions, &s->link);
    s->h2 = cn_h2_client_create(shares->loop, stream, &conf, &cbs, s);
}

static cn_exch_t *use(session_t *s, cn_task_t *owner)
{
    if (s->max_uses && ++s->uses >= s->max_uses) {
        s->worn = true;
        cn_list_remove(&s->link);
    }
    return cn_h2_open(s->h2, owner);
}

cn_exch_t *cn_h2share_open(cn_host_t *host, const cn_h2share_key_t *key, cn_task_t *owner)
{
    cn_list_each (node, &host->sessions) {
        session_t *s = cn_list_entry(node, session_t, link);

        if (s->key.port != key->port || s->key.mark != key->mark)
            continue;
        if (s->end_ms && cn_loop_ms(s->shares->loop) >= s->end_ms)
            leave(s);
        else if (cn_h2_capacity(s->h2))
            return use(s, owner);
    }
    return NULL;
}

void cn_h2share_retire(cn_host_t *host)
{
    cn_list_each (node, &host->sessions) {
        leave(cn_list_entry(node, session_t, link));
    }
}
