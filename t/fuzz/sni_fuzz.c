/* SPDX-License-Identifier: Apache-2.0
 *
 * The first bytes of a connection, cut into slices: is it HTTP, is it a TLS
 * hello, and for whom.  What must hold: nothing depends on how the bytes are
 * cut; an answer does not change as more bytes come; and a name is one that
 * could stand in a policy or a log.
 */
#include "tunnel/tunnel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fill(cn_chain_t *c, const uint8_t *data, size_t n, size_t step)
{
    cn_chain_init(c);
    for (size_t at = 0; at < n; at += step) {
        size_t k = n - at < step ? n - at : step;
        cn_chunk_t *chunk = cn_chunk_new(k);

        memcpy(chunk->data, data + at, k);
        chunk->used = (uint32_t)k;
        cn_chain_push(c, chunk, 0, (uint32_t)k);
    }
}

static void check_name(const cn_hello_t *h)
{
    CN_BUG_ON(h->n > sizeof(h->name));
    for (size_t i = 0; i < h->n; i++) {
        char c = h->name[i];

        CN_BUG_ON(!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' &&
                  c != '.');
    }
}

static cn_rc look(const uint8_t *data, size_t n, size_t step, cn_hello_t *h, cn_sniff *what)
{
    cn_chain_t c;
    cn_rc rc;

    fill(&c, data, n, step);
    *what = cn_tunnel_sniff(&c);
    rc = cn_tunnel_hello(&c, h);
    CN_BUG_ON(c.bytes != n);
    cn_chain_clear(&c);
    check_name(h);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cn_hello_t whole, cut, less;
    cn_sniff what, what_cut, what_less;
    size_t step, part;
    cn_rc rc, rc_less;

    if (size < 2)
        return 0;
    step = data[0] % 64 + 1;
    part = (size - 2) * data[1] / 255;
    data += 2;
    size -= 2;
    rc = look(data, size, size ? size : 1, &whole, &what);
    CN_BUG_ON(look(data, size, step, &cut, &what_cut) != rc || what != what_cut);
    CN_BUG_ON(whole.n != cut.n || memcmp(whole.name, cut.name, cut.n) != 0);
    rc_less = look(data, part, step, &less, &what_less);
    CN_BUG_ON(rc_less != CN_AGAIN && rc_less != rc);
    CN_BUG_ON(rc_less == CN_OK && (less.n != whole.n || memcmp(less.name, whole.name, less.n)));
    CN_BUG_ON(what_less != CN_SNIFF_MORE && what_less != what);
    return 0;
}
