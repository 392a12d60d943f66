/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared sessions and the streams opened through them.
 *
 *   session     entered by          left by
 *   CONNECTING  dial                connected, failed
 *   OPEN        connected           the session's end
 *   (leaving: OPEN or CONNECTING, but nothing new is put on it)
 *
 *   stream      entered by          left by
 *   WAITING     open, another try   its session is connected, failure, timer
 *   ASKED       CONNECT was sent    answer, failure, timer
 *   OPEN        2xx                 close
 *   FAILED      err is set          close
 *
 * A stream seen by the user wraps the one on the session and has a task of its
 * own, which the inner one wakes.  It belongs to the user until close; sessions
 * belong to the pool.
 */
#include "http/h2pool.h"

#include <stdio.h>
#include <stdlib.h>

struct cn_h2pool {
    cn_loop_t *loop;
    cn_h2_conf_t conf;
    cn_h2pool_cbs_t cbs;
    void *ctx;
    cn_task_t task; /* tells that it is idle */
    cn_list_t sessions, unready;
    uint32_t nsessions;
    bool single; /* one stream a session */
};

typedef struct {
    cn_h2pool_t *pool;
    cn_list_t link;     /* pool->sessions */
    cn_task_t task;     /* while connecting */
    cn_stream_t *lower; /* while connecting */
    cn_h2_t *h2;
    cn_list_t waiting;
    uint32_t nwaiting;
    bool leaving;
} session_t;

enum state { WAITING, ASKED, OPEN, FAILED };

typedef struct {
    cn_stream_t s;
    cn_loop_t *loop;
    cn_h2pool_t *pool; /* while WAITING or ASKED; NULL: gone */
    cn_task_t task;
    cn_timer_t timer;
    cn_list_t unready;  /* pool->unready: not OPEN or FAILED */
    cn_list_t waiting;  /* session->waiting */
    session_t *session; /* while WAITING */
    cn_stream_t *inner;
    cn_str_t authority;
    cn_msg_t extra; /* its headers go along */
    cn_pool_t *mem;
    enum state state;
    bool on_old; /* the session had served before */
    bool retried;
    bool shut;
    char text[160];
} wrap_t;

static wrap_t *wrap_of(cn_stream_t *s)
{
    return cn_container_of(s, wrap_t, s);
}

static void join(wrap_t *w, session_t *ses);
static session_t *dial(cn_h2pool_t *pool, uint64_t timeout_ms);

/* ---- streams ---- */

static void leave_session(wrap_t *w)
{
    if (w->session)
        w->session->nwaiting--;
    w->session = NULL;
    cn_list_remove(&w->waiting);
}

static void settled(wrap_t *w, enum state state)
{
    w->state = state;
    leave_session(w);
    cn_timer_stop(&w->timer);
    cn_list_remove(&w->unready);
    if (w->pool)
        cn_task_wake(&w->pool->task, CN_WAKE_STATE);
    w->pool = NULL; /* which may go first from now on */
    cn_stream_wake(&w->s, CN_WAKE_STATE | CN_WAKE_READ | CN_WAKE_WRITE);
}

static void wrap_fail(wrap_t *w, cn_serr err, const char *text)
{
    snprintf(w->text, sizeof(w->text), "%s", text ? text : "no session");
    if (cn_stream_fail(&w->s, err, w->text) == CN_ERR)
        settled(w, FAILED);
}

static void drop_inner(wrap_t *w, bool do_abort)
{
    if (!w->inner)
        return;
    cn_stream_close(w->inner, do_abort);
    w->inner = NULL;
}

/* Nothing was sent in the tunnel yet, so another try repeats nothing.  Of a peer
 * that is silent nothing better is to be expected: another one is asked sooner. */
static bool may_retry(const wrap_t *w)
{
    cn_serr err = w->inner->err;

    if (!w->pool || w->retried)
        return false;
    return err == CN_SERR_UNPROCESSED ||
           (w->on_old && (err == CN_SERR_RESET || err == CN_SERR_TLS));
}

