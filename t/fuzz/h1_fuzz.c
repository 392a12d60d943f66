/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP/1 codec on any bytes.  The first byte says what they are (bit 0:
 * responses, bit 1: to HEAD) and seeds how they are split.
 *
 * What must hold: the outcome does not depend on the splits; a message that
 * was accepted, written again and read again is the same message.
 */
#include <stdlib.h>

#include "core/chain.h"
#include "core/rand.h"
#include "http/h1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    cn_msg_t head;
    cn_chain_t body;
    bool complete;
} message_t;

typedef struct {
    cn_pool_t *pool;
    cn_h1_kind kind;
    cn_str_t method;
    cn_h1_limits_t limits;
    cn_vec_t messages; /* message_t * */
    cn_xerr err;
    bool orderly; /* the end of the input is the end of a message */
} outcome_t;

static bool same_list(const cn_headers_t *a, const cn_headers_t *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        if (!cn_str_eq(a->v[i].name, b->v[i].name) || !cn_str_eq(a->v[i].value, b->v[i].value))
            return false;
    }
    return true;
}

static bool same_chain(const cn_chain_t *a, const cn_chain_t *b)
{
    if (a->bytes != b->bytes)
        return false;
    char *p = cn_xmalloc(a->bytes * 2 + 1);
    cn_chain_peek(a, p, a->bytes);
    cn_chain_peek(b, p + a->bytes, b->bytes);
    bool same = memcmp(p, p + a->bytes, a->bytes) == 0;
    free(p);
    return same;
}

static bool same_head(const cn_msg_t *a, const cn_msg_t *b)
{
    return cn_str_eq(a->method, b->method) && cn_str_eq(a->target, b->target) &&
           cn_str_eq(a->authority, b->authority) && cn_str_eq(a->path, b->path) &&
           cn_str_eq(a->query, b->query) && a->has_query == b->has_query &&
           a->status == b->status && a->expect_continue == b->expect_continue &&
           a->upgrade_websocket == b->upgrade_websocket && same_list(&a->headers, &b->headers);
}

static message_t *message_at(const outcome_t *o, uint32_t i)
{
    return ((message_t **)o->messages.v)[i];
}

/* ---- reading ---- */

static bool read_body(outcome_t *o, cn_h1_parser_t *p, cn_chain_t *in, cn_rand_t *rand)
{
    message_t *m = message_at(o, o->messages.n - 1);
    cn_rc rc;
    do {
        size_t max = rand ? 1 + cn_rand_below(rand, 100) : SIZE_MAX / 2;
        size_t before = m->body.bytes;
        rc = cn_h1_parse_body(p, in, &m->body, max, &m->head);
        CN_BUG_ON(m->body.bytes - before > max);
        CN_BUG_ON((rc == CN_OK) != (m->body.bytes > before));
    } while (rc == CN_OK);
    m->complete = rc == CN_DONE;
    return m->complete;
}

static void read_available(outcome_t *o, cn_h1_parser_t *p, cn_chain_t *in, cn_rand_t *rand,
                           bool *in_body)
{
    for (;;) {
        if (*in_body) {
            if (!read_body(o, p, in, rand))
                return;
            cn_h1_parser_next(p);
            *in_body = false;
        }
        message_t *m = cn_pool_zalloc(o->pool, sizeof(*m));
        cn_msg_init(&m->head, o->pool);
        if (cn_h1_parse_head(p, in, &m->head) != CN_OK)
            return;
        *(message_t **)cn_vec_push(o->pool, &o->messages, sizeof(m)) = m;
        *in_body = true;
    }
}

static void read_all(outcome_t *o, const cn_chain_t *input, cn_rand_t *rand)
{
    cn_h1_parser_t p;
    cn_chain_t rest = {0}, in = {0};
    bool in_body = false;
    cn_h1_parser_init(&p, o->kind, &o->limits);
    p.req_method = o->method;
    for (uint32_t i = 0; i < input->n; i++) {
        const cn_buf_t *b = cn_chain_at(input, i);
        cn_chain_push(&rest, cn_chunk_ref(b->chunk), b->off, b->len);
    }
    while (rest.bytes > 0 && p.err == CN_XERR_NONE) {
        size_t n = rest.bytes;
        if (rand && cn_rand_below(rand, 8) > 0)
            n = 1 + cn_rand_below(rand, n < 40 ? (uint32_t)n : 40);
        cn_chain_move(&in, &rest, n);
        read_available(o, &p, &in, rand, &in_body);
    }
    o->orderly = p.err == CN_XERR_NONE && cn_h1_parse_eof(&p) == CN_DONE;
    o->err = p.err;
    if (o->orderly && in_body)
        message_at(o, o->messages.n - 1)->complete = true;
    cn_chain_clear(&rest);
    cn_chain_clear(&in);
}

