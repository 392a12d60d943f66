/* SPDX-License-Identifier: Apache-2.0
 *
 * The common part of both sides of an HTTP/1 connection: filling and flushing
 * the two buffers, bodies in and out.  Knows nothing of when exchanges begin
 * and end; that is the state machine of the server and of the client.
 *
 * Buffers are bounded: reading stops when `in` holds the configured number of
 * bytes (a head or trailer section may go beyond, up to the parser's limit),
 * and owners get CN_AGAIN while `out` holds as many.
 */
#include "http/h1mux_int.h"

enum {
    STARVING_READ = 4096,
    PIECE_MIN = 1024 /* do not split a body for less room than this */
};

void cn_h1_conn_init(cn_h1_conn_t *c, cn_loop_t *loop, cn_stream_t *stream, cn_h1_kind kind,
                     const cn_h1_limits_t *limits, size_t buffer, cn_task_cb *run)
{
    *c = (cn_h1_conn_t){.loop = loop, .stream = stream};
    c->buffer = buffer > 0 ? buffer : CN_H1_BUFFER;
    cn_h1_parser_init(&c->parser, kind, limits);
    cn_task_init(&c->task, loop, run);
    cn_stream_own(stream, &c->task);
}

void cn_h1_conn_fini(cn_h1_conn_t *c, bool abort)
{
    cn_task_fini(&c->task);
    cn_chain_clear(&c->in);
    cn_chain_clear(&c->out);
    if (c->stream) {
        cn_stream_own(c->stream, NULL);
        cn_stream_close(c->stream, abort);
    }
    c->stream = NULL;
    c->failed = true;
}

void cn_h1_conn_open(cn_h1_conn_t *c, const cn_exch_ops_t *ops, cn_task_t *owner)
{
    c->x = (cn_exch_t){.ops = ops, .owner = owner};
    c->open = true;
    c->msg = NULL;
    c->framing = CN_H1_FRAME_NONE;
    c->left = 0;
    c->tx = c->stream ? c->stream->tx : 0;
    c->sent = c->hold = c->want_write = false;
}

static void stream_failed(cn_h1_conn_t *c)
{
    c->failed = true;
    c->x.stream_err = c->stream->err;
    /* a request whose client is gone ends whatever it waits for; a response may
     * still have unread bytes here */
    if (c->parser.kind == CN_H1_REQUEST && c->x.xerr == CN_XERR_NONE) {
        c->x.xerr = CN_XERR_GONE;
        c->x.err_text = c->stream->err_text;
    }
    cn_exch_wake(&c->x, CN_WAKE_CLOSED);
}

/* Only one direction may have ended, or both: a tunnel that was cancelled.  While
 * bytes wait to be written, the write that is due will tell; an empty one would
 * take back its wake. */
static bool nobody_reads(cn_h1_conn_t *c)
{
    cn_chain_t none = {0};
    return c->parser.kind == CN_H1_REQUEST && !c->shut && c->out.bytes == 0 &&
           cn_stream_write(c->stream, &none) == CN_ERR;
}

bool cn_h1_conn_fill(cn_h1_conn_t *c, bool starving)
{
    size_t before = c->in.bytes, limit = c->buffer;
    if (starving && before >= limit)
        limit = before + STARVING_READ;
    while (!c->failed && !c->in_eof && c->in.bytes < limit) {
        cn_rc rc = cn_stream_read(c->stream, &c->in, limit - c->in.bytes);
        if (rc == CN_AGAIN)
            break;
        if (rc == CN_DONE)
            c->in_eof = true;
        else if (rc != CN_OK)
            stream_failed(c);
    }
    if (c->in_eof && !c->failed && nobody_reads(c))
        stream_failed(c);
    return c->in.bytes > before;
}

void cn_h1_conn_flush(cn_h1_conn_t *c)
{
    if (!c->failed && c->out.bytes > 0 && cn_stream_write(c->stream, &c->out) == CN_ERR) {
        /* The peer may have answered before it stopped listening. */
        cn_h1_conn_fill(c, false);
        cn_chain_clear(&c->out);
        stream_failed(c);
    }
    if (!c->failed && c->out.bytes == 0 && c->shut_due && !c->shut) {
        c->shut = true;
        cn_stream_shutdown(c->stream);
    }
    if (c->want_write && !c->hold && c->out.bytes <= c->buffer / 2) {
        c->want_write = false;
        cn_exch_wake(&c->x, CN_WAKE_WRITE);
    }
}

