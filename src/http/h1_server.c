/* SPDX-License-Identifier: Apache-2.0
 *
 * The server side of an HTTP/1.1 connection: one exchange at a time, pipelined
 * requests wait.  Knows nothing of what answers them.  Owned by who created it
 * until closed() was called or it was destroyed; the memory lives on until the
 * exchange has been given back.
 *
 *   state     entered when                          left when
 *   IDLE      created; an exchange ended well       first byte of a request -> EXCHANGE
 *                                                   end, idle time -> CLOSING
 *   EXCHANGE  request() was called                  given back: complete -> IDLE or CLOSING,
 *                                                   cut short in the body -> CLOSING,
 *                                                   else the stream is reset -> ENDED
 *   CLOSING   no further request                    all written -> LINGER
 *   LINGER    our direction ended                   the peer's ends, 1 s -> ENDED
 *
 * Closing a socket with unread bytes resets it, and the reset may overtake the
 * response; hence LINGER (RFC 9112 9.6).  A client that ends its direction
 * behind a complete request still gets its answer.
 *
 * While draining, the answer to the next request says `connection: close`.  A
 * client that was not told so may have sent one already: the connection is kept
 * for it for a while, and closed only then.
 */
#include <stdlib.h>

#include "http/h1mux_int.h"

enum { LINGER_MS = 1000, FLUSH_MS = 30000, DROP_BUDGET = 256 * 1024 };

typedef enum { IDLE, EXCHANGE, CLOSING, LINGER, ENDED } state_t;

struct cn_h1_server {
    cn_h1_conn_t c;
    cn_h1_server_conf_t conf;
    const cn_h1_server_cbs_t *cbs;
    void *ctx;
    cn_timer_t timer; /* what for depends on the state */
    state_t state;
    bool draining;
    uint64_t drain_ms; /* for a client that was not told yet */
    /* of the current exchange */
    bool head_done, responded;
    bool upgrade;    /* a websocket was asked for and not answered yet */
    bool last;       /* no request after this one */
    cn_str_t method; /* as far as it matters for the response */
};

const cn_h1_server_conf_t cn_h1_server_conf_default = {
    .limits = {.max_line = 60 * 1024, .max_head = 60 * 1024, .max_headers = 100},
    .idle_ms = 3600 * 1000,
    .head_ms = 60 * 1000,
    .buffer = CN_H1_BUFFER,
};

static cn_h1_server_t *self(cn_exch_t *x)
{
    return cn_container_of(x, cn_h1_server_t, c.x);
}

static bool request_complete(const cn_h1_server_t *s)
{
    return s->head_done && !s->upgrade && cn_h1_parser_complete(&s->c.parser);
}

/* ---- the exchange, called by its owner ---- */

static cn_rc exch_recv_head(cn_exch_t *x, cn_msg_t *msg)
{
    cn_h1_server_t *s = self(x);
    if (s->c.failed)
        return cn_h1_conn_lost(&s->c, CN_XERR_GONE);
    if (x->xerr != CN_XERR_NONE)
        return CN_ERR;
    CN_BUG_ON(s->head_done);
    cn_rc rc = cn_h1_conn_recv_head(&s->c, msg);
    if (cn_str_eq(msg->method, CN_STR("HEAD")))
        s->method = CN_STR("HEAD");
    if (rc == CN_AGAIN && (s->c.failed || s->c.in_eof))
        return cn_h1_conn_lost(&s->c, CN_XERR_GONE);
    if (rc == CN_AGAIN)
        return CN_AGAIN;
    cn_timer_stop(&s->timer);
    if (rc == CN_OK) {
        s->head_done = true;
        s->upgrade = msg->upgrade_websocket;
    }
    return rc;
}

static cn_rc exch_recv_body(cn_exch_t *x, cn_chain_t *dst, size_t max)
{
    cn_h1_server_t *s = self(x);
    if (s->c.failed)
        return cn_h1_conn_lost(&s->c, CN_XERR_GONE);
    if (x->xerr != CN_XERR_NONE)
        return CN_ERR;
    if (s->upgrade)
        return CN_AGAIN;
    cn_rc rc = cn_h1_conn_recv_body(&s->c, dst, max);
    if (rc == CN_AGAIN && (s->c.failed || s->c.in_eof))
        return cn_h1_conn_lost(&s->c, CN_XERR_GONE);
    return rc;
}

/* Will the connection end after this response?  With request bytes still on
 * their way, the next request could not be told from them. */
static bool closes_after(const cn_h1_server_t *s)
{
    return s->last || s->draining || s->upgrade || !request_complete(s) || !s->c.parser.keep_alive;
}

