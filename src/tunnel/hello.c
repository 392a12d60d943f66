/* SPDX-License-Identifier: Apache-2.0
 *
 * The server name in a TLS ClientHello (RFC 8446 4.1.2, RFC 6066 3), read
 * without taking part in the handshake.  Policy and routes go by that name, so
 * a hello that cannot be read is an error and not a hello without a name: its
 * server might read it all the same.
 */
#include "tunnel/tunnel.h"

#define HELLO_MAX 16384u /* of handshake bytes: post-quantum key shares need about 2,000 */
#define RECORDS_MAX 16u
#define RECORD_HEAD 5u
#define HANDSHAKE 22u
#define CLIENT_HELLO 1u
#define SERVER_NAME 0u
#define HOST_NAME 0u

/* What is left of a field. */
typedef struct {
    const uint8_t *p;
    size_t n;
} part_t;

/* ---- records ---- */

/* Copies n bytes that begin at off. */
static bool copy_at(const cn_chain_t *in, size_t off, uint8_t *out, size_t n)
{
    size_t done = 0;

    if (off + n > in->bytes)
        return false;
    for (uint32_t i = 0; i < in->n && done < n; i++) {
        const cn_buf_t *b = cn_chain_at(in, i);
        size_t k;

        if (off >= b->len) {
            off -= b->len;
            continue;
        }
        k = b->len - off < n - done ? b->len - off : n - done;
        memcpy(out + done, b->chunk->data + b->off + off, k);
        done += k;
        off = 0;
    }
    return true;
}

/* The first `want` handshake bytes, put together from the records. */
static cn_rc collect(const cn_chain_t *in, uint8_t *out, size_t want)
{
    size_t off = 0, got = 0;

    for (unsigned i = 0; i < RECORDS_MAX; i++) {
        uint8_t head[RECORD_HEAD];
        size_t n;

        if (!copy_at(in, off, head, sizeof(head)))
            return CN_AGAIN;
        n = (size_t)head[3] << 8 | head[4];
        if (head[0] != HANDSHAKE || head[1] != 3 || n == 0)
            return CN_ERR;
        if (n > want - got)
            n = want - got;
        if (!copy_at(in, off + RECORD_HEAD, out + got, n))
            return CN_AGAIN;
        got += n;
        if (got == want)
            return CN_OK;
        off += RECORD_HEAD + n;
    }
    return CN_ERR;
}

/* ---- the message ---- */

static bool take(part_t *from, size_t n, part_t *out)
{
    if (from->n < n)
        return false;
    *out = (part_t){from->p, n};
    from->p += n;
    from->n -= n;
    return true;
}

/* A field behind its length, of `bytes` bytes. */
static bool take_counted(part_t *from, unsigned bytes, part_t *out)
{
    part_t count;
    size_t n = 0;

    if (!take(from, bytes, &count))
        return false;
    for (unsigned i = 0; i < bytes; i++)
        n = n << 8 | count.p[i];
    return take(from, n, out);
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

/* In lower case, as names are compared. */
static cn_rc copy_name(part_t host, cn_hello_t *hello)
{
    if (host.n == 0 || host.n > sizeof(hello->name))
        return CN_ERR;
    cn_str_lower(hello->name, (const char *)host.p, host.n);
    for (size_t i = 0; i < host.n; i++)
        if (!is_name_char(hello->name[i]))
            return CN_ERR;
    hello->n = host.n;
    return CN_OK;
}

/* One name of one type is all that RFC 6066 allows. */
static cn_rc read_names(part_t ext, cn_hello_t *hello)
{
    part_t list, type, host;

    if (!take_counted(&ext, 2, &list) || ext.n || !take(&list, 1, &type) ||
        type.p[0] != HOST_NAME || !take_counted(&list, 2, &host) || list.n)
        return CN_ERR;
    return copy_name(host, hello);
}

static cn_rc read_extensions(part_t all, cn_hello_t *hello)
{
    bool seen = false;

    while (all.n) {
        part_t type, ext;

        if (!take(&all, 2, &type) || !take_counted(&all, 2, &ext))
            return CN_ERR;
        if (type.p[0] != 0 || type.p[1] != SERVER_NAME)
            continue;
        if (seen || read_names(ext, hello) != CN_OK)
            return CN_ERR;
        seen = true;
    }
    return CN_OK;
}

static cn_rc read_hello(part_t body, cn_hello_t *hello)
{
    part_t fixed, session, ciphers, compressions, extensions;

    if (!take(&body, 2 + 32, &fixed) || !take_counted(&body, 1, &session) ||
        !take_counted(&body, 2, &ciphers) || !take_counted(&body, 1, &compressions))
        return CN_ERR;
    if (session.n > 32 || ciphers.n < 2 || compressions.n < 1)
        return CN_ERR;
    if (body.n == 0)
        return CN_OK; /* before TLS 1.2: no extensions */
    if (!take_counted(&body, 2, &extensions) || body.n)
        return CN_ERR;
    return read_extensions(extensions, hello);
}

/* So far as there are bytes: could a hello begin like this?  Behind an empty
 * record stands another one's head, and collect() refuses both. */
static bool may_begin(const cn_chain_t *in)
{
    uint8_t b[6] = {0};
    size_t n = cn_chain_peek(in, b, sizeof(b));

    return (n < 1 || b[0] == HANDSHAKE) && (n < 2 || b[1] == 3) && (n < 3 || b[2] <= 4) &&
           (n < 6 || b[5] == CLIENT_HELLO || (b[3] == 0 && b[4] == 0));
}

cn_rc cn_tunnel_hello(const cn_chain_t *in, cn_hello_t *hello)
{
    uint8_t message[4 + HELLO_MAX];
    size_t size;
    cn_rc rc;

    hello->n = 0;
    if (!may_begin(in))
        return CN_DECLINE;
    rc = collect(in, message, 4);
    if (rc != CN_OK)
        return rc;
    size = (size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3];
    if (message[0] != CLIENT_HELLO || size > HELLO_MAX)
        return CN_ERR;
    rc = collect(in, message, 4 + size);
    if (rc != CN_OK)
        return rc;
    return read_hello((part_t){message + 4, size}, hello);
}
