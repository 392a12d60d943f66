/* SPDX-License-Identifier: Apache-2.0
 *
 * What nghttp2 tells: frames received become heads, payload and ends of
 * streams; frames sent take their payload from the streams' chains.  Callbacks
 * only note what happened and wake users; nothing that could end the session
 * or run a user's code is called from inside nghttp2.
 *
 * Also here: which peer behaviour is refused for one stream, and how much of it
 * is too much for the session.
 */
#include "cn_config.h"
#include "core/log.h"
#include "core/mem.h"
#include "http/h2_int.h"

#define SHARE_MIN 4096u              /* smaller payload is copied, lest it pin a large chunk */
#define HEAD_SEND_MAX (1024u * 1024) /* what we let through may be sent */
#define HEADS_MAX 8u                 /* informational heads kept for a slow user */

/* Streams that cost the peer nothing and us something: refused, malformed, or
 * reset before any payload (CVE-2023-44487).  A bucket of BURST refills with
 * PER_SECOND; what honest clients do stays far below. */
#define ABUSE_BURST 500u
#define ABUSE_PER_SECOND 50u
#ifdef CN_HAVE_NGHTTP2_RESET_LIMIT
/* nghttp2's own bound counts every reset by the peer, also of used streams. */
#define RESET_BURST 5000u
#define RESET_PER_SECOND 500u
#endif

const uint8_t cn_h2_ping_alive[8] = "cn-alive", cn_h2_ping_drain[8] = "cn-drain",
              cn_h2_ping_last[8] = "cn-last ";

/* ---- abuse ---- */

void cn_h2_abuse(cn_h2_t *h)
{
    uint64_t now = cn_loop_ms(h->loop);
    uint64_t refill = (now - h->abuse_ms) * ABUSE_PER_SECOND / 1000;

    if (refill) {
        h->abuse = refill >= h->abuse ? 0 : h->abuse - (uint32_t)refill;
        h->abuse_ms = now;
    }
    if (++h->abuse != ABUSE_BURST)
        return;
    cn_log(CN_LOG_WARN, "h2", "closing a session: too many refused or reset streams");
    cn_h2_set_error(h, CN_SERR_PROTOCOL, "too many refused or reset streams");
    nghttp2_session_terminate_session(h->ng, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* ---- nghttp2's callbacks: receiving ---- */

static cn_h2_stream_t *stream_of(nghttp2_session *ng, int32_t id)
{
    return nghttp2_session_get_stream_user_data(ng, id);
}

static void request_begins(cn_h2_t *h, int32_t id)
{
    cn_h2_stream_t *st;

    if (h->nstreams >= h->conf.max_streams) {
        cn_h2_abuse(h);
        nghttp2_submit_rst_stream(h->ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
        return;
    }
    st = cn_h2_stream_create(h);
    st->id = id;
    st->open = true;
    nghttp2_session_set_stream_user_data(h->ng, id, st);
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    cn_h2_t *h = user;
    cn_h2_stream_t *st;

    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    h->in_head = true;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        request_begins(h, frame->hd.stream_id);
    st = stream_of(ng, frame->hd.stream_id);
    if (st) {
        cn_h2_head_destroy(st->part);
        st->part = cn_h2_head_create();
    }
    return 0;
}

static void push_head(cn_h2_stream_t *st)
{
    if (st->nheads >= HEADS_MAX && !st->head_done) {
        cn_h2_head_destroy(st->part);
    } else {
        cn_list_push(&st->heads, &st->part->link);
        st->nheads++;
    }
    st->part = NULL;
}

/* The stream goes; a request's user gets what there is of its head, for the record. */
static void head_too_large(cn_h2_t *h, cn_h2_stream_t *st)
{
    bool too_many = st->part->n >= h->conf.max_headers;

    st->x.xerr = too_many ? CN_XERR_TOO_MANY : CN_XERR_TOO_LARGE;
    st->x.err_text = too_many ? "too many fields" : "field section too large";
    if (h->server && !st->head_done) {
        cn_h2_abuse(h);
        push_head(st);
        cn_list_push(&h->arrived, &st->arrived);
    }
    cn_h2_head_destroy(st->part);
    st->part = NULL;
    cn_h2_stream_reset(st, NGHTTP2_INTERNAL_ERROR);
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags CN_UNUSED, void *user)
{
    cn_h2_t *h = user;
    cn_h2_stream_t *st = stream_of(ng, frame->hd.stream_id);

    if (st && st->part && !cn_h2_head_add(st->part, &h->conf, name, value))
        head_too_large(h, st);
    return 0;
}

static void head_complete(cn_h2_t *h, cn_h2_stream_t *st)
{
    unsigned status;

    if (!st->part)
        return;
    if (st->head_done) {
        cn_h2_head_destroy(st->trailer);
        st->trailer = st->part;
        st->part = NULL;
        return;
    }
    status = h->server ? 0 : cn_h2_head_status(st->part);
    st->head_done = h->server || status >= 200;
    push_head(st);
    if (h->server)
        cn_list_push(&h->arrived, &st->arrived);
}

/* A reset that cost the peer nothing: its stream was never used. */
static void reset_received(cn_h2_t *h, cn_h2_stream_t *st)
{
    st->by_peer = true;
    if (h->server && !st->used)
        cn_h2_abuse(h);
}

static void stream_frame(cn_h2_t *h, cn_h2_stream_t *st, const nghttp2_frame *frame)
{
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        head_complete(h, st);
        break;
    case NGHTTP2_DATA:
        break;
    case NGHTTP2_RST_STREAM:
        reset_received(h, st);
        return;
    default:
        return;
    }
    st->x.wire_rx += frame->hd.length + 9;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        st->recv_eos = true;
    cn_h2_stream_wake(st, CN_WAKE_READ | CN_WAKE_STATE);
}

void cn_h2_say_last(cn_h2_t *h)
{
    if (h->last_said)
        return;
    h->last_said = true;
    nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h->ng),
                          NGHTTP2_NO_ERROR, NULL, 0);
}

