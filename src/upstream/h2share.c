/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP/2 sessions to hosts, shared by the requests to them.
 *
 *   state    lists                         leaves to
 *   IN USE   shares->all, host->sessions   LEAVING (GOAWAY, idle for too long, host left), gone
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
    uint64_t end_ms; /* by the loop's clock, when it is too old; 0: never */
    uint32_t uses, max_uses;
    bool worn; /* has served as many as it may; leaves with the last of them */
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
    s->shares->worn -= s->worn;
    cn_list_remove(&s->all);
    cn_list_remove(&s->link);
    cn_admission_return(s->shares->admissions, &s->ticket);
    cn_host_unref(s->host);
    free(s);
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
    shares->n = shares->worn = 0;
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
    static const cn_h2_cbs_t cbs = {.draining = on_draining, .closed = on_closed};
    cn_h2_conf_t conf = session_conf;
    session_t *s = cn_xzalloc(sizeof(*s));

    conf.idle_ms = limits->idle_ms;
    conf.ping_ms = limits->ping_ms;
    conf.ping_timeout_ms = limits->ping_timeout_ms;
    if (limits->streams && limits->streams < conf.max_streams)
        conf.max_streams = limits->streams;
    s->max_uses = limits->requests;
    if (limits->age_ms)
        s->end_ms = cn_loop_ms(shares->loop) + limits->age_ms;
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

/* No further exchange: it ends with its last one. */
static void leave(session_t *s)
{
    cn_list_remove(&s->link);
    cn_h2_drain(s->h2);
}

/* GOAWAY must not overtake the request: it is sent behind the last one. */
static cn_exch_t *use(session_t *s, cn_task_t *owner)
{
    if (s->max_uses && ++s->uses >= s->max_uses) {
        s->worn = true;
        s->shares->worn++;
        cn_list_remove(&s->link);
    }
    return cn_h2_open(s->h2, owner);
}

void cn_h2share_tidy(cn_h2shares_t *shares)
{
    if (shares->worn == 0)
        return;
    cn_list_each (node, &shares->all) {
        session_t *s = cn_list_entry(node, session_t, all);

        if (s->worn && cn_h2_streams(s->h2) == 0)
            cn_h2_drain(s->h2);
    }
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
