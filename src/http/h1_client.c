/* SPDX-License-Identifier: Apache-2.0
 *
 * The client side of an HTTP/1.1 connection: one exchange at a time, reused
 * while both sides keep it.  Knows nothing of pools and retries.  Owned by who
 * created it; the memory lives on until the exchange has been given back.
 *
 *   state       entered when                       left when
 *   CONNECTING  created                            the stream is ready -> READY, fails -> BROKEN
 *   READY       usable or in use                   the peer ends it, an exchange was not
 *                                                  complete -> BROKEN
 *   BROKEN      not usable any more                destroyed
 *
 * Bytes that arrive or an end that comes while no exchange is open break the
 * connection: they could only be read as the answer to the next request.
 */
#include <stdlib.h>

#include "http/h1mux_int.h"

enum { INFORMATIONAL_MAX = 100 };

typedef enum { CONNECTING, READY, BROKEN } state_t;

struct cn_h1_client {
    cn_h1_conn_t c;
    cn_task_t *idle;
    state_t state;
    bool served; /* a response was complete on it */
    bool abort;  /* an exchange was given up in the middle */
    /* of the current exchange */
    bool head_done;
    bool early;   /* answered before the request was complete */
    bool upgrade; /* a websocket was asked for */
    unsigned informational;
};

static cn_h1_client_t *self(cn_exch_t *x)
{
    return cn_container_of(x, cn_h1_client_t, c.x);
}

/* ---- the exchange, called by its owner ---- */

/* The stream ended or failed and all that came before was read. */
static cn_rc head_lost(cn_h1_client_t *cl)
{
    if (cl->c.in.bytes > 0)
        return cn_h1_conn_lost(&cl->c, CN_XERR_PROTOCOL);
    if (cl->c.stream && cl->c.stream->err == CN_SERR_UNPROCESSED)
        return cn_h1_conn_lost(&cl->c, CN_XERR_UNPROCESSED);
    return cn_h1_conn_lost(&cl->c, CN_XERR_GONE);
}

static cn_rc switched(cn_h1_client_t *cl, const cn_msg_t *msg)
{
    if (!cl->upgrade || !msg->upgrade_websocket)
        return cn_h1_conn_error(&cl->c, CN_XERR_PROTOCOL, "101 that nobody asked for");
    cn_h1_parser_upgrade(&cl->c.parser);
    cl->c.framing = CN_H1_FRAME_EOF;
    cl->head_done = true;
    return CN_OK;
}

static cn_rc head_arrived(cn_h1_client_t *cl, const cn_msg_t *msg)
{
    cn_rc rc = CN_OK;
    if (msg->status < 200 && msg->status != 101) {
        if (++cl->informational > INFORMATIONAL_MAX)
            return cn_h1_conn_error(&cl->c, CN_XERR_PROTOCOL, "too many informational responses");
        cn_h1_parser_next(&cl->c.parser);
        return CN_OK;
    }
    cl->early = !cl->c.sent || cl->c.out.bytes > 0;
    cl->head_done = true;
    if (msg->status == 101)
        rc = switched(cl, msg);
    if (cl->c.hold) {
        cl->c.hold = false;
        cn_exch_wake(&cl->c.x, CN_WAKE_WRITE);
    }
    return rc;
}

static cn_rc exch_recv_head(cn_exch_t *x, cn_msg_t *msg)
{
    cn_h1_client_t *cl = self(x);
    if (x->xerr != CN_XERR_NONE)
        return CN_ERR;
    if (cl->state == CONNECTING)
        return CN_AGAIN;
    if (cl->head_done)
        return cn_h1_conn_error(&cl->c, CN_XERR_PROTOCOL, "no further response head");
    cn_rc rc = cn_h1_conn_recv_head(&cl->c, msg);
    if (rc == CN_OK)
        return head_arrived(cl, msg);
    if (rc == CN_AGAIN && (cl->c.failed || cl->c.in_eof))
        return head_lost(cl);
    return rc;
}

static cn_rc exch_recv_body(cn_exch_t *x, cn_chain_t *dst, size_t max)
{
    cn_h1_client_t *cl = self(x);
    if (x->xerr != CN_XERR_NONE)
        return CN_ERR;
    CN_BUG_ON(!cl->head_done);
    cn_rc rc = cn_h1_conn_recv_body(&cl->c, dst, max);
    if (rc != CN_AGAIN || (!cl->c.failed && !cl->c.in_eof))
        return rc;
    /* Framing says that more was to come, except when the end is the framing. */
    bool until_end = cl->c.parser.framing == CN_H1_FRAME_EOF;
    return cn_h1_conn_lost(&cl->c, until_end ? CN_XERR_GONE : CN_XERR_PROTOCOL);
}

static bool is_dead(const cn_h1_client_t *cl)
{
    return cl->c.failed || cl->state == BROKEN || cl->c.x.xerr != CN_XERR_NONE;
}

/* What recv_head() finds in the buffer may still be an answer; so a lost
 * connection is told here but its cause is left to be found there. */
static cn_rc exch_send_head(cn_exch_t *x, const cn_msg_t *msg, bool eos)
{
    cn_h1_client_t *cl = self(x);
    size_t before = cl->c.out.bytes;
    if (is_dead(cl))
        return CN_ERR;
    if (cn_str_eq(msg->method, CN_STR("HEAD")))
        cl->c.parser.req_method = CN_STR("HEAD");
    else if (cn_str_eq(msg->method, CN_STR("CONNECT")))
        cl->c.parser.req_method = CN_STR("CONNECT");
    else
        cl->c.parser.req_method = CN_STR_NULL;
    cn_h1_framing framing = cn_h1_put_request(&cl->c.out, msg, eos);
    cn_h1_conn_head_sent(&cl->c, before, framing, msg->content_length);
    cl->upgrade = cl->c.hold = msg->upgrade_websocket;
    return eos || (framing == CN_H1_FRAME_NONE && !cl->upgrade) ? cn_h1_conn_send_end(&cl->c, NULL)
                                                                : CN_OK;
}

