/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP/2 session over a stream: reading, feeding nghttp2, sending, keeping
 * alive, draining and ending.
 *
 *   phase     entered by                            left by
 *   open      creation                              draining, failure, end
 *   draining  cn_h2_drain, idle timer, GOAWAY       last stream ended
 *   lingers   orderly end of a server               the client's end, timer
 *   ended     failure, orderly end, cn_h2_destroy   last held stream given back
 *
 * All work is done in the task's run(): it reads what is there, wakes the
 * streams' users and sends.  When it has read something, sending is left to
 * its next turn, behind the users that it woke: what they answer goes out in
 * the same write.
 *
 * The session belongs to its creator until closed() or cn_h2_destroy(); its
 * memory stays until the last held stream is given back.  It owns the lower
 * stream.
 */
#include "http/h2mux.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "http/h2_int.h"

#define READ_BUDGET 262144u /* per run, for fairness */
#define READ_PART 65536u
#define DRAIN_STEP_MS 1000u /* between the two GOAWAYs when the peer answers no PING */
#define LINGER_MS 30000u    /* for delivering what a user left behind */

/* Above our own limit of streams, at which one is refused alone, nghttp2 ends
 * the session: room for refused ones whose RST_STREAM is still to be sent. */
#define STREAMS_SLACK 1000u

enum {
    WHY_PING = CN_WAKE_USER,
    WHY_IDLE = CN_WAKE_USER << 1,
    WHY_STEP = CN_WAKE_USER << 2,
    WHY_WORK = CN_WAKE_USER << 3,
    WHY_HEAD = CN_WAKE_USER << 4
};

const cn_h2_conf_t cn_h2_conf_hbone = {
    .max_streams = 100,
    .stream_window = 512 * 1024,
    .conn_window = 16 * 1024 * 1024,
    .max_frame = 16384,
    .max_header_list = 60 * 1024,
    .max_headers = 100,
    .send_buffer = 64 * 1024,
    .ping_ms = 10000,
    .ping_timeout_ms = 20000,
    /* as a stock waypoint does: extended CONNECT is then a request, and answered (404) */
    .connect_protocol = true,
};

void cn_h2_wake(cn_h2_t *h)
{
    /* run() sends before it returns. */
    if (!h->ended && !h->running)
        cn_task_wake(&h->task, WHY_WORK);
}

/* ---- memory ---- */

static void free_session(void *p)
{
    cn_h2_t *h = p;

    cn_pool_destroy(h->pool);
    free(h);
}

void cn_h2_ref(cn_h2_t *h)
{
    h->refs++;
}

void cn_h2_unref(cn_h2_t *h)
{
    if (--h->refs == 0)
        cn_loop_retire(h->loop, free_session, h);
}

/* ---- the end ---- */

void cn_h2_set_error(cn_h2_t *h, cn_serr err, const char *text)
{
    if (h->err != CN_SERR_NONE)
        return;
    h->err = err;
    snprintf(h->err_text, sizeof(h->err_text), "%s", text ? text : "");
}

static void tell_draining(cn_h2_t *h)
{
    h->draining = true;
    if (h->told)
        return;
    h->told = true;
    if (h->cbs.draining)
        h->cbs.draining(h->ctx);
}

/* Everything but the owner's reference.  The lower stream still delivers what
 * it was given unless the end is a failure of its own. */
static void finish(cn_h2_t *h, bool do_abort)
{
    h->ended = true;
    h->unsent = h->lower->tx == 0;
    cn_list_each (node, &h->streams)
        cn_h2_stream_closed(cn_list_entry(node, cn_h2_stream_t, link), NGHTTP2_NO_ERROR);
    nghttp2_session_del(h->ng);
    h->ng = NULL;
    cn_timer_stop(&h->ping);
    cn_timer_stop(&h->idle);
    cn_timer_stop(&h->step);
    cn_timer_stop(&h->head);
    cn_task_fini(&h->task);
    cn_chain_clear(&h->in);
    cn_chain_clear(&h->out);
    h->lower->owner = NULL;
    cn_stream_close(h->lower, do_abort);
    h->lower = NULL;
}

