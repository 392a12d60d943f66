/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams of an HTTP/2 session, with their two faces: an exchange, and for
 * CONNECT a byte stream.  Calls of the user only append to chains, ask nghttp2
 * to schedule and wake the session's task; frames are made when that runs.
 *
 *   nghttp2 (open)  user (held)  what it is
 *   yes             no           a request that is not handed out yet, or one
 *                                that was given back and still delivers
 *   yes             yes          in use
 *   no              yes          ended; bytes received before can be taken
 *   no              no           destroyed
 *
 * A client's exchange is held before nghttp2 knows it, until its head is sent.
 */
#include <stdlib.h>

#include "http/h2_int.h"

#define LINGER_MS 30000u  /* for delivering what a user left behind */
#define BAGGAGE_MAX 4096u /* of what the other side says of itself */

static const cn_exch_ops_t exch_ops;
static const cn_stream_ops_t stream_ops;

static cn_h2_stream_t *of_exch(cn_exch_t *x)
{
    return cn_container_of(x, cn_h2_stream_t, x);
}

static cn_h2_stream_t *of_stream(cn_stream_t *s)
{
    return cn_container_of(s, cn_h2_stream_t, s);
}

/* ---- failure ---- */

static cn_serr stream_error(const cn_h2_stream_t *st)
{
    if (st->by_peer)
        return st->code == NGHTTP2_REFUSED_STREAM ? CN_SERR_UNPROCESSED : CN_SERR_RESET;
    if (st->h->ended && st->h->err != CN_SERR_NONE && !st->code)
        return st->h->err;
    /* nghttp2 says this of requests that it could not send any more. */
    if (st->code == NGHTTP2_REFUSED_STREAM)
        return CN_SERR_UNPROCESSED;
    return st->code ? CN_SERR_PROTOCOL : CN_SERR_RESET;
}

static const char *error_text(const cn_h2_stream_t *st)
{
    if (st->code)
        return nghttp2_http2_strerror(st->code);
    return st->h->err_text[0] ? st->h->err_text : "the HTTP/2 session ended";
}

static cn_rc exch_fail(cn_h2_stream_t *st)
{
    st->x.reset = st->by_peer;
    st->x.unsent = st->h->unsent;
    if (st->x.xerr != CN_XERR_NONE)
        return CN_ERR;
    st->x.stream_err = stream_error(st);
    st->x.err_text = error_text(st);
    if (st->x.stream_err == CN_SERR_UNPROCESSED)
        st->x.xerr = CN_XERR_UNPROCESSED;
    else if (st->x.stream_err == CN_SERR_PROTOCOL)
        st->x.xerr = CN_XERR_PROTOCOL;
    else if (st->x.stream_err == CN_SERR_RESET)
        st->x.xerr = CN_XERR_GONE;
    else
        st->x.xerr = CN_XERR_STREAM;
    return CN_ERR;
}

/* ---- life ---- */

cn_h2_stream_t *cn_h2_stream_create(cn_h2_t *h)
{
    cn_h2_stream_t *st = cn_xzalloc(sizeof(*st));

    st->h = h;
    st->x.ops = &exch_ops;
    st->x.reused = h->served;
    h->served = true;
    cn_list_init(&st->arrived);
    cn_list_init(&st->heads);
    cn_list_push(&h->streams, &st->link);
    st->counted = true;
    h->nstreams++;
    cn_timer_stop(&h->idle);
    return st;
}

static void uncount(cn_h2_stream_t *st)
{
    cn_h2_t *h = st->h;

    if (!st->counted)
        return;
    st->counted = false;
    h->nstreams--;
    h->room = true;
    cn_h2_wake(h);
}

static void free_stream(cn_h2_stream_t *st)
{
    cn_list_each (node, &st->heads)
        cn_h2_head_destroy(cn_list_entry(node, cn_h2_head_t, link));
    cn_h2_head_destroy(st->part);
    cn_h2_head_destroy(st->trailer);
    cn_chain_clear(&st->recv);
    cn_chain_clear(&st->send);
    cn_pool_destroy(st->trailer_pool);
    cn_pool_destroy(st->websocket_pool);
    cn_list_remove(&st->link);
    cn_list_remove(&st->arrived);
    free(st);
}

void cn_h2_stream_hold(cn_h2_stream_t *st)
{
    st->held = true;
    cn_h2_ref(st->h);
}