static void retry(wrap_t *w)
{
    cn_h2pool_t *pool = w->pool;

    drop_inner(w, true);
    w->retried = true;
    w->state = WAITING;
    cn_list_each (node, &pool->sessions) {
        session_t *ses = cn_list_entry(node, session_t, link);

        if (!ses->h2 && !ses->leaving && ses->nwaiting < pool->conf.max_streams) {
            join(w, ses);
            return;
        }
    }
    join(w, dial(pool, 0));
}

static void look_at_answer(wrap_t *w)
{
    switch (cn_stream_ready(w->inner)) {
    case CN_OK:
        if (w->shut)
            cn_stream_shutdown(w->inner);
        settled(w, OPEN);
        break;
    case CN_AGAIN:
        break;
    default:
        if (may_retry(w)) {
            retry(w);
        } else {
            cn_serr err = w->inner->err;
            const char *text = w->inner->err_text;

            wrap_fail(w, err, text);
            drop_inner(w, true);
        }
    }
}

static void on_wrap(cn_task_t *task, uint32_t why)
{
    wrap_t *w = cn_container_of(task, wrap_t, task);

    if (w->state == OPEN) {
        cn_stream_wake(&w->s, why & ~(uint32_t)CN_WAKE_TIMER);
        return;
    }
    if (w->state == ASKED)
        look_at_answer(w);
    if ((w->state == WAITING || w->state == ASKED) && (why & CN_WAKE_TIMER)) {
        wrap_fail(w, CN_SERR_TIMEOUT, "the tunnel was not open in time");
        drop_inner(w, true);
    }
}

/* Sends the CONNECT on a connected session. */
static void ask(wrap_t *w, session_t *ses)
{
    cn_exch_t *x = cn_h2_open(ses->h2, NULL);
    cn_msg_t head;

    leave_session(w);
    if (!x) {
        wrap_fail(w, CN_SERR_UNPROCESSED, "no room on a new session");
        return;
    }
    cn_msg_init(&head, w->mem);
    head.method = CN_STR("CONNECT");
    head.authority = w->authority;
    head.headers = w->extra.headers;
    if (ses->pool->cbs.asking)
        ses->pool->cbs.asking(ses->pool->ctx, &head, cn_stream_peer(x->ops->stream(x)));
    w->on_old = x->reused;
    w->state = ASKED;
    /* A failure shows in the stream as well. */
    if (x->ops->send_head(x, &head, false) != CN_OK)
        cn_task_wake(&w->task, CN_WAKE_STATE);
    w->inner = cn_h2_stream(x, &w->task);
}

static void join(wrap_t *w, session_t *ses)
{
    if (ses->h2) {
        ask(w, ses);
        return;
    }
    w->session = ses;
    ses->nwaiting++;
    cn_list_push(&ses->waiting, &w->waiting);
}

/* ---- stream operations ---- */

static cn_rc pass(wrap_t *w, cn_rc rc)
{
    w->s.err = w->inner->err;
    w->s.err_text = w->inner->err_text;
    w->s.had_enough = w->inner->had_enough;
    w->s.rx = w->inner->rx;
    w->s.tx = w->inner->tx;
    return rc;
}

static cn_rc wrap_ready(cn_stream_t *s)
{
    wrap_t *w = wrap_of(s);

    if (w->state == OPEN)
        return pass(w, cn_stream_ready(w->inner));
    return w->state == FAILED ? CN_ERR : CN_AGAIN;
}

static cn_rc wrap_read(cn_stream_t *s, cn_chain_t *dst, size_t max)
{
    wrap_t *w = wrap_of(s);

    if (w->state != OPEN)
        return wrap_ready(s);
    return pass(w, cn_stream_read(w->inner, dst, max));
}

static cn_rc wrap_write(cn_stream_t *s, cn_chain_t *src)
{
    wrap_t *w = wrap_of(s);

    if (w->state != OPEN)
        return wrap_ready(s);
    return pass(w, cn_stream_write(w->inner, src));
}

static void wrap_shutdown(cn_stream_t *s)
{
    wrap_t *w = wrap_of(s);

    w->shut = true;
    if (w->state == OPEN)
        cn_stream_shutdown(w->inner);
}

static void free_wrap(void *p)
{
    wrap_t *w = p;

    cn_pool_destroy(w->mem);
    free(w);
}