static void outcome_fini(outcome_t *o)
{
    for (uint32_t i = 0; i < o->messages.n; i++)
        cn_chain_clear(&message_at(o, i)->body);
    cn_pool_destroy(o->pool);
}

static outcome_t outcome_init(cn_h1_kind kind, cn_str_t method, const cn_h1_limits_t *limits)
{
    return (outcome_t){
        .pool = cn_pool_create(0), .kind = kind, .method = method, .limits = *limits};
}

/* ---- what must hold ---- */

static void check_same(const outcome_t *a, const outcome_t *b)
{
    CN_BUG_ON(a->messages.n != b->messages.n || a->err != b->err || a->orderly != b->orderly);
    for (uint32_t i = 0; i < a->messages.n; i++) {
        message_t *x = message_at(a, i), *y = message_at(b, i);
        CN_BUG_ON(x->complete != y->complete || !same_chain(&x->body, &y->body));
        CN_BUG_ON(!same_head(&x->head, &y->head) ||
                  x->head.content_length != y->head.content_length ||
                  !same_list(&x->head.trailers, &y->head.trailers));
    }
}

static void write_message(const outcome_t *o, message_t *m, cn_chain_t *out)
{
    cn_chain_t body = {0};
    cn_h1_framing framing;
    bool eos = !m->head.has_body;
    if (o->kind == CN_H1_REQUEST)
        framing = cn_h1_put_request(out, &m->head, eos);
    else
        framing = cn_h1_put_response(out, &m->head, o->method, false, false);
    for (uint32_t i = 0; i < m->body.n; i++) {
        const cn_buf_t *b = cn_chain_at(&m->body, i);
        cn_chain_push(&body, cn_chunk_ref(b->chunk), b->off, b->len);
        cn_h1_put_body(out, &body, framing);
    }
    cn_h1_put_end(out, framing, &m->head.trailers);
    cn_chain_clear(&body);
}

/* More room than the first reading had: framing fields may have been added. */
static const cn_h1_limits_t generous = {1 << 20, 1 << 20, 200};

static void check_rewritten(const outcome_t *o, message_t *m)
{
    cn_chain_t out = {0};
    outcome_t again = outcome_init(o->kind, o->method, &generous);
    write_message(o, m, &out);
    read_all(&again, &out, NULL);
    CN_BUG_ON(again.err != CN_XERR_NONE || again.messages.n != 1 || !again.orderly);
    message_t *n = message_at(&again, 0);
    CN_BUG_ON(!same_head(&m->head, &n->head) || !same_chain(&m->body, &n->body));
    CN_BUG_ON(!same_list(&m->head.trailers, &n->head.trailers));
    uint64_t length = n->head.content_length;
    CN_BUG_ON(length != m->head.content_length && (length != 0 || m->body.bytes > 0));
    outcome_fini(&again);
    cn_chain_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    cn_h1_kind kind = data[0] & 1 ? CN_H1_RESPONSE : CN_H1_REQUEST;
    cn_str_t method = data[0] & 2 ? CN_STR("HEAD") : CN_STR("GET");
    const cn_h1_limits_t *limits =
        kind == CN_H1_REQUEST ? &cn_h1_limits_default : &cn_h1_limits_response;
    cn_rand_t rand;
    cn_chain_t input = {0};
    cn_rand_init(&rand, data[0] + 1u);
    cn_chain_copy(&input, data + 1, size - 1);
    outcome_t whole = outcome_init(kind, method, limits);
    outcome_t split = outcome_init(kind, method, limits);
    read_all(&whole, &input, NULL);
    read_all(&split, &input, &rand);
    check_same(&whole, &split);
    for (uint32_t i = 0; i < whole.messages.n; i++) {
        message_t *m = message_at(&whole, i);
        /* A 101 that accepts no websocket is refused above the codec. */
        if (m->complete && (m->head.status != 101 || m->head.upgrade_websocket))
            check_rewritten(&whole, m);
    }
    outcome_fini(&whole);
    outcome_fini(&split);
    cn_chain_clear(&input);
    return 0;
}