static void end(cn_h2_t *h, bool do_abort)
{
    void (*closed)(void *) = h->cbs.closed;
    void *ctx = h->ctx;
    bool tell = !h->doomed;

    finish(h, do_abort);
    if (tell)
        tell_draining(h);
    if (tell && closed)
        closed(ctx);
    cn_h2_unref(h);
}

/* ---- run: receiving ---- */

/* False: nghttp2 gives the session up without a GOAWAY. */
static bool feed(cn_h2_t *h)
{
    while (h->in.n > 0) {
        h->feeding = *cn_chain_at(&h->in, 0);
        ssize_t n = nghttp2_session_mem_recv(
            h->ng, (const uint8_t *)h->feeding.chunk->data + h->feeding.off, h->feeding.len);
        if (n < 0) {
            cn_h2_set_error(h, CN_SERR_PROTOCOL, nghttp2_strerror((int)n));
            return false;
        }
        cn_chain_skip(&h->in, h->feeding.len);
    }
    return true;
}

/* True: something was read. */
static bool receive(cn_h2_t *h)
{
    size_t total = 0;

    while (h->readable && total < READ_BUDGET) {
        cn_rc rc = cn_stream_read(h->lower, &h->in, READ_PART);

        total += h->in.bytes;
        if (rc == CN_AGAIN) {
            h->readable = false;
        } else if (rc != CN_OK) {
            h->readable = false;
            h->lower_ended = true;
            if (rc == CN_ERR)
                cn_h2_set_error(h, h->lower->err, h->lower->err_text);
        } else if (h->lingers) {
            cn_chain_clear(&h->in);
        } else if (!feed(h)) {
            h->readable = false;
            h->lower_ended = true;
        }
    }
    if (h->readable)
        cn_task_wake(&h->task, CN_WAKE_SELF);
    if (h->tx_failed && !h->readable) {
        cn_h2_set_error(h, h->lower->err, h->lower->err_text);
        h->lower_ended = true;
    }
    return total > 0;
}

static void hand_out(cn_h2_t *h)
{
    while (!cn_list_empty(&h->arrived) && !h->doomed) {
        cn_h2_stream_t *st = cn_list_entry(h->arrived.next, cn_h2_stream_t, arrived);

        cn_list_remove(&st->arrived);
        cn_h2_stream_hold(st);
        h->cbs.request(h->ctx, &st->x);
    }
}

static void tell(cn_h2_t *h)
{
    if (h->draining && !h->told)
        tell_draining(h);
    if (h->room && !h->doomed) {
        h->room = false;
        if (h->cbs.capacity)
            h->cbs.capacity(h->ctx);
    }
}

/* ---- run: sending ---- */

/* Frames as far as there is room; false when there are no more. */
static bool make_frames(cn_h2_t *h)
{
    while (h->out.bytes < CN_H2_OUT_MAX) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->ng, &p);

        if (n < 0) {
            cn_h2_set_error(h, CN_SERR_PROTOCOL, nghttp2_strerror((int)n));
            h->lower_ended = true;
        }
        if (n <= 0)
            return h->out.bytes >= CN_H2_OUT_MAX;
        cn_chain_copy(&h->out, p, (size_t)n);
    }
    return true;
}

static void transmit(cn_h2_t *h)
{
    bool more = true;

    while (more && !h->blocked && !h->lower_ended) {
        more = make_frames(h);
        if (h->out.bytes == 0)
            return;
        switch (cn_stream_write(h->lower, &h->out)) {
        case CN_OK:
            break;
        case CN_AGAIN:
            h->blocked = true;
            break;
        default:
            /* What the peer said before it closed may still be there: why. */
            h->tx_failed = h->blocked = h->readable = true;
            cn_task_wake(&h->task, CN_WAKE_SELF);
        }
    }
}

/* ---- run: timers ---- */

