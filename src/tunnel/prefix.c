/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream whose first bytes were already read by a look at them: gives them
 * out first and is otherwise the stream itself.  Owns the lower stream.
 */
#include <stdlib.h>

#include "tunnel/tunnel.h"

typedef struct {
    cn_stream_t s;
    cn_stream_t *lower;
    cn_chain_t head;
} prefix_t;

/* The lower stream wakes its owner; ours may have changed since. */
static prefix_t *self(cn_stream_t *s)
{
    prefix_t *p = cn_container_of(s, prefix_t, s);

    p->lower->owner = s->owner;
    return p;
}

static cn_rc pass(prefix_t *p, cn_rc rc)
{
    p->s.err = p->lower->err;
    p->s.err_text = p->lower->err_text;
    p->s.tx = p->lower->tx;
    p->s.rx = p->lower->rx;
    return rc;
}

static cn_rc prefix_ready(cn_stream_t *s)
{
    prefix_t *p = self(s);

    return pass(p, cn_stream_ready(p->lower));
}

static cn_rc prefix_read(cn_stream_t *s, cn_chain_t *dst, size_t max)
{
    prefix_t *p = self(s);

    if (p->head.bytes) {
        cn_chain_move(dst, &p->head, max < p->head.bytes ? max : p->head.bytes);
        return CN_OK;
    }
    return pass(p, cn_stream_read(p->lower, dst, max));
}

static cn_rc prefix_write(cn_stream_t *s, cn_chain_t *src)
{
    prefix_t *p = self(s);

    return pass(p, cn_stream_write(p->lower, src));
}

static void prefix_shutdown(cn_stream_t *s)
{
    cn_stream_shutdown(self(s)->lower);
}

static void prefix_close(cn_stream_t *s, bool abort)
{
    prefix_t *p = self(s);

    p->lower->owner = NULL;
    cn_stream_close(p->lower, abort);
    cn_chain_clear(&p->head);
    free(p);
}

static const cn_peer_t *prefix_peer(cn_stream_t *s)
{
    return cn_stream_peer(self(s)->lower);
}

static const cn_stream_ops_t ops = {prefix_ready,    prefix_read,  prefix_write,
                                    prefix_shutdown, prefix_close, prefix_peer};

cn_stream_t *cn_tunnel_prefix(cn_stream_t *lower, cn_chain_t *head)
{
    prefix_t *p = cn_xzalloc(sizeof(*p));

    p->s.ops = &ops;
    p->s.owner = lower->owner;
    p->s.rx = lower->rx;
    p->lower = lower;
    cn_chain_move(&p->head, head, head->bytes);
    return &p->s;
}