static cn_rc exch_send_body(cn_exch_t *x, cn_chain_t *src, bool eos, const cn_headers_t *trailers)
{
    cn_h1_client_t *cl = self(x);
    if (is_dead(cl))
        return CN_ERR;
    return cn_h1_conn_send_body(&cl->c, src, eos, trailers);
}

static bool is_reusable(const cn_h1_client_t *cl)
{
    const cn_h1_conn_t *c = &cl->c;
    return cl->state == READY && cl->head_done && cn_h1_parser_complete(&c->parser) &&
           c->parser.keep_alive && c->sent && c->out.bytes == 0 && c->in.bytes == 0 && !cl->early &&
           !cl->upgrade && c->x.xerr == CN_XERR_NONE && !c->failed && !c->in_eof;
}

static void exch_close(cn_exch_t *x)
{
    cn_h1_client_t *cl = self(x);
    CN_BUG_ON(!cl->c.open);
    cl->c.open = false;
    x->owner = NULL;
    if (cl->c.zombie) {
        cn_loop_retire(cl->c.loop, free, cl);
        return;
    }
    if (is_reusable(cl)) {
        cl->served = true;
        cn_h1_parser_next(&cl->c.parser);
        cn_task_wake(&cl->c.task, CN_WAKE_SELF); /* bytes may have come behind the response */
        return;
    }
    cl->abort = !cl->c.sent || !cl->head_done || !cn_h1_parser_complete(&cl->c.parser);
    cl->state = BROKEN;
}

static void exch_last(cn_exch_t *x CN_UNUSED)
{
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

static void run_connecting(cn_h1_client_t *cl)
{
    cn_rc rc = cn_stream_ready(cl->c.stream);
    if (rc == CN_AGAIN)
        return;
    if (rc == CN_OK) {
        cl->state = READY;
        cn_exch_wake(&cl->c.x, CN_WAKE_STATE);
        return;
    }
    cl->state = BROKEN;
    cl->c.failed = true;
    if (cl->c.open) {
        cn_h1_conn_lost(&cl->c, CN_XERR_STREAM);
        cn_exch_wake(&cl->c.x, CN_WAKE_CLOSED);
    } else if (cl->idle) {
        cn_task_wake(cl->idle, CN_WAKE_CLOSED);
    }
}

/* No exchange is open: whatever came breaks the connection. */
static void look_while_idle(cn_h1_client_t *cl)
{
    if (cl->c.in.bytes == 0 && !cl->c.in_eof && !cl->c.failed)
        return;
    cl->state = BROKEN;
    if (cl->idle)
        cn_task_wake(cl->idle, CN_WAKE_CLOSED);
}

static void run_ready(cn_h1_client_t *cl, uint32_t why)
{
    cn_h1_conn_flush(&cl->c);
    bool got = cn_h1_conn_fill(&cl->c, false);
    if (!cl->c.open)
        look_while_idle(cl);
    else if (got || (why & CN_WAKE_READ))
        cn_exch_wake(&cl->c.x, CN_WAKE_READ);
}

static void client_run(cn_task_t *task, uint32_t why)
{
    cn_h1_client_t *cl = cn_container_of(task, cn_h1_client_t, c.task);
    if (cl->state == CONNECTING)
        run_connecting(cl);
    if (cl->state == READY)
        run_ready(cl, why);
}

/* ---- for the creator ---- */

cn_h1_client_t *cn_h1_client_create(cn_loop_t *loop, cn_stream_t *stream, cn_task_t *idle)
{
    cn_h1_client_t *cl = cn_xzalloc(sizeof(*cl));
    cl->idle = idle;
    cn_h1_conn_init(&cl->c, loop, stream, CN_H1_RESPONSE, &cn_h1_limits_response, CN_H1_BUFFER,
                    client_run);
    return cl;
}

bool cn_h1_client_usable(const cn_h1_client_t *cl)
{
    return !cl->c.open && cl->state != BROKEN && !cl->c.failed && !cl->c.in_eof;
}

bool cn_h1_client_check(cn_h1_client_t *cl)
{
    if (cn_h1_client_usable(cl) && cl->state == READY) {
        cn_h1_conn_fill(&cl->c, false);
        look_while_idle(cl);
    }
    return cn_h1_client_usable(cl);
}

cn_exch_t *cn_h1_client_open(cn_h1_client_t *cl, cn_task_t *owner)
{
    CN_BUG_ON(cl->c.open);
    cn_h1_conn_open(&cl->c, &exch_ops, owner);
    cl->c.x.reused = cl->served;
    cl->head_done = cl->early = cl->upgrade = false;
    cl->informational = 0;
    if (cl->state == BROKEN) {
        cn_h1_conn_lost(&cl->c, CN_XERR_GONE);
        cn_exch_wake(&cl->c.x, CN_WAKE_CLOSED);
    }
    return &cl->c.x;
}

cn_stream_t *cn_h1_client_stream(cn_h1_client_t *cl)
{
    return cl->c.stream;
}

void cn_h1_client_destroy(cn_h1_client_t *cl)
{
    cn_h1_conn_fini(&cl->c, cl->c.open || cl->abort);
    cl->state = BROKEN;
    if (!cl->c.open) {
        cn_loop_retire(cl->c.loop, free, cl);
        return;
    }
    cl->c.zombie = true;
    cn_h1_conn_lost(&cl->c, CN_XERR_GONE);
    cn_exch_wake(&cl->c.x, CN_WAKE_CLOSED);
}