static void on_ping_timer(cn_h2_t *h)
{
    if (!h->pinging) {
        h->pinging = true;
        h->rx_at_ping = h->lower->rx;
        nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, cn_h2_ping_alive);
        cn_timer_set(&h->ping, h->conf.ping_timeout_ms);
    } else if (h->lower->rx != h->rx_at_ping) {
        /* Not dead, only slow: the answer waits behind other bytes. */
        h->rx_at_ping = h->lower->rx;
        cn_timer_set(&h->ping, h->conf.ping_timeout_ms);
    } else {
        cn_h2_set_error(h, CN_SERR_TIMEOUT, "no answer to PING");
        h->lower_ended = true;
    }
}

/* Resets what its user left behind and the peer does not take. */
static void sweep(cn_h2_t *h)
{
    uint64_t now = cn_loop_ms(h->loop);
    bool left = false;

    cn_list_each (node, &h->streams) {
        cn_h2_stream_t *st = cn_list_entry(node, cn_h2_stream_t, link);

        if (st->held || !cn_list_empty(&st->arrived))
            continue;
        if (now - st->given_back_ms >= LINGER_MS)
            cn_h2_stream_reset(st, NGHTTP2_CANCEL);
        else
            left = true;
    }
    if (left)
        cn_timer_set(&h->step, LINGER_MS);
}

/* A frame of any kind that is begun and not ended stands before all others, but
 * only a field section is waited for by nobody else. */
static void watch_head(cn_h2_t *h)
{
    if (!h->in_head || h->lingers)
        cn_timer_stop(&h->head);
    else if (h->conf.head_ms && !cn_timer_is_set(&h->head))
        cn_timer_set(&h->head, h->conf.head_ms);
}

static void on_head_timer(cn_h2_t *h)
{
    if (!h->in_head || cn_timer_is_set(&h->head))
        return;
    cn_log(CN_LOG_INFO, "h2", "closing a session: the rest of a field section does not come");
    cn_h2_set_error(h, CN_SERR_TIMEOUT, "the rest of a field section does not come");
    nghttp2_session_terminate_session(h->ng, NGHTTP2_ENHANCE_YOUR_CALM);
}

static bool had_requests(const cn_h2_t *h)
{
    return nghttp2_session_get_last_proc_stream_id(h->ng) > 0;
}

static void on_timers(cn_h2_t *h, uint32_t why)
{
    if (why & WHY_HEAD)
        on_head_timer(h);
    if (why & WHY_PING)
        on_ping_timer(h);
    if ((why & WHY_IDLE) && h->nstreams == 0)
        cn_h2_drain(h);
    if (why & WHY_STEP) {
        if (h->lingers)
            h->lower_ended = true;
        if (h->drain_late)
            cn_h2_drain(h);
        else if (h->draining && h->server)
            cn_h2_say_last(h);
        sweep(h);
    }
}

/* ---- run ---- */

static void say_goodbye(cn_h2_t *h)
{
    if (h->lingers)
        return;
    cn_h2_set_error(h, CN_SERR_RESET, "the HTTP/2 session was shut down");
    nghttp2_session_terminate_session(h->ng, NGHTTP2_NO_ERROR);
    transmit(h);
}

/* Nothing is left to say. */
static void end_in_order(cn_h2_t *h)
{
    if (!h->conf.linger_ms || h->nstreams) {
        end(h, false);
        return;
    }
    h->lingers = true;
    tell_draining(h);
    cn_timer_stop(&h->ping);
    cn_timer_stop(&h->idle);
    cn_timer_stop(&h->head);
    cn_timer_set(&h->step, h->conf.linger_ms);
    cn_stream_shutdown(h->lower);
}