static void upgrade_answered(cn_h1_server_t *s, bool accepted)
{
    s->upgrade = false;
    if (accepted) {
        cn_h1_parser_upgrade(&s->c.parser);
        s->last = true;
    }
    cn_exch_wake(&s->c.x, CN_WAKE_READ);
}

static cn_rc exch_send_head(cn_exch_t *x, const cn_msg_t *msg, bool eos)
{
    cn_h1_server_t *s = self(x);
    size_t before = s->c.out.bytes;
    bool switching = msg->status == 101;
    if (s->c.failed)
        return cn_h1_conn_lost(&s->c, CN_XERR_GONE);
    if (s->responded || (switching && !s->upgrade))
        return cn_h1_conn_error(&s->c, CN_XERR_PROTOCOL, "no place for this response");
    bool final = switching || msg->status >= 200;
    bool close = final && !switching && closes_after(s);
    cn_h1_framing framing = cn_h1_put_response(&s->c.out, msg, s->method, eos, close);
    if (switching)
        framing = CN_H1_FRAME_EOF;
    cn_h1_conn_head_sent(&s->c, before, framing, msg->content_length);
    if (!final)
        return CN_OK;
    s->responded = true;
    s->last = s->last || close;
    if (s->upgrade)
        upgrade_answered(s, switching);
    return eos ? cn_h1_conn_send_end(&s->c, NULL) : CN_OK;
}

static cn_rc exch_send_body(cn_exch_t *x, cn_chain_t *src, bool eos, const cn_headers_t *trailers)
{
    cn_h1_server_t *s = self(x);
    if (s->c.failed)
        return cn_h1_conn_lost(&s->c, CN_XERR_GONE);
    if (!s->responded)
        return cn_h1_conn_error(&s->c, CN_XERR_PROTOCOL, "body without a head");
    return cn_h1_conn_send_body(&s->c, src, eos, trailers);
}

static void exch_close(cn_exch_t *x)
{
    cn_h1_server_t *s = self(x);
    CN_BUG_ON(!s->c.open);
    s->c.open = false;
    x->owner = NULL;
    if (s->c.zombie)
        cn_loop_retire(s->c.loop, free, s);
    else
        cn_task_wake(&s->c.task, CN_WAKE_SELF);
}

static void exch_last(cn_exch_t *x)
{
    self(x)->last = true;
}

static cn_stream_t *exch_stream(cn_exch_t *x)
{
    return self(x)->c.stream;
}

static const cn_exch_ops_t exch_ops = {
    .recv_head = exch_recv_head,
    .recv_body = exch_recv_body,
    .send_head = exch_send_head,
    .send_body = exch_send_body,
    .close = exch_close,
    .last = exch_last,
    .stream = exch_stream,
};

/* ---- the state machine ---- */

static void set_state(cn_h1_server_t *s, state_t state)
{
    s->state = state;
    cn_timer_stop(&s->timer);
}

static void set_timer(cn_h1_server_t *s, uint64_t ms)
{
    if (ms > 0)
        cn_timer_set(&s->timer, ms);
}

/* s is gone afterwards. */
static void end(cn_h1_server_t *s, bool abort)
{
    set_state(s, ENDED);
    cn_h1_conn_fini(&s->c, abort);
    cn_loop_retire(s->c.loop, free, s);
    s->cbs->closed(s->ctx);
}

static void begin_exchange(cn_h1_server_t *s)
{
    set_state(s, EXCHANGE);
    s->head_done = s->responded = s->upgrade = s->last = false;
    s->method = CN_STR_NULL;
    set_timer(s, s->conf.head_ms);
    cn_h1_conn_open(&s->c, &exch_ops, NULL);
    s->cbs->request(s->ctx, &s->c.x);
}

/* Each step returns true when the next state can be looked at. */

static bool step_idle(cn_h1_server_t *s)
{
    cn_h1_conn_fill(&s->c, false);
    if (s->c.failed) {
        end(s, true);
        return false;
    }
    /* A client that does not read its answers gets no further ones. */
    bool unread = s->c.out.bytes >= s->c.buffer;
    if (!unread && cn_h1_parser_begun(&s->c.parser, &s->c.in)) {
        begin_exchange(s);
        return false;
    }
    if ((s->draining && s->drain_ms == 0) || (s->c.in_eof && !unread)) {
        set_state(s, CLOSING);
        return true;
    }
    if (!cn_timer_is_set(&s->timer))
        set_timer(s, s->draining ? s->drain_ms : s->conf.idle_ms);
    return false;
}

/* What there is of the body is still delivered; the client knows from the
 * framing that some is missing (RFC 9112 8), which a reset might overtake. */
static bool is_cut_short(const cn_h1_server_t *s)
{
    return s->responded && !s->c.sent && s->c.x.xerr == CN_XERR_NONE &&
           (s->c.framing == CN_H1_FRAME_LENGTH || s->c.framing == CN_H1_FRAME_CHUNKED);
}