static void wrap_close(cn_stream_t *s, bool do_abort)
{
    wrap_t *w = wrap_of(s);

    w->s.owner = NULL;
    drop_inner(w, do_abort || w->state != OPEN);
    settled(w, FAILED);
    cn_task_fini(&w->task);
    cn_loop_retire(w->loop, free_wrap, w);
}

static const cn_peer_t *wrap_peer(cn_stream_t *s)
{
    static const cn_peer_t nobody;
    wrap_t *w = wrap_of(s);

    return w->inner ? cn_stream_peer(w->inner) : &nobody;
}

static const cn_stream_ops_t wrap_ops = {
    .ready = wrap_ready,
    .read = wrap_read,
    .write = wrap_write,
    .shutdown = wrap_shutdown,
    .close = wrap_close,
    .peer = wrap_peer,
};

/* ---- sessions ---- */

static void free_session(session_t *ses)
{
    cn_h2pool_t *pool = ses->pool;

    cn_list_remove(&ses->link);
    pool->nsessions--;
    cn_task_fini(&ses->task);
    cn_task_wake(&pool->task, CN_WAKE_STATE);
    cn_loop_retire(pool->loop, free, ses);
}

static void on_draining(void *ctx)
{
    ((session_t *)ctx)->leaving = true;
}

static void on_closed(void *ctx)
{
    session_t *ses = ctx;
    cn_h2pool_t *pool = ses->pool;

    free_session(ses);
    if (pool->cbs.closed)
        pool->cbs.closed(pool->ctx);
}

/* The one stream has gone. */
static void on_capacity(void *ctx)
{
    session_t *ses = ctx;

    if (ses->pool->single && cn_h2_streams(ses->h2) == 0)
        cn_h2_drain(ses->h2);
}

static void fail_waiting(session_t *ses, cn_serr err, const char *text)
{
    cn_list_each (node, &ses->waiting)
        wrap_fail(cn_list_entry(node, wrap_t, waiting), err, text);
}

static void dial_failed(session_t *ses)
{
    cn_h2pool_t *pool = ses->pool;
    cn_stream_t *lower = ses->lower;
    cn_serr err = lower ? lower->err : CN_SERR_LOCAL;
    const char *text = lower ? lower->err_text : "cannot connect now";

    if (pool->cbs.failed)
        pool->cbs.failed(pool->ctx, err, text);
    fail_waiting(ses, err, text);
    if (lower)
        cn_stream_close(lower, false);
    free_session(ses);
}

static session_t *choose(cn_h2pool_t *pool, uint64_t timeout_ms)
{
    cn_list_each (node, &pool->sessions) {
        session_t *ses = cn_list_entry(node, session_t, link);

        if (ses->leaving)
            continue;
        if (ses->h2 ? cn_h2_capacity(ses->h2) > 0 : ses->nwaiting < pool->conf.max_streams)
            return ses;
    }
    return dial(pool, timeout_ms);
}

static void dial_done(session_t *ses)
{
    static const cn_h2_cbs_t cbs = {
        .draining = on_draining, .closed = on_closed, .capacity = on_capacity};
    cn_h2pool_t *pool = ses->pool;

    ses->h2 = cn_h2_client_create(pool->loop, ses->lower, &pool->conf, &cbs, ses);
    ses->lower = NULL;
    if (pool->cbs.connected)
        pool->cbs.connected(pool->ctx);
    cn_list_each (node, &ses->waiting)
        ask(cn_list_entry(node, wrap_t, waiting), ses);
    if (ses->leaving && (!pool->single || cn_h2_streams(ses->h2) == 0))
        cn_h2_drain(ses->h2);
}

static void on_session(cn_task_t *task, uint32_t why CN_UNUSED)
{
    session_t *ses = cn_container_of(task, session_t, task);
    cn_rc rc;

    if (ses->h2)
        return;
    rc = ses->lower ? cn_stream_ready(ses->lower) : CN_ERR;
    if (rc == CN_ERR)
        dial_failed(ses);
    else if (rc == CN_OK)
        dial_done(ses);
}