/* Ends the session if nothing is left to do in it. */
static void settle(cn_h2_t *h)
{
    bool silent;

    if (h->doomed) {
        say_goodbye(h);
        end(h, false);
        return;
    }
    if (h->lower_ended) {
        if (h->nstreams)
            cn_h2_set_error(h, CN_SERR_RESET, "the connection was closed");
        end(h, h->err == CN_SERR_TIMEOUT && !h->lingers);
        return;
    }
    if (h->lingers)
        return;
    if (h->nstreams == 0 && h->conf.idle_ms && !cn_timer_is_set(&h->idle) && !h->draining)
        cn_timer_set(&h->idle, h->conf.idle_ms);
    if (h->out.bytes)
        return;
    silent = !nghttp2_session_want_write(h->ng);
    if (silent && !nghttp2_session_want_read(h->ng)) {
        if (h->nstreams)
            cn_h2_set_error(h, CN_SERR_PROTOCOL, "HTTP/2 protocol error");
        end_in_order(h);
    } else if (silent && h->draining && h->nstreams == 0 && (h->last_said || !h->server)) {
        end_in_order(h);
    }
}

static void on_wake(cn_task_t *task, uint32_t why)
{
    cn_h2_t *h = cn_container_of(task, cn_h2_t, task);
    bool got = false;

    h->running = true;
    if (why & (CN_WAKE_READ | CN_WAKE_CLOSED | CN_WAKE_STATE))
        h->readable = !h->lower_ended;
    if (why & CN_WAKE_WRITE)
        h->blocked = h->tx_failed;
    on_timers(h, why);
    if (h->readable && !h->lower_ended)
        got = receive(h);
    if (h->drain_late && had_requests(h))
        cn_h2_drain(h);
    watch_head(h);
    hand_out(h);
    tell(h);
    h->put_off = got && !h->put_off;
    if (!h->put_off)
        transmit(h);
    h->running = false;
    if (h->put_off || h->room || (h->draining && !h->told))
        cn_h2_wake(h);
    if (!h->put_off || h->lower_ended || h->doomed)
        settle(h);
}

/* ---- creation ---- */

/* The server's limit of streams is announced as configured, but nghttp2 is told
 * a higher one: it would end the session for a single stream too many, while
 * request_begins() refuses that stream alone (RFC 9113 5.1.2).  nghttp2 offers
 * no way to say both, so the value is put right in the frame. */