cn_rc cn_h1_conn_error(cn_h1_conn_t *c, cn_xerr err, const char *text)
{
    if (c->x.xerr == CN_XERR_NONE) {
        c->x.xerr = err;
        c->x.err_text = text;
    }
    return CN_ERR;
}

cn_rc cn_h1_conn_lost(cn_h1_conn_t *c, cn_xerr err)
{
    const char *text = c->failed ? "connection failed" : "connection closed";
    c->x.unsent = c->stream && c->stream->tx == c->tx;
    if (c->stream && c->stream->err != CN_SERR_NONE) {
        c->x.stream_err = c->stream->err;
        text = c->stream->err_text;
    }
    return cn_h1_conn_error(c, err, text);
}

/* ---- receiving ---- */

cn_rc cn_h1_conn_recv_head(cn_h1_conn_t *c, cn_msg_t *msg)
{
    cn_rc rc;
    do {
        size_t before = c->in.bytes;
        rc = cn_h1_parse_head(&c->parser, &c->in, msg);
        c->x.wire_rx += before - c->in.bytes;
    } while (rc == CN_AGAIN && cn_h1_conn_fill(c, true));
    if (rc == CN_ERR)
        cn_h1_conn_error(c, c->parser.err, c->parser.err_text);
    c->msg = msg;
    return rc;
}

cn_rc cn_h1_conn_recv_body(cn_h1_conn_t *c, cn_chain_t *dst, size_t max)
{
    cn_rc rc;
    do {
        size_t before = c->in.bytes;
        rc = cn_h1_parse_body(&c->parser, &c->in, dst, max, c->msg);
        c->x.wire_rx += before - c->in.bytes;
    } while (rc == CN_AGAIN && max > 0 && cn_h1_conn_fill(c, true));
    if (rc == CN_AGAIN && c->in_eof && c->parser.framing == CN_H1_FRAME_EOF)
        rc = cn_h1_parse_eof(&c->parser);
    if (rc == CN_ERR)
        cn_h1_conn_error(c, c->parser.err, c->parser.err_text);
    return rc;
}

/* ---- sending ---- */

void cn_h1_conn_head_sent(cn_h1_conn_t *c, size_t before, cn_h1_framing framing, uint64_t length)
{
    c->x.wire_tx += c->out.bytes - before;
    c->framing = framing;
    c->left = length;
    cn_task_wake(&c->task, CN_WAKE_SELF);
}

cn_rc cn_h1_conn_send_end(cn_h1_conn_t *c, const cn_headers_t *trailers)
{
    size_t before = c->out.bytes;
    if (c->sent)
        return CN_OK;
    if (c->framing == CN_H1_FRAME_LENGTH && c->left > 0)
        return cn_h1_conn_error(c, CN_XERR_PROTOCOL, "body shorter than its content-length");
    cn_h1_put_end(&c->out, c->framing, trailers);
    c->x.wire_tx += c->out.bytes - before;
    c->sent = true;
    c->shut_due = c->framing == CN_H1_FRAME_EOF;
    cn_task_wake(&c->task, CN_WAKE_SELF);
    return CN_OK;
}

/* How much of src may go out now. */
static size_t sendable(const cn_h1_conn_t *c, const cn_chain_t *src)
{
    size_t room = c->out.bytes < c->buffer ? c->buffer - c->out.bytes : 0;
    if (c->framing == CN_H1_FRAME_NONE || src->bytes <= room)
        return src->bytes;
    return room < PIECE_MIN && c->out.bytes > 0 ? 0 : room;
}

cn_rc cn_h1_conn_send_body(cn_h1_conn_t *c, cn_chain_t *src, bool eos, const cn_headers_t *trailers)
{
    size_t before = c->out.bytes;
    if (c->hold) {
        c->want_write = true;
        return CN_AGAIN;
    }
    size_t n = sendable(c, src);
    if (c->framing == CN_H1_FRAME_LENGTH) {
        if (src->bytes > c->left)
            return cn_h1_conn_error(c, CN_XERR_PROTOCOL, "body longer than its content-length");
        c->left -= n;
    }
    if (n > 0) {
        cn_chain_t piece = {0};
        cn_chain_move(&piece, src, n);
        cn_h1_put_body(&c->out, &piece, c->framing);
        cn_chain_clear(&piece);
        c->x.wire_tx += c->out.bytes - before;
        cn_task_wake(&c->task, CN_WAKE_SELF);
    }
    if (src->bytes > 0) {
        c->want_write = true;
        return CN_AGAIN;
    }
    return eos ? cn_h1_conn_send_end(c, trailers) : CN_OK;
}