/* A peer that had a stream begun when the first GOAWAY came may answer the PING
 * first, since answers overtake in many libraries (gRPC's among them): it is
 * served, too, when the last word waits for a second answer. */
static void ping_acked(cn_h2_t *h, const uint8_t *data)
{
    if (memcmp(data, cn_h2_ping_drain, sizeof(cn_h2_ping_drain)) == 0) {
        if (h->draining && !h->last_said)
            nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, cn_h2_ping_last);
    } else if (memcmp(data, cn_h2_ping_last, sizeof(cn_h2_ping_last)) == 0) {
        if (h->draining)
            cn_h2_say_last(h);
    } else if (memcmp(data, cn_h2_ping_alive, sizeof(cn_h2_ping_alive)) == 0 && h->pinging) {
        h->pinging = false;
        cn_timer_set(&h->ping, h->conf.ping_ms);
    }
}

/* A client that has said GOAWAY opens nothing more: answer in kind, so that the
 * session ends with its last stream. */
static void peer_leaves(cn_h2_t *h)
{
    h->draining = true;
    if (h->server)
        cn_h2_say_last(h);
}

static void settings_came(cn_h2_t *h)
{
    h->room = h->settings_seen = true;
    cn_list_each (node, &h->streams)
        cn_h2_stream_settings(cn_list_entry(node, cn_h2_stream_t, link));
}

static void session_frame(cn_h2_t *h, const nghttp2_frame *frame)
{
    bool ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;

    if (frame->hd.type == NGHTTP2_PING && ack)
        ping_acked(h, frame->ping.opaque_data);
    else if (frame->hd.type == NGHTTP2_SETTINGS && !ack)
        settings_came(h);
    else if (frame->hd.type == NGHTTP2_GOAWAY)
        peer_leaves(h);
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    cn_h2_t *h = user;
    cn_h2_stream_t *st = NULL;

    h->in_head = false; /* nothing else may come within one */
    if (frame->hd.stream_id)
        st = stream_of(ng, frame->hd.stream_id);
    if (st)
        stream_frame(h, st, frame);
    else if (frame->hd.stream_id == 0)
        session_frame(h, frame);
    return 0;
}

/* Payload stays where it is; a small piece is copied so as not to pin its chunk. */
static int on_data(nghttp2_session *ng, uint8_t flags CN_UNUSED, int32_t id, const uint8_t *data,
                   size_t n, void *user)
{
    cn_h2_t *h = user;
    cn_h2_stream_t *st = stream_of(ng, id);
    cn_chunk_t *chunk = h->feeding.chunk;

    if (!st || (!st->held && cn_list_empty(&st->arrived)))
        return nghttp2_session_consume_connection(ng, n);
    st->used = true;
    if (n < SHARE_MIN)
        cn_chain_copy(&st->recv, data, n);
    else
        cn_chain_push(&st->recv, cn_chunk_ref(chunk), (uint32_t)((const char *)data - chunk->data),
                      (uint32_t)n);
    cn_h2_stream_wake(st, CN_WAKE_READ);
    return 0;
}