static void announce_limit(cn_h2_t *h, const uint8_t *frame, size_t n)
{
    uint8_t value[4] = {(uint8_t)(h->conf.max_streams >> 24), (uint8_t)(h->conf.max_streams >> 16),
                        (uint8_t)(h->conf.max_streams >> 8), (uint8_t)h->conf.max_streams};
    size_t at = 9;

    while (at + 6 <= n &&
           (frame[at] != 0 || frame[at + 1] != NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
        at += 6;
    CN_BUG_ON(at + 6 > n);
    cn_chain_copy(&h->out, frame, at + 2);
    cn_chain_copy(&h->out, value, sizeof(value));
    cn_chain_copy(&h->out, frame + at + 6, n - at - 6);
}

static void say_hello(cn_h2_t *h)
{
    const cn_h2_conf_t *c = &h->conf;
    nghttp2_settings_entry v[6];
    const uint8_t *frame;
    size_t n = 0;
    ssize_t len;

    if (h->server) {
        v[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                          c->max_streams + STREAMS_SLACK};
        if (c->connect_protocol)
            v[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};
    } else {
        v[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    }
    v[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, c->stream_window};
    v[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, c->max_header_list};
    if (c->max_frame > 16384)
        v[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_FRAME_SIZE, c->max_frame};
    CN_BUG_ON(nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, v, n) != 0);
    if (h->server) {
        len = nghttp2_session_mem_send(h->ng, &frame);
        CN_BUG_ON(len < 9 || frame[3] != NGHTTP2_SETTINGS);
        announce_limit(h, frame, (size_t)len);
    }
    CN_BUG_ON(nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0,
                                                    (int32_t)c->conn_window) != 0);
}

static void copy_peer(cn_h2_t *h)
{
    h->peer = *cn_stream_peer(h->lower);
    h->peer.identity = cn_pool_dup(h->pool, h->peer.identity);
    h->peer.local_identity = cn_pool_dup(h->pool, h->peer.local_identity);
    h->peer.alpn = cn_pool_dup(h->pool, h->peer.alpn);
    h->peer.baggage = CN_STR_NULL;
}

static cn_h2_t *create(cn_loop_t *loop, cn_stream_t *lower, const cn_h2_conf_t *conf,
                       const cn_h2_cbs_t *cbs, void *ctx, bool server)
{
    cn_h2_t *h = cn_xzalloc(sizeof(*h));

    h->refs = 1;
    h->loop = loop;
    h->lower = lower;
    h->conf = *conf;
    h->cbs = *cbs;
    h->ctx = ctx;
    h->server = server;
    h->abuse_ms = cn_loop_ms(loop);
    h->pool = cn_pool_create(512);
    cn_list_init(&h->streams);
    cn_list_init(&h->arrived);
    cn_task_init(&h->task, loop, on_wake);
    cn_timer_init(&h->ping, &h->task, WHY_PING);
    cn_timer_init(&h->idle, &h->task, WHY_IDLE);
    cn_timer_init(&h->step, &h->task, WHY_STEP);
    cn_timer_init(&h->head, &h->task, WHY_HEAD);
    copy_peer(h);
    cn_h2_session_create(h);
    say_hello(h);
    if (conf->ping_ms)
        cn_timer_set(&h->ping, conf->ping_ms);
    if (conf->idle_ms)
        cn_timer_set(&h->idle, conf->idle_ms);
    cn_stream_own(lower, &h->task);
    return h;
}

cn_h2_t *cn_h2_server_create(cn_loop_t *loop, cn_stream_t *lower, const cn_h2_conf_t *conf,
                             const cn_h2_cbs_t *cbs, void *ctx)
{
    return create(loop, lower, conf, cbs, ctx, true);
}

cn_h2_t *cn_h2_client_create(cn_loop_t *loop, cn_stream_t *lower, const cn_h2_conf_t *conf,
                             const cn_h2_cbs_t *cbs, void *ctx)
{
    return create(loop, lower, conf, cbs, ctx, false);
}

/* ---- for the owner ---- */

uint32_t cn_h2_capacity(const cn_h2_t *h)
{
    uint32_t limit = h->conf.max_streams, theirs;

    if (h->ended || h->draining || h->lower_ended)
        return 0;
    theirs = nghttp2_session_get_remote_settings(h->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (theirs < limit)
        limit = theirs;
    return limit > h->nstreams ? limit - h->nstreams : 0;
}

uint32_t cn_h2_streams(const cn_h2_t *h)
{
    return h->nstreams;
}

cn_exch_t *cn_h2_open(cn_h2_t *h, cn_task_t *owner)
{
    cn_h2_stream_t *st;

    if (cn_h2_capacity(h) == 0)
        return NULL;
    st = cn_h2_stream_create(h);
    cn_h2_stream_hold(st);
    st->x.owner = owner;
    return &st->x;
}

void cn_h2_drain(cn_h2_t *h)
{
    if (h->ended || h->last_said || (h->draining && h->told))
        return;
    h->draining = true;
    h->drain_late = false;
    if (h->server) {
        nghttp2_submit_shutdown_notice(h->ng);
        nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, cn_h2_ping_drain);
        cn_timer_set(&h->step, DRAIN_STEP_MS);
    } else {
        cn_h2_say_last(h);
    }
    cn_h2_wake(h);
}

void cn_h2_drain_late(cn_h2_t *h, uint64_t ms)
{
    if (ms == 0 || h->ended || h->draining || had_requests(h)) {
        cn_h2_drain(h);
        return;
    }
    h->drain_late = true;
    cn_timer_set(&h->step, ms);
}

void cn_h2_destroy(cn_h2_t *h)
{
    if (!h || h->ended || h->doomed)
        return;
    h->doomed = true;
    if (h->running)
        return; /* run() sees it */
    say_goodbye(h);
    end(h, false);
}
