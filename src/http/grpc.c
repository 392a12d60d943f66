/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts gRPC messages in a body as it passes, whatever pieces it comes in.
 */
#include "http/grpc.h"

static uint32_t length_of(const uint8_t *prefix)
{
    return (uint32_t)prefix[1] << 24 | (uint32_t)prefix[2] << 16 | (uint32_t)prefix[3] << 8 |
           prefix[4];
}

/* How many of the bytes are the current message's payload. */
static uint32_t payload(cn_grpc_count_t *c, uint32_t n)
{
    uint32_t part = c->left < n ? c->left : n;

    c->left -= part;
    return part;
}

static void look(cn_grpc_count_t *c, const char *p, uint32_t n)
{
    uint32_t at = payload(c, n);

    while (at < n) {
        c->prefix[c->have++] = (uint8_t)p[at++];
        if (c->have < CN_GRPC_PREFIX)
            continue;
        c->have = 0;
        c->messages++;
        c->left = length_of(c->prefix);
        at += payload(c, n - at);
    }
}

void cn_grpc_count(cn_grpc_count_t *c, const cn_chain_t *body)
{
    for (uint32_t i = 0; i < body->n; i++) {
        const cn_buf_t *b = cn_chain_at(body, i);

        look(c, b->chunk->data + b->off, b->len);
    }
}
