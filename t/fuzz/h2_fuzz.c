/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP/2 session, server or client, against a peer that sends whatever it
 * likes.  The first byte says which and how bytes are cut; CONNECT becomes an
 * echoing tunnel, other requests are answered 404 or with their own heads,
 * bodies and trailers, and the client asks for a few of its own.
 */
#include <stdint.h>
#include <stdlib.h>

#include "../unit/fixture/memstream.h"
#include "../unit/fixture/talker.h"
#include "core/log.h"
#include "http/h2mux.h"

#define TALKERS 16
#define ROUNDS 12

#define SENT 70000u /* bytes of a client's request */

enum { CLIENT = 1, CUT = 2, DEAF = 4, DRAIN = 8, SMALL = 16, ECHO = 32 };

/* The user of an exchange. */
typedef struct {
    cn_task_t task;
    cn_exch_t *x; /* NULL: given back */
    cn_msg_t msg;
    cn_chain_t in, out;
    bool client, headed, eos, deaf;
} user_t;

typedef struct {
    cn_loop_t *loop;
    cn_pool_t *mem;
    cn_talker_t far[TALKERS];
    user_t users[TALKERS];
    unsigned nfar, nusers;
    bool deaf, echo, closed;
} world_t;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- exchanges ---- */

static void let_go(user_t *u)
{
    if (u->x) {
        u->x->owner = NULL;
        u->x->ops->close(u->x);
    }
    u->x = NULL;
    cn_chain_clear(&u->in);
    cn_chain_clear(&u->out);
}

static cn_rc answer(user_t *u)
{
    cn_msg_t head = u->msg;

    head.status = u->msg.upgrade_websocket ? 101 : 200;
    head.content_length = CN_LENGTH_NONE;
    return u->x->ops->send_head(u->x, &head, false);
}

static cn_rc take_head(user_t *u)
{
    cn_rc rc = CN_OK;

    while (!u->headed && rc == CN_OK) {
        rc = u->x->ops->recv_head(u->x, &u->msg);
        u->headed = rc == CN_OK && (!u->client || u->msg.status >= 200 || u->msg.status == 101);
        if (u->headed && !u->client)
            rc = answer(u);
    }
    return rc;
}

static cn_rc take_body(user_t *u)
{
    cn_rc rc = CN_OK;

    while (rc == CN_OK && !u->eos && u->in.bytes < 4096)
        rc = u->x->ops->recv_body(u->x, &u->in, 4096);
    u->eos = u->eos || rc == CN_DONE;
    return rc == CN_ERR ? CN_ERR : CN_OK;
}

static void use(cn_task_t *task, uint32_t why CN_UNUSED)
{
    user_t *u = cn_container_of(task, user_t, task);
    cn_rc rc = CN_OK;

    if (!u->x)
        return;
    if (u->client && u->out.bytes)
        rc = u->x->ops->send_body(u->x, &u->out, true, NULL);
    if (rc != CN_ERR)
        rc = take_head(u);
    if (rc == CN_OK && u->headed && !u->deaf)
        rc = take_body(u);
    if (rc == CN_OK && u->headed && u->client)
        cn_chain_clear(&u->in);
    else if (rc == CN_OK && u->headed)
        rc = u->x->ops->send_body(u->x, &u->in, u->eos, &u->msg.trailers);
    if (rc == CN_ERR || (rc == CN_OK && u->eos))
        let_go(u);
    else if (rc == CN_OK && u->headed && u->in.bytes == 0 && !u->deaf)
        cn_task_wake(task, CN_WAKE_SELF);
}

static user_t *user_new(world_t *w, cn_exch_t *x, bool client)
{
    user_t *u = &w->users[w->nusers++];

    cn_task_init(&u->task, w->loop, use);
    cn_msg_init(&u->msg, w->mem);
    u->client = client;
    u->deaf = w->deaf;
    u->x = x;
    if (x)
        x->owner = &u->task;
    return u;
}

static void ask(world_t *w, cn_h2_t *h, bool websocket)
{
    static char bytes[SENT];
    user_t *u = user_new(w, NULL, true);
    cn_msg_t head;

    u->x = cn_h2_open(h, &u->task);
    if (!u->x)
        return;
    cn_msg_init(&head, w->mem);
    head.method = websocket ? CN_STR("GET") : CN_STR("POST");
    head.authority = CN_STR("a");
    head.target = CN_STR("/");
    head.upgrade_websocket = websocket;
    head.has_body = true;
    cn_chain_copy(&u->out, bytes, sizeof(bytes));
    if (u->x->ops->send_head(u->x, &head, false) != CN_OK)
        let_go(u);
    cn_task_wake(&u->task, CN_WAKE_SELF);
}