void cn_h2_stream_wake(cn_h2_stream_t *st, uint32_t why)
{
    if (st->is_stream)
        cn_stream_wake(&st->s, why);
    else
        cn_exch_wake(&st->x, why);
}

void cn_h2_stream_closed(cn_h2_stream_t *st, uint32_t code)
{
    st->open = false;
    uncount(st);
    cn_list_remove(&st->link);
    if (!st->recv_eos || !st->sent_eos || code != NGHTTP2_NO_ERROR) {
        st->reset = true;
        st->code = code;
    }
    cn_chain_clear(&st->send);
    if (st->held && st->reset && st->h->server && !st->is_stream)
        (void)exch_fail(st);
    if (st->held)
        cn_h2_stream_wake(st, CN_WAKE_READ | CN_WAKE_WRITE | CN_WAKE_STATE | CN_WAKE_CLOSED);
    else
        free_stream(st);
}

void cn_h2_stream_reset(cn_h2_stream_t *st, uint32_t code)
{
    cn_h2_t *h = st->h;

    if (!st->open || st->ending || h->ended)
        return;
    st->ending = true;
    nghttp2_submit_rst_stream(h->ng, NGHTTP2_FLAG_NONE, st->id, code);
    cn_h2_wake(h);
}

/* Nobody will take the rest of the other side's bytes: say so (RFC 9113 8.1). */
static void stop_peer(cn_h2_stream_t *st)
{
    cn_h2_stream_reset(st, st->h->server ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
}

void cn_h2_stream_sent_all(cn_h2_stream_t *st)
{
    st->sent_eos = true;
    if (!st->held && !st->recv_eos)
        stop_peer(st);
}

/* ---- receiving ---- */

/* Window for what the user took. */
static void give_credit(cn_h2_stream_t *st, size_t n)
{
    cn_h2_t *h = st->h;

    if (h->ended || n == 0)
        return;
    if (st->open && !st->recv_eos)
        nghttp2_session_consume(h->ng, st->id, n);
    else
        nghttp2_session_consume_connection(h->ng, n);
    if (nghttp2_session_want_write(h->ng))
        cn_h2_wake(h);
}

static void take(cn_h2_stream_t *st, cn_chain_t *dst, size_t max)
{
    size_t n = st->recv.bytes < max ? st->recv.bytes : max;

    cn_chain_move(dst, &st->recv, n);
    give_credit(st, n);
}

/* ---- sending ---- */

static ssize_t on_need_data(nghttp2_session *ng, int32_t id, uint8_t *buf CN_UNUSED, size_t length,
                            uint32_t *flags, nghttp2_data_source *source, void *user CN_UNUSED)
{
    cn_h2_stream_t *st = source->ptr;
    size_t n = st->send.bytes < length ? st->send.bytes : length;

    if (n == 0 && st->cut)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* RST_STREAM with INTERNAL_ERROR */
    if (n == 0 && !st->send_eos) {
        st->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < st->send.bytes || !st->send_eos)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (st->trailers.n) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(ng, id, st->trailers.v, st->trailers.n) != 0)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        st->trailers.n = 0;
    }
    return (ssize_t)n;
}

int cn_h2_stream_put(cn_h2_stream_t *st, const uint8_t *framehd, size_t n, cn_chain_t *out)
{
    if (n > st->send.bytes)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    cn_chain_copy(out, framehd, 9);
    cn_chain_move(out, &st->send, n);
    if (st->blocked && st->send.bytes <= st->h->conf.send_buffer / 2) {
        st->blocked = false;
        cn_h2_stream_wake(st, CN_WAKE_WRITE);
    }
    return 0;
}

static void schedule(cn_h2_stream_t *st)
{
    if (st->deferred) {
        st->deferred = false;
        nghttp2_session_resume_data(st->h->ng, st->id);
    }
    cn_h2_wake(st->h);
}

/* Takes from src what the buffer has room for; true when it took all. */
static bool append(cn_h2_stream_t *st, cn_chain_t *src)
{
    size_t limit = st->h->conf.send_buffer;
    size_t room = st->send.bytes < limit ? limit - st->send.bytes : 0;
    size_t n = src->bytes < room ? src->bytes : room;

    if (n) {
        st->used = true;
        cn_chain_move(&st->send, src, n);
        schedule(st);
    }
    st->blocked = src->bytes > 0;
    return !st->blocked;
}