static int on_invalid_frame(nghttp2_session *ng CN_UNUSED, const nghttp2_frame *frame, int code,
                            void *user)
{
    cn_h2_t *h = user;

    h->in_head = false;
    cn_log(CN_LOG_DEBUG, "h2", "stream %d: invalid frame of type %d: %s", frame->hd.stream_id,
           frame->hd.type, nghttp2_strerror(code));
    if (h->server && frame->hd.stream_id)
        cn_h2_abuse(h);
    return 0;
}

static int on_stream_closed(nghttp2_session *ng, int32_t id, uint32_t code, void *user CN_UNUSED)
{
    cn_h2_stream_t *st = stream_of(ng, id);

    if (st)
        cn_h2_stream_closed(st, code);
    return 0;
}

/* ---- nghttp2's callbacks: sending ---- */

static int on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *framehd,
                        size_t length, nghttp2_data_source *source CN_UNUSED, void *user)
{
    cn_h2_t *h = user;
    cn_h2_stream_t *st = stream_of(ng, frame->hd.stream_id);

    if (h->out.bytes >= CN_H2_OUT_MAX)
        return NGHTTP2_ERR_WOULDBLOCK;
    return st ? cn_h2_stream_put(st, framehd, length, &h->out)
              : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *user CN_UNUSED)
{
    cn_h2_stream_t *st;

    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    st = stream_of(ng, frame->hd.stream_id);
    if (!st)
        return 0;
    st->x.wire_tx += frame->hd.length + 9;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        cn_h2_stream_sent_all(st);
    return 0;
}

/* A head that cannot be sent: nothing else may follow on its stream. */
static int on_frame_not_sent(nghttp2_session *ng, const nghttp2_frame *frame, int code,
                             void *user CN_UNUSED)
{
    cn_h2_stream_t *st = stream_of(ng, frame->hd.stream_id);

    if (frame->hd.type != NGHTTP2_HEADERS || !st || st->ending)
        return 0;
    cn_log(CN_LOG_INFO, "h2", "stream %d: a head was not sent: %s", frame->hd.stream_id,
           nghttp2_strerror(code));
    cn_h2_stream_reset(st, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

/* ---- creation ---- */

static nghttp2_session_callbacks *callbacks_new(void)
{
    nghttp2_session_callbacks *cb = NULL;

    (void)nghttp2_session_callbacks_new(&cb);
    (void)cn_mem_must(cb);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_closed);
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_sent);
    return cb;
}

/* ---- its memory, counted ---- */

static void *on_malloc(size_t n, void *user CN_UNUSED)
{
    return cn_mem_must(cn_mem_alloc(n));
}

static void on_free(void *p, void *user CN_UNUSED)
{
    cn_mem_free(p);
}

static void *on_calloc(size_t n, size_t size, void *user CN_UNUSED)
{
    return cn_mem_must(cn_mem_calloc(n, size));
}

static void *on_realloc(void *p, size_t n, void *user CN_UNUSED)
{
    return cn_mem_must(cn_mem_realloc(p, n));
}

void cn_h2_session_create(cn_h2_t *h)
{
    nghttp2_mem mem = {NULL, on_malloc, on_free, on_calloc, on_realloc};
    nghttp2_session_callbacks *cb = callbacks_new();
    nghttp2_option *opt = NULL;
    int rc;

    (void)nghttp2_option_new(&opt);
    (void)cn_mem_must(opt);
    nghttp2_option_set_no_auto_window_update(opt, 1);
    nghttp2_option_set_no_closed_streams(opt, 1);
    nghttp2_option_set_peer_max_concurrent_streams(opt, h->conf.max_streams);
    nghttp2_option_set_max_reserved_remote_streams(opt, 0);
    nghttp2_option_set_max_send_header_block_length(opt, HEAD_SEND_MAX);
#ifdef CN_HAVE_NGHTTP2_RESET_LIMIT
    nghttp2_option_set_stream_reset_rate_limit(opt, RESET_BURST, RESET_PER_SECOND);
#endif
    rc = h->server ? nghttp2_session_server_new3(&h->ng, cb, h, opt, &mem)
                   : nghttp2_session_client_new3(&h->ng, cb, h, opt, &mem);
    CN_BUG_ON(rc != 0);
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
}