static session_t *dial(cn_h2pool_t *pool, uint64_t timeout_ms)
{
    session_t *ses = cn_xzalloc(sizeof(*ses));

    ses->pool = pool;
    ses->leaving = pool->single;
    cn_list_init(&ses->waiting);
    cn_list_push_front(&pool->sessions, &ses->link);
    pool->nsessions++;
    cn_task_init(&ses->task, pool->loop, on_session);
    ses->lower = pool->cbs.dial(pool->ctx, timeout_ms, &ses->task);
    cn_task_wake(&ses->task, CN_WAKE_STATE);
    return ses;
}

/* ---- the pool ---- */

static void on_pool(cn_task_t *task, uint32_t why CN_UNUSED)
{
    cn_h2pool_t *pool = cn_container_of(task, cn_h2pool_t, task);

    if (cn_list_empty(&pool->sessions) && cn_list_empty(&pool->unready) && pool->cbs.idle)
        pool->cbs.idle(pool->ctx);
}

cn_h2pool_t *cn_h2pool_create(cn_loop_t *loop, const cn_h2_conf_t *conf, const cn_h2pool_cbs_t *cbs,
                              void *ctx)
{
    cn_h2pool_t *pool = cn_xzalloc(sizeof(*pool));

    pool->loop = loop;
    pool->conf = *conf;
    pool->cbs = *cbs;
    pool->ctx = ctx;
    cn_list_init(&pool->sessions);
    cn_list_init(&pool->unready);
    cn_task_init(&pool->task, loop, on_pool);
    return pool;
}

void cn_h2pool_set_single(cn_h2pool_t *pool)
{
    pool->single = true;
}

static void keep_headers(wrap_t *w, const cn_headers_t *headers)
{
    cn_msg_init(&w->extra, w->mem);
    for (uint32_t i = 0; headers && i < headers->n; i++)
        cn_msg_add(&w->extra, &w->extra.headers, cn_pool_dup(w->mem, headers->v[i].name),
                   cn_pool_dup(w->mem, headers->v[i].value));
}

cn_stream_t *cn_h2pool_open(cn_h2pool_t *pool, cn_str_t authority, const cn_headers_t *headers,
                            uint64_t timeout_ms, cn_task_t *owner)
{
    wrap_t *w = cn_xzalloc(sizeof(*w));

    w->s.ops = &wrap_ops;
    w->s.owner = owner;
    w->loop = pool->loop;
    w->pool = pool;
    w->mem = cn_pool_create(256);
    w->authority = cn_pool_dup(w->mem, authority);
    keep_headers(w, headers);
    cn_list_init(&w->waiting);
    cn_list_push(&pool->unready, &w->unready);
    cn_task_init(&w->task, pool->loop, on_wrap);
    cn_timer_init(&w->timer, &w->task, CN_WAKE_TIMER);
    if (timeout_ms)
        cn_timer_set(&w->timer, timeout_ms);
    join(w, choose(pool, timeout_ms));
    return &w->s;
}

void cn_h2pool_retire(cn_h2pool_t *pool)
{
    cn_list_each (node, &pool->sessions) {
        session_t *ses = cn_list_entry(node, session_t, link);

        ses->leaving = true;
        if (ses->h2)
            cn_h2_drain(ses->h2);
    }
}

void cn_h2pool_destroy(cn_h2pool_t *pool)
{
    cn_list_each (node, &pool->unready) {
        wrap_t *w = cn_list_entry(node, wrap_t, unready);

        w->pool = NULL;
        if (w->state == WAITING)
            wrap_fail(w, CN_SERR_LOCAL, "shutting down");
        else
            cn_list_remove(&w->unready);
    }
    cn_list_each (node, &pool->sessions) {
        session_t *ses = cn_list_entry(node, session_t, link);

        if (ses->h2)
            cn_h2_destroy(ses->h2);
        else if (ses->lower)
            cn_stream_close(ses->lower, true);
        free_session(ses);
    }
    cn_task_fini(&pool->task);
    cn_loop_retire(pool->loop, free, pool);
}

uint32_t cn_h2pool_sessions(const cn_h2pool_t *pool)
{
    return pool->nsessions;
}