static void end_sending(cn_h2_stream_t *st)
{
    if (st->send_eos)
        return;
    st->send_eos = true;
    if (st->open && !st->h->ended)
        schedule(st);
}

/* ---- failure of a byte stream ---- */

/* The peer ended the stream without an error (hbone.md 1.5). */
static bool reset_is_end(const cn_h2_stream_t *st)
{
    return st->by_peer && (st->code == NGHTTP2_NO_ERROR || st->code == NGHTTP2_CANCEL);
}

/* RFC 9113 8.1: what was said before NO_ERROR is whole. */
static cn_rc stream_fail(cn_h2_stream_t *st)
{
    st->s.had_enough = st->by_peer && st->recv_eos && st->code == NGHTTP2_NO_ERROR;
    return cn_stream_fail(&st->s, stream_error(st), error_text(st));
}

/* ---- the exchange ---- */

static cn_h2_head_t *next_head(cn_h2_stream_t *st)
{
    cn_h2_head_t *head;

    if (cn_list_empty(&st->heads))
        return NULL;
    head = cn_list_entry(st->heads.next, cn_h2_head_t, link);
    cn_list_remove(&head->link);
    st->nheads--;
    return head;
}

static cn_rc exch_recv_head(cn_exch_t *x, cn_msg_t *msg)
{
    cn_h2_stream_t *st = of_exch(x);
    cn_h2_head_t *head = next_head(st);
    bool last;

    if (head && st->x.xerr != CN_XERR_NONE) {
        cn_h2_head_read(head, msg, st->h->server, true);
        cn_h2_head_destroy(head);
        return CN_ERR;
    }
    if (!head)
        return st->reset || st->h->ended || st->x.xerr ? exch_fail(st) : CN_AGAIN;
    last = cn_list_empty(&st->heads) && st->head_done;
    st->head_taken = last;
    st->msg = msg;
    cn_h2_head_read(head, msg, st->h->server,
                    last && st->recv_eos && st->recv.bytes == 0 && !st->trailer);
    cn_h2_head_destroy(head);
    if (st->websocket && msg->status / 100 == 2) {
        msg->status = 101;
        msg->upgrade_websocket = true;
    }
    return CN_OK;
}

static cn_rc exch_recv_body(cn_exch_t *x, cn_chain_t *dst, size_t max)
{
    cn_h2_stream_t *st = of_exch(x);

    if (st->recv.bytes) {
        take(st, dst, max);
        return CN_OK;
    }
    if (st->recv_eos) {
        if (st->trailer && st->msg) {
            cn_h2_head_read_trailers(st->trailer, st->msg);
            cn_h2_head_destroy(st->trailer);
            st->trailer = NULL;
        }
        return CN_DONE;
    }
    return st->reset || st->h->ended ? exch_fail(st) : CN_AGAIN;
}

static cn_rc submit_head(cn_h2_stream_t *st, const cn_h2_nva_t *nva)
{
    nghttp2_data_provider body = {.source = {.ptr = st}, .read_callback = on_need_data};
    int32_t id = nghttp2_submit_request(st->h->ng, NULL, nva->v, nva->n,
                                        st->send_eos && !st->websocket ? NULL : &body, st);

    if (id < 0) {
        st->reset = true;
        st->code = NGHTTP2_REFUSED_STREAM;
        return exch_fail(st);
    }
    st->id = id;
    st->open = true;
    return CN_OK;
}

/* RFC 8441 3: only to a server that has said that it knows. */
static cn_rc submit_websocket(cn_h2_stream_t *st)
{
    cn_pool_t *pool = st->websocket_pool;
    cn_rc rc;

    if (!st->h->settings_seen)
        return CN_OK; /* when they come */
    if (nghttp2_session_get_remote_settings(st->h->ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL)) {
        rc = submit_head(st, &st->websocket_head);
    } else {
        st->x.xerr = CN_XERR_PROTOCOL;
        st->x.err_text = "the server knows no extended CONNECT";
        rc = CN_ERR;
    }
    st->websocket_pool = NULL;
    cn_pool_destroy(pool);
    return rc;
}

void cn_h2_stream_settings(cn_h2_stream_t *st)
{
    if (st->websocket_pool && submit_websocket(st) != CN_OK)
        cn_h2_stream_wake(st, CN_WAKE_READ | CN_WAKE_STATE);
}