/* ---- tunnels ---- */

static void on_request(void *ctx, cn_exch_t *x)
{
    world_t *w = ctx;
    cn_msg_t head;
    bool tunnel;

    if (w->echo && w->nusers < TALKERS) {
        cn_task_wake(&user_new(w, x, false)->task, CN_WAKE_READ);
        return;
    }
    cn_msg_init(&head, w->mem);
    if (x->ops->recv_head(x, &head) != CN_OK || w->nfar == TALKERS) {
        x->ops->close(x);
        return;
    }
    tunnel = cn_str_eq(head.method, CN_STR("CONNECT"));
    head.headers.n = 0;
    head.content_length = CN_LENGTH_NONE;
    head.status = tunnel ? 200 : 404;
    if (x->ops->send_head(x, &head, !tunnel) != CN_OK || !tunnel) {
        x->ops->close(x);
        return;
    }
    cn_talker_init(&w->far[w->nfar], w->loop, cn_h2_stream(x, NULL));
    w->far[w->nfar].echo = true;
    w->far[w->nfar++].deaf = w->deaf;
}

static void on_closed(void *ctx)
{
    ((world_t *)ctx)->closed = true;
}

static void open_tunnel(world_t *w, cn_h2_t *h)
{
    cn_exch_t *x = cn_h2_open(h, NULL);
    cn_msg_t head;

    if (!x)
        return;
    cn_msg_init(&head, w->mem);
    head.method = CN_STR("CONNECT");
    head.authority = CN_STR("10.0.0.1:80");
    if (x->ops->send_head(x, &head, false) != CN_OK) {
        x->ops->close(x);
        return;
    }
    cn_talker_init(&w->far[w->nfar], w->loop, cn_h2_stream(x, NULL));
    cn_talker_send(&w->far[w->nfar++], 100000, true);
}

static void rounds(world_t *w)
{
    for (int i = 0; i < ROUNDS; i++)
        cn_loop_round(w->loop, 0);
}

static void feed(world_t *w, cn_stream_t *wire, const uint8_t *data, size_t size, bool server)
{
    cn_chain_t c;

    cn_chain_init(&c);
    if (server)
        cn_chain_puts(&c, CN_STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    cn_chain_copy(&c, data, size);
    if (cn_stream_write(wire, &c) == CN_OK)
        rounds(w);
    /* What the session says is not looked at, but makes room. */
    cn_chain_clear(&c);
    while (cn_stream_read(wire, &c, 1000000) == CN_OK)
        cn_chain_skip(&c, c.bytes);
    cn_chain_clear(&c);
    rounds(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const cn_h2_cbs_t cbs = {.request = on_request, .closed = on_closed};
    world_t w = {0};
    cn_h2_conf_t conf = cn_h2_conf_hbone;
    cn_mempair_t pair;
    cn_h2_t *h;
    uint8_t mode;

    if (size == 0)
        return 0;
    mode = data[0];
    cn_log_set_level(CN_LOG_EMERG);
    w.loop = cn_loop_create();
    w.mem = cn_pool_create(0);
    w.deaf = mode & DEAF;
    w.echo = mode & ECHO;
    if (mode & SMALL) {
        conf.max_streams = 3;
        conf.max_header_list = 200;
        conf.send_buffer = 100;
    }
    pair = cn_memstream_pair(w.loop, SIZE_MAX, SIZE_MAX);
    cn_memstream_set_read_max(pair.b, mode & CUT ? 5 : 0);
    if (mode & CLIENT) {
        h = cn_h2_client_create(w.loop, pair.b, &conf, &cbs, &w);
        for (int i = 0; i < 3 && !w.echo; i++)
            open_tunnel(&w, h);
        for (int i = 0; i < 3 && w.echo; i++)
            ask(&w, h, i == 1);
    } else {
        h = cn_h2_server_create(w.loop, pair.b, &conf, &cbs, &w);
    }
    if (mode & DRAIN)
        cn_h2_drain(h);
    feed(&w, pair.a, data + 1, size - 1, !(mode & CLIENT));
    cn_stream_close(pair.a, mode & CUT);
    rounds(&w);
    for (unsigned i = 0; i < w.nfar; i++)
        cn_talker_fini(&w.far[i], i & 1);
    for (unsigned i = 0; i < w.nusers; i++) {
        let_go(&w.users[i]);
        cn_task_fini(&w.users[i].task);
    }
    if (!w.closed)
        cn_h2_destroy(h);
    rounds(&w);
    cn_pool_destroy(w.mem);
    cn_loop_destroy(w.loop);
    return 0;
}
