/* SPDX-License-Identifier: Apache-2.0
 *
 * upstream_proxy_protocol: a PROXY header in front of each connection to an
 * endpoint, so that it learns who the client is (DestinationRule's
 * proxyProtocol; haproxy's proxy-protocol.txt, versions 1 and 2).  It goes into
 * the pod's tunnel and before TLS.
 *
 * The header is written as soon as the stream below is ready, before anybody
 * else may write: a server that speaks first gets it too.  Otherwise this is
 * the stream below itself, whose owner is ours.
 */
#include <stdio.h>
#include <stdlib.h>

#include <cairn/transport.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

typedef struct {
    int version; /* 0: none */
} upp_conf_t;

typedef struct {
    cn_stream_t s;
    cn_stream_t *lower;
    cn_chain_t head; /* not yet written */
} upp_t;

/* ---- headers ---- */

static void put_v1(cn_chain_t *out, const cn_uasked_t *asked)
{
    char line[128], from[CN_INET_TEXT], to[CN_INET_TEXT];
    bool same = asked->source.family == asked->dest.family && asked->source.family != 0;
    int n;

    cn_inet_put(from, &asked->source, false);
    cn_inet_put(to, &asked->dest, false);
    n = same ? snprintf(line, sizeof(line), "PROXY TCP%d %s %s %u %u\r\n",
                        asked->source.family == AF_INET ? 4 : 6, from, to, asked->source.port,
                        asked->dest.port)
             : snprintf(line, sizeof(line), "PROXY UNKNOWN\r\n");
    cn_chain_copy(out, line, (size_t)n);
}

/* An IPv4 address beside an IPv6 one is written as the mapped one (RFC 4291 2.5.5.2). */
static size_t put_ip(uint8_t *out, const cn_addr_t *a, bool v6)
{
    if (!v6) {
        memcpy(out, a->ip, 4);
        return 4;
    }
    if (a->family == AF_INET6) {
        memcpy(out, a->ip, 16);
        return 16;
    }
    memset(out, 0, 10);
    out[10] = out[11] = 0xff;
    memcpy(out + 12, a->ip, 4);
    return 16;
}

static size_t put_port(uint8_t *out, uint16_t port)
{
    out[0] = (uint8_t)(port >> 8);
    out[1] = (uint8_t)port;
    return 2;
}

static void put_v2(cn_chain_t *out, const cn_uasked_t *asked)
{
    uint8_t b[16 + 36];
    size_t n = 16;
    bool known = asked->source.family && asked->dest.family;
    bool v6 = asked->source.family == AF_INET6 || asked->dest.family == AF_INET6;

    memcpy(b, SIGNATURE, 12);
    b[12] = known ? 0x21 : 0x20; /* PROXY, or LOCAL: nothing to say */
    b[13] = (uint8_t)(!known ? 0 : v6 ? 0x21 : 0x11);
    if (known) {
        n += put_ip(b + n, &asked->source, v6);
        n += put_ip(b + n, &asked->dest, v6);
        n += put_port(b + n, asked->source.port);
        n += put_port(b + n, asked->dest.port);
    }
    b[14] = 0;
    b[15] = (uint8_t)(n - 16);
    cn_chain_copy(out, b, n);
}

/* ---- the stream ---- */

static upp_t *self(cn_stream_t *s)
{
    upp_t *p = cn_container_of(s, upp_t, s);

    p->lower->owner = s->owner;
    return p;
}

static cn_rc pass(upp_t *p, cn_rc rc)
{
    p->s.err = p->lower->err;
    p->s.err_text = p->lower->err_text;
    p->s.rx = p->lower->rx;
    p->s.tx = p->lower->tx;
    return rc;
}

static cn_rc upp_ready(cn_stream_t *s)
{
    upp_t *p = self(s);
    cn_rc rc = cn_stream_ready(p->lower);

    if (rc == CN_OK && p->head.bytes)
        rc = cn_stream_write(p->lower, &p->head);
    return pass(p, rc);
}

static cn_rc upp_read(cn_stream_t *s, cn_chain_t *dst, size_t max)
{
    cn_rc rc = upp_ready(s);
    upp_t *p = self(s);

    return rc == CN_OK ? pass(p, cn_stream_read(p->lower, dst, max)) : rc;
}

static cn_rc upp_write(cn_stream_t *s, cn_chain_t *src)
{
    cn_rc rc = upp_ready(s);
    upp_t *p = self(s);

    return rc == CN_OK ? pass(p, cn_stream_write(p->lower, src)) : rc;
}

static void upp_shutdown(cn_stream_t *s)
{
    if (upp_ready(s) != CN_ERR)
        cn_stream_shutdown(self(s)->lower);
}

static void upp_close(cn_stream_t *s, bool do_abort)
{
    upp_t *p = self(s);

    p->lower->owner = NULL;
    cn_stream_close(p->lower, do_abort);
    cn_chain_clear(&p->head);
    free(p);
}

static const cn_peer_t *upp_peer(cn_stream_t *s)
{
    return cn_stream_peer(self(s)->lower);
}

static const cn_stream_ops_t ops = {upp_ready,    upp_read,  upp_write,
                                    upp_shutdown, upp_close, upp_peer};

/* ---- the layer ---- */

static bool applies(const void *conf)
{
    return ((const upp_conf_t *)conf)->version != 0;
}

static uint64_t mark(void *wctx CN_UNUSED, cn_cluster_t *cluster CN_UNUSED, const void *conf,
                     const cn_uasked_t *asked)
{
    uint64_t seed = (uint64_t)((const upp_conf_t *)conf)->version;
    char text[2 * CN_INET_TEXT];
    size_t n = cn_inet_put(text, &asked->source, true);

    n += cn_inet_put(text + n, &asked->dest, true);
    return cn_hash_xxh(cn_str_make(text, n), seed);
}

static cn_stream_t *wrap(void *wctx CN_UNUSED, cn_cluster_t *cluster CN_UNUSED, const void *conf,
                         cn_stream_t *lower, const cn_uasked_t *asked,
                         uint64_t timeout_ms CN_UNUSED, cn_task_t *owner)
{
    upp_t *p = cn_xzalloc(sizeof(*p));

    p->s.ops = &ops;
    p->s.owner = owner;
    p->lower = lower;
    if (((const upp_conf_t *)conf)->version == 1)
        put_v1(&p->head, asked);
    else
        put_v2(&p->head, asked);
    return &p->s;
}

static const cn_layer_ops_t layer = {applies, mark, wrap};

static const cn_enum_t versions[] = {{"v1", 1}, {"v2", 2}, {NULL, 0}};

static const cn_directive_t directives[] = {
    {.name = "upstream_proxy_protocol",
     .where = CN_AT_CLUSTER,
     .args = CN_ARGS(1, 1),
     .set = cn_set_enum,
     .off = offsetof(upp_conf_t, version),
     .arg = versions,
     .syntax = "upstream_proxy_protocol v1 | v2",
     .help = "Each connection to an endpoint begins with a PROXY header that names the client and "
             "the address it asked for; requests of other clients get connections of their own."},
    {.name = NULL}};

const cn_module_t cn_module_upstream_proxy_protocol = {
    .abi = CN_MODULE_ABI,
    .name = "upstream_proxy_protocol",
    .after = "proxy_protocol",
    .directives = directives,
    .conf[CN_LV_CLUSTER] = {.size = sizeof(upp_conf_t)},
    .layer = &layer,
};
