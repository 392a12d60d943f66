/* SPDX-License-Identifier: Apache-2.0
 *
 * L4 relay: bytes both ways between two streams, each direction ending on its
 * own (RFC 9293 3.6: half-close).  At most one buffer per direction is held; a
 * side that does not read stops the other from being read.
 */
#include "tunnel/tunnel.h"

#define HOLD 65536u

void cn_relay_init(cn_relay_t *r, cn_stream_t *a, cn_stream_t *b)
{
    *r = (cn_relay_t){.a = a, .b = b};
}

void cn_relay_fini(cn_relay_t *r)
{
    cn_chain_clear(&r->ab);
    cn_chain_clear(&r->ba);
}

typedef struct {
    cn_stream_t *from, *to;
    cn_chain_t *held;
    bool *eof, *shut;
} way_t;

/* CN_DONE: the other side has ended and takes no more.  That is no failure of what it
 * said, which is delivered; what is for it is forgotten, as behind a close. */
static cn_rc refused(const way_t *w)
{
    if (!w->to->had_enough)
        return CN_ERR;
    cn_chain_clear(w->held);
    *w->shut = true;
    return CN_DONE;
}

/* One step of one direction.  CN_OK: moved bytes; CN_AGAIN: waits for either
 * side; CN_DONE: ended. */
static cn_rc step(const way_t *w, size_t *moved)
{
    size_t before = w->held->bytes;
    cn_rc rc;

    if (!*w->eof && w->held->bytes < HOLD) {
        rc = cn_stream_read(w->from, w->held, HOLD - w->held->bytes);
        if (rc == CN_ERR)
            return CN_ERR;
        *w->eof = rc == CN_DONE;
        *moved += w->held->bytes - before;
    }
    before = w->held->bytes;
    if (before && cn_stream_write(w->to, w->held) == CN_ERR)
        return refused(w);
    if (w->held->bytes == 0 && *w->eof && !*w->shut) {
        cn_stream_shutdown(w->to);
        *w->shut = true;
    }
    if (*w->shut)
        return CN_DONE;
    return before > w->held->bytes ? CN_OK : CN_AGAIN;
}

static cn_rc run_way(const way_t *w, size_t budget, bool *more)
{
    size_t moved = 0;
    cn_rc rc = CN_DONE;

    if (*w->shut)
        return CN_DONE;
    while (moved < budget && (rc = step(w, &moved)) == CN_OK)
        continue;
    if (rc == CN_OK)
        *more = true;
    return rc;
}

/* A side that has ended its direction, or is stopped because the other does not
 * read, is not read; whether it still listens must be asked, or its reset would
 * show only with the next byte.  With bytes held for it a write was tried just
 * now, and its wake is still to come. */
static cn_rc ask(const way_t *from, const way_t *to)
{
    bool unread = *from->eof || from->held->bytes >= HOLD;
    cn_chain_t none = {0};

    if (unread && !*to->shut && to->held->bytes == 0 &&
        cn_stream_write(from->from, &none) == CN_ERR)
        return refused(to);
    return CN_OK;
}

cn_rc cn_relay_run(cn_relay_t *r, size_t budget, bool *more)
{
    way_t forth = {r->a, r->b, &r->ab, &r->a_eof, &r->b_shut};
    way_t back = {r->b, r->a, &r->ba, &r->b_eof, &r->a_shut};

    *more = false;
    if (run_way(&forth, budget, more) == CN_ERR || run_way(&back, budget, more) == CN_ERR ||
        ask(&forth, &back) == CN_ERR || ask(&back, &forth) == CN_ERR)
        return CN_ERR;
    return r->a_shut && r->b_shut ? CN_DONE : CN_AGAIN;
}