static bool exchange_closed(cn_h1_server_t *s)
{
    bool cut = is_cut_short(s);
    if (s->c.failed || (!s->c.sent && !cut)) {
        end(s, true);
        return false;
    }
    if (cut || s->last || !request_complete(s)) {
        set_state(s, CLOSING);
        return true;
    }
    cn_h1_parser_next(&s->c.parser);
    set_state(s, IDLE);
    return true;
}

static bool step_exchange(cn_h1_server_t *s, uint32_t why)
{
    if (!s->c.open)
        return exchange_closed(s);
    if (!(why & CN_WAKE_READ) || s->c.failed)
        return false;
    /* Also when the request is complete: to see the client go. */
    cn_h1_conn_fill(&s->c, false);
    if (!request_complete(s))
        cn_exch_wake(&s->c.x, CN_WAKE_READ);
    return false;
}

static bool step_closing(cn_h1_server_t *s, bool progress)
{
    if (s->c.failed) {
        end(s, true);
        return false;
    }
    if (s->c.out.bytes > 0) {
        if (progress || !cn_timer_is_set(&s->timer))
            set_timer(s, FLUSH_MS);
        return false;
    }
    set_state(s, LINGER);
    s->c.shut_due = true;
    cn_h1_conn_flush(&s->c);
    set_timer(s, LINGER_MS);
    return true;
}

static bool step_linger(cn_h1_server_t *s)
{
    for (size_t dropped = 0; dropped < DROP_BUDGET; dropped += s->c.buffer) {
        cn_chain_clear(&s->c.in);
        if (!cn_h1_conn_fill(&s->c, false))
            break;
    }
    if (s->c.in_eof || s->c.failed)
        end(s, s->c.failed);
    else if (s->c.in.bytes > 0)
        cn_task_wake(&s->c.task, CN_WAKE_SELF);
    return false;
}

static void on_timer(cn_h1_server_t *s)
{
    switch (s->state) {
    case IDLE:
        set_state(s, CLOSING);
        break;
    case EXCHANGE:
        if (s->c.open && !s->head_done) {
            cn_h1_conn_error(&s->c, CN_XERR_TIMEOUT, "no complete head in time");
            cn_exch_wake(&s->c.x, CN_WAKE_READ);
        }
        break;
    case CLOSING:
        end(s, true);
        break;
    case LINGER:
        end(s, false);
        break;
    case ENDED:
        break;
    }
}

static void server_run(cn_task_t *task, uint32_t why)
{
    cn_h1_server_t *s = cn_container_of(task, cn_h1_server_t, c.task);
    size_t pending = s->c.out.bytes;
    bool more = true;
    if ((why & CN_WAKE_TIMER) && !cn_timer_is_set(&s->timer))
        on_timer(s);
    if (s->state != ENDED)
        cn_h1_conn_flush(&s->c);
    while (more && s->state != ENDED) {
        if (s->state == IDLE)
            more = step_idle(s);
        else if (s->state == EXCHANGE)
            more = step_exchange(s, why);
        else if (s->state == CLOSING)
            more = step_closing(s, s->c.out.bytes < pending);
        else
            more = step_linger(s);
    }
}

/* ---- for the creator ---- */

cn_h1_server_t *cn_h1_server_create(cn_loop_t *loop, cn_stream_t *stream,
                                    const cn_h1_server_conf_t *conf, const cn_h1_server_cbs_t *cbs,
                                    void *ctx)
{
    cn_h1_server_t *s = cn_xzalloc(sizeof(*s));
    s->conf = *conf;
    s->cbs = cbs;
    s->ctx = ctx;
    cn_h1_conn_init(&s->c, loop, stream, CN_H1_REQUEST, &conf->limits, conf->buffer, server_run);
    cn_timer_init(&s->timer, &s->c.task, CN_WAKE_TIMER);
    return s;
}

void cn_h1_server_drain(cn_h1_server_t *s, uint64_t idle_ms)
{
    s->draining = true;
    s->drain_ms = idle_ms;
    if (s->state == IDLE)
        cn_timer_stop(&s->timer);
    cn_task_wake(&s->c.task, CN_WAKE_SELF);
}

void cn_h1_server_destroy(cn_h1_server_t *s)
{
    bool abort = s->state == EXCHANGE;
    set_state(s, ENDED);
    cn_h1_conn_fini(&s->c, abort);
    if (!s->c.open) {
        cn_loop_retire(s->c.loop, free, s);
        return;
    }
    s->c.zombie = true;
    cn_h1_conn_lost(&s->c, CN_XERR_GONE);
    cn_exch_wake(&s->c.x, CN_WAKE_CLOSED);
}