static cn_rc submit_request(cn_h2_stream_t *st, const cn_msg_t *msg)
{
    cn_h2_nva_t nva;

    st->websocket = msg->upgrade_websocket;
    if (!st->websocket) {
        cn_h2_head_request(msg->pool, msg, &nva);
        return submit_head(st, &nva);
    }
    st->websocket_pool = cn_pool_create(0);
    cn_h2_head_request(st->websocket_pool, msg, &nva);
    cn_h2_head_copy(st->websocket_pool, &nva, &st->websocket_head);
    return submit_websocket(st);
}

static cn_rc submit_response(cn_h2_stream_t *st, const cn_msg_t *msg, nghttp2_data_provider *body)
{
    cn_h2_nva_t nva;
    int rc;

    cn_h2_head_response(msg->pool, msg, &nva);
    if (msg->status < 200 && msg->status != 101)
        rc = nghttp2_submit_headers(st->h->ng, NGHTTP2_FLAG_NONE, st->id, NULL, nva.v, nva.n, NULL);
    else
        rc = nghttp2_submit_response(st->h->ng, st->id, nva.v, nva.n, body);
    st->answered = msg->status >= 200 || msg->status == 101;
    return rc >= 0 ? CN_OK : exch_fail(st);
}

static cn_rc exch_send_head(cn_exch_t *x, const cn_msg_t *msg, bool eos)
{
    cn_h2_stream_t *st = of_exch(x);
    nghttp2_data_provider body = {.source = {.ptr = st}, .read_callback = on_need_data};
    cn_rc rc;

    if (st->reset || st->h->ended)
        return exch_fail(st);
    st->send_eos = eos;
    rc = st->h->server ? submit_response(st, msg, eos ? NULL : &body) : submit_request(st, msg);
    cn_h2_wake(st->h);
    return rc;
}

static cn_rc exch_send_body(cn_exch_t *x, cn_chain_t *src, bool eos, const cn_headers_t *trailers)
{
    cn_h2_stream_t *st = of_exch(x);

    if (st->websocket && !st->head_done && !st->reset && !st->h->ended && !x->xerr)
        return CN_AGAIN; /* not granted yet; the answer wakes */
    if (st->reset || st->h->ended || !st->open) {
        /* The answer is complete and the rest of the request is not wanted. */
        if (st->recv_eos && (!st->reset || st->code == NGHTTP2_NO_ERROR)) {
            cn_chain_clear(src);
            return CN_OK;
        }
        return exch_fail(st);
    }
    if (!append(st, src))
        return CN_AGAIN;
    if (eos && trailers && trailers->n && !st->trailer_pool) {
        st->trailer_pool = cn_pool_create(512);
        cn_h2_head_trailers(st->trailer_pool, trailers, &st->trailers);
    }
    if (eos)
        end_sending(st);
    return CN_OK;
}

/* The user is gone: what it did not take counts as taken. */
static void let_go(cn_h2_stream_t *st)
{
    cn_h2_t *h = st->h;
    size_t rest = st->recv.bytes;

    st->held = false;
    st->x.owner = NULL;
    st->s.owner = NULL;
    st->msg = NULL;
    cn_chain_clear(&st->recv);
    give_credit(st, rest);
    if (st->open) {
        st->given_back_ms = cn_loop_ms(h->loop);
        if (!cn_timer_is_set(&h->step))
            cn_timer_set(&h->step, LINGER_MS);
    } else {
        uncount(st);
        free_stream(st);
    }
    cn_h2_unref(h);
}

static void exch_close(cn_exch_t *x)
{
    cn_h2_stream_t *st = of_exch(x);
    bool complete = st->send_eos && (!st->h->server || st->answered);

    st->cut = st->h->server && st->answered && !complete && st->open && st->send.bytes;
    if (st->cut)
        schedule(st); /* what there is of the response goes out before its end */
    else if (!complete || (!st->h->server && !st->recv_eos))
        cn_h2_stream_reset(st, st->h->server ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL);
    else if (st->sent_eos && !st->recv_eos)
        stop_peer(st);
    let_go(st);
}

static void exch_last(cn_exch_t *x CN_UNUSED)
{
    /* HTTP/2 says that for the session, with GOAWAY. */
}

