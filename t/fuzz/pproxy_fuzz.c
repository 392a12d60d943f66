/* SPDX-License-Identifier: Apache-2.0
 *
 * PROXY headers of any bytes.  What must hold: the answer depends on the
 * header's own bytes alone, so it is the same however they are cut and whatever
 * follows; while it is "more", the bytes that are asked for belong to it; what
 * is taken from it lies in it and may stand in a log; and a line that was taken
 * is the one line that says so.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../modules/proxy_protocol/pproxy_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(cn_str_t text, cn_str_t header)
{
    if (text.n == 0)
        return;
    CN_BUG_ON(text.p < header.p || text.p + text.n > header.p + header.n);
    for (size_t i = 0; i < text.n; i++)
        CN_BUG_ON(text.p[i] <= ' ' || text.p[i] > '~');
}

/* Only IPv4 has a single way to be written. */
static void check_line(const pproxy_header_t *h, cn_str_t header)
{
    char from[CN_INET_TEXT], to[CN_INET_TEXT], line[128];
    int n;

    if (!cn_str_starts(header, CN_STR("PROXY TCP4 ")))
        return;
    cn_inet_put(from, &h->source, false);
    cn_inet_put(to, &h->dest, false);
    n = snprintf(line, sizeof(line), "PROXY TCP4 %s %s %u %u\r\n", from, to, h->source.port,
                 h->dest.port);
    CN_BUG_ON(!cn_str_eq(header, cn_str_make(line, (size_t)n)));
}

static void check_header(const pproxy_header_t *h, cn_str_t bytes)
{
    cn_str_t header = cn_str_make(bytes.p, h->size);

    CN_BUG_ON(h->size == 0 || h->size > bytes.n || h->size > PPROXY_MAX);
    CN_BUG_ON(h->version != 1 && h->version != 2);
    CN_BUG_ON(h->version == 1 && (h->identity.n || h->host.n || h->size > 107));
    check_text(h->identity, header);
    check_text(h->host, header);
    if (!h->addressed) {
        CN_BUG_ON(h->identity.n || h->host.n || h->dest.family);
        return;
    }
    CN_BUG_ON(h->source.family == 0 || h->dest.family == 0 || h->dest.port == 0);
    if (h->version == 1)
        check_line(h, header);
}

/* In memory that ends with it. */
static cn_rc parse(cn_str_t bytes, pproxy_header_t *h)
{
    char *p = cn_xmalloc(bytes.n ? bytes.n : 1);
    cn_rc rc;

    if (bytes.n)
        memcpy(p, bytes.p, bytes.n);
    rc = pproxy_parse(cn_str_make(p, bytes.n), h);
    if (rc == CN_OK)
        check_header(h, cn_str_make(p, bytes.n));
    CN_BUG_ON((rc == CN_ERR) != (h->error != NULL));
    CN_BUG_ON(rc == CN_AGAIN && (h->size <= bytes.n || h->size > PPROXY_MAX));
    free(p);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cn_str_t bytes = cn_str_make((const char *)data, size);
    size_t end = size < PPROXY_MAX + 1 ? size : PPROXY_MAX + 1, need = 0;
    pproxy_header_t whole, piece;
    cn_rc last = CN_AGAIN, rc = parse(bytes, &whole);

    for (size_t n = 0; n <= end; n++) {
        cn_rc now = parse(cn_str_make(bytes.p, n), &piece);

        CN_BUG_ON(last != CN_AGAIN && now != last);
        CN_BUG_ON(now == CN_OK && (rc != CN_OK || piece.size != whole.size || n < whole.size));
        CN_BUG_ON(now == CN_AGAIN && rc == CN_OK && piece.size > whole.size);
        CN_BUG_ON(now == CN_AGAIN && piece.size < need);
        need = piece.size;
        last = now;
    }
    CN_BUG_ON(last != rc);
    return 0;
}
