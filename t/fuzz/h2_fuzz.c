/* SPDX-License-Identifier: Apache-2.0
 *
 * An HTTP/2 session, server or client, against a peer that sends whatever it
 * likes.  The first byte says which and how bytes are cut; requests become
 * echoing tunnels, and the client opens a few of its own.
 */
#include <stdint.h>
#include <stdlib.h>

#include "../unit/fixture/memstream.h"
#include "../unit/fixture/talker.h"
#include "core/log.h"
#include "http/h2mux.h"

#define TALKERS 16
#define ROUNDS 12

enum { CLIENT = 1, CUT = 2, DEAF = 4, DRAIN = 8, SMALL = 16 };

typedef struct {
    cn_loop_t *loop;
    cn_pool_t *mem;
    cn_talker_t far[TALKERS];
    unsigned nfar;
    bool deaf, closed;
} world_t;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_request(void *ctx, cn_exch_t *x)
{
    world_t *w = ctx;
    cn_msg_t head;
    bool tunnel;

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
    if (mode & SMALL) {
        conf.max_streams = 3;
        conf.max_header_list = 200;
        conf.send_buffer = 100;
    }
    pair = cn_memstream_pair(w.loop, SIZE_MAX, SIZE_MAX);
    cn_memstream_set_read_max(pair.b, mode & CUT ? 5 : 0);
    if (mode & CLIENT) {
        h = cn_h2_client_create(w.loop, pair.b, &conf, &cbs, &w);
        for (int i = 0; i < 3; i++)
            open_tunnel(&w, h);
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
    if (!w.closed)
        cn_h2_destroy(h);
    rounds(&w);
    cn_pool_destroy(w.mem);
    cn_loop_destroy(w.loop);
    return 0;
}