static cn_stream_t *exch_stream(cn_exch_t *x)
{
    cn_h2_stream_t *st = of_exch(x);

    return st->h->ended ? NULL : st->h->lower;
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

/* ---- the byte stream ---- */

/* Whoever is behind a session is the same for all tunnels in it. */
static void note_baggage(cn_h2_t *h, const cn_h2_head_t *head)
{
    cn_str_t said = cn_h2_head_value(head, CN_STR("baggage"));

    if (h->peer.baggage.n == 0 && said.n <= BAGGAGE_MAX)
        h->peer.baggage = cn_pool_dup(h->pool, said);
}

static cn_rc connect_answer(cn_h2_stream_t *st, const cn_h2_head_t *head, unsigned status)
{
    static const char denied[] = "CONNECT was denied", refused[] = "CONNECT was refused";

    if (status / 100 == 2) {
        st->connected = true;
        note_baggage(st->h, head);
        return CN_OK;
    }
    if (status == 401 || status == 403)
        return cn_stream_fail(&st->s, CN_SERR_DENIED, denied);
    return cn_stream_fail(&st->s, CN_SERR_REFUSED, refused);
}

static cn_rc stream_ready(cn_stream_t *s)
{
    cn_h2_stream_t *st = of_stream(s);
    cn_h2_head_t *head;
    cn_rc rc = CN_AGAIN;

    if (s->err != CN_SERR_NONE)
        return CN_ERR;
    if (st->connected || st->h->server)
        return CN_OK;
    while (rc == CN_AGAIN && (head = next_head(st)) != NULL) {
        unsigned status = cn_h2_head_status(head);

        if (status >= 200)
            rc = connect_answer(st, head, status);
        cn_h2_head_destroy(head);
    }
    if (rc == CN_AGAIN && (st->reset || st->h->ended))
        return stream_fail(st);
    return rc;
}

static cn_rc stream_read(cn_stream_t *s, cn_chain_t *dst, size_t max)
{
    cn_h2_stream_t *st = of_stream(s);
    size_t before = dst->bytes;
    cn_rc rc = stream_ready(s);

    if (rc != CN_OK && !st->connected && !st->h->server)
        return rc;
    if (st->recv.bytes) {
        take(st, dst, max);
        s->rx += dst->bytes - before;
        return CN_OK;
    }
    if (st->recv_eos || (st->reset && reset_is_end(st)))
        return CN_DONE;
    return st->reset || st->h->ended ? stream_fail(st) : CN_AGAIN;
}

static cn_rc stream_write(cn_stream_t *s, cn_chain_t *src)
{
    cn_h2_stream_t *st = of_stream(s);
    size_t before = src->bytes;
    cn_rc rc = stream_ready(s);
    bool all;

    if (rc != CN_OK)
        return rc;
    if (st->reset || st->h->ended || !st->open)
        return stream_fail(st);
    if (st->send_eos && src->bytes)
        return cn_stream_fail(s, CN_SERR_LOCAL, "write after shutdown");
    all = append(st, src);
    s->tx += before - src->bytes;
    return all ? CN_OK : CN_AGAIN;
}

static void stream_shutdown(cn_stream_t *s)
{
    end_sending(of_stream(s));
}

static void stream_close(cn_stream_t *s, bool do_abort)
{
    cn_h2_stream_t *st = of_stream(s);

    if (do_abort && !(st->send_eos && st->recv_eos)) {
        cn_h2_stream_reset(st, st->h->server ? NGHTTP2_CONNECT_ERROR : NGHTTP2_CANCEL);
    } else {
        end_sending(st);
        if (st->sent_eos && !st->recv_eos)
            stop_peer(st);
    }
    let_go(st);
}

static const cn_peer_t *stream_peer(cn_stream_t *s)
{
    return &of_stream(s)->h->peer;
}

static const cn_stream_ops_t stream_ops = {
    .ready = stream_ready,
    .read = stream_read,
    .write = stream_write,
    .shutdown = stream_shutdown,
    .close = stream_close,
    .peer = stream_peer,
};

cn_stream_t *cn_h2_stream(cn_exch_t *x, cn_task_t *owner)
{
    cn_h2_stream_t *st = of_exch(x);

    st->is_stream = true;
    st->x.owner = NULL;
    st->s.ops = &stream_ops;
    cn_stream_own(&st->s, owner);
    return &st->s;
}
